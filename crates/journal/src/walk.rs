//! Goes from block to block, over the borders of segments, and finds its way behind damage.
//!
//! The one place that knows how blocks follow each other: readers, verification and recovery all go this way, with or without the records.
//!
//! A segment ends where the next one begins, whatever lies behind in it: after a failed sync the writer goes on in a new segment, and
//! what it wrote into the old one since the last good sync is not part of the journal. Hence nothing is called damaged before the list of
//! segments was looked at again.
//!
//! Behind a wrong place the next whole block is searched byte by byte. Records hold bytes from the wire, so one may contain something
//! that looks like a block. It has to have a likely index and sequence number, so the most that it can do is to stand for blocks that
//! are damaged anyway; and how many candidates have their records checked is limited.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use memchr::memmem;

use crate::format::{
    BLOCK_HEADER_BYTES, BLOCK_MAGIC, BlockHeader, BlockHeaderBytes, Hash, HeaderError, SEGMENT_HEADER_BYTES,
    SegmentHeader, leaf_hash,
};
use crate::storage::{File, Storage};
use crate::{Error, Result};

/// Where the segments are.
pub const SEGMENTS: &str = "journal/segments";
/// Ending of a segment's name.
const SEGMENT_SUFFIX: &str = ".seg";
/// Digits of the number in it, so that names sort as numbers do.
const SEGMENT_DIGITS: usize = 20;
/// How much is searched at once for the next block.
const SEARCH_BYTES: usize = 256 << 10;
/// How many places behind a wrong one may look like a block without being whole, before no more are tried.
const CANDIDATES_MAX: usize = 64;
/// Bytes of the smallest block.
const BLOCK_BYTES_MIN: u64 = BLOCK_HEADER_BYTES as u64 + 1;

/// The file of the segment that begins with a block.
#[must_use]
pub fn segment_path(first_block: u64) -> String {
    format!("{SEGMENTS}/{first_block:0SEGMENT_DIGITS$}{SEGMENT_SUFFIX}")
}

/// The first block of the segment whose file has that name; nothing if it is not that of one.
pub(crate) fn segment_number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SEGMENT_SUFFIX)?;
    (digits.len() == SEGMENT_DIGITS && digits.bytes().all(|b| b.is_ascii_digit()))
        .then(|| digits.parse().ok())?
}

/// First blocks of all segments, ascending.
pub(crate) fn segment_numbers(storage: &dyn Storage) -> Result<Vec<u64>> {
    let mut numbers: Vec<u64> =
        storage.list(SEGMENTS)?.iter().filter_map(|name| segment_number(name)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// The header of a segment; the inner error says why it is none.
pub(crate) fn segment_header(
    file: &dyn File,
    path: &str,
    number: u64,
    journal: &[u8; 16],
) -> Result<std::result::Result<SegmentHeader, &'static str>> {
    let mut bytes = [0; 4096];
    let read = file.read_at(0, &mut bytes)?;
    Ok(match SegmentHeader::decode(&bytes[..read]) {
        Ok(header) if header.first_block != number => Err("the segment has another number"),
        Ok(header) if header.journal != *journal => Err("the segment is of another journal"),
        Ok(header) => Ok(header),
        Err(HeaderError::Wrong(what)) => Err(what),
        Err(HeaderError::Newer(version)) => {
            return Err(Error::NewerVersion { file: path.to_owned(), version: version.into() });
        }
    })
}

/// A block and where it is.
#[derive(Clone, Debug)]
pub struct Placed {
    /// The segment.
    pub file: Arc<str>,
    /// Where its header begins.
    pub offset: u64,
    /// Its header.
    pub header: BlockHeader,
    /// The header as stored: the entry in the tree.
    pub bytes: BlockHeaderBytes,
    /// Its leaf hash.
    pub leaf: Hash,
}

/// Blocks that are no longer there because retention removed them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Skip {
    /// Which ones.
    pub blocks: Range<u64>,
    /// How many records they had, if that is known.
    pub records: Option<u64>,
}

/// Something that is not as it was written, or not there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Damage {
    /// In which file.
    pub file: String,
    /// Where in it.
    pub offset: u64,
    /// What is wrong there.
    pub what: &'static str,
    /// Blocks that cannot be read because of it. Empty: all of them are found nevertheless.
    pub blocks: Range<u64>,
    /// How many records they had, if that is known.
    pub records: Option<u64>,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}: {}", self.file, self.offset, self.what)?;
        if !self.blocks.is_empty() {
            write!(f, "; blocks {} to {} cannot be read", self.blocks.start, self.blocks.end - 1)?;
        }
        match self.records {
            Some(records) if records > 0 => write!(f, ", {records} records"),
            _ => Ok(()),
        }
    }
}

