//! Documents as frames of Lumberjack, version 2. All numbers are big-endian.
//!
//! | frame | bytes |
//! | --- | --- |
//! | window | `2W`, how many documents follow |
//! | document | `2J`, sequence, length, JSON |
//! | group | `2C`, length, documents' frames packed with zlib |
//!
//! Sequences begin with 1 in each window: some receivers acknowledge the last sequence, others the number of documents, and only so are
//! the two the same.
//!
//! Each document gets `@metadata`, which Logstash keeps beside the event and out of what it sends on: `beat` and `version` because pipelines
//! name indices by them, and `_id` so that an output can give what comes twice the same id.

use flate2::{Compress, Compression, FlushCompress, Status};

use crate::batch::Document;
use crate::sink::Refusal;

/// Documents of one window, before packing, but for a single one that is larger. It bounds our memory, and what a receiver has to unpack.
pub(super) const GROUP_BYTES_MAX: usize = 1 << 20;

/// Longest document. Receivers in Java keep lengths in signed 32 bits.
pub(super) const DOCUMENT_BYTES_MAX: usize = i32::MAX as usize - 4096;

/// More costs more time than it saves bytes; Beats have the same by default.
const LEVEL: u32 = 3;

const METADATA: &str = concat!(
    "\"@metadata\":{\"beat\":\"headtrail\",\"version\":\"",
    env!("CARGO_PKG_VERSION"),
    "\",\"type\":\"_doc\",\"_id\":"
);

/// Bytes of a frame beside the document and its id.
const FRAME_EXTRA_BYTES: usize = 10 + 1 + METADATA.len() + 4;

/// Frames on their way out; its memory is used again.
pub(super) struct Encoder {
    packer: Option<Compress>,
    /// Frames that are to be packed.
    raw: Vec<u8>,
    /// What goes onto the wire.
    out: Vec<u8>,
}

impl Encoder {
    pub(super) fn new(compress: bool) -> Self {
        let packer = compress.then(|| Compress::new(Compression::new(LEVEL), true));
        Self { packer, raw: Vec::new(), out: Vec::new() }
    }

    /// What is to be written.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.out
    }

    /// Forgets what was written. Memory that only a huge document needed is given back.
    pub(super) fn clear(&mut self) {
        for buffer in [&mut self.raw, &mut self.out] {
            buffer.clear();
            buffer.shrink_to(2 * GROUP_BYTES_MAX);
        }
    }

    /// Adds a window of the first documents: as many as fit, but at least one, in a single group. Answers how many.
    ///
    /// A single one, because receivers differ in what they make of several: Elastic's in Go takes the end of a group for the end of all.
    pub(super) fn window(&mut self, documents: &[Document<'_>], most: usize) -> usize {
        let taken = fitting(documents, most);
        self.out.extend_from_slice(b"2W");
        self.out.extend_from_slice(&u32::try_from(taken).unwrap_or(u32::MAX).to_be_bytes());
        self.raw.clear();
        let frames = if self.packer.is_some() { &mut self.raw } else { &mut self.out };
        for (document, sequence) in documents.iter().take(taken).zip(1..) {
            push_document(frames, document, sequence);
        }
        if let Some(packer) = &mut self.packer
            && !pack(packer, &self.raw, &mut self.out)
        {
            // A window may hold frames as they are, too.
            self.out.extend_from_slice(&self.raw);
        }
        taken
    }
}

/// How many documents fit into one window, one at least.
fn fitting(documents: &[Document<'_>], most: usize) -> usize {
    let mut bytes = 0;
    let fit = documents.iter().take(most).take_while(|document| {
        bytes += document.body.len() + document.id.len() + FRAME_EXTRA_BYTES;
        bytes <= GROUP_BYTES_MAX
    });
    fit.count().clamp(1, documents.len().max(1))
}

/// Why a document is never sent, if so.
pub(super) fn refusal(document: &Document<'_>) -> Option<Refusal> {
    let bytes = document.body.len();
    (bytes > DOCUMENT_BYTES_MAX).then(|| Refusal {
        status: None,
        kind: "too_large".to_owned(),
        reason: format!("{bytes} bytes are more than a frame takes"),
    })
}

fn push_document(frames: &mut Vec<u8>, document: &Document<'_>, sequence: u32) {
    frames.extend_from_slice(b"2J");
    frames.extend_from_slice(&sequence.to_be_bytes());
    let length_at = frames.len();
    frames.extend_from_slice(&[0; 4]);
    match document.body.strip_suffix(b"}") {
        Some(open) => {
            frames.extend_from_slice(open);
            if !open.ends_with(b"{") {
                frames.push(b',');
            }
            frames.extend_from_slice(METADATA.as_bytes());
            push_string(frames, document.id);
            frames.extend_from_slice(b"}}");
        }
        // Not an object, so not by us; the receiver shall judge.
        None => frames.extend_from_slice(document.body),
    }
    set_length(frames, length_at);
}

fn push_string(frames: &mut Vec<u8>, text: &str) {
    if text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\') {
        frames.push(b'"');
        frames.extend_from_slice(text.as_bytes());
        frames.push(b'"');
    } else {
        frames.extend_from_slice(serde_json::Value::from(text).to_string().as_bytes());
    }
}

