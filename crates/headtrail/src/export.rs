//! Puts checkpoints elsewhere: only one that lies where the owner of this host cannot change it proves anything.
//!
//! Place in the daemon: behind the [`crate::keeper`], which hands over each new checkpoint and never waits, but for the last. A file is
//! appended to by the keeper itself, which has it open since before the sandbox. Running a program and making a connection is what
//! the daemon may not do ([`crate::sandbox`]): for that there is a [`helper`], this program started anew with [`COMMAND`] before
//! privileges are given up. It becomes the same user, and ends when its socket is closed.
//!
//! On the socket, numbers little-endian: to the helper frames of a u32 length and that many bytes, of which the first is
//! [`Settings`] as JSON and the others are signed notes; back an [`Answer`] when it has begun, and one after each try. Settings
//! are not arguments, since everybody on the host can read those.

pub(crate) mod helper;
mod send;

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use headtrail_journal::tree::NOTE_BYTES_MAX;
use headtrail_record::printable::Printable;
use serde::{Deserialize, Serialize};

use crate::config::Export;
use crate::exit::Failure;

/// Hidden command of the helper.
pub(crate) const COMMAND: &str = "helper-export";
/// How long the end of the daemon may wait for the last checkpoint to arrive.
const END_MAX: Duration = Duration::from_secs(10);
/// How long the helper may take to begin.
const BEGIN_MAX: Duration = Duration::from_secs(10);
/// How long it may take to take a note over, which it does whatever else it does.
const TAKE_MAX: Duration = Duration::from_millis(500);
/// Longest text of what is wrong.
const TROUBLE_BYTES_MAX: usize = 512;
/// Programs get this and nothing else from the environment.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What the helper is told first.
#[derive(Serialize, Deserialize)]
struct Settings {
    /// As for [`crate::sandbox::Plan`].
    user: Option<String>,
    way: Way,
}

/// Where to.
#[derive(Clone, Serialize, Deserialize)]
enum Way {
    Command(Vec<String>),
    Url(String),
}

/// What the helper says.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
struct Answer {
    /// Number of the newest note that has arrived; the first one has 1.
    newest: u64,
    /// Notes that have arrived. Those that a newer one replaced before have not.
    exported: u64,
    /// Tries that failed.
    failures: u64,
    /// Why the last one did.
    trouble: Option<String>,
}

impl Answer {
    fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(32 + TROUBLE_BYTES_MAX);
        for number in [self.newest, self.exported, self.failures] {
            bytes.extend(number.to_le_bytes());
        }
        let trouble = self.trouble.as_deref().map_or("", shortened);
        bytes.extend((trouble.len() as u16).to_le_bytes());
        bytes.extend(trouble.as_bytes());
        to.write_all(&bytes)
    }

    fn read(from: &mut impl Read) -> io::Result<Self> {
        let mut number = || {
            let mut bytes = [0; 8];
            from.read_exact(&mut bytes).map(|()| u64::from_le_bytes(bytes))
        };
        let (newest, exported, failures) = (number()?, number()?, number()?);
        let mut length = [0; 2];
        from.read_exact(&mut length)?;
        let length = usize::from(u16::from_le_bytes(length));
        if length > TROUBLE_BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut trouble = vec![0; length];
        from.read_exact(&mut trouble)?;
        let trouble = Some(Printable(&trouble).to_string()).filter(|trouble| !trouble.is_empty());
        Ok(Self { newest, exported, failures, trouble })
    }
}

/// As much of a text as is told.
fn shortened(text: &str) -> &str {
    &text[..text.floor_char_boundary(TROUBLE_BYTES_MAX)]
}

fn write_frame(to: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    to.write_all(&length.to_le_bytes())?;
    to.write_all(bytes)
}

/// None where the other end is closed.
fn read_frame(from: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let length = u32::from_le_bytes(length) as usize;
    if length > NOTE_BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = vec![0; length];
    from.read_exact(&mut bytes)?;
    Ok(Some(bytes))
}

/// How it goes.
#[derive(Clone, Default)]
pub(crate) struct Progress {
    /// Checkpoints that have arrived.
    pub(crate) exported: u64,
    /// Tries that failed.
    pub(crate) failures: u64,
    /// Why the last one did; None while all is well.
    pub(crate) trouble: Option<String>,
    /// Number of the newest that has arrived.
    newest: u64,
    /// There is no helper any more.
    alone: bool,
}

/// Where the newest progress is. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Shared(Arc<(Mutex<Progress>, Condvar)>);

