//! What must hold for any conversation, however it is cut, doubled, shuffled, passed over or lost.

mod common;

use std::collections::HashSet;

use common::script::{Script, Streams, script};
use common::{Owned, assert_balance, line};
use headtrail_assemble::{Assembler, Limits};
use headtrail_record::event::{CloseReason, Direction, flags};
use headtrail_record::transaction::RawTransaction;
use proptest::collection::vec;
use proptest::prelude::*;

fn run(events: &[Owned]) -> (Vec<RawTransaction>, Assembler) {
    let mut assembler = Assembler::new(Limits::default());
    let mut out = Vec::new();
    for event in events {
        event.apply(&mut assembler, &mut out);
        assert_balance(&assembler);
    }
    assembler.finish(&mut |t| out.push(t));
    assert_balance(&assembler);
    let held = assembler.held();
    assert_eq!((held.requests, held.responses, assembler.held_bytes()), (0, 0, 0));
    (out, assembler)
}

fn lines(events: &[Owned]) -> Vec<String> {
    run(events).0.iter().map(line).collect()
}

fn id_of(tx: &RawTransaction) -> (Option<usize>, Option<usize>) {
    // Three digits: a number that was cut is none.
    let number = |b: &[u8]| {
        let digits = std::str::from_utf8(b).ok()?.trim_start_matches('/');
        (digits.len() == 3).then(|| digits.parse().ok())?
    };
    let request = tx.request.as_ref().and_then(|m| number(m.target()?));
    let response = tx.response.as_ref().and_then(|m| {
        let mut ids = m.lines().filter(|(name, _)| *name == b"X-Id");
        number(ids.next()?.1)
    });
    (request, response)
}

/// Everything in raw mode; `shuffle` moves packets later by a few places, `double` repeats them.
fn raw(streams: &Streams, cuts: &[usize], shuffle: &[usize], double: &[bool]) -> Vec<Owned> {
    let mut events = Vec::new();
    let mut moves = shuffle.iter().copied().cycle();
    let mut doubles = double.iter().copied().cycle();
    let mut time_ns = 0;
    for (n, part) in streams.packets(cuts).into_iter().enumerate() {
        let mut order: Vec<(usize, usize)> =
            (0..part.len()).map(|i| (i + moves.next().unwrap_or(0), i)).collect();
        if n == 0
            && let Some(first) = order.first_mut()
        {
            // Nothing tells where a direction begins whose first bytes come late.
            first.0 = 0;
        }
        order.sort();
        for (_, i) in order {
            time_ns += 1;
            let event = streams.segment(&part[i], part[i].range.clone(), flags::RAW, time_ns);
            if doubles.next() == Some(true) {
                events.push(event.clone());
            }
            events.push(event);
        }
    }
    events.extend(streams.ending(time_ns));
    events
}

fn walked(streams: &Streams, cuts: &[usize], choices: &[u8]) -> Vec<Owned> {
    let mut choices = choices.iter().copied().cycle();
    let mut events = Vec::new();
    let mut time_ns = 0;
    // One choice for the whole: the kernel's program does not change its mind.
    let choice = choices.next().unwrap_or(0);
    for packet in streams.packets(cuts).into_iter().flatten() {
        time_ns += 1;
        events.extend(streams.walk(&packet, choice, time_ns));
    }
    events.extend(streams.ending(time_ns));
    events
}

/// Leaves events out; the next segment of the direction says so where `told`.
fn lose(events: Vec<Owned>, losses: &[bool], told: bool) -> Vec<Owned> {
    let mut losses = losses.iter().copied().cycle();
    let mut lost = [false; 2];
    let mut first = [true; 2];
    let mut kept = Vec::new();
    for mut event in events {
        let gone = losses.next() == Some(true);
        match &mut event {
            Owned::Segment { direction, flags, .. } => {
                // Nothing shows that the first bytes are lost if the capturing side does not say so.
                let first = std::mem::take(&mut first[direction.index()]);
                if gone && (told || !first) {
                    lost[direction.index()] = true;
                    continue;
                }
                if std::mem::take(&mut lost[direction.index()]) && told {
                    *flags |= flags::LOST;
                }
            }
            Owned::BodyEnd { .. } if gone => continue,
            _ => {}
        }
        kept.push(event);
    }
    kept
}

