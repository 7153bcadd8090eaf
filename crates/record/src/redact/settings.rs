//! What a user may change of the privacy list: the section `[privacy]` of the config.
//!
//! What is said here of a name stands above the list, and an exact name above one that ends in `*`, the longer above the
//! shorter. A name may stand under one mode only.

use serde::Deserialize;

/// What is written in place of a value. Ordered by how much is hidden, so that of two that hold for the same bytes the
/// greater one counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The value as it came.
    Keep,
    /// A keyed fingerprint: the same value can be followed without being known.
    Fingerprint,
    /// `***`: that there was a value, and nothing of it.
    Mask,
    /// Nothing: the line (cookie, query key) is left out, and counted on the record.
    Drop,
}

impl Mode {
    /// The name in the config.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Fingerprint => "fingerprint",
            Self::Mask => "mask",
            Self::Drop => "drop",
        }
    }
}

/// What is written in place of a client's address. Loopback and unspecified addresses stay in each mode.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Addresses {
    /// The address as it came.
    #[default]
    Keep,
    /// The network alone: /24 of IPv4, /48 of IPv6.
    Truncate,
    /// An address of fd00::/8 made by the fingerprint key.
    Fingerprint,
}

impl Addresses {
    /// The name in the config.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Truncate => "truncate",
            Self::Fingerprint => "fingerprint",
        }
    }
}

/// Names by mode, without regard to case and with `_` as `-`; a name may end in `*`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Names {
    /// Written as they came, whatever the list and the value patterns say.
    pub keep: Vec<String>,
    /// Replaced by a fingerprint.
    pub fingerprint: Vec<String>,
    /// Replaced by `***`.
    pub mask: Vec<String>,
    /// Left out.
    pub drop: Vec<String>,
}

impl Names {
    /// The four lists with their modes.
    pub(super) fn by_mode(&self) -> [(Mode, &[String]); 4] {
        [
            (Mode::Keep, &self.keep),
            (Mode::Fingerprint, &self.fingerprint),
            (Mode::Mask, &self.mask),
            (Mode::Drop, &self.drop),
        ]
    }
}

/// A further value pattern.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValuePattern {
    /// What the feature is called: a word of letters, digits and `_`.
    pub class: String,
    /// Regular expression; its first group, or all of the match where it has none, is the secret.
    pub regex: String,
    /// One of them stands in each match, without regard to case: where none does, the pattern is not tried. Without
    /// literals it is tried on every value, which costs time on each.
    #[serde(default)]
    pub literals: Vec<String>,
}

/// The section `[privacy]`.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// What becomes of what the list and the patterns call secret; not `keep`. With `drop`, a secret that is a part of a
    /// value is masked.
    pub secrets: Mode,
    /// Client addresses: of the connection, in packet headers and in the lines in which proxies name them.
    pub addresses: Addresses,
    /// Field lines (trailers too) by name.
    pub headers: Names,
    /// Query keys, of targets and of URLs in field lines.
    pub query: Names,
    /// Cookies.
    pub cookies: Names,
    /// What becomes of query values that no other rule names, of targets and of URLs in field lines. The path stays, but
    /// for secrets in it.
    pub target: Mode,
    /// Where not empty: only these lines keep their values, others are masked unless `headers` names them. Secrets in
    /// these lines stay secret.
    pub allow: Vec<String>,
    /// Further value patterns.
    pub patterns: Vec<ValuePattern>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            secrets: Mode::Fingerprint,
            addresses: Addresses::Keep,
            headers: Names::default(),
            query: Names::default(),
            cookies: Names::default(),
            target: Mode::Keep,
            allow: Vec::new(),
            patterns: Vec::new(),
        }
    }
}
