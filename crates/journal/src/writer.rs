//! Gives blocks their place and makes them durable.
//!
//! A block that was taken has its number and waits in memory until it is synced. So the disk may refuse, and what it swallowed in a failed
//! sync is written again; only when as much waits as may, blocks are refused, and their records are lost and counted. A failed sync is never
//! repeated on the same file, because the second one may say "done" of pages that the kernel gave up.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::block::Packed;
use crate::format::{
    BLOCK_HEADER_BYTES, BlockHeaderBytes, Hash, SEGMENT_BYTES_MAX, SEGMENT_HEADER_BYTES, SegmentHeader,
    journal_id, leaf_hash,
};
use crate::meta;
use crate::recovery::{self, Act, Against, Place, Survey, Told, Tree};
use crate::retention::{self, Removed, Retention, Segment};
use crate::storage::{self, File, Lock, Storage};
use crate::walk::{self, Damage, SEGMENTS, segment_path};
use crate::{DiskTrouble, Error, Result};

/// How much is copied at once.
const COPY_BYTES: usize = 256 << 10;

/// How a journal is written.
#[derive(Clone, Debug)]
pub struct Options {
    /// Name of the journal if it has to be made: it stands in checkpoints.
    pub origin: String,
    /// A segment is closed before it gets longer. Only tests have less than [`SEGMENT_BYTES_MAX`].
    pub segment_bytes_max: u64,
    /// A segment is closed when it is older.
    pub segment_age_ns_max: u64,
    /// How much may wait to be synced.
    pub backlog_bytes_max: usize,
}

impl Options {
    /// The usual ones.
    #[must_use]
    pub fn new(origin: &str) -> Self {
        Self {
            origin: origin.to_owned(),
            segment_bytes_max: SEGMENT_BYTES_MAX,
            segment_age_ns_max: 3_600_000_000_000,
            backlog_bytes_max: 32 << 20,
        }
    }
}

/// What is durable: numbers of the next block and of its first record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Synced {
    /// Blocks before this one.
    pub blocks: u64,
    /// Records before this one.
    pub records: u64,
}

/// Bytes that were cut off.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cut {
    /// Of which file.
    pub file: String,
    /// From where on.
    pub offset: u64,
    /// How many.
    pub bytes: u64,
}

/// What was found and done when a journal was opened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Opened {
    /// It was made.
    pub created: bool,
    /// The last decision.
    pub act: Act,
    /// It did not end cleanly.
    pub unclean: bool,
    /// What was cut off because of that.
    pub cut: Vec<Cut>,
    /// What is wrong.
    pub damage: Vec<Damage>,
    /// The newest checkpoint is not valid: an earlier one counts.
    pub checkpoint_damaged: bool,
    /// The tiles have to be made again from the segments.
    pub tiles_again: bool,
    /// What is there, and synced.
    pub synced: Synced,
}

/// The place that a block got.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Appended {
    /// Its index.
    pub block: u64,
    /// Sequence number of its first record.
    pub first_record: u64,
    /// Its entry in the tree.
    pub header: BlockHeaderBytes,
    /// The hash of that.
    pub leaf: Hash,
}

/// A block that is not synced yet.
struct Waiting {
    block: u64,
    first_record: u64,
    next_record: u64,
    header: BlockHeaderBytes,
    stored: Vec<u8>,
}

impl Waiting {
    fn bytes(&self) -> usize {
        BLOCK_HEADER_BYTES + self.stored.len()
    }
}

/// The segment that is written to.
struct Current {
    file: Box<dyn File>,
    segment: Segment,
    /// Where the next block goes.
    end: u64,
    /// Where it ended when it was last synced. 0: never, nor its name.
    synced_end: u64,
}

/// Writes a journal. There is one for each, by lock.
pub struct Writer {
    storage: Arc<dyn Storage>,
    options: Options,
    journal: [u8; 16],
    next: Place,
    synced: Synced,
    /// Closed segments, in order.
    closed: Vec<Segment>,
    current: Option<Current>,
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    /// How many of them are written into the current segment.
    written: usize,
    trouble: Option<DiskTrouble>,
    /// Retention leaves blocks from here on.
    keep_from: u64,
    _lock: Box<dyn Lock>,
}

