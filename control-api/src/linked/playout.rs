//! Playout: what an engine has sent and the caller has not heard yet, a frame at a time by our clock.
//!
//! Engines send faster than they are heard, in pieces of any size, and nothing while they are silent.
//! The caller gets a frame every 20 ms all the same, of silence if need be, as telephones expect.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use dialects::{Encoding, Reached};

/// Time of one frame.
const FRAME: Duration = Duration::from_millis(20);
/// What waits at most: twice what the longest-winded dialect asks for (60 s), since models speak
/// faster than is heard. What comes on top is thrown away.
const MAX_QUEUED_MS: u32 = 120_000;
/// Marks that wait at most: one for each frame that may, and as many again.
pub(super) const MAX_MARKS: usize = 12_000;
/// How late a frame may be and still be made up for: what a stall of the runtime takes. Afterwards
/// the clock begins anew.
const MAX_LATE: Duration = Duration::from_millis(100);

/// What an engine has sent and the caller has not heard yet.
pub(super) struct Playout {
    encoding: Encoding,
    items: VecDeque<Item>,
    queued: usize,
    played: u64,
    marks: usize,
    due: Instant,
    is_paused: bool,
    /// A rest shorter than a frame has been waited for once.
    has_waited: bool,
}

enum Item {
    /// Octets, and how many of them have been played.
    Sound(Vec<u8>, usize),
    Mark(String),
}

/// A mark and what became of it.
pub(super) type Told = (String, Reached);

/// More marks than may wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct TooManyMarks;

impl Playout {
    /// Nothing waits.
    pub(super) fn new(now: Instant, encoding: Encoding) -> Playout {
        Playout {
            encoding,
            items: VecDeque::new(),
            queued: 0,
            played: 0,
            marks: 0,
            due: now,
            is_paused: false,
            has_waited: false,
        }
    }

    /// Takes sound in; how many octets found no room.
    pub(super) fn play(&mut self, mut octets: Vec<u8>) -> usize {
        let room = self.encoding.octets(MAX_QUEUED_MS).saturating_sub(self.queued);
        let lost = octets.len().saturating_sub(room);
        octets.truncate(room);
        self.queued += octets.len();
        if !octets.is_empty() {
            self.items.push_back(Item::Sound(octets, 0));
        }
        lost
    }

    /// Takes a mark in.
    ///
    /// # Errors
    /// If too many wait.
    pub(super) fn mark(&mut self, name: String) -> Result<(), TooManyMarks> {
        if self.marks == MAX_MARKS {
            return Err(TooManyMarks);
        }
        self.marks += 1;
        self.items.push_back(Item::Mark(name));
        Ok(())
    }

    /// Throws away what waits; the marks that were in it, in order.
    pub(super) fn clear(&mut self) -> Vec<Told> {
        (self.queued, self.marks) = (0, 0);
        let marks = self.items.drain(..).filter_map(|item| match item {
            Item::Mark(name) => Some((name, Reached::Cleared)),
            Item::Sound(..) => None,
        });
        marks.collect()
    }

    /// Plays nothing until [`Playout::resume`].
    pub(super) fn pause(&mut self) {
        self.is_paused = true;
    }

    /// Goes on playing.
    pub(super) fn resume(&mut self) {
        self.is_paused = false;
    }

    /// When the next frame is due.
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// Octets that wait.
    pub(super) fn queued(&self) -> usize {
        self.queued
    }

    /// Octets played since the beginning.
    pub(super) fn played(&self) -> u64 {
        self.played
    }

    /// Takes the next step: marks that everything before has been played of go to `told`, and the
    /// next frame to `frame`.
    pub(super) fn step(&mut self, now: Instant, frame: &mut Vec<u8>, told: &mut Vec<Told>) {
        frame.clear();
        let is_late = now.saturating_duration_since(self.due) > MAX_LATE;
        self.due = if is_late { now } else { self.due } + FRAME;
        let length = self.encoding.octets(FRAME.as_millis() as u32);
        if !self.is_paused {
            self.tell_marks(told);
            // The rest of a frame may be on its way.
            let waits = self.queued < length && !self.has_waited;
            self.has_waited = waits && self.queued > 0;
            if !waits {
                self.fill(length, frame);
            }
        }
        frame.resize(length, self.encoding.silence());
    }

    fn tell_marks(&mut self, told: &mut Vec<Told>) {
        while let Some(Item::Mark(_)) = self.items.front() {
            if let Some(Item::Mark(name)) = self.items.pop_front() {
                self.marks -= 1;
                told.push((name, Reached::Played));
            }
        }
    }

