//! Typed features of values that redaction hides, computed before it: later nobody can.
//!
//! Most transactions have none, and then nothing is allocated. Each list is bounded, and so is each string, for they
//! are made from bytes that a peer chose. No feature holds a secret: credentials appear as fingerprints, and of a
//! token only what its header and expiry say.

use std::borrow::Cow;
use std::net::Ipv6Addr;

use base64::Engine as _;
use base64::engine::general_purpose::{GeneralPurpose, URL_SAFE_NO_PAD as BASE64URL_NO_PAD};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::record::{Text, unknown};
use crate::transaction::Side;

/// Most entries of each list of [`Features`]; what comes later in the transaction is not listed.
pub const FEATURES_MAX: usize = 8;
/// Longest string in a feature, bytes; longer ones are cut.
pub const FEATURE_STRING_BYTES_MAX: usize = 128;
/// Longest part of a JSON Web Token that is decoded, bytes of base64url; longer ones yield no facts.
pub const JWT_PART_BYTES_MAX: usize = 4096;

/// Features of one transaction; empty for most.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Features {
    /// Header facts of the JSON Web Tokens found; at most [`FEATURES_MAX`].
    pub jwt: Vec<Jwt>,
    /// Basic credentials (RFC 7617); at most [`FEATURES_MAX`].
    pub basic: Vec<Basic>,
    /// Keys whose shape tells their provider; at most [`FEATURES_MAX`].
    pub key_shape: Vec<KeyShape>,
    /// Classes of secrets and attacks that value patterns hit; at most [`FEATURES_MAX`], each (place, class) once.
    pub patterns: Vec<PatternHit>,
}

impl Features {
    /// Nothing was found.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.jwt.is_empty() && self.basic.is_empty() && self.key_shape.is_empty() && self.patterns.is_empty()
    }
}

/// Where a feature was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// In which message; interim responses count as response.
    pub side: Side,
    /// Name of the field line in the case of the wire, or `method`, `target`, `reason`; at most
    /// [`FEATURE_STRING_BYTES_MAX`] bytes.
    pub name: String,
}

/// Facts of a JSON Web Token's header and expiry (RFC 7515, RFC 7519); never its signature or subject.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Jwt {
    /// Where.
    pub place: Place,
    /// `alg`; None where absent, or not a short word.
    pub alg: Option<String>,
    /// `typ`; None where absent, or not a short word.
    pub typ: Option<String>,
    /// What `kid` looks like; the id itself is not kept, because it is a place for injections and secrets.
    pub kid: Option<KidClass>,
    /// Host of `jku`, lower case as far as it came so; None where absent or not a URL with a plain host.
    pub jku_host: Option<String>,
    /// `exp`, seconds since the Unix epoch; None where absent, encrypted or not a number.
    pub expires_unix_s: Option<i64>,
    /// Parts between dots: 3 for a signed token, 5 for an encrypted one (RFC 7516).
    pub parts: u8,
    /// The last part is empty: a token without a signature.
    pub unsigned: bool,
}

/// What the `kid` of a token looks like. An id that is a path, a URL or has quotes in it is a known way to attack
/// the verifier (RFC 8725, 3.10).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KidClass {
    /// Empty.
    Empty,
    /// A UUID.
    Uuid,
    /// Digits only.
    Number,
    /// Hexadecimal digits only.
    Hex,
    /// 43 base64url characters: a SHA-256 thumbprint (RFC 7638).
    Thumbprint,
    /// Letters, digits, `-`, `_`, `.`, `:`, `=`, `+`.
    Word,
    /// Begins with a scheme and `://`.
    Url,
    /// Has a slash or a backslash.
    Path,
    /// Anything else.
    Odd,
    /// One that this version does not know, by its number in `record.proto`.
    Unknown(u32),
}

impl KidClass {
    /// The name in records.
    #[must_use]
    pub fn name(self) -> Text {
        Text::Borrowed(match self {
            Self::Empty => "empty",
            Self::Uuid => "uuid",
            Self::Number => "number",
            Self::Hex => "hex",
            Self::Thumbprint => "thumbprint",
            Self::Word => "word",
            Self::Url => "url",
            Self::Path => "path",
            Self::Odd => "odd",
            Self::Unknown(number) => return unknown(number),
        })
    }

