//! The readers that ship, within the daemon: one thread each, started after privileges were given up.
//!
//! What needs privileges is done before: secrets and certificates are read, and the ports that may be connected to are named.
//! What they lose is told by the capture's thread, together with its own losses.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use headtrail_journal::storage::Storage;
use headtrail_ship::backoff;
use headtrail_ship::gate::Gate;
use headtrail_ship::settings::{Destination, Settings};
use headtrail_ship::shipper::{self, Place, Shipper};
use headtrail_ship::sink::Sink;
use headtrail_ship::stats::{Counts, Stats};

use crate::exit::Failure;
use crate::snapshot;
use crate::summary::Lost;

/// A reader that is so far behind is told of by a record.
const LAG_TOLD_AFTER: Duration = Duration::from_secs(60);
/// How long readers may take to end. What they were about to send is sent again after the next start.
const END_MAX: Duration = Duration::from_secs(5);

/// What is ready to be started.
pub(crate) struct Prepared(Vec<(Settings, Box<dyn Sink>)>);

impl Prepared {
    /// Makes the destinations; nothing is connected.
    pub(crate) fn new(all: Vec<Settings>) -> Result<Self, Failure> {
        let make = |settings: Settings| match shipper::sink(&settings) {
            Ok(sink) => Ok((settings, sink)),
            Err(error) => Err(Failure::usage(format_args!("ship.{}: {error}", settings.name))),
        };
        all.into_iter().map(make).collect::<Result<_, _>>().map(Self)
    }

    /// TCP ports that they connect to.
    pub(crate) fn ports(&self) -> Vec<u16> {
        self.0.iter().flat_map(|(settings, _)| settings.destination.ports()).collect()
    }

    /// Folders that they write into.
    pub(crate) fn folders(&self) -> Vec<PathBuf> {
        let folder = |(settings, _): &(Settings, _)| match &settings.destination {
            Destination::File(file) => file.path.parent().map(Path::to_owned),
            _ => None,
        };
        self.0.iter().filter_map(folder).collect()
    }

    /// Starts the threads.
    pub(crate) fn start(
        self,
        data_dir: &Path,
        storage: &Arc<dyn Storage>,
        gate: &Gate,
    ) -> Result<Ships, Failure> {
        let mut readers = Vec::with_capacity(self.0.len());
        for (settings, sink) in self.0 {
            let stats = Stats::default();
            let place = Place {
                storage: storage.clone(),
                gate: gate.clone(),
                stats: stats.clone(),
                backoff: backoff::Limits::default(),
                tell: Box::new(|words| eprintln!("headtrail: {words}")),
            };
            let shipper = Shipper::new(&settings, data_dir, sink, place);
            let name = settings.name;
            // The kernel keeps 15 bytes of it.
            let thread = std::thread::Builder::new()
                .name(format!("ship-{name}"))
                .spawn(move || shipper.run())
                .map_err(Failure::refused)?;
            let kind = settings.destination.kind();
            let started = Instant::now();
            readers.push(Reader { name, kind, stats, thread, started, lags: false });
        }
        Ok(Ships { gate: gate.clone(), readers })
    }
}

/// The running readers.
pub(crate) struct Ships {
    gate: Gate,
    readers: Vec<Reader>,
}

struct Reader {
    name: String,
    kind: &'static str,
    stats: Stats,
    thread: JoinHandle<()>,
    started: Instant,
    /// It was told that it lags.
    lags: bool,
}

/// A reader came to be far behind, or is not any more.
pub(crate) struct Change {
    pub(crate) event: &'static str,
    pub(crate) reader: String,
    pub(crate) lag: Lag,
    pub(crate) trouble: Option<String>,
}

/// How far behind a reader is.
#[derive(Clone, Copy, Default)]
pub(crate) struct Lag {
    pub(crate) records: u64,
    pub(crate) time: Duration,
}

impl Ships {
    /// The least block that some reader has not settled; None without readers.
    pub(crate) fn floors(&self) -> Vec<Stats> {
        self.readers.iter().map(|reader| reader.stats.clone()).collect()
    }

    fn lag(&self, reader: &Reader, counts: &Counts, now_ns: u64) -> Lag {
        let records = self.gate.synced().records.saturating_sub(counts.cursor.sequence);
        let time = match counts.settled_time_ns {
            _ if records == 0 => Duration::ZERO,
            0 => reader.started.elapsed(),
            settled => Duration::from_nanos(now_ns.saturating_sub(settled)).min(reader.started.elapsed()),
        };
        Lag { records, time }
    }

    /// Readers that came to be far behind since the last call, or are not any more.
    pub(crate) fn changes(&mut self, now_ns: u64) -> Vec<Change> {
        let mut changes = Vec::new();
        for index in 0..self.readers.len() {
            let counts = self.readers[index].stats.get();
            let lag = self.lag(&self.readers[index], &counts, now_ns);
            let reader = &mut self.readers[index];
            let lags = lag.time >= LAG_TOLD_AFTER;
            if lags != reader.lags {
                reader.lags = lags;
                let event = if lags { "reader_lags" } else { "reader_caught_up" };
                let reader = reader.name.clone();
                changes.push(Change { event, reader, lag, trouble: counts.trouble });
            }
        }
        changes
    }

    /// What did not and will not arrive. Dead letters that are loss records are left out: telling of them would make more.
    pub(crate) fn lost(&self) -> Vec<Lost> {
        let mut all = Vec::new();
        for reader in &self.readers {
            let counts = reader.stats.get();
            for (reason, what, count) in [
                ("retention", "records", counts.skipped_records),
                ("unreadable", "records", counts.unreadable_records),
                ("dead_letter", "documents", counts.dead_letters - counts.dead_loss_records),
                ("dead_letter_removed", "documents", counts.dead_letters_removed),
            ] {
                let stage = Cow::Owned(format!("ship.{}", reader.name));
                all.push(Lost { stage, reason, what, count });
            }
        }
        all
    }

    /// For metrics and `status`.
    pub(crate) fn snapshot(&self, now_ns: u64) -> Vec<snapshot::Reader> {
        let one = |reader: &Reader| {
            let counts = reader.stats.get();
            let lag = self.lag(reader, &counts, now_ns);
            snapshot::Reader {
                name: reader.name.clone(),
                kind: reader.kind.to_owned(),
                lag_records: lag.records,
                lag_ns: u64::try_from(lag.time.as_nanos()).unwrap_or(u64::MAX),
                skipped_records: counts.skipped_records,
                documents: counts.stored,
                duplicates: counts.duplicates,
                dead_letters: counts.dead_letters,
                again: counts.again,
                requests: counts.requests,
                sent_bytes: counts.sent_bytes,
                troubles: counts
                    .troubles
                    .iter()
                    .map(|(name, &count)| snapshot::Count { name: (*name).to_owned(), count })
                    .collect(),
                trouble: counts.trouble,
            }
        };
        self.readers.iter().map(one).collect()
    }

    /// Ends them: each finishes or gives up what it is doing. One that waits for its destination is left behind.
    pub(crate) fn stop(self) {
        self.gate.stop();
        let until = Instant::now() + END_MAX;
        for reader in self.readers {
            while !reader.thread.is_finished() && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(5));
            }
            if !reader.thread.is_finished() {
                eprintln!(
                    "headtrail: {}: it does not end in time; what it was sending comes again",
                    reader.name
                );
            }
        }
    }
}
