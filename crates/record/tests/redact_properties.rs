//! What must hold of redaction whatever a peer sends.

use std::net::{IpAddr, Ipv4Addr};

use headtrail_record::event::{ConnectionId, Direction, Endpoint, HeaderBytes};
use headtrail_record::redact::{FingerprintKey, Policy, Redactor};
use headtrail_record::transaction::{
    Anomaly, Incomplete, IncompleteReason, Line, Message, Phase, RawTransaction, Role, Side, Span, StartLine,
    Transaction, Version,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

thread_local! {
    // Reading the list takes longer than a case.
    static POLICY: Policy = Policy::default();
}

fn redactor() -> Redactor {
    Redactor::new(FingerprintKey { id: 9, secret: [3; 32] }, POLICY.with(Policy::clone))
}

fn message(text: Vec<u8>, start: StartLine, lines: Vec<Line>, trailers: Vec<Line>) -> Message {
    Message {
        text,
        start,
        version: Version::Http11,
        lines,
        trailers,
        body_bytes: None,
        headers: HeaderBytes::new(&[]),
        segments: 1,
        frame: None,
        sequence: 0,
        first_ns: 0,
        last_ns: 0,
    }
}

/// A message with its text as on the wire.
fn written(first: [&[u8]; 2], lines: &[(Vec<u8>, Vec<u8>)], in_trailers: bool) -> Message {
    let mut text = Vec::new();
    let mut put = |bytes: &[u8], end: &[u8]| {
        let from = text.len();
        text.extend_from_slice(bytes);
        let span = Span::of(from, text.len());
        text.extend_from_slice(end);
        span
    };
    let start = if first[0].is_empty() {
        StartLine::Status { status: 200, reason: put(first[1], b"\r\n") }
    } else {
        StartLine::Request { method: put(first[0], b" "), target: put(first[1], b" HTTP/1.1\r\n") }
    };
    let lines: Vec<_> = lines.iter().map(|(n, v)| Line::new(put(n, b": "), put(v, b"\r\n"))).collect();
    if in_trailers {
        message(text, start, Vec::new(), lines)
    } else {
        message(text, start, lines, Vec::new())
    }
}

fn raw(request: Option<Message>, response: Option<Message>) -> RawTransaction {
    let end = Endpoint { ip: IpAddr::V4(Ipv4Addr::LOCALHOST), port: 80 };
    RawTransaction {
        connection: ConnectionId(1),
        number: 0,
        netns: 0,
        source: end,
        destination: end,
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
    }
}

/// Every byte that a transaction holds in its messages, features and list of names.
fn all_bytes(t: &Transaction) -> Vec<u8> {
    let facts = t.facts();
    let mut all = Vec::new();
    for m in facts.request.iter().chain(&facts.interim).chain(&facts.response) {
        all.extend_from_slice(&m.text);
        all.push(b'\n');
    }
    all.extend_from_slice(format!("{:?}{:?}", t.features(), t.redacted()).as_bytes());
    all
}

fn holds(t: &Transaction, secret: &[u8]) -> bool {
    all_bytes(t).windows(secret.len()).any(|w| w == secret)
}

/// Secrets that only a name tells.
fn opaque() -> impl Strategy<Value = String> {
    "Zq[A-Za-z0-9]{8,30}Qz"
}

/// Secrets that their shape tells.
fn shaped() -> impl Strategy<Value = String> {
    prop_oneof![
        "eyJ[A-Za-z0-9_-]{20,60}\\.eyJ[A-Za-z0-9_-]{20,60}\\.[A-Za-z0-9_-]{20,43}",
        "ghp_[A-Za-z0-9]{36}",
        "(AKIA|ASIA)[A-Z2-7]{16}",
        "sk-(proj|ant)-[A-Za-z0-9]{20,40}",
        "glpat-[A-Za-z0-9]{20}",
        "xoxb-[0-9]{12}-[A-Za-z0-9]{24}",
        "(sk|rk)_live_[A-Za-z0-9]{24}",
        "hvs\\.[A-Za-z0-9]{24}",
        "npm_[A-Za-z0-9]{36}",
        "AIza[A-Za-z0-9]{35}",
    ]
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    select(vec!["Host", "accept", "X-Request-Id", "User-Agent", "Via", "X-A", "ETag", "traceparent"])
        .prop_map(|n| n.as_bytes().to_vec())
}

fn ordinary() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    (name(), vec(any::<u8>().prop_filter("line end", |b| !matches!(b, b'\r' | b'\n')), 0..60))
}

