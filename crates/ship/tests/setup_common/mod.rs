//! Documents as they are shipped: of every type of record, with every kind of trouble, through redaction and the journal's own encoding.

use std::net::{IpAddr, Ipv4Addr};

use headtrail_record::event::{ConnectionId, Direction, Endpoint, HeaderBytes, ProcessRef};
use headtrail_record::json::{Context, Processes};
use headtrail_record::record::{
    Annotation, Checkpoint, Coverage, Kind, Lifecycle, Loss, Record, Unknown, Unread, record_id,
};
use headtrail_record::redact::{FingerprintKey, Names, Policy, Redactor, Settings};
use headtrail_record::transaction::{
    Anomaly, Incomplete, IncompleteReason, Line, Message, Phase, Process, RawTransaction, Role, Side, Span,
    StartLine, Version,
};
use headtrail_record::volume::{self, Rate, SampleKey, Volume};
use headtrail_record::{ecs, proto};
use serde_json::Value;

/// 2026-11-24T18:36:51.123456789Z.
const TIME_NS: u64 = 1_795_545_411_123_456_789;
type Lines<'a> = &'a [(&'a str, &'a [u8])];

fn put(text: &mut Vec<u8>, bytes: &[u8]) -> Span {
    let start = text.len();
    text.extend_from_slice(bytes);
    Span::of(start, text.len())
}

/// A message: `first` is method and target, or status and reason.
fn message(
    first: (&str, &str),
    lines: Lines<'_>,
    trailers: Lines<'_>,
    first_ns: u64,
    last_ns: u64,
) -> Message {
    let mut text = Vec::new();
    let start = match first.0.parse() {
        Ok(status) => StartLine::Status { status, reason: put(&mut text, first.1.as_bytes()) },
        Err(_) => StartLine::Request {
            method: put(&mut text, first.0.as_bytes()),
            target: put(&mut text, first.1.as_bytes()),
        },
    };
    let mut spans = |lines: Lines<'_>| {
        let line =
            |(name, value): &(&str, &[u8])| Line::new(put(&mut text, name.as_bytes()), put(&mut text, value));
        lines.iter().map(line).collect()
    };
    let (lines, trailers) = (spans(lines), spans(trailers));
    Message {
        start,
        version: Version::Http11,
        lines,
        trailers,
        body_bytes: Some(52),
        headers: packet(),
        segments: 1,
        frame: Some(7),
        sequence: 1,
        first_ns,
        last_ns,
        text,
    }
}

/// An IPv4 and TCP header with timestamps.
fn packet() -> HeaderBytes {
    let mut bytes = vec![0x45, 0, 0, 52, 0x12, 0x67, 0x40, 0, 64, 6, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1];
    bytes.extend([0xc8, 0x22, 0x23, 0x78, 0, 0, 3, 0xe8, 0, 0, 0x13, 0x88, 0x80, 0x18, 2, 0, 0, 0, 0, 0]);
    bytes.extend([1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]);
    HeaderBytes::new(&bytes)
}

fn transaction(number: u32, request: Option<Message>, response: Option<Message>) -> RawTransaction {
    RawTransaction {
        connection: ConnectionId(0xbeef),
        number,
        netns: 4_026_531_840,
        source: Endpoint { ip: IpAddr::from([10, 0, 0, 1]), port: 51234 },
        destination: Endpoint { ip: Ipv4Addr::LOCALHOST.into(), port: 9080 },
        role: Role::Server,
        request_direction: Direction::Ingress,
        request,
        interim: Vec::new(),
        response,
        process: Some(ProcessRef { pid: 812, name: *b"nginx\0\0\0\0\0\0\0\0\0\0\0" }),
        peer_process: Some(ProcessRef { pid: 812, name: *b"nginx\0\0\0\0\0\0\0\0\0\0\0" }),
        incomplete: Vec::new(),
        anomalies: Vec::new(),
        stream: None,
        reset: None,
        tls: None,
        phase: Phase::Whole,
        close: None,
    }
}

struct Known(Process);

impl Processes for Known {
    fn process(&self, _: &ProcessRef) -> Option<&Process> {
        Some(&self.0)
    }
}

fn process() -> Process {
    Process {
        pid: 812,
        name: "nginx".to_owned(),
        executable: Some("/usr/sbin/nginx".to_owned()),
        cgroup: Some("/system.slice/docker-0a1b.scope".to_owned()),
        container: Some("0a1b".to_owned()),
    }
}

/// {"alg":"none","typ":"JWT"} and {"exp":1764009411}, without a signature.
const UNSIGNED: &[u8] = b"Bearer eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.eyJleHAiOjE3NjQwMDk0MTF9.";

