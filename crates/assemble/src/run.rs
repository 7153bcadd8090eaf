//! Runs of payload bytes, borrowed from an event or held back, and serial arithmetic on their sequence numbers.

use headtrail_record::event::{HeaderBytes, Segment, flags};

use crate::packet;

/// How far `to` lies behind `from`; negative where it lies before (RFC 1982).
pub(crate) fn distance(from: u32, to: u32) -> i64 {
    i64::from(to.wrapping_sub(from) as i32)
}

/// Of plaintext of TLS, whose bytes are numbered as if there were no TLS: what the packet's headers would say then.
#[derive(Clone, Copy)]
pub(crate) struct Plain {
    /// How much of the other direction's plaintext the packet acknowledges, where that can be told.
    pub(crate) acknowledges: Option<u32>,
    /// Sequence number of the record on the wire.
    pub(crate) record: u32,
}

/// Payload bytes of one packet, of one direction.
#[derive(Clone, Copy)]
pub(crate) struct Run<'a> {
    pub(crate) sequence: u32,
    pub(crate) bytes: &'a [u8],
    pub(crate) time_ns: u64,
    pub(crate) packet_end: u32,
    pub(crate) headers: &'a [u8],
    pub(crate) segments: u16,
    pub(crate) flags: u16,
    pub(crate) frame: Option<u64>,
    pub(crate) plain: Option<Plain>,
}

impl<'a> Run<'a> {
    pub(crate) fn of(segment: &Segment<'a>) -> Self {
        Self {
            sequence: segment.sequence,
            bytes: segment.bytes,
            time_ns: segment.time_ns,
            packet_end: segment.packet_end,
            headers: segment.headers,
            segments: segment.segments,
            flags: segment.flags,
            frame: segment.frame,
            plain: None,
        }
    }

    /// No bytes, at a place.
    pub(crate) fn empty(sequence: u32, time_ns: u64) -> Self {
        Self {
            sequence,
            bytes: &[],
            time_ns,
            packet_end: sequence,
            headers: &[],
            segments: 1,
            flags: 0,
            frame: None,
            plain: None,
        }
    }

    /// Sequence number behind the bytes.
    pub(crate) fn end(&self) -> u32 {
        self.sequence.wrapping_add(self.bytes.len() as u32)
    }

    pub(crate) fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    /// By the kernel's framing a message begins here.
    pub(crate) fn is_start(&self) -> bool {
        self.has(flags::START)
    }

    /// Leaves out the first bytes; what the flags said of the first byte is then no longer true.
    pub(crate) fn skip(&mut self, count: usize) {
        let count = count.min(self.bytes.len());
        if count > 0 {
            self.bytes = &self.bytes[count..];
            self.sequence = self.sequence.wrapping_add(count as u32);
            self.flags &= !(flags::START | flags::LOST | flags::JOINED);
        }
    }

    /// What its packet acknowledges of the other direction, counted as that one's runs are.
    pub(crate) fn acknowledgement(&self) -> Option<u32> {
        match self.plain {
            Some(plain) => plain.acknowledges,
            None => packet::acknowledgement(self.headers),
        }
    }

    pub(crate) fn begin(&self) -> Begin {
        Begin {
            sequence: self.sequence,
            first_ns: self.time_ns,
            headers: HeaderBytes::new(self.headers),
            segments: self.segments,
            frame: self.frame,
            acknowledgement: self.acknowledgement(),
            wire: self.plain.map_or(self.sequence, |plain| plain.record),
        }
    }
}

/// Facts of the packet that began a message.
#[derive(Clone)]
pub(crate) struct Begin {
    pub(crate) sequence: u32,
    pub(crate) first_ns: u64,
    pub(crate) headers: HeaderBytes,
    pub(crate) segments: u16,
    pub(crate) frame: Option<u64>,
    pub(crate) acknowledgement: Option<u32>,
    /// Sequence number on the wire: that of the record, if it was in one.
    pub(crate) wire: u32,
}

/// A run that is held back.
#[derive(Clone)]
pub(crate) struct Piece {
    pub(crate) sequence: u32,
    pub(crate) bytes: Vec<u8>,
    time_ns: u64,
    packet_end: u32,
    headers: HeaderBytes,
    segments: u16,
    pub(crate) flags: u16,
    pub(crate) frame: Option<u64>,
    plain: Option<Plain>,
}

impl Piece {
    pub(crate) fn of(run: &Run<'_>) -> Self {
        Self {
            sequence: run.sequence,
            bytes: run.bytes.to_vec(),
            time_ns: run.time_ns,
            packet_end: run.packet_end,
            headers: HeaderBytes::new(run.headers),
            segments: run.segments,
            flags: run.flags,
            frame: run.frame,
            plain: run.plain,
        }
    }

    pub(crate) fn run(&self) -> Run<'_> {
        Run {
            sequence: self.sequence,
            bytes: &self.bytes,
            time_ns: self.time_ns,
            packet_end: self.packet_end,
            headers: self.headers.as_slice(),
            segments: self.segments,
            flags: self.flags,
            frame: self.frame,
            plain: self.plain,
        }
    }
}
