//! A wire to test with: owned events of one connection, with packet headers that carry real acknowledgement numbers.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod h2;
pub mod h2_talk;
pub mod script;

use headtrail_assemble::{Assembler, Counters, Limits};
use headtrail_record::event::{
    CloseReason, ConnectionId, Direction, Event, ProcessRef, Resync, Segment, flags,
};
use headtrail_record::transaction::{IncompleteReason, Phase, RawTransaction, Side};

pub const REQUESTS: Direction = Direction::Ingress;
pub const RESPONSES: Direction = Direction::Egress;
/// Request and response directions begin here; the second one wraps within a few hundred bytes.
pub const BASES: [u32; 2] = [1000, u32::MAX - 300];

/// An event that owns its bytes.
#[derive(Clone, Debug)]
pub enum Owned {
    Segment {
        connection: u64,
        direction: Direction,
        sequence: u32,
        acknowledgement: u32,
        bytes: Vec<u8>,
        packet_end: u32,
        flags: u16,
        time_ns: u64,
        process: Option<u32>,
        ports: (u16, u16),
        netns: u32,
    },
    BodyEnd {
        connection: u64,
        direction: Direction,
        sequence: u32,
        octets: u64,
        time_ns: u64,
    },
    Finished {
        connection: u64,
        direction: Direction,
        sequence: u32,
        time_ns: u64,
    },
    Closed {
        connection: u64,
        reason: CloseReason,
        time_ns: u64,
    },
}

/// IPv4 and TCP headers of a packet between the client 10.0.0.1 and the server 10.0.0.2.
pub fn headers(from_client: bool, ports: (u16, u16), sequence: u32, acknowledgement: u32) -> Vec<u8> {
    let mut b = vec![0; 40];
    b[0] = 0x45;
    b[9] = 6;
    let (client, server) = ([10, 0, 0, 1], [10, 0, 0, 2]);
    let (from, to) = if from_client { (client, server) } else { (server, client) };
    b[12..16].copy_from_slice(&from);
    b[16..20].copy_from_slice(&to);
    let (from, to) = if from_client { ports } else { (ports.1, ports.0) };
    b[20..22].copy_from_slice(&from.to_be_bytes());
    b[22..24].copy_from_slice(&to.to_be_bytes());
    b[24..28].copy_from_slice(&sequence.to_be_bytes());
    b[28..32].copy_from_slice(&acknowledgement.to_be_bytes());
    b[32] = 0x50;
    b[33] = 0x18;
    b
}

impl Owned {
    pub fn apply(&self, assembler: &mut Assembler, out: &mut Vec<RawTransaction>) {
        let mut push = |t| out.push(t);
        match self {
            Owned::Segment {
                connection,
                direction,
                sequence,
                acknowledgement,
                bytes,
                packet_end,
                flags,
                time_ns,
                process,
                ports,
                netns,
            } => {
                // Connection ids from 100 on see the exchange from the client's side.
                let from_client = (*direction == REQUESTS) != (*connection >= 100);
                let headers = headers(from_client, *ports, *sequence, *acknowledgement);
                let segment = Segment {
                    connection: ConnectionId(*connection),
                    netns: *netns,
                    direction: *direction,
                    time_ns: *time_ns,
                    sequence: *sequence,
                    bytes,
                    packet_end: *packet_end,
                    headers: &headers,
                    segments: 1,
                    flags: *flags,
                    starts: 0,
                    process: process.map(|pid| ProcessRef { pid, name: [0; 16] }),
                    frame: None,
                };
                assembler.event(&Event::Segment(segment), &mut push);
            }
            Owned::BodyEnd { connection, direction, sequence, octets, time_ns } => assembler.event(
                &Event::BodyEnd {
                    connection: ConnectionId(*connection),
                    direction: *direction,
                    time_ns: *time_ns,
                    sequence: *sequence,
                    octets: *octets,
                },
                &mut push,
            ),
            Owned::Finished { connection, direction, sequence, time_ns } => assembler.event(
                &Event::Finished {
                    connection: ConnectionId(*connection),
                    direction: *direction,
                    time_ns: *time_ns,
                    sequence: *sequence,
                },
                &mut push,
            ),
            Owned::Closed { connection, reason, time_ns } => assembler.event(
                &Event::Closed { connection: ConnectionId(*connection), time_ns: *time_ns, reason: *reason },
                &mut push,
            ),
        }
    }
}

/// A connection as its server's socket sees it, that hands bytes in one after the other.
pub struct Talk {
    pub assembler: Assembler,
    pub out: Vec<RawTransaction>,
    pub next: [u32; 2],
    pub flags: u16,
    pub time_ns: u64,
    pub connection: u64,
    pub ports: (u16, u16),
    pub netns: u32,
    pub process: Option<u32>,
}

impl Talk {
    pub fn new(flags: u16) -> Self {
        Self::with(flags, Limits::default())
    }

    pub fn with(flags: u16, limits: Limits) -> Self {
        Self {
            assembler: Assembler::new(limits),
            out: Vec::new(),
            next: BASES,
            flags,
            time_ns: 1_000,
            connection: 1,
            ports: (40_000, 80),
            netns: 1,
            process: None,
        }
    }

