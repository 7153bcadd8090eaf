//! Frames and hostile bytes in both directions, from the first byte on or joined, with gaps: nothing panics, messages balance, memory
//! is bounded, and at the end nothing is held.
#![no_main]

use headtrail_assemble::{Assembler, Limits};
use headtrail_record::event::{CloseReason, ConnectionId, Direction, Event, Segment, flags};
use headtrail_record::transaction::RawTransaction;
use libfuzzer_sys::fuzz_target;

const HELD_BYTES_MAX: usize = 64 * 1024;
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (first, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        first
    }

    /// Frames of which only the payload is free, more or less.
    fn frames(&mut self, out: &mut Vec<u8>) -> Option<()> {
        for _ in 0..self.byte()? % 4 {
            let [kind, flags, stream, length] = [self.byte()?, self.byte()?, self.byte()?, self.byte()?];
            // A large frame now and then: places are found only behind the longest.
            let long = kind & 0x80 != 0;
            let payload = if long { &[][..] } else { self.bytes(usize::from(length & 63)) };
            let octets = if long { usize::from(length) * 64 } else { payload.len() };
            out.extend_from_slice(&(octets as u32).to_be_bytes()[1..]);
            out.extend_from_slice(&[kind & 15, flags, 0, 0, 0, stream]);
            out.extend_from_slice(payload);
            out.resize(out.len() + octets - payload.len(), stream);
        }
        Some(())
    }
}

struct Wire {
    assembler: Assembler,
    next: [u32; 2],
    time_ns: u64,
    flags: u16,
}

impl Wire {
    fn send(&mut self, direction: Direction, bytes: &[u8], extra: u16) {
        self.time_ns += 1;
        let index = direction.index();
        let mut headers = [0; 40];
        headers[0] = 0x45;
        headers[9] = 6;
        headers[28..32].copy_from_slice(&self.next[1 - index].to_be_bytes());
        headers[33] = 0x10;
        let sequence = self.next[index];
        self.next[index] = sequence.wrapping_add(bytes.len() as u32);
        let segment = Segment {
            connection: ConnectionId(1),
            netns: 1,
            direction,
            time_ns: self.time_ns,
            sequence,
            bytes,
            packet_end: self.next[index],
            headers: &headers,
            segments: 1,
            flags: self.flags | extra,
            starts: 0,
            process: None,
            frame: None,
        };
        self.assembler.event(&Event::Segment(segment), &mut |t: RawTransaction| drop(t));
    }

    fn check(&self) {
        let (c, held) = (self.assembler.counters(), self.assembler.held());
        assert_eq!(c.started.requests, c.given.requests + c.dropped_twin.requests + held.requests);
        assert_eq!(c.started.responses, c.given.responses + c.dropped_twin.responses + held.responses);
        assert!(self.assembler.held_bytes() <= HELD_BYTES_MAX);
    }
}

fn step(input: &mut Input<'_>, wire: &mut Wire) -> Option<()> {
    let kind = input.byte()?;
    let direction = if kind & 16 == 0 { Direction::Ingress } else { Direction::Egress };
    let mut bytes = Vec::new();
    match kind & 15 {
        0 => {
            wire.next[direction.index()] = wire.next[direction.index()].wrapping_add(u32::from(input.byte()?))
        }
        1 => {
            wire.time_ns += 1 << (input.byte()? % 34);
            wire.assembler.tick(wire.time_ns, &mut |t| drop(t));
        }
        2 => {
            let time_ns = wire.time_ns;
            let closed = Event::Closed { connection: ConnectionId(1), time_ns, reason: CloseReason::Fin };
            wire.assembler.event(&closed, &mut |t| drop(t));
        }
        3 => {
            let count = usize::from(input.byte()?);
            wire.send(direction, input.bytes(count), 0);
        }
        4 => {
            input.frames(&mut bytes)?;
            wire.send(direction, &bytes, flags::START | flags::LOST);
        }
        // A lot that is the same, so that a place can be found within a short input.
        5 => {
            input.frames(&mut bytes)?;
            for _ in 0..input.byte()? {
                wire.send(direction, &bytes, 0);
            }
        }
        // Exchanges that answer each other.
        6 => {
            let first = input.byte()?;
            let block = input.bytes(usize::from(first & 31));
            for i in 0..=input.byte()? {
                for direction in [Direction::Ingress, Direction::Egress] {
                    let mut frames = (block.len() as u32).to_be_bytes()[1..].to_vec();
                    frames.extend_from_slice(&[1, 4, 0, 0, i >> 7, (i << 1) | 1]);
                    frames.extend_from_slice(block);
                    frames.extend_from_slice(&[0, 4, 0, 0, 1, 0, 0, i >> 7, (i << 1) | 1]);
                    frames.resize(frames.len() + 1024, first);
                    wire.send(direction, &frames, 0);
                }
            }
        }
        _ => {
            input.frames(&mut bytes)?;
            wire.send(direction, &bytes, 0);
        }
    }
    Some(())
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let Some(mode) = input.byte() else { return };
    let limits = Limits {
        head_bytes_max: 1024,
        field_lines_max: 16,
        streams_max: 16,
        reorder_bytes_max: 4096,
        reorder_segments_max: 8,
        held_bytes_max: HELD_BYTES_MAX,
        ..Limits::default()
    };
    let raw = if mode & 1 == 0 { flags::RAW } else { 0 };
    let begins = if mode & 2 == 0 { flags::JOINED } else { flags::FRESH };
    let mut wire = Wire {
        assembler: Assembler::new(limits),
        next: [1, u32::MAX - 1000],
        time_ns: 1,
        flags: raw | begins,
    };
    if mode & 2 != 0 {
        wire.send(Direction::Ingress, &[PREFACE, &[0, 0, 0, 4, 0, 0, 0, 0, 0]].concat(), 0);
        wire.send(Direction::Egress, &[0, 0, 0, 4, 0, 0, 0, 0, 0], 0);
    }
    while step(&mut input, &mut wire).is_some() {
        wire.check();
    }
    wire.assembler.finish(&mut |_| {});
    wire.check();
    let held = wire.assembler.held();
    assert_eq!((held.requests, held.responses, wire.assembler.held_bytes()), (0, 0, 0));
});
