//! The journal against a model of a few lines, on a disk that fails by seed.
//!
//! What was acknowledged as synced is there, once, in order and as it was, or it is told as damaged: and that only if the disk changed what was
//! synced. Sequence numbers have no gaps but told ones. A seed that fails is printed; it fails again with `HEADTRAIL_SEED_FIRST`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::Error;
use crate::block::BlockBuilder;
use crate::cursor::{self, Cursor, Position};
use crate::format::{BlockHeader, BlockHeaderBytes, leaf_hash};
use crate::journal::{Journal, Options};
use crate::reader::{Leaves, Next, Reader, SEGMENTS};
use crate::recovery::Act;
use crate::retention::Retention;
use crate::storage::Storage;
use crate::testing::{Faults, FaultyDisk, Lie, Random};
use crate::verify::{self, Request};
use crate::writer::Opened;

/// Seeds in an ordinary run.
const SEEDS: u64 = 2_000;
/// Steps of one seed.
const STEPS: usize = 40;
const ORIGIN: &str = "headtrail/model/0123456789abcdef";
const ORIGIN_RANDOM: [u8; 8] = 0x0123_4567_89ab_cdef_u64.to_be_bytes();

/// What the journal should be.
#[derive(Default)]
struct Model {
    /// Each block that was taken and is not known to be lost: first sequence number, records, entry.
    blocks: BTreeMap<u64, (u64, Vec<Vec<u8>>, BlockHeaderBytes)>,
    /// Blocks that were not acknowledged and not found at the last opening: a crash may bring them back, since cutting was not durable either, as
    /// long as no other block got their number.
    gone: BTreeMap<u64, (u64, Vec<Vec<u8>>, BlockHeaderBytes)>,
    /// Blocks before this one were said to be durable.
    acknowledged: u64,
    /// Blocks before this one may have been removed.
    removed: u64,
    /// Blocks that were not durable when the host crashed, and have others behind them.
    may_be_lost: BTreeSet<u64>,
    /// Damage that was told, with its place.
    told: BTreeSet<(String, u64)>,
    signed: u64,
}

struct Run {
    random: Random,
    disk: Arc<FaultyDisk>,
    builder: BlockBuilder,
    model: Model,
    writer: Option<Journal>,
    now: u64,
    rots: bool,
    reader_at: u64,
    /// Checkpoints that were exported.
    exported: Vec<Vec<u8>>,
    /// An opening failed and told that it had cut something off.
    told_while_opening: bool,
    /// What happened, for a seed that fails.
    log: Vec<String>,
}

type Check = Result<(), String>;

macro_rules! ensure {
    ($condition:expr, $($told:tt)*) => {
        if !$condition {
            return Err(format!($($told)*));
        }
    };
}

fn options() -> Options {
    Options {
        segment_bytes_max: 1_500,
        segment_age_ns_max: 30,
        backlog_bytes_max: 2_000,
        checkpoint_interval_ns: 8,
        ..Options::new("model", ORIGIN_RANDOM, [7; 32])
    }
}

impl Run {
    fn new(seed: u64, lie: Option<Lie>) -> Self {
        let mut random = Random::new(seed);
        let disk = FaultyDisk::new(random.number());
        let rots = lie.is_none() && random.chance(300);
        if let Some(lie) = lie {
            disk.set_lie(lie);
        }
        Self {
            random,
            disk,
            builder: BlockBuilder::new().unwrap(),
            model: Model::default(),
            writer: None,
            now: 1_000,
            rots,
            reader_at: 0,
            exported: Vec::new(),
            told_while_opening: false,
            log: Vec::new(),
        }
    }

    fn storage(&self) -> Arc<dyn Storage> {
        self.disk.clone()
    }

    fn faults(&mut self) -> Faults {
        let some = |random: &mut Random, most| if random.chance(500) { random.below(most) as u32 } else { 0 };
        Faults {
            short_write: some(&mut self.random, 200),
            refuse: some(&mut self.random, 60),
            sync: some(&mut self.random, 100),
            misdirect: if self.rots { some(&mut self.random, 30) } else { 0 },
        }
    }

