//! Real connections and their key logs: the plaintext that comes out is exactly what was sent, or nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod captures;
mod gaps;
mod hostile;
mod openssl;
mod pairs;
mod reading;
