//! Long calls are told twice: when they are known to last, and when they have ended.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::script::{Streams, script};
use common::{Owned, REQUESTS, RESPONSES, Talk, assert_balance, line};
use headtrail_assemble::{Assembler, Limits};
use headtrail_record::event::{CloseReason, Direction, flags};
use headtrail_record::transaction::{Phase, RawTransaction};
use proptest::collection::vec;
use proptest::prelude::*;

const SECOND_NS: u64 = 1_000_000_000;
const GET: &str = "GET /a HTTP/1.1\r\n\r\n";
const EVENTS: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: Text/Event-Stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n";
const UPGRADE: &str = "GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n";
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\n\r\n";

/// Each end names a start that came before it, once; numbers are all different.
fn check_phases(out: &[RawTransaction]) {
    let mut open = Vec::new();
    let mut numbers = Vec::new();
    for tx in out {
        assert!(!numbers.contains(&(tx.connection, tx.number)), "{}", tx.number);
        numbers.push((tx.connection, tx.number));
        match tx.phase {
            Phase::Whole => {}
            Phase::Start => open.push((tx.connection, tx.number)),
            Phase::End { start } => {
                let at = open.iter().position(|of| *of == (tx.connection, start));
                open.remove(at.unwrap_or_else(|| panic!("no start {start}")));
            }
        }
        assert!(tx.close.is_none() || matches!(tx.phase, Phase::End { .. }));
    }
    assert_eq!(open, [], "starts without an end");
}

#[test]
fn a_stream_of_events_is_told_with_the_head_of_its_response_and_when_it_ends() {
    for mut talk in [Talk::raw(), Talk::walked()] {
        talk.send(REQUESTS, GET, flags::START).send(RESPONSES, EVENTS, flags::START);
        assert_eq!(talk.lines(), ["start GET /a 0 -> 200 ?"]);
        let chunk = "6\r\ndata:1\r\n";
        for _ in 0..3 {
            talk.tick(20 * SECOND_NS);
            if talk.flags & flags::RAW != 0 {
                talk.response(chunk);
            } else {
                talk.skip(RESPONSES, chunk.len() as u32);
            }
        }
        talk.tick(20 * SECOND_NS);
        if talk.flags & flags::RAW != 0 {
            talk.response("0\r\nX: 1\r\n\r\n");
        } else {
            talk.body_end(RESPONSES, 18).response("0\r\nX: 1\r\n\r\n");
        }
        talk.request(GET).response("HTTP/1.1 204 No Content\r\n\r\n").finish();
        assert_eq!(talk.lines(), ["start GET /a 0 -> 200 ?", "end GET /a 0 -> 200 18", "GET /a 0 -> 204 0"]);
        let end = &talk.out[1];
        let response = end.response.as_ref().unwrap();
        assert_eq!(response.trailers.len(), 1);
        assert!(response.last_ns - response.first_ns >= 80 * SECOND_NS);
        assert_eq!((end.phase, end.number, end.close), (Phase::End { start: 0 }, 1, None));
        assert_eq!(talk.assembler.counters().transactions, 2);
        assert_eq!(talk.assembler.counters().long_calls, 1);
        check_phases(&talk.out);
    }
}

