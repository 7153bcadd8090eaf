//! What a process may still do after it has given up its privileges, by trying: each attempt is made by a process of its
//! own, since some of them are its last, and the outcomes are compared with a table. And that the capture goes on.
//!
//! Without the usual harness: giving privileges up takes a process with one thread, and a test of the harness is a thread.
//! So this program starts itself anew with the name of an attempt.
// Unit tests of the modules are not run here.
#![allow(dead_code, unused_imports, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../../src/exit.rs"]
mod exit;
#[path = "../../src/metrics.rs"]
mod metrics;
#[path = "../../src/names.rs"]
mod names;
#[path = "../../src/processes.rs"]
mod processes;
#[path = "../../src/sandbox/mod.rs"]
mod sandbox;
#[path = "../../src/snapshot.rs"]
mod snapshot;
#[path = "../../src/web.rs"]
mod web;

mod attempts;
mod capture;

use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use attempts::{ATTEMPTS, Outcome};
use headtrail_testkit::TempDir;
use rustix::process::Signal;

/// A user that every Debian has.
const USER: &str = "daemon";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [names::COMMAND] => names::serve().map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS),
        ["attempt", user, data_dir, name] => attempts::make(user, Path::new(data_dir), name),
        ["capture", data_dir, filter] => capture::run(Path::new(data_dir), filter),
        _ => tests(&arguments),
    }
}

fn tests(arguments: &[String]) -> ExitCode {
    // As cargo and the harness would be asked: `--list`, or a part of a name.
    let wanted = arguments.iter().find(|argument| !argument.starts_with('-'));
    let tests: [(&str, fn()); 5] = [
        ("a_restricted_process_may_do_what_the_table_says", table),
        ("a_user_who_is_not_there_is_named", missing_user),
        ("the_data_directory_changes_hands_and_nothing_behind_it", hand_over),
        ("the_capture_goes_on_without_privileges", capture::goes_on),
        ("the_capture_goes_on_when_it_never_was_root", capture::goes_on_unprivileged),
    ];
    for (name, test) in tests {
        if wanted.is_some_and(|part| !name.contains(part.as_str())) {
            continue;
        }
        println!("test {name}: begins");
        if common::ready() {
            // A failure panics, and ends the program with it.
            test();
        }
        println!("test {name} ... ok");
    }
    ExitCode::SUCCESS
}

fn myself() -> Command {
    Command::new(std::env::current_exe().unwrap())
}

/// Runs one attempt; its output and outcome.
fn attempt(user: &str, data_dir: &Path, name: &str) -> (String, Outcome) {
    let output = common::output(myself().args(["attempt", user]).arg(data_dir).arg(name));
    let stdout = String::from_utf8(output.stdout).unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    let outcome = match (output.status.signal(), stdout.lines().last()) {
        (Some(signal), _) if signal == Signal::SYS.as_raw() => Outcome::Killed,
        (None, Some(line)) => Outcome::parse(line).unwrap_or_else(|| panic!("{name}: {stdout}{stderr}")),
        (signal, _) => panic!("{name}: {signal:?} {stdout}{stderr}"),
    };
    (stdout, outcome)
}

/// Is landlock in this kernel? Without, the ids alone decide about files.
fn landlock() -> bool {
    let dir = TempDir::new().unwrap();
    let (report, _) = attempt(USER, dir.path(), "nothing");
    assert!(report.contains("no_new_privs on\nseccomp on\n"), "{report}");
    if report.contains("landlock on") {
        return true;
    }
    headtrail_testkit::skip("this kernel has no landlock, or an old one");
    false
}

fn table() {
    if !landlock() {
        return;
    }
    let mut wrong = Vec::new();
    for user in [USER, "root"] {
        let dir = TempDir::new().unwrap();
        println!("as {user}:");
        for (name, expected) in ATTEMPTS {
            let (_, outcome) = attempt(user, dir.path(), name);
            println!("  {name:<52} {outcome}");
            if outcome != *expected {
                wrong.push(format!("as {user}, {name}: {outcome} and not {expected}"));
            }
        }
        let (report, _) = attempt(user, dir.path(), "nothing");
        println!("{report}");
        let uid = if user == "root" { "user root (0:0)" } else { "user daemon (1:1)" };
        assert!(report.contains(uid) && report.contains("capabilities none\n"), "{report}");
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn missing_user() {
    let dir = TempDir::new().unwrap();
    let output = common::output(myself().args(["attempt", "no-such-user"]).arg(dir.path()).arg("nothing"));
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(stdout.contains("2: --user no-such-user: there is no such user on this host"), "{stdout}");
}

fn hand_over() {
    let data = TempDir::new().unwrap();
    let outside = TempDir::new().unwrap();
    let path = |name: &str| data.path().join(name);
    let secret = outside.path().join("secret");
    std::fs::write(&secret, "x").unwrap();
    std::fs::create_dir_all(path("journal/segments")).unwrap();
    std::fs::write(path("journal/segments/1.seg"), "x").unwrap();
    std::fs::hard_link(&secret, path("hard")).unwrap();
    symlink(&secret, path("soft")).unwrap();
    symlink(outside.path(), path("folder")).unwrap();
    attempt(USER, data.path(), "nothing");
    let owner = |path: &Path| std::fs::metadata(path).unwrap().uid();
    for ours in ["", "journal", "journal/segments", "journal/segments/1.seg"] {
        assert_eq!(owner(&path(ours)), 1, "{ours}");
    }
    assert_eq!((owner(&secret), owner(outside.path())), (0, 0));
}
