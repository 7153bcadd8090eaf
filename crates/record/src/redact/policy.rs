//! What is hidden: the privacy list as data, with what a user has changed of it, checked once.

use std::collections::HashMap;
use std::fmt::{self, Write as _};

use regex::bytes::{Regex, RegexBuilder, RegexSet, RegexSetBuilder};
use sha2::{Digest as _, Sha256};

use crate::features::PatternKind;

use super::list::{List, Value};
use super::names::{self, NameRules, parts_form, plain_form};
use super::settings::{Addresses, Mode, Names, Settings};

/// The list that is compiled in.
const DEFAULT: &str = include_str!("../../data/privacy.toml");
/// Most value and attack patterns together: one bit each in a mask.
pub const PATTERNS_MAX: usize = 128;
/// Most names in one list of the settings.
pub const NAMES_MAX: usize = 1024;
/// Longest class of a pattern, bytes.
const CLASS_BYTES_MAX: usize = 64;
/// Largest compiled size of one regular expression, bytes.
const REGEX_SIZE_BYTES_MAX: usize = 4 << 20;

/// How the value of a named line is treated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Class {
    /// Only value patterns hold.
    Plain,
    /// A user wants it as it is: not even value patterns hold.
    Kept,
    /// All of it is hidden, a scheme in front stays.
    Secret,
    Cookie,
    SetCookie,
    Challenge,
    Url,
    Authority,
    Certificate,
    Protocols,
    /// Client addresses, in lists or as `for=` (RFC 7239).
    Address,
}

/// What was decided on the name of a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Rule {
    pub(super) class: Class,
    /// Of [`Class::Secret`]: how it is hidden.
    pub(super) mode: Mode,
}

/// What was decided on a query key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Key {
    /// No rule names it.
    Plain,
    /// Its value is a secret by the list.
    Secret,
    /// A user said what becomes of its value.
    Named(Mode),
}

impl Key {
    /// Its value is hidden in some way.
    pub(super) fn is_hidden(self) -> bool {
        !matches!(self, Self::Plain | Self::Named(Mode::Keep))
    }
}

/// Why a privacy list or the settings cannot be used.
#[derive(Debug)]
pub enum PolicyError {
    /// The list is not TOML of the right shape.
    Syntax(toml::de::Error),
    /// A setting is wrong, or an entry of the list.
    Setting {
        /// Where it stands, as in the config: `privacy.patterns[2].regex`.
        path: String,
        /// What is wrong with it.
        problem: Problem,
    },
}

/// What is wrong with a setting.
#[derive(Debug)]
pub enum Problem {
    /// A name that cannot be one.
    Name {
        /// The name.
        name: String,
        /// Why not.
        why: &'static str,
    },
    /// A name that stands under another mode too.
    Twice {
        /// The name.
        name: String,
        /// Where else.
        also: String,
    },
    /// More names than [`NAMES_MAX`].
    TooManyNames(usize),
    /// Secrets as a whole cannot be kept, only those that are named.
    KeepsSecrets,
    /// A class of patterns that is no word.
    Class(String),
    /// A regular expression is wrong or too large.
    Regex(Box<regex::Error>),
    /// A regular expression that the empty text matches.
    MatchesNothing,
    /// An empty literal, or none where one is needed.
    Literal,
    /// More than [`PATTERNS_MAX`] patterns, those of the list included.
    TooManyPatterns,
}

impl PolicyError {
    /// Where the wrong setting stands, as in the config: `privacy.patterns[2].regex`.
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        match self {
            Self::Syntax(_) => None,
            Self::Setting { path, .. } => Some(path),
        }
    }
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax(e) => write!(f, "the privacy list cannot be read: {e}"),
            Self::Setting { path, problem } => write!(f, "{path}: {problem}"),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name { name, why } => write!(f, "the name '{}' {why}", name.escape_debug()),
            Self::Twice { name, also } => {
                write!(f, "'{}' stands in {also} too; a name has one mode", name.escape_debug())
            }
            Self::TooManyNames(n) => write!(f, "{n} names are more than the {NAMES_MAX} allowed"),
            Self::KeepsSecrets => f.write_str(
                "secrets as a whole cannot be kept; name what is to be kept under headers, query or cookies",
            ),
            Self::Class(class) => write!(
                f,
                "'{}' is no class: it wants 1 to {CLASS_BYTES_MAX} letters, digits and '_'",
                class.escape_debug()
            ),
            Self::Regex(e) => write!(f, "{e}"),
            Self::MatchesNothing => f.write_str("the pattern matches the empty text, thus everywhere"),
            Self::Literal => f.write_str("a literal must not be empty"),
            Self::TooManyPatterns => write!(f, "with those of the list more than {PATTERNS_MAX} patterns"),
        }
    }
}

