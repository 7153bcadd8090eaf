//! HTTP/2 as the kernel's side walks it: frames cut into segments in every way, content that looks like frames, and
//! real servers and clients. After each of these, further calls on the same connection show that the walk is in step.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::{HashMap, HashSet};

use common::frames::{Calls, PREFACE, Shape, frame, opening};
use common::messages::{Cut, Exchange, GAP, ask, check_all, filter_of, script};
use common::{Recorder, ready};
use headtrail_testkit::TempDir;
use headtrail_testkit::link::{Impairment, Link};
use headtrail_testkit::netns::Netns;
use headtrail_testkit::raw_http::{Connection, ScriptedServer, Step};
use headtrail_testkit::server::{Nginx, NginxOptions};
use serde_json::{Value, json};

const PLAIN: Shape =
    Shape { content: [0, 6], data_max: 16_384, padded: false, continued: false, trailers: false };

/// The calls are made one after the other on one connection, and plain ones behind them.
fn survives(mut calls: Calls) {
    const FOLLOWERS: usize = 20;
    for _ in 0..FOLLOWERS {
        calls.shapes.push(PLAIN);
        calls.cuts.push(Cut::Whole);
    }
    let all = calls.exchanges();
    let cut = |at| calls.cut(at);
    let server = ScriptedServer::start("127.0.0.1", None, vec![script(&all, cut)]);
    let recorder = Recorder::start(&filter_of(server.address()));
    let mut client = Connection::connect(server.address(), None);
    ask(&mut client, &all, cut);
    calls.check(&recorder.finish(calls.shapes.len()));
}

#[test]
fn calls_of_all_shapes() {
    if ready() {
        let shapes: Vec<Shape> = (0..120).map(Shape::any).collect();
        survives(Calls { cuts: vec![Cut::Whole; shapes.len()], shapes });
    }
}

#[test]
fn one_byte_a_segment() {
    if ready() {
        let shapes: Vec<Shape> =
            (0..24).map(Shape::any).map(|s| Shape { content: s.content.map(|n| n.min(300)), ..s }).collect();
        survives(Calls { cuts: vec![Cut::Pieces(1); shapes.len()], shapes });
    }
}

#[test]
fn cut_at_every_offset() {
    if !ready() {
        return;
    }
    let shapes = [
        Shape { content: [20, 40], data_max: 15, padded: true, continued: true, trailers: true },
        Shape { content: [200, 150], ..PLAIN },
    ];
    for shape in shapes {
        let call = common::frames::call(100, shape);
        let longest = call.request.len().max(call.response.len());
        survives(Calls { shapes: vec![shape; longest], cuts: (0..longest).map(Cut::At).collect() });
    }
}

#[test]
fn long_content_in_segments_of_many_sizes() {
    if ready() {
        let shape = |data_max| Shape { content: [120_000, 90_000], data_max, ..PLAIN };
        let shapes: Vec<Shape> = [16_384, 1_000, 129, 128, 127, 40].map(shape).to_vec();
        for bytes in [64_000, 1_448, 1_009] {
            survives(Calls { cuts: vec![Cut::Pieces(bytes); shapes.len()], shapes: shapes.clone() });
        }
    }
}

#[test]
fn the_opening_cut_at_every_offset() {
    if !ready() {
        return;
    }
    let offsets = opening().request.len();
    let calls = Calls { shapes: vec![PLAIN; 3], cuts: vec![Cut::Whole; 3] };
    let all = calls.exchanges();
    let cut = |at: usize| move |n: usize| if n == 0 { Cut::At(at) } else { Cut::Whole };
    let scripts = (0..offsets).map(|at| script(&all, cut(at))).collect();
    let server = ScriptedServer::start("127.0.0.1", None, scripts);
    let recorder = Recorder::start(&filter_of(server.address()));
    for at in 0..offsets {
        ask(&mut Connection::connect(server.address(), None), &all, cut(at));
    }
    let mut connections: HashMap<String, Vec<Value>> = HashMap::new();
    for record in recorder.finish(offsets * calls.shapes.len()) {
        connections.entry(record["connection"].to_string()).or_default().push(record);
    }
    assert_eq!(connections.len(), offsets);
    connections.values().for_each(|records| calls.check(records));
}

