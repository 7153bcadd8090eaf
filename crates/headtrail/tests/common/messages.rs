//! Exchanges that are numbered, so that a wrong pair shows, and heads that are made by a seed.

use std::net::SocketAddr;
use std::time::Duration;

use headtrail_testkit::raw_http::{Connection, Step};
use headtrail_testkit::rng::Rng;
use serde_json::Value;

use super::{field, lines};

/// A request and its response, as bytes and as what must be recorded of them.
#[derive(Debug, Clone)]
pub struct Exchange {
    pub number: usize,
    pub method: &'static str,
    pub status: u16,
    pub request: Vec<u8>,
    pub response: Vec<u8>,
    pub request_body_bytes: u64,
    pub response_body_bytes: u64,
}

/// A body that looks like messages, to mislead whoever does not know where bodies end.
pub const EVIL_REQUEST: &[u8] = b"GET /evil HTTP/1.1\r\nHost: x\r\n\r\n";
/// The same for responses.
pub const EVIL_RESPONSE: &[u8] = b"HTTP/1.1 500 Evil\r\nContent-Length: 0\r\n\r\n";

/// So many bytes that look like messages.
pub fn evil(text: &[u8], bytes: usize) -> Vec<u8> {
    text.iter().copied().cycle().take(bytes).collect()
}

/// Splits `body` into chunks (RFC 9112, 7.1) of these sizes, over and over, with `extension` behind each size.
pub fn chunked(body: &[u8], sizes: &[usize], extension: &str, trailers: &str) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), body);
    for &size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (chunk, left) = rest.split_at(size.min(rest.len()));
        out.extend(format!("{:x}{extension}\r\n", chunk.len()).bytes());
        out.extend(chunk);
        out.extend(b"\r\n");
        rest = left;
    }
    out.extend(format!("0\r\n{trailers}\r\n").bytes());
    out
}

impl Exchange {
    /// A GET and a body with its length.
    pub fn get(number: usize) -> Exchange {
        Exchange::of(number, "GET", 200, "", b"", b"")
    }

    /// Of a kind that depends on the number: all ways to tell the length of a body, and to have none.
    pub fn any(number: usize) -> Exchange {
        let evil_request = evil(EVIL_REQUEST, 10 + number % 200);
        let evil_response = evil(EVIL_RESPONSE, 10 + number % 300);
        match number % 8 {
            0 => Exchange::get(number),
            1 => Exchange::of(number, "POST", 201, "", &evil_request, &evil_response),
            2 => {
                let mut exchange = Exchange::of(number, "HEAD", 200, "", b"", &evil_response);
                exchange.response.truncate(exchange.response.len() - evil_response.len());
                exchange.response_body_bytes = 0;
                exchange
            }
            3 => Exchange::of(number, "PUT", 204, "", &evil_request, b""),
            4 => Exchange::of(number, "GET", 304, "", b"", b""),
            5 => Exchange::in_chunks(number, &evil_request, &evil_response, &[7, 1, 40], ""),
            6 => Exchange::of(number, "DELETE", 404, "X-Empty:\r\n", b"", &evil_response),
            _ => Exchange::in_chunks(number, &evil_request, &evil_response, &[300], ";a=\"b\"; c"),
        }
    }

    /// With field lines `more` in both heads and with bodies whose lengths are given.
    pub fn of(
        number: usize,
        method: &'static str,
        status: u16,
        more: &str,
        request_body: &[u8],
        response_body: &[u8],
    ) -> Exchange {
        let request_length = match method {
            "POST" | "PUT" => format!("Content-Length: {}\r\n", request_body.len()),
            _ => String::new(),
        };
        let response_length = match status {
            204 | 304 => String::new(),
            _ => format!("Content-Length: {}\r\n", response_body.len()),
        };
        let mut request = format!(
            "{method} /{number} HTTP/1.1\r\nHost: test\r\nX-Id: {number}\r\n{more}{request_length}\r\n"
        )
        .into_bytes();
        request.extend(request_body);
        let mut response =
            format!("HTTP/1.1 {status} Said\r\nX-Id: {number}\r\n{more}{response_length}\r\n").into_bytes();
        response.extend(response_body);
        Exchange {
            number,
            method,
            status,
            request,
            response,
            request_body_bytes: request_body.len() as u64,
            response_body_bytes: response_body.len() as u64,
        }
    }

