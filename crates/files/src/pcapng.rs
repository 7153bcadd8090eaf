//! Files of the format pcapng (draft-ietf-opsawg-pcapng): blocks, in sections with interfaces of their own.
//!
//! Known are the section header, interface description, enhanced, simple and obsolete packet blocks, and of decryption secrets
//! blocks those with a TLS key log. All others are passed over.

use crate::bytes::Order;
use crate::counters::{Counters, Unread};
use crate::input::{Broken, Input, cut};
use crate::limits::Limits;
use crate::source::{Facts, Found};

/// Type of a section header, the same in both byte orders.
pub(crate) const SECTION: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
const INTERFACE: u32 = 1;
const PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;
const SECRETS: u32 = 10;
/// Type of secrets: a TLS key log.
const TLS_KEY_LOG: u32 = 0x544c_534b;
const OPTION_END: u16 = 0;
const OPTION_TSRESOL: u16 = 9;
const OPTION_TSOFFSET: u16 = 14;
/// Most bytes of key logs that wait to be taken.
const KEY_LOG_BYTES_MAX: usize = 16 << 20;
/// Type and length in front, and the length behind.
const FRAME_BYTES: u64 = 12;

/// What is known of an interface.
#[derive(Clone, Copy)]
struct Interface {
    link: u32,
    snap_bytes: u32,
    resolution: u8,
    offset_s: i64,
}

impl Interface {
    /// Nanoseconds since the Unix epoch.
    fn time_ns(&self, units: u64) -> u64 {
        let exponent = u32::from(self.resolution & 0x7f);
        let ns = if self.resolution & 0x80 != 0 {
            (u128::from(units) * 1_000_000_000) >> exponent
        } else if exponent <= 9 {
            u128::from(units) * 10u128.pow(9 - exponent)
        } else {
            10u128.checked_pow(exponent - 9).map_or(0, |unit| u128::from(units) / unit)
        };
        let ns = i128::try_from(ns).unwrap_or(i128::MAX);
        let ns = ns.saturating_add(i128::from(self.offset_s) * 1_000_000_000);
        u64::try_from(ns.max(0)).unwrap_or(u64::MAX)
    }
}

/// A pcapng file. Its first four bytes were read already.
pub(crate) struct PcapNg {
    order: Order,
    /// The type of the next block was read, since it is the file's magic number.
    at_start: bool,
    interfaces: Vec<Interface>,
    /// Lines of TLS key logs that nobody has taken yet.
    pub(crate) key_log: Vec<u8>,
}

/// Where packet data lies in a block's body.
struct Data {
    facts: Facts,
    at: usize,
    captured: usize,
}

/// What a block has to say.
enum Block {
    Packet(Data),
    /// A packet that cannot be read, and why.
    Unread(Unread),
    /// Secrets, which were kept.
    Secrets,
    Other,
}

impl PcapNg {
    pub(crate) fn new() -> Self {
        Self { order: Order::Little, at_start: true, interfaces: Vec::new(), key_log: Vec::new() }
    }

    /// Reads the next packet into `bytes`. A packet that cannot be read is one without bytes, and counted: the packets keep
    /// their numbers.
    pub(crate) fn next(
        &mut self,
        input: &mut Input,
        limits: &Limits,
        counters: &mut Counters,
        bytes: &mut Vec<u8>,
    ) -> Result<Option<Found>, Broken> {
        loop {
            let Some((kind, len)) = self.begin(input, bytes)? else { return Ok(None) };
            if len > limits.block_bytes_max as u64 {
                input.pass(len + 4)?;
                if matches!(kind, PACKET | SIMPLE_PACKET | ENHANCED_PACKET) {
                    return Ok(Some(Found::Unread(Unread::PacketTooLong)));
                }
                if kind == INTERFACE {
                    return Err(damaged("an interface description that is too long".to_owned()));
                }
                if kind == SECRETS {
                    counters.count(Unread::SecretsTooLong);
                }
                continue;
            }
            let len = len as usize;
            // The body, and the length behind it.
            if !input.read(len + 4, bytes)? {
                return Err(cut());
            }
            bytes.truncate(len);
            match self.block(kind, bytes, limits, counters) {
                Block::Other => {}
                Block::Unread(why) => return Ok(Some(Found::Unread(why))),
                Block::Secrets => return Ok(Some(Found::Secrets)),
                Block::Packet(data) => {
                    bytes.truncate(data.at + data.captured);
                    bytes.drain(..data.at);
                    return Ok(Some(Found::Packet(data.facts)));
                }
            }
        }
    }

