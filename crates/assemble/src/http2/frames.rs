//! Bytes to frames (RFC 9113, 4) and header blocks, for one direction.
//!
//! Payload is kept where it tells something: of HEADERS, PUSH_PROMISE and CONTINUATION up to the limit of a head, of
//! the small frames up to [`SMALL_BYTES_MAX`]. The rest is passed over, and need not be there.

use crate::hpack::Decoder;
use crate::run::{Begin, Run};
use crate::weight;

/// What a client sends first (RFC 9113, 3.4).
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Its first line, which tells it from everything else.
pub(crate) const PREFACE_LINE: &[u8] = b"PRI * HTTP/2.0\r\n";

pub(crate) const HEADER_BYTES: usize = 9;
/// Longest payload of a frame without fields that is looked at, bytes: what follows in it is unknown settings.
const SMALL_BYTES_MAX: usize = 1024;
/// Longest SETTINGS frame that is taken for what a server sends first, bytes.
const FIRST_SETTINGS_BYTES_MAX: u32 = 6 * 32;

/// Types of frames (RFC 9113, 6).
pub(crate) mod kind {
    pub(crate) const DATA: u8 = 0;
    pub(crate) const HEADERS: u8 = 1;
    pub(crate) const PRIORITY: u8 = 2;
    pub(crate) const RST_STREAM: u8 = 3;
    pub(crate) const SETTINGS: u8 = 4;
    pub(crate) const PUSH_PROMISE: u8 = 5;
    pub(crate) const PING: u8 = 6;
    pub(crate) const GOAWAY: u8 = 7;
    pub(crate) const WINDOW_UPDATE: u8 = 8;
    pub(crate) const CONTINUATION: u8 = 9;
}

/// Flags of frames (RFC 9113, 6).
pub(crate) mod flag {
    pub(crate) const END_STREAM: u8 = 0x1;
    pub(crate) const ACK: u8 = 0x1;
    pub(crate) const END_HEADERS: u8 = 0x4;
    pub(crate) const PADDED: u8 = 0x8;
    pub(crate) const PRIORITY: u8 = 0x20;
}

/// A frame header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Header {
    pub(crate) length: u32,
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
}

impl Header {
    pub(crate) fn read(b: &[u8; HEADER_BYTES]) -> Self {
        Self {
            length: u32::from_be_bytes([0, b[0], b[1], b[2]]),
            kind: b[3],
            flags: b[4],
            stream: u32::from_be_bytes([b[5], b[6], b[7], b[8]]) & 0x7fff_ffff,
        }
    }

    pub(crate) fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    fn is_fields(self) -> bool {
        matches!(self.kind, kind::HEADERS | kind::PUSH_PROMISE | kind::CONTINUATION)
    }

    /// May be the SETTINGS frame with which an endpoint begins.
    fn begins_connection(self) -> bool {
        self.kind == kind::SETTINGS
            && self.flags == 0
            && self.stream == 0
            && self.length.is_multiple_of(6)
            && self.length <= FIRST_SETTINGS_BYTES_MAX
    }
}

/// The bytes may be the beginning of what a server sends first.
pub(crate) fn begins_with_settings(bytes: &[u8]) -> bool {
    bytes.first_chunk().is_some_and(|header| Header::read(header).begins_connection())
}

/// The bytes may be the beginning of a frame that is not unusually long: a message of HTTP/1 begins with a letter.
pub(super) fn may_be_frame(bytes: &[u8]) -> bool {
    bytes.first_chunk().is_some_and(|header| Header::read(header).length < 1 << 20)
}

/// A header block, joined from its frames.
pub(crate) struct Block {
    pub(crate) stream: u32,
    /// Of a PUSH_PROMISE: the stream that is promised.
    pub(crate) promised: Option<u32>,
    pub(crate) end_stream: bool,
    pub(crate) begin: Begin,
    pub(crate) bytes: Vec<u8>,
    /// It was longer than the limit: `bytes` are its beginning.
    pub(crate) truncated: bool,
}

/// What a step has brought.
pub(crate) enum Step {
    /// The run has ended.
    More,
    /// A frame without fields has ended; the payload is what is kept of it. Of DATA: how many octets of content.
    Frame(Header, Vec<u8>, u64),
    /// A header block has ended.
    Block(Block),
    /// A header block was broken off by another frame, which RFC 9113, 6.10 forbids.
    Broken,
    /// These are no frames.
    NotFrames,
}

