//! The real OpenSearch that other tests rely on: what it acknowledged is there after a kill.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use headtrail_testkit::Signal;
use headtrail_testkit::opensearch::OpenSearch;
use serde_json::json;

const TEMPLATE: &str = r#"{
    "index_patterns": ["testkit-*"],
    "data_stream": {},
    "template": {
        "settings": { "number_of_replicas": 0 },
        "mappings": { "properties": { "@timestamp": { "type": "date_nanos" }, "n": { "type": "long" } } }
    }
}"#;

const BULK: &str = r#"{"create":{"_index":"testkit-kill","_id":"one"}}
{"@timestamp":"2026-01-02T03:04:05.123456789Z","n":1}
{"create":{"_index":"testkit-kill","_id":"one"}}
{"@timestamp":"2026-01-02T03:04:05.123456789Z","n":2}
"#;

#[test]
fn what_it_took_once_is_there_after_a_kill() {
    if !OpenSearch::available_to_kill() {
        return;
    }
    let mut search = OpenSearch::start();
    let (status, root) = search.request("GET", "/", "");
    assert_eq!((status, &root["version"]["distribution"]), (200, &json!("opensearch")));
    let (status, answer) = search.request("PUT", "/_index_template/testkit", TEMPLATE);
    assert_eq!(status, 200, "{answer}");

    let (status, answer) = search.request("POST", "/_bulk", BULK);
    assert_eq!((status, &answer["errors"]), (200, &json!(true)), "{answer}");
    let statuses = |answer: &serde_json::Value| -> Vec<u64> {
        answer["items"].as_array().unwrap().iter().map(|i| i["create"]["status"].as_u64().unwrap()).collect()
    };
    assert_eq!(statuses(&answer), [201, 409]);
    assert_eq!(answer["items"][1]["create"]["error"]["type"], "version_conflict_engine_exception");

    let url = search.url();
    search.kill();
    assert!(search.try_request("GET", "/", "").is_err());
    search.restart();
    assert_eq!(search.url(), url);
    assert_eq!(search.count("testkit-kill"), 1);
    let (_, found) = search.request("GET", "/testkit-kill/_search?q=_id:one", "");
    assert_eq!(found["hits"]["hits"][0]["_source"]["n"], 1, "{found}");
    assert_eq!(statuses(&search.request("POST", "/_bulk", BULK).1), [409, 409]);

    // It hangs and comes back.
    search.signal(Signal::STOP);
    search.signal(Signal::CONT);
    search.wait_ready();
}

#[test]
fn two_at_a_time_share_nothing() {
    if !OpenSearch::available_to_kill() {
        return;
    }
    let (a, b) = std::thread::scope(|scope| {
        let a = scope.spawn(OpenSearch::start);
        (OpenSearch::start(), a.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    assert_ne!(a.url(), b.url());
    assert_eq!(a.request("PUT", "/only-here/_doc/1", "{}").0, 201);
    assert_eq!(a.count("only-here"), 1);
    assert_eq!(b.request("GET", "/only-here", "").0, 404);
}
