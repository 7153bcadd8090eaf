//! The dashboards, as a table: which question each panel answers, with which fields.
//!
//! Nothing here knows how a dashboard server wants it; that is in `saved`. The page of dashboards is made from this, and a test holds
//! that each field is in the mapping and has a value in some record. Header objects are not counted by their names: OpenSearch
//! cannot.

/// A dashboard.
#[derive(Clone, Copy, Debug)]
pub struct Dashboard {
    /// Last part of its id.
    pub id: &'static str,
    /// Title.
    pub title: &'static str,
    /// What it is for.
    pub question: &'static str,
    /// Its panels, from left to right and from top to bottom.
    pub panels: &'static [Panel],
}

/// A panel.
#[derive(Clone, Copy, Debug)]
pub struct Panel {
    /// Title, of which its id is made.
    pub title: &'static str,
    /// What question it answers.
    pub question: &'static str,
    /// What it shows.
    pub shows: Shows,
    /// Of which documents: those for which all of this is true.
    pub only: &'static [Term],
    /// Width, of [`WIDTH`].
    pub width: u32,
}

/// Width of a dashboard, in the unit of both products.
pub const WIDTH: u32 = 48;

/// What a panel shows.
#[derive(Clone, Copy, Debug)]
pub enum Shows {
    /// A number.
    Number(Measure),
    /// Something over time: bars, one on top of the other.
    Bars(Measure, Split),
    /// Something over time: lines.
    Lines(Measure),
    /// Values of fields, one within the other, each row with its measures; most of the first measure first.
    Table(&'static [&'static str], &'static [Measure]),
    /// Records, with columns, sorted by a field.
    Records(&'static [&'static str], &'static str, Order),
}

