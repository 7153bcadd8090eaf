//! A disk in memory that fails by seed, and knows what was synced.
//!
//! It keeps for each file what a process sees, what is durable, and what was done in between; and the same for names. A crash keeps any part of
//! what was done in between. A failed sync may keep it pending, make it durable, or drop it from what will ever be durable while it is
//! still seen, as Linux does. Cutting a file off never fails, since that is done in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::storage::{File, Lock, Storage, dir_of};
use crate::{Error, Result};

/// How likely each fault is, out of 1,000 calls.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Faults {
    /// A write takes less than it was given.
    pub short_write: u32,
    /// A write, a new file or a new name is refused; of a write some may be there.
    pub refuse: u32,
    /// A sync fails.
    pub sync: u32,
    /// A write goes to a wrong place, and says nothing.
    pub misdirect: u32,
}

/// What a broken disk or a broken program would claim. For tests of tests: each has to be caught.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lie {
    /// Nothing is synced.
    Sync,
    /// No name is synced.
    SyncDir,
    /// A failed sync is tried again, which says "done".
    SyncAgain,
}

/// A generator of numbers: SplitMix64, the same on each host.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// From a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`; 0 if that is 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.number() % (end as u64).max(1)) as usize
    }

    /// True in so many of 1,000 cases.
    pub fn chance(&mut self, per_mille: u32) -> bool {
        self.number() % 1_000 < u64::from(per_mille)
    }
}

#[derive(Clone)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Truncate(usize),
}

impl Change {
    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Self::Write { offset, bytes } => {
                let end = offset + bytes.len();
                to.resize(to.len().max(end), 0);
                to[*offset..end].copy_from_slice(bytes);
            }
            Self::Truncate(len) => to.resize(*len, 0),
        }
    }
}

#[derive(Default)]
struct Inode {
    seen: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
}

enum NameChange {
    Create(String, usize),
    Rename(String, String, usize),
    Remove(String),
}

impl NameChange {
    fn dir(&self) -> &str {
        match self {
            Self::Create(path, _) | Self::Rename(_, path, _) | Self::Remove(path) => dir_of(path),
        }
    }

    fn apply(&self, to: &mut BTreeMap<String, usize>) {
        match self {
            Self::Create(path, inode) => {
                to.insert(path.clone(), *inode);
            }
            Self::Rename(from, path, inode) => {
                to.remove(from);
                to.insert(path.clone(), *inode);
            }
            Self::Remove(path) => {
                to.remove(path);
            }
        }
    }
}

struct State {
    random: Random,
    faults: Faults,
    lie: Option<Lie>,
    inodes: Vec<Inode>,
    seen: BTreeMap<String, usize>,
    durable: BTreeMap<String, usize>,
    pending: Vec<NameChange>,
    locked: BTreeSet<String>,
    /// Calls until the power fails.
    calls_left: Option<u32>,
    /// Files that were opened before do not work.
    generation: u32,
    rotten: bool,
}

/// A disk in memory that fails by seed.
#[derive(Clone)]
pub struct FaultyDisk(Arc<Mutex<State>>);

fn refused(path: &str, errno: rustix::io::Errno) -> Error {
    Error::disk(path, io::Error::from_raw_os_error(errno.raw_os_error()))
}

