use std::cell::RefCell;
use std::net::IpAddr;

use headtrail_record::event::{ConnectionId, Direction, HeaderBytes};
use headtrail_record::redact::{FingerprintKey, Policy, Redactor};
use headtrail_record::transaction::{Anomaly, Phase, RawTransaction, Side, Span};

use super::*;

/// 2026-11-24T18:36:51.123456789Z.
const TIME_NS: u64 = 1_795_545_411_123_456_789;

type Lines<'a> = &'a [(&'a [u8], &'a [u8])];

fn message(start: &[&[u8]], status: Option<u16>, lines: Lines) -> Message {
    let mut text = Vec::new();
    let mut push = |bytes: &[u8]| {
        text.extend_from_slice(bytes);
        Span::of(text.len() - bytes.len(), text.len())
    };
    let start = match status {
        None => StartLine::Request { method: push(start[0]), target: push(start[1]) },
        Some(status) => StartLine::Status { status, reason: push(start[0]) },
    };
    let lines = lines.iter().map(|(name, value)| Line::new(push(name), push(value))).collect();
    let mut headers = vec![0x45, 0, 0, 52, 0x12, 0x67, 0x40, 0, 64, 6, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1];
    headers.extend([0xc8, 0x22, 0x23, 0x78, 0, 0, 3, 0xe8, 0, 0, 0x13, 0x88, 0x80, 0x18, 2, 0, 0, 0, 0, 0]);
    headers.extend([1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]);
    Message {
        text,
        start,
        version: Version::Http11,
        lines,
        trailers: Vec::new(),
        body_bytes: Some(0),
        headers: HeaderBytes::new(&headers),
        segments: 1,
        frame: None,
        sequence: 1,
        first_ns: TIME_NS,
        last_ns: TIME_NS,
    }
}

