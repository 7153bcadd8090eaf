//! Planted secrets through assembly, redaction and all three writers: none may come out, and what only looks like one
//! must.

use std::collections::BTreeMap;

use headtrail_assemble::{Assembler, Limits};
use headtrail_record::event::{CloseReason, ConnectionId, Direction, Event, Segment, flags};
use headtrail_record::json::{self, Context};
use headtrail_record::redact::{FingerprintKey, Names, Policy, Redactor, Settings};
use headtrail_record::{ecs, transaction::RawTransaction, unredacted::Unredacted};
use headtrail_testkit::planted::{Exchange, Planter};

use crate::text;

const EXCHANGES: usize = 10_000;
const LOOK_ALIKES: usize = 1_000;

/// Puts the bytes on the wire of a connection of its own, as the capture would see them.
fn assembled(number: u64, request: &[u8], response: &[u8]) -> Vec<RawTransaction> {
    let mut out = Vec::new();
    let mut assembler = Assembler::new(Limits::default());
    let connection = ConnectionId(number);
    let mut packet = vec![0; 40];
    packet[..2].copy_from_slice(&[0x45, 0]);
    packet[9] = 6;
    packet[12..20].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
    packet[20..24].copy_from_slice(&[0x9c, 0x40, 0, 80]);
    packet[32..34].copy_from_slice(&[0x50, 0x18]);
    let mut answer = packet.clone();
    answer[12..20].copy_from_slice(&[10, 0, 0, 2, 10, 0, 0, 1]);
    answer[20..24].copy_from_slice(&[0, 80, 0x9c, 0x40]);
    for (direction, bytes, headers) in
        [(Direction::Ingress, request, &packet), (Direction::Egress, response, &answer)]
    {
        let mut headers = headers.clone();
        headers[24..28].copy_from_slice(&1000u32.to_be_bytes());
        let seen = if direction == Direction::Ingress { 0 } else { request.len() as u32 };
        headers[28..32].copy_from_slice(&(1000 + seen).to_be_bytes());
        let segment = Segment {
            connection,
            netns: 1,
            direction,
            time_ns: 1_000,
            sequence: 1000,
            bytes,
            packet_end: 1000 + bytes.len() as u32,
            headers: &headers,
            segments: 1,
            flags: flags::RAW | flags::FRESH,
            starts: 0,
            process: None,
            frame: None,
        };
        if !bytes.is_empty() {
            assembler.event(&Event::Segment(segment), &mut |raw| out.push(raw));
        }
    }
    let closed = Event::Closed { connection, time_ns: 2_000, reason: CloseReason::Reset };
    assembler.event(&closed, &mut |raw| out.push(raw));
    assembler.finish(&mut |raw| out.push(raw));
    out
}

/// All that is written of the transactions, in all forms.
fn written(redactor: &mut Redactor, raws: Vec<RawTransaction>) -> Vec<u8> {
    let context = Context { run: 1, processes: &() };
    let mut out = Vec::new();
    for raw in raws {
        let t = redactor.redact(raw);
        json::write_transaction(&mut out, &t, &context);
        ecs::write_transaction(&mut out, &t, &context);
        text::write_transaction(&mut out, (&t).into(), &context, &text::Style::new(true, false, None));
        text::write_transaction(&mut out, (&t).into(), &context, &text::Style::new(false, false, None));
    }
    out
}

fn percent_decoded(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        let hex = text.get(at + 1..at + 3).and_then(|h| std::str::from_utf8(h).ok());
        match hex.filter(|_| byte == b'%').and_then(|h| u8::from_str_radix(h, 16).ok()) {
            Some(value) => {
                out.push(value);
                at += 3;
            }
            None => {
                out.push(byte);
                at += 1;
            }
        }
    }
    out
}

/// What each run of base64 characters decodes to, from each of its first four characters on.
fn base64_decoded(text: &[u8]) -> Vec<u8> {
    let digit = |b: u8| match b {
        b'A'..=b'Z' => Some(b - b'A'),
        b'a'..=b'z' => Some(b - b'a' + 26),
        b'0'..=b'9' => Some(b - b'0' + 52),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        _ => None,
    };
    let mut out = Vec::new();
    for run in text.split(|b| digit(*b).is_none()).filter(|run| run.len() >= 12) {
        for shift in 0..4 {
            for four in run[shift..].chunks(4) {
                let n = four.iter().fold(0u32, |n, b| n << 6 | u32::from(digit(*b).unwrap_or(0)));
                let n = n << (6 * (4 - four.len()));
                out.extend_from_slice(&n.to_be_bytes()[1..four.len()]);
            }
            out.push(b'\n');
        }
    }
    out
}

fn holds(text: &[u8], secret: &str) -> bool {
    text.windows(secret.len()).any(|w| w == secret.as_bytes())
}

/// Which secrets of an exchange can be read in the output.
fn leaks<'e>(exchange: &'e Exchange, out: &[u8]) -> Vec<&'e str> {
    let once = percent_decoded(out);
    let twice = percent_decoded(&once);
    let decoded = base64_decoded(&once);
    let found = |s: &&String| [out, &once, &twice, &decoded].iter().any(|text| holds(text, s));
    exchange.secrets.iter().filter(found).map(String::as_str).collect()
}

