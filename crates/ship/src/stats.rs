//! What a reader has done, for metrics, `status`, and loss records.

use headtrail_journal::cursor::Cursor;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The counts of one reader.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Documents that are there.
    pub stored: u64,
    /// Of these, those that had been there before.
    pub duplicates: u64,
    /// Documents in the dead-letter file.
    pub dead_letters: u64,
    /// Of these, those whose records tell of a loss: no further record tells of them.
    pub dead_loss_records: u64,
    /// Dead letters that were removed because the file was full.
    pub dead_letters_removed: u64,
    /// Documents that were sent once more.
    pub again: u64,
    /// Times that something was sent.
    pub requests: u64,
    /// Why it did not go on, how often.
    pub troubles: BTreeMap<&'static str, u64>,
    /// Records that retention took before they were read.
    pub skipped_records: u64,
    /// Records that could not be read.
    pub unreadable_records: u64,
    /// Bytes that were sent.
    pub sent_bytes: u64,
    /// The first record that is not settled; its block is what retention must keep, if it can.
    pub cursor: Cursor,
    /// Time of the newest settled document, nanoseconds since the Unix epoch; 0: none.
    pub settled_time_ns: u64,
    /// Why it does not go on now; None while it does.
    pub trouble: Option<String>,
}

/// Where the newest counts of a reader are. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Stats(Arc<Mutex<Counts>>);

impl Stats {
    /// A copy.
    #[must_use]
    pub fn get(&self) -> Counts {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn put(&self, counts: &Counts) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone_from(counts);
    }
}
