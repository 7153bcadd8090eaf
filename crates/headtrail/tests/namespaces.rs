//! Several network namespaces and a bad link between them: one record for each exchange that this host sees twice, none
//! merged that only look alike, and no wrong pair whatever the network does to the segments.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::HashMap;
use std::process::Command;
use std::time::Duration;

use common::messages::{Cut, Exchange, ask, check_all, script};
use common::{Recorder, curl, field, ready};
use headtrail_testkit::link::{Impairment, Link};
use headtrail_testkit::netns::{Netns, veth};
use headtrail_testkit::raw_http::{Connection, ScriptedServer, Step};
use headtrail_testkit::server::{Nginx, NginxOptions};
use serde_json::{Value, json};

fn available() -> bool {
    ready() && Netns::available()
}

/// Runs curl inside of a namespace.
fn curl_in(netns: &Netns, args: &[&str]) -> Command {
    let curl = curl(args);
    let mut command = netns.command(curl.get_program());
    command.args(curl.get_args());
    command
}

#[test]
fn an_exchange_between_two_namespaces_is_one_record() {
    if !available() || !Nginx::available() || !common::has("curl") {
        return;
    }
    let (a, b) = (Netns::new("a"), Netns::new("b"));
    veth((&a, "eth0"), (&b, "eth0"));
    for (netns, v4, v6) in [(&a, "10.78.0.1/24", "fd78::1/64"), (&b, "10.78.0.2/24", "fd78::2/64")] {
        netns.address("eth0", v4);
        netns.address("eth0", v6);
    }
    for (ip, client) in [("10.78.0.2", "10.78.0.1"), ("fd78::2", "fd78::1")] {
        let ip = ip.parse().unwrap();
        let nginx = Nginx::start(&NginxOptions { netns: Some(&b), ip, ..NginxOptions::default() });
        let recorder = Recorder::port(nginx.address().port());
        let url = format!("http://{}/once", nginx.address());
        common::run(&mut curl_in(&a, &["-H", "X-Id: 7", "-d", "body", &url]));
        // Two of each end's transactions, so that a twin of the first has come when the last has.
        common::run(&mut curl_in(&a, &["-H", "X-Id: 8", &url]));
        let records = recorder.finish(2);
        for (record, id) in records.iter().zip(["7", "8"]) {
            assert_eq!(field(&record["request"], "x-id"), Some(id));
            assert_eq!(record["role"], "server");
            assert_eq!(record["source"]["ip"], client);
            assert_eq!(record["process"]["name"], "nginx");
            assert_eq!(record["peer_process"]["name"], "curl");
            assert_eq!(record["incomplete"], json!([]));
            assert_eq!(record["response"]["body_bytes"], 3);
        }
        assert_eq!(records[0]["request"]["body_bytes"], 4);
    }
}

#[test]
fn the_same_addresses_in_two_namespaces_are_two_connections() {
    if !available() || !common::has("curl") {
        return;
    }
    let namespaces = [Netns::new("one"), Netns::new("two")];
    // The same port in both, and the same bytes, at the same time.
    let response = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nsame";
    let pieces: Vec<Vec<u8>> = response.chunks(5).map(<[u8]>::to_vec).collect();
    let slowly = || vec![vec![Step::ReadHead, Step::SendPieces(pieces.clone(), Duration::from_millis(20))]];
    let first = ScriptedServer::start("127.0.0.1", Some(&namespaces[0]), slowly());
    let port = first.address().port();
    let listener = namespaces[1].run(|| std::net::TcpListener::bind(("127.0.0.1", port)).unwrap());
    let second = std::thread::spawn(move || {
        let mut connection = Connection::new(listener.accept().unwrap().0);
        connection.read_head();
        connection.send_pieces(pieces.iter().map(Vec::as_slice), Duration::from_millis(20));
    });
    let recorder = Recorder::port(port);
    let url = format!("http://127.0.0.1:{port}/same");
    let clients = namespaces.each_ref().map(|netns| {
        let mut command = curl_in(netns, &["--local-port", "40123", &url]);
        command.stdout(std::process::Stdio::null()).spawn().unwrap()
    });
    let mut pids = clients.each_ref().map(|client| u64::from(client.id()));
    for mut client in clients {
        assert!(client.wait().unwrap().success());
    }
    first.finish();
    second.join().unwrap();
    let records = recorder.finish(2);
    for record in &records {
        assert_eq!(record["source"], json!({"ip": "127.0.0.1", "port": 40123}));
        assert_eq!(record["request"]["target"], "/same");
        assert_eq!(record["response"]["body_bytes"], 4);
        assert_eq!(record["incomplete"], json!([]));
        assert_eq!(record["role"], "server");
    }
    assert_ne!(records[0]["connection"], records[1]["connection"]);
    let mut owners = [0, 1].map(|n: usize| records[n]["peer_process"]["pid"].as_u64().unwrap_or(0));
    owners.sort_unstable();
    pids.sort_unstable();
    assert_eq!(owners, pids, "{records:?}");
}