    /// With both bodies in chunks and a trailer each.
    pub fn in_chunks(
        number: usize,
        request_body: &[u8],
        response_body: &[u8],
        sizes: &[usize],
        extension: &str,
    ) -> Exchange {
        let mut exchange = Exchange::of(number, "PATCH", 200, "Transfer-Encoding: chunked\r\n", b"", b"");
        let trailers = format!("X-Trailer: {number}\r\n");
        let head = format!("HTTP/1.1 200 Said\r\nX-Id: {number}\r\nTransfer-Encoding: chunked\r\n\r\n");
        exchange.response = head.into_bytes();
        exchange.request.extend(chunked(request_body, sizes, extension, &trailers));
        exchange.response.extend(chunked(response_body, sizes, extension, &trailers));
        exchange.request_body_bytes = request_body.len() as u64;
        exchange.response_body_bytes = response_body.len() as u64;
        exchange
    }

    /// The record is of this exchange and of no other, and whole.
    pub fn check(&self, record: &Value) {
        self.check_pair(record);
        assert_eq!(record["incomplete"], serde_json::json!([]), "{record}");
        assert_eq!(record["request"]["body_bytes"], self.request_body_bytes, "{record}");
        assert_eq!(record["response"]["body_bytes"], self.response_body_bytes, "{record}");
        for (side, bytes) in [("request", &self.request), ("response", &self.response)] {
            assert_eq!(fields(record, side, "lines"), sent_lines(bytes), "{record}");
            let in_chunks = field(&record[side], "transfer-encoding").is_some();
            let trailers =
                if in_chunks { vec![("X-Trailer".to_owned(), self.number.to_string())] } else { vec![] };
            assert_eq!(fields(record, side, "trailers"), trailers, "{record}");
        }
    }

    /// Request and response are this exchange's.
    pub fn check_pair(&self, record: &Value) {
        let number = self.number.to_string();
        assert_eq!(record["request"]["method"], self.method, "{record}");
        assert_eq!(record["request"]["target"], format!("/{number}"), "{record}");
        assert_eq!(field(&record["request"], "x-id"), Some(number.as_str()), "{record}");
        assert_eq!(record["response"]["status"], self.status, "{record}");
        assert_eq!(field(&record["response"], "x-id"), Some(number.as_str()), "{record}");
    }
}

fn fields(record: &Value, side: &str, kind: &str) -> Vec<(String, String)> {
    lines(&record[side], kind).into_iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect()
}

/// Field lines of a message as they were sent: plain ones only, with one space behind the colon.
fn sent_lines(message: &[u8]) -> Vec<(String, String)> {
    let end = message.windows(4).position(|w| w == b"\r\n\r\n").expect("a head");
    let head = std::str::from_utf8(&message[..end]).expect("ASCII");
    let line = |line: &str| {
        let (name, value) = line.split_once(':').expect("a colon");
        (name.to_owned(), value.trim().to_owned())
    };
    head.split("\r\n").skip(1).map(line).collect()
}

/// The records are of these exchanges, in this order, all whole.
pub fn check_all(records: &[Value], exchanges: &[Exchange]) {
    assert_eq!(records.len(), exchanges.len(), "{}", super::brief(records));
    let whole = records.iter().filter(|record| record["incomplete"] == serde_json::json!([])).count();
    assert_eq!(whole, records.len(), "{}", super::brief(records));
    for (record, exchange) in records.iter().zip(exchanges) {
        exchange.check(record);
    }
}

/// How bytes are cut into segments.
#[derive(Debug, Clone)]
pub enum Cut {
    /// One write.
    Whole,
    /// Two writes; the first has so many bytes. Past the end: one write.
    At(usize),
    /// Writes of so many bytes.
    Pieces(usize),
}

/// A pause after each of many small segments, so that acknowledgements keep pace and TCP has no reason to join them.
pub const GAP: Duration = Duration::from_micros(50);

impl Cut {
    fn pieces<'a>(&self, bytes: &'a [u8]) -> (Vec<&'a [u8]>, Duration) {
        match *self {
            Cut::At(at) if at > 0 && at < bytes.len() => (vec![&bytes[..at], &bytes[at..]], Duration::ZERO),
            Cut::Whole | Cut::At(_) => (vec![bytes], Duration::ZERO),
            Cut::Pieces(size) => (bytes.chunks(size).collect(), GAP),
        }
    }
}

/// What a server does that answers these exchanges one after the other.
pub fn script(exchanges: &[Exchange], cut: impl Fn(usize) -> Cut) -> Vec<Step> {
    let mut steps = Vec::new();
    for (at, exchange) in exchanges.iter().enumerate() {
        let (pieces, gap) = cut(at).pieces(&exchange.response).to_owned();
        steps.push(Step::ReadBytes(exchange.request.len()));
        steps.push(Step::SendPieces(pieces.into_iter().map(<[u8]>::to_vec).collect(), gap));
    }
    steps
}

