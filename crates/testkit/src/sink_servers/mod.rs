//! Destinations that misbehave on purpose: a server of the bulk API of Elasticsearch and OpenSearch that
//! follows a script, in clear or over TLS, and keeps what it took.
//!
//! [`BulkServer`] is the server, [`Behaviour`] what it does with one bulk request, [`Authority`] the
//! certificates. How it answers where it behaves well is compared with a real OpenSearch by
//! `tests/sink_servers.rs`. It is an imitation for faults that a real server shows too seldom; what
//! a destination means by its answers is for [`crate::opensearch`] to say.
//!
//! ```
//! use headtrail_testkit::sink_servers::{Behaviour, BulkServer};
//!
//! // The first request is put off, the answer to the second is lost, and from then on all is well.
//! let script = [Behaviour::retry_after(429, 1), Behaviour::lose_answer()];
//! let server = BulkServer::start(Behaviour::in_turn(script, Behaviour::accept()));
//! let url = server.url();
//! # let _ = url;
//! assert_eq!(server.documents().len(), 0);
//! ```

mod behaviour;
mod bulk;
mod server;
mod tls;

pub use behaviour::{Answer, Behaviour, Fixed, Item, Refusal, Refuse, Script, Take};
pub use server::{BulkServer, Request};
pub use tls::{Authority, Fault, Identity, Tls};
