//! Headers that carry frames or packets within packets: MPLS, PPP and PPPoE, GRE with ERSPAN, VXLAN, GENEVE, GTP-U, Teredo,
//! AYIYA. Of each no more is read than what tells where the inner packet begins.

use crate::walk::{CUT, End, Layer, Walk, behind, byte, number16};

impl Walk<'_> {
    /// Walks over a header of a tunnel.
    pub(crate) fn tunnel(&mut self, layer: Layer, bytes: &[u8]) -> Result<(), End> {
        match layer {
            Layer::Mpls => self.mpls(bytes),
            Layer::Ppp => self.ppp(bytes),
            // RFC 2516, 4: version and type 1, code 0, a session.
            Layer::PppoeSession => match byte(bytes, 1)? {
                0 => self.layer(Layer::Ppp, behind(bytes, 6)?),
                _ => Err(End::Other),
            },
            Layer::Gre => self.gre(bytes),
            Layer::Erspan { three: false } => self.layer(Layer::Ethernet, behind(bytes, 8)?),
            Layer::Erspan { three: true } => {
                let more = if byte(bytes, 11)? & 1 != 0 { 8 } else { 0 };
                self.layer(Layer::Ethernet, behind(bytes, 12 + more)?)
            }
            // RFC 7348, 5: without its flag it is something else.
            Layer::Vxlan if byte(bytes, 0)? & 8 != 0 => self.layer(Layer::Ethernet, behind(bytes, 8)?),
            // RFC 8926, 3.4: version 0.
            Layer::Geneve if byte(bytes, 0)? >> 6 == 0 => {
                let len = 8 + usize::from(byte(bytes, 0)? & 0x3f) * 4;
                self.layer(Layer::Ether(number16(bytes, 2)?), behind(bytes, len)?)
            }
            Layer::GtpUser => self.gtp_user(bytes),
            Layer::Teredo => self.teredo(bytes),
            Layer::Ayiya => self.ayiya(bytes),
            _ => Err(End::Other),
        }
    }

    /// RFC 3032: labels, and no word on what follows.
    fn mpls(&mut self, bytes: &[u8]) -> Result<(), End> {
        let labels = bytes.chunks_exact(4).take(self.limits.layers_max);
        let last = labels.clone().position(|label| label[2] & 1 != 0).ok_or(CUT)?;
        let rest = behind(bytes, (last + 1) * 4)?;
        match byte(rest, 0)? >> 4 {
            4 | 6 => self.layer(Layer::Ip, rest),
            // A control word (RFC 4385, 3) in front of an Ethernet frame, most likely.
            0 => self.layer(Layer::Ethernet, behind(rest, 4)?),
            _ => self.layer(Layer::Ethernet, rest),
        }
    }

    /// RFC 1661, 2; RFC 1662, 3.1.
    fn ppp(&mut self, bytes: &[u8]) -> Result<(), End> {
        let bytes = bytes.strip_prefix(&[0xff, 0x03]).unwrap_or(bytes);
        let first = byte(bytes, 0)?;
        // A protocol may be compressed to one byte, which is odd then.
        let (protocol, len) = if first & 1 != 0 { (u16::from(first), 1) } else { (number16(bytes, 0)?, 2) };
        match protocol {
            0x0021 | 0x0057 => self.layer(Layer::Ip, behind(bytes, len)?),
            0x0281 | 0x0283 => self.layer(Layer::Mpls, behind(bytes, len)?),
            _ => Err(End::Other),
        }
    }

    /// RFC 2784, RFC 2890, and RFC 2637 (version 1).
    fn gre(&mut self, bytes: &[u8]) -> Result<(), End> {
        const CHECKSUM: u16 = 0x8000;
        const ROUTING: u16 = 0x4000;
        const KEY: u16 = 0x2000;
        const SEQUENCE: u16 = 0x1000;
        const ACKNOWLEDGEMENT: u16 = 0x0080;
        let (flags, kind) = (number16(bytes, 0)?, number16(bytes, 2)?);
        let field = |bit| if flags & bit != 0 { 4 } else { 0 };
        if flags & ROUTING != 0 {
            return Err(End::Other);
        }
        let len = 4 + field(CHECKSUM) + field(KEY) + field(SEQUENCE);
        match (flags & 7, kind) {
            (0, 0x88be) if flags & SEQUENCE == 0 => self.layer(Layer::Ethernet, behind(bytes, len)?),
            (0, 0x88be) => self.layer(Layer::Erspan { three: false }, behind(bytes, len)?),
            (0, 0x22eb) => self.layer(Layer::Erspan { three: true }, behind(bytes, len)?),
            (0, kind) => self.layer(Layer::Ether(kind), behind(bytes, len)?),
            (1, 0x880b) => self.layer(Layer::Ppp, behind(bytes, len + field(ACKNOWLEDGEMENT))?),
            _ => Err(End::Other),
        }
    }

    /// 3GPP TS 29.281, 5.1: version 1, a G-PDU.
    fn gtp_user(&mut self, bytes: &[u8]) -> Result<(), End> {
        const USER_DATA: u8 = 255;
        let flags = byte(bytes, 0)?;
        if flags >> 4 != 3 || byte(bytes, 1)? != USER_DATA {
            return Err(End::Other);
        }
        let mut len = 8;
        if flags & 7 != 0 {
            len = 12;
            let mut next = byte(bytes, 11)?;
            for _ in 0..self.limits.layers_max {
                if next == 0 {
                    break;
                }
                let units = usize::from(byte(bytes, len)?);
                if units == 0 {
                    return Err(CUT);
                }
                len += units * 4;
                next = byte(bytes, len - 1)?;
            }
        }
        self.layer(Layer::Ip, behind(bytes, len)?)
    }

    /// RFC 4380, 5.1.1: an authentication and an origin indication may come first.
    fn teredo(&mut self, bytes: &[u8]) -> Result<(), End> {
        let mut bytes = bytes;
        if bytes.starts_with(&[0, 1]) {
            let len = usize::from(byte(bytes, 2)?) + usize::from(byte(bytes, 3)?);
            bytes = behind(bytes, 13 + len)?;
        }
        if bytes.starts_with(&[0, 0]) {
            bytes = behind(bytes, 8)?;
        }
        if byte(bytes, 0)? >> 4 != 6 {
            return Err(End::Other);
        }
        self.layer(Layer::Ip, bytes)
    }

    /// draft-massar-v6ops-ayiya, 3.
    fn ayiya(&mut self, bytes: &[u8]) -> Result<(), End> {
        let identity = 1usize << (byte(bytes, 0)? >> 4);
        let signature = usize::from(byte(bytes, 1)? >> 4) * 4;
        // Opcode "forward", and IP.
        if byte(bytes, 2)? & 15 != 1 || !matches!(byte(bytes, 3)?, 4 | 41) {
            return Err(End::Other);
        }
        self.layer(Layer::Ip, behind(bytes, 8 + identity + signature)?)
    }
}
