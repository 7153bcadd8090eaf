//! The state of the daemon at one moment: filled by its main loop once a second, and read by `/metrics`, `/api/status` and
//! `headtrail status`. So an event costs no metric call, and whoever asks costs the hot path nothing.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::sandbox;

/// After so long without a new one the main loop counts as stalled.
const STALLED_AFTER: Duration = Duration::from_secs(10);

/// Counts since the start, and states now. Absent parts are those that are not configured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Snapshot {
    /// Of the running program.
    pub(crate) version: String,
    /// Of the daemon.
    pub(crate) pid: u32,
    /// Nanoseconds since the Unix epoch.
    pub(crate) started_ns: u64,
    /// Nanoseconds since the Unix epoch.
    pub(crate) taken_ns: u64,
    /// As given; empty: everything.
    pub(crate) filter: String,
    /// Transactions recorded.
    pub(crate) transactions: u64,
    /// Connections that were looked into, by what they speak.
    pub(crate) connections: Vec<Count>,
    /// Starts of long calls that were recorded.
    pub(crate) long_calls: u64,
    /// What is missing, by where and why. Reasons that did not occur stand here with zero.
    pub(crate) lost: Vec<Lost>,
    /// What the rules for volume left out, by rule.
    pub(crate) volume_dropped: Vec<Count>,
    /// Bytes that wait in the kernel's rings.
    pub(crate) ring_backlog_bytes: u64,
    /// Size of the rings.
    pub(crate) ring_bytes: u64,
    /// The journal.
    pub(crate) journal: Option<Journal>,
    /// Checkpoints that are put elsewhere.
    pub(crate) export: Option<Export>,
    /// Memory.
    pub(crate) memory: Memory,
    /// The BPF programs, where the kernel keeps statistics (`kernel.bpf_stats_enabled`).
    pub(crate) bpf: Vec<Program>,
    /// Readers of the journal.
    pub(crate) readers: Vec<Reader>,
    /// What the process may still do.
    pub(crate) sandbox: sandbox::Report,
}

/// Something of a name, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Count {
    /// Reason, step or error.
    pub(crate) name: String,
    /// How often.
    pub(crate) count: u64,
}

/// A loss.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Lost {
    /// Where.
    pub(crate) stage: String,
    /// Why.
    pub(crate) reason: String,
    /// Of what.
    pub(crate) what: String,
    /// How many.
    pub(crate) count: u64,
}

/// The journal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Journal {
    /// Blocks written.
    pub(crate) blocks: u64,
    /// Bytes written.
    pub(crate) bytes: u64,
    /// Records written.
    pub(crate) records: u64,
    /// Sequence number behind the last record that is safe on disk.
    pub(crate) synced_record: u64,
    /// Blocks that are not yet.
    pub(crate) unsynced_blocks: u64,
    /// Writes and syncs that failed, by error.
    pub(crate) write_errors: Vec<Count>,
}

/// Checkpoints that are put elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Export {
    /// Those that have arrived.
    pub(crate) exported: u64,
    /// Tries that failed.
    pub(crate) failures: u64,
    /// Why the last one did; absent while all is well.
    pub(crate) trouble: Option<String>,
}

/// Memory of the process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Memory {
    /// Resident bytes.
    pub(crate) bytes: u64,
    /// The ceiling; zero: none is set.
    pub(crate) limit_bytes: u64,
    /// What was given up to stay below it, by step.
    pub(crate) shed: Vec<Count>,
}

/// A BPF program.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Program {
    /// Its name.
    pub(crate) name: String,
    /// Time spent in it, on all CPUs.
    pub(crate) run_ns: u64,
    /// Times it ran.
    pub(crate) runs: u64,
}

