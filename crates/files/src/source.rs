//! Packets of a file of either format, with the facts that the file tells of them.

use std::io;

use crate::counters::{Counters, Unread};
use crate::input::{Broken, Input};
use crate::limits::Limits;
use crate::pcap::Pcap;
use crate::pcapng::{self, PcapNg};

/// What the file tells of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Facts {
    /// Nanoseconds since the Unix epoch; None where the file has no time.
    pub(crate) time_ns: Option<u64>,
    /// Link type (LINKTYPE_*).
    pub(crate) link: u32,
    /// Bytes that were on the wire and are not in the file.
    pub(crate) missing: usize,
}

/// What was found next in a file.
pub(crate) enum Found {
    /// A packet.
    Packet(Facts),
    /// A packet that cannot be read, and why.
    Unread(Unread),
    /// Secrets, which can be taken.
    Secrets,
}

enum Format {
    Pcap(Pcap),
    PcapNg(PcapNg),
}

/// The packets of a file.
pub(crate) struct Source {
    input: Input,
    format: Format,
    bytes: Vec<u8>,
}

impl Source {
    /// None where the file is no capture.
    pub(crate) fn open(mut input: Input) -> Result<Option<Self>, io::Error> {
        let mut magic = Vec::new();
        match input.read(4, &mut magic) {
            Ok(true) => {}
            Ok(false) | Err(Broken::Unread(..)) => return Ok(None),
            Err(Broken::Io(error)) => return Err(error),
        }
        let format = if magic == pcapng::SECTION {
            Some(Format::PcapNg(PcapNg::new()))
        } else {
            Pcap::of_magic(&magic).map(Format::Pcap)
        };
        Ok(format.map(|format| Self { input, format, bytes: Vec::new() }))
    }

    /// What comes next. None: that was all.
    pub(crate) fn next(&mut self, limits: &Limits, counters: &mut Counters) -> Result<Option<Found>, Broken> {
        match &mut self.format {
            Format::Pcap(pcap) => Ok(pcap.next(&mut self.input, limits, &mut self.bytes)?.map(Found::Packet)),
            Format::PcapNg(pcapng) => pcapng.next(&mut self.input, limits, counters, &mut self.bytes),
        }
    }

    /// Takes the lines of TLS key logs that came with the file since the last call.
    pub(crate) fn take_key_log(&mut self) -> Vec<u8> {
        match &mut self.format {
            Format::Pcap(_) => Vec::new(),
            Format::PcapNg(pcapng) => std::mem::take(&mut pcapng.key_log),
        }
    }

    /// The bytes of the packet that [`Source::next`] told of.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}
