//! Traffic of an API gateway, made up but in the proportions of the real: some clients with a few connections each, calls of
//! twelve request and eight response lines, of which some repeat and some never do.

use std::net::Ipv4Addr;

use headtrail_record::event::{ConnectionId, Direction, Endpoint, HeaderBytes, ProcessRef};
use headtrail_record::json::Processes;
use headtrail_record::redact::{FingerprintKey, Policy, Redactor};
use headtrail_record::transaction::{
    Line, Message, Phase, Process, RawTransaction, Role, Span, StartLine, Transaction, Version,
};

/// Knows the gateway.
pub struct Gateway(Process);

impl Gateway {
    /// As the process table has it.
    pub fn new() -> Self {
        Self(Process {
            pid: 812,
            name: "nginx".to_owned(),
            executable: Some("/usr/local/openresty/nginx/sbin/nginx".to_owned()),
            cgroup: Some(format!("/system.slice/docker-{}.scope", "0123456789abcdef".repeat(4))),
            container: Some("0123456789abcdef".repeat(4)),
        })
    }
}

impl Processes for Gateway {
    fn process(&self, of: &ProcessRef) -> Option<&Process> {
        (of.pid == self.0.pid).then_some(&self.0)
    }
}

/// One connection of a client.
struct Connection {
    source: Endpoint,
    client: usize,
    /// Next sequence numbers of client and server.
    next: [u32; 2],
    /// Clocks of the TCP timestamps.
    clock: [u32; 2],
    /// Next IP identifications.
    id: [u16; 2],
    number: u32,
}

/// Makes transactions, always the same ones.
pub struct Traffic {
    /// Each call has a request id and a trace of its own: 40 random bytes, 80 hexadecimal digits.
    pub unique_ids: bool,
    state: u64,
    now_ns: u64,
    redactor: Redactor,
    connections: Vec<Connection>,
}

const AGENTS: [&str; 6] = [
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Safari/605.1.15",
    "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0",
    "okhttp/4.12.0",
    "python-requests/2.32.3",
    "Go-http-client/1.1",
];
const PATHS: [&str; 6] = ["orders", "customers", "invoices", "carts", "sessions/current", "products"];

impl Traffic {
    /// From the beginning.
    pub fn new() -> Self {
        let mut traffic = Self {
            unique_ids: true,
            state: 0x9e37_79b9_7f4a_7c15,
            now_ns: 1_795_545_411_123_456_789,
            redactor: Redactor::new(FingerprintKey { id: 1, secret: [7; 32] }, Policy::default()),
            connections: Vec::new(),
        };
        traffic.connections = (0..200).map(|i| traffic.connection(i)).collect();
        traffic
    }

    /// xorshift64*.
    fn random(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: u64) -> u64 {
        ((self.random() >> 32) * bound) >> 32
    }

    fn connection(&mut self, i: usize) -> Connection {
        let client = i / 4;
        let port = 32_768 + self.below(28_000) as u16;
        Connection {
            source: Endpoint {
                ip: Ipv4Addr::new(10, 20, (client / 20) as u8, 17 + client as u8).into(),
                port,
            },
            client,
            next: [self.random() as u32, self.random() as u32],
            clock: [self.random() as u32, self.random() as u32],
            id: [self.random() as u16, self.random() as u16],
            number: 0,
        }
    }

    /// The next one.
    pub fn next(&mut self) -> Transaction {
        let of = self.below(200) as usize;
        self.now_ns += 20_000 + self.below(200_000);
        // Connections last for some fifty calls.
        if self.below(50) == 0 {
            self.connections[of] = self.connection(of);
        }
        let request_bytes = if self.below(3) == 0 { 20 + self.below(400) } else { 0 };
        let response_bytes = 50 + self.below(4_000);
        let (request, response) = self.texts(self.connections[of].client, request_bytes, response_bytes);
        let wait_ns = 800_000 + self.below(40_000_000);
        let request = self.message(of, 0, &request, request_bytes, self.now_ns);
        let response = self.message(of, 1, &response, response_bytes, self.now_ns + wait_ns);
        let connection = &mut self.connections[of];
        connection.number += 1;
        let raw = RawTransaction {
            connection: ConnectionId(0x1_0000 + u64::from(connection.source.port)),
            number: connection.number - 1,
            netns: 4_026_531_840,
            source: connection.source,
            destination: Endpoint { ip: Ipv4Addr::new(10, 20, 0, 5).into(), port: 9080 },
            role: Role::Server,
            request_direction: Direction::Ingress,
            request: Some(request),
            interim: Vec::new(),
            response: Some(response),
            process: Some(ProcessRef { pid: 812, name: *b"nginx\0\0\0\0\0\0\0\0\0\0\0" }),
            peer_process: None,
            incomplete: Vec::new(),
            anomalies: Vec::new(),
            stream: None,
            reset: None,
            tls: None,
            phase: Phase::Whole,
            close: None,
        };
        self.redactor.redact(raw)
    }

