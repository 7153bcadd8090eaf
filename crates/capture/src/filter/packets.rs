//! FILTER over the packets of a capture file, in user space.
//!
//! A file has what a socket's hook has not: link-layer headers, and each packet's own bits. So the whole language of
//! libpcap is there, compiled for the link type of each packet, and a packet is judged as it was captured: of a tunnel
//! the outermost headers count.
//!
//! The programs run in [`classic`] and not in libpcap's interpreter, which the crate `pcap` tells that a packet was as long as
//! what was captured of it: `greater` and `len` would be wrong.

use super::classic::{self, Op};
use super::error::FilterError;
use super::{check, compile, lex};

/// LINKTYPE_ETHERNET
const LINK_ETHERNET: u32 = 1;
/// LINKTYPE_RAW
const LINK_RAW: u32 = 101;

/// A filter for packets of any link type.
#[derive(Debug)]
pub struct PacketFilter {
    text: String,
    tokens: Vec<lex::Token>,
    /// Programs by link type; a file has few.
    programs: Vec<(u32, Vec<Op>)>,
}

impl PacketFilter {
    /// Judges what can be judged without a packet: whether it follows the grammar. What the words mean depends on the link type.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        if text.len() > check::FILTER_LENGTH_BYTES_MAX {
            let most = check::FILTER_LENGTH_BYTES_MAX;
            let message = format!("a filter has at most {most} bytes, this one has {}", text.len());
            return Err(FilterError::new(text, most, message));
        }
        let mut filter = Self { text: text.to_owned(), tokens: lex::tokens(text)?, programs: Vec::new() };
        match filter.program(LINK_ETHERNET) {
            Ok(program) => filter.programs.push((LINK_ETHERNET, program)),
            Err((error, of_grammar)) if of_grammar => return Err(error),
            Err(_) => {}
        }
        Ok(filter)
    }

    /// Whether a packet matches that was `wire_bytes` long and begins with `packet`. `link` is the link type as capture
    /// files number it (LINKTYPE_*); an error where the filter makes no sense for it. Blocks while libpcap resolves host
    /// names in the filter, once for each link type.
    pub fn matches(&mut self, link: u32, packet: &[u8], wire_bytes: usize) -> Result<bool, FilterError> {
        // An address family in front, which libpcap would compare with this system's; files have that of others. The IP header
        // says the same.
        let (link, packet) = match link {
            0 | 108 => (LINK_RAW, packet.get(4..).unwrap_or_default()),
            link => (link, packet),
        };
        let known = self.programs.iter().position(|(of, _)| *of == link);
        let at = match known {
            Some(at) => at,
            None => {
                let program = self.program(link).map_err(|(error, _)| error)?;
                self.programs.push((link, program));
                self.programs.len() - 1
            }
        };
        let wire_bytes = u32::try_from(wire_bytes).unwrap_or(u32::MAX);
        Ok(self.programs.get(at).is_some_and(|(_, ops)| classic::run(ops, packet, wire_bytes) != 0))
    }

    /// The program for a link type; with an error, whether it is the grammar.
    fn program(&self, link: u32) -> Result<Vec<Op>, (FilterError, bool)> {
        let link = match link {
            // Raw IP has other numbers in files than in libpcap on Linux.
            12 | 14 | LINK_RAW => compile::DLT_RAW,
            link => pcap::Linktype(i32::try_from(link).unwrap_or(-1)),
        };
        let insns = compile::compile(&self.text, &self.tokens, link).map_err(|error| self.located(error))?;
        classic::check(&insns)
            .map_err(|error| (FilterError::new(&self.text, 0, format!("the filter {error}")), false))
    }

    /// libpcap says 'syntax error' and not where. The check of filters for flows does, unless it stumbles over what only flows
    /// cannot have.
    fn located(&self, error: FilterError) -> (FilterError, bool) {
        if !error.message.contains("syntax error") {
            return (error, false);
        }
        let Err(other) = check::check(&self.text) else { return (error, true) };
        let token = self.tokens.iter().find(|token| token.at == other.at);
        let for_flows = token.is_some_and(|token| {
            matches!(token.kind, lex::Kind::Operator | lex::Kind::LinkAddress)
                || super::words::refusal(&token.text).is_some()
        });
        (if for_flows { error } else { other }, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_packets_have_is_asked_of_packets() {
        let mut frame = vec![0xff; 12];
        frame.extend([8, 0]);
        frame.extend(
            super::super::flow_header(([10, 0, 0, 1], 40_000).into(), ([10, 0, 0, 2], 80).into()).unwrap(),
        );
        for (text, wanted) in [
            ("port 80", true),
            ("src port 80", false),
            ("ether host ff:ff:ff:ff:ff:ff", true),
            ("vlan", false),
            ("greater 100", true),
            ("less 100", false),
            ("tcp[13] & 2 != 0", false),
            ("ip[8] = 0", true),
            ("", true),
        ] {
            let mut filter = PacketFilter::parse(text).unwrap();
            assert_eq!(filter.matches(1, &frame, 1000).unwrap(), wanted, "{text}");
            // Cut at any byte it is judged, too.
            for len in 0..frame.len() {
                let _ = filter.matches(1, &frame[..len], 1000).unwrap();
            }
        }
    }

    #[test]
    fn each_link_type_is_judged_for_itself() {
        let packet =
            super::super::flow_header(([10, 0, 0, 1], 1).into(), ([10, 0, 0, 2], 80).into()).unwrap();
        let mut filter = PacketFilter::parse("dst port 80").unwrap();
        for link in [12, 14, 101, 228] {
            assert!(filter.matches(link, &packet, packet.len()).unwrap(), "{link}");
        }
        assert!(!filter.matches(1, &packet, packet.len()).unwrap());
        let mut filter = PacketFilter::parse("port 80 and ether host 1:2:3:4:5:6").unwrap();
        assert!(filter.matches(101, &packet, packet.len()).is_err());
        filter.matches(1, &packet, packet.len()).unwrap();
    }

    #[test]
    fn errors_say_where() {
        for (text, at) in
            [("port 80 adn port 90", 8), ("port 80 and", 11), ("port é", 5), ("host and port 1", 5)]
        {
            let error = PacketFilter::parse(text).unwrap_err();
            assert_eq!(error.at, at, "{error}");
        }
    }
}
