//! Heads of messages: start-line and field lines as spans into one copy of their bytes.
//!
//! `httparse` reads what follows the grammar, in its strict default configuration: every lenience that it offers
//! would hide what an observer wants to tell (whitespace before the colon, folded lines, lines it would skip). What
//! it refuses is split by [`split`], which never fails and keeps every line. Limits: [`Limits::head_bytes_max`] is
//! kept by the caller, [`Limits::field_lines_max`] here.

use std::mem::MaybeUninit;

use headtrail_record::transaction::{Anomaly, Line, Span, StartLine, Version};
use httparse::ParserConfig;

use crate::framing::Facts;
use crate::limits::{FIELD_LINES_CEILING, Limits};

/// A head, whole or the beginning of one.
pub(crate) struct Head {
    pub(crate) text: Vec<u8>,
    pub(crate) start: StartLine,
    pub(crate) version: Version,
    pub(crate) lines: Vec<Line>,
    pub(crate) facts: Facts,
}

/// What `httparse` made of bytes.
pub(crate) enum Parsed {
    /// A whole head of so many bytes.
    Whole(Head, usize),
    /// No more than the beginning of one.
    Partial,
    /// Not what the grammar allows.
    Refused,
}

/// What bytes at the beginning of a message are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// A request.
    Request,
    /// A response.
    Response,
    /// Neither, of HTTP/1.
    Other,
    /// More bytes are needed to tell.
    Undecided,
}

/// Longest method that is taken for one, bytes. The longest registered ones have 17.
const METHOD_BYTES_MAX: usize = 32;

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Tells from the first line what a message is; `Undecided` only while the line has not ended.
pub(crate) fn kind(bytes: &[u8]) -> Kind {
    const PREFIX: &[u8] = b"HTTP/";
    if bytes.starts_with(PREFIX) {
        return response_kind(&bytes[PREFIX.len()..]);
    }
    if PREFIX.starts_with(bytes) {
        return Kind::Undecided;
    }
    let Some(end) = bytes.iter().take(METHOD_BYTES_MAX + 1).position(|&b| !is_token(b)) else {
        return if bytes.len() > METHOD_BYTES_MAX { Kind::Other } else { Kind::Undecided };
    };
    if end == 0 || bytes[end] != b' ' {
        return Kind::Other;
    }
    match memchr::memchr(b'\n', bytes) {
        None => Kind::Undecided,
        Some(lf) => {
            let line = trim_end(&bytes[..lf]);
            let odd = || begins_with_known_method(bytes) && odd_version(line);
            if request_version(&line[end.min(line.len())..]).is_some() || odd() {
                Kind::Request
            } else {
                Kind::Other
            }
        }
    }
}

/// The line ends with what is meant as a version of HTTP: another one, or misspelt.
fn odd_version(line: &[u8]) -> bool {
    let at = line.iter().rposition(|&b| b == b' ').map_or(0, |at| at + 1);
    line.get(at..at + 5).is_some_and(|name| name.eq_ignore_ascii_case(b"HTTP/"))
}

/// Length of a request of HTTP/0.9 (RFC 1945, 5): one line without a version.
pub(crate) fn simple_request(bytes: &[u8]) -> Option<usize> {
    let lf = memchr::memchr(b'\n', bytes)?;
    let target = trim_end(bytes[..lf].strip_prefix(b"GET ")?);
    (target.starts_with(b"/") && !target.iter().any(u8::is_ascii_whitespace)).then_some(lf + 1)
}

/// `rest` follows "HTTP/": a version, a space, three digits, then a space or the line's end (RFC 9112, 4).
fn response_kind(rest: &[u8]) -> Kind {
    const FORM: &[u8] = b"9.9 999";
    for (&form, &byte) in FORM.iter().zip(rest) {
        if !(if form == b'9' { byte.is_ascii_digit() } else { byte == form }) {
            return Kind::Other;
        }
    }
    match rest.get(FORM.len()) {
        None => Kind::Undecided,
        Some(b' ' | b'\r' | b'\n') => Kind::Response,
        Some(_) => Kind::Other,
    }
}