/// What is wrong with the pairs, if anything.
fn wrong_pair(out: &[RawTransaction], expected: usize) -> Option<String> {
    let mut seen = [HashSet::new(), HashSet::new()];
    for tx in out {
        let (request, response) = id_of(tx);
        if let (Some(request), Some(response)) = (request, response)
            && request != response
        {
            return Some(format!("a wrong pair: {}", line(tx)));
        }
        for (seen, id) in seen.iter_mut().zip([request, response]) {
            if id.is_some_and(|id| id >= expected || !seen.insert(id)) {
                return Some(format!("twice: {}", line(tx)));
            }
        }
        for m in &tx.interim {
            let Some((_, id)) = m.lines().find(|(n, _)| *n == b"X-Id") else { continue };
            for other in [request, response].into_iter().flatten() {
                if id != format!("{other:03}").as_bytes() {
                    return Some(format!("a wrong interim response: {}", line(tx)));
                }
            }
        }
    }
    None
}

/// The events one by one, and what each of them completed.
fn trace(events: &[Owned]) -> String {
    let mut assembler = Assembler::new(Limits::default());
    let (mut text, mut out) = (String::new(), Vec::new());
    for event in events {
        text += &match event {
            Owned::Segment { direction, sequence, acknowledgement, bytes, flags, .. } => {
                let bytes = String::from_utf8_lossy(bytes);
                format!("{direction:?} {sequence} ack {acknowledgement} flags {flags:b} {bytes:?}\n")
            }
            other => format!("{other:?}\n"),
        };
        event.apply(&mut assembler, &mut out);
        text.extend(out.drain(..).map(|t| format!("    => {}\n", line(&t))));
    }
    assembler.finish(&mut |t| text += &format!("    => {}\n", line(&t)));
    text
}

fn cuts() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![vec(1usize..30, 1..8), vec(1usize..2000, 1..5), Just(vec![1]), Just(vec![100_000])]
}

/// More with `PROPTEST_CASES`.
fn cases() -> u32 {
    ProptestConfig::default().cases.max(400)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_segmentation_duplication_and_reordering_gives_the_same(
        script in script(true, true), cuts in cuts(), shuffle in vec(0usize..6, 1..12), double in vec(any::<bool>(), 1..6),
    ) {
        let streams = script.streams();
        prop_assert_eq!(lines(&raw(&streams, &cuts, &shuffle, &double)), streams.expected);
    }

    #[test]
    fn bodies_passed_over_give_the_same(script in script(true, true), cuts in cuts(), choices in vec(0u8..8, 1..2)) {
        let streams = script.streams();
        prop_assert_eq!(lines(&walked(&streams, &cuts, &choices)), streams.expected);
    }

    #[test]
    fn shedding_at_any_moment_never_makes_a_wrong_pair(
        script in script(true, false), cuts in cuts(), choices in vec(0u8..8, 1..2),
        depths in vec(prop::option::weighted(0.2, 0u8..=8), 1..40), losses in vec(prop::bool::weighted(0.03), 1..60),
        raw_mode in any::<bool>(),
    ) {
        let streams = script.streams();
        let events = if raw_mode { raw(&streams, &cuts, &[0], &[false]) } else { walked(&streams, &cuts, &choices) };
        let events = lose(events, &losses, true);
        let mut assembler = Assembler::new(Limits::default());
        let (mut out, mut text) = (Vec::new(), String::new());
        for (event, depth) in events.iter().zip(depths.iter().cycle()) {
            event.apply(&mut assembler, &mut out);
            let Some(depth) = depth else { continue };
            let to_bytes = assembler.held_bytes() / 8 * usize::from(*depth);
            assembler.shed(to_bytes, &mut |t| out.push(t));
            text += &format!("{event:?}\n   shed {:?}\n", assembler.counters().shed);
            prop_assert!(assembler.held_bytes() <= to_bytes);
            assert_balance(&assembler);
        }
        assembler.finish(&mut |t| out.push(t));
        assert_balance(&assembler);
        let wrong = wrong_pair(&out, streams.expected.len());
        prop_assert!(wrong.is_none(), "{wrong:?}\n{text}\n{}", trace(&events));
    }

    #[test]
    fn losses_never_make_a_wrong_pair(
        script in script(true, true), cuts in cuts(), choices in vec(0u8..8, 1..2),
        losses in vec(prop::bool::weighted(0.15), 1..60), told in any::<bool>(), raw_mode in any::<bool>(),
    ) {
        let streams = script.streams();
        let events = if raw_mode { raw(&streams, &cuts, &[0], &[false]) } else { walked(&streams, &cuts, &choices) };
        let events = lose(events, &losses, told);
        let wrong = wrong_pair(&run(&events).0, streams.expected.len());
        prop_assert!(wrong.is_none(), "{wrong:?}\n{}", trace(&events));
    }

    #[test]
    fn pairs_come_back_after_a_loss_where_nothing_is_pipelined(
        script in script(false, false), choices in vec(0u8..8, 1..2), losses in vec(prop::bool::weighted(0.3), 1..8),
        told in any::<bool>(),
    ) {
        let mut script: Script = script;
        script.close_delimited = false;
        let streams = script.streams();
        let mut events = walked(&streams, &[100_000], &choices);
        let tail = {
            // Three exchanges without a loss behind it.
            let mut more = script.clone();
            more.groups.extend(vec![vec![plain()]; 3]);
            let whole = more.streams();
            let all = walked(&whole, &[100_000], &choices);
            let same = events.len() - 3;
            events.truncate(same);
            let tail = all[same..].to_vec();
            (tail, whole.expected)
        };
        let mut events = lose(events, &losses, told);
        events.extend(tail.0);
        let (out, _) = run(&events);
        prop_assert_eq!(wrong_pair(&out, tail.1.len()), None);
        let got: Vec<String> = out.iter().map(line).collect();
        for want in &tail.1[tail.1.len() - 2..] {
            prop_assert!(got.contains(want), "{want} is not among {got:#?}\n{}", trace(&events));
        }
    }

    #[test]
    fn arbitrary_events_never_panic_and_memory_is_bounded(events in vec(arbitrary(), 1..200)) {
        let limits = Limits {
            head_bytes_max: 256, pending_transactions_max: 4, connections_max: 3, reorder_bytes_max: 512,
            reorder_segments_max: 4, held_bytes_max: 2048, early_segments_max: 4, peers_max: 2, twins_max: 4,
            resyncs_max: 4, field_lines_max: 4, ..Limits::default()
        };
        let mut assembler = Assembler::new(limits);
        let mut out = Vec::new();
        for (n, event) in events.iter().enumerate() {
            event.apply(&mut assembler, &mut out);
            assert_balance(&assembler);
            prop_assert!(assembler.held_bytes() <= 2048);
            prop_assert!(assembler.connections() <= 3);
            if n % 16 == 0 {
                assembler.tick(n as u64 * 1_000_000_000, &mut |t| out.push(t));
                assert_balance(&assembler);
            }
        }
        assembler.finish(&mut |t| out.push(t));
        assert_balance(&assembler);
        let held = assembler.held();
        prop_assert_eq!((held.requests, held.responses, assembler.held_bytes()), (0, 0, 0));
    }
}

