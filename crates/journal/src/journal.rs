//! A journal with its tree: what the writer has synced goes into the tree, and from there, signed, to the disk.
//!
//! The two are joined here and know nothing of each other: a tile or a checkpoint that cannot be written never holds up blocks, which are
//! signed later then. A tree has only blocks that are synced, so a crash never takes one away that was signed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::block::Packed;
use crate::format::{BlockHeaderBytes, LOST_LEAF, SEGMENT_BYTES_MAX};
use crate::reader::Leaves;
use crate::recovery;
use crate::retention::{Removed, Retention};
use crate::signed::{self, CHECKPOINT, COPIES, COPIES_MAX, Restored, Tiles, tile_path};
use crate::storage::{self, Storage, dir_of};
use crate::tree::{
    self, Checkpoint, Edge, Hash, Kind, Signer, TILE_WIDTH, Tile, TileFile, Tree, VerifierKey,
};
use crate::writer::{self, Appended, Locked, Opened, Synced, Writer};
use crate::{DiskTrouble, Error, Result, keys};

/// Files of the tree that are kept in memory while a tree is made anew.
const FILES_AT_ONCE: usize = 128;

/// How a journal is made and written.
#[derive(Clone, Debug)]
pub struct Options {
    /// Name of the host, for the origin of a journal that has to be made.
    pub host: String,
    /// Random bytes for that origin.
    pub origin_random: [u8; 8],
    /// Random bytes for the key of a journal that has none yet.
    pub key_seed: [u8; 32],
    /// A segment is closed before it gets longer. Only tests have less than [`SEGMENT_BYTES_MAX`].
    pub segment_bytes_max: u64,
    /// A segment is closed when it is older.
    pub segment_age_ns_max: u64,
    /// How much may wait to be synced.
    pub backlog_bytes_max: usize,
    /// A synced block is signed at the latest after this.
    pub checkpoint_interval_ns: u64,
}

impl Options {
    /// The usual ones.
    #[must_use]
    pub fn new(host: &str, origin_random: [u8; 8], key_seed: [u8; 32]) -> Self {
        let writer::Options { segment_age_ns_max, backlog_bytes_max, .. } = writer::Options::new("");
        Self {
            host: host.to_owned(),
            origin_random,
            key_seed,
            segment_bytes_max: SEGMENT_BYTES_MAX,
            segment_age_ns_max,
            backlog_bytes_max,
            checkpoint_interval_ns: 10_000_000_000,
        }
    }
}

/// A journal that is written.
pub struct Journal {
    storage: Arc<dyn Storage>,
    writer: Writer,
    signer: Signer,
    tree: Tree,
    /// Headers of blocks that are not synced yet, with their index.
    waiting: VecDeque<(u64, BlockHeaderBytes)>,
    /// Files of the tree that are not safely on the disk, by the path of the whole tile of their place.
    dirty: BTreeMap<String, TileFile>,
    checkpoint: Option<Vec<u8>>,
    checkpoint_is_new: bool,
    /// Blocks that the checkpoint covers.
    signed: u64,
    /// When the first block was synced that it does not cover.
    unsigned_since_ns: Option<u64>,
    interval_ns: u64,
    /// Segments when a checkpoint was last copied.
    copied_at: Option<usize>,
    trouble: Option<Error>,
}

