//! Dead letters again: `headtrail ship replay`.
//!
//! The same delivery as of records of the journal. What is refused once more goes into the dead-letter file anew; a file is removed when
//! each of its letters is settled, so one that was replayed in part comes again as a whole, with the same ids.
//!
//! The daemon may be at work meanwhile: a file that it removes, because there are too many, is no longer there.

use std::fs;
use std::io;
use std::path::Path;

use headtrail_record::record::Kind;

use crate::backoff::{self, Backoff};
use crate::batch::{Batch, Document};
use crate::dead_letter::{self, DeadLetters};
use crate::delivery::Delivery;
use crate::gate::Gate;
use crate::settings::Settings;
use crate::sink::Sink;
use crate::stats::{Counts, Stats};

/// What became of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Replayed {
    /// Letters that are there now, those included that were there already.
    pub stored: u64,
    /// Letters that were refused once more.
    pub refused: u64,
    /// Lines that are no letters; they are left out, and told.
    pub unreadable: u64,
}

/// Sends all letters of a destination that there are at the beginning. It waits as long as the destination does not answer.
///
/// # Errors
///
/// The disk refuses; what was not settled is still there.
pub fn replay(
    settings: &Settings,
    data_dir: &Path,
    sink: Box<dyn Sink>,
    tell: Box<dyn Fn(&str) + Send>,
) -> io::Result<Replayed> {
    let files = DeadLetters::new(data_dir, &settings.name).take()?;
    let mut delivery = Delivery {
        name: settings.name.clone(),
        sink,
        dead: DeadLetters::replaced(data_dir, &settings.name),
        gate: Gate::default(),
        stats: Stats::default(),
        counts: Counts::default(),
        backoff: Backoff::new(backoff::Limits::default()),
        group: usize::MAX,
        calm: 0,
        tell,
        told: None,
    };
    let mut unreadable = 0;
    let mut batch = Batch::default();
    for file in files {
        let letters = match dead_letter::read(&file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            letters => letters?,
        };
        for (number, letter) in (1..).zip(letters) {
            let letter = match letter {
                Ok(letter) => letter,
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) =>
                {
                    unreadable += 1;
                    delivery.say(&format!("{}, line {number}: {error}", file.display()));
                    continue;
                }
                Err(error) => return Err(error),
            };
            batch.push(Document {
                kind: Kind::of_name(&letter.kind).unwrap_or(Kind::TRANSACTION),
                id: &letter.id,
                body: letter.document.get().as_bytes(),
                time_ns: 0,
                record: letter.record,
            });
            if batch.len() >= settings.batch_documents_max || batch.bytes() >= settings.batch_bytes_max {
                delivery.deliver(&batch);
                batch.clear();
            }
        }
        delivery.deliver(&batch);
        batch.clear();
        match fs::remove_file(&file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(Replayed { stored: delivery.counts.stored, refused: delivery.counts.dead_letters, unreadable })
}
