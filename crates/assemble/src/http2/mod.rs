//! HTTP/2 (RFC 9113): frames, header blocks and streams.
//!
//! | what is seen | what becomes of the transaction |
//! | --- | --- |
//! | fields of the client on a new stream | it begins |
//! | PUSH_PROMISE | it begins on the promised stream, `pushed` |
//! | fields of the server with a 1xx status | an interim response |
//! | other fields | the final response, else trailers |
//! | END_STREAM on both sides | it is given out |
//! | RST_STREAM, or a GOAWAY that leaves the stream out | it is given out as it stands, with `reset` |
//! | the connection's end | the same, `closed_early` |
//! | bytes are missing that are no content | where the next frame of that direction begins is not known until it is found again (`resync`): messages of it that are in progress or come before are missing, with the reason; the other direction goes on |
//!
//! Each stream has one transaction, so there is nothing to guess about which response answers which request. A response
//! whose request was given up stands alone, and says so.

mod fields;
pub(crate) mod frames;
mod joined;
mod resync;

use std::collections::{BTreeMap, VecDeque};

use headtrail_record::event::{Direction, flags};
use headtrail_record::transaction::{Anomaly, IncompleteReason, Line, Message, Reset, Side};

use self::fields::Fields;
use self::frames::{Block, Frames, Header, Step, flag, kind};
use self::joined::Past;
pub(crate) use self::resync::Resync;
use crate::connection::{Connection, Context};
use crate::head::Head;
use crate::pairing::Exchange;
use crate::run::{Begin, Run, distance};
use crate::stream::State;
use crate::weight::{self, ALLOCATION_BYTES};

/// Dynamic table of each direction that is held, octets; entries beyond become unknown.
const TABLE_OCTETS_MAX: usize = 64 * 1024;
/// Streams that were reset lately, of which something may still be on the way.
const RESETS_MAX: usize = 128;
/// Parameter of SETTINGS (RFC 9113, 6.5.2).
const SETTINGS_HEADER_TABLE_SIZE: u16 = 1;

/// A connection that speaks HTTP/2.
pub(crate) struct Http2 {
    /// By the index of the direction.
    frames: [Frames; 2],
    /// By stream id, which grows with time.
    streams: BTreeMap<u32, Box<Exchange>>,
    /// Greatest id of a stream that the client began.
    newest: u32,
    resets: VecDeque<u32>,
    /// Table sizes that an end has set and the other has not acknowledged, by the index of the direction in which they were sent.
    settings: [VecDeque<Option<u32>>; 2],
    /// The place in a direction is lost: why. By its index.
    lost: [Option<IncompleteReason>; 2],
    past: Past,
    /// Streams were given up to save memory.
    shed: bool,
}

impl Http2 {
    pub(crate) fn weight(&self) -> usize {
        size_of::<Self>()
            + ALLOCATION_BYTES
            + self.frames.iter().map(Frames::weight).sum::<usize>()
            + self.streams.len() * 3 * size_of::<(u32, Box<Exchange>)>()
            + weight::vector::<u32>(self.resets.capacity())
            + self.settings.iter().map(|s| weight::vector::<Option<u32>>(s.capacity())).sum::<usize>()
    }

    pub(crate) fn exchanges(&self) -> impl Iterator<Item = &Box<Exchange>> {
        self.streams.values()
    }

    pub(crate) fn exchanges_mut(&mut self) -> impl Iterator<Item = &mut Box<Exchange>> {
        self.streams.values_mut()
    }

    pub(crate) fn holds_streams(&self) -> bool {
        !self.streams.is_empty()
    }

    /// Stream 1 is that of a request in HTTP/1.1. The settings that came with it are not looked at: the server's encoder
    /// may do what it likes.
    pub(crate) fn upgraded(&mut self, requests: Direction, mut exchange: Box<Exchange>) {
        exchange.tx.stream = Some(1);
        self.newest = 1;
        self.streams.insert(1, exchange);
        self.forget_settings(requests);
    }

    pub(crate) fn passable(&self, direction: Direction) -> u64 {
        self.frames[direction.index()].passable()
    }

    /// How far from here the next frame begins, if that is known.
    pub(crate) fn next_frame(&self, direction: Direction) -> Option<u64> {
        self.frames[direction.index()].next_frame()
    }