fn transactions() -> Vec<RawTransaction> {
    let at = |ms: u64| TIME_NS + ms * 1_000_000;
    let all: Lines<'_> = &[
        ("Host", b"shop.example:8080"),
        ("User-Agent", b"curl/8.14.1"),
        ("Authorization", UNSIGNED),
        ("X-Api-Key", b"sk-proj-0123456789abcdef0123456789"),
        ("X-Request-Id", b"r-1"),
        ("Referer", b"http://shop.example/"),
        ("X-Tenant", b"a"),
        ("x.y", b"dots"),
        ("Accept", b"text/html"),
        ("accept", b"\"q\"\t\\"),
        ("X-Left-Out", b"1"),
        ("X-Dropped", b"1"),
    ];
    let basic: Lines<'_> =
        &[("Host", b"shop.example"), ("Authorization", b"Basic dXNlcjpwYXNz"), ("X-Tenant", b"b")];
    let attack = ("GET", "/a.html?q=%27%20or%201=1");
    let trailers: Lines<'_> = &[("X-Sum", b"1")];
    let answer: Lines<'_> = &[
        ("Server", b"nginx"),
        ("X-Name", "Zo\u{eb}".as_bytes()),
        ("X-Latin", b"caf\xe9"),
        ("X-Left-Out", b"2"),
    ];
    let mut whole = transaction(
        0,
        Some(message(("POST", "/api/example?a=1"), all, trailers, at(0), at(1))),
        Some(message(("200", "OK"), answer, trailers, at(2), at(3))),
    );
    whole.interim.push(message(("100", "Continue"), answer, &[], at(1), at(1)));
    whole.anomalies.extend([Anomaly::BareLf, Anomaly::ObsFold, Anomaly::Unknown(99)]);
    let refused = transaction(
        1,
        Some(message(attack, basic, &[], at(4), at(4))),
        Some(message(("401", ""), &[], &[], at(9), at(9))),
    );
    let mut out = vec![whole, refused];
    let reasons = [IncompleteReason::Gap, IncompleteReason::ResponseMissing, IncompleteReason::Unknown(77)];
    for (number, reason) in (2..).zip(reasons) {
        let mut cut = transaction(number, Some(message(("GET", "*"), basic, &[], at(5), at(5))), None);
        cut.role = Role::Client;
        cut.incomplete.push(Incomplete { reason, side: Side::Response, at: Some(9) });
        cut.incomplete.push(Incomplete { reason: IncompleteReason::Joined, side: Side::Request, at: None });
        out.push(cut);
    }
    let mut headless = transaction(5, None, Some(message(("503", "Busy"), answer, &[], at(6), at(6))));
    headless.destination.ip = "2001:db8::2".parse().unwrap();
    headless.source.ip = "2001:db8::1".parse().unwrap();
    headless.process = None;
    out.push(headless);
    out.push(transaction(6, None, None));
    for (number, status) in (7..).zip(["204", "304", "404", "500"]) {
        let host: Lines<'_> = &[("Host", b"shop.example"), ("\u{eb} no token", b"1"), ("", b"")];
        let request = message(("GET", "http://other.example/p?x"), host, &[], at(7), at(7));
        out.push(transaction(number, Some(request), Some(message((status, "x"), &[], &[], at(8), at(30)))));
    }
    out
}

fn others() -> Vec<Record> {
    let details = vec![("host".into(), "gw1".into()), ("a.b".into(), "1".into())];
    let unread = |what: &'static str, process| Unread {
        what: what.into(),
        why: "no_hook".into(),
        count: 1,
        process,
        ..Unread::default()
    };
    let tls = Unread { place: "0.0.0.0:443".into(), ..unread("tls", Some(process())) };
    vec![
        Record::Loss(Loss {
            time_ns: TIME_NS,
            stage: "ring".into(),
            reason: "full".into(),
            count: 7,
            since_ns: TIME_NS - 9,
            until_ns: TIME_NS,
        }),
        Record::Lifecycle(Lifecycle {
            time_ns: TIME_NS,
            event: "start".into(),
            version: "0.1.0".into(),
            filter: Some("port \"80\"".into()),
            config_hash: Some([0xab; 32]),
            redaction: Some("fingerprint".into()),
            off_ns: Some((1, 2)),
            details: details.clone(),
        }),
        Record::Annotation(Annotation {
            time_ns: TIME_NS,
            record: "0123456789ab-beef-3".into(),
            fact: "route".into(),
            details,
        }),
        Record::Coverage(Coverage { time_ns: TIME_NS, unread: vec![tls, unread("unix", None)] }),
        Record::Coverage(Coverage { time_ns: TIME_NS, unread: Vec::new() }),
        Record::Checkpoint(Checkpoint {
            time_ns: TIME_NS,
            origin: "headtrail/gw1/0123456789abcdef".into(),
            size: 4711,
            root: [0xcd; 32],
            signature: vec![0xef; 68],
        }),
        Record::Unknown(Unknown { kind: Kind(17), time_ns: TIME_NS, bytes: vec![0x8a, 1, 0] }),
    ]
}

/// Each document with the type of its record.
pub fn documents() -> Vec<(Kind, Value)> {
    let drop = Names { drop: vec!["x-dropped".to_owned()], ..Names::default() };
    let policy = Policy::with(&Settings { headers: drop, ..Settings::default() }).unwrap();
    let mut redactor = Redactor::new(FingerprintKey { id: 1, secret: [7; 32] }, policy);
    let mut settings = volume::Settings::default();
    settings.headers.deny = vec!["x-left-out".to_owned()];
    let volume = Volume::new(settings, SampleKey([1; 16])).unwrap();
    let context = Context { run: 0x0123_4567_89ab, processes: &Known(process()) };

    let mut stored = Vec::new();
    for raw in transactions() {
        let mut redacted = redactor.redact(raw);
        volume.shape(&mut redacted, Rate::new(0.25).unwrap());
        let mut bytes = Vec::new();
        proto::transaction(&mut bytes, &redacted, &context).unwrap();
        stored.push(bytes);
    }
    for other in others() {
        let mut bytes = Vec::new();
        proto::record(&mut bytes, &other).unwrap();
        stored.push(bytes);
    }
    let document = |(number, bytes): (u64, &Vec<u8>)| {
        let record = proto::decode(bytes).unwrap();
        let mut text = Vec::new();
        let id = record_id(&record, 0xff, number);
        ecs::write_record(&mut text, &record, Some(&id));
        (record.kind(), serde_json::from_slice(&text).unwrap())
    };
    (0..).zip(&stored).map(document).collect()
}