#[test]
fn a_server_that_speaks_first() {
    if !ready() {
        return;
    }
    let calls = Calls { shapes: (0..9).map(Shape::any).collect(), cuts: vec![Cut::Whole; 9] };
    let all = calls.exchanges();
    let mut steps = script(&all, |_| Cut::Whole);
    steps.swap(0, 1);
    let server = ScriptedServer::start("127.0.0.1", None, vec![steps]);
    let recorder = Recorder::start(&filter_of(server.address()));
    let mut client = Connection::connect(server.address(), None);
    assert_eq!(client.read_bytes(all[0].response.len()), all[0].response);
    client.send(&all[0].request);
    ask(&mut client, &all[1..], |_| Cut::Whole);
    calls.check(&recorder.finish(calls.shapes.len()));
}

#[test]
fn what_is_no_preface_is_no_http2() {
    if !ready() {
        return;
    }
    // It is left alone, and so is what follows; another connection of the same server is recorded.
    let wrong = [&PREFACE[..23], b"X"].concat();
    let answer = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n".to_vec();
    let after: Vec<Exchange> = (0..5).map(Exchange::any).collect();
    let scripts =
        vec![vec![Step::ReadBytes(wrong.len()), Step::Send(answer.clone())], script(&after, |_| Cut::Whole)];
    let server = ScriptedServer::start("127.0.0.1", None, scripts);
    let recorder = Recorder::start(&filter_of(server.address()));
    let mut client = Connection::connect(server.address(), None);
    client.send(&wrong);
    client.read_bytes(answer.len());
    drop(client);
    let mut client = Connection::connect(server.address(), None);
    ask(&mut client, &after, |_| Cut::Whole);
    let records = recorder.finish(after.len());
    let targets = records.iter().filter(|record| record["request"].is_object()).cloned().collect::<Vec<_>>();
    check_all(&targets, &after);
}

#[test]
fn an_upgrade_to_http2() {
    if !ready() {
        return;
    }
    let request = b"GET /0 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n";
    let switching = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";
    let calls = Calls { shapes: vec![Shape { trailers: false, ..PLAIN }; 6], cuts: vec![Cut::Whole; 6] };
    let all = calls.exchanges();
    // In one packet with the 101, and apart from it.
    for together in [true, false] {
        let first = if together {
            vec![Step::Send([switching, &all[0].response[..], &all[1].response].concat())]
        } else {
            let answer = [&all[0].response[..], &all[1].response].concat();
            vec![Step::SendPieces(vec![switching.to_vec(), answer], GAP)]
        };
        let mut steps = vec![Step::ReadBytes(request.len())];
        steps.extend(first);
        steps.push(Step::ReadBytes(all[0].request.len()));
        steps.extend(script(&all[2..], |_| Cut::Whole));
        let server = ScriptedServer::start("127.0.0.1", None, vec![steps]);
        let recorder = Recorder::start(&filter_of(server.address()));
        let mut client = Connection::connect(server.address(), None);
        client.send(request);
        client.read_bytes(switching.len() + all[0].response.len() + all[1].response.len());
        client.send(&all[0].request);
        ask(&mut client, &all[2..], |_| Cut::Whole);
        let mut records = recorder.finish(calls.shapes.len());
        records.sort_by_key(|record| record["stream"].as_u64());
        assert_eq!(records[0]["request"]["target"], "/0");
        assert_eq!(records[0]["interim"][0]["status"], 101);
        assert_eq!(records[0]["response"]["lines"][1], serde_json::json!(["x-id", "0"]));
        for (number, record) in records.iter().enumerate().skip(1) {
            common::frames::check_call(record, number, PLAIN);
        }
    }
}

