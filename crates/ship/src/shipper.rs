//! The loop of one reader: a batch, its delivery, the cursor.
//!
//! One batch at a time. What a destination asks to have again is sent again, alone; what it finds too large is halved; what
//! it refuses goes into the dead-letter file. Between tries it waits longer each time ([`crate::backoff`]). The cursor is stored
//! at most once in [`CURSOR_INTERVAL`] and at the end: what was sent since comes twice after a crash, with the same ids.
//!
//! It runs under SCHED_IDLE: it gets what others leave, and what it cannot keep up with is lag.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use headtrail_journal::cursor::Cursor;
use headtrail_journal::storage::Storage;
use headtrail_record::record::Kind;

use crate::backoff::{self, Backoff};
use crate::batch::Batch;
use crate::dead_letter::DeadLetters;
use crate::feed::{self, Feed, Selection};
use crate::gate::Gate;
use crate::settings::Settings;
use crate::sink::{Answer, Item, Refusal, Sink, Trouble};
use crate::stats::{Counts, Stats};

/// Between two times that the cursor is stored.
const CURSOR_INTERVAL: Duration = Duration::from_secs(1);
/// Longest wait for new blocks, after which counts are put up anew.
const IDLE_WAIT: Duration = Duration::from_secs(1);
/// Records that are looked at for one batch.
const RECORDS_MAX: usize = 100_000;

/// One reader with its destination.
pub struct Shipper {
    name: String,
    storage: Arc<dyn Storage>,
    selection: Selection,
    limits: feed::Limits,
    sink: Box<dyn Sink>,
    dead: DeadLetters,
    gate: Gate,
    stats: Stats,
    counts: Counts,
    backoff: Backoff,
    /// Documents that are sent at once.
    group: usize,
    /// What is told of happenings, to a person.
    tell: Box<dyn Fn(&str) + Send>,
    told: Option<&'static str>,
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

impl Shipper {
    /// A reader that begins where its cursor is.
    #[must_use]
    pub fn new(settings: &Settings, data_dir: &Path, sink: Box<dyn Sink>, place: Place) -> Self {
        Self {
            name: settings.name.clone(),
            storage: place.storage,
            selection: Selection::new(&settings.types, settings.query.clone()),
            limits: feed::Limits {
                documents_max: settings.batch_documents_max,
                bytes_max: settings.batch_bytes_max,
                records_max: RECORDS_MAX,
            },
            sink,
            dead: DeadLetters::new(data_dir, &settings.name),
            gate: place.gate,
            stats: place.stats,
            counts: Counts::default(),
            backoff: Backoff::new(place.backoff),
            group: usize::MAX,
            tell: place.tell,
            told: None,
        }
    }

    /// Works until the gate says that it ends.
    pub fn run(mut self) {
        idle();
        let Some(mut feed) = self.open() else { return };
        let mut batch = Batch::default();
        let mut stored = (feed.cursor(), Instant::now());
        self.settled(feed.cursor(), None);
        while !self.gate.is_stopped() {
            batch.clear();
            let synced = self.gate.synced();
            let looked = match feed.fill(&mut batch, self.limits, synced, &mut self.counts) {
                Ok(looked) => looked,
                Err(error) => {
                    self.wait(&disk(&error));
                    continue;
                }
            };
            if self.told == Some("disk") {
                self.went_on(true);
            }
            if !self.deliver(&batch) {
                break;
            }
            let newest = batch.len().checked_sub(1).and_then(|last| batch.get(last));
            self.settled(batch.next, newest.map(|document| document.time_ns));
            if stored.0 != batch.next && (!looked || stored.1.elapsed() >= CURSOR_INTERVAL) {
                match feed.store(batch.next) {
                    Ok(()) => stored = (batch.next, Instant::now()),
                    Err(error) => self.wait(&disk(&error)),
                }
            }
            if !looked {
                self.gate.wait_for_more(synced.blocks, IDLE_WAIT);
            }
        }
        if stored.0 != self.counts.cursor {
            let _ = feed.store(self.counts.cursor);
        }
    }

    fn open(&mut self) -> Option<Feed> {
        while !self.gate.is_stopped() {
            match Feed::open(self.storage.clone(), &self.name, self.selection.clone()) {
                Ok((feed, words)) => {
                    if let Some(words) = words {
                        self.say(&words);
                    }
                    return Some(feed);
                }
                Err(error) => self.wait(&disk(&error)),
            }
        }
        None
    }

    fn settled(&mut self, at: Cursor, time_ns: Option<u64>) {
        self.counts.cursor = at;
        if let Some(time_ns) = time_ns {
            self.counts.settled_time_ns = time_ns;
        }
        self.put();
    }

    fn put(&mut self) {
        self.counts.sent_bytes = self.sink.sent_bytes();
        self.stats.put(&self.counts);
    }

