//! `Sound`: what a party is to hear of the relay outside of a secure session, read as a whole.

use std::time::Duration;

use dtmf::g711::Law;

use super::voice::Voice;
use super::wav::{self, WavError};

/// The longest sound, in seconds: an announcement is shorter, and music is repeated. It takes about
/// a megabyte.
pub const MAX_SOUND_SECONDS: usize = 120;
/// The largest file of one, in octets.
pub const MAX_SOUND_BYTES: usize = wav::max_bytes(MAX_SOUND_SECONDS);
/// Samples a millisecond.
const PER_MS: usize = 8;

/// A sound: mu-law at 8 kHz, one octet a sample, at least one.
pub struct Sound {
    codes: Box<[u8]>,
}

impl Sound {
    /// How it is kept.
    pub(crate) const LAW: Law = Voice::LAW;

    /// Reads a WAV file: one channel of 16-bit PCM, A-law or mu-law, of [`MAX_SOUND_SECONDS`] at most.
    ///
    /// # Errors
    /// [`WavError`] if it is none, or longer.
    pub fn read(file: &[u8]) -> Result<Sound, WavError> {
        Ok(Sound { codes: wav::read(file, MAX_SOUND_SECONDS)?.into() })
    }

    /// Octets that it takes: one a sample, 8000 a second.
    #[must_use]
    pub fn octets(&self) -> usize {
        self.codes.len()
    }

    /// How long it lasts, in whole milliseconds; one that has begun counts.
    #[must_use]
    pub fn length(&self) -> Duration {
        Duration::from_millis(self.codes.len().div_ceil(PER_MS) as u64)
    }

    /// Its samples, under [`Sound::LAW`].
    pub(crate) fn codes(&self) -> &[u8] {
        &self.codes
    }
}

#[cfg(test)]
impl Sound {
    /// One of so many samples, counted from 0 on so that each place can be told.
    pub(crate) fn counted(samples: usize) -> Sound {
        Sound { codes: (0..samples).map(|at| (at % 100) as u8).collect() }
    }

    /// One of these samples.
    pub(crate) fn of(codes: &[u8]) -> Sound {
        Sound { codes: codes.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_SOUND_BYTES, Sound, WavError};

    #[test]
    fn a_sound_is_as_long_as_it_says() {
        assert_eq!(Sound::counted(8000).length().as_millis(), 1000);
        assert_eq!(Sound::counted(1).length().as_millis(), 1);
        assert_eq!(Sound::counted(7).octets(), 7);
    }

    #[test]
    fn what_is_too_long_or_no_sound_is_refused() {
        let refused = |file: &[u8]| Sound::read(file).err();
        assert_eq!(refused(&vec![0; MAX_SOUND_BYTES + 1]), Some(WavError::TooLong(120)));
        assert_eq!(refused(b"RIFF"), Some(WavError::NotWav));
    }
}
