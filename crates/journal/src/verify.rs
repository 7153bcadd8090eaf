//! Compares a journal with what was signed.
//!
//! Every block is read in order, as readers do, and its leaf hash is computed. Two trees are made of that on the way: one of what the
//! segments say, one of what the tiles say, each taking from the other what it does not have. The one with the signed root is right, and where
//! they differ the other one was changed. So blocks that retention removed are proved by their hashes, and a wrong tile is told from a wrong block.
//!
//! Reads only, one block at a time, and needs no more memory for a longer journal. A writer may go on meanwhile: what the newest
//! checkpoint covered at the beginning is compared with it, what lies behind is checked as a chain.

use std::ops::Range;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use zstd::bulk::Decompressor;

use crate::block::Block;
use crate::format::{Hash, SEGMENT_HEADER_BYTES, journal_id};
use crate::reader;
use crate::signed::{self, CHECKPOINT, Signed};
use crate::storage::Storage;
use crate::tree::{Checkpoint, VerifierKey};
use crate::walk::{self, Damage, Placed, Step, Walk};
use crate::{Error, Result};

mod record;
mod trees;

pub use record::{Proved, Which, record};
use trees::{Milestone, Trees};

/// Findings that are told one by one; those beyond are counted.
pub const FINDINGS_MAX: usize = 1_000;
/// How often a journal may lose its oldest segment just when it is opened.
const TURNS_MAX: u32 = 100;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Who signed. From elsewhere, if it is to be worth anything against who can write here.
    pub key: &'a VerifierKey,
    /// Checkpoints that were exported earlier: each has to be a beginning of this journal.
    pub against: &'a [Vec<u8>],
    /// Records are unpacked and counted, too.
    pub deep: bool,
}

/// How far it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// Blocks that were looked at, and removed ones.
    pub blocks: u64,
    /// Blocks that are signed; there may be some more.
    pub signed: u64,
    /// Bytes of blocks that were read.
    pub bytes: u64,
}

/// Something that is not as it was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// In which file, relative to the data folder.
    pub file: String,
    /// Where in it.
    pub offset: u64,
    /// Blocks that it is about. Empty: none that is known.
    pub blocks: Range<u64>,
    /// Sequence numbers of their records, if that is known.
    pub records: Option<Range<u64>>,
    /// What is wrong.
    pub what: String,
}

/// What a segment has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SegmentReport {
    /// Its file.
    pub file: String,
    /// Its blocks, from the first that was found to behind the last.
    pub blocks: Range<u64>,
    /// Sequence numbers of their records.
    pub records: Range<u64>,
    /// Its bytes before this are signed, from the first block on; the header of the segment never is. 0: none.
    pub signed_bytes: u64,
    /// Its bytes before this are blocks: those that are not signed are chained.
    pub bytes: u64,
    /// Bytes of the file, if it is the last: what lies behind the blocks is torn, or is being written.
    pub file_bytes: Option<u64>,
}

/// What it comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Nothing is wrong, and it is signed.
    Whole,
    /// Nothing is wrong, but there is no checkpoint: anybody could have written it.
    Unsigned,
    /// Something is wrong.
    Damaged,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Which journal.
    pub origin: String,
    /// The checkpoint that was compared with.
    pub checkpoint: Option<Checkpoint>,
    /// Blocks before this one were removed by retention: nothing tells whether by somebody else.
    pub first_block: u64,
    /// Segments in order.
    pub segments: Vec<SegmentReport>,
    /// Blocks that were found whole.
    pub blocks: u64,
    /// Their records.
    pub records: u64,
    /// What is wrong, as far as there is room.
    pub findings: Vec<Finding>,
    /// How much more is wrong.
    pub findings_beyond: u64,
}

impl Report {
    /// What it comes to.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match self {
            _ if !self.findings.is_empty() => Verdict::Damaged,
            Self { checkpoint: None, .. } => Verdict::Unsigned,
            _ => Verdict::Whole,
        }
    }

    fn find(&mut self, finding: Finding) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        } else {
            self.findings_beyond += 1;
        }
    }

    /// Something about a file as a whole.
    fn find_file(&mut self, file: &str, what: impl Into<String>) {
        self.find(Finding {
            file: file.to_owned(),
            offset: 0,
            blocks: 0..0,
            records: None,
            what: what.into(),
        });
    }
}

