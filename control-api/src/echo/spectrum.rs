//! Spectrum: how loud a short piece of audio is, and how much of it its two strongest lines are.

use std::f32::consts::TAU;
use std::sync::LazyLock;

/// Samples of one look, 64 ms: a line is 16 Hz wide, and a short key press is longer.
pub(super) const WINDOW: usize = 512;
/// Samples of one second.
const RATE: f32 = 8000.0;
/// What a line takes up to either side of its strongest bin, under a Hann window.
const SKIRT: usize = 2;

/// What is seen at one look.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Look {
    /// Mean square of the samples.
    pub(super) power: f32,
    /// Share of the energy that the two strongest lines have, 0 to 1.
    pub(super) share: f32,
    /// The frequency of the strongest line, in hertz.
    pub(super) strongest_hz: f32,
}

/// The Hann window, and the turns of the transform.
struct Tables {
    window: [f32; WINDOW],
    turns: [(f32, f32); WINDOW / 2],
}

static TABLES: LazyLock<Tables> = LazyLock::new(|| {
    let angle = |n: usize| TAU * n as f32 / WINDOW as f32;
    Tables {
        window: std::array::from_fn(|n| 0.5 - 0.5 * angle(n).cos()),
        turns: std::array::from_fn(|n| (angle(n).cos(), -angle(n).sin())),
    }
});

/// Looks at one window of samples.
pub(super) fn look(samples: &[f32; WINDOW]) -> Look {
    let power = samples.iter().map(|sample| sample * sample).sum::<f32>() / WINDOW as f32;
    let mut bins = energies(samples);
    let total: f32 = bins.iter().sum();
    let (strongest, first) = take_line(&mut bins);
    let (_, second) = take_line(&mut bins);
    // Nothing at all has no lines.
    let share = if total > 0.0 { (first + second) / total } else { 0.0 };
    Look { power, share, strongest_hz: strongest as f32 * RATE / WINDOW as f32 }
}

/// Takes the strongest line out: its bin and its energy.
fn take_line(bins: &mut [f32]) -> (usize, f32) {
    let strongest = bins.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    let middle = strongest.map_or(0, |(bin, _)| bin);
    let (first, end) = (middle.saturating_sub(SKIRT), (middle + SKIRT + 1).min(bins.len()));
    let line = &mut bins[first..end];
    let energy = line.iter().sum();
    line.fill(0.0);
    (middle, energy)
}

/// The energy in each bin from 0 Hz to half the rate: a Fourier transform of base two, in place
/// (Cooley and Tukey, 1965). One of 512 a call, 31 times a second, is worth no library.
fn energies(samples: &[f32; WINDOW]) -> [f32; WINDOW / 2 + 1] {
    let Tables { window, turns } = &*TABLES;
    let mut points = [(0.0, 0.0); WINDOW];
    for (n, (sample, weight)) in samples.iter().zip(window).enumerate() {
        let reversed = n.reverse_bits() >> (usize::BITS - WINDOW.trailing_zeros());
        points[reversed] = (sample * weight, 0.0);
    }
    let mut half = 1;
    while half < WINDOW {
        for pair in points.chunks_exact_mut(2 * half) {
            let (lower, upper) = pair.split_at_mut(half);
            for (n, (a, b)) in lower.iter_mut().zip(upper).enumerate() {
                let (cosine, sine) = turns[n * (WINDOW / 2 / half)];
                let turned = (b.0 * cosine - b.1 * sine, b.0 * sine + b.1 * cosine);
                (*b, *a) = ((a.0 - turned.0, a.1 - turned.1), (a.0 + turned.0, a.1 + turned.1));
            }
        }
        half *= 2;
    }
    std::array::from_fn(|bin| points[bin].0 * points[bin].0 + points[bin].1 * points[bin].1)
}

#[cfg(test)]
mod tests {
    use std::f32::consts::TAU;

    use super::{RATE, WINDOW, energies, look};

    fn sine(hertz: f32, amplitude: f32, n: usize) -> f32 {
        amplitude * (TAU * hertz * n as f32 / RATE).sin()
    }

    #[test]
    fn the_energies_are_those_of_the_definition() {
        let samples: [f32; WINDOW] =
            std::array::from_fn(|n| sine(437.0, 1000.0, n) + sine(2222.0, 300.0, n));
        let bins = energies(&samples);
        for bin in [0, 1, 27, 28, 29, 142, 200, WINDOW / 2] {
            let (mut re, mut im) = (0.0_f64, 0.0_f64);
            for (n, sample) in samples.iter().enumerate() {
                let angle = std::f64::consts::TAU * n as f64 / WINDOW as f64;
                let weighted = f64::from(*sample) * (0.5 - 0.5 * angle.cos());
                re += weighted * (angle * bin as f64).cos();
                im += weighted * (angle * bin as f64).sin();
            }
            let (wanted, found) = (re * re + im * im, f64::from(bins[bin]));
            assert!((found - wanted).abs() <= wanted * 1e-3 + 1.0, "{bin}: {found}, not {wanted}");
        }
    }

    #[test]
    fn lines_are_told_from_what_has_none() {
        let pair = look(&std::array::from_fn(|n| sine(770.0, 5e3, n) + sine(1477.0, 6e3, n)));
        assert!(pair.share > 0.99 && (pair.strongest_hz - 1477.0).abs() < 16.0, "{pair:?}");
        assert!((pair.power.sqrt() / 5523.0 - 1.0).abs() < 0.02, "{pair:?}");
        let three = look(&std::array::from_fn(|n| {
            sine(500.0, 5e3, n) + sine(1000.0, 5e3, n) + sine(1500.0, 5e3, n)
        }));
        assert!((three.share - 2.0 / 3.0).abs() < 0.02, "{three:?}");
        let nothing = look(&[0.0; WINDOW]);
        assert_eq!((nothing.power, nothing.share), (0.0, 0.0));
    }
}
