//! One line of JSON per record (`--format json`): transactions here, the other types in `json_records`.
//!
//! Names and order of the members are an interface: they may be added to, not renamed. Every member is there on every
//! line, but for those that tell what settings left out; what is not known is null, never zero. The lines hold no character that could act on a terminal: such ones
//! are written as `\u…`, which JSON reads back as the same.

use std::fmt;
use std::io::Write as _;

use crate::event::{CloseReason, ConnectionId, ProcessRef};
use crate::grpc::Grpc;
use crate::json_features::push_features;
use crate::json_packet::{Form, push_packet};
use crate::json_text::{
    Charset, comma, push_bool, push_endpoint, push_escaped, push_hex, push_list, push_number,
    push_optional_number, push_optional_str, push_str, push_string, push_time,
};
use crate::tls::Tls;
use crate::transaction::{
    Line, Message, Phase, Process, RawTransaction, Reset, Side, Span, StartLine, Transaction,
};
use crate::unredacted::{Shown, Unredacted};

pub use crate::json_records::{
    write_annotation, write_checkpoint, write_coverage, write_lifecycle, write_loss, write_record,
    write_unknown,
};
use crate::volume::Rate;

/// What a process reference stands for. Names of executables and cgroups are looked up by the binary, which may use
/// the file system, and are kept by it.
pub trait Processes {
    /// The process, where it is known.
    fn process(&self, of: &ProcessRef) -> Option<&Process>;
}

/// No process is known: records show what the reference itself holds.
impl Processes for () {
    fn process(&self, _: &ProcessRef) -> Option<&Process> {
        None
    }
}

/// What a writer must know and a record does not hold.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The run that saw the record; its lower 48 bits make ids differ between runs. For documents whose ids must be
    /// stable, the run must be as random as ids are to be unique.
    pub run: u64,
    /// Looks up processes.
    pub processes: &'a dyn Processes,
}

impl fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("run", &self.run).finish_non_exhaustive()
    }
}

/// Appends the id of a connection: `<run>-<cookie>`, hexadecimal.
pub fn write_connection_id(out: &mut Vec<u8>, run: u64, connection: ConnectionId) {
    push_hex(out, run & 0xffff_ffff_ffff, 12);
    out.push(b'-');
    push_hex(out, connection.0, 1);
}

/// Appends the id of a transaction: its connection's and its number there.
pub fn write_transaction_id(out: &mut Vec<u8>, run: u64, t: &RawTransaction) {
    write_id(out, run, t.connection, t.number);
}

fn write_id(out: &mut Vec<u8>, run: u64, connection: ConnectionId, number: u32) {
    write_connection_id(out, run, connection);
    out.push(b'-');
    push_number(out, number);
}

/// The name of a side in records.
#[must_use]
pub fn side_name(side: Side) -> &'static str {
    match side {
        Side::Request => "request",
        Side::Response => "response",
    }
}

/// Appends one transaction as a line, with the line end.
pub fn write_transaction(out: &mut Vec<u8>, t: &Transaction, context: &Context) {
    push_transaction(out, t.into(), context);
}

/// Appends one transaction with its secrets as a line, with the line end; the line says so.
pub fn write_unredacted(out: &mut Vec<u8>, t: &Unredacted, context: &Context) {
    push_transaction(out, t.into(), context);
}

