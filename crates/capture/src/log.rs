//! What libbpf says, kept for the case that it fails: the verifier's reason is in it.

use std::sync::{Mutex, PoisonError};

use libbpf_rs::PrintLevel;

/// Bytes of the most recent messages that are kept.
const LOG_BYTES_MAX: usize = 64 * 1024;

static LOG: Mutex<String> = Mutex::new(String::new());

fn keep(_level: PrintLevel, text: String) {
    let mut log = LOG.lock().unwrap_or_else(PoisonError::into_inner);
    log.push_str(&text);
    if log.len() > LOG_BYTES_MAX {
        let mut from = log.len() - LOG_BYTES_MAX;
        while !log.is_char_boundary(from) {
            from += 1;
        }
        log.drain(..from);
    }
}

/// Keeps what is said from now on, and forgets what was said before.
pub(crate) fn begin() {
    LOG.lock().unwrap_or_else(PoisonError::into_inner).clear();
    libbpf_rs::set_print(Some((PrintLevel::Warn, keep)));
}

/// The verifier's reason in what was said, if it was the verifier: the line before the one that counts its work.
pub(crate) fn reason() -> Option<String> {
    reason_in(&LOG.lock().unwrap_or_else(PoisonError::into_inner))
}

fn reason_in(log: &str) -> Option<String> {
    let (before, _) = log.rsplit_once("\nprocessed ")?;
    before.lines().next_back().map(|line| line.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_stands_before_the_count() {
        let log = "libbpf: prog 'x': -- BEGIN PROG LOAD LOG --\n0: (b7) r0 = 2\nAt program exit the register R0 has value 2\n\
                   processed 2 insns (limit 1000000)\n-- END PROG LOAD LOG --\nlibbpf: failed\n";
        assert_eq!(reason_in(log).as_deref(), Some("At program exit the register R0 has value 2"));
        assert_eq!(reason_in("libbpf: failed to find BTF\n"), None);
    }
}