/// A reader of the journal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Reader {
    /// Its name.
    pub(crate) name: String,
    /// Kind of its destination.
    pub(crate) kind: String,
    /// Records between it and the last synced one.
    pub(crate) lag_records: u64,
    /// How long ago the newest record was made that it has settled; zero where nothing waits.
    pub(crate) lag_ns: u64,
    /// Records that retention took before it read them.
    pub(crate) skipped_records: u64,
    /// Documents that have arrived.
    pub(crate) documents: u64,
    /// Of these, those that had been there before.
    pub(crate) duplicates: u64,
    /// Documents that were refused for ever.
    pub(crate) dead_letters: u64,
    /// Documents that were sent once more.
    pub(crate) again: u64,
    /// Times that something was sent.
    pub(crate) requests: u64,
    /// Bytes that were sent.
    pub(crate) sent_bytes: u64,
    /// Why it did not go on, how often.
    pub(crate) troubles: Vec<Count>,
    /// Why it does not go on now; absent while it does.
    pub(crate) trouble: Option<String>,
}

/// Where the newest snapshot is put up. Clones are the same board.
#[derive(Clone, Default)]
pub(crate) struct Board(Arc<Mutex<Option<Posted>>>);

/// A snapshot and when it was put up.
type Posted = (Arc<Snapshot>, Instant);

impl Board {
    /// Puts a new one up.
    pub(crate) fn put(&self, snapshot: Snapshot) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((Arc::new(snapshot), Instant::now()));
    }

    /// The newest one; None before the first.
    pub(crate) fn get(&self) -> Option<Arc<Snapshot>> {
        let newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        newest.as_ref().map(|(snapshot, _)| Arc::clone(snapshot))
    }

    /// Is there a new one often enough?
    pub(crate) fn is_alive(&self) -> bool {
        let newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        newest.as_ref().is_some_and(|(_, put)| put.elapsed() < STALLED_AFTER)
    }
}

#[cfg(test)]
pub(crate) fn example() -> Snapshot {
    let count = |name: &str, count| Count { name: name.to_owned(), count };
    let lost = |stage: &str, reason: &str, what: &str, count| Lost {
        stage: stage.to_owned(),
        reason: reason.to_owned(),
        what: what.to_owned(),
        count,
    };
    Snapshot {
        version: "1.2.3".to_owned(),
        pid: 4711,
        started_ns: 1_764_000_000_000_000_000,
        taken_ns: 1_764_000_093_784_000_000,
        filter: "port 80\x1b[31m".to_owned(),
        transactions: 12_345_678,
        connections: vec![count("http/1", 20), count("http/2", 3), count("other", 0)],
        long_calls: 17,
        lost: vec![
            lost("kernel", "ring_full", "requests", 7),
            lost("kernel", "ring_full", "responses", 1),
            lost("capture", "not_decoded", "records", 0),
        ],
        volume_dropped: vec![count("health \"check\"\n", 3)],
        ring_backlog_bytes: 2048,
        ring_bytes: 16 << 20,
        journal: Some(Journal {
            blocks: 10,
            bytes: 5 << 20,
            records: 4000,
            synced_record: 3990,
            unsynced_blocks: 1,
            write_errors: vec![count("ENOSPC", 2)],
        }),
        export: Some(Export {
            exported: 9,
            failures: 2,
            trouble: Some("the server answers 503\x1b[31m".to_owned()),
        }),
        memory: Memory { bytes: 41 << 20, limit_bytes: 256 << 20, shed: vec![count("twins", 0)] },
        bpf: vec![Program { name: "ht_ingress".to_owned(), run_ns: 1_500_000_000, runs: 3_000_000 }],
        readers: vec![Reader {
            name: "elk".to_owned(),
            kind: "elasticsearch".to_owned(),
            lag_records: 12,
            lag_ns: 61_000_000_000,
            skipped_records: 0,
            documents: 3988,
            duplicates: 5,
            dead_letters: 1,
            again: 30,
            requests: 70,
            sent_bytes: 3 << 20,
            troubles: vec![count("connect", 4)],
            trouble: Some("http://es:9200: connection refused\x1b[31m".to_owned()),
        }],
        sandbox: sandbox::Report { user: "headtrail".to_owned(), uid: 997, gid: 997, ..Default::default() },
    }
}
