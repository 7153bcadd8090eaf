//! The daemon and its journal, as a user has them: what was sent is in the journal, also after an end that nobody
//! prepared; what cannot work is refused with clear words.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use common::journal::{cat, daemon, of_type, refused, status, verify};
use common::{DEADLINE, curl, field, headtrail, ready, run};
use headtrail_testkit::planted::{Exchange, Planter};
use headtrail_testkit::process::Watch;
use headtrail_testkit::rng::Rng;
use headtrail_testkit::server::{Nginx, NginxOptions};
use headtrail_testkit::{Signal, TempDir, eventually};
use serde_json::Value;

const TOKEN: &str = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJlLW9mLXRoZS10b2tlbg";

/// Exchanges with planted secrets; `HEADTRAIL_EXCHANGES` says otherwise.
fn exchanges_max() -> usize {
    std::env::var("HEADTRAIL_EXCHANGES").ok().and_then(|n| n.parse().ok()).unwrap_or(1000)
}

/// Sequence number behind the last record that the daemon says is on the disk; None where it does not answer.
fn synced(data_dir: &Path) -> Option<u64> {
    status(data_dir)?["journal"]["synced_record"].as_u64()
}

fn bytes_below(folder: &Path, all: &mut Vec<u8>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            bytes_below(&path, all);
        } else if path.is_file() {
            all.extend(std::fs::read(&path).unwrap());
        }
    }
}

#[test]
fn a_call_is_in_the_journal_and_its_token_is_not() {
    if !ready() || !common::has("nginx") {
        return;
    }
    let nginx = Nginx::start(&NginxOptions::default());
    let data_dir = TempDir::new().unwrap();
    let port = nginx.address().port();
    let watch = Watch::start(daemon(data_dir.path(), &format!("port {port}")));
    let authorization = format!("Authorization: Bearer {TOKEN}");
    run(&mut curl(&["-H", &authorization, &format!("http://{}/", nginx.address())]));
    // Also while it runs.
    eventually("the call is in the journal", DEADLINE, || {
        (of_type(&cat(data_dir.path()), "transaction").len() == 1).then_some(())
    });
    let finished = watch.stop();
    assert!(finished.status.success(), "{}", finished.stderr);

    let records = cat(data_dir.path());
    let events: Vec<_> = of_type(&records, "lifecycle").iter().map(|r| r["event"].clone()).collect();
    assert_eq!(events, ["start", "stop"]);
    let transactions = of_type(&records, "transaction");
    assert_eq!(verify(data_dir.path(), &[]).0, 0);
    let id = transactions[0]["id"].as_str().unwrap();
    let (code, proof) = verify(data_dir.path(), &["--record", id]);
    assert!(code == 0 && proof.contains("c2sp.org/tlog-proof@v1") && proof.contains(id), "{proof}");
    let authorization = field(&transactions[0]["request"], "authorization").unwrap();
    assert!(authorization.starts_with("Bearer hmac:1:"), "{authorization}");
    let mut all = Vec::new();
    bytes_below(data_dir.path(), &mut all);
    for record in &records {
        all.extend(record.to_string().into_bytes());
    }
    let has = |needle: &str| all.windows(needle.len()).any(|window| window == needle.as_bytes());
    assert!(has("hmac:1:"), "the search finds what is there");
    assert!(!has(TOKEN));
}

/// Between two requests: some hundred a second, so that reading the journal again and again takes no longer than the rounds.
const PAUSE: Duration = Duration::from_micros(500);

/// Plays one exchange after the other, each on a connection of its own.
fn play(exchanges: &[Exchange]) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let exchanges: Vec<(usize, Vec<u8>)> =
        exchanges.iter().map(|e| (e.request.len(), e.response.clone())).collect();
    let thread = std::thread::spawn(move || {
        for (request_bytes, response) in exchanges {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = vec![0; request_bytes];
            stream.read_exact(&mut request).unwrap();
            stream.write_all(&response).unwrap();
        }
    });
    (address, thread)
}

