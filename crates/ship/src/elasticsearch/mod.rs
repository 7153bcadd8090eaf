//! Elasticsearch and OpenSearch, by their bulk interface, into data streams.
//!
//! Documents are made by `create` with a stable id: what is there already in the backing index that is being written is answered with 409
//! and counts as stored. After a rollover the same document can come into the next backing index once more, since ids are unique within
//! one only; `event.id` still tells.

mod encode;
mod request;
mod retry;
mod settings;

pub use request::Bulk;
/// For the fuzzer.
#[doc(hidden)]
pub use retry::answer;
pub use settings::{Flavour, Settings};
