//! What an answer means. No I/O, no clock.

use std::io;

use crate::sink::{Trouble, bounded};

/// Bytes of an acknowledgement: `2A` and a sequence.
const ACK_BYTES: usize = 6;

/// Puts acknowledgements together from bytes as they come, and knows how far the window has got.
///
/// An acknowledgement means all documents up to its sequence; 0 means nothing but that the receiver lives.
#[derive(Default, Debug)]
pub struct Acks {
    window: u32,
    acked: u32,
    partial: [u8; ACK_BYTES],
    filled: usize,
}

impl Acks {
    /// Begins a window of so many documents; with none, nothing but signs of life is expected.
    pub fn begin(&mut self, documents: u32) {
        self.window = documents;
        self.acked = 0;
    }

    /// How many documents of the window were acknowledged.
    #[must_use]
    pub fn acked(&self) -> u32 {
        self.acked
    }

    /// Whether all of them were.
    #[must_use]
    pub fn complete(&self) -> bool {
        self.acked == self.window
    }

    /// Takes what came. Answers whether there was a whole acknowledgement in it.
    ///
    /// # Errors
    ///
    /// No acknowledgement, or one for documents that were not sent. Those before it count.
    pub fn hear(&mut self, bytes: &[u8]) -> Result<bool, Trouble> {
        let mut heard = false;
        for &byte in bytes {
            if let Some(place) = self.partial.get_mut(self.filled) {
                *place = byte;
            }
            self.filled += 1;
            if self.filled < ACK_BYTES {
                continue;
            }
            self.filled = 0;
            let [b'2', b'A', a, b, c, d] = self.partial else {
                let what = format!("no acknowledgement: {:02x?}", self.partial);
                return Err(Trouble { kind: "answer", what, wait: None });
            };
            let sequence = u32::from_be_bytes([a, b, c, d]);
            if sequence > self.window {
                let what = format!("document {sequence} was acknowledged, of {}", self.window);
                return Err(Trouble { kind: "answer", what, wait: None });
            }
            self.acked = self.acked.max(sequence);
            heard = true;
        }
        Ok(heard)
    }
}

/// Why a connection does not go on.
pub(super) fn trouble(node: &str, error: &io::Error) -> Trouble {
    let kind = match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => "time_out",
        _ if error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) => "tls",
        _ => "connect",
    };
    Trouble { kind, what: bounded(&format!("{node}: {error}")), wait: None }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ack(sequence: u32) -> Vec<u8> {
        [b"2A".as_slice(), &sequence.to_be_bytes()].concat()
    }

    #[test]
    fn what_is_heard_decides_what_is_stored() {
        let cases: [(&[u8], Option<bool>, u32); 9] = [
            (b"", Some(false), 0),
            (b"2A\0\0", Some(false), 0),
            (b"2A\0\0\0\0", Some(true), 0),
            (b"2A\0\0\0\x03", Some(true), 3),
            (b"2A\0\0\0\x032A\0\0\0\x02", Some(true), 3),
            (b"2A\0\0\0\x032A\0\0\0\x0b", None, 3),
            (b"2A\0\0\0\x0a2A\0\0\0\0", Some(true), 10),
            (b"1A\0\0\0\x03", None, 0),
            (b"HTTP/1.1 400", None, 0),
        ];
        for (bytes, expected, acked) in cases {
            let mut acks = Acks::default();
            acks.begin(10);
            assert_eq!(acks.hear(bytes).ok(), expected, "{bytes:?}");
            assert_eq!(acks.acked(), acked, "{bytes:?}");
        }
    }

    #[test]
    fn between_windows_only_signs_of_life_are_taken() {
        let mut acks = Acks::default();
        assert_eq!(acks.hear(&ack(0)), Ok(true));
        assert_eq!(acks.hear(&ack(1)).map_err(|t| t.kind), Err("answer"));
    }

    proptest! {
        #[test]
        fn cutting_changes_nothing(sequences in prop::collection::vec(0_u32..=20, 0..20), cuts in prop::collection::vec(1_usize..9, 1..20)) {
            let bytes: Vec<u8> = sequences.iter().flat_map(|s| ack(*s)).collect();
            let mut acks = Acks::default();
            acks.begin(20);
            let mut rest = bytes.as_slice();
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                acks.hear(now).expect("an acknowledgement");
                rest = later;
            }
            prop_assert_eq!(acks.acked(), sequences.into_iter().max().unwrap_or(0));
        }
    }
}