#[test]
fn planted_secrets_are_in_nothing_that_is_written() {
    if !ready() {
        return;
    }
    let mut planter = Planter::new(11);
    let count = exchanges_max();
    let exchanges: Vec<Exchange> = (0..count).map(|_| planter.exchange()).collect();
    let data_dir = TempDir::new().unwrap();
    let (address, server) = play(&exchanges);
    let watch = Watch::start(daemon(data_dir.path(), &format!("port {}", address.port())));
    for exchange in &exchanges {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(&exchange.request).unwrap();
        let mut answer = Vec::new();
        // Some servers reset.
        let _ = stream.read_to_end(&mut answer);
    }
    server.join().unwrap();
    let finished = watch.stop();
    assert!(finished.status.success(), "{}", finished.stderr);

    let mut all = finished.stderr.into_bytes();
    bytes_below(data_dir.path(), &mut all);
    // Unpacked, in both forms.
    for format in ["json", "ecs"] {
        let mut command = headtrail();
        command.args(["journal", "cat", "--format", format, "--data-dir"]).arg(data_dir.path());
        all.extend(common::output(&mut command).stdout);
    }
    let records = of_type(&cat(data_dir.path()), "transaction").len();
    assert!(records >= count * 9 / 10, "{records} of {count} exchanges are recorded");
    let text = String::from_utf8_lossy(&all);
    assert!(text.contains("hmac:1:"));
    let found: Vec<_> = exchanges
        .iter()
        .flat_map(|exchange| exchange.secrets.iter().map(|secret| (&exchange.what, secret)))
        .filter(|(_, secret)| text.contains(secret.as_str()))
        .collect();
    assert!(found.is_empty(), "{} secrets: {:?}", found.len(), &found[..found.len().min(5)]);
}

/// Sends numbered requests.
struct Sender {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Sender {
    fn start(address: SocketAddr) -> Sender {
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let shared = (Arc::clone(&stop), Arc::clone(&sent));
        let thread = std::thread::spawn(move || {
            let (stop, sent) = shared;
            let mut stream = TcpStream::connect(address).unwrap();
            let mut answer = [0; 4096];
            while !stop.load(Ordering::Relaxed) {
                let number = sent.load(Ordering::Relaxed);
                let request = format!("GET /{number} HTTP/1.1\r\nHost: a\r\nX-Number: {number}\r\n\r\n");
                stream.write_all(request.as_bytes()).unwrap();
                assert!(stream.read(&mut answer).unwrap() > 0);
                sent.store(number + 1, Ordering::Relaxed);
                std::thread::sleep(PAUSE);
            }
        });
        Sender { stop, sent, thread }
    }

    fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        self.sent.load(Ordering::Relaxed)
    }
}

