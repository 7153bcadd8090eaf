//! Bytes to messages to transactions.
//!
//! Place in the data's way: `capture` (or a reader of capture files) hands in [`Event`]s, in the order in which it
//! saw them; [`RawTransaction`]s come out, which `record` redacts before anything can be written. No I/O and no
//! clock: time is what events and [`Assembler::tick`] say it is.
//!
//! Invariants
//! - A response is never paired with a request that it may not answer: see the table in `pairing.rs`. What cannot be
//!   known is given out in halves that say so.
//! - Bytes of a body are never taken for a message; the framing of RFC 9112, 6.3 says where a body ends.
//! - Messages balance: [`Counters::started`] = [`Counters::given`] + dropped by reason + [`Assembler::held`].
//! - [`Assembler::held_bytes`] is no more than [`Limits::held_bytes_max`] after each event; what is given up for that is counted by
//!   step ([`Shed`]) and named on the records.
//! - Nothing panics and nothing grows without bound, whatever the bytes: see [`Limits`].
//!
//! Not here, unless [`Limits::tunnels`] says so: what is inside tunnels. A connection that speaks neither HTTP/1 nor HTTP/2 is counted
//! and ignored.
#![forbid(unsafe_code)]

mod chunked;
mod connection;
mod counters;
mod early;
mod feed;
mod forgotten;
mod framing;
mod head;
mod held;
#[doc(hidden)]
pub mod hpack;
mod http2;
mod limits;
mod long;
mod messages;
mod packet;
mod pairing;
mod peers;
mod proof;
mod run;
mod shed;
mod skip;
mod socks;
mod stream;
mod table;
mod tls;
mod twins;
mod weight;

use headtrail_record::event::{CloseReason, ConnectionId, Event, Resync, Segment, flags};
use headtrail_record::transaction::RawTransaction;
use headtrail_tls::KeyLog;

pub use crate::counters::{Counters, Messages};
pub use crate::limits::Limits;
pub use crate::shed::Shed;
pub use crate::tls::Counts as TlsCounts;

use crate::chunked::Walk;
use crate::connection::{Connection, Context};
use crate::early::{Early, Kept};
use crate::forgotten::Forgotten;
use crate::long::Due;
use crate::peers::Peers;
use crate::table::Table;
use crate::twins::Twins;

/// What all connections share, apart from the connections.
struct Shared {
    limits: Limits,
    counters: Counters,
    twins: Twins,
    peers: Peers,
    resyncs: Vec<Resync>,
    keys: Option<KeyLog>,
    now_ns: u64,
}

impl Shared {
    fn context<'a>(&'a mut self, out: &'a mut dyn FnMut(RawTransaction)) -> Context<'a> {
        Context {
            limits: &self.limits,
            counters: &mut self.counters,
            twins: &mut self.twins,
            peers: &mut self.peers,
            resyncs: &mut self.resyncs,
            keys: self.keys.as_ref(),
            now_ns: self.now_ns,
            out,
        }
    }
}

/// Turns events into transactions.
pub struct Assembler {
    shared: Shared,
    table: Table,
    early: Early,
    forgotten: Forgotten,
    /// Connections that wait for time to pass.
    waiting: Vec<ConnectionId>,
    due: Due,
    /// What the connections weigh.
    weight: usize,
}

