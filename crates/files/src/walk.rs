//! From the first byte of a packet to the TCP segments in it.
//!
//! Headers are passed over one by one; each says what comes next, within its own length. Tunnels are entered: what is in
//! them belongs to the inner connection. Checksums are not looked at: where they are made by the network card, those in
//! a capture are wrong. `tunnels.rs` has the headers that carry frames or packets in packets.
//!
//! `etherparse` was not taken for it: it ends at the tunnels, and with most link types does not begin.

use std::net::IpAddr;

use headtrail_record::event::Endpoint;

use crate::bytes::{array, be16, be32};
use crate::counters::{Counters, Unread};
use crate::fragments::{Fragment, Fragments, Key};
use crate::limits::Limits;

pub(crate) const TCP: u8 = 6;
const UDP: u8 = 17;

/// What a header says comes next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Layer {
    Ethernet,
    /// Behind an EtherType.
    Ether(u16),
    Llc,
    /// IPv4 or IPv6, by its version.
    Ip,
    Mpls,
    Ppp,
    PppoeSession,
    Dot11,
    Radiotap,
    /// Of a UDP datagram, by its port.
    Vxlan,
    Geneve,
    GtpUser,
    Teredo,
    Ayiya,
    Gre,
    /// ERSPAN of type II or III.
    Erspan {
        three: bool,
    },
}

/// Why there is nothing (more) in a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// Not TCP.
    Other,
    /// Encrypted.
    Encrypted,
    /// A fragment that waits for others, or was counted.
    Fragment,
    /// Not read.
    Unread(Unread),
}

/// A TCP segment.
pub(crate) struct Tcp<'a> {
    pub(crate) source: Endpoint,
    pub(crate) destination: Endpoint,
    pub(crate) sequence: u32,
    /// Where ACK is set.
    pub(crate) acknowledgement: Option<u32>,
    pub(crate) flags: u8,
    pub(crate) payload: &'a [u8],
    /// Payload bytes that were on the wire and are not in the file.
    pub(crate) missing: usize,
    /// IP and TCP header.
    pub(crate) headers: &'a [u8],
    /// The filter wants the packet it came in.
    pub(crate) wanted: bool,
}

/// A walk over one packet.
pub(crate) struct Walk<'w> {
    pub(crate) limits: &'w Limits,
    pub(crate) counters: &'w mut Counters,
    pub(crate) fragments: &'w mut Fragments,
    pub(crate) now_ns: u64,
    /// Bytes of the packet that were cut off when it was captured.
    pub(crate) missing: usize,
    pub(crate) layers: usize,
    /// The filter wants the packet.
    pub(crate) wanted: bool,
    pub(crate) give: &'w mut dyn FnMut(&mut Counters, &Tcp<'_>),
}

pub(crate) const CUT: End = End::Unread(Unread::HeadersCut);

/// What lies behind the first `len` bytes.
pub(crate) fn behind(bytes: &[u8], len: usize) -> Result<&[u8], End> {
    bytes.get(len..).ok_or(CUT)
}

pub(crate) fn byte(bytes: &[u8], at: usize) -> Result<u8, End> {
    bytes.get(at).copied().ok_or(CUT)
}

pub(crate) fn number16(bytes: &[u8], at: usize) -> Result<u16, End> {
    be16(bytes, at).ok_or(CUT)
}

