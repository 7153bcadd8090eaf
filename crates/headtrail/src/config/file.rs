//! The text of a config file, whatever the path leads to.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::problems::{Problems, end_of};

/// Longest file, bytes.
pub(super) const FILE_BYTES_MAX: u64 = 256 * 1024;

/// Reads a file; what is not there is None.
pub(super) fn text(path: &Path) -> Result<Option<String>, Problems> {
    let name = path.to_string_lossy();
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Problems::whole(&name, format!("cannot be read: {error}"))),
    };
    let mut bytes = Vec::new();
    // A device or a pipe may have no end.
    let read = file.by_ref().take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes);
    if let Err(error) = read {
        let what = match error.kind() {
            io::ErrorKind::IsADirectory => "is a directory; name a file".to_owned(),
            _ => format!("cannot be read: {error}"),
        };
        return Err(Problems::whole(&name, what));
    }
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(Problems::whole(&name, format!("is longer than {} KiB", FILE_BYTES_MAX / 1024)));
    }
    String::from_utf8(bytes).map(Some).map_err(|error| {
        let bytes = error.as_bytes();
        let valid = error.utf8_error().valid_up_to();
        let before = String::from_utf8_lossy(&bytes[..valid]);
        let byte = bytes.get(valid).copied().unwrap_or_default();
        Problems::at(&name, end_of(&before), format!("the byte 0x{byte:02x} is not UTF-8"))
    })
}
