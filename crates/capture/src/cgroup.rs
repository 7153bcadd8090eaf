//! Where the root of the cgroup v2 hierarchy is. It is found, not assumed: on hybrid hosts it is mounted at another place,
//! on pure v1 hosts not at all, and under a private cgroup namespace what looks like the root is not.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;

/// Inode number of the initial cgroup namespace (`PROC_CGROUP_INIT_INO`, include/linux/proc_ns.h).
const INITIAL_CGROUP_NAMESPACE: &str = "cgroup:[4026531835]";

/// Why the root cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// No cgroup v2 mount.
    #[error("no cgroup v2 hierarchy is mounted; mount one: mount -t cgroup2 none /sys/fs/cgroup/unified")]
    NotMounted,
    /// The mount shows only a part of the hierarchy.
    #[error(
        "{path} is not the root of the cgroup v2 hierarchy: this process is in a cgroup namespace of its own; \
         start the container with --cgroupns=host"
    )]
    NotRoot {
        /// Where it is mounted.
        path: String,
    },
    /// Something could not be read.
    #[error("{path}: {source}")]
    Io {
        /// What.
        path: String,
        /// Why.
        source: io::Error,
    },
}

/// The mount points of cgroup2 in the text of /proc/self/mountinfo whose root is `/`, and all others.
fn mounts(mountinfo: &str) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let mut whole = Vec::new();
    let mut partial = Vec::new();
    for line in mountinfo.lines() {
        // proc_pid_mountinfo(5): id parent major:minor root mount-point options … - type source super-options
        let Some((front, back)) = line.split_once(" - ") else { continue };
        if back.split(' ').next() != Some("cgroup2") {
            continue;
        }
        let mut fields = front.split(' ').skip(3);
        let (Some(root), Some(point)) = (fields.next(), fields.next()) else { continue };
        // Blanks and the like stand as octal escapes.
        let point = PathBuf::from(point.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\"));
        if root == "/" { whole.push(point) } else { partial.push(point) }
    }
    (whole, partial)
}

/// Finds and opens the root.
pub fn open_root() -> Result<(PathBuf, File), CgroupError> {
    let read = |path: &str| {
        fs::read_to_string(path).map_err(|source| CgroupError::Io { path: path.to_owned(), source })
    };
    let (whole, partial) = mounts(&read("/proc/self/mountinfo")?);
    let Some(path) = whole.first() else {
        return Err(match partial.first() {
            Some(path) => CgroupError::NotRoot { path: path.display().to_string() },
            None => CgroupError::NotMounted,
        });
    };
    let namespace = fs::read_link("/proc/self/ns/cgroup")
        .map_err(|source| CgroupError::Io { path: "/proc/self/ns/cgroup".to_owned(), source })?;
    if namespace.as_os_str() != INITIAL_CGROUP_NAMESPACE {
        return Err(CgroupError::NotRoot { path: path.display().to_string() });
    }
    let file =
        File::open(path).map_err(|source| CgroupError::Io { path: path.display().to_string(), source })?;
    Ok((path.clone(), file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hybrid_hosts_have_it_at_another_place() {
        let text = "30 23 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs ro\n\
                    31 30 0:27 / /sys/fs/cgroup/unified rw,nosuid shared:10 - cgroup2 cgroup2 rw\n\
                    33 30 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
        assert_eq!(mounts(text), (vec![PathBuf::from("/sys/fs/cgroup/unified")], vec![]));
    }

    #[test]
    fn a_bind_mount_of_a_part_is_not_the_root() {
        let text = "31 30 0:27 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n";
        assert_eq!(mounts(text), (vec![], vec![PathBuf::from("/sys/fs/cgroup")]));
    }
}