#[test]
fn a_stream_of_events_without_content_is_no_long_call() {
    for (request, response) in [
        ("HEAD /a HTTP/1.1\r\n\r\n", EVENTS),
        (GET, "HTTP/1.1 204 No Content\r\nContent-Type: text/event-stream\r\n\r\n"),
        (GET, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 0\r\n\r\n"),
        (GET, "HTTP/1.1 200 OK\r\nContent-Type: text/event-streams\r\nContent-Length: 1\r\n\r\nx"),
    ] {
        let mut talk = Talk::raw();
        talk.request(request).response(response).finish();
        assert_eq!(talk.out.len(), 1, "{:?}", talk.lines());
        assert_eq!(talk.out[0].phase, Phase::Whole);
    }
}

#[test]
fn what_is_open_for_long_is_told_then() {
    let mut talk = Talk::raw();
    talk.request("POST /poll HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc");
    talk.tick(9 * SECOND_NS).tick(SECOND_NS / 2);
    assert_eq!(talk.lines(), [""; 0]);
    talk.tick(SECOND_NS / 2).tick(30 * SECOND_NS);
    // No response is missing: it may still come.
    assert_eq!(talk.lines(), ["start POST /poll 3 -> -"]);
    talk.response("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").finish();
    assert_eq!(talk.lines(), ["start POST /poll 3 -> -", "end POST /poll 3 -> 200 2"]);
    check_phases(&talk.out);
}

#[test]
fn the_next_event_tells_it_where_nobody_ticks() {
    let mut talk = Talk::raw();
    talk.request(GET);
    talk.time_ns += 30 * SECOND_NS;
    talk.response("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").finish();
    assert_eq!(talk.lines(), ["start GET /a 0 -> -", "end GET /a 0 -> 200 2"]);
}

#[test]
fn each_exchange_has_its_own_time() {
    let mut talk = Talk::raw();
    for _ in 0..30 {
        talk.request(GET).response("HTTP/1.1 204 No Content\r\n\r\n").tick(SECOND_NS);
    }
    // The connection is old, its exchanges are not.
    assert!(talk.out.iter().all(|tx| tx.phase == Phase::Whole));
    talk.out.clear();
    talk.request(GET).tick(6 * SECOND_NS).request("GET /b HTTP/1.1\r\n\r\n").tick(5 * SECOND_NS);
    assert_eq!(talk.lines(), ["start GET /a 0 -> -"]);
    talk.tick(5 * SECOND_NS);
    assert_eq!(talk.lines(), ["start GET /a 0 -> -", "start GET /b 0 -> -"]);
    talk.close(CloseReason::Reset);
    let ends = ["end GET /a 0 -> - response_missing/response", "end GET /b 0 -> - response_missing/response"];
    assert_eq!(talk.lines()[2..], ends);
    assert!(talk.out[2..].iter().all(|tx| tx.close == Some(CloseReason::Reset)));
    check_phases(&talk.out);
}

#[test]
fn a_request_that_is_still_being_sent_has_no_size_yet() {
    let mut talk = Talk::raw();
    talk.request("POST /up HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc").tick(11 * SECOND_NS);
    talk.request("defghi").response("HTTP/1.1 204 No Content\r\n\r\n").finish();
    assert_eq!(talk.lines(), ["start POST /up ? -> -", "end POST /up 9 -> 204 0"]);
}

#[test]
fn a_tunnel_ends_with_its_connection_and_counts_what_went_through() {
    let mut talk = Talk::raw();
    talk.request(UPGRADE).response([SWITCH, "\x01\x02"].concat());
    assert_eq!(talk.lines(), ["start GET /ws ? -> 101 ?"]);
    talk.request("12345").response("GET / HTTP/1.1\r\n\r\n").request(GET);
    // Once more, and with a hole in what was captured.
    talk.skip(REQUESTS, 100).request("x");
    talk.time_ns += 60 * SECOND_NS;
    talk.fin(REQUESTS).fin(RESPONSES).close(CloseReason::Fin);
    assert_eq!(talk.lines(), ["start GET /ws ? -> 101 ?", "end GET /ws 125 -> 101 20"]);
    let end = &talk.out[1];
    assert_eq!(end.close, Some(CloseReason::Fin));
    let response = end.response.as_ref().unwrap();
    assert!(response.last_ns - response.first_ns > 60 * SECOND_NS);
    check_phases(&talk.out);
}

#[test]
fn what_went_through_a_tunnel_is_not_known_where_it_was_passed_over() {
    let mut talk = Talk::walked();
    talk.send(REQUESTS, UPGRADE, flags::START).send(RESPONSES, SWITCH, flags::START);
    talk.skip(RESPONSES, 2 << 20).close(CloseReason::Reset);
    let end = "end GET /ws ? -> 101 ? closed_early/response";
    assert_eq!(talk.lines(), ["start GET /ws ? -> 101 ?", end]);
    // Only one direction was seen to its end.
    let mut talk = Talk::raw();
    talk.request(UPGRADE).response(SWITCH).request("abc").fin(REQUESTS).skip(RESPONSES, 2 << 20);
    talk.fin(RESPONSES).close(CloseReason::Fin);
    assert_eq!(talk.lines()[1], "end GET /ws 3 -> 101 ?");
}

#[test]
fn a_connect_is_a_tunnel_when_it_is_accepted_with_what_the_client_sent_before() {
    let mut talk = Talk::raw();
    talk.request("CONNECT x:443 HTTP/1.1\r\n\r\n").request("hello");
    talk.response("HTTP/1.1 200 OK\r\n\r\nyes").fin(REQUESTS).fin(RESPONSES).close(CloseReason::Fin);
    assert_eq!(talk.lines(), ["start CONNECT x:443 ? -> 200 ?", "end CONNECT x:443 5 -> 200 3"]);
}

#[test]
fn a_tunnel_whose_request_was_not_seen_is_told_too() {
    let mut talk = Talk::new(flags::RAW);
    talk.response(SWITCH).request("abc").fin(RESPONSES).close(CloseReason::Fin);
    let [start, end] = &talk.lines()[..] else { panic!("{:?}", talk.lines()) };
    assert!(start.starts_with("start - -> 101 ? request_missing/request"), "{start}");
    assert!(end.starts_with("end - -> 101 0 request_missing/request"), "{end}");
}

#[test]
fn what_is_given_up_to_save_memory_has_an_end_that_says_so() {
    let limits = Limits { long_call_ns: 10 * SECOND_NS, ..Limits::default() };
    let mut talk = Talk::with(flags::RAW | flags::FRESH, limits);
    talk.request(GET).response(EVENTS);
    talk.connection = 2;
    talk.next = common::BASES;
    talk.request(UPGRADE).response(SWITCH);
    let out = &mut talk.out;
    talk.assembler.shed(0, &mut |tx| out.push(tx));
    let ends = ["end GET /a 0 -> 200 ? memory/response", "end GET /ws ? -> 101 ? memory/response"];
    let found: Vec<String> = talk.lines()[2..].iter().map(|l| l.split('@').next().unwrap().into()).collect();
    assert_eq!(found, ends);
    check_phases(&talk.out);
}

#[test]
fn a_pair_that_may_be_none_is_not_told_as_one() {
    // Joined: requests before this one may be unanswered.
    let mut talk = Talk::new(flags::RAW);
    talk.request("GET /b HTTP/1.1\r\n\r\n").response(EVENTS).tick(12 * SECOND_NS);
    let starts: Vec<_> = talk.out.iter().filter(|tx| tx.phase == Phase::Start).map(line).collect();
    assert_eq!(starts, ["start GET /b 0 -> -"]);
    talk.response("0\r\n\r\n").tick(2 * SECOND_NS);
    assert_eq!(talk.lines(), ["start GET /b 0 -> -", "end GET /b 0 -> 200 0"]);
}

#[test]
fn one_end_of_two_is_told_of_a_call_that_both_see() {
    let mut talk = Talk::raw();
    let mut next = common::BASES;
    // What the server's socket receives, the client's sends.
    let mut both = |talk: &mut Talk, direction: Direction, bytes: &str| {
        (talk.connection, talk.next) = (1, next);
        talk.send(direction, bytes, 0);
        (talk.connection, talk.next) = (100, [next[1], next[0]]);
        talk.send(direction.reverse(), bytes, 0);
        next[direction.index()] = next[direction.index()].wrapping_add(bytes.len() as u32);
    };
    both(&mut talk, REQUESTS, GET);
    both(&mut talk, RESPONSES, EVENTS);
    talk.tick(60 * SECOND_NS);
    both(&mut talk, RESPONSES, "0\r\n\r\n");
    talk.finish();
    assert_balance(&talk.assembler);
    let phases: Vec<_> = talk.out.iter().map(|tx| tx.phase.name()).collect();
    assert_eq!(phases, ["start", "end"], "{:?}", talk.lines());
    check_phases(&talk.out);
}

#[test]
fn a_silent_connection_with_a_long_call_is_not_given_up_at_once() {
    let mut talk = Talk::walked();
    talk.send(REQUESTS, GET, flags::START).send(RESPONSES, EVENTS, flags::START);
    for _ in 0..10 {
        talk.tick(3601 * SECOND_NS);
    }
    assert_eq!(talk.lines(), ["start GET /a 0 -> 200 ?"]);
    for _ in 0..20 {
        talk.tick(3601 * SECOND_NS);
    }
    assert_eq!(talk.lines()[1..], ["end GET /a 0 -> 200 ? closed_early/response@95"]);
    assert_eq!(talk.out[1].close, Some(CloseReason::Evicted));
    assert_eq!(talk.assembler.connections(), 0);
}

#[test]
fn connections_that_come_and_go_leave_nothing_behind() {
    let limits = Limits { connections_max: 16, ..Limits::default() };
    let mut talk = Talk::with(flags::RAW | flags::FRESH, limits);
    for connection in 0..10_000 {
        talk.connection = connection;
        talk.next = common::BASES;
        talk.request(GET).response("HTTP/1.1 204 No Content\r\n\r\n").close(CloseReason::Fin);
    }
    assert!(talk.assembler.held_bytes() < 1 << 20, "{}", talk.assembler.held_bytes());
    talk.finish();
    assert_eq!(talk.assembler.held_bytes(), 0);
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const END_STREAM: u8 = 1;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A block of literals without indexing (RFC 7541, 6.2.2).
fn headers(flags: u8, stream: u32, fields: &[(&str, &str)]) -> Vec<u8> {
    let literal = |(name, value): &(&str, &str)| {
        [&[0, name.len() as u8], name.as_bytes(), &[value.len() as u8], value.as_bytes()].concat()
    };
    frame(1, flags | 4, stream, &fields.iter().flat_map(literal).collect::<Vec<_>>())
}

/// A connection that speaks HTTP/2.
fn http2() -> Talk {
    let mut talk = Talk::raw();
    talk.request([PREFACE, &frame(4, 0, 0, &[])].concat()).response(frame(4, 0, 0, &[]));
    talk
}

#[test]
fn a_stream_of_events_over_http2_is_told_at_once_and_others_are_not() {
    let mut talk = http2();
    for (stream, method) in [(1, "GET"), (3, "GET"), (5, "CONNECT"), (7, "GET")] {
        let fields = [(":method", method), (":scheme", "http"), (":authority", "h"), (":path", "/a")];
        let flags = if method == "GET" { END_STREAM } else { 0 };
        talk.request(headers(flags, stream, &fields));
    }
    let events = [(":status", "200"), ("content-type", "text/event-stream")];
    talk.response(headers(0, 1, &events)).response(headers(0, 3, &[(":status", "200")]));
    talk.response(headers(0, 5, &[(":status", "200")])).response(headers(END_STREAM, 7, &events));
    let told = ["start GET /a 0 -> 200 ?", "start CONNECT /a ? -> 200 ?", "GET /a 0 -> 200 0"];
    assert_eq!(talk.lines(), told);
    talk.response(frame(0, END_STREAM, 1, b"data: 1\n\n")).request(frame(0, END_STREAM, 5, b"abc"));
    talk.response(frame(3, 0, 5, &[0, 0, 0, 8])).response(frame(0, END_STREAM, 3, b"x"));
    let ends =
        ["end GET /a 0 -> 200 9", "end CONNECT /a 3 -> 200 0 closed_early/response", "GET /a 0 -> 200 1"];
    assert_eq!(talk.lines()[3..], ends);
    assert!(talk.out[4].reset.is_some());
    check_phases(&talk.out);
}

#[test]
fn a_call_of_grpc_that_streams_is_told_when_it_is_old() {
    let mut talk = http2();
    let fields = [(":method", "POST"), (":path", "/s/m"), ("content-type", "application/grpc")];
    talk.request(headers(0, 1, &fields)).request(frame(0, 0, 1, b"12345"));
    talk.tick(6 * SECOND_NS).request(headers(0, 3, &fields)).response(headers(0, 1, &[(":status", "200")]));
    talk.tick(5 * SECOND_NS);
    assert_eq!(talk.lines(), ["start POST /s/m ? -> 200 ?"]);
    // Each event of a connection whose calls are told costs no look at them.
    for _ in 0..9 {
        talk.tick(SECOND_NS).response(frame(0, 0, 1, b"12345"));
    }
    assert_eq!(talk.lines()[1..], ["start POST /s/m ? -> -"]);
    talk.request(frame(0, END_STREAM, 1, &[])).response(headers(END_STREAM, 1, &[("grpc-status", "0")]));
    talk.close(CloseReason::Reset);
    let ends =
        ["end POST /s/m 5 -> 200 45", "end POST /s/m 0 -> - closed_early/request response_missing/response"];
    assert_eq!(talk.lines()[2..], ends);
    assert_eq!((talk.out[2].close, talk.out[3].close), (None, Some(CloseReason::Reset)));
    assert_eq!(talk.out[2].response.as_ref().unwrap().trailers.len(), 1);
    check_phases(&talk.out);
}

/// The same bytes, slowly: so long between two events.
fn slow(streams: &Streams, cuts: &[usize], gaps_s: &[u64]) -> Vec<Owned> {
    let mut gaps = gaps_s.iter().copied().cycle();
    let mut now_ns = 0;
    let mut events = Vec::new();
    for packet in streams.packets(cuts).into_iter().flatten() {
        now_ns += gaps.next().unwrap_or(0) * SECOND_NS;
        events.push(streams.segment(&packet, packet.range.clone(), flags::RAW, now_ns));
    }
    events.extend(streams.ending(now_ns));
    events
}

fn run(events: &[Owned], ticks_s: u64) -> Vec<RawTransaction> {
    let mut assembler = Assembler::new(Limits::default());
    let (mut out, mut ticked_ns) = (Vec::new(), 0);
    for event in events {
        let (Owned::Segment { time_ns, .. }
        | Owned::Finished { time_ns, .. }
        | Owned::Closed { time_ns, .. }) = event
        else {
            panic!()
        };
        while ticks_s > 0 && ticked_ns + ticks_s * SECOND_NS < *time_ns {
            ticked_ns += ticks_s * SECOND_NS;
            assembler.tick(ticked_ns, &mut |tx| out.push(tx));
        }
        event.apply(&mut assembler, &mut out);
        assert_balance(&assembler);
    }
    assembler.finish(&mut |tx| out.push(tx));
    assert_balance(&assembler);
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn slow_conversations_are_told_with_starts_and_ends_that_match(
        script in script(true, false),
        cuts in vec(1usize..90, 1..8),
        gaps in vec(0u64..9, 1..6),
    ) {
        let streams = script.streams();
        let events = slow(&streams, &cuts, &gaps);
        let out = run(&events, 0);
        check_phases(&out);
        // Without the starts it is what quick ones give.
        let told = |out: &[RawTransaction]| {
            let ends = out.iter().filter(|tx| tx.phase != Phase::Start);
            ends.map(|tx| line(tx).trim_start_matches("end ").to_owned()).collect::<Vec<_>>()
        };
        prop_assert_eq!(told(&out), streams.expected.clone());
        // And it does not depend on who ticks.
        let all = |out: &[RawTransaction]| out.iter().map(|tx| (line(tx), tx.number)).collect::<Vec<_>>();
        prop_assert_eq!(all(&run(&events, 1)), all(&out));
    }
}
