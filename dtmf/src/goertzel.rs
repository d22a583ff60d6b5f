//! `Bank`: the eight DTMF frequencies measured over a few milliseconds of audio.
//!
//! One measurement (an *atom*) is the correlation of 60 samples, under a Hann window, with the
//! eight frequencies at once; atoms start every 20 samples. Each is what the Goertzel recursion
//! would compute for such a window, written as a sum of products so that the eight frequencies
//! lie side by side in vector registers. With [`TURNS`] atoms are added in phase to longer
//! windows without touching the samples again.

use std::f64::consts::PI;

/// Samples between two atoms: 2.5 ms, so that a 20 ms packet holds a whole number of hops.
pub(crate) const HOP: usize = 20;

/// Samples of an atom: fewer, and 852 Hz would leak into 1209 Hz.
pub(crate) const ATOM: usize = 3 * HOP;

/// Samples of one second.
pub(crate) const RATE: usize = 8000;

/// Number of frequencies.
pub(crate) const BINS: usize = 8;

/// Number of frequencies of one group.
pub(crate) const GROUP: usize = BINS / 2;

/// The low group, then the high group, in hertz (ITU-T Q.23).
pub(crate) const FREQUENCIES: [f64; BINS] =
    [697.0, 770.0, 852.0, 941.0, 1209.0, 1336.0, 1477.0, 1633.0];

/// One complex amplitude for each frequency, real and imaginary parts apart.
#[derive(Clone, Copy)]
pub(crate) struct Bins {
    pub(crate) re: [f32; BINS],
    pub(crate) im: [f32; BINS],
}

impl Bins {
    pub(crate) const ZERO: Self = Self { re: [0.0; BINS], im: [0.0; BINS] };

    /// Adds the product with `turn`, frequency by frequency.
    #[inline(always)]
    pub(crate) fn add_product(&mut self, other: &Self, turn: &Self) {
        for bin in 0..BINS {
            self.re[bin] += other.re[bin] * turn.re[bin] - other.im[bin] * turn.im[bin];
            self.im[bin] += other.re[bin] * turn.im[bin] + other.im[bin] * turn.re[bin];
        }
    }

    /// The squared amplitudes.
    #[inline(always)]
    pub(crate) fn powers(&self) -> [f32; BINS] {
        std::array::from_fn(|bin| self.re[bin] * self.re[bin] + self.im[bin] * self.im[bin])
    }

    /// All amplitudes times `factor`.
    pub(crate) const fn scaled(mut self, factor: f32) -> Self {
        let mut bin = 0;
        while bin < BINS {
            self.re[bin] *= factor;
            self.im[bin] *= factor;
            bin += 1;
        }
        self
    }
}

/// Correlates three hops with the eight frequencies.
///
/// The phase is that of the middle; a tone at exactly one of the frequencies measures its
/// amplitude.
pub(crate) fn atom(samples: &[f32; ATOM]) -> Bins {
    // Two sums, so that an addition need not wait for the one before.
    let mut sums = [Bins::ZERO; 2];
    for n in (0..ATOM / 2).step_by(2) {
        for (parity, sum) in sums.iter_mut().enumerate() {
            let n = n + parity;
            // Around the middle the cosine is even and the sine odd: folding halves the products.
            let (later, earlier) = (samples[ATOM / 2 + n], samples[ATOM / 2 - 1 - n]);
            let (even, odd) = (later + earlier, later - earlier);
            for bin in 0..BINS {
                sum.re[bin] += even * WAVES[n].re[bin];
                sum.im[bin] += odd * WAVES[n].im[bin];
            }
        }
    }
    let [mut bins, other] = sums;
    for bin in 0..BINS {
        bins.re[bin] += other.re[bin];
        bins.im[bin] += other.im[bin];
    }
    bins
}

/// How far a tone at each frequency turns in `hops` hops, for `hops` below [`MAX_TURN`].
pub(crate) const TURNS: [Bins; MAX_TURN] = turns();

/// Number of entries of [`TURNS`].
pub(crate) const MAX_TURN: usize = 5;

/// The windowed cosine and negative sine, from the middle outwards.
static WAVES: [Bins; ATOM / 2] = {
    let mut table = [Bins::ZERO; ATOM / 2];
    let mut n = 0;
    while n < ATOM / 2 {
        let t = n as f64 + 0.5;
        // The window's sum is ATOM / 2 and a tone of amplitude 1 correlates to half of that.
        let window = (0.5 + 0.5 * cos(2.0 * PI * t / ATOM as f64)) * 4.0 / ATOM as f64;
        let mut bin = 0;
        while bin < BINS {
            let angle = radians_per_sample(bin) * t;
            table[n].re[bin] = (window * cos(angle)) as f32;
            table[n].im[bin] = (-window * sin(angle)) as f32;
            bin += 1;
        }
        n += 1;
    }
    table
};

const fn turns() -> [Bins; MAX_TURN] {
    let mut table = [Bins::ZERO; MAX_TURN];
    let mut hops = 0;
    while hops < MAX_TURN {
        let mut bin = 0;
        while bin < BINS {
            let angle = radians_per_sample(bin) * (hops * HOP) as f64;
            table[hops].re[bin] = cos(angle) as f32;
            table[hops].im[bin] = sin(angle) as f32;
            bin += 1;
        }
        hops += 1;
    }
    table
}

const fn radians_per_sample(bin: usize) -> f64 {
    2.0 * PI * FREQUENCIES[bin] / RATE as f64
}

/// Cosine for tables made at compile time, where the library's is not to be had.
const fn cos(x: f64) -> f64 {
    sin(x + PI / 2.0)
}

const fn sin(x: f64) -> f64 {
    // Fold to half a turn around zero, where 14 terms of the series leave nothing of an f64.
    let turns = (x / (2.0 * PI) + 0.5) as i64;
    let x = x - turns as f64 * 2.0 * PI;
    let mut term = x;
    let mut sum = x;
    let mut k = 1.0;
    while k < 14.0 {
        term *= -x * x / (2.0 * k * (2.0 * k + 1.0));
        sum += term;
        k += 1.0;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_agree_with_the_library() {
        for step in 0..2000 {
            let x = f64::from(step) * 0.05;
            assert!((sin(x) - x.sin()).abs() < 1e-9, "sine of {x}");
            assert!((cos(x) - x.cos()).abs() < 1e-9, "cosine of {x}");
        }
    }

    #[test]
    fn atoms_added_in_phase_measure_amplitude() {
        for (bin, hertz) in FREQUENCIES.into_iter().enumerate() {
            let at = |n: usize| (radians_per_sample(bin) * n as f64 + 0.7).sin() as f32 * 1000.0;
            let mut sum = Bins::ZERO;
            for k in 0..4 {
                let samples = std::array::from_fn(|n| at(k * HOP + n));
                sum.add_product(&atom(&samples), &TURNS[3 - k].scaled(0.25));
            }
            let amplitude = sum.re[bin].hypot(sum.im[bin]);
            assert!((amplitude - 1000.0).abs() < 10.0, "{amplitude} at {hertz}");
        }
    }
}
