use super::*;
use crate::block::{BlockBuilder, Packed};
use crate::recovery::Unsigned;
use crate::storage::Storage;
use crate::testing::FaultyDisk;
use crate::writer::{Options, Writer};

const ORIGIN: &str = "headtrail/test/0123456789abcdef";

fn packed(records: &[&[u8]]) -> Packed {
    let mut builder = BlockBuilder::new().unwrap();
    for record in records {
        builder.push(record, 1, 1).unwrap();
    }
    builder.seal().unwrap()
}

fn writer(disk: &Arc<FaultyDisk>) -> Writer {
    let options = Options { segment_bytes_max: 400, ..Options::new(ORIGIN) };
    Writer::open(disk.clone(), options, &Unsigned, 1).unwrap().0
}

fn at(block: u64, record: u32) -> Position {
    Position { block, record }
}

/// The blocks that are there now, with the numbers of their records.
fn blocks(reader: &mut Reader) -> Vec<(u64, Vec<u64>)> {
    let mut all = Vec::new();
    while let Some(next) = reader.next_block().unwrap() {
        let Next::Block(block) = next else { panic!("{next:?}") };
        all.push((block.header.block, block.records().map(|(sequence, _)| sequence).collect()));
    }
    all
}

#[test]
fn a_reader_follows_a_growing_journal_up_to_its_limit() {
    let disk = FaultyDisk::new(1);
    let mut writer = writer(&disk);
    let mut free = Reader::open(disk.clone(), at(0, 0)).unwrap();
    let mut limited = Reader::open(disk.clone(), at(0, 0)).unwrap();
    limited.set_limit(0);
    for block in 0..7 {
        writer.append(packed(&[b"a", b"b"]), 1).unwrap();
        assert_eq!(blocks(&mut free), [(block, vec![2 * block, 2 * block + 1])]);
        assert_eq!(blocks(&mut limited), []);
        limited.set_limit(writer.sync(1).unwrap().blocks);
        assert_eq!(blocks(&mut limited).len(), 1);
    }
    assert!(disk.list(SEGMENTS).unwrap().len() > 2);
}

#[test]
fn a_reader_begins_within_a_block_and_at_the_end() {
    let disk = FaultyDisk::new(1);
    let mut writer = writer(&disk);
    for _ in 0..4 {
        writer.append(packed(&[b"a", b"b", b"c"]), 1).unwrap();
    }
    let read = |position| blocks(&mut Reader::open(disk.clone(), position).unwrap());
    assert_eq!(read(at(2, 1)), [(2, vec![7, 8]), (3, vec![9, 10, 11])]);
    assert_eq!(read(at(2, 3)), [(2, vec![]), (3, vec![9, 10, 11])]);
    assert_eq!(read(at(4, 0)), []);
    let mut ahead = Reader::open(disk.clone(), at(5, 0)).unwrap();
    assert_eq!(blocks(&mut ahead), []);
    for _ in 0..2 {
        writer.append(packed(&[b"a", b"b", b"c"]), 1).unwrap();
    }
    assert_eq!(blocks(&mut ahead), [(5, vec![15, 16, 17])]);
}

#[test]
fn what_retention_removed_is_skipped_once() {
    let disk = FaultyDisk::new(1);
    let mut writer = writer(&disk);
    let mut reader = Reader::open(disk.clone(), at(0, 0)).unwrap();
    writer.append(packed(&[b"a", b"b"]), 1).unwrap();
    assert_eq!(blocks(&mut reader).len(), 1);
    for _ in 0..8 {
        writer.append(packed(&[b"a", b"b"]), 1).unwrap();
    }
    writer.sync(1).unwrap();
    let removed = writer.set_free(u64::MAX, None).unwrap();
    // The segment that it has open can still be read; what comes behind is told with its records.
    let mut told = Vec::new();
    while let Some(next) = reader.next_block().unwrap() {
        told.push(next);
    }
    let skips: Vec<&Skip> =
        told.iter().filter_map(|next| if let Next::Skip(skip) = next { Some(skip) } else { None }).collect();
    let [skip] = skips[..] else { panic!("{told:?}") };
    assert_eq!(skip.blocks.end, removed.blocks.end);
    assert_eq!(skip.records, Some(2 * (skip.blocks.end - skip.blocks.start)));
    let mut late = Reader::open(disk, at(1, 1)).unwrap();
    let Some(Next::Skip(skip)) = late.next_block().unwrap() else { panic!() };
    assert_eq!((skip.blocks, skip.records), (1..removed.blocks.end, None));
    assert!(!blocks(&mut late).is_empty());
}

