//! The words that all of Headtrail shares.
//!
//! Place in the data's way: `capture` yields [`event::Event`]s; `assemble` turns them into
//! [`transaction::RawTransaction`]s; [`redact`] turns those into [`transaction::Transaction`]s, the only
//! form that can be written or printed. No I/O and no clock in this crate: bytes and time are arguments.
#![forbid(unsafe_code)]

pub mod event;
pub mod features;
pub mod transaction;
