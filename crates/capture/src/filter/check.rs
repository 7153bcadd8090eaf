//! Says whether a filter is one for flows, and if not, where it goes wrong.
//!
//! The grammar is that of libpcap, cut down to the terms that flows have: `and` and `or` bind equally and
//! from the left, a bare name or number continues the qualifiers of the term before it, and parentheses
//! hold either a whole expression or several names. What passes here still goes through libpcap, which
//! compiles it and resolves names.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::error::{FilterError, escaped};
use super::lex::{Kind, Token, tokens};
use super::words::{SUPPORTED, nearest, refusal};

/// Longest filter in bytes: more than a person types. Programs have a limit of their own.
pub(super) const FILTER_LENGTH_BYTES_MAX: usize = 4096;

/// Parentheses inside parentheses.
const NESTING_DEPTH_MAX: usize = 64;

/// Checks `filter` and returns its tokens.
pub(super) fn check(filter: &str) -> Result<Vec<Token>, FilterError> {
    if filter.len() > FILTER_LENGTH_BYTES_MAX {
        let message =
            format!("a filter has at most {FILTER_LENGTH_BYTES_MAX} bytes, this one has {}", filter.len());
        return Err(FilterError::new(filter, FILTER_LENGTH_BYTES_MAX, message));
    }
    let tokens = tokens(filter)?;
    if tokens.is_empty() {
        return Ok(tokens);
    }
    let mut parser = Parser { filter, tokens: &tokens, next: 0, depth: 0 };
    parser.expression(None)?;
    if let Some(token) = parser.peek() {
        return Err(parser.unexpected_after_term(token));
    }
    Ok(tokens)
}

/// What kind of name an id is, by the word before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Host,
    Net,
    Port,
    PortRange,
}

/// The qualifiers that an id stands under, kept for the ids that follow it bare.
#[derive(Debug, Clone, Copy)]
struct Qualifiers {
    kind: Type,
    family: Family,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Any,
    V4,
    V6,
}

