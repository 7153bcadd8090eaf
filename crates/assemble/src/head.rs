//! Heads of messages: start-line and field lines as spans into one copy of their bytes.
//!
//! `httparse` reads what follows the grammar, in its strict default configuration: every lenience that it offers
//! would hide what an observer wants to tell (whitespace before the colon, folded lines, lines it would skip). What
//! it refuses is split by [`split`], which never fails and keeps every line. Limits: [`Limits::head_bytes_max`] is
//! kept by the caller, [`Limits::field_lines_max`] here.

use std::mem::MaybeUninit;

use headtrail_record::transaction::{Anomaly, Line, Span, StartLine, Version};
use httparse::ParserConfig;

use crate::framing::{Anomalies, Facts};
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

pub(crate) fn is_token(byte: u8) -> bool {
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
    let known = begins_with_known_method(bytes);
    if end == 0 || !(bytes[end] == b' ' || (known && is_blank(bytes[end]))) {
        return Kind::Other;
    }
    let Some(lf) = memchr::memchr(b'\n', bytes) else { return Kind::Undecided };
    let version =
        version_at_end(trim_end(&bytes[..lf])).filter(|at| *at >= end).map(|at| trim_end(&bytes[at..lf]));
    // Behind a method that nobody knows only a version of HTTP/1, or what is meant as one, makes a request: the preface of
    // HTTP/2, and what is left of it where its beginning was not seen, is none (RFC 9113, 3.4).
    match version {
        Some([b'H', b'T', b'T', b'P', b'/', b'1', b'.', ..]) => Kind::Request,
        Some(_) if known => Kind::Request,
        _ => Kind::Other,
    }
}

/// Whitespace that readers of request-lines accept for a space (RFC 9112, 3).
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | 0x0b | 0x0c | b'\r')
}

/// Where the last word of a request-line begins, if it is meant as a version of HTTP: any, or a misspelt one.
fn version_at_end(line: &[u8]) -> Option<usize> {
    let at = line.iter().rposition(|&b| is_blank(b))? + 1;
    line.get(at..at + 5)?.eq_ignore_ascii_case(b"HTTP/").then_some(at)
}

/// Length of a request-line without a version: a whole request of HTTP/0.9 (RFC 1945, 5).
pub(crate) fn simple_request(bytes: &[u8]) -> Option<usize> {
    let lf = memchr::memchr(b'\n', bytes)?;
    let method = known_method(bytes)?;
    let target = trim_end(bytes[..lf].get(method.len() + 1..)?);
    let whole =
        (target.starts_with(b"/") || target.starts_with(b"http://")) && !target.iter().any(|&b| is_blank(b));
    whole.then_some(lf + 1)
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

/// The method in wide use that the bytes begin with, and a blank.
fn known_method(bytes: &[u8]) -> Option<&'static [u8]> {
    let is_it =
        |m: &&[u8]| bytes.strip_prefix(*m).is_some_and(|rest| rest.first().is_some_and(|&b| is_blank(b)));
    KNOWN_METHODS.into_iter().find(is_it)
}

/// There is one.
pub(crate) fn begins_with_known_method(bytes: &[u8]) -> bool {
    known_method(bytes).is_some()
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

fn version(word: &[u8]) -> Version {
    match word {
        b"HTTP/1.0" => Version::Http10,
        b"HTTP/1.1" => Version::Http11,
        _ => Version::Other,
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
            start = Some(start_line(text, end, text[next - 1] == b'\n'));
        } else if end == at {
            break;
        } else {
            field_line(text, at, end, &mut lines, &mut facts);
        }
        at = next;
    }
    for line in &lines {
        facts.note_any(line.name.get(text), line.value.get(text));
    }
    keep_limit(&mut lines, 0, &mut facts, limits);
    let (start, version) = start.unwrap_or((
        StartLine::Request { method: Span::default(), target: Span::default() },
        Version::Http11,
    ));
    note_start(&mut facts, start, version);
    Head { text: text.to_vec(), start, version, lines, facts }
}

/// Leaves out what is more than the limit, when all lines have told what they say of the body.
fn keep_limit(lines: &mut Vec<Line>, before: usize, facts: &mut Facts, limits: &Limits) {
    if lines.len() - before > limits.field_lines_max {
        facts.anomalies.add(Anomaly::TooManyLines);
        lines.truncate(before + limits.field_lines_max);
        lines.shrink_to_fit();
    }
}

fn note_start(facts: &mut Facts, start: StartLine, version: Version) {
    if version == Version::Http10 {
        facts.note_http10();
    }
    if matches!(version, Version::Http09 | Version::Other) {
        facts.anomalies.add(Anomaly::VersionUnknown);
    }
    if let StartLine::Status { status, .. } = start
        && !(100..600).contains(&status)
    {
        facts.anomalies.add(Anomaly::StatusOutOfRange);
    }
}