/// What its client does.
pub fn ask(client: &mut Connection, exchanges: &[Exchange], cut: impl Fn(usize) -> Cut) {
    for (at, exchange) in exchanges.iter().enumerate() {
        let (pieces, gap) = cut(at).pieces(&exchange.request);
        client.send_pieces(pieces, gap);
        assert_eq!(client.read_bytes(exchange.response.len()), exchange.response);
    }
}

/// A head made by a seed, in parts.
#[derive(Debug, Clone)]
pub struct MadeHead {
    /// Start-line without line end.
    pub start: Vec<u8>,
    /// Name, blanks before the value, value, blanks behind it.
    pub lines: Vec<[Vec<u8>; 4]>,
}

impl MadeHead {
    /// Odd but allowed (RFC 9110, 5.5 and 5.6.2): names of all token characters, repeated in another case, blanks of all
    /// sorts, values that are empty, long, or not ASCII.
    pub fn new(rng: &mut Rng, start: &str, field_lines: u64, value_bytes_max: u64) -> MadeHead {
        const NAME: &[u8] = b"abcxyzABCXYZ019!#$%&'*+-.^_`|~";
        const BLANKS: [&str; 5] = ["", " ", "\t", "   ", " \t \t"];
        let mut lines: Vec<[Vec<u8>; 4]> = Vec::new();
        for _ in 0..field_lines {
            let name = match lines.last() {
                Some([name, ..]) if rng.below(5) == 0 => name.to_ascii_uppercase(),
                // The beginning keeps clear of the names that stand for secrets, whose values are hidden.
                _ => [b"Hq-".to_vec(), pick(rng, NAME, 1 + rng.clone().below(12))].concat(),
            };
            let blanks = |rng: &mut Rng| BLANKS[rng.below(5) as usize].as_bytes().to_vec();
            let (before, behind) = (blanks(rng), blanks(rng));
            lines.push([name, before, value(rng, value_bytes_max), behind]);
        }
        MadeHead { start: start.as_bytes().to_vec(), lines }
    }

    /// As sent.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = self.start.clone();
        out.extend(b"\r\n");
        for [name, before, value, behind] in &self.lines {
            out.extend([name, b":".as_slice(), before, value, behind, b"\r\n"].concat());
        }
        out.extend(b"\r\n");
        out
    }

    /// The message as recorded holds these lines: same order, case, number and bytes, without the blanks around values.
    pub fn check(&self, message: &Value) {
        let utf8 = std::str::from_utf8(&self.bytes()).is_ok();
        assert_eq!(message["latin1"], !utf8, "{message}");
        let text = |bytes: &Vec<u8>| match utf8 {
            true => String::from_utf8(bytes.clone()).expect("UTF-8"),
            false => bytes.iter().map(|&b| char::from(b)).collect(),
        };
        let sent: Vec<(String, String)> = self.lines.iter().map(|[n, _, v, _]| (text(n), text(v))).collect();
        let recorded = lines(message, "lines");
        for (at, (sent, recorded)) in sent.iter().zip(&recorded).enumerate() {
            assert_eq!((sent.0.as_str(), sent.1.as_str()), *recorded, "line {at}");
        }
        assert_eq!(recorded.len(), sent.len());
    }
}

fn pick(rng: &mut Rng, from: &[u8], n: u64) -> Vec<u8> {
    (0..n).map(|_| from[rng.below(from.len() as u64) as usize]).collect()
}

fn value(rng: &mut Rng, bytes_max: u64) -> Vec<u8> {
    // Words of few letters, so that none looks like a key.
    const WORDS: &[u8] = b"aaab  ,;\t";
    let length = match rng.below(8) {
        0 => 0,
        1 => 1 + rng.below(bytes_max),
        _ => 1 + rng.below(30),
    };
    let mut value = match rng.below(6) {
        0 => (0..length).map(|_| 0x80 + rng.below(0x80) as u8).collect(),
        1 => "größe→".repeat(length as usize / 6 + 1).into_bytes(),
        _ => pick(rng, WORDS, length),
    };
    // Blanks at the ends would be blanks around it.
    for end in [0, value.len().saturating_sub(1)] {
        if let Some(byte) = value.get_mut(end).filter(|b| b" \t".contains(b)) {
            *byte = b'z';
        }
    }
    value
}

/// Port of an address, as it stands in a filter.
pub fn filter_of(address: SocketAddr) -> String {
    format!("port {}", address.port())
}
