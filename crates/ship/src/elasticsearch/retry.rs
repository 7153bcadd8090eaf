//! What an answer of the bulk interface means. Pure, and the only place that decides it.

use serde::Deserialize;

use crate::http::Reply;
use crate::sink::{Answer, Item, Refusal, Trouble, bounded};

#[derive(Deserialize)]
struct Bulk<'a> {
    #[serde(borrow, default)]
    items: Vec<Operation<'a>>,
}

#[derive(Deserialize)]
struct Operation<'a> {
    #[serde(borrow)]
    create: Outcome<'a>,
}

#[derive(Deserialize)]
struct Outcome<'a> {
    status: u16,
    #[serde(borrow)]
    error: Option<Why<'a>>,
}

#[derive(Deserialize, Default)]
struct Why<'a> {
    #[serde(borrow, rename = "type", default)]
    kind: std::borrow::Cow<'a, str>,
    #[serde(borrow, default)]
    reason: Option<std::borrow::Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Failure<'a> {
    #[serde(borrow)]
    error: Option<Why<'a>>,
}

/// Errors of a single document that are not its own fault: the cluster's state or set-up, which a person will mend. They come with statuses
/// from 400 on.
const NOT_ITS_FAULT: &[&str] = &[
    "index_not_found_exception",
    "index_closed_exception",
    "cluster_block_exception",
    "security_exception",
    "unavailable_shards_exception",
    "process_cluster_event_timeout_exception",
    "circuit_breaking_exception",
    "rejected_execution_exception",
    "validation_exception",
];

/// What became of `sent` documents.
#[must_use]
pub fn answer(reply: &Reply, sent: usize) -> Answer {
    let again =
        |kind, what: String| Answer::Again(Trouble { kind, what: bounded(&what), wait: reply.retry_after });
    match reply.status {
        200..=299 => match serde_json::from_slice::<Bulk<'_>>(&reply.body) {
            Ok(bulk) if bulk.items.len() == sent => {
                Answer::Items(bulk.items.into_iter().map(|operation| item(operation.create)).collect())
            }
            Ok(bulk) => again("answer", format!("{} results for {sent} documents", bulk.items.len())),
            Err(error) => again("answer", format!("not the answer of a bulk request: {error}")),
        },
        413 => Answer::TooLarge(refusal(reply)),
        429 => again("busy", words(reply)),
        401 | 403 => again("unauthorized", words(reply)),
        // The request as a whole was not understood: half of it may be.
        400 => Answer::TooLarge(refusal(reply)),
        500..=599 => again("server_error", words(reply)),
        _ => again("config", words(reply)),
    }
}

/// Whether a node lets us in.
pub(super) fn check(reply: &Reply) -> Result<(), Trouble> {
    let kind = match reply.status {
        200..=299 => return Ok(()),
        // It, or what stands before it, may be asked for bulk requests and nothing else.
        403..=405 => return Ok(()),
        401 => "unauthorized",
        429 => "busy",
        500..=599 => "server_error",
        _ => "config",
    };
    Err(Trouble { kind, what: bounded(&words(reply)), wait: reply.retry_after })
}

fn item(outcome: Outcome<'_>) -> Item {
    let why = outcome.error.unwrap_or_default();
    let reason = why.reason.as_deref().unwrap_or_default();
    match outcome.status {
        200..=299 => Item::Stored,
        409 => Item::Duplicate,
        429 | 500..=599 => Item::Again,
        _ if NOT_ITS_FAULT.contains(&why.kind.as_ref()) => Item::Again,
        // The pipeline of the config is not there.
        400 if why.kind == "illegal_argument_exception" && reason.starts_with("pipeline with id") => {
            Item::Again
        }
        status => {
            Item::Refused(Refusal { status: Some(status), kind: bounded(&why.kind), reason: bounded(reason) })
        }
    }
}

fn failure(reply: &Reply) -> Option<(String, String)> {
    let why = serde_json::from_slice::<Failure<'_>>(&reply.body).ok()?.error?;
    Some((why.kind.into_owned(), why.reason.unwrap_or_default().into_owned()))
}

fn words(reply: &Reply) -> String {
    match failure(reply) {
        Some((kind, reason)) => format!("status {}: {kind}: {reason}", reply.status),
        None => format!("status {}: {}", reply.status, String::from_utf8_lossy(&reply.body)),
    }
}

fn refusal(reply: &Reply) -> Refusal {
    let (kind, reason) = failure(reply).unwrap_or_else(|| {
        let what = if reply.status == 413 { "content_too_large" } else { "bad_request" };
        (what.to_owned(), String::from_utf8_lossy(&reply.body).into_owned())
    });
    Refusal { status: Some(reply.status), kind: bounded(&kind), reason: bounded(&reason) }
}

#[cfg(test)]
#[path = "retry_tests.rs"]
mod tests;
