//! The Merkle tree over the blocks, laid out so that tools of others can read and check it.
//!
//! Place in the data's way: beside the segments. The writer appends the header of each block; at a checkpoint it takes the
//! [`TileFile`]s that are new, writes them, signs a [`Checkpoint`] and writes that. Hashing is RFC 6962's; files are
//! C2SP [tlog-tiles](https://c2sp.org/tlog-tiles), [tlog-checkpoint](https://c2sp.org/tlog-checkpoint),
//! [signed-note](https://c2sp.org/signed-note) and [tlog-proof](https://c2sp.org/tlog-proof).
//!
//! Invariants: nothing here touches a disk, all reading goes through [`TileSource`]; what a source gives and every text is
//! taken for hostile. A tree in memory is its right edge: at most a tile for each level and one bundle of entries, beside
//! what was completed and not yet taken. Proofs are made from the tiles as they are: only verifying one against a
//! checkpoint shows that they were right.
//!
//! Own code on sha2 and ed25519-dalek: the crates that exist bring older versions of both and have no state that could be
//! restored. They read in tests what is written here.

mod checkpoint;
mod edge;
mod grow;
mod hash;
mod log_proof;
mod note;
mod proof;
mod source;
mod text;
mod tile;

pub use checkpoint::{Checkpoint, CheckpointError};
pub use edge::Edge;
pub use grow::{TileFile, Tree};
pub use hash::{EMPTY_ROOT, HASH_BYTES, Hash, leaf_hash, node_hash};
pub use log_proof::{LOG_PROOF_BYTES_MAX, LogProof, LogProofError};
pub use note::{
    KEY_NAME_BYTES_MAX, KeyError, NOTE_BYTES_MAX, NoteError, SIGNATURES_MAX, SignedNote, Signer, VerifierKey,
};
pub use proof::{ConsistencyProof, InclusionProof, PROOF_HASHES_MAX, ProofError};
pub use source::{FILE_BYTES_MAX, TileSource, TreeError, read_entries, read_hashes};
pub use tile::{ENTRY_BYTES, Kind, PathError, TILE_WIDTH, TREE_SIZE_MAX, Tile};
