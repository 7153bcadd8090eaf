//! The words of tcpdump's filter language: those that select flows, and why the others cannot.

/// The words that can stand in a filter for flows.
pub(super) const SUPPORTED: &[&str] =
    &["host", "net", "mask", "port", "portrange", "src", "dst", "tcp", "ip", "ip6", "and", "or", "not"];

/// Why a word of tcpdump's language cannot select flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Only the link layer has it; the hook sees packets from the network layer up.
    LinkLayer,
    /// A protocol other than TCP.
    NotTcp,
    /// A property of one packet, not of the flow it belongs to.
    OnePacket,
    /// `proto`, `protochain`: their useful cases have a word of their own.
    Proto,
    /// Comes from the packet filter of BSD.
    FirewallLog,
}

impl Refusal {
    /// The sentence about `word`.
    pub(super) fn message(self, word: &str) -> String {
        match self {
            Refusal::LinkLayer => format!("'{word}' cannot be seen at the cgroup hook, which begins at IP"),
            Refusal::NotTcp => format!("'{word}' selects nothing: the flows recorded are TCP"),
            Refusal::OnePacket => {
                format!("'{word}' asks about single packets, and this filter selects whole flows")
            }
            Refusal::Proto => format!("'{word}' is not supported for flows; write 'tcp', 'ip' or 'ip6'"),
            Refusal::FirewallLog => format!("'{word}' is known to firewall logs only"),
        }
    }
}

const REFUSED: &[(Refusal, &[&str])] = &[
    (
        Refusal::LinkLayer,
        &[
            "ether",
            "link",
            "ppp",
            "slip",
            "fddi",
            "tr",
            "wlan",
            "arp",
            "rarp",
            "radio",
            "vlan",
            "mpls",
            "pppoed",
            "pppoes",
            "gateway",
            "llc",
            "lane",
            "metac",
            "bcc",
            "oam",
            "oamf4",
            "oamf4ec",
            "oamf4sc",
            "sc",
            "ilmic",
            "vpi",
            "vci",
            "connectmsg",
            "metaconnect",
            "atalk",
            "aarp",
            "decnet",
            "lat",
            "sca",
            "moprc",
            "mopdl",
            "iso",
            "esis",
            "es-is",
            "isis",
            "is-is",
            "l1",
            "l2",
            "iih",
            "lsp",
            "snp",
            "csnp",
            "psnp",
            "clnp",
            "stp",
            "ipx",
            "netbeui",
            "type",
            "subtype",
            "direction",
            "dir",
            "address1",
            "addr1",
            "address2",
            "addr2",
            "address3",
            "addr3",
            "address4",
            "addr4",
            "ra",
            "ta",
            "fisu",
            "lssu",
            "lsu",
            "msu",
            "hfisu",
            "hlssu",
            "hmsu",
            "sio",
            "opc",
            "dpc",
            "sls",
            "hsio",
            "hopc",
            "hdpc",
            "hsls",
            "ifindex",
        ],
    ),
    (
        Refusal::NotTcp,
        &["udp", "sctp", "icmp", "icmp6", "igmp", "igrp", "pim", "vrrp", "carp", "ah", "esp", "geneve"],
    ),
    (
        Refusal::OnePacket,
        &["less", "greater", "byte", "broadcast", "multicast", "len", "length", "inbound", "outbound"],
    ),
    (Refusal::Proto, &["proto", "protochain"]),
    (
        Refusal::FirewallLog,
        &["on", "ifname", "rset", "ruleset", "rnr", "rulenum", "srnr", "subrulenum", "reason", "action"],
    ),
];

/// Numbers that libpcap knows by name, all of them for looking into single packets.
const NAMED_NUMBERS: &[&str] = &["icmptype", "icmpcode", "icmp6type", "icmp6code", "tcpflags"];

/// Why `word` is refused, if it is a word of the language that cannot select flows.
pub(super) fn refusal(word: &str) -> Option<Refusal> {
    if NAMED_NUMBERS.contains(&word)
        || ["icmp-", "icmp6-"].iter().any(|prefix| word.starts_with(prefix))
        || ["fin", "syn", "rst", "push", "ack", "urg", "ece", "cwr"]
            .iter()
            .any(|f| word.strip_prefix("tcp-") == Some(*f))
    {
        return Some(Refusal::OnePacket);
    }
    REFUSED.iter().find(|(_, words)| words.contains(&word)).map(|(refusal, _)| *refusal)
}

/// The supported word that was probably meant.
pub(super) fn nearest(word: &str) -> Option<&'static str> {
    let lower = word.to_ascii_lowercase();
    let best = SUPPORTED.iter().map(|known| (distance(&lower, known), *known)).min_by_key(|(d, _)| *d)?;
    // Two slips in a long word are a typo, in a short one another word.
    let slips_max = if best.1.len() <= 3 { 1 } else { 2 };
    (best.0 <= slips_max).then_some(best.1)
}

/// Edit distance with neighbours swapped counted as one slip (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    // No word of the language is near to a longer one, and the table stays small.
    if a.len() > 16 {
        return usize::MAX;
    }
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for (i, byte) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, other) in b.iter().enumerate() {
            let mut cost = (rows[i][j] + usize::from(byte != other)).min(rows[i][j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *byte == b[j - 1] && a[i - 1] == *other {
                cost = cost.min(rows[i - 1][j - 1] + 1);
            }
            row.push(cost);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typos_find_the_word_that_was_meant() {
        for (typo, word) in [
            ("prot", Some("port")),
            ("hots", Some("host")),
            ("hst", Some("host")),
            ("PORT", Some("port")),
            ("ports", Some("port")),
            ("portrage", Some("portrange")),
            ("AND", Some("and")),
            ("ipv6", Some("ip6")),
            ("scr", Some("src")),
            ("dest", Some("dst")),
            ("tpc", Some("tcp")),
            ("banana", None),
            ("x", None),
            ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", None),
        ] {
            assert_eq!(nearest(typo), word, "{typo}");
        }
    }

    #[test]
    fn no_supported_word_is_refused() {
        for word in SUPPORTED {
            assert_eq!(refusal(word), None, "{word}");
        }
        assert_eq!(refusal("vlan"), Some(Refusal::LinkLayer));
        assert_eq!(refusal("tcp-syn"), Some(Refusal::OnePacket));
        assert_eq!(refusal("tcp-x"), None);
    }
}
