//! What was counted on the way from the socket to the event.

use headtrail_record::event::{Segment, flags};

use crate::abi;

/// Sums since the start. What did not get into a record is counted by the kernel's side, per CPU; records are counted when
/// they are read, which spares the hot path the counting.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Counters {
    /// Requests that the kernel's side found, and that were read.
    pub requests_read: u64,
    /// Final responses that the kernel's side found, and that were read.
    pub responses_read: u64,
    /// Segments read.
    pub segments: u64,
    /// Of these, those that the kernel's side had not framed.
    pub raw_segments: u64,
    /// Records that this program could not decode.
    pub undecoded: u64,
    /// Requests that found the ring full.
    pub requests_lost: u64,
    /// Final responses that found the ring full.
    pub responses_lost: u64,
    /// Segments that found the ring full.
    pub segments_lost: u64,
    /// Of these, those without framing: messages in them cannot be counted.
    pub raw_segments_lost: u64,
    /// Bytes without framing that were not copied, because user space did not say in time where a message begins.
    pub raw_bytes_passed: u64,
    /// Ends of bodies, connections and the like that found the ring full.
    pub events_lost: u64,
    /// Directions that were put in step again by user space.
    pub resyncs: u64,
    /// Sockets seen.
    pub sockets: u64,
    /// Of these, those that speak something else.
    pub sockets_other: u64,
    /// Of these, those that the filter leaves out.
    pub sockets_filtered: u64,
    /// Of these, client ends on loopback whose server end is recorded.
    pub sockets_loopback: u64,
    /// Sockets for whose state there was no memory.
    pub sockets_failed: u64,
    /// Packets that found no scratch area.
    pub slots_busy: u64,
}

impl Counters {
    /// Counts a segment that was read.
    pub(crate) fn read(&mut self, segment: &Segment<'_>) {
        self.segments += 1;
        self.raw_segments += u64::from(segment.flags & flags::RAW != 0);
        if segment.flags & flags::REQUESTS != 0 {
            self.requests_read += u64::from(segment.starts);
        } else {
            self.responses_read += u64::from(segment.starts);
        }
    }

    /// Adds the counters at the beginning of one scratch area.
    pub(crate) fn add(&mut self, area: &[u8]) {
        use abi::counters as o;
        let places = [
            (&mut self.requests_lost, o::REQUESTS_LOST),
            (&mut self.responses_lost, o::RESPONSES_LOST),
            (&mut self.segments_lost, o::SEGMENTS_LOST),
            (&mut self.raw_segments_lost, o::RAW_SEGMENTS_LOST),
            (&mut self.raw_bytes_passed, o::RAW_BYTES_PASSED),
            (&mut self.events_lost, o::EVENTS_LOST),
            (&mut self.resyncs, o::RESYNCS),
            (&mut self.sockets, o::SOCKETS),
            (&mut self.sockets_other, o::SOCKETS_OTHER),
            (&mut self.sockets_filtered, o::SOCKETS_FILTERED),
            (&mut self.sockets_loopback, o::SOCKETS_LOOPBACK),
            (&mut self.sockets_failed, o::SOCKETS_FAILED),
        ];
        for (sum, at) in places {
            if let Some(bytes) = area.get(at..).and_then(|b| b.first_chunk()) {
                *sum += u64::from_ne_bytes(*bytes);
            }
        }
    }
}
