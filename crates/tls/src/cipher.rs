//! Opening one protected record, given its keys: RFC 5246, 6.2.3; RFC 7366; RFC 7905; RFC 6655; RFC 8446, 5.2.
//!
//! What comes out is authenticated, or nothing does. ring opens AES-GCM and ChaCha20-Poly1305; it has neither CBC nor
//! CCM, which come from the RustCrypto crates (docs/adr/0012). Padding of CBC is checked without care for timing: there
//! is nobody who could ask, and the bytes are of the past.

use aes::{Aes128, Aes256};
use cbc::cipher::array::Array;
use cbc::cipher::consts::{U8, U12, U16};
use cbc::cipher::{BlockModeDecrypt, InnerIvInit, KeyInit};
use ccm::Ccm;
use ccm::aead::AeadInOut;
use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use ring::hmac;

use crate::suites::{Algorithm, Mac};

/// Whether a CBC suite authenticates the ciphertext (RFC 7366) or the plaintext.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Etm(pub(crate) bool);

/// Length of AES blocks and of the explicit IV of CBC, bytes.
const BLOCK_BYTES: usize = 16;

/// Length of the explicit part of a nonce in TLS 1.2, bytes.
const EXPLICIT_NONCE_BYTES: usize = 8;

impl Algorithm {
    pub(crate) fn key_len(self) -> usize {
        match self {
            Self::Aes128Gcm | Self::Aes128Ccm(_) | Self::Aes128Cbc(_) => 16,
            Self::Aes256Gcm | Self::Aes256Ccm(_) | Self::Aes256Cbc(_) | Self::ChaCha20Poly1305 => 32,
        }
    }

    pub(crate) fn mac_key_len(self) -> usize {
        match self {
            Self::Aes128Cbc(mac) | Self::Aes256Cbc(mac) => mac.len(),
            _ => 0,
        }
    }

    /// Length of what TLS 1.2 derives of a nonce, bytes.
    pub(crate) fn tls12_iv_len(self) -> usize {
        match self {
            Self::ChaCha20Poly1305 => 12,
            Self::Aes128Cbc(_) | Self::Aes256Cbc(_) => 0,
            _ => 4,
        }
    }
}

impl Mac {
    fn len(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
        }
    }

    fn algorithm(self) -> hmac::Algorithm {
        match self {
            Self::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha384 => hmac::HMAC_SHA384,
        }
    }
}

enum Aead {
    Ring(LessSafeKey),
    Ccm128(Ccm<Aes128, U16, U12>),
    Ccm128Tag8(Ccm<Aes128, U8, U12>),
    Ccm256(Ccm<Aes256, U16, U12>),
    Ccm256Tag8(Ccm<Aes256, U8, U12>),
}

impl Aead {
    fn new(algorithm: Algorithm, key: &[u8]) -> Option<Self> {
        let ring = |a| Some(Self::Ring(LessSafeKey::new(UnboundKey::new(a, key).ok()?)));
        match algorithm {
            Algorithm::Aes128Gcm => ring(&AES_128_GCM),
            Algorithm::Aes256Gcm => ring(&AES_256_GCM),
            Algorithm::ChaCha20Poly1305 => ring(&CHACHA20_POLY1305),
            Algorithm::Aes128Ccm(8) => Some(Self::Ccm128Tag8(Ccm::new_from_slice(key).ok()?)),
            Algorithm::Aes128Ccm(_) => Some(Self::Ccm128(Ccm::new_from_slice(key).ok()?)),
            Algorithm::Aes256Ccm(8) => Some(Self::Ccm256Tag8(Ccm::new_from_slice(key).ok()?)),
            Algorithm::Aes256Ccm(_) => Some(Self::Ccm256(Ccm::new_from_slice(key).ok()?)),
            Algorithm::Aes128Cbc(_) | Algorithm::Aes256Cbc(_) => None,
        }
    }

    fn tag_len(&self) -> usize {
        match self {
            Self::Ccm128Tag8(_) | Self::Ccm256Tag8(_) => 8,
            _ => 16,
        }
    }

