//! Connections that were joined in the middle, and directions whose place was lost: how they are found, and what is known of
//! streams that are older than that.
//!
//! | what comes behind the place that was found | what it is |
//! | --- | --- |
//! | fields of the client on a stream above all that were opened since, or with a pseudo-field | a request |
//! | other fields of the client on a stream of which nothing was seen | trailers, or a request that does not show it: no message |
//! | fields of the server on a stream whose request was sent behind the place, too | a response |
//! | the same on an older stream | a response where a pseudo-field shows it; else trailers, or a response that does not show it: no message |
//! | fields behind a response whose status was not seen | if they have a pseudo-field the response was an interim one; else trailers, if all names are seen |
//!
//! What is no message is counted, and its stream says what is missing. The table of names and values is unknown at first, and becomes known
//! by what is inserted (`hpack`).

use headtrail_record::event::{Direction, flags};
use headtrail_record::transaction::{IncompleteReason, Line, Side, Span};

use super::fields::{self, Fields};
use super::frames::{self, Block, Frames};
use super::resync::{FRAME_OCTETS_DEFAULT, Found};
use super::{Http2, TABLE_OCTETS_MAX, mark_fields, message_of};
use crate::connection::{Connection, Context};
use crate::pairing::Exchange;
use crate::run::{Run, distance};
use crate::stream::State;
use crate::weight;

/// Parameter of SETTINGS (RFC 9113, 6.5.2).
const SETTINGS_MAX_FRAME_SIZE: u16 = 5;

/// A place that was found again.
#[derive(Clone, Copy)]
pub(super) struct Since {
    sequence: u32,
    /// Why nothing is known of what is before.
    reason: IncompleteReason,
}

/// What is known of a connection that was not seen whole.
#[derive(Default)]
pub(super) struct Past {
    /// By the index of the direction.
    since: [Option<Since>; 2],
    /// The first stream that the client opened behind its place.
    first: Option<u32>,
    /// The longest frame that may be sent, by the index of the direction in which it is; None where that is not known.
    longest: [Option<u32>; 2],
    /// Which SETTINGS are acknowledged is not known.
    pub(super) unsettled: bool,
}

impl Past {
    /// From the first byte on.
    pub(super) fn none() -> Self {
        Self { longest: [Some(FRAME_OCTETS_DEFAULT); 2], ..Self::default() }
    }

    /// Settings that an end sends limit the frames of the other.
    pub(super) fn settings(&mut self, direction: Direction, payload: &[u8]) {
        for parameter in payload.as_chunks::<6>().0 {
            let [a, b, value @ ..] = parameter;
            let longest = &mut self.longest[direction.reverse().index()];
            if u16::from_be_bytes([*a, *b]) == SETTINGS_MAX_FRAME_SIZE {
                *longest = longest.map(|octets| octets.max(u32::from_be_bytes(*value)));
            }
        }
    }
}

impl Http2 {
    /// Something of a direction is missing.
    pub(super) fn forget_settings(&mut self, direction: Direction) {
        self.past.longest[direction.reverse().index()] = None;
        self.past.unsettled = true;
        for index in 0..2 {
            self.settings[index].clear();
            self.frames[index].decoder.raise_limit(u32::MAX);
        }
    }

    /// Why the request of a stream that is not known was not seen.
    pub(super) fn why_unseen(&self, requests: Direction, stream: u32) -> Option<IncompleteReason> {
        let since = self.past.since[requests.index()];
        let older = self.past.first.is_none_or(|first| stream < first);
        self.lost[requests.index()].or(since.filter(|_| older).map(|since| since.reason))
    }

    /// Why the beginning of the response to a request may not have been seen.
    pub(super) fn why_unanswered(
        &self,
        responses: Direction,
        acknowledged: Option<u32>,
    ) -> Option<IncompleteReason> {
        let since = self.past.since[responses.index()];
        let earlier = |since: &Since| acknowledged.is_none_or(|a| distance(since.sequence, a) < 0);
        self.lost[responses.index()].or(since.filter(earlier).map(|since| since.reason))
    }

    /// Fields of the client on a stream of which nothing was seen are those of a request.
    pub(super) fn opens(&mut self, requests: Direction, stream: u32, fields: &Fields) -> bool {
        if self.past.since[requests.index()].is_none() {
            return true;
        }
        let opens = fields.has_pseudo() || self.past.first.is_some();
        if opens {
            self.past.first.get_or_insert(stream);
        }
        opens
    }

    /// Fields of the server, which are not known to be trailers, are those of a response.
    pub(super) fn responds(&self, responses: Direction, stream: u32, fields: &Fields) -> bool {
        let unsure = match self.streams.get(&stream) {
            Some(exchange) => exchange.barrier.is_some(),
            None => self.past.since[responses.index()].is_some(),
        };
        !unsure || fields.has_pseudo()
    }

    /// The response of a stream has begun, and its status was not seen.
    pub(super) fn hides_status(&self, stream: u32) -> bool {
        let hides = |exchange: &Exchange| {
            exchange.tx.response.as_ref().is_some_and(|response| response.status() == Some(0))
                && exchange.tx.incomplete.iter().any(|i| i.reason == IncompleteReason::HpackUnknown)
        };
        self.streams.get(&stream).is_some_and(|exchange| hides(exchange))
    }
}

impl Connection {
    /// Nothing shows what a connection speaks that was joined in the middle, or began with something else.
    fn may_be_frames(&self) -> bool {
        self.http2.is_none()
            && self.request_direction.is_none()
            && self.number == 0
            && !self.resync.as_ref().is_some_and(|resync| resync.has_given_up())
    }

