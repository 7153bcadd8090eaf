//! The connection to one receiver. Every call has an end in time.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::retry::{self, Acks};
use crate::sink::{Trouble, bounded};

/// Addresses that are tried of those a name has.
const ADDRESSES_MAX: usize = 16;
/// Reads that may find something on a connection that should be silent.
const IDLE_READS_MAX: usize = 16;

/// A receiver.
#[derive(Debug)]
pub(super) struct Node {
    /// As the config has it.
    pub(super) name: String,
    host: String,
    port: u16,
    server_name: Option<ServerName<'static>>,
}

impl Node {
    pub(super) fn parse(name: &str, with_tls: bool) -> Result<Self, Trouble> {
        let wrong =
            || Trouble { kind: "config", what: bounded(&format!("{name}: not `host:port`")), wait: None };
        let (host, port) = name.rsplit_once(':').ok_or_else(wrong)?;
        let port = port.parse().map_err(|_| wrong())?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = match bare {
            Some(host) => host,
            None if host.is_empty() || host.contains(':') => return Err(wrong()),
            None => host,
        };
        let server_name = match with_tls {
            true => Some(ServerName::try_from(host.to_owned()).map_err(|_| wrong())?),
            false => None,
        };
        Ok(Self { name: name.to_owned(), host: host.to_owned(), port, server_name })
    }
}

/// How long it may go on.
#[derive(Clone, Copy)]
pub(super) struct Patience {
    /// For each step.
    pub(super) step: Duration,
    /// For all of them.
    pub(super) end: Instant,
}

impl Patience {
    fn until(self) -> Instant {
        self.end.min(Instant::now() + self.step)
    }
}

/// An open connection.
pub(super) struct Connection {
    stream: Stream,
    acks: Acks,
}

enum Stream {
    Plain(Wire),
    Tls(Box<StreamOwned<ClientConnection, Wire>>),
}

/// A socket whose calls end in time, and that counts.
struct Wire {
    socket: TcpStream,
    /// None: does not wait at all.
    until: Option<Instant>,
    written: u64,
}

impl Wire {
    /// The time that is left; what the socket calls "would block" is then a time that ran out.
    fn timed(
        &mut self,
        limit: impl FnOnce(&TcpStream, Option<Duration>) -> io::Result<()>,
        call: impl FnOnce(&mut TcpStream) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let Some(until) = self.until else { return call(&mut self.socket) };
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        limit(&self.socket, Some(left))?;
        call(&mut self.socket).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
            _ => error,
        })
    }
}

impl Read for Wire {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        self.timed(TcpStream::set_read_timeout, |socket| socket.read(to))
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.timed(TcpStream::set_write_timeout, |socket| socket.write(bytes))?;
        self.written += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream {
    fn written(&self) -> u64 {
        match self {
            Self::Plain(wire) => wire.written,
            Self::Tls(stream) => stream.sock.written,
        }
    }

    fn wire(&mut self) -> &mut Wire {
        match self {
            Self::Plain(wire) => wire,
            Self::Tls(stream) => &mut stream.sock,
        }
    }

    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(wire) => wire.read(to),
            Self::Tls(stream) => stream.read(to),
        }
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(wire) => wire.write_all(bytes),
            Self::Tls(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
        }
    }
}

impl Connection {
    /// Connects, and agrees on TLS where there is a config for it.
    pub(super) fn open(
        node: &Node,
        config: Option<&Arc<ClientConfig>>,
        limit: Duration,
    ) -> Result<Self, Trouble> {
        let until = Instant::now() + limit;
        let failed = |error: io::Error| retry::trouble(&node.name, &error);
        let socket = connect(node, until).map_err(failed)?;
        // Groups are written whole; a last short packet shall not wait for an answer to the one before.
        socket.set_nodelay(true).map_err(failed)?;
        let mut wire = Wire { socket, until: Some(until), written: 0 };
        let stream = match (config, &node.server_name) {
            (Some(config), Some(name)) => {
                let wrong = |error| failed(io::Error::new(io::ErrorKind::InvalidData, error));
                let mut tls = ClientConnection::new(config.clone(), name.clone()).map_err(wrong)?;
                while tls.is_handshaking() {
                    tls.complete_io(&mut wire).map_err(failed)?;
                }
                Stream::Tls(Box::new(StreamOwned::new(tls, wire)))
            }
            _ => Stream::Plain(wire),
        };
        Ok(Self { stream, acks: Acks::default() })
    }

