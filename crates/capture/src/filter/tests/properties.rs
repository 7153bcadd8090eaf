//! Random filters and random programs: all ways of asking give the same answer.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use proptest::prelude::*;

use super::{emitted, verdict_in_vm};
use crate::filter::classic::{self, SCRATCH_WORDS};
use crate::filter::{ClassicInsn, Filter, HEADER_SIZE_BYTES, flow_header};

/// The filter as a tree, whose meaning is a few lines; the tests' own idea of the language.
#[derive(Debug, Clone)]
pub(super) enum Expr {
    Protocol(&'static str),
    Host(Direction, Vec<IpAddr>),
    Net(Direction, IpAddr, u8),
    Port { direction: Direction, tcp: bool, ports: Vec<u16> },
    PortRange(Direction, u16, u16),
    Not(Box<Expr>),
    Joined(Box<Expr>, &'static str, Box<Expr>),
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Direction {
    Any,
    Src,
    Dst,
    Either,
    Both,
}

impl Direction {
    fn text(self) -> &'static str {
        match self {
            Direction::Any => "",
            Direction::Src => "src ",
            Direction::Dst => "dst ",
            Direction::Either => "src or dst ",
            Direction::Both => "dst and src ",
        }
    }

    fn holds(self, src: bool, dst: bool) -> bool {
        match self {
            Direction::Any | Direction::Either => src || dst,
            Direction::Src => src,
            Direction::Dst => dst,
            Direction::Both => src && dst,
        }
    }
}

impl Expr {
    pub(super) fn matches_packet(&self, src: SocketAddr, dst: SocketAddr) -> bool {
        match self {
            Expr::Protocol("ip") => src.is_ipv4(),
            Expr::Protocol("ip6") => src.is_ipv6(),
            Expr::Protocol(_) => true,
            Expr::Host(direction, hosts) => {
                hosts.iter().any(|host| direction.holds(src.ip() == *host, dst.ip() == *host))
            }
            Expr::Net(direction, net, bits) => {
                direction.holds(in_net(src.ip(), *net, *bits), in_net(dst.ip(), *net, *bits))
            }
            Expr::Port { direction, ports, .. } => {
                ports.iter().any(|port| direction.holds(src.port() == *port, dst.port() == *port))
            }
            Expr::PortRange(direction, from, to) => {
                direction.holds((*from..=*to).contains(&src.port()), (*from..=*to).contains(&dst.port()))
            }
            Expr::Not(inner) => !inner.matches_packet(src, dst),
            Expr::Joined(left, "and" | "&&", right) => {
                left.matches_packet(src, dst) && right.matches_packet(src, dst)
            }
            Expr::Joined(left, _, right) => left.matches_packet(src, dst) || right.matches_packet(src, dst),
        }
    }

    pub(super) fn matches_flow(&self, src: SocketAddr, dst: SocketAddr) -> bool {
        self.matches_packet(src, dst) || self.matches_packet(dst, src)
    }

    fn is_atom(&self) -> bool {
        match self {
            Expr::Joined(..) => false,
            Expr::Host(_, ids) => ids.len() == 1,
            Expr::Port { ports, .. } => ports.len() == 1,
            _ => true,
        }
    }
}

fn in_net(ip: IpAddr, net: IpAddr, bits: u8) -> bool {
    let (ip, net, width) = match (ip, net) {
        (IpAddr::V4(ip), IpAddr::V4(net)) => (u128::from(ip.to_bits()), u128::from(net.to_bits()), 32),
        (IpAddr::V6(ip), IpAddr::V6(net)) => (ip.to_bits(), net.to_bits(), 128),
        _ => return false,
    };
    (ip ^ net).checked_shr(width - u32::from(bits)).unwrap_or(0) == 0
}

/// `and` and `or` bind equally and from the left, so only the right side of a join needs parentheses.
impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn list(f: &mut fmt::Formatter<'_>, ids: impl Iterator<Item = String>) -> fmt::Result {
            f.write_str(&ids.collect::<Vec<_>>().join(" or "))
        }
        match self {
            Expr::Protocol(word) => f.write_str(word),
            Expr::Host(direction, hosts) => {
                write!(f, "{}host ", direction.text())?;
                list(f, hosts.iter().map(|h| h.to_string()))
            }
            Expr::Net(direction, net, bits) => write!(f, "{}net {net}/{bits}", direction.text()),
            Expr::Port { direction, tcp, ports } => {
                write!(f, "{}{}port ", if *tcp { "tcp " } else { "" }, direction.text())?;
                list(f, ports.iter().map(|p| p.to_string()))
            }
            Expr::PortRange(direction, from, to) => write!(f, "{}portrange {from}-{to}", direction.text()),
            Expr::Not(inner) if inner.is_atom() => write!(f, "not {inner}"),
            Expr::Not(inner) => write!(f, "!({inner})"),
            Expr::Joined(left, op, right) if right.is_atom() => write!(f, "{left} {op} {right}"),
            Expr::Joined(left, op, right) => write!(f, "{left} {op} ({right})"),
        }
    }
}

