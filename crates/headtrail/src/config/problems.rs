//! What is wrong with a config file, and where.

use std::fmt;
use std::ops::Range;

use headtrail_record::printable;

/// Problems that are told; a file with more has one cause for many of them.
const TOLD_MAX: usize = 50;

/// All that is wrong with a file. Displayed as lines `FILE:LINE:COLUMN: what`.
#[derive(Debug)]
pub(crate) struct Problems {
    file: String,
    /// Line and column from 1; None for the file as a whole.
    all: Vec<(Option<(usize, usize)>, String)>,
}

impl Problems {
    /// The file as a whole cannot be used.
    pub(super) fn whole(file: &str, what: impl fmt::Display) -> Self {
        Self { file: file.to_owned(), all: vec![(None, what.to_string())] }
    }

    /// The file is wrong at this line and column.
    pub(super) fn at(file: &str, place: (usize, usize), what: impl fmt::Display) -> Self {
        Self { file: file.to_owned(), all: vec![(Some(place), what.to_string())] }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = shown(&self.file);
        for (i, (place, what)) in self.all.iter().take(TOLD_MAX).enumerate() {
            let end = if i == 0 { "" } else { "\n" };
            match place {
                Some((line, column)) => write!(f, "{end}{file}:{line}:{column}: {what}")?,
                None => write!(f, "{end}{file}: {what}")?,
            }
        }
        match self.all.len().saturating_sub(TOLD_MAX) {
            0 => Ok(()),
            more => write!(f, "\n{file}: and {more} more"),
        }
    }
}

impl std::error::Error for Problems {}

/// Collects problems by byte position while a file is read.
#[derive(Default)]
pub(super) struct Found {
    all: Vec<(usize, String)>,
}

impl Found {
    /// Something is wrong at this span.
    pub(super) fn add(&mut self, span: &Range<usize>, what: impl Into<String>) {
        self.all.push((span.start, what.into()));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Drops what lies in one of `lines`, given as byte ranges in order: what cannot be read there may be misunderstood.
    pub(super) fn forget_within(&mut self, lines: &[Range<usize>]) {
        self.all.retain(|(at, _)| !lines.iter().any(|line| line.contains(at)));
    }

    /// In the order of the file.
    pub(super) fn into_problems(mut self, file: &str, text: &str) -> Problems {
        self.all.sort();
        self.all.dedup();
        let mut place = Place { line: 1, line_start: 0, at: 0 };
        let all = self.all.into_iter().enumerate().map(|(i, (at, what))| {
            // Places of what is not told need not be known.
            (Some(if i < TOLD_MAX { place.go_to(text, at) } else { (0, 0) }), what)
        });
        Problems { file: file.to_owned(), all: all.collect() }
    }
}

/// Counts lines on the way through a file.
struct Place {
    line: usize,
    line_start: usize,
    at: usize,
}

impl Place {
    /// Line and column of a byte position that is not before the last one.
    fn go_to(&mut self, text: &str, at: usize) -> (usize, usize) {
        let at = text.floor_char_boundary(at);
        for (i, _) in text.get(self.at..at).unwrap_or_default().match_indices('\n') {
            self.line += 1;
            self.line_start = self.at + i + 1;
        }
        self.at = at.max(self.at);
        (self.line, text.get(self.line_start..at).unwrap_or_default().chars().count() + 1)
    }
}

/// Line and column of the end of `text`.
pub(super) fn end_of(text: &str) -> (usize, usize) {
    Place { line: 1, line_start: 0, at: 0 }.go_to(text, text.len())
}

/// A name from the file for a message: nothing that acts on a terminal, and not longer than a line.
pub(super) fn shown(name: &str) -> String {
    const COLUMNS_MAX: usize = 80;
    let mut out = Vec::new();
    printable::write_cut(&mut out, name.as_bytes(), COLUMNS_MAX);
    String::from_utf8_lossy(&out).into_owned()
}

/// The known name that was probably meant. Two letters swapped, left out, doubled or wrong are near; the longer the
/// name, the more may be wrong.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // The distance costs the product of both lengths.
    const BYTES_MAX: usize = 64;
    if name.len() > BYTES_MAX {
        return None;
    }
    let folded = name.to_ascii_lowercase().replace('-', "_");
    let distances = known.map(|known| (strsim::osa_distance(&folded, known), known));
    let (distance, known) = distances.min_by_key(|(distance, _)| *distance)?;
    (distance <= known.len().max(3) / 3).then_some(known)
}
