//! What the config says of destinations, checked, with secrets read.

use std::fmt;
use std::time::Duration;

use headtrail_record::record::Kind;

use crate::select::Query;
use crate::{elasticsearch, file, logstash};

/// One destination.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its name, which is also that of its cursor.
    pub name: String,
    /// Which types of records.
    pub types: Vec<Kind>,
    /// Which of them; None: all.
    pub query: Option<Query>,
    /// Most documents of one batch.
    pub batch_documents_max: usize,
    /// Most bytes of one batch, but for the last document of it.
    pub batch_bytes_max: usize,
    /// Where to.
    pub destination: Destination,
}

/// The kinds of destinations.
#[derive(Clone, Debug)]
pub enum Destination {
    /// Elasticsearch and OpenSearch.
    Elasticsearch(elasticsearch::Settings),
    /// Logstash, and others that speak Lumberjack.
    Logstash(logstash::Settings),
    /// A file.
    File(file::Settings),
}

/// Who we are.
#[derive(Clone, Debug, Default)]
pub enum Auth {
    /// Nobody.
    #[default]
    None,
    /// HTTP Basic.
    Basic {
        /// Name.
        user: String,
        /// Password.
        password: Secret,
    },
    /// An API key, as it stands behind `ApiKey `.
    ApiKey(Secret),
}

/// Whom we trust, and by what we are known.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// Certificates in PEM that stand for the only authorities; None: those of the system.
    pub authorities_pem: Option<Vec<u8>>,
    /// Our certificate chain and its key, both in PEM.
    pub identity_pem: Option<(Vec<u8>, Secret)>,
}

/// A secret, never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<[u8]>);

impl Secret {
    /// Keeps it.
    #[must_use]
    pub fn new(bytes: impl Into<Box<[u8]>>) -> Self {
        Self(bytes.into())
    }

    /// For the one place that sends or loads it.
    #[must_use]
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Time limits of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timeouts {
    /// Until it is connected, TLS included.
    pub connect: Duration,
    /// For a whole request and its answer, whatever trickles.
    pub request: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: Duration::from_secs(10), request: Duration::from_secs(60) }
    }
}
