//! Finds out cheaply that a value holds nothing of interest, and what it holds where that fails.
//!
//! Nearly all values match no pattern, so the cost of redaction is the cost of finding that out. A pattern is tried
//! only where one of its literals stands. First each byte of a value is looked up in a table that counts digits and
//! tells rare and special bytes; a short value of ordinary bytes is done with that. In others all literals of all
//! patterns are looked for in one pass: each three bytes that some literal begins with are a bit in a table, and each
//! place of the value asks the table. An Aho-Corasick automaton was the alternative; its states follow one from
//! another, so that it waits for memory at each byte, and its vectorised form takes 64 literals at most.

use std::collections::BTreeMap;

use crate::features::PatternKind;

use super::policy::{Pattern, Policy};
use super::settings::Mode;

/// Shortest secret that a pattern of the compiled-in list can tell by its shape, without a special byte in the value.
const SHAPE_BYTES_MIN: usize = 11;
/// Most matches of one pattern in one value; with more, all of the value is hidden.
const MATCHES_MAX: usize = 64;
/// Bits of the table of literal beginnings; a few hundred literals fill a hundredth of it.
const TABLE_BITS: u32 = 15;
/// Bits of the hash that find a literal.
const START_BITS: u32 = 8;
/// Digits of a payment card number (ISO/IEC 7812-1).
const CARD_DIGITS: std::ops::RangeInclusive<usize> = 13..=19;

/// Set of patterns, one bit each.
type Mask = u128;

/// Bytes to be replaced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Range {
    pub(super) start: usize,
    pub(super) end: usize,
    /// The secret is percent-encoded here; its fingerprint is of what it decodes to.
    pub(super) encoded: bool,
    /// Found as a scheme with something behind it.
    pub(super) credentials: bool,
    /// A client's address, which is rewritten.
    pub(super) address: bool,
    /// How it is hidden; None as parts of values are. Kept ranges are taken out of the others.
    pub(super) mode: Option<Mode>,
}

impl Range {
    pub(super) fn new(start: usize, end: usize) -> Self {
        Self { start, end, encoded: false, credentials: false, address: false, mode: None }
    }

    pub(super) fn encoded(start: usize, end: usize) -> Self {
        Self { encoded: true, ..Self::new(start, end) }
    }

    pub(super) fn address(start: usize, end: usize) -> Self {
        Self { address: true, ..Self::new(start, end) }
    }

    pub(super) fn with(self, mode: Mode) -> Self {
        Self { mode: Some(mode), ..self }
    }

    /// Takes the kept ranges out of the others, and away.
    #[cold]
    pub(super) fn subtract_kept(ranges: &mut Vec<Self>) {
        let mut at = 0;
        while at < ranges.len() {
            let kept = ranges[at];
            if kept.mode != Some(Mode::Keep) {
                at += 1;
                continue;
            }
            ranges.swap_remove(at);
            for i in 0..ranges.len() {
                let range = &mut ranges[i];
                if range.mode == Some(Mode::Keep) || range.end <= kept.start || kept.end <= range.start {
                    continue;
                }
                let behind = Self { start: kept.end, ..*range };
                range.end = range.end.min(kept.start);
                if behind.start < behind.end {
                    ranges.push(behind);
                }
            }
        }
        ranges.retain(|range| range.start < range.end);
    }
}

/// A match of a pattern.
pub(super) struct Found<'a> {
    pub(super) pattern: &'a Pattern,
    pub(super) start: usize,
    pub(super) end: usize,
}

struct Literal {
    text: Vec<u8>,
    patterns: Mask,
}

impl Literal {
    fn is_in(&self, value: &[u8]) -> bool {
        if self.text.iter().any(u8::is_ascii_alphabetic) {
            value.windows(self.text.len()).any(|w| w.eq_ignore_ascii_case(&self.text))
        } else {
            memchr::memmem::find(value, &self.text).is_some()
        }
    }
}

pub(super) struct Scanner {
    patterns: Vec<Pattern>,
    /// Patterns that tell a secret by what stands in front of it rather than by its shape.
    generic: Mask,
    /// Patterns without literals: tried on every value.
    always: Mask,
    /// Bit set: some literal of three or more bytes may begin with these three.
    table: Box<[u64; 1 << (TABLE_BITS - 6)]>,
    /// Literals of three bytes and more, by the hash of their first three.
    long: Vec<(u32, Literal)>,
    /// Where in `long` the hashes with these upper bits begin, and behind all where the last end.
    starts: Box<[u16; (1 << START_BITS) + 1]>,
    /// Shorter ones; their first bytes are rare in headers.
    short: Vec<Literal>,
    /// Shorter values without a special byte hold nothing.
    shape_bytes_min: usize,
    /// What each byte adds to the tally of a value.
    tally: [u32; 256],
}

