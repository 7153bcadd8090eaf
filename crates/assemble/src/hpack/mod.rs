//! HPACK (RFC 7541) for an observer, which may come late, and may miss header blocks.
//!
//! It never guesses: where a field refers to an entry whose insertion was not seen, its name or its value is
//! [`Text::Unknown`]; `table.rs` says when an entry is known. After an error the rest of the block is lost, and with it the
//! state of the table: the decoder goes on as one that was joined.

mod huffman;
mod integer;
mod static_table;
mod table;

use std::fmt;

use self::static_table::STATIC;
use self::table::{Lookup, Table};

/// Size of the table until SETTINGS or an update say otherwise (RFC 9113, 6.5.2).
const TABLE_OCTETS_DEFAULT: usize = 4096;
/// First index into the dynamic table (RFC 7541, 2.3.3).
const DYNAMIC: usize = STATIC.len() + 1;

/// A name or a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Text<'a> {
    /// It was seen.
    Known(&'a [u8]),
    /// A reference to what was never seen.
    Unknown,
}

impl<'a> Text<'a> {
    fn of(octets: Option<&'a [u8]>) -> Self {
        octets.map_or(Self::Unknown, Self::Known)
    }
}

/// A field line of a header block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Field<'a> {
    /// Its name.
    pub name: Text<'a>,
    /// Its value.
    pub value: Text<'a>,
    /// The sender wants it to be in no table ever (RFC 7541, 6.2.3): it may be a secret.
    pub never_indexed: bool,
}

/// How much of a block is given out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Budget {
    /// Most field lines.
    pub fields_max: usize,
    /// Most octets of names and values.
    pub octets_max: usize,
}

/// What there is to say of a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    /// Field lines in the block.
    pub fields: usize,
    /// Some names or values are unknown.
    pub unknown: bool,
    /// Some field lines were not given out because of the budget.
    pub over_budget: bool,
}

/// Why a block cannot be decoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error {
    /// It ends within a field.
    Cut,
    /// An index that no table has (RFC 7541, 2.3.3).
    IndexInvalid,
    /// An integer that is larger than anything needs (RFC 7541, 5.1).
    IntegerTooLarge,
    /// A string that is no Huffman code, or its padding is wrong (RFC 7541, 5.2).
    HuffmanInvalid,
    /// A size update behind a field, or above the limit (RFC 7541, 4.2 and 6.3).
    SizeUpdateInvalid,
}

/// The decoder of one direction of a connection.
pub struct Decoder {
    table: Table,
    name: Vec<u8>,
    value: Vec<u8>,
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Blank on purpose: the table may hold secrets.
        f.write_str("Decoder")
    }
}

impl Decoder {
    /// From the first block of a connection on. `table_octets_max`: most octets of the table that are held here, whatever
    /// the endpoints agree on; entries beyond become unknown.
    #[must_use]
    pub fn new(table_octets_max: usize) -> Self {
        Self::with(Table::new(table_octets_max, Some(TABLE_OCTETS_DEFAULT)))
    }

    /// From a later block on.
    #[must_use]
    pub fn joined(table_octets_max: usize) -> Self {
        Self::with(Table::new(table_octets_max, None))
    }

    fn with(table: Table) -> Self {
        Self { table, name: Vec::new(), value: Vec::new() }
    }

    /// A block is missing, or a part of one.
    pub fn forget(&mut self) {
        self.table.forget();
    }

    /// The largest table that the encoder may use: SETTINGS_HEADER_TABLE_SIZE of its peer, once acknowledged.
    pub fn set_limit(&mut self, octets: u32) {
        self.table.set_limit(octets as usize);
    }

    /// The encoder may use so large a table from now on, if not a larger one.
    pub fn raise_limit(&mut self, octets: u32) {
        self.table.raise_limit(octets as usize);
    }

    /// What it holds weighs so much.
    #[must_use]
    pub fn held_octets(&self) -> usize {
        self.table.weight() + self.name.capacity() + self.value.capacity()
    }

