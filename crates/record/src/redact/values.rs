//! Where the secrets are in values of a known form. Each function appends to a list of ranges; what it cannot
//! read it takes for a secret as a whole.

use super::policy::{Key, Policy};
use super::scan::{self, Range};
use super::settings::Mode;

/// Most pieces of one URL that are looked at one by one; what comes after them is hidden as a whole.
const PIECES_MAX: usize = 1024;

/// Credentials: all is hidden but a known scheme in front, which is returned (RFC 9110, 11.4).
pub(super) fn secret<'v>(value: &'v [u8], policy: &Policy, mode: Mode, ranges: &mut Vec<Range>) -> &'v [u8] {
    let before = ranges.len();
    let scheme = credentials(value, policy, ranges);
    ranges.iter_mut().skip(before).for_each(|range| range.mode = Some(mode));
    scheme
}

fn credentials<'v>(value: &'v [u8], policy: &Policy, ranges: &mut Vec<Range>) -> &'v [u8] {
    let start = value.iter().position(|b| !b.is_ascii_whitespace()).unwrap_or(value.len());
    let word = value[start..].iter().position(u8::is_ascii_whitespace).map_or(value.len(), |n| start + n);
    let scheme = &value[start..word];
    if !policy.schemes.iter().any(|s| scheme.eq_ignore_ascii_case(s)) {
        trimmed(value, start, value.len(), false, ranges);
        return b"";
    }
    if scheme.len() >= 5 && scheme[..5].eq_ignore_ascii_case(b"AWS4-") {
        let before = ranges.len();
        if !aws4(value, word, ranges) {
            ranges.truncate(before);
            trimmed(value, word, value.len(), false, ranges);
        }
    } else {
        trimmed(value, word, value.len(), false, ranges);
    }
    &value[..word]
}

/// AWS signature version 4: `Credential=ID/DATE/REGION/SERVICE/aws4_request, SignedHeaders=…, Signature=…`. Scope and
/// header names stay. False where it is not of this form.
fn aws4(value: &[u8], from: usize, ranges: &mut Vec<Range>) -> bool {
    for (start, end) in split(value, from, value.len(), b',') {
        let (start, end) = trim(value, start, end);
        let part = &value[start..end];
        if part.starts_with(b"Credential=") {
            let id = start + b"Credential=".len();
            let Some(slash) = value[id..end].iter().position(|b| *b == b'/') else { return false };
            let scope = &value[id + slash..end];
            let plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'-' | b'_' | b'*');
            if scope.len() > 96 || !scope.iter().all(plain) || !scope.ends_with(b"/aws4_request") {
                return false;
            }
            ranges.push(Range::new(id, id + slash));
        } else if part.starts_with(b"Signature=") {
            ranges.push(Range::new(start + b"Signature=".len(), end));
        } else if !part.starts_with(b"SignedHeaders=")
            || !part.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'=' | b';' | b'-' | b'_'))
        {
            return false;
        }
    }
    true
}

/// Cookie: `name=value; name=value` (RFC 6265, 4.2.1). A pair without a name is all value, as browsers have it. Returns
/// how many pairs are left out, and whether those are all.
pub(super) fn cookie(value: &[u8], policy: &Policy, ranges: &mut Vec<Range>) -> (u32, bool) {
    let (mut left_out, mut some_stay) = (0, false);
    for (start, end) in split(value, 0, value.len(), b';') {
        let blank = value[start..end].trim_ascii().is_empty();
        if blank || pair(value, start, end, policy, ranges) != Mode::Drop {
            some_stay |= !blank;
            continue;
        }
        left_out += 1;
        // With the separator before it; where nothing before it stays, with the one behind it.
        let range = if some_stay {
            Range::new(start.saturating_sub(1), end)
        } else {
            let next = value.get(end + 1..).unwrap_or(&[]);
            Range::new(start, end + 1 + next.iter().take_while(|b| b.is_ascii_whitespace()).count())
        };
        ranges.push(range.with(Mode::Drop));
    }
    (left_out, left_out > 0 && !some_stay)
}