fn impairment(seed: u64) -> Impairment {
    Impairment { loss: 0.02, duplicate: 0.04, reorder: 0.08, handshake: false, seed }
}

const SEEDS: [u64; 3] = [1, 2, 3];

/// Each exchange has exactly one record with its request, no pair is wrong, and what is not whole says why.
fn check_lossy(records: &[Value], exchanges: &[Exchange]) -> usize {
    let mut whole = 0;
    for exchange in exchanges {
        let target = format!("/{}", exchange.number);
        let of = records.iter().filter(|record| record["request"]["target"] == target.as_str());
        let of: Vec<&Value> = of.collect();
        assert_eq!(
            of.len(),
            1,
            "{target}: {}",
            common::brief(&of.iter().copied().cloned().collect::<Vec<_>>())
        );
        if of[0]["incomplete"] == json!([]) {
            exchange.check(of[0]);
            whole += 1;
        }
    }
    for record in records {
        let id = |side: &str| {
            record[side]
                .is_object()
                .then(|| field(&record[side], "x-id").unwrap_or_else(|| panic!("no id: {record}")))
        };
        if let (Some(request), Some(response)) = (id("request"), id("response")) {
            assert_eq!(request, response, "{record}");
        }
        assert!(record["response"].is_object() || record["incomplete"] != json!([]), "{record}");
        assert_ne!(record["response"]["status"], 500, "{record}");
    }
    whole
}

#[test]
fn a_bad_link_makes_no_wrong_record() {
    if !available() {
        return;
    }
    for seed in SEEDS {
        let link = Link::new(impairment(seed));
        let mut exchanges: Vec<Exchange> = (0..160).map(Exchange::any).collect();
        // Bodies over many segments, with what looks like messages at their starts.
        for n in (0..40).map(|n| 4 * n + 1) {
            let body = common::messages::evil(common::messages::EVIL_REQUEST, 20_000 + n);
            let answer = common::messages::evil(common::messages::EVIL_RESPONSE, 30_000 + n);
            exchanges[n] = Exchange::of(n, "POST", 200, "", &body, &answer);
        }
        let connections: Vec<&[Exchange]> = exchanges.chunks(40).collect();
        let scripts = connections.iter().map(|part| script(part, |_| Cut::Whole)).collect();
        let server = ScriptedServer::start(Link::B_V4, Some(link.b()), scripts);
        let recorder = Recorder::port(server.address().port());
        for part in &connections {
            let mut client = Connection::connect(server.address(), Some(link.a()));
            ask(&mut client, part, |_| Cut::Whole);
        }
        server.finish();
        recorder.wait(exchanges.len());
        let finished = recorder.stop();
        let counts = link.counts();
        assert!(counts.lost > 0 && counts.duplicated > 0 && counts.reordered > 0, "{counts:?}");
        let whole = check_lossy(&finished.records, &exchanges);
        // The link is bad, but what it loses is sent again and seen: nearly all can be whole.
        assert!(whole * 10 >= exchanges.len() * 9, "{whole} whole: {}", common::brief(&finished.records));
    }
}

#[test]
fn small_segments_over_a_bad_link_make_no_wrong_record() {
    if !available() {
        return;
    }
    for seed in SEEDS {
        let link = Link::new(impairment(100 + seed));
        let exchanges: Vec<Exchange> = (0..48).map(Exchange::any).collect();
        let cut = |at: usize| Cut::Pieces([40, 150, 17][at % 3]);
        let server = ScriptedServer::start(Link::B_V6, Some(link.b()), vec![script(&exchanges, cut)]);
        let recorder = Recorder::port(server.address().port());
        let mut client = Connection::connect(server.address(), Some(link.a()));
        ask(&mut client, &exchanges, cut);
        drop(client);
        server.finish();
        recorder.wait(exchanges.len());
        let finished = recorder.stop();
        let whole = check_lossy(&finished.records, &exchanges);
        assert!(whole * 10 >= exchanges.len() * 8, "{whole} whole: {}", common::brief(&finished.records));
    }
}

#[test]
fn a_perfect_link_loses_nothing() {
    if !available() {
        return;
    }
    let link = Link::new(Impairment::default());
    let exchanges: Vec<Exchange> = (0..80).map(Exchange::any).collect();
    let server =
        ScriptedServer::start(Link::B_V4, Some(link.b()), vec![script(&exchanges, |_| Cut::Pieces(700))]);
    let recorder = Recorder::port(server.address().port());
    let mut client = Connection::connect(server.address(), Some(link.a()));
    ask(&mut client, &exchanges, |_| Cut::Pieces(700));
    check_all(&recorder.finish(exchanges.len()), &exchanges);
}