    fn run(&mut self) -> Check {
        for _ in 0..STEPS {
            self.now += self.random.number() % 5;
            if self.writer.is_none() {
                self.open()?;
            }
            match self.random.below(100) {
                0..45 => self.append()?,
                45..65 => self.sync()?,
                65..70 => self.retain(),
                70..73 => self.verify()?,
                73..80 => self.read_on()?,
                80..86 => self.power_fails(),
                86..90 => self.ends(),
                90..92 if self.rots => {
                    self.disk.rot(SEGMENTS);
                    self.log.push("rot".to_owned());
                }
                92..96 => {
                    let faults = self.faults();
                    self.disk.set_faults(faults);
                    self.log.push(format!("{faults:?}"));
                }
                _ => self.read_all()?,
            }
            if self.disk.is_off() {
                self.crash();
            }
        }
        // However it was left, without further faults it opens and everything is there.
        self.crash();
        self.disk.set_faults(Faults::default());
        self.open()?;
        if self.disk.is_rotten() && self.writer.is_none() {
            // It may refuse then.
            return Ok(());
        }
        ensure!(self.writer.is_some(), "it does not open without faults");
        self.append()?;
        self.now += 100;
        self.sync()?;
        self.read_all()?;
        self.read_leaves()?;
        self.verify()
    }

    /// What was signed is there, or is known to be lost.
    fn verify(&mut self) -> Check {
        let Some(journal) = &self.writer else { return Ok(()) };
        let request = Request { key: journal.verifier(), against: &self.exported, deep: true };
        let Ok(report) = verify::verify(&self.storage(), request, &mut |_| {}) else { return Ok(()) };
        if self.disk.is_rotten() {
            return Ok(());
        }
        for finding in report.findings {
            let known = self.model.told.contains(&(finding.file.clone(), finding.offset))
                || (!finding.blocks.is_empty()
                    && finding.blocks.clone().all(|block| self.model.may_be_lost.contains(&block)));
            ensure!(known, "false alarm: {finding:?}");
        }
        Ok(())
    }

    fn append(&mut self) -> Check {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        let mut records = Vec::new();
        for _ in 0..=self.random.below(3) {
            let byte = self.random.number() as u8;
            let record = vec![byte; self.random.below(80)];
            self.builder.push(&record, self.now, 1).unwrap();
            records.push(record);
        }
        let packed = self.builder.seal().unwrap();
        let Ok(appended) = writer.append(packed, self.now) else {
            self.log.push("append: backlog".to_owned());
            return Ok(());
        };
        self.log.push(format!("append {}: {:?}", appended.block, writer.trouble()));
        self.model.gone.clear();
        let before =
            self.model.blocks.insert(appended.block, (appended.first_record, records, appended.header));
        ensure!(before.is_none(), "block {} was given twice", appended.block);
        if let Some((first, records, _)) =
            appended.block.checked_sub(1).and_then(|b| self.model.blocks.get(&b))
        {
            ensure!(
                first + records.len() as u64 == appended.first_record,
                "sequence number of {}",
                appended.block
            );
        }
        self.acknowledge()
    }

    /// Takes over what the writer says is durable.
    fn acknowledge(&mut self) -> Check {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        let blocks = writer.synced().blocks;
        ensure!(writer.signed() <= blocks, "signed {} of {blocks} synced", writer.signed());
        self.model.signed = self.model.signed.max(writer.signed());
        self.exported.extend(writer.take_new_checkpoint());
        ensure!(blocks >= self.model.acknowledged, "synced went back to {blocks}");
        ensure!(
            blocks <= self.model.blocks.keys().last().map_or(0, |last| last + 1),
            "synced more than there is"
        );
        self.model.acknowledged = blocks;
        Ok(())
    }

    fn sync(&mut self) -> Check {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        let result = writer.sync(self.now);
        self.log.push(format!("sync: {result:?}"));
        if result.is_ok() {
            let all = self.model.blocks.keys().last().map_or(0, |last| last + 1);
            let synced = writer.synced().blocks;
            ensure!(synced == all || self.model.blocks.is_empty(), "synced {synced} of {all}");
        }
        self.acknowledge()
    }

