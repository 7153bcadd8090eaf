//! Elements of a packet in the words of tcpdump, which people know by heart.

use crate::event::Endpoint;
use crate::json_text::{push_ip, push_number};
use crate::packet::{Ip, PacketElements, Tcp, TcpFlags, TcpOption};

/// Letters of the flags from bit 0 (FIN) on, as tcpdump prints them.
const FLAG_LETTERS: &[u8; 9] = b"FSRP.UEWe";

/// Appends `a.b.c.d:p`, or `[v6]:p`.
pub fn write_endpoint(out: &mut Vec<u8>, end: Endpoint) {
    if end.ip.is_ipv6() {
        out.push(b'[');
    }
    push_ip(out, end.ip);
    out.extend_from_slice(if end.ip.is_ipv6() { b"]:" } else { b":" });
    push_number(out, end.port);
}

/// Appends `SRC: a.b.c.d:p DST: e.f.g.h:p`, then the elements that are known, without a line end. The ends are
/// arguments because a copy may be cut before its addresses.
pub fn write_packet(
    out: &mut Vec<u8>,
    source: Endpoint,
    destination: Endpoint,
    elements: &PacketElements,
    segments: u16,
) {
    out.extend_from_slice(b"SRC: ");
    write_endpoint(out, source);
    out.extend_from_slice(b" DST: ");
    write_endpoint(out, destination);
    if let Some(ip) = &elements.ip {
        write_ip(out, ip);
    }
    if let Some(tcp) = &elements.tcp {
        write_tcp(out, tcp);
    }
    if segments > 1 {
        named(out, b" segments ", segments);
    }
}

fn named(out: &mut Vec<u8>, name: &[u8], value: impl Into<u64>) {
    out.extend_from_slice(name);
    push_number(out, value);
}

fn write_ip(out: &mut Vec<u8>, ip: &Ip) {
    out.extend_from_slice(if ip.version == 6 { b" ip6" } else { b" ip" });
    named(out, if ip.version == 6 { b" hlim " } else { b" ttl " }, ip.ttl);
    // What is 0 on nearly every packet is told where it is not.
    if ip.dscp != 0 {
        named(out, b" dscp ", ip.dscp);
    }
    if ip.ecn != 0 {
        named(out, b" ecn ", ip.ecn);
    }
    if let Some(label) = ip.flow_label.filter(|&label| label != 0) {
        named(out, b" flowlabel ", label);
    }
    if let Some(id) = ip.id {
        named(out, b" id ", id);
    }
    if ip.df == Some(true) {
        out.extend_from_slice(b" DF");
    }
    if ip.mf == Some(true) {
        out.extend_from_slice(b" MF");
    }
    if let Some(offset) = ip.fragment_offset.filter(|&offset| offset != 0) {
        named(out, b" offset ", u32::from(offset) * 8);
    }
    if ip.options {
        out.extend_from_slice(if ip.version == 6 { b" extensions" } else { b" options" });
    }
    if let Some(length) = ip.total_length {
        named(out, b" length ", length);
    }
}

fn write_tcp(out: &mut Vec<u8>, tcp: &Tcp) {
    out.extend_from_slice(b" Flags [");
    write_flags(out, tcp.flags);
    named(out, b"] seq ", tcp.seq);
    if let Some(ack) = tcp.ack {
        named(out, b" ack ", ack);
    }
    named(out, b" win ", tcp.window);
    if let Some(urgent) = tcp.urgent {
        named(out, b" urg ", urgent);
    }
    out.extend_from_slice(b" options [");
    let begin = out.len();
    for option in &tcp.options {
        if out.len() > begin {
            out.push(b',');
        }
        write_option(out, &option);
    }
    if tcp.options.is_cut() {
        out.extend_from_slice(if out.len() > begin { b",cut" } else { b"cut" });
    }
    out.push(b']');
}

