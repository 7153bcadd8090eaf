use super::*;

fn lines(head: &Head) -> Vec<(String, String)> {
    let text = |s: Span| String::from_utf8_lossy(s.get(&head.text)).into_owned();
    head.lines.iter().map(|l| (text(l.name), text(l.value))).collect()
}

fn anomalies(head: &Head) -> Vec<Anomaly> {
    let mut list = Vec::new();
    head.facts.anomalies.append_to(&mut list);
    list
}

fn pair(name: &str, value: &str) -> (String, String) {
    (name.into(), value.into())
}

fn request_of(head: &Head) -> (String, String) {
    let StartLine::Request { method, target } = head.start else { panic!("a request") };
    let text = |s: Span| String::from_utf8_lossy(s.get(&head.text)).into_owned();
    (text(method), text(target))
}

fn read_default(text: &[u8]) -> Head {
    read(text, &Limits::default())
}

#[test]
fn a_head_by_the_grammar_keeps_order_case_and_duplicates() {
    let head = read_default(b"GET /a?b HTTP/1.1\r\nHost: x\r\nACCEPT:\t a , b \r\nhost: y\r\nEmpty:\r\n\r\n");
    assert_eq!(request_of(&head), ("GET".into(), "/a?b".into()));
    let want = [pair("Host", "x"), pair("ACCEPT", "a , b"), pair("host", "y"), pair("Empty", "")];
    assert_eq!(lines(&head), want);
    assert_eq!(anomalies(&head), []);
}

#[test]
fn rfc9112_4_status_line_with_empty_missing_and_obs_text_reason() {
    for (text, want) in [
        (&b"HTTP/1.1 200 OK\r\n\r\n"[..], &b"OK"[..]),
        (b"HTTP/1.1 200 \r\n\r\n", b""),
        (b"HTTP/1.0 200\r\n\r\n", b""),
        (b"HTTP/1.1 404 Nicht da \xfc\r\n\r\n", b"Nicht da \xfc"),
    ] {
        let head = read_default(text);
        let StartLine::Status { status, reason } = head.start else { panic!("a response") };
        assert!(status == 200 || status == 404);
        assert_eq!(reason.get(&head.text), want);
        assert_eq!(anomalies(&head), []);
    }
}

#[test]
fn rfc9112_5_2_folded_lines_stay_in_the_value() {
    let head = read_default(b"GET / HTTP/1.1\r\nA: b\r\n\tc\r\n  d\r\nE: f\r\n\r\n");
    assert_eq!(lines(&head), [pair("A", "b\r\n\tc\r\n  d"), pair("E", "f")]);
    assert_eq!(anomalies(&head), [Anomaly::ObsFold]);
}

#[test]
fn rfc9112_2_2_bare_lf_is_named_wherever_it_stands() {
    for text in [
        &b"GET / HTTP/1.1\nA: b\r\n\r\n"[..],
        b"GET / HTTP/1.1\r\nA: b\n\r\n",
        b"GET / HTTP/1.1\r\nA: b\r\n\n",
        b"GET / HTTP/1.1\r\nA: b\nC: d\r\n\r\n",
        b"GET / HTTP/1.1\r\n\n",
    ] {
        assert_eq!(anomalies(&read_default(text)), [Anomaly::BareLf], "{}", String::from_utf8_lossy(text));
    }
}

#[test]
fn what_the_grammar_refuses_is_split_and_named() {
    let head = read_default(b"GET  /a b  HTTP/1.1\r\nA : b\r\nno colon\r\n: v\r\nB:\x01\r\n\r\n");
    assert_eq!(request_of(&head), ("GET".into(), "/a b".into()));
    assert_eq!(lines(&head), [pair("A ", "b"), pair("no colon", ""), pair("", "v"), pair("B", "\u{1}")]);
    assert_eq!(anomalies(&head), [Anomaly::MalformedHead, Anomaly::SpaceBeforeColon]);
}