/// A digit.
const DIGIT: u32 = 1;
/// A byte without which a short value is ordinary.
const SPECIAL: u32 = 1 << 12;
/// A byte that by itself is worth a look.
const RARE: u32 = 1 << 22;
/// Bytes of which one tally is made, so that no part of it runs over.
const TALLY_BYTES: usize = 1000;

impl Scanner {
    pub(super) fn new(policy: &Policy) -> Self {
        let mut tally = [0; 256];
        for (byte, tally) in (0..=u8::MAX).zip(&mut tally) {
            *tally = match byte {
                b'0'..=b'9' => DIGIT,
                b'a'..=b'z' | b'A'..=b'Z' | b'-' | b'_' | b'.' | b',' | b'*' | b'+' => 0,
                // A percent sign may hide anything.
                b'%' => RARE,
                _ => SPECIAL,
            };
        }
        let mut all: BTreeMap<Vec<u8>, Mask> = BTreeMap::new();
        let (mut generic, mut always) = (0, 0);
        for (bit, pattern) in policy.patterns.iter().enumerate() {
            if pattern.kind == PatternKind::Secret && pattern.group > 0 {
                generic |= 1 << bit;
            }
            if pattern.literals.is_empty() {
                always |= 1 << bit;
            }
            for literal in &pattern.literals {
                *all.entry(literal.clone()).or_default() |= 1 << bit;
            }
        }
        let mut table = Box::new([0; 1 << (TABLE_BITS - 6)]);
        let (mut long, mut short) = (Vec::new(), Vec::new());
        for (text, patterns) in all {
            match *text.as_slice() {
                [a, b, c, ..] => {
                    let hash = hash(folded([a, b, c, 0, 0, 0, 0, 0]));
                    table[(hash >> 6) as usize] |= 1 << (hash & 63);
                    long.push((hash, Literal { text, patterns }));
                }
                [first, ..] => {
                    // A letter here makes most values worth a look: slow, but right.
                    tally[usize::from(first)] = RARE;
                    tally[usize::from(first.to_ascii_uppercase())] = RARE;
                    short.push(Literal { text, patterns });
                }
                [] => {}
            }
        }
        long.sort_by_key(|(hash, _)| *hash);
        let mut starts = Box::new([0; (1 << START_BITS) + 1]);
        for (upper, start) in starts.iter_mut().enumerate() {
            *start = long.partition_point(|(hash, _)| ((hash >> (TABLE_BITS - START_BITS)) as usize) < upper)
                as u16;
        }
        let shape_bytes_min = if policy.short_values { 0 } else { SHAPE_BYTES_MIN };
        let patterns = policy.patterns.clone();
        Self { patterns, generic, always, table, long, starts, short, shape_bytes_min, tally }
    }

    /// Whether a value is worth a look: false only where [`Scanner::look`] and [`cards`] would find nothing, and no
    /// percent sign is in it; short values of ordinary bytes pass too.
    pub(super) fn touches(&self, value: &[u8]) -> bool {
        if self.always != 0 {
            return true;
        }
        let (mut digits, mut special) = (0, false);
        for part in value.chunks(TALLY_BYTES) {
            let tally: u32 = part.iter().map(|b| self.tally[usize::from(*b)]).sum();
            if tally >= RARE {
                return true;
            }
            special |= tally >= SPECIAL;
            digits += tally % SPECIAL;
        }
        if value.len() < self.shape_bytes_min && !special {
            return digits as usize >= *CARD_DIGITS.start() && has_card(value);
        }
        self.holds_literal(value) || (digits as usize >= *CARD_DIGITS.start() && has_card(value))
    }

    /// Whether a literal of some pattern is in a value, as it is in the first part of a secret that was cut.
    pub(super) fn holds_literal(&self, value: &[u8]) -> bool {
        let mut any = false;
        self.literals(value, |_| {
            any = true;
            false
        });
        any
    }

