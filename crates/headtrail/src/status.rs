//! `headtrail status`: asks the running daemon, through the Unix socket of its data directory.
//!
//! What comes back is taken for what anybody could have written there: bounded, and escaped before it is printed.

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use headtrail_record::printable::{Printable, is_hidden};
use serde_json::Value;

use crate::cli::{self, StatusFormat};
use crate::exit::Failure;
use crate::snapshot::Snapshot;
use crate::web::STATUS_SOCKET;

/// A status is some kilobytes.
const STATUS_BYTES_MAX: u64 = 4 << 20;
/// A daemon that lives answers by then.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Width of the names in the text form.
const NAME_COLUMNS: usize = 14;

/// Asks and prints.
pub(crate) fn run(options: &cli::Status) -> Result<(), Failure> {
    let bytes = ask(&options.data_dir.join(STATUS_SOCKET))?;
    let text = match options.format {
        StatusFormat::Json => {
            let value: Value = serde_json::from_slice(&bytes).map_err(|e| strange(&e))?;
            format!("{}\n", harmless(&value.to_string()))
        }
        StatusFormat::Text => text(&serde_json::from_slice(&bytes).map_err(|e| strange(&e))?),
    };
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::output(error)),
        _ => Ok(()),
    }
}

fn strange(error: &dyn std::fmt::Display) -> Failure {
    Failure::usage(format_args!("the daemon's answer is not a status: {error}"))
}

fn ask(path: &Path) -> Result<Vec<u8>, Failure> {
    let answer = UnixStream::connect(path).and_then(|stream| {
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        let mut bytes = Vec::new();
        stream.take(STATUS_BYTES_MAX).read_to_end(&mut bytes)?;
        Ok(bytes)
    });
    answer.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            Failure::no(format_args!("nothing runs with this data directory ({}: {error})", path.display()))
        }
        io::ErrorKind::PermissionDenied => Failure::refused(format_args!(
            "{}: {error}; root, the user of the daemon and its group may ask",
            path.display()
        )),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            Failure::no(format_args!("the daemon does not answer ({})", path.display()))
        }
        _ => Failure::refused(format_args!("{}: {error}", path.display())),
    })
}