    pub(crate) fn pass(&mut self, direction: Direction, count: u64) {
        self.frames[direction.index()].pass(count);
    }
}

impl Connection {
    /// HTTP/2 begins. `preface`: so many bytes of the client's preface have come.
    pub(crate) fn begin_http2(&mut self, requests: Direction, preface: usize, cx: &mut Context<'_>) {
        cx.counters.http2_connections += 1;
        let client = Frames::new(Some(preface), TABLE_OCTETS_MAX);
        let server = Frames::new(None, TABLE_OCTETS_MAX);
        let frames = if requests == Direction::Ingress { [client, server] } else { [server, client] };
        for stream in &mut self.streams {
            stream.state = State::Frames;
            stream.partial = None;
        }
        self.http2 = Some(Box::new(Http2 {
            frames,
            streams: BTreeMap::new(),
            newest: 0,
            resets: VecDeque::new(),
            settings: [VecDeque::new(), VecDeque::new()],
            lost: [None; 2],
            past: Past::none(),
            shed: false,
        }));
    }

    /// Walks over a run of frames.
    pub(crate) fn feed_frames(&mut self, direction: Direction, run: &mut Run<'_>, cx: &mut Context<'_>) {
        let index = direction.index();
        let side = self.side(direction);
        loop {
            let Some(http2) = &mut self.http2 else { return };
            let stream = &mut self.streams[index];
            let step =
                http2.frames[index].step(run, cx.limits.head_bytes_max, &mut |run, n| stream.take(run, n));
            let untouched = http2.frames[index].is_untouched();
            match step {
                Step::More if self.pass_rest(direction, run) => {}
                Step::More => return,
                Step::Frame(header, payload, octets) => {
                    self.frame(direction, header, &payload, octets, run.time_ns, cx);
                }
                Step::Block(block) => self.block(direction, block, run.time_ns, cx),
                Step::Broken => cx.counters.http2_blocks_broken += 1,
                Step::NotFrames if side == Side::Request && untouched => {
                    // A server said first that it speaks HTTP/2, and the client does not.
                    return self.leave_http2(direction, run, cx);
                }
                Step::NotFrames => {
                    cx.counters.other_connections += 1;
                    self.end_http2(IncompleteReason::Gap, cx);
                    return;
                }
            }
        }
    }

    /// What follows in the packet was passed over, because nobody looks at it. True: that ended a frame.
    fn pass_rest(&mut self, direction: Direction, run: &Run<'_>) -> bool {
        if run.has(flags::RAW) || !run.bytes.is_empty() {
            return false;
        }
        self.pass_frames(direction, run.packet_end)
    }

    /// Passes over what nobody looks at, at most up to a place. True: that ended a frame.
    fn pass_frames(&mut self, direction: Direction, sequence: u32) -> bool {
        let stream = &mut self.streams[direction.index()];
        let rest = distance(stream.next, sequence).max(0) as u64;
        let Some(http2) = &mut self.http2 else { return false };
        let passable = http2.passable(direction);
        let count = rest.min(passable);
        http2.pass(direction, count);
        stream.pass(count);
        count > 0 && count == passable
    }

    /// What was passed over has ended here, and with it the last frame of a message.
    pub(crate) fn frame_end(
        &mut self,
        direction: Direction,
        sequence: u32,
        time_ns: u64,
        cx: &mut Context<'_>,
    ) {
        if self.pass_frames(direction, sequence) {
            self.feed_frames(direction, &mut Run::empty(sequence, time_ns), cx);
        }
    }

    /// Reads requests as HTTP/1; what the server sends is no answer to them.
    fn leave_http2(&mut self, direction: Direction, run: &mut Run<'_>, cx: &mut Context<'_>) {
        cx.counters.http2_connections -= 1;
        self.http2 = None;
        self.streams[direction.index()].state = State::Boundary;
        self.streams[direction.reverse().index()].lose(IncompleteReason::Gap);
        self.feed(direction, *run, cx);
    }

