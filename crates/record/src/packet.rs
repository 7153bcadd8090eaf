//! Typed elements of a packet's L3 and L4 headers, from the copy that stands on a message.
//!
//! Place in the data's way: writers call this once or twice per record, so nothing here allocates. The IP part,
//! with its extension headers, is read by `etherparse`. The TCP part is read here: `etherparse` ends its walk at the
//! first option it does not know (fast open, MPTCP) and refuses a header that was cut, and both are what an
//! observer wants to show. What is absent, or cut off by the copy, is `None` and never zero; nothing here is an
//! error, because the bytes are the peer's.
//!
//! ```
//! use headtrail_record::{event::HeaderBytes, packet};
//! let elements = packet::elements(&HeaderBytes::new(&[0x45, 0, 0]));
//! assert!(elements.ip.is_none() && elements.tcp.is_none());
//! ```

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use etherparse::{Ipv6ExtensionSlice, LaxIpSlice, ip_number};

use crate::event::{Endpoint, HeaderBytes};

/// Most options that 40 option bytes can hold: a one-byte no-operation each.
pub const TCP_OPTIONS_MAX: usize = 40;
/// Most selective-acknowledgement blocks in one header (RFC 2018, 3): 2 + 4 * 8 bytes of 40.
pub const SACK_BLOCKS_MAX: usize = 4;
/// Longest fast open cookie (RFC 7413, 4.1.1), bytes.
pub const FAST_OPEN_COOKIE_BYTES_MAX: usize = 16;

/// The elements of one packet's headers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PacketElements {
    /// The IP header; None where the copy does not hold one whole.
    pub ip: Option<Ip>,
    /// The TCP header; None where it is not there, or cut within its first 20 bytes, or in an earlier fragment.
    pub tcp: Option<Tcp>,
}

/// Elements of an IPv4 (RFC 791) or IPv6 (RFC 8200) header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ip {
    /// 4 or 6.
    pub version: u8,
    /// Source address, as in the header.
    pub source: IpAddr,
    /// Destination address, as in the header.
    pub destination: IpAddr,
    /// Time to live, or hop limit.
    pub ttl: u8,
    /// Differentiated services code point, 0 to 63 (RFC 2474).
    pub dscp: u8,
    /// Explicit congestion notification, 0 to 3 (RFC 3168).
    pub ecn: u8,
    /// Identification: of IPv4 always, of IPv6 where there is a fragment header.
    pub id: Option<u32>,
    /// IPv4 only: do not fragment.
    pub df: Option<bool>,
    /// More fragments follow; IPv6 has the bit in a fragment header only.
    pub mf: Option<bool>,
    /// Offset of this fragment, in units of 8 bytes; IPv6 has it in a fragment header only.
    pub fragment_offset: Option<u16>,
    /// IPv6 only: flow label, 20 bits.
    pub flow_label: Option<u32>,
    /// Length of the packet in bytes with its IP header, as the header said at the hook: of a super-packet (GSO,
    /// GRO) it is the length before segmentation. None where the header says 0, as it does for super-packets beyond
    /// 65,535 bytes and for IPv6 jumbograms (RFC 2675).
    pub total_length: Option<u32>,
    /// IPv4 options, or IPv6 extension headers, are present.
    pub options: bool,
}

/// Elements of a TCP header (RFC 9293, 3.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tcp {
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// Flags.
    pub flags: TcpFlags,
    /// Sequence number, absolute.
    pub seq: u32,
    /// Acknowledgement number, absolute; None where ACK is not set, for it has no meaning then.
    pub ack: Option<u32>,
    /// Window as in the header, not scaled.
    pub window: u16,
    /// Urgent pointer; None where URG is not set.
    pub urgent: Option<u16>,
    /// Options in order.
    pub options: TcpOptions,
}

/// The flag bits of a TCP header; bit 0 is FIN, bit 8 is AE (RFC 9768; NS before it).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TcpFlags(pub u16);

impl TcpFlags {
    /// Names in the order of the bits, as tcpdump and Wireshark write them.
    pub const NAMES: [&'static str; 9] = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR", "AE"];
    const ACK: u16 = 1 << 4;
    const URG: u16 = 1 << 5;

    /// Names of the set bits, from FIN on.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.iter().enumerate().filter(move |(bit, _)| self.0 >> bit & 1 == 1).map(|(_, name)| *name)
    }

