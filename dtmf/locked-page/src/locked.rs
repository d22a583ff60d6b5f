//! `Locked`: one value in pages of its own.

use std::io;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use crate::mapping::{Mapping, PAGE_BYTES_MIN};

/// The largest value a [`Locked`] takes: four pages. What needs more is not one small secret, and
/// locked memory is scarce (`RLIMIT_MEMLOCK` is 8 MiB on common systems).
pub const MAX_BYTES: usize = 4 * PAGE_BYTES_MIN;

/// How the pages are kept out of other hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// `memfd_secret(2)`: unmapped from the kernel too, never swapped, not readable by a debugger.
    Secret,
    /// `mlock(2)`, `MADV_DONTDUMP` and `MADV_DONTFORK`: never swapped, dumped or inherited.
    Locked,
}

/// Why no protected page could be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// The address space for the page and its guards was refused.
    #[error("cannot reserve address space for a locked page")]
    Reserve(#[source] io::Error),
    /// Neither `memfd_secret` nor `mlock` was granted; usually `RLIMIT_MEMLOCK` is too low.
    #[error("cannot lock a page in memory")]
    Lock(#[source] io::Error),
}

/// One value of `T` in pages of its own: never swapped, dumped or inherited by a fork, and
/// overwritten with zeros when dropped, on an unwinding panic too.
///
/// It has no `Debug` and no `Clone`: what lives here is shown to nobody and exists once.
pub struct Locked<T> {
    /// Points to the start of `mapping`, where a valid `T` lives until drop.
    value: NonNull<T>,
    /// After `value`: its own drop wipes and unmaps once the value has been dropped.
    mapping: Mapping,
    /// The `T` is owned here.
    owned: PhantomData<T>,
}

impl<T> Locked<T> {
    /// Maps the pages, then moves the result of `init` into them.
    ///
    /// `init` runs on the ordinary stack, so it must return a value that holds no secret yet; the
    /// secret is then written in place.
    ///
    /// # Errors
    /// [`LockError`] if the kernel gives neither secret nor locked pages; `init` has not run then.
    pub fn new(init: impl FnOnce() -> T) -> Result<Self, LockError> {
        Ok(Self::within(Mapping::new(const { Self::bytes() })?, init))
    }

    /// How this value's pages are protected.
    #[must_use]
    pub fn protection(&self) -> Protection {
        self.mapping.protection()
    }

    fn within(mapping: Mapping, init: impl FnOnce() -> T) -> Self {
        let value = mapping.start().cast::<T>();
        // SAFETY: the mapping is writable, at least `bytes()` long, page-aligned, which `bytes`
        // has shown to be enough for `T`, and nobody else refers to it.
        unsafe { value.write(init()) };
        Self { value, mapping, owned: PhantomData }
    }

    /// The size of the value, shown at compile time to fit.
    const fn bytes() -> usize {
        assert!(size_of::<T>() <= MAX_BYTES, "a locked value is at most MAX_BYTES long");
        assert!(align_of::<T>() <= PAGE_BYTES_MIN, "a page is aligned to its size and no more");
        size_of::<T>()
    }
}

impl<T> Deref for Locked<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: a valid `T` lives here from `within` to `drop`; borrowing `self` shares it.
        unsafe { self.value.as_ref() }
    }
}

