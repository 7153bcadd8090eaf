//! What a cluster is told.

use serde_json::{Value, json};

use super::step::{Body, Kind, Step};
use super::{Options, PATTERN, lifecycle, mapping::mapping};
use crate::elasticsearch::Flavour;

/// Above the templates for `logs-*-*` that come with Elasticsearch (100) and those of its integrations (200).
const PRIORITY: u32 = 250;
const MAPPINGS: &str = "headtrail@mappings";
const SETTINGS: &str = "headtrail@settings";
/// Where users of Elasticsearch put their own, as with the templates that come with it.
const CUSTOM: &str = "headtrail@custom";

/// The steps: what refers to something comes after it.
pub(super) fn steps(flavour: Flavour, options: &Options) -> Vec<Step> {
    let policy = match flavour {
        Flavour::Elasticsearch => put(
            "How long documents stay, and when a data stream begins a new index.",
            Kind::Put,
            format!("/_ilm/policy/{}", lifecycle::NAME),
            lifecycle::elasticsearch(options),
        ),
        Flavour::OpenSearch => put(
            "How long documents stay, and when a data stream begins a new index (from its next one on).",
            Kind::StatePolicy,
            format!("/_plugins/_ism/policies/{}", lifecycle::NAME),
            lifecycle::opensearch(options),
        ),
    };
    vec![
        Step::new("Which product it is.", Kind::Product(flavour), "GET", "/", Body::Empty),
        policy,
        put(
            "The fields, and that no others may come.",
            Kind::Put,
            format!("/_component_template/{MAPPINGS}"),
            json!({"template": {"mappings": mapping(flavour)}, "_meta": meta("Fields of Headtrail's documents")}),
        ),
        put(
            "How they are stored.",
            Kind::Put,
            format!("/_component_template/{SETTINGS}"),
            json!({"template": {"settings": settings(flavour)}, "_meta": meta("How Headtrail's documents are stored")}),
        ),
        put(
            "That data streams of that name are of this kind.",
            Kind::Put,
            "/_index_template/headtrail".to_owned(),
            template(flavour),
        ),
        put(
            "New fields for the data streams that are there already, one after the other.",
            Kind::Mapping,
            format!("/{PATTERN}/_mapping?write_index_only=true"),
            mapping(flavour),
        ),
    ]
}

fn put(says: &'static str, kind: Kind, path: String, body: Value) -> Step {
    Step::new(says, kind, "PUT", path, Body::Json(body))
}

fn meta(description: &str) -> Value {
    json!({"description": description, "managed_by": "headtrail"})
}

/// Not set, since the defaults do: shards and replicas; the limit of fields, which a strict mapping cannot grow to; sorting by time, which
/// costs at each merge and gains little where documents come nearly sorted.
fn settings(flavour: Flavour) -> Value {
    let mut index = json!({"codec": "best_compression", "refresh_interval": "5s"});
    if flavour == Flavour::Elasticsearch {
        index["lifecycle"] = json!({"name": lifecycle::NAME});
    }
    json!({"index": index})
}

fn template(flavour: Flavour) -> Value {
    let mut template = json!({
        "index_patterns": [PATTERN],
        "data_stream": {},
        "priority": PRIORITY,
        "composed_of": [MAPPINGS, SETTINGS],
        "_meta": meta("Data streams of Headtrail"),
    });
    if flavour == Flavour::Elasticsearch {
        template["composed_of"] = json!([MAPPINGS, SETTINGS, CUSTOM]);
        template["ignore_missing_component_templates"] = json!([CUSTOM]);
    }
    template
}
