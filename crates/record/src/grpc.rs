//! Calls of gRPC: what their field lines say (PROTOCOL-HTTP2 and PROTOCOL-WEB of the gRPC project).
//!
//! Which lines count is told by the Content-Type as it came; names and texts are taken from what redaction has left, so that
//! none of them holds what the record hides. The status of gRPC-Web stands in the body, behind the last message, and
//! bodies are not kept: it is known only where the head holds it (a response without messages).

use std::borrow::Cow;

use crate::transaction::{Line, Message, RawTransaction};

/// Longest name of a service, a method or an encoding, bytes; a longer one is None.
pub const NAME_BYTES_MAX: usize = 256;
/// Longest status message, bytes; a longer one is cut.
pub const MESSAGE_BYTES_MAX: usize = 1024;

/// A call of gRPC. What was not seen, or is not what the protocol allows, is None.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Grpc {
    /// Service with its package, from the path `/package.Service/Method`.
    pub service: Option<String>,
    /// Method.
    pub method: Option<String>,
    /// Status code, from the trailers, or from the head where there are none.
    pub status: Option<u32>,
    /// What the server says of the status, percent-decoded and redacted.
    pub message: Option<String>,
    /// Time that the client gives the call, nanoseconds.
    pub timeout_ns: Option<u64>,
    /// Compression of the request's messages.
    pub encoding: Option<String>,
    /// gRPC-Web.
    pub web: bool,
}

/// Names of the status codes from 0 on (statuscodes.md of the gRPC project).
const STATUS_NAMES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

impl Grpc {
    /// Name of the status, where its code has one.
    #[must_use]
    pub fn status_name(&self) -> Option<&'static str> {
        STATUS_NAMES.get(self.status? as usize).copied()
    }
}

/// Whether it is a call of gRPC, and then whether of gRPC-Web. The request's word counts: an error page of a gateway in front is
/// an answer to a call, too.
pub(crate) fn is_web(raw: &RawTransaction) -> Option<bool> {
    let said = raw.request.as_ref().and_then(content_type);
    let value = said.or_else(|| raw.response.as_ref().and_then(content_type))?;
    let rest = strip_prefix(value, b"application/grpc")?;
    let ends = |rest: &[u8]| matches!(rest.trim_ascii_start(), [] | [b'+' | b';', ..]);
    if ends(rest) {
        return Some(false);
    }
    let rest = strip_prefix(rest, b"-web")?;
    let rest = strip_prefix(rest, b"-text").unwrap_or(rest);
    ends(rest).then_some(true)
}

/// The first Content-Type. Most lines cost one comparison.
fn content_type(message: &Message) -> Option<&[u8]> {
    const NAME: &[u8] = b"content-type";
    let is = |line: &&Line| {
        line.name.len as usize == NAME.len() && message.bytes(line.name).eq_ignore_ascii_case(NAME)
    };
    message.lines.iter().find(is).filter(|line| !line.value.is_unseen()).map(|line| message.bytes(line.value))
}

fn strip_prefix<'v>(value: &'v [u8], prefix: &[u8]) -> Option<&'v [u8]> {
    let (start, rest) = value.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// The facts but for the message, of a transaction that has been redacted.
pub(crate) fn facts(redacted: &RawTransaction, web: bool) -> Grpc {
    let request = redacted.request.as_ref();
    let path = request.and_then(Message::target).and_then(names);
    let of_request = |name| request.and_then(|m| only(m, &m.lines, name));
    Grpc {
        service: path.map(|(service, _)| service.to_owned()),
        method: path.map(|(_, method)| method.to_owned()),
        status: redacted.response.as_ref().and_then(|m| ending(m, b"grpc-status")).and_then(number),
        message: None,
        timeout_ns: of_request(b"grpc-timeout").and_then(timeout_ns),
        encoding: of_request(b"grpc-encoding").and_then(|value| name(value, b"-._+")).map(str::to_owned),
        web,
    }
}

/// The message of the status, percent-decoded.
pub(crate) fn message(response: &Message) -> Option<Cow<'_, [u8]>> {
    Some(percent_decoded(ending(response, b"grpc-message")?))
}

/// The value of what ends a call, from the trailers, or from the head where there are none of it.
fn ending<'m>(response: &'m Message, name: &[u8]) -> Option<&'m [u8]> {
    only(response, &response.trailers, name).or_else(|| only(response, &response.lines, name))
}

/// The value of the only line of that (lower-case) name.
fn only<'m>(message: &'m Message, lines: &[Line], name: &[u8]) -> Option<&'m [u8]> {
    let mut found = lines.iter().filter(|line| message.bytes(line.name).eq_ignore_ascii_case(name));
    let value = found.next().filter(|line| !line.value.is_unseen())?.value;
    found.next().is_none().then(|| message.bytes(value))
}

/// Service and method of a path.
fn names(path: &[u8]) -> Option<(&str, &str)> {
    let path = path.strip_prefix(b"/")?;
    // Some put prefixes with slashes of their own in front.
    let slash = memchr::memrchr(b'/', path)?;
    Some((name(&path[..slash], b"-._~$/")?, name(&path[slash + 1..], b"-._~$")?))
}

/// A name of letters, digits and some other characters.
fn name<'v>(value: &'v [u8], others: &[u8]) -> Option<&'v str> {
    let allowed = |b: &u8| b.is_ascii_alphanumeric() || others.contains(b);
    let fits = (1..=NAME_BYTES_MAX).contains(&value.len()) && value.iter().all(allowed);
    std::str::from_utf8(value).ok().filter(|_| fits)
}

fn number(digits: &[u8]) -> Option<u32> {
    let all = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| all)?.parse().ok()
}

/// Up to eight digits and a unit. What does not fit into a signed number of stores (292 years) is None.
fn timeout_ns(value: &[u8]) -> Option<u64> {
    const SECOND_NS: u64 = 1_000_000_000;
    let (unit, digits) = value.split_last()?;
    let unit_ns = match unit {
        b'H' => 3600 * SECOND_NS,
        b'M' => 60 * SECOND_NS,
        b'S' => SECOND_NS,
        b'm' => 1_000_000,
        b'u' => 1_000,
        b'n' => 1,
        _ => return None,
    };
    let count = number(digits).filter(|_| digits.len() <= 8)?;
    u64::from(count).checked_mul(unit_ns).filter(|&ns| i64::try_from(ns).is_ok())
}

/// Decodes `%` and two digits; what is none of that stays, for the protocol wants no error of it.
fn percent_decoded(value: &[u8]) -> Cow<'_, [u8]> {
    if !value.contains(&b'%') {
        return Cow::Borrowed(value);
    }
    let digit = |b: &u8| char::from(*b).to_digit(16).map(|n| n as u8);
    let mut decoded = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte == b'%'
            && let [high, low, after @ ..] = after
            && let (Some(high), Some(low)) = (digit(high), digit(low))
        {
            decoded.push(high << 4 | low);
            rest = after;
        } else {
            decoded.push(byte);
        }
    }
    Cow::Owned(decoded)
}

#[cfg(test)]
#[path = "grpc_tests.rs"]
mod tests;
