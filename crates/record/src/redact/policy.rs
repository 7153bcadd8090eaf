//! What is hidden: the privacy list as data, checked once.

use std::collections::HashMap;
use std::fmt;

use regex::bytes::{Regex, RegexBuilder, RegexSet, RegexSetBuilder};
use serde::Deserialize;

use crate::features::PatternKind;

/// The list that is compiled in.
const DEFAULT: &str = include_str!("../../data/privacy.toml");
/// Most value and attack patterns together: one bit each in a mask.
pub const PATTERNS_MAX: usize = 128;
/// Largest compiled size of one regular expression, bytes.
const REGEX_SIZE_BYTES_MAX: usize = 4 << 20;

/// How the value of a named line is treated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Class {
    /// Only value patterns hold.
    Plain,
    /// All of it is a secret, a scheme in front stays.
    Secret,
    Cookie,
    SetCookie,
    Challenge,
    Url,
    Authority,
    Certificate,
    Protocols,
}

/// Why a privacy list cannot be used.
#[derive(Debug)]
pub enum PolicyError {
    /// It is not TOML of the right shape.
    Syntax(toml::de::Error),
    /// A regular expression is wrong, too large, or matches nothing that could be hidden.
    Pattern(Box<regex::Error>),
    /// A pattern without literals would have to be tried on every value.
    NoLiterals(String),
    /// More than [`PATTERNS_MAX`] patterns.
    TooManyPatterns(usize),
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax(e) => write!(f, "the privacy list cannot be read: {e}"),
            Self::Pattern(e) => write!(f, "a pattern of the privacy list is wrong: {e}"),
            Self::NoLiterals(regex) => write!(f, "the pattern '{regex}' has no literals, or an empty one"),
            Self::TooManyPatterns(n) => write!(f, "{n} patterns are more than the {PATTERNS_MAX} allowed"),
        }
    }
}