#[test]
fn killed_at_any_moment_it_has_lost_nothing_that_was_synced() {
    if !ready() || !common::has("nginx") {
        return;
    }
    let kills: u64 = std::env::var("HEADTRAIL_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(12);
    // All of a journal is read after each kill, so a new one is begun from time to time.
    for first in (0..kills).step_by(KILLS_OF_A_JOURNAL) {
        kill_and_compare(7 + first, (kills - first).min(KILLS_OF_A_JOURNAL as u64));
        println!("{} kills", (first + KILLS_OF_A_JOURNAL as u64).min(kills));
    }
}

/// Kills of one journal.
const KILLS_OF_A_JOURNAL: usize = 12;

fn kill_and_compare(seed: u64, rounds: u64) {
    let server = "keepalive_requests 1000000000;";
    let nginx = Nginx::start(&NginxOptions { server, ..NginxOptions::default() });
    let data_dir = TempDir::new().unwrap();
    let filter = format!("port {}", nginx.address().port());
    let sender = Sender::start(nginx.address());
    let mut rng = Rng::new(seed);
    let mut known = 0;
    for round in 0..rounds {
        let watch = Watch::start(daemon(data_dir.path(), &filter));
        let kill_at = Instant::now() + Duration::from_millis(rng.below(2500));
        let mut acknowledged = known;
        while Instant::now() < kill_at {
            acknowledged = acknowledged.max(synced(data_dir.path()).unwrap_or(0));
        }
        watch.kill();
        let records = cat(data_dir.path());
        let count = records.len() as u64;
        assert!(count >= acknowledged, "round {round}: {count} records, {acknowledged} were acknowledged");
        known = acknowledged;
    }
    // One clean run at the end, so that something is there in any case.
    let watch = Watch::start(daemon(data_dir.path(), &filter));
    let before = sender.sent.load(Ordering::Relaxed);
    eventually("some are sent", DEADLINE, || {
        (sender.sent.load(Ordering::Relaxed) > before + 10).then_some(())
    });
    let sent = sender.stop();
    assert!(watch.stop().status.success());

    let records = cat(data_dir.path());
    let mut numbers = HashSet::new();
    let mut ids = HashSet::new();
    for transaction in of_type(&records, "transaction") {
        assert!(ids.insert(transaction["id"].to_string()), "double: {transaction}");
        if transaction["request"].is_null() {
            continue;
        }
        let number: u64 = field(&transaction["request"], "x-number").unwrap().parse().unwrap();
        assert!(number < sent && numbers.insert(number), "not sent so or double: {transaction}");
        assert_eq!(transaction["request"]["target"], format!("/{number}"));
    }
    let (code, words) = verify(data_dir.path(), &[]);
    assert_eq!(code, 0, "{words}");
    let starts: Vec<_> = of_type(&records, "lifecycle")
        .into_iter()
        .filter(|record| record["event"].as_str().is_some_and(|event| event.starts_with("start")))
        .collect();
    assert!(starts.iter().any(|start| start["event"] == "start_after_unclean_end"), "{starts:?}");
    assert!(!starts.is_empty() && starts.iter().skip(1).all(|start| !start["off"].is_null()), "{starts:?}");
}

#[test]
fn a_new_config_is_in_force_after_sighup_and_on_record() {
    if !ready() || !common::has("nginx") {
        return;
    }
    let nginx = Nginx::start(&NginxOptions::default());
    let (data_dir, folder) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let config = folder.path().join("headtrail.toml");
    std::fs::write(&config, "").unwrap();
    let mut command = headtrail();
    command.args(["run", "--web", "127.0.0.1:0", "--data-dir"]).arg(data_dir.path());
    command.arg("-c").arg(&config).args(["port", &nginx.address().port().to_string()]);
    let watch = Watch::start(command);
    let call = |path: &str| run(&mut curl(&[&format!("http://{}{path}", nginx.address())]));
    call("/?a=1");
    // As an editor does it.
    let new = folder.path().join("new");
    std::fs::write(&new, "[privacy]\ntarget = 'drop'\n[capture]\nring_bytes = '8MiB'\n").unwrap();
    std::fs::rename(&new, &config).unwrap();
    watch.signal(Signal::HUP);
    eventually("it is read", DEADLINE, || watch.stderr().contains("read anew").then_some(()));
    call("/?b=2");
    // What needs a restart is told as it is, not as the file has it.
    let told_at = |status: &Value| status["taken_ns"].as_u64();
    let before = told_at(&status(data_dir.path()).unwrap());
    let now = eventually("a new status", DEADLINE, || {
        status(data_dir.path()).filter(|status| told_at(status) > before)
    });
    assert_eq!(now["ring_bytes"], 16 << 20);
    let finished = watch.stop();
    assert!(
        finished.stderr.contains("capture.ring_bytes has changed and needs a restart"),
        "{}",
        finished.stderr
    );
    let records = cat(data_dir.path());
    let targets: Vec<_> =
        of_type(&records, "transaction").iter().map(|t| t["request"]["target"].clone()).collect();
    assert_eq!(targets, ["/?a=1", "/"]);
    let lifecycle = of_type(&records, "lifecycle");
    let changed = lifecycle.iter().find(|record| record["event"] == "config").expect("a record of it");
    assert!(changed["details"].to_string().contains("privacy.target"), "{changed}");
    assert_ne!(changed["config_hash"], lifecycle[0]["config_hash"]);
}

#[test]
fn a_changed_byte_is_found_and_named() {
    if !ready() || !common::has("nginx") {
        return;
    }
    let nginx = Nginx::start(&NginxOptions::default());
    let data_dir = TempDir::new().unwrap();
    let watch = Watch::start(daemon(data_dir.path(), &format!("port {}", nginx.address().port())));
    run(&mut curl(&[&format!("http://{}/", nginx.address())]));
    assert!(watch.stop().status.success());
    let (code, report) = verify(data_dir.path(), &["--format", "json"]);
    assert_eq!(code, 0, "{report}");
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["verdict"], "whole");
    let file = report["segments"][0]["file"].as_str().unwrap();
    let signed = report["segments"][0]["signed_bytes"].as_u64().unwrap() as usize;
    let path = data_dir.path().join(file);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[signed / 2] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let (code, words) = verify(data_dir.path(), &[]);
    assert_eq!(code, 1, "{words}");
    assert!(words.contains(file) && words.contains("NOT as it was signed"), "{words}");
}

#[test]
fn a_second_daemon_is_refused_and_does_no_harm() {
    if !ready() {
        return;
    }
    let data_dir = TempDir::new().unwrap();
    let first = Watch::start(daemon(data_dir.path(), "port 1"));
    let (code, words) = refused(daemon(data_dir.path(), "port 1"));
    assert_eq!(code, 3, "{words}");
    assert!(words.contains(&first.pid().to_string()), "{words}");
    assert!(synced(data_dir.path()).is_some(), "the first still answers");
    assert!(first.stop().status.success());
}

#[test]
fn a_directory_of_a_later_version_is_left_alone() {
    if !ready() {
        return;
    }
    let data_dir = TempDir::new().unwrap();
    Watch::start(daemon(data_dir.path(), "port 1")).stop();
    let file = data_dir.path().join("journal/journal.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("version = 1", "version = 2")).unwrap();
    let mut before = Vec::new();
    bytes_below(&data_dir.path().join("journal/segments"), &mut before);
    let (code, words) = refused(daemon(data_dir.path(), "port 1"));
    assert_eq!(code, 2, "{words}");
    assert!(words.contains("journal.toml") && words.contains('2'), "{words}");
    let mut after = Vec::new();
    bytes_below(&data_dir.path().join("journal/segments"), &mut after);
    assert_eq!(before, after);
}
