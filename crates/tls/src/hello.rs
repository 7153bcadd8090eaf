//! The handshake messages that are looked into: ClientHello, ServerHello and EncryptedExtensions.
//!
//! Each parser takes the body of a whole message and gives `None` where it is not what RFC 5246, 7.4.1 or RFC 8446, 4.1
//! allows. Unknown extensions are passed over.

use crate::keylog::Random;
use crate::suites::Suite;

const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;
const ENCRYPT_THEN_MAC: u16 = 22;
const PRE_SHARED_KEY: u16 = 41;
const EARLY_DATA: u16 = 42;
const SUPPORTED_VERSIONS: u16 = 43;

/// The random of a ServerHello that is a HelloRetryRequest: SHA-256 of that word (RFC 8446, 4.1.3).
const RETRY_RANDOM: Random = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91, 0xc2,
    0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

/// Reads big-endian numbers and length-prefixed parts.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (first, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(first)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(|[b]| b)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    fn part8(&mut self) -> Option<&'a [u8]> {
        let len = self.u8()?;
        self.take(usize::from(len))
    }

    fn part16(&mut self) -> Option<Reader<'a>> {
        let len = self.u16()?;
        self.take(usize::from(len)).map(Reader)
    }

    /// An extension; `Some(None)` at the end of the list.
    fn extension(&mut self) -> Option<Option<(u16, Reader<'a>)>> {
        if self.0.is_empty() {
            return Some(None);
        }
        Some(Some((self.u16()?, self.part16()?)))
    }
}

fn text(bytes: &[u8]) -> Option<String> {
    std::str::from_utf8(bytes).ok().map(str::to_owned)
}

/// What a ClientHello says.
pub(crate) struct ClientHello {
    pub(crate) random: Random,
    pub(crate) server_name: Option<String>,
    /// It announces 0-RTT data.
    pub(crate) early_data: bool,
}

impl ClientHello {
    pub(crate) fn parse(body: &[u8]) -> Option<Self> {
        let mut reader = Reader(body);
        let _version = reader.u16()?;
        let random = reader.array()?;
        let _session_id = reader.part8()?;
        let _suites = reader.part16()?;
        let _compressions = reader.part8()?;
        let mut hello = Self { random, server_name: None, early_data: false };
        if reader.0.is_empty() {
            return Some(hello);
        }
        let mut extensions = reader.part16()?;
        while let Some((kind, mut data)) = extensions.extension()? {
            match kind {
                // A list of names, each with its type, of which host_name (0) is the only one (RFC 6066, 3).
                SERVER_NAME => {
                    let mut names = data.part16()?;
                    if names.u8() == Some(0) {
                        hello.server_name = names.part16().and_then(|name| text(name.0));
                    }
                }
                EARLY_DATA => hello.early_data = true,
                _ => {}
            }
        }
        reader.0.is_empty().then_some(hello)
    }
}

/// What a ServerHello says.
pub(crate) struct ServerHello {
    pub(crate) version: u16,
    pub(crate) random: Random,
    pub(crate) suite: Suite,
    pub(crate) compressed: bool,
    pub(crate) alpn: Option<String>,
    pub(crate) encrypt_then_mac: bool,
    pub(crate) pre_shared_key: bool,
}

impl ServerHello {
    pub(crate) fn parse(body: &[u8]) -> Option<Self> {
        let mut reader = Reader(body);
        let version = reader.u16()?;
        let random = reader.array()?;
        let _session_id = reader.part8()?;
        let suite = Suite(reader.u16()?);
        let compressed = reader.u8()? != 0;
        let mut hello = Self {
            version,
            random,
            suite,
            compressed,
            alpn: None,
            encrypt_then_mac: false,
            pre_shared_key: false,
        };
        if reader.0.is_empty() {
            return Some(hello);
        }
        let mut extensions = reader.part16()?;
        while let Some((kind, mut data)) = extensions.extension()? {
            match kind {
                ALPN => hello.alpn = chosen_protocol(&mut data)?,
                ENCRYPT_THEN_MAC => hello.encrypt_then_mac = true,
                PRE_SHARED_KEY => hello.pre_shared_key = true,
                SUPPORTED_VERSIONS => hello.version = data.u16()?,
                _ => {}
            }
        }
        reader.0.is_empty().then_some(hello)
    }

    /// It asks for another ClientHello.
    pub(crate) fn is_retry(&self) -> bool {
        self.random == RETRY_RANDOM
    }
}

/// What EncryptedExtensions say.
pub(crate) struct EncryptedExtensions {
    pub(crate) alpn: Option<String>,
    /// The server takes the 0-RTT data.
    pub(crate) early_data: bool,
}

impl EncryptedExtensions {
    pub(crate) fn parse(body: &[u8]) -> Option<Self> {
        let mut reader = Reader(body);
        let mut extensions = reader.part16()?;
        let mut found = Self { alpn: None, early_data: false };
        while let Some((kind, mut data)) = extensions.extension()? {
            match kind {
                ALPN => found.alpn = chosen_protocol(&mut data)?,
                EARLY_DATA => found.early_data = true,
                _ => {}
            }
        }
        reader.0.is_empty().then_some(found)
    }
}

/// The one protocol of a server's list (RFC 7301, 3.1); a name that is no text is left out.
fn chosen_protocol(data: &mut Reader<'_>) -> Option<Option<String>> {
    Some(text(data.part16()?.part8()?))
}
