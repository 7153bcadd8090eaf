//! Records to bytes, each field in the order of its number.

use std::fmt;
use std::net::IpAddr;

use super::limits::{ENTRIES_MAX, INTERIM_MAX, LINES_MAX, RECORD_BYTES_MAX};
use super::numbers::Numbered;
use super::v1;
use super::wire::{
    self, bytes, enumeration, fixed64, message, number, optional_bytes, optional_uint, pair, sint,
    small_message, uint,
};
use crate::event::{CloseReason, Direction, Endpoint, ProcessRef};
use crate::features::{Features, Place};
use crate::grpc::Grpc;
use crate::json::{Context, process_name};
use crate::packet;
use crate::record::{Annotation, Checkpoint, Coverage, Kind, Lifecycle, Loss, Record};
use crate::tls::Tls;
use crate::transaction::{Line, Message, Phase, Process, Role, Side, StartLine, Transaction};
use crate::volume::Rate;

/// A record is larger than one may be; nothing of it was written. Who writes counts it as lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooLarge;

impl fmt::Display for TooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the record is larger than one may be")
    }
}

impl std::error::Error for TooLarge {}

/// Appends a record's type, content and time.
fn whole(
    out: &mut Vec<u8>,
    kind: Kind,
    time_ns: u64,
    content: impl FnOnce(&mut Vec<u8>),
) -> Result<(), TooLarge> {
    let at = out.len();
    message(out, kind.0, content);
    fixed64(out, 32, time_ns);
    if out.len() - at > RECORD_BYTES_MAX {
        out.truncate(at);
        return Err(TooLarge);
    }
    Ok(())
}

/// Appends any record; one that is not known as it came.
///
/// # Errors
/// See [`TooLarge`].
pub fn record(out: &mut Vec<u8>, of: &Record) -> Result<(), TooLarge> {
    match of {
        Record::Transaction(stored) => transaction(out, stored.transaction(), &stored.context()),
        Record::Annotation(of) => annotation(out, of),
        Record::Loss(of) => loss(out, of),
        Record::Lifecycle(of) => lifecycle(out, of),
        Record::Coverage(of) => coverage(out, of),
        Record::Checkpoint(of) => checkpoint(out, of),
        Record::Unknown(of) => {
            out.extend_from_slice(&of.bytes);
            Ok(())
        }
    }
}

/// Appends a transaction, with what is known now of its processes.
///
/// # Errors
/// See [`TooLarge`].
pub fn transaction(out: &mut Vec<u8>, t: &Transaction, context: &Context) -> Result<(), TooLarge> {
    let facts = t.facts();
    let messages = || facts.request.iter().chain(&facts.response).chain(&facts.interim);
    let lines: usize = messages().map(|m| m.lines.len() + m.trailers.len()).sum();
    let entries = facts.incomplete.len().max(facts.anomalies.len());
    if lines > LINES_MAX || facts.interim.len() > INTERIM_MAX || entries > ENTRIES_MAX {
        return Err(TooLarge);
    }
    let texts: usize = messages().map(|m| m.text.len() + 256).sum();
    out.reserve(512 + texts + lines * 8);

    let time_ns = t.time_ns();
    whole(out, Kind::TRANSACTION, time_ns, |out| {
        fixed64(out, 1, context.run);
        uint(out, 2, facts.connection.0);
        uint(out, 3, facts.number);
        endpoint(out, 4, facts.source);
        endpoint(out, 5, facts.destination);
        enumeration(out, 6, facts.role.number());
        facts.request.iter().for_each(|m| http_message(out, 7, m, time_ns));
        facts.response.iter().for_each(|m| http_message(out, 8, m, time_ns));
        facts.interim.iter().for_each(|m| http_message(out, 9, m, time_ns));
        process_of(out, 10, facts.process.as_ref(), context);
        process_of(out, 11, facts.peer_process.as_ref(), context);
        t.redacted().iter().for_each(|name| optional_bytes(out, 12, Some(name.as_bytes())));
        uint(out, 13, facts.netns);
        for entry in &facts.incomplete {
            small_message(out, 14, |out| {
                enumeration(out, 1, entry.reason.number());
                enumeration(out, 2, side(entry.side));
                optional_uint(out, 3, entry.at);
            });
        }
        if !facts.anomalies.is_empty() {
            // A list of numbers is one field.
            small_message(out, 15, |out| {
                facts.anomalies.iter().for_each(|a| wire::varint(out, i64::from(a.number()) as u64));
            });
        }
        if !t.features().is_empty() {
            message(out, 16, |out| features(out, t.features()));
        }
        enumeration(out, 17, phase(facts.phase));
        optional_uint(out, 19, facts.stream.map(u64::from));
        facts.tls.iter().for_each(|tls| tls_of(out, 20, tls));
        if facts.request_direction != implied_direction(facts.role) {
            enumeration(out, 22, direction(facts.request_direction));
        }
        if t.sample_rate() != Rate::ALL {
            fixed64(out, 23, t.sample_rate().get().to_bits());
        }
        uint(out, 26, t.left_out());
        uint(out, 27, t.lines_left_out().request);
        uint(out, 28, t.lines_left_out().response);
        if let Some(reset) = facts.reset {
            small_message(out, 29, |out| {
                enumeration(out, 1, side(reset.by));
                uint(out, 2, reset.error_code);
                uint(out, 3, reset.goaway);
            });
        }
        if let Phase::End { start } = facts.phase {
            uint(out, 30, start);
        }
        enumeration(out, 31, facts.close.map_or(0, close));
        if let Some(of) = t.grpc() {
            message(out, 32, |out| grpc(out, of));
        }
    })
}

