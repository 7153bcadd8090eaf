//! Generated conversations: what each side sends, and what the kernel's program would make of it.
#![allow(dead_code)]

use std::ops::Range;

use headtrail_record::event::{CloseReason, Direction, flags};
use proptest::prelude::*;

use super::{BASES, Owned, REQUESTS, RESPONSES};

#[derive(Clone, Debug)]
pub enum Body {
    None,
    Length(usize),
    Chunked { sizes: Vec<usize>, trailers: usize, extension: bool },
}

#[derive(Clone, Debug)]
pub struct Exchange {
    pub method: &'static str,
    pub lines: usize,
    pub request: Body,
    pub interim: usize,
    pub status: u16,
    pub response: Body,
}

/// Groups of pipelined exchanges: all requests of a group are sent before its responses.
#[derive(Clone, Debug)]
pub struct Script {
    pub groups: Vec<Vec<Exchange>>,
    pub evil: bool,
    /// The last response ends with the connection.
    pub close_delimited: bool,
}

fn body() -> impl Strategy<Value = Body> {
    prop_oneof![
        Just(Body::None),
        (1usize..200).prop_map(Body::Length),
        (proptest::collection::vec(1usize..80, 0..4), 0usize..3, any::<bool>())
            .prop_map(|(sizes, trailers, extension)| Body::Chunked { sizes, trailers, extension }),
    ]
}

fn exchange() -> impl Strategy<Value = Exchange> {
    let method = prop_oneof![3 => Just("GET"), 1 => Just("HEAD"), 2 => Just("POST")];
    let status = prop_oneof![4 => Just(200u16), 1 => Just(204), 1 => Just(304), 1 => Just(404)];
    (method, 0usize..4, body(), 0usize..3, status, body()).prop_map(
        |(method, lines, request, interim, status, response)| Exchange {
            method,
            lines,
            request,
            interim,
            status,
            response,
        },
    )
}

pub fn script(pipelined: bool, evil: bool) -> impl Strategy<Value = Script> {
    let depth = if pipelined { 4 } else { 2 };
    (proptest::collection::vec(proptest::collection::vec(exchange(), 1..depth), 1..8), any::<bool>())
        .prop_map(move |(groups, close_delimited)| Script { groups, evil, close_delimited })
}

/// A message on its stream, as offsets.
#[derive(Clone, Debug)]
pub struct Placed {
    pub head: Range<usize>,
    /// Without last-chunk line and trailers.
    pub body: Range<usize>,
    /// The whole message ends here.
    pub end: usize,
    /// The last-chunk line, where chunked.
    pub last_chunk: Option<Range<usize>>,
    pub octets: u64,
}

#[derive(Default)]
pub struct Streams {
    pub bytes: [Vec<u8>; 2],
    pub messages: [Vec<Placed>; 2],
    /// Ends of the groups in both streams.
    pub groups: Vec<[usize; 2]>,
    /// What [`super::line`] must give, in order.
    pub expected: Vec<String>,
}

fn put_body(bytes: &mut Vec<u8>, head_start: usize, body: &Body, evil: bool, close: bool) -> Placed {
    const EVIL: &[u8] = b"GET /evil HTTP/1.1\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let fill = |bytes: &mut Vec<u8>, n: usize| {
        let source: Vec<u8> = if evil { EVIL.to_vec() } else { b"x".to_vec() };
        bytes.extend(source.iter().cycle().take(n));
    };
    let head = head_start..bytes.len();
    let start = bytes.len();
    let mut placed = Placed { head, body: start..start, end: start, last_chunk: None, octets: 0 };
    match body {
        Body::Chunked { sizes, trailers, extension } if !close => {
            for size in sizes {
                let extension = if *extension { ";a=b" } else { "" };
                bytes.extend(format!("{size:x}{extension}\r\n").bytes());
                fill(bytes, *size);
                bytes.extend(b"\r\n");
                placed.octets += *size as u64;
            }
            placed.body = start..bytes.len();
            let last = bytes.len();
            bytes.extend(b"0\r\n");
            placed.last_chunk = Some(last..bytes.len());
            for n in 0..*trailers {
                bytes.extend(format!("T{n}: v\r\n").bytes());
            }
            bytes.extend(b"\r\n");
        }
        Body::Chunked { .. } | Body::None => {}
        Body::Length(n) => {
            fill(bytes, *n);
            placed.octets = *n as u64;
            placed.body = start..bytes.len();
        }
    }
    placed.end = bytes.len();
    placed
}

