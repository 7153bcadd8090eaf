//! HTTP/2 to test with: frames, and exchanges that are made by chance.

use headtrail_record::transaction::RawTransaction;
use proptest::prelude::*;

use super::Talk;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const PADDED: u8 = 8;
pub const PRIORITY: u8 = 0x20;

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A field as a literal without indexing (RFC 7541, 6.2.2).
pub fn literal(name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut field = vec![0];
    for text in [name, value] {
        assert!(text.len() < 127);
        field.push(text.len() as u8);
        field.extend(text);
    }
    field
}

pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    fields.iter().flat_map(|(n, v)| literal(n.as_bytes(), v.as_bytes())).collect()
}

pub fn headers(stream: u32, flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(1, flags | END_HEADERS, stream, &block(fields))
}

pub fn get(stream: u32, path: &str) -> Vec<u8> {
    headers(stream, END_STREAM, &[(":method", "GET"), (":scheme", "http"), (":path", path)])
}

pub fn ok(stream: u32, flags: u8) -> Vec<u8> {
    headers(stream, flags, &[(":status", "200")])
}

pub fn data(stream: u32, flags: u8, octets: usize) -> Vec<u8> {
    frame(0, flags, stream, &vec![b'x'; octets])
}

/// Both prefaces, and the acknowledgements of the settings.
pub fn opened() -> Talk {
    let mut talk = Talk::raw();
    talk.request([PREFACE, &frame(4, 0, 0, &[])].concat());
    talk.response([frame(4, 0, 0, &[]), frame(4, ACK, 0, &[])].concat());
    talk.request(frame(4, ACK, 0, &[]));
    talk
}

pub fn texts(lines: impl Iterator<Item = (Vec<u8>, Vec<u8>)>) -> Vec<(String, String)> {
    lines.map(|(n, v)| (String::from_utf8(n).unwrap(), String::from_utf8(v).unwrap())).collect()
}

pub fn request_lines(tx: &RawTransaction) -> Vec<(String, String)> {
    texts(tx.request.as_ref().unwrap().lines().map(|(n, v)| (n.to_vec(), v.to_vec())))
}

pub fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
}

/// An exchange of the property.
#[derive(Clone, Debug)]
pub struct Spec {
    pub body: Option<usize>,
    pub response: Option<usize>,
    pub trailers: bool,
    pub interim: bool,
    pub padding: bool,
    pub split: bool,
    pub hostile: bool,
}

pub fn spec() -> impl Strategy<Value = Spec> {
    let size = || prop::option::of(prop_oneof![0usize..50, 0usize..40_000]);
    (size(), size(), any::<(bool, bool, bool, bool, bool)>()).prop_map(
        |(body, response, (trailers, interim, padding, split, hostile))| Spec {
            body,
            response,
            trailers,
            interim,
            padding,
            split,
            hostile,
        },
    )
}

impl Spec {
    pub fn headers(&self, stream: u32, flags: u8, fields: &[(&str, &str)]) -> Vec<Vec<u8>> {
        let block = block(fields);
        if !self.split {
            return vec![frame(1, flags | END_HEADERS, stream, &block)];
        }
        let at = block.len() / 2;
        // Nothing may come between these.
        let mut both = frame(1, flags, stream, &block[..at]);
        both.extend(frame(9, END_HEADERS, stream, &block[at..]));
        vec![both]
    }

    pub fn data(&self, stream: u32, flags: u8, octets: usize) -> Vec<Vec<u8>> {
        // Content that looks like frames.
        let inner = [get(stream + 2, "/fake"), ok(stream + 2, END_STREAM)].concat();
        let mut frames = Vec::new();
        let mut left = octets;
        loop {
            let now = left.min(16_000);
            left -= now;
            let content: Vec<u8> = if self.hostile {
                inner.iter().cycle().take(now).copied().collect()
            } else {
                vec![b'x'; now]
            };
            let last = if left == 0 { flags } else { 0 };
            if self.padding {
                frames.push(frame(0, last | PADDED, stream, &[&[5][..], &content, &[0; 5]].concat()));
            } else {
                frames.push(frame(0, last, stream, &content));
            }
            if left == 0 {
                return frames;
            }
        }
    }

    /// Frames of the request and of the response, in order.
    pub fn frames(&self, stream: u32) -> [Vec<Vec<u8>>; 2] {
        let path = format!("/{stream}");
        let last = |more: bool| if more { 0 } else { END_STREAM };
        let fields = [(":method", "POST"), (":path", path.as_str()), ("x", "1"), ("x", path.as_str())];
        let mut request = self.headers(stream, last(self.body.is_some() || self.trailers), &fields);
        if let Some(octets) = self.body {
            request.extend(self.data(stream, last(self.trailers), octets));
        }
        let mut response = Vec::new();
        if self.interim {
            response.extend(self.headers(stream, 0, &[(":status", "103"), ("link", "a")]));
        }
        let status = [(":status", "200"), ("y", path.as_str())];
        response.extend(self.headers(stream, last(self.response.is_some() || self.trailers), &status));
        if let Some(octets) = self.response {
            response.extend(self.data(stream, last(self.trailers), octets));
        }
        if self.trailers {
            request.extend(self.headers(stream, END_STREAM, &[("t", path.as_str())]));
            response.extend(self.headers(stream, END_STREAM, &[("t", path.as_str())]));
        }
        [request, response]
    }

    pub fn expected(&self, stream: u32) -> String {
        let (body, response) = (self.body.unwrap_or(0), self.response.unwrap_or(0));
        let interim = if self.interim { " (103)" } else { "" };
        format!("POST /{stream} {body} ->{interim} 200 {response}")
    }
}

/// Merges lists of frames, each in its order, as `choices` has it.
pub fn merge(mut lists: Vec<Vec<Vec<u8>>>, choices: &[usize]) -> Vec<u8> {
    let mut out = Vec::new();
    lists.iter_mut().for_each(|list| list.reverse());
    for i in 0.. {
        lists.retain(|list| !list.is_empty());
        if lists.is_empty() {
            break;
        }
        let at = choices[i % choices.len()] % lists.len();
        out.extend(lists[at].pop().unwrap());
    }
    out
}
