//! What is written here is read, and made alike, by Cloudflare's implementations of tlog-tiles and signed-note.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod tree_common;

use headtrail_journal::tree::{
    Checkpoint, ConsistencyProof, ENTRY_BYTES, Hash, InclusionProof, LogProof, SignedNote, Signer,
};
use proptest::prelude::*;
use signed_note::{Note, StandardSigner, StandardVerifier, VerifierList};
use tlog_tiles::tlog::{self, HashReader};
use tlog_tiles::{TileHashReader, TileReader};
use tree_common::{Files, built, config, entry, leaves};

const TILE_HEIGHT: u8 = 8;
const ORIGIN: &str = "headtrail/gw1/0123456789abcdef";

/// All hashes of a tree, in the order of Go's tlog.
struct Stored(Vec<tlog::Hash>);

impl HashReader for Stored {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<tlog::Hash>, tlog::Error> {
        Ok(indexes.iter().map(|&index| self.0[index as usize]).collect())
    }
}

fn stored(size: u64) -> Stored {
    let mut stored = Stored(Vec::new());
    for index in 0..size {
        let new = tlog::stored_hashes(index, &entry(index), &stored).unwrap();
        stored.0.extend(new);
    }
    stored
}

/// Go's paths have the height in front, which tlog-tiles fixes and leaves out.
fn path(tile: &tlog_tiles::Tile) -> String {
    tile.path().replacen("tile/8/", "tile/", 1)
}

/// Our files through their reader, which checks them against the root.
struct Theirs<'a>(&'a Files);

impl TileReader for Theirs<'_> {
    fn height(&self) -> u8 {
        TILE_HEIGHT
    }

    fn read_tiles(&self, tiles: &[tlog_tiles::Tile]) -> Result<Vec<Vec<u8>>, tlog::Error> {
        Ok(tiles.iter().map(|tile| self.0.files[&path(tile)].clone()).collect())
    }

    fn save_tiles(&self, _: &[tlog_tiles::Tile], _: &[Vec<u8>]) {}
}

fn theirs(hash: &Hash) -> tlog::Hash {
    tlog::Hash(hash.0)
}

fn all_theirs(hashes: &[Hash]) -> Vec<tlog::Hash> {
    hashes.iter().map(theirs).collect()
}

