//! Packing records into a block and taking them out again.
//!
//! A record is copied once, into the block's buffer; the buffer is compressed into the bytes that go to the disk. What a block holds, and its
//! hashes, are known without its place in the journal, so packing needs no writer and could be done elsewhere than writing.

use std::io;

use sha2::{Digest, Sha256};
use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe;

use crate::format::{BLOCK_BYTES, BlockHeader, Codec, Hash, RAW_BYTES_MAX, STORED_BYTES_MAX, TYPE_BITS};
use crate::{Error, Result};

/// Fastest of zstd's ordinary levels: packing shares its core with capturing.
const LEVEL: i32 = 1;
/// Longest varint of a length: five groups of seven bits hold 32.
const VARINT_BYTES_MAX: usize = 5;

const _: () = assert!(RAW_BYTES_MAX < 1 << (7 * (VARINT_BYTES_MAX - 1)));

/// Collects records for a block.
pub struct BlockBuilder {
    raw: Vec<u8>,
    records: u32,
    first_time_ns: u64,
    last_time_ns: u64,
    types: u32,
    compressor: Compressor<'static>,
}

/// A block that is packed, but has no place yet.
#[derive(Clone, Debug)]
pub struct Packed {
    pub(crate) stored: Vec<u8>,
    pub(crate) codec: Codec,
    raw_bytes: u32,
    records: u32,
    first_time_ns: u64,
    last_time_ns: u64,
    types: u32,
    content: Hash,
    stored_crc: u32,
}

/// Bytes of a length as varint.
fn varint_bytes(value: usize) -> usize {
    (usize::BITS - (value | 1).leading_zeros()).div_ceil(7) as usize
}

