//! DelayLine: a short, bounded queue of equal frames between the caller and a paced egress.

use std::time::{Duration, Instant};

use zeroize::{DefaultIsZeroes, Zeroize};

/// Frames beyond those that the hold needs, where none are asked for: what a packet of the longest
/// packet time brings at once.
const SPARE: usize = 3;

/// Audio cut into equal frames, each kept for at least `hold` before it may leave: octets of G.711,
/// or samples.
///
/// The line serves two ends: it turns packets of any size into frames of one size, and, while a
/// call is armed, it keeps what was heard long enough to take it back ([`DelayLine::purge`]).
pub(super) struct DelayLine<S: DefaultIsZeroes> {
    hold: Duration,
    frame_len: usize,
    arrived: Box<[Instant]>,
    /// A frame for each arrival.
    audio: Box<[S]>,
    first: usize,
    len: usize,
    partial: Box<[S]>,
    partial_len: usize,
}

impl DelayLine<u8> {
    /// An empty line of `frame_len`-octet frames of G.711 that keeps each for `hold`.
    pub(super) fn of_codes(now: Instant, frame_len: usize, hold: Duration) -> DelayLine<u8> {
        let held = hold.as_millis() as usize * 8 / frame_len;
        DelayLine::new(now, frame_len, hold, held + SPARE)
    }
}

impl<S: DefaultIsZeroes> DelayLine<S> {
    /// An empty line for as many frames of `frame_len` as `frames` says, that keeps each for `hold`.
    pub(super) fn new(
        now: Instant,
        frame_len: usize,
        hold: Duration,
        frames: usize,
    ) -> DelayLine<S> {
        assert!(frame_len > 0 && frames > 0, "a line holds something");
        DelayLine {
            hold,
            frame_len,
            arrived: vec![now; frames].into(),
            audio: vec![S::default(); frames * frame_len].into(),
            first: 0,
            len: 0,
            partial: vec![S::default(); frame_len].into(),
            partial_len: 0,
        }
    }

    /// The least time a frame stays.
    pub(super) fn hold(&self) -> Duration {
        self.hold
    }

    /// Whole frames in the line.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Appends audio; the oldest frame makes room when the line is full.
    ///
    /// Frames beyond what is needed are delay for nothing: a sender's faster clock or a burst after a
    /// stall would otherwise stay in the line for the rest of the call.
    pub(super) fn push(&mut self, now: Instant, mut audio: &[S]) {
        while !audio.is_empty() {
            let room = self.frame_len - self.partial_len;
            let (part, rest) = audio.split_at(audio.len().min(room));
            self.partial[self.partial_len..self.partial_len + part.len()].copy_from_slice(part);
            self.partial_len += part.len();
            if self.partial_len == self.frame_len {
                self.append_partial(now);
            }
            audio = rest;
        }
    }

    /// Moves the oldest frame into `frame` if it has been held long enough.
    pub(super) fn pop(&mut self, now: Instant, frame: &mut [S]) -> bool {
        debug_assert_eq!(frame.len(), self.frame_len);
        if self.len == 0 || now.saturating_duration_since(self.arrived[self.first]) < self.hold {
            return false;
        }
        let range = self.frame(self.first);
        let kept = &mut self.audio[range];
        frame.copy_from_slice(kept);
        kept.zeroize();
        self.forget_first();
        true
    }

    /// Forgets everything, leaving no octet behind.
    pub(super) fn purge(&mut self) {
        self.audio.zeroize();
        self.partial.zeroize();
        self.partial_len = 0;
        self.first = 0;
        self.len = 0;
    }

    fn append_partial(&mut self, now: Instant) {
        let frames = self.arrived.len();
        if self.len == frames {
            self.forget_first();
        }
        let place = (self.first + self.len) % frames;
        self.arrived[place] = now;
        let range = self.frame(place);
        self.audio[range].copy_from_slice(&self.partial);
        self.len += 1;
        self.partial_len = 0;
    }

    fn forget_first(&mut self) {
        self.first = (self.first + 1) % self.arrived.len();
        self.len -= 1;
    }

    fn frame(&self, place: usize) -> std::ops::Range<usize> {
        place * self.frame_len..(place + 1) * self.frame_len
    }
}

impl DelayLine<i16> {
    /// Moves the oldest frame into one that was to be played before it, so that the two are heard as
    /// one: what the first began, the second ends.
    pub(super) fn pop_onto(&mut self, now: Instant, frame: &mut [i16]) {
        if self.len == 0 || now.saturating_duration_since(self.arrived[self.first]) < self.hold {
            return;
        }
        let range = self.frame(self.first);
        let (whole, second) = (frame.len() as i32, &mut self.audio[range]);
        for (at, (sample, &next)) in (0..).zip(frame.iter_mut().zip(&*second)) {
            let (old, new) = (i32::from(*sample), i32::from(next));
            *sample = ((old * (whole - at) + new * at) / whole) as i16;
        }
        second.zeroize();
        self.forget_first();
    }
}

impl<S: DefaultIsZeroes> Drop for DelayLine<S> {
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
        let mut line = DelayLine::of_codes(start, 160, Duration::ZERO);
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
        let mut line = DelayLine::of_codes(start, 160, 60 * MS);
        let mut frame = [0; 160];
        line.push(start, &[7; 160]);
        assert!(!line.pop(start + 59 * MS, &mut frame));
        assert!(line.pop(start + 60 * MS, &mut frame));
    }

    #[test]
    fn a_purged_line_gives_nothing() {
        let start = Instant::now();
        let mut line = DelayLine::of_codes(start, 160, Duration::ZERO);
        line.push(start, &[7; 200]);
        line.purge();
        assert!(!line.pop(start + 500 * MS, &mut [0; 160]));
        assert!(line.audio.iter().chain(&line.partial).all(|&octet| octet == 0));
        line.push(start, &[9; 160]);
        let mut frame = [0; 160];
        assert!(line.pop(start, &mut frame));
        assert_eq!(frame, [9; 160]);
    }

    #[test]
    fn a_burst_does_not_become_lasting_delay() {
        let start = Instant::now();
        let mut line = DelayLine::of_codes(start, 160, 60 * MS);
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
