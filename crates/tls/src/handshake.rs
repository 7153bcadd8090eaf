//! Handshake messages out of records: several in one record, one over several.
//!
//! Only messages that are looked into are kept while they come in; certificates and the like are passed over by their
//! length, so that what a connection holds does not depend on what its ends send.

use crate::facts::Reason;

/// Longest handshake message that is looked into, bytes.
pub const HANDSHAKE_MESSAGE_BYTES_MAX: usize = 64 * 1024;

pub(crate) const CLIENT_HELLO: u8 = 1;
pub(crate) const SERVER_HELLO: u8 = 2;
pub(crate) const END_OF_EARLY_DATA: u8 = 5;
pub(crate) const ENCRYPTED_EXTENSIONS: u8 = 8;
pub(crate) const SERVER_HELLO_DONE: u8 = 14;
pub(crate) const FINISHED: u8 = 20;
pub(crate) const KEY_UPDATE: u8 = 24;

fn is_looked_into(kind: u8) -> bool {
    matches!(kind, CLIENT_HELLO | SERVER_HELLO | ENCRYPTED_EXTENSIONS | KEY_UPDATE)
}

/// A whole message; of those that are passed over `body` is empty.
pub(crate) struct Message {
    pub(crate) kind: u8,
    pub(crate) body: Vec<u8>,
}

/// The message that is coming in.
#[derive(Default)]
pub(crate) struct Joiner {
    header: Vec<u8>,
    /// Bytes of the body that are yet to come.
    missing: usize,
    body: Vec<u8>,
}

impl Joiner {
    /// No message is half there.
    pub(crate) fn is_empty(&self) -> bool {
        self.header.is_empty()
    }

    /// Forgets a message that is half there.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Bytes that are held.
    pub(crate) fn held_bytes(&self) -> usize {
        self.header.capacity() + self.body.capacity()
    }

    /// Takes bytes off `bytes` until a message is whole, or none are left.
    pub(crate) fn next(&mut self, bytes: &mut &[u8]) -> Result<Option<Message>, Reason> {
        while self.header.len() < 4 {
            let Some((first, rest)) = bytes.split_first() else { return Ok(None) };
            self.header.push(*first);
            *bytes = rest;
            if let [kind, a, b, c] = self.header[..] {
                self.missing = u32::from_be_bytes([0, a, b, c]) as usize;
                if is_looked_into(kind) && self.missing > HANDSHAKE_MESSAGE_BYTES_MAX {
                    return Err(Reason::TooLarge);
                }
            }
        }
        let kind = self.header[0];
        let (now, rest) = bytes.split_at(self.missing.min(bytes.len()));
        if is_looked_into(kind) {
            self.body.extend_from_slice(now);
        }
        self.missing -= now.len();
        *bytes = rest;
        if self.missing > 0 {
            return Ok(None);
        }
        let body = std::mem::take(&mut self.body);
        self.clear();
        Ok(Some(Message { kind, body }))
    }
}
