//! What there is to set.

use std::path::PathBuf;

/// A file.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where it lies; its folder must be there. Older ones lie beside it, with a number behind the name.
    pub path: PathBuf,
    /// Size that a file has at most, but for a single document; then the next one is begun. 0: that is left to others, such as logrotate.
    pub rotate_bytes: u64,
    /// How many older ones are kept; 0: all.
    pub keep: u32,
}
