//! Which tile a hash or an entry lies in, and the path of a tile.
//!
//! A tile is 256 hashes of one level side by side; level 0 has the leaves, each level above the roots of whole tiles below.
//! A bundle has the entries of a tile of level 0. The last of a level may be partial: its width is then in its path, so that no
//! file changes once it is written.

use std::fmt;
use std::str::FromStr;

use super::hash::HASH_BYTES;
use super::text;

/// Hashes in a whole tile, entries in a whole bundle. Fixed by tlog-tiles.
pub const TILE_WIDTH: usize = 256;
/// Levels of the tree, of two hashes each, that one level of tiles spans.
pub(super) const TILE_HEIGHT: u32 = 8;
/// Levels of tiles that a tree can have.
pub(super) const LEVELS: usize = 8;
/// Greatest level that a path may name. Fixed by tlog-tiles; no tree that can be counted has more than [`LEVELS`].
const PATH_LEVEL_MAX: u64 = 63;

/// Most leaves of a tree: Go's tools count them in signed 64 bits.
pub const TREE_SIZE_MAX: u64 = i64::MAX as u64;

/// Length of an entry: the header of a block.
pub const ENTRY_BYTES: usize = 160;
/// Length of an entry in a bundle: its length as a big-endian `u16`, and itself.
pub(super) const BUNDLED_BYTES: usize = 2 + ENTRY_BYTES;
/// The length that stands before each entry.
pub(super) const ENTRY_PREFIX: [u8; 2] = (ENTRY_BYTES as u16).to_be_bytes();
/// The length of an entry that is not known: its block was lost.
pub(super) const LOST_PREFIX: [u8; 2] = [0; 2];

const _: () = assert!(TILE_WIDTH == 1 << TILE_HEIGHT);
const _: () = assert!(LEVELS as u32 * TILE_HEIGHT >= TREE_SIZE_MAX.ilog2());
const _: () = assert!(ENTRY_BYTES <= u16::MAX as usize);

/// What a tile is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Hashes of this level.
    Hashes(u8),
    /// Entries; such a tile is called a bundle.
    Entries,
}

/// Names a tile: a whole one, or a partial one of some width. `Display` writes its path, `FromStr` reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tile {
    /// Hashes or entries.
    pub kind: Kind,
    /// Place within its level, from 0.
    pub index: u64,
    /// Hashes or entries in it, from 1 to [`TILE_WIDTH`].
    pub width: u16,
}

/// Why a text is not the path of a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathError;

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not the path of a tile: tile/<level or entries>/<index as x001/x234/067>[.p/<width>]")
    }
}

impl std::error::Error for PathError {}

impl Tile {
    /// The tile of that place as a tree of `size` leaves has it: whole, partial, or none.
    #[must_use]
    pub fn of_tree(kind: Kind, index: u64, size: u64) -> Option<Self> {
        let level = match kind {
            Kind::Hashes(level) => level,
            Kind::Entries => 0,
        };
        let width = nodes(level, size).checked_sub(index.checked_mul(TILE_WIDTH as u64)?)?;
        // At most 256, so it fits.
        let width = width.min(TILE_WIDTH as u64) as u16;
        (width > 0).then_some(Self { kind, index, width })
    }

    /// Whether it has fewer than [`TILE_WIDTH`] hashes or entries.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        usize::from(self.width) < TILE_WIDTH
    }

    /// The whole tile in the same place.
    #[must_use]
    pub fn whole(&self) -> Self {
        Self { width: TILE_WIDTH as u16, ..*self }
    }

    /// The folder in which all partial tiles of this place lie. tlog-tiles wants each of them kept until the whole one is there;
    /// then the folder can go.
    #[must_use]
    pub fn partial_folder(&self) -> String {
        format!("{}.p", self.whole())
    }

    /// Length of its file; of a bundle, if no entry in it is lost.
    #[must_use]
    pub fn bytes(&self) -> usize {
        usize::from(self.width)
            * match self.kind {
                Kind::Hashes(_) => HASH_BYTES,
                Kind::Entries => BUNDLED_BYTES,
            }
    }
}

/// Complete hashes of a level of tiles in a tree of `size` leaves.
pub(super) fn nodes(level: u8, size: u64) -> u64 {
    size.checked_shr(u32::from(level) * TILE_HEIGHT).unwrap_or(0)
}

impl fmt::Display for Tile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Hashes(level) => write!(f, "tile/{level}/")?,
            Kind::Entries => f.write_str("tile/entries/")?,
        }
        write_index(self.index, f)?;
        if self.is_partial() { write!(f, ".p/{}", self.width) } else { Ok(()) }
    }
}

/// Three digits to an element, all but the last with an `x`: no name is that of a file and of a folder.
fn write_index(index: u64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    // The digits of a u64 make seven elements.
    for place in (1..7).rev() {
        let above = index / 1000_u64.pow(place);
        if above > 0 {
            write!(f, "x{:03}/", above % 1000)?;
        }
    }
    write!(f, "{:03}", index % 1000)
}

impl FromStr for Tile {
    type Err = PathError;

    fn from_str(path: &str) -> Result<Self, PathError> {
        parse(path).ok_or(PathError)
    }
}

