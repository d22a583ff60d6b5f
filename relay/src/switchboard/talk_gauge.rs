//! TalkGauge: whether the caller of a secure session talks instead of keying.

use super::limits::{FRAME_SAMPLES, TALK_ENOUGH, TALK_LEVEL};

/// The sum of a frame's amplitudes has 32 bits.
const _: () = assert!(FRAME_SAMPLES < 1 << 16);

/// Adds up how long the caller was loud. It only ever leads to a spoken hint to use the keypad, so
/// it may be wrong; what was said is heard by nobody.
#[derive(Default)]
pub(super) struct TalkGauge {
    loud_samples: u32,
    is_told: bool,
}

impl TalkGauge {
    /// A field begins, or a key was pressed.
    pub(super) fn restart(&mut self) {
        *self = TalkGauge::default();
    }

    /// Hears a frame of audio at most, and says whether the caller needs the hint: once a field.
    pub(super) fn hear(&mut self, pcm: &[i16]) -> bool {
        let sum: u32 = pcm.iter().map(|sample| u32::from(sample.unsigned_abs())).sum();
        let samples = pcm.len() as u32;
        self.loud_samples = if sum > samples * u32::from(TALK_LEVEL) {
            self.loud_samples.saturating_add(samples)
        } else {
            // Pauses between words count little, silence resets it.
            self.loud_samples.saturating_sub(samples / 4)
        };
        let tells = !self.is_told && self.loud_samples >= TALK_ENOUGH;
        self.is_told |= tells;
        tells
    }
}

#[cfg(test)]
mod tests {
    use super::{TALK_ENOUGH, TalkGauge};

    const FRAME: usize = 160;

    fn tells(gauge: &mut TalkGauge, frames: u32, level: i16) -> usize {
        (0..frames).filter(|_| gauge.hear(&[level; FRAME])).count()
    }

    #[test]
    fn a_talking_caller_is_told_once() {
        let mut gauge = TalkGauge::default();
        let enough = TALK_ENOUGH / FRAME as u32;
        assert_eq!(tells(&mut gauge, enough - 1, 4000), 0);
        assert_eq!(tells(&mut gauge, 1000, -4000), 1);
        gauge.restart();
        assert_eq!(tells(&mut gauge, 1000, 4000), 1);
    }

    #[test]
    fn noise_of_a_line_is_no_talk() {
        assert_eq!(tells(&mut TalkGauge::default(), 10_000, 300), 0);
        assert_eq!(tells(&mut TalkGauge::default(), 10_000, i16::MIN), 1);
        assert!(!TalkGauge::default().hear(&[]));
    }
}
