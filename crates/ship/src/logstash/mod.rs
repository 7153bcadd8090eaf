//! Logstash, and others that speak Lumberjack version 2.
//!
//! Documents go in windows, one after the other: a window is sent, then its acknowledgement is waited for. The documents up to the last sequence
//! that was acknowledged are stored; the rest comes again, and may then be there twice, with the same id. The connection is kept.

mod encode;
mod request;
mod retry;
mod settings;
mod tls;

use std::sync::Arc;
use std::time::Instant;

use rustls::ClientConfig;

use crate::batch::Document;
use crate::sink::{Answer, Item, Sink, Trouble};
use encode::Encoder;
use request::{Connection, Node, Patience};

pub use retry::Acks;
pub use settings::{Settings, WHOLE_TIMES};

/// Sends to one of the receivers, and to the next one when that fails.
pub struct Sender {
    settings: Settings,
    nodes: Vec<Node>,
    tls: Option<Arc<ClientConfig>>,
    /// The place of the node in use, or of the first one to try.
    node: usize,
    connection: Option<Connection>,
    encoder: Encoder,
    /// Of connections that are gone.
    sent_bytes: u64,
}

impl Sender {
    /// Connects to nothing yet.
    ///
    /// # Errors
    ///
    /// A node, a certificate or a key is not what it should be.
    pub fn new(settings: Settings) -> Result<Self, Trouble> {
        let nodes: Result<Vec<_>, _> =
            settings.nodes.iter().map(|node| Node::parse(node, settings.tls.is_some())).collect();
        let tls = settings.tls.as_ref().map(tls::config).transpose()?;
        let encoder = Encoder::new(settings.compress);
        let nodes = nodes?;
        if nodes.is_empty() {
            return Err(Trouble { kind: "config", what: "no node to send to".to_owned(), wait: None });
        }
        Ok(Self { settings, nodes, tls, node: 0, connection: None, encoder, sent_bytes: 0 })
    }

    /// Connects, if it is not connected, to the first node that lets us.
    fn connect(&mut self) -> Result<(), Trouble> {
        if self.connection.as_mut().is_some_and(Connection::is_open) {
            return Ok(());
        }
        self.disconnect();
        let mut trouble = None;
        for _ in 0..self.nodes.len() {
            let Some(node) = self.nodes.get(self.node) else { break };
            match Connection::open(node, self.tls.as_ref(), self.settings.timeouts.connect) {
                Ok(connection) => {
                    self.connection = Some(connection);
                    return Ok(());
                }
                Err(error) => trouble = Some(error),
            }
            self.next_node();
        }
        Err(trouble.unwrap_or(Trouble { kind: "config", what: "no node to send to".to_owned(), wait: None }))
    }

    fn next_node(&mut self) {
        self.node = (self.node + 1) % self.nodes.len().max(1);
    }

    fn disconnect(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.sent_bytes += connection.written();
        }
    }

    /// Sends a window of the first documents and waits for it. Answers how many there were, how many are stored, and why not all.
    fn window(&mut self, documents: &[Document<'_>]) -> (usize, usize, Option<Trouble>) {
        if let Err(trouble) = self.connect() {
            return (documents.len(), 0, Some(trouble));
        }
        let (Some(connection), Some(node)) = (&mut self.connection, self.nodes.get(self.node)) else {
            return (documents.len(), 0, None);
        };
        let step = self.settings.timeouts.request;
        let patience = Patience { step, end: Instant::now() + step * WHOLE_TIMES };
        let most = usize::try_from(self.settings.window_max).unwrap_or(usize::MAX).max(1);
        self.encoder.clear();
        let sent = self.encoder.window(documents, most);
        connection.begin(u32::try_from(sent).unwrap_or(u32::MAX));
        let result = connection
            .write(node, self.encoder.bytes(), patience)
            .and_then(|()| connection.wait(node, patience));
        let stored = connection.acked() as usize;
        if result.is_err() {
            self.disconnect();
            self.next_node();
        }
        (sent, stored, result.err())
    }
}

impl Sink for Sender {
    fn send(&mut self, documents: &[Document<'_>]) -> Answer {
        if let Some(refusal) = documents.iter().find_map(encode::refusal) {
            return Answer::TooLarge(refusal);
        }
        let mut stored = 0;
        while let Some(rest) = documents.get(stored..).filter(|rest| !rest.is_empty()) {
            let (sent, acked, trouble) = self.window(rest);
            stored += acked;
            if acked < sent {
                let trouble = trouble.unwrap_or(Trouble { kind: "answer", what: String::new(), wait: None });
                return Answer::of_first(stored, documents.len(), trouble);
            }
        }
        Answer::Items(vec![Item::Stored; documents.len()])
    }

    fn check(&mut self) -> Result<(), Trouble> {
        self.connect()
    }

    fn sent_bytes(&self) -> u64 {
        self.sent_bytes + self.connection.as_ref().map_or(0, Connection::written)
    }
}