    /// Type of the next block, and length of its body.
    fn begin(&mut self, input: &mut Input, bytes: &mut Vec<u8>) -> Result<Option<(u32, u64)>, Broken> {
        let mut front = SECTION;
        if !std::mem::take(&mut self.at_start) {
            if !input.read(4, bytes)? {
                return Ok(None);
            }
            front = crate::bytes::array(bytes, 0).ok_or_else(cut)?;
        }
        if !input.read(4, bytes)? {
            return Err(cut());
        }
        let length: [u8; 4] = crate::bytes::array(bytes, 0).ok_or_else(cut)?;
        let mut body_read = 0;
        if front == SECTION {
            if !input.read(4, bytes)? {
                return Err(cut());
            }
            body_read = 4;
            let order = [Order::Little, Order::Big];
            self.order = order
                .into_iter()
                .find(|order| order.u32(bytes, 0) == Some(BYTE_ORDER))
                .ok_or_else(|| damaged("a section of neither byte order".to_owned()))?;
            self.interfaces.clear();
        }
        let kind = self.order.u32(&front, 0).unwrap_or_default();
        let len = u64::from(self.order.u32(&length, 0).unwrap_or_default()).next_multiple_of(4);
        let body = len.checked_sub(FRAME_BYTES + body_read);
        let body = body.ok_or_else(|| damaged(format!("a block of {len} bytes, which cannot be")))?;
        Ok(Some((kind, body)))
    }

    /// `body` is that of a block of type `kind`.
    fn block(&mut self, kind: u32, body: &[u8], limits: &Limits, counters: &mut Counters) -> Block {
        match kind {
            INTERFACE => {
                match self.interface(body) {
                    Some(interface) if self.interfaces.len() < limits.interfaces_max => {
                        self.interfaces.push(interface);
                    }
                    Some(_) => {}
                    None => counters.count(Unread::BlockDamaged),
                }
                Block::Other
            }
            ENHANCED_PACKET | PACKET | SIMPLE_PACKET => {
                let data = match kind {
                    ENHANCED_PACKET => self.enhanced(body),
                    PACKET => self.obsolete(body),
                    _ => self.simple(body),
                };
                match data {
                    Ok(data) if data.captured > limits.packet_bytes_max => {
                        Block::Unread(Unread::PacketTooLong)
                    }
                    Ok(data) if data.at + data.captured > body.len() => Block::Unread(Unread::BlockDamaged),
                    Ok(data) => Block::Packet(data),
                    Err(why) => Block::Unread(why),
                }
            }
            SECRETS => {
                self.secrets(body, counters);
                Block::Secrets
            }
            _ => Block::Other,
        }
    }

    /// Keeps the lines of a key log. Each block holds whole ones.
    fn secrets(&mut self, body: &[u8], counters: &mut Counters) {
        let (Some(kind), Some(len)) = (self.order.u32(body, 0), self.order.u32(body, 4)) else {
            return counters.count(Unread::BlockDamaged);
        };
        if kind != TLS_KEY_LOG {
            return;
        }
        match body.get(8..).and_then(|rest| rest.get(..len as usize)) {
            Some(_) if self.key_log.len() + len as usize > KEY_LOG_BYTES_MAX => {
                counters.count(Unread::SecretsTooLong);
            }
            Some(lines) => {
                self.key_log.extend_from_slice(lines);
                self.key_log.push(b'\n');
            }
            None => counters.count(Unread::BlockDamaged),
        }
    }

