//! The config file: raw text becomes a checked [`Config`] once, and nothing else reads it.
//!
//! text --[`file`]--> UTF-8, bounded --[`read`]--> values by [`keys`], or [`Problems`] with their places
//! --[`build`]--> [`Config`]
//!
//! One definition, [`keys::SECTIONS`], yields what is read, the defaults, the page docs/config.md, and what may change
//! while the program runs. All problems of a file are told at once. The environment is not read.
//!
//! toml's spanned tables are read by hand: its serde side would stop at the first problem and does not know what a
//! key's neighbours are called. Only settings that `record` owns are made by serde, from what has been checked.

mod build;
mod command;
mod file;
mod keys;
mod kind;
mod problems;
mod read;
mod reference;
mod ship;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use headtrail_capture::filter::Filter;
use headtrail_record::{redact, volume};

pub(crate) use command::run;
pub(crate) use problems::Problems;
pub(crate) use ship::Ship;

use keys::Reload as When;
use kind::Value;
use problems::Found;

/// Where the config lies unless told otherwise.
pub(crate) const DEFAULT_PATH: &str = "/etc/headtrail/headtrail.toml";

/// The user by default, which need not exist.
const USER_DEFAULT: &str = "headtrail";

/// A config that has been checked.
pub(crate) struct Config {
    /// `[run]`
    pub(crate) run: Run,
    /// `[capture]`
    pub(crate) capture: Capture,
    /// `[journal]`
    pub(crate) journal: Journal,
    /// `[retention]`
    pub(crate) retention: Retention,
    /// `[privacy]`
    pub(crate) privacy: redact::Settings,
    /// `privacy.key_rotation`; None: never.
    pub(crate) key_rotation: Option<Duration>,
    /// `[volume]`
    pub(crate) volume: volume::Settings,
    /// `memory.ceiling`, bytes.
    pub(crate) memory_bytes_max: u64,
    /// `web.listen`, an address of loopback; None: off.
    pub(crate) listen: Option<SocketAddr>,
    /// `[ship.NAME]`, in the order of names.
    pub(crate) ship: Vec<Ship>,
    /// All values by the place of their keys.
    values: Vec<Value>,
    /// Those of sections with names of their own, in the order of these.
    named: Vec<Instance>,
}

/// The values of a section with a name of its own, by the place of their keys; None for keys that its kind does not have.
struct Instance {
    section: &'static keys::Section,
    name: String,
    values: Vec<Option<Value>>,
}

impl Instance {
    fn path(&self) -> String {
        format!("{}.{}", self.section.name, self.name)
    }
}

/// `[run]`
pub(crate) struct Run {
    /// User that the process becomes.
    pub(crate) user: String,
    /// Folder of everything that is kept.
    pub(crate) data_dir: PathBuf,
}

/// `[capture]`
pub(crate) struct Capture {
    /// Connections that are recorded; None: all.
    pub(crate) filter: Option<Filter>,
    /// Size of the kernel's rings, all together.
    pub(crate) ring_bytes: u32,
}

/// `[journal]`
pub(crate) struct Journal {
    /// Longest time until a block is written.
    pub(crate) block: Duration,
    /// Longest time until it is on the disk.
    pub(crate) sync: Duration,
    /// Size of a segment.
    pub(crate) segment_bytes: u64,
    /// Time between checkpoints.
    pub(crate) checkpoint: Duration,
    /// Where checkpoints are put besides the journal.
    pub(crate) export: Option<Export>,
}

/// `[journal.checkpoint]`: where to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Export {
    /// Appended to a file.
    File(PathBuf),
    /// On standard input of a program.
    Command(Vec<String>),
    /// By POST.
    Url(String),
}

/// `[retention]`
pub(crate) struct Retention {
    /// Size of the journal.
    pub(crate) size_bytes: u64,
    /// Age of the newest record of a segment; None: kept as long as there is room.
    pub(crate) age: Option<Duration>,
}

impl Config {
    /// Reads a file that must be there.
    pub(crate) fn load(path: &Path) -> Result<Self, Problems> {
        let name = path.to_string_lossy();
        let text = file::text(path)?.ok_or_else(|| Problems::whole(&name, "is not there"))?;
        Self::parse(&name, &text)
    }

    /// Reads the file that was named, or else the default one, which need not be there.
    pub(crate) fn load_or_default(path: Option<&Path>) -> Result<Self, Problems> {
        match path {
            Some(path) => Self::load(path),
            None => Self::parse(DEFAULT_PATH, &file::text(Path::new(DEFAULT_PATH))?.unwrap_or_default()),
        }
    }

    /// Reads the text of a file; `name` stands in messages.
    pub(crate) fn parse(name: &str, text: &str) -> Result<Self, Problems> {
        let mut found = Found::default();
        let read = read::read(text, &mut found);
        let config = build::build(text, read, &mut found);
        match config {
            Some(config) if found.is_empty() => Ok(config),
            _ => Err(found.into_problems(name, text)),
        }
    }

    /// The user that was asked for; None where the default is meant, which need not exist.
    pub(crate) fn user_asked_for(&self) -> Option<&str> {
        Some(self.run.user.as_str()).filter(|user| *user != USER_DEFAULT)
    }

    /// What is in force after a change of the file, where `old` was: keys that need a restart keep their values. It is made of the
    /// values and not key by key, so that a key's place in [`keys`] alone decides. A problem can only lie between two
    /// keys of which one is new.
    pub(crate) fn in_force(old: &Self, new: &Self) -> Result<Self, Problems> {
        let both = keys::all().zip(old.values.iter().zip(&new.values));
        let values = both.map(|((_, key), (old, new))| match key.reload {
            When::Live => new.clone(),
            When::Restart => old.clone(),
        });
        Self::parse("the config in force", &reference::show(&values.collect::<Vec<_>>(), &old.named))
    }

    /// The values as a file that has the same ones.
    pub(crate) fn shown(&self) -> String {
        reference::show(&self.values, &self.named)
    }

    /// What is the case after a change of the file.
    pub(crate) fn diff(old: &Self, new: &Self) -> Reload {
        let mut reload = Reload::default();
        for ((section, key), (old, new)) in keys::all().zip(old.values.iter().zip(&new.values)) {
            if old != new {
                reload.add(format!("{}.{}", section.name, key.name), key.reload);
            }
        }
        let paths: BTreeSet<String> = old.named.iter().chain(&new.named).map(Instance::path).collect();
        for path in paths {
            let of = |instance: &&Instance| instance.path() == path;
            match (old.named.iter().find(of), new.named.iter().find(of)) {
                (Some(old), Some(new)) => {
                    for (key, (old, new)) in old.section.keys.iter().zip(old.values.iter().zip(&new.values)) {
                        if old != new {
                            reload.add(format!("{path}.{}", key.name), key.reload);
                        }
                    }
                }
                // What has come or gone is named as a whole.
                _ => reload.add(path, When::Restart),
            }
        }
        reload
    }
}

/// How two configs differ.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Reload {
    /// All keys whose values differ.
    pub(crate) changed: Vec<String>,
    /// Those of them that have no effect before the next start.
    pub(crate) needs_restart: Vec<String>,
}

impl Reload {
    fn add(&mut self, path: String, when: When) {
        if when == When::Restart {
            self.needs_restart.push(path.clone());
        }
        self.changed.push(path);
    }
}

#[cfg(test)]
mod tests;