    fn retain(&mut self) {
        let Some(writer) = &mut self.writer else { return };
        let floor = self.random.chance(500).then_some(self.reader_at);
        let result = if self.random.chance(300) {
            writer.set_free(self.random.number() % 2_000, floor)
        } else {
            let retention =
                Retention { bytes_max: self.random.number() % 8_000, age_ns_max: self.random.number() % 200 };
            writer.retain(retention, floor, self.now)
        };
        self.log.push(format!("retain: {result:?}"));
        self.model.removed = match result {
            Ok(removed) => self.model.removed.max(removed.blocks.end),
            // Some of it may be done.
            Err(_) => self.model.acknowledged,
        };
    }

    fn power_fails(&mut self) {
        let calls = self.random.below(12) as u32;
        self.disk.fail_power_after(calls);
        self.log.push(format!("power fails after {calls}"));
    }

    fn crash(&mut self) {
        self.writer = None;
        self.disk.crash();
        self.log.push("crash".to_owned());
    }

    /// The process ends, in order or not.
    fn ends(&mut self) {
        let writer = self.writer.take();
        if let Some(writer) = writer.filter(|_| self.random.chance(500)) {
            let result = writer.close(self.now);
            self.log.push(format!("close: {result:?}"));
        }
        self.disk.kill();
        self.log.push("end".to_owned());
    }

    fn open(&mut self) -> Check {
        match Journal::open(self.storage(), options(), self.now) {
            Err(error) => {
                self.log.push(format!("open: {error:?}"));
                self.told_while_opening |= matches!(error, Error::Opening { .. });
                // What is seen may not be what is durable now: the page asks for a new start of the host.
                self.crash();
                Ok(())
            }
            Ok((writer, opened)) => {
                self.log.push(format!("open: {opened:?}"));
                self.writer = Some(writer);
                self.opened(&opened)
            }
        }
    }

    fn opened(&mut self, opened: &Opened) -> Check {
        let found = opened.synced.blocks;
        let rotten = self.disk.is_rotten();
        let told = !opened.damage.is_empty() || !opened.cut.is_empty() || opened.unclean;
        let told = told || std::mem::take(&mut self.told_while_opening);
        if found < self.model.acknowledged {
            ensure!(rotten && told, "{} of {} acknowledged blocks are gone", found, self.model.acknowledged);
        }
        ensure!(found >= self.model.signed, "signed {} are forgotten, {found} found", self.model.signed);
        if !rotten {
            ensure!(opened.act != Act::BehindKnown, "signed blocks are missing");
            for damage in &opened.damage {
                // It is told again as long as nothing was written behind it.
                let known = self.model.told.contains(&(damage.file.clone(), damage.offset));
                ensure!(known || damage.blocks.start >= self.model.acknowledged, "false alarm: {damage:?}");
            }
        }
        // What was not durable may be lost, also with something behind it that is there.
        self.model.told.extend(opened.damage.iter().map(|damage| (damage.file.clone(), damage.offset)));
        self.model.may_be_lost.extend(opened.damage.iter().flat_map(|damage| damage.blocks.clone()));
        let mut gone = self.model.blocks.split_off(&found);
        gone.append(&mut self.model.gone.split_off(&found));
        for (block, back) in std::mem::replace(&mut self.model.gone, gone) {
            self.model.blocks.entry(block).or_insert(back);
        }
        if let Some((block, (first, records, _))) = self.model.blocks.last_key_value()
            && block + 1 == found
        {
            ensure!(first + records.len() as u64 == opened.synced.records, "sequence number of {found}");
        }
        self.model.acknowledged = found;
        if rotten {
            self.reader_at = self.reader_at.min(found);
        }
        Ok(())
    }

    /// All that is acknowledged, from the first block that is there.
    fn read_all(&mut self) -> Check {
        let somewhere = self.random.number() % (self.model.acknowledged + 1);
        let at = if self.random.chance(300) { somewhere } else { 0 };
        let read = self.read(at)?;
        ensure!(
            read.is_none_or(|read| read == self.model.acknowledged),
            "read {read:?} of {}",
            self.model.acknowledged
        );
        Ok(())
    }