/// Set-Cookie: `name=value; attribute=value` (RFC 6265, 4.1.1). Returns whether the line is left out: attributes
/// without their cookie say nothing.
pub(super) fn set_cookie(value: &[u8], policy: &Policy, ranges: &mut Vec<Range>) -> bool {
    for (i, (start, end)) in split(value, 0, value.len(), b';').enumerate() {
        if i == 0 {
            if pair(value, start, end, policy, ranges) == Mode::Drop {
                return true;
            }
            continue;
        }
        let (start, end) = trim(value, start, end);
        let part = &value[start..end];
        let equals = part.iter().position(|b| *b == b'=');
        let name = part[..equals.unwrap_or(part.len())].trim_ascii();
        let known = policy.cookie_attributes.iter().any(|a| name.eq_ignore_ascii_case(a));
        match equals {
            None if known => {}
            None => trimmed(value, start, end, false, ranges),
            Some(equals) => {
                let rest = &part[equals + 1..];
                // Several cookies joined by commas would put the next one's value into this attribute.
                let date = name.eq_ignore_ascii_case(b"expires") && rest.len() <= 40;
                let simple = !rest.contains(&b'=') && (date || !rest.contains(&b','));
                if !known || !simple {
                    trimmed(value, start + equals + 1, end, true, ranges);
                }
            }
        }
    }
    false
}

/// Hides or keeps the value of a cookie; returns which.
fn pair(value: &[u8], start: usize, end: usize, policy: &Policy, ranges: &mut Vec<Range>) -> Mode {
    let equals = value[start..end].iter().position(|b| *b == b'=');
    let name = equals.map_or(&b""[..], |equals| value[start..start + equals].trim_ascii());
    let mode = policy.cookie(name);
    match mode {
        Mode::Keep => ranges.push(Range::new(start, end).with(Mode::Keep)),
        Mode::Fingerprint | Mode::Mask => {
            let before = ranges.len();
            trimmed(value, equals.map_or(start, |equals| start + equals + 1), end, true, ranges);
            ranges.iter_mut().skip(before).for_each(|range| range.mode = Some(mode));
        }
        Mode::Drop => {}
    }
    mode
}

/// Challenges: `Scheme key=value, key=value` (RFC 9110, 11.6.1). Parameters that are not known to be harmless, and
/// anything that is no parameter, are hidden.
pub(super) fn challenge(value: &[u8], policy: &Policy, ranges: &mut Vec<Range>) {
    for (start, end) in split_quoted(value, b',') {
        let (mut start, end) = trim(value, start, end);
        let word = value[start..end].iter().position(u8::is_ascii_whitespace).map_or(end, |n| start + n);
        if policy.schemes.iter().any(|s| value[start..word].eq_ignore_ascii_case(s)) {
            (start, _) = trim(value, word, end);
        }
        let part = &value[start..end];
        match part.iter().position(|b| *b == b'=') {
            Some(equals) => {
                let key = part[..equals].trim_ascii();
                // A token68 may end in an equals sign, and would then pass for a key without a value.
                let bare = part[equals..].iter().all(|b| *b == b'=');
                if bare || key.iter().any(u8::is_ascii_whitespace) {
                    trimmed(value, start, end, false, ranges);
                } else if !policy.challenge_keep.iter().any(|k| key.eq_ignore_ascii_case(k)) {
                    trimmed(value, start + equals + 1, end, false, ranges);
                }
            }
            None => trimmed(value, start, end, false, ranges),
        }
    }
}

