//! Tests only: network namespaces, a link that loses, doubles and reorders, real servers, exact bytes on
//! the wire, and the recorder as a process.
//!
//! Everything here fails by panicking with what it was doing: a test has nothing better to do with an
//! error. What is started is stopped, and waited for, when its value is dropped. Nothing waits by sleeping
//! for a fixed time; what is waited for has a deadline.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod captures;
pub mod http_message;
pub mod link;
pub mod lumberjack;
pub mod netns;
pub mod opensearch;
pub mod planted;
pub mod process;
pub mod raw_http;
pub mod rng;
pub mod server;
pub mod sink_servers;

use std::time::{Duration, Instant};

/// For signals to what was started.
pub use rustix::process::Signal;
/// For what a test writes.
pub use tempfile::TempDir;

/// Says that a test cannot run here, in the form that is looked for: `skipped: WHY`. In CI nothing may be
/// skipped, so there it panics.
pub fn skip(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "skipped in CI: {why}");
    println!("skipped: {why}");
}

/// Polls `check` until it gives a value, at most until `deadline` has passed; `what` is for the panic.
pub fn eventually<T>(what: &str, deadline: Duration, mut check: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = check() {
            return value;
        }
        assert!(start.elapsed() < deadline, "{what}: not within {deadline:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
