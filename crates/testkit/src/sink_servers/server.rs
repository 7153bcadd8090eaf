//! The server: connections, requests, and what is said on them.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Result, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::behaviour::{Answer, Behaviour, Fixed, Script, Take};
use super::bulk::{self, Store};
use super::tls::{Stream, Tls};
use crate::http_message::Message;

/// Longest time for which the rest of a body is thrown away after an early answer.
const LINGER_DEADLINE: Duration = Duration::from_secs(5);
/// Longest body when it is no longer compressed.
const PLAIN_BYTES_MAX: u64 = 256 << 20;
/// How often what never ends looks whether the server shall end.
const STOP_POLL: Duration = Duration::from_millis(5);
/// How all answers without an end begin.
const BULK_BEGINNING: &[u8] = b"{\"took\":1,\"errors\":false,\"items\":[";

/// A request as the server saw it.
#[derive(Debug, Clone)]
pub struct Request {
    /// Of all requests, from 0, in the order of their heads.
    pub number: usize,
    /// Of all connections, from 0; the same for requests one after the other on one connection.
    pub connection: usize,
    /// As POST.
    pub method: String,
    /// With the query.
    pub path: String,
    /// Names in small letters.
    pub headers: Vec<(String, String)>,
    /// The whole body, no longer compressed. Empty until it has been read, and if it never is.
    pub body: Vec<u8>,
    /// Documents of a bulk request; 0 until it has been taken apart.
    pub documents: usize,
}

/// A server of the bulk API that follows a script. It ends when it is dropped.
#[derive(Debug)]
pub struct BulkServer {
    address: SocketAddr,
    tls: Tls,
    shared: Arc<Shared>,
    /// `None` while it is down.
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// What decides about bulk requests. Apart from the state, so that it may ask the server.
    script: Mutex<Option<Script>>,
    /// What answers all other requests.
    other: Mutex<Option<OtherScript>>,
}

type OtherScript = Box<dyn FnMut(&Request) -> Fixed + Send>;

#[derive(Default)]
struct State {
    down: bool,
    store: Store,
    log: Vec<Request>,
    connections: usize,
    failed_handshakes: Vec<String>,
    /// Those that are open, to end them.
    open: BTreeMap<usize, TcpStream>,
}

impl BulkServer {
    /// Listens on a free port of 127.0.0.1, without TLS.
    pub fn start(script: impl FnMut(&Request) -> Behaviour + Send + 'static) -> BulkServer {
        BulkServer::start_tls(Tls::None, script)
    }

    /// The same with TLS, as [`super::Authority::server`] gives it.
    pub fn start_tls(tls: Tls, script: impl FnMut(&Request) -> Behaviour + Send + 'static) -> BulkServer {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let address = listener.local_addr().expect("bound");
        let shared = Arc::new(Shared::default());
        let mut server = BulkServer { address, tls, shared, acceptor: None };
        server.follow(script);
        server.accept(listener);
        server
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// As `https://localhost:PORT`, a name for which its certificate is.
    pub fn url(&self) -> String {
        format!("{}://localhost:{}", self.tls.scheme(), self.address.port())
    }

    /// Follows another script from the next bulk request on.
    pub fn follow(&self, script: impl FnMut(&Request) -> Behaviour + Send + 'static) {
        *self.shared.script.lock().unwrap() = Some(Box::new(script));
    }

    /// Decides about the requests that are not bulk requests. Without, `/` answers as OpenSearch does, and
    /// all others that they are acknowledged.
    pub fn answer_others(&self, script: impl FnMut(&Request) -> Fixed + Send + 'static) {
        *self.shared.other.lock().unwrap() = Some(Box::new(script));
    }

    /// Closes all connections and refuses new ones, as if its process had ended. It keeps what it has.
    pub fn down(&mut self) {
        let Some(acceptor) = self.acceptor.take() else { return };
        {
            let mut state = self.shared.lock();
            state.down = true;
            for stream in state.open.values() {
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
        // Wakes the one that waits in accept.
        let _ = TcpStream::connect(self.address);
        acceptor.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    }

    /// Listens again, on the same port.
    pub fn up(&mut self) {
        assert!(self.acceptor.is_none(), "it is up");
        let listener = TcpListener::bind(self.address).unwrap_or_else(|e| panic!("{}: {e}", self.address));
        self.accept(listener);
    }

    /// The documents that it took, by index and id.
    pub fn documents(&self) -> BTreeMap<(String, String), Value> {
        self.shared.lock().store.documents.clone()
    }

    /// How often a document came that it had already.
    pub fn conflicts(&self) -> u64 {
        self.shared.lock().store.conflicts
    }

    /// The requests so far, in the order of their heads.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.lock().log.clone()
    }

    /// Connections accepted.
    pub fn connections(&self) -> usize {
        self.shared.lock().connections
    }

    /// Why handshakes failed.
    pub fn failed_handshakes(&self) -> Vec<String> {
        self.shared.lock().failed_handshakes.clone()
    }

    fn accept(&mut self, listener: TcpListener) {
        self.shared.lock().down = false;
        let (shared, tls) = (Arc::clone(&self.shared), self.tls.clone());
        self.acceptor = Some(std::thread::spawn(move || {
            let mut threads = Vec::new();
            while let Ok((stream, _)) = listener.accept() {
                let Some(number) = shared.opened(&stream) else { break };
                let (shared, tls) = (Arc::clone(&shared), tls.clone());
                threads.push(std::thread::spawn(move || {
                    // What the client does to its connection is no failure of the server.
                    let _ = Connection { number, shared: &shared }.serve(&tls, stream);
                    shared.lock().open.remove(&number);
                }));
            }
            drop(listener);
            for thread in threads {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            }
        }));
    }
}

impl Drop for BulkServer {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.down();
        }
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// A number for a new connection, if one is wanted.
    fn opened(&self, stream: &TcpStream) -> Option<usize> {
        let mut state = self.lock();
        if state.down {
            return None;
        }
        let number = state.connections;
        state.connections += 1;
        state.open.insert(number, stream.try_clone().expect("a second handle"));
        Some(number)
    }

    fn decide(&self, request: &Request) -> Behaviour {
        let mut script = self.script.lock().unwrap();
        script.as_mut().expect("set at the start")(request)
    }

    fn other(&self, request: &Request) -> Fixed {
        if let Some(script) = &mut *self.other.lock().unwrap() {
            return script(request);
        }
        bulk::answer(
            200,
            &match request.path.as_str() {
                "/" => {
                    json!({ "name": "test", "version": { "distribution": "opensearch", "number": "2.19.6" } })
                }
                _ => json!({ "acknowledged": true }),
            },
        )
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shared")
    }
}

/// One connection, on a thread of its own.
struct Connection<'a> {
    number: usize,
    shared: &'a Shared,
}

