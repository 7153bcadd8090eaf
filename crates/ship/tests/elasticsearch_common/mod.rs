//! A journal of numbered records, a reader of it, and what has to be true of both in the end, whatever the servers did.
#![allow(dead_code, reason = "each test file needs a part of it")]

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use headtrail_journal::block::BlockBuilder;
use headtrail_journal::journal::{Journal, Options};
use headtrail_journal::storage::Storage;
use headtrail_journal::testing::FaultyDisk;
use headtrail_record::proto;
use headtrail_record::record::{Kind, Lifecycle, Loss};
use headtrail_ship::backoff;
use headtrail_ship::dead_letter::{DeadLetters, read};
use headtrail_ship::elasticsearch::{self, Flavour};
use headtrail_ship::gate::{Gate, Synced};
use headtrail_ship::settings::{Auth, Destination, Settings, Timeouts, Tls};
use headtrail_ship::shipper::{Place, Shipper, sink};
use headtrail_ship::stats::{Counts, Stats};
use headtrail_testkit::eventually;
use headtrail_testkit::sink_servers::{BulkServer, Item};
use serde_json::Value;

pub const SECOND: u64 = 1_000_000_000;
pub const DEADLINE: Duration = Duration::from_secs(60);
pub const INDEX: &str = "logs-headtrail.lifecycle-default";

/// A journal of numbered records. Each seventh is of a type that no reader wants.
pub struct Source {
    pub disk: Arc<FaultyDisk>,
    pub journal: Journal,
    pub records: u64,
    pad: String,
    builder: BlockBuilder,
}

impl Source {
    /// With so many letters in each record besides.
    pub fn new(pad: usize) -> Source {
        let disk = FaultyDisk::new(1);
        let options = Options { segment_bytes_max: 4_000, ..Options::new("gw", [1; 8], [7; 32]) };
        let (journal, _) = Journal::open(disk.clone(), options, SECOND).unwrap();
        Source { disk, journal, records: 0, pad: "x".repeat(pad), builder: BlockBuilder::new().unwrap() }
    }

    /// The same with so many records, in blocks of some.
    pub fn with(pad: usize, records: u64, gate: &Gate) -> Source {
        let mut source = Source::new(pad);
        source.add(records, gate);
        source
    }

    pub fn is_selected(number: u64) -> bool {
        number % 7 != 6
    }

    /// Adds records, in blocks of at most 50, and lets them be read.
    pub fn add(&mut self, records: u64, gate: &Gate) {
        for left in (1..=records).rev() {
            self.push();
            if left == 1 || self.builder.records() == 50 || self.builder.is_due() {
                self.journal.append(self.builder.seal().unwrap(), SECOND).unwrap();
            }
        }
        let synced = self.journal.sync(SECOND).unwrap();
        gate.put(Synced { blocks: synced.blocks, records: synced.records });
    }

    fn push(&mut self) {
        let mut record = Vec::new();
        let kind = if Self::is_selected(self.records) {
            let number = self.records.to_string();
            let details = vec![("number".into(), number.into()), ("pad".into(), self.pad.clone().into())];
            let of = Lifecycle { time_ns: SECOND, details, ..Lifecycle::default() };
            proto::lifecycle(&mut record, &of).unwrap();
            Kind::LIFECYCLE
        } else {
            let (stage, reason) = (Cow::Borrowed("s"), Cow::Borrowed("r"));
            let of = Loss { time_ns: 1, stage, reason, count: 1, since_ns: 0, until_ns: 1 };
            proto::loss(&mut record, &of).unwrap();
            Kind::LOSS
        };
        self.builder.push(&record, SECOND, kind.0).unwrap();
        self.records += 1;
    }

    /// Numbers of the records that are wanted, of those from `from` on.
    pub fn selected(&self, from: u64) -> BTreeSet<u64> {
        (from..self.records).filter(|number| Self::is_selected(*number)).collect()
    }
}

/// The number that a document's record was given.
pub fn number(source: &Value) -> u64 {
    let details = source["headtrail"]["lifecycle"]["details"].to_string();
    let digits: String = details.chars().filter(char::is_ascii_digit).collect();
    digits.parse().unwrap()
}

/// The same, as a server's script sees it.
pub fn of_item(item: &Item) -> u64 {
    number(&item.source)
}

pub fn cluster(nodes: &[String]) -> elasticsearch::Settings {
    elasticsearch::Settings {
        flavour: Flavour::OpenSearch,
        nodes: nodes.to_vec(),
        namespace: "default".to_owned(),
        pipeline: None,
        gzip: true,
        auth: Auth::None,
        tls: Tls::default(),
        timeouts: Timeouts { connect: Duration::from_secs(2), request: Duration::from_secs(5) },
    }
}

/// With time limits that a test can wait for.
pub fn impatient(nodes: &[String]) -> elasticsearch::Settings {
    let ms = Duration::from_millis;
    elasticsearch::Settings { timeouts: Timeouts { connect: ms(400), request: ms(400) }, ..cluster(nodes) }
}

