//! Signed notes: a text and the signatures of named keys below it, C2SP [signed-note](https://c2sp.org/signed-note).
//!
//! Only Ed25519 (type 0x01), only one key at a time: a journal has one. Signatures of other keys, such as those of witnesses, are
//! passed over, as the specification asks.

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest as _, Sha256};

use super::text;

/// Longest note that is read. Sixteen signatures, which have to be taken, of the longest kind that the specification speaks of, come to 110 kB.
pub const NOTE_BYTES_MAX: usize = 1 << 20;
/// Most signatures of a note, as in Go's package.
pub const SIGNATURES_MAX: usize = 100;
/// Longest name of a key.
pub const KEY_NAME_BYTES_MAX: usize = 512;

/// Begins each line of a signature: an em dash and a space.
const SIGNATURE_START: &str = "\u{2014} ";
/// Signature type of Ed25519, as in the key's hash and text.
const ED25519: u8 = 1;
/// Length of a key's ID in front of a signature.
const ID_BYTES: usize = 4;

/// Why a key cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// The name is empty, too long, or has white space, a control character or a plus sign.
    Name,
    /// Not `name+hash+key`.
    Syntax,
    /// The hash is not that of name and key.
    Hash,
    /// Not of type Ed25519, or not a point of the curve.
    Key,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Name => {
                "a key's name is not empty, not long, and has no white space, control character or plus sign"
            }
            Self::Syntax => {
                "not a verifier key: name+hash+key, the hash of eight hexadecimal digits, the key in base64"
            }
            Self::Hash => "the hash of the verifier key is not that of its name and key",
            Self::Key => "the verifier key is not an Ed25519 key",
        })
    }
}

impl std::error::Error for KeyError {}

/// Why a text is not a note that this key has signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoteError {
    /// Longer than [`NOTE_BYTES_MAX`].
    TooLong,
    /// More than [`SIGNATURES_MAX`] signatures.
    TooManySignatures,
    /// Not UTF-8, or a control character in it.
    Characters,
    /// The text does not end with a line feed, or no empty line stands between text and signatures.
    Shape,
    /// This line, counted from 1 below the text, is not a signature.
    SignatureLine(usize),
    /// Not signed by this key.
    NotSigned,
    /// There is a signature of this key, but not of this text.
    WrongSignature,
}

impl fmt::Display for NoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "the note is longer than {NOTE_BYTES_MAX} bytes"),
            Self::TooManySignatures => write!(f, "the note has more than {SIGNATURES_MAX} signatures"),
            Self::Characters => f.write_str("the note is not UTF-8, or has control characters"),
            Self::Shape => f.write_str("not a signed note: text, an empty line, signatures"),
            Self::SignatureLine(line) => write!(f, "line {line} below the note's text is not a signature"),
            Self::NotSigned => f.write_str("the note is not signed by this key"),
            Self::WrongSignature => f.write_str("the signature is not that of this text"),
        }
    }
}

impl std::error::Error for NoteError {}

/// What others need to check signatures. `Display` writes it as `name+hash+key`, `FromStr` reads that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    id: [u8; ID_BYTES],
    key: VerifyingKey,
}

impl VerifierKey {
    fn new(name: &str, key: VerifyingKey) -> Result<Self, KeyError> {
        if !is_name(name) {
            return Err(KeyError::Name);
        }
        let hash = Sha256::new()
            .chain_update(name)
            .chain_update([b'\n', ED25519])
            .chain_update(key.as_bytes())
            .finalize();
        let [a, b, c, d, ..] = <[u8; 32]>::from(hash);
        Ok(Self { name: name.to_owned(), id: [a, b, c, d], key })
    }

    /// Its name; of a journal, its origin.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut typed = vec![ED25519];
        typed.extend_from_slice(self.key.as_bytes());
        write!(f, "{}+{:08x}+{}", self.name, u32::from_be_bytes(self.id), text::to_base64(&typed))
    }
}

impl FromStr for VerifierKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        // Base64 has plus signs, names have none: the first two separate.
        let (name, rest) = text.split_once('+').ok_or(KeyError::Syntax)?;
        let (hash, key) = rest.split_once('+').ok_or(KeyError::Syntax)?;
        let typed = text::from_base64(key).ok_or(KeyError::Syntax)?;
        let Some((&ED25519, key)) = typed.split_first() else { return Err(KeyError::Key) };
        let key = key.try_into().map_err(|_| KeyError::Key)?;
        let key = Self::new(name, VerifyingKey::from_bytes(&key).map_err(|_| KeyError::Key)?)?;
        if format!("{:08x}", u32::from_be_bytes(key.id)) == hash { Ok(key) } else { Err(KeyError::Hash) }
    }
}