/// Certificates as Envoy sends them: elements joined by commas, of `Key=value` joined by semicolons, values with commas
/// or semicolons in quotes.
pub(super) fn certificate(value: &[u8], policy: &Policy, ranges: &mut Vec<Range>) {
    let before = ranges.len();
    let quotes = value.iter().filter(|b| **b == b'"').count();
    if !quotes.is_multiple_of(2) || value.contains(&b'\\') {
        trimmed(value, 0, value.len(), true, ranges);
        return;
    }
    for (start, end) in split_quoted(value, b',') {
        let inside = &value[start..end];
        for (from, to) in split_quoted(inside, b';') {
            let (from, to) = trim(value, start + from, start + to);
            let part = &value[from..to];
            let Some(equals) = part.iter().position(|b| *b == b'=') else {
                if part.is_empty() {
                    continue;
                }
                ranges.truncate(before);
                trimmed(value, 0, value.len(), true, ranges);
                return;
            };
            if !policy.certificate_keep.iter().any(|k| part[..equals].eq_ignore_ascii_case(k)) {
                trimmed(value, from + equals + 1, to, true, ranges);
            }
        }
    }
}

/// Sub-protocols: names stay if they are known; tokens are sent in their place by those who cannot set a header from a
/// browser.
pub(super) fn protocols(value: &[u8], policy: &Policy, ranges: &mut Vec<Range>) {
    for (start, end) in split(value, 0, value.len(), b',') {
        let (start, end) = trim(value, start, end);
        if !policy.protocols_keep.iter().any(|k| value[start..end].eq_ignore_ascii_case(k)) {
            trimmed(value, start, end, false, ranges);
        }
    }
}

/// User information in front of a host, where the value is an authority or begins with one (RFC 3986, 3.2.1).
pub(super) fn authority(value: &[u8], ranges: &mut Vec<Range>) {
    let end = value.iter().position(|b| matches!(b, b'/' | b'?' | b'#')).unwrap_or(value.len());
    if let Some(at) = value[..end].iter().rposition(|b| *b == b'@') {
        ranges.push(Range::new(0, at));
    }
}

/// Where a URL is read, and how its query values are treated.
pub(super) struct Url<'f> {
    /// What holds for a decoded key.
    pub(super) key: &'f mut dyn FnMut(&[u8]) -> Key,
    /// What holds for values in a query whose key no rule names.
    pub(super) rest: Mode,
    /// How values are hidden whose key is a secret's by the list.
    pub(super) secrets: Mode,
    /// How a secret is hidden in a value that stays.
    pub(super) part: Mode,
}

/// URLs, or text with URLs in it: user information, and the values of keys anywhere behind a separator. `hidden_in`
/// tells whether decoded text holds a secret. Returns how many keys are left out.
pub(super) fn url(
    value: &[u8],
    ranges: &mut Vec<Range>,
    rules: &mut Url<'_>,
    mut hidden_in: impl FnMut(&[u8]) -> bool,
) -> u32 {
    userinfo(value, ranges);
    // A URL in a text ends at whitespace and the like; a URL that is all of the value ends with it.
    let in_text = value.first() == Some(&b'<') || value.iter().any(u8::is_ascii_whitespace);
    let mut in_query = false;
    let (mut pieces, mut left_out) = (0, 0);
    // Where the query begins, as long as none of its pairs stays.
    let mut empty_since: Option<usize> = None;
    let mut at = 0;
    while at < value.len() {
        // A piece: from behind a separator to the next. More separators than the grammar has do no harm, since what
        // is hidden goes on to where the value ends by the widest reading.
        let end = value[at..].iter().position(|b| ends_piece(*b)).map_or(value.len(), |n| at + n);
        let piece = &value[at..end];
        let equals = memchr::memchr(b'=', piece);
        pieces += 1;
        let found = if pieces > PIECES_MAX {
            Some((at, rules.part))
        } else {
            treat(piece, at, equals, in_query, rules, &mut hidden_in)
        };
        let mut next = end;
        if let Some((from, mode)) = found {
            next = value[from..]
                .iter()
                .position(|b| ends_value(*b, in_query, in_text))
                .map_or(value.len(), |n| from + n);
            if pieces > PIECES_MAX {
                next = value.len();
            }
            match mode {
                Mode::Keep => ranges.push(Range::new(from, next).with(Mode::Keep)),
                Mode::Drop => {
                    left_out += 1;
                    ranges.push(without(value, at, next, &mut empty_since).with(Mode::Drop));
                }
                Mode::Fingerprint | Mode::Mask => {
                    let before = ranges.len();
                    trimmed(value, from, next, true, ranges);
                    ranges.iter_mut().skip(before).for_each(|range| range.mode = Some(mode));
                }
            }
            if mode != Mode::Drop {
                empty_since = None;
            }
        } else if !piece.is_empty() {
            empty_since = None;
        }
        match value.get(next) {
            Some(b'?' | b'#') => (in_query, empty_since) = (true, Some(next)),
            Some(b) if b.is_ascii_whitespace() => in_query = false,
            _ => {}
        }
        at = next + 1;
    }
    left_out
}

