//! What is done about the answers to a plan, whatever they are.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use headtrail_ship::elasticsearch::Flavour;
use headtrail_ship::setup::{Kind, Options, Outcome, Step, Target, apply, plan};
use headtrail_ship::sink::Trouble;
use serde_json::{Value, json};

const OPENSEARCH: Target = Target::Cluster(Flavour::OpenSearch);

fn step(target: Target, kind: Kind) -> Step {
    plan(target, &Options::default()).into_iter().find(|step| step.kind == kind).unwrap()
}

/// What becomes of the step, and what was asked.
fn answered(step: &Step, mut answers: Vec<(u16, Value)>) -> (Result<Outcome, Trouble>, Vec<String>) {
    let mut asked = Vec::new();
    let outcome = step.apply(&mut |step| {
        asked.push(format!("{} {}", step.method, step.path));
        assert_eq!(step.method == "GET", step.body.bytes().is_empty());
        Ok(answers.remove(0))
    });
    assert_eq!(answers, []);
    (outcome, asked)
}

/// What an OpenSearch with the plugin says of a policy: with members of its own.
fn stored(options: &Options) -> Value {
    let step = plan(OPENSEARCH, options).into_iter().find(|step| step.kind == Kind::StatePolicy).unwrap();
    let mut policy: Value = serde_json::from_slice(&step.body.bytes()).unwrap();
    policy["policy"]["policy_id"] = json!("headtrail");
    policy["policy"]["last_updated_time"] = json!(1_795_545_411_123_u64);
    policy["policy"]["error_notification"] = Value::Null;
    policy["policy"]["states"][0]["actions"][0]["retry"] =
        json!({"count": 3, "backoff": "exponential", "delay": "1m"});
    policy["policy"]["states"][0]["actions"][0]["rollover"]["copy_alias"] = json!(false);
    policy["policy"]["ism_template"][0]["last_updated_time"] = json!(1_795_545_411_123_u64);
    json!({"_id": "headtrail", "_version": 3, "_seq_no": 7, "_primary_term": 2, "policy": policy["policy"]})
}

#[test]
fn a_state_policy_that_is_there_is_left_alone() {
    let step = step(OPENSEARCH, Kind::StatePolicy);
    let (outcome, asked) = answered(&step, vec![(200, stored(&Options::default()))]);
    assert_eq!(
        (outcome, asked),
        (Ok(Outcome::Same), vec!["GET /_plugins/_ism/policies/headtrail".to_owned()])
    );
}

#[test]
fn a_state_policy_that_differs_is_replaced_by_its_version() {
    let step = step(OPENSEARCH, Kind::StatePolicy);
    for other in [
        Options { retention_days: 7, ..Options::default() },
        Options { rollover_days: 7, ..Options::default() },
        Options { rollover_gb: 7, ..Options::default() },
    ] {
        let (outcome, asked) = answered(&step, vec![(200, stored(&other)), (200, json!({}))]);
        assert_eq!(outcome, Ok(Outcome::Done));
        assert_eq!(asked[1], "PUT /_plugins/_ism/policies/headtrail?if_seq_no=7&if_primary_term=2");
    }
}

#[test]
fn a_state_policy_with_another_state_is_replaced() {
    let mut there = stored(&Options::default());
    there["policy"]["states"].as_array_mut().unwrap().push(json!({"name": "warm"}));
    let (outcome, asked) =
        answered(&step(OPENSEARCH, Kind::StatePolicy), vec![(200, there), (200, json!({}))]);
    assert_eq!((outcome, asked.len()), (Ok(Outcome::Done), 2));
}

#[test]
fn a_state_policy_is_made_where_none_is() {
    let none = json!({"error": {"reason": "Policy not found"}, "status": 404});
    let (outcome, asked) =
        answered(&step(OPENSEARCH, Kind::StatePolicy), vec![(404, none), (201, json!({"_version": 1}))]);
    assert_eq!((outcome, asked[1].as_str()), (Ok(Outcome::Done), "PUT /_plugins/_ism/policies/headtrail"));
}

#[test]
fn an_opensearch_without_the_plugin_gets_the_rest() {
    let missing =
        json!({"error": "no handler found for uri [/_plugins/_ism/policies/headtrail] and method [GET]"});
    let (outcome, _) = answered(&step(OPENSEARCH, Kind::StatePolicy), vec![(400, missing)]);
    assert!(matches!(outcome, Ok(Outcome::Open(why)) if why.contains("plugin")));
}

