//! Where the next message begins on a direction that has lost its place.
//!
//! Behind missing bytes a body may be open of which nobody knows the end, and its bytes may look like messages:
//! whoever sends them chooses them. Looks prove nothing there. What does, first row first:
//!
//! | what is known | the next message begins |
//! | --- | --- |
//! | the capturing side walked over what precedes (`START`) | here |
//! | bytes are missing within a body, or a chunk, of known length | behind it, by sequence number: the place was never lost |
//! | the capturing side tells where a body ends, or where its walk over chunks stopped | there |
//! | no byte is missing, and the framing was not ambiguous: no body is open | with the first packet that begins with a whole start-line |
//! | of responses: the client's last packet has acknowledged all before, none of the requests' bytes before it is unseen or unacknowledged | here, with a whole status-line |
//! | of requests: the same of the final response before, and the server *answers* just these bytes, which hold one request-line and one message | there, once it is answered |
//! | otherwise | nobody knows where: the bytes are counted as stray, and what follows the loss says so (`gap`) |
//!
//! The last but one is stricter than the one before, because servers answer early: a refused upload goes on behind
//! its response. But it is not answered a second time. An answer shows that a request-line has come since the
//! response before; where the bytes hold only one, and it begins them, that one is it. Both rest on what a client that
//! does not pipeline does (the law of `pairing.rs`, too): it sends no part of a request before it has the
//! response to the one before. On a connection that was seen to pipeline only the other rows hold.

use headtrail_record::event::{Direction, flags};

use crate::connection::{Connection, Context};
use crate::framing::{Body, request_body};
use crate::head::{self, Kind};
use crate::limits::Limits;
use crate::run::{Piece, Run, distance};
use crate::stream::State;
use crate::weight::{self, ALLOCATION_BYTES};
use headtrail_record::transaction::IncompleteReason;

/// The end of a final response: where its direction then stood, and how much of the requests it had acknowledged when it began.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Turn {
    pub(crate) end: u32,
    pub(crate) acknowledged: u32,
}

/// Bytes that are a request if the server answers them.
pub(crate) struct Candidate {
    pieces: Vec<Piece>,
    bytes: usize,
    begin: u32,
    end: u32,
    /// Where the answer begins.
    answer: u32,
}

impl Candidate {
    /// It weighs so much.
    pub(crate) fn weight(&self) -> usize {
        size_of::<Self>()
            + ALLOCATION_BYTES
            + weight::vector::<Piece>(self.pieces.capacity())
            + self.pieces.len() * ALLOCATION_BYTES
            + self.bytes
    }

    fn has_room_for(&self, run: &Run<'_>, limits: &Limits) -> bool {
        self.bytes + run.bytes.len() <= limits.reorder_bytes_max
            && self.pieces.len() < limits.reorder_segments_max
    }

    /// There is one request-line, which begins the bytes, and nothing behind its message.
    fn is_one_request(&self, limits: &Limits) -> bool {
        let bytes: Vec<u8> = self.pieces.iter().flat_map(|p| &p.bytes).copied().collect();
        let Some(end) = head::head_end(&bytes, 0) else { return false };
        let line = &bytes[..memchr::memchr(b'\n', &bytes).unwrap_or(0)];
        let blanks = line.trim_ascii_end().iter().filter(|b| b.is_ascii_whitespace()).count();
        if blanks != 2 || memchr::memmem::find_iter(&bytes, b"HTTP/").count() != 1 {
            return false;
        }
        let mut head = head::read(&bytes[..end], limits);
        let rest = (bytes.len() - end) as u64;
        match request_body(&mut head.facts) {
            Body::None => rest == 0,
            Body::Length(octets) => rest <= octets,
            Body::Chunked => true,
            Body::Close | Body::Unknown => false,
        }
    }
}

impl Connection {
    /// On a direction that has lost its place: a message begins with the run for certain.
    pub(crate) fn begins_for_certain(
        &self,
        direction: Direction,
        run: &Run<'_>,
        begins_packet: bool,
    ) -> bool {
        if run.is_start() {
            return true;
        }
        if !run.has(flags::RAW) || !begins_message(run.bytes) {
            return false;
        }
        if self.streams[direction.index()].may_be_body() {
            head::kind(run.bytes) == Kind::Response && self.is_answer(direction, run)
        } else {
            begins_packet
        }
    }