fn framing_lines(body: &Body) -> String {
    match body {
        Body::None => "Content-Length: 0\r\n".into(),
        Body::Length(n) => format!("Content-Length: {n}\r\n"),
        Body::Chunked { .. } => "Transfer-Encoding: chunked\r\n".into(),
    }
}

impl Script {
    pub fn streams(&self) -> Streams {
        let mut s = Streams::default();
        let total: usize = self.groups.iter().map(Vec::len).sum();
        let mut id = 0;
        for group in &self.groups {
            for exchange in group {
                let start = s.bytes[0].len();
                let framing = match &exchange.request {
                    Body::None => String::new(),
                    body => framing_lines(body),
                };
                let lines: String = (0..exchange.lines).map(|n| format!("L{n}: v\r\n")).collect();
                s.bytes[0]
                    .extend(format!("{} /{id:03} HTTP/1.1\r\n{lines}{framing}\r\n", exchange.method).bytes());
                let placed = put_body(&mut s.bytes[0], start, &exchange.request, self.evil, false);
                let mut line = format!("{} /{id:03} {} ->", exchange.method, placed.octets);
                s.messages[0].push(placed);
                for _ in 0..exchange.interim {
                    let start = s.bytes[1].len();
                    s.bytes[1].extend(format!("HTTP/1.1 103 Early Hints\r\nX-Id: {id:03}\r\n\r\n").bytes());
                    let placed = put_body(&mut s.bytes[1], start, &Body::None, false, false);
                    s.messages[1].push(placed);
                    line += " (103)";
                }
                let start = s.bytes[1].len();
                let close = self.close_delimited && id + 1 == total;
                let bodiless = exchange.method == "HEAD" || matches!(exchange.status, 204 | 304);
                let framing = if close { String::new() } else { framing_lines(&exchange.response) };
                s.bytes[1].extend(
                    format!("HTTP/1.1 {} R\r\nX-Id: {id:03}\r\n{framing}\r\n", exchange.status).bytes(),
                );
                let body = if bodiless { &Body::None } else { &exchange.response };
                let placed = put_body(&mut s.bytes[1], start, body, self.evil, close);
                line += &format!(" {} {}", exchange.status, placed.octets);
                s.messages[1].push(placed);
                s.expected.push(line);
                id += 1;
            }
            s.groups.push([s.bytes[0].len(), s.bytes[1].len()]);
        }
        s
    }
}

/// A packet: direction, range of its stream, and how much of the other stream its sender had received.
#[derive(Clone, Debug)]
pub struct Packet {
    pub direction: Direction,
    pub range: Range<usize>,
    pub received: usize,
}

impl Streams {
    /// Cuts the streams into packets, group by group; `cuts` are the packets' sizes in turn. Each inner list holds
    /// the packets of one direction of one group: nothing of the other direction lies between them.
    pub fn packets(&self, cuts: &[usize]) -> Vec<Vec<Packet>> {
        let mut sizes = cuts.iter().copied().cycle();
        let mut at = [0, 0];
        let mut parts = Vec::new();
        for end in &self.groups {
            for direction in [REQUESTS, RESPONSES] {
                let (i, other) = (direction.index(), direction.reverse().index());
                let mut part = Vec::new();
                while at[i] < end[i] {
                    let to = (at[i] + sizes.next().unwrap_or(1)).min(end[i]);
                    part.push(Packet { direction, range: at[i]..to, received: at[other] });
                    at[i] = to;
                }
                parts.push(part);
            }
        }
        parts
    }

    pub fn sequence(direction: Direction, offset: usize) -> u32 {
        BASES[direction.index()].wrapping_add(offset as u32)
    }

