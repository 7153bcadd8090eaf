//! Readers of the journal that carry its records elsewhere.
//!
//! Place in the data's way: right of the journal. Each destination of the config is a reader with a durable cursor and a thread
//! of its own; none waits for another, and the capture waits for none.
//!
//! journal --[`feed`]--> [`batch`] of documents --[`shipper`]--> [`sink::Sink`] (`elasticsearch`, `logstash`, `file`)
//!
//! Invariants:
//! - At least once: the cursor passes a record when its document was stored, or lies in the dead-letter file, or was not selected. Ids are
//!   stable, so what arrives twice can be told.
//! - What a destination says of one document is obeyed for that document: again, never again (dead letter), stored.
//! - Bounded: one batch for each reader, of limited bytes and documents; answers are read to a limit.
//! - Loss is counted: what retention took before it was read, what cannot be read, what went into the dead-letter file.
//!
//! A destination is a folder with the same files each: `settings`, `encode` (documents to bytes), `request` (the connection), `retry` (what
//! an answer means, pure). A new one implements [`sink::Sink`] and gets a line in [`settings::Destination`].
#![forbid(unsafe_code)]

pub mod backoff;
pub mod batch;
pub mod dead_letter;
mod delivery;
pub mod elasticsearch;
mod feed;
pub mod file;
pub mod gate;
pub mod http;
pub mod logstash;
pub mod replay;
pub mod select;
pub mod settings;
pub mod setup;
pub mod shipper;
pub mod sink;
pub mod stats;
