//! Bodies full of bytes that look like messages, behind losses: nothing is taken for a message that was not sent, and
//! where clients do not pipeline the place is found again.

mod common;

use std::collections::HashMap;

use common::{BASES, Owned, REQUESTS, RESPONSES, Talk, assert_balance, line};
use headtrail_assemble::{Assembler, Limits};
use headtrail_record::event::{CloseReason, Direction, flags};
use headtrail_record::transaction::RawTransaction;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;

const EVIL: [&str; 6] = [
    "GET /evil HTTP/1.1\r\nHost: x\r\n\r\n",
    "POST /evil HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
    "HTTP/1.1 200 OK\r\nX-Evil: 1\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nX-Evil: 1\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
    "0\r\n\r\nGET /evil HTTP/1.1\r\n\r\n",
    "\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nX-Evil: 1\r\n\r\n",
];

#[derive(Clone, Copy, Debug)]
enum Framing {
    None,
    Length,
    Chunked,
    /// By more than one reading; the sender's is that of RFC 9112.
    Ambiguous(usize),
    /// By none: the sender's reading cannot be known.
    Unknown(usize),
}

/// Heads of [`Framing::Ambiguous`]: what comes before the number of octets, or `None` where the body is chunked, and the rest.
const AMBIGUOUS: [(Option<&str>, &str); 6] = [
    (None, "Content-Length: 3\r\nTransfer-Encoding: chunked"),
    (None, "Transfer-Encoding:\r\n chunked"),
    (None, "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
    (Some("Content-Length: "), "\r\nContent-Length: 3"),
    (Some("Content-Length: 000"), "\r\nTransfer-Encoding : chunked"),
    (Some("A: b\rContent-Length: 7\r\nContent-Length: "), "\nC: d"),
];
/// Heads of [`Framing::Unknown`].
const UNKNOWN: [(&str, &str); 4] = [
    ("Content-Length: +", ""),
    ("Content-Length: ", "x"),
    ("Transfer-Encoding: chunked, x\r\nContent-Length: ", ""),
    ("Transfer-Encoding: \x0bchunked\r\nA: ", ""),
];

/// Pieces of a body, by their place in [`EVIL`]; each is a packet of its own.
#[derive(Clone, Debug)]
struct Body {
    framing: Framing,
    pieces: Vec<usize>,
}

#[derive(Clone, Debug)]
struct Exchange {
    request: Body,
    response: Body,
    /// The server answers when it has so many packets of the request, if there are more.
    early: Option<usize>,
}

struct Packet {
    direction: Direction,
    bytes: Vec<u8>,
    /// Bytes of the other direction that the sender had.
    received: usize,
}

fn body(hostile: bool) -> impl Strategy<Value = Body> {
    let odd = u32::from(hostile);
    let framing = prop_oneof![
        4 => Just(Framing::None),
        2 => Just(Framing::Length),
        6 => Just(Framing::Chunked),
        1 + 3 * odd => (0..AMBIGUOUS.len()).prop_map(move |n| if hostile { Framing::Ambiguous(n) } else { Framing::None }),
        1 + 3 * odd => (0..UNKNOWN.len()).prop_map(move |n| if hostile { Framing::Unknown(n) } else { Framing::None }),
    ];
    (framing, vec(0..EVIL.len(), 1..6)).prop_map(|(framing, pieces)| Body { framing, pieces })
}

fn exchange(early: bool, hostile: bool) -> impl Strategy<Value = Exchange> {
    let early = prop::option::weighted(if early { 0.5 } else { f64::MIN_POSITIVE }, 1usize..4);
    (body(hostile), body(hostile), early).prop_map(|(request, response, early)| Exchange {
        request,
        response,
        early,
    })
}

/// The packets of a message: head first, then a packet for each piece.
fn packets(start: &str, body: &Body) -> Vec<Vec<u8>> {
    let whole: String = body.pieces.iter().map(|&i| EVIL[i]).collect();
    let framing = match body.framing {
        Framing::None => "Content-Length: 0\r\n\r\n".into(),
        Framing::Length => format!("Content-Length: {}\r\n\r\n", whole.len()),
        Framing::Chunked => format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n", whole.len()),
        Framing::Ambiguous(n) => match AMBIGUOUS[n] {
            (None, head) => format!("{head}\r\n\r\n{:x}\r\n", whole.len()),
            (Some(head), rest) => format!("{head}{}{rest}\r\n\r\n", whole.len()),
        },
        Framing::Unknown(n) => format!("{}{}{}\r\n\r\n", UNKNOWN[n].0, whole.len(), UNKNOWN[n].1),
    };
    let chunked = match body.framing {
        Framing::Chunked => true,
        Framing::Ambiguous(n) => AMBIGUOUS[n].0.is_none(),
        _ => false,
    };
    let mut list = vec![format!("{start}{framing}").into_bytes()];
    if !matches!(body.framing, Framing::None) {
        list.extend(body.pieces.iter().map(|&i| EVIL[i].as_bytes().to_vec()));
    }
    if chunked {
        list.push(b"\r\n0\r\n\r\n".to_vec());
    }
    list
}

/// One exchange after the other; groups of `depth` requests are sent before their responses.
fn conversation(exchanges: &[Exchange], depth: usize) -> Vec<Packet> {
    let mut sent = [0, 0];
    let mut all = Vec::new();
    let mut put = |direction: Direction, list: Vec<Vec<u8>>| {
        for bytes in list {
            let received = sent[direction.reverse().index()];
            sent[direction.index()] += bytes.len();
            all.push(Packet { direction, bytes, received });
        }
    };
    let numbered: Vec<_> = exchanges.iter().enumerate().collect();
    for group in numbered.chunks(depth) {
        let mut rest = Vec::new();
        for (n, exchange) in group {
            let mut list = packets(&format!("POST /{n:03} HTTP/1.1\r\n"), &exchange.request);
            if let (Some(early), 1) = (exchange.early, depth) {
                rest = list.split_off(early.min(list.len()));
            }
            put(REQUESTS, list);
        }
        for (n, exchange) in group {
            put(RESPONSES, packets(&format!("HTTP/1.1 200 R\r\nX-Id: {n:03}\r\n"), &exchange.response));
        }
        put(REQUESTS, rest);
    }
    all
}

/// Packets as raw segments; those that `lost` names are left out, with (`told`) or without the capturing side's word.
fn events(packets: &[Packet], lost: &[bool], told: bool) -> Vec<Owned> {
    let mut next = BASES;
    let mut missing = [false; 2];
    let mut list = Vec::new();
    for (i, packet) in packets.iter().enumerate() {
        let index = packet.direction.index();
        let sequence = next[index];
        next[index] = next[index].wrapping_add(packet.bytes.len() as u32);
        if lost.get(i) == Some(&true) {
            missing[index] = true;
            continue;
        }
        let told = if std::mem::take(&mut missing[index]) && told { flags::LOST } else { 0 };
        list.push(Owned::Segment {
            connection: 1,
            direction: packet.direction,
            sequence,
            acknowledgement: BASES[packet.direction.reverse().index()].wrapping_add(packet.received as u32),
            bytes: packet.bytes.clone(),
            packet_end: next[index],
            flags: flags::RAW | flags::FRESH | told,
            time_ns: i as u64,
            process: None,
            ports: (40_000, 80),
            netns: 1,
        });
    }
    list.push(Owned::Closed { connection: 1, reason: CloseReason::Fin, time_ns: packets.len() as u64 });
    list
}

fn run(events: &[Owned]) -> Vec<RawTransaction> {
    let mut assembler = Assembler::new(Limits::default());
    let mut out = Vec::new();
    for event in events {
        event.apply(&mut assembler, &mut out);
        assert_balance(&assembler);
    }
    assembler.finish(&mut |t| out.push(t));
    assert_eq!(assembler.held_bytes(), 0);
    out
}

/// What was given out and never sent.
fn invented(out: &[RawTransaction], sent: usize) -> Option<String> {
    let known = |text: &[u8]| {
        std::str::from_utf8(text).ok().and_then(|t| t.parse::<usize>().ok()).filter(|&n| n < sent)
    };
    let mut seen: [HashMap<usize, ()>; 2] = Default::default();
    for tx in out {
        let request = tx.request.as_ref().map(|m| m.target().unwrap_or(b"?"));
        let request = request.map(|t| t.strip_prefix(b"/").and_then(known));
        let id = |m: &headtrail_record::transaction::Message| m.lines().next().map(|(_, v)| v.to_vec());
        let response = tx.response.as_ref().map(|m| id(m).and_then(|v| known(&v)));
        for (side, number) in [request, response].into_iter().enumerate() {
            match number {
                None => {}
                Some(Some(n)) if seen[side].insert(n, ()).is_none() => {}
                Some(_) => return Some(line(tx)),
            }
        }
        if let (Some(a), Some(b)) = (request, response)
            && a != b
        {
            return Some(format!("wrong pair: {}", line(tx)));
        }
    }
    None
}

fn trace(events: &[Owned]) -> String {
    let mut text = String::new();
    for event in events {
        if let Owned::Segment { direction, sequence, acknowledgement, bytes, flags, .. } = event {
            let bytes = String::from_utf8_lossy(bytes);
            text += &format!("{direction:?} {sequence} ack {acknowledgement} flags {flags:b} {bytes:?}\n");
        }
    }
    text += &run(events).iter().map(|t| format!("=> {}\n", line(t))).collect::<String>();
    text
}

fn cases() -> u32 {
    ProptestConfig::default().cases.max(2_000)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_given_out_that_was_not_sent(
        exchanges in vec(exchange(true, true), 1..8), depth in 1usize..4, told in any::<bool>(),
        lost in vec(prop::bool::weighted(0.15), 80..81),
    ) {
        let mut lost = lost;
        lost[0] = false;
        let events = events(&conversation(&exchanges, depth), &lost, told);
        let out = run(&events);
        let wrong = invented(&out, exchanges.len());
        prop_assert!(wrong.is_none(), "{wrong:?}\n{}", trace(&events));
    }

    #[test]
    fn nothing_is_given_out_that_was_not_sent_whatever_the_framing(
        exchanges in vec(exchange(true, true), 1..8), depth in 1usize..4,
    ) {
        let events = events(&conversation(&exchanges, depth), &[], false);
        let wrong = invented(&run(&events), exchanges.len());
        prop_assert!(wrong.is_none(), "{wrong:?}\n{}", trace(&events));
    }

    #[test]
    fn without_losses_everything_is_given_out(exchanges in vec(exchange(true, false), 1..8), depth in 1usize..4) {
        let out = run(&events(&conversation(&exchanges, depth), &[], false));
        prop_assert_eq!(out.len(), exchanges.len());
        prop_assert!(out.iter().all(|t| t.incomplete.is_empty() && t.anomalies.is_empty()));
    }
}

/// One run of losses in a keep-alive connection without pipelining, then twelve exchanges without a loss.
#[test]
fn the_place_is_found_again_on_ordinary_connections() {
    const AFTER: usize = 12;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let strategy =
        (vec(exchange(false, false), 4 + AFTER..5 + AFTER), any::<usize>(), 1usize..6, any::<bool>());
    let (mut whole, mut all) = (0, 0);
    for _ in 0..300 {
        let (exchanges, at, count, told) = strategy.new_tree(&mut runner).unwrap().current();
        let head = conversation(&exchanges[..4], 1).len();
        let packets = conversation(&exchanges, 1);
        let at = 1 + at % (head - 1);
        let lost: Vec<bool> = (0..packets.len()).map(|i| (at..(at + count).min(head)).contains(&i)).collect();
        let events = events(&packets, &lost, told);
        let out = run(&events);
        assert_eq!(invented(&out, exchanges.len()), None, "{}", trace(&events));
        whole += out
            .iter()
            .filter(|t| t.incomplete.is_empty() && t.number >= 1)
            .filter(|t| {
                let target = t.request.as_ref().and_then(|m| m.target()).unwrap_or(b"/");
                std::str::from_utf8(&target[1..]).unwrap().parse::<usize>().is_ok_and(|n| n >= 4)
            })
            .count();
        all += AFTER;
    }
    println!("{whole} of {all}");
    assert!(whole * 100 >= all * 75, "{whole} of {all}");
}

#[test]
fn a_gap_within_an_upload_in_chunks_hides_nothing_behind_the_next_answer() {
    let mut talk = Talk::raw();
    talk.request("POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n");
    talk.skip(REQUESTS, 100_000);
    for _ in 0..2_160 {
        talk.send(REQUESTS, EVIL[0], 0);
    }
    talk.request("\r\n0\r\n\r\n").response("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    for n in 0..2 {
        talk.request(format!("GET /{n} HTTP/1.1\r\n\r\n"));
        talk.response("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    }
    talk.finish();
    assert_eq!(talk.lines(), ["POST /a ? -> 200 0 gap/request@52", "GET /0 0 -> 200 0", "GET /1 0 -> 200 0"]);
}
