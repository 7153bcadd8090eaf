//! Senders that begin and never end: streams, heads, header blocks, chunks. Whatever they send, memory keeps to its limit.
//!
//! The short runs are for every day; the long ones, minutes each, are for `make soak`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::time::{Duration, Instant};

use common::{BASES, REQUESTS, RESPONSES, assert_balance, headers};
use headtrail_assemble::{Assembler, Limits};
use headtrail_record::event::{ConnectionId, Direction, Event, Segment, flags};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";
const END_HEADERS: u8 = 4;
/// Bytes that a connection sends before another takes its place, which it never says.
const CONNECTION_BYTES: u32 = 24 << 20;

/// What a connection sends without end.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Streams that are opened and left open.
    Streams,
    /// The same with a body that goes on.
    StreamsWithData,
    /// A header block in CONTINUATION frames.
    Continuation,
    /// A large entry of the table, and blocks of nothing but references to it.
    References,
    /// Entries of the table, each of which pushes others out.
    Entries,
    /// Promises of responses that never come.
    Promises,
    /// Interim responses on one stream.
    Interim2,
    /// A start-line.
    Target,
    /// Field lines.
    Lines,
    /// One field line.
    Line,
    /// Requests that are never answered.
    Requests,
    /// Interim responses.
    Interim1,
    /// A chunk extension.
    Extension,
    /// Digits of a chunk's size.
    Size,
    /// Trailers.
    Trailers,
    /// Segments behind a hole.
    Holes,
}

const KINDS: [Kind; 16] = [
    Kind::Streams,
    Kind::StreamsWithData,
    Kind::Continuation,
    Kind::References,
    Kind::Entries,
    Kind::Promises,
    Kind::Interim2,
    Kind::Target,
    Kind::Lines,
    Kind::Line,
    Kind::Requests,
    Kind::Interim1,
    Kind::Extension,
    Kind::Size,
    Kind::Trailers,
    Kind::Holes,
];

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A literal that goes into the table, or not (RFC 7541, 6.2).
fn literal(indexed: bool, name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut field = vec![if indexed { 0x40 } else { 0 }];
    for text in [name, value] {
        let mut rest = text.len();
        if rest < 127 {
            field.push(rest as u8);
        } else {
            field.push(127);
            rest -= 127;
            while rest >= 128 {
                field.push((rest % 128) as u8 | 0x80);
                rest /= 128;
            }
            field.push(rest as u8);
        }
        field.extend(text);
    }
    field
}

/// `:method: GET`, `:scheme: http`, `:path: /`.
const GET: [u8; 3] = [0x82, 0x86, 0x84];

struct Sender {
    id: u64,
    kind: Kind,
    steps: u32,
    sent: [u32; 2],
}

