//! The key log of `headtrail read --keylog`, and what is told of TLS at the end.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use headtrail_assemble::TlsCounts;
use headtrail_tls::{Counts, KeyLog, Reason};

/// Bytes that are read in one go, and more than any line of a key log has.
const CHUNK_BYTES: usize = 64 * 1024;

/// Why a connection was not decrypted, or not to its end: the reason, its name in loss records, and what is counted.
pub(crate) const UNSEEN: [(Reason, &str, &str); Reason::ALL.len()] = [
    (Reason::NoKey, "tls_no_key", "TLS connections without their secrets in the key log"),
    (
        Reason::VersionNotSupported,
        "tls_version_not_supported",
        "TLS connections of a version that cannot be decrypted",
    ),
    (
        Reason::SuiteNotSupported,
        "tls_suite_not_supported",
        "TLS connections with a cipher suite that cannot be decrypted",
    ),
    (Reason::Compressed, "tls_compressed", "TLS connections with compression"),
    (Reason::JoinedLate, "tls_joined_late", "TLS connections whose beginning was not captured"),
    (Reason::Gap, "tls_gap", "TLS connections that cannot be decrypted behind a gap"),
    (Reason::Unauthentic, "tls_unauthentic", "TLS connections with a record that does not authenticate"),
    (Reason::TooLarge, "tls_too_large", "TLS connections with a record or message that is too large"),
    (Reason::Malformed, "tls_malformed", "TLS connections that are not as TLS allows"),
    (Reason::Refused, "tls_refused", "TLS connections whose handshake was given up by an alert"),
    (
        Reason::TooMuchHeld,
        "tls_too_much_held",
        "TLS connections of which one direction waits too long for the other",
    ),
];

/// Reads a key log. What no line of one is is counted.
pub(crate) fn read(path: &Path, keys: &mut KeyLog, counts: &mut Counts) -> Result<(), String> {
    let failed = |why| format!("{}: the key log cannot be read: {why}", path.display());
    let mut file = File::open(path).map_err(failed)?;
    let mut chunk = Vec::with_capacity(CHUNK_BYTES);
    loop {
        let room = (CHUNK_BYTES - chunk.len()) as u64;
        let read = (&mut file).take(room).read_to_end(&mut chunk).map_err(failed)?;
        let whole = chunk.iter().rposition(|&b| b == b'\n').map(|at| at + 1);
        // What has no line end is the last line, or longer than any.
        let end = whole.filter(|_| read > 0).unwrap_or(chunk.len());
        if end > 0 {
            keys.add(&chunk[..end], counts);
        }
        chunk.drain(..end);
        if read == 0 {
            return Ok(());
        }
    }
}

/// Tells people what became of TLS connections and of the lines of the key log.
pub(crate) fn tell(lines: &Counts, tls: &TlsCounts) {
    let mut odd = String::new();
    for (count, what) in [
        (lines.bad, "not of a key log"),
        (lines.unknown, "with a label that is not known"),
        (lines.over_limit, "beyond the limit of connections"),
    ] {
        if count > 0 {
            // Writing to a string cannot fail.
            let _ = write!(odd, "{}{count} {what}", if odd.is_empty() { "" } else { ", " });
        }
    }
    if !odd.is_empty() {
        eprintln!("headtrail: lines of the key log that were passed over: {odd}");
    }
    if tls.connections > 0 {
        eprintln!("headtrail: {} TLS connections, {} of them decrypted", tls.connections, tls.decrypted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_name() {
        assert_eq!(UNSEEN.map(|(reason, ..)| reason), Reason::ALL);
        assert!(UNSEEN.iter().all(|(reason, name, _)| name.strip_prefix("tls_") == Some(reason.name())));
    }

    #[test]
    fn a_line_counts_once_wherever_it_is_cut() {
        let line =
            |n: usize| format!("CLIENT_RANDOM {} {}\n", format!("{n:04x}").repeat(16), "ab".repeat(48));
        let text: String = (0..1000).map(line).chain(["x".repeat(3 * CHUNK_BYTES), line(2000)]).collect();
        let folder = headtrail_testkit::TempDir::new().unwrap();
        let path = folder.path().join("keys");
        std::fs::write(&path, text.trim_end().replace("xCLIENT", "x\nCLIENT")).unwrap();
        let (mut keys, mut counts) = (KeyLog::default(), Counts::default());
        read(&path, &mut keys, &mut counts).unwrap();
        assert_eq!((keys.connections(), counts.secrets), (1001, 1001));
        assert!(counts.bad > 0, "{counts:?}");
    }
}
