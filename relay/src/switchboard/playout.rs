//! Playout: samples in as they come, frames out on our clock; delay by no more than it takes.

use std::time::{Duration, Instant};

use super::delay_line::DelayLine;
use super::limits::{PLAYOUT_SPARE, PLAYOUT_START, PLAYOUT_WINDOW};
use crate::codec::Concealer;

/// A jitter buffer (RFC 3550 section 6.4.4 has what it is against).
///
/// It begins with a frame or two of delay. A frame that is late makes it longer, since what is played
/// in its place is time won; frames that were never needed over some seconds make it shorter again.
pub(super) struct Playout {
    line: DelayLine<i16>,
    concealer: Concealer,
    /// Frames that the hold alone keeps.
    held: usize,
    /// Frames to wait for before anything is played; `None` while playing.
    filling: Option<usize>,
    window: Window,
}

/// What was left over at the least, in the frames since it was last looked at.
#[derive(Clone, Copy)]
struct Window {
    frames: usize,
    least: usize,
}

impl Window {
    const EMPTY: Window = Window { frames: 0, least: usize::MAX };
}

impl Playout {
    /// For frames of `frame` samples at `rate`, each kept for `hold` at least.
    pub(super) fn new(now: Instant, rate: u32, frame: usize, hold: Duration) -> Playout {
        let frame_time = Duration::from_micros(frame as u64 * 1_000_000 / u64::from(rate));
        let held = hold.as_micros().div_ceil(frame_time.as_micros()) as usize;
        let spare = PLAYOUT_SPARE.as_micros().div_ceil(frame_time.as_micros()) as usize;
        Playout {
            line: DelayLine::new(now, frame, hold, held + spare),
            concealer: Concealer::new(rate),
            held,
            filling: Some(PLAYOUT_START),
            window: Window::EMPTY,
        }
    }

    /// The least time a frame stays.
    pub(super) fn hold(&self) -> Duration {
        self.line.hold()
    }

    /// Appends audio.
    pub(super) fn push(&mut self, now: Instant, pcm: &[i16]) {
        self.line.push(now, pcm);
    }

    /// Writes the next frame; `false` if there is nothing to be heard.
    pub(super) fn pop(&mut self, now: Instant, frame: &mut [i16]) -> bool {
        if self.filling.is_some_and(|wanted| self.line.len() < wanted + self.held) {
            return false;
        }
        self.filling = None;
        if self.line.pop(now, frame) {
            self.shorten(now, frame);
            self.concealer.pass(frame);
            return true;
        }
        self.window = Window::EMPTY;
        let is_heard = self.concealer.fill(frame);
        if !is_heard {
            // A pause of the sender, or its end: what comes next waits for company again.
            self.filling = Some(PLAYOUT_START);
        }
        is_heard
    }

    /// Leaves a frame out where more than is needed lay in the line all along.
    fn shorten(&mut self, now: Instant, frame: &mut [i16]) {
        let left = self.line.len().saturating_sub(self.held);
        let Window { frames, least } = self.window;
        self.window = Window { frames: frames + 1, least: least.min(left) };
        if self.window.frames < PLAYOUT_WINDOW {
            return;
        }
        let is_long = self.window.least >= PLAYOUT_START;
        self.window = Window::EMPTY;
        if is_long {
            self.line.pop_onto(now, frame);
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn playout(start: Instant, hold: Duration) -> Playout {
        Playout::new(start, 8000, 160, hold)
    }

    #[test]
    fn steady_audio_comes_out_as_it_went_in() {
        let start = Instant::now();
        let mut playout = playout(start, Duration::ZERO);
        let mut heard = 0;
        for number in 0..100 {
            let now = start + number * 20 * MS;
            playout.push(now, &[1000; 160]);
            let mut frame = [0; 160];
            if playout.pop(now + 5 * MS, &mut frame) {
                assert_eq!(frame, [1000; 160]);
                heard += 1;
            }
        }
        assert!(heard >= 98, "{heard}");
        assert!(playout.line.len() <= 2);
    }

    #[test]
    fn late_packets_are_heard_and_their_delay_is_given_back() {
        let start = Instant::now();
        let mut playout = playout(start, Duration::ZERO);
        let (mut silent, mut longest) = (0, 0);
        for number in 0..2000u32 {
            let now = start + number * 20 * MS;
            // Packets 50 to 53 come together, with the last of them.
            let count = match number {
                50..53 => 0,
                53 => 4,
                _ => 1,
            };
            playout.push(now, &vec![1000; count * 160]);
            silent += usize::from(!playout.pop(now + 5 * MS, &mut [0; 160]));
            longest = longest.max(playout.line.len());
        }
        assert!(silent <= 2, "{silent} frames of silence");
        assert!(longest >= 3, "late packets are kept: {longest}");
        assert!(playout.line.len() <= 2, "{} frames are kept for nothing", playout.line.len());
    }

    #[test]
    fn delay_is_bounded_whatever_comes() {
        let start = Instant::now();
        let mut playout = playout(start, 60 * MS);
        for _ in 0..1000 {
            playout.push(start, &[7; 160]);
        }
        let frames = (PLAYOUT_SPARE + 60 * MS).as_millis() / 20;
        assert_eq!(playout.line.len() as u128, frames);
    }

    #[test]
    fn what_is_held_is_not_played_before_its_time() {
        let start = Instant::now();
        let mut playout = playout(start, 60 * MS);
        for number in 0..6 {
            playout.push(start + number * 20 * MS, &[i16::try_from(number).unwrap() + 1; 160]);
        }
        let mut frame = [0; 160];
        assert!(playout.pop(start + 110 * MS, &mut frame) && frame == [1; 160]);
        assert!(playout.pop(start + 110 * MS, &mut frame) && frame == [2; 160]);
        assert!(playout.pop(start + 110 * MS, &mut frame) && frame == [3; 160]);
        // The fourth came 50 ms ago; in its place the third is repeated.
        playout.pop(start + 110 * MS, &mut frame);
        assert!(frame.iter().all(|&sample| sample <= 3), "{frame:?}");
    }
}
