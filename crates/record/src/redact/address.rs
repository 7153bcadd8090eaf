//! Client addresses: in endpoints, in packet headers, in the lines in which proxies name them, and in any other text.
//!
//! Truncated or made a fingerprint, but never so that the rest of the record gives away what was taken: checksums cover
//! the addresses, so they are blanked where an address was changed, and so are IPv4 options, IPv6 extension headers and
//! multipath options, in which addresses may stand.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::event::HeaderBytes;

use super::fingerprint::Fingerprinter;
use super::scan::Range;
use super::settings::{Addresses, Mode};
use super::values;

/// Octets of an IPv4 and of an IPv6 address that are kept: /24 and /48.
const V4_OCTETS_KEPT: usize = 3;
const V6_OCTETS_KEPT: usize = 6;
/// Most IPv6 extension headers that are walked; the copy of a packet's headers does not hold more.
const EXTENSIONS_MAX: usize = 16;
/// Numbers of protocols and extension headers (IANA).
const HOP_BY_HOP: u8 = 0;
const TCP: u8 = 6;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION: u8 = 60;

/// The address that stands in a record for a client's.
#[cold]
pub(super) fn rewritten(ip: IpAddr, mode: Addresses, fingerprinter: &Fingerprinter) -> IpAddr {
    let canonical = ip.to_canonical();
    // These name no one.
    if mode == Addresses::Keep || canonical.is_loopback() || canonical.is_unspecified() {
        return ip;
    }
    match mode {
        Addresses::Keep => ip,
        Addresses::Truncate => match (canonical, ip) {
            (IpAddr::V4(v4), IpAddr::V6(_)) => IpAddr::V6(truncated_v4(v4).to_ipv6_mapped()),
            (IpAddr::V4(v4), IpAddr::V4(_)) => IpAddr::V4(truncated_v4(v4)),
            (IpAddr::V6(v6), _) => IpAddr::V6(truncated_v6(v6)),
        },
        Addresses::Fingerprint => {
            let octets = match canonical {
                IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
                IpAddr::V6(v6) => v6.octets(),
            };
            let mut made = fingerprinter.address(octets);
            made[0] = 0xfd;
            IpAddr::V6(Ipv6Addr::from(made))
        }
    }
}

fn truncated_v4(ip: Ipv4Addr) -> Ipv4Addr {
    let mut octets = ip.octets();
    octets[V4_OCTETS_KEPT..].fill(0);
    Ipv4Addr::from(octets)
}

fn truncated_v6(ip: Ipv6Addr) -> Ipv6Addr {
    let mut octets = ip.octets();
    // 2002::/16 has an IPv4 address behind the prefix (6to4, RFC 3056, 2), which would stay whole.
    let kept = if octets.starts_with(&[0x20, 0x02]) { 2 + V4_OCTETS_KEPT } else { V6_OCTETS_KEPT };
    octets[kept..].fill(0);
    Ipv6Addr::from(octets)
}

/// A packet's headers with `client` rewritten where it stands: as source of what the client sent, as destination of the
/// answers.
#[cold]
pub(super) fn headers(
    old: &HeaderBytes,
    from_client: bool,
    client: IpAddr,
    mode: Addresses,
    fingerprinter: &Fingerprinter,
) -> HeaderBytes {
    let mut bytes = [0; crate::event::HEADER_BYTES_MAX];
    let Some(bytes) = bytes.get_mut(..old.as_slice().len()) else { return HeaderBytes::new(&[]) };
    bytes.copy_from_slice(old.as_slice());
    match bytes.first().map(|b| b >> 4) {
        Some(4) => v4_headers(bytes, from_client, client, mode, fingerprinter),
        Some(6) => v6_headers(bytes, from_client, client, mode, fingerprinter),
        // No IP header: nothing is known of what may stand there.
        _ => bytes.fill(0),
    }
    HeaderBytes::new(bytes)
}

fn v4_headers(
    bytes: &mut [u8],
    from_client: bool,
    client: IpAddr,
    mode: Addresses,
    fingerprinter: &Fingerprinter,
) {
    let Some(header) = bytes.first_chunk_mut::<20>() else { return bytes.fill(0) };
    let options_end = usize::from(header[0] & 15) * 4;
    let (protocol, fragment) = (header[9], u16::from_be_bytes([header[6], header[7]]) & 0x1fff);
    header[10..12].fill(0);
    for (at, is_client) in [(12, from_client), (16, !from_client)] {
        let octets = [header[at], header[at + 1], header[at + 2], header[at + 3]];
        let ip = IpAddr::from(octets);
        if !is_client && ip != client {
            continue;
        }
        let new = match rewritten(ip, mode, fingerprinter) {
            IpAddr::V4(v4) => v4.octets(),
            // 16 octets have no room here: 240.0.0.0/4, which no host has, with 28 bits of them.
            IpAddr::V6(v6) => {
                let made = v6.octets();
                [0xf0 | made[1] & 15, made[2], made[3], made[4]]
            }
        };
        header[at..at + 4].copy_from_slice(&new);
    }
    let options_end = options_end.clamp(20, bytes.len());
    // No-operations (RFC 791, 3.1).
    bytes[20..options_end].fill(1);
    if protocol == TCP && fragment == 0 {
        tcp_header(&mut bytes[options_end..]);
    }
}

