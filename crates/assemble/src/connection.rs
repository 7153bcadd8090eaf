//! One connection: its two directions brought into order, and the evidence that bytes will not come any more.
//!
//! A hole within a body is normal, because the capturing side passes over bodies. Any other hole is waited for.
//! It is named a gap when one of these shows that the missing bytes were lost by the capture and not by the
//! network: the capturing side says so (`LOST`); it walked on behind the hole (`START`) and the connection went
//! on; the other direction acknowledges bytes behind it; too much is held back; it is too old.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use headtrail_record::event::{
    self, CloseReason, ConnectionId, Direction, Endpoint, ProcessRef, Segment, flags,
};
use headtrail_record::tls::Tls;
use headtrail_record::transaction::{IncompleteReason, RawTransaction};
use headtrail_tls::KeyLog;

use crate::chunked::{Walk, last_chunk_line};
use crate::counters::Counters;
use crate::head::{Kind, kind};
use crate::http2::{Http2, Resync, frames};
use crate::limits::Limits;
use crate::long::{Look, Tunnel};
use crate::pairing::Exchange;
use crate::peers::Peers;
use crate::proof::Turn;
use crate::run::{Piece, Run, distance};
use crate::stream::{State, Stream};
use crate::tls;
use crate::twins::Twins;
use crate::weight::{self, ALLOCATION_BYTES};

/// What all connections share.
pub(crate) struct Context<'a> {
    pub(crate) limits: &'a Limits,
    pub(crate) counters: &'a mut Counters,
    pub(crate) twins: &'a mut Twins,
    pub(crate) peers: &'a mut Peers,
    /// Where TLS is looked for.
    pub(crate) keys: Option<&'a KeyLog>,
    pub(crate) resyncs: &'a mut Vec<event::Resync>,
    pub(crate) now_ns: u64,
    pub(crate) out: &'a mut dyn FnMut(RawTransaction),
}

/// Runs that begin a message behind a hole, without a sign of life from the other direction, until the hole is
/// named a gap: two processors that race for the ring do not get that far apart.
const STARTS_BEHIND_HOLE_MAX: usize = 4;
/// Age at which a hole before a message start is named a gap, nanoseconds.
const START_GRACE_NS: u64 = 100_000_000;
/// What the facts of a handshake may weigh: two names and a structure.
const FACTS_BYTES: usize = 512 + size_of::<Tls>() + 4 * ALLOCATION_BYTES;
/// Where requests go is not known yet.
const NOWHERE: Endpoint = Endpoint { ip: IpAddr::V4(Ipv4Addr::UNSPECIFIED), port: 0 };

/// One connection.
pub(crate) struct Connection {
    pub(crate) id: ConnectionId,
    pub(crate) netns: u32,
    /// Known since the first message.
    pub(crate) request_direction: Option<Direction>,
    pub(crate) source: Endpoint,
    pub(crate) destination: Endpoint,
    pub(crate) streams: [Stream; 2],
    /// Exchanges whose request was seen, in order.
    pub(crate) queue: VecDeque<Box<Exchange>>,
    /// The exchange in progress of which no request was seen.
    pub(crate) orphan: Option<Box<Exchange>>,
    /// Number of the next exchange.
    pub(crate) number: u32,
    pub(crate) process: Option<ProcessRef>,
    pub(crate) peer: Option<ProcessRef>,
    pub(crate) peer_generation: u64,
    /// Sequence number of the first request byte that was seen.
    pub(crate) first_request: Option<u32>,
    /// The owner of this client end is noted for the server end.
    pub(crate) told_as_peer: bool,
    /// It was given up before, and shows itself again: what the capturing side has seen from the first byte on, this has not.
    pub(crate) again: bool,
    /// The first payload byte was seen, by direction.
    pub(crate) fresh: [bool; 2],
    /// The client sent a request while an earlier one was unanswered.
    pub(crate) pipelined: bool,
    /// Responses were lost: which request the next one answers is not known.
    pub(crate) response_gap: Option<IncompleteReason>,
    /// Responses that are still to come for requests that were given up.
    pub(crate) owed: u32,
    /// Where the last response to a request that was seen ended, if it was seen whole.
    pub(crate) last_response_end: Option<u32>,
    /// How much of the requests its sender had received when it began.
    pub(crate) last_response_acknowledges: Option<u32>,
    /// How much of the requests the packet with the first byte of the response in progress acknowledges.
    pub(crate) begun_acknowledges: Option<u32>,
    /// The last response that was seen whole, if nothing came behind it.
    pub(crate) turn: Option<Turn>,
    /// It speaks HTTP/2.
    pub(crate) http2: Option<Box<Http2>>,
    pub(crate) tls: tls::Look,
    /// What its handshake told.
    pub(crate) tls_facts: Option<Arc<Tls>>,
    /// It is a tunnel by now.
    pub(crate) tunnel: Option<Box<Tunnel>>,
    /// It stands in the heap of connections that may have a long call.
    pub(crate) look: Option<Look>,
    /// How often it was spared although it was silent.
    pub(crate) spared: u8,
    /// It is over: why.
    pub(crate) closing: Option<CloseReason>,
    /// Looks for frames of HTTP/2 where the place is not known.
    pub(crate) resync: Option<Box<Resync>>,
    /// Neither HTTP/1 nor HTTP/2, or not any more.
    pub(crate) deaf: bool,
    /// Stands on the list of connections that wait for time to pass.
    pub(crate) attended: bool,
    /// Responses that are still to come were given up to save memory.
    pub(crate) shed: bool,
    /// What the exchanges weigh.
    pub(crate) queue_bytes: usize,
    /// What [`Connection::weight`] was when the assembler last asked.
    pub(crate) weighed: usize,
    pub(crate) last_ns: u64,
}

