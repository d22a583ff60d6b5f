//! CutMemory: how far the caller's streams had come while the call was cut.

use std::time::{Duration, Instant};

use super::limits::CUT_MEMORY;
use crate::wire::rtp::sequence_newer;

/// Long enough for any packet still on its way, short enough that sequence numbers (one turn is
/// 21 minutes of voice) cannot come round to it.
const SPAN: Duration = Duration::from_secs(60);

/// Highest sequence numbers heard during a cut, by SSRC, so that a packet sent during the cut and
/// delayed on its way is still withheld after it.
#[derive(Default)]
pub(super) struct CutMemory {
    streams: [Option<(u32, u16)>; CUT_MEMORY],
    next: usize,
    reopened: Option<Instant>,
}

impl CutMemory {
    /// Forgets an earlier cut; a new one begins.
    pub(super) fn begin(&mut self) {
        *self = CutMemory::default();
    }

    /// A packet of the caller was withheld.
    pub(super) fn note(&mut self, ssrc: u32, sequence: u16) {
        for (known, highest) in self.streams.iter_mut().flatten() {
            if *known == ssrc {
                if sequence_newer(sequence, *highest) {
                    *highest = sequence;
                }
                return;
            }
        }
        self.streams[self.next] = Some((ssrc, sequence));
        self.next = (self.next + 1) % CUT_MEMORY;
    }

    /// The cut is over.
    pub(super) fn reopen(&mut self, now: Instant) {
        self.reopened = Some(now);
    }

    /// Whether the packet was sent during the cut that is over.
    pub(super) fn is_straggler(&self, now: Instant, ssrc: u32, sequence: u16) -> bool {
        let Some(reopened) = self.reopened else { return false };
        now.saturating_duration_since(reopened) < SPAN
            && self
                .streams
                .iter()
                .flatten()
                .any(|&(known, highest)| known == ssrc && !sequence_newer(sequence, highest))
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_during_the_cut_stays_cut() {
        let now = Instant::now();
        let mut memory = CutMemory::default();
        assert!(!memory.is_straggler(now, 1, 5));
        memory.begin();
        memory.note(1, 65534);
        memory.note(1, 2);
        memory.note(1, 65535);
        memory.reopen(now);
        assert!(memory.is_straggler(now, 1, 2));
        assert!(memory.is_straggler(now, 1, 65000));
        assert!(!memory.is_straggler(now, 1, 3));
        assert!(!memory.is_straggler(now, 2, 2));
        assert!(!memory.is_straggler(now + SPAN, 1, 2));
    }
}
