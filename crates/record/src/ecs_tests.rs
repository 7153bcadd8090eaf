use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::ecs_fields::FIELDS;
use crate::fixture::{self, Known, full, request, response, transaction};
use crate::printable::is_hidden;

const RUN: u64 = 0x0123_4567_89ab;

fn parsed(t: &Transaction) -> Value {
    let mut out = Vec::new();
    write_transaction(&mut out, t, &Context { run: RUN, processes: &Known::new() });
    let text = String::from_utf8(out).unwrap();
    assert!(text.ends_with("}\n"));
    assert_eq!(text.lines().count(), 1);
    assert!(!text.trim_end_matches('\n').chars().any(is_hidden));
    serde_json::from_str(&text).unwrap()
}

#[test]
fn a_full_transaction_reads_as_documented() {
    let packet = json!({
        "ip": {
            "version": 4, "ttl": 64, "dscp": 0, "id": 4711, "df": true, "ecn": 0, "mf": false,
            "fragment_offset": 0, "total_length": 52, "has_options": false,
        },
        "tcp": {
            "flags": ["PSH", "ACK"], "seq": 1000, "ack": 5000, "window": 512,
            "options": ["nop", "nop", "TS val 1 ecr 2"],
        },
        "segments": 1,
    });
    let mut t = full();
    t.inner.incomplete.truncate(1);
    let expected = json!({
        "@timestamp": "2026-11-24T18:36:51.123456789Z",
        "ecs": {"version": "9.0.0"},
        "event": {
            "kind": "event", "module": "headtrail", "dataset": "headtrail.transaction",
            "category": ["network", "web"], "type": ["access", "protocol"], "id": "0123456789ab-beef-3",
            "start": "2026-11-24T18:36:51.123456789Z", "outcome": "success",
        },
        "source": {"ip": "127.0.0.1", "port": 51234},
        "destination": {"ip": "127.0.0.1", "port": 9080},
        "client": {"ip": "127.0.0.1", "port": 51234},
        "server": {"ip": "127.0.0.1", "port": 9080},
        "related": {"ip": ["127.0.0.1"]},
        "network": {
            "transport": "tcp", "protocol": "http", "type": "ipv4", "direction": "ingress",
            "community_id": std::str::from_utf8(&community_id::tcp(t.inner.source, t.inner.destination)).unwrap(),
        },
        "http": {
            "version": "1.1",
            "request": {
                "method": "POST", "id": "r-1", "body": {"bytes": 52},
                "headers": {
                    "host": ["localhost:9080"], "user-agent": ["curl/8.14.1"],
                    "content-type": ["application/json"], "authorization": ["Bearer hmac:1:5f2c0123456789ab"],
                    "expect": ["100-continue"], "x-request-id": ["r-1"], "accept": ["text/html", "\"q\"\t\\"],
                },
            },
            "response": {
                "status_code": 200, "body": {"bytes": 31},
                "headers": {"server": ["nginx"], "content-type": ["text/plain"], "x-name": ["Zoë"]},
            },
        },
        "url": {
            "original": "/api/example?a=1", "scheme": "https", "domain": "localhost", "port": 9080,
            "path": "/api/example", "query": "a=1", "full": "https://localhost:9080/api/example?a=1",
        },
        "user_agent": {"original": "curl/8.14.1"},
        "tls": {
            "established": true, "version": "1.3", "version_protocol": "tls", "cipher": "TLS_AES_128_GCM_SHA256",
            "next_protocol": "http/1.1", "resumed": false,
            "client": {"server_name": "localhost"},
        },
        "process": {"pid": 812, "name": "nginx", "executable": "/usr/sbin/nginx"},
        "container": {"id": "0a1b"},
        "headtrail": {
            "connection": "0123456789ab-beef", "role": "server", "phase": "whole",
            "tls": {"ja4": "t13d1516h2_8daaf6152771_b186095e22b6"},
            "request": {
                "latin1": false,
                "lines": [
                    "Host: localhost:9080", "User-Agent: curl/8.14.1", "Content-Type: application/json",
                    "Authorization: Bearer hmac:1:5f2c0123456789ab", "Expect: 100-continue", "X-Request-Id: r-1",
                    "accept: text/html", "Accept: \"q\"\t\\",
                ],
                "trailers": ["X-Sum: 1"],
                "packet": packet,
            },
            "interim": [{"status_code": 100, "lines": ["X-Early: café"]}],
            "response": {
                "latin1": false, "reason": "OK",
                "lines": ["Server: nginx", "Content-Type: text/plain", "X-Name: Zoë"],
                "packet": packet,
            },
            "timing": {"request_ns": 1_000_000, "wait_ns": 240_000},
            "cgroup": "/system.slice/docker-0a1b.scope",
            "peer_process": {"pid": 4242, "name": "curl"},
            "redacted": ["Authorization"],
            "incomplete": [{"reason": "gap", "side": "response", "at": 9}],
            "anomalies": ["bare_lf"],
        },
    });
    assert_eq!(parsed(&t), expected);
}

