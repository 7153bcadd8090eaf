//! The bulk API itself: the lines of a request, the documents that are there, and the answer.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::behaviour::{Fixed, Item, Refusal};

/// Documents by index and id.
#[derive(Debug, Default)]
pub(super) struct Store {
    pub(super) documents: BTreeMap<(String, String), Value>,
    /// How often a document came that was there already.
    pub(super) conflicts: u64,
    /// For ids and sequence numbers.
    written: u64,
}

/// A document of a request, or why it cannot be one. The request goes on after it.
type ParsedItem = (Item, Option<Refusal>);

/// Why a request is none: the type of the error, and the reason.
type WholeError = (&'static str, String);

impl Store {
    /// Takes a whole body. The answer, and how many documents it had: none, if it is no bulk request.
    pub(super) fn take(
        &mut self,
        default_index: Option<&str>,
        body: &[u8],
        refuse: impl Fn(&Item) -> Option<Refusal>,
    ) -> (Fixed, usize) {
        let items = match self.parse(default_index, body) {
            Ok(items) => items,
            Err((kind, reason)) => return (error(400, kind, &reason), 0),
        };
        let count = items.len();
        let outcomes: Vec<Value> = items
            .into_iter()
            .map(|(item, broken)| {
                let refusal = broken.or_else(|| refuse(&item));
                self.store(item, refusal)
            })
            .collect();
        let failed =
            |outcome: &Value| outcome.as_object().is_some_and(|o| o.values().any(|v| v["error"].is_object()));
        let errors = outcomes.iter().any(failed);
        let body = json!({ "took": 1, "errors": errors, "items": outcomes });
        (answer(200, &body), count)
    }

    fn store(&mut self, item: Item, refusal: Option<Refusal>) -> Value {
        let Item { action, index, id, source } = item;
        let key = (index.clone(), id.clone());
        let there = self.documents.contains_key(&key);
        let refusal = refusal.or_else(|| {
            (there && action == "create").then(|| {
                self.conflicts += 1;
                let reason =
                    format!("[{id}]: version conflict, document already exists (current version [1])");
                Refusal { status: 409, kind: "version_conflict_engine_exception".to_owned(), reason }
            })
        });
        let outcome = match refusal {
            Some(Refusal { status, kind, reason }) => json!({
                "_index": index, "_id": id, "status": status, "error": { "type": kind, "reason": reason },
            }),
            None => {
                self.documents.insert(key, source);
                self.written += 1;
                let (status, result) = if there { (200, "updated") } else { (201, "created") };
                json!({
                    "_index": index, "_id": id, "_version": 1, "result": result,
                    "_shards": { "total": 1, "successful": 1, "failed": 0 },
                    "_seq_no": self.written - 1, "_primary_term": 1, "status": status,
                })
            }
        };
        json!({ action: outcome })
    }

    fn parse(&mut self, default_index: Option<&str>, body: &[u8]) -> Result<Vec<ParsedItem>, WholeError> {
        if body.is_empty() {
            return Err(("parse_exception", "request body is required".to_owned()));
        }
        let Some(body) = body.strip_suffix(b"\n") else {
            let reason = "The bulk request must be terminated by a newline [\\n]";
            return Err(("illegal_argument_exception", reason.to_owned()));
        };
        let mut lines = body.split(|&byte| byte == b'\n').enumerate();
        let mut items = Vec::new();
        while let Some((n, line)) = lines.next() {
            if line.is_empty() {
                continue;
            }
            let malformed =
                || ("illegal_argument_exception", format!("Malformed action/metadata line [{}]", n + 1));
            let action: Value = serde_json::from_slice(line).map_err(|error| {
                let kind = if error.is_eof() { "json_e_o_f_exception" } else { "json_parse_exception" };
                (kind, error.to_string())
            })?;
            let (action, meta) = action.as_object().and_then(|o| o.iter().next()).ok_or_else(malformed)?;
            if !["create", "index"].contains(&action.as_str()) {
                let (kind, reason) = malformed();
                return Err((kind, format!("{reason}: only create and index are imitated")));
            }
            let text = |key: &str| meta[key].as_str().map(str::to_owned);
            let index = text("_index").or_else(|| default_index.map(str::to_owned));
            let index = index.ok_or_else(|| not_valid("index is missing"))?;
            let id = text("_id").unwrap_or_else(|| format!("made-up-{}-{}", self.written, items.len()));
            // A real one does not say that a last document is not there, either.
            let Some((_, source)) = lines.next() else { break };
            let source = serde_json::from_slice::<Value>(source).ok().filter(Value::is_object);
            let broken = if id.is_empty() {
                Some("illegal_argument_exception")
            } else {
                source.is_none().then_some("mapper_parsing_exception")
            };
            let broken = broken.map(|kind| Refusal::new(400, kind));
            let item = Item { action: action.clone(), index, id, source: source.unwrap_or_default() };
            items.push((item, broken));
        }
        if items.is_empty() { Err(not_valid("no requests added")) } else { Ok(items) }
    }
}

fn not_valid(why: &str) -> WholeError {
    ("action_request_validation_exception", format!("Validation Failed: 1: {why};"))
}

/// An answer with JSON.
pub(super) fn answer(status: u16, body: &Value) -> Fixed {
    let headers = vec![("Content-Type".to_owned(), "application/json; charset=UTF-8".to_owned())];
    Fixed { status, headers, body: body.to_string().into_bytes() }
}

/// An answer to a request that failed as a whole.
pub(super) fn error(status: u16, kind: &str, reason: &str) -> Fixed {
    let error = json!({ "root_cause": [{ "type": kind, "reason": reason }], "type": kind, "reason": reason });
    answer(status, &json!({ "error": error, "status": status }))
}