fn ip() -> impl Strategy<Value = IpAddr> {
    let pool =
        ["10.0.0.1", "10.0.0.2", "10.0.1.1", "192.168.7.9", "127.0.0.1", "2001:db8::1", "2001:db8::2", "::1"];
    prop::sample::select(pool.map(|text| text.parse().unwrap()).to_vec())
}

fn port() -> impl Strategy<Value = u16> {
    prop::sample::select(vec![0u16, 80, 81, 443, 8080, 51234, 65535])
}

fn direction() -> impl Strategy<Value = Direction> {
    use Direction::*;
    prop::sample::select(vec![Any, Any, Src, Dst, Either, Both])
}

fn net() -> impl Strategy<Value = (IpAddr, u8)> {
    (ip(), 0u8..=128).prop_map(|(ip, bits)| match ip {
        IpAddr::V4(ip) => {
            let bits = bits % 33;
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            (IpAddr::V4((ip.to_bits() & mask).into()), bits)
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            (IpAddr::V6((ip.to_bits() & mask).into()), bits)
        }
    })
}

pub(super) fn expr() -> impl Strategy<Value = Expr> {
    let term = prop_oneof![
        1 => prop::sample::select(vec!["tcp", "ip", "ip6"]).prop_map(Expr::Protocol),
        3 => (direction(), prop::collection::vec(ip(), 1..4)).prop_map(|(d, ids)| Expr::Host(d, ids)),
        3 => (direction(), net()).prop_map(|(d, (ip, bits))| Expr::Net(d, ip, bits)),
        3 => (direction(), any::<bool>(), prop::collection::vec(port(), 1..4))
            .prop_map(|(direction, tcp, ports)| Expr::Port { direction, tcp, ports }),
        2 => (direction(), port(), port()).prop_map(|(d, a, b)| Expr::PortRange(d, a.min(b), a.max(b))),
    ];
    term.prop_recursive(4, 12, 2, |inner| {
        prop_oneof![
            1 => inner.clone().prop_map(|e| Expr::Not(e.into())),
            3 => (inner.clone(), prop::sample::select(vec!["and", "or", "&&", "||"]), inner)
                .prop_map(|(l, op, r)| Expr::Joined(l.into(), op, r.into())),
        ]
    })
}

pub(super) fn tuple() -> impl Strategy<Value = (SocketAddr, SocketAddr)> {
    (ip(), ip(), port(), port()).prop_filter_map("one family", |(a, b, p, q)| {
        (a.is_ipv4() == b.is_ipv4()).then_some((SocketAddr::new(a, p), SocketAddr::new(b, q)))
    })
}

/// Any program that passes the check, of all operations, with loads that are often inside.
pub(super) fn program() -> impl Strategy<Value = Vec<ClassicInsn>> {
    #[rustfmt::skip]
    let codes = vec![
        0x00u16, 0x80, 0x60, 0x20, 0x28, 0x30, 0x40, 0x48, 0x50, 0x01, 0x81, 0x61, 0xb1, 0x02, 0x03, 0x84,
        0x04, 0x0c, 0x14, 0x1c, 0x24, 0x2c, 0x34, 0x3c, 0x44, 0x4c, 0x54, 0x5c, 0x64, 0x6c, 0x74, 0x7c,
        0x94, 0x9c, 0xa4, 0xac, 0x05, 0x15, 0x1d, 0x25, 0x2d, 0x35, 0x3d, 0x45, 0x4d, 0x06, 0x16, 0x07, 0x87,
        // Once more, what makes long paths.
        0x15, 0x1d, 0x45, 0x30, 0x28, 0x50, 0x48, 0x07,
    ];
    let k =
        prop_oneof![6 => 0u32..50, 1 => any::<u32>(), 1 => prop::sample::select(vec![31, 32, 33, u32::MAX])];
    let insn = (prop::sample::select(codes), 0u8..6, 0u8..6, k);
    prop::collection::vec(insn, 0..40).prop_map(|rows| {
        let n = rows.len();
        let mut program: Vec<ClassicInsn> = rows
            .into_iter()
            .enumerate()
            .map(|(at, (code, jt, jf, k))| {
                let room = n - at - 1;
                let k = match code {
                    0x60 | 0x61 | 0x02 | 0x03 => k % SCRATCH_WORDS as u32,
                    0x34 | 0x94 => k.max(1),
                    0x05 => k % (room as u32 + 1),
                    _ => k,
                };
                ClassicInsn { code, jt: jt.min(room as u8), jf: jf.min(room as u8), k }
            })
            .collect();
        program.push(ClassicInsn { code: 0x16, jt: 0, jf: 0, k: 0 });
        program
    })
}

