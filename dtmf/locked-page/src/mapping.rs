//! `Mapping`: pages of our own between two guard pages, and their end.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::slice;

use zeroize::Zeroize;

use crate::{LockError, Protection};

/// The smallest page of any system this runs on; real pages are a multiple of it.
pub(crate) const PAGE_BYTES_MIN: usize = 4096;

/// Protected, zeroed, writable pages with an inaccessible page on either side.
///
/// Dropping it overwrites the pages with zeros and unmaps them.
pub(crate) struct Mapping {
    reservation: Reservation,
    protection: Protection,
}

impl Mapping {
    /// At least `bytes` of protected memory, secret if the kernel allows it, else locked.
    pub(crate) fn new(bytes: usize) -> Result<Self, LockError> {
        Self::secret(bytes).or_else(|_| Self::locked(bytes))
    }

    /// Pages of `memfd_secret(2)`.
    pub(crate) fn secret(bytes: usize) -> Result<Self, LockError> {
        let reservation = Reservation::new(bytes)?;
        reservation.back_with_secret_memory().map_err(LockError::Lock)?;
        reservation.advise(libc::MADV_DONTFORK).map_err(LockError::Lock)?;
        Ok(Self { reservation, protection: Protection::Secret })
    }

    /// Anonymous pages under `mlock(2)`.
    pub(crate) fn locked(bytes: usize) -> Result<Self, LockError> {
        let reservation = Reservation::new(bytes)?;
        reservation.back_with_locked_memory().map_err(LockError::Lock)?;
        reservation.advise(libc::MADV_DONTDUMP).map_err(LockError::Lock)?;
        reservation.advise(libc::MADV_DONTFORK).map_err(LockError::Lock)?;
        Ok(Self { reservation, protection: Protection::Locked })
    }

    /// The first byte; aligned to a page.
    pub(crate) fn start(&self) -> NonNull<u8> {
        self.reservation.inner_start()
    }

    pub(crate) fn protection(&self) -> Protection {
        self.protection
    }

    fn wipe(&mut self) {
        let start = self.start().cast::<MaybeUninit<u8>>().as_ptr();
        // SAFETY: the inner pages are mapped and writable, `&mut self` makes this the only
        // reference to them, and `MaybeUninit` asks for no initialised bytes.
        let pages = unsafe { slice::from_raw_parts_mut(start, self.reservation.inner_bytes) };
        pages.zeroize();
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        #[cfg(test)]
        witness::look_at(self);
        self.wipe();
        #[cfg(test)]
        witness::look_at(self);
    }
}

/// A stretch of address space: guard page, inner pages, guard page. Unmapped when dropped.
struct Reservation {
    base: NonNull<u8>,
    page_bytes: usize,
    inner_bytes: usize,
}

impl Reservation {
    /// Reserves it without any access.
    fn new(bytes: usize) -> Result<Self, LockError> {
        let page_bytes = page_bytes().map_err(LockError::Reserve)?;
        let inner_bytes = bytes.max(1).next_multiple_of(page_bytes);
        let length = page_bytes + inner_bytes + page_bytes;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a fresh mapping at an address of the kernel's choice disturbs nothing.
        let base = unsafe { libc::mmap(ptr::null_mut(), length, libc::PROT_NONE, flags, -1, 0) };
        if base == libc::MAP_FAILED {
            return Err(LockError::Reserve(io::Error::last_os_error()));
        }
        let base = NonNull::new(base.cast::<u8>())
            .ok_or_else(|| LockError::Reserve(io::Error::from(io::ErrorKind::InvalidData)))?;
        Ok(Self { base, page_bytes, inner_bytes })
    }

    fn inner_start(&self) -> NonNull<u8> {
        // SAFETY: the reservation is longer than its first page, so this stays inside it.
        unsafe { self.base.add(self.page_bytes) }
    }

