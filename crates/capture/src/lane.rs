//! The consumer of the lanes: rings of cells of one size in mapped arrays (bpf/lib/lane.bpf.h).

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use crate::abi;

/// Bytes of a cell.
pub(crate) const CELL_BYTES: usize = abi::CELL_BYTES;

/// A mapped array.
struct Mapping {
    data: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the mapping is valid in every thread; what lies in it is accessed atomically, or when its `turn` says that the
// kernel's side has done with it.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(fd: BorrowedFd<'_>, bytes: usize) -> io::Result<Self> {
        let bytes = bytes.next_multiple_of(rustix::param::page_size());
        // SAFETY: a new mapping at an address of the kernel's choice; the array is at least as long.
        let data = unsafe {
            mmap(ptr::null_mut(), bytes, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, fd.as_fd(), 0)
        }?;
        let data = NonNull::new(data.cast()).ok_or_else(|| io::Error::other("mmap gave null"))?;
        Ok(Self { data, bytes })
    }

    /// The address of `len` bytes at `at`.
    fn at(&self, at: usize, len: usize) -> NonNull<u8> {
        assert!(at + len <= self.bytes, "{at} and {len} bytes lie within {}", self.bytes);
        // SAFETY: within the mapping, as asserted.
        unsafe { self.data.add(at) }
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        // SAFETY: within the mapping and aligned, as abi.h lays it out; both sides access it atomically.
        unsafe { self.at(at, 8).cast::<AtomicU64>().as_ref() }
    }

    fn half_word(&self, at: usize) -> &AtomicU32 {
        // SAFETY: as above.
        unsafe { self.at(at, 4).cast::<AtomicU32>().as_ref() }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: made by `new` with this length and not used after this.
        let _ = unsafe { munmap(self.data.as_ptr().cast(), self.bytes) };
    }
}

/// One lane.
pub(crate) struct Lane {
    lanes: Arc<Mapping>,
    cells: Arc<Mapping>,
    /// Offset of its `ht_lane`.
    state: usize,
    /// Offset of its first cell.
    first: usize,
    count: u64,
    /// Position that is read next; the kernel knows only of what was released.
    position: u64,
    /// The producer's position at the last look.
    end: u64,
}

impl Lane {
    /// Maps the arrays and lays out `count` lanes of `cells` cells (a power of two) each.
    pub(crate) fn lay_out(
        lanes: BorrowedFd<'_>,
        array: BorrowedFd<'_>,
        count: usize,
        cells: u32,
    ) -> io::Result<Vec<Self>> {
        assert!(cells.is_power_of_two(), "{cells} cells are a power of two");
        let lanes = Arc::new(Mapping::new(lanes, count * abi::lane::BYTES)?);
        let array = Arc::new(Mapping::new(array, count * cells as usize * CELL_BYTES)?);
        let mut all = Vec::with_capacity(count);
        for index in 0..count {
            let state = index * abi::lane::BYTES;
            let first = index as u32 * cells;
            lanes.half_word(state + abi::lane::FIRST).store(first, Ordering::Relaxed);
            // No program runs yet; were one to run, it would see the lane from here on.
            lanes.half_word(state + abi::lane::CELLS).store(cells, Ordering::Release);
            all.push(Self {
                lanes: lanes.clone(),
                cells: array.clone(),
                state,
                first: first as usize * CELL_BYTES,
                count: u64::from(cells),
                position: 0,
                end: 0,
            });
        }
        Ok(all)
    }

    /// Notes how far the producer has come.
    pub(crate) fn look(&mut self) {
        self.end = self.lanes.word(self.state + abi::lane::HEAD).load(Ordering::Acquire);
    }

    /// The record at the position: None where there is none, an empty one where it is not complete yet.
    pub(crate) fn peek(&self) -> Option<&[u8]> {
        if self.position >= self.end {
            return None;
        }
        let at = self.first + (self.position & (self.count - 1)) as usize * CELL_BYTES;
        if self.cells.word(at + abi::cell::TURN).load(Ordering::Acquire) != self.position + 1 {
            return Some(&[]);
        }
        let from = at + abi::cell::R;
        let bytes = at + CELL_BYTES - from;
        // SAFETY: the cell is complete, and no producer writes to it before `release`, which needs `self` as a whole.
        Some(unsafe { std::slice::from_raw_parts(self.cells.at(from, bytes).as_ptr(), bytes) })
    }

    /// Goes past the record at the position.
    pub(crate) fn advance(&mut self) {
        self.position += 1;
    }

    /// Gives back everything read.
    pub(crate) fn release(&mut self) {
        self.lanes.word(self.state + abi::lane::TAIL).store(self.position, Ordering::Release);
    }

    /// Bytes that wait to be read.
    pub(crate) fn backlog_bytes(&self) -> u64 {
        let head = self.lanes.word(self.state + abi::lane::HEAD).load(Ordering::Acquire);
        head.saturating_sub(self.position) * CELL_BYTES as u64
    }
}
