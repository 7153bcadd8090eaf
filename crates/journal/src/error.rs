//! What can go wrong with a journal, each named with its file.

use std::fmt;
use std::io;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a disk refuses, as far as the answer to it differs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DiskTrouble {
    /// No space or no quota (ENOSPC, EDQUOT): removing segments helps.
    Full,
    /// The file system takes no writes (EROFS): often what the kernel does after an error of the device.
    ReadOnly,
    /// The device failed (EIO).
    Device,
    /// Anything else, such as a missing right.
    Other,
}

/// What can go wrong.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The disk refused. The writer can be called again later.
    Disk {
        /// Which file or folder.
        file: String,
        /// Why, as far as it makes a difference.
        trouble: DiskTrouble,
        /// What the system said.
        source: io::Error,
    },
    /// Another process writes this journal.
    Locked {
        /// Which one, if the lock file says it.
        pid: Option<u32>,
    },
    /// Written by a later version of this program.
    NewerVersion {
        /// Where it says so.
        file: String,
        /// The version of its format.
        version: u64,
    },
    /// Bytes that are not as they were written.
    Corrupt {
        /// In which file.
        file: String,
        /// Where in it.
        offset: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// A record that fits into no block. It was not taken.
    RecordTooLarge {
        /// Its size with its length.
        bytes: usize,
    },
    /// The block is full. The record was not taken: seal the block, then push it again.
    BlockFull,
    /// A block was sealed that has no record.
    BlockEmpty,
    /// The disk takes nothing and as much as may wait in memory is waiting. The block was not taken: its records are lost and have to be counted.
    Backlog {
        /// Records of the block that was refused.
        records: u32,
    },
    /// Neither tiles nor blocks tell the hashes of blocks that are signed: the tree cannot go on.
    TreeLost {
        /// Where they should be.
        file: String,
        /// The first block that is missing.
        block: u64,
    },
    /// Opening failed when a part of the last segment had been cut off or removed already. It is told here, because the next opening does not see it.
    Opening {
        /// What was found and done until then.
        opened: Box<crate::writer::Opened>,
        /// Why it failed.
        source: Box<Error>,
    },
    /// A cursor that belongs to another journal.
    OtherOrigin {
        /// The cursor's file.
        file: String,
        /// The origin that it names.
        origin: String,
    },
    /// A name that can be none of a cursor.
    CursorName(String),
    /// A checkpoint that was given is not one of this journal's key.
    Checkpoint {
        /// Which one.
        file: String,
        /// Why.
        why: crate::tree::CheckpointError,
    },
    /// The tiles do not give what is asked of them.
    Tree(crate::tree::TreeError),
    /// There is no such record, or no longer.
    NoRecord,
    /// No checkpoint covers the block yet.
    NotSigned {
        /// Which one.
        block: u64,
    },
    /// The block is not the one that was signed, or the tiles are wrong: verification tells which.
    NotProved {
        /// Which one.
        block: u64,
        /// Why.
        why: crate::tree::LogProofError,
    },
    /// An origin that cannot stand in a checkpoint.
    Origin(String),
}

impl Error {
    /// Takes an error of the system for a file.
    #[must_use]
    pub fn disk(file: &str, source: io::Error) -> Self {
        let trouble = match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => DiskTrouble::Full,
            io::ErrorKind::ReadOnlyFilesystem => DiskTrouble::ReadOnly,
            _ if source.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => DiskTrouble::Device,
            _ => DiskTrouble::Other,
        };
        Self::Disk { file: file.to_owned(), trouble, source }
    }

    /// Why the disk refused; [`DiskTrouble::Other`] if it was not the disk.
    #[must_use]
    pub fn trouble(&self) -> DiskTrouble {
        match self {
            Self::Disk { trouble, .. } => *trouble,
            Self::Opening { source, .. } => source.trouble(),
            _ => DiskTrouble::Other,
        }
    }

    /// There is no such file.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Disk { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk { file, source, .. } => write!(f, "{file}: {source}"),
            Self::Locked { pid: Some(pid) } => write!(f, "the journal is being written by process {pid}"),
            Self::Locked { pid: None } => write!(f, "the journal is being written by another process"),
            Self::NewerVersion { file, version } => {
                write!(f, "{file}: version {version} of the format is newer than this program")
            }
            Self::Corrupt { file, offset, what } => write!(f, "{file}: damaged at byte {offset}: {what}"),
            Self::RecordTooLarge { bytes } => write!(f, "a record of {bytes} bytes fits into no block"),
            Self::BlockFull => write!(f, "the block is full"),
            Self::BlockEmpty => write!(f, "the block has no record"),
            Self::Backlog { records } => {
                write!(f, "the disk takes nothing and memory is full: {records} records are lost")
            }
            Self::TreeLost { file, block } => {
                write!(
                    f,
                    "{file}: neither it nor the segments tell the hash of block {block}; the tree cannot go on"
                )
            }
            Self::Opening { source, .. } => write!(f, "{source}"),
            Self::OtherOrigin { file, origin } => {
                write!(f, "{file}: it belongs to another journal, {origin}")
            }
            Self::CursorName(name) => {
                write!(f, "not the name of a cursor (a-z, 0-9, -; at most 64): {name:?}")
            }
            Self::Checkpoint { file, why } => write!(f, "{file}: {why}"),
            Self::Tree(error) => error.fmt(f),
            Self::NoRecord => f.write_str("there is no such record in the journal"),
            Self::NotSigned { block } => write!(f, "block {block} is not signed yet"),
            Self::NotProved { block, why } => write!(f, "block {block} is not proved: {why}"),
            Self::Origin(origin) => {
                write!(f, "not an origin (a-z, A-Z, 0-9, `.`, `_`, `-`, `/`): {origin:?}")
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Disk { source, .. } => Some(source),
            Self::Opening { source, .. } => Some(source),
            Self::Checkpoint { why, .. } => Some(why),
            Self::Tree(error) => Some(error),
            Self::NotProved { why, .. } => Some(why),
            _ => None,
        }
    }
}
