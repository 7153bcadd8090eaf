//! Documents that a destination refuses for ever: `dead-letter/NAME.ndjson` in the data folder, a line each, with the reason.
//!
//! They are rare or, where a destination is set up wrongly, very many: files are begun anew at [`FILE_BYTES_MAX`], and of
//! [`FILES_MAX`] the oldest is removed, which is counted. A line is durable before the cursor passes its record.
//!
//! `headtrail ship replay` takes a file away (by renaming, under the same lock that appending takes) and sends its documents again.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::batch::Document;
use crate::sink::Refusal;

/// Folder within the data folder.
pub const FOLDER: &str = "dead-letter";
/// Size from which on the next file is begun.
pub const FILE_BYTES_MAX: u64 = 16 << 20;
/// Files of one destination.
pub const FILES_MAX: usize = 16;
/// Longest line that is read.
const LINE_BYTES_MAX: u64 = 64 << 20;

/// A refused document.
#[derive(Serialize, Deserialize, Debug)]
pub struct Letter {
    /// When it was refused, seconds since the Unix epoch.
    pub refused_at: u64,
    /// `event.id`.
    pub id: String,
    /// Type of the record.
    pub kind: String,
    /// Number of the record in the journal.
    pub record: u64,
    /// Why.
    pub reason: Refusal,
    /// The document.
    pub document: Box<RawValue>,
}

/// The files of one destination.
#[derive(Debug)]
pub struct DeadLetters {
    folder: PathBuf,
    name: String,
    files_max: usize,
}

impl DeadLetters {
    /// Those of `name` in a data folder. Nothing is made yet.
    #[must_use]
    pub fn new(data_dir: &Path, name: &str) -> Self {
        Self { folder: data_dir.join(FOLDER), name: name.to_owned(), files_max: FILES_MAX }
    }

    /// The same, where what is appended takes the place of what was there: nothing is removed for it.
    #[must_use]
    pub(crate) fn replaced(data_dir: &Path, name: &str) -> Self {
        Self { files_max: usize::MAX, ..Self::new(data_dir, name) }
    }

    fn active(&self) -> PathBuf {
        self.folder.join(format!("{}.ndjson", self.name))
    }

    /// Held while the file is written or renamed.
    fn lock(&self) -> io::Result<File> {
        if !self.folder.is_dir() {
            DirBuilder::new().mode(0o700).create(&self.folder)?;
        }
        let path = self.folder.join(format!("{}.lock", self.name));
        let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
        self.hand_over(&lock)?;
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive)?;
        Ok(lock)
    }

    /// The daemon has to be able to write what root made here.
    fn hand_over(&self, file: &File) -> io::Result<()> {
        let (folder, its) = (fs::metadata(&self.folder)?, file.metadata()?);
        if (folder.uid(), folder.gid()) != (its.uid(), its.gid()) {
            std::os::unix::fs::fchown(file, Some(folder.uid()), Some(folder.gid()))?;
        }
        Ok(())
    }

    /// Appends, durably. Returns how many older letters had to be removed for it.
    ///
    /// # Errors
    ///
    /// The disk refuses.
    pub fn append(&self, now_s: u64, letters: &[(Document<'_>, &Refusal)]) -> io::Result<u64> {
        let _lock = self.lock()?;
        let path = self.active();
        let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(&path)?;
        self.hand_over(&file)?;
        let before = file.metadata()?.len();
        let mut text = Vec::new();
        if ends_torn(&file, before)? {
            text.push(b'\n');
        }
        for (document, refusal) in letters {
            let body = String::from_utf8_lossy(document.body).into_owned();
            let letter = Letter {
                refused_at: now_s,
                id: document.id.to_owned(),
                kind: document.kind.name().into_owned(),
                record: document.record,
                reason: (*refusal).clone(),
                document: RawValue::from_string(body)?,
            };
            serde_json::to_writer(&mut text, &letter)?;
            text.push(b'\n');
        }
        if let Err(error) = file.write_all(&text).and_then(|()| file.sync_data()) {
            // Half a line would spoil the next.
            let _ = file.set_len(before);
            return Err(error);
        }
        let full = before + text.len() as u64 >= FILE_BYTES_MAX;
        let removed = if full { self.set_aside(&path)? } else { 0 };
        File::open(&self.folder)?.sync_all()?;
        Ok(removed)
    }

    /// Gives the active file a number; of too many files the oldest goes.
    fn set_aside(&self, path: &Path) -> io::Result<u64> {
        let numbers = self.numbers()?;
        let next = numbers.last().map_or(1, |last| last + 1);
        fs::rename(path, self.numbered(next))?;
        let mut removed = 0;
        for old in numbers.iter().take((numbers.len() + 1).saturating_sub(self.files_max - 1)) {
            let old = self.numbered(*old);
            removed += BufReader::new(File::open(&old)?).split(b'\n').count() as u64;
            fs::remove_file(old)?;
        }
        Ok(removed)
    }

    fn numbered(&self, number: u64) -> PathBuf {
        self.folder.join(format!("{}.{number}.ndjson", self.name))
    }

    /// Numbers of the files that were set aside, ascending.
    fn numbers(&self) -> io::Result<Vec<u64>> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut numbers = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            let number: Option<u64> = name.to_str().and_then(|name| {
                name.strip_prefix(&self.name)?.strip_prefix('.')?.strip_suffix(".ndjson")?.parse().ok()
            });
            numbers.extend(number);
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Takes the letters that there are now: sets the active file aside, and names all that are aside, oldest first.
    ///
    /// # Errors
    ///
    /// The disk refuses.
    pub fn take(&self) -> io::Result<Vec<PathBuf>> {
        if self.folder.is_dir() {
            let _lock = self.lock()?;
            let path = self.active();
            if path.exists() {
                let next = self.numbers()?.last().map_or(1, |last| last + 1);
                fs::rename(&path, self.numbered(next))?;
            }
        }
        Ok(self.numbers()?.into_iter().map(|number| self.numbered(number)).collect())
    }

    /// Names of the destinations in a data folder that have letters.
    ///
    /// # Errors
    ///
    /// The disk refuses.
    pub fn names(data_dir: &Path) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(data_dir.join(FOLDER)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let file = entry?.file_name();
            let name = file.to_str().and_then(|file| file.strip_suffix(".ndjson"));
            names.extend(name.map(|name| name.split('.').next().unwrap_or(name).to_owned()));
        }
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }
}

/// Whether the last line has no end: the power failed while it was written. It must not take the next one with it.
fn ends_torn(file: &File, len: u64) -> io::Result<bool> {
    let Some(last) = len.checked_sub(1) else { return Ok(false) };
    let mut byte = [0];
    file.read_exact_at(&mut byte, last)?;
    Ok(byte != *b"\n")
}

/// Reads a file of letters; a line that is none is an error of its own.
///
/// # Errors
///
/// The disk refuses.
pub fn read(path: &Path) -> io::Result<impl Iterator<Item = io::Result<Letter>> + use<>> {
    let mut reader = BufReader::new(File::open(path)?);
    Ok(std::iter::from_fn(move || {
        let mut line = Vec::new();
        let read = io::Read::take(&mut reader, LINE_BYTES_MAX).read_until(b'\n', &mut line);
        match read {
            Ok(0) => None,
            Ok(_) => Some(serde_json::from_slice(&line).map_err(io::Error::from)),
            Err(error) => Some(Err(error)),
        }
    }))
}

#[cfg(test)]
#[path = "dead_letter_tests.rs"]
mod tests;
