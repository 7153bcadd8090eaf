//! What the capturing side tells the assembler. An event borrows its bytes from the place where it was
//! captured (the ring buffer, a file), so handing it on copies nothing.

use std::fmt;
use std::net::IpAddr;

/// Names one TCP connection as one socket sees it: the kernel's socket cookie when live, a running number when
/// read from a file. A connection with both ends on this host has two sockets, thus two ids.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct ConnectionId(pub u64);

/// Which way bytes went, as the seeing socket has it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Direction {
    /// Received by the socket.
    Ingress,
    /// Sent by the socket.
    Egress,
}

impl Direction {
    /// The other way.
    #[must_use]
    pub fn reverse(self) -> Self {
        match self {
            Direction::Ingress => Direction::Egress,
            Direction::Egress => Direction::Ingress,
        }
    }

    /// 0 for ingress, 1 for egress: an index into a pair.
    #[must_use]
    pub fn index(self) -> usize {
        match self {
            Direction::Ingress => 0,
            Direction::Egress => 1,
        }
    }
}

/// One end of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Endpoint {
    /// Address; IPv4-mapped IPv6 addresses are given as IPv4.
    pub ip: IpAddr,
    /// TCP port.
    pub port: u16,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ip {
            IpAddr::V4(ip) => write!(f, "{ip}:{}", self.port),
            IpAddr::V6(ip) => write!(f, "[{ip}]:{}", self.port),
        }
    }
}

/// Longest copy of the L3 and L4 headers of a packet: IPv4 with all options and TCP with all options.
pub const HEADER_BYTES_MAX: usize = 120;

/// The L3 and L4 header bytes of one packet, as the hook saw them; see [`crate::packet`] for their elements.
#[derive(Clone, Copy)]
pub struct HeaderBytes {
    len: u8,
    bytes: [u8; HEADER_BYTES_MAX],
}

impl HeaderBytes {
    /// Copies at most [`HEADER_BYTES_MAX`] bytes.
    #[must_use]
    pub fn new(from: &[u8]) -> Self {
        let len = from.len().min(HEADER_BYTES_MAX);
        let mut bytes = [0; HEADER_BYTES_MAX];
        bytes[..len].copy_from_slice(&from[..len]);
        Self { len: len as u8, bytes }
    }

    /// The bytes from the IP version nibble on.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// The same, to be changed.
    pub(crate) fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.bytes[..usize::from(self.len)]
    }
}

impl fmt::Debug for HeaderBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HeaderBytes({} bytes)", self.len)
    }
}

/// What is known of a packet's origin in process terms. `name` is the kernel's `comm`, cut to 15 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProcessRef {
    /// Process id (thread group id) in the initial pid namespace.
    pub pid: u32,
    /// `comm`, NUL padded.
    pub name: [u8; 16],
}

/// Bits of [`Segment::flags`].
pub mod flags {
    /// The connection was seen from its first payload byte on in this direction.
    pub const FRESH: u16 = 1 << 0;
    /// The kernel does not walk this direction's framing at the moment: every payload byte is copied, within bounds.
    pub const RAW: u16 = 1 << 1;
    /// By the kernel's framing a message begins at `bytes[0]`.
    pub const START: u16 = 1 << 2;
    /// The segment came with the listener as socket (deferred accept, fast open): `connection` is not the child's.
    pub const EARLY: u16 = 1 << 3;
    /// Segments of this direction were lost before this one because the ring was full.
    pub const LOST: u16 = 1 << 4;
    /// Bytes before this segment were passed over because they belong to no message that was seen from its start
    /// (the connection is older than the capture).
    pub const JOINED: u16 = 1 << 5;
    /// This direction carries requests, as far as the kernel knows.
    pub const REQUESTS: u16 = 1 << 6;
}

