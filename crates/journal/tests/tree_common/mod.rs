//! A folder in memory, and the definitions of RFC 6962 as they stand there.
#![allow(dead_code, reason = "each test uses some of it")]

use std::collections::BTreeMap;
use std::io;

use headtrail_journal::tree::{
    EMPTY_ROOT, ENTRY_BYTES, Hash, TileFile, TileSource, Tree, leaf_hash, node_hash,
};
use proptest::test_runner::Config as ProptestConfig;

/// A quarter of the usual number of cases, since the definitions hash whole trees; more with `PROPTEST_CASES`.
pub fn config() -> ProptestConfig {
    let default = ProptestConfig::default();
    ProptestConfig { cases: default.cases / 4, failure_persistence: None, ..default }
}

/// Files by path; counts what is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    pub files: BTreeMap<String, Vec<u8>>,
    pub reads: usize,
}

impl TileSource for Files {
    fn read(&mut self, path: &str) -> io::Result<Option<Vec<u8>>> {
        self.reads += 1;
        Ok(self.files.get(path).cloned())
    }
}

impl Files {
    /// Writes as the writer does: new files, then away with what they make superfluous.
    pub fn write(&mut self, files: Vec<TileFile>) {
        for file in files {
            let path = file.tile.to_string();
            assert_eq!(file.bytes.len(), file.tile.bytes(), "{path}");
            if let Some(folder) = file.obsolete_folder() {
                let inside = format!("{folder}/");
                self.files.retain(|path, _| !path.starts_with(&inside));
            }
            assert_eq!(self.files.insert(path.clone(), file.bytes), None, "{path} written twice");
        }
    }
}

/// Entries that differ.
pub fn entry(index: u64) -> [u8; ENTRY_BYTES] {
    let mut entry = [0xa5; ENTRY_BYTES];
    entry[8..16].copy_from_slice(&index.to_le_bytes());
    entry
}

pub fn leaves(size: u64) -> Vec<Hash> {
    (0..size).map(|index| leaf_hash(&entry(index))).collect()
}

pub fn grow(tree: &mut Tree, size: u64) {
    for index in tree.size()..size {
        assert_eq!(tree.append(&entry(index)), leaf_hash(&entry(index)));
    }
}

/// A tree of that size, checkpointed at each of these sizes and at the end, and what lies on disk.
pub fn built(size: u64, checkpoints: &[u64]) -> (Tree, Files) {
    let (mut tree, mut files) = (Tree::new(), Files::default());
    let mut stops = checkpoints.to_vec();
    stops.push(size);
    stops.sort_unstable();
    for stop in stops {
        grow(&mut tree, stop.min(size));
        files.write(tree.take_dirty());
    }
    (tree, files)
}

fn split(n: usize) -> usize {
    n.next_power_of_two() / 2
}

/// MTH of RFC 6962, 2.1.
pub fn mth(d: &[Hash]) -> Hash {
    match d {
        [] => EMPTY_ROOT,
        [leaf] => *leaf,
        _ => node_hash(&mth(&d[..split(d.len())]), &mth(&d[split(d.len())..])),
    }
}

/// PATH of RFC 6962, 2.1.1.
pub fn path(m: usize, d: &[Hash]) -> Vec<Hash> {
    if d.len() == 1 {
        return Vec::new();
    }
    let (left, right) = d.split_at(split(d.len()));
    let (mut path, sibling) =
        if m < left.len() { (path(m, left), right) } else { (path(m - left.len(), right), left) };
    path.push(mth(sibling));
    path
}

/// SUBPROOF of RFC 6962, 2.1.2.
pub fn subproof(m: usize, d: &[Hash], b: bool) -> Vec<Hash> {
    if m == d.len() {
        return if b { Vec::new() } else { vec![mth(d)] };
    }
    let (left, right) = d.split_at(split(d.len()));
    let (mut proof, sibling) = if m <= left.len() {
        (subproof(m, left, b), right)
    } else {
        (subproof(m - left.len(), right, false), left)
    };
    proof.push(mth(sibling));
    proof
}