/// Names with dots of all values in a document; those of flattened fields stop there.
fn collect(value: &Value, name: &str, names: &mut BTreeSet<String>) {
    assert!(!value.is_null(), "{name} is null");
    let flattened = FIELDS.iter().any(|f| f.name == name && f.kind == "flattened");
    match value {
        Value::Object(members) if !flattened => {
            assert!(!members.is_empty(), "{name} is empty");
            for (key, member) in members {
                collect(member, &if name.is_empty() { key.clone() } else { format!("{name}.{key}") }, names);
            }
        }
        Value::Array(items) if !items.is_empty() => items.iter().for_each(|item| collect(item, name, names)),
        _ => {
            names.insert(name.to_owned());
        }
    }
}

/// Documents in which every field has a value somewhere.
fn documents() -> Vec<Value> {
    let mut whole = full();
    whole.inner.incomplete.clear();
    whole.features = fixture::features();
    whole.left_out = 2;
    let mut v6 = request(b"GET", b"/a.html", &[(b"Referer", b"http://a/")], &[]);
    let mut header = vec![0x60, 0, 0, 1, 0, 20, 6, 64];
    header.extend([0; 32]);
    header.extend([0, 1, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x20, 0, 1, 0, 0, 0, 9]);
    v6.headers = crate::event::HeaderBytes::new(&header);
    v6.frame = Some(4);
    let mut r6 = response(404, b"", &[], &[(b"A", b"b")]);
    (r6.headers, r6.frame) = (v6.headers, Some(5));
    let mut swapped = transaction(Some(v6), Some(r6));
    swapped.inner.peer_process = full().inner.process;
    swapped.inner.stream = Some(7);
    swapped.inner.reset = Some(crate::transaction::Reset {
        by: crate::transaction::Side::Request,
        error_code: 8,
        goaway: false,
    });
    swapped.inner.phase = Phase::End { start: 2 };
    swapped.inner.close = Some(crate::event::CloseReason::Fin);
    swapped.grpc = Some(Box::new(fixture::grpc()));
    swapped.sample_rate = crate::volume::Rate::new(0.25).unwrap();
    swapped.lines_left_out = crate::volume::LeftOut { request: 1, response: 2 };
    let mut out = Vec::new();
    fixture::others().iter().for_each(|record| write_record(&mut out, record, Some("00000000000000ff-7")));
    let key = crate::redact::FingerprintKey { id: 1, secret: [7; 32] };
    let mut redactor = crate::redact::Redactor::new(key, crate::redact::Policy::default());
    let shown = crate::unredacted::Unredacted::new(full().inner, &mut redactor);
    super::write_unredacted(&mut out, &shown, &Context { run: RUN, processes: &Known::new() });
    let others = serde_json::Deserializer::from_slice(&out).into_iter().map(Result::unwrap);
    [parsed(&whole), parsed(&full()), parsed(&swapped), parsed(&transaction(None, None))]
        .into_iter()
        .chain(others)
        .collect()
}

#[test]
fn the_list_of_fields_is_what_is_written() {
    let mut written = BTreeSet::new();
    documents().iter().for_each(|d| collect(d, "", &mut written));
    let listed: BTreeSet<_> = FIELDS.iter().map(|f| f.name.to_owned()).collect();
    assert_eq!(listed.len(), FIELDS.len());
    let missing: Vec<_> = written.difference(&listed).collect();
    let unused: Vec<_> = listed.difference(&written).collect();
    assert!(missing.is_empty() && unused.is_empty(), "not listed: {missing:?}, not written: {unused:?}");
}

#[test]
fn values_have_the_types_of_the_list() {
    fn check(value: &Value, name: &str) {
        let kind = FIELDS.iter().find(|f| f.name == name).map(|f| f.kind);
        match (value, kind) {
            (Value::Array(items), _) => items.iter().for_each(|item| check(item, name)),
            (Value::Object(_), Some("flattened")) => {}
            (Value::Object(members), None) => members.iter().for_each(|(key, member)| {
                check(member, &if name.is_empty() { key.clone() } else { format!("{name}.{key}") });
            }),
            (Value::Number(_), Some("long" | "double")) | (Value::Bool(_), Some("boolean")) => {}
            (Value::String(_), Some("keyword" | "wildcard" | "date" | "ip")) => {}
            (value, kind) => panic!("{name} of type {kind:?} is {value}"),
        }
    }
    documents().iter().for_each(|d| check(d, ""));
}

#[test]
fn a_whole_transaction_has_an_end_and_a_duration() {
    let event = &documents()[0]["event"];
    assert_eq!(event["end"], "2026-11-24T18:36:51.124756789Z");
    assert_eq!(event["duration"], 1_300_000);
}