fn tls_of(out: &mut Vec<u8>, field: u32, of: &Tls) {
    message(out, field, |out| {
        uint(out, 1, of.version.unwrap_or_default());
        uint(out, 2, of.cipher.unwrap_or_default());
        bytes(out, 3, of.sni.as_deref().unwrap_or_default().as_bytes());
        bytes(out, 4, of.alpn.as_deref().unwrap_or_default().as_bytes());
        bytes(out, 5, of.ja4.as_deref().unwrap_or_default().as_bytes());
        optional_uint(out, 6, of.resumed);
    });
}

/// The direction of requests at a socket of that role.
pub(super) fn implied_direction(role: Role) -> Direction {
    match role {
        Role::Server | Role::Unknown(_) => Direction::Ingress,
        Role::Client => Direction::Egress,
    }
}

fn direction(of: Direction) -> i32 {
    match of {
        Direction::Ingress => v1::Direction::Ingress as i32,
        Direction::Egress => v1::Direction::Egress as i32,
    }
}

fn phase(of: Phase) -> i32 {
    match of {
        Phase::Whole => v1::Phase::Whole as i32,
        Phase::Start => v1::Phase::Start as i32,
        Phase::End { .. } => v1::Phase::End as i32,
    }
}

fn close(of: CloseReason) -> i32 {
    match of {
        CloseReason::Fin => v1::CloseReason::Fin as i32,
        CloseReason::Reset => v1::CloseReason::Reset as i32,
        CloseReason::Evicted => v1::CloseReason::Evicted as i32,
    }
}

fn grpc(out: &mut Vec<u8>, of: &Grpc) {
    optional_bytes(out, 1, of.service.as_deref().map(str::as_bytes));
    optional_bytes(out, 2, of.method.as_deref().map(str::as_bytes));
    optional_uint(out, 3, of.status);
    optional_bytes(out, 4, of.message.as_deref().map(str::as_bytes));
    optional_uint(out, 5, of.timeout_ns);
    optional_bytes(out, 6, of.encoding.as_deref().map(str::as_bytes));
    uint(out, 7, of.web);
}

fn side(of: Side) -> i32 {
    match of {
        Side::Request => v1::Side::Request as i32,
        Side::Response => v1::Side::Response as i32,
    }
}

