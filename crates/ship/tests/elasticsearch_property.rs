//! Whatever a server and the disk do, by seed: each document that is wanted is stored once or lies in the dead-letter file, and nothing is
//! counted twice.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod elasticsearch_common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use elasticsearch_common::*;
use headtrail_journal::storage::{File, Lock, Storage};
use headtrail_journal::testing::{Faults, Random};
use headtrail_journal::{Error, Result};
use headtrail_ship::elasticsearch::Settings as Cluster;
use headtrail_ship::gate::Gate;
use headtrail_ship::settings::Timeouts;
use headtrail_ship::stats::Counts;
use headtrail_testkit::eventually;
use headtrail_testkit::rng::Rng;
use headtrail_testkit::sink_servers::{Answer, Behaviour, BulkServer, Fixed, Item, Refusal, Take};
use tempfile::TempDir;

/// A disk on which so many of 1,000 calls fail, and the next may not.
struct Unsure {
    disk: Arc<dyn Storage>,
    random: std::sync::Mutex<Random>,
    per_mille: u32,
    failed: AtomicBool,
}

impl Unsure {
    fn call(&self, path: &str) -> Result<()> {
        if self.random.lock().unwrap().chance(self.per_mille) {
            self.failed.store(true, Ordering::Relaxed);
            return Err(Error::disk(path, std::io::Error::from_raw_os_error(5)));
        }
        Ok(())
    }
}

struct UnsureFile(Arc<Unsure>, Box<dyn File>);

impl File for UnsureFile {
    fn size(&self) -> Result<u64> {
        self.0.call("size").and_then(|()| self.1.size())
    }
    fn read_at(&self, offset: u64, to: &mut [u8]) -> Result<usize> {
        self.0.call("read").and_then(|()| self.1.read_at(offset, to))
    }
    fn write_some_at(&mut self, offset: u64, head: &[u8], body: &[u8]) -> Result<usize> {
        self.0.call("write").and_then(|()| self.1.write_some_at(offset, head, body))
    }
    fn truncate(&mut self, len: u64) -> Result<()> {
        self.1.truncate(len)
    }
    fn sync(&mut self) -> Result<()> {
        self.0.call("sync").and_then(|()| self.1.sync())
    }
}

/// The same, shared with its files.
struct Shared(Arc<Unsure>);

impl Storage for Shared {
    fn create_dir(&self, path: &str) -> Result<()> {
        self.0.disk.create_dir(path)
    }
    fn create(&self, path: &str) -> Result<Box<dyn File>> {
        self.0.call(path)?;
        Ok(Box::new(UnsureFile(self.0.clone(), self.0.disk.create(path)?)))
    }
    fn open(&self, path: &str, write: bool) -> Result<Box<dyn File>> {
        self.0.call(path)?;
        Ok(Box::new(UnsureFile(self.0.clone(), self.0.disk.open(path, write)?)))
    }
    fn list(&self, dir: &str) -> Result<Vec<String>> {
        self.0.call(dir).and_then(|()| self.0.disk.list(dir))
    }
    fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.0.call(from).and_then(|()| self.0.disk.rename(from, to))
    }
    fn remove(&self, path: &str) -> Result<()> {
        self.0.disk.remove(path)
    }
    fn remove_dir(&self, path: &str) -> Result<()> {
        self.0.disk.remove_dir(path)
    }
    fn sync_dir(&self, dir: &str) -> Result<()> {
        self.0.call(dir).and_then(|()| self.0.disk.sync_dir(dir))
    }
    fn lock(&self, path: &str) -> Result<Box<dyn Lock>> {
        self.0.disk.lock(path)
    }
}

/// For ever.
fn never(item: &Item) -> Option<Refusal> {
    (of_item(item) % 13 == 5).then(|| Refusal::new(400, "document_parsing_exception"))
}

/// For ever, or for now.
fn refuse(item: &Item, seed: u64) -> Option<Refusal> {
    never(item).or_else(|| {
        let kinds = [(429, "es_rejected_execution_exception"), (503, "unavailable_shards_exception")];
        let (status, kind) = kinds[(seed % 2) as usize];
        (Rng::new(seed ^ of_item(item)).below(3) == 0).then(|| Refusal::new(status, kind))
    })
}

fn behaviour(rng: &mut Rng) -> Behaviour {
    let seed = rng.next_u64();
    let fixed = |status, body: &str| {
        Answer::Fixed(Fixed { status, body: body.as_bytes().to_vec(), ..Fixed::default() })
    };
    let answer = match rng.below(40) {
        0 => fixed(429, ""),
        1 => fixed(503, "{\"error\":{\"type\":\"t\",\"reason\":\"r\"}}"),
        2 => fixed(401, "<html>"),
        3 => fixed(200, "<html>"),
        4 => fixed(200, "{\"items\":[]}"),
        5 | 6 => Answer::Close,
        7 => Answer::HalfOfBulk,
        8 => Answer::Never,
        9 => Answer::Drip(Duration::from_millis(10)),
        10 => Answer::Raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"ite".to_vec()),
        11 => Answer::Raw(vec![0xff; 100]),
        _ => Answer::Bulk,
    };
    let take = match (&answer, rng.below(8)) {
        (Answer::Bulk, _) | (_, 0..=3) => Take::Unless(Arc::new(move |item| refuse(item, seed))),
        (_, 4..=5) => Take::None,
        (_, 6) => Take::HalfOfBody,
        _ => Take::HeadOnly,
    };
    Behaviour { take, answer }
}

