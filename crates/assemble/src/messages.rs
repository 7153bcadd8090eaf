//! The life of a message within its exchange: begun, complete or cut, given out.

use headtrail_record::event::Direction;
use headtrail_record::packet::endpoints;
use headtrail_record::transaction::{
    Anomaly, IncompleteReason, Message, Phase, RawTransaction, Role, Side, StartLine,
};

use crate::chunked::Walk;
use crate::connection::{Connection, Context};
use crate::feed::Came;
use crate::framing::{Body, Facts, request_body, response_body};
use crate::head::{self, Head, Kind};
use crate::http2;
use crate::pairing::{Exchange, Target};
use crate::proof::Turn;
use crate::run::{Begin, distance};
use crate::stream::State;
use crate::weight::{self, EXCHANGE_BYTES};

pub(crate) const SWITCHING_PROTOCOLS: u16 = 101;

impl Connection {
    pub(crate) fn side(&self, direction: Direction) -> Side {
        if self.request_direction == Some(direction) { Side::Request } else { Side::Response }
    }

    /// The exchange whose message is being read in a direction.
    pub(crate) fn in_progress(&mut self, direction: Direction) -> Option<&mut Exchange> {
        let exchange = match self.side(direction) {
            Side::Request => self.queue.back_mut().filter(|e| !e.request_done),
            Side::Response if self.orphan.is_some() => {
                self.orphan.as_mut().filter(|e| e.tx.response.is_some())
            }
            Side::Response => self.queue.front_mut().filter(|e| e.tx.response.is_some() && !e.response_done),
        };
        exchange.map(|e| &mut **e)
    }

    /// A head has been read.
    pub(crate) fn begin(
        &mut self,
        direction: Direction,
        head: Head,
        begin: Begin,
        came: Came,
        time_ns: u64,
        cx: &mut Context<'_>,
    ) {
        let is_request = matches!(head.start, StartLine::Request { .. });
        if self.request_direction.is_none() {
            self.decide_role(if is_request { direction } else { direction.reverse() }, direction, &begin);
        }
        let index = direction.index();
        if (self.request_direction == Some(direction)) != is_request {
            // A request among responses, or the other way round.
            cx.counters.stray_bytes += head.text.len() as u64;
            let stream = &mut self.streams[index];
            stream.stray = true;
            stream.unproven |= stream.ambiguous;
            stream.state = State::Lost;
            stream.gap = stream.gap.or(Some(IncompleteReason::Gap));
            return;
        }
        let other = &mut self.streams[direction.reverse().index()];
        if !other.synced && other.base.is_none() {
            other.base = begin.acknowledgement;
        }
        let stream = &mut self.streams[index];
        stream.hint_due = true;
        let mut named = head.facts.anomalies;
        if std::mem::take(&mut stream.stray) {
            named.add(Anomaly::StrayBytes);
        }
        if std::mem::take(&mut stream.overlap_differs) {
            named.add(Anomaly::OverlapDiffers);
        }
        stream.ambiguous = head.facts.is_ambiguous();
        let mut head = head;
        head.facts.anomalies = named;
        if is_request {
            self.begin_request(direction, head, begin, came, time_ns, cx);
        } else {
            self.begin_response(direction, head, begin, came, time_ns, cx);
        }
    }

    pub(crate) fn decide_role(&mut self, requests: Direction, direction: Direction, begin: &Begin) {
        self.request_direction = Some(requests);
        if let Some((from, to)) = endpoints(begin.headers.as_slice()) {
            let client_sent = requests == direction;
            self.source = if client_sent { from } else { to };
            self.destination = if client_sent { to } else { from };
        }
    }

