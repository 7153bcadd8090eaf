//! What tshark finds in a capture: its PDML, which has the bytes of each field beside its text.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

use crate::message::{End, Key, Lines, Message, Start};

/// Ways to run it, none of which is right for every direction of every connection.
///
/// With out-of-order reassembly it shows nothing behind a lost segment; without, it breaks heads that came out of order.
/// A message whose body does not end in the capture is shown only where bodies are not put together. Where segments are not
/// put together at all, a head in one segment is shown, whatever is missing around it.
pub const RUNS: [&[&str]; 5] = [
    &["-o", "tcp.reassemble_out_of_order:TRUE"],
    &["-o", "tcp.reassemble_out_of_order:FALSE"],
    &["-o", "tcp.reassemble_out_of_order:TRUE", "-o", "http.desegment_body:FALSE"],
    &["-o", "tcp.reassemble_out_of_order:FALSE", "-o", "http.desegment_body:FALSE"],
    &["-o", "tcp.desegment_tcp_streams:FALSE"],
];

/// Messages in a file, by direction, in order. `ports`: what is spoken there, where tshark does not see it by itself.
pub fn messages(file: &Path, run: &[&str], ports: &[(u16, &str)]) -> HashMap<Key, Vec<Message>> {
    let decode_as =
        ports.iter().flat_map(|(port, what)| ["-d".to_string(), format!("tcp.port=={port},{what}")]);
    let output = Command::new("tshark")
        .args(["-n", "-r"])
        .arg(file)
        .args(["-Y", "http or http2", "-T", "pdml", "-J", "ip ipv6 tcp http http2"])
        .args(run)
        .args(decode_as)
        .output()
        .expect("tshark runs");
    // It ends with an error where the file is cut, and tells what it read before.
    let mut reader = Reader::default();
    let text = String::from_utf8_lossy(&output.stdout);
    for tag in tags(&text) {
        match tag {
            Tag::Open { kind, name, show, value, empty } => {
                reader.open(kind, name, show, value);
                if empty {
                    reader.close(kind);
                }
            }
            Tag::Close(kind) => reader.close(kind),
        }
    }
    join_trailers(&mut reader.found);
    reader.found
}

enum Tag<'a> {
    Open { kind: &'a str, name: &'a str, show: &'a str, value: &'a str, empty: bool },
    Close(&'a str),
}

/// The tags of a PDML document. No attribute of interest has a character that is escaped.
fn tags(text: &str) -> impl Iterator<Item = Tag<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let at = rest.find('<')?;
        rest = &rest[at + 1..];
        let kind_end = rest.find(|c: char| c.is_whitespace() || c == '>').unwrap_or(rest.len());
        let kind = &rest[..kind_end];
        if let Some(kind) = kind.strip_prefix('/') {
            return Some(Tag::Close(kind));
        }
        rest = &rest[kind_end..];
        let (mut name, mut show, mut value) = ("", "", "");
        loop {
            rest = rest.trim_start();
            if rest.is_empty() || rest.starts_with(['>', '/', '?', '-']) {
                break;
            }
            let Some((attribute, behind)) = rest.split_once("=\"") else {
                rest = "";
                break;
            };
            let Some((text, behind)) = behind.split_once('"') else {
                rest = "";
                break;
            };
            rest = behind;
            match attribute {
                "name" => name = text,
                "show" => show = text,
                "value" => value = text,
                _ => {}
            }
        }
        Some(Tag::Open { kind, name, show, value, empty: rest.starts_with('/') })
    })
}

/// Where in a packet the reader is.
#[derive(Default)]
enum Place {
    #[default]
    Outside,
    Ip,
    Tcp,
    Http(Option<Start>, Lines, Lines),
    Http2,
}

#[derive(Default)]
struct Reader {
    found: HashMap<Key, Vec<Message>>,
    /// Number of the packet.
    frame: u64,
    /// Addresses of the innermost IP header so far.
    addresses: [String; 2],
    /// Ends of the TCP segment.
    ends: Option<[End; 2]>,
    place: Place,
    /// Protocols within protocols.
    depth: usize,
    /// Of the HTTP/2 frame.
    frame_type: u8,
    stream: u64,
    name: Vec<u8>,
}

/// Frames that have field lines.
const HEADERS: u8 = 1;
const PUSH_PROMISE: u8 = 5;
const CONTINUATION: u8 = 9;

impl Reader {
    fn open(&mut self, kind: &str, name: &str, show: &str, value: &str) {
        match kind {
            "packet" => {
                self.ends = None;
                self.place = Place::Outside;
                self.depth = 0;
            }
            // What is within another one, as credentials within a field line, is no place of its own.
            "proto" if self.depth > 0 => self.depth += 1,
            "proto" => {
                self.depth = 1;
                self.place = match name {
                    "ip" | "ipv6" => Place::Ip,
                    "tcp" => {
                        let end = |i: usize| End { ip: self.addresses[i].clone(), port: 0 };
                        self.ends = Some([end(0), end(1)]);
                        Place::Tcp
                    }
                    "http" if self.ends.is_some() => Place::Http(None, Lines::new(), Lines::new()),
                    "http2" if self.ends.is_some() => Place::Http2,
                    _ => Place::Outside,
                };
            }
            "field" => self.field(name, show, value),
            _ => {}
        }
    }

