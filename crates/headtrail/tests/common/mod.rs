//! What the end-to-end tests share: the recorder with a folder and a filter of its own, and messages whose parts are
//! known before they are sent, so that what was recorded can be compared with something that is not the recorder.

// Each test binary uses its part.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod frames;
pub mod journal;
pub mod messages;

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use headtrail_testkit::TempDir;
use headtrail_testkit::process::{Finished, Watch};
use serde_json::Value;

/// How long a record may take from the wire to the output, on a machine that is busy with other tests.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Can the recorder run here? If not, says so. Only what the host lacks counts: a program that the kernel refuses is a
/// defect, and fails.
pub fn ready() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").expect("reads");
    let root =
        status.lines().any(|line| line.starts_with("Uid:") && line.split_whitespace().nth(2) == Some("0"));
    if !root {
        headtrail_testkit::skip("needs root");
    } else if !Path::new("/sys/kernel/btf/vmlinux").exists() {
        headtrail_testkit::skip("this kernel has no BTF");
    } else {
        return true;
    }
    false
}

/// Is there such a program? If not, says so.
pub fn has(program: &str) -> bool {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).exists()));
    if !found {
        headtrail_testkit::skip(&format!("{program} is not installed"));
    }
    found
}

/// The binary.
pub fn headtrail() -> Command {
    Command::new(env!("CARGO_BIN_EXE_headtrail"))
}

/// `watch` with a data directory.
pub fn watch_command(data_dir: &Path, args: &[&str], filter: &str) -> Command {
    let mut command = headtrail();
    command.arg("watch").arg("--data-dir").arg(data_dir).args(args).args(filter.split_whitespace());
    command
}

/// A running `watch --format json`.
#[derive(Debug)]
pub struct Recorder {
    watch: Watch,
    _data_dir: TempDir,
}

impl Recorder {
    /// Starts it; returns when it watches.
    pub fn start(filter: &str) -> Recorder {
        Recorder::with(&[], filter)
    }

    /// The same for one port.
    pub fn port(port: u16) -> Recorder {
        Recorder::start(&format!("port {port}"))
    }

    /// The same with further flags.
    pub fn with(args: &[&str], filter: &str) -> Recorder {
        let data_dir = TempDir::new().expect("a temporary folder");
        let args = [&["--format", "json"], args].concat();
        let watch = Watch::start(watch_command(data_dir.path(), &args, filter));
        Recorder { watch, _data_dir: data_dir }
    }

    pub fn watch(&self) -> &Watch {
        &self.watch
    }

    /// Waits for so many transactions; true when they are there.
    pub fn wait(&self, transactions: usize) -> bool {
        self.watch.wait_for(DEADLINE, |records| count(records, "transaction") >= transactions)
    }

    /// Waits for so many transactions, and stops. There must be no more, nothing lost, and the counts must balance.
    pub fn finish(self, transactions: usize) -> Vec<Value> {
        self.wait(transactions);
        let finished = self.stop();
        let found = count(&finished.records, "transaction");
        assert_eq!(found, transactions, "transactions: {}\n{}", brief(&finished.records), finished.stderr);
        let lost: Vec<_> = finished.records.iter().filter(|record| record["type"] == "loss").collect();
        assert!(lost.is_empty(), "{lost:?}\n{}", finished.stderr);
        finished.records.into_iter().filter(|record| record["type"] == "transaction").collect()
    }

    /// Stops, and checks what holds of every run: success, nothing but JSON, counts that balance.
    pub fn stop(self) -> Finished {
        let finished = self.watch.stop();
        check_run(&finished);
        finished
    }
}

