//! Bytes to records. The bytes may be anybody's: what is not as it should be is an error, what is not known is kept.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use prost::Message as _;

use super::encode::implied_direction;
use super::limits::{RECORD_BYTES_MAX, within};
use super::numbers::Numbered;
use super::v1;
use super::wire::{Fields, Value, unzigzag};
use crate::event::{CloseReason, ConnectionId, Direction, Endpoint, HeaderBytes, ProcessRef};
use crate::features::{Basic, Features, Jwt, KeyShape, PatternHit, Place};
use crate::grpc::Grpc;
use crate::packet;
use crate::record::{
    Annotation, Checkpoint, Coverage, Details, Kind, Lifecycle, Loss, Record, Stored, StoredProcesses,
    Unknown, Unread,
};
use crate::tls::Tls;
use crate::transaction::{
    Incomplete, Line, Message, Phase, Process, RawTransaction, Reset, Side, Span, StartLine, Transaction,
};
use crate::volume::{LeftOut, Rate};

/// Why bytes are not a record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DecodeError {
    /// They are not protobuf, or not of this schema.
    Malformed,
    /// They have no type, or several.
    NoKind,
    /// They are more than a record can have.
    TooLarge,
    /// A field holds what it cannot hold.
    Value(&'static str),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("not a record: malformed"),
            Self::NoKind => f.write_str("not a record: no type, or several"),
            Self::TooLarge => f.write_str("not a record: larger than one may be"),
            Self::Value(field) => write!(f, "not a record: a {field} that cannot be"),
        }
    }
}

impl std::error::Error for DecodeError {}

impl From<prost::DecodeError> for DecodeError {
    fn from(_: prost::DecodeError) -> Self {
        Self::Malformed
    }
}

type Result<T> = std::result::Result<T, DecodeError>;

/// Type and time of a record, for those who want some only.
///
/// # Errors
/// Where the bytes are not a record as far as they are looked at.
pub fn peek(bytes: &[u8]) -> Result<(Kind, u64)> {
    open(bytes).map(|(kind, time_ns, _)| (kind, time_ns))
}

/// Type, time and content of a record.
fn open(bytes: &[u8]) -> Result<(Kind, u64, &[u8])> {
    if bytes.len() > RECORD_BYTES_MAX {
        return Err(DecodeError::TooLarge);
    }
    let mut fields = Fields::of(bytes);
    let (mut kind, mut time_ns) = (None, 0);
    for field in fields.by_ref() {
        match field {
            (32, Value::Fixed64(time)) => time_ns = time,
            (32, _) => return Err(DecodeError::Malformed),
            (number @ ..=Kind::NUMBER_MAX, Value::Bytes(content)) if kind.is_none() => {
                kind = Some((Kind(number), content));
            }
            (..=Kind::NUMBER_MAX, Value::Bytes(_)) => return Err(DecodeError::NoKind),
            (..=Kind::NUMBER_MAX, _) => return Err(DecodeError::Malformed),
            _ => {}
        }
    }
    if !fields.is_whole() {
        return Err(DecodeError::Malformed);
    }
    let (kind, content) = kind.ok_or(DecodeError::NoKind)?;
    Ok((kind, time_ns, content))
}

/// Decodes a record. Of a type that this version does not know, and of a transaction in a form that it does not know, the bytes
/// are kept.
///
/// # Errors
/// Where the bytes are not a record.
pub fn decode(bytes: &[u8]) -> Result<Record> {
    let (kind, time_ns, content) = open(bytes)?;
    match within(kind, content) {
        Some(true) => {}
        Some(false) => return Err(DecodeError::TooLarge),
        None => return Err(DecodeError::Malformed),
    }
    let unknown = || Record::Unknown(Unknown { kind, time_ns, bytes: bytes.to_vec() });
    Ok(match kind {
        Kind::TRANSACTION => match stored(content, time_ns)? {
            Some(stored) => Record::Transaction(Box::new(stored)),
            None => unknown(),
        },
        Kind::ANNOTATION => {
            let of = v1::Annotation::decode(content)?;
            let (record, fact) = (of.record.into(), of.fact.into());
            Record::Annotation(Annotation { time_ns, record, fact, details: details(of.details) })
        }
        Kind::LOSS => {
            let v1::Loss { stage, reason, count, since_ns, until_ns } = v1::Loss::decode(content)?;
            Record::Loss(Loss {
                time_ns,
                stage: stage.into(),
                reason: reason.into(),
                count,
                since_ns,
                until_ns,
            })
        }
        Kind::LIFECYCLE => Record::Lifecycle(lifecycle(v1::Lifecycle::decode(content)?, time_ns)?),
        Kind::COVERAGE => {
            let unread = v1::Coverage::decode(content)?.unread.into_iter().map(unread).collect();
            Record::Coverage(Coverage { time_ns, unread })
        }
        Kind::CHECKPOINT => {
            let of = v1::Checkpoint::decode(content)?;
            let root = of.root.try_into().map_err(|_| DecodeError::Value("root"))?;
            let (origin, size, signature) = (of.origin.into(), of.size, of.signature);
            Record::Checkpoint(Checkpoint { time_ns, origin, size, root, signature })
        }
        _ => unknown(),
    })
}