    pub(crate) fn exchange(&mut self, requests: Direction) -> Box<Exchange> {
        let number = self.next_number();
        self.queue_bytes += EXCHANGE_BYTES;
        Box::new(Exchange {
            tx: RawTransaction {
                connection: self.id,
                number,
                netns: self.netns,
                source: self.source,
                destination: self.destination,
                role: if requests == Direction::Ingress { Role::Server } else { Role::Client },
                request_direction: requests,
                request: None,
                interim: Vec::new(),
                response: None,
                process: None,
                peer_process: None,
                incomplete: Vec::new(),
                anomalies: Vec::new(),
                stream: None,
                reset: None,
                tls: None,
                phase: Phase::Whole,
                close: None,
            },
            request_done: false,
            response_done: false,
            acknowledgement: None,
            barrier: None,
            probation: None,
            told_by_twin: false,
            head: false,
            connect: false,
        })
    }

    pub(crate) fn next_number(&mut self) -> u32 {
        let number = self.number;
        self.number = self.number.wrapping_add(1);
        number
    }

    fn begin_request(
        &mut self,
        direction: Direction,
        head: Head,
        begin: Begin,
        came: Came,
        time_ns: u64,
        cx: &mut Context<'_>,
    ) {
        if let Some(acknowledgement) = begin.acknowledgement {
            // When the response ended is not known: the client may have taken its time before this request.
            self.was_received(direction.reverse(), acknowledgement, None, cx);
        }
        self.confirm(begin.acknowledgement, cx);
        let index = direction.index();
        if self.sees_pipelining(begin.acknowledgement) {
            self.pipelined = true;
        }
        let barrier = self.barrier(index, &begin);
        if self.queue.len() >= cx.limits.pending_transactions_max {
            self.give_up_oldest(cx);
        }
        let mut facts = head.facts;
        let mut body = request_body(&mut facts);
        let mut exchange = self.exchange(direction);
        exchange.acknowledgement = begin.acknowledgement;
        exchange.barrier = barrier;
        if let StartLine::Request { method, .. } = head.start {
            exchange.head = method.get(&head.text) == b"HEAD";
            exchange.connect = method.get(&head.text) == b"CONNECT";
        }
        facts.anomalies.append_to(&mut exchange.tx.anomalies);
        let connect = exchange.connect;
        if connect {
            body = Body::None;
        }
        exchange.tx.request = Some(self.message(head, begin));
        self.queue.push_back(exchange);
        cx.counters.started.requests += 1;
        self.tell_peers(direction, cx);
        self.after_head(direction, body, came, time_ns, cx);
        if connect && came == Came::Whole {
            // What follows is HTTP only if the answer is a refusal (RFC 9110, 9.3.6).
            self.streams[index].state = State::Tunnel;
        }
    }

    /// The server end may be on this host too, and its record is the one that is kept.
    pub(crate) fn tell_peers(&mut self, requests: Direction, cx: &mut Context<'_>) {
        if requests == Direction::Egress
            && let Some(process) = self.process
            && !std::mem::replace(&mut self.told_as_peer, true)
        {
            let sequence = self.first_request.unwrap_or_default();
            cx.peers.add(self.netns, self.source, self.destination, sequence, process);
        }
    }

    /// Requests before this one may be missing: why.
    fn barrier(&mut self, index: usize, begin: &Begin) -> Option<IncompleteReason> {
        let gap = self.streams[index].gap.take();
        let first = self.first_request.is_none();
        self.first_request = self.first_request.or(Some(begin.sequence));
        // Of a connection that was joined earlier requests may still be unanswered.
        let joined = first && !self.fresh[index] && begin.acknowledgement.is_some();
        let Some(reason) = gap else { return joined.then(|| self.why_joined()) };
        if begin.acknowledgement.is_some()
            && begin.acknowledgement == self.last_response_end
            && self.last_response_acknowledges.is_some_and(|a| distance(a, begin.sequence) > 0)
        {
            // Another request was sent behind what the last response answers, and the client did not wait for an
            // answer to it.
            self.pipelined = true;
        }
        Some(reason)
    }

