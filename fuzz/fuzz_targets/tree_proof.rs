//! Any bytes as a proof: in its text form what is taken is written back as it was; verifying takes any numbers; and a tree of any tiles
//! is refused or gives proofs that hold in it.
#![no_main]

use std::io;

use headtrail_journal::tree::{
    ConsistencyProof, Edge, FILE_BYTES_MAX, Hash, InclusionProof, LogProof, Signer, TileSource, Tree,
    leaf_hash,
};
use libfuzzer_sys::fuzz_target;

/// Tiles that repeat the input; a path takes them at a place and a length that depend on it, mostly the right length.
struct Any<'a>(&'a [u8]);

impl TileSource for Any<'_> {
    fn read(&mut self, path: &str) -> io::Result<Option<Vec<u8>>> {
        let tile: headtrail_journal::tree::Tile = path.parse().map_err(io::Error::other)?;
        let seed = self.0.get(tile.index as usize % 7).copied().unwrap_or(0);
        let bytes = match seed {
            255 => return Ok(None),
            254 => tile.bytes() + 1,
            _ => tile.bytes(),
        };
        assert!(tile.bytes() <= FILE_BYTES_MAX);
        Ok(Some(self.0.iter().copied().cycle().skip(usize::from(seed)).take(bytes).collect()))
    }
}

fn number(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    bytes.iter().skip(at).zip(&mut number).for_each(|(from, to)| *to = *from);
    u64::from_le_bytes(number) >> (bytes.first().copied().unwrap_or(0) % 64)
}

fuzz_target!(|data: &[u8]| {
    let Ok(signer) = Signer::new("headtrail/gw1/0123456789abcdef", &[7; 32]) else { return };
    if let Ok(proof) = LogProof::parse(data) {
        assert_eq!(proof.to_string().as_bytes(), data);
        let _ = proof.verify(&leaf_hash(b""), signer.verifier());
    }
    // Tiles take a thousand times longer.
    if data.starts_with(b"c2sp.org/") {
        return;
    }
    let (a, b) = (number(data, 1), number(data, 9));
    let (hashes, _) = data.get(17..).unwrap_or_default().as_chunks::<32>();
    let hashes: Vec<_> = hashes.iter().map(|hash| Hash(*hash)).collect();
    let leaf = leaf_hash(b"leaf");
    let _ = InclusionProof { index: a, size: b, hashes: hashes.clone() }.verify(&leaf, &leaf);
    let _ = ConsistencyProof { old_size: a, size: b, hashes }.verify(&leaf, &leaf);

    if data.is_empty() {
        return;
    }
    let mut tiles = Any(data);
    if let Ok(edge) = Edge::load(&mut tiles, b) {
        let _ = Tree::restore(&mut tiles, b, edge.root());
    }
    if let Ok(proof) = InclusionProof::make(&mut tiles, a, b) {
        assert!(proof.hashes.len() <= 64);
    }
    if let Ok(proof) = ConsistencyProof::make(&mut tiles, a, b) {
        assert!(proof.hashes.len() <= 64);
    }
});
