//! Allowance: how much audio a party may have decoded.

use std::time::{Duration, Instant};

use super::limits::{DECODE_BURST, DECODE_LEAST, DECODE_PACE};

/// Audio that is sent in its time costs nothing; a flood of it, each packet of which takes a
/// hundred times as long as one that is passed on, would have every call of the worker wait.
pub(super) struct Allowance {
    left: Duration,
    at: Instant,
}

impl Allowance {
    /// A full one.
    pub(super) fn new(now: Instant) -> Allowance {
        Allowance { left: DECODE_BURST, at: now }
    }

    /// Whether so much audio may be decoded now; then it is less.
    pub(super) fn spend(&mut self, now: Instant, audio: Duration) -> bool {
        let earned = now.saturating_duration_since(self.at) * DECODE_PACE;
        self.left = (self.left + earned).min(DECODE_BURST);
        self.at = now;
        let rest = self.left.checked_sub(audio.max(DECODE_LEAST));
        self.left = rest.unwrap_or(self.left);
        rest.is_some()
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_voice_is_never_refused_and_a_flood_is() {
        let start = Instant::now();
        let mut allowance = Allowance::new(start);
        for number in 0..10_000 {
            assert!(allowance.spend(start + 20 * MS * number, 20 * MS), "{number}");
        }
        let later = start + 20 * MS * 10_000;
        let spent = (0..1000).filter(|_| allowance.spend(later, 120 * MS)).count();
        assert!((1..=4).contains(&spent), "{spent}");
        let spent = (0..1000).filter(|_| allowance.spend(later + 400 * MS, Duration::ZERO)).count();
        assert!(spent <= 160, "{spent} that say they last no time");
    }
}