fn push_transaction(out: &mut Vec<u8>, t: Shown<'_>, context: &Context) {
    let facts = t.facts();
    // One growth at most for the usual line, whose lines come with four more bytes each than on the wire.
    let texts = facts.request.iter().chain(&facts.interim).chain(&facts.response).map(|m| m.text.len());
    out.reserve(2048 + texts.sum::<usize>() * 2);

    out.extend_from_slice(b"{\"type\":\"transaction\",\"time\":");
    push_time(out, t.time_ns());
    out.extend_from_slice(b",\"id\":\"");
    write_transaction_id(out, context.run, facts);
    out.extend_from_slice(b"\",\"phase\":");
    push_str(out, facts.phase.name());
    out.extend_from_slice(b",\"connection\":\"");
    write_connection_id(out, context.run, facts.connection);
    out.extend_from_slice(b"\",\"same_as\":null,\"role\":");
    push_str(out, &facts.role.name());
    out.extend_from_slice(b",\"source\":");
    push_endpoint(out, facts.source);
    out.extend_from_slice(b",\"destination\":");
    push_endpoint(out, facts.destination);
    out.extend_from_slice(b",\"protocol\":");
    match facts.request.as_ref().or(facts.response.as_ref()).map(|m| m.version.name()) {
        Some(version) => {
            out.extend_from_slice(b"\"http/");
            out.extend_from_slice(version.as_bytes());
            out.push(b'"');
        }
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"stream\":");
    push_optional_number(out, facts.stream);
    out.extend_from_slice(b",\"request\":");
    push_message(out, facts.request.as_ref());
    out.extend_from_slice(b",\"interim\":[");
    let mut first = true;
    for message in &facts.interim {
        comma(out, &mut first);
        push_interim(out, message);
    }
    out.extend_from_slice(b"],\"response\":");
    push_message(out, facts.response.as_ref());
    push_timing(out, t);
    out.extend_from_slice(b",\"process\":");
    push_process(out, facts.process.as_ref(), context.processes);
    out.extend_from_slice(b",\"peer_process\":");
    push_process(out, facts.peer_process.as_ref(), context.processes);
    out.extend_from_slice(b",\"tls\":");
    push_tls(out, facts.tls.as_deref());
    out.extend_from_slice(b",\"features\":");
    push_features(out, t.features());
    out.extend_from_slice(b",\"redacted\":");
    push_list(out, t.redacted());
    push_unredacted(out, t);
    if t.left_out() > 0 {
        out.extend_from_slice(b",\"left_out\":");
        push_number(out, t.left_out());
    }
    out.extend_from_slice(b",\"incomplete\":");
    push_incomplete(out, facts);
    out.extend_from_slice(b",\"anomalies\":");
    push_list(out, facts.anomalies.iter().map(|a| a.name()));
    push_end(out, facts, context);
    if let Some(grpc) = t.grpc() {
        push_grpc(out, grpc);
    }
    push_volume(out, t);
    out.extend_from_slice(b"}\n");
}

/// Appends that nothing was hidden, where that is so.
pub(crate) fn push_unredacted(out: &mut Vec<u8>, t: Shown<'_>) {
    if t.is_unredacted() {
        out.extend_from_slice(b",\"unredacted\":true");
    }
}

fn push_tls(out: &mut Vec<u8>, tls: Option<&Tls>) {
    let Some(tls) = tls else {
        out.extend_from_slice(b"null");
        return;
    };
    out.extend_from_slice(b"{\"version\":");
    push_optional_str(out, tls.version_name().as_deref());
    out.extend_from_slice(b",\"cipher\":");
    push_optional_str(out, tls.cipher_name().as_deref());
    out.extend_from_slice(b",\"sni\":");
    push_optional_str(out, tls.sni.as_deref());
    out.extend_from_slice(b",\"alpn\":");
    push_optional_str(out, tls.alpn.as_deref());
    out.extend_from_slice(b",\"ja4\":");
    push_optional_str(out, tls.ja4.as_deref());
    out.extend_from_slice(b",\"resumed\":");
    match tls.resumed {
        Some(resumed) => push_bool(out, resumed),
        None => out.extend_from_slice(b"null"),
    }
    out.push(b'}');
}

/// Appends what few have: how it ended before its time, and what the end of a long call tells besides.
pub(crate) fn push_end(out: &mut Vec<u8>, facts: &RawTransaction, context: &Context) {
    if let Some(reset) = &facts.reset {
        push_reset(out, reset);
    }
    if let Phase::End { start } = facts.phase {
        out.extend_from_slice(b",\"start_id\":\"");
        write_id(out, context.run, facts.connection, start);
        out.push(b'"');
    }
    if let Some(close) = facts.close {
        out.extend_from_slice(b",\"close\":");
        push_str(out, close_name(close));
    }
}

