//! Exact bytes in exact pieces over TCP: a client, and a server that follows a script.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::netns::Netns;

/// Longest wait for bytes of the other side.
const READ_DEADLINE: Duration = Duration::from_secs(20);

/// One end of a connection, where each write is a segment of its own.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    /// Read, but not yet taken.
    buffer: Vec<u8>,
}

impl Connection {
    /// Connects from the host, or from inside a namespace.
    pub fn connect(address: impl ToSocketAddrs + Send, netns: Option<&Netns>) -> Connection {
        let connect = || TcpStream::connect(address).expect("connects");
        Connection::new(match netns {
            Some(netns) => netns.run(connect),
            None => connect(),
        })
    }

    /// Takes over a stream.
    pub fn new(stream: TcpStream) -> Connection {
        stream.set_nodelay(true).expect("TCP_NODELAY");
        stream.set_read_timeout(Some(READ_DEADLINE)).expect("read timeout");
        stream.set_write_timeout(Some(READ_DEADLINE)).expect("write timeout");
        Connection { stream, buffer: Vec::new() }
    }

    /// Address of this end.
    pub fn local(&self) -> SocketAddr {
        self.stream.local_addr().expect("connected")
    }

    /// Address of the other end.
    pub fn peer(&self) -> SocketAddr {
        self.stream.peer_addr().expect("connected")
    }

    /// Sends bytes as one write.
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("writes");
    }

    /// Sends each piece as a segment of its own. Without a gap TCP may join pieces once its window is full
    /// of segments that are not acknowledged (ten at first); a gap lets the acknowledgements come.
    pub fn send_pieces<'a>(&mut self, pieces: impl IntoIterator<Item = &'a [u8]>, gap: Duration) {
        for piece in pieces {
            self.send(piece);
            if !gap.is_zero() {
                std::thread::sleep(gap);
            }
        }
    }

    /// Sends every byte as a segment of its own.
    pub fn send_bytewise(&mut self, bytes: &[u8], gap: Duration) {
        self.send_pieces(bytes.chunks(1), gap);
    }

    /// Reads exactly `n` bytes.
    pub fn read_bytes(&mut self, n: usize) -> Vec<u8> {
        self.fill_until(|buffer| (buffer.len() >= n).then_some(n))
    }

    /// Reads up to and with the empty line that ends a head.
    pub fn read_head(&mut self) -> Vec<u8> {
        self.fill_until(|buffer| buffer.windows(4).position(|w| w == b"\r\n\r\n").map(|at| at + 4))
    }

    /// Reads a head, and as many bytes as its Content-Length says. Not for chunked bodies.
    pub fn read_message(&mut self) -> Vec<u8> {
        let mut message = self.read_head();
        let text = String::from_utf8_lossy(&message).to_ascii_lowercase();
        let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
        let length = length.map_or(0, |value| value.trim().parse().expect("Content-Length is a number"));
        message.extend(self.read_bytes(length));
        message
    }

    /// Reads until the other side closes.
    pub fn read_to_end(&mut self) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.buffer);
        match self.stream.read_to_end(&mut bytes) {
            Ok(_) => bytes,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => bytes,
            Err(error) => panic!("after {} bytes: {error}", bytes.len()),
        }
    }

    /// Says that nothing more will be sent, and keeps reading possible.
    pub fn finish_sending(&mut self) {
        self.stream.shutdown(std::net::Shutdown::Write).expect("shutdown");
    }

    /// Ends the connection by a reset.
    pub fn reset(self) {
        // A linger time of zero makes close send RST.
        rustix::net::sockopt::set_socket_linger(&self.stream, Some(Duration::ZERO)).expect("SO_LINGER");
    }

    fn fill_until(&mut self, mut done: impl FnMut(&[u8]) -> Option<usize>) -> Vec<u8> {
        let start = Instant::now();
        loop {
            if let Some(n) = done(&self.buffer) {
                return self.buffer.drain(..n).collect();
            }
            assert!(start.elapsed() < READ_DEADLINE, "no end of {:?}", String::from_utf8_lossy(&self.buffer));
            let mut chunk = [0; 16 * 1024];
            match self.stream.read(&mut chunk) {
                Ok(0) => panic!("closed after {:?}", String::from_utf8_lossy(&self.buffer)),
                Ok(n) => self.buffer.extend(&chunk[..n]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => panic!("after {:?}: {error}", String::from_utf8_lossy(&self.buffer)),
            }
        }
    }
}

