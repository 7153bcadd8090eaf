//! Redaction of any head: it must not panic, must keep the number of lines, and what a secret line held must be gone.
//!
//! Input: two bytes of flags, then lines joined by LF, the first one the start-line; names end at the first colon.
#![no_main]

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr};

use headtrail_record::event::{ConnectionId, Direction, Endpoint, HeaderBytes};
use headtrail_record::redact::{FingerprintKey, Policy, Redactor};
use headtrail_record::transaction::{
    Anomaly, Incomplete, IncompleteReason, Line, Message, Phase, RawTransaction, Role, Side, Span, StartLine,
    Version,
};
use libfuzzer_sys::fuzz_target;

/// What stands in a secret line besides the input; no fingerprint holds it.
const SECRET: &[u8] = b"Zq0planted0secret0Qz";

thread_local! {
    static REDACTOR: RefCell<Redactor> =
        RefCell::new(Redactor::new(FingerprintKey { id: 1, secret: [7; 32] }, Policy::default()));
}

fn transaction(flags: [u8; 2], input: &[u8]) -> RawTransaction {
    let mut text = input.to_vec();
    let mut start = None;
    let mut lines = Vec::new();
    let mut at = 0;
    for line in input.split(|b| *b == b'\n') {
        let end = at + line.len();
        let split = |byte: u8| line.iter().position(|b| *b == byte).map(|n| (at + n, at + n + 1));
        if start.is_none() {
            let (to, from) = split(b' ').unwrap_or((end, end));
            start = Some(if flags[0] & 1 == 0 {
                StartLine::Request { method: Span::of(at, to), target: Span::of(from, end) }
            } else {
                StartLine::Status { status: 200, reason: Span::of(at, end) }
            });
        } else {
            let (to, from) = split(b':').unwrap_or((end, end));
            lines.push(Line::new(Span::of(at, to), Span::of(from, end)));
        }
        at = end + 1;
    }
    let from = text.len();
    text.extend_from_slice(b"Authorization: Bearer ");
    text.extend_from_slice(SECRET);
    let planted = Line::new(Span::of(from, from + 13), Span::of(from + 15, text.len()));
    lines.insert(usize::from(flags[1]) % (lines.len() + 1), planted);
    let message = Message {
        text,
        start: start.unwrap_or(StartLine::Status { status: 0, reason: Span::default() }),
        version: Version::Http11,
        trailers: if flags[0] & 2 == 0 { Vec::new() } else { lines.split_off(lines.len() / 2) },
        lines,
        body_bytes: None,
        headers: HeaderBytes::new(&[]),
        segments: 1,
        frame: None,
        sequence: 0,
        first_ns: 0,
        last_ns: 0,
    };
    let end = Endpoint { ip: IpAddr::V4(Ipv4Addr::LOCALHOST), port: 80 };
    let reason = if flags[0] & 4 == 0 { IncompleteReason::Gap } else { IncompleteReason::Truncated };
    let incomplete = Incomplete { reason, side: Side::Request, at: None };
    RawTransaction {
        connection: ConnectionId(1),
        number: 0,
        netns: 0,
        source: end,
        destination: end,
        role: Role::Server,
        request_direction: Direction::Ingress,
        request: Some(message),
        interim: Vec::new(),
        response: None,
        process: None,
        peer_process: None,
        incomplete: if flags[0] & 8 == 0 { Vec::new() } else { vec![incomplete] },
        anomalies: if flags[0] & 16 == 0 { Vec::new() } else { vec![Anomaly::MalformedHead] },
        stream: None,
        reset: None,
        tls: None,
        phase: Phase::Whole,
        close: None,
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((flags, input)) = data.split_first_chunk::<2>() else { return };
    if input.windows(SECRET.len()).any(|w| w == SECRET) {
        return;
    }
    let raw = transaction(*flags, input);
    let Some(request) = &raw.request else { return };
    let counts = (request.lines.len(), request.trailers.len());
    let transaction = REDACTOR.with(|r| r.borrow_mut().redact(raw));
    let Some(request) = &transaction.facts().request else { return };
    assert_eq!((request.lines.len(), request.trailers.len()), counts);
    let features = format!("{:?}{:?}", transaction.features(), transaction.redacted());
    for bytes in [request.text.as_slice(), features.as_bytes()] {
        assert!(!bytes.windows(SECRET.len()).any(|w| w == SECRET), "a secret came through");
    }
});
