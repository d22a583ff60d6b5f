//! Hearing: the transcript of one echo engine, as far as one may keep one: kinds of audio, no words
//! and no keys.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::clock;
use crate::telling::{self, Telling};

/// Time between two entries of the same kind.
const RHYTHM: Duration = Duration::from_millis(500);

/// A kind of audio.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Nothing, or next to nothing.
    Silence,
    /// What sounds and is no tone: a voice, noise, music.
    Voice,
    /// One or two steady lines: a key as a tone, a signal of the network.
    Tone,
    /// A key as an event (RFC 4733). Which key is not looked at.
    KeyEvent,
}

/// What was heard for a while.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Heard {
    /// What it was.
    pub kind: Kind,
    /// Its mean level in dBm0; `None` where every octet was the codec's silence, or none came.
    pub level_dbm0: Option<i8>,
}

/// An entry of a transcript.
pub type Told = telling::Told<Heard>;
/// What comes after a place in a transcript.
pub type Next = telling::Next<Heard>;

#[derive(Default)]
struct Log {
    telling: Telling<Heard>,
    is_over: bool,
}

/// What one echo engine has heard: the last [`telling::KEPT`] entries, 6 kB.
pub struct Hearing {
    log: Mutex<Log>,
    changed: watch::Sender<()>,
}

impl Default for Hearing {
    fn default() -> Hearing {
        Hearing { log: Mutex::default(), changed: watch::Sender::new(()) }
    }
}

impl Hearing {
    /// What comes after the entry numbered `after`.
    #[must_use]
    pub fn next(&self, after: u64) -> Next {
        let log = self.lock();
        match log.telling.next(after) {
            Next::Wait if log.is_over => Next::End,
            next @ (Next::Told(_) | Next::Lost(_) | Next::Wait | Next::End) => next,
        }
    }

    /// The number before that of the oldest entry kept: where a new reader begins.
    #[must_use]
    pub fn before_oldest(&self) -> u64 {
        self.lock().telling.forgotten()
    }

    /// Tells of every change, in order to look with [`Hearing::next`] again.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// The engine hears no more. An engine that still runs ends by it.
    pub fn end(&self) {
        self.lock().is_over = true;
        self.changed.send_replace(());
    }

    /// Whether the engine hears no more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.lock().is_over
    }

    fn push(&self, at: Instant, heard: Heard) {
        self.lock().telling.push(clock::at(at), heard);
        self.changed.send_replace(());
    }

    fn lock(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes a transcript: an entry when the kind changes, and one every 500 ms meanwhile.
#[derive(Default)]
pub(super) struct Scribe {
    current: Option<(Kind, Instant)>,
    levels: Levels,
}

impl Scribe {
    /// Takes in what was heard last: its kind and its power, the mean square of its samples.
    pub(super) fn note(&mut self, now: Instant, kind: Kind, power: Option<f32>, to: &Hearing) {
        match self.current {
            Some((current, due)) if current == kind => {
                self.levels.add(power);
                if now >= due {
                    // From when it was due, so that the rhythm is kept, unless that is long past.
                    let next = if now < due + RHYTHM { due } else { now } + RHYTHM;
                    self.current = Some((kind, next));
                    to.push(now, Heard { kind, level_dbm0: self.levels.take() });
                }
            }
            Some(_) | None => {
                self.current = Some((kind, now + RHYTHM));
                self.levels = Levels::default();
                self.levels.add(power);
                to.push(now, Heard { kind, level_dbm0: self.levels.take() });
            }
        }
    }
}

/// Powers on their way to one level.
#[derive(Default)]
struct Levels {
    sum: f32,
    count: u16,
    sounded: bool,
}

impl Levels {
    fn add(&mut self, power: Option<f32>) {
        self.sum += power.unwrap_or(0.0);
        self.sounded |= power.is_some();
        self.count = self.count.saturating_add(1);
    }

    fn take(&mut self) -> Option<i8> {
        let Levels { sum, count, sounded } = std::mem::take(self);
        sounded.then(|| dbm0(sum / f32::from(count.max(1))).round() as i8)
    }
}

/// Level of a sine of full scale (ITU-T G.711 section 4).
#[expect(clippy::approx_constant, reason = "a level, not the number pi")]
const FULL_SCALE_DBM0: f32 = 3.14;
/// Mean square of a sine of full scale, in 16-bit samples.
const FULL_SCALE: f32 = 32_767.0 * 32_767.0 / 2.0;

/// The level of a mean square of 16-bit samples.
pub(super) fn dbm0(power: f32) -> f32 {
    10.0 * (power / FULL_SCALE).log10() + FULL_SCALE_DBM0
}

/// The mean square of 16-bit samples at a level.
pub(super) fn power(dbm0: f32) -> f32 {
    FULL_SCALE * 10_f32.powf((dbm0 - FULL_SCALE_DBM0) / 10.0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Heard, Hearing, Kind, Next, Scribe};
    use crate::clock;
    use crate::telling::KEPT;

    fn all(hearing: &Hearing) -> Vec<Heard> {
        let mut heard = Vec::new();
        while let Next::Told(told) = hearing.next(heard.len() as u64) {
            heard.push(told.tale);
        }
        heard
    }

    #[test]
    fn a_change_is_told_at_once_and_what_lasts_every_half_second() {
        let (hearing, mut scribe, begun) =
            (Hearing::default(), Scribe::default(), clock::monotonic());
        for ms in (0..1600).step_by(20) {
            let kind = if ms < 1200 { Kind::Voice } else { Kind::Silence };
            let power = (ms < 1200).then_some(23_169.8 * 23_169.8);
            scribe.note(begun + Duration::from_millis(ms), kind, power, &hearing);
        }
        let voice = Heard { kind: Kind::Voice, level_dbm0: Some(3) };
        let silence = Heard { kind: Kind::Silence, level_dbm0: None };
        assert_eq!(all(&hearing), [voice, voice, voice, silence]);
    }

    #[test]
    fn a_reader_who_comes_late_begins_with_the_oldest_that_is_kept() {
        let (hearing, mut scribe, begun) =
            (Hearing::default(), Scribe::default(), clock::monotonic());
        assert_eq!(hearing.next(0), Next::Wait);
        for n in 0..KEPT as u64 + 10 {
            let kind = if n % 2 == 0 { Kind::Voice } else { Kind::Tone };
            scribe.note(begun + Duration::from_millis(n), kind, Some(1e6), &hearing);
        }
        assert_eq!(hearing.next(0), Next::Lost(11));
        let oldest = hearing.next(hearing.before_oldest());
        assert!(matches!(oldest, Next::Told(told) if told.sequence == 11), "{oldest:?}");
        assert_eq!(hearing.next(KEPT as u64 + 10), Next::Wait);
        hearing.end();
        assert!(hearing.is_over());
        assert_eq!(hearing.next(KEPT as u64 + 10), Next::End);
    }
}
