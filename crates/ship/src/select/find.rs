//! The values of a field in a document.

use serde_json::Value;

use super::field::Path;

/// Whether a value of the field passes. Lists have all their entries as values, at any depth, and so have the objects of flattened
/// fields; null is no value. Names with dots in them and objects within objects are the same, as they are to Elasticsearch.
///
/// Each part of a document is looked at once at most, for the names above it leave one rest of the path; how deep it goes is limited by
/// the reader of JSON.
pub(super) fn any(document: &Value, path: &Path, passes: &dyn Fn(&Value) -> bool) -> bool {
    below(document, Some(&path.name), passes)
}

/// `rest` is the path that is still to go; None: all that lies here counts.
fn below(value: &Value, rest: Option<&str>, passes: &dyn Fn(&Value) -> bool) -> bool {
    match (value, rest) {
        (Value::Array(list), _) => list.iter().any(|entry| below(entry, rest, passes)),
        (Value::Object(members), None) => members.values().any(|member| below(member, None, passes)),
        (Value::Object(members), Some(rest)) => members.iter().any(|(name, member)| {
            rest.strip_prefix(name.as_str()).is_some_and(|further| match further.strip_prefix('.') {
                Some(further) => below(member, Some(further), passes),
                None => further.is_empty() && below(member, None, passes),
            })
        }),
        (Value::Null, _) | (_, Some(_)) => false,
        (value, None) => passes(value),
    }
}