/// The name of a connection's end in records.
#[must_use]
pub const fn close_name(close: CloseReason) -> &'static str {
    match close {
        CloseReason::Fin => "fin",
        CloseReason::Reset => "reset",
        CloseReason::Evicted => "evicted",
    }
}

/// Appends the facts of a call of gRPC.
fn push_grpc(out: &mut Vec<u8>, grpc: &Grpc) {
    out.extend_from_slice(b",\"grpc\":{\"service\":");
    push_optional_str(out, grpc.service.as_deref());
    out.extend_from_slice(b",\"method\":");
    push_optional_str(out, grpc.method.as_deref());
    out.extend_from_slice(b",\"status\":");
    push_optional_number(out, grpc.status);
    out.extend_from_slice(b",\"status_name\":");
    push_optional_str(out, grpc.status_name());
    out.extend_from_slice(b",\"message\":");
    push_optional_str(out, grpc.message.as_deref());
    out.extend_from_slice(b",\"timeout_ns\":");
    push_optional_number(out, grpc.timeout_ns);
    out.extend_from_slice(b",\"encoding\":");
    push_optional_str(out, grpc.encoding.as_deref());
    out.extend_from_slice(b",\"web\":");
    push_bool(out, grpc.web);
    out.push(b'}');
}

/// Appends the end of a stream before its time, which few have.
fn push_reset(out: &mut Vec<u8>, reset: &Reset) {
    out.extend_from_slice(b",\"reset\":{\"by\":");
    push_str(out, side_name(reset.by));
    out.extend_from_slice(b",\"error\":");
    push_str(out, &reset.error());
    out.extend_from_slice(b",\"goaway\":");
    push_bool(out, reset.goaway);
    out.push(b'}');
}

/// Appends what the settings of the volume did to the record, each only if they did: those who set nothing pay nothing.
pub(crate) fn push_volume(out: &mut Vec<u8>, t: Shown<'_>) {
    if t.sample_rate() != Rate::ALL {
        // Writing to a vector cannot fail.
        let _ = write!(out, ",\"sample_rate\":{}", t.sample_rate());
    }
    let left_out = t.lines_left_out();
    if !left_out.is_none() {
        out.extend_from_slice(b",\"lines_left_out\":{\"request\":");
        push_number(out, left_out.request);
        out.extend_from_slice(b",\"response\":");
        push_number(out, left_out.response);
        out.push(b'}');
    }
}

/// Appends a request or a final response, or null where none was seen.
fn push_message(out: &mut Vec<u8>, message: Option<&Message>) {
    let Some(message) = message else {
        out.extend_from_slice(b"null");
        return;
    };
    let charset = Charset::of_message(message);
    out.extend_from_slice(b"{\"frame\":");
    push_optional_number(out, message.frame);
    match message.start {
        StartLine::Request { method, target } => {
            out.extend_from_slice(b",\"method\":");
            push_string(out, message.bytes(method), charset);
            out.extend_from_slice(b",\"target\":");
            push_string(out, message.bytes(target), charset);
        }
        StartLine::Status { status, reason } => {
            out.extend_from_slice(b",\"status\":");
            push_number(out, status);
            out.extend_from_slice(b",\"reason\":");
            push_string(out, message.bytes(reason), charset);
        }
    }
    out.extend_from_slice(b",\"lines\":");
    push_lines(out, message, &message.lines, charset);
    push_never_indexed(out, &message.lines);
    out.extend_from_slice(b",\"latin1\":");
    push_bool(out, charset == Charset::Latin1);
    out.extend_from_slice(b",\"trailers\":");
    push_lines(out, message, &message.trailers, charset);
    out.extend_from_slice(b",\"body_bytes\":");
    push_optional_number(out, message.body_bytes);
    out.extend_from_slice(b",\"packet\":");
    push_packet(out, message, Form::Record);
    out.push(b'}');
}

