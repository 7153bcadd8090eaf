//! How large a record may be, for who writes it and for who reads it.
//!
//! Every element of a list costs memory when decoded, however few bytes it had: an empty line two bytes on disk and
//! fifty in memory. So fields are counted before anything is allocated for them.

use super::wire::{Fields, Value};
use crate::record::Kind;

/// Longest record, bytes: what a block of the journal can hold.
pub const RECORD_BYTES_MAX: usize = 16 << 20;
/// Most field lines and trailers of a transaction, all messages together. Assembly has a limit far below for each message.
pub const LINES_MAX: usize = 16_384;
/// Most interim responses of a transaction.
pub const INTERIM_MAX: usize = 1_024;
/// Most entries of each of its other lists, except for `redacted`, of which there can be as many as lines.
pub(super) const ENTRIES_MAX: usize = 256;
/// Most fields of a record, those of its messages and lists included.
pub const FIELDS_MAX: usize = 131_072;

/// Three fields for each line, one for each name in `redacted`, at most 17 for a message, four for each other entry.
const _: () = assert!(LINES_MAX * 4 + (INTERIM_MAX + 2) * 17 + 8 * ENTRIES_MAX * 4 < FIELDS_MAX);

/// Where the lists are: numbers of the fields in which to look for more fields.
struct Shape(&'static [(u32, &'static Shape)]);

static FLAT: Shape = Shape(&[]);
static LINES: Shape = Shape(&[(6, &FLAT), (7, &FLAT)]);
static TRANSACTION: Shape = Shape(&[(7, &LINES), (8, &LINES), (9, &LINES), (16, &FLAT)]);

/// Whether a record's content is well formed as far as it is looked at, and has not too many fields.
pub(super) fn within(kind: Kind, content: &[u8]) -> Option<bool> {
    let mut left = FIELDS_MAX;
    walk(content, if kind == Kind::TRANSACTION { &TRANSACTION } else { &FLAT }, &mut left)
}

/// None where malformed. The depth is that of the shapes.
fn walk(message: &[u8], shape: &Shape, left: &mut usize) -> Option<bool> {
    let mut fields = Fields::of(message);
    for (field, value) in fields.by_ref() {
        let Some(less) = left.checked_sub(1) else { return Some(false) };
        *left = less;
        let inner = shape.0.iter().find(|(number, _)| *number == field);
        if let (Some((_, inner)), Value::Bytes(message)) = (inner, value)
            && !walk(message, inner, left)?
        {
            return Some(false);
        }
    }
    fields.is_whole().then_some(true)
}
