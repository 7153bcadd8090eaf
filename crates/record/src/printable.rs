//! Bytes from the wire as text that no terminal can be harmed or fooled by, and whose width is known.
//!
//! Printed as they are: ASCII from space to tilde, and other characters of one or two columns. Everything else is
//! escaped: control characters and bytes that are not UTF-8 as `\x1b`, characters that are invisible, that combine
//! or that turn the direction of writing as `\u{202e}`, and the backslash itself as `\\`, so that the original can be
//! told from the print. Errors, the terminal form and (for what it must escape) JSON follow this one page.

use std::fmt;

use unicode_width::UnicodeWidthChar as _;

/// What stands for the rest of a text that was cut.
pub const ELLIPSIS: char = '…';

/// Whether a character acts on a terminal or on the order of the text around it instead of showing itself: control
/// characters of both sets, separators of lines, bidirectional controls and other format characters.
#[must_use]
pub fn is_hidden(c: char) -> bool {
    matches!(
        u32::from(c),
        0x00..=0x1f
            | 0x7f..=0x9f
            | 0xad
            | 0x600..=0x605
            | 0x61c
            | 0x6dd
            | 0x70f
            | 0x180b..=0x180f
            | 0x200b..=0x200f
            | 0x2028..=0x202e
            | 0x2060..=0x206f
            | 0xfe00..=0xfe0f
            | 0xfeff
            | 0xfff0..=0xfffb
            | 0x1d173..=0x1d17a
            | 0xe0000..=0xe0fff
    )
}

/// Columns of a character that may be printed as it is; None where it must be escaped.
fn columns(c: char) -> Option<usize> {
    match c {
        '\\' => None,
        ' '..='~' => Some(1),
        c if is_hidden(c) || is_private(c) => None,
        // A zero width is a combining mark: on its own it changes the character before it, which may be ours.
        c => c.width().filter(|&w| w > 0),
    }
}

/// Characters whose look is the font's own business.
fn is_private(c: char) -> bool {
    matches!(u32::from(c), 0xe000..=0xf8ff | 0xf0000..=0x10ffff)
}

/// One unit of output: some bytes and their columns.
struct Unit {
    text: [u8; 12],
    len: usize,
    columns: usize,
}

impl Unit {
    fn shown(c: char, columns: usize) -> Self {
        let mut text = [0; 12];
        let len = c.encode_utf8(&mut text).len();
        Self { text, len, columns }
    }

    fn escaped_char(c: char) -> Self {
        match c {
            '\\' => Self::ascii(b"\\\\"),
            c if u32::from(c) < 0x80 => Self::escaped_byte(c as u8),
            c => {
                let mut text = [0; 12];
                let mut len = 0;
                let mut put = |b| {
                    text[len] = b;
                    len += 1;
                };
                b"\\u{".iter().for_each(|&b| put(b));
                let code = u32::from(c);
                let digits = (32 - code.leading_zeros()).div_ceil(4);
                (0..digits).rev().for_each(|i| put(hex(code >> (i * 4))));
                put(b'}');
                Self { text, len, columns: len }
            }
        }
    }

    fn escaped_byte(b: u8) -> Self {
        Self::ascii(&[b'\\', b'x', hex(u32::from(b) >> 4), hex(u32::from(b))])
    }

    fn ascii(from: &[u8]) -> Self {
        let mut text = [0; 12];
        text[..from.len()].copy_from_slice(from);
        Self { text, len: from.len(), columns: from.len() }
    }

    fn bytes(&self) -> &[u8] {
        &self.text[..self.len]
    }
}

/// The lower four bits as a hexadecimal digit.
fn hex(value: u32) -> u8 {
    b"0123456789abcdef"[(value & 15) as usize]
}

/// The units of a byte string, in order.
fn units(bytes: &[u8]) -> impl Iterator<Item = Unit> {
    bytes.utf8_chunks().flat_map(|chunk| {
        let valid = chunk.valid().chars().map(|c| match columns(c) {
            Some(columns) => Unit::shown(c, columns),
            None => Unit::escaped_char(c),
        });
        valid.chain(chunk.invalid().iter().map(|&b| Unit::escaped_byte(b)))
    })
}

/// Whether all bytes are printed as they are, one column each. The usual case, worth a quick look.
fn is_plain(bytes: &[u8]) -> bool {
    bytes.iter().fold(true, |plain, &b| plain & (0x20..0x7f).contains(&b) & (b != b'\\'))
}

/// Appends `bytes` in printable form; returns the columns taken.
pub fn write(out: &mut Vec<u8>, bytes: &[u8]) -> usize {
    if is_plain(bytes) {
        out.extend_from_slice(bytes);
        return bytes.len();
    }
    units(bytes).fold(0, |sum, unit| {
        out.extend_from_slice(unit.bytes());
        sum + unit.columns
    })
}