/// Writes how many bytes stand behind the length that begins at `at`. That it fits was looked at before.
fn set_length(frames: &mut [u8], at: usize) {
    let length = u32::try_from(frames.len().saturating_sub(at + 4)).unwrap_or(u32::MAX);
    if let Some(place) = frames.get_mut(at..at + 4) {
        place.copy_from_slice(&length.to_be_bytes());
    }
}

/// Appends `frames` as one packed frame; false, and nothing is appended, if zlib fails.
fn pack(packer: &mut Compress, frames: &[u8], out: &mut Vec<u8>) -> bool {
    let start = out.len();
    out.extend_from_slice(b"2C\0\0\0\0");
    packer.reset();
    loop {
        let read = usize::try_from(packer.total_in()).unwrap_or(usize::MAX);
        let rest = frames.get(read..).unwrap_or_default();
        out.reserve(rest.len() / 4 + 4096);
        match packer.compress_vec(rest, out, FlushCompress::Finish) {
            Ok(Status::StreamEnd) => break,
            Ok(Status::Ok | Status::BufError) => {}
            Err(_) => {
                out.truncate(start);
                return false;
            }
        }
    }
    set_length(out, start + 2);
    true
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::ZlibDecoder;
    use headtrail_record::record::Kind;
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn document<'a>(id: &'a str, body: &'a [u8]) -> Document<'a> {
        Document { kind: Kind::TRANSACTION, id, body, time_ns: 0, record: 0 }
    }

    fn number(bytes: &mut &[u8]) -> usize {
        let (number, rest) = bytes.split_first_chunk().expect("four bytes");
        *bytes = rest;
        u32::from_be_bytes(*number) as usize
    }

    /// Reads frames as a receiver does: sequences and JSON.
    fn read(mut bytes: &[u8], events: &mut Vec<(usize, Value)>) {
        while let Some((kind, rest)) = bytes.split_first_chunk::<2>() {
            bytes = rest;
            match kind {
                b"2W" => {
                    number(&mut bytes);
                }
                b"2J" => {
                    let sequence = number(&mut bytes);
                    let length = number(&mut bytes);
                    let (json, rest) = bytes.split_at(length);
                    events.push((sequence, serde_json::from_slice(json).expect("JSON")));
                    bytes = rest;
                }
                b"2C" => {
                    let length = number(&mut bytes);
                    let (packed, rest) = bytes.split_at(length);
                    let mut frames = Vec::new();
                    ZlibDecoder::new(packed).read_to_end(&mut frames).expect("zlib");
                    assert!(frames.starts_with(b"2J"));
                    read(&frames, events);
                    bytes = rest;
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_window_is_the_bytes_that_receivers_expect() {
        let mut encoder = Encoder::new(false);
        assert_eq!(encoder.window(&[document("a\"b", b"{}")], 7), 1);
        let json = format!(
            r#"{{"@metadata":{{"beat":"headtrail","version":"{}","type":"_doc","_id":"a\"b"}}}}"#,
            env!("CARGO_PKG_VERSION")
        );
        let mut expected = b"2W\0\0\0\x012J\0\0\0\x01\0\0\0".to_vec();
        expected.push(u8::try_from(json.len()).expect("short"));
        expected.extend_from_slice(json.as_bytes());
        assert_eq!(encoder.bytes(), expected);
    }

    #[test]
    fn a_huge_document_is_a_group_of_its_own_and_leaves_no_memory_behind() {
        let body = format!("{{\"a\":\"{}\"}}", "x".repeat(3 * GROUP_BYTES_MAX));
        let mut encoder = Encoder::new(false);
        assert_eq!(encoder.window(&[document("1", body.as_bytes()), document("2", b"{}")], 7), 1);
        encoder.clear();
        assert!(encoder.out.capacity() <= 2 * GROUP_BYTES_MAX);
    }

    proptest! {
        #[test]
        fn every_document_arrives_once_and_in_order(
            compress: bool, most in 1_usize..50,
            documents in prop::collection::vec((".{0,12}", 0_usize..300_000), 1..40),
        ) {
            let bodies: Vec<String> =
                documents.iter().map(|(text, fill)| serde_json::json!({"a": text, "b": "y".repeat(*fill)}).to_string()).collect();
            let documents: Vec<_> =
                documents.iter().zip(&bodies).map(|((id, _), body)| document(id, body.as_bytes())).collect();
            let mut encoder = Encoder::new(compress);
            let mut events = Vec::new();
            let mut sent = 0;
            while sent < documents.len() {
                let taken = encoder.window(&documents[sent..], most);
                prop_assert!((1..=most).contains(&taken));
                // Ids that need escapes, as ours do not, are longer than is reckoned with.
                let escapes = 5 * documents[sent..sent + taken].iter().map(|d| d.id.len()).sum::<usize>();
                prop_assert!(encoder.bytes().len() <= GROUP_BYTES_MAX + 6 + escapes || compress);
                let before = events.len();
                read(encoder.bytes(), &mut events);
                let sequences: Vec<usize> = events[before..].iter().map(|(sequence, _)| *sequence).collect();
                prop_assert_eq!(sequences, (1..=taken).collect::<Vec<_>>());
                encoder.clear();
                sent += taken;
            }
            prop_assert_eq!(events.len(), documents.len());
            for (index, (_, mut event)) in events.into_iter().enumerate() {
                let metadata = event.as_object_mut().expect("object").remove("@metadata").expect("metadata");
                prop_assert_eq!(metadata["_id"].as_str(), Some(documents[index].id));
                prop_assert_eq!(&event.to_string(), &bodies[index]);
            }
        }
    }
}