fn v6_headers(
    bytes: &mut [u8],
    from_client: bool,
    client: IpAddr,
    mode: Addresses,
    fingerprinter: &Fingerprinter,
) {
    let Some(header) = bytes.first_chunk_mut::<40>() else { return bytes.fill(0) };
    let mut next = header[6];
    for (at, is_client) in [(8, from_client), (24, !from_client)] {
        let mut octets = [0; 16];
        octets.copy_from_slice(&header[at..at + 16]);
        let ip = IpAddr::from(octets);
        if !is_client && ip.to_canonical() != client {
            continue;
        }
        if let IpAddr::V6(new) = rewritten(ip, mode, fingerprinter) {
            header[at..at + 16].copy_from_slice(&new.octets());
        }
    }
    let mut at = 40;
    for _ in 0..EXTENSIONS_MAX {
        let Some(&[following, length]) = bytes.get(at..).and_then(|b| b.first_chunk::<2>()) else { return };
        match next {
            // Options as padding of one byte each (RFC 8200, 4.2), and no route.
            HOP_BY_HOP | ROUTING | DESTINATION => {
                let end = at + 8 + usize::from(length) * 8;
                let inside = at + 2..end.min(bytes.len());
                bytes[inside].fill(0);
                at = end;
            }
            FRAGMENT => at += 8,
            TCP => return tcp_header(bytes.get_mut(at..).unwrap_or_default()),
            // What this is cannot be told, nor what stands in it.
            _ => return bytes[at..].fill(0),
        }
        next = following;
    }
}

/// Blanks the checksum, which covers the addresses, and multipath options, which may name others (RFC 8684, 3.4.1).
fn tcp_header(bytes: &mut [u8]) {
    if let Some(checksum) = bytes.get_mut(16..18) {
        checksum.fill(0);
    }
    let end = bytes.get(12).map_or(0, |b| usize::from(b >> 4) * 4).min(bytes.len());
    let mut at = 20;
    while at < end {
        let len = bytes.get(at + 1).map_or(0, |b| usize::from(*b));
        match bytes[at] {
            0 => return,
            1 => at += 1,
            _ if len < 2 => return,
            kind => {
                let stop = (at + len).min(end);
                if kind == 30 && at + 2 < stop {
                    // The subtype stays.
                    bytes[at + 2] &= 0xf0;
                    bytes[at + 3..stop].fill(0);
                }
                at = stop;
            }
        }
    }
}

/// Addresses in a list (`X-Forwarded-For`) or as `for=` (RFC 7239, 4). What stands in an address's place and is none is
/// masked, but for the words of RFC 7239, 6: `unknown`, and names that begin with `_`.
#[cold]
pub(super) fn line(value: &[u8], ranges: &mut Vec<Range>) {
    for (start, end) in values::split_quoted(value, b',') {
        for (from, to) in values::split_quoted(&value[start..end], b';') {
            let (from, to) = (start + from, start + to);
            match value[from..to].iter().position(|b| *b == b'=') {
                None => element(value, from, to, ranges),
                Some(equals) if value[from..from + equals].trim_ascii().eq_ignore_ascii_case(b"for") => {
                    element(value, from + equals + 1, to, ranges);
                }
                Some(_) => {}
            }
        }
    }
}

fn element(value: &[u8], start: usize, end: usize, ranges: &mut Vec<Range>) {
    let (mut start, mut end) = values::trim(value, start, end);
    while end - start >= 2 && value[start] == b'"' && value[end - 1] == b'"' {
        (start, end) = values::trim(value, start + 1, end - 1);
    }
    let text = &value[start..end];
    if text.is_empty() || text.eq_ignore_ascii_case(b"unknown") || text[0] == b'_' {
        return;
    }
    let is_port = |text: &[u8]| text.first() == Some(&b':') && text[1..].iter().all(u8::is_ascii_digit);
    if text[0] == b'['
        && let Some(close) = text.iter().position(|b| *b == b']')
        && is_ip(&text[1..close])
        && (close + 1 == text.len() || is_port(&text[close + 1..]))
    {
        ranges.push(Range::address(start + 1, start + close));
        return;
    }
    let port = text.iter().rposition(|b| *b == b':').filter(|colon| is_port(&text[*colon..]));
    match port {
        _ if is_ip(text) => ranges.push(Range::address(start, end)),
        Some(colon) if is_ip(&text[..colon]) => ranges.push(Range::address(start, start + colon)),
        _ => ranges.push(Range::new(start, end).with(Mode::Mask)),
    }
}

/// The address in a text, without its zone (RFC 4007, 11).
pub(super) fn parsed(text: &[u8]) -> Option<IpAddr> {
    let text = text.split(|b| *b == b'%').next().unwrap_or(text);
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn is_ip(text: &[u8]) -> bool {
    parsed(text).is_some()
}

/// Where `address`, in its usual text form, stands in a value as a word of its own.
#[cold]
pub(super) fn mentions(value: &[u8], address: &[u8], ranges: &mut Vec<Range>) {
    let word = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    for start in memchr::memmem::find_iter(value, address) {
        let end = start + address.len();
        let before = start.checked_sub(1).and_then(|i| value.get(i));
        // A dot before digits goes on with the address; at the end of a sentence it does not.
        let goes_on = value.get(end) == Some(&b'.') && word(value.get(end + 1));
        if !word(before) && before != Some(&b'.') && !word(value.get(end)) && !goes_on {
            ranges.push(Range::address(start, end));
        }
    }
}

#[cfg(test)]
#[path = "address_tests.rs"]
mod tests;
