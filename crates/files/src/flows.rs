//! TCP segments become events: each connection gets an id, and its life from SYN to FIN is told.
//!
//! A connection is named by its two ends, whatever tunnel or VLAN it came through: a packet that was captured on two
//! interfaces comes twice then, and the assembler drops the second by its sequence number. What that refuses: two networks with
//! the same addresses in one file, if the same two ports are in use at the same time.
//! A SYN with another initial sequence number begins another connection between the same ends.
//!
//! State is kept in two generations, of which the older is given up as a whole when the younger holds half of
//! [`Limits::connections_max`]; what shows itself again moves to the younger one.

use std::collections::VecDeque;

use foldhash::{HashMap, HashMapExt};
use headtrail_record::event::{CloseReason, ConnectionId, Direction, Event, Segment, flags};

use crate::chosen::Chosen;
use crate::counters::{Counters, Unread};
use crate::limits::Limits;
use crate::walk::{Tcp, flag};

/// A SYN that crossed with what it began comes no more than so many bytes before it.
const SYN_BEFORE_BYTES_MAX: u32 = 1 << 16;

/// Both ends, the lower one first.
type Key = ((std::net::IpAddr, u16), (std::net::IpAddr, u16));

/// What is known of what one end sent.
#[derive(Clone, Copy, Default)]
struct End {
    /// Sequence number of its first payload byte, if its SYN was seen, or an answer to that.
    begin: Option<u32>,
    /// Sequence number of the first payload byte that was seen.
    first: Option<u32>,
    /// The one behind the last payload byte that was seen.
    behind: Option<u32>,
    fin: bool,
}

struct Flow {
    id: ConnectionId,
    /// The filter leaves it out.
    out: bool,
    /// The lower end is the client.
    client_is_low: bool,
    /// Of the lower and the higher end.
    ends: [End; 2],
    last_ns: u64,
    /// Why it is about to be over.
    closing: Option<CloseReason>,
}

/// Which connections are given out.
pub(crate) enum Choice {
    /// Those of which a packet was wanted, from that one on.
    Wanted,
    /// Those that were chosen when the file was read before.
    Chosen(Chosen),
}

/// When and how a segment was captured.
#[derive(Clone, Copy)]
pub(crate) struct Seen {
    pub(crate) time_ns: u64,
    pub(crate) now_ns: u64,
    pub(crate) frame: u64,
}

/// The connections.
pub(crate) struct Flows {
    young: HashMap<Key, Flow>,
    old: HashMap<Key, Flow>,
    last_id: u64,
    /// Connections that are about to be over: when.
    closing: VecDeque<(u64, Key, ConnectionId)>,
    pub(crate) choice: Choice,
    /// Those of which a packet was wanted.
    pub(crate) chosen: Chosen,
}

impl Flow {
    /// It is given out from here on: what it sent before was not.
    fn begin_late(&mut self) {
        self.out = false;
        for end in self.ends.iter_mut().filter(|end| end.first.is_some()) {
            (end.begin, end.first) = (None, None);
        }
    }
}

fn key(tcp: &Tcp<'_>) -> (Key, usize) {
    let (source, destination) =
        ((tcp.source.ip, tcp.source.port), (tcp.destination.ip, tcp.destination.port));
    if source <= destination { ((source, destination), 0) } else { ((destination, source), 1) }
}

