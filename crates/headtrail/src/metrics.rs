//! Metrics in the text format of Prometheus. Each is defined once, in [`METRICS`], with its way out of a [`Snapshot`];
//! `/metrics` and docs/metrics.md come from there.

use std::fmt::{self, Write};

use crate::snapshot::{Count, Snapshot};

/// What `/metrics` says its body is.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a metric does over time.
#[derive(Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
}

/// A number, and how it is written.
#[derive(Clone, Copy)]
enum Value {
    Whole(u64),
    /// Nanoseconds, written as seconds.
    Nanoseconds(u64),
}

/// Takes the label values and the number of each sample.
type Each<'a> = dyn FnMut(&[&str], Value) + 'a;

/// The definition of a metric.
struct Metric {
    name: &'static str,
    kind: Kind,
    unit: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
    samples: fn(&Snapshot, &mut Each<'_>),
}

use Kind::{Counter, Gauge};
use Value::{Nanoseconds, Whole};

/// All of them, in the order of the data's way.
#[rustfmt::skip]
const METRICS: &[Metric] = &[
    Metric {
        name: "headtrail_build_info", kind: Gauge, unit: "", labels: &["version"],
        help: "Always 1; the label tells the version of the running program.",
        samples: |s, each| each(&[&s.version], Whole(1)),
    },
    Metric {
        name: "headtrail_up_since_seconds", kind: Gauge, unit: "seconds since the Unix epoch", labels: &[],
        help: "When the daemon was started.",
        samples: |s, each| each(&[], Nanoseconds(s.started_ns)),
    },
    Metric {
        name: "headtrail_snapshot_seconds", kind: Gauge, unit: "seconds since the Unix epoch", labels: &[],
        help: "When these values were taken. One that stands still is a daemon whose main loop does.",
        samples: |s, each| each(&[], Nanoseconds(s.taken_ns)),
    },
    Metric {
        name: "headtrail_transactions_total", kind: Counter, unit: "transactions", labels: &[],
        help: "Requests with their responses that were recorded, given up ones included.",
        samples: |s, each| each(&[], Whole(s.transactions)),
    },
    Metric {
        name: "headtrail_connections_seen", kind: Gauge, unit: "connections", labels: &["protocol"],
        help: "Connections since the start, by what they speak; one that turns out to speak something else is counted there from then on.",
        samples: |s, each| counts(&s.connections, each),
    },
    Metric {
        name: "headtrail_long_calls_total", kind: Counter, unit: "calls", labels: &[],
        help: "Calls that last (streams of events, tunnels, what is open for 10 seconds) whose start was recorded. They are among the transactions when they end.",
        samples: |s, each| each(&[], Whole(s.long_calls)),
    },
    Metric {
        name: "headtrail_lost_total", kind: Counter, unit: "see label what", labels: &["stage", "reason", "what"],
        help: "What is missing from the record, by where and why it was lost.",
        samples: |s, each| for lost in &s.lost {
            each(&[&lost.stage, &lost.reason, &lost.what], Whole(lost.count));
        },
    },
    Metric {
        name: "headtrail_volume_dropped_total", kind: Counter, unit: "transactions", labels: &["reason"],
        help: "Transactions that the rules of the config left out. They are no loss.",
        samples: |s, each| counts(&s.volume_dropped, each),
    },
    Metric {
        name: "headtrail_ring_backlog_bytes", kind: Gauge, unit: "bytes", labels: &[],
        help: "Bytes that wait in the kernel's ring buffers.",
        samples: |s, each| each(&[], Whole(s.ring_backlog_bytes)),
    },
    Metric {
        name: "headtrail_ring_size_bytes", kind: Gauge, unit: "bytes", labels: &[],
        help: "Size of the kernel's ring buffers, all together.",
        samples: |s, each| each(&[], Whole(s.ring_bytes)),
    },
    Metric {
        name: "headtrail_journal_blocks_total", kind: Counter, unit: "blocks", labels: &[],
        help: "Blocks that were written to the journal.",
        samples: |s, each| if let Some(journal) = &s.journal { each(&[], Whole(journal.blocks)) },
    },
    Metric {
        name: "headtrail_journal_bytes_total", kind: Counter, unit: "bytes", labels: &[],
        help: "Bytes that were written to the journal.",
        samples: |s, each| if let Some(journal) = &s.journal { each(&[], Whole(journal.bytes)) },
    },
    Metric {
        name: "headtrail_journal_records_total", kind: Counter, unit: "records", labels: &[],
        help: "Records that were written to the journal.",
        samples: |s, each| if let Some(journal) = &s.journal { each(&[], Whole(journal.records)) },
    },
    Metric {
        name: "headtrail_journal_synced_record", kind: Gauge, unit: "sequence number", labels: &[],
        help: "Sequence number behind the last record that is safe on disk.",
        samples: |s, each| if let Some(journal) = &s.journal { each(&[], Whole(journal.synced_record)) },
    },
    Metric {
        name: "headtrail_journal_unsynced_blocks", kind: Gauge, unit: "blocks", labels: &[],
        help: "Blocks that are written and not yet known to be safe on disk.",
        samples: |s, each| if let Some(journal) = &s.journal { each(&[], Whole(journal.unsynced_blocks)) },
    },
    Metric {
        name: "headtrail_journal_write_errors_total", kind: Counter, unit: "errors", labels: &["error"],
        help: "Writes and syncs of the journal that failed, by error.",
        samples: |s, each| if let Some(journal) = &s.journal { counts(&journal.write_errors, each) },
    },
    Metric {
        name: "headtrail_checkpoints_exported_total", kind: Counter, unit: "checkpoints", labels: &[],
        help: "Checkpoints of the journal that have arrived where they are exported to. Those that a newer one replaced before are not among them.",
        samples: |s, each| if let Some(export) = &s.export { each(&[], Whole(export.exported)) },
    },
    Metric {
        name: "headtrail_checkpoint_export_failures_total", kind: Counter, unit: "tries", labels: &[],
        help: "Tries to export a checkpoint that failed.",
        samples: |s, each| if let Some(export) = &s.export { each(&[], Whole(export.failures)) },
    },
    Metric {
        name: "headtrail_reader_lag_records", kind: Gauge, unit: "records", labels: &["reader"],
        help: "Records between a reader of the journal and the last synced one.",
        samples: |s, each| for reader in &s.readers { each(&[&reader.name], Whole(reader.lag_records)) },
    },
    Metric {
        name: "headtrail_reader_skipped_records_total", kind: Counter, unit: "records", labels: &["reader"],
        help: "Records that retention removed before a reader had read them.",
        samples: |s, each| for reader in &s.readers { each(&[&reader.name], Whole(reader.skipped_records)) },
    },
    Metric {
        name: "headtrail_reader_lag_seconds", kind: Gauge, unit: "seconds", labels: &["reader"],
        help: "How old the newest record is that a reader has settled; zero where nothing waits.",
        samples: |s, each| for reader in &s.readers { each(&[&reader.name], Nanoseconds(reader.lag_ns)) },
    },
    Metric {
        name: "headtrail_reader_documents_total", kind: Counter, unit: "documents", labels: &["reader"],
        help: "Documents that a reader's destination has, those included that it had before.",
        samples: |s, each| for reader in &s.readers { each(&[&reader.name], Whole(reader.documents)) },
    },
    Metric {
        name: "headtrail_reader_duplicates_total", kind: Counter, unit: "documents", labels: &["reader"],
        help: "Documents that the destination had already, which it said by their id.",
        samples: |s, each| for reader in &s.readers { each(&[&reader.name], Whole(reader.duplicates)) },
    },
    Metric {
        name: "headtrail_reader_dead_letters_total", kind: Counter, unit: "documents", labels: &["reader"],
        help: "Documents that the destination refuses for ever, and that lie in the dead-letter file.",
        samples: |s, each| for reader in &s.readers { each(&[&reader.name], Whole(reader.dead_letters)) },
    },
    Metric {
        name: "headtrail_reader_again_total", kind: Counter, unit: "documents", labels: &["reader"],
        help: "Documents that were sent once more. They are no loss.",
        samples: |s, each| for reader in &s.readers { each(&[&reader.name], Whole(reader.again)) },
    },
    Metric {
        name: "headtrail_reader_requests_total", kind: Counter, unit: "requests", labels: &["reader"],
        help: "Times that something was sent.",
        samples: |s, each| for reader in &s.readers { each(&[&reader.name], Whole(reader.requests)) },
    },
    Metric {
        name: "headtrail_reader_sent_bytes_total", kind: Counter, unit: "bytes", labels: &["reader"],
        help: "Bytes that were sent, packed where they are packed.",
        samples: |s, each| for reader in &s.readers { each(&[&reader.name], Whole(reader.sent_bytes)) },
    },
    Metric {
        name: "headtrail_reader_troubles_total", kind: Counter, unit: "failures", labels: &["reader", "trouble"],
        help: "Why a reader had to wait and try again, how often.",
        samples: |s, each| for reader in &s.readers {
            for trouble in &reader.troubles { each(&[&reader.name, &trouble.name], Whole(trouble.count)); }
        },
    },
    Metric {
        name: "headtrail_memory_bytes", kind: Gauge, unit: "bytes", labels: &[],
        help: "Resident memory of the daemon.",
        samples: |s, each| each(&[], Whole(s.memory.bytes)),
    },
    Metric {
        name: "headtrail_memory_limit_bytes", kind: Gauge, unit: "bytes", labels: &[],
        help: "The ceiling that the daemon keeps below; 0 where none is set.",
        samples: |s, each| each(&[], Whole(s.memory.limit_bytes)),
    },
    Metric {
        name: "headtrail_memory_shed_total", kind: Counter, unit: "times", labels: &["step"],
        help: "Times that something was given up to stay below the ceiling.",
        samples: |s, each| counts(&s.memory.shed, each),
    },
    Metric {
        name: "headtrail_bpf_run_seconds_total", kind: Counter, unit: "seconds", labels: &["program"],
        help: "Time spent in a BPF program, on all CPUs; absent unless the kernel keeps statistics (kernel.bpf_stats_enabled).",
        samples: |s, each| for program in &s.bpf { each(&[&program.name], Nanoseconds(program.run_ns)) },
    },
    Metric {
        name: "headtrail_bpf_runs_total", kind: Counter, unit: "runs", labels: &["program"],
        help: "Runs of a BPF program; absent unless the kernel keeps statistics (kernel.bpf_stats_enabled).",
        samples: |s, each| for program in &s.bpf { each(&[&program.name], Whole(program.runs)) },
    },
];

fn counts(counts: &[Count], each: &mut Each<'_>) {
    for count in counts {
        each(&[&count.name], Whole(count.count));
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Counter => "counter",
            Gauge => "gauge",
        })
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Whole(value) => write!(f, "{value}"),
            Nanoseconds(ns) => write!(f, "{}.{:09}", ns / 1_000_000_000, ns % 1_000_000_000),
        }
    }
}

