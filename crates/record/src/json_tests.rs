use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::event::CloseReason;
use crate::fixture::{Known, Lines, full, request, response, transaction};
use crate::printable::is_hidden;
use crate::transaction::{Phase, Version};

const RUN: u64 = 0xffff_0123_4567_89ab;

fn line(t: &Transaction) -> String {
    let mut out = b"before".to_vec();
    write_transaction(&mut out, t, &Context { run: RUN, processes: &Known::new() });
    String::from_utf8(out).unwrap().strip_prefix("before").unwrap().to_owned()
}

fn parsed(t: &Transaction) -> Value {
    let line = line(t);
    assert!(line.ends_with("}\n"));
    assert_eq!(line.lines().count(), 1);
    serde_json::from_str(&line).unwrap()
}

/// Keys of an object in the order of the text.
fn keys(object: &Value) -> Vec<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn a_full_transaction_reads_as_documented() {
    let expected = concat!(
        r#"{"type":"transaction","time":"2026-11-24T18:36:51.123456789Z","id":"0123456789ab-beef-3","phase":"whole","#,
        r#""connection":"0123456789ab-beef","same_as":null,"role":"server","#,
        r#""source":{"ip":"127.0.0.1","port":51234},"destination":{"ip":"127.0.0.1","port":9080},"#,
        r#""protocol":"http/1.1","stream":null,"#,
        r#""request":{"frame":null,"method":"POST","target":"/api/example?a=1","#,
        r#""lines":[["Host","localhost:9080"],["User-Agent","curl/8.14.1"],["Content-Type","application/json"],"#,
        r#"["Authorization","Bearer hmac:1:5f2c0123456789ab"],["Expect","100-continue"],["X-Request-Id","r-1"],"#,
        r#"["accept","text/html"],["Accept","\"q\"\t\\"]],"#,
        r#""latin1":false,"trailers":[["X-Sum","1"]],"body_bytes":52,"packet":PACKET},"#,
        r#""interim":[{"status":100,"lines":[["X-Early","café"]],"latin1":true}],"#,
        r#""response":{"frame":null,"status":200,"reason":"OK","#,
        r#""lines":[["Server","nginx"],["Content-Type","text/plain"],["X-Name","Zoë"]],"#,
        r#""latin1":false,"trailers":[],"body_bytes":31,"packet":PACKET},"#,
        r#""timing":{"request_ns":null,"wait_ns":null,"response_ns":null,"total_ns":null},"#,
        r#""process":{"pid":812,"name":"nginx","executable":"/usr/sbin/nginx","#,
        r#""cgroup":"/system.slice/docker-0a1b.scope","container":"0a1b"},"#,
        r#""peer_process":{"pid":4242,"name":"curl","executable":null,"cgroup":null,"container":null},"#,
        r#""tls":{"version":"1.3","cipher":"TLS_AES_128_GCM_SHA256","sni":"localhost","alpn":"http/1.1","#,
        r#""ja4":"t13d1516h2_8daaf6152771_b186095e22b6","resumed":false},"#,
        r#""features":{},"redacted":["Authorization"],"#,
        r#""incomplete":[{"reason":"gap","side":"response","at":9},{"reason":"joined","side":"request","at":null}],"#,
        r#""anomalies":["bare_lf"]}"#,
        "\n"
    );
    let packet = concat!(
        r#"{"ip":{"version":4,"ttl":64,"dscp":0,"id":4711,"df":true,"ecn":0,"mf":false,"fragment_offset":0,"#,
        r#""flow_label":null,"total_length":52,"has_options":false},"#,
        r#""tcp":{"flags":["PSH","ACK"],"seq":1000,"ack":5000,"window":512,"#,
        r#""options":["nop","nop",{"timestamps":[1,2]}],"urgent":null},"segments":1}"#
    );
    assert_eq!(line(&full()), expected.replace("PACKET", packet));
}

#[test]
fn timing_of_a_whole_transaction_is_told() {
    let mut t = full();
    t.inner.incomplete.clear();
    assert_eq!(
        parsed(&t)["timing"],
        json!({"request_ns": 1_000_000, "wait_ns": 240_000, "response_ns": 60_000, "total_ns": 1_300_000})
    );
}

#[test]
fn the_start_of_a_long_call_tells_no_time_of_what_goes_on() {
    let mut t = full();
    t.inner.incomplete.clear();
    t.inner.phase = Phase::Start;
    t.inner.response.as_mut().unwrap().body_bytes = None;
    let start = parsed(&t);
    assert_eq!(start["phase"], "start");
    assert_eq!(
        start["timing"],
        json!({"request_ns": 1_000_000, "wait_ns": 240_000, "response_ns": null, "total_ns": null})
    );
    t.inner.request.as_mut().unwrap().body_bytes = None;
    assert_eq!(
        parsed(&t)["timing"],
        json!({"request_ns": null, "wait_ns": null, "response_ns": null, "total_ns": null})
    );
}

