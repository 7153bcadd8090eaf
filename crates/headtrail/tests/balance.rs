//! The balance of counts: what was seen is what was printed, what was dropped for a named reason, and what is held; and
//! nginx, which counts for itself, has seen the same. Under overload records may be missing, but none may be wrong.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::{Balance, DEADLINE, field, ready, watch_command};
use headtrail_testkit::process::READY;
use headtrail_testkit::raw_http::Connection;
use headtrail_testkit::server::{Nginx, NginxOptions};
use headtrail_testkit::{Signal, TempDir, eventually};
use serde_json::Value;

/// A recorder that writes into files: nothing of the test stands between it and the disk.
struct FileRecorder {
    child: Child,
    folder: TempDir,
}

/// What it has left behind.
struct Recorded {
    transactions: Vec<Value>,
    losses: Vec<Value>,
    stderr: String,
    requests: Balance,
    responses: Balance,
}

impl FileRecorder {
    fn start(args: &[&str], port: u16) -> FileRecorder {
        let folder = TempDir::new().unwrap();
        let file = |name: &str| File::create(folder.path().join(name)).unwrap();
        let args = [&["--format", "json"], args].concat();
        let mut command = watch_command(folder.path(), &args, &format!("port {port}"));
        command.stdin(Stdio::null()).stdout(file("out")).stderr(file("err"));
        let recorder = FileRecorder { child: command.spawn().unwrap(), folder };
        eventually("it watches", DEADLINE, || recorder.stderr().contains(READY).then_some(()));
        recorder
    }

    fn stderr(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("err")).unwrap()
    }

    fn signal(&self, signal: Signal) {
        let pid = self.child.id().to_string();
        let name = match signal {
            Signal::STOP => "-STOP",
            Signal::CONT => "-CONT",
            _ => "-INT",
        };
        common::run(Command::new("kill").args([name, &pid]));
    }

    fn stop(mut self) -> Recorded {
        self.signal(Signal::INT);
        let status = eventually("it ends", DEADLINE, || self.child.try_wait().unwrap());
        let stderr = self.stderr();
        assert!(status.success(), "{status}: {stderr}");
        let lines = BufReader::new(File::open(self.folder.path().join("out")).unwrap()).lines();
        let records = lines.map(|line| serde_json::from_str::<Value>(&line.unwrap()).expect("JSON"));
        let (losses, transactions): (Vec<_>, Vec<_>) = records.partition(|record| record["type"] == "loss");
        let [requests, responses] = ["requests", "responses"].map(|side| Balance::of(&stderr, side));
        for (balance, side) in [(requests, "request"), (responses, "response")] {
            balance.check();
            let printed = transactions.iter().filter(|record| record[side].is_object()).count();
            assert_eq!(balance.printed, printed as u64, "{stderr}");
        }
        Recorded { transactions, losses, stderr, requests, responses }
    }
}

impl Drop for FileRecorder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// nginx that gives back the number of a request.
fn echo() -> Nginx {
    let server = "location /echo { add_header X-Id $http_x_id; return 200 \"ok\\n\"; }";
    Nginx::start(&NginxOptions { server, ..NginxOptions::default() })
}

const CONNECTIONS: usize = 8;

/// Sends numbered requests over some connections at once, each `depth` deep in a write, as fast as the answers come.
/// Every answer is received and has the number of its request.
fn load(address: SocketAddr, each: usize, depth: usize) {
    let one = |connection: usize| {
        let mut client = Connection::connect(address, None);
        let numbers: Vec<usize> = (0..each).map(|n| connection * each + n).collect();
        for numbers in numbers.chunks(depth) {
            let request = |n: &usize| format!("GET /echo?{n} HTTP/1.1\r\nHost: test\r\nX-Id: {n}\r\n\r\n");
            client.send(numbers.iter().map(request).collect::<String>().as_bytes());
            for number in numbers {
                let answer = client.read_message();
                let line = format!("\r\nX-Id: {number}\r\n");
                assert!(answer.windows(line.len()).any(|w| w == line.as_bytes()), "{number}");
            }
        }
    };
    std::thread::scope(|scope| {
        (0..CONNECTIONS).for_each(|connection| drop(scope.spawn(move || one(connection))));
    });
}

/// No pair is wrong and no message occurs twice.
fn check_pairs(transactions: &[Value]) {
    let mut seen = [HashSet::new(), HashSet::new()];
    for record in transactions {
        let ids = ["request", "response"].map(|side| {
            record[side].is_object().then(|| field(&record[side], "x-id").expect("an id").to_owned())
        });
        if let [Some(request), Some(response)] = &ids {
            assert_eq!(request, response, "{record}");
        }
        if let Some(request) = &ids[0] {
            assert_eq!(record["request"]["target"], format!("/echo?{request}"), "{record}");
        }
        for (seen, id) in seen.iter_mut().zip(ids) {
            assert!(id.is_none_or(|id| seen.insert(id)), "twice: {record}");
        }
        let whole = record["request"].is_object() && record["response"].is_object();
        assert!(whole || record["incomplete"] != serde_json::json!([]), "{record}");
    }
}

#[test]
fn with_room_enough_every_request_is_printed() {
    if !ready() || !Nginx::available() {
        return;
    }
    for depth in [1, 20] {
        let nginx = echo();
        let recorder = FileRecorder::start(&["--ring-bytes", "67108864"], nginx.address().port());
        load(nginx.address(), 2000, depth);
        let recorded = recorder.stop();
        let all = (2000 * CONNECTIONS) as u64;
        assert_eq!(nginx.counts().requests, all);
        assert!(recorded.losses.is_empty(), "{:?}", recorded.losses);
        assert_eq!(recorded.transactions.len() as u64, all, "{}", recorded.stderr);
        assert_eq!((recorded.requests.printed, recorded.responses.printed), (all, all));
        check_pairs(&recorded.transactions);
        for record in &recorded.transactions {
            assert_eq!(record["incomplete"], serde_json::json!([]), "{record}");
            assert_eq!(record["response"]["body_bytes"], 3);
        }
    }
}