pub(super) fn header() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), HEADER_SIZE_BYTES)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn filters_mean_what_they_say(expr in expr(), tuples in prop::collection::vec(tuple(), 1..8)) {
        let text = expr.to_string();
        let filter = Filter::parse(&text).map_err(|error| TestCaseError::fail(error.to_string()))?;
        let insns = emitted(filter.insns());
        for (src, dst) in tuples {
            let wanted = expr.matches_flow(src, dst);
            prop_assert_eq!(
                filter.matches_tuple((src.ip(), src.port()), (dst.ip(), dst.port())), wanted, "{} {} {}", text, src, dst
            );
            let (forward, mirrored) = (flow_header(src, dst).unwrap(), flow_header(dst, src).unwrap());
            prop_assert_eq!(verdict_in_vm(&insns, &forward, &mirrored), wanted, "{} {} {}", text, src, dst);
        }
    }

    #[test]
    fn translation_keeps_the_meaning_of_any_program(program in program(), forward in header(), mirrored in header()) {
        let ops = classic::check(&program).unwrap();
        let wanted = classic::run(&ops, &forward, forward.len() as u32) != 0 || classic::run(&ops, &mirrored, mirrored.len() as u32) != 0;
        prop_assert_eq!(verdict_in_vm(&emitted(&program), &forward, &mirrored), wanted);
    }

    #[test]
    fn any_text_is_a_filter_or_an_error_with_a_place(text in "\\PC{0,40}") {
        if let Err(error) = super::super::check::check(&text) {
            prop_assert!(text.is_char_boundary(error.at));
            prop_assert!(error.to_string().bytes().all(|b| b == b'\n' || (0x20..0x7f).contains(&b)));
        }
    }

    /// What the check takes is no syntax error to libpcap, and what libpcap takes passes the check. The words
    /// come such that no name can need DNS.
    #[test]
    fn the_check_knows_the_grammar_of_libpcap(
        words in prop::collection::vec(prop::sample::select(vec![
            "host", "net", "port", "portrange", "src", "dst", "tcp", "ip", "ip6", "and", "or", "not", "(", ")",
            "10.0.0.1", "10.0.0.0/8", "::1", "80", "portrange 80-90", "port http", "localhost", "and", "or", "port 80", "mask",
            "255.0.0.0", "host 10.0.0.1",
        ]), 1..9)
    ) {
        let text = words.join(" ");
        let checked = super::super::check::check(&text);
        let libpcap = pcap::Capture::dead(pcap::Linktype(12)).unwrap().compile(&text, false);
        match (checked, libpcap) {
            (Ok(_), Err(pcap::Error::PcapError(error))) => {
                prop_assert!(!error.contains("syntax error"), "{} {}", text, error);
            }
            (Err(error), Ok(_)) => prop_assert!(false, "libpcap takes it: {}", error),
            _ => {}
        }
    }
}

#[test]
fn mapped_addresses_are_ipv4_and_mixed_ends_are_no_flow() {
    let filter = Filter::parse("ip and src 10.0.0.1").unwrap();
    let (v4, mapped): (IpAddr, IpAddr) = ("10.0.0.1".parse().unwrap(), "::ffff:10.0.0.2".parse().unwrap());
    assert!(filter.matches_tuple((v4, 1), (mapped, 2)));
    assert!(filter.matches_tuple((mapped, 2), (v4, 1)));
    assert!(!Filter::parse("").unwrap().matches_tuple((v4, 1), ("::1".parse().unwrap(), 2)));
}

/// libpcap's optimiser gave a program that selects this flow.
#[test]
fn tests_of_ports_after_other_tests_of_ports_are_kept() {
    let filter = Filter::parse("src or dst port 81 or 0 && host 2001:db8::1 or !(port 81 or 65535)").unwrap();
    let ip: IpAddr = "2001:db8::1".parse().unwrap();
    assert!(!filter.matches_tuple((ip, 80), (ip, 65535)));
}