    fn of(kid: &str) -> Self {
        let all = |f: fn(&u8) -> bool| kid.bytes().all(|b| f(&b));
        let url_safe = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        if kid.is_empty() {
            Self::Empty
        } else if kid.len() == 36 && is_uuid(kid.as_bytes()) {
            Self::Uuid
        } else if all(u8::is_ascii_digit) {
            Self::Number
        } else if all(u8::is_ascii_hexdigit) {
            Self::Hex
        } else if kid.len() == 43 && kid.bytes().all(|b| url_safe(&b)) {
            Self::Thumbprint
        } else if kid.bytes().all(|b| url_safe(&b) || matches!(b, b'.' | b':' | b'=' | b'+'))
            && !kid.contains("..")
        {
            Self::Word
        } else if kid.contains("://") {
            Self::Url
        } else if kid.contains(['/', '\\']) || kid.contains("..") {
            Self::Path
        } else {
            Self::Odd
        }
    }
}

fn is_uuid(b: &[u8]) -> bool {
    b.iter()
        .enumerate()
        .all(|(i, b)| if matches!(i, 8 | 13 | 18 | 23) { *b == b'-' } else { b.is_ascii_hexdigit() })
}

/// Basic credentials.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Basic {
    /// Where.
    pub place: Place,
    /// Fingerprint of the user name (`hmac:<key id>:<16 hex>`); None where the credentials do not decode.
    pub user: Option<String>,
    /// The password is empty; None where the credentials do not decode.
    pub password_empty: Option<bool>,
}

/// A key whose shape tells who issued it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyShape {
    /// Where.
    pub place: Place,
    /// The issuer's name, as the privacy list has it.
    pub provider: String,
}

/// What kind of thing a pattern stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PatternKind {
    /// A secret; what it hit is replaced.
    Secret,
    /// An attack on the server; what it hit stays, unless it is also a secret.
    Attack,
    /// One that this version does not know, by its number in `record.proto`.
    Unknown(u32),
}

impl PatternKind {
    /// The name in records.
    #[must_use]
    pub fn name(self) -> Text {
        Text::Borrowed(match self {
            Self::Secret => "secret",
            Self::Attack => "attack",
            Self::Unknown(number) => return unknown(number),
        })
    }
}

/// A class of patterns that hit somewhere.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PatternHit {
    /// Where.
    pub place: Place,
    /// Secret or attack.
    pub kind: PatternKind,
    /// The class, as the privacy list names it: `jwt`, `provider_key`, `sqli`, …
    pub class: String,
}

/// The facts of one token, without its place.
pub(crate) struct JwtFacts {
    pub(crate) alg: Option<String>,
    pub(crate) typ: Option<String>,
    pub(crate) kid: Option<KidClass>,
    pub(crate) jku_host: Option<String>,
    pub(crate) expires_unix_s: Option<i64>,
    pub(crate) parts: u8,
    pub(crate) unsigned: bool,
}

#[derive(Deserialize)]
struct JoseHeader<'a> {
    #[serde(borrow)]
    alg: Option<&'a RawValue>,
    #[serde(borrow)]
    typ: Option<&'a RawValue>,
    #[serde(borrow)]
    kid: Option<&'a RawValue>,
    #[serde(borrow)]
    jku: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Claims<'a> {
    #[serde(borrow)]
    exp: Option<&'a RawValue>,
}

/// Reads a token; None where its first part is not base64url of a JSON object.
pub(crate) fn jwt_facts(token: &[u8]) -> Option<JwtFacts> {
    let mut parts = token.split(|b| *b == b'.');
    let header = decode(&BASE64URL_NO_PAD, parts.next()?)?;
    let header: JoseHeader<'_> = serde_json::from_slice(&header).ok()?;
    let claims = parts.next().and_then(|p| decode(&BASE64URL_NO_PAD, p));
    let expires_unix_s = claims.and_then(|c| {
        let claims: Claims<'_> = serde_json::from_slice(&c).ok()?;
        let exp = claims.exp?.get();
        // NumericDate may have a fraction (RFC 7519, 2).
        exp.parse::<i64>().ok().or_else(|| exp.parse::<f64>().ok().map(|seconds| seconds as i64))
    });
    Some(JwtFacts {
        alg: header.alg.and_then(word),
        typ: header.typ.and_then(word),
        kid: header.kid.map(|raw| string(raw).map_or(KidClass::Odd, |kid| KidClass::of(&kid))),
        jku_host: header.jku.and_then(|raw| host(&string(raw)?)),
        expires_unix_s,
        parts: token.split(|b| *b == b'.').count().min(255) as u8,
        unsigned: token.last() == Some(&b'.') || !token.contains(&b'.'),
    })
}

/// Decodes without padding, so that padded and unpadded forms are one; None where it is too long or not base64.
pub(crate) fn decode(alphabet: &GeneralPurpose, text: &[u8]) -> Option<Vec<u8>> {
    if text.len() > JWT_PART_BYTES_MAX {
        return None;
    }
    let end = text.iter().rposition(|b| *b != b'=').map_or(0, |i| i + 1);
    alphabet.decode(&text[..end]).ok()
}