fn is_name(name: &str) -> bool {
    let bad = |c: char| c.is_whitespace() || c < ' ' || c == '+';
    !name.is_empty() && name.len() <= KEY_NAME_BYTES_MAX && !name.contains(bad)
}

/// A key that signs. Not printed, and wiped when dropped.
pub struct Signer {
    verifier: VerifierKey,
    key: SigningKey,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("verifier", &self.verifier).finish_non_exhaustive()
    }
}

impl Signer {
    /// The key made from a seed (RFC 8032, 5.1.5), under a name.
    ///
    /// # Errors
    /// The name cannot be that of a key.
    pub fn new(name: &str, seed: &[u8; 32]) -> Result<Self, KeyError> {
        let key = SigningKey::from_bytes(seed);
        Ok(Self { verifier: VerifierKey::new(name, key.verifying_key())?, key })
    }

    /// What others check its signatures with.
    #[must_use]
    pub fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// The text with an empty line and the signature below it.
    ///
    /// # Errors
    /// The text does not end with a line feed, has other control characters, or would make too long a note.
    pub fn sign(&self, text: &str) -> Result<String, NoteError> {
        if !text.ends_with('\n') {
            return Err(NoteError::Shape);
        }
        check_characters(text)?;
        let mut signature = self.verifier.id.to_vec();
        signature.extend_from_slice(&self.key.sign(text.as_bytes()).to_bytes());
        let note =
            format!("{text}\n{SIGNATURE_START}{} {}\n", self.verifier.name, text::to_base64(&signature));
        if note.len() > NOTE_BYTES_MAX { Err(NoteError::TooLong) } else { Ok(note) }
    }
}

/// A note whose signatures have not been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedNote<'a> {
    text: &'a str,
    signatures: Vec<NoteSignature<'a>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct NoteSignature<'a> {
    name: &'a str,
    id: [u8; ID_BYTES],
    bytes: Vec<u8>,
}

impl<'a> SignedNote<'a> {
    /// The first signature of that name, not verified: 4 bytes of the key's hash, then the signature.
    #[must_use]
    pub fn signature_of(&self, name: &str) -> Option<Vec<u8>> {
        let found = self.signatures.iter().find(|signature| signature.name == name)?;
        Some([&found.id[..], &found.bytes].concat())
    }

    /// Takes a note apart.
    ///
    /// # Errors
    /// It is not a signed note, or beyond the limits.
    pub fn parse(note: &'a [u8]) -> Result<Self, NoteError> {
        if note.len() > NOTE_BYTES_MAX {
            return Err(NoteError::TooLong);
        }
        let note = std::str::from_utf8(note).map_err(|_| NoteError::Characters)?;
        check_characters(note)?;
        // The last empty line ends the text, which may have others.
        let end = note.rfind("\n\n").ok_or(NoteError::Shape)? + 1;
        let (text, below) = note.split_at(end);
        let lines = below[1..].strip_suffix('\n').ok_or(NoteError::Shape)?;
        let mut signatures = Vec::new();
        for (line, number) in lines.split('\n').zip(1..) {
            if number > SIGNATURES_MAX {
                return Err(NoteError::TooManySignatures);
            }
            signatures.push(NoteSignature::parse(line).ok_or(NoteError::SignatureLine(number))?);
        }
        Ok(Self { text, signatures })
    }

    /// The text, if the key has signed it.
    ///
    /// # Errors
    /// The key has not signed it; or there is a signature under its name and ID that is not its.
    pub fn verify(&self, key: &VerifierKey) -> Result<&'a str, NoteError> {
        let mut signed = false;
        for signature in self.signatures.iter().filter(|s| s.name == key.name && s.id == key.id) {
            // The strict way also refuses keys and signatures of small order, which could be good for more than one text.
            Signature::from_slice(&signature.bytes)
                .and_then(|bytes| key.key.verify_strict(self.text.as_bytes(), &bytes))
                .map_err(|_| NoteError::WrongSignature)?;
            signed = true;
        }
        if signed { Ok(self.text) } else { Err(NoteError::NotSigned) }
    }
}

impl<'a> NoteSignature<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (name, signature) = line.strip_prefix(SIGNATURE_START)?.split_once(' ')?;
        let decoded = text::from_base64(signature)?;
        let (id, bytes) = decoded.split_first_chunk::<ID_BYTES>()?;
        (is_name(name) && !bytes.is_empty()).then(|| Self { name, id: *id, bytes: bytes.to_vec() })
    }
}

fn check_characters(text: &str) -> Result<(), NoteError> {
    if text.bytes().any(|b| b < b' ' && b != b'\n') { Err(NoteError::Characters) } else { Ok(()) }
}
