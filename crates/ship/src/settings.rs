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

impl Destination {
    /// The kind as in the config.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Elasticsearch(of) => of.flavour.name(),
            Self::Logstash(_) => "logstash",
            Self::File(_) => "file",
        }
    }

    /// TCP ports that it connects to.
    #[must_use]
    pub fn ports(&self) -> Vec<u16> {
        match self {
            Self::Elasticsearch(of) => of.nodes.iter().filter_map(|node| port(node)).collect(),
            Self::Logstash(of) => of.nodes.iter().filter_map(|node| port(node)).collect(),
            Self::File(_) => Vec::new(),
        }
    }
}

/// The port of a URL, or of `host:port`.
fn port(node: &str) -> Option<u16> {
    let (scheme, rest) = node.split_once("://").unwrap_or(("", node));
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let behind_address = authority.rsplit(']').next().unwrap_or_default();
    match (behind_address.rsplit_once(':'), scheme) {
        (Some((_, port)), _) => port.parse().ok(),
        (None, "http") => Some(80),
        (None, "https") => Some(443),
        (None, _) => None,
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_that_of_the_url_or_of_its_scheme() {
        for (node, expected) in [
            ("http://es:9200", Some(9200)),
            ("https://es/prefix:1", Some(443)),
            ("http://[::1]:9200/x", Some(9200)),
            ("http://[::1]", Some(80)),
            ("logstash:5044", Some(5044)),
            ("[::1]:5044", Some(5044)),
            ("logstash", None),
        ] {
            assert_eq!(port(node), expected, "{node}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let auth = Auth::Basic { user: "elastic".to_owned(), password: Secret::new(*b"changeme") };
        assert!(!format!("{auth:?}").contains("change"));
    }
}
