use crate::packet;
use crate::redact::FingerprintKey;

use super::*;

fn maker() -> Fingerprinter {
    Fingerprinter::new(&FingerprintKey { id: 1, secret: [7; 32] })
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn truncation_leaves_the_network() {
    for (given, out) in [
        ("192.0.2.77", "192.0.2.0"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1::"),
        ("::ffff:192.0.2.77", "::ffff:192.0.2.0"),
        ("2002:c000:24d:1::1", "2002:c000:200::"),
        ("127.0.0.1", "127.0.0.1"),
        ("::1", "::1"),
        ("::ffff:127.0.0.1", "::ffff:127.0.0.1"),
        ("0.0.0.0", "0.0.0.0"),
    ] {
        assert_eq!(rewritten(ip(given), Addresses::Truncate, &maker()), ip(out), "{given}");
        assert_eq!(rewritten(ip(given), Addresses::Keep, &maker()), ip(given));
    }
}

#[test]
fn one_address_has_one_fingerprint_in_each_form() {
    let made = |text: &str| rewritten(ip(text), Addresses::Fingerprint, &maker());
    assert_eq!(made("192.0.2.77"), made("::ffff:192.0.2.77"));
    assert_ne!(made("192.0.2.77"), made("192.0.2.78"));
    assert!(made("192.0.2.77").to_string().starts_with("fd"));
    assert_eq!(made("127.0.0.1"), ip("127.0.0.1"));
    let other = Fingerprinter::new(&FingerprintKey { id: 2, secret: [8; 32] });
    assert_ne!(rewritten(ip("192.0.2.77"), Addresses::Fingerprint, &other), made("192.0.2.77"));
}

fn lined(value: &str) -> String {
    let mut ranges = Vec::new();
    line(value.as_bytes(), &mut ranges);
    let mut out = String::new();
    let mut at = 0;
    for r in ranges {
        out.push_str(&value[at..r.start]);
        out.push_str(if r.address { "A" } else { "*" });
        at = r.end;
    }
    out + &value[at..]
}

#[test]
fn addresses_are_found_where_proxies_write_them() {
    for (given, out) in [
        ("192.0.2.1", "A"),
        ("192.0.2.1, 198.51.100.7:4711 ,2001:db8::1", "A, A:4711 ,A"),
        ("[2001:db8::1]:80, fe80::1%eth0", "[A]:80, A"),
        ("\"192.0.2.1\"", "\"A\""),
        (
            "for=192.0.2.60;proto=http;by=203.0.113.43, For=\"[2001:db8:cafe::17]:4711\"",
            "for=A;proto=http;by=203.0.113.43, For=\"[A]:4711\"",
        ),
        ("for=unknown, for=_hidden;host=192.0.2.1", "for=unknown, for=_hidden;host=192.0.2.1"),
        ("unknown, ,", "unknown, ,"),
        ("192.0.2.300, 3221225985, 0300.0.2.1, host.example", "*, *, *, *"),
        ("::ffff:192.0.2.1", "A"),
        ("\"192.0.2.1, 192.0.2.2", "*"),
        ("[192.0.2.1", "*"),
        ("192.0.2.1:x", "*"),
    ] {
        assert_eq!(lined(given), out, "{given}");
    }
}

#[test]
fn an_address_is_found_as_a_word() {
    for (given, count) in [
        ("10.0.0.1", 1),
        ("a=10.0.0.1;b=10.0.0.1.", 2),
        ("110.0.0.1", 0),
        ("10.0.0.12", 0),
        ("10.0.0.1.5 1.10.0.0.1", 0),
        ("/x/10.0.0.1/y", 1),
    ] {
        let mut ranges = Vec::new();
        mentions(given.as_bytes(), b"10.0.0.1", &mut ranges);
        assert_eq!(ranges.len(), count, "{given}");
    }
}

/// IPv4 with a record-route option, TCP with an MPTCP option that adds an address.
fn v4() -> HeaderBytes {
    let mut bytes = vec![0x47, 0, 0, 60, 0x12, 0x67, 0x40, 0, 64, 6, 0xaa, 0xbb, 10, 9, 8, 7, 10, 0, 0, 1];
    bytes.extend([7, 7, 4, 10, 9, 8, 7, 0]);
    bytes.extend([
        0xc8, 0x22, 0x23, 0x78, 0, 0, 3, 0xe8, 0, 0, 0x13, 0x88, 0x80, 0x18, 2, 0, 0xcc, 0xdd, 0, 0,
    ]);
    bytes.extend([30, 8, 0x34, 1, 10, 9, 8, 7, 1, 1, 1, 0]);
    HeaderBytes::new(&bytes)
}

#[test]
fn packet_headers_are_rewritten_and_give_nothing_away() {
    let client = ip("10.9.8.7");
    for mode in [Addresses::Truncate, Addresses::Fingerprint] {
        let new = headers(&v4(), true, client, mode, &maker());
        let bytes = new.as_slice();
        assert_eq!(bytes.len(), v4().as_slice().len());
        assert!(!bytes.windows(4).any(|w| w == [10, 9, 8, 7]), "{bytes:?}");
        assert!(!bytes.windows(2).any(|w| w == [0xaa, 0xbb] || w == [0xcc, 0xdd]), "checksums");
        let elements = packet::elements(&new);
        let (ip, tcp) = (elements.ip.unwrap(), elements.tcp.unwrap());
        assert_eq!(ip.destination.to_string(), "10.0.0.1");
        match mode {
            Addresses::Truncate => assert_eq!(ip.source.to_string(), "10.9.8.0"),
            _ => assert!(matches!(ip.source, IpAddr::V4(v4) if v4.octets()[0] >> 4 == 15)),
        }
        // All else stays.
        let (was_ip, was_tcp) = (packet::elements(&v4()).ip.unwrap(), packet::elements(&v4()).tcp.unwrap());
        assert_eq!(
            (ip.ttl, ip.id, ip.df, ip.total_length),
            (was_ip.ttl, was_ip.id, was_ip.df, was_ip.total_length)
        );
        assert_eq!(
            (tcp.flags, tcp.seq, tcp.ack, tcp.window),
            (was_tcp.flags, was_tcp.seq, was_tcp.ack, was_tcp.window)
        );
        assert!(tcp.options.iter().eq(was_tcp.options.iter()));
    }
    // An answer: the client is the destination. The source is the server, and stays.
    let answer = headers(&v4(), false, ip("10.0.0.1"), Addresses::Truncate, &maker());
    let elements = packet::elements(&answer).ip.unwrap();
    assert_eq!(
        (elements.source.to_string(), elements.destination.to_string()),
        ("10.9.8.7".into(), "10.0.0.0".into())
    );
}

#[test]
fn ipv6_headers_are_rewritten_with_their_extensions() {
    let client: Ipv6Addr = "2001:db8:1:2:3:4:5:6".parse().unwrap();
    let mut bytes = vec![0x60, 0, 0, 0, 0, 44, 60, 64];
    bytes.extend(client.octets());
    bytes.extend("2001:db8::1".parse::<Ipv6Addr>().unwrap().octets());
    // Destination options with a home address (RFC 6275, 6.3).
    bytes.extend([6, 2, 1, 2, 0, 0, 201, 16]);
    bytes.extend(client.octets());
    bytes.extend([
        0xc8, 0x22, 0x23, 0x78, 0, 0, 3, 0xe8, 0, 0, 0x13, 0x88, 0x50, 0x18, 2, 0, 0xcc, 0xdd, 0, 0,
    ]);
    let old = HeaderBytes::new(&bytes);
    let new = headers(&old, true, IpAddr::V6(client), Addresses::Truncate, &maker());
    assert!(!new.as_slice().windows(16).any(|w| w == client.octets()));
    assert!(!new.as_slice().windows(2).any(|w| w == [0xcc, 0xdd]));
    let elements = packet::elements(&new);
    assert_eq!(elements.ip.unwrap().source, ip("2001:db8:1::"));
    assert_eq!(elements.tcp.unwrap().seq, 1000);
}

#[test]
fn no_header_bytes_are_too_odd() {
    let full = v4();
    for len in 0..full.as_slice().len() {
        for first in [0x40, 0x4f, 0x45, 0x60, 0x00, 0xff] {
            let mut bytes = full.as_slice()[..len].to_vec();
            if let Some(b) = bytes.first_mut() {
                *b = first;
            }
            let new = headers(&HeaderBytes::new(&bytes), true, ip("10.9.8.7"), Addresses::Truncate, &maker());
            assert_eq!(new.as_slice().len(), len);
        }
    }
}
