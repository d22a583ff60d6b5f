//! Denials: how many refused requests get an entry of their own, and how many are summed up.
//!
//! Whoever has no key must not be able to fill the disk, or to push other entries out of the log's
//! queue: a flood costs one entry a window.

use std::time::{Duration, Instant};

/// The time that refusals are counted over.
pub(super) const WINDOW: Duration = Duration::from_secs(60);
/// Refusals of a window that get an entry each: more than people mistype, and 17 MB a day at most.
pub(super) const EACH: u32 = 30;

/// Refusals of the current window.
#[derive(Default)]
pub(super) struct Denials {
    since: Option<Instant>,
    written: u32,
    summed: u32,
}

impl Denials {
    /// Whether one that comes now gets an entry; if not, it is counted.
    pub(super) fn admit(&mut self, now: Instant) -> bool {
        let begun = *self.since.get_or_insert(now);
        // What was summed up waits for its entry: the window goes on until that is written.
        if self.summed == 0 && now.saturating_duration_since(begun) >= WINDOW {
            *self = Denials { since: Some(now), ..Denials::default() };
        }
        if self.written < EACH {
            self.written += 1;
            return true;
        }
        self.summed = self.summed.saturating_add(1);
        false
    }

    /// How many were not written one by one, once the window is over.
    pub(super) fn sum_up(&mut self, now: Instant) -> Option<u32> {
        let begun = self.since?;
        if now.saturating_duration_since(begun) < WINDOW {
            return None;
        }
        self.left()
    }

    /// How many were not written one by one so far; a new window begins.
    pub(super) fn left(&mut self) -> Option<u32> {
        let summed = std::mem::take(self).summed;
        (summed > 0).then_some(summed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn a_flood_is_summed_up_and_none_is_forgotten() {
        let begin = clock::monotonic();
        let mut denials = Denials::default();
        let (mut written, mut summed) = (0, 0);
        for tenth in 0..10_000_u32 {
            let now = begin + Duration::from_millis(u64::from(tenth) * 100);
            written += u32::from(denials.admit(now));
            if tenth.is_multiple_of(50) {
                summed += denials.sum_up(now).unwrap_or(0);
            }
        }
        summed += denials.left().unwrap_or(0);
        assert_eq!(written + summed, 10_000);
        assert!(written <= 17 * EACH, "{written} entries of 1000 s");
        assert_eq!(denials.left(), None);
    }

    #[test]
    fn a_few_are_all_written() {
        let begin = clock::monotonic();
        let mut denials = Denials::default();
        for second in 0..600 {
            let now = begin + Duration::from_secs(second * 3);
            assert!(denials.admit(now), "{second}");
            assert_eq!(denials.sum_up(now), None);
        }
    }
}