impl FaultyDisk {
    /// An empty disk without faults.
    #[must_use]
    pub fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self(Arc::new(Mutex::new(State {
            random: Random::new(seed),
            faults: Faults::default(),
            lie: None,
            inodes: Vec::new(),
            seen: BTreeMap::new(),
            durable: BTreeMap::new(),
            pending: Vec::new(),
            locked: BTreeSet::new(),
            calls_left: None,
            generation: 0,
            rotten: false,
        }))))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on with these faults.
    pub fn set_faults(&self, faults: Faults) {
        self.state().faults = faults;
    }

    /// From now on it lies.
    pub fn set_lie(&self, lie: Lie) {
        self.state().lie = Some(lie);
    }

    /// After so many calls the power fails: all calls are refused until [`Self::crash`].
    pub fn fail_power_after(&self, calls: u32) {
        self.state().calls_left = Some(calls);
    }

    /// The power failed.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.state().calls_left == Some(0)
    }

    /// Bytes that were synced have been changed, or a write went to a wrong place.
    #[must_use]
    pub fn is_rotten(&self) -> bool {
        self.state().rotten
    }

    /// The process ends, the host does not: everything that it did is seen by the next one.
    pub fn kill(&self) {
        let mut state = self.state();
        state.generation += 1;
        state.locked.clear();
    }

    /// The host ends and begins again: what was not synced may be there or not, or in part.
    pub fn crash(&self) {
        self.kill();
        let state = &mut *self.state();
        state.calls_left = None;
        let random = &mut state.random;
        for inode in &mut state.inodes {
            for change in keep_some(random, std::mem::take(&mut inode.pending)) {
                torn(random, change).apply(&mut inode.durable);
            }
            inode.seen.clone_from(&inode.durable);
        }
        for change in keep_some(random, std::mem::take(&mut state.pending)) {
            change.apply(&mut state.durable);
        }
        state.seen.clone_from(&state.durable);
    }

    /// Flips a bit of a file in a folder, also if it was synced. False: there is none.
    pub fn rot(&self, dir: &str) -> bool {
        let state = &mut *self.state();
        let inodes = &mut state.inodes;
        let files: Vec<usize> = state
            .seen
            .iter()
            .filter(|(path, inode)| dir_of(path) == dir && !inodes[**inode].seen.is_empty())
            .map(|(_, inode)| *inode)
            .collect();
        if files.is_empty() {
            return false;
        }
        let inode = &mut inodes[files[state.random.below(files.len())]];
        let at = state.random.below(inode.seen.len());
        let bit = 1 << state.random.below(8);
        inode.seen[at] ^= bit;
        if let Some(byte) = inode.durable.get_mut(at) {
            *byte ^= bit;
        }
        for change in &mut inode.pending {
            if let Change::Write { offset, bytes } = change
                && let Some(byte) = at.checked_sub(*offset).and_then(|at| bytes.get_mut(at))
            {
                *byte ^= bit;
            }
        }
        state.rotten = true;
        true
    }

    /// All files, as they are seen.
    #[must_use]
    pub fn paths(&self) -> Vec<String> {
        self.state().seen.keys().cloned().collect()
    }

    /// A whole file as it is seen.
    #[must_use]
    pub fn bytes(&self, path: &str) -> Option<Vec<u8>> {
        let state = self.state();
        state.seen.get(path).map(|inode| state.inodes[*inode].seen.clone())
    }

    /// Puts a file there, durable and without faults.
    pub fn put(&self, path: &str, bytes: &[u8]) {
        let mut state = self.state();
        let inode = Inode { seen: bytes.to_vec(), durable: bytes.to_vec(), pending: Vec::new() };
        state.inodes.push(inode);
        let number = state.inodes.len() - 1;
        state.seen.insert(path.to_owned(), number);
        state.durable.insert(path.to_owned(), number);
    }

    fn file(&self, state: &State, path: &str, inode: usize) -> Box<dyn File> {
        let (path, generation) = (path.to_owned(), state.generation);
        Box::new(FaultyFile { disk: self.clone(), path, inode, generation })
    }
}

/// What a crash keeps of a list: all, nothing, the beginning, or anything.
fn keep_some<T>(random: &mut Random, mut list: Vec<T>) -> Vec<T> {
    match random.below(4) {
        0 => {}
        1 => list.clear(),
        2 => list.truncate(random.below(list.len() + 1)),
        _ => list.retain(|_| random.chance(500)),
    }
    list
}