/// What comes next.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "the large one is the usual one")]
pub enum Step {
    /// A block.
    Block(Placed),
    /// Blocks that retention removed.
    Skip(Skip),
    /// Blocks that are lost.
    Damage(Damage),
}

/// The segment that is being read.
struct Open {
    file: Box<dyn File>,
    path: Arc<str>,
    number: u64,
    offset: u64,
    /// First block of the next segment, if there was one when this was opened.
    following: Option<u64>,
    /// Why its header is none. Its blocks are searched then.
    wrong: Option<&'static str>,
}

/// What is found at a place.
#[expect(clippy::large_enum_variant, reason = "the large one is the usual one")]
enum Found {
    Whole(BlockHeader, BlockHeaderBytes),
    End,
    Wrong(&'static str),
}

pub(crate) struct Walk {
    storage: Arc<dyn Storage>,
    journal: [u8; 16],
    /// Recovery looks at one segment.
    only: Option<u64>,
    /// Whether blocks are read with their records, which then lie in `stored`.
    with_records: bool,
    pub(crate) stored: Vec<u8>,
    /// The block that is given next; those before it are passed over.
    wanted: u64,
    /// Blocks from here on need not be there yet.
    pub(crate) limit: Option<u64>,
    /// The block that is at the place, with its first record and the leaf hash before it, as far as known.
    expected: u64,
    record: Option<u64>,
    previous: Option<Hash>,
    segment: Option<Open>,
    /// Place and length of the file where a search found nothing: it is searched again only when there is more.
    fruitless: Option<(u64, u64)>,
    /// Place whose damage was told up to the limit; its end may be found later.
    given_up: Option<u64>,
}

impl Walk {
    pub(crate) fn new(storage: Arc<dyn Storage>, journal: [u8; 16], from: u64, with_records: bool) -> Self {
        Self {
            storage,
            journal,
            only: None,
            with_records,
            stored: Vec::new(),
            wanted: from,
            limit: None,
            expected: from,
            record: None,
            previous: None,
            segment: None,
            fruitless: None,
            given_up: None,
        }
    }

    /// All blocks of one segment, with their records checked.
    pub(crate) fn segment(storage: Arc<dyn Storage>, journal: [u8; 16], number: u64) -> Self {
        Self { only: Some(number), ..Self::new(storage, journal, number, true) }
    }

    /// Where it stands in a segment, and that segment's length.
    pub(crate) fn place(&self) -> Result<(u64, u64)> {
        self.segment.as_ref().map_or(Ok((0, 0)), |open| Ok((open.offset, open.file.size()?)))
    }

    /// The block that is given next.
    pub(crate) fn wanted(&self) -> u64 {
        self.wanted
    }

    /// The next block, or what is in its place. None: nothing yet.
    pub(crate) fn next(&mut self) -> Result<Option<Step>> {
        loop {
            if self.limit.is_some_and(|limit| self.wanted >= limit) {
                return Ok(None);
            }
            let Some(open) = self.segment.take() else {
                match self.enter()? {
                    Some(step) => return Ok(Some(step)),
                    None if self.segment.is_none() => return Ok(None),
                    None => continue,
                }
            };
            if open.following.is_some_and(|following| following <= self.expected) {
                continue;
            }
            match self.look(&open, open.offset)? {
                Found::Whole(header, bytes) => {
                    let leaf = leaf_hash(&bytes);
                    let placed = Placed { file: open.path.clone(), offset: open.offset, header, bytes, leaf };
                    let offset = open.offset + header.file_bytes();
                    self.segment = Some(Open { offset, ..open });
                    self.expect(header.block + 1, Some(header.next_record()), Some(leaf));
                    if header.block >= self.wanted {
                        self.wanted = self.expected;
                        return Ok(Some(Step::Block(placed)));
                    }
                }
                Found::End => match self.behind_end(open)? {
                    Some(step) => return Ok(Some(step)),
                    None if self.segment.is_some() => return Ok(None),
                    None => {}
                },
                Found::Wrong(what) => {
                    let (step, again) = self.behind_wrong(open, what)?;
                    if step.is_some() || !again {
                        return Ok(step);
                    }
                }
            }
        }
    }

    fn expect(&mut self, block: u64, record: Option<u64>, previous: Option<Hash>) {
        (self.expected, self.record, self.previous) = (block, record, previous);
    }

