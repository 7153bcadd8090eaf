//! The rest of a head that is longer than [`Limits::head_bytes_max`](crate::Limits::head_bytes_max): it is not recorded,
//! but what it says of the body holds all the same. Of each line no more than its beginning is kept.

use headtrail_record::transaction::Anomaly;

use crate::framing::Facts;
use crate::weight::{self, ALLOCATION_BYTES};

/// More of a line is not looked at: a Content-Length or Transfer-Encoding with so many blanks is not understood.
const LINE_BYTES_MAX: usize = 256;

/// What is known of the head so far.
pub(crate) struct Skip {
    facts: Facts,
    /// The beginning of the line that has not ended.
    line: Vec<u8>,
}

impl Skip {
    /// Behind `text`, the beginning of the head, of which `facts` are known.
    pub(crate) fn new(facts: Facts, text: &[u8]) -> Self {
        let mut skip = Self { facts, line: Vec::with_capacity(LINE_BYTES_MAX) };
        let from = memchr::memrchr(b'\n', text).map_or(0, |lf| lf + 1);
        skip.append(&text[from..]);
        skip
    }

    /// The head goes on with `bytes`.
    pub(crate) fn take(&mut self, bytes: &[u8]) {
        for part in bytes.split_inclusive(|&b| b == b'\n') {
            self.append(part);
            if part.ends_with(b"\n") {
                self.judge();
                self.line.clear();
            }
        }
    }

    /// Bytes of it are missing.
    pub(crate) fn miss(&mut self) {
        self.facts.note_unseen();
    }

    /// What all of its lines say of the body.
    pub(crate) fn facts(&self) -> Facts {
        self.facts
    }

    /// It weighs so much.
    pub(crate) fn weight(&self) -> usize {
        size_of::<Self>() + ALLOCATION_BYTES + weight::vector::<u8>(self.line.capacity())
    }

    fn append(&mut self, part: &[u8]) {
        let room = LINE_BYTES_MAX - self.line.len();
        self.line.extend_from_slice(&part[..room.min(part.len())]);
    }

    fn judge(&mut self) {
        let cut = self.line.len() == LINE_BYTES_MAX;
        let line = self.line.trim_ascii_end();
        let (name, value) = match memchr::memchr(b':', line) {
            Some(colon) => (&line[..colon], line[colon + 1..].trim_ascii_start()),
            None => (line, &[][..]),
        };
        let mut facts = Facts::default();
        if matches!(line.first(), Some(b' ' | b'\t')) {
            // A fold: what it belongs to is not kept.
            self.facts.anomalies.add(Anomaly::ObsFold);
            self.facts.note_unseen();
        } else if cut {
            facts.note_any(name, value);
            if facts.frames() {
                self.facts.note_unseen();
            }
        } else {
            self.facts.note_any(name, value);
        }
    }
}
