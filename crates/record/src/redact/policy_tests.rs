use super::*;
use crate::redact::ValuePattern;

#[test]
fn the_compiled_in_list_can_be_read() {
    let policy = Policy::with(&Settings::default()).unwrap();
    assert!(!policy.hide_all && !Policy::default().hide_all);
    assert!(policy.patterns.len() > 30);
}

/// Settings as they stand in a config.
fn settings(text: &str) -> Settings {
    toml::from_str(text).unwrap()
}

fn with(text: &str) -> Policy {
    Policy::with(&settings(text)).unwrap()
}

#[test]
fn a_wrong_list_is_an_error() {
    let none = Settings::default();
    assert!(matches!(Policy::build("x = 1", &none), Err(PolicyError::Syntax(_))));
    let list = DEFAULT.replacen("literals = [\"akia", "literals = []#", 1);
    assert!(Policy::build(&list, &none).is_ok(), "nothing was replaced");
    let list = DEFAULT.replacen("literals = [\"a3t\", ", "literals = []#", 1);
    let error = Policy::build(&list, &none).err().unwrap();
    assert!(error.path().unwrap().starts_with("values[") && error.path().unwrap().ends_with("].literals"));
}

#[test]
fn a_wrong_setting_is_named_by_its_path() {
    for (text, path) in [
        ("secrets = 'keep'", "privacy.secrets"),
        ("headers.keep = ['A', 'B C']", "privacy.headers.keep[1]"),
        ("query.drop = ['']", "privacy.query.drop[0]"),
        ("cookies.mask = ['a*b']", "privacy.cookies.mask[0]"),
        ("headers.keep = ['X-A']\nheaders.drop = ['y', 'x_a']", "privacy.headers.drop[1]"),
        ("allow = ['Host', 'Accept:']", "privacy.allow[1]"),
        (
            "patterns = [{class='a',regex='b',literals=['b']},{class='a',regex='b'},{class='a',regex='('}]",
            "privacy.patterns[2].regex",
        ),
        ("patterns = [{class='a b',regex='b'}]", "privacy.patterns[0].class"),
        ("patterns = [{class='a',regex='b*'}]", "privacy.patterns[0].regex"),
        ("patterns = [{class='a',regex='b',literals=['b','']}]", "privacy.patterns[0].literals[1]"),
    ] {
        let error = Policy::with(&settings(text)).err().unwrap();
        assert_eq!(error.path(), Some(path), "{text}: {error}");
        assert!(error.to_string().starts_with(path), "{error}");
    }
    let pattern = ValuePattern { class: "x".into(), regex: "xyz".into(), literals: vec!["xyz".into()] };
    let many = Settings { patterns: vec![pattern; PATTERNS_MAX], ..Settings::default() };
    let error = Policy::with(&many).err().unwrap();
    assert!(matches!(error, PolicyError::Setting { problem: Problem::TooManyPatterns, .. }), "{error}");
    let many = Settings { allow: vec!["x".into(); NAMES_MAX + 1], ..Settings::default() };
    assert_eq!(Policy::with(&many).err().unwrap().path(), Some("privacy.allow"));
    assert!(toml::from_str::<Settings>("header.keep = ['x']").is_err(), "an unknown key");
}

#[test]
fn names_of_secrets() {
    let policy = Policy::default();
    for name in [
        "AUTHORIZATION",
        "X-Api-Key",
        "x_api_key",
        "X-My-Auth",
        "X-Foo-Token",
        "fooToken",
        "X-User-Password",
        "langfuse-anything",
        "X-Foo.Session",
        "X-Custom-Key",
        "X-Login-OTP",
        "Authorization ",
        "X-MyApp-AccessKey",
    ] {
        assert_eq!(policy.header(name.as_bytes()).class, Class::Secret, "{name}");
    }
    for name in [
        "Idempotency-Key",
        "Sec-WebSocket-Key",
        "X-Consumer-Username",
        "X-Request-Id",
        "ETag",
        "If-None-Match",
        "Author",
        "Sec-Fetch-Site",
        "X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id",
        "Traceparent",
        "Accept",
        "Cache-Control",
        "Keep-Alive",
        "X-Pinned",
        "Content-Type",
        "Access-Control-Allow-Credentials",
        "User-Agent",
        "Design",
        "X-Monkeys",
        "Sec-WebSocket-Accept",
        "X-Amz-Cf-Id",
        "Last-Event-Id",
    ] {
        assert_eq!(policy.header(name.as_bytes()).class, Class::Plain, "{name}");
    }
}