/// JSON without characters that a terminal acts on. In JSON that serde wrote they can stand in strings only.
fn harmless(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if is_hidden(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    out
}

/// Lines of names and what they are.
struct Lines(String);

impl Lines {
    fn add(&mut self, name: &str, value: &str) {
        let name = Printable(name.as_bytes()).to_string();
        let _ = writeln!(self.0, "{name:<NAME_COLUMNS$}{}", Printable(value.as_bytes()));
    }
}

/// For people.
fn text(status: &Snapshot) -> String {
    let mut lines = Lines(String::new());
    let watched = if status.filter.is_empty() { "all connections" } else { &status.filter };
    let up_s = status.taken_ns.saturating_sub(status.started_ns) / 1_000_000_000;
    lines.add("headtrail", &format!("{}, pid {}, up {}", status.version, status.pid, duration(up_s)));
    lines.add("watching", watched);
    lines.add("transactions", &thousands(status.transactions));
    if status.long_calls > 0 {
        lines.add("", &format!("{} long calls begun", thousands(status.long_calls)));
    }
    if !status.connections.is_empty() {
        let connections: Vec<_> =
            status.connections.iter().map(|of| format!("{} {}", of.name, thousands(of.count))).collect();
        lines.add("connections", &connections.join(", "));
    }
    let lost: Vec<_> = status.lost.iter().filter(|lost| lost.count > 0).collect();
    if lost.is_empty() {
        lines.add("lost", "nothing");
    }
    for (index, lost) in lost.iter().enumerate() {
        let value = format!("{} {} ({}: {})", thousands(lost.count), lost.what, lost.stage, lost.reason);
        lines.add(if index == 0 { "lost" } else { "" }, &value);
    }
    for dropped in status.volume_dropped.iter().filter(|dropped| dropped.count > 0) {
        lines.add("left out", &format!("{} ({})", thousands(dropped.count), dropped.name));
    }
    let ring = format!("{} of {} wait", bytes(status.ring_backlog_bytes), bytes(status.ring_bytes));
    lines.add("ring", &ring);
    if let Some(journal) = &status.journal {
        let value = format!(
            "{} records in {} blocks, {}; {} blocks not synced",
            thousands(journal.records),
            thousands(journal.blocks),
            bytes(journal.bytes),
            thousands(journal.unsynced_blocks)
        );
        lines.add("journal", &value);
        for error in journal.write_errors.iter().filter(|error| error.count > 0) {
            lines.add("", &format!("{} times {}", thousands(error.count), error.name));
        }
    }
    if let Some(export) = &status.export {
        let failed = match export.failures {
            0 => String::new(),
            failures => format!("; {} tries failed", thousands(failures)),
        };
        lines.add("checkpoints", &format!("{} exported{failed}", thousands(export.exported)));
        if let Some(why) = &export.trouble {
            lines.add("", &format!("not now: {why}"));
        }
    }
    for reader in &status.readers {
        let mut value = format!("{}: {} arrived", reader.kind, thousands(reader.documents));
        let _ = match reader.lag_records {
            0 => write!(value, ", up to date"),
            lag => {
                write!(
                    value,
                    ", {} records ({}) behind",
                    thousands(lag),
                    duration(reader.lag_ns / 1_000_000_000)
                )
            }
        };
        if reader.dead_letters > 0 {
            let _ = write!(value, ", {} refused", thousands(reader.dead_letters));
        }
        if reader.skipped_records > 0 {
            let _ = write!(value, ", {} skipped", thousands(reader.skipped_records));
        }
        lines.add(&format!("  {}", reader.name), &value);
        if let Some(why) = &reader.trouble {
            lines.add("", &format!("not now: {why}"));
        }
    }
    let memory = match status.memory.limit_bytes {
        0 => bytes(status.memory.bytes),
        limit => format!("{} of {}", bytes(status.memory.bytes), bytes(limit)),
    };
    lines.add("memory", &memory);
    for shed in status.memory.shed.iter().filter(|shed| shed.count > 0) {
        lines.add("", &format!("gave up {} ({} times)", shed.name, thousands(shed.count)));
    }
    for program in &status.bpf {
        let each_ns = program.run_ns.checked_div(program.runs).unwrap_or_default();
        lines.add("bpf", &format!("{}: {} runs, {each_ns} ns each", program.name, thousands(program.runs)));
    }
    for (name, value) in status.sandbox.lines() {
        lines.add(name, &value);
    }
    lines.0
}

/// `1,234,567`
fn thousands(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// The two largest units.
fn duration(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

/// With one digit behind the point from KiB on.
fn bytes(value: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if value < 1024 {
        return format!("{value} bytes");
    }
    let mut scaled = value as f64 / 1024.0;
    let mut unit = UNITS[0];
    for next in &UNITS[1..] {
        if scaled < 1024.0 {
            break;
        }
        scaled /= 1024.0;
        unit = next;
    }
    format!("{scaled:.1} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::example;

    #[test]
    fn the_text_form_is_short_and_harmless() {
        let text = text(&example());
        assert!(!text.contains('\x1b'), "{text:?}");
        for line in [
            "headtrail     1.2.3, pid 4711, up 1 min 33 s\n",
            "watching      port 80\\x1b[31m\n",
            "transactions  12,345,678\n",
            "              17 long calls begun\n",
            "connections   http/1 20, http/2 3, other 0\n",
            "lost          7 requests (kernel: ring_full)\n",
            "              1 responses (kernel: ring_full)\n",
            "ring          2.0 KiB of 16.0 MiB wait\n",
            "journal       4,000 records in 10 blocks, 5.0 MiB; 1 blocks not synced\n",
            "checkpoints   9 exported; 2 tries failed\n",
            "              not now: the server answers 503\\x1b[31m\n",
            "  elk         elasticsearch: 3,988 arrived, 12 records (1 min 1 s) behind, 1 refused\n",
            "              not now: http://es:9200: connection refused\\x1b[31m\n",
            "memory        41.0 MiB of 256.0 MiB\n",
            "bpf           ht_ingress: 3,000,000 runs, 500 ns each\n",
            "user          headtrail (997:997)\n",
            "seccomp       off (not asked for)\n",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }

    #[test]
    fn an_older_or_newer_daemon_is_understood() {
        let status: Snapshot = serde_json::from_str(r#"{"pid":1,"of_the_future":[1]}"#).unwrap();
        assert!(text(&status).contains("pid 1"));
    }

    #[test]
    fn json_is_the_same_without_what_acts_on_a_terminal() {
        let value = serde_json::json!({ "a\u{9b}": "\u{1b}[31m\u{202e}\u{e0001}x" });
        let text = harmless(&value.to_string());
        assert!(!text.chars().any(is_hidden), "{text}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }
}
