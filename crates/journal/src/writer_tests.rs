use super::*;
use crate::block::BlockBuilder;
use crate::format::{BlockHeader, LOST_LEAF};
use crate::reader::{Next, Reader};
use crate::recovery::Unsigned;
use crate::storage::Disk;
use crate::testing::{Faults, FaultyDisk};

const ORIGIN: &str = "headtrail/test/0123456789abcdef";
const NOW: u64 = 1_000;

fn packed(text: &str) -> Packed {
    let mut builder = BlockBuilder::new().unwrap();
    builder.push(text.as_bytes(), NOW, 1).unwrap();
    builder.push(b"and another", NOW, 1).unwrap();
    builder.seal().unwrap()
}

fn open(disk: &Arc<FaultyDisk>, tree: &dyn Tree) -> Result<(Writer, Opened)> {
    Writer::open(disk.clone(), Options { segment_bytes_max: 500, ..Options::new(ORIGIN) }, tree, NOW)
}

/// What was signed of a journal, and what is left of the tree.
#[derive(Clone, Default)]
struct Signed {
    entries: Vec<BlockHeaderBytes>,
    tiles_lost: bool,
    checkpoint_damaged: bool,
}

impl Tree for Signed {
    fn signed(&self) -> u64 {
        self.entries.len() as u64
    }
    fn leaf_hash(&self, block: u64) -> Option<Hash> {
        self.header(block).map(|header| leaf_hash(&header))
    }
    fn header(&self, block: u64) -> Option<BlockHeaderBytes> {
        self.entries.get(block as usize).copied().filter(|_| !self.tiles_lost)
    }
    fn checkpoint_is_damaged(&self) -> bool {
        self.checkpoint_damaged
    }
    fn tiles_are_damaged(&self) -> bool {
        self.tiles_lost
    }
}

/// A journal of so many blocks, of which two go into a segment.
fn journal(blocks: u64) -> (Arc<FaultyDisk>, Signed) {
    let disk = FaultyDisk::new(1);
    let (mut writer, opened) = open(&disk, &Unsigned).unwrap();
    assert!(opened.created && opened.act == Act::Begin && !opened.unclean);
    let mut signed = Signed::default();
    for block in 0..blocks {
        let appended = writer.append(packed(&format!("block {block}")), NOW).unwrap();
        assert_eq!((appended.block, appended.first_record), (block, 2 * block));
        signed.entries.push(appended.header);
    }
    assert_eq!(writer.close(NOW).unwrap(), Synced { blocks, records: 2 * blocks });
    (disk, signed)
}

fn read(disk: &Arc<FaultyDisk>) -> Vec<Next> {
    let mut reader = Reader::open(disk.clone(), Default::default()).unwrap();
    std::iter::from_fn(|| reader.next_block().unwrap()).collect()
}

/// Indexes of the blocks that are read, and ranges of those that are told as lost.
fn blocks(disk: &Arc<FaultyDisk>) -> (Vec<u64>, Vec<std::ops::Range<u64>>) {
    let (mut whole, mut lost) = (Vec::new(), Vec::new());
    for next in read(disk) {
        match next {
            Next::Block(block) => whole.push(block.header.block),
            Next::Damage(damage) => lost.push(damage.blocks),
            Next::Skip(skip) => panic!("{skip:?}"),
        }
    }
    (whole, lost)
}

/// Opens, appends one block, and says what was told and which number that block got.
fn goes_on(disk: &Arc<FaultyDisk>, tree: &dyn Tree) -> (Opened, u64) {
    let (mut writer, opened) = open(disk, tree).unwrap();
    let appended = writer.append(packed("goes on"), NOW).unwrap();
    assert_eq!((appended.block, appended.first_record), (opened.synced.blocks, opened.synced.records));
    writer.close(NOW).unwrap();
    (opened, appended.block)
}

fn change(disk: &FaultyDisk, path: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = disk.bytes(path).unwrap();
    change(&mut bytes);
    disk.put(path, &bytes);
}

#[test]
fn row_whole_goes_on_and_tells_nothing() {
    let (disk, signed) = journal(3);
    let (opened, next) = goes_on(&disk, &signed);
    assert_eq!((opened.act, opened.unclean, next), (Act::GoOn, false, 3));
    assert_eq!((opened.damage, opened.cut), (Vec::new(), Vec::new()));
    assert_eq!(blocks(&disk), ((0..4).collect(), vec![]));
    assert!(disk.bytes(&segment_path(2)).is_some() && disk.bytes(&segment_path(3)).is_none());
}