fn check_run(finished: &Finished) {
    assert!(finished.status.success(), "{}: {}", finished.status, finished.stderr);
    assert!(finished.other_lines.is_empty(), "not JSON: {:?}", finished.other_lines);
    for (side, key) in [("requests", "request"), ("responses", "response")] {
        let balance = Balance::of(&finished.stderr, side);
        balance.check();
        // The start of a long call is told besides.
        let ended = finished.records.iter().filter(|record| record["phase"] != "start");
        let printed = ended.filter(|record| record[key].is_object()).count();
        assert_eq!(balance.printed, printed as u64, "{side} printed: {}", finished.stderr);
    }
}

/// Records of a type.
pub fn count(records: &[Value], kind: &str) -> usize {
    records.iter().filter(|record| record["type"] == kind).count()
}

/// A line for each record, for the messages of failed assertions.
pub fn brief(records: &[Value]) -> String {
    const LINES_MAX: usize = 12;
    let line = |record: &Value| {
        if record["type"] != "transaction" {
            return format!("\n  {record}");
        }
        format!(
            "\n  {} {}:{} -> {}:{} {} {} -> {} {}",
            record["role"],
            record["source"]["ip"],
            record["source"]["port"],
            record["destination"]["ip"],
            record["destination"]["port"],
            record["request"]["method"],
            record["request"]["target"],
            record["response"]["status"],
            record["incomplete"],
        )
    };
    // What is odd, and not the many that are not, where there are many.
    let odd = |record: &&Value| records.len() <= LINES_MAX || record["incomplete"] != serde_json::json!([]);
    let lines: String = records.iter().filter(odd).take(LINES_MAX).map(line).collect();
    format!("{} records, not whole, or all of few:{lines}", records.len())
}

/// The last line of the report on standard error for one side: `seen N = printed N + dropped N (…) + held N`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Balance {
    pub seen: u64,
    pub printed: u64,
    pub dropped: u64,
    pub ring_full: u64,
    pub other_end: u64,
    pub held: u64,
}

impl Balance {
    /// `side`: `requests` or `responses`.
    pub fn of(stderr: &str, side: &str) -> Balance {
        let start = format!("headtrail: {side}");
        let line = stderr.lines().rev().find(|line| line.starts_with(&start));
        let line = line.unwrap_or_else(|| panic!("no counts of {side}: {stderr}"));
        let numbers: Vec<u64> =
            line.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok()).collect();
        let [seen, printed, dropped, ring_full, other_end, held] = numbers[..] else { panic!("{line}") };
        Balance { seen, printed, dropped, ring_full, other_end, held }
    }

    /// The sums, and that nothing is held once it has ended.
    pub fn check(&self) {
        assert_eq!(self.seen, self.printed + self.dropped + self.held, "{self:?}");
        assert_eq!(self.dropped, self.ring_full + self.other_end, "{self:?}");
        assert_eq!(self.held, 0, "{self:?}");
    }
}

/// Runs a command to its end.
pub fn output(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// Runs a command that must succeed; its standard output.
pub fn run(command: &mut Command) -> String {
    let output = output(command);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}: {stderr}", output.status);
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The same command on the first CPU.
pub fn on_one_cpu(command: &Command) -> Command {
    let mut pinned = Command::new("taskset");
    pinned.args(["-c", "0"]).arg(command.get_program()).args(command.get_args());
    pinned
}

/// curl without a configuration file and without a proxy from the environment.
pub fn curl(args: &[&str]) -> Command {
    let mut command = Command::new("curl");
    command.args(["-q", "--noproxy", "*", "-sS", "--max-time", "60"]).args(args);
    command
}

/// Field lines of a recorded message, or its trailers with `trailers`.
pub fn lines<'a>(message: &'a Value, kind: &str) -> Vec<(&'a str, &'a str)> {
    let lines = message[kind].as_array().unwrap_or_else(|| panic!("no {kind}: {message}"));
    lines.iter().map(|line| (line[0].as_str().unwrap(), line[1].as_str().unwrap())).collect()
}

/// The first value of a field.
pub fn field<'a>(message: &'a Value, name: &str) -> Option<&'a str> {
    lines(message, "lines").into_iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}
