//! Every type of record, as it comes out of a journal or goes into it.
//!
//! A transaction is large, frequent and made by redaction only ([`crate::transaction`]); the others are plain data and rare,
//! so they own their strings. What this version has no type for is kept as bytes ([`Unknown`]): a reader hands on
//! what it does not understand, and never drops it.

use std::borrow::Cow;

use crate::event::ProcessRef;
use crate::json::{Context, Processes, write_transaction_id};
use crate::transaction::{Process, Transaction};

/// A string that is a constant for who writes a record, and owned by who reads it.
pub type Text = Cow<'static, str>;

/// The type of a record, by its number in `record.proto`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Kind(pub u32);

impl Kind {
    /// An HTTP request and its response.
    pub const TRANSACTION: Self = Self(1);
    /// A connection or flow.
    pub const CONNECTION: Self = Self(2);
    /// The headers of one packet.
    pub const PACKET: Self = Self(3);
    /// A rule has fired.
    pub const ALERT: Self = Self(4);
    /// A fact about an earlier record.
    pub const ANNOTATION: Self = Self(5);
    /// Something was lost.
    pub const LOSS: Self = Self(6);
    /// Something happened to the recorder.
    pub const LIFECYCLE: Self = Self(7);
    /// What is not read.
    pub const COVERAGE: Self = Self(8);
    /// The journal signed its state.
    pub const CHECKPOINT: Self = Self(9);
    /// Greatest number that a type can have: a block's header has a bit for each.
    pub const NUMBER_MAX: u32 = 31;
    /// All that this version knows by name, from number 1 on.
    pub const NAMES: [&'static str; 9] = [
        "transaction",
        "connection",
        "packet",
        "alert",
        "annotation",
        "loss",
        "lifecycle",
        "coverage",
        "checkpoint",
    ];

    /// The type of that name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        (1..).zip(Self::NAMES).find(|(_, known)| *known == name).map(|(number, _)| Self(number))
    }

    /// The name in records; one that is not known is `unknown_<number>`.
    #[must_use]
    pub fn name(self) -> Text {
        let known = usize::try_from(self.0).ok().and_then(|n| Self::NAMES.get(n.checked_sub(1)?));
        known.map_or_else(|| unknown(self.0), |name| Text::Borrowed(name))
    }
}

/// How a number without a name is shown.
pub(crate) fn unknown(number: u32) -> Text {
    format!("unknown_{number}").into()
}

/// One record.
#[derive(Debug)]
pub enum Record {
    /// An HTTP request and its response.
    Transaction(Box<Stored>),
    /// A fact about an earlier record.
    Annotation(Annotation),
    /// Something was lost.
    Loss(Loss),
    /// Something happened to the recorder.
    Lifecycle(Lifecycle),
    /// What is not read.
    Coverage(Coverage),
    /// The journal signed its state.
    Checkpoint(Checkpoint),
    /// A type, or a form of one, that this version does not know.
    Unknown(Unknown),
}

impl Record {
    /// Its type.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Transaction(_) => Kind::TRANSACTION,
            Self::Annotation(_) => Kind::ANNOTATION,
            Self::Loss(_) => Kind::LOSS,
            Self::Lifecycle(_) => Kind::LIFECYCLE,
            Self::Coverage(_) => Kind::COVERAGE,
            Self::Checkpoint(_) => Kind::CHECKPOINT,
            Self::Unknown(unknown) => unknown.kind,
        }
    }

    /// Its time, nanoseconds since the Unix epoch.
    #[must_use]
    pub fn time_ns(&self) -> u64 {
        match self {
            Self::Transaction(stored) => stored.transaction.time_ns(),
            Self::Annotation(annotation) => annotation.time_ns,
            Self::Loss(loss) => loss.time_ns,
            Self::Lifecycle(lifecycle) => lifecycle.time_ns,
            Self::Coverage(coverage) => coverage.time_ns,
            Self::Checkpoint(checkpoint) => checkpoint.time_ns,
            Self::Unknown(unknown) => unknown.time_ns,
        }
    }
}

