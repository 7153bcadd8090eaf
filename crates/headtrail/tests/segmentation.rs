//! Messages cut into segments in the ways that are hard for the kernel's side: it walks the framing packet by packet, so
//! each place where a packet may end is a place where it may lose its way. After each of these, many different exchanges
//! on the same connection show that it has not.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::time::Duration;

use common::messages::{
    Cut, EVIL_REQUEST, EVIL_RESPONSE, Exchange, GAP, ask, check_all, chunked, evil, filter_of, script,
};
use common::{Recorder, field, ready};
use headtrail_testkit::raw_http::{Connection, ScriptedServer, Step};
use serde_json::{Value, json};

/// Exchanges that follow on the same connection.
const FOLLOWERS: usize = 50;

/// The exchanges, cut in the same way in both directions, between others that are not cut: those before are plain, so
/// that the connection has taken the kernel's short way until then. All are recorded, in order.
fn survives(exchanges: Vec<Exchange>, cut: impl Fn(usize) -> Cut) {
    const LEADERS: usize = 3;
    let cut_ones = LEADERS..LEADERS + exchanges.len();
    let cut = |at: usize| if cut_ones.contains(&at) { cut(at - LEADERS) } else { Cut::Whole };
    let mut all: Vec<Exchange> = (0..LEADERS).map(|n| Exchange::get(20_000 + n)).collect();
    all.extend(exchanges);
    all.extend((0..FOLLOWERS).map(|n| Exchange::any(10_000 + n)));
    let server = ScriptedServer::start("127.0.0.1", None, vec![script(&all, cut)]);
    let recorder = Recorder::start(&filter_of(server.address()));
    let mut client = Connection::connect(server.address(), None);
    ask(&mut client, &all, cut);
    check_all(&recorder.finish(all.len()), &all);
}

/// All requests in one write, all responses in one write, then others; on a new connection, and on one whose plain
/// messages have taken the kernel's short way until then.
fn pipelined(exchanges: Vec<Exchange>) {
    for leaders in [0, 3] {
        pipelined_after((0..leaders).map(|n| Exchange::get(20_000 + n)).collect(), exchanges.clone());
    }
}

fn pipelined_after(leaders: Vec<Exchange>, exchanges: Vec<Exchange>) {
    let followers: Vec<Exchange> = (0..FOLLOWERS).map(|n| Exchange::any(10_000 + n)).collect();
    let all_of =
        |of: fn(&Exchange) -> &Vec<u8>| exchanges.iter().flat_map(|e| of(e).clone()).collect::<Vec<u8>>();
    let (requests, responses) = (all_of(|e| &e.request), all_of(|e| &e.response));
    let mut steps = script(&leaders, |_| Cut::Whole);
    steps.extend([Step::ReadBytes(requests.len()), Step::Send(responses.clone())]);
    steps.extend(script(&followers, |_| Cut::Whole));
    let server = ScriptedServer::start("127.0.0.1", None, vec![steps]);
    let recorder = Recorder::start(&filter_of(server.address()));
    let mut client = Connection::connect(server.address(), None);
    ask(&mut client, &leaders, |_| Cut::Whole);
    client.send(&requests);
    assert_eq!(client.read_bytes(responses.len()), responses);
    ask(&mut client, &followers, |_| Cut::Whole);
    let all = [leaders, exchanges, followers].concat();
    check_all(&recorder.finish(all.len()), &all);
}

#[test]
fn pipelined_gets_in_one_segment() {
    if ready() {
        pipelined((0..100).map(Exchange::get).collect());
    }
}

#[test]
fn pipelined_requests_with_bodies_between() {
    if ready() {
        let body = evil(EVIL_REQUEST, 77);
        let answer = evil(EVIL_RESPONSE, 123);
        pipelined((0..60).map(|n| Exchange::of(n, "POST", 200, "", &body[n..], &answer[n..])).collect());
    }
}

#[test]
fn pipelined_requests_of_all_kinds() {
    if ready() {
        // More than the kernel has bits for HEAD requests that are open.
        pipelined((0..200).map(Exchange::any).collect());
    }
}

#[test]
fn pipelined_head_and_get_in_turns() {
    if !ready() {
        return;
    }
    let turn =
        |n: usize| if n.is_multiple_of(3) { Exchange::any(8 * n + 2) } else { Exchange::any(8 * n + 6) };
    pipelined((0..60).map(turn).collect());
}

