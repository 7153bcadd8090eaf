use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::block::BlockBuilder;
use crate::format::{BlockHeader, BlockHeaderBytes, leaf_hash};
use crate::journal::{Journal, Options};
use crate::reader::{SEGMENTS, segment_path};
use crate::retention::Retention;
use crate::storage::{Disk, dir_of};
use crate::testing::{FaultyDisk, Random};
use crate::tree::{LogProof, Signer};

const SECOND: u64 = 1_000_000_000;
const SEED: [u8; 32] = [7; 32];

fn options() -> Options {
    let interval = 10 * SECOND;
    Options {
        segment_bytes_max: 3_000,
        checkpoint_interval_ns: interval,
        ..Options::new("gw1", [1; 8], SEED)
    }
}

fn key() -> VerifierKey {
    Signer::new("headtrail/gw1/0101010101010101", &SEED).unwrap().verifier().clone()
}

/// Adds blocks, a second each, signed as a daemon would; `text` is what the last record of each block says.
fn append(journal: &mut Journal, count: u64, mut text: impl FnMut(u64) -> String) {
    let mut builder = BlockBuilder::new().unwrap();
    for _ in 0..count {
        let block = journal.synced().blocks;
        let now = (block + 1) * SECOND;
        for number in 0..block % 3 {
            builder.push(format!("record {number} {block}").as_bytes(), now, 1).unwrap();
        }
        builder.push(text(block).as_bytes(), now, 2).unwrap();
        journal.append(builder.seal().unwrap(), now).unwrap();
        journal.sync(now).unwrap();
    }
}

fn usual(block: u64) -> String {
    // Some are packed, some are not.
    if block.is_multiple_of(5) { "usual ".repeat(20) } else { format!("usual {block}") }
}

fn open(disk: &Arc<FaultyDisk>) -> Journal {
    Journal::open(disk.clone(), options(), SECOND).unwrap().0
}

/// A closed journal of so many blocks, and all checkpoints that it has exported.
fn journal(count: u64, text: impl FnMut(u64) -> String) -> (Arc<FaultyDisk>, Vec<Vec<u8>>) {
    let disk = FaultyDisk::new(1);
    let mut journal = open(&disk);
    let mut exported = Vec::new();
    let mut text = text;
    for _ in 0..count {
        append(&mut journal, 1, &mut text);
        exported.extend(journal.take_new_checkpoint());
    }
    journal.close((count + 1) * SECOND).unwrap();
    (disk, exported)
}

fn verify_against(disk: &Arc<FaultyDisk>, against: &[Vec<u8>]) -> Report {
    let storage: Arc<dyn Storage> = disk.clone();
    verify(&storage, Request { key: &key(), against, deep: true }, &mut |_| {}).unwrap()
}

fn check(disk: &Arc<FaultyDisk>) -> Report {
    verify_against(disk, &[])
}

fn assert_whole(report: &Report) {
    assert_eq!(report.verdict(), Verdict::Whole, "{:#?}", report.findings);
}

/// Where blocks begin in a segment, and its end.
fn places(bytes: &[u8]) -> Vec<usize> {
    let mut places = vec![SEGMENT_HEADER_BYTES];
    while let Some(header) = bytes.get(places[places.len() - 1]..).and_then(|rest| rest.first_chunk()) {
        let header = BlockHeader::decode(header).unwrap();
        places.push(places[places.len() - 1] + header.file_bytes() as usize);
    }
    places
}

fn segments(disk: &Arc<FaultyDisk>) -> Vec<String> {
    disk.paths().into_iter().filter(|path| dir_of(path) == SEGMENTS).collect()
}

/// A journal whose last segment has some blocks, and how many the journal has.
fn with_long_end() -> (Arc<FaultyDisk>, u64) {
    let lasts =
        |disk: &Arc<FaultyDisk>| places(&disk.bytes(&segments(disk).pop().unwrap()).unwrap()).len() - 1;
    (44..).map(|count| (journal(count, usual).0, count)).find(|(disk, _)| lasts(disk) >= 4).unwrap()
}

