//! `headtrail read`: a capture file in the stead of the kernel, through the same assembler.
//!
//! With a filter a file is read twice: a connection is in when any packet of it matches, also its last one, and it is shown
//! from its beginning. The first reading makes a bit for each connection of the file; nothing of it is held back meanwhile.

use std::fs::File;
use std::io::{self, IsTerminal, Write};

use headtrail_assemble::{Assembler, Limits};
use headtrail_capture::filter::PacketFilter;
use headtrail_files::{Chosen, Error, Reader, Unread};
use headtrail_record::ecs;
use headtrail_record::json;
use headtrail_record::record::Loss;

use crate::cli::{self, Format};
use crate::exit::Failure;
use crate::key;
use crate::keylog;
use crate::sink::Sink;
use crate::summary::{Lost, lost_in_assembly};
use crate::text;

/// Between two looks at time-outs, by the file's time.
const TICK_NS: u64 = 100_000_000;

/// Opens the file, and says whether it can be opened once more.
fn open(options: &cli::Read) -> Result<(Reader, bool), Failure> {
    let limits = headtrail_files::Limits::default();
    let opened = if options.file.as_os_str() == "-" {
        Reader::open(io::stdin().lock(), limits).map(|reader| (reader, false))
    } else {
        File::open(&options.file).map_err(Error::Io).and_then(|file| {
            let lasts = file.metadata().is_ok_and(|file| file.is_file());
            Ok((Reader::open(file, limits)?, lasts))
        })
    };
    opened.map_err(|why| failure(options, &why))
}

fn failure(options: &cli::Read, why: &Error) -> Failure {
    match why {
        Error::Filter(why) => Failure::usage(why),
        why => Failure::usage(format_args!("{}: {why}", options.file.display())),
    }
}

/// Opens the file so that it gives the connections that the filter wants.
fn open_filtered(options: &cli::Read) -> Result<Reader, Failure> {
    let (mut reader, lasts) = open(options)?;
    let text = options.filter.join(" ");
    if text.trim().is_empty() {
        return Ok(reader);
    }
    let filter = PacketFilter::parse(&text)?;
    if lasts {
        let chosen = chosen(options, reader, filter)?;
        reader = open(options)?.0;
        reader.only(chosen);
    } else {
        select(&mut reader, filter);
    }
    Ok(reader)
}

fn select(reader: &mut Reader, mut filter: PacketFilter) {
    reader.select(move |packet| {
        filter.matches(packet.link, packet.bytes, packet.wire_bytes).map_err(|why| why.to_string())
    });
}

/// Reads the file for which connections the filter wants.
fn chosen(options: &cli::Read, mut reader: Reader, filter: PacketFilter) -> Result<Chosen, Failure> {
    select(&mut reader, filter);
    while reader.next(&mut |_| {}).map_err(|why| failure(options, &why))? {
        // They are taken the second time.
        reader.take_key_log();
    }
    Ok(reader.chosen())
}

/// Reads a file to its end, or until standard output is closed.
pub(crate) fn run(options: &cli::Read) -> Result<(), Failure> {
    let name = options.file.display();
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
    let mut reader = open_filtered(options)?;
    let mut sink = Sink::new(options.format, options.verbose, key)?;
    if options.show_secrets {
        sink.show_secrets();
        eprintln!(
            "headtrail: WARNING: --show-secrets: the output holds the credentials, cookies and keys of {name} as they were sent"
        );
    }
    if sink.format == Format::Text && io::stdout().is_terminal() {
        text::write_titles(&mut sink.out, &sink.text);
    }
    let mut ticked_ns = 0;
    while sink.failed.is_none() {
        let more = reader
            .next(&mut |event| assembler.event(event, &mut |raw| sink.take(raw)))
            .map_err(|why| failure(options, &why))?;
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
    let filtered = match options.filter.is_empty() {
        true => String::new(),
        false => format!(", {} of them filtered", read.connections_filtered),
    };
    eprintln!(
        "headtrail: {} packets, {} of TCP in {} connections{filtered}; {} requests and responses in pairs, {} of them not whole",
        read.packets, read.segments, read.connections, made.transactions, made.incomplete
    );
    keylog::tell(&lines, &assembler.counters().tls);
    sink.end()
}

/// Writes a loss record for each reason why something was not read.
fn tell(reader: &Reader, assembler: &Assembler, sink: &mut Sink) {
    let in_file = Unread::ALL.map(|(why, reason, what)| Lost {
        stage: "file".into(),
        reason,
        what,
        count: reader.counters().unread(why),
    });
    let of_tls = keylog::UNSEEN.map(|(why, reason, what)| Lost {
        stage: "file".into(),
        reason,
        what,
        count: assembler.counters().tls.unseen(why),
    });
    let now_ns = reader.now_ns();
    for lost in in_file.into_iter().chain(of_tls).chain(lost_in_assembly(assembler.counters())) {
        let Lost { stage, reason, what, count } = lost;
        if count == 0 {
            continue;
        }
        let loss =
            Loss { time_ns: now_ns, stage, reason: reason.into(), count, since_ns: now_ns, until_ns: now_ns };
        match sink.format {
            Format::Json => json::write_loss(&mut sink.out, &loss),
            Format::Ecs => ecs::write_loss(&mut sink.out, &loss, None),
            Format::Text => {
                let _ = writeln!(sink.out, "-- not read: {count} {what} ({}: {reason})", loss.stage);
            }
        }
    }
}