#[test]
fn pipelined_requests_beyond_the_limit_of_open_ones() {
    if !ready() {
        return;
    }
    // Each request a segment of its own, no response before the last.
    let exchanges: Vec<Exchange> = (0..150).map(Exchange::any).collect();
    let followers: Vec<Exchange> = (0..FOLLOWERS).map(|n| Exchange::any(10_000 + n)).collect();
    let requests: usize = exchanges.iter().map(|e| e.request.len()).sum();
    let responses: usize = exchanges.iter().map(|e| e.response.len()).sum();
    let pieces = exchanges.iter().map(|e| e.response.clone()).collect();
    let mut steps = vec![Step::ReadBytes(requests), Step::SendPieces(pieces, GAP)];
    steps.extend(script(&followers, |_| Cut::Whole));
    let server = ScriptedServer::start("127.0.0.1", None, vec![steps]);
    let recorder = Recorder::start(&filter_of(server.address()));
    let mut client = Connection::connect(server.address(), None);
    client.send_pieces(exchanges.iter().map(|e| &e.request[..]), GAP);
    client.read_bytes(responses);
    ask(&mut client, &followers, |_| Cut::Whole);
    let all = [exchanges, followers].concat();
    check_all(&recorder.finish(all.len()), &all);
}

#[test]
fn one_byte_a_segment() {
    if ready() {
        survives((0..24).map(Exchange::any).collect(), |_| Cut::Pieces(1));
    }
}

#[test]
fn a_few_bytes_a_segment() {
    if ready() {
        survives((0..64).map(Exchange::any).collect(), |at| Cut::Pieces(2 + at / 8));
    }
}

#[test]
fn cut_at_every_offset_of_a_message_with_a_length() {
    if ready() {
        let of = |n| Exchange::of(n, "POST", 200, "X-More: some\r\n", b"GET / HTTP/1.1", b"HTTP/1.1 200 OK");
        let longest = of(100).request.len().max(of(100).response.len());
        survives((0..longest).map(|n| of(100 + n)).collect(), Cut::At);
    }
}

#[test]
fn cut_at_every_offset_of_a_message_in_chunks() {
    if ready() {
        let of = |n| Exchange::in_chunks(n, b"GET / HTTP/1.1", b"HTTP/1.1 200 OK", &[1, 10, 5], ";ext=1");
        let longest = of(100).request.len().max(of(100).response.len());
        survives((0..longest).map(|n| of(100 + n)).collect(), Cut::At);
    }
}

#[test]
fn cut_at_every_offset_of_messages_without_a_body() {
    if ready() {
        let kinds = [2, 4, 6, 8];
        let longest = kinds.map(|kind| Exchange::any(1000 + kind).response.len()).into_iter().max().unwrap();
        let all =
            kinds.iter().flat_map(|kind| (0..longest).map(move |n| Exchange::any(8 * (1000 + n) + kind % 8)));
        survives(all.collect(), |at| Cut::At(at % longest));
    }
}

/// A field line of so many bytes, in words so that no value looks like a key.
fn long_line(name: &str, bytes: usize) -> String {
    let value: String = "long value, ".chars().cycle().take(bytes).collect();
    format!("{name}: {}\r\n", value.trim_end())
}

#[test]
fn heads_over_many_segments() {
    if !ready() {
        return;
    }
    let mut exchanges = Vec::new();
    for (n, bytes) in [5000, 20 * 1024, 60 * 1024].into_iter().enumerate() {
        // One long line, and many short ones; the length stands behind them.
        let short: String = (0..bytes / 160).map(|i| long_line(&format!("Hq-{i}"), 150)).collect();
        for (k, more) in [long_line("Hq-Long", bytes), short].into_iter().enumerate() {
            for cut in 0..3 {
                exchanges.push(Exchange::of(
                    100 * n + 10 * k + cut,
                    "POST",
                    200,
                    &more,
                    b"GET /",
                    b"HTTP/1.1 200",
                ));
            }
        }
    }
    survives(exchanges, |at| [Cut::Whole, Cut::Pieces(1400), Cut::Pieces(4096)][at % 3].clone());
}

