//! Transactions to standard output, in one of the formats: redacted, unless the user wants to see the secrets of a file.

use std::io::{self, ErrorKind, IsTerminal, Write};

use headtrail_record::ecs;
use headtrail_record::json::{self, Context};
use headtrail_record::redact::{FingerprintKey, Policy, Redactor};
use headtrail_record::transaction::RawTransaction;
use headtrail_record::unredacted::Unredacted;

use crate::cli::Format;
use crate::exit::Failure;
use crate::key;
use crate::processes::ProcessTable;
use crate::text;

/// Output bytes that are gathered before they are written.
const OUTPUT_BYTES: usize = 256 * 1024;

/// Redacts transactions, or does not where that was asked for, and writes them.
pub(crate) struct Sink {
    pub(crate) format: Format,
    redactor: Redactor,
    /// Nothing is hidden.
    shows_secrets: bool,
    pub(crate) processes: ProcessTable,
    run: u64,
    pub(crate) text: text::Style,
    pub(crate) out: Vec<u8>,
    /// Standard output is gone.
    pub(crate) failed: Option<io::Error>,
}

impl Sink {
    pub(crate) fn new(
        format: Format,
        verbose: bool,
        fingerprint_key: FingerprintKey,
    ) -> Result<Self, Failure> {
        Ok(Self {
            format,
            redactor: Redactor::new(fingerprint_key, Policy::default()),
            shows_secrets: false,
            processes: ProcessTable::default(),
            run: key::run_id().map_err(Failure::refused)?,
            text: text::Style::new(verbose, colour(), width()),
            out: Vec::with_capacity(OUTPUT_BYTES * 2),
            failed: None,
        })
    }

    /// Hides nothing from now on.
    pub(crate) fn show_secrets(&mut self) {
        self.shows_secrets = true;
    }

    /// What became of standard output.
    pub(crate) fn end(self) -> Result<(), Failure> {
        match self.failed {
            // Whoever read us has enough.
            Some(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            Some(error) => Err(Failure::output(error)),
            None => Ok(()),
        }
    }

    pub(crate) fn take(&mut self, raw: RawTransaction) {
        if self.failed.is_some() {
            return;
        }
        for process in raw.process.iter().chain(&raw.peer_process) {
            self.processes.learn(process);
        }
        if self.shows_secrets {
            let t = Unredacted::new(raw, &mut self.redactor);
            let context = Context { run: self.run, processes: &self.processes };
            match self.format {
                Format::Json => json::write_unredacted(&mut self.out, &t, &context),
                Format::Ecs => ecs::write_unredacted(&mut self.out, &t, &context),
                Format::Text => text::write_transaction(&mut self.out, (&t).into(), &context, &self.text),
            }
        } else {
            let t = self.redactor.redact(raw);
            let context = Context { run: self.run, processes: &self.processes };
            match self.format {
                Format::Json => json::write_transaction(&mut self.out, &t, &context),
                Format::Ecs => ecs::write_transaction(&mut self.out, &t, &context),
                Format::Text => text::write_transaction(&mut self.out, (&t).into(), &context, &self.text),
            }
        }
        if self.out.len() >= OUTPUT_BYTES {
            self.flush();
        }
    }

    pub(crate) fn flush(&mut self) {
        if self.out.is_empty() || self.failed.is_some() {
            return;
        }
        // Not through the line buffer of `Stdout`, which would copy it all once more.
        let mut stdout = io::stdout().lock();
        if let Err(error) = stdout.write_all(&self.out).and_then(|()| stdout.flush()) {
            self.failed = Some(error);
        }
        self.out.clear();
    }
}

/// Colours are for terminals, and not for those who said no (no-color.org).
fn colour() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}

/// Columns of the terminal; None where there is none.
fn width() -> Option<usize> {
    let stdout = io::stdout();
    if !stdout.is_terminal() {
        return None;
    }
    rustix::termios::tcgetwinsize(&stdout)
        .ok()
        .map(|size| usize::from(size.ws_col))
        .filter(|&columns| columns > 0)
}