    /// In raw mode and from the first byte on.
    pub fn raw() -> Self {
        Self::new(flags::RAW | flags::FRESH)
    }

    /// Walked by the kernel, from the first byte on.
    pub fn walked() -> Self {
        Self::new(flags::FRESH)
    }

    pub fn segment(&self, direction: Direction, sequence: u32, bytes: &[u8], extra: u16) -> Owned {
        Owned::Segment {
            connection: self.connection,
            direction,
            sequence,
            acknowledgement: self.next[direction.reverse().index()],
            bytes: bytes.to_vec(),
            packet_end: sequence.wrapping_add(bytes.len() as u32),
            flags: self.flags | extra,
            time_ns: self.time_ns,
            process: self.process,
            ports: self.ports,
            netns: self.netns,
        }
    }

    pub fn apply(&mut self, event: &Owned) -> &mut Self {
        self.time_ns += 1;
        event.apply(&mut self.assembler, &mut self.out);
        self
    }

    /// Hands in the next bytes of a direction.
    pub fn send(&mut self, direction: Direction, bytes: impl AsRef<[u8]>, extra: u16) -> &mut Self {
        let event = self.segment(direction, self.next[direction.index()], bytes.as_ref(), extra);
        self.next[direction.index()] = self.next[direction.index()].wrapping_add(bytes.as_ref().len() as u32);
        self.apply(&event)
    }

    pub fn request(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.send(REQUESTS, bytes, 0)
    }

    pub fn response(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.send(RESPONSES, bytes, 0)
    }

    /// Bytes that the capture does not see.
    pub fn skip(&mut self, direction: Direction, count: u32) -> &mut Self {
        self.next[direction.index()] = self.next[direction.index()].wrapping_add(count);
        self
    }

    pub fn body_end(&mut self, direction: Direction, octets: u64) -> &mut Self {
        let (connection, time_ns) = (self.connection, self.time_ns);
        let sequence = self.next[direction.index()];
        self.apply(&Owned::BodyEnd { connection, direction, sequence, octets, time_ns })
    }

    pub fn fin(&mut self, direction: Direction) -> &mut Self {
        let (connection, time_ns) = (self.connection, self.time_ns);
        let sequence = self.next[direction.index()];
        self.apply(&Owned::Finished { connection, direction, sequence, time_ns })
    }

    pub fn close(&mut self, reason: CloseReason) -> &mut Self {
        let (connection, time_ns) = (self.connection, self.time_ns);
        self.apply(&Owned::Closed { connection, reason, time_ns })
    }

    pub fn finish(&mut self) -> &mut Self {
        let out = &mut self.out;
        self.assembler.finish(&mut |t| out.push(t));
        self
    }

    pub fn tick(&mut self, later_ns: u64) -> &mut Self {
        self.time_ns += later_ns;
        let out = &mut self.out;
        self.assembler.tick(self.time_ns, &mut |t| out.push(t));
        self
    }

    pub fn resyncs(&mut self) -> Vec<Resync> {
        self.assembler.take_resyncs().collect()
    }

    /// One line per transaction; also checks that messages balance.
    pub fn lines(&self) -> Vec<String> {
        assert_balance(&self.assembler);
        self.out.iter().map(line).collect()
    }
}

pub fn assert_balance(assembler: &Assembler) {
    let Counters { started, given, dropped_twin, .. } = assembler.counters().clone();
    let held = assembler.held();
    assert_eq!(started.requests, given.requests + dropped_twin.requests + held.requests, "requests");
    assert_eq!(started.responses, given.responses + dropped_twin.responses + held.responses, "responses");
}

/// A transaction in short, with `start` or `end` in front where it is one: `GET /a [body] -> (100) 200 [body] | incomplete | anomalies`.
pub fn line(tx: &RawTransaction) -> String {
    let body = |b: Option<u64>| b.map_or("?".into(), |n| n.to_string());
    let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
    let phase = match tx.phase {
        Phase::Whole => "",
        Phase::Start => "start ",
        Phase::End { .. } => "end ",
    };
    let mut line = match &tx.request {
        Some(m) => format!(
            "{phase}{} {} {}",
            text(m.method().unwrap_or(b"!")),
            text(m.target().unwrap_or(b"!")),
            body(m.body_bytes)
        ),
        None => format!("{phase}-"),
    };
    line += " ->";
    for m in &tx.interim {
        line += &format!(" ({})", m.status().unwrap_or(0));
    }
    match &tx.response {
        Some(m) => line += &format!(" {} {}", m.status().unwrap_or(0), body(m.body_bytes)),
        None => line += " -",
    }
    for i in &tx.incomplete {
        let side = if i.side == Side::Request { "request" } else { "response" };
        line += &format!(" {}/{side}", i.reason.name());
        if let Some(at) = i.at {
            line += &format!("@{at}");
        }
    }
    for a in &tx.anomalies {
        line += &format!(" !{}", a.name());
    }
    line
}

pub fn has(tx: &RawTransaction, reason: IncompleteReason) -> bool {
    tx.incomplete.iter().any(|i| i.reason == reason)
}