type Wire = BufReader<Box<dyn Stream>>;

/// Is the connection still good for another request?
type GoesOn = bool;

impl Connection<'_> {
    fn serve(&self, tls: &Tls, tcp: TcpStream) -> Result<()> {
        tcp.set_nodelay(true)?;
        let raw = tcp.try_clone()?;
        let stream = match tls.accept(tcp) {
            Ok(Some(stream)) => stream,
            Ok(None) => {
                self.wait_for_end();
                return Ok(());
            }
            Err(error) => {
                self.shared.lock().failed_handshakes.push(error.to_string());
                return Err(error);
            }
        };
        let mut wire = BufReader::new(stream);
        while let Some(head) = Message::read_head(&mut wire)? {
            if !self.exchange(&mut wire, head)? {
                // The answer must arrive although the client still sends: first the end, then the rest of it.
                let _ = raw.shutdown(Shutdown::Write);
                return linger(&raw);
            }
        }
        Ok(())
    }

    fn exchange(&self, wire: &mut Wire, mut message: Message) -> Result<GoesOn> {
        let mut request = self.log(&message);
        let goes_on = message.header("connection").is_none_or(|value| !value.eq_ignore_ascii_case("close"));
        if !is_bulk(&request) {
            message.read_body(wire)?;
            self.body_came(&mut request, message.body);
            let answer = self.shared.other(&request);
            send(wire, &answer, goes_on, request.method != "HEAD")?;
            return Ok(goes_on);
        }
        let Behaviour { take, answer } = self.shared.decide(&request);
        if matches!(take, Take::HeadOnly) {
            // Whatever comes after the head is no request.
            return self.answer(wire, answer, Fixed::default(), false);
        }
        if message.header("expect").is_some_and(|value| value.eq_ignore_ascii_case("100-continue")) {
            wire.get_mut().write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        if matches!(take, Take::HalfOfBody) {
            read_half(wire, &message)?;
            return self.answer(wire, answer, Fixed::default(), false);
        }
        message.read_body(wire)?;
        let kind = message.header("content-type").unwrap_or("null");
        if !kind.starts_with("application/x-ndjson") && !kind.starts_with("application/json") {
            let error = format!("Content-Type header [{kind}] is not supported");
            send(wire, &bulk::answer(406, &json!({ "error": error, "status": 406 })), goes_on, true)?;
            return Ok(goes_on);
        }
        let body = match message.header("content-encoding") {
            Some("gzip") => gunzip(&message.body).unwrap_or_default(),
            // As a real one: what it does not know is taken as it is, and then is no JSON.
            _ => message.body,
        };
        self.body_came(&mut request, body);
        let right = self.take(&request, &take);
        self.answer(wire, answer, right, goes_on)
    }

    fn log(&self, message: &Message) -> Request {
        let mut words = message.start.split(' ');
        let mut word = || words.next().unwrap_or_default().to_owned();
        let mut state = self.shared.lock();
        let request = Request {
            number: state.log.len(),
            connection: self.number,
            method: word(),
            path: word(),
            headers: message.headers.clone(),
            body: Vec::new(),
            documents: 0,
        };
        state.log.push(request.clone());
        request
    }

    fn body_came(&self, request: &mut Request, body: Vec<u8>) {
        request.body = body;
        self.shared.lock().log[request.number].body.clone_from(&request.body);
    }

    /// Stores what is to be stored. The answer that is right for it.
    fn take(&self, request: &Request, take: &Take) -> Fixed {
        let index = request.path.split(['?', '/']).nth(1).filter(|&word| word != "_bulk");
        let mut state = self.shared.lock();
        let (right, documents) = match take {
            Take::All => state.store.take(index, &request.body, |_| None),
            Take::Unless(refuse) => state.store.take(index, &request.body, |item| refuse(item)),
            // For its answer and its count only.
            Take::None | Take::HalfOfBody | Take::HeadOnly => {
                Store::default().take(index, &request.body, |_| None)
            }
        };
        state.log[request.number].documents = documents;
        right
    }

    fn answer(&self, wire: &mut Wire, answer: Answer, right: Fixed, goes_on: bool) -> Result<GoesOn> {
        let stream = wire.get_mut();
        match answer {
            Answer::Bulk => send(wire, &right, goes_on, true)?,
            Answer::Fixed(fixed) => send(wire, &fixed, goes_on, true)?,
            Answer::Never => {
                self.wait_for_end();
                return Ok(false);
            }
            Answer::Raw(bytes) => {
                stream.write_all(&bytes)?;
                stream.flush()?;
                return Ok(false);
            }
            Answer::HalfOfBulk => {
                let head = head(&right, goes_on);
                stream.write_all(&[head.as_bytes(), &right.body[..right.body.len() / 2]].concat())?;
                stream.flush()?;
                return Ok(false);
            }
            Answer::Drip(pause) => {
                begin_endless(stream)?;
                while self.sleep(pause) {
                    stream.write_all(b"1\r\n \r\n")?;
                    stream.flush()?;
                }
                return Ok(false);
            }
            Answer::Endless => {
                begin_endless(stream)?;
                let chunk = [&b"10000\r\n"[..], &[b' '; 0x10000], b"\r\n"].concat();
                while !self.shared.lock().down {
                    stream.write_all(&chunk)?;
                }
                return Ok(false);
            }
            Answer::Close => return Err(ErrorKind::ConnectionAborted.into()),
        }
        Ok(goes_on)
    }

    fn wait_for_end(&self) {
        while self.sleep(STOP_POLL) {}
    }

    /// Sleeps; false as soon as the server shall end.
    fn sleep(&self, pause: Duration) -> bool {
        let start = Instant::now();
        loop {
            if self.shared.lock().down {
                return false;
            }
            let left = pause.saturating_sub(start.elapsed());
            if left.is_zero() {
                return true;
            }
            std::thread::sleep(left.min(STOP_POLL));
        }
    }
}

