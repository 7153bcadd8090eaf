//! HTTP/2 of which a part is not seen: what is read of the rest is what was sent, and it heals.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use common::h2::*;
use common::h2_talk::*;
use common::{REQUESTS, RESPONSES, Talk, assert_balance, line};
use headtrail_assemble::Limits;
use headtrail_record::event::{Direction, flags};
use headtrail_record::transaction::RawTransaction;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

type Packets = Vec<(Direction, Vec<u8>)>;
/// Bytes of a direction that are not seen: from, to.
type Hidden = [Option<(usize, usize)>; 2];

/// Plays a conversation without what is hidden, packets in pieces.
fn play(packets: &[(Direction, Vec<u8>)], hidden: Hidden, pieces: &[usize], limits: Limits) -> Talk {
    let mut talk = Talk::with(flags::RAW, limits);
    let mut at = [0usize; 2];
    let mut seen = [false; 2];
    let mut sizes = pieces.iter().cycle();
    for (direction, bytes) in packets {
        let index = direction.index();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let size = sizes.next().map_or(rest.len(), |&s| s.clamp(1, rest.len()));
            let (now, after) = rest.split_at(size);
            rest = after;
            let begin = at[index];
            at[index] += now.len();
            let (from, to) = hidden[index].unwrap_or((0, 0));
            let joined = from == 0 && to > 0;
            for (offset, part) in outside(now, begin, from, to) {
                assert!(offset >= begin);
                let flag = match (joined, std::mem::replace(&mut seen[index], true)) {
                    (false, _) => flags::FRESH,
                    (true, false) => flags::JOINED,
                    (true, true) => 0,
                };
                let base = common::BASES[index].wrapping_add(offset as u32);
                talk.next[index] = base;
                talk.send(*direction, part, flag);
            }
            talk.next[index] = common::BASES[index].wrapping_add(at[index] as u32);
        }
    }
    talk.tick(60_000_000_000).finish();
    assert_balance(&talk.assembler);
    assert_eq!(talk.assembler.held_bytes(), 0);
    talk
}

/// The parts of a piece, which begins at `begin`, that are not within `from..to`.
fn outside(piece: &[u8], begin: usize, from: usize, to: usize) -> Vec<(usize, &[u8])> {
    let place = |at: usize| at.saturating_sub(begin).min(piece.len());
    let (a, b) = (place(from), place(to).max(place(from)));
    let list = [(begin, &piece[..a]), (begin + b, &piece[b..])];
    list.into_iter().filter(|(_, part)| !part.is_empty()).collect()
}

fn length(packets: &[(Direction, Vec<u8>)], direction: Direction) -> usize {
    packets.iter().filter(|p| p.0 == direction).map(|p| p.1.len()).sum()
}

fn lines(out: &[RawTransaction]) -> String {
    out.iter().map(|tx| line(tx) + "\n").collect()
}

/// The last exchanges are told, and whole.
fn assert_healed(talk: &Talk, exchanges: usize, last: usize) {
    for i in exchanges - last..exchanges {
        let stream = 2 * i as u32 + 1;
        let tx = talk.out.iter().filter(|tx| tx.stream == Some(stream)).collect::<Vec<_>>();
        assert!(
            tx.len() == 1 && tx[0].incomplete.is_empty() && tx[0].anomalies.is_empty(),
            "{stream}: {:?}, {}",
            talk.assembler.counters(),
            lines(&talk.out)
        );
    }
}

/// Streams that a naive reader would find: it takes the first five frames in a row for true ones.
fn first_plausible(bytes: &[u8]) -> Option<usize> {
    let next = |at: usize| -> Option<usize> {
        let header = bytes.get(at..at + 9)?;
        let length = u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize;
        let stream = u32::from_be_bytes([header[5], header[6], header[7], header[8]]);
        let plausible =
            length <= 16_384 && header[3] <= 9 && stream < 1 << 16 && (header[3] == 1) >= (stream == 0);
        plausible.then_some(at + 9 + length)
    };
    (0..bytes.len()).find(|&at| (0..5).try_fold(at, |at, _| next(at)).is_some())
}

/// What a reader makes of a conversation that takes the first plausible frames for true ones.
fn naive(packets: &[(Direction, Vec<u8>)], cuts: [usize; 2]) -> Vec<RawTransaction> {
    let mut talk = opened();
    for direction in [REQUESTS, RESPONSES] {
        let all: Vec<u8> = packets.iter().filter(|p| p.0 == direction).flat_map(|p| p.1.clone()).collect();
        let seen = &all[cuts[direction.index()].min(all.len())..];
        if let Some(at) = first_plausible(seen) {
            talk.send(direction, &seen[at..], 0);
        }
    }
    talk.finish();
    talk.out
}

