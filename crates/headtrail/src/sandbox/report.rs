//! What is in force, as the kernel tells it.

use std::fmt;

use rustix::process::{getegid, geteuid};
use rustix::thread::CapabilitySet;
use serde::{Deserialize, Serialize};

/// One of the kernel's means.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Layer {
    /// All of it.
    On,
    /// Some of it, and what.
    Partly(String),
    /// Not at all, and why.
    Off(String),
}

impl Layer {
    /// At least partly.
    pub(crate) fn in_force(&self) -> bool {
        !matches!(self, Self::Off(_))
    }
}

impl Default for Layer {
    fn default() -> Self {
        Self::Off("not asked for".to_owned())
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::On => write!(f, "on"),
            Self::Partly(what) => write!(f, "in part ({what})"),
            Self::Off(why) => write!(f, "off ({why})"),
        }
    }
}

/// What this process may still do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Report {
    /// Name of the user, or the number of one without.
    pub(crate) user: String,
    /// User id.
    pub(crate) uid: u32,
    /// Group id.
    pub(crate) gid: u32,
    /// Effective capabilities.
    pub(crate) capabilities: Vec<String>,
    /// Nothing that it runs has more privileges.
    pub(crate) no_new_privs: bool,
    /// System calls.
    pub(crate) seccomp: Layer,
    /// Files, ports, processes.
    pub(crate) landlock: Layer,
    /// What is not as it should be, or worth knowing.
    pub(crate) notes: Vec<String>,
}

impl Report {
    /// Asks the kernel.
    pub(super) fn read_back(user: String, landlock: Layer, seccomp: Layer, mut notes: Vec<String>) -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let value = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            line.and_then(|rest| rest.strip_prefix(':')).map(str::trim)
        };
        let effective = value("CapEff").and_then(|hex| u64::from_str_radix(hex, 16).ok());
        let seccomp = match (seccomp, value("Seccomp")) {
            (Layer::On, Some("2") | None) => Layer::On,
            (Layer::On, Some(mode)) => Layer::Off(format!("the kernel tells mode {mode}")),
            (other, _) => other,
        };
        if effective.is_none() {
            notes.push("/proc/self/status does not tell the capabilities".to_owned());
        }
        let uid = geteuid();
        Self {
            user,
            uid: uid.as_raw(),
            gid: getegid().as_raw(),
            capabilities: super::names(CapabilitySet::from_bits_retain(effective.unwrap_or_default())),
            no_new_privs: value("NoNewPrivs") == Some("1"),
            seccomp,
            landlock,
            notes,
        }
    }

    /// A line for each thing, for `status` and the log.
    pub(crate) fn lines(&self) -> Vec<(&'static str, String)> {
        let capabilities =
            if self.capabilities.is_empty() { "none".to_owned() } else { self.capabilities.join(", ") };
        let mut lines = vec![
            ("user", format!("{} ({}:{})", self.user, self.uid, self.gid)),
            ("capabilities", capabilities),
            ("no_new_privs", if self.no_new_privs { "on" } else { "off" }.to_owned()),
            ("seccomp", self.seccomp.to_string()),
            ("landlock", self.landlock.to_string()),
        ];
        lines.extend(self.notes.iter().map(|note| ("note", note.clone())));
        lines
    }
}
