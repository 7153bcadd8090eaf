//! What `headtrail read` finds in a capture.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::message::{End, Key, Lines, Message, Start};

/// Messages in a file, by direction, in order.
pub fn messages(file: &Path) -> HashMap<Key, Vec<Message>> {
    let output = Command::new(env!("CARGO_BIN_EXE_headtrail"))
        .args(["read", "--show-secrets", "--format", "json"])
        .arg(file)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}: {output:?}", file.display());
    let mut found: HashMap<Key, Vec<(Order, Message)>> = HashMap::new();
    for line in output.stdout.split(|&b| b == b'\n').filter(|line| !line.is_empty()) {
        let record: Value = serde_json::from_slice(line).unwrap();
        // The first record of a long call tells nothing that the second does not.
        if record["type"] == "transaction" && record["phase"] != "start" {
            transaction(&record, &mut found);
        }
    }
    let in_order = |mut list: Vec<(Order, Message)>| {
        list.sort_by_key(|&(order, _)| order);
        list.into_iter().map(|(_, message)| message).collect()
    };
    found.into_iter().map(|(key, list)| (key, in_order(list))).collect()
}

/// Connection, packet of the head, transaction: what was sent first stands first.
type Order = (u64, u64, u64);

fn transaction(record: &Value, found: &mut HashMap<Key, Vec<(Order, Message)>>) {
    let end = |name: &str| End {
        ip: record[name]["ip"].as_str().unwrap().to_string(),
        port: record[name]["port"].as_u64().unwrap() as u16,
    };
    let (source, destination) = (end("source"), end("destination"));
    let stream = record["stream"].as_u64();
    let mut id = record["id"].as_str().unwrap().rsplit('-').map(|part| part.parse().unwrap_or_default());
    let (number, connection) = (id.next().unwrap(), id.next().unwrap());
    let requests = Key { from: source.clone(), to: destination.clone(), stream };
    let responses = Key { from: destination, to: source, stream };
    let mut add = |key: &Key, message: Message| {
        let order = (connection, message.frame, number);
        // A request that asked for HTTP/2, and the answer, are of HTTP/1.1 and of no stream.
        let stream = key.stream.filter(|_| message.start == Start::None);
        found.entry(Key { stream, ..key.clone() }).or_default().push((order, message));
    };
    // What a server promises it sends itself, and the stream has an even number.
    let pushed = stream.is_some_and(|stream| stream % 2 == 0);
    let request = &record["request"];
    if !request.is_null() {
        let text = Text::of(request);
        let start = Start::Request(text.bytes(&request["method"]), text.bytes(&request["target"]));
        let key = if pushed { &responses } else { &requests };
        add(key, text.message(start, stream));
    }
    let response = &record["response"];
    for interim in record["interim"].as_array().unwrap() {
        let text = Text::of(interim);
        let start = Start::status(interim["status"].as_u64().unwrap() as u16, Vec::new());
        // Where it stands is not told; it is before its final response.
        let frame = response["frame"].as_u64().or(request["frame"].as_u64()).unwrap_or_default();
        add(&responses, Message { frame, ..text.message(start, stream) });
    }
    if !response.is_null() {
        let text = Text::of(response);
        let start =
            Start::status(response["status"].as_u64().unwrap() as u16, text.bytes(&response["reason"]));
        add(&responses, text.message(start, stream));
    }
}

/// The strings of a message.
struct Text<'a> {
    message: &'a Value,
    latin1: bool,
}

impl<'a> Text<'a> {
    fn of(message: &'a Value) -> Self {
        Self { message, latin1: message["latin1"] == true }
    }

    /// What was sent; what was not seen is unlike everything.
    fn bytes(&self, string: &Value) -> Vec<u8> {
        match string.as_str() {
            Some(text) if self.latin1 => text.chars().map(|c| u32::from(c) as u8).collect(),
            Some(text) => text.as_bytes().to_vec(),
            None => Vec::new(),
        }
    }

    fn lines(&self, lines: &Value) -> Lines {
        let all = lines.as_array().into_iter().flatten();
        all.map(|line| (self.bytes(&line[0]), self.bytes(&line[1]))).collect()
    }

    fn message(&self, start: Start, stream: Option<u64>) -> Message {
        let lines = self.lines(&self.message["lines"]);
        let http2 = stream.is_some()
            && start != Start::status(101, Vec::new())
            && lines.first().is_some_and(|(name, _)| name.starts_with(b":"));
        Message {
            start: if http2 { Start::None } else { start },
            lines,
            trailers: self.lines(&self.message["trailers"]),
            frame: self.message["frame"].as_u64().unwrap_or_default(),
        }
    }
}
