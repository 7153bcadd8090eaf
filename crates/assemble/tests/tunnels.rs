//! Tunnels, entered: what is in them is read, if it is HTTP.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{BASES, Owned, REQUESTS, RESPONSES};
use headtrail_assemble::{Assembler, Limits};
use headtrail_record::event::{CloseReason, Direction, flags};
use headtrail_record::transaction::{Phase, RawTransaction};

/// What is sent, one packet each, as a capture file gives it.
struct Wire {
    events: Vec<Owned>,
    next: [u32; 2],
}

impl Wire {
    fn new() -> Self {
        Self { events: Vec::new(), next: BASES }
    }

    fn send(&mut self, direction: Direction, bytes: &[u8]) {
        let index = usize::from(direction == RESPONSES);
        let sequence = self.next[index];
        let fresh = if sequence == BASES[index] { flags::FRESH } else { 0 };
        self.next[index] = sequence.wrapping_add(bytes.len() as u32);
        self.events.push(Owned::Segment {
            connection: 1,
            direction,
            sequence,
            acknowledgement: self.next[1 - index],
            bytes: bytes.to_vec(),
            packet_end: self.next[index],
            flags: flags::RAW | fresh,
            time_ns: 1000 * (1 + self.events.len() as u64),
            process: None,
            ports: (40_000, 1080),
            netns: 0,
        });
    }

    fn read(&self, tunnels: bool) -> (Vec<RawTransaction>, u64) {
        let mut assembler = Assembler::new(Limits { tunnels, ..Limits::default() });
        let mut out = Vec::new();
        for event in &self.events {
            event.apply(&mut assembler, &mut out);
        }
        let time_ns = 1_000_000;
        for (direction, sequence) in [(REQUESTS, self.next[0]), (RESPONSES, self.next[1])] {
            Owned::Finished { connection: 1, direction, sequence, time_ns }.apply(&mut assembler, &mut out);
        }
        Owned::Closed { connection: 1, reason: CloseReason::Fin, time_ns }.apply(&mut assembler, &mut out);
        out.retain(|t| t.phase != Phase::Start);
        (out, assembler.counters().other_connections)
    }
}

const GET: &[u8] = b"GET /in HTTP/1.1\r\nHost: a\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const CONNECT: &[u8] = b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n";
const ESTABLISHED: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";

fn target(transaction: &RawTransaction) -> &[u8] {
    transaction.request.as_ref().unwrap().target().unwrap()
}

fn is_pair(transaction: &RawTransaction) -> bool {
    transaction.request.is_some() && transaction.response.is_some() && transaction.incomplete.is_empty()
}

#[test]
fn http_behind_a_socks_handshake_in_any_pieces() {
    let client =
        [&b"\x05\x02\x00\x02"[..], b"\x01\x02me\x03pwd", b"\x05\x01\x00\x03\x01a\x00\x50", GET].concat();
    let server = [&b"\x05\x02"[..], b"\x01\x00", b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50", OK].concat();
    for step in 1..20 {
        let mut wire = Wire::new();
        let (mut sent, mut answered) = (client.chunks(step), server.chunks(step));
        loop {
            let (request, response) = (sent.next(), answered.next());
            request.into_iter().for_each(|bytes| wire.send(REQUESTS, bytes));
            response.into_iter().for_each(|bytes| wire.send(RESPONSES, bytes));
            if request.is_none() && response.is_none() {
                break;
            }
        }
        let (out, _) = wire.read(true);
        assert_eq!(out.len(), 1, "step {step}: {out:?}");
        assert!(is_pair(&out[0]) && target(&out[0]) == b"/in", "step {step}: {out:?}");
        let (out, other) = wire.read(false);
        assert!(out.is_empty() && other == 1, "step {step}: {out:?}");
    }
}

#[test]
fn what_a_proxy_refuses_or_others_say_is_not_entered() {
    for (client, server) in [
        (&b"\x04\x01\x00\x50\x7f\x00\x00\x01\x00"[..], &b"\x00\x5b\x00\x50\x7f\x00\x00\x01"[..]),
        (b"\x05\x01\x00\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x50", b"\x05\xff"),
        (
            b"\x05\x01\x00\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x16SSH-2.0-x y\r\n",
            b"\x05\x00\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x16SSH-2.0-z\r\n",
        ),
    ] {
        let mut wire = Wire::new();
        wire.send(REQUESTS, client);
        wire.send(RESPONSES, server);
        let (out, _) = wire.read(true);
        assert!(out.is_empty(), "{out:?}");
    }
}

#[test]
fn http_in_a_tunnel_of_connect() {
    let mut wire = Wire::new();
    for (direction, bytes) in
        [(REQUESTS, CONNECT), (RESPONSES, ESTABLISHED), (REQUESTS, GET), (RESPONSES, OK)]
    {
        wire.send(direction, bytes);
    }
    let (out, _) = wire.read(true);
    assert_eq!(out.len(), 2, "{out:?}");
    assert!(is_pair(&out[0]) && target(&out[0]) == b"/in", "{out:?}");
    assert!(is_pair(&out[1]) && target(&out[1]) == b"a:80", "{out:?}");
    assert_eq!(out[1].response.as_ref().unwrap().body_bytes, None);
    assert_eq!(wire.read(false).0.len(), 1);
}

#[test]
fn something_else_in_a_tunnel_of_connect_is_counted_as_if_it_had_not_been_looked_at() {
    let pieces: [&[(Direction, &[u8])]; 3] = [
        &[(REQUESTS, b"\x16\x03\x01\x00\x05hello"), (RESPONSES, b"\x16\x03\x03abc")],
        &[(RESPONSES, b"220 mail\r\n"), (REQUESTS, b"EHLO a\r\n"), (REQUESTS, GET)],
        &[(REQUESTS, b"GET"), (REQUESTS, b"TING\r\n"), (RESPONSES, OK)],
    ];
    for pieces in pieces {
        let mut wire = Wire::new();
        wire.send(REQUESTS, CONNECT);
        wire.send(RESPONSES, ESTABLISHED);
        pieces.iter().for_each(|&(direction, bytes)| wire.send(direction, bytes));
        let bytes = |tunnels: bool| {
            let (out, _) = wire.read(tunnels);
            assert_eq!(out.len(), 1, "{out:?}");
            let (request, response) = (out[0].request.clone().unwrap(), out[0].response.clone().unwrap());
            (request.body_bytes, response.body_bytes)
        };
        assert_eq!(bytes(true), bytes(false), "{pieces:?}");
        assert!(bytes(true).0.is_some());
    }
}