#[test]
fn the_end_of_a_long_call_names_its_start() {
    let mut t = full();
    t.inner.phase = Phase::End { start: 1 };
    t.inner.close = Some(CloseReason::Reset);
    let t = parsed(&t);
    let found = [&t["phase"], &t["id"], &t["start_id"], &t["close"]];
    assert_eq!(found, ["end", "0123456789ab-beef-3", "0123456789ab-beef-1", "reset"]);
}

#[test]
fn a_call_of_grpc_tells_its_facts() {
    let mut t = full();
    t.grpc = Some(Box::new(crate::fixture::grpc()));
    let expected = json!({
        "service": "shop.v1.Cart", "method": "Add", "status": 14, "status_name": "UNAVAILABLE",
        "message": "upstream \"gone\"", "timeout_ns": 1_500_000_000, "encoding": "gzip", "web": false,
    });
    assert_eq!(parsed(&t)["grpc"], expected);
    assert_eq!(keys(&parsed(&t)["grpc"]).len(), expected.as_object().unwrap().len());
    t.grpc = Some(Box::default());
    assert_eq!(parsed(&t)["grpc"]["status_name"], Value::Null);
}

#[test]
fn what_is_absent_is_null_and_every_member_is_there() {
    let full = parsed(&full());
    let t = parsed(&transaction(None, None));
    assert_eq!(keys(&t), keys(&full));
    for name in ["request", "response", "protocol", "process", "peer_process", "tls", "stream", "same_as"] {
        assert_eq!(t[name], Value::Null, "{name}");
    }
    for name in ["interim", "redacted", "incomplete", "anomalies"] {
        assert_eq!(t[name], json!([]), "{name}");
    }
    let t = parsed(&transaction(Some(request(b"GET", b"/", &[], &[])), Some(response(204, b"", &[], &[]))));
    assert_eq!(keys(&t["request"]), keys(&full["request"]));
    assert_eq!(keys(&t["response"]), keys(&full["response"]));
    assert_eq!(t["request"]["body_bytes"], Value::Null);
    assert_eq!(t["response"]["reason"], "");
}

