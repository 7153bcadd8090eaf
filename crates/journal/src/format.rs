//! The bytes of segments and blocks, as docs/formats/journal.md fixes them.
//!
//! Decoding takes what is exactly as this version writes it: anything else is not a header, and recovery decides what that means. Hence
//! what decodes is encoded to the same bytes again, which the tree rests on.

use sha2::{Digest, Sha256};

/// Version that this code writes.
pub const VERSION: u16 = 1;
/// Size of a segment's header.
pub const SEGMENT_HEADER_BYTES: usize = 64;
/// Size of a block's header.
pub const BLOCK_HEADER_BYTES: usize = 160;
/// Most bytes of records in a block, unpacked.
pub const RAW_BYTES_MAX: usize = 16 << 20;
/// Most bytes of a block's records as they lie in the file.
pub const STORED_BYTES_MAX: usize = 17 << 20;
/// A block is sealed when its records reach this.
pub const BLOCK_BYTES: usize = 1 << 20;
/// A segment is closed before it gets longer.
pub const SEGMENT_BYTES_MAX: u64 = 64 << 20;

const SEGMENT_MAGIC: [u8; 8] = *b"HTSEG\r\n\x1a";
/// How a block begins.
pub(crate) const BLOCK_MAGIC: [u8; 4] = *b"HTBK";
/// Types of records that a block's header can tell apart; the last bit is for all from there on.
pub(crate) const TYPE_BITS: u32 = 32;
/// Longest header that a later version may have, so that its checksum can be looked for.
const HEADER_BYTES_MAX: usize = 4096;

const _: () = assert!(BLOCK_BYTES <= RAW_BYTES_MAX && RAW_BYTES_MAX < STORED_BYTES_MAX);
const _: () = assert!(STORED_BYTES_MAX <= u32::MAX as usize);
const _: () = assert!(
    (SEGMENT_HEADER_BYTES + BLOCK_HEADER_BYTES + STORED_BYTES_MAX) as u64 <= SEGMENT_BYTES_MAX,
    "the largest block has to fit into a segment of its own"
);

/// A leaf or node of the Merkle tree.
pub type Hash = [u8; 32];
/// A block's header as it is stored.
pub type BlockHeaderBytes = [u8; BLOCK_HEADER_BYTES];

/// The leaf of a block that was lost, with its header, before a checkpoint covered it: SHA-256(0x00), an entry of no bytes.
pub const LOST_LEAF: Hash = [
    0x6e, 0x34, 0x0b, 0x9c, 0xff, 0xb3, 0x7a, 0x98, 0x9c, 0xa5, 0x44, 0xe6, 0xbb, 0x78, 0x0a, 0x2c, 0x78,
    0x90, 0x1d, 0x3f, 0xb3, 0x37, 0x38, 0x76, 0x85, 0x11, 0xa3, 0x06, 0x17, 0xaf, 0xa0, 0x1d,
];

/// The leaf hash of a block's header (RFC 6962, 2.1).
#[must_use]
pub fn leaf_hash(header: &BlockHeaderBytes) -> Hash {
    let mut hash = Sha256::new();
    hash.update([0]);
    hash.update(header);
    hash.finalize().into()
}

/// The name of a journal in its segments: the first half of SHA-256 of its origin.
#[must_use]
pub fn journal_id(origin: &str) -> [u8; 16] {
    let hash: Hash = Sha256::digest(origin.as_bytes()).into();
    let mut id = [0; 16];
    id.copy_from_slice(&hash[..16]);
    id
}

/// The journal as a number: the first bytes of its id, for ids of records.
#[must_use]
pub fn journal_number(origin: &str) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = journal_id(origin);
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// Why bytes are not a header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HeaderError {
    /// A whole one, but of a later version.
    Newer(u16),
    /// It is none, or not whole.
    Wrong(&'static str),
}