/// A line in which a secret stands that its name or form tells.
fn named_line(secret: &str, form: usize) -> (Vec<u8>, Vec<u8>) {
    let (name, value) = match form {
        0 => ("Authorization", format!("Bearer {secret}")),
        1 => ("authorization", secret.to_owned()),
        2 => ("Proxy-Authorization", format!("Digest username=\"x\", response=\"{secret}\"")),
        3 => ("X-Api-Key", secret.to_owned()),
        4 => ("X_API_KEY", format!("\"{secret}\"")),
        5 => ("Cookie", format!("a=1; sid={secret}; b=2")),
        6 => ("Cookie", secret.to_owned()),
        7 => ("Set-Cookie", format!("sid={secret}; Path=/; HttpOnly")),
        8 => ("Set-Cookie", format!("a=b; Path=/, sid={secret}; Secure")),
        9 => ("Location", format!("https://h/cb?x=1&access_token={secret}&y=2")),
        10 => ("Referer", format!("https://h/?next=%2F%3Ftoken%3D{secret}")),
        11 => ("X-Whatever", format!("https://user:{secret}@h/x")),
        12 => ("WWW-Authenticate", format!("Digest realm=\"a\", nonce=\"{secret}\"")),
        13 => ("Sec-WebSocket-Protocol", format!("graphql-ws, {secret}")),
        14 => ("X-Forwarded-Client-Cert", format!("Hash={secret};Subject=\"CN=a\"")),
        15 => ("X-My-Service-Token", format!("  {secret}  ")),
        16 => ("Authorization", format!("Bearer\r\n  {secret}")),
        17 => ("X-Note", format!("password={secret} rest")),
        18 => ("X-Note", format!("Basic {secret}")),
        19 => ("Host", format!("{secret}@h")),
        20 => ("Authorization ", format!("Bearer {secret}")),
        21 => ("Authorization Bearer", secret.to_owned()),
        22 => ("Link", format!("<https://h/a;jsessionid={secret}>; rel=next")),
        _ => ("Mcp-Session-Id", secret.to_owned()),
    };
    (name.as_bytes().to_vec(), value.into_bytes())
}

const FORMS: usize = 24;

fn named_target(secret: &str, form: usize) -> String {
    match form {
        0 => format!("/a?token={secret}"),
        1 => format!("/a?b=1&user%5Fpassword={secret}&c=2"),
        2 => format!("http://u:{secret}@h/a"),
        3 => format!("/a;jsessionid={secret}/b"),
        4 => format!("/cb#id_token={secret}"),
        5 => format!("/a?next=https%3A%2F%2Fh%2F%3Fapi_key%3D{secret}%26x"),
        6 => format!("/a?x=1;secret={secret};y"),
        7 => format!("u:{secret}@h:443"),
        8 => format!("/a?q={{\"password\":\"{secret}\"}}"),
        _ => format!("/a?to%6Ben%3D{secret}"),
    }
}