    fn has(self, bits: u16) -> bool {
        self.0 & bits != 0
    }
}

/// One TCP option.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TcpOption {
    /// End of option list (kind 0); what follows is padding and not listed.
    Eol,
    /// No-operation (kind 1).
    Nop,
    /// Maximum segment size, bytes (kind 2).
    Mss(u16),
    /// Window scale, shift count (kind 3, RFC 7323).
    WindowScale(u8),
    /// SACK permitted (kind 4, RFC 2018).
    SackPermitted,
    /// SACK blocks (kind 5): left edge, right edge behind the block.
    Sack(SackBlocks),
    /// Timestamps (kind 8, RFC 7323): value, echo reply.
    Timestamps(u32, u32),
    /// Multipath TCP (kind 30, RFC 8684): subtype, length of the whole option in bytes.
    Mptcp {
        /// Subtype, 0 to 15; MP_CAPABLE is 0.
        subtype: u8,
        /// Length of the option with kind and length byte.
        len: u8,
    },
    /// Fast open (kind 34, RFC 7413); a request for a cookie has none. Its bytes are not kept: a cookie is a
    /// credential of a kind.
    FastOpen {
        /// Length of the cookie, bytes.
        cookie_len: u8,
    },
    /// A kind that has no variant of its own.
    Unknown {
        /// Kind.
        kind: u8,
        /// Length of the option with kind and length byte.
        len: u8,
    },
    /// An option whose length byte cannot be right, or that the header or its copy cuts; the walk ends here.
    Malformed {
        /// Kind.
        kind: u8,
        /// The length byte, where it is there.
        len: Option<u8>,
    },
}

impl TcpOption {
    /// Short name, as in records.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Eol => "eol",
            Self::Nop => "nop",
            Self::Mss(_) => "mss",
            Self::WindowScale(_) => "window_scale",
            Self::SackPermitted => "sack_permitted",
            Self::Sack(_) => "sack",
            Self::Timestamps(..) => "timestamps",
            Self::Mptcp { .. } => "mptcp",
            Self::FastOpen { .. } => "fast_open",
            Self::Unknown { .. } => "unknown",
            Self::Malformed { .. } => "malformed",
        }
    }
}

/// SACK blocks, at most [`SACK_BLOCKS_MAX`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SackBlocks {
    len: u8,
    blocks: [(u32, u32); SACK_BLOCKS_MAX],
}

impl SackBlocks {
    /// The blocks: left edge, and the number behind the right one.
    #[must_use]
    pub fn as_slice(&self) -> &[(u32, u32)] {
        self.blocks.get(..usize::from(self.len)).unwrap_or(&[])
    }
}

/// The option bytes of a TCP header, read while they are walked. Keeping the bytes rather than a list of options
/// makes the whole a quarter of the size and costs nothing where nobody asks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TcpOptions {
    len: u8,
    cut: bool,
    bytes: [u8; TCP_OPTIONS_MAX],
}

impl TcpOptions {
    /// Options in order; at most [`TCP_OPTIONS_MAX`].
    #[must_use]
    pub fn iter(&self) -> TcpOptionsIter<'_> {
        TcpOptionsIter { rest: self.bytes.get(..usize::from(self.len)).unwrap_or(&[]) }
    }

    /// The header says that there are more option bytes than the copy holds.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.cut
    }
}

impl<'a> IntoIterator for &'a TcpOptions {
    type Item = TcpOption;
    type IntoIter = TcpOptionsIter<'a>;

    fn into_iter(self) -> TcpOptionsIter<'a> {
        self.iter()
    }
}

impl fmt::Debug for TcpOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Walks TCP options. Each step takes at least one byte, so that it ends whatever the bytes are.
#[derive(Clone, Debug)]
pub struct TcpOptionsIter<'a> {
    rest: &'a [u8],
}

impl Iterator for TcpOptionsIter<'_> {
    type Item = TcpOption;

    fn next(&mut self) -> Option<TcpOption> {
        let (&kind, after) = self.rest.split_first()?;
        match kind {
            0 => {
                self.rest = &[];
                return Some(TcpOption::Eol);
            }
            1 => {
                self.rest = after;
                return Some(TcpOption::Nop);
            }
            _ => {}
        }
        let len = after.first().copied();
        let option = len
            .filter(|&len| len >= 2)
            .and_then(|len| Some((len, self.rest.get(2..usize::from(len))?)))
            .and_then(|(len, data)| option(kind, len, data));
        match (option, len) {
            (Some(option), Some(len)) => {
                self.rest = self.rest.get(usize::from(len)..).unwrap_or(&[]);
                Some(option)
            }
            (_, len) => {
                self.rest = &[];
                Some(TcpOption::Malformed { kind, len })
            }
        }
    }
}

