//! `headtrail journal cat`: the journal itself, in order, without an index.

use std::io::{self, ErrorKind, Write};
use std::sync::Arc;

use headtrail_journal::cursor::Position;
use headtrail_journal::format::journal_number;
use headtrail_journal::reader::{Next, Reader};
use headtrail_journal::storage::Disk;
use headtrail_record::record::{Kind, record_id};
use headtrail_record::{ecs, json, proto};

use crate::cli::{self, Cat, CatFormat, JournalCommand};
use crate::exit::Failure;
use crate::run::journal_failure;

/// Output bytes that are gathered before they are written.
const OUTPUT_BYTES: usize = 256 * 1024;

/// Runs.
pub(crate) fn run(options: &cli::Journal) -> Result<(), Failure> {
    let JournalCommand::Cat(options) = &options.command;
    match cat(options) {
        // Whoever read us has enough.
        Err(Stop::Output(error)) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        Err(Stop::Output(error)) => Err(Failure::output(error)),
        Err(Stop::Journal(failure)) => Err(failure),
        Ok(0) => Ok(()),
        Ok(unreadable) => Err(Failure::no(format_args!("{unreadable} places of the journal cannot be read"))),
    }
}

enum Stop {
    Output(io::Error),
    Journal(Failure),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl From<headtrail_journal::Error> for Stop {
    fn from(error: headtrail_journal::Error) -> Self {
        Self::Journal(journal_failure(error))
    }
}

/// Prints; returns how many places could not be read.
fn cat(options: &Cat) -> Result<u64, Stop> {
    let storage = Arc::new(Disk::new(&options.data_dir));
    let mut reader = Reader::open(storage, Position::default())?;
    let journal = journal_number(reader.origin());
    let mut stdout = io::stdout().lock();
    let mut out = Vec::with_capacity(OUTPUT_BYTES * 2);
    let mut unreadable = 0;
    while let Some(next) = reader.next_block()? {
        let block = match next {
            Next::Block(block) => block,
            Next::Skip(_) => continue,
            Next::Damage(damage) => {
                eprintln!("headtrail: {damage}");
                unreadable += 1;
                continue;
            }
        };
        if options.kind.is_some_and(|kind| block.header.types & (1 << kind.0) == 0) {
            continue;
        }
        for (sequence, bytes) in block.records() {
            if options.kind.is_some_and(|kind| !is(bytes, kind)) {
                continue;
            }
            match proto::decode(bytes) {
                Ok(record) => match options.format {
                    CatFormat::Json => json::write_record(&mut out, &record),
                    CatFormat::Ecs => {
                        let id = record_id(&record, journal, sequence);
                        ecs::write_record(&mut out, &record, Some(&id));
                    }
                },
                Err(error) => {
                    eprintln!("headtrail: record {sequence}: {error}");
                    unreadable += 1;
                }
            }
            if out.len() >= OUTPUT_BYTES {
                stdout.write_all(&out)?;
                out.clear();
            }
        }
    }
    stdout.write_all(&out)?;
    stdout.flush()?;
    Ok(unreadable)
}

fn is(bytes: &[u8], kind: Kind) -> bool {
    // What cannot be taken apart is told.
    proto::peek(bytes).map_or(true, |(found, _)| found == kind)
}
