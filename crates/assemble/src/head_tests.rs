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
    assert_eq!(anomalies(&head), [Anomaly::MalformedHead]);
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
