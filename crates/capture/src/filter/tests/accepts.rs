//! Which filters are taken, and where the caret stands under those that are not.

use crate::filter::Filter;

const GOOD: &[&str] = &[
    "",
    "  \t\n",
    "tcp",
    "ip",
    "ip6",
    "ip or ip6",
    "ip and ip6",
    "host 10.0.0.1",
    "host ::1",
    "src 10.0.0.1",
    "src or dst 10.0.0.1",
    "dst and src net 10.0.0.0/8",
    "src host 10.0.0.1 and dst host 10.0.0.2",
    "net 10.0.0.0/8",
    "net 10",
    "net 10.1",
    "net 192.168.0.0 mask 255.255.0.0",
    "src net 2001:db8::/32",
    "net 2001:db8::/32",
    "net 0.0.0.0/0",
    "net ::/0",
    "port 80 or 443",
    "port (80 or 443)",
    "port (80 or (443 or 8080))",
    "port not 80",
    "not port 80 and not 443",
    "! port 80",
    "not (port 80 || port 443) && net 10.0.0.0/8",
    "port http",
    "tcp port 80",
    "tcp src port http or https",
    "tcp portrange 8000-8080",
    "portrange 80",
    "dst portrange http-8080",
    "ip host 10.0.0.1",
    "ip6 net 2001:db8::/32",
    "ip src 10.0.0.1 or 10.0.0.2",
    "host localhost",
    "port 0x50",
    "(((tcp)))",
    "((host 10.0.0.1 or port 80) and tcp)",
    "tcp and (port 80 or port 81) and not host 127.0.0.1",
    "host 10.0.0.1 and (port 80) or 10.0.0.2",
    "src net 10.0.0.0/8 and dst port 9080",
];

#[test]
fn flow_terms_are_taken() {
    for filter in GOOD {
        if let Err(error) = Filter::parse(filter) {
            panic!("{filter:?}: {error}");
        }
    }
}