#[test]
fn each_data_stream_that_is_there_gets_the_new_fields() {
    let step = step(OPENSEARCH, Kind::Mapping);
    for none in [(404, json!({"error": {"reason": "no such index"}})), (200, json!({"data_streams": []}))] {
        assert_eq!(answered(&step, vec![none]).0, Ok(Outcome::Same));
    }
    let two = json!({"data_streams": [{"name": "logs-headtrail.loss-a"}, {"name": "logs-headtrail.loss-b"}]});
    let done = json!({"acknowledged": true});
    let (outcome, asked) =
        answered(&step, vec![(200, two.clone()), (200, done.clone()), (200, done.clone())]);
    assert_eq!(outcome, Ok(Outcome::Done));
    assert_eq!(
        asked,
        [
            "GET /_data_stream/logs-headtrail.*-*",
            "PUT /logs-headtrail.loss-a/_mapping?write_index_only=true",
            "PUT /logs-headtrail.loss-b/_mapping?write_index_only=true",
        ]
    );

    let conflict = json!({"error": {"reason": "mapper [a] cannot be changed from type [long] to [keyword]"}});
    let (outcome, _) = answered(&step, vec![(200, two.clone()), (400, conflict), (200, done)]);
    let Ok(Outcome::Open(why)) = outcome else { panic!("{outcome:?}") };
    assert!(why.contains("POST /logs-headtrail.loss-a/_rollover (mapper [a]") && !why.contains("loss-b"));
    assert!(answered(&step, vec![(200, two), (403, json!({}))]).0.is_err());
    assert!(answered(&step, vec![(503, json!({}))]).0.is_err());
}

#[test]
fn the_other_product_is_told_before_anything_is_made() {
    let elasticsearch = json!({"version": {"number": "9.1.0", "build_flavor": "default"}});
    let opensearch = json!({"version": {"number": "2.19.6", "distribution": "opensearch"}});
    for (flavour, right, wrong) in [
        (Flavour::Elasticsearch, &elasticsearch, &opensearch),
        (Flavour::OpenSearch, &opensearch, &elasticsearch),
    ] {
        let steps = plan(Target::Cluster(flavour), &Options::default());
        assert_eq!(answered(&steps[0], vec![(200, right.clone())]).0, Ok(Outcome::Same));
        let mut asked = 0;
        let trouble = apply(&steps, &mut |_| {
            asked += 1;
            Ok((200, wrong.clone()))
        });
        assert_eq!((trouble.unwrap_err().kind, asked), ("config", 1));
        assert!(answered(&steps[0], vec![(200, json!("<html>"))]).0.is_err());
    }
}

#[test]
fn refused_objects_are_trouble_although_the_status_is_200() {
    let step = step(Target::Dashboards(Flavour::Elasticsearch), Kind::Import);
    assert_eq!(
        answered(&step, vec![(200, json!({"success": true, "successCount": 50}))]).0,
        Ok(Outcome::Done)
    );
    let refused = json!({"success": false, "errors": [{"id": "a", "error": {"type": "missing_references"}}]});
    let trouble = answered(&step, vec![(200, refused)]).0.unwrap_err();
    assert!(trouble.what.contains("missing_references"));
}

#[test]
fn the_first_failure_ends_it_and_says_where() {
    let steps = plan(OPENSEARCH, &Options::default());
    for (status, kind) in
        [(401, "unauthorized"), (403, "unauthorized"), (429, "busy"), (503, "server_error"), (400, "answer")]
    {
        let mut asked = 0;
        let trouble = apply(&steps, &mut |step| {
            asked += 1;
            match step.kind {
                Kind::Product(_) => {
                    Ok((200, json!({"version": {"number": "2", "distribution": "opensearch"}})))
                }
                Kind::StatePolicy => Ok((200, stored(&Options::default()))),
                _ => Ok((status, json!({"error": {"reason": "not\nyou"}}))),
            }
        });
        let trouble = trouble.unwrap_err();
        assert_eq!((trouble.kind, asked), (kind, 3));
        assert_eq!(trouble.what, format!("PUT /_component_template/headtrail@mappings: {status}: not you"));
    }
}
