//! One value in memory that is never swapped, dumped or left behind.
//!
//! A [`Locked`] value has pages of its own, between two guard pages. They are, in order of
//! preference, secret pages (`memfd_secret(2)`: gone even from the kernel's own address space, so
//! neither `ptrace` nor `/proc/<pid>/mem` nor a crash kernel reads them) or locked pages
//! (`mlock(2)`, left out of core dumps and of forked children). Where the kernel gives neither,
//! there is no value but a [`LockError`].
//!
//! This crate and `packet-ring` alone in the workspace may use `unsafe`.
//!
//! ```
//! use locked_page::Locked;
//!
//! let mut page = Locked::new(|| [0_u8; 32])?;
//! page[0] = 7;
//! drop(page); // overwritten with zeros, then unmapped; also when a panic unwinds
//! # Ok::<(), locked_page::LockError>(())
//! ```

mod clock_sync;
mod core_dump;
mod locked;
mod mapping;
#[cfg(test)]
mod testing;

pub use clock_sync::clock_is_synchronised;
pub use core_dump::forbid_core_dumps;
pub use locked::{LockError, Locked, MAX_BYTES, Protection};