/// Compares a journal with what was signed, and goes on behind what it finds.
///
/// # Errors
///
/// There is no journal, it is not that of the key or of a later version, one of `against` is not signed by the key, or the disk refuses.
pub fn verify(
    storage: &Arc<dyn Storage>,
    request: Request<'_>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Report> {
    let origin = reader::origin(&**storage)?;
    if origin != request.key.name() {
        return Err(Error::OtherOrigin { file: crate::meta::FILE.to_owned(), origin });
    }
    let mut report = Report { origin, ..Report::default() };
    let mut milestones = Vec::new();
    for (number, note) in request.against.iter().enumerate() {
        let file = format!("earlier checkpoint {}", number + 1);
        let checkpoint = Checkpoint::open(note, request.key)
            .map_err(|why| Error::Checkpoint { file: file.clone(), why })?;
        milestones.push(Milestone::new(file, checkpoint, true));
    }
    let signed = checkpoints(&**storage, request.key, &mut report, &mut milestones)?;
    report.checkpoint = signed.map(|signed| signed.checkpoint);
    let size = report.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.size);
    let trees = Trees::new(&**storage, size, milestones);
    let zstd = Decompressor::new().map_err(|e| Error::disk("zstd", e))?;
    let journal = journal_id(&report.origin);
    let mut verifier =
        Verifier { storage, journal, request, report, trees, size, next: 0, record: None, bytes: 0, zstd };
    verifier.segments(progress)?;
    let Verifier { mut report, trees, .. } = verifier;
    trees.end(&mut report)?;
    if let Some(last) = report.segments.last_mut() {
        last.file_bytes = storage.open(&last.file, false).and_then(|file| file.size()).ok();
    }
    Ok(report)
}

/// The newest valid checkpoint; the others become milestones.
fn checkpoints(
    storage: &dyn Storage,
    key: &VerifierKey,
    report: &mut Report,
    milestones: &mut Vec<Milestone>,
) -> Result<Option<Signed>> {
    // First the copies: a writer that goes on meanwhile copies what stands in `checkpoint` already.
    let sizes = signed::copies(storage)?;
    let mut copy = None;
    for &size in sizes.iter().rev().take(FINDINGS_MAX) {
        let path = signed::copy_path(size);
        match signed::read_checkpoint(storage, &path, key)? {
            // Not kept for longer; the writer was faster.
            None => {}
            Some(Ok(signed)) if signed.checkpoint.size == size => {
                milestones.push(Milestone::new(path, signed.checkpoint.clone(), false));
                copy = copy.or(Some(signed));
            }
            Some(Ok(_)) => report.find_file(&path, "the checkpoint is of another size than its name says"),
            Some(Err(why)) => report.find_file(&path, why.to_string()),
        }
    }
    let size_of = |signed: &Signed| signed.checkpoint.size;
    match signed::read_checkpoint(storage, CHECKPOINT, key)? {
        Some(Ok(newest)) if copy.as_ref().is_none_or(|copy| size_of(copy) <= size_of(&newest)) => {
            return Ok(Some(newest));
        }
        Some(Ok(_)) => report.find_file(CHECKPOINT, "it is older than a copy in checkpoints/"),
        Some(Err(why)) => report.find_file(CHECKPOINT, why.to_string()),
        None if !sizes.is_empty() => report.find_file(CHECKPOINT, "it is missing"),
        None => {}
    }
    Ok(copy)
}

struct Verifier<'a> {
    storage: &'a Arc<dyn Storage>,
    journal: [u8; 16],
    request: Request<'a>,
    report: Report,
    trees: Trees<'a>,
    /// Blocks that are signed.
    size: u64,
    /// The next block, and its first record.
    next: u64,
    record: Option<u64>,
    bytes: u64,
    zstd: Decompressor<'static>,
}

