//! Proofs that a leaf is in a tree, and that a tree is the beginning of another: made from tiles, verified without them.
//!
//! Made as RFC 6962, 2.1.1 and 2.1.2 say, verified as RFC 9162, 2.1.3.2 and 2.1.4.2 do.

use std::fmt;

use super::hash::{EMPTY_ROOT, Hash, node_hash, root_over, split};
use super::source::{TileSource, TreeError, read_hashes};
use super::tile::{Kind, TILE_HEIGHT, TILE_WIDTH, TREE_SIZE_MAX, Tile};

/// Most hashes of a proof: one a level, and one more where trees are compared.
pub const PROOF_HASHES_MAX: usize = 64;

/// That a leaf is in a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InclusionProof {
    /// Index of the leaf.
    pub index: u64,
    /// Leaves of the tree.
    pub size: u64,
    /// From the leaf's sibling up.
    pub hashes: Vec<Hash>,
}

/// That a tree is the beginning of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsistencyProof {
    /// Leaves of the smaller tree.
    pub old_size: u64,
    /// Leaves of the greater tree.
    pub size: u64,
    /// From the bottom up.
    pub hashes: Vec<Hash>,
}

/// Why a proof proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProofError {
    /// The leaf lies beyond the tree, the trees are in the wrong order, or a tree has more than [`TREE_SIZE_MAX`] leaves.
    Sizes,
    /// It has not the number of hashes that these sizes need.
    Length,
    /// The hashes do not lead to the root.
    Root,
    /// The hashes do not lead to the root of the smaller tree.
    OldRoot,
}

impl fmt::Display for ProofError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sizes => "there is no such leaf or tree",
            Self::Length => "the proof has not the number of hashes that these sizes need",
            Self::Root => "the proof does not lead to the root",
            Self::OldRoot => "the proof does not lead to the root of the smaller tree",
        })
    }
}

impl std::error::Error for ProofError {}

impl InclusionProof {
    /// Makes the proof for a leaf in the tree of that size, which may be smaller than what the tiles hold.
    ///
    /// # Errors
    /// There is no such leaf, or a tile is not there.
    pub fn make(source: &mut impl TileSource, index: u64, size: u64) -> Result<Self, TreeError> {
        if index >= size || size > TREE_SIZE_MAX {
            return Err(TreeError::Beyond { asked: index.max(size), size: size.min(TREE_SIZE_MAX) });
        }
        let mut nodes = Nodes::new(source, size);
        let mut hashes = Vec::new();
        let (mut low, mut high) = (0, size);
        while high - low > 1 {
            let middle = low + split(high - low);
            if index < middle {
                hashes.push(nodes.root_of(middle, high)?);
                high = middle;
            } else {
                hashes.push(nodes.root_of(low, middle)?);
                low = middle;
            }
        }
        hashes.reverse();
        Ok(Self { index, size, hashes })
    }

    /// Checks that the leaf is at its index in the tree of that root.
    ///
    /// # Errors
    /// Why it is not proved.
    pub fn verify(&self, leaf: &Hash, root: &Hash) -> Result<(), ProofError> {
        if self.index >= self.size || self.size > TREE_SIZE_MAX {
            return Err(ProofError::Sizes);
        }
        let mut path = Path { node: self.index, last: self.size - 1 };
        let mut hash = *leaf;
        for sibling in &self.hashes {
            hash = if path.is_right()? { node_hash(sibling, &hash) } else { node_hash(&hash, sibling) };
            path.up();
        }
        if path.last != 0 {
            return Err(ProofError::Length);
        }
        if hash == *root { Ok(()) } else { Err(ProofError::Root) }
    }
}

impl ConsistencyProof {
    /// Makes the proof for two sizes, neither beyond what the tiles hold.
    ///
    /// # Errors
    /// The sizes are in the wrong order, or a tile is not there.
    pub fn make(source: &mut impl TileSource, old_size: u64, size: u64) -> Result<Self, TreeError> {
        if old_size > size || size > TREE_SIZE_MAX {
            return Err(TreeError::Beyond { asked: old_size.max(size), size: size.min(TREE_SIZE_MAX) });
        }
        let mut hashes = Vec::new();
        let mut nodes = Nodes::new(source, size);
        let (mut low, mut high) = (0, size);
        // Of nothing, and of itself, a tree is the beginning without any proof.
        while old_size > 0 && old_size < high {
            let middle = low + split(high - low);
            if old_size <= middle {
                hashes.push(nodes.root_of(middle, high)?);
                high = middle;
            } else {
                hashes.push(nodes.root_of(low, middle)?);
                low = middle;
            }
        }
        // A smaller tree that is whole in the greater one is known to who asks.
        if low > 0 {
            hashes.push(nodes.root_of(low, high)?);
        }
        hashes.reverse();
        Ok(Self { old_size, size, hashes })
    }

