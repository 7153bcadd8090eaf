use proptest::prelude::*;

use super::*;
use crate::fixture::{Lines, request, response, transaction};
use crate::redact::{FingerprintKey, Policy, Redactor};
use crate::transaction::{Span, Transaction};

fn redacted(request: Option<Message>, response: Option<Message>) -> Transaction {
    let raw = transaction(request, response).inner;
    Redactor::new(FingerprintKey { id: 1, secret: [7; 32] }, Policy::default()).redact(raw)
}

/// The facts of a call with these lines of the request, and head and trailers of the response.
fn call(path: &[u8], lines: Lines, head: Lines, trailers: Lines) -> Grpc {
    let lines = [&[(&b"content-type"[..], &b"application/grpc"[..])], lines].concat();
    let t = redacted(Some(request(b"POST", path, &lines, &[])), Some(response(200, b"", head, trailers)));
    t.grpc().unwrap().clone()
}

#[test]
fn a_call() {
    let of = call(
        b"/shop.v1.Cart/Add",
        &[(b"grpc-timeout", b"250m"), (b"grpc-encoding", b"gzip")],
        &[(b"content-type", b"application/grpc")],
        &[(b"grpc-status", b"14"), (b"grpc-message", b"no%20pl%c3%a4ce, 100%")],
    );
    assert_eq!((of.service.as_deref(), of.method.as_deref()), (Some("shop.v1.Cart"), Some("Add")));
    assert_eq!((of.status, of.status_name()), (Some(14), Some("UNAVAILABLE")));
    assert_eq!(of.message.as_deref(), Some("no pl\u{e4}ce, 100%"));
    assert_eq!((of.timeout_ns, of.encoding.as_deref(), of.web), (Some(250_000_000), Some("gzip"), false));
}

#[test]
fn the_content_type_tells() {
    for (value, web) in [
        ("application/grpc", Some(false)),
        ("Application/GRPC+proto", Some(false)),
        ("application/grpc;charset=x", Some(false)),
        ("application/grpc ; a=b", Some(false)),
        ("application/grpc-web", Some(true)),
        ("application/grpc-web+proto", Some(true)),
        ("application/grpc-web-text+proto", Some(true)),
        ("application/grpc-web-text", Some(true)),
        ("application/grpcx", None),
        ("application/grpc-webx", None),
        ("application/grpc-we", None),
        ("application/json", None),
        ("", None),
    ] {
        let lines: Lines = &[(b"Content-Type", value.as_bytes())];
        let asked = redacted(Some(request(b"POST", b"/a/b", lines, &[])), None);
        assert_eq!(asked.grpc().map(|g| g.web), web, "{value}");
        let answered = redacted(None, Some(response(200, b"", lines, &[])));
        assert_eq!(answered.grpc().map(|g| g.web), web, "{value}");
    }
    assert!(redacted(None, None).grpc().is_none());
    // An error page of a gateway answers a call, too.
    let lines: Lines = &[(b"content-type", b"application/grpc")];
    let page: Lines = &[(b"content-type", b"text/html")];
    let t =
        redacted(Some(request(b"POST", b"/a/b", lines, &[])), Some(response(502, b"Bad Gateway", page, &[])));
    assert_eq!(t.grpc().map(|g| g.status), Some(None));
}

#[test]
fn a_status_stands_in_the_trailers_else_in_the_head() {
    let status = |head, trailers| call(b"/a/b", &[], head, trailers).status;
    assert_eq!(status(&[], &[]), None);
    assert_eq!(status(&[(b"grpc-status", b"5")], &[]), Some(5));
    assert_eq!(status(&[(b"grpc-status", b"5")], &[(b"grpc-status", b"0")]), Some(0));
    for (bad, means) in
        [("", None), ("-1", None), ("+1", None), ("1 ", None), ("99999999999", None), ("77", Some(77))]
    {
        let of = call(b"/a/b", &[], &[], &[(b"grpc-status", bad.as_bytes())]);
        assert_eq!((of.status, of.status_name()), (means, None), "{bad}");
    }
    // Which of two is meant is not known.
    assert_eq!(status(&[], &[(b"grpc-status", b"5"), (b"grpc-status", b"0")]), None);
}

