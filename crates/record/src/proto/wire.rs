//! The few kinds of protobuf fields, appended to a buffer or walked over.
//!
//! What has its default value is left out, unless the field is optional and there.

/// A kind of encoding.
const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const BYTES: u32 = 2;
const FIXED32: u32 = 5;

/// Appends a variable-length number.
#[inline]
pub(super) fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[inline]
fn key(out: &mut Vec<u8>, field: u32, kind: u32) {
    varint(out, u64::from(field << 3 | kind));
}

/// Appends a number that is there, even if 0.
#[inline]
pub(super) fn number(out: &mut Vec<u8>, field: u32, value: u64) {
    key(out, field, VARINT);
    varint(out, value);
}

/// Appends a number unless it is 0.
#[inline]
pub(super) fn uint(out: &mut Vec<u8>, field: u32, value: impl Into<u64>) {
    let value = value.into();
    if value != 0 {
        number(out, field, value);
    }
}

/// Appends an optional number.
#[inline]
pub(super) fn optional_uint(out: &mut Vec<u8>, field: u32, value: Option<impl Into<u64>>) {
    if let Some(value) = value {
        number(out, field, value.into());
    }
}

/// Small negative numbers as small positive ones.
pub(super) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// The number that [`zigzag`] took.
pub(super) fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Appends a signed number unless it is 0.
#[inline]
pub(super) fn sint(out: &mut Vec<u8>, field: u32, value: i64) {
    uint(out, field, zigzag(value));
}

/// Appends the number of an enum's value unless it is 0.
#[inline]
pub(super) fn enumeration(out: &mut Vec<u8>, field: u32, value: i32) {
    uint(out, field, i64::from(value) as u64);
}

/// Appends eight bytes unless they are 0.
#[inline]
pub(super) fn fixed64(out: &mut Vec<u8>, field: u32, value: u64) {
    if value != 0 {
        key(out, field, FIXED64);
        out.extend_from_slice(&value.to_le_bytes());
    }
}

/// Appends bytes or a string that is there, even if empty.
#[inline]
pub(super) fn optional_bytes(out: &mut Vec<u8>, field: u32, value: Option<&[u8]>) {
    if let Some(value) = value {
        key(out, field, BYTES);
        varint(out, value.len() as u64);
        out.extend_from_slice(value);
    }
}

/// Appends bytes or a string unless empty.
#[inline]
pub(super) fn bytes(out: &mut Vec<u8>, field: u32, value: &[u8]) {
    optional_bytes(out, field, Some(value).filter(|value| !value.is_empty()));
}

/// Appends a message that `body` writes.
///
/// Its length comes first and is known last: two bytes are left for it, as for most messages of lines, and what was
/// written moves where they do not fit. Knowing it beforehand would mean to walk over everything twice.
#[inline]
pub(super) fn message(out: &mut Vec<u8>, field: u32, body: impl FnOnce(&mut Vec<u8>)) {
    const GUESS_BYTES: usize = 2;
    key(out, field, BYTES);
    let at = out.len();
    out.extend_from_slice(&[0; GUESS_BYTES]);
    body(out);
    let len = out.len() - at - GUESS_BYTES;
    if let 0x80..0x4000 = len {
        out[at] = len as u8 | 0x80;
        out[at + 1] = (len >> 7) as u8;
        return;
    }
    let mut prefix = Vec::with_capacity(10);
    varint(&mut prefix, len as u64);
    out.splice(at..at + GUESS_BYTES, prefix);
}

/// Appends a message of less than 128 bytes, as far as can be told beforehand.
#[inline]
pub(super) fn small_message(out: &mut Vec<u8>, field: u32, body: impl FnOnce(&mut Vec<u8>)) {
    key(out, field, BYTES);
    let at = out.len();
    out.push(0);
    body(out);
    let len = out.len() - at - 1;
    if len < 0x80 {
        out[at] = len as u8;
        return;
    }
    let mut prefix = Vec::with_capacity(10);
    varint(&mut prefix, len as u64);
    out.splice(at..=at, prefix);
}

/// Bytes that [`varint`] takes.
#[inline]
fn varint_bytes(value: usize) -> usize {
    (70 - (value as u64 | 1).leading_zeros() as usize) / 7
}

/// Appends a message of two fields of bytes, 1 and 2. The most frequent of all, and its length is simple.
#[inline]
pub(super) fn pair(out: &mut Vec<u8>, field: u32, first: &[u8], second: &[u8]) {
    let of = |part: &[u8]| if part.is_empty() { 0 } else { 1 + varint_bytes(part.len()) + part.len() };
    key(out, field, BYTES);
    varint(out, (of(first) + of(second)) as u64);
    bytes(out, 1, first);
    bytes(out, 2, second);
}

/// What a field holds, as far as its encoding tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Value<'a> {
    /// A number of variable length.
    Varint(u64),
    /// Eight bytes.
    Fixed64(u64),
    /// Four bytes.
    Fixed32,
    /// Bytes, a string or a message.
    Bytes(&'a [u8]),
}

/// Walks over the fields of a message. Ends at the first that is malformed; `is_whole` tells it.
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Those of a message.
    pub(super) fn of(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// What has not been walked over.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Nothing is left.
    pub(super) fn is_whole(&self) -> bool {
        self.rest.is_empty()
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (u32, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let (key, rest) = read_varint(self.rest)?;
        let field = u32::try_from(key >> 3).ok().filter(|&field| field != 0)?;
        let (value, rest) = match (key & 7) as u32 {
            VARINT => read_varint(rest).map(|(value, rest)| (Value::Varint(value), rest))?,
            FIXED64 => {
                let (value, rest) = rest.split_first_chunk()?;
                (Value::Fixed64(u64::from_le_bytes(*value)), rest)
            }
            BYTES => {
                let (len, rest) = read_varint(rest)?;
                let (value, rest) = rest.split_at_checked(usize::try_from(len).ok()?)?;
                (Value::Bytes(value), rest)
            }
            FIXED32 => (Value::Fixed32, rest.get(4..)?),
            _ => return None,
        };
        self.rest = rest;
        Some((field, value))
    }
}

#[inline]
fn read_varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (i, byte) in bytes.iter().take(10).enumerate() {
        // Of the tenth byte one bit is left.
        if i == 9 && *byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return Some((value, &bytes[i + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_numbers_are_as_written() {
        for value in (0..64).flat_map(|bit| [1_u64 << bit, (1 << bit) - 1, u64::MAX]) {
            let mut out = Vec::new();
            varint(&mut out, value);
            assert_eq!(varint_bytes(value as usize), out.len());
            assert_eq!(read_varint(&out), Some((value, &[][..])));
        }
        assert_eq!(read_varint(&[0xff; 10]), None);
        assert_eq!(read_varint(&[0x80]), None);
    }

    #[test]
    fn messages_of_every_length_have_the_shortest_prefix() {
        for len in [0, 1, 127, 128, 16_383, 16_384, 3_000_000] {
            let body = |out: &mut Vec<u8>| out.resize(out.len() + len, 7);
            let mut expected = vec![1, 2, 3, 5 << 3 | 2];
            varint(&mut expected, len as u64);
            body(&mut expected);
            let (mut out, mut small) = (vec![1, 2, 3], vec![1, 2, 3]);
            message(&mut out, 5, body);
            small_message(&mut small, 5, body);
            assert_eq!((&out, &small), (&expected, &expected), "{len}");
        }
    }
}
