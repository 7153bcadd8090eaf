//! Behind a gap: where does the next record begin, and which number has it?
//!
//! Records are numbered, and the number goes into what authenticates them, but does not stand on the wire. So bytes that
//! look like a record's header are tried with each number that the lost bytes leave possible; that it authenticates is
//! the proof. Keys may have changed in what was lost, so the next ones are tried too. Everything is bounded: bytes looked
//! at, places tried, numbers tried; then the rest is not read.

use crate::connection::{Connection, Context};
use crate::facts::{Reason, State};
use crate::half::{CHANGE_CIPHER_SPEC, Epoch, HEADER_BYTES, Half, Header, Keys};

/// Most bytes behind a gap that are looked at: two records.
pub const GAP_SCAN_BYTES_MAX: u64 = 2 * 16 * 1024 + 4096;
/// Most places behind a gap where a record is tried.
pub const GAP_CANDIDATES_MAX: u32 = 16;
/// Most records that may have been lost.
pub const GAP_RECORDS_MAX: u64 = 256;

/// Most bytes that are tried to be opened behind the gaps of a connection. A record costs its length for each number that is
/// tried; without this, bytes that look like records would buy hundreds of times their own length of work.
pub const GAP_WORK_BYTES_MAX: u64 = 64 << 20;

/// A record has at least a header, a tag of eight bytes and its type.
const RECORD_BYTES_MIN: u64 = HEADER_BYTES as u64 + 9;

/// Records were lost.
pub(crate) struct Lost {
    records_max: u64,
    candidates_left: u32,
    scan_bytes_left: u64,
}

impl Lost {
    /// So many bytes are missing, after those of an earlier gap that was not got over.
    pub(crate) fn new(earlier: Option<&Self>, missing_bytes: u64) -> Self {
        let earlier_records = earlier.map_or(0, |e| e.records_max);
        let records_max = (earlier_records + missing_bytes / RECORD_BYTES_MIN + 1).min(GAP_RECORDS_MAX);
        let candidates_left = earlier.map_or(GAP_CANDIDATES_MAX, |e| e.candidates_left);
        Self { records_max, candidates_left, scan_bytes_left: GAP_SCAN_BYTES_MAX }
    }
}

/// Which keys opened a record behind a gap.
enum Under {
    Current,
    /// The first of those that lay ready.
    Next,
    /// Those behind a KeyUpdate that was lost.
    Updated(Box<Keys>),
}

struct Found {
    under: Under,
    sequence: u64,
    text: Vec<u8>,
}

impl Connection {
    /// Looks for the next record; returns how many bytes it took off the input.
    pub(crate) fn resync(&mut self, input: &[u8], context: &mut Context<'_>) -> Result<usize, Reason> {
        let len_max = self.record_bytes_max();
        let half = &mut self.halves[context.side.index()];
        let at = half.cipher_at;
        let Some(lost) = &mut half.lost else { return Ok(0) };
        let looks_like_one = |bytes: &[u8]| {
            Header::read(bytes, len_max).is_ok() && bytes.get(2).is_none_or(|&minor| minor == 3)
        };
        let passed = (0..input.len()).find(|&i| looks_like_one(&input[i..])).unwrap_or(input.len());
        if passed > 0 {
            return self.pass_over(passed, context);
        }
        let Some(header) = Header::read(input, len_max)? else { return Ok(0) };
        let Some(body) = input.get(HEADER_BYTES..header.record_len()) else { return Ok(0) };
        if header.kind == CHANGE_CIPHER_SPEC && body == [1] {
            return self.pass_over(header.record_len(), context);
        }
        let records_max = lost.records_max;
        // Two kinds of keys at most are tried.
        let work = 2 * (records_max + 1) * body.len() as u64;
        if work > self.gap_work_left {
            return Err(Reason::Gap);
        }
        let Some(found) = find(half, header, body, records_max)? else {
            self.gap_work_left -= work;
            if let Some(lost) = &mut half.lost {
                lost.candidates_left = lost.candidates_left.checked_sub(1).ok_or(Reason::Gap)?;
            }
            return self.pass_over(1, context);
        };
        let half = &mut self.halves[context.side.index()];
        match found.under {
            Under::Current => {}
            Under::Next => half.advance()?,
            Under::Updated(keys) => half.use_keys(*keys),
        }
        half.sequence = found.sequence + 1;
        // In the handshake the message that ends it may have lost its beginning, so the next keys are tried on.
        if half.epoch() != Some(Epoch::Handshake) {
            half.lost = None;
        }
        self.state = State::Decrypting;
        context.cipher = at..at + header.record_len() as u64;
        self.opened(header.kind, &found.text, context)?;
        Ok(header.record_len())
    }

    fn pass_over(&mut self, bytes: usize, context: &Context<'_>) -> Result<usize, Reason> {
        let half = &mut self.halves[context.side.index()];
        half.plain_at += bytes as u64;
        if let Some(lost) = &mut half.lost {
            lost.scan_bytes_left = lost.scan_bytes_left.checked_sub(bytes as u64).ok_or(Reason::Gap)?;
        }
        Ok(bytes)
    }
}

/// Tries the keys in use, then the next ones, with every number that may be.
fn find(half: &Half, header: Header, body: &[u8], records_max: u64) -> Result<Option<Found>, Reason> {
    let mut copy = Vec::with_capacity(body.len());
    let mut try_from = |keys: &Keys, first: u64| {
        (first..=first.saturating_add(records_max)).find_map(|sequence| {
            copy.clear();
            copy.extend_from_slice(body);
            let text = keys.opener.open(sequence, header.bytes, &mut copy)?;
            Some((sequence, text.to_vec()))
        })
    };
    let found = |under, (sequence, text)| Ok(Some(Found { under, sequence, text }));
    if let Some(opened) = half.keys.as_ref().and_then(|keys| try_from(keys, half.sequence)) {
        return found(Under::Current, opened);
    }
    match half.next.front() {
        Some(Err(reason)) => return Err(*reason),
        Some(Ok(next)) => {
            if let Some(opened) = try_from(next, 0) {
                return found(Under::Next, opened);
            }
        }
        None => {
            if let Some(updated) = half.keys.as_ref().and_then(Keys::updated)
                && let Some(opened) = try_from(&updated, 0)
            {
                return found(Under::Updated(Box::new(updated)), opened);
            }
        }
    }
    Ok(None)
}
