//! Any bytes as the tiles of a tree of any size: it is refused, or gives proofs of bounded length. Apart from `tree_proof`, since hashing tiles
//! takes a thousand times longer than reading a text.
#![no_main]

use std::io;

use headtrail_journal::tree::{
    ConsistencyProof, Edge, FILE_BYTES_MAX, InclusionProof, PROOF_HASHES_MAX, Tile, TileSource, Tree,
};
use libfuzzer_sys::fuzz_target;

/// Tiles that repeat the input; a path takes them at a place and a length that depend on it, mostly the right length.
struct Any<'a>(&'a [u8]);

impl TileSource for Any<'_> {
    fn read(&mut self, path: &str) -> io::Result<Option<Vec<u8>>> {
        let tile: Tile = path.parse().map_err(io::Error::other)?;
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
    let (a, b) = (number(data, 1), number(data, 9));
    if data.is_empty() {
        return;
    }
    let mut tiles = Any(data);
    if let Ok(edge) = Edge::load(&mut tiles, b) {
        let _ = Tree::restore(&mut tiles, b, edge.root());
    }
    if let Ok(proof) = InclusionProof::make(&mut tiles, a, b) {
        assert!(proof.hashes.len() <= PROOF_HASHES_MAX);
    }
    if let Ok(proof) = ConsistencyProof::make(&mut tiles, a, b) {
        assert!(proof.hashes.len() <= PROOF_HASHES_MAX);
    }
});
