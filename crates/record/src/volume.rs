//! How much is recorded: rules that keep and drop transactions, sampling, and which lines stand on a record.
//!
//! Place in the data's way: around redaction. [`Volume::decide`] looks at the raw transaction, since rules may ask for
//! what redaction hides, and says only keep or drop; [`Volume::shape`] marks and trims the redacted one. Trimming comes
//! after redaction so that features are still taken from lines that are left out.
//!
//! Order: the first keep rule that matches, then drop rules, then health checks, then sampling. What is dropped is
//! counted by reason ([`Counts`]), what is kept as a part of more carries its rate.
//!
//! Invariants: the decision depends on settings, key and transaction alone. All transactions of a connection to which
//! the same rate applies share their fate, but for failures that [`Settings::sample_keep_errors`] keeps. Seen is kept
//! and dropped by reason.

mod health;
mod lines;
mod patterns;
mod sample;
mod settings;

use std::cell::OnceCell;

pub use health::{AGENTS, PATHS, RESPONSE_LINES};
pub use patterns::{Glob, HeaderTest, HostGlob, Network, PATTERN_BYTES_MAX, Statuses, Word};
pub use sample::{Rate, SampleKey};
pub use settings::{Headers, HealthChecks, Rule, Settings};

use crate::transaction::{Message, Phase, RawTransaction, Transaction};
use lines::Lines;

/// Most keep rules, and most drop rules.
pub const RULES_MAX: usize = 256;
/// Most values of one key of a rule, and most names of a list.
pub const VALUES_MAX: usize = 1024;

/// Why settings cannot be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SettingsError {
    /// More than [`RULES_MAX`] rules of a kind.
    TooManyRules,
    /// A rule without a condition; rules are counted from 1.
    EmptyRule(&'static str, usize),
    /// A drop rule has a rate.
    DropSample(usize),
    /// A list of more than [`VALUES_MAX`] entries.
    TooManyValues,
}

impl std::fmt::Display for SettingsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooManyRules => write!(f, "at most {RULES_MAX} rules are allowed"),
            Self::EmptyRule(kind, number) => {
                write!(f, "{kind} rule {number} names nothing that must match, and would match everything")
            }
            Self::DropSample(number) => write!(f, "drop rule {number} has a rate; only a keep rule can"),
            Self::TooManyValues => write!(f, "at most {VALUES_MAX} entries are allowed in a list"),
        }
    }
}

impl std::error::Error for SettingsError {}

/// Why a transaction is not recorded: an index into [`Volume::reasons`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reason(u16);

impl Reason {
    /// Index into [`Volume::reasons`].
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// What becomes of a transaction.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Verdict {
    /// It is recorded, and stands for one in 1/rate of its kind.
    Keep(Rate),
    /// It is not.
    Drop(Reason),
}

/// How many lines of a record were left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LeftOut {
    /// Of the request.
    pub request: u32,
    /// Of the responses, interim ones too.
    pub response: u32,
}

impl LeftOut {
    /// Whether all lines are there.
    #[must_use]
    pub fn is_none(self) -> bool {
        self == Self::default()
    }
}

/// Decides what is recorded.
pub struct Volume {
    settings: Settings,
    lines: Lines,
    key: SampleKey,
    reasons: Vec<String>,
    /// Nothing is set that could drop anything.
    passive: bool,
}

impl Volume {
    /// Takes settings that are within the limits.
    ///
    /// # Errors
    /// See [`SettingsError`].
    pub fn new(settings: Settings, key: SampleKey) -> Result<Self, SettingsError> {
        check(&settings)?;
        let mut reasons: Vec<String> = Vec::new();
        reasons.extend((1..=settings.drop.len()).map(|i| format!("drop_rule_{i}")));
        reasons.extend((1..=settings.keep.len()).map(|i| format!("keep_rule_{i}_sample")));
        reasons.extend(["health_check", "health_check_sample", "sample"].map(str::to_owned));
        let passive = settings.drop.is_empty()
            && settings.keep.iter().all(|rule| rule.sample.is_none_or(|rate| rate == Rate::ALL))
            && settings.health_checks == HealthChecks::Keep
            && settings.sample == Rate::ALL;
        Ok(Self { lines: Lines::new(&settings.headers), key, reasons, passive, settings })
    }

    /// The names of the reasons to drop: `drop_rule_1`, …, `keep_rule_1_sample`, …, `health_check`,
    /// `health_check_sample`, `sample`. Rules are counted from 1, as they stand in the config.
    #[must_use]
    pub fn reasons(&self) -> &[String] {
        &self.reasons
    }