/// A change as a crash may leave it: whole, torn at any byte, or with a wrong bit.
fn torn(random: &mut Random, change: Change) -> Change {
    match change {
        Change::Write { offset, mut bytes } if !bytes.is_empty() => {
            if random.chance(200) {
                bytes.truncate(random.below(bytes.len()) + 1);
            }
            if random.chance(50) {
                let at = random.below(bytes.len());
                bytes[at] ^= 1 << random.below(8);
            }
            Change::Write { offset, bytes }
        }
        change => change,
    }
}

impl State {
    /// At the beginning of each call.
    fn call(&mut self, path: &str) -> Result<()> {
        match &mut self.calls_left {
            Some(0) => Err(refused(path, rustix::io::Errno::IO)),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Whether to refuse something that changes the disk.
    fn may_change(&mut self, path: &str) -> Result<()> {
        if !self.random.chance(self.faults.refuse) {
            return Ok(());
        }
        let errno = [rustix::io::Errno::NOSPC, rustix::io::Errno::IO, rustix::io::Errno::ROFS];
        Err(refused(path, errno[self.random.below(errno.len())]))
    }

    fn change(&mut self, inode: usize, change: Change) {
        let inode = &mut self.inodes[inode];
        change.apply(&mut inode.seen);
        inode.pending.push(change);
    }

    fn change_name(&mut self, change: NameChange) {
        change.apply(&mut self.seen);
        self.pending.push(change);
    }

    fn sync(&mut self, inode: usize) {
        let inode = &mut self.inodes[inode];
        for change in inode.pending.drain(..) {
            change.apply(&mut inode.durable);
        }
    }

    /// After a failed sync: some is durable, some still pending, and some is seen but never written.
    fn fail_sync(&mut self, inode: usize) {
        let inode = &mut self.inodes[inode];
        let mode = self.random.below(4);
        for change in std::mem::take(&mut inode.pending) {
            match if mode < 3 { mode } else { self.random.below(3) } {
                0 => change.apply(&mut inode.durable),
                1 => inode.pending.push(change),
                _ => {}
            }
        }
    }

    fn inode(&self, path: &str) -> Result<usize> {
        self.seen.get(path).copied().ok_or_else(|| refused(path, rustix::io::Errno::NOENT))
    }
}

impl Storage for FaultyDisk {
    fn create_dir(&self, path: &str) -> Result<()> {
        self.state().call(path)
    }

    fn create(&self, path: &str) -> Result<Box<dyn File>> {
        let mut state = self.state();
        state.call(path)?;
        if state.seen.contains_key(path) {
            return Err(refused(path, rustix::io::Errno::EXIST));
        }
        state.may_change(path)?;
        state.inodes.push(Inode::default());
        let inode = state.inodes.len() - 1;
        state.change_name(NameChange::Create(path.to_owned(), inode));
        Ok(self.file(&state, path, inode))
    }

    fn open(&self, path: &str, _write: bool) -> Result<Box<dyn File>> {
        let mut state = self.state();
        state.call(path)?;
        let inode = state.inode(path)?;
        Ok(self.file(&state, path, inode))
    }

    fn list(&self, dir: &str) -> Result<Vec<String>> {
        let mut state = self.state();
        state.call(dir)?;
        let in_dir = state.seen.keys().filter(|path| dir_of(path) == dir);
        Ok(in_dir.filter_map(|path| path.rsplit('/').next()).map(str::to_owned).collect())
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        let mut state = self.state();
        state.call(from)?;
        let inode = state.inode(from)?;
        state.may_change(from)?;
        state.change_name(NameChange::Rename(from.to_owned(), to.to_owned(), inode));
        Ok(())
    }

    fn remove(&self, path: &str) -> Result<()> {
        let mut state = self.state();
        state.call(path)?;
        state.inode(path)?;
        state.may_change(path)?;
        state.change_name(NameChange::Remove(path.to_owned()));
        Ok(())
    }

    fn remove_dir(&self, path: &str) -> Result<()> {
        for name in self.list(path)? {
            self.remove(&format!("{path}/{name}"))?;
        }
        Ok(())
    }

    fn sync_dir(&self, dir: &str) -> Result<()> {
        let state = &mut *self.state();
        state.call(dir)?;
        if state.lie == Some(Lie::SyncDir) {
            return Ok(());
        }
        let fails = state.random.chance(state.faults.sync);
        let (mut of_dir, mut others) = (Vec::new(), Vec::new());
        for change in state.pending.drain(..) {
            if change.dir() == dir { of_dir.push(change) } else { others.push(change) }
        }
        state.pending = others;
        let done = if fails { state.random.below(of_dir.len() + 1) } else { of_dir.len() };
        let left = of_dir.split_off(done);
        for change in of_dir {
            change.apply(&mut state.durable);
        }
        state.pending.extend(left);
        if fails { Err(refused(dir, rustix::io::Errno::IO)) } else { Ok(()) }
    }

    fn lock(&self, path: &str) -> Result<Box<dyn Lock>> {
        let mut state = self.state();
        state.call(path)?;
        if !state.locked.insert(path.to_owned()) {
            return Err(Error::Locked { pid: None });
        }
        Ok(Box::new(FaultyLock { disk: self.clone(), path: path.to_owned(), generation: state.generation }))
    }
}

struct FaultyLock {
    disk: FaultyDisk,
    path: String,
    generation: u32,
}

impl Lock for FaultyLock {}

impl Drop for FaultyLock {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        if state.generation == self.generation {
            state.locked.remove(&self.path);
        }
    }
}

struct FaultyFile {
    disk: FaultyDisk,
    path: String,
    inode: usize,
    generation: u32,
}

impl FaultyFile {
    fn state(&self) -> Result<MutexGuard<'_, State>> {
        let mut state = self.disk.state();
        state.call(&self.path)?;
        if state.generation != self.generation {
            return Err(refused(&self.path, rustix::io::Errno::BADF));
        }
        Ok(state)
    }
}

