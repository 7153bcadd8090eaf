//! HTTP/2 by hand (RFC 9113): exchanges whose every byte is known, with fields as literals (RFC 7541, 6.2.2), so that no
//! encoder has to be trusted.

use serde_json::{Value, json};

use super::messages::{Cut, Exchange, evil};

/// What a client sends first (RFC 9113, 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 0x1;
const ACK: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;

/// A frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("fits");
    [&length.to_be_bytes()[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A header block.
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| {
        let length = u8::try_from(text.len()).ok().filter(|&n| n < 127).expect("short");
        [&[length], text.as_bytes()].concat()
    };
    fields.iter().flat_map(|(name, value)| [vec![0x10], text(name), text(value)].concat()).collect()
}

/// A body that looks like frames, to mislead whoever does not know where DATA ends.
pub fn evil_frames(bytes: usize) -> Vec<u8> {
    let fields = [(":method", "GET"), (":path", "/evil"), (":scheme", "http"), (":authority", "x")];
    evil(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&fields)), bytes)
}

/// What both ends send first: the exchange has no record.
pub fn opening() -> Exchange {
    let settings = frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100, 0, 4, 0, 1, 0, 0]);
    let update = frame(WINDOW_UPDATE, 0, 0, &[0x3f, 0xff, 0, 0]);
    Exchange {
        request: [PREFACE, &settings, &update].concat(),
        response: [settings, frame(SETTINGS, ACK, 0, b""), update].concat(),
        ..Exchange::get(0)
    }
}

/// How an exchange is put into frames.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Octets of content in each direction.
    pub content: [usize; 2],
    /// Longest DATA frame.
    pub data_max: usize,
    /// DATA frames have padding.
    pub padded: bool,
    /// Header blocks go on in CONTINUATION frames.
    pub continued: bool,
    /// Trailers follow.
    pub trailers: bool,
}

impl Shape {
    /// Of a kind that depends on the number.
    pub fn any(number: usize) -> Shape {
        Shape {
            content: [[0, 30, 500, 20_000][number % 4], [6, 0, 200, 40_000][number / 4 % 4]],
            data_max: [10, 100, 1000, 16_384][number / 2 % 4].max(number % 4 * 300),
            padded: number % 3 == 1,
            continued: number % 5 == 2,
            trailers: number % 7 > 4,
        }
    }
}

fn message(stream: u32, first: &[(&str, &str)], content: &[u8], shape: Shape, number: &str) -> Vec<u8> {
    let ends = |last: bool| if last { END_STREAM } else { 0 };
    let block_bytes = block(first);
    let at_once = content.is_empty() && !shape.trailers;
    let mut out = if shape.continued {
        let (a, b) = block_bytes.split_at(block_bytes.len() / 3);
        let (b, c) = b.split_at(b.len() / 2);
        [
            frame(HEADERS, ends(at_once), stream, a),
            frame(CONTINUATION, 0, stream, b),
            frame(CONTINUATION, END_HEADERS, stream, c),
        ]
        .concat()
    } else {
        frame(HEADERS, END_HEADERS | ends(at_once), stream, &block_bytes)
    };
    let count = content.len().div_ceil(shape.data_max);
    for (n, part) in content.chunks(shape.data_max).enumerate() {
        let flags = ends(n + 1 == count && !shape.trailers);
        if shape.padded {
            let payload = [&[9][..], part, &[0; 9]].concat();
            out.extend(frame(DATA, flags | PADDED, stream, &payload));
        } else {
            out.extend(frame(DATA, flags, stream, part));
        }
    }
    if shape.trailers {
        out.extend(frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&[("x-trailer", number)])));
    }
    out
}

/// An exchange on the stream that belongs to its number; numbers count from 0 on a connection.
pub fn call(number: usize, shape: Shape) -> Exchange {
    let stream = 2 * u32::try_from(number).expect("fits") + 1;
    let id = number.to_string();
    let path = format!("/{number}");
    let request =
        [(":method", "POST"), (":scheme", "http"), (":path", &path), ("x-id", &id), ("x-id", "two")];
    let response = [(":status", "200"), ("x-id", &id), ("x-empty", "")];
    let content = shape.content.map(evil_frames);
    Exchange {
        number,
        method: "POST",
        status: 200,
        request: message(stream, &request, &content[0], shape, &id),
        response: message(stream, &response, &content[1], shape, &id),
        request_body_bytes: content[0].len() as u64,
        response_body_bytes: content[1].len() as u64,
    }
}

/// The record is of this call and of no other, and whole.
pub fn check_call(record: &Value, number: usize, shape: Shape) {
    let id = number.to_string();
    assert_eq!(record["protocol"], "http/2", "{record}");
    assert_eq!(record["stream"], 2 * number + 1, "{record}");
    assert_eq!(record["incomplete"], json!([]), "{record}");
    assert_eq!(record["anomalies"], json!([]), "{record}");
    let path = format!("/{number}");
    let request =
        [(":method", "POST"), (":scheme", "http"), (":path", &path), ("x-id", &id), ("x-id", "two")];
    assert_eq!(record["request"]["lines"], json!(request), "{record}");
    let response = [(":status", "200"), ("x-id", &id), ("x-empty", "")];
    assert_eq!(record["response"]["lines"], json!(response), "{record}");
    for (side, octets) in ["request", "response"].into_iter().zip(shape.content) {
        assert_eq!(record[side]["body_bytes"], octets, "{record}");
        let trailers = if shape.trailers { json!([["x-trailer", id]]) } else { json!([]) };
        assert_eq!(record[side]["trailers"], trailers, "{record}");
    }
}

/// Calls one after the other behind the opening, each with its shape and its way to be cut.
#[derive(Debug, Clone)]
pub struct Calls {
    /// By number.
    pub shapes: Vec<Shape>,
    /// By number.
    pub cuts: Vec<Cut>,
}

impl Calls {
    /// The opening and the calls.
    pub fn exchanges(&self) -> Vec<Exchange> {
        let calls = self.shapes.iter().enumerate().map(|(number, &shape)| call(number, shape));
        std::iter::once(opening()).chain(calls).collect()
    }

    /// How an exchange of these is cut.
    pub fn cut(&self, at: usize) -> Cut {
        at.checked_sub(1).map_or(Cut::Whole, |number| self.cuts[number].clone())
    }

    /// The records are of these calls, all whole, none twice.
    pub fn check(&self, records: &[Value]) {
        assert_eq!(records.len(), self.shapes.len(), "{}", super::brief(records));
        let mut records: Vec<&Value> = records.iter().collect();
        records.sort_by_key(|record| record["stream"].as_u64());
        for (number, (record, shape)) in records.iter().zip(&self.shapes).enumerate() {
            check_call(record, number, *shape);
        }
    }
}