impl Journal {
    /// Opens a journal, or makes it and its key, and puts right what a crash left.
    ///
    /// # Errors
    ///
    /// As [`Writer::open`]; or the key is missing, or is not one.
    pub fn open(storage: Arc<dyn Storage>, options: Options, now_ns: u64) -> Result<(Self, Opened)> {
        let writer_options = writer::Options {
            origin: keys::origin(&options.host, &options.origin_random),
            segment_bytes_max: options.segment_bytes_max,
            segment_age_ns_max: options.segment_age_ns_max,
            backlog_bytes_max: options.backlog_bytes_max,
        };
        let locked = Locked::new(storage.clone(), writer_options, now_ns)?;
        storage::remove_unfinished(&*storage, COPIES, |name| signed::copy_size(name).is_some());
        let may_make = storage::read_small(&*storage, CHECKPOINT, tree::NOTE_BYTES_MAX)?.is_none()
            && signed::copies(&*storage)?.is_empty();
        let signer = keys::load_or_make(&*storage, locked.origin(), &options.key_seed, may_make)?;
        let restored = Restored::load(&*storage, signer.verifier())?;
        if recovery::Tree::checkpoint_is_damaged(&restored) && restored.signed.is_some() {
            // It rests on a copy.
            storage.sync_dir(COPIES)?;
        }
        let (writer, opened) = locked.recover(&restored)?;
        let Restored { signed, edge, .. } = restored;
        let mut journal = Self {
            storage: storage.clone(),
            writer,
            signer,
            tree: Tree::new(),
            waiting: VecDeque::new(),
            dirty: BTreeMap::new(),
            checkpoint: None,
            checkpoint_is_new: false,
            signed: signed.as_ref().map_or(0, |signed| signed.checkpoint.size),
            unsigned_since_ns: None,
            interval_ns: options.checkpoint_interval_ns,
            copied_at: None,
            trouble: None,
        };
        let done = journal.restore_tree(signed, edge);
        match done {
            Ok(()) => {}
            Err(error) if opened.cut.is_empty() => return Err(error),
            Err(error) => return Err(Error::Opening { opened: Box::new(opened), source: Box::new(error) }),
        }
        journal.unsigned_since_ns = (journal.tree.size() > journal.signed).then_some(now_ns);
        journal.writer.keep_from(journal.signed);
        Ok((journal, opened))
    }

    /// Makes the tree of the checkpoint, and adds the blocks behind that.
    fn restore_tree(&mut self, signed: Option<signed::Signed>, edge: Option<Edge>) -> Result<()> {
        let anew = edge.is_none();
        if let Some(edge) = edge {
            self.tree = self.with_entries(edge)?;
        }
        self.add_from_segments(signed.as_ref().map(|signed| &signed.checkpoint))?;
        self.checkpoint = signed.map(|signed| signed.note);
        if anew {
            self.take(true);
            self.trouble = self.write_tiles().err();
        }
        Ok(())
    }

    /// The tree with the entries of its last bundle: from there, or from the segments.
    fn with_entries(&self, edge: Edge) -> Result<Tree> {
        let size = edge.size();
        let index = size / TILE_WIDTH as u64;
        let Some(tile) = Tile::of_tree(Kind::Entries, index, size) else {
            return Ok(Tree::with_entries(edge, &[]).unwrap_or_default());
        };
        if let Ok(entries) = tree::read_entries(&mut Tiles(&*self.storage), index, tile.width)
            && let Some(tree) = Tree::with_entries(edge.clone(), &entries)
        {
            return Ok(tree);
        }
        let first = index * TILE_WIDTH as u64;
        let mut entries = vec![None; tile.width.into()];
        let mut leaves = Leaves::open(self.storage.clone(), first)?;
        while let Some((block, _, placed)) = leaves.next_leaf()?.filter(|(block, ..)| *block < size) {
            let place = block.checked_sub(first).and_then(|at| entries.get_mut(usize::try_from(at).ok()?));
            if let Some((to, placed)) = place.zip(placed) {
                *to = Some(placed.bytes);
            }
        }
        let of_tree = |entries: &[_]| Tree::with_entries(edge.clone(), entries);
        // What is in the segments is not what was signed: verification tells; here the entries are lost.
        let lost = || of_tree(&vec![None; tile.width.into()]).unwrap_or_default();
        Ok(of_tree(&entries).unwrap_or_else(lost))
    }