    /// Opens the segment that has the wanted block, or should have it.
    fn enter(&mut self) -> Result<Option<Step>> {
        let numbers = match self.only {
            Some(number) => vec![number],
            None => segment_numbers(&*self.storage)?,
        };
        let behind = numbers.partition_point(|number| *number <= self.wanted);
        let Some(&number) = behind.checked_sub(1).and_then(|at| numbers.get(at)) else {
            let Some(&first) = numbers.first() else { return Ok(None) };
            let record = self.first_record(first)?;
            let records = record.zip(self.record).and_then(|(to, from)| to.checked_sub(from));
            let skip = Skip { blocks: self.wanted..first, records };
            self.wanted = first;
            self.expect(first, record, None);
            return Ok(Some(Step::Skip(skip)));
        };
        let path = segment_path(number);
        let file = match self.storage.open(&path, false) {
            // Retention was faster. The next call sees the new list.
            Err(error) if error.is_not_found() => return Ok(None),
            file => file?,
        };
        let header = segment_header(&*file, &path, number, &self.journal)?;
        if number != self.wanted || self.expected != self.wanted {
            self.expect(number, None, None);
        }
        (self.fruitless, self.given_up) = (None, None);
        self.record = self.record.or(header.ok().map(|header| header.first_record));
        self.segment = Some(Open {
            file,
            path: path.into(),
            number,
            offset: if header.is_ok() { SEGMENT_HEADER_BYTES as u64 } else { 0 },
            following: numbers.get(behind).copied(),
            wrong: header.err(),
        });
        Ok(None)
    }

    fn first_record(&self, number: u64) -> Result<Option<u64>> {
        let path = segment_path(number);
        match self.storage.open(&path, false) {
            Err(error) if error.is_not_found() => Ok(None),
            file => Ok(segment_header(&*file?, &path, number, &self.journal)?
                .ok()
                .map(|header| header.first_record)),
        }
    }

    /// Whether a place holds the block that is expected there.
    fn look(&mut self, open: &Open, offset: u64) -> Result<Found> {
        let len = open.file.size()?;
        if offset == 0 {
            return Ok(open.wrong.map_or(Found::End, Found::Wrong));
        }
        if offset >= len {
            return Ok(Found::End);
        }
        let (header, bytes) = match read_header(&*open.file, offset)? {
            Ok(found) => found,
            Err(what) => return Ok(Found::Wrong(what)),
        };
        let wrong = if header.block != self.expected {
            "the block has another index"
        } else if self.record.is_some_and(|record| record != header.first_record) {
            "the block has another sequence number"
        } else if self.previous.is_some_and(|previous| previous != header.previous) {
            "the block does not name the one before"
        } else if header.file_bytes() > len - offset {
            "the file ends within the block"
        } else if self.with_records
            && header.block >= self.wanted
            && !read_records(&*open.file, offset, &header, &mut self.stored)?
        {
            "checksum of the block's records"
        } else {
            return Ok(Found::Whole(header, bytes));
        };
        Ok(Found::Wrong(wrong))
    }

    /// True, and the segment is left, if there is a following one that was not known of: the wanted block may be there, or this one was replaced.
    fn has_news(&self, open: &Open) -> Result<bool> {
        Ok(open.following.is_none()
            && self.only.is_none()
            && segment_numbers(&*self.storage)?.last().is_some_and(|last| *last > open.number))
    }

    /// The segment ends before the expected block.
    fn behind_end(&mut self, open: Open) -> Result<Option<Step>> {
        if self.has_news(&open)? {
            return Ok(None);
        }
        let to = match (open.following, self.limit) {
            (Some(following), Some(limit)) => Some(following.min(limit)),
            (following, limit) => following.or(limit.filter(|limit| self.expected < *limit)),
        };
        let step = match to {
            Some(to) => self.give_up(&open, "blocks are missing", to)?,
            None => None,
        };
        if open.following.is_none() {
            self.segment = Some(open);
        }
        Ok(step)
    }

    /// The place is wrong: goes on behind it. The answer is what to tell, and whether to look again.
    fn behind_wrong(&mut self, mut open: Open, what: &'static str) -> Result<(Option<Step>, bool)> {
        if self.has_news(&open)? {
            return Ok((None, true));
        }
        let len = open.file.size()?;
        let found = if self.fruitless == Some((open.offset, len)) { None } else { self.search(&open, len)? };
        if found.is_none() {
            self.fruitless = Some((open.offset, len));
        }
        // What lies behind the limit may still become another block.
        let found = found.filter(|(_, header)| self.limit.is_none_or(|limit| header.block <= limit));
        if let Some((offset, header)) = found {
            let step = self.damage(&open, what, header.block, Some(header.first_record));
            self.expect(header.block, Some(header.first_record), None);
            open.offset = offset;
            self.segment = Some(open);
            return Ok((step, true));
        }
        if let Some(following) = open.following {
            let to = self.limit.map_or(following, |limit| limit.min(following));
            return Ok((self.give_up(&open, what, to)?, true));
        }
        let step = match self.limit.filter(|limit| self.expected < *limit) {
            Some(limit) => self.give_up(&open, what, limit)?,
            None => None,
        };
        self.given_up = step.as_ref().map(|_| open.offset).or(self.given_up);
        self.segment = Some(open);
        Ok((step, false))
    }

