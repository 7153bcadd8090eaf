//! `headtrail watch` (or `run`) as a process: waits until it is ready, collects its records, stops it like Ctrl-C.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// How the line on standard error begins that says that everything from now on is recorded.
pub const READY: &str = "headtrail: watching";
/// The same of the daemon.
pub const RECORDING: &str = "headtrail: recording";

const READY_DEADLINE: Duration = Duration::from_secs(20);
const STOP_DEADLINE: Duration = Duration::from_secs(20);

/// A running watch. Keeps every line in memory, so it is not for load tests: those write to a file.
#[derive(Debug)]
pub struct Watch {
    child: Child,
    output: Arc<Output>,
    readers: Vec<JoinHandle<()>>,
}

/// What a watch has left behind.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// The lines of standard output that are JSON, in order.
    pub records: Vec<Value>,
    /// The lines of standard output that are not.
    pub other_lines: Vec<String>,
    /// All of standard error.
    pub stderr: String,
}

#[derive(Debug, Default)]
struct Output {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    records: Vec<Value>,
    other_lines: Vec<String>,
    stderr: String,
    /// Of standard output and standard error.
    ended_pipes: u32,
}

impl Watch {
    /// Starts `command`, which may be one of [`crate::netns::Netns::command`], and waits for its ready line.
    pub fn start(mut command: Command) -> Watch {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let output = Arc::new(Output::default());
        let stdout = child.stdout.take().expect("piped");
        let stderr = child.stderr.take().expect("piped");
        let readers = vec![
            spawn(&output, stdout, |state, line| match serde_json::from_str(&line) {
                Ok(record) => state.records.push(record),
                Err(_) => state.other_lines.push(line),
            }),
            spawn(&output, stderr, |state, line| {
                state.stderr += &line;
                state.stderr.push('\n');
            }),
        ];
        let watch = Watch { child, output, readers };
        let ready = watch.wait(READY_DEADLINE, |state| {
            let is_ready = |line: &str| line.starts_with(READY) || line.starts_with(RECORDING);
            state.ended_pipes == 2 || state.stderr.lines().any(is_ready)
        });
        let state = watch.output.state.lock().unwrap();
        let ended = state.ended_pipes == 2;
        let stderr = state.stderr.clone();
        drop(state);
        assert!(ready && !ended, "{command:?} does not say that it watches: {stderr}");
        watch
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The records so far.
    pub fn records(&self) -> Vec<Value> {
        self.output.state.lock().unwrap().records.clone()
    }

    /// Standard error so far.
    pub fn stderr(&self) -> String {
        self.output.state.lock().unwrap().stderr.clone()
    }

    /// Waits until the records are as wanted; false if they are not by the deadline.
    pub fn wait_for(&self, deadline: Duration, mut wanted: impl FnMut(&[Value]) -> bool) -> bool {
        self.wait(deadline, |state| wanted(&state.records))
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the process is there");
    }

    /// Kills it, which it cannot prepare for.
    pub fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Stops it as Ctrl-C does, and waits for its end.
    pub fn stop(mut self) -> Finished {
        self.signal(Signal::INT);
        let status =
            crate::eventually("the watch ends", STOP_DEADLINE, || self.child.try_wait().expect("waits"));
        for reader in self.readers.drain(..) {
            reader.join().expect("reads to the end");
        }
        let State { records, other_lines, stderr, .. } =
            std::mem::take(&mut *self.output.state.lock().unwrap());
        Finished { status, records, other_lines, stderr }
    }

    fn wait(&self, deadline: Duration, mut done: impl FnMut(&State) -> bool) -> bool {
        let start = Instant::now();
        let mut state = self.output.state.lock().unwrap();
        loop {
            if done(&state) {
                return true;
            }
            let Some(left) = deadline.checked_sub(start.elapsed()) else { return false };
            state = self.output.changed.wait_timeout(state, left).unwrap().0;
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

fn spawn(
    output: &Arc<Output>,
    pipe: impl Read + Send + 'static,
    mut take: impl FnMut(&mut State, String) + Send + 'static,
) -> JoinHandle<()> {
    let output = Arc::clone(output);
    std::thread::spawn(move || {
        // Bytes that are not UTF-8 are a defect of the output that a test should see, not die of here.
        for line in BufReader::new(pipe).split(b'\n') {
            let line = String::from_utf8_lossy(&line.expect("reads")).into_owned();
            take(&mut output.state.lock().unwrap(), line);
            output.changed.notify_all();
        }
        output.state.lock().unwrap().ended_pipes += 1;
        output.changed.notify_all();
    })
}

/// Does something on the first CPU, where also what it starts will run.
pub fn on_one_cpu<T>(work: impl FnOnce() -> T) -> T {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
    let before = sched_getaffinity(None).expect("affinity");
    let mut first = CpuSet::new();
    first.set(0);
    sched_setaffinity(None, &first).expect("affinity");
    let result = work();
    sched_setaffinity(None, &before).expect("affinity");
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn records_are_collected_until_it_is_stopped() {
        let script = r#"trap 'echo "{\"n\":3}"; echo "headtrail: seen 3" >&2; exit 0' INT
            echo 'headtrail: watching all' >&2
            echo '{"n":1}'; echo 'not json'; echo '{"n":2}'
            while :; do sleep 0.01; done"#;
        let watch = Watch::start(shell(script));
        assert!(watch.wait_for(Duration::from_secs(10), |records| records.len() == 2));
        assert!(!watch.wait_for(Duration::from_millis(5), |records| records.len() == 3));
        let finished = watch.stop();
        assert!(finished.status.success());
        assert_eq!(finished.records.iter().map(|r| r["n"].clone()).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(finished.other_lines, ["not json"]);
        assert_eq!(finished.stderr, "headtrail: watching all\nheadtrail: seen 3\n");
    }

    #[test]
    #[should_panic(expected = "needs CAP_BPF")]
    fn what_it_says_instead_of_being_ready_is_shown() {
        Watch::start(shell("echo 'headtrail: needs CAP_BPF' >&2; exit 3"));
    }
}
