//! Records as they lie in a journal: `proto/headtrail/v1/record.proto`.
//!
//! Encoding is written by hand and appends straight from the spans of a message, since it happens once for every
//! transaction while the kernel waits; so is decoding of messages, into one text each. The generated types ([`v1`]) would allocate
//! each name and value; they decode everything else, and are what tests hold both against. Before that [`limits`] sees to it
//! that the bytes, which may be anybody's, cannot ask for more memory than their length justifies.
//!
//! Laws: what is decoded prints as the same text as what was encoded, in each format; the bytes are the ones that the generated
//! types would write (so they are canonical, and the same record has one encoding); decoding any bytes ends in a
//! record or an error. Except by redaction, this is the only way to a [`crate::transaction::Transaction`]: only such a one can be
//! encoded.

mod decode;
mod encode;
mod limits;
mod numbers;
#[cfg(test)]
mod tests;
#[allow(missing_docs, dead_code, clippy::all)]
mod v1;
mod wire;

pub use decode::{DecodeError, decode, peek};
pub use encode::{TooLarge, annotation, checkpoint, coverage, lifecycle, loss, record, transaction};
pub use limits::{FIELDS_MAX, INTERIM_MAX, LINES_MAX, RECORD_BYTES_MAX};