    /// Bytes that were written onto the wire.
    pub(super) fn written(&self) -> u64 {
        self.stream.written()
    }

    /// Whether the receiver has not closed it while nothing was sent, which receivers do after a minute or so: what is written then is lost.
    pub(super) fn is_open(&mut self) -> bool {
        self.acks.begin(0);
        let wire = self.stream.wire();
        wire.until = None;
        if wire.socket.set_nonblocking(true).is_err() {
            return false;
        }
        let mut bytes = [0; 64];
        let silent = (0..IDLE_READS_MAX).find_map(|_| match self.stream.read(&mut bytes) {
            Ok(0) => Some(false),
            Ok(read) => match self.acks.hear(bytes.get(..read).unwrap_or_default()) {
                Ok(_) => None,
                Err(_) => Some(false),
            },
            Err(error) => Some(error.kind() == io::ErrorKind::WouldBlock),
        });
        silent == Some(true) && self.stream.wire().socket.set_nonblocking(false).is_ok()
    }

    /// Begins a window.
    pub(super) fn begin(&mut self, documents: u32) {
        self.acks.begin(documents);
    }

    /// How many documents of the window are acknowledged.
    pub(super) fn acked(&self) -> u32 {
        self.acks.acked()
    }

    pub(super) fn write(&mut self, node: &Node, bytes: &[u8], patience: Patience) -> Result<(), Trouble> {
        self.stream.wire().until = Some(patience.until());
        self.stream.write_all(bytes).map_err(|error| retry::trouble(&node.name, &error))
    }

    /// Waits until the whole window is acknowledged. Each acknowledgement, also one of nothing, is a reason to wait on.
    pub(super) fn wait(&mut self, node: &Node, patience: Patience) -> Result<(), Trouble> {
        let mut bytes = [0; 512];
        self.stream.wire().until = Some(patience.until());
        while !self.acks.complete() {
            let read = match self.stream.read(&mut bytes) {
                Ok(0) => {
                    Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed before all was acknowledged"))
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read,
            };
            let read = read.map_err(|error| retry::trouble(&node.name, &error))?;
            if self.acks.hear(bytes.get(..read).unwrap_or_default())? {
                self.stream.wire().until = Some(patience.until());
            }
        }
        Ok(())
    }
}

/// Tries the addresses of a name in turn, each for its share of the time that is left. Asking for them has the resolver's own limits.
fn connect(node: &Node, until: Instant) -> io::Result<TcpStream> {
    let addresses: Vec<_> = (node.host.as_str(), node.port).to_socket_addrs()?.take(ADDRESSES_MAX).collect();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for (index, address) in addresses.iter().enumerate() {
        let left = until.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(addresses.len() - index).unwrap_or(u32::MAX);
        if share.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        match TcpStream::connect_timeout(address, share) {
            Ok(socket) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_a_host_and_a_port() {
        let node = |name| Node::parse(name, true).map(|node| (node.host, node.port)).map_err(|t| t.kind);
        assert_eq!(node("logs.example:5044"), Ok(("logs.example".to_owned(), 5044)));
        assert_eq!(node("10.0.0.1:5044"), Ok(("10.0.0.1".to_owned(), 5044)));
        assert_eq!(node("[::1]:5044"), Ok(("::1".to_owned(), 5044)));
        for wrong in ["logs.example", ":5044", "::1:5044", "logs.example:70000", "logs example:1", ""] {
            assert_eq!(node(wrong), Err("config"), "{wrong}");
        }
    }
}
