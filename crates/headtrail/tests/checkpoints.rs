//! Checkpoints that are put elsewhere, as a user has it: what has arrived proves the journal, wherever it goes, also when
//! it could not go there at first, and with the last one at the end of the daemon.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use common::journal::{cat, daemon, status, verify};
use common::{DEADLINE, ready};
use headtrail_testkit::process::Watch;
use headtrail_testkit::server::{Nginx, NginxOptions};
use headtrail_testkit::{TempDir, eventually};
use serde_json::Value;

/// A user that every Debian has.
const USER: &str = "daemon";

#[test]
fn exported_checkpoints_prove_that_the_journal_was_not_written_anew() {
    if !ready() {
        return;
    }
    let (data_dir, elsewhere) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let exported = elsewhere.path().join("checkpoints");
    let config = elsewhere.path().join("headtrail.toml");
    let file = exported.to_str().unwrap();
    std::fs::write(&config, format!("[journal.checkpoint]\nfile = '{file}'\n")).unwrap();
    let once = || {
        let mut command = daemon(data_dir.path(), "");
        command.arg("-c").arg(&config).args(["port", "1"]);
        assert!(Watch::start(command).stop().status.success());
    };
    once();
    once();
    let events: Vec<_> = cat(data_dir.path()).iter().map(|record| record["event"].clone()).collect();
    assert!(!events.iter().any(|event| event == "start_after_unclean_end"), "{events:?}");
    let notes = std::fs::read_to_string(&exported).unwrap();
    assert!(notes.matches("\u{2014} ").count() >= 2, "{notes}");
    let (code, words) = verify(data_dir.path(), &["--checkpoint", file]);
    assert!(code == 0 && words.contains("goes on from the earlier checkpoint"), "{words}");

    // Another history, signed with the same key.
    std::fs::remove_dir_all(data_dir.path().join("journal/segments")).unwrap();
    for name in ["journal/tile", "journal/checkpoints"] {
        let _ = std::fs::remove_dir_all(data_dir.path().join(name));
    }
    std::fs::remove_file(data_dir.path().join("journal/checkpoint")).unwrap();
    assert!(Watch::start(daemon(data_dir.path(), "port 1")).stop().status.success());
    assert_eq!(verify(data_dir.path(), &[]).0, 0, "by itself it is whole");
    let (code, words) = verify(data_dir.path(), &["--checkpoint", file]);
    assert_eq!(code, 1, "{words}");
}

/// A folder that everybody may use.
fn open_folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    folder
}

/// A daemon that records nothing but itself, with a section `[journal.checkpoint]`.
fn exporting(data_dir: &Path, folder: &Path, checkpoint: &str) -> Command {
    let config = folder.join("headtrail.toml");
    std::fs::write(&config, format!("[journal.checkpoint]\ninterval = '1s'\n{checkpoint}\n")).unwrap();
    let mut command = daemon(data_dir, "");
    command.arg("-c").arg(&config).args(["port", "1"]);
    command
}

/// The note that the journal has at its end.
fn last_checkpoint(data_dir: &Path) -> String {
    std::fs::read_to_string(data_dir.join("journal/checkpoint")).unwrap()
}

/// Exported notes prove the journal, and the last one is that of its end.
fn check_exported(data_dir: &Path, exported: &Path) {
    let notes = std::fs::read_to_string(exported).unwrap();
    assert!(notes.trim_end().ends_with(last_checkpoint(data_dir).trim_end()), "{notes}");
    assert!(notes.matches("\u{2014} ").count() >= 2, "{notes}");
    let (code, words) = verify(data_dir, &["--checkpoint", exported.to_str().unwrap()]);
    assert!(code == 0 && words.contains("goes on from the earlier checkpoint"), "{words}");
}

/// The processes that a process has started.
fn children(pid: u32) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let text = tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("children")).unwrap());
    text.flat_map(|text| text.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<_>>())
        .collect()
}