fn write_flags(out: &mut Vec<u8>, flags: TcpFlags) {
    let begin = out.len();
    out.extend(FLAG_LETTERS.iter().enumerate().filter(|(bit, _)| flags.0 >> bit & 1 == 1).map(|(_, l)| l));
    if out.len() == begin {
        out.extend_from_slice(b"none");
    }
}

/// Appends one TCP option, as `TS val 1 ecr 2`.
pub fn write_option(out: &mut Vec<u8>, option: &TcpOption) {
    match option {
        TcpOption::Eol => out.extend_from_slice(b"eol"),
        TcpOption::Nop => out.extend_from_slice(b"nop"),
        TcpOption::Mss(mss) => named(out, b"mss ", *mss),
        TcpOption::WindowScale(shift) => named(out, b"wscale ", *shift),
        TcpOption::SackPermitted => out.extend_from_slice(b"sackOK"),
        TcpOption::Sack(sack) => {
            named(out, b"sack ", sack.as_slice().len() as u64);
            out.push(b' ');
            for (left, right) in sack.as_slice() {
                named(out, b"{", *left);
                named(out, b":", *right);
                out.push(b'}');
            }
        }
        TcpOption::Timestamps(value, echo) => {
            named(out, b"TS val ", *value);
            named(out, b" ecr ", *echo);
        }
        TcpOption::Mptcp { subtype, len } => {
            named(out, b"mptcp ", *len);
            named(out, b" subtype ", *subtype);
        }
        TcpOption::FastOpen { cookie_len: 0 } => out.extend_from_slice(b"tfo cookiereq"),
        TcpOption::FastOpen { cookie_len } => named(out, b"tfo cookie ", *cookie_len),
        TcpOption::Unknown { kind, len } => {
            named(out, b"unknown-", *kind);
            named(out, b" ", *len);
        }
        TcpOption::Malformed { kind, len } => {
            named(out, b"malformed-", *kind);
            if let Some(len) = len {
                named(out, b" ", *len);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use crate::packet::elements;

    fn text(headers: &[u8], segments: u16) -> String {
        let end = |ip: &str, port| Endpoint { ip: ip.parse().unwrap(), port };
        let mut out = Vec::new();
        let elements = elements(&crate::event::HeaderBytes::new(headers));
        write_packet(&mut out, end("127.0.0.1", 51234), end("::1", 9080), &elements, segments);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_packet_reads_as_in_tcpdump() {
        assert_eq!(
            text(fixture::packet().as_slice(), 1),
            "SRC: 127.0.0.1:51234 DST: [::1]:9080 ip ttl 64 id 4711 DF length 52 Flags [P.] seq 1000 ack 5000 \
             win 512 options [nop,nop,TS val 1 ecr 2]"
        );
    }

    #[test]
    fn every_option_has_words() {
        let option = |option| {
            let mut out = Vec::new();
            write_option(&mut out, &option);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(option(TcpOption::Eol), "eol");
        assert_eq!(option(TcpOption::Mss(1460)), "mss 1460");
        assert_eq!(option(TcpOption::WindowScale(7)), "wscale 7");
        assert_eq!(option(TcpOption::SackPermitted), "sackOK");
        assert_eq!(option(TcpOption::Mptcp { subtype: 2, len: 20 }), "mptcp 20 subtype 2");
        assert_eq!(option(TcpOption::FastOpen { cookie_len: 0 }), "tfo cookiereq");
        assert_eq!(option(TcpOption::FastOpen { cookie_len: 8 }), "tfo cookie 8");
        assert_eq!(option(TcpOption::Unknown { kind: 253, len: 4 }), "unknown-253 4");
        assert_eq!(option(TcpOption::Malformed { kind: 2, len: None }), "malformed-2");
    }

    #[test]
    fn what_is_cut_is_left_out_or_called_so() {
        let whole = fixture::packet();
        assert_eq!(text(&whole.as_slice()[..10], 1), "SRC: 127.0.0.1:51234 DST: [::1]:9080");
        assert!(text(&whole.as_slice()[..42], 3).ends_with("options [nop,nop,cut] segments 3"));
    }
}
