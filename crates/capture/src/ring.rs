//! The consumer of a ring buffer. Unlike libbpf's it gives space back only when the caller says that the records are safely
//! written.
//!
//! Layout: kernel/bpf/ringbuf.c. Page 0 holds the consumer position and is ours to write, page 1 the producer position,
//! then the data follows twice, so that a record that wraps is still one slice.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// Bit 31 of a record's length: the producer has not finished it (include/uapi/linux/bpf.h).
const BUSY: u32 = 1 << 31;
/// Bit 30: the producer has thrown it away.
const DISCARD: u32 = 1 << 30;
/// Length and page offset in front of each record.
const HEADER_BYTES: u64 = 8;

/// A mapped ring buffer.
pub(crate) struct Ring {
    consumer: NonNull<AtomicU64>,
    producer: NonNull<AtomicU64>,
    data: NonNull<u8>,
    page_bytes: usize,
    size_bytes: usize,
    /// Read so far; the kernel knows only of what was released.
    position: u64,
    /// Producer's position at the last look.
    end: u64,
}

/// What stands first in a ring.
pub(crate) enum Peek<'a> {
    /// A complete record, and the space that it takes.
    Record(&'a [u8], u64),
    /// One that its producer has not finished.
    Busy,
    /// Nothing.
    Empty,
}

/// Space that a record of `bytes` takes in a ring.
fn record_bytes(bytes: usize) -> u64 {
    (bytes as u64).next_multiple_of(8) + HEADER_BYTES
}

// SAFETY: the mappings belong to this value alone and are valid in every thread.
unsafe impl Send for Ring {}

impl Ring {
    /// Maps the ring of `fd`, which has `size_bytes` of data.
    pub(crate) fn map(fd: BorrowedFd<'_>, size_bytes: usize) -> io::Result<Self> {
        let page_bytes = rustix::param::page_size();
        // SAFETY: a new mapping at an address of the kernel's choice; its length is the ring's own.
        let consumer = unsafe {
            mmap(
                ptr::null_mut(),
                page_bytes,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                fd.as_fd(),
                0,
            )
        }?;
        // SAFETY: as above; the kernel maps the data twice behind the producer's page.
        let producer = unsafe {
            mmap(
                ptr::null_mut(),
                page_bytes + 2 * size_bytes,
                ProtFlags::READ,
                MapFlags::SHARED,
                fd.as_fd(),
                page_bytes as u64,
            )
        }?;
        let non_null = |p: *mut u8| NonNull::new(p).ok_or_else(|| io::Error::other("mmap gave null"));
        let consumer = non_null(consumer.cast())?.cast::<AtomicU64>();
        let producer = non_null(producer.cast())?;
        // SAFETY: the mapping is page_bytes + 2 * size_bytes long.
        let data = unsafe { producer.add(page_bytes) };
        // SAFETY: the consumer's page is mapped and begins with its position.
        let position = unsafe { consumer.as_ref() }.load(Ordering::Acquire);
        Ok(Self {
            consumer,
            producer: producer.cast(),
            data,
            page_bytes,
            size_bytes,
            position,
            end: position,
        })
    }

    /// Notes how far the producer has come.
    pub(crate) fn look(&mut self) {
        // SAFETY: the producer's page is mapped and begins with its position.
        self.end = unsafe { self.producer.as_ref() }.load(Ordering::Acquire);
    }

    /// The first record that has not been read yet, as far as the last look went.
    pub(crate) fn peek(&mut self) -> Peek<'_> {
        while self.position < self.end {
            let offset = (self.position as usize) & (self.size_bytes - 1);
            // SAFETY: offset is within the data; records are 8-byte aligned, so the length lies within it too.
            let length =
                unsafe { self.data.add(offset).cast::<AtomicU32>().as_ref() }.load(Ordering::Acquire);
            if length & BUSY != 0 {
                return Peek::Busy;
            }
            let bytes = (length & !DISCARD) as usize;
            if bytes > self.size_bytes {
                // The kernel never writes such a length; going on would read beyond the mapping.
                self.position = self.end;
                return Peek::Empty;
            }
            if length & DISCARD != 0 {
                self.position += record_bytes(bytes);
                continue;
            }
            // SAFETY: the record is finished, lies within the twice-mapped data, and its space is not
            // given back before `release`, which needs `self` as a whole.
            let record = unsafe {
                std::slice::from_raw_parts(self.data.as_ptr().add(offset + HEADER_BYTES as usize), bytes)
            };
            return Peek::Record(record, record_bytes(bytes));
        }
        Peek::Empty
    }

    /// Goes past the first record, which takes `space`.
    pub(crate) fn advance(&mut self, space: u64) {
        self.position += space;
    }

    /// Gives the space of everything read back to the kernel.
    pub(crate) fn release(&mut self) {
        // SAFETY: the consumer's page is mapped and begins with its position.
        unsafe { self.consumer.as_ref() }.store(self.position, Ordering::Release);
    }

    /// Bytes that wait to be read.
    pub(crate) fn backlog_bytes(&self) -> u64 {
        // SAFETY: the producer's page is mapped and begins with its position.
        unsafe { self.producer.as_ref() }.load(Ordering::Acquire).saturating_sub(self.position)
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: both mappings were made by `map` with these lengths and are not used after this.
        unsafe {
            let _ = munmap(self.consumer.as_ptr().cast(), self.page_bytes);
            let _ = munmap(self.producer.as_ptr().cast(), self.page_bytes + 2 * self.size_bytes);
        }
    }
}
