//! Files of the format pcap (draft-ietf-opsawg-pcap): a header, and packets behind one another. Both byte orders, times in
//! microseconds and nanoseconds, and the longer packet headers of Kuznetzov's variant.

use crate::bytes::Order;
use crate::counters::Unread;
use crate::input::{Broken, Input, cut};
use crate::limits::Limits;
use crate::source::Facts;

const MICROSECONDS: u32 = 0xa1b2_c3d4;
const NANOSECONDS: u32 = 0xa1b2_3c4d;
const KUZNETZOV: u32 = 0xa1b2_cd34;
/// Behind the magic number.
const HEADER_BYTES: usize = 20;
const PACKET_HEADER_BYTES: usize = 16;
const KUZNETZOV_HEADER_BYTES: usize = 24;

/// A pcap file behind its magic number.
pub(crate) struct Pcap {
    order: Order,
    /// Nanoseconds of the smaller unit of time.
    fraction_ns: u64,
    packet_header_bytes: usize,
    link: Option<u32>,
}

impl Pcap {
    /// None where it is not one.
    pub(crate) fn of_magic(magic: &[u8]) -> Option<Self> {
        [Order::Little, Order::Big].into_iter().find_map(|order| {
            let (fraction_ns, packet_header_bytes) = match order.u32(magic, 0)? {
                MICROSECONDS => (1000, PACKET_HEADER_BYTES),
                NANOSECONDS => (1, PACKET_HEADER_BYTES),
                KUZNETZOV => (1000, KUZNETZOV_HEADER_BYTES),
                _ => return None,
            };
            Some(Self { order, fraction_ns, packet_header_bytes, link: None })
        })
    }

    /// Reads the next packet into `bytes`.
    pub(crate) fn next(
        &mut self,
        input: &mut Input,
        limits: &Limits,
        bytes: &mut Vec<u8>,
    ) -> Result<Option<Facts>, Broken> {
        let link = match self.link {
            Some(link) => link,
            None => self.header(input, bytes)?,
        };
        self.link = Some(link);
        if !input.read(self.packet_header_bytes, bytes)? {
            return Ok(None);
        }
        let number = |at| self.order.u32(bytes, at).map(u64::from).ok_or_else(cut);
        let (seconds, fraction, captured, wire) = (number(0)?, number(4)?, number(8)?, number(12)?);
        if captured > limits.packet_bytes_max as u64 {
            let why = format!("a packet of {captured} bytes, which cannot be");
            return Err(Broken::Unread(Unread::FileDamaged, why));
        }
        let captured = captured as usize;
        if !input.read(captured, bytes)? && captured > 0 {
            return Err(cut());
        }
        let time_ns = seconds * 1_000_000_000 + fraction * self.fraction_ns;
        Ok(Some(Facts { time_ns: Some(time_ns), link, missing: (wire as usize).saturating_sub(captured) }))
    }

    fn header(&self, input: &mut Input, bytes: &mut Vec<u8>) -> Result<u32, Broken> {
        if !input.read(HEADER_BYTES, bytes)? {
            return Err(cut());
        }
        // The upper bits tell of a frame check sequence.
        self.order.u32(bytes, 16).map(|link| link & 0xffff).ok_or_else(cut)
    }
}