impl Connection {
    pub(crate) fn new(id: ConnectionId, netns: u32) -> Self {
        Self {
            id,
            netns,
            request_direction: None,
            source: NOWHERE,
            destination: NOWHERE,
            streams: [Stream::new(), Stream::new()],
            queue: VecDeque::new(),
            orphan: None,
            number: 0,
            process: None,
            peer: None,
            peer_generation: 0,
            first_request: None,
            told_as_peer: false,
            again: false,
            fresh: [false; 2],
            pipelined: false,
            response_gap: None,
            owed: 0,
            last_response_end: None,
            last_response_acknowledges: None,
            begun_acknowledges: None,
            turn: None,
            tls: tls::Look::Open,
            tls_facts: None,
            http2: None,
            tunnel: None,
            look: None,
            spared: 0,
            closing: None,
            resync: None,
            deaf: false,
            attended: false,
            shed: false,
            queue_bytes: 0,
            weighed: 0,
            last_ns: 0,
        }
    }

    /// It weighs so much.
    pub(crate) fn weight(&self) -> usize {
        size_of::<Self>() + ALLOCATION_BYTES + self.spare_weight()
    }

    /// What it holds beyond its bare state weighs so much.
    pub(crate) fn spare_weight(&self) -> usize {
        self.queue_bytes
            + weight::vector::<Box<Exchange>>(self.queue.capacity())
            + self.streams[0].weight()
            + self.streams[1].weight()
            + self.http2.as_ref().map_or(0, |http2| http2.weight())
            + self.tls.weight()
            + self.tls_facts.as_ref().map_or(0, |_| FACTS_BYTES)
            + self.tunnel_weight()
            + self.resync.as_ref().map_or(0, |resync| resync.weight())
    }

    /// It may hold so many bytes.
    pub(crate) fn bytes_max(&self, limits: &Limits) -> usize {
        if self.http2.is_some() { limits.http2_connection_bytes_max } else { limits.connection_bytes_max }
    }

    /// Transactions in progress.
    pub(crate) fn exchanges(&self) -> impl Iterator<Item = &Exchange> {
        let streams = self.http2.iter().flat_map(|http2| http2.exchanges());
        let tunnel = self.tunnel.iter().map(|tunnel| tunnel.exchange());
        self.queue.iter().chain(&self.orphan).chain(streams).map(|exchange| &**exchange).chain(tunnel)
    }

    /// Why what came before its first byte is not known.
    pub(crate) fn why_joined(&self) -> IncompleteReason {
        if self.again { IncompleteReason::Memory } else { IncompleteReason::Joined }
    }

    /// Something is held that time alone may decide.
    pub(crate) fn waits(&self) -> bool {
        self.streams.iter().any(|s| s.held.is_some())
            || self.tls.holds()
            || self.queue.front().is_some_and(|e| e.probation.is_some())
    }