    fn frame(
        &mut self,
        direction: Direction,
        header: Header,
        payload: &[u8],
        octets: u64,
        time_ns: u64,
        cx: &mut Context<'_>,
    ) {
        let side = self.side(direction);
        let Some(http2) = &mut self.http2 else { return };
        match header.kind {
            kind::DATA => {
                let Some(exchange) = http2.streams.get_mut(&header.stream) else { return };
                if let Some(message) = message_of(exchange, side) {
                    message.body_bytes = message.body_bytes.map(|b| b.saturating_add(octets));
                    message.last_ns = time_ns.max(message.first_ns);
                } else if exchange.barrier.is_none() {
                    exchange.note(Anomaly::FramesInvalid);
                }
                if header.has(flag::END_STREAM) {
                    self.end_side(header.stream, side, time_ns, cx);
                }
            }
            kind::SETTINGS if header.has(flag::ACK) => {
                // It acknowledges the oldest of the other end, and limits the encoder of this one.
                let other = direction.reverse().index();
                if let Some(Some(octets)) = http2.settings[other].pop_front()
                    && !http2.past.unsettled
                {
                    http2.frames[direction.index()].decoder.set_limit(octets);
                }
            }
            kind::SETTINGS => {
                http2.past.settings(direction, payload);
                let parameters = payload.as_chunks::<6>().0;
                let table = parameters
                    .iter()
                    .rev()
                    .find(|p| u16::from_be_bytes([p[0], p[1]]) == SETTINGS_HEADER_TABLE_SIZE);
                let octets = table.map(|p| u32::from_be_bytes([p[2], p[3], p[4], p[5]]));
                let waiting = &mut http2.settings[direction.index()];
                // Nobody waits for so many; then the encoder may do what it likes.
                if waiting.len() < 16 {
                    waiting.push_back(octets);
                }
                if let Some(octets) = octets {
                    // The other end may act on it before its acknowledgement is seen.
                    http2.frames[direction.reverse().index()].decoder.raise_limit(octets);
                }
            }
            kind::RST_STREAM => {
                let Some(code) = payload.first_chunk() else { return };
                let reset = Reset { by: side, error_code: u32::from_be_bytes(*code), goaway: false };
                if http2.resets.len() >= RESETS_MAX {
                    http2.resets.pop_front();
                }
                http2.resets.push_back(header.stream);
                if let Some(exchange) = http2.streams.remove(&header.stream) {
                    self.reset(exchange, reset, cx);
                }
            }
            kind::GOAWAY => {
                let (Some(last), Some(code)) = (payload.first_chunk::<4>(), payload.get(4..8)) else {
                    return;
                };
                let last = u32::from_be_bytes(*last) & 0x7fff_ffff;
                let error_code = code.iter().fold(0, |n, &b| n << 8 | u32::from(b));
                // A server leaves out streams of odd number, a client promised ones.
                let odd = u32::from(side == Side::Response);
                let left_out: Vec<u32> = http2
                    .streams
                    .range(last.saturating_add(1)..)
                    .map(|(&id, _)| id)
                    .filter(|id| id % 2 == odd)
                    .collect();
                for id in left_out {
                    let Some(exchange) = self.http2.as_mut().and_then(|h| h.streams.remove(&id)) else {
                        continue;
                    };
                    self.reset(exchange, Reset { by: side, error_code, goaway: true }, cx);
                }
            }
            _ => {}
        }
    }

