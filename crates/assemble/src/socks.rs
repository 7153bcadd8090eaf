//! SOCKS (version 4 with its extension 4a, RFC 1928, RFC 1929): what both ends say before the connection is that to the
//! destination. It is passed over, from the connection's first byte on, in capture files only: the kernel's program copies
//! nothing of such connections.
//!
//! Only CONNECT: of a connection that waits for another one (BIND) the proxy says more than is passed over here. Methods of
//! authentication that go on to wrap what follows are none of ours.

use headtrail_record::event::Direction;

use crate::connection::{Connection, Context};
use crate::run::Run;
use crate::stream::{Partial, State};

/// Longest handshake of one end, bytes: greeting, user and password, and a name as destination, are less.
const HANDSHAKE_BYTES_MAX: usize = 2048;

/// What the bytes of one end are, from its first one on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Handshake {
    /// The beginning of a handshake.
    More,
    /// A handshake of so many bytes.
    Whole(usize),
    /// None.
    Other,
}

/// A walk over a handshake: None where more bytes are needed.
struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Walk<'_> {
    fn byte(&mut self) -> Option<u8> {
        let byte = self.bytes.get(self.at).copied()?;
        self.at += 1;
        Some(byte)
    }

    fn pass(&mut self, count: usize) -> Option<()> {
        self.at += count;
        (self.at <= self.bytes.len()).then_some(())
    }

    /// A length in one byte, and what it counts.
    fn pass_counted(&mut self) -> Option<()> {
        let count = self.byte()?;
        self.pass(count.into())
    }

    /// A text that ends with a zero.
    fn pass_text(&mut self) -> Option<()> {
        while self.byte()? != 0 {}
        Some(())
    }

    /// Reserved byte, kind of address, address, port (RFC 1928, 4 and 6). Some(false): no such kind.
    fn pass_address(&mut self) -> Option<bool> {
        self.byte()?;
        match self.byte()? {
            1 => self.pass(4)?,
            3 => self.pass_counted()?,
            4 => self.pass(16)?,
            _ => return Some(false),
        }
        self.pass(2)?;
        Some(true)
    }

    /// What a client sends. Some(false): it is no handshake.
    fn client(&mut self) -> Option<bool> {
        const CONNECT: u8 = 1;
        match self.byte()? {
            4 => {
                if self.byte()? != CONNECT {
                    return Some(false);
                }
                self.pass(2)?;
                let address = [self.byte()?, self.byte()?, self.byte()?, self.byte()?];
                self.pass_text()?;
                // An address that cannot be: a name follows.
                if address[..3] == [0; 3] && address[3] != 0 {
                    self.pass_text()?;
                }
                Some(true)
            }
            5 => {
                self.pass_counted()?;
                let mut version = self.byte()?;
                if version == 1 {
                    self.pass_counted()?;
                    self.pass_counted()?;
                    version = self.byte()?;
                }
                if version != 5 || self.byte()? != CONNECT {
                    return Some(false);
                }
                self.pass_address()
            }
            _ => Some(false),
        }
    }

    /// What a proxy answers that grants it. Some(false): it does not, or it is no handshake.
    fn proxy(&mut self) -> Option<bool> {
        match self.byte()? {
            0 => {
                const GRANTED: u8 = 90;
                if self.byte()? != GRANTED {
                    return Some(false);
                }
                self.pass(6)?;
                Some(true)
            }
            5 => {
                self.byte()?;
                let mut version = self.byte()?;
                if version == 1 {
                    self.byte()?;
                    version = self.byte()?;
                }
                if version != 5 || self.byte()? != 0 {
                    return Some(false);
                }
                self.pass_address()
            }
            _ => Some(false),
        }
    }
}

fn handshake(bytes: &[u8], client: bool) -> Handshake {
    let mut walk = Walk { bytes, at: 0 };
    match if client { walk.client() } else { walk.proxy() } {
        Some(true) => Handshake::Whole(walk.at),
        None if bytes.len() < HANDSHAKE_BYTES_MAX => Handshake::More,
        _ => Handshake::Other,
    }
}