#[test]
fn a_head_beyond_the_limit_is_cut_and_says_where() {
    if !ready() {
        return;
    }
    let lines: String = (0..300).map(|i| long_line(&format!("Hq-{i}"), 290)).collect();
    for cut in [Cut::Whole, Cut::Pieces(1400)] {
        let plain = Exchange::any(1);
        let long = Exchange::of(2, "POST", 200, &lines, &evil(EVIL_REQUEST, 300), &evil(EVIL_RESPONSE, 300));
        let mut all = vec![plain, long];
        all.extend((3..FOLLOWERS).map(Exchange::any));
        let server = ScriptedServer::start("127.0.0.1", None, vec![script(&all, |_| cut.clone())]);
        let recorder = Recorder::start(&filter_of(server.address()));
        let mut client = Connection::connect(server.address(), None);
        ask(&mut client, &all, |_| cut.clone());
        let records = recorder.finish(all.len());
        let long = &records[1];
        all[1].check_pair(long);
        let expected = json!([
            {"reason": "truncated", "side": "request", "at": 65536},
            {"reason": "truncated", "side": "response", "at": 65536},
        ]);
        assert_eq!(long["incomplete"], expected);
        // What is there is as sent.
        for side in ["request", "response"] {
            let kept = common::lines(&long[side], "lines");
            let sent =
                String::from_utf8_lossy(if side == "request" { &all[1].request } else { &all[1].response });
            for (at, (name, value)) in kept.iter().enumerate() {
                // Of the last line there is a beginning, whose value is hidden: a part of a secret may not look like one.
                let line = if at + 1 < kept.len() {
                    format!("\r\n{name}: {value}\r\n")
                } else {
                    format!("\r\n{name}")
                };
                assert!(sent.contains(&line), "{line}");
            }
            assert!(kept.len() > 200, "{}", kept.len());
        }
        check_all(&records[..1], &all[..1]);
        check_all(&records[2..], &all[2..]);
    }
}

#[test]
fn more_lines_than_are_listed_is_named() {
    if !ready() {
        return;
    }
    let lines: String = (0..600).map(|i| format!("Hq-{i}: a\r\n")).collect();
    let mut all =
        vec![Exchange::of(1, "POST", 200, &lines, &evil(EVIL_REQUEST, 300), &evil(EVIL_RESPONSE, 300))];
    all.extend((2..FOLLOWERS).map(Exchange::any));
    let server = ScriptedServer::start("127.0.0.1", None, vec![script(&all, |_| Cut::Whole)]);
    let recorder = Recorder::start(&filter_of(server.address()));
    let mut client = Connection::connect(server.address(), None);
    ask(&mut client, &all, |_| Cut::Whole);
    let records = recorder.finish(all.len());
    assert!(records[0]["anomalies"].to_string().contains("too_many_lines"), "{}", records[0]["anomalies"]);
    assert_eq!(common::lines(&records[0]["request"], "lines").len(), 512);
    all[0].check_pair(&records[0]);
    check_all(&records[1..], &all[1..]);
}

#[test]
fn a_thousand_tiny_chunks_in_one_segment() {
    if ready() {
        let body = evil(EVIL_REQUEST, 1000);
        let of = |n, size| Exchange::in_chunks(n, &body, &evil(EVIL_RESPONSE, 1000), &[size], "");
        survives((0..6).map(|n| of(n, [1, 2, 7][n % 3])).collect(), |_| Cut::Whole);
    }
}

#[test]
fn long_chunk_extensions_and_chunks_over_segments() {
    if ready() {
        let extension = format!("; {}", "name=\"value\"; ".repeat(30));
        let body = evil(EVIL_REQUEST, 150_000);
        let of = |n, sizes: &[usize], ext: &str| {
            Exchange::in_chunks(n, &body, &evil(EVIL_RESPONSE, 90_000), sizes, ext)
        };
        let all =
            (0..8).map(|n| of(n, [&[40_000][..], &[1000, 3, 20_000]][n % 2], [&extension, ""][n / 2 % 2]));
        survives(all.collect(), |at| [Cut::Whole, Cut::Pieces(1448)][at / 4].clone());
    }
}

/// What there is before the recorder starts, and what the other side has of it.
struct Old {
    client: Connection,
    server: ScriptedServer,
}

/// Records of a connection that began before. Nothing may be wrong, and the last `followers` must all be there.
fn check_joined(records: &[Value], all: &[Exchange], followers: &[Exchange]) {
    for record in records {
        let target = record["request"]["target"].as_str();
        assert_ne!(target, Some("/evil"), "{record}");
        assert_ne!(record["response"]["status"], 500, "{record}");
        let id = |side: &str| {
            record[side].is_object().then(|| field(&record[side], "x-id").unwrap_or("").to_owned())
        };
        if let (Some(request), Some(response)) = (id("request"), id("response")) {
            assert_eq!(request, response, "{record}");
        }
        let id = id("request").or(id("response")).unwrap();
        assert!(all.iter().any(|exchange| exchange.number.to_string() == id), "{record}");
    }
    let numbers = records.iter().filter(|record| record["request"].is_object());
    let of_followers: Vec<Value> = numbers
        .filter(|record| followers.iter().any(|e| record["request"]["target"] == format!("/{}", e.number)))
        .cloned()
        .collect();
    check_all(&of_followers, followers);
}

