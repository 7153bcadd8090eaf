//! What there is to set.

use crate::settings::{Auth, Timeouts, Tls};

/// Which of the two; they differ in what `setup` writes, and in what an answer looks like in rare cases.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flavour {
    /// Elasticsearch.
    Elasticsearch,
    /// OpenSearch.
    OpenSearch,
}

impl Flavour {
    /// The name in the config.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Elasticsearch => "elasticsearch",
            Self::OpenSearch => "opensearch",
        }
    }
}

/// A cluster.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which product.
    pub flavour: Flavour,
    /// Base URLs of its nodes, tried in turn.
    pub nodes: Vec<String>,
    /// Third part of the data streams' names: `logs-headtrail.TYPE-NAMESPACE`.
    pub namespace: String,
    /// Ingest pipeline.
    pub pipeline: Option<String>,
    /// Whether requests are packed with gzip.
    pub gzip: bool,
    /// Who we are.
    pub auth: Auth,
    /// Whom we trust.
    pub tls: Tls,
    /// Time limits.
    pub timeouts: Timeouts,
}