impl std::error::Error for PolicyError {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    schemes: Vec<String>,
    headers: Headers,
    names: Names,
    query: Query,
    challenge: Keep,
    cookie: Cookie,
    certificate: Keep,
    protocols: Keep,
    values: Vec<Value>,
    attacks: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Headers {
    secret: Vec<String>,
    cookie: Vec<String>,
    set_cookie: Vec<String>,
    challenge: Vec<String>,
    url: Vec<String>,
    authority: Vec<String>,
    certificate: Vec<String>,
    protocols: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Names {
    patterns: Vec<String>,
    keep: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Query {
    secret: Vec<String>,
    keep: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keep {
    keep: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cookie {
    attributes: Vec<String>,
    keep: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Value {
    class: String,
    provider: Option<String>,
    regex: String,
    literals: Vec<String>,
    #[serde(default)]
    except: Vec<String>,
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
    /// In lower case; one of them is in each match.
    pub(super) literals: Vec<Vec<u8>>,
    /// In lower case; a secret that begins so is none.
    pub(super) except: Vec<Vec<u8>>,
}

/// Exact names, prefixes and patterns of names.
#[derive(Clone, Default)]
struct NameRules {
    exact: HashMap<Vec<u8>, Class>,
    prefixes: Vec<(Vec<u8>, Class)>,
}

impl NameRules {
    /// The last word on a name wins, so that what a user says stands above the list.
    fn set(&mut self, name: &str, class: Class) {
        let name = plain_form(name.as_bytes());
        match name.strip_suffix(b"*") {
            Some(prefix) => {
                // Exact entries under the prefix were meant for the old rule.
                self.exact.retain(|exact, _| !exact.starts_with(prefix));
                self.prefixes.insert(0, (prefix.to_vec(), class));
            }
            None => {
                self.exact.insert(name, class);
            }
        }
    }

    fn get(&self, plain: &[u8]) -> Option<Class> {
        let prefix =
            || self.prefixes.iter().find(|(prefix, _)| plain.starts_with(prefix)).map(|(_, class)| *class);
        self.exact.get(plain).copied().or_else(prefix)
    }
}

/// What is hidden. The default hides credentials, cookies, keys and secrets in targets; it can be added to and taken
/// from. Not printable: it is large.
#[derive(Clone)]
pub struct Policy {
    headers: NameRules,
    query: NameRules,
    names: RegexSet,
    pub(super) schemes: Vec<Vec<u8>>,
    pub(super) challenge_keep: Vec<Vec<u8>>,
    pub(super) cookie_attributes: Vec<Vec<u8>>,
    pub(super) cookie_keep: Vec<Vec<u8>>,
    pub(super) certificate_keep: Vec<Vec<u8>>,
    pub(super) protocols_keep: Vec<Vec<u8>>,
    pub(super) patterns: Vec<Pattern>,
    /// The list could not be read: every name is a secret's.
    pub(super) hide_all: bool,
    /// Patterns were added: short values of ordinary bytes may be secrets too.
    pub(super) short_values: bool,
}

impl Default for Policy {
    /// The compiled-in list. Should it not be readable, which a test excludes, then everything is hidden.
    fn default() -> Self {
        Self::parse(DEFAULT).unwrap_or_else(|_| Self::hide_all())
    }
}

impl Policy {
    /// Reads a list in the form of the compiled-in one.
    ///
    /// # Errors
    /// Where it is not of that form, or a pattern is of no use.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let file: File = toml::from_str(text).map_err(PolicyError::Syntax)?;
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
        let names = RegexSetBuilder::new(&file.names.patterns)
            .unicode(false)
            .size_limit(REGEX_SIZE_BYTES_MAX)
            .build()
            .map_err(|e| PolicyError::Pattern(Box::new(e)))?;
        let mut policy = Self {
            headers,
            query,
            names,
            schemes: lower(&file.schemes),
            challenge_keep: lower(&file.challenge.keep),
            cookie_attributes: lower(&file.cookie.attributes),
            cookie_keep: file.cookie.keep.iter().map(|name| name.as_bytes().to_vec()).collect(),
            certificate_keep: lower(&file.certificate.keep),
            protocols_keep: lower(&file.protocols.keep),
            patterns: Vec::new(),
            hide_all: false,
            short_values: false,
        };
        for value in file.values {
            policy.push(PatternKind::Secret, value)?;
        }
        for value in file.attacks {
            policy.push(PatternKind::Attack, value)?;
        }
        Ok(policy)
    }

    /// A policy by which every value is a secret.
    #[must_use]
    pub fn hide_all() -> Self {
        Self {
            headers: NameRules::default(),
            query: NameRules::default(),
            names: RegexSet::empty(),
            schemes: Vec::new(),
            challenge_keep: Vec::new(),
            cookie_attributes: Vec::new(),
            cookie_keep: Vec::new(),
            certificate_keep: Vec::new(),
            protocols_keep: Vec::new(),
            patterns: Vec::new(),
            hide_all: true,
            short_values: false,
        }
    }

    /// Hides the values of this header from now on; a `*` at the end stands for any rest.
    pub fn hide_header(&mut self, name: &str) {
        self.headers.set(name, Class::Secret);
    }

    /// Leaves the values of this header readable, except for what value patterns hit; a `*` at the end stands for any
    /// rest.
    pub fn show_header(&mut self, name: &str) {
        self.headers.set(name, Class::Plain);
    }

    /// Hides the values of this query key; a `*` at the end stands for any rest.
    pub fn hide_query_key(&mut self, key: &str) {
        self.query.set(key, Class::Secret);
    }

    /// Leaves the values of this query key readable, except for what value patterns hit.
    pub fn show_query_key(&mut self, key: &str) {
        self.query.set(key, Class::Plain);
    }

    /// Leaves the values of cookies of this name readable, except for what value patterns hit. Cookie names have case.
    pub fn show_cookie(&mut self, name: &str) {
        self.cookie_keep.push(name.as_bytes().to_vec());
    }

    /// Adds a value pattern: `regex` is tried on values that hold one of `literals`, without regard to case. Its
    /// first group is the secret, or all of the match where it has none.
    ///
    /// # Errors
    /// Where the pattern is wrong, has no literals, or is one too many.
    pub fn hide_values(&mut self, class: &str, regex: &str, literals: &[&str]) -> Result<(), PolicyError> {
        let value = Value {
            class: class.to_owned(),
            provider: None,
            regex: regex.to_owned(),
            literals: literals.iter().map(|l| (*l).to_owned()).collect(),
            except: Vec::new(),
        };
        self.short_values = true;
        self.push(PatternKind::Secret, value)
    }

    fn push(&mut self, kind: PatternKind, value: Value) -> Result<(), PolicyError> {
        if self.patterns.len() >= PATTERNS_MAX {
            return Err(PolicyError::TooManyPatterns(self.patterns.len() + 1));
        }
        if value.literals.is_empty() || value.literals.iter().any(String::is_empty) {
            return Err(PolicyError::NoLiterals(value.regex));
        }
        let regex = RegexBuilder::new(&value.regex)
            .unicode(false)
            .size_limit(REGEX_SIZE_BYTES_MAX)
            .build()
            .map_err(|e| PolicyError::Pattern(Box::new(e)))?;
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
    pub(super) fn header(&self, name: &[u8]) -> Class {
        if self.hide_all {
            return Class::Secret;
        }
        self.headers.get(&plain_form(name)).unwrap_or_else(|| self.by_pattern(name))
    }

    /// Whether the value of this query key is a secret. `key` has been percent-decoded.
    pub(super) fn query_key(&self, key: &[u8]) -> bool {
        if self.hide_all {
            return true;
        }
        let parts = parts_form(key);
        let rule = self.query.get(&plain_form(key)).or_else(|| self.query.get(&parts));
        rule.unwrap_or_else(|| self.by_pattern(key)) != Class::Plain
    }

    fn by_pattern(&self, name: &[u8]) -> Class {
        if self.names.is_match(&parts_form(name)) { Class::Secret } else { Class::Plain }
    }
}

fn lower(words: &[String]) -> Vec<Vec<u8>> {
    words.iter().map(|word| word.to_ascii_lowercase().into_bytes()).collect()
}

/// Lower case, `_` as `-`, without whitespace and control bytes at its ends.
fn plain_form(name: &[u8]) -> Vec<u8> {
    let odd = |b: &u8| b.is_ascii_whitespace() || b.is_ascii_control();
    let start = name.iter().position(|b| !odd(b)).unwrap_or(name.len());
    let end = name.iter().rposition(|b| !odd(b)).map_or(start, |i| i + 1);
    name[start..end].iter().map(|b| if *b == b'_' { b'-' } else { b.to_ascii_lowercase() }).collect()
}

/// As the plain form, with all separators as `-`, and one where a capital follows a small letter or digit.
fn parts_form(name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len() + 8);
    let mut before = b'-';
    for &byte in name {
        if byte.is_ascii_uppercase() && (before.is_ascii_lowercase() || before.is_ascii_digit()) {
            out.push(b'-');
        }
        before = byte;
        out.push(if byte.is_ascii_alphanumeric() || byte >= 0x80 { byte.to_ascii_lowercase() } else { b'-' });
    }
    while out.last() == Some(&b'-') {
        out.pop();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compiled_in_list_can_be_read() {
        let policy = Policy::parse(DEFAULT).unwrap();
        assert!(!policy.hide_all && !Policy::default().hide_all);
        assert!(policy.patterns.len() > 30);
    }

    #[test]
    fn a_wrong_list_is_an_error() {
        assert!(matches!(Policy::parse("x = 1"), Err(PolicyError::Syntax(_))));
        let mut policy = Policy::default();
        assert!(matches!(policy.hide_values("x", "(", &["x"]), Err(PolicyError::Pattern(_))));
        assert!(matches!(policy.hide_values("x", "x", &[]), Err(PolicyError::NoLiterals(_))));
        while policy.patterns.len() < PATTERNS_MAX {
            policy.hide_values("x", "xyz", &["xyz"]).unwrap();
        }
        assert!(matches!(policy.hide_values("x", "x", &["x"]), Err(PolicyError::TooManyPatterns(_))));
    }

    #[test]
    fn names_of_secrets() {
        let policy = Policy::default();
        for name in [
            "AUTHORIZATION",
            "X-Api-Key",
            "x_api_key",
            "X-My-Auth",
            "X-Foo-Token",
            "fooToken",
            "X-User-Password",
            "langfuse-anything",
            "X-Foo.Session",
            "X-Custom-Key",
            "X-Login-OTP",
            "Authorization ",
            "X-MyApp-AccessKey",
        ] {
            assert_eq!(policy.header(name.as_bytes()), Class::Secret, "{name}");
        }
        for name in [
            "Idempotency-Key",
            "Sec-WebSocket-Key",
            "X-Consumer-Username",
            "X-Request-Id",
            "ETag",
            "If-None-Match",
            "Author",
            "Sec-Fetch-Site",
            "X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id",
            "Traceparent",
            "Accept",
            "Cache-Control",
            "Keep-Alive",
            "X-Pinned",
            "Content-Type",
            "Access-Control-Allow-Credentials",
            "User-Agent",
            "Design",
            "X-Monkeys",
            "Sec-WebSocket-Accept",
            "X-Amz-Cf-Id",
            "Last-Event-Id",
        ] {
            assert_eq!(policy.header(name.as_bytes()), Class::Plain, "{name}");
        }
    }

    #[test]
    fn keys_of_secrets() {
        let policy = Policy::default();
        for key in [
            "token",
            "X-Amz-Signature",
            "access_token",
            "accessToken",
            "user[password]",
            "client_secret",
            "sig",
        ] {
            assert!(policy.query_key(key.as_bytes()), "{key}");
        }
        for key in ["q", "page", "sort_key", "client_id", "X-Amz-Date", "id", "", "monkeys", "design"] {
            assert!(!policy.query_key(key.as_bytes()), "{key}");
        }
    }

    #[test]
    fn a_user_has_the_last_word() {
        let mut policy = Policy::default();
        policy.show_header("X-Session-Id");
        policy.hide_header("X-Amz-Cf-Id");
        policy.hide_header("X-Corp-*");
        policy.show_query_key("state");
        assert_eq!(policy.header(b"x-session-id"), Class::Plain);
        assert_eq!(policy.header(b"x-amz-cf-id"), Class::Secret);
        assert_eq!(policy.header(b"x-corp-anything"), Class::Secret);
        assert!(!policy.query_key(b"state"));
    }
}