#[test]
fn row_no_segment_begins() {
    let disk = FaultyDisk::new(1);
    let (opened, next) = goes_on(&disk, &Unsigned);
    assert_eq!((opened.act, opened.created, opened.unclean, next), (Act::Begin, true, false, 0));
    let (opened, _) = goes_on(&disk, &Unsigned);
    assert!(!opened.created);
}

#[test]
fn row_no_block_is_removed_and_its_number_used_again() {
    for len in [0, 10, 64, 200] {
        let (disk, signed) = journal(3);
        change(&disk, &segment_path(2), |bytes| bytes.truncate(len));
        let two = Signed { entries: signed.entries[..2].to_vec(), ..signed };
        let (opened, next) = goes_on(&disk, &two);
        assert_eq!((opened.act, opened.unclean, next), (Act::GoOn, true, 2), "{len}");
        assert_eq!(opened.cut.iter().map(|cut| cut.bytes).sum::<u64>(), len as u64);
        assert_eq!(blocks(&disk), ((0..3).collect(), vec![]));
    }
}

#[test]
fn row_torn_is_cut_and_its_length_told() {
    for cut in [1, 20, 100] {
        let (disk, signed) = journal(4);
        change(&disk, &segment_path(2), |bytes| bytes.truncate(bytes.len() - cut));
        let left = disk.bytes(&segment_path(2)).unwrap().len() as u64;
        let three = Signed { entries: signed.entries[..3].to_vec(), ..signed };
        let (opened, next) = goes_on(&disk, &three);
        assert_eq!((opened.act, opened.unclean, next), (Act::Cut, true, 3));
        let [Cut { file, offset, bytes }] = &opened.cut[..] else { panic!("{opened:?}") };
        assert_eq!((file, offset + bytes), (&segment_path(2), left));
        assert_eq!(blocks(&disk), ((0..4).collect(), vec![]));
    }
    // A wrong bit in the last block is the same.
    let (disk, signed) = journal(4);
    change(&disk, &segment_path(2), |bytes| *bytes.last_mut().unwrap() ^= 1);
    let three = Signed { entries: signed.entries[..3].to_vec(), ..signed };
    assert_eq!(goes_on(&disk, &three).0.act, Act::Cut);
}

#[test]
fn row_wrong_is_kept_and_a_segment_begins_behind_it() {
    // In the segment's header; in the first block's header; in its records.
    for (at, lost) in [(20, 2..2), (64 + 20, 2..3), (64 + 162, 2..3)] {
        let (disk, signed) = journal(4);
        change(&disk, &segment_path(2), |bytes| bytes[at] ^= 1);
        let before = disk.bytes(&segment_path(2)).unwrap();
        let (opened, next) = goes_on(&disk, &signed);
        assert_eq!((opened.act, opened.unclean, next), (Act::Behind, false, 4));
        let [damage] = &opened.damage[..] else { panic!("{opened:?}") };
        assert_eq!((&damage.file, damage.offset), (&segment_path(2), if at < 64 { 0 } else { 64 }));
        assert_eq!(disk.bytes(&segment_path(2)).unwrap(), before);
        let whole = (0..5).filter(|block| !lost.contains(block)).collect();
        assert_eq!(blocks(&disk), (whole, vec![lost]));
        assert_eq!(goes_on(&disk, &signed).0.damage, []);
    }
}

#[test]
fn row_fewer_than_signed_cuts_nothing_and_begins_at_signed() {
    let (disk, signed) = journal(5);
    let header = BlockHeader::decode(&signed.entries[4]).unwrap();
    for lost in 2..4 {
        let (disk, signed) = journal(5);
        let last = segment_path(4);
        // The last segment is gone, and of the one before it something, too.
        disk.remove(&last).unwrap();
        change(&disk, &segment_path(2), |bytes| {
            bytes.truncate(bytes.len() - if lost == 3 { 5 } else { 200 })
        });
        let before = disk.bytes(&segment_path(2)).unwrap();
        let (opened, next) = goes_on(&disk, &signed);
        assert_eq!((opened.act, next), (Act::BehindKnown, 5));
        assert_eq!((opened.synced.records, &opened.damage[0].blocks), (header.next_record(), &(lost..5)));
        assert_eq!(disk.bytes(&segment_path(2)).unwrap(), before);
        let gone = lost..5;
        assert_eq!(blocks(&disk), ((0..lost).chain([5]).collect(), vec![gone]));
    }
    // With no segment left at all.
    for segment in [0, 2, 4] {
        disk.remove(&segment_path(segment)).unwrap();
    }
    let (opened, next) = goes_on(&disk, &signed);
    assert_eq!((opened.act, next, &opened.damage[0].blocks), (Act::BehindKnown, 5, &(0..5)));
}