fn string(raw: &RawValue) -> Option<Cow<'_, str>> {
    serde_json::from_str(raw.get()).ok()
}

/// `alg` and `typ` are words such as `RS256` and `at+jwt`; anything else might be a place to hide something.
fn word(raw: &RawValue) -> Option<String> {
    const WORD_BYTES_MAX: usize = 24;
    let word = string(raw)?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'+' | b'/' | b'.' | b'_');
    (word.len() <= WORD_BYTES_MAX && word.bytes().all(plain)).then(|| word.into_owned())
}

/// The host of a URL, without user information and port.
fn host(url: &str) -> Option<String> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#', '\\']).next()?;
    let host = authority.rsplit('@').next()?;
    let host = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().filter(|h| h.parse::<Ipv6Addr>().is_ok())?,
        None => host.split(':').next()?,
    };
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b':' | b'_');
    (!host.is_empty() && host.bytes().all(plain)).then(|| cut(host.as_bytes()))
}

/// A string of at most [`FEATURE_STRING_BYTES_MAX`] bytes; bytes that are not UTF-8 are read as Latin-1.
pub(crate) fn cut(bytes: &[u8]) -> String {
    cut_to(bytes, FEATURE_STRING_BYTES_MAX)
}

/// The same of another length.
pub(crate) fn cut_to(bytes: &[u8], bytes_max: usize) -> String {
    let mut end = bytes.len().min(bytes_max);
    // Not within a character, or all would be read as Latin-1.
    while bytes.get(end).is_some_and(|b| b & 0xc0 == 0x80) && end + 4 > bytes_max {
        end -= 1;
    }
    let mut text = lossless(&bytes[..end]);
    while text.len() > bytes_max {
        text.pop();
    }
    text
}

/// UTF-8, or else Latin-1: each byte one character.
pub(crate) fn lossless(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().map(|b| char::from(*b)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(header: &str, claims: &str) -> Vec<u8> {
        let e = |s: &str| BASE64URL_NO_PAD.encode(s.as_bytes());
        format!("{}.{}.c2ln", e(header), e(claims)).into_bytes()
    }

    #[test]
    fn jwt_facts_are_read() {
        let facts = jwt_facts(&token(
            r#"{"alg":"RS256","typ":"JWT","kid":"../../dev/null","jku":"https://u:p@keys.example:8443/jwks"}"#,
            r#"{"sub":"1","exp":1764009411.5}"#,
        ))
        .unwrap();
        assert_eq!((facts.alg.as_deref(), facts.typ.as_deref()), (Some("RS256"), Some("JWT")));
        assert_eq!((facts.kid, facts.jku_host.as_deref()), (Some(KidClass::Path), Some("keys.example")));
        assert_eq!((facts.expires_unix_s, facts.parts, facts.unsigned), (Some(1764009411), 3, false));
    }

    #[test]
    fn odd_types_do_not_hide_the_rest() {
        let facts = jwt_facts(&token(r#"{"alg":["x"],"typ":7,"kid":{"a":1}}"#, r#"{"exp":"soon"}"#)).unwrap();
        assert_eq!((facts.alg, facts.typ, facts.kid), (None, None, Some(KidClass::Odd)));
        assert_eq!(facts.expires_unix_s, None);
        assert!(
            jwt_facts(b"eyJ").is_none() && jwt_facts(b"").is_none() && jwt_facts(&[b'e'; 9000]).is_none()
        );
    }

    #[test]
    fn kid_classes() {
        for (kid, class) in [
            ("", KidClass::Empty),
            ("0b8a7c4e-6c2b-4f0e-9a53-0c1d2e3f4a5b", KidClass::Uuid),
            ("2024", KidClass::Number),
            ("deadbeef01", KidClass::Hex),
            ("NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs", KidClass::Thumbprint),
            ("prod-key.1", KidClass::Word),
            ("https://x/k", KidClass::Url),
            ("/etc/passwd", KidClass::Path),
            ("x' UNION SELECT 'y", KidClass::Odd),
        ] {
            assert_eq!(KidClass::of(kid), class, "{kid}");
        }
    }

    #[test]
    fn strings_are_cut_to_the_limit() {
        assert_eq!(cut(&[b'x'; 500]).len(), FEATURE_STRING_BYTES_MAX);
        assert!(cut(&[0xff; 500]).len() <= FEATURE_STRING_BYTES_MAX);
    }
}
