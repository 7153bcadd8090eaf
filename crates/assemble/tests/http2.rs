//! HTTP/2 through the assembler: by example, and cut, interleaved and broken in any way.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::h2::*;
use common::{REQUESTS, RESPONSES, Talk, assert_balance, has, line};
use headtrail_assemble::Limits;
use headtrail_record::event::{CloseReason, Direction, flags};
use headtrail_record::transaction::{IncompleteReason, Side};
use proptest::prelude::*;

#[test]
fn an_exchange() {
    let mut talk = opened();
    let fields =
        [(":method", "POST"), (":path", "/a"), (":authority", "h"), ("x", "1"), ("x", "2"), ("x", "1")];
    talk.request(headers(1, 0, &fields));
    talk.request([data(1, 0, 10), data(1, END_STREAM, 5)].concat());
    talk.response([headers(1, 0, &[(":status", "100")]), ok(1, 0), data(1, 0, 7)].concat());
    assert!(talk.out.is_empty());
    talk.response(headers(1, END_STREAM, &[("grpc-status", "0"), ("grpc-message", "")]));
    assert_eq!(talk.lines(), ["POST /a 15 -> (100) 200 7"]);
    let tx = &talk.out[0];
    assert_eq!(tx.stream, Some(1));
    assert_eq!(request_lines(tx), pairs(&fields));
    let trailers = tx.response.as_ref().unwrap().trailers().map(|(n, v)| (n.to_vec(), v.to_vec()));
    assert_eq!(texts(trailers), pairs(&[("grpc-status", "0"), ("grpc-message", "")]));
}

#[test]
fn the_preface_in_two_pieces() {
    for at in 1..PREFACE.len() {
        let mut talk = Talk::raw();
        talk.request(&PREFACE[..at]);
        talk.request([&PREFACE[at..], &frame(4, 0, 0, &[])].concat());
        talk.response(frame(4, 0, 0, &[]));
        talk.request(get(1, "/a"));
        talk.response(ok(1, END_STREAM));
        assert_eq!(talk.lines(), ["GET /a 0 -> 200 0"], "{at}");
    }
}

#[test]
fn blocks_in_pieces_with_padding_and_priority() {
    let mut talk = opened();
    let fields = block(&[(":method", "GET"), (":path", "/pieces"), ("a", "b")]);
    let (one, rest) = fields.split_at(3);
    let (two, three) = rest.split_at(9);
    let first = [&[4u8, 0, 0, 0, 0, 16][..], one, &[0; 4]].concat();
    talk.request(frame(1, END_STREAM | PADDED | PRIORITY, 1, &first));
    talk.request(frame(9, 0, 1, two));
    talk.request(frame(9, END_HEADERS, 1, three));
    let body = [&[3u8][..], b"body", &[0; 3]].concat();
    talk.response([ok(1, 0), frame(0, PADDED | END_STREAM, 1, &body)].concat());
    assert_eq!(talk.lines(), ["GET /pieces 0 -> 200 4"]);
}

#[test]
fn streams_end_with_their_reason() {
    let mut talk = opened();
    for (stream, path) in [(1, "/cancelled"), (3, "/refused"), (5, "/left-out"), (7, "/cut")] {
        talk.request(get(stream, path));
    }
    talk.response(ok(1, 0));
    talk.request(frame(3, 0, 1, &8u32.to_be_bytes()));
    // What is still on the way for it is no transaction of its own.
    talk.response(headers(1, END_STREAM, &[("grpc-status", "0")]));
    talk.response(frame(3, 0, 3, &7u32.to_be_bytes()));
    talk.response(frame(7, 0, 0, &[&7u32.to_be_bytes()[..], &2u32.to_be_bytes()].concat()));
    talk.request(get(9, "/late"));
    talk.response(frame(7, 0, 0, &[&7u32.to_be_bytes()[..], &2u32.to_be_bytes()].concat()));
    talk.close(CloseReason::Reset);
    assert_eq!(
        talk.lines(),
        [
            "GET /cancelled 0 -> 200 0 closed_early/response",
            "GET /refused 0 -> - response_missing/response",
            "GET /late 0 -> - response_missing/response",
            "GET /left-out 0 -> - response_missing/response",
            "GET /cut 0 -> - response_missing/response",
        ]
    );
    let resets: Vec<_> =
        talk.out.iter().map(|tx| tx.reset.map(|r| (r.by, r.error().into_owned(), r.goaway))).collect();
    assert_eq!(resets[0], Some((Side::Request, "CANCEL".into(), false)));
    assert_eq!(resets[1], Some((Side::Response, "REFUSED_STREAM".into(), false)));
    assert_eq!(resets[2], Some((Side::Response, "INTERNAL_ERROR".into(), true)));
    assert_eq!(resets[3..], [None, None]);
}