/// Takes fields in order. Beyond the end it gives zeros, which cannot happen behind the check of the length.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn array<const N: usize>(&mut self) -> [u8; N] {
        let (field, rest) = self.0.split_at(N.min(self.0.len()));
        self.0 = rest;
        field.try_into().unwrap_or([0; N])
    }
    fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }
    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }
    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }
}

/// Puts fields in order.
struct Put<'a> {
    to: &'a mut [u8],
    at: usize,
}

impl Put<'_> {
    fn bytes(&mut self, bytes: &[u8]) {
        self.to[self.at..][..bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }
    /// The checksum of all before it.
    fn crc(&mut self) {
        let crc = crc32c::crc32c(&self.to[..self.at]);
        self.bytes(&crc.to_le_bytes());
    }
}

fn crc_is_right(header: &[u8]) -> bool {
    header.split_last_chunk().is_some_and(|(rest, crc)| crc32c::crc32c(rest) == u32::from_le_bytes(*crc))
}

/// How a segment begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentHeader {
    /// Index of its first block.
    pub first_block: u64,
    /// Sequence number of its first record.
    pub first_record: u64,
    /// When it was made, nanoseconds since the epoch.
    pub created_ns: u64,
    /// Which journal it belongs to ([`journal_id`]).
    pub journal: [u8; 16],
}

impl SegmentHeader {
    /// As it is stored.
    #[must_use]
    pub fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        let mut put = Put { to: &mut bytes, at: 0 };
        put.bytes(&SEGMENT_MAGIC);
        put.bytes(&VERSION.to_le_bytes());
        put.bytes(&(SEGMENT_HEADER_BYTES as u16).to_le_bytes());
        put.bytes(&[0; 4]);
        put.bytes(&self.first_block.to_le_bytes());
        put.bytes(&self.first_record.to_le_bytes());
        put.bytes(&self.created_ns.to_le_bytes());
        put.bytes(&self.journal);
        put.bytes(&[0; 4]);
        put.crc();
        bytes
    }

    /// From the beginning of a file, which may hold more.
    ///
    /// # Errors
    ///
    /// It is none, or of a later version.
    pub fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        let mut fields = Fields(bytes);
        if fields.array() != SEGMENT_MAGIC {
            return Err(HeaderError::Wrong("not the beginning of a segment"));
        }
        let (version, size) = (fields.u16(), usize::from(fields.u16()));
        // Every version has its magic, version and size there and ends with its checksum; so a flipped bit is not taken for a later version.
        if size > HEADER_BYTES_MAX || !bytes.get(..size).is_some_and(crc_is_right) {
            return Err(HeaderError::Wrong("checksum of the segment's header"));
        }
        if version > VERSION {
            return Err(HeaderError::Newer(version));
        }
        let reserved = fields.array::<4>();
        let header = Self {
            first_block: fields.u64(),
            first_record: fields.u64(),
            created_ns: fields.u64(),
            journal: fields.array(),
        };
        let as_written =
            version == VERSION && size == SEGMENT_HEADER_BYTES && reserved == [0; 4] && fields.u32() == 0;
        if as_written { Ok(header) } else { Err(HeaderError::Wrong("fields of the segment's header")) }
    }
}

/// How a block's records are stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Codec {
    /// As they are.
    Raw = 0,
    /// One zstd frame with its content size.
    Zstd = 1,
}

/// How a block begins: also its entry in the tree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockHeader {
    /// Its index.
    pub block: u64,
    /// Sequence number of its first record.
    pub first_record: u64,
    /// How many there are.
    pub records: u32,
    /// How they are stored.
    pub codec: Codec,
    /// Their bytes in the file.
    pub stored_bytes: u32,
    /// Their bytes unpacked.
    pub raw_bytes: u32,
    /// Least time of its records, nanoseconds since the epoch.
    pub first_time_ns: u64,
    /// Greatest time of its records.
    pub last_time_ns: u64,
    /// When it got its place.
    pub sealed_ns: u64,
    /// Leaf hash of the block before.
    pub previous: Hash,
    /// SHA-256 of the stored bytes.
    pub content: Hash,
    /// CRC32C of the stored bytes.
    pub stored_crc: u32,
    /// Bit n: a record of type n is in it.
    pub types: u32,
}