#[test]
fn joined_at_every_byte_it_heals() {
    let plans = vec![simple(500); 160];
    let Conversation { packets, truth } = conversation(&plans, 1, 16_000, false);
    for direction in [REQUESTS, RESPONSES] {
        for cut in 1..1300 {
            let mut hidden = [Some((0, 700)); 2];
            hidden[direction.index()] = Some((0, cut));
            let talk = play(&packets, hidden, &[1000], Limits::default());
            assert_eq!(wrong(&talk.out, &truth), None);
            assert_healed(&talk, 160, 20);
        }
    }
}

#[test]
fn a_gap_at_every_byte_heals() {
    let plans = vec![simple(500); 160];
    let Conversation { packets, truth } = conversation(&plans, 1, 16_000, false);
    for direction in [REQUESTS, RESPONSES] {
        for at in (700..2000).step_by(7) {
            for size in [1, 9, 100, 1500] {
                let mut hidden = [None; 2];
                hidden[direction.index()] = Some((at, at + size));
                let talk = play(&packets, hidden, &[1000], Limits::default());
                assert_eq!(wrong(&talk.out, &truth), None);
                assert_healed(&talk, 160, 20);
            }
        }
    }
}

/// Woven chains for a while, then plain content: the place is found behind them.
#[test]
fn two_chains_through_the_same_bytes_are_told_apart_when_one_ends() {
    let mut woven = simple(300);
    woven.request.content = Content::Woven;
    woven.response.content = Content::Woven;
    let mut plans = vec![woven.clone(); 150];
    let Conversation { packets, truth } = conversation(&plans, 1, 16_000, false);
    let hidden = [Some((0, 900)), Some((0, 700))];
    let talk = play(&packets, hidden, &[1000], Limits::default());
    assert_eq!(wrong(&talk.out, &truth), None);
    assert_eq!(talk.out.len(), 0, "{}", lines(&talk.out));
    // The canary: such a conversation leads who is content with a chain astray.
    assert!(wrong(&naive(&packets, [900, 700]), &truth).is_some());
    plans.extend(vec![simple(500); 160]);
    let Conversation { packets, truth } = conversation(&plans, 1, 16_000, false);
    let talk = play(&packets, hidden, &[1000], Limits::default());
    assert_eq!(wrong(&talk.out, &truth), None);
    assert_healed(&talk, 310, 20);
}

/// The client imitates in one long frame that it opens streams, which it had opened before; the server answers them in just that
/// time. More than some do not believe it.
#[test]
fn a_frame_longer_than_usual_is_not_believed_for_a_few_answers() {
    let mut talk = Talk::new(flags::RAW);
    let mut joined = flags::JOINED;
    for _ in 0..40 {
        talk.send(REQUESTS, data(2_001, 0, 991), joined);
        talk.send(RESPONSES, data(2_001, 0, 991), joined);
        joined = 0;
    }
    for i in 0..12 {
        let stream = 2 * i + 1;
        talk.send(REQUESTS, headers(stream, 0, &[(":method", "GET"), (":path", "/evil")]), 0);
        talk.send(REQUESTS, data(stream, END_STREAM, 100), 0);
        talk.send(RESPONSES, [ok(stream, 0), data(stream, END_STREAM, 100)].concat(), 0);
    }
    talk.tick(60_000_000_000).finish();
    assert_eq!(talk.assembler.counters().http2_found, 0);
    assert_eq!(talk.out.len(), 0, "{}", lines(&talk.out));
}

/// The true frames may have ended with one that is forbidden; the server then answers no more.
#[test]
fn frames_that_nobody_answers_are_not_believed() {
    let mut talk = opened();
    talk.request(get(1, "/seen")).skip(REQUESTS, 30);
    for i in 0..100 {
        talk.request(
            [headers(2 * i + 3, 0, &[(":method", "GET"), (":path", "/evil")]), data(2 * i + 3, 1, 900)]
                .concat(),
        );
        talk.response(frame(6, 0, 0, &[0; 8]));
    }
    // One answer may have been on the way.
    talk.response(ok(1, END_STREAM)).response(ok(197, END_STREAM));
    talk.request(get(301, "/evil"));
    talk.tick(60_000_000_000).finish();
    assert_eq!(talk.assembler.counters().http2_found, 0);
    assert_eq!(talk.lines(), ["GET /seen 0 -> 200 0", "- -> 200 0 request_missing/request gap/request"]);
}