/// The id of a record, the same at every reading: a transaction's own, of others the place in the journal.
#[must_use]
pub fn record_id(record: &Record, journal: u64, sequence: u64) -> String {
    match record {
        Record::Transaction(stored) => {
            let mut id = Vec::with_capacity(40);
            write_transaction_id(&mut id, stored.run, stored.transaction.facts());
            String::from_utf8(id).unwrap_or_default()
        }
        _ => format!("{journal:016x}-{sequence}"),
    }
}

/// A transaction with what its writer knew besides: all that printing it takes.
#[derive(Debug)]
pub struct Stored {
    /// The transaction.
    pub(crate) transaction: Transaction,
    /// The run that saw it.
    pub(crate) run: u64,
    /// Names of its processes.
    pub(crate) processes: StoredProcesses,
}

impl Stored {
    /// The transaction.
    #[must_use]
    pub fn transaction(&self) -> &Transaction {
        &self.transaction
    }

    /// What the writers want to know besides.
    #[must_use]
    pub fn context(&self) -> Context<'_> {
        Context { run: self.run, processes: &self.processes }
    }
}

/// What was known of the processes of one transaction when it was written.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct StoredProcesses(pub(crate) Vec<(ProcessRef, Process)>);

impl Processes for StoredProcesses {
    fn process(&self, of: &ProcessRef) -> Option<&Process> {
        self.0.iter().find(|(known, _)| known == of).map(|(_, process)| process)
    }
}

/// Names and values.
pub type Details = Vec<(Text, Text)>;

/// Something was lost.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Loss {
    /// When this was told, nanoseconds since the Unix epoch.
    pub time_ns: u64,
    /// Where it was lost.
    pub stage: Text,
    /// Why.
    pub reason: Text,
    /// How many.
    pub count: u64,
    /// Begin of the time in which it was lost, nanoseconds since the Unix epoch.
    pub since_ns: u64,
    /// Its end.
    pub until_ns: u64,
}

/// Something happened to the recorder itself.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Lifecycle {
    /// When, nanoseconds since the Unix epoch.
    pub time_ns: u64,
    /// What: `start`, `stop` and the like.
    pub event: Text,
    /// Version of the recorder.
    pub version: Text,
    /// The filter in force, as it was given; None for everything.
    pub filter: Option<Text>,
    /// SHA-256 of the config in force.
    pub config_hash: Option<[u8; 32]>,
    /// The mode of redaction in force.
    pub redaction: Option<Text>,
    /// Capture was off from the first to the second, nanoseconds since the Unix epoch.
    pub off_ns: Option<(u64, u64)>,
    /// Further facts.
    pub details: Details,
}

/// A fact about an earlier record has become known.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Annotation {
    /// When, nanoseconds since the Unix epoch.
    pub time_ns: u64,
    /// Id of the earlier record.
    pub record: Text,
    /// What kind of fact: `same_as`, `route` and the like.
    pub fact: Text,
    /// The fact.
    pub details: Details,
}

/// What speaks on this host and is not read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Coverage {
    /// When, nanoseconds since the Unix epoch.
    pub time_ns: u64,
    /// Each kind of it; empty when all is read.
    pub unread: Vec<Unread>,
}

/// One thing that is not read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Unread {
    /// What: `tls`, `unix`, `sockmap`, `forwarded` and the like.
    pub what: Text,
    /// Why it is not.
    pub why: Text,
    /// Address, path or interface, as far as known; empty where not.
    pub place: Text,
    /// Who speaks there.
    pub process: Option<Process>,
    /// Connections (flows, sockets) of it at this time.
    pub count: u64,
}

/// The journal signed its state (C2SP tlog-checkpoint, signed with the key that has the name of the origin).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Checkpoint {
    /// When, nanoseconds since the Unix epoch.
    pub time_ns: u64,
    /// Name of the journal.
    pub origin: Text,
    /// Blocks.
    pub size: u64,
    /// Root of the Merkle tree over them.
    pub root: [u8; 32],
    /// As in the signed note: 4 bytes of the key's hash, then the signature.
    pub signature: Vec<u8>,
}

/// A record that this version cannot take apart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unknown {
    /// Its type.
    pub kind: Kind,
    /// Its time, nanoseconds since the Unix epoch.
    pub time_ns: u64,
    /// All of it, as encoded.
    pub bytes: Vec<u8>,
}