    /// The client has all of the responses before the run and waits for more.
    pub(crate) fn is_answer(&self, direction: Direction, run: &Run<'_>) -> bool {
        if self.pipelined || self.request_direction == Some(direction) {
            return false;
        }
        let requests = &self.streams[direction.reverse().index()];
        let seen = match requests.state {
            State::Length { remaining } => requests.next.wrapping_add(remaining as u32),
            _ => requests.next,
        };
        requests.synced
            && requests.held.is_none()
            && requests.acknowledges == Some(run.sequence)
            && run.acknowledgement() == Some(seen)
    }

    /// Keeps bytes of requests that may turn out to be a message; false where they cannot.
    pub(crate) fn keep_candidate(
        &mut self,
        direction: Direction,
        run: &Run<'_>,
        cx: &mut Context<'_>,
    ) -> bool {
        let index = direction.index();
        if !self.streams[index].may_be_body() || self.request_direction != Some(direction) {
            return false;
        }
        if let Some(candidate) = &mut self.streams[index].candidate
            && candidate.end == run.sequence
            && candidate.has_room_for(run, cx.limits)
        {
            candidate.bytes += run.bytes.len();
            candidate.end = run.end();
            candidate.pieces.push(Piece::of(run));
            return true;
        }
        self.drop_candidate(direction, cx);
        let responses = &self.streams[direction.reverse().index()];
        let acknowledged = run.acknowledgement();
        let Some(turn) = self.turn else { return false };
        let quiet = !self.pipelined
            && turn.acknowledged == run.sequence
            && acknowledged == Some(turn.end)
            && responses.state == State::Boundary
            && responses.next == turn.end
            && responses.held.is_none();
        if !quiet || !run.has(flags::RAW) || !begins_message(run.bytes) {
            return false;
        }
        let candidate = Candidate {
            pieces: Vec::new(),
            bytes: 0,
            begin: run.sequence,
            end: run.sequence,
            answer: turn.end,
        };
        if !candidate.has_room_for(run, cx.limits) {
            return false;
        }
        let pieces = vec![Piece::of(run)];
        self.streams[index].candidate =
            Some(Box::new(Candidate { pieces, bytes: run.bytes.len(), end: run.end(), ..candidate }));
        true
    }

    /// A run of the other direction, which is new: it answers what is kept, or shows that this is no request.
    pub(crate) fn answered(&mut self, direction: Direction, run: &Run<'_>, cx: &mut Context<'_>) {
        let Some(candidate) = &self.streams[direction.index()].candidate else { return };
        if distance(candidate.answer, run.sequence) < 0 {
            return;
        }
        let answers = run.sequence == candidate.answer
            && run.acknowledgement() == Some(candidate.end)
            && matches!(head::kind(run.bytes), Kind::Response | Kind::Undecided)
            && candidate.is_one_request(cx.limits);
        if !answers {
            return self.drop_candidate(direction, cx);
        }
        let Some(candidate) = self.streams[direction.index()].candidate.take() else { return };
        if self.streams[direction.index()].state == State::Close {
            self.complete(direction, None, cx);
        }
        let stream = &mut self.streams[direction.index()];
        stream.found();
        stream.gap = stream.gap.or(Some(IncompleteReason::Gap));
        stream.next = candidate.begin;
        for piece in &candidate.pieces {
            self.feed(direction, piece.run(), cx);
        }
    }

    /// What is kept is no message, or nobody will know.
    pub(crate) fn drop_candidate(&mut self, direction: Direction, cx: &mut Context<'_>) {
        let stream = &mut self.streams[direction.index()];
        if let Some(candidate) = stream.candidate.take()
            && stream.state == State::Lost
        {
            cx.counters.stray_bytes += candidate.bytes as u64;
        }
    }
}

/// Where nothing but the bytes tells that a message begins: with a whole start-line, and with a method that is in
/// wide use, because the rest of a cut token looks like a method too.
fn begins_message(bytes: &[u8]) -> bool {
    match head::kind(bytes) {
        Kind::Response => true,
        Kind::Request => head::begins_with_known_method(bytes),
        Kind::Other | Kind::Undecided => false,
    }
}