/// One option with a length byte; None where the length does not suit the kind.
fn option(kind: u8, len: u8, data: &[u8]) -> Option<TcpOption> {
    Some(match kind {
        2 => TcpOption::Mss(u16::from_be_bytes(data.try_into().ok()?)),
        3 => match data {
            &[shift] => TcpOption::WindowScale(shift),
            _ => return None,
        },
        4 if data.is_empty() => TcpOption::SackPermitted,
        4 => return None,
        5 => {
            let (chunks, rest) = data.as_chunks::<8>();
            if !rest.is_empty() || chunks.is_empty() || chunks.len() > SACK_BLOCKS_MAX {
                return None;
            }
            let mut sack = SackBlocks { len: chunks.len() as u8, ..SackBlocks::default() };
            for (block, chunk) in sack.blocks.iter_mut().zip(chunks) {
                *block = (be32(chunk, 0)?, be32(chunk, 4)?);
            }
            TcpOption::Sack(sack)
        }
        8 if data.len() == 8 => TcpOption::Timestamps(be32(data, 0)?, be32(data, 4)?),
        8 => return None,
        30 => TcpOption::Mptcp { subtype: data.first()? >> 4, len },
        34 if data.len() <= FAST_OPEN_COOKIE_BYTES_MAX => {
            TcpOption::FastOpen { cookie_len: data.len() as u8 }
        }
        34 => return None,
        _ => TcpOption::Unknown { kind, len },
    })
}

/// The elements of a packet's headers.
#[must_use]
pub fn elements(headers: &HeaderBytes) -> PacketElements {
    let Ok((slice, _)) = LaxIpSlice::from_slice(headers.as_slice()) else {
        return PacketElements::default();
    };
    let ip = ip(&slice);
    let payload = slice.payload();
    let first = ip.fragment_offset.unwrap_or(0) == 0;
    let tcp = (first && payload.ip_number == ip_number::TCP).then(|| tcp(payload.payload)).flatten();
    PacketElements { ip: Some(ip), tcp }
}

fn ip(slice: &LaxIpSlice<'_>) -> Ip {
    match slice {
        LaxIpSlice::Ipv4(v4) => {
            let h = v4.header();
            Ip {
                version: 4,
                source: h.source_addr().into(),
                destination: h.destination_addr().into(),
                ttl: h.ttl(),
                dscp: h.dcp().value(),
                ecn: h.ecn().value(),
                id: Some(u32::from(h.identification())),
                df: Some(h.dont_fragment()),
                mf: Some(h.more_fragments()),
                fragment_offset: Some(h.fragments_offset().value()),
                flow_label: None,
                total_length: Some(u32::from(h.total_len())).filter(|&len| len != 0),
                options: !h.options().is_empty(),
            }
        }
        LaxIpSlice::Ipv6(v6) => {
            let h = v6.header();
            let extensions = v6.extensions();
            let fragment = extensions.clone().into_iter().find_map(|e| match e {
                Ipv6ExtensionSlice::Fragment(f) => Some(f),
                _ => None,
            });
            Ip {
                version: 6,
                source: h.source_addr().into(),
                destination: h.destination_addr().into(),
                ttl: h.hop_limit(),
                dscp: h.dscp().value(),
                ecn: h.ecn().value(),
                id: fragment.as_ref().map(|f| f.identification()),
                df: None,
                mf: fragment.as_ref().map(|f| f.more_fragments()),
                fragment_offset: fragment.as_ref().map(|f| f.fragment_offset().value()),
                flow_label: Some(h.flow_label().value()),
                total_length: Some(u32::from(h.payload_length())).filter(|&len| len != 0).map(|len| len + 40),
                options: !extensions.is_empty(),
            }
        }
    }
}

