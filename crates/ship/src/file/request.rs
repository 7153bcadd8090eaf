//! The open file, and its older ones.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, RenameFlags, flock, renameat_with};

/// A line without an end that is longer than this is not by us.
const TORN_BYTES_MAX: u64 = 256 << 20;
/// Read in one go on the way back to the last line end.
const STEP_BYTES: u64 = 64 << 10;

/// What a disk is asked for that may fail half-way, so that tests can let it.
pub(super) trait Disk: Send {
    fn write(&mut self, file: &File, bytes: &[u8]) -> io::Result<usize>;
    /// Makes bytes and size durable.
    fn sync(&mut self, file: &File) -> io::Result<()>;
    fn truncate(&mut self, file: &File, len: u64) -> io::Result<()>;
    /// Gives a name that must be free.
    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes the names in a folder durable.
    fn sync_dir(&mut self, dir: &Path) -> io::Result<()>;
}

/// That of the system.
pub(super) struct System;

impl Disk for System {
    fn write(&mut self, mut file: &File, bytes: &[u8]) -> io::Result<usize> {
        io::Write::write(&mut file, bytes)
    }

    fn sync(&mut self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    fn truncate(&mut self, file: &File, len: u64) -> io::Result<()> {
        file.set_len(len)
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        Ok(renameat_with(rustix::fs::CWD, from, rustix::fs::CWD, to, RenameFlags::NOREPLACE)?)
    }

    fn sync_dir(&mut self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }
}

/// What was being done, and why it failed.
pub(super) type Failure = (&'static str, io::Error);

fn at(step: &'static str) -> impl FnOnce(io::Error) -> Failure {
    move |error| (step, error)
}

/// The file that is written, locked against others who write it by the same rules.
pub(super) struct Open {
    file: File,
    device: u64,
    inode: u64,
    pub(super) bytes: u64,
}

impl Open {
    /// Opens or makes it, and cuts off a line that a crash has torn: its document was never told as stored.
    pub(super) fn new(disk: &mut dyn Disk, path: &Path) -> Result<Self, Failure> {
        // O_NONBLOCK: a pipe of that name shall be an error, not a wait for its reader.
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::APPEND).bits();
        let file = fs::OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o640)
            .custom_flags(flags.cast_signed())
            .open(path)
            .map_err(at("open"))?;
        let data = file.metadata().map_err(at("open"))?;
        if !data.is_file() {
            return Err(("open", rustix::io::Errno::NXIO.into()));
        }
        flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|error| ("lock", error.into()))?;
        // It may be new, and what is in it may never have been synced by who wrote it.
        disk.sync_dir(dir(path)).map_err(at("sync its folder"))?;
        let mut open = Self { file, device: data.dev(), inode: data.ino(), bytes: data.len() };
        open.repair(disk)?;
        Ok(open)
    }

    fn repair(&mut self, disk: &mut dyn Disk) -> Result<(), Failure> {
        let whole = whole_lines(&self.file, self.bytes).map_err(at("look for the last line"))?;
        if whole < self.bytes {
            disk.truncate(&self.file, whole).map_err(at("cut off a torn line"))?;
            self.bytes = whole;
        }
        Ok(())
    }

    /// Whether the path still leads to this file. Notes its size, which others may have changed.
    pub(super) fn is_current(&mut self, path: &Path) -> bool {
        let same = fs::symlink_metadata(path)
            .is_ok_and(|data| data.dev() == self.device && data.ino() == self.inode);
        match self.file.metadata() {
            Ok(data) if same => {
                self.bytes = data.len();
                true
            }
            _ => false,
        }
    }

    pub(super) fn write(&mut self, disk: &mut dyn Disk, lines: &[u8]) -> Result<(), Failure> {
        let mut rest = lines;
        while !rest.is_empty() {
            match disk.write(&self.file, rest) {
                Ok(0) => return Err(("write", io::ErrorKind::WriteZero.into())),
                Ok(written) => {
                    self.bytes += written as u64;
                    rest = rest.get(written..).unwrap_or_default();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(("write", error)),
            }
        }
        Ok(())
    }

    pub(super) fn sync(&self, disk: &mut dyn Disk) -> Result<(), Failure> {
        disk.sync(&self.file).map_err(at("sync"))
    }

    /// Takes back what was written since it had so many bytes, as far as the disk lets us; where it does not, [`Open::new`] cuts off what is torn.
    pub(super) fn take_back(self, disk: &mut dyn Disk, bytes: u64) {
        // Never longer than it is: others may have cut it, and a hole is no document.
        if self.file.metadata().is_ok_and(|data| data.len() > bytes) {
            let _ = disk.truncate(&self.file, bytes);
        }
    }
}

/// Where the last whole line ends.
fn whole_lines(file: &File, bytes: u64) -> io::Result<u64> {
    let mut chunk = Vec::new();
    let mut end = bytes;
    while end > 0 {
        let start = end.saturating_sub(STEP_BYTES);
        chunk.resize(usize::try_from(end - start).unwrap_or_default(), 0);
        file.read_exact_at(&mut chunk, start)?;
        if let Some(place) = chunk.iter().rposition(|byte| *byte == b'\n') {
            end = start + place as u64 + 1;
            break;
        }
        end = start;
        if bytes - end > TORN_BYTES_MAX {
            return Err(io::Error::other("it does not end like a file of documents; is it another one?"));
        }
    }
    // A document begins so. What a power cut left of one may be zeros.
    let mut first = [b'{'];
    if end < bytes {
        file.read_exact_at(&mut first, end)?;
    }
    match first {
        [b'{' | 0] => Ok(end),
        _ => Err(io::Error::other("its last line is no document; is it another file?")),
    }
}

/// The folder of a path.
fn dir(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The path of an older one.
fn older(path: &Path, number: u64) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

/// Numbers of the older ones, in no order.
fn numbers(path: &Path) -> io::Result<Vec<u64>> {
    let mut prefix: OsString = path.file_name().unwrap_or_default().to_owned();
    prefix.push(".");
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir(path))? {
        let name = entry?.file_name().into_vec();
        let number = name.strip_prefix(prefix.as_bytes()).and_then(|rest| str::from_utf8(rest).ok());
        let number =
            number.filter(|rest| !rest.starts_with(['0', '+'])).and_then(|rest| rest.parse::<u64>().ok());
        numbers.extend(number);
    }
    Ok(numbers)
}

/// Gives the file the next number: the highest is the newest, and no file is renamed twice, so that who follows one never sees another
/// under its name. Removes those that are too old.
pub(super) fn rotate(disk: &mut dyn Disk, path: &Path, keep: u32) -> Result<(), Failure> {
    let mut numbers = numbers(path).map_err(at("list its folder"))?;
    numbers.sort_unstable();
    let next = numbers.last().copied().unwrap_or_default().checked_add(1);
    let next = next.ok_or_else(|| ("rotate", io::Error::other("there are no higher numbers")))?;
    disk.rename(path, &older(path, next)).map_err(at("rotate"))?;
    numbers.push(next);
    let keep = if keep == 0 { numbers.len() } else { usize::try_from(keep).unwrap_or(usize::MAX) };
    let surplus = numbers.len().saturating_sub(keep);
    for number in numbers.into_iter().take(surplus) {
        match fs::remove_file(older(path, number)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(("remove an old one", error));
            }
            _ => {}
        }
    }
    disk.sync_dir(dir(path)).map_err(at("sync its folder"))
}