    /// A header block has come.
    fn block(&mut self, direction: Direction, block: Block, time_ns: u64, cx: &mut Context<'_>) {
        let side = self.side(direction);
        self.tell_resync(direction, &block);
        let Some(http2) = &mut self.http2 else { return };
        if side == Side::Response && block.promised.is_none() && http2.hides_status(block.stream) {
            return self.behind_hidden_status(direction, block, time_ns, cx);
        }
        let known = http2.streams.get_mut(&block.stream);
        let has_message = known.as_ref().is_some_and(|e| match side {
            Side::Request => e.tx.request.is_some(),
            Side::Response => e.tx.response.is_some(),
        });
        let decoder = &mut http2.frames[direction.index()].decoder;
        if has_message && block.promised.is_none() {
            return self.trailers(direction, block, time_ns, cx);
        }
        let fields = fields::read(decoder, &block.bytes, block.truncated, Vec::new(), cx.limits);
        if http2.resets.contains(&block.stream) {
            cx.counters.stray_bytes += block.bytes.len() as u64;
            return;
        }
        let Block { stream, promised, end_stream, begin, bytes, .. } = block;
        match (side, promised) {
            (Side::Response, Some(promised)) => {
                self.begin_stream(direction.reverse(), promised, fields, begin, bytes.len(), cx);
                if let Some(exchange) = self.http2.as_mut().and_then(|h| h.streams.get_mut(&promised)) {
                    exchange.note(Anomaly::Pushed);
                }
                self.end_side(promised, Side::Request, time_ns, cx);
            }
            (Side::Request, Some(_)) => cx.counters.http2_blocks_broken += 1,
            (Side::Request, None) => {
                if stream <= http2.newest || !http2.opens(direction, stream, &fields) {
                    // The stream is closed, and cannot be used again (RFC 9113, 5.1.1), or its beginning was not seen.
                    cx.counters.stray_bytes += bytes.len() as u64;
                    return;
                }
                http2.newest = stream;
                self.begin_stream(direction, stream, fields, begin, bytes.len(), cx);
                if end_stream {
                    self.end_side(stream, side, time_ns, cx);
                }
            }
            (Side::Response, None) => {
                if http2.responds(direction, stream, &fields) {
                    self.response(direction, (stream, end_stream), fields, begin, bytes.len(), cx);
                } else {
                    cx.counters.stray_bytes += bytes.len() as u64;
                }
                if end_stream {
                    self.end_side(stream, side, time_ns, cx);
                }
            }
        }
    }

    /// A request begins. `requests`: the direction of requests, which is not that of a promise.
    fn begin_stream(
        &mut self,
        requests: Direction,
        stream: u32,
        fields: Fields,
        begin: Begin,
        block_len: usize,
        cx: &mut Context<'_>,
    ) {
        if self.http2.as_ref().is_some_and(|h| h.streams.len() >= cx.limits.streams_max) {
            cx.counters.pending_overflows += 1;
            let oldest = self.http2.as_mut().and_then(|h| {
                h.shed = true;
                h.streams.pop_first()
            });
            if let Some((_, oldest)) = oldest {
                self.break_off(oldest, IncompleteReason::Memory, cx);
            }
        }
        let mut exchange = self.exchange(requests);
        exchange.tx.stream = Some(stream);
        let (unseen, cut) = (fields.unseen, fields.cut);
        mark_fields(&mut exchange, Side::Request, unseen, cut, block_len);
        exchange.barrier =
            self.http2.as_ref().and_then(|h| h.why_unanswered(requests.reverse(), begin.acknowledgement));
        self.first_request = self.first_request.or(Some(begin.sequence));
        let head = fields.request();
        head.facts.anomalies.append_to(&mut exchange.tx.anomalies);
        exchange.tx.request = Some(self.http2_message(head, begin));
        cx.counters.started.requests += 1;
        self.tell_peers(requests, cx);
        let old = self.http2.as_mut().and_then(|h| h.streams.insert(stream, exchange));
        if let Some(old) = old {
            // Promised twice.
            self.break_off(old, IncompleteReason::ClosedEarly, cx);
        }
    }

    /// Fields of a response, interim or final.
    fn response(
        &mut self,
        direction: Direction,
        (stream, end_stream): (u32, bool),
        mut fields: Fields,
        begin: Begin,
        block_len: usize,
        cx: &mut Context<'_>,
    ) {
        let status = fields.status();
        let interim = status.is_some_and(|s| s / 100 == 1) && !end_stream;
        let known = self.http2.as_mut().and_then(|h| h.streams.remove(&stream));
        let shed = self.http2.as_ref().is_some_and(|h| h.shed);
        let lost = self.http2.as_ref().and_then(|h| h.why_unseen(direction.reverse(), stream));
        let mut exchange = known.unwrap_or_else(|| {
            let mut exchange = self.exchange(direction.reverse());
            exchange.tx.stream = Some(stream);
            exchange.request_done = true;
            exchange.mark(IncompleteReason::RequestMissing, Side::Request, None);
            if let Some(reason) = lost {
                exchange.mark(reason, Side::Request, None);
            } else if shed {
                exchange.mark(IncompleteReason::Memory, Side::Request, None);
            } else {
                exchange.note(Anomaly::UnexpectedResponse);
            }
            exchange
        });
        exchange.barrier = None;
        mark_fields(&mut exchange, Side::Response, fields.unseen, fields.cut, block_len);
        let head = fields.response(status);
        head.facts.anomalies.append_to(&mut exchange.tx.anomalies);
        let message = self.http2_message(head, begin);
        if interim {
            self.queue_bytes += weight::interim(&message) - weight::message(&message);
            exchange.tx.interim.push(message);
        } else {
            exchange.tx.response = Some(message);
            cx.counters.started.responses += 1;
            if !end_stream && exchange.is_long() {
                self.tell_start(&mut exchange, cx);
            }
        }
        if let Some(http2) = &mut self.http2 {
            http2.streams.insert(stream, exchange);
        }
    }