/// Filter, place of the caret, part of the message.
const BAD: &[(&str, usize, &str)] = &[
    ("vlan", 0, "'vlan' cannot be seen at the cgroup hook"),
    ("port 80 and vlan 5", 12, "cgroup hook"),
    ("ether host 02:00:5e:10:00:01", 0, "cgroup hook"),
    ("host 02:00:5e:10:00:01", 5, "link-layer"),
    ("arp", 0, "cgroup hook"),
    ("mpls", 0, "cgroup hook"),
    ("pppoes", 0, "cgroup hook"),
    ("gateway gw", 0, "cgroup hook"),
    ("src gateway gw", 4, "cgroup hook"),
    ("udp port 53", 0, "TCP"),
    ("not icmp", 4, "TCP"),
    ("tcp or udp", 7, "TCP"),
    ("tcp port 80 or udp", 15, "TCP"),
    ("greater 100", 0, "single packets"),
    ("len > 5", 0, "single packets"),
    ("5 > 4", 0, "single packets"),
    ("tcp[13] = 2", 0, "single packets"),
    ("port 80 and tcp[tcpflags] & tcp-syn != 0", 12, "single packets"),
    ("ip broadcast", 3, "single packets"),
    ("inbound", 0, "single packets"),
    ("ip proto 6", 3, "write 'tcp'"),
    ("proto tcp", 0, "write 'tcp'"),
    ("ifname eth0", 0, "firewall"),
    ("prot 80", 0, "did you mean 'port'?"),
    ("tcp and hots 10.0.0.1", 8, "did you mean 'host'?"),
    ("port 80 or hots 10.0.0.1", 11, "did you mean 'host'?"),
    ("port 80 AND host 10.0.0.1", 8, "did you mean 'and'?"),
    ("banana", 0, "not a term"),
    ("10.0.0.1", 0, "'host 10.0.0.1'"),
    ("10.0.0.0/8", 0, "'net'"),
    ("80", 0, "'port 80'"),
    ("tcp or 443", 7, "'port 443'"),
    ("tcp port", 8, "a port"),
    ("port", 4, "a port"),
    ("port 80 or", 10, "ends"),
    ("port 80 and )", 12, "expected a term"),
    ("port tcp", 5, "word of the filter language"),
    ("host port 80", 5, "word of the filter language"),
    ("port 80 port 90", 8, "'and' or 'or'"),
    ("port 80 90", 8, "'and' or 'or'"),
    ("host 10.0.0.1 80", 14, "'and' or 'or'"),
    ("(port 80", 0, "never closed"),
    ("port (80 or 90", 5, "never closed"),
    ("port 80)", 7, "never opened"),
    ("()", 1, "expected a term"),
    ("port 70000", 5, "65535"),
    ("portrange 80-70000", 10, "65535"),
    ("port 80-90", 5, "portrange 80-90"),
    ("port 10.0.0.1", 5, "address where a port"),
    ("host 10.0.0.300", 5, "not an IPv4 address"),
    ("host 1:2:3", 5, "not an IPv6 address"),
    ("host 10.0.0.0/8", 13, "write 'net'"),
    ("net 10.0.0.0/33", 13, "prefix length"),
    ("net 10.0.0.0/", 13, "prefix length"),
    ("net 2001:db8::/129", 15, "prefix length"),
    ("net 2001:db8:: mask 255.0.0.0", 15, "IPv4"),
    ("net 10.0.0.0 mask 255.0.0.256", 18, "not an IPv4 mask"),
    ("net 10.0.0.1/8", 4, "10.0.0.0/8"),
    ("net 10.0.0.1 mask 255.0.0.0", 4, "10.0.0.0"),
    ("net 10.1/8", 4, "10.0.0.0/8"),
    ("net 2001:db8::1/32", 4, "2001:db8::/32"),
    ("src 10.0.0.0/8", 12, "write 'net'"),
    ("net localhost/8", 4, "write an address"),
    ("net 10/8", 4, "write an address"),
    ("tcp host 10.0.0.1", 4, "join"),
    ("ip port 80", 3, "join"),
    ("ip host ::1", 8, "IPv6 address under 'ip'"),
    ("ip6 host 10.0.0.1", 9, "IPv4 address under 'ip6'"),
    ("src dst port 80", 4, "'or' or 'and'"),
    ("src or port 80", 4, "an address or a host name"),
    ("port nosuchservice", 5, "not a service"),
    ("tcp and port nosuchservice", 13, "not a service"),
    ("net nosuchnetwork", 4, "not a network"),
    // Too long for a name, so that no name server is asked.
    ("host a23456789b23456789c23456789d23456789e23456789f23456789g23456789", 5, "does not resolve"),
    ("port 80 \u{1b}[2J", 8, "no meaning"),
    ("port 80 \0", 8, "no meaning"),
    ("port \\\u{1b}", 5, ""),
];

#[test]
fn errors_stand_under_the_offending_term() {
    let mut wrong = String::new();
    for (filter, at, part) in BAD {
        match Filter::parse(filter) {
            Ok(_) => wrong += &format!("{filter:?} was taken\n"),
            Err(error) => {
                if error.at != *at || !error.message.contains(part) {
                    wrong += &format!("{filter:?} wants {at} {part:?}\n{error}\n");
                }
                assert!(!error.to_string().bytes().any(|b| b < 0x20 && b != b'\n'));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn nesting_and_length_have_limits() {
    let nested = |depth: usize| format!("{}tcp{}", "(".repeat(depth), ")".repeat(depth));
    assert!(Filter::parse(&nested(64)).is_ok());
    assert!(Filter::parse(&nested(65)).is_err());
    assert!(Filter::parse(&format!("{}tcp", "not ".repeat(1000))).is_ok());
    assert!(Filter::parse(&" ".repeat(5000)).is_err());
    let ports = (1000..1400).map(|port| port.to_string()).collect::<Vec<_>>().join(" or ");
    let error = Filter::parse(&format!("port {ports}")).unwrap_err();
    assert!(error.message.contains("too long"), "{error}");
}