    /// Sends until every document is settled. False: it is to end.
    fn deliver(&mut self, batch: &Batch) -> bool {
        let mut todo: Vec<usize> = (0..batch.len()).collect();
        let mut first = true;
        while !todo.is_empty() {
            if self.gate.is_stopped() {
                return false;
            }
            let now: Vec<usize> = todo.iter().copied().take(self.group.max(1)).collect();
            let documents: Vec<_> = now.iter().filter_map(|index| batch.get(*index)).collect();
            self.counts.requests += 1;
            if !first {
                self.counts.again += documents.len() as u64;
            }
            match self.sink.send(&documents) {
                Answer::Items(items) if items.len() == documents.len() => {
                    let again = self.settle(batch, &now, items);
                    let settled = now.len() - again.len();
                    todo.splice(..now.len(), again.iter().copied());
                    self.went_on(settled > 0);
                    // What is left is sent again later, and what was not sent yet at once.
                    first = again.is_empty();
                    if !again.is_empty() {
                        let what = format!("{} of {} documents are to be sent again", again.len(), now.len());
                        self.wait(&Trouble { kind: "busy", what, wait: None });
                    }
                }
                Answer::Items(items) => {
                    let what = format!("{} answers to {} documents", items.len(), documents.len());
                    self.wait(&Trouble { kind: "answer", what, wait: None });
                    first = false;
                }
                Answer::TooLarge(refusal) if now.len() == 1 => {
                    if self.bury(batch, &[(now[0], refusal)]) {
                        todo.remove(0);
                        first = true;
                    }
                }
                Answer::TooLarge(_) => {
                    self.group = now.len() / 2;
                    first = false;
                }
                Answer::Again(trouble) => {
                    self.wait(&trouble);
                    first = false;
                }
            }
        }
        true
    }

    /// Obeys what was said of each document; returns those that are to be sent again.
    fn settle(&mut self, batch: &Batch, sent: &[usize], items: Vec<Item>) -> Vec<usize> {
        let mut again = Vec::new();
        let mut refused = Vec::new();
        for (index, item) in sent.iter().zip(items) {
            match item {
                Item::Stored => self.counts.stored += 1,
                Item::Duplicate => {
                    self.counts.stored += 1;
                    self.counts.duplicates += 1;
                }
                Item::Again => again.push(*index),
                Item::Refused(refusal) => refused.push((*index, refusal)),
            }
        }
        if !refused.is_empty() && !self.bury(batch, &refused) {
            // Not without a trace: they are refused again.
            again.extend(refused.iter().map(|(index, _)| *index));
            again.sort_unstable();
        }
        again
    }

    /// Puts documents into the dead-letter file. False: the disk refused, after a wait.
    fn bury(&mut self, batch: &Batch, refused: &[(usize, Refusal)]) -> bool {
        let letters: Vec<_> =
            refused.iter().filter_map(|(index, refusal)| Some((batch.get(*index)?, refusal))).collect();
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        match self.dead.append(now_s, &letters) {
            Ok(removed) => {
                if self.counts.dead_letters == 0
                    && let Some((_, refusal)) = refused.first()
                {
                    self.say(&format!(
                        "documents are refused and go into {}/{}.ndjson: {}: {}",
                        crate::dead_letter::FOLDER,
                        self.name,
                        refusal.kind,
                        refusal.reason
                    ));
                }
                self.counts.dead_letters += letters.len() as u64;
                let of_loss = letters.iter().filter(|(document, _)| document.kind == Kind::LOSS).count();
                self.counts.dead_loss_records += of_loss as u64;
                self.counts.dead_letters_removed += removed;
                true
            }
            Err(error) => {
                let what = format!("the dead-letter file: {error}");
                self.wait(&Trouble { kind: "disk", what, wait: None });
                false
            }
        }
    }

    /// Something was settled: trouble is over, and more is sent at once again.
    fn went_on(&mut self, any: bool) {
        if !any {
            return;
        }
        self.backoff.reset();
        self.group = self.group.saturating_mul(2);
        if self.counts.trouble.take().is_some() && self.told.take().is_some() {
            self.say("it goes on");
        }
    }

    /// Tells of a trouble when it is a new one, and waits.
    fn wait(&mut self, trouble: &Trouble) {
        *self.counts.troubles.entry(trouble.kind).or_default() += 1;
        self.counts.trouble = Some(trouble.what.clone());
        if self.told != Some(trouble.kind) && trouble.kind != "busy" {
            self.told = Some(trouble.kind);
            self.say(&format!("{}; it is tried again", trouble.what));
        }
        self.put();
        let wait = self.backoff.next(trouble.wait);
        self.gate.sleep(wait);
    }

    fn say(&self, what: &str) {
        (self.tell)(&format!("{}: {what}", self.name));
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
        Destination::Logstash(_) | Destination::File(_) => {
            return Err(io::Error::other("not in this version"));
        }
    })
}

#[cfg(test)]
#[path = "shipper_tests.rs"]
mod tests;
