//! Connections that speak TLS: their plaintext takes the place of their bytes.
//!
//! What a connection begins with tells whether it speaks TLS. If so, `session` puts the bytes of each direction in order
//! and hands them to `headtrail_tls`; the plaintext that comes out is read as if it had been in the packets. It is
//! numbered as TCP would have numbered it without TLS, from the first sequence number of the direction on; what packets
//! acknowledge is translated into that count, since pairing rests on it. Elements of packets stay as they were.
//!
//! A hole in the plaintext is a gap for certain, and its length is not known: where records were lost nobody can say how much
//! of them was content. So the place is lost in every state, within bodies too. What cannot be decrypted is counted by
//! reason.
//!
//! Only where keys may come is TLS looked for: otherwise this costs nothing.

mod packets;
mod session;

use std::sync::Arc;

use headtrail_record::event::{Direction, flags};
use headtrail_record::tls::Tls;
use headtrail_record::transaction::IncompleteReason;
use headtrail_tls::{Facts, Reason};

use crate::connection::{Connection, Context};
use crate::run::Run;
use crate::stream::State;
use crate::weight::ALLOCATION_BYTES;

use self::session::Session;

/// Longest name of a server that is recorded, bytes: no name in the DNS is longer (RFC 1035, 2.3.4).
const NAME_BYTES_MAX: usize = 255;
/// Segments of a connection that was joined in which the beginning of a record is looked for.
const JOINED_LOOKS_MAX: u8 = 32;

/// What is known of a connection's TLS.
pub(crate) enum Look {
    /// No byte was seen.
    Open,
    /// It speaks none, or nobody needs to know.
    Clear,
    /// It is older than the capture, and seems to speak none; so many segments are still looked at.
    Joined(u8),
    /// It does, as far as it has been seen.
    Session(Box<Session>),
}

impl Look {
    pub(crate) fn weight(&self) -> usize {
        match self {
            Self::Session(session) => size_of::<Session>() + ALLOCATION_BYTES + session.weight(),
            _ => 0,
        }
    }

    /// Takes the session out, if there is one.
    pub(crate) fn take(&mut self) -> Option<Box<Session>> {
        match std::mem::replace(self, Self::Clear) {
            Self::Session(session) => Some(session),
            other => {
                *self = other;
                None
            }
        }
    }

    /// Bytes are held back to restore order.
    pub(crate) fn holds(&self) -> bool {
        matches!(self, Self::Session(session) if session.holds())
    }
}

/// What TLS counts.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Connections that speak TLS.
    pub connections: u64,
    /// Of them, those of which something was decrypted.
    pub decrypted: u64,
    unseen: [u64; Reason::ALL.len()],
}

impl Counts {
    /// Connections that could not be decrypted, or not to their end, for that reason.
    #[must_use]
    pub fn unseen(&self, why: Reason) -> u64 {
        Reason::ALL.iter().position(|reason| *reason == why).map_or(0, |at| self.unseen[at])
    }

    fn count(&mut self, why: Reason) {
        if let Some(at) = Reason::ALL.iter().position(|reason| *reason == why) {
            self.unseen[at] += 1;
        }
    }
}

/// How TLS begins a connection (RFC 8446, 5.1): a record with a handshake message. Undecided: None.
fn begins_with_handshake(bytes: &[u8]) -> Option<bool> {
    const HANDSHAKE: u8 = 22;
    match *bytes {
        [] | [HANDSHAKE] | [HANDSHAKE, 3] => None,
        [HANDSHAKE, 3, minor, ..] => Some(minor <= 4),
        _ => Some(false),
    }
}

/// The bytes are records, one behind the other, of which the last one may be cut.
fn is_records(bytes: &[u8]) -> bool {
    const KINDS: std::ops::RangeInclusive<u8> = 20..=24;
    const LEN_MAX: usize = (1 << 14) + 2048;
    let mut rest = bytes;
    while let Some(&[kind, major, minor, a, b]) = rest.first_chunk() {
        let len = usize::from(u16::from_be_bytes([a, b]));
        if !KINDS.contains(&kind) || major != 3 || minor > 4 || len == 0 || len > LEN_MAX {
            return false;
        }
        rest = rest.get(5 + len..).unwrap_or_default();
    }
    bytes.len() >= 5
}

