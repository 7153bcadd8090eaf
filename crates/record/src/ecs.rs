//! One document per record in the Elastic Common Schema, version 9 (`--format ecs`, and what shippers send).
//!
//! Absent is absent: a member without a value is left out, for a store would otherwise show an empty field.
//! What the schema lacks stands under `headtrail`; [`crate::ecs_fields::FIELDS`] lists every field with its type.
//!
//! Choices:
//! - `headtrail.*.lines` are strings `Name: value`, in wire order, one per line. Pairs as lists would be flattened by
//!   stores into one list of names and values; objects would be taken apart into two lists unless mapped as nested,
//!   which makes a hidden document of each line. As strings each line stays one term, and a line can be searched
//!   whole. The name ends at the first colon.
//! - `http.*.headers` is for searching by name. It holds what is a token (RFC 9110, 5.6.2) by name; a name that is
//!   not, which some stores refuse as a key, is found in the lines only.
//! - `http.*.mime_type` is left out: the schema wants it from the body's content, not from Content-Type.
//! - `url` is that of this leg: what the peer of this connection asked for. Behind something that ends TLS the
//!   user's URL may differ, but that is not to be known here. So `scheme` is that of this leg, http or https, unless the target says
//!   otherwise (RFC 9112, 3.3), and `full` is made only if there is exactly one well-formed Host line.
//! - `event.outcome` is that of the exchange: failure from status 400 on, and of a call of gRPC with any status but OK;
//!   unknown without a final response.
//! - `rpc` is that of OpenTelemetry's conventions since they are stable (1.45), where `rpc.method` holds the service, too.

use crate::community_id;
use crate::ecs_url::push_url;
use crate::event::{Endpoint, ProcessRef};
use crate::grpc::Grpc;
use crate::json::{
    Context, process_name, push_end, push_unredacted, push_volume, side_name, write_connection_id,
    write_transaction_id,
};
use crate::json_features::push_features;
use crate::json_packet::{Form, push_packet};
use crate::json_text::{
    Charset, comma, push_bool, push_endpoint, push_escaped, push_ip, push_list, push_number, push_str,
    push_string, push_time,
};
use crate::transaction::{Line, Message, Phase, Process, RawTransaction, Role, StartLine, Transaction};
use crate::unredacted::{Shown, Unredacted};

pub use crate::ecs_records::{
    write_annotation, write_checkpoint, write_coverage, write_lifecycle, write_loss, write_record,
    write_unknown,
};

/// The version of the schema that the documents follow.
pub const ECS_VERSION: &str = "9.0.0";

/// Most bytes of the name and value of a member of `http.*.headers`. A term of Lucene has at most 32,766, in which stores put the path, too.
const MEMBER_BYTES_MAX: usize = 32_000;

/// Appends one transaction as a document on a line of its own, with the line end.
pub fn write_transaction(out: &mut Vec<u8>, t: &Transaction, context: &Context) {
    push_transaction(out, t.into(), context);
}

/// Appends one transaction with its secrets as a document on a line of its own, with the line end; the document says so.
pub fn write_unredacted(out: &mut Vec<u8>, t: &Unredacted, context: &Context) {
    push_transaction(out, t.into(), context);
}

fn push_transaction(out: &mut Vec<u8>, t: Shown<'_>, context: &Context) {
    let facts = t.facts();
    let texts = facts.request.iter().chain(&facts.interim).chain(&facts.response).map(|m| m.text.len());
    out.reserve(3072 + texts.sum::<usize>() * 4);

    push_head(out, t.time_ns(), "transaction");
    push_event(out, t, context);
    push_network(out, facts);
    push_http(out, facts);
    push_tls(out, facts);
    if let Some(request) = &facts.request {
        push_url(out, request, if facts.tls.is_some() { "https" } else { "http" });
        if let Some(agent) = first_value(request, b"user-agent") {
            out.extend_from_slice(b",\"user_agent\":{\"original\":");
            push_string(out, agent, Charset::of_message(request));
            out.push(b'}');
        }
    }
    if let Some(grpc) = t.grpc() {
        push_rpc(out, grpc);
    }
    push_process(out, facts.process.as_ref(), context);
    push_headtrail(out, t, context);
    out.extend_from_slice(b"}\n");
}

