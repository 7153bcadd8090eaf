//! The L3 and L4 elements of the packet that began a message, as JSON.

use crate::json_text::{comma, push_bool, push_number, push_optional_number, push_str};
use crate::packet::{self, Ip, Tcp, TcpOption};
use crate::packet_text::write_option;
use crate::transaction::Message;

/// Which form a packet is written in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Form {
    /// What is not known is null; options have a type each: `"nop"`, `{"mss":1460}`.
    Record,
    /// For stores that give each field one type: what is not known is left out, and options are words: `"nop"`,
    /// `"mss 1460"`.
    Document,
}

/// Appends `,"name":value`; in documents only if there is a value.
fn member<T>(out: &mut Vec<u8>, form: Form, name: &[u8], value: Option<T>, push: impl Fn(&mut Vec<u8>, T)) {
    if value.is_none() && form == Form::Document {
        return;
    }
    out.extend_from_slice(name);
    match value {
        Some(value) => push(out, value),
        None => out.extend_from_slice(b"null"),
    }
}

/// Appends the elements of the packet that began a message, or null where none is known; returns whether one is.
pub(crate) fn push_packet(out: &mut Vec<u8>, message: &Message, form: Form) -> bool {
    let elements = packet::elements(&message.headers);
    // There is no TCP header without an IP header before it.
    let Some(ip) = &elements.ip else {
        out.extend_from_slice(b"null");
        return false;
    };
    out.extend_from_slice(b"{\"ip\":");
    push_ip(out, ip, form);
    member(out, form, b",\"tcp\":", elements.tcp.as_ref(), |out, tcp| push_tcp(out, tcp, form));
    out.extend_from_slice(b",\"segments\":");
    push_number(out, message.segments);
    out.push(b'}');
    true
}

fn push_ip(out: &mut Vec<u8>, ip: &Ip, form: Form) {
    out.extend_from_slice(b"{\"version\":");
    push_number(out, ip.version);
    out.extend_from_slice(b",\"ttl\":");
    push_number(out, ip.ttl);
    out.extend_from_slice(b",\"dscp\":");
    push_number(out, ip.dscp);
    member(out, form, b",\"id\":", ip.id, push_number);
    member(out, form, b",\"df\":", ip.df, push_bool);
    out.extend_from_slice(b",\"ecn\":");
    push_number(out, ip.ecn);
    member(out, form, b",\"mf\":", ip.mf, push_bool);
    member(out, form, b",\"fragment_offset\":", ip.fragment_offset, push_number);
    member(out, form, b",\"flow_label\":", ip.flow_label, push_number);
    member(out, form, b",\"total_length\":", ip.total_length, push_number);
    out.extend_from_slice(b",\"has_options\":");
    push_bool(out, ip.options);
    out.push(b'}');
}

fn push_tcp(out: &mut Vec<u8>, tcp: &Tcp, form: Form) {
    out.extend_from_slice(b"{\"flags\":[");
    let mut first = true;
    for name in tcp.flags.names() {
        comma(out, &mut first);
        out.push(b'"');
        out.extend_from_slice(name.as_bytes());
        out.push(b'"');
    }
    out.extend_from_slice(b"],\"seq\":");
    push_number(out, tcp.seq);
    member(out, form, b",\"ack\":", tcp.ack, push_number);
    out.extend_from_slice(b",\"window\":");
    push_number(out, tcp.window);
    out.extend_from_slice(b",\"options\":[");
    let mut first = true;
    for option in &tcp.options {
        comma(out, &mut first);
        match form {
            Form::Record => push_option(out, &option),
            Form::Document => {
                out.push(b'"');
                write_option(out, &option);
                out.push(b'"');
            }
        }
    }
    if tcp.options.is_cut() {
        comma(out, &mut first);
        out.extend_from_slice(b"\"cut\"");
    }
    out.push(b']');
    member(out, form, b",\"urgent\":", tcp.urgent, push_number);
    out.push(b'}');
}

/// Appends an option: its name where that says all, else an object of its name and its values.
fn push_option(out: &mut Vec<u8>, option: &TcpOption) {
    let name = option.name();
    match option {
        TcpOption::Eol | TcpOption::Nop | TcpOption::SackPermitted => return push_str(out, name),
        _ => {}
    }
    out.extend_from_slice(b"{\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    match option {
        TcpOption::Eol | TcpOption::Nop | TcpOption::SackPermitted => {}
        TcpOption::Mss(mss) => push_number(out, *mss),
        TcpOption::WindowScale(shift) => push_number(out, *shift),
        TcpOption::Sack(sack) => {
            out.push(b'[');
            let mut first = true;
            for (left, right) in sack.as_slice() {
                comma(out, &mut first);
                push_pair(out, *left, *right);
            }
            out.push(b']');
        }
        TcpOption::Timestamps(value, echo) => push_pair(out, *value, *echo),
        TcpOption::Mptcp { subtype, len } => {
            out.extend_from_slice(b"{\"subtype\":");
            push_number(out, *subtype);
            out.extend_from_slice(b",\"length\":");
            push_number(out, *len);
            out.push(b'}');
        }
        TcpOption::FastOpen { cookie_len } => {
            out.extend_from_slice(b"{\"cookie_length\":");
            push_number(out, *cookie_len);
            out.push(b'}');
        }
        TcpOption::Unknown { kind, len } => push_kind(out, *kind, Some(*len)),
        TcpOption::Malformed { kind, len } => push_kind(out, *kind, *len),
    }
    out.push(b'}');
}