impl<T> DerefMut for Locked<T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`; borrowing `self` mutably makes this reference the only one.
        unsafe { self.value.as_mut() }
    }
}

impl<T> Drop for Locked<T> {
    fn drop(&mut self) {
        // SAFETY: the value is valid and is never used again. Should this panic, `mapping` is
        // still dropped, as the fields of a value whose `drop` unwinds are.
        unsafe { self.value.drop_in_place() };
    }
}

// SAFETY: `Locked` owns its `T` and its mapping as a `Box` would; nothing is tied to a thread.
unsafe impl<T: Send> Send for Locked<T> {}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::{LockError, Locked, MAX_BYTES, Protection};
    use crate::mapping::{Mapping, witness};
    use crate::testing::in_child_process;

    const CANARY: [u8; 16] = *b"canary of a page";

    #[test]
    fn a_value_is_kept_changed_and_dropped_once() {
        struct Counted<'a>(&'a mut u32, u64);
        impl Drop for Counted<'_> {
            fn drop(&mut self) {
                *self.0 += 1;
            }
        }
        let mut drops = 0;
        let mut locked = Locked::new(|| Counted(&mut drops, 1)).unwrap();
        locked.1 += 41;
        assert_eq!(locked.1, 42);
        drop(locked);
        assert_eq!(drops, 1);
    }

    #[test]
    fn the_largest_and_the_smallest_value_fit() {
        let mut largest = Locked::new(|| [0_u8; MAX_BYTES]).unwrap();
        largest[MAX_BYTES - 1] = 1;
        assert_eq!(largest[MAX_BYTES - 1], 1);
        assert_eq!(*Locked::new(|| ()).unwrap(), ());
    }

    #[test]
    fn a_value_may_change_threads() {
        let mut locked = Locked::new(|| 1_u64).unwrap();
        let there = std::thread::spawn(move || {
            *locked += 1;
            locked
        });
        assert_eq!(*there.join().unwrap(), 2);
    }

    #[test]
    fn the_pages_are_zero_before_they_are_unmapped() {
        for mapping in both_protections() {
            let mut locked = Locked::within(mapping, || [0_u8; 16]);
            locked.copy_from_slice(&CANARY);
            drop(locked);
            assert_eq!(witness::looks(), [true, false], "something before the wipe, nothing after");
        }
    }

    #[test]
    fn a_panic_wipes_too() {
        let panicked = catch_unwind(|| {
            let mut locked = Locked::new(|| [0_u8; 16]).unwrap();
            locked.copy_from_slice(&CANARY);
            panic!("the holder of a secret fails");
        });
        assert!(panicked.is_err());
        assert_eq!(witness::looks(), [true, false]);
    }

    #[test]
    fn a_value_whose_drop_panics_is_wiped_all_the_same() {
        struct Bad(u64);
        impl Drop for Bad {
            fn drop(&mut self) {
                assert_eq!(self.0, 0, "a value that does not go quietly");
            }
        }
        let mut locked = Locked::new(|| Bad(0)).unwrap();
        locked.0 = 1;
        assert!(catch_unwind(AssertUnwindSafe(|| drop(locked))).is_err());
        assert_eq!(witness::looks(), [true, false]);
    }

    #[test]
    fn an_init_that_panics_leaves_no_value() {
        let panicked = catch_unwind(|| Locked::<u64>::new(|| panic!("no value after all")));
        assert!(panicked.is_err());
        assert_eq!(witness::looks(), [false, false], "the page was given back");
    }

    #[test]
    fn a_secret_page_cannot_be_read_from_outside_and_a_locked_one_can() {
        for mapping in both_protections() {
            let mut locked = Locked::within(mapping, || [0_u8; 16]);
            locked.copy_from_slice(&CANARY);
            let mut bytes = [0_u8; 16];
            let memory = File::open("/proc/self/mem").unwrap();
            let address = u64::try_from((&raw const *locked).addr()).unwrap();
            let read = memory.read_exact_at(&mut bytes, address);
            match locked.protection() {
                Protection::Secret => assert!(read.is_err() && bytes != CANARY),
                Protection::Locked => assert!(read.is_ok() && bytes == CANARY, "the control"),
            }
        }
    }

    #[test]
    fn without_any_lock_there_is_no_value() {
        in_child_process("locked::tests::without_any_lock_there_is_no_value", || {
            forbid_locking();
            let refused = Locked::new(|| -> u64 { panic!("init must not run") });
            assert!(matches!(refused.err(), Some(LockError::Lock(_))));
        });
    }

    /// A mapping of each protection that this kernel gives; always one that is merely locked.
    fn both_protections() -> impl Iterator<Item = Mapping> {
        Mapping::secret(1).into_iter().chain([Mapping::locked(1).unwrap()])
    }

    /// Gives up the privilege and the allowance to lock memory.
    fn forbid_locking() {
        const NOBODY: libc::uid_t = 65534;
        let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: both calls take values, or a struct that outlives them.
        unsafe {
            assert_eq!(libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const none), 0);
            if libc::geteuid() == 0 {
                assert_eq!(libc::setresuid(NOBODY, NOBODY, NOBODY), 0);
            }
        }
    }
}
