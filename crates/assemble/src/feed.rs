//! The parser of one direction: it walks over runs that are in order, from message to message.

use headtrail_record::event::{Direction, flags};
use headtrail_record::transaction::{Anomaly, IncompleteReason, Side, Version};

use crate::chunked::{Step, Walk, last_chunk_line};
use crate::connection::{Connection, Context};
use crate::head::{self, Kind, Parsed};
use crate::http2::frames;
use crate::run::{Run, distance};
use crate::skip::Skip;
use crate::stream::{EmptyLine, Partial, State};
use crate::weight;

/// First bytes of a head in which its kind is looked for with every run; after them only at line ends.
const EARLY_KIND_BYTES: usize = 64;

/// How a message's head came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Came {
    /// Whole.
    Whole,
    /// Longer than the limit; what is there is its beginning, and the rest follows.
    Truncated,
    /// What is there is its beginning, and nothing follows.
    Cut(IncompleteReason),
}

impl Connection {
    /// Walks over a run that begins at the next byte of its direction.
    pub(crate) fn feed(&mut self, direction: Direction, mut run: Run<'_>, cx: &mut Context<'_>) {
        let index = direction.index();
        let mut begins_packet = self.streams[index].packet_end != run.packet_end;
        self.streams[index].packet_end = run.packet_end;
        let first = begins_packet;
        loop {
            if self.deaf {
                return;
            }
            if self.may_end_before_body(direction, &run, std::mem::take(&mut begins_packet)) {
                let ends = run.is_start() || self.is_answer(direction, &run);
                self.streams[index].octets = ends.then_some(0);
                self.complete(direction, ends.then_some(run.time_ns), cx);
                if !ends && self.streams[index].state == State::Boundary {
                    self.streams[index].lose(IncompleteReason::Gap);
                }
            }
            let soft = self.is_soft(direction);
            let stream = &mut self.streams[index];
            match stream.state {
                State::Tunnel if self.http2.is_some() => return self.seek_frame(direction, run, cx),
                State::Tunnel => {
                    // They are those of a tunnel, if the answer opens one.
                    let octets = stream.octets.unwrap_or(0);
                    stream.octets = Some(octets.saturating_add(run.bytes.len() as u64));
                    stream.pass(run.bytes.len() as u64);
                    return;
                }
                State::Socks => {
                    if !self.pass_socks(direction, &mut run) {
                        self.not_a_message(direction, &mut run, 0, cx);
                    }
                }
                State::Frames => return self.feed_frames(direction, &mut run, cx),
                State::Lost => {
                    if self.begins_for_certain(direction, &run, first) {
                        self.drop_candidate(direction, cx);
                        self.streams[index].found();
                        continue;
                    }
                    if !self.keep_candidate(direction, &run, cx) {
                        cx.counters.stray_bytes += run.bytes.len() as u64;
                    }
                    self.seek_http2(direction, &run, cx);
                    self.streams[index].pass(run.bytes.len() as u64);
                    return;
                }
                State::Boundary => {
                    // Empty lines before a message are no part of it (RFC 9112, 2.2).
                    let blank = run.bytes.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
                    if blank > 0 {
                        let start = run.flags & flags::START;
                        stream.take(&mut run, blank);
                        run.flags |= start;
                    }
                    if run.bytes.is_empty() {
                        return;
                    }
                    stream.at = 0;
                    self.begin_head(direction, &mut run, cx);
                }
                State::Head => self.more_of_head(direction, &mut run, cx),
                State::SkipHead(mut line) => {
                    let end = line.find(run.bytes);
                    let count = end.unwrap_or(run.bytes.len());
                    if let Some(skip) = &mut stream.skip {
                        skip.take(&run.bytes[..count]);
                    }
                    stream.take(&mut run, count);
                    stream.state = State::SkipHead(line);
                    if end.is_some() {
                        self.after_skipped_head(direction, run.time_ns, cx);
                    }
                }
                State::Length { remaining } => {
                    if self.walk_length(direction, &mut run, remaining, soft, cx) {
                        return;
                    }
                }
                State::Chunked(walk) => self.walk_chunks(direction, &mut run, walk),
                State::Trailers => self.more_of_trailers(direction, &mut run, cx),
                State::Close if stream.may_be_body() && run.has(flags::RAW) => {
                    if self.begins_for_certain(direction, &run, first) {
                        self.complete(direction, None, cx);
                        let stream = &mut self.streams[index];
                        stream.gap = stream.gap.or(Some(IncompleteReason::Gap));
                        continue;
                    }
                    self.keep_candidate(direction, &run, cx);
                    self.streams[index].pass(run.bytes.len() as u64);
                    return;
                }
                State::Close => {
                    let rest = if soft { 0 } else { distance(run.end(), run.packet_end).max(0) as u64 };
                    let count = run.bytes.len() as u64 + rest;
                    stream.octets = stream.octets.map(|o| o.saturating_add(count));
                    stream.pass(count);
                    return;
                }
            }
            if run.bytes.is_empty()
                && !matches!(self.streams[index].state, State::Length { .. } | State::Close)
            {
                return;
            }
        }
    }