impl std::error::Error for PolicyError {}

fn wrong<T>(path: impl Into<String>, problem: Problem) -> Result<T, PolicyError> {
    Err(PolicyError::Setting { path: path.into(), problem })
}

/// A value pattern.
#[derive(Clone)]
pub(super) struct Pattern {
    pub(super) kind: PatternKind,
    pub(super) class: String,
    pub(super) provider: Option<String>,
    pub(super) regex: Regex,
    /// The first group is the secret, else all of the match.
    pub(super) group: usize,
    /// In lower case; one of them is in each match. None: it is tried on every value.
    pub(super) literals: Vec<Vec<u8>>,
    /// In lower case; a secret that begins so is none.
    pub(super) except: Vec<Vec<u8>>,
}

/// What a user said of names.
#[derive(Clone, Default)]
struct Own {
    headers: NameRules<Mode>,
    query: NameRules<Mode>,
    cookies: NameRules<Mode>,
    /// Names by `section.mode`, in plain form and order: what is described and hashed.
    said: Vec<(&'static str, Mode, String)>,
}

/// What is hidden. The default hides credentials, cookies, keys and secrets in targets; [`Policy::with`] adds to that and
/// takes from it. Not printable: it is large. [`Policy::describe`] tells what differs from the default.
#[derive(Clone)]
pub struct Policy {
    headers: NameRules<Class>,
    query: NameRules<Class>,
    /// Lines that hold client addresses.
    address: NameRules<()>,
    names: RegexSet,
    own: Own,
    allow: Option<NameRules<()>>,
    pub(super) secrets: Mode,
    pub(super) target: Mode,
    pub(super) addresses: Addresses,
    pub(super) schemes: Vec<Vec<u8>>,
    pub(super) challenge_keep: Vec<Vec<u8>>,
    pub(super) cookie_attributes: Vec<Vec<u8>>,
    pub(super) certificate_keep: Vec<Vec<u8>>,
    pub(super) protocols_keep: Vec<Vec<u8>>,
    pub(super) patterns: Vec<Pattern>,
    /// The list could not be read: every name is a secret's.
    pub(super) hide_all: bool,
    /// Patterns were added: short values of ordinary bytes may be secrets too.
    pub(super) short_values: bool,
    id: String,
    loud: Vec<String>,
    added_patterns: usize,
    allowed: usize,
}

impl Default for Policy {
    /// The compiled-in list. Should it not be readable, which a test excludes, then everything is hidden.
    fn default() -> Self {
        Self::with(&Settings::default()).unwrap_or_else(|_| Self::hide_all())
    }
}

impl Policy {
    /// The compiled-in list with what a user has changed of it.
    ///
    /// # Errors
    /// Where a setting is wrong, with its place.
    pub fn with(settings: &Settings) -> Result<Self, PolicyError> {
        Self::build(DEFAULT, settings)
    }