struct Parser<'a> {
    filter: &'a str,
    tokens: &'a [Token],
    next: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<&'a Token> {
        self.tokens.get(self.next)
    }

    fn peek_kind(&self) -> Option<Kind> {
        self.peek().map(|token| token.kind)
    }

    fn take(&mut self, kind: Kind) -> bool {
        let found = self.peek_kind() == Some(kind);
        self.next += usize::from(found);
        found
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found = self.peek().is_some_and(|t| t.kind == Kind::Word && t.text == word);
        self.next += usize::from(found);
        found
    }

    fn error<T>(&self, at: usize, message: impl Into<String>) -> Result<T, FilterError> {
        Err(FilterError::new(self.filter, at, message))
    }

    fn missing<T>(&self, what: &str) -> Result<T, FilterError> {
        self.error(self.filter.len(), format!("the filter ends where {what} should follow"))
    }

    /// Terms joined by `and` and `or`. `context` is what a bare id would continue; the result is what the
    /// next one continues.
    fn expression(&mut self, mut context: Option<Qualifiers>) -> Result<Option<Qualifiers>, FilterError> {
        context = self.term(context)?;
        while self.take(Kind::And) || self.take(Kind::Or) {
            context = match context {
                Some(qualifiers) if self.ids_follow() => {
                    self.id(qualifiers)?;
                    Some(qualifiers)
                }
                _ => self.term(context)?,
            };
        }
        Ok(context)
    }

    /// Is the next thing, inside any parentheses and negations, a name or number without qualifiers?
    fn ids_follow(&self) -> bool {
        let mut rest =
            self.tokens.iter().skip(self.next).skip_while(|t| matches!(t.kind, Kind::Open | Kind::Not));
        rest.next().is_some_and(|token| match token.kind {
            Kind::Word => !is_word(&token.text) && nearest_is_qualifier(token, rest.next()).is_none(),
            Kind::Quoted | Kind::Number | Kind::Dotted | Kind::Ip6 | Kind::LinkAddress | Kind::BadAddress => {
                true
            }
            _ => false,
        })
    }

    fn term(&mut self, context: Option<Qualifiers>) -> Result<Option<Qualifiers>, FilterError> {
        while self.take(Kind::Not) {}
        let Some(token) = self.peek() else { return self.missing("a term") };
        if self.take(Kind::Open) {
            self.enter(token)?;
            self.expression(context)?;
            self.leave(token)?;
            // As in libpcap, what follows a group continues what stood before it.
            return Ok(context);
        }
        if token.kind != Kind::Word || !is_word(&token.text) {
            return Err(self.not_a_term(token));
        }
        if let Some(refusal) = refusal(&token.text) {
            return self.error(token.at, refusal.message(&token.text));
        }
        if self.take_word("tcp") || self.take_word("ip") || self.take_word("ip6") {
            return self.after_protocol(token);
        }
        self.qualified(token, None).map(Some)
    }

    fn enter(&mut self, token: &Token) -> Result<(), FilterError> {
        self.depth += 1;
        if self.depth > NESTING_DEPTH_MAX {
            return self
                .error(token.at, format!("parentheses are nested more than {NESTING_DEPTH_MAX} deep"));
        }
        Ok(())
    }

    fn leave(&mut self, open: &Token) -> Result<(), FilterError> {
        self.depth -= 1;
        if self.take(Kind::Close) {
            return Ok(());
        }
        match self.peek() {
            Some(token) => Err(self.unexpected_after_term(token)),
            None => self.error(open.at, "this parenthesis is never closed"),
        }
    }

    /// `tcp`, `ip` or `ip6` has been read: it stands alone, or qualifies what follows.
    fn after_protocol(&mut self, protocol: &'a Token) -> Result<Option<Qualifiers>, FilterError> {
        let Some(token) = self.peek() else { return Ok(None) };
        if token.kind == Kind::Operator && token.text == "[" {
            let message = format!(
                "'{}[...]' reads bytes of single packets, and this filter selects whole flows",
                protocol.text
            );
            return self.error(protocol.at, message);
        }
        match (token.kind, token.text.as_str()) {
            (Kind::Word, "host" | "net" | "port" | "portrange" | "src" | "dst") => {
                self.qualified(token, Some(protocol)).map(Some)
            }
            (Kind::Word, word) => match refusal(word) {
                Some(refusal) => self.error(token.at, refusal.message(word)),
                None => Err(self.unexpected_after_term(token)),
            },
            _ => Ok(None),
        }
    }

    /// A direction, a type, or both, and the id they qualify.
    fn qualified(
        &mut self,
        first: &'a Token,
        protocol: Option<&'a Token>,
    ) -> Result<Qualifiers, FilterError> {
        let directed = self.direction()?;
        let word = self.peek();
        let kind = match word.map(|t| (t.kind, t.text.as_str())) {
            Some((Kind::Word, "host")) => Some(Type::Host),
            Some((Kind::Word, "net")) => Some(Type::Net),
            Some((Kind::Word, "port")) => Some(Type::Port),
            Some((Kind::Word, "portrange")) => Some(Type::PortRange),
            Some((Kind::Word, other)) => match refusal(other) {
                Some(refusal) => return self.error(word.map_or(0, |t| t.at), refusal.message(other)),
                None => None,
            },
            _ => None,
        };
        self.next += usize::from(kind.is_some());
        if kind.is_none() && !directed {
            return Err(self.not_a_term(first));
        }
        // `src 10.0.0.1` is a host, as in libpcap.
        let kind = kind.unwrap_or(Type::Host);
        let is_port = matches!(kind, Type::Port | Type::PortRange);
        let family = match protocol.map(|p| p.text.as_str()) {
            Some("tcp") if !is_port => {
                return self
                    .error(first.at, "'tcp' goes with 'port' and 'portrange'; join other terms with 'and'");
            }
            Some(word @ ("ip" | "ip6")) if is_port => {
                let message = format!("'{word}' does not go with ports; join the terms with 'and'");
                return self.error(first.at, message);
            }
            Some("ip") => Family::V4,
            Some("ip6") => Family::V6,
            _ => Family::Any,
        };
        let qualifiers = Qualifiers { kind, family };
        self.id(qualifiers)?;
        Ok(qualifiers)
    }

    /// `src`, `dst`, `src or dst`, `src and dst` and their mirror images.
    fn direction(&mut self) -> Result<bool, FilterError> {
        let other = match (self.take_word("src"), self.take_word("dst")) {
            (true, true) => {
                // Two directions in a row: the caret belongs under the second.
                let at = self.tokens.get(self.next - 1).map_or(0, |t| t.at);
                return self.error(at, "expected 'or' or 'and' between 'src' and 'dst'");
            }
            (true, false) => "dst",
            (false, true) => "src",
            (false, false) => return Ok(false),
        };
        let joined = matches!(self.peek_kind(), Some(Kind::And | Kind::Or));
        let second = self.tokens.get(self.next + 1);
        if joined && second.is_some_and(|t| t.kind == Kind::Word && t.text == other) {
            self.next += 2;
        }
        Ok(true)
    }

    /// One id under its qualifiers, negated or in parentheses.
    fn id(&mut self, qualifiers: Qualifiers) -> Result<(), FilterError> {
        while self.take(Kind::Not) {}
        let Some(token) = self.peek() else { return self.missing(expected(qualifiers.kind)) };
        self.next += 1;
        match token.kind {
            Kind::Open => {
                self.enter(token)?;
                self.id(qualifiers)?;
                while self.take(Kind::And) || self.take(Kind::Or) {
                    self.id(qualifiers)?;
                }
                self.leave(token)
            }
            Kind::Word if is_word(&token.text) => {
                let message = format!(
                    "expected {} after its qualifier; '{}' is a word of the filter language",
                    expected(qualifiers.kind),
                    token.text
                );
                self.error(token.at, message)
            }
            Kind::LinkAddress => self.error(
                token.at,
                format!("'{}' is a link-layer address, which cannot be seen at the cgroup hook", token.text),
            ),
            Kind::BadAddress => self.error(token.at, format!("'{}' is not an IPv6 address", token.text)),
            Kind::Word | Kind::Quoted | Kind::Number | Kind::Dotted | Kind::Ip6 => match qualifiers.kind {
                Type::Port | Type::PortRange => self.port(token, qualifiers.kind),
                _ => self.address(token, qualifiers),
            },
            _ => self.error(
                token.at,
                format!("expected {}, not '{}'", expected(qualifiers.kind), escaped(&token.text)),
            ),
        }
    }

    fn port(&self, token: &Token, kind: Type) -> Result<(), FilterError> {
        let text = token.text.as_str();
        if matches!(token.kind, Kind::Dotted | Kind::Ip6) {
            return self.error(token.at, format!("'{text}' is an address where a port is expected"));
        }
        let ends = text.split_once('-').filter(|(from, to)| is_decimal(from) && is_decimal(to));
        let numbers = match ends {
            Some(_) if kind == Type::Port => {
                return self
                    .error(token.at, format!("'{text}' is a range of ports: write 'portrange {text}'"));
            }
            Some((from, to)) => vec![from, to],
            None if token.kind == Kind::Number => vec![text],
            None => vec![],
        };
        for number in numbers {
            if number_value(number).is_none_or(|value| value > 65_535) {
                return self.error(token.at, format!("'{number}' is not a port: ports go to 65535"));
            }
        }
        Ok(())
    }

    fn address(&mut self, token: &'a Token, qualifiers: Qualifiers) -> Result<(), FilterError> {
        let text = token.text.as_str();
        let (family, wrong) = match token.kind {
            Kind::Ip6 => (Family::V6, Family::V4),
            Kind::Dotted => (Family::V4, Family::V6),
            _ => (Family::Any, Family::Any),
        };
        if family != Family::Any && qualifiers.family == wrong {
            let (have, want) = if family == Family::V6 { ("IPv6", "ip") } else { ("IPv4", "ip6") };
            return self.error(token.at, format!("'{text}' is an {have} address under '{want}'"));
        }
        if token.kind == Kind::Dotted && dotted_value(text).is_none() {
            return self.error(token.at, format!("'{text}' is not an IPv4 address"));
        }
        let Some(mark) =
            self.peek().filter(|t| t.kind == Kind::Slash || (t.kind == Kind::Word && t.text == "mask"))
        else {
            return Ok(());
        };
        self.next += 1;
        if qualifiers.kind == Type::Host {
            return self.error(mark.at, "a host has no mask: write 'net'");
        }
        let value = self.peek();
        self.next += 1;
        if mark.kind == Kind::Slash {
            let bits_max = if family == Family::V6 { 128 } else { 32 };
            let Some(value) = value else { return self.missing("a prefix length") };
            if !matches!(token.kind, Kind::Dotted | Kind::Ip6) {
                let message = format!("'{}' cannot have a prefix length; write an address", escaped(text));
                return self.error(token.at, message);
            }
            let bits =
                number_value(&value.text).filter(|bits| value.kind == Kind::Number && *bits <= bits_max);
            let Some(bits) = bits else {
                let message =
                    format!("expected a prefix length from 0 to {bits_max}, not '{}'", escaped(&value.text));
                return self.error(value.at, message);
            };
            return match network(text, bits) {
                Some(net) => self.error(
                    token.at,
                    format!("'{text}' has bits beyond its /{bits}; the network is {net}/{bits}"),
                ),
                None => Ok(()),
            };
        }
        let Some(value) = value else { return self.missing("a mask") };
        if token.kind != Kind::Dotted {
            return self
                .error(mark.at, "'mask' goes with IPv4 addresses only; write '/' and a prefix length");
        }
        let mask = dotted_value(&value.text).filter(|_| value.kind == Kind::Dotted);
        let Some(mask) = mask else {
            return self.error(value.at, format!("'{}' is not an IPv4 mask", escaped(&value.text)));
        };
        match dotted_value(text) {
            Some(net) if net & !mask != 0 => {
                let net = Ipv4Addr::from(net & mask);
                self.error(token.at, format!("'{text}' has bits beyond its mask; the network is {net}"))
            }
            _ => Ok(()),
        }
    }

    /// Something stands where a term should begin.
    fn not_a_term(&self, token: &Token) -> FilterError {
        let text = escaped(&token.text);
        let followed_by = |kind: Kind| self.tokens.get(self.next + 1).is_some_and(|t| t.kind == kind);
        let message = match token.kind {
            Kind::Word => match nearest(&token.text) {
                Some(word) => {
                    format!("'{text}' is not a term of the filter language; did you mean '{word}'?")
                }
                None => format!(
                    "'{text}' is not a term of the filter language; a name needs 'host', 'net' or 'port' before it"
                ),
            },
            Kind::Number if followed_by(Kind::Operator) => {
                "comparisons ask about single packets, and this filter selects whole flows".to_owned()
            }
            Kind::Number => format!("'{text}' needs a word before it, for instance 'port {text}'"),
            Kind::Dotted | Kind::Ip6 if followed_by(Kind::Slash) => {
                format!("'{text}' needs a word before it, for instance 'net'")
            }
            Kind::Dotted | Kind::Ip6 => {
                format!("'{text}' needs a word before it, for instance 'host {text}'")
            }
            Kind::Quoted => format!("'{text}' needs a word before it, for instance 'host'"),
            Kind::LinkAddress => {
                format!("'{text}' is a link-layer address, which cannot be seen at the cgroup hook")
            }
            Kind::BadAddress => format!("'{text}' is not an IPv6 address"),
            _ => format!("expected a term, not '{text}'"),
        };
        FilterError::new(self.filter, token.at, message)
    }

    /// A term is complete, and something follows that does not join it to another.
    fn unexpected_after_term(&self, token: &Token) -> FilterError {
        let text = escaped(&token.text);
        let message = match token.kind {
            Kind::Close if self.depth == 0 => "this parenthesis was never opened".to_owned(),
            Kind::Operator => {
                "comparisons ask about single packets, and this filter selects whole flows".to_owned()
            }
            Kind::Word if is_word(&token.text) => match refusal(&token.text) {
                Some(refusal) => refusal.message(&token.text),
                None => format!("expected 'and' or 'or' before '{text}'"),
            },
            Kind::Word => match nearest(&token.text) {
                Some(word @ ("and" | "or")) => {
                    format!("expected 'and' or 'or', not '{text}'; did you mean '{word}'?")
                }
                _ => format!("expected 'and' or 'or' before '{text}'"),
            },
            _ => format!("expected 'and' or 'or' before '{text}'"),
        };
        FilterError::new(self.filter, token.at, message)
    }
}