    /// Calls `found` with the patterns of each literal in `text`, until it says false.
    fn literals(&self, text: &[u8], mut found: impl FnMut(Mask) -> bool) {
        let mut at = 0;
        // Eight bytes hold six beginnings of three.
        while let Some(word) = text.get(at..at + 8).and_then(|w| <[u8; 8]>::try_from(w).ok()) {
            let word = folded(word);
            let bits = [0, 8, 16, 24, 32, 40].map(|shift| self.begins(word >> shift));
            if bits.iter().fold(0, |any, bit| any | bit) != 0 {
                for (offset, bit) in bits.iter().enumerate() {
                    if *bit != 0 && !self.confirm(word >> (8 * offset), &text[at + offset..], &mut found) {
                        return;
                    }
                }
            }
            at += 6;
        }
        let rest = &text[at.min(text.len())..];
        let mut word = [0; 8];
        word[..rest.len()].copy_from_slice(rest);
        let word = folded(word);
        for offset in 0..rest.len().saturating_sub(2) {
            let three = word >> (8 * offset);
            if self.begins(three) != 0 && !self.confirm(three, &rest[offset..], &mut found) {
                return;
            }
        }
    }

    fn begins(&self, three: u64) -> u64 {
        let hash = hash(three);
        self.table[(hash >> 6) as usize] >> (hash & 63) & 1
    }

    #[cold]
    fn confirm(&self, three: u64, rest: &[u8], found: &mut impl FnMut(Mask) -> bool) -> bool {
        let hash = hash(three);
        let upper = (hash >> (TABLE_BITS - START_BITS)) as usize;
        let among = usize::from(self.starts[upper])..usize::from(self.starts[upper + 1]);
        let same = self.long.get(among).unwrap_or(&[]).iter().filter(|(h, _)| *h == hash);
        let stands = |l: &Literal| rest.get(..l.text.len()).is_some_and(|r| r.eq_ignore_ascii_case(&l.text));
        let patterns = same.filter(|(_, l)| stands(l)).fold(0, |mask, (_, l)| mask | l.patterns);
        patterns == 0 || found(patterns)
    }

    /// Calls `found` with each match of each pattern in `value`; without the generic ones where all of it is hidden
    /// anyway. True where there are so many that all of it had better be hidden.
    pub(super) fn look<'s>(&'s self, value: &[u8], generic: bool, mut found: impl FnMut(Found<'s>)) -> bool {
        let mut mask = self.always;
        self.literals(value, |patterns| {
            mask |= patterns;
            true
        });
        for literal in &self.short {
            if literal.patterns & !mask != 0 && literal.is_in(value) {
                mask |= literal.patterns;
            }
        }
        if !generic {
            mask &= !self.generic;
        }
        let mut flood = false;
        while mask != 0 {
            let bit = mask.trailing_zeros();
            mask &= mask - 1;
            let Some(pattern) = self.patterns.get(bit as usize) else { break };
            flood |= pattern.find(value, |start, end| found(Found { pattern, start, end }));
        }
        flood
    }
}

impl Pattern {
    /// Calls `found` with the secret of each match, or with the first match of an attack; true where there are too many.
    fn find(&self, value: &[u8], mut found: impl FnMut(usize, usize)) -> bool {
        let (mut at, mut count) = (0, 0);
        while let Some(whole) = self.regex.find_at(value, at) {
            // Groups cost more to find than the match, so they are asked for only where there is one.
            let secret = match self.group {
                0 => Some(whole),
                group => self.regex.captures_at(value, whole.start()).and_then(|c| c.get(group)),
            };
            if let Some(secret) = secret.filter(|s| !s.is_empty() && !self.excepts(s.as_bytes())) {
                found(secret.start(), secret.end());
            }
            count += 1;
            if self.kind == PatternKind::Attack || count > MATCHES_MAX {
                return self.kind == PatternKind::Secret;
            }
            at = whole.end().max(at + 1);
            if at > value.len() {
                break;
            }
        }
        false
    }

    fn excepts(&self, secret: &[u8]) -> bool {
        self.except.iter().any(|e| secret.get(..e.len()).is_some_and(|s| s.eq_ignore_ascii_case(e)))
    }
}

/// Sets the bit that tells small letters from capitals, in all bytes; other bytes fall together too, which costs a
/// second look and no more.
fn folded(word: [u8; 8]) -> u64 {
    u64::from_le_bytes(word) | 0x2020_2020_2020_2020
}

