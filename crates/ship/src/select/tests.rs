//! What a user meets who writes a query well, badly, or with ill will.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

const DOCUMENT: &[u8] = br#"{"@timestamp":"2026-11-24T18:36:51.123456789Z","event":{"dataset":"headtrail.transaction","duration":1500,"category":["network","web"]},
"source":{"ip":"10.1.2.3","port":51234},"destination":{"ip":"2001:db8::7","port":9080},"related":{"ip":["10.1.2.3","2001:db8::7"]},
"http":{"request":{"method":"POST","headers":{"x-tenant":["a","b c"],"x.dotted":["d"],"content-length":["52"]}},"response":{"status_code":503}},
"url":{"path":"/api/v1/t\u00e4st","query":"","original":"/api/v1/t\u00e4st"},"headtrail":{"request":{"latin1":false},"process":null}}"#;

#[track_caller]
fn query(text: &str) -> Query {
    Query::parse(text).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn a_document_is_found_by_what_it_says() {
    for (text, expected) in [
        ("http.request.method:POST", true),
        ("http.request.method:post", false),
        ("event.category:web", true),
        ("http.response.status_code:503", true),
        ("http.response.status_code:[500 TO 599]", true),
        ("http.response.status_code:{503 TO *}", false),
        ("http.response.status_code:[* TO 503}", false),
        ("http.response.status_code:>=503", true),
        ("http.response.status_code:>503", false),
        ("http.response.status_code:(>=500 AND <600)", true),
        ("http.response.status_code:(404 OR 503)", true),
        ("http.response.status_code:(404 503)", true),
        ("http.response.status_code:404 http.request.method:POST", true),
        ("source.ip:10.0.0.0/8", true),
        ("source.ip:10.1.2.3", true),
        ("source.ip:\"::ffff:10.1.2.3\"", true),
        ("source.ip:[10.1.2.0 TO 10.1.2.3}", false),
        ("destination.ip:\"2001:db8::/32\"", true),
        ("destination.ip:2001\\:db8\\:0\\:\\:7", true),
        ("destination.ip:0.0.0.0/0", false),
        ("related.ip:10.1.2.3 AND related.ip:\"2001:db8::7\"", true),
        ("url.path:/api/*", true),
        ("url.path:\\/api\\/*", true),
        ("url.path:\"/api/*\"", false),
        ("url.path:/api/v?/t?st", true),
        ("url.path:*/v1/*", true),
        ("url.path:*/v?/*", true),
        ("url.path:*t?st", true),
        ("url.path:*v?st", false),
        ("url.path:[/a TO /b]", true),
        ("url.query:\"\"", true),
        ("url.query:*", true),
        ("headtrail.request.latin1:false", true),
        ("process.name:*", false),
        ("NOT process.name:*", true),
        ("!process.name:x", true),
        ("http.request.headers.x-tenant:\"b c\"", true),
        ("http.request.headers.x-tenant:b\\ c", true),
        ("http.request.headers.x.dotted:d", true),
        ("http.request.headers.content-length:52", true),
        ("http.request.headers:d", true),
        ("http.request.headers:e", false),
        ("http.request.headers.y:*", false),
        ("@timestamp:2026-11-24", true),
        ("@timestamp:2026", true),
        ("@timestamp:>2026-11-24", false),
        ("@timestamp:>=2026-11-24", true),
        ("@timestamp:<=2026-11", true),
        ("@timestamp:[2026-11-24T18:36:51 TO 2026-11-24T18:36:51.123}", false),
        ("@timestamp:[2026-11-24T19:36:51.123+01:00 TO 2026-11-24T18:36:51.123456789Z]", true),
        ("(event.duration:1500 AND (NOT source.port:1)) || source.port:2", true),
        ("event.duration:1 AND source.port:51234 OR http.request.method:POST", true),
        ("http.request.method:POST OR event.duration:1 && source.port:1", true),
    ] {
        assert_eq!(query(text).matches(DOCUMENT), expected, "{text}");
    }
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    for (text, at, what) in [
        ("", 0, "a term is missing here"),
        ("  ", 2, "a term is missing here"),
        ("GET", 0, "each term names its field"),
        ("\"GET\"", 0, "each term names its field"),
        ("url.path:/a b", 12, "each term names its field"),
        ("status:500", 0, "there is no field 'status'"),
        ("status_code:500", 0, "did you mean 'http.response.status_code'?"),
        ("path:/a", 0, "did you mean 'url.path'?"),
        (
            "htp.request.method:GET",
            0,
            "there is no field 'htp.request.method'; did you mean 'http.request.method'?",
        ),
        ("zzzz:1", 0, "there is no field 'zzzz'"),
        ("*:*", 0, "no wildcards can be in the name of a field"),
        ("_exists_:source.ip", 0, "_exists_ is written FIELD:* here"),
        (":a", 0, "the name of a field is missing"),
        ("url.path:", 9, "a value is missing here"),
        ("url.path: AND a", 10, "AND is an operator"),
        ("http.request.headers.X-A:a", 0, "lower case here: 'http.request.headers.x-a'"),
        ("source.ip:2001:db8::1", 14, "is no address"),
        ("url.path:a:b", 10, "a : in a value is written \\:"),
        ("url.path:a AND", 14, "a term is missing here"),
        ("AND url.path:a", 0, "a term is missing before this operator"),
        ("url.path:a AND OR url.path:b", 15, "a term is missing before this operator"),
        ("url.path:a NOT url.path:b", 11, "write AND NOT, or OR NOT"),
        ("url.path:a !url.path:b", 11, "write AND NOT, or OR NOT"),
        ("url.path:a url.path:b AND url.path:c", 11, "beside AND, write AND or OR"),
        ("+url.path:a", 0, "the sign + is not in this version"),
        ("(url.path:a", 0, "there is no ) for this ("),
        ("url.path:a)", 10, "there is no ( for this )"),
        ("url.path:(a", 9, "there is no ) for this ("),
        ("()", 1, "a term is missing here"),
        ("url.path:\"a", 9, "there is no \" that ends this"),
        ("url.path:a\\", 10, "a character is missing behind \\"),
        ("url.path:a~2", 10, "fuzziness is not in this version"),
        ("url.path:\"a\"~2", 12, "fuzziness is not in this version"),
        ("url.path:a^2", 10, "boosts are not in this version"),
        ("url.path:/a.*/", 9, "regular expressions are not in this version"),
        ("source.port:x", 12, "'x' is no whole number"),
        ("source.port:8*", 12, "wildcards are for texts"),
        ("source.port:>8*", 12, "no wildcards can be behind >"),
        ("source.port:>", 13, "a value is missing behind >"),
        ("source.port:[1 2]", 15, "TO is missing here"),
        ("source.port:[1 TO]", 15, "TO is missing here"),
        ("source.port:[1 TO ]", 18, "an end of the range is missing"),
        ("source.port:[1 TO 2", 19, "a ] or } is missing here"),
        ("source.ip:10.0.0.1/8", 10, "it has bits behind its prefix"),
        ("source.ip:10.0.0.0/33", 10, "is no address"),
        ("source.ip:10.*", 10, "wildcards are for texts"),
        ("@timestamp:>now-1d", 11, "times relative to now are not in this version"),
        ("@timestamp:2026-02-29", 11, "is no date"),
        ("@timestamp:2026-13", 11, "is no date"),
        ("headtrail.request.latin1:yes", 25, "'yes' is neither true nor false"),
        ("headtrail.request.latin1:[true TO true]", 25, "true and false have no order"),
    ] {
        let error = Query::parse(text).err().unwrap_or_else(|| panic!("{text} is taken"));
        assert!(error.message.contains(what), "{text}\n{error}\n{what}");
        // The first colon of an address of IPv6 is where it stops being one.
        if !text.contains("2001") {
            assert_eq!(error.at, at, "{text}\n{error}");
        }
    }
}

#[test]
fn the_place_is_shown_with_a_caret() {
    let told = Query::parse("url.path:a\u{202e}b OR paht:\u{e4}").unwrap_err().to_string();
    assert_eq!(
        told.lines().skip(1).collect::<Vec<_>>(),
        ["  url.path:a\\u{202e}b OR paht:\\u{e4}", "                         ^"]
    );
    let long = format!("url.path:{} paht:1", "a".repeat(500));
    let told = Query::parse(&long).unwrap_err().to_string();
    let caret = told.lines().last().unwrap().len() - 1;
    assert_eq!(told.lines().nth(1).unwrap().get(caret..caret + 4), Some("paht"), "{told}");
}

#[test]
fn queries_are_bounded() {
    let nested = |depth: usize| format!("{}url.path:a{}", "(".repeat(depth), ")".repeat(depth));
    assert!(Query::parse(&nested(DEPTH_MAX)).is_ok());
    assert!(Query::parse(&nested(DEPTH_MAX + 1)).unwrap_err().message.contains("deeper than 32"));
    let negated = |depth: usize| format!("{}url.path:a", "!".repeat(depth));
    assert!(Query::parse(&negated(DEPTH_MAX)).is_ok());
    assert!(Query::parse(&negated(DEPTH_MAX + 1)).unwrap_err().message.contains("deeper than 32"));
    let terms = |count: usize| format!("url.path:({})", vec!["a"; count].join(" "));
    assert!(Query::parse(&terms(TERMS_MAX)).is_ok());
    assert!(Query::parse(&terms(TERMS_MAX + 1)).unwrap_err().message.contains("more than 256 terms"));
    assert!(Query::parse(&"(".repeat(TEXT_BYTES_MAX)).is_err());
    assert!(Query::parse(&"a".repeat(TEXT_BYTES_MAX + 1)).unwrap_err().message.contains("at most 4096"));
}

#[test]
fn no_wildcard_makes_a_document_expensive() {
    let many = query(&format!("url.path:{}b", "*a".repeat(1000)));
    let open = query(&format!("url.path:*{}b", "?".repeat(1000)));
    let document = format!("{{\"url\":{{\"path\":\"{}\"}}}}", "a".repeat(64 << 10));
    let begin = Instant::now();
    assert!(!many.matches(document.as_bytes()) && !open.matches(document.as_bytes()));
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
}

#[test]
fn what_is_no_document_is_not_meant() {
    let all = query("NOT url.path:a");
    assert!(all.matches(b"{}"));
    for bytes in [&b""[..], b"[]", b"{", b"1", b"{\"url\":\xff}", "[".repeat(100_000).as_bytes()] {
        assert!(!all.matches(bytes));
    }
    assert!(!query("url.path:*").matches(br#"{"url":[null,{"path":[]},{"path":null},{"pathology":1},7]}"#));
    assert!(query("url.path:a").matches(br#"{"url.path":"a"}"#));
}

#[test]
fn the_examples_of_the_page_are_taken() {
    let page = include_str!("../../../../docs/query.md");
    let rows = page.lines().filter(|line| line.starts_with("| `") && line.contains(':'));
    let mut count = 0;
    for cell in rows.filter_map(|row| row.split(" | ").next()) {
        for text in cell.split('`').skip(1).step_by(2) {
            query(text);
            count += 1;
        }
    }
    assert!(count > 15, "{count}");
    for limit in [TEXT_BYTES_MAX, TERMS_MAX, DEPTH_MAX] {
        assert!(page.contains(&format!(" {limit} ")), "{limit}");
    }
}

#[test]
fn every_field_of_the_documents_can_be_asked_for() {
    for field in headtrail_record::ecs_fields::FIELDS {
        query(&format!("{}:*", field.name));
    }
}

/// A query and what it says, said a second time.
#[derive(Clone, Debug)]
enum Model {
    /// `event.category` has an entry that looks so.
    Category(String),
    /// `source.port` lies between these.
    Port(u8, u8),
    Not(Box<Model>),
    And(Box<Model>, Box<Model>),
    Or(Box<Model>, Box<Model>),
}

impl Model {
    fn text(&self) -> String {
        match self {
            Self::Category(pattern) => format!("event.category:{pattern}"),
            Self::Port(low, high) => format!("source.port:[{low} TO {high}]"),
            Self::Not(a) => format!("NOT ({})", a.text()),
            Self::And(a, b) => format!("({}) AND ({})", a.text(), b.text()),
            Self::Or(a, b) => format!("({}) OR ({})", a.text(), b.text()),
        }
    }

    fn holds(&self, categories: &[String], port: Option<u8>) -> bool {
        match self {
            Self::Category(pattern) => {
                let pattern: Vec<char> = pattern.chars().collect();
                categories.iter().any(|c| alike(&pattern, &c.chars().collect::<Vec<_>>()))
            }
            Self::Port(low, high) => port.is_some_and(|port| (low..=high).contains(&&port)),
            Self::Not(a) => !a.holds(categories, port),
            Self::And(a, b) => a.holds(categories, port) && b.holds(categories, port),
            Self::Or(a, b) => a.holds(categories, port) || b.holds(categories, port),
        }
    }
}

fn alike(pattern: &[char], text: &[char]) -> bool {
    match pattern {
        [] => text.is_empty(),
        ['*', rest @ ..] => (0..=text.len()).any(|at| alike(rest, &text[at..])),
        [first, rest @ ..] => text
            .split_first()
            .is_some_and(|(c, further)| (*first == '?' || first == c) && alike(rest, further)),
    }
}

fn model() -> impl Strategy<Value = Model> {
    let leaf = prop_oneof![
        "[ab\u{e4}*?]{1,5}".prop_map(Model::Category),
        (0..8u8, 0..8u8).prop_map(|(low, high)| Model::Port(low, high)),
    ];
    leaf.prop_recursive(5, 40, 2, |inner| {
        prop_oneof![
            inner.clone().prop_map(|a| Model::Not(Box::new(a))),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| Model::And(Box::new(a), Box::new(b))),
            (inner.clone(), inner).prop_map(|(a, b)| Model::Or(Box::new(a), Box::new(b))),
        ]
    })
}

fn document(categories: &[String], port: Option<u8>) -> Vec<u8> {
    let document = serde_json::json!({"event": {"category": categories}, "source": {"port": port}});
    serde_json::to_vec(&document).unwrap()
}

fn some_document() -> impl Strategy<Value = (Vec<String>, Option<u8>)> {
    (prop::collection::vec("[ab\u{e4}]{0,6}", 0..3), prop::option::of(0..8u8))
}

proptest! {
    #[test]
    fn a_query_means_what_its_model_says(model in model(), (categories, port) in some_document()) {
        let document = document(&categories, port);
        prop_assert_eq!(query(&model.text()).matches(&document), model.holds(&categories, port), "{}", model.text());
    }

    #[test]
    fn de_morgan_and_double_negation_hold(a in model(), b in model(), (categories, port) in some_document()) {
        let document = document(&categories, port);
        let is = |text: String| query(&text).matches(&document);
        let (a, b) = (a.text(), b.text());
        prop_assert_eq!(is(format!("NOT (({a}) AND ({b}))")), is(format!("NOT ({a}) OR NOT ({b})")));
        prop_assert_eq!(is(format!("!(({a}) || ({b}))")), is(format!("!({a}) && !({b})")));
        prop_assert_eq!(is(format!("NOT NOT ({a})")), is(a.clone()));
        prop_assert_ne!(is(format!("NOT ({a})")), is(a));
    }

    #[test]
    fn any_text_is_taken_or_told(text in "\\PC{0,40}|((event\\.category|source\\.(ip|port)|@timestamp|url\\.path):?|[\\[\\](){}\"\\\\:*?<>=!&|/~^+-]|AND|OR|NOT|TO|2026|10\\.0\\.0\\.0| ){0,20}") {
        match Query::parse(&text) {
            Ok(query) => { let _ = query.matches(DOCUMENT); }
            Err(error) => {
                prop_assert!(error.at <= text.len());
                prop_assert!(error.to_string().is_ascii() && error.to_string().lines().count() == 3, "{}", error);
            }
        }
    }

    #[test]
    fn any_text_can_be_asked_for_in_quotes_and_with_backslashes(text in "\\PC{1,20}|[ a\"\\\\*?:()/]{1,9}") {
        let document = document(std::slice::from_ref(&text), None);
        let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
        let quoted = format!("event.category:\"{quoted}\"");
        prop_assert!(query(&quoted).matches(&document));
        let escaped: String = text.chars().flat_map(|c| ['\\', c]).collect();
        let escaped = format!("event.category:{escaped}");
        prop_assert!(query(&escaped).matches(&document));
    }

    #[test]
    fn written_dates_lie_in_their_spans(ns in any::<u64>(), cut in 0usize..5) {
        let mut text = Vec::new();
        headtrail_record::time::write_rfc3339(&mut text, ns);
        let text = String::from_utf8(text).unwrap();
        prop_assert_eq!(date::span(&text), Ok((i128::from(ns), i128::from(ns))));
        let part = &text[..[4, 7, 10, 13, 19][cut]];
        let (first, last) = date::span(part).unwrap();
        prop_assert!((first..=last).contains(&i128::from(ns)));
        let length = [366 * 86_400, 31 * 86_400, 86_400, 3_600, 1][cut];
        prop_assert!(last - first < length * 1_000_000_000);
    }

    #[test]
    fn an_address_lies_in_its_networks(bits in any::<u32>(), length in 0u32..=32, other in any::<u32>()) {
        let network = bits & u32::MAX.unbounded_shl(32 - length);
        let inside = query(&format!("source.ip:{}/{length}", Ipv4Addr::from(network)));
        let of = |ip: u32| format!("{{\"source\":{{\"ip\":\"{}\"}}}}", Ipv4Addr::from(ip));
        prop_assert!(inside.matches(of(bits).as_bytes()));
        prop_assert_eq!(inside.matches(of(other).as_bytes()), (other ^ network).leading_zeros() >= length);
    }
}