fn tcp(bytes: &[u8]) -> Option<Tcp> {
    let fixed = bytes.get(..20)?;
    let header_len = usize::from(fixed[12] >> 4) * 4;
    let flags = TcpFlags(be16(fixed, 12)? & 0x1ff);
    let there = bytes.get(20..header_len.min(bytes.len())).unwrap_or(&[]);
    let mut options =
        TcpOptions { len: there.len() as u8, cut: header_len > bytes.len(), bytes: [0; TCP_OPTIONS_MAX] };
    options.bytes.get_mut(..there.len())?.copy_from_slice(there);
    Some(Tcp {
        source_port: be16(fixed, 0)?,
        destination_port: be16(fixed, 2)?,
        flags,
        seq: be32(fixed, 4)?,
        ack: flags.has(TcpFlags::ACK).then(|| be32(fixed, 8)).flatten(),
        window: be16(fixed, 14)?,
        urgent: flags.has(TcpFlags::URG).then(|| be16(fixed, 18)).flatten(),
        options,
    })
}

/// Source and destination of a packet, from its L3 and L4 header bytes; None where the packet is not TCP, is a later
/// fragment, or is cut before its ports. Fast path: an IPv4 or IPv6 header that TCP follows at once.
#[must_use]
pub fn endpoints(headers: &[u8]) -> Option<(Endpoint, Endpoint)> {
    let (source, destination, l4): (IpAddr, IpAddr, &[u8]) = match headers.first()? >> 4 {
        4 => {
            let later_fragment = be16(headers, 6)? & 0x1fff != 0;
            if headers.get(9) != Some(&6) || later_fragment {
                return None;
            }
            let ihl = usize::from(headers[0] & 0xf) * 4;
            if ihl < 20 {
                return None;
            }
            let source: [u8; 4] = headers.get(12..16)?.try_into().ok()?;
            let destination: [u8; 4] = headers.get(16..20)?.try_into().ok()?;
            (source.into(), destination.into(), headers.get(ihl..)?)
        }
        6 if headers.get(6) == Some(&6) => {
            let source: [u8; 16] = headers.get(8..24)?.try_into().ok()?;
            let destination: [u8; 16] = headers.get(24..40)?.try_into().ok()?;
            (unmapped(source), unmapped(destination), headers.get(40..)?)
        }
        6 => {
            let found = elements(&HeaderBytes::new(headers));
            let (ip, tcp) = (found.ip?, found.tcp?);
            return Some((
                Endpoint { ip: ip.source.to_canonical(), port: tcp.source_port },
                Endpoint { ip: ip.destination.to_canonical(), port: tcp.destination_port },
            ));
        }
        _ => return None,
    };
    let source = Endpoint { ip: source, port: be16(l4, 0)? };
    Some((source, Endpoint { ip: destination, port: be16(l4, 2)? }))
}

