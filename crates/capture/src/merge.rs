//! The records of all rings and lanes in order of time, in batches.
//!
//! A producer takes its place, the time and then writes, so that a record can become visible a little
//! later than one of another CPU that is younger. Records younger than [`SETTLE_NS`] therefore wait for the next look. A
//! producer that is preempted for longer than that puts its record out of order; assembly copes with it.

use crate::lane::{CELL_BYTES, Lane};
use crate::ring::{Peek, Ring};

/// Where the time stands in a record.
const TIME_AT: usize = crate::abi::offset::TIME_NS;
/// Age at which a record is taken to have no older ones behind it in other rings.
pub(crate) const SETTLE_NS: u64 = 50_000;
/// Looks for which an unfinished record holds the others up.
const BUSY_LOOKS_MAX: u32 = 8;

/// Where records come from.
enum Source {
    Ring(Ring),
    Lane(Lane),
}

/// The time of what stands first in a source.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Head {
    At(u64),
    Busy,
    None,
}

impl Source {
    fn look(&mut self) {
        match self {
            Self::Ring(ring) => ring.look(),
            Self::Lane(lane) => lane.look(),
        }
    }

    fn peek(&mut self) -> Peek<'_> {
        match self {
            Self::Ring(ring) => ring.peek(),
            Self::Lane(lane) => match lane.peek() {
                None => Peek::Empty,
                Some([]) => Peek::Busy,
                Some(record) => Peek::Record(record, CELL_BYTES as u64),
            },
        }
    }

    fn peek_time(&mut self) -> Head {
        match self.peek() {
            Peek::Record(bytes, _) => Head::At(
                bytes.get(TIME_AT..).and_then(|b| b.first_chunk()).map_or(0, |b| u64::from_ne_bytes(*b)),
            ),
            Peek::Busy => Head::Busy,
            Peek::Empty => Head::None,
        }
    }

    fn advance(&mut self, space: u64) {
        match self {
            Self::Ring(ring) => ring.advance(space),
            Self::Lane(lane) => lane.advance(),
        }
    }
}

/// All rings and lanes.
pub(crate) struct Sources {
    sources: Vec<Source>,
    heads: Vec<Head>,
    busy_looks: u32,
}

impl Sources {
    pub(crate) fn new(rings: Vec<Ring>, lanes: Vec<Lane>) -> Self {
        let rings = rings.into_iter().map(Source::Ring);
        let sources: Vec<Source> = rings.chain(lanes.into_iter().map(Source::Lane)).collect();
        let heads = vec![Head::None; sources.len()];
        Self { sources, heads, busy_looks: 0 }
    }

    /// Calls `each` for the finished records up to `horizon_ns` (the time of the records' clock) in order of time, at
    /// most about `bytes_max` of them. Returns how many bytes of the rings were read.
    pub(crate) fn read(&mut self, bytes_max: usize, horizon_ns: u64, mut each: impl FnMut(&[u8])) -> u64 {
        for (source, head) in self.sources.iter_mut().zip(&mut self.heads) {
            source.look();
            *head = source.peek_time();
        }
        let mut read = 0;
        let mut busy = false;
        while read < bytes_max as u64 {
            if self.heads.contains(&Head::Busy) {
                busy = true;
                // It is most likely older than what is visible elsewhere; but a producer may also be preempted.
                if self.busy_looks < BUSY_LOOKS_MAX {
                    break;
                }
            }
            // The oldest head, and how far its source can go on before another one's turn.
            let mut oldest: Option<(usize, u64)> = None;
            let mut limit = horizon_ns;
            for (index, head) in self.heads.iter().enumerate() {
                let Head::At(time) = *head else { continue };
                match oldest {
                    Some((_, least)) if time >= least => limit = limit.min(time),
                    Some((_, least)) => {
                        limit = limit.min(least);
                        oldest = Some((index, time));
                    }
                    None => oldest = Some((index, time)),
                }
            }
            let Some((index, mut time)) = oldest else { break };
            if time > horizon_ns {
                break;
            }
            let source = &mut self.sources[index];
            while let Peek::Record(bytes, space) = source.peek() {
                each(bytes);
                source.advance(space);
                read += space;
                self.heads[index] = source.peek_time();
                match self.heads[index] {
                    Head::At(next) => time = next,
                    Head::Busy | Head::None => break,
                }
                if time > limit || read >= bytes_max as u64 {
                    break;
                }
            }
        }
        self.busy_looks = if busy { self.busy_looks + 1 } else { 0 };
        read
    }

    /// Gives the space of everything read back to the kernel.
    pub(crate) fn release(&mut self) {
        for source in &mut self.sources {
            match source {
                Source::Ring(ring) => ring.release(),
                Source::Lane(lane) => lane.release(),
            }
        }
    }

    /// Bytes that wait to be read.
    pub(crate) fn backlog_bytes(&self) -> u64 {
        let of = |source: &Source| match source {
            Source::Ring(ring) => ring.backlog_bytes(),
            Source::Lane(lane) => lane.backlog_bytes(),
        };
        self.sources.iter().map(of).sum()
    }
}
