//! An HTTP request and its response: raw, as assembled, and redacted, as it may be written.
//!
//! [`RawTransaction`] holds wire bytes and is neither printable nor serialisable. [`Transaction`] is made from it by
//! [`crate::redact::Redactor`] only (or read back by [`crate::proto`], where it was written after that), and is what every
//! writer takes. Both hold [`Message`]s, whose
//! text is reached by spans into one buffer: a message costs two allocations, however many lines it has.
//!
//! ```compile_fail
//! // What has not been redacted cannot be written.
//! use headtrail_record::transaction::{RawTransaction, Transaction};
//! fn write(t: &Transaction) {}
//! fn leak(raw: &RawTransaction) { write(raw) }
//! ```
//!
//! ```compile_fail
//! // Nor can a redacted one be made by hand.
//! use headtrail_record::transaction::{RawTransaction, Transaction};
//! fn leak(raw: RawTransaction) -> Transaction { Transaction { inner: raw, features: Default::default(), redacted: vec![], ..todo!() } }
//! ```

use std::fmt;
use std::sync::Arc;

use crate::event::{CloseReason, ConnectionId, Direction, Endpoint, HeaderBytes, ProcessRef};
use crate::features::Features;
use crate::grpc::Grpc;
use crate::record::{Text, unknown};
use crate::tls::Tls;
use crate::volume::{LeftOut, Rate};

/// A run of bytes in a message's text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Span {
    /// Offset of the first byte.
    pub start: u32,
    /// Length in bytes.
    pub len: u32,
}

impl Span {
    /// Stands for bytes that were never seen: a reference into a table whose entry is unknown (RFC 7541, 2.3.2).
    pub const UNSEEN: Self = Self { start: u32::MAX, len: 0 };

    /// Its bytes were never seen, which is something else than empty.
    #[must_use]
    pub fn is_unseen(self) -> bool {
        self == Self::UNSEEN
    }

    /// The span of `start..end`.
    #[must_use]
    pub fn of(start: usize, end: usize) -> Self {
        Self { start: start as u32, len: end.saturating_sub(start) as u32 }
    }

    /// The bytes of the span, or nothing where it does not lie within `text`.
    #[must_use]
    pub fn get(self, text: &[u8]) -> &[u8] {
        let start = self.start as usize;
        text.get(start..start + self.len as usize).unwrap_or(&[])
    }
}

/// A field line (RFC 9110, 5.2), without the whitespace around its value.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Line {
    /// Field name, in the case of the wire.
    pub name: Span,
    /// Field value.
    pub value: Span,
    /// Its sender wants no table to hold it, as it may be a secret (RFC 7541, 6.2.3).
    pub never_indexed: bool,
}

impl Line {
    /// A line of a name and a value.
    #[must_use]
    pub const fn new(name: Span, value: Span) -> Self {
        Self { name, value, never_indexed: false }
    }
}

/// The start-line of a message (RFC 9112, 2.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StartLine {
    /// method SP request-target SP HTTP-version
    Request {
        /// Method.
        method: Span,
        /// Request target, as it came.
        target: Span,
    },
    /// HTTP-version SP status-code SP [ reason-phrase ]
    Status {
        /// Status code.
        status: u16,
        /// Reason phrase; empty where there was none.
        reason: Span,
    },
}

/// HTTP version of a start-line.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    #[default]
    Http11,
    /// HTTP/2
    Http2,
    /// HTTP/0.9: a request-line without a version (RFC 1945, 5).
    Http09,
    /// Another version, or a misspelt one, in a message of HTTP/1.
    Other,
    /// One that this version does not know, by its number in `record.proto`.
    Unknown(u32),
}

impl Version {
    /// The name in records: `1.1`.
    #[must_use]
    pub fn name(self) -> Text {
        match self {
            Self::Http10 => "1.0".into(),
            Self::Http11 => "1.1".into(),
            Self::Http2 => "2".into(),
            Self::Http09 => "0.9".into(),
            Self::Other => "other".into(),
            Self::Unknown(number) => unknown(number),
        }
    }
}

