//! TLS in capture files: what `headtrail read --keylog` prints of it, and what it says of what it cannot decrypt.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod file;
mod pairs;
mod programs;

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

/// Runs `headtrail read` on a file.
fn read(file: &Path, keylog: Option<&Path>, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_headtrail"));
    command.arg("read").args(arguments);
    if let Some(keylog) = keylog {
        command.arg("--keylog").arg(keylog);
    }
    command.arg(file).output().unwrap()
}

fn records(output: &Output) -> Vec<Value> {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let lines = output.stdout.split(|&b| b == b'\n').filter(|l| !l.is_empty());
    lines.map(|l| serde_json::from_slice(l).unwrap()).collect()
}

fn transactions(output: &Output) -> Vec<Value> {
    records(output).into_iter().filter(|r| r["type"] == "transaction").collect()
}

/// Reasons of loss records with their counts.
fn losses(output: &Output) -> Vec<(String, u64)> {
    let losses = records(output).into_iter().filter(|r| r["type"] == "loss");
    losses.map(|r| (r["reason"].as_str().unwrap().to_owned(), r["count"].as_u64().unwrap())).collect()
}