    /// Takes a segment.
    pub(crate) fn segment(&mut self, segment: &Segment<'_>, cx: &mut Context<'_>) {
        if segment.process.is_some() {
            self.process = segment.process;
        }
        self.last_ns = segment.time_ns;
        let run = Run::of(segment);
        if cx.keys.is_some() && !matches!(self.tls, tls::Look::Clear) && !run.bytes.is_empty() {
            return self.look_for_tls(segment.direction, run, cx);
        }
        self.take_run(segment.direction, run, cx);
    }

    /// Takes a run of what is spoken.
    pub(crate) fn take_run(&mut self, direction: Direction, run: Run<'_>, cx: &mut Context<'_>) {
        if self.deaf || run.bytes.is_empty() {
            return self.pass_tunnel(direction, run.end());
        }
        let other = direction.reverse();
        if self.streams[other.index()].waits() {
            self.went_on(other, &run, cx);
        }
        if self.streams[other.index()].candidate.is_some() {
            self.answered(other, &run, cx);
        }
        let index = direction.index();
        self.fresh[index] |= run.has(flags::FRESH) && !self.again;
        let stream = &mut self.streams[index];
        if !stream.synced || distance(stream.next, run.end()) > 0 {
            stream.acknowledges = run.acknowledgement();
        }
        if let Some(first) = stream.held.as_ref().and_then(|h| h.pieces.first()) {
            // What is held came first, and wins where the two overlap.
            let before = distance(run.sequence, first.sequence).clamp(0, run.bytes.len() as i64) as usize;
            let head = Run { bytes: &run.bytes[..before], ..run };
            let mut tail = run;
            tail.skip(before);
            if !tail.bytes.is_empty() {
                self.hold(direction, &tail, cx);
            }
            if !head.bytes.is_empty() && !self.offer(direction, head, cx) {
                self.hold(direction, &head, cx);
            }
            self.drain(direction, cx);
        } else if stream.synced && stream.next == run.sequence && stream.state != State::Close {
            self.feed(direction, run, cx);
        } else if !self.offer(direction, run, cx) {
            self.hold(direction, &run, cx);
            self.drain(direction, cx);
        }
        if let Some((sequence, octets, time_ns)) = self.streams[index].body_end
            && self.streams[index].in_body()
        {
            self.streams[index].body_end = None;
            self.body_end(direction, time_ns, sequence, octets, cx);
        }
        self.hint(direction, &run, cx);
    }

    /// Gives a run to the parser, unless bytes before it must be waited for.
    fn offer(&mut self, direction: Direction, mut run: Run<'_>, cx: &mut Context<'_>) -> bool {
        let index = direction.index();
        if !self.streams[index].synced && !self.sync(direction, &run) {
            return false;
        }
        let start = run.is_start() && !run.has(flags::RAW);
        let stream = &mut self.streams[index];
        // The end of a long body may lie farther away than serial arithmetic reaches.
        if let State::Length { remaining } = stream.state
            && start
            && run.sequence == stream.next.wrapping_add(remaining as u32)
        {
            stream.pass(remaining);
            self.complete(direction, Some(run.time_ns), cx);
        }
        if start && self.is_soft(direction) {
            self.start_within_body(direction, &run, cx);
        }
        let stream = &mut self.streams[index];
        let hole = distance(stream.next, run.sequence);
        if hole < 0 {
            stream.trim(&mut run);
            if run.bytes.is_empty() {
                cx.counters.duplicate_segments += 1;
                return true;
            }
        } else if hole > 0 && !self.cross(direction, &run, hole as u64, cx) {
            return false;
        }
        if self.streams[index].state == State::Close && run.is_start() && start {
            // The capturing side knows where the body ended.
            self.complete(direction, Some(run.time_ns), cx);
        }
        self.feed(direction, run, cx);
        true
    }

    /// The capturing side, which may have seen the request, knows better where a response ended.
    fn start_within_body(&mut self, direction: Direction, run: &Run<'_>, cx: &mut Context<'_>) {
        let stream = &mut self.streams[direction.index()];
        let State::Length { remaining } = stream.state else { return };
        let hole = distance(stream.next, run.sequence);
        if hole <= 0 || hole as u64 >= remaining {
            return;
        }
        stream.octets = None;
        self.complete(direction, None, cx);
        let stream = &mut self.streams[direction.index()];
        if stream.state == State::Boundary {
            cx.counters.gaps += 1;
            stream.gap = stream.gap.or(Some(IncompleteReason::Gap));
            stream.next = run.sequence;
        }
    }

