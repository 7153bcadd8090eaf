//! Dead letters again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod elasticsearch_common;

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};

use elasticsearch_common::*;
use headtrail_record::record::Kind;
use headtrail_ship::batch::Document;
use headtrail_ship::dead_letter::DeadLetters;
use headtrail_ship::gate::Gate;
use headtrail_ship::replay::{Replayed, replay};
use headtrail_ship::settings::Settings;
use headtrail_ship::shipper::sink;
use headtrail_ship::sink::Refusal as Refused;
use headtrail_testkit::sink_servers::{Behaviour, BulkServer, Refusal};
use serde_json::json;
use tempfile::TempDir;

fn refusing(refused: impl Fn(u64) -> bool + Send + Sync + Clone + 'static) -> Behaviour {
    Behaviour::per_item(move |item| {
        refused(of_item(item)).then(|| Refusal::new(400, "document_parsing_exception"))
    })
}

/// Ships all, of which some is refused.
fn refused(
    source: &Source,
    data_dir: &Path,
    server: &BulkServer,
    settings: &Settings,
    gate: &Gate,
    refused: impl Fn(u64) -> bool + Send + Sync + Clone + 'static,
) {
    server.follow(move |_| refusing(refused.clone()));
    let running = Running::start(source.disk.clone(), data_dir, gate, settings);
    running.until_record(source.records);
    running.stop();
}

fn again(settings: &Settings, data_dir: &Path) -> (Replayed, Vec<String>) {
    let told = Arc::new(Mutex::new(Vec::new()));
    let words = told.clone();
    let tell = Box::new(move |line: &str| words.lock().unwrap().push(line.to_owned()));
    let replayed = replay(settings, data_dir, sink(settings).unwrap(), tell).unwrap();
    let told = told.lock().unwrap().clone();
    (replayed, told)
}

#[test]
fn dead_letters_are_delivered_when_the_server_was_mended_and_refused_again_where_not() {
    let (gate, data_dir) = (Gate::default(), TempDir::new().unwrap());
    let source = Source::with(100, 700, &gate);
    let server = BulkServer::start(|_| Behaviour::accept());
    let settings = settings("a", 30, cluster(&[server.url()]));
    refused(&source, data_dir.path(), &server, &settings, &gate, |number| number % 3 == 0);
    let third = source.selected(0).into_iter().filter(|number| number % 3 == 0).count() as u64;
    // Half of what was wrong was mended; on the way an answer is lost and everything is busy.
    let half = refusing(|number| number % 6 == 0);
    server.follow(Behaviour::in_turn([Behaviour::status(429, ""), half.clone()], half));
    let sixth = source.selected(0).into_iter().filter(|number| number % 6 == 0).count() as u64;
    let (replayed, _) = again(&settings, data_dir.path());
    assert_eq!(replayed, Replayed { stored: third - sixth, refused: sixth, unreadable: 0 });
    server.follow(Behaviour::in_turn([Behaviour::lose_answer()], Behaviour::accept()));
    let (replayed, _) = again(&settings, data_dir.path());
    assert_eq!(replayed, Replayed { stored: sixth, ..Replayed::default() });
    assert_eq!(stored(&server), source.selected(0));
    assert_eq!(dead(data_dir.path(), "a").1, 0);
    assert_eq!(again(&settings, data_dir.path()).0, Replayed::default());
}

#[test]
fn a_line_that_is_torn_is_told_and_costs_no_other() {
    let (gate, data_dir) = (Gate::default(), TempDir::new().unwrap());
    let mut source = Source::with(10, 60, &gate);
    let server = BulkServer::start(|_| Behaviour::accept());
    let settings = settings("a", 30, cluster(&[server.url()]));
    refused(&source, data_dir.path(), &server, &settings, &gate, |_| true);
    let before = source.selected(0);
    // The power failed in the middle of a line.
    let path = data_dir.path().join("dead-letter/a.ndjson");
    let text = fs::read(&path).unwrap();
    assert_eq!(text.iter().filter(|byte| **byte == b'\n').count(), before.len());
    let torn = text.split(|byte| *byte == b'\n').next().unwrap();
    let mut file = OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(&torn[..torn.len() / 2]).unwrap();
    // Further letters come behind it.
    let gate = Gate::default();
    source.add(60, &gate);
    refused(&source, data_dir.path(), &server, &settings, &gate, |_| true);
    // And it failed again.
    let mut file = OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(b"{\"refused_at\":1,\"id\":\"\xff").unwrap();
    server.follow(|_| Behaviour::accept());
    let (replayed, told) = again(&settings, data_dir.path());
    let all = source.selected(0);
    assert_eq!(stored(&server), all);
    assert_eq!(replayed, Replayed { stored: all.len() as u64, refused: 0, unreadable: 2 });
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told.iter().all(|line| line.contains("line ") && line.len() < 600), "{told:?}");
}

#[test]
fn very_many_letters_that_are_refused_once_more_take_the_place_of_what_they_were() {
    let data_dir = TempDir::new().unwrap();
    let server = BulkServer::start(|_| refusing(|_| true));
    let settings = settings("a", 30, cluster(&[server.url()]));
    // As many files as there may be; what is in the first fills a new one.
    let letters = DeadLetters::new(data_dir.path(), "a");
    let refusal = Refused::default();
    for number in 0..22u64 {
        let pad = "x".repeat(if number < 6 { 3 << 20 } else { 10 });
        let id = format!("i-{number}");
        let body = json!({"event": {"id": id}, "headtrail": {"lifecycle": {"details": {"number": number.to_string(), "pad": pad}}}});
        let body = body.to_string().into_bytes();
        let document = Document { kind: Kind::LIFECYCLE, id: &id, body: &body, time_ns: 0, record: number };
        letters.append(1, &[(document, &refusal)]).unwrap();
        if number >= 5 {
            letters.take().unwrap();
        }
    }
    assert!(letters.take().unwrap().len() >= 16);
    for _ in 0..2 {
        let (replayed, _) = again(&settings, data_dir.path());
        assert_eq!(replayed, Replayed { refused: 22, ..Replayed::default() });
        assert_eq!(dead(data_dir.path(), "a"), ((0..22).collect(), 22));
    }
    server.follow(|_| Behaviour::accept());
    assert_eq!(again(&settings, data_dir.path()).0, Replayed { stored: 22, ..Replayed::default() });
    assert_eq!(stored(&server), (0..22).collect());
}