/// One request, interim response or final response.
#[derive(Clone)]
pub struct Message {
    /// Start-line, field lines and trailers, as bytes that the spans point into.
    pub text: Vec<u8>,
    /// Start-line.
    pub start: StartLine,
    /// HTTP version.
    pub version: Version,
    /// Field lines in wire order.
    pub lines: Vec<Line>,
    /// Trailer field lines in wire order.
    pub trailers: Vec<Line>,
    /// Content octets (after chunk decoding); None where unknown.
    pub body_bytes: Option<u64>,
    /// Headers of the packet that began the message.
    pub headers: HeaderBytes,
    /// Segments of the (GSO, GRO) super-packet that began the message; 1 for an ordinary one.
    pub segments: u16,
    /// Frame number in a file; None when live.
    pub frame: Option<u64>,
    /// TCP sequence number of the first byte.
    pub sequence: u32,
    /// Time of the first byte, nanoseconds since the Unix epoch.
    pub first_ns: u64,
    /// Time of the last byte (of head, body or trailers); equal to `first_ns` where the end was not seen.
    pub last_ns: u64,
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Blank on purpose: a message may hold secrets.
        write!(f, "Message({} lines)", self.lines.len())
    }
}

impl Message {
    /// The bytes of a span of this message.
    #[must_use]
    pub fn bytes(&self, span: Span) -> &[u8] {
        span.get(&self.text)
    }

    /// Field lines as (name, value), in wire order.
    pub fn lines(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.lines.iter().map(|l| (l.name.get(&self.text), l.value.get(&self.text)))
    }

    /// Trailer field lines as (name, value), in wire order.
    pub fn trailers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.trailers.iter().map(|l| (l.name.get(&self.text), l.value.get(&self.text)))
    }

    /// Method of a request.
    #[must_use]
    pub fn method(&self) -> Option<&[u8]> {
        match self.start {
            StartLine::Request { method, .. } => Some(self.bytes(method)),
            StartLine::Status { .. } => None,
        }
    }

    /// Target of a request.
    #[must_use]
    pub fn target(&self) -> Option<&[u8]> {
        match self.start {
            StartLine::Request { target, .. } => Some(self.bytes(target)),
            StartLine::Status { .. } => None,
        }
    }

    /// Status code of a response.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self.start {
            StartLine::Status { status, .. } => Some(status),
            StartLine::Request { .. } => None,
        }
    }
}

/// What the seeing socket is in the exchange.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// It receives requests.
    Server,
    /// It sends requests.
    Client,
    /// One that this version does not know, by its number in `record.proto`.
    Unknown(u32),
}

impl Role {
    /// The name in records.
    #[must_use]
    pub fn name(self) -> Text {
        match self {
            Self::Server => "server".into(),
            Self::Client => "client".into(),
            Self::Unknown(number) => unknown(number),
        }
    }
}

/// What of an exchange a record tells. One that lasts long (a stream of events, a tunnel, a long poll) is told twice: when
/// it is known to last, and when it has ended. Each of the two has a number of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Phase {
    /// All of it.
    #[default]
    Whole,
    /// What was known when it turned out to last. A message without [`Message::body_bytes`] is still on the way.
    Start,
    /// All of it, of which the start was told before.
    End {
        /// [`RawTransaction::number`] of the record that told the start.
        start: u32,
    },
}

impl Phase {
    /// The name in records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Start => "start",
            Self::End { .. } => "end",
        }
    }
}

/// Which message of a transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// The request.
    Request,
    /// The response.
    Response,
}

/// Why a record is not whole; a closed set, as far as this version knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IncompleteReason {
    /// The head is longer than the limit; what is there is its beginning.
    Truncated,
    /// No response was seen.
    ResponseMissing,
    /// No request was seen.
    RequestMissing,
    /// The connection is older than the capture and the message had begun before it.
    Joined,
    /// A compressed field refers to a table entry that was never seen (HTTP/2).
    HpackUnknown,
    /// Bytes are missing.
    Gap,
    /// The connection ended within the message.
    ClosedEarly,
    /// Bytes are missing because the ring buffer was full.
    RingFull,
    /// It was given up, or what was held of it, to keep below the limit of memory.
    Memory,
    /// One that this version does not know, by its number in `record.proto`.
    Unknown(u32),
}

