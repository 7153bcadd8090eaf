//! The reader against servers that misbehave: whatever they do, every document that is wanted is stored once or lies in the dead-letter file,
//! and the counts say so.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod elasticsearch_common;

use std::net::TcpListener;
use std::time::{Duration, Instant};

use elasticsearch_common::*;
use headtrail_ship::elasticsearch::Settings as Cluster;
use headtrail_ship::gate::Gate;
use headtrail_ship::stats::Counts;
use headtrail_testkit::sink_servers::{Answer, Behaviour, BulkServer, Fixed, Item, Refusal, Request, Take};
use tempfile::TempDir;

const HTML: &str = "<html><h1>It works!\u{1b}[2J</h1></html>";

/// Ships so many records of a size to a server that follows a script.
fn ship(
    (records, pad, batch): (u64, usize, usize),
    cluster: impl Fn(&[String]) -> Cluster,
    script: impl FnMut(&Request) -> Behaviour + Send + 'static,
) -> (Counts, BulkServer, Vec<String>) {
    let (gate, data_dir) = (Gate::default(), TempDir::new().unwrap());
    let source = Source::with(pad, records, &gate);
    let server = BulkServer::start(script);
    let settings = settings("a", batch, cluster(&[server.url()]));
    let running = Running::start(source.disk.clone(), data_dir.path(), &gate, &settings);
    running.until_record(records);
    let told = running.told.lock().unwrap().clone();
    let counts = running.stop();
    balances(&source, &server, data_dir.path(), &counts);
    (counts, server, told)
}

fn fixed(take: Take, status: u16, body: &str) -> Behaviour {
    let fixed = Fixed { status, body: body.as_bytes().to_vec(), ..Fixed::default() };
    Behaviour { take, answer: Answer::Fixed(fixed) }
}

fn raw(bytes: &[u8]) -> Behaviour {
    Behaviour { take: Take::All, answer: Answer::Raw(bytes.to_vec()) }
}

