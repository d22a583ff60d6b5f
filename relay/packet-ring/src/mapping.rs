//! Mapping: memory that the kernel reads and writes too.

use std::ffi::c_void;
use std::io;
use std::os::fd::BorrowedFd;
use std::ptr::{self, NonNull};

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, mmap_anonymous, munmap};

/// Pages shared with the kernel; unmapped when dropped.
pub(crate) struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: a mapping is plain memory that is tied to no thread. Who may touch which part of it, and
// when, is the business of the rings that are built on it.
unsafe impl Send for Mapping {}
// SAFETY: as above; `&Mapping` gives pointers alone.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// `length` octets of zeros, which are left out of core dumps and of forked children.
    pub(crate) fn anonymous(length: usize) -> io::Result<Mapping> {
        let (access, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
        // SAFETY: without an address the kernel chooses one where nothing is.
        let start = unsafe { mmap_anonymous(ptr::null_mut(), length, access, flags)? };
        let mapping = Mapping::new(start, length)?;
        mapping.keep_private()?;
        Ok(mapping)
    }

    /// `length` octets of what lies behind `socket` from `offset` on.
    pub(crate) fn of(socket: BorrowedFd<'_>, length: usize, offset: u64) -> io::Result<Mapping> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::SHARED | MapFlags::POPULATE;
        // SAFETY: without an address the kernel chooses one where nothing is.
        let start = unsafe { mmap(ptr::null_mut(), length, access, flags, socket, offset)? };
        Mapping::new(start, length)
    }

    fn new(start: *mut c_void, length: usize) -> io::Result<Mapping> {
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Mapping { start, length })
    }

    /// No dump and no child shows what passes here.
    fn keep_private(&self) -> io::Result<()> {
        for advice in [Advice::LinuxDontDump, Advice::LinuxDontFork] {
            // SAFETY: the range is the mapping's own, and neither advice changes its content.
            unsafe { madvise(self.start.as_ptr().cast(), self.length, advice)? };
        }
        Ok(())
    }

    /// Where the mapping begins, as the kernel is told.
    pub(crate) fn address(&self) -> u64 {
        self.start.as_ptr().expose_provenance() as u64
    }

    /// Octets mapped.
    pub(crate) fn length(&self) -> usize {
        self.length
    }

    /// The place of `count` values of `T` from `offset` octets on.
    ///
    /// # Panics
    /// If they do not lie inside, or not where a `T` may lie: no pointer leads out of the mapping.
    pub(crate) fn place<T>(&self, offset: usize, count: usize) -> *mut T {
        let end = count.checked_mul(size_of::<T>()).and_then(|length| length.checked_add(offset));
        assert!(end.is_some_and(|end| end <= self.length), "beyond the mapping");
        // SAFETY: `offset` is at most `length`, as was just seen.
        let place = unsafe { self.start.as_ptr().add(offset) };
        assert!(place.addr().is_multiple_of(align_of::<T>()), "not where this type may lie");
        place.cast()
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range is the mapping's own, and no pointer into it outlives its owner.
        let unmapped = unsafe { munmap(self.start.as_ptr().cast(), self.length) };
        debug_assert!(unmapped.is_ok(), "a mapping of our own can be unmapped");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_lies_inside() {
        let mapping = Mapping::anonymous(4096).expect("a page");
        assert_eq!(mapping.place::<u64>(8, 511).addr() as u64, mapping.address() + 8);
    }

    #[test]
    #[should_panic(expected = "beyond the mapping")]
    fn a_place_beyond_is_refused() {
        Mapping::anonymous(4096).expect("a page").place::<u64>(8, 512);
    }

    #[test]
    #[should_panic(expected = "not where this type may lie")]
    fn a_crooked_place_is_refused() {
        Mapping::anonymous(4096).expect("a page").place::<u64>(4, 1);
    }
}
