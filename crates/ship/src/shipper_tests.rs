use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use headtrail_journal::block::BlockBuilder;
use headtrail_journal::cursor::Position;
use headtrail_journal::journal::{Journal, Options};
use headtrail_journal::testing::FaultyDisk;
use headtrail_record::proto;
use headtrail_record::record::{Lifecycle, Loss};
use headtrail_testkit::rng::Rng;
use tempfile::TempDir;

use super::*;
use crate::batch::Document;
use crate::gate::Synced;
use crate::settings::Destination;
use crate::sink::{Answer, Item, Refusal};
use headtrail_record::record::Kind;

const SECOND: u64 = 1_000_000_000;

/// A journal of numbered records, three of four selected by type; some blocks have none that is.
struct Source {
    disk: Arc<FaultyDisk>,
    journal: Journal,
    records: u64,
}

impl Source {
    fn new() -> Self {
        let disk = FaultyDisk::new(1);
        let options = Options { segment_bytes_max: 2_000, ..Options::new("gw", [1; 8], [7; 32]) };
        let (journal, _) = Journal::open(disk.clone(), options, SECOND).unwrap();
        Self { disk, journal, records: 0 }
    }

    fn is_selected(number: u64) -> bool {
        number % 4 != 3 && !(300..400).contains(&number)
    }

    fn add(&mut self, blocks: u64, records: u64, gate: &Gate) {
        let mut builder = BlockBuilder::new().unwrap();
        for _ in 0..blocks {
            for _ in 0..records {
                let mut record = Vec::new();
                let number = self.records;
                let kind = if Self::is_selected(number) {
                    let details = vec![(Cow::Borrowed("number"), Cow::Owned(number.to_string()))];
                    let of = Lifecycle { time_ns: SECOND, details, ..Lifecycle::default() };
                    proto::lifecycle(&mut record, &of).unwrap();
                    Kind::LIFECYCLE
                } else {
                    let (stage, reason) = (Cow::Borrowed("s"), Cow::Borrowed("r"));
                    let of = Loss { time_ns: 1, stage, reason, count: 1, since_ns: 0, until_ns: 1 };
                    proto::loss(&mut record, &of).unwrap();
                    Kind::LOSS
                };
                builder.push(&record, SECOND, kind.0).unwrap();
                self.records += 1;
            }
            self.journal.append(builder.seal().unwrap(), SECOND).unwrap();
        }
        let synced = self.journal.sync(SECOND).unwrap();
        gate.put(Synced { blocks: synced.blocks, records: synced.records });
    }

    fn selected(&self) -> BTreeSet<String> {
        (0..self.records)
            .filter(|number| Self::is_selected(*number))
            .map(|number| number.to_string())
            .collect()
    }
}

/// The number that a document's record was given.
fn number(document: &Document<'_>) -> String {
    let value: serde_json::Value = serde_json::from_slice(document.body).unwrap();
    assert_eq!(value["event"]["id"], document.id);
    let details = value["headtrail"]["lifecycle"]["details"].to_string();
    details.chars().filter(char::is_ascii_digit).collect()
}

/// What arrived, by id.
#[derive(Default)]
struct Arrived {
    documents: BTreeMap<String, String>,
    requests: u64,
}

/// Answers as a closure says.
struct Scripted<F> {
    arrived: Arc<Mutex<Arrived>>,
    answer: F,
}

