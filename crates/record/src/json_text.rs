//! The small parts of JSON text: strings, numbers, addresses, times, written straight into a buffer.
//!
//! Not serde: the writers append a fixed skeleton with bulk copies between its holes, which costs a fraction of
//! walking a data model, and wire bytes need an escaping of their own anyhow.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::event::Endpoint;
use crate::printable::is_hidden;
use crate::time::write_rfc3339;
use crate::transaction::{Message, Span, StartLine};

/// How the bytes of a message are read as text. One for all strings of a message, so that a reader who knows
/// `latin1` can restore every byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Charset {
    /// All bytes are below 0x80. The usual case, and the quick one.
    Ascii,
    /// All strings are UTF-8.
    Utf8,
    /// Some string is not: each byte is the character of that number (ISO 8859-1).
    Latin1,
}

impl Charset {
    /// The charset of all strings of a message.
    pub(crate) fn of_message(message: &Message) -> Self {
        if message.text.is_ascii() {
            return Self::Ascii;
        }
        // By spans and not by the whole text, of which some bytes may belong to no string.
        let start = match message.start {
            StartLine::Request { method, target } => [method, target],
            StartLine::Status { reason, .. } => [reason, Span::default()],
        };
        let lines = message.lines.iter().chain(&message.trailers);
        let mut spans = start.into_iter().chain(lines.flat_map(|line| [line.name, line.value]));
        if spans.all(|span| std::str::from_utf8(message.bytes(span)).is_ok()) {
            Self::Utf8
        } else {
            Self::Latin1
        }
    }

    /// The charset of one string that stands alone.
    pub(crate) fn of_bytes(bytes: &[u8]) -> Self {
        if bytes.is_ascii() {
            Self::Ascii
        } else if std::str::from_utf8(bytes).is_ok() {
            Self::Utf8
        } else {
            Self::Latin1
        }
    }
}

/// Whether a byte stands for itself within a JSON string, whatever the charset.
fn is_plain(b: u8) -> bool {
    // Without branches, for the sake of the groups below.
    (0x20..0x7f).contains(&b) & (b != b'"') & (b != b'\\')
}

/// Whether all bytes stand for themselves, looked at in groups; the last group overlaps the one before.
#[inline]
fn all_plain(bytes: &[u8]) -> bool {
    if let Some(last) = bytes.last_chunk::<16>() {
        // For the compiler to turn into vector instructions.
        let group = |b: &[u8; 16]| b.iter().fold(true, |plain, &b| plain & is_plain(b));
        bytes.as_chunks::<16>().0.iter().all(group) && group(last)
    } else if let (Some(first), Some(last)) = (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        all_plain_in(u64::from_ne_bytes(*first)) & all_plain_in(u64::from_ne_bytes(*last))
    } else if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        let both = u64::from(u32::from_ne_bytes(*first)) << 32 | u64::from(u32::from_ne_bytes(*last));
        all_plain_in(both)
    } else {
        bytes.iter().all(|&b| is_plain(b))
    }
}

/// [`all_plain`] of the eight bytes of a word. Each term sets the top bit of a byte that is not plain; borrows and
/// carries into other bytes come from such bytes only, so that the answer for the word as a whole is exact.
#[inline]
fn all_plain_in(word: u64) -> bool {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const fn of(byte: u8) -> u64 {
        ONES * byte as u64
    }
    let control = word.wrapping_sub(of(0x20));
    let quote = (word ^ of(b'"')).wrapping_sub(ONES);
    let backslash = (word ^ of(b'\\')).wrapping_sub(ONES);
    let delete = word.wrapping_add(ONES);
    (control | quote | backslash | delete | word) & of(0x80) == 0
}

/// Appends the inside of a JSON string.
#[inline]
pub(crate) fn push_escaped(out: &mut Vec<u8>, bytes: &[u8], charset: Charset) {
    if all_plain(bytes) {
        out.extend_from_slice(bytes);
    } else {
        push_escaped_slowly(out, bytes, charset);
    }
}

