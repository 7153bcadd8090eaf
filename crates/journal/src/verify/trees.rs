//! The tree as the blocks have it beside the tree as the tiles have it.

use std::ops::Range;

use crate::format::LOST_LEAF;
use crate::signed::{CHECKPOINT, Tiles, tile_path};
use crate::storage::Storage;
use crate::tree::{
    Checkpoint, ENTRY_BYTES, Edge, Hash, Kind, TILE_WIDTH, Tile, TreeError, leaf_hash, read_entries,
    read_hashes,
};
use crate::walk::{self, Placed};
use crate::{Error, Result};

use super::{FINDINGS_MAX, Finding, Report, of_block};

/// The header of a block in a bundle.
type Entry = [u8; ENTRY_BYTES];
/// Entries of a bundle; `None` is a lost one.
type Entries = Vec<Option<Entry>>;

/// What is wrong with an entry.
const NO_HEADER: &str = "it is not the header of the block";

/// Where an entry lies in its bundle.
fn offset_of(entries: &[Option<Entry>], at: usize) -> usize {
    entries.iter().take(at).map(|entry| 2 + entry.map_or(0, |entry| entry.len())).sum()
}

/// An earlier checkpoint that has to be a beginning of the tree.
pub(super) struct Milestone {
    file: String,
    checkpoint: Checkpoint,
    /// It comes from elsewhere, so nobody here could change it.
    exported: bool,
    /// Whether it is one of the blocks' tree, and of the tiles'.
    fits: Option<(bool, bool)>,
}

impl Milestone {
    pub(super) fn new(file: String, checkpoint: Checkpoint, exported: bool) -> Self {
        Self { file, checkpoint, exported, fits: None }
    }
}

/// A difference: what it means if the blocks are right, and if the tiles are.
struct Difference {
    if_blocks: Option<Finding>,
    if_tiles: Option<Finding>,
}

pub(super) struct Trees<'a> {
    storage: &'a dyn Storage,
    size: u64,
    /// Blocks before it were removed, and so may be their bundles.
    pub(super) first_block: u64,
    by_blocks: Edge,
    by_tiles: Edge,
    /// The tile of leaves and the bundle of the block that comes next, if they are there.
    leaves: Option<Vec<Hash>>,
    entries: Option<Entries>,
    differences: Vec<Difference>,
    differences_beyond: u64,
    milestones: Vec<Milestone>,
}

fn of_tile(path: &str, offset: usize, blocks: Range<u64>, what: &str) -> Finding {
    Finding { file: tile_path(path), offset: offset as u64, blocks, records: None, what: what.to_owned() }
}

/// Blocks below a hash of a level.
fn below(level: u8, index: u64) -> Range<u64> {
    let bits = 8 * u32::from(level);
    let at = |index: u64| index.checked_shl(bits).unwrap_or(u64::MAX);
    at(index)..at(index.saturating_add(1))
}

impl<'a> Trees<'a> {
    pub(super) fn new(storage: &'a dyn Storage, size: u64, mut milestones: Vec<Milestone>) -> Self {
        milestones.sort_by_key(|milestone| milestone.checkpoint.size);
        let mut trees = Self {
            storage,
            size,
            first_block: 0,
            by_blocks: Edge::new(),
            by_tiles: Edge::new(),
            leaves: None,
            entries: None,
            differences: Vec::new(),
            differences_beyond: 0,
            milestones,
        };
        trees.pass();
        trees
    }

    fn differ(&mut self, if_blocks: Option<Finding>, if_tiles: Option<Finding>) {
        if if_blocks.is_none() && if_tiles.is_none() {
        } else if self.differences.len() < FINDINGS_MAX {
            self.differences.push(Difference { if_blocks, if_tiles });
        } else {
            self.differences_beyond += 1;
        }
    }