    /// The framing of a response depends on its request (RFC 9112, 6.3, rule 1), which is not known for sure.
    pub(crate) fn is_soft(&self, direction: Direction) -> bool {
        if self.orphan.is_none() && self.queue.front().is_none_or(|e| e.probation.is_none()) {
            return false;
        }
        self.side(direction) == Side::Response
    }

    /// A response that says that it has a body may have none: what looks like the next one begins where the body
    /// would. Without the capturing side's word for that it must be at the beginning of a packet: what comes in one
    /// packet with the head is its body, whatever it looks like.
    fn may_end_before_body(&self, direction: Direction, run: &Run<'_>, begins_packet: bool) -> bool {
        if !self.is_soft(direction) {
            return false;
        }
        let stream = &self.streams[direction.index()];
        stream.body_untouched()
            && (run.is_start() || (begins_packet && head::kind(run.bytes) == Kind::Response))
    }

    /// True: the run ends within the body.
    fn walk_length(
        &mut self,
        direction: Direction,
        run: &mut Run<'_>,
        remaining: u64,
        soft: bool,
        cx: &mut Context<'_>,
    ) -> bool {
        let stream = &mut self.streams[direction.index()];
        let here = remaining.min(run.bytes.len() as u64);
        stream.take(run, here as usize);
        let mut remaining = remaining - here;
        if remaining > 0 && !soft {
            // What follows in the same packet was passed over, because it is body.
            let rest = (distance(stream.next, run.packet_end).max(0) as u64).min(remaining);
            stream.pass(rest);
            remaining -= rest;
        }
        stream.state = State::Length { remaining };
        if remaining > 0 {
            return true;
        }
        self.complete(direction, Some(run.time_ns), cx);
        run.bytes.is_empty()
    }

    fn walk_chunks(&mut self, direction: Direction, run: &mut Run<'_>, mut walk: Walk) {
        let stream = &mut self.streams[direction.index()];
        let bare_lf = walk.has_bare_lf();
        let step = walk.step(run.bytes);
        match step {
            Step::More => {
                let count = run.bytes.len();
                stream.take(run, count);
                stream.state = State::Chunked(walk);
            }
            Step::Last(count) => {
                stream.take(run, count);
                stream.octets = walk.octets();
                stream.state = State::Trailers;
            }
            Step::Invalid => {
                stream.octets = None;
                stream.state = State::Close;
            }
        }
        let bare_lf = walk.has_bare_lf() && !bare_lf;
        stream.ambiguous |= bare_lf;
        if let Some(exchange) = self.in_progress(direction) {
            if bare_lf {
                exchange.note(Anomaly::BareLf);
            }
            if step == Step::Invalid {
                exchange.note(Anomaly::ChunkInvalid);
            }
        }
    }

    /// At the first byte of a message.
    fn begin_head(&mut self, direction: Direction, run: &mut Run<'_>, cx: &mut Context<'_>) {
        if let Parsed::Whole(head, len) = head::parse(run.bytes, cx.limits)
            && len <= cx.limits.head_bytes_max
        {
            let begin = run.begin();
            self.streams[direction.index()].take(run, len);
            self.begin(direction, head, begin, Came::Whole, run.time_ns, cx);
            return;
        }
        if head::kind(run.bytes) == Kind::Other && head::simple_request(run.bytes).is_none() {
            if self.is_walked_http2(direction, run, cx) {
                run.skip(run.bytes.len());
            } else if !self.speaks_http2(direction, run, 0, cx) && !self.begins_socks(direction, run, cx) {
                self.not_a_message(direction, run, 0, cx);
            }
            return;
        }
        let stream = &mut self.streams[direction.index()];
        stream.partial = Some(Box::new(Partial { bytes: Vec::new(), begin: Some(run.begin()) }));
        stream.state = State::Head;
    }

