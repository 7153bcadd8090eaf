//! What the server does with one bulk request: which documents it takes, and how it answers.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::server::Request;

/// What the server does with one bulk request. The functions make the ones with a name; any other pair
/// may be put together by hand.
#[derive(Debug, Clone)]
pub struct Behaviour {
    /// What becomes of the documents.
    pub take: Take,
    /// What the client hears of it.
    pub answer: Answer,
}

/// What becomes of the documents of a request.
#[derive(Clone)]
pub enum Take {
    /// All are stored, but those that are there already.
    All,
    /// The same, but those that are refused.
    Unless(Arc<Refuse>),
    /// None; the body is read to its end.
    None,
    /// None; half of the body is read, or half of what there is of one in chunks, and the rest never.
    HalfOfBody,
    /// None, and nothing of the body is read before the answer.
    HeadOnly,
}

/// How the server answers. All but the first three end the connection.
#[derive(Debug, Clone)]
pub enum Answer {
    /// What a bulk answer is, by what was taken.
    Bulk,
    /// What is given.
    Fixed(Fixed),
    /// None, for as long as the client waits.
    Never,
    /// These bytes, which need not be HTTP.
    Raw(Vec<u8>),
    /// The head and half of the body of the bulk answer.
    HalfOfBulk,
    /// The beginning of a bulk answer, and then byte after byte, without end, with a pause before each.
    Drip(Duration),
    /// The beginning of a bulk answer, and then as much as the client takes, without end.
    Endless,
    /// The connection is closed without one.
    Close,
}

/// An answer that does not depend on the request.
#[derive(Debug, Clone, Default)]
pub struct Fixed {
    /// The status.
    pub status: u16,
    /// Content-Length is added if it is not among them.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// One document of a bulk request.
#[derive(Debug, Clone)]
pub struct Item {
    /// `create` or `index`.
    pub action: String,
    /// The index or data stream.
    pub index: String,
    /// Made up by the server if the request has none.
    pub id: String,
    /// The document.
    pub source: Value,
}

/// Why a document is not taken: a status and the error of its item.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// As 429.
    pub status: u16,
    /// As `circuit_breaking_exception`.
    pub kind: String,
    /// For people.
    pub reason: String,
}

/// Says which documents are refused.
pub type Refuse = dyn Fn(&Item) -> Option<Refusal> + Send + Sync;

/// Says what to do with the next bulk request, when its head has come.
pub type Script = Box<dyn FnMut(&Request) -> Behaviour + Send>;

impl Behaviour {
    /// Takes what is new, and says so.
    pub fn accept() -> Behaviour {
        Behaviour { take: Take::All, answer: Answer::Bulk }
    }

    /// Takes what is new and for which `refuse` gives nothing, and says so for each.
    pub fn per_item(refuse: impl Fn(&Item) -> Option<Refusal> + Send + Sync + 'static) -> Behaviour {
        Behaviour { take: Take::Unless(Arc::new(refuse)), answer: Answer::Bulk }
    }

    /// Takes nothing, and answers with a status and a body.
    pub fn status(status: u16, body: &str) -> Behaviour {
        let fixed = Fixed { status, body: body.as_bytes().to_vec(), ..Fixed::default() };
        Behaviour { take: Take::None, answer: Answer::Fixed(fixed) }
    }

    /// The same with a header Retry-After, in seconds, and no body.
    pub fn retry_after(status: u16, seconds: u32) -> Behaviour {
        let headers = vec![("Retry-After".to_owned(), seconds.to_string())];
        Behaviour { take: Take::None, answer: Answer::Fixed(Fixed { status, headers, body: Vec::new() }) }
    }

    /// Answers with a status before it has read the body, and ends the connection, as proxies do with 413.
    pub fn early(status: u16) -> Behaviour {
        Behaviour { take: Take::HeadOnly, answer: Answer::Fixed(Fixed { status, ..Fixed::default() }) }
    }

    /// Reads half of the body and closes.
    pub fn close_before_answer() -> Behaviour {
        Behaviour { take: Take::HalfOfBody, answer: Answer::Close }
    }

    /// Takes all, and closes in the middle of its answer.
    pub fn close_in_answer() -> Behaviour {
        Behaviour { take: Take::All, answer: Answer::HalfOfBulk }
    }

    /// Takes all, and closes without an answer.
    pub fn lose_answer() -> Behaviour {
        Behaviour { take: Take::All, answer: Answer::Close }
    }

    /// Takes all, and never answers.
    pub fn hang() -> Behaviour {
        Behaviour { take: Take::All, answer: Answer::Never }
    }

    /// Takes all, and answers byte by byte, without end.
    pub fn slow_drip(pause: Duration) -> Behaviour {
        Behaviour { take: Take::All, answer: Answer::Drip(pause) }
    }

    /// Takes all, and answers without end.
    pub fn huge_answer() -> Behaviour {
        Behaviour { take: Take::All, answer: Answer::Endless }
    }

    /// Takes all, and answers with what is not JSON.
    pub fn garbage_json() -> Behaviour {
        Behaviour { take: Take::All, ..Behaviour::status(200, "{\"took\":1,\"errors\":fal\u{0}<html>") }
    }

    /// One after the other, and then always the last.
    pub fn in_turn(
        first: impl IntoIterator<Item = Behaviour>,
        last: Behaviour,
    ) -> impl FnMut(&Request) -> Behaviour + Send + 'static {
        let mut first: VecDeque<Behaviour> = first.into_iter().collect();
        move |_| first.pop_front().unwrap_or_else(|| last.clone())
    }
}

impl Refusal {
    /// A refusal with a reason that says no more.
    pub fn new(status: u16, kind: &str) -> Refusal {
        Refusal { status, kind: kind.to_owned(), reason: "as the test wants it".to_owned() }
    }
}

impl fmt::Debug for Take {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Take::All => "All",
            Take::Unless(_) => "Unless(..)",
            Take::None => "None",
            Take::HalfOfBody => "HalfOfBody",
            Take::HeadOnly => "HeadOnly",
        })
    }
}
