//! Conversations in HTTP/2 of which the truth is known, to be seen in part: by an encoder that uses the dynamic table, with
//! content that imitates frames.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use headtrail_record::event::Direction;
use headtrail_record::transaction::{Message, Phase, RawTransaction};
use proptest::prelude::*;

use super::h2::*;
use super::{REQUESTS, RESPONSES, line};

pub type Fields = Vec<(String, String)>;

const STATIC: [(usize, &str, &str); 11] = [
    (1, ":authority", ""),
    (2, ":method", "GET"),
    (3, ":method", "POST"),
    (4, ":path", "/"),
    (6, ":scheme", "http"),
    (8, ":status", "200"),
    (9, ":status", "204"),
    (13, ":status", "404"),
    (19, "accept", ""),
    (31, "content-type", ""),
    (58, "user-agent", ""),
];

/// An encoder that inserts whatever it may (RFC 7541, 6.2.1).
#[derive(Default)]
pub struct Encoder {
    table: VecDeque<(String, String)>,
    /// Names are never sent again where the table has them. Who did not see one then never sees it.
    pub refers_to_names: bool,
}

impl Encoder {
    pub fn block(&mut self, fields: &[(String, String)]) -> Vec<u8> {
        let mut out = Vec::new();
        for (name, value) in fields {
            let fixed =
                |full: bool| STATIC.iter().find(|s| s.1 == name && (!full || s.2 == value)).map(|s| s.0);
            let dynamic = |full: bool| {
                self.table.iter().position(|e| e.0 == *name && (!full || e.1 == *value)).map(|i| i + 62)
            };
            if let Some(index) = fixed(true).or_else(|| dynamic(true)) {
                integer(&mut out, 0x80, 7, index);
                continue;
            }
            let never = name == "authorization";
            let (first, bits) = if never { (0x10, 4) } else { (0x40, 6) };
            let by_name = || dynamic(false).filter(|_| self.refers_to_names);
            let index = fixed(false).or_else(by_name).unwrap_or(0);
            integer(&mut out, first, bits, index);
            let texts = if index == 0 { &[name, value][..] } else { &[value] };
            for text in texts {
                integer(&mut out, 0, 7, text.len());
                out.extend(text.bytes());
            }
            if !never {
                self.table.push_front((name.clone(), value.clone()));
                let size = |t: &VecDeque<(String, String)>| -> usize {
                    t.iter().map(|e| e.0.len() + e.1.len() + 32).sum()
                };
                while size(&self.table) > 4096 {
                    self.table.pop_back();
                }
            }
        }
        out
    }
}