#[test]
fn a_program_is_given_each_checkpoint_and_has_no_privileges() {
    if !ready() {
        return;
    }
    let (data_dir, folder) = (TempDir::new().unwrap(), open_folder());
    let script = folder.path().join("script");
    let lines =
        "grep -E '^(Uid|Cap|NoNewPrivs)' /proc/self/status > \"$1/who\"; { cat; echo; } >> \"$1/out\"";
    std::fs::write(&script, format!("#!/bin/sh\n{lines}\n")).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let words = format!("command = ['{}', '{}']", script.display(), folder.path().display());
    let words = format!("{words}\n[run]\nuser = '{USER}'");
    let watch = Watch::start(exporting(data_dir.path(), folder.path(), &words));
    let helpers = children(watch.pid());
    assert_eq!(helpers.len(), 2, "names and exports");
    eventually("the first has arrived", DEADLINE, || {
        (status(data_dir.path())?["export"]["exported"].as_u64()? >= 1).then_some(())
    });
    let finished = watch.stop();
    assert!(finished.status.success() && !finished.stderr.contains("not exported"), "{}", finished.stderr);
    check_exported(data_dir.path(), &folder.path().join("out"));
    let who = std::fs::read_to_string(folder.path().join("who")).unwrap();
    assert!(who.contains("Uid:\t1\t1\t1\t1\n") && who.contains("NoNewPrivs:\t1"), "{who}");
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert!(who.contains(&format!("{set}:\t0000000000000000")), "{who}");
    }
    eventually("the helpers end", DEADLINE, || {
        helpers.iter().all(|pid| !Path::new(&format!("/proc/{pid}/cwd")).exists()).then_some(())
    });
}

/// Keeps the bodies of what is sent to it, and answers 200.
struct Sink {
    bodies: Arc<Mutex<Vec<String>>>,
}

impl Sink {
    fn start(address: SocketAddr) -> Sink {
        let listener = TcpListener::bind(address).unwrap();
        let bodies = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&bodies);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if let Some(body) = take(&mut stream.unwrap()) {
                    kept.lock().unwrap().push(body);
                }
            }
        });
        Sink { bodies }
    }

    fn write_to(&self, path: &Path) {
        std::fs::write(path, self.bodies.lock().unwrap().join("\n")).unwrap();
    }
}

fn take(stream: &mut TcpStream) -> Option<String> {
    let (mut request, mut bytes) = (Vec::new(), [0; 4096]);
    loop {
        let read = stream.read(&mut bytes).unwrap();
        request.extend_from_slice(&bytes[..read]);
        let text = String::from_utf8_lossy(&request).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            assert!(read > 0, "{text}");
            continue;
        };
        let length = head.to_ascii_lowercase();
        let length = length.lines().find_map(|line| line.strip_prefix("content-length: "));
        if body.len() == length.unwrap().parse::<usize>().unwrap() {
            assert!(head.to_ascii_lowercase().contains("content-type: text/plain; charset=utf-8"), "{head}");
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
            return Some(body.to_owned());
        }
    }
}

/// An address where nobody listens.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[test]
fn a_server_that_is_down_gets_the_checkpoints_later() {
    if !ready() || !common::has("nginx") {
        return;
    }
    let behind = free_address();
    let server = format!("location /log {{ proxy_pass http://{behind}; }}");
    let nginx = Nginx::start(&NginxOptions { server: &server, ..NginxOptions::default() });
    let (data_dir, folder) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let url = format!("url = 'http://{}/log'", nginx.address());
    let watch = Watch::start(exporting(data_dir.path(), folder.path(), &url));
    let told = |wanted: &dyn Fn(&Value) -> bool| {
        eventually("status tells it", DEADLINE, || {
            let export = status(data_dir.path())?["export"].take();
            wanted(&export).then_some(export)
        })
    };
    let export = told(&|export| export["failures"].as_u64() >= Some(2));
    assert!(export["trouble"].as_str().unwrap().contains("502 Bad Gateway"), "{export}");
    assert_eq!(export["exported"], 0);
    let sink = Sink::start(behind);
    let export = told(&|export| export["exported"].as_u64() >= Some(1));
    assert_eq!(export["trouble"], Value::Null, "{export}");
    let finished = watch.stop();
    assert!(finished.status.success(), "{}", finished.stderr);
    for once in ["checkpoints are not exported: the server answers 502", "checkpoints are exported again"] {
        assert_eq!(finished.stderr.matches(once).count(), 1, "{}", finished.stderr);
    }
    let exported = folder.path().join("exported");
    sink.write_to(&exported);
    check_exported(data_dir.path(), &exported);
}

#[test]
fn the_end_does_not_wait_for_ever_for_a_server() {
    if !ready() {
        return;
    }
    // It takes connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let (data_dir, folder) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let url = format!("url = 'http://{}/'", silent.local_addr().unwrap());
    let watch = Watch::start(exporting(data_dir.path(), folder.path(), &url));
    let helpers = children(watch.pid());
    let begin = Instant::now();
    let finished = watch.stop();
    assert!(finished.status.success() && begin.elapsed() < DEADLINE, "{}", finished.stderr);
    assert!(
        finished.stderr.contains("the last checkpoint was not exported: it takes too long"),
        "{}",
        finished.stderr
    );
    eventually("the helpers end", DEADLINE, || {
        helpers.iter().all(|pid| !Path::new(&format!("/proc/{pid}/cwd")).exists()).then_some(())
    });
    assert_eq!(verify(data_dir.path(), &[]).0, 0);
}