/// Multiplicative hash of the lowest three bytes to [`TABLE_BITS`] bits.
fn hash(three: u64) -> u32 {
    ((three & 0xff_ffff) as u32).wrapping_mul(0x9E37_79B1) >> (32 - TABLE_BITS)
}

fn has_card(value: &[u8]) -> bool {
    let mut any = false;
    cards(value, |_, _| any = true);
    any
}

/// Calls `found` with start and end of each payment card number: 13 to 19 digits in groups of the usual kind, that
/// begin as an issuer's do and end with the right check digit (ISO/IEC 7812-1, annex B).
pub(super) fn cards(text: &[u8], mut found: impl FnMut(usize, usize)) {
    let mut at = 0;
    // A number of 13 digits cannot lie between two looks that are 13 bytes apart.
    while let Some(&byte) = text.get(at) {
        if !byte.is_ascii_digit() && !matches!(byte, b' ' | b'-') {
            at += 13;
            continue;
        }
        let member = |b: &u8| b.is_ascii_digit() || matches!(b, b' ' | b'-');
        let mut start = at;
        while start > 0 && member(&text[start - 1]) {
            start -= 1;
        }
        let end = text[at..].iter().position(|b| !member(b)).map_or(text.len(), |n| at + n);
        if end - start >= 13 {
            card_in(text, start, end, &mut found);
        }
        at = end + 13;
    }
}

/// Looks for card numbers in a run of digits, spaces and hyphens.
fn card_in(text: &[u8], start: usize, end: usize, found: &mut impl FnMut(usize, usize)) {
    let word = |at: Option<&u8>| at.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
    let mut from = start;
    while from < end {
        if !text[from].is_ascii_digit() {
            from += 1;
            continue;
        }
        // One number: groups of digits with one and the same separator. It may end with any group.
        let mut digits = [0u8; 19];
        let (mut count, mut at, mut separator, mut last) = (0, from, None, None);
        while let Some(&byte) = text.get(at).filter(|_| at < end) {
            if byte.is_ascii_digit() {
                let Some(digit) = digits.get_mut(count) else { break };
                *digit = byte - b'0';
                count += 1;
            } else if count < 2 || *separator.get_or_insert(byte) != byte || !text[at - 1].is_ascii_digit() {
                break;
            }
            at += 1;
            let number = &digits[..count];
            let complete = byte.is_ascii_digit() && CARD_DIGITS.contains(&count) && !word(text.get(at));
            if complete && issued(number) && luhn(number) {
                last = Some(at);
            }
        }
        let bounded = !word(from.checked_sub(1).and_then(|i| text.get(i)));
        if let Some(last) = last.filter(|_| bounded) {
            found(from, last);
            from = last;
        } else {
            // Go on behind this group of digits.
            while from < end && text[from].is_ascii_digit() {
                from += 1;
            }
        }
    }
}

/// The number begins and is as long as those of the issuers in use, which spares most counters and times.
fn issued(digits: &[u8]) -> bool {
    let head = digits.iter().take(4).fold(0u32, |n, d| n * 10 + u32::from(*d));
    match digits.len() {
        13 => head / 1000 == 4,
        14 => matches!(head / 10, 300..=305 | 309) || matches!(head / 100, 36 | 38 | 39),
        15 => matches!(head / 100, 34 | 37) || matches!(head, 2131 | 1800),
        16 => {
            head / 1000 == 4
                || matches!(head / 100, 51..=55 | 35 | 60 | 62 | 64 | 65 | 81)
                || (2221..=2720).contains(&head)
                || (5000..=5999).contains(&head)
        }
        _ => matches!(head / 1000, 4..=6),
    }
}

fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(i, d)| {
            let d = u32::from(*d);
            if i % 2 == 0 { d } else { d * 2 - if d > 4 { 9 } else { 0 } }
        })
        .sum();
    sum.is_multiple_of(10)
}

/// Decodes `%XX` (RFC 3986, 2.1), again while something changes, at most three times; None where there is nothing to
/// decode. What is no valid triplet stays.
pub(super) fn percent_decoded(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = percent_decoded_once(text)?;
    for _ in 0..2 {
        match percent_decoded_once(&out) {
            Some(again) => out = again,
            None => break,
        }
    }
    Some(out)
}

