//! Long calls: exchanges that are told twice, when they are known to last and when they have ended.
//!
//! | it is a long call | known |
//! | --- | --- |
//! | tunnel: 101 (RFC 9110, 15.2.2), 2xx to CONNECT (RFC 9110, 9.3.6) | with the head of the response |
//! | `text/event-stream` with content | with the head of the response |
//! | any other that is open for [`Limits::long_call_ns`] from its first byte on | at that time, before what comes later is looked at |
//!
//! Time is that of events and ticks, and the start is told before the event that comes too late for it: so the same bytes give the same
//! records, however often someone ticks. The end follows the fate of the start, also where both ends are on this host: there is one end
//! for each start.
//!
//! What is due is found by a heap of connections and not of exchanges: a connection is in it once, at the time at which its oldest
//! exchange will be a long call, and looks at its exchanges then. So a busy connection costs one entry in that time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use headtrail_record::event::{CloseReason, ConnectionId, Direction};
use headtrail_record::transaction::{IncompleteReason, Message, Phase, RawTransaction, Side};

use crate::Assembler;
use crate::connection::{Connection, Context};
use crate::limits::Limits;
use crate::messages::SWITCHING_PROTOCOLS;
use crate::pairing::Exchange;
use crate::run::distance;
use crate::stream::State;
use crate::weight::{self, ALLOCATION_BYTES};

/// Bytes of a tunnel that may lie behind the last segment that was seen: those of a packet. More were passed over, and how many
/// of them is not known, as sequence numbers come round.
const TUNNEL_STEP_BYTES_MAX: i64 = 1 << 20;
/// How often a silent connection with a long call is spared [`Limits::idle_ns_max`]: nothing is heard of content that is passed over.
const SPARED_MAX: u8 = 24;

/// Connections by the time at which one of their exchanges will be a long call.
#[derive(Default)]
pub(crate) struct Due(BinaryHeap<Reverse<(u64, ConnectionId)>>);

impl Due {
    /// There is something to do.
    pub(crate) fn is_due(&self, now_ns: u64) -> bool {
        self.0.peek().is_some_and(|Reverse((at_ns, _))| *at_ns <= now_ns)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn weight(&self) -> usize {
        weight::vector::<Reverse<(u64, ConnectionId)>>(self.0.capacity())
    }

    pub(crate) fn shrink(&mut self) {
        self.0.shrink_to_fit();
    }
}

/// When a connection's exchanges are looked at next.
#[derive(Clone, Copy)]
pub(crate) struct Look {
    at_ns: u64,
    /// Of what begins later than this, none is a long call before then.
    decided_ns: u64,
}

/// What HTTP has left a connection to (RFC 9110, 7.8 and 9.3.6).
pub(crate) struct Tunnel {
    exchange: Box<Exchange>,
    /// By direction; None where it is not known.
    octets: [Option<u64>; 2],
    /// Where it begins, by direction.
    begin: [u32; 2],
    /// The end of the direction was seen.
    ended: [bool; 2],
}

impl Tunnel {
    pub(crate) fn exchange(&self) -> &Exchange {
        &self.exchange
    }
}

impl Exchange {
    /// It is a long call, whatever comes: its final response, which is not over, says so.
    pub(crate) fn is_long(&self) -> bool {
        let Some(response) = &self.tx.response else { return false };
        let status = response.status().unwrap_or_default();
        let connect = self.tx.request.as_ref().and_then(Message::method) == Some(b"CONNECT");
        status == SWITCHING_PROTOCOLS || (connect && status / 100 == 2) || is_event_stream(response)
    }

    fn is_open(&self) -> bool {
        !(self.request_done && self.response_done)
    }

