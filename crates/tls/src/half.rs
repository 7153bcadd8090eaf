//! One direction of a connection: bytes that wait, the keys in use and those to come, and where it is.

use std::collections::VecDeque;

use crate::cipher::Opener;
use crate::facts::Reason;
use crate::gap::Lost;
use crate::handshake::Joiner;
use crate::keylog::Secret;
use crate::schedule;
use crate::suites::{Algorithm, Hash};

/// Most bytes that are held of a direction that waits for what the other one says: 0-RTT data, which cannot be read
/// before the server has chosen a suite, and segments that were captured out of order between the directions.
pub const HELD_BYTES_MAX: usize = 64 * 1024;

/// Longest protected record without its header: RFC 5246, 6.2.3. That of TLS 1.3 is shorter.
pub(crate) const RECORD_BYTES_MAX: usize = (1 << 14) + 2048;
/// The same of TLS 1.3: RFC 8446, 5.2.
pub(crate) const RECORD_BYTES_MAX_13: usize = (1 << 14) + 256;
/// Most plaintext of a record.
pub(crate) const PLAIN_BYTES_MAX: usize = 1 << 14;
/// Header of a record: type, version, length.
pub(crate) const HEADER_BYTES: usize = 5;

pub(crate) const CHANGE_CIPHER_SPEC: u8 = 20;
pub(crate) const ALERT: u8 = 21;
pub(crate) const HANDSHAKE: u8 = 22;
pub(crate) const APPLICATION_DATA: u8 = 23;
pub(crate) const HEARTBEAT: u8 = 24;

/// Header of a record that may be one.
#[derive(Clone, Copy)]
pub(crate) struct Header {
    pub(crate) bytes: [u8; HEADER_BYTES],
    pub(crate) kind: u8,
    pub(crate) len: usize,
}

impl Header {
    /// `Ok(None)` while there are too few bytes.
    pub(crate) fn read(input: &[u8], len_max: usize) -> Result<Option<Self>, Reason> {
        let well_begun = input.first().is_none_or(|kind| (CHANGE_CIPHER_SPEC..=HEARTBEAT).contains(kind))
            && input.get(1).is_none_or(|&major| major == 3)
            && input.get(2).is_none_or(|&minor| minor <= 4);
        if !well_begun {
            return Err(Reason::Malformed);
        }
        let Some(&bytes) = input.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let len = usize::from(u16::from_be_bytes([bytes[3], bytes[4]]));
        if len > len_max {
            return Err(Reason::TooLarge);
        }
        Ok(Some(Self { bytes, kind: bytes[0], len }))
    }

    /// Length of the whole record, bytes.
    pub(crate) fn record_len(&self) -> usize {
        HEADER_BYTES + self.len
    }
}

/// What keys are for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Epoch {
    /// 0-RTT data.
    Early,
    /// The handshake of TLS 1.3.
    Handshake,
    /// Everything in TLS 1.2.
    Application,
}

/// From what the keys behind a KeyUpdate follow.
struct Traffic {
    secret: Secret,
    protection: (Algorithm, Hash),
}

/// Keys of one direction.
pub(crate) struct Keys {
    pub(crate) epoch: Epoch,
    pub(crate) opener: Opener,
    traffic: Option<Traffic>,
}

impl Keys {
    pub(crate) fn tls12(opener: Opener) -> Self {
        Self { epoch: Epoch::Application, opener, traffic: None }
    }

    /// `None` where there is no secret, or one of another length.
    pub(crate) fn tls13(
        epoch: Epoch,
        protection: (Algorithm, Hash),
        secret: Option<&Secret>,
    ) -> Option<Self> {
        let secret = secret?;
        let opener = schedule::tls13(protection, secret)?;
        Some(Self { epoch, opener, traffic: Some(Traffic { secret: secret.clone(), protection }) })
    }

    /// The keys behind a KeyUpdate.
    pub(crate) fn updated(&self) -> Option<Self> {
        let Traffic { secret, protection } = self.traffic.as_ref()?;
        Self::tls13(self.epoch, *protection, Some(&schedule::updated(protection.1, secret)?))
    }
}

/// 0-RTT data that cannot be read is passed over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum PassEarly {
    /// Records are opened, all of them.
    No,
    /// The server did not take it, so it is no part of what was said.
    Refused,
    /// The server took it; its secret is missing.
    Missed,
}

/// One direction.
pub(crate) struct Half {
    /// Bytes that have not been looked at.
    pub(crate) input: Vec<u8>,
    pub(crate) joiner: Joiner,
    /// After a gap: a handshake message may have lost its beginning.
    pub(crate) adrift: bool,
    pub(crate) keys: Option<Keys>,
    /// Keys to come, or why there are none.
    pub(crate) next: VecDeque<Result<Keys, Reason>>,
    /// Number of the next record under these keys.
    pub(crate) sequence: u64,
    /// Position of `input` in what this end has sent.
    pub(crate) cipher_at: u64,
    /// Position of the next plaintext.
    pub(crate) plain_at: u64,
    pub(crate) pass_early: PassEarly,
    /// Rest of a record of which a part is missing, bytes.
    pub(crate) skip_bytes: u64,
    pub(crate) lost: Option<Lost>,
    pub(crate) closed: bool,
}

impl Half {
    pub(crate) fn new() -> Self {
        Self {
            input: Vec::new(),
            joiner: Joiner::default(),
            adrift: false,
            keys: None,
            next: VecDeque::new(),
            sequence: 0,
            cipher_at: 0,
            plain_at: 0,
            pass_early: PassEarly::No,
            skip_bytes: 0,
            lost: None,
            closed: false,
        }
    }

    pub(crate) fn epoch(&self) -> Option<Epoch> {
        self.keys.as_ref().map(|k| k.epoch)
    }

    /// Records from here on have the next keys. Messages do not reach over a change of keys (RFC 8446, 5.1).
    pub(crate) fn advance(&mut self) -> Result<(), Reason> {
        if !self.joiner.is_empty() {
            return Err(Reason::Malformed);
        }
        let next = self.next.pop_front().ok_or(Reason::Malformed)??;
        self.use_keys(next);
        Ok(())
    }

    pub(crate) fn use_keys(&mut self, keys: Keys) {
        self.keys = Some(keys);
        self.sequence = 0;
    }
}
