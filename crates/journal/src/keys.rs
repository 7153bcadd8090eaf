//! The key that signs checkpoints, and its public half for others.

use crate::meta::is_origin;
use crate::storage::{self, Storage};
use crate::tree::{Signer, VerifierKey};
use crate::{Error, Result};

const FOLDER: &str = "keys";
/// Where the seed of the key is.
pub const KEY: &str = "keys/journal.key";
/// Where the verifier key is.
pub const PUBLIC: &str = "keys/journal.pub";
/// More than a seed has.
const KEY_BYTES_MAX: usize = 256;
/// More than a verifier key with the longest origin has.
const PUBLIC_BYTES_MAX: usize = 4096;

fn corrupt(file: &str, what: &'static str) -> Error {
    Error::Corrupt { file: file.to_owned(), offset: 0, what }
}

/// The key of the journal `origin`. It is made of `seed` if there is none, and `may_make`: of a journal that has been signed before, a
/// new key would only hide that the old one is gone.
pub(crate) fn load_or_make(
    storage: &dyn Storage,
    origin: &str,
    seed: &[u8; 32],
    may_make: bool,
) -> Result<Signer> {
    let seed = match storage::read_small(storage, KEY, KEY_BYTES_MAX)? {
        Some(text) => {
            // Its name may not be durable yet, and what it signs must not outlive it.
            storage.sync_dir(FOLDER)?;
            from_hex(&text).ok_or_else(|| corrupt(KEY, "a key has 64 hexadecimal digits"))?
        }
        None if may_make && storage::read_small(storage, PUBLIC, PUBLIC_BYTES_MAX)?.is_none() => {
            storage.create_dir(FOLDER)?;
            storage::replace(storage, KEY, format!("{}\n", to_hex(seed)).as_bytes())?;
            *seed
        }
        None => return Err(corrupt(KEY, "the key of a journal that has been signed is missing")),
    };
    let signer = Signer::new(origin, &seed).map_err(|_| Error::Origin(origin.to_owned()))?;
    let public = format!("{}\n", signer.verifier());
    if storage::read_small(storage, PUBLIC, PUBLIC_BYTES_MAX)?.as_deref() != Some(public.as_bytes()) {
        storage::replace(storage, PUBLIC, public.as_bytes())?;
    }
    Ok(signer)
}

/// The verifier key that lies beside the journal. Who changed the journal could have changed it, too.
///
/// # Errors
///
/// There is none, or it is not one of a journal.
pub fn verifier(storage: &dyn Storage) -> Result<VerifierKey> {
    let missing = || Error::disk(PUBLIC, std::io::ErrorKind::NotFound.into());
    let bytes = storage::read_small(storage, PUBLIC, PUBLIC_BYTES_MAX)?.ok_or_else(missing)?;
    let key: Option<VerifierKey> =
        std::str::from_utf8(&bytes).ok().and_then(|text| text.trim_end().parse().ok());
    key.filter(|key| is_origin(key.name())).ok_or_else(|| corrupt(PUBLIC, "not a verifier key"))
}

fn to_hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn from_hex(text: &[u8]) -> Option<[u8; 32]> {
    let text = text.trim_ascii();
    let digit = |digit: u8| char::from(digit).to_digit(16);
    let mut bytes = [0; 32];
    if text.len() != 2 * bytes.len() {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = u8::try_from(digit(pair[0])? << 4 | digit(pair[1])?).ok()?;
    }
    Some(bytes)
}

/// An origin for a new journal on a host: what cannot stand in one of its name becomes `-`.
pub(crate) fn origin(host: &str, random: &[u8; 8]) -> String {
    /// So that an origin is no longer than it may be.
    const HOST_CHARS_MAX: usize = 200;
    let allowed = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let host: String = host.chars().take(HOST_CHARS_MAX).map(allowed).collect();
    format!("headtrail/{}/{}", if host.is_empty() { "-" } else { &host }, to_hex(random))
}
