//! What rules compare with. Each has one written form, which is checked when it is read.
//!
//! Matching looks at wire bytes: it allocates nothing, and its time is bounded by the length of what it looks at times
//! the length of the pattern.

use std::net::IpAddr;
use std::str::FromStr;

/// Longest text of one pattern, bytes.
pub const PATTERN_BYTES_MAX: usize = 1024;

fn checked(text: &str) -> Result<&str, String> {
    if text.is_empty() {
        return Err("an empty text matches nothing".to_owned());
    }
    if text.len() > PATTERN_BYTES_MAX {
        return Err(format!("{} bytes; at most {PATTERN_BYTES_MAX} are allowed", text.len()));
    }
    Ok(text)
}

/// Literal text with `*` for any run of bytes, compared with or without regard to case.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Pieces<const FOLD: bool> {
    /// What stands before, between and after the stars; one piece where there is no star.
    pieces: Vec<Vec<u8>>,
}

impl<const FOLD: bool> Pieces<FOLD> {
    fn new(text: &str) -> Self {
        let mut pieces: Vec<Vec<u8>> = Vec::new();
        for (i, piece) in text.as_bytes().split(|b| *b == b'*').enumerate() {
            // Two stars are one.
            if i > 1 && pieces.len() > 1 && pieces.last().is_some_and(Vec::is_empty) {
                pieces.pop();
            }
            pieces.push(piece.to_vec());
        }
        Self { pieces }
    }

    fn same(a: &[u8], b: &[u8]) -> bool {
        if FOLD { a.eq_ignore_ascii_case(b) } else { a == b }
    }

    fn matches(&self, text: &[u8]) -> bool {
        let Some((first, rest)) = self.pieces.split_first() else { return false };
        let Some((last, between)) = rest.split_last() else { return Self::same(first, text) };
        let Some((head, mut text)) = text.split_at_checked(first.len()) else { return false };
        if !Self::same(head, first) || text.len() < last.len() {
            return false;
        }
        let tail;
        (text, tail) = text.split_at(text.len() - last.len());
        // Each piece as early as it can be: a later place would only leave less for those behind it.
        Self::same(tail, last)
            && between.iter().all(|piece| match find(text, piece, Self::same) {
                Some(at) => {
                    text = &text[at + piece.len()..];
                    true
                }
                None => false,
            })
    }
}

fn find(text: &[u8], piece: &[u8], same: impl Fn(&[u8], &[u8]) -> bool) -> Option<usize> {
    if piece.is_empty() {
        return Some(0);
    }
    text.windows(piece.len()).position(|window| same(window, piece))
}

/// A path: literal text with `*`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Glob(Pieces<false>);

impl Glob {
    pub(super) fn matches(&self, path: &[u8]) -> bool {
        self.0.matches(path)
    }
}

impl FromStr for Glob {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if !checked(text)?.starts_with(['/', '*']) {
            return Err(format!("{text:?} is no path: it begins with / or *"));
        }
        if text.contains(['?', '#']) {
            return Err(format!("{text:?} is no path: what follows ? is not looked at"));
        }
        Ok(Self(Pieces::new(text)))
    }
}

/// A host: literal text with `*`, without regard to case.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostGlob(Pieces<true>);

impl HostGlob {
    pub(super) fn matches(&self, host: &[u8]) -> bool {
        self.0.matches(host)
    }
}

impl FromStr for HostGlob {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let address = text.starts_with('[') && text.ends_with(']');
        if checked(text)?.contains(['/', '@', ' ']) || (text.contains(':') && !address) {
            return Err(format!("{text:?} is no host: a name or address without scheme and port"));
        }
        Ok(Self(Pieces::new(text)))
    }
}

/// A text that is looked for as it stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Word(Vec<u8>);

impl Word {
    pub(super) fn is(&self, text: &[u8]) -> bool {
        self.0 == text
    }

