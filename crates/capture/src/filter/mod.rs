//! FILTER: tcpdump's language, for whole flows, run in the kernel.
//!
//! Place in the data's way: before everything. The main program asks once for each flow, on its first
//! packet, and keeps the verdict for the flow's life.
//!
//! text --[`lex`], [`check`]--> tokens of flow terms --[`compile`], libpcap--> classic BPF
//! --[`translate`]--> eBPF --[`program`]--> the kernel
//!
//! A flow has no single packet to look at, so the program does not read one. The main program writes two
//! headers into the socket's storage, as if from a packet of either direction ([`flow_header`] has the
//! same bytes), and a flow is in when one of the two matches.
//!
//! Invariants: the program returns 1 on every path, because 0 would drop the user's packet. What passes
//! the check compiles to loads inside the header; the translation does not rely on it.
//!
//! What it does not do: terms of single packets or of the link layer. They are errors with a caret. For capture files,
//! where packets are at hand, there is [`PacketFilter`], which knows them all and runs in user space.

mod check;
pub mod classic;
mod compile;
pub mod ebpf;
mod error;
mod lex;
mod packets;
pub mod program;
pub mod translate;
mod words;

#[cfg(test)]
mod tests;

use std::fmt;
use std::net::{IpAddr, SocketAddr};

pub use self::classic::ClassicInsn;
pub use self::error::FilterError;
pub use self::packets::PacketFilter;

/// Bytes of a header that a filter runs over: an IPv6 header and two ports, rounded up.
pub const HEADER_SIZE_BYTES: usize = 48;

/// A filter that selects flows.
#[derive(Debug, Clone)]
pub struct Filter {
    text: String,
    insns: Vec<ClassicInsn>,
    ops: Vec<classic::Op>,
}

impl Filter {
    /// Parses and compiles a filter. Blocks while libpcap resolves host names in it, if there are any.
    /// The empty filter selects everything.
    pub fn parse(text: &str) -> Result<Filter, FilterError> {
        let tokens = check::check(text)?;
        let insns = compile::compile(text, &tokens, compile::DLT_RAW)?;
        let refused = |error: classic::ProgramError| FilterError::new(text, 0, format!("the filter {error}"));
        let ops = classic::check(&insns).map_err(refused)?;
        // Whether it fits the kernel does not depend on the maps and places, so it is known here and now.
        let anywhere = translate::Layout {
            forward: 0,
            mirrored: 0,
            header_size_bytes: HEADER_SIZE_BYTES as u16,
            verdict: 0,
            resume_index: 0,
        };
        translate::emit(&insns, 0, 0, &anywhere).map_err(refused)?;
        Ok(Filter { text: text.to_owned(), insns, ops })
    }

    /// The filter as it was given.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The classic BPF program that libpcap made of it.
    pub fn insns(&self) -> &[ClassicInsn] {
        &self.insns
    }

    /// The kernel program's twin: is the flow between the two ends in? Ends of two families are no flow.
    pub fn matches_tuple(&self, src: (IpAddr, u16), dst: (IpAddr, u16)) -> bool {
        let (src, dst) = (SocketAddr::from(src), SocketAddr::from(dst));
        [flow_header(src, dst), flow_header(dst, src)]
            .into_iter()
            .flatten()
            .any(|header| classic::run(&self.ops, &header, HEADER_SIZE_BYTES as u32) != 0)
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&error::escaped(&self.text))
    }
}

/// The header of a TCP packet from `src` to `dst`, with what a filter can ask about: version, protocol,
/// addresses, ports. IPv4-mapped addresses are IPv4, as on the wire. `None` for ends of two families.
pub fn flow_header(src: SocketAddr, dst: SocketAddr) -> Option<[u8; HEADER_SIZE_BYTES]> {
    const PROTOCOL_TCP: u8 = 6;
    let mut header = [0; HEADER_SIZE_BYTES];
    let ports_at = match (src.ip().to_canonical(), dst.ip().to_canonical()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            header[0] = 0x45;
            header[9] = PROTOCOL_TCP;
            header[12..16].copy_from_slice(&from.octets());
            header[16..20].copy_from_slice(&to.octets());
            20
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            header[0] = 0x60;
            header[6] = PROTOCOL_TCP;
            header[8..24].copy_from_slice(&from.octets());
            header[24..40].copy_from_slice(&to.octets());
            40
        }
        _ => return None,
    };
    header[ports_at..ports_at + 2].copy_from_slice(&src.port().to_be_bytes());
    header[ports_at + 2..ports_at + 4].copy_from_slice(&dst.port().to_be_bytes());
    Some(header)
}
