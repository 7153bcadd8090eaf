//! What the kernel's side counted.

use crate::abi;

/// Sums over all CPUs since the start. The names are those of `struct ht_counters` in abi.h.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub struct Counters {
    pub requests_seen: u64,
    pub responses_seen: u64,
    pub requests_lost: u64,
    pub responses_lost: u64,
    pub segments: u64,
    pub segments_lost: u64,
    pub raw_segments: u64,
    pub raw_segments_lost: u64,
    pub raw_bytes_passed: u64,
    pub events_lost: u64,
    pub resyncs: u64,
    pub sockets: u64,
    pub sockets_other: u64,
    pub sockets_filtered: u64,
    pub sockets_loopback: u64,
    pub sockets_failed: u64,
    pub slots_busy: u64,
}

impl Counters {
    /// Adds the counters at the beginning of one scratch area.
    pub(crate) fn add(&mut self, area: &[u8]) {
        let fields: [&mut u64; abi::COUNTERS] = [
            &mut self.requests_seen,
            &mut self.responses_seen,
            &mut self.requests_lost,
            &mut self.responses_lost,
            &mut self.segments,
            &mut self.segments_lost,
            &mut self.raw_segments,
            &mut self.raw_segments_lost,
            &mut self.raw_bytes_passed,
            &mut self.events_lost,
            &mut self.resyncs,
            &mut self.sockets,
            &mut self.sockets_other,
            &mut self.sockets_filtered,
            &mut self.sockets_loopback,
            &mut self.sockets_failed,
            &mut self.slots_busy,
        ];
        for (field, bytes) in fields.into_iter().zip(area.as_chunks::<8>().0) {
            *field += u64::from_ne_bytes(*bytes);
        }
    }
}