fn endpoint(out: &mut Vec<u8>, field: u32, of: Endpoint) {
    small_message(out, field, |out| {
        match of.ip {
            IpAddr::V4(ip) => bytes(out, 1, &ip.octets()),
            IpAddr::V6(ip) => bytes(out, 1, &ip.octets()),
        }
        uint(out, 2, of.port);
    });
}

fn http_message(out: &mut Vec<u8>, field: u32, m: &Message, time_ns: u64) {
    message(out, field, |out| {
        match m.start {
            StartLine::Request { method, target } => {
                bytes(out, 1, m.bytes(method));
                bytes(out, 2, m.bytes(target));
            }
            StartLine::Status { status, reason } => {
                number(out, 3, status.into());
                bytes(out, 4, m.bytes(reason));
            }
        }
        enumeration(out, 5, m.version.number());
        lines(out, 6, m, &m.lines);
        lines(out, 7, m, &m.trailers);
        optional_uint(out, 8, m.body_bytes);
        let (headers, sequence) = packet::for_storage(&m.headers);
        bytes(out, 9, headers.as_slice());
        optional_uint(out, 10, Some(m.segments).filter(|&segments| segments != 1));
        optional_uint(out, 11, m.frame);
        uint(out, 12, m.sequence.wrapping_sub(sequence));
        // Differences modulo 2^64 can be undone whatever the times are.
        sint(out, 13, m.first_ns.wrapping_sub(time_ns) as i64);
        sint(out, 14, m.last_ns.wrapping_sub(m.first_ns) as i64);
    });
}

fn lines(out: &mut Vec<u8>, field: u32, m: &Message, lines: &[Line]) {
    for line in lines {
        let (name_unseen, value_unseen) = (line.name.is_unseen(), line.value.is_unseen());
        if !line.never_indexed && !name_unseen && !value_unseen {
            pair(out, field, m.bytes(line.name), m.bytes(line.value));
            continue;
        }
        message(out, field, |out| {
            bytes(out, 1, m.bytes(line.name));
            bytes(out, 2, m.bytes(line.value));
            uint(out, 3, line.never_indexed);
            uint(out, 4, name_unseen);
            uint(out, 5, value_unseen);
        });
    }
}

fn process_of(out: &mut Vec<u8>, field: u32, of: Option<&ProcessRef>, context: &Context) {
    let Some(of) = of else { return };
    let known = context.processes.process(of);
    message(out, field, |out| {
        uint(out, 1, of.pid);
        process_names(out, process_name(of), known);
    });
}

/// Appends what a process is called.
fn process_names(out: &mut Vec<u8>, comm: &[u8], known: Option<&Process>) {
    bytes(out, 2, comm);
    let Some(known) = known else { return };
    optional_bytes(out, 3, Some(known.name.as_bytes()).filter(|&name| name != comm));
    for (field, text) in [(4, &known.executable), (5, &known.cgroup), (6, &known.container)] {
        optional_bytes(out, field, text.as_deref().map(str::as_bytes));
    }
}

fn features(out: &mut Vec<u8>, of: &Features) {
    for jwt in &of.jwt {
        message(out, 1, |out| {
            place(out, &jwt.place);
            optional_bytes(out, 2, jwt.alg.as_deref().map(str::as_bytes));
            optional_bytes(out, 3, jwt.typ.as_deref().map(str::as_bytes));
            enumeration(out, 4, jwt.kid.map_or(0, Numbered::number));
            optional_bytes(out, 5, jwt.jku_host.as_deref().map(str::as_bytes));
            optional_uint(out, 6, jwt.expires_unix_s.map(wire::zigzag));
            uint(out, 7, jwt.parts);
            uint(out, 8, jwt.unsigned);
        });
    }
    for basic in &of.basic {
        small_message(out, 2, |out| {
            place(out, &basic.place);
            optional_bytes(out, 2, basic.user.as_deref().map(str::as_bytes));
            optional_uint(out, 3, basic.password_empty);
        });
    }
    for shape in &of.key_shape {
        small_message(out, 3, |out| {
            place(out, &shape.place);
            bytes(out, 2, shape.provider.as_bytes());
        });
    }
    for hit in &of.patterns {
        small_message(out, 4, |out| {
            place(out, &hit.place);
            enumeration(out, 2, hit.kind.number());
            bytes(out, 3, hit.class.as_bytes());
        });
    }
}

