//! Rules by example; what holds for all settings and transactions, as properties.

use proptest::prelude::*;

use super::*;
use crate::event::ConnectionId;
use crate::fixture::{self, Lines as Pairs};
use crate::transaction::{Incomplete, IncompleteReason, Side};

const KEY: SampleKey = SampleKey([9; 16]);

fn volume(settings: &str) -> Volume {
    Volume::new(toml::from_str(settings).unwrap(), KEY).unwrap()
}

fn raw(method: &[u8], target: &[u8], lines: Pairs, status: u16) -> RawTransaction {
    let request = fixture::request(method, target, lines, &[]);
    fixture::transaction(Some(request), Some(fixture::response(status, b"", &[], &[]))).inner
}

fn get(target: &str) -> RawTransaction {
    let lines: Pairs = &[(b"Host", b"Shop.example:8080"), (b"User-Agent", b"Mozilla/5.0 (X11) curl/8")];
    raw(b"GET", target.as_bytes(), lines, 200)
}

/// What becomes of it, in words.
#[track_caller]
fn fate(volume: &Volume, raw: &RawTransaction) -> String {
    match volume.decide(raw) {
        Verdict::Keep(rate) => format!("keep {rate}"),
        Verdict::Drop(reason) => volume.reasons()[reason.index()].clone(),
    }
}

/// Whether a drop rule with this one condition matches.
#[track_caller]
fn hits(condition: &str, raw: &RawTransaction) -> bool {
    fate(&volume(&format!("[[drop]]\n{condition}")), raw) == "drop_rule_1"
}

#[test]
fn without_settings_all_is_kept() {
    let volume = volume("");
    assert!(volume.passive);
    assert_eq!(fate(&volume, &get("/")), "keep 1");
    assert_eq!(fate(&volume, &fixture::transaction(None, None).inner), "keep 1");
}

#[test]
fn paths() {
    for (pattern, target, hit) in [
        ("/a", "/a", true),
        ("/a", "/a?b=/c", true),
        ("/a", "/ab", false),
        ("/a", "/A", false),
        ("/a*", "/ab/c", true),
        ("/a/*/c", "/a/b/c", true),
        ("/a/*/c", "/a//c", true),
        ("/a/*/c", "/a/c", false),
        ("*.css", "/x/y.css?v=1", true),
        ("*.css", "/x.css/y", false),
        ("/*a*b*", "/xaxbx", true),
        ("/*a*b*", "/xbxax", false),
        ("/a**b", "/ab", true),
        ("/aa*aa", "/aaa", false),
        ("*", "/", true),
        ("/", "http://h", true),
        ("/a", "http://h:80/a?q", true),
        ("/a", "/b?http://h/a", false),
        ("*", "*", true),
    ] {
        assert_eq!(hits(&format!("path = {pattern:?}"), &get(target)), hit, "{pattern} {target}");
    }
}

#[test]
fn hosts() {
    for (pattern, hit) in
        [("shop.example", true), ("SHOP.*", true), ("*.example", true), ("example", false), ("*", true)]
    {
        assert_eq!(hits(&format!("host = {pattern:?}"), &get("/")), hit, "{pattern}");
    }
    // An absolute form overrides the line (RFC 9112, 3.2.2).
    assert!(hits("host = 'other'", &get("http://u:p@other:1/x")));
    assert!(!hits("host = 'shop.example'", &get("http://other/x")));
    let v6 = raw(b"GET", b"/", &[(b"host", b"[::1]:80")], 200);
    assert!(hits("host = '[::1]'", &v6));
    assert!(!hits("host = '*'", &raw(b"GET", b"/", &[], 200)));
}

#[test]
fn other_conditions() {
    let t = get("/");
    for (condition, hit) in [
        ("method = 'GET'", true),
        ("method = ['HEAD', 'GET']", true),
        ("method = 'get'", false),
        ("status = 200", true),
        ("status = '2xx'", true),
        ("status = ['500-599', '100-200']", true),
        ("status = '3xx'", false),
        ("client = '127.0.0.0/8'", true),
        ("client = ['::/0', '10.0.0.0/8']", false),
        ("user_agent = 'CURL'", true),
        ("user_agent = 'curl/9'", false),
        ("header = 'user-agent'", true),
        ("header = 'Host: Shop.example:8080'", true),
        ("header = 'Host: shop'", false),
        ("header = 'X-Absent'", false),
        ("method = 'GET'\nstatus = 200\npath = '/'", true),
        ("method = 'GET'\nstatus = 404\npath = '/'", false),
    ] {
        assert_eq!(hits(condition, &t), hit, "{condition}");
    }
}

