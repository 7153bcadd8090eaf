//! What it costs to write one transaction: a request of eight field lines and a response of six, with both packets
//! and a process.

use std::net::Ipv4Addr;

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use headtrail_record::event::{ConnectionId, Direction, Endpoint, HeaderBytes, ProcessRef};
use headtrail_record::json::Context;
use headtrail_record::redact::{FingerprintKey, Policy, Redactor};
use headtrail_record::transaction::{
    Line, Message, Phase, RawTransaction, Role, Span, StartLine, Transaction, Version,
};
use headtrail_record::{community_id, ecs, json, packet};

fn main() {
    divan::main();
}

const NOW_NS: u64 = 1_795_545_411_123_456_789;
const REQUEST: &str = "POST /api/v1/example?a=1&b=2\n\
    Host: api.example.org:9080\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0 Safari/537.36\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\n\
    Accept-Language: en-US,en;q=0.5\n\
    Accept-Encoding: gzip, deflate, br\n\
    Content-Type: application/json\n\
    Authorization: Bearer 0123456789abcdef\n\
    Content-Length: 52\n";
const RESPONSE: &str = "200 OK\n\
    Server: nginx/1.26.3\n\
    Date: Tue, 24 Nov 2026 18:36:51 GMT\n\
    Content-Type: text/plain\n\
    Content-Length: 31\n\
    Connection: keep-alive\n\
    X-Request-Id: 5f2c0123456789ab5f2c0123456789ab\n";

/// The start-line, and spans of what each line holds.
fn message(text: &str) -> Message {
    let mut at = 0;
    let mut lines = Vec::new();
    let mut start = StartLine::Status { status: 0, reason: Span::default() };
    for line in text.split_inclusive('\n') {
        let end = at + line.trim_end().len();
        if let Some(colon) = line.find(": ").filter(|_| at > 0) {
            lines.push(Line::new(Span::of(at, at + colon), Span::of(at + colon + 2, end)));
        } else if let Some((first, rest)) = line.split_once(' ') {
            let rest = Span::of(end - rest.trim_end().len(), end);
            start = match first.parse() {
                Ok(status) => StartLine::Status { status, reason: rest },
                Err(_) => StartLine::Request { method: Span::of(at, at + first.len()), target: rest },
            };
        }
        at += line.len();
    }
    let mut headers = vec![0x45, 0, 0, 52, 0x12, 0x67, 0x40, 0, 64, 6, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1];
    headers.extend([0xc8, 0x22, 0x23, 0x78, 1, 2, 3, 0xe8, 9, 8, 0x13, 0x88, 0x80, 0x18, 2, 0, 0, 0, 0, 0]);
    headers.extend([1, 1, 8, 10, 1, 0, 0, 1, 2, 0, 0, 2]);
    Message {
        text: text.into(),
        start,
        version: Version::Http11,
        lines,
        trailers: Vec::new(),
        body_bytes: Some(52),
        headers: HeaderBytes::new(&headers),
        segments: 1,
        frame: None,
        sequence: 1,
        first_ns: NOW_NS,
        last_ns: NOW_NS + 1_240_000,
    }
}

fn transaction() -> Transaction {
    let end = |port| Endpoint { ip: Ipv4Addr::LOCALHOST.into(), port };
    Redactor::new(FingerprintKey { id: 1, secret: [7; 32] }, Policy::default()).redact(RawTransaction {
        connection: ConnectionId(0xbeef),
        number: 3,
        netns: 4_026_531_840,
        source: end(51234),
        destination: end(9080),
        role: Role::Server,
        request_direction: Direction::Ingress,
        request: Some(message(REQUEST)),
        interim: Vec::new(),
        response: Some(message(RESPONSE)),
        process: Some(ProcessRef { pid: 812, name: *b"nginx\0\0\0\0\0\0\0\0\0\0\0" }),
        peer_process: None,
        incomplete: Vec::new(),
        anomalies: Vec::new(),
        stream: None,
        reset: None,
        tls: None,
        phase: Phase::Whole,
        close: None,
    })
}

fn bench(bencher: Bencher, write: impl Fn(&mut Vec<u8>, &Transaction, &Context)) {
    let t = transaction();
    let context = Context { run: 0x0123_4567_89ab, processes: &() };
    let mut out = Vec::new();
    write(&mut out, &t, &context);
    bencher.counter(BytesCount::new(out.len())).bench_local(|| {
        out.clear();
        write(&mut out, black_box(&t), &context);
        black_box(out.len())
    });
}

#[divan::bench(sample_size = 1000)]
fn transaction_as_json(bencher: Bencher) {
    bench(bencher, json::write_transaction);
}

#[divan::bench(sample_size = 1000)]
fn transaction_as_ecs(bencher: Bencher) {
    bench(bencher, ecs::write_transaction);
}

/// The floor: the same number of bytes in one copy.
#[divan::bench(sample_size = 1000)]
fn copy_of_the_json(bencher: Bencher) {
    let mut line = Vec::new();
    json::write_transaction(&mut line, &transaction(), &Context { run: 1, processes: &() });
    let mut out = Vec::with_capacity(line.len());
    bencher.counter(BytesCount::new(line.len())).bench_local(|| {
        out.clear();
        out.extend_from_slice(black_box(&line));
        black_box(out.len())
    });
}

#[divan::bench(sample_size = 1000)]
fn elements_of_a_packet(bencher: Bencher) {
    let headers = message(REQUEST).headers;
    bencher.bench_local(|| packet::elements(black_box(&headers)));
}

#[divan::bench(sample_size = 1000)]
fn community_id_of_a_flow(bencher: Bencher) {
    let end = |port| Endpoint { ip: Ipv4Addr::LOCALHOST.into(), port };
    bencher.bench_local(|| community_id::tcp(black_box(end(51234)), end(9080)));
}
