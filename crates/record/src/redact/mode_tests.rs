//! What a user may change: each mode at each place.

use super::*;

/// A redactor with these settings, as they stand in a config.
fn changed(text: &str) -> Redactor {
    let settings: Settings = toml::from_str(text).unwrap();
    Redactor::new(FingerprintKey { id: 1, secret: [7; 32] }, Policy::with(&settings).unwrap())
}

/// Target and lines after redaction of one request, and how much was left out.
fn request(text: &str, at: &str, given: &[(&str, &str)]) -> (String, Vec<(String, String)>, u32) {
    let t = changed(text).redact(raw(Some(message(("GET", at), given)), None));
    let m = t.facts().request.as_ref().unwrap();
    (String::from_utf8_lossy(m.target().unwrap()).into_owned(), lines(m), t.left_out())
}

fn line(text: &str, name: &str, value: &str) -> Option<String> {
    let (_, lines, left_out) = request(text, "/", &[("Host", "h"), (name, value), ("Accept", "*/*")]);
    if left_out == 0 {
        assert_eq!(lines.len(), 3);
    }
    lines.into_iter().find(|(n, _)| n == name).map(|(_, v)| v)
}

fn target(text: &str, at: &str) -> (String, u32) {
    let (target, _, left_out) = request(text, at, &[]);
    (target, left_out)
}

#[test]
fn lines_by_name_and_mode() {
    let jwt = format!("Bearer {JWT}");
    for (text, name, value, out) in [
        ("headers.keep = ['authorization']", "Authorization", jwt.as_str(), Some(jwt.clone())),
        ("headers.keep = ['x-n*']", "X_Note", &jwt, Some(jwt.clone())),
        ("headers.keep = ['Cookie']", "Cookie", "a=1", Some("a=1".into())),
        ("headers.mask = ['authorization']", "Authorization", &jwt, Some("Bearer ***".into())),
        ("headers.mask = ['x-note']", "X-Note", "hello", Some("***".into())),
        ("headers.mask = ['Cookie']", "Cookie", "a=1; b=2", Some("***".into())),
        ("headers.mask = ['*']", "Accept-Language", "de", Some("***".into())),
        ("headers.fingerprint = ['x-consumer-*']", "X-Consumer-Username", "alice", Some(fp("alice"))),
        ("headers.drop = ['user-agent']", "User-Agent", "curl/8", None),
        ("headers.drop = ['x-*']\nheaders.keep = ['x-a']", "X-A", "1", Some("1".into())),
        ("headers.drop = ['x-*']\nheaders.keep = ['x-a']", "X-B", "1", None),
        ("secrets = 'mask'", "Authorization", &jwt, Some("Bearer ***".into())),
        ("secrets = 'mask'", "X-Note", &format!("so {GITHUB}!"), Some("so ***!".into())),
        ("secrets = 'drop'", "Authorization", &jwt, None),
        ("secrets = 'drop'", "X-Note", &format!("so {GITHUB}!"), Some("so ***!".into())),
        (
            "secrets = 'drop'",
            "WWW-Authenticate",
            "Digest realm=\"a\", nonce=\"b\"",
            Some("Digest realm=\"a\", nonce=\"***\"".into()),
        ),
        ("secrets = 'drop'\nheaders.fingerprint = ['x-api-key']", "X-Api-Key", "abc", Some(fp("abc"))),
    ] {
        assert_eq!(line(text, name, value), out, "{text}: {name}: {value}");
    }
}

#[test]
fn what_is_left_out_is_counted_and_leaves_no_byte() {
    let given = [("Host", "h"), ("X-Secret", "s3cr3t"), ("Accept", "*/*"), ("X-Token", "s3cr3t")];
    let mut m = message(("GET", "/"), &given);
    m.trailers = m.lines.split_off(2);
    let t = changed("secrets = 'drop'").redact(raw(Some(m.clone()), Some(m)));
    assert_eq!(t.left_out(), 4);
    assert!(t.redacted().is_empty() && t.features().is_empty());
    for m in t.facts().request.iter().chain(&t.facts().response) {
        assert_eq!(m.text, b"GET/HosthAccept*/*");
        assert_eq!((m.lines.len(), m.trailers.len()), (1, 1));
    }
}