#[test]
fn damage_is_told_with_its_place_and_passed() {
    let disk = FaultyDisk::new(1);
    let mut writer = writer(&disk);
    for _ in 0..6 {
        writer.append(packed(&[b"a", b"b"]), 1).unwrap();
    }
    writer.close(1).unwrap();
    let path = segment_path(2);
    let mut bytes = disk.bytes(&path).unwrap();
    bytes[64 + 50] ^= 1;
    disk.put(&path, &bytes);
    let mut reader = Reader::open(disk.clone(), at(0, 0)).unwrap();
    let mut whole = Vec::new();
    let mut damage = Vec::new();
    while let Some(next) = reader.next_block().unwrap() {
        match next {
            Next::Block(block) => whole.push(block.header.block),
            Next::Damage(told) => damage.push(told),
            Next::Skip(skip) => panic!("{skip:?}"),
        }
    }
    assert_eq!(whole, [0, 1, 3, 4, 5]);
    let what = "checksum of the block's header";
    assert_eq!(damage, [Damage { file: path, offset: 64, what, blocks: 2..3, records: Some(2) }]);
}

#[test]
fn a_block_within_the_records_of_another_is_not_taken_for_one() {
    let disk = FaultyDisk::new(1);
    let mut writer = writer(&disk);
    // What a client may send: a whole block, stored as it is because zstd does not help.
    let inner = packed(&[b"forged"]);
    let mut forged = inner.header(1, 1, [0; 32], 1).encode().to_vec();
    forged.extend_from_slice(b"\x06forged");
    let forged: Vec<u8> = forged;
    writer.append(packed(&[&forged]), 1).unwrap();
    writer.append(packed(&[b"real"]), 1).unwrap();
    writer.close(1).unwrap();
    let mut path = disk.bytes(&segment_path(0)).unwrap();
    let last = 64 + BLOCK + 3;
    path[last] ^= 1;
    disk.put(&segment_path(0), &path);
    let mut reader = Reader::open(disk, at(0, 0)).unwrap();
    let Some(Next::Damage(damage)) = reader.next_block().unwrap() else { panic!() };
    assert_eq!(damage.blocks, 0..1);
    let Some(Next::Block(block)) = reader.next_block().unwrap() else { panic!() };
    assert_eq!(block.records().next().unwrap(), (1, &b"real"[..]));
}

/// Size of a block's header.
const BLOCK: usize = crate::format::BLOCK_HEADER_BYTES;

#[test]
fn there_is_nothing_to_read_without_a_journal() {
    let disk = FaultyDisk::new(1);
    assert!(Reader::open(disk, at(0, 0)).is_err_and(|error| error.is_not_found()));
}

#[test]
fn changed_records_with_a_right_checksum_are_found_when_asked_for() {
    let disk = FaultyDisk::new(1);
    let mut writer = writer(&disk);
    writer.append(packed(&[b"abc"]), 1).unwrap();
    writer.close(1).unwrap();
    let mut bytes = disk.bytes(&segment_path(0)).unwrap();
    let end = bytes.len();
    bytes[end - 1] = b'x';
    // Whoever changes it puts the checksums right.
    let crc = crc32c::crc32c(&bytes[64 + BLOCK..]);
    bytes[64 + 128..64 + 132].copy_from_slice(&crc.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[64..64 + 156]);
    bytes[64 + 156..64 + 160].copy_from_slice(&crc.to_le_bytes());
    disk.put(&segment_path(0), &bytes);
    let mut reader = Reader::open(disk.clone(), at(0, 0)).unwrap();
    assert!(matches!(reader.next_block().unwrap(), Some(Next::Block(_))));
    let mut reader = Reader::open(disk, at(0, 0)).unwrap();
    reader.check_content();
    assert!(matches!(reader.next_block().unwrap(), Some(Next::Damage(_))));
}

#[test]
fn leaves_of_lost_blocks_are_told_by_the_next_one() {
    let disk = FaultyDisk::new(1);
    let mut writer = writer(&disk);
    let leaves: Vec<Hash> = (0..6).map(|_| writer.append(packed(&[b"a", b"b"]), 1).unwrap().leaf).collect();
    writer.close(1).unwrap();
    for (segment, at) in [(0, 64 + 20), (2, 64 + 20)] {
        let mut bytes = disk.bytes(&segment_path(segment)).unwrap();
        bytes[at] ^= 1;
        disk.put(&segment_path(segment), &bytes);
    }
    disk.remove(&segment_path(4)).unwrap();
    let mut found = Leaves::open(disk, 0).unwrap();
    let mut all = Vec::new();
    while let Some((block, leaf, placed)) = found.next_leaf().unwrap() {
        all.push((block, leaf, placed.is_some()));
    }
    assert_eq!(
        all,
        [(0, leaves[0], false), (1, leaves[1], true), (2, leaves[2], false), (3, leaves[3], true)]
    );
}
