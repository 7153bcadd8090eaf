//! Records on their way to where teams look: into a real OpenSearch, through outages of the server, of the network and of the daemon
//! itself, everything arrives, and nothing twice under another id.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use common::{headtrail, ready, run};
use headtrail_testkit::lumberjack::{Arrived, Receiver};
use headtrail_testkit::netns::{Netns, veth};
use headtrail_testkit::opensearch::OpenSearch;
use headtrail_testkit::process::Watch;
use headtrail_testkit::rng::Rng;
use headtrail_testkit::server::{Nginx, NginxOptions};
use headtrail_testkit::sink_servers::{Behaviour, BulkServer};
use headtrail_testkit::{TempDir, eventually};
use serde_json::{Value, json};

/// How long it may take until everything has arrived.
const ARRIVED: Duration = Duration::from_secs(240);

/// How many transactions; `HEADTRAIL_SHIP_TRANSACTIONS` says otherwise.
fn transactions() -> u64 {
    std::env::var("HEADTRAIL_SHIP_TRANSACTIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(12_000)
}

/// A daemon's folder with its config.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new(config: &str) -> Place {
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join("headtrail.toml"), config).unwrap();
        Place { folder }
    }

    fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn arguments(&self, filter: &str) -> Vec<String> {
        let path = |path: PathBuf| path.to_str().unwrap().to_owned();
        let mut all = vec!["run".to_owned(), "--web".to_owned(), "127.0.0.1:0".to_owned()];
        all.extend(["-c".to_owned(), path(self.folder.path().join("headtrail.toml"))]);
        all.extend(["--data-dir".to_owned(), path(self.data_dir())]);
        all.extend(filter.split_whitespace().map(str::to_owned));
        all
    }

    /// The ids of all documents that the journal has for a destination, by `event.dataset`.
    fn journal(&self) -> BTreeMap<String, BTreeSet<String>> {
        let mut command = headtrail();
        command.args(["journal", "cat", "--format", "ecs", "--data-dir"]).arg(self.data_dir());
        let mut ids: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for line in run(&mut command).lines() {
            let document: Value = serde_json::from_str(line).unwrap();
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            let new = ids.entry(text(&document["event"]["dataset"])).or_default();
            assert!(new.insert(text(&document["event"]["id"])), "twice in the journal: {document}");
        }
        ids
    }

    fn reader(&self, name: &str) -> Option<Value> {
        let mut command = headtrail();
        command.args(["status", "--format", "json", "--data-dir"]).arg(self.data_dir());
        let status: Value = serde_json::from_slice(&command.output().unwrap().stdout).ok()?;
        status["readers"].as_array()?.iter().find(|reader| reader["name"] == name).cloned()
    }
}

/// Sends numbered requests over one connection.
struct Traffic {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Traffic {
    fn start(address: SocketAddr, pause: Duration) -> Traffic {
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&sent));
        let thread = std::thread::spawn(move || {
            let mut stream = TcpStream::connect(address).unwrap();
            let mut answer = [0; 4096];
            while !stopped.load(Ordering::Relaxed) {
                let number = count.load(Ordering::Relaxed);
                let request = format!(
                    "GET /{number}?tenant=t{} HTTP/1.1\r\nHost: api\r\nX-Number: {number}\r\nX-Tag: a\r\nX-Tag: b\r\n\r\n",
                    number % 7
                );
                stream.write_all(request.as_bytes()).unwrap();
                assert!(stream.read(&mut answer).unwrap() > 0);
                count.store(number + 1, Ordering::Relaxed);
                std::thread::sleep(pause);
            }
        });
        Traffic { stop, sent, thread }
    }

    fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        self.sent.load(Ordering::Relaxed)
    }
}

/// Hands on each connection to an address that this thread's namespace has, and others cannot see.
fn relay(listener: TcpListener, to: String) {
    std::thread::spawn(move || {
        for near in listener.incoming().map_while(Result::ok) {
            let Ok(far) = TcpStream::connect(&to) else { continue };
            for (mut from, mut to) in [(near.try_clone().unwrap(), far.try_clone().unwrap()), (far, near)] {
                std::thread::spawn(move || {
                    let _ = io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Both);
                    let _ = from.shutdown(Shutdown::Both);
                });
            }
        }
    });
}

