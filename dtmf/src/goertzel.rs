//! `atoms`: the DTMF frequencies measured over a few milliseconds of audio.
//!
//! One measurement (an *atom*) is the correlation of 60 samples, under a Hann window, with one
//! frequency; atoms start every 20 samples. Each is what the Goertzel recursion would compute for
//! such a window, written as a sum of products of whole numbers: the atoms of a packet's hops lie
//! side by side in vector registers, one instruction takes two products of each, and the sums are
//! the same to the bit on every processor.

use std::f64::consts::PI;

use fearless_simd::{i16x16, i32x8, prelude::*};

use crate::hop_rows::{EARLIER, HALVED, HOP, HopRows, Place, pair};

/// Samples of an atom: fewer, and 852 Hz would leak into 1209 Hz.
pub(crate) const ATOM: usize = (EARLIER + 1) * HOP;

/// Samples of one second.
pub(crate) const RATE: usize = 8000;

/// Number of frequencies.
pub(crate) const BINS: usize = 8;

/// Number of frequencies of one group.
pub(crate) const GROUP: usize = BINS / 2;

/// The low group, then the high group, in hertz (ITU-T Q.23).
pub(crate) const FREQUENCIES: [f64; BINS] =
    [697.0, 770.0, 852.0, 941.0, 1209.0, 1336.0, 1477.0, 1633.0];

/// Largest sum or difference of two samples as [`HopRows`] keeps them.
const MAX_FOLDED: i64 = 1 << 15;

/// The peak of the window as a whole number. The error of rounding it is 90 dB down, and no sum of
/// products leaves 32 bits.
const PEAK: f64 = 4096.0;

/// The amplitude that a sum of 1 stands for: samples are halved, and half the window's sum is a
/// tone of amplitude 1.
pub(crate) const AMPLITUDE: f64 = HALVED * 4.0 / (PEAK * ATOM as f64);

/// Pairs of samples on either side of the middle.
const PAIRS: usize = ATOM / 4;

/// Atoms of several hops at one frequency, real and imaginary parts, in [`AMPLITUDE`]s.
#[derive(Clone, Copy)]
pub(crate) struct Atoms<S: Simd> {
    pub(crate) re: i32x8<S>,
    pub(crate) im: i32x8<S>,
}

/// Correlates each hop and the two before it with the eight frequencies.
///
/// The phase is that of the middle; a tone at exactly one of the frequencies measures its
/// amplitude.
#[inline(always)]
pub(crate) fn atoms<S: Simd>(simd: S, rows: &HopRows) -> [Atoms<S>; BINS] {
    let zero = i32x8::splat(simd, 0);
    let mut sums = [Atoms { re: zero, im: zero }; BINS];
    for (&(later, earlier), waves) in PLACES.iter().zip(&WAVES) {
        // Around the middle the cosine is even and the sine odd: folding halves the products.
        let later = rows.pair(simd, later);
        let earlier = rows.reversed(simd, earlier);
        let (even, odd) = (later + earlier, later - earlier);
        for (sum, &(cosine, sine)) in sums.iter_mut().zip(waves) {
            sum.re += products(simd, even, cosine);
            sum.im += products(simd, odd, sine);
        }
    }
    sums
}

/// The places of pairs as far after the middle of an atom as before it, from there outwards.
///
/// A table, so that the loop over them stays one: unrolled, its sums would be regrouped, and no
/// processor could multiply and add in one instruction.
static PLACES: [(Place, Place); PAIRS] = {
    let mut table = [(Place::of(0), Place::of(0)); PAIRS];
    let mut nth = 0;
    while nth < PAIRS {
        table[nth] = (Place::of(PAIRS + nth), Place::of(PAIRS - 1 - nth));
        nth += 1;
    }
    table
};

#[inline(always)]
fn products<S: Simd>(simd: S, pairs: i16x16<S>, wave: i32) -> i32x8<S> {
    let wave: i16x16<S> = i32x8::splat(simd, wave).bitcast();
    pairs.pairwise_dot_product(wave)
}

/// The windowed cosine and negative sine from the middle outwards, in pairs.
static WAVES: [[(i32, i32); BINS]; PAIRS] = {
    let (cosines, sines) = (waves(PI / 2.0, 1.0), waves(0.0, -1.0));
    let mut table = [[(0, 0); BINS]; PAIRS];
    let mut nth = 0;
    while nth < PAIRS * BINS {
        let (place, bin) = (nth / BINS, nth % BINS);
        table[place][bin] = (cosines[bin][place], sines[bin][place]);
        nth += 1;
    }
    table
};

/// One wave for each frequency.
const fn waves(phase: f64, sign: f64) -> [[i32; PAIRS]; BINS] {
    let mut table = [[0; PAIRS]; BINS];
    let mut bin = 0;
    while bin < BINS {
        let mut weight = 0;
        let mut place = 0;
        while place < PAIRS {
            let first = windowed(bin, 2 * place, phase, sign);
            let second = windowed(bin, 2 * place + 1, phase, sign);
            table[bin][place] = pair(first, second);
            weight += first.unsigned_abs() as i64 + second.unsigned_abs() as i64;
            place += 1;
        }
        assert!(weight * MAX_FOLDED <= i32::MAX as i64, "a sum of products may leave 32 bits");
        bin += 1;
    }
    table
}

