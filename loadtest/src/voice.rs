//! Voice: what a synthetic party says, in a loop.

use std::io::Read;
use std::sync::Arc;

use dtmf::g711::Law;

/// What a caller says when it presses no key.
pub trait Speech {
    /// Speaks on into `frame`, in the caller's codec.
    fn fill(&mut self, frame: &mut [u8]);
}

/// G.711 audio that repeats for ever. A clone shares it.
#[derive(Clone)]
pub struct Voice {
    codes: Arc<[u8]>,
    next: usize,
}

/// Why a WAV cannot be spoken.
#[derive(Debug, thiserror::Error)]
pub enum VoiceError {
    /// Not a WAV file that could be read.
    #[error("the voice is not a readable WAV file")]
    Wav(#[from] hound::Error),
    /// Not 8 kHz, mono, 16 bit, or empty.
    #[error("the voice has to be 8000 Hz, mono, 16 bit, and not empty")]
    Format,
}

impl Voice {
    /// The sentence the project ships.
    pub fn shipped(law: Law) -> Voice {
        let wav: &[u8] = include_bytes!("../assets/voice.wav");
        Voice::from_wav(wav, law).expect("the shipped voice is a WAV of the right format")
    }

    /// A WAV of 8 kHz, mono, 16 bit.
    pub fn from_wav(wav: impl Read, law: Law) -> Result<Voice, VoiceError> {
        let mut reader = hound::WavReader::new(wav)?;
        let spec = reader.spec();
        if (spec.sample_rate, spec.channels, spec.bits_per_sample) != (8000, 1, 16) {
            return Err(VoiceError::Format);
        }
        let codes: Result<Vec<u8>, hound::Error> =
            reader.samples().map(|sample| sample.map(|pcm: i16| law.encode(pcm))).collect();
        let codes = codes?;
        if codes.is_empty() {
            Err(VoiceError::Format)
        } else {
            Ok(Voice { codes: codes.into(), next: 0 })
        }
    }
}

impl Speech for Voice {
    fn fill(&mut self, frame: &mut [u8]) {
        for octet in frame {
            *octet = self.codes[self.next];
            self.next = (self.next + 1) % self.codes.len();
        }
    }
}
