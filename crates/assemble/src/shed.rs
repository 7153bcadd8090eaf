//! Giving up what is held, to keep below the limit of memory: in a fixed order, of which the least harmful step is first.
//!
//! | step | what is given up | what the records say |
//! | --- | --- | --- |
//! | `order` | bytes held back behind a hole: it is named a gap at once | `memory` instead of `gap` |
//! | `early` | segments that wait for their connection are given out as one of their own | `memory` |
//! | `transactions` | heads that are not whole, and transactions in progress, of the connections silent longest | `memory`; a response that comes later stands alone, and says `memory` too |
//! | `connections` | connections, the one silent longest first; what follows on them is joined anew | `memory` on what was open, and on what cannot be told from it |
//! | `tables` | what is remembered to recognise twins and owners; empty room in tables | nothing: both ends may be told, owners are null |
//!
//! A step begins only when those before it did not free enough. The first three go over all connections at a time, and
//! therefore free more than is needed at once (see [`target`]): otherwise each event would walk over all.

use headtrail_record::event::Direction;
use headtrail_record::transaction::{IncompleteReason, RawTransaction, Side};

use crate::Assembler;
use crate::connection::{Connection, Context};
use crate::stream::State;

const MEMORY: IncompleteReason = IncompleteReason::Memory;

/// How often each step was taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Shed {
    /// Directions whose holes were named gaps.
    pub order: u64,
    /// Early segments.
    pub early: u64,
    /// Heads that were not whole, and transactions in progress.
    pub transactions: u64,
    /// Connections.
    pub connections: u64,
    /// Times that the tables were emptied.
    pub tables: u64,
}

impl Shed {
    /// The steps in their order, by name.
    #[must_use]
    pub fn steps(&self) -> [(&'static str, u64); 5] {
        [
            ("order", self.order),
            ("early", self.early),
            ("transactions", self.transactions),
            ("connections", self.connections),
            ("tables", self.tables),
        ]
    }
}

/// What is left when the limit was hit.
pub(crate) fn target(limit_bytes: usize) -> usize {
    limit_bytes - limit_bytes / 8
}

impl Assembler {
    /// Gives up what is held until it is no more than `to_bytes`, in the order of the steps.
    pub fn shed(&mut self, to_bytes: usize, out: &mut impl FnMut(RawTransaction)) {
        self.shed_from_all(to_bytes, out, Connection::waits_for_order, Connection::shed_order);
        if self.held_bytes() > to_bytes {
            for list in self.early.take_older(u64::MAX) {
                self.shared.counters.shed.early += list.len() as u64;
                self.orphaned(&list, Connection::shed_all, out);
            }
            self.early.shrink();
        }
        self.shed_from_all(to_bytes, out, |c| c.spare_weight() > 0, Connection::shed_transactions);
        while self.held_bytes() > to_bytes
            && let Some(id) = self.table.oldest().map(|c| c.id)
        {
            self.evict(id, out);
            if self.table.len() * 2 < self.table.room() {
                // Otherwise the last connections would go for the room that the first ones took.
                self.table.shrink();
            }
        }
        if self.held_bytes() > to_bytes {
            self.shared.counters.shed.tables += 1;
            self.release_tables();
        }
    }

    /// Changes [`crate::Limits::held_bytes_max`], and keeps to it at once.
    pub fn set_held_bytes_max(&mut self, bytes: usize, out: &mut impl FnMut(RawTransaction)) {
        self.shared.limits.held_bytes_max = bytes;
        self.keep_limit(out);
    }

    /// Sheds where more is held than may be.
    pub(crate) fn keep_limit(&mut self, out: &mut impl FnMut(RawTransaction)) {
        let limit = self.shared.limits.held_bytes_max;
        if self.held_bytes() > limit {
            self.shed(target(limit), out);
        }
    }

    /// Gives back what tables and memories take that is not needed for what is held.
    pub(crate) fn release_tables(&mut self) {
        self.shared.twins.forget();
        self.shared.peers.forget();
        self.table.shrink();
        self.early.shrink();
        self.forgotten.shrink();
        self.waiting.retain(|&id| self.table.get(id).is_some());
        self.waiting.shrink_to_fit();
        self.prune_due();
        self.due.shrink();
        self.shared.counters.dropped_resyncs += self.shared.resyncs.len() as u64;
        self.shared.resyncs = Vec::new();
    }

    fn shed_from_all(
        &mut self,
        to_bytes: usize,
        out: &mut impl FnMut(RawTransaction),
        holds: fn(&Connection) -> bool,
        shed: fn(&mut Connection, &mut Context<'_>),
    ) {
        if self.held_bytes() <= to_bytes {
            return;
        }
        for id in self.table.oldest_first() {
            let Some(connection) = self.table.get(id).filter(|c| holds(c)) else { continue };
            shed(connection, &mut self.shared.context(out));
            let weight = connection.weight();
            self.weight = self.weight - connection.weighed + weight;
            connection.weighed = weight;
            if self.held_bytes() <= to_bytes {
                return;
            }
        }
    }
}

impl Connection {
    fn waits_for_order(&self) -> bool {
        self.tls.holds()
            || self.resync.is_some()
            || self.streams.iter().any(|stream| stream.held.is_some() || stream.candidate.is_some())
    }

