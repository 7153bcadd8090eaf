//! What there is to set.

use crate::settings::{Timeouts, Tls};

/// How often [`Timeouts::request`] a receiver may hold us up that does nothing but say it is alive.
///
/// A receiver whose own way out is blocked keeps the window in memory and says so every few seconds. Sent again after the plain limit, the
/// window would lie there twice, and soon ten times. So what it says lengthens the limit, but not for ever.
pub const WHOLE_TIMES: u32 = 10;

/// Receivers.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `host:port` of each, tried in turn. The host is also the name that its certificate must have.
    pub nodes: Vec<String>,
    /// TLS; None: plain.
    pub tls: Option<Tls>,
    /// Most documents of one window; at least one is sent.
    pub window_max: u32,
    /// Whether windows are packed with zlib.
    pub compress: bool,
    /// Time limits. `request` is for each step: until a group of documents is taken, until something is heard of the window. All of a window
    /// may take [`WHOLE_TIMES`] of it.
    pub timeouts: Timeouts,
}