    /// Within a head whose beginning is kept.
    fn more_of_head(&mut self, direction: Direction, run: &mut Run<'_>, cx: &mut Context<'_>) {
        let limit = cx.limits.head_bytes_max;
        let stream = &mut self.streams[direction.index()];
        let Some(partial) = &mut stream.partial else {
            stream.state = State::Lost;
            return;
        };
        let old = partial.bytes.len();
        let room = limit.saturating_sub(old).min(run.bytes.len());
        let new = &run.bytes[..room];
        partial.bytes.extend_from_slice(new);
        // An empty line may have begun in the two bytes before.
        let end = head::head_end(&partial.bytes, old.saturating_sub(2));
        let full = partial.bytes.len() >= limit;
        let tell = partial.bytes.len() <= EARLY_KIND_BYTES || old == 0 || new.contains(&b'\n') || full;
        if tell && head::kind(&partial.bytes) == Kind::Other {
            if let Some(len) = head::simple_request(&partial.bytes) {
                self.begin_simple(direction, run, (old, len), cx);
            } else if !self.speaks_http2(direction, run, old, cx) {
                self.not_a_message(direction, run, old, cx);
            }
            return;
        }
        if end.is_none() && !full {
            stream.take(run, room);
            return;
        }
        let Some(mut whole) = stream.partial.take() else { return };
        let Some(begin) = whole.begin.take() else { return };
        let len = end.unwrap_or(whole.bytes.len());
        whole.bytes.truncate(len);
        if end.is_none() && head::cut_kind(&whole.bytes) == Kind::Other {
            self.not_a_message(direction, run, old, cx);
            return;
        }
        stream.take(run, len - old);
        let (head, came) = match end {
            Some(_) => (head::read(&whole.bytes, cx.limits), Came::Whole),
            None => (head::split(&whole.bytes, true, cx.limits), Came::Truncated),
        };
        let facts = head.facts;
        self.begin(direction, head, begin, came, run.time_ns, cx);
        if came == Came::Truncated {
            let stream = &mut self.streams[direction.index()];
            if stream.state != State::Lost {
                stream.skip = Some(Box::new(Skip::new(facts, &whole.bytes)));
                stream.state = State::SkipHead(EmptyLine::after(&whole.bytes));
            }
        }
    }

    /// The connection begins with HTTP/2, and goes on with it. `before`: so many bytes of it are kept, those of the run follow.
    fn speaks_http2(
        &mut self,
        direction: Direction,
        run: &Run<'_>,
        before: usize,
        cx: &mut Context<'_>,
    ) -> bool {
        let stream = &self.streams[direction.index()];
        let at_start = self.fresh[direction.index()] || run.is_start();
        let begins = self.request_direction.is_none() && self.number == 0 && at_start;
        let goes_on = self.entered && self.request_direction == Some(direction);
        if !(begins || goes_on) {
            return false;
        }
        let bytes = stream.partial.as_ref().map_or(run.bytes, |partial| &partial.bytes);
        let acknowledgement = run.acknowledgement();
        let requests = if bytes.starts_with(frames::PREFACE_LINE) {
            direction
        } else if before == 0 && !self.entered && frames::begins_with_settings(bytes) {
            direction.reverse()
        } else {
            return false;
        };
        self.decide_role(requests, direction, &run.begin());
        let other = &mut self.streams[direction.reverse().index()];
        if !other.synced && other.base.is_none() {
            other.base = acknowledgement;
        }
        self.begin_http2(requests, if requests == direction { before } else { 0 }, cx);
        true
    }

    /// A request-line without a version, of `len` bytes, of which `old` are those of earlier runs. It is a whole request,
    /// and the last one by HTTP/0.9: what follows it must be proved to be another.
    fn begin_simple(
        &mut self,
        direction: Direction,
        run: &mut Run<'_>,
        (old, len): (usize, usize),
        cx: &mut Context<'_>,
    ) {
        let stream = &mut self.streams[direction.index()];
        let Some(mut whole) = stream.partial.take() else { return };
        let Some(begin) = whole.begin.take() else { return };
        whole.bytes.truncate(len);
        stream.take(run, len.saturating_sub(old));
        let head = head::read(&whole.bytes, cx.limits);
        self.begin(direction, head, begin, Came::Whole, run.time_ns, cx);
        let stream = &mut self.streams[direction.index()];
        stream.unproven = true;
        stream.state = State::Lost;
    }

    /// Behind a head, or a trailer section, that was longer than the limit.
    fn after_skipped_head(&mut self, direction: Direction, time_ns: u64, cx: &mut Context<'_>) {
        let Some(skip) = self.streams[direction.index()].skip.take() else {
            return self.complete(direction, Some(time_ns), cx);
        };
        let body = self.body_behind(direction, skip.facts());
        let connect =
            self.side(direction) == Side::Request && self.in_progress(direction).is_some_and(|e| e.connect);
        self.set_body(direction, body, time_ns, cx);
        if connect {
            self.streams[direction.index()].state = State::Tunnel;
        }
    }

