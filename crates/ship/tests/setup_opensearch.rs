//! `headtrail setup opensearch` against a real one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod setup_common;

use std::fmt::Write;

use headtrail_ship::elasticsearch::Flavour;
use headtrail_ship::setup::{Body, Options, Outcome, Step, Target, apply, plan};
use headtrail_ship::sink::Trouble;
use headtrail_testkit::opensearch::OpenSearch;
use serde_json::{Value, json};
use setup_common::documents;

fn set_up(search: &OpenSearch) -> Vec<Outcome> {
    let steps = plan(Target::Cluster(Flavour::OpenSearch), &Options::default());
    let mut send = |step: &Step| -> Result<(u16, Value), Trouble> {
        Ok(search.request(step.method, &step.path, &String::from_utf8(step.body.bytes()).unwrap()))
    };
    apply(&steps, &mut send).unwrap()
}

/// What it holds of ours, as it says itself.
fn state(search: &OpenSearch) -> Vec<Value> {
    let paths =
        ["/_component_template/headtrail@*", "/_index_template/headtrail", "/logs-headtrail.*/_mapping"];
    paths.map(|path| search.request("GET", path, "").1).to_vec()
}

/// The answers to documents, each sent to the data stream of its type.
fn create<'a>(search: &OpenSearch, documents: impl IntoIterator<Item = (&'a str, &'a Value)>) -> Vec<Value> {
    let mut body = String::new();
    for (kind, document) in documents {
        let mut create = json!({"_index": format!("logs-headtrail.{kind}-default")});
        if let Some(id) = document.pointer("/event/id") {
            create["_id"] = id.clone();
        }
        let _ = writeln!(body, "{}\n{document}", json!({"create": create}));
    }
    let (status, answer) = search.request("POST", "/_bulk?refresh=true", &body);
    assert_eq!(status, 200, "{answer}");
    answer["items"].as_array().unwrap().iter().map(|item| item["create"].clone()).collect()
}

fn found(search: &OpenSearch, query: &Value) -> u64 {
    let (status, answer) = search.request(
        "POST",
        "/logs-headtrail.*-*/_search",
        &json!({"query": query, "size": 0}).to_string(),
    );
    assert_eq!(status, 200, "{query}: {answer}");
    answer["hits"]["total"]["value"].as_u64().unwrap()
}

fn assert_headers_are_found(search: &OpenSearch) {
    let query = |text: &str| found(search, &json!({"query_string": {"query": text}}));
    assert_eq!(query("http.request.headers.x-tenant: a"), 1);
    assert_eq!(query("http.request.headers.x-tenant: b"), 4);
    assert_eq!(query("http.request.headers.x-tenant: c"), 0);
    assert_eq!(query("http.request.headers.x.y: dots"), 1);
    // The same value in another header, or in another message, is not found.
    assert_eq!(query("http.request.headers.host: a OR http.response.headers.x-tenant: a"), 0);
    assert_eq!(query("http.response.headers.server: nginx"), 2);
    assert_eq!(found(search, &json!({"exists": {"field": "http.request.headers.referer"}})), 1);
    assert_eq!(found(search, &json!({"wildcard": {"url.original": "/api/*"}})), 1);
    assert_eq!(query("headtrail.anomalies: bare_lf"), 1);
    assert_eq!(query("client.ip: \"10.0.0.0/8\" AND http.response.status_code: [400 TO 499]"), 2);
}

/// What the panels ask for: aggregations, as a dashboard server makes them of visualisations.
fn assert_panels_can_be_counted(search: &OpenSearch) {
    let steps = plan(Target::Dashboards(Flavour::OpenSearch), &Options::default());
    let Body::File(objects) = &steps[0].body else { panic!("no file") };
    let mut asked = 0;
    for object in objects.iter().filter(|object| object["type"] == "visualization") {
        let state: Value = serde_json::from_str(object["attributes"]["visState"].as_str().unwrap()).unwrap();
        for agg in state["aggs"].as_array().unwrap() {
            let (kind, field) = (agg["type"].as_str().unwrap(), &agg["params"]["field"]);
            let agg = match kind {
                "count" | "filters" => continue,
                "date_histogram" => {
                    json!({kind: {"field": field, "fixed_interval": "1h", "min_doc_count": 1}})
                }
                "percentiles" => json!({kind: {"field": field, "percents": agg["params"]["percents"]}}),
                _ => json!({kind: {"field": field}}),
            };
            let body = json!({"size": 0, "aggs": {"a": agg}});
            let (status, answer) = search.request("POST", "/logs-headtrail.*-*/_search", &body.to_string());
            assert_eq!(status, 200, "{}: {answer}", object["id"]);
            let answer = &answer["aggregations"]["a"];
            let some = match kind {
                "terms" | "date_histogram" => answer["buckets"].as_array().is_some_and(|b| !b.is_empty()),
                "percentiles" => answer["values"]["50.0"].is_number(),
                _ => answer["value"].as_f64().is_some_and(|value| value > 0.0),
            };
            assert!(some, "{}: nothing of {field}: {answer}", object["id"]);
            asked += 1;
        }
    }
    assert!(asked > 50);
}