impl Assembler {
    /// An assembler that knows no connection.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let peers = Peers::new(limits.peers_max);
        let shared = Shared {
            limits,
            counters: Counters::default(),
            twins: Twins::new(),
            peers,
            resyncs: Vec::new(),
            keys: None,
            now_ns: 0,
        };
        Self {
            shared,
            table: Table::new(),
            early: Early::new(),
            forgotten: Forgotten::default(),
            waiting: Vec::new(),
            due: Due::default(),
            weight: 0,
        }
    }

    /// From now on connections that speak TLS are told apart, and decrypted with the keys that are put here before
    /// their handshakes come.
    pub fn tls_keys(&mut self) -> &mut KeyLog {
        self.shared.keys.get_or_insert_default()
    }

    /// Takes one event; transactions that it completes are handed to `out` at once.
    pub fn event(&mut self, event: &Event<'_>, out: &mut impl FnMut(RawTransaction)) {
        if let Some(time_ns) = event.time_ns()
            && self.due.is_due(time_ns)
        {
            self.tell_due(time_ns, out);
        }
        self.take(event, out);
        self.keep_limit(out);
    }

    fn take(&mut self, event: &Event<'_>, out: &mut impl FnMut(RawTransaction)) {
        match *event {
            Event::Segment(ref segment) => self.segment(segment, out),
            Event::BodyEnd { connection, direction, time_ns, sequence, octets } => {
                self.shared.now_ns = time_ns;
                self.with(connection, out, |c, cx| c.body_end(direction, time_ns, sequence, octets, cx));
            }
            Event::Chunks { connection, direction, time_ns, sequence, octets, at } => {
                self.shared.now_ns = time_ns;
                self.with(connection, out, |c, cx| {
                    c.chunks(direction, time_ns, sequence, Walk::from(at, octets), cx)
                });
            }
            Event::Finished { connection, direction, time_ns, sequence } => {
                self.shared.now_ns = time_ns;
                self.with(connection, out, |c, cx| c.finished(direction, time_ns, sequence, cx));
            }
            Event::Closed { connection, time_ns, reason } => {
                self.shared.now_ns = time_ns;
                self.close(connection, time_ns, reason, out);
                // Whoever gave it up: the capturing side does not name it again.
                self.forgotten.take(connection);
            }
            Event::Peer { netns, source, destination, sequence, process } => {
                self.shared.peers.add(netns, source, destination, sequence, process);
            }
        }
    }

    /// Time has passed: tells starts of long calls, names holes that are too old, ends probations, gives up early segments
    /// and idle connections. Once in 100 ms is enough. `now_ns`: nanoseconds since the Unix epoch.
    pub fn tick(&mut self, now_ns: u64, out: &mut impl FnMut(RawTransaction)) {
        self.shared.now_ns = now_ns;
        self.tell_due(now_ns, out);
        for id in std::mem::take(&mut self.waiting) {
            let Some(connection) = self.table.get(id) else { continue };
            let before = connection.weighed;
            connection.tick(now_ns, &mut self.shared.context(out));
            connection.weighed = connection.weight();
            self.weight = self.weight - before + connection.weighed;
            Self::note_due(&mut self.due, connection, &self.shared.limits, now_ns);
            connection.attended = connection.waits();
            if connection.attended {
                self.waiting.push(id);
            }
        }
        let before_ns = now_ns.saturating_sub(self.shared.limits.early_age_ns_max);
        for list in self.early.take_older(before_ns) {
            self.orphaned(&list, |_, _| {}, out);
        }
        while let Some(oldest) = self.table.oldest() {
            if now_ns.saturating_sub(oldest.last_ns) < self.shared.limits.idle_ns_max {
                break;
            }
            let id = oldest.id;
            if self.spare(id, now_ns) {
                continue;
            }
            self.shared.counters.idle_connections += 1;
            self.close(id, now_ns, CloseReason::Evicted, out);
        }
        self.keep_limit(out);
    }

    /// The capture has ended: everything that is held is given out.
    pub fn finish(&mut self, out: &mut impl FnMut(RawTransaction)) {
        for list in self.early.take_older(u64::MAX) {
            self.orphaned(&list, |_, _| {}, out);
        }
        let now_ns = self.shared.now_ns;
        while let Some(id) = self.table.oldest().map(|c| c.id) {
            self.close(id, now_ns, CloseReason::Evicted, out);
        }
        self.waiting.clear();
        self.release_tables();
    }

    /// Takes the hints for the capturing side that have come up since the last call.
    pub fn take_resyncs(&mut self) -> std::vec::Drain<'_, Resync> {
        self.shared.resyncs.drain(..)
    }

    /// What was counted so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    /// Messages that are held now. Walks over all connections.
    #[must_use]
    pub fn held(&self) -> Messages {
        let mut held = Messages::default();
        for exchange in self.table.iter().flat_map(Connection::exchanges) {
            held.add(exchange.tx.request.is_some(), exchange.tx.response.is_some());
        }
        held
    }

    /// Connections that are held now.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.table.len()
    }

    /// Bytes that are held now, with what the tables take: near enough to what the heap says to keep a limit by.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.weight
            + self.table.weight()
            + self.early.weight()
            + self.forgotten.weight()
            + self.shared.twins.weight()
            + self.shared.peers.weight()
            + self.due.weight()
            + weight::vector::<ConnectionId>(self.waiting.capacity())
            + weight::vector::<Resync>(self.shared.resyncs.capacity())
    }

    fn segment(&mut self, segment: &Segment<'_>, out: &mut impl FnMut(RawTransaction)) {
        self.shared.now_ns = segment.time_ns;
        self.shared.counters.segments += 1;
        self.shared.counters.bytes += segment.bytes.len() as u64;
        if segment.flags & flags::EARLY != 0 {
            if self.early.len() >= self.shared.limits.early_segments_max || !self.early.keep(segment) {
                self.shared.counters.early_orphaned += 1;
                self.shared.counters.stray_bytes += segment.bytes.len() as u64;
            }
            return;
        }
        if !self.with(segment.connection, out, |c, cx| c.segment(segment, cx)) {
            self.add(segment, out);
            self.with(segment.connection, out, |c, cx| c.segment(segment, cx));
        }
    }

    /// Runs `action` on a connection and keeps the sums; false where there is no such connection.
    fn with(
        &mut self,
        id: ConnectionId,
        out: &mut dyn FnMut(RawTransaction),
        action: impl FnOnce(&mut Connection, &mut Context<'_>),
    ) -> bool {
        let Some(connection) = self.table.touch(id) else { return false };
        action(connection, &mut self.shared.context(out));
        if connection.spare_weight() > connection.bytes_max(&self.shared.limits) {
            connection.shed_transactions(&mut self.shared.context(out));
        }
        let weight = connection.weight();
        self.weight = self.weight - connection.weighed + weight;
        connection.weighed = weight;
        connection.spared = 0;
        Self::note_due(&mut self.due, connection, &self.shared.limits, self.shared.now_ns);
        if !connection.attended && connection.waits() {
            connection.attended = true;
            self.waiting.push(id);
            if self.waiting.len() > 2 * self.shared.limits.connections_max {
                // Nobody ticks: ids of connections that are over must not pile up.
                let table = &mut self.table;
                self.waiting.retain(|&id| table.get(id).is_some());
                self.waiting.sort_unstable();
                self.waiting.dedup();
            }
        }
        if self.due.len() > 2 * self.shared.limits.connections_max {
            self.prune_due();
        }
        true
    }

    /// A connection shows itself for the first time, by `segment`.
    fn add(&mut self, segment: &Segment<'_>, out: &mut impl FnMut(RawTransaction)) {
        if self.table.len() >= self.shared.limits.connections_max
            && let Some(id) = self.table.oldest().map(|c| c.id)
        {
            self.evict(id, out);
        }
        self.shared.counters.connections += 1;
        let mut connection = Connection::new(segment.connection, segment.netns);
        connection.again = self.forgotten.take(segment.connection);
        connection.weighed = connection.weight();
        self.weight += connection.weighed;
        self.table.add(connection);
        if self.early.is_empty() {
            return;
        }
        let Some(key) = early::key(segment) else { return };
        for kept in self.early.take(&key) {
            self.shared.counters.early_adopted += 1;
            let early = Segment { connection: segment.connection, ..kept.segment() };
            self.with(segment.connection, out, |c, cx| c.segment(&early, cx));
        }
    }

    /// Early segments whose connection never showed itself: a connection of its own, which is over.
    fn orphaned(
        &mut self,
        list: &[Kept],
        before_close: fn(&mut Connection, &mut Context<'_>),
        out: &mut impl FnMut(RawTransaction),
    ) {
        let Some(first) = list.first() else { return };
        let mut connection = Connection::new(first.listener, first.netns);
        let mut cx = self.shared.context(out);
        for kept in list {
            cx.counters.early_orphaned += 1;
            connection.segment(&kept.segment(), &mut cx);
        }
        let now_ns = cx.now_ns;
        before_close(&mut connection, &mut cx);
        connection.close(now_ns, CloseReason::Evicted, &mut cx);
    }

    fn close(
        &mut self,
        id: ConnectionId,
        time_ns: u64,
        reason: CloseReason,
        out: &mut impl FnMut(RawTransaction),
    ) {
        if reason == CloseReason::Evicted {
            self.forgotten.add(id, self.shared.limits.connections_max);
        }
        let Some(mut connection) = self.table.remove(id) else { return };
        self.weight -= connection.weighed;
        connection.close(time_ns, reason, &mut self.shared.context(out));
    }

    /// Gives up a connection to make room.
    fn evict(&mut self, id: ConnectionId, out: &mut impl FnMut(RawTransaction)) {
        self.shared.counters.shed.connections += 1;
        if let Some(connection) = self.table.get(id) {
            connection.shed_all(&mut self.shared.context(out));
        }
        let now_ns = self.shared.now_ns;
        self.close(id, now_ns, CloseReason::Evicted, out);
    }
}
