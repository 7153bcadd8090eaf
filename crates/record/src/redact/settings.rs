//! What a user may change of the privacy list: the section `[privacy]` of the config.

use serde::Deserialize;

/// What is written in place of a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
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

/// What is written in place of a client's address.
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

/// Names by mode; a name may end in `*`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Names {
    /// Written as they came, although the list says that they are secret.
    pub keep: Vec<String>,
    /// Replaced by a fingerprint.
    pub fingerprint: Vec<String>,
    /// Replaced by `***`.
    pub mask: Vec<String>,
    /// Left out.
    pub drop: Vec<String>,
}

/// A further value pattern.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValuePattern {
    /// What the feature is called.
    pub class: String,
    /// Regular expression; its first group, or all of it, is the secret.
    pub regex: String,
    /// In lower case; one of them stands in each match.
    pub literals: Vec<String>,
}

/// The section `[privacy]`.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// What becomes of what the list calls secret.
    pub secrets: Mode,
    /// Client addresses.
    pub addresses: Addresses,
    /// Field lines (trailers too) by name.
    pub headers: Names,
    /// Keys of the target's query.
    pub query: Names,
    /// Cookies.
    pub cookies: Names,
    /// The path and query of targets: `keep` (with secrets replaced), `mask` (path kept, query values masked) or `drop` (path kept, query left out).
    pub target: Mode,
    /// Where not empty: only these lines keep their values, others are masked.
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
