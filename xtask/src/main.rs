//! Checks and generators of this repository. `cargo xtask check` is the part of `make test` that needs neither root nor
//! servers; every message names a file and what to do about it.
#![forbid(unsafe_code)]

mod abi;
mod docs;
mod proto;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const HELP: &str = "\
cargo xtask TASK

  check          fmt, clippy, tidy, abi --check, proto --check, docs --check
  tidy           what no compiler looks at: crate arrows, file sizes, links and the like
  abi [--check]  write crates/capture/src/abi.rs from src/bpf/abi.h, or compare
  proto [--check] write crates/record/src/proto/v1.rs from proto/headtrail/v1/record.proto, or compare
  docs [--check] write the generated pages of docs/, or compare
";

/// What went wrong, for people.
pub(crate) type Result<T> = std::result::Result<T, String>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words[..] {
        ["check"] => check(),
        ["tidy"] => tidy::run(),
        ["abi"] => abi::run(false),
        ["abi", "--check"] => abi::run(true),
        ["proto"] => proto::run(false),
        ["proto", "--check"] => proto::run(true),
        ["docs"] => docs::run(false),
        ["docs", "--check"] => docs::run(true),
        [] | ["help" | "-h" | "--help"] => {
            print!("{HELP}");
            Ok(())
        }
        _ => {
            eprint!("{HELP}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("xtask: {why}");
            ExitCode::FAILURE
        }
    }
}

type Step = fn() -> Result<()>;

/// Does every step, also after one that failed, so that one run tells all.
fn check() -> Result<()> {
    let steps: [(&str, Step); 6] = [
        ("fmt", || cargo(&["fmt", "--all", "--check"], "run `cargo fmt --all`")),
        ("clippy", || {
            let arguments = ["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
            cargo(&arguments, "mend what it names")
        }),
        ("tidy", tidy::run),
        ("abi", || abi::run(true)),
        ("proto", || proto::run(true)),
        ("docs", || docs::run(true)),
    ];
    let mut failed = Vec::new();
    for (name, step) in steps {
        eprintln!("xtask: {name}");
        if let Err(why) = step() {
            eprintln!("xtask: {name}: {why}");
            failed.push(name);
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(format!("failed: {}", failed.join(", "))) }
}

/// Runs cargo with its output shown.
fn cargo(arguments: &[&str], remedy: &str) -> Result<()> {
    let status = cargo_command().args(arguments).status().map_err(|e| format!("cargo: {e}"))?;
    if status.success() { Ok(()) } else { Err(format!("`cargo {}` failed: {remedy}", arguments.join(" "))) }
}

/// The cargo that runs this, at the top of the repository.
pub(crate) fn cargo_command() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(top());
    command
}

/// Runs a command and returns what it prints.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|e| format!("{name}: {e}"))?;
    if !output.status.success() {
        return Err(format!("{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr)));
    }
    String::from_utf8(output.stdout).map_err(|e| format!("{name}: {e}"))
}

/// The top of the repository.
pub(crate) fn top() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// Reads a file of the repository.
pub(crate) fn read(path: &str) -> Result<String> {
    std::fs::read_to_string(top().join(path)).map_err(|e| format!("{path}: {e}"))
}

/// Writes a generated file, or with `check` compares it with what is there.
pub(crate) fn generated(path: &str, text: &str, check: bool, task: &str) -> Result<()> {
    let old = read(path).unwrap_or_default();
    if old == text {
        return Ok(());
    }
    if !check {
        println!("{path}: written");
        return std::fs::write(top().join(path), text).map_err(|e| format!("{path}: {e}"));
    }
    let line = old.lines().zip(text.lines()).take_while(|(a, b)| a == b).count() + 1;
    Err(format!("{path}:{line}: is not what it is generated from; run `cargo xtask {task}`"))
}