    /// Adds what the tree does not have, up to what is synced. On the way the tree has to become that of the checkpoint.
    fn add_from_segments(&mut self, checkpoint: Option<&Checkpoint>) -> Result<()> {
        let synced = self.writer.synced().blocks;
        if self.tree.size() >= synced {
            return Ok(());
        }
        let mut leaves = Leaves::open(self.storage.clone(), self.tree.size())?;
        while self.tree.size() < synced {
            let next = leaves.next_leaf()?.filter(|(block, ..)| *block < synced);
            match next {
                Some((block, ..)) if block < self.tree.size() => continue,
                Some((_, _, Some(placed))) => {
                    self.tree.append(&placed.bytes);
                }
                Some((_, leaf, None)) => self.tree.append_lost(Hash(leaf)),
                // Lost with all behind it: the next block will name this one as the one before.
                None => self.tree.append_lost(Hash(LOST_LEAF)),
            }
            if let Some(checkpoint) = checkpoint
                && self.tree.size() == checkpoint.size
                && self.tree.root() != checkpoint.root
            {
                return Err(Error::TreeLost { file: tile_path("tile"), block: checkpoint.size - 1 });
            }
            self.take(false);
            if self.dirty.len() > FILES_AT_ONCE {
                self.write_tiles()?;
            }
        }
        Ok(())
    }

    /// The journal's origin.
    #[must_use]
    pub fn origin(&self) -> &str {
        self.writer.origin()
    }

    /// What others check its checkpoints with.
    #[must_use]
    pub fn verifier(&self) -> &VerifierKey {
        self.signer.verifier()
    }

    /// What is durable.
    #[must_use]
    pub fn synced(&self) -> Synced {
        self.writer.synced()
    }

    /// Blocks that the newest checkpoint covers.
    #[must_use]
    pub fn signed(&self) -> u64 {
        self.signed
    }

    /// Why the disk takes no blocks, as [`Writer::trouble`].
    #[must_use]
    pub fn trouble(&self) -> Option<DiskTrouble> {
        self.writer.trouble()
    }

    /// Why no checkpoint was written when one was due. It is tried again at each [`Self::sync`]; blocks are not held up.
    #[must_use]
    pub fn checkpoint_trouble(&self) -> Option<&Error> {
        self.trouble.as_ref()
    }