    /// Goes to the beginning of a run behind a hole, where the missing bytes need not be known.
    fn cross(&mut self, direction: Direction, run: &Run<'_>, hole: u64, cx: &mut Context<'_>) -> bool {
        let start = run.is_start() && !run.has(flags::RAW);
        let stream = &mut self.streams[direction.index()];
        match stream.state {
            State::Lost | State::Tunnel => stream.next = run.sequence,
            State::Close => {
                stream.octets = stream.octets.map(|o| o.saturating_add(hole));
                stream.pass(hole);
            }
            State::SkipHead(ref mut line) => {
                *line = crate::stream::EmptyLine::None;
                if let Some(skip) = &mut stream.skip {
                    skip.miss();
                }
                stream.pass(hole);
                if start {
                    self.complete(direction, Some(run.time_ns), cx);
                }
            }
            State::Frames => {
                let Some(http2) = self.http2.as_mut().filter(|h| hole <= h.passable(direction)) else {
                    return false;
                };
                http2.pass(direction, hole);
                stream.pass(hole);
            }
            State::Length { remaining } if hole <= remaining => {
                stream.pass(hole);
                // Where nothing remains, the parser completes it at the first byte of the run.
                stream.state = State::Length { remaining: remaining - hole };
            }
            State::Chunked(ref mut walk) if hole <= walk.data_remaining() => {
                walk.pass(hole);
                stream.pass(hole);
            }
            State::Chunked(_)
                if run.packet_end == stream.packet_end && !run.has(flags::RAW) && is_chunked_end(run) =>
            {
                stream.pass(hole);
                stream.state = State::Chunked(Walk::behind_unknown(run.bytes));
            }
            // The empty line alone, or with the last-chunk line, was passed over.
            State::Trailers if start && stream.partial.is_none() && matches!(hole, 2 | 5 | 7) => {
                stream.pass(hole);
                self.complete(direction, Some(run.time_ns), cx);
            }
            _ => return false,
        }
        true
    }

    /// Decides where a direction begins.
    fn sync(&mut self, direction: Direction, run: &Run<'_>) -> bool {
        let index = direction.index();
        let stream = &mut self.streams[index];
        let plausible = || {
            let blank = run.bytes.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
            kind(&run.bytes[blank..]) != Kind::Other
                || run.bytes.starts_with(frames::PREFACE_LINE)
                || frames::begins_with_settings(run.bytes)
        };
        let from = match stream.base {
            // A connection that was joined may still finish an earlier response before the base.
            Some(base) if self.fresh[index] || distance(base, run.sequence) >= 0 => base,
            _ if run.is_start() => run.sequence,
            _ if plausible() => run.sequence,
            _ if self.fresh[index] && !run.has(flags::RAW) => run.sequence,
            _ => return false,
        };
        if run.has(flags::LOST) && from == run.sequence {
            stream.lose(IncompleteReason::RingFull);
        }
        stream.synced = true;
        stream.next = from;
        true
    }

    fn hold(&mut self, direction: Direction, run: &Run<'_>, cx: &mut Context<'_>) {
        let index = direction.index();
        cx.counters.reordered_segments += 1;
        self.streams[index].hold(run);
        if run.has(flags::LOST) || run.has(flags::JOINED) {
            self.resolve(direction, cx);
        }
        let starts = |s: &Stream| {
            let pieces = s.held.as_ref().map_or(&[][..], |h| &h.pieces);
            pieces.iter().filter(|p| p.flags & (flags::START | flags::RAW) == flags::START).count()
        };
        while self.streams[index].holds_too_much(cx.limits)
            || starts(&self.streams[index]) >= STARTS_BEHIND_HOLE_MAX
        {
            self.resolve(direction, cx);
            self.drain(direction, cx);
        }
    }

    /// Gives the parser what is held back, as far as it may go on.
    pub(crate) fn drain(&mut self, direction: Direction, cx: &mut Context<'_>) {
        let index = direction.index();
        while let Some(since_ns) = self.streams[index].held.as_ref().map(|h| h.since_ns) {
            let Some(piece) = self.streams[index].take_held() else { return };
            if self.deaf {
                continue;
            }
            if !self.offer(direction, piece.run(), cx) {
                self.streams[index].put_back(piece, since_ns);
                return;
            }
        }
    }