#[test]
fn what_follows_another_upgrade_is_not_looked_at() {
    if !ready() {
        return;
    }
    let request = b"GET /chat HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let switching = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let talk = Exchange::get(9);
    let settings = frame(4, 0, 0, b"");
    let steps = vec![
        Step::ReadBytes(request.len()),
        Step::Send([&switching[..], &settings].concat()),
        Step::ReadBytes(talk.request.len()),
        Step::Send(talk.response.clone()),
    ];
    let server = ScriptedServer::start("127.0.0.1", None, vec![steps]);
    let recorder = Recorder::start(&filter_of(server.address()));
    let mut client = Connection::connect(server.address(), None);
    client.send(request);
    client.read_bytes(switching.len() + settings.len());
    client.send(&talk.request);
    client.read_bytes(talk.response.len());
    drop(client);
    let records = recorder.finish(2);
    for (record, phase) in records.iter().zip(["start", "end"]) {
        assert_eq!(record["request"]["target"], "/chat");
        assert_eq!(record["response"]["status"], 101);
        assert_eq!(record["phase"], phase);
    }
}

/// What is lost is sent again, and what is late comes: all calls are recorded once and rightly, and nearly all whole.
#[test]
fn a_bad_link_makes_no_wrong_record() {
    if !ready() || !Netns::available() {
        return;
    }
    const CONNECTIONS: usize = 4;
    for seed in 1..=3 {
        let impairment = Impairment { loss: 0.02, duplicate: 0.04, reorder: 0.08, handshake: false, seed };
        let link = Link::new(impairment);
        let shapes: Vec<Shape> = (0..50).map(Shape::any).collect();
        let cuts = (0..shapes.len()).map(|n| if n % 5 == 4 { Cut::Pieces(60) } else { Cut::Whole });
        let calls = Calls { cuts: cuts.collect(), shapes };
        let all = calls.exchanges();
        let scripts = vec![script(&all, |at| calls.cut(at)); CONNECTIONS];
        let server = ScriptedServer::start(Link::B_V4, Some(link.b()), scripts);
        let recorder = Recorder::port(server.address().port());
        for _ in 0..CONNECTIONS {
            let mut client = Connection::connect(server.address(), Some(link.a()));
            ask(&mut client, &all, |at| calls.cut(at));
        }
        server.finish();
        let expected = CONNECTIONS * calls.shapes.len();
        recorder.wait(expected);
        let records = recorder.stop().records;
        let counts = link.counts();
        assert!(counts.lost > 0 && counts.duplicated > 0 && counts.reordered > 0, "{counts:?}");
        let requests = || records.iter().filter(|r| r["request"].is_object());
        let name = |r: &Value| (r["source"]["port"].as_u64(), r["stream"].as_u64());
        let names: HashSet<_> = requests().map(name).collect();
        assert_eq!(names.len(), expected, "{}", common::brief(&records));
        let whole: Vec<&Value> = records.iter().filter(|r| r["incomplete"] == json!([])).collect();
        for record in &whole {
            let number = record["stream"].as_u64().unwrap() as usize / 2;
            common::frames::check_call(record, number, calls.shapes[number]);
        }
        // Both ends are on this host. What one has seen whole, and the other had not before, has two records.
        let whole_names: HashSet<_> = whole.iter().map(|r| name(r)).collect();
        assert_eq!(whole_names.len(), whole.len(), "{}", common::brief(&records));
        assert!(whole.len() * 10 >= expected * 9, "{} whole: {}", whole.len(), common::brief(&records));
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A real nginx that speaks HTTP/2 on a port of its own, and what it counts is compared with the records.
#[test]
fn nginx_and_h2load() {
    if !ready() || !Nginx::available() || !common::has("h2load") {
        return;
    }
    const REQUESTS: usize = 20_000;
    let port = free_port();
    let http = format!(
        "server {{ listen 127.0.0.1:{port} http2; keepalive_requests 1000000;
           location / {{ add_header X-One a; add_header X-One b; return 200 0123456789; }} }}"
    );
    let _nginx = Nginx::start(&NginxOptions { http: &http, ..NginxOptions::default() });
    let recorder = Recorder::port(port);
    let url = format!("http://127.0.0.1:{port}/made?a=b");
    let requests = REQUESTS.to_string();
    // What is sent at once is more than one packet holds, and does not keep the recorder from keeping pace.
    let args = ["-n", &requests, "-c8", "-m16", "--rps=1000", "-H", "x-two: c", "-H", "x-two: d", &url];
    let output = std::process::Command::new("h2load").args(args).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains(&format!("{REQUESTS} succeeded")), "{said}");
    let records = recorder.finish(REQUESTS);
    for record in &records {
        assert_eq!(record["incomplete"], json!([]), "{record}");
        let names = |side: &str| -> Vec<(String, String)> {
            let lines = common::lines(&record[side], "lines").into_iter();
            lines.map(|(n, v)| (n.to_owned(), v.to_owned())).collect()
        };
        let agent = &names("request")[4].1;
        let expected = [
            (":path", "/made?a=b"),
            (":scheme", "http"),
            (":authority", &format!("127.0.0.1:{port}")),
            (":method", "GET"),
            ("user-agent", agent.as_str()),
            ("x-two", "c"),
            ("x-two", "d"),
        ];
        let expected = expected.map(|(n, v)| (n.to_owned(), v.to_owned()));
        assert_eq!(names("request"), expected, "{record}");
        let response = names("response");
        let own: Vec<_> = response.iter().filter(|(n, _)| n == "x-one").map(|(_, v)| v.as_str()).collect();
        assert_eq!(own, ["a", "b"], "{record}");
        assert_eq!(record["response"]["body_bytes"], 10, "{record}");
    }
    // Each stream of each connection once.
    let names: HashSet<_> =
        records.iter().map(|r| (r["source"]["port"].clone(), r["stream"].clone())).collect();
    assert_eq!(names.len(), REQUESTS);
}

