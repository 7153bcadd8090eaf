//! Key logs: the file that browsers, curl and servers write when `SSLKEYLOGFILE` is set (draft-ietf-tls-keylogfile).
//!
//! A line is a label, the random of the ClientHello and a secret, the latter two in hexadecimal digits. Secrets live in
//! boxes of their own, so that neither a growing table nor a move leaves a copy behind, and are wiped when the log is
//! dropped. Nothing here can be printed but counts.

use std::collections::HashMap;
use std::fmt;

use zeroize::Zeroize;

/// Most connections whose secrets are kept, about 50 MB; lines for further ones are counted.
pub const KEYLOG_CONNECTIONS_MAX: usize = 131_072;

/// Longest secret: the master secret of TLS 1.2, or one of the length of SHA-384.
pub(crate) const SECRET_BYTES_MAX: usize = 48;

/// The random of a ClientHello, by which connections are told apart.
pub(crate) type Random = [u8; 32];

/// A secret, wiped when it is dropped.
#[derive(Clone)]
pub(crate) struct Secret {
    bytes: [u8; SECRET_BYTES_MAX],
    len: u8,
}

impl Secret {
    /// A secret of so many bytes that are yet to be filled in.
    pub(crate) fn zero(len: usize) -> Self {
        Self { bytes: [0; SECRET_BYTES_MAX], len: len.min(SECRET_BYTES_MAX) as u8 }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    pub(crate) fn as_mut_bytes(&mut self) -> &mut [u8] {
        &mut self.bytes[..usize::from(self.len)]
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

/// What the log holds for one connection.
#[derive(Default)]
pub(crate) struct Secrets {
    /// TLS 1.2: the master secret.
    pub(crate) master: Option<Secret>,
    /// TLS 1.3: of 0-RTT data.
    pub(crate) client_early: Option<Secret>,
    /// TLS 1.3: of the handshake, from the client.
    pub(crate) client_handshake: Option<Secret>,
    /// TLS 1.3: of the handshake, from the server.
    pub(crate) server_handshake: Option<Secret>,
    /// TLS 1.3: of the first application data from the client.
    pub(crate) client_traffic: Option<Secret>,
    /// TLS 1.3: of the first application data from the server.
    pub(crate) server_traffic: Option<Secret>,
}

impl Secrets {
    fn slot(&mut self, label: Label) -> &mut Option<Secret> {
        match label {
            Label::Master => &mut self.master,
            Label::ClientEarly => &mut self.client_early,
            Label::ClientHandshake => &mut self.client_handshake,
            Label::ServerHandshake => &mut self.server_handshake,
            Label::ClientTraffic => &mut self.client_traffic,
            Label::ServerTraffic => &mut self.server_traffic,
        }
    }
}

#[derive(Clone, Copy)]
enum Label {
    Master,
    ClientEarly,
    ClientHandshake,
    ServerHandshake,
    ClientTraffic,
    ServerTraffic,
}

/// What a label is good for.
enum Use {
    Kept(Label),
    /// Known, and of no use for reading records.
    Ignored,
    Unknown,
}

fn label_use(label: &[u8]) -> Use {
    match label {
        b"CLIENT_RANDOM" => Use::Kept(Label::Master),
        b"CLIENT_EARLY_TRAFFIC_SECRET" => Use::Kept(Label::ClientEarly),
        b"CLIENT_HANDSHAKE_TRAFFIC_SECRET" => Use::Kept(Label::ClientHandshake),
        b"SERVER_HANDSHAKE_TRAFFIC_SECRET" => Use::Kept(Label::ServerHandshake),
        b"CLIENT_TRAFFIC_SECRET_0" => Use::Kept(Label::ClientTraffic),
        b"SERVER_TRAFFIC_SECRET_0" => Use::Kept(Label::ServerTraffic),
        b"RSA" | b"EXPORTER_SECRET" | b"EARLY_EXPORTER_SECRET" | b"ECH_SECRET" | b"ECH_CONFIG" => {
            Use::Ignored
        }
        // Later secrets follow from the first (RFC 8446, 7.2).
        _ if label.starts_with(b"CLIENT_TRAFFIC_SECRET_") || label.starts_with(b"SERVER_TRAFFIC_SECRET_") => {
            Use::Ignored
        }
        _ => Use::Unknown,
    }
}

/// What the lines of a key log were. Their sum is the number of lines.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counts {
    /// Secrets that were kept.
    pub secrets: u64,
    /// Secrets that took the place of an earlier one for the same connection, as when both ends write one file.
    pub repeated: u64,
    /// Labels that are known and not needed: `RSA`, exporter secrets, those that follow from another line.
    pub ignored: u64,
    /// Labels that are not known.
    pub unknown: u64,
    /// Lines that are none of a key log.
    pub bad: u64,
    /// Empty lines and comments.
    pub comments: u64,
    /// Secrets beyond [`KEYLOG_CONNECTIONS_MAX`].
    pub over_limit: u64,
}

/// The secrets of a key log, by connection.
#[derive(Default)]
pub struct KeyLog {
    connections: HashMap<Random, Box<Secrets>>,
}

impl KeyLog {
    /// Reads the text of a key log. Whatever it holds, the rest is read: a line is kept or counted.
    pub fn parse(text: &[u8]) -> (Self, Counts) {
        let mut log = Self::default();
        let mut counts = Counts::default();
        log.add(text, &mut counts);
        (log, counts)
    }

    /// Reads further whole lines.
    pub fn add(&mut self, text: &[u8], counts: &mut Counts) {
        let text = text.strip_suffix(b"\n").unwrap_or(text);
        for line in text.split(|&b| b == b'\n') {
            self.line(line.trim_ascii(), counts);
        }
    }

    /// Connections that have a secret here.
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    pub(crate) fn get(&self, client_random: &Random) -> Option<&Secrets> {
        self.connections.get(client_random).map(|b| &**b)
    }

    fn line(&mut self, line: &[u8], counts: &mut Counts) {
        if line.is_empty() || line.starts_with(b"#") {
            counts.comments += 1;
            return;
        }
        let mut words = line.split(u8::is_ascii_whitespace).filter(|w| !w.is_empty());
        let (Some(label), Some(random), Some(secret), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            counts.bad += 1;
            return;
        };
        let label = match label_use(label) {
            Use::Kept(label) => label,
            Use::Ignored => return counts.ignored += 1,
            Use::Unknown => return counts.unknown += 1,
        };
        let mut client_random = [0; 32];
        let right_len = match label {
            Label::Master => secret.len() == 96,
            _ => secret.len() == 64 || secret.len() == 96,
        };
        if !right_len || !from_hex(random, &mut client_random) {
            return counts.bad += 1;
        }
        if self.connections.len() >= KEYLOG_CONNECTIONS_MAX && !self.connections.contains_key(&client_random)
        {
            return counts.over_limit += 1;
        }
        let mut kept = Secret::zero(secret.len() / 2);
        if !from_hex(secret, kept.as_mut_bytes()) {
            return counts.bad += 1;
        }
        let slot = self.connections.entry(client_random).or_default().slot(label);
        match slot.replace(kept) {
            None => counts.secrets += 1,
            Some(_) => counts.repeated += 1,
        }
    }
}

impl fmt::Debug for KeyLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyLog").field("connections", &self.connections.len()).finish_non_exhaustive()
    }
}

