//! BPF programs, their loading and the ring buffer; yields events.
//!
//! Place in the data's way: first. [`Capture`] attaches the programs of `src/bpf` and hands out what they send as
//! [`headtrail_record::event::Event`]s, which have no kernel type in them. This is the only crate with unsafe code and
//! the only one that knows libbpf.
//!
//! Invariants: the consumer gives ring space back only after its caller has dealt with the events; every optional
//! program that the kernel refuses is named with its cause ([`Feature`]); dropping a [`Capture`] detaches everything.

pub mod abi;
pub mod cgroup;
mod counters;
mod decode;
pub mod filter;
mod lane;
mod load;
mod log;
mod merge;
mod pace;
mod ring;
mod shared;

pub use counters::Counters;
pub use decode::{DecodeError, decode};
pub use load::{
    Capture, Feature, Options, RING_BYTES_DEFAULT, RING_BYTES_MAX, RING_BYTES_MIN, StartError, probe,
};
