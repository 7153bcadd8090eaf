//! Gives the data directory to the user that the daemon becomes.
//!
//! Root does this in a folder that, from the second start on, belongs to that user, who may have prepared it. So nothing is
//! followed: files are opened without following links and changed through the descriptor, and only what is root's, a
//! regular file with one name or a folder, changes hands. A second name of `/etc/shadow` stays root's.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, Dir, FileType, Mode, OFlags, fchmod, fchown, fstat, openat};
use rustix::io::Errno;

use super::user::Account;

/// Depth of folders that is gone into; the journal's tiles lie deepest.
const DEPTH_MAX: u32 = 12;
/// Entries that are looked at.
const ENTRIES_MAX: u32 = 1_000_000;

/// Hands over what is root's. What cannot be is noted.
pub(super) fn data_dir(path: &Path, to: &Account, notes: &mut Vec<String>) {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut left = ENTRIES_MAX;
    let done = fs::create_dir_all(path)
        .map_err(|e| e.to_string())
        .and_then(|()| openat(CWD, path, flags, Mode::empty()).map_err(|e| e.to_string()))
        .and_then(|folder| {
            let stat = fstat(&folder).map_err(|e| e.to_string())?;
            if stat.st_uid == 0 {
                fchmod(&folder, Mode::RWXU | Mode::RGRP | Mode::XGRP).map_err(|e| e.to_string())?;
            }
            walk(folder, to, DEPTH_MAX, &mut left).map_err(|e| e.to_string())
        });
    if let Err(why) = done {
        notes.push(format!("{} does not wholly belong to its user: {why}", path.display()));
    }
}

/// A folder, after what is in it: who cannot enter yet cannot change what is being handed over.
fn walk(folder: OwnedFd, to: &Account, depth: u32, left: &mut u32) -> Result<(), Errno> {
    for entry in Dir::read_from(&folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        *left = left.checked_sub(1).ok_or(Errno::OVERFLOW)?;
        // Not what devices, pipes and sockets do when they are opened.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        if !matches!(entry.file_type(), FileType::RegularFile | FileType::Directory | FileType::Unknown) {
            continue;
        }
        let file = match openat(&folder, name, flags, Mode::empty()) {
            Ok(file) => file,
            // Gone, a link, or a socket.
            Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => continue,
            Err(error) => return Err(error),
        };
        let stat = fstat(&file)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory if depth > 0 => walk(file, to, depth - 1, left)?,
            FileType::RegularFile if stat.st_uid == 0 && stat.st_nlink == 1 => {
                fchown(&file, Some(to.uid), Some(to.gid))?;
            }
            _ => {}
        }
    }
    if fstat(&folder)?.st_uid == 0 {
        fchown(&folder, Some(to.uid), Some(to.gid))?;
    }
    Ok(())
}