    /// The other direction shows a sign of life: `run`. What `direction` waits for may be known to be lost.
    fn went_on(&mut self, direction: Direction, run: &Run<'_>, cx: &mut Context<'_>) {
        let acknowledged = run.acknowledgement();
        while let Some(held) = &self.streams[direction.index()].held {
            let Some(first) = held.pieces.first() else { return };
            let walked_on = held.pieces.iter().any(|p| p.flags & (flags::START | flags::RAW) == flags::START);
            let received = acknowledged.is_some_and(|a| distance(first.sequence, a) > 0);
            if !walked_on && !received {
                return;
            }
            self.resolve(direction, cx);
            self.drain(direction, cx);
        }
        let stream = &mut self.streams[direction.index()];
        if let (State::Head, Some(acknowledged)) = (stream.state, acknowledged)
            && distance(stream.next, acknowledged) > 0
        {
            // The rest of the head was received, and will not be sent again.
            cx.counters.gaps += 1;
            self.cut(direction, IncompleteReason::Gap, cx);
            let stream = &mut self.streams[direction.index()];
            stream.lose(IncompleteReason::Gap);
            stream.next = acknowledged;
        }
    }

    /// Names the first hole of a direction a gap, and goes on behind it.
    pub(crate) fn resolve(&mut self, direction: Direction, cx: &mut Context<'_>) {
        self.resolve_for(IncompleteReason::Gap, direction, cx);
    }

    /// The same, for a reason that holds where the capturing side has named none.
    pub(crate) fn resolve_for(
        &mut self,
        otherwise: IncompleteReason,
        direction: Direction,
        cx: &mut Context<'_>,
    ) {
        let index = direction.index();
        let Some(piece) = self.streams[index].take_held() else { return };
        let run = piece.run();
        let reason = if run.has(flags::LOST) {
            IncompleteReason::RingFull
        } else if run.has(flags::JOINED) {
            IncompleteReason::Joined
        } else {
            otherwise
        };
        let stream = &mut self.streams[index];
        if !stream.synced {
            stream.synced = true;
            stream.next = run.sequence;
            let at_start = self.fresh[index] && reason == otherwise;
            if self.http2.is_some() {
                if !at_start {
                    return self.lose_frames(reason, &run, direction, cx);
                }
            } else if at_start {
                stream.found();
            } else {
                stream.lose(reason);
            }
            self.offer(direction, run, cx);
            return;
        }
        if stream.state == State::Frames {
            return self.lose_frames(reason, &run, direction, cx);
        }
        if matches!(stream.state, State::Chunked(_)) && is_chunked_end(&run) && !run.has(flags::RAW) {
            stream.pass(distance(stream.next, run.sequence).max(0) as u64);
            stream.state = State::Chunked(Walk::behind_unknown(run.bytes));
            self.offer(direction, run, cx);
            return;
        }
        if let State::Length { remaining } = stream.state {
            // The hole holds the rest of the body.
            stream.pass(remaining);
            self.complete(direction, Some(run.time_ns), cx);
        }
        let stream = &mut self.streams[index];
        if !matches!(stream.state, State::Boundary | State::Lost | State::Tunnel) {
            self.cut(direction, reason, cx);
        }
        let stream = &mut self.streams[index];
        if distance(stream.next, run.sequence) > 0 && stream.state != State::Tunnel {
            cx.counters.gaps += 1;
            cx.counters.ring_full_gaps += u64::from(reason == IncompleteReason::RingFull);
            stream.lose(reason);
            stream.next = run.sequence;
        }
        self.offer(direction, run, cx);
    }

    /// Time has passed.
    pub(crate) fn tick(&mut self, now_ns: u64, cx: &mut Context<'_>) {
        if let Some(mut session) = self.tls.take() {
            self.session_tick(&mut session, now_ns, cx);
            self.keep(session);
        }
        for direction in [Direction::Ingress, Direction::Egress] {
            while let Some(held) = &self.streams[direction.index()].held {
                let walked_on =
                    held.pieces.iter().any(|p| p.flags & (flags::START | flags::RAW) == flags::START);
                let patience = if walked_on { START_GRACE_NS } else { cx.limits.hole_age_ns_max };
                if now_ns.saturating_sub(held.since_ns) < patience {
                    break;
                }
                self.resolve(direction, cx);
                self.drain(direction, cx);
            }
        }
        if let Some(front) = self.queue.front()
            && front.probation.is_some_and(|since| now_ns.saturating_sub(since) >= cx.limits.probation_ns)
        {
            self.confirm_front(cx);
        }
    }

