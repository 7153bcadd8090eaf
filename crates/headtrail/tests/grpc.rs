//! Calls of gRPC and other long ones, of real programs, captured by tcpdump and read by `headtrail read`.
//!
//! The truth is not the recorder's: gRPC's own implementation says what it was told to send, what the other end got, and, as its trace, each
//! field line that it took from the wire, in order. Where a call must last, it is the capture that is made longer: its times are spread.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{brief, field, has, headtrail, lines};
use headtrail_testkit::raw_http::{Connection, ScriptedServer, Step};
use headtrail_testkit::server::{Nginx, NginxOptions};
use headtrail_testkit::{TempDir, eventually, skip};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

const DEADLINE: Duration = Duration::from_secs(20);
const SECOND_NS: u64 = 1_000_000_000;

/// A Python that has gRPC: that of the system, or the first one in PATH.
fn python() -> Option<&'static str> {
    let has_grpc = |python: &&str| {
        let mut command = Command::new(python);
        command.args(["-c", "import grpc"]).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let found = ["/usr/bin/python3", "python3"].into_iter().find(has_grpc);
    if found.is_none() {
        skip("no python3 with grpc (python3-grpcio)");
    }
    found
}

/// Can packets be captured here?
fn can_capture() -> bool {
    if !has("tcpdump") {
        return false;
    }
    let root = rustix::process::geteuid().is_root();
    if !root {
        skip("tcpdump needs root");
    }
    root
}

/// The packets from and to some ports of loopback while `action` runs.
fn captured(ports: &[u16], action: impl FnOnce()) -> Vec<u8> {
    const END: &[u8] = b"this is the end of the capture";
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("lo.pcap");
    let filter = ports.iter().map(|port| format!("port {port}")).collect::<Vec<_>>().join(" or ");
    let mut tcpdump = Command::new("tcpdump");
    tcpdump
        .args(["-i", "lo", "-U", "--immediate-mode", "-B", "32768", "-Z", "root", "-s", "0", "-w"])
        .arg(&file)
        .arg(filter);
    let mut child =
        tcpdump.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("listening on") {
        line.clear();
        assert!(stderr.read_line(&mut line).unwrap() > 0, "tcpdump ended");
    }
    action();
    // A datagram behind everything else.
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.send_to(END, ("127.0.0.1", ports[0])).unwrap();
    let bytes = eventually("tcpdump has written everything", DEADLINE, || {
        let bytes = std::fs::read(&file).ok()?;
        bytes.ends_with(END).then_some(bytes)
    });
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    child.wait().unwrap();
    assert!(
        rest.contains("\n0 packets dropped by kernel") || rest.starts_with("0 packets dropped"),
        "{rest}"
    );
    bytes
}

/// Spreads the times of a capture (pcap, microseconds, as tcpdump writes it here).
fn spread(capture: &mut [u8], factor: u64) {
    let word = |bytes: &[u8], at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap());
    assert_eq!(word(capture, 0), 0xa1b2_c3d4);
    let mut first = None;
    let mut at = 24;
    while at < capture.len() {
        let us = u64::from(word(capture, at)) * 1_000_000 + u64::from(word(capture, at + 4));
        let first = *first.get_or_insert(us);
        let us = first + (us - first) * factor;
        capture[at..at + 4].copy_from_slice(&((us / 1_000_000) as u32).to_ne_bytes());
        capture[at + 4..at + 8].copy_from_slice(&((us % 1_000_000) as u32).to_ne_bytes());
        at += 16 + word(capture, at + 8) as usize;
    }
}

/// What `headtrail read` prints.
fn read(capture: &[u8], arguments: &[&str]) -> String {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("lo.pcap");
    File::create(&file).unwrap().write_all(capture).unwrap();
    common::run(headtrail().arg("read").args(arguments).arg(&file))
}

/// The transactions in it.
fn transactions(capture: &[u8]) -> Vec<Value> {
    let text = read(capture, &["--format", "json"]);
    let records: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(records.iter().all(|record| record["type"] == "transaction"), "{}", brief(&records));
    records
}

/// What the two ends of the calls say.
struct Calls {
    capture: Vec<u8>,
    /// By stream.
    told: BTreeMap<u64, Value>,
    /// Lines that an end took from the wire: by stream, and whether the server did.
    trace: BTreeMap<(u64, bool), Vec<(String, String)>>,
}

