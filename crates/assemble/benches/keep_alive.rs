//! What one keep-alive transaction costs: a small GET and its response of 300 bytes, each in a packet of its own.

use std::hint::black_box;
use std::net::Ipv4Addr;

use divan::Bencher;
use divan::counter::ItemsCount;
use headtrail_assemble::{Assembler, Limits};
use headtrail_record::event::{ConnectionId, Direction, Event, Segment, flags};
use headtrail_record::transaction::RawTransaction;

#[global_allocator]
static ALLOCATOR: divan::AllocProfiler = divan::AllocProfiler::system();

const REQUEST: &[u8] = b"GET /api/items?id=42 HTTP/1.1\r\nHost: example.test:9080\r\nUser-Agent: wrk/4.2\r\n\
    Accept: */*\r\nAccept-Encoding: gzip\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nServer: nginx/1.26.2\r\nDate: Tue, 24 Nov 2026 20:30:10 GMT\r\n\
    Content-Type: application/json\r\nContent-Length: 100\r\nConnection: keep-alive\r\nX-Request-Id: 0123456789abcdef\r\n\
    Cache-Control: no-store\r\n\r\n";
const BODY_BYTES: u32 = 100;

/// Transactions in one run; the events of a run go round all connections.
const RUN: usize = 1000;

fn headers(client: Ipv4Addr, from_client: bool, sequence: u32, acknowledgement: u32) -> [u8; 52] {
    let mut b = [0; 52];
    b[0] = 0x45;
    b[9] = 6;
    let server = Ipv4Addr::new(10, 0, 0, 2);
    let ((from, from_port), (to, to_port)) = match from_client {
        true => ((client, 40_000u16), (server, 9080u16)),
        false => ((server, 9080), (client, 40_000)),
    };
    b[12..16].copy_from_slice(&from.octets());
    b[16..20].copy_from_slice(&to.octets());
    b[20..22].copy_from_slice(&from_port.to_be_bytes());
    b[22..24].copy_from_slice(&to_port.to_be_bytes());
    b[24..28].copy_from_slice(&sequence.to_be_bytes());
    b[28..32].copy_from_slice(&acknowledgement.to_be_bytes());
    b[32] = 0x80;
    b[33] = 0x18;
    b
}

fn run(
    assembler: &mut Assembler,
    connections: u64,
    next: &mut [[u32; 2]],
    time_ns: &mut u64,
    out: &mut impl FnMut(RawTransaction),
) {
    for n in 0..RUN as u64 {
        let id = n % connections;
        let [request, response] = &mut next[id as usize];
        let client = Ipv4Addr::from(0x0a01_0000 + id as u32);
        for (direction, bytes, rest) in
            [(Direction::Ingress, REQUEST, 0), (Direction::Egress, RESPONSE, BODY_BYTES)]
        {
            let from_client = direction == Direction::Ingress;
            let (sequence, acknowledgement) =
                if from_client { (&mut *request, *response) } else { (&mut *response, *request) };
            let headers = headers(client, from_client, *sequence, acknowledgement);
            let end = sequence.wrapping_add(bytes.len() as u32);
            *time_ns += 10_000;
            let segment = Segment {
                connection: ConnectionId(id),
                netns: 1,
                direction,
                time_ns: *time_ns,
                sequence: *sequence,
                bytes,
                packet_end: end.wrapping_add(rest),
                headers: &headers,
                segments: 1,
                flags: flags::START | flags::FRESH,
                starts: 1,
                process: None,
                frame: None,
            };
            *sequence = end.wrapping_add(rest);
            assembler.event(black_box(&Event::Segment(segment)), out);
        }
    }
}

#[divan::bench(args = [1, 16, 1000])]
fn transactions(bencher: Bencher, connections: u64) {
    let mut assembler = Assembler::new(Limits::default());
    let mut next = vec![[1, 2]; connections as usize];
    let mut time_ns = 0;
    bencher.counter(ItemsCount::new(RUN)).bench_local(|| {
        let mut count = 0usize;
        let mut out = |tx: RawTransaction| count += usize::from(black_box(tx).incomplete.is_empty());
        run(&mut assembler, connections, &mut next, &mut time_ns, &mut out);
        assert_eq!(count, RUN);
    });
}

fn main() {
    divan::main();
}