enum At {
    /// So many bytes of the client's preface have come.
    Preface(usize),
    /// So many bytes of a frame header have come.
    Header(usize),
    /// So many bytes of the payload are still to come.
    Payload(u32),
}

/// Where the walk over one direction stands.
pub(crate) struct Frames {
    at: At,
    /// No frame has ended yet.
    first: bool,
    bytes: [u8; HEADER_BYTES],
    header: Header,
    /// Facts of the packet with the first byte of the frame.
    begin: Option<Begin>,
    payload: Vec<u8>,
    /// How much of the payload is kept.
    keep: usize,
    block: Option<Block>,
    pub(crate) decoder: Decoder,
}

impl Frames {
    /// From the connection's first byte on; `preface`: of it so many bytes have come, None for a server.
    pub(crate) fn new(preface: Option<usize>, table_octets_max: usize) -> Self {
        Self {
            at: preface.map_or(At::Header(0), At::Preface),
            first: true,
            bytes: [0; HEADER_BYTES],
            header: Header { length: 0, kind: 0, flags: 0, stream: 0 },
            begin: None,
            payload: Vec::new(),
            keep: 0,
            block: None,
            decoder: Decoder::new(table_octets_max),
        }
    }

    /// From a frame header later in a connection on.
    pub(crate) fn joined(table_octets_max: usize) -> Self {
        Self { first: false, decoder: Decoder::joined(table_octets_max), ..Self::new(None, table_octets_max) }
    }

    /// Nothing of the client's preface has come.
    pub(crate) fn is_untouched(&self) -> bool {
        matches!(self.at, At::Preface(0))
    }

    /// Bytes that follow and are passed over, whatever they are.
    pub(crate) fn passable(&self) -> u64 {
        match self.at {
            At::Payload(remaining) if self.keep == self.payload.len() => u64::from(remaining),
            _ => 0,
        }
    }

    /// How far from here the next frame begins, unless something before it is still to be looked at.
    pub(crate) fn next_frame(&self) -> Option<u64> {
        match self.at {
            At::Header(0) => Some(0),
            At::Payload(_) => Some(self.passable()).filter(|&count| count > 0),
            _ => None,
        }
    }

    /// Passes over bytes that are not there, at most [`Frames::passable`].
    pub(crate) fn pass(&mut self, count: u64) {
        if let At::Payload(remaining) = &mut self.at {
            *remaining = remaining.saturating_sub(count.min(u64::from(u32::MAX)) as u32);
        }
    }