fn parse(path: &str) -> Option<Tile> {
    let (kind, place) = path.strip_prefix("tile/")?.split_once('/')?;
    let kind = match kind {
        "entries" => Kind::Entries,
        level => {
            Kind::Hashes(text::decimal(level).filter(|&level| level <= PATH_LEVEL_MAX)?.try_into().ok()?)
        }
    };
    let (index, width) = match place.split_once(".p/") {
        None => (place, TILE_WIDTH as u64),
        Some((index, width)) => {
            let width = text::decimal(width).filter(|width| (1..TILE_WIDTH as u64).contains(width))?;
            (index, width)
        }
    };
    Some(Tile { kind, index: parse_index(index)?, width: width.try_into().ok()? })
}

fn parse_index(text: &str) -> Option<u64> {
    let (above, last) = text.rsplit_once('/').map_or((None, text), |(above, last)| (Some(above), last));
    let mut index = 0_u64;
    if let Some(above) = above {
        for element in above.split('/') {
            index = index.checked_mul(1000)?.checked_add(three_digits(element.strip_prefix('x')?)?)?;
            // `x000` in front would be a second path of the same tile.
            if index == 0 {
                return None;
            }
        }
    }
    index.checked_mul(1000)?.checked_add(three_digits(last)?)
}

fn three_digits(text: &str) -> Option<u64> {
    (text.len() == 3 && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hashes(level: u8, index: u64, width: u16) -> Tile {
        Tile { kind: Kind::Hashes(level), index, width }
    }

    #[test]
    fn paths_are_those_of_the_specification() {
        for (tile, path) in [
            (hashes(0, 0, 256), "tile/0/000"),
            (hashes(0, 0, 1), "tile/0/000.p/1"),
            (hashes(63, 999, 255), "tile/63/999.p/255"),
            (hashes(1, 1000, 256), "tile/1/x001/000"),
            (hashes(4, 1_234_067, 256), "tile/4/x001/x234/067"),
            (Tile { kind: Kind::Entries, index: 1_234_067, width: 8 }, "tile/entries/x001/x234/067.p/8"),
            (hashes(0, u64::MAX, 7), "tile/0/x018/x446/x744/x073/x709/x551/615.p/7"),
        ] {
            assert_eq!(tile.to_string(), path);
            assert_eq!(path.parse(), Ok(tile));
        }
        assert_eq!(hashes(0, 1000, 7).partial_folder(), "tile/0/x001/000.p");
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for path in [
            "",
            "tile",
            "tile/",
            "tile/0",
            "tile/0/",
            "/tile/0/000",
            "tile/0/000/",
            "tile/00/000",
            "tile/64/000",
            "tile/-1/000",
            "tile/256/000",
            "tile/data/000",
            "tile/0/0",
            "tile/0/0000",
            "tile/0/x000",
            "tile/0/x000/000",
            "tile/0/x000/x001/000",
            "tile/0/001/000",
            "tile/0/x01/000",
            "tile/0/x001//000",
            "tile/0/+01",
            "tile/0/000.p",
            "tile/0/000.p/",
            "tile/0/000.p/0",
            "tile/0/000.p/256",
            "tile/0/000.p/01",
            "tile/0/000.p/1/",
            "tile/0/000.p/1.p/1",
            "tile/0/../000",
            "tile/0/000\n",
            "tile/0/x018/x446/x744/x073/x709/x551/616",
            "tile/0/x001/x000/x000/x000/x000/x000/x000/000",
        ] {
            assert_eq!(path.parse::<Tile>(), Err(PathError), "{path:?}");
        }
    }

    /// The example in the text of tlog-tiles.
    #[test]
    fn a_tree_of_70000_has_the_tiles_of_the_specification() {
        let widths = |level| -> Vec<u16> {
            (0..)
                .map_while(|index| Tile::of_tree(Kind::Hashes(level), index, 70_000))
                .map(|tile| tile.width)
                .collect()
        };
        assert_eq!(widths(0), [vec![256; 273], vec![112]].concat());
        assert_eq!(widths(1), [256, 17]);
        assert_eq!(widths(2), [1]);
        assert!(widths(3).is_empty());
        assert_eq!(Tile::of_tree(Kind::Hashes(1), 0, 256), Some(hashes(1, 0, 1)));
        assert_eq!(Tile::of_tree(Kind::Hashes(0), 1, 256), None);
        assert_eq!(Tile::of_tree(Kind::Hashes(255), u64::MAX, u64::MAX), None);
    }

    proptest! {
        #[test]
        fn a_path_reads_back(level in 0_u8..64, entries: bool, index: u64, shift in 0_u32..64, width in 1_u16..=256) {
            let kind = if entries { Kind::Entries } else { Kind::Hashes(level) };
            let tile = Tile { kind, index: index >> shift, width };
            prop_assert_eq!(tile.to_string().parse(), Ok(tile));
        }

        #[test]
        fn what_reads_is_written_as_it_was(path in "tile/([0-9]{1,2}|entries)/(x?[0-9]{1,4}/){0,3}[0-9]{3}(\\.p/[0-9]{1,3})?") {
            if let Ok(tile) = path.parse::<Tile>() {
                prop_assert_eq!(tile.to_string(), path);
            }
        }
    }
}