    /// Holes are named gaps, and what is held back behind them is read.
    pub(crate) fn shed_order(&mut self, cx: &mut Context<'_>) {
        if let Some(mut session) = self.tls.take() {
            cx.counters.shed.order += u64::from(session.holds());
            self.session_order(&mut session, cx);
            self.keep(session);
        }
        self.resync = None;
        for direction in [Direction::Ingress, Direction::Egress] {
            cx.counters.shed.order += u64::from(self.streams[direction.index()].held.is_some());
            self.drop_candidate(direction, cx);
            while self.streams[direction.index()].held.is_some() {
                self.resolve_for(MEMORY, direction, cx);
                self.drain(direction, cx);
            }
        }
    }

    /// Gives out what is in progress. The framing goes on: what follows is told from what was given up.
    pub(crate) fn shed_transactions(&mut self, cx: &mut Context<'_>) {
        self.shed_sections(cx);
        self.shed_tunnel(cx);
        cx.counters.shed.transactions += self.give_up_streams(MEMORY, cx) as u64;
        // What a CONNECT begins is not known before its answer: such a connection goes whole, or stays.
        if !self.queue.iter().any(|exchange| exchange.connect) {
            self.shed_queue(cx);
        }
        self.queue.shrink_to_fit();
    }

    /// Gives out all, before the connection is given up.
    pub(crate) fn shed_all(&mut self, cx: &mut Context<'_>) {
        self.shed_sections(cx);
        self.shed_tunnel(cx);
        cx.counters.shed.transactions += self.give_up_streams(MEMORY, cx) as u64;
        self.shed_queue(cx);
    }

    /// Gives out what the queue does not hold.
    fn shed_sections(&mut self, cx: &mut Context<'_>) {
        self.shed_order(cx);
        for direction in [Direction::Ingress, Direction::Egress] {
            self.cut_section(direction, cx);
        }
        if let Some(mut orphan) = self.orphan.take() {
            cx.counters.shed.transactions += 1;
            let answered = orphan.tx.response.is_some();
            if !answered {
                self.owed += 1;
                self.shed = true;
                orphan.mark(IncompleteReason::ResponseMissing, Side::Response, None);
            }
            let at = self.responses().filter(|_| answered).map(|stream| stream.at);
            orphan.mark(MEMORY, Side::Response, at);
            self.emit(orphan, cx);
            if answered {
                self.lose_responses();
            }
        }
    }

    fn shed_queue(&mut self, cx: &mut Context<'_>) {
        // How many responses are still to come is known only where nothing was lost.
        let unsure = self.response_gap.is_some()
            || self.queue.iter().any(|e| e.barrier.is_some() || e.probation.is_some());
        if unsure && let Some(requests) = self.request_direction {
            let stream = &mut self.streams[requests.index()];
            stream.gap = stream.gap.or(Some(MEMORY));
            self.response_gap = self.response_gap.or(Some(MEMORY));
            self.pipelined = true;
        }
        let requests = self.request_direction.map(|direction| self.streams[direction.index()].at);
        let responses = self.responses().map(|stream| stream.at);
        if !self.queue.is_empty() {
            self.last_response_end = None;
        }
        while let Some(front) = self.queue.front_mut() {
            cx.counters.shed.transactions += 1;
            if !front.request_done {
                front.mark(MEMORY, Side::Request, requests);
            }
            if front.probation.is_some() {
                // Nothing will confirm the pair, whole or not.
                if front.tx.response.is_none() {
                    front.mark(IncompleteReason::ResponseMissing, Side::Response, None);
                }
                if !front.response_done {
                    let at = responses.filter(|_| front.tx.response.is_some());
                    front.mark(MEMORY, Side::Response, at);
                }
                let in_body = !front.response_done && front.tx.response.is_some();
                self.part(MEMORY, cx);
                if in_body {
                    self.lose_responses();
                }
                continue;
            }
            let Some(mut front) = self.queue.pop_front() else { return };
            if front.response_done {
                self.emit(front, cx);
            } else if front.tx.response.is_some() {
                front.mark(MEMORY, Side::Response, responses);
                self.emit(front, cx);
            } else {
                self.owed += u32::from(!unsure);
                self.shed = true;
                front.mark(IncompleteReason::ResponseMissing, Side::Response, None);
                front.mark(MEMORY, Side::Response, None);
                self.emit(front, cx);
            }
        }
    }

    /// Without its request it is not known whether a response has the body that it announces (RFC 9112, 6.3): with the
    /// response the place is lost.
    fn lose_responses(&mut self) {
        let Some(requests) = self.request_direction else { return };
        let stream = &mut self.streams[requests.reverse().index()];
        if stream.state != State::Tunnel {
            stream.lose(MEMORY);
        }
    }

    fn responses(&self) -> Option<&crate::stream::Stream> {
        self.request_direction.map(|requests| &self.streams[requests.reverse().index()])
    }

    /// A head, or a trailer section, of which the beginning is kept: it is cut there.
    fn cut_section(&mut self, direction: Direction, cx: &mut Context<'_>) {
        let stream = &self.streams[direction.index()];
        if stream.partial.is_none() || !matches!(stream.state, State::Head | State::Trailers) {
            return;
        }
        let next = stream.next;
        cx.counters.shed.transactions += 1;
        self.cut(direction, MEMORY, cx);
        let stream = &mut self.streams[direction.index()];
        stream.partial = None;
        if stream.state != State::Tunnel {
            stream.lose(MEMORY);
            stream.next = next;
        }
    }
}
