//! What Elasticsearch, OpenSearch, Kibana and OpenSearch Dashboards need to know before documents come: `headtrail setup`.
//!
//! Planning is pure and applying asks a closure: nothing here opens a connection, and `--dry-run` prints what would be sent.
//! The mapping comes from [`headtrail_record::ecs_fields::FIELDS`], the dashboards from the table in [`dashboards`]; nothing is
//! written down twice.
//!
//! Invariants:
//! - A plan can be applied again and again: what is there is replaced by the same, and the servers then change nothing.
//! - Nothing that holds data is deleted or closed.
//! - Mappings are strict: a field that [`FIELDS`](headtrail_record::ecs_fields::FIELDS) does not have is refused, so names cannot be made
//!   up by traffic.

mod apply;
mod cluster;
pub mod dashboards;
mod lifecycle;
pub mod mapping;
mod page;
mod saved;
mod step;

pub use apply::{Ask, Outcome, apply};
pub use page::page;
pub use step::{Body, Kind, Step, print};

use crate::elasticsearch::Flavour;

/// What is set up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// A cluster that takes documents.
    Cluster(Flavour),
    /// Kibana (for Elasticsearch) or OpenSearch Dashboards: what shows them.
    Dashboards(Flavour),
}

impl Target {
    /// All of them, by the names of the command line.
    pub const ALL: [(&str, Self); 4] = [
        ("elasticsearch", Self::Cluster(Flavour::Elasticsearch)),
        ("opensearch", Self::Cluster(Flavour::OpenSearch)),
        ("kibana", Self::Dashboards(Flavour::Elasticsearch)),
        ("opensearch-dashboards", Self::Dashboards(Flavour::OpenSearch)),
    ];
}

/// How long documents stay, and when a data stream begins a new index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// An index is deleted so many days after the next one began.
    pub retention_days: u32,
    /// A new index begins after so many days.
    pub rollover_days: u32,
    /// A new index begins when a primary shard has so many gigabytes.
    pub rollover_gb: u32,
}

impl Default for Options {
    /// The journal's own retention, and what both products advise for the size of shards.
    fn default() -> Self {
        Self { retention_days: 30, rollover_days: 1, rollover_gb: 50 }
    }
}

/// The data streams of all types and namespaces: `logs-headtrail.TYPE-NAMESPACE`.
const PATTERN: &str = "logs-headtrail.*-*";

/// What is to be sent, in order.
#[must_use]
pub fn plan(target: Target, options: &Options) -> Vec<Step> {
    match target {
        Target::Cluster(flavour) => cluster::steps(flavour, options),
        Target::Dashboards(flavour) => vec![saved::step(flavour)],
    }
}
