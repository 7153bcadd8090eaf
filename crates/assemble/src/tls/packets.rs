//! Which packet a record came in.

use std::collections::VecDeque;

use headtrail_record::event::HeaderBytes;

use crate::run::Run;

/// Most packets of a direction that are remembered while their bytes are not read; what lies in further ones is told with the
/// facts of the last of these.
const PACKETS_MAX: usize = 64;

/// Room for so many is kept when there are none: connections are many, and mostly idle.
const KEPT_PACKETS_MAX: usize = 4;

/// A packet whose bytes are not read yet.
pub(super) struct Packet {
    /// Where its bytes begin in the direction.
    at: u64,
    pub(super) time_ns: u64,
    pub(super) headers: HeaderBytes,
    pub(super) segments: u16,
    pub(super) frame: Option<u64>,
}

/// Packets in order.
#[derive(Default)]
pub(super) struct Packets(VecDeque<Packet>);

impl Packets {
    /// A run comes next, which begins `at`.
    pub(super) fn push(&mut self, at: u64, run: &Run<'_>) {
        if self.0.len() < PACKETS_MAX {
            self.0.push_back(Packet {
                at,
                time_ns: run.time_ns,
                headers: HeaderBytes::new(run.headers),
                segments: run.segments,
                frame: run.frame,
            });
        }
    }

    /// The packet with the byte `at`.
    pub(super) fn with(&self, at: u64) -> Option<&Packet> {
        self.0.iter().rev().find(|packet| packet.at <= at)
    }

    /// Forgets those of which all bytes lie before `at`.
    pub(super) fn forget(&mut self, at: u64) {
        while self.0.get(1).is_some_and(|second| second.at <= at) {
            self.0.pop_front();
        }
    }

    /// Everything up to `at` was read: nothing of any packet is left.
    pub(super) fn clear(&mut self) {
        if self.0.capacity() > KEPT_PACKETS_MAX {
            self.0 = VecDeque::new();
        } else {
            self.0.clear();
        }
    }

    pub(super) fn weight(&self) -> usize {
        self.0.capacity() * size_of::<Packet>()
    }
}
