//! The limits of assembly: each has one definition, its unit in its name, and a counted answer when it is hit.

/// Limits of an [`Assembler`](crate::Assembler).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Longest head that is kept whole, bytes. A longer one is `truncated`: its first bytes are kept.
    pub head_bytes_max: usize,
    /// Most field lines that are listed of one message; the rest is the anomaly `too_many_lines`.
    pub field_lines_max: usize,
    /// Most transactions that one connection holds; the oldest is then given out without its response.
    pub pending_transactions_max: usize,
    /// Most connections that are held; the one that was silent longest is then given up, and what it held given out.
    pub connections_max: usize,
    /// Most bytes that one direction holds back to restore order; then the hole before them is named a gap.
    pub reorder_bytes_max: usize,
    /// Most segments that one direction holds back to restore order; then the hole before them is named a gap.
    pub reorder_segments_max: usize,
    /// Age at which a hole is named a gap, nanoseconds.
    pub hole_age_ns_max: u64,
    /// How long the first pair after a loss is held back in case it turns out to be a wrong one, nanoseconds.
    pub probation_ns: u64,
    /// Most bytes that are held, all together and with what the tables take; then what is held is given up in the order
    /// that `shed.rs` gives.
    pub held_bytes_max: usize,
    /// Most bytes that one connection holds; then its transactions in progress are given up.
    pub connection_bytes_max: usize,
    /// Most streams of an HTTP/2 connection that are open; the oldest is then given out without its response.
    pub streams_max: usize,
    /// Most bytes that one HTTP/2 connection holds; then its transactions in progress are given up.
    pub http2_connection_bytes_max: usize,
    /// Most early segments that wait for their connection; the oldest is then given out as a connection of its own.
    pub early_segments_max: usize,
    /// Age at which an early segment is given out as a connection of its own, nanoseconds.
    pub early_age_ns_max: u64,
    /// Most owners of client ends that are remembered; the oldest is then forgotten.
    pub peers_max: usize,
    /// Most transactions that are remembered in order to recognise their twins; the oldest are then forgotten.
    pub twins_max: usize,
    /// How long a transaction is remembered in order to recognise its twin, nanoseconds.
    pub twin_window_ns: u64,
    /// Most hints to the capturing side that wait to be taken; further ones are dropped.
    pub resyncs_max: usize,
    /// Age at which an exchange that is open is a long call, nanoseconds: its start is told, and its end later.
    pub long_call_ns: u64,
    /// Silence after which a connection is given up, nanoseconds; with a long call it is spared some times.
    pub idle_ns_max: u64,
}

const SECOND_NS: u64 = 1_000_000_000;

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_bytes_max: 64 * 1024,
            field_lines_max: 512,
            pending_transactions_max: 1024,
            connections_max: 65_536,
            reorder_bytes_max: 64 * 1024,
            reorder_segments_max: 64,
            hole_age_ns_max: 5 * SECOND_NS,
            probation_ns: SECOND_NS,
            held_bytes_max: 96 * 1024 * 1024,
            connection_bytes_max: 4 * 1024 * 1024,
            streams_max: 16_384,
            http2_connection_bytes_max: 32 * 1024 * 1024,
            early_segments_max: 4096,
            early_age_ns_max: 5 * SECOND_NS,
            peers_max: 16_384,
            twins_max: 65_536,
            twin_window_ns: 2 * SECOND_NS,
            resyncs_max: 65_536,
            long_call_ns: 10 * SECOND_NS,
            idle_ns_max: 3600 * SECOND_NS,
        }
    }
}

/// Most field lines that the parser can list at once; `field_lines_max` is at most this.
pub(crate) const FIELD_LINES_CEILING: usize = 512;
