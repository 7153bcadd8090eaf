//! Reading tiles from wherever they lie, and what can be wrong with them.

use std::{fmt, io};

use super::hash::{HASH_BYTES, Hash};
use super::tile::{BUNDLED_BYTES, ENTRY_BYTES, ENTRY_PREFIX, Kind, LOST_PREFIX, TILE_WIDTH, Tile};

/// Length of the longest file of a tree, a whole bundle. A [`TileSource`] need not read further.
pub const FILE_BYTES_MAX: usize = TILE_WIDTH * BUNDLED_BYTES;

/// Where tiles are read from.
pub trait TileSource {
    /// The file of this path, relative to the folder of the journal; `None` if there is none. What is longer than
    /// [`FILE_BYTES_MAX`] is damaged in any case, so a source may cut it one byte behind that.
    ///
    /// # Errors
    /// What the storage says.
    fn read(&mut self, path: &str) -> io::Result<Option<Vec<u8>>>;
}

/// Why a tree, or a proof of it, cannot be made from what is there.
#[derive(Debug)]
pub enum TreeError {
    /// The file cannot be read.
    Read {
        /// Its path.
        path: String,
        /// What the storage said.
        error: io::Error,
    },
    /// Neither the file nor the whole tile that stands for it is there.
    Missing {
        /// Its path.
        path: String,
    },
    /// The file has not the length or not the form that it must have, or its entries are not those of the hashes.
    Damaged {
        /// Its path.
        path: String,
    },
    /// The tiles make another root than the one that was signed.
    Root {
        /// Leaves of the tree.
        size: u64,
        /// What was signed.
        expected: Hash,
        /// What the tiles make.
        found: Hash,
    },
    /// There is no such leaf, or no smaller tree of that size, or a size beyond [`TREE_SIZE_MAX`](super::TREE_SIZE_MAX).
    Beyond {
        /// What was asked for.
        asked: u64,
        /// What there is.
        size: u64,
    },
}

impl fmt::Display for TreeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { path, error } => write!(f, "{path} cannot be read: {error}"),
            Self::Missing { path } => write!(f, "{path} is missing"),
            Self::Damaged { path } => write!(f, "{path} is damaged"),
            Self::Root { size, expected, found } => {
                write!(f, "the tiles of {size} blocks have the root {found}, signed was {expected}")
            }
            Self::Beyond { asked, size } => write!(f, "{asked} is beyond a tree of {size}"),
        }
    }
}

impl std::error::Error for TreeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read { error, .. } => Some(error),
            _ => None,
        }
    }
}

/// The bytes of a tile, of exactly its length. A partial tile that is no longer there is taken from the whole one.
fn read_file(source: &mut impl TileSource, tile: Tile) -> Result<Vec<u8>, TreeError> {
    let mut read =
        |path: &str| source.read(path).map_err(|error| TreeError::Read { path: path.to_owned(), error });
    let path = tile.to_string();
    if let Some(bytes) = read(&path)? {
        return if bytes.len() == tile.bytes() { Ok(bytes) } else { Err(TreeError::Damaged { path }) };
    }
    let whole = tile.whole().to_string();
    match if tile.is_partial() { read(&whole)? } else { None } {
        None => Err(TreeError::Missing { path }),
        Some(mut bytes) if bytes.len() == tile.whole().bytes() => {
            bytes.truncate(tile.bytes());
            Ok(bytes)
        }
        Some(_) => Err(TreeError::Damaged { path: whole }),
    }
}

/// The hashes of a tile, exactly as many as it is wide. Whether they are the right ones, only a root shows.
///
/// # Errors
/// The file cannot be read, is missing, or has the wrong length.
pub fn read_hashes(
    source: &mut impl TileSource,
    level: u8,
    index: u64,
    width: u16,
) -> Result<Vec<Hash>, TreeError> {
    let bytes = read_file(source, Tile { kind: Kind::Hashes(level), index, width })?;
    let (hashes, _) = bytes.as_chunks::<HASH_BYTES>();
    Ok(hashes.iter().map(|hash| Hash(*hash)).collect())
}

/// The entries of a bundle, exactly as many as it is wide. `None` is one of no bytes: that of a block that was lost with its header.
///
/// # Errors
/// The file cannot be read, is missing, or is not made of entries of [`ENTRY_BYTES`] or none.
pub fn read_entries(
    source: &mut impl TileSource,
    index: u64,
    width: u16,
) -> Result<Vec<Option<[u8; ENTRY_BYTES]>>, TreeError> {
    let tile = Tile { kind: Kind::Entries, index, width };
    let mut read =
        |path: &str| source.read(path).map_err(|error| TreeError::Read { path: path.to_owned(), error });
    let mut path = tile.to_string();
    let mut bytes = read(&path)?;
    let mut stored = width;
    if bytes.is_none() && tile.is_partial() {
        (path, stored) = (tile.whole().to_string(), TILE_WIDTH as u16);
        bytes = read(&path)?;
    }
    let Some(bytes) = bytes else { return Err(TreeError::Missing { path: tile.to_string() }) };
    let mut entries = parse_entries(&bytes, stored).ok_or(TreeError::Damaged { path })?;
    entries.truncate(width.into());
    Ok(entries)
}

/// Takes a bundle of so many entries apart.
fn parse_entries(mut bytes: &[u8], count: u16) -> Option<Vec<Option<[u8; ENTRY_BYTES]>>> {
    let mut entries = Vec::with_capacity(count.into());
    for _ in 0..count {
        let (prefix, rest) = bytes.split_first_chunk()?;
        bytes = rest;
        entries.push(match *prefix {
            LOST_PREFIX => None,
            ENTRY_PREFIX => {
                let (entry, rest) = bytes.split_first_chunk()?;
                bytes = rest;
                Some(*entry)
            }
            _ => return None,
        });
    }
    bytes.is_empty().then_some(entries)
}
