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
        self.start == other.start && self.lines == other.lines && self.trailers == other.trailers
    }

    /// The first place where two messages differ, for people.
    pub fn difference(&self, other: &Self) -> String {
        if self.start != other.start {
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
        let at = ours.iter().zip(&theirs).take_while(|(a, b)| a == b).count();
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
