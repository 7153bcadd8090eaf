//! Capture files become events.
//!
//! Place in the data's way: in the stead of `capture`, for traffic that others have captured. A file in the format pcap or
//! pcapng, compressed by gzip or zstd or not, goes in; the [`Event`]s that live traffic would have given come out, for the
//! same assembler. No clock: time is what the file says.
//!
//! | step | module |
//! | --- | --- |
//! | bytes of the file | `input` |
//! | packets | `source`, `pcap`, `pcapng` |
//! | TCP segments, out of tunnels too | `walk`, `tunnels`, `fragments` |
//! | connections, events | `flows` |
//! | which of them | `chosen` |
//!
//! Invariants
//! - Memory does not grow with the file: see [`Limits`].
//! - Nothing panics, and nothing is allocated by a length that a file claims.
//! - What is not read is counted by reason: see [`Unread`].
//!
//! Not here: what is in the segments. The formats are read by this crate and not by `pcap-parser`, for which a block is
//! right or wrong as a whole, and which wants all of it in its buffer before it says how long it is.
#![forbid(unsafe_code)]

mod bytes;
mod chosen;
mod counters;
mod flows;
mod fragments;
mod input;
mod limits;
mod pcap;
mod pcapng;
mod source;
mod tunnels;
mod walk;

use std::fmt;
use std::io::{self, Read};

use headtrail_record::event::Event;

pub use crate::chosen::Chosen;
pub use crate::counters::{Counters, Unread};
pub use crate::limits::Limits;

use crate::flows::{Choice, Flows, Seen};
use crate::fragments::Fragments;
use crate::input::{Broken, Input};
use crate::source::{Found, Source};
use crate::walk::{End, Walk};

/// Why a file cannot be read at all.
#[derive(Debug)]
pub enum Error {
    /// It is neither pcap nor pcapng.
    NotACapture,
    /// The system does not give its bytes.
    Io(io::Error),
    /// Which of its packets are wanted cannot be said.
    Filter(String),
}

impl std::error::Error for Error {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotACapture => f.write_str("it is no capture file: neither pcap nor pcapng"),
            Self::Io(error) => error.fmt(f),
            Self::Filter(why) => f.write_str(why),
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A packet as it was captured.
#[derive(Clone, Copy, Debug)]
pub struct Captured<'a> {
    /// Link type (LINKTYPE_*).
    pub link: u32,
    /// What of it is in the file.
    pub bytes: &'a [u8],
    /// How long it was.
    pub wire_bytes: usize,
}

/// Which packets are wanted, or why that cannot be said.
type Wanted = Box<dyn FnMut(Captured<'_>) -> Result<bool, String>>;

/// Reads a capture file.
pub struct Reader {
    source: Source,
    limits: Limits,
    counters: Counters,
    fragments: Fragments,
    flows: Flows,
    wanted: Option<Wanted>,
    now_ns: u64,
    ended: bool,
    broken: Option<String>,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("counters", &self.counters).finish_non_exhaustive()
    }
}

impl Reader {
    /// Begins to read a file.
    pub fn open(file: impl Read + 'static, limits: Limits) -> Result<Self, Error> {
        let source = Source::open(Input::new(file)?)?.ok_or(Error::NotACapture)?;
        Ok(Self {
            source,
            limits,
            counters: Counters::default(),
            fragments: Fragments::new(),
            flows: Flows::new(),
            wanted: None,
            now_ns: 0,
            ended: false,
            broken: None,
        })
    }

    /// Gives out only connections of which `wanted` wants a packet, from that packet on. What is left out is read all the
    /// same, and counted. To have these connections from their beginning, read the file once more ([`Reader::only`]).
    pub fn select(&mut self, wanted: impl FnMut(Captured<'_>) -> Result<bool, String> + 'static) {
        self.wanted = Some(Box::new(wanted));
    }

    /// Gives out only these connections, which another reader chose of the same file.
    pub fn only(&mut self, chosen: Chosen) {
        self.flows.choice = Choice::Chosen(chosen);
    }

    /// The connections of which a packet was wanted.
    #[must_use]
    pub fn chosen(self) -> Chosen {
        self.flows.chosen
    }

    /// Takes the lines of TLS key logs that the file has brought along since the last call. Where they stand in the file
    /// before a packet, [`Reader::next`] comes back before that packet.
    pub fn take_key_log(&mut self) -> Vec<u8> {
        self.source.take_key_log()
    }

    /// Reads on, one packet at most; its events are handed to `give`. False: the file has ended.
    pub fn next(&mut self, give: &mut dyn FnMut(&Event<'_>)) -> Result<bool, Error> {
        if self.ended {
            return Ok(false);
        }
        let facts = match self.source.next(&self.limits, &mut self.counters) {
            Ok(Some(facts)) => facts,
            Ok(None) => return Ok(self.end(give)),
            Err(Broken::Unread(why, text)) => {
                self.counters.count(why);
                self.broken = Some(text);
                return Ok(self.end(give));
            }
            Err(Broken::Io(error)) => return Err(Error::Io(error)),
        };
        let facts = match facts {
            Found::Packet(facts) => facts,
            Found::Unread(why) => {
                self.counters.packets += 1;
                self.counters.count(why);
                return Ok(true);
            }
            Found::Secrets => return Ok(true),
        };
        self.counters.packets += 1;
        let time_ns = facts.time_ns.unwrap_or(self.now_ns);
        // Packets may cross on the way to the file; time that passes does not go back.
        self.now_ns = self.now_ns.max(time_ns);
        self.flows.tick(self.now_ns, &self.limits, give);
        let seen = Seen { time_ns, now_ns: self.now_ns, frame: self.counters.packets };
        let wanted = match &mut self.wanted {
            None => true,
            Some(wanted) => {
                let bytes = self.source.bytes();
                let packet = Captured { link: facts.link, bytes, wire_bytes: bytes.len() + facts.missing };
                wanted(packet).map_err(Error::Filter)?
            }
        };
        let (flows, limits) = (&mut self.flows, &self.limits);
        let mut walk = Walk {
            limits,
            counters: &mut self.counters,
            fragments: &mut self.fragments,
            now_ns: self.now_ns,
            missing: facts.missing,
            layers: 0,
            wanted,
            give: &mut |counters, tcp| flows.take(tcp, seen, limits, counters, give),
        };
        let ended = walk.packet(facts.link, self.source.bytes());
        match ended {
            Ok(()) | Err(End::Fragment) => {}
            Err(End::Other) => self.counters.packets_other += 1,
            Err(End::Encrypted) => self.counters.packets_encrypted += 1,
            Err(End::Unread(why)) => self.counters.count(why),
        }
        Ok(true)
    }

    fn end(&mut self, give: &mut dyn FnMut(&Event<'_>)) -> bool {
        self.ended = true;
        self.fragments.finish(&mut self.counters);
        self.flows.finish(self.now_ns, give);
        false
    }

    /// What was counted so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The latest time of a packet so far, nanoseconds since the Unix epoch.
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        self.now_ns
    }

    /// Why reading ended before the end of the file, for people.
    #[must_use]
    pub fn broken(&self) -> Option<&str> {
        self.broken.as_deref()
    }

    /// Connections whose state is kept.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.flows.len()
    }
}
