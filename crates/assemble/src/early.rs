//! Segments that came with the listener as their socket, until their connection shows itself.
//!
//! With a deferred accept or fast open (RFC 7413) the first bytes of a connection pass before its socket exists.
//! They are kept by network namespace and ends, for [`Limits::early_age_ns_max`](crate::Limits).

use foldhash::{HashMap, HashMapExt};
use headtrail_record::event::{ConnectionId, Direction, Endpoint, Segment};
use headtrail_record::packet::endpoints;

use crate::run::{Piece, Run};
use crate::weight::{self, ALLOCATION_BYTES};

/// Network namespace, client end, server end.
pub(crate) type Key = (u32, Endpoint, Endpoint);

/// Segments of one early connection. Deferred data is at most what an initial window holds.
const SEGMENTS_PER_KEY_MAX: usize = 16;

/// A segment that is kept.
pub(crate) struct Kept {
    pub(crate) listener: ConnectionId,
    pub(crate) netns: u32,
    pub(crate) direction: Direction,
    pub(crate) time_ns: u64,
    pub(crate) piece: Piece,
}

impl Kept {
    /// The segment again.
    pub(crate) fn segment(&self) -> Segment<'_> {
        let run = self.piece.run();
        Segment {
            connection: self.listener,
            netns: self.netns,
            direction: self.direction,
            time_ns: run.time_ns,
            sequence: run.sequence,
            bytes: run.bytes,
            packet_end: run.packet_end,
            headers: run.headers,
            segments: run.segments,
            flags: run.flags,
            starts: 0,
            process: None,
            frame: run.frame,
        }
    }
}

/// All that are kept.
pub(crate) struct Early {
    kept: HashMap<Key, Vec<Kept>>,
    count: usize,
    /// Payload bytes that are kept.
    bytes: usize,
    /// No kept segment is older than this, nanoseconds.
    oldest_ns: u64,
}

/// The key of a segment: its ends from the client's side.
pub(crate) fn key(segment: &Segment<'_>) -> Option<Key> {
    let (source, destination) = endpoints(segment.headers)?;
    // Early segments are received by a server; the child may show itself by one that it sends.
    Some(match segment.direction {
        Direction::Ingress => (segment.netns, source, destination),
        Direction::Egress => (segment.netns, destination, source),
    })
}

impl Early {
    pub(crate) fn new() -> Self {
        Self { kept: HashMap::new(), count: 0, bytes: 0, oldest_ns: u64::MAX }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// They weigh so much; lists grow by doubling.
    pub(crate) fn weight(&self) -> usize {
        let each = size_of::<Kept>() * 3 / 2 + 2 * ALLOCATION_BYTES;
        weight::map::<Key, Vec<Kept>>(self.kept.capacity()) + self.count * each + self.bytes
    }

    /// Gives back the room of what was taken.
    pub(crate) fn shrink(&mut self) {
        self.kept.shrink_to_fit();
    }

    /// Keeps a segment; false where its ends are not known or there are too many.
    pub(crate) fn keep(&mut self, segment: &Segment<'_>) -> bool {
        let Some(key) = key(segment) else { return false };
        let list = self.kept.entry(key).or_default();
        if list.len() >= SEGMENTS_PER_KEY_MAX {
            return false;
        }
        list.push(Kept {
            listener: segment.connection,
            netns: segment.netns,
            direction: segment.direction,
            time_ns: segment.time_ns,
            piece: Piece::of(&Run::of(segment)),
        });
        self.count += 1;
        self.bytes += segment.bytes.len();
        self.oldest_ns = self.oldest_ns.min(segment.time_ns);
        true
    }

    /// Takes the segments of a connection that shows itself.
    pub(crate) fn take(&mut self, key: &Key) -> Vec<Kept> {
        let list = self.kept.remove(key).unwrap_or_default();
        self.count -= list.len();
        self.bytes -= list.iter().map(|kept| kept.piece.bytes.len()).sum::<usize>();
        list
    }

    /// Takes the connections whose first segment is older than `before_ns`, in order of time.
    pub(crate) fn take_older(&mut self, before_ns: u64) -> Vec<Vec<Kept>> {
        if self.count == 0 || self.oldest_ns >= before_ns {
            return Vec::new();
        }
        let first_ns = |list: &[Kept]| list.first().map_or(0, |k| k.time_ns);
        let keys: Vec<Key> =
            self.kept.iter().filter(|(_, l)| first_ns(l) < before_ns).map(|(k, _)| *k).collect();
        let mut lists: Vec<Vec<Kept>> = keys.iter().map(|k| self.take(k)).collect();
        lists.sort_by_key(|l| first_ns(l));
        self.oldest_ns = self.kept.values().map(|l| first_ns(l)).min().unwrap_or(u64::MAX);
        lists
    }
}