#[test]
fn wrk_and_nginx_and_the_recorder_count_the_same() {
    if !ready() || !Nginx::available() || !common::has("wrk") {
        return;
    }
    const WRK_CONNECTIONS: u64 = 16;
    let nginx = echo();
    let recorder = FileRecorder::start(&["--ring-bytes", "134217728"], nginx.address().port());
    let url = format!("http://{}/echo", nginx.address());
    let connections = WRK_CONNECTIONS.to_string();
    #[rustfmt::skip]
    let report = common::run(Command::new("wrk").args(["-t1", "-c", &connections, "-d2s", "-H", "X-Id: 1", &url]));
    let by_wrk = report.lines().find(|line| line.contains(" requests in ")).unwrap();
    let by_wrk: u64 = by_wrk.split_whitespace().next().unwrap().parse().unwrap();
    let recorded = recorder.stop();
    let by_nginx = nginx.counts().requests;
    // wrk ends in the middle: what is under way on each connection may not have been read by nginx, or by wrk.
    let seen = recorded.requests.seen;
    assert!((by_nginx..=by_nginx + WRK_CONNECTIONS).contains(&seen), "{by_nginx} {}", recorded.stderr);
    // A build that is not optimised may be too slow for wrk; what it loses it says.
    let whole = recorded.transactions.iter().filter(|record| record["incomplete"] == serde_json::json!([]));
    let (whole, lost) = (whole.count() as u64, recorded.requests.ring_full + recorded.responses.ring_full);
    let in_all = by_wrk..=by_wrk + WRK_CONNECTIONS;
    assert!(
        whole <= *in_all.end() && recorded.responses.seen >= by_wrk,
        "{by_wrk} {whole} {}",
        recorded.stderr
    );
    assert!(lost > 0 || in_all.contains(&whole), "{by_wrk} {whole} {}", recorded.stderr);
    assert_eq!(recorded.losses.is_empty(), lost == 0, "{:?}", recorded.losses);
}

/// The ring is too small on purpose.
fn overload(depth: usize, stop_for: Option<Duration>) {
    let nginx = echo();
    let recorder = FileRecorder::start(&["--ring-bytes", "8192"], nginx.address().port());
    let all = (3000 * CONNECTIONS) as u64;
    std::thread::scope(|scope| {
        if let Some(time) = stop_for {
            recorder.signal(Signal::STOP);
            let recorder = &recorder;
            scope.spawn(move || {
                // The reader is slow for this long; that is the overload, and nothing is waited for by it.
                std::thread::sleep(time);
                recorder.signal(Signal::CONT);
            });
        }
        load(nginx.address(), 3000, depth);
    });
    // What comes when there is room again is recorded whole again. The first of these may still find the ring full.
    let mut client = Connection::connect(nginx.address(), None);
    let out = recorder.folder.path().join("out");
    let mut later = 0;
    eventually("a record after the overload", DEADLINE, || {
        client
            .send(format!("GET /echo?l{later} HTTP/1.1\r\nHost: test\r\nX-Id: l{later}\r\n\r\n").as_bytes());
        client.read_message();
        later += 1;
        std::fs::read_to_string(&out).unwrap().contains("/echo?l").then_some(())
    });
    let all = all + later;
    let recorded = recorder.stop();

    assert_eq!(nginx.counts().requests, all);
    assert_eq!(recorded.requests.seen, all, "{}", recorded.stderr);
    assert_eq!(recorded.responses.seen, all, "{}", recorded.stderr);
    assert!(
        recorded.requests.ring_full + recorded.responses.ring_full > 0,
        "no overload: {}",
        recorded.stderr
    );
    // Each reason in the stream adds up to what the report says.
    let lost: u64 = recorded
        .losses
        .iter()
        .filter(|loss| loss["stage"] == "kernel" && loss["reason"] == "ring_full")
        .map(|loss| loss["count"].as_u64().unwrap())
        .sum();
    let reported: u64 = recorded
        .stderr
        .lines()
        .filter(|line| line.starts_with("headtrail: lost ") && line.ends_with("(kernel: ring_full)"))
        .map(|line| line.split_whitespace().nth(2).unwrap().parse::<u64>().unwrap())
        .sum();
    assert_eq!(lost, reported, "{}", recorded.stderr);
    assert!(lost >= recorded.requests.ring_full + recorded.responses.ring_full);
    assert!(!recorded.stderr.contains("framing"), "{}", recorded.stderr);
    check_pairs(&recorded.transactions);
    let is_later =
        |record: &&Value| record["request"]["target"].as_str().is_some_and(|t| t.starts_with("/echo?l"));
    let whole =
        recorded.transactions.iter().filter(is_later).any(|r| r["incomplete"] == serde_json::json!([]));
    assert!(whole, "{}", recorded.stderr);
}

#[test]
fn an_overloaded_ring_loses_by_the_book_and_never_pairs_wrongly() {
    if ready() && Nginx::available() {
        overload(1, Some(Duration::from_secs(1)));
    }
}

#[test]
fn an_overloaded_ring_under_pipelining_never_pairs_wrongly() {
    if ready() && Nginx::available() {
        overload(16, None);
    }
}
