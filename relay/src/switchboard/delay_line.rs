//! DelayLine: a short, bounded queue of equal frames between the caller and a paced egress.

use std::time::{Duration, Instant};

use zeroize::Zeroize;

use super::limits::{DELAY_LINE, MAX_FRAME};

/// Frames the line can hold at the smallest packet time (10 ms, 80 octets).
const SLOTS: usize = DELAY_LINE / 80;

/// Audio cut into equal frames, each kept for at least `hold` before it may leave.
///
/// The line serves two ends: it turns packets of any size into frames of one size, and, while a
/// call is armed, it keeps what was heard long enough to take it back ([`DelayLine::purge`]).
pub(super) struct DelayLine {
    frame_len: usize,
    hold: Duration,
    slots: Box<[Slot; SLOTS]>,
    first: usize,
    len: usize,
    partial: [u8; MAX_FRAME],
    partial_len: usize,
}

#[derive(Clone, Copy)]
struct Slot {
    arrived: Instant,
    bytes: [u8; MAX_FRAME],
}

impl DelayLine {
    /// An empty line of `frame_len`-octet frames that keeps each for `hold`.
    pub(super) fn new(now: Instant, frame_len: usize, hold: Duration) -> DelayLine {
        assert!(0 < frame_len && frame_len <= MAX_FRAME, "a frame fits its slot");
        DelayLine {
            frame_len,
            hold,
            slots: Box::new([Slot { arrived: now, bytes: [0; MAX_FRAME] }; SLOTS]),
            first: 0,
            len: 0,
            partial: [0; MAX_FRAME],
            partial_len: 0,
        }
    }

    /// The least time a frame stays.
    pub(super) fn hold(&self) -> Duration {
        self.hold
    }

    /// Appends audio; the oldest frame makes room when the line is full.
    pub(super) fn push(&mut self, now: Instant, audio: &[u8]) {
        for &octet in audio {
            self.partial[self.partial_len] = octet;
            self.partial_len += 1;
            if self.partial_len == self.frame_len {
                self.append_partial(now);
            }
        }
    }

    /// Moves the oldest frame into `frame` if it has been held long enough.
    pub(super) fn pop(&mut self, now: Instant, frame: &mut [u8]) -> bool {
        debug_assert_eq!(frame.len(), self.frame_len);
        if self.len == 0 {
            return false;
        }
        let slot = &mut self.slots[self.first];
        if now.saturating_duration_since(slot.arrived) < self.hold {
            return false;
        }
        frame.copy_from_slice(&slot.bytes[..self.frame_len]);
        slot.bytes.zeroize();
        self.first = (self.first + 1) % SLOTS;
        self.len -= 1;
        true
    }

    /// Forgets everything, leaving no octet behind.
    pub(super) fn purge(&mut self) {
        for slot in self.slots.iter_mut() {
            slot.bytes.zeroize();
        }
        self.partial.zeroize();
        self.partial_len = 0;
        self.first = 0;
        self.len = 0;
    }

    fn append_partial(&mut self, now: Instant) {
        // Frames beyond what the hold needs are delay for nothing: a sender's faster clock or a
        // burst after a stall would otherwise stay in the line for the rest of the call.
        let wanted = self.hold.as_millis() as usize * 8 / self.frame_len + 3;
        if self.len == SLOTS.min(wanted) {
            self.first = (self.first + 1) % SLOTS;
            self.len -= 1;
        }
        let slot = &mut self.slots[(self.first + self.len) % SLOTS];
        slot.arrived = now;
        slot.bytes[..self.frame_len].copy_from_slice(&self.partial[..self.frame_len]);
        self.len += 1;
        self.partial_len = 0;
    }
}

impl Drop for DelayLine {
    fn drop(&mut self) {
        self.purge();
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn packets_of_30_ms_leave_as_frames_of_20_ms() {
        let start = Instant::now();
        let mut line = DelayLine::new(start, 160, Duration::ZERO);
        let mut frame = [0; 160];
        line.push(start, &[1; 240]);
        assert!(line.pop(start, &mut frame));
        assert!(!line.pop(start, &mut frame));
        line.push(start, &[2; 240]);
        assert!(line.pop(start, &mut frame));
        assert_eq!((frame[79], frame[80]), (1, 2));
        assert!(line.pop(start, &mut frame));
    }

    #[test]
    fn a_frame_is_held_for_the_whole_hold() {
        let start = Instant::now();
        let mut line = DelayLine::new(start, 160, 60 * MS);
        let mut frame = [0; 160];
        line.push(start, &[7; 160]);
        assert!(!line.pop(start + 59 * MS, &mut frame));
        assert!(line.pop(start + 60 * MS, &mut frame));
    }

    #[test]
    fn a_purged_line_gives_nothing() {
        let start = Instant::now();
        let mut line = DelayLine::new(start, 160, Duration::ZERO);
        line.push(start, &[7; 200]);
        line.purge();
        assert!(!line.pop(start + 500 * MS, &mut [0; 160]));
        assert!(line.slots.iter().all(|slot| slot.bytes.iter().all(|&octet| octet == 0)));
        line.push(start, &[9; 160]);
        let mut frame = [0; 160];
        assert!(line.pop(start, &mut frame));
        assert_eq!(frame, [9; 160]);
    }

    #[test]
    fn a_burst_does_not_become_lasting_delay() {
        let start = Instant::now();
        let mut line = DelayLine::new(start, 160, 60 * MS);
        for number in 0..100 {
            line.push(start, &[number; 160]);
        }
        let mut frame = [0; 160];
        let mut left = 0;
        while line.pop(start + 1000 * MS, &mut frame) {
            left += 1;
        }
        assert_eq!((left, frame[0]), (6, 99));
    }
}