#[test]
fn no_planted_secret_is_written() {
    let mut redactor = Redactor::new(FingerprintKey { id: 1, secret: [7; 32] }, Policy::default());
    let mut planter = Planter::new(20_261_124);
    let (mut secrets, mut lost) = (0, 0);
    let mut kinds: BTreeMap<String, (usize, String)> = BTreeMap::new();
    for number in 0..EXCHANGES {
        let exchange = planter.exchange();
        let raws = assembled(number as u64 + 1, &exchange.request, &exchange.response);
        lost += usize::from(raws.is_empty());
        // The search finds what is there: on the wire it is.
        let wire = [&exchange.request[..], &exchange.response].concat();
        assert_eq!(leaks(&exchange, &wire).len(), exchange.secrets.len(), "{exchange:?}");
        let out = written(&mut redactor, raws);
        secrets += exchange.secrets.len();
        for leak in leaks(&exchange, &out) {
            let (count, example) = kinds.entry(exchange.what.clone()).or_default();
            *count += 1;
            let request = String::from_utf8_lossy(&exchange.request);
            let response = String::from_utf8_lossy(&exchange.response);
            *example = format!("{leak}\n{request}\n{response}");
        }
    }
    assert!(secrets >= EXCHANGES);
    assert_eq!(lost, 0, "exchanges without a record");
    let found: usize = kinds.values().map(|(count, _)| count).sum();
    println!("{found} of {secrets} secrets found in what was written of {EXCHANGES} exchanges");
    assert!(found == 0, "{found} of {secrets} secrets leak: {kinds:#?}");
}

/// The search would find leaks: with everything kept by name it does.
#[test]
fn planted_secrets_are_found_where_they_are_kept() {
    let all = || Names { keep: vec!["*".to_owned()], ..Names::default() };
    let settings = Settings { headers: all(), query: all(), cookies: all(), ..Settings::default() };
    let key = FingerprintKey { id: 1, secret: [7; 32] };
    let mut redactor = Redactor::new(key, Policy::with(&settings).unwrap());
    let mut planter = Planter::new(1);
    let mut leaking = 0;
    for number in 0..500 {
        let exchange = planter.exchange();
        let out = written(&mut redactor, assembled(number + 1, &exchange.request, &exchange.response));
        leaking += usize::from(!leaks(&exchange, &out).is_empty());
    }
    assert!(leaking > 350, "{leaking} of 500");
}

/// What nothing is hidden of shows what was sent, in each form, and says so.
#[test]
fn planted_secrets_are_shown_where_that_was_asked_for() {
    let mut redactor = Redactor::new(FingerprintKey { id: 1, secret: [7; 32] }, Policy::default());
    let context = Context { run: 1, processes: &() };
    let mut planter = Planter::new(2);
    let (mut secrets, mut shown) = (0, [0; 3]);
    for number in 0..500 {
        let exchange = planter.exchange();
        secrets += exchange.secrets.len();
        let mut forms = [Vec::new(), Vec::new(), Vec::new()];
        for raw in assembled(number + 1, &exchange.request, &exchange.response) {
            let t = Unredacted::new(raw, &mut redactor);
            json::write_unredacted(&mut forms[0], &t, &context);
            ecs::write_unredacted(&mut forms[1], &t, &context);
            let style = text::Style::new(true, false, None);
            text::write_transaction(&mut forms[2], (&t).into(), &context, &style);
        }
        assert!(holds(&forms[0], "\"redacted\":[],\"unredacted\":true"), "{exchange:?}");
        assert!(holds(&forms[1], "\"unredacted\":true"), "{exchange:?}");
        for (form, shown) in forms.iter().zip(&mut shown) {
            *shown += leaks(&exchange, form).len();
        }
    }
    // All but those in a piece of a line that a cut head ends with, which is no line yet.
    assert!(shown.iter().all(|&shown| shown * 10 > secrets * 9), "{shown:?} of {secrets}");
}

#[test]
fn look_alikes_stay_readable() {
    let mut redactor = Redactor::new(FingerprintKey { id: 1, secret: [7; 32] }, Policy::default());
    let mut planter = Planter::new(20_261_125);
    let mut hidden = BTreeMap::new();
    for number in 0..LOOK_ALIKES {
        let (name, value) = planter.look_alike();
        let request = match name {
            "target" => format!("GET {value} HTTP/1.1\r\nHost: h\r\n\r\n"),
            name => format!("GET / HTTP/1.1\r\nHost: h\r\n{name}: {value}\r\n\r\n"),
        };
        let raws = assembled(number as u64 + 1, request.as_bytes(), b"HTTP/1.1 204 No Content\r\n\r\n");
        assert_eq!(raws.len(), 1, "{request}");
        let mut read = Vec::new();
        for raw in raws {
            let t = redactor.redact(raw);
            let m = t.facts().request.as_ref().unwrap();
            read.push(m.target().unwrap().to_vec());
            read.extend(m.lines().map(|(_, value)| value.to_vec()));
        }
        if !read.iter().any(|v| v == value.as_bytes()) {
            hidden.insert(name, value);
        }
    }
    assert!(hidden.is_empty(), "hidden: {hidden:#?}");
}