    /// Goes on to the next thing that is to be told. `take` is told how many bytes of the run are used up.
    pub(crate) fn step(
        &mut self,
        run: &mut Run<'_>,
        head_bytes_max: usize,
        take: &mut dyn FnMut(&mut Run<'_>, usize),
    ) -> Step {
        loop {
            match self.at {
                At::Preface(seen) => {
                    let rest = &PREFACE[seen..];
                    let count = rest.len().min(run.bytes.len());
                    if run.bytes[..count] != rest[..count] {
                        return Step::NotFrames;
                    }
                    take(run, count);
                    self.at = if count == rest.len() { At::Header(0) } else { At::Preface(seen + count) };
                }
                At::Header(seen) => {
                    if run.bytes.is_empty() {
                        return Step::More;
                    }
                    if seen == 0 {
                        self.begin = Some(run.begin());
                    }
                    let count = (HEADER_BYTES - seen).min(run.bytes.len());
                    self.bytes[seen..seen + count].copy_from_slice(&run.bytes[..count]);
                    take(run, count);
                    if seen + count < HEADER_BYTES {
                        self.at = At::Header(seen + count);
                        return Step::More;
                    }
                    self.header = Header::read(&self.bytes);
                    if self.first && !self.header.begins_connection() {
                        return Step::NotFrames;
                    }
                    self.first = false;
                    if let Some(broken) = self.begin_payload(head_bytes_max) {
                        return broken;
                    }
                }
                At::Payload(remaining) => {
                    let count = (remaining as usize).min(run.bytes.len());
                    let kept = count.min(self.keep - self.payload.len());
                    self.payload.extend_from_slice(&run.bytes[..kept]);
                    take(run, count);
                    self.at = At::Payload(remaining - count as u32);
                    if count < remaining as usize {
                        return Step::More;
                    }
                    self.at = At::Header(0);
                    if let Some(step) = self.end_payload() {
                        return step;
                    }
                }
            }
            if run.bytes.is_empty() && !matches!(self.at, At::Payload(0)) {
                return Step::More;
            }
        }
    }

    fn begin_payload(&mut self, head_bytes_max: usize) -> Option<Step> {
        let header = self.header;
        self.at = At::Payload(header.length);
        self.payload.clear();
        let held = self.block.as_ref().map_or(0, |block| block.bytes.len());
        let most = match header.kind {
            // Padding comes behind the fields, priority and padding length before.
            _ if header.is_fields() => head_bytes_max.saturating_sub(held) + 6,
            kind::DATA => usize::from(header.has(flag::PADDED)),
            kind::RST_STREAM | kind::SETTINGS | kind::GOAWAY => SMALL_BYTES_MAX,
            _ => 0,
        };
        self.keep = most.min(header.length as usize);
        let goes_on = header.kind == kind::CONTINUATION
            && self.block.as_ref().is_some_and(|block| block.stream == header.stream);
        if !goes_on && self.block.take().is_some() {
            self.decoder.forget();
            return Some(Step::Broken);
        }
        None
    }

    fn end_payload(&mut self) -> Option<Step> {
        let header = self.header;
        let payload = std::mem::take(&mut self.payload);
        let cut = payload.len() < header.length as usize;
        match header.kind {
            kind::DATA => {
                let padding = if header.has(flag::PADDED) {
                    payload.first().map_or(0, |&p| u32::from(p) + 1)
                } else {
                    0
                };
                Some(Step::Frame(header, Vec::new(), u64::from(header.length.saturating_sub(padding))))
            }
            kind::HEADERS | kind::PUSH_PROMISE => {
                let Some((promised, fragment)) = fragment(header, &payload, cut) else {
                    self.decoder.forget();
                    return Some(Step::Broken);
                };
                self.block = Some(Block {
                    stream: header.stream,
                    promised,
                    end_stream: header.kind == kind::HEADERS && header.has(flag::END_STREAM),
                    begin: self.begin.take()?,
                    bytes: fragment.to_vec(),
                    truncated: cut,
                });
                self.end_block()
            }
            kind::CONTINUATION => {
                let Some(block) = &mut self.block else {
                    // Of a block whose beginning was broken off.
                    self.decoder.forget();
                    return Some(Step::Broken);
                };
                if !block.truncated {
                    block.bytes.extend_from_slice(&payload);
                }
                block.truncated |= cut;
                self.end_block()
            }
            _ => Some(Step::Frame(header, payload, 0)),
        }
    }

    fn end_block(&mut self) -> Option<Step> {
        if self.header.has(flag::END_HEADERS) { self.block.take().map(Step::Block) } else { None }
    }

    /// What it holds weighs so much.
    pub(crate) fn weight(&self) -> usize {
        let block = self.block.as_ref().map_or(0, |block| block.bytes.capacity());
        self.decoder.held_octets() + weight::vector::<u8>(self.payload.capacity()) + block
    }
}

/// The promised stream and the fields of a frame's payload, without padding and priority (RFC 9113, 6.2 and 6.6). None
/// where they do not fit. `cut`: what is missing is the end.
fn fragment(header: Header, payload: &[u8], cut: bool) -> Option<(Option<u32>, &[u8])> {
    let mut rest = payload;
    let mut padding = 0;
    if header.has(flag::PADDED) {
        let (&length, after) = rest.split_first()?;
        (padding, rest) = (usize::from(length), after);
    }
    let mut promised = None;
    if header.kind == kind::PUSH_PROMISE {
        let (stream, after) = rest.split_first_chunk()?;
        promised = Some(u32::from_be_bytes(*stream) & 0x7fff_ffff);
        rest = after;
    } else if header.has(flag::PRIORITY) {
        rest = rest.get(5..)?;
    }
    if cut {
        return Some((promised, rest));
    }
    let end = rest.len().checked_sub(padding)?;
    Some((promised, &rest[..end]))
}