    /// Compares the milestones of the present size.
    fn pass(&mut self) {
        let size = self.by_blocks.size();
        let at = self.milestones.partition_point(|milestone| milestone.checkpoint.size < size);
        for milestone in &mut self.milestones[at..] {
            if milestone.checkpoint.size != size {
                break;
            }
            let root = milestone.checkpoint.root;
            milestone.fits = Some((root == self.by_blocks.root(), root == self.by_tiles.root()));
        }
    }

    /// Adds a block that is signed: the next one. `placed` if it is there.
    pub(super) fn add(&mut self, block: u64, placed: Option<&Placed>, report: &mut Report) -> Result<()> {
        let at = (block % TILE_WIDTH as u64) as usize;
        if at == 0 {
            self.load(block / TILE_WIDTH as u64, report)?;
        }
        let of_tiles = self.leaves.as_ref().and_then(|leaves| leaves.get(at).copied());
        let of_block_ = placed.map(|placed| Hash(placed.leaf));
        if let (Some(tile), Some(placed)) = (of_tiles, placed)
            && tile.0 != placed.leaf
        {
            let path = self.path(Kind::Hashes(0), block / TILE_WIDTH as u64);
            let if_blocks = of_tile(&path, at * 32, block..block + 1, "it is not the hash of the block");
            self.differ(Some(if_blocks), Some(of_block(placed, "the block is not the one that was signed")));
        }
        let by_blocks = of_block_.or(of_tiles).unwrap_or(Hash(LOST_LEAF));
        let by_tiles = of_tiles.or(of_block_).unwrap_or(Hash(LOST_LEAF));
        self.compare_entry(block, at, placed.is_some(), by_blocks, by_tiles);
        let (mut full, mut other) = (Vec::new(), Vec::new());
        self.by_blocks.append(by_blocks, |tile, hashes| full.push((tile, hashes.to_vec())));
        self.by_tiles.append(by_tiles, |_, hashes| other.push(hashes.to_vec()));
        for ((tile, hashes), other) in full.iter().zip(&other) {
            self.compare_tile(*tile, hashes, other, report)?;
        }
        self.pass();
        Ok(())
    }

    /// Path of the file of a place, as it is for the signed size.
    fn path(&self, kind: Kind, index: u64) -> String {
        let tile = Tile::of_tree(kind, index, self.size);
        let path = tile.map_or(String::new(), |tile| tile.to_string());
        match tile {
            Some(tile) if tile.is_partial() && self.storage.open(&tile_path(&path), false).is_err() => {
                tile.whole().to_string()
            }
            _ => path,
        }
    }

    fn width(&self, index: u64) -> u16 {
        Tile::of_tree(Kind::Entries, index, self.size).map_or(0, |tile| tile.width)
    }

    /// Reads a tile of leaves and its bundle.
    fn load(&mut self, index: u64, report: &mut Report) -> Result<()> {
        let width = self.width(index);
        let blocks = below(1, index);
        let mut tiles = Tiles(self.storage);
        self.leaves = told(read_hashes(&mut tiles, 0, index, width), blocks.clone(), report)?;
        self.entries = match read_entries(&mut tiles, index, width) {
            // Retention took it, perhaps just now.
            Err(TreeError::Missing { .. }) if self.is_removed(blocks.end)? => None,
            entries => told(entries, blocks, report)?,
        };
        Ok(())
    }

    /// Whether all blocks before this one were removed.
    fn is_removed(&mut self, end: u64) -> Result<bool> {
        if let Some(&first) = walk::segment_numbers(self.storage)?.first() {
            self.first_block = self.first_block.max(first);
        }
        Ok(end <= self.first_block)
    }

    fn compare_entry(&mut self, block: u64, at: usize, is_there: bool, by_blocks: Hash, by_tiles: Hash) {
        let Some(entries) = &self.entries else { return };
        let Some(entry) = entries.get(at) else { return };
        let wrong = |leaf: Hash| entry.map_or(is_there, |entry| leaf_hash(&entry) != leaf);
        let (if_blocks, if_tiles) = (wrong(by_blocks), wrong(by_tiles));
        if if_blocks || if_tiles {
            let path = self.path(Kind::Entries, block / TILE_WIDTH as u64);
            let finding = of_tile(&path, offset_of(entries, at), block..block + 1, NO_HEADER);
            self.differ(if_blocks.then(|| finding.clone()), if_tiles.then_some(finding));
        }
    }

