//! FILTER selects whole flows, in the kernel: what it leaves out is neither recorded nor read, and counted as filtered.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::messages::{Cut, Exchange, ask, check_all, script};
use common::{Recorder, ready};
use headtrail_testkit::raw_http::{Connection, ScriptedServer};

/// Asks each of the servers, and gives back the targets that a recorder with this filter has seen.
struct Servers {
    v4: u16,
    v4_other: u16,
    v6: u16,
}

/// One exchange with each of three servers: 1 and 2 over IPv4, 3 over IPv6.
fn seen(filter: impl Fn(&Servers) -> String) -> Vec<usize> {
    let exchanges: Vec<Exchange> = (1..4).map(Exchange::get).collect();
    let ips = ["127.0.0.1", "127.0.0.2", "::1"];
    let servers: Vec<ScriptedServer> = ips
        .iter()
        .zip(&exchanges)
        .map(|(ip, exchange)| {
            // Two connections: the second shows that the first was not wanted.
            let steps = script(std::slice::from_ref(exchange), |_| Cut::Whole);
            ScriptedServer::start(ip, None, vec![steps])
        })
        .collect();
    let [v4, v4_other, v6] = [0, 1, 2].map(|n: usize| servers[n].address().port());
    // A last exchange that every filter here lets through; when it is there, so is all before it.
    let last = Exchange::get(9);
    let end =
        ScriptedServer::start("127.0.0.1", None, vec![script(std::slice::from_ref(&last), |_| Cut::Whole)]);
    let text = format!("port {} or ({})", end.address().port(), filter(&Servers { v4, v4_other, v6 }));
    let recorder = Recorder::start(&text);
    for (server, exchange) in servers.iter().zip(&exchanges) {
        let mut client = Connection::connect(server.address(), None);
        ask(&mut client, std::slice::from_ref(exchange), |_| Cut::Whole);
    }
    let mut client = Connection::connect(end.address(), None);
    ask(&mut client, std::slice::from_ref(&last), |_| Cut::Whole);
    let with_last = |records: &[serde_json::Value]| records.iter().any(|r| r["request"]["target"] == "/9");
    assert!(recorder.watch().wait_for(common::DEADLINE, with_last));
    let finished = recorder.stop();
    let numbers: Vec<usize> = finished
        .records
        .iter()
        .map(|record| record["request"]["target"].as_str().unwrap()[1..].parse().unwrap())
        .filter(|&number| number != 9)
        .collect();
    for record in &finished.records {
        let number = record["request"]["target"].as_str().unwrap()[1..].parse().unwrap();
        Exchange::get(number).check(record);
    }
    if numbers.len() < 3 {
        let filtered = finished.stderr.split("filtered ").nth(1).unwrap();
        let filtered: u64 = filtered.split(',').next().unwrap().parse().unwrap();
        // Both ends of each; connections of other tests come on top.
        assert!(filtered >= 2 * (3 - numbers.len() as u64), "{}", finished.stderr);
    }
    numbers
}

#[test]
fn ports_select_by_either_end_or_by_one() {
    if !ready() {
        return;
    }
    assert_eq!(seen(|s| format!("port {}", s.v4)), [1]);
    assert_eq!(seen(|s| format!("dst port {} or port {}", s.v4_other, s.v6)), [2, 3]);
    // A flow is in when a packet of either direction matches: responses have it as their source.
    assert_eq!(seen(|s| format!("src port {}", s.v6)), [3]);
    let range = |s: &Servers| {
        let [mut low, mut high] = [s.v4, s.v4_other];
        if low > high {
            std::mem::swap(&mut low, &mut high);
        }
        // Ports of other tests may lie in the range.
        format!("portrange {low}-{high} and (port {low} or port {high})")
    };
    assert_eq!(seen(range), [1, 2]);
    assert_eq!(seen(|s| format!("portrange {0}-{0}", s.v4_other)), [2]);
}

#[test]
fn addresses_and_families_select() {
    if !ready() {
        return;
    }
    let ports = |s: &Servers| format!("(port {} or port {} or port {})", s.v4, s.v4_other, s.v6);
    assert_eq!(seen(|s| format!("host 127.0.0.2 and {}", ports(s))), [2]);
    assert_eq!(seen(|s| format!("ip6 and {}", ports(s))), [3]);
    assert_eq!(seen(|s| format!("ip and {}", ports(s))), [1, 2]);
    assert_eq!(seen(|s| format!("net 127.0.0.2/32 and {}", ports(s))), [2]);
    assert_eq!(seen(|s| format!("not host ::1 and {}", ports(s))), [1, 2]);
    assert_eq!(seen(|s| format!("tcp and net ::/64 and {}", ports(s))), [3]);
    assert_eq!(seen(|s| format!("dst host 127.0.0.2 and not ip6 and {}", ports(s))), [2]);
}

#[test]
fn without_a_filter_everything_is_recorded() {
    if !ready() {
        return;
    }
    // No filter, on purpose: the exchanges of other tests are in the output, too, and are passed over.
    let exchanges: Vec<Exchange> = (0..20).map(Exchange::any).collect();
    let server = ScriptedServer::start("127.0.0.1", None, vec![script(&exchanges, |_| Cut::Whole)]);
    let recorder = Recorder::start("");
    let mut client = Connection::connect(server.address(), None);
    let (port, end) = (server.address().port(), exchanges.len());
    ask(&mut client, &exchanges, |_| Cut::Whole);
    let ours = |record: &&serde_json::Value| record["destination"]["port"] == port;
    assert!(
        recorder.watch().wait_for(common::DEADLINE, |records| records.iter().filter(ours).count() == end)
    );
    let records = recorder.stop().records;
    check_all(&records.iter().filter(ours).cloned().collect::<Vec<_>>(), &exchanges);
}