/// From where on a piece that begins at `at` is hidden or kept, and how; None where no rule holds for it.
fn treat(
    piece: &[u8],
    at: usize,
    equals: Option<usize>,
    in_query: bool,
    rules: &mut Url<'_>,
    hidden_in: &mut impl FnMut(&[u8]) -> bool,
) -> Option<(usize, Mode)> {
    let rest = if in_query { rules.rest } else { Mode::Keep };
    if let Some(equals) = equals {
        match key_rule(&piece[..equals], rules.key) {
            Key::Named(mode) => return Some((at + equals + 1, mode)),
            Key::Secret => return Some((at + equals + 1, rules.secrets.max(rest))),
            Key::Plain => {}
        }
    }
    if rest != Mode::Keep && !piece.is_empty() {
        return Some((equals.map_or(at, |equals| at + equals + 1), rest));
    }
    if memchr::memchr(b'%', piece).is_some() && is_hiding(piece, rules.key, hidden_in) {
        // The key stays if it is not part of what is hidden.
        let plain_key = equals.filter(|equals| !piece[..*equals].contains(&b'%'));
        return Some((plain_key.map_or(at, |equals| at + equals + 1), rules.part));
    }
    None
}

/// A pair with the separator before it; where no pair before it stays, with the one behind it; where none behind it
/// stays either, with what begins the query.
fn without(value: &[u8], start: usize, end: usize, empty_since: &mut Option<usize>) -> Range {
    match *empty_since {
        Some(_) if matches!(value.get(end), Some(b'&' | b';')) => Range::new(start, end + 1),
        Some(since) => Range::new(since, end),
        None => {
            let separated = start.checked_sub(1).is_some_and(|i| matches!(value[i], b'&' | b';'));
            Range::new(start - usize::from(separated), end)
        }
    }
}

fn ends_piece(byte: u8) -> bool {
    matches!(byte, b'?' | b'&' | b';' | b'#' | b'/' | b'<' | b'>' | b'"' | b',') || byte.is_ascii_whitespace()
}

fn ends_value(byte: u8, in_query: bool, in_text: bool) -> bool {
    match byte {
        b'&' | b'#' => true,
        b'/' | b'?' | b';' => !in_query,
        b'<' | b'>' | b'"' => in_text,
        _ => in_text && byte.is_ascii_whitespace(),
    }
}

fn key_rule(key: &[u8], rule: &mut dyn FnMut(&[u8]) -> Key) -> Key {
    match scan::percent_decoded(key) {
        Some(decoded) => rule(&decoded),
        None => rule(key),
    }
}

