//! What redaction costs a transaction: the budget is 0.6 µs without a secret, and as much again for each fingerprint.

use std::net::{IpAddr, Ipv4Addr};

use divan::{Bencher, black_box};
use headtrail_record::event::{ConnectionId, Direction, Endpoint, HeaderBytes};
use headtrail_record::packet;
use headtrail_record::redact::{FingerprintKey, Policy, Redactor};
use headtrail_record::transaction::{Line, Message, Phase, RawTransaction, Role, Span, StartLine, Version};

fn main() {
    divan::Divan::from_args().sample_size(16).sample_count(2000).main();
}

/// A message from its head as on the wire.
fn message(head: &str) -> Message {
    let text = head.replace('\n', "\r\n").into_bytes();
    let head = String::from_utf8_lossy(&text).into_owned();
    let mut at = 0;
    let (mut start, mut lines) = (None, Vec::new());
    for line in head.split("\r\n") {
        if start.is_none() {
            let first = line.find(' ').unwrap_or(0);
            let second = first + 1 + line[first + 1..].find(' ').unwrap_or(0);
            start = Some(if line.starts_with("HTTP/") {
                StartLine::Status { status: 200, reason: Span::of(second + 1, line.len()) }
            } else {
                StartLine::Request { method: Span::of(0, first), target: Span::of(first + 1, second) }
            });
        } else if let Some(colon) = line.find(": ") {
            let name = Span::of(at, at + colon);
            lines.push(Line::new(name, Span::of(at + colon + 2, at + line.len())));
        }
        at += line.len() + 2;
    }
    let start = start.unwrap_or(StartLine::Status { status: 200, reason: Span::default() });
    Message {
        text,
        start,
        version: Version::Http11,
        lines,
        trailers: Vec::new(),
        body_bytes: Some(0),
        headers: HeaderBytes::new(&[]),
        segments: 1,
        frame: None,
        sequence: 0,
        first_ns: 0,
        last_ns: 0,
    }
}

fn transaction(request: &str) -> RawTransaction {
    let response = "HTTP/1.1 200 OK\nContent-Type: application/json\nContent-Length: 31\n\
                    Date: Tue, 24 Nov 2026 18:36:51 GMT\nServer: APISIX/3.11.0\n\
                    X-APISIX-Upstream-Status: 200\nConnection: keep-alive\n\n";
    let end = Endpoint { ip: IpAddr::V4(Ipv4Addr::LOCALHOST), port: 80 };
    RawTransaction {
        connection: ConnectionId(1),
        number: 0,
        netns: 0,
        source: end,
        destination: end,
        role: Role::Server,
        request_direction: Direction::Ingress,
        request: Some(message(request)),
        interim: Vec::new(),
        response: Some(message(response)),
        process: None,
        peer_process: None,
        incomplete: Vec::new(),
        anomalies: Vec::new(),
        stream: None,
        reset: None,
        tls: None,
        phase: Phase::Whole,
        close: None,
    }
}

const PLAIN: &str = "GET /api/v1/users/42?page=2 HTTP/1.1\nHost: localhost:9080\nUser-Agent: curl/8.5.0\n\
                     Accept: */*\nAccept-Encoding: gzip, deflate\nContent-Type: application/json\n\
                     X-Request-Id: 0b8a7c4e-6c2b-4f0e-9a53-0c1d2e3f4a5b\nContent-Length: 52\n\
                     X-Forwarded-For: 10.0.0.7\n\n";
const BROWSER: &str = "GET /index.html HTTP/1.1\nHost: www.example.com\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\n\
    Accept-Language: en-US,en;q=0.9,de;q=0.8\nAccept-Encoding: gzip, deflate, br, zstd\n\
    sec-ch-ua: \"Chromium\";v=\"130\", \"Google Chrome\";v=\"130\", \"Not?A_Brand\";v=\"99\"\n\
    sec-ch-ua-mobile: ?0\nsec-ch-ua-platform: \"Linux\"\nSec-Fetch-Site: same-origin\nSec-Fetch-Mode: navigate\n\
    Referer: https://www.example.com/start\nUpgrade-Insecure-Requests: 1\n\n";

fn run(bencher: Bencher<'_, '_>, raw: &RawTransaction) {
    let mut redactor = Redactor::new(FingerprintKey { id: 1, secret: [7; 32] }, Policy::default());
    let mut number = 0u64;
    let next = || {
        // Request ids and targets do not come again; the rest of the lines does.
        number = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut raw = raw.clone();
        if let Some(request) = &mut raw.request {
            for changing in ["0b8a7c4e", "users/42"] {
                let at = request.text.windows(8).position(|w| w == changing.as_bytes());
                if let Some(at) = at {
                    let digits = format!("{:02x}", number >> 56);
                    request.text[at + 6..at + 8].copy_from_slice(digits.as_bytes());
                    let digits = format!("{:06x}", number >> 40);
                    if changing.starts_with('0') {
                        request.text[at..at + 6].copy_from_slice(&digits.as_bytes()[..6]);
                    }
                }
            }
        }
        raw
    };
    bencher.with_inputs(next).bench_local_values(|raw| redactor.redact(raw));
}

#[divan::bench]
fn no_secret(bencher: Bencher<'_, '_>) {
    run(bencher, &transaction(PLAIN));
}

#[divan::bench]
fn browser(bencher: Bencher<'_, '_>) {
    run(bencher, &transaction(BROWSER));
}

#[divan::bench(args = [1, 2, 4])]
fn api_keys(bencher: Bencher<'_, '_>, keys: usize) {
    let mut head = PLAIN.trim_end().to_owned();
    for i in 0..keys {
        head.push_str(&format!("\nX-Api-Key: 0123456789abcdef012345678{i}"));
    }
    run(bencher, &transaction(&(head + "\n\n")));
}

#[divan::bench]
fn bearer_jwt(bencher: Bencher<'_, '_>) {
    let jwt = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxIiwiZXhwIjoxNzY0MDA5NDExfQ.c2lnbmF0dXJl";
    run(bencher, &transaction(&format!("{}\nAuthorization: Bearer {jwt}\n\n", PLAIN.trim_end())));
}

/// What a head of hostile bytes may cost at most.
#[divan::bench]
fn flood_of_16_kib(bencher: Bencher<'_, '_>) {
    run(bencher, &transaction(&format!("GET /{} HTTP/1.1\n\n", "../%2e%2e/sk-".repeat(1260))));
}

#[divan::bench]
fn elements(bencher: Bencher<'_, '_>) {
    let bytes = [
        0x45, 0, 5, 220, 18, 103, 64, 0, 63, 6, 0, 0, 10, 0, 0, 1, 192, 168, 1, 2, 0xc8, 0x22, 0x23, 0x78, 0,
        0, 0, 7, 0, 0, 0, 9, 0x80, 0x18, 2, 0, 0, 0, 0, 0, 1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2,
    ];
    let headers = HeaderBytes::new(&bytes);
    bencher.bench(|| {
        let elements = packet::elements(black_box(&headers));
        elements.tcp.map_or(0, |tcp| tcp.options.iter().count())
    });
}