#[test]
fn outcome_is_that_of_the_exchange() {
    let outcome = |response| parsed(&transaction(None, response))["event"]["outcome"].clone();
    assert_eq!(outcome(None), "unknown");
    assert_eq!(outcome(Some(response(399, b"", &[], &[]))), "success");
    assert_eq!(outcome(Some(response(400, b"", &[], &[]))), "failure");
    let mut call = transaction(None, Some(response(200, b"", &[], &[])));
    for (status, outcome) in [(None, "success"), (Some(0), "success"), (Some(14), "failure")] {
        call.grpc = Some(Box::new(Grpc { status, ..Grpc::default() }));
        assert_eq!(parsed(&call)["event"]["outcome"], outcome);
    }
}

#[test]
fn a_call_of_grpc_has_the_names_of_opentelemetry() {
    let mut t = full();
    t.grpc = Some(Box::new(fixture::grpc()));
    t.inner.phase = Phase::End { start: 1 };
    let t = parsed(&t);
    assert_eq!(
        t["rpc"],
        json!({
            "system": {"name": "grpc"}, "method": "shop.v1.Cart/Add", "response": {"status_code": "UNAVAILABLE"},
        })
    );
    assert_eq!(t["event"]["type"], json!(["access", "protocol", "end"]));
    assert_eq!(t["headtrail"]["start_id"], "0123456789ab-beef-1");
    assert_eq!(t["headtrail"]["grpc"]["status"], 14);
}

#[test]
fn direction_is_seen_from_this_host() {
    let mut t = full();
    t.inner.role = Role::Client;
    t.inner.source.ip = "2001:db8::1".parse().unwrap();
    t.inner.destination.ip = "2001:db8::2".parse().unwrap();
    let t = parsed(&t);
    assert_eq!((&t["network"]["direction"], &t["network"]["type"]), (&json!("egress"), &json!("ipv6")));
    assert_eq!(t["related"]["ip"], json!(["2001:db8::1", "2001:db8::2"]));
}

#[test]
fn names_that_are_no_tokens_are_lines_only() {
    let lines: [(&[u8], &[u8]); 4] = [(b"", b"a"), (b"b c", b"d"), (b"\xff", b"e"), (b"x.y", b"f")];
    let t = parsed(&transaction(Some(request(b"GET", b"/", &lines, &[])), None));
    assert_eq!(t["http"]["request"]["headers"], json!({"x.y": ["f"]}));
    assert_eq!(t["headtrail"]["request"]["lines"], json!([": a", "b c: d", "ÿ: e", "x.y: f"]));
    assert_eq!(t["headtrail"]["request"]["latin1"], true);
}

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

proptest! {
    #[test]
    fn any_bytes_give_one_valid_document(method: Vec<u8>, target: Vec<u8>, pairs: Pairs, host: Vec<u8>) {
        let mut lines: Vec<(&[u8], &[u8])> = pairs.iter().map(|(n, v)| (n.as_slice(), v.as_slice())).collect();
        lines.push((b"Host", &host));
        let message = request(&method, &target, &lines, &lines);
        let charset = Charset::of_message(&message);
        let t = parsed(&transaction(Some(message), Some(response(200, &target, &lines, &[]))));
        prop_assert_eq!(t["headtrail"]["request"]["lines"].as_array().unwrap().len(), lines.len());
        prop_assert_eq!(&t["headtrail"]["request"]["latin1"], &json!(charset == Charset::Latin1));
        let mut names = BTreeSet::new();
        collect(&t, "", &mut names);
    }

    #[test]
    fn headers_hold_every_value_of_a_name_in_order(pairs in proptest::collection::vec(("[a-cA-C]{1,2}", ".*"), 0..20)) {
        let lines: Vec<_> = pairs.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())).collect();
        let t = parsed(&transaction(Some(request(b"GET", b"/", &lines, &[])), None));
        let headers = t["http"]["request"]["headers"].as_object().unwrap();
        prop_assert_eq!(headers.values().map(|v| v.as_array().unwrap().len()).sum::<usize>(), pairs.len());
        for (name, values) in headers {
            let sent = pairs.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| json!(v));
            prop_assert_eq!(values, &Value::Array(sent.collect()));
        }
    }
}

#[test]
fn a_member_that_a_store_would_refuse_is_in_the_lines_only() {
    let (long, name) = ("x".repeat(33_000), "n".repeat(33_000));
    let lines = [
        ("X-Long", long.as_str()),
        ("x-long", "short"),
        ("X-Accents", &"\u{e9}".repeat(9_000)),
        (&name, "v"),
    ];
    let lines: Vec<(&[u8], &[u8])> = lines.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())).collect();
    let document = parsed(&transaction(Some(request(b"GET", b"/", &lines, &[])), None));
    let headers = document["http"]["request"]["headers"].as_object().unwrap();
    assert_eq!(headers["x-long"], json!(["short"]));
    assert_eq!(headers.keys().collect::<Vec<_>>(), ["x-long"]);
    assert_eq!(document["headtrail"]["request"]["lines"].as_array().unwrap().len(), 4);
}