impl Writer {
    /// Opens a journal, makes it if it is not there, and puts right what a crash left, by the table of [`recovery`].
    ///
    /// # Errors
    ///
    /// Another process writes it, it is of a later version, its tree cannot go on, or the disk refuses.
    pub fn open(
        storage: Arc<dyn Storage>,
        options: Options,
        tree: &dyn Tree,
        now_ns: u64,
    ) -> Result<(Self, Opened)> {
        Locked::new(storage, options, now_ns)?.recover(tree)
    }

    /// The journal's origin.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.options.origin
    }

    /// What is durable.
    #[must_use]
    pub fn synced(&self) -> Synced {
        self.synced
    }

    /// Why the disk takes nothing, since the last good sync. Blocks wait in memory meanwhile.
    #[must_use]
    pub fn trouble(&self) -> Option<DiskTrouble> {
        self.trouble
    }

    /// Takes a block and writes it, or keeps it until the disk takes it again ([`Self::trouble`]).
    ///
    /// # Errors
    ///
    /// Only that as much waits as may: the block is refused.
    pub fn append(&mut self, packed: Packed, now_ns: u64) -> Result<Appended> {
        let bytes = BLOCK_HEADER_BYTES + packed.stored.len();
        if self.waiting_bytes + bytes > self.options.backlog_bytes_max && !self.waiting.is_empty() {
            // What waits may be just not synced yet. If the disk is in trouble, asking it for each block would make that worse.
            if self.trouble.is_some() || self.sync(now_ns).is_err() {
                return Err(Error::Backlog { records: packed.records() });
            }
        }
        let header = packed.header(self.next.block, self.next.record, self.next.previous, now_ns);
        let encoded = header.encode();
        let leaf = leaf_hash(&encoded);
        let appended =
            Appended { block: header.block, first_record: header.first_record, header: encoded, leaf };
        self.next = Place { block: header.block + 1, record: header.next_record(), previous: leaf };
        self.waiting.push_back(Waiting {
            block: header.block,
            first_record: header.first_record,
            next_record: header.next_record(),
            header: encoded,
            stored: packed.stored,
        });
        self.waiting_bytes += bytes;
        if self.trouble.is_none() {
            self.trouble = self.write_waiting(now_ns).err().map(|error| error.trouble());
        }
        Ok(appended)
    }

    /// Makes all blocks durable that were taken, and says what is.
    ///
    /// # Errors
    ///
    /// The disk refuses. It can be called again; what was taken is not lost.
    pub fn sync(&mut self, now_ns: u64) -> Result<Synced> {
        // What is written is synced also when the disk has no room for the rest.
        let written = self.write_waiting(now_ns);
        let result = self.sync_current().and(written);
        self.trouble = result.as_ref().err().map(Error::trouble);
        result.map(|()| self.synced)
    }

    /// Writes what is not written yet.
    fn write_waiting(&mut self, now_ns: u64) -> Result<()> {
        while self.written < self.waiting.len() {
            let bytes = self.waiting[self.written].bytes() as u64;
            if !self.current.as_ref().is_some_and(|current| self.has_room(current, bytes, now_ns)) {
                self.sync_current()?;
                if let Some(current) = self.current.take() {
                    self.closed.push(current.segment);
                }
                self.begin(now_ns)?;
            }
            // Syncing has taken those away that were written.
            let (Some(current), Some(block)) = (&mut self.current, self.waiting.get(self.written)) else {
                break;
            };
            current.file.write_at(current.end, &block.header, &block.stored)?;
            current.end += bytes;
            current.segment.bytes = current.end;
            self.written += 1;
        }
        Ok(())
    }

    /// Whether a block still goes into the current segment. The first one always does.
    fn has_room(&self, current: &Current, bytes: u64, now_ns: u64) -> bool {
        let age = now_ns.saturating_sub(current.segment.created_ns.unwrap_or(now_ns));
        current.end <= SEGMENT_HEADER_BYTES as u64
            || (current.end + bytes <= self.options.segment_bytes_max
                && age <= self.options.segment_age_ns_max)
    }

    /// Retention leaves blocks from this one on, whatever it is asked for: the tree does not have them on the disk yet.
    pub(crate) fn keep_from(&mut self, block: u64) {
        self.keep_from = block;
    }

    /// First block of the oldest segment.
    pub(crate) fn first_block(&self) -> Option<u64> {
        self.segments().first().map(|segment| segment.first_block)
    }

    /// Segments so far.
    pub(crate) fn segment_count(&self) -> usize {
        self.closed.len() + usize::from(self.current.is_some())
    }

    /// Makes a segment for the first block that waits. Only called when all others are synced.
    fn begin(&mut self, now_ns: u64) -> Result<()> {
        let Some(first) = self.waiting.front() else { return Ok(()) };
        let (first_block, first_record) = (first.block, first.first_record);
        let path = segment_path(first_block);
        let mut file = match self.storage.create(&path) {
            // Left behind by a sync or a beginning that failed; none of it was ever told to be durable.
            Err(Error::Disk { source, .. }) if source.kind() == std::io::ErrorKind::AlreadyExists => {
                self.storage.remove(&path)?;
                self.storage.create(&path)?
            }
            file => file?,
        };
        let header = SegmentHeader { first_block, first_record, created_ns: now_ns, journal: self.journal };
        file.write_at(0, &header.encode(), &[])?;
        let end = SEGMENT_HEADER_BYTES as u64;
        let segment =
            Segment { first_block, first_record: Some(first_record), created_ns: Some(now_ns), bytes: end };
        self.current = Some(Current { file, segment, end, synced_end: 0 });
        Ok(())
    }

    fn sync_current(&mut self) -> Result<()> {
        let Some(current) = &mut self.current else { return Ok(()) };
        if current.end == current.synced_end || self.written == 0 {
            return Ok(());
        }
        let named = current.synced_end > 0;
        let result =
            current.file.sync().and_then(|()| if named { Ok(()) } else { self.storage.sync_dir(SEGMENTS) });
        if let Err(error) = result {
            self.distrust_current();
            return Err(error);
        }
        current.synced_end = current.end;
        for block in self.waiting.drain(..self.written) {
            self.waiting_bytes -= block.bytes();
            self.synced = Synced { blocks: block.block + 1, records: block.next_record };
        }
        self.written = 0;
        Ok(())
    }

    /// Nothing is assumed of a segment whose sync failed: it ends where it was last synced, and what came later is written again.
    ///
    /// If this process ends before that, the next one must not find, and take for durable, what is seen but may never reach the disk; so it is
    /// cut off at once. Should that fail, too, it does no harm once there is a next segment, since a segment ends where the next one begins.
    fn distrust_current(&mut self) {
        self.written = 0;
        let Some(mut current) = self.current.take() else { return };
        let _ = current.file.truncate(current.synced_end);
        if current.synced_end > 0 {
            current.segment.bytes = current.synced_end;
            self.closed.push(current.segment);
        }
        // Otherwise the next segment has the same number and takes its place.
    }

    /// Bytes of all segments.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.segments().iter().map(|segment| segment.bytes).sum()
    }

    /// All segments with a synced block, in order.
    fn segments(&self) -> Vec<Segment> {
        // The numbers of blocks and records go on from the last one, so one without anything synced must not be all that is left.
        let current = self.current.as_ref().filter(|current| current.synced_end > 0);
        self.closed.iter().copied().chain(current.map(|current| current.segment)).collect()
    }

    /// Removes what is too much or too old. `floor` is the least block that some cursor still needs: what goes from there on is counted.
    ///
    /// # Errors
    ///
    /// The disk refuses.
    pub fn retain(&mut self, retention: Retention, floor: Option<u64>, now_ns: u64) -> Result<Removed> {
        let segments = self.segments();
        self.remove(&segments, retention::due(&segments, retention, now_ns), floor)
    }

    /// Sets so many bytes free, delivered or not, as far as there are closed segments: for a full disk.
    ///
    /// # Errors
    ///
    /// The disk refuses.
    pub fn set_free(&mut self, bytes: u64, floor: Option<u64>) -> Result<Removed> {
        let segments = self.segments();
        self.remove(&segments, retention::forced(&segments, bytes), floor)
    }

    fn remove(&mut self, segments: &[Segment], count: usize, floor: Option<u64>) -> Result<Removed> {
        let free = segments.iter().skip(1).take_while(|next| next.first_block <= self.keep_from).count();
        let count = count.min(free);
        for segment in &segments[..count] {
            match self.storage.remove(&segment_path(segment.first_block)) {
                // It failed behind this step the last time.
                Err(error) if error.is_not_found() => {}
                done => done?,
            }
            // One by one: a crash must not leave an older one without its successor.
            self.storage.sync_dir(SEGMENTS)?;
            self.closed.remove(0);
        }
        Ok(retention::removed(segments, count, floor))
    }

    /// Ends cleanly: syncs, and leaves no segment without a block.
    ///
    /// # Errors
    ///
    /// The disk refuses. Blocks that wait are lost then.
    pub fn close(mut self, now_ns: u64) -> Result<Synced> {
        let synced = self.sync(now_ns);
        if let Some(current) = self.current.take().filter(|current| current.synced_end == 0) {
            let _ = self.storage.remove(&segment_path(current.segment.first_block));
        }
        synced
    }
}

