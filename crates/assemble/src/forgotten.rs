//! Connections that were given up while they lived.
//!
//! The capturing side goes on to say that it has seen them from the first byte on. Taken at its word, the next response could be paired
//! with a request that it does not answer. More than a bound of them are not remembered one by one: from then on
//! nothing new is taken for seen from its first byte on, which costs certainty, but makes no wrong pair.

use foldhash::{HashSet, HashSetExt};
use headtrail_record::event::ConnectionId;

use crate::weight;

#[derive(Default)]
pub(crate) struct Forgotten {
    ids: HashSet<ConnectionId>,
    /// It may be any.
    any: bool,
}

impl Forgotten {
    pub(crate) fn add(&mut self, id: ConnectionId, ids_max: usize) {
        if self.ids.len() >= ids_max {
            self.shrink();
        }
        if !self.any {
            self.ids.insert(id);
        }
    }

    /// Whether a connection was given up; it is over, or known again.
    pub(crate) fn take(&mut self, id: ConnectionId) -> bool {
        self.ids.remove(&id) || self.any
    }

    pub(crate) fn weight(&self) -> usize {
        weight::map::<ConnectionId, ()>(self.ids.capacity())
    }

    /// Remembers no single one any more.
    pub(crate) fn shrink(&mut self) {
        self.any |= !self.ids.is_empty();
        self.ids = HashSet::new();
    }
}

#[cfg(test)]
mod tests {
    use headtrail_record::event::{CloseReason, Event};

    use super::*;
    use crate::{Assembler, Limits};

    /// A large file has more connections that its reader gives up than are remembered here.
    #[test]
    fn what_the_capturing_side_gave_up_is_not_remembered() {
        let mut assembler = Assembler::new(Limits { connections_max: 4, ..Limits::default() });
        for id in 1..=100 {
            let closed =
                Event::Closed { connection: ConnectionId(id), time_ns: 1, reason: CloseReason::Evicted };
            assembler.event(&closed, &mut |_| ());
        }
        assert!(!assembler.forgotten.take(ConnectionId(1000)));
    }
}
