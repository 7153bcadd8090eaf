//! A real OpenSearch node, from Maven Central (`tests/servers/opensearch`), or a cluster that is there.
//!
//! A node of the tests takes about 300 MB of memory, and a few seconds to start: share one where tests do
//! not disturb each other, by names of their own for what they make.

use std::fs::File;
use std::io::{BufReader, Result, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::http_message::Message;

/// Names a cluster to use instead of a node of the test's own, as `http://HOST:PORT`.
const URL_VARIABLES: [&str; 2] = ["OPENSEARCH_URL", "ELASTICSEARCH_URL"];
/// The two cores of a small machine may be busy with other tests.
const START_DEADLINE: Duration = Duration::from_secs(180);
const ANSWER_DEADLINE: Duration = Duration::from_secs(60);

/// A running OpenSearch.
#[derive(Debug)]
pub struct OpenSearch {
    /// `HOST:PORT`.
    authority: String,
    /// `None` if it is somebody else's.
    node: Option<Node>,
}

/// A node of the test's own.
#[derive(Debug)]
struct Node {
    /// Ends by itself when its standard input does, so it does not outlive a test that was killed.
    child: Child,
    /// Its data and its log.
    home: TempDir,
}

impl OpenSearch {
    /// Is there one, or can there be? If not, says why in a line `skipped: …`. The first call may fetch it.
    pub fn available() -> bool {
        if given().is_some() {
            return true;
        }
        if let Err(why) = program() {
            crate::skip(&format!("OpenSearch cannot be had: {why}"));
            return false;
        }
        true
    }

    /// The same, for tests that kill it: a cluster that was given is not theirs to kill.
    pub fn available_to_kill() -> bool {
        if given().is_some() {
            crate::skip("the OpenSearch that was given must not be killed");
            return false;
        }
        OpenSearch::available()
    }

    /// Starts a node with nothing in it, or takes what [`URL_VARIABLES`] give, and returns when it is ready.
    pub fn start() -> OpenSearch {
        let search = match given() {
            Some(authority) => OpenSearch { authority, node: None },
            None => {
                let home = TempDir::new().expect("a temporary folder");
                let (child, port) = launch(home.path(), 0);
                OpenSearch { authority: format!("127.0.0.1:{port}"), node: Some(Node { child, home }) }
            }
        };
        search.wait_ready();
        search
    }

    /// Where it listens, as `http://HOST:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.authority)
    }

    /// Where it listens, as `HOST:PORT`.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Sends a signal: STOP for one that hangs, CONT for its end.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.own().child), signal).expect("the process is there");
    }

    /// Kills it, which it cannot prepare for.
    pub fn kill(&mut self) {
        let child = &mut self.node.as_mut().expect("a node of the test's own").child;
        child.kill().expect("kills");
        child.wait().expect("waits");
    }

    /// Starts it again after [`Self::kill`], on the same port and with the same data.
    pub fn restart(&mut self) {
        let (_, port) = self.authority.rsplit_once(':').expect("a port");
        let port = port.parse().expect("a number");
        let node = self.node.as_mut().expect("a node of the test's own");
        (node.child, _) = launch(node.home.path(), port);
        self.wait_ready();
    }

    /// Waits until it takes and finds documents: every primary shard is there.
    pub fn wait_ready(&self) {
        crate::eventually("OpenSearch is ready", START_DEADLINE, || {
            let path = "/_cluster/health?wait_for_status=yellow&timeout=5s";
            matches!(self.try_request("GET", path, ""), Ok((200, _))).then_some(())
        });
    }

    /// Asks, and waits for the answer, whose body may be anything: what is not JSON becomes a string. `body`
    /// is JSON, or NDJSON for `_bulk`, or empty.
    pub fn request(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        self.try_request(method, path, body).unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// The same, where it may well be dead.
    pub fn try_request(&self, method: &str, path: &str, body: &str) -> Result<(u16, Value)> {
        let mut stream = TcpStream::connect(&self.authority)?;
        stream.set_read_timeout(Some(ANSWER_DEADLINE))?;
        stream.set_write_timeout(Some(ANSWER_DEADLINE))?;
        let kind = if path.contains("_bulk") { "application/x-ndjson" } else { "application/json" };
        let kind = if body.is_empty() { String::new() } else { format!("Content-Type: {kind}\r\n") };
        let (authority, length) = (&self.authority, body.len());
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n{kind}\
             Content-Length: {length}\r\n\r\n"
        );
        stream.write_all(&[head.as_bytes(), body.as_bytes()].concat())?;
        let answer = Message::read_answer(&mut BufReader::new(stream))?;
        let status = answer.status().ok_or(std::io::ErrorKind::InvalidData)?;
        let text = || Value::String(String::from_utf8_lossy(&answer.body).into_owned());
        Ok((status, serde_json::from_slice(&answer.body).unwrap_or_else(|_| text())))
    }

    /// How many documents an index, a data stream or a pattern holds now.
    pub fn count(&self, target: &str) -> u64 {
        let (status, answer) = self.request("POST", &format!("/{target}/_refresh"), "");
        assert_eq!(status, 200, "{answer}");
        let (status, answer) = self.request("GET", &format!("/{target}/_count"), "");
        assert_eq!(status, 200, "{answer}");
        answer["count"].as_u64().expect("a number")
    }

    /// What it wrote into its log: warnings and errors.
    pub fn log(&self) -> String {
        read_log(self.own().home.path())
    }

    fn own(&self) -> &Node {
        self.node.as_ref().expect("a node of the test's own")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // There is nothing in it that anybody will want.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The cluster that the environment gives.
fn given() -> Option<String> {
    let url = URL_VARIABLES.iter().find_map(|name| std::env::var(name).ok())?;
    let authority = url.strip_prefix("http://").unwrap_or_else(|| panic!("{url}: not http://HOST:PORT"));
    Some(authority.trim_end_matches('/').to_owned())
}

/// The folder with its jars and its launcher, which is laid out at the first call.
fn program() -> std::result::Result<&'static Path, &'static str> {
    static PROGRAM: OnceLock<std::result::Result<PathBuf, String>> = OnceLock::new();
    let program = PROGRAM.get_or_init(|| {
        let fetch = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/servers/opensearch/fetch");
        let output = Command::new(fetch).output().map_err(|error| format!("{fetch}: {error}"))?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
        }
        let folder = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
        // The folder may have been laid out on a day when there was a Java.
        let java = Command::new("java").arg("-version").stderr(Stdio::null()).status();
        if java.is_ok_and(|status| status.success()) { Ok(folder) } else { Err("no java".to_owned()) }
    });
    program.as_deref().map_err(String::as_str)
}

