//! A file of documents, one on a line (NDJSON), rotated.

mod settings;

pub use settings::Settings;
