//! What to do with what is found at the beginning: the table of docs/formats/journal.md, "After a crash", as data.
//!
//! [`survey`] looks and changes nothing, [`decide`] reads the table, the writer does what it says.

use std::sync::Arc;

use crate::Result;
use crate::format::{BlockHeader, BlockHeaderBytes, Hash, LOST_LEAF, SEGMENT_HEADER_BYTES, leaf_hash};
use crate::storage::Storage;
use crate::walk::{self, Damage, Step, Walk};

/// What the tree knows of blocks, as the writer asks for it when it opens a journal.
pub trait Tree {
    /// How many blocks the newest valid checkpoint covers.
    fn signed(&self) -> u64;
    /// The leaf hash of a signed block, from tiles that belong to that checkpoint.
    fn leaf_hash(&self, block: u64) -> Option<Hash>;
    /// The header of a signed block, from the entry bundles.
    fn header(&self, block: u64) -> Option<BlockHeaderBytes>;
    /// The newest checkpoint is not valid, and an earlier one counts.
    fn checkpoint_is_damaged(&self) -> bool {
        false
    }
    /// Tiles that the newest valid checkpoint needs are missing or wrong.
    fn tiles_are_damaged(&self) -> bool {
        false
    }
}

/// No checkpoint yet.
#[derive(Clone, Copy, Debug)]
pub struct Unsigned;

impl Tree for Unsigned {
    fn signed(&self) -> u64 {
        0
    }
    fn leaf_hash(&self, _: u64) -> Option<Hash> {
        None
    }
    fn header(&self, _: u64) -> Option<BlockHeaderBytes> {
        None
    }
}

/// How the last segment ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tail {
    /// With a whole block.
    Whole,
    /// There is no segment at all.
    NoSegment,
    /// It has no whole block; its header is missing, torn, or all that there is.
    NoBlock,
    /// Torn block: short, or a checksum is wrong, and no whole block behind it.
    Torn,
    /// A wrong block with a whole one of this journal behind it.
    Wrong,
}

/// How many blocks are found against those that are known to have been there: the signed ones, and those before a segment without a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Against {
    /// As many or more.
    Enough,
    /// Fewer.
    Fewer,
}

/// Where the leaf hashes of signed blocks are, which the tree needs to go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hashes {
    /// In the tiles, as far as blocks are missing.
    InTiles,
    /// Tiles are missing or wrong, but all blocks are there.
    InSegments,
    /// Neither has them.
    Nowhere,
}

/// What is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Act {
    /// Go on in the last segment.
    GoOn,
    /// Begin with block 0.
    Begin,
    /// Remove the last segment, then look again.
    Remove,
    /// Cut the last segment off behind its last whole block, and go on in it.
    Cut,
    /// Keep the segment as it is; a new one begins behind its last whole block.
    Behind,
    /// Keep everything as it is; a new segment begins behind all blocks that are known to have been there.
    BehindKnown,
    /// Open for reading only.
    Refuse,
}

/// What is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Told {
    /// Nothing.
    Nothing,
    /// The journal did not end cleanly.
    UncleanEnd,
    /// There is damage, with file and offset or the missing blocks.
    Damage,
}

/// A row of the table: any of the tails, with any of the others.
#[derive(Debug)]
pub struct Row {
    tail: &'static [Tail],
    against: &'static [Against],
    hashes: &'static [Hashes],
    act: Act,
    told: Told,
}

const ANY_TAIL: &[Tail] = &[Tail::Whole, Tail::NoSegment, Tail::NoBlock, Tail::Torn, Tail::Wrong];
const ANY_AGAINST: &[Against] = &[Against::Enough, Against::Fewer];
const ENOUGH: &[Against] = &[Against::Enough];
const FEWER: &[Against] = &[Against::Fewer];
const SOMEWHERE: &[Hashes] = &[Hashes::InTiles, Hashes::InSegments];

/// The rows of the page that decide, in its order. Each combination is in exactly one.
pub const TABLE: [Row; 8] = [
    Row { tail: &[Tail::Whole], against: ENOUGH, hashes: SOMEWHERE, act: Act::GoOn, told: Told::Nothing },
    Row {
        tail: &[Tail::NoSegment],
        against: ENOUGH,
        hashes: SOMEWHERE,
        act: Act::Begin,
        told: Told::Nothing,
    },
    Row {
        tail: &[Tail::NoBlock],
        against: ENOUGH,
        hashes: SOMEWHERE,
        act: Act::Remove,
        told: Told::UncleanEnd,
    },
    Row { tail: &[Tail::Torn], against: ENOUGH, hashes: SOMEWHERE, act: Act::Cut, told: Told::UncleanEnd },
    Row { tail: &[Tail::Wrong], against: ENOUGH, hashes: SOMEWHERE, act: Act::Behind, told: Told::Damage },
    Row {
        tail: ANY_TAIL,
        against: FEWER,
        hashes: &[Hashes::InTiles],
        act: Act::BehindKnown,
        told: Told::Damage,
    },
    Row {
        tail: ANY_TAIL,
        against: ANY_AGAINST,
        hashes: &[Hashes::Nowhere],
        act: Act::Refuse,
        told: Told::Damage,
    },
    // Blocks are missing, so they cannot all be there: no survey says so, but a table has no holes.
    Row {
        tail: ANY_TAIL,
        against: FEWER,
        hashes: &[Hashes::InSegments],
        act: Act::Refuse,
        told: Told::Damage,
    },
];

