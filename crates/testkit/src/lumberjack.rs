//! Elastic's own receiver of Lumberjack (github.com/elastic/go-lumber), as a process that can be killed.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, LazyLock, Mutex};
use std::thread::{self, JoinHandle};

use serde_json::Value;

/// Builds the receiver, once; or why it cannot be.
static BINARY: LazyLock<Result<PathBuf, String>> = LazyLock::new(|| {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/servers/lumberjack");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/servers");
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    // Tests that run beside each other build it beside each other.
    let (binary, own) =
        (folder.join("lumberjack"), folder.join(format!("lumberjack.{}", std::process::id())));
    let mut go = Command::new("go");
    go.args(["build", "-buildvcs=false", "-o"]).arg(&own).arg(".").current_dir(source);
    let output = go.output().map_err(|error| format!("go: {error}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    std::fs::rename(&own, &binary).map_err(|error| format!("{}: {error}", binary.display()))?;
    Ok(binary)
});

/// Documents that have arrived, in order.
pub type Arrived = Arc<Mutex<Vec<Value>>>;

/// A running receiver.
pub struct Receiver {
    child: Child,
    address: String,
    reader: Option<JoinHandle<()>>,
}

impl Receiver {
    /// Starts it at an address. None, and it is told, if there is no Go here.
    pub fn start(address: &str, arguments: &[&str], arrived: &Arrived) -> Option<Receiver> {
        let binary = match &*BINARY {
            Ok(binary) => binary,
            Err(why) => {
                crate::skip(why);
                return None;
            }
        };
        let mut command = Command::new(binary);
        command.args(["-listen", address]).args(arguments).stdout(Stdio::piped());
        let mut child = command.spawn().expect("started");
        let mut lines = BufReader::new(child.stdout.take().expect("piped"));
        let mut address = String::new();
        lines.read_line(&mut address).expect("an address");
        let arrived = arrived.clone();
        let reader = thread::spawn(move || {
            let mut line = String::new();
            // A line without its end was cut by the kill, so its window was not acknowledged.
            while lines.read_line(&mut line).is_ok_and(|read| read > 0) && line.ends_with('\n') {
                arrived.lock().expect("arrived").push(serde_json::from_str(&line).expect("JSON"));
                line.clear();
            }
        });
        Some(Receiver { child, address: address.trim().to_owned(), reader: Some(reader) })
    }

    /// Where it listens.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: crate::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal)
            .expect("the process is there");
    }
}

impl Drop for Receiver {
    /// By SIGKILL; then waits until all that it had printed is read.
    fn drop(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("waited");
        self.reader.take().expect("a reader").join().expect("read");
    }
}
