//! Fragments of IP packets (RFC 791, 3.2; RFC 8200, 4.5), put together again.
//!
//! Exact copies of a fragment are passed over, since a packet may be captured twice. Where fragments overlap otherwise the
//! packet is given up: receivers differ in what they make of it, and what they make of it is what counts (RFC 5722 forbids it).

use std::collections::VecDeque;
use std::net::IpAddr;

use foldhash::{HashMap, HashMapExt};

use crate::counters::{Counters, Unread};
use crate::limits::Limits;

/// Longest payload that fragments can make.
const PAYLOAD_BYTES_MAX: usize = 65_535;

/// What the fragments of a packet have in common.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Key {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) protocol: u8,
    pub(crate) id: u32,
}

/// A fragment.
#[derive(Clone, Copy)]
pub(crate) struct Fragment<'a> {
    pub(crate) key: Key,
    pub(crate) offset: usize,
    pub(crate) more: bool,
    /// IP header, with extension headers.
    pub(crate) header: &'a [u8],
    pub(crate) payload: &'a [u8],
    /// The filter wants it.
    pub(crate) wanted: bool,
}

/// A packet that was put together.
pub(crate) struct Whole {
    /// The header of the first fragment, and the payload of all.
    pub(crate) bytes: Vec<u8>,
    /// Where the payload begins.
    pub(crate) payload_at: usize,
    /// The filter wants one of the fragments.
    pub(crate) wanted: bool,
}

#[derive(Default)]
struct Packet {
    number: u64,
    since_ns: u64,
    header: Vec<u8>,
    /// By offset, without overlap.
    pieces: Vec<(usize, Vec<u8>)>,
    /// Length of the payload, once the last fragment was seen.
    len: Option<usize>,
    wanted: bool,
    /// It was put together, or given up: further fragments are passed over.
    done: bool,
}

impl Packet {
    fn bytes(&self) -> usize {
        self.header.len() + self.pieces.iter().map(|(_, piece)| piece.len()).sum::<usize>()
    }

    /// Adds a piece; an error where it overlaps others.
    fn add(&mut self, fragment: &Fragment<'_>) -> Result<(), Unread> {
        let end = fragment.offset + fragment.payload.len();
        let at = self.pieces.partition_point(|(offset, _)| *offset < fragment.offset);
        match self.pieces.get(at) {
            Some((offset, piece)) if *offset == fragment.offset && piece == fragment.payload => return Ok(()),
            Some((offset, _)) if *offset < end => return Err(Unread::FragmentsOverlap),
            _ => {}
        }
        let before = at.checked_sub(1).and_then(|at| self.pieces.get(at));
        if before.is_some_and(|(offset, piece)| offset + piece.len() > fragment.offset) {
            return Err(Unread::FragmentsOverlap);
        }
        if !fragment.more && self.len.replace(end).is_some_and(|len| len != end) {
            return Err(Unread::FragmentsOverlap);
        }
        if fragment.offset == 0 {
            self.header = fragment.header.to_vec();
        }
        self.pieces.insert(at, (fragment.offset, fragment.payload.to_vec()));
        Ok(())
    }

    /// The packet, if nothing is missing.
    fn whole(&self) -> Option<Whole> {
        let mut end = 0;
        for (offset, piece) in &self.pieces {
            if *offset != end {
                return None;
            }
            end += piece.len();
        }
        if self.header.is_empty() || self.len != Some(end) {
            return None;
        }
        let mut bytes = self.header.clone();
        self.pieces.iter().for_each(|(_, piece)| bytes.extend_from_slice(piece));
        Some(Whole { bytes, payload_at: self.header.len(), wanted: self.wanted })
    }
}

/// Packets of which fragments are missing yet.
pub(crate) struct Fragments {
    packets: HashMap<Key, Packet>,
    /// Keys in the order in which their packets began, with the packets' numbers.
    order: VecDeque<(Key, u64)>,
    bytes: usize,
    number: u64,
}

impl Fragments {
    pub(crate) fn new() -> Self {
        Self { packets: HashMap::new(), order: VecDeque::new(), bytes: 0, number: 0 }
    }

