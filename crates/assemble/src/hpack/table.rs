//! The dynamic table (RFC 7541, 2.3.2 and 4), as far as an observer knows it.
//!
//! The newest entries are known, because their insertion was seen: an index counts from the newest one, so it means the
//! same here and in the table of the endpoints, whatever lies behind. What lies behind is either nothing
//! (`rest` is [`Rest::None`]), or unknown.
//!
//! | what is seen | what is known afterwards |
//! | --- | --- |
//! | the first block of the connection | all: the table is empty |
//! | nothing: joined, or a block is missing | nothing |
//! | an insertion | one entry more; one whose name is unknown has an unknown name |
//! | a size update to 0, or below the smallest entry | all: the table is empty |
//! | known entries that fill the table, whose size is known | all: what lies behind was evicted |
//!
//! An insertion that does not fit empties the table of the endpoints (4.4). Where its size, or the table's, is not known
//! for sure, it is taken in here all the same: that shifts only what the endpoints do not have any more.

use std::collections::VecDeque;

use crate::weight::{self, ALLOCATION_BYTES};

/// What each entry counts beside its octets (RFC 7541, 4.1).
const ENTRY_OCTETS: usize = 32;

/// An entry: name and value in one allocation.
struct Entry {
    octets: Box<[u8]>,
    name_len: u32,
    name_known: bool,
}

impl Entry {
    /// Its size, or what it is at least.
    fn size(&self) -> usize {
        self.octets.len() + ENTRY_OCTETS
    }

    fn name(&self) -> Option<&[u8]> {
        self.name_known.then(|| &self.octets[..self.name_len as usize])
    }

    fn value(&self) -> &[u8] {
        &self.octets[self.name_len as usize..]
    }
}

/// What lies behind the entries that are held.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rest {
    None,
    /// What was inserted before the observer came, or while it did not see.
    Unseen,
    /// What the observer has no room for.
    GivenUp,
}

/// What an index refers to.
pub(super) enum Lookup<'a> {
    /// The name may be unknown; the value was inserted with the entry.
    Entry(Option<&'a [u8]>, &'a [u8]),
    Unknown,
    /// No table has it.
    None,
}

pub(super) struct Table {
    /// The newest first.
    entries: VecDeque<Entry>,
    /// Sum of the sizes, of those that are not known for sure the least that they can be.
    size: usize,
    rest: Rest,
    /// Size up to which the encoder uses the table, where known.
    max: Option<usize>,
    /// Upper bound of that by SETTINGS_HEADER_TABLE_SIZE, where known.
    limit: Option<usize>,
    /// Most octets that are held here.
    ceiling: usize,
}

impl Table {
    pub(super) fn new(ceiling: usize, max: Option<usize>) -> Self {
        let rest = if max.is_some() { Rest::None } else { Rest::Unseen };
        Self { entries: VecDeque::new(), size: 0, rest, max, limit: max, ceiling }
    }

    pub(super) fn forget(&mut self) {
        self.entries.clear();
        self.size = 0;
        self.rest = Rest::Unseen;
        self.max = None;
    }

    pub(super) fn set_limit(&mut self, octets: usize) {
        self.limit = Some(octets);
    }

    pub(super) fn raise_limit(&mut self, octets: usize) {
        self.limit = self.limit.map(|limit| limit.max(octets));
    }

    /// False: the encoder must not do that.
    pub(super) fn set_max(&mut self, octets: usize) -> bool {
        if self.limit.is_some_and(|limit| octets > limit) {
            return false;
        }
        self.max = Some(octets);
        self.evict();
        true
    }

    /// By index from 0, the newest.
    pub(super) fn get(&self, index: usize) -> Lookup<'_> {
        match self.entries.get(index) {
            Some(entry) => Lookup::Entry(entry.name(), entry.value()),
            None if self.rest == Rest::None => Lookup::None,
            None => Lookup::Unknown,
        }
    }

    pub(super) fn insert(&mut self, name: Option<&[u8]>, value: &[u8]) {
        let name_octets = name.unwrap_or_default();
        let entry = Entry {
            octets: [name_octets, value].concat().into_boxed_slice(),
            name_len: name_octets.len() as u32,
            name_known: name.is_some(),
        };
        self.size += entry.size();
        self.entries.push_front(entry);
        self.evict();
    }

    /// Evicts what cannot be in the table of the endpoints any more, and what there is no room for here.
    fn evict(&mut self) {
        if let Some(max) = self.max {
            while self.size > max && self.pop() {}
            // The smallest entry would not fit behind those that are held.
            if self.rest == Rest::Unseen && self.size + ENTRY_OCTETS > max {
                self.rest = Rest::None;
            }
        }
        while self.size > self.ceiling && self.pop() {
            self.rest = Rest::GivenUp;
        }
        if self.rest == Rest::GivenUp && self.max.is_some_and(|max| max < ENTRY_OCTETS) {
            self.rest = Rest::None;
        }
    }

    fn pop(&mut self) -> bool {
        let Some(entry) = self.entries.pop_back() else { return false };
        self.size -= entry.size();
        true
    }

    pub(super) fn weight(&self) -> usize {
        let octets = self.size - self.entries.len() * ENTRY_OCTETS;
        weight::vector::<Entry>(self.entries.capacity()) + self.entries.len() * ALLOCATION_BYTES + octets
    }
}
