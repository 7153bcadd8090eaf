//! Transactions for the tests of the writers.

use std::net::Ipv4Addr;
use std::sync::Arc;

use crate::event::{ConnectionId, Direction, Endpoint, HeaderBytes, ProcessRef};
use crate::features::{Basic, Features, Jwt, KeyShape, KidClass, PatternHit, PatternKind, Place};
use crate::grpc::Grpc;
use crate::json::Processes;
use crate::record::{Annotation, Checkpoint, Coverage, Kind, Lifecycle, Loss, Record, Unknown, Unread};
use crate::tls::Tls;
use crate::transaction::{
    Anomaly, Incomplete, IncompleteReason, Line, Message, Phase, Process, RawTransaction, Role, Side, Span,
    StartLine, Transaction, Version,
};
use crate::volume::{LeftOut, Rate};

/// 2026-11-24T18:36:51.123456789Z.
pub(crate) const TIME_NS: u64 = 1_795_545_411_123_456_789;

/// Field lines as names and values.
pub(crate) type Lines<'a> = &'a [(&'a [u8], &'a [u8])];

fn push(text: &mut Vec<u8>, bytes: &[u8]) -> Span {
    let start = text.len();
    text.extend_from_slice(bytes);
    Span::of(start, text.len())
}

fn spans(text: &mut Vec<u8>, lines: Lines) -> Vec<Line> {
    lines.iter().map(|(name, value)| Line::new(push(text, name), push(text, value))).collect()
}

fn message(start: impl FnOnce(&mut Vec<u8>) -> StartLine, lines: Lines, trailers: Lines) -> Message {
    let mut text = Vec::new();
    let start = start(&mut text);
    let lines = spans(&mut text, lines);
    let trailers = spans(&mut text, trailers);
    Message {
        start,
        version: Version::Http11,
        lines,
        trailers,
        body_bytes: None,
        headers: HeaderBytes::new(&[]),
        segments: 1,
        frame: None,
        sequence: 1,
        first_ns: TIME_NS,
        last_ns: TIME_NS,
        text,
    }
}

/// A request.
pub(crate) fn request(method: &[u8], target: &[u8], lines: Lines, trailers: Lines) -> Message {
    message(
        |text| StartLine::Request { method: push(text, method), target: push(text, target) },
        lines,
        trailers,
    )
}

/// A response.
pub(crate) fn response(status: u16, reason: &[u8], lines: Lines, trailers: Lines) -> Message {
    message(|text| StartLine::Status { status, reason: push(text, reason) }, lines, trailers)
}

/// An IPv4 and TCP header: DF, ttl 64, id 4711, PSH and ACK, window 512, timestamps 1 and 2.
pub(crate) fn packet() -> HeaderBytes {
    let mut bytes = vec![0x45, 0, 0, 52, 0x12, 0x67, 0x40, 0, 64, 6, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1];
    bytes.extend([0xc8, 0x22, 0x23, 0x78, 0, 0, 3, 0xe8, 0, 0, 0x13, 0x88, 0x80, 0x18, 2, 0, 0, 0, 0, 0]);
    bytes.extend([1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]);
    HeaderBytes::new(&bytes)
}

/// A transaction of the two, as if redacted.
pub(crate) fn transaction(request: Option<Message>, response: Option<Message>) -> Transaction {
    let inner = RawTransaction {
        connection: ConnectionId(0xbeef),
        number: 3,
        netns: 4_026_531_840,
        source: Endpoint { ip: Ipv4Addr::LOCALHOST.into(), port: 51234 },
        destination: Endpoint { ip: Ipv4Addr::LOCALHOST.into(), port: 9080 },
        role: Role::Server,
        request_direction: Direction::Ingress,
        request,
        interim: Vec::new(),
        response,
        process: None,
        peer_process: None,
        incomplete: Vec::new(),
        anomalies: Vec::new(),
        stream: None,
        reset: None,
        tls: None,
        phase: Phase::Whole,
        close: None,
    };
    Transaction {
        inner,
        features: Features::default(),
        grpc: None,
        redacted: Vec::new(),
        left_out: 0,
        sample_rate: Rate::ALL,
        lines_left_out: LeftOut::default(),
    }
}

/// A transaction with something in every member that can have something.
pub(crate) fn full() -> Transaction {
    let mut request = request(
        b"POST",
        b"/api/example?a=1",
        &[
            (b"Host", b"localhost:9080"),
            (b"User-Agent", b"curl/8.14.1"),
            (b"Content-Type", b"application/json"),
            (b"Authorization", b"Bearer hmac:1:5f2c0123456789ab"),
            (b"Expect", b"100-continue"),
            (b"X-Request-Id", b"r-1"),
            (b"accept", b"text/html"),
            (b"Accept", b"\"q\"\t\\"),
        ],
        &[(b"X-Sum", b"1")],
    );
    request.body_bytes = Some(52);
    request.headers = packet();
    request.last_ns += 1_000_000;
    let mut interim = response(100, b"Continue", &[(b"X-Early", b"caf\xe9")], &[]);
    interim.first_ns += 500_000;
    let mut response = response(
        200,
        b"OK",
        &[(b"Server", b"nginx"), (b"Content-Type", b"text/plain"), (b"X-Name", "Zo\u{eb}".as_bytes())],
        &[],
    );
    response.first_ns = TIME_NS + 1_240_000;
    response.last_ns = TIME_NS + 1_300_000;
    response.body_bytes = Some(31);
    response.headers = packet();
    let mut t = transaction(Some(request), Some(response));
    t.inner.interim.push(interim);
    t.inner.tls = Some(Arc::new(Tls {
        version: Some(0x0304),
        cipher: Some(0x1301),
        sni: Some("localhost".to_owned()),
        alpn: Some("http/1.1".to_owned()),
        ja4: Some("t13d1516h2_8daaf6152771_b186095e22b6".to_owned()),
        resumed: Some(false),
    }));
    t.inner.process = Some(ProcessRef { pid: 812, name: *b"nginx\0\0\0\0\0\0\0\0\0\0\0" });
    t.inner.peer_process = Some(ProcessRef { pid: 4242, name: *b"curl\0\0\0\0\0\0\0\0\0\0\0\0" });
    t.inner.incomplete.push(Incomplete { reason: IncompleteReason::Gap, side: Side::Response, at: Some(9) });
    t.inner.incomplete.push(Incomplete { reason: IncompleteReason::Joined, side: Side::Request, at: None });
    t.inner.anomalies.push(Anomaly::BareLf);
    t.redacted = vec!["Authorization".to_owned()];
    t
}