#[test]
fn without_any_checkpoint_only_a_journal_from_its_beginning_on_is_not_damaged() {
    let (disk, exported) = journal(70, usual);
    for path in disk.paths().iter().filter(|path| path.starts_with("journal/checkpoint")) {
        disk.remove(path).unwrap();
    }
    let report = check(&disk);
    assert_eq!(report.verdict(), Verdict::Unsigned, "{:?}", report.findings);
    assert_eq!(verify_against(&disk, &exported).verdict(), Verdict::Damaged);
    disk.remove(&segments(&disk)[0]).unwrap();
    let report = check(&disk);
    assert_eq!(report.verdict(), Verdict::Damaged);
    assert!(report.findings[0].what.contains("removed"), "{:?}", report.findings);
}

#[test]
fn a_journal_is_whole_and_told_segment_by_segment() {
    let (disk, exported) = journal(70, usual);
    let report = verify_against(&disk, &exported);
    assert_whole(&report);
    assert_eq!((report.blocks, report.first_block), (70, 0));
    assert_eq!(report.checkpoint.unwrap().size, 70);
    assert!(report.segments.len() > 3 && exported.len() > 3);
    let mut next = (0, 0);
    for segment in &report.segments {
        assert_eq!((segment.blocks.start, segment.records.start), next);
        assert_eq!(segment.bytes, disk.bytes(&segment.file).unwrap().len() as u64);
        assert_eq!(segment.signed_bytes, segment.bytes);
        next = (segment.blocks.end, segment.records.end);
    }
    assert_eq!(next, (70, report.records));
}

#[test]
fn what_is_not_signed_is_told_apart() {
    let disk = FaultyDisk::new(1);
    let mut journal = open(&disk);
    append(&mut journal, 5, usual);
    assert_eq!(check(&disk).verdict(), Verdict::Unsigned);
    append(&mut journal, 8, usual);
    let report = check(&disk);
    assert_whole(&report);
    let size = report.checkpoint.as_ref().unwrap().size;
    assert!(size < 13 && report.blocks == 13);
    let last = report.segments.last().unwrap();
    assert!(last.signed_bytes < last.bytes);
    assert_eq!(last.file_bytes, Some(last.bytes));
}

#[test]
fn any_flipped_bit_in_a_segment_is_found_at_its_place() {
    let (disk, _) = journal(48, usual);
    let files: Vec<_> = segments(&disk).into_iter().map(|path| (disk.bytes(&path).unwrap(), path)).collect();
    let mut random = Random::new(48);
    for turn in 0..1_000 {
        let (bytes, path) = &files[random.below(files.len())];
        let at = random.below(bytes.len());
        let mut changed = bytes.clone();
        changed[at] ^= 1 << random.below(8);
        disk.put(path, &changed);
        let report = check(&disk);
        let places = places(bytes);
        let place = places.iter().rev().find(|place| **place <= at).copied().unwrap_or(0) as u64;
        let at_place = |finding: &&Finding| finding.file == *path && finding.offset == place;
        let found = report.findings.iter().find(at_place);
        assert!(found.is_some(), "turn {turn}: {path} {at}: {:#?}", report.findings);
        assert_eq!(report.findings.len(), 1, "turn {turn}: {path} {at}: {:#?}", report.findings);
        disk.put(path, bytes);
    }
    assert_whole(&check(&disk));
}

#[test]
fn any_flipped_bit_in_tiles_bundles_and_checkpoints_is_found_in_its_file() {
    let (disk, _) = journal(290, usual);
    let is_signed = |path: &String| path.contains("tile/") || path.contains("checkpoint");
    let files: Vec<_> =
        disk.paths().into_iter().filter(is_signed).map(|path| (disk.bytes(&path).unwrap(), path)).collect();
    assert!(files.len() > 8);
    let mut random = Random::new(290);
    for turn in 0..1_000 {
        let (bytes, path) = &files[random.below(files.len())];
        let at = random.below(bytes.len());
        let mut changed = bytes.clone();
        changed[at] ^= 1 << random.below(8);
        disk.put(path, &changed);
        let storage: Arc<dyn Storage> = disk.clone();
        let request = Request { key: &key(), against: &[], deep: false };
        let report = verify(&storage, request, &mut |_| {}).unwrap();
        let found = report.findings.iter().any(|finding| finding.file == *path);
        assert!(found, "turn {turn}: {path} {at}: {:#?}", report.findings);
        let others = report.findings.iter().filter(|finding| finding.file != *path).count();
        assert_eq!(others, 0, "turn {turn}: {path} {at}: {:#?}", report.findings);
        disk.put(path, bytes);
    }
    assert_whole(&check(&disk));
}