#[test]
fn a_status_of_bytes_that_were_never_seen_is_none() {
    let mut answer = response(200, b"", &[], &[(b"grpc-status", b"0")]);
    answer.trailers[0].value = Span::UNSEEN;
    let lines: Lines = &[(b"content-type", b"application/grpc")];
    let t = redacted(Some(request(b"POST", b"/a/b", lines, &[])), Some(answer));
    assert_eq!(t.grpc().unwrap().status, None);
}

#[test]
fn paths_that_name_no_method() {
    let long = [b"/a/".as_slice(), &[b'x'; NAME_BYTES_MAX + 1]].concat();
    for path in
        [&b""[..], b"/", b"//", b"/a", b"/a/", b"a/b", b"*", b"/a/b?c=d", b"/a b/c", b"/\xff/b", &long]
    {
        let of = call(path, &[], &[], &[]);
        assert_eq!((of.service, of.method), (None, None), "{}", path.escape_ascii());
    }
    assert_eq!(call(b"/v1/a.B/C", &[], &[], &[]).service.as_deref(), Some("v1/a.B"));
}

#[test]
fn timeouts() {
    let of = |value: &str| call(b"/a/b", &[(b"grpc-timeout", value.as_bytes())], &[], &[]).timeout_ns;
    assert_eq!(of("1H"), Some(3_600_000_000_000));
    assert_eq!(of("2M"), Some(120_000_000_000));
    assert_eq!(of("99999999S"), Some(99_999_999_000_000_000));
    assert_eq!((of("0m"), of("7u"), of("00000009n")), (Some(0), Some(7_000), Some(9)));
    for bad in ["", "S", "5", "5s", "-5S", "+5S", "5 S", "1.5S", "123456789n", "99999999H", "5S "] {
        assert_eq!(of(bad), None, "{bad}");
    }
}

#[test]
fn a_secret_in_a_message_is_hidden_also_where_decoding_brings_it_to_light() {
    const KEY: &str = "ghp_0123456789abcdefghijABCDEFGHIJ012345";
    let encoded: String = KEY.bytes().map(|b| format!("%{b:02x}")).collect();
    for message in [KEY, &encoded, &format!("bad%20key%20{KEY}"), &format!("bad%3a {encoded}!")] {
        let of = call(b"/a/b", &[], &[], &[(b"grpc-status", b"16"), (b"grpc-message", message.as_bytes())]);
        let text = of.message.unwrap();
        assert!(text.contains("hmac:1:") && !text.contains(KEY) && !text.contains("ghp_"), "{text}");
    }
}

#[test]
fn a_long_message_is_cut_between_characters() {
    let long = "\u{20ac}".repeat(30_000);
    let text = call(b"/a/b", &[], &[], &[(b"grpc-message", long.as_bytes())]).message.unwrap();
    assert_eq!(text, "\u{20ac}".repeat(MESSAGE_BYTES_MAX / 3));
}

proptest! {
    #[test]
    fn any_bytes_are_survived(path: Vec<u8>, values: [Vec<u8>; 5]) {
        let [timeout, encoding, status, message, head] = &values;
        let of = call(
            &path,
            &[(b"grpc-timeout", timeout), (b"grpc-encoding", encoding)],
            &[(b"grpc-status", head)],
            &[(b"grpc-status", status), (b"grpc-message", message)],
        );
        prop_assert!(of.message.is_some_and(|m| m.len() <= MESSAGE_BYTES_MAX));
        prop_assert!(of.service.is_none_or(|s| s.len() <= NAME_BYTES_MAX));
    }

    #[test]
    fn what_was_encoded_is_decoded(text: String) {
        let encoded: String = text.bytes().map(|b| format!("%{b:02X}")).collect();
        let decoded = percent_decoded(encoded.as_bytes());
        prop_assert_eq!(decoded.as_ref(), text.as_bytes());
    }
}