    /// Looks for frames where no message of HTTP/1 is.
    pub(crate) fn seek_http2(&mut self, direction: Direction, run: &Run<'_>, cx: &mut Context<'_>) {
        if !self.may_be_frames() {
            self.resync = None;
            return;
        }
        let resync = self.resync.get_or_insert_default();
        resync.look(direction, run, None, None);
        let Some(requests) = resync.client() else { return };
        self.join_http2(requests, direction, run, cx);
    }

    /// The capturing side walks over frames of a connection of which nothing is known here; true where it does.
    pub(crate) fn is_walked_http2(
        &mut self,
        direction: Direction,
        run: &Run<'_>,
        cx: &mut Context<'_>,
    ) -> bool {
        let fresh = self.fresh[direction.index()];
        let walked = run.is_start() && !run.has(flags::RAW) && !fresh && self.may_be_frames();
        if !walked || !frames::may_be_frame(run.bytes) {
            return false;
        }
        let requests = if run.has(flags::REQUESTS) { direction } else { direction.reverse() };
        self.join_http2(requests, direction, run, cx);
        self.seek_frame(direction, *run, cx);
        true
    }

    /// The connection speaks HTTP/2; where its frames begin is still to be found.
    fn join_http2(&mut self, requests: Direction, direction: Direction, run: &Run<'_>, cx: &mut Context<'_>) {
        self.decide_role(requests, direction, &run.begin());
        self.begin_http2(requests, 0, cx);
        let reason = self.why_joined();
        let Some(http2) = &mut self.http2 else { return };
        http2.frames = [Frames::joined(TABLE_OCTETS_MAX), Frames::joined(TABLE_OCTETS_MAX)];
        http2.lost = [Some(reason); 2];
        for direction in [Direction::Ingress, Direction::Egress] {
            if let Some(http2) = &mut self.http2 {
                http2.forget_settings(direction);
            }
            self.drop_candidate(direction, cx);
            self.streams[direction.index()].state = State::Tunnel;
        }
    }

    /// Goes on in a direction of HTTP/2 whose place is lost.
    pub(crate) fn seek_frame(&mut self, direction: Direction, mut run: Run<'_>, cx: &mut Context<'_>) {
        let index = direction.index();
        let Some(http2) = &self.http2 else {
            self.streams[index].pass(run.bytes.len() as u64);
            return;
        };
        let found = if run.is_start() && !run.has(flags::RAW) {
            // The capturing side has kept the place.
            Found::Place(0)
        } else {
            let longest = http2.past.longest[index];
            let client = self.request_direction;
            self.resync.get_or_insert_default().look(direction, &run, longest, client)
        };
        let Found::Place(before) = found else {
            self.streams[index].pass(run.bytes.len() as u64);
            return;
        };
        self.streams[index].take(&mut run, before);
        if self.resync.as_mut().is_some_and(|resync| resync.ends(direction)) {
            self.resync = None;
        }
        cx.counters.http2_found += 1;
        self.streams[index].state = State::Frames;
        let requests = self.side(direction) == Side::Request;
        let Some(http2) = &mut self.http2 else { return };
        let reason = http2.lost[index].take().unwrap_or(IncompleteReason::Gap);
        http2.frames[index] = Frames::joined(TABLE_OCTETS_MAX);
        http2.past.since[index] = Some(Since { sequence: run.sequence, reason });
        if requests {
            http2.past.first = None;
        }
        self.feed_frames(direction, &mut run, cx);
    }

    /// Fields behind a response whose status was not seen.
    pub(super) fn behind_hidden_status(
        &mut self,
        direction: Direction,
        block: Block,
        time_ns: u64,
        cx: &mut Context<'_>,
    ) {
        let Some(http2) = &mut self.http2 else { return };
        let decoder = &mut http2.frames[direction.index()].decoder;
        let fields = fields::read(decoder, &block.bytes, block.truncated, Vec::new(), cx.limits);
        let Block { stream, end_stream, begin, bytes, .. } = block;
        let Some(exchange) = http2.streams.get_mut(&stream) else { return };
        if fields.has_pseudo() {
            if let Some(interim) = exchange.tx.response.take() {
                self.queue_bytes += weight::interim(&interim) - weight::message(&interim);
                exchange.tx.interim.push(interim);
                cx.counters.started.responses -= 1;
            }
            self.response(direction, (stream, end_stream), fields, begin, bytes.len(), cx);
        } else if fields.unseen || fields.cut {
            // Whether they are trailers is not known.
            cx.counters.stray_bytes += bytes.len() as u64;
            mark_fields(exchange, Side::Response, fields.unseen, fields.cut, bytes.len());
        } else if let Some(message) = message_of(exchange, Side::Response) {
            let before = weight::message(message);
            let shift = message.text.len();
            let moved = |span: Span| Span { start: span.start + shift as u32, ..span };
            message.text.extend_from_slice(&fields.text);
            message.trailers.extend(
                fields
                    .lines
                    .iter()
                    .map(|l| Line { name: moved(l.name), value: moved(l.value), ..*l })
                    .take(cx.limits.field_lines_max),
            );
            self.queue_bytes += weight::message(message) - before;
        }
        if end_stream {
            self.end_side(stream, Side::Response, time_ns, cx);
        }
    }

    /// Notes that a direction whose place is known begins fields.
    pub(super) fn tell_resync(&mut self, direction: Direction, block: &Block) {
        if let (Some(resync), None) = (&mut self.resync, block.promised) {
            resync.hears(direction, block.stream, block.begin.sequence, block.begin.acknowledgement);
        }
    }
}