/// Methods in wide use (RFC 9110, 9.3; RFC 5789; RFC 4918).
const KNOWN_METHODS: [&[u8]; 16] = [
    b"GET",
    b"POST",
    b"HEAD",
    b"PUT",
    b"DELETE",
    b"PATCH",
    b"OPTIONS",
    b"TRACE",
    b"CONNECT",
    b"PROPFIND",
    b"PROPPATCH",
    b"MKCOL",
    b"COPY",
    b"MOVE",
    b"LOCK",
    b"REPORT",
];

/// The bytes begin with a method in wide use and a space.
pub(crate) fn begins_with_known_method(bytes: &[u8]) -> bool {
    KNOWN_METHODS.iter().any(|m| bytes.strip_prefix(*m).is_some_and(|rest| rest.starts_with(b" ")))
}

/// The bytes may be the beginning of a message whose first line was cut: method and space, or the status.
pub(crate) fn cut_kind(bytes: &[u8]) -> Kind {
    match kind(bytes) {
        Kind::Undecided if bytes.starts_with(b"HTTP/") => Kind::Other,
        Kind::Undecided if begins_with_known_method(bytes) => Kind::Request,
        Kind::Undecided => Kind::Other,
        known => known,
    }
}

fn trim_end(line: &[u8]) -> &[u8] {
    line.trim_ascii_end()
}