#[test]
fn keys_of_secrets() {
    let policy = Policy::default();
    for key in
        ["token", "X-Amz-Signature", "access_token", "accessToken", "user[password]", "client_secret", "sig"]
    {
        assert_eq!(policy.query_key(key.as_bytes()), Key::Secret, "{key}");
    }
    for key in ["q", "page", "sort_key", "client_id", "X-Amz-Date", "id", "", "monkeys", "design"] {
        assert_eq!(policy.query_key(key.as_bytes()), Key::Plain, "{key}");
    }
}

#[test]
fn a_user_has_the_last_word() {
    let policy = with(
        "headers.keep = ['X-Session-Id', 'X-Corp-Trace']\nheaders.mask = ['X-Corp-*']\nheaders.drop = ['X-Amz-Cf-Id']\n\
         query.keep = ['state', 'access_token']\ncookies.keep = ['Lang']\ncookies.drop = ['sid*']",
    );
    let header = |name: &str| {
        let rule = policy.header(name.as_bytes());
        (rule.class, rule.mode)
    };
    assert_eq!(header("x_session_id"), (Class::Kept, Mode::Keep));
    assert_eq!(header("x-amz-cf-id"), (Class::Secret, Mode::Drop));
    assert_eq!(header("X-Corp-Anything"), (Class::Secret, Mode::Mask));
    assert_eq!(header("X-Corp-Trace"), (Class::Kept, Mode::Keep));
    assert_eq!(header("Authorization"), (Class::Secret, Mode::Fingerprint));
    assert_eq!(policy.query_key(b"state"), Key::Named(Mode::Keep));
    assert_eq!(policy.query_key(b"accessToken"), Key::Named(Mode::Keep));
    assert_eq!(policy.query_key(b"token"), Key::Secret);
    assert_eq!(policy.cookie(b"LANG"), Mode::Keep);
    assert_eq!(policy.cookie(b"SID_1"), Mode::Drop);
    assert_eq!(policy.cookie(b"other"), Mode::Fingerprint);
}

#[test]
fn what_is_taken_away_is_loud() {
    assert!(Policy::default().loud().is_empty());
    let policy = with(
        "addresses = 'truncate'\nheaders.keep = ['Authorization', 'X-Note', 'X-*', 'X-Real-IP']\n\
         headers.drop = ['Cookie']\nquery.keep = ['token', 'q']\ncookies.keep = ['lang']",
    );
    assert_eq!(
        policy.loud(),
        [
            "privacy.cookies.keep lang: a secret is kept",
            "privacy.headers.keep authorization: a secret is kept",
            "privacy.headers.keep x-*: all names that begin so are kept, secrets too",
            "privacy.headers.keep x-note: value patterns no longer hold",
            "privacy.headers.keep x-real-ip: client addresses are kept",
            "privacy.query.keep q: value patterns no longer hold",
            "privacy.query.keep token: a secret is kept",
        ]
    );
}

#[test]
fn a_policy_is_described_and_hashed() {
    let policy = Policy::default();
    assert_eq!(
        policy.describe(),
        format!("secrets fingerprint, target keep, addresses keep; policy {}", policy.id())
    );
    let a = with("headers.drop = ['A', 'b']\nallow = ['c', 'd']\npatterns = [{class='a',regex='b'}]");
    let b = with("headers.drop = ['B', 'a', 'A']\nallow = ['D', 'c']\npatterns = [{class='a',regex='b'}]");
    assert_eq!(a.id(), b.id());
    assert_eq!(
        a.describe(),
        format!(
            "secrets fingerprint, target keep, addresses keep, 2 named to drop, 2 lines allowed, 1 patterns added; policy {}",
            a.id()
        )
    );
    let ids = [
        "",
        "secrets = 'mask'",
        "target = 'mask'",
        "addresses = 'truncate'",
        "headers.drop = ['a']",
        "headers.mask = ['a']",
        "query.drop = ['a']",
        "cookies.drop = ['a']",
        "allow = ['a']",
        "patterns = [{class='a',regex='b'}]",
        "patterns = [{class='a',regex='b',literals=['b']}]",
    ]
    .map(|text| with(text).id().to_owned());
    let distinct: std::collections::HashSet<_> = ids.iter().collect();
    assert_eq!(distinct.len(), ids.len());
}
