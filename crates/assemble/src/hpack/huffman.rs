//! The Huffman code (RFC 7541, 5.2 and Appendix B).
//!
//! The code is canonical: in the order of their lengths, and among the same length in the order of the symbols, the codes
//! are consecutive numbers. So the lengths alone give it, and a code is found by comparing it with the last one of
//! each length.

/// Lengths of the codes of the 256 octets and of EOS, bits.
#[rustfmt::skip]
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
];

const SYMBOLS: usize = LENGTHS.len();
const EOS: u16 = 256;
const SHORTEST: usize = 5;
const LONGEST: usize = 30;
/// Codes of up to so many bits are found by one look into a table: those of all characters in wide use.
const SHORT: usize = 10;

/// What is derived from the lengths.
struct Code {
    /// Symbols in the order of their codes.
    symbols: [u16; SYMBOLS],
    /// The first code of each length.
    first: [u32; LONGEST + 1],
    /// Where its symbol stands in `symbols`.
    at: [u16; LONGEST + 1],
    /// How many codes of each length there are.
    count: [u16; LONGEST + 1],
    /// By the next [`SHORT`] bits: symbol and length of the code that they begin with; length 0 where it is longer.
    short: [(u16, u8); 1 << SHORT],
}

const fn code() -> Code {
    let mut symbols = [0; SYMBOLS];
    let mut first = [0; LONGEST + 1];
    let mut at = [0; LONGEST + 1];
    let mut count = [0; LONGEST + 1];
    let mut short = [(0, 0); 1 << SHORT];
    let (mut length, mut next, mut place) = (SHORTEST, 0u32, 0usize);
    while length <= LONGEST {
        next <<= 1;
        first[length] = next;
        at[length] = place as u16;
        let mut symbol = 0;
        while symbol < SYMBOLS {
            if LENGTHS[symbol] as usize == length {
                symbols[place] = symbol as u16;
                if length <= SHORT {
                    let spare = SHORT - length;
                    let mut i = 0;
                    while i < 1 << spare {
                        short[((next as usize) << spare) + i] = (symbol as u16, length as u8);
                        i += 1;
                    }
                }
                count[length] += 1;
                place += 1;
                next += 1;
            }
            symbol += 1;
        }
        length += 1;
    }
    Code { symbols, first, at, count, short }
}

static CODE: Code = code();

/// The bytes are no Huffman-encoded string.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Invalid;

/// Appends what `encoded` means. At most 8 octets come of 5.
pub(super) fn decode(encoded: &[u8], out: &mut Vec<u8>) -> Result<(), Invalid> {
    let (mut bits, mut held) = (0u64, 0usize);
    let mut input = encoded.iter();
    loop {
        while held <= 56 {
            let Some(&byte) = input.next() else { break };
            bits |= u64::from(byte) << (56 - held);
            held += 8;
        }
        let (symbol, length) = match CODE.short[(bits >> (64 - SHORT)) as usize] {
            (_, 0) => long(bits)?,
            (symbol, length) => (symbol, usize::from(length)),
        };
        if length > held {
            // What is left begins no whole code: it must be padding, less than an octet of the beginning of EOS.
            let padded = held < 8 && (held == 0 || bits >> (64 - held) == (1 << held) - 1);
            return if padded { Ok(()) } else { Err(Invalid) };
        }
        if symbol == EOS {
            return Err(Invalid);
        }
        out.push(symbol as u8);
        bits <<= length;
        held -= length;
    }
}

fn long(bits: u64) -> Result<(u16, usize), Invalid> {
    for length in SHORT + 1..=LONGEST {
        let place = ((bits >> (64 - length)) as u32).wrapping_sub(CODE.first[length]);
        if place < u32::from(CODE.count[length]) {
            let symbol = CODE.symbols.get(CODE.at[length] as usize + place as usize).ok_or(Invalid)?;
            return Ok((*symbol, length));
        }
    }
    Err(Invalid)
}

#[cfg(test)]
pub(super) fn encode(octets: &[u8], out: &mut Vec<u8>) {
    let (mut bits, mut held) = (0u64, 0usize);
    for &octet in octets {
        let length = usize::from(LENGTHS[usize::from(octet)]);
        let at = CODE.at[length] as usize;
        let place = CODE.symbols[at..].iter().position(|&s| s == u16::from(octet)).unwrap_or_default();
        bits = bits << length | u64::from(CODE.first[length] + place as u32);
        held += length;
        while held >= 8 {
            held -= 8;
            out.push((bits >> held) as u8);
        }
    }
    if held > 0 {
        out.push((bits << (8 - held)) as u8 | (0xff >> held));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn code_is_complete() {
        let sum: u64 = LENGTHS.iter().map(|&l| 1u64 << (LONGEST - usize::from(l))).sum();
        assert_eq!(sum, 1 << LONGEST);
    }

    #[test]
    fn padding_is_short_and_of_ones() {
        let mut out = Vec::new();
        // "0" is 00000.
        assert_eq!(decode(&[0b0000_0111], &mut out), Ok(()));
        assert_eq!(out, b"0");
        assert_eq!(decode(&[0b0000_0110], &mut Vec::new()), Err(Invalid));
        assert_eq!(decode(&[0b0000_0111, 0xff], &mut Vec::new()), Err(Invalid));
        assert_eq!(decode(&[0xff; 4], &mut Vec::new()), Err(Invalid));
        assert_eq!(decode(&[], &mut Vec::new()), Ok(()));
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
            let (mut encoded, mut decoded) = (Vec::new(), Vec::new());
            encode(&octets, &mut encoded);
            prop_assert_eq!(decode(&encoded, &mut decoded), Ok(()));
            prop_assert_eq!(decoded, octets);
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut out = Vec::new();
            if decode(&bytes, &mut out).is_ok() {
                // The code is a bijection but for the padding, which is fixed.
                let mut again = Vec::new();
                encode(&out, &mut again);
                prop_assert_eq!(again, bytes);
            }
        }
    }
}