    fn begin_response(
        &mut self,
        direction: Direction,
        head: Head,
        begin: Begin,
        came: Came,
        time_ns: u64,
        cx: &mut Context<'_>,
    ) {
        let StartLine::Status { status, .. } = head.start else { return };
        let index = direction.index();
        if let Some(reason) = self.streams[index].gap.take() {
            self.lost_responses(reason, cx);
        }
        let interim = status / 100 == 1 && status != SWITCHING_PROTOCOLS;
        if self.orphan.is_none() {
            self.choose(direction, &begin, cx);
        }
        let acknowledgement = begin.acknowledgement;
        if !interim {
            self.begun_acknowledges = acknowledgement;
        }
        if let Some(acknowledgement) = acknowledgement {
            self.was_received(direction.reverse(), acknowledgement, Some(begin.first_ns), cx);
        }
        let mut facts = head.facts;
        let message = self.message(head, begin);
        let at = self.streams[index].at;
        let Some(exchange) = self.orphan.as_mut().or(self.queue.front_mut()) else { return };
        if interim {
            facts.anomalies.append_to(&mut exchange.tx.anomalies);
            self.queue_bytes += weight::interim(&message) - weight::message(&message);
            exchange.tx.interim.push(message);
            match came {
                Came::Whole => {}
                Came::Truncated => exchange.mark(IncompleteReason::Truncated, Side::Response, Some(at)),
                Came::Cut(reason) => exchange.mark(reason, Side::Response, Some(at)),
            }
            self.streams[index].state = State::Boundary;
            return;
        }
        let mut body = response_body(&mut facts, status, exchange.head);
        facts.anomalies.append_to(&mut exchange.tx.anomalies);
        if opens_tunnel(exchange, status) {
            body = Body::None;
        }
        exchange.tx.response = Some(message);
        if self.orphan.is_none() {
            self.last_response_acknowledges = acknowledgement;
        }
        cx.counters.started.responses += 1;
        if came == Came::Whole && !matches!(body, Body::None | Body::Length(0)) {
            self.tell_event_stream(cx);
        }
        self.after_head(direction, body, came, time_ns, cx);
    }

    /// Responses, or parts of them, were lost before the one that begins now.
    fn lost_responses(&mut self, reason: IncompleteReason, cx: &mut Context<'_>) {
        self.response_gap = Some(reason);
        let interim = self.orphan.as_ref().is_some_and(|e| e.tx.response.is_none());
        if std::mem::take(&mut self.owed) > 0 || interim {
            self.queue.iter_mut().for_each(|e| e.barrier = Some(reason));
        }
        self.part_interims(reason, cx);
    }

    /// Gives out interim responses whose final one is lost: what follows does not belong to them. Those of a pair on
    /// probation may answer a request that was never seen.
    pub(crate) fn part_interims(&mut self, reason: IncompleteReason, cx: &mut Context<'_>) {
        let requests = self.request_direction.unwrap_or(Direction::Ingress);
        let mut alone = self.orphan.take();
        if alone.is_none()
            && self
                .queue
                .front()
                .is_some_and(|e| e.probation.is_some() && !e.response_done && e.is_answered())
        {
            let mut exchange = self.exchange(requests);
            exchange.request_done = true;
            exchange.mark(IncompleteReason::RequestMissing, Side::Request, None);
            if let Some(front) = self.queue.front_mut() {
                exchange.tx.interim = std::mem::take(&mut front.tx.interim);
                front.probation = None;
                front.barrier = Some(reason);
            }
            alone = Some(exchange);
        }
        if let Some(mut exchange) = alone {
            exchange.mark(IncompleteReason::ResponseMissing, Side::Response, None);
            exchange.mark(reason, Side::Response, None);
            self.emit(exchange, cx);
        }
    }

