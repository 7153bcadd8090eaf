//! One TLS connection: both directions brought into order, decrypted, and handed on.

use std::collections::VecDeque;

use headtrail_record::event::{Direction, flags};
use headtrail_tls::{Plain, Reason, Side};

use super::begins_with_handshake;
use super::packets::{Packet, Packets};
use crate::connection::{Connection, Context};
use crate::held::Held;
use crate::limits::Limits;
use crate::packet;
use crate::run::{self, Piece, Run, distance};

/// Ends of records that are remembered in order to translate what the other direction acknowledges.
const ENDS_MAX: usize = 64;

/// One direction.
#[derive(Default)]
struct Way {
    /// Sequence number of the first byte, and from then on of the next one.
    begin: Option<u32>,
    next: u32,
    /// Bytes before `next`, those that are missing included.
    at: u64,
    held: Held,
    packets: Packets,
    /// Where the next plaintext belongs.
    plain_at: u64,
    /// Ends of the last records, on the wire and as plaintext.
    ends: VecDeque<(u64, u64)>,
    /// Sequence number and time of its FIN, until all before it is read.
    fin: Option<(u32, u64)>,
}

/// A TLS connection.
pub(crate) struct Session {
    tls: headtrail_tls::Connection,
    /// Too little was seen to tell whether it is one.
    undecided: bool,
    over: bool,
    decrypted: bool,
    ways: [Way; 2],
}

fn side(direction: Direction) -> Side {
    match direction {
        Direction::Ingress => Side::A,
        Direction::Egress => Side::B,
    }
}

fn direction(side: Side) -> Direction {
    match side {
        Side::A => Direction::Ingress,
        Side::B => Direction::Egress,
    }
}

const BOTH: [Direction; 2] = [Direction::Ingress, Direction::Egress];

impl Way {
    /// Puts the direction's beginning where it is known to be.
    fn set_begin(&mut self, sequence: u32) {
        if self.begin.is_none() {
            self.begin = Some(sequence);
            self.next = sequence;
        }
    }

    /// The first of what is held, if nothing is missing before it, without what was there before.
    fn take_ready(&mut self) -> Option<Piece> {
        self.begin?;
        let first = self.held.pieces.first()?;
        if distance(self.next, first.sequence) > 0 { None } else { self.held.take() }
    }

    /// Its first bytes, as far as they matter and are there.
    fn first_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let Some(mut next) = self.begin else { return bytes };
        for piece in &self.held.pieces {
            if piece.sequence != next || bytes.len() >= 3 {
                break;
            }
            bytes.extend_from_slice(&piece.bytes);
            next = next.wrapping_add(piece.bytes.len() as u32);
        }
        bytes
    }

    /// How much plaintext of this direction a packet of the other one acknowledges.
    fn translate(&self, acknowledged: u32) -> Option<u32> {
        let begin = self.begin?;
        let at = self.at.checked_add_signed(distance(self.next, acknowledged))?;
        let plain = if at > self.at {
            // Beyond what was seen.
            self.plain_at + (at - self.at)
        } else {
            match self.ends.iter().rev().find(|(end, _)| *end <= at) {
                Some((_, plain)) => *plain,
                None if self.ends.len() < ENDS_MAX => 0,
                None => return None,
            }
        };
        Some(begin.wrapping_add(plain as u32))
    }

    fn note_end(&mut self, end: u64) {
        if self.ends.len() >= ENDS_MAX {
            self.ends.pop_front();
        }
        self.ends.push_back((end, self.plain_at));
    }

    fn weight(&self) -> usize {
        self.held.weight() + self.packets.weight() + self.ends.capacity() * size_of::<(u64, u64)>()
    }
}

