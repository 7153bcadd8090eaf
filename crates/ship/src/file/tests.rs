use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use headtrail_record::record::Kind;
use proptest::prelude::*;
use serde_json::Value;
use tempfile::TempDir;

use super::request::{Disk, System};
use super::*;

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

fn docs(sizes: impl IntoIterator<Item = usize>) -> Vec<Doc> {
    let doc = |(index, size): (usize, usize)| {
        let id = format!("d{index}");
        let body = format!("{{\"id\":\"{id}\",\"fill\":\"{}\"}}", "x".repeat(size));
        Doc { id, body }
    };
    sizes.into_iter().enumerate().map(doc).collect()
}

fn documents(docs: &[Doc]) -> Vec<Document<'_>> {
    docs.iter().map(Doc::document).collect()
}

fn settings(dir: &Path, rotate_bytes: u64, keep: u32) -> Settings {
    Settings { path: dir.join("out.ndjson"), rotate_bytes, keep }
}

fn stored(count: usize) -> Answer {
    Answer::Items(vec![Item::Stored; count])
}

fn what(answer: &Answer) -> &str {
    match answer {
        Answer::Again(trouble) if trouble.kind == "disk" => &trouble.what,
        other => panic!("{other:?}"),
    }
}

/// The files from the oldest to the newest.
fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).expect("folder").map(|entry| entry.expect("entry").path());
    let mut files: Vec<_> = entries.filter(|path| path.file_name().expect("name") != "lock").collect();
    let number = |path: &PathBuf| path.extension().and_then(|e| e.to_str()?.parse().ok()).unwrap_or(u64::MAX);
    files.sort_by_key(number);
    files
}

fn ids(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).expect("file");
    assert!(text.is_empty() || text.ends_with('\n'));
    let id = |line: &str| {
        serde_json::from_str::<Value>(line).expect("JSON")["id"].as_str().expect("id").to_owned()
    };
    text.lines().map(id).collect()
}

#[test]
fn files_are_cut_between_documents_and_the_oldest_go() {
    let dir = TempDir::new().expect("folder");
    let docs = docs([100; 20]);
    let line = docs[0].body.len() as u64 + 1;
    let mut writer = Writer::new(settings(dir.path(), 3 * line + 20, 4));
    for part in documents(&docs).chunks(7) {
        assert_eq!(writer.send(part), stored(part.len()));
    }
    let files = files(dir.path());
    let names: Vec<_> = files.iter().map(|path| path.file_name().expect("name").to_string_lossy()).collect();
    assert_eq!(names, ["out.ndjson.3", "out.ndjson.4", "out.ndjson.5", "out.ndjson.6", "out.ndjson"]);
    let left: Vec<_> = files.iter().flat_map(|path| ids(path)).collect();
    let expected: Vec<_> = docs[6..].iter().map(|doc| doc.id.clone()).collect();
    assert_eq!(left, expected);
    assert!(files.iter().all(|path| fs::metadata(path).expect("file").len() <= 3 * line + 20));
    assert_eq!(writer.sent_bytes(), docs.iter().map(|doc| doc.body.len() as u64 + 1).sum::<u64>());
    assert_eq!(fs::metadata(&files[4]).expect("file").permissions().mode() & 0o137, 0);
}

#[test]
fn a_document_larger_than_a_file_gets_one_of_its_own() {
    let dir = TempDir::new().expect("folder");
    let docs = docs([1, 3 << 20, 1]);
    let mut writer = Writer::new(settings(dir.path(), 1000, 0));
    assert_eq!(writer.send(&documents(&docs)), stored(3));
    let files: Vec<_> = files(dir.path()).iter().map(|path| ids(path)).collect();
    assert_eq!(files, [["d0"], ["d1"], ["d2"]]);
}

#[test]
fn a_torn_line_is_cut_off() {
    let dir = TempDir::new().expect("folder");
    let docs = docs([10, 10]);
    let path = dir.path().join("out.ndjson");
    for torn in [format!("{}\n{{\"id\":\"d1\",\"fi", docs[0].body), format!("{}\n\0\0\0", docs[0].body)] {
        fs::write(&path, torn).expect("written");
        assert_eq!(Writer::new(settings(dir.path(), 0, 0)).send(&documents(&docs[1..])), stored(1));
        assert_eq!(ids(&path), ["d0", "d1"]);
    }
    let long = format!("{{\"a\":\"{}", "x".repeat(300_000));
    fs::write(&path, long).expect("written");
    assert_eq!(Writer::new(settings(dir.path(), 0, 0)).check(), Ok(()));
    assert_eq!(fs::read(&path).expect("file"), b"");
}