/// Starts a node, and waits until it listens on `port`, or on the one that it chose if that is 0.
fn launch(home: &Path, port: u16) -> (Child, u16) {
    let program = program().expect("asked before by OpenSearch::available").to_str().expect("UTF-8");
    let log = File::create(log_path(home)).expect("makes the log");
    let mut command = Command::new("java");
    command
        // Quick to start, and few threads; nothing in /tmp.
        .args(["-Xms512m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData"])
        .args([format!("-Djava.io.tmpdir={}", home.display()), "-Dfile.encoding=UTF-8".to_owned()])
        .args(["-classpath", &format!("{program}:{program}/lib/*"), "Launcher"])
        .arg(format!("path.home={}", home.display()))
        .arg(format!("http.port={port}"))
        .args(["transport.port=0", "network.host=127.0.0.1", "discovery.type=single-node"])
        // A disk that is nearly full is not what is tested here.
        .args(["node.name=test", "cluster.routing.allocation.disk.threshold_enabled=false"])
        .stdin(Stdio::piped())
        .stdout(log.try_clone().expect("a second handle"))
        .stderr(log);
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let port = crate::eventually("OpenSearch listens", START_DEADLINE, || {
        if let Some(status) = child.try_wait().expect("waits") {
            panic!("OpenSearch: {status}: {}", read_log(home));
        }
        read_log(home).lines().find_map(|line| line.strip_prefix("listening on ")?.parse().ok())
    });
    (child, port)
}

fn log_path(home: &Path) -> PathBuf {
    home.join("log")
}

fn read_log(home: &Path) -> String {
    std::fs::read_to_string(log_path(home)).unwrap_or_default()
}