    /// The bytes of a run, and `before` bytes that were kept, are no message.
    fn not_a_message(
        &mut self,
        direction: Direction,
        run: &mut Run<'_>,
        before: usize,
        cx: &mut Context<'_>,
    ) {
        let first = self.entered || (self.request_direction.is_none() && self.number == 0);
        let at_start = self.entered || self.fresh[direction.index()] || run.is_start();
        let acknowledgement = run.acknowledgement();
        let stream = &mut self.streams[direction.index()];
        cx.counters.stray_bytes += (run.bytes.len() + before) as u64;
        stream.partial = None;
        let count = run.bytes.len();
        stream.take(run, count);
        if first && at_start {
            if self.entered {
                self.deaf = true;
                self.streams.iter_mut().for_each(|s| s.held = None);
                self.leave_tunnel();
                return;
            }
            stream.refused = true;
            stream.unproven = true;
            let other = &mut self.streams[direction.reverse().index()];
            if other.refused || other.held.is_some() {
                self.deaf = true;
                self.streams.iter_mut().for_each(|s| s.held = None);
                cx.counters.other_connections += 1;
                return;
            }
            // What answers it may be a message all the same: that of a server that refuses it.
            if !other.synced && other.base.is_none() {
                other.base = acknowledgement;
            }
        }
        // What answers a request of HTTP/0.9 is a body alone (RFC 1945, 5).
        let bare = self.side(direction) == Side::Response
            && self
                .queue
                .front()
                .and_then(|e| e.tx.request.as_ref())
                .is_some_and(|r| r.version == Version::Http09);
        let stream = &mut self.streams[direction.index()];
        stream.unproven |= bare;
        stream.stray = true;
        stream.state = State::Lost;
        // Where the framing was ambiguous the other reading of it may be the true one, and a body still be open.
        stream.unproven |= stream.ambiguous;
        // Whatever led here may have swallowed messages.
        stream.gap = stream.gap.or(Some(IncompleteReason::Gap));
    }

    /// In the trailer section (RFC 9112, 7.1.2), or at the last-chunk line before it where the body was passed over.
    fn more_of_trailers(&mut self, direction: Direction, run: &mut Run<'_>, cx: &mut Context<'_>) {
        let limit = cx.limits.head_bytes_max;
        let stream = &mut self.streams[direction.index()];
        let partial =
            stream.partial.get_or_insert_with(|| Box::new(Partial { bytes: Vec::new(), begin: None }));
        let old = partial.bytes.len();
        let room = limit.saturating_sub(old).min(run.bytes.len());
        partial.bytes.extend_from_slice(&run.bytes[..room]);
        let line = match last_chunk_line(&partial.bytes) {
            Some(0) if partial.bytes.len() < limit => {
                stream.take(run, room);
                return;
            }
            Some(len) => len,
            None => 0,
        };
        let section = &partial.bytes[line..];
        let end = match section {
            [b'\n', ..] => Some(line + 1),
            [b'\r', b'\n', ..] => Some(line + 2),
            _ => head::head_end(&partial.bytes, old.saturating_sub(2).max(line)),
        };
        let Some(end) = end else {
            let full = (partial.bytes.len() >= limit).then(|| EmptyLine::after(&partial.bytes));
            stream.take(run, room);
            if let Some(line) = full {
                stream.partial = None;
                stream.state = State::SkipHead(line);
                let at = stream.at;
                let side = self.side(direction);
                if let Some(exchange) = self.in_progress(direction) {
                    exchange.mark(IncompleteReason::Truncated, side, Some(at));
                }
            }
            return;
        };
        let Some(partial) = stream.partial.take() else { return };
        stream.take(run, end - old);
        if end - line > 2 {
            self.add_trailers(direction, &partial.bytes[line..end], cx);
        }
        self.complete(direction, Some(run.time_ns), cx);
    }

    fn add_trailers(&mut self, direction: Direction, section: &[u8], cx: &Context<'_>) {
        let side = self.side(direction);
        let Some(exchange) = self.in_progress(direction) else { return };
        let message = match side {
            Side::Request => exchange.tx.request.as_mut(),
            Side::Response => exchange.tx.response.as_mut(),
        };
        if let Some(message) = message {
            let before = weight::message(message);
            let named = head::read_trailers(section, &mut message.text, &mut message.trailers, cx.limits);
            let added = weight::message(message) - before;
            named.append_to(&mut exchange.tx.anomalies);
            self.queue_bytes += added;
        }
    }
}
