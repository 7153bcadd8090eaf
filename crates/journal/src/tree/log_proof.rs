//! A file that proves, without the log, that an entry is in it: index, inclusion proof and checkpoint, C2SP
//! [tlog-proof](https://c2sp.org/tlog-proof). Who checks it brings the entry and the key.

use std::fmt;

use super::checkpoint::{Checkpoint, CheckpointError};
use super::hash::Hash;
use super::note::{NOTE_BYTES_MAX, VerifierKey};
use super::proof::{InclusionProof, PROOF_HASHES_MAX, ProofError};
use super::text;

/// Longest proof that is read: a note, and as much before it.
pub const LOG_PROOF_BYTES_MAX: usize = 2 * NOTE_BYTES_MAX;

const HEADER: &str = "c2sp.org/tlog-proof@v1";

/// The parts of such a file. `Display` writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogProof {
    /// Not covered by anything, so nobody may believe it; may help to make the entry anew. Empty if there is none.
    pub extra: Vec<u8>,
    /// Index of the entry.
    pub index: u64,
    /// From the leaf's sibling up.
    pub hashes: Vec<Hash>,
    /// The signed note, as it is.
    pub checkpoint: String,
}

/// Why such a file proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogProofError {
    /// Longer than [`LOG_PROOF_BYTES_MAX`], or more hashes than [`PROOF_HASHES_MAX`].
    TooLong,
    /// Not of this form; the line, counted from 1, is not what it has to be.
    Line(usize),
    /// Its checkpoint is not to be believed.
    Checkpoint(CheckpointError),
    /// It does not lead from the entry to the checkpoint's root.
    Proof(ProofError),
}

impl fmt::Display for LogProofError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => f.write_str("the proof is too long"),
            Self::Line(line) => write!(f, "line {line} is not that of a proof of the form {HEADER}"),
            Self::Checkpoint(error) => error.fmt(f),
            Self::Proof(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for LogProofError {}

impl LogProof {
    /// Reads such a file. Its checkpoint is kept as it is; [`verify`](Self::verify) looks into it.
    ///
    /// # Errors
    /// It is not of this form, or beyond the limits.
    pub fn parse(bytes: &[u8]) -> Result<Self, LogProofError> {
        if bytes.len() > LOG_PROOF_BYTES_MAX {
            return Err(LogProofError::TooLong);
        }
        let file = std::str::from_utf8(bytes).map_err(|_| LogProofError::Line(1))?;
        let mut lines = Lines { rest: file, number: 0 };
        if lines.next() != Some(HEADER) {
            return Err(LogProofError::Line(1));
        }
        let mut line = lines.next();
        let mut extra = Vec::new();
        if let Some(encoded) = line.and_then(|line| line.strip_prefix("extra ")) {
            extra = text::from_base64(encoded)
                .filter(|e| !e.is_empty())
                .ok_or(LogProofError::Line(lines.number))?;
            line = lines.next();
        }
        let index = line.and_then(|line| text::decimal(line.strip_prefix("index ")?));
        let index = index.ok_or(LogProofError::Line(lines.number))?;
        let mut hashes = Vec::new();
        loop {
            match lines.next() {
                Some("") => break,
                Some(_) if hashes.len() == PROOF_HASHES_MAX => return Err(LogProofError::TooLong),
                line => {
                    hashes.push(line.and_then(Hash::from_base64).ok_or(LogProofError::Line(lines.number))?)
                }
            }
        }
        Ok(Self { extra, index, hashes, checkpoint: lines.rest.to_owned() })
    }

    /// Checks that the leaf is at the index in the log of the key, and returns the checkpoint that says so.
    ///
    /// # Errors
    /// Why it is not proved.
    pub fn verify(&self, leaf: &Hash, key: &VerifierKey) -> Result<Checkpoint, LogProofError> {
        let checkpoint =
            Checkpoint::open(self.checkpoint.as_bytes(), key).map_err(LogProofError::Checkpoint)?;
        let proof = InclusionProof { index: self.index, size: checkpoint.size, hashes: self.hashes.clone() };
        proof.verify(leaf, &checkpoint.root).map_err(LogProofError::Proof)?;
        Ok(checkpoint)
    }
}

impl fmt::Display for LogProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}")?;
        if !self.extra.is_empty() {
            writeln!(f, "extra {}", text::to_base64(&self.extra))?;
        }
        writeln!(f, "index {}", self.index)?;
        self.hashes.iter().try_for_each(|hash| writeln!(f, "{hash}"))?;
        write!(f, "\n{}", self.checkpoint)
    }
}

/// Lines that end with a line feed, and what follows them.
struct Lines<'a> {
    rest: &'a str,
    number: usize,
}

impl<'a> Lines<'a> {
    fn next(&mut self) -> Option<&'a str> {
        self.number += 1;
        let (line, rest) = self.rest.split_once('\n')?;
        self.rest = rest;
        Some(line)
    }
}