    fn http2_message(&mut self, head: Head, begin: Begin) -> Message {
        let mut message = self.message(head, begin);
        message.body_bytes = Some(0);
        message
    }

    /// Fields behind a message.
    fn trailers(&mut self, direction: Direction, block: Block, time_ns: u64, cx: &mut Context<'_>) {
        let side = self.side(direction);
        let Some(http2) = &mut self.http2 else { return };
        let Some(exchange) = http2.streams.get_mut(&block.stream) else { return };
        let Some(message) = message_of(exchange, side) else { return };
        let before = weight::message(message);
        let room = cx.limits.field_lines_max.saturating_sub(message.trailers.len());
        let text = std::mem::take(&mut message.text);
        let decoder = &mut http2.frames[direction.index()].decoder;
        let fields = fields::read(decoder, &block.bytes, block.truncated, text, cx.limits);
        let pseudo = fields.has_pseudo();
        let Fields { text, mut lines, anomalies, unseen, cut } = fields;
        let too_many = lines.len() > room;
        lines.truncate(room);
        message.text = text;
        message.trailers.extend_from_slice(&lines);
        message.last_ns = time_ns.max(message.first_ns);
        let added = weight::message(message) as isize - before as isize;
        self.queue_bytes = self.queue_bytes.saturating_add_signed(added);
        let mut named = anomalies;
        if pseudo {
            named.add(Anomaly::PseudoFieldsInvalid);
        }
        if too_many {
            named.add(Anomaly::TooManyLines);
        }
        named.append_to(&mut exchange.tx.anomalies);
        mark_fields(exchange, side, unseen, cut, block.bytes.len());
        if block.end_stream {
            self.end_side(block.stream, side, time_ns, cx);
        }
    }

    /// A message has ended.
    fn end_side(&mut self, stream: u32, side: Side, time_ns: u64, cx: &mut Context<'_>) {
        let Some(http2) = &mut self.http2 else { return };
        let Some(exchange) = http2.streams.get_mut(&stream) else { return };
        match side {
            Side::Request => exchange.request_done = true,
            Side::Response => exchange.response_done = true,
        }
        if let Some(message) = message_of(exchange, side) {
            message.last_ns = time_ns.max(message.first_ns);
        }
        let responses = exchange.tx.request_direction.reverse();
        if let (Side::Request, Some(reason)) = (side, http2.lost[responses.index()]) {
            return self.miss(stream, Side::Response, reason, cx);
        }
        if exchange.request_done
            && exchange.response_done
            && let Some(exchange) = http2.streams.remove(&stream)
        {
            self.emit_stream(exchange, cx);
        }
    }

    fn reset(&mut self, mut exchange: Box<Exchange>, reset: Reset, cx: &mut Context<'_>) {
        exchange.tx.reset = Some(reset);
        self.break_off(exchange, IncompleteReason::ClosedEarly, cx);
    }

    /// Gives out a transaction that does not become whole.
    fn break_off(&mut self, mut exchange: Box<Exchange>, reason: IncompleteReason, cx: &mut Context<'_>) {
        if !exchange.request_done && exchange.tx.request.is_some() {
            exchange.mark(reason, Side::Request, None);
        }
        if !exchange.response_done && exchange.tx.response.is_some() {
            exchange.mark(reason, Side::Response, None);
        }
        if exchange.tx.response.is_none() && reason != IncompleteReason::ClosedEarly {
            exchange.mark(reason, Side::Response, None);
        }
        self.emit_stream(exchange, cx);
    }

