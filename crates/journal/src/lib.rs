//! The durable, provable log of records.
//!
//! Place in the data's way: records come in encoded and redacted, and go out to readers with cursors. The layout on disk is
//! written down in docs/formats/journal.md, which comes before this code.
#![forbid(unsafe_code)]

pub mod tree;
