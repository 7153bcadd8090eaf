//! Links in Markdown files: what they point at inside the repository is there.

use std::path::{Component, Path, PathBuf};

use crate::{Result, read, top};

/// Adds what is wrong to `problems`.
pub(super) fn check(files: &[String], problems: &mut Vec<String>) -> Result<()> {
    for path in files.iter().filter(|path| path.ends_with(".md")) {
        for (line, target) in links(&read(path)?) {
            if let Some(what) = broken(path, &target)? {
                problems.push(format!("{path}:{line}: {what}; mend the link"));
            }
        }
    }
    Ok(())
}

/// The lines outside of fenced code, with their numbers.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        (!fenced && !fence).then_some((index + 1, line))
    })
}

/// Where links go: `[text](target)` and `[label]: target`, not in code.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in prose(text) {
        // Every second piece between backquotes is code.
        let line: String =
            line.split('`').enumerate().map(|(i, piece)| if i % 2 == 0 { piece } else { "code" }).collect();
        for (at, _) in line.match_indices("](") {
            let target = line[at + 2..].split([')', ' ']).next().unwrap_or_default();
            found.push((number, target.to_owned()));
        }
        if line.starts_with('[')
            && let Some((_, target)) = line.split_once("]: ")
        {
            found.push((number, target.split(' ').next().unwrap_or_default().to_owned()));
        }
    }
    found
}

/// The anchors of a page: its headings as GitHub names them.
fn anchors(text: &str) -> Vec<String> {
    prose(text)
        .filter(|(_, line)| line.starts_with('#'))
        .map(|(_, line)| {
            line.trim_start_matches('#')
                .trim()
                .to_lowercase()
                .chars()
                .filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c))
                .map(|c| if c == ' ' { '-' } else { c })
                .collect()
        })
        .collect()
}

/// `a/b/../c` is `a/c`; None where it leaves the repository.
fn resolve(from: &str, target: &str) -> Option<PathBuf> {
    let mut path = match target.strip_prefix('/') {
        Some(_) => PathBuf::new(),
        None => Path::new(from).parent()?.to_owned(),
    };
    for part in Path::new(target.trim_start_matches('/')).components() {
        match part {
            // One that can be popped is.
            Component::ParentDir if !path.pop() => return None,
            Component::Normal(name) => path.push(name),
            _ => {}
        }
    }
    Some(path)
}

/// What is wrong with a link, if anything.
fn broken(from: &str, target: &str) -> Result<Option<String>> {
    if ["http://", "https://", "mailto:"].iter().any(|scheme| target.starts_with(scheme)) {
        return Ok(None);
    }
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let path = if file.is_empty() { Some(PathBuf::from(from)) } else { resolve(from, file) };
    let Some(path) = path.filter(|path| top().join(path).exists()) else {
        return Ok(Some(format!("`{target}` is not there")));
    };
    if anchor.is_empty() || path.extension().is_none_or(|e| e != "md") {
        return Ok(None);
    }
    let headings = anchors(&read(&path.to_string_lossy())?);
    Ok((!headings.iter().any(|h| h == anchor))
        .then(|| format!("{} has no heading `#{anchor}`", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_found_outside_of_code() {
        let text = "a [b](c.md) and [d](e#f \"t\")\n`[x](y)`\n```\n[x](y)\n```\n[l]: m.md\n";
        let found = links(text);
        assert_eq!(found, [(1, "c.md".to_owned()), (1, "e#f".to_owned()), (6, "m.md".to_owned())]);
    }

    #[test]
    fn headings_are_anchors() {
        assert_eq!(
            anchors("# The way of the data\n```\n# no\n```\n## `make test`, twice\n"),
            ["the-way-of-the-data", "make-test-twice"]
        );
    }

    #[test]
    fn paths_are_followed_inside_the_repository() {
        assert_eq!(resolve("docs/adr/a.md", "../fields.md"), Some(PathBuf::from("docs/fields.md")));
        assert_eq!(resolve("docs/a.md", "/README.md"), Some(PathBuf::from("README.md")));
        assert_eq!(resolve("a.md", "../b.md"), None);
        assert!(broken("Cargo.toml", "no-such-file").unwrap().is_some());
        assert_eq!(broken("Cargo.toml", "crates").unwrap(), None);
    }
}
