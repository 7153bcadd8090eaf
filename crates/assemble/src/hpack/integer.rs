//! Integers (RFC 7541, 5.1).

use super::Error;

/// Largest value that is taken: lengths and indices of a block are far below it (RFC 7541, 7.4).
const VALUE_MAX: u64 = u32::MAX as u64;

/// Reads an integer whose first octet has `prefix` bits of it.
pub(super) fn decode(bytes: &mut &[u8], prefix: u32) -> Result<u32, Error> {
    let (&first, mut rest) = bytes.split_first().ok_or(Error::Cut)?;
    let full = (1u64 << prefix) - 1;
    let mut value = u64::from(first) & full;
    if value == full {
        let mut shift = 0;
        loop {
            let (&octet, after) = rest.split_first().ok_or(Error::Cut)?;
            rest = after;
            // Zeros may follow without an end (RFC 7541, 5.1), but no encoder writes them.
            if shift > 28 {
                return Err(Error::IntegerTooLarge);
            }
            value += u64::from(octet & 0x7f) << shift;
            if value > VALUE_MAX {
                return Err(Error::IntegerTooLarge);
            }
            if octet & 0x80 == 0 {
                break;
            }
            shift += 7;
        }
    }
    *bytes = rest;
    Ok(value as u32)
}