/// What is measured.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Measure {
    /// How many documents.
    Count,
    /// Sum of a field.
    Sum(&'static str),
    /// Largest value of a field.
    Max(&'static str),
    /// How many values of a field.
    Distinct(&'static str),
    /// [`PERCENTS`] of a field.
    Percentiles(&'static str),
}

/// Which percentiles.
pub const PERCENTS: [u32; 3] = [50, 95, 99];

/// How bars are taken apart.
#[derive(Clone, Copy, Debug)]
pub enum Split {
    /// By the values of a field.
    By(&'static str),
    /// By the first digit of the status code, and whether there is one.
    StatusClass,
}

/// The field behind [`Split::StatusClass`].
pub const STATUS: &str = "http.response.status_code";

/// Which comes first.
#[derive(Clone, Copy, Debug)]
pub enum Order {
    /// The smallest.
    Ascending,
    /// The largest.
    Descending,
}

/// Something that is true of a document.
#[derive(Clone, Copy, Debug)]
pub enum Term {
    /// It is an exchange. Each counts once: of a long call its end, and not its start.
    Exchange,
    /// A field has this value.
    Is(&'static str, &'static str),
    /// A field has one of these values.
    OneOf(&'static str, &'static [u32]),
    /// A field has at least this value.
    AtLeast(&'static str, u32),
    /// A field has a value.
    Exists(&'static str),
}

impl Term {
    /// The field.
    #[must_use]
    pub fn field(self) -> &'static str {
        match self {
            Self::Exchange => "event.dataset",
            Self::Is(field, _) | Self::OneOf(field, _) | Self::AtLeast(field, _) | Self::Exists(field) => {
                field
            }
        }
    }
}

impl Measure {
    /// The field, if it is one of a field.
    #[must_use]
    pub fn field(self) -> Option<&'static str> {
        match self {
            Self::Count => None,
            Self::Sum(field) | Self::Max(field) | Self::Distinct(field) | Self::Percentiles(field) => {
                Some(field)
            }
        }
    }
}

impl Panel {
    /// All fields that it uses, each once, what it shows first.
    #[must_use]
    pub fn fields(&self) -> Vec<&'static str> {
        let mut fields = match self.shows {
            Shows::Number(measure) | Shows::Lines(measure) => measure.field().into_iter().collect(),
            Shows::Bars(measure, split) => {
                let split = match split {
                    Split::By(field) => field,
                    Split::StatusClass => STATUS,
                };
                [split].into_iter().chain(measure.field()).collect()
            }
            Shows::Table(rows, measures) => {
                rows.iter().copied().chain(measures.iter().filter_map(|m| m.field())).collect()
            }
            Shows::Records(columns, sort, _) => [&[sort], columns].concat(),
        };
        fields.extend(self.only.iter().map(|term| term.field()));
        let all = std::mem::take(&mut fields);
        all.into_iter().for_each(|field| {
            if !fields.contains(&field) {
                fields.push(field);
            }
        });
        fields
    }
}

use Measure::{Count, Distinct, Max, Percentiles, Sum};
use Order::{Ascending, Descending};
use Shows::{Bars, Lines, Number, Records, Table};
use Term::{AtLeast, Exists, Is, OneOf};

const TRANSACTION: Term = Term::Exchange;
const LIFECYCLE: Term = Is("event.dataset", "headtrail.lifecycle");
const LOSS: Term = Is("event.dataset", "headtrail.loss");

const fn panel(
    title: &'static str,
    question: &'static str,
    width: u32,
    only: &'static [Term],
    shows: Shows,
) -> Panel {
    Panel { title, question, shows, only, width }
}

/// All dashboards.
pub const DASHBOARDS: &[Dashboard] = &[OVERVIEW, PERFORMANCE, SECURITY, AUDIT, CONNECTION];

#[rustfmt::skip]
const OVERVIEW: Dashboard = Dashboard {
    id: "overview",
    title: "Headtrail: overview",
    question: "What goes on, how much of it, between whom, and how much of it fails?",
    panels: &[
        panel("Requests", "How many requests were recorded?", 12, &[TRANSACTION], Number(Count)),
        panel("Failed requests", "How many got an answer of 400 or above?", 12, &[AtLeast(STATUS, 400)], Number(Count)),
        panel("Clients", "From how many addresses did they come?", 12, &[TRANSACTION], Number(Distinct("client.ip"))),
        panel("Lost", "Is anything missing from this picture?", 12, &[LOSS], Number(Sum("headtrail.loss.count"))),
        panel("Answers over time", "How does the rate change, and the part that fails?", 48, &[TRANSACTION], Bars(Count, Split::StatusClass)),
        panel("Directions over time", "Do requests come to this host, or go out from it?", 24, &[TRANSACTION], Bars(Count, Split::By("network.direction"))),
        panel("Methods over time", "Is it reading or writing?", 24, &[TRANSACTION], Bars(Count, Split::By("http.request.method"))),
        panel("Hosts", "Which hosts are asked most, and by how many?", 24, &[TRANSACTION], Table(&["url.domain"], &[Count, Distinct("client.ip")])),
        panel("Paths", "What is asked for most?", 24, &[TRANSACTION], Table(&["url.path", "http.request.method"], &[Count])),
        panel("Top clients", "Who asks most, and for how many different things?", 24, &[TRANSACTION], Table(&["client.ip"], &[Count, Distinct("url.path")])),
        panel("Processes", "Which programs of this host answer, and which ask?", 24, &[TRANSACTION], Table(&["process.name", "headtrail.role"], &[Count])),
    ],
};

#[rustfmt::skip]
const PERFORMANCE: Dashboard = Dashboard {
    id: "performance",
    title: "Headtrail: API performance",
    question: "How long do answers take, where, and since when?",
    panels: &[
        panel("Duration over time", "Did answers become slower, for most or for a few?", 48, &[TRANSACTION], Lines(Percentiles("event.duration"))),
        panel("Waiting over time", "Is it the server that takes the time, until the first byte of its answer?", 24, &[TRANSACTION], Lines(Percentiles("headtrail.timing.wait_ns"))),
        panel("Transfer over time", "Is it the way of the answer, from its first byte to its last?", 24, &[TRANSACTION], Lines(Percentiles("headtrail.timing.response_ns"))),
        panel("Duration by path", "What do the most used paths cost?", 48, &[TRANSACTION], Table(&["url.path"], &[Count, Percentiles("event.duration")])),
        panel("Slowest paths", "Which paths had the slowest answers, and on which host?", 24, &[TRANSACTION], Table(&["url.path", "url.domain"], &[Max("event.duration"), Count])),
        panel("Duration by host", "Which host is slow?", 24, &[TRANSACTION], Table(&["url.domain"], &[Count, Percentiles("event.duration")])),
        panel("Largest answers", "What fills the wire?", 24, &[TRANSACTION], Table(&["url.path"], &[Sum("http.response.body.bytes"), Max("http.response.body.bytes"), Count])),
        panel("Largest uploads", "Who sends most?", 24, &[TRANSACTION], Table(&["client.ip", "url.path"], &[Sum("http.request.body.bytes"), Count])),
        panel("Slowest requests", "Which requests were they?", 48, &[TRANSACTION], Records(&["event.duration", "http.request.method", "url.original", STATUS, "client.ip", "process.name", "headtrail.connection"], "event.duration", Descending)),
    ],
};

#[rustfmt::skip]
const SECURITY: Dashboard = Dashboard {
    id: "security",
    title: "Headtrail: security",
    question: "Who is refused, who sends what no good client sends, and which secrets are on their way?",
    panels: &[
        panel("Refused", "How many were told 401 or 403?", 12, &[OneOf(STATUS, &[401, 403])], Number(Count)),
        panel("Odd messages", "How many messages break the rules of HTTP?", 12, &[Exists("headtrail.anomalies")], Number(Count)),
        panel("Unsigned tokens", "Does anybody send tokens without a signature?", 12, &[Is("headtrail.features.jwt.unsigned", "true")], Number(Count)),
        panel("Attack patterns", "How many requests look like an attack?", 12, &[Is("headtrail.features.patterns.kind", "attack")], Number(Count)),
        panel("Refused over time", "Is somebody trying doors?", 24, &[OneOf(STATUS, &[401, 403, 404, 405, 429])], Bars(Count, Split::By(STATUS))),
        panel("Failures by client", "Whose requests fail, and on how many paths?", 24, &[AtLeast(STATUS, 400)], Table(&["client.ip", STATUS], &[Count, Distinct("url.path")])),
        panel("Anomalies", "What is odd, and who sent it?", 24, &[Exists("headtrail.anomalies")], Table(&["headtrail.anomalies", "client.ip"], &[Count])),
        panel("Incomplete records", "What could not be seen whole, and why? A hole is also a place to hide.", 24, &[Exists("headtrail.incomplete.reason")], Table(&["headtrail.incomplete.reason", "headtrail.incomplete.side"], &[Count])),
        panel("Patterns", "Which kinds of attack or secret were found, and where in the message?", 24, &[Exists("headtrail.features.patterns.class")], Table(&["headtrail.features.patterns.class", "headtrail.features.patterns.name"], &[Count, Distinct("client.ip")])),
        panel("Token algorithms", "Which algorithms sign the tokens, and is one of them none?", 24, &[Exists("headtrail.features.jwt.parts")], Table(&["headtrail.features.jwt.alg", "headtrail.features.jwt.name"], &[Count, Distinct("client.ip")])),
        panel("Basic credentials", "Which users still send a password with each request, and from how many addresses?", 24, &[Exists("headtrail.features.basic.name")], Table(&["headtrail.features.basic.user"], &[Count, Distinct("client.ip")])),
        panel("Keys", "Whose keys travel over this host, and who sends them?", 24, &[Exists("headtrail.features.key_shape.provider")], Table(&["headtrail.features.key_shape.provider", "client.ip"], &[Count])),
        panel("Redacted lines", "In which lines were secrets, and on which hosts?", 24, &[Exists("headtrail.redacted")], Table(&["headtrail.redacted", "url.domain"], &[Count])),
        panel("User agents", "Which programs get most refusals?", 24, &[AtLeast(STATUS, 400)], Table(&["user_agent.original"], &[Count, Distinct("client.ip")])),
    ],
};

#[rustfmt::skip]
const AUDIT: Dashboard = Dashboard {
    id: "audit",
    title: "Headtrail: audit",
    question: "Can this record be trusted, and what does it not hold?",
    panels: &[
        panel("Records over time", "Did records of all types come all the time?", 48, &[], Bars(Count, Split::By("event.dataset"))),
        panel("Lost records", "How much was lost?", 12, &[LOSS], Number(Sum("headtrail.loss.count"))),
        panel("Signed blocks", "How far did the journal get that was signed last?", 12, &[], Number(Max("headtrail.checkpoint.size"))),
        panel("Lines left out", "How many lines did the settings leave out?", 12, &[], Number(Sum("headtrail.left_out"))),
        panel("Unreadable records", "How many records are of a newer version than their reader?", 12, &[Exists("headtrail.undecoded_bytes")], Number(Count)),
        panel("Lost over time", "When was something lost, and why?", 24, &[LOSS], Bars(Sum("headtrail.loss.count"), Split::By("headtrail.loss.reason"))),
        panel("Lost by stage", "Where was it lost?", 24, &[LOSS], Table(&["headtrail.loss.stage", "headtrail.loss.reason"], &[Sum("headtrail.loss.count"), Count])),
        panel("Capture was off", "When was nothing recorded, from when to when?", 24, &[LIFECYCLE, Exists("event.end")], Records(&["event.start", "event.end", "event.action", "headtrail.lifecycle.version"], "@timestamp", Descending)),
        panel("Not read", "What spoke on the hosts without being read, and why?", 24, &[Exists("headtrail.coverage.unread.what")], Table(&["headtrail.coverage.unread.what", "headtrail.coverage.unread.why"], &[Count, Max("headtrail.coverage.unread.count")])),
        panel("Lifecycle", "When did it start, stop and change, with which filter, config and redaction?", 48, &[LIFECYCLE], Records(&["event.action", "headtrail.lifecycle.version", "headtrail.lifecycle.filter", "headtrail.lifecycle.redaction", "headtrail.lifecycle.config_hash"], "@timestamp", Descending)),
        panel("Checkpoints", "Which signed states are here, outside of the host that signed them, to compare its journal with?", 48, &[Exists("headtrail.checkpoint.root")], Records(&["headtrail.checkpoint.origin", "headtrail.checkpoint.size", "headtrail.checkpoint.root", "headtrail.checkpoint.signature"], "@timestamp", Descending)),
    ],
};

#[rustfmt::skip]
const CONNECTION: Dashboard = Dashboard {
    id: "connection",
    title: "Headtrail: one connection",
    question: "What happened on one connection, in order? Choose it in the list, or search `headtrail.connection`.",
    panels: &[
        panel("Connections", "Which connections are there, and how busy is each? The plus sign beside one chooses it.", 24, &[TRANSACTION], Table(&["headtrail.connection"], &[Count, Max("event.duration")])),
        panel("Ends", "Who talks with whom on it, and what do other tools call the flow?", 24, &[TRANSACTION], Table(&["client.ip", "server.ip", "network.community_id"], &[Count])),
        panel("Story", "What was asked and answered, in the order of time?", 48, &[TRANSACTION], Records(&["http.request.method", "url.original", STATUS, "event.duration", "process.name", "headtrail.connection"], "@timestamp", Ascending)),
        panel("Answers of the connection", "When did it work, and when not?", 48, &[TRANSACTION], Bars(Count, Split::StatusClass)),
    ],
};