    /// Time of its first byte, unless it was told already.
    fn untold_since_ns(&self) -> Option<u64> {
        let RawTransaction { request, interim, response, phase, .. } = &self.tx;
        let first = request.as_ref().or(interim.first()).or(response.as_ref())?;
        (*phase == Phase::Whole && self.is_open()).then_some(first.first_ns)
    }
}

fn is_event_stream(response: &Message) -> bool {
    const NAME: &[u8] = b"content-type";
    const TYPE: &[u8] = b"text/event-stream";
    let is = |value: &[u8]| {
        value.split_at_checked(TYPE.len()).is_some_and(|(start, rest)| {
            start.eq_ignore_ascii_case(TYPE) && matches!(rest.trim_ascii_start(), [] | [b';', ..])
        })
    };
    response.lines.iter().any(|line| {
        line.name.len as usize == NAME.len()
            && response.bytes(line.name).eq_ignore_ascii_case(NAME)
            && is(response.bytes(line.value))
    })
}

impl Assembler {
    /// Notes when a connection must be looked at, unless that is known.
    pub(crate) fn note_due(due: &mut Due, connection: &mut Connection, limits: &Limits, now_ns: u64) {
        if connection.look.is_none() && connection.holds_exchanges() {
            let at_ns = connection.next_due_ns(limits, now_ns);
            connection.look = Some(Look { at_ns, decided_ns: now_ns });
            due.0.push(Reverse((at_ns, connection.id)));
        }
    }

    /// Tells the starts of what has become a long call.
    #[cold]
    pub(crate) fn tell_due(&mut self, now_ns: u64, out: &mut impl FnMut(RawTransaction)) {
        self.shared.now_ns = now_ns;
        while self.due.is_due(now_ns) {
            let Some(Reverse((at_ns, id))) = self.due.0.pop() else { return };
            let Some(connection) = self.table.get(id).filter(|c| c.is_looked_at(at_ns)) else { continue };
            connection.tell_due(now_ns, &mut self.shared.context(out));
            connection.look = None;
            // Where all are told, time alone makes no long call, and the next event notes the connection again. Silent ones
            // would otherwise be walked over every time that this age has passed, which a file's time does fast.
            if connection.has_untold() {
                Self::note_due(&mut self.due, connection, &self.shared.limits, now_ns);
            }
        }
    }

    /// Leaves out the entries that stand for nothing any more.
    pub(crate) fn prune_due(&mut self) {
        let table = &mut self.table;
        self.due.0.retain(|Reverse((at_ns, id))| table.get(*id).is_some_and(|c| c.is_looked_at(*at_ns)));
    }

    /// A connection has been silent for too long. True: it has a long call, and goes on.
    pub(crate) fn spare(&mut self, id: ConnectionId, now_ns: u64) -> bool {
        let Some(connection) = self.table.get(id) else { return false };
        if connection.spared >= SPARED_MAX || !connection.has_told_call() {
            return false;
        }
        connection.spared += 1;
        connection.last_ns = now_ns;
        self.table.touch(id);
        true
    }
}

impl Connection {
    fn holds_exchanges(&self) -> bool {
        !self.queue.is_empty()
            || self.orphan.is_some()
            || self.http2.as_ref().is_some_and(|h| h.holds_streams())
    }

    /// The entry is not that of a connection that is over, or of what was decided before.
    fn is_looked_at(&self, at_ns: u64) -> bool {
        self.look.is_some_and(|look| look.at_ns == at_ns)
    }

    /// The head of a message that began at that time is whole: by then it may have been decided when to look.
    pub(crate) fn look_again(&mut self, first_ns: u64) {
        self.look = self.look.filter(|look| look.decided_ns <= first_ns);
    }

    fn has_told_call(&self) -> bool {
        self.exchanges().any(|exchange| exchange.tx.phase != Phase::Whole)
    }

    fn has_untold(&self) -> bool {
        self.exchanges().any(|exchange| exchange.untold_since_ns().is_some())
    }

    /// When one of its exchanges will be a long call. An exchange that begins after now is none before the time that is
    /// given where there is no other.
    fn next_due_ns(&self, limits: &Limits, now_ns: u64) -> u64 {
        let since_ns = self.exchanges().filter_map(|e| e.untold_since_ns()).min().unwrap_or(now_ns);
        // A time that is past would be looked at again and again.
        since_ns.saturating_add(limits.long_call_ns).max(now_ns.saturating_add(1))
    }