impl Shared {
    pub(crate) fn get(&self) -> Progress {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts up what has changed, and tells a failure once.
    fn change(&self, change: impl FnOnce(&mut Progress)) {
        let (progress, changed) = &*self.0;
        let mut progress = progress.lock().unwrap_or_else(PoisonError::into_inner);
        let before = progress.trouble.clone();
        change(&mut progress);
        match &progress.trouble {
            trouble if *trouble == before => {}
            Some(why) => eprintln!("headtrail: checkpoints are not exported: {why}"),
            None => eprintln!("headtrail: checkpoints are exported again"),
        }
        changed.notify_all();
    }

    /// Waits until it is so far, or the time has passed.
    fn wait(&self, time_max: Duration, done: impl Fn(&Progress) -> bool) -> Progress {
        let (progress, changed) = &*self.0;
        let progress = progress.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = changed.wait_timeout_while(progress, time_max, |progress| !done(progress));
        waited.unwrap_or_else(PoisonError::into_inner).0.clone()
    }
}

/// The keeper's end.
pub(crate) struct Exporter {
    to: To,
    shared: Shared,
    /// Notes so far.
    notes: u64,
}

enum To {
    File(File),
    Helper(UnixStream),
    Lost,
}

impl Exporter {
    /// Opens the file, or starts the helper. Call it before privileges are given up, and before threads are started.
    pub(crate) fn open(export: &Export, user: Option<&str>) -> Result<Self, Failure> {
        let to = match export {
            Export::File(path) => {
                let opened = OpenOptions::new().append(true).create(true).open(path);
                To::File(opened.map_err(|e| Failure::refused(format_args!("{}: {e}", path.display())))?)
            }
            Export::Command(command) => To::Helper(start(Way::Command(command.clone()), user)?),
            Export::Url(url) => To::Helper(start(Way::Url(url.clone()), user)?),
        };
        Ok(Self { to, shared: Shared::default(), notes: 0 })
    }

    /// Where it is told how it goes.
    pub(crate) fn shared(&self) -> Shared {
        self.shared.clone()
    }

    /// Listens to the helper, on a thread of its own.
    pub(crate) fn listen(&mut self) {
        let To::Helper(socket) = &self.to else { return };
        let shared = self.shared.clone();
        let listens = socket.try_clone().and_then(|socket| {
            let thread = std::thread::Builder::new().name("headtrail-export".to_owned());
            thread.spawn(move || listen(socket, &shared))
        });
        if let Err(error) = listens {
            self.lost(&error);
        }
    }

    /// Exports a note, or has it exported.
    pub(crate) fn export(&mut self, note: &[u8]) {
        self.notes += 1;
        match &mut self.to {
            To::File(file) => {
                let written = append(file, note);
                self.shared.change(|progress| {
                    progress.exported += u64::from(written.is_ok());
                    progress.failures += u64::from(written.is_err());
                    progress.trouble = written.err().map(|error| error.to_string());
                });
            }
            To::Helper(socket) => {
                if let Err(error) = write_frame(socket, note) {
                    self.lost(&error);
                }
            }
            To::Lost => {}
        }
    }

    /// Waits until the last note has arrived, if that is soon.
    pub(crate) fn finish(self) {
        if matches!(self.to, To::File(_)) {
            return;
        }
        let progress = self.shared.wait(END_MAX, |progress| progress.alone || progress.newest >= self.notes);
        if progress.newest < self.notes {
            let why = progress.trouble.as_deref().unwrap_or("it takes too long");
            eprintln!("headtrail: the last checkpoint was not exported: {why}");
        }
    }

    fn lost(&mut self, error: &io::Error) {
        // What it was told in part it cannot understand any more.
        self.to = To::Lost;
        self.shared.change(|progress| alone(progress, error));
    }
}

/// A note, behind which stands an empty line.
fn append(file: &mut File, note: &[u8]) -> io::Result<()> {
    file.write_all(note)?;
    file.write_all(b"\n")?;
    file.sync_data()
}

fn alone(progress: &mut Progress, error: &io::Error) {
    if !progress.alone {
        progress.alone = true;
        progress.trouble = Some(format!("the helper is gone ({error}), which takes a restart"));
    }
}

fn listen(mut socket: UnixStream, shared: &Shared) {
    loop {
        match Answer::read(&mut socket) {
            Ok(answer) => shared.change(|progress| {
                (progress.newest, progress.exported) = (answer.newest, answer.exported);
                (progress.failures, progress.trouble) = (answer.failures, answer.trouble);
            }),
            Err(error) => return shared.change(|progress| alone(progress, &error)),
        }
    }
}

/// Starts the helper, and waits until it has begun.
fn start(way: Way, user: Option<&str>) -> Result<UnixStream, Failure> {
    let failed = |why: &dyn std::fmt::Display| Failure::refused(format_args!("helper for exports: {why}"));
    let answer = spawn().and_then(|mut socket| {
        let settings = Settings { user: user.map(str::to_owned), way };
        write_frame(&mut socket, &serde_json::to_vec(&settings)?)?;
        socket.set_read_timeout(Some(BEGIN_MAX))?;
        let answer = Answer::read(&mut socket)?;
        socket.set_read_timeout(None)?;
        Ok((socket, answer))
    });
    match answer {
        Ok((socket, Answer { trouble: None, .. })) => Ok(socket),
        Ok((_, Answer { trouble: Some(why), .. })) => Err(failed(&why)),
        Err(error) => Err(failed(&error)),
    }
}

fn spawn() -> io::Result<UnixStream> {
    let (ours, its) = UnixStream::pair()?;
    ours.set_write_timeout(Some(TAKE_MAX))?;
    Command::new("/proc/self/exe")
        .arg(COMMAND)
        .env_clear()
        .env("PATH", PATH)
        .current_dir("/")
        .stdin(Stdio::from(OwnedFd::from(its)))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // A terminal's Ctrl-C is for the recorder; the helper ends with it.
        .process_group(0)
        .spawn()?;
    Ok(ours)
}

#[cfg(test)]
mod tests;
