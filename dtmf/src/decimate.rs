//! `Decimator`: 16 or 48 kHz audio brought down to the 8 kHz that keys are heard at.

use std::f64::consts::PI;

use zeroize::Zeroize as _;

/// Taps for each unit of the factor: at 16 of them 3.4 kHz passes and what would fold onto the
/// DTMF frequencies is 60 dB down.
const TAPS_PER_PHASE: usize = 16;
/// Largest factor, 48 kHz to 8 kHz.
const MAX_FACTOR: usize = 6;
const MAX_TAPS: usize = TAPS_PER_PHASE * MAX_FACTOR;

/// A low-pass filter that keeps every second, third or sixth sample.
pub struct Decimator {
    factor: usize,
    taps: [f32; MAX_TAPS],
    /// The last `taps` samples, written twice so that they can be read in one piece.
    history: [f32; 2 * MAX_TAPS],
    at: usize,
    phase: usize,
}

impl Decimator {
    /// A decimator for `rate` samples a second, if that is 8000, 16 000, 24 000 or 48 000.
    #[must_use]
    pub fn new(rate: u32) -> Option<Self> {
        let factor = match rate {
            8000 => 1,
            16_000 => 2,
            24_000 => 3,
            48_000 => 6,
            _ => return None,
        };
        let mut taps = [0.0; MAX_TAPS];
        let length = TAPS_PER_PHASE * factor;
        let middle = (length as f64 - 1.0) / 2.0;
        // A windowed sinc with its edge at the new Nyquist frequency.
        let shape = |n: usize| {
            let x = (n as f64 - middle) / factor as f64 * PI;
            let window = 0.5 - 0.5 * (2.0 * PI * (n as f64 + 0.5) / length as f64).cos();
            window * if x == 0.0 { 1.0 } else { x.sin() / x }
        };
        let sum: f64 = (0..length).map(shape).sum();
        for (n, tap) in taps.iter_mut().enumerate().take(length) {
            *tap = (shape(n) / sum) as f32;
        }
        Some(Self { factor, taps, history: [0.0; 2 * MAX_TAPS], at: 0, phase: 0 })
    }

    /// Input samples for each output sample.
    #[must_use]
    pub const fn factor(&self) -> usize {
        self.factor
    }

    /// Takes in samples and hands on those at 8 kHz.
    pub fn push(&mut self, pcm: &[i16], out: &mut impl FnMut(i16)) {
        if self.factor == 1 {
            pcm.iter().for_each(|&sample| out(sample));
            return;
        }
        let length = TAPS_PER_PHASE * self.factor;
        for &sample in pcm {
            self.history[self.at] = f32::from(sample);
            self.history[self.at + length] = f32::from(sample);
            self.at = (self.at + 1) % length;
            self.phase += 1;
            if self.phase == self.factor {
                self.phase = 0;
                let recent = &self.history[self.at..self.at + length];
                out(dot(recent, &self.taps[..length]).round() as i16);
            }
        }
    }

    /// Forgets the audio before a loss.
    pub fn reset(&mut self) {
        self.history.zeroize();
        self.at = 0;
        self.phase = 0;
    }
}

impl Drop for Decimator {
    fn drop(&mut self) {
        self.history.zeroize();
    }
}

fn dot(samples: &[f32], taps: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; 8];
    for (a, b) in samples.chunks_exact(8).zip(taps.chunks_exact(8)) {
        for lane in 0..8 {
            lanes[lane] += a[lane] * b[lane];
        }
    }
    lanes.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Amplitude that is left of a sine of amplitude 10 000.
    fn passed(rate: u32, hertz: f64) -> f64 {
        let mut decimator = Decimator::new(rate).unwrap();
        let wave: Vec<i16> = (0..rate)
            .map(|n| ((f64::from(n) * hertz / f64::from(rate) * 2.0 * PI).sin() * 1e4) as i16)
            .collect();
        let mut out = Vec::new();
        decimator.push(&wave, &mut |sample| out.push(f64::from(sample)));
        assert_eq!(out.len(), 8000);
        let power: f64 = out[100..].iter().map(|s| s * s).sum();
        (2.0 * power / (out.len() - 100) as f64).sqrt() / 1e4
    }

    #[test]
    fn keys_pass_and_folds_do_not() {
        for rate in [16_000, 24_000, 48_000] {
            for hertz in [697.0, 1633.0, 3000.0] {
                assert!((passed(rate, hertz) - 1.0).abs() < 0.02, "{rate} {hertz}");
            }
            for folded in [5400.0, 6367.0, 7303.0] {
                assert!(passed(rate, folded) < 0.002, "{rate} {folded}");
            }
        }
        assert!(Decimator::new(44_100).is_none());
    }
}
