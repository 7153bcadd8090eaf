//! The durable, provable log of records.
//!
//! Place in the data's way: records come in encoded and redacted, and go out to readers with cursors. What is in a record is not known
//! here. The layout on disk is written down in docs/formats/journal.md, which comes before this code.
//!
//! - [`block`] packs records, [`writer`] gives blocks their place and makes them durable, [`recovery`] decides what to do with what
//!   a crash left, [`retention`] which segments may go.
//! - [`reader`] gives blocks in order, over damage and removed segments, and says so; [`cursor`] keeps where it was.
//! - [`journal`] joins the writer and the tree, [`keys`] has the key that signs, [`verify`] compares everything with what was signed.
//! - [`tree`] proves what is there: tiles, checkpoints, proofs.
//! - [`storage`] is all that is known of the disk, so that tests can put one there that fails by seed ([`testing`]).
//!
//! No threads and no clock in here: time is an argument.
#![forbid(unsafe_code)]

pub mod block;
pub mod cursor;
mod error;
pub mod format;
pub mod journal;
pub mod keys;
mod meta;
#[cfg(test)]
mod model_tests;
pub mod reader;
pub mod recovery;
pub mod retention;
mod signed;
pub mod storage;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod tree;
pub mod verify;
mod walk;
pub mod writer;

pub use error::{DiskTrouble, Error, Result};
