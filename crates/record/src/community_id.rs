//! Community ID version 1 of a TCP flow: a hash of its tuple that Zeek, Suricata, Packetbeat and Wireshark compute
//! alike, so that records of different tools about one flow can be joined.
//!
//! The hash is `"1:" + base64(sha1(seed | address | address | protocol | 0 | port | port))`, network byte order, the
//! smaller end first. The seed is 0, the default of all those tools. Ends of unlike families, which no TCP flow has,
//! are hashed as IPv6 with the IPv4 one mapped.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest as _, Sha1};

use crate::event::Endpoint;

/// Protocol number of TCP.
const TCP: u8 = 6;

/// Length of the text form: `1:` and 20 bytes in base64.
pub const TEXT_BYTES: usize = 2 + 28;

/// The Community ID of the TCP flow between two ends; the same whichever comes first.
#[must_use]
pub fn tcp(a: Endpoint, b: Endpoint) -> [u8; TEXT_BYTES] {
    // Seed, two IPv6 addresses, protocol, padding, two ports.
    let mut input = [0_u8; 2 + 32 + 2 + 4];
    let mut len = 2;
    let mut put = |bytes: &[u8]| {
        input[len..len + bytes.len()].copy_from_slice(bytes);
        len += bytes.len();
    };
    match (a.ip, b.ip) {
        (IpAddr::V4(x), IpAddr::V4(y)) => {
            let (low, high) = ordered((x.octets(), a.port), (y.octets(), b.port));
            put(&low.0);
            put(&high.0);
            put(&[TCP, 0]);
            put(&low.1.to_be_bytes());
            put(&high.1.to_be_bytes());
        }
        (x, y) => {
            let (low, high) = ordered((mapped(x), a.port), (mapped(y), b.port));
            put(&low.0);
            put(&high.0);
            put(&[TCP, 0]);
            put(&low.1.to_be_bytes());
            put(&high.1.to_be_bytes());
        }
    }
    let mut text = [b'='; TEXT_BYTES];
    text[..2].copy_from_slice(b"1:");
    // 20 bytes always fill the 28 characters, so there is nothing to report.
    let _ = STANDARD.encode_slice(Sha1::digest(&input[..len]), &mut text[2..]);
    text
}

/// Smaller address first, and of equal addresses the smaller port.
fn ordered<T: Ord>(a: T, b: T) -> (T, T) {
    if a <= b { (a, b) } else { (b, a) }
}

/// The octets of an IPv6 address, or of the IPv4 one mapped into IPv6.
fn mapped(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(ip: &str, port: u16) -> Endpoint {
        Endpoint { ip: ip.parse().unwrap(), port }
    }

    #[test]
    fn equals_the_published_vectors_in_both_directions() {
        let vectors = [
            (end("128.232.110.120", 34855), end("66.35.250.204", 80), "1:LQU9qZlK+B5F3KDmev6m5PMibrg="),
            (end("1.2.3.4", 1122), end("5.6.7.8", 3344), "1:wCb3OG7yAFWelaUydu0D+125CLM="),
            (
                end("2001:470:e5bf:dead:4957:2174:e82c:4887", 63943),
                end("2607:f8b0:400c:c03::1a", 25),
                "1:/qFaeAR+gFe1KYjMzVDsMv+wgU4=",
            ),
        ];
        for (a, b, expected) in vectors {
            assert_eq!(std::str::from_utf8(&tcp(a, b)).unwrap(), expected);
            assert_eq!(std::str::from_utf8(&tcp(b, a)).unwrap(), expected);
        }
    }

    #[test]
    fn equal_addresses_are_ordered_by_port() {
        let (a, b) = (end("127.0.0.1", 51234), end("127.0.0.1", 9080));
        assert_eq!(tcp(a, b), tcp(b, a));
        assert_ne!(tcp(a, b), tcp(a, a));
    }
}