    /// Compares a tile of hashes with its file. Of leaves this has been done one by one.
    fn compare_tile(
        &mut self,
        tile: Tile,
        by_blocks: &[Hash],
        by_tiles: &[Hash],
        report: &mut Report,
    ) -> Result<()> {
        let Kind::Hashes(level) = tile.kind else { return Ok(()) };
        if level == 0 {
            return Ok(());
        }
        let stored = read_hashes(&mut Tiles(self.storage), level, tile.index, tile.width);
        let first = tile.index * TILE_WIDTH as u64;
        let blocks = below(level, first).start..below(level, first + u64::from(tile.width)).start;
        if let Some(stored) = told(stored, blocks, report)? {
            let path = self.path(tile.kind, tile.index);
            self.compare_hashes(&path, level, first, &stored, by_blocks, by_tiles);
        }
        Ok(())
    }

    fn compare_hashes(
        &mut self,
        path: &str,
        level: u8,
        first: u64,
        stored: &[Hash],
        by_blocks: &[Hash],
        by_tiles: &[Hash],
    ) {
        let wrong = |right: &[Hash]| {
            let at = stored.iter().zip(right).position(|(stored, right)| stored != right)?;
            let blocks = below(level, first + at as u64);
            Some(of_tile(path, at * 32, blocks, "it is not the hash over the blocks below it"))
        };
        self.differ(wrong(by_blocks), wrong(by_tiles));
    }

    /// Compares the partial files of the right edge, also those of earlier checkpoints.
    fn edge(&mut self, report: &mut Report) -> Result<()> {
        let edges = |edge: &Edge| -> Vec<(Tile, Vec<Hash>)> {
            edge.partial().map(|(tile, hashes)| (tile, hashes.to_vec())).collect()
        };
        let (by_blocks, by_tiles) = (edges(&self.by_blocks), edges(&self.by_tiles));
        for ((tile, by_blocks), (_, by_tiles)) in by_blocks.iter().zip(&by_tiles) {
            let Kind::Hashes(level) = tile.kind else { continue };
            self.compare_tile(*tile, by_blocks, by_tiles, report)?;
            let first = tile.index * TILE_WIDTH as u64;
            for earlier in self.earlier(*tile)? {
                let stored = read_hashes(&mut Tiles(self.storage), level, tile.index, earlier.width);
                if let Some(stored) = told(stored, below(level, first), report)? {
                    self.compare_hashes(&earlier.to_string(), level, first, &stored, by_blocks, by_tiles);
                }
            }
            if level > 0 {
                continue;
            }
            for earlier in self.earlier(Tile { kind: Kind::Entries, ..*tile })? {
                let stored = read_entries(&mut Tiles(self.storage), tile.index, earlier.width);
                let Some(stored) = told(stored, below(1, tile.index), report)? else { continue };
                let wrong = |leaves: &[Hash]| {
                    let is_wrong = |(entry, leaf): (&Option<_>, &Hash)| {
                        entry.as_ref().is_some_and(|entry: &Entry| leaf_hash(entry) != *leaf)
                    };
                    let at = stored.iter().zip(leaves).position(is_wrong)?;
                    let block = first + at as u64;
                    Some(of_tile(&earlier.to_string(), offset_of(&stored, at), block..block + 1, NO_HEADER))
                };
                self.differ(wrong(by_blocks), wrong(by_tiles));
            }
        }
        Ok(())
    }