#[test]
fn a_connection_that_was_idle_before_the_start_is_recorded_from_then_on() {
    if !ready() {
        return;
    }
    let before: Vec<Exchange> = (0..9).map(Exchange::any).collect();
    let after: Vec<Exchange> = (100..160).map(Exchange::any).collect();
    let all = [before.clone(), after.clone()].concat();
    let server = ScriptedServer::start("127.0.0.1", None, vec![script(&all, |_| Cut::Whole)]);
    let mut old = Old { client: Connection::connect(server.address(), None), server };
    ask(&mut old.client, &before, |_| Cut::Whole);
    let recorder = Recorder::start(&filter_of(old.server.address()));
    ask(&mut old.client, &after, |_| Cut::Whole);
    check_all(&recorder.finish(after.len()), &after);
}

#[test]
fn a_connection_in_the_middle_of_an_upload_at_the_start_gives_no_wrong_record() {
    if !ready() {
        return;
    }
    let upload = Exchange::of(1, "POST", 200, "", &evil(EVIL_REQUEST, 32 * 1000), b"done");
    let after: Vec<Exchange> = (100..130).map(Exchange::any).collect();
    let mut all = vec![upload];
    all.extend(after.clone());
    // Cut so that a segment begins with what looks like a request, and within one.
    for split in [all[0].request.len() - 32 * 500, all[0].request.len() - 32 * 500 + 7] {
        let server = ScriptedServer::start("127.0.0.1", None, vec![script(&all, |_| Cut::Whole)]);
        let mut old = Old { client: Connection::connect(server.address(), None), server };
        old.client.send(&all[0].request[..split]);
        let recorder = Recorder::start(&filter_of(old.server.address()));
        old.client.send_pieces(all[0].request[split..].chunks(32), GAP);
        old.client.read_bytes(all[0].response.len());
        ask(&mut old.client, &after, |_| Cut::Whole);
        recorder.wait(after.len());
        let finished = recorder.stop();
        check_joined(&finished.records, &all, &after);
    }
}

#[test]
fn a_connection_in_the_middle_of_a_download_at_the_start_gives_no_wrong_record() {
    if !ready() {
        return;
    }
    let download = Exchange::of(1, "GET", 200, "", b"", &evil(EVIL_RESPONSE, 40 * 1000));
    let after: Vec<Exchange> = (100..130).map(Exchange::any).collect();
    let mut all = vec![download];
    all.extend(after.clone());
    for split in [all[0].response.len() - 40 * 500, all[0].response.len() - 40 * 500 + 7] {
        let (head, rest) = all[0].response.split_at(split);
        let (started, go_on) = std::sync::mpsc::channel();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::scope(|scope| {
            let (all, after) = (&all, &after);
            scope.spawn(move || {
                let mut server = Connection::new(listener.accept().unwrap().0);
                server.read_bytes(all[0].request.len());
                server.send(head);
                go_on.recv().unwrap();
                server.send_pieces(rest.chunks(40), GAP);
                for exchange in after {
                    server.read_bytes(exchange.request.len());
                    server.send(&exchange.response);
                }
            });
            let mut client = Connection::connect(address, None);
            client.send(&all[0].request);
            client.read_bytes(split);
            let recorder = Recorder::start(&filter_of(address));
            started.send(()).unwrap();
            client.read_bytes(rest.len());
            ask(&mut client, after, |_| Cut::Whole);
            recorder.wait(after.len());
            let finished = recorder.stop();
            check_joined(&finished.records, all, after);
        });
    }
}

#[test]
fn a_reset_in_the_middle_of_a_body_is_named() {
    if !ready() {
        return;
    }
    let request = b"GET /cut HTTP/1.1\r\nHost: test\r\n\r\n";
    let response = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n0123456789";
    let steps = vec![Step::ReadHead, Step::Send(response.to_vec()), Step::ReadBytes(1), Step::Reset];
    let server = ScriptedServer::start("127.0.0.1", None, vec![steps]);
    let recorder = Recorder::start(&filter_of(server.address()));
    let mut client = Connection::connect(server.address(), None);
    client.send(request);
    client.read_bytes(response.len());
    // The server resets when it reads this.
    client.send(b"G");
    assert_eq!(client.read_to_end(), b"");
    // Before the recorder ends: what ends with the recording is cut, too.
    assert!(recorder.wait(1));
    let records = recorder.finish(1);
    assert_eq!(records[0]["response"]["status"], 200);
    assert_eq!(records[0]["incomplete"][0]["reason"], "closed_early");
    assert_eq!(records[0]["incomplete"][0]["side"], "response");
    assert_eq!(records[0]["incomplete"].as_array().unwrap().len(), 1);
}