/// `… HTTP:5:HDR:SVR: name: value`: the server took the line from stream 5.
fn traced(line: &str) -> Option<((u64, bool), (String, String))> {
    let rest = line.split_once(" HTTP:")?.1;
    let (stream, rest) = rest.split_once(':')?;
    let (kind, rest) = rest.split_once(':')?;
    let (side, text) = rest.split_once(": ")?;
    // The name may begin with a colon. What comes on a stream that was reset is of no known kind.
    let colon = text.get(1..)?.find(": ")? + 1;
    let line = (text[..colon].to_owned(), text[colon + 2..].to_owned());
    matches!(kind, "HDR" | "TRL").then_some(((stream.parse().ok()?, side == "SVR"), line))
}

fn calls(python: &str) -> Calls {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/grpc/calls.py");
    let folder = TempDir::new().unwrap();
    let log = folder.path().join("log");
    let mut command = Command::new(python);
    command.arg(script).env("GRPC_VERBOSITY", "debug").env("GRPC_TRACE", "chttp2_hpack_parser");
    command.env_remove("http_proxy").env_remove("https_proxy").env_remove("grpc_proxy");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(File::create(&log).unwrap());
    let mut child = command.spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut port = String::new();
    stdout.read_line(&mut port).unwrap();
    let mut printed = String::new();
    let capture = captured(&[port.trim().parse().unwrap()], || {
        child.stdin.take().unwrap().write_all(b"go\n").unwrap();
        stdout.read_to_string(&mut printed).unwrap();
        assert!(child.wait().unwrap().success(), "{}", std::fs::read_to_string(&log).unwrap());
    });
    let told = (0..).map(|n| 2 * n + 1).zip(printed.lines().map(|line| serde_json::from_str(line).unwrap()));
    let mut trace: BTreeMap<_, Vec<_>> = BTreeMap::new();
    let log = std::fs::read(&log).unwrap();
    for (key, line) in String::from_utf8_lossy(&log).lines().filter_map(traced) {
        trace.entry(key).or_default().push(line);
    }
    Calls { capture, told: told.collect(), trace }
}

/// Lines of a message and its trailers are those of a trace, in order. Of some the trace has another form of the value.
fn check_lines(recorded: &[(&str, &str)], traced: &[(String, String)]) {
    let recorded_names: Vec<&str> = recorded.iter().map(|(name, _)| *name).collect();
    let traced_names: Vec<&str> = traced.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(recorded_names, traced_names);
    for ((name, value), (_, traced)) in recorded.iter().zip(traced) {
        let other = name.ends_with("-bin") || ["grpc-timeout", "grpc-status", "grpc-message"].contains(name);
        assert!(other || value == traced, "{name}: {value:?}, not {traced:?}");
    }
}

/// All pairs of `metadata` stand among the lines, in order. Binary values are base64, and between ends that both know of it the bytes
/// themselves behind a zero (PROTOCOL-HTTP2, Binary Header; proposal G1 of the gRPC project).
fn check_metadata(lines: &[(&str, &str)], metadata: &Value) {
    let metadata = metadata.as_array().unwrap();
    let mut rest = lines.iter();
    for pair in metadata {
        let (name, value) = (pair[0].as_str().unwrap(), pair[1].as_str().unwrap());
        let is = |recorded: &str| match name.ends_with("-bin") {
            true => recorded.trim_end_matches('=') == base64_of_hex(value) || recorded == bytes_of_hex(value),
            false => recorded == value,
        };
        assert!(
            rest.any(|(n, v)| *n == name && is(v)),
            "{name}: {value} is not where it was sent: {lines:?}"
        );
    }
}

/// Base64 without padding.
fn base64_of_hex(hex: &str) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits: String = hex.chars().map(|digit| format!("{:04b}", digit.to_digit(16).unwrap())).collect();
    let group =
        |bits: &[u8]| bits.iter().fold(0, |n, bit| 2 * n + usize::from(bit - b'0')) << (6 - bits.len());
    bits.as_bytes().chunks(6).map(|bits| char::from(DIGITS[group(bits)])).collect()
}

/// A zero and the bytes, each as the character that Latin-1 has for it, as the record does where they are not UTF-8.
fn bytes_of_hex(hex: &str) -> String {
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    std::iter::once('\0').chain(hex.as_bytes().chunks(2).map(|pair| char::from(byte(pair)))).collect()
}