#[test]
fn a_real_opensearch_takes_the_plan_twice_and_then_every_document() {
    if !OpenSearch::available() {
        return;
    }
    let search = OpenSearch::start();
    let outcomes = set_up(&search);
    assert!(matches!(&outcomes[1], Outcome::Done | Outcome::Open(_)), "{outcomes:?}");
    assert!(
        matches!(
            &outcomes[..],
            [Outcome::Same, _, Outcome::Done, Outcome::Done, Outcome::Done, Outcome::Same]
        ),
        "{outcomes:?}"
    );
    let before = state(&search);
    assert_eq!(set_up(&search), outcomes);
    assert_eq!(state(&search), before);

    let documents: Vec<_> = documents().into_iter().map(|(kind, document)| (kind.name(), document)).collect();
    let sent = || documents.iter().map(|(kind, document)| (&**kind, document));
    for (answer, (kind, document)) in create(&search, sent()).iter().zip(sent()) {
        assert_eq!(answer["status"], 201, "{kind}: {answer} to {document}");
        assert!(answer["_index"].as_str().unwrap().starts_with(".ds-logs-headtrail."), "{answer}");
    }
    // What comes twice is told: transactions, which have ids.
    let again = create(&search, sent().filter(|(kind, _)| *kind == "transaction"));
    assert!(!again.is_empty() && again.iter().all(|answer| answer["status"] == 409), "{again:?}");
    assert_eq!(search.count("logs-headtrail.*-*"), documents.len() as u64);

    assert_headers_are_found(&search);
    assert_panels_can_be_counted(&search);
    assert_long_values_are_kept(&search);

    // With data streams there, a third time.
    let outcomes = set_up(&search);
    assert!(matches!(&outcomes[..], [_, _, _, _, _, Outcome::Done]), "{outcomes:?}");
    assert_a_newer_list_of_fields_reaches_what_is_there(&search);
}

/// A line longer than a term may be is in the document, and not searched; an unknown field is refused.
fn assert_long_values_are_kept(search: &OpenSearch) {
    let (_, mut document) =
        documents().into_iter().find(|(kind, _)| kind.name() == "transaction").expect("a transaction");
    let long = "x".repeat(40_000);
    document["event"]["id"] = json!("long");
    document["headtrail"]["request"]["lines"] = json!([format!("X-Long: {long}")]);
    for field in ["original", "path", "full", "query"] {
        document["url"][field] = json!(format!("/{long}"));
    }
    document["user_agent"] = json!({"original": long});
    let answers = create(search, [("transaction", &document)]);
    assert_eq!(answers[0]["status"], 201, "{answers:?}");
    let body = json!({"query": {"term": {"event.id": "long"}}}).to_string();
    let (_, answer) = search.request("POST", "/logs-headtrail.transaction-default/_search", &body);
    assert_eq!(answer["hits"]["hits"][0]["_source"], document);
    // So it is found by its absence; Elasticsearch names it in `_ignored`.
    let absent = "http.request.method: * AND NOT url.original: *";
    assert_eq!(found(search, &json!({"query_string": {"query": absent}})), 1);

    document["event"]["id"] = json!("unknown");
    document["headtrail"]["colour"] = json!("red");
    let answers = create(search, [("transaction", &document)]);
    assert_eq!(answers[0]["status"], 400, "{answers:?}");
    assert_eq!(answers[0]["error"]["type"], "strict_dynamic_mapping_exception");
}

/// As after an upgrade: an index that was made before a field came takes it without a rollover.
fn assert_a_newer_list_of_fields_reaches_what_is_there(search: &OpenSearch) {
    let steps = plan(Target::Cluster(Flavour::OpenSearch), &Options::default());
    let mut step = steps.into_iter().last().unwrap();
    let Body::Json(mapping) = &mut step.body else { panic!("no mapping") };
    mapping["properties"]["headtrail"]["properties"]["colour"] = json!({"type": "keyword"});
    let mut send = |step: &Step| -> Result<(u16, Value), Trouble> {
        Ok(search.request(step.method, &step.path, &String::from_utf8(step.body.bytes()).unwrap()))
    };
    assert_eq!(step.apply(&mut send), Ok(Outcome::Done));
    let document = json!({"@timestamp": "2026-11-24T18:36:51Z", "headtrail": {"colour": "red"}});
    assert_eq!(create(search, [("transaction", &document)])[0]["status"], 201);

    let Body::Json(mapping) = &mut step.body else { panic!("no mapping") };
    mapping["properties"]["headtrail"]["properties"]["colour"] = json!({"type": "long"});
    assert!(matches!(step.apply(&mut send), Ok(Outcome::Open(why)) if why.contains("_rollover")));
}