/// A journal that nobody else writes, before anything is done about what a crash left: the tree is looked at in between.
pub(crate) struct Locked {
    storage: Arc<dyn Storage>,
    options: Options,
    created: bool,
    lock: Box<dyn Lock>,
}

impl Locked {
    /// Locks a journal, makes it if it is not there.
    pub(crate) fn new(storage: Arc<dyn Storage>, mut options: Options, now_ns: u64) -> Result<Self> {
        // First of all, since of a later version not even the lock is touched.
        meta::load(&*storage)?;
        storage.create_dir(SEGMENTS)?;
        let lock = storage.lock(meta::LOCK)?;
        let there = meta::load(&*storage)?;
        let created = there.is_none();
        match there {
            Some(origin) => options.origin = origin,
            None if meta::is_origin(&options.origin) => meta::store(&*storage, &options.origin, now_ns)?,
            None => return Err(Error::Origin(options.origin)),
        }
        // What a process saw that was killed, or whose last sync failed, may not be on the disk: the journal's own name, its origin, its
        // checkpoint. What is built upon that must not outlive it.
        storage.sync_dir("")?;
        storage.sync_dir(meta::FOLDER)?;
        storage::remove_unfinished(&*storage, SEGMENTS, |name| walk::segment_number(name).is_some());
        Ok(Self { storage, options, created, lock })
    }