#[test]
fn a_removed_block_is_found() {
    let (disk, _) = journal(48, usual);
    let path = &segments(&disk)[1];
    let mut bytes = disk.bytes(path).unwrap();
    let places = places(&bytes);
    let block = BlockHeader::decode(bytes[places[2]..].first_chunk().unwrap()).unwrap().block;
    bytes.drain(places[2]..places[3]);
    disk.put(path, &bytes);
    let report = check(&disk);
    assert_eq!(report.findings.len(), 1, "{:#?}", report.findings);
    let finding = &report.findings[0];
    assert_eq!((&finding.file, finding.offset, finding.blocks.start), (path, places[2] as u64, block));
    assert!(finding.records.is_some());
}

/// Writes a segment's blocks anew, with right numbers and checksums.
fn rechain(bytes: &[u8], blocks: &[&[u8]]) -> Vec<u8> {
    let first = BlockHeader::decode(bytes[SEGMENT_HEADER_BYTES..].first_chunk().unwrap()).unwrap();
    let mut to = bytes[..SEGMENT_HEADER_BYTES].to_vec();
    let (mut block, mut record, mut previous) = (first.block, first.first_record, first.previous);
    for bytes in blocks {
        let mut header = BlockHeader::decode(bytes.first_chunk().unwrap()).unwrap();
        (header.block, header.first_record, header.previous) = (block, record, previous);
        let encoded: BlockHeaderBytes = header.encode();
        (block, record, previous) = (block + 1, header.next_record(), leaf_hash(&encoded));
        to.extend_from_slice(&encoded);
        to.extend_from_slice(&bytes[encoded.len()..]);
    }
    to
}

#[test]
fn a_removed_block_is_found_also_when_those_behind_it_are_renumbered() {
    let (disk, count) = with_long_end();
    let path = segments(&disk).pop().unwrap();
    let bytes = disk.bytes(&path).unwrap();
    let places = places(&bytes);
    let mut blocks: Vec<&[u8]> = places.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
    blocks.remove(1);
    disk.put(&path, &rechain(&bytes, &blocks));
    let report = check(&disk);
    let other = report.findings.iter().find(|finding| finding.what.contains("not the one that was signed"));
    assert_eq!((&other.unwrap().file, other.unwrap().offset), (&path, places[1] as u64));
    assert!(
        report.findings.iter().any(|finding| finding.blocks == (count - 1..count)),
        "{:#?}",
        report.findings
    );
}

#[test]
fn swapped_blocks_are_found_with_and_without_new_numbers() {
    let (disk, _) = with_long_end();
    let path = segments(&disk).pop().unwrap();
    let bytes = disk.bytes(&path).unwrap();
    let places = places(&bytes);
    let mut blocks: Vec<&[u8]> = places.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
    blocks.swap(1, 2);
    let plain = [&bytes[..SEGMENT_HEADER_BYTES], &blocks.concat()].concat();
    for changed in [plain, rechain(&bytes, &blocks)] {
        disk.put(&path, &changed);
        let report = check(&disk);
        let found = report.findings.iter().any(|f| f.file == path && f.offset == places[1] as u64);
        assert!(found, "{:#?}", report.findings);
    }
}

#[test]
fn a_cut_segment_and_a_removed_one_are_found() {
    for (number, removed) in [(1, false), (1, true), (usize::MAX, false), (usize::MAX, true)] {
        let (disk, _) = with_long_end();
        let files = segments(&disk);
        let path = &files[number.min(files.len() - 1)];
        let bytes = disk.bytes(path).unwrap();
        let places = places(&bytes);
        if removed {
            disk.remove(path).unwrap();
        } else {
            disk.put(path, &bytes[..places[2]]);
        }
        let report = check(&disk);
        assert_eq!(report.findings.len(), 1, "{:#?}", report.findings);
        let first = BlockHeader::decode(bytes[SEGMENT_HEADER_BYTES..].first_chunk().unwrap()).unwrap().block;
        let from = first + if removed { 0 } else { 2 };
        assert_eq!(report.findings[0].blocks.start, from, "{:#?}", report.findings);
    }
}

