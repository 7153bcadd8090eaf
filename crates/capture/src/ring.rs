//! The ring buffer's consumer. Unlike libbpf's it hands out records in batches and gives their space back only when the
//! caller says that they are safely written.
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
        Ok(Self { consumer, producer: producer.cast(), data, page_bytes, size_bytes, position })
    }

    /// Calls `each` for the finished records that have not been read yet, at most about `bytes_max` of them.
    /// Returns how many bytes of the ring were read.
    pub(crate) fn read(&mut self, bytes_max: usize, mut each: impl FnMut(&[u8])) -> usize {
        // SAFETY: the producer's page is mapped and begins with its position.
        let end = unsafe { self.producer.as_ref() }.load(Ordering::Acquire);
        let begin = self.position;
        while self.position < end && (self.position - begin) < bytes_max as u64 {
            let offset = (self.position as usize) & (self.size_bytes - 1);
            // SAFETY: offset is within the data; records are 8-byte aligned, so the length lies within it too.
            let length =
                unsafe { self.data.add(offset).cast::<AtomicU32>().as_ref() }.load(Ordering::Acquire);
            if length & BUSY != 0 {
                break;
            }
            let bytes = (length & !DISCARD) as usize;
            if bytes > self.size_bytes {
                // The kernel never writes such a length; going on would read beyond the mapping.
                self.position = end;
                break;
            }
            if length & DISCARD == 0 {
                // SAFETY: the record is finished, lies within the twice-mapped data, and its space is not
                // given back before `release`.
                each(unsafe {
                    std::slice::from_raw_parts(self.data.as_ptr().add(offset + HEADER_BYTES as usize), bytes)
                });
            }
            self.position += (bytes as u64).next_multiple_of(8) + HEADER_BYTES;
        }
        (self.position - begin) as usize
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