    /// Decodes a whole block: the fragments of HEADERS or PUSH_PROMISE and of all its CONTINUATIONs, joined. Each field
    /// is handed to `field` in order, as far as the budget goes.
    pub fn block(
        &mut self,
        block: &[u8],
        budget: Budget,
        field: &mut dyn FnMut(Field<'_>),
    ) -> Result<Summary, Error> {
        let result = self.walk(block, budget, field);
        if result.is_err() {
            self.forget();
        }
        // One long value must not cost memory for ever.
        const SPARE_BYTES: usize = 4096;
        self.name.clear();
        self.value.clear();
        self.name.shrink_to(SPARE_BYTES);
        self.value.shrink_to(SPARE_BYTES);
        result
    }

    fn walk(
        &mut self,
        mut block: &[u8],
        budget: Budget,
        give: &mut dyn FnMut(Field<'_>),
    ) -> Result<Summary, Error> {
        let mut out = Out { summary: Summary::default(), budget, octets: 0, give };
        while let Some(&first) = block.first() {
            match first {
                0x80.. => {
                    let index = integer::decode(&mut block, 7)? as usize;
                    let (name, value) = look_up(&self.table, index)?;
                    out.field(name, value, false);
                }
                0x40.. => {
                    let name = self.literal(&mut block, 6)?.then_some(&self.name[..]);
                    out.field(name, Some(&self.value), false);
                    self.table.insert(name, &self.value);
                }
                0x20.. => {
                    let octets = integer::decode(&mut block, 5)?;
                    if out.summary.fields > 0 || !self.table.set_max(octets as usize) {
                        return Err(Error::SizeUpdateInvalid);
                    }
                }
                _ => {
                    let name = self.literal(&mut block, 4)?.then_some(&self.name[..]);
                    out.field(name, Some(&self.value), first & 0x10 != 0);
                }
            }
        }
        Ok(out.summary)
    }

    /// Reads a literal field (RFC 7541, 6.2) into `name` and `value`; false where the name is unknown.
    fn literal(&mut self, block: &mut &[u8], prefix: u32) -> Result<bool, Error> {
        let index = integer::decode(block, prefix)? as usize;
        self.name.clear();
        let mut known = true;
        if index == 0 {
            string(block, &mut self.name)?;
        } else {
            match look_up(&self.table, index)?.0 {
                Some(name) => self.name.extend_from_slice(name),
                None => known = false,
            }
        }
        self.value.clear();
        string(block, &mut self.value)?;
        Ok(known)
    }
}

/// Gives out fields as far as the budget goes.
struct Out<'a> {
    summary: Summary,
    budget: Budget,
    octets: usize,
    give: &'a mut dyn FnMut(Field<'_>),
}

impl Out<'_> {
    fn field(&mut self, name: Option<&[u8]>, value: Option<&[u8]>, never_indexed: bool) {
        self.summary.fields += 1;
        self.summary.unknown |= name.is_none() || value.is_none();
        self.octets = self
            .octets
            .saturating_add(name.map_or(0, <[u8]>::len))
            .saturating_add(value.map_or(0, <[u8]>::len));
        self.summary.over_budget |=
            self.summary.fields > self.budget.fields_max || self.octets > self.budget.octets_max;
        if !self.summary.over_budget {
            (self.give)(Field { name: Text::of(name), value: Text::of(value), never_indexed });
        }
    }
}

/// Name and value, where known.
type Pair<'a> = (Option<&'a [u8]>, Option<&'a [u8]>);

/// What an index refers to (RFC 7541, 2.3.3).
fn look_up(table: &Table, index: usize) -> Result<Pair<'_>, Error> {
    if let Some(&(name, value)) = index.checked_sub(1).and_then(|i| STATIC.get(i)) {
        return Ok((Some(name), Some(value)));
    }
    match index.checked_sub(DYNAMIC).map(|i| table.get(i)) {
        Some(Lookup::Entry(name, value)) => Ok((name, Some(value))),
        Some(Lookup::Unknown) => Ok((None, None)),
        Some(Lookup::None) | None => Err(Error::IndexInvalid),
    }
}

/// Appends a string (RFC 7541, 5.2).
fn string(block: &mut &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
    let huffman = block.first().is_some_and(|b| b & 0x80 != 0);
    let len = integer::decode(block, 7)? as usize;
    let (octets, rest) = block.split_at_checked(len).ok_or(Error::Cut)?;
    *block = rest;
    if huffman {
        huffman::decode(octets, out).map_err(|_| Error::HuffmanInvalid)
    } else {
        out.extend_from_slice(octets);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