    /// Finds the exchange that a response belongs to, or makes one.
    fn choose(&mut self, direction: Direction, begin: &Begin, cx: &mut Context<'_>) {
        let target = self.target(begin.sequence, begin.acknowledgement);
        match target {
            Target::Front => self.response_gap = None,
            Target::BackOnProbation => {
                while self.queue.len() > 1 {
                    let Some(exchange) = self.queue.pop_front() else { break };
                    self.unanswered(exchange, cx);
                }
                if let Some(back) = self.queue.back_mut() {
                    back.barrier = None;
                    back.probation = Some(begin.first_ns);
                }
                self.response_gap = None;
            }
            Target::None | Target::Owed => {
                self.contradict(begin.acknowledgement, cx);
                let requests = direction.reverse();
                let mut exchange = self.exchange(requests);
                exchange.request_done = true;
                exchange.mark(IncompleteReason::RequestMissing, Side::Request, None);
                let barrier = self.queue.iter().find_map(|e| e.barrier);
                if target == Target::Owed {
                    // The final response, if this is an interim one, finds the exchange that is made here.
                    self.owed -= 1;
                    if self.shed {
                        exchange.mark(IncompleteReason::Memory, Side::Request, None);
                        self.shed = self.owed > 0;
                    }
                } else if !self.fresh[0] && !self.fresh[1] && self.first_request.is_none() {
                    exchange.mark(self.why_joined(), Side::Request, None);
                } else if let Some(reason) = self.response_gap.or(barrier) {
                    exchange.mark(reason, Side::Request, None);
                } else if self.streams[requests.index()].refused && self.first_request.is_none() {
                    // It answers bytes that are no request.
                    exchange.note(Anomaly::StrayBytes);
                } else if begin.acknowledgement.is_some() && self.hides_requests(begin.acknowledgement) {
                    // The sender had received more of the requests than was seen.
                    exchange.mark(IncompleteReason::Gap, Side::Request, None);
                } else {
                    exchange.note(Anomaly::UnexpectedResponse);
                }
                self.orphan = Some(exchange);
            }
        }
    }

    /// A message begins in a packet that acknowledges the whole of the one that the other direction is in: its body
    /// is complete, whether its end was told or not.
    fn was_received(
        &mut self,
        direction: Direction,
        acknowledged: u32,
        time_ns: Option<u64>,
        cx: &mut Context<'_>,
    ) {
        let alone = self.orphan.is_some();
        let stream = &mut self.streams[direction.index()];
        if alone
            && !self.pipelined
            && time_ns.is_none()
            && stream.next == acknowledged
            && stream.body_untouched()
        {
            // The client goes on without the body that the response announces: it had asked for the head.
            stream.octets = Some(0);
            self.complete(direction, None, cx);
            return;
        }
        if let State::Length { remaining } = stream.state
            && remaining <= i32::MAX as u64
            && stream.held.is_none()
            && distance(stream.next.wrapping_add(remaining as u32), acknowledged) >= 0
        {
            stream.pass(remaining);
            self.complete(direction, time_ns, cx);
        }
    }

    pub(crate) fn message(&mut self, head: Head, begin: Begin) -> Message {
        let message = Message {
            text: head.text,
            start: head.start,
            version: head.version,
            lines: head.lines,
            trailers: Vec::new(),
            body_bytes: None,
            headers: begin.headers,
            segments: begin.segments,
            frame: begin.frame,
            sequence: begin.wire,
            first_ns: begin.first_ns,
            last_ns: begin.first_ns,
        };
        self.queue_bytes += weight::message(&message);
        self.look_again(message.first_ns);
        message
    }

    fn after_head(
        &mut self,
        direction: Direction,
        body: Body,
        came: Came,
        time_ns: u64,
        cx: &mut Context<'_>,
    ) {
        let at = self.streams[direction.index()].at;
        let side = self.side(direction);
        let reason = match came {
            Came::Whole => return self.set_body(direction, body, time_ns, cx),
            Came::Truncated => IncompleteReason::Truncated,
            Came::Cut(reason) => reason,
        };
        if let Some(exchange) = self.in_progress(direction) {
            exchange.mark(reason, side, Some(at));
        }
    }

    /// The body behind a head that was longer than the limit, by what all of its lines say.
    pub(crate) fn body_behind(&mut self, direction: Direction, mut facts: Facts) -> Body {
        self.streams[direction.index()].ambiguous = facts.is_ambiguous();
        let side = self.side(direction);
        let Some(exchange) = self.in_progress(direction) else { return Body::None };
        let status = exchange.tx.response.as_ref().and_then(Message::status).unwrap_or_default();
        let body = match side {
            Side::Request => request_body(&mut facts),
            Side::Response => response_body(&mut facts, status, exchange.head),
        };
        let none = if side == Side::Request { exchange.connect } else { opens_tunnel(exchange, status) };
        facts.anomalies.append_to(&mut exchange.tx.anomalies);
        if none { Body::None } else { body }
    }