fn closed(flow: &Flow, time_ns: u64, give: &mut dyn FnMut(&Event<'_>)) {
    if !flow.out {
        let reason = flow.closing.unwrap_or(CloseReason::Evicted);
        give(&Event::Closed { connection: flow.id, time_ns, reason });
    }
}

impl Flows {
    pub(crate) fn new() -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
            last_id: 0,
            closing: VecDeque::new(),
            choice: Choice::Wanted,
            chosen: Chosen::default(),
        }
    }

    /// Connections whose state is kept.
    pub(crate) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// Takes a segment.
    pub(crate) fn take(
        &mut self,
        tcp: &Tcp<'_>,
        seen: Seen,
        limits: &Limits,
        counters: &mut Counters,
        give: &mut dyn FnMut(&Event<'_>),
    ) {
        counters.segments += 1;
        let (key, side) = key(tcp);
        let syn = tcp.flags & flag::SYN != 0;
        let reset = tcp.flags & flag::RST != 0;
        // What a reset carries is a message for people (RFC 9293, 3.10.7).
        let payload = if reset { &[][..] } else { tcp.payload };
        let len = if reset { 0 } else { (tcp.payload.len() + tcp.missing) as u32 };
        if let Some(flow) = self.old.remove(&key) {
            self.young.insert(key, flow);
        }
        if syn
            && self.young.get(&key).is_some_and(|flow| !is_of(flow, side, tcp))
            && let Some(flow) = self.young.remove(&key)
        {
            closed(&flow, seen.time_ns, give);
        }
        if !self.young.contains_key(&key) {
            if !syn && len == 0 {
                return;
            }
            self.add(key, side, tcp, seen, limits, counters, give);
        }
        let Some(flow) = self.young.get_mut(&key) else { return };
        flow.last_ns = seen.now_ns;
        if flow.out && tcp.wanted && matches!(self.choice, Choice::Wanted) {
            counters.connections_filtered -= 1;
            flow.begin_late();
        }
        if tcp.wanted {
            self.chosen.add(flow.id);
        }
        let out = flow.out;
        let sequence = tcp.sequence.wrapping_add(u32::from(syn));
        if syn {
            flow.ends[side].begin = Some(sequence);
            if let Some(acknowledged) = tcp.acknowledgement {
                flow.ends[1 - side].begin.get_or_insert(acknowledged);
            }
        }
        let direction =
            if flow.client_is_low == (side == 0) { Direction::Ingress } else { Direction::Egress };
        let (connection, time_ns) = (flow.id, seen.time_ns);
        let end = &mut flow.ends[side];
        // A single byte that was acknowledged before asks whether the other end is alive (RFC 9293, 3.8.4); it is nothing of the stream.
        let keep_alive = len == 1 && end.behind == Some(sequence.wrapping_add(1));
        if len > 0 && !keep_alive {
            if !out {
                counters.add(Unread::SnapLength, tcp.missing as u64);
            }
            let first = end.first.is_none();
            let fresh = end.begin == Some(sequence);
            let joined = first && end.begin.is_none();
            end.first.get_or_insert(sequence);
            let packet_end = sequence.wrapping_add(len);
            let further = end.behind.is_none_or(|behind| (packet_end.wrapping_sub(behind) as i32) > 0);
            end.behind = if further { Some(packet_end) } else { end.behind };
            let mut flags = flags::RAW;
            flags |= if fresh { flags::FRESH } else { 0 };
            flags |= if joined { flags::JOINED } else { 0 };
            if !payload.is_empty() && !out {
                give(&Event::Segment(Segment {
                    connection,
                    netns: 0,
                    direction,
                    time_ns,
                    sequence,
                    bytes: payload,
                    packet_end,
                    headers: tcp.headers,
                    segments: 1,
                    flags,
                    starts: 0,
                    process: None,
                    frame: Some(seen.frame),
                }));
            }
        }
        let mut closing = None;
        if tcp.flags & flag::FIN != 0 && !reset && !end.fin {
            end.fin = true;
            let sequence = sequence.wrapping_add(len);
            if !out {
                give(&Event::Finished { connection, direction, time_ns, sequence });
            }
            if flow.ends.iter().all(|end| end.fin) {
                closing = Some(CloseReason::Fin);
            }
        }
        if reset {
            closing = Some(CloseReason::Reset);
        }
        if flow.closing.is_none() && closing.is_some() {
            flow.closing = closing;
            self.closing.push_back((seen.now_ns.saturating_add(limits.linger_ns), key, connection));
        }
    }

    #[expect(clippy::too_many_arguments, reason = "all of what a segment brings along")]
    fn add(
        &mut self,
        key: Key,
        side: usize,
        tcp: &Tcp<'_>,
        seen: Seen,
        limits: &Limits,
        counters: &mut Counters,
        give: &mut dyn FnMut(&Event<'_>),
    ) {
        if self.young.len() >= (limits.connections_max / 2).max(1) {
            for (_, flow) in std::mem::replace(&mut self.old, std::mem::take(&mut self.young)) {
                counters.add(Unread::ConnectionsMax, u64::from(flow.closing.is_none()));
                closed(&flow, seen.time_ns, give);
            }
        }
        let syn = tcp.flags & flag::SYN != 0;
        // Without a SYN the one with the higher port is the client, most likely.
        let sender_is_client = match (syn, tcp.acknowledgement) {
            (true, acknowledgement) => acknowledgement.is_none(),
            (false, _) => tcp.source.port >= tcp.destination.port,
        };
        self.last_id += 1;
        counters.connections += 1;
        let id = ConnectionId(self.last_id);
        let out = match &self.choice {
            Choice::Wanted => !tcp.wanted,
            Choice::Chosen(chosen) => !chosen.has(id),
        };
        counters.connections_filtered += u64::from(out);
        let flow = Flow {
            id,
            out,
            client_is_low: sender_is_client == (side == 0),
            ends: [End::default(); 2],
            last_ns: seen.now_ns,
            closing: None,
        };
        self.young.insert(key, flow);
    }

    /// Time has passed: tells of connections that are over.
    pub(crate) fn tick(&mut self, now_ns: u64, limits: &Limits, give: &mut dyn FnMut(&Event<'_>)) {
        while let Some(&(due_ns, key, id)) = self.closing.front() {
            let full = self.closing.len() > limits.connections_max;
            if due_ns > now_ns && !full {
                return;
            }
            self.closing.pop_front();
            let Some(flow) = self.young.get(&key).or_else(|| self.old.get(&key)).filter(|f| f.id == id)
            else {
                continue;
            };
            let due_ns = flow.last_ns.saturating_add(limits.linger_ns);
            if due_ns > now_ns && !full {
                self.closing.push_back((due_ns, key, id));
                continue;
            }
            if let Some(flow) = self.young.remove(&key).or_else(|| self.old.remove(&key)) {
                closed(&flow, now_ns, give);
            }
        }
    }

    /// The file has ended: tells of all connections that are over.
    pub(crate) fn finish(&mut self, now_ns: u64, give: &mut dyn FnMut(&Event<'_>)) {
        let mut over: Vec<_> = self
            .young
            .drain()
            .chain(self.old.drain())
            .map(|(_, flow)| flow)
            .filter(|f| f.closing.is_some())
            .collect();
        over.sort_unstable_by_key(|flow| flow.id);
        over.iter().for_each(|flow| closed(flow, now_ns, give));
        self.closing.clear();
    }
}

/// Whether a SYN is of this connection, and not of another one between the same ends.
fn is_of(flow: &Flow, side: usize, tcp: &Tcp<'_>) -> bool {
    let begin = tcp.sequence.wrapping_add(1);
    let end = &flow.ends[side];
    match (end.begin, end.first) {
        (Some(known), _) => known == begin,
        // It crossed on the way to the capture.
        (None, Some(first)) => first.wrapping_sub(begin) <= SYN_BEFORE_BYTES_MAX,
        // The answer to a SYN.
        (None, None) => tcp.acknowledgement.is_some() || flow.ends[1 - side].begin.is_none(),
    }
}
