//! One bulk request after the other.

use std::io;

use ureq::http::Method;
use ureq::http::header::{CONTENT_ENCODING, CONTENT_TYPE};

use super::{Settings, encode, retry};
use crate::batch::Document;
use crate::http::Client;
use crate::sink::{Answer, Sink, Trouble};

/// Only what is looked at comes back.
const FILTER: &str = "filter_path=errors,items.*.status,items.*.error.type,items.*.error.reason";
/// Longest answer: some thousands of documents, each with an error in words.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// The destination.
pub struct Bulk {
    client: Client,
    path: String,
    namespace: String,
    gzip: bool,
    raw: Vec<u8>,
    packed: Vec<u8>,
}

impl Bulk {
    /// A client of a cluster; nothing is connected yet.
    ///
    /// # Errors
    ///
    /// Certificates or keys cannot be used.
    pub fn new(settings: &Settings) -> io::Result<Self> {
        let client = Client::new(&settings.nodes, &settings.auth, &settings.tls, settings.timeouts)?;
        let mut path = format!("/_bulk?{FILTER}");
        if let Some(pipeline) = &settings.pipeline {
            path.push_str("&pipeline=");
            path.push_str(pipeline);
        }
        Ok(Self {
            client,
            path,
            namespace: settings.namespace.clone(),
            gzip: settings.gzip,
            raw: Vec::new(),
            packed: Vec::new(),
        })
    }
}

impl Sink for Bulk {
    fn send(&mut self, documents: &[Document<'_>]) -> Answer {
        self.raw.clear();
        encode::bulk(&mut self.raw, documents, &self.namespace);
        let mut headers = vec![(CONTENT_TYPE, "application/x-ndjson")];
        if self.gzip {
            let mut packed = std::mem::take(&mut self.packed);
            packed.clear();
            match encode::gzip(&self.raw, packed) {
                Ok(packed) => self.packed = packed,
                Err(error) => {
                    return Answer::Again(Trouble { kind: "config", what: error.to_string(), wait: None });
                }
            }
            headers.push((CONTENT_ENCODING, "gzip"));
        }
        let body = if self.gzip { &self.packed } else { &self.raw };
        match self.client.request(&Method::POST, &self.path, &headers, body, ANSWER_BYTES_MAX) {
            Ok(reply) => retry::answer(&reply, documents.len()),
            Err(trouble) => Answer::Again(trouble),
        }
    }

    fn check(&mut self) -> Result<(), Trouble> {
        let reply = self.client.request(&Method::GET, "/", &[], &[], ANSWER_BYTES_MAX)?;
        retry::check(&reply)
    }

    fn sent_bytes(&self) -> u64 {
        self.client.sent_bytes()
    }
}