    /// A head has ended; its body follows.
    pub(crate) fn set_body(&mut self, direction: Direction, body: Body, time_ns: u64, cx: &mut Context<'_>) {
        let stream = &mut self.streams[direction.index()];
        stream.octets = Some(0);
        stream.state = match body {
            Body::None | Body::Length(0) => return self.complete(direction, Some(time_ns), cx),
            Body::Length(remaining) => {
                stream.octets = Some(remaining);
                State::Length { remaining }
            }
            Body::Chunked => State::Chunked(Walk::new()),
            Body::Close => State::Close,
            Body::Unknown => {
                stream.octets = None;
                State::Close
            }
        };
    }

    /// The message in progress has ended: at `time_ns`, or nobody knows when.
    pub(crate) fn complete(&mut self, direction: Direction, time_ns: Option<u64>, cx: &mut Context<'_>) {
        let side = self.side(direction);
        let stream = &mut self.streams[direction.index()];
        stream.state = State::Boundary;
        stream.partial = None;
        stream.skip = None;
        stream.hint_due = true;
        let octets = stream.octets.take();
        let end = stream.next;
        let differs = std::mem::take(&mut stream.overlap_differs);
        let acknowledged = self.begun_acknowledges;
        let Some(exchange) = self.in_progress(direction) else { return };
        if differs {
            exchange.note(Anomaly::OverlapDiffers);
        }
        let message = match side {
            Side::Request => exchange.tx.request.as_mut(),
            Side::Response => exchange.tx.response.as_mut(),
        };
        let Some(message) = message else { return };
        message.body_bytes = octets;
        if let Some(time_ns) = time_ns {
            message.last_ns = time_ns.max(message.first_ns);
        }
        match side {
            Side::Request => exchange.request_done = true,
            Side::Response => {
                exchange.response_done = true;
                let status = message.status().unwrap_or_default();
                let (tunnel, connect) = (opens_tunnel(exchange, status), exchange.connect);
                let whole = exchange.tx.incomplete.iter().all(|i| i.side != Side::Response);
                self.turn = acknowledged.filter(|_| whole).map(|acknowledged| Turn { end, acknowledged });
                if self.orphan.is_none() {
                    self.last_response_end = whole.then_some(end);
                }
                if tunnel && self.orphan.is_none() && self.goes_on_with_http2(direction.reverse(), cx) {
                    return;
                }
                if tunnel {
                    self.become_tunnel(cx);
                } else if connect && self.orphan.is_none() {
                    let requests = &mut self.streams[direction.reverse().index()];
                    if requests.state == State::Tunnel {
                        requests.state = State::Boundary;
                    }
                }
                if let Some(orphan) = self.orphan.take() {
                    self.emit(orphan, cx);
                }
            }
        }
        self.pump(cx);
    }

    /// The response at the front says that HTTP/2 follows: its request is the one of stream 1 (RFC 7540, 3.2).
    fn goes_on_with_http2(&mut self, requests: Direction, cx: &mut Context<'_>) -> bool {
        let upgrades = |e: &Exchange| e.request_done && e.tx.response.as_ref().is_some_and(http2::upgrades);
        if self.queue.len() != 1 || !self.queue.front().is_some_and(|e| upgrades(e)) {
            return false;
        }
        let Some(mut exchange) = self.queue.pop_front() else { return false };
        if let Some(response) = exchange.tx.response.take() {
            cx.counters.started.responses -= 1;
            self.queue_bytes += weight::interim(&response) - weight::message(&response);
            exchange.tx.interim.push(response);
        }
        exchange.response_done = false;
        self.begin_http2(requests, 0, cx);
        if let Some(http2) = &mut self.http2 {
            http2.upgraded(requests, exchange);
        }
        true
    }

