//! Finds out cheaply that a value holds nothing of interest, and what it holds where that fails.
//!
//! Nearly all values match no pattern, so the cost of redaction is the cost of finding that out. A pattern is tried
//! only where one of its literals stands. All literals of all patterns are looked for in one pass over a message's
//! text, lines and all, in lower case: each text of three bytes that some literal begins with is a bit in a table,
//! and each place of the text asks the table. An Aho-Corasick automaton was the alternative; its states follow one from
//! another, so that it waits for memory at each byte, and its vectorised form takes 64 literals at most.

use crate::features::PatternKind;

use super::policy::{Pattern, Policy};

/// Most places in one message that are noted one by one; with more, each value is looked at.
const HITS_MAX: usize = 64;
/// Most matches of one pattern in one value; with more, all of the value is hidden.
const MATCHES_MAX: usize = 64;
/// Bits of the table of literal beginnings; a few hundred literals fill a hundredth of it.
const TABLE_BITS: u32 = 15;
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
}

impl Range {
    pub(super) fn new(start: usize, end: usize) -> Self {
        Self { start, end, encoded: false, credentials: false }
    }

    pub(super) fn encoded(start: usize, end: usize) -> Self {
        Self { start, end, encoded: true, credentials: false }
    }
}

/// What one pass over a message's text has found.
#[derive(Default)]
pub(super) struct Survey {
    lower: Vec<u8>,
    hits: Vec<u32>,
    everywhere: bool,
}

impl Survey {
    /// Something in `start..end` is worth a look.
    pub(super) fn touches(&self, start: usize, end: usize) -> bool {
        self.everywhere || self.hits.iter().any(|hit| (start..end).contains(&(*hit as usize)))
    }