impl Walk<'_> {
    /// Walks over a packet of a file.
    pub(crate) fn packet(&mut self, link: u32, bytes: &[u8]) -> Result<(), End> {
        match link {
            // NULL, LOOP: the address family, in the order of the host or of the network.
            0 | 108 => self.layer(Layer::Ip, behind(bytes, 4)?),
            1 => self.layer(Layer::Ethernet, bytes),
            9 => self.layer(Layer::Ppp, bytes),
            // PPP in HDLC-like framing, or Cisco's HDLC.
            50 | 104 if matches!(bytes.first(), Some(0x0f | 0x8f)) => {
                self.layer(Layer::Ether(number16(bytes, 2)?), behind(bytes, 4)?)
            }
            50 | 104 => self.layer(Layer::Ppp, bytes),
            51 => self.layer(Layer::PppoeSession, bytes),
            12 | 14 | 101 | 228 | 229 => self.layer(Layer::Ip, bytes),
            105 => self.layer(Layer::Dot11, bytes),
            127 => self.layer(Layer::Radiotap, bytes),
            // Linux cooked, version 1 and 2.
            113 => self.layer(Layer::Ether(number16(bytes, 14)?), behind(bytes, 16)?),
            276 => self.layer(Layer::Ether(number16(bytes, 0)?), behind(bytes, 20)?),
            _ => Err(End::Unread(Unread::LinkTypeUnknown)),
        }
    }

    pub(crate) fn layer(&mut self, layer: Layer, bytes: &[u8]) -> Result<(), End> {
        self.layers += 1;
        if self.layers > self.limits.layers_max {
            return Err(End::Unread(Unread::TooManyLayers));
        }
        match layer {
            Layer::Ethernet => match number16(bytes, 12)? {
                // A length (IEEE 802.3).
                0..=1500 => self.layer(Layer::Llc, behind(bytes, 14)?),
                kind => self.layer(Layer::Ether(kind), behind(bytes, 14)?),
            },
            Layer::Ether(kind) => self.ether(kind, bytes),
            Layer::Llc => match bytes {
                [0xaa, 0xaa, 0x03, _, _, _, rest @ ..] => {
                    self.layer(Layer::Ether(number16(rest, 0)?), behind(rest, 2)?)
                }
                // IP itself has a service access point, which some networks use.
                [0x06, 0x06, 0x03, rest @ ..] => self.layer(Layer::Ip, rest),
                _ => Err(End::Other),
            },
            Layer::Ip => match byte(bytes, 0)? >> 4 {
                4 => self.ipv4(bytes),
                6 => self.ipv6(bytes),
                _ => Err(End::Other),
            },
            Layer::Dot11 => self.dot11(bytes),
            // Its length is in little-endian order.
            Layer::Radiotap => {
                let len = array(bytes, 2).map(u16::from_le_bytes).ok_or(CUT)?;
                self.layer(Layer::Dot11, behind(bytes, usize::from(len).max(8))?)
            }
            tunnel => self.tunnel(tunnel, bytes),
        }
    }

    fn ether(&mut self, kind: u16, bytes: &[u8]) -> Result<(), End> {
        match kind {
            0x0800 | 0x86dd => self.layer(Layer::Ip, bytes),
            // VLAN, service VLAN, and what came before the standard.
            0x8100 | 0x88a8 | 0x9100 | 0x9200 | 0x9300 => {
                let next = number16(bytes, 2)?;
                let layer = if next <= 1500 { Layer::Llc } else { Layer::Ether(next) };
                self.layer(layer, behind(bytes, 4)?)
            }
            // VN-Tag.
            0x8926 => self.layer(Layer::Ether(number16(bytes, 4)?), behind(bytes, 6)?),
            0x8847 | 0x8848 => self.layer(Layer::Mpls, bytes),
            0x8864 => self.layer(Layer::PppoeSession, bytes),
            0x880b => self.layer(Layer::Ppp, bytes),
            // Transparent Ethernet bridging.
            0x6558 => self.layer(Layer::Ethernet, bytes),
            // In Linux cooked captures: 802.3 without a type, and 802.2.
            0x0001 => Err(End::Other),
            0x0004 => self.layer(Layer::Llc, bytes),
            _ => Err(End::Other),
        }
    }

    /// A data frame (IEEE 802.11, 9.3.2).
    fn dot11(&mut self, bytes: &[u8]) -> Result<(), End> {
        let (control, flags) = (byte(bytes, 0)?, byte(bytes, 1)?);
        let (data, empty, quality) = (control & 0x0c == 0x08, control & 0x40 != 0, control & 0x80 != 0);
        if !data || empty {
            return Err(End::Other);
        }
        if flags & 0x40 != 0 {
            return Err(End::Encrypted);
        }
        let mut len = 24;
        len += if flags & 3 == 3 { 6 } else { 0 };
        len += if quality { 2 } else { 0 };
        len += if quality && flags & 0x80 != 0 { 4 } else { 0 };
        self.layer(Layer::Llc, behind(bytes, len)?)
    }

    /// RFC 791, 3.1.
    fn ipv4(&mut self, bytes: &[u8]) -> Result<(), End> {
        let header_len = usize::from(byte(bytes, 0)? & 15) * 4;
        let total = match usize::from(number16(bytes, 2)?) {
            // A super-packet of the network card's own segmentation.
            0 => bytes.len() + self.missing,
            total => total,
        };
        if header_len < 20 || total < header_len || bytes.len() < header_len {
            return Err(CUT);
        }
        let packet = &bytes[..total.min(bytes.len())];
        let missing = total - packet.len();
        let fragment = number16(packet, 6)?;
        let (more, offset) = (fragment & 0x2000 != 0, usize::from(fragment & 0x1fff) * 8);
        let protocol = byte(packet, 9)?;
        if !more && offset == 0 {
            return self.transport(protocol, packet, header_len, missing);
        }
        let (source, destination) = addresses(packet)?;
        let key = Key { source, destination, protocol, id: number16(packet, 4)?.into() };
        let (header, payload) = packet.split_at(header_len);
        self.fragment(&Fragment { key, offset, more, header, payload, wanted: self.wanted }, missing)
    }

    /// RFC 8200, 3 and 4.
    fn ipv6(&mut self, bytes: &[u8]) -> Result<(), End> {
        let total = match usize::from(number16(bytes, 4)?) {
            // A jumbogram, or a super-packet.
            0 => bytes.len() + self.missing,
            len => len + 40,
        };
        if bytes.len() < 40 {
            return Err(CUT);
        }
        let packet = &bytes[..total.min(bytes.len())];
        let missing = total - packet.len();
        let (mut next, mut at) = (byte(packet, 6)?, 40);
        for _ in 0..self.limits.layers_max {
            let len = match next {
                0 | 43 | 60 | 135 | 139 | 140 => (usize::from(byte(packet, at + 1)?) + 1) * 8,
                51 => (usize::from(byte(packet, at + 1)?) + 2) * 4,
                44 => {
                    let place = number16(packet, at + 2)?;
                    let (more, offset) = (place & 1 != 0, usize::from(place & 0xfff8));
                    if more || offset > 0 {
                        let (source, destination) = addresses(packet)?;
                        let id = be32(packet, at + 4).ok_or(CUT)?;
                        let key = Key { source, destination, protocol: byte(packet, at)?, id };
                        let payload = behind(packet, at + 8)?;
                        let header = &packet[..at + 8];
                        return self.fragment(
                            &Fragment { key, offset, more, header, payload, wanted: self.wanted },
                            missing,
                        );
                    }
                    8
                }
                _ => return self.transport(next, packet, at, missing),
            };
            next = byte(packet, at)?;
            at += len;
        }
        Err(End::Unread(Unread::TooManyLayers))
    }

    fn fragment(&mut self, fragment: &Fragment<'_>, missing: usize) -> Result<(), End> {
        if missing > 0 {
            return Err(End::Unread(Unread::FragmentsMissing));
        }
        match self.fragments.add(fragment, self.now_ns, self.limits, self.counters) {
            Some(whole) => {
                self.wanted = whole.wanted;
                self.transport(fragment.key.protocol, &whole.bytes, whole.payload_at, 0)
            }
            None => Err(End::Fragment),
        }
    }

    /// What an IP packet carries, from `at` on.
    fn transport(&mut self, protocol: u8, packet: &[u8], at: usize, missing: usize) -> Result<(), End> {
        let payload = behind(packet, at)?;
        match protocol {
            TCP => self.tcp(packet, at, missing),
            UDP => {
                let (source, destination) = (number16(payload, 0)?, number16(payload, 2)?);
                let tunnel = of_port(destination).or(of_port(source)).ok_or(End::Other)?;
                self.layer(tunnel, behind(payload, 8)?)
            }
            4 | 41 => self.layer(Layer::Ip, payload),
            47 => self.layer(Layer::Gre, payload),
            50 => Err(End::Encrypted),
            // Ethernet in IP (RFC 3378).
            97 => self.layer(Layer::Ethernet, behind(payload, 2)?),
            137 => self.layer(Layer::Mpls, payload),
            _ => Err(End::Other),
        }
    }

    /// RFC 9293, 3.1.
    fn tcp(&mut self, packet: &[u8], at: usize, missing: usize) -> Result<(), End> {
        let tcp = behind(packet, at)?;
        let header_len = usize::from(byte(tcp, 12)? >> 4) * 4;
        let flags = byte(tcp, 13)?;
        if header_len < 20 {
            return Err(CUT);
        }
        let payload = behind(tcp, header_len)?;
        let (source, destination) = addresses(packet)?;
        let number = |at| be32(tcp, at).ok_or(CUT);
        let segment = Tcp {
            source: Endpoint { ip: source, port: number16(tcp, 0)? },
            destination: Endpoint { ip: destination, port: number16(tcp, 2)? },
            sequence: number(4)?,
            acknowledgement: if flags & flag::ACK != 0 { Some(number(8)?) } else { None },
            flags,
            payload,
            missing,
            headers: packet.get(..at + header_len).ok_or(CUT)?,
            wanted: self.wanted,
        };
        (self.give)(self.counters, &segment);
        Ok(())
    }
}