#[test]
fn whatever_is_answered_for_a_while_all_is_there_afterwards() {
    let endless_head = [&b"HTTP/1.1 200 OK\r\nX: "[..], &vec![b'x'; 1 << 20]].concat();
    let redirect = Fixed {
        status: 307,
        headers: vec![("Location".to_owned(), "http://127.0.0.1:1/_bulk".to_owned())],
        body: Vec::new(),
    };
    let redirect = Behaviour { take: Take::None, answer: Answer::Fixed(redirect) };
    let items = r#"{"items":[{"create":{"status":201}}]}"#;
    let never = Behaviour { take: Take::HeadOnly, answer: Answer::Never };
    let cases: Vec<(&str, Behaviour, usize, &[&str])> = vec![
        ("429", Behaviour::status(429, ""), 30, &["busy"]),
        ("503", Behaviour::status(503, HTML), 5, &["server_error"]),
        ("401", Behaviour::status(401, ""), 3, &["unauthorized"]),
        ("403", Behaviour::status(403, "{}"), 3, &["unauthorized"]),
        ("404", Behaviour::status(404, ""), 3, &["config"]),
        ("redirect", redirect, 3, &["config"]),
        ("nothing to say", Behaviour::status(204, ""), 3, &["answer"]),
        ("a page", Behaviour::status(200, HTML), 3, &["answer"]),
        ("a page, and yet stored", fixed(Take::All, 200, HTML), 3, &["answer"]),
        ("too few results", fixed(Take::All, 200, items), 3, &["answer"]),
        ("no JSON", Behaviour::garbage_json(), 3, &["answer"]),
        ("no HTTP", raw(b"\0\xff\0\r\n\r\n"), 3, &["answer"]),
        ("a head without end", raw(&endless_head), 3, &["answer"]),
        (
            "too long",
            raw(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999\r\n\r\n{"),
            3,
            &["answer", "connection"],
        ),
        ("wrong chunk", raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), 3, &["answer"]),
        ("nothing", raw(b""), 3, &["connection"]),
        ("half of the body", Behaviour::close_before_answer(), 3, &["connection"]),
        ("answer lost", Behaviour::lose_answer(), 3, &["connection"]),
        ("half of the answer", Behaviour::close_in_answer(), 3, &["answer", "connection"]),
        ("without end", Behaviour::huge_answer(), 2, &["answer"]),
        ("slow", Behaviour::slow_drip(Duration::from_millis(20)), 2, &["time_out"]),
        ("hanging", Behaviour::hang(), 2, &["time_out"]),
        ("not even reading", never, 2, &["time_out"]),
        ("early 503", Behaviour::early(503), 2, &["server_error"]),
    ];
    for gzip in [true, false] {
        for (name, behaviour, times, kinds) in &cases {
            println!("{name}, gzip {gzip}");
            let script = Behaviour::in_turn(vec![behaviour.clone(); *times], Behaviour::accept());
            // 16 MiB is a lot to be sent by an endless answer, for a test that is not optimised.
            let patient = matches!(behaviour.answer, Answer::Endless | Answer::Raw(_));
            let cluster = |nodes: &[String]| Cluster {
                gzip,
                ..if patient { cluster(nodes) } else { impatient(nodes) }
            };
            let (counts, server, told) = ship((100, 10, 1000), cluster, script);
            assert!(counts.troubles.keys().all(|kind| kinds.contains(kind)), "{name}: {counts:?}");
            assert_eq!(counts.troubles.values().sum::<u64>(), *times as u64, "{name}: {counts:?}");
            // With its body where it was read, and not again with that of another.
            let whole = server.requests().iter().filter(|request| request.documents > 0).count() as u64;
            assert!(whole <= counts.requests && whole >= counts.requests - *times as u64);
            if kinds != &["busy"] {
                assert_eq!(told.len(), 2, "told once, and that it is over: {told:?}");
            }
            assert!(told.iter().all(|line| line.len() < 600 && !line.contains(char::is_control)), "{told:?}");
        }
    }
}

#[test]
fn a_server_is_given_the_time_that_it_asks_for() {
    let script = Behaviour::in_turn(vec![Behaviour::retry_after(429, 1)], Behaviour::accept());
    let start = Instant::now();
    let (counts, ..) = ship((10, 0, 100), cluster, script);
    assert!(start.elapsed() >= Duration::from_secs(1));
    assert_eq!((counts.requests, counts.again), (2, 9));
}

#[test]
fn what_a_server_asks_for_does_not_keep_the_reader_from_ending() {
    let (gate, data_dir) = (Gate::default(), TempDir::new().unwrap());
    let source = Source::with(0, 10, &gate);
    let server = BulkServer::start(|_| Behaviour::retry_after(503, u32::MAX));
    let settings = settings("a", 10, cluster(&[server.url()]));
    let running = Running::start(source.disk.clone(), data_dir.path(), &gate, &settings);
    running.until("it waits", |counts| counts.troubles.contains_key("server_error"));
    let start = Instant::now();
    running.stop();
    assert!(start.elapsed() < Duration::from_secs(2));
}

/// By number and try: stored, there already, later, never.
fn mixed(item: &Item, request: u64) -> Option<Refusal> {
    let number = of_item(item);
    match number % 11 {
        3 => Some(Refusal::new(400, "document_parsing_exception")),
        // By now it is.
        4 if request < 3 => Some(Refusal::new(429, "es_rejected_execution_exception")),
        5 if request < 5 => Some(Refusal::new(503, "unavailable_shards_exception")),
        8 if request < 2 => Some(Refusal::new(403, "cluster_block_exception")),
        _ => None,
    }
}

#[test]
fn each_document_is_treated_as_was_said_of_it() {
    for gzip in [true, false] {
        let mut request = 0;
        let script = move |_: &Request| {
            request += 1;
            let answer = if request == 1 { Answer::Close } else { Answer::Bulk };
            Behaviour { answer, ..Behaviour::per_item(move |item| mixed(item, request)) }
        };
        let gzipped = |nodes: &[String]| Cluster { gzip, ..cluster(nodes) };
        let (counts, _, told) = ship((400, 10, 150), gzipped, script);
        assert!(counts.duplicates > 0 && counts.dead_letters > 0, "{counts:?}");
        assert!(told.iter().any(|line| line.contains("dead-letter/a.ndjson")), "{told:?}");
    }
}

#[test]
fn a_document_is_counted_as_sent_again_each_time_that_it_is() {
    // Of four documents the second is put off twice: 4, 1, 1.
    let mut request = 0;
    let script = move |_: &Request| {
        request += 1;
        Behaviour::per_item(move |item| {
            (request < 3 && of_item(item) == 1).then(|| Refusal::new(429, "busy"))
        })
    };
    let (counts, ..) = ship((4, 0, 100), cluster, script);
    assert_eq!((counts.requests, counts.again), (3, 2), "{counts:?}");
    // At most four at once: 8, 4, 4.
    let script = |request: &Request| {
        let lines = request.headers.iter().find(|(name, _)| name == "content-length").unwrap();
        if lines.1.parse::<usize>().unwrap() > 4 * 600 {
            Behaviour::status(413, "")
        } else {
            Behaviour::accept()
        }
    };
    let plain = |nodes: &[String]| Cluster { gzip: false, ..cluster(nodes) };
    let (counts, server, _) = ship((6, 0, 100), plain, script);
    let sent: usize = server.requests().iter().map(|request| request.documents).sum();
    assert_eq!(sent as u64, counts.stored + counts.again, "{counts:?}");
}

/// Behaves so for bodies above a size.
fn above(bytes: u64, behaviour: Behaviour) -> impl FnMut(&Request) -> Behaviour + Send + 'static {
    move |request| {
        let length = request.headers.iter().find(|(name, _)| name == "content-length");
        let length: u64 = length.and_then(|(_, value)| value.parse().ok()).unwrap_or_default();
        if length > bytes { behaviour.clone() } else { Behaviour::accept() }
    }
}

