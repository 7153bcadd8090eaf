//! `headtrail config` as a user runs it: what it prints, where, and how it ends.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::process::{Command, Output};

use headtrail_testkit::TempDir;

fn config(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_headtrail")).arg("config").args(arguments).output().unwrap()
}

fn check(path: &Path) -> (Option<i32>, String, String) {
    let output = config(&["check", "-c", path.to_str().unwrap()]);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_right_file_is_ok_and_shows_its_values() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("h.toml");
    std::fs::write(&path, "[retention]\nsize = '2 GB'\n").unwrap();
    assert_eq!(check(&path), (Some(0), format!("{}: ok\n", path.display()), String::new()));
    let shown = config(&["check", "--show", "-c", path.to_str().unwrap()]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.starts_with(&format!("# {}: ok\n", path.display())), "{shown}");
    assert!(shown.contains("[retention]\nsize = \"2GB\"\nage = \"30d\"\n"), "{shown}");
    std::fs::write(&path, &shown).unwrap();
    assert_eq!(check(&path).0, Some(0));
}

#[test]
fn all_that_is_wrong_is_told_with_its_place() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("h.toml");
    std::fs::write(&path, "[retentoin]\nsize = '2GB'\n[volume]\nsample = 2\n").unwrap();
    let (code, out, err) = check(&path);
    assert_eq!((code, out.as_str()), (Some(2), ""));
    let file = path.display();
    assert_eq!(
        err,
        format!(
            "headtrail: the config cannot be used\n\
             {file}:1:2: unknown key 'retentoin'; did you mean 'retention'?\n\
             {file}:4:10: volume.sample: 2 is no rate; allowed: 0, or a number from 0.000001 to 1\n"
        )
    );
}

#[test]
fn what_is_no_file_is_told() {
    let folder = TempDir::new().unwrap();
    let (code, _, err) = check(folder.path());
    assert_eq!(code, Some(2));
    assert!(err.contains("is a directory"), "{err}");
    let (code, _, err) = check(&folder.path().join("none"));
    assert_eq!(code, Some(2));
    assert!(err.contains("none: is not there"), "{err}");
}

#[test]
fn the_environment_is_not_read() {
    let show = |command: &mut Command| {
        command.args(["config", "check", "--show", "-c", "/dev/null"]).output().unwrap().stdout
    };
    let plain = show(&mut Command::new(env!("CARGO_BIN_EXE_headtrail")));
    let set = [("HEADTRAIL_RETENTION_SIZE", "1TB"), ("HEADTRAIL_CONFIG", "/none"), ("RETENTION_SIZE", "1TB")];
    assert_eq!(show(Command::new(env!("CARGO_BIN_EXE_headtrail")).envs(set)), plain);
}