#[test]
fn a_history_that_was_written_anew_with_the_key_shows_only_against_an_exported_checkpoint() {
    let (_, exported) = journal(60, usual);
    let (other, _) = journal(60, |block| if block == 25 { "not as it was".to_owned() } else { usual(block) });
    // Nothing in the journal itself can tell: who owns the host owns the key.
    assert_whole(&check(&other));
    let report = verify_against(&other, &exported);
    let (before, after): (Vec<_>, Vec<_>) =
        exported.iter().partition(|note| Checkpoint::open(note, &key()).unwrap().size <= 25);
    assert_eq!(report.findings.len(), after.len());
    let size = |note: &Vec<u8>| Checkpoint::open(note, &key()).unwrap().size;
    let finding = &report.findings[0];
    assert!(finding.what.contains("the journal was rewritten: "), "{}", finding.what);
    assert_eq!(finding.blocks, size(before.last().unwrap())..size(after[0]));
    let segment = report.segments.iter().find(|segment| segment.file == finding.file).unwrap();
    assert!(segment.blocks.contains(&finding.blocks.start));

    let (short, _) = journal(20, usual);
    let report = verify_against(&short, &exported);
    assert!(
        report.findings.iter().any(|f| f.what.contains("rewritten or cut off")),
        "{:#?}",
        report.findings
    );
}

#[test]
fn a_checkpoint_of_another_key_is_no_evidence() {
    let (disk, _) = journal(12, usual);
    let signer = Signer::new(key().name(), &[8; 32]).unwrap();
    let checkpoint = check(&disk).checkpoint.unwrap();
    let note = checkpoint.sign(&signer).unwrap().into_bytes();
    let storage: Arc<dyn Storage> = disk.clone();
    let against = [note];
    let error =
        verify(&storage, Request { key: &key(), against: &against, deep: true }, &mut |_| {}).unwrap_err();
    assert!(matches!(error, Error::Checkpoint { .. }), "{error}");
    // And with another key than that of the journal nothing is signed.
    let report =
        verify(&storage, Request { key: signer.verifier(), against: &[], deep: true }, &mut |_| {}).unwrap();
    assert!(report.findings.iter().any(|finding| finding.file == CHECKPOINT));
}

#[test]
fn what_retention_left_is_whole_and_still_compared() {
    let disk = FaultyDisk::new(1);
    let mut journal = open(&disk);
    append(&mut journal, 600, usual);
    let exported = [journal.checkpoint().unwrap().to_vec()];
    append(&mut journal, 20, usual);
    journal.retain(Retention { bytes_max: 10_000, age_ns_max: u64::MAX }, None, 700 * SECOND).unwrap();
    journal.close(700 * SECOND).unwrap();
    let report = verify_against(&disk, &exported);
    assert_whole(&report);
    assert!(report.first_block > 512 && report.blocks + report.first_block == 620);
    let mut tile = disk.bytes("journal/tile/0/000").unwrap();
    tile[100] ^= 1;
    disk.put("journal/tile/0/000", &tile);
    assert_eq!(check(&disk).verdict(), Verdict::Damaged);
}

#[test]
fn what_a_crash_left_is_whole_after_recovery() {
    for seed in 0..40 {
        let disk = FaultyDisk::new(seed);
        let mut journal = open(&disk);
        append(&mut journal, 30 + seed, usual);
        disk.fail_power_after(seed as u32);
        let mut builder = BlockBuilder::new().unwrap();
        for _ in 0..20 {
            builder.push(b"unlucky", SECOND, 1).unwrap();
            let _ = journal.append(builder.seal().unwrap(), 90 * SECOND);
        }
        let _ = journal.sync(100 * SECOND);
        disk.crash();
        let mut journal = open(&disk);
        append(&mut journal, 20, usual);
        journal.close(200 * SECOND).unwrap();
        let report = check(&disk);
        // A block that never was synced may be lost with others behind it.
        let lost = report.findings.iter().all(|finding| finding.blocks.start >= 30 + seed);
        assert!(lost, "seed {seed}: {:#?}", report.findings);
    }
}