/// All metrics of a snapshot.
pub(crate) fn expose(snapshot: &Snapshot) -> String {
    let mut out = String::with_capacity(8192);
    for metric in METRICS {
        let mut head = format!("# HELP {} {}\n# TYPE {0} {}\n", metric.name, metric.help, metric.kind);
        (metric.samples)(snapshot, &mut |values, value| {
            out.push_str(&std::mem::take(&mut head));
            out.push_str(metric.name);
            for (index, (label, text)) in metric.labels.iter().zip(values).enumerate() {
                out.push(if index == 0 { '{' } else { ',' });
                let _ = write!(out, "{label}=\"{}\"", escaped(text));
            }
            let _ = writeln!(out, "{} {value}", if metric.labels.is_empty() { "" } else { "}" });
        });
    }
    out
}

/// Label values may hold anything but these three.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n").replace('"', "\\\"")
}

/// docs/metrics.md, for `cargo xtask docs`.
pub(crate) fn page() -> String {
    let mut page = "\
<!-- Generated by `cargo xtask docs` from crates/headtrail/src/metrics.rs. -->
# Metrics

`GET /metrics` of `headtrail run`, in the text format of Prometheus. Values are taken once a second. A metric without a sample is absent.

| metric | type | unit | labels | meaning |
| --- | --- | --- | --- | --- |
"
    .to_owned();
    for metric in METRICS {
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | {} | {} |",
            metric.name,
            metric.kind,
            metric.unit,
            labels.join(", "),
            metric.help
        );
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::example;

    #[test]
    fn every_metric_has_its_samples() {
        let text = expose(&example());
        for metric in METRICS {
            assert!(
                text.contains(&format!("# TYPE {} {}\n{0}", metric.name, metric.kind)),
                "{}",
                metric.name
            );
        }
        for line in [
            "headtrail_up_since_seconds 1764000000.000000000\n",
            "headtrail_transactions_total 12345678\n",
            "headtrail_lost_total{stage=\"kernel\",reason=\"ring_full\",what=\"requests\"} 7\n",
            "headtrail_connections_seen{protocol=\"http/2\"} 3\n",
            "headtrail_volume_dropped_total{reason=\"health \\\"check\\\"\\n\"} 3\n",
            "headtrail_bpf_run_seconds_total{program=\"ht_ingress\"} 1.500000000\n",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }

    #[test]
    fn names_keep_to_prometheus_habits() {
        for metric in METRICS {
            let counter = matches!(metric.kind, Counter);
            assert_eq!(metric.name.ends_with("_total"), counter, "{}", metric.name);
            assert!(metric.name.starts_with("headtrail_"), "{}", metric.name);
            let word = |name: &str| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
            assert!(word(metric.name) && metric.labels.iter().all(|label| word(label)), "{}", metric.name);
            assert!(metric.help.ends_with('.') && !metric.help.contains(['\n', '\\']), "{}", metric.name);
        }
        let mut names: Vec<_> = METRICS.iter().map(|metric| metric.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), METRICS.len());
    }

    #[test]
    fn what_is_not_configured_is_absent() {
        let text = expose(&Snapshot::default());
        assert!(!text.contains("journal") && !text.contains("bpf"), "{text}");
        assert!(text.contains("headtrail_transactions_total 0\n"));
    }
}
