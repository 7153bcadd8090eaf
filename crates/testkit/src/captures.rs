//! Public capture files, which are not part of the repository.

use std::path::{Path, PathBuf};

/// The folder that `HEADTRAIL_CAPTURES` names, else `../shared/captures` beside the repository; None, with a word, where it is not there.
pub fn folder() -> Option<PathBuf> {
    let folder = std::env::var_os("HEADTRAIL_CAPTURES").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/captures"),
        PathBuf::from,
    );
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("SKIPPED: no captures at {}; HEADTRAIL_CAPTURES may name them", folder.display());
    None
}

/// All capture files below a folder, in order.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    collect(folder, &mut files);
    files.sort_unstable();
    files
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.file_name().is_some_and(|name| name.to_string_lossy().contains(".pcap")) {
            files.push(path);
        }
    }
}
