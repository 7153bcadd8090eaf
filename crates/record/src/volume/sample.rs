//! Sampling by connection.
//!
//! Whether a connection is in is decided by a keyed hash of its id: the same for all of its transactions without
//! remembering anything, and not to be told in advance by who opens connections. What is in at one rate is in at every
//! higher one.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Visitor};

use crate::event::ConnectionId;

/// The part of the connections that is kept, from 0 to 1.
#[derive(Clone, Copy, PartialEq, PartialOrd, Debug)]
pub struct Rate(f64);

impl Rate {
    /// Every connection.
    pub const ALL: Self = Self(1.0);
    /// One in a hundred.
    pub const ONE_IN_HUNDRED: Self = Self(0.01);
    /// Smallest rate above 0: with less, nothing is to be learned from what is kept.
    pub const SMALLEST: Self = Self(0.000_001);

    /// The rate, if it is 0, or from [`Rate::SMALLEST`] to 1.
    #[must_use]
    pub fn new(rate: f64) -> Option<Self> {
        (rate == 0.0 || (Self::SMALLEST.0..=1.0).contains(&rate)).then_some(Self(rate.abs()))
    }

    /// As a number from 0 to 1.
    #[must_use]
    pub fn get(self) -> f64 {
        self.0
    }

    /// Whether a connection with this hash is in.
    pub(super) fn takes(self, hash: u64) -> bool {
        // 2^64 as a float; what is below 1 stays below u64::MAX.
        self.0 >= 1.0 || hash < (self.0 * 18_446_744_073_709_551_616.0) as u64
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;
        impl Visitor<'_> for Number {
            type Value = f64;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number from 0 to 1")
            }
            fn visit_f64<E: Error>(self, number: f64) -> Result<f64, E> {
                Ok(number)
            }
            fn visit_i64<E: Error>(self, number: i64) -> Result<f64, E> {
                Ok(number as f64)
            }
            fn visit_u64<E: Error>(self, number: u64) -> Result<f64, E> {
                Ok(number as f64)
            }
        }
        let number = deserializer.deserialize_any(Number)?;
        let wrong = || D::Error::custom(format!("{number} is no rate: 0, or from {} to 1", Self::SMALLEST));
        Self::new(number).ok_or_else(wrong)
    }
}

/// Key of the hash. Random for each run, or kept, so that runs agree; it is no secret that opens anything.
#[derive(Clone, Copy)]
pub struct SampleKey(pub [u8; 16]);

/// SipHash-2-4 of the id.
///
/// By hand, for it is shorter than a dependency and has one block; the standard library's has no key of our own, and
/// the HMAC that makes fingerprints takes as long as all rules together.
pub(super) fn hash(key: SampleKey, connection: ConnectionId) -> u64 {
    let [k0, k1] = halves(key.0);
    let mut v = [
        k0 ^ 0x736f_6d65_7073_6575,
        k1 ^ 0x646f_7261_6e64_6f6d,
        k0 ^ 0x6c79_6765_6e65_7261,
        k1 ^ 0x7465_6462_7974_6573,
    ];
    // The message, then a block that holds its length only.
    for block in [connection.0, 8 << 56] {
        v[3] ^= block;
        rounds(&mut v, 2);
        v[0] ^= block;
    }
    v[2] ^= 0xff;
    rounds(&mut v, 4);
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

fn halves(key: [u8; 16]) -> [u64; 2] {
    let key = u128::from_le_bytes(key);
    [key as u64, (key >> 64) as u64]
}

fn rounds(v: &mut [u64; 4], count: u32) {
    for _ in 0..count {
        v[0] = v[0].wrapping_add(v[1]);
        v[1] = v[1].rotate_left(13) ^ v[0];
        v[0] = v[0].rotate_left(32);
        v[2] = v[2].wrapping_add(v[3]);
        v[3] = v[3].rotate_left(16) ^ v[2];
        v[0] = v[0].wrapping_add(v[3]);
        v[3] = v[3].rotate_left(21) ^ v[0];
        v[2] = v[2].wrapping_add(v[1]);
        v[1] = v[1].rotate_left(17) ^ v[2];
        v[2] = v[2].rotate_left(32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_siphash_2_4() {
        // The vector of the reference implementation for the message 00 01 … 07.
        let key = SampleKey(std::array::from_fn(|i| i as u8));
        let message = u64::from_le_bytes(std::array::from_fn(|i| i as u8));
        assert_eq!(hash(key, ConnectionId(message)), 0x93f5_f579_9a93_2462);
    }

    #[test]
    fn a_rate_takes_its_part() {
        let key = SampleKey([7; 16]);
        for rate in [0.0, 0.001, 0.1, 0.5, 1.0] {
            let rate = Rate::new(rate).unwrap();
            let taken = (0..100_000).filter(|id| rate.takes(hash(key, ConnectionId(*id)))).count() as f64;
            let error = (taken / 100_000.0 - rate.get()).abs();
            // Five standard deviations.
            assert!(error <= 5.0 * (rate.get() * (1.0 - rate.get()) / 100_000.0).sqrt(), "{rate}: {taken}");
        }
    }

    #[test]
    fn what_is_no_rate_is_refused() {
        for wrong in [-0.1, 1.1, 1e-9, f64::NAN, f64::INFINITY] {
            assert_eq!(Rate::new(wrong), None, "{wrong}");
        }
        assert_eq!(Rate::new(-0.0).map(|r| r.to_string()), Some("0".to_owned()));
    }
}
