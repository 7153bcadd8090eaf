//! What the assembler counts. Messages balance: started = given + dropped + held.

use crate::shed::Shed;
use crate::tls;

/// Requests and final responses, counted apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Messages {
    /// Requests.
    pub requests: u64,
    /// Final responses; interim (1xx) ones go with them and are not counted.
    pub responses: u64,
}

impl Messages {
    /// Adds one request, one response, both or neither.
    pub(crate) fn add(&mut self, request: bool, response: bool) {
        self.requests += u64::from(request);
        self.responses += u64::from(response);
    }
}

/// Counts since the assembler was made. All are totals.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Messages of which a start-line was seen.
    pub started: Messages,
    /// Messages given out in transactions.
    pub given: Messages,
    /// Messages dropped because the other end's record of them was given out.
    pub dropped_twin: Messages,
    /// Transactions given out, without the starts of long calls.
    pub transactions: u64,
    /// Long calls whose start was given out. Their ends are among the transactions.
    pub long_calls: u64,
    /// Transactions given out that are not whole.
    pub incomplete: u64,
    /// Segments handed in.
    pub segments: u64,
    /// Payload bytes handed in.
    pub bytes: u64,
    /// Segments that held nothing new.
    pub duplicate_segments: u64,
    /// Segments that were held back until the bytes before them came.
    pub reordered_segments: u64,
    /// Holes that were named gaps.
    pub gaps: u64,
    /// Holes that were named gaps because the ring buffer had been full.
    pub ring_full_gaps: u64,
    /// Bytes that belong to no message.
    pub stray_bytes: u64,
    /// Connections seen.
    pub connections: u64,
    /// Connections that do not speak HTTP/1.
    pub other_connections: u64,
    /// Connections that speak HTTP/2.
    pub http2_connections: u64,
    /// Directions of them whose place was lost because bytes were missing.
    pub http2_lost: u64,
    /// Directions whose place was found: after that, or in a connection that was joined in the middle.
    pub http2_found: u64,
    /// Header blocks of HTTP/2 that were broken off, or stood where none may.
    pub http2_blocks_broken: u64,
    /// Connections that became tunnels (RFC 9110, 7.8 and 9.3.6).
    pub tunnels: u64,
    /// Connections given up because nothing was heard of them.
    pub idle_connections: u64,
    /// Transactions given up because one connection held too many.
    pub pending_overflows: u64,
    /// Early segments that found their connection.
    pub early_adopted: u64,
    /// Early segments that did not.
    pub early_orphaned: u64,
    /// What was given up to keep below the limit of memory.
    pub shed: Shed,
    /// TLS.
    pub tls: tls::Counts,
    /// Hints to the capturing side that were dropped because nobody took them.
    pub dropped_resyncs: u64,
}
