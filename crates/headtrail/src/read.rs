//! `headtrail read`: a capture file in the stead of the kernel, through the same assembler.

use std::fs::File;
use std::io::{self, IsTerminal, Write};

use headtrail_assemble::{Assembler, Limits};
use headtrail_files::{Error, Reader, Unread};
use headtrail_record::ecs;
use headtrail_record::json;
use headtrail_record::record::Loss;

use crate::cli::{self, Format};
use crate::exit::Failure;
use crate::key;
use crate::keylog;
use crate::sink::Sink;
use crate::text;

/// Between two looks at time-outs, by the file's time.
const TICK_NS: u64 = 100_000_000;

/// Reads a file to its end, or until standard output is closed.
pub(crate) fn run(options: &cli::Read) -> Result<(), Failure> {
    let name = options.file.display();
    let limits = headtrail_files::Limits::default();
    let opened = if options.file.as_os_str() == "-" {
        Reader::open(io::stdin().lock(), limits)
    } else {
        File::open(&options.file).map_err(Error::Io).and_then(|file| Reader::open(file, limits))
    };
    let mut reader = opened.map_err(|why| Failure::usage(format_args!("{name}: {why}")))?;
    let key = match &options.fingerprint_key {
        Some(file) => key::from_file(file).map_err(Failure::usage)?,
        None => key::ephemeral().map_err(Failure::refused)?,
    };
    let mut assembler = Assembler::new(Limits { tunnels: true, ..Limits::default() });
    // Also without keys, to tell which connections speak TLS.
    let keys = assembler.tls_keys();
    let mut lines = headtrail_tls::Counts::default();
    if let Some(file) = &options.keylog {
        keylog::read(file, keys, &mut lines).map_err(Failure::usage)?;
    }
    let mut sink = Sink::new(options.format, options.verbose, key)?;
    if sink.format == Format::Text && io::stdout().is_terminal() {
        text::write_titles(&mut sink.out, &sink.text);
    }
    let mut ticked_ns = 0;
    while sink.failed.is_none() {
        let more = reader
            .next(&mut |event| assembler.event(event, &mut |raw| sink.take(raw)))
            .map_err(|why| Failure::usage(format_args!("{name}: {why}")))?;
        if !more {
            break;
        }
        let own = reader.take_key_log();
        if !own.is_empty() {
            assembler.tls_keys().add(&own, &mut lines);
        }
        if reader.now_ns().saturating_sub(ticked_ns) >= TICK_NS {
            ticked_ns = reader.now_ns();
            assembler.tick(ticked_ns, &mut |raw| sink.take(raw));
        }
        // There is nobody to take them.
        assembler.take_resyncs();
    }
    assembler.finish(&mut |raw| sink.take(raw));
    tell(&reader, &assembler, &mut sink);
    sink.flush();
    if let Some(why) = reader.broken() {
        eprintln!("headtrail: {name}: {why}");
    }
    let (read, made) = (reader.counters(), assembler.counters());
    eprintln!(
        "headtrail: {} packets, {} of TCP in {} connections; {} requests and responses in pairs, {} of them not whole",
        read.packets, read.segments, read.connections, made.transactions, made.incomplete
    );
    keylog::tell(&lines, &assembler.counters().tls);
    sink.end()
}

/// Writes a loss record for each reason why something was not read.
fn tell(reader: &Reader, assembler: &Assembler, sink: &mut Sink) {
    let now_ns = reader.now_ns();
    let unread = Unread::ALL.map(|(why, reason, what)| (reader.counters().unread(why), reason, what));
    let unseen =
        keylog::UNSEEN.map(|(why, reason, what)| (assembler.counters().tls.unseen(why), reason, what));
    for (count, reason, what) in unread.into_iter().chain(unseen).filter(|(count, ..)| *count > 0) {
        let loss = Loss {
            time_ns: now_ns,
            stage: "file".into(),
            reason: reason.into(),
            count,
            since_ns: now_ns,
            until_ns: now_ns,
        };
        match sink.format {
            Format::Json => json::write_loss(&mut sink.out, &loss),
            Format::Ecs => ecs::write_loss(&mut sink.out, &loss, None),
            Format::Text => {
                let _ = writeln!(sink.out, "-- not read: {count} {what} (file: {reason})");
            }
        }
    }
}
