//! What a term asks of a value.
//!
//! A number, an address, a network and a date, which may be a whole day, are all spans of values, so that one comparison does for all:
//! `:` asks whether a value lies in the span, `>` whether it lies behind it.

use std::net::{IpAddr, Ipv6Addr};
use std::ops::{Bound, RangeBounds};

use serde_json::Value;

use super::date;
use super::error::shown;
use super::field::Kind;
use super::pattern::Pattern;

/// A condition on one value.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Test {
    /// It is there.
    There,
    /// It is this.
    Flag(bool),
    /// It looks so.
    Text(Pattern),
    /// It lies between these, by code points.
    TextSpan(Span<String>),
    Whole(Span<i128>),
    Real(Span<f64>),
    /// As numbers; addresses of IPv4 lie where IPv6 has them.
    Address(Span<u128>),
    /// Nanoseconds since the Unix epoch.
    Time(Span<i128>),
}

pub(super) type Span<T> = (Bound<T>, Bound<T>);

/// An end of a span, as written: None is `*`.
pub(super) type End<'a> = Option<(Compare, &'a str)>;

/// On which side of a word the values lie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Compare {
    Above,
    From,
    Below,
    To,
}

impl Test {
    /// The value is this one, or lies in it.
    pub(super) fn equal(kind: Kind, word: &str) -> Result<Self, String> {
        if kind == Kind::Text {
            return Ok(Self::Text(Pattern::literal(word)));
        }
        if kind == Kind::Flag {
            let flag = word.parse().map_err(|_| format!("{} is neither true nor false", shown(word)))?;
            return Ok(Self::Flag(flag));
        }
        Self::between(kind, Some((Compare::From, word)), Some((Compare::To, word)))
    }

    /// The value lies between these.
    pub(super) fn between(kind: Kind, low: End<'_>, high: End<'_>) -> Result<Self, String> {
        Ok(match kind {
            Kind::Text => Self::TextSpan(span(low, high, |word| Ok((word.to_owned(), word.to_owned())))?),
            Kind::Whole => Self::Whole(span(low, high, |word| whole(word).map(|number| (number, number)))?),
            Kind::Real => Self::Real(span(low, high, |word| real(word).map(|number| (number, number)))?),
            Kind::Address => Self::Address(span(low, high, addresses)?),
            Kind::Time => Self::Time(span(low, high, date::span)?),
            Kind::Flag => return Err("true and false have no order".to_owned()),
        })
    }

    pub(super) fn passes(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::There, _) => true,
            (Self::Flag(flag), Value::Bool(value)) => flag == value,
            // What is flattened is text, however it was written.
            (Self::Text(_) | Self::TextSpan(_), Value::Number(number)) => {
                self.passes_text(&number.to_string())
            }
            (Self::Text(_) | Self::TextSpan(_), Value::Bool(flag)) => self.passes_text(&flag.to_string()),
            (_, Value::String(text)) => self.passes_text(text),
            (Self::Whole(span), Value::Number(number)) => {
                let whole = number.as_u64().map(i128::from).or_else(|| number.as_i64().map(i128::from));
                whole.is_some_and(|number| span.contains(&number))
            }
            (Self::Real(span), Value::Number(number)) => {
                number.as_f64().is_some_and(|number| span.contains(&number))
            }
            _ => false,
        }
    }

    fn passes_text(&self, text: &str) -> bool {
        match self {
            Self::There => true,
            Self::Text(pattern) => pattern.matches(text),
            Self::TextSpan((low, high)) => {
                let ends = (low.as_ref().map(String::as_str), high.as_ref().map(String::as_str));
                RangeBounds::<str>::contains(&ends, text)
            }
            Self::Address(span) => text.parse().is_ok_and(|address| span.contains(&number(address))),
            Self::Time(span) => date::span(text).is_ok_and(|(time, _)| span.contains(&time)),
            Self::Flag(_) | Self::Whole(_) | Self::Real(_) => false,
        }
    }
}

/// A span whose ends are spans themselves, lowest and highest value: `[2026-11 TO 2026-11]` is the whole of November.
fn span<T>(
    low: End<'_>,
    high: End<'_>,
    read: impl Fn(&str) -> Result<(T, T), String>,
) -> Result<Span<T>, String> {
    let bound = |end: End<'_>| {
        let Some((compare, word)) = end else { return Ok(Bound::Unbounded) };
        let (lowest, highest) = read(word)?;
        Ok::<_, String>(match compare {
            Compare::Above => Bound::Excluded(highest),
            Compare::From => Bound::Included(lowest),
            Compare::Below => Bound::Excluded(lowest),
            Compare::To => Bound::Included(highest),
        })
    };
    Ok((bound(low)?, bound(high)?))
}

fn whole(word: &str) -> Result<i128, String> {
    let digits = word.strip_prefix('-').unwrap_or(word);
    let right = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    Some(word)
        .filter(|_| right)
        .and_then(|word| word.parse().ok())
        .ok_or_else(|| format!("{} is no whole number", shown(word)))
}

fn real(word: &str) -> Result<f64, String> {
    let number = word.parse().ok().filter(|number: &f64| number.is_finite());
    number.ok_or_else(|| format!("{} is no number", shown(word)))
}

/// The number of an address. Those of IPv4 lie where IPv6 maps them, so that both have one order, which is that of Lucene.
fn number(address: IpAddr) -> u128 {
    u128::from(match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    })
}

/// The first and last address of a network, or of one address.
fn addresses(word: &str) -> Result<(u128, u128), String> {
    let wrong = || {
        format!(
            "{} is no address, such as 10.0.0.7 or \"2001:db8::1\", and no network, such as 10.0.0.0/8",
            shown(word)
        )
    };
    let (address, prefix) =
        word.split_once('/').map_or((word, None), |(address, prefix)| (address, Some(prefix)));
    let address: IpAddr = address.parse().map_err(|_| wrong())?;
    let first = number(address);
    let Some(prefix) = prefix else { return Ok((first, first)) };
    let (width, before) = if address.is_ipv4() { (32, 96) } else { (Ipv6Addr::BITS, 0) };
    let digits = !prefix.is_empty() && prefix.bytes().all(|b| b.is_ascii_digit());
    let length: u32 = Some(prefix)
        .filter(|_| digits)
        .and_then(|prefix| prefix.parse().ok())
        .filter(|l| *l <= width)
        .ok_or_else(wrong)?;
    let hosts = u128::MAX.unbounded_shr(before + length);
    if first & hosts != 0 {
        return Err(format!("{} is no network: it has bits behind its prefix", shown(word)));
    }
    Ok((first, first | hosts))
}
