//! Hashes of leaves and nodes, RFC 6962, section 2.1.
//!
//! The byte in front keeps the two apart, so that a node cannot be passed off as an entry.

use std::fmt;

use sha2::{Digest as _, Sha256};

use super::text;

/// Length of a hash.
pub const HASH_BYTES: usize = 32;

/// Goes in front of an entry.
const LEAF: [u8; 1] = [0];
/// Goes in front of a pair of hashes.
const NODE: [u8; 1] = [1];

/// Root of a tree without leaves: SHA-256 of nothing.
pub const EMPTY_ROOT: Hash = Hash([
    0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24, 0x27,
    0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
]);

/// Hash of a leaf, a node or a whole tree. Shown as base64, as in all C2SP texts.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hash(pub [u8; HASH_BYTES]);

impl Hash {
    /// Reads what `Display` writes.
    #[must_use]
    pub fn from_base64(text: &str) -> Option<Self> {
        text::from_base64(text)?.try_into().ok().map(Self)
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text::to_base64(&self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Hash of an entry.
#[must_use]
pub fn leaf_hash(entry: &[u8]) -> Hash {
    Hash(Sha256::new().chain_update(LEAF).chain_update(entry).finalize().into())
}

/// Hash of the node over two others.
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Hash(Sha256::new().chain_update(NODE).chain_update(left.0).chain_update(right.0).finalize().into())
}

/// Leaves to the left of the root's split: the greatest power of two that is less than `leaves`, which is at least 2.
pub(super) fn split(leaves: u64) -> u64 {
    1 << (leaves - 1).ilog2()
}

/// Root over these hashes as if they were leaves. They may be roots of complete trees of one size, the last also of a
/// smaller one: RFC 6962 splits above them in the same places.
pub(super) fn root_over(hashes: &[Hash]) -> Hash {
    match hashes {
        [] => EMPTY_ROOT,
        [hash] => *hash,
        // Not `split`: this one counts in memory. At most nine calls deep, since no more than 257 hashes come in.
        _ => {
            let (left, right) = hashes.split_at(1 << (hashes.len() - 1).ilog2());
            node_hash(&root_over(left), &root_over(right))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_split_is_the_power_of_two_below() {
        for (leaves, left) in [(2, 1), (3, 2), (4, 2), (5, 4), (8, 4), (9, 8), ((1 << 63) - 1, 1 << 62)] {
            assert_eq!(split(leaves), left);
        }
    }

    #[test]
    fn its_text_reads_back_and_nothing_else_does() {
        let hash = leaf_hash(b"x");
        assert_eq!(Hash::from_base64(&hash.to_string()), Some(hash));
        for wrong in ["", "AQ==", &hash.to_string()[..43], &format!("{hash}\n"), &text::to_base64(&[0; 33])] {
            assert_eq!(Hash::from_base64(wrong), None, "{wrong:?}");
        }
    }
}