#[test]
fn each_document_is_stored_once_or_dead_whatever_the_server_and_the_disk_do() {
    let mut failed = 0;
    for seed in 0..12 {
        println!("seed {seed}");
        let mut rng = Rng::new(seed);
        let (gate, data_dir) = (Gate::default(), TempDir::new().unwrap());
        let records = 200 + rng.below(800);
        let mut source = Source::with(rng.below(300) as usize, records, &gate);
        // What is signed may go, in blocks of 50 records.
        source.journal.sync(100 * SECOND).unwrap();
        let removed = source.journal.set_free(rng.below(3) * 2_000, None).unwrap().blocks.end * 50;
        let largest = 5_000 + rng.below(100_000);
        let mut script = Rng::new(rng.next_u64());
        let server = BulkServer::start(move |request| {
            let length = request.headers.iter().find(|(name, _)| name == "content-length");
            let length: u64 = length.and_then(|(_, value)| value.parse().ok()).unwrap_or_default();
            if length > largest {
                return Behaviour::status(413, "");
            }
            behaviour(&mut script)
        });
        let ms = Duration::from_millis;
        let mut settings = settings(
            "a",
            10 + rng.below(300) as usize,
            Cluster {
                gzip: rng.below(2) == 0,
                timeouts: Timeouts { connect: ms(150), request: ms(150) },
                ..cluster(&[server.url()])
            },
        );
        settings.batch_bytes_max = 10_000 + rng.below(200_000) as usize;
        let unsure = Arc::new(Unsure {
            disk: source.disk.clone(),
            random: Random::new(seed).into(),
            per_mille: [0, 20, 100][(seed % 3) as usize],
            failed: AtomicBool::new(false),
        });
        let storage = Arc::new(Shared(unsure.clone()));
        let running = Running::start(storage, data_dir.path(), &gate, &settings);
        running.until_record(records);
        let counts = running.stop();
        failed += u32::from(unsure.failed.load(Ordering::Relaxed));
        balances_from(removed, &source, &server, data_dir.path(), &Counts { trouble: None, ..counts });
    }
    assert!(failed >= 6, "{failed}");
}

#[test]
fn a_cursor_that_cannot_be_stored_is_told_once_and_keeps_nothing_back() {
    let (gate, data_dir) = (Gate::default(), TempDir::new().unwrap());
    let mut source = Source::with(10, 500, &gate);
    let server = BulkServer::start(|_| Behaviour::accept());
    let settings = settings("a", 20, cluster(&[server.url()]));
    // A full disk: it can be read.
    source.disk.set_faults(Faults { refuse: 1_000, ..Faults::default() });
    let running = Running::start(source.disk.clone(), data_dir.path(), &gate, &settings);
    running.until_record(500);
    running.until("it was tried again", |counts| counts.troubles.get("disk") >= Some(&3));
    assert_eq!(running.told.lock().unwrap().len(), 1, "{:?}", running.told);
    source.disk.set_faults(Faults::default());
    source.add(100, &gate);
    running.until_record(600);
    eventually("it is stored", DEADLINE, || (running.told.lock().unwrap().len() == 2).then_some(()));
    balances(&source, &server, data_dir.path(), &running.stop());
    let gate = Gate::default();
    gate.put(headtrail_ship::gate::Synced { blocks: 12, records: 600 });
    let running = Running::start(source.disk.clone(), data_dir.path(), &gate, &settings);
    running.until_record(600);
    assert_eq!(running.stop().requests, 0);
}

#[test]
fn nothing_is_missing_although_the_reader_ends_and_begins_all_the_time() {
    for seed in 0..4 {
        let mut rng = Rng::new(1000 + seed);
        let (mut gate, data_dir) = (Gate::default(), TempDir::new().unwrap());
        let mut source = Source::with(50, 100, &gate);
        let mut script = Rng::new(rng.next_u64());
        let server = BulkServer::start(move |_| behaviour(&mut script));
        let ms = Duration::from_millis;
        let settings = settings(
            "a",
            1 + rng.below(50) as usize,
            Cluster { timeouts: Timeouts { connect: ms(150), request: ms(150) }, ..cluster(&[server.url()]) },
        );
        for _ in 0..6 {
            gate = Gate::default();
            source.add(1 + rng.below(200), &gate);
            let running = Running::start(source.disk.clone(), data_dir.path(), &gate, &settings);
            running.until_record(source.records - rng.below(100).min(source.records));
            running.stop();
        }
        let last = Gate::default();
        last.put(gate.synced());
        let running = Running::start(source.disk.clone(), data_dir.path(), &last, &settings);
        running.until_record(source.records);
        running.stop();
        let (there, (dead, _)) = (stored(&server), dead(data_dir.path(), "a"));
        assert!(there.is_disjoint(&dead));
        assert_eq!(
            there.union(&dead).copied().collect::<Vec<_>>(),
            source.selected(0).into_iter().collect::<Vec<_>>()
        );
    }
}