/// Appends `bytes` in printable form, cut to at most `columns_max` with [`ELLIPSIS`]; returns the columns taken.
/// An escape is never cut in two.
pub fn write_cut(out: &mut Vec<u8>, bytes: &[u8], columns_max: usize) -> usize {
    if bytes.len() <= columns_max && is_plain(bytes) {
        out.extend_from_slice(bytes);
        return bytes.len();
    }
    let mut taken = 0;
    // Where to go back to if the text turns out too long: the last place that leaves a column for the ellipsis.
    let mut cut = (out.len(), 0);
    for unit in units(bytes) {
        if taken + unit.columns > columns_max {
            out.truncate(cut.0);
            if cut.1 < columns_max {
                out.extend_from_slice(ELLIPSIS.encode_utf8(&mut [0; 4]).as_bytes());
                return cut.1 + 1;
            }
            return cut.1;
        }
        out.extend_from_slice(unit.bytes());
        taken += unit.columns;
        if taken < columns_max {
            cut = (out.len(), taken);
        }
    }
    taken
}

/// Displays bytes in printable form, for messages and errors.
#[derive(Clone, Copy)]
pub struct Printable<'a>(pub &'a [u8]);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        units(self.0).try_for_each(|unit| f.write_str(std::str::from_utf8(unit.bytes()).unwrap_or("?")))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Columns of a text, character by character.
    fn sum(text: &str) -> usize {
        text.chars().map(|c| c.width().unwrap()).sum()
    }

    fn print(bytes: &[u8]) -> String {
        let mut out = Vec::new();
        let columns = write(&mut out, bytes);
        let text = String::from_utf8(out).unwrap();
        assert_eq!(columns, sum(&text));
        assert_eq!(text, Printable(bytes).to_string());
        text
    }

    /// Undoes the escapes.
    fn unescape(text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            rest = &rest[c.len_utf8()..];
            if c != '\\' {
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            } else if let Some(after) = rest.strip_prefix('\\') {
                out.push(b'\\');
                rest = after;
            } else if let Some(after) = rest.strip_prefix('x') {
                out.push(u8::from_str_radix(&after[..2], 16).unwrap());
                rest = &after[2..];
            } else {
                let (code, after) = rest.strip_prefix("u{").unwrap().split_once('}').unwrap();
                let c = char::from_u32(u32::from_str_radix(code, 16).unwrap()).unwrap();
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                rest = after;
            }
        }
        out
    }

    #[test]
    fn what_can_harm_is_escaped_and_the_rest_is_not() {
        assert_eq!(print(b"GET /a?b=~"), "GET /a?b=~");
        assert_eq!(print(b"\x1b[2J\r\n\x07\x7f"), "\\x1b[2J\\x0d\\x0a\\x07\\x7f");
        assert_eq!(print("a\u{9b}b".as_bytes()), "a\\u{9b}b");
        assert_eq!(print(b"a\x9bb\xff"), "a\\x9bb\\xff");
        assert_eq!(print("\u{202e}gnp.exe\u{2066}\u{200d}".as_bytes()), "\\u{202e}gnp.exe\\u{2066}\\u{200d}");
        assert_eq!(print("e\u{301} é 世界 \u{e0041}".as_bytes()), "e\\u{301} é 世界 \\u{e0041}");
        assert_eq!(print(b"C:\\x1b"), "C:\\\\x1b");
    }

    #[test]
    fn a_cut_keeps_to_its_columns() {
        let cut = |text: &str, columns| {
            let mut out = Vec::new();
            let taken = write_cut(&mut out, text.as_bytes(), columns);
            let text = String::from_utf8(out).unwrap();
            assert_eq!(taken, sum(&text));
            text
        };
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut("abcdefg", 6), "abcde…");
        assert_eq!(cut("世界世界", 8), "世界世界");
        assert_eq!(cut("世界世界", 7), "世界世…");
        assert_eq!(cut("世界世界", 6), "世界…");
        assert_eq!(cut("ab\x1bcd", 5), "ab…");
        assert_eq!(cut("ab\x1b", 6), "ab\\x1b");
        assert_eq!(cut("ab", 1), "…");
        assert_eq!(cut("ab", 0), "");
    }

    proptest! {
        #[test]
        fn output_has_no_control_or_hidden_characters(bytes: Vec<u8>) {
            prop_assert!(!print(&bytes).chars().any(is_hidden));
        }

        #[test]
        fn any_text_is_printed_without_control_or_hidden_characters(text: String) {
            prop_assert!(!print(text.as_bytes()).chars().any(is_hidden));
        }

        #[test]
        fn the_original_can_be_told_from_the_print(bytes: Vec<u8>, text: String) {
            prop_assert_eq!(unescape(&print(&bytes)), bytes);
            prop_assert_eq!(unescape(&print(text.as_bytes())), text.as_bytes());
        }

        #[test]
        fn a_cut_never_exceeds_its_columns(text: String, bytes: Vec<u8>, columns in 0_usize..30) {
            for bytes in [text.as_bytes(), &bytes] {
                let mut out = Vec::new();
                let taken = write_cut(&mut out, bytes, columns);
                prop_assert!(taken <= columns);
                let out = String::from_utf8(out).unwrap();
                prop_assert_eq!(sum(&out), taken);
            }
        }
    }
}
