//! PlayRequest: a sound that a party is to hear in place of the other one.

use std::sync::Arc;
use std::time::Duration;

use super::limits::{MAX_PLAY, MAX_REPEATS};
use crate::prompts::Sound;

/// Samples of a sound in a millisecond.
const PER_MS: u128 = 8;

/// A sound, and how much of it is played.
#[derive(Clone)]
pub struct PlayRequest {
    sound: Arc<Sound>,
    start: usize,
    times: u16,
    limit: Option<usize>,
}

impl PlayRequest {
    /// All of a sound, once.
    #[must_use]
    pub fn new(sound: Arc<Sound>) -> PlayRequest {
        PlayRequest { sound, start: 0, times: 1, limit: None }
    }

    /// The same from a place in it on; repetitions begin at its beginning. `None` if the sound is over
    /// by then.
    #[must_use]
    pub fn from(self, start: Duration) -> Option<PlayRequest> {
        let start = samples(start);
        (start < self.sound.octets()).then_some(PlayRequest { start, ..self })
    }

    /// The same so many times, the first included: 1 to [`MAX_REPEATS`].
    #[must_use]
    pub fn times(self, times: u16) -> Option<PlayRequest> {
        (1..=MAX_REPEATS).contains(&times).then_some(PlayRequest { times, ..self })
    }

    /// The same for so long at most: 1 ms to [`MAX_PLAY`].
    #[must_use]
    pub fn at_most(self, limit: Duration) -> Option<PlayRequest> {
        let is_bound = limit >= Duration::from_millis(1) && limit <= MAX_PLAY;
        is_bound.then(|| PlayRequest { limit: Some(samples(limit)), ..self })
    }

    /// The same, to be played from its beginning.
    pub(super) fn begin(self) -> SoundPlay {
        let PlayRequest { sound, start, times, limit } = self;
        SoundPlay { sound, next: start, more: times - 1, left: limit }
    }
}

/// A sound that is being played.
pub(super) struct SoundPlay {
    sound: Arc<Sound>,
    /// The next sample.
    next: usize,
    /// Repetitions that have not begun.
    more: u16,
    /// Samples that may be played, if there is a bound to them.
    left: Option<usize>,
}

impl SoundPlay {
    /// Writes the next samples; those behind the end stay as they are.
    pub(super) fn fill(&mut self, mut frame: &mut [i16]) {
        // Each turn writes a sample at least, and a frame is short.
        while !frame.is_empty() && !self.is_over() {
            let rest = &self.sound.codes()[self.next..];
            let count = rest.len().min(frame.len()).min(self.left.unwrap_or(usize::MAX));
            let (part, behind) = frame.split_at_mut(count);
            for (sample, &code) in part.iter_mut().zip(rest) {
                *sample = Sound::LAW.decode(code);
            }
            self.advance(count);
            frame = behind;
        }
    }

    /// Whether all was played.
    pub(super) fn is_over(&self) -> bool {
        self.left == Some(0) || self.next == self.sound.codes().len()
    }

    /// The place in the sound that it has come to.
    pub(super) fn place(&self) -> Duration {
        Duration::from_millis((self.next as u128 / PER_MS) as u64)
    }

    fn advance(&mut self, count: usize) {
        self.next += count;
        self.left = self.left.map(|left| left - count);
        if self.next == self.sound.codes().len() && self.more > 0 {
            (self.next, self.more) = (0, self.more - 1);
        }
    }
}

/// More than fit are the most that do.
fn samples(length: Duration) -> usize {
    usize::try_from(length.as_millis() * PER_MS).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn request(samples: usize) -> PlayRequest {
        PlayRequest::new(Arc::new(Sound::counted(samples)))
    }

    /// Which samples of the sound are played, in frames of 20 ms.
    fn played(request: PlayRequest) -> Vec<i16> {
        let (mut play, mut heard) = (request.begin(), Vec::new());
        while !play.is_over() {
            let mut frame = [0; 160];
            play.fill(&mut frame);
            heard.extend(frame);
        }
        heard
    }

    fn decoded(places: impl Iterator<Item = usize>) -> Vec<i16> {
        places.map(|at| Sound::LAW.decode((at % 100) as u8)).collect()
    }

    #[test]
    fn a_sound_is_played_from_its_place_and_repeated_from_its_beginning() {
        let heard = played(request(250).from(10 * MS).unwrap().times(3).unwrap());
        let wanted = decoded((80..250).chain(0..250).chain(0..250));
        assert_eq!(heard[..wanted.len()], wanted);
        assert!(heard[wanted.len()..].iter().all(|&sample| sample == 0), "and silence behind it");
        assert_eq!(heard.len(), wanted.len().next_multiple_of(160));
    }

    #[test]
    fn a_bound_ends_it_in_the_middle_of_whatever_repetition() {
        let heard = played(request(3).times(MAX_REPEATS).unwrap().at_most(30 * MS).unwrap());
        assert_eq!(heard[..240], decoded((0..240).map(|at| at % 3)));
        assert!(heard[240..].iter().all(|&sample| sample == 0) && heard.len() == 320);
    }

    #[test]
    fn its_place_is_told_in_milliseconds() {
        let mut play = request(800).begin();
        play.fill(&mut [0; 165]);
        assert_eq!(play.place(), 20 * MS);
    }

    #[test]
    fn what_can_be_no_play_is_refused() {
        assert!(request(80).from(10 * MS).is_none() && request(81).from(10 * MS).is_some());
        assert!(request(80).from(Duration::MAX).is_none());
        assert!(request(80).times(0).is_none() && request(80).times(MAX_REPEATS + 1).is_none());
        assert!(request(80).at_most(Duration::ZERO).is_none());
        assert!(request(80).at_most(MAX_PLAY + MS).is_none());
    }
}