/// Appends what all documents begin with, up to the open `event`.
pub(crate) fn push_head(out: &mut Vec<u8>, time_ns: u64, dataset: &str) {
    out.extend_from_slice(b"{\"@timestamp\":");
    push_time(out, time_ns);
    out.extend_from_slice(b",\"ecs\":{\"version\":");
    push_str(out, ECS_VERSION);
    out.extend_from_slice(
        b"},\"event\":{\"kind\":\"event\",\"module\":\"headtrail\",\"dataset\":\"headtrail.",
    );
    out.extend_from_slice(dataset.as_bytes());
    out.push(b'"');
}

/// Appends the rest of a transaction's `event`. The types are those that the schema allows for the categories:
/// access for both, protocol for network.
fn push_event(out: &mut Vec<u8>, t: Shown<'_>, context: &Context) {
    let facts = t.facts();
    out.extend_from_slice(b",\"category\":[\"network\",\"web\"],\"type\":[\"access\",\"protocol\"");
    out.extend_from_slice(match facts.phase {
        Phase::Whole => b"],\"id\":\"",
        Phase::Start => b",\"start\"],\"id\":\"",
        Phase::End { .. } => b",\"end\"],\"id\":\"",
    });
    write_transaction_id(out, context.run, facts);
    out.extend_from_slice(b"\",\"start\":");
    push_time(out, t.time_ns());
    if let Some(total_ns) = t.timing().total_ns {
        out.extend_from_slice(b",\"end\":");
        push_time(out, t.time_ns().saturating_add(total_ns));
        out.extend_from_slice(b",\"duration\":");
        push_number(out, total_ns);
    }
    out.extend_from_slice(b",\"outcome\":");
    push_str(
        out,
        match (facts.response.as_ref().and_then(Message::status), t.grpc().and_then(|grpc| grpc.status)) {
            (_, Some(1..)) => "failure",
            (Some(status), _) if status < 400 => "success",
            (Some(_), _) => "failure",
            (None, _) => "unknown",
        },
    );
    out.push(b'}');
}

fn push_network(out: &mut Vec<u8>, facts: &RawTransaction) {
    let ends: [(&[u8], Endpoint); 4] = [
        (b",\"source\":", facts.source),
        (b",\"destination\":", facts.destination),
        (b",\"client\":", facts.source),
        (b",\"server\":", facts.destination),
    ];
    for (name, end) in ends {
        out.extend_from_slice(name);
        push_endpoint(out, end);
    }
    out.extend_from_slice(b",\"related\":{\"ip\":[\"");
    push_ip(out, facts.source.ip);
    if facts.destination.ip != facts.source.ip {
        out.extend_from_slice(b"\",\"");
        push_ip(out, facts.destination.ip);
    }
    out.extend_from_slice(b"\"]},\"network\":{\"transport\":\"tcp\",\"protocol\":\"http\",\"type\":");
    // The client's address may have been rewritten to one of another family; the server's is as it was.
    push_str(out, if facts.destination.ip.is_ipv6() { "ipv6" } else { "ipv4" });
    // From this host's point of view: requests come in to a server.
    out.extend_from_slice(b",\"direction\":");
    push_str(
        out,
        match facts.role {
            Role::Server => "ingress",
            Role::Client => "egress",
            Role::Unknown(_) => "unknown",
        },
    );
    out.extend_from_slice(b",\"community_id\":\"");
    out.extend_from_slice(&community_id::tcp(facts.source, facts.destination));
    out.extend_from_slice(b"\"}");
}

fn push_http(out: &mut Vec<u8>, facts: &RawTransaction) {
    let Some(version) = facts.request.as_ref().or(facts.response.as_ref()).map(|m| m.version) else {
        return;
    };
    out.extend_from_slice(b",\"http\":{\"version\":");
    push_str(out, &version.name());
    if let Some(request) = &facts.request {
        let charset = Charset::of_message(request);
        out.extend_from_slice(b",\"request\":{\"method\":");
        push_string(out, request.method().unwrap_or_default(), charset);
        let lines: [(&[u8], &[u8]); 2] = [(b",\"id\":", b"x-request-id"), (b",\"referrer\":", b"referer")];
        for (name, line) in lines {
            if let Some(value) = first_value(request, line) {
                out.extend_from_slice(name);
                push_string(out, value, charset);
            }
        }
        push_body_and_headers(out, request, charset);
    }
    if let Some(response) = &facts.response {
        out.extend_from_slice(b",\"response\":{\"status_code\":");
        push_number(out, response.status().unwrap_or_default());
        push_body_and_headers(out, response, Charset::of_message(response));
    }
    out.push(b'}');
}

