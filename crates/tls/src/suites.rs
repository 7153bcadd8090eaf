//! Cipher suites: their names, and what a name says about how records are protected.
//!
//! The names are those of records; here is what follows `_WITH_` in those that can be read, so that no suite has a number
//! and an algorithm that do not belong together.

use headtrail_record::tls::cipher_suite_name;

/// How a suite protects records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Algorithm {
    Aes128Gcm,
    Aes256Gcm,
    ChaCha20Poly1305,
    /// With the length of the tag, bytes.
    Aes128Ccm(usize),
    /// With the length of the tag, bytes.
    Aes256Ccm(usize),
    Aes128Cbc(Mac),
    Aes256Cbc(Mac),
}

/// Hash of the MAC of a CBC suite.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mac {
    Sha1,
    Sha256,
    Sha384,
}

/// Hash of the key schedule.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Hash {
    Sha256,
    Sha384,
}

impl Hash {
    /// Length of its output, bytes.
    pub(crate) fn len(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
        }
    }
}

/// A cipher suite by its number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Suite(pub u16);

impl Suite {
    /// Its name in IANA's registry, if it is known here.
    pub fn name(self) -> Option<&'static str> {
        cipher_suite_name(self.0)
    }

    /// One of TLS 1.3, which no earlier version can use, and the other way round.
    pub(crate) fn is_tls13(self) -> bool {
        self.0 >> 8 == 0x13
    }

    /// How records are protected, if that can be undone here.
    pub(crate) fn protection(self) -> Option<(Algorithm, Hash)> {
        let name = self.name()?;
        let cipher = match name.split_once("_WITH_") {
            Some((_, cipher)) => cipher,
            None if self.is_tls13() => name.strip_prefix("TLS_")?,
            None => return None,
        };
        use Hash::{Sha256, Sha384};
        Some(match cipher {
            "AES_128_GCM_SHA256" => (Algorithm::Aes128Gcm, Sha256),
            "AES_256_GCM_SHA384" => (Algorithm::Aes256Gcm, Sha384),
            "CHACHA20_POLY1305_SHA256" => (Algorithm::ChaCha20Poly1305, Sha256),
            "AES_128_CCM" | "AES_128_CCM_SHA256" => (Algorithm::Aes128Ccm(16), Sha256),
            "AES_128_CCM_8" | "AES_128_CCM_8_SHA256" => (Algorithm::Aes128Ccm(8), Sha256),
            "AES_256_CCM" => (Algorithm::Aes256Ccm(16), Sha256),
            "AES_256_CCM_8" => (Algorithm::Aes256Ccm(8), Sha256),
            "AES_128_CBC_SHA" => (Algorithm::Aes128Cbc(Mac::Sha1), Sha256),
            "AES_256_CBC_SHA" => (Algorithm::Aes256Cbc(Mac::Sha1), Sha256),
            "AES_128_CBC_SHA256" => (Algorithm::Aes128Cbc(Mac::Sha256), Sha256),
            "AES_256_CBC_SHA256" => (Algorithm::Aes256Cbc(Mac::Sha256), Sha256),
            "AES_256_CBC_SHA384" => (Algorithm::Aes256Cbc(Mac::Sha384), Sha384),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aes_and_chacha_can_be_read_and_nothing_else() {
        for &(number, name) in headtrail_record::tls::CIPHER_SUITES {
            let readable = name.contains("_AES_") || name.contains("_CHACHA20_");
            assert_eq!(Suite(number).protection().is_some(), readable, "{name}");
        }
        assert_eq!(Suite(0x1301).protection(), Some((Algorithm::Aes128Gcm, Hash::Sha256)));
        assert_eq!(Suite(0xc028).protection(), Some((Algorithm::Aes256Cbc(Mac::Sha384), Hash::Sha384)));
    }

    #[test]
    fn an_unknown_number_has_no_name() {
        assert_eq!((Suite(0x0a0a).name(), Suite(0x0a0a).protection()), (None, None));
    }
}
