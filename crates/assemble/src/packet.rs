//! The few header elements that assembly itself needs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use headtrail_record::event::Endpoint;

/// Source, destination and acknowledgement number of a TCP packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ends {
    pub(crate) source: Endpoint,
    pub(crate) destination: Endpoint,
}

const TCP: u8 = 6;
const IPV4_HEADER_BYTES_MIN: usize = 20;
const IPV6_HEADER_BYTES: usize = 40;

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

/// Offset of the TCP header (RFC 791, 3.1; RFC 8200, 4).
fn tcp_offset(bytes: &[u8]) -> Option<usize> {
    match bytes.first()? >> 4 {
        4 => {
            let offset = usize::from(bytes[0] & 15) * 4;
            (*bytes.get(9)? == TCP && offset >= IPV4_HEADER_BYTES_MIN).then_some(offset)
        }
        6 => {
            let mut next = *bytes.get(6)?;
            let mut offset = IPV6_HEADER_BYTES;
            loop {
                match next {
                    TCP => return Some(offset),
                    // Hop-by-hop, routing and destination options share one layout; a fragment header has a fixed one.
                    0 | 43 | 60 => {
                        let [following, units] = array(bytes, offset)?;
                        next = following;
                        offset += (usize::from(units) + 1) * 8;
                    }
                    44 => {
                        next = *bytes.get(offset)?;
                        offset += 8;
                    }
                    _ => return None,
                }
            }
        }
        _ => None,
    }
}

/// The ends of a packet; IPv4-mapped addresses as IPv4.
pub(crate) fn ends(bytes: &[u8]) -> Option<Ends> {
    let tcp = tcp_offset(bytes)?;
    let (from, to) = if bytes[0] >> 4 == 4 {
        let from = IpAddr::V4(Ipv4Addr::from(array::<4>(bytes, 12)?));
        (from, IpAddr::V4(Ipv4Addr::from(array::<4>(bytes, 16)?)))
    } else {
        let from = IpAddr::V6(Ipv6Addr::from(array::<16>(bytes, 8)?)).to_canonical();
        (from, IpAddr::V6(Ipv6Addr::from(array::<16>(bytes, 24)?)).to_canonical())
    };
    Some(Ends {
        source: Endpoint { ip: from, port: u16::from_be_bytes(array(bytes, tcp)?) },
        destination: Endpoint { ip: to, port: u16::from_be_bytes(array(bytes, tcp + 2)?) },
    })
}

/// The acknowledgement number of a packet (RFC 9293, 3.1), where its ACK bit is set.
pub(crate) fn acknowledgement(bytes: &[u8]) -> Option<u32> {
    const ACK: u8 = 1 << 4;
    let tcp = tcp_offset(bytes)?;
    let number = u32::from_be_bytes(array(bytes, tcp + 8)?);
    (bytes.get(tcp + 13)? & ACK != 0).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4() -> Vec<u8> {
        let mut b = vec![0; 40];
        b[0] = 0x45;
        b[9] = TCP;
        b[12..16].copy_from_slice(&[10, 0, 0, 1]);
        b[16..20].copy_from_slice(&[10, 0, 0, 2]);
        b[20..24].copy_from_slice(&[0xc0, 0, 0, 80]);
        b[28..32].copy_from_slice(&[1, 2, 3, 4]);
        b[33] = 0x18;
        b
    }

    #[test]
    fn ends_and_acknowledgement_of_ipv4() {
        let got = ends(&v4()).unwrap();
        assert_eq!(got.source.to_string(), "10.0.0.1:49152");
        assert_eq!(got.destination.to_string(), "10.0.0.2:80");
        assert_eq!(acknowledgement(&v4()), Some(0x0102_0304));
        let mut no_ack = v4();
        no_ack[33] = 2;
        assert_eq!(acknowledgement(&no_ack), None);
    }

    #[test]
    fn extension_headers_of_ipv6_are_passed_and_mapped_addresses_unmapped() {
        let mut b = vec![0; 40 + 8 + 20];
        b[0] = 0x60;
        b[40] = TCP;
        b[18..20].copy_from_slice(&[0xff, 0xff]);
        b[20..24].copy_from_slice(&[127, 0, 0, 1]);
        b[39] = 1;
        b[51] = 80;
        let got = ends(&b).unwrap();
        assert_eq!(got.source.to_string(), "127.0.0.1:0");
        assert_eq!(got.destination.to_string(), "[::1]:80");
    }

    #[test]
    fn cut_headers_have_no_ends() {
        for len in 0..24 {
            assert_eq!(ends(&v4()[..len]), None);
        }
        for len in 0..34 {
            assert_eq!(acknowledgement(&v4()[..len]), None);
        }
    }
}
