//! Names of other users' executables, from a helper.
//!
//! `/proc/PID/exe` of another user's process is read with CAP_SYS_PTRACE, which is as good as being root: whoever has it
//! may read and write every process. So the recorder gives it up ([`crate::sandbox`]), and a helper keeps it that does
//! nothing but take a process number and answer with that one link, and may make no other system call than those for this.
//!
//! The helper is this program, started anew with [`COMMAND`] before privileges are given up; it ends when the other end of
//! its socket is closed. Where it is missing, names of executables are null; name, cgroup and container are not touched.

use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Hidden command of the helper.
pub(crate) const COMMAND: &str = "helper-names";
/// Longest path that is told; PATH_MAX.
const PATH_BYTES_MAX: usize = 4096;
/// How long an answer may take. It is a look into the kernel's memory.
const ANSWER_MAX: Duration = Duration::from_millis(500);

/// The recorder's end. Without a helper (the default) names of the own user's processes are told, and of all to root.
#[derive(Default)]
pub(crate) struct Names {
    helper: Helper,
}

#[derive(Default)]
enum Helper {
    #[default]
    None,
    At(UnixStream),
    Lost,
}

impl Names {
    /// Starts the helper. Call it before privileges are given up, and before threads are started.
    pub(crate) fn start() -> io::Result<Self> {
        let (ours, its) = UnixStream::pair()?;
        ours.set_read_timeout(Some(ANSWER_MAX))?;
        ours.set_write_timeout(Some(ANSWER_MAX))?;
        Command::new("/proc/self/exe")
            .arg(COMMAND)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(OwnedFd::from(its)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // A terminal's Ctrl-C is for the recorder; the helper ends with it.
            .process_group(0)
            .spawn()?;
        Ok(Self { helper: Helper::At(ours) })
    }

    /// The executable of a process; None where it is gone, or cannot be told.
    pub(crate) fn executable(&mut self, pid: u32) -> Option<String> {
        match &mut self.helper {
            Helper::None => {
                let path = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
                Some(path.to_string_lossy().into_owned())
            }
            Helper::At(helper) => ask(helper, pid).unwrap_or_else(|_| {
                // A late answer could no longer be told from the next.
                self.helper = Helper::Lost;
                None
            }),
            Helper::Lost => None,
        }
    }
}

fn ask(helper: &mut UnixStream, pid: u32) -> io::Result<Option<String>> {
    helper.write_all(&pid.to_le_bytes())?;
    let mut length = [0; 2];
    helper.read_exact(&mut length)?;
    let length = usize::from(u16::from_le_bytes(length));
    if length > PATH_BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut path = vec![0; length];
    helper.read_exact(&mut path)?;
    Ok((length > 0).then(|| String::from_utf8_lossy(&path).into_owned()))
}

/// The helper: answers until nobody asks any more.
pub(crate) fn serve() -> io::Result<()> {
    let mut socket = UnixStream::from(rustix::io::fcntl_dupfd_cloexec(io::stdin(), 3)?);
    crate::sandbox::restrict_names_helper().map_err(|failure| io::Error::other(failure.message))?;
    let mut pid = [0; 4];
    loop {
        match socket.read_exact(&mut pid) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error),
        }
        let link = fs::read_link(format!("/proc/{}/exe", u32::from_le_bytes(pid)));
        let path = link.as_ref().map_or(&[][..], |path| path.as_os_str().as_bytes());
        let path = &path[..path.len().min(PATH_BYTES_MAX)];
        let mut answer = (path.len() as u16).to_le_bytes().to_vec();
        answer.extend_from_slice(path);
        socket.write_all(&answer)?;
    }
}