impl IncompleteReason {
    /// The name in records.
    #[must_use]
    pub fn name(self) -> Text {
        Text::Borrowed(match self {
            Self::Truncated => "truncated",
            Self::ResponseMissing => "response_missing",
            Self::RequestMissing => "request_missing",
            Self::Joined => "joined",
            Self::HpackUnknown => "hpack_unknown",
            Self::Gap => "gap",
            Self::ClosedEarly => "closed_early",
            Self::RingFull => "ring_full",
            Self::Memory => "memory",
            Self::Unknown(number) => return unknown(number),
        })
    }
}

/// One entry of a record's `incomplete` list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Incomplete {
    /// Why.
    pub reason: IncompleteReason,
    /// Which message.
    pub side: Side,
    /// How many bytes of the message (head and body as on the wire) were seen before it broke off; None where unknown.
    pub at: Option<u64>,
}

/// A named oddity; a closed set, as far as this version knows. Each is a fact about the wire, not a judgement.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub enum Anomaly {
    /// The head does not follow the grammar of RFC 9112; its lines were split at line ends and colons.
    MalformedHead,
    /// More field lines than the limit; the rest is not listed.
    TooManyLines,
    /// Content-Length and Transfer-Encoding together (RFC 9112, 6.1).
    LengthAndEncoding,
    /// Several Content-Length values that differ (RFC 9110, 8.6).
    LengthsDiffer,
    /// A Content-Length that is not a number.
    LengthInvalid,
    /// A Transfer-Encoding whose last coding is not chunked.
    EncodingNotChunked,
    /// A chunk header that does not follow the grammar (RFC 9112, 7.1).
    ChunkInvalid,
    /// A field line folded over several lines (obs-fold, RFC 9112, 5.2).
    ObsFold,
    /// Lines ended by a bare LF.
    BareLf,
    /// A response without an outstanding request.
    UnexpectedResponse,
    /// Retransmitted bytes that differ from the first ones.
    OverlapDiffers,
    /// Bytes between messages that belong to none.
    StrayBytes,
    /// Pseudo-fields that are missing, twice, unknown or behind others (RFC 9113, 8.3).
    PseudoFieldsInvalid,
    /// The request was promised by the server, and not sent by the client (RFC 9113, 8.4).
    Pushed,
    /// Frames that RFC 9113 does not allow in that place.
    FramesInvalid,
    /// A CR within a line of the head.
    BareCr,
    /// Whitespace between a field name and its colon (RFC 9112, 5.1).
    SpaceBeforeColon,
    /// A Transfer-Encoding that readers take differently: chunked more than once, identity, or in an HTTP/1.0 message
    /// (RFC 9112, 6.1).
    EncodingAmbiguous,
    /// In a message of HTTP/1, a version other than HTTP/1.0 and HTTP/1.1, a misspelt one, or none (HTTP/0.9).
    VersionUnknown,
    /// A status code outside of 100 to 599 (RFC 9110, 15).
    StatusOutOfRange,
    /// A line that lenient readers take for Content-Length or Transfer-Encoding (RFC 9112, 5.1 and 5.2).
    FramingObscured,
    /// Content-Length or Transfer-Encoding among the trailers (RFC 9110, 6.5.1).
    TrailerFraming,
    /// One that this version does not know, by its number in `record.proto`.
    Unknown(u32),
}

