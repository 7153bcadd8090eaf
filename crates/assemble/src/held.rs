//! Runs that lie behind a hole and wait for what is missing.

use crate::limits::Limits;
use crate::run::{Piece, Run, distance};
use crate::weight::{self, ALLOCATION_BYTES};

/// Runs that lie behind a hole, in order, without overlap.
#[derive(Default)]
pub(crate) struct Held {
    pub(crate) pieces: Vec<Piece>,
    pub(crate) bytes: usize,
    /// Time of the run that was held back first.
    pub(crate) since_ns: u64,
}

impl Held {
    /// Nothing yet.
    pub(crate) fn since(since_ns: u64) -> Self {
        Self { since_ns, ..Self::default() }
    }

    /// Puts a run among the others, without what is already there; false where that differs.
    pub(crate) fn insert(&mut self, run: &Run<'_>) -> bool {
        if self.pieces.is_empty() {
            self.since_ns = run.time_ns;
        }
        let mut run = *run;
        let mut same = true;
        let mut i = 0;
        while i < self.pieces.len() && !run.bytes.is_empty() {
            let piece = &self.pieces[i];
            let before = distance(run.sequence, piece.sequence);
            if before > 0 {
                // The part before the piece is new.
                let len = (before as usize).min(run.bytes.len());
                let part = Run { bytes: &run.bytes[..len], ..run };
                self.bytes += len;
                self.pieces.insert(i, Piece::of(&part));
                run.skip(len);
            } else {
                let offset = (-before) as usize;
                let known = piece.bytes.get(offset..).unwrap_or(&[]);
                let len = known.len().min(run.bytes.len());
                same &= known[..len] == run.bytes[..len];
                run.skip(len);
            }
            i += 1;
        }
        if !run.bytes.is_empty() {
            self.bytes += run.bytes.len();
            self.pieces.push(Piece::of(&run));
        }
        same
    }

    /// Takes the first one.
    pub(crate) fn take(&mut self) -> Option<Piece> {
        if self.pieces.is_empty() {
            return None;
        }
        let piece = self.pieces.remove(0);
        self.bytes -= piece.bytes.len();
        Some(piece)
    }

    /// Gives back what [`Held::take`] took.
    pub(crate) fn put_back(&mut self, piece: Piece) {
        self.bytes += piece.bytes.len();
        self.pieces.insert(0, piece);
    }

    /// More is held back than the limits allow.
    pub(crate) fn is_too_much(&self, limits: &Limits) -> bool {
        self.bytes > limits.reorder_bytes_max || self.pieces.len() > limits.reorder_segments_max
    }

    /// What is held weighs so much.
    pub(crate) fn weight(&self) -> usize {
        weight::vector::<Piece>(self.pieces.capacity()) + self.pieces.len() * ALLOCATION_BYTES + self.bytes
    }
}