    /// Smaller partial files of the same place.
    fn earlier(&self, tile: Tile) -> Result<Vec<Tile>> {
        let names = self.storage.list(&tile_path(&tile.partial_folder()))?;
        let width = |name: &String| name.parse().ok().filter(|width| (1..tile.width).contains(width));
        let mut widths: Vec<u16> = names.iter().filter_map(width).collect();
        widths.sort_unstable();
        Ok(widths.into_iter().map(|width| Tile { width, ..tile }).collect())
    }

    /// All blocks were added: decides who is right.
    pub(super) fn end(mut self, report: &mut Report) -> Result<()> {
        let Some(checkpoint) = report.checkpoint.clone() else {
            self.milestones(report, true, true);
            return Ok(());
        };
        self.edge(report)?;
        let blocks_are_right = self.by_blocks.root() == checkpoint.root;
        let tiles_are_right = self.by_tiles.root() == checkpoint.root;
        if !blocks_are_right && !tiles_are_right {
            let what = "neither the blocks nor the tiles have the root that was signed";
            let blocks = 0..checkpoint.size;
            report.find(Finding {
                file: CHECKPOINT.to_owned(),
                offset: 0,
                blocks,
                records: None,
                what: what.to_owned(),
            });
        }
        for difference in std::mem::take(&mut self.differences) {
            let Difference { if_blocks, if_tiles } = difference;
            let finding = if blocks_are_right {
                if_blocks
            } else if tiles_are_right {
                if_tiles
            } else {
                if_tiles.or(if_blocks)
            };
            finding.into_iter().for_each(|finding| report.find(finding));
        }
        if report.findings.is_empty() && !blocks_are_right {
            report.find_file(CHECKPOINT, "the blocks have another root than the one that was signed");
        }
        report.findings_beyond += self.differences_beyond;
        self.milestones(report, blocks_are_right, tiles_are_right);
        Ok(())
    }

    /// Tells of earlier checkpoints that are no beginning of this journal.
    fn milestones(&mut self, report: &mut Report, blocks_are_right: bool, tiles_are_right: bool) {
        // Up to the last one that fits nothing was changed.
        let mut same = 0;
        for milestone in &self.milestones {
            let size = milestone.checkpoint.size;
            let is_right = match milestone.fits {
                Some((by_blocks, _)) if blocks_are_right => by_blocks,
                Some((_, by_tiles)) if tiles_are_right => by_tiles,
                Some((by_blocks, by_tiles)) => by_blocks || by_tiles,
                None => false,
            };
            if is_right {
                same = if milestone.exported { size } else { same };
                continue;
            }
            let what = match milestone.fits {
                None => format!(
                    "the journal was rewritten or cut off: this checkpoint of it covers {size} blocks, its newest {}",
                    self.size
                ),
                Some(_) => format!(
                    "the journal was rewritten: its first {size} blocks are not those of this checkpoint; something in blocks {same} to {} is not what was signed",
                    size.saturating_sub(1)
                ),
            };
            let first = report.segments.iter().find(|segment| segment.blocks.end > same);
            let file = first.filter(|_| milestone.exported && milestone.fits.is_some());
            let file = file.map_or(milestone.file.clone(), |segment| segment.file.clone());
            let what = if milestone.exported { format!("{}: {what}", milestone.file) } else { what };
            report.find(Finding { file, offset: 0, blocks: same..size, records: None, what });
        }
    }
}

/// What was read, or a finding about the file.
fn told<T>(
    read: std::result::Result<T, TreeError>,
    blocks: Range<u64>,
    report: &mut Report,
) -> Result<Option<T>> {
    let (path, what) = match read {
        Ok(read) => return Ok(Some(read)),
        Err(TreeError::Read { path, error }) => return Err(Error::disk(&tile_path(&path), error)),
        Err(TreeError::Missing { path }) => (path, "it is missing"),
        Err(TreeError::Damaged { path }) => (path, "it has not the length or form that it must have"),
        // Not of reading.
        Err(TreeError::Root { .. } | TreeError::Beyond { .. }) => return Ok(None),
    };
    report.find(of_tile(&path, 0, blocks, what));
    Ok(None)
}
