//! Which field lines stand on the record.

use crate::transaction::{Message, Span, StartLine};

use super::settings::Headers;

/// Names, each with or without a `*` at its end.
#[derive(Clone, Default)]
struct Names {
    /// In lower case; whether any rest may follow.
    names: Vec<(Vec<u8>, bool)>,
}

impl Names {
    fn new(names: &[String]) -> Self {
        let name = |name: &String| match name.strip_suffix('*') {
            Some(beginning) => (beginning.to_ascii_lowercase().into_bytes(), true),
            None => (name.to_ascii_lowercase().into_bytes(), false),
        };
        Self { names: names.iter().map(name).collect() }
    }

    fn hold(&self, name: &[u8]) -> bool {
        self.names.iter().any(|(known, open)| match open {
            true => name.get(..known.len()).is_some_and(|start| start.eq_ignore_ascii_case(known)),
            false => name.eq_ignore_ascii_case(known),
        })
    }
}

/// Says of each line whether it stays.
#[derive(Clone, Default)]
pub(super) struct Lines {
    allow: Names,
    deny: Names,
}

impl Lines {
    pub(super) fn new(headers: &Headers) -> Self {
        Self { allow: Names::new(&headers.allow), deny: Names::new(&headers.deny) }
    }

    pub(super) fn keep_all(&self) -> bool {
        self.allow.names.is_empty() && self.deny.names.is_empty()
    }

    fn keep(&self, name: &[u8]) -> bool {
        (self.allow.names.is_empty() || self.allow.hold(name)) && !self.deny.hold(name)
    }

    /// Takes lines and their text away from a message; returns how many.
    pub(super) fn trim(&self, message: &mut Message) -> u32 {
        let before = message.lines.len() + message.trailers.len();
        let Message { text, lines, trailers, .. } = message;
        lines.retain(|line| self.keep(line.name.get(text)));
        trailers.retain(|line| self.keep(line.name.get(text)));
        let left_out = before - (lines.len() + trailers.len());
        if left_out > 0 {
            compact(message);
        }
        left_out as u32
    }
}

/// Builds the text anew from what still points into it: bytes of lines that are gone would be stored with it.
fn compact(message: &mut Message) {
    let old = std::mem::take(&mut message.text);
    let mut text = Vec::with_capacity(old.len());
    let mut copy = |span: Span| {
        if span.is_unseen() {
            return span;
        }
        let start = text.len();
        text.extend_from_slice(span.get(&old));
        Span::of(start, text.len())
    };
    message.start = match message.start {
        StartLine::Request { method, target } => {
            StartLine::Request { method: copy(method), target: copy(target) }
        }
        StartLine::Status { status, reason } => StartLine::Status { status, reason: copy(reason) },
    };
    for line in message.lines.iter_mut().chain(&mut message.trailers) {
        (line.name, line.value) = (copy(line.name), copy(line.value));
    }
    message.text = text;
}
