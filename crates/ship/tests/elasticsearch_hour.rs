//! A destination that is gone for as many tries as an hour has, while another one is well.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod elasticsearch_common;

use std::time::Duration;

use elasticsearch_common::*;
use headtrail_ship::backoff;
use headtrail_ship::gate::{Gate, Synced};
use headtrail_testkit::sink_servers::{Behaviour, BulkServer};
use tempfile::TempDir;

/// Tries in an hour are 120 by the usual limits; here are more, each much sooner.
const TRIES: u64 = 400;

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.chars().filter(char::is_ascii_digit).collect::<String>().parse::<u64>().unwrap() << 10
}

#[test]
fn a_destination_that_is_gone_costs_the_others_nothing_and_gets_what_is_left() {
    let data_dir = TempDir::new().unwrap();
    let (gate, gone_gate) = (Gate::default(), Gate::default());
    let mut source = Source::new(200);
    let add = |source: &mut Source, records| {
        source.add(records, &gate);
        gone_gate.put(gate.synced());
    };
    add(&mut source, 500);
    let live = BulkServer::start(|_| Behaviour::accept());
    let mut gone = BulkServer::start(|_| Behaviour::accept());
    let of = |name, server: &BulkServer| settings(name, 120, cluster(&[server.url()]));
    let (live_settings, gone_settings) = (of("live", &live), of("gone", &gone));
    let reader = Running::start(source.disk.clone(), data_dir.path(), &gate, &live_settings);
    let backoff = backoff::Limits { first: Duration::from_millis(1), most: Duration::from_millis(2) };
    let disk = source.disk.clone();
    let start =
        |gate: &Gate| Running::start_with(disk.clone(), data_dir.path(), gate, &gone_settings, backoff);
    let dead = start(&gone_gate);
    dead.until_record(500);
    gone.down();

    let before = resident_bytes();
    let mut removed = 0;
    for round in 1..=20 {
        add(&mut source, 500);
        reader.until_record(source.records);
        dead.until("it tries", |counts| counts.troubles.values().sum::<u64>() >= round * TRIES / 20);
        // What is signed may go, and more goes each time.
        source.journal.sync((100 + round) * 100 * SECOND).unwrap();
        if round % 4 == 0 {
            let taken = source.journal.set_free(8 << 10, None).unwrap();
            removed = removed.max(taken.blocks.end);
        }
    }
    assert!(removed > 20, "{removed}");
    let counts = dead.counts();
    assert!(counts.troubles["connect"] >= TRIES - 1, "{counts:?}");
    assert_eq!(counts.cursor.sequence, 500);
    assert!(counts.trouble.is_some());
    assert!(dead.told.lock().unwrap().len() <= 2, "told once, not hundreds of times");
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 64 << 20, "{grown}");

    gone.up();
    dead.until_record(source.records);
    let counts = dead.stop();
    let there = stored(&gone);
    let missing: Vec<u64> = source.selected(0).difference(&there).copied().collect();
    let (first, last) = (missing[0], missing[missing.len() - 1]);
    // In one piece, from the block behind what it had in hand to the last that was removed.
    assert_eq!(missing, source.selected(first).range(..=last).copied().collect::<Vec<_>>());
    assert_eq!(counts.skipped_records, removed * 50 - first / 50 * 50);
    assert_eq!(counts.stored, there.len() as u64);
    assert_eq!(counts.unreadable_records, 0);

    let counts = reader.stop();
    assert_eq!((counts.skipped_records, counts.again), (0, 0));
    assert!(counts.troubles.is_empty(), "{counts:?}");
    assert_eq!(stored(&live), source.selected(0));
}

#[test]
fn what_retention_took_is_counted_once_also_over_an_end_in_between() {
    let (gate, data_dir) = (Gate::default(), TempDir::new().unwrap());
    let mut source = Source::with(200, 500, &gate);
    let mut server = BulkServer::start(|_| Behaviour::accept());
    let settings = settings("a", 120, cluster(&[server.url()]));
    let running = Running::start(source.disk.clone(), data_dir.path(), &gate, &settings);
    running.until_record(500);
    assert_eq!(running.stop().skipped_records, 0);
    let gate = Gate::default();
    source.add(2000, &gate);
    source.journal.sync(100 * SECOND).unwrap();
    let removed = source.journal.set_free(1 << 30, None).unwrap().blocks.end;
    assert!(removed > 10);
    server.down();
    // It has seen what is missing, and ends before anything was delivered.
    let running = Running::start(source.disk.clone(), data_dir.path(), &gate, &settings);
    running.until("it tries", |counts| counts.troubles.contains_key("connect"));
    running.stop();
    server.up();
    let gate = Gate::default();
    gate.put(Synced { blocks: 50, records: 2500 });
    let running = Running::start(source.disk.clone(), data_dir.path(), &gate, &settings);
    running.until_record(2500);
    let counts = running.stop();
    assert_eq!(counts.skipped_records, removed * 50 - 500);
    let there = stored(&server);
    assert!(there.iter().all(|number| *number < 500 || *number >= removed * 50));
    assert_eq!(there.len(), source.selected(0).len() - source.selected(500).range(..removed * 50).count());
}
