//! What there is to set.

use crate::settings::{Timeouts, Tls};

/// Receivers.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `host:port` of each, tried in turn.
    pub nodes: Vec<String>,
    /// TLS; None: plain.
    pub tls: Option<Tls>,
    /// Most documents of one window.
    pub window_max: u32,
    /// Whether windows are packed with zlib.
    pub compress: bool,
    /// Time limits.
    pub timeouts: Timeouts,
}
