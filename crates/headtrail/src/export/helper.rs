//! The helper that exports: takes notes over at once, keeps the newest only, and tries it until it has arrived or a newer one is
//! there. Older ones need no export any more, since a newer checkpoint covers what they do.
//!
//! Two threads: one reads the socket, so that the recorder never waits, and ends the process when the socket is closed, with the
//! program that runs just then; the other tries.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::send::{Running, Sender};
use super::{Answer, Settings, read_frame, shortened};
use crate::exit::Failure;
use crate::sandbox;

/// Before the second try of a note.
const RETRY_MIN: Duration = Duration::from_secs(1);
/// Between any two.
const RETRY_MAX: Duration = Duration::from_secs(60);

/// The helper, from its start to its end.
pub(crate) fn serve() -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::refused(error);
    let socket = rustix::io::fcntl_dupfd_cloexec(io::stdin(), 3).map_err(|e| failed(e.into()))?;
    let mut socket = UnixStream::from(socket);
    // A service manager may send them to all processes at once; but the last checkpoint comes at the end of the recorder.
    for signal in [SIGTERM, SIGINT, SIGHUP] {
        signal_hook::flag::register(signal, Arc::default()).map_err(failed)?;
    }
    let begun = begin(&mut socket);
    let trouble = begun.as_ref().err().map(|failure| failure.message.clone());
    Answer { trouble, ..Answer::default() }.write(&mut socket).map_err(failed)?;
    work(socket, begun?, RETRY_MIN).map_err(failed)
}

fn begin(socket: &mut UnixStream) -> Result<Sender, Failure> {
    let settings = read_frame(socket).map_err(Failure::refused)?.unwrap_or_default();
    let Settings { user, way } = serde_json::from_slice(&settings).map_err(Failure::refused)?;
    let sender = Sender::new(way).map_err(Failure::usage)?;
    sandbox::restrict_export_helper(user.as_deref(), sender.port())?;
    Ok(sender)
}

/// Takes notes until the socket is closed.
pub(super) fn work(mut socket: UnixStream, sender: Sender, retry_min: Duration) -> io::Result<()> {
    let newest = Arc::new(Newest::default());
    let running = Arc::new(Running::default());
    let mut answers = socket.try_clone()?;
    let (to, its) = (Arc::clone(&newest), Arc::clone(&running));
    std::thread::Builder::new().spawn(move || {
        // Its end is that of the socket, which the other thread sees, too.
        let _ = try_again_and_again(&mut answers, sender, &newest, &running, retry_min);
    })?;
    let result = loop {
        match read_frame(&mut socket) {
            Ok(Some(note)) => to.put(note),
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    its.end();
    result
}

fn try_again_and_again(
    answers: &mut UnixStream,
    mut sender: Sender,
    newest: &Newest,
    running: &Running,
    retry_min: Duration,
) -> io::Result<()> {
    let mut answer = Answer::default();
    let mut note = newest.take();
    let mut pause = retry_min;
    loop {
        let trouble = sender.send(&note.bytes, running).err();
        match trouble {
            None => (answer.newest, answer.exported) = (note.number, answer.exported + 1),
            Some(_) => answer.failures += 1,
        }
        answer.trouble = trouble.map(|why| shortened(&why).to_owned());
        answer.write(answers)?;
        let newer = if answer.trouble.is_none() { Some(newest.take()) } else { newest.take_within(pause) };
        match newer {
            Some(newer) => (note, pause) = (newer, retry_min),
            None => pause = (pause * 2).min(RETRY_MAX),
        }
    }
}

/// A note, and the how many-th it is.
struct Note {
    number: u64,
    bytes: Vec<u8>,
}

/// The newest note, while nobody has taken it.
#[derive(Default)]
struct Newest {
    state: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    notes: u64,
    note: Option<Note>,
}

impl Newest {
    fn put(&self, bytes: Vec<u8>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.notes += 1;
        state.note = Some(Note { number: state.notes, bytes });
        self.changed.notify_all();
    }

    fn take(&self) -> Note {
        loop {
            if let Some(note) = self.take_within(RETRY_MAX) {
                return note;
            }
        }
    }

    fn take_within(&self, time: Duration) -> Option<Note> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(state, time, |state| state.note.is_none());
        waited.unwrap_or_else(PoisonError::into_inner).0.note.take()
    }
}