/// curl tells what it sent and received.
#[test]
fn curl_sends_and_receives_much() {
    if !ready() || !Nginx::available() || !common::has("curl") {
        return;
    }
    let folder = TempDir::new().unwrap();
    let much = folder.path().join("much");
    std::fs::write(&much, common::frames::evil_frames(700_000)).unwrap();
    let (port, upstream) = (free_port(), free_port());
    let http = format!(
        "server {{ listen 127.0.0.1:{port} http2; client_max_body_size 10m; root {};
           location /take {{ proxy_pass http://127.0.0.1:{upstream}; }} }}
         server {{ listen 127.0.0.1:{upstream}; location / {{ return 200; }} }}",
        folder.path().display()
    );
    let _nginx = Nginx::start(&NginxOptions { http: &http, ..NginxOptions::default() });
    let recorder = Recorder::port(port);
    for _ in 0..3 {
        let output = std::process::Command::new("curl")
            .args([
                "-sS",
                "--http2-prior-knowledge",
                "-o",
                "/dev/null",
                "-w",
                "%{http_code} %{size_download}",
            ])
            .arg(format!("http://127.0.0.1:{port}/much"))
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "200 700000");
    }
    let output = std::process::Command::new("curl")
        .args(["-sS", "--http2-prior-knowledge", "-o", "/dev/null", "-w", "%{http_code}", "--data-binary"])
        .args([format!("@{}", much.display()), format!("http://127.0.0.1:{port}/take")])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "200");
    let records = recorder.finish(4);
    for record in &records[..3] {
        assert_eq!(record["incomplete"], json!([]), "{record}");
        assert_eq!(record["response"]["body_bytes"], 700_000, "{record}");
    }
    assert_eq!(records[3]["incomplete"], json!([]), "{}", records[3]);
    assert_eq!(records[3]["request"]["body_bytes"], 700_000, "{}", records[3]);
}
