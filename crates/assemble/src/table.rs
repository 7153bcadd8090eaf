//! Connections by id, in order of their last event: the one that was silent longest is found at once.

use foldhash::{HashMap, HashMapExt};
use headtrail_record::event::ConnectionId;

use crate::connection::Connection;
use crate::weight;

const NONE: u32 = u32::MAX;

struct Slot {
    connection: Option<Box<Connection>>,
    newer: u32,
    older: u32,
}

/// The connections.
pub(crate) struct Table {
    index: HashMap<ConnectionId, u32>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    newest: u32,
    oldest: u32,
    /// The last one that was asked for: events of one connection come in bursts.
    last: Option<(ConnectionId, u32)>,
}

impl Table {
    pub(crate) fn new() -> Self {
        Self {
            index: HashMap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            newest: NONE,
            oldest: NONE,
            last: None,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    fn unlink(&mut self, at: u32) {
        let Slot { newer, older, .. } = self.slots[at as usize];
        match newer {
            NONE => self.newest = older,
            n => self.slots[n as usize].older = older,
        }
        match older {
            NONE => self.oldest = newer,
            o => self.slots[o as usize].newer = newer,
        }
    }

    fn link(&mut self, at: u32) {
        let slot = &mut self.slots[at as usize];
        slot.older = self.newest;
        slot.newer = NONE;
        match self.newest {
            NONE => self.oldest = at,
            n => self.slots[n as usize].newer = at,
        }
        self.newest = at;
    }

    /// A connection, which becomes the newest.
    pub(crate) fn touch(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        let at = match self.last {
            Some((last, at)) if last == id => at,
            _ => *self.index.get(&id)?,
        };
        self.last = Some((id, at));
        if self.newest != at {
            self.unlink(at);
            self.link(at);
        }
        self.slots[at as usize].connection.as_deref_mut()
    }

    /// A connection, whose place in the order stays.
    pub(crate) fn get(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        let at = *self.index.get(&id)?;
        self.slots[at as usize].connection.as_deref_mut()
    }

    /// Adds a connection as the newest one; its id must not be there yet.
    pub(crate) fn add(&mut self, connection: Connection) {
        self.put(Box::new(connection));
    }

    fn put(&mut self, connection: Box<Connection>) {
        let id = connection.id;
        let slot = Slot { connection: Some(connection), newer: NONE, older: NONE };
        let at = match self.free.pop() {
            Some(at) => {
                self.slots[at as usize] = slot;
                at
            }
            None => {
                self.slots.push(slot);
                (self.slots.len() - 1) as u32
            }
        };
        let before = self.index.insert(id, at);
        debug_assert!(before.is_none(), "connection {id:?} was there already at {before:?}");
        self.link(at);
    }

    pub(crate) fn remove(&mut self, id: ConnectionId) -> Option<Box<Connection>> {
        let at = self.index.remove(&id)?;
        self.last = None;
        self.unlink(at);
        self.free.push(at);
        self.slots[at as usize].connection.take()
    }

    /// The connection that was silent longest.
    pub(crate) fn oldest(&self) -> Option<&Connection> {
        self.slots.get(self.oldest as usize)?.connection.as_deref()
    }

    /// Ids in order, the one that was silent longest first.
    pub(crate) fn oldest_first(&self) -> Vec<ConnectionId> {
        let mut ids = Vec::with_capacity(self.len());
        let mut at = self.oldest;
        while let Some(slot) = self.slots.get(at as usize) {
            ids.extend(slot.connection.as_ref().map(|c| c.id));
            at = slot.newer;
        }
        ids
    }

    /// Connections that have been held at once.
    pub(crate) fn room(&self) -> usize {
        self.slots.len()
    }

    /// The table without its connections weighs so much.
    pub(crate) fn weight(&self) -> usize {
        weight::map::<ConnectionId, u32>(self.index.capacity())
            + weight::vector::<Slot>(self.slots.capacity())
            + weight::vector::<u32>(self.free.capacity())
    }

    /// Moves the connections to a table that is no larger than they need.
    pub(crate) fn shrink(&mut self) {
        let mut table = Self::new();
        table.index.reserve(self.len());
        table.slots.reserve_exact(self.len());
        for id in self.oldest_first() {
            if let Some(connection) = self.remove(id) {
                table.put(connection);
            }
        }
        *self = table;
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Connection> {
        self.slots.iter().filter_map(|s| s.connection.as_deref())
    }
}