impl<F: FnMut(&[Document<'_>], &mut Arrived) -> Answer + Send> Sink for Scripted<F> {
    fn send(&mut self, documents: &[Document<'_>]) -> Answer {
        let mut arrived = self.arrived.lock().unwrap();
        arrived.requests += 1;
        (self.answer)(documents, &mut arrived)
    }

    fn sent_bytes(&self) -> u64 {
        0
    }
}

fn store(document: &Document<'_>, arrived: &mut Arrived) -> Item {
    match arrived.documents.insert(document.id.to_owned(), number(document)) {
        None => Item::Stored,
        Some(_) => Item::Duplicate,
    }
}

fn trouble() -> Trouble {
    Trouble { kind: "connect", what: "refused".to_owned(), wait: None }
}

fn settings(documents: usize) -> Settings {
    Settings {
        name: "a".to_owned(),
        types: vec![Kind::LIFECYCLE],
        query: None,
        batch_documents_max: documents,
        batch_bytes_max: 1 << 20,
        destination: Destination::File(crate::file::Settings { path: "/x".into(), rotate_bytes: 1, keep: 1 }),
    }
}

fn shipper(
    source: &Source,
    data_dir: &Path,
    gate: &Gate,
    stats: &Stats,
    documents: usize,
    sink: impl Sink + 'static,
) -> Shipper {
    let ms = Duration::from_millis;
    let place = Place {
        storage: source.disk.clone(),
        gate: gate.clone(),
        stats: stats.clone(),
        backoff: backoff::Limits { first: ms(1), most: ms(2) },
        tell: Box::new(|_| ()),
    };
    Shipper::new(&settings(documents), data_dir, Box::new(sink), place)
}

/// Runs a reader until it has settled all, or until `stop` says that it is enough.
fn run_until(shipper: Shipper, gate: &Gate, stats: &Stats, enough: impl Fn(&Counts) -> bool) {
    let thread = std::thread::spawn(move || shipper.run());
    headtrail_testkit::eventually("the reader is there", Duration::from_secs(60), || {
        enough(&stats.get()).then_some(())
    });
    gate.stop();
    thread.join().unwrap();
}

#[test]
fn whatever_the_destination_answers_each_document_is_there_or_in_the_dead_letter_file() {
    for seed in 0..20 {
        let mut rng = Rng::new(seed);
        let data_dir = TempDir::new().unwrap();
        let mut source = Source::new();
        let arrived = Arc::new(Mutex::new(Arrived::default()));
        let documents = 1 + rng.below(60) as usize;
        source.add(10, 1 + rng.below(80), &Gate::default());
        // It ends some times on the way, and once killed with a cursor that is behind.
        for last in [false, false, true] {
            let (gate, stats) = (Gate::default(), Stats::default());
            source.add(2, 5, &gate);
            let mut rng = Rng::new(rng.next_u64());
            let answer = move |documents: &[Document<'_>], arrived: &mut Arrived| match rng.below(8) {
                0 => Answer::Again(trouble()),
                1 if documents.len() > 3 => Answer::TooLarge(Refusal::default()),
                2 => Answer::Items(Vec::new()),
                // Stored, but the answer is lost.
                3 => {
                    documents.iter().for_each(|document| drop(store(document, arrived)));
                    Answer::Again(trouble())
                }
                _ => Answer::Items(
                    documents
                        .iter()
                        .map(|document| match number(document).parse::<u64>().unwrap() % 7 {
                            6 => Item::Refused(Refusal::default()),
                            5 if rng.below(2) == 0 => Item::Again,
                            _ => store(document, arrived),
                        })
                        .collect(),
                ),
            };
            let sink = Scripted { arrived: arrived.clone(), answer };
            let shipper = shipper(&source, data_dir.path(), &gate, &stats, documents, sink);
            let (all, some) = (source.records, source.records / 2);
            run_until(shipper, &gate, &stats, |counts| {
                counts.cursor.sequence >= if last { all } else { some }
            });
        }
        let mut settled: BTreeSet<String> = arrived.lock().unwrap().documents.values().cloned().collect();
        for file in DeadLetters::new(data_dir.path(), "a").take().unwrap() {
            for letter in crate::dead_letter::read(&file).unwrap() {
                let letter = letter.unwrap();
                let body = letter.document.get().as_bytes();
                let kind = Kind::LIFECYCLE;
                let document = Document { kind, id: &letter.id, body, time_ns: 0, record: letter.record };
                settled.insert(number(&document));
            }
        }
        assert_eq!(settled, source.selected(), "seed {seed}");
    }
}

#[test]
fn what_is_too_large_is_halved_and_a_single_document_that_is_becomes_a_dead_letter() {
    let data_dir = TempDir::new().unwrap();
    let (gate, stats) = (Gate::default(), Stats::default());
    let mut source = Source::new();
    source.add(1, 100, &gate);
    let arrived = Arc::new(Mutex::new(Arrived::default()));
    let answer = |documents: &[Document<'_>], arrived: &mut Arrived| {
        let large = documents.iter().any(|document| number(document) == "41");
        if documents.len() > 10 || large {
            return Answer::TooLarge(Refusal { status: Some(413), ..Refusal::default() });
        }
        Answer::Items(documents.iter().map(|document| store(document, arrived)).collect())
    };
    let sink = Scripted { arrived: arrived.clone(), answer };
    let shipper = shipper(&source, data_dir.path(), &gate, &stats, 1000, sink);
    run_until(shipper, &gate, &stats, |counts| counts.cursor.sequence == 100);
    let counts = stats.get();
    assert_eq!((counts.stored, counts.dead_letters, counts.duplicates), (74, 1, 0));
    assert!(arrived.lock().unwrap().requests < 60);
}

#[test]
fn what_retention_took_is_counted_and_what_was_not_synced_is_not_sent() {
    let data_dir = TempDir::new().unwrap();
    let (gate, stats) = (Gate::default(), Stats::default());
    let mut source = Source::new();
    source.add(60, 100, &gate);
    // Only what is signed may go.
    source.journal.sync(100 * SECOND).unwrap();
    let removed = source.journal.set_free(1, None).unwrap();
    assert!(removed.blocks.end > 0 && removed.blocks.start == 0, "{removed:?} {:?}", source.disk.paths());
    // Written and not synced.
    let mut builder = BlockBuilder::new().unwrap();
    builder.push(&[], SECOND, Kind::LIFECYCLE.0).unwrap();
    source.journal.append(builder.seal().unwrap(), SECOND).unwrap();
    let arrived = Arc::new(Mutex::new(Arrived::default()));
    let answer = |documents: &[Document<'_>], arrived: &mut Arrived| {
        Answer::Items(documents.iter().map(|document| store(document, arrived)).collect())
    };
    let sink = Scripted { arrived, answer };
    let shipper = shipper(&source, data_dir.path(), &gate, &stats, 1000, sink);
    run_until(shipper, &gate, &stats, |counts| counts.cursor.sequence == 6000);
    let counts = stats.get();
    assert_eq!(counts.skipped_records, removed.blocks.end * 100);
    assert_eq!(counts.unreadable_records, 0);
    assert_eq!(counts.cursor.position, Position { block: 60, record: 0 });
    assert!(counts.skipped_records > 0);
}
