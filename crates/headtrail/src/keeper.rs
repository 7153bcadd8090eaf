//! The journal's thread: packs blocks, writes them, makes them durable, removes what is too old.
//!
//! Place in the daemon: behind the capture, which hands over blocks and gets empty ones back ([`crate::recorder`]); it is
//! never waited for. It has each new checkpoint exported ([`crate::export`]). What it does is put up once in a while as
//! [`State`]. It takes the time of the wall clock, since retention is by age; a clock set back makes nothing but the age wrong.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use headtrail_journal::block::BlockBuilder;
use headtrail_journal::journal::Journal;
use headtrail_journal::retention::Retention;
use headtrail_journal::storage::{self, Storage};
use headtrail_journal::tree::NOTE_BYTES_MAX;
use headtrail_journal::{DiskTrouble, Error};
use headtrail_ship::gate::{Gate, Synced};
use headtrail_ship::stats::Stats;

use crate::export::Exporter;

/// Between two looks at what may be removed.
const RETAIN_INTERVAL: Duration = Duration::from_secs(10);
/// Between two looks at whether what is synced is to be signed, while nothing else comes.
const SIGN_INTERVAL: Duration = Duration::from_secs(1);
/// The newest checkpoint, in the data folder.
const CHECKPOINT: &str = "journal/checkpoint";
/// What is freed at once when the disk is full, bytes.
const FREE_BYTES: u64 = 64 << 20;

/// What the keeper is told.
pub(crate) enum Order {
    /// Write this one.
    Block(BlockBuilder),
    /// The config has changed.
    Settings(Settings),
    /// Write what there is and end.
    End,
}

/// What can change while it runs.
#[derive(Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) sync: Duration,
    pub(crate) retention: Retention,
}

/// The recorder's ends: what it wants, and where it gets empty blocks from.
pub(crate) struct Recorder {
    pub(crate) orders: Receiver<Order>,
    pub(crate) empty: Sender<BlockBuilder>,
}

/// The readers of the journal, as far as its writer cares.
pub(crate) struct Readers {
    /// Where they wait for what is durable.
    pub(crate) gate: Gate,
    /// How far each is.
    pub(crate) stats: Vec<Stats>,
}

impl Readers {
    /// The least block that one of them has not settled.
    fn floor(&self) -> Option<u64> {
        self.stats.iter().map(|stats| stats.get().cursor.position.block).min()
    }
}

/// How far it is.
#[derive(Clone, Default)]
pub(crate) struct State {
    /// Blocks, records and bytes written since the start.
    pub(crate) blocks: u64,
    pub(crate) records: u64,
    /// Of all segments.
    pub(crate) bytes: u64,
    /// Durable are the blocks and records before these numbers.
    pub(crate) synced_blocks: u64,
    pub(crate) synced_records: u64,
    /// Numbers of the next block.
    pub(crate) next_block: u64,
    /// Blocks that were not written because too much waited already, and the records in them.
    pub(crate) refused_blocks: u64,
    pub(crate) refused_records: u64,
    /// Blocks removed before some reader had them.
    pub(crate) undelivered_blocks: u64,
    /// Failures of the disk, by what it said.
    pub(crate) errors: BTreeMap<&'static str, u64>,
    /// Blocks that the newest checkpoint covers.
    pub(crate) signed_blocks: u64,
    /// The newest checkpoint, a signed note; what it says goes into a record.
    pub(crate) checkpoint: Option<Arc<[u8]>>,
    /// The newest failure, in words; None while all is well.
    pub(crate) trouble: Option<String>,
    /// The same of checkpoints.
    pub(crate) checkpoint_trouble: Option<String>,
}

/// Where the newest state is. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Shared(Arc<Mutex<State>>);

impl Shared {
    pub(crate) fn get(&self) -> State {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn put(&self, state: &State) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = state.clone();
    }
}

/// The wall clock, nanoseconds since the Unix epoch.
pub(crate) fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// The thread.
pub(crate) struct Keeper {
    storage: Arc<dyn Storage>,
    journal: Journal,
    settings: Settings,
    state: State,
    shared: Shared,
    readers: Readers,
    recorder: Recorder,
    /// Takes new checkpoints elsewhere.
    export: Option<Exporter>,
    /// When the oldest block that is not synced was written.
    unsynced_since: Option<Instant>,
    retained: Instant,
}

impl Keeper {
    pub(crate) fn new(
        storage: Arc<dyn Storage>,
        journal: Journal,
        settings: Settings,
        shared: Shared,
        readers: Readers,
        recorder: Recorder,
        export: Option<Exporter>,
    ) -> Self {
        let synced = journal.synced();
        let state = State {
            bytes: journal.bytes(),
            synced_blocks: synced.blocks,
            synced_records: synced.records,
            next_block: synced.blocks,
            signed_blocks: journal.signed(),
            ..State::default()
        };
        shared.put(&state);
        readers.gate.put(Synced { blocks: synced.blocks, records: synced.records });
        Self {
            storage,
            journal,
            settings,
            state,
            shared,
            readers,
            recorder,
            export,
            unsynced_since: None,
            retained: Instant::now(),
        }
    }

