//! The bytes of a file: decompressed, and told apart where they end.

use std::io::{self, BufRead, BufReader, Cursor, ErrorKind, Read};

use crate::counters::Unread;

const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Memory that a zstd frame may ask for is 2 to the power of this, bytes: what its command line takes by default.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;
const BUFFER_BYTES: usize = 64 * 1024;

/// Why reading ended before the end of a file.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The file ends, or is damaged, here.
    Unread(Unread, String),
    /// The system does not give the file's bytes.
    Io(io::Error),
}

/// What a file is read through.
pub(crate) struct Input {
    from: Box<dyn BufRead>,
    compressed: bool,
}

impl Input {
    /// Looks whether the file is compressed.
    pub(crate) fn new(mut file: impl Read + 'static) -> io::Result<Self> {
        let mut magic = Vec::with_capacity(ZSTD.len());
        file.by_ref().take(ZSTD.len() as u64).read_to_end(&mut magic)?;
        let (gzip, zstd) = (magic.starts_with(&GZIP), magic.starts_with(&ZSTD));
        let whole = BufReader::with_capacity(BUFFER_BYTES, Cursor::new(magic).chain(file));
        let from: Box<dyn BufRead> = if gzip {
            Box::new(BufReader::with_capacity(BUFFER_BYTES, flate2::bufread::MultiGzDecoder::new(whole)))
        } else if zstd {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(whole)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
            Box::new(BufReader::with_capacity(BUFFER_BYTES, decoder))
        } else {
            Box::new(whole)
        };
        Ok(Self { from, compressed: gzip || zstd })
    }

    /// Reads `count` bytes into `into`, which is emptied first; it grows by what comes, not by what was announced. False: the file has ended
    /// before the first of them.
    pub(crate) fn read(&mut self, count: usize, into: &mut Vec<u8>) -> Result<bool, Broken> {
        into.clear();
        // As `read_to_end` does, but straight out of the buffer: it is called twice for each packet.
        while into.len() < count {
            let buffer = match self.from.fill_buf() {
                Ok(buffer) => buffer,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.failed(error)),
            };
            if buffer.is_empty() {
                break;
            }
            let taken = buffer.len().min(count - into.len());
            into.extend_from_slice(&buffer[..taken]);
            self.from.consume(taken);
        }
        match into.len() {
            len if len == count => Ok(true),
            0 => Ok(false),
            _ => Err(cut()),
        }
    }

    /// Passes over bytes.
    pub(crate) fn pass(&mut self, count: u64) -> Result<(), Broken> {
        let passed = io::copy(&mut self.from.by_ref().take(count), &mut io::sink());
        match passed {
            Ok(passed) if passed == count => Ok(()),
            Ok(_) => Err(cut()),
            Err(error) => Err(self.failed(error)),
        }
    }

    fn failed(&self, error: io::Error) -> Broken {
        match error.kind() {
            ErrorKind::UnexpectedEof if self.compressed => cut(),
            _ if self.compressed => {
                Broken::Unread(Unread::FileDamaged, format!("its compression is damaged: {error}"))
            }
            _ => Broken::Io(error),
        }
    }
}

/// The file ends where it should not.
pub(crate) fn cut() -> Broken {
    Broken::Unread(Unread::FileCut, "it ends within a packet".to_owned())
}