    /// A list in the form of the compiled-in one.
    fn build(list: &str, settings: &Settings) -> Result<Self, PolicyError> {
        let file: List = toml::from_str(list).map_err(PolicyError::Syntax)?;
        let mut headers = NameRules::default();
        for (names, class) in [
            (&file.headers.url, Class::Url),
            (&file.headers.authority, Class::Authority),
            (&file.headers.secret, Class::Secret),
            (&file.headers.cookie, Class::Cookie),
            (&file.headers.set_cookie, Class::SetCookie),
            (&file.headers.challenge, Class::Challenge),
            (&file.headers.certificate, Class::Certificate),
            (&file.headers.protocols, Class::Protocols),
            (&file.names.keep, Class::Plain),
        ] {
            names.iter().for_each(|name| headers.set(name, class));
        }
        let mut query = NameRules::default();
        file.query.secret.iter().for_each(|key| query.set(key, Class::Secret));
        file.query.keep.iter().for_each(|key| query.set(key, Class::Plain));
        let mut address = NameRules::default();
        file.headers.address.iter().for_each(|name| address.set(name, ()));
        let names = RegexSetBuilder::new(&file.names.patterns)
            .unicode(false)
            .size_limit(REGEX_SIZE_BYTES_MAX)
            .build()
            .or_else(|e| wrong("names.patterns", Problem::Regex(Box::new(e))))?;
        let mut policy = Self {
            headers,
            query,
            address,
            names,
            schemes: lower(&file.schemes),
            challenge_keep: lower(&file.challenge.keep),
            cookie_attributes: lower(&file.cookie.attributes),
            certificate_keep: lower(&file.certificate.keep),
            protocols_keep: lower(&file.protocols.keep),
            hide_all: false,
            ..Self::hide_all()
        };
        for (kind, section, values) in
            [(PatternKind::Secret, "values", file.values), (PatternKind::Attack, "attacks", file.attacks)]
        {
            for (i, value) in values.into_iter().enumerate() {
                let path = format!("{section}[{i}]");
                if value.literals.is_empty() {
                    return wrong(format!("{path}.literals"), Problem::Literal);
                }
                policy.push(kind, value, &path)?;
            }
        }
        policy.apply(settings)?;
        policy.id = id(list, &policy, settings);
        Ok(policy)
    }

    /// Takes in what a user has changed.
    fn apply(&mut self, settings: &Settings) -> Result<(), PolicyError> {
        if settings.secrets == Mode::Keep {
            return wrong("privacy.secrets", Problem::KeepsSecrets);
        }
        (self.secrets, self.target, self.addresses) = (settings.secrets, settings.target, settings.addresses);
        let mut own = Own::default();
        own.headers = own.take("headers", &settings.headers)?;
        own.query = own.take("query", &settings.query)?;
        own.cookies = own.take("cookies", &settings.cookies)?;
        self.loud = self.taken_away(&own);
        self.own = own;
        let mut allow = NameRules::default();
        for (i, name) in named("privacy.allow", &settings.allow)?.enumerate() {
            if let Some(why) = names::wrong(name) {
                let problem = Problem::Name { name: name.clone(), why };
                return wrong(format!("privacy.allow[{i}]"), problem);
            }
            allow.set(name, ());
        }
        self.allowed = settings.allow.len();
        self.allow = (self.allowed > 0).then_some(allow);
        for (i, pattern) in settings.patterns.iter().enumerate() {
            let path = format!("privacy.patterns[{i}]");
            let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
            if !(1..=CLASS_BYTES_MAX).contains(&pattern.class.len()) || !pattern.class.bytes().all(word) {
                return wrong(format!("{path}.class"), Problem::Class(pattern.class.clone()));
            }
            let value = Value {
                class: pattern.class.clone(),
                provider: None,
                regex: pattern.regex.clone(),
                literals: pattern.literals.clone(),
                except: Vec::new(),
            };
            self.push(PatternKind::Secret, value, &path)?;
            self.short_values = true;
            self.added_patterns += 1;
        }
        Ok(())
    }

    /// A policy by which every value is a secret.
    #[must_use]
    pub fn hide_all() -> Self {
        Self {
            headers: NameRules::default(),
            query: NameRules::default(),
            address: NameRules::default(),
            names: RegexSet::empty(),
            own: Own::default(),
            allow: None,
            secrets: Mode::Fingerprint,
            target: Mode::Keep,
            addresses: Addresses::Keep,
            schemes: Vec::new(),
            challenge_keep: Vec::new(),
            cookie_attributes: Vec::new(),
            certificate_keep: Vec::new(),
            protocols_keep: Vec::new(),
            patterns: Vec::new(),
            hide_all: true,
            short_values: false,
            id: "hide_all".to_owned(),
            loud: Vec::new(),
            added_patterns: 0,
            allowed: 0,
        }
    }