    fn emit_stream(&mut self, mut exchange: Box<Exchange>, cx: &mut Context<'_>) {
        if exchange.tx.response.is_none() {
            exchange.mark(IncompleteReason::ResponseMissing, Side::Response, None);
            if let Some(reason) = exchange.barrier {
                mark_once(&mut exchange, reason, Side::Response);
            }
        }
        self.emit(exchange, cx);
    }

    /// Gives out everything; nothing more of the connection is understood.
    pub(crate) fn end_http2(&mut self, reason: IncompleteReason, cx: &mut Context<'_>) {
        self.give_up_streams(reason, cx);
        self.http2 = None;
        self.resync = None;
        self.deaf = true;
        for stream in &mut self.streams {
            stream.state = State::Tunnel;
            stream.held = None;
        }
    }

    /// Gives out everything; the frames go on.
    pub(crate) fn give_up_streams(&mut self, reason: IncompleteReason, cx: &mut Context<'_>) -> usize {
        let Some(http2) = &mut self.http2 else { return 0 };
        http2.shed |= reason == IncompleteReason::Memory;
        let streams = std::mem::take(&mut http2.streams);
        let count = streams.len();
        for exchange in streams.into_values() {
            self.break_off(exchange, reason, cx);
        }
        count
    }

    /// Bytes are missing, and where the next frame begins is not known.
    pub(crate) fn lose_frames(
        &mut self,
        reason: IncompleteReason,
        run: &Run<'_>,
        direction: Direction,
        cx: &mut Context<'_>,
    ) {
        let index = direction.index();
        if distance(self.streams[index].next, run.sequence) > 0 {
            cx.counters.gaps += 1;
            cx.counters.ring_full_gaps += u64::from(reason == IncompleteReason::RingFull);
        }
        cx.counters.http2_lost += 1;
        self.streams[index].state = State::Tunnel;
        self.streams[index].next = run.sequence;
        let side = self.side(direction);
        let Some(http2) = &mut self.http2 else { return };
        http2.lost[index] = Some(reason);
        http2.forget_settings(direction);
        let streams: Vec<u32> = http2.streams.keys().copied().collect();
        for stream in streams {
            self.miss(stream, side, reason, cx);
        }
        self.seek_frame(direction, *run, cx);
    }

    /// Nothing more of a message is seen.
    fn miss(&mut self, stream: u32, side: Side, reason: IncompleteReason, cx: &mut Context<'_>) {
        let Some(http2) = &mut self.http2 else { return };
        let Some(exchange) = http2.streams.get_mut(&stream) else { return };
        let done = match side {
            Side::Request => &mut exchange.request_done,
            Side::Response => &mut exchange.response_done,
        };
        if !std::mem::replace(done, true) {
            exchange.mark(reason, side, None);
        }
        if side == Side::Response {
            exchange.barrier = Some(reason);
        }
        if exchange.request_done
            && exchange.response_done
            && let Some(exchange) = http2.streams.remove(&stream)
        {
            self.emit_stream(exchange, cx);
        }
    }
}

fn message_of(exchange: &mut Exchange, side: Side) -> Option<&mut Message> {
    match side {
        Side::Request => exchange.tx.request.as_mut(),
        Side::Response => exchange.tx.response.as_mut(),
    }
}

fn mark_once(exchange: &mut Exchange, reason: IncompleteReason, side: Side) {
    if !exchange.tx.incomplete.iter().any(|i| i.reason == reason && i.side == side) {
        exchange.mark(reason, side, None);
    }
}

fn mark_fields(exchange: &mut Exchange, side: Side, unseen: bool, cut: bool, block_len: usize) {
    if unseen {
        mark_once(exchange, IncompleteReason::HpackUnknown, side);
    }
    if cut {
        exchange.mark(IncompleteReason::Truncated, side, Some(block_len as u64));
    }
}

/// A response says that the connection goes on with HTTP/2 (RFC 7540, 3.2; RFC 9113 has taken it out, but it is in use).
pub(crate) fn upgrades(response: &Message) -> bool {
    let says = |line: &Line| {
        line.name.get(&response.text).eq_ignore_ascii_case(b"upgrade")
            && line.value.get(&response.text).trim_ascii().eq_ignore_ascii_case(b"h2c")
    };
    response.lines.iter().any(says)
}
