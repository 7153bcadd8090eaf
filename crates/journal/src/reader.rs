//! Reading a journal in order, also while it grows and while its oldest segments go.
//!
//! A reader never ends: at the end it has nothing *yet*. What it cannot read it tells once, and goes on behind it.

use std::ops::Range;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use zstd::bulk::Decompressor;

use crate::block::Block;
use crate::cursor::Position;
use crate::format::{Hash, LOST_LEAF, journal_id};
use crate::meta;
use crate::storage::Storage;
use crate::walk::Walk;
pub use crate::walk::{Damage, Placed, SEGMENTS, Skip, Step, segment_path};
use crate::{Error, Result};

/// What comes next in a journal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Next {
    /// A block with its records.
    Block(Block),
    /// Retention removed what would come next.
    Skip(Skip),
    /// What would come next cannot be read.
    Damage(Damage),
}

/// Gives blocks with their records.
pub struct Reader {
    walk: Walk,
    zstd: Decompressor<'static>,
    at: Position,
    origin: String,
    content: bool,
}

/// The origin of the journal that is there.
///
/// # Errors
///
/// There is none, it is of a later version, or the disk refuses.
pub fn origin(storage: &dyn Storage) -> Result<String> {
    let missing = || Error::disk(meta::FOLDER, std::io::ErrorKind::NotFound.into());
    meta::load(storage)?.ok_or_else(missing)
}

impl Reader {
    /// Reads from a place on.
    ///
    /// # Errors
    ///
    /// There is no journal, it is of a later version, or the disk refuses.
    pub fn open(storage: Arc<dyn Storage>, at: Position) -> Result<Self> {
        let origin = origin(&*storage)?;
        let zstd = Decompressor::new().map_err(|e| Error::disk("zstd", e))?;
        let walk = Walk::new(storage, journal_id(&origin), at.block, true);
        Ok(Self { walk, zstd, at, origin, content: false })
    }

    /// The journal's origin, for the cursor.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Gives only blocks before this one, which are there: it is what the writer calls synced. A reader with a cursor needs it, since what is
    /// not synced may come again otherwise after a crash.
    pub fn set_limit(&mut self, blocks: u64) {
        self.walk.limit = Some(blocks);
    }

    /// Compares also the SHA-256 of what it reads. The CRC32C, which is always compared, finds what breaks by itself; this, what somebody changed.
    pub fn check_content(&mut self) {
        self.content = true;
    }

    /// The block that comes next.
    #[must_use]
    pub fn block(&self) -> u64 {
        self.walk.wanted()
    }

    /// What comes next. None: nothing yet.
    ///
    /// # Errors
    ///
    /// The disk refuses, or there is a segment of a later version. It can be called again.
    pub fn next_block(&mut self) -> Result<Option<Next>> {
        Ok(match self.walk.next()? {
            None => None,
            Some(Step::Skip(skip)) => Some(Next::Skip(skip)),
            Some(Step::Damage(damage)) => Some(Next::Damage(damage)),
            Some(Step::Block(placed)) => Some(self.unpack(&placed)),
        })
    }

    fn unpack(&mut self, placed: &Placed) -> Next {
        let header = placed.header;
        let passed = if header.block == self.at.block { self.at.record } else { 0 };
        let stored = &self.walk.stored;
        let block = if self.content && Hash::from(Sha256::digest(stored)) != header.content {
            Err("SHA-256 of the block's records")
        } else {
            Block::unpack(header, passed, stored, &mut self.zstd)
        };
        match block {
            Ok(block) => Next::Block(block),
            Err(what) => Next::Damage(Damage {
                file: placed.file.to_string(),
                offset: placed.offset,
                what,
                blocks: header.block..header.block + 1,
                records: Some(header.records.into()),
            }),
        }
    }
}

/// Gives headers only, with 160 bytes read for each block.
pub struct BlockHeaders(Walk);

impl BlockHeaders {
    /// Headers from a block on.
    ///
    /// # Errors
    ///
    /// As [`Reader::open`].
    pub fn open(storage: Arc<dyn Storage>, from: u64) -> Result<Self> {
        let origin = origin(&*storage)?;
        Ok(Self(Walk::new(storage, journal_id(&origin), from, false)))
    }

    /// What comes next. None: nothing yet.
    ///
    /// # Errors
    ///
    /// As [`Reader::next_block`].
    pub fn next_header(&mut self) -> Result<Option<Step>> {
        self.0.next()
    }
}

/// Gives the leaf hash of each block, for the tree to be made again from what is there. Of a block that is lost the next one tells it; where
/// that is lost, too, it is [`LOST_LEAF`].
pub struct Leaves {
    headers: BlockHeaders,
    lost: Range<u64>,
    then: Option<Placed>,
}

impl Leaves {
    /// Leaf hashes from a block on.
    ///
    /// # Errors
    ///
    /// As [`Reader::open`].
    pub fn open(storage: Arc<dyn Storage>, from: u64) -> Result<Self> {
        Ok(Self { headers: BlockHeaders::open(storage, from)?, lost: from..from, then: None })
    }

    /// The next block's index, leaf hash, and itself if it is there.
    ///
    /// # Errors
    ///
    /// As [`Reader::next_block`].
    pub fn next_leaf(&mut self) -> Result<Option<(u64, Hash, Option<Placed>)>> {
        while self.then.is_none() {
            match self.headers.next_header()? {
                None => return Ok(None),
                Some(Step::Block(placed)) => {
                    self.lost.end = placed.header.block;
                    self.then = Some(placed);
                }
                Some(_) => {}
            }
        }
        let lost = self.lost.next();
        Ok(match lost {
            Some(block) if self.lost.is_empty() => {
                Some((block, self.then.as_ref().map_or(LOST_LEAF, |placed| placed.header.previous), None))
            }
            Some(block) => Some((block, LOST_LEAF, None)),
            None => self.then.take().map(|placed| {
                self.lost.start = placed.header.block + 1;
                (placed.header.block, placed.leaf, Some(placed))
            }),
        })
    }
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