    /// Nothing more of the connection is HTTP (RFC 9110, 7.8 and 9.3.6).
    fn become_tunnel(&mut self, cx: &mut Context<'_>) {
        cx.counters.tunnels += 1;
        self.deaf = true;
        for stream in &mut self.streams {
            stream.state = State::Tunnel;
            stream.held = None;
            stream.partial = None;
            stream.candidate = None;
        }
        let exchange = self.orphan.take().or_else(|| self.queue.pop_front_if(|e| e.probation.is_none()));
        if let Some(exchange) = exchange {
            self.begin_tunnel(exchange, cx);
        }
        if let Some(front) = self.queue.front_mut() {
            front.request_done = true;
        }
    }

    /// The message in progress breaks off.
    pub(crate) fn cut(&mut self, direction: Direction, reason: IncompleteReason, cx: &mut Context<'_>) {
        let stream = &mut self.streams[direction.index()];
        let at = stream.at;
        if stream.state == State::Head {
            stream.state = State::Lost;
            let Some(mut partial) = stream.partial.take() else { return };
            let Some(begin) = partial.begin.take() else { return };
            if head::cut_kind(&partial.bytes) == Kind::Other {
                cx.counters.stray_bytes += partial.bytes.len() as u64;
                return;
            }
            let head = head::split(&partial.bytes, true, cx.limits);
            self.begin(direction, head, begin, Came::Cut(reason), 0, cx);
            self.streams[direction.index()].octets = None;
            self.complete(direction, None, cx);
            return;
        }
        stream.octets = None;
        let side = self.side(direction);
        if let Some(exchange) = self.in_progress(direction) {
            exchange.mark(reason, side, Some(at));
        }
        self.complete(direction, None, cx);
    }

    /// The client takes the pair on probation for one too: it sends its next request, and has received just what was
    /// seen.
    fn confirm(&mut self, acknowledgement: Option<u32>, cx: &mut Context<'_>) {
        let (Some(acknowledged), Some(requests)) = (acknowledgement, self.request_direction) else { return };
        let responses = &self.streams[requests.reverse().index()];
        let beyond = distance(responses.next, acknowledged);
        if beyond > 0 || responses.gap.is_some() || responses.state == State::Lost {
            self.contradict(None, cx);
        } else if beyond == 0 {
            self.confirm_front(cx);
        }
    }

    /// The pair on probation is one, unless its response was cut, which may hide where another one began.
    pub(crate) fn confirm_front(&mut self, cx: &mut Context<'_>) {
        let Some(front) = self.queue.front_mut().filter(|e| e.probation.is_some() && e.response_done) else {
            return;
        };
        if front.tx.incomplete.iter().any(|i| i.side == Side::Response) {
            self.contradict(None, cx);
        } else {
            front.probation = None;
            self.pump(cx);
        }
    }

    /// One response too many: the pair on probation may not be one.
    pub(crate) fn contradict(&mut self, acknowledgement: Option<u32>, cx: &mut Context<'_>) {
        if !self.queue.front().is_some_and(|e| e.probation.is_some() && e.response_done) {
            return;
        }
        // A lost request explains it too; but then nothing confirms the pair any more.
        self.pipelined |= !self.hides_requests(acknowledgement);
        self.part(IncompleteReason::Gap, cx);
    }

    /// Gives out the pair at the front as two halves: nothing will confirm it any more.
    pub(crate) fn part(&mut self, reason: IncompleteReason, cx: &mut Context<'_>) {
        let Some(mut first) = self.queue.pop_front() else { return };
        let mut second = self.exchange(first.tx.request_direction);
        second.tx.response = first.tx.response.take();
        second.tx.interim = std::mem::take(&mut first.tx.interim);
        second.tx.incomplete.clone_from(&first.tx.incomplete);
        first.tx.incomplete.retain(|i| i.side == Side::Request);
        second.tx.incomplete.retain(|i| i.side == Side::Response);
        first.mark(IncompleteReason::ResponseMissing, Side::Response, None);
        first.mark(reason, Side::Response, None);
        second.mark(IncompleteReason::RequestMissing, Side::Request, None);
        second.mark(reason, Side::Request, None);
        self.emit(first, cx);
        self.emit(second, cx);
        // Which of the two answers what follows is open as well.
        self.response_gap = self.response_gap.or(Some(reason));
    }