#[test]
fn what_is_too_large_goes_in_pieces_however_that_is_said() {
    let too_large = [
        ("413", Behaviour::status(413, HTML), "none"),
        // While it is still sending, of which the socket's buffers hold a part only.
        ("early 413", Behaviour::early(413), "none"),
        // A proxy that resets the connection instead.
        ("reset", Behaviour { take: Take::HeadOnly, answer: Answer::Close }, "connection"),
        ("half and reset", Behaviour::close_before_answer(), "connection"),
        // A link on which so much takes longer than a request may take.
        ("slow", Behaviour { take: Take::HeadOnly, answer: Answer::Never }, "time_out"),
    ];
    for (name, behaviour, kind) in too_large {
        println!("{name}");
        let plain = |nodes: &[String]| Cluster { gzip: false, ..impatient(nodes) };
        let (counts, ..) = ship((350, 30_000, 1000), plain, above(2_000_000, behaviour));
        assert_eq!(counts.dead_letters, 0, "{name}: {counts:?}");
        assert!(counts.troubles.keys().all(|found| *found == kind), "{name}: {counts:?}");
        assert!(counts.requests < 40, "{name}: {counts:?}");
    }
}

#[test]
fn a_single_document_that_is_too_large_is_a_dead_letter() {
    let (counts, ..) = ship(
        (7, 5_000, 1),
        |n| Cluster { gzip: false, ..cluster(n) },
        above(1_000, Behaviour::status(413, HTML)),
    );
    assert_eq!((counts.stored, counts.dead_letters), (0, 6));
}

#[test]
fn a_server_that_goes_and_comes_back_gets_the_rest() {
    let (gate, data_dir) = (Gate::default(), TempDir::new().unwrap());
    let mut source = Source::with(100, 500, &gate);
    let mut server = BulkServer::start(|_| Behaviour::accept());
    let settings = settings("a", 20, cluster(&[server.url()]));
    let running = Running::start(source.disk.clone(), data_dir.path(), &gate, &settings);
    for round in 1..4 {
        running.until_record(source.records);
        server.down();
        source.add(300, &gate);
        running.until("it is refused", |counts| {
            counts.troubles.get("connect").copied().unwrap_or_default() >= 5 * round
        });
        server.up();
    }
    running.until_record(source.records);
    let counts = running.stop();
    // One request at most went into a connection that was no longer there, each time.
    assert!(counts.troubles.get("connection").copied().unwrap_or_default() <= 3, "{counts:?}");
    balances(&source, &server, data_dir.path(), &counts);
}