/// Appends `tls`. The schema has no place for JA4 fingerprints: see [`push_headtrail`].
fn push_tls(out: &mut Vec<u8>, facts: &RawTransaction) {
    let Some(tls) = &facts.tls else { return };
    let (version, cipher) = (tls.version_name(), tls.cipher_name());
    let members = [
        ("version", version.as_deref()),
        ("version_protocol", tls.protocol_name()),
        ("cipher", cipher.as_deref()),
        ("next_protocol", tls.alpn.as_deref()),
    ];
    out.extend_from_slice(b",\"tls\":{\"established\":true");
    for (name, value) in members.iter().filter_map(|(name, value)| Some((name, (*value)?))) {
        out.push(b',');
        push_str(out, name);
        out.push(b':');
        push_str(out, value);
    }
    if let Some(resumed) = tls.resumed {
        out.extend_from_slice(b",\"resumed\":");
        push_bool(out, resumed);
    }
    if let Some(name) = &tls.sni {
        out.extend_from_slice(b",\"client\":{\"server_name\":");
        push_str(out, name);
        out.push(b'}');
    }
    out.push(b'}');
}

/// Appends `body` and `headers` and closes the message.
fn push_body_and_headers(out: &mut Vec<u8>, message: &Message, charset: Charset) {
    if let Some(bytes) = message.body_bytes {
        out.extend_from_slice(b",\"body\":{\"bytes\":");
        push_number(out, bytes);
        out.push(b'}');
    }
    push_headers(out, message, charset);
    out.push(b'}');
}

/// Appends `,"headers":{"accept":["text/html","text/plain"],…}`: names in lower case, in order of their first line.
///
/// What is longer than a term of the stores may be ([`MEMBER_BYTES_MAX`]) is left out: some would refuse the whole document, and so a client
/// could keep its own request out of them. It stands in the lines.
///
/// Looks for each line's duplicates among those behind it; the limit on lines bounds that, and names of unlike
/// length are told apart at once.
fn push_headers(out: &mut Vec<u8>, message: &Message, charset: Charset) {
    out.extend_from_slice(b",\"headers\":{");
    let mut first = true;
    let name_of = |line: &Line| message.bytes(line.name);
    for (i, line) in message.lines.iter().enumerate() {
        let name = name_of(line);
        let same = |other: &&Line| {
            name_of(other).eq_ignore_ascii_case(name) && is_term(name, message.bytes(other.value))
        };
        if !is_token(name) || !same(&line) || message.lines[..i].iter().any(|before| same(&before)) {
            continue;
        }
        comma(out, &mut first);
        out.push(b'"');
        out.extend(name.iter().map(u8::to_ascii_lowercase));
        out.extend_from_slice(b"\":[");
        let mut first = true;
        for same in message.lines[i..].iter().filter(same) {
            comma(out, &mut first);
            push_string(out, message.bytes(same.value), charset);
        }
        out.push(b']');
    }
    out.push(b'}');
}

/// Whether a member is short enough to be found in every store. Bytes that are not ASCII may become two.
fn is_term(name: &[u8], value: &[u8]) -> bool {
    let bytes = name.len() + value.len();
    bytes <= MEMBER_BYTES_MAX / 2
        || bytes + value.iter().filter(|byte| !byte.is_ascii()).count() <= MEMBER_BYTES_MAX
}

/// A token of RFC 9110, 5.6.2: safe as a key everywhere, and within a JSON string without escapes.
fn is_token(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b))
}

/// The value of the first line of that (lower-case) name.
pub(crate) fn first_value<'m>(message: &'m Message, name: &[u8]) -> Option<&'m [u8]> {
    message.lines().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// Appends `process` and `container` of the seeing socket's owner.
fn push_process(out: &mut Vec<u8>, of: Option<&ProcessRef>, context: &Context) {
    let Some(of) = of else { return };
    let known = context.processes.process(of);
    out.extend_from_slice(b",\"process\":");
    push_process_object(out, of, known);
    out.push(b'}');
    if let Some(container) = known.and_then(|p| p.container.as_deref()) {
        out.extend_from_slice(b",\"container\":{\"id\":");
        push_str(out, container);
        out.push(b'}');
    }
}