impl BlockHeader {
    /// As it is stored.
    #[must_use]
    pub fn encode(&self) -> BlockHeaderBytes {
        let mut bytes = [0; BLOCK_HEADER_BYTES];
        let mut put = Put { to: &mut bytes, at: 0 };
        put.bytes(&BLOCK_MAGIC);
        put.bytes(&VERSION.to_le_bytes());
        put.bytes(&(BLOCK_HEADER_BYTES as u16).to_le_bytes());
        put.bytes(&self.block.to_le_bytes());
        put.bytes(&self.first_record.to_le_bytes());
        put.bytes(&self.records.to_le_bytes());
        put.bytes(&(self.codec as u16).to_le_bytes());
        put.bytes(&[0; 2]);
        put.bytes(&self.stored_bytes.to_le_bytes());
        put.bytes(&self.raw_bytes.to_le_bytes());
        put.bytes(&self.first_time_ns.to_le_bytes());
        put.bytes(&self.last_time_ns.to_le_bytes());
        put.bytes(&self.sealed_ns.to_le_bytes());
        put.bytes(&self.previous);
        put.bytes(&self.content);
        put.bytes(&self.stored_crc.to_le_bytes());
        put.bytes(&[0; 20]);
        put.bytes(&self.types.to_le_bytes());
        put.crc();
        bytes
    }

    /// From its bytes.
    ///
    /// # Errors
    ///
    /// It is none, or one that this version does not write.
    pub fn decode(bytes: &BlockHeaderBytes) -> Result<Self, HeaderError> {
        let mut fields = Fields(bytes);
        if fields.array() != BLOCK_MAGIC {
            return Err(HeaderError::Wrong("not the beginning of a block"));
        }
        if !crc_is_right(bytes) {
            return Err(HeaderError::Wrong("checksum of the block's header"));
        }
        let wrong = Err(HeaderError::Wrong("fields of the block's header"));
        if fields.u16() != VERSION || usize::from(fields.u16()) != BLOCK_HEADER_BYTES {
            return wrong;
        }
        let (block, first_record, records) = (fields.u64(), fields.u64(), fields.u32());
        let codec = match fields.u16() {
            0 => Codec::Raw,
            1 => Codec::Zstd,
            _ => return wrong,
        };
        let reserved = fields.u16();
        let header = Self {
            block,
            first_record,
            records,
            codec,
            stored_bytes: fields.u32(),
            raw_bytes: fields.u32(),
            first_time_ns: fields.u64(),
            last_time_ns: fields.u64(),
            sealed_ns: fields.u64(),
            previous: fields.array(),
            content: fields.array(),
            stored_crc: fields.u32(),
            types: {
                if reserved != 0 || fields.array() != [0u8; 20] {
                    return wrong;
                }
                fields.u32()
            },
        };
        if header.is_sane() { Ok(header) } else { wrong }
    }

    fn is_sane(&self) -> bool {
        let (stored, raw) = (self.stored_bytes as usize, self.raw_bytes as usize);
        (1..=STORED_BYTES_MAX).contains(&stored)
            && (1..=RAW_BYTES_MAX).contains(&raw)
            && (1..=self.raw_bytes).contains(&self.records)
            && (self.codec == Codec::Zstd || stored == raw)
            && self.first_time_ns <= self.last_time_ns
            && self.block < u64::MAX
            && self.first_record.checked_add(self.records.into()).is_some()
    }

    /// Sequence number behind its last record.
    #[must_use]
    pub fn next_record(&self) -> u64 {
        self.first_record.saturating_add(self.records.into())
    }

    /// Bytes of header and records in the file.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        BLOCK_HEADER_BYTES as u64 + u64::from(self.stored_bytes)
    }
}

#[cfg(test)]
#[path = "format_tests.rs"]
mod tests;
