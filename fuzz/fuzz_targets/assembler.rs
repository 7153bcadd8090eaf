//! Any events: nothing panics, messages balance, memory is bounded, and at the end nothing is held.
#![no_main]

use headtrail_assemble::{Assembler, Limits};
use headtrail_record::event::{CloseReason, ConnectionId, Direction, Endpoint, Event, ProcessRef, Segment};
use headtrail_record::transaction::RawTransaction;
use libfuzzer_sys::fuzz_target;

const HELD_BYTES_MAX: usize = 16 * 1024;

const PIECES: [&[u8]; 32] = [
    b"GET / HTTP/1.1\r\n",
    b"HEAD / HTTP/1.1\r\n\r\n",
    b"CONNECT a:1 HTTP/1.1\r\n\r\n",
    b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 100 C\r\n\r\n",
    b"HTTP/1.1 101 S\r\n\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: 4294967300\r\n",
    b"\r\n",
    b"5\r\nhello\r\n",
    b"0\r\n",
    b"A: b\r\n c\r\n",
    b"\xff\x00",
    b"",
    b"GET /\r\n",
    b"GET\t/ HTTP/2.0\r\n",
    b"HTTP/2.0 600 X\r\n",
    b"HTTP/1.1 204 N\r\n\r\n",
    b"Content-Length : 5\r\n",
    b"Content-Length: +5\r\n",
    b"Content-Length: 6\r\n",
    b"Transfer-Encoding: chunked, identity\r\n",
    b"Transfer-Encoding:\r\n chunked\r\n",
    b"A: b\rContent-Length: 5\n",
    b"1;a\nx\n",
    b"00000000000000000001\r\nx\r\n",
    b"0\r\nContent-Length: 5\r\n\r\n",
    b"A: bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",
    b"A\r\nB\r\nC\r\nD\r\nE\r\nF\r\nG\r\nH\r\nI\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
];

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

    fn headers(&mut self) -> Option<[u8; 40]> {
        let mut b = [0; 40];
        b[0] = 0x45;
        b[9] = 6;
        b[31] = self.byte()?;
        b[33] = 0x10;
        Some(b)
    }
}

fn balance(assembler: &Assembler) {
    let (c, held) = (assembler.counters(), assembler.held());
    assert_eq!(c.started.requests, c.given.requests + c.dropped_twin.requests + held.requests);
    assert_eq!(c.started.responses, c.given.responses + c.dropped_twin.responses + held.responses);
    assert!(assembler.held_bytes() <= HELD_BYTES_MAX);
}

fn step(input: &mut Input<'_>, assembler: &mut Assembler, time_ns: &mut u64) -> Option<()> {
    let mut out = |t: RawTransaction| drop(t);
    let kind = input.byte()?;
    let connection = ConnectionId(u64::from(kind >> 5));
    let direction = if kind & 16 == 0 { Direction::Ingress } else { Direction::Egress };
    // Near the wrap of sequence numbers.
    let sequence = u32::from(input.byte()?).wrapping_sub(128);
    *time_ns += 1 << (input.byte()? % 34);
    let time_ns = *time_ns;
    let event = match kind & 15 {
        0 => Event::BodyEnd { connection, direction, time_ns, sequence, octets: 5 },
        1 => Event::Finished { connection, direction, time_ns, sequence },
        2 => Event::Closed { connection, time_ns, reason: CloseReason::Fin },
        3 => {
            assembler.tick(time_ns, &mut out);
            return Some(());
        }
        4 => Event::Peer {
            netns: 1,
            source: Endpoint { ip: [0; 4].into(), port: 0 },
            destination: Endpoint { ip: [0; 4].into(), port: 0 },
            sequence,
            process: ProcessRef { pid: 1, name: [0; 16] },
        },
        _ => {
            let headers = input.headers()?;
            let flags = u16::from(input.byte()?);
            let shape = input.byte()?;
            let mut bytes = Vec::new();
            if shape & 128 == 0 {
                for _ in 0..shape % 8 {
                    bytes.extend_from_slice(PIECES[usize::from(input.byte()? % 32)]);
                }
            } else {
                bytes.extend_from_slice(input.bytes(usize::from(shape & 127)));
            }
            let rest = if flags & 128 == 0 { 0 } else { u32::from(input.byte()?) };
            let segment = Segment {
                connection,
                netns: 1,
                direction,
                time_ns,
                sequence,
                bytes: &bytes,
                packet_end: sequence.wrapping_add(bytes.len() as u32).wrapping_add(rest),
                headers: &headers,
                segments: 1,
                flags: flags & 63,
                starts: 0,
                process: None,
                frame: None,
            };
            assembler.event(&Event::Segment(segment), &mut out);
            return Some(());
        }
    };
    assembler.event(&event, &mut out);
    Some(())
}

fuzz_target!(|data: &[u8]| {
    let mut assembler = Assembler::new(Limits {
        head_bytes_max: 256,
        field_lines_max: 8,
        pending_transactions_max: 4,
        connections_max: 3,
        reorder_bytes_max: 1024,
        reorder_segments_max: 4,
        held_bytes_max: HELD_BYTES_MAX,
        early_segments_max: 4,
        peers_max: 2,
        twins_max: 4,
        resyncs_max: 4,
        ..Limits::default()
    });
    let mut input = Input(data);
    let mut time_ns = 0;
    while step(&mut input, &mut assembler, &mut time_ns).is_some() {
        balance(&assembler);
    }
    assembler.finish(&mut |_| {});
    balance(&assembler);
    let held = assembler.held();
    assert_eq!((held.requests, held.responses, assembler.held_bytes()), (0, 0, 0));
});
