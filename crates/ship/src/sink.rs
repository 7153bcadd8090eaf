//! What a destination is to the shipper.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::batch::Document;

/// A destination. It blocks; its time limits are its own, and none is endless.
pub trait Sink: Send {
    /// Sends documents and tells what became of them. What it cannot tell is [`Answer::Again`]: better twice than not at all.
    fn send(&mut self, documents: &[Document<'_>]) -> Answer;

    /// Whether it is there and lets us in, without documents: asked before the first batch, so that a wrong config is told at once.
    ///
    /// # Errors
    ///
    /// It is not there, or does not want us.
    fn check(&mut self) -> Result<(), Trouble> {
        Ok(())
    }

    /// Bytes that were sent, as they went over the wire or onto the disk.
    fn sent_bytes(&self) -> u64;
}

/// What became of what was sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// One for each document, in order.
    Items(Vec<Item>),
    /// Too much at once: half of it is tried, and a single document is refused.
    TooLarge(Refusal),
    /// Not now: everything is tried again.
    Again(Trouble),
}

impl Answer {
    /// What it means that the first `stored` of `documents` are there, and then `trouble` came.
    #[must_use]
    pub fn of_first(stored: usize, documents: usize, trouble: Trouble) -> Self {
        if stored == 0 {
            return Self::Again(trouble);
        }
        let mut items = vec![Item::Stored; stored.min(documents)];
        items.resize(documents, Item::Again);
        Self::Items(items)
    }
}

/// What became of one document.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Item {
    /// It is there.
    Stored,
    /// It was there already.
    Duplicate,
    /// Not now.
    Again,
    /// Never: it goes into the dead-letter file.
    Refused(Refusal),
}

/// Why a document is refused for ever.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Refusal {
    /// Status, where the destination has such.
    pub status: Option<u16>,
    /// A short name, such as `document_parsing_exception`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What the destination said.
    pub reason: String,
}

/// Why it does not go on at the moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trouble {
    /// A name from a short list, for counting: `connect`, `connection`, `tls`, `time_out`, `busy`, `server_error`, `unauthorized`, `answer`, `config`, `disk`.
    pub kind: &'static str,
    /// What happened, in words; bounded, without secrets.
    pub what: String,
    /// How long the destination asks us to wait.
    pub wait: Option<Duration>,
}

/// Longest text that is kept of what a destination said.
pub const TEXT_BYTES_MAX: usize = 500;

/// As much of a text as is kept, without control characters: it comes from elsewhere, and goes to terminals and logs.
#[must_use]
pub fn bounded(text: &str) -> String {
    let mut out: String = String::with_capacity(text.len().min(TEXT_BYTES_MAX));
    for c in text.chars() {
        let c = if c.is_control() { ' ' } else { c };
        if out.len() + c.len_utf8() > TEXT_BYTES_MAX {
            out.push('…');
            break;
        }
        out.push(c);
    }
    out
}
