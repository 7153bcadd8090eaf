//! Where a reader goes on, kept in `cursors/NAME.toml`.

use toml::{Table, Value};

use crate::meta::is_origin;
use crate::storage::{self, Storage};
use crate::{Error, Result};

const FOLDER: &str = "cursors";
/// Far more than it has.
const FILE_BYTES_MAX: usize = 4096;
/// Longest name.
const NAME_BYTES_MAX: usize = 64;

/// A place between two records.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Position {
    /// Index of a block.
    pub block: u64,
    /// Records of that block that were passed.
    pub record: u32,
}

/// Where a reader goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Cursor {
    /// The next record.
    pub position: Position,
    /// Its sequence number: tells how many were passed over when retention has removed the block.
    pub sequence: u64,
}

fn path(name: &str) -> Result<String> {
    let right = (1..=NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if right { Ok(format!("{FOLDER}/{name}.toml")) } else { Err(Error::CursorName(name.to_owned())) }
}

/// Where the reader `name` goes on in the journal `origin`; nothing if it has not begun.
///
/// # Errors
///
/// The name is none, the cursor is of another journal or not whole, or the disk refuses.
pub fn load(storage: &dyn Storage, name: &str, origin: &str) -> Result<Option<Cursor>> {
    let file = path(name)?;
    let Some(bytes) = storage::read_small(storage, &file, FILE_BYTES_MAX)? else { return Ok(None) };
    let parse = || -> Option<(String, Cursor)> {
        let table: Table = String::from_utf8(bytes).ok()?.parse().ok()?;
        let number = |key| table.get(key).and_then(Value::as_integer);
        let block = u64::try_from(number("block")?).ok()?;
        let record = u32::try_from(number("record")?).ok()?;
        let sequence = u64::try_from(number("sequence")?).ok()?;
        let cursor = Cursor { position: Position { block, record }, sequence };
        Some((table.get("origin")?.as_str()?.to_owned(), cursor))
    };
    match parse() {
        None => Err(Error::Corrupt { file, offset: 0, what: "not a cursor" }),
        Some((other, _)) if other != origin => Err(Error::OtherOrigin { file, origin: other }),
        Some((_, cursor)) => Ok(Some(cursor)),
    }
}

/// Writes down where the reader `name` goes on.
///
/// # Errors
///
/// The name or origin is none, or the disk refuses.
pub fn store(storage: &dyn Storage, name: &str, origin: &str, cursor: Cursor) -> Result<()> {
    let file = path(name)?;
    if !is_origin(origin) {
        return Err(Error::Origin(origin.to_owned()));
    }
    storage.create_dir(FOLDER)?;
    let Cursor { position, sequence } = cursor;
    let text = format!(
        "origin = \"{origin}\"\nblock = {}\nrecord = {}\nsequence = {sequence}\n",
        position.block, position.record
    );
    storage::replace(storage, &file, text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::FaultyDisk;

    const ORIGIN: &str = "headtrail/gw1/0123456789abcdef";

    #[test]
    fn what_is_stored_is_loaded() {
        let disk = FaultyDisk::new(1);
        assert_eq!(load(&*disk, "search", ORIGIN).unwrap(), None);
        let far = Cursor { position: Position { block: 4711, record: 12 }, sequence: 99 };
        for cursor in [Cursor::default(), far] {
            store(&*disk, "search", ORIGIN, cursor).unwrap();
            assert_eq!(load(&*disk, "search", ORIGIN).unwrap(), Some(cursor));
        }
        let text = storage::read_small(&*disk, "cursors/search.toml", 4096).unwrap().unwrap();
        assert_eq!(
            String::from_utf8(text).unwrap(),
            format!("origin = \"{ORIGIN}\"\nblock = 4711\nrecord = 12\nsequence = 99\n")
        );
    }

    #[test]
    fn a_cursor_of_another_journal_or_in_pieces_is_refused() {
        let disk = FaultyDisk::new(1);
        store(&*disk, "a", "headtrail/other/0", Cursor::default()).unwrap();
        assert!(matches!(load(&*disk, "a", ORIGIN), Err(Error::OtherOrigin { .. })));
        for text in ["", "origin = \"x\"", "origin = \"x\"\nblock = -1\nrecord = 0\nsequence = 0", "\u{1}"] {
            storage::replace(&*disk, "cursors/a.toml", text.as_bytes()).unwrap();
            assert!(matches!(load(&*disk, "a", ORIGIN), Err(Error::Corrupt { .. })), "{text}");
        }
    }

    #[test]
    fn no_name_leads_out_of_the_folder() {
        let disk = FaultyDisk::new(1);
        let long = "a".repeat(65);
        for name in ["", "..", "a/b", "../keys/journal", "A", "a.b", "ä", "a\0", &long] {
            assert!(matches!(load(&*disk, name, ORIGIN), Err(Error::CursorName(_))), "{name}");
            let stored = store(&*disk, name, ORIGIN, Cursor::default());
            assert!(matches!(stored, Err(Error::CursorName(_))), "{name}");
        }
        assert!(store(&*disk, &"a".repeat(64), ORIGIN, Cursor::default()).is_ok());
    }
}
