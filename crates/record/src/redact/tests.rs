//! One example for each kind of secret, and for what must stay readable.

use std::net::{IpAddr, Ipv4Addr};

use super::*;
use crate::event::{ConnectionId, Direction, Endpoint, HeaderBytes};
use crate::features::KidClass;
use crate::transaction::{Incomplete, Phase, Role, Version};

const JWT: &str =
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCIsImtpZCI6IjQyIn0.eyJzdWIiOiIxIiwiZXhwIjoxNzY0MDA5NDExfQ.c2lnbmF0dXJl";
const GITHUB: &str = "ghp_0123456789abcdefghijABCDEFGHIJ012345";

fn redactor() -> Redactor {
    Redactor::new(FingerprintKey { id: 1, secret: [7; 32] }, Policy::default())
}

fn fp(secret: &str) -> String {
    redactor().fingerprint(secret.as_bytes()).to_string()
}

fn message(start: (&str, &str), lines: &[(&str, &str)]) -> Message {
    let mut text = Vec::new();
    let mut put = |s: &str| {
        text.extend_from_slice(b": ");
        let from = text.len();
        text.extend_from_slice(s.as_bytes());
        Span::of(from, text.len())
    };
    let start = match start {
        ("", reason) => StartLine::Status { status: 200, reason: put(reason) },
        (method, target) => StartLine::Request { method: put(method), target: put(target) },
    };
    let lines = lines.iter().map(|(n, v)| Line::new(put(n), put(v))).collect();
    Message {
        text,
        start,
        version: Version::Http11,
        lines,
        trailers: Vec::new(),
        body_bytes: None,
        headers: HeaderBytes::new(&[]),
        segments: 1,
        frame: None,
        sequence: 0,
        first_ns: 0,
        last_ns: 0,
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

fn lines(m: &Message) -> Vec<(String, String)> {
    m.lines().map(|(n, v)| (String::from_utf8_lossy(n).into(), String::from_utf8_lossy(v).into())).collect()
}

/// The value of one line after redaction.
fn line(name: &str, value: &str) -> String {
    let t = redactor().redact(raw(Some(message(("GET", "/"), &[(name, value)])), None));
    let out = lines(t.facts().request.as_ref().unwrap()).remove(0);
    assert_eq!(out.0, name);
    assert_eq!(t.redacted().iter().any(|n| n == name), out.1 != value, "{name}: {value}");
    out.1
}

fn target(target: &str) -> String {
    let t = redactor().redact(raw(Some(message(("GET", target), &[])), None));
    let out = String::from_utf8_lossy(t.facts().request.as_ref().unwrap().target().unwrap()).into_owned();
    assert_eq!(t.redacted() == ["target"], out != target, "{target}");
    out
}

/// Lines after redaction of a request with these flaws.
fn flawed(
    given: &[(&str, &str)],
    anomaly: Option<Anomaly>,
    reason: Option<IncompleteReason>,
) -> Vec<(String, String)> {
    let mut raw = raw(Some(message(("GET", "/"), given)), None);
    raw.anomalies.extend(anomaly);
    raw.incomplete.extend(reason.map(|reason| Incomplete { reason, side: Side::Request, at: None }));
    lines(redactor().redact(raw).facts().request.as_ref().unwrap())
}

#[test]
fn one_token_has_one_fingerprint_wherever_it_stands() {
    let f = fp(GITHUB);
    assert_eq!(line("Authorization", &format!("Bearer {GITHUB}")), format!("Bearer {f}"));
    assert_eq!(line("authorization", GITHUB), f);
    assert_eq!(line("Authorization", &format!("  token   {GITHUB} ")), format!("  token   {f} "));
    assert_eq!(line("X-Api-Key", GITHUB), f);
    assert_eq!(line("X-Api-Key", &format!("\"{GITHUB}\"")), format!("\"{f}\""));
    assert_eq!(line("Cookie", &format!("a={GITHUB}")), format!("a={f}"));
    assert_eq!(line("X-Anything", &format!("so: {GITHUB}, yes")), format!("so: {f}, yes"));
    assert_eq!(line("X-Anything", &format!("Bearer {GITHUB}")), format!("Bearer {f}"));
    assert_eq!(target(&format!("/x?token={GITHUB}&y=1")), format!("/x?token={f}&y=1"));
    assert_eq!(target(&format!("/x/{GITHUB}/y")), format!("/x/{f}/y"));
    assert_eq!(
        line("Referer", &format!("https://h/x?access_token={GITHUB}")),
        format!("https://h/x?access_token={f}")
    );
    assert_ne!(f, fp("ghp_0123456789abcdefghijABCDEFGHIJ012346"));
    let encoded = fp("a+b/c=");
    assert_eq!(target("/x?token=a%2Bb%2Fc%3D"), format!("/x?token={encoded}"));
    assert_eq!(line("Cookie", "s=a%2Bb%2Fc%3D"), format!("s={encoded}"));
    assert_eq!(line("X-Token", "a+b/c="), encoded);
}

#[test]
fn schemes_stay() {
    let f = fp("abc");
    for scheme in ["Basic", "bearer", "Digest", "Negotiate", "NTLM", "Hawk", "DPoP", "OAuth", "SharedKey"] {
        assert_eq!(line("Proxy-Authorization", &format!("{scheme} abc")), format!("{scheme} {f}"));
    }
    assert_eq!(line("Authorization", "Mine abc"), fp("Mine abc"));
    assert_eq!(line("Authorization", "Bearer"), "Bearer");
    assert_eq!(line("Authorization", ""), "");
}

#[test]
fn aws_scope_stays() {
    let value = "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20261124/eu-west-1/s3/aws4_request, \
                 SignedHeaders=host;x-amz-date, Signature=fe5f80f77d5fa3beca038a248ff027d0445342fe2855ddc963176630326f1024";
    let out = line("Authorization", value);
    let signature = fp("fe5f80f77d5fa3beca038a248ff027d0445342fe2855ddc963176630326f1024");
    assert_eq!(
        out,
        format!(
            "AWS4-HMAC-SHA256 Credential={}/20261124/eu-west-1/s3/aws4_request, SignedHeaders=host;x-amz-date, Signature={signature}",
            fp("AKIAIOSFODNN7EXAMPLE")
        )
    );
    let odd = "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE, Secret=x";
    assert_eq!(line("Authorization", odd), format!("AWS4-HMAC-SHA256 {}", fp(&odd[17..])));
}

#[test]
fn a_folded_secret_is_hidden_whole() {
    let out = line("Authorization", "Bearer\r\n  abc\r\n\tdef");
    assert_eq!(out, format!("Bearer\r\n  {}", fp("abc def")));
}

#[test]
fn cookies_keep_names_and_layout() {
    let (a, b) = (fp("1"), fp("x=y"));
    assert_eq!(
        line("Cookie", "sid=1;  b=\"x=y\" ;c=; bare"),
        format!("sid={a};  b=\"{b}\" ;c=; {}", fp("bare"))
    );
    assert_eq!(
        line(
            "Set-Cookie",
            "sid=1; Path=/; Expires=Wed, 21 Oct 2026 07:28:00 GMT; Secure; HttpOnly; SameSite=Lax"
        ),
        format!("sid={a}; Path=/; Expires=Wed, 21 Oct 2026 07:28:00 GMT; Secure; HttpOnly; SameSite=Lax")
    );
    let out = line("Set-Cookie", "sid=1; Path=/, other=hunter22; Token=hunter23; hunter24");
    assert!(!out.contains("hunter"), "{out}");
}

#[test]
fn targets_keep_all_but_secrets() {
    let f = fp("s3cr3t");
    assert_eq!(target("/a/b?x=1&api_key=s3cr3t&y=2#z"), format!("/a/b?x=1&api_key={f}&y=2#z"));
    assert_eq!(target("/a?API%5FKEY=s3cr3t"), format!("/a?API%5FKEY={f}"));
    assert_eq!(target("/a?userPassword=s3cr3t"), format!("/a?userPassword={f}"));
    assert_eq!(target("/a;jsessionid=s3cr3t/b;v=1?x=1"), format!("/a;jsessionid={f}/b;v=1?x=1"));
    assert_eq!(target("/a?x=1;token=s3cr3t"), format!("/a?x=1;token={f}"));
    assert_eq!(target("/a?token=s3cr3t/;,?"), format!("/a?token={}", fp("s3cr3t/;,?")));
    assert_eq!(target("/a?token=s3\"cr<3>t"), format!("/a?token={}", fp("s3\"cr<3>t")));
    assert_eq!(target("http://user:s3cr3t@h/x"), format!("http://{}@h/x", fp("user:s3cr3t")));
    assert_eq!(target("user:s3cr3t@h:443"), format!("{}@h:443", fp("user:s3cr3t")));
    assert_eq!(target("/cb#access_token=s3cr3t"), format!("/cb#access_token={f}"));
    for plain in
        ["/", "*", "/api/users?page=2&sort_key=name", "h:443", "http://h/x?q=a%20b", "/a%2Fb?x=%3D", "?"]
    {
        assert_eq!(target(plain), plain);
    }
}

#[test]
fn encoding_opens_no_hole() {
    for hidden in [
        "/a?token%3Ds3cr3t",
        "/a?x%26token=s3cr3t",
        "/a?to%6ben=s3cr3t",
        "/a?to%256ben=s3cr3t",
        "/a?next=https%3A%2F%2Fh%2F%3Ftoken%3Ds3cr3t",
        "/a?next=https%253A%252F%252Fh%252F%253Ftoken%253Ds3cr3t",
        "/a?next=https%3A%2F%2Fuser%3As3cr3t%40h",
        "/a?x=%67hp_0123456789abcdefghijABCDEFs3cr3t345",
        "/a?q=%7B%22password%22%3A%22s3cr3t%22%7D",
        "/a?q={\"password\":\"s3cr3t\"}",
        "/a%3Ftoken=s3cr3t",
        "/a?a=token=s3cr3t",
    ] {
        let out = target(hidden);
        assert!(!out.contains("s3cr3t"), "{hidden} -> {out}");
    }
}

#[test]
fn urls_in_headers_are_scrubbed() {
    let f = fp("s3cr3t");
    for name in ["Location", "Referer", "Origin", "X-Original-URL", ":path", "X-Whatever"] {
        assert_eq!(line(name, "https://h/x?code=s3cr3t&a=1"), format!("https://h/x?code={f}&a=1"), "{name}");
        assert_eq!(line(name, "/x?code=s3cr3t&a=1"), format!("/x?code={f}&a=1"), "{name}");
    }
    let out = line("Link", "<https://h/x?token=s3cr3t>; rel=next");
    assert_eq!(out, format!("<https://h/x?token={f}>; rel=next"));
    assert_eq!(line("Host", "user:s3cr3t@h"), format!("{}@h", fp("user:s3cr3t")));
    assert_eq!(line("Location", "//user:s3cr3t@h/"), format!("//{}@h/", fp("user:s3cr3t")));
}

#[test]
fn value_patterns_hold_everywhere() {
    for secret in [
        JWT,
        GITHUB,
        "AKIAIOSFODNN7EXAMPLE",
        concat!("sk-ant-", "api03-0123456789abcdef"),
        "sk-proj-abcdefghij0123456789",
        "sk-or-v1-0123456789abcdef",
        "AIzaSyA0123456789abcdefghijklmnopqrstuvw",
        "ya29.a0AfH6SMBx",
        "gsk_0123456789abcdefABCDEF",
        "xai-0123456789abcdefABCDEF",
        "pplx-0123456789abcdefABCDEF",
        "hf_0123456789abcdefABCDEF",
        "r8_0123456789abcdefABCDEF",
        "nvapi-0123456789abcdefABCDEF",
        "github_pat_0123456789012345678901_0123456789abcdefghijklmnopqrstuvwxyz",
        "glpat-0123456789abcdefABCD",
        concat!("xoxb-012345678901", "-012345678901-abcdefghijkl"),
        concat!("sk_live_0123456789", "abcdefABCDEF"),
        concat!("SG.0123456789abcdefABCDEF", ".0123456789abcdefABCDEF"),
        concat!("SK0123456789abcdef", "0123456789abcdef"),
        "npm_0123456789abcdefghijklmnopqrstuvwxyz",
        "pypi-AgEIcHlwaS5vcmcCJDAxMjM0NTY3",
        "hvs.0123456789abcdefABCDEF0123",
        "dapi0123456789abcdef0123456789abcdef",
        "dop_v1_0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        "glsa_0123456789abcdefABCDEF0123456789_abcd",
        concat!("shpat_0123456789abcdef", "0123456789abcdef"),
        "LTAI0123456789abcdefghij",
        "abc8Q~0123456789abcdefABCDEF0123456789",
        "PMAK-0123456789abcdef01234567-0123456789",
        "lsv2_pt_0123456789abcdef0123456789",
        "4111 1111 1111 1111",
        "ABSKQmVkcm9ja0FQSUtleS0wMTIzNDU2Nzg5YWJjZGVmZ2hpamtsbW5vcA==",
    ] {
        let f = fp(secret);
        assert_eq!(line("X-Note", secret), f, "{secret}");
        assert_eq!(line("User-Agent", &format!("curl/8 ({secret})")), format!("curl/8 ({f})"));
        assert_eq!(line("traceparent", &format!("a {secret} b")), format!("a {f} b"));
        if !secret.contains([' ', '=']) {
            assert_eq!(target(&format!("/x/{secret}")), format!("/x/{f}"));
        }
    }
    let out = line("X-Note", "-----BEGIN RSA PRIVATE KEY-----MIIEpAIBAAKCAQEA-----END RSA PRIVATE KEY-----");
    assert!(!out.contains("MII"), "{out}");
    assert_eq!(
        line("X-Note", "db: postgres://u:s3cr3t@h/db"),
        format!("db: postgres://{}@h/db", fp("u:s3cr3t"))
    );
    assert_eq!(line("baggage", "a=1,password=s3cr3t,b=2"), format!("a=1,password={},b=2", fp("s3cr3t")));
}

#[test]
fn reason_trailers_interim_and_names_are_scrubbed() {
    let mut response = message(("", &format!("OK {GITHUB}")), &[("A", "b")]);
    response.trailers = std::mem::take(&mut response.lines);
    let mut extra = message(("", "x"), &[("X-Token", "s3cr3t"), (&format!("X-{GITHUB}"), "y")]);
    std::mem::swap(&mut extra.trailers, &mut extra.lines);
    let mut raw = raw(None, Some(extra));
    raw.interim.push(response);
    let t = redactor().redact(raw);
    let m = &t.facts().interim[0];
    let StartLine::Status { reason, .. } = m.start else { panic!("no status") };
    assert_eq!(m.bytes(reason), format!("OK {}", fp(GITHUB)).as_bytes());
    let trailers: Vec<_> = t.facts().response.as_ref().unwrap().trailers().collect();
    assert_eq!(trailers[0], (&b"X-Token"[..], fp("s3cr3t").as_bytes()));
    let name = format!("X-{}", fp(GITHUB));
    assert_eq!(trailers[1], (name.as_bytes(), &b"y"[..]));
    assert_eq!(t.redacted(), ["reason", "X-Token", &name]);
}

#[test]
fn challenges_lose_the_nonce_only() {
    let value = "Digest realm=\"a, b\", qop=\"auth\", nonce=\"s3cr3t\", opaque=\"s3cr3u\", algorithm=MD5";
    let out = value.replace("s3cr3t", &fp("s3cr3t")).replace("s3cr3u", &fp("s3cr3u"));
    assert_eq!(line("WWW-Authenticate", value), out);
    assert_eq!(
        line("WWW-Authenticate", "Bearer realm=\"x\", error=\"invalid_token\""),
        "Bearer realm=\"x\", error=\"invalid_token\""
    );
    assert_eq!(line("WWW-Authenticate", "Negotiate YII="), format!("Negotiate {}", fp("YII=")));
    assert_eq!(line("WWW-Authenticate", "Negotiate"), "Negotiate");
    assert_eq!(
        line("Authentication-Info", "nextnonce=\"s3cr3t\", nc=1"),
        format!("nextnonce=\"{}\", nc=1", fp("s3cr3t"))
    );
}

#[test]
fn certificates_keep_the_subject() {
    let value = "By=spiffe://a/b;Hash=0123;Subject=\"CN=x,O=y;z\";URI=spiffe://c,Hash=4567;Subject=\"CN=w\"";
    let out = line("X-Forwarded-Client-Cert", value);
    assert!(out.contains("Subject=\"CN=x,O=y;z\"") && out.contains("Subject=\"CN=w\""), "{out}");
    assert!(!out.contains("0123") && !out.contains("4567") && !out.contains("spiffe"), "{out}");
    let odd = "Hash=1;Subject=\"CN=x";
    assert_eq!(line("X-Forwarded-Client-Cert", odd), fp(odd));
}

#[test]
fn subprotocols_keep_known_names() {
    let value = "graphql-ws, base64url.bearer.authorization.k8s.io.czNjcjN0, access_token,s3cr3t";
    let out = line("Sec-WebSocket-Protocol", value);
    assert!(
        out.starts_with("graphql-ws, hmac:1:") && out.ends_with(&format!(", access_token,{}", fp("s3cr3t"))),
        "{out}"
    );
    assert!(!out.contains("czNj"));
}

#[test]
fn a_line_that_was_not_split_does_not_leak() {
    let malformed = Some(Anomaly::MalformedHead);
    let out = flawed(
        &[("Host", "h"), ("Authorization Bearer s3cr3t", ""), ("Cookie a", "s3cr3t"), ("s3cr3tAAAA==", "")],
        malformed,
        None,
    );
    assert!(!format!("{out:?}").contains("s3cr3t"), "{out:?}");
    assert_eq!(out[0], ("Host".into(), "h".into()));
    assert!(out[1].0.starts_with("Authorization hmac:1:"), "{out:?}");
    // The rest of a secret that was cut at a line end.
    let out = flawed(
        &[("Authorization", "Bearer abc"), ("secretrest", ""), ("  more", "of it"), ("Accept", "*/*")],
        malformed,
        None,
    );
    assert!(!format!("{out:?}").contains("secretrest") && !format!("{out:?}").contains("of it"), "{out:?}");
    assert_eq!(out[3], ("Accept".into(), "*/*".into()));
    // Names with nothing behind them stay, where they look like names.
    assert_eq!(flawed(&[("Transfer-Encoding", "")], malformed, None)[0].0, "Transfer-Encoding");
    assert_eq!(
        flawed(&[("Transfer-Encoding ", "chunked")], malformed, None)[0],
        ("Transfer-Encoding ".into(), "chunked".into())
    );
}

#[test]
fn a_cut_head_hides_its_last_value() {
    let given = [("Accept", "*/*"), ("X-Some", "eyJhbGciOiJI")];
    let out = flawed(&given, None, Some(IncompleteReason::Truncated));
    assert_eq!((out[0].1.as_str(), &out[1].1), ("*/*", &fp("eyJhbGciOiJI")));
    let out = flawed(&given, None, Some(IncompleteReason::Gap));
    assert_eq!(out[1].1, fp("eyJhbGciOiJI"));
    assert_eq!(flawed(&[("Accept", "*/*")], None, Some(IncompleteReason::Gap))[0].1, "*/*");
    let mut raw = raw(Some(message(("GET", "/a/b?x=eyJhbGciOiJI"), &[])), None);
    raw.incomplete.push(Incomplete { reason: IncompleteReason::Truncated, side: Side::Request, at: None });
    let t = redactor().redact(raw);
    assert!(!t.facts().request.as_ref().unwrap().text.windows(5).any(|w| w == b"eyJhb"));
}

#[test]
fn look_alikes_stay_readable() {
    for (name, value) in [
        ("Idempotency-Key", "0b8a7c4e-6c2b-4f0e-9a53-0c1d2e3f4a5b"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("X-Consumer-Username", "alice"),
        ("X-Credential-Identifier", "alice-key"),
        ("X-Request-Id", "0b8a7c4e-6c2b-4f0e-9a53-0c1d2e3f4a5b"),
        ("ETag", "W/\"5d41402abc4b2a76b9719d911017c592\""),
        ("If-None-Match", "\"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\""),
        ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        (
            "User-Agent",
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36",
        ),
        ("sec-ch-ua", "\"Chromium\";v=\"130\", \"Not?A_Brand\";v=\"99\""),
        ("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
        ("Access-Control-Allow-Headers", "Authorization, X-Api-Key, token"),
        ("Vary", "Cookie, Authorization"),
        ("Date", "Tue, 24 Nov 2026 18:36:51 GMT"),
        ("Server-Timing", "total;dur=1732473411123"),
        ("X-Timestamp", "1732473411123456789"),
        ("From", "joe@example.com"),
        ("X-Contact", "mailto:joe@example.com"),
        ("X-Timezone", "Asia/Tokyo"),
        ("Keep-Alive", "timeout=5, max=100"),
        ("Content-Disposition", "attachment; filename=\"monkeys.txt\""),
        ("Strict-Transport-Security", "max-age=31536000; includeSubDomains"),
        ("Origin", "https://example.com:8443"),
        ("X-Cache-Key", "/a/b?c=d"),
        ("Content-Security-Policy", "default-src 'self'; img-src https://cdn.example.com data:"),
        ("NEL", "{\"success_fraction\":0,\"report_to\":\"cf-nel\",\"max_age\":604800}"),
        ("Accept-Language", "de-DE,de;q=0.9,en;q=0.8"),
    ] {
        assert_eq!(line(name, value), value, "{name}");
    }
}

#[test]
fn features_are_taken_before_redaction() {
    let basic = "YWxpY2U6czNjcjN0"; // alice:s3cr3t
    let t = redactor().redact(raw(
        Some(message(
            ("GET", "/a?q=%27%20or%201=1&f=../../etc/passwd"),
            &[
                ("Authorization", &format!("Bearer {JWT}")),
                ("Proxy-Authorization", &format!("Basic {basic}")),
                ("X-Api-Key", GITHUB),
                ("User-Agent", "${jndi:ldap://x/a}"),
            ],
        )),
        None,
    ));
    let f = t.features();
    assert_eq!(f.jwt.len(), 1);
    assert_eq!((f.jwt[0].place.name.as_str(), f.jwt[0].alg.as_deref()), ("Authorization", Some("HS256")));
    assert_eq!((f.jwt[0].kid, f.jwt[0].expires_unix_s), (Some(KidClass::Number), Some(1764009411)));
    assert_eq!(f.basic.len(), 1);
    assert_eq!(f.basic[0].user.as_deref(), Some(fp("alice").as_str()));
    assert_eq!(f.key_shape.len(), 1);
    assert_eq!(
        (f.key_shape[0].provider.as_str(), f.key_shape[0].place.name.as_str()),
        ("github", "X-Api-Key")
    );
    let classes: Vec<_> = f.patterns.iter().map(|p| (p.place.name.as_str(), p.class.as_str())).collect();
    for hit in
        [("target", "sqli"), ("target", "path_traversal"), ("User-Agent", "jndi"), ("Authorization", "jwt")]
    {
        assert!(classes.contains(&hit), "{hit:?} in {classes:?}");
    }
    // Attacks stay readable.
    assert!(t.facts().request.as_ref().unwrap().target().unwrap().ends_with(b"../../etc/passwd"));
}

#[test]
fn attacks_are_told_from_ordinary_text() {
    let classes = |target: &str| {
        let t = redactor().redact(raw(Some(message(("GET", target), &[])), None));
        t.features().patterns.iter().map(|p| p.class.clone()).collect::<Vec<_>>()
    };
    for (target, class) in [
        ("/a?q=1+UNION+ALL+SELECT+1", "sqli"),
        ("/a?q=<script>alert(1)</script>", "xss"),
        ("/a?q=%3Cscript%3E", "xss"),
        ("/..%2f..%2fetc", "path_traversal"),
        ("/a?q=%24%7Bjndi:ldap://x%7D", "jndi"),
        ("/a?q={{7*7}}", "template_injection"),
        ("/a?q=1;cat%20/x", "command_injection"),
        ("/a?q=x%0d%0aSet-Cookie:y", "crlf_injection"),
    ] {
        assert!(classes(target).iter().any(|c| c == class), "{target}: {:?}", classes(target));
    }
    for target in [
        "/",
        "/api/v1/users/42?page=2",
        "/union/station?select=all",
        "/o'reilly?x=(a)",
        "/search?q=salt+and+pepper",
    ] {
        assert!(classes(target).is_empty(), "{target}: {:?}", classes(target));
    }
}

#[test]
fn nothing_found_is_nothing_allocated() {
    let t = redactor().redact(raw(Some(message(("GET", "/a"), &[("Host", "h"), ("Accept", "*/*")])), None));
    assert!(t.features().is_empty() && t.redacted().is_empty());
    assert_eq!((t.features().patterns.capacity(), t.redacted.capacity()), (0, 0));
}

#[test]
fn bytes_between_spans_do_not_come_along() {
    let mut m = message(("GET", "/a"), &[("Host", "h")]);
    m.text.extend_from_slice(b"left over s3cr3t");
    let t = redactor().redact(raw(Some(m), None));
    assert_eq!(t.facts().request.as_ref().unwrap().text, b"GET/aHosth");
}

#[test]
fn a_policy_that_hides_all_hides_all() {
    let mut r = Redactor::new(FingerprintKey { id: 1, secret: [7; 32] }, Policy::hide_all());
    let t = r.redact(raw(Some(message(("GET", "/a?x=1"), &[("Host", "h"), ("Accept", "*/*")])), None));
    let out = lines(t.facts().request.as_ref().unwrap());
    assert_eq!((&out[0].1, &out[1].1), (&fp("h"), &fp("*/*")));
}

#[test]
fn added_patterns_hold_in_short_values() {
    let patterns = vec![
        ValuePattern {
            class: "staff_id".into(),
            regex: "\\bE[0-9]{5}\\b".into(),
            literals: vec!["e0".into(), "e1".into()],
        },
        ValuePattern { class: "desk".into(), regex: "desk([0-9]+)".into(), literals: vec!["desk".into()] },
        ValuePattern { class: "room".into(), regex: "^r([0-9]+)$".into(), literals: Vec::new() },
    ];
    let policy = Policy::with(&Settings { patterns, ..Settings::default() }).unwrap();
    let mut r = Redactor::new(FingerprintKey { id: 1, secret: [7; 32] }, policy);
    let given = [("A", "E01234"), ("B", "desk77"), ("C", "E9"), ("D", "r5")];
    let t = r.redact(raw(Some(message(("GET", "/"), &given)), None));
    let out: Vec<_> = lines(t.facts().request.as_ref().unwrap()).into_iter().map(|(_, v)| v).collect();
    assert_eq!(out, [fp("E01234"), format!("desk{}", fp("77")), "E9".into(), format!("r{}", fp("5"))]);
    assert_eq!(t.features().patterns[0].class, "staff_id");
}

#[path = "mode_tests.rs"]
mod modes;