/// Version at the end of a request-line.
fn request_version(line: &[u8]) -> Option<Version> {
    let at = line.len().checked_sub(9)?;
    match &line[at..] {
        b" HTTP/1.0" => Some(Version::Http10),
        [b' ', b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0'..=b'9'] => Some(Version::Http11),
        _ => None,
    }
}

/// Where the first head in `bytes` ends, looking from `from` on: behind the first empty line.
pub(crate) fn head_end(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while let Some(found) = bytes.get(at..).and_then(|b| memchr::memchr(b'\n', b)) {
        let next = at + found + 1;
        match &bytes[next..] {
            [b'\n', ..] => return Some(next + 1),
            [b'\r', b'\n', ..] => return Some(next + 2),
            _ => at = next,
        }
    }
    None
}

fn span_in(base: &[u8], part: &[u8]) -> Span {
    // Parts that httparse makes up (an empty reason phrase) do not lie within `base`: they become empty spans.
    let start = (part.as_ptr() as usize).wrapping_sub(base.as_ptr() as usize);
    if part.is_empty() || start > base.len() { Span::default() } else { Span::of(start, start + part.len()) }
}

/// Reads a head that follows the grammar.
pub(crate) fn parse(bytes: &[u8], limits: &Limits) -> Parsed {
    let mut store = [const { MaybeUninit::uninit() }; FIELD_LINES_CEILING];
    let lines_max = limits.field_lines_max.min(FIELD_LINES_CEILING);
    let store = &mut store[..lines_max];
    let config = ParserConfig::default();
    if bytes.starts_with(b"HTTP/") {
        let mut response = httparse::Response::new(&mut []);
        match config.parse_response_with_uninit_headers(&mut response, bytes, store) {
            Ok(httparse::Status::Complete(len)) => {
                let (Some(status), Some(version)) = (response.code, response.version) else {
                    return Parsed::Refused;
                };
                let start = StartLine::Status { status, reason: reason(&bytes[..len]) };
                whole(&bytes[..len], start, version, response.headers)
            }
            Ok(httparse::Status::Partial) => Parsed::Partial,
            Err(_) => Parsed::Refused,
        }
    } else {
        let mut request = httparse::Request::new(&mut []);
        match config.parse_request_with_uninit_headers(&mut request, bytes, store) {
            Ok(httparse::Status::Complete(len)) => {
                let (Some(method), Some(target), Some(version)) =
                    (request.method, request.path, request.version)
                else {
                    return Parsed::Refused;
                };
                let method = span_in(bytes, method.as_bytes());
                let target = span_in(bytes, target.as_bytes());
                whole(&bytes[..len], StartLine::Request { method, target }, version, request.headers)
            }
            Ok(httparse::Status::Partial) => Parsed::Partial,
            Err(_) => Parsed::Refused,
        }
    }
}

fn whole(text: &[u8], start: StartLine, version: u8, headers: &[httparse::Header<'_>]) -> Parsed {
    let mut facts = Facts::default();
    let mut lines = Vec::with_capacity(headers.len());
    let mut bare = !ends_with_crlf(text, text.len());
    for header in headers {
        let name = span_in(text, header.name.as_bytes());
        facts.note(header.name.as_bytes(), header.value);
        bare |= !ends_with_crlf(text, name.start as usize);
        let value = if header.value.is_empty() {
            Span { start: name.start + name.len, len: 0 }
        } else {
            span_in(text, header.value)
        };
        lines.push(Line::new(name, value));
    }
    // The last field line, or the start-line, ends before the empty line.
    bare |= !ends_with_crlf(text, text.len().saturating_sub(if text.ends_with(b"\r\n") { 2 } else { 1 }));
    if bare {
        facts.anomalies.add(Anomaly::BareLf);
    }
    let version = if version == 0 { Version::Http10 } else { Version::Http11 };
    note_start(&mut facts, start, version);
    Parsed::Whole(Head { text: text.to_vec(), start, version, lines, facts }, text.len())
}

fn ends_with_crlf(text: &[u8], end: usize) -> bool {
    text.get(..end).is_some_and(|t| t.ends_with(b"\r\n"))
}

/// Reason phrase of a status-line; httparse gives none when it holds obs-text.
fn reason(text: &[u8]) -> Span {
    let line = memchr::memchr(b'\n', text).unwrap_or(text.len());
    let end = if line > 0 && text[line - 1] == b'\r' { line - 1 } else { line };
    const STATUS_BYTES: usize = "HTTP/1.1 200".len();
    let start = STATUS_BYTES + usize::from(text.get(STATUS_BYTES) == Some(&b' '));
    if start < end { Span::of(start, end) } else { Span::default() }
}

/// Splits any head, or the beginning of one (`cut`), into lines at LF and into names and values at the first colon.
/// A line without a colon is all name; a line that begins with whitespace belongs to the value before it.
pub(crate) fn split(text: &[u8], cut: bool, limits: &Limits) -> Head {
    let mut facts = Facts::default();
    let mut lines: Vec<Line> = Vec::new();
    let mut at = 0;
    let mut start = None;
    while at < text.len() {
        let (end, next) = match memchr::memchr(b'\n', &text[at..]) {
            Some(lf) => (at + lf, at + lf + 1),
            // The rest of a cut line tells nothing reliable, but a cut start-line is better than none.
            None if cut && start.is_some() => break,
            None => (text.len(), text.len()),
        };
        let end = if end > at && text[end - 1] == b'\r' {
            end - 1
        } else {
            if end < next {
                facts.anomalies.add(Anomaly::BareLf);
            }
            end
        };
        if end < next && memchr::memchr(b'\r', &text[at..end]).is_some() {
            facts.anomalies.add(Anomaly::BareCr);
        }
        if start.is_none() {
            start = Some(start_line(text, end));
        } else if end == at || !field_line(text, at, end, &mut lines, &mut facts, limits) {
            break;
        }
        at = next;
    }
    for line in &lines {
        facts.note(line.name.get(text), line.value.get(text));
    }
    let (start, version) = start.unwrap_or((
        StartLine::Request { method: Span::default(), target: Span::default() },
        Version::Http11,
    ));
    let line = &text[..memchr::memchr(b'\n', text).unwrap_or(0)];
    let known = |at: &[u8]| matches!(at, b"HTTP/1.0" | b"HTTP/1.1");
    let told = match start {
        StartLine::Request { .. } => trim_end(line).last_chunk::<8>(),
        StartLine::Status { .. } => line.first_chunk::<8>(),
    };
    if !line.is_empty() && !told.is_some_and(|version| known(version)) {
        facts.anomalies.add(Anomaly::VersionUnknown);
    }
    note_start(&mut facts, start, version);
    Head { text: text.to_vec(), start, version, lines, facts }
}

fn note_start(facts: &mut Facts, start: StartLine, version: Version) {
    if version == Version::Http10 {
        facts.note_http10();
    }
    if let StartLine::Status { status, .. } = start
        && !(100..600).contains(&status)
    {
        facts.anomalies.add(Anomaly::StatusOutOfRange);
    }
}

fn field_line(
    text: &[u8],
    at: usize,
    end: usize,
    lines: &mut Vec<Line>,
    facts: &mut Facts,
    limits: &Limits,
) -> bool {
    let line = &text[at..end];
    if let (b' ' | b'\t', Some(last)) = (line[0], lines.last_mut()) {
        // The fold stays in the value as it is.
        facts.anomalies.add(Anomaly::ObsFold);
        let whole = trimmed(text, last.value.start as usize, end);
        *last = Line::new(last.name, whole);
        return true;
    }
    if lines.len() >= limits.field_lines_max {
        facts.anomalies.add(Anomaly::TooManyLines);
        return false;
    }
    lines.push(match memchr::memchr(b':', line) {
        Some(colon) => {
            let name = &line[..colon];
            if name.ends_with(b" ") || name.ends_with(b"\t") {
                facts.anomalies.add(Anomaly::SpaceBeforeColon);
            }
            if !name.iter().all(|&b| is_token(b)) {
                facts.note_odd_name(name);
            }
            Line::new(Span::of(at, at + colon), trimmed(text, at + colon + 1, end))
        }
        None => Line::new(Span::of(at, end), Span { start: end as u32, len: 0 }),
    });
    true
}

/// Without optional whitespace at both ends (RFC 9110, 5.5).
fn trimmed(text: &[u8], mut start: usize, mut end: usize) -> Span {
    let blank = |b: u8| matches!(b, b' ' | b'\t' | b'\r' | b'\n');
    while start < end && blank(text[start]) {
        start += 1;
    }
    while end > start && blank(text[end - 1]) {
        end -= 1;
    }
    Span::of(start, end)
}

fn start_line(text: &[u8], end: usize) -> (StartLine, Version) {
    let line = &text[..end];
    if line.starts_with(b"HTTP/") {
        let digits = line.get(9..12).filter(|d| d.iter().all(u8::is_ascii_digit)).unwrap_or(b"000");
        let status = digits.iter().fold(0u16, |n, d| n * 10 + u16::from(d - b'0'));
        let version = if line.starts_with(b"HTTP/1.0") { Version::Http10 } else { Version::Http11 };
        return (StartLine::Status { status, reason: reason(text) }, version);
    }
    let stripped = trim_end(line);
    let version = request_version(stripped);
    let target_end = if version.is_some() { stripped.len() - " HTTP/1.1".len() } else { stripped.len() };
    let method_end = memchr::memchr(b' ', line).unwrap_or(target_end).min(target_end);
    let target = trimmed(text, method_end, target_end);
    (StartLine::Request { method: Span::of(0, method_end), target }, version.unwrap_or_default())
}

/// A whole head of any kind: by the grammar where it follows it, else split, which is named.
pub(crate) fn read(text: &[u8], limits: &Limits) -> Head {
    if let Parsed::Whole(head, len) = parse(text, limits)
        && len == text.len()
    {
        return head;
    }
    let mut head = split(text, false, limits);
    // Too many lines and folds are named for themselves; everything else that httparse refuses is malformed.
    let mut named = Vec::new();
    head.facts.anomalies.append_to(&mut named);
    if !named.contains(&Anomaly::ObsFold) && !named.contains(&Anomaly::TooManyLines) {
        head.facts.anomalies.add(Anomaly::MalformedHead);
    }
    head
}

/// Appends trailer field lines (RFC 9112, 7.1.2), which end with an empty line, to a message's text.
pub(crate) fn read_trailers(
    section: &[u8],
    text: &mut Vec<u8>,
    trailers: &mut Vec<Line>,
    limits: &Limits,
) -> Facts {
    let base = text.len();
    text.extend_from_slice(section);
    let mut facts = Facts::default();
    let mut at = base;
    while let Some(lf) = memchr::memchr(b'\n', &text[at..]) {
        let next = at + lf + 1;
        let end = if lf > 0 && text[next - 2] == b'\r' { next - 2 } else { next - 1 };
        if end == at || !field_line(text, at, end, trailers, &mut facts, limits) {
            break;
        }
        at = next;
    }
    facts
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;
