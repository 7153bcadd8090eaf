//! What is compared: messages, as one reader or the other found them.

use std::fmt;

/// Names and values of field lines, in order.
pub type Lines = Vec<(Vec<u8>, Vec<u8>)>;

/// An end of a connection.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct End {
    pub ip: String,
    pub port: u16,
}

/// A direction of a connection, and for HTTP/2 the stream: within it order is told.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Key {
    pub from: End,
    pub to: End,
    pub stream: Option<u64>,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to, stream } = self;
        write!(f, "{}|{}>{}|{}", from.ip, from.port, to.ip, to.port)?;
        stream.map_or(Ok(()), |stream| write!(f, "#{stream}"))
    }
}

/// A start-line. HTTP/2 has pseudo-header fields among its lines instead.
#[derive(Clone, PartialEq, Eq, Hash, Default, Debug)]
pub enum Start {
    #[default]
    None,
    /// Method and target.
    Request(Vec<u8>, Vec<u8>),
    /// Status and reason.
    Status(u16, Vec<u8>),
}

impl Start {
    /// A status-line. Records do not keep the reasons of interim responses.
    pub fn status(status: u16, reason: Vec<u8>) -> Self {
        Self::Status(status, if status / 100 == 1 { Vec::new() } else { reason })
    }
}

/// A message.
#[derive(Clone, Default, Debug)]
pub struct Message {
    pub start: Start,
    pub lines: Lines,
    pub trailers: Lines,
    /// Packet in which it stands; of tshark the one in which it ends.
    pub frame: u64,
}

impl Message {
    pub fn equals(&self, other: &Self) -> bool {
        same_start(&self.start, &other.start)
            && same_lines(&self.lines, &other.lines)
            && same_lines(&self.trailers, &other.trailers)
    }

    /// The first place where two messages differ, for people.
    pub fn difference(&self, other: &Self) -> String {
        if !same_start(&self.start, &other.start) {
            return format!("{} / {}", self.start, other.start);
        }
        let all = |message: &Self| -> Lines {
            message
                .lines
                .iter()
                .chain([&(b"--".to_vec(), Vec::new())])
                .chain(&message.trailers)
                .cloned()
                .collect()
        };
        let (ours, theirs) = (all(self), all(other));
        let at = ours.iter().zip(&theirs).take_while(|(a, b)| same(&a.0, &b.0) && same(&a.1, &b.1)).count();
        let show = |lines: &Lines| {
            lines
                .get(at)
                .map_or("nothing".to_string(), |(n, v)| format!("{}: {}", n.escape_ascii(), v.escape_ascii()))
        };
        format!("{} [{at}] {} / {}", self.start, show(&ours), show(&theirs))
    }
}

impl fmt::Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("HTTP/2"),
            Self::Request(method, target) => write!(f, "{} {}", method.escape_ascii(), target.escape_ascii()),
            Self::Status(status, reason) => write!(f, "{status} {}", reason.escape_ascii()),
        }
    }
}

fn same_start(ours: &Start, theirs: &Start) -> bool {
    match (ours, theirs) {
        (Start::Request(method, target), Start::Request(method2, target2)) => {
            method == method2 && same(target, target2)
        }
        _ => ours == theirs,
    }
}

fn same_lines(ours: &Lines, theirs: &Lines) -> bool {
    ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(a, b)| same(&a.0, &b.0) && same(&a.1, &b.1))
}

/// Ours may have fingerprints in the place of secrets.
fn same(ours: &[u8], theirs: &[u8]) -> bool {
    const MARK: &[u8] = b"hmac:0:";
    const DIGITS: usize = 16;
    let Some(at) = ours.windows(MARK.len()).position(|w| w == MARK) else { return ours == theirs };
    let Some(theirs) = theirs.strip_prefix(&ours[..at]) else { return false };
    let rest = ours.get(at + MARK.len() + DIGITS..).unwrap_or(&[]);
    (0..=theirs.len()).any(|secret| same(rest, &theirs[secret..]))
}