/// Fills `out` exactly from hexadecimal digits.
fn from_hex(digits: &[u8], out: &mut [u8]) -> bool {
    let (pairs, rest) = digits.as_chunks::<2>();
    if !rest.is_empty() || pairs.len() != out.len() {
        return false;
    }
    for (byte, &[high, low]) in out.iter_mut().zip(pairs) {
        let digit = |b: u8| (b as char).to_digit(16).map(|d| d as u8);
        let (Some(high), Some(low)) = (digit(high), digit(low)) else { return false };
        *byte = high << 4 | low;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(label: &str, random: u8, secret_bytes: usize) -> String {
        format!("{label} {} {}\n", format!("{random:02x}").repeat(32), "aB".repeat(secret_bytes))
    }

    #[test]
    fn every_line_is_kept_or_counted() {
        let text = [
            "# a comment\r\n\n".to_owned(),
            line("CLIENT_RANDOM", 1, 48),
            line("CLIENT_RANDOM", 1, 48),
            line("CLIENT_RANDOM", 2, 32),
            line("CLIENT_HANDSHAKE_TRAFFIC_SECRET", 1, 32),
            line("SERVER_TRAFFIC_SECRET_0", 3, 48),
            line("SERVER_TRAFFIC_SECRET_1", 3, 48),
            line("RSA", 4, 48),
            line("EXPORTER_SECRET", 3, 48),
            line("SOMETHING_NEW", 3, 48),
            "CLIENT_RANDOM 00 11 22\nCLIENT_RANDOM\n\u{fffd}\n".to_owned(),
            line("CLIENT_RANDOM", 9, 48).replace("aB", "xy"),
        ]
        .concat();
        let (log, counts) = KeyLog::parse(text.as_bytes());
        let expected =
            Counts { secrets: 3, repeated: 1, ignored: 3, unknown: 1, bad: 5, comments: 2, over_limit: 0 };
        assert_eq!(counts, expected);
        assert_eq!(log.connections(), 2);
        let secrets = log.get(&[1; 32]).unwrap();
        assert_eq!(secrets.master.as_ref().unwrap().as_bytes(), [0xab; 48]);
        assert_eq!(secrets.client_handshake.as_ref().unwrap().as_bytes(), [0xab; 32]);
    }

    #[test]
    fn secrets_are_not_printed() {
        let (log, _) = KeyLog::parse(line("CLIENT_RANDOM", 1, 48).as_bytes());
        assert_eq!(format!("{log:?}"), "KeyLog { connections: 1, .. }");
    }

    #[test]
    fn more_connections_than_the_limit_are_counted() {
        let mut text = String::new();
        for i in 0..KEYLOG_CONNECTIONS_MAX + 2 {
            text += &format!("CLIENT_RANDOM {i:064x} {}\n", "00".repeat(48));
        }
        let (log, counts) = KeyLog::parse(text.as_bytes());
        assert_eq!((log.connections(), counts.over_limit), (KEYLOG_CONNECTIONS_MAX, 2));
    }
}