    /// A body that was passed over has ended.
    pub(crate) fn body_end(
        &mut self,
        direction: Direction,
        time_ns: u64,
        sequence: u32,
        octets: u64,
        cx: &mut Context<'_>,
    ) {
        self.last_ns = time_ns;
        // What was copied before this end, and is not the last-chunk line, is no part of the body that ends here: the
        // end is not that of the message in progress.
        let begins_before = |p: &Piece| {
            let copied = p.flags & flags::RAW == 0 && !is_chunked_end_or_its_beginning(&p.run());
            (copied || p.flags & flags::START != 0) && distance(p.sequence, sequence) > 0
        };
        while self.streams[direction.index()]
            .held
            .as_ref()
            .is_some_and(|h| h.pieces.iter().any(begins_before))
        {
            self.resolve(direction, cx);
            self.drain(direction, cx);
        }
        let stream = &mut self.streams[direction.index()];
        match stream.state {
            State::Length { remaining } if sequence == stream.next.wrapping_add(remaining as u32) => {
                stream.pass(remaining);
                self.complete(direction, Some(time_ns), cx);
            }
            State::Chunked(_) if distance(stream.next, sequence) >= 0 => {
                stream.octets = Some(octets);
                stream.pass(distance(stream.next, sequence) as u64);
                stream.state = State::Trailers;
            }
            State::Frames => self.frame_end(direction, sequence, time_ns, cx),
            State::Boundary | State::Head | State::SkipHead(_) | State::Lost
                if distance(stream.next, sequence) > 0 =>
            {
                stream.body_end = Some((sequence, octets, time_ns));
            }
            _ => {}
        }
        self.drain(direction, cx);
    }

    /// The capturing side has passed over chunks up to here, and copies the rest.
    pub(crate) fn chunks(
        &mut self,
        direction: Direction,
        time_ns: u64,
        sequence: u32,
        walk: Walk,
        cx: &mut Context<'_>,
    ) {
        self.last_ns = time_ns;
        let stream = &mut self.streams[direction.index()];
        let passed = distance(stream.next, sequence);
        if matches!(stream.state, State::Chunked(_)) && passed >= 0 {
            stream.pass(passed as u64);
            stream.state = State::Chunked(walk);
        }
        self.drain(direction, cx);
    }

    /// A direction is finished (FIN).
    pub(crate) fn finished(
        &mut self,
        direction: Direction,
        time_ns: u64,
        sequence: u32,
        cx: &mut Context<'_>,
    ) {
        self.last_ns = time_ns;
        if let Some(mut session) = self.tls.take() {
            self.session_finished(&mut session, direction, time_ns, sequence, cx);
            return self.keep(session);
        }
        self.finished_run(direction, time_ns, sequence, cx);
    }

    /// The same, of what is spoken.
    pub(crate) fn finished_run(
        &mut self,
        direction: Direction,
        time_ns: u64,
        sequence: u32,
        cx: &mut Context<'_>,
    ) {
        let stream = &mut self.streams[direction.index()];
        let rest = distance(stream.next, sequence);
        match stream.state {
            State::Length { remaining } if sequence == stream.next.wrapping_add(remaining as u32) => {
                stream.pass(remaining);
                self.complete(direction, Some(time_ns), cx);
            }
            State::Length { remaining } if rest > 0 && (rest as u64) < remaining => {
                stream.pass(rest as u64);
                stream.state = State::Length { remaining: remaining - rest as u64 };
            }
            State::Length { remaining } if rest > 0 => {
                // More follows than the body, and was never seen.
                stream.pass(remaining);
                stream.ends_missing = true;
                self.complete(direction, Some(time_ns), cx);
            }
            State::Close => {
                // What was passed over may be more than half the sequence space, but no more than all of it.
                let rest = u64::from(sequence.wrapping_sub(stream.next));
                stream.octets = stream.octets.map(|o| o.saturating_add(rest));
                stream.pass(rest);
                self.complete(direction, Some(time_ns), cx);
            }
            State::Trailers if stream.partial.is_none() && matches!(rest, 2 | 5 | 7) => {
                stream.pass(rest as u64);
                self.complete(direction, Some(time_ns), cx);
            }
            State::Boundary if stream.synced && rest > 0 => stream.ends_missing = true,
            State::Tunnel => self.finish_tunnel(direction, sequence),
            _ => {}
        }
    }

