//! One try to get a note to where it shall lie: by a program, or by POST.

use std::fs::File;
use std::io::{Seek, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use ureq::Agent;
use ureq::http::Uri;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use super::Way;

/// How long a try may take.
const TRY_MAX: Duration = Duration::from_secs(30);
/// A checkpoint is a text.
const CONTENT_TYPE: &str = "text/plain; charset=utf-8";
const USER_AGENT: &str = concat!("headtrail/", env!("CARGO_PKG_VERSION"));

/// Sends notes one way.
pub(super) struct Sender {
    to: To,
    try_max: Duration,
}

enum To {
    Command { program: String, arguments: Vec<String> },
    Url { uri: Uri, port: u16, agent: Option<Agent> },
}

impl Sender {
    /// A sender for that way.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn new(way: Way) -> Result<Self, String> {
        let to = match way {
            Way::Command(command) => {
                let mut words = command.into_iter();
                To::Command { program: words.next().ok_or("no program")?, arguments: words.collect() }
            }
            Way::Url(url) => {
                let uri: Uri = url.parse().map_err(|error| format!("journal.checkpoint.url: {error}"))?;
                let port = if uri.scheme_str() == Some("https") { 443 } else { 80 };
                let port = uri.port_u16().unwrap_or(port);
                To::Url { uri, port, agent: None }
            }
        };
        Ok(Self { to, try_max: TRY_MAX })
    }

    /// With less time for a try.
    #[cfg(test)]
    pub(super) fn within(self, try_max: Duration) -> Self {
        Self { try_max, ..self }
    }

    /// The TCP port that this process connects to by itself.
    pub(super) fn port(&self) -> Option<u16> {
        match self.to {
            To::Command { .. } => None,
            To::Url { port, .. } => Some(port),
        }
    }

    /// Tries once.
    ///
    /// # Errors
    /// Why it has not arrived.
    pub(super) fn send(&mut self, note: &[u8], running: &Running) -> Result<(), String> {
        match &mut self.to {
            To::Command { program, arguments } => {
                run(Command::new(&program).args(arguments), note, self.try_max, running)
                    .map_err(|why| format!("{program}: {why}"))
            }
            To::Url { uri, agent, .. } => {
                let used = match agent.take() {
                    Some(agent) => agent,
                    None => new_agent(uri, self.try_max)?,
                };
                post(&used, uri, note)?;
                // After a failure there is a new one, which reads the host's certificates anew.
                *agent = Some(used);
                Ok(())
            }
        }
    }
}

/// The program that runs, which has to end with the helper.
#[derive(Default)]
pub(super) struct Running(Mutex<State>);

#[derive(Default)]
struct State {
    group: Option<Pid>,
    ended: bool,
}

impl Running {
    /// Starts a program in a process group of its own, unless the end has come.
    fn start(&self, command: &mut Command) -> Result<Child, String> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.ended {
            return Err("the recorder has ended".to_owned());
        }
        let child = command.process_group(0).spawn().map_err(|error| error.to_string())?;
        state.group = Some(Pid::from_child(&child));
        Ok(child)
    }

    /// Kills the group, which is there as long as its first process was not waited for.
    fn kill(&self, for_good: bool) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.ended |= for_good;
        if let Some(group) = state.group {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }

    fn wait(&self, child: &mut Child) -> Result<(), String> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let status = child.wait();
        state.group = None;
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(match (status.code(), status.signal()) {
                (Some(code), _) => format!("ends with {code}"),
                (None, signal) => format!("was ended by signal {}", signal.unwrap_or_default()),
            }),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Kills what runs, and lets nothing run any more.
    pub(super) fn end(&self) {
        self.kill(true);
    }
}

/// Runs a program with the note as its standard input.
fn run(command: &mut Command, note: &[u8], time_max: Duration, running: &Running) -> Result<(), String> {
    // A file, since a pipe that nobody reads would have to be waited for.
    let input = in_memory(note).map_err(|error| error.to_string())?;
    command.stdin(Stdio::from(input)).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = running.start(command)?;
    let in_time = ends_within(&child, time_max);
    if !in_time {
        running.kill(false);
    }
    let ended = running.wait(&mut child);
    if in_time {
        ended
    } else {
        Err(format!("has not ended within {} s, and was killed", time_max.as_secs()))
    }
}

fn in_memory(bytes: &[u8]) -> std::io::Result<File> {
    let mut file = File::from(memfd_create("checkpoint", MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file)
}

/// Whether a process ends in time; false also where the kernel does not tell.
fn ends_within(child: &Child, time_max: Duration) -> bool {
    let Ok(pidfd) = pidfd_open(Pid::from_child(child), PidfdFlags::empty()) else { return false };
    let until = Instant::now() + time_max;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&left)) {
            Err(rustix::io::Errno::INTR) => {}
            polled => return polled.is_ok_and(|ready| ready > 0),
        }
    }
}

/// No proxy, no redirects, no connections that are kept; the certificates of this host.
fn new_agent(uri: &Uri, time_max: Duration) -> Result<Agent, String> {
    let mut config = Agent::config_builder()
        .timeout_global(Some(time_max))
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(None)
        .max_idle_connections(0)
        .user_agent(USER_AGENT);
    if uri.scheme_str() == Some("https") {
        let found = rustls_native_certs::load_native_certs();
        if found.certs.is_empty() {
            return Err("this host has no root certificates".to_owned());
        }
        let roots: Vec<_> = found.certs.iter().map(|c| Certificate::from_der(c).to_owned()).collect();
        // Whatever else could be its default; a second time it is there already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        config = config.tls_config(TlsConfig::builder().root_certs(RootCerts::from(roots)).build());
    }
    Ok(config.build().new_agent())
}

fn post(agent: &Agent, uri: &Uri, note: &[u8]) -> Result<(), String> {
    let answer = agent.post(uri).content_type(CONTENT_TYPE).send(note).map_err(|error| error.to_string())?;
    match answer.status() {
        status if status.is_success() => Ok(()),
        status => Err(format!("the server answers {status}")),
    }
}