/// Appends the object of a process, and leaves it open.
fn push_process_object(out: &mut Vec<u8>, of: &ProcessRef, known: Option<&Process>) {
    out.extend_from_slice(b"{\"pid\":");
    push_number(out, of.pid);
    let name = known.map_or(process_name(of), |p| p.name.as_bytes());
    if !name.is_empty() {
        out.extend_from_slice(b",\"name\":");
        push_string(out, name, Charset::of_bytes(name));
    }
    if let Some(executable) = known.and_then(|p| p.executable.as_deref()) {
        out.extend_from_slice(b",\"executable\":");
        push_str(out, executable);
    }
}

/// Appends what the schema lacks.
fn push_headtrail(out: &mut Vec<u8>, t: Shown<'_>, context: &Context) {
    let facts = t.facts();
    out.extend_from_slice(b",\"headtrail\":{\"connection\":\"");
    write_connection_id(out, context.run, facts.connection);
    out.extend_from_slice(b"\",\"role\":");
    push_str(out, &facts.role.name());
    out.extend_from_slice(b",\"phase\":");
    push_str(out, facts.phase.name());
    if let Some(stream) = facts.stream {
        out.extend_from_slice(b",\"stream\":");
        push_number(out, stream);
    }
    if let Some(ja4) = facts.tls.as_ref().and_then(|tls| tls.ja4.as_ref()) {
        out.extend_from_slice(b",\"tls\":{\"ja4\":");
        push_str(out, ja4);
        out.push(b'}');
    }
    if let Some(request) = &facts.request {
        out.extend_from_slice(b",\"request\":");
        push_own_message(out, request);
    }
    if !facts.interim.is_empty() {
        out.extend_from_slice(b",\"interim\":[");
        let mut first = true;
        for interim in &facts.interim {
            comma(out, &mut first);
            out.extend_from_slice(b"{\"status_code\":");
            push_number(out, interim.status().unwrap_or_default());
            push_lines(out, "lines", interim, &interim.lines, Charset::of_message(interim));
            out.push(b'}');
        }
        out.push(b']');
    }
    if let Some(response) = &facts.response {
        out.extend_from_slice(b",\"response\":");
        push_own_message(out, response);
    }
    push_timing(out, t);
    if let Some(cgroup) =
        facts.process.as_ref().and_then(|p| context.processes.process(p)).and_then(|p| p.cgroup.as_deref())
    {
        out.extend_from_slice(b",\"cgroup\":");
        push_str(out, cgroup);
    }
    if let Some(peer) = &facts.peer_process {
        push_peer(out, peer, context);
    }
    if !t.features().is_empty() {
        out.extend_from_slice(b",\"features\":");
        push_features(out, t.features());
    }
    if !t.redacted().is_empty() {
        out.extend_from_slice(b",\"redacted\":");
        push_list(out, t.redacted());
    }
    push_unredacted(out, t);
    if t.left_out() > 0 {
        out.extend_from_slice(b",\"left_out\":");
        push_number(out, t.left_out());
    }
    push_incomplete(out, facts);
    if !facts.anomalies.is_empty() {
        out.extend_from_slice(b",\"anomalies\":");
        push_list(out, facts.anomalies.iter().map(|a| a.name()));
    }
    push_end(out, facts, context);
    if let Some(grpc) = t.grpc() {
        push_grpc(out, grpc);
    }
    push_volume(out, t);
    out.push(b'}');
}

/// Appends a call of gRPC as the conventions have it.
fn push_rpc(out: &mut Vec<u8>, grpc: &Grpc) {
    out.extend_from_slice(b",\"rpc\":{\"system\":{\"name\":\"grpc\"}");
    if let (Some(service), Some(method)) = (&grpc.service, &grpc.method) {
        out.extend_from_slice(b",\"method\":");
        push_str(out, &format!("{service}/{method}"));
    }
    if let Some(status) = grpc.status {
        out.extend_from_slice(b",\"response\":{\"status_code\":");
        match grpc.status_name() {
            Some(name) => push_str(out, name),
            None => push_str(out, &status.to_string()),
        }
        out.push(b'}');
    }
    out.push(b'}');
}