fn is_bulk(request: &Request) -> bool {
    let path = request.path.split('?').next().unwrap_or_default();
    request.method != "GET" && path.ends_with("/_bulk")
}

/// Reads half of a body; of one in chunks, whose length nobody knows, half of what is there.
fn read_half(wire: &mut Wire, message: &Message) -> Result<()> {
    let half = match message.header("transfer-encoding") {
        Some(_) => wire.fill_buf()?.len() as u64 / 2,
        None => message.body_length()? / 2,
    };
    std::io::copy(&mut wire.take(half), &mut std::io::sink())?;
    Ok(())
}

/// Unpacks; what is broken is as good as no body.
fn gunzip(body: &[u8]) -> Result<Vec<u8>> {
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(body).take(PLAIN_BYTES_MAX + 1).read_to_end(&mut plain)?;
    if plain.len() as u64 > PLAIN_BYTES_MAX {
        return Err(Error::new(ErrorKind::InvalidData, "too long when unpacked"));
    }
    Ok(plain)
}

fn head(answer: &Fixed, goes_on: bool) -> String {
    let mut head = format!("HTTP/1.1 {} As Told\r\n", answer.status);
    for (name, value) in &answer.headers {
        head += &format!("{name}: {value}\r\n");
    }
    if !answer.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-length")) {
        head += &format!("Content-Length: {}\r\n", answer.body.len());
    }
    if !goes_on {
        head += "Connection: close\r\n";
    }
    head + "\r\n"
}

fn send(wire: &mut Wire, answer: &Fixed, goes_on: bool, with_body: bool) -> Result<()> {
    let body = if with_body { &answer.body[..] } else { &[] };
    let stream = wire.get_mut();
    stream.write_all(&[head(answer, goes_on).as_bytes(), body].concat())?;
    stream.flush()
}

fn begin_endless(stream: &mut Box<dyn Stream>) -> Result<()> {
    stream.write_all(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
    )?;
    write!(stream, "{:x}\r\n", BULK_BEGINNING.len())?;
    stream.write_all(&[BULK_BEGINNING, b"\r\n"].concat())?;
    stream.flush()
}

/// Throws away what still comes, so that the end of the connection is no reset that overtakes the answer.
fn linger(mut raw: &TcpStream) -> Result<()> {
    raw.set_read_timeout(Some(LINGER_DEADLINE))?;
    let start = Instant::now();
    let mut sink = [0; 16 * 1024];
    while start.elapsed() < LINGER_DEADLINE && raw.read(&mut sink)? > 0 {}
    Ok(())
}