impl Anomaly {
    /// The name in records.
    #[must_use]
    pub fn name(self) -> Text {
        Text::Borrowed(match self {
            Self::MalformedHead => "malformed_head",
            Self::TooManyLines => "too_many_lines",
            Self::LengthAndEncoding => "length_and_encoding",
            Self::LengthsDiffer => "lengths_differ",
            Self::LengthInvalid => "length_invalid",
            Self::EncodingNotChunked => "encoding_not_chunked",
            Self::ChunkInvalid => "chunk_invalid",
            Self::ObsFold => "obs_fold",
            Self::BareLf => "bare_lf",
            Self::UnexpectedResponse => "unexpected_response",
            Self::OverlapDiffers => "overlap_differs",
            Self::StrayBytes => "stray_bytes",
            Self::PseudoFieldsInvalid => "pseudo_fields_invalid",
            Self::Pushed => "pushed",
            Self::FramesInvalid => "frames_invalid",
            Self::BareCr => "bare_cr",
            Self::SpaceBeforeColon => "space_before_colon",
            Self::EncodingAmbiguous => "encoding_ambiguous",
            Self::VersionUnknown => "version_unknown",
            Self::StatusOutOfRange => "status_out_of_range",
            Self::FramingObscured => "framing_obscured",
            Self::TrailerFraming => "trailer_framing",
            Self::Unknown(number) => return unknown(number),
        })
    }
}

/// A process as it stands on a record; names are resolved by the binary.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Process {
    /// Process id.
    pub pid: u32,
    /// `comm`.
    pub name: String,
    /// Path of the executable, where readable.
    pub executable: Option<String>,
    /// cgroup v2 path.
    pub cgroup: Option<String>,
    /// Container id, where the cgroup path names one.
    pub container: Option<String>,
}

/// An HTTP request and its response as assembled, before redaction. Not printable, not serialisable.
#[derive(Clone)]
pub struct RawTransaction {
    /// The connection.
    pub connection: ConnectionId,
    /// Number of the transaction in its connection, from 0.
    pub number: u32,
    /// Network namespace inode number.
    pub netns: u32,
    /// Client end.
    pub source: Endpoint,
    /// Server end.
    pub destination: Endpoint,
    /// Role of the seeing socket.
    pub role: Role,
    /// Direction of requests at the seeing socket.
    pub request_direction: Direction,
    /// The request; None when it was not seen.
    pub request: Option<Message>,
    /// Interim (1xx) responses in order.
    pub interim: Vec<Message>,
    /// The final response; None when it was not seen.
    pub response: Option<Message>,
    /// Owner of the seeing socket.
    pub process: Option<ProcessRef>,
    /// Owner of the other end, when it is on this host.
    pub peer_process: Option<ProcessRef>,
    /// Why the record is not whole; empty when it is.
    pub incomplete: Vec<Incomplete>,
    /// Named oddities.
    pub anomalies: Vec<Anomaly>,
    /// HTTP/2 stream.
    pub stream: Option<u32>,
    /// One end gave it up (HTTP/2).
    pub reset: Option<Reset>,
    /// What is known of its TLS; None where there is none.
    pub tls: Option<Arc<Tls>>,
    /// What of the exchange this tells.
    pub phase: Phase,
    /// How the connection ended whose end ended this call; of [`Phase::End`] only.
    pub close: Option<CloseReason>,
}

/// The end of a stream before its time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reset {
    /// Which end: that of requests or that of responses.
    pub by: Side,
    /// Error code (RFC 9113, 7).
    pub error_code: u32,
    /// By GOAWAY, which says that it was not processed (RFC 9113, 6.8), and not by RST_STREAM.
    pub goaway: bool,
}

/// Names of the error codes from 0 on (RFC 9113, 7).
const ERROR_CODES: [&str; 14] = [
    "NO_ERROR",
    "PROTOCOL_ERROR",
    "INTERNAL_ERROR",
    "FLOW_CONTROL_ERROR",
    "SETTINGS_TIMEOUT",
    "STREAM_CLOSED",
    "FRAME_SIZE_ERROR",
    "REFUSED_STREAM",
    "CANCEL",
    "COMPRESSION_ERROR",
    "CONNECT_ERROR",
    "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY",
    "HTTP_1_1_REQUIRED",
];

