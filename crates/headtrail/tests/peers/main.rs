//! `headtrail read` beside tshark, message by message, over public captures.
//!
//! Captures are read where they are found: in the folder that HEADTRAIL_CAPTURES names, else in `../shared/captures` beside
//! the repository. What differs stands in `accepted.tsv`, with a reason and the bytes that prove it; any other difference fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod accepted;
mod compare;
mod message;
mod ours;
mod tshark;

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use headtrail_testkit::captures;

use crate::accepted::Accepted;
use crate::compare::{Difference, Direction, compare};
use crate::message::{Key, Message};

/// Of the files in which `read` finds nothing, one in so many is shown to tshark too, where not all are.
const ONE_IN: usize = 16;
/// Least share of messages that are equal, and most that may be on the list, in hundredths.
const EQUAL_MIN: usize = 99;
const ACCEPTED_MAX: usize = 1;

#[derive(Default)]
struct Totals {
    files: usize,
    ours: usize,
    theirs: usize,
    equal: usize,
    differ: Vec<(String, Key, Difference)>,
}

/// The folder of the public captures, if it is there, and tshark.
fn captures_and_tshark() -> Option<PathBuf> {
    if Command::new("tshark").arg("-v").output().is_err() {
        eprintln!("SKIPPED: tshark is not installed");
        return None;
    }
    captures::folder()
}

fn file(path: &Path, name: &str, totals: &Mutex<Totals>, everything: bool, number: usize, list: &[Accepted]) {
    let ours = ours::messages(path);
    if ours.is_empty() && !everything && !number.is_multiple_of(ONE_IN) && list.iter().all(|a| a.file != name)
    {
        return;
    }
    let mut best: HashMap<Key, Direction> = HashMap::new();
    let mut ports = Vec::new();
    for run in tshark::RUNS {
        let theirs = tshark::messages(path, run, &ports);
        for key in ours.keys().chain(theirs.keys()).collect::<BTreeSet<_>>() {
            let list = |all: &HashMap<Key, Vec<Message>>| all.get(key).cloned().unwrap_or_default();
            best.entry(key.clone())
                .or_default()
                .add(compare(&list(&ours), &list(&theirs)), list(&theirs).len());
        }
        if best.values().all(|direction| direction.differ().next().is_none()) {
            break;
        }
        if ports.is_empty() {
            ports = unseen(&ours, &theirs);
        }
    }
    let mut totals = totals.lock().unwrap();
    totals.files += 1;
    totals.ours += ours.values().map(Vec::len).sum::<usize>();
    for (key, direction) in best {
        let differ: Vec<_> = direction.differ().collect();
        totals.theirs += direction.theirs;
        totals.equal += direction.shown.len();
        totals.differ.extend(differ.into_iter().map(|d| (name.to_string(), key.clone(), d)));
    }
}

/// Ports of servers of which tshark shows nothing, and what is spoken there.
fn unseen(
    ours: &HashMap<Key, Vec<Message>>,
    theirs: &HashMap<Key, Vec<Message>>,
) -> Vec<(u16, &'static str)> {
    let mut ports: Vec<_> = ours
        .iter()
        .filter(|(key, _)| {
            theirs
                .keys()
                .all(|k| (&k.from, &k.to) != (&key.from, &key.to) && (&k.from, &k.to) != (&key.to, &key.from))
        })
        .map(|(key, _)| {
            let what = if key.stream.is_some() { "http2" } else { "http" };
            (key.from.port.min(key.to.port), what)
        })
        .collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

fn against_tshark(everything: bool) {
    let Some(folder) = captures_and_tshark() else { return };
    let files = captures::files(&folder);
    let list = accepted::read();
    let totals = Mutex::new(Totals::default());
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(path) = files.get(number) else { break };
                    let name = path.strip_prefix(&folder).unwrap().to_string_lossy();
                    file(path, &name, &totals, everything, number, &list);
                }
            });
        }
    });
    let mut totals = totals.into_inner().unwrap();
    totals
        .differ
        .sort_by(|(f, k, d), (f2, k2, d2)| (f, k, d.side, d.number).cmp(&(f2, k2, d2.side, d2.number)));
    let (new, stale) = accepted::against(&list, &totals.differ, &folder);
    let Totals { files, ours, theirs, equal, ref differ } = totals;
    let count = |side| differ.iter().filter(|(_, _, d)| d.side == side).count();
    let (only_ours, only_theirs, both) =
        (count(compare::Side::Ours), count(compare::Side::Theirs), count(compare::Side::Both));
    let all = equal + differ.len();
    println!(
        "{files} files: {ours} messages of ours, {theirs} of tshark; {equal} equal, {only_ours} only ours, \
         {only_theirs} only tshark's, {both} differ; {} accepted",
        list.len()
    );
    for line in new.iter().chain(&stale) {
        println!("{line}");
    }
    assert!(new.is_empty() && stale.is_empty(), "{} new, {} stale", new.len(), stale.len());
    assert!(equal * 100 >= all * EQUAL_MIN, "{equal} of {all}");
    assert!(list.len() * 100 <= all * ACCEPTED_MAX, "{} of {all}", list.len());
}

#[test]
fn every_message_is_what_tshark_finds() {
    against_tshark(false);
}

#[test]
#[ignore = "shows every file to tshark: minutes; `make soak` runs it"]
fn every_message_of_every_file_is_what_tshark_finds() {
    against_tshark(true);
}