#[test]
fn a_promise_is_a_request() {
    let mut talk = opened();
    talk.request(get(1, "/page"));
    let fields = block(&[(":method", "GET"), (":path", "/style")]);
    talk.response(frame(5, END_HEADERS, 1, &[&2u32.to_be_bytes()[..], &fields].concat()));
    talk.response([ok(1, END_STREAM), ok(2, 0), data(2, END_STREAM, 3)].concat());
    assert_eq!(talk.lines(), ["GET /page 0 -> 200 0", "GET /style 0 -> 200 3 !pushed"]);
}

#[test]
fn content_that_is_passed_over_need_not_be_there() {
    let mut talk = opened();
    talk.request(
        [&headers(1, 0, &[(":method", "PUT"), (":path", "/")])[..], &data(1, END_STREAM, 1000)[..12]]
            .concat(),
    );
    talk.skip(REQUESTS, 997);
    talk.request(get(3, "/next"));
    talk.response([ok(1, END_STREAM), ok(3, END_STREAM)].concat());
    assert_eq!(talk.lines(), ["PUT / 1000 -> 200 0", "GET /next 0 -> 200 0"]);
}

#[test]
fn behind_a_gap_nothing_is_guessed() {
    let mut talk = opened();
    talk.request(get(1, "/seen"));
    talk.skip(REQUESTS, 40);
    talk.request(get(5, "/behind"));
    talk.response(ok(1, END_STREAM));
    talk.tick(10_000_000_000);
    assert_eq!(talk.lines(), ["GET /seen 0 -> 200 0"]);
    // The other direction goes on, and says what it answers.
    talk.response(ok(5, END_STREAM));
    assert_eq!(talk.lines()[1..], ["- -> 200 0 request_missing/request gap/request"]);
    assert_eq!(talk.assembler.counters().http2_lost, 1);
    talk.skip(RESPONSES, 9);
    talk.response(ok(7, END_STREAM));
    talk.tick(60_000_000_000).finish();
    assert_eq!(talk.out.len(), 2);
}

#[test]
fn requests_go_on_where_responses_are_lost() {
    let mut talk = opened();
    talk.request(get(1, "/one"));
    talk.skip(RESPONSES, 9);
    talk.response(ok(1, END_STREAM));
    talk.request(get(3, "/two"));
    talk.tick(60_000_000_000);
    talk.request(get(5, "/three"));
    let missing = |path: &str| format!("GET {path} 0 -> - gap/response response_missing/response");
    assert_eq!(talk.lines(), [missing("/one"), missing("/two"), missing("/three")]);
}

#[test]
fn a_client_that_speaks_http_1_to_such_a_server_is_heard() {
    let mut talk = Talk::raw();
    talk.response(frame(4, 0, 0, &[]));
    talk.request("GET /one HTTP/1.1\r\nHost: h\r\n\r\n").close(CloseReason::Fin);
    assert_eq!(talk.out.len(), 1);
    assert!(line(&talk.out[0]).starts_with("GET /one 0 -> - "), "{:?}", talk.lines());
}

#[test]
fn an_upgrade_goes_on_as_stream_1() {
    let mut talk = Talk::raw();
    talk.request("GET /up HTTP/1.1\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n");
    let switch = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";
    talk.response([&switch[..], &frame(4, 0, 0, &[])].concat());
    talk.request([PREFACE, &frame(4, 0, 0, &[]), &get(3, "/more")].concat());
    talk.response([ok(1, 0), data(1, END_STREAM, 9), ok(3, END_STREAM)].concat());
    assert_eq!(talk.lines(), ["GET /up 0 -> (101) 200 9", "GET /more 0 -> 200 0"]);
    assert_eq!(talk.out[0].stream, Some(1));
}