impl Session {
    pub(super) fn new() -> Self {
        Self {
            tls: headtrail_tls::Connection::new(),
            undecided: true,
            over: false,
            decrypted: false,
            ways: Default::default(),
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    pub(crate) fn holds(&self) -> bool {
        self.ways.iter().any(|way| !way.held.pieces.is_empty())
    }

    pub(super) fn weight(&self) -> usize {
        self.tls.held_bytes() + self.ways.iter().map(Way::weight).sum::<usize>()
    }

    fn holds_too_much(&self, direction: Direction, limits: &Limits) -> bool {
        self.ways[direction.index()].held.is_too_much(limits)
    }
}

impl Connection {
    /// Takes a run of a connection that speaks TLS, or may.
    pub(super) fn session_run(
        &mut self,
        session: &mut Session,
        direction: Direction,
        mut run: Run<'_>,
        cx: &mut Context<'_>,
    ) {
        let way = &mut session.ways[direction.index()];
        if run.has(flags::FRESH) || run.has(flags::JOINED) {
            way.set_begin(run.sequence);
        }
        if session.undecided {
            way.held.insert(&run);
            return self.decide(session, cx);
        }
        self.acknowledged(session, direction, &run, cx);
        if session.over {
            return;
        }
        let way = &mut session.ways[direction.index()];
        let hole = distance(way.next, run.sequence);
        if way.begin.is_some() && hole <= 0 {
            run.skip((-hole) as usize);
            if run.bytes.is_empty() {
                cx.counters.duplicate_segments += 1;
                return;
            }
            if way.held.pieces.is_empty() {
                return self.open(session, direction, &run, cx);
            }
        }
        cx.counters.reordered_segments += 1;
        way.held.insert(&run);
        self.read_on(session, direction, cx);
        while !session.over && session.holds_too_much(direction, cx.limits) {
            self.skip_hole(session, direction, cx);
        }
    }

    /// Looks whether it speaks TLS. If not, all that is held is read as it is.
    fn decide(&mut self, session: &mut Session, cx: &mut Context<'_>) {
        let firsts = BOTH.map(|direction| session.ways[direction.index()].first_bytes());
        let decided = firsts.iter().find_map(|bytes| begins_with_handshake(bytes));
        let too_much = BOTH.iter().any(|direction| session.holds_too_much(*direction, cx.limits));
        match decided {
            Some(true) => {
                session.undecided = false;
                cx.counters.tls.connections += 1;
                for direction in BOTH {
                    self.read_on(session, direction, cx);
                }
            }
            Some(false) => self.read_as_it_is(session, cx),
            None if too_much => self.read_as_it_is(session, cx),
            None => {}
        }
    }

    fn read_as_it_is(&mut self, session: &mut Session, cx: &mut Context<'_>) {
        session.over = true;
        let mut pieces = Vec::new();
        for direction in BOTH {
            let held = std::mem::take(&mut session.ways[direction.index()].held);
            pieces.extend(held.pieces.into_iter().map(|piece| (direction, piece)));
        }
        pieces.sort_by_key(|(_, piece)| piece.frame);
        for (direction, piece) in pieces {
            self.take_run(direction, piece.run(), cx);
        }
        for direction in BOTH {
            if let Some((sequence, time_ns)) = session.ways[direction.index()].fin {
                self.finished_run(direction, time_ns, sequence, cx);
            }
        }
    }

    /// The other direction may show that what is missing was received, and will not come any more.
    fn acknowledged(
        &mut self,
        session: &mut Session,
        direction: Direction,
        run: &Run<'_>,
        cx: &mut Context<'_>,
    ) {
        let Some(acknowledged) = packet::acknowledgement(run.headers) else { return };
        let other = direction.reverse();
        while !session.over
            && let Some(first) = session.ways[other.index()].held.pieces.first()
            && distance(first.sequence, acknowledged) > 0
        {
            self.skip_hole(session, other, cx);
        }
    }

    /// Reads what is held, as far as nothing is missing.
    fn read_on(&mut self, session: &mut Session, direction: Direction, cx: &mut Context<'_>) {
        while !session.over
            && !self.needs_no_plaintext()
            && let Some(piece) = session.ways[direction.index()].take_ready()
        {
            let way = &session.ways[direction.index()];
            let mut run = piece.run();
            run.skip(-distance(way.next, run.sequence) as usize);
            if !run.bytes.is_empty() {
                self.open(session, direction, &run, cx);
            }
        }
    }

    /// What is missing before the first run that is held will not come.
    fn skip_hole(&mut self, session: &mut Session, direction: Direction, cx: &mut Context<'_>) {
        let way = &mut session.ways[direction.index()];
        let Some(first) = way.held.pieces.first() else { return };
        // Of a direction whose beginning was not seen nobody knows how much is missing.
        let missing = match way.begin {
            Some(_) => distance(way.next, first.sequence).max(0) as u64,
            None => 1,
        };
        way.begin.get_or_insert(first.sequence);
        way.next = first.sequence;
        way.at += missing;
        cx.counters.gaps += 1;
        session.tls.gap(side(direction), missing);
        self.settle(session, cx);
        self.read_on(session, direction, cx);
    }

    /// Decrypts what comes next in a direction.
    fn open(&mut self, session: &mut Session, direction: Direction, run: &Run<'_>, cx: &mut Context<'_>) {
        let Some(keys) = cx.keys else { return };
        let Session { tls, ways, decrypted, .. } = session;
        let way = &mut ways[direction.index()];
        way.packets.push(way.at, run);
        way.at += run.bytes.len() as u64;
        way.next = run.end();
        let mut first = false;
        tls.feed(side(direction), run.bytes, keys, &mut |plain| {
            first |= !std::mem::replace(decrypted, true);
            self.plain(ways, &plain, cx);
        });
        cx.counters.tls.decrypted += u64::from(first);
        for direction in BOTH {
            let way = &mut ways[direction.index()];
            match tls.unread_bytes(side(direction)) {
                0 => way.packets.clear(),
                unread => way.packets.forget(way.at.saturating_sub(unread as u64)),
            }
        }
        self.settle(session, cx);
        for direction in BOTH {
            self.finish(session, direction, cx);
        }
    }

    /// Hands on plaintext.
    fn plain(&mut self, ways: &mut [Way; 2], plain: &Plain<'_>, cx: &mut Context<'_>) {
        let direction = direction(plain.side);
        let [index, other] = [direction.index(), direction.reverse().index()];
        self.note(plain.facts);
        let way = &mut ways[index];
        let begin = way.begin.unwrap_or_default();
        let sequence = begin.wrapping_add(plain.offset as u32);
        if plain.offset != way.plain_at {
            self.lose_plain(direction, sequence, cx);
        }
        way.plain_at = plain.offset + plain.bytes.len() as u64;
        way.note_end(plain.cipher.end);
        let way = &ways[index];
        let last_byte = plain.cipher.end.saturating_sub(1);
        let (Some(first), Some(last)) = (way.packets.with(plain.cipher.start), way.packets.with(last_byte))
        else {
            return;
        };
        let end = sequence.wrapping_add(plain.bytes.len() as u32);
        let run = |bytes, sequence, packet: &Packet, flags| Run {
            sequence,
            bytes,
            time_ns: packet.time_ns,
            packet_end: end,
            headers: &[],
            segments: packet.segments,
            flags,
            frame: packet.frame,
            plain: Some(run::Plain {
                acknowledges: packet::acknowledgement(packet.headers.as_slice())
                    .and_then(|acknowledged| ways[other].translate(acknowledged)),
                record: begin.wrapping_add(plain.cipher.start as u32),
            }),
        };
        let fresh = if plain.offset == 0 { flags::FRESH } else { 0 };
        // Of a record in several packets the first byte came with the first one, and the last one with the last.
        let at_last = if std::ptr::eq(first, last) { 0 } else { 1 };
        let (head, tail) = plain.bytes.split_at(plain.bytes.len() - at_last);
        if !head.is_empty() {
            let head = run(head, sequence, first, flags::RAW | fresh);
            self.take_run(direction, Run { headers: first.headers.as_slice(), ..head }, cx);
        }
        if !tail.is_empty() {
            let fresh = if head.is_empty() { fresh } else { 0 };
            let tail = run(tail, end.wrapping_sub(1), last, flags::RAW | fresh);
            self.take_run(direction, Run { headers: last.headers.as_slice(), ..tail }, cx);
        }
    }

    /// Looks whether the session is over.
    fn settle(&mut self, session: &mut Session, cx: &mut Context<'_>) {
        session.over |= self.needs_no_plaintext();
        if session.over {
            return;
        }
        match session.tls.state() {
            headtrail_tls::State::Unseen(why) => {
                session.over = true;
                self.unseen(why, cx);
            }
            headtrail_tls::State::NotTls => {
                session.over = true;
                cx.counters.tls.connections -= 1;
                cx.counters.other_connections += 1;
                self.deaf = true;
            }
            _ => {}
        }
    }

    /// A direction is finished: what comes before its FIN may still be missing.
    pub(crate) fn session_finished(
        &mut self,
        session: &mut Session,
        direction: Direction,
        time_ns: u64,
        sequence: u32,
        cx: &mut Context<'_>,
    ) {
        session.ways[direction.index()].fin = Some((sequence, time_ns));
        self.finish(session, direction, cx);
    }

    fn finish(&mut self, session: &mut Session, direction: Direction, cx: &mut Context<'_>) {
        let way = &mut session.ways[direction.index()];
        let Some((sequence, time_ns)) = way.fin else { return };
        let Some(begin) = way.begin.filter(|_| distance(way.next, sequence) <= 0) else { return };
        if session.over || session.undecided || session.tls.unread_bytes(side(direction)) > 0 {
            return;
        }
        way.fin = None;
        if way.plain_at > 0 {
            self.finished_run(direction, time_ns, begin.wrapping_add(way.plain_at as u32), cx);
        }
    }

    /// Nothing more comes, or it must be given up: what is held is read.
    pub(crate) fn session_order(&mut self, session: &mut Session, cx: &mut Context<'_>) {
        if session.undecided && !session.over {
            self.read_as_it_is(session, cx);
        }
        for direction in BOTH {
            while !session.over && !session.ways[direction.index()].held.pieces.is_empty() {
                self.skip_hole(session, direction, cx);
            }
        }
    }

    /// Time has passed: a hole that is too old is a gap.
    pub(crate) fn session_tick(&mut self, session: &mut Session, now_ns: u64, cx: &mut Context<'_>) {
        for direction in BOTH {
            let held = &session.ways[direction.index()].held;
            let since_ns = held.pieces.first().map(|_| held.since_ns);
            if since_ns.is_some_and(|since_ns| now_ns.saturating_sub(since_ns) >= cx.limits.hole_age_ns_max) {
                if session.undecided {
                    return self.read_as_it_is(session, cx);
                }
                self.skip_hole(session, direction, cx);
            }
        }
    }

    /// The connection is over.
    pub(crate) fn session_close(&mut self, mut session: Box<Session>, cx: &mut Context<'_>) {
        self.session_order(&mut session, cx);
        if session.over {
            return;
        }
        let unread = BOTH.map(|direction| session.tls.unread_bytes(side(direction)));
        for direction in BOTH {
            let way = &session.ways[direction.index()];
            let (next, plain_at) = (self.streams[direction.index()].next, way.plain_at);
            // The end of a record is missing, or what comes before the FIN.
            if (unread[direction.index()] > 0 || way.fin.is_some()) && plain_at > 0 {
                self.lose_plain(direction, next, cx);
            }
        }
        // One direction waited for what the other one would say, and that was not captured.
        if session.tls.state() == headtrail_tls::State::Handshake && unread.iter().any(|&bytes| bytes > 0) {
            self.unseen(Reason::Gap, cx);
        }
    }
}