    /// A reader with a cursor goes on.
    fn read_on(&mut self) -> Check {
        let storage = self.storage();
        match cursor::load(&*storage, "model", ORIGIN) {
            Ok(Some(position)) if !self.disk.is_rotten() => {
                let block = position.position.block;
                ensure!(block <= self.reader_at, "the cursor ran ahead to {position:?}");
            }
            _ => {}
        }
        let Some(end) = self.read(self.reader_at)? else { return Ok(()) };
        self.reader_at = end;
        let cursor = Cursor { position: Position { block: end, record: 0 }, sequence: 0 };
        let _ = cursor::store(&*storage, "model", ORIGIN, cursor);
        Ok(())
    }

    /// Reads and compares. None: the disk refused.
    fn read(&mut self, at: u64) -> Result<Option<u64>, String> {
        let Ok(mut reader) = Reader::open(self.storage(), Position { block: at, record: 0 }) else {
            return Ok(None);
        };
        reader.set_limit(self.model.acknowledged);
        let mut expected = at;
        while let Ok(next) = reader.next_block() {
            match next {
                None => return Ok(Some(expected)),
                Some(Next::Block(block)) => {
                    let index = block.header.block;
                    ensure!(index == expected, "read {index} in place of {expected}");
                    let Some((first, records, _)) = self.model.blocks.get(&index) else {
                        return Err(format!("read {index}, which never was"));
                    };
                    let wanted = (*first..).zip(records.iter().map(|record| &record[..]));
                    ensure!(block.records().eq(wanted), "block {index} is another one");
                    expected = index + 1;
                }
                Some(Next::Skip(skip)) => {
                    ensure!(skip.blocks.start == expected, "{skip:?} at {expected}");
                    let rotten = self.disk.is_rotten();
                    ensure!(skip.blocks.end <= self.model.removed || rotten, "{skip:?} was never removed");
                    expected = skip.blocks.end;
                }
                Some(Next::Damage(damage)) => {
                    ensure!(damage.blocks.start == expected, "{damage:?} at {expected}");
                    let known = damage.blocks.clone().all(|block| self.model.may_be_lost.contains(&block));
                    ensure!(known || self.disk.is_rotten(), "lost: {damage:?}");
                    expected = damage.blocks.end;
                }
            }
        }
        Ok(None)
    }

    /// Each block that is there has the leaf in the tree that the writer said.
    fn read_leaves(&mut self) -> Check {
        let Ok(mut leaves) = Leaves::open(self.storage(), 0) else { return Ok(()) };
        let mut last = None;
        while let Ok(Some((block, leaf, placed))) = leaves.next_leaf() {
            ensure!(
                last.is_none_or(|last| last + 1 == block) || placed.is_some(),
                "leaf {block} behind {last:?}"
            );
            last = Some(block);
            if let (Some(_), Some((_, _, entry))) = (&placed, self.model.blocks.get(&block)) {
                ensure!(leaf_hash(entry) == leaf, "leaf of {block}");
                ensure!(BlockHeader::decode(entry).is_ok(), "entry of {block}");
            }
        }
        ensure!(last == self.model.acknowledged.checked_sub(1), "leaves up to {last:?}");
        Ok(())
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

fn run(seed: u64, lie: Option<Lie>) -> Result<(), String> {
    let mut run = Run::new(seed, lie);
    run.run().map_err(|what| format!("seed {seed}: {what}\n  {}", run.log.join("\n  ")))
}

#[test]
fn what_is_acknowledged_is_there_or_told_after_any_faults_and_crashes() {
    let first = number("HEADTRAIL_SEED_FIRST").unwrap_or(0);
    for seed in first..first + number("HEADTRAIL_SEEDS").unwrap_or(SEEDS) {
        if let Err(what) = run(seed, None) {
            panic!("{what}");
        }
    }
}

/// Canaries: were one of these not caught, the test above would prove nothing.
fn is_caught(lie: Lie) {
    let is_caught =
        |seed| run(seed, Some(lie)).is_err_and(|what| what.contains("acknowledged blocks are gone"));
    assert!((0..SEEDS).any(is_caught), "{lie:?}");
}

#[test]
fn a_writer_that_acknowledges_without_sync_is_caught() {
    is_caught(Lie::Sync);
}

#[test]
fn a_writer_that_does_not_sync_names_is_caught() {
    is_caught(Lie::SyncDir);
}

#[test]
fn a_writer_that_tries_a_failed_sync_again_is_caught() {
    is_caught(Lie::SyncAgain);
}
