//! One direction of a connection: where its parser stands, and what is held back to restore order.
//!
//! Order is restored by sequence number (RFC 9293, 3.4) within [`Limits::reorder_bytes_max`] and
//! [`Limits::reorder_segments_max`]. Of bytes that come twice the first ones win; where the second ones differ, that
//! is named. Bytes of a body are never held back: nobody reads them.

use headtrail_record::transaction::IncompleteReason;

use crate::chunked::Walk;
use crate::held::Held;
use crate::limits::Limits;
use crate::proof::Candidate;
use crate::run::{Begin, Piece, Run, distance};
use crate::skip::Skip;
use crate::weight::{self, ALLOCATION_BYTES};

/// What the next byte of a direction is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    /// The first of a message.
    Boundary,
    /// One of a head, whose beginning is in [`Stream::partial`].
    Head,
    /// One of a head that is longer than the limit; the empty line that ends it is looked for.
    SkipHead(EmptyLine),
    /// One of so many octets of a body.
    Length { remaining: u64 },
    /// One of a chunked body.
    Chunked(Walk),
    /// One of a trailer section, whose beginning is in [`Stream::partial`].
    Trailers,
    /// One of a body that ends with the connection, or of which the end is not known.
    Close,
    /// Unknown: looks for the next message.
    Lost,
    /// Not HTTP any more.
    Tunnel,
    /// One of HTTP/2, of which `http2` keeps the place.
    Frames,
}

/// How much of LF [CR] LF has been seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum EmptyLine {
    None,
    Lf,
    LfCr,
}

impl EmptyLine {
    /// State behind `bytes`.
    pub(crate) fn after(bytes: &[u8]) -> Self {
        match bytes {
            [.., b'\n'] => Self::Lf,
            [.., b'\n', b'\r'] => Self::LfCr,
            _ => Self::None,
        }
    }

    /// Length of the part of `bytes` that ends with the empty line; None where it does not end there.
    pub(crate) fn find(&mut self, bytes: &[u8]) -> Option<usize> {
        for (i, &byte) in bytes.iter().enumerate() {
            *self = match (*self, byte) {
                (Self::Lf | Self::LfCr, b'\n') => return Some(i + 1),
                (_, b'\n') => Self::Lf,
                (Self::Lf, b'\r') => Self::LfCr,
                _ => Self::None,
            };
        }
        None
    }
}

/// The beginning of a head or of a trailer section.
pub(crate) struct Partial {
    pub(crate) bytes: Vec<u8>,
    /// Facts of the packet with the first byte; None for trailers.
    pub(crate) begin: Option<Begin>,
}

/// One direction of a connection.
pub(crate) struct Stream {
    /// `next` is known.
    pub(crate) synced: bool,
    /// Sequence number of the next byte.
    pub(crate) next: u32,
    pub(crate) state: State,
    /// Bytes of the message in progress, as on the wire.
    pub(crate) at: u64,
    /// Content octets of the message in progress, as far as its framing tells them.
    pub(crate) octets: Option<u64>,
    /// Where the direction's payload begins, by the other direction's acknowledgements.
    pub(crate) base: Option<u32>,
    pub(crate) partial: Option<Box<Partial>>,
    pub(crate) held: Option<Box<Held>>,
    /// A body's end that was told before the body's head was read: sequence number, octets, time.
    pub(crate) body_end: Option<(u32, u64, u64)>,
    /// What the next bytes are is not known, and they may be those of a body: looks prove nothing.
    pub(crate) unproven: bool,
    /// The framing of the last message may be read in more than one way.
    pub(crate) ambiguous: bool,
    /// Bytes that are a message if the other direction answers them.
    pub(crate) candidate: Option<Box<Candidate>>,
    /// How much of the other direction the last packet acknowledges.
    pub(crate) acknowledges: Option<u32>,
    /// Bytes before the next message are missing: why.
    pub(crate) gap: Option<IncompleteReason>,
    /// The head whose rest is skipped; None where it is a trailer section.
    pub(crate) skip: Option<Box<Skip>>,
    /// Packet end of the last run.
    pub(crate) packet_end: u32,
    /// Its first bytes were no message.
    pub(crate) refused: bool,
    /// The next message begins behind bytes that belong to none.
    pub(crate) stray: bool,
    /// Retransmitted bytes of the message in progress, or of the next, differed.
    pub(crate) overlap_differs: bool,
    /// It finished behind bytes that were never seen.
    pub(crate) ends_missing: bool,
    /// A message was read since the last hint to the capturing side.
    pub(crate) hint_due: bool,
}