/// Decodes `%XX` once.
pub(super) fn percent_decoded_once(text: &[u8]) -> Option<Vec<u8>> {
    let hex = |b: Option<&u8>| b.and_then(|b| char::from(*b).to_digit(16));
    let mut out: Option<Vec<u8>> = None;
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        let triplet =
            (byte == b'%').then(|| Some(hex(text.get(at + 1))? << 4 | hex(text.get(at + 2))?)).flatten();
        match triplet {
            Some(value) => {
                out.get_or_insert_with(|| text[..at].to_vec()).push(value as u8);
                at += 3;
            }
            None => {
                if let Some(out) = out.as_mut() {
                    out.push(byte);
                }
                at += 1;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cards_of(text: &str) -> Vec<&str> {
        let mut all = Vec::new();
        cards(text.as_bytes(), |start, end| all.push(&text[start..end]));
        all
    }

    #[test]
    fn card_numbers_are_found_wherever_they_stand() {
        for card in ["4111111111111111", "4111 1111 1111 1111", "5555-5555-5555-4444", "378282246310005"] {
            for pad in 0..30 {
                let text = format!("{}.{card}.x", "p".repeat(pad));
                assert_eq!(cards_of(&text), [card], "{text}");
            }
        }
        assert_eq!(cards_of("12 4111111111111111 7"), ["4111111111111111"]);
    }

    #[test]
    fn what_looks_like_a_card_number_stays() {
        for text in [
            "4111111111111112",
            "1732473411123",
            "1732473411123456789",
            "a4111111111111111",
            "4111111111111111f",
            "0b8a7c4e-6c2b-4f0e-9a53-0c1d2e3f4a5b",
            "41111111111111111111111",
            "2024-11-24 10:11:12",
        ] {
            assert!(cards_of(text).is_empty(), "{text}");
        }
    }

    #[test]
    fn percent_decoding() {
        assert_eq!(percent_decoded(b"abc"), None);
        assert_eq!(percent_decoded(b"a%3Db%zz%4").unwrap(), b"a=b%zz%4");
        assert_eq!(percent_decoded(b"%25253d").unwrap(), b"=");
        assert_eq!(percent_decoded_once(b"%253d").unwrap(), b"%3d");
    }

    /// Each text that a pattern matches must hold one of its literals, else the pattern is never tried on it.
    #[test]
    fn a_pattern_is_tried_wherever_its_literals_stand() {
        let policy = Policy::default();
        let scanner = Scanner::new(&policy);
        for pattern in &policy.patterns {
            for literal in &pattern.literals {
                for (before, after) in (0..9).flat_map(|b| (0..9).map(move |a| (b, a + 17))) {
                    let text = [vec![b'z'; before], literal.to_ascii_uppercase(), vec![b'z'; after]].concat();
                    assert!(scanner.touches(&text), "{literal:?} {before} {after}");
                    let text = [vec![b'z'; after], literal.clone(), vec![b'z'; before]].concat();
                    assert!(scanner.touches(&text), "{literal:?} {after} {before}");
                }
            }
        }
    }

    #[test]
    fn ordinary_values_are_not_touched() {
        let scanner = Scanner::new(&Policy::default());
        for value in [
            "",
            "*/*",
            "gzip, deflate",
            "application/json",
            "keep-alive",
            "localhost:9080",
            "curl/8.5.0",
            "10.0.0.7",
            "0b8a7c4e-6c2b-4f0e-9a53-0c1d2e3f4a5b",
            "Tue, 24 Nov 2026 18:36:51 GMT",
            "APISIX/3.11.0",
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36",
        ] {
            assert!(!scanner.touches(value.as_bytes()), "{value}");
        }
    }

    #[test]
    fn a_long_value_does_not_overrun_the_tally() {
        let scanner = Scanner::new(&Policy::default());
        let mut long = vec![b'('; 1 << 20];
        assert!(!scanner.touches(&long));
        long.extend_from_slice(b" 4111111111111111");
        assert!(scanner.touches(&long));
        assert!(scanner.touches(&[vec![b'9'; 5000], b"%".to_vec()].concat()));
    }

    #[test]
    fn a_flood_of_matches_is_told() {
        let scanner = Scanner::new(&Policy::default());
        let mut count = 0;
        assert!(scanner.look(&b"AKIAIOSFODNN7EXAMPLE ".repeat(1000), true, |_| count += 1));
        assert!(count <= MATCHES_MAX + 1);
    }
}