    /// Opens ciphertext and tag in place.
    fn open<'a>(&self, nonce: [u8; 12], aad: &[u8], sealed: &'a mut [u8]) -> Option<&'a mut [u8]> {
        if let Self::Ring(key) = self {
            return key.open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(aad), sealed).ok();
        }
        let (text, tag) = sealed.split_at_mut(sealed.len().checked_sub(self.tag_len())?);
        match self {
            Self::Ring(_) => None,
            Self::Ccm128(ccm) => open_ccm(ccm, nonce, aad, text, tag),
            Self::Ccm128Tag8(ccm) => open_ccm(ccm, nonce, aad, text, tag),
            Self::Ccm256(ccm) => open_ccm(ccm, nonce, aad, text, tag),
            Self::Ccm256Tag8(ccm) => open_ccm(ccm, nonce, aad, text, tag),
        }
    }
}

fn open_ccm<'a, C: AeadInOut<NonceSize = U12>>(
    ccm: &C,
    nonce: [u8; 12],
    aad: &[u8],
    text: &'a mut [u8],
    tag: &[u8],
) -> Option<&'a mut [u8]> {
    let tag = Array::try_from(tag).ok()?;
    ccm.decrypt_inout_detached(&Array(nonce), aad, (&mut *text).into(), &tag).ok()?;
    Some(text)
}

/// Where a nonce comes from.
enum NonceForm {
    /// The IV, with the record's number added without carry (TLS 1.3, and ChaCha20-Poly1305 in TLS 1.2).
    Counted([u8; 12]),
    /// Four bytes of the key block, eight in front of the ciphertext.
    Explicit([u8; 4]),
}

enum BlockCipher {
    Aes128(Aes128),
    Aes256(Aes256),
}

impl BlockCipher {
    /// Undoes CBC in place; `text` is whole blocks.
    fn decrypt(&self, iv: [u8; BLOCK_BYTES], text: &mut [u8]) {
        let (blocks, _) = Array::slice_as_chunks_mut(text);
        match self {
            Self::Aes128(aes) => {
                cbc::Decryptor::inner_iv_init(aes.clone(), &Array(iv)).decrypt_blocks(blocks)
            }
            Self::Aes256(aes) => {
                cbc::Decryptor::inner_iv_init(aes.clone(), &Array(iv)).decrypt_blocks(blocks)
            }
        }
    }
}

struct Cbc {
    cipher: BlockCipher,
    mac: hmac::Key,
    mac_len: usize,
    etm: bool,
}

enum Kind {
    Tls13 { aead: Aead, iv: [u8; 12] },
    Tls12 { aead: Aead, nonce: NonceForm },
    Cbc(Box<Cbc>),
}

/// What opens the records of one end, between two changes of keys.
pub(crate) struct Opener(Kind);

impl Opener {
    /// For TLS 1.3.
    pub(crate) fn tls13(algorithm: Algorithm, key: &[u8], iv: [u8; 12]) -> Option<Self> {
        Some(Self(Kind::Tls13 { aead: Aead::new(algorithm, key)?, iv }))
    }

    /// For TLS 1.2.
    pub(crate) fn tls12(
        algorithm: Algorithm,
        etm: Etm,
        mac_key: &[u8],
        key: &[u8],
        iv: &[u8],
    ) -> Option<Self> {
        let (mac, cipher) = match algorithm {
            Algorithm::Aes128Cbc(mac) => (mac, BlockCipher::Aes128(Aes128::new_from_slice(key).ok()?)),
            Algorithm::Aes256Cbc(mac) => (mac, BlockCipher::Aes256(Aes256::new_from_slice(key).ok()?)),
            _ => {
                let nonce = match algorithm {
                    Algorithm::ChaCha20Poly1305 => NonceForm::Counted(iv.try_into().ok()?),
                    _ => NonceForm::Explicit(iv.try_into().ok()?),
                };
                return Some(Self(Kind::Tls12 { aead: Aead::new(algorithm, key)?, nonce }));
            }
        };
        let key = hmac::Key::new(mac.algorithm(), mac_key);
        Some(Self(Kind::Cbc(Box::new(Cbc { cipher, mac: key, mac_len: mac.len(), etm: etm.0 }))))
    }

