//! The consumer of the ring buffers, one for each CPU. Unlike libbpf's it puts their records in order by time, hands
//! them out in batches and gives their space back only when the caller says that they are safely written.
//!
//! Order: a producer takes the time first and then its place in the ring, so that a record can become visible a little
//! later than one of another CPU that is younger. Records younger than [`SETTLE_NS`] therefore wait for the next look. A
//! producer that is preempted for longer than that puts its record out of order; assembly copes with it.
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
/// Where the time stands in a record.
const TIME_AT: usize = crate::abi::offset::TIME_NS;
/// Age at which a record is taken to have no older ones behind it in other rings.
pub(crate) const SETTLE_NS: u64 = 50_000;
/// Looks for which an unfinished record holds the others up.
const BUSY_LOOKS_MAX: u32 = 8;
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
enum Peek<'a> {
    Record(&'a [u8]),
    Busy,
    Empty,
}

/// The same, by its time.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Head {
    At(u64),
    Busy,
    None,
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
    fn look(&mut self) {
        // SAFETY: the producer's page is mapped and begins with its position.
        self.end = unsafe { self.producer.as_ref() }.load(Ordering::Acquire);
    }

    /// The first record that has not been read yet, as far as the last look went.
    fn peek(&mut self) -> Peek<'_> {
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
            return Peek::Record(unsafe {
                std::slice::from_raw_parts(self.data.as_ptr().add(offset + HEADER_BYTES as usize), bytes)
            });
        }
        Peek::Empty
    }

    /// Time of the first record that has not been read yet.
    fn peek_time(&mut self) -> Head {
        match self.peek() {
            Peek::Record(bytes) => Head::At(
                bytes.get(TIME_AT..).and_then(|b| b.first_chunk()).map_or(0, |b| u64::from_ne_bytes(*b)),
            ),
            Peek::Busy => Head::Busy,
            Peek::Empty => Head::None,
        }
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

/// All rings.
pub(crate) struct Rings {
    rings: Vec<Ring>,
    heads: Vec<Head>,
    busy_looks: u32,
}

impl Rings {
    pub(crate) fn new(rings: Vec<Ring>) -> Self {
        let heads = vec![Head::None; rings.len()];
        Self { rings, heads, busy_looks: 0 }
    }

    /// Calls `each` for the finished records up to `horizon_ns` (the time of the records' clock) in order of time, at
    /// most about `bytes_max` of them. Returns how many bytes of the rings were read.
    pub(crate) fn read(&mut self, bytes_max: usize, horizon_ns: u64, mut each: impl FnMut(&[u8])) -> u64 {
        for (ring, head) in self.rings.iter_mut().zip(&mut self.heads) {
            ring.look();
            *head = ring.peek_time();
        }
        let mut read = 0;
        let mut busy = false;
        while read < bytes_max as u64 {
            if self.heads.contains(&Head::Busy) {
                busy = true;
                // It is most likely older than what is visible elsewhere; but a producer may also be preempted.
                if self.busy_looks < BUSY_LOOKS_MAX {
                    break;
                }
            }
            // The oldest head, and how far its ring can go on before another ring's turn.
            let mut oldest: Option<(usize, u64)> = None;
            let mut limit = horizon_ns;
            for (index, head) in self.heads.iter().enumerate() {
                let Head::At(time) = *head else { continue };
                match oldest {
                    Some((_, least)) if time >= least => limit = limit.min(time),
                    Some((_, least)) => {
                        limit = limit.min(least);
                        oldest = Some((index, time));
                    }
                    None => oldest = Some((index, time)),
                }
            }
            let Some((index, mut time)) = oldest else { break };
            if time > horizon_ns {
                break;
            }
            let ring = &mut self.rings[index];
            while let Peek::Record(bytes) = ring.peek() {
                let length = record_bytes(bytes.len());
                each(bytes);
                ring.position += length;
                read += length;
                self.heads[index] = ring.peek_time();
                match self.heads[index] {
                    Head::At(next) => time = next,
                    Head::Busy | Head::None => break,
                }
                if time > limit || read >= bytes_max as u64 {
                    break;
                }
            }
        }
        self.busy_looks = if busy { self.busy_looks + 1 } else { 0 };
        read
    }

    /// Gives the space of everything read back to the kernel.
    pub(crate) fn release(&mut self) {
        for ring in &mut self.rings {
            ring.release();
        }
    }

    /// Bytes that wait to be read.
    pub(crate) fn backlog_bytes(&self) -> u64 {
        self.rings.iter().map(Ring::backlog_bytes).sum()
    }
}