    /// Bytes of all segments.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.writer.bytes()
    }

    /// The newest checkpoint, a signed note.
    #[must_use]
    pub fn checkpoint(&self) -> Option<&[u8]> {
        self.checkpoint.as_deref()
    }

    /// The newest checkpoint, if it was not taken yet: to be exported to where nobody of this host can change it.
    pub fn take_new_checkpoint(&mut self) -> Option<Vec<u8>> {
        if std::mem::take(&mut self.checkpoint_is_new) { self.checkpoint.clone() } else { None }
    }

    /// Takes a block, as [`Writer::append`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn append(&mut self, packed: Packed, now_ns: u64) -> Result<Appended> {
        let appended = self.writer.append(packed, now_ns);
        if let Ok(appended) = &appended {
            self.waiting.push_back((appended.block, appended.header));
        }
        // The writer may have synced, to close a segment.
        self.settle(now_ns);
        appended
    }

    /// Makes all blocks durable that were taken, and signs them when it is time to.
    ///
    /// # Errors
    ///
    /// The disk does not take blocks. That it does not take the tree is told by [`Self::checkpoint_trouble`].
    pub fn sync(&mut self, now_ns: u64) -> Result<Synced> {
        let synced = self.writer.sync(now_ns);
        self.settle(now_ns);
        // A clock that went back makes it earlier.
        let due = |since: u64| now_ns < since || now_ns - since >= self.interval_ns;
        if self.unsigned_since_ns.is_some_and(due) {
            self.trouble = self.sign().err();
        }
        synced
    }

    /// Takes what was synced into the tree.
    fn settle(&mut self, now_ns: u64) {
        let synced = self.writer.synced().blocks;
        while let Some((_, header)) = self.waiting.pop_front_if(|(block, _)| *block < synced) {
            self.tree.append(&header);
            self.unsigned_since_ns.get_or_insert(now_ns);
        }
    }

    /// Takes over the files of the tree that have to be written.
    fn take(&mut self, partial: bool) {
        let files = if partial { self.tree.take_dirty() } else { self.tree.take_full() };
        for file in files {
            // What was there before of this place was of a size that was never signed.
            self.dirty.insert(file.tile.whole().to_string(), file);
        }
    }

    /// Writes them: each to a temporary name, synced and renamed, then the folders.
    fn write_tiles(&mut self) -> Result<Vec<TileFile>> {
        let mut folders = BTreeSet::new();
        for file in self.dirty.values() {
            let path = tile_path(&file.tile.to_string());
            let folder = dir_of(&path).to_owned();
            if !folders.contains(&folder) {
                self.storage.create_dir(&folder)?;
                // Those above, too: an earlier try may have made it, and failed before its name was durable.
                let above = std::iter::successors(Some(&folder[..]), |dir| Some(dir_of(dir)));
                folders.extend(above.take_while(|dir| !dir.is_empty()).map(str::to_owned));
            }
            storage::put(&*self.storage, &path, |to| to.write_at(0, &file.bytes, &[]))?;
        }
        folders.iter().try_for_each(|folder| self.storage.sync_dir(folder))?;
        Ok(std::mem::take(&mut self.dirty).into_values().collect())
    }

    /// Writes tiles, bundles and a checkpoint of all that is synced.
    fn sign(&mut self) -> Result<()> {
        if self.tree.size() == self.signed {
            return Ok(());
        }
        self.take(true);
        let written = self.write_tiles()?;
        let (size, root) = (self.tree.size(), self.tree.root());
        let checkpoint = Checkpoint { origin: self.origin().to_owned(), size, root, extensions: Vec::new() };
        let refused = |_| Error::Origin(checkpoint.origin.clone());
        let note = checkpoint.sign(&self.signer).map_err(refused)?.into_bytes();
        storage::replace(&*self.storage, CHECKPOINT, &note)?;
        self.checkpoint = Some(note);
        self.checkpoint_is_new = true;
        (self.signed, self.unsigned_since_ns) = (size, None);
        self.writer.keep_from(size);
        for folder in written.iter().filter_map(TileFile::obsolete_folder) {
            // It does no harm if it stays.
            let _ = self.storage.remove_dir(&tile_path(&folder));
        }
        if self.copied_at != Some(self.writer.segment_count()) {
            self.copy_checkpoint()?;
            self.copied_at = Some(self.writer.segment_count());
        }
        Ok(())
    }

    /// Keeps a copy of the newest checkpoint, and not too many of the older ones.
    fn copy_checkpoint(&self) -> Result<()> {
        let Some(note) = &self.checkpoint else { return Ok(()) };
        self.storage.create_dir(COPIES)?;
        storage::replace(&*self.storage, &signed::copy_path(self.signed), note)?;
        let copies = signed::copies(&*self.storage)?;
        for size in copies.iter().take(copies.len().saturating_sub(COPIES_MAX)) {
            self.storage.remove(&signed::copy_path(*size))?;
        }
        Ok(())
    }

    /// Removes segments that are too much or too old, as [`Writer::retain`], with their bundles. Blocks that are not signed stay.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn retain(&mut self, retention: Retention, floor: Option<u64>, now_ns: u64) -> Result<Removed> {
        let removed = self.writer.retain(retention, floor, now_ns);
        self.remove_bundles()?;
        removed
    }

    /// Sets so many bytes free, as [`Writer::set_free`]. Blocks that are not signed stay.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn set_free(&mut self, bytes: u64, floor: Option<u64>) -> Result<Removed> {
        let removed = self.writer.set_free(bytes, floor);
        self.remove_bundles()?;
        removed
    }

    /// Removes whole bundles, none of whose blocks is left: backwards, down to one that is gone already.
    fn remove_bundles(&self) -> Result<()> {
        let first = self.writer.first_block().unwrap_or(0);
        for index in (0..first / TILE_WIDTH as u64).rev() {
            let bundle = Tile { kind: Kind::Entries, index, width: TILE_WIDTH as u16 };
            match self.storage.remove(&tile_path(&bundle.to_string())) {
                Err(error) if error.is_not_found() => break,
                done => done?,
            }
        }
        Ok(())
    }

    /// Ends cleanly: all is synced and signed.
    ///
    /// # Errors
    ///
    /// The disk refuses. Blocks that wait are lost then; those that are only not signed are there.
    pub fn close(mut self, now_ns: u64) -> Result<Synced> {
        let synced = self.writer.sync(now_ns);
        self.settle(now_ns);
        let signed = self.sign().and_then(|()| self.copy_checkpoint());
        self.writer.close(now_ns).and(synced).and_then(|synced| signed.map(|()| synced))
    }
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
