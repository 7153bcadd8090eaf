//! The daemon with its journal, and what asks it.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use super::{headtrail, output};

/// `run` with a data directory.
pub fn daemon(data_dir: &Path, filter: &str) -> Command {
    let mut command = headtrail();
    command.args(["run", "--web", "127.0.0.1:0", "--data-dir"]).arg(data_dir);
    command.args(filter.split_whitespace());
    command
}

/// All records of a journal.
pub fn cat(data_dir: &Path) -> Vec<Value> {
    let output = headtrail().args(["journal", "cat", "--data-dir"]).arg(data_dir).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Those of a type.
pub fn of_type<'a>(records: &'a [Value], kind: &str) -> Vec<&'a Value> {
    records.iter().filter(|record| record["type"] == kind).collect()
}

/// `verify`: exit code and standard output.
pub fn verify(data_dir: &Path, args: &[&str]) -> (i32, String) {
    let output = headtrail().args(["verify", "--data-dir"]).arg(data_dir).args(args).output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

/// What the daemon tells; None where it does not answer.
pub fn status(data_dir: &Path) -> Option<Value> {
    let output = output(headtrail().args(["status", "--format", "json", "--data-dir"]).arg(data_dir));
    serde_json::from_slice(&output.stdout).ok()
}

/// A command that shall end by itself: exit code and standard error.
pub fn refused(mut command: Command) -> (i32, String) {
    let Output { status, stderr, .. } = command.output().unwrap();
    (status.code().unwrap(), String::from_utf8(stderr).unwrap())
}
