//! What must hold for a tree of any size, with checkpoints anywhere.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod tree_common;

use std::collections::BTreeSet;

use headtrail_journal::tree::{
    ConsistencyProof, EMPTY_ROOT, Edge, Hash, InclusionProof, Kind, ProofError, TREE_SIZE_MAX, Tile,
    TileSource, Tree, TreeError, leaf_hash,
};
use proptest::collection::vec;
use proptest::prelude::*;
use tree_common::{Files, built, config, entry, grow, leaves, mth, path, subproof};

const SIZE_MAX: u64 = 3000;

/// Small trees, those beside whole tiles, and any.
fn sizes() -> impl Strategy<Value = u64> {
    prop_oneof![0..20_u64, 250..260_u64, 508..516_u64, 0..SIZE_MAX]
}

fn flipped(hash: &Hash, bit: usize) -> Hash {
    let mut hash = *hash;
    hash.0[bit / 8 % 32] ^= 1 << (bit % 8);
    hash
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_root_is_that_of_the_definition(size in sizes()) {
        let leaves = leaves(size);
        let mut tree = Tree::new();
        grow(&mut tree, size);
        prop_assert_eq!((tree.size(), tree.root()), (size, mth(&leaves)));
    }

    #[test]
    fn an_inclusion_proof_is_that_of_the_definition_and_verifies(size in 1..SIZE_MAX, index: u64, older in vec(1..SIZE_MAX, 0..3)) {
        let all = leaves(size);
        let (_, mut files) = built(size, &older);
        for size in older.into_iter().filter(|&older| older < size).chain([size]) {
            let leaves = &all[..size as usize];
            let index = index % size;
            let proof = InclusionProof::make(&mut files, index, size).unwrap();
            prop_assert_eq!(&proof.hashes, &path(index as usize, leaves));
            prop_assert_eq!(proof.verify(&leaves[index as usize], &mth(leaves)), Ok(()));
        }
    }

    #[test]
    fn no_bit_of_an_inclusion_proof_can_be_changed(size in 1..SIZE_MAX, index: u64, bit: usize, which: usize) {
        let leaves = leaves(size);
        let index = index % size;
        let (leaf, root) = (leaves[index as usize], mth(&leaves));
        let (_, mut files) = built(size, &[]);
        let good = InclusionProof::make(&mut files, index, size).unwrap();
        prop_assert_eq!(good.verify(&flipped(&leaf, bit), &root), Err(ProofError::Root));
        prop_assert_eq!(good.verify(&leaf, &flipped(&root, bit)), Err(ProofError::Root));
        let mut bad = good.clone();
        bad.index ^= 1 << (bit % 64);
        prop_assert!(bad.verify(&leaf, &root).is_err());
        let mut bad = good.clone();
        bad.hashes.push(leaf);
        prop_assert_eq!(bad.verify(&leaf, &root), Err(ProofError::Length));
        if !good.hashes.is_empty() {
            let which = which % good.hashes.len();
            let mut bad = good.clone();
            bad.hashes[which] = flipped(&bad.hashes[which], bit);
            prop_assert_eq!(bad.verify(&leaf, &root), Err(ProofError::Root));
            let mut bad = good.clone();
            bad.hashes.remove(which);
            prop_assert!(bad.verify(&leaf, &root).is_err());
        }
    }

    #[test]
    fn a_consistency_proof_is_that_of_the_definition_and_verifies(size in sizes(), old in any::<u64>()) {
        let old = old % (size + 1);
        let leaves = leaves(size);
        let (old_root, root) = (mth(&leaves[..old as usize]), mth(&leaves));
        let (_, mut files) = built(size, &[old]);
        let proof = ConsistencyProof::make(&mut files, old, size).unwrap();
        let expected = if old == 0 { Vec::new() } else { subproof(old as usize, &leaves, true) };
        prop_assert_eq!(&proof.hashes, &expected);
        prop_assert_eq!(proof.verify(&old_root, &root), Ok(()));
    }

    #[test]
    fn no_bit_of_a_consistency_proof_can_be_changed(size in 1..SIZE_MAX, old: u64, bit: usize, which: usize) {
        let old = old % (size + 1);
        let leaves = leaves(size);
        let (old_root, root) = (mth(&leaves[..old as usize]), mth(&leaves));
        let (_, mut files) = built(size, &[]);
        let good = ConsistencyProof::make(&mut files, old, size).unwrap();
        // Of nothing every tree is the beginning, whatever its root.
        prop_assert_eq!(good.verify(&old_root, &flipped(&root, bit)).is_ok(), old == 0);
        prop_assert!(good.verify(&flipped(&old_root, bit), &root).is_err());
        let mut bad = good.clone();
        bad.hashes.push(root);
        prop_assert_eq!(bad.verify(&old_root, &root), Err(ProofError::Length));
        if !good.hashes.is_empty() {
            let which = which % good.hashes.len();
            let mut bad = good.clone();
            bad.hashes[which] = flipped(&bad.hashes[which], bit);
            prop_assert!(bad.verify(&old_root, &root).is_err());
            let mut bad = good.clone();
            bad.hashes.remove(which);
            prop_assert!(bad.verify(&old_root, &root).is_err());
        }
        // Another past, of the same size, is not the beginning.
        if old > 0 && old < size {
            let mut other = leaves[..old as usize].to_vec();
            let place = which % other.len();
            other[place] = flipped(&other[place], bit);
            prop_assert!(good.verify(&mth(&other), &root).is_err());
        }
    }

    #[test]
    fn a_restored_tree_goes_on_as_if_nothing_had_happened(checkpoints in vec(0..SIZE_MAX, 1..6)) {
        let size = *checkpoints.iter().max().unwrap();
        let (mut whole, files) = built(size, &checkpoints);
        let mut on_disk = Files::default();
        let mut tree = Tree::new();
        let mut stops = checkpoints;
        stops.sort_unstable();
        for stop in stops {
            grow(&mut tree, stop);
            on_disk.write(tree.take_dirty());
            on_disk.reads = 0;
            tree = Tree::restore(&mut on_disk, stop, tree.root()).unwrap();
            // One tile a level, and a bundle.
            prop_assert!(on_disk.reads <= 3, "{} files were read", on_disk.reads);
            prop_assert_eq!(tree.take_dirty(), []);
        }
        prop_assert_eq!(tree.root(), whole.root());
        prop_assert_eq!(&on_disk.files, &files.files);
        grow(&mut tree, size + 300);
        grow(&mut whole, size + 300);
        prop_assert_eq!(tree.take_dirty(), whole.take_dirty());
    }

    #[test]
    fn an_older_checkpoint_restores_from_what_lies_there_now(size in sizes(), older in sizes()) {
        let older = older.min(size);
        let (_, mut files) = built(size, &[older]);
        let (mut expected, _) = built(older, &[]);
        let mut tree = Tree::restore(&mut files, older, expected.root()).unwrap();
        grow(&mut tree, size);
        grow(&mut expected, size);
        prop_assert_eq!(tree.root(), expected.root());
        prop_assert_eq!(tree.take_dirty(), expected.take_dirty());
    }

    #[test]
    fn on_disk_is_what_any_checkpoint_needs_and_nothing_else(size in sizes(), checkpoints in vec(0..SIZE_MAX, 0..6)) {
        let (_, files) = built(size, &checkpoints);
        let mut expected = BTreeSet::new();
        for checkpoint in checkpoints.into_iter().map(|c| c.min(size)).chain([size]) {
            for kind in [Kind::Entries, Kind::Hashes(0), Kind::Hashes(1)] {
                for tile in (0..).map_while(|index| Tile::of_tree(kind, index, checkpoint)) {
                    let now = Tile::of_tree(kind, tile.index, size).unwrap();
                    expected.insert(if now.is_partial() { tile } else { now }.to_string());
                }
            }
        }
        let found: BTreeSet<_> = files.files.into_keys().collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn whole_tiles_can_be_taken_at_any_time(size in sizes(), every in 1..600_u64) {
        let (_, expected) = built(size, &[]);
        let (mut tree, mut files) = (Tree::new(), Files::default());
        while tree.size() < size {
            let next = tree.size() + every;
            grow(&mut tree, next.min(size));
            files.write(tree.take_full());
        }
        files.write(tree.take_dirty());
        prop_assert_eq!(files.files, expected.files);
    }

    #[test]
    fn a_tree_is_not_restored_from_what_was_changed(size in sizes(), byte: usize, bit in 0..8_u32, cut: bool) {
        let (tree, good) = built(size, &[]);
        // Only what is read: the right edge.
        let edge = |kind| Tile::of_tree(kind, Tile::of_tree(kind, 0, size)?.index.max(size >> 8), size);
        for tile in [edge(Kind::Hashes(0)), edge(Kind::Entries)].into_iter().flatten() {
            let mut files = good.clone();
            let bytes = files.files.get_mut(&tile.to_string()).unwrap();
            if cut {
                bytes.pop();
            } else {
                let byte = byte % bytes.len();
                bytes[byte] ^= 1_u8 << bit;
            }
            let error = Tree::restore(&mut files, size, tree.root()).unwrap_err();
            let expected = cut || tile.kind == Kind::Entries;
            prop_assert_eq!(matches!(error, TreeError::Damaged { .. }), expected, "{}", error);
            prop_assert_eq!(matches!(error, TreeError::Root { .. }), !expected);
            files.files.remove(&tile.to_string());
            let error = Tree::restore(&mut files, size, tree.root()).unwrap_err();
            let missing = matches!(&error, TreeError::Missing { path } if *path == tile.to_string());
            prop_assert!(missing, "{}", error);
        }
    }

    #[test]
    fn verifying_takes_any_numbers(index: u64, old_size: u64, size: u64, shift in 0..64_u32, hashes in vec(any::<[u8; 32]>(), 0..70)) {
        let hashes: Vec<_> = hashes.into_iter().map(Hash).collect();
        let (index, old_size, size) = (index >> shift, old_size >> shift, size >> shift);
        let included = InclusionProof { index, size, hashes: hashes.clone() };
        prop_assert!(included.verify(&leaf_hash(b""), &EMPTY_ROOT).is_err());
        let consistent = ConsistencyProof { old_size: old_size.max(1), size, hashes };
        let _ = consistent.verify(&EMPTY_ROOT, &EMPTY_ROOT);
    }
}

/// A tree too large to be built: all of its leaves are one, so that all whole tiles of a level are one too.
struct Huge {
    whole: Vec<Hash>,
}

impl Huge {
    fn new() -> Self {
        let mut whole = vec![leaf_hash(&entry(0))];
        for level in 0..8 {
            whole.push(mth(&vec![whole[level]; 256]));
        }
        Self { whole }
    }
}

impl TileSource for Huge {
    fn read(&mut self, path: &str) -> std::io::Result<Option<Vec<u8>>> {
        let tile: Tile = path.parse().unwrap();
        let Kind::Hashes(level) = tile.kind else {
            return Ok(Some([&[0, 160][..], &entry(0)].concat().repeat(usize::from(tile.width))));
        };
        Ok(Some(self.whole[usize::from(level)].0.repeat(usize::from(tile.width))))
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn proofs_hold_in_trees_of_any_size(size in 1..=TREE_SIZE_MAX, index: u64, old: u64, shift in 0..63_u32) {
        let size = (size >> shift).max(1);
        let (index, old) = (index % size, old % size + 1);
        let mut tiles = Huge::new();
        let (root, old_root) = (Edge::load(&mut tiles, size).unwrap().root(), Edge::load(&mut tiles, old).unwrap().root());
        let included = InclusionProof::make(&mut tiles, index, size).unwrap();
        prop_assert_eq!(included.verify(&leaf_hash(&entry(0)), &root), Ok(()));
        prop_assert!(included.hashes.len() < 64);
        let consistent = ConsistencyProof::make(&mut tiles, old, size).unwrap();
        prop_assert_eq!(consistent.verify(&old_root, &root), Ok(()));
        prop_assert!(consistent.hashes.len() <= 64);
        // And it goes on.
        let mut tree = Tree::restore(&mut tiles, size, root).unwrap();
        if size < TREE_SIZE_MAX {
            tree.append(&entry(0));
            prop_assert_eq!(tree.root(), Edge::load(&mut tiles, size + 1).unwrap().root());
        }
    }
}

#[test]
fn what_is_beyond_the_tree_has_no_proof() {
    let (tree, mut files) = built(5, &[]);
    assert!(matches!(InclusionProof::make(&mut files, 5, 5), Err(TreeError::Beyond { asked: 5, size: 5 })));
    assert!(matches!(
        InclusionProof::make(&mut files, 0, u64::MAX),
        Err(TreeError::Beyond { asked: u64::MAX, size: TREE_SIZE_MAX })
    ));
    assert!(matches!(ConsistencyProof::make(&mut files, 6, 5), Err(TreeError::Beyond { asked: 6, size: 5 })));
    assert!(matches!(ConsistencyProof::make(&mut files, 0, u64::MAX), Err(TreeError::Beyond { .. })));
    assert!(matches!(Tree::restore(&mut files, u64::MAX, tree.root()), Err(TreeError::Beyond { .. })));
    assert!(matches!(InclusionProof::make(&mut files, 0, 6), Err(TreeError::Missing { .. })));
}

#[test]
fn of_an_empty_tree_only_the_empty_root_is_known() {
    let nothing = |size| ConsistencyProof { old_size: 0, size, hashes: Vec::new() };
    let other = leaf_hash(b"");
    assert_eq!(nothing(7).verify(&EMPTY_ROOT, &other), Ok(()));
    assert_eq!(nothing(7).verify(&other, &other), Err(ProofError::OldRoot));
    assert_eq!(nothing(0).verify(&EMPTY_ROOT, &EMPTY_ROOT), Ok(()));
    assert_eq!(nothing(0).verify(&EMPTY_ROOT, &other), Err(ProofError::Root));
}

#[test]
fn a_proof_that_ends_or_begins_on_another_level_is_too_short() {
    let leaves = leaves(512);
    let root = mth(&leaves);
    let (_, mut files) = built(512, &[]);
    // A node is not a leaf, although its hashes lead to the root.
    let mut included = InclusionProof::make(&mut files, 300, 512).unwrap();
    included.index /= 2;
    included.hashes.remove(0);
    assert_eq!(included.verify(&mth(&leaves[300..302]), &root), Err(ProofError::Length));
    // The root of the left half is not the root of all.
    let mut consistent = ConsistencyProof::make(&mut files, 128, 512).unwrap();
    consistent.hashes.pop();
    assert_eq!(consistent.verify(&mth(&leaves[..128]), &mth(&leaves[..256])), Err(ProofError::Length));
}

/// The test tree of Certificate Transparency's reference implementation, with its roots and proofs.
#[test]
fn the_test_tree_of_certificate_transparency_has_its_roots() {
    let hash = |hex: &str| {
        let byte = |at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap();
        Hash(std::array::from_fn(byte))
    };
    let entries: [&[u8]; 8] = [
        b"",
        b"\x00",
        b"\x10",
        b"\x20\x21",
        b"\x30\x31",
        b"\x40\x41\x42\x43",
        b"\x50\x51\x52\x53\x54\x55\x56\x57",
        b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
    ];
    let roots = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];
    let mut edge = Edge::new();
    assert_eq!(edge.root(), hash("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"));
    for (entry, root) in entries.iter().zip(roots) {
        edge.append(leaf_hash(entry), |_, _| panic!("no tile becomes whole"));
        assert_eq!(edge.root(), hash(root));
    }
    let proof = InclusionProof {
        index: 5,
        size: 8,
        hashes: vec![
            hash("bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"),
            hash("ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0"),
            hash("d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"),
        ],
    };
    assert_eq!(proof.verify(&leaf_hash(entries[5]), &hash(roots[7])), Ok(()));
}
