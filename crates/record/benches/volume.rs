//! What deciding costs a transaction: the budget is a few tens of nanoseconds without settings and 300 with ten rules.

use std::net::{IpAddr, Ipv4Addr};

use divan::{Bencher, black_box};
use headtrail_record::event::{ConnectionId, Direction, Endpoint, HeaderBytes};
use headtrail_record::transaction::{Line, Message, Phase, RawTransaction, Role, Span, StartLine, Version};
use headtrail_record::volume::{SampleKey, Settings, Volume};

fn main() {
    divan::Divan::from_args().sample_size(256).sample_count(1000).main();
}

const NOTHING: &str = "";
const SAMPLE: &str = "sample = 0.1";
const HEALTH: &str = "health_checks = 'drop'";
/// None of them matches, so each is looked at.
const TEN_RULES: &str = "
    health_checks = 'drop'
    sample = 0.1
    [[keep]]
    status = '5xx'
    [[keep]]
    path = '/api/v1/orders/*'
    method = ['POST', 'PUT', 'DELETE']
    [[keep]]
    host = '*.internal.example'
    [[keep]]
    header = 'X-Debug: 1'
    [[drop]]
    path = ['/static/*', '*.css', '*.js', '*.png']
    [[drop]]
    user_agent = ['pingdom', 'uptimerobot']
    [[drop]]
    client = ['10.1.0.0/16', '192.168.7.0/24']
    status = 200
    [[drop]]
    method = 'OPTIONS'
    [[drop]]
    host = 'static.example.com'
    [[drop]]
    path = '/metrics'
    status = '2xx'";

fn message(start: &str, lines: &[(&str, &str)]) -> Message {
    let mut text = Vec::new();
    let mut push = |part: &str| {
        text.extend_from_slice(part.as_bytes());
        Span::of(text.len() - part.len(), text.len())
    };
    let start = match start.split_once(' ') {
        Some((method, target)) => StartLine::Request { method: push(method), target: push(target) },
        None => StartLine::Status { status: 200, reason: push(start) },
    };
    let lines = lines.iter().map(|(name, value)| Line::new(push(name), push(value))).collect();
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

fn transaction() -> RawTransaction {
    let end = Endpoint { ip: IpAddr::V4(Ipv4Addr::LOCALHOST), port: 80 };
    let agent = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36";
    let request = [
        ("Host", "www.example.com"),
        ("Connection", "keep-alive"),
        ("sec-ch-ua-mobile", "?0"),
        ("User-Agent", agent),
        ("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
        ("Sec-Fetch-Site", "none"),
        ("Accept-Encoding", "gzip, deflate, br, zstd"),
        ("Accept-Language", "en-GB,en;q=0.9"),
        ("Cookie", "session=0b8a7c4e6c2b4f0e9a530c1d2e3f4a5b"),
        ("X-Request-Id", "0b8a7c4e-6c2b-4f0e-9a53-0c1d2e3f4a5b"),
    ];
    let response = [
        ("Content-Type", "application/json"),
        ("Content-Length", "31"),
        ("Date", "Tue, 24 Nov 2026 18:36:51 GMT"),
        ("Server", "APISIX/3.11.0"),
    ];
    RawTransaction {
        connection: ConnectionId(1),
        number: 0,
        netns: 0,
        source: end,
        destination: end,
        role: Role::Server,
        request_direction: Direction::Ingress,
        request: Some(message("GET /api/v1/users/42?page=2", &request)),
        interim: Vec::new(),
        response: Some(message("OK", &response)),
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

#[divan::bench(args = ["nothing", "sample", "health checks", "ten rules"])]
fn decide(bencher: Bencher<'_, '_>, settings: &str) {
    let settings = match settings {
        "sample" => SAMPLE,
        "health checks" => HEALTH,
        "ten rules" => TEN_RULES,
        _ => NOTHING,
    };
    // A bench that measures nothing is told of.
    let Ok(settings) = toml::from_str::<Settings>(settings) else { return };
    let Ok(volume) = Volume::new(settings, SampleKey([7; 16])) else { return };
    let transaction = transaction();
    bencher.bench_local(|| volume.decide(black_box(&transaction)));
}
