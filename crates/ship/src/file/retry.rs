//! What an error of the disk means. No I/O.
//!
//! All of them are to be tried again: disks are emptied, rights are given, folders are made. None is the fault of a document.

use std::io;
use std::path::Path;

use crate::sink::{Trouble, bounded};

/// Why the file does not go on.
pub(super) fn trouble(path: &Path, step: &str, error: &io::Error) -> Trouble {
    use rustix::io::Errno;
    let known = match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::LOOP) => Some("is a symbolic link, which is not followed"),
        Some(Errno::NXIO) => Some("is no regular file"),
        Some(Errno::WOULDBLOCK) => Some("is being written by another process or destination"),
        _ => None,
    };
    let path = path.display();
    let what = match known {
        Some(known) => format!("{path} {known}"),
        None => format!("{path}: {step}: {error}"),
    };
    Trouble { kind: "disk", what: bounded(&what), wait: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_of_the_disk_is_named_and_tried_again() {
        for (errno, text) in [
            (rustix::io::Errno::NOSPC, "No space left"),
            (rustix::io::Errno::ROFS, "Read-only"),
            (rustix::io::Errno::ACCESS, "Permission denied"),
            (rustix::io::Errno::NOENT, "No such file"),
            (rustix::io::Errno::LOOP, "symbolic link"),
            (rustix::io::Errno::WOULDBLOCK, "another process"),
        ] {
            let trouble = trouble(Path::new("/d/f"), "write", &io::Error::from(errno));
            assert_eq!(trouble.kind, "disk");
            assert!(trouble.what.starts_with("/d/f") && trouble.what.contains(text), "{}", trouble.what);
        }
    }
}