#[test]
fn a_journal_that_grows_and_loses_its_oldest_meanwhile_is_whole() {
    let disk = FaultyDisk::new(1);
    let mut journal = open(&disk);
    append(&mut journal, 300, usual);
    let storage: Arc<dyn Storage> = disk.clone();
    let mut rounds = 0;
    let mut grow = |_| {
        rounds += 1;
        if rounds < 400 {
            append(&mut journal, 1, usual);
        }
        if rounds % 50 == 0 {
            journal.retain(Retention { bytes_max: 20_000, age_ns_max: u64::MAX }, None, 0).unwrap();
        }
    };
    let report = verify(&storage, Request { key: &key(), against: &[], deep: true }, &mut grow).unwrap();
    assert_whole(&report);
    assert!(rounds > 100 && report.checkpoint.unwrap().size < 310);
}

#[test]
fn a_writer_on_a_real_disk_gives_no_false_alarm() {
    let folder = std::env::temp_dir().join(format!("headtrail-verify-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let storage: Arc<dyn Storage> = Arc::new(Disk::new(&folder));
    let options = Options { segment_bytes_max: 200_000, checkpoint_interval_ns: 0, ..options() };
    let mut journal = Journal::open(storage.clone(), options, SECOND).unwrap().0;
    append(&mut journal, 50, usual);
    let ends = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = Random::new(1);
            let mut builder = BlockBuilder::new().unwrap();
            while !ends.load(Ordering::Relaxed) {
                let record: Vec<u8> = (0..random.below(9_000)).map(|_| random.number() as u8).collect();
                builder.push(&record, SECOND, 1).unwrap();
                journal.append(builder.seal().unwrap(), SECOND).unwrap();
                if random.chance(50) {
                    journal.sync(SECOND).unwrap();
                    journal
                        .retain(Retention { bytes_max: 1 << 20, age_ns_max: u64::MAX }, None, SECOND)
                        .unwrap();
                }
            }
        });
        for _ in 0..30 {
            let report = verify(&storage, Request { key: &key(), against: &[], deep: true }, &mut |_| {});
            let findings = report.as_ref().map(|report| report.findings.clone());
            if !findings.as_ref().is_ok_and(Vec::is_empty) {
                ends.store(true, Ordering::Relaxed);
                panic!("{findings:#?}");
            }
        }
        ends.store(true, Ordering::Relaxed);
    });
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(folder.join(crate::keys::KEY)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_record_is_proved_to_who_has_only_header_and_key() {
    let (disk, _) = journal(48, usual);
    let storage: Arc<dyn Storage> = disk.clone();
    let records = check(&disk).records;
    for sequence in 0..records {
        let proved = record(&storage, &key(), Which::Sequence(sequence)).unwrap();
        assert_eq!(proved.sequence, sequence);
        let place = Which::Place { block: proved.block, index: proved.index };
        assert_eq!(record(&storage, &key(), place).unwrap(), proved);
        let proof = LogProof::parse(proved.proof.as_bytes()).unwrap();
        proof.verify(&crate::tree::leaf_hash(&proved.header), &key()).unwrap();
        assert!(proof.verify(&crate::tree::leaf_hash(b"other"), &key()).is_err());
    }
    assert!(matches!(record(&storage, &key(), Which::Sequence(records)), Err(Error::NoRecord)));
    assert!(matches!(record(&storage, &key(), Which::Place { block: 3, index: 9 }), Err(Error::NoRecord)));
    let mut tile = disk.bytes("journal/tile/0/000.p/48").unwrap();
    tile[32 * 5] ^= 1;
    disk.put("journal/tile/0/000.p/48", &tile);
    assert!(matches!(
        record(&storage, &key(), Which::Place { block: 4, index: 0 }),
        Err(Error::NotProved { .. })
    ));
    let mut journal = open(&disk);
    append(&mut journal, 1, usual);
    assert!(matches!(
        record(&storage, &key(), Which::Place { block: 48, index: 0 }),
        Err(Error::NotSigned { .. })
    ));
    let path = segment_path(0);
    let mut bytes = disk.bytes(&path).unwrap();
    bytes[SEGMENT_HEADER_BYTES + 161] ^= 1;
    disk.put(&path, &bytes);
    assert!(matches!(record(&storage, &key(), Which::Sequence(0)), Err(Error::Corrupt { .. })));
}