impl File for FaultyFile {
    fn size(&self) -> Result<u64> {
        Ok(self.state()?.inodes[self.inode].seen.len() as u64)
    }

    fn read_at(&self, offset: u64, to: &mut [u8]) -> Result<usize> {
        let state = self.state()?;
        let from =
            usize::try_from(offset).ok().and_then(|offset| state.inodes[self.inode].seen.get(offset..));
        let from = from.unwrap_or_default();
        let count = from.len().min(to.len());
        to[..count].copy_from_slice(&from[..count]);
        Ok(count)
    }

    fn write_some_at(&mut self, offset: u64, head: &[u8], body: &[u8]) -> Result<usize> {
        let state = &mut *self.state()?;
        let mut bytes = [head, body].concat();
        let refused = state.may_change(&self.path).err();
        // The power may fail in the middle.
        if refused.is_some() || state.calls_left == Some(0) || state.random.chance(state.faults.short_write) {
            bytes.truncate(state.random.below(bytes.len()).max(usize::from(refused.is_none())));
        }
        let count = bytes.len();
        let mut offset = offset as usize;
        if state.random.chance(state.faults.misdirect) {
            offset = state.random.below(state.inodes[self.inode].seen.len() + 1);
            state.rotten = true;
        }
        state.change(self.inode, Change::Write { offset, bytes });
        refused.map_or(Ok(count), Err)
    }

    fn truncate(&mut self, len: u64) -> Result<()> {
        self.state()?.change(self.inode, Change::Truncate(len as usize));
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        let state = &mut *self.state()?;
        if state.lie == Some(Lie::Sync) {
            return Ok(());
        }
        if state.random.chance(state.faults.sync) {
            state.fail_sync(self.inode);
            if state.lie != Some(Lie::SyncAgain) {
                return Err(refused(&self.path, rustix::io::Errno::IO));
            }
        }
        state.sync(self.inode);
        Ok(())
    }
}
