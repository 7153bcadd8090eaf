//! Cuts a filter into tokens with byte positions, by the same rules as libpcap's scanner: the longest
//! match wins, and words are known by their exact case.
//!
//! libpcap stays the compiler. This scanner exists because libpcap says only 'syntax error', never where.

use std::net::Ipv6Addr;

use super::error::{FilterError, escaped};

/// One token and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    /// Byte position of its first byte.
    pub(super) at: usize,
    /// The bytes as written.
    pub(super) text: String,
    /// What it is.
    pub(super) kind: Kind,
}

/// What a token is. Words are told apart from names by the checker, which knows the words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A word of the language, or a name of a host, network, service.
    Word,
    /// A name that was written with a backslash, hence never a word of the language.
    Quoted,
    /// A number: decimal, octal (leading 0) or hexadecimal (leading 0x).
    Number,
    /// Two to four numbers with dots.
    Dotted,
    /// An IPv6 address.
    Ip6,
    /// A link-layer address, or an ARCnet one (`$5`).
    LinkAddress,
    /// Something with colons that is no address.
    BadAddress,
    /// `and`, `&&`
    And,
    /// `or`, `||`
    Or,
    /// `not`, `!`
    Not,
    /// `(`
    Open,
    /// `)`
    Close,
    /// `/`
    Slash,
    /// `[`, `]`, `:`, comparison and arithmetic.
    Operator,
}

/// Splits `filter`; the error is at the first byte that begins no token.
pub(super) fn tokens(filter: &str) -> Result<Vec<Token>, FilterError> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(rest) = filter.get(at..) {
        let Some(first) = rest.chars().next() else { break };
        if matches!(first, ' ' | '\r' | '\n' | '\t') {
            at += 1;
            continue;
        }
        let Some((len, kind)) = longest(rest, first) else {
            let message = format!("'{}' has no meaning in the filter language", escaped(&first.to_string()));
            return Err(FilterError::new(filter, at, message));
        };
        let text = rest.get(..len).unwrap_or(rest).to_owned();
        at += text.len();
        tokens.push(Token { at: at - text.len(), text, kind });
    }
    Ok(tokens)
}

fn longest(rest: &str, first: char) -> Option<(usize, Kind)> {
    if first.is_ascii_alphanumeric() || rest.starts_with("::") {
        let with_colons = run(rest, |c| c.is_ascii_alphanumeric() || matches!(c, ':' | '.'));
        let text = rest.get(..with_colons)?;
        if text.contains(':') {
            return Some((with_colons, address_kind(text)));
        }
        // A name may hold '-' and '_' but does not end with them.
        let name = rest.get(..run(rest, |c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')))?;
        let name = name.trim_end_matches(['-', '_']);
        return Some((name.len(), word_kind(name)));
    }
    if first == '\\' {
        let len = 1 + run(rest.get(1..)?, |c| !matches!(c, ' ' | '!' | '(' | ')' | '\n' | '\t'));
        return (len > 1).then_some((len, Kind::Quoted));
    }
    if first == '$' {
        let digits = run(rest.get(1..)?, |c| c.is_ascii_hexdigit()).min(2);
        return (digits > 0).then_some((1 + digits, Kind::LinkAddress));
    }
    let two = rest.get(..2).unwrap_or_default();
    match two {
        "&&" => return Some((2, Kind::And)),
        "||" => return Some((2, Kind::Or)),
        ">=" | "<=" | "!=" | "==" | "<<" | ">>" => return Some((2, Kind::Operator)),
        _ => {}
    }
    let kind = match first {
        '!' => Kind::Not,
        '(' => Kind::Open,
        ')' => Kind::Close,
        '/' => Kind::Slash,
        '+' | '-' | '*' | '%' | ':' | '[' | ']' | '<' | '>' | '&' | '|' | '^' | '=' => Kind::Operator,
        _ => return None,
    };
    Some((1, kind))
}

fn word_kind(text: &str) -> Kind {
    match text {
        "and" => Kind::And,
        "or" => Kind::Or,
        "not" => Kind::Not,
        _ if is_link_address(text) => Kind::LinkAddress,
        _ if is_number(text) => Kind::Number,
        _ if is_dotted(text) => Kind::Dotted,
        _ => Kind::Word,
    }
}

fn address_kind(text: &str) -> Kind {
    if text.parse::<Ipv6Addr>().is_ok() {
        Kind::Ip6
    } else if is_link_address(text) {
        Kind::LinkAddress
    } else {
        Kind::BadAddress
    }
}

fn is_number(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let hex = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    digits(text) || hex.is_some_and(|h| !h.is_empty() && h.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn is_dotted(text: &str) -> bool {
    (2..=4).contains(&text.split('.').count()) && text.split('.').all(is_number)
}

/// The spellings of link-layer addresses that libpcap knows: six groups, three groups, or twelve digits.
fn is_link_address(text: &str) -> bool {
    let groups = |by: char, count: usize, digits: std::ops::RangeInclusive<usize>| {
        text.split(by).count() == count
            && text.split(by).all(|g| digits.contains(&g.len()) && g.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    groups(':', 6, 1..=2)
        || groups('-', 6, 1..=2)
        || groups('.', 6, 1..=2)
        || groups('.', 3, 4..=4)
        || (text.len() == 12 && groups('.', 1, 12..=12))
}

fn run(text: &str, mut inside: impl FnMut(char) -> bool) -> usize {
    text.find(|c| !inside(c)).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(filter: &str) -> Vec<(usize, Kind)> {
        tokens(filter).unwrap().into_iter().map(|t| (t.at, t.kind)).collect()
    }

    #[test]
    fn tokens_carry_their_byte_positions() {
        assert_eq!(
            kinds("src net 10.0.0.0/8 && !(dst port http)"),
            [
                (0, Kind::Word),
                (4, Kind::Word),
                (8, Kind::Dotted),
                (16, Kind::Slash),
                (17, Kind::Number),
                (19, Kind::And),
                (22, Kind::Not),
                (23, Kind::Open),
                (24, Kind::Word),
                (28, Kind::Word),
                (33, Kind::Word),
                (37, Kind::Close),
            ]
        );
    }

    #[test]
    fn addresses_and_names_are_told_apart() {
        for (text, kind) in [
            ("2001:db8::", Kind::Ip6),
            ("::1", Kind::Ip6),
            ("::ffff:10.0.0.1", Kind::Ip6),
            ("1:2:3:4:5:6:7:8:9", Kind::BadAddress),
            ("02:00:5e:10:00:01", Kind::LinkAddress),
            ("deadbeefcafe", Kind::LinkAddress),
            ("1234.5678.9abc", Kind::LinkAddress),
            ("$a5", Kind::LinkAddress),
            ("10.1", Kind::Dotted),
            ("10.1.2.3.4", Kind::Word),
            ("0x1F", Kind::Number),
            ("8080-8090", Kind::Word),
            ("my-host_1.example", Kind::Word),
            ("\\tcp", Kind::Quoted),
        ] {
            assert_eq!(kinds(text), [(0, kind)], "{text}");
        }
    }

    #[test]
    fn names_do_not_end_with_a_dash() {
        assert_eq!(kinds("80-"), [(0, Kind::Number), (2, Kind::Operator)]);
    }

    #[test]
    fn bytes_that_begin_no_token_are_errors_where_they_stand() {
        for (filter, at) in [("port 80 #", 8), ("port é", 5), ("\u{0}", 0), ("port \\", 5), ("'x'", 0)] {
            assert_eq!(tokens(filter).unwrap_err().at, at, "{filter:?}");
        }
    }
}