#[test]
fn calls_of_every_kind_are_read_as_both_ends_saw_them() {
    if !can_capture() {
        return;
    }
    let Some(python) = python() else { return };
    let Calls { capture, told, trace } = calls(python);
    let records = transactions(&capture);
    assert_eq!(records.len(), told.len(), "{}", brief(&records));
    for record in &records {
        let stream = record["stream"].as_u64().unwrap();
        let (call, grpc) = (&told[&stream], &record["grpc"]);
        println!("{call} -> {grpc} {} {}", record["reset"], record["incomplete"]);
        assert_eq!(record["phase"], "whole");
        assert_eq!(grpc["service"], "shop.v1.Cart");
        assert_eq!(grpc["method"], call["method"]);
        assert_eq!(grpc["web"], false);
        let sent = lines(&record["request"], "lines");
        check_lines(&sent, &trace[&(stream, true)]);
        check_metadata(&sent, &call["sent"]);
        if let Some(traced) = trace.get(&(stream, false)) {
            let (head, tail) = (lines(&record["response"], "lines"), lines(&record["response"], "trailers"));
            check_lines(&[head.clone(), tail.clone()].concat(), traced);
            // A response without messages has its trailers in the head.
            check_metadata(&head, &call["head"]);
            check_metadata(if tail.is_empty() { &head } else { &tail }, &call["tail"]);
        }
        let gave_up = ["DEADLINE_EXCEEDED", "CANCELLED"].contains(&call["name"].as_str().unwrap());
        if gave_up {
            // Both ends know the deadline, and either may be the first to act on it: it is the client's word, or the server's.
            if grpc["status"] == Value::Null {
                assert_eq!(record["reset"], json!({"by": "request", "error": "CANCEL", "goaway": false}));
            } else {
                assert_eq!((&grpc["status"], &call["name"]), (&json!(4), &json!("DEADLINE_EXCEEDED")));
            }
            assert!(field(&record["request"], "te").is_some());
            continue;
        }
        assert_eq!((&grpc["status"], &grpc["status_name"]), (&call["code"], &call["name"]));
        assert_eq!(record["reset"], Value::Null);
        assert_eq!(record["incomplete"], json!([]));
        let message = grpc["message"].as_str().unwrap_or_default();
        match call["method"].as_str().unwrap() {
            "Secret" => assert!(message.starts_with("bad key hmac:"), "{message}"),
            _ => assert_eq!(message, call["details"]),
        }
    }
    let of = |stream: u64| records.iter().find(|record| record["stream"] == stream).unwrap();
    let timeout_ns = of(1)["grpc"]["timeout_ns"].as_u64().unwrap();
    // What is left of five seconds, which the client rounds up.
    assert!((4 * SECOND_NS..6 * SECOND_NS).contains(&timeout_ns), "{timeout_ns}");
    assert_eq!(of(3)["grpc"]["timeout_ns"], Value::Null);
    assert_eq!(of(5)["grpc"]["encoding"], "gzip");
    // Messages have a prefix of five bytes each.
    assert_eq!(of(1)["request"]["body_bytes"], 8);
    assert_eq!(of(9)["response"]["body_bytes"], 5 * 7);
    assert_eq!(of(17)["grpc"]["status_name"], "UNIMPLEMENTED");
    let names = ["UNAUTHENTICATED", "UNIMPLEMENTED"];
    let alone: Vec<_> =
        records.iter().filter(|r| names.contains(&r["grpc"]["status_name"].as_str().unwrap_or(""))).collect();
    assert!(alone.len() == 2 && alone.iter().all(|r| r["response"]["trailers"] == json!([])));
    let text = read(&capture, &[]);
    assert!(text.contains("grpc shop.v1.Cart/Fail FAILED_PRECONDITION"), "{text}");
    let documents = read(&capture, &["--format", "ecs"]);
    let documents: Vec<Value> = documents.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let failed = documents.iter().find(|d| d["rpc"]["method"] == "shop.v1.Cart/Fail").unwrap();
    assert_eq!(failed["rpc"]["response"]["status_code"], "FAILED_PRECONDITION");
    assert_eq!(failed["event"]["outcome"], "failure");
}

/// Starts and ends by the id of the start.
fn pairs(records: &[Value]) -> BTreeMap<String, (Value, Value)> {
    let with = |phase: &'static str| records.iter().filter(move |record| record["phase"] == phase);
    let starts = with("start").map(|r| (r["id"].as_str().unwrap().to_owned(), r.clone()));
    let mut pairs: BTreeMap<_, _> = starts.map(|(id, start)| (id, (start, Value::Null))).collect();
    for end in with("end") {
        let pair = pairs.get_mut(end["start_id"].as_str().unwrap()).expect("a start");
        assert_eq!(pair.1, Value::Null, "one end");
        pair.1 = end.clone();
    }
    assert!(pairs.values().all(|(_, end)| end.is_object()), "{}", brief(records));
    pairs
}

