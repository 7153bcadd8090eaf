//! The loop of one reader: a batch, its delivery, the cursor.
//!
//! One batch at a time. The cursor is stored at most once in [`CURSOR_INTERVAL`] and at the end: what was sent since comes twice after a crash, with the same ids.
//!
//! It runs under SCHED_IDLE: it gets what others leave, and what it cannot keep up with is lag.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use headtrail_journal::cursor::Cursor;
use headtrail_journal::storage::Storage;

use crate::backoff::{self, Backoff};
use crate::batch::Batch;
use crate::dead_letter::DeadLetters;
use crate::delivery::Delivery;
use crate::feed::{self, Feed, Selection};
use crate::gate::Gate;
use crate::settings::Settings;
use crate::sink::{Sink, Trouble};
use crate::stats::{Counts, Stats};

/// Between two times that the cursor is stored.
const CURSOR_INTERVAL: Duration = Duration::from_secs(1);
/// Longest wait for new blocks, after which counts are put up anew.
const IDLE_WAIT: Duration = Duration::from_secs(1);
/// Records that are looked at for one batch.
const RECORDS_MAX: usize = 100_000;

/// One reader with its destination.
pub struct Shipper {
    storage: Arc<dyn Storage>,
    selection: Selection,
    limits: feed::Limits,
    delivery: Delivery,
}

/// Where a reader works, besides what the config says.
pub struct Place {
    /// The data folder as the journal knows it.
    pub storage: Arc<dyn Storage>,
    /// How far the journal is, and when to end.
    pub gate: Gate,
    /// Where counts are put.
    pub stats: Stats,
    /// How long to wait after failures.
    pub backoff: backoff::Limits,
    /// What is told to a person, a line each.
    pub tell: Box<dyn Fn(&str) + Send>,
}

/// What is durable of the cursor.
struct Stored {
    cursor: Cursor,
    tried: Instant,
    /// The last time the disk refused, which was told.
    refused: bool,
}

impl Shipper {
    /// A reader that begins where its cursor is.
    #[must_use]
    pub fn new(settings: &Settings, data_dir: &Path, sink: Box<dyn Sink>, place: Place) -> Self {
        Self {
            storage: place.storage,
            selection: Selection::new(&settings.types, settings.query.clone()),
            limits: feed::Limits {
                documents_max: settings.batch_documents_max,
                bytes_max: settings.batch_bytes_max,
                records_max: RECORDS_MAX,
            },
            delivery: Delivery {
                name: settings.name.clone(),
                sink,
                dead: DeadLetters::new(data_dir, &settings.name),
                gate: place.gate,
                stats: place.stats,
                counts: Counts::default(),
                backoff: Backoff::new(place.backoff),
                group: usize::MAX,
                calm: 0,
                tell: place.tell,
                told: None,
            },
        }
    }

    /// Works until the gate says that it ends.
    pub fn run(mut self) {
        idle();
        let Some(mut feed) = self.open() else { return };
        while !self.delivery.gate.is_stopped()
            && let Err(trouble) = self.delivery.sink.check()
        {
            self.delivery.wait(&trouble);
        }
        if self.delivery.gate.is_stopped() {
            return;
        }
        self.delivery.went_on();
        let mut batch = Batch::default();
        let mut stored = Stored { cursor: feed.cursor(), tried: Instant::now(), refused: false };
        self.settled(feed.cursor(), None);
        while !self.delivery.gate.is_stopped() {
            batch.clear();
            let synced = self.delivery.gate.synced();
            let looked = match feed.fill(&mut batch, self.limits, synced, &mut self.delivery.counts) {
                Ok(looked) => looked,
                Err(error) => {
                    self.delivery.wait(&disk(&error));
                    continue;
                }
            };
            if self.delivery.told == Some("disk") {
                self.delivery.went_on();
            }
            if !self.delivery.deliver(&batch) {
                break;
            }
            let newest = batch.len().checked_sub(1).and_then(|last| batch.get(last));
            self.settled(batch.next, newest.map(|document| document.time_ns));
            if stored.cursor != batch.next && (!looked || stored.tried.elapsed() >= CURSOR_INTERVAL) {
                self.store(&feed, batch.next, &mut stored);
            }
            if !looked {
                self.delivery.gate.wait_for_more(synced.blocks, IDLE_WAIT);
            }
        }
        if stored.cursor != self.delivery.counts.cursor {
            let _ = feed.store(self.delivery.counts.cursor);
        }
    }

    /// Stores the cursor. Where the disk refuses, which a full one does for long, delivery goes on: it costs that more comes twice after a crash.
    fn store(&mut self, feed: &Feed, cursor: Cursor, stored: &mut Stored) {
        stored.tried = Instant::now();
        let result = feed.store(cursor);
        match &result {
            Ok(()) => {
                stored.cursor = cursor;
                if stored.refused {
                    self.delivery.say("its cursor is stored again");
                }
            }
            Err(error) => {
                *self.delivery.counts.troubles.entry("disk").or_default() += 1;
                if !stored.refused {
                    self.delivery.say(&format!("its cursor cannot be stored: {error}; it is tried again"));
                }
            }
        }
        stored.refused = result.is_err();
    }

    fn open(&mut self) -> Option<Feed> {
        while !self.delivery.gate.is_stopped() {
            match Feed::open(self.storage.clone(), &self.delivery.name, self.selection.clone()) {
                Ok((feed, words)) => {
                    if let Some(words) = words {
                        self.delivery.say(&words);
                    }
                    return Some(feed);
                }
                Err(error) => self.delivery.wait(&disk(&error)),
            }
        }
        None
    }

    fn settled(&mut self, at: Cursor, time_ns: Option<u64>) {
        self.delivery.counts.cursor = at;
        if let Some(time_ns) = time_ns {
            self.delivery.counts.settled_time_ns = time_ns;
        }
        self.delivery.put();
    }
}

fn disk(error: &headtrail_journal::Error) -> Trouble {
    Trouble { kind: "disk", what: format!("the journal: {error}"), wait: None }
}

/// Lets this thread have what others leave. Where that is refused it goes on as it is: it was asked for a favour.
fn idle() {
    use thread_priority::{
        NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy, set_thread_priority_and_policy,
        thread_native_id,
    };
    let policy = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
    let _ = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, policy);
}

/// Makes the destination of the settings.
///
/// # Errors
///
/// What was read from certificates cannot be used.
pub fn sink(settings: &Settings) -> io::Result<Box<dyn Sink>> {
    use crate::settings::Destination;
    Ok(match &settings.destination {
        Destination::Elasticsearch(of) => Box::new(crate::elasticsearch::Bulk::new(of)?),
        Destination::Logstash(of) => Box::new(
            crate::logstash::Sender::new(of.clone()).map_err(|trouble| io::Error::other(trouble.what))?,
        ),
        Destination::File(of) => Box::new(crate::file::Writer::new(of.clone())),
    })
}

#[cfg(test)]
#[path = "shipper_tests.rs"]
mod tests;