/// [`push_escaped`] where some byte does not stand for itself.
#[cold]
fn push_escaped_slowly(out: &mut Vec<u8>, bytes: &[u8], charset: Charset) {
    let mut rest = bytes;
    while !rest.is_empty() {
        let plain = rest.iter().position(|&b| !is_plain(b)).unwrap_or(rest.len());
        out.extend_from_slice(&rest[..plain]);
        rest = &rest[plain..];
        // A run of characters that need a look: escaped ones below 0x80, and all from there on.
        let run = rest.iter().position(|&b| is_plain(b)).unwrap_or(rest.len());
        match std::str::from_utf8(&rest[..run]) {
            Ok(text) if charset != Charset::Latin1 => text.chars().for_each(|c| push_char(out, c)),
            _ => rest[..run].iter().for_each(|&b| push_char(out, char::from(b))),
        }
        rest = &rest[run..];
    }
}

/// Appends one character, escaped where JSON demands it or where it could act on a terminal that shows the line.
fn push_char(out: &mut Vec<u8>, c: char) {
    match c {
        '"' => out.extend_from_slice(b"\\\""),
        '\\' => out.extend_from_slice(b"\\\\"),
        '\n' => out.extend_from_slice(b"\\n"),
        '\r' => out.extend_from_slice(b"\\r"),
        '\t' => out.extend_from_slice(b"\\t"),
        c if is_hidden(c) => {
            for unit in c.encode_utf16(&mut [0; 2]) {
                out.extend_from_slice(b"\\u");
                [12, 8, 4, 0].into_iter().for_each(|shift| out.push(HEX[usize::from(*unit >> shift & 15)]));
            }
        }
        c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

/// Appends a JSON string.
#[inline]
pub(crate) fn push_string(out: &mut Vec<u8>, bytes: &[u8], charset: Charset) {
    out.push(b'"');
    push_escaped(out, bytes, charset);
    out.push(b'"');
}

/// Appends a JSON string.
pub(crate) fn push_str(out: &mut Vec<u8>, text: &str) {
    push_string(out, text.as_bytes(), Charset::Utf8);
}

/// Appends a JSON string, or null where there is none.
pub(crate) fn push_optional_str(out: &mut Vec<u8>, text: Option<&str>) {
    match text {
        Some(text) => push_str(out, text),
        None => out.extend_from_slice(b"null"),
    }
}

/// Appends a decimal number.
#[inline]
pub(crate) fn push_number(out: &mut Vec<u8>, value: impl Into<u64>) {
    const GROUP: u64 = 100_000_000;
    let value: u64 = value.into();
    if value < 10 {
        out.push(b'0' + value as u8);
    } else if value < GROUP {
        push_group(out, value as u32);
    } else {
        push_long_number(out, value / GROUP, (value % GROUP) as u32);
    }
}

/// Appends the digits of a number that is not 0 and has at most eight. They are copied as eight and cut: a copy of
/// fixed length is one instruction, and one of a length unknown to the compiler is a call.
#[inline]
fn push_group(out: &mut Vec<u8>, value: u32) {
    let digits = eight_digits(value);
    let leading = digits.trailing_zeros() / 8;
    let len = out.len() + 8 - leading as usize;
    out.extend_from_slice(&((digits >> (leading * 8)) + ASCII_ZEROS).to_le_bytes());
    out.truncate(len);
}

#[inline(never)]
fn push_long_number(out: &mut Vec<u8>, high: u64, low: u32) {
    push_number(out, high);
    out.extend_from_slice(&(eight_digits(low) + ASCII_ZEROS).to_le_bytes());
}

const ASCII_ZEROS: u64 = 0x3030_3030_3030_3030;

/// The eight digits of a number below 10^8 as bytes 0 to 9, the first digit in the lowest byte. Splits into halves
/// three times, all parts of a step at once; divisions are multiplications by a rounded reciprocal.
#[inline]
fn eight_digits(value: u32) -> u64 {
    let fours = u64::from(value / 10_000) | u64::from(value % 10_000) << 32;
    let high = ((fours * 10_486) >> 20) & 0x0000_007f_0000_007f;
    let twos = high | (fours - high * 100) << 16;
    let high = ((twos * 103) >> 10) & 0x000f_000f_000f_000f;
    high | (twos - high * 10) << 8
}

/// Appends a decimal number, or null where there is none.
#[inline]
pub(crate) fn push_optional_number(out: &mut Vec<u8>, value: Option<impl Into<u64>>) {
    match value {
        Some(value) => push_number(out, value),
        None => out.extend_from_slice(b"null"),
    }
}

/// Appends `true` or `false`.
pub(crate) fn push_bool(out: &mut Vec<u8>, value: bool) {
    out.extend_from_slice(if value { b"true" } else { b"false" });
}

/// Appends a list of strings.
pub(crate) fn push_list(out: &mut Vec<u8>, items: impl IntoIterator<Item = impl AsRef<str>>) {
    out.push(b'[');
    let mut first = true;
    for item in items {
        comma(out, &mut first);
        push_str(out, item.as_ref());
    }
    out.push(b']');
}

/// Appends a comma, but for the first time.
#[inline]
pub(crate) fn comma(out: &mut Vec<u8>, first: &mut bool) {
    if !std::mem::replace(first, false) {
        out.push(b',');
    }
}

/// Appends a time as a JSON string.
pub(crate) fn push_time(out: &mut Vec<u8>, unix_ns: u64) {
    out.push(b'"');
    write_rfc3339(out, unix_ns);
    out.push(b'"');
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Appends a number in hexadecimal, with at least `digits_min` digits.
pub(crate) fn push_hex(out: &mut Vec<u8>, value: u64, digits_min: u32) {
    let digits = (64 - value.leading_zeros()).div_ceil(4).max(digits_min);
    (0..digits).rev().for_each(|i| out.push(HEX[(value.unbounded_shr(i * 4) & 15) as usize]));
}

/// Appends an address as RFC 5952 writes it. The same text as `Display`, without its machinery.
pub(crate) fn push_ip(out: &mut Vec<u8>, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => push_ipv4(out, ip),
        IpAddr::V6(ip) => push_ipv6(out, ip),
    }
}

fn push_ipv4(out: &mut Vec<u8>, ip: Ipv4Addr) {
    let mut text = [b'.'; 15];
    let mut len = 0;
    for octet in ip.octets() {
        if octet >= 100 {
            text[len] = b'0' + octet / 100;
            len += 1;
        }
        if octet >= 10 {
            text[len] = b'0' + octet / 10 % 10;
            len += 1;
        }
        text[len] = b'0' + octet % 10;
        // Skips over the dot that stands there already.
        len += 2;
    }
    out.extend_from_slice(&text[..len - 1]);
}

fn push_ipv6(out: &mut Vec<u8>, ip: Ipv6Addr) {
    if let Some(v4) = ip.to_ipv4_mapped() {
        out.extend_from_slice(b"::ffff:");
        return push_ipv4(out, v4);
    }
    let groups = ip.segments();
    // The first of the longest runs of zero groups, if longer than one, becomes "::".
    let (mut start, mut longest, mut run) = (0, 0, 0);
    for (i, &group) in groups.iter().enumerate() {
        run = if group == 0 { run + 1 } else { 0 };
        if run > longest {
            (start, longest) = (i + 1 - run, run);
        }
    }
    let hole = if longest > 1 { start..start + longest } else { 0..0 };
    for (i, &group) in groups.iter().enumerate() {
        if hole.contains(&i) {
            if i == hole.start {
                out.extend_from_slice(b"::");
            }
            continue;
        }
        if i > 0 && i != hole.end {
            out.push(b':');
        }
        push_hex(out, u64::from(group), 1);
    }
}

/// Appends `{"ip":"127.0.0.1","port":51234}`.
pub(crate) fn push_endpoint(out: &mut Vec<u8>, end: Endpoint) {
    out.extend_from_slice(b"{\"ip\":\"");
    push_ip(out, end.ip);
    out.extend_from_slice(b"\",\"port\":");
    push_number(out, end.port);
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn string(bytes: &[u8]) -> (String, String) {
        let mut out = Vec::new();
        push_string(&mut out, bytes, Charset::of_bytes(bytes));
        let text = String::from_utf8(out).unwrap();
        let parsed = serde_json::from_str(&text).unwrap();
        (text, parsed)
    }

    #[test]
    fn what_json_or_a_terminal_minds_is_escaped() {
        assert_eq!(string(b"a\"b\\c/d\n\r\t\x00\x1b\x7f").0, r#""a\"b\\c/d\n\r\t\u0000\u001b\u007f""#);
        assert_eq!(string("é 世 \u{9b}\u{202e}\u{2028}".as_bytes()).0, "\"é 世 \\u009b\\u202e\\u2028\"");
        assert_eq!(string("\u{e0041}".as_bytes()).0, "\"\\udb40\\udc41\"");
        assert_eq!(string(b"caf\xe9 \x9b \xff").0, "\"café \\u009b ÿ\"");
    }

    #[test]
    fn every_length_and_place_of_a_special_byte_is_found() {
        for len in 0..50 {
            let plain = vec![b'a'; len];
            assert!(all_plain(&plain));
            for at in 0..len {
                for special in [0, 0x1f, b'"', b'\\', 0x7f, 0x80, 0xff] {
                    let mut bytes = plain.clone();
                    bytes[at] = special;
                    assert!(!all_plain(&bytes), "{special} at {at} of {len}");
                }
            }
        }
    }

    #[test]
    fn hexadecimal_numbers_are_padded_and_not_cut() {
        let hex = |value, digits| {
            let mut out = Vec::new();
            push_hex(&mut out, value, digits);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(hex(0, 1), "0");
        assert_eq!(hex(0xab, 12), "0000000000ab");
        assert_eq!(hex(u64::MAX, 1), "ffffffffffffffff");
    }

    #[test]
    fn numbers_of_every_length_read_as_the_standard_library_writes_them() {
        for value in (0..100_000_000_u64).step_by(9_973).chain(0..20_000) {
            let mut out = Vec::new();
            push_number(&mut out, value);
            assert_eq!(String::from_utf8(out).unwrap(), value.to_string());
        }
        for power in 0..20 {
            let power = 10_u64.pow(power);
            for value in [power - 1, power, power + 1, power.saturating_mul(9), u64::MAX] {
                let mut out = Vec::new();
                push_number(&mut out, value);
                assert_eq!(String::from_utf8(out).unwrap(), value.to_string());
            }
        }
    }

    proptest! {
        #[test]
        fn strings_parse_back(text: String) {
            prop_assert_eq!(string(text.as_bytes()).1, text);
        }

        #[test]
        fn bytes_parse_back_as_latin1_or_utf8(bytes: Vec<u8>) {
            let (text, parsed) = string(&bytes);
            prop_assert!(!text.chars().any(is_hidden));
            match std::str::from_utf8(&bytes) {
                Ok(utf8) => prop_assert_eq!(parsed, utf8),
                Err(_) => prop_assert_eq!(parsed.chars().map(|c| c as u8).collect::<Vec<_>>(), bytes),
            }
        }

        #[test]
        fn addresses_read_as_the_standard_library_writes_them(v4: u32, groups: [u16; 8], mask: u8) {
            // Random groups are hardly ever zero; the mask makes runs of zeros.
            let groups: [u16; 8] = std::array::from_fn(|i| if mask >> i & 1 == 1 { groups[i] } else { 0 });
            let mapped = Ipv4Addr::from_bits(v4).to_ipv6_mapped();
            for ip in [IpAddr::V4(Ipv4Addr::from_bits(v4)), IpAddr::V6(groups.into()), IpAddr::V6(mapped)] {
                let mut out = Vec::new();
                push_ip(&mut out, ip);
                prop_assert_eq!(String::from_utf8(out).unwrap(), ip.to_string());
            }
        }
    }
}