#[test]
fn numbers_before_a_segment_without_block_are_not_given_again() {
    let (disk, _) = journal(5);
    change(&disk, &segment_path(4), |bytes| bytes.truncate(64));
    change(&disk, &segment_path(2), |bytes| bytes.truncate(bytes.len() - 1));
    let (opened, next) = goes_on(&disk, &Unsigned);
    assert_eq!((opened.act, next, &opened.damage[0].blocks), (Act::BehindKnown, 4, &(3..4)));
    assert_eq!(opened.damage[0].records, Some(2));
    let Some(Next::Block(block)) = read(&disk).pop() else { panic!() };
    assert_eq!(block.header.previous, LOST_LEAF);
}

#[test]
fn row_damaged_checkpoint_is_told() {
    let (disk, signed) = journal(3);
    let (opened, _) = goes_on(&disk, &Signed { checkpoint_damaged: true, ..signed });
    assert!(opened.checkpoint_damaged && opened.act == Act::GoOn);
}

#[test]
fn row_tiles_lost_but_blocks_there_makes_them_again() {
    let (disk, signed) = journal(3);
    let (opened, _) = goes_on(&disk, &Signed { tiles_lost: true, ..signed });
    assert!(opened.tiles_again && opened.act == Act::GoOn && opened.damage.is_empty());
}

#[test]
fn row_tiles_and_blocks_lost_is_refused_and_changes_nothing() {
    let (disk, signed) = journal(5);
    let tree = Signed { tiles_lost: true, ..signed };
    disk.remove(&segment_path(4)).unwrap();
    assert!(matches!(open(&disk, &tree), Err(Error::TreeLost { block: 4, .. })));
    // So it is if retention has removed what the tiles would be made of.
    disk.remove(&segment_path(0)).unwrap();
    let tree = Signed { entries: tree.entries[..4].to_vec(), ..tree };
    assert!(matches!(open(&disk, &tree), Err(Error::TreeLost { .. })));
    assert!(disk.bytes(&segment_path(2)).is_some());
}

#[test]
fn a_later_version_is_refused_and_nothing_changed() {
    let disk = FaultyDisk::new(1);
    disk.put("journal/journal.toml", b"version = 2\n");
    assert!(matches!(open(&disk, &Unsigned), Err(Error::NewerVersion { version: 2, .. })));
    assert_eq!(disk.list("journal").unwrap(), ["journal.toml"]);
    let (disk, signed) = journal(3);
    change(&disk, &segment_path(2), |bytes| {
        bytes[8] = 2;
        let crc = crc32c::crc32c(&bytes[..60]);
        bytes[60..64].copy_from_slice(&crc.to_le_bytes());
    });
    assert!(matches!(open(&disk, &signed), Err(Error::NewerVersion { version: 2, .. })));
}

#[test]
fn an_origin_that_cannot_stand_in_a_checkpoint_is_refused() {
    let disk = FaultyDisk::new(1);
    for origin in ["", "a b", "a+b", "a\nb", "a\"b"] {
        let opened = Writer::open(disk.clone(), Options::new(origin), &Unsigned, NOW);
        assert!(matches!(opened, Err(Error::Origin(_))), "{origin}");
    }
}

#[test]
fn on_a_disk_that_takes_nothing_blocks_wait_and_then_are_refused() {
    let disk = FaultyDisk::new(1);
    let options = Options { backlog_bytes_max: 500, ..Options::new(ORIGIN) };
    let (mut writer, _) = Writer::open(disk.clone(), options, &Unsigned, NOW).unwrap();
    disk.set_faults(Faults { refuse: 1_000, ..Faults::default() });
    assert_eq!(writer.append(packed("first"), NOW).unwrap().block, 0);
    assert!(writer.trouble().is_some());
    assert_eq!(writer.append(packed("second"), NOW).unwrap().block, 1);
    assert!(matches!(writer.append(packed("third"), NOW), Err(Error::Backlog { records: 2 })));
    assert!(matches!(writer.sync(NOW), Err(Error::Disk { .. })));
    assert_eq!(writer.synced(), Synced::default());
    disk.set_faults(Faults::default());
    assert_eq!(writer.sync(NOW).unwrap(), Synced { blocks: 2, records: 4 });
    assert!(writer.trouble().is_none());
    // The refused one has left no gap.
    assert_eq!(writer.append(packed("fourth"), NOW).unwrap().first_record, 4);
    writer.close(NOW).unwrap();
    assert_eq!(blocks(&disk), ((0..3).collect(), vec![]));
}