    /// Whether the transaction is recorded.
    #[must_use]
    pub fn decide(&self, raw: &RawTransaction) -> Verdict {
        if self.passive { Verdict::Keep(Rate::ALL) } else { self.judge(&Facts::new(raw)) }
    }

    /// Marks and trims what is recorded: `rate` is the one of its verdict.
    pub fn shape(&self, transaction: &mut Transaction, rate: Rate) {
        transaction.sample_rate = rate;
        if self.lines.keep_all() {
            return;
        }
        let raw = &mut transaction.inner;
        let left_out = &mut transaction.lines_left_out;
        left_out.request += raw.request.as_mut().map_or(0, |message| self.lines.trim(message));
        for message in raw.interim.iter_mut().chain(&mut raw.response) {
            left_out.response += self.lines.trim(message);
        }
    }

    fn judge(&self, facts: &Facts<'_>) -> Verdict {
        let Settings { keep, drop, health_checks, health_check_sample, sample, .. } = &self.settings;
        let of_rules = drop.len() + keep.len();
        if let Some(i) = keep.iter().position(|rule| facts.match_rule(rule)) {
            return self.sampled(facts, keep[i].sample.unwrap_or(Rate::ALL), drop.len() + i);
        }
        if let Some(i) = drop.iter().position(|rule| facts.match_rule(rule)) {
            return Verdict::Drop(reason(i));
        }
        if *health_checks != HealthChecks::Keep && facts.is_answered_check() {
            return match health_checks {
                HealthChecks::Sample => self.sampled(facts, *health_check_sample, of_rules + 1),
                _ => Verdict::Drop(reason(of_rules)),
            };
        }
        self.sampled(facts, *sample, of_rules + 2)
    }

    fn sampled(&self, facts: &Facts<'_>, rate: Rate, index: usize) -> Verdict {
        if rate == Rate::ALL || (self.settings.sample_keep_errors && failed(facts.raw)) {
            Verdict::Keep(Rate::ALL)
        } else if rate.takes(sample::hash(self.key, facts.raw.connection)) {
            Verdict::Keep(rate)
        } else {
            Verdict::Drop(reason(index))
        }
    }
}

/// Rules are at most [`RULES_MAX`] of each kind, so that an index fits.
fn reason(index: usize) -> Reason {
    Reason(index as u16)
}

fn check(settings: &Settings) -> Result<(), SettingsError> {
    for (kind, rules) in [("keep", &settings.keep), ("drop", &settings.drop)] {
        if rules.len() > RULES_MAX {
            return Err(SettingsError::TooManyRules);
        }
        for (rule, number) in rules.iter().zip(1..) {
            if rule.is_empty() {
                return Err(SettingsError::EmptyRule(kind, number));
            }
            if kind == "drop" && rule.sample.is_some() {
                return Err(SettingsError::DropSample(number));
            }
            let Rule { host, method, path, status, client, user_agent, header, sample: _ } = rule;
            let longest =
                [host.len(), method.len(), path.len(), status.len(), client.len(), user_agent.len()];
            if longest.into_iter().chain([header.len()]).any(|count| count > VALUES_MAX) {
                return Err(SettingsError::TooManyValues);
            }
        }
    }
    let Headers { allow, deny } = &settings.headers;
    if allow.len().max(deny.len()) > VALUES_MAX { Err(SettingsError::TooManyValues) } else { Ok(()) }
}

/// Whether it is a failure that sampling may have to keep. The start of a long call is none: it may still be answered.
fn failed(raw: &RawTransaction) -> bool {
    let status = raw.response.as_ref().and_then(Message::status);
    !raw.incomplete.is_empty() || status.map_or(raw.phase != Phase::Start, |status| status >= 500)
}

/// Whether one of the given values matches; none given asks for nothing.
fn one_of<T>(given: &[T], matches: impl Fn(&T) -> bool) -> bool {
    given.is_empty() || given.iter().any(matches)
}

/// What rules ask for, each looked up once and only when asked for.
struct Facts<'a> {
    raw: &'a RawTransaction,
    target: &'a [u8],
    path: OnceCell<&'a [u8]>,
    host: OnceCell<Option<&'a [u8]>>,
    agent: OnceCell<Option<&'a [u8]>>,
}

