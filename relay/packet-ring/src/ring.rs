//! Producer and Consumer: the two ends of a ring of descriptors (kernel: `Documentation/networking/
//! af_xdp.rst`, "Rings").
//!
//! One side writes entries and advances the producer's count, the other reads them and advances the
//! consumer's. Counts run freely and wrap; an entry lies at its count modulo the size, which is a
//! power of two.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::net::xdp::XdpRingOffset;

use crate::mapping::Mapping;

/// A ring's memory and where its parts lie.
struct Ring<Entry> {
    mapping: Mapping,
    offsets: Offsets,
    slots: *mut Entry,
    size: u32,
}

#[derive(Clone, Copy)]
struct Offsets {
    producer: usize,
    consumer: usize,
}

// SAFETY: the pointer leads into the mapping that moves along; entries are plain numbers.
unsafe impl<Entry: Copy + Send> Send for Ring<Entry> {}

impl<Entry: Copy> Ring<Entry> {
    /// Maps a ring of `size` entries at `page` of a socket.
    fn map(
        socket: BorrowedFd<'_>,
        page: u64,
        offset: &XdpRingOffset,
        size: u32,
    ) -> io::Result<Ring<Entry>> {
        assert!(size.is_power_of_two(), "a ring's size is a power of two");
        let first = offset.desc as usize;
        let mapping = Mapping::of(socket, first + size as usize * size_of::<Entry>(), page)?;
        let slots = mapping.place(first, size as usize);
        let (producer, consumer) = (offset.producer as usize, offset.consumer as usize);
        Ok(Ring { mapping, offsets: Offsets { producer, consumer }, slots, size })
    }

    fn counter(&self, offset: usize) -> &AtomicU32 {
        let place = self.mapping.place::<AtomicU32>(offset, 1);
        // SAFETY: `place` has checked bounds and alignment, the mapping lives as long as `self`,
        // and both sides touch a counter by atomic operations alone.
        unsafe { &*place }
    }

    fn producer(&self) -> &AtomicU32 {
        self.counter(self.offsets.producer)
    }

    fn consumer(&self) -> &AtomicU32 {
        self.counter(self.offsets.consumer)
    }

    fn slot(&self, count: u32) -> *mut Entry {
        // SAFETY: a count modulo the size is within the slots, as `map` has checked.
        unsafe { self.slots.add((count & (self.size - 1)) as usize) }
    }
}

/// Our end of a ring that the kernel reads from.
pub(crate) struct Producer<Entry> {
    ring: Ring<Entry>,
    /// Our count, of which the kernel knows up to the last [`Producer::publish`].
    written: u32,
    /// The kernel's count when we last looked.
    read: u32,
}

impl<Entry: Copy> Producer<Entry> {
    pub(crate) fn map(
        socket: BorrowedFd<'_>,
        page: u64,
        offset: &XdpRingOffset,
        size: u32,
    ) -> io::Result<Producer<Entry>> {
        let ring = Ring::map(socket, page, offset, size)?;
        let (written, read) =
            (ring.producer().load(Ordering::Relaxed), ring.consumer().load(Ordering::Acquire));
        Ok(Producer { ring, written, read })
    }

    /// Writes an entry, which the kernel sees after [`Producer::publish`]; false if there's no room.
    pub(crate) fn push(&mut self, entry: Entry) -> bool {
        if self.written.wrapping_sub(self.read) == self.ring.size {
            self.read = self.ring.consumer().load(Ordering::Acquire);
            if self.written.wrapping_sub(self.read) == self.ring.size {
                return false;
            }
        }
        // SAFETY: the kernel has read this slot's last entry and reads it again only after the
        // producer's count has passed it.
        unsafe { self.ring.slot(self.written).write(entry) };
        self.written = self.written.wrapping_add(1);
        true
    }

    /// Shows the kernel what was written.
    pub(crate) fn publish(&mut self) {
        self.ring.producer().store(self.written, Ordering::Release);
    }

    /// Entries that the kernel has not read yet.
    pub(crate) fn unread(&self) -> u32 {
        self.written.wrapping_sub(self.ring.consumer().load(Ordering::Acquire))
    }
}

/// Our end of a ring that the kernel writes to.
pub(crate) struct Consumer<Entry> {
    ring: Ring<Entry>,
    /// Our count, of which the kernel knows up to the last [`Consumer::release`].
    read: u32,
    /// The kernel's count when we last looked.
    written: u32,
}

impl<Entry: Copy> Consumer<Entry> {
    pub(crate) fn map(
        socket: BorrowedFd<'_>,
        page: u64,
        offset: &XdpRingOffset,
        size: u32,
    ) -> io::Result<Consumer<Entry>> {
        let ring = Ring::map(socket, page, offset, size)?;
        let (read, written) =
            (ring.consumer().load(Ordering::Relaxed), ring.producer().load(Ordering::Acquire));
        Ok(Consumer { ring, read, written })
    }

    /// Reads the next entry.
    pub(crate) fn pop(&mut self) -> Option<Entry> {
        if self.is_empty() {
            return None;
        }
        // SAFETY: the kernel's count has passed this slot, and it writes here again only after ours
        // has been released.
        let entry = unsafe { self.ring.slot(self.read).read() };
        self.read = self.read.wrapping_add(1);
        Some(entry)
    }

    /// Whether there is nothing to read.
    pub(crate) fn is_empty(&mut self) -> bool {
        if self.read == self.written {
            self.written = self.ring.producer().load(Ordering::Acquire);
        }
        self.read == self.written
    }

    /// Gives the slots of what was read back to the kernel.
    pub(crate) fn release(&mut self) {
        self.ring.consumer().store(self.read, Ordering::Release);
    }
}
