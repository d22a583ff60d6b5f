//! Resampler: samples of one rate in, samples of another out, as they come.

use std::f64::consts::PI;

use zeroize::Zeroize;

/// Taps that one output sample is made of, where the rate grows; with a falling rate as many more.
/// At 24 of them 3.4 of 4 kHz passes and what would fold into the lower half is 60 dB down.
const TAPS: usize = 24;
/// The largest factor between two of the rates there are: 24 kHz and 8 kHz.
const MAX_FACTOR: usize = 3;
/// Samples that one output sample is made of, at most.
const MAX_REACH: usize = TAPS * MAX_FACTOR;

/// Changes a stream's rate by a small fraction.
pub struct Resampler(Option<Box<Filter>>);

struct Filter {
    up: usize,
    down: usize,
    reach: usize,
    /// A set of weights for each place of an output sample between two of the input, oldest first.
    weights: [[f32; MAX_REACH]; MAX_FACTOR],
    /// The last `reach` samples, written twice so that they can be read in one piece.
    history: [f32; 2 * MAX_REACH],
    at: usize,
    /// Where the next output sample lies behind the newest input sample, in parts of `up`.
    place: usize,
}

impl Resampler {
    /// From one rate to another, both of 8000, 16 000 and 24 000.
    ///
    /// # Panics
    /// If the rates are others.
    #[must_use]
    pub fn new(from: u32, to: u32) -> Resampler {
        if from == to {
            return Resampler(None);
        }
        let (up, down) = match (from, to) {
            (8000, 16_000) => (2, 1),
            (8000, 24_000) => (3, 1),
            (16_000, 24_000) => (3, 2),
            (16_000, 8000) => (1, 2),
            (24_000, 8000) => (1, 3),
            (24_000, 16_000) => (2, 3),
            (_, _) => panic!("from {from} to {to} samples a second"),
        };
        Resampler(Some(Box::new(Filter::new(up, down))))
    }

    /// Takes in samples, writes what they become and says how many that are; what finds no room is
    /// left out.
    pub fn fill(&mut self, pcm: &[i16], out: &mut [i16]) -> usize {
        let mut count = 0;
        self.push(pcm, &mut |sample| {
            if let Some(slot) = out.get_mut(count) {
                *slot = sample;
                count += 1;
            }
        });
        count
    }

    /// Takes in samples and hands on as many as they become.
    pub fn push(&mut self, pcm: &[i16], out: &mut impl FnMut(i16)) {
        match &mut self.0 {
            None => pcm.iter().copied().for_each(out),
            Some(filter) => pcm.iter().for_each(|&sample| filter.push(sample, out)),
        }
    }
}

impl Filter {
    fn new(up: usize, down: usize) -> Filter {
        let widening = up.max(down);
        let reach = (TAPS * widening).div_ceil(up);
        let mut weights = [[0.0; MAX_REACH]; MAX_FACTOR];
        for (place, weights) in weights.iter_mut().enumerate().take(up) {
            weigh(&mut weights[..reach], place as f64 / up as f64, widening as f64 / up as f64);
        }
        Filter { up, down, reach, weights, history: [0.0; 2 * MAX_REACH], at: 0, place: 0 }
    }

    fn push(&mut self, sample: i16, out: &mut impl FnMut(i16)) {
        self.history[self.at] = f32::from(sample);
        self.history[self.at + self.reach] = f32::from(sample);
        self.at = (self.at + 1) % self.reach;
        while self.place < self.up {
            let heard = &self.history[self.at..self.at + self.reach];
            let sum: f32 = heard.iter().zip(&self.weights[self.place]).map(|(a, b)| a * b).sum();
            // A float is clamped to the range of an integer it becomes.
            out(sum.round() as i16);
            self.place += self.down;
        }
        self.place -= self.up;
    }
}

impl Drop for Filter {
    fn drop(&mut self) {
        self.history.zeroize();
    }
}

/// A windowed sinc around the middle of its reach, shifted by a part of a sample; `span` is how many
/// input samples one half-wave of it takes.
fn weigh(weights: &mut [f32], shift: f64, span: f64) {
    let half = weights.len() as f64 / 2.0;
    let shape = |at: usize| {
        let time = at as f64 + 1.0 - half - shift;
        let window = 0.5 + 0.5 * (PI * (time / half).clamp(-1.0, 1.0)).cos();
        let x = PI * time / span;
        window * if x == 0.0 { 1.0 } else { x.sin() / x }
    };
    let sum: f64 = (0..weights.len()).map(shape).sum();
    for (at, weight) in weights.iter_mut().enumerate() {
        *weight = (shape(at) / sum) as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sine(frequency: f64, rate: u32) -> Vec<i16> {
        let step = 2.0 * PI * frequency / f64::from(rate);
        (0..rate).map(|at| (10_000.0 * (step * f64::from(at)).sin()) as i16).collect()
    }

    /// The level of the middle, away from the edges, in dB under that of `sine`.
    fn loss(samples: &[i16]) -> f64 {
        let middle = &samples[1000..samples.len() - 1000];
        let power: f64 = middle.iter().map(|sample| f64::from(*sample).powi(2)).sum();
        -10.0 * (power / middle.len() as f64 / 5e7).log10()
    }

    fn resample(samples: &[i16], from: u32, to: u32) -> Vec<i16> {
        let mut heard = Vec::new();
        let mut resampler = Resampler::new(from, to);
        // In packets, as it comes.
        for packet in samples.chunks(from as usize / 50) {
            resampler.push(packet, &mut |sample| heard.push(sample));
        }
        heard
    }

    #[test]
    fn voice_passes_and_what_the_lower_rate_cannot_carry_does_not() {
        for from in [8000, 16_000, 24_000] {
            for to in [8000, 16_000, 24_000] {
                let lower = f64::from(u32::min(from, to));
                for kept in [300.0, 1000.0, 3000.0, 0.42 * lower] {
                    let heard = resample(&sine(kept, from), from, to);
                    assert_eq!(heard.len(), to as usize, "one second stays one second");
                    let loss = loss(&heard);
                    assert!(loss.abs() < 0.6, "{kept} Hz from {from} to {to}: {loss} dB");
                }
                if to < from {
                    let heard = resample(&sine(0.62 * lower, from), from, to);
                    assert!(loss(&heard) > 50.0, "from {from} to {to}: {} dB", loss(&heard));
                }
            }
        }
    }

    #[test]
    fn no_image_is_left_above_a_lower_rate() {
        let heard = resample(&sine(1000.0, 8000), 8000, 16_000);
        // What is not the tone: its mirror image at 7 kHz, and noise of rounding.
        let wanted = sine(1000.0, 16_000);
        let lag = (0..60).min_by_key(|lag| off(&heard, &wanted, *lag)).unwrap();
        assert!(off(&heard, &wanted, lag) < 120, "{} at {lag}", off(&heard, &wanted, lag));
    }

    fn off(heard: &[i16], wanted: &[i16], lag: usize) -> i32 {
        (1000..8000)
            .map(|at| (i32::from(heard[at + lag]) - i32::from(wanted[at])).abs())
            .max()
            .unwrap()
    }
}