pub fn settings(name: &str, documents: usize, cluster: elasticsearch::Settings) -> Settings {
    Settings {
        name: name.to_owned(),
        types: vec![Kind::LIFECYCLE],
        query: None,
        batch_documents_max: documents,
        batch_bytes_max: 16 << 20,
        destination: Destination::Elasticsearch(cluster),
    }
}

/// A reader on a thread of its own. It ends when it is dropped.
pub struct Running {
    pub gate: Gate,
    pub stats: Stats,
    /// What it told a person.
    pub told: Arc<Mutex<Vec<String>>>,
    thread: Option<JoinHandle<()>>,
}

pub const QUICK: backoff::Limits =
    backoff::Limits { first: Duration::from_millis(1), most: Duration::from_millis(4) };

impl Running {
    pub fn start(storage: Arc<dyn Storage>, data_dir: &Path, gate: &Gate, settings: &Settings) -> Running {
        Running::start_with(storage, data_dir, gate, settings, QUICK)
    }

    pub fn start_with(
        storage: Arc<dyn Storage>,
        data_dir: &Path,
        gate: &Gate,
        settings: &Settings,
        backoff: backoff::Limits,
    ) -> Running {
        let (stats, told) = (Stats::default(), Arc::new(Mutex::new(Vec::new())));
        let words = told.clone();
        let tell = Box::new(move |line: &str| words.lock().unwrap().push(line.to_owned()));
        let place = Place { storage, gate: gate.clone(), stats: stats.clone(), backoff, tell };
        let shipper = Shipper::new(settings, data_dir, sink(settings).unwrap(), place);
        let thread = Some(std::thread::spawn(move || shipper.run()));
        Running { gate: gate.clone(), stats, told, thread }
    }

    pub fn counts(&self) -> Counts {
        self.stats.get()
    }

    pub fn until(&self, what: &str, enough: impl Fn(&Counts) -> bool) -> Counts {
        eventually(&format!("{what}: {:?}", self.counts()), DEADLINE, || {
            let counts = self.counts();
            enough(&counts).then_some(counts)
        })
    }

    /// Until a number of records is settled.
    pub fn until_record(&self, record: u64) -> Counts {
        self.until(&format!("record {record} is settled"), |counts| counts.cursor.sequence >= record)
    }

    /// Ends it, also in the middle of a wait.
    pub fn stop(mut self) -> Counts {
        self.end();
        self.counts()
    }

    fn end(&mut self) {
        self.gate.stop();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.end();
        }
    }
}

/// Numbers of the documents that a server has: each is there once.
pub fn stored(server: &BulkServer) -> BTreeSet<u64> {
    let mut numbers = BTreeMap::new();
    for ((index, id), source) in server.documents() {
        assert_eq!((index.as_str(), source["event"]["id"].as_str()), (INDEX, Some(&*id)));
        if let Some(other) = numbers.insert(number(&source), id.clone()) {
            panic!("{source} has the ids {id} and {other}");
        }
    }
    numbers.into_keys().collect()
}

/// Numbers of the documents in the dead-letter file, with how many lines there are.
pub fn dead(data_dir: &Path, name: &str) -> (BTreeSet<u64>, u64) {
    let mut numbers = BTreeSet::new();
    let mut lines = 0;
    for file in DeadLetters::new(data_dir, name).take().unwrap() {
        for letter in read(&file).unwrap() {
            let letter = letter.unwrap();
            let document: Value = serde_json::from_str(letter.document.get()).unwrap();
            assert_eq!(document["event"]["id"], letter.id);
            assert_eq!(number(&document), letter.record);
            numbers.insert(letter.record);
            lines += 1;
        }
    }
    (numbers, lines)
}

/// Everything that was wanted is at the one server or in the dead-letter file, once, and the counts say so.
pub fn balances(source: &Source, server: &BulkServer, data_dir: &Path, counts: &Counts) {
    balances_from(0, source, server, data_dir, counts);
}

/// The same, where retention took the records before that number.
pub fn balances_from(first: u64, source: &Source, server: &BulkServer, data_dir: &Path, counts: &Counts) {
    let (stored, (dead, letters)) = (stored(server), dead(data_dir, "a"));
    assert_eq!(counts.stored, stored.len() as u64, "{counts:?}");
    assert_eq!((counts.dead_letters, letters), (dead.len() as u64, dead.len() as u64), "{counts:?}");
    // Some of those were never heard of.
    assert!(counts.duplicates <= server.conflicts(), "{counts:?}");
    assert!(stored.is_disjoint(&dead));
    let selected = source.selected(first);
    let settled: BTreeSet<u64> = stored.union(&dead).copied().collect();
    assert_eq!(settled, selected);
    assert_eq!(counts.stored + counts.dead_letters, selected.len() as u64);
    assert_eq!((counts.skipped_records, counts.unreadable_records), (first, 0), "{counts:?}");
    assert_eq!(counts.trouble, None);
}
