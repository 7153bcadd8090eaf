//! Reads what a TLS connection carries, from its bytes and a key log that the owner of one of its ends has written.
//!
//! Place in the data's way: a reader of captures puts each direction's bytes in order and hands them to a
//! [`Connection`]; plaintext comes out, which goes to `assemble` as if it had been on the wire. Nothing is attacked
//! here: without the secrets of a [`KeyLog`] a connection stays unread, and says why.
//!
//! Invariants
//! - No byte comes out that was not authenticated with keys that follow from the log.
//! - Plaintext comes in order; where records were lost its offset jumps, as sequence numbers of TCP do at a gap.
//! - A connection that cannot be read on ends with one of a closed set of reasons ([`Reason`]), never by a guess.
//! - Nothing panics, and what is held has a bound, whatever the bytes: one record and a handshake message of
//!   [`HANDSHAKE_MESSAGE_BYTES_MAX`] in each direction; [`HELD_BYTES_MAX`] where one direction waits for the other.
//! - Secrets are wiped when they are dropped, and have no `Debug`. Keys inside of ring are not wiped (docs/adr/0012).
//!
//! Not here: I/O, order of segments, TLS before 1.2, DTLS, QUIC, suites without AES or ChaCha20, compression, and the
//! inner ClientHello of ECH: it has a random of its own, by which the log cannot be searched.
#![forbid(unsafe_code)]

mod cipher;
mod connection;
mod facts;
mod gap;
mod half;
mod handshake;
mod hello;
mod keylog;
mod negotiate;
mod schedule;
mod suites;

pub use crate::connection::{Connection, Plain};
pub use crate::facts::{Facts, Reason, Side, State, Version};
pub use crate::gap::{GAP_CANDIDATES_MAX, GAP_RECORDS_MAX, GAP_SCAN_BYTES_MAX, GAP_WORK_BYTES_MAX};
pub use crate::half::HELD_BYTES_MAX;
pub use crate::handshake::HANDSHAKE_MESSAGE_BYTES_MAX;
pub use crate::keylog::{Counts, KEYLOG_CONNECTIONS_MAX, KeyLog};
pub use crate::suites::Suite;