    /// Opens the record with this number in place. `None` where it does not authenticate; `body` is then of no use.
    pub(crate) fn open<'a>(
        &self,
        sequence: u64,
        header: [u8; 5],
        body: &'a mut [u8],
    ) -> Option<&'a mut [u8]> {
        match &self.0 {
            Kind::Tls13 { aead, iv } => aead.open(counted(iv, sequence), &header, body),
            Kind::Tls12 { aead, nonce } => {
                let (nonce, sealed) = match nonce {
                    NonceForm::Counted(iv) => (counted(iv, sequence), body),
                    NonceForm::Explicit(fixed) => {
                        let (explicit, sealed) = body.split_at_mut_checked(EXPLICIT_NONCE_BYTES)?;
                        let mut nonce = [0; 12];
                        nonce[..4].copy_from_slice(fixed);
                        nonce[4..].copy_from_slice(explicit);
                        (nonce, sealed)
                    }
                };
                let len = sealed.len().checked_sub(aead.tag_len())?;
                aead.open(nonce, &pseudo_header(sequence, header, len)?, sealed)
            }
            Kind::Cbc(cbc) if cbc.etm => cbc.open_encrypted_then_macked(sequence, header, body),
            Kind::Cbc(cbc) => cbc.open_macked_then_encrypted(sequence, header, body),
        }
    }
}

impl Cbc {
    fn verify(&self, sequence: u64, header: [u8; 5], text: &[u8], mac: &[u8]) -> Option<()> {
        let mut bytes = Vec::with_capacity(13 + text.len());
        bytes.extend_from_slice(&pseudo_header(sequence, header, text.len())?);
        bytes.extend_from_slice(text);
        hmac::verify(&self.mac, &bytes, mac).ok()
    }

    /// Undoes CBC and takes the padding off.
    fn decrypt<'a>(&self, sealed: &'a mut [u8]) -> Option<&'a mut [u8]> {
        let (iv, text) = sealed.split_first_chunk_mut::<BLOCK_BYTES>()?;
        if text.is_empty() || !text.len().is_multiple_of(BLOCK_BYTES) {
            return None;
        }
        self.cipher.decrypt(*iv, text);
        let padding = *text.last()?;
        let end = text.len().checked_sub(usize::from(padding) + 1)?;
        let (text, padded) = text.split_at_mut(end);
        padded.iter().all(|&b| b == padding).then_some(text)
    }

    fn open_macked_then_encrypted<'a>(
        &self,
        sequence: u64,
        header: [u8; 5],
        body: &'a mut [u8],
    ) -> Option<&'a mut [u8]> {
        let text = self.decrypt(body)?;
        let (text, mac) = text.split_at_mut(text.len().checked_sub(self.mac_len)?);
        self.verify(sequence, header, text, mac)?;
        Some(text)
    }

    fn open_encrypted_then_macked<'a>(
        &self,
        sequence: u64,
        header: [u8; 5],
        body: &'a mut [u8],
    ) -> Option<&'a mut [u8]> {
        let (sealed, mac) = body.split_at_mut(body.len().checked_sub(self.mac_len)?);
        self.verify(sequence, header, sealed, mac)?;
        self.decrypt(sealed)
    }
}

fn counted(iv: &[u8; 12], sequence: u64) -> [u8; 12] {
    let mut nonce = *iv;
    for (byte, number) in nonce[4..].iter_mut().zip(sequence.to_be_bytes()) {
        *byte ^= number;
    }
    nonce
}

/// What TLS 1.2 authenticates beside the text: number, type, version, length.
fn pseudo_header(sequence: u64, header: [u8; 5], len: usize) -> Option<[u8; 13]> {
    let mut bytes = [0; 13];
    bytes[..8].copy_from_slice(&sequence.to_be_bytes());
    bytes[8..11].copy_from_slice(&header[..3]);
    bytes[11..].copy_from_slice(&u16::try_from(len).ok()?.to_be_bytes());
    Some(bytes)
}
