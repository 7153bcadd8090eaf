//! `headtrail watch`: capture, assembly, redaction and output in one thread.
//!
//! A batch is read from the ring, its transactions are written, and only then its space is given back to the kernel: what
//! standard output does not take in time stays in the ring, and what no longer fits is counted.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use headtrail_assemble::{Assembler, Limits};
use headtrail_capture::filter::Filter;
use headtrail_capture::{Capture, Options};
use headtrail_record::ecs;
use headtrail_record::event::Event;
use headtrail_record::json;

use crate::cli::{self, Format};
use crate::exit::Failure;
use crate::key;
use crate::losses::Told;
use crate::signals::Signals;
use crate::sink::Sink;
use crate::summary::Counts;
use crate::text;

/// Ring bytes that are read before they are given back.
const BATCH_BYTES: usize = 1 << 20;
/// Longest sleep without traffic.
const SLEEP_MAX: Duration = Duration::from_millis(500);
/// Between two looks at time-outs.
const TICK_NS: u64 = 100_000_000;
/// Between two looks at losses.
const LOSS_INTERVAL_NS: u64 = 1_000_000_000;

/// Writes a loss record for each reason whose count has grown.
fn tell(told: &mut Told, sink: &mut Sink, counts: &Counts, now_ns: u64) {
    for (loss, what) in told.tell(&counts.lost(), now_ns) {
        match sink.format {
            Format::Json => json::write_loss(&mut sink.out, &loss),
            Format::Ecs => ecs::write_loss(&mut sink.out, &loss, None),
            Format::Text => {
                let (count, stage, reason) = (loss.count, &loss.stage, &loss.reason);
                let _ = writeln!(sink.out, "-- lost {count} {what} ({stage}: {reason})");
            }
        }
    }
}

/// All counters at this moment.
pub(crate) fn counts(capture: &Capture, assembler: &Assembler) -> Counts {
    Counts {
        captured: capture.counters(),
        assembled: assembler.counters().clone(),
        held: assembler.held(),
        backlog_bytes: capture.backlog_bytes(),
    }
}

/// Runs until a signal comes or standard output is closed.
pub(crate) fn run(options: &cli::Watch) -> Result<(), Failure> {
    let filter = match options.filter.join(" ") {
        text if text.trim().is_empty() => None,
        text => Some(Filter::parse(&text)?),
    };
    let mut signals = Signals::install().map_err(Failure::refused)?;
    let mut capture = Capture::start(Options { filter, ring_bytes: Some(options.ring_bytes) })?;
    let fingerprint_key = match key::load_or_make(&options.data_dir) {
        Ok(key) => key,
        Err(why) => {
            eprintln!("headtrail: {why}; fingerprints of this run cannot be compared with those of others");
            key::ephemeral().map_err(Failure::refused)?
        }
    };
    let mut assembler = Assembler::new(Limits::default());
    let mut sink = Sink::new(options.format, options.verbose, fingerprint_key)?;
    for feature in capture.features() {
        if let Some(why) = &feature.off_because {
            eprintln!("headtrail: without {} ({why})", feature.gives);
        }
    }
    eprintln!(
        "headtrail: watching {} (Ctrl-C ends)",
        if options.filter.is_empty() { "all connections".to_owned() } else { options.filter.join(" ") }
    );

    if sink.format == Format::Text && io::stdout().is_terminal() {
        text::write_titles(&mut sink.out, &sink.text);
        sink.flush();
    }
    let mut told = Told::since(capture.now_ns());
    let mut ticked_ns = 0;
    while !signals.stop() && sink.failed.is_none() {
        let had = step(&mut capture, &mut assembler, &mut sink);
        let now_ns = capture.now_ns();
        if now_ns.saturating_sub(ticked_ns) >= TICK_NS {
            ticked_ns = now_ns;
            assembler.tick(now_ns, &mut |raw| sink.take(raw));
            if now_ns.saturating_sub(told.since_ns()) >= LOSS_INTERVAL_NS {
                tell(&mut told, &mut sink, &counts(&capture, &assembler), now_ns);
            }
            sink.flush();
        }
        if signals.take_report() {
            eprint!("{}", counts(&capture, &assembler).report());
        }
        if !had || capture.backlog_bytes() < BATCH_BYTES as u64 / 4 {
            capture.wait(signals.fd(), SLEEP_MAX);
        }
    }

    // Nothing new comes; what is in the ring is still printed.
    capture.detach();
    while sink.failed.is_none() && step(&mut capture, &mut assembler, &mut sink) {}
    assembler.finish(&mut |raw| sink.take(raw));
    let last = counts(&capture, &assembler);
    tell(&mut told, &mut sink, &last, capture.now_ns());
    sink.flush();
    eprint!("{}", last.report());
    sink.end()
}

/// One batch. Returns whether there was anything.
fn step(capture: &mut Capture, assembler: &mut Assembler, sink: &mut Sink) -> bool {
    let had = capture.read(BATCH_BYTES, |event| {
        // A client may be gone by the time its transaction is complete.
        if let Event::Peer { process, .. } = event {
            sink.processes.learn(process);
        }
        assembler.event(event, &mut |raw| sink.take(raw));
    });
    for resync in assembler.take_resyncs() {
        capture.resync(&resync);
    }
    sink.flush();
    capture.release();
    had
}
