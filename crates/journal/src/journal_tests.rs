use super::*;
use crate::block::BlockBuilder;
use crate::keys;
use crate::testing::{Faults, FaultyDisk};

const SECOND: u64 = 1_000_000_000;

fn options() -> Options {
    Options { segment_bytes_max: 4_000, ..Options::new("gw 1", [1; 8], [7; 32]) }
}

fn open(disk: &Arc<FaultyDisk>) -> (Journal, Opened) {
    Journal::open(disk.clone(), options(), SECOND).unwrap()
}

fn append(journal: &mut Journal, count: usize, now_ns: u64) {
    let mut builder = BlockBuilder::new().unwrap();
    for number in 0..count {
        builder.push(format!("record {number}").as_bytes(), now_ns, 1).unwrap();
        journal.append(builder.seal().unwrap(), now_ns).unwrap();
    }
}

fn checkpoint(journal: &Journal) -> Checkpoint {
    Checkpoint::open(journal.checkpoint().unwrap(), journal.verifier()).unwrap()
}

#[test]
fn what_is_synced_is_signed_after_the_interval_and_at_the_end() {
    let disk = FaultyDisk::new(1);
    let (mut journal, opened) = open(&disk);
    assert!(opened.created && !opened.tiles_again && !opened.checkpoint_damaged);
    assert_eq!(journal.origin(), "headtrail/gw-1/0101010101010101");
    assert_eq!(keys::verifier(&*disk).unwrap(), *journal.verifier());
    append(&mut journal, 3, SECOND);
    journal.sync(SECOND).unwrap();
    journal.sync(10 * SECOND).unwrap();
    assert_eq!((journal.synced().blocks, journal.signed()), (3, 0));
    assert!(journal.take_new_checkpoint().is_none());
    journal.sync(11 * SECOND).unwrap();
    assert_eq!(checkpoint(&journal).size, 3);
    assert_eq!(journal.take_new_checkpoint().unwrap(), journal.checkpoint().unwrap());
    assert!(journal.take_new_checkpoint().is_none());
    append(&mut journal, 400, 12 * SECOND);
    journal.close(12 * SECOND).unwrap();
    assert!(disk.bytes("journal/tile/0/000").is_some() && disk.bytes("journal/tile/entries/000").is_some());
    assert!(!disk.paths().iter().any(|path| path.contains("tile/0/000.p")), "{:?}", disk.paths());
    let (journal, opened) = open(&disk);
    assert!(!opened.created && opened.synced.blocks == 403);
    assert_eq!(checkpoint(&journal).size, 403);
}

#[test]
fn a_tree_goes_on_from_its_tiles_with_what_was_not_signed() {
    let (disk, other) = (FaultyDisk::new(1), FaultyDisk::new(1));
    let (mut journal, _) = open(&disk);
    append(&mut journal, 300, SECOND);
    journal.sync(20 * SECOND).unwrap();
    append(&mut journal, 30, 20 * SECOND);
    journal.sync(20 * SECOND).unwrap();
    assert_eq!((journal.signed(), journal.synced().blocks), (300, 330));
    disk.kill();
    let (mut journal, _) = open(&disk);
    append(&mut journal, 200, 20 * SECOND);
    journal.sync(40 * SECOND).unwrap();

    let (mut straight, _) = open(&other);
    for (count, now) in [(300, 1), (30, 20), (200, 20)] {
        append(&mut straight, count, now * SECOND);
    }
    straight.sync(40 * SECOND).unwrap();
    assert_eq!(checkpoint(&journal), checkpoint(&straight));
}

#[test]
fn tiles_that_are_gone_are_made_again() {
    for gone in ["journal/tile/0/001.p/44", "journal/tile/1/000.p/1", "journal/tile/entries/001.p/44"] {
        let disk = FaultyDisk::new(1);
        let (mut journal, _) = open(&disk);
        append(&mut journal, 300, SECOND);
        journal.close(SECOND).unwrap();
        disk.remove(gone).unwrap();
        let (mut journal, opened) = open(&disk);
        assert_eq!(opened.tiles_again, !gone.contains("entries"), "{gone}");
        append(&mut journal, 1, SECOND);
        journal.close(SECOND).unwrap();
        let (journal, opened) = open(&disk);
        assert!(!opened.tiles_again);
        assert_eq!(checkpoint(&journal).size, 301);
    }
}

#[test]
fn an_earlier_checkpoint_counts_where_the_newest_is_damaged_or_gone() {
    for bytes in [None, Some(b"no note".as_slice())] {
        let disk = FaultyDisk::new(1);
        let (mut journal, _) = open(&disk);
        append(&mut journal, 300, SECOND);
        journal.close(SECOND).unwrap();
        match bytes {
            None => disk.remove(CHECKPOINT).unwrap(),
            Some(bytes) => disk.put(CHECKPOINT, bytes),
        }
        let (journal, opened) = open(&disk);
        assert!(opened.checkpoint_damaged && !opened.tiles_again);
        assert_eq!(journal.signed(), 300);
    }
}