fn details(of: Vec<v1::Detail>) -> Details {
    of.into_iter().map(|detail| (detail.name.into(), detail.value.into())).collect()
}

fn lifecycle(of: v1::Lifecycle, time_ns: u64) -> Result<Lifecycle> {
    let config_hash = match of.config_hash {
        hash if hash.is_empty() => None,
        hash => Some(hash.try_into().map_err(|_| DecodeError::Value("config_hash"))?),
    };
    Ok(Lifecycle {
        time_ns,
        event: of.event.into(),
        version: of.version.into(),
        filter: of.filter.map(Into::into),
        config_hash,
        redaction: of.redaction.map(Into::into),
        off_ns: of.off.map(|off| (off.since_ns, off.until_ns)),
        details: details(of.details),
    })
}

fn unread(of: v1::coverage::Unread) -> Unread {
    let process = of.process.map(|process| {
        let name = process.name.unwrap_or_else(|| crate::features::lossless(&process.comm));
        Process {
            pid: process.pid,
            name,
            executable: process.executable,
            cgroup: process.cgroup,
            container: process.container,
        }
    });
    let (what, why, place) = (of.what.into(), of.why.into(), of.r#where.into());
    Unread { what, why, place, process, count: of.count }
}

/// Reads a transaction; None where it is in a form that is not known.
fn stored(content: &[u8], time_ns: u64) -> Result<Option<Stored>> {
    let (mut request, mut response, mut interim) = (None, None, Vec::new());
    let mut rest = Vec::with_capacity(1024);
    let mut fields = Fields::of(content);
    let mut before = content;
    while let Some(field) = fields.next() {
        let (place, bytes) = match field {
            (7, Value::Bytes(bytes)) => (&mut request, bytes),
            (8, Value::Bytes(bytes)) => (&mut response, bytes),
            (9, Value::Bytes(bytes)) => {
                interim.push(http_message(bytes, time_ns)?);
                before = fields.rest();
                continue;
            }
            _ => {
                // For the generated type.
                let after = fields.rest();
                rest.extend_from_slice(&before[..before.len() - after.len()]);
                before = after;
                continue;
            }
        };
        before = fields.rest();
        if place.replace(http_message(bytes, time_ns)?).is_some() {
            return Err(DecodeError::Malformed);
        }
    }
    let of = v1::Transaction::decode(rest.as_slice())?;
    let Some(phase) = phase(&of) else { return Ok(None) };
    let mut processes = StoredProcesses::default();
    let role = Numbered::of_number(of.role);
    let request_direction = match v1::Direction::try_from(of.request_direction) {
        Ok(v1::Direction::Unspecified) => implied_direction(role),
        Ok(v1::Direction::Ingress) => Direction::Ingress,
        Ok(v1::Direction::Egress) => Direction::Egress,
        Err(_) => return Err(DecodeError::Value("direction")),
    };
    let incomplete = |of: v1::Incomplete| {
        Ok(Incomplete { reason: Numbered::of_number(of.reason), side: side(of.side)?, at: of.at })
    };
    let inner = RawTransaction {
        connection: ConnectionId(of.connection),
        number: of.number,
        netns: of.netns,
        source: endpoint(of.source)?,
        destination: endpoint(of.destination)?,
        role,
        request_direction,
        request,
        interim,
        response,
        process: of.process.map(|process| process_of(process, &mut processes)).transpose()?,
        peer_process: of.peer_process.map(|process| process_of(process, &mut processes)).transpose()?,
        incomplete: of.incomplete.into_iter().map(incomplete).collect::<Result<_>>()?,
        anomalies: of.anomalies.into_iter().map(Numbered::of_number).collect(),
        stream: of.stream.map(u32::try_from).transpose().map_err(|_| DecodeError::Value("stream"))?,
        reset: of.reset.map(reset).transpose()?,
        tls: of.tls.map(tls).transpose()?.map(Arc::new),
        phase,
        close: close(of.close)?,
    };
    let features = of.features.map(features).transpose()?.unwrap_or_default();
    // A rate that is none says nothing.
    let sample_rate = of.sample_rate.and_then(Rate::new).unwrap_or(Rate::ALL);
    let lines_left_out = LeftOut { request: of.request_lines_left_out, response: of.response_lines_left_out };
    let redacted = of.redacted;
    let grpc = of.grpc.map(|of| Box::new(grpc(of)));
    let left_out = of.left_out;
    let transaction = Transaction { inner, features, grpc, redacted, left_out, sample_rate, lines_left_out };
    Ok(Some(Stored { transaction, run: of.run, processes }))
}

fn endpoint(of: Option<v1::Endpoint>) -> Result<Endpoint> {
    let of = of.ok_or(DecodeError::Value("address"))?;
    let ip = if let Ok(v4) = <[u8; 4]>::try_from(of.ip.as_slice()) {
        IpAddr::from(v4)
    } else {
        let v6 = <[u8; 16]>::try_from(of.ip.as_slice()).map_err(|_| DecodeError::Value("address"))?;
        IpAddr::from(v6)
    };
    let port = of.port.try_into().map_err(|_| DecodeError::Value("port"))?;
    Ok(Endpoint { ip, port })
}

fn tls(of: v1::Tls) -> Result<Tls> {
    let number = |of: u32| u16::try_from(of).map(|n| Some(n).filter(|&n| n != 0));
    let text = |of: Vec<u8>| Some(of).filter(|of| !of.is_empty()).map(|of| crate::features::lossless(&of));
    Ok(Tls {
        version: number(of.version).map_err(|_| DecodeError::Value("version of TLS"))?,
        cipher: number(of.cipher).map_err(|_| DecodeError::Value("cipher suite"))?,
        sni: text(of.sni),
        alpn: text(of.alpn),
        ja4: Some(of.ja4).filter(|of| !of.is_empty()),
        resumed: of.resumed,
    })
}

/// None where it is one that is not known.
fn phase(of: &v1::Transaction) -> Option<Phase> {
    Some(match v1::Phase::try_from(of.phase).ok()? {
        v1::Phase::Whole => Phase::Whole,
        v1::Phase::Start => Phase::Start,
        v1::Phase::End => Phase::End { start: of.start_number },
    })
}

fn close(of: i32) -> Result<Option<CloseReason>> {
    match v1::CloseReason::try_from(of) {
        Ok(v1::CloseReason::Unspecified) => Ok(None),
        Ok(v1::CloseReason::Fin) => Ok(Some(CloseReason::Fin)),
        Ok(v1::CloseReason::Reset) => Ok(Some(CloseReason::Reset)),
        Ok(v1::CloseReason::Evicted) => Ok(Some(CloseReason::Evicted)),
        Ok(v1::CloseReason::Open) | Err(_) => Err(DecodeError::Value("close")),
    }
}

fn grpc(of: v1::Grpc) -> Grpc {
    let v1::Grpc { service, method, status, message, timeout_ns, encoding, web } = of;
    Grpc { service, method, status, message, timeout_ns, encoding, web }
}

fn reset(of: v1::Reset) -> Result<Reset> {
    Ok(Reset { by: side(of.by)?, error_code: of.error_code, goaway: of.goaway })
}

fn side(of: i32) -> Result<Side> {
    match v1::Side::try_from(of) {
        Ok(v1::Side::Request) => Ok(Side::Request),
        Ok(v1::Side::Response) => Ok(Side::Response),
        _ => Err(DecodeError::Value("side")),
    }
}

/// Reads a message. By hand and not by its generated type, which would allocate each name and value: nearly all bytes of a
/// journal are these.
fn http_message(bytes: &[u8], time_ns: u64) -> Result<Message> {
    let mut text = Vec::with_capacity(bytes.len());
    let mut put = |bytes: &[u8]| {
        let at = text.len();
        text.extend_from_slice(bytes);
        Span::of(at, text.len())
    };
    let (mut method, mut target, mut status, mut reason) =
        (Span::default(), Span::default(), None, Span::default());
    let (mut version, mut lines, mut trailers) = (0, Vec::with_capacity(16), Vec::new());
    let (mut body_bytes, mut headers, mut segments, mut frame) = (None, HeaderBytes::new(&[]), 1, None);
    let (mut payload_offset, mut first_ns, mut last_ns) = (0, 0, 0);
    let mut fields = Fields::of(bytes);
    for field in fields.by_ref() {
        match field {
            (1, Value::Bytes(bytes)) => method = put(bytes),
            (2, Value::Bytes(bytes)) => target = put(bytes),
            (3, Value::Varint(n)) => status = Some(n.try_into().map_err(|_| DecodeError::Value("status"))?),
            (4, Value::Bytes(bytes)) => reason = put(bytes),
            (5, Value::Varint(n)) => version = n as i32,
            (6, Value::Bytes(bytes)) => lines.push(line(bytes, &mut put)?),
            (7, Value::Bytes(bytes)) => trailers.push(line(bytes, &mut put)?),
            (8, Value::Varint(n)) => body_bytes = Some(n),
            (9, Value::Bytes(bytes)) => headers = HeaderBytes::new(bytes),
            (10, Value::Varint(n)) => segments = n.try_into().map_err(|_| DecodeError::Value("segments"))?,
            (11, Value::Varint(n)) => frame = Some(n),
            (12, Value::Varint(n)) => payload_offset = n as u32,
            (13, Value::Varint(n)) => first_ns = unzigzag(n),
            (14, Value::Varint(n)) => last_ns = unzigzag(n),
            (..=14, _) => return Err(DecodeError::Malformed),
            _ => {}
        }
    }
    if !fields.is_whole() {
        return Err(DecodeError::Malformed);
    }
    let first_ns = time_ns.wrapping_add(first_ns as u64);
    Ok(Message {
        text,
        start: match status {
            None => StartLine::Request { method, target },
            Some(status) => StartLine::Status { status, reason },
        },
        version: Numbered::of_number(version),
        lines,
        trailers,
        body_bytes,
        headers,
        segments,
        frame,
        sequence: packet::sequence(&headers).wrapping_add(payload_offset),
        first_ns,
        last_ns: first_ns.wrapping_add(last_ns as u64),
    })
}

fn line(bytes: &[u8], put: &mut impl FnMut(&[u8]) -> Span) -> Result<Line> {
    let mut line = Line::default();
    let (mut name_unseen, mut value_unseen) = (false, false);
    let mut fields = Fields::of(bytes);
    for field in fields.by_ref() {
        match field {
            (1, Value::Bytes(bytes)) => line.name = put(bytes),
            (2, Value::Bytes(bytes)) => line.value = put(bytes),
            (3, Value::Varint(n)) => line.never_indexed = n != 0,
            (4, Value::Varint(n)) => name_unseen = n != 0,
            (5, Value::Varint(n)) => value_unseen = n != 0,
            (..=5, _) => return Err(DecodeError::Malformed),
            _ => {}
        }
    }
    if name_unseen {
        line.name = Span::UNSEEN;
    }
    if value_unseen {
        line.value = Span::UNSEEN;
    }
    if fields.is_whole() { Ok(line) } else { Err(DecodeError::Malformed) }
}

/// The reference to a process; what is known of it goes to `processes`.
fn process_of(of: v1::Process, processes: &mut StoredProcesses) -> Result<ProcessRef> {
    let mut reference = ProcessRef { pid: of.pid, name: [0; 16] };
    let place = reference.name.get_mut(..of.comm.len()).ok_or(DecodeError::Value("comm"))?;
    place.copy_from_slice(&of.comm);
    if of.name.is_some() || of.executable.is_some() || of.cgroup.is_some() || of.container.is_some() {
        let name = of.name.unwrap_or_else(|| crate::features::lossless(&of.comm));
        let process = Process {
            pid: of.pid,
            name,
            executable: of.executable,
            cgroup: of.cgroup,
            container: of.container,
        };
        processes.0.push((reference, process));
    }
    Ok(reference)
}

fn features(of: v1::Features) -> Result<Features> {
    let jwt = |of: v1::Jwt| {
        Ok(Jwt {
            place: place(of.place)?,
            alg: of.alg,
            typ: of.typ,
            kid: Some(of.kid).filter(|&kid| kid != 0).map(Numbered::of_number),
            jku_host: of.jku_host,
            expires_unix_s: of.expires_unix_s,
            parts: of.parts.try_into().map_err(|_| DecodeError::Value("parts"))?,
            unsigned: of.unsigned,
        })
    };
    let basic = |of: v1::Basic| {
        Ok(Basic { place: place(of.place)?, user: of.user, password_empty: of.password_empty })
    };
    let key_shape = |of: v1::KeyShape| Ok(KeyShape { place: place(of.place)?, provider: of.provider });
    let pattern = |of: v1::PatternHit| {
        Ok(PatternHit { place: place(of.place)?, kind: Numbered::of_number(of.kind), class: of.class })
    };
    Ok(Features {
        jwt: of.jwt.into_iter().map(jwt).collect::<Result<_>>()?,
        basic: of.basic.into_iter().map(basic).collect::<Result<_>>()?,
        key_shape: of.key_shape.into_iter().map(key_shape).collect::<Result<_>>()?,
        patterns: of.patterns.into_iter().map(pattern).collect::<Result<_>>()?,
    })
}

fn place(of: Option<v1::Place>) -> Result<Place> {
    let of = of.ok_or(DecodeError::Value("place"))?;
    Ok(Place { side: side(of.side)?, name: of.name })
}
