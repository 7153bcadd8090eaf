//! The limits of reading capture files: each has one definition, its unit in its name, and a counted answer when it is hit.

/// Limits of a [`Reader`](crate::Reader).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Longest packet, bytes; libpcap takes no longer ones. In a pcap file a longer one is damage, and reading ends; in
    /// a pcapng file it is passed over (`packet_too_long`).
    pub packet_bytes_max: usize,
    /// Longest block of a pcapng file that is looked at, bytes; a longer one is passed over (`packet_too_long`, if it is one).
    pub block_bytes_max: usize,
    /// Most interfaces of a section of a pcapng file; packets of further ones are passed over (`interface_unknown`).
    pub interfaces_max: usize,
    /// Most headers of one packet, tunnels and all; what lies deeper is passed over (`too_many_layers`).
    pub layers_max: usize,
    /// Most bytes of fragments that wait for others; the oldest are then given up (`fragments_missing`).
    pub fragment_bytes_max: usize,
    /// Most fragmented packets that wait for fragments; the oldest is then given up (`fragments_missing`).
    pub fragmented_packets_max: usize,
    /// Most fragments of one packet; then it is given up (`fragments_missing`).
    pub fragments_max: usize,
    /// Age at which a fragmented packet is given up (`fragments_missing`), nanoseconds.
    pub fragment_age_ns_max: u64,
    /// Most connections whose state is kept; those that were silent longest are then forgotten (`connections_max`).
    pub connections_max: usize,
    /// Silence behind the last FIN, or a RST, after which a connection is over, nanoseconds: packets that cross on the
    /// way to the capture are still its own.
    pub linger_ns: u64,
}

const SECOND_NS: u64 = 1_000_000_000;

impl Default for Limits {
    fn default() -> Self {
        Self {
            packet_bytes_max: 256 * 1024,
            block_bytes_max: 1024 * 1024,
            interfaces_max: 4096,
            layers_max: 24,
            fragment_bytes_max: 8 * 1024 * 1024,
            fragmented_packets_max: 1024,
            fragments_max: 256,
            fragment_age_ns_max: 30 * SECOND_NS,
            connections_max: 65_536,
            linger_ns: SECOND_NS,
        }
    }
}
