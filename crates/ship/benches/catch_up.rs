//! How fast a reader catches up with a journal of transactions, as of an API gateway. Not divan: what counts is the reader's thread alone,
//! while a server in the same process takes what it is sent.
//!
//! The reader says how much time of a processor it used, so another processor is needed for the server only if the clock on the wall
//! is to say the same. `cargo bench -p headtrail-ship --bench catch_up [DOCUMENTS]`
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use headtrail_journal::block::BlockBuilder;
use headtrail_journal::journal::{Journal, Options};
use headtrail_journal::storage::{Disk, Storage};
use headtrail_record::json::Context;
use headtrail_record::proto;
use headtrail_record::record::Kind;
use headtrail_ship::backoff;
use headtrail_ship::elasticsearch::{self, Flavour};
use headtrail_ship::gate::{Gate, Synced};
use headtrail_ship::settings::{Auth, Destination, Settings, Timeouts, Tls};
use headtrail_ship::shipper::{Place, Shipper, sink};
use headtrail_ship::stats::Stats;

#[path = "../../record/benches/realistic/mod.rs"]
#[allow(dead_code)]
mod realistic;

const NOW_NS: u64 = 1_795_545_411_123_456_789;

/// Writes a journal of so many transactions.
fn journal(storage: Arc<dyn Storage>, documents: u64) -> Synced {
    let (mut journal, _) = Journal::open(storage, Options::new("gw", [1; 8], [7; 32]), NOW_NS).unwrap();
    let (mut traffic, gateway) = (realistic::Traffic::new(), realistic::Gateway::new());
    let context = Context { run: 0x0123_4567_89ab, processes: &gateway };
    let mut builder = BlockBuilder::new().unwrap();
    let mut record = Vec::new();
    for left in (0..documents).rev() {
        let transaction = traffic.next();
        record.clear();
        proto::transaction(&mut record, &transaction, &context).unwrap();
        builder.push(&record, NOW_NS, Kind::TRANSACTION.0).unwrap();
        if builder.is_due() || left == 0 {
            journal.append(builder.seal().unwrap(), NOW_NS).unwrap();
            journal.sync(NOW_NS).unwrap();
        }
    }
    let synced = journal.close(NOW_NS).unwrap();
    Synced { blocks: synced.blocks, records: synced.records }
}

/// Takes all that comes on a connection, and answers that so many documents were stored.
fn serve(stream: TcpStream, documents: usize) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut out = stream.try_clone()?;
    let mut wire = BufReader::with_capacity(1 << 20, stream);
    let item = r#"{"create":{"status":201}}"#;
    loop {
        let (mut length, mut get, mut line) = (0u64, false, String::new());
        loop {
            line.clear();
            if wire.read_line(&mut line)? == 0 {
                return Ok(());
            }
            get |= line.starts_with("GET ");
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
        }
        std::io::copy(&mut (&mut wire).take(length), &mut std::io::sink())?;
        let items = if get { String::new() } else { vec![item; documents].join(",") };
        let body = format!("{{\"errors\":false,\"items\":[{items}]}}");
        write!(out, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())?;
    }
}

/// Time of a processor that a thread of this process had.
fn thread_time(name: &str) -> Duration {
    for task in fs::read_dir("/proc/self/task").unwrap() {
        let path = task.unwrap().path();
        if fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim() == name) {
            let stat = fs::read_to_string(path.join("schedstat")).unwrap();
            return Duration::from_nanos(stat.split(' ').next().unwrap().parse().unwrap());
        }
    }
    Duration::ZERO
}

fn main() {
    let documents =
        std::env::args().find_map(|word| word.parse().ok()).unwrap_or(100_000_u64).next_multiple_of(1_000);
    let folder = tempfile::tempdir().unwrap();
    let storage: Arc<dyn Storage> = Arc::new(Disk::new(folder.path()));
    let synced = journal(storage.clone(), documents);
    for gzip in [true, false] {
        let batch = 1_000;
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let node = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                serve(stream, batch).unwrap();
            }
        });
        let cluster = elasticsearch::Settings {
            flavour: Flavour::OpenSearch,
            nodes: vec![node],
            namespace: "default".to_owned(),
            pipeline: None,
            gzip,
            auth: Auth::None,
            tls: Tls::default(),
            timeouts: Timeouts::default(),
        };
        let settings = Settings {
            name: format!("gzip-{gzip}"),
            types: vec![Kind::TRANSACTION],
            query: None,
            batch_documents_max: batch,
            batch_bytes_max: 64 << 20,
            destination: Destination::Elasticsearch(cluster),
        };
        let (gate, stats) = (Gate::default(), Stats::default());
        gate.put(synced);
        let place = Place {
            storage: storage.clone(),
            gate: gate.clone(),
            stats: stats.clone(),
            backoff: backoff::Limits::default(),
            tell: Box::new(|line| println!("{line}")),
        };
        let shipper = Shipper::new(&settings, folder.path(), sink(&settings).unwrap(), place);
        let start = Instant::now();
        let thread =
            std::thread::Builder::new().name("reader".to_owned()).spawn(move || shipper.run()).unwrap();
        while stats.get().stored < documents {
            std::thread::sleep(Duration::from_millis(1));
            assert!(stats.get().troubles.is_empty(), "{:?}", stats.get());
        }
        let (wall, cpu) = (start.elapsed(), thread_time("reader"));
        let per_second = |time: Duration| documents as f64 / time.as_secs_f64();
        println!(
            "gzip {gzip}: {:.0} documents/s by the clock, {:.0} by the reader's processor; {} bytes sent for each",
            per_second(wall),
            per_second(cpu),
            stats.get().sent_bytes / documents,
        );
        gate.stop();
        thread.join().unwrap();
    }
}