#[test]
fn cookies_by_name_and_mode() {
    let text = "cookies.keep = ['lang']\ncookies.mask = ['ab_*']\ncookies.drop = ['track', 'ga*']";
    let cookie = |value: &str| request(text, "/", &[("Cookie", value)]);
    let one = |value: &str| {
        let (_, lines, left_out) = cookie(value);
        (lines.into_iter().next().map(|(_, v)| v), left_out)
    };
    let s = fp("s");
    assert_eq!(
        one("Lang=en; sid=s; AB-1=x; track=t; bare"),
        (Some(format!("Lang=en; sid={s}; AB-1=***; {}", fp("bare"))), 1)
    );
    assert_eq!(one("track=t; sid=s; ga_1=x"), (Some(format!("sid={s}")), 2));
    assert_eq!(one("track=t; ga1=x;ga2=y; sid=s; ga=1; lang=de"), (Some(format!("sid={s}; lang=de")), 4));
    assert_eq!(one("track=t; ga1=x"), (None, 2));
    assert_eq!(one(&format!("lang={GITHUB}; x=1")), (Some(format!("lang={GITHUB}; x={}", fp("1"))), 0));
    assert_eq!(line(text, "Set-Cookie", "lang=en; Path=/"), Some("lang=en; Path=/".into()));
    assert_eq!(line(text, "Set-Cookie", "ab_1=en; Path=/"), Some("ab_1=***; Path=/".into()));
    assert_eq!(line(text, "Set-Cookie", "track=en; Path=/"), None);
    assert_eq!(line("secrets = 'drop'", "Cookie", "a=1; b=2"), None);
}

#[test]
fn query_keys_by_name_and_mode() {
    let text = "query.keep = ['state']\nquery.mask = ['q']\nquery.fingerprint = ['user']\nquery.drop = ['utm_*', 'sig']";
    let f = fp("s");
    for (given, out, left_out) in [
        ("/a?state=s&q=w&user=s&token=s&x=1", format!("/a?state=s&q=***&user={f}&token={f}&x=1"), 0),
        ("/a?utm_source=a&x=1", "/a?x=1".into(), 1),
        ("/a?x=1&utm_source=a", "/a?x=1".into(), 1),
        ("/a?x=1&UTM-Source=a&y=2#z", "/a?x=1&y=2#z".into(), 1),
        ("/a?utm_source=a&utm_medium=b&sig=c", "/a".into(), 3),
        ("/a?utm_source=a&utm_medium=b&x=1&sig=c", "/a?x=1".into(), 3),
        ("/a?sig=c#top", "/a#top".into(), 1),
        ("/a#sig=c", "/a".into(), 1),
        ("/a;sig=1/b", "/a/b".into(), 1),
        ("/a?ut%6D_source=a&x=1", "/a?x=1".into(), 1),
        (
            "/a?state=ghp_0123456789abcdefghijABCDEFGHIJ012345&x=1",
            "/a?state=ghp_0123456789abcdefghijABCDEFGHIJ012345&x=1".into(),
            0,
        ),
        ("/a?state=https://h/?token=s&x=1", "/a?state=https://h/?token=s&x=1".into(), 0),
    ] {
        assert_eq!(target(text, given), (out, left_out), "{given}");
    }
    assert_eq!(line(text, "Referer", "https://h/a?utm_id=1&x=2").as_deref(), Some("https://h/a?x=2"));
}