    fn tell_due(&mut self, now_ns: u64, cx: &mut Context<'_>) {
        let limit_ns = cx.limits.long_call_ns;
        let is_due = |exchange: &Exchange| {
            exchange.untold_since_ns().is_some_and(|since_ns| now_ns.saturating_sub(since_ns) >= limit_ns)
        };
        let mut queue = std::mem::take(&mut self.queue);
        let mut orphan = self.orphan.take();
        for exchange in queue.iter_mut().chain(&mut orphan).filter(|e| is_due(e)) {
            self.tell_start(exchange, cx);
        }
        (self.queue, self.orphan) = (queue, orphan);
        let Some(mut http2) = self.http2.take() else { return };
        for exchange in http2.exchanges_mut().filter(|e| is_due(e)) {
            self.tell_start(exchange, cx);
        }
        self.http2 = Some(http2);
    }

    /// Gives out what is known of a call that goes on. The end has a number of its own.
    pub(crate) fn tell_start(&mut self, exchange: &mut Exchange, cx: &mut Context<'_>) {
        if exchange.tx.phase != Phase::Whole {
            return;
        }
        let mut start = exchange.tx.clone();
        start.phase = Phase::Start;
        if exchange.probation.is_some() {
            // It may not be the response to it.
            start.response = None;
            start.interim.clear();
            start.incomplete.retain(|entry| entry.side == Side::Request);
        }
        if let Some(request) = start.request.as_mut().filter(|_| !exchange.request_done) {
            request.body_bytes = None;
        }
        if let Some(response) = start.response.as_mut().filter(|_| !exchange.response_done) {
            response.body_bytes = None;
        }
        exchange.tx.phase = Phase::End { start: start.number };
        exchange.tx.number = self.next_number();
        self.name_owners(&mut start, cx);
        exchange.told_by_twin = cx.twins.is_twin(&start, cx.limits, cx.now_ns);
        if !exchange.told_by_twin {
            cx.counters.long_calls += 1;
            (cx.out)(start);
        }
    }

    /// The head of the final response in progress is whole, and content follows: a stream of events is told at once.
    pub(crate) fn tell_event_stream(&mut self, cx: &mut Context<'_>) {
        let current = self.orphan.as_ref().or(self.queue.front());
        if !current.is_some_and(|e| e.probation.is_none() && e.is_long()) {
            return;
        }
        if let Some(mut orphan) = self.orphan.take() {
            self.tell_start(&mut orphan, cx);
            self.orphan = Some(orphan);
        } else if let Some(mut front) = self.queue.pop_front() {
            self.tell_start(&mut front, cx);
            self.queue.push_front(front);
        }
    }

    /// The tunnel that a response has opened goes on; its end is told with that of the connection.
    pub(crate) fn begin_tunnel(&mut self, mut exchange: Box<Exchange>, cx: &mut Context<'_>) {
        exchange.request_done = false;
        exchange.response_done = false;
        self.tell_start(&mut exchange, cx);
        let octets = [0, 1].map(|index| {
            let stream = &mut self.streams[index];
            stream.synced.then_some(stream.octets.take().unwrap_or(0))
        });
        let begin = [0, 1].map(|index| self.streams[index].next);
        self.tunnel = Some(Box::new(Tunnel { exchange, octets, begin, ended: [false; 2] }));
    }

    /// The tunnel was entered, and holds HTTP: its bytes are counted with the messages in it.
    pub(crate) fn tunnel_holds_http(&mut self) {
        if std::mem::take(&mut self.entered)
            && let Some(tunnel) = &mut self.tunnel
        {
            tunnel.octets = [None; 2];
        }
    }

    /// The tunnel was entered, and holds something else: what was looked at was its bytes.
    pub(crate) fn leave_tunnel(&mut self) {
        if !std::mem::take(&mut self.entered) {
            return;
        }
        for (index, stream) in self.streams.iter_mut().enumerate() {
            stream.state = State::Tunnel;
            if let Some(tunnel) = &mut self.tunnel {
                let looked_at = distance(tunnel.begin[index], stream.next).max(0) as u64;
                tunnel.octets[index] = tunnel.octets[index].map(|octets| octets.saturating_add(looked_at));
            }
        }
    }

    /// Counts the bytes of a tunnel up to `sequence`.
    pub(crate) fn pass_tunnel(&mut self, direction: Direction, sequence: u32) {
        let Some(tunnel) = &mut self.tunnel else { return };
        let index = direction.index();
        let stream = &mut self.streams[index];
        let step = distance(stream.next, sequence);
        if step > 0 {
            let octets = &mut tunnel.octets[index];
            *octets = octets.filter(|_| step <= TUNNEL_STEP_BYTES_MAX).map(|o| o.saturating_add(step as u64));
            stream.next = sequence;
        }
    }

