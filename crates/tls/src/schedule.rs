//! The key schedule: what follows from a secret of the key log.
//!
//! The PRF of TLS 1.2 (RFC 5246, 5 and 6.3) and HKDF-Expand-Label of TLS 1.3 (RFC 8446, 7.1 and 7.3), over ring's HMAC
//! and HKDF. These two are all the cryptography that is written here.

use ring::{hkdf, hmac};
use zeroize::Zeroizing;

use crate::cipher::{Etm, Opener};
use crate::keylog::{Random, Secret};
use crate::suites::{Algorithm, Hash};

/// Most bytes of a key block: two MAC keys of 48, two keys of 32, two nonces of 12.
const KEY_BLOCK_BYTES_MAX: usize = 2 * (48 + 32 + 12);

/// Fills `out` by the PRF of TLS 1.2: P_hash(secret, label + seed).
fn prf(hash: Hash, secret: &[u8], label: &[u8], seed: [&[u8]; 2], out: &mut [u8]) {
    let algorithm = match hash {
        Hash::Sha256 => hmac::HMAC_SHA256,
        Hash::Sha384 => hmac::HMAC_SHA384,
    };
    let key = hmac::Key::new(algorithm, secret);
    let sign = |first: Option<&hmac::Tag>, with_seed: bool| {
        let mut context = hmac::Context::with_key(&key);
        if let Some(first) = first {
            context.update(first.as_ref());
        }
        if with_seed {
            for part in [label, seed[0], seed[1]] {
                context.update(part);
            }
        }
        context.sign()
    };
    let mut a = sign(None, true);
    for piece in out.chunks_mut(hash.len()) {
        let block = sign(Some(&a), true);
        piece.copy_from_slice(&block.as_ref()[..piece.len()]);
        a = sign(Some(&a), false);
    }
}

/// Length of what is asked of HKDF, bytes.
struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// Fills `out` by HKDF-Expand-Label with an empty context. `None` only where `out` is longer than HKDF can fill.
fn expand_label(hash: Hash, secret: &Secret, label: &[u8], out: &mut [u8]) -> Option<()> {
    let algorithm = match hash {
        Hash::Sha256 => hkdf::HKDF_SHA256,
        Hash::Sha384 => hkdf::HKDF_SHA384,
    };
    const PREFIX: &[u8] = b"tls13 ";
    let len = u16::try_from(out.len()).ok()?.to_be_bytes();
    let label_len = [u8::try_from(PREFIX.len() + label.len()).ok()?];
    let info: [&[u8]; 5] = [&len, &label_len, PREFIX, label, &[0]];
    let prk = hkdf::Prk::new_less_safe(algorithm, secret.as_bytes());
    prk.expand(&info, Length(out.len())).ok()?.fill(out).ok()
}

/// What opens the records of each end in TLS 1.2.
pub(crate) struct Openers12 {
    pub(crate) client: Opener,
    pub(crate) server: Opener,
}

/// From the master secret of TLS 1.2.
pub(crate) fn tls12(
    (algorithm, hash): (Algorithm, Hash),
    etm: Etm,
    master: &Secret,
    client_random: &Random,
    server_random: &Random,
) -> Option<Openers12> {
    let mut block = Zeroizing::new([0; KEY_BLOCK_BYTES_MAX]);
    prf(hash, master.as_bytes(), b"key expansion", [server_random, client_random], &mut block[..]);
    let mut rest = &block[..];
    let mut take = |len: usize| {
        let (first, behind) = rest.split_at_checked(len)?;
        rest = behind;
        Some(first)
    };
    let (mac_len, key_len, iv_len) = (algorithm.mac_key_len(), algorithm.key_len(), algorithm.tls12_iv_len());
    let macs = [take(mac_len)?, take(mac_len)?];
    let keys = [take(key_len)?, take(key_len)?];
    let ivs = [take(iv_len)?, take(iv_len)?];
    Some(Openers12 {
        client: Opener::tls12(algorithm, etm, macs[0], keys[0], ivs[0])?,
        server: Opener::tls12(algorithm, etm, macs[1], keys[1], ivs[1])?,
    })
}

/// From a traffic secret of TLS 1.3. `None` where its length is not that of the suite's hash.
pub(crate) fn tls13((algorithm, hash): (Algorithm, Hash), secret: &Secret) -> Option<Opener> {
    if secret.as_bytes().len() != hash.len() {
        return None;
    }
    let mut key = Zeroizing::new([0; 32]);
    let key = key.get_mut(..algorithm.key_len())?;
    let mut iv = [0; 12];
    expand_label(hash, secret, b"key", key)?;
    expand_label(hash, secret, b"iv", &mut iv)?;
    Opener::tls13(algorithm, key, iv)
}

/// The traffic secret behind a KeyUpdate.
pub(crate) fn updated(hash: Hash, secret: &Secret) -> Option<Secret> {
    let mut next = Secret::zero(hash.len());
    expand_label(hash, secret, b"traffic upd", next.as_mut_bytes())?;
    Some(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(digits: &str) -> Vec<u8> {
        let digits: Vec<u8> = digits.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits.chunks(2).map(|p| u8::from_str_radix(std::str::from_utf8(p).unwrap(), 16).unwrap()).collect()
    }

    fn secret(digits: &str) -> Secret {
        let bytes = hex(digits);
        let mut secret = Secret::zero(bytes.len());
        secret.as_mut_bytes().copy_from_slice(&bytes);
        secret
    }

    /// RFC 8448, 3: the server's handshake traffic keys.
    #[test]
    fn expand_label_is_that_of_rfc_8448() {
        let secret = secret("b67b7d690cc16c4e75e54213cb2d37b4e9c912bcded9105d42befd59d391ad38");
        let (mut key, mut iv) = ([0; 16], [0; 12]);
        expand_label(Hash::Sha256, &secret, b"key", &mut key).unwrap();
        expand_label(Hash::Sha256, &secret, b"iv", &mut iv).unwrap();
        assert_eq!(key.as_slice(), hex("3fce516009c21727d0f2e4e86ee403bc"));
        assert_eq!(iv.as_slice(), hex("5d313eb2671276ee13000b30"));
    }

    /// The vector for P_SHA256 that was published on the TLS working group's list with RFC 5246.
    #[test]
    fn prf_is_that_of_rfc_5246() {
        let mut out = [0; 100];
        let (secret, seed) =
            (hex("9bbe436ba940f017b17652849a71db35"), hex("a0ba9f936cda311827a6f796ffd5198c"));
        prf(Hash::Sha256, &secret, b"test label", [&seed, &[]], &mut out);
        assert_eq!(
            out.as_slice(),
            hex("e3f229ba727be17b8d122620557cd453c2aab21d07c3d495329b52d4e61edb5a6b301791e90d35c9c9a46b4e14baf9af0f
                 a022f7077def17abfd3797c0564bab4fbc91666e9def9b97fce34f796789baa48082d122ee42c5a72e5a5110fff70187347b66")
        );
    }
}