impl Reset {
    /// Name of the error code; a number where it has none.
    #[must_use]
    pub fn error(&self) -> Text {
        let known = ERROR_CODES.get(self.error_code as usize);
        known.map_or_else(|| unknown(self.error_code), |name| Text::Borrowed(name))
    }
}

impl fmt::Debug for RawTransaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Blank on purpose: it has not been redacted.
        write!(f, "RawTransaction({}-{})", self.connection.0, self.number)
    }
}

/// Durations of a transaction, nanoseconds, taken at the hook. None where an end was not seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Timing {
    /// First to last byte of the request.
    pub request_ns: Option<u64>,
    /// Last byte of the request to first byte of the final response.
    pub wait_ns: Option<u64>,
    /// First to last byte of the final response.
    pub response_ns: Option<u64>,
    /// First byte of the request to last byte of the response.
    pub total_ns: Option<u64>,
}

/// A redacted transaction: what may be written and printed.
pub struct Transaction {
    pub(crate) inner: RawTransaction,
    pub(crate) features: Features,
    /// Few have it.
    pub(crate) grpc: Option<Box<Grpc>>,
    pub(crate) redacted: Vec<String>,
    pub(crate) left_out: u32,
    pub(crate) sample_rate: Rate,
    pub(crate) lines_left_out: LeftOut,
}

impl fmt::Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Transaction({}-{})", self.inner.connection.0, self.inner.number)
    }
}

impl Transaction {
    /// What stands on the record; all secrets in it have been replaced.
    #[must_use]
    pub fn facts(&self) -> &RawTransaction {
        &self.inner
    }

    /// Features of the values that redaction has hidden.
    #[must_use]
    pub fn features(&self) -> &Features {
        &self.features
    }

    /// What it is as a call of gRPC, if it is one.
    #[must_use]
    pub fn grpc(&self) -> Option<&Grpc> {
        self.grpc.as_deref()
    }

    /// Names of the lines (and `target`, `reason`) in which something was replaced, each once, in order.
    #[must_use]
    pub fn redacted(&self) -> &[String] {
        &self.redacted
    }

    /// The part of its kind that is recorded: this one stands for 1/rate of them.
    #[must_use]
    pub fn sample_rate(&self) -> Rate {
        self.sample_rate
    }

    /// How many lines the settings of the volume left out.
    #[must_use]
    pub fn lines_left_out(&self) -> LeftOut {
        self.lines_left_out
    }

    /// How many lines, cookies and query keys were left out because a user wants no trace of them.
    #[must_use]
    pub fn left_out(&self) -> u32 {
        self.left_out
    }

    /// Time of the record: first byte of the request, else of the response. Nanoseconds since the Unix epoch.
    #[must_use]
    pub fn time_ns(&self) -> u64 {
        let first = self.inner.request.as_ref().or(self.inner.response.as_ref());
        first.map_or(0, |m| m.first_ns)
    }

    /// Durations.
    #[must_use]
    pub fn timing(&self) -> Timing {
        let request = self.inner.request.as_ref();
        let response = self.inner.response.as_ref();
        let broken = |side| self.inner.incomplete.iter().any(|i| i.side == side);
        let open = |m: &Message| self.inner.phase == Phase::Start && m.body_bytes.is_none();
        // Of a message whose end was seen.
        let ended_request = request.filter(|m| !broken(Side::Request) && !open(m));
        let ended_response = response.filter(|m| !broken(Side::Response) && !open(m));
        let request_ns = ended_request.map(|m| m.last_ns.saturating_sub(m.first_ns));
        let response_ns = ended_response.map(|m| m.last_ns.saturating_sub(m.first_ns));
        let wait_ns = ended_request.zip(response).map(|(q, r)| r.first_ns.saturating_sub(q.last_ns));
        let total_ns = request.zip(ended_response).map(|(q, r)| r.last_ns.saturating_sub(q.first_ns));
        Timing { request_ns, wait_ns, response_ns, total_ns }
    }
}