#[test]
fn a_file_of_something_else_is_left_alone() {
    let dir = TempDir::new().expect("folder");
    let path = dir.path().join("out.ndjson");
    for text in ["key = value", "root:x:0\nkey = value"] {
        fs::write(&path, text).expect("written");
        let answer = Writer::new(settings(dir.path(), 0, 0)).send(&documents(&docs([1])));
        assert!(what(&answer).contains("another file"), "{answer:?}");
        assert_eq!(fs::read_to_string(&path).expect("file"), text);
    }
}

#[test]
fn links_pipes_and_missing_folders_are_troubles() {
    let dir = TempDir::new().expect("folder");
    let docs = docs([1]);
    let path = dir.path().join("out.ndjson");
    let mut writer = Writer::new(settings(dir.path(), 0, 0));

    fs::write(dir.path().join("target"), "").expect("written");
    symlink("target", &path).expect("link");
    assert!(what(&writer.send(&documents(&docs))).contains("symbolic link"));
    fs::remove_file(&path).expect("removed");

    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).expect("pipe");
    assert!(what(&writer.send(&documents(&docs))).contains("no regular file"));
    fs::remove_file(&path).expect("removed");

    fs::create_dir(&path).expect("folder");
    assert!(what(&writer.send(&documents(&docs))).contains("directory"));
    fs::remove_dir(&path).expect("removed");

    let mut nowhere = Writer::new(settings(&dir.path().join("nowhere"), 0, 0));
    assert!(what(&nowhere.send(&documents(&docs))).contains("No such file"));
    fs::create_dir(dir.path().join("nowhere")).expect("folder");
    assert_eq!(nowhere.send(&documents(&docs)), stored(1));
    assert_eq!(writer.send(&documents(&docs)), stored(1));
}

#[test]
fn two_writers_do_not_share_a_file() {
    let dir = TempDir::new().expect("folder");
    let docs = docs([1]);
    let mut first = Writer::new(settings(dir.path(), 0, 0));
    let mut second = Writer::new(settings(dir.path(), 0, 0));
    assert_eq!(first.send(&documents(&docs)), stored(1));
    assert!(what(&second.send(&documents(&docs))).contains("another process"));
    drop(first);
    assert_eq!(second.send(&documents(&docs)), stored(1));
}

#[test]
fn a_file_renamed_removed_or_emptied_by_others_is_noticed() {
    let dir = TempDir::new().expect("folder");
    let docs = docs([1; 4]);
    let all = documents(&docs);
    let path = dir.path().join("out.ndjson");
    let mut writer = Writer::new(settings(dir.path(), 0, 0));
    assert_eq!(writer.send(&all[..1]), stored(1));
    fs::rename(&path, dir.path().join("out.ndjson.1")).expect("renamed");
    assert_eq!(writer.send(&all[1..2]), stored(1));
    assert_eq!(ids(&path), ["d1"]);
    assert_eq!(ids(&dir.path().join("out.ndjson.1")), ["d0"]);
    fs::remove_file(&path).expect("removed");
    assert_eq!(writer.send(&all[2..3]), stored(1));
    assert_eq!(ids(&path), ["d2"]);
    File::options().write(true).truncate(true).open(&path).expect("emptied");
    assert_eq!(writer.send(&all[3..]), stored(1));
    assert_eq!(ids(&path), ["d3"]);
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    /// Half is written, which is not an error.
    Half,
    /// Half is written, then the disk is full.
    Full,
    /// Nothing is done.
    Refused,
    /// The process is gone in the middle.
    Crash,
}

#[derive(Default)]
struct Plan {
    calls: u32,
    faults: BTreeMap<u32, Fault>,
    crashed: bool,
    /// Bytes of each file, by inode, that would be there after a power cut.
    synced: HashMap<u64, u64>,
}

/// A disk that fails by plan.
struct Faulty(Arc<Mutex<Plan>>);

impl Faulty {
    /// What happens to this call; `half` does the half of it.
    fn call(&self, half: impl FnOnce()) -> io::Result<Option<Fault>> {
        let mut plan = self.0.lock().expect("plan");
        if plan.crashed {
            return Err(io::Error::other("crashed"));
        }
        plan.calls += 1;
        let fault = plan.faults.get(&plan.calls).copied();
        match fault {
            None | Some(Fault::Half) => {}
            Some(Fault::Refused) => return Err(rustix::io::Errno::IO.into()),
            Some(Fault::Full) => {
                half();
                return Err(rustix::io::Errno::NOSPC.into());
            }
            Some(Fault::Crash) => {
                half();
                plan.crashed = true;
                return Err(io::Error::other("crashed"));
            }
        }
        Ok(fault)
    }
}

