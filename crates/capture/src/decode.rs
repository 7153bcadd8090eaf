//! Ring records to events: a pure function of the bytes.

use headtrail_record::event::{ChunkAt, CloseReason, ConnectionId, Direction, Event, ProcessRef, Segment};
use headtrail_record::packet;

use crate::abi;

/// Why a record was not understood; it is counted and passed over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DecodeError {
    /// Shorter than its header or than its header says.
    Short,
    /// Of another version.
    Version(u16),
    /// Of a kind that this program does not know.
    Kind(u8),
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut a = [0; N];
    if let Some(b) = bytes.get(at..at + N) {
        a.copy_from_slice(b);
    }
    a
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_ne_bytes(array(bytes, at))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(array(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(array(bytes, at))
}

/// Decodes one record. `epoch_offset_ns` is added to the kernel's monotonic times to get times since the Unix epoch.
pub fn decode(bytes: &[u8], epoch_offset_ns: u64) -> Result<Event<'_>, DecodeError> {
    use abi::offset as o;
    let Some((head, rest)) = bytes.split_at_checked(abi::RECORD_BYTES) else {
        return Err(DecodeError::Short);
    };
    let version = u16_at(head, o::VERSION);
    if version != abi::VERSION {
        return Err(DecodeError::Version(version));
    }
    let header_bytes = usize::from(u16_at(head, o::HEADER_BYTES));
    let payload_bytes = usize::from(u16_at(head, o::PAYLOAD_BYTES));
    // Records of a newer kernel side may be longer; what follows is not read.
    let Some((headers, rest)) = rest.split_at_checked(header_bytes) else {
        return Err(DecodeError::Short);
    };
    let Some(payload) = rest.get(..payload_bytes) else {
        return Err(DecodeError::Short);
    };
    let connection = ConnectionId(u64_at(head, o::COOKIE));
    let direction =
        if head[o::DIRECTION] == abi::direction::INGRESS { Direction::Ingress } else { Direction::Egress };
    let time_ns = u64_at(head, o::TIME_NS).wrapping_add(epoch_offset_ns);
    let sequence = u32_at(head, o::SEQUENCE);
    let pid = u32_at(head, o::PID);
    let process = (pid != 0).then(|| ProcessRef { pid, name: array(head, o::COMM) });
    let netns = u32_at(head, o::NETNS);
    Ok(match head[o::KIND] {
        abi::kind::SEGMENT => Event::Segment(Segment {
            connection,
            netns,
            direction,
            time_ns,
            sequence,
            bytes: payload,
            packet_end: u32_at(head, o::PACKET_END),
            headers,
            segments: u16_at(head, o::SEGMENTS),
            flags: u16_at(head, o::FLAGS),
            starts: u16_at(head, o::STARTS),
            process,
            frame: None,
        }),
        abi::kind::BODY_END => {
            Event::BodyEnd { connection, direction, time_ns, sequence, octets: u64_at(head, o::OCTETS) }
        }
        abi::kind::CHUNKS => {
            let Some(left) = payload.first_chunk().map(|bytes| u64::from_ne_bytes(*bytes)) else {
                return Err(DecodeError::Short);
            };
            let [state, digits] = u16_at(head, o::STARTS).to_le_bytes();
            let at = match state {
                abi::chunk::C_SIZE => ChunkAt::Size { value: left, digits },
                abi::chunk::C_EXT => ChunkAt::Extension { value: left },
                abi::chunk::C_DATA => ChunkAt::Data { remaining: left },
                _ => ChunkAt::DataEnd,
            };
            Event::Chunks { connection, direction, time_ns, sequence, octets: u64_at(head, o::OCTETS), at }
        }
        abi::kind::FINISHED => Event::Finished { connection, direction, time_ns, sequence },
        abi::kind::CLOSED => Event::Closed {
            connection,
            time_ns,
            reason: if u16_at(head, o::CLOSED_BY_FIN) != 0 { CloseReason::Fin } else { CloseReason::Reset },
        },
        abi::kind::PEER => {
            let Some((source, destination)) = packet::endpoints(headers) else {
                return Err(DecodeError::Short);
            };
            let Some(process) = process else {
                return Err(DecodeError::Short);
            };
            Event::Peer { netns, source, destination, sequence, process }
        }
        kind => return Err(DecodeError::Kind(kind)),
    })
}