    /// What a user has taken away from the protection, one sentence each; empty for the default. For a record of the
    /// recorder's life, and for whoever starts it.
    #[must_use]
    pub fn loud(&self) -> &[String] {
        &self.loud
    }

    /// What is in force in one line, with the hash at its end: `secrets fingerprint, target keep, addresses keep, …`.
    #[must_use]
    pub fn describe(&self) -> String {
        let mut text = format!(
            "secrets {}, target {}, addresses {}",
            self.secrets.as_str(),
            self.target.as_str(),
            self.addresses.as_str()
        );
        for mode in [Mode::Keep, Mode::Fingerprint, Mode::Mask, Mode::Drop] {
            let names = self.own.said.iter().filter(|(_, m, _)| *m == mode).count();
            if names > 0 {
                let _ = write!(text, ", {names} named to {}", mode.as_str());
            }
        }
        for (count, what) in [(self.allowed, "lines allowed"), (self.added_patterns, "patterns added")] {
            if count > 0 {
                let _ = write!(text, ", {count} {what}");
            }
        }
        let _ = write!(text, "; policy {}", self.id);
        text
    }

    /// Hash of the effective policy, list and settings: equal where the same is hidden in the same way.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What the names to keep take away.
    fn taken_away(&self, own: &Own) -> Vec<String> {
        let kept = own.said.iter().filter(|(_, mode, _)| *mode == Mode::Keep);
        let tell = |(section, _, name): &(&str, Mode, String)| {
            let why = if name.ends_with('*') {
                "all names that begin so are kept, secrets too"
            } else {
                let plain = name.as_bytes();
                match *section {
                    "cookies" => "a secret is kept",
                    "query" if self.query_key(plain) != Key::Plain => "a secret is kept",
                    "headers" => match self.header(plain).class {
                        Class::Plain | Class::Url | Class::Authority => "value patterns no longer hold",
                        Class::Address => "client addresses are kept",
                        _ => "a secret is kept",
                    },
                    _ => "value patterns no longer hold",
                }
            };
            format!("privacy.{section}.keep {name}: {why}")
        };
        kept.map(tell).collect()
    }

    fn push(&mut self, kind: PatternKind, value: Value, path: &str) -> Result<(), PolicyError> {
        if self.patterns.len() >= PATTERNS_MAX {
            return wrong(path, Problem::TooManyPatterns);
        }
        if let Some(i) = value.literals.iter().position(String::is_empty) {
            return wrong(format!("{path}.literals[{i}]"), Problem::Literal);
        }
        let regex = RegexBuilder::new(&value.regex)
            .unicode(false)
            .size_limit(REGEX_SIZE_BYTES_MAX)
            .build()
            .or_else(|e| wrong(format!("{path}.regex"), Problem::Regex(Box::new(e))))?;
        if regex.is_match(b"") {
            return wrong(format!("{path}.regex"), Problem::MatchesNothing);
        }
        self.patterns.push(Pattern {
            kind,
            class: value.class,
            provider: value.provider,
            group: usize::from(kind == PatternKind::Secret && regex.captures_len() > 1),
            regex,
            literals: lower(&value.literals),
            except: lower(&value.except),
        });
        Ok(())
    }

    /// How the line of this name is treated.
    pub(super) fn header(&self, name: &[u8]) -> Rule {
        let plain = plain_form(name);
        let secret = |mode| Rule { class: Class::Secret, mode };
        match self.own.headers.get(&plain) {
            _ if self.hide_all => return secret(Mode::Fingerprint),
            Some(Mode::Keep) => return Rule { class: Class::Kept, mode: Mode::Keep },
            Some(mode) => return secret(mode),
            None => {}
        }
        if self.allow.as_ref().is_some_and(|allow| allow.get(&plain).is_none()) {
            return secret(self.secrets.max(Mode::Mask));
        }
        let class = self.headers.get(&plain).unwrap_or_else(|| self.by_pattern(name));
        let holds_address = self.addresses != Addresses::Keep
            && matches!(class, Class::Plain | Class::Authority)
            && self.address.get(&plain).is_some();
        Rule { class: if holds_address { Class::Address } else { class }, mode: self.secrets }
    }