/// All ids in the backing indices of a data stream, each with how often it is there.
fn ids(server: &OpenSearch, stream: &str) -> BTreeMap<String, u64> {
    server.request("POST", &format!("/{stream}/_refresh"), "");
    let mut all: BTreeMap<String, u64> = BTreeMap::new();
    let query = json!({"size": 5000, "_source": false, "sort": ["_doc"]}).to_string();
    let (mut status, mut page) = server.request("POST", &format!("/{stream}/_search?scroll=2m"), &query);
    // It is not there yet, or not ready yet.
    if status == 404 || status == 503 {
        return all;
    }
    loop {
        assert_eq!(status, 200, "{page}");
        let hits = page["hits"]["hits"].as_array().unwrap();
        if hits.is_empty() {
            return all;
        }
        let mut within: BTreeSet<(String, String)> = BTreeSet::new();
        for hit in hits {
            let (index, id) = (hit["_index"].as_str().unwrap(), hit["_id"].as_str().unwrap());
            assert!(within.insert((index.to_owned(), id.to_owned())), "{id} twice within {index}");
            *all.entry(id.to_owned()).or_default() += 1;
        }
        let next = json!({"scroll": "2m", "scroll_id": page["_scroll_id"]}).to_string();
        (status, page) = server.request("POST", "/_search/scroll", &next);
    }
}

fn setup(server: &OpenSearch) {
    // What only a plug-in has, which the test's server has not, is left open.
    let output = headtrail().args(["setup", "opensearch", &server.url()]).output().unwrap();
    let words =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(matches!(output.status.code(), Some(0 | 1)), "{words}");
    let (status, answer) = server.request("GET", "/_index_template/headtrail*", "");
    assert_eq!(status, 200, "{answer} {words}");
}

/// Waits until a destination has all that the journal has, and says what it has more than once.
fn wait_for_all(server: &OpenSearch, place: &Place, stream: &str) -> u64 {
    let journal = place.journal();
    let wanted = &journal["headtrail.transaction"];
    let found = eventually("all of the journal is there", ARRIVED, || {
        let found = ids(server, stream);
        let missing = wanted.iter().filter(|id| !found.contains_key(*id)).count();
        (missing == 0).then_some(found)
    });
    let strangers: Vec<_> = found.keys().filter(|id| !wanted.contains(*id)).collect();
    assert!(strangers.is_empty(), "not in the journal: {strangers:?}");
    found.values().filter(|count| **count > 1).count() as u64
}

#[test]
fn through_outages_of_server_network_and_daemon_everything_arrives_once() {
    if !ready() || !common::has("nginx") || !OpenSearch::available_to_kill() || !Netns::available() {
        return;
    }
    let mut server = OpenSearch::start();
    setup(&server);
    // The daemon is in a namespace whose only way to the server can be cut.
    let (near, far) = (Netns::new("ship-a"), Netns::new("ship-b"));
    veth((&near, "near0"), (&far, "far0"));
    near.address("near0", "10.77.0.1/24");
    far.address("far0", "10.77.0.2/24");
    let listener = far.run(|| TcpListener::bind("10.77.0.2:9200").unwrap());
    relay(listener, server.authority().to_owned());
    let place = Place::new(
        "[ship.os]\nkind = \"opensearch\"\nurls = [\"http://10.77.0.2:9200\"]\ntimeout = \"5s\"\nconnect_timeout = \"1s\"\n\
         batch_documents = 500\nnamespace = \"outage\"\n",
    );
    let options = NginxOptions { server: "keepalive_requests 1000000000;", ..NginxOptions::default() };
    let nginx = Nginx::start(&options);
    let filter = format!("port {}", nginx.address().port());
    let start = || {
        // `ip netns exec` would hide the mounts of cgroups.
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", near.name())).arg(env!("CARGO_BIN_EXE_headtrail"));
        command.args(place.arguments(&filter));
        Watch::start(command)
    };

    let wanted = transactions();
    // Long enough that something is delivered between two outages.
    let traffic = Traffic::start(nginx.address(), Duration::from_secs(45) / wanted as u32);
    let mut rng = Rng::new(5);
    let mut daemon = start();
    // Ten kills of the daemon, five of the server, five cuts, a roll-over, spread over the transactions.
    for step in 1..=20 {
        eventually("traffic goes on", ARRIVED, || (traffic.sent() >= wanted * step / 21).then_some(()));
        let pause = Duration::from_millis(300 + rng.below(1500));
        match step {
            11 => {
                // On a slow machine nothing may have been delivered between the outages, and there is no stream yet.
                eventually("the stream rolls over", ARRIVED, || {
                    let path = "/logs-headtrail.transaction-outage/_rollover";
                    (server.request("POST", path, "").0 == 200).then_some(())
                });
            }
            _ if step % 2 == 0 => {
                daemon.kill();
                daemon = start();
            }
            _ if step % 4 == 1 => {
                server.kill();
                std::thread::sleep(pause);
                server.restart();
                server.wait_ready();
            }
            _ => {
                far.ip(&["link", "set", "far0", "down"]);
                std::thread::sleep(pause);
                far.ip(&["link", "set", "far0", "up"]);
            }
        }
    }
    eventually("traffic goes on", ARRIVED, || (traffic.sent() >= wanted).then_some(()));
    let sent = traffic.stop();
    let finished = daemon.stop();
    assert!(finished.status.success(), "{}", finished.stderr);
    // What was not delivered at the end is after the next start.
    let daemon = start();
    let twice = wait_for_all(&server, &place, "logs-headtrail.transaction-outage");
    let reader = place.reader("os").unwrap();
    assert_eq!(reader["dead_letters"], 0, "{reader}");
    let recorded = place.journal()["headtrail.transaction"].len();
    println!("{sent} sent, {recorded} recorded and arrived, {twice} of them in both backing indices");
    assert!(recorded as u64 * 2 > sent, "{recorded} of {sent}");
    assert!(daemon.stop().status.success());
}

