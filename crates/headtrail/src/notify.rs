//! Tells systemd how the daemon is: sd_notify(3), over the socket that it names.
//!
//! The socket is connected at the start, before [`crate::sandbox`] takes away what is outside of the data directory. A service
//! manager that does not answer is no reason to stop or to wait: messages are sent without blocking, and errors are
//! passed over.

use std::ffi::OsString;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// The service manager, where there is one.
#[derive(Default)]
pub(crate) struct Notifier {
    socket: Option<UnixDatagram>,
    watchdog: Option<Watchdog>,
}

struct Watchdog {
    interval: Duration,
    told: Option<Instant>,
}

impl Notifier {
    /// By `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID` of the environment.
    pub(crate) fn from_environment() -> Self {
        let is_ours = std::env::var("WATCHDOG_PID").map_or(true, |pid| pid == std::process::id().to_string());
        let usec = std::env::var("WATCHDOG_USEC").ok().filter(|_| is_ours);
        Self::new(std::env::var_os("NOTIFY_SOCKET"), usec.and_then(|usec| usec.parse().ok()))
    }

    fn new(socket: Option<OsString>, watchdog_usec: Option<u64>) -> Self {
        let socket = socket.filter(|name| !name.is_empty()).and_then(|name| connect(name.as_bytes()));
        let watchdog = watchdog_usec
            .filter(|&usec| usec > 0)
            .map(|usec| Watchdog { interval: Duration::from_micros(usec) / 2, told: None });
        Self { watchdog: socket.as_ref().and(watchdog), socket }
    }

    /// Everything runs.
    pub(crate) fn ready(&self, status: &str) {
        self.send(&format!("READY=1\n{}", status_line(status)));
    }

    /// The config is being read anew; [`Notifier::ready`] ends it.
    pub(crate) fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let usec = now.tv_sec.unsigned_abs() * 1_000_000 + now.tv_nsec.unsigned_abs() / 1000;
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={usec}"));
    }

    /// The end has begun.
    pub(crate) fn stopping(&self) {
        self.send("STOPPING=1");
    }

    /// Call it from the main loop at every turn: it says at half of the watchdog's time that the loop is alive.
    pub(crate) fn alive(&mut self, now: Instant) {
        let Some(watchdog) = &mut self.watchdog else { return };
        if watchdog.told.is_none_or(|told| now.saturating_duration_since(told) >= watchdog.interval) {
            watchdog.told = Some(now);
            self.send("WATCHDOG=1");
        }
    }

    /// How often [`Notifier::alive`] has to be called at least; None: there is no watchdog.
    pub(crate) fn watchdog_interval(&self) -> Option<Duration> {
        self.watchdog.as_ref().map(|watchdog| watchdog.interval)
    }

    fn send(&self, message: &str) {
        if let Some(socket) = &self.socket {
            let _ = socket.send(message.as_bytes());
        }
    }
}

/// One line: another would be another message.
fn status_line(status: &str) -> String {
    format!("STATUS={}", status.replace(|c: char| c.is_control(), " "))
}

/// A path, or with `@` in front a name in the abstract space.
fn connect(name: &[u8]) -> Option<UnixDatagram> {
    let address = match name.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(name)),
    };
    let socket = UnixDatagram::unbound().ok()?;
    socket.connect_addr(&address.ok()?).ok()?;
    socket.set_nonblocking(true).ok()?;
    Some(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receive(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 512];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    fn check(manager: &UnixDatagram, name: &std::ffi::OsStr) {
        let mut notifier = Notifier::new(Some(name.to_owned()), Some(4_000_000));
        manager.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        notifier.ready("watching\nREADY=0");
        assert_eq!(receive(manager), "READY=1\nSTATUS=watching READY=0");
        notifier.reloading();
        let told = receive(manager);
        let usec: u64 = told.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().parse().unwrap();
        assert!(usec > 0);
        let start = Instant::now();
        notifier.alive(start);
        notifier.alive(start + Duration::from_millis(1999));
        notifier.alive(start + Duration::from_millis(2001));
        notifier.stopping();
        assert_eq!([(); 3].map(|()| receive(manager)), ["WATCHDOG=1", "WATCHDOG=1", "STOPPING=1"]);
    }

    #[test]
    fn the_service_manager_is_told_at_a_path() {
        let path = std::env::temp_dir().join(format!("headtrail-notify-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let manager = UnixDatagram::bind(&path).unwrap();
        check(&manager, path.as_os_str());
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn the_service_manager_is_told_at_an_abstract_name() {
        let name = format!("headtrail-notify-{}", std::process::id());
        let manager = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        check(&manager, std::ffi::OsStr::new(&format!("@{name}")));
    }

    #[test]
    fn nobody_to_tell_is_no_error() {
        let mut notifier = Notifier::new(None, Some(1));
        notifier.ready("x");
        notifier.alive(Instant::now());
        let mut gone = Notifier::new(Some("/nowhere/at/all".into()), Some(1));
        gone.alive(Instant::now());
        assert_eq!(gone.watchdog_interval(), None);
    }
}