    fn back_with_secret_memory(&self) -> io::Result<()> {
        let flags = libc::c_uint::try_from(libc::O_CLOEXEC).map_err(io::Error::other)?;
        // SAFETY: memfd_secret takes flags and returns a new file descriptor or -1.
        let fd = unsafe { libc::syscall(libc::SYS_memfd_secret, flags) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        let fd = libc::c_int::try_from(fd).map_err(io::Error::other)?;
        // SAFETY: the call has just returned this descriptor, and nobody else holds it.
        let file = unsafe { OwnedFd::from_raw_fd(fd) };
        let length = libc::off_t::try_from(self.inner_bytes).map_err(io::Error::other)?;
        // SAFETY: ftruncate touches the file only, which is ours.
        check(unsafe { libc::ftruncate(file.as_raw_fd(), length) })?;
        // Secret memory can only be mapped shared; the descriptor is closed right after, so the
        // mapping is the one way to it.
        let flags = libc::MAP_SHARED | libc::MAP_FIXED;
        // SAFETY: MAP_FIXED replaces exactly the inner pages of this reservation, which is ours
        // and to which no reference exists yet.
        let inner = unsafe {
            let start = self.inner_start().as_ptr().cast();
            libc::mmap(start, self.inner_bytes, READ_WRITE, flags, file.as_raw_fd(), 0)
        };
        if inner == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    fn back_with_locked_memory(&self) -> io::Result<()> {
        let start = self.inner_start().as_ptr().cast::<libc::c_void>();
        // SAFETY: the inner pages are ours and no reference to them exists yet.
        check(unsafe { libc::mprotect(start, self.inner_bytes, READ_WRITE) })?;
        // SAFETY: mlock changes no byte of the pages it is given.
        check(unsafe { libc::mlock(start, self.inner_bytes) })
    }

    fn advise(&self, advice: libc::c_int) -> io::Result<()> {
        let start = self.inner_start().as_ptr().cast();
        // SAFETY: the advice used here (DONTDUMP, DONTFORK) changes no byte of the pages.
        check(unsafe { libc::madvise(start, self.inner_bytes, advice) })
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let length = self.page_bytes + self.inner_bytes + self.page_bytes;
        // SAFETY: the stretch was mapped by `new`, is owned by this value and is used no more.
        let unmapped = unsafe { libc::munmap(self.base.as_ptr().cast(), length) };
        debug_assert_eq!(unmapped, 0, "a reservation is unmapped whole");
    }
}

const READ_WRITE: libc::c_int = libc::PROT_READ | libc::PROT_WRITE;

fn page_bytes() -> io::Result<usize> {
    // SAFETY: sysconf reads a constant of the system.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    let bytes = usize::try_from(bytes).map_err(io::Error::other)?;
    assert!(bytes.is_power_of_two() && bytes >= PAGE_BYTES_MIN, "pages are 4 KiB or larger");
    Ok(bytes)
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// What tests see of a mapping's last moments: a look before the wipe and one after.
#[cfg(test)]
pub(crate) mod witness {
    use std::cell::RefCell;
    use std::slice;

    use super::Mapping;

    thread_local! {
        static LOOKS: RefCell<Vec<bool>> = const { RefCell::new(Vec::new()) };
    }

    /// Notes whether any byte of the pages is other than zero.
    pub(super) fn look_at(mapping: &Mapping) {
        let bytes = mapping.reservation.inner_bytes;
        // SAFETY: the pages are mapped and readable; the tests put no type with padding there.
        let pages = unsafe { slice::from_raw_parts(mapping.start().as_ptr(), bytes) };
        let dirty = pages.iter().any(|&byte| byte != 0);
        LOOKS.with_borrow_mut(|looks| looks.push(dirty));
    }

    /// The looks this thread has taken since it last asked; `true` is a page with something on it.
    pub(crate) fn looks() -> Vec<bool> {
        LOOKS.take()
    }
}

#[cfg(test)]
mod tests {
    use super::{Mapping, witness};
    use crate::Protection;

    /// Locked, not dumped, not copied on fork (proc_pid_smaps(5), `VmFlags`).
    const KEPT_PRIVATE: [&str; 3] = [" lo ", " dd ", " dc "];

    #[test]
    fn a_size_is_rounded_up_to_whole_pages() {
        for (bytes, pages) in [(0, 1), (1, 1), (4096, 1), (4097, 2)] {
            let mapping = Mapping::locked(bytes).unwrap();
            let page_bytes = mapping.reservation.page_bytes;
            assert!(page_bytes != 4096 || mapping.reservation.inner_bytes == pages * page_bytes);
            assert_eq!(mapping.start().as_ptr().addr() % page_bytes, 0);
        }
        assert_eq!(witness::looks(), [false; 8], "pages come zeroed");
    }

    #[test]
    fn the_pages_are_locked_left_out_of_dumps_and_of_forks() {
        for mapping in [Mapping::locked(1).unwrap(), Mapping::new(1).unwrap()] {
            let (flags, _) = smaps_of(mapping.start().as_ptr().addr());
            assert!(KEPT_PRIVATE.iter().all(|flag| flags.contains(flag)), "{flags}");
        }
        let ordinary = vec![1_u8; 1 << 20];
        let (flags, _) = smaps_of(ordinary.as_ptr().addr());
        assert!(!KEPT_PRIVATE.iter().any(|flag| flags.contains(flag)), "the control: {flags}");
    }

    #[test]
    fn both_neighbours_are_out_of_bounds() {
        for mapping in [Mapping::locked(1).unwrap(), Mapping::new(1).unwrap()] {
            let start = mapping.start().as_ptr().addr();
            let end = start + mapping.reservation.inner_bytes;
            assert_eq!(smaps_of(start - 1).1, "---p");
            assert_eq!(smaps_of(end).1, "---p");
            let inside = if mapping.protection() == Protection::Secret { "rw-s" } else { "rw-p" };
            assert_eq!(smaps_of(start).1, inside);
        }
    }

    /// The `VmFlags` and the permissions of the area that holds this address (proc_pid_smaps(5)).
    fn smaps_of(address: usize) -> (String, String) {
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut permissions = None;
        for line in smaps.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            if let Some((low, high)) = words[0].split_once('-') {
                let low = usize::from_str_radix(low, 16).unwrap();
                let high = usize::from_str_radix(high, 16).unwrap();
                permissions = (low..high).contains(&address).then(|| words[1].to_owned());
            } else if let (Some(permissions), "VmFlags:") = (&permissions, words[0]) {
                return (format!("{line} "), permissions.clone());
            }
        }
        panic!("no area holds the address");
    }
}