fn put_varint(to: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

/// Takes a length off the beginning. None: it is cut, or larger than any block.
fn take_varint(from: &mut &[u8]) -> Option<usize> {
    let mut value = 0;
    for group in 0..VARINT_BYTES_MAX {
        let (&byte, rest) = from.split_first()?;
        *from = rest;
        value |= usize::from(byte & 0x7f) << (7 * group);
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

impl BlockBuilder {
    /// One without records.
    ///
    /// # Errors
    ///
    /// zstd has no memory.
    pub fn new() -> Result<Self> {
        let compressor = Compressor::new(LEVEL).map_err(|e| Error::disk("zstd", e))?;
        let (raw, records, types) = (Vec::new(), 0, 0);
        Ok(Self { raw, records, first_time_ns: u64::MAX, last_time_ns: 0, types, compressor })
    }

    /// Adds a record, with its time and the number of its type in `record.proto`.
    ///
    /// # Errors
    ///
    /// It was not taken, because it fits into no block, or no longer into this one.
    pub fn push(&mut self, record: &[u8], time_ns: u64, type_number: u32) -> Result<()> {
        let bytes = varint_bytes(record.len()) + record.len();
        if bytes > RAW_BYTES_MAX {
            return Err(Error::RecordTooLarge { bytes });
        }
        if self.raw.len() + bytes > RAW_BYTES_MAX {
            return Err(Error::BlockFull);
        }
        put_varint(&mut self.raw, record.len());
        self.raw.extend_from_slice(record);
        self.records += 1;
        self.first_time_ns = self.first_time_ns.min(time_ns);
        self.last_time_ns = self.last_time_ns.max(time_ns);
        self.types |= 1 << type_number.min(TYPE_BITS - 1);
        Ok(())
    }

    /// Records in it.
    #[must_use]
    pub fn records(&self) -> u32 {
        self.records
    }

    /// It has reached the size at which a block is sealed.
    #[must_use]
    pub fn is_due(&self) -> bool {
        self.raw.len() >= BLOCK_BYTES
    }

    /// Packs what was pushed. The builder is empty then and keeps its memory.
    ///
    /// # Errors
    ///
    /// There is no record in it.
    pub fn seal(&mut self) -> Result<Packed> {
        if self.records == 0 {
            return Err(Error::BlockEmpty);
        }
        // Room for no more than the records have: where zstd does not help it fails, which is the answer.
        let mut stored = vec![0; self.raw.len()];
        let codec = match self.compressor.compress_to_buffer(&self.raw, &mut stored[..]) {
            Ok(bytes) if bytes < self.raw.len() => {
                stored.truncate(bytes);
                Codec::Zstd
            }
            _ => {
                stored.copy_from_slice(&self.raw);
                Codec::Raw
            }
        };
        stored.shrink_to_fit();
        let packed = Packed {
            codec,
            raw_bytes: self.raw.len() as u32,
            records: self.records,
            first_time_ns: self.first_time_ns,
            last_time_ns: self.last_time_ns,
            types: self.types,
            content: Sha256::digest(&stored).into(),
            stored_crc: crc32c::crc32c(&stored),
            stored,
        };
        self.clear();
        Ok(packed)
    }

    /// Throws away what was pushed.
    pub fn clear(&mut self) {
        self.raw.clear();
        (self.records, self.types) = (0, 0);
        (self.first_time_ns, self.last_time_ns) = (u64::MAX, 0);
    }
}

impl Packed {
    /// Records in it.
    #[must_use]
    pub fn records(&self) -> u32 {
        self.records
    }

    /// Its header at a place.
    #[must_use]
    pub fn header(&self, block: u64, first_record: u64, previous: Hash, sealed_ns: u64) -> BlockHeader {
        BlockHeader {
            block,
            first_record,
            records: self.records,
            codec: self.codec,
            stored_bytes: self.stored.len() as u32,
            raw_bytes: self.raw_bytes,
            first_time_ns: self.first_time_ns,
            last_time_ns: self.last_time_ns,
            sealed_ns,
            previous,
            content: self.content,
            stored_crc: self.stored_crc,
            types: self.types,
        }
    }
}

/// A block that was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Block {
    /// Its header.
    pub header: BlockHeader,
    /// Records at its beginning that the reader has passed already.
    pub passed: u32,
    raw: Vec<u8>,
}

impl Block {
    /// Unpacks stored bytes, of which the checksum has been compared.
    pub(crate) fn unpack(
        header: BlockHeader,
        passed: u32,
        stored: &[u8],
        zstd: &mut Decompressor<'static>,
    ) -> std::result::Result<Self, &'static str> {
        const WRONG: &str = "packed records";
        let raw_bytes = header.raw_bytes as usize;
        debug_assert!(raw_bytes <= RAW_BYTES_MAX && stored.len() <= STORED_BYTES_MAX, "{header:?}");
        let raw = match header.codec {
            Codec::Raw => stored.to_vec(),
            Codec::Zstd => {
                if !matches!(zstd_safe::get_frame_content_size(stored), Ok(Some(size)) if size == raw_bytes as u64)
                {
                    return Err(WRONG);
                }
                zstd.decompress(stored, raw_bytes).map_err(|_: io::Error| WRONG)?
            }
        };
        if raw.len() != raw_bytes {
            return Err(WRONG);
        }
        let block = Self { header, passed, raw };
        // Once, so that taking records out cannot fail half-way.
        let count = block.all().try_fold(0, |count, record| record.map(|_| count + 1));
        if count == Some(header.records) { Ok(block) } else { Err("lengths of the records") }
    }

    /// Each record, or that the rest is none.
    fn all(&self) -> impl Iterator<Item = Option<&[u8]>> {
        let mut rest = &self.raw[..];
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let record = take_varint(&mut rest).and_then(|len| rest.split_at_checked(len));
            rest = record.map_or(&[], |(_, behind)| behind);
            Some(record.map(|(record, _)| record))
        })
    }

    /// Sequence number and bytes of each record that the reader has not passed.
    pub fn records(&self) -> impl Iterator<Item = (u64, &[u8])> {
        (self.header.first_record..).zip(self.all().flatten()).skip(self.passed as usize)
    }
}

#[cfg(test)]
#[path = "block_tests.rs"]
mod tests;
