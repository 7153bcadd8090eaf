//! Delivery of one batch: until each document of it is settled.
//!
//! What a destination asks to have again is sent again, alone; what it finds too large is halved; what it refuses goes into the dead-letter
//! file. Between tries it waits longer each time ([`crate::backoff`]).
//!
//! Not everybody says that something is too large: some proxies reset the connection, and on a slow link a large request takes longer than it
//! may. So what ends without an answer is halved, too.

use std::time::{SystemTime, UNIX_EPOCH};

use headtrail_record::record::Kind;

use crate::backoff::Backoff;
use crate::batch::Batch;
use crate::dead_letter::DeadLetters;
use crate::gate::Gate;
use crate::sink::{Answer, Item, Refusal, Sink, Trouble};
use crate::stats::{Counts, Stats};

/// Requests that went well, in a row, after which twice as much is sent at once. What was too large once will be again, and to find that out
/// costs a request, or even its time limit.
const CALM_REQUESTS: u32 = 16;

/// A destination, and how it is going.
pub(crate) struct Delivery {
    pub(crate) name: String,
    pub(crate) sink: Box<dyn Sink>,
    pub(crate) dead: DeadLetters,
    pub(crate) gate: Gate,
    pub(crate) stats: Stats,
    pub(crate) counts: Counts,
    pub(crate) backoff: Backoff,
    /// Documents that are sent at once.
    pub(crate) group: usize,
    /// Requests that went well since that was changed.
    pub(crate) calm: u32,
    /// What is told of happenings, to a person.
    pub(crate) tell: Box<dyn Fn(&str) + Send>,
    /// The kind of trouble that was told last; None while all is well.
    pub(crate) told: Option<&'static str>,
}

impl Delivery {
    pub(crate) fn put(&mut self) {
        self.counts.sent_bytes = self.sink.sent_bytes();
        self.stats.put(&self.counts);
    }

    /// Sends until every document is settled. False: it is to end.
    pub(crate) fn deliver(&mut self, batch: &Batch) -> bool {
        let mut todo: Vec<usize> = (0..batch.len()).collect();
        // Documents before this place were sent already; `todo` stays in order.
        let mut reached = 0;
        while !todo.is_empty() {
            if self.gate.is_stopped() {
                return false;
            }
            let now: Vec<usize> = todo.iter().copied().take(self.group.max(1)).collect();
            let documents: Vec<_> = now.iter().filter_map(|index| batch.get(*index)).collect();
            self.counts.requests += 1;
            self.counts.again += now.iter().filter(|index| **index < reached).count() as u64;
            reached = now.last().map_or(reached, |last| reached.max(last + 1));
            match self.sink.send(&documents) {
                Answer::Items(items) if items.len() == documents.len() => {
                    let again = self.settle(batch, &now, items);
                    let settled = now.len() - again.len();
                    todo.splice(..now.len(), again.iter().copied());
                    if settled > 0 {
                        self.went_on();
                        self.grow();
                    }
                    if !again.is_empty() {
                        let what = format!("{} of {} documents are to be sent again", again.len(), now.len());
                        self.wait(&Trouble { kind: "busy", what, wait: None });
                    }
                }
                Answer::Items(items) => {
                    let what = format!("{} answers to {} documents", items.len(), documents.len());
                    self.wait(&Trouble { kind: "answer", what, wait: None });
                }
                Answer::TooLarge(refusal) if now.len() == 1 => {
                    if self.bury(batch, &[(now[0], refusal)]) {
                        todo.remove(0);
                        self.went_on();
                        // It may have been this one only.
                        (self.group, self.calm) = (usize::MAX, 0);
                    }
                }
                Answer::TooLarge(_) => self.halve(now.len()),
                Answer::Again(trouble) => {
                    if ["connection", "time_out"].contains(&trouble.kind) {
                        self.halve(now.len());
                    }
                    self.wait(&trouble);
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

    /// Sends less at once than these.
    fn halve(&mut self, sent: usize) {
        (self.group, self.calm) = ((sent / 2).max(1), 0);
    }

    /// One more went well.
    fn grow(&mut self) {
        self.calm += 1;
        if self.calm == CALM_REQUESTS {
            (self.group, self.calm) = (self.group.saturating_mul(2), 0);
        }
    }

    /// Something was settled: trouble is over.
    pub(crate) fn went_on(&mut self) {
        self.backoff.reset();
        if self.counts.trouble.take().is_some() && self.told.take().is_some() {
            self.say("it goes on");
        }
    }

    /// Tells of a trouble when it is a new one, and waits.
    pub(crate) fn wait(&mut self, trouble: &Trouble) {
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

    pub(crate) fn say(&self, what: &str) {
        (self.tell)(&format!("{}: {what}", self.name));
    }
}