    fn hit(&mut self, at: usize) {
        if self.hits.len() < HITS_MAX {
            self.hits.push(at as u32);
        } else {
            self.everywhere = true;
        }
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

pub(super) struct Scanner {
    patterns: Vec<Pattern>,
    /// Bit set: some literal of three or more bytes may begin with these three.
    table: Vec<u64>,
    /// Literals of three bytes and more, by the hash of their first three.
    long: Vec<(u32, Literal)>,
    /// Shorter ones; their first bytes are rare in headers.
    short: Vec<Literal>,
    /// Bytes that by themselves are worth a look.
    rare: [bool; 256],
}

impl Scanner {
    pub(super) fn new(policy: &Policy) -> Self {
        let mut rare = [false; 256];
        // A percent sign may hide anything.
        rare[usize::from(b'%')] = true;
        let mut all: std::collections::BTreeMap<Vec<u8>, Mask> = std::collections::BTreeMap::new();
        for (bit, pattern) in policy.patterns.iter().enumerate() {
            for literal in &pattern.literals {
                *all.entry(literal.clone()).or_default() |= 1 << bit;
            }
        }
        let mut table = vec![0; 1 << (TABLE_BITS - 6)];
        let (mut long, mut short) = (Vec::new(), Vec::new());
        for (text, patterns) in all {
            match *text.as_slice() {
                [a, b, c, ..] => {
                    let hash = hash(u32::from_le_bytes([a, b, c, 0]));
                    table[(hash >> 6) as usize] |= 1 << (hash & 63);
                    long.push((hash, Literal { text, patterns }));
                }
                [first, ..] => {
                    rare[usize::from(first)] = true;
                    short.push(Literal { text, patterns });
                }
                [] => {}
            }
        }
        long.sort_by_key(|(hash, _)| *hash);
        Self { patterns: policy.patterns.clone(), table, long, short, rare }
    }

    /// Notes each place in `text` that is worth a look.
    pub(super) fn survey(&self, text: &[u8], survey: &mut Survey) {
        let Survey { lower, hits, everywhere } = survey;
        hits.clear();
        *everywhere = false;
        lower.clear();
        lower.extend(text.iter().map(u8::to_ascii_lowercase));
        let lower = std::mem::take(lower);
        self.literals(&lower, |at, _| {
            survey.hit(at);
            !survey.everywhere
        });
        if !survey.everywhere {
            for (at, byte) in lower.iter().enumerate() {
                if self.rare[usize::from(*byte)] {
                    survey.hit(at);
                }
            }
            cards(&lower, |start, _| survey.hit(start));
        }
        survey.lower = lower;
    }

    /// Calls `found` with place and patterns of each literal in `lower`, until it says false.
    fn literals(&self, lower: &[u8], mut found: impl FnMut(usize, Mask) -> bool) {
        for (at, window) in lower.windows(3).enumerate() {
            let hash = hash(u32::from_le_bytes([window[0], window[1], window[2], 0]));
            if self.table[(hash >> 6) as usize] >> (hash & 63) & 1 == 1 {
                let patterns = self.confirm(hash, &lower[at..]);
                if patterns != 0 && !found(at, patterns) {
                    return;
                }
            }
        }
    }

    #[cold]
    fn confirm(&self, hash: u32, rest: &[u8]) -> Mask {
        let from = self.long.partition_point(|(h, _)| *h < hash);
        let same = self.long[from..].iter().take_while(|(h, _)| *h == hash);
        same.filter(|(_, l)| rest.starts_with(&l.text)).fold(0, |mask, (_, l)| mask | l.patterns)
    }

    /// Calls `found` with each match of each pattern, and of card numbers, in `value`. True where there are so many that
    /// all of it had better be hidden.
    pub(super) fn look<'s>(&'s self, value: &[u8], mut found: impl FnMut(Found<'s>)) -> bool {
        let lower = value.to_ascii_lowercase();
        let mut mask: Mask = 0;
        self.literals(&lower, |_, patterns| {
            mask |= patterns;
            true
        });
        for literal in &self.short {
            if literal.patterns & !mask != 0 && contains(&lower, &literal.text) {
                mask |= literal.patterns;
            }
        }
        let mut flood = false;
        while mask != 0 {
            let bit = mask.trailing_zeros();
            mask &= mask - 1;
            let Some(pattern) = self.patterns.get(bit as usize) else { break };
            if pattern.kind == PatternKind::Attack {
                if let Some(m) = pattern.regex.find(value) {
                    found(Found { pattern, start: m.start(), end: m.end() });
                }
                continue;
            }
            let mut count = 0;
            for captures in pattern.regex.captures_iter(value) {
                let Some(m) = captures.get(pattern.group) else { continue };
                count += 1;
                if count > MATCHES_MAX {
                    flood = true;
                    break;
                }
                let excepted = |e: &Vec<u8>| m.as_bytes().len() >= e.len() && m.as_bytes()[..e.len()].eq_ignore_ascii_case(e);
                if m.start() < m.end() && !pattern.except.iter().any(excepted) {
                    found(Found { pattern, start: m.start(), end: m.end() });
                }
            }
        }
        flood
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    memchr::memmem::find(text, part).is_some()
}

/// Multiplicative hash of three bytes to [`TABLE_BITS`] bits.
fn hash(three: u32) -> u32 {
    three.wrapping_mul(0x9E37_79B1) >> (32 - TABLE_BITS)
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
        let triplet = (byte == b'%').then(|| Some(hex(text.get(at + 1))? << 4 | hex(text.get(at + 2))?)).flatten();
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
            "4111111111111112", "1732473411123", "1732473411123456789", "a4111111111111111", "4111111111111111f",
            "0b8a7c4e-6c2b-4f0e-9a53-0c1d2e3f4a5b", "41111111111111111111111", "2024-11-24 10:11:12",
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
    fn a_pattern_is_tried_on_what_it_matches() {
        let policy = Policy::default();
        let scanner = Scanner::new(&policy);
        for (i, pattern) in policy.patterns.iter().enumerate() {
            for literal in &pattern.literals {
                let text = [b"zz", literal.as_slice(), b"zz"].concat();
                let mut survey = Survey::default();
                scanner.survey(&text, &mut survey);
                assert!(survey.touches(2, 3), "{i} {literal:?}");
            }
        }
    }

    #[test]
    fn a_flood_of_literals_is_bounded() {
        let scanner = Scanner::new(&Policy::default());
        let mut survey = Survey::default();
        scanner.survey(&b"../".repeat(10_000), &mut survey);
        assert!(survey.everywhere && survey.hits.len() <= HITS_MAX);
    }
}