/// Features with every member, once with and once without what may be absent.
pub(crate) fn features() -> Features {
    let place = |side, name: &str| Place { side, name: name.to_owned() };
    let jwt = Jwt {
        place: place(Side::Request, "Authorization"),
        alg: Some("RS256".to_owned()),
        typ: Some("JWT".to_owned()),
        kid: Some(KidClass::Uuid),
        jku_host: Some("keys.example".to_owned()),
        expires_unix_s: Some(1_764_009_411),
        parts: 3,
        unsigned: false,
    };
    let bare = Jwt {
        place: place(Side::Response, "target"),
        alg: None,
        typ: None,
        kid: None,
        jku_host: None,
        expires_unix_s: None,
        parts: 1,
        unsigned: true,
    };
    let basic = Basic {
        place: place(Side::Request, "Authorization"),
        user: Some("hmac:1:00".to_owned()),
        password_empty: Some(true),
    };
    let shape = KeyShape { place: place(Side::Request, "X-Api-Key"), provider: "openai".to_owned() };
    let hit = PatternHit {
        place: place(Side::Request, "target"),
        kind: PatternKind::Attack,
        class: "sqli".to_owned(),
    };
    Features { jwt: vec![jwt, bare], basic: vec![basic], key_shape: vec![shape], patterns: vec![hit] }
}

/// A call of gRPC with every member.
pub(crate) fn grpc() -> Grpc {
    Grpc {
        service: Some("shop.v1.Cart".to_owned()),
        method: Some("Add".to_owned()),
        status: Some(14),
        message: Some("upstream \"gone\"".to_owned()),
        timeout_ns: Some(1_500_000_000),
        encoding: Some("gzip".to_owned()),
        web: false,
    }
}

/// Knows process 812.
pub(crate) struct Known(Process);

impl Known {
    pub(crate) fn new() -> Self {
        Self(Process {
            pid: 812,
            name: "nginx".to_owned(),
            executable: Some("/usr/sbin/nginx".to_owned()),
            cgroup: Some("/system.slice/docker-0a1b.scope".to_owned()),
            container: Some("0a1b".to_owned()),
        })
    }
}

impl Processes for Known {
    fn process(&self, of: &ProcessRef) -> Option<&Process> {
        (of.pid == self.0.pid).then_some(&self.0)
    }
}

/// A record of every type but transactions, with every member.
pub(crate) fn others() -> Vec<Record> {
    let process = Process {
        pid: 812,
        name: "nginx".to_owned(),
        executable: Some("/usr/sbin/nginx".to_owned()),
        cgroup: Some("/docker/0a1b".to_owned()),
        container: Some("0a1b".to_owned()),
    };
    let tls = Unread {
        what: "tls".into(),
        why: "library_not_known".into(),
        place: "0.0.0.0:443".into(),
        process: Some(process),
        count: 7,
    };
    let unix = Unread { what: "unix".into(), why: "no_hook".into(), count: 1, ..Unread::default() };
    vec![
        Record::Loss(Loss {
            time_ns: 3,
            stage: "ring".into(),
            reason: "full".into(),
            count: 7,
            since_ns: 1,
            until_ns: 2,
        }),
        Record::Lifecycle(Lifecycle {
            time_ns: TIME_NS,
            event: "start".into(),
            version: "0.1.0".into(),
            filter: Some("port \"80\"".into()),
            config_hash: Some([0xab; 32]),
            redaction: Some("fingerprint".into()),
            off_ns: Some((1, 2)),
            details: vec![("host".into(), "gw1".into())],
        }),
        Record::Annotation(Annotation {
            time_ns: TIME_NS,
            record: "0123456789ab-beef-3".into(),
            fact: "route".into(),
            details: vec![("route_id".into(), "17".into())],
        }),
        Record::Coverage(Coverage { time_ns: TIME_NS, unread: vec![tls, unix] }),
        Record::Checkpoint(Checkpoint {
            time_ns: TIME_NS,
            origin: "headtrail/gw1/0123456789abcdef".into(),
            size: 4711,
            root: [0xcd; 32],
            signature: vec![0xef; 68],
        }),
        Record::Unknown(Unknown { kind: Kind(17), time_ns: 5, bytes: vec![0x8a, 1, 0] }),
    ]
}