/// What a scripted server does, one after the other.
#[derive(Debug, Clone)]
pub enum Step {
    /// Read to the end of a head.
    ReadHead,
    /// Read so many bytes.
    ReadBytes(usize),
    /// Send bytes as one write.
    Send(Vec<u8>),
    /// Send each piece as a segment of its own, with a pause after each.
    SendPieces(Vec<Vec<u8>>, Duration),
    /// Say that nothing more will be sent.
    FinishSending,
    /// Reset the connection; the last step.
    Reset,
}

/// A server with one script for each connection, in the order of accepting; closes after the last step.
#[derive(Debug)]
pub struct ScriptedServer {
    address: SocketAddr,
    thread: JoinHandle<Vec<Vec<u8>>>,
}

impl ScriptedServer {
    /// Listens on a free port of `ip`, on the host or inside a namespace.
    pub fn start(ip: &str, netns: Option<&Netns>, scripts: Vec<Vec<Step>>) -> ScriptedServer {
        let bind = || TcpListener::bind((ip, 0)).unwrap_or_else(|error| panic!("{ip}: {error}"));
        let listener = match netns {
            Some(netns) => netns.run(bind),
            None => bind(),
        };
        let address = listener.local_addr().expect("bound");
        let thread = std::thread::spawn(move || {
            let serve = |script| follow(Connection::new(listener.accept().expect("accepts").0), script);
            scripts.into_iter().map(serve).collect()
        });
        ScriptedServer { address, thread }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits for the last script to end; what was read on each connection.
    pub fn finish(self) -> Vec<Vec<u8>> {
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

fn follow(mut connection: Connection, script: Vec<Step>) -> Vec<u8> {
    let mut received = Vec::new();
    for step in script {
        match step {
            Step::ReadHead => received.extend(connection.read_head()),
            Step::ReadBytes(n) => received.extend(connection.read_bytes(n)),
            Step::Send(bytes) => connection.send(&bytes),
            Step::SendPieces(pieces, gap) => connection.send_pieces(pieces.iter().map(Vec::as_slice), gap),
            Step::FinishSending => connection.finish_sending(),
            Step::Reset => {
                connection.reset();
                return received;
            }
        }
    }
    received
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_arrive_as_written() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec();
        let pieces = answer.chunks(7).map(<[u8]>::to_vec).collect();
        let server = ScriptedServer::start(
            "127.0.0.1",
            None,
            vec![
                vec![
                    Step::ReadHead,
                    Step::Send(answer.clone()),
                    Step::ReadHead,
                    Step::ReadBytes(3),
                    Step::SendPieces(pieces, Duration::from_millis(1)),
                ],
                vec![Step::ReadHead, Step::Reset],
            ],
        );
        let mut client = Connection::connect(server.address(), None);
        client.send_bytewise(b"GET / HTTP/1.1\r\n\r\n", Duration::ZERO);
        assert_eq!(client.read_message(), answer);
        client.send_pieces([b"POST / HTTP/1.1\r\n\r".as_slice(), b"\nab", b"c"], Duration::ZERO);
        assert_eq!(client.read_message(), answer);
        assert_eq!(client.read_to_end(), b"");
        let mut client = Connection::connect(server.address(), None);
        client.send(b"GET / HTTP/1.1\r\n\r\n");
        assert_eq!(client.read_to_end(), b"");
        let received = server.finish();
        assert_eq!(received[0], b"GET / HTTP/1.1\r\n\r\nPOST / HTTP/1.1\r\n\r\nabc");
        assert_eq!(received[1], b"GET / HTTP/1.1\r\n\r\n");
    }
}