impl Verifier<'_> {
    fn walk(&self, from: u64) -> Walk {
        Walk::new(self.storage.clone(), self.journal, from, true)
    }

    /// Goes through all segments.
    fn segments(&mut self, progress: &mut dyn FnMut(Progress)) -> Result<()> {
        let first = walk::segment_numbers(&**self.storage)?.first().copied().unwrap_or(0);
        self.report.first_block = first;
        if first > self.size {
            // Retention leaves them.
            self.report.find_file(CHECKPOINT, "blocks that it does not cover were removed, or it was");
        }
        self.trees.first_block = first;
        self.absent(first)?;
        let mut walk = self.walk(first);
        // Up to there everything has to be there; behind it a journal may end anywhere.
        walk.limit = (first < self.size).then_some(self.size);
        let mut turns = 0;
        loop {
            match walk.next()? {
                Some(Step::Block(placed)) => {
                    self.block(&placed, &walk.stored)?;
                    progress(Progress { blocks: self.next, signed: self.size, bytes: self.bytes });
                }
                Some(Step::Skip(skip)) => {
                    self.report.first_block = skip.blocks.end;
                    self.trees.first_block = skip.blocks.end;
                    self.absent(skip.blocks.end)?;
                }
                Some(Step::Damage(damage)) if damage.blocks.start >= self.size => {
                    let mut again = self.walk(damage.blocks.start);
                    match again.next()? {
                        // It was being written when it was looked at.
                        Some(Step::Block(placed)) if placed.header.block == damage.blocks.start => {
                            self.block(&placed, &again.stored)?;
                            walk = again;
                        }
                        _ => self.damage(damage)?,
                    }
                }
                Some(Step::Damage(damage)) => self.damage(damage)?,
                None if self.next >= self.size && walk.limit.is_some() => walk.limit = None,
                None if self.next >= self.size => return Ok(()),
                None if turns < TURNS_MAX => turns += 1,
                None => {
                    let file = walk::SEGMENTS.to_owned();
                    let blocks = self.next..self.size;
                    self.damage(Damage {
                        file,
                        offset: 0,
                        what: "no segment is left",
                        blocks,
                        records: None,
                    })?;
                }
            }
        }
    }

    /// Blocks up to this one are not there.
    fn absent(&mut self, to: u64) -> Result<()> {
        while self.next < to {
            if self.next < self.size {
                self.trees.add(self.next, None, &mut self.report)?;
                self.next += 1;
            } else {
                self.next = to;
            }
            self.record = None;
        }
        Ok(())
    }

    fn damage(&mut self, damage: Damage) -> Result<()> {
        let records = self.record.zip(damage.records).map(|(from, count)| from..from.saturating_add(count));
        let record = records.as_ref().map(|records| records.end);
        let Damage { file, offset, what, blocks, .. } = damage;
        let to = blocks.end;
        self.report.find(Finding { file, offset, blocks, records, what: what.to_owned() });
        self.absent(to)?;
        self.record = record;
        Ok(())
    }

    fn block(&mut self, placed: &Placed, stored: &[u8]) -> Result<()> {
        let header = placed.header;
        self.absent(header.block)?;
        self.enter(placed)?;
        let wrong = if Hash::from(Sha256::digest(stored)) != header.content {
            Some("SHA-256 of the block's records")
        } else if header.block == 0 && (header.previous != [0; 32] || header.first_record != 0) {
            Some("the first block names one before it")
        } else if self.request.deep {
            Block::unpack(header, 0, stored, &mut self.zstd).err()
        } else {
            None
        };
        if let Some(what) = wrong {
            self.report.find(of_block(placed, what));
        } else {
            self.report.blocks += 1;
            self.report.records += u64::from(header.records);
        }
        if header.block < self.size {
            self.trees.add(header.block, Some(placed), &mut self.report)?;
        }
        self.next = header.block + 1;
        self.record = Some(header.next_record());
        self.bytes += header.file_bytes();
        Ok(())
    }

    /// Notes where a block is, and looks at the header of its segment if it is the first that is found there.
    fn enter(&mut self, placed: &Placed) -> Result<()> {
        let header = placed.header;
        if self.report.segments.last().is_none_or(|last| *last.file != *placed.file) {
            if placed.offset == SEGMENT_HEADER_BYTES as u64 {
                let file = self.storage.open(&placed.file, false);
                let number = header.block;
                if let Ok(file) = file
                    && let Ok(segment) = walk::segment_header(&*file, &placed.file, number, &self.journal)?
                    && segment.first_record != header.first_record
                {
                    self.report.find_file(&placed.file, "the segment's header names another first record");
                }
            }
            self.report.segments.push(SegmentReport {
                file: placed.file.to_string(),
                blocks: header.block..header.block,
                records: header.first_record..header.first_record,
                signed_bytes: 0,
                bytes: placed.offset,
                file_bytes: None,
            });
        }
        if let Some(segment) = self.report.segments.last_mut() {
            segment.blocks.end = header.block + 1;
            segment.records.end = header.next_record();
            segment.bytes = placed.offset + header.file_bytes();
            if header.block < self.size {
                segment.signed_bytes = segment.bytes;
            }
        }
        Ok(())
    }
}

/// Something about a block.
fn of_block(placed: &Placed, what: &str) -> Finding {
    let header = placed.header;
    Finding {
        file: placed.file.to_string(),
        offset: placed.offset,
        blocks: header.block..header.block + 1,
        records: Some(header.first_record..header.next_record()),
        what: what.to_owned(),
    }
}

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;