/// Appends what the conventions lack of it.
fn push_grpc(out: &mut Vec<u8>, grpc: &Grpc) {
    out.extend_from_slice(b",\"grpc\":{\"web\":");
    push_bool(out, grpc.web);
    let texts: [(&[u8], &Option<String>); 4] = [
        (b",\"service\":", &grpc.service),
        (b",\"method\":", &grpc.method),
        (b",\"message\":", &grpc.message),
        (b",\"encoding\":", &grpc.encoding),
    ];
    for (name, text) in texts {
        if let Some(text) = text {
            out.extend_from_slice(name);
            push_str(out, text);
        }
    }
    let numbers: [(&[u8], Option<u64>); 2] =
        [(b",\"status\":", grpc.status.map(u64::from)), (b",\"timeout_ns\":", grpc.timeout_ns)];
    for (name, number) in numbers {
        if let Some(number) = number {
            out.extend_from_slice(name);
            push_number(out, number);
        }
    }
    out.push(b'}');
}

/// Appends a message as it was on the wire.
fn push_own_message(out: &mut Vec<u8>, message: &Message) {
    let charset = Charset::of_message(message);
    out.extend_from_slice(b"{\"latin1\":");
    push_bool(out, charset == Charset::Latin1);
    if let StartLine::Status { reason, .. } = message.start {
        out.extend_from_slice(b",\"reason\":");
        push_string(out, message.bytes(reason), charset);
    }
    push_lines(out, "lines", message, &message.lines, charset);
    if !message.trailers.is_empty() {
        push_lines(out, "trailers", message, &message.trailers, charset);
    }
    if let Some(frame) = message.frame {
        out.extend_from_slice(b",\"frame\":");
        push_number(out, frame);
    }
    let before = out.len();
    out.extend_from_slice(b",\"packet\":");
    if !push_packet(out, message, Form::Document) {
        out.truncate(before);
    }
    out.push(b'}');
}

/// Appends lines as `,"name":["Host: example.org",…]`.
fn push_lines(out: &mut Vec<u8>, name: &str, message: &Message, lines: &[Line], charset: Charset) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":[");
    let mut first = true;
    for line in lines {
        comma(out, &mut first);
        out.push(b'"');
        push_escaped(out, message.bytes(line.name), charset);
        out.extend_from_slice(b": ");
        push_escaped(out, message.bytes(line.value), charset);
        out.push(b'"');
    }
    out.push(b']');
}

fn push_timing(out: &mut Vec<u8>, t: Shown<'_>) {
    let timing = t.timing();
    let members: [(&[u8], Option<u64>); 4] = [
        (b"\"request_ns\":", timing.request_ns),
        (b"\"wait_ns\":", timing.wait_ns),
        (b"\"response_ns\":", timing.response_ns),
        (b"\"total_ns\":", timing.total_ns),
    ];
    if members.iter().all(|(_, value)| value.is_none()) {
        return;
    }
    out.extend_from_slice(b",\"timing\":{");
    let mut first = true;
    for (name, value) in members {
        if let Some(value) = value {
            comma(out, &mut first);
            out.extend_from_slice(name);
            push_number(out, value);
        }
    }
    out.push(b'}');
}

/// Appends the owner of the other end, which the schema has no place for.
fn push_peer(out: &mut Vec<u8>, peer: &ProcessRef, context: &Context) {
    let known = context.processes.process(peer);
    out.extend_from_slice(b",\"peer_process\":");
    push_process_object(out, peer, known);
    if let Some(cgroup) = known.and_then(|p| p.cgroup.as_deref()) {
        out.extend_from_slice(b",\"cgroup\":");
        push_str(out, cgroup);
    }
    if let Some(container) = known.and_then(|p| p.container.as_deref()) {
        out.extend_from_slice(b",\"container\":");
        push_str(out, container);
    }
    out.push(b'}');
}

fn push_incomplete(out: &mut Vec<u8>, facts: &RawTransaction) {
    if facts.incomplete.is_empty() {
        return;
    }
    out.extend_from_slice(b",\"incomplete\":[");
    let mut first = true;
    for entry in &facts.incomplete {
        comma(out, &mut first);
        out.extend_from_slice(b"{\"reason\":");
        push_str(out, &entry.reason.name());
        out.extend_from_slice(b",\"side\":");
        push_str(out, side_name(entry.side));
        if let Some(at) = entry.at {
            out.extend_from_slice(b",\"at\":");
            push_number(out, at);
        }
        out.push(b'}');
    }
    out.push(b']');
}

#[cfg(test)]
#[path = "ecs_tests.rs"]
mod tests;
