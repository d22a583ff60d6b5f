//! Chime: how an echo engine greets: three notes, none of them a key's.

use std::f32::consts::TAU;

/// The notes, in hertz: C, E and G. Keys are at 697 Hz and above, and always two at once.
const NOTES: [f32; 3] = [261.6, 329.6, 392.0];
/// Samples from one note to the next: 160 ms.
const STEP: usize = 1280;
/// Samples in which the last note dies away.
const LENGTH: usize = NOTES.len() * STEP + 2400;
/// Peak of one note, in 16-bit samples: some -14 dBm0.
const PEAK: f32 = 4500.0;
/// Samples in which a note falls to a third.
const FADE: f32 = 1200.0;
/// Samples in which it rises, so that it begins without a click.
const RISE: f32 = 40.0;

/// The greeting, sample by sample at 8 kHz.
#[derive(Default)]
pub(super) struct Chime {
    next: usize,
}

impl Chime {
    /// Whether all of it has been said.
    pub(super) fn is_over(&self) -> bool {
        self.next >= LENGTH
    }
}

impl Iterator for Chime {
    type Item = i16;

    fn next(&mut self) -> Option<i16> {
        if self.is_over() {
            return None;
        }
        let n = self.next;
        self.next += 1;
        let notes = NOTES.iter().enumerate().filter(|(nth, _)| n >= nth * STEP);
        let sum: f32 = notes.map(|(nth, hertz)| note(*hertz, (n - nth * STEP) as f32)).sum();
        Some(sum as i16)
    }
}

/// A note that was struck `age` samples ago.
fn note(hertz: f32, age: f32) -> f32 {
    PEAK * (age / RISE).min(1.0) * (-age / FADE).exp() * (TAU * hertz * age / 8000.0).sin()
}

#[cfg(test)]
mod tests {
    use dtmf::tone::ToneDetector;

    use super::Chime;

    #[test]
    fn it_greets_for_less_than_a_second_and_holds_no_key() {
        let pcm: Vec<i16> = Chime::default().collect();
        assert!((4000..8000).contains(&pcm.len()), "{}", pcm.len());
        let peak = pcm.iter().map(|it| it.unsigned_abs()).max();
        assert!(peak.is_some_and(|peak| (2000..9000).contains(&peak)), "{peak:?}");
        let mut keys = 0;
        ToneDetector::new().hear(&pcm, &mut |_| keys += 1);
        assert_eq!(keys, 0);
    }
}
