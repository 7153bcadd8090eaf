//! Messages as attackers send them: lines as they came, what is ambiguous is named, and the next message is found where a
//! reading in use puts it, or proved, or not at all.

mod common;

use common::{REQUESTS, RESPONSES, Talk, has};
use headtrail_assemble::Messages;
use headtrail_record::event::CloseReason;
use headtrail_record::transaction::{IncompleteReason, Version};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
const NEXT: &str = "GET /next HTTP/1.1\r\n\r\n";
const NEXT_LINE: &str = "GET /next 0 -> 200 5";
/// What must never be a message.
const EVIL: &str = "GET /evil HTTP/1.1\r\n\r\n";

/// A request, its response, and another pair behind it, in one packet each, or byte by byte.
fn lines(request: &[u8], bytewise: bool) -> Vec<String> {
    let mut talk = Talk::raw();
    if bytewise {
        for byte in request {
            talk.request([*byte]);
        }
    } else {
        talk.request(request);
    }
    talk.response(OK).request(NEXT).response(OK).finish();
    talk.lines()
}

fn check(cases: &[(&[u8], &str)]) {
    let mut wrong = String::new();
    for (request, want) in cases {
        for bytewise in [false, true] {
            let got = lines(request, bytewise);
            if got != [*want, NEXT_LINE] {
                wrong += &format!("{}\n  want {want:?}\n  got {got:?}\n", request.escape_ascii());
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn odd_heads_are_read_and_named() {
    check(&[
        (b"GET /a HTTP/1.1\r\nA: b\r\n c\r\n\r\n", "GET /a 0 -> 200 5 !obs_fold"),
        (b"GET /a HTTP/1.1\nA: b\n\n", "GET /a 0 -> 200 5 !bare_lf"),
        (b"GET /a HTTP/1.1\r\nA: b\rc\r\n\r\n", "GET /a 0 -> 200 5 !bare_cr"),
        (b"GET /a HTTP/1.1\r\nA : b\r\n\r\n", "GET /a 0 -> 200 5 !space_before_colon"),
        (b"GET /a HTTP/1.1\r\nA\0: b\0\r\n\r\n", "GET /a 0 -> 200 5 !malformed_head"),
        (b"GET /a HTTP/1.1\r\n\xc3\xa4: \xff\r\n\r\n", "GET /a 0 -> 200 5 !malformed_head"),
        (b"GET /a HTTP/1.1\r\nA: \xff\r\n\r\n", "GET /a 0 -> 200 5"),
        (b"GET /a HTTP/1.1\r\nno colon\r\n\r\n", "GET /a 0 -> 200 5 !malformed_head"),
        (b"GET /a b HTTP/1.1\r\n\r\n", "GET /a b 0 -> 200 5 !malformed_head"),
        (b"GET\t/a\tHTTP/1.1\r\n\r\n", "GET /a 0 -> 200 5 !malformed_head"),
        (b"GET http://x/a HTTP/1.1\r\n\r\n", "GET http://x/a 0 -> 200 5"),
        (b"OPTIONS * HTTP/1.1\r\n\r\n", "OPTIONS * 0 -> 200 5"),
        (b"get /a HTTP/1.1\r\n\r\n", "get /a 0 -> 200 5"),
        (b"FOO-bar /a HTTP/1.1\r\n\r\n", "FOO-bar /a 0 -> 200 5"),
        (b"GET /a HTTP/2.0\r\n\r\n", "GET /a 0 -> 200 5 !version_unknown"),
        (b"GET /a HTTP/1.9\r\n\r\n", "GET /a 0 -> 200 5 !version_unknown"),
        (
            b"GET /a HTTTP/1.1 http/1.1\r\n\r\n",
            "GET /a HTTTP/1.1 0 -> 200 5 !malformed_head !version_unknown",
        ),
        (b"\r\n\r\n\r\n\r\n\nGET /a HTTP/1.1\r\n\r\n", "GET /a 0 -> 200 5"),
    ]);
}

#[test]
fn rfc9112_6_3_framing_is_by_one_reading_and_the_others_are_named() {
    check(&[
        (b"POST /a HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx", "POST /a 1 -> 200 5 !lengths_differ"),
        (b"POST /a HTTP/1.1\r\nContent-Length: 1, 1\r\n\r\nx", "POST /a 1 -> 200 5"),
        (b"POST /a HTTP/1.1\r\nContent-Length: 001\r\n\r\nx", "POST /a 1 -> 200 5"),
        (
            b"POST /a HTTP/1.1\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
            "POST /a 1 -> 200 5 !length_and_encoding",
        ),
        (
            b"POST /a HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
            "POST /a 1 -> 200 5 !encoding_ambiguous",
        ),
        (
            b"POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
            "POST /a 1 -> 200 5 !encoding_ambiguous",
        ),
        (
            b"POST /a HTTP/1.1\r\nTransfer-Encoding:\r\n\tchunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
            "POST /a 1 -> 200 5 !obs_fold",
        ),
        (
            b"POST /a HTTP/1.1\r\nTransfer-Encoding : chunked\r\n\r\n",
            "POST /a 0 -> 200 5 !space_before_colon !framing_obscured",
        ),
        (b"POST /a HTTP/1.1\r\nContent_Length: 9\r\n\r\n", "POST /a 0 -> 200 5 !framing_obscured"),
        (b"POST /a HTTP/1.1\r\nA: b\rContent-Length: 9\r\n\r\n", "POST /a 0 -> 200 5 !bare_cr !framing_obscured"),
        (b"POST /a HTTP/1.1\r\nA: b\r\n Content-Length: 9\r\n\r\n", "POST /a 0 -> 200 5 !obs_fold !framing_obscured"),
    ]);
}

#[test]
fn behind_a_body_of_unknown_length_the_next_request_is_proved_by_its_answer() {
    let head = |field: &str| format!("POST /a HTTP/1.1\r\n{field}\r\n\r\n");
    for (field, named) in [
        ("Content-Length: +22", "!length_invalid"),
        ("Content-Length: 0x16", "!length_invalid"),
        ("Content-Length:", "!length_invalid"),
        ("Content-Length: 18446744073709551616", "!length_invalid"),
        ("Content-Length: 18446744073709551615", "!length_invalid"),
        ("Content-Length: 2\r\n 2", "!length_invalid !obs_fold"),
        ("Transfer-Encoding: xchunked", "!encoding_not_chunked"),
        ("Transfer-Encoding: \x0bchunked", "!malformed_head !encoding_not_chunked"),
        ("Transfer-Encoding: chunked, identity", "!encoding_not_chunked !encoding_ambiguous"),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
            "!encoding_not_chunked !encoding_ambiguous",
        ),
        ("Transfer-Encoding: x\r\nContent-Length: 22", "!length_and_encoding !encoding_not_chunked"),
    ] {
        let mut talk = Talk::raw();
        talk.request(head(field)).request(EVIL).response(OK);
        for _ in 0..2 {
            talk.request(NEXT).response(OK);
        }
        talk.finish();
        assert_eq!(talk.lines(), [&format!("POST /a ? -> 200 5 {named}"), NEXT_LINE, NEXT_LINE], "{field:?}");
        // In one packet, and never answered: nobody knows.
        let mut unanswered = Talk::raw();
        unanswered.request(head(field) + EVIL).request(EVIL).close(CloseReason::Fin);
        assert_eq!(unanswered.lines().len(), 1, "{field:?} {:?}", unanswered.lines());
    }
}

#[test]
fn rfc9112_7_1_chunks_of_every_kind() {
    let with =
        |body: &str| format!("POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{body}").into_bytes();
    check(&[
        (&with("1;a=\"b;c\";d\r\nx\r\n0;e\r\n\r\n"), "POST /a 1 -> 200 5"),
        (&with("000000000000000000000000000001\r\nx\r\n000\r\n\r\n"), "POST /a 1 -> 200 5"),
        (&with("1 \t\r\nx\r\n0\r\n\r\n"), "POST /a 1 -> 200 5"),
        (&with("1\nx\r\n0\r\n\r\n"), "POST /a 1 -> 200 5 !bare_lf"),
        (&with("1;a\nx\n0\n\n"), "POST /a 1 -> 200 5 !bare_lf"),
        (&with("0\r\nA: b\r\nContent-Length: 9\r\n\r\n"), "POST /a 0 -> 200 5 !trailer_framing"),
        (
            &with("0\r\nTransfer-Encoding : x\r\n\r\n"),
            "POST /a 0 -> 200 5 !space_before_colon !trailer_framing",
        ),
    ]);
    for broken in
        ["\r\n", " 1\r\nx", "-1\r\n", "0x1\r\nx", "1FFFFFFFFFFFFFFFF\r\n", "1\r\nxy\r\n", "1\r\nx\rGET"]
    {
        let mut talk = Talk::raw();
        talk.request(with(broken)).request(EVIL).response(OK).request(NEXT).response(OK).finish();
        assert_eq!(talk.lines(), ["POST /a ? -> 200 5 !chunk_invalid", NEXT_LINE], "{broken:?}");
    }
}

#[test]
fn rfc1945_5_a_simple_request_is_whole_and_what_follows_must_be_proved() {
    for request in ["GET /a\r\n", "GET /a\n", "GET /a\r\n\r\n", "GET /a\r\nHost: x\r\n\r\n"] {
        for bytewise in [false, true] {
            let mut talk = Talk::raw();
            match bytewise {
                false => talk.request(request),
                true => request.bytes().fold(&mut talk, |talk, b| talk.request([b])),
            };
            talk.request(EVIL).response("<html>").response(OK).fin(RESPONSES).close(CloseReason::Fin);
            assert_eq!(talk.lines().len(), 1, "{:?}", talk.lines());
            assert!(
                talk.lines()[0].starts_with("GET /a 0 -> - response_missing/response"),
                "{:?}",
                talk.lines()
            );
            assert!(talk.lines()[0].ends_with("!version_unknown"), "{:?}", talk.lines());
            let request = talk.out[0].request.as_ref().unwrap();
            assert_eq!((request.version, request.lines.len()), (Version::Http09, 0));
        }
    }
    // Servers that know better refuse it as HTTP/1, and may go on.
    check(&[(b"GET /a\r\n", "GET /a 0 -> 200 5 !version_unknown")]);
}

#[test]
fn bytes_that_are_no_request_may_be_answered() {
    for request in
        [&b"GET/HTTP/1.1\nHost: x\n\n"[..], b"\x16\x03\x01\x02\x00\x01", b"\xc3\x83 / HTTP/1.1\r\n\r\n"]
    {
        let mut talk = Talk::raw();
        talk.request(request)
            .request(EVIL)
            .response("HTTP/1.0 400 Bad Request\r\nContent-Length: 1\r\n\r\nx");
        talk.close(CloseReason::Fin);
        assert_eq!(
            talk.lines(),
            ["- -> 400 1 request_missing/request !stray_bytes"],
            "{}",
            request.escape_ascii()
        );
        assert_eq!(talk.assembler.counters().other_connections, 0);
        assert_eq!(talk.assembler.counters().stray_bytes, (request.len() + EVIL.len()) as u64);
    }
}

#[test]
fn a_body_behind_more_lines_or_bytes_than_the_limit_is_no_message() {
    let many = format!("POST /a HTTP/1.1\r\n{}", "A: b\r\n".repeat(600));
    let long = format!("POST /a HTTP/1.1\r\nA: {}\r\n", "x".repeat(70_000));
    let fold = format!("{long}B: c\r\n d\r\n");
    let blanks = format!("{long}Content-Length:{}22\r\n", " ".repeat(300));
    let named = "POST /a 22 -> 200 5 !too_many_lines";
    let truncated = "POST /a 22 -> 200 5 truncated/request@65536";
    let unknown = "POST /a ? -> 200 5 truncated/request@65536";
    for (head, field, want) in [
        (&many, "Content-Length: 22", named.to_owned()),
        (&many, "Transfer-Encoding: chunked", named.to_owned()),
        (&many, "Content-Length: x", "POST /a ? -> 200 5 !too_many_lines !length_invalid".into()),
        (&long, "Content-Length: 22", truncated.into()),
        (&long, "content-LENGTH:\t22 ", truncated.into()),
        (&long, "Transfer-Encoding: chunked", truncated.into()),
        (&long, "Transfer-Encoding: x", format!("{unknown} !encoding_not_chunked")),
        (&long, "Content-Length: 22\r\nContent-Length: 9", format!("{truncated} !lengths_differ")),
        (&fold, "Content-Length: 22", format!("{unknown} !obs_fold")),
        (&blanks, "B: c", unknown.into()),
    ] {
        let chunked = field.ends_with("chunked");
        let body = if chunked { format!("16\r\n{EVIL}\r\n0\r\n\r\n") } else { EVIL.to_owned() };
        for size in [1, 999, 65_536, 100_000] {
            let mut talk = Talk::raw();
            let text = format!("{head}{field}\r\n\r\n");
            text.as_bytes().chunks(size).for_each(|c| {
                talk.request(c);
            });
            talk.request(&body).response(OK).request(NEXT).response(OK).finish();
            let mut want = want.clone();
            if head == &many && field == "Content-Length: x" {
                want = "POST /a ? -> 200 5 !too_many_lines !length_invalid".into();
            }
            assert_eq!(talk.lines(), [&want, NEXT_LINE], "{field} {size}");
        }
    }
}

#[test]
fn a_long_head_of_a_response_frames_its_body_too() {
    let long = format!("HTTP/1.1 200 OK\r\nA: {}\r\nContent-Length: 38\r\n\r\n", "x".repeat(70_000));
    let evil = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let mut talk = Talk::raw();
    talk.request(NEXT).response(&long).response(evil).request(NEXT).response(OK);
    talk.request("HEAD /h HTTP/1.1\r\n\r\n").response(&long).request(NEXT).response(OK);
    let truncated = "truncated/response@65536";
    let want = [
        format!("GET /next 0 -> 200 38 {truncated}"),
        NEXT_LINE.into(),
        format!("HEAD /h 0 -> 200 0 {truncated}"),
        NEXT_LINE.into(),
    ];
    assert_eq!(talk.lines(), want);
}

#[test]
fn a_response_before_its_request_is_not_tied_to_it() {
    let mut talk = Talk::raw();
    talk.response(OK).request(NEXT).response(OK).request(NEXT).response(OK).finish();
    assert_eq!(talk.lines()[0], "- -> 200 5 request_missing/request gap/request");
    assert_eq!(talk.lines()[1..], [NEXT_LINE; 2]);
    let mut both = Talk::raw();
    both.request(NEXT).response([OK, OK].concat()).request(NEXT).response(OK).finish();
    assert_eq!(both.lines()[0], NEXT_LINE);
    assert!(both.out.iter().all(|t| t.request.is_none() || t.response.is_some()));
}

#[test]
fn statuses_and_versions_of_responses_are_named() {
    let mut talk = Talk::raw();
    for start in ["HTTP/1.1 600 X", "HTTP/1.1 000 X", "HTTP/2.0 200 OK", "HTTP/1.7 200 OK"] {
        talk.request(NEXT).response(format!("{start}\r\nContent-Length: 0\r\n\r\n"));
    }
    let want = [
        "GET /next 0 -> 600 0 !status_out_of_range",
        "GET /next 0 -> 0 0 !status_out_of_range",
        "GET /next 0 -> 200 0 !version_unknown",
        "GET /next 0 -> 200 0 !version_unknown",
    ];
    assert_eq!(talk.lines(), want);
}

#[test]
fn lines_are_recorded_as_they_came() {
    let mut talk = Talk::raw();
    talk.request(b"GET /\xff\0 HTTP/1.1\r\nA\t : b\0\xffc\r\n\t d \r\n\xc3\x28:\x0b\rx\r\n:\r\nlast\r\n\r\n")
        .response(OK);
    let request = talk.out[0].request.as_ref().unwrap();
    assert_eq!(request.target(), Some(&b"/\xff\0"[..]));
    let lines: Vec<_> = request.lines().collect();
    let want: [(&[u8], &[u8]); 4] =
        [(b"A\t ", b"b\0\xffc\r\n\t d"), (b"\xc3\x28", b"\x0b\rx"), (b"", b""), (b"last", b"")];
    assert_eq!(lines, want);
}

/// A tunnel, however it came about: nothing behind its head is read, all of it is counted, with what came `before`.
fn tunnel(mut talk: Talk, start: &str, status: u16, before: [usize; 2]) {
    let http: String = [EVIL, OK].concat();
    for _ in 0..3 {
        talk.request(EVIL).response(&http);
    }
    talk.fin(REQUESTS).fin(RESPONSES).close(CloseReason::Fin);
    let (sent, received) = (before[0] + 3 * EVIL.len(), before[1] + 3 * http.len());
    let want =
        [format!("start {start} ? -> {status} ?"), format!("end {start} {sent} -> {status} {received}")];
    assert_eq!(talk.lines(), want);
    assert_eq!((talk.assembler.counters().tunnels, talk.assembler.counters().stray_bytes), (1, 0));
    assert_eq!(talk.assembler.held(), Messages::default());
}

#[test]
fn rfc9110_7_8_and_9_3_6_behind_an_upgrade_nothing_is_http() {
    let upgrade = "GET /ws HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    let switching = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";
    let mut talk = Talk::raw();
    talk.request(upgrade).response(switching);
    tunnel(talk, "GET /ws", 101, [0, 0]);
    // The first frames come with the head.
    let mut together = Talk::raw();
    together.request(upgrade).response([switching, OK].concat());
    tunnel(together, "GET /ws", 101, [0, OK.len()]);
    let mut accepted = Talk::raw();
    accepted.request(["CONNECT x:443 HTTP/1.1\r\n\r\n", EVIL].concat());
    accepted.response("HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\n");
    tunnel(accepted, "CONNECT x:443", 204, [EVIL.len(), 0]);
    // A request behind the one for a tunnel, sent before the answer, is a message, and is not answered.
    let mut before = Talk::raw();
    before.request([upgrade, NEXT].concat()).response([switching, OK].concat()).close(CloseReason::Fin);
    let next: Vec<_> = before
        .out
        .iter()
        .filter(|t| t.request.as_ref().is_some_and(|r| r.target() == Some(b"/next")))
        .collect();
    assert_eq!(next.len(), 1);
    assert!(next[0].response.is_none() && has(next[0], IncompleteReason::ResponseMissing));
}