    /// Its origin.
    pub(crate) fn origin(&self) -> &str {
        &self.options.origin
    }

    /// Puts right what a crash left.
    pub(crate) fn recover(self, tree: &dyn Tree) -> Result<(Writer, Opened)> {
        let Self { storage, options, created, lock } = self;
        let journal = journal_id(&options.origin);
        let mut opened = Opened {
            created,
            act: Act::Begin,
            unclean: false,
            cut: Vec::new(),
            damage: Vec::new(),
            checkpoint_damaged: tree.checkpoint_is_damaged(),
            tiles_again: false,
            synced: Synced::default(),
        };
        let recovered = recover(&storage, journal, tree, &mut opened)
            .and_then(|recovered| Ok((recovered, closed_segments(&*storage, &journal)?)));
        let ((next, current), mut closed) = match recovered {
            Ok(recovered) => recovered,
            Err(error) if opened.cut.is_empty() => return Err(error),
            Err(error) => {
                return Err(Error::Opening { opened: Box::new(opened), source: Box::new(error) });
            }
        };
        if current.is_some() {
            closed.pop();
        }
        opened.synced = Synced { blocks: next.block, records: next.record };
        let writer = Writer {
            storage,
            options,
            journal,
            next,
            synced: opened.synced,
            closed,
            current,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            written: 0,
            trouble: None,
            keep_from: u64::MAX,
            _lock: lock,
        };
        Ok((writer, opened))
    }
}

