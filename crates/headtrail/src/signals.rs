//! Signals: the loop looks at them between two batches, and is woken by them when it sleeps.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};

/// What was asked for by signals.
pub(crate) struct Signals {
    stop: Arc<AtomicBool>,
    report: Arc<AtomicBool>,
    reload: Arc<AtomicBool>,
    wake: UnixStream,
    sender: UnixStream,
}

impl Signals {
    /// Takes SIGINT, SIGTERM and SIGUSR1 over. A second SIGINT or SIGTERM ends the process at once.
    pub(crate) fn install() -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let report = Arc::new(AtomicBool::new(false));
        let (wake, sender) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        for signal in [SIGINT, SIGTERM] {
            signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&stop))?;
            signal_hook::flag::register(signal, Arc::clone(&stop))?;
            signal_hook::low_level::pipe::register(signal, sender.try_clone()?)?;
        }
        signal_hook::flag::register(SIGUSR1, Arc::clone(&report))?;
        signal_hook::low_level::pipe::register(SIGUSR1, sender.try_clone()?)?;
        Ok(Self { stop, report, reload: Arc::default(), wake, sender })
    }

    /// The same, and takes SIGHUP over.
    pub(crate) fn install_with_reload() -> io::Result<Self> {
        let signals = Self::install()?;
        signal_hook::flag::register(SIGHUP, Arc::clone(&signals.reload))?;
        signal_hook::low_level::pipe::register(SIGHUP, signals.sender.try_clone()?)?;
        Ok(signals)
    }

    /// Whether the config is to be read anew, since the last call.
    pub(crate) fn take_reload(&mut self) -> bool {
        let asked = self.reload.swap(false, Ordering::Relaxed);
        if asked {
            self.drain();
        }
        asked
    }

    /// Becomes readable when a signal comes.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// Whether the end was asked for.
    pub(crate) fn stop(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Whether a report was asked for since the last call.
    pub(crate) fn take_report(&mut self) -> bool {
        if !self.report.swap(false, Ordering::Relaxed) {
            return false;
        }
        self.drain();
        true
    }

    fn drain(&mut self) {
        let mut bytes = [0; 64];
        while matches!(self.wake.read(&mut bytes), Ok(n) if n > 0) {}
    }
}
