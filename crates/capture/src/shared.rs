//! The variables that both sides write (`struct ht_shared`), mapped.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use crate::abi::shared as offset;

/// The mapped page.
pub(crate) struct Shared(NonNull<u8>);

// SAFETY: the mapping belongs to this value alone and is only accessed atomically.
unsafe impl Send for Shared {}

impl Shared {
    /// Maps the array of `fd`.
    pub(crate) fn map(fd: BorrowedFd<'_>) -> io::Result<Self> {
        // SAFETY: a new mapping at an address of the kernel's choice; an mmapable array has at least one page.
        let page = unsafe {
            mmap(
                ptr::null_mut(),
                rustix::param::page_size(),
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                fd.as_fd(),
                0,
            )
        }?;
        NonNull::new(page.cast()).map(Self).ok_or_else(|| io::Error::other("mmap gave null"))
    }

    /// Tells the producers whether the consumer wants to be woken.
    pub(crate) fn set_waiting(&self, waiting: bool) {
        // SAFETY: the offset is within the page and aligned.
        let word = unsafe { self.0.add(offset::WAITING).cast::<AtomicU32>().as_ref() };
        // Ordered before the look at the rings that follows: see Capture::wait.
        word.store(u32::from(waiting), Ordering::SeqCst);
    }

    /// Records of the process family that found the ring full.
    pub(crate) fn process_lost(&self) -> u64 {
        self.count(offset::PROCESS_LOST)
    }

    /// Packets that found no scratch area.
    pub(crate) fn slots_busy(&self) -> u64 {
        self.count(offset::SLOTS_BUSY)
    }

    fn count(&self, at: usize) -> u64 {
        assert!(at + 8 <= offset::BYTES, "the counter at {at} lies within {} bytes", offset::BYTES);
        // SAFETY: the offset lies within the structure and thus the page, and is aligned (checked against abi.h).
        unsafe { self.0.add(at).cast::<AtomicU64>().as_ref() }.load(Ordering::Relaxed)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: mapped by `map` with this length and not used after this.
        let _ = unsafe { munmap(self.0.as_ptr().cast(), rustix::param::page_size()) };
    }
}