#[test]
fn pseudo_fields_that_are_wrong_are_named() {
    let mut talk = opened();
    talk.request(headers(1, END_STREAM, &[(":method", "GET"), ("a", "b"), (":path", "/late")]));
    talk.request(headers(3, END_STREAM, &[(":method", "GET")]));
    talk.request(headers(5, END_STREAM, &[(":method", "A"), (":method", "B"), (":path", "/twice")]));
    talk.request(headers(7, END_STREAM, &[(":method", "GET"), (":path", "/odd"), (":odd", "")]));
    talk.request(headers(9, END_STREAM, &[(":method", "CONNECT"), (":authority", "h:1")]));
    talk.response([1, 3, 5, 7, 9].iter().flat_map(|&s| ok(s, END_STREAM)).collect::<Vec<u8>>());
    assert_eq!(
        talk.lines(),
        [
            "GET /late 0 -> 200 0 !pseudo_fields_invalid",
            "GET  0 -> 200 0 !pseudo_fields_invalid",
            "A /twice 0 -> 200 0 !pseudo_fields_invalid",
            "GET /odd 0 -> 200 0 !pseudo_fields_invalid",
            "CONNECT h:1 0 -> 200 0",
        ]
    );
}

#[test]
fn streams_without_end_do_not_grow() {
    let mut talk = Talk::with(flags::RAW | flags::FRESH, Limits { streams_max: 100, ..Limits::default() });
    talk.request([PREFACE, &frame(4, 0, 0, &[])].concat());
    talk.response(frame(4, 0, 0, &[]));
    let mut most = 0;
    for i in 0..5_000u32 {
        talk.request(get(2 * i + 1, "/never-answered"));
        // A block that never ends, too.
        if i == 2_500 {
            talk.request(frame(1, 0, 2 * i + 3, &block(&[(":method", "GET"), (":path", "/")])));
        }
        most = most.max(talk.assembler.held_bytes());
        talk.out.clear();
    }
    assert!(most < 600_000, "{most}");
    assert_balance(&talk.assembler);
}

#[test]
fn a_block_without_end_does_not_grow() {
    let mut talk = opened();
    talk.request(frame(1, 0, 1, &block(&[(":method", "GET"), (":path", "/"), ("a", "b")])));
    for _ in 0..2_000 {
        talk.request(frame(9, 0, 1, &block(&[("name", &"v".repeat(120))])));
        assert!(talk.assembler.held_bytes() < 300_000);
    }
    talk.request(frame(9, END_HEADERS, 1, &[]));
    talk.response(ok(1, END_STREAM));
    talk.finish();
    assert_eq!(talk.out.len(), 1);
    assert!(has(&talk.out[0], IncompleteReason::Truncated), "{:?}", talk.lines());
    assert!(request_lines(&talk.out[0]).len() <= 512);
}

/// Sends bytes in pieces; some packets are swapped, some come twice.
fn send(talk: &mut Talk, direction: Direction, bytes: &[u8], cuts: &[usize]) {
    let (mut at, mut held) = (0, None);
    for i in 0.. {
        if at >= bytes.len() {
            break;
        }
        let cut = cuts[i % cuts.len()];
        let end = (at + cut.max(1)).min(bytes.len());
        let segment = talk.segment(direction, talk.next[direction.index()], &bytes[at..end], 0);
        talk.skip(direction, (end - at) as u32);
        at = end;
        match cut % 7 {
            0 if held.is_none() => held = Some((i, segment)),
            1 => drop(talk.apply(&segment).apply(&segment)),
            _ => drop(talk.apply(&segment)),
        }
        // Not later than reassembly waits for.
        if let Some((_, late)) = held.take_if(|(since, _)| i > *since + 2 || at >= bytes.len()) {
            talk.apply(&late);
        }
    }
}