#[test]
fn what_is_named_for_itself_is_not_malformed_too() {
    use Anomaly::{
        BareCr, BareLf, FramingObscured, MalformedHead, ObsFold, SpaceBeforeColon, VersionUnknown,
    };
    for (text, want) in [
        (&b"GET / HTTP/1.1\r\nA : b\r\n\r\n"[..], &[SpaceBeforeColon][..]),
        (b"GET / HTTP/1.1\r\nA: b\rc\r\n\r\n", &[BareCr]),
        (b"GET / HTTP/1.1\r\nA: b\n c\r\n\r\n", &[ObsFold, BareLf]),
        (b"GET / HTTP/1.9\r\nA: b\r\n\r\n", &[VersionUnknown]),
        (b"GET / HTTP/2.0\r\n\r\n", &[VersionUnknown]),
        (b"HTTP/2.0 200 OK\r\nA: b\r\n\r\n", &[VersionUnknown]),
        (b"GET / HTTP/1.1\r\nContent_Length: 3\r\n\r\n", &[FramingObscured]),
        (b"GET / HTTP/1.1\r\nA: b\rContent-Length: 3\r\n\r\n", &[BareCr, FramingObscured]),
        (b"GET / HTTP/1.1\r\nA: b\r\n Content-Length: 3\r\n\r\n", &[ObsFold, FramingObscured]),
        (b"GET / HTTP/1.1\r\nContent-Length : 3\r\n\r\n", &[SpaceBeforeColon, FramingObscured]),
        (b"GET / HTTP/1.1\r\nContent-Length 3\r\n\r\n", &[MalformedHead, FramingObscured]),
        (b"GET / HTTP/1.1\r\nA\0: b\r\n\r\n", &[MalformedHead]),
        (b"GET / HTTP/1.1\r\nA: b\0\r\n\r\n", &[MalformedHead]),
        (b"GET / HTTP/1.1\r\n\xff: b\r\n\r\n", &[MalformedHead]),
        (b"GET / HTTP/1.1\r\nA: \xff\r\n\r\n", &[]),
        (b"GET / HTTP/1.1 \r\n\r\n", &[MalformedHead]),
        (b"GET\t/\tHTTP/1.1\r\n\r\n", &[MalformedHead]),
        (b"GET /\xff HTTP/1.1\r\n\r\n", &[MalformedHead]),
        (b"GET /a\0b HTTP/1.1\r\n\r\n", &[MalformedHead]),
    ] {
        assert_eq!(anomalies(&read_default(text)), want, "{}", text.escape_ascii());
    }
}

#[test]
fn a_start_line_is_split_whatever_its_version_and_blanks() {
    for (text, method, target, version) in [
        (&b"GET /a HTTP/2.0\r\n\r\n"[..], "GET", "/a", Version::Other),
        (b"GET /a http/1.1\r\n\r\n", "GET", "/a", Version::Other),
        (b"GET /a HTTP/1.\n\n", "GET", "/a", Version::Other),
        (b"FOO /a HTTP/1.1\r\n\r\n", "FOO", "/a", Version::Http11),
        (b"get /a HTTP/1.0\r\n\r\n", "get", "/a", Version::Http10),
        (b"GET\t/a b\x0bHTTP/1.1\r\n\r\n", "GET", "/a b\u{b}", Version::Http11),
        (b"OPTIONS HTTP/1.1\r\n\r\n", "OPTIONS", "", Version::Http11),
        (b"OPTIONS * HTTP/1.1\r\n\r\n", "OPTIONS", "*", Version::Http11),
        (b"GET http://x/a HTTP/1.1\r\n\r\n", "GET", "http://x/a", Version::Http11),
        (b"CONNECT x:443 HTTP/1.1\r\n\r\n", "CONNECT", "x:443", Version::Http11),
        (b"GET /a\r\n", "GET", "/a", Version::Http09),
    ] {
        let head = read_default(text);
        assert_eq!(request_of(&head), (method.into(), target.into()), "{}", text.escape_ascii());
        assert_eq!(head.version, version, "{}", text.escape_ascii());
    }
}

#[test]
fn rfc1945_5_a_request_line_without_a_version_is_a_whole_request() {
    assert_eq!(simple_request(b"GET /a\r\nHost: x\r\n\r\n"), Some(8));
    assert_eq!(simple_request(b"HEAD http://x/\n"), Some(15));
    for other in
        [&b"GET /a"[..], b"GET\r\n", b"GET a\r\n", b"GET /a b\r\n", b"GET /a HTTP/1.1\r\n", b"FOO /a\r\n"]
    {
        assert_eq!(simple_request(other), None, "{}", other.escape_ascii());
    }
    assert_eq!(anomalies(&read_default(b"GET /a\r\n")), [Anomaly::VersionUnknown]);
    for (text, target) in [
        (&b"GET /a HTT"[..], "/a"),
        (b"GET /a HTTP/1.", "/a"),
        (b"GET /a HTTP/", "/a"),
        (b"GET /a b", "/a b"),
        (b"GET HTT", "HTT"),
    ] {
        assert_eq!(request_of(&split(text, true, &Limits::default())).1, target);
    }
    let cut = split(b"GET /a", true, &Limits::default());
    assert_eq!((cut.version, anomalies(&cut)), (Version::Http11, vec![]));
}

#[test]
fn rfc9110_15_statuses_out_of_range_are_named() {
    for status in ["000", "099", "600", "999"] {
        let head = read_default(format!("HTTP/1.1 {status} X\r\n\r\n").as_bytes());
        assert_eq!(anomalies(&head), [Anomaly::StatusOutOfRange]);
    }
    assert_eq!(anomalies(&read_default(b"HTTP/1.1 599 X\r\n\r\n")), []);
}

#[test]
fn lines_beyond_the_limit_frame_the_body_all_the_same() {
    let lines = "A: b\r\n".repeat(600);
    let head = format!("POST / HTTP/1.1\r\n{lines}Content-Length: 7\r\n\r\n");
    let mut head = read_default(head.as_bytes());
    assert_eq!(head.lines.len(), 512);
    assert_eq!(crate::framing::request_body(&mut head.facts), crate::framing::Body::Length(7));
}