#[test]
fn what_is_sent_again_after_a_roll_over_is_in_both_indices_with_the_same_id() {
    if !ready() || !common::has("nginx") || !OpenSearch::available_to_kill() {
        return;
    }
    let server = OpenSearch::start();
    setup(&server);
    // By name, since names have to be looked up within the sandbox, too.
    let url = server.url().replace("127.0.0.1", "localhost");
    let config = format!("[ship.os]\nkind = \"opensearch\"\nurls = [\"{url}\"]\nnamespace = \"again\"\n");
    let place = Place::new(&config);
    let nginx = Nginx::start(&NginxOptions::default());
    let filter = format!("port {}", nginx.address().port());
    let start = || {
        let mut command = headtrail();
        command.args(place.arguments(&filter));
        Watch::start(command)
    };
    let daemon = start();
    for number in 0..20 {
        run(&mut common::curl(&[&format!("http://{}/{number}", nginx.address())]));
    }
    eventually("all are recorded", ARRIVED, || {
        place.journal().get("headtrail.transaction").is_some_and(|ids| ids.len() == 20).then_some(())
    });
    assert_eq!(wait_for_all(&server, &place, "logs-headtrail.transaction-again"), 0);
    assert!(daemon.stop().status.success());
    let (status, answer) = server.request("POST", "/logs-headtrail.transaction-again/_rollover", "");
    assert_eq!(status, 200, "{answer}");
    // As after a crash between an answer and the cursor, but for all.
    std::fs::remove_file(place.data_dir().join("cursors/os.toml")).unwrap();
    let daemon = start();
    let twice = eventually("all are there again", ARRIVED, || {
        let found = ids(&server, "logs-headtrail.transaction-again");
        let twice = found.values().filter(|count| **count == 2).count();
        (twice == found.len()).then_some(twice)
    });
    assert_eq!(twice, 20);
    assert!(daemon.stop().status.success());
    // And a third time: these are found to be there, in the index that is written to.
    std::fs::remove_file(place.data_dir().join("cursors/os.toml")).unwrap();
    let daemon = start();
    eventually("the destination says that it has them", ARRIVED, || {
        (place.reader("os")?["duplicates"].as_u64()? >= 20).then_some(())
    });
    assert_eq!(wait_for_all(&server, &place, "logs-headtrail.transaction-again"), 20);
    assert!(daemon.stop().status.success());
}

/// All documents of a file destination and of what was rotated out of it: each line whole.
fn lines(folder: &Path) -> Vec<Value> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        all.extend(text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()));
    }
    all
}

/// Compares documents by id with the journal: nothing is missing or strange. Returns how many came more than once.
fn compare(place: &Place, arrived: &[Value]) -> usize {
    let mut count: BTreeMap<&str, u64> = BTreeMap::new();
    for document in arrived.iter().filter(|document| document["event"]["dataset"] == "headtrail.transaction")
    {
        *count.entry(document["event"]["id"].as_str().unwrap()).or_default() += 1;
    }
    let journal = place.journal();
    let wanted: BTreeSet<&str> = journal["headtrail.transaction"].iter().map(String::as_str).collect();
    let found: BTreeSet<&str> = count.keys().copied().collect();
    assert!(
        wanted == found,
        "missing {:?}, strange {:?}",
        wanted.difference(&found),
        found.difference(&wanted)
    );
    count.values().filter(|count| **count > 1).count()
}