    /// The connection is over: everything held is given out.
    pub(crate) fn close(&mut self, time_ns: u64, reason: CloseReason, cx: &mut Context<'_>) {
        if let Some(session) = self.tls.take() {
            self.session_close(session, cx);
        }
        self.closing = Some(reason);
        let requests = self.request_direction.unwrap_or(Direction::Ingress);
        for direction in [requests, requests.reverse()] {
            while self.streams[direction.index()].held.is_some() {
                self.resolve(direction, cx);
                self.drain(direction, cx);
            }
        }
        if self.http2.is_some() {
            self.end_http2(IncompleteReason::ClosedEarly, cx);
        }
        for direction in [requests, requests.reverse()] {
            self.drop_candidate(direction, cx);
            let stream = &mut self.streams[direction.index()];
            match stream.state {
                State::Boundary | State::Lost | State::Tunnel => {}
                // The rest was passed over in the packet of the head.
                State::Length { remaining }
                    if distance(stream.next, stream.packet_end) >= 0
                        && remaining <= distance(stream.next, stream.packet_end) as u64 =>
                {
                    stream.pass(remaining);
                    self.complete(direction, Some(time_ns), cx);
                }
                State::Close if reason == CloseReason::Fin => self.complete(direction, Some(time_ns), cx),
                _ => self.cut(direction, IncompleteReason::ClosedEarly, cx),
            }
        }
        if self.streams.iter().any(|s| s.ends_missing || s.gap.is_some()) {
            // What was lost at the end may have contradicted the pair on probation.
            self.contradict(None, cx);
        }
        if self.orphan.is_none() {
            self.part_interims(IncompleteReason::ClosedEarly, cx);
        }
        if !self.deaf && self.request_direction.is_none() && self.streams.iter().any(|s| s.refused) {
            cx.counters.other_connections += 1;
        }
        self.give_up_all(cx);
        self.close_tunnel(time_ns, reason, cx);
    }

    /// Tells the capturing side where the next message begins, so that it may walk by itself again.
    fn hint(&mut self, direction: Direction, run: &Run<'_>, cx: &mut Context<'_>) {
        const REACH: u64 = i32::MAX as u64;
        let responses = self.request_direction.is_some_and(|requests| requests != direction);
        let next_frame = self.http2.as_ref().and_then(|http2| http2.next_frame(direction));
        let stream = &mut self.streams[direction.index()];
        // It knows of the requests that came since, but not which of those before are unanswered.
        let answered = usize::from(matches!(stream.state, State::Length { .. }));
        if responses && self.queue.len() > answered {
            return;
        }
        if !(stream.hint_due || stream.state == State::Frames)
            || !run.has(flags::RAW)
            || stream.held.is_some()
        {
            return;
        }
        let sequence = match stream.state {
            State::Frames => match next_frame {
                Some(count) => stream.next.wrapping_add(count as u32),
                None => return,
            },
            State::Boundary => stream.next,
            State::Length { remaining } if remaining <= REACH => stream.next.wrapping_add(remaining as u32),
            _ => return,
        };
        stream.hint_due = false;
        if cx.resyncs.len() < cx.limits.resyncs_max {
            let frames = stream.state == State::Frames;
            cx.resyncs.push(event::Resync { connection: self.id, direction, sequence, frames });
        } else {
            cx.counters.dropped_resyncs += 1;
        }
    }
}

/// The run goes on with the last-chunk line, behind chunk-data that was passed over.
fn is_chunked_end(run: &Run<'_>) -> bool {
    let bytes = run.bytes.strip_prefix(b"\r\n").unwrap_or(run.bytes);
    !run.is_start() && last_chunk_line(bytes).is_some_and(|len| len > 0)
}

/// The same, of which the end may be missing.
fn is_chunked_end_or_its_beginning(run: &Run<'_>) -> bool {
    let bytes = run.bytes.strip_prefix(b"\r\n").unwrap_or(run.bytes);
    !run.is_start() && last_chunk_line(bytes).is_some()
}
