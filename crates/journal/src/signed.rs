//! What is signed: checkpoints on the disk, and the tiles below them.

use std::io;

use crate::format::{self, BlockHeaderBytes, Hash};
use crate::recovery;
use crate::storage::{self, Storage};
use crate::tree::{
    Checkpoint, CheckpointError, Edge, FILE_BYTES_MAX, InclusionProof, Kind, NOTE_BYTES_MAX, TILE_WIDTH,
    Tile, TileSource, VerifierKey, read_entries, read_hashes,
};
use crate::{Error, Result};

/// The newest checkpoint.
pub(crate) const CHECKPOINT: &str = "journal/checkpoint";
/// Copies of earlier ones.
pub(crate) const COPIES: &str = "journal/checkpoints";
/// Copies that are kept.
pub(crate) const COPIES_MAX: usize = 64;
/// Digits of a copy's name.
const COPY_DIGITS: usize = 20;

/// Path of a file of the tree.
pub(crate) fn tile_path(path: &str) -> String {
    format!("{}/{path}", crate::meta::FOLDER)
}

/// Where the copy of a checkpoint of that size is.
pub(crate) fn copy_path(size: u64) -> String {
    format!("{COPIES}/{size:0COPY_DIGITS$}")
}

/// The size of the checkpoint whose copy has that name; nothing if it is not that of one.
pub(crate) fn copy_size(name: &str) -> Option<u64> {
    (name.len() == COPY_DIGITS && name.bytes().all(|b| b.is_ascii_digit())).then(|| name.parse().ok())?
}

/// Sizes of all copies, ascending.
pub(crate) fn copies(storage: &dyn Storage) -> Result<Vec<u64>> {
    let mut sizes: Vec<u64> = storage.list(COPIES)?.iter().filter_map(|name| copy_size(name)).collect();
    sizes.sort_unstable();
    Ok(sizes)
}

/// Tiles as they lie in the journal.
pub(crate) struct Tiles<'a>(pub(crate) &'a dyn Storage);

impl TileSource for Tiles<'_> {
    fn read(&mut self, path: &str) -> io::Result<Option<Vec<u8>>> {
        match storage::read_small(self.0, &tile_path(path), FILE_BYTES_MAX) {
            Ok(bytes) => Ok(bytes),
            // Longer than any tile: it has the wrong length in any case.
            Err(Error::Corrupt { .. }) => Ok(Some(Vec::new())),
            Err(Error::Disk { source, .. }) => Err(source),
            Err(error) => Err(io::Error::other(error)),
        }
    }
}

/// A checkpoint that was read, with the note that it stands in.
#[derive(Clone, Debug)]
pub(crate) struct Signed {
    pub(crate) checkpoint: Checkpoint,
    pub(crate) note: Vec<u8>,
}

/// Reads a checkpoint; the inner error says why it is none. `None`: there is no such file.
pub(crate) fn read_checkpoint(
    storage: &dyn Storage,
    path: &str,
    key: &VerifierKey,
) -> Result<Option<std::result::Result<Signed, CheckpointError>>> {
    let note = match storage::read_small(storage, path, NOTE_BYTES_MAX) {
        Err(Error::Corrupt { .. }) => return Ok(Some(Err(CheckpointError::Lines))),
        note => note?,
    };
    Ok(note.map(|note| Checkpoint::open(&note, key).map(|checkpoint| Signed { checkpoint, note })))
}

/// The newest valid checkpoint, and whether it is not the one that it should be.
pub(crate) fn newest(storage: &dyn Storage, key: &VerifierKey) -> Result<(Option<Signed>, bool)> {
    let there = read_checkpoint(storage, CHECKPOINT, key)?;
    let mut damaged = matches!(there, Some(Err(_)));
    let mut newest = there.and_then(std::result::Result::ok);
    for size in copies(storage)?.into_iter().rev() {
        if newest.as_ref().is_some_and(|newest| newest.checkpoint.size >= size) {
            break;
        }
        // A copy is written behind the checkpoint, so one that is newer says that something happened to that.
        damaged = true;
        match read_checkpoint(storage, &copy_path(size), key)? {
            Some(Ok(copy)) if copy.checkpoint.size == size => {
                newest = Some(copy);
                break;
            }
            _ => {}
        }
    }
    Ok((newest, damaged))
}

/// The tree as the newest valid checkpoint tells it, for recovery.
pub(crate) struct Restored<'a> {
    pub(crate) storage: &'a dyn Storage,
    pub(crate) signed: Option<Signed>,
    /// Its edge, if the tiles have it.
    pub(crate) edge: Option<Edge>,
    checkpoint_is_damaged: bool,
}

impl<'a> Restored<'a> {
    pub(crate) fn load(storage: &'a dyn Storage, key: &VerifierKey) -> Result<Self> {
        let (signed, checkpoint_is_damaged) = newest(storage, key)?;
        let size = signed.as_ref().map_or(0, |signed| signed.checkpoint.size);
        let edge = match &signed {
            Some(signed) => Edge::load(&mut Tiles(storage), size)
                .ok()
                .filter(|edge| edge.root() == signed.checkpoint.root),
            // A journal without a checkpoint begins with its tree, or has to be read from its first block on.
            None => {
                let begins = crate::walk::segment_numbers(storage)?.first().is_none_or(|first| *first == 0);
                (begins && !checkpoint_is_damaged).then(Edge::new)
            }
        };
        Ok(Self { storage, signed, edge, checkpoint_is_damaged })
    }
}

impl recovery::Tree for Restored<'_> {
    fn signed(&self) -> u64 {
        self.signed.as_ref().map_or(0, |signed| signed.checkpoint.size)
    }

    fn leaf_hash(&self, block: u64) -> Option<Hash> {
        let Checkpoint { size, root, .. } = &self.signed.as_ref()?.checkpoint;
        let mut tiles = Tiles(self.storage);
        let index = block / TILE_WIDTH as u64;
        let tile = Tile::of_tree(Kind::Hashes(0), index, *size)?;
        let hashes = read_hashes(&mut tiles, 0, index, tile.width).ok()?;
        let leaf = *hashes.get((block % TILE_WIDTH as u64) as usize)?;
        // Not only what stands there: what was signed.
        InclusionProof::make(&mut tiles, block, *size).ok()?.verify(&leaf, root).ok()?;
        Some(leaf.0)
    }

    fn header(&self, block: u64) -> Option<BlockHeaderBytes> {
        let leaf = self.leaf_hash(block)?;
        let index = block / TILE_WIDTH as u64;
        let tile = Tile::of_tree(Kind::Entries, index, self.signed())?;
        let entries = read_entries(&mut Tiles(self.storage), index, tile.width).ok()?;
        let entry = *entries.get((block % TILE_WIDTH as u64) as usize)?;
        entry.filter(|entry| format::leaf_hash(entry) == leaf)
    }

    fn checkpoint_is_damaged(&self) -> bool {
        self.checkpoint_is_damaged
    }

    fn tiles_are_damaged(&self) -> bool {
        self.edge.is_none()
    }
}
