//! Every key as a page (docs/config.md), and a config's values as a file.

use std::fmt::Write;

use super::Instance;
use super::keys::{self, Key, NAMED, Reload, SECTIONS};
use super::kind::{Kind, Value};

/// The page of all keys. Writing to a string cannot fail.
pub(crate) fn page() -> String {
    let mut page = "\
# The config file

`/etc/headtrail/headtrail.toml`, or the one that `-c FILE` names; TOML. Every key has a default, unless it must be there, and a
file that is not there is an empty one. An unknown key is an error; `headtrail config check` tells all that is wrong with a file, and with `--show` prints
the values in effect. Environment variables are not read.

Sizes: `kB`, `MB`, `GB`, `TB`, `PB` are powers of 1000, `KiB`, `MiB`, `GiB`, `TiB`, `PiB` of 1024; a number without quotes is bytes.
Times: `ms`, `s`, `m` (minutes), `h`, `d`.

*live*: a change has effect at SIGHUP; *restart*: at the next start.
"
    .to_owned();
    let fixed = SECTIONS.iter().map(|section| (section.name.to_owned(), section));
    let named = NAMED.iter().map(|named| (named.heading(), &named.section));
    for (heading, section) in fixed.chain(named) {
        let _ = write!(page, "\n## `[{heading}]`\n\n{}\n\n", section.meaning);
        page.push_str("| key | default | allowed | change | meaning |\n| --- | --- | --- | --- | --- |\n");
        for key in section.keys {
            let default = match key.kind {
                Kind::Tables { .. } => "none".to_owned(),
                _ if key.default.is_empty() => "must be there".to_owned(),
                _ => format!("`{}`", key.default),
            };
            let change = match key.reload {
                Reload::Live => "live",
                Reload::Restart => "restart",
            };
            let allowed = cell(&key.kind.allowed());
            let mut meaning = cell(key.meaning);
            if !key.only_for.is_empty() {
                let _ = write!(meaning, " Only for {}.", key.only_for.join(", "));
            }
            let _ = writeln!(page, "| `{}` | {default} | {allowed} | {change} | {meaning} |", key.name);
        }
        for key in section.keys {
            if let Kind::Tables { keys, .. } = key.kind {
                table(&mut page, &format!("{}.{}", section.name, key.name), keys);
            }
        }
    }
    page
}

fn table(page: &mut String, path: &str, keys: &[Key]) {
    let _ = write!(page, "\n### `[[{path}]]`\n\n| key | allowed | meaning |\n| --- | --- | --- |\n");
    for key in keys {
        let _ = writeln!(page, "| `{}` | {} | {} |", key.name, cell(&key.kind.allowed()), cell(key.meaning));
    }
}

/// Text for a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// Values, by the place of their keys, as a file that has the same ones.
pub(super) fn show(values: &[Value], named: &[Instance]) -> String {
    let mut out = String::new();
    for section in SECTIONS {
        if !out.is_empty() {
            out.push('\n');
        }
        let _ = writeln!(out, "[{}]", section.name);
        let of_section = || keys::all().zip(values).filter(|((s, _), _)| s.name == section.name);
        for ((_, key), value) in of_section() {
            if let Some(value) = value.show() {
                let _ = writeln!(out, "{} = {value}", key.name);
            }
        }
        // Tables come last, since they end the section.
        for ((_, key), value) in of_section() {
            if let (Kind::Tables { keys, .. }, Value::Tables(rows)) = (key.kind, value) {
                rows.iter()
                    .for_each(|row| show_row(&mut out, &format!("{}.{}", section.name, key.name), keys, row));
            }
        }
    }
    for instance in named {
        let _ = write!(out, "\n[{}]\n", instance.path());
        show_keys(&mut out, instance.section.keys, &instance.values);
    }
    out
}

fn show_row(out: &mut String, path: &str, keys: &[Key], row: &[Option<Value>]) {
    let _ = write!(out, "\n[[{path}]]\n");
    show_keys(out, keys, row);
}

fn show_keys(out: &mut String, keys: &[Key], row: &[Option<Value>]) {
    for (key, value) in keys.iter().zip(row) {
        if let Some(value) = value.as_ref().and_then(Value::show) {
            let _ = writeln!(out, "{} = {value}", key.name);
        }
    }
}