impl Connection {
    /// The connection begins with a SOCKS handshake: of its client, that is, whose bytes `run` has.
    pub(crate) fn begins_socks(&mut self, direction: Direction, run: &Run<'_>, cx: &Context<'_>) -> bool {
        let other = &self.streams[direction.reverse().index()];
        if !cx.limits.tunnels
            || !self.fresh[direction.index()]
            || self.request_direction.is_some()
            || self.number > 0
            || self.socks_client.is_some()
            || other.state != State::Boundary
            || handshake(run.bytes, true) == Handshake::Other
        {
            return false;
        }
        self.socks_client = Some(direction);
        for stream in &mut self.streams {
            stream.state = State::Socks;
        }
        let other = &mut self.streams[direction.reverse().index()];
        if !other.synced && other.base.is_none() {
            other.base = run.acknowledgement();
        }
        true
    }

    /// Passes over a handshake; false where it is none.
    pub(crate) fn pass_socks(&mut self, direction: Direction, run: &mut Run<'_>) -> bool {
        let client = self.socks_client == Some(direction);
        let stream = &mut self.streams[direction.index()];
        let partial =
            stream.partial.get_or_insert_with(|| Box::new(Partial { bytes: Vec::new(), begin: None }));
        let old = partial.bytes.len();
        let room = HANDSHAKE_BYTES_MAX.saturating_sub(old).min(run.bytes.len());
        partial.bytes.extend_from_slice(&run.bytes[..room]);
        match handshake(&partial.bytes, client) {
            Handshake::More => stream.take(run, room),
            Handshake::Whole(len) => {
                stream.partial = None;
                stream.take(run, len.saturating_sub(old));
                stream.state = State::Boundary;
            }
            Handshake::Other => {
                stream.partial = None;
                return false;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &[u8] = b"\x05\x01\x00\x03\x07example\x00\x50";

    #[test]
    fn handshakes_end_where_the_destination_begins() {
        let user = b"\x05\x02\x00\x02\x01\x02me\x03pwd";
        let client: [Vec<u8>; 5] = [
            [b"\x05\x01\x00", NAME].concat(),
            [&user[..], b"\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x50"].concat(),
            b"\x05\x01\x00\x05\x01\x00\x04abcdefghijklmnop\x00\x50".to_vec(),
            b"\x04\x01\x00\x50\x7f\x00\x00\x01me\x00".to_vec(),
            b"\x04\x01\x00\x50\x00\x00\x00\x01me\x00example\x00".to_vec(),
        ];
        let proxy: [Vec<u8>; 3] = [
            b"\x05\x00\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50".to_vec(),
            b"\x05\x02\x01\x00\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50".to_vec(),
            b"\x00\x5a\x00\x50\x7f\x00\x00\x01".to_vec(),
        ];
        for (bytes, is_client) in client.iter().map(|b| (b, true)).chain(proxy.iter().map(|b| (b, false))) {
            for len in 0..bytes.len() {
                assert_eq!(handshake(&bytes[..len], is_client), Handshake::More, "{bytes:?} {len}");
            }
            let more = [bytes, &b"GET / HTTP/1.1\r\n"[..]].concat();
            assert_eq!(handshake(&more, is_client), Handshake::Whole(bytes.len()), "{bytes:?}");
        }
    }

    #[test]
    fn what_is_no_handshake_is_none() {
        for bytes in [&b"GET /"[..], b"\x04\x02", b"\x05\x01\x00\x05\x02", b"\x05\x00\x05\x01\x00\x09"] {
            assert_eq!(handshake(bytes, true), Handshake::Other, "{bytes:?}");
        }
        for bytes in [&b"HTTP"[..], b"\x00\x5b", b"\x05\xff\x05\x01", b"\x05\x00\x07"] {
            assert_eq!(handshake(bytes, false), Handshake::Other, "{bytes:?}");
        }
        let endless = [&b"\x04\x01\x00\x50\x7f\x00\x00\x01"[..], &[b'a'; HANDSHAKE_BYTES_MAX]].concat();
        assert_eq!(handshake(&endless, true), Handshake::Other);
    }
}
