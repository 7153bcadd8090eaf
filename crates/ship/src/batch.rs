//! Documents on their way to one destination.

use std::ops::Range;

use headtrail_journal::cursor::Cursor;
use headtrail_record::record::Kind;

/// A document.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Document<'a> {
    /// Type of its record.
    pub kind: Kind,
    /// `event.id`: the same however often it is sent.
    pub id: &'a str,
    /// A JSON object on one line, without the line end.
    pub body: &'a [u8],
    /// Time of its record, nanoseconds since the Unix epoch.
    pub time_ns: u64,
    /// Number of its record in the journal.
    pub record: u64,
}

/// Documents in the order of their records, in one piece of memory that is used again.
#[derive(Default, Debug)]
pub struct Batch {
    text: Vec<u8>,
    ids: String,
    entries: Vec<Entry>,
    /// Where the reader goes on once all of this is settled.
    pub next: Cursor,
}

#[derive(Debug)]
struct Entry {
    kind: Kind,
    id: Range<usize>,
    body: Range<usize>,
    time_ns: u64,
    record: u64,
}

impl Batch {
    /// Forgets all documents, and keeps the memory.
    pub fn clear(&mut self) {
        self.text.clear();
        self.ids.clear();
        self.entries.clear();
    }

    /// How many documents.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of all documents.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.text.len()
    }

    /// Adds a document, of which the last line end is left out.
    pub fn push(&mut self, document: Document<'_>) {
        let (id, body) = (self.ids.len(), self.text.len());
        self.ids.push_str(document.id);
        self.text.extend_from_slice(document.body.strip_suffix(b"\n").unwrap_or(document.body));
        self.entries.push(Entry {
            kind: document.kind,
            id: id..self.ids.len(),
            body: body..self.text.len(),
            time_ns: document.time_ns,
            record: document.record,
        });
    }

    /// A document by its place.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<Document<'_>> {
        let entry = self.entries.get(index)?;
        Some(Document {
            kind: entry.kind,
            id: self.ids.get(entry.id.clone())?,
            body: self.text.get(entry.body.clone())?,
            time_ns: entry.time_ns,
            record: entry.record,
        })
    }
}
