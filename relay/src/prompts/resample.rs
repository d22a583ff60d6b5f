//! From one sampling rate down to another, without what the lower one can't carry.

use std::f64::consts::PI;

/// The filter reaches this many samples of the lower rate to each side. With the window below its
/// slope is then 5.5 / (2 * 48) of that rate wide: 460 Hz at 8 kHz.
const REACH: usize = 48;
/// Where the filter lets half through, in parts of the lower rate: with half the slope added it
/// stays below one half, which is the highest frequency that the lower rate can carry.
const CUTOFF: f64 = 0.5 - 5.5 / (4.0 * REACH as f64);

/// The same sound at a rate that is as low or lower.
///
/// Each sample is the sum of its neighbours under a windowed sinc (Blackman: what should be gone
/// is 74 dB down). The ratio of the rates is a fraction, so there are as many sets of weights as
/// its numerator says, and each is made once.
pub(super) fn resample(samples: &[i16], from: u32, to: u32) -> Vec<i16> {
    assert!(to > 0 && to <= from, "this filter is for a lower rate");
    if from == to {
        return samples.to_vec();
    }
    let divisor = greatest_common_divisor(from, to);
    let (up, down) = ((to / divisor) as usize, (from / divisor) as usize);
    let phases: Vec<Vec<f64>> = (0..up).map(|phase| weights(phase, up, down)).collect();
    let count = (samples.len() * up).div_ceil(down);
    (0..count)
        .map(|index| {
            let position = index * down;
            let (center, phase) = (position / up, position % up);
            weigh(samples, center, &phases[phase])
        })
        .collect()
}

/// The weights of the neighbours of a sample that lies `phase / up` behind one of the old ones,
/// the farthest before it first.
fn weights(phase: usize, up: usize, down: usize) -> Vec<f64> {
    let ratio = down as f64 / up as f64;
    let side = side(up, down) as isize;
    let raw: Vec<f64> = (-side..=side)
        .map(|offset| {
            // In samples of the lower rate.
            let time = (offset as f64 - phase as f64 / up as f64) / ratio;
            sinc(2.0 * CUTOFF * time) * blackman(time / REACH as f64)
        })
        .collect();
    let sum: f64 = raw.iter().sum();
    raw.into_iter().map(|weight| weight / sum).collect()
}

/// How many old samples to each side count.
fn side(up: usize, down: usize) -> usize {
    (REACH * down).div_ceil(up)
}

fn weigh(samples: &[i16], center: usize, weights: &[f64]) -> i16 {
    let side = weights.len() / 2;
    let first = center.saturating_sub(side);
    let last = (center + side + 1).min(samples.len());
    let neighbours = samples.get(first..last).unwrap_or_default();
    let weights = &weights[first + side - center..];
    let sum: f64 = neighbours.iter().zip(weights).map(|(a, b)| f64::from(*a) * b).sum();
    // A float is clamped to the range of an integer it becomes.
    sum.round() as i16
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 { 1.0 } else { (PI * x).sin() / (PI * x) }
}

/// The Blackman window from -1 to 1, zero beyond.
fn blackman(x: f64) -> f64 {
    if x.abs() >= 1.0 { 0.0 } else { 0.42 + 0.5 * (PI * x).cos() + 0.08 * (2.0 * PI * x).cos() }
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::{PI, resample};

    fn sine(frequency: f64, rate: u32) -> Vec<i16> {
        let step = 2.0 * PI * frequency / f64::from(rate);
        (0..rate).map(|at| (10_000.0 * (step * f64::from(at)).sin()) as i16).collect()
    }

    /// The level of the middle, away from the edges, in dB under the level of `sine`.
    fn loss(samples: &[i16]) -> f64 {
        let middle = &samples[1000..samples.len() - 1000];
        let power: f64 = middle.iter().map(|sample| f64::from(*sample).powi(2)).sum();
        -10.0 * (power / middle.len() as f64 / 5e7).log10()
    }

    #[test]
    fn what_fits_is_kept_and_what_does_not_is_gone() {
        for rate in [16_000, 22_050, 24_000, 44_100, 48_000] {
            for kept in [50.0, 300.0, 1000.0, 3000.0, 3400.0] {
                let heard = resample(&sine(kept, rate), rate, 8000);
                assert_eq!(heard.len(), 8000, "one second stays one second");
                assert!(loss(&heard).abs() < 0.5, "{kept} Hz at {rate}: {} dB", loss(&heard));
            }
            for gone in [4100.0, 5000.0, 7000.0] {
                let heard = resample(&sine(gone, rate), rate, 8000);
                assert!(loss(&heard) > 60.0, "{gone} Hz at {rate}: {} dB", loss(&heard));
            }
        }
    }

    #[test]
    fn the_pitch_stays() {
        let heard = resample(&sine(1000.0, 44_100), 44_100, 8000);
        let wanted = sine(1000.0, 8000);
        let worst = (100..7900).map(|at| (heard[at] - wanted[at]).abs()).max().unwrap();
        assert!(worst < 30, "off by {worst}");
    }

    #[test]
    fn short_and_empty_sounds_are_resampled_too() {
        for length in 0..20 {
            let heard = resample(&vec![i16::MIN; length], 48_000, 8000);
            assert_eq!(heard.len(), length.div_ceil(6));
        }
    }
}
