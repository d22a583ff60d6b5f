//! Allowance: how much an engine may send. Beyond it nothing is read, so that its own side waits.

use std::time::{Duration, Instant};

/// Octets read at once: a minute and a half of the widest sound in base64, as a model that is done
/// thinking sends it.
const BURST_OCTETS: f64 = 8e6;
/// Octets in a second, over time: more than ten times what is heard of the widest sound.
const OCTETS: f64 = 1e6;
/// Messages read at once: two minutes of frames of 20 ms, each with its mark.
const BURST_MESSAGES: f64 = 12_000.0;
/// Messages in a second, over time: ten times those that can be heard, with marks.
const MESSAGES: f64 = 1000.0;

/// What is left of what an engine may send.
pub(super) struct Allowance {
    at: Instant,
    octets: f64,
    messages: f64,
}

impl Allowance {
    /// A full one.
    pub(super) fn new(now: Instant) -> Allowance {
        Allowance { at: now, octets: BURST_OCTETS, messages: BURST_MESSAGES }
    }

    /// A message was read.
    pub(super) fn spend(&mut self, octets: usize) {
        self.octets -= octets as f64;
        self.messages -= 1.0;
    }

    /// Grows by the time that has passed.
    pub(super) fn grow(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).min(Duration::from_secs(60));
        self.at = now;
        let passed = passed.as_secs_f64();
        self.octets = BURST_OCTETS.min(self.octets + OCTETS * passed);
        self.messages = BURST_MESSAGES.min(self.messages + MESSAGES * passed);
    }

    /// Whether more may be read.
    pub(super) fn is_open(&self) -> bool {
        self.octets > 0.0 && self.messages > 0.0
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
mod tests {
    use std::time::{Duration, Instant};

    use super::Allowance;

    #[test]
    fn what_was_spent_grows_again() {
        let start = Instant::now();
        let mut allowance = Allowance::new(start);
        allowance.spend(8_000_000);
        assert!(!allowance.is_open());
        allowance.grow(start + Duration::from_millis(1));
        assert!(allowance.is_open());
        for _ in 0..12_002 {
            allowance.spend(0);
        }
        assert!(!allowance.is_open());
        allowance.grow(start + Duration::from_secs(3600));
        allowance.spend(7_999_999);
        assert!(allowance.is_open(), "it grows to no more than it was");
    }
}
