//! From the journal to batches of documents.

use std::sync::Arc;

use headtrail_journal::block::Block;
use headtrail_journal::cursor::{self, Cursor, Position};
use headtrail_journal::format::journal_number;
use headtrail_journal::reader::{Next, Reader};
use headtrail_journal::storage::Storage;
use headtrail_journal::{Error, Result};
use headtrail_record::record::{Kind, record_id};
use headtrail_record::{ecs, proto};

use crate::batch::{Batch, Document};
use crate::gate::Synced;
use crate::select::Query;
use crate::stats::Counts;

/// Which records.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Types as bits, as in a block's header.
    types: u32,
    query: Option<Query>,
}

impl Selection {
    /// Of these types those that match.
    #[must_use]
    pub fn new(types: &[Kind], query: Option<Query>) -> Self {
        let bit = |kind: &Kind| if kind.0 <= Kind::NUMBER_MAX { 1 << kind.0 } else { 0 };
        Self { types: types.iter().map(bit).fold(0, |all, bit| all | bit), query }
    }

    fn has(&self, kind: Kind) -> bool {
        kind.0 <= Kind::NUMBER_MAX && self.types & (1 << kind.0) != 0
    }
}

/// How much a batch may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) documents_max: usize,
    pub(crate) bytes_max: usize,
    /// Records that are looked at for one batch, so that the cursor moves where few are selected.
    pub(crate) records_max: usize,
}

/// Reads on from a cursor.
pub(crate) struct Feed {
    storage: Arc<dyn Storage>,
    name: String,
    reader: Reader,
    /// The journal, as it stands in ids.
    journal: u64,
    selection: Selection,
    block: Option<Block>,
    /// The next record.
    at: Position,
    /// Number of the next record in the journal.
    record: u64,
    document: Vec<u8>,
    /// Something between the last block and the next one is damaged.
    damaged: bool,
}

impl Feed {
    /// Goes on where the cursor is; from the beginning where there is none. The words say why a cursor that is there cannot be used.
    pub(crate) fn open(
        storage: Arc<dyn Storage>,
        name: &str,
        selection: Selection,
    ) -> Result<(Self, Option<String>)> {
        let origin = headtrail_journal::reader::origin(&*storage)?;
        let (cursor, words) = match cursor::load(&*storage, name, &origin) {
            Ok(cursor) => (cursor.unwrap_or_default(), None),
            Err(error @ (Error::OtherOrigin { .. } | Error::Corrupt { .. })) => {
                (Cursor::default(), Some(format!("{error}; it begins at the beginning of the journal")))
            }
            Err(error) => return Err(error),
        };
        let Cursor { position: at, sequence: record } = cursor;
        let reader = Reader::open(storage.clone(), at)?;
        let journal = journal_number(&origin);
        let name = name.to_owned();
        let document = Vec::new();
        let (block, damaged) = (None, false);
        Ok((Self { storage, name, reader, journal, selection, block, at, record, document, damaged }, words))
    }

    /// The next record.
    pub(crate) fn cursor(&self) -> Cursor {
        Cursor { position: self.at, sequence: self.record }
    }

    /// Makes durable that everything before is settled.
    pub(crate) fn store(&self, cursor: Cursor) -> Result<()> {
        cursor::store(&*self.storage, &self.name, self.reader.origin(), cursor)
    }

    /// Adds what comes next to a batch, until it is full or there is nothing yet. Returns whether it came across any record. An error comes
    /// only with nothing: otherwise it waits until next time, since what was passed does not come again.
    pub(crate) fn fill(
        &mut self,
        batch: &mut Batch,
        limits: Limits,
        synced: Synced,
        counts: &mut Counts,
    ) -> Result<bool> {
        self.reader.set_limit(synced.blocks);
        let mut looked_at = 0;
        while batch.len() < limits.documents_max
            && batch.bytes() < limits.bytes_max
            && looked_at < limits.records_max
        {
            if self.block.is_none() {
                match self.next_block(counts) {
                    Ok(true) => {}
                    Err(error) if looked_at == 0 => return Err(error),
                    Ok(false) | Err(_) => break,
                }
            }
            looked_at += self.take(batch, limits, looked_at, counts);
        }
        batch.next = self.cursor();
        Ok(looked_at > 0)
    }

    /// Goes to the next block that has something; whether there is one.
    fn next_block(&mut self, counts: &mut Counts) -> Result<bool> {
        loop {
            match self.reader.next_block()? {
                None => return Ok(false),
                Some(Next::Block(block)) => {
                    self.at.record = if block.header.block == self.at.block { self.at.record } else { 0 };
                    self.at.block = block.header.block;
                    // The numbers of records have no gaps. What made one may have been told long ago, and before the last end.
                    let next = block.header.first_record + u64::from(self.at.record);
                    let missing = next.saturating_sub(self.record);
                    if std::mem::take(&mut self.damaged) {
                        counts.unreadable_records += missing;
                    } else {
                        counts.skipped_records += missing;
                    }
                    self.record = next;
                    self.block = Some(block);
                    return Ok(true);
                }
                Some(Next::Skip(skip)) => {
                    self.at = Position { block: skip.blocks.end, record: 0 };
                }
                Some(Next::Damage(damage)) => {
                    // How many is known now, or by the next block.
                    let records = damage.records.unwrap_or(0);
                    counts.unreadable_records += records;
                    self.record += records;
                    if !damage.blocks.is_empty() {
                        self.damaged = true;
                        self.at = Position { block: damage.blocks.end, record: 0 };
                    }
                }
            }
        }
    }

    /// Takes from the block at hand what the limits allow; returns how many records were looked at.
    fn take(&mut self, batch: &mut Batch, limits: Limits, before: usize, counts: &mut Counts) -> usize {
        let Some(block) = self.block.take() else { return 0 };
        let first = block.header.first_record;
        let mut looked_at = 0;
        if block.header.types & self.selection.types != 0 {
            let passed = first + u64::from(self.at.record);
            let room = limits.records_max - before;
            let mut full = false;
            for (sequence, bytes) in block.records().skip_while(|(sequence, _)| *sequence < passed) {
                full = batch.len() >= limits.documents_max
                    || batch.bytes() >= limits.bytes_max
                    || looked_at >= room;
                if full {
                    break;
                }
                looked_at += 1;
                self.record = sequence + 1;
                self.at.record = u32::try_from(sequence + 1 - first).unwrap_or(u32::MAX);
                add(batch, sequence, bytes, &self.selection, self.journal, &mut self.document, counts);
            }
            if full {
                self.block = Some(block);
                return looked_at;
            }
        }
        self.record = first + u64::from(block.header.records);
        self.at = Position { block: block.header.block + 1, record: 0 };
        looked_at.max(1)
    }
}

/// Adds a record's document, if it is selected.
fn add(
    batch: &mut Batch,
    sequence: u64,
    bytes: &[u8],
    selection: &Selection,
    journal: u64,
    document: &mut Vec<u8>,
    counts: &mut Counts,
) {
    // What cannot be taken apart is told, whatever is selected.
    if proto::peek(bytes).is_ok_and(|(kind, _)| !selection.has(kind)) {
        return;
    }
    let Ok(record) = proto::decode(bytes) else {
        counts.unreadable_records += 1;
        return;
    };
    let id = record_id(&record, journal, sequence);
    document.clear();
    ecs::write_record(document, &record, Some(&id));
    if selection.query.as_ref().is_some_and(|query| !query.matches(document)) {
        return;
    }
    let (kind, time_ns) = (record.kind(), record.time_ns());
    batch.push(Document { kind, id: &id, body: document, time_ns, record: sequence });
}