#[test]
fn calls_that_last_are_told_twice() {
    if !can_capture() {
        return;
    }
    let Some(python) = python() else { return };
    let Calls { mut capture, told, .. } = calls(python);
    spread(&mut capture, 100);
    let records = transactions(&capture);
    let pairs = pairs(&records);
    assert_eq!(records.len(), told.len() + pairs.len(), "{}", brief(&records));
    let of = |method: &str| pairs.values().find(|(start, _)| start["grpc"]["method"] == method);
    let (start, end) = of("Trickle").expect("it lasts");
    // All that was known by then: the head of the response was.
    assert_eq!((&start["incomplete"], &start["response"]["status"]), (&json!([]), &json!(200)));
    assert_eq!((&start["grpc"]["status"], &end["grpc"]["status"]), (&Value::Null, &json!(0)));
    assert_eq!(
        (&start["response"]["body_bytes"], &start["timing"]["total_ns"]),
        (&Value::Null, &Value::Null)
    );
    assert!(end["timing"]["total_ns"].as_u64().unwrap() > 50 * SECOND_NS, "{end}");
    assert_eq!(end["request"]["lines"], start["request"]["lines"]);
    let (start, end) = of("Slow").expect("it lasts");
    assert_eq!((&start["incomplete"], &start["response"]), (&json!([]), &Value::Null));
    // Both ends know the deadline, and either may be the first to act on it.
    assert!(end["reset"]["error"] == "CANCEL" || end["grpc"]["status"] == 4, "{end}");
}

/// What a server says through nginx and a client gets; the records at the client's side of nginx.
fn through_nginx(request: &str, script: Vec<Step>, client: impl FnOnce(&mut Connection)) -> Vec<Value> {
    let server = ScriptedServer::start("127.0.0.1", None, vec![script]);
    let location = format!(
        "location /long {{ proxy_pass http://{}; proxy_http_version 1.1; proxy_buffering off;
            proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $http_connection; }}",
        server.address()
    );
    let nginx = Nginx::start(&NginxOptions { server: &location, ..NginxOptions::default() });
    let port = nginx.address().port();
    let mut capture = captured(&[port], || {
        let mut connection = Connection::connect(nginx.address(), None);
        connection.send(request.as_bytes());
        client(&mut connection);
        drop(connection);
        server.finish();
    });
    spread(&mut capture, 100);
    transactions(&capture)
}

#[test]
fn a_stream_of_events_through_nginx_is_told_when_it_begins_and_when_it_ends() {
    if !can_capture() || !Nginx::available() {
        return;
    }
    let head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    let events = vec![b"9\r\ndata: 1\n\n\r\n".to_vec(); 4];
    let script = vec![
        Step::ReadHead,
        Step::Send(head.to_vec()),
        Step::SendPieces(events, Duration::from_millis(100)),
        Step::Send(b"0\r\n\r\n".to_vec()),
    ];
    let request = "GET /long HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
    let records = through_nginx(request, script, |client| {
        let got = client.read_to_end();
        assert!(got.ends_with(b"0\r\n\r\n"), "{}", got.escape_ascii());
    });
    assert_eq!(records.len(), 2, "{}", brief(&records));
    let pairs = pairs(&records);
    let (start, end) = pairs.values().next().unwrap();
    assert_eq!(field(&start["response"], "content-type"), Some("text/event-stream"));
    assert_eq!(start["response"]["body_bytes"], Value::Null);
    assert_eq!((&end["response"]["body_bytes"], &end["incomplete"]), (&json!(36), &json!([])));
    assert!(end["timing"]["response_ns"].as_u64().unwrap() > 30 * SECOND_NS, "{end}");
}

#[test]
fn a_tunnel_through_nginx_is_told_when_it_begins_and_when_it_ends() {
    if !can_capture() || !Nginx::available() {
        return;
    }
    const NO_REQUEST: &[u8] = b"GET /not/a/request HTTP/1.1\r\n\r\n";
    let head = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let script = vec![
        Step::ReadHead,
        Step::Send(head.to_vec()),
        Step::ReadBytes(3000),
        Step::Send(NO_REQUEST.repeat(50)),
    ];
    let request = "GET /long HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    let records = through_nginx(request, script, |client| {
        client.read_head();
        client.send_pieces([&[b'x'; 1000][..]; 3], Duration::from_millis(1));
        assert_eq!(client.read_to_end().len(), 50 * NO_REQUEST.len());
    });
    assert_eq!(records.len(), 2, "{}", brief(&records));
    let pairs = pairs(&records);
    let (start, end) = pairs.values().next().unwrap();
    assert_eq!((&start["response"]["status"], &start["incomplete"]), (&json!(101), &json!([])));
    assert_eq!(
        (&end["request"]["body_bytes"], &end["response"]["body_bytes"]),
        (&json!(3000), &json!(50 * NO_REQUEST.len()))
    );
    assert_eq!((&end["close"], &end["incomplete"]), (&json!("fin"), &json!([])));
}
