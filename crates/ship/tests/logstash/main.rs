//! Documents arrive at receivers that were written by others, whatever these do; and receivers that do what they should not are borne.
#![allow(clippy::expect_used, clippy::panic)]

mod ferro;
mod go;
mod hostile;
mod tls;

use std::collections::HashMap;
use std::thread;
use std::time::{Duration, Instant};

use headtrail_record::record::Kind;
use headtrail_ship::batch::Document;
use headtrail_ship::logstash::{Sender, Settings};
use headtrail_ship::settings::Timeouts;
use headtrail_ship::sink::{Answer, Item, Sink};
use serde_json::Value;

const DEADLINE: Duration = Duration::from_secs(60);

struct Doc {
    id: String,
    body: String,
}

impl Doc {
    fn document(&self) -> Document<'_> {
        let (id, body) = (self.id.as_str(), self.body.as_bytes());
        Document { kind: Kind::TRANSACTION, id, body, time_ns: 0, record: 0 }
    }
}

/// Documents that differ in size, with characters that JSON escapes.
fn docs(count: usize) -> Vec<Doc> {
    let doc = |index: usize| {
        let id = format!("run-{index}");
        let fill = "\u{e9}\"\\\u{1f980}x".repeat(index * 7 % 150 * 4);
        let body = serde_json::json!({"@timestamp": "2026-11-24T18:36:51.123456789Z", "event": {"id": id}, "fill": fill});
        Doc { id, body: body.to_string() }
    };
    (0..count).map(doc).collect()
}

fn documents(docs: &[Doc]) -> Vec<Document<'_>> {
    docs.iter().map(Doc::document).collect()
}

/// Limits for receivers on loopback that answer.
fn settings(nodes: &[&str]) -> Settings {
    Settings {
        nodes: nodes.iter().map(|&node| node.to_owned()).collect(),
        tls: None,
        window_max: 50,
        compress: false,
        timeouts: Timeouts { connect: Duration::from_secs(10), request: Duration::from_secs(20) },
    }
}

/// Does what the shipper does, in small: what is not stored is sent again, after a pause.
fn deliver(sender: &mut Sender, docs: &[Doc], batch: usize) {
    let start = Instant::now();
    for part in documents(docs).chunks(batch) {
        let mut left = part.to_vec();
        while !left.is_empty() {
            assert!(start.elapsed() < DEADLINE, "{} left", left.len());
            match sender.send(&left) {
                Answer::Items(items) => {
                    assert_eq!(items.len(), left.len());
                    let mut items = items.into_iter();
                    left.retain(|_| items.next() == Some(Item::Again));
                }
                Answer::Again(_) => thread::sleep(Duration::from_millis(5)),
                Answer::TooLarge(refusal) => panic!("{refusal:?}"),
            }
        }
    }
}

/// Each document is there, and whatever is there is one, with its id beside it. Answers how many are there more than once.
fn twice(docs: &[Doc], arrived: &[Value]) -> usize {
    let known: HashMap<&str, Value> =
        docs.iter().map(|doc| (doc.id.as_str(), serde_json::from_str(&doc.body).expect("JSON"))).collect();
    let mut counts = HashMap::<&str, usize>::new();
    for event in arrived {
        let metadata = &event["@metadata"];
        assert_eq!((metadata["beat"].as_str(), metadata["type"].as_str()), (Some("headtrail"), Some("_doc")));
        let id = metadata["_id"].as_str().expect("an id");
        let mut event = event.clone();
        event.as_object_mut().expect("an object").remove("@metadata");
        assert_eq!(known.get(id), Some(&event));
        *counts.entry(id).or_default() += 1;
    }
    let missing: Vec<_> =
        docs.iter().filter(|doc| !counts.contains_key(doc.id.as_str())).map(|doc| &doc.id).collect();
    assert!(missing.is_empty(), "missing: {missing:?}");
    counts.values().filter(|count| **count > 1).count()
}