impl Disk for Faulty {
    fn write(&mut self, mut file: &File, bytes: &[u8]) -> io::Result<usize> {
        let half = &bytes[..bytes.len() / 2];
        match self.call(|| file.write_all(half).expect("written"))? {
            Some(Fault::Half) if !half.is_empty() => file.write(half),
            _ => file.write(bytes),
        }
    }

    fn sync(&mut self, file: &File) -> io::Result<()> {
        self.call(|| ())?;
        let data = file.metadata()?;
        self.0.lock().expect("plan").synced.insert(data.ino(), data.len());
        Ok(())
    }

    fn truncate(&mut self, file: &File, len: u64) -> io::Result<()> {
        self.call(|| ())?;
        file.set_len(len)?;
        let mut plan = self.0.lock().expect("plan");
        let synced = plan.synced.entry(file.metadata()?.ino()).or_default();
        *synced = len.min(*synced);
        Ok(())
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.call(|| System.rename(from, to).expect("renamed"))?;
        System.rename(from, to)
    }

    fn sync_dir(&mut self, _: &Path) -> io::Result<()> {
        self.call(|| ()).map(|_| ())
    }
}

/// Takes from each file some of what was not synced.
fn cut_power(dir: &Path, plan: &Plan, part: u64) {
    for path in files(dir) {
        let file = File::options().write(true).open(&path).expect("file");
        let data = file.metadata().expect("file");
        let synced = plan.synced.get(&data.ino()).copied().unwrap_or_default().min(data.len());
        file.set_len(synced + (data.len() - synced) * part / 100).expect("cut");
    }
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![Just(Fault::Half), Just(Fault::Full), Just(Fault::Refused), Just(Fault::Crash)]
}

proptest! {
    #[test]
    fn every_document_is_there_whole_after_any_faults(
        sizes in prop::collection::vec(0_usize..400, 1..60),
        batch in 1_usize..12,
        rotate_bytes in prop_oneof![Just(0_u64), 100..3000_u64],
        faults in prop::collection::btree_map(1_u32..80, fault(), 0..20),
        // How much of what was not synced is left after a crash.
        parts in prop::collection::vec(0_u64..=100, 1..4),
        renamed in prop::collection::vec(any::<bool>(), 1..8),
    ) {
        let dir = TempDir::new().expect("folder");
        let docs = docs(sizes);
        let settings = settings(dir.path(), rotate_bytes, 0);
        let plan = Arc::new(Mutex::new(Plan { faults, ..Plan::default() }));
        let new = || Writer::with_disk(settings.clone(), Box::new(Faulty(plan.clone())));
        let mut writer = new();
        let mut left = documents(&docs);
        let mut renames = 0;
        // Each fault hits once, so this many turns are enough.
        for turn in 0..200 {
            if left.is_empty() {
                break;
            }
            if turn % 3 == 2 && renamed[turn % renamed.len()] && settings.path.exists() {
                renames += 1;
                let to = dir.path().join(format!("out.ndjson-{renames}"));
                fs::rename(&settings.path, to).expect("renamed");
            }
            let now: Vec<_> = left.drain(..batch.min(left.len())).collect();
            let items = match writer.send(&now) {
                Answer::Items(items) => items,
                Answer::Again(_) => vec![Item::Again; now.len()],
                Answer::TooLarge(refusal) => panic!("{refusal:?}"),
            };
            prop_assert_eq!(items.len(), now.len());
            let again = now.into_iter().zip(&items).filter(|(_, item)| **item != Item::Stored).map(|(d, _)| d);
            left.splice(0..0, again);
            let mut held = plan.lock().expect("plan");
            if held.crashed {
                held.crashed = false;
                cut_power(dir.path(), &held, parts[turn % parts.len()]);
                drop(held);
                writer = new();
            }
        }
        prop_assert!(left.is_empty());
        let mut found = HashMap::<String, usize>::new();
        for path in files(dir.path()) {
            let text = fs::read_to_string(&path).expect("file");
            // What others rename before it was opened again keeps its torn line.
            let whole = if path.to_string_lossy().contains(".ndjson-") { text.rfind('\n').map_or(0, |end| end + 1) } else { text.len() };
            for line in text[..whole].lines() {
                let known = docs.iter().find(|doc| doc.body == line);
                prop_assert!(known.is_some(), "{}: {line}", path.display());
                *found.entry(known.expect("known").id.clone()).or_default() += 1;
            }
        }
        for doc in &docs {
            prop_assert!(found.contains_key(&doc.id), "{} is missing", doc.id);
        }
    }
}