/// A piece with percent signs hides a secret: by a pattern, or as `key=value` within.
fn is_hiding(
    piece: &[u8],
    rule: &mut dyn FnMut(&[u8]) -> Key,
    hidden_in: &mut impl FnMut(&[u8]) -> bool,
) -> bool {
    let Some(decoded) = scan::percent_decoded(piece) else { return false };
    let nested = decoded.split(|b| ends_piece(*b) || matches!(b, b'{' | b'}')).any(|part| {
        let mut from = 0;
        // `a=token=x`: each equals sign may be the one that counts.
        while let Some(equals) = part[from..].iter().position(|b| *b == b'=') {
            let mut hidden = || rule(&part[from..from + equals]).is_hidden();
            if from + equals + 1 < part.len() && hidden() {
                return true;
            }
            from += equals + 1;
        }
        false
    });
    let user = memchr::memchr(b'@', &decoded).is_some() && {
        let mut found = Vec::new();
        userinfo(&decoded, &mut found);
        !found.is_empty()
    };
    nested || user || hidden_in(&decoded)
}

/// User information behind each `//`.
fn userinfo(value: &[u8], ranges: &mut Vec<Range>) {
    let mut from = 0;
    while let Some(slashes) = memchr::memmem::find(&value[from..], b"//") {
        let start = from + slashes + 2;
        let end = value[start..].iter().position(|b| ends_authority(*b)).map_or(value.len(), |n| start + n);
        if let Some(at) = value[start..end].iter().rposition(|b| *b == b'@') {
            ranges.push(Range::encoded(start, start + at));
        }
        from = start;
    }
}

fn ends_authority(byte: u8) -> bool {
    matches!(byte, b'/' | b'?' | b'#' | b'\\' | b'"' | b'<' | b'>') || byte.is_ascii_whitespace()
}

/// A secret with folds as single spaces (obs-fold is CRLF and whitespace, RFC 9112, 5.2); None where it has none.
pub(super) fn unfolded(secret: &[u8]) -> Option<Vec<u8>> {
    memchr::memchr2(b'\r', b'\n', secret)?;
    let mut out = Vec::with_capacity(secret.len());
    let mut at = 0;
    while let Some(&byte) = secret.get(at) {
        at += 1;
        if !matches!(byte, b'\r' | b'\n') {
            out.push(byte);
            continue;
        }
        while secret.get(at).is_some_and(u8::is_ascii_whitespace) {
            at += 1;
        }
        out.push(b' ');
    }
    Some(out)
}

/// Adds `start..end` without whitespace and one pair of quotes around it: the same secret in quotes and without is one.
fn trimmed(value: &[u8], start: usize, end: usize, encoded: bool, ranges: &mut Vec<Range>) {
    let (mut start, mut end) = trim(value, start, end);
    if end - start >= 2 && value[start] == b'"' && value[end - 1] == b'"' {
        (start, end) = (start + 1, end - 1);
    }
    if start < end {
        ranges.push(Range { encoded, ..Range::new(start, end) });
    }
}

pub(super) fn trim(value: &[u8], mut start: usize, mut end: usize) -> (usize, usize) {
    while start < end && value[start].is_ascii_whitespace() {
        start += 1;
    }
    while end > start && value[end - 1].is_ascii_whitespace() {
        end -= 1;
    }
    (start, end)
}

/// Parts of `start..end` between separators.
fn split(value: &[u8], start: usize, end: usize, separator: u8) -> impl Iterator<Item = (usize, usize)> {
    let mut at = Some(start);
    std::iter::from_fn(move || {
        let from = at?;
        let to = value[from..end].iter().position(|b| *b == separator).map(|n| from + n);
        at = to.map(|to| to + 1);
        Some((from, to.unwrap_or(end)))
    })
}

/// Parts between separators that stand outside of quotes.
pub(super) fn split_quoted(value: &[u8], separator: u8) -> impl Iterator<Item = (usize, usize)> {
    let mut at = Some(0);
    std::iter::from_fn(move || {
        let from = at?;
        let (mut quoted, mut escaped) = (false, false);
        for (i, byte) in value.iter().enumerate().skip(from) {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                b if *b == separator && !quoted => {
                    at = Some(i + 1);
                    return Some((from, i));
                }
                _ => {}
            }
        }
        at = None;
        Some((from, value.len()))
    })
}