/// Reads the table.
#[must_use]
pub fn decide(tail: Tail, against: Against, hashes: Hashes) -> (Act, Told) {
    let fits = |row: &&Row| {
        row.tail.contains(&tail) && row.against.contains(&against) && row.hashes.contains(&hashes)
    };
    // Each combination has its row, which a test walks through; to refuse does no harm.
    TABLE.iter().find(fits).map_or((Act::Refuse, Told::Damage), |row| (row.act, row.told))
}

/// Where the journal can go on: the place of the next block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    pub(crate) block: u64,
    pub(crate) record: u64,
    pub(crate) previous: Hash,
}

impl Place {
    const BEGINNING: Self = Self { block: 0, record: 0, previous: [0; 32] };

    fn behind(header: &BlockHeader, leaf: Hash) -> Self {
        Self { block: header.block + 1, record: header.next_record(), previous: leaf }
    }
}

/// What was found.
pub(crate) struct Survey {
    pub(crate) tail: Tail,
    pub(crate) against: Against,
    pub(crate) hashes: Hashes,
    /// Behind the last whole block.
    pub(crate) found: Place,
    /// Behind all that is known to have been there. None: its place is not to be found out.
    pub(crate) known: Option<Place>,
    /// Number of the last segment, if there is one.
    pub(crate) last: Option<u64>,
    /// Where its last whole block ends, and its length.
    pub(crate) end: u64,
    pub(crate) len: u64,
    /// What is wrong in it.
    pub(crate) damage: Vec<Damage>,
}

/// One segment, all of it.
struct Looked {
    place: Option<Place>,
    end: u64,
    len: u64,
    damage: Vec<Damage>,
}

fn look(storage: &Arc<dyn Storage>, journal: [u8; 16], number: u64) -> Result<Looked> {
    let mut walk = Walk::segment(storage.clone(), journal, number);
    let mut looked = Looked { place: None, end: SEGMENT_HEADER_BYTES as u64, len: 0, damage: Vec::new() };
    while let Some(step) = walk.next()? {
        match step {
            Step::Block(placed) => {
                looked.place = Some(Place::behind(&placed.header, placed.leaf));
                looked.end = placed.offset + placed.header.file_bytes();
            }
            Step::Damage(damage) => looked.damage.push(damage),
            Step::Skip(_) => {}
        }
    }
    looked.len = walk.place()?.1;
    Ok(looked)
}

/// Looks at the last segment, and at those before it while they have no block.
pub(crate) fn survey(storage: &Arc<dyn Storage>, journal: [u8; 16], tree: &dyn Tree) -> Result<Survey> {
    let numbers = walk::segment_numbers(&**storage)?;
    let mut survey = Survey {
        tail: Tail::NoSegment,
        against: Against::Enough,
        hashes: Hashes::InTiles,
        found: Place::BEGINNING,
        known: None,
        last: numbers.last().copied(),
        end: 0,
        len: 0,
        damage: Vec::new(),
    };
    // A segment's header says what was before it, also where its first block is torn.
    let mut known = Place::BEGINNING;
    for (turn, &number) in numbers.iter().rev().enumerate() {
        let looked = look(storage, journal, number)?;
        if turn == 0 {
            (survey.end, survey.len) = (looked.end, looked.len);
            survey.tail = match looked.place {
                None => Tail::NoBlock,
                Some(_) if !looked.damage.is_empty() => Tail::Wrong,
                Some(_) if looked.end < looked.len => Tail::Torn,
                Some(_) => Tail::Whole,
            };
        }
        if let Some(place) = looked.place {
            survey.found = place;
            if turn == 0 {
                survey.damage = looked.damage;
            }
            break;
        }
        let path = walk::segment_path(number);
        let file = storage.open(&path, false)?;
        if let Ok(header) = walk::segment_header(&*file, &path, number, &journal)?
            && header.first_block > known.block
        {
            known = Place { block: header.first_block, record: header.first_record, previous: LOST_LEAF };
        }
    }
    let signed = tree.signed();
    survey.against =
        if survey.found.block < signed.max(known.block) { Against::Fewer } else { Against::Enough };
    survey.known = Some(known);
    if signed >= known.block && signed > 0 {
        survey.known = tree
            .header(signed - 1)
            .and_then(|bytes| {
                BlockHeader::decode(&bytes).ok().map(|header| Place::behind(&header, leaf_hash(&bytes)))
            })
            .filter(|place| place.block == signed);
    }
    survey.hashes = match survey.against {
        Against::Fewer => {
            let missing = survey.found.block..signed;
            let told = survey.known.is_some()
                && !tree.tiles_are_damaged()
                && missing.into_iter().all(|block| tree.leaf_hash(block).is_some());
            if told { Hashes::InTiles } else { Hashes::Nowhere }
        }
        Against::Enough if !tree.tiles_are_damaged() => Hashes::InTiles,
        Against::Enough if numbers.first().is_none_or(|first| *first == 0) => Hashes::InSegments,
        Against::Enough => Hashes::Nowhere,
    };
    Ok(survey)
}

#[cfg(test)]
#[path = "recovery_tests.rs"]
mod tests;
