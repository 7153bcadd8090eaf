//! Owners of client ends whose server end is on this host too.

use std::collections::VecDeque;

use foldhash::{HashMap, HashMapExt};
use headtrail_record::event::{Endpoint, ProcessRef};

use crate::weight;

/// Tuples repeat across namespaces: a few owners may share one.
const OWNERS_PER_TUPLE_MAX: usize = 8;

#[derive(Clone, Copy)]
struct Owner {
    netns: u32,
    sequence: u32,
    process: ProcessRef,
}

/// The owners, bounded; the oldest tuple is forgotten first.
pub(crate) struct Peers {
    owners: HashMap<(Endpoint, Endpoint), Vec<Owner>>,
    order: VecDeque<(Endpoint, Endpoint)>,
    tuples_max: usize,
    generation: u64,
}

impl Peers {
    pub(crate) fn new(tuples_max: usize) -> Self {
        Self { owners: HashMap::new(), order: VecDeque::new(), tuples_max, generation: 0 }
    }

    /// They weigh so much.
    pub(crate) fn weight(&self) -> usize {
        type Key = (Endpoint, Endpoint);
        weight::map::<Key, Vec<Owner>>(self.owners.capacity())
            + weight::vector::<Key>(self.order.capacity())
            + self.owners.len() * weight::vector::<Owner>(OWNERS_PER_TUPLE_MAX / 2)
    }

    /// Forgets all.
    pub(crate) fn forget(&mut self) {
        self.owners = HashMap::new();
        self.order = VecDeque::new();
    }

    /// Rises with each owner that becomes known.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    pub(crate) fn add(
        &mut self,
        netns: u32,
        source: Endpoint,
        destination: Endpoint,
        sequence: u32,
        process: ProcessRef,
    ) {
        self.generation += 1;
        let key = (source, destination);
        if self.tuples_max == 0 {
            return;
        }
        if !self.owners.contains_key(&key) {
            if self.order.len() >= self.tuples_max
                && let Some(oldest) = self.order.pop_front()
            {
                self.owners.remove(&oldest);
            }
            self.order.push_back(key);
        }
        let owners = self.owners.entry(key).or_default();
        // Within a namespace a tuple is one connection at a time: the newer one replaces the older.
        owners.retain(|o| o.netns != netns);
        if owners.len() >= OWNERS_PER_TUPLE_MAX {
            owners.remove(0);
        }
        owners.push(Owner { netns, sequence, process });
    }

    /// The owner of the client end of a connection whose first request byte has the sequence number `sequence`.
    pub(crate) fn find(
        &self,
        netns: u32,
        source: Endpoint,
        destination: Endpoint,
        sequence: Option<u32>,
    ) -> Option<ProcessRef> {
        let owners = self.owners.get(&(source, destination))?;
        let exact = owners.iter().rev().find(|o| Some(o.sequence) == sequence);
        exact.or_else(|| owners.iter().rev().find(|o| o.netns == netns)).map(|o| o.process)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(port: u16) -> Endpoint {
        Endpoint { ip: std::net::IpAddr::from([10, 0, 0, 1]), port }
    }

    fn process(pid: u32) -> ProcessRef {
        ProcessRef { pid, name: [0; 16] }
    }

    #[test]
    fn another_namespace_needs_the_sequence_number_and_the_same_one_does_not() {
        let mut peers = Peers::new(4);
        peers.add(1, end(1), end(80), 100, process(7));
        peers.add(2, end(1), end(80), 200, process(8));
        assert_eq!(peers.find(9, end(1), end(80), Some(100)), Some(process(7)));
        assert_eq!(peers.find(9, end(1), end(80), Some(200)), Some(process(8)));
        assert_eq!(peers.find(9, end(1), end(80), Some(300)), None);
        assert_eq!(peers.find(1, end(1), end(80), Some(300)), Some(process(7)));
        assert_eq!(peers.find(1, end(2), end(80), Some(100)), None);
    }

    #[test]
    fn the_oldest_is_forgotten() {
        let mut peers = Peers::new(2);
        for port in 1..=3 {
            peers.add(1, end(port), end(80), 1, process(u32::from(port)));
        }
        assert_eq!(peers.find(1, end(1), end(80), None), None);
        assert_eq!(peers.find(1, end(3), end(80), None), Some(process(3)));
        assert_eq!(peers.owners.len(), 2);
    }
}