fn unmapped(address: [u8; 16]) -> IpAddr {
    IpAddr::V6(Ipv6Addr::from(address)).to_canonical()
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// Where the TCP header begins in a packet's header bytes; None where there is none, or it is of a later fragment.
fn tcp_offset(headers: &[u8]) -> Option<usize> {
    match headers.first()? >> 4 {
        4 => {
            let first_fragment = be16(headers, 6)? & 0x1fff == 0;
            let offset = usize::from(headers[0] & 0xf) * 4;
            (headers.get(9) == Some(&6) && first_fragment && offset >= 20).then_some(offset)
        }
        6 => {
            let (mut next, mut at) = (*headers.get(6)?, 40);
            // Each step takes eight bytes of at most HEADER_BYTES_MAX.
            while next != 6 {
                let header = headers.get(at..)?;
                let len = match next {
                    0 | 43 | 60 => (usize::from(*header.get(1)?) + 1) * 8,
                    44 if be16(header, 2)? >> 3 == 0 => 8,
                    51 => (usize::from(*header.get(1)?) + 2) * 4,
                    _ => return None,
                };
                (next, at) = (*header.first()?, at + len);
            }
            Some(at)
        }
        _ => None,
    }
}

/// The TCP sequence number of a packet; 0 where its copy does not hold one.
pub(crate) fn sequence(headers: &HeaderBytes) -> u32 {
    let bytes = headers.as_slice();
    tcp_offset(bytes).and_then(|at| be32(bytes, at + 4)).unwrap_or(0)
}

/// Header bytes as they are stored, and their sequence number. What stands elsewhere on a record, and may have been
/// hidden there, is 0: addresses and ports; so is what is a credential: the cookie of fast open, the keys of MPTCP; and so are
/// checksums, which would be the largest part of a compressed packet and of which offloading leaves no more than a part
/// anyhow. No element is changed but these.
pub(crate) fn for_storage(headers: &HeaderBytes) -> (HeaderBytes, u32) {
    let mut stored = *headers;
    let bytes = stored.as_mut_slice();
    // Of IPv4 the checksum is in front of them.
    let addresses = match bytes.first().map(|first| first >> 4) {
        Some(4) => 10..20,
        Some(6) => 8..40,
        _ => 0..0,
    };
    let end = bytes.len();
    bytes[addresses.start.min(end)..addresses.end.min(end)].fill(0);
    if let Some(tcp) = tcp_offset(bytes).and_then(|at| bytes.get_mut(at..)) {
        let end = tcp.len();
        tcp[..end.min(4)].fill(0);
        tcp[end.min(16)..end.min(18)].fill(0);
        blank_options(tcp.get_mut(20..).unwrap_or_default());
    }
    let sequence = sequence(&stored);
    (stored, sequence)
}

/// Blanks the credentials among TCP options.
fn blank_options(mut options: &mut [u8]) {
    while let Some(&kind) = options.first() {
        let len = match (kind, options.get(1)) {
            (0, _) | (_, None) => return,
            (1, _) => 1,
            // A length that cannot be: what follows may be anything, and is no option.
            (_, Some(&len)) if len < 2 || usize::from(len) > options.len() => {
                options[2..].fill(0);
                return;
            }
            (_, Some(&len)) => usize::from(len),
        };
        let (option, rest) = options.split_at_mut(len);
        // Of MPTCP the subtype stays (RFC 8684, 3), of an experiment its number (RFC 6994, 3): fast open was one.
        let keep = match kind {
            30 => 3,
            34 => 2,
            253 | 254 => 4,
            _ => len,
        };
        option.get_mut(keep..).unwrap_or_default().fill(0);
        options = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(tcp: &[u8]) -> Vec<u8> {
        let mut bytes =
            vec![0x45, 0xb9, 0x05, 0xdc, 0x12, 0x67, 0x40, 0, 63, 6, 0, 0, 10, 0, 0, 1, 192, 168, 1, 2];
        bytes.extend_from_slice(tcp);
        bytes
    }

    fn tcp_bytes(flags: u16, options: &[u8]) -> Vec<u8> {
        let words = 5 + options.len().div_ceil(4);
        let mut bytes = vec![0xc8, 0x22, 0x23, 0x78, 0, 0, 0, 7, 0, 0, 0, 9];
        bytes.extend_from_slice(&((words as u16) << 12 | flags).to_be_bytes());
        bytes.extend_from_slice(&[2, 0, 0, 0, 0, 5]);
        bytes.extend_from_slice(options);
        bytes.resize(words * 4, 0);
        bytes
    }

    #[test]
    fn elements_of_an_ordinary_packet() {
        let options = [1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2];
        let e = elements(&HeaderBytes::new(&v4(&tcp_bytes(0x018, &options))));
        let ip = e.ip.unwrap();
        assert_eq!((ip.version, ip.ttl, ip.dscp, ip.ecn), (4, 63, 46, 1));
        assert_eq!((ip.id, ip.df, ip.mf, ip.flow_label), (Some(0x1267), Some(true), Some(false), None));
        assert_eq!((ip.total_length, ip.options), (Some(1500), false));
        let tcp = e.tcp.unwrap();
        assert_eq!(tcp.flags.names().collect::<Vec<_>>(), ["PSH", "ACK"]);
        assert_eq!((tcp.seq, tcp.ack, tcp.window, tcp.urgent), (7, Some(9), 512, None));
        let options: Vec<_> = tcp.options.iter().collect();
        assert_eq!(options, [TcpOption::Nop, TcpOption::Nop, TcpOption::Timestamps(1, 2)]);
    }

    #[test]
    fn elements_of_a_syn() {
        let options =
            [2, 4, 5, 0xb4, 4, 2, 3, 3, 7, 34, 10, 1, 2, 3, 4, 5, 6, 7, 8, 30, 4, 0x01, 0, 253, 3, 9, 0, 5];
        let tcp = elements(&HeaderBytes::new(&v4(&tcp_bytes(0x1c2, &options)))).tcp.unwrap();
        assert_eq!(tcp.flags.names().collect::<Vec<_>>(), ["SYN", "ECE", "CWR", "AE"]);
        assert_eq!(tcp.ack, None);
        assert_eq!(
            tcp.options.iter().collect::<Vec<_>>(),
            [
                TcpOption::Mss(1460),
                TcpOption::SackPermitted,
                TcpOption::WindowScale(7),
                TcpOption::FastOpen { cookie_len: 8 },
                TcpOption::Mptcp { subtype: 0, len: 4 },
                TcpOption::Unknown { kind: 253, len: 3 },
                TcpOption::Eol,
            ]
        );
    }

    #[test]
    fn sack_blocks_are_listed() {
        let mut options = vec![5, 18];
        options.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4]);
        let tcp = elements(&HeaderBytes::new(&v4(&tcp_bytes(0x010, &options)))).tcp.unwrap();
        let Some(TcpOption::Sack(sack)) = tcp.options.iter().next() else { panic!("no sack") };
        assert_eq!(sack.as_slice(), [(1, 2), (3, 4)]);
    }

    #[test]
    fn a_malformed_option_is_named_and_ends_the_walk() {
        for (bytes, kind, len) in
            [(&[1, 8, 0, 1][..], 8, Some(0)), (&[1, 1, 1, 3], 3, None), (&[1, 2, 40, 1], 2, Some(40))]
        {
            let tcp = elements(&HeaderBytes::new(&v4(&tcp_bytes(0x010, bytes)))).tcp.unwrap();
            assert_eq!(tcp.options.iter().last(), Some(TcpOption::Malformed { kind, len }), "{bytes:?}");
        }
        // MSS with a length of 3 is in bounds, but of no use.
        let tcp = elements(&HeaderBytes::new(&v4(&tcp_bytes(0x010, &[2, 3, 1, 1])))).tcp.unwrap();
        assert_eq!(tcp.options.iter().next(), Some(TcpOption::Malformed { kind: 2, len: Some(3) }));
    }

    #[test]
    fn absent_is_none_where_the_copy_is_cut() {
        let whole = v4(&tcp_bytes(0x018, &[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]));
        for len in 0..whole.len() {
            let e = elements(&HeaderBytes::new(&whole[..len]));
            assert_eq!(e.ip.is_some(), len >= 20, "{len}");
            assert_eq!(e.tcp.is_some(), len >= 40, "{len}");
            assert_eq!(endpoints(&whole[..len]).is_some(), len >= 24, "{len}");
            if let Some(tcp) = e.tcp {
                assert!(tcp.options.is_cut());
            }
        }
    }

    #[test]
    fn a_later_fragment_has_no_tcp_header() {
        let mut bytes = v4(&tcp_bytes(0x010, &[]));
        bytes[7] = 1;
        assert!(elements(&HeaderBytes::new(&bytes)).tcp.is_none());
        assert!(endpoints(&bytes).is_none());
    }

    #[test]
    fn ipv6_with_extension_headers_and_mapped_addresses() {
        let mut bytes = vec![0x6b, 0x81, 0x23, 0x45, 0, 28, 0, 64];
        bytes.extend_from_slice(&Ipv6Addr::from([0, 0, 0, 0, 0, 0xffff, 0x0a00, 1]).octets());
        bytes.extend_from_slice(&Ipv6Addr::LOCALHOST.octets());
        bytes.extend_from_slice(&[6, 0, 1, 4, 0, 0, 0, 0]);
        bytes.extend_from_slice(&tcp_bytes(0x010, &[]));
        let e = elements(&HeaderBytes::new(&bytes));
        let ip = e.ip.unwrap();
        assert_eq!((ip.version, ip.ttl, ip.dscp, ip.ecn), (6, 64, 46, 0));
        assert_eq!((ip.id, ip.df, ip.flow_label), (None, None, Some(0x12345)));
        assert_eq!((ip.total_length, ip.options), (Some(68), true));
        assert_eq!(e.tcp.unwrap().destination_port, 9080);
        let (source, destination) = endpoints(&bytes).unwrap();
        assert_eq!(source.to_string(), "10.0.0.1:51234");
        assert_eq!(destination.to_string(), "[::1]:9080");
    }

    proptest::proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..140), v in 0u8..16) {
            let mut bytes = bytes;
            if let Some(first) = bytes.first_mut() { *first = v << 4 | *first & 0xf; }
            let e = elements(&HeaderBytes::new(&bytes));
            let _ = format!("{e:?}");
            if let (Some((source, _)), Some(ip)) = (endpoints(&bytes), e.ip) {
                proptest::prop_assert_eq!(source.ip, ip.source.to_canonical());
            }
        }
    }
}
