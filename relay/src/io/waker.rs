//! Waker: ends a worker's wait from another thread.

use std::io;
use std::sync::Arc;

use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::OwnedFd;

/// Ends a [`super::MediaIo::wait`] from another thread. Cheap to clone.
#[derive(Clone)]
pub struct Waker(Arc<OwnedFd>);

impl Waker {
    /// A waker for one worker.
    pub fn new() -> io::Result<Waker> {
        Ok(Waker(Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)))
    }

    /// Makes the next or current wait return at once.
    pub fn wake(&self) {
        // Fails only when the counter is full, and then the wake-up is already there.
        let _ = rustix::io::write(&*self.0, &1u64.to_ne_bytes());
    }

    /// What a wait has to watch: readable once woken.
    pub(super) fn counter(&self) -> &OwnedFd {
        &self.0
    }

    /// Takes note of all wake-ups so far.
    pub(super) fn rest(&self) {
        let _ = rustix::io::read(&*self.0, &mut [0u8; 8]);
    }
}