fn push_pair(out: &mut Vec<u8>, a: u32, b: u32) {
    out.push(b'[');
    push_number(out, a);
    out.push(b',');
    push_number(out, b);
    out.push(b']');
}

fn push_kind(out: &mut Vec<u8>, kind: u8, len: Option<u8>) {
    out.extend_from_slice(b"{\"kind\":");
    push_number(out, kind);
    out.extend_from_slice(b",\"length\":");
    push_optional_number(out, len);
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::event::HeaderBytes;
    use crate::fixture;

    fn json(headers: &[u8], form: Form) -> Value {
        let mut message = fixture::request(b"GET", b"/", &[], &[]);
        message.headers = HeaderBytes::new(headers);
        message.segments = 2;
        let mut out = Vec::new();
        push_packet(&mut out, &message, form);
        serde_json::from_slice(&out).unwrap()
    }

    /// The packet of the fixture with these option bytes instead (a multiple of four).
    fn with_options(options: &[u8]) -> Vec<u8> {
        let mut bytes = fixture::packet().as_slice()[..40].to_vec();
        bytes[32] = (5 + options.len() as u8 / 4) << 4;
        bytes[3] = 40 + options.len() as u8;
        bytes.extend_from_slice(options);
        bytes
    }

    #[test]
    fn elements_of_both_headers_are_told() {
        assert_eq!(
            json(fixture::packet().as_slice(), Form::Record),
            json!({
                "ip": {
                    "version": 4, "ttl": 64, "dscp": 0, "id": 4711, "df": true, "ecn": 0, "mf": false,
                    "fragment_offset": 0, "flow_label": null, "total_length": 52, "has_options": false,
                },
                "tcp": {
                    "flags": ["PSH", "ACK"], "seq": 1000, "ack": 5000, "window": 512,
                    "options": ["nop", "nop", {"timestamps": [1, 2]}], "urgent": null,
                },
                "segments": 2,
            })
        );
    }

    #[test]
    fn documents_have_no_null() {
        let packet = json(&with_options(&[]), Form::Document);
        assert_eq!(packet["ip"].get("flow_label"), None);
        assert_eq!(packet["tcp"].get("urgent"), None);
        assert_eq!(json(&with_options(&[])[..30], Form::Document).get("tcp"), None);
    }

    #[test]
    fn options_keep_their_order_and_their_values() {
        let bytes = with_options(&[
            2, 4, 5, 0xb4, 4, 2, 3, 3, 7, 34, 4, 1, 2, 30, 4, 0x10, 0, 253, 3, 9, 5, 10, 0, 0, 0, 1, 0, 0, 0,
            2, 0, 0,
        ]);
        assert_eq!(
            json(&bytes, Form::Record)["tcp"]["options"],
            json!([
                {"mss": 1460},
                "sack_permitted",
                {"window_scale": 7},
                {"fast_open": {"cookie_length": 2}},
                {"mptcp": {"subtype": 1, "length": 4}},
                {"unknown": {"kind": 253, "length": 3}},
                {"sack": [[1, 2]]},
                "eol",
            ])
        );
        assert_eq!(
            json(&bytes, Form::Document)["tcp"]["options"],
            json!([
                "mss 1460",
                "sackOK",
                "wscale 7",
                "tfo cookie 2",
                "mptcp 4 subtype 1",
                "unknown-253 3",
                "sack 1 {1:2}",
                "eol",
            ])
        );
        assert_eq!(
            json(&with_options(&[1, 1, 1, 8]), Form::Record)["tcp"]["options"][3],
            json!({"malformed": {"kind": 8, "length": null}})
        );
    }

    #[test]
    fn what_the_copy_does_not_hold_is_null() {
        let whole = with_options(&[1, 1, 1, 1]);
        assert_eq!(json(&whole[..10], Form::Record), Value::Null);
        assert_eq!(json(&whole[..30], Form::Record)["tcp"], Value::Null);
        assert_eq!(json(&whole[..42], Form::Record)["tcp"]["options"], json!(["nop", "nop", "cut"]));
    }
}