/// What a sender sends first, and then again and again.
fn next(sender: &Sender) -> (Direction, Vec<u8>) {
    let n = sender.steps;
    let stream = 2 * n + 1;
    let value = |len: usize| vec![b'a' + (n % 26) as u8; len];
    let opening: Option<(Direction, Vec<u8>)> = match (sender.kind, n) {
        (Kind::Target, 0) => Some((REQUESTS, b"GET /".to_vec())),
        (Kind::Lines, 0) => Some((REQUESTS, b"GET / HTTP/1.1\r\n".to_vec())),
        (Kind::Line, 0) => Some((REQUESTS, b"GET / HTTP/1.1\r\nCookie: ".to_vec())),
        (Kind::Extension | Kind::Size, 0) => {
            Some((REQUESTS, b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec()))
        }
        (Kind::Extension, 1) => Some((REQUESTS, b"1;".to_vec())),
        (Kind::Trailers, 0) => {
            Some((REQUESTS, b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n".to_vec()))
        }
        (Kind::Interim1 | Kind::Requests | Kind::Holes, 0) => {
            Some((REQUESTS, b"GET / HTTP/1.1\r\n\r\n".to_vec()))
        }
        (
            Kind::Streams
            | Kind::StreamsWithData
            | Kind::Continuation
            | Kind::References
            | Kind::Entries
            | Kind::Promises
            | Kind::Interim2,
            0,
        ) => Some((REQUESTS, PREFACE.to_vec())),
        (Kind::Streams | Kind::Continuation | Kind::References | Kind::Promises | Kind::Interim2, 1) => {
            Some((RESPONSES, SETTINGS.to_vec()))
        }
        (Kind::Continuation, 2) => Some((REQUESTS, frame(1, 0, 1, &GET))),
        (Kind::Promises | Kind::Interim2, 2) => Some((REQUESTS, frame(1, END_HEADERS | 1, 1, &GET))),
        (Kind::References, 2) => {
            let block = [&GET[..], &literal(true, b"x", &value(4_000))].concat();
            Some((REQUESTS, frame(1, END_HEADERS, 1, &block)))
        }
        _ => None,
    };
    if let Some(opening) = opening {
        return opening;
    }
    let block = |field: Vec<u8>| [&GET[..], &field].concat();
    match sender.kind {
        Kind::Streams => {
            (REQUESTS, frame(1, END_HEADERS, stream, &block(literal(false, b"cookie", &value(200)))))
        }
        Kind::StreamsWithData => {
            let opened = frame(1, END_HEADERS, stream, &GET);
            (REQUESTS, [opened, frame(0, 0, stream, &value(900))].concat())
        }
        Kind::Continuation => {
            (REQUESTS, frame(9, 0, 1, &literal(n.is_multiple_of(3), b"x-more", &value(1_000))))
        }
        Kind::References => (REQUESTS, frame(1, END_HEADERS, stream, &block(vec![0xbe; 1_300]))),
        Kind::Entries => {
            let field = literal(true, &n.to_be_bytes(), &value(n as usize % 1_200));
            (REQUESTS, frame(1, END_HEADERS, stream, &block(field)))
        }
        Kind::Promises => {
            let promised = [&(2 * n).to_be_bytes()[..], &block(literal(false, b"x", &value(300)))].concat();
            (RESPONSES, frame(5, END_HEADERS, 1, &promised))
        }
        Kind::Interim2 => {
            let field = [literal(false, b":status", b"103"), literal(false, b"link", &value(100))].concat();
            (RESPONSES, frame(1, END_HEADERS, 1, &field))
        }
        Kind::Lines | Kind::Trailers => {
            (REQUESTS, [format!("X-{n}: ").as_bytes(), &value(n as usize % 100), b"\r\n"].concat())
        }
        Kind::Target | Kind::Line | Kind::Extension => (REQUESTS, value(1_400)),
        Kind::Size => (REQUESTS, vec![b'0'; 1_400]),
        Kind::Requests => (REQUESTS, b"GET /again HTTP/1.1\r\nHost: h\r\n\r\n".repeat(20)),
        Kind::Interim1 => (RESPONSES, b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".repeat(10)),
        Kind::Holes => (REQUESTS, value(100)),
    }
}

/// Resident memory of this process, bytes.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// Peaks of a run.
#[derive(Debug, Default)]
struct Peaks {
    sent: u64,
    events: u64,
    held: usize,
    /// Beyond what the process had before.
    resident: usize,
    given: u64,
}

/// Sends on so many connections until `done`, and holds memory to `held_bytes_max`.
fn run(
    kinds: &[Kind],
    connections: usize,
    held_bytes_max: usize,
    mut done: impl FnMut(&Peaks) -> bool,
) -> Peaks {
    let mut assembler = Assembler::new(Limits { held_bytes_max, ..Limits::default() });
    let mut last_id = 0;
    let mut new = |kind| {
        last_id += 1;
        Sender { id: last_id, kind, steps: 0, sent: [0; 2] }
    };
    let mut senders: Vec<_> = (0..connections).map(|i| new(kinds[i % kinds.len()])).collect();
    let before = resident();
    let mut peaks = Peaks::default();
    let mut time_ns = 1;
    while !done(&peaks) {
        // Each sends for a while before the next one does, as real ones do.
        let at = (peaks.events / 8) as usize * 7 % connections;
        let sender = &mut senders[at];
        let (direction, bytes) = next(sender);
        let index = direction.index();
        sender.steps += 1;
        if matches!(sender.kind, Kind::Holes) && sender.steps == 2 {
            sender.sent[index] += 1;
        }
        let sequence = BASES[index].wrapping_add(sender.sent[index]);
        let acknowledgement = BASES[1 - index].wrapping_add(sender.sent[1 - index]);
        sender.sent[index] += bytes.len() as u32;
        let segment = Segment {
            connection: ConnectionId(sender.id),
            netns: 1,
            direction,
            time_ns,
            sequence,
            bytes: &bytes,
            packet_end: sequence.wrapping_add(bytes.len() as u32),
            headers: &headers(direction == REQUESTS, (sender.id as u16, 80), sequence, acknowledgement),
            segments: 1,
            flags: flags::FRESH | flags::RAW,
            starts: 0,
            process: None,
            frame: None,
        };
        assembler.event(&Event::Segment(segment), &mut |_| peaks.given += 1);
        if sender.sent.iter().any(|&sent| sent > CONNECTION_BYTES) {
            *sender = new(sender.kind);
        }
        peaks.sent += bytes.len() as u64;
        peaks.events += 1;
        peaks.held = peaks.held.max(assembler.held_bytes());
        assert!(peaks.held <= held_bytes_max, "{peaks:?}");
        time_ns += 20_000;
        if peaks.events % 5_000 == 0 {
            assembler.tick(time_ns, &mut |_| peaks.given += 1);
            assembler.take_resyncs();
            peaks.resident = peaks.resident.max(resident().saturating_sub(before));
        }
    }
    assert_balance(&assembler);
    peaks
}

/// Also what the system's allocator does not give back at once.
fn assert_resident(peaks: &Peaks, held_bytes_max: usize) {
    assert!(peaks.resident <= held_bytes_max + held_bytes_max / 4 + (24 << 20), "{peaks:?}");
}

#[test]
fn each_kind_alone_keeps_to_the_limit() {
    const LIMIT: usize = 2 << 20;
    for kind in KINDS {
        let peaks = run(&[kind], 40, LIMIT, |peaks| peaks.events >= 12_000);
        println!("{kind:?}: {peaks:?}");
    }
}

#[test]
fn all_kinds_together_keep_to_the_limit() {
    const LIMIT: usize = 8 << 20;
    let peaks = run(&KINDS, 640, LIMIT, |peaks| peaks.events >= 100_000);
    println!("{peaks:?}");
    assert_resident(&peaks, LIMIT);
}

/// Streams and heads without end for some minutes, with the default limit.
fn soak(kinds: &[Kind]) {
    const LENGTH: Duration = Duration::from_secs(200);
    let begin = Instant::now();
    let limit = Limits::default().held_bytes_max;
    let peaks = run(kinds, 3_000, limit, |peaks| peaks.events % 1_000 == 0 && begin.elapsed() >= LENGTH);
    println!("{kinds:?}: {peaks:?}");
    assert_resident(&peaks, limit);
}

#[test]
#[ignore = "minutes; see `make soak`"]
fn soak_streams() {
    soak(&KINDS[..2]);
}

#[test]
#[ignore = "minutes; see `make soak`"]
fn soak_http2() {
    soak(&KINDS[..7]);
}

#[test]
#[ignore = "minutes; see `make soak`"]
fn soak_all() {
    soak(&KINDS);
}