#[test]
fn more_lines_than_the_limit_are_named_and_not_listed() {
    let mut text = b"GET / HTTP/1.1\r\n".to_vec();
    for n in 0..600 {
        text.extend_from_slice(format!("N: {n}\r\n").as_bytes());
    }
    text.extend_from_slice(b"\r\n");
    let head = read_default(&text);
    assert_eq!(head.lines.len(), 512);
    assert_eq!(anomalies(&head), [Anomaly::TooManyLines]);
}

#[test]
fn kinds_are_told_from_the_first_line_only() {
    for (text, want) in [
        (&b"GET / HTTP/1.1\r\n"[..], Kind::Request),
        (b"FOO-bar * HTTP/1.0\n", Kind::Request),
        (b"GET / HTTP/1.1", Kind::Undecided),
        (b"GE", Kind::Undecided),
        (b"HT", Kind::Undecided),
        (b"HTTP/1.1 20", Kind::Undecided),
        (b"HTTP/1.1 200\r", Kind::Response),
        (b"HTTP/1.1 200 ", Kind::Response),
        (b"HTTP/1.1 2000", Kind::Other),
        (b"HTTP/2 200 \r\n", Kind::Other),
        (b"HTTP/2.0 200\r", Kind::Response),
        (b"GET / HTTP/2.0\r\n", Kind::Request),
        (b"GET / HTTP/\r\n", Kind::Request),
        (b"GET / http/1.1\r\n", Kind::Request),
        (b"FOO / http/1.1\r\n", Kind::Other),
        (b"FOO / HTTP/1.\r\n", Kind::Request),
        (b"FOO / HTTP/x\r\n", Kind::Other),
        (b"RI * HTTP/2.0\r\n", Kind::Other),
        (b"GET\t/\x0cHTTP/1.1\r\n", Kind::Request),
        (b"FOO\t/ HTTP/1.1\r\n", Kind::Other),
        (b"GET / HTTP/1.1 x\r\n", Kind::Other),
        (b"PRI * HTTP/2.0\r\n", Kind::Other),
        (b"GET /\r\n", Kind::Other),
        (b"\x16\x03\x01", Kind::Other),
        (b"SSH-2.0-OpenSSH_9\r\n", Kind::Other),
        (&[b'A'; 40], Kind::Other),
    ] {
        assert_eq!(kind(text), want, "{}", String::from_utf8_lossy(text));
    }
}

#[test]
fn kind_never_changes_its_mind_with_more_bytes() {
    for text in [
        &b"GET /a HTTP/1.1\r\nA: b\r\n\r\n"[..],
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTPS://x y HTTP/1.1\r\n",
        b"HTTP / HTTP/1.1\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM",
    ] {
        let decided = (0..=text.len()).map(|n| kind(&text[..n])).find(|k| *k != Kind::Undecided);
        assert_eq!(decided, Some(kind(text)), "{}", String::from_utf8_lossy(text));
    }
}

#[test]
fn head_end_is_found_from_any_place_before_it() {
    let text = b"A\r\nB\r\n\r\nC\n\n";
    assert_eq!(head_end(text, 0), Some(8));
    assert_eq!(head_end(text, 5), Some(8));
    assert_eq!(head_end(text, 8), Some(11));
    assert_eq!(head_end(&text[..7], 0), None);
}

#[test]
fn trailers_are_appended_behind_the_head() {
    let mut text = b"HEAD".to_vec();
    let mut trailers = Vec::new();
    read_trailers(b"A: b\r\nC:d\n\r\n", &mut text, &mut trailers, &Limits::default());
    let got: Vec<_> = trailers.iter().map(|l| (l.name.get(&text), l.value.get(&text))).collect();
    assert_eq!(got, [(&b"A"[..], &b"b"[..]), (b"C", b"d")]);
    let named = |section: &[u8]| {
        let mut list = Vec::new();
        read_trailers(section, &mut Vec::new(), &mut Vec::new(), &Limits::default()).append_to(&mut list);
        list
    };
    assert_eq!(named(b"A: b\r\nEtag: c\r\n\r\n"), []);
    assert_eq!(named(b"A: b\r\nC:d\n\r\n"), [Anomaly::BareLf]);
    assert_eq!(named(b"content-length: 3\r\n\r\n"), [Anomaly::TrailerFraming]);
    assert_eq!(named(b"Transfer-Encoding : x\r\n\r\n"), [Anomaly::SpaceBeforeColon, Anomaly::TrailerFraming]);
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_read_without_panic_and_spans_lie_within(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
        let limits = Limits::default();
        for head in [split(&bytes, false, &limits), split(&bytes, true, &limits), read(&bytes, &limits)] {
            for line in &head.lines {
                proptest::prop_assert!((line.value.start + line.value.len) as usize <= head.text.len());
                proptest::prop_assert!((line.name.start + line.name.len) as usize <= head.text.len());
            }
        }
        let _ = (kind(&bytes), cut_kind(&bytes), head_end(&bytes, 0));
    }
}