/// Bits of [`Tcp::flags`].
pub(crate) mod flag {
    pub(crate) const FIN: u8 = 1;
    pub(crate) const SYN: u8 = 2;
    pub(crate) const RST: u8 = 4;
    pub(crate) const ACK: u8 = 16;
}

/// Source and destination of an IP packet.
fn addresses(packet: &[u8]) -> Result<(IpAddr, IpAddr), End> {
    let found = match byte(packet, 0)? >> 4 {
        4 => array::<4>(packet, 12).zip(array::<4>(packet, 16)).map(|(s, d)| (s.into(), d.into())),
        _ => array::<16>(packet, 8).zip(array::<16>(packet, 24)).map(|(s, d)| (s.into(), d.into())),
    };
    let (source, destination): (IpAddr, IpAddr) = found.ok_or(CUT)?;
    Ok((source.to_canonical(), destination.to_canonical()))
}

/// What the datagrams to or from a UDP port carry.
fn of_port(port: u16) -> Option<Layer> {
    match port {
        4789 | 8472 => Some(Layer::Vxlan),
        6081 => Some(Layer::Geneve),
        2152 => Some(Layer::GtpUser),
        3544 => Some(Layer::Teredo),
        5072 => Some(Layer::Ayiya),
        6635 => Some(Layer::Mpls),
        _ => None,
    }
}