#[test]
fn what_was_not_seen_matches_nothing() {
    let nothing = fixture::transaction(None, None).inner;
    for condition in [
        "path = '*'",
        "host = '*'",
        "status = '100-999'",
        "method = 'GET'",
        "user_agent = 'a'",
        "header = 'a'",
    ] {
        assert!(!hits(condition, &nothing), "{condition}");
    }
}

#[test]
fn the_first_keep_rule_wins() {
    let volume = volume(
        "sample = 0\n[[keep]]\npath = '/static/logo*'\n[[keep]]\npath = '/static/*'\nsample = 0\n\
         [[drop]]\npath = '/static/*'\n[[drop]]\npath = '/tmp*'",
    );
    assert_eq!(fate(&volume, &get("/static/logo.png")), "keep 1");
    assert_eq!(fate(&volume, &get("/static/x")), "keep_rule_2_sample");
    assert_eq!(fate(&volume, &get("/tmp")), "drop_rule_2");
    assert_eq!(fate(&volume, &get("/")), "sample");
}

#[test]
fn answered_health_checks_are_told_from_others() {
    let volume = volume("health_checks = 'drop'");
    let check = "health_check";
    let agent = |agent: &'static [u8], status| raw(b"POST", b"/x", &[(b"user-agent", agent)], status);
    for name in AGENTS {
        assert_eq!(fate(&volume, &agent(name.as_bytes(), 200)), check, "{name}");
    }
    for path in PATHS {
        assert_eq!(fate(&volume, &get(path)), check, "{path}");
        assert_eq!(fate(&volume, &get(&format!("{path}?verbose"))), check, "{path}");
    }
    let mut envoy = get("/x");
    envoy.response =
        Some(fixture::response(200, b"", &[(b"X-Envoy-Upstream-Healthchecked-Cluster", b"c")], &[]));
    assert_eq!(fate(&volume, &envoy), check);
    // Whoever fails, asks in another way, or says the words elsewhere, is kept.
    assert_eq!(fate(&volume, &agent(b"kube-probe/1.30", 503)), "keep 1");
    assert_eq!(fate(&volume, &agent(b"not a kube-probe/", 200)), "keep 1");
    assert_eq!(fate(&volume, &raw(b"POST", b"/health", &[], 200)), "keep 1");
    assert_eq!(fate(&volume, &get("/health/x")), "keep 1");
    let mut cut = get("/healthz");
    cut.incomplete.push(Incomplete { reason: IncompleteReason::Gap, side: Side::Response, at: None });
    assert_eq!(fate(&volume, &cut), "keep 1");
    cut.incomplete.clear();
    cut.response = None;
    assert_eq!(fate(&volume, &cut), "keep 1");
    let sampled = super::tests::volume("health_checks = 'sample'\nhealth_check_sample = 0");
    assert_eq!(fate(&sampled, &get("/healthz")), "health_check_sample");
}

#[test]
fn failures_can_be_kept_from_sampling() {
    let mut failure = raw(b"GET", b"/", &[], 500);
    let volume = |keep: bool| volume(&format!("sample = 0\nsample_keep_errors = {keep}"));
    assert_eq!(fate(&volume(false), &failure), "sample");
    assert_eq!(fate(&volume(true), &failure), "keep 1");
    assert_eq!(fate(&volume(true), &raw(b"GET", b"/", &[], 499)), "sample");
    failure.response = None;
    assert_eq!(fate(&volume(true), &failure), "keep 1");
}

#[test]
fn the_start_of_a_long_call_is_no_failure() {
    let volume = volume("sample = 0\nsample_keep_errors = true");
    let mut poll = get("/");
    poll.response = None;
    assert_eq!(fate(&volume, &poll), "keep 1");
    poll.phase = crate::transaction::Phase::Start;
    assert_eq!(fate(&volume, &poll), "sample");
    poll.response = raw(b"GET", b"/", &[], 500).response;
    assert_eq!(fate(&volume, &poll), "keep 1");
}