    fn interface(&self, body: &[u8]) -> Option<Interface> {
        let mut interface = Interface {
            link: u32::from(self.order.u16(body, 0)?),
            snap_bytes: self.order.u32(body, 4)?,
            resolution: 6,
            offset_s: 0,
        };
        let mut rest = body.get(8..)?;
        // Damaged options cost no more than what they would tell.
        while let (Some(code), Some(len)) = (self.order.u16(rest, 0), self.order.u16(rest, 2)) {
            let len = usize::from(len);
            let Some(value) = rest.get(4..4 + len) else { break };
            match code {
                OPTION_END => break,
                OPTION_TSRESOL => interface.resolution = value.first().copied().unwrap_or(6),
                OPTION_TSOFFSET => interface.offset_s = self.order.i64(value, 0).unwrap_or(0),
                _ => {}
            }
            rest = rest.get(4 + len.next_multiple_of(4)..).unwrap_or_default();
        }
        Some(interface)
    }

    fn of(&self, interface: u32) -> Result<&Interface, Unread> {
        self.interfaces.get(interface as usize).ok_or(Unread::InterfaceUnknown)
    }

    /// Time, captured length and length on the wire, from `at` on.
    fn packet(&self, body: &[u8], interface: u32, at: usize) -> Result<Data, Unread> {
        let interface = self.of(interface)?;
        let number = |at| self.order.u32(body, at).ok_or(Unread::BlockDamaged);
        let units = u64::from(number(at)?) << 32 | u64::from(number(at + 4)?);
        let (captured, wire) = (number(at + 8)? as usize, number(at + 12)? as usize);
        Ok(Data {
            facts: Facts {
                time_ns: Some(interface.time_ns(units)),
                link: interface.link,
                missing: wire.saturating_sub(captured),
            },
            at: at + 16,
            captured,
        })
    }

    fn enhanced(&self, body: &[u8]) -> Result<Data, Unread> {
        self.packet(body, self.order.u32(body, 0).ok_or(Unread::BlockDamaged)?, 4)
    }

    fn obsolete(&self, body: &[u8]) -> Result<Data, Unread> {
        self.packet(body, self.order.u16(body, 0).ok_or(Unread::BlockDamaged)?.into(), 4)
    }

    /// Has no time and no captured length.
    fn simple(&self, body: &[u8]) -> Result<Data, Unread> {
        let interface = self.of(0)?;
        let wire = self.order.u32(body, 0).ok_or(Unread::BlockDamaged)? as usize;
        let snap = if interface.snap_bytes == 0 { usize::MAX } else { interface.snap_bytes as usize };
        let captured = wire.min(snap).min(body.len() - 4);
        Ok(Data {
            facts: Facts { time_ns: None, link: interface.link, missing: wire - captured },
            at: 4,
            captured,
        })
    }
}

fn damaged(why: String) -> Broken {
    Broken::Unread(Unread::FileDamaged, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(resolution: u8, offset_s: i64, units: u64) -> u64 {
        Interface { link: 1, snap_bytes: 0, resolution, offset_s }.time_ns(units)
    }

    #[test]
    fn times_of_any_resolution_are_nanoseconds() {
        assert_eq!(at(6, 0, 1_500_000), 1_500_000_000);
        assert_eq!(at(9, 0, 7), 7);
        assert_eq!(at(0, 0, 3), 3_000_000_000);
        assert_eq!(at(12, 0, 7_000), 7);
        assert_eq!(at(0x80 | 10, 0, 1536), 1_500_000_000);
        assert_eq!(at(6, 10, 1), 10_000_001_000);
        assert_eq!(at(6, -10, 1), 0);
    }

    #[test]
    fn no_resolution_and_no_offset_is_too_much() {
        for resolution in 0..=255 {
            for offset in [0, i64::MAX, i64::MIN] {
                at(resolution, offset, u64::MAX);
            }
        }
    }
}