impl<'a> Facts<'a> {
    fn new(raw: &'a RawTransaction) -> Self {
        let target = raw.request.as_ref().and_then(Message::target).unwrap_or_default();
        Self { raw, target, path: OnceCell::new(), host: OnceCell::new(), agent: OnceCell::new() }
    }

    /// The cheap ones first.
    fn match_rule(&self, rule: &Rule) -> bool {
        let request = self.raw.request.as_ref();
        let status = || self.raw.response.as_ref().and_then(Message::status);
        let method = || request.and_then(Message::method);
        one_of(&rule.status, |given| status().is_some_and(|status| given.holds(status)))
            && one_of(&rule.client, |given| given.holds(self.raw.source.ip))
            && one_of(&rule.method, |given| method().is_some_and(|method| given.is(method)))
            && one_of(&rule.path, |given| request.is_some() && given.matches(self.path()))
            && one_of(&rule.host, |given| self.host().is_some_and(|host| given.matches(host)))
            && one_of(&rule.user_agent, |given| self.agent().is_some_and(|agent| given.is_in(agent)))
            && one_of(&rule.header, |given| request.is_some_and(|request| given.matches(request.lines())))
    }

    fn is_answered_check(&self) -> bool {
        health::is_answered_check(self.raw, self.path(), self.agent())
    }

    /// The path of the target (RFC 9112, 3.2), without query and fragment; empty where it has none.
    fn path(&self) -> &'a [u8] {
        self.path.get_or_init(|| {
            let rest = match authority(self.target) {
                Some(authority) => &self.target[authority.end..],
                None => self.target,
            };
            let end = memchr::memchr2(b'?', b'#', rest).unwrap_or(rest.len());
            match &rest[..end] {
                // An absolute form without a path asks for the root.
                [] if rest.len() < self.target.len() => b"/",
                path => path,
            }
        })
    }

    /// The host that the request names (RFC 9112, 3.3), without the port.
    fn host(&self) -> Option<&'a [u8]> {
        *self.host.get_or_init(|| {
            let request = self.raw.request.as_ref()?;
            let named = match authority(self.target) {
                Some(authority) => {
                    let named = &self.target[authority];
                    &named[memchr::memrchr(b'@', named).map_or(0, |at| at + 1)..]
                }
                None => {
                    request
                        .lines()
                        .find(|(name, _)| *name == b":authority" || name.eq_ignore_ascii_case(b"host"))?
                        .1
                }
            };
            // The colons of an IPv6 address stand in brackets.
            let port = memchr::memrchr(b':', named).filter(|at| !named[*at..].contains(&b']'));
            Some(&named[..port.unwrap_or(named.len())])
        })
    }

    fn agent(&self) -> Option<&'a [u8]> {
        *self.agent.get_or_init(|| {
            let mut lines = self.raw.request.as_ref()?.lines();
            lines.find(|(name, _)| name.eq_ignore_ascii_case(b"user-agent")).map(|(_, value)| value)
        })
    }
}

/// Where the authority of an absolute form stands.
fn authority(target: &[u8]) -> Option<std::ops::Range<usize>> {
    if target.first() == Some(&b'/') {
        return None;
    }
    let start = memchr::memmem::find(target, b"://")? + 3;
    let len = target[start..].iter().position(|b| matches!(b, b'/' | b'?' | b'#'));
    Some(start..len.map_or(target.len(), |len| start + len))
}

/// How many transactions had which fate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Counts {
    kept: u64,
    dropped: Vec<u64>,
}

impl Counts {
    /// All zero, for the reasons of `volume`.
    #[must_use]
    pub fn new(volume: &Volume) -> Self {
        Self { kept: 0, dropped: vec![0; volume.reasons.len()] }
    }

    /// Counts a transaction.
    pub fn add(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Keep(_) => self.kept += 1,
            Verdict::Drop(reason) => {
                if let Some(count) = self.dropped.get_mut(reason.index()) {
                    *count += 1;
                }
            }
        }
    }

    /// Transactions that were kept.
    #[must_use]
    pub fn kept(&self) -> u64 {
        self.kept
    }

    /// Transactions that were dropped, in the order of [`Volume::reasons`].
    #[must_use]
    pub fn dropped(&self) -> &[u64] {
        &self.dropped
    }

    /// All transactions.
    #[must_use]
    pub fn seen(&self) -> u64 {
        self.kept + self.dropped.iter().sum::<u64>()
    }
}

#[cfg(test)]
mod tests;