/// Does what the table says. The answer is where the journal goes on, and in which segment.
fn recover(
    storage: &Arc<dyn Storage>,
    journal: [u8; 16],
    tree: &dyn Tree,
    opened: &mut Opened,
) -> Result<(Place, Option<Current>)> {
    loop {
        let survey = recovery::survey(storage, journal, tree)?;
        let (act, told) = recovery::decide(survey.tail, survey.against, survey.hashes);
        opened.act = act;
        opened.unclean |= told == Told::UncleanEnd;
        opened.tiles_again = survey.hashes == recovery::Hashes::InSegments;
        let path = segment_path(survey.last.unwrap_or_default());
        let cut = survey.len.saturating_sub(survey.end);
        if act == Act::Remove {
            // It ends within its header, too.
            if survey.len > 0 {
                opened.cut.push(Cut { file: path.clone(), offset: 0, bytes: survey.len });
            }
            storage.remove(&path)?;
            storage.sync_dir(SEGMENTS)?;
            continue;
        }
        if act == Act::Refuse {
            return Err(Error::TreeLost { file: "journal/tile".to_owned(), block: survey.found.block });
        }
        opened.damage.extend(survey.damage.iter().cloned());
        if survey.against == Against::Fewer {
            opened.damage.push(missing(&survey, path.clone()));
        }
        if act == Act::Cut {
            let mut file = storage.open(&path, true)?;
            opened.cut.push(Cut { file: path.clone(), offset: survey.end, bytes: cut });
            file.truncate(survey.end)?;
        }
        if survey.last.is_some() {
            make_durable(&**storage, &path)?;
        }
        let next = if act == Act::BehindKnown { survey.known.unwrap_or(survey.found) } else { survey.found };
        let current = match survey.last {
            Some(number) if matches!(act, Act::GoOn | Act::Cut) => {
                let file = storage.open(&path, true)?;
                let header = walk::segment_header(&*file, &path, number, &journal)?.ok();
                let segment = Segment {
                    first_block: number,
                    first_record: header.map(|header| header.first_record),
                    created_ns: header.map(|header| header.created_ns),
                    bytes: survey.end,
                };
                Some(Current { file, segment, end: survey.end, synced_end: survey.end })
            }
            _ => None,
        };
        return Ok((next, current));
    }
}

/// What to tell of blocks that are known to have been there.
fn missing(survey: &Survey, file: String) -> Damage {
    let known = survey.known.unwrap_or(survey.found);
    Damage {
        file,
        offset: survey.end,
        what: "blocks are missing",
        blocks: survey.found.block..known.block,
        records: known.record.checked_sub(survey.found.record),
    }
}

/// Makes what was read of a segment durable: it may be of a process that was killed before its sync.
///
/// If that fails the bytes that are seen are perhaps not those on the disk, and another sync would not tell. So they are written again, into a new
/// file under the same name.
fn make_durable(storage: &dyn Storage, path: &str) -> Result<()> {
    let mut file = storage.open(path, true)?;
    if file.sync().is_err() {
        let len = file.size()?;
        let mut buffer = vec![0; COPY_BYTES];
        storage::replace_by(storage, path, |to| {
            let mut at = 0;
            while at < len {
                let read = file.read_at(at, &mut buffer)?;
                if read == 0 {
                    break;
                }
                to.write_at(at, &buffer[..read], &[])?;
                at += read as u64;
            }
            Ok(())
        })?;
    }
    storage.sync_dir(SEGMENTS)
}

fn closed_segments(storage: &dyn Storage, journal: &[u8; 16]) -> Result<Vec<Segment>> {
    let mut segments = Vec::new();
    for first_block in walk::segment_numbers(storage)? {
        let path = segment_path(first_block);
        let file = storage.open(&path, false)?;
        let header = walk::segment_header(&*file, &path, first_block, journal)?.ok();
        segments.push(Segment {
            first_block,
            first_record: header.map(|header| header.first_record),
            created_ns: header.map(|header| header.created_ns),
            bytes: file.size()?,
        });
    }
    Ok(segments)
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
