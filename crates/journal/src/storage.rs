//! All that the journal asks of a disk, so that tests can put one there that fails.
//!
//! Paths are relative to the data folder and use `/`. An error names the file. What was written is safe only after [`File::sync`], a
//! name only after [`Storage::sync_dir`] of its folder: everything above rests on no more than that.

use crate::{Error, Result};

mod disk;

pub use disk::Disk;

/// A folder of files.
pub trait Storage: Send + Sync {
    /// Makes a folder and those above it, and makes their names durable. That it is there already is fine.
    fn create_dir(&self, path: &str) -> Result<()>;
    /// Makes a new file. One of that name must not be there.
    fn create(&self, path: &str) -> Result<Box<dyn File>>;
    /// Opens a file to read; with `write` also to write.
    fn open(&self, path: &str, write: bool) -> Result<Box<dyn File>>;
    /// Names of the files in a folder, in no order. A folder that is not there has none.
    fn list(&self, dir: &str) -> Result<Vec<String>>;
    /// Gives a file another name in the same folder, in one step, over whatever had that name.
    fn rename(&self, from: &str, to: &str) -> Result<()>;
    /// Removes a file. Who has it open can go on reading it.
    fn remove(&self, path: &str) -> Result<()>;
    /// Removes a folder with the files in it; that there is none is fine. Not durable, and not in one step.
    fn remove_dir(&self, path: &str) -> Result<()>;
    /// Makes names in a folder durable: made, renamed and removed ones.
    fn sync_dir(&self, dir: &str) -> Result<()>;
    /// Locks a file, made if it is not there, against all other processes, until the answer is dropped. The file then tells who it is.
    fn lock(&self, path: &str) -> Result<Box<dyn Lock>>;
}

/// Held as long as it lives.
pub trait Lock: Send {}

/// An open file. There is no place in it: offsets are arguments.
pub trait File: Send {
    /// Bytes in it.
    fn size(&self) -> Result<u64>;
    /// Reads what is there from `offset` on; fewer bytes than asked for only at its end.
    fn read_at(&self, offset: u64, to: &mut [u8]) -> Result<usize>;
    /// Writes some of `head` followed by `body`, and says how much. Two slices, so that a block is written with its header, but not
    /// copied behind it.
    fn write_some_at(&mut self, offset: u64, head: &[u8], body: &[u8]) -> Result<usize>;
    /// Cuts it off.
    fn truncate(&mut self, len: u64) -> Result<()>;
    /// Makes its bytes durable. After an error nothing is known of what was written since the last time: a second try may say "done" and
    /// lie, because the kernel has marked the pages as clean.
    fn sync(&mut self) -> Result<()>;

    /// Writes all of `head` followed by `body`. After an error any part of it may be written.
    fn write_at(&mut self, offset: u64, head: &[u8], body: &[u8]) -> Result<()> {
        let mut done = 0;
        while done < head.len() + body.len() {
            let head_rest = head.get(done..).unwrap_or_default();
            let body_rest = body.get(done.saturating_sub(head.len())..).unwrap_or_default();
            done += self.write_some_at(offset + done as u64, head_rest, body_rest)?;
        }
        Ok(())
    }
}

/// The folder of a path.
#[must_use]
pub fn dir_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(dir, _)| dir)
}

/// Ending of files that are being written.
const NEW: &str = ".new";

/// Puts a whole file there, so that at any moment the old one or the new one is found: temporary name, sync, rename, sync of the folder.
///
/// # Errors
///
/// The disk refuses. The old file is then still there; of a failure of the last step it is not known which one is.
pub fn replace(storage: &dyn Storage, path: &str, bytes: &[u8]) -> Result<()> {
    replace_by(storage, path, |file| file.write_at(0, bytes, &[]))
}

/// As [`replace`], with bytes from `write`.
///
/// # Errors
///
/// As there.
pub fn replace_by(
    storage: &dyn Storage,
    path: &str,
    write: impl FnOnce(&mut dyn File) -> Result<()>,
) -> Result<()> {
    put(storage, path, write)?;
    storage.sync_dir(dir_of(path))
}

/// As [`replace_by`], but the folder is left to the caller to sync: many files may be in one.
///
/// # Errors
///
/// As there.
pub fn put(storage: &dyn Storage, path: &str, write: impl FnOnce(&mut dyn File) -> Result<()>) -> Result<()> {
    let new = format!("{path}{NEW}");
    let mut file = match storage.create(&new) {
        // A crash left it.
        Err(Error::Disk { source, .. }) if source.kind() == std::io::ErrorKind::AlreadyExists => {
            storage.remove(&new)?;
            storage.create(&new)?
        }
        file => file?,
    };
    write(&mut *file)?;
    file.sync()?;
    storage.rename(&new, path)
}

/// Removes what a crash has left of [`put`] in a folder: temporary names of files whose own name is one of ours. What else lies there is not
/// touched. A failure is passed over, since they are in nobody's way but take room.
pub(crate) fn remove_unfinished(storage: &dyn Storage, dir: &str, is_ours: impl Fn(&str) -> bool) {
    for name in storage.list(dir).unwrap_or_default() {
        if name.strip_suffix(NEW).is_some_and(&is_ours) {
            let _ = storage.remove(&format!("{dir}/{name}"));
        }
    }
}

/// Reads a whole file of at most `bytes_max`; nothing if it is not there.
///
/// # Errors
///
/// The disk refuses, or it is longer.
pub fn read_small(storage: &dyn Storage, path: &str, bytes_max: usize) -> Result<Option<Vec<u8>>> {
    let file = match storage.open(path, false) {
        Err(error) if error.is_not_found() => return Ok(None),
        file => file?,
    };
    let too_long =
        || Error::Corrupt { file: path.to_owned(), offset: bytes_max as u64, what: "longer than it may be" };
    let len = usize::try_from(file.size()?).ok().filter(|len| *len <= bytes_max).ok_or_else(too_long)?;
    let mut bytes = vec![0; len];
    let read = file.read_at(0, &mut bytes)?;
    bytes.truncate(read);
    Ok(Some(bytes))
}