    pub fn segment(&self, packet: &Packet, range: Range<usize>, flags: u16, time_ns: u64) -> Owned {
        Owned::Segment {
            connection: 1,
            direction: packet.direction,
            sequence: Self::sequence(packet.direction, range.start),
            acknowledgement: Self::sequence(packet.direction.reverse(), packet.received),
            bytes: self.bytes[packet.direction.index()][range].to_vec(),
            packet_end: Self::sequence(packet.direction, packet.range.end),
            flags: flags | flags::FRESH,
            time_ns,
            process: None,
            ports: (40_000, 80),
            netns: 1,
        }
    }

    /// The end of the connection.
    pub fn ending(&self, time_ns: u64) -> Vec<Owned> {
        let fin = |direction: Direction| {
            let sequence = Self::sequence(direction, self.bytes[direction.index()].len());
            Owned::Finished { connection: 1, direction, sequence, time_ns }
        };
        let closed = Owned::Closed { connection: 1, reason: CloseReason::Fin, time_ns };
        vec![fin(RESPONSES), fin(REQUESTS), closed]
    }

    /// What the kernel's program makes of a packet: heads and trailers as segments, bodies passed over.
    /// `choices`: bit 0: body bytes behind a head come with it; bit 1: the body's end is told before the last-chunk
    /// line and not behind it; bit 2: the trailer segment begins at the last-chunk line and not behind it.
    pub fn walk(&self, packet: &Packet, choices: u8, time_ns: u64) -> Vec<Owned> {
        let mut events = Vec::new();
        let direction = packet.direction;
        let (from, to) = (packet.range.start, packet.range.end);
        for m in &self.messages[direction.index()] {
            if m.end <= from || m.head.start >= to {
                continue;
            }
            let chunked_here = m.last_chunk.is_some() && m.head.end > from && m.end <= to;
            let with_body = choices & 1 != 0 || chunked_here;
            if m.head.end > from {
                let start = m.head.start.max(from);
                let mut end = m.head.end.min(to);
                if with_body && m.head.end <= to {
                    end = m.end.min(to);
                }
                let flag = if start == m.head.start { flags::START } else { 0 };
                events.push(self.segment(packet, start..end, flag, time_ns));
                if end == m.end {
                    continue;
                }
            }
            if m.last_chunk.is_none() {
                let later = m.head.end <= from;
                if m.octets > 0 && later && m.body.end > from && m.body.end <= to {
                    events.push(Owned::BodyEnd {
                        connection: 1,
                        direction,
                        sequence: Self::sequence(direction, m.body.end),
                        octets: m.octets,
                        time_ns,
                    });
                }
                continue;
            }
            events.extend(self.walk_chunked_end(packet, m, choices, with_body, time_ns));
        }
        events
    }

    fn walk_chunked_end(
        &self,
        packet: &Packet,
        m: &Placed,
        choices: u8,
        with_body: bool,
        time_ns: u64,
    ) -> Vec<Owned> {
        let mut events = Vec::new();
        let (from, to) = (packet.range.start, packet.range.end);
        let Some(line) = m.last_chunk.clone() else { return events };
        let told_at = if choices & 2 != 0 { line.start } else { line.end };
        // The packet in which the last-chunk line is complete tells the end of the body.
        if line.end > from && line.end <= to {
            let sequence = Self::sequence(packet.direction, told_at);
            let octets = m.octets;
            let here = with_body && m.head.end > from;
            events.push(Owned::BodyEnd {
                connection: 1,
                direction: packet.direction,
                sequence,
                octets,
                time_ns,
            });
            if here {
                return events;
            }
        }
        if to >= line.end {
            let begin = if told_at == line.start || choices & 4 != 0 { line.start } else { line.end };
            let begin = begin.max(from);
            if begin < m.end.min(to) {
                events.push(self.segment(packet, begin..m.end.min(to), 0, time_ns));
            }
        } else if to > line.start && told_at == line.start {
            // A part of the last-chunk line.
            events.push(self.segment(packet, line.start.max(from)..to, 0, time_ns));
        }
        events
    }
}