/// A certificate for 127.0.0.1 and its key, by openssl.
fn certificate(folder: &Path) {
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]);
    openssl.args(["-subj", "/CN=headtrail-test", "-days", "2"]);
    openssl.args(["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"]);
    openssl.arg("-keyout").arg(folder.join("key.pem")).arg("-out").arg(folder.join("cert.pem"));
    common::run(&mut openssl);
}

#[test]
fn https_takes_the_certificates_of_the_host_and_no_other() {
    if !ready() || !["nginx", "openssl", "unshare"].iter().all(|program| common::has(program)) {
        return;
    }
    const ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";
    if !Path::new(ROOTS).exists() {
        headtrail_testkit::skip("the host has its root certificates elsewhere");
        return;
    }
    let (behind, secure) = (free_address(), free_address());
    let (data_dir, folder) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    certificate(folder.path());
    let at = folder.path().display();
    let http = format!(
        "server {{ listen {secure} ssl; ssl_certificate {at}/cert.pem; ssl_certificate_key {at}/key.pem; \
         location / {{ proxy_pass http://{behind}; }} }}"
    );
    let _nginx = Nginx::start(&NginxOptions { http: &http, ..NginxOptions::default() });
    let sink = Sink::start(behind);
    let command = || exporting(data_dir.path(), folder.path(), &format!("url = 'https://{secure}/log'"));

    let watch = Watch::start(command());
    eventually("it is refused", DEADLINE, || watch.stderr().contains("UnknownIssuer").then_some(()));
    watch.kill();
    assert!(sink.bodies.lock().unwrap().is_empty());

    // The same with that certificate as the host's own, in a mount namespace.
    let mut trusting = Command::new("unshare");
    let mount = format!("mount --bind {at}/cert.pem {ROOTS} && exec \"$@\"");
    trusting.args(["--mount", "sh", "-c", &mount, "sh"]);
    let command = command();
    trusting.arg(command.get_program()).args(command.get_args());
    let watch = Watch::start(trusting);
    eventually("one has arrived", DEADLINE, || (!sink.bodies.lock().unwrap().is_empty()).then_some(()));
    let finished = watch.stop();
    assert!(finished.status.success(), "{}", finished.stderr);
    let exported = folder.path().join("exported");
    sink.write_to(&exported);
    check_exported(data_dir.path(), &exported);
}

#[test]
fn a_journal_whose_checkpoints_are_gone_is_not_proved_and_says_so() {
    if !ready() {
        return;
    }
    let (data_dir, folder) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let journal = data_dir.path().join("journal");
    let watch = Watch::start(exporting(data_dir.path(), folder.path(), ""));
    eventually("it is signed", DEADLINE, || journal.join("checkpoint").exists().then_some(()));
    // Then it is put on record, in the same second or the next.
    let mut taken = Vec::new();
    eventually("some seconds have passed", DEADLINE, || {
        taken.push(status(data_dir.path())?["taken_ns"].as_u64());
        taken.dedup();
        (taken.len() > 3).then_some(())
    });
    assert!(watch.stop().status.success());
    assert_eq!(verify(data_dir.path(), &[]).0, 0);
    std::fs::remove_file(journal.join("checkpoint")).unwrap();
    std::fs::remove_dir_all(journal.join("checkpoints")).unwrap();
    let (code, words) = verify(data_dir.path(), &[]);
    assert!(
        code == 1 && words.contains("verdict       NOT PROVED: no checkpoint is there, although"),
        "{words}"
    );
    let (code, report) = verify(data_dir.path(), &["--format", "json"]);
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!((code, &report["verdict"], &report["proved"]), (1, &"unsigned".into(), &false.into()));
    assert!(report["checkpoint_on_record"].as_u64() >= Some(1), "{report}");
    // Nor is one that has never been signed.
    std::fs::remove_dir_all(journal.join("segments")).unwrap();
    let (code, words) = verify(data_dir.path(), &[]);
    assert!(code == 1 && words.contains("NOT PROVED: there is neither a checkpoint nor a record"), "{words}");
}
