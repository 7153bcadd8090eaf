//! Keyed fingerprints: what stands in a secret's place.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The key of fingerprints. Who holds it can test guesses of a secret against a record, so it is kept like one.
#[derive(Clone)]
pub struct FingerprintKey {
    /// Number of the key; keys rotate and keep their numbers.
    pub id: u32,
    /// The key itself.
    pub secret: [u8; 32],
}

impl fmt::Debug for FingerprintKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FingerprintKey({})", self.id)
    }
}

/// HMAC-SHA256 of a secret (RFC 2104), cut to its first 8 bytes: enough to follow one token among billions, and too
/// little to hold it. Printed as `hmac:<key id>:<16 hex>`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Fingerprint {
    /// Number of the key.
    pub key_id: u32,
    /// First 8 bytes of the code.
    pub digest: [u8; 8],
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hmac:{}:{:016x}", self.key_id, u64::from_be_bytes(self.digest))
    }
}

impl Fingerprint {
    /// Appends the printed form; the formatting machinery would cost as much as the digest.
    pub(super) fn write(self, out: &mut Vec<u8>) {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        out.extend_from_slice(b"hmac:");
        let mut digits = [0; 10];
        let mut at = digits.len();
        let mut id = self.key_id;
        loop {
            at -= 1;
            digits[at] = b'0' + (id % 10) as u8;
            id /= 10;
            if id == 0 {
                break;
            }
        }
        out.extend_from_slice(&digits[at..]);
        out.push(b':');
        for byte in self.digest {
            out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    }
}

/// Makes fingerprints. The state after the key has been taken in is kept and cloned, which halves the work for the
/// short values that secrets are.
pub(super) struct Fingerprinter {
    id: u32,
    keyed: Hmac<Sha256>,
}

impl Fingerprinter {
    pub(super) fn new(key: &FingerprintKey) -> Self {
        // A key shorter than a block is padded with zeros (RFC 2104, 2); done here, it cannot fail.
        let mut block = [0; 64];
        block[..32].copy_from_slice(&key.secret);
        Self { id: key.id, keyed: Hmac::new(&block.into()) }
    }

    pub(super) fn of(&self, secret: &[u8]) -> Fingerprint {
        let code = self.code(secret);
        let mut digest = [0; 8];
        digest.copy_from_slice(&code[..8]);
        Fingerprint { key_id: self.id, digest }
    }

    /// Sixteen bytes for an address, of a code that no secret has.
    #[cold]
    pub(super) fn address(&self, octets: [u8; 16]) -> [u8; 16] {
        const WHAT: &[u8; 25] = b"headtrail client address\0";
        let mut message = [0; WHAT.len() + 16];
        message[..WHAT.len()].copy_from_slice(WHAT);
        message[WHAT.len()..].copy_from_slice(&octets);
        let code = self.code(&message);
        let mut made = [0; 16];
        made.copy_from_slice(&code[..16]);
        made
    }

    // Not inlined: with one copy of it, what it calls is inlined here.
    #[inline(never)]
    fn code(&self, message: &[u8]) -> [u8; 32] {
        let mut mac = self.keyed.clone();
        mac.update(message);
        mac.finalize().into_bytes().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_the_beginning_of_hmac_sha256() {
        // RFC 4231, test case 2, has a shorter key; zero padding makes it the same key.
        let mut secret = [0; 32];
        secret[..4].copy_from_slice(b"Jefe");
        let maker = Fingerprinter::new(&FingerprintKey { id: 4_294_967_295, secret });
        let fingerprint = maker.of(b"what do ya want for nothing?");
        assert_eq!(fingerprint.to_string(), "hmac:4294967295:5bdcc146bf60754e");
        let mut out = Vec::new();
        fingerprint.write(&mut out);
        assert_eq!(out, fingerprint.to_string().as_bytes());
        let mut out = Vec::new();
        Fingerprint { key_id: 0, digest: [0; 8] }.write(&mut out);
        assert_eq!(out, b"hmac:0:0000000000000000");
    }

    #[test]
    fn the_key_does_not_print() {
        assert_eq!(format!("{:?}", FingerprintKey { id: 3, secret: [7; 32] }), "FingerprintKey(3)");
    }
}