    /// Takes a fragment; the whole packet where it was the last one that was missing.
    pub(crate) fn add(
        &mut self,
        fragment: &Fragment<'_>,
        now_ns: u64,
        limits: &Limits,
        counters: &mut Counters,
    ) -> Option<Whole> {
        self.forget_old(now_ns, limits, counters);
        let number = self.number + 1;
        let packet = self.packets.entry(fragment.key).or_insert_with(|| Packet {
            number,
            since_ns: now_ns,
            ..Packet::default()
        });
        if packet.number == number {
            self.number = number;
            self.order.push_back((fragment.key, number));
        }
        if packet.done {
            return None;
        }
        packet.wanted |= fragment.wanted;
        let before = packet.bytes();
        let end = fragment.offset + fragment.payload.len();
        let added = if packet.pieces.len() >= limits.fragments_max || end > PAYLOAD_BYTES_MAX {
            Err(Unread::FragmentsMissing)
        } else {
            packet.add(fragment)
        };
        let whole = packet.whole();
        if let Err(why) = added {
            counters.count(why);
        }
        if whole.is_some() || added.is_err() {
            *packet =
                Packet { number: packet.number, since_ns: packet.since_ns, done: true, ..Packet::default() };
        }
        self.bytes = self.bytes + packet.bytes() - before;
        while self.bytes > limits.fragment_bytes_max || self.packets.len() > limits.fragmented_packets_max {
            if !self.forget_oldest(counters) {
                break;
            }
        }
        whole
    }

    /// The file has ended.
    pub(crate) fn finish(&mut self, counters: &mut Counters) {
        while self.forget_oldest(counters) {}
    }

    fn forget_old(&mut self, now_ns: u64, limits: &Limits, counters: &mut Counters) {
        while let Some((key, _)) = self.order.front() {
            let young = |p: &Packet| now_ns.saturating_sub(p.since_ns) <= limits.fragment_age_ns_max;
            if self.packets.get(key).is_some_and(young) {
                return;
            }
            self.forget_oldest(counters);
        }
    }

    /// False: there is none.
    fn forget_oldest(&mut self, counters: &mut Counters) -> bool {
        let Some((key, _)) = self.order.pop_front() else { return false };
        if let Some(packet) = self.packets.remove(&key) {
            self.bytes -= packet.bytes();
            if !packet.done {
                counters.count(Unread::FragmentsMissing);
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Key = Key {
        source: IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
        destination: IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
        protocol: 6,
        id: 1,
    };

    fn fragment(offset: usize, more: bool, payload: &[u8]) -> Fragment<'_> {
        Fragment { key: KEY, offset, more, header: b"H", payload, wanted: false }
    }

    fn take(parts: &[Fragment<'_>]) -> (Option<Vec<u8>>, Counters) {
        let (mut fragments, mut counters) = (Fragments::new(), Counters::default());
        let mut whole = None;
        for part in parts {
            let it = fragments.add(part, 1, &Limits::default(), &mut counters);
            whole = whole.or(it.map(|w| w.bytes));
        }
        fragments.finish(&mut counters);
        assert_eq!(fragments.bytes, 0);
        (whole, counters)
    }

    #[test]
    fn any_order_and_copies_give_the_packet() {
        let parts =
            [fragment(0, true, b"abcdefgh"), fragment(8, true, b"ijklmnop"), fragment(16, false, b"q")];
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0], [0, 2, 1]] {
            let mut sent = Vec::new();
            for i in order {
                sent.extend([parts[i], parts[i]]);
            }
            let (whole, counters) = take(&sent);
            assert_eq!(whole.unwrap(), b"Habcdefghijklmnopq", "{order:?}");
            assert_eq!(counters, Counters::default());
        }
    }

    #[test]
    fn a_packet_with_a_hole_is_counted() {
        let (whole, counters) = take(&[fragment(0, true, b"abcdefgh"), fragment(16, false, b"q")]);
        assert!(whole.is_none());
        assert_eq!(counters.unread(Unread::FragmentsMissing), 1);
    }

    #[test]
    fn overlapping_fragments_give_nothing() {
        let first = fragment(0, true, b"abcdefghijklmnop");
        for second in [fragment(8, false, b"ijklmnopq"), fragment(0, true, b"abcdefgX")] {
            for parts in [[first, second], [second, first]] {
                let (whole, counters) = take(&parts);
                assert!(whole.is_none());
                assert_eq!(counters.unread(Unread::FragmentsOverlap), 1);
            }
        }
    }

    #[test]
    fn memory_is_bounded() {
        let limits = Limits { fragment_bytes_max: 1000, ..Limits::default() };
        let (mut fragments, mut counters) = (Fragments::new(), Counters::default());
        for id in 0..1000 {
            let part = Fragment { key: Key { id, ..KEY }, ..fragment(0, true, &[0; 100]) };
            fragments.add(&part, 1, &limits, &mut counters);
            assert!(fragments.bytes <= 1000 && fragments.order.len() == fragments.packets.len());
        }
        assert_eq!(counters.unread(Unread::FragmentsMissing), 1000 - 9);
    }
}