    /// How the value of this query key is treated. `key` has been percent-decoded.
    pub(super) fn query_key(&self, key: &[u8]) -> Key {
        if self.hide_all {
            return Key::Secret;
        }
        let (plain, parts) = (plain_form(key), parts_form(key));
        if let Some(mode) = self.own.query.get(&plain).or_else(|| self.own.query.get(&parts)) {
            return Key::Named(mode);
        }
        let rule = self.query.get(&plain).or_else(|| self.query.get(&parts));
        match rule.unwrap_or_else(|| self.by_pattern(key)) {
            Class::Plain => Key::Plain,
            _ => Key::Secret,
        }
    }

    /// How the value of this cookie is treated.
    pub(super) fn cookie(&self, name: &[u8]) -> Mode {
        if self.own.cookies.is_empty() {
            return self.secrets;
        }
        self.own.cookies.get(&plain_form(name)).unwrap_or(self.secrets)
    }

    /// How a secret is hidden that is a part of something that stays: it cannot be left out.
    pub(super) fn part(&self) -> Mode {
        self.secrets.min(Mode::Mask)
    }

    fn by_pattern(&self, name: &[u8]) -> Class {
        if self.names.is_match(&parts_form(name)) { Class::Secret } else { Class::Plain }
    }
}

impl Own {
    /// Checks the names of a section.
    fn take(&mut self, section: &'static str, names: &Names) -> Result<NameRules<Mode>, PolicyError> {
        let mut rules = NameRules::default();
        let mut seen: HashMap<Vec<u8>, (Mode, String)> = HashMap::new();
        for (mode, list) in names.by_mode() {
            let path = format!("privacy.{section}.{}", mode.as_str());
            for (i, name) in named(&path, list)?.enumerate() {
                let path = format!("{path}[{i}]");
                if let Some(why) = names::wrong(name) {
                    return wrong(path, Problem::Name { name: name.clone(), why });
                }
                let plain = plain_form(name.as_bytes());
                if let Some((_, also)) = seen.get(&plain).filter(|(other, _)| *other != mode) {
                    return wrong(path, Problem::Twice { name: name.clone(), also: also.clone() });
                }
                rules.set(name, mode);
                self.said.push((section, mode, String::from_utf8_lossy(&plain).into_owned()));
                seen.insert(plain, (mode, path));
            }
        }
        self.said.sort();
        self.said.dedup();
        Ok(rules)
    }
}

fn named<'n>(
    path: &str,
    list: &'n [String],
) -> Result<impl Iterator<Item = &'n String> + use<'n>, PolicyError> {
    if list.len() > NAMES_MAX {
        return wrong(path, Problem::TooManyNames(list.len()));
    }
    Ok(list.iter())
}

/// Hash of list and settings in one form, whatever order and case they were written in.
fn id(list: &str, policy: &Policy, settings: &Settings) -> String {
    let mut hash = Sha256::new();
    // Length first, so that no two policies make one text.
    let mut put = |text: &str| {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text.as_bytes());
    };
    put(list);
    put(policy.secrets.as_str());
    put(policy.target.as_str());
    put(policy.addresses.as_str());
    for (section, mode, name) in &policy.own.said {
        put(section);
        put(mode.as_str());
        put(name);
    }
    let mut allow: Vec<_> = settings.allow.iter().map(|name| plain_form(name.as_bytes())).collect();
    allow.sort();
    allow.dedup();
    put("allow");
    allow.iter().for_each(|name| put(&String::from_utf8_lossy(name)));
    for pattern in &settings.patterns {
        put("pattern");
        put(&pattern.class);
        put(&pattern.regex);
        pattern.literals.iter().for_each(|literal| put(literal));
    }
    let digest = hash.finalize();
    digest.iter().take(8).fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

fn lower(words: &[String]) -> Vec<Vec<u8>> {
    words.iter().map(|word| word.to_ascii_lowercase().into_bytes()).collect()
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
