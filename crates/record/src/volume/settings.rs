//! What a user may set of the volume: the section `[volume]` of the config.

use std::fmt;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

use super::patterns::{Glob, HeaderTest, HostGlob, Network, Statuses, Word};
use super::sample::Rate;

/// What becomes of answered health checks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthChecks {
    /// They are recorded as everything else.
    #[default]
    Keep,
    /// They are counted, not recorded.
    Drop,
    /// Those of a part of the connections are recorded.
    Sample,
}

/// A rule. Every key that is given must match; within one key, one of its values.
#[derive(Clone, PartialEq, Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rule {
    /// Host that the request names, without the port; `*` stands for any run of characters.
    #[serde(deserialize_with = "one_or_many")]
    pub host: Vec<HostGlob>,
    /// Method, as on the wire.
    #[serde(deserialize_with = "one_or_many")]
    pub method: Vec<Word>,
    /// Path of the target, without the query, as on the wire; `*` stands for any run of characters, `/` too.
    #[serde(deserialize_with = "one_or_many")]
    pub path: Vec<Glob>,
    /// Status of the final response.
    #[serde(deserialize_with = "one_or_many")]
    pub status: Vec<Statuses>,
    /// Network of the client's address.
    #[serde(deserialize_with = "one_or_many")]
    pub client: Vec<Network>,
    /// Text somewhere in the first User-Agent line of the request, without regard to case.
    #[serde(deserialize_with = "one_or_many")]
    pub user_agent: Vec<Word>,
    /// `Name`: the request has such a line. `Name: value`: it has one with just this value.
    #[serde(deserialize_with = "one_or_many")]
    pub header: Vec<HeaderTest>,
    /// Keep rules only: the part of the connections whose matching transactions are kept.
    pub sample: Option<Rate>,
}

impl Rule {
    /// Whether it says nothing about what it matches.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Self { host, method, path, status, client, user_agent, header, sample: _ } = self;
        host.is_empty()
            && method.is_empty()
            && path.is_empty()
            && status.is_empty()
            && client.is_empty()
            && user_agent.is_empty()
            && header.is_empty()
    }
}

/// Which field lines (and trailer field lines) stand on the record. A name may end in `*`.
#[derive(Clone, PartialEq, Eq, Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Headers {
    /// Where not empty: these alone.
    pub allow: Vec<String>,
    /// Never these.
    pub deny: Vec<String>,
}

/// The section `[volume]`.
#[derive(Clone, PartialEq, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// What matches one of these is kept, whatever else is set.
    pub keep: Vec<Rule>,
    /// What matches one of these is not recorded.
    pub drop: Vec<Rule>,
    /// Which lines stand on the record.
    pub headers: Headers,
    /// Answered health checks.
    pub health_checks: HealthChecks,
    /// With `health_checks = "sample"`: of which part of the connections they are kept.
    pub health_check_sample: Rate,
    /// The part of the connections that is recorded.
    pub sample: Rate,
    /// No sampling leaves out a transaction that failed: status 500 or above, or not whole.
    pub sample_keep_errors: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            keep: Vec::new(),
            drop: Vec::new(),
            headers: Headers::default(),
            health_checks: HealthChecks::Keep,
            health_check_sample: Rate::ONE_IN_HUNDRED,
            sample: Rate::ALL,
            sample_keep_errors: false,
        }
    }
}

/// Reads `"a"`, `5` or `["a", "b"]`.
fn one_or_many<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err = String>,
{
    deserializer.deserialize_any(OneOrMany(std::marker::PhantomData))
}

struct OneOrMany<T>(std::marker::PhantomData<T>);

impl<'de, T: FromStr<Err = String>> Visitor<'de> for OneOrMany<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text or a list of texts")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Vec<T>, E> {
        text.parse().map(|one| vec![one]).map_err(E::custom)
    }

    // A status may be written as a number.
    fn visit_i64<E: Error>(self, number: i64) -> Result<Vec<T>, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Vec<T>, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
        let mut all = Vec::new();
        while let Some(Element(one)) = list.next_element()? {
            all.push(one);
        }
        Ok(all)
    }
}

/// One of a list, so that an error has its place.
struct Element<T>(T);

impl<'de, T: FromStr<Err = String>> Deserialize<'de> for Element<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let one = deserializer.deserialize_any(OneOrMany::<T>(std::marker::PhantomData))?;
        one.into_iter().next().map(Element).ok_or_else(|| D::Error::custom("an empty list in a list"))
    }
}
