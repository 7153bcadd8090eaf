//! Real files below a folder.

use std::fs::{self, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use super::{File, Lock, Storage};
use crate::{Error, Result};

/// Files and folders are for their owner only: records tell who talks to whom.
const FILE_MODE: u32 = 0o600;
const DIR_MODE: u32 = 0o700;

/// Real files below a folder.
#[derive(Clone, Debug)]
pub struct Disk {
    root: PathBuf,
}

impl Disk {
    /// Files below `root`, which has to be there.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    fn open_as(&self, path: &str, options: &OpenOptions) -> Result<fs::File> {
        let full = self.path(path);
        options.open(&full).map_err(|e| Error::disk(&full.to_string_lossy(), e))
    }

    fn done(&self, path: &str, result: io::Result<()>) -> Result<()> {
        result.map_err(|e| Error::disk(&self.path(path).to_string_lossy(), e))
    }

    fn file(&self, path: &str, file: fs::File) -> Box<dyn File> {
        Box::new(DiskFile { file, name: self.path(path).to_string_lossy().into_owned() })
    }
}

impl Storage for Disk {
    fn create_dir(&self, path: &str) -> Result<()> {
        let mut parent = String::new();
        for name in path.split('/') {
            let dir = if parent.is_empty() { name.to_owned() } else { format!("{parent}/{name}") };
            match fs::DirBuilder::new().mode(DIR_MODE).create(self.path(&dir)) {
                Ok(()) => self.sync_dir(&parent)?,
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                failed => self.done(&dir, failed)?,
            }
            parent = dir;
        }
        Ok(())
    }

    fn create(&self, path: &str) -> Result<Box<dyn File>> {
        let file =
            self.open_as(path, OpenOptions::new().read(true).write(true).create_new(true).mode(FILE_MODE))?;
        Ok(self.file(path, file))
    }

    fn open(&self, path: &str, write: bool) -> Result<Box<dyn File>> {
        let file = self.open_as(path, OpenOptions::new().read(true).write(write))?;
        Ok(self.file(path, file))
    }

    fn list(&self, dir: &str) -> Result<Vec<String>> {
        let failed = |e| Error::disk(&self.path(dir).to_string_lossy(), e);
        let entries = match fs::read_dir(self.path(dir)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(failed)?,
        };
        let mut names = Vec::new();
        for entry in entries {
            // A name that is not UTF-8 is none of ours.
            names.extend(entry.map_err(failed)?.file_name().into_string());
        }
        Ok(names)
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.done(from, fs::rename(self.path(from), self.path(to)))
    }

    fn remove(&self, path: &str) -> Result<()> {
        self.done(path, fs::remove_file(self.path(path)))
    }

    fn remove_dir(&self, path: &str) -> Result<()> {
        match fs::remove_dir_all(self.path(path)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            done => self.done(path, done),
        }
    }

    fn sync_dir(&self, dir: &str) -> Result<()> {
        self.done(dir, fs::File::open(self.path(dir)).and_then(|dir| dir.sync_all()))
    }

    fn lock(&self, path: &str) -> Result<Box<dyn Lock>> {
        let file = self.open_as(
            path,
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(FILE_MODE),
        )?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut text = [0; 16];
                let read = file.read_at(&mut text, 0).unwrap_or(0);
                let pid = std::str::from_utf8(&text[..read]).ok().and_then(|text| text.trim().parse().ok());
                return Err(Error::Locked { pid });
            }
            Err(e) => return Err(Error::disk(&self.path(path).to_string_lossy(), e.into())),
        }
        // For people only: on a full disk it stays empty, and the lock holds all the same.
        let _ = file
            .set_len(0)
            .and_then(|()| file.write_all_at(format!("{}\n", std::process::id()).as_bytes(), 0));
        Ok(Box::new(DiskLock { _file: file }))
    }
}

/// The lock goes with the open file, however the process ends.
struct DiskLock {
    _file: fs::File,
}

impl Lock for DiskLock {}

struct DiskFile {
    file: fs::File,
    name: String,
}

impl DiskFile {
    fn done<T>(&self, result: io::Result<T>) -> Result<T> {
        result.map_err(|e| Error::disk(&self.name, e))
    }
}

impl File for DiskFile {
    fn size(&self) -> Result<u64> {
        self.done(self.file.metadata().map(|metadata| metadata.len()))
    }

    fn read_at(&self, offset: u64, to: &mut [u8]) -> Result<usize> {
        let mut done = 0;
        while done < to.len() {
            match self.file.read_at(&mut to[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                failed => return self.done(failed),
            }
        }
        Ok(done)
    }

    fn write_some_at(&mut self, offset: u64, head: &[u8], body: &[u8]) -> Result<usize> {
        let written = rustix::io::retry_on_intr(|| {
            rustix::io::pwritev(&self.file, &[IoSlice::new(head), IoSlice::new(body)], offset)
        });
        match written {
            Ok(0) => self.done(Err(io::ErrorKind::WriteZero.into())),
            written => self.done(written.map_err(Into::into)),
        }
    }

    fn truncate(&mut self, len: u64) -> Result<()> {
        self.done(self.file.set_len(len))
    }

    fn sync(&mut self) -> Result<()> {
        self.done(self.file.sync_data())
    }
}