    /// Blocks up to `to` are lost.
    fn give_up(&mut self, open: &Open, what: &'static str, to: u64) -> Result<Option<Step>> {
        let record = if open.following == Some(to) { self.first_record(to)? } else { None };
        let step = self.damage(open, what, to, record);
        self.expect(to, record, None);
        Ok(step)
    }

    /// Blocks from the expected one up to `to` cannot be read: what to tell of it.
    fn damage(&mut self, open: &Open, what: &'static str, to: u64, record: Option<u64>) -> Option<Step> {
        let from = self.expected.max(self.wanted);
        // What lies before the wanted block is not of interest; what was given up already is not told again when its end is found.
        let told = to > from || (to == from && self.given_up != Some(open.offset));
        let known = record.zip(self.record).filter(|_| from == self.expected);
        self.wanted = self.wanted.max(to);
        told.then(|| {
            Step::Damage(Damage {
                file: open.path.to_string(),
                offset: open.offset,
                what,
                blocks: from..to,
                records: known.and_then(|(to, from)| to.checked_sub(from)),
            })
        })
    }

    /// The first whole block behind a wrong place.
    fn search(&mut self, open: &Open, len: u64) -> Result<Option<(u64, BlockHeader)>> {
        let mut tries = CANDIDATES_MAX;
        // Where only the records are wrong, the header says where the next block is. Asked first, since records may hold anything.
        if open.offset > 0
            && let Ok((header, _)) = read_header(&*open.file, open.offset)?
            && let Some(found) = self.try_at(open, open.offset + header.file_bytes(), len, &mut tries)?
        {
            return Ok(Some(found));
        }
        let finder = memmem::Finder::new(&BLOCK_MAGIC);
        let mut from = open.offset + 1;
        let mut chunk = vec![0; SEARCH_BYTES.min(len.saturating_sub(from) as usize)];
        while from < len {
            let read = open.file.read_at(from, &mut chunk)?;
            for at in finder.find_iter(&chunk[..read]) {
                if tries == 0 {
                    return Ok(None);
                }
                if let Some(found) = self.try_at(open, from + at as u64, len, &mut tries)? {
                    return Ok(Some(found));
                }
            }
            if from + read as u64 >= len || read < BLOCK_MAGIC.len() {
                break;
            }
            from += (read - BLOCK_MAGIC.len() + 1) as u64;
        }
        Ok(None)
    }

    /// A whole and likely block at a place behind the wrong one.
    fn try_at(
        &mut self,
        open: &Open,
        offset: u64,
        len: u64,
        tries: &mut usize,
    ) -> Result<Option<(u64, BlockHeader)>> {
        let Ok((header, _)) = read_header(&*open.file, offset)? else { return Ok(None) };
        let room = offset.saturating_sub(open.offset) / BLOCK_BYTES_MIN;
        let likely = header.block >= self.expected
            && header.block - self.expected <= room
            && open.following.is_none_or(|following| header.block < following)
            && self.record.is_none_or(|record| {
                header.first_record >= record
                    && (header.block > self.expected || header.first_record == record)
            })
            && header.file_bytes() <= len.saturating_sub(offset);
        if !likely {
            return Ok(None);
        }
        *tries = tries.saturating_sub(1);
        Ok(read_records(&*open.file, offset, &header, &mut self.stored)?.then_some((offset, header)))
    }
}

fn read_header(
    file: &dyn File,
    offset: u64,
) -> Result<std::result::Result<(BlockHeader, BlockHeaderBytes), &'static str>> {
    let mut bytes = [0; BLOCK_HEADER_BYTES];
    if file.read_at(offset, &mut bytes)? < bytes.len() {
        return Ok(Err("the file ends within the block's header"));
    }
    Ok(match BlockHeader::decode(&bytes) {
        Ok(header) => Ok((header, bytes)),
        Err(HeaderError::Wrong(what)) => Err(what),
        Err(HeaderError::Newer(_)) => Err("the block is of a later version"),
    })
}

/// Reads a block's records. False: they are not what its header says.
fn read_records(file: &dyn File, offset: u64, header: &BlockHeader, to: &mut Vec<u8>) -> Result<bool> {
    // At most STORED_BYTES_MAX, which decoding has checked.
    to.resize(header.stored_bytes as usize, 0);
    let read = file.read_at(offset + BLOCK_HEADER_BYTES as u64, to)?;
    Ok(read == to.len() && crc32c::crc32c(to) == header.stored_crc)
}