/// What the properties say is of records: there are enough of them.
#[test]
fn the_properties_see_records() {
    let mut runner = TestRunner::deterministic();
    let (mut all, mut whole) = (0, 0);
    for i in 0..40 {
        let plans = prop::collection::vec(plan(40_000), 60..61).new_tree(&mut runner).unwrap().current();
        let Conversation { packets, truth } = conversation(&plans, 1 + i % 5, 16_000, false);
        let hidden = if i % 2 == 0 { [Some((0, 500)), Some((0, 300))] } else { [Some((900, 1200)), None] };
        let talk = play(&packets, hidden, &[1000], Limits::default());
        assert_eq!(wrong(&talk.out, &truth), None, "{}", lines(&talk.out));
        all += talk.out.len();
        whole += talk.out.iter().filter(|tx| tx.incomplete.is_empty()).count();
    }
    assert!(all > 1000 && whole > 100, "{all} {whole}");
}

/// Header blocks by encoders in use, one story after the other.
#[test]
fn stories_that_are_joined_give_no_wrong_pair() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/hpack");
    let Ok(encoders) = fs::read_dir(&folder) else {
        eprintln!("SKIPPED: no stories at {}", folder.display());
        return;
    };
    let mut records = 0;
    for encoder in encoders.map(|e| e.unwrap().path()) {
        let Ok(story) = fs::read(encoder.join("story_20.json")) else { continue };
        let story: serde_json::Value = serde_json::from_slice(&story).unwrap();
        let mut packets = Vec::new();
        let mut truth = BTreeMap::new();
        for (i, case) in story["cases"].as_array().unwrap().iter().enumerate() {
            let stream = 2 * i as u32 + 1;
            let digits = case["wire"].as_str().unwrap();
            let block: Vec<u8> = (0..digits.len() / 2)
                .map(|i| u8::from_str_radix(&digits[2 * i..2 * i + 2], 16).unwrap())
                .collect();
            packets.push((
                REQUESTS,
                [frame(1, END_HEADERS, stream, &block), data(stream, END_STREAM, 300)].concat(),
            ));
            packets.push((RESPONSES, [ok(stream, 0), data(stream, END_STREAM, 300)].concat()));
            let pairs = case["headers"].as_array().unwrap().iter().flat_map(|p| p.as_object().unwrap());
            let request = pairs.map(|(n, v)| (n.clone(), v.as_str().unwrap().to_owned())).collect();
            let response = vec![(":status".to_owned(), "200".to_owned())];
            truth.insert(stream, Truth { request, response, octets: [300, 300], ..Truth::default() });
        }
        for cut in (1..4000).step_by(61) {
            let talk = play(&packets, [Some((0, cut)), Some((0, 500))], &[900], Limits::default());
            assert_eq!(wrong(&talk.out, &truth), None, "{} {cut}", encoder.display());
            records += talk.out.len();
        }
    }
    assert!(records > 5_000, "{records}");
}

/// Packets of what is no HTTP/2, as long as a proof would take.
fn others() -> Vec<(&'static str, Packets)> {
    let both = |make: &dyn Fn(usize, bool) -> Vec<u8>| {
        (0..400).flat_map(|i| [(REQUESTS, make(i, true)), (RESPONSES, make(i, false))]).collect::<Packets>()
    };
    let noise = |i: usize, octets: usize| {
        let mut state = 0x9e37_79b9u32.wrapping_mul(i as u32 + 1) | 1;
        (0..octets)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 17;
                state ^= state << 5;
                state as u8
            })
            .collect::<Vec<u8>>()
    };
    let woven = conversation(
        &[Plan { request: Part { content: Content::Connection, ..simple(0).request }, ..simple(900) }],
        1,
        16_000,
        true,
    );
    let fake: Vec<u8> = woven.packets.into_iter().flat_map(|p| p.1).collect();
    vec![
        ("noise", both(&|i, request| noise(2 * i + usize::from(request), 700))),
        (
            "tls",
            both(&|i, request| {
                [&[0x17, 3, 3, 2, 0xbc][..], &noise(2 * i + usize::from(request), 700)].concat()
            }),
        ),
        ("zeros", both(&|_, _| vec![0; 700])),
        ("counts", both(&|i, _| (0..200u32).flat_map(|n| (n + i as u32).to_be_bytes()).collect())),
        (
            "redis",
            both(&|i, request| {
                if request { format!("*1\r\n$4\r\nGET{i}\r\n") } else { "$9\r\n012345678\r\n".repeat(40) }
                    .into_bytes()
            }),
        ),
        (
            "frames without answers",
            both(&|i, request| {
                let stream = 2 * i as u32 + if request { 1 } else { 2_001 };
                [headers(stream, 0, &[("a", "b")]), data(stream, 1, 600)].concat()
            }),
        ),
        (
            "http/1",
            both(&|i, request| {
                let start =
                    if request { format!("POST /{i} HTTP/1.1") } else { "HTTP/1.1 200 OK".to_owned() };
                let head = format!("{start}\r\nContent-Length: {}\r\n\r\n", fake.len());
                [head.as_bytes(), &fake].concat()
            }),
        ),
    ]
}

