//! Elasticsearch and OpenSearch, by their bulk interface.

mod settings;

pub use settings::{Flavour, Settings};