    fn close(&mut self, kind: &str) {
        if kind != "proto" {
            return;
        }
        self.depth = self.depth.saturating_sub(1);
        if self.depth > 0 {
            return;
        }
        if let Place::Http(Some(start), lines, trailers) = std::mem::take(&mut self.place) {
            let message = Message { start, lines, trailers, frame: self.frame };
            self.add(None, message);
        }
    }

    fn add(&mut self, stream: Option<u64>, message: Message) {
        let Some([from, to]) = self.ends.clone() else { return };
        self.found.entry(Key { from, to, stream }).or_default().push(message);
    }

    fn field(&mut self, name: &str, show: &str, value: &str) {
        if name == "num" {
            self.frame = show.parse().expect("a number");
        }
        match &mut self.place {
            Place::Outside => {}
            Place::Ip => match name {
                "ip.src" | "ipv6.src" => self.addresses[0] = show.to_string(),
                "ip.dst" | "ipv6.dst" => self.addresses[1] = show.to_string(),
                _ => {}
            },
            Place::Tcp => {
                if let Some(ends) = &mut self.ends {
                    match name {
                        "tcp.srcport" => ends[0].port = show.parse().expect("a port"),
                        "tcp.dstport" => ends[1].port = show.parse().expect("a port"),
                        _ => {}
                    }
                }
            }
            Place::Http(start, lines, trailers) => match name {
                "http.request.method" => *start = Some(Start::Request(hex(value), Vec::new())),
                "http.request.uri" => {
                    if let Some(Start::Request(_, target)) = start {
                        *target = hex(value);
                    }
                }
                "http.response.code" => {
                    *start = Some(Start::status(show.parse().unwrap_or_default(), Vec::new()));
                }
                "http.response.phrase" => {
                    if let Some(Start::Status(status, _)) = start {
                        *start = Some(Start::status(*status, hex(value)));
                    }
                }
                "http.request.line" | "http.response.line" => lines.push(split(&hex(value))),
                "http.chunked_trailer_part" => {
                    trailers.extend(hex(value).split(|&b| b == b'\n').filter(|l| l.len() > 1).map(split));
                }
                _ => {}
            },
            Place::Http2 => self.http2(name, show, value),
        }
    }

    fn http2(&mut self, name: &str, show: &str, value: &str) {
        match name {
            "http2.type" => self.frame_type = show.parse().expect("a number"),
            "http2.streamid" => {
                self.stream = show.parse().expect("a number");
                if self.frame_type == HEADERS {
                    self.block();
                }
            }
            "http2.push_promise.promised_stream_id" => {
                self.stream = show.parse().expect("a number");
                self.block();
            }
            "http2.header.name" => self.name = hex(value),
            "http2.header.value" if matches!(self.frame_type, HEADERS | PUSH_PROMISE | CONTINUATION) => {
                let line = (std::mem::take(&mut self.name), hex(value));
                let Some([from, to]) = self.ends.clone() else { return };
                let key = Key { from, to, stream: Some(self.stream) };
                if let Some(last) = self.found.get_mut(&key).and_then(|list| list.last_mut()) {
                    last.lines.push(line);
                }
            }
            _ => {}
        }
    }

    /// A header block begins.
    fn block(&mut self) {
        let message = Message { frame: self.frame, ..Message::default() };
        self.add(Some(self.stream), message);
    }
}

/// Joins trailers with the message before them: a block without pseudo-header fields.
fn join_trailers(found: &mut HashMap<Key, Vec<Message>>) {
    for (_, list) in found.iter_mut().filter(|(key, _)| key.stream.is_some()) {
        let mut joined: Vec<Message> = Vec::new();
        for message in list.drain(..) {
            match joined.last_mut() {
                Some(last) if message.lines.first().is_some_and(|(name, _)| !name.starts_with(b":")) => {
                    last.trailers = message.lines;
                }
                _ => joined.push(message),
            }
        }
        *list = joined;
    }
}

/// Splits a line as it came.
fn split(line: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let colon = line.iter().position(|&b| b == b':');
    let (name, value) = colon.map_or((line.trim_ascii_end(), &b""[..]), |at| (&line[..at], &line[at + 1..]));
    let blank = |b: &u8| matches!(b, b' ' | b'\t' | b'\r' | b'\n');
    let start = value.iter().position(|b| !blank(b)).unwrap_or(value.len());
    let end = value.iter().rposition(|b| !blank(b)).map_or(start, |at| at + 1);
    (name.to_vec(), value[start..end].to_vec())
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|d| d as u8).collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}
