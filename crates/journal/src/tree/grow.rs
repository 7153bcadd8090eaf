//! The tree that the writer lets grow: its edge, the entries of its last bundle, and the files that are not written yet.

use super::edge::Edge;
use super::hash::{HASH_BYTES, Hash, leaf_hash};
use super::source::{TileSource, TreeError, read_entries};
use super::tile::{ENTRY_BYTES, ENTRY_PREFIX, Kind, LOST_PREFIX, TILE_WIDTH, Tile, nodes};

/// A file of the tree that has to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TileFile {
    /// Which one; `Display` of it is the path, relative to the folder of the journal.
    pub tile: Tile,
    /// All of its bytes.
    pub bytes: Vec<u8>,
}

impl TileFile {
    /// The folder of partial tiles that this file makes superfluous, if it is a whole one. It may be removed, with all in it, once this
    /// file is synced: who looks for one of them takes this one.
    #[must_use]
    pub fn obsolete_folder(&self) -> Option<String> {
        (!self.tile.is_partial()).then(|| self.tile.partial_folder())
    }
}

/// An appendable tree. Holds at most 8 KiB for each level and 41 KiB of entries, beside what was completed since it was last
/// taken, about 200 bytes a leaf.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    edge: Edge,
    /// Entries of the bundle that is not whole, as they lie in its file.
    bundle: Vec<u8>,
    /// Whole tiles and bundles that were not taken yet.
    full: Vec<TileFile>,
    /// Size of the tree when partial tiles were last taken.
    taken_size: u64,
}

impl Tree {
    /// A tree without entries.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The tree that a checkpoint tells of. Reads one tile for each level, and one bundle.
    ///
    /// # Errors
    /// The tiles are not there, or are not those of this root; or the entries are not those of the tiles.
    pub fn restore(source: &mut impl TileSource, size: u64, root: Hash) -> Result<Self, TreeError> {
        let edge = Edge::load(source, size)?;
        let found = edge.root();
        if found != root {
            return Err(TreeError::Root { size, expected: root, found });
        }
        let index = size / TILE_WIDTH as u64;
        let tile = Tile::of_tree(Kind::Entries, index, size);
        let entries = tile.map_or(Ok(Vec::new()), |tile| read_entries(source, index, tile.width))?;
        let damaged = || TreeError::Damaged { path: tile.map_or(String::new(), |tile| tile.to_string()) };
        let mut tree = Self::with_entries(edge, &entries).ok_or_else(damaged)?;
        tree.taken_size = size;
        Ok(tree)
    }

    /// The tree of an edge and the entries of its bundle that is not whole, `None` where one is lost; all partial files of it count as not
    /// taken yet. Nothing comes of it where an entry is not that of its leaf.
    #[must_use]
    pub fn with_entries(edge: Edge, entries: &[Option<[u8; ENTRY_BYTES]>]) -> Option<Self> {
        let mut tree = Self { edge, ..Self::default() };
        let leaves = tree.edge.leaves();
        let fits = |(entry, leaf): (&Option<_>, &Hash)| {
            entry.as_ref().is_none_or(|entry: &[u8; ENTRY_BYTES]| leaf_hash(entry) == *leaf)
        };
        if entries.len() != leaves.len() || !entries.iter().zip(leaves).all(fits) {
            return None;
        }
        entries.iter().for_each(|entry| tree.bundle(entry.as_ref()));
        Some(tree)
    }

    /// Entries.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.edge.size()
    }

    /// Root over all entries.
    #[must_use]
    pub fn root(&self) -> Hash {
        self.edge.root()
    }

    /// Adds an entry and returns its leaf hash. Allocates only where a tile becomes whole.
    pub fn append(&mut self, entry: &[u8; ENTRY_BYTES]) -> Hash {
        let leaf = leaf_hash(entry);
        self.add(leaf, Some(entry));
        leaf
    }

    /// Adds the leaf of an entry that is lost, whose bundle has no bytes for it.
    pub fn append_lost(&mut self, leaf: Hash) {
        self.add(leaf, None);
    }

    fn add(&mut self, leaf: Hash, entry: Option<&[u8; ENTRY_BYTES]>) {
        self.bundle(entry);
        let (bundle, full) = (&mut self.bundle, &mut self.full);
        self.edge.append(leaf, |tile, hashes| {
            full.push(TileFile { tile, bytes: concat(hashes) });
            if tile.kind == Kind::Hashes(0) {
                full.push(TileFile { tile: Tile { kind: Kind::Entries, ..tile }, bytes: bundle.clone() });
                bundle.clear();
            }
        });
    }

    fn bundle(&mut self, entry: Option<&[u8; ENTRY_BYTES]>) {
        self.bundle.extend_from_slice(if entry.is_some() { &ENTRY_PREFIX } else { &LOST_PREFIX });
        self.bundle.extend_from_slice(entry.map_or(&[][..], |entry| entry));
    }

    /// The whole tiles and bundles that came about since they were last taken, by this or by [`take_dirty`](Self::take_dirty). For who
    /// makes a large tree in one go and does not want all of it in memory.
    pub fn take_full(&mut self) -> Vec<TileFile> {
        std::mem::take(&mut self.full)
    }

    /// All that has to be on disk before a checkpoint of the present size, and was not yet taken: whole tiles and bundles, and the
    /// partial ones that have grown. They are not given again: who could not write them keeps them for the next time.
    pub fn take_dirty(&mut self) -> Vec<TileFile> {
        let mut files = self.take_full();
        let grown = |level| nodes(level, self.size()) > nodes(level, self.taken_size);
        for (tile, hashes) in self.edge.partial() {
            let Kind::Hashes(level) = tile.kind else { continue };
            if !grown(level) {
                continue;
            }
            files.push(TileFile { tile, bytes: concat(hashes) });
            if level == 0 {
                files.push(TileFile {
                    tile: Tile { kind: Kind::Entries, ..tile },
                    bytes: self.bundle.clone(),
                });
            }
        }
        self.taken_size = self.size();
        files
    }
}

fn concat(hashes: &[Hash]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(hashes.len() * HASH_BYTES);
    hashes.iter().for_each(|hash| bytes.extend_from_slice(&hash.0));
    bytes
}