impl Connection {
    /// Takes a run of which it is not known that it is no TLS.
    pub(crate) fn look_for_tls(&mut self, direction: Direction, run: Run<'_>, cx: &mut Context<'_>) {
        let fresh = run.has(flags::FRESH) && !self.again;
        let joined = run.has(flags::JOINED) || (run.has(flags::FRESH) && self.again);
        match std::mem::replace(&mut self.tls, Look::Clear) {
            Look::Clear => self.take_run(direction, run, cx),
            Look::Open if (fresh || joined) && begins_with_handshake(run.bytes) == Some(false) => {
                if joined {
                    self.tls = Look::Joined(JOINED_LOOKS_MAX);
                    return self.look_for_tls(direction, run, cx);
                }
                self.take_run(direction, run, cx);
            }
            Look::Open => {
                let mut session = Box::new(Session::new());
                self.session_run(&mut session, direction, run, cx);
                self.keep(session);
            }
            Look::Joined(left) => {
                if self.request_direction.is_none() && is_records(run.bytes) {
                    cx.counters.tls.connections += 1;
                    return self.unseen(Reason::JoinedLate, cx);
                }
                if left > 0 {
                    self.tls = Look::Joined(left - 1);
                }
                self.take_run(direction, run, cx);
            }
            Look::Session(mut session) => {
                self.session_run(&mut session, direction, run, cx);
                self.keep(session);
            }
        }
    }

    /// Puts a session back, unless nobody needs it any more.
    pub(crate) fn keep(&mut self, session: Box<Session>) {
        if !self.needs_no_plaintext() && !session.is_over() {
            self.tls = Look::Session(session);
        }
    }

    /// It speaks something else than HTTP. Of tunnels the bytes are counted.
    fn needs_no_plaintext(&self) -> bool {
        self.deaf && self.tunnel.is_none()
    }

    /// The connection cannot be decrypted any further.
    fn unseen(&mut self, why: Reason, cx: &mut Context<'_>) {
        cx.counters.tls.count(why);
        if self.tls_facts.is_none() {
            // Nothing was read of it.
            self.deaf = true;
            return;
        }
        if self.http2.is_some() {
            self.end_http2(IncompleteReason::Gap, cx);
        }
        for direction in [Direction::Ingress, Direction::Egress] {
            self.lose_plain(direction, self.streams[direction.index()].next, cx);
        }
        if !self.queue.is_empty() {
            self.response_gap = self.response_gap.or(Some(IncompleteReason::Gap));
        }
        self.give_up_all(cx);
        self.deaf = true;
    }

    /// Bytes are missing before `sequence`, and nobody knows how many.
    fn lose_plain(&mut self, direction: Direction, sequence: u32, cx: &mut Context<'_>) {
        if self.deaf {
            return self.lose_tunnel(direction, sequence);
        }
        self.drop_candidate(direction, cx);
        let now_ns = cx.now_ns;
        match self.streams[direction.index()].state {
            State::Tunnel => return,
            State::Frames => {
                return self.lose_frames(IncompleteReason::Gap, &Run::empty(sequence, now_ns), direction, cx);
            }
            State::Boundary | State::Lost => {}
            _ => self.cut(direction, IncompleteReason::Gap, cx),
        }
        if self.deaf {
            return;
        }
        cx.counters.gaps += 1;
        let stream = &mut self.streams[direction.index()];
        stream.lose(IncompleteReason::Gap);
        stream.synced = true;
        stream.next = sequence;
    }

    /// Notes what the handshake has told, for the records.
    fn note(&mut self, facts: &Facts) {
        let version = facts.version.map(|version| version.0);
        let cipher = facts.suite.map(|suite| suite.0);
        if self.tls_facts.as_ref().is_some_and(|tls| (tls.version, tls.cipher) == (version, cipher)) {
            return;
        }
        let name = |name: &Option<String>| name.clone().filter(|name| name.len() <= NAME_BYTES_MAX);
        self.tls_facts = Some(Arc::new(Tls {
            version,
            cipher,
            sni: name(&facts.server_name),
            alpn: name(&facts.alpn),
            ja4: None,
            resumed: facts.resumed,
        }));
    }
}
