//! What things weigh: the bytes of the heap that they take, near enough to keep a limit by.
//!
//! Weights are computed from capacities and sizes of types, with what an allocator adds to each allocation. The alternative, to ask the
//! allocator, would tie this crate to one and count what other threads hold. `tests/memory.rs` compares with a
//! counting allocator. All are O(1), apart from those of one message.

use headtrail_record::transaction::{Line, Message, RawTransaction};

use crate::pairing::Exchange;

/// What an allocator adds to an allocation, and loses by rounding it up.
pub(crate) const ALLOCATION_BYTES: usize = 16;

/// An exchange without its messages, with its lists of a few oddities and its place in the queue.
pub(crate) const EXCHANGE_BYTES: usize = size_of::<Exchange>() + 3 * ALLOCATION_BYTES + 96;

/// What a vector of so many elements takes.
pub(crate) fn vector<T>(capacity: usize) -> usize {
    if capacity == 0 { 0 } else { capacity * size_of::<T>() + ALLOCATION_BYTES }
}

/// What a hash map that has room for so many elements takes: a power of two of places of which seven eighths are used,
/// each with one byte of its own.
pub(crate) fn map<K, V>(capacity: usize) -> usize {
    if capacity == 0 { 0 } else { (capacity * 8 / 7).next_power_of_two() * (size_of::<(K, V)>() + 1) }
}

/// The buffers of a message.
pub(crate) fn message(message: &Message) -> usize {
    vector::<u8>(message.text.capacity())
        + vector::<Line>(message.lines.capacity())
        + vector::<Line>(message.trailers.capacity())
}

/// A message in a list of interim ones, which grows by doubling.
pub(crate) fn interim(of: &Message) -> usize {
    size_of::<Message>() * 3 / 2 + message(of)
}

/// The messages of a transaction.
pub(crate) fn messages(tx: &RawTransaction) -> usize {
    tx.request.iter().chain(&tx.response).map(message).sum::<usize>()
        + tx.interim.iter().map(interim).sum::<usize>()
}