#[test]
fn through_lumberjack_and_a_file_nothing_is_missing_either() {
    if !ready() || !common::has("nginx") {
        return;
    }
    let arrived = Arrived::default();
    let Some(mut receiver) = Receiver::start("127.0.0.1:0", &[], &arrived) else { return };
    let address = receiver.address().to_owned();
    // Below `/tmp` nobody but root could write into the folder of the test.
    let files = TempDir::new().unwrap();
    let path = files.path().join("headtrail.ndjson");
    let place = Place::new(&format!(
        "[run]\nuser = \"root\"\n[ship.lumberjack]\nkind = \"logstash\"\nurls = [\"tcp://{address}\"]\ntimeout = \"5s\"\n\
         [ship.file]\nkind = \"file\"\npath = \"{}\"\nrotate_size = \"1MiB\"\nrotate_keep = 0\n",
        path.display()
    ));
    let options = NginxOptions { server: "keepalive_requests 1000000000;", ..NginxOptions::default() };
    let nginx = Nginx::start(&options);
    let filter = format!("port {}", nginx.address().port());
    let start = || {
        let mut command = headtrail();
        command.args(place.arguments(&filter));
        Watch::start(command)
    };
    let wanted = transactions();
    let traffic = Traffic::start(nginx.address(), Duration::from_secs(30) / wanted as u32);
    let mut daemon = start();
    for step in 1..=15 {
        eventually("traffic goes on", ARRIVED, || (traffic.sent() >= wanted * step / 16).then_some(()));
        if step % 3 == 0 {
            drop(receiver);
            receiver = Receiver::start(&address, &[], &arrived).unwrap();
        } else {
            daemon.kill();
            daemon = start();
        }
    }
    eventually("traffic goes on", ARRIVED, || (traffic.sent() >= wanted).then_some(()));
    let sent = traffic.stop();
    assert!(daemon.stop().status.success());
    let daemon = start();
    for name in ["lumberjack", "file"] {
        let mut last = None;
        let mut caught_up = || {
            last = place.reader(name);
            last.as_ref().is_some_and(|reader| reader["lag_records"] == 0 && reader["trouble"].is_null())
        };
        let until = Instant::now() + ARRIVED;
        while !caught_up() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(caught_up(), "{last:?}\n{}", daemon.stderr());
    }
    assert!(daemon.stop().status.success());
    drop(receiver);
    let recorded = place.journal()["headtrail.transaction"].len();
    let twice = compare(&place, &arrived.lock().unwrap());
    let twice_in_files = compare(&place, &lines(files.path()));
    println!("{sent} sent, {recorded} recorded; twice: {twice} by Lumberjack, {twice_in_files} in the file");
    assert!(std::fs::read_dir(files.path()).unwrap().count() > 1, "it was rotated");
}

#[test]
fn what_the_daemon_sends_itself_is_not_recorded() {
    if !ready() {
        return;
    }
    let server = BulkServer::start(|_| Behaviour::accept());
    let place = Place::new(&format!("[ship.es]\nkind = \"elasticsearch\"\nurls = [\"{}\"]\n", server.url()));
    let port = server.address().port();
    let mut command = headtrail();
    command.args(place.arguments(&format!("port {port}")));
    let daemon = Watch::start(command);
    let own = |place: &Place| -> Option<u64> {
        let mut command = headtrail();
        command.args(["status", "--format", "json", "--data-dir"]).arg(place.data_dir());
        let status: Value = serde_json::from_slice(&command.output().unwrap().stdout).ok()?;
        let dropped = status["volume_dropped"].as_array()?.clone();
        dropped.iter().find(|dropped| dropped["name"] == "own_requests")?["count"].as_u64()
    };
    // The record of its start is shipped.
    eventually("its own requests are counted", ARRIVED, || own(&place).filter(|own| *own > 0));
    assert!(daemon.stop().status.success());
    let journal = place.journal();
    assert!(!journal.contains_key("headtrail.transaction"), "{journal:?}");
    assert!(!server.documents().is_empty());
}