    /// Request and response: start-line, then lines.
    fn texts(&mut self, client: usize, request_bytes: u64, response_bytes: u64) -> (String, String) {
        let path = PATHS[self.below(6) as usize];
        let id = self.below(100_000);
        let method = if request_bytes > 0 { "POST" } else { "GET" };
        let [a, b, c, d, e] = if self.unique_ids { [(); 5].map(|()| self.random()) } else { [1, 2, 3, 4, 5] };
        let request_id = format!("{d:016x}{e:016x}");
        let trace = format!("00-{a:016x}{b:016x}-{c:016x}-01");
        let token = format!("eyJhbGciOiJSUzI1NiJ9.{client:022}.c2lnbmF0dXJlLW9mLXRoZS10b2tlbg");
        let second = self.now_ns / 1_000_000_000;
        let date = format!(
            "Tue, 24 Nov 2026 {:02}:{:02}:{:02} GMT",
            second / 3600 % 24,
            second / 60 % 60,
            second % 60
        );
        let request = format!(
            "{method} /api/v2/{path}/{id}?expand=items&limit=50\n\
             Host: api.example.com\nUser-Agent: {}\nAccept: application/json, text/plain, */*\n\
             Accept-Encoding: gzip, deflate, br\nAccept-Language: en-GB,en;q=0.9,de;q=0.8\n\
             Authorization: Bearer {token}\nContent-Type: application/json\nContent-Length: {request_bytes}\n\
             X-Request-Id: {request_id}\ntraceparent: {trace}\nX-Forwarded-For: 198.51.100.{}\nConnection: keep-alive\n",
            AGENTS[client % 6],
            client + 1,
        );
        let status =
            ["200 OK", "200 OK", "200 OK", "200 OK", "404 Not Found", "201 Created"][self.below(6) as usize];
        let response = format!(
            "{status}\nServer: APISIX/3.11.0\nDate: {date}\nContent-Type: application/json; charset=utf-8\n\
             Content-Length: {response_bytes}\nConnection: keep-alive\nX-Request-Id: {request_id}\n\
             X-RateLimit-Remaining: {}\nCache-Control: no-store\n",
            self.below(1000),
        );
        (request, response)
    }

    fn message(&mut self, of: usize, side: usize, text: &str, body_bytes: u64, first_ns: u64) -> Message {
        let mut at = 0;
        let mut lines = Vec::with_capacity(12);
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
        let headers = self.headers(of, side, text.len() as u32 + body_bytes as u32);
        let connection = &mut self.connections[of];
        let sequence = connection.next[side];
        connection.next[side] = sequence.wrapping_add(text.len() as u32 + body_bytes as u32);
        Message {
            text: text.as_bytes().to_vec(),
            start,
            version: Version::Http11,
            lines,
            trailers: Vec::new(),
            body_bytes: Some(body_bytes),
            headers,
            segments: if body_bytes > 1_400 { 2 } else { 1 },
            frame: None,
            sequence,
            first_ns,
            last_ns: first_ns + if body_bytes > 1_400 { self.below(300_000) } else { 0 },
        }
    }

    /// IPv4 and TCP, with checksums as random as they are.
    fn headers(&mut self, of: usize, side: usize, payload: u32) -> HeaderBytes {
        let noise = self.random().to_be_bytes();
        let elapsed = self.below(2_000) as u32;
        let connection = &mut self.connections[of];
        connection.clock[side] = connection.clock[side].wrapping_add(elapsed);
        connection.id[side] = connection.id[side].wrapping_add(1 + (payload / 1448) as u16);
        let ip: [u8; 4] = match connection.source.ip {
            std::net::IpAddr::V4(ip) => ip.octets(),
            std::net::IpAddr::V6(_) => [0; 4],
        };
        let mut ends = [(ip, connection.source.port), ([10, 20, 0, 5], 9080)];
        ends.rotate_left(side);
        let mut bytes = vec![0x45, 0];
        bytes.extend(((52 + payload).min(1500) as u16).to_be_bytes());
        bytes.extend(connection.id[side].to_be_bytes());
        bytes.extend([0x40, 0, 64, 6, noise[2], noise[3]]);
        bytes.extend(ends[0].0);
        bytes.extend(ends[1].0);
        bytes.extend(ends[0].1.to_be_bytes());
        bytes.extend(ends[1].1.to_be_bytes());
        bytes.extend(connection.next[side].to_be_bytes());
        bytes.extend(connection.next[1 - side].to_be_bytes());
        bytes.extend([0x80, 0x18, 1, 0xf5, noise[4], noise[5], 0, 0, 1, 1, 8, 10]);
        bytes.extend(connection.clock[side].to_be_bytes());
        bytes.extend(connection.clock[1 - side].to_be_bytes());
        HeaderBytes::new(&bytes)
    }
}