fn sizes() -> impl Strategy<Value = u64> {
    prop_oneof![1..20_u64, 250..260_u64, 508..516_u64, 1..2000_u64]
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn tiles_are_theirs(size in sizes()) {
        let (tree, files) = built(size, &[]);
        let stored = stored(size);
        prop_assert_eq!(theirs(&tree.root()), tlog::tree_hash(size, &stored).unwrap());
        let mut left = files.files.clone();
        for tile in tlog_tiles::Tile::new_tiles(TILE_HEIGHT, 0, size) {
            prop_assert_eq!(left.remove(&path(&tile)), Some(tile.read_data(&stored).unwrap()), "{}", path(&tile));
        }
        // The rest are bundles, by the specification's words.
        let mut entries = 0;
        for (path, bytes) in left {
            prop_assert!(path.starts_with("tile/entries/"));
            let mut rest = &bytes[..];
            while let Some((length, after)) = rest.split_first_chunk() {
                let (bundled, after) = after.split_at(usize::from(u16::from_be_bytes(*length)));
                prop_assert_eq!(bundled, &entry(entries)[..ENTRY_BYTES]);
                entries += 1;
                rest = after;
            }
        }
        prop_assert_eq!(entries, size);
    }

    #[test]
    fn their_reader_takes_our_tiles_and_makes_our_proofs(size in sizes(), index: u64, old: u64) {
        let (index, old) = (index % size, old % size + 1);
        let (tree, mut files) = built(size, &[old]);
        let root = theirs(&tree.root());
        let included = all_theirs(&InclusionProof::make(&mut files, index, size).unwrap().hashes);
        let consistent = all_theirs(&ConsistencyProof::make(&mut files, old, size).unwrap().hashes);
        let tiles = Theirs(&files);
        let reader = TileHashReader::new(size, root, &tiles);
        prop_assert_eq!(&included, &tlog::prove_record(size, index, &reader).unwrap());
        let leaf = theirs(&leaves(size)[index as usize]);
        tlog::check_record(&included, size, root, index, leaf).unwrap();
        prop_assert_eq!(&consistent, &tlog::prove_tree(size, old, &reader).unwrap());
        tlog::check_tree(&consistent, size, root, old, tlog::tree_hash(old, &stored(old)).unwrap()).unwrap();
    }

    #[test]
    fn checkpoints_are_theirs(seed: [u8; 32], size in 0..=i64::MAX as u64, root: [u8; 32]) {
        let signer = Signer::new(ORIGIN, &seed).unwrap();
        let ours = Checkpoint { origin: ORIGIN.to_owned(), size, root: Hash(root), extensions: Vec::new() };
        let note = ours.sign(&signer).unwrap();

        let verifier = StandardVerifier::new(&signer.verifier().to_string()).unwrap();
        let parsed = Note::from_bytes(note.as_bytes()).unwrap();
        let (verified, unknown) = parsed.verify(&VerifierList::new(vec![Box::new(verifier)])).unwrap();
        prop_assert_eq!((verified.len(), unknown.len()), (1, 0));
        let checkpoint = tlog_tiles::Checkpoint::from_bytes(parsed.text()).unwrap();
        prop_assert_eq!(checkpoint.origin(), ORIGIN);
        prop_assert_eq!((checkpoint.size(), checkpoint.hash().0), (size, root));
        prop_assert_eq!(checkpoint.to_bytes(), ours.to_string().into_bytes());
        prop_assert_eq!(Checkpoint::open(note.as_bytes(), signer.verifier()), Ok(ours));
    }
}

/// The example in the documentation of Go's package, which theirs has taken over.
#[test]
fn the_note_of_the_documentation_verifies() {
    let note = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n\
        \u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
    let key = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    let parsed = SignedNote::parse(note.as_bytes()).unwrap();
    let text = parsed.verify(&key.parse().unwrap()).unwrap();
    assert!(note.starts_with(text) && text.ends_with("problem is.\n"));
    // And with its signer's key, of which a seed is the last part, the same note comes about.
    let skey = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
    StandardSigner::new(skey).unwrap();
    let seed = [
        0x81, 0x0a, 0x14, 0x02, 0xd5, 0x14, 0x6c, 0x8d, 0x84, 0xf2, 0x44, 0x33, 0x30, 0xf5, 0x40, 0x80, 0xeb,
        0xf9, 0x8e, 0xe1, 0x7d, 0x9c, 0x74, 0xf6, 0x25, 0x2f, 0xc5, 0xd5, 0xc7, 0x28, 0x31, 0x73,
    ];
    let signer = Signer::new("PeterNeumann", &seed).unwrap();
    assert_eq!(signer.verifier().to_string(), key);
    assert_eq!(signer.sign(text).unwrap(), note);
}

#[test]
fn their_second_signature_is_passed_over() {
    let signer = Signer::new(ORIGIN, &[7; 32]).unwrap();
    let ours = Checkpoint { origin: ORIGIN.to_owned(), size: 1, root: leaves(1)[0], extensions: Vec::new() };
    let note = ours.sign(&signer).unwrap();
    let witness = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
    let mut witnessed = Note::from_bytes(note.as_bytes()).unwrap();
    witnessed.add_sigs(&[&StandardSigner::new(witness).unwrap()]).unwrap();
    let witnessed = String::from_utf8(witnessed.to_bytes()).unwrap();
    assert_eq!(Checkpoint::open(witnessed.as_bytes(), signer.verifier()), Ok(ours.clone()));
    let proof = LogProof { extra: Vec::new(), index: 0, hashes: Vec::new(), checkpoint: witnessed };
    assert_eq!(proof.verify(&leaves(1)[0], signer.verifier()), Ok(ours));
}