    /// Bytes of a tunnel are missing, and how many is not known; those that follow begin at `sequence`.
    pub(crate) fn lose_tunnel(&mut self, direction: Direction, sequence: u32) {
        let Some(tunnel) = &mut self.tunnel else { return };
        tunnel.octets[direction.index()] = None;
        self.streams[direction.index()].next = sequence;
    }

    /// A direction of a tunnel is finished.
    pub(crate) fn finish_tunnel(&mut self, direction: Direction, sequence: u32) {
        self.pass_tunnel(direction, sequence);
        if let Some(tunnel) = &mut self.tunnel {
            tunnel.ended[direction.index()] = true;
        }
    }

    /// Tells the end of a tunnel: at `time_ns`, and why where it is not that of the connection.
    fn end_tunnel(
        &mut self,
        time_ns: Option<u64>,
        why: Option<IncompleteReason>,
        cx: &mut Context<'_>,
    ) -> bool {
        let Some(tunnel) = self.tunnel.take() else { return false };
        let Tunnel { mut exchange, octets, ended, .. } = *tunnel;
        let requests = exchange.tx.request_direction.index();
        let known = |index: usize| octets[index].filter(|_| ended[index]);
        if let Some(request) = &mut exchange.tx.request {
            request.body_bytes = known(requests);
        }
        if let Some(response) = &mut exchange.tx.response {
            response.body_bytes = known(1 - requests);
            response.last_ns = time_ns.unwrap_or(response.last_ns).max(response.first_ns);
        }
        if let Some(reason) = why {
            exchange.mark(reason, Side::Response, None);
        }
        self.emit(exchange, cx);
        true
    }

    /// The connection is over, and the tunnel with it.
    pub(crate) fn close_tunnel(&mut self, time_ns: u64, reason: CloseReason, cx: &mut Context<'_>) {
        let cut = reason != CloseReason::Fin;
        self.end_tunnel(Some(time_ns), cut.then_some(IncompleteReason::ClosedEarly), cx);
    }

    /// Gives the tunnel out to save memory.
    pub(crate) fn shed_tunnel(&mut self, cx: &mut Context<'_>) {
        let shed = self.end_tunnel(None, Some(IncompleteReason::Memory), cx);
        cx.counters.shed.transactions += u64::from(shed);
    }

    /// What a tunnel takes besides its messages.
    pub(crate) fn tunnel_weight(&self) -> usize {
        self.tunnel.as_ref().map_or(0, |_| size_of::<Tunnel>() + ALLOCATION_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use headtrail_record::event::{Event, Segment, flags};

    use super::*;

    #[test]
    fn a_silent_connection_is_not_looked_at_again() {
        const GET: &[u8] = b"GET / HTTP/1.1\r\n\r\n";
        let mut headers = vec![0; 40];
        (headers[0], headers[9], headers[32]) = (0x45, 6, 0x50);
        let mut assembler = Assembler::new(Limits::default());
        let mut told = 0;
        let ask = |assembler: &mut Assembler, number: u32, time_ns| {
            let sequence = number * GET.len() as u32;
            let segment = Segment {
                connection: ConnectionId(1),
                netns: 1,
                direction: Direction::Ingress,
                time_ns,
                sequence,
                bytes: GET,
                packet_end: sequence + GET.len() as u32,
                headers: &headers,
                segments: 1,
                flags: flags::FRESH | flags::RAW,
                starts: 0,
                process: None,
                frame: None,
            };
            assembler.event(&Event::Segment(segment), &mut |_| ());
        };
        let limit_ns = Limits::default().long_call_ns;
        ask(&mut assembler, 0, 1);
        assert_eq!(assembler.due.len(), 1);
        assembler.tick(limit_ns + 1, &mut |_| told += 1);
        assert_eq!((told, assembler.due.len()), (1, 0));
        // The next exchange is told in its turn.
        ask(&mut assembler, 1, limit_ns + 2);
        assert_eq!(assembler.due.len(), 1);
        assembler.tick(2 * limit_ns + 2, &mut |_| told += 1);
        assert_eq!((told, assembler.due.len()), (2, 0));
    }
}