    /// A frame of what waits, silence behind it. Marks within it are told with the next one, when it
    /// has been played.
    fn fill(&mut self, length: usize, frame: &mut Vec<u8>) {
        let mut passed = Vec::new();
        while frame.len() < length {
            match self.items.front_mut() {
                None => break,
                Some(Item::Mark(_)) => passed.extend(self.items.pop_front()),
                Some(Item::Sound(octets, from)) => {
                    let end = octets.len().min(*from + length - frame.len());
                    frame.extend_from_slice(&octets[*from..end]);
                    *from = end;
                    if end == octets.len() {
                        self.items.pop_front();
                    }
                }
            }
        }
        for mark in passed.into_iter().rev() {
            self.items.push_front(mark);
        }
        self.queued -= frame.len();
        self.played += frame.len() as u64;
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
mod tests {
    use std::time::{Duration, Instant};

    use dialects::{Encoding, Reached};

    use super::{FRAME, MAX_MARKS, Playout, Told, TooManyMarks};

    fn step(playout: &mut Playout, now: Instant) -> (Vec<u8>, Vec<Told>) {
        let (mut frame, mut told) = (Vec::new(), Vec::new());
        playout.step(now, &mut frame, &mut told);
        (frame, told)
    }

    fn mark(name: &str, reached: Reached) -> Vec<Told> {
        vec![(name.to_owned(), reached)]
    }

    const SILENT: [u8; 160] = [0xff; 160];

    #[test]
    fn pieces_of_any_size_leave_as_frames_with_silence_around_them() {
        let start = Instant::now();
        let mut playout = Playout::new(start, Encoding::Pcmu);
        assert_eq!(step(&mut playout, start).0, SILENT);
        playout.play(vec![1; 100]);
        playout.play(vec![2; 300]);
        let (frame, _) = step(&mut playout, start + FRAME);
        assert_eq!((frame.len(), frame[99], frame[100]), (160, 1, 2));
        assert_eq!(playout.due(), start + 2 * FRAME);
        assert_eq!(step(&mut playout, start + 2 * FRAME).0, [2; 160]);
        // 80 octets are left: they are waited for once, then silence is put behind them.
        assert_eq!(step(&mut playout, start + 3 * FRAME).0, SILENT);
        let (frame, _) = step(&mut playout, start + 4 * FRAME);
        assert_eq!((frame[79], frame[80], frame.len()), (2, 0xff, 160));
        assert_eq!((playout.played(), playout.queued()), (400, 0));
    }

    #[test]
    fn marks_are_told_when_what_is_before_them_has_been_played() {
        let start = Instant::now();
        let mut playout = Playout::new(start, Encoding::Pcmu);
        playout.mark("at once".to_owned()).unwrap();
        assert_eq!(step(&mut playout, start).1, mark("at once", Reached::Played));
        playout.play(vec![1; 100]);
        playout.mark("within".to_owned()).unwrap();
        playout.play(vec![1; 220]);
        playout.mark("end".to_owned()).unwrap();
        assert_eq!(step(&mut playout, start + FRAME).1, []);
        assert_eq!(step(&mut playout, start + 2 * FRAME).1, mark("within", Reached::Played));
        let (frame, told) = step(&mut playout, start + 3 * FRAME);
        assert_eq!((&frame[..], told), (&SILENT[..], mark("end", Reached::Played)));
    }

    #[test]
    fn what_is_cleared_is_gone_at_once_and_its_marks_are_told() {
        let start = Instant::now();
        let mut playout = Playout::new(start, Encoding::L16(8000));
        playout.play(vec![1; 3200]);
        playout.mark("m".to_owned()).unwrap();
        step(&mut playout, start);
        assert_eq!(playout.clear(), mark("m", Reached::Cleared));
        assert_eq!((playout.queued(), playout.played()), (0, 320));
        assert_eq!(step(&mut playout, start + FRAME).0, [0; 320]);
    }

    #[test]
    fn a_pause_keeps_what_waits() {
        let start = Instant::now();
        let mut playout = Playout::new(start, Encoding::Pcmu);
        playout.play(vec![1; 320]);
        playout.pause();
        assert_eq!(step(&mut playout, start).0, SILENT);
        playout.resume();
        assert_eq!(step(&mut playout, start + FRAME).0, [1; 160]);
    }

    #[test]
    fn a_stall_is_made_up_for_if_it_is_short() {
        let start = Instant::now();
        let mut playout = Playout::new(start, Encoding::Pcmu);
        step(&mut playout, start);
        step(&mut playout, start + 3 * FRAME);
        assert_eq!(playout.due(), start + 2 * FRAME);
        let late = start + Duration::from_secs(1);
        step(&mut playout, late);
        assert_eq!(playout.due(), late + FRAME);
    }

    #[test]
    fn there_is_a_bound_to_sound_and_to_marks() {
        let mut playout = Playout::new(Instant::now(), Encoding::Pcmu);
        assert_eq!(playout.play(vec![1; 960_100]), 100);
        assert_eq!(playout.play(vec![1; 1]), 1);
        for _ in 0..MAX_MARKS {
            playout.mark(String::new()).unwrap();
        }
        assert_eq!(playout.mark(String::new()), Err(TooManyMarks));
    }
}
