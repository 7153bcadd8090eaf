//! The acknowledgement number of a packet, which assembly takes as evidence of what was received. `record` reads the
//! other elements.

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
        b[28..32].copy_from_slice(&[1, 2, 3, 4]);
        b[33] = 0x18;
        b
    }

    #[test]
    fn of_ipv4_only_with_the_ack_bit() {
        assert_eq!(acknowledgement(&v4()), Some(0x0102_0304));
        let mut no_ack = v4();
        no_ack[33] = 2;
        assert_eq!(acknowledgement(&no_ack), None);
    }

    #[test]
    fn of_ipv6_behind_extension_headers() {
        let mut b = vec![0; 40 + 8 + 20];
        b[0] = 0x60;
        b[40] = TCP;
        b[48 + 11] = 7;
        b[48 + 13] = 0x10;
        assert_eq!(acknowledgement(&b), Some(7));
    }

    #[test]
    fn of_cut_headers_there_is_none() {
        for len in 0..34 {
            assert_eq!(acknowledgement(&v4()[..len]), None);
        }
    }
}
