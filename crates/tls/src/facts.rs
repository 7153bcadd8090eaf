//! What is known of a connection beside its plaintext, and how far it can be read.

use std::fmt;

use crate::suites::Suite;

/// The end of a connection that sent bytes. Which of them is the client, the ClientHello tells.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Side {
    /// One end.
    A,
    /// The other one.
    B,
}

impl Side {
    /// The other end.
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    pub(crate) fn index(self) -> usize {
        self as usize
    }
}

/// A version of TLS, as on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Version(pub u16);

impl Version {
    /// TLS 1.2.
    pub const TLS12: Self = Self(0x0303);
    /// TLS 1.3.
    pub const TLS13: Self = Self(0x0304);

    /// Its name, if it has one.
    pub fn name(self) -> Option<&'static str> {
        match self.0 {
            0x0300 => Some("SSL 3.0"),
            0x0301 => Some("TLS 1.0"),
            0x0302 => Some("TLS 1.1"),
            0x0303 => Some("TLS 1.2"),
            0x0304 => Some("TLS 1.3"),
            _ => None,
        }
    }
}

/// What the handshake told. What was not seen is `None`. Names are the peers' own text: escape them for where they go.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Facts {
    /// The end that sent the ClientHello.
    pub client: Option<Side>,
    /// The version that the server chose.
    pub version: Option<Version>,
    /// The cipher suite that the server chose.
    pub suite: Option<Suite>,
    /// The name of the server that the client asked for (SNI).
    pub server_name: Option<String>,
    /// The protocol that the server chose (ALPN). In TLS 1.3 it can be read with keys only.
    pub alpn: Option<String>,
    /// A session was resumed, or a pre-shared key taken.
    pub resumed: Option<bool>,
    /// The client sent 0-RTT data, and the server took it or did not.
    pub early_data: Option<bool>,
}

/// How far a connection can be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// Too few bytes to tell whether it is TLS; at most six of a side.
    Undecided,
    /// It does not begin as TLS does.
    NotTls,
    /// No keys are in use yet.
    Handshake,
    /// Records are opened.
    Decrypting,
    /// Nothing further can be read.
    Unseen(Reason),
}

/// Why a connection cannot be read, or not any further.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Reason {
    /// The key log has not all the secrets of it.
    NoKey,
    /// The server chose a version other than 1.2 and 1.3.
    VersionNotSupported,
    /// The server chose a cipher suite that cannot be undone here.
    SuiteNotSupported,
    /// The server chose compression.
    Compressed,
    /// Its beginning was not seen.
    JoinedLate,
    /// Bytes are missing, and no record behind them could be authenticated.
    Gap,
    /// A record does not authenticate: it was changed, or the secrets are those of another connection.
    Unauthentic,
    /// A record or handshake message is larger than it may be.
    TooLarge,
    /// The bytes are not what the protocol allows at this place.
    Malformed,
    /// One end gave the handshake up by an alert.
    Refused,
    /// One direction had to wait too long for what the other one says.
    TooMuchHeld,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::NoKey,
        Self::VersionNotSupported,
        Self::SuiteNotSupported,
        Self::Compressed,
        Self::JoinedLate,
        Self::Gap,
        Self::Unauthentic,
        Self::TooLarge,
        Self::Malformed,
        Self::Refused,
        Self::TooMuchHeld,
    ];

    /// Its name in records and counts.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoKey => "no_key",
            Self::VersionNotSupported => "version_not_supported",
            Self::SuiteNotSupported => "suite_not_supported",
            Self::Compressed => "compressed",
            Self::JoinedLate => "joined_late",
            Self::Gap => "gap",
            Self::Unauthentic => "unauthentic",
            Self::TooLarge => "too_large",
            Self::Malformed => "malformed",
            Self::Refused => "refused",
            Self::TooMuchHeld => "too_much_held",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoKey => "the key log has not all its secrets",
            Self::VersionNotSupported => "its version of TLS cannot be read",
            Self::SuiteNotSupported => "its cipher suite cannot be read",
            Self::Compressed => "it is compressed",
            Self::JoinedLate => "its beginning was not seen",
            Self::Gap => "bytes are missing, and no record behind them can be read",
            Self::Unauthentic => "a record does not authenticate",
            Self::TooLarge => "a record or a message is too large",
            Self::Malformed => "it is not what TLS allows",
            Self::Refused => "its handshake was given up by an alert",
            Self::TooMuchHeld => "one direction waits too long for the other",
        })
    }
}
