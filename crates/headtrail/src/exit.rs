//! Exit codes and how each error gets one.

use std::fmt::Display;
use std::io::{self, Write};

use headtrail_capture::StartError;
use headtrail_capture::filter::FilterError;

/// Usage, config or input is not what it should be.
const USAGE: u8 = 2;
/// The host refuses: privileges, kernel.
const REFUSED: u8 = 3;
/// The answer is no, or results could not be written.
const NO: u8 = 1;

/// Why the program ends without success.
#[derive(Debug)]
pub(crate) struct Failure {
    /// Exit code.
    pub(crate) code: u8,
    /// What is said on standard error.
    pub(crate) message: String,
}

impl Failure {
    /// Something is wrong with what the user gave.
    pub(crate) fn usage(message: impl Display) -> Self {
        Self { code: USAGE, message: message.to_string() }
    }

    /// The host refuses.
    pub(crate) fn refused(message: impl Display) -> Self {
        Self { code: REFUSED, message: message.to_string() }
    }

    /// The answer is no.
    pub(crate) fn no(message: impl Display) -> Self {
        Self { code: NO, message: message.to_string() }
    }

    /// Standard output does not take what is written.
    pub(crate) fn output(message: impl Display) -> Self {
        Self { code: NO, message: format!("standard output: {message}") }
    }
}

/// Writes to standard output.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        // The reader has what it wanted.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.map_err(Failure::output),
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        Self::refused(error)
    }
}

impl From<FilterError> for Failure {
    fn from(error: FilterError) -> Self {
        Self::usage(error)
    }
}