#[test]
fn targets_by_mode() {
    let f = fp("s");
    for (text, given, out, left_out) in [
        ("target = 'mask'", "/a/b?token=s&x=1&y=&z#top", "/a/b?token=***&x=***&y=&***#***".to_owned(), 0),
        ("target = 'mask'", "/a;v=1/b?x=a/b?c", "/a;v=1/b?x=***".into(), 0),
        ("target = 'mask'\nquery.keep = ['page']", "/a?page=2&q=x", "/a?page=2&q=***".into(), 0),
        ("target = 'mask'\nquery.fingerprint = ['q']", "/a?page=2&q=s", format!("/a?page=***&q={f}"), 0),
        ("target = 'drop'", "/a/b?x=1&y=2", "/a/b".into(), 2),
        ("target = 'drop'", "http://h:80/a?x=1#y", "http://h:80/a".into(), 2),
        ("target = 'drop'\nquery.keep = ['page']", "/a?x=1&page=2&q=x", "/a?page=2".into(), 2),
        ("target = 'fingerprint'", "/a?x=s", format!("/a?x={f}"), 0),
        ("target = 'drop'", "/x/ghp_0123456789abcdefghijABCDEFGHIJ012345", format!("/x/{}", fp(GITHUB)), 0),
    ] {
        assert_eq!(target(text, given), (out, left_out), "{text} {given}");
    }
    assert_eq!(line("target = 'drop'", "Referer", "https://h/a?x=1").as_deref(), Some("https://h/a"));
    assert_eq!(
        line("target = 'mask'", "User-Agent", "Bot (+http://h/bot?id=1; a) x=2").as_deref(),
        Some("Bot (+http://h/bot?id=*** a) x=2")
    );
}

#[test]
fn an_allow_list_masks_what_it_does_not_name() {
    let text = "allow = ['Host', 'Accept*', 'Authorization']\nheaders.fingerprint = ['X-Id']\nheaders.drop = ['X-D']";
    let given = [
        ("Host", "h"),
        ("accept-language", "de"),
        ("Authorization", "Bearer abc"),
        ("X-Api-Key", "abc"),
        ("Cookie", "a=1"),
        ("X-Id", "7"),
        ("X-D", "7"),
        ("Accept", GITHUB),
        ("User-Agent", "curl"),
    ];
    let (_, lines, left_out) = request(text, "/", &given);
    let values: Vec<_> = lines.iter().map(|(_, v)| v.as_str()).collect();
    let bearer = format!("Bearer {}", fp("abc"));
    assert_eq!(values, ["h", "de", &bearer, "***", "***", &fp("7"), &fp(GITHUB), "***"]);
    assert_eq!(left_out, 1);
}

#[test]
fn a_kept_line_is_kept_in_a_flawed_head_too_but_not_what_was_not_split() {
    let mut raw = raw(Some(message(("GET", "/"), &[("X-Note", "eyJhbGciOiJI"), ("X Note", "abc")])), None);
    raw.anomalies.push(Anomaly::MalformedHead);
    raw.incomplete.push(Incomplete { reason: IncompleteReason::Truncated, side: Side::Request, at: None });
    let t = changed("headers.keep = ['x-note', 'x*']").redact(raw);
    let out = lines(t.facts().request.as_ref().unwrap());
    assert_eq!((out[0].1.as_str(), &out[1].1), ("eyJhbGciOiJI", &fp("abc")));
}

#[test]
fn features_of_kept_lines_are_taken() {
    let given = [("Authorization", "Basic YWxpY2U6czNjcjN0"), ("X-Note", JWT)];
    let t = changed("headers.keep = ['*']").redact(raw(Some(message(("GET", "/"), &given)), None));
    assert_eq!((t.features().basic.len(), t.features().jwt.len()), (1, 1));
    assert!(t.redacted().is_empty());
}

#[test]
fn a_new_key_makes_new_fingerprints() {
    let mut r = redactor();
    let mut value = || {
        let t = r.redact(raw(Some(message(("GET", "/"), &[("X-Api-Key", "abc"), ("X-Note", GITHUB)])), None));
        let out = lines(t.facts().request.as_ref().unwrap()).into_iter().map(|(_, v)| v).collect::<Vec<_>>();
        r.rotate(&FingerprintKey { id: 2, secret: [8; 32] });
        out
    };
    let (first, second, third) = (value(), value(), value());
    assert!(first.iter().all(|v| v.starts_with("hmac:1:")), "{first:?}");
    assert!(second.iter().all(|v| v.starts_with("hmac:2:")), "{second:?}");
    assert_eq!(second, third);
    assert_ne!(first[0][7..], second[0][7..]);
    assert_eq!(r.fingerprint(b"abc").to_string(), second[0]);
}