fn field_line(text: &[u8], at: usize, end: usize, lines: &mut Vec<Line>, facts: &mut Facts) {
    let line = &text[at..end];
    if let (b' ' | b'\t', Some(last)) = (line[0], lines.last_mut()) {
        // The fold stays in the value as it is.
        facts.anomalies.add(Anomaly::ObsFold);
        let whole = trimmed(text, last.value.start as usize, end);
        *last = Line::new(last.name, whole);
        return;
    }
    lines.push(match memchr::memchr(b':', line) {
        Some(colon) => {
            if line[..colon].ends_with(b" ") || line[..colon].ends_with(b"\t") {
                facts.anomalies.add(Anomaly::SpaceBeforeColon);
            }
            Line::new(Span::of(at, at + colon), trimmed(text, at + colon + 1, end))
        }
        None => Line::new(Span::of(at, end), Span { start: end as u32, len: 0 }),
    });
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

/// `whole`: its end was seen.
/// Where the target ends in a request-line that was cut: before the beginning of a version.
fn cut_target_end(line: &[u8]) -> usize {
    let mut blanks = line.iter().enumerate().filter(|&(_, &b)| is_blank(b)).map(|(at, _)| at);
    match (blanks.next(), blanks.next_back()) {
        (Some(_), Some(last)) if b"HTTP/1.1".starts_with(&line[last + 1..]) => last,
        _ => line.len(),
    }
}

fn start_line(text: &[u8], end: usize, whole: bool) -> (StartLine, Version) {
    let line = &text[..end];
    if line.starts_with(b"HTTP/") {
        let digits = line.get(9..12).filter(|d| d.iter().all(u8::is_ascii_digit)).unwrap_or(b"000");
        let status = digits.iter().fold(0u16, |n, d| n * 10 + u16::from(d - b'0'));
        let version = version(line.get(..8).unwrap_or(line));
        return (StartLine::Status { status, reason: reason(text) }, version);
    }
    let stripped = trim_end(line);
    let told = version_at_end(stripped).map(|at| (at, version(&stripped[at..])));
    let (target_end, version) = match told.filter(|told| whole || told.1 != Version::Other) {
        Some(told) => told,
        None if whole => (stripped.len(), Version::Http09),
        None => (cut_target_end(stripped), Version::default()),
    };
    let method_end = line.iter().position(|&b| is_blank(b)).unwrap_or(target_end).min(target_end);
    let target = trimmed(text, method_end, target_end);
    (StartLine::Request { method: Span::of(0, method_end), target }, version)
}

/// A whole head of any kind: by the grammar where it follows it, else split, which is named.
pub(crate) fn read(text: &[u8], limits: &Limits) -> Head {
    if let Parsed::Whole(head, len) = parse(text, limits)
        && len == text.len()
    {
        return head;
    }
    let mut head = split(text, false, limits);
    if is_malformed(&head) || head.facts.anomalies == Anomalies::default() {
        head.facts.anomalies.add(Anomaly::MalformedHead);
    }
    head
}

/// There is more in it against the grammar than what is named for itself: folds, the version, whitespace before colons,
/// bare CR and LF, the number of lines.
fn is_malformed(head: &Head) -> bool {
    let is_control = |b: &u8| b.is_ascii_control() && !matches!(b, b'\t' | b'\r' | b'\n');
    let start = match head.start {
        // A request-line alone is a request of HTTP/0.9.
        StartLine::Request { target, .. } if head.version == Version::Http09 => {
            !head.lines.is_empty() || target.get(&head.text).iter().any(is_control)
        }
        StartLine::Request { target, .. } => {
            let line = head.text.split(|&b| b == b'\n').next().unwrap_or(&[]);
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            target.len == 0 || line.split(|&b| b == b' ').count() != 3 || line.iter().any(is_control)
        }
        StartLine::Status { reason, .. } => reason.get(&head.text).iter().any(is_control),
    };
    start
        || head.lines.iter().any(|line| {
            let name = line.name.get(&head.text);
            let blanks = name.iter().rev().take_while(|&&b| matches!(b, b' ' | b'\t')).count();
            let name = &name[..name.len() - blanks];
            // Without a colon the value stands at the end of the name.
            let colon = line.value.start != line.name.start + line.name.len;
            !colon
                || name.is_empty()
                || !name.iter().all(|&b| is_token(b))
                || line.value.get(&head.text).iter().any(is_control)
        })
}

/// Appends trailer field lines (RFC 9112, 7.1.2), which end with an empty line, to a message's text.
pub(crate) fn read_trailers(
    section: &[u8],
    text: &mut Vec<u8>,
    trailers: &mut Vec<Line>,
    limits: &Limits,
) -> Anomalies {
    let base = text.len();
    let before = trailers.len();
    text.extend_from_slice(section);
    let mut facts = Facts::default();
    let mut at = base;
    while let Some(lf) = memchr::memchr(b'\n', &text[at..]) {
        let next = at + lf + 1;
        let end = if lf > 0 && text[next - 2] == b'\r' { next - 2 } else { next - 1 };
        if end == next - 1 {
            facts.anomalies.add(Anomaly::BareLf);
        }
        if end == at {
            break;
        }
        field_line(text, at, end, trailers, &mut facts);
        at = next;
    }
    let mut framing = Facts::default();
    for line in trailers.iter().skip(before) {
        framing.note_any(line.name.get(text), line.value.get(text));
    }
    if framing.frames() {
        facts.anomalies.add(Anomaly::TrailerFraming);
    }
    keep_limit(trailers, before, &mut facts, limits);
    facts.anomalies
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;