/// Appends an interim response, of which less is worth telling.
fn push_interim(out: &mut Vec<u8>, message: &Message) {
    let charset = Charset::of_message(message);
    out.extend_from_slice(b"{\"status\":");
    push_optional_number(out, message.status());
    out.extend_from_slice(b",\"lines\":");
    push_lines(out, message, &message.lines, charset);
    if charset == Charset::Latin1 {
        out.extend_from_slice(b",\"latin1\":true");
    }
    out.push(b'}');
}

/// Appends field lines as `[["Host","example.org"],…]`; what was never seen of one is null.
fn push_lines(out: &mut Vec<u8>, message: &Message, lines: &[Line], charset: Charset) {
    let push = |out: &mut Vec<u8>, span: Span| {
        if span.is_unseen() {
            out.extend_from_slice(b"null");
        } else {
            out.push(b'"');
            push_escaped(out, message.bytes(span), charset);
            out.push(b'"');
        }
    };
    out.push(b'[');
    for (i, line) in lines.iter().enumerate() {
        out.extend_from_slice(if i == 0 { b"[" } else { b",[" });
        push(out, line.name);
        out.push(b',');
        push(out, line.value);
        out.push(b']');
    }
    out.push(b']');
}

/// Appends the places of the lines that their sender wants in no table, where there are such.
fn push_never_indexed(out: &mut Vec<u8>, lines: &[Line]) {
    if !lines.iter().any(|line| line.never_indexed) {
        return;
    }
    out.extend_from_slice(b",\"never_indexed\":[");
    let mut first = true;
    for (i, _) in lines.iter().enumerate().filter(|(_, line)| line.never_indexed) {
        comma(out, &mut first);
        push_number(out, i as u64);
    }
    out.push(b']');
}

fn push_timing(out: &mut Vec<u8>, t: Shown<'_>) {
    let timing = t.timing();
    out.extend_from_slice(b",\"timing\":{\"request_ns\":");
    push_optional_number(out, timing.request_ns);
    out.extend_from_slice(b",\"wait_ns\":");
    push_optional_number(out, timing.wait_ns);
    out.extend_from_slice(b",\"response_ns\":");
    push_optional_number(out, timing.response_ns);
    out.extend_from_slice(b",\"total_ns\":");
    push_optional_number(out, timing.total_ns);
    out.push(b'}');
}

/// Appends a process, or null where there is none.
fn push_process(out: &mut Vec<u8>, of: Option<&ProcessRef>, processes: &dyn Processes) {
    let Some(reference) = of else {
        out.extend_from_slice(b"null");
        return;
    };
    let known = processes.process(reference);
    out.extend_from_slice(b"{\"pid\":");
    push_number(out, reference.pid);
    out.extend_from_slice(b",\"name\":");
    match known {
        Some(process) => push_str(out, &process.name),
        None => {
            let name = process_name(reference);
            push_string(out, name, Charset::of_bytes(name));
        }
    }
    out.extend_from_slice(b",\"executable\":");
    push_optional_str(out, known.and_then(|p| p.executable.as_deref()));
    out.extend_from_slice(b",\"cgroup\":");
    push_optional_str(out, known.and_then(|p| p.cgroup.as_deref()));
    out.extend_from_slice(b",\"container\":");
    push_optional_str(out, known.and_then(|p| p.container.as_deref()));
    out.push(b'}');
}

/// The name that a reference itself holds, without its padding.
#[must_use]
pub fn process_name(of: &ProcessRef) -> &[u8] {
    of.name.split(|&b| b == 0).next().unwrap_or_default()
}

/// Appends the reasons why a record is not whole.
fn push_incomplete(out: &mut Vec<u8>, facts: &RawTransaction) {
    out.push(b'[');
    let mut first = true;
    for entry in &facts.incomplete {
        comma(out, &mut first);
        out.extend_from_slice(b"{\"reason\":");
        push_str(out, &entry.reason.name());
        out.extend_from_slice(b",\"side\":");
        push_str(out, side_name(entry.side));
        out.extend_from_slice(b",\"at\":");
        push_optional_number(out, entry.at);
        out.push(b'}');
    }
    out.push(b']');
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;
