//! What there is to set.

use std::path::PathBuf;

/// A file.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where it lies. Older ones lie beside it, with a number behind the name.
    pub path: PathBuf,
    /// Size from which on the next one is begun.
    pub rotate_bytes: u64,
    /// How many older ones are kept; 0: all.
    pub keep: u32,
}