#[test]
fn what_a_failed_sync_swallowed_is_written_into_a_new_segment() {
    let (disk, _) = journal(1);
    let (mut writer, _) = open(&disk, &Unsigned).unwrap();
    writer.append(packed("swallowed"), NOW).unwrap();
    disk.set_faults(Faults { sync: 1_000, ..Faults::default() });
    assert!(writer.sync(NOW).is_err());
    assert_eq!(writer.synced().blocks, 1);
    disk.set_faults(Faults::default());
    assert_eq!(writer.sync(NOW).unwrap().blocks, 2);
    assert!(disk.bytes(&segment_path(1)).is_some());
    drop(writer);
    disk.crash();
    assert_eq!(blocks(&disk), (vec![0, 1], vec![]));
}

#[test]
fn a_segment_is_closed_by_size_and_by_age() {
    let (disk, _) = journal(5);
    let segments = walk::segment_numbers(&*disk).unwrap();
    assert_eq!(segments, [0, 2, 4]);
    let hour = Options::new(ORIGIN).segment_age_ns_max;
    let (mut writer, _) = open(&disk, &Unsigned).unwrap();
    writer.append(packed("old enough"), NOW + hour + 1).unwrap();
    writer.close(NOW).unwrap();
    assert_eq!(walk::segment_numbers(&*disk).unwrap(), [0, 2, 4, 5]);
}

#[test]
fn retention_removes_whole_segments_but_never_the_last() {
    let (disk, _) = journal(5);
    let (mut writer, _) = open(&disk, &Unsigned).unwrap();
    let none = Retention { bytes_max: 0, age_ns_max: u64::MAX };
    let removed = writer.set_free(1, Some(3)).unwrap();
    assert_eq!((removed.blocks, removed.undelivered_blocks), (0..2, 0));
    let removed = writer.retain(none, Some(3), NOW).unwrap();
    assert_eq!((removed.blocks, removed.undelivered_blocks), (2..4, 1));
    assert!(writer.retain(none, None, NOW).unwrap().blocks.is_empty());
    writer.append(packed("not synced"), NOW).unwrap();
    assert_eq!(writer.bytes(), disk.bytes(&segment_path(4)).unwrap().len() as u64);
    drop(writer);
    let Next::Skip(skip) = &read(&disk)[0] else { panic!() };
    assert_eq!((skip.blocks.clone(), skip.records), (0..4, None));
}

/// A folder of this test's own.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("headtrail-journal-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn on_a_real_disk_it_is_the_same() {
    let folder = Folder::new("real");
    let disk: Arc<dyn Storage> = Arc::new(Disk::new(&folder.0));
    for round in 0..3 {
        let options = Options { segment_bytes_max: 500, ..Options::new(ORIGIN) };
        let (mut writer, opened) = Writer::open(disk.clone(), options, &Unsigned, NOW).unwrap();
        assert_eq!((opened.synced.blocks, opened.unclean), (3 * round, false));
        for _ in 0..3 {
            writer.append(packed("real"), NOW).unwrap();
        }
        writer.close(NOW).unwrap();
    }
    let mut reader = Reader::open(disk.clone(), Default::default()).unwrap();
    let mut count = 0;
    while let Some(next) = reader.next_block().unwrap() {
        let Next::Block(block) = next else { panic!("{next:?}") };
        assert_eq!(block.records().next().unwrap().1, b"real");
        count += 1;
    }
    assert_eq!(count, 9);
}

#[test]
fn there_is_one_writer_and_the_other_is_told_its_process() {
    let folder = Folder::new("lock");
    let disk: Arc<dyn Storage> = Arc::new(Disk::new(&folder.0));
    let first = Writer::open(disk.clone(), Options::new(ORIGIN), &Unsigned, NOW).unwrap();
    let second = Writer::open(disk.clone(), Options::new(ORIGIN), &Unsigned, NOW);
    assert!(matches!(second, Err(Error::Locked { pid: Some(pid) }) if pid == std::process::id()));
    drop(first);
    assert!(Writer::open(disk, Options::new(ORIGIN), &Unsigned, NOW).is_ok());
}