#[test]
fn a_reset_in_the_middle_of_an_upload_is_named() {
    if !ready() {
        return;
    }
    let request = b"POST /cut HTTP/1.1\r\nHost: test\r\nContent-Length: 1000\r\n\r\n0123456789";
    let server =
        ScriptedServer::start("127.0.0.1", None, vec![vec![Step::ReadBytes(request.len()), Step::Reset]]);
    let recorder = Recorder::start(&filter_of(server.address()));
    let mut client = Connection::connect(server.address(), None);
    client.send(request);
    assert_eq!(client.read_to_end(), b"");
    assert!(recorder.wait(1));
    let records = recorder.finish(1);
    assert_eq!(records[0]["request"]["method"], "POST");
    assert_eq!(records[0]["response"], Value::Null);
    let named: Vec<String> = records[0]["incomplete"]
        .as_array()
        .unwrap()
        .iter()
        .map(|i| format!("{} {}", i["side"].as_str().unwrap(), i["reason"].as_str().unwrap()))
        .collect();
    assert_eq!(named, ["request closed_early", "response response_missing"]);
}

#[test]
fn empty_lines_before_a_request_are_passed_over() {
    if !ready() {
        return;
    }
    let exchanges: Vec<Exchange> = (0..40).map(Exchange::any).collect();
    let mut with_lines = exchanges.clone();
    for (n, exchange) in with_lines.iter_mut().enumerate() {
        let lines = ["", "\r\n", "\r\n\r\n", "\n"][n % 4].as_bytes();
        exchange.request = [lines, &exchange.request].concat();
    }
    let server = ScriptedServer::start("127.0.0.1", None, vec![script(&with_lines, |_| Cut::Whole)]);
    let recorder = Recorder::start(&filter_of(server.address()));
    let mut client = Connection::connect(server.address(), None);
    ask(&mut client, &with_lines, |at| if at % 2 == 0 { Cut::Whole } else { Cut::At(1) });
    check_all(&recorder.finish(exchanges.len()), &exchanges);
}

#[test]
fn bodies_that_arrive_with_the_next_head() {
    if !ready() {
        return;
    }
    // The end of one message and the beginning of the next in one segment, over and over.
    let exchanges: Vec<Exchange> = (0..64).map(Exchange::any).collect();
    let requests: Vec<u8> = exchanges.iter().flat_map(|e| e.request.clone()).collect();
    let responses: Vec<u8> = exchanges.iter().flat_map(|e| e.response.clone()).collect();
    for size in [61, 97, 1000] {
        let pieces = responses.chunks(size).map(<[u8]>::to_vec).collect();
        let steps = vec![Step::ReadBytes(requests.len()), Step::SendPieces(pieces, GAP)];
        let server = ScriptedServer::start("127.0.0.1", None, vec![steps]);
        let recorder = Recorder::start(&filter_of(server.address()));
        let mut client = Connection::connect(server.address(), None);
        client.send_pieces(requests.chunks(size), GAP);
        client.read_bytes(responses.len());
        check_all(&recorder.finish(exchanges.len()), &exchanges);
    }
}

#[test]
fn a_chunked_body_in_segments_of_odd_sizes() {
    if ready() {
        let body = evil(EVIL_RESPONSE, 400);
        let of = |n: usize| Exchange::in_chunks(n, &body[n..], &body[n * 2..], &[n % 7 + 1, 90], "");
        survives((0..60).map(of).collect(), |at| Cut::Pieces(3 + at % 11));
        // The helper makes what the standard says.
        assert_eq!(chunked(b"abc", &[2], ";e", "T: 1\r\n"), b"2;e\r\nab\r\n1;e\r\nc\r\n0\r\nT: 1\r\n\r\n");
    }
}

#[test]
fn slow_segments_do_not_time_out() {
    if !ready() {
        return;
    }
    let exchange = Exchange::any(1);
    let server = ScriptedServer::start(
        "127.0.0.1",
        None,
        vec![script(std::slice::from_ref(&exchange), |_| Cut::Whole)],
    );
    let recorder = Recorder::start(&filter_of(server.address()));
    let mut client = Connection::connect(server.address(), None);
    // Time is what is tested here: longer than the intervals at which the recorder looks at time-outs.
    client.send_pieces(exchange.request.chunks(30), Duration::from_millis(150));
    client.read_bytes(exchange.response.len());
    let records = recorder.finish(1);
    exchange.check(&records[0]);
    let request_ns = records[0]["timing"]["request_ns"].as_u64().unwrap();
    assert!(request_ns > 300_000_000, "{request_ns}");
}