/// A run of payload bytes of one packet. Bytes that the kernel recognised as body are passed over: the next
/// segment of the direction then begins at a later sequence number.
#[derive(Clone, Copy)]
pub struct Segment<'a> {
    /// The connection, as the seeing socket has it.
    pub connection: ConnectionId,
    /// Network namespace inode number; tuples repeat across namespaces.
    pub netns: u32,
    /// Ingress or egress of the seeing socket.
    pub direction: Direction,
    /// Nanoseconds since the Unix epoch, taken at the hook.
    pub time_ns: u64,
    /// TCP sequence number of `bytes[0]`.
    pub sequence: u32,
    /// Copied payload bytes.
    pub bytes: &'a [u8],
    /// Sequence number behind the last payload byte of the packet. What lies between the end of `bytes` and here was
    /// passed over as body, or comes with a further segment of the same packet.
    pub packet_end: u32,
    /// The packet's L3 and L4 header bytes.
    pub headers: &'a [u8],
    /// Segments in this (GSO or GRO) super-packet; 1 for an ordinary one.
    pub segments: u16,
    /// [`flags`].
    pub flags: u16,
    /// Message starts (requests, final responses) that the kernel counted in these bytes; 0 where RAW.
    pub starts: u16,
    /// Who owns the seeing socket, where known by now.
    pub process: Option<ProcessRef>,
    /// The packet's number in a capture file, 1 the first; None when live.
    pub frame: Option<u64>,
}

/// A place in chunked coding (RFC 9112, 7.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChunkAt {
    /// In a chunk-size; `value` and `digits` so far.
    Size {
        /// Of the digits so far.
        value: u64,
        /// How many.
        digits: u8,
    },
    /// Behind the chunk-size, in its line.
    Extension {
        /// Chunk-size.
        value: u64,
    },
    /// In chunk-data.
    Data {
        /// Octets of it that follow.
        remaining: u64,
    },
    /// Behind chunk-data: in the CR LF that follows, or before it.
    DataEnd,
}

/// Why a connection is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CloseReason {
    /// Both sides finished.
    Fin,
    /// Reset by either side.
    Reset,
    /// Forgotten, because a limit or a time-out was hit.
    Evicted,
}

/// One thing that the capturing side has seen.
#[derive(Clone, Copy)]
pub enum Event<'a> {
    /// Payload bytes.
    Segment(Segment<'a>),
    /// A body that the kernel passed over is complete, in a later packet than the one in which its head ended.
    BodyEnd {
        /// The connection.
        connection: ConnectionId,
        /// Its direction.
        direction: Direction,
        /// Nanoseconds since the Unix epoch.
        time_ns: u64,
        /// Sequence number behind the body (behind the last chunk's CRLF, before trailers, when chunked).
        sequence: u32,
        /// Content octets after chunk decoding.
        octets: u64,
    },
    /// The kernel walks over the chunks of a body no further: from here on the payload is copied.
    Chunks {
        /// The connection.
        connection: ConnectionId,
        /// Its direction.
        direction: Direction,
        /// Nanoseconds since the Unix epoch.
        time_ns: u64,
        /// Sequence number of the byte that comes next.
        sequence: u32,
        /// Content octets before it.
        octets: u64,
        /// What it is.
        at: ChunkAt,
    },
    /// One direction is finished (FIN).
    Finished {
        /// The connection.
        connection: ConnectionId,
        /// Its direction.
        direction: Direction,
        /// Nanoseconds since the Unix epoch.
        time_ns: u64,
        /// Sequence number of the FIN, which is the one behind the last payload byte.
        sequence: u32,
    },
    /// The connection is over.
    Closed {
        /// The connection.
        connection: ConnectionId,
        /// Nanoseconds since the Unix epoch.
        time_ns: u64,
        /// Why.
        reason: CloseReason,
    },
    /// The owner of the client end of a connection whose server end is also seen: it stands on the server end's
    /// records as the peer's process.
    Peer {
        /// Network namespace of the client socket.
        netns: u32,
        /// The client end.
        source: Endpoint,
        /// The server end.
        destination: Endpoint,
        /// Sequence number of the first request byte that the client end saw.
        sequence: u32,
        /// The owner.
        process: ProcessRef,
    },
}

impl Event<'_> {
    /// When it was seen, nanoseconds since the Unix epoch; None where it has no time.
    #[must_use]
    pub fn time_ns(&self) -> Option<u64> {
        match *self {
            Self::Segment(Segment { time_ns, .. })
            | Self::BodyEnd { time_ns, .. }
            | Self::Chunks { time_ns, .. }
            | Self::Finished { time_ns, .. }
            | Self::Closed { time_ns, .. } => Some(time_ns),
            Self::Peer { .. } => None,
        }
    }
}

/// What the assembler tells the capturing side: in this direction the next message begins at this sequence
/// number; what comes before it is body and need not be copied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Resync {
    /// The connection.
    pub connection: ConnectionId,
    /// Its direction.
    pub direction: Direction,
    /// Sequence number of the next message start, or frame.
    pub sequence: u32,
    /// The connection speaks HTTP/2.
    pub frames: bool,
}