#[test]
fn what_is_no_http2_is_not_taken_for_it() {
    for (name, packets) in others() {
        for cut in [1, 5, 900, 5_000] {
            let talk = play(&packets, [Some((0, cut)), Some((0, cut))], &[1300], Limits::default());
            let counters = talk.assembler.counters();
            assert_eq!((counters.http2_connections, counters.http2_found), (0, 0), "{name} {cut}");
            assert!(talk.out.iter().all(|tx| tx.stream.is_none()), "{name}: {}", lines(&talk.out));
        }
    }
}

/// The capturing side keeps the place where it walks over the frames itself.
#[test]
fn what_the_capturing_side_walks_is_read_at_once() {
    let mut talk = Talk::new(0);
    talk.send(RESPONSES, [ok(5, 0), data(5, END_STREAM, 4)].concat(), flags::START);
    talk.send(REQUESTS, get(7, "/seven"), flags::START | flags::REQUESTS);
    talk.send(RESPONSES, ok(7, END_STREAM), flags::START);
    talk.skip(REQUESTS, 100);
    talk.send(REQUESTS, get(11, "/eleven"), flags::START | flags::REQUESTS | flags::LOST);
    talk.send(RESPONSES, [ok(9, END_STREAM), ok(11, END_STREAM)].concat(), flags::START);
    talk.finish();
    assert_eq!(
        talk.lines(),
        [
            "- -> 200 4 request_missing/request joined/request",
            "GET /seven 0 -> 200 0",
            "- -> 200 0 request_missing/request ring_full/request",
            "GET /eleven 0 -> 200 0",
        ]
    );
}

#[test]
fn what_is_looked_for_is_weighed_and_shed() {
    let plans = vec![simple(500); 30];
    let Conversation { packets, .. } = conversation(&plans, 1, 16_000, false);
    let mut talk = Talk::with(flags::RAW, Limits { held_bytes_max: 3_000_000, ..Limits::default() });
    // Header after header, so that chains are many.
    let many: Vec<u8> =
        (0..2_000u32).flat_map(|i| [0, (i % 60) as u8, i as u8, 0xee, 0, 0, 0, 0, 1]).collect();
    for connection in 1..3_000 {
        talk.connection = connection;
        talk.next = common::BASES;
        talk.send(REQUESTS, b"\x01\x02", flags::JOINED);
        talk.send(REQUESTS, &many[..4_000], 0);
        assert!(talk.assembler.held_bytes() <= 3_000_000);
    }
    assert!(!packets.is_empty());
    talk.finish();
    assert_eq!(talk.assembler.held_bytes(), 0);
}

fn pieces() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(prop_oneof![1usize..40, 100usize..3000, Just(16_009usize)], 1..20)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(debug_assertions) { 300 } else { 3000 }, ..ProptestConfig::default() })]

    #[test]
    fn joined_anywhere_there_is_no_wrong_pair(
        plans in prop::collection::vec(plan(40_000), 1..60),
        depth in 1usize..6,
        giant in prop::bool::weighted(0.2),
        names in any::<bool>(),
        cuts in [0.0..0.6f64, 0.0..0.6f64],
        pieces in pieces(),
    ) {
        let longest = if giant { 60_000 } else { 16_000 };
        let Conversation { packets, truth } = conversation(&plans, depth, longest, names);
        let cut = |d: Direction| Some((0, 1 + (length(&packets, d) as f64 * cuts[d.index()]) as usize));
        let talk = play(&packets, [cut(REQUESTS), cut(RESPONSES)], &pieces, Limits::default());
        prop_assert_eq!(wrong(&talk.out, &truth), None, "{}", lines(&talk.out));
    }

    #[test]
    fn behind_a_gap_there_is_no_wrong_pair(
        plans in prop::collection::vec(plan(40_000), 1..60),
        depth in 1usize..6,
        giant in prop::bool::weighted(0.2),
        names in any::<bool>(),
        gaps in [prop::option::weighted(0.7, (0.0..0.6f64, 1usize..20_000)), prop::option::weighted(0.7, (0.0..0.6f64, 1usize..20_000))],
        pieces in pieces(),
    ) {
        let longest = if giant { 60_000 } else { 16_000 };
        let Conversation { packets, truth } = conversation(&plans, depth, longest, names);
        let gap = |d: Direction| gaps[d.index()].map(|(at, size)| {
            let from = PREFACE.len() + 20 + (length(&packets, d) as f64 * at) as usize;
            (from, from + size)
        });
        let talk = play(&packets, [gap(REQUESTS), gap(RESPONSES)], &pieces, Limits::default());
        prop_assert_eq!(wrong(&talk.out, &truth), None, "{}", lines(&talk.out));
    }
}