    /// Works until it is told to end, or nobody is there any more.
    pub(crate) fn run(mut self) {
        if let Some(export) = &mut self.export {
            export.listen();
        }
        loop {
            let is_signed = self.journal.signed() >= self.journal.synced().blocks;
            let idle = if is_signed { RETAIN_INTERVAL } else { SIGN_INTERVAL };
            let wait = self
                .unsynced_since
                .map_or(idle, |since| self.settings.sync.saturating_sub(since.elapsed()).min(idle));
            match self.recorder.orders.recv_timeout(wait) {
                Ok(Order::Block(block)) => self.write(block),
                Ok(Order::Settings(settings)) => self.settings = settings,
                Ok(Order::End) | Err(RecvTimeoutError::Disconnected) => break,
                // What is synced is signed, even where nothing comes after it.
                Err(RecvTimeoutError::Timeout) if !is_signed && self.unsynced_since.is_none() => self.sync(),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if self.unsynced_since.is_some_and(|since| since.elapsed() >= self.settings.sync) {
                self.sync();
            }
            if self.retained.elapsed() >= RETAIN_INTERVAL {
                self.retained = Instant::now();
                self.retain();
            }
            self.shared.put(&self.state);
        }
        self.sync();
        self.shared.put(&self.state);
        // The last checkpoint is made by closing, and exported behind it.
        let closed = self.journal.close(now_ns());
        if let Err(error) = &closed {
            eprintln!("headtrail: the journal's end: {error}");
        }
        if let Some(mut export) = self.export {
            let note = storage::read_small(&*self.storage, CHECKPOINT, NOTE_BYTES_MAX).ok().flatten();
            if let Some(note) = note.filter(|_| closed.is_ok()) {
                export.export(&note);
            }
            export.finish();
        }
    }

    fn write(&mut self, mut block: BlockBuilder) {
        let packed = block.seal();
        // The block is empty now, and goes back before the disk is waited for.
        let _ = self.recorder.empty.send(block);
        let Ok(packed) = packed else { return };
        let records = packed.records();
        match self.journal.append(packed, now_ns()) {
            Ok(appended) => {
                self.state.blocks += 1;
                self.state.records += u64::from(records);
                self.state.next_block = appended.block + 1;
                self.unsynced_since.get_or_insert_with(Instant::now);
            }
            Err(error) => {
                self.state.refused_blocks += 1;
                self.state.refused_records += u64::from(records);
                self.failed(&error);
            }
        }
        self.note_trouble();
    }

    fn sync(&mut self) {
        match self.journal.sync(now_ns()) {
            Ok(synced) => {
                self.state.synced_blocks = synced.blocks;
                self.state.synced_records = synced.records;
                self.readers.gate.put(Synced { blocks: synced.blocks, records: synced.records });
                self.unsynced_since = None;
                if self.state.trouble.take().is_some() {
                    eprintln!("headtrail: the journal is written again");
                }
            }
            Err(error) => {
                self.failed(&error);
                // It is tried again after the same time.
                self.unsynced_since = Some(Instant::now());
            }
        }
        self.note_trouble();
        self.note_checkpoint();
        self.state.bytes = self.journal.bytes();
    }

    fn note_checkpoint(&mut self) {
        self.state.signed_blocks = self.journal.signed();
        let told = self.journal.checkpoint_trouble().map(ToString::to_string);
        if let Some(why) = told {
            *self.state.errors.entry("checkpoint").or_default() += 1;
            if self.state.checkpoint_trouble.is_none() {
                eprintln!("headtrail: a checkpoint cannot be written: {why}; it is tried again");
            }
            self.state.checkpoint_trouble = Some(why);
        } else {
            self.state.checkpoint_trouble = None;
        }
        let Some(note) = self.journal.take_new_checkpoint() else { return };
        if let Some(export) = &mut self.export {
            export.export(&note);
        }
        self.state.checkpoint = Some(note.into());
    }

    /// A full disk is made less full: the oldest segments go.
    fn note_trouble(&mut self) {
        if self.journal.trouble() == Some(DiskTrouble::Full) {
            match self.journal.set_free(FREE_BYTES, self.readers.floor()) {
                Ok(removed) => self.state.undelivered_blocks += removed.undelivered_blocks,
                Err(error) => self.failed(&error),
            }
        }
    }

    fn retain(&mut self) {
        match self.journal.retain(self.settings.retention, self.readers.floor(), now_ns()) {
            Ok(removed) => self.state.undelivered_blocks += removed.undelivered_blocks,
            Err(error) => self.failed(&error),
        }
        self.state.bytes = self.journal.bytes();
    }

    /// Counts a failure, and tells it the first time.
    fn failed(&mut self, error: &Error) {
        let name = match error {
            Error::Disk { trouble: DiskTrouble::Full, .. } => "no_space",
            Error::Disk { trouble: DiskTrouble::ReadOnly, .. } => "read_only",
            Error::Disk { trouble: DiskTrouble::Device, .. } => "io",
            Error::Backlog { .. } => "backlog",
            _ => "other",
        };
        *self.state.errors.entry(name).or_default() += 1;
        if self.state.trouble.is_none() {
            eprintln!("headtrail: the journal: {error}; records wait, and are lost once too many do");
        }
        self.state.trouble = Some(error.to_string());
    }
}