const TARGETS: usize = 10;

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_secret_that_its_name_tells_is_nowhere(
        secret in opaque(), form in 0..FORMS, before in vec(ordinary(), 0..5), after in vec(ordinary(), 0..5),
        in_trailers: bool,
    ) {
        let mut lines = before;
        lines.push(named_line(&secret, form));
        lines.extend(after);
        let m = written([b"GET", b"/a"], &lines, in_trailers);
        prop_assert!(m.text.windows(secret.len()).any(|w| w == secret.as_bytes()));
        let t = redactor().redact(raw(Some(m), None));
        prop_assert!(!holds(&t, secret.as_bytes()), "{form}: {:?}", String::from_utf8_lossy(&all_bytes(&t)));
    }

    #[test]
    fn a_secret_in_a_target_is_nowhere(secret in opaque(), form in 0..TARGETS) {
        let target = named_target(&secret, form);
        let t = redactor().redact(raw(Some(written([b"GET", target.as_bytes()], &[], false)), None));
        prop_assert!(!holds(&t, secret.as_bytes()), "{form}: {:?}", String::from_utf8_lossy(&all_bytes(&t)));
        prop_assert_eq!(t.redacted(), ["target"]);
    }

    #[test]
    fn a_secret_that_its_shape_tells_is_nowhere(
        secret in shaped(), place in 0..7usize, pad in "[ -~]{0,20}", n in name(),
    ) {
        let s = |text: String| text.into_bytes();
        let lines = match place {
            0 => vec![(n, s(format!("{pad} {secret}")))],
            1 => vec![(n, s(format!("{secret} {pad}")))],
            2 => vec![(s(format!("X-{secret}")), s(pad.clone()))],
            _ => vec![(n, s(pad.clone()))],
        };
        let path = if place == 3 { format!("/x/{secret}/y?{pad}") } else { "/".into() };
        let method = if place == 4 { secret.clone() } else { "GET".into() };
        let reason = if place == 5 { format!("No {secret}") } else { "OK".into() };
        let request = written([method.as_bytes(), path.as_bytes()], &lines, place % 2 == 0);
        let mut raw = raw(Some(request), Some(written([b"", reason.as_bytes()], &[], false)));
        if place == 6 {
            raw.interim.push(written([b"", b""], &[(b"X".to_vec(), s(secret.clone()))], false));
        }
        let t = redactor().redact(raw);
        prop_assert!(!holds(&t, secret.as_bytes()), "{place}: {:?}", String::from_utf8_lossy(&all_bytes(&t)));
    }

    #[test]
    fn a_flawed_head_does_not_leak(
        secret in opaque(), form in 0..FORMS, cut in 0.0..1.0f64, anomaly: bool,
    ) {
        // The line breaks anywhere within the secret, and the rest stands on a line of its own.
        let (name, value) = named_line(&secret, form);
        let at = value.windows(secret.len()).position(|w| w == secret.as_bytes()).unwrap();
        let broken = at + 1 + ((secret.len() - 2) as f64 * cut) as usize;
        let rest = value[broken..].to_vec();
        let mut raw = raw(Some(written([b"GET", b"/"], &[(name, value[..broken].to_vec())], false)), None);
        raw.incomplete.push(Incomplete { reason: IncompleteReason::Truncated, side: Side::Request, at: None });
        if anomaly {
            raw.anomalies.push(Anomaly::MalformedHead);
        }
        let t = redactor().redact(raw);
        let beginning = &secret.as_bytes()[..broken - at];
        if beginning.len() >= 6 {
            prop_assert!(!holds(&t, beginning), "{form}: {:?}", String::from_utf8_lossy(&all_bytes(&t)));
        }
        let _ = rest;
    }

    #[test]
    fn the_rest_of_a_secret_on_the_next_line_does_not_leak(secret in "[A-Za-z0-9]{24}", at in 4..16usize, space: bool) {
        let head = format!("Bearer {}", &secret[..at]);
        let rest = format!("{}{}", if space { " " } else { "" }, &secret[at..]);
        let lines = [
            (b"Authorization".to_vec(), head.into_bytes()),
            (rest.into_bytes(), Vec::new()),
            (b"Accept".to_vec(), b"*/*".to_vec()),
        ];
        let mut raw = raw(Some(written([b"GET", b"/"], &lines, false)), None);
        raw.anomalies.push(Anomaly::MalformedHead);
        let t = redactor().redact(raw);
        prop_assert!(!holds(&t, &secret.as_bytes()[at..]));
        let m = t.facts().request.as_ref().unwrap();
        prop_assert_eq!(m.lines().last(), Some((&b"Accept"[..], &b"*/*"[..])));
    }

    #[test]
    fn one_secret_has_one_fingerprint(secret in opaque(), other in opaque()) {
        let mut r = redactor();
        let print = r.fingerprint(secret.as_bytes()).to_string();
        let lines: Vec<_> = [0, 1, 3, 4, 5, 7, 9, 15, 17, 18].map(|form| named_line(&secret, form)).to_vec();
        let t = r.redact(raw(Some(written([b"GET", format!("/?token={secret}").as_bytes()], &lines, false)), None));
        let m = t.facts().request.as_ref().unwrap();
        for (name, value) in m.lines() {
            prop_assert!(
                value.windows(print.len()).any(|w| w == print.as_bytes()),
                "{}: {}", String::from_utf8_lossy(name), String::from_utf8_lossy(value)
            );
        }
        prop_assert!(m.target().unwrap().ends_with(print.as_bytes()));
        prop_assert_eq!(secret == other, print == r.fingerprint(other.as_bytes()).to_string());
    }

    #[test]
    fn lines_keep_their_order_names_and_count(
        lines in vec(prop_oneof![ordinary(), (opaque(), 0..20usize).prop_map(|(s, f)| named_line(&s, f))], 0..12),
    ) {
        let t = redactor().redact(raw(Some(written([b"GET", b"/"], &lines, false)), None));
        let m = t.facts().request.as_ref().unwrap();
        let names: Vec<_> = m.lines().map(|(n, _)| n.to_vec()).collect();
        let given: Vec<_> = lines.iter().map(|(n, _)| n.clone()).collect();
        prop_assert_eq!(names, given);
        // What is noted is what has changed.
        for ((name, value), (_, before)) in m.lines().zip(&lines) {
            if value != before {
                let name = String::from_utf8_lossy(name);
                prop_assert!(t.redacted().iter().any(|r| *r == name), "{name}");
            }
        }
    }

    #[test]
    fn identifiers_stay_readable(hex in "[0-9a-f]{64}", uuid in "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", word in "[a-z]{1,12}") {
        let given = [
            ("Idempotency-Key", uuid.clone()), ("X-Request-Id", uuid.clone()), ("X-Consumer-Username", word.clone()),
            ("If-None-Match", format!("\"{hex}\"")), ("ETag", format!("W/\"{}\"", &hex[..32])),
            ("Sec-WebSocket-Key", format!("{}==", &hex[..22])), ("X-Cache-Key", format!("/{word}")),
            ("traceparent", format!("00-{}-{}-01", &hex[..32], &hex[32..48])),
        ];
        let lines: Vec<_> = given.iter().map(|(n, v)| (n.as_bytes().to_vec(), v.clone().into_bytes())).collect();
        let t = redactor().redact(raw(Some(written([b"GET", format!("/{word}/{uuid}").as_bytes()], &lines, false)), None));
        // One in a thousand runs of digits passes for a card number.
        if !t.features().patterns.iter().any(|p| p.class == "card") {
            let out: Vec<_> = t.facts().request.as_ref().unwrap().lines().map(|(n, v)| (n.to_vec(), v.to_vec())).collect();
            prop_assert_eq!(out, lines);
            prop_assert!(t.redacted().is_empty());
        }
    }

    #[test]
    fn nothing_panics_and_nothing_comes_along(
        text in vec(any::<u8>(), 0..400), spans in vec((any::<u16>(), any::<u16>()), 2..20), wild: bool,
        status: bool, malformed: bool, reason in 0..6usize,
    ) {
        let span = |(start, len): (u16, u16)| if wild {
            Span { start: u32::from(start).wrapping_mul(65_537), len: u32::from(len).wrapping_mul(65_537) }
        } else {
            let start = usize::from(start) % (text.len() + 1);
            Span::of(start, start + usize::from(len) % (text.len() + 1 - start))
        };
        let spans: Vec<_> = spans.into_iter().map(span).collect();
        let start = if status {
            StartLine::Status { status: 0, reason: spans[0] }
        } else {
            StartLine::Request { method: spans[0], target: spans[1] }
        };
        let lines: Vec<_> = spans.chunks_exact(2).map(|s| Line::new(s[0], s[1])).collect();
        let count = lines.len();
        let m = message(text, start, lines.clone(), lines);
        let mut raw = raw(Some(m.clone()), Some(m));
        if malformed {
            raw.anomalies.push(Anomaly::MalformedHead);
        }
        let reasons = [IncompleteReason::Truncated, IncompleteReason::Gap, IncompleteReason::Joined];
        raw.incomplete.extend(reasons.get(reason).map(|r| Incomplete { reason: *r, side: Side::Request, at: None }));
        let t = redactor().redact(raw);
        for m in t.facts().request.iter().chain(&t.facts().response) {
            prop_assert_eq!((m.lines.len(), m.trailers.len()), (count, count));
            // Each byte of the text belongs to the start-line or a line.
            let (a, b) = match m.start {
                StartLine::Request { method, target } => (method.len, target.len),
                StartLine::Status { reason, .. } => (reason.len, 0),
            };
            let sum: u32 = m.lines.iter().chain(&m.trailers).map(|l| l.name.len + l.value.len).sum();
            prop_assert_eq!(m.text.len() as u32, a + b + sum);
        }
    }
}
