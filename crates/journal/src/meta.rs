//! `journal.toml`: which version and which journal this is.

use headtrail_record::time::Civil;
use toml::{Table, Value};

use crate::format::VERSION;
use crate::storage::{self, Storage};
use crate::{Error, Result};

/// The folder of the journal.
pub(crate) const FOLDER: &str = "journal";
/// Held by the one who writes.
pub(crate) const LOCK: &str = "journal/lock";
/// Its version and origin.
pub(crate) const FILE: &str = "journal/journal.toml";
/// Far more than it has.
const FILE_BYTES_MAX: usize = 4096;
/// An origin is a key's name in checkpoints.
const ORIGIN_BYTES_MAX: usize = 255;

/// An origin stands in a line of a checkpoint, in a key (which `+` takes apart) and in TOML.
pub(crate) fn is_origin(text: &str) -> bool {
    (1..=ORIGIN_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-/".contains(&b))
}

/// The origin of the journal that is there, if one is.
///
/// # Errors
///
/// It is of a later version, or not whole, or the disk refuses.
pub(crate) fn load(storage: &dyn Storage) -> Result<Option<String>> {
    let Some(bytes) = storage::read_small(storage, FILE, FILE_BYTES_MAX)? else { return Ok(None) };
    let corrupt = |what| Error::Corrupt { file: FILE.to_owned(), offset: 0, what };
    let table: Table = String::from_utf8(bytes)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| corrupt("not TOML"))?;
    match table.get("version").and_then(Value::as_integer).and_then(|version| u64::try_from(version).ok()) {
        Some(version) if version > VERSION.into() => {
            return Err(Error::NewerVersion { file: FILE.to_owned(), version });
        }
        Some(version) if version == u64::from(VERSION) => {}
        _ => return Err(corrupt("no version")),
    }
    match table.get("origin").and_then(Value::as_str) {
        Some(origin) if is_origin(origin) => Ok(Some(origin.to_owned())),
        _ => Err(corrupt("no origin")),
    }
}

/// Writes down that a journal begins.
pub(crate) fn store(storage: &dyn Storage, origin: &str, created_ns: u64) -> Result<()> {
    let time = Civil::from_unix_ns(created_ns);
    let text = format!(
        "version = {VERSION}\norigin = \"{origin}\"\ncreated = \"{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z\"\n",
        time.year, time.month, time.day, time.hour, time.minute, time.second
    );
    storage::replace(storage, FILE, text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::FaultyDisk;

    fn with(text: &str) -> Result<Option<String>> {
        let disk = FaultyDisk::new(1);
        storage::replace(&*disk, FILE, text.as_bytes()).unwrap();
        load(&*disk)
    }

    #[test]
    fn what_is_stored_is_loaded() {
        let disk = FaultyDisk::new(1);
        assert_eq!(load(&*disk).unwrap(), None);
        store(&*disk, "headtrail/gw1/0123456789abcdef", 1_795_545_411_000_000_000).unwrap();
        assert_eq!(load(&*disk).unwrap().unwrap(), "headtrail/gw1/0123456789abcdef");
        let text = storage::read_small(&*disk, FILE, 4096).unwrap().unwrap();
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "version = 1\norigin = \"headtrail/gw1/0123456789abcdef\"\ncreated = \"2026-11-24T18:36:51Z\"\n"
        );
    }

    #[test]
    fn a_newer_version_is_told_and_anything_else_is_damage() {
        assert!(matches!(with("version = 2\nlog = 7\n"), Err(Error::NewerVersion { version: 2, .. })));
        for text in
            ["", "version = 1\n", "version = 0\norigin = \"a\"", "version = 1\norigin = \"a\\nb\"", "\0"]
        {
            assert!(matches!(with(text), Err(Error::Corrupt { .. })), "{text:?}");
        }
        assert_eq!(with("version = 1\norigin = \"a/b\"\nlater = 1\n").unwrap().unwrap(), "a/b");
    }
}