proptest! {
    #[test]
    fn however_it_is_cut_every_exchange_is_whole(
        specs in prop::collection::vec(spec(), 1..12),
        choices in prop::collection::vec(0usize..100, 1..50),
        cuts in prop::collection::vec(prop_oneof![1usize..20, 1usize..3000], 1..50),
    ) {
        let mut talk = opened();
        let stream = |i: usize| 2 * i as u32 + 1;
        let frames: Vec<_> = specs.iter().enumerate().map(|(i, s)| s.frames(stream(i))).collect();
        // Streams begin in their order: HEADERS first, the rest interleaved.
        let mut requests = Vec::new();
        let mut rest = Vec::new();
        for [request, _] in &frames {
            requests.extend(request[0].clone());
            rest.push(request[1..].to_vec());
        }
        requests.extend(merge(rest, &choices));
        let responses = merge(frames.iter().map(|f| f[1].clone()).collect(), &choices);
        send(&mut talk, REQUESTS, &requests, &cuts);
        send(&mut talk, RESPONSES, &responses, &cuts);
        talk.finish();
        let mut lines = talk.lines();
        let mut expected: Vec<_> = specs.iter().enumerate().map(|(i, s)| s.expected(stream(i))).collect();
        lines.sort();
        expected.sort();
        prop_assert_eq!(lines, expected);
        for tx in &talk.out {
            let path = format!("/{}", tx.stream.unwrap());
            let fields = [(":method", "POST"), (":path", path.as_str()), ("x", "1"), ("x", path.as_str())];
            prop_assert_eq!(request_lines(tx), pairs(&fields));
        }
    }

    #[test]
    fn what_is_missing_never_makes_a_wrong_pair(
        specs in prop::collection::vec(spec(), 1..8),
        choices in prop::collection::vec(0usize..100, 1..50),
        cuts in prop::collection::vec(1usize..3000, 1..50),
        lost in prop::collection::vec(prop::bool::weighted(0.1), 64),
    ) {
        let mut talk = opened();
        let frames: Vec<_> = specs.iter().enumerate().map(|(i, s)| s.frames(2 * i as u32 + 1)).collect();
        for direction in [REQUESTS, RESPONSES] {
            let at = usize::from(direction == RESPONSES);
            let mut bytes = Vec::new();
            frames.iter().for_each(|f| bytes.extend(f[at][0].clone()));
            bytes.extend(merge(frames.iter().map(|f| f[at][1..].to_vec()).collect(), &choices));
            let mut rest = &bytes[..];
            for i in 0.. {
                if rest.is_empty() {
                    break;
                }
                let (piece, after) = rest.split_at(cuts[i % cuts.len()].min(rest.len()));
                rest = after;
                if lost[i % lost.len()] {
                    talk.skip(direction, piece.len() as u32);
                } else {
                    talk.send(direction, piece, 0);
                }
            }
        }
        talk.tick(60_000_000_000).finish();
        assert_balance(&talk.assembler);
        for tx in &talk.out {
            let path = format!("/{}", tx.stream.unwrap());
            if tx.request.is_some() {
                let fields = [(":method", "POST"), (":path", path.as_str()), ("x", "1"), ("x", path.as_str())];
                prop_assert_eq!(request_lines(tx), pairs(&fields));
            }
            if let Some(response) = &tx.response {
                let fields = texts(response.lines().map(|(n, v)| (n.to_vec(), v.to_vec())));
                prop_assert_eq!(fields, pairs(&[(":status", "200"), ("y", path.as_str())]));
            }
        }
    }

    #[test]
    fn any_frames_are_survived(
        frames in prop::collection::vec(
            (0u8..12, any::<u8>(), 0u32..12, prop::collection::vec(any::<u8>(), 0..40), any::<bool>()),
            0..60,
        ),
    ) {
        let mut talk = opened();
        for (kind, flags, stream, payload, from_client) in frames {
            let direction = if from_client { REQUESTS } else { RESPONSES };
            talk.send(direction, frame(kind, flags, stream, &payload), 0);
        }
        talk.finish();
        assert_balance(&talk.assembler);
    }
}
