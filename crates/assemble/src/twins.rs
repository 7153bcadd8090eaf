//! One record where both ends of an exchange are on this host.
//!
//! Two sockets then see the same exchange, one as server, one as client. A twin is told by the ends, the sequence
//! number of the request, and the bytes of its head, and of the response's where both ends have seen all of it (on a bad
//! link one end may have seen less); never by the ends alone, which repeat across network namespaces. Memory: two generations of hashes, of which the older is dropped as a whole when the younger
//! is as old as [`Limits::twin_window_ns`] or holds half of [`Limits::twins_max`]. The alternative, a queue in order
//! of time beside the map, costs each transaction a second write.

use std::hash::BuildHasher;

use foldhash::quality::RandomState;
use foldhash::{HashMap, HashMapExt};
use headtrail_record::transaction::{Phase, RawTransaction, Role};

use crate::limits::Limits;
use crate::weight;

#[derive(Clone, Copy)]
struct Entry {
    role: Role,
    whole: bool,
    /// Hash of the response.
    response: u64,
    time_ns: u64,
}

/// What was given out lately.
pub(crate) struct Twins {
    hasher: RandomState,
    young: HashMap<u64, Entry>,
    old: HashMap<u64, Entry>,
    /// When the young generation began, nanoseconds.
    since_ns: u64,
}

impl Twins {
    pub(crate) fn new() -> Self {
        Self { hasher: RandomState::default(), young: HashMap::new(), old: HashMap::new(), since_ns: 0 }
    }

    /// What is remembered weighs so much.
    pub(crate) fn weight(&self) -> usize {
        weight::map::<u64, Entry>(self.young.capacity()) + weight::map::<u64, Entry>(self.old.capacity())
    }

    /// Forgets all.
    pub(crate) fn forget(&mut self) {
        (self.young, self.old) = (HashMap::new(), HashMap::new());
    }

    /// Whether the other end's record of the same exchange was given out. Remembers this one where it was not.
    pub(crate) fn is_twin(&mut self, tx: &RawTransaction, limits: &Limits, now_ns: u64) -> bool {
        let Some(request) = &tx.request else { return false };
        if limits.twins_max == 0 {
            return false;
        }
        // Trailers come later, and one end may have missed them.
        let head_bytes = request.trailers.first().map_or(request.text.len(), |line| line.name.start as usize);
        let head = request.text.get(..head_bytes);
        let start = tx.phase == Phase::Start;
        let key = self.hasher.hash_one((tx.source, tx.destination, request.sequence, head, start));
        let response = self.hasher.hash_one(tx.response.as_ref().map(|m| &m.text));
        let entry = Entry { role: tx.role, whole: tx.incomplete.is_empty(), response, time_ns: now_ns };
        let first = self.young.get(&key).or_else(|| self.old.get(&key));
        if let Some(first) = first
            && first.role != entry.role
            && now_ns.saturating_sub(first.time_ns) <= limits.twin_window_ns
            && (first.whole || !entry.whole)
            // Of a call that goes on one end may have seen more by now.
            && (first.response == entry.response || !entry.whole || start)
        {
            return true;
        }
        let half = (limits.twins_max / 2).max(1);
        if self.young.len() >= half || now_ns.saturating_sub(self.since_ns) > limits.twin_window_ns {
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
            self.since_ns = now_ns;
        }
        self.young.insert(key, entry);
        false
    }
}
