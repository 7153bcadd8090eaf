//! The words that all of Headtrail shares.
//!
//! Place in the data's way: `capture` yields [`event::Event`]s; `assemble` turns them into
//! [`transaction::RawTransaction`]s; [`redact`] turns those into [`transaction::Transaction`]s, the only
//! form that can be written; [`unredacted`] is the one exception for printing. [`proto`] is how records lie in a journal, [`json`] and [`ecs`] how they
//! are shown. No I/O and no clock in this crate: bytes and time are arguments.
#![forbid(unsafe_code)]

pub mod community_id;
pub mod ecs;
pub mod ecs_fields;
mod ecs_records;
mod ecs_url;
pub mod event;
pub mod features;
#[cfg(test)]
mod fixture;
pub mod grpc;
pub mod json;
mod json_features;
mod json_packet;
mod json_records;
mod json_text;
pub mod packet;
pub mod packet_text;
pub mod printable;
pub mod proto;
pub mod record;
pub mod redact;
pub mod time;
pub mod tls;
pub mod transaction;
pub mod unredacted;
pub mod volume;