#[test]
fn the_volume_is_told_only_where_something_is_left_out() {
    let mut t = full();
    assert!(!line(&t).contains("sample_rate") && !line(&t).contains("lines_left_out"));
    t.sample_rate = Rate::new(0.1).unwrap();
    assert!(line(&t).contains(r#","sample_rate":0.1}"#));
    t.lines_left_out = crate::volume::LeftOut { request: 3, response: 0 };
    assert_eq!(parsed(&t)["lines_left_out"], json!({"request": 3, "response": 0}));
    t.sample_rate = Rate::SMALLEST;
    assert_eq!(parsed(&t)["sample_rate"], 0.000_001);
}

#[test]
fn what_was_left_out_is_counted_where_there_was_any() {
    let mut t = full();
    assert!(parsed(&t).get("left_out").is_none());
    t.left_out = 3;
    assert_eq!(parsed(&t)["left_out"], 3);
}

#[test]
fn protocol_is_the_requests_and_else_the_responses() {
    let mut old = response(200, b"OK", &[], &[]);
    old.version = Version::Http10;
    assert_eq!(parsed(&transaction(None, Some(old.clone())))["protocol"], "http/1.0");
    assert_eq!(
        parsed(&transaction(Some(request(b"GET", b"/", &[], &[])), Some(old)))["protocol"],
        "http/1.1"
    );
}

#[test]
fn a_frame_of_a_file_is_told() {
    let mut r = request(b"GET", b"/", &[], &[]);
    r.frame = Some(4);
    assert_eq!(parsed(&transaction(Some(r), None))["request"]["frame"], 4);
}

#[test]
fn one_byte_that_is_not_utf8_turns_all_strings_of_its_message_to_latin1() {
    let t = transaction(
        Some(request(b"GET", "/é".as_bytes(), &[(b"A", b"\xff"), ("é".as_bytes(), b"b")], &[])),
        Some(response(200, "é".as_bytes(), &[], &[])),
    );
    let t = parsed(&t);
    assert_eq!(t["request"]["latin1"], true);
    assert_eq!(t["request"]["target"], "/Ã©");
    assert_eq!(t["request"]["lines"], json!([["A", "ÿ"], ["Ã©", "b"]]));
    assert_eq!(t["response"]["latin1"], false);
    assert_eq!(t["response"]["reason"], "é");
}

#[test]
fn bytes_of_no_string_do_not_decide_the_charset() {
    let mut r = request(b"GET", "/é".as_bytes(), &[], &[]);
    r.text.push(0xff);
    let t = parsed(&transaction(Some(r), None));
    assert_eq!((&t["request"]["latin1"], &t["request"]["target"]), (&json!(false), &json!("/é")));
}

#[test]
fn spans_beyond_the_text_are_empty_and_harmless() {
    let mut r = request(b"GET", b"/", &[(b"A", b"b")], &[]);
    r.lines.push(Line::new(Span { start: 4, len: u32::MAX }, Span { start: u32::MAX, len: u32::MAX }));
    assert_eq!(parsed(&transaction(Some(r), None))["request"]["lines"], json!([["A", "b"], ["", ""]]));
}

#[test]
fn http_2_tells_the_stream_and_what_is_unseen() {
    let mut r = request(b"GET", b"/", &[(b":method", b"GET"), (b"cookie", b"a"), (b"x", b"y")], &[]);
    r.version = crate::transaction::Version::Http2;
    r.lines[1].never_indexed = true;
    r.lines[2].name = Span::UNSEEN;
    r.lines.push(Line::new(Span::UNSEEN, Span::UNSEEN));
    let mut t = transaction(Some(r), None);
    t.inner.stream = Some(5);
    t.inner.reset = Some(crate::transaction::Reset { by: Side::Response, error_code: 0x7, goaway: true });
    let t = parsed(&t);
    assert_eq!((&t["protocol"], &t["stream"]), (&json!("http/2"), &json!(5)));
    let lines = json!([[":method", "GET"], ["cookie", "a"], [null, "y"], [null, null]]);
    assert_eq!(t["request"]["lines"], lines);
    assert_eq!(t["request"]["never_indexed"], json!([1]));
    assert_eq!(t["reset"], json!({"by": "response", "error": "REFUSED_STREAM", "goaway": true}));
}

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

fn borrowed(pairs: &Pairs) -> Vec<(&[u8], &[u8])> {
    pairs.iter().map(|(name, value)| (name.as_slice(), value.as_slice())).collect()
}

fn text_pairs() -> impl Strategy<Value = Pairs> {
    let pair =
        ("[a-cA-C-]{0,3}|.*", ".*").prop_map(|(name, value): (String, String)| (name.into(), value.into()));
    proptest::collection::vec(pair, 0..20)
}

/// Decodes a string of a message back to its bytes.
fn bytes_of(text: &Value, latin1: bool) -> Vec<u8> {
    let text = text.as_str().unwrap();
    if latin1 { text.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect() } else { text.into() }
}

fn check(method: &[u8], target: &[u8], lines: Lines, trailers: Lines) -> Result<bool, TestCaseError> {
    let t = transaction(
        Some(request(method, target, lines, trailers)),
        Some(response(200, target, lines, trailers)),
    );
    prop_assert!(!line(&t).trim_end_matches('\n').chars().any(is_hidden));
    let t = parsed(&t);
    let latin1 = t["request"]["latin1"].as_bool().unwrap();
    prop_assert_eq!(bytes_of(&t["request"]["method"], latin1), method);
    prop_assert_eq!(bytes_of(&t["request"]["target"], latin1), target);
    for (side, latin1) in [("request", latin1), ("response", t["response"]["latin1"].as_bool().unwrap())] {
        for (member, sent) in [("lines", lines), ("trailers", trailers)] {
            let got = t[side][member].as_array().unwrap();
            let got: Vec<_> =
                got.iter().map(|l| (bytes_of(&l[0], latin1), bytes_of(&l[1], latin1))).collect();
            let got: Vec<_> = got.iter().map(|(name, value)| (name.as_slice(), value.as_slice())).collect();
            prop_assert_eq!(got.as_slice(), sent);
        }
    }
    Ok(latin1)
}

proptest! {
    #[test]
    fn lines_of_text_parse_back_with_order_case_and_duplicates(
        method: String, target: String, lines in text_pairs(), trailers in text_pairs()
    ) {
        let latin1 = check(method.as_bytes(), target.as_bytes(), &borrowed(&lines), &borrowed(&trailers))?;
        prop_assert!(!latin1);
    }

    #[test]
    fn lines_of_any_bytes_parse_back_to_the_same_bytes(
        method: Vec<u8>, target: Vec<u8>, lines: Pairs, trailers: Pairs
    ) {
        check(&method, &target, &borrowed(&lines), &borrowed(&trailers))?;
    }
}
