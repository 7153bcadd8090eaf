use std::time::Duration;

use super::*;

fn reply(status: u16, body: &str) -> Reply {
    Reply { status, retry_after: None, body: body.as_bytes().to_vec() }
}

fn one(status: u16, kind: &str, reason: &str) -> Item {
    let body = serde_json::json!({"errors": true, "items": [{"create": {"status": status, "error": {"type": kind, "reason": reason}}}]});
    match answer(&reply(200, &body.to_string()), 1) {
        Answer::Items(mut items) => items.remove(0),
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_document_is_treated_as_the_answer_says() {
    let body = r#"{"errors":true,"items":[{"create":{"status":201}},{"create":{"status":409,"error":{"type":"version_conflict_engine_exception","reason":"[1]: version conflict"}}},{"create":{"status":429,"error":{"type":"es_rejected_execution_exception","reason":"rejected"}}}]}"#;
    assert_eq!(answer(&reply(200, body), 3), Answer::Items(vec![Item::Stored, Item::Duplicate, Item::Again]));
    let kind = "document_parsing_exception";
    assert_eq!(
        one(400, kind, "failed to parse"),
        Item::Refused(Refusal {
            status: Some(400),
            kind: kind.to_owned(),
            reason: "failed to parse".to_owned()
        })
    );
}

#[test]
fn what_the_cluster_is_to_blame_for_is_no_dead_letter() {
    for (status, kind, reason) in [
        (404, "index_not_found_exception", "no such index [x] and [action.auto_create_index] ..."),
        (
            403,
            "cluster_block_exception",
            "index [x] blocked by: [FORBIDDEN/12/index read-only / allow delete (api)];",
        ),
        (403, "security_exception", "action [indices:data/write/bulk[s]] is unauthorized"),
        (
            400,
            "validation_exception",
            "this action would add [2] shards, but this cluster currently has [1000]/[1000]",
        ),
        (400, "illegal_argument_exception", "pipeline with id [p] does not exist"),
        (503, "unavailable_shards_exception", "primary shard is not active"),
        (500, "anything", ""),
    ] {
        assert_eq!(one(status, kind, reason), Item::Again, "{kind}");
    }
    for (status, kind, reason) in [
        (400, "illegal_argument_exception", "Limit of total fields [1000] has been exceeded"),
        (400, "strict_dynamic_mapping_exception", "mapping set to strict"),
        (400, "mapper_parsing_exception", "failed to parse field"),
        (404, "anything", ""),
    ] {
        assert!(matches!(one(status, kind, reason), Item::Refused(_)), "{kind}");
    }
}

#[test]
fn a_request_that_failed_as_a_whole_is_sent_again_or_halved() {
    for (status, kind) in [
        (429, "busy"),
        (401, "unauthorized"),
        (403, "unauthorized"),
        (500, "server_error"),
        (503, "server_error"),
        (404, "config"),
        (302, "config"),
        (101, "config"),
    ] {
        let mut reply = reply(status, r#"{"error":{"type":"t","reason":"r"},"status":1}"#);
        reply.retry_after = Some(Duration::from_secs(9));
        match answer(&reply, 1) {
            Answer::Again(trouble) => {
                assert_eq!((trouble.kind, trouble.wait), (kind, reply.retry_after));
                assert_eq!(trouble.what, format!("status {status}: t: r"));
            }
            other => panic!("{status}: {other:?}"),
        }
    }
    assert!(matches!(answer(&reply(413, ""), 2), Answer::TooLarge(_)));
    assert!(matches!(answer(&reply(400, "<html>"), 2), Answer::TooLarge(_)));
}

#[test]
fn an_answer_that_is_none_settles_nothing() {
    for body in
        ["", "{", "[]", "{}", r#"{"items":[]}"#, r#"{"items":[{"index":{"status":201}}]}"#, "<html>\u{1b}[2J"]
    {
        match answer(&reply(200, body), 1) {
            Answer::Again(trouble) => {
                assert_eq!(trouble.kind, "answer");
                assert!(!trouble.what.contains(char::is_control));
            }
            other => panic!("{body}: {other:?}"),
        }
    }
    let two = r#"{"items":[{"create":{"status":201}},{"create":{"status":201}}]}"#;
    assert!(matches!(answer(&reply(200, two), 1), Answer::Again(_)));
}

#[test]
fn a_node_that_shows_nothing_but_its_bulk_interface_lets_us_in() {
    for status in [200, 403, 404, 405] {
        assert!(check(&reply(status, "")).is_ok(), "{status}");
    }
    for (status, kind) in [(401, "unauthorized"), (429, "busy"), (502, "server_error"), (302, "config")] {
        assert_eq!(check(&reply(status, "")).unwrap_err().kind, kind, "{status}");
    }
}