fn plain() -> common::script::Exchange {
    use common::script::{Body, Exchange};
    Exchange {
        method: "GET",
        lines: 1,
        request: Body::None,
        interim: 0,
        status: 200,
        response: Body::Length(5),
    }
}

/// Events that look like HTTP often enough to get far.
fn arbitrary() -> impl Strategy<Value = Owned> {
    const PIECES: [&[u8]; 24] = [
        b"GET / HTTP/1.1\r\n",
        b"CONNECT a HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 100 C\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Content-Length: 5\r\n",
        b"Content-Length: 4294967296\r\n",
        b"\r\n",
        b"5\r\nhello\r\n",
        b"0\r\n\r\n",
        b"A: b\r\n c\r\n",
        b"\xff\x00",
        b"GET /\r\n",
        b"GET\t/ HTTP/2.0\r\n",
        b"HTTP/2.0 600 X\r\n",
        b"HTTP/1.1 101 S\r\n\r\n",
        b"Content-Length : 5\r\n",
        b"Content-Length: +5\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"A: b\rContent-Length: 5\n",
        b"1\nx\n",
        b"0\r\nContent-Length: 5\r\n\r\n",
        b"A: bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",
    ];
    let piece = proptest::sample::select(&PIECES[..]);
    let bytes = vec(piece, 0..6).prop_map(|p| p.concat());
    let direction = prop_oneof![Just(Direction::Ingress), Just(Direction::Egress)];
    (0u64..5, direction, 0u32..200, 0u32..200, bytes, 0u16..64, 0u8..20, 0u32..50).prop_map(
        |(connection, direction, sequence, acknowledgement, bytes, flags, kind, more)| match kind {
            0 => Owned::BodyEnd { connection, direction, sequence, octets: 5, time_ns: 1 },
            1 => Owned::Finished { connection, direction, sequence, time_ns: 1 },
            2 => Owned::Closed { connection, reason: CloseReason::Fin, time_ns: 1 },
            _ => Owned::Segment {
                connection,
                direction,
                sequence,
                acknowledgement,
                packet_end: sequence.wrapping_add(bytes.len() as u32).wrapping_add(if kind < 5 {
                    more
                } else {
                    0
                }),
                bytes,
                flags,
                time_ns: u64::from(more),
                process: None,
                ports: (40_000, 80),
                netns: 1,
            },
        },
    )
}
