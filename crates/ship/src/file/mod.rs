//! A file of documents, one on a line (NDJSON), rotated.
//!
//! `PATH` is the file that is written. When the next document would make it too large it becomes `PATH.N`, where N is one more than the highest
//! there is, and a new one is begun; so each file begins and ends with a whole document. Who renames it (logrotate, `mv`) is noticed before the
//! next documents are written.
//!
//! Documents are told as stored after `fdatasync`, and after the folder was synced that got the name. What a crash leaves of a line is cut off.

mod encode;
mod request;
mod retry;
mod settings;
#[cfg(test)]
mod tests;

use crate::batch::Document;
use crate::sink::{Answer, Item, Sink, Trouble};
use request::{Disk, Failure, Open, System};

pub use settings::Settings;

/// Appends documents to the file.
pub struct Writer {
    settings: Settings,
    disk: Box<dyn Disk>,
    open: Option<Open>,
    lines: Vec<u8>,
    sent_bytes: u64,
}

impl Writer {
    /// Opens nothing yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self::with_disk(settings, Box::new(System))
    }

    fn with_disk(settings: Settings, disk: Box<dyn Disk>) -> Self {
        Self { settings, disk, open: None, lines: Vec::new(), sent_bytes: 0 }
    }

    /// The file that the path leads to.
    fn open(&mut self) -> Result<Open, Failure> {
        if let Some(mut open) = self.open.take()
            && open.is_current(&self.settings.path)
        {
            return Ok(open);
        }
        Open::new(&mut *self.disk, &self.settings.path)
    }

    /// Writes and syncs all documents; `stored` tells how many of them are safe, also after a failure.
    fn append(&mut self, documents: &[Document<'_>], stored: &mut usize) -> Result<(), Failure> {
        let mut done = 0;
        while done < documents.len() {
            let rest = documents.get(done..).unwrap_or_default();
            let mut open = self.open()?;
            let before = open.bytes;
            let result = self.fill(&mut open, rest).and_then(|taken| {
                open.sync(&mut *self.disk)?;
                Ok(taken)
            });
            match result {
                Ok(taken) => {
                    done += taken;
                    *stored = done;
                    self.sent_bytes += open.bytes - before;
                }
                Err(failure) => {
                    // What is told as not stored shall not lie there half. The file is opened anew, since after a failed sync nothing is known of it.
                    open.take_back(&mut *self.disk, before);
                    return Err(failure);
                }
            }
            self.open = Some(open);
            if done < documents.len() {
                self.open = None;
                request::rotate(&mut *self.disk, &self.settings.path, self.settings.keep)?;
            }
        }
        Ok(())
    }

    /// Writes as many of the documents as this file takes: all, or so many that it has to be rotated.
    fn fill(&mut self, open: &mut Open, documents: &[Document<'_>]) -> Result<usize, Failure> {
        let size_max = if self.settings.rotate_bytes == 0 { u64::MAX } else { self.settings.rotate_bytes };
        let mut done = 0;
        while let Some(rest) = documents.get(done..).filter(|rest| !rest.is_empty()) {
            let room = size_max.saturating_sub(open.bytes);
            let taken = encode::lines(rest, room, open.bytes == 0, &mut self.lines);
            if taken == 0 {
                break;
            }
            open.write(&mut *self.disk, &self.lines)?;
            done += taken;
        }
        Ok(done)
    }

    fn trouble(&self, (step, error): Failure) -> Trouble {
        retry::trouble(&self.settings.path, step, &error)
    }
}

impl Sink for Writer {
    fn send(&mut self, documents: &[Document<'_>]) -> Answer {
        let mut stored = 0;
        match self.append(documents, &mut stored) {
            Ok(()) => Answer::Items(vec![Item::Stored; documents.len()]),
            Err(failure) => Answer::of_first(stored, documents.len(), self.trouble(failure)),
        }
    }

    fn check(&mut self) -> Result<(), Trouble> {
        let open = self.open().map_err(|failure| self.trouble(failure))?;
        self.open = Some(open);
        Ok(())
    }

    fn sent_bytes(&self) -> u64 {
        self.sent_bytes
    }
}
