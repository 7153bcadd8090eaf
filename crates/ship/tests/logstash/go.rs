//! Elastic's own server (github.com/elastic/go-lumber), as a process that can be killed.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, LazyLock, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use headtrail_ship::logstash::{Sender, Settings};
use headtrail_ship::settings::{Secret, Timeouts, Tls};
use headtrail_testkit::{eventually, skip};
use serde_json::Value;

use crate::tls::{Certified, authority};
use crate::{DEADLINE, deliver, docs, settings, twice};

/// Builds the server, once; or why it cannot be.
static SERVER: LazyLock<Result<PathBuf, String>> = LazyLock::new(|| {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/servers/lumberjack");
    let binary = Path::new(env!("CARGO_TARGET_TMPDIR")).join("lumberjack");
    let mut go = Command::new("go");
    go.args(["build", "-buildvcs=false", "-o"]).arg(&binary).arg(".").current_dir(source);
    let output = go.output().map_err(|error| format!("go: {error}"))?;
    if output.status.success() {
        Ok(binary)
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
});

struct Server {
    child: Child,
    address: String,
    reader: Option<JoinHandle<()>>,
}

type Arrived = Arc<Mutex<Vec<Value>>>;

impl Server {
    /// None, and it is told, if there is no Go here.
    fn start(address: &str, arguments: &[&str], arrived: &Arrived) -> Option<Self> {
        let binary = match &*SERVER {
            Ok(binary) => binary,
            Err(why) => {
                skip(why);
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
        Some(Self { child, address: address.trim().to_owned(), reader: Some(reader) })
    }
}

impl Drop for Server {
    /// By SIGKILL; then waits until all that it had printed is read.
    fn drop(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("waited");
        self.reader.take().expect("a reader").join().expect("read");
    }
}

fn arrives_once(change: impl FnOnce(&mut Settings), arguments: &[&str]) {
    let arrived = Arrived::default();
    let Some(server) = Server::start("127.0.0.1:0", arguments, &arrived) else { return };
    let docs = docs(3000);
    let mut settings = settings(&[&server.address]);
    settings.window_max = 400;
    change(&mut settings);
    let mut sender = Sender::new(settings).expect("a sender");
    deliver(&mut sender, &docs, 1000);
    drop(server);
    let arrived = arrived.lock().expect("arrived");
    assert_eq!((twice(&docs, &arrived), arrived.len()), (0, docs.len()));
}

#[test]
fn documents_arrive_once_plain_and_packed() {
    arrives_once(|_| (), &[]);
    arrives_once(|settings| settings.compress = true, &[]);
}

#[test]
fn documents_arrive_once_over_tls_with_our_certificate() {
    let folder = tempfile::tempdir().expect("folder");
    let authority = authority();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("written");
        path.to_string_lossy().into_owned()
    };
    let server = Certified::by(&authority, "127.0.0.1");
    let client = Certified::by(&authority, "headtrail");
    let (certificate, key) = (file("server.pem", &server.chain), file("server.key", &server.key));
    let clients = file("clients.pem", &authority.pem());
    let arguments = ["-certificate", &certificate, "-key", &key, "-clients", &clients];
    for compress in [false, true] {
        let identity_pem =
            Some((client.chain.clone().into_bytes(), Secret::new(client.key.clone().into_bytes())));
        let authorities_pem = Some(authority.pem().into_bytes());
        let change = |settings: &mut Settings| {
            settings.compress = compress;
            settings.tls = Some(Tls { authorities_pem, identity_pem });
        };
        arrives_once(change, &arguments);
    }
}

#[test]
fn nothing_is_missing_after_the_receiver_was_killed_in_the_middle() {
    for compress in [false, true] {
        let arrived = Arrived::default();
        let slowly = ["-delay", "10ms"];
        let Some(mut server) = Server::start("127.0.0.1:0", &slowly, &arrived) else { return };
        let address = server.address.clone();
        let docs = docs(4000);
        let settings = Settings { compress, ..settings(&[&address]) };
        thread::scope(|scope| {
            let sending = scope.spawn(|| deliver(&mut Sender::new(settings).expect("a sender"), &docs, 333));
            for count in [300, 900, 1700, 2500] {
                eventually("documents", DEADLINE, || {
                    (arrived.lock().expect("arrived").len() >= count).then_some(())
                });
                drop(server);
                server = Server::start(&address, &slowly, &arrived).expect("the same again");
            }
            sending.join().expect("sent");
            drop(server);
        });
        let arrived = arrived.lock().expect("arrived");
        println!("{} of {} arrived twice or more", twice(&docs, &arrived), docs.len());
    }
}

#[test]
fn a_receiver_that_is_held_up_is_waited_for() {
    let timeouts = Timeouts { request: Duration::from_millis(400), ..Timeouts::default() };
    let change = |settings: &mut Settings| {
        settings.window_max = 3000;
        settings.timeouts = timeouts;
    };
    arrives_once(change, &["-delay", "900ms", "-keep-alive", "100ms"]);
}
