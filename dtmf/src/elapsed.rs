//! `Elapsed`: a point in time as microseconds since an origin, a plain number that can be wiped.
//!
//! When a key was pressed is as secret as which key it was, and an `Instant` cannot be zeroed.

use std::time::{Duration, Instant};

use zeroize::Zeroize;

/// Microseconds since an origin that its owner keeps.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Elapsed(u64);

impl Elapsed {
    pub(crate) const ZERO: Self = Self(0);

    /// How long after `origin` it is at `now`; zero if it is before.
    pub(crate) fn between(origin: Instant, now: Instant) -> Self {
        let elapsed = now.saturating_duration_since(origin).as_micros();
        // 2^64 microseconds are half a million years.
        Self(u64::try_from(elapsed).unwrap_or(u64::MAX))
    }

    /// Time from an earlier point to this one; zero if that is later.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Zeroize for Elapsed {
    fn zeroize(&mut self) {
        self.0.zeroize();
    }
}
