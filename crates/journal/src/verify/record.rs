//! That one record is in the journal, for somebody who does not have the journal.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use zstd::bulk::Decompressor;

use crate::block::Block;
use crate::format::{BlockHeaderBytes, Hash, journal_id};
use crate::reader::{self, BlockHeaders};
use crate::signed::{self, Tiles};
use crate::storage::Storage;
use crate::tree::{InclusionProof, LogProof, VerifierKey};
use crate::walk::{self, Placed, Step, Walk};
use crate::{Error, Result};

/// Names a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Which {
    /// By its sequence number.
    Sequence(u64),
    /// By its block and its place in that, from 0.
    Place {
        /// Index of the block.
        block: u64,
        /// Place of the record.
        index: u32,
    },
}

/// A record that is proved to be in the journal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Proved {
    /// The segment.
    pub file: String,
    /// Where its block begins.
    pub offset: u64,
    /// Index of its block.
    pub block: u64,
    /// Place in that.
    pub index: u32,
    /// Its sequence number.
    pub sequence: u64,
    /// The record.
    pub record: Vec<u8>,
    /// Header of the block: the entry that is proved. It has the SHA-256 of the stored records.
    pub header: BlockHeaderBytes,
    /// A tlog-proof of the entry. Who checks it brings the header and the key.
    pub proof: String,
}

/// Proves that a record is in the journal, and checks that proof.
///
/// # Errors
///
/// There is no such record, it is damaged or not signed yet, the tiles do not prove it, or the disk refuses.
pub fn record(storage: &Arc<dyn Storage>, key: &VerifierKey, which: Which) -> Result<Proved> {
    let origin = reader::origin(&**storage)?;
    let block = match which {
        Which::Place { block, .. } => block,
        Which::Sequence(sequence) => block_of(storage, &journal_id(&origin), sequence)?,
    };
    let mut walk = Walk::new(storage.clone(), journal_id(&origin), block, true);
    let placed = match walk.next()? {
        Some(Step::Block(placed)) if placed.header.block == block => placed,
        Some(Step::Damage(damage)) => {
            return Err(Error::Corrupt { file: damage.file, offset: damage.offset, what: damage.what });
        }
        _ => return Err(Error::NoRecord),
    };
    let header = placed.header;
    let corrupt = |what| Error::Corrupt { file: placed.file.to_string(), offset: placed.offset, what };
    if Hash::from(Sha256::digest(&walk.stored)) != header.content {
        return Err(corrupt("SHA-256 of the block's records"));
    }
    let mut zstd = Decompressor::new().map_err(|e| Error::disk("zstd", e))?;
    let unpacked = Block::unpack(header, 0, &walk.stored, &mut zstd).map_err(corrupt)?;
    let index = match which {
        Which::Place { index, .. } => Some(index),
        Which::Sequence(sequence) => {
            sequence.checked_sub(header.first_record).and_then(|index| u32::try_from(index).ok())
        }
    };
    let index = index.ok_or(Error::NoRecord)?;
    let (sequence, bytes) = unpacked.records().nth(index as usize).ok_or(Error::NoRecord)?;
    let (offset, bytes) = (placed.offset, bytes.to_vec());
    let proof = prove(&**storage, key, &placed)?;
    Ok(Proved {
        file: placed.file.to_string(),
        offset,
        block,
        index,
        sequence,
        record: bytes,
        header: placed.bytes,
        proof,
    })
}

/// The block with a record.
fn block_of(storage: &Arc<dyn Storage>, journal: &[u8; 16], sequence: u64) -> Result<u64> {
    for number in walk::segment_numbers(&**storage)?.into_iter().rev() {
        let path = walk::segment_path(number);
        let file = storage.open(&path, false)?;
        match walk::segment_header(&*file, &path, number, journal)? {
            Ok(header) if header.first_record <= sequence => {}
            // A segment whose header is damaged is searched from the one before it.
            _ => continue,
        }
        let mut headers = BlockHeaders::open(storage.clone(), number)?;
        while let Some(step) = headers.next_header()? {
            match step {
                Step::Block(placed) if placed.header.first_record > sequence => return Err(Error::NoRecord),
                Step::Block(placed) if placed.header.next_record() > sequence => {
                    return Ok(placed.header.block);
                }
                _ => {}
            }
        }
        return Err(Error::NoRecord);
    }
    Err(Error::NoRecord)
}

fn prove(storage: &dyn Storage, key: &VerifierKey, placed: &Placed) -> Result<String> {
    let block = placed.header.block;
    let signed = signed::newest(storage, key)?.0.ok_or(Error::NotSigned { block })?;
    let size = signed.checkpoint.size;
    if block >= size {
        return Err(Error::NotSigned { block });
    }
    let made = InclusionProof::make(&mut Tiles(storage), block, size).map_err(Error::Tree)?;
    let checkpoint = String::from_utf8(signed.note).unwrap_or_default();
    let proof = LogProof { extra: Vec::new(), index: block, hashes: made.hashes, checkpoint };
    proof.verify(&crate::tree::Hash(placed.leaf), key).map_err(|why| Error::NotProved { block, why })?;
    Ok(proof.to_string())
}