fn integer(out: &mut Vec<u8>, first: u8, bits: u32, value: usize) {
    let most = (1 << bits) - 1;
    if value < most {
        out.push(first | value as u8);
        return;
    }
    out.push(first | most as u8);
    let mut rest = value - most;
    while rest >= 128 {
        out.push(rest as u8 | 128);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// What content looks like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Content {
    Plain,
    Zeros,
    Noise,
    /// Frames for the next stream, over and over.
    Next,
    /// A whole connection.
    Connection,
    /// Header blocks in many frames.
    Continued,
    /// A chain of frames that leads through the frames that follow into the next content that is of this kind.
    Woven,
}

/// One message's share of an exchange.
#[derive(Clone, Debug)]
pub struct Part {
    pub body: Option<usize>,
    pub content: Content,
    pub trailers: bool,
    pub padded: bool,
}

#[derive(Clone, Debug)]
pub struct Plan {
    pub request: Part,
    pub response: Part,
    pub interim: bool,
    /// A method and a status that the static table does not have.
    pub rare: bool,
    /// SETTINGS and PING go with it.
    pub chatty: bool,
}

pub fn part(most: usize) -> impl Strategy<Value = Part> {
    let content = prop_oneof![
        3 => Just(Content::Plain),
        1 => Just(Content::Zeros),
        2 => Just(Content::Noise),
        3 => Just(Content::Next),
        3 => Just(Content::Connection),
        2 => Just(Content::Continued),
        3 => Just(Content::Woven),
    ];
    let body = prop::option::weighted(0.8, prop_oneof![3 => 0usize..400, 1 => 0..most]);
    (body, content, prop::bool::weighted(0.2), prop::bool::weighted(0.2))
        .prop_map(|(body, content, trailers, padded)| Part { body, content, trailers, padded })
}

pub fn plan(most: usize) -> impl Strategy<Value = Plan> {
    let rarely = || prop::bool::weighted(0.1);
    (part(most), part(most), rarely(), rarely(), rarely()).prop_map(
        |(request, response, interim, rare, chatty)| Plan { request, response, interim, rare, chatty },
    )
}

/// An exchange without anything special.
pub fn simple(octets: usize) -> Plan {
    let part = Part { body: Some(octets), content: Content::Plain, trailers: false, padded: false };
    Plan { request: part.clone(), response: part, interim: false, rare: false, chatty: false }
}

/// What was sent on a stream.
#[derive(Clone, Debug, Default)]
pub struct Truth {
    pub request: Fields,
    pub request_trailers: Fields,
    pub interim: Option<Fields>,
    pub response: Fields,
    pub response_trailers: Fields,
    pub octets: [u64; 2],
}

/// A conversation.
pub struct Conversation {
    pub packets: Vec<(Direction, Vec<u8>)>,
    pub truth: BTreeMap<u32, Truth>,
}

fn fields(list: &[(&str, &str)]) -> Fields {
    list.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
}

/// Where a woven chain enters the content.
const WOVEN_AT: usize = 7;

fn evil(stream: u32, request: bool) -> Vec<u8> {
    let list = if request {
        [(":method", "GET"), (":scheme", "http"), (":path", "/evil"), ("evil", "1")]
    } else {
        [(":status", "200"), ("evil", "1"), ("evil", "2"), ("evil", "3")]
    };
    headers(stream, END_STREAM, &list)
}

/// `behind`: frames of the direction between this content and the place in the next where a woven chain goes on.
fn content(kind: Content, octets: usize, stream: u32, request: bool, behind: usize) -> Vec<u8> {
    let repeat = |unit: Vec<u8>| unit.into_iter().cycle().take(octets).collect::<Vec<u8>>();
    match kind {
        Content::Plain => vec![b'x'; octets],
        Content::Zeros => vec![0; octets],
        Content::Noise => {
            let mut state = stream | 1;
            let mut next = || {
                state ^= state << 13;
                state ^= state >> 17;
                state ^= state << 5;
                state as u8
            };
            (0..octets).map(|_| next()).collect()
        }
        Content::Next => repeat([evil(stream + 2, request), evil(stream + 4, request)].concat()),
        Content::Connection => {
            let mut all = frame(4, 0, 0, &[]);
            for i in 0..20 {
                all.extend(evil(stream + 2 * i, request));
                all.extend(data(stream + 2 * i, END_STREAM, 3));
                all.extend(frame(6, 0, 0, &[1; 8]));
            }
            repeat(all)
        }
        Content::Continued => {
            let evil = block(&[(":method", "GET"), (":status", "200"), (":path", "/evil"), ("evil", "1")]);
            let (one, two) = evil.split_at(5);
            repeat(
                [
                    frame(1, END_STREAM, stream + 2, one),
                    frame(9, 0, stream + 2, two),
                    frame(9, END_HEADERS, stream + 2, &[]),
                ]
                .concat(),
            )
        }
        Content::Woven => {
            let mut out = vec![b'y'; WOVEN_AT.min(octets)];
            let fake = evil(stream, request);
            if octets < WOVEN_AT + fake.len() + 9 {
                out.resize(octets, b'y');
                return out;
            }
            out.extend(fake);
            let tail = octets - out.len() - 9;
            let cover = tail + behind;
            if cover > 16_384 {
                out.resize(octets, b'y');
                return out;
            }
            out.extend(&frame(0, 0, stream, &vec![0; cover])[..9]);
            out.resize(octets, b'z');
            out
        }
    }
}

/// The frames of one message: what is before its content, and what is behind.
struct Message2 {
    stream: u32,
    before: Vec<u8>,
    part: Part,
    behind: Vec<u8>,
    longest: usize,
}

impl Message2 {
    fn data(&self, request: bool, behind: usize) -> Vec<u8> {
        let Some(octets) = self.part.body else { return Vec::new() };
        let whole = content(self.part.content, octets, self.stream, request, behind + self.behind.len());
        let mut out = Vec::new();
        let mut rest = &whole[..];
        loop {
            let (now, after) = rest.split_at(rest.len().min(self.longest));
            rest = after;
            let last = if rest.is_empty() && self.behind.is_empty() { END_STREAM } else { 0 };
            if self.part.padded && self.part.content != Content::Woven {
                out.extend(frame(0, last | PADDED, self.stream, &[&[5][..], now, &[0; 5]].concat()));
            } else {
                out.extend(frame(0, last, self.stream, now));
            }
            if rest.is_empty() {
                return out;
            }
        }
    }

    /// Where a woven chain enters, behind the beginning of the message.
    fn entry(&self) -> Option<usize> {
        let woven = self.part.body.is_some() && self.part.content == Content::Woven;
        woven.then_some(self.before.len() + 9 + WOVEN_AT)
    }

    fn bytes(&self, request: bool, next: Option<&Message2>) -> Vec<u8> {
        let behind = next.and_then(Self::entry).unwrap_or(0);
        let data = self.data(request, behind);
        [&self.before[..], &data, &self.behind].concat()
    }
}

/// Makes a conversation: `depth` requests are sent before their responses. `longest`: octets of content in a frame.
pub fn conversation(plans: &[Plan], depth: usize, longest: usize, refers_to_names: bool) -> Conversation {
    let encoder = || Encoder { refers_to_names, ..Encoder::default() };
    let mut encoders = [encoder(), encoder()];
    let mut truth = BTreeMap::new();
    let mut messages: [Vec<Message2>; 2] = [Vec::new(), Vec::new()];
    for (i, plan) in plans.iter().enumerate() {
        let stream = 2 * i as u32 + 1;
        let text = format!("/{stream}");
        let method = if plan.rare { "PATCH" } else { "POST" };
        let status = if plan.rare { "418" } else { "200" };
        let t = Truth {
            request: fields(&[
                (":method", method),
                (":scheme", "http"),
                (":authority", "host"),
                (":path", &text),
                ("user-agent", "test/1"),
                ("accept", "*/*"),
                ("x", &text),
                ("authorization", &text),
                ("y", "1"),
                ("y", "2"),
            ]),
            request_trailers: if plan.request.trailers {
                fields(&[("t", &text), ("u", "v")])
            } else {
                vec![]
            },
            interim: plan.interim.then(|| fields(&[(":status", "103"), ("link", &text)])),
            response: fields(&[(":status", status), ("content-type", "a/b"), ("z", &text), ("server", "s")]),
            response_trailers: if plan.response.trailers {
                fields(&[("grpc-status", "0"), ("grpc-message", "")])
            } else {
                vec![]
            },
            octets: [plan.request.body.unwrap_or(0) as u64, plan.response.body.unwrap_or(0) as u64],
        };
        for (side, part) in [&plan.request, &plan.response].into_iter().enumerate() {
            let encoder = &mut encoders[side];
            let mut before = Vec::new();
            if plan.chatty {
                before.extend([frame(6, 0, 0, &[7; 8]), frame(8, 0, 0, &[0, 0, 1, 0])].concat());
            }
            let head = if side == 0 { &t.request } else { &t.response };
            let trailers = if side == 0 { &t.request_trailers } else { &t.response_trailers };
            if let (1, Some(interim)) = (side, &t.interim) {
                before.extend(frame(1, END_HEADERS, stream, &encoder.block(interim)));
            }
            let block = encoder.block(head);
            let last = if part.body.is_none() && trailers.is_empty() { END_STREAM } else { 0 };
            if part.padded {
                let (one, two) = block.split_at(block.len() / 2);
                before.extend(frame(1, last, stream, one));
                before.extend(frame(9, END_HEADERS, stream, two));
            } else {
                before.extend(frame(1, last | END_HEADERS, stream, &block));
            }
            let behind = if trailers.is_empty() {
                Vec::new()
            } else {
                frame(1, END_STREAM | END_HEADERS, stream, &encoder.block(trailers))
            };
            messages[side].push(Message2 { stream, before, part: part.clone(), behind, longest });
        }
        truth.insert(stream, t);
    }
    let settings = frame(4, 0, 0, &[0, 5, 0, 255, 255, 255]);
    let settings = if longest > 16_384 { settings } else { frame(4, 0, 0, &[]) };
    let mut packets = vec![
        (REQUESTS, [PREFACE, &settings].concat()),
        (RESPONSES, [&settings[..], &frame(4, ACK, 0, &[])].concat()),
        (REQUESTS, frame(4, ACK, 0, &[])),
    ];
    let all: Vec<usize> = (0..plans.len()).collect();
    for group in all.chunks(depth) {
        for (side, direction) in [REQUESTS, RESPONSES].into_iter().enumerate() {
            for &i in group {
                let next = messages[side].get(i + 1);
                packets.push((direction, messages[side][i].bytes(side == 0, next)));
            }
        }
    }
    Conversation { packets, truth }
}

/// Lines that are not those that were sent.
fn wrong_lines(
    message: &Message,
    lines: &[headtrail_record::transaction::Line],
    sent: &Fields,
) -> Option<String> {
    let text = |span: headtrail_record::transaction::Span| {
        (!span.is_unseen()).then(|| String::from_utf8_lossy(span.get(&message.text)).into_owned())
    };
    if lines.len() != sent.len() {
        return Some(format!("{} lines of {}", lines.len(), sent.len()));
    }
    lines.iter().zip(sent).find_map(|(l, (name, value))| {
        let (n, v) = (text(l.name), text(l.value));
        let wrong = n.as_ref().is_some_and(|n| n != name) || v.as_ref().is_some_and(|v| v != value);
        wrong.then(|| format!("{n:?}: {v:?} instead of {name}: {value}"))
    })
}

fn wrong_head(message: &Message, sent: &Fields) -> Option<String> {
    let value = |name: &str| sent.iter().find(|f| f.0 == name).map_or(&b""[..], |f| f.1.as_bytes());
    let is = |got: Option<&[u8]>, name: &str| got.is_none_or(|g| g.is_empty() || g == value(name));
    let status = message.status().is_none_or(|s| s == 0 || s.to_string().as_bytes() == value(":status"));
    if !is(message.method(), ":method") || !is(message.target(), ":path") || !status {
        return Some("start-line".into());
    }
    wrong_lines(message, &message.lines, sent)
}

/// What was given out and not sent, or not there, or twice; or said to be whole and is not.
pub fn wrong(out: &[RawTransaction], truth: &BTreeMap<u32, Truth>) -> Option<String> {
    let mut seen = BTreeSet::new();
    // What a start tells, its end tells again.
    for tx in out.iter().filter(|tx| tx.phase != Phase::Start) {
        let told = |what: String| Some(format!("{what}: {}", line(tx)));
        let Some(t) = tx.stream.and_then(|stream| truth.get(&stream)) else { return told("stream".into()) };
        for (side, message) in [(0, &tx.request), (1, &tx.response)] {
            let Some(message) = message else { continue };
            if tx.phase != Phase::Start && !seen.insert((tx.stream, side)) {
                return told("twice".into());
            }
            let (head, trailers) = if side == 0 {
                (&t.request, &t.request_trailers)
            } else {
                (&t.response, &t.response_trailers)
            };
            // A response whose status was not seen may be the interim one, where the final one was not seen.
            let hidden = side == 1 && message.status() == Some(0);
            let interim = t.interim.as_ref().filter(|_| hidden);
            if let Some(what) = wrong_head(message, head)
                && interim.is_none_or(|sent| wrong_head(message, sent).is_some())
            {
                return told(what);
            }
            if !message.trailers.is_empty()
                && let Some(what) = wrong_lines(message, &message.trailers, trailers)
            {
                return told(format!("trailers {what}"));
            }
            let whole = tx.incomplete.is_empty() && tx.phase != Phase::Start;
            if whole
                && (message.trailers.len() != trailers.len() || message.body_bytes != Some(t.octets[side]))
            {
                return told("not whole".into());
            }
        }
        if tx.incomplete.is_empty()
            && tx.phase != Phase::Start
            && (tx.request.is_none()
                || tx.response.is_none()
                || tx.interim.len() != usize::from(t.interim.is_some()))
        {
            return told("half".into());
        }
        for message in &tx.interim {
            let Some(sent) = &t.interim else { return told("interim".into()) };
            if tx.phase != Phase::Start && !seen.insert((tx.stream, 2)) {
                return told("interim twice".into());
            }
            if let Some(what) = wrong_head(message, sent) {
                return told(format!("interim {what}"));
            }
        }
    }
    None
}
