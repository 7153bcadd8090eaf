//! The border with the kernel's side, as `abi.h` has it.

/// `HT_ABI_VERSION`
pub const VERSION: u16 = 1;
/// `sizeof(struct ht_record)`
pub const RECORD_BYTES: usize = 72;

/// `enum ht_kind`
pub mod kind {
    #![allow(missing_docs)]
    pub const SEGMENT: u8 = 1;
    pub const BODY_END: u8 = 2;
    pub const FINISHED: u8 = 3;
    pub const CLOSED: u8 = 4;
    pub const PEER: u8 = 5;
}

/// `enum ht_direction`
pub mod direction {
    #![allow(missing_docs)]
    pub const INGRESS: u8 = 0;
    pub const EGRESS: u8 = 1;
}

/// Offsets in `struct ht_record`, in bytes.
pub mod offset {
    #![allow(missing_docs)]
    pub const VERSION: usize = 0;
    pub const KIND: usize = 2;
    pub const DIRECTION: usize = 3;
    pub const FLAGS: usize = 4;
    pub const STARTS: usize = 6;
    pub const COOKIE: usize = 8;
    pub const TIME_NS: usize = 16;
    pub const NETNS: usize = 24;
    pub const SEQUENCE: usize = 28;
    pub const PACKET_END: usize = 32;
    pub const HEADER_BYTES: usize = 36;
    pub const PAYLOAD_BYTES: usize = 38;
    pub const SEGMENTS: usize = 40;
    pub const CLOSED_BY_FIN: usize = 42;
    pub const PID: usize = 44;
    pub const OCTETS: usize = 48;
    pub const COMM: usize = 56;
}

/// Offsets in `struct ht_sock`, in bytes: what a filter program reads and writes.
pub mod sock {
    #![allow(missing_docs)]
    pub const FORWARD: u16 = 88;
    pub const MIRRORED: u16 = 168;
    pub const VERDICT: u16 = 20;
}

/// `struct ht_counters`: its members in order, 8 bytes each, at the beginning of each CPU's scratch areas.
pub const COUNTERS: usize = 17;
/// `HT_SLOTS`
pub const SLOTS: u32 = 3;
/// `HT_CALL_FILTER`
pub const CALL_FILTER: u32 = 0;
/// `HT_CALL_RESUME`
pub const CALL_RESUME: u32 = 1;
/// `HT_RINGS_MAX`
pub const RINGS_MAX: usize = 64;

/// Offsets in `struct ht_shared`, in bytes.
pub mod shared {
    #![allow(missing_docs)]
    pub const WAITING: usize = 0;
    pub const PROCESS_LOST: usize = 16;
    pub const BYTES: usize = 24;
}