#[test]
fn of_two_nodes_one_is_enough() {
    let gone = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
    for gone_first in [true, false] {
        let (gate, data_dir) = (Gate::default(), TempDir::new().unwrap());
        let source = Source::with(10, 300, &gate);
        let server = BulkServer::start(|_| Behaviour::accept());
        let mut nodes = vec![format!("http://{gone}"), server.url()];
        if !gone_first {
            nodes.reverse();
        }
        let settings = settings("a", 20, cluster(&nodes));
        let running = Running::start(source.disk.clone(), data_dir.path(), &gate, &settings);
        running.until_record(300);
        let counts = running.stop();
        assert!(counts.troubles.is_empty(), "{counts:?}");
        assert_eq!(counts.again, 0);
        balances(&source, &server, data_dir.path(), &counts);
    }
}

#[test]
fn when_a_node_dies_or_falls_ill_the_other_goes_on() {
    for ill in
        [None, Some(Behaviour::status(503, "")), Some(Behaviour::hang()), Some(Behaviour::lose_answer())]
    {
        let (gate, data_dir) = (Gate::default(), TempDir::new().unwrap());
        let mut source = Source::with(10, 300, &gate);
        let mut first = BulkServer::start(|_| Behaviour::accept());
        let second = BulkServer::start(|_| Behaviour::accept());
        let settings = settings("a", 50, impatient(&[first.url(), second.url()]));
        let running = Running::start(source.disk.clone(), data_dir.path(), &gate, &settings);
        running.until_record(300);
        match ill {
            None => first.down(),
            Some(ill) => first.follow(move |_| ill.clone()),
        }
        source.add(300, &gate);
        running.until_record(600);
        let counts = running.stop();
        assert!(counts.requests < 30, "{counts:?}");
        let (mut there, other) = (stored(&first), stored(&second));
        // These two know nothing of each other, as nodes of one cluster would.
        assert!(there.intersection(&other).count() <= 50);
        there.extend(other);
        assert_eq!(there, source.selected(0));
    }
}

#[test]
fn a_wrong_login_is_told_before_anything_is_sent_and_once_it_is_right_all_goes() {
    let (gate, data_dir) = (Gate::default(), TempDir::new().unwrap());
    let source = Source::with(10, 30, &gate);
    let server = BulkServer::start(|_| Behaviour::accept());
    server.answer_others(|_| Fixed { status: 401, ..Fixed::default() });
    let settings = settings("a", 20, cluster(&[server.url()]));
    let running = Running::start(source.disk.clone(), data_dir.path(), &gate, &settings);
    let counts = running.until("it is told", |counts| counts.troubles.contains_key("unauthorized"));
    assert_eq!((counts.requests, counts.stored), (0, 0));
    assert!(counts.trouble.is_some());
    server.answer_others(|_| Fixed { status: 200, ..Fixed::default() });
    running.until_record(30);
    let counts = running.stop();
    balances(&source, &server, data_dir.path(), &counts);
}

#[test]
fn a_batch_has_no_more_bytes_than_it_may_have() {
    let (gate, data_dir) = (Gate::default(), TempDir::new().unwrap());
    let source = Source::with(3_000, 700, &gate);
    let server = BulkServer::start(|_| Behaviour::accept());
    let mut settings = settings("a", 100_000, cluster(&[server.url()]));
    settings.batch_bytes_max = 64 << 10;
    let running = Running::start(source.disk.clone(), data_dir.path(), &gate, &settings);
    running.until_record(700);
    balances(&source, &server, data_dir.path(), &running.stop());
    let longest = server.requests().iter().map(|request| request.body.len()).max().unwrap();
    // One document more, and a line before each.
    assert!(longest > 64 << 10 && longest < (64 << 10) + 4_000 + 25 * 120, "{longest}");
}