    /// Checks that the tree of the old root is the beginning of the tree of the other root.
    ///
    /// # Errors
    /// Why it is not proved.
    pub fn verify(&self, old_root: &Hash, root: &Hash) -> Result<(), ProofError> {
        if self.old_size > self.size || self.size > TREE_SIZE_MAX {
            return Err(ProofError::Sizes);
        }
        // RFC 9162 leaves these two out. Nothing has to be proved, but the roots have to be what they must.
        if self.old_size == 0 || self.old_size == self.size {
            return match () {
                () if !self.hashes.is_empty() => Err(ProofError::Length),
                () if self.old_size == 0 && *old_root != EMPTY_ROOT => Err(ProofError::OldRoot),
                () if self.old_size == self.size && old_root != root => Err(ProofError::Root),
                () => Ok(()),
            };
        }
        let mut path = Path { node: self.old_size - 1, last: self.size - 1 };
        let whole = path.node.trailing_ones();
        path.node >>= whole;
        path.last >>= whole;
        let (first, rest) = if self.old_size.is_power_of_two() {
            (old_root, self.hashes.as_slice())
        } else {
            self.hashes.split_first().ok_or(ProofError::Length)?
        };
        let (mut old_hash, mut hash) = (*first, *first);
        for sibling in rest {
            if path.is_right()? {
                old_hash = node_hash(sibling, &old_hash);
                hash = node_hash(sibling, &hash);
            } else {
                hash = node_hash(&hash, sibling);
            }
            path.up();
        }
        if path.last != 0 {
            return Err(ProofError::Length);
        }
        if old_hash != *old_root {
            return Err(ProofError::OldRoot);
        }
        if hash == *root { Ok(()) } else { Err(ProofError::Root) }
    }
}

/// The way from a node up to the root: fn and sn of RFC 9162.
struct Path {
    /// Place of the node in its level.
    node: u64,
    /// Place of the last node in that level; 0 at the root.
    last: u64,
}

impl Path {
    /// Whether the next sibling stands to the left. Moves to the first ancestor that has a sibling.
    fn is_right(&mut self) -> Result<bool, ProofError> {
        if self.last == 0 {
            return Err(ProofError::Length);
        }
        if self.node & 1 == 0 && self.node == self.last {
            // Alone at the right edge: its ancestors are the same hash, until one is a right child. There is one, since `last` is not 0.
            let alone = self.node.trailing_zeros();
            self.node >>= alone;
            self.last >>= alone;
        }
        Ok(self.node & 1 == 1)
    }

    fn up(&mut self) {
        self.node >>= 1;
        self.last >>= 1;
    }
}

/// Hashes of a tree, from its tiles. Each tile is read once: a proof needs at most three of a level.
struct Nodes<'a, S> {
    source: &'a mut S,
    size: u64,
    tiles: Vec<(u8, u64, Vec<Hash>)>,
}

impl<'a, S: TileSource> Nodes<'a, S> {
    fn new(source: &'a mut S, size: u64) -> Self {
        Self { source, size, tiles: Vec::new() }
    }

    /// Root over the leaves from `low` to before `high`, as RFC 6962 splits a tree that begins there.
    fn root_of(&mut self, low: u64, high: u64) -> Result<Hash, TreeError> {
        let mut hashes = Vec::new();
        let mut at = low;
        while at < high {
            let height = (high - at).ilog2();
            hashes.push(self.whole(at, height)?);
            at += 1 << height;
        }
        // From the right: each is the right part of a node whose left part is greater and whole.
        Ok(hashes.into_iter().rev().reduce(|right, left| node_hash(&left, &right)).unwrap_or(EMPTY_ROOT))
    }

    /// Root of the whole tree of 2^height leaves that begins at `low`, which is a multiple of that.
    fn whole(&mut self, low: u64, height: u32) -> Result<Hash, TreeError> {
        // At most 7, since sizes have less than 64 bits.
        let level = (height / TILE_HEIGHT) as u8;
        let first = low >> (u32::from(level) * TILE_HEIGHT);
        let (index, place) = (first / TILE_WIDTH as u64, (first % TILE_WIDTH as u64) as usize);
        let tile = self.tile(level, index)?;
        let hashes = tile.get(place..place + (1 << (height % TILE_HEIGHT)));
        hashes.map(root_over).ok_or(TreeError::Beyond { asked: low, size: self.size })
    }

    fn tile(&mut self, level: u8, index: u64) -> Result<&[Hash], TreeError> {
        let known = self.tiles.iter().position(|(l, i, _)| (*l, *i) == (level, index));
        let at = match known {
            Some(at) => at,
            None => {
                let tile = Tile::of_tree(Kind::Hashes(level), index, self.size)
                    .ok_or(TreeError::Beyond { asked: index, size: self.size })?;
                self.tiles.push((level, index, read_hashes(self.source, level, index, tile.width)?));
                self.tiles.len() - 1
            }
        };
        Ok(&self.tiles[at].2)
    }
}