impl Stream {
    pub(crate) fn new() -> Self {
        Self {
            synced: false,
            next: 0,
            state: State::Boundary,
            at: 0,
            octets: None,
            base: None,
            partial: None,
            held: None,
            body_end: None,
            unproven: false,
            ambiguous: false,
            candidate: None,
            acknowledges: None,
            gap: None,
            skip: None,
            packet_end: 0,
            refused: false,
            stray: false,
            overlap_differs: false,
            ends_missing: false,
            hint_due: false,
        }
    }

    /// A message is being read of which the head is whole.
    pub(crate) fn in_body(&self) -> bool {
        !matches!(self.state, State::Boundary | State::Head | State::Lost | State::Tunnel | State::Frames)
    }

    /// A head has ended that announces a body, of which nothing has come yet.
    pub(crate) fn body_untouched(&self) -> bool {
        match self.state {
            State::Length { remaining } => self.octets == Some(remaining),
            State::Chunked(walk) => walk == Walk::new(),
            State::Close => self.octets == Some(0),
            _ => false,
        }
    }

    /// Bytes are missing, or were not understood: where the next message begins must be proved.
    pub(crate) fn lose(&mut self, reason: IncompleteReason) {
        self.gap = self.gap.or(Some(reason));
        self.unproven = true;
        self.state = State::Lost;
    }

    /// A message begins with the next byte.
    pub(crate) fn found(&mut self) {
        self.unproven = false;
        self.state = State::Boundary;
    }

    /// The next bytes may be those of a body whose end is not known.
    pub(crate) fn may_be_body(&self) -> bool {
        match self.state {
            State::Lost => self.unproven,
            State::Close => self.octets.is_none(),
            _ => false,
        }
    }

    /// Bytes are missing that the other direction may show to be lost.
    pub(crate) fn waits(&self) -> bool {
        self.held.is_some() || self.state == State::Head
    }

    /// Walks over the first bytes of a run.
    pub(crate) fn take(&mut self, run: &mut Run<'_>, count: usize) {
        run.skip(count);
        self.next = self.next.wrapping_add(count as u32);
        self.at = self.at.saturating_add(count as u64);
    }

    /// Passes over bytes that are not there.
    pub(crate) fn pass(&mut self, count: u64) {
        self.next = self.next.wrapping_add(count as u32);
        self.at = self.at.saturating_add(count);
    }

    /// Leaves out what lies before `next`, and compares it with what is still known of it.
    pub(crate) fn trim(&mut self, run: &mut Run<'_>) {
        let old = (-distance(self.next, run.sequence)).max(0) as usize;
        let old = old.min(run.bytes.len());
        if old == 0 {
            return;
        }
        if self.state == State::Head
            && let Some(partial) = &self.partial
        {
            // The buffer ends at `next`.
            let from = (distance(run.sequence, self.next) as usize).min(partial.bytes.len());
            let known = &partial.bytes[partial.bytes.len() - from..];
            let skipped = (distance(run.sequence, self.next) as usize) - from;
            let again = run.bytes.get(skipped..old).unwrap_or(&[]);
            self.overlap_differs |= !known.starts_with(again);
        }
        run.skip(old);
    }

    /// Holds a run back, without what is already held.
    pub(crate) fn hold(&mut self, run: &Run<'_>) {
        let held = self.held.get_or_insert_with(|| Box::new(Held::since(run.time_ns)));
        self.overlap_differs |= !held.insert(run);
    }

    /// More is held back than the limits allow.
    pub(crate) fn holds_too_much(&self, limits: &Limits) -> bool {
        self.held.as_ref().is_some_and(|held| held.is_too_much(limits))
    }

    /// Takes the first run that is held back.
    pub(crate) fn take_held(&mut self) -> Option<Piece> {
        let held = self.held.as_mut()?;
        let piece = held.take();
        if held.pieces.is_empty() {
            self.held = None;
        }
        piece
    }

    /// Gives back what [`Stream::take_held`] took.
    pub(crate) fn put_back(&mut self, piece: Piece, since_ns: u64) {
        self.held.get_or_insert_with(|| Box::new(Held::since(since_ns))).put_back(piece);
    }

    /// What is held weighs so much.
    pub(crate) fn weight(&self) -> usize {
        let partial = self.partial.as_ref().map_or(0, |partial| {
            size_of::<Partial>() + ALLOCATION_BYTES + weight::vector::<u8>(partial.bytes.capacity())
        });
        let held = self.held.as_ref().map_or(0, |held| size_of::<Held>() + ALLOCATION_BYTES + held.weight());
        let skip = self.skip.as_ref().map_or(0, |skip| skip.weight());
        partial + held + skip + self.candidate.as_ref().map_or(0, |candidate| candidate.weight())
    }
}