#[test]
fn lines_are_left_out_with_their_text() {
    let volume = volume("[headers]\nallow = ['X-*', 'host', 'user-agent']\ndeny = ['x-secret']");
    let lines: Pairs = &[(b"Host", b"h"), (b"Cookie", b"gone"), (b"X-A", b"1"), (b"x-SECRET", b"gone")];
    let request = fixture::request(b"GET", b"/p", lines, &[(b"Gone", b"gone"), (b"X-T", b"2")]);
    let mut t =
        fixture::transaction(Some(request), Some(fixture::response(200, b"OK", &[(b"A", b"b")], &[])));
    t.inner.interim.push(fixture::response(100, b"", &[(b"Link", b"gone")], &[]));
    volume.shape(&mut t, Rate::ALL);
    assert_eq!(t.lines_left_out(), LeftOut { request: 3, response: 2 });
    let request = t.facts().request.as_ref().unwrap();
    assert_eq!(request.text, b"GET/pHosthX-A1X-T2");
    assert_eq!((request.method(), request.target()), (Some(&b"GET"[..]), Some(&b"/p"[..])));
    let left: Vec<_> = request.lines().chain(request.trailers()).map(|(name, _)| name).collect();
    assert_eq!(left, [&b"Host"[..], b"X-A", b"X-T"]);
    assert_eq!(t.facts().response.as_ref().unwrap().text, b"OK");
}

#[test]
fn wrong_settings_are_named() {
    for (settings, part) in [
        ("[[drop]]\n", "drop rule 1 names nothing"),
        ("[[keep]]\nsample = 0.5", "keep rule 1 names nothing"),
        ("[[drop]]\npath='/'\nsample = 0.5", "drop rule 1 has a rate"),
    ] {
        let error = Volume::new(toml::from_str(settings).unwrap(), KEY).err().unwrap().to_string();
        assert!(error.contains(part), "{error}");
    }
    let many =
        Settings { drop: vec![toml::from_str("path = '/'").unwrap(); RULES_MAX + 1], ..Settings::default() };
    assert_eq!(Volume::new(many, KEY).err(), Some(SettingsError::TooManyRules));
    for (settings, part) in [
        ("[[drop]]\npath = 'a'", "no path"),
        ("[[drop]]\npath = '/a?b'", "no path"),
        ("[[drop]]\npath = ''", "empty"),
        ("[[drop]]\nhost = 'http://a'", "no host"),
        ("[[drop]]\nhost = 'a:80'", "no host"),
        ("[[drop]]\nstatus = 1000", "no status"),
        ("[[drop]]\nstatus = '0xx'", "no status"),
        ("[[drop]]\nstatus = ['+20']", "no status"),
        ("[[drop]]\nstatus = '500-400'", "no status"),
        ("[[drop]]\nclient = '10.0.0.1/8'", "bits behind"),
        ("[[drop]]\nclient = '10.0.0.0/33'", "no network"),
        ("[[drop]]\nclient = '::ffff:10.0.0.0/104'", "no network"),
        ("[[drop]]\nheader = 'a b'", "no header"),
        ("[[drop]]\nheader = ': v'", "no header"),
        ("[[drop]]\npaht = '/'", "unknown field"),
        ("sample = 1.5", "no rate"),
        ("sample = 1e-9", "no rate"),
    ] {
        let error =
            toml::from_str::<Settings>(settings).err().unwrap_or_else(|| panic!("{settings}")).to_string();
        assert!(error.contains(part), "{settings}: {error}");
    }
}

/// A glob, the plain way.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((b'*', rest)) => (0..=text.len()).any(|i| glob(rest, &text[i..])),
        Some((c, rest)) => text.first() == Some(c) && glob(rest, &text[1..]),
    }
}

fn any_settings() -> impl Strategy<Value = Settings> {
    let condition = prop::sample::select(vec![
        "path = '/a*'",
        "path = ['*b', '/c']",
        "status = '5xx'",
        "status = 200",
        "method = 'GET'",
        "client = '127.0.0.0/8'",
        "host = '*'",
        "header = 'X-A'",
    ]);
    let rate = || prop::sample::select(vec!["0", "0.25", "0.5", "1"]);
    let keep = prop::collection::vec((condition.clone(), rate()), 0..3);
    let health = prop::sample::select(vec!["keep", "drop", "sample"]);
    (keep, prop::collection::vec(condition, 0..3), health, rate(), any::<bool>()).prop_map(
        |(keep, drop, health, rate, errors)| {
            let mut text = format!(
                "sample = {rate}\nsample_keep_errors = {errors}\nhealth_checks = '{health}'\nhealth_check_sample = 0.5\n"
            );
            for (condition, rate) in keep {
                text += &format!("[[keep]]\n{condition}\nsample = {rate}\n");
            }
            for condition in drop {
                text += &format!("[[drop]]\n{condition}\n");
            }
            toml::from_str(&text).unwrap()
        },
    )
}

