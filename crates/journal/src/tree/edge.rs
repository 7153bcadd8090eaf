//! The right edge of a tree: all that is needed to let it grow and to know its root.

use super::hash::{Hash, root_over};
use super::source::{TileSource, TreeError, read_hashes};
use super::tile::{Kind, LEVELS, TILE_HEIGHT, TILE_WIDTH, TREE_SIZE_MAX, Tile, nodes};

/// For each level of tiles the hashes of its partial tile. They are kept whole and not merged to one hash for each level of the
/// tree, since they are what is written next, and so a tree is restored by reading one tile a level.
#[derive(Clone, Debug, Default)]
pub struct Edge {
    size: u64,
    levels: [Vec<Hash>; LEVELS],
}

impl Edge {
    /// A tree without leaves.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the edge of the tree of that size. Whether it is the right one, its root shows.
    ///
    /// # Errors
    /// A tile cannot be read, is missing, or has the wrong length; or no tree has that size.
    pub fn load(source: &mut impl TileSource, size: u64) -> Result<Self, TreeError> {
        if size > TREE_SIZE_MAX {
            return Err(TreeError::Beyond { asked: size, size: TREE_SIZE_MAX });
        }
        let mut edge = Self { size, ..Self::default() };
        for (level, hashes) in (0..).zip(&mut edge.levels) {
            let index = nodes(level, size) / TILE_WIDTH as u64;
            if let Some(tile) = Tile::of_tree(Kind::Hashes(level), index, size) {
                *hashes = read_hashes(source, level, index, tile.width)?;
            }
        }
        Ok(edge)
    }

    /// Leaves.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Leaves of the tile that is not whole.
    pub(super) fn leaves(&self) -> &[Hash] {
        &self.levels[0]
    }

    /// Root of the tree as it is now.
    #[must_use]
    pub fn root(&self) -> Hash {
        // What lies right of the complete hashes of a level is at most one smaller tree: its root is their last sibling.
        let mut row = Vec::with_capacity(TILE_WIDTH);
        for hashes in &self.levels {
            let below = if row.is_empty() { None } else { Some(root_over(&row)) };
            row.clear();
            row.extend_from_slice(hashes);
            row.extend(below);
        }
        root_over(&row)
    }

    /// Adds a leaf; `full` is given each tile that this makes whole, from the bottom up.
    pub fn append(&mut self, leaf: Hash, mut full: impl FnMut(Tile, &[Hash])) {
        self.size += 1;
        let mut hash = leaf;
        for (level, hashes) in (0_u8..).zip(&mut self.levels) {
            hashes.push(hash);
            if hashes.len() < TILE_WIDTH {
                return;
            }
            let index = (self.size >> (u32::from(level + 1) * TILE_HEIGHT)) - 1;
            full(Tile { kind: Kind::Hashes(level), index, width: TILE_WIDTH as u16 }, hashes);
            hash = root_over(hashes);
            hashes.clear();
        }
    }

    /// The partial tiles of the tree, from the bottom up.
    pub fn partial(&self) -> impl Iterator<Item = (Tile, &[Hash])> {
        (0..).zip(&self.levels).filter_map(|(level, hashes)| {
            let index = nodes(level, self.size) / TILE_WIDTH as u64;
            Some((Tile::of_tree(Kind::Hashes(level), index, self.size)?, hashes.as_slice()))
        })
    }
}