    /// Somewhere in `text`, without regard to case.
    pub(super) fn is_in(&self, text: &[u8]) -> bool {
        let Some((first, _)) = self.0.split_first() else { return true };
        let Some(last_start) = text.len().checked_sub(self.0.len()) else { return false };
        memchr::memchr2_iter(first.to_ascii_lowercase(), first.to_ascii_uppercase(), &text[..=last_start])
            .any(|at| text[at..at + self.0.len()].eq_ignore_ascii_case(&self.0))
    }
}

impl FromStr for Word {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        checked(text).map(|text| Self(text.as_bytes().to_vec()))
    }
}

/// Status codes: `404`, `2xx`, `500-599`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Statuses {
    first: u16,
    last: u16,
}

impl Statuses {
    pub(super) fn holds(self, status: u16) -> bool {
        (self.first..=self.last).contains(&status)
    }
}

impl FromStr for Statuses {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let code = |t: &str| t.parse().ok().filter(|code: &u16| t.len() == 3 && (100..=999).contains(code));
        let statuses = if let Some(class) = text.strip_suffix("xx") {
            let class = Some(class).filter(|c| c.len() == 1).and_then(|c| c.parse().ok());
            class.filter(|c: &u16| *c > 0).map(|c| (c * 100, c * 100 + 99))
        } else if let Some((first, last)) = text.split_once('-') {
            code(first.trim()).zip(code(last.trim())).filter(|(first, last)| first <= last)
        } else {
            code(text).map(|code| (code, code))
        };
        let wrong = || format!("{text:?} is no status: \"404\", \"2xx\" or \"500-599\"");
        statuses.map(|(first, last)| Self { first, last }).ok_or_else(wrong)
    }
}

/// Addresses: `10.0.0.0/8`, `2001:db8::/32`, or one address alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Network {
    /// The address as a number; IPv4 in the upper 32 bits, so that the prefix is always the upper bits.
    bits: u128,
    mask: u128,
    v4: bool,
}

fn bits_of(ip: IpAddr) -> (u128, bool) {
    match ip.to_canonical() {
        IpAddr::V4(ip) => (u128::from(u32::from(ip)) << 96, true),
        IpAddr::V6(ip) => (u128::from(ip), false),
    }
}

impl Network {
    pub(super) fn holds(self, ip: IpAddr) -> bool {
        let (bits, v4) = bits_of(ip);
        v4 == self.v4 && bits & self.mask == self.bits
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("{text:?} is no network: an address such as 10.0.0.7, or with a prefix, 10.0.0.0/8");
        let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        // An IPv4-mapped one would have a prefix that counts other bits.
        if address != address.to_canonical() {
            return Err(wrong());
        }
        let (bits, v4) = bits_of(address);
        let width: u32 = if v4 { 32 } else { 128 };
        let digits = |p: &&str| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit());
        let prefix = match prefix {
            None => width,
            Some(p) => Some(p)
                .filter(digits)
                .and_then(|p| p.parse().ok())
                .filter(|p| *p <= width)
                .ok_or_else(wrong)?,
        };
        let mask = u128::MAX.unbounded_shl(128 - prefix);
        if bits & !mask != 0 {
            return Err(format!("{text:?} is no network: it has bits behind its prefix"));
        }
        Ok(Self { bits, mask, v4 })
    }
}

/// A field line of the request: there at all, or with just this value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HeaderTest {
    name: Vec<u8>,
    value: Option<Vec<u8>>,
}

impl HeaderTest {
    pub(super) fn matches<'m>(&self, mut lines: impl Iterator<Item = (&'m [u8], &'m [u8])>) -> bool {
        lines.any(|(name, value)| {
            name.eq_ignore_ascii_case(&self.name) && self.value.as_ref().is_none_or(|v| v == value)
        })
    }
}

impl FromStr for HeaderTest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = match checked(text)?.split_once(':') {
            Some((name, value)) => (name, Some(value.trim().as_bytes().to_vec())),
            None => (text, None),
        };
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if name.is_empty() || !name.bytes().all(token) {
            return Err(format!("{text:?} is no header: \"Name\" or \"Name: value\""));
        }
        Ok(Self { name: name.as_bytes().to_vec(), value })
    }
}