fn raw(request: Option<Message>, response: Option<Message>) -> RawTransaction {
    let local = |port| Endpoint { ip: IpAddr::from([127, 0, 0, 1]), port };
    RawTransaction {
        connection: ConnectionId(1),
        number: 0,
        netns: 1,
        source: local(51234),
        destination: local(9080),
        role: Role::Server,
        request_direction: Direction::Ingress,
        request,
        interim: Vec::new(),
        response,
        process: Some(ProcessRef { pid: 812, name: *b"nginx\0\0\0\0\0\0\0\0\0\0\0" }),
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

fn post() -> RawTransaction {
    let lines: Lines = &[
        (b"Host", b"localhost:9080"),
        (b"Content-Type", b"application/json"),
        (b"Authorization", b"Bearer 0123456789"),
    ];
    let mut request = message(&[b"POST", b"/api/example"], None, lines);
    request.body_bytes = Some(52);
    request.last_ns += 1_000_000;
    request.trailers = vec![request.lines[1]];
    let mut response = message(&[b"OK"], Some(200), &[(b"Server", b"nginx")]);
    response.first_ns += 1_240_000;
    response.last_ns += 1_300_000;
    response.body_bytes = Some(12_345);
    raw(Some(request), Some(response))
}

fn text(raw: RawTransaction, style: Style) -> String {
    // One for each test: making one compiles the patterns of the policy.
    thread_local! {
        static REDACTOR: RefCell<Redactor> =
            RefCell::new(Redactor::new(FingerprintKey { id: 1, secret: [7; 32] }, Policy::default()));
    }
    let t = REDACTOR.with_borrow_mut(|redactor| redactor.redact(raw));
    let mut out = Vec::new();
    write_transaction(&mut out, (&t).into(), &Context { run: 1, processes: &() }, &style);
    String::from_utf8(out).unwrap()
}

const PLAIN: Style = Style { colour: false, verbose: false, columns: None, utc_offset_s: 0 };

#[test]
fn the_time_is_utc_unless_told_otherwise() {
    assert_eq!(Style::new(false, false, None), PLAIN);
}

#[test]
fn a_transaction_is_one_aligned_line() {
    assert_eq!(
        text(post(), PLAIN),
        "18:36:51.123 200 POST    localhost:9080/api/example                       1.30 ms   52 B  12 kB \
         ← nginx      127.0.0.1:51234 → 127.0.0.1:9080\n"
    );
    let mut titles = Vec::new();
    write_titles(&mut titles, &PLAIN);
    assert_eq!(
        String::from_utf8(titles).unwrap(),
        "TIME (UTC)   ST  METHOD  HOST AND TARGET                                     TIME   SENT   BODY \
         \u{20} PROCESS    CLIENT → SERVER\n"
    );
}

#[test]
fn what_is_missing_or_odd_is_marked() {
    let mut t = post();
    t.response = None;
    t.incomplete.push(Incomplete {
        reason: IncompleteReason::ResponseMissing,
        side: Side::Response,
        at: None,
    });
    t.anomalies.push(Anomaly::BareLf);
    let line = text(t, PLAIN);
    assert!(line.contains(" --- POST "), "{line}");
    assert!(line.ends_with("127.0.0.1:9080 ✂ response_missing ! bare_lf\n"), "{line}");
    let mut t = post();
    t.request = None;
    t.incomplete.push(Incomplete { reason: IncompleteReason::Gap, side: Side::Response, at: Some(3) });
    let line = text(t, PLAIN);
    assert!(line.contains(" 200 -       (request not seen)"), "{line}");
    assert!(line.ends_with("✂ response:gap\n"), "{line}");
}

#[test]
fn the_two_records_of_a_long_call_are_marked() {
    let mut t = post();
    t.phase = Phase::Start;
    t.response = None;
    let line = text(t.clone(), PLAIN);
    assert!(line.contains(" ... POST "), "{line}");
    assert!(line.ends_with("127.0.0.1:9080 ▶ start\n"), "{line}");
    t.response = post().response;
    t.phase = Phase::End { start: 0 };
    t.close = Some(headtrail_record::event::CloseReason::Reset);
    let lines = text(t, Style { verbose: true, ..PLAIN });
    assert!(lines.lines().next().unwrap().ends_with("127.0.0.1:9080 ■ end"), "{lines}");
    assert!(lines.contains("    * ended with the connection: reset\n"), "{lines}");
}

#[test]
fn a_call_of_grpc_is_told_by_its_names() {
    let mut t = post();
    let lines: Lines =
        &[(b"content-type", b"application/grpc"), (b"grpc-timeout", b"2S"), (b"grpc-encoding", b"gzip")];
    t.request = Some(message(&[b"POST", b"/shop.v1.Cart/Add"], None, lines));
    let answer: Lines = &[(b"grpc-status", b"14"), (b"grpc-message", b"no%1b[31mplace")];
    t.response = Some(message(&[b""], Some(200), answer));
    let line = text(t.clone(), PLAIN);
    assert!(line.ends_with("127.0.0.1:9080 grpc shop.v1.Cart/Add UNAVAILABLE\n"), "{line}");
    let lines = text(t.clone(), Style { verbose: true, ..PLAIN });
    let told = "    * grpc: shop.v1.Cart/Add UNAVAILABLE, timeout 2.00 s, gzip, no\\x1b[31mplace\n";
    assert!(lines.contains(told), "{lines}");
    t.request = None;
    t.response = Some(message(&[b""], Some(200), &[(b"Content-Type", b"application/grpc-web")]));
    let line = text(t, PLAIN);
    assert!(line.ends_with("127.0.0.1:9080 grpc ?/?\n"), "{line}");
}

#[test]
fn columns_stand_still_whatever_the_addresses_and_targets() {
    for columns in [None, Some(80), Some(120), Some(200)] {
        let style = Style { columns, ..PLAIN };
        let mut arrows = Vec::new();
        for target in [
            "/",
            "/long/target/that/does/not/end/long/target/that/does/not/end/long/target/that/does/not/end/long/target/that/does/not/end/and/on",
            "/世界世界世界世界世界世界世界世界世界世界世界世界世界世界世界世界世界世界世界世界世界世界世界世界",
        ] {
            for ip in ["10.0.0.1", "2001:db8:1111:2222:3333:4444:5555:6666"] {
                let mut t = post();
                t.source.ip = ip.parse().unwrap();
                let lines: Lines = &[(b"Host", b"a")];
                t.request = Some(message(&[b"PROPPATCH", target.as_bytes()], None, lines));
                let line = text(t, style);
                let before = line.split('←').next().unwrap();
                arrows.push(
                    before
                        .chars()
                        .map(|c| if c.is_ascii() || c == '…' || c == 'µ' { 1 } else { 2 })
                        .sum::<usize>(),
                );
            }
        }
        arrows.dedup();
        assert_eq!(arrows.len(), 1, "{columns:?}: {arrows:?}");
    }
}

#[test]
fn a_line_fits_its_terminal() {
    for columns in [80, 100, 124, 160] {
        let mut t = post();
        t.request = Some(message(&[b"GET", &[b'/'; 300]], None, &[(b"Host", b"a")]));
        let line = text(t, Style { columns: Some(columns), ..PLAIN });
        assert!(line.chars().count() - 1 <= columns, "{columns}: {line}");
        assert!(line.contains('…'));
    }
}

#[test]
fn verbose_tells_all_lines_and_elements() {
    let mut t = post();
    t.interim.push(message(&[b"Continue"], Some(100), &[]));
    t.anomalies.push(Anomaly::ObsFold);
    t.incomplete.push(Incomplete { reason: IncompleteReason::Joined, side: Side::Request, at: Some(9) });
    let mut text = text(t, Style { verbose: true, ..PLAIN });
    // Fingerprint and pattern classes are not this test's business.
    text = text.split_inclusive('\n').filter(|line| !line.contains("* secret in ")).collect();
    let at = text.find("hmac:1:").unwrap() + 7;
    text.replace_range(at..at + 16, "FINGERPRINT");
    let packet = |from, to| {
        format!(
            "    SRC: 127.0.0.1:{from} DST: 127.0.0.1:{to} ip ttl 64 id 4711 DF length 52 Flags [P.] seq 1000 \
             ack 5000 win 512 options [nop,nop,TS val 1 ecr 2]\n"
        )
    };
    let expected = format!(
        "18:36:51.123 200 POST    localhost:9080/api/example                       1.30 ms   52 B  12 kB \
         ← nginx      127.0.0.1:51234 → 127.0.0.1:9080 ✂ request:joined ! obs_fold\n\
         {}    > POST /api/example HTTP/1.1\n\
         \x20   > Host: localhost:9080\n\
         \x20   > Content-Type: application/json\n\
         \x20   > Authorization: Bearer hmac:1:FINGERPRINT\n\
         \x20   * body of 52 bytes\n\
         \x20   * trailers\n\
         \x20   > Content-Type: application/json\n\
         {}    < HTTP/1.1 100 Continue\n\
         {}    < HTTP/1.1 200 OK\n\
         \x20   < Server: nginx\n\
         \x20   * body of 12345 bytes\n\
         \x20   * timing: response 60.0 µs, total 1.30 ms\n\
         \x20   * process: nginx[812]\n\
         \x20   * redacted: Authorization\n\
         \x20   * incomplete: request:joined after 9 bytes\n\
         \x20   * anomaly: obs_fold\n",
        packet(51234, 9080),
        packet(9080, 51234),
        packet(9080, 51234)
    );
    assert_eq!(text, expected);
}

#[test]
fn the_time_can_be_local() {
    assert!(text(post(), Style { utc_offset_s: 7200, ..PLAIN }).starts_with("20:36:51.123 "));
    assert!(text(post(), Style { utc_offset_s: -5 * 3600, ..PLAIN }).starts_with("13:36:51.123 "));
}

#[test]
fn units_are_humane_and_fit_their_columns() {
    for (ns, text) in [
        (0, "0 ns"),
        (999, "999 ns"),
        (1_000, "1.00 µs"),
        (60_000, "60.0 µs"),
        (999_999, "999 µs"),
        (1_240_000, "1.24 ms"),
        (NS_PER_S, "1.00 s"),
        (3_600 * NS_PER_S, "3600 s"),
    ] {
        assert_eq!(duration(ns), text);
        assert!(duration(ns).chars().count() <= DURATION_COLUMNS);
    }
    for (bytes, text) in [
        (0, "0 B"),
        (999, "999 B"),
        (1_000, "1.0 kB"),
        (999_999, "999 kB"),
        (12_000_000, "12 MB"),
        (u64::MAX / 2, "9223372 TB"),
    ] {
        assert_eq!(size(bytes), text);
    }
}

/// Removes our own colour codes, and nothing else.
fn without_colours(text: &str) -> String {
    let codes = ["0", "1", "2", "31", "32", "33", "35", "36"];
    codes.iter().fold(text.to_owned(), |text, code| text.replace(&format!("\x1b[{code}m"), ""))
}

#[test]
fn colour_changes_nothing_but_colour() {
    for verbose in [false, true] {
        let plain = text(post(), Style { verbose, ..PLAIN });
        let coloured = text(post(), Style { verbose, colour: true, ..PLAIN });
        assert!(coloured.contains("\x1b[32m200\x1b[0m"));
        assert_eq!(without_colours(&coloured).replace(" \n", "\n"), plain);
    }
}

/// Bytes by a seed (xorshift), many of them such as terminals mind.
fn hostile(seed: &mut u64) -> Vec<u8> {
    let mut next = || {
        *seed ^= *seed << 13;
        *seed ^= *seed >> 7;
        *seed ^= *seed << 17;
        *seed
    };
    const BITS: &[&str] = &[
        "\x1b[2J",
        "\x1b]0;x\x07",
        "\r\n",
        "\u{9b}",
        "\u{202e}",
        "\u{200b}",
        "\u{feff}",
        "\u{e0041}",
        "\x7f",
        "e\u{301}",
        "世",
    ];
    let len = next() % 24;
    (0..len)
        .flat_map(|_| match next() % 4 {
            0 => BITS[(next() % BITS.len() as u64) as usize].as_bytes().to_vec(),
            1 => vec![(next() % 256) as u8],
            _ => vec![b' ' + (next() % 95) as u8],
        })
        .collect()
}

#[test]
fn no_wire_byte_acts_on_the_terminal() {
    let mut seed = 0x9e37_79b9_7f4a_7c15;
    for round in 0..2_000 {
        let bytes: Vec<Vec<u8>> = (0..8).map(|_| hostile(&mut seed)).collect();
        let lines: Lines = &[(b"Host", &bytes[0]), (&bytes[1], &bytes[2]), (&bytes[3], &bytes[4])];
        let request = message(&[&bytes[5], &bytes[6]], None, lines);
        let mut t = raw(Some(request), Some(message(&[&bytes[7]], Some(round as u16), lines)));
        t.process.as_mut().unwrap().name = *b"a\x1b[2Jb\xff\x9b\0\0\0\0\0\0\0\0";
        let style =
            Style { colour: round % 2 == 0, verbose: round % 3 == 0, columns: Some(124), utc_offset_s: 0 };
        let text = text(t, style);
        let left = without_colours(&text).replace('\n', "");
        assert!(!left.chars().any(printable::is_hidden), "{left:?}");
    }
}
