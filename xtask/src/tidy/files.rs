//! Size, form and words of files.

use crate::{Result, read};

/// Lines that a source file may have.
const LINES_MAX: usize = 800;
/// Files that were longer when the limit came: they may only shrink.
const RATCHET: &str = "xtask/ratchet.txt";
/// A ratchet may be this much looser than its file, so that not every deleted line needs a change there.
const RATCHET_SLACK_LINES: usize = 50;

/// Where the environment may be read, and what for. Everything else is an option or config.
const ENVIRONMENT: [(&str, &str); 7] = [
    ("crates/capture/build.rs", "cargo says where to put the skeletons"),
    ("crates/capture/src/filter/tests/kernel.rs", "CI: nothing may be skipped there"),
    ("crates/headtrail/src/notify.rs", "systemd says where it wants to be told"),
    ("crates/headtrail/src/watch.rs", "NO_COLOR"),
    ("crates/headtrail/tests/", "PATH: which programs are there"),
    ("crates/journal/src/model_tests.rs", "which seeds to run"),
    ("crates/testkit/", "CI: nothing may be skipped there; more seeds in soak tests"),
    ("xtask/", "cargo says which cargo runs"),
];

/// What makes sense on one machine or in one place only.
const PLACES: [&str; 9] = [
    concat!("/ho", "me/"),
    concat!("/ro", "ot/"),
    concat!("/wo", "rk/"),
    concat!("/Us", "ers/"),
    concat!("index.cra", "tes.io"),
    concat!("static.cra", "tes.io"),
    concat!("deb.deb", "ian.org"),
    concat!("issue", " #"),
    concat!("see is", "sue "),
];

fn extension(path: &str) -> &str {
    path.rsplit('/').next().and_then(|name| name.rsplit_once('.')).map_or("", |(_, extension)| extension)
}

/// Written by hand and read by people. Inputs of fuzzers and tests hold whatever they hold.
fn is_text(path: &str) -> bool {
    let data = ["fuzz/corpus/", "tests/golden/"].iter().any(|folder| path.starts_with(folder));
    let text = ["rs", "c", "h", "py", "sh", "md", "toml", "txt", "yml", "yaml", "html", "css", "js", "proto"];
    !data && (text.contains(&extension(path)) || path.starts_with(".ci/") || path.ends_with("Makefile"))
}

/// Adds what is wrong to `problems`.
pub(super) fn check(files: &[String], problems: &mut Vec<String>) -> Result<()> {
    let ratchet = ratchet(&read(RATCHET)?)?;
    for (path, _) in &ratchet {
        if !files.contains(path) {
            problems.push(format!("{RATCHET}: {path} is gone; delete its line"));
        }
    }
    for path in files.iter().filter(|path| is_text(path)) {
        let text = read(path)?;
        if ["rs", "c", "h"].contains(&extension(path)) {
            let limit = ratchet.iter().find(|(name, _)| name == path).map(|(_, limit)| *limit);
            problems.extend(size(path, text.lines().count(), limit));
        }
        form(path, &text, problems);
    }
    Ok(())
}

/// The lines of the ratchet: a number of lines and a path.
fn ratchet(text: &str) -> Result<Vec<(String, usize)>> {
    let entry = |line: &str| {
        let (limit, path) = line.split_once(' ')?;
        Some((path.to_owned(), limit.parse().ok()?))
    };
    text.lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| entry(line).ok_or_else(|| format!("{RATCHET}: not `LINES PATH`: {line}")))
        .collect()
}

fn size(path: &str, lines: usize, limit: Option<usize>) -> Option<String> {
    match limit {
        None if lines > LINES_MAX => {
            Some(format!("{path}: {lines} lines; cut it by job into files of at most {LINES_MAX}"))
        }
        Some(limit) if lines > limit => Some(format!(
            "{path}: {lines} lines, {limit} by {RATCHET}: it may only shrink; move something out of it"
        )),
        Some(_) if lines <= LINES_MAX => {
            Some(format!("{path}: {lines} lines: no longer too long; delete its line in {RATCHET}"))
        }
        Some(limit) if limit > lines + RATCHET_SLACK_LINES => {
            Some(format!("{path}: {lines} lines: lower its {limit} in {RATCHET}"))
        }
        _ => None,
    }
}

fn form(path: &str, text: &str, problems: &mut Vec<String>) {
    let may_read_environment = ENVIRONMENT.iter().any(|(place, _)| path.starts_with(place));
    for (index, line) in text.lines().enumerate() {
        let mut problem = |what: String| problems.push(format!("{path}:{}: {what}", index + 1));
        if line.ends_with([' ', '\t', '\r']) {
            problem("trailing white space; delete it".to_owned());
        }
        if extension(path) == "rs" && line.contains("env::var") && !may_read_environment {
            problem("reads the environment; make it an option (or add it to ENVIRONMENT of xtask/src/tidy/files.rs)".to_owned());
        }
        for place in PLACES {
            if line.contains(place) {
                problem(format!("`{place}` means nothing to readers elsewhere; say it without"));
            }
        }
    }
    if !text.is_empty() && !text.ends_with('\n') {
        problems.push(format!("{path}: its last line does not end; add a line feed"));
    }
    if path.ends_with(".bpf.c") || path.ends_with(".bpf.h") || path.ends_with("bpf/abi.h") {
        let mut lines = text.lines();
        if !lines
            .next()
            .is_some_and(|line| line.contains("SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0"))
        {
            problems.push(format!(
                "{path}: line 1 must say `SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0`"
            ));
        }
        if !lines.next().is_some_and(|line| line.starts_with("/*")) {
            problems.push(format!("{path}: line 2 must begin a comment: what it does, how, and why so"));
        }
    }
    let is_module = path.contains("/src/") && extension(path) == "rs" && !path.ends_with("tests.rs");
    if is_module && !text.lines().any(|line| line.starts_with("//! ")) {
        problems.push(format!("{path}: open it with `//!`: what it is for and what it keeps to"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listed_file_may_only_shrink() {
        assert_eq!(size("a.rs", LINES_MAX, None), None);
        assert!(size("a.rs", LINES_MAX + 1, None).is_some());
        assert_eq!(size("a.rs", 1000, Some(1000)), None);
        assert_eq!(size("a.rs", 950, Some(1000)), None);
        assert!(size("a.rs", 1001, Some(1000)).unwrap().contains("only shrink"));
        assert!(size("a.rs", 949, Some(1000)).unwrap().contains("lower"));
        assert!(size("a.rs", 800, Some(850)).unwrap().contains("delete"));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let told = |path: &str, text: &str| {
            let mut problems = Vec::new();
            form(path, text, &mut problems);
            problems
        };
        assert_eq!(told("crates/a/src/b.rs", "//! B.\n"), [""; 0]);
        assert_eq!(
            told("crates/a/src/b.rs", "//! B.\nlet a = 1; \n")[0].split(' ').next(),
            Some("crates/a/src/b.rs:2:")
        );
        assert_eq!(told("crates/a/src/b.rs", "//! B.\nstd::env::var(\"A\")\n").len(), 1);
        assert_eq!(told("xtask/src/b.rs", "//! B.\nstd::env::var(\"A\")\n"), [""; 0]);
        assert_eq!(told("crates/a/src/b.rs", "fn f() {}").len(), 2);
        assert_eq!(told("crates/a/src/bpf/a.bpf.c", "int a;\n").len(), 2);
        assert_eq!(told("docs/a.md", &format!("in {}me\n", PLACES[0])).len(), 1);
    }
}