fn any_transaction() -> impl Strategy<Value = RawTransaction> {
    let target = prop::sample::select(vec!["/a/b", "/c", "/healthz", "/x", "http://h/ab", "*", "%", "://"]);
    let status = prop::sample::select(vec![200, 301, 404, 500, 503]);
    (target, status, 0u64..20, 0u8..8).prop_map(|(target, status, id, missing)| {
        let mut t = raw(b"GET", target.as_bytes(), &[(b"X-A", b"1"), (b"Host", b"h:1")], status);
        t.connection = ConnectionId(id);
        if missing == 0 {
            t.response = None;
        } else if missing == 1 {
            t.request = None;
        }
        t
    })
}

proptest! {
    #[test]
    fn a_glob_matches_as_the_plain_way(pattern in "/[ab*]{0,6}", text in "/[ab]{0,8}") {
        let ours: Glob = pattern.parse().unwrap();
        prop_assert_eq!(ours.matches(text.as_bytes()), glob(pattern.as_bytes(), text.as_bytes()));
    }

    #[test]
    fn a_word_is_found_without_regard_to_case(word in "[abAB]{1,3}", text in "[abAB]{0,8}") {
        let ours: Word = word.parse().unwrap();
        let plain = text.to_ascii_lowercase().contains(&word.to_ascii_lowercase());
        prop_assert_eq!(ours.is_in(text.as_bytes()), plain);
    }

    #[test]
    fn counts_balance(settings in any_settings(), all in prop::collection::vec(any_transaction(), 0..60)) {
        let volume = Volume::new(settings, KEY).unwrap();
        let mut counts = Counts::new(&volume);
        let mut kept = 0;
        for t in &all {
            let verdict = volume.decide(t);
            counts.add(verdict);
            kept += u64::from(matches!(verdict, Verdict::Keep(_)));
            if let Verdict::Drop(reason) = verdict {
                prop_assert!(reason.index() < volume.reasons().len());
            }
        }
        prop_assert_eq!(counts.seen(), all.len() as u64);
        prop_assert_eq!(counts.kept(), kept);
    }

    #[test]
    fn a_connection_shares_its_fate(rate in 0.01f64..0.99, key: [u8; 16], id: u64, all in prop::collection::vec(any_transaction(), 2..10)) {
        let settings = Settings { sample: Rate::new(rate).unwrap(), ..Settings::default() };
        let volume = Volume::new(settings, SampleKey(key)).unwrap();
        let fates = all.into_iter().map(|mut t| { t.connection = ConnectionId(id); volume.decide(&t) });
        let fates: Vec<_> = fates.collect();
        prop_assert!(fates.iter().all(|fate| *fate == fates[0]));
    }

    #[test]
    fn a_higher_rate_keeps_what_a_lower_one_keeps(a in 0.01f64..1.0, b in 0.01f64..1.0, id: u64) {
        let volume = |rate: f64| {
            let settings = Settings { sample: Rate::new(rate).unwrap(), ..Settings::default() };
            Volume::new(settings, KEY).unwrap()
        };
        let mut t = get("/");
        t.connection = ConnectionId(id);
        if matches!(volume(a.min(b)).decide(&t), Verdict::Keep(_)) {
            prop_assert!(matches!(volume(a.max(b)).decide(&t), Verdict::Keep(_)));
        }
    }

    #[test]
    fn any_target_and_host_are_taken(target: Vec<u8>, host: Vec<u8>) {
        let volume = volume("health_checks = 'drop'\n[[drop]]\npath = '*x*y'\nhost = '*a*'\nuser_agent = 'zz'");
        let _ = volume.decide(&raw(b"GET", &target, &[(b"Host", &host), (b"User-Agent", &host)], 200));
    }
}