/// A misspelt qualifier is followed by what it should qualify: `port 80 or hots 10.0.0.1`.
fn nearest_is_qualifier(token: &Token, after: Option<&Token>) -> Option<&'static str> {
    let followed = after.is_some_and(|t| {
        matches!(
            t.kind,
            Kind::Word | Kind::Quoted | Kind::Number | Kind::Dotted | Kind::Ip6 | Kind::LinkAddress
        ) && t.text != "mask"
    });
    nearest(&token.text).filter(|_| followed)
}

fn is_word(text: &str) -> bool {
    SUPPORTED.contains(&text) || refusal(text).is_some()
}

fn expected(kind: Type) -> &'static str {
    match kind {
        Type::Host => "an address or a host name",
        Type::Net => "a network",
        Type::Port => "a port",
        Type::PortRange => "a range of ports",
    }
}

fn is_decimal(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// The value of two to four numbers with dots; missing ones are 0, as in `net 10.1`.
fn dotted_value(text: &str) -> Option<u32> {
    let mut octets = [0u8; 4];
    for (i, part) in text.split('.').enumerate() {
        *octets.get_mut(i)? = part.parse().ok().filter(|_| is_decimal(part))?;
    }
    Some(u32::from_be_bytes(octets))
}

/// The network of an address and its prefix length, if the address has bits beyond it.
fn network(text: &str, bits: u32) -> Option<IpAddr> {
    let (given, net): (IpAddr, IpAddr) = if let Some(value) = dotted_value(text) {
        let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
        (Ipv4Addr::from(value).into(), Ipv4Addr::from(value & mask).into())
    } else {
        let value = text.parse::<Ipv6Addr>().ok()?.to_bits();
        let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
        (Ipv6Addr::from(value).into(), Ipv6Addr::from(value & mask).into())
    };
    (given != net).then_some(net)
}

/// The value of a number as libpcap reads it; `None` if it has none in 32 bits.
fn number_value(text: &str) -> Option<u32> {
    if let Some(hex) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        u32::from_str_radix(hex, 16).ok()
    } else if text.len() > 1 && text.starts_with('0') {
        u32::from_str_radix(text, 8).ok()
    } else {
        text.parse().ok()
    }
}
