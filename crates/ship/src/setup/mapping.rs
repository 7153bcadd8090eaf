//! The mapping of the documents, from the one list of fields.
//!
//! Long values: a term of Lucene has at most 32,766 bytes, and a header may be longer. What is longer than `ignore_above` is not
//! indexed: it stays in `_source`, is shown, and a search for it does not find it (Elasticsearch names the field in `_ignored`, OpenSearch
//! does not). OpenSearch's `flat_object` has no such limit to set, and a document with a longer header value is refused.

use headtrail_record::ecs_fields::FIELDS;
use serde_json::{Map, Value, json};

use crate::elasticsearch::Flavour;

/// Characters of UTF-16, as the servers count them: each has at most 3 bytes of UTF-8, and Elasticsearch puts the name of a header before the
/// value of it, so a term with the longest value has room for a name of 8,000 bytes.
pub const IGNORE_ABOVE: u32 = 8191;

/// The mapping, with all fields, and refusing others.
#[must_use]
pub fn mapping(flavour: Flavour) -> Value {
    let mut properties = Map::new();
    for field in FIELDS {
        insert(&mut properties, field.name, leaf(field.kind, flavour));
    }
    json!({"dynamic": "strict", "properties": properties})
}

/// What stands in the mapping for a field of that type.
fn leaf(kind: &str, flavour: Flavour) -> Value {
    match (kind, flavour) {
        ("flattened", Flavour::Elasticsearch) => json!({"type": "flattened", "ignore_above": IGNORE_ABOVE}),
        ("flattened", Flavour::OpenSearch) => json!({"type": "flat_object"}),
        ("keyword", _) => json!({"type": "keyword", "ignore_above": IGNORE_ABOVE}),
        // Elasticsearch takes any length here. OpenSearch counts values only with doc_values, whose limit is that of a term.
        ("wildcard", Flavour::Elasticsearch) => json!({"type": "wildcard"}),
        ("wildcard", Flavour::OpenSearch) => {
            json!({"type": "wildcard", "doc_values": true, "ignore_above": IGNORE_ABOVE})
        }
        _ => json!({"type": kind}),
    }
}

/// Puts a field where its dots say. A name that is a field cannot hold others, which a test of the list excludes.
fn insert(properties: &mut Map<String, Value>, name: &str, leaf: Value) {
    match name.split_once('.') {
        None => {
            properties.insert(name.to_owned(), leaf);
        }
        Some((object, rest)) => {
            let object = properties.entry(object).or_insert_with(|| json!({"properties": {}}));
            if let Some(inner) = object.get_mut("properties").and_then(Value::as_object_mut) {
                insert(inner, rest, leaf);
            }
        }
    }
}