#[test]
fn a_journal_that_was_signed_gets_no_new_key() {
    let disk = FaultyDisk::new(1);
    let (journal, _) = open(&disk);
    journal.close(SECOND).unwrap();
    disk.remove(keys::KEY).unwrap();
    let error = Journal::open(disk.clone(), options(), SECOND).err().unwrap();
    assert!(error.to_string().contains("keys/journal.key"), "{error}");
}

#[test]
fn a_tree_that_cannot_be_written_does_not_hold_up_blocks() {
    let disk = FaultyDisk::new(1);
    let (mut journal, _) = open(&disk);
    append(&mut journal, 300, SECOND);
    journal.sync(SECOND).unwrap();
    disk.set_faults(Faults { refuse: 1_000, ..Faults::default() });
    // Nothing is left to write but the tree.
    assert_eq!(journal.sync(20 * SECOND).unwrap().blocks, 300);
    assert!(journal.checkpoint_trouble().is_some() && journal.checkpoint().is_none());
    disk.set_faults(Faults::default());
    append(&mut journal, 5, 21 * SECOND);
    assert_eq!(journal.sync(21 * SECOND).unwrap().blocks, 305);
    assert!(journal.checkpoint_trouble().is_none());
    assert_eq!(checkpoint(&journal).size, 305);
}

#[test]
fn retention_takes_bundles_along_and_leaves_what_is_not_signed() {
    let disk = FaultyDisk::new(1);
    let (mut journal, _) = open(&disk);
    append(&mut journal, 700, SECOND);
    journal.sync(SECOND).unwrap();
    let none = Retention { bytes_max: 0, age_ns_max: 0 };
    assert!(journal.retain(none, None, 2 * SECOND).unwrap().blocks.is_empty());
    assert!(journal.set_free(u64::MAX, None).unwrap().blocks.is_empty());
    journal.sync(20 * SECOND).unwrap();
    let removed = journal.retain(none, None, 20 * SECOND).unwrap();
    assert!(removed.blocks.end > 600, "{removed:?}");
    assert!(
        disk.bytes("journal/tile/entries/000").is_none() && disk.bytes("journal/tile/entries/001").is_none()
    );
    assert!(disk.bytes("journal/tile/0/000").is_some());
    append(&mut journal, 1, 21 * SECOND);
    journal.close(21 * SECOND).unwrap();
    let (journal, opened) = open(&disk);
    assert!(!opened.tiles_again && opened.damage.is_empty());
    assert_eq!(journal.signed(), 701);
}

#[test]
fn a_block_that_is_lost_before_it_was_signed_keeps_its_leaf() {
    let disk = FaultyDisk::new(1);
    let (mut journal, _) = open(&disk);
    append(&mut journal, 20, SECOND);
    journal.sync(SECOND).unwrap();
    disk.kill();
    // The header of the third block.
    let path = crate::reader::segment_path(0);
    let mut bytes = disk.bytes(&path).unwrap();
    let at = bytes.windows(4).enumerate().filter(|(_, magic)| magic == b"HTBK").nth(2).unwrap().0;
    bytes[at + 9] ^= 1;
    disk.put(&path, &bytes);
    let (journal, _) = open(&disk);
    let root = journal.tree.root();
    journal.close(SECOND).unwrap();
    let (journal, _) = open(&disk);
    assert_eq!(journal.tree.root(), root);
    let entries = tree::read_entries(&mut Tiles(&*disk), 0, 20).unwrap();
    assert_eq!(entries.iter().position(Option::is_none), Some(2));
    drop(journal);
    bytes[at + 9] ^= 1;
    let whole = FaultyDisk::new(2);
    let (mut journal, _) = open(&whole);
    append(&mut journal, 20, SECOND);
    journal.sync(SECOND).unwrap();
    assert_eq!(journal.tree.root(), root, "the block behind it names its hash");
}

#[test]
fn what_a_crash_left_unfinished_is_removed_and_nothing_else() {
    let disk = FaultyDisk::new(1);
    let (mut journal, _) = open(&disk);
    append(&mut journal, 5, SECOND);
    journal.close(SECOND).unwrap();
    let whole = disk.paths();
    let ours = [
        "journal/segments/00000000000000000000.seg.new",
        "journal/segments/00000000000000000007.seg.new",
        "journal/checkpoints/00000000000000000003.new",
    ];
    let of_others = [
        "journal/segments/mine.new",
        "journal/segments/0000000000000000007.seg.new",
        "journal/segments/00000000000000000007.new",
        "journal/segments/00000000000000000007.seg.new.new",
        "journal/checkpoints/00000000000000000003.seg.new",
        "notes.new",
    ];
    ours.iter().chain(&of_others).for_each(|path| disk.put(path, b"x"));
    drop(open(&disk));
    let left = disk.paths();
    for path in whole.iter().map(String::as_str).chain(of_others) {
        assert!(left.iter().any(|other| other == path), "{path} is there: {left:?}");
    }
    assert!(ours.iter().all(|path| !left.iter().any(|other| other == path)), "{left:?}");
}
