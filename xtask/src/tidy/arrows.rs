//! Which crate may use which, from what cargo says.

use serde_json::Value;

use crate::{Result, cargo_command, output, read, top};

/// Crates of this workspace in the order of the data's way, and which others each may use.
const ARROWS: [(&str, &[&str]); 10] = [
    ("headtrail-capture", &["headtrail-record"]),
    ("headtrail-files", &["headtrail-record"]),
    ("headtrail-tls", &["headtrail-record"]),
    ("headtrail-assemble", &["headtrail-record", "headtrail-tls"]),
    ("headtrail-record", &[]),
    ("headtrail-journal", &["headtrail-record"]),
    ("headtrail-ship", &["headtrail-record", "headtrail-journal"]),
    (
        "headtrail",
        &[
            "headtrail-capture",
            "headtrail-files",
            "headtrail-tls",
            "headtrail-assemble",
            "headtrail-record",
            "headtrail-journal",
            "headtrail-ship",
        ],
    ),
    ("headtrail-testkit", &[]),
    ("xtask", &["headtrail-record"]),
];

/// For tests only, so it may be used as a dev-dependency, and by all.
const TESTKIT: &str = "headtrail-testkit";
/// The one crate with unsafe code, and the only one that knows libbpf.
const CAPTURE: &str = "headtrail-capture";

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value[key].as_array().into_iter().flatten()
}

/// Adds what is wrong to `problems`.
pub(super) fn check(problems: &mut Vec<String>) -> Result<()> {
    let metadata =
        output(cargo_command().args(["metadata", "--format-version", "1", "--no-deps", "--locked"]))?;
    let metadata: Value = serde_json::from_str(&metadata).map_err(|e| format!("cargo metadata: {e}"))?;
    for package in list(&metadata, "packages") {
        check_package(package, problems)?;
    }
    Ok(())
}

fn relative(path: &str) -> String {
    let top = top();
    path.strip_prefix(&*top.to_string_lossy()).map_or(path, |p| p.trim_start_matches('/')).to_owned()
}

fn check_package(package: &Value, problems: &mut Vec<String>) -> Result<()> {
    let name = text(package, "name");
    let manifest = relative(text(package, "manifest_path"));
    let Some((_, may_use)) = ARROWS.iter().find(|(crate_name, _)| *crate_name == name) else {
        problems.push(format!(
            "{manifest}: {name} has no place in the data's way; give it one in ARROWS of xtask/src/tidy/arrows.rs"
        ));
        return Ok(());
    };
    for dependency in list(package, "dependencies") {
        let used = text(dependency, "name");
        let dev = text(dependency, "kind") == "dev";
        if used.starts_with("libbpf-") && name != CAPTURE {
            problems
                .push(format!("{manifest}: {used} belongs into {CAPTURE} only; use what that crate exports"));
        }
        if !dependency["path"].is_string() || (used == TESTKIT && dev) || may_use.contains(&used) {
            continue;
        }
        problems.push(if used == TESTKIT {
            format!("{manifest}: {TESTKIT} is for tests; move it to [dev-dependencies]")
        } else {
            format!(
                "{manifest}: {name} may not use {used}; put what both need into headtrail-record, or wire it in the binary"
            )
        });
    }
    for target in list(package, "targets") {
        let kinds: Vec<&str> = list(target, "kind").filter_map(Value::as_str).collect();
        if !kinds.iter().any(|kind| ["lib", "bin"].contains(kind)) {
            continue;
        }
        let path = relative(text(target, "src_path"));
        let source = read(&path)?;
        if name != CAPTURE && !source.contains("#![forbid(unsafe_code)]") {
            problems.push(format!("{path}: add #![forbid(unsafe_code)]; unsafe code belongs into {CAPTURE}"));
        }
    }
    Ok(())
}