#[test]
fn nginx_over_a_bad_link_counts_what_is_recorded() {
    if !available() || !Nginx::available() || !common::has("wrk") || !common::has("curl") {
        return;
    }
    let link = Link::new(impairment(9));
    let nginx = Nginx::start(&NginxOptions {
        netns: Some(link.b()),
        ip: Link::B_V4.parse().unwrap(),
        server: "location /echo { add_header X-Id $http_x_id; return 200 \"ok\\n\"; } location /big { root files; }",
        ..NginxOptions::default()
    });
    std::fs::write(nginx.folder().join("files/big"), vec![b'x'; 100 * 1024]).unwrap();
    let script = nginx.folder().join("ids.lua");
    let lua = "local n = 0
        request = function()
            n = n + 1
            return wrk.format('GET', '/echo?' .. n, {['X-Id'] = n})
        end";
    std::fs::write(&script, lua).unwrap();
    let recorder = Recorder::port(nginx.address().port());
    let big = format!("http://{}/big", nginx.address());
    for _ in 0..5 {
        let size = common::run(&mut curl_in(link.a(), &["-o", "/dev/null", "-w", "%{size_download}", &big]));
        assert_eq!(size, "102400");
    }
    let url = format!("http://{}/echo", nginx.address());
    let script = script.to_str().unwrap();
    let report = common::run(link.a().command("wrk").args(["-t1", "-c8", "-d2s", "-s", script, &url]));
    let by_wrk = report.lines().find(|line| line.contains(" requests in ")).unwrap();
    let by_wrk: usize = by_wrk.split_whitespace().next().unwrap().parse().unwrap();
    recorder.wait(by_wrk + 5);
    let finished = recorder.stop();
    let by_nginx = nginx.counts().requests as usize;

    let records = &finished.records;
    let with_request = |record: &&Value| record["request"].is_object();
    let requests = records.iter().filter(with_request).count();
    // wrk ends in the middle of an exchange on each connection.
    assert!((by_nginx..=by_nginx + 8).contains(&requests), "nginx {by_nginx}, {}", finished.stderr);
    let big = records.iter().filter(|record| record["request"]["target"] == "/big");
    assert_eq!(big.clone().count(), 5);
    for record in big {
        if record["incomplete"] == json!([]) {
            assert_eq!(record["response"]["body_bytes"], 102_400);
        }
    }
    let mut seen: HashMap<&str, Vec<Value>> = HashMap::new();
    for record in records.iter().filter(|record| record["request"]["target"] != "/big") {
        let id = |side: &str| {
            record[side]
                .is_object()
                .then(|| field(&record[side], "x-id").unwrap_or_else(|| panic!("no id: {record}")))
        };
        if let (Some(request), Some(response)) = (id("request"), id("response")) {
            assert_eq!(request, response, "{record}");
        }
        if let Some(request) = id("request") {
            seen.entry(request).or_default().push(record.clone());
        }
    }
    for of in seen.values().filter(|of| of.len() > 1) {
        // Where wrk closed before the answer came, both ends have something to tell: only the server end saw it.
        let whole = of.iter().filter(|record| record["incomplete"] == json!([])).count();
        assert_eq!((of.len(), whole), (2, 1), "more than once: {}", common::brief(of));
        assert_ne!(of[0]["role"], of[1]["role"], "{}", common::brief(of));
    }
    let twice = seen.values().filter(|of| of.len() > 1).count();
    assert!(twice <= 8, "{twice}");
    assert!(seen.len() >= by_wrk, "{} < {by_wrk}", seen.len());
}

#[test]
fn deferred_listeners_and_several_workers_are_recorded() {
    if !ready() || !Nginx::available() {
        return;
    }
    let server = "location /pid { add_header X-Pid $pid; add_header X-Id $http_x_id; return 200; }";
    for (deferred, reuseport, workers) in [(true, false, 1), (false, true, 2), (true, true, 2)] {
        let nginx =
            Nginx::start(&NginxOptions { deferred, reuseport, workers, server, ..NginxOptions::default() });
        let recorder = Recorder::port(nginx.address().port());
        const CONNECTIONS: usize = 40;
        for connection in 0..CONNECTIONS {
            let mut client = Connection::connect(nginx.address(), None);
            for n in 0..3 {
                let id = 3 * connection + n;
                client.send(format!("GET /pid?{id} HTTP/1.1\r\nHost: test\r\nX-Id: {id}\r\n\r\n").as_bytes());
                client.read_message();
            }
        }
        let records = recorder.finish(3 * CONNECTIONS);
        let mut workers_seen = std::collections::HashSet::new();
        for (id, record) in records.iter().enumerate() {
            assert_eq!(record["request"]["target"], format!("/pid?{id}"));
            assert_eq!(field(&record["request"], "x-id"), Some(id.to_string().as_str()));
            assert_eq!(field(&record["response"], "x-id"), Some(id.to_string().as_str()));
            assert_eq!(record["incomplete"], json!([]));
            assert_eq!(record["role"], "server");
            let worker = field(&record["response"], "x-pid").unwrap();
            assert_eq!(record["process"]["pid"].to_string(), worker, "{record}");
            workers_seen.insert(worker.to_owned());
        }
        assert_eq!(workers_seen.len(), if reuseport { 2 } else { 1 });
    }
}
