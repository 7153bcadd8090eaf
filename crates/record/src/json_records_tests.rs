use serde_json::Value;

use super::*;
use crate::fixture;
use crate::record::Text;

#[test]
fn records_read_as_documented() {
    let mut out = Vec::new();
    fixture::others().iter().for_each(|record| write_record(&mut out, record));
    let hash = "ab".repeat(32);
    let root = "zc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc0=";
    let signature = base64(&[0xef; 68]);
    let time = "2026-11-24T18:36:51.123456789Z";
    let expected = [
        r#"{"type":"loss","time":"1970-01-01T00:00:00.000000003Z","stage":"ring","reason":"full","count":7,"since":"1970-01-01T00:00:00.000000001Z","until":"1970-01-01T00:00:00.000000002Z"}"#.to_owned(),
        format!(r#"{{"type":"lifecycle","time":"{time}","event":"start","version":"0.1.0","filter":"port \"80\"","config_hash":"{hash}","redaction":"fingerprint","off":{{"since":"1970-01-01T00:00:00.000000001Z","until":"1970-01-01T00:00:00.000000002Z"}},"details":{{"host":["gw1"]}}}}"#),
        format!(r#"{{"type":"annotation","time":"{time}","record":"0123456789ab-beef-3","fact":"route","details":{{"route_id":["17"]}}}}"#),
        format!(r#"{{"type":"coverage","time":"{time}","unread":[{{"what":"tls","why":"library_not_known","where":"0.0.0.0:443","process":{{"pid":812,"name":"nginx","executable":"/usr/sbin/nginx","cgroup":"/docker/0a1b","container":"0a1b"}},"count":7}},{{"what":"unix","why":"no_hook","where":null,"process":null,"count":1}}]}}"#),
        format!(r#"{{"type":"checkpoint","time":"{time}","origin":"headtrail/gw1/0123456789abcdef","size":4711,"root":"{root}","signature":"{signature}"}}"#),
        r#"{"type":"unknown_17","time":"1970-01-01T00:00:00.000000005Z","undecoded_bytes":3}"#.to_owned(),
    ];
    let text = String::from_utf8(out).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines, expected);
}

#[test]
fn what_is_absent_is_null() {
    let mut out = Vec::new();
    write_record(&mut out, &Record::Lifecycle(Lifecycle::default()));
    let line: Value = serde_json::from_slice(&out).unwrap();
    for name in ["filter", "config_hash", "redaction", "off"] {
        assert_eq!(line[name], Value::Null, "{name}");
    }
}

#[test]
fn a_name_that_comes_again_is_one_member_with_all_values() {
    let detail = |name: &'static str, value: &'static str| (Text::Borrowed(name), Text::Borrowed(value));
    let details = vec![detail("changed", "a.b"), detail("key", "1"), detail("changed", "c.d")];
    let mut out = Vec::new();
    push_details(&mut out, &details);
    assert_eq!(String::from_utf8(out).unwrap(), r#"{"changed":["a.b","c.d"],"key":["1"]}"#);
}
