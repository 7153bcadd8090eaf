//! When a data stream begins a new index, and when an old one goes.
//!
//! In both products the age of an index counts from its rollover, so a document stays for between `retention_days` and
//! `retention_days` + `rollover_days`: never less than what was asked for.

use serde_json::{Value, json};

use super::{Options, PATTERN};

/// Name of the policy.
pub(super) const NAME: &str = "headtrail";

/// Index lifecycle management of Elasticsearch.
pub(super) fn elasticsearch(options: &Options) -> Value {
    let Options { retention_days, rollover_days, rollover_gb } = options;
    json!({"policy": {
        "_meta": {"description": "Headtrail: roll over, then delete", "managed_by": "headtrail"},
        "phases": {
            "hot": {
                "min_age": "0ms",
                "actions": {"rollover": {
                    "max_age": format!("{rollover_days}d"),
                    "max_primary_shard_size": format!("{rollover_gb}gb"),
                }},
            },
            "delete": {"min_age": format!("{retention_days}d"), "actions": {"delete": {}}},
        },
    }})
}

/// Index state management of OpenSearch. It is compared with what the server has member by member, so all members are there whatever
/// the options are.
pub(super) fn opensearch(options: &Options) -> Value {
    let Options { retention_days, rollover_days, rollover_gb } = options;
    json!({"policy": {
        "description": "Headtrail: roll over, then delete",
        "default_state": "hot",
        "states": [
            {
                "name": "hot",
                "actions": [{"rollover": {
                    "min_index_age": format!("{rollover_days}d"),
                    "min_primary_shard_size": format!("{rollover_gb}gb"),
                }}],
                "transitions": [
                    {"state_name": "delete", "conditions": {"min_rollover_age": format!("{retention_days}d")}},
                ],
            },
            {"name": "delete", "actions": [{"delete": {}}], "transitions": []},
        ],
        "ism_template": [{"index_patterns": [PATTERN], "priority": 100}],
    }})
}