const fn windowed(bin: usize, n: usize, phase: f64, sign: f64) -> i16 {
    let t = n as f64 + 0.5;
    let window = PEAK * (0.5 + 0.5 * cos(2.0 * PI * t / ATOM as f64));
    let wave = sign * window * sin(radians_per_sample(bin) * t + phase);
    (wave + if wave < 0.0 { -0.5 } else { 0.5 }) as i16
}

/// Most hops of [`turned`].
const MAX_TURN: usize = 4;

static TURNS: [[(f32, f32); BINS]; MAX_TURN + 1] = {
    let mut table = [[(0.0, 0.0); BINS]; MAX_TURN + 1];
    let mut nth = 0;
    while nth < table.len() * BINS {
        let (cosine, sine) = turn(nth % BINS, nth / BINS);
        table[nth / BINS][nth % BINS] = (cosine as f32, sine as f32);
        nth += 1;
    }
    table
};

/// [`turn`] from a table, for up to four hops.
pub(crate) fn turned(bin: usize, hops: usize) -> (f32, f32) {
    TURNS[hops][bin]
}

/// How far a tone at `bin` turns in `hops` hops, as cosine and sine.
pub(crate) const fn turn(bin: usize, hops: usize) -> (f64, f64) {
    let angle = radians_per_sample(bin) * (hops * HOP) as f64;
    (cos(angle), sin(angle))
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
    use fearless_simd::{Level, dispatch};

    #[test]
    fn tables_agree_with_the_library() {
        for step in 0..2000 {
            let x = f64::from(step) * 0.05;
            assert!((sin(x) - x.sin()).abs() < 1e-9, "sine of {x}");
            assert!((cos(x) - x.cos()).abs() < 1e-9, "cosine of {x}");
        }
    }

    /// Atoms of the last three hops of `samples`, as whole numbers.
    fn measure(level: Level, samples: &[i16; ATOM]) -> [(i32, i32); BINS] {
        let mut rows = HopRows::new();
        for hop in samples.as_chunks::<HOP>().0 {
            rows.push(hop);
        }
        dispatch!(level, simd => {
            let atoms = atoms(simd, &rows);
            atoms.map(|atoms| (atoms.re.to_array()[EARLIER], atoms.im.to_array()[EARLIER]))
        })
    }

    #[test]
    fn an_atom_measures_amplitude_and_phase() {
        for (bin, hertz) in FREQUENCIES.into_iter().enumerate() {
            for phase in [0.0, 0.7, 2.0] {
                let wave = |n: usize| {
                    let t = n as f64 + 0.5 - ATOM as f64 / 2.0;
                    (radians_per_sample(bin) * t + phase).cos() * 10_000.0
                };
                let (re, im) = measure(Level::new(), &std::array::from_fn(|n| wave(n) as i16))[bin];
                let (re, im) = (f64::from(re) * AMPLITUDE, f64::from(im) * AMPLITUDE);
                let amplitude = re.hypot(im);
                assert!((amplitude - 10_000.0).abs() < 50.0, "{amplitude} at {hertz}");
                assert!((im.atan2(re) - phase).abs() < 0.01, "{phase} at {hertz}");
            }
        }
    }

    /// The sum of products as it is written in a book.
    fn plain(samples: &[i16; ATOM], bin: usize) -> (i64, i64) {
        let (mut re, mut im) = (0, 0);
        for n in 0..ATOM / 2 {
            let later = i64::from(samples[ATOM / 2 + n] >> 1);
            let earlier = i64::from(samples[ATOM / 2 - 1 - n] >> 1);
            re += (later + earlier) * i64::from(windowed(bin, n, PI / 2.0, 1.0));
            im += (later - earlier) * i64::from(windowed(bin, n, 0.0, -1.0));
        }
        (re, im)
    }

    #[test]
    fn every_processor_gets_the_exact_sum() {
        let mut state = 1_u64;
        let mut noise = |n: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(n as u64);
            let sample = (state >> 48) as u16 as i16;
            // Every fourth at the limit, where a sum would overflow first.
            match (state >> 40 & 3, sample < 0) {
                (0, true) => i16::MIN,
                (0, false) => i16::MAX,
                (_, _) => sample,
            }
        };
        for _ in 0..1000 {
            let samples: [i16; ATOM] = std::array::from_fn(&mut noise);
            for level in [Level::new(), Level::baseline()] {
                let atoms = measure(level, &samples);
                for (bin, &(re, im)) in atoms.iter().enumerate() {
                    assert!((i64::from(re), i64::from(im)) == plain(&samples, bin), "bin {bin}");
                }
            }
        }
    }
}