fn place(out: &mut Vec<u8>, of: &Place) {
    small_message(out, 1, |out| {
        enumeration(out, 1, side(of.side));
        bytes(out, 2, of.name.as_bytes());
    });
}

fn details(out: &mut Vec<u8>, field: u32, of: &crate::record::Details) {
    of.iter().for_each(|(name, value)| pair(out, field, name.as_bytes(), value.as_bytes()));
}

/// Appends an annotation.
///
/// # Errors
/// See [`TooLarge`].
pub fn annotation(out: &mut Vec<u8>, of: &Annotation) -> Result<(), TooLarge> {
    if of.details.len() > LINES_MAX {
        return Err(TooLarge);
    }
    whole(out, Kind::ANNOTATION, of.time_ns, |out| {
        bytes(out, 1, of.record.as_bytes());
        bytes(out, 2, of.fact.as_bytes());
        details(out, 3, &of.details);
    })
}

/// Appends a loss.
///
/// # Errors
/// See [`TooLarge`].
pub fn loss(out: &mut Vec<u8>, of: &Loss) -> Result<(), TooLarge> {
    whole(out, Kind::LOSS, of.time_ns, |out| {
        bytes(out, 1, of.stage.as_bytes());
        bytes(out, 2, of.reason.as_bytes());
        uint(out, 3, of.count);
        fixed64(out, 4, of.since_ns);
        fixed64(out, 5, of.until_ns);
    })
}

/// Appends a lifecycle record.
///
/// # Errors
/// See [`TooLarge`].
pub fn lifecycle(out: &mut Vec<u8>, of: &Lifecycle) -> Result<(), TooLarge> {
    if of.details.len() > LINES_MAX {
        return Err(TooLarge);
    }
    whole(out, Kind::LIFECYCLE, of.time_ns, |out| {
        bytes(out, 1, of.event.as_bytes());
        bytes(out, 2, of.version.as_bytes());
        optional_bytes(out, 3, of.filter.as_deref().map(str::as_bytes));
        optional_bytes(out, 4, of.config_hash.as_ref().map(|hash| hash.as_slice()));
        optional_bytes(out, 5, of.redaction.as_deref().map(str::as_bytes));
        if let Some((since_ns, until_ns)) = of.off_ns {
            small_message(out, 6, |out| {
                fixed64(out, 1, since_ns);
                fixed64(out, 2, until_ns);
            });
        }
        details(out, 7, &of.details);
    })
}

/// Appends a coverage record.
///
/// # Errors
/// See [`TooLarge`].
pub fn coverage(out: &mut Vec<u8>, of: &Coverage) -> Result<(), TooLarge> {
    if of.unread.len() > LINES_MAX {
        return Err(TooLarge);
    }
    whole(out, Kind::COVERAGE, of.time_ns, |out| {
        for unread in &of.unread {
            message(out, 1, |out| {
                bytes(out, 1, unread.what.as_bytes());
                bytes(out, 2, unread.why.as_bytes());
                bytes(out, 3, unread.place.as_bytes());
                if let Some(process) = &unread.process {
                    message(out, 4, |out| {
                        uint(out, 1, process.pid);
                        process_names(out, b"", Some(process));
                    });
                }
                uint(out, 5, unread.count);
            });
        }
    })
}

/// Appends a checkpoint.
///
/// # Errors
/// See [`TooLarge`].
pub fn checkpoint(out: &mut Vec<u8>, of: &Checkpoint) -> Result<(), TooLarge> {
    whole(out, Kind::CHECKPOINT, of.time_ns, |out| {
        bytes(out, 1, of.origin.as_bytes());
        uint(out, 2, of.size);
        bytes(out, 3, &of.root);
        bytes(out, 4, &of.signature);
    })
}