    /// Gives out what is complete, in order.
    pub(crate) fn pump(&mut self, cx: &mut Context<'_>) {
        while self.queue.front().is_some_and(|e| e.request_done && e.response_done && e.probation.is_none()) {
            if let Some(exchange) = self.queue.pop_front() {
                self.emit(exchange, cx);
            }
        }
    }

    /// Makes room for one more: gives out the oldest request whose response has not begun.
    fn give_up_oldest(&mut self, cx: &mut Context<'_>) {
        let index = usize::from(self.queue.front().is_some_and(|e| e.is_answered()));
        let Some(exchange) = self.queue.remove(index) else { return };
        match exchange.barrier.or(self.response_gap) {
            None => self.owed += 1,
            // Whether its response is still to come is not known, nor what the next one answers.
            barrier => {
                if let Some(front) = self.queue.front_mut().filter(|e| !e.is_answered()) {
                    front.barrier = front.barrier.or(barrier);
                }
                self.pipelined = true;
            }
        }
        cx.counters.pending_overflows += 1;
        self.unanswered(exchange, cx);
    }

    pub(crate) fn unanswered(&mut self, mut exchange: Box<Exchange>, cx: &mut Context<'_>) {
        exchange.mark(IncompleteReason::ResponseMissing, Side::Response, None);
        if let Some(reason) = self.response_gap.or(exchange.barrier) {
            exchange.mark(reason, Side::Response, None);
        }
        self.emit(exchange, cx);
    }

    /// Gives out everything.
    pub(crate) fn give_up_all(&mut self, cx: &mut Context<'_>) {
        if let Some(mut orphan) = self.orphan.take() {
            // Interim responses only.
            orphan.mark(IncompleteReason::ResponseMissing, Side::Response, None);
            self.emit(orphan, cx);
        }
        while let Some(exchange) = self.queue.pop_front() {
            if exchange.response_done {
                self.emit(exchange, cx);
            } else {
                self.unanswered(exchange, cx);
            }
        }
    }

    pub(crate) fn emit(&mut self, exchange: Box<Exchange>, cx: &mut Context<'_>) {
        let told_by_twin = exchange.told_by_twin;
        let mut tx = exchange.tx;
        let bytes = EXCHANGE_BYTES + weight::messages(&tx);
        debug_assert!(bytes <= self.queue_bytes, "gives out {bytes} bytes of {}", self.queue_bytes);
        self.queue_bytes = self.queue_bytes.saturating_sub(bytes);
        self.name_owners(&mut tx, cx);
        let mut twin = cx.twins.is_twin(&tx, cx.limits, cx.now_ns);
        if tx.phase != Phase::Whole {
            twin = told_by_twin;
            tx.close = self.closing;
        }
        let (request, response) = (tx.request.is_some(), tx.response.is_some());
        if twin {
            cx.counters.dropped_twin.add(request, response);
            return;
        }
        cx.counters.given.add(request, response);
        cx.counters.transactions += 1;
        cx.counters.incomplete += u64::from(!tx.incomplete.is_empty());
        (cx.out)(tx);
    }

    /// Notes what is known of the connection, and who owns its ends.
    pub(crate) fn name_owners(&mut self, tx: &mut RawTransaction, cx: &Context<'_>) {
        tx.tls = self.tls_facts.clone();
        tx.process = self.process;
        if tx.role == Role::Server {
            if self.peer.is_none() && self.peer_generation != cx.peers.generation() {
                self.peer_generation = cx.peers.generation();
                self.peer = cx.peers.find(self.netns, self.source, self.destination, self.first_request);
            }
            tx.peer_process = self.peer;
        }
    }
}

fn opens_tunnel(exchange: &Exchange, status: u16) -> bool {
    status == SWITCHING_PROTOCOLS || (exchange.connect && status / 100 == 2)
}
