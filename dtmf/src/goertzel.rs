//! `atom`: the eight DTMF frequencies measured over a few milliseconds of audio.
//!
//! One measurement (an *atom*) is the correlation of 60 samples, under a Hann window, with the
//! eight frequencies at once; atoms start every 20 samples. Each is what the Goertzel recursion
//! would compute for such a window, written as a sum of products of whole numbers: so the eight
//! frequencies lie side by side in vector registers, one instruction takes two products a
//! frequency, and the sum is the same to the bit on every processor.

use std::f64::consts::PI;

use fearless_simd::{
    Bytes as _, Simd, SimdBase as _, SimdIntWiden as _, i16x8, i16x16, i32x4, i32x8,
};

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

/// Samples that [`atom`] takes are from `-MAX_SAMPLE` up to, but not, `MAX_SAMPLE`: the sum and the
/// difference of two still have 16 bits.
const MAX_SAMPLE: i16 = 1 << 14;

/// The peak of the window as a whole number. The error of rounding it is 90 dB down, and no sum of
/// products leaves 32 bits.
const PEAK: f64 = 4096.0;

/// The amplitude that a sum of 1 stands for: half the window's sum is a tone of amplitude 1.
pub(crate) const AMPLITUDE: f64 = 4.0 / (PEAK * ATOM as f64);

/// Two neighbouring samples for each of the frequencies.
type Pair = [i16; 2 * BINS];
/// Pairs of samples on either side of the middle.
const PAIRS: usize = ATOM / 4;

/// The real and the imaginary part of one atom, in [`AMPLITUDE`]s.
#[derive(Clone, Copy)]
pub(crate) struct Atom<S: Simd> {
    pub(crate) re: i32x8<S>,
    pub(crate) im: i32x8<S>,
}

/// Correlates three hops with the eight frequencies.
///
/// The phase is that of the middle; a tone at exactly one of the frequencies measures its
/// amplitude.
#[inline(always)]
pub(crate) fn atom<S: Simd>(simd: S, samples: &[i16; ATOM]) -> Atom<S> {
    let zero = i32x8::splat(simd, 0);
    let mut sum = Atom { re: zero, im: zero };
    for chunk in 0..CHUNKS {
        let (even, odd) = fold(simd, samples, chunk);
        for pair in 0..LANES / 2 {
            let waves = chunk * LANES / 2 + pair;
            if waves < PAIRS {
                sum.re += products(simd, even[pair], &COSINES[waves]);
                sum.im += products(simd, odd[pair], &SINES[waves]);
            }
        }
    }
    sum
}

/// Samples on either side of the middle that are folded at once.
const LANES: usize = 8;
/// So often are they: the last time fewer are left.
const CHUNKS: usize = (ATOM / 2).div_ceil(LANES);

/// The sums and the differences of samples equally far from the middle, from there outwards, two
/// in each number: around the middle the cosine is even and the sine odd, which halves the products.
#[inline(always)]
fn fold<S: Simd>(simd: S, samples: &[i16; ATOM], chunk: usize) -> (i32x4<S>, i32x4<S>) {
    const HALF: usize = ATOM / 2;
    /// What the last chunk has too few.
    const OVER: usize = CHUNKS * LANES - HALF;
    let from = (chunk * LANES).min(HALF - LANES);
    let later = i16x8::from_slice(simd, &samples[HALF + from..][..LANES]);
    let earlier = i16x8::from_slice(simd, &samples[HALF - from - LANES..][..LANES]);
    let earlier = simd.reverse_i16x8(earlier);
    let (even, odd) = (later + earlier, later - earlier);
    if chunk == CHUNKS - 1 {
        let zero = i16x8::splat(simd, 0);
        let slid = |lanes: i16x8<S>| simd.slide_i16x8::<OVER>(lanes, zero);
        return (slid(even).bitcast(), slid(odd).bitcast());
    }
    (even.bitcast(), odd.bitcast())
}

#[inline(always)]
fn products<S: Simd>(simd: S, pair: i32, waves: &Pair) -> i32x8<S> {
    let pair: i16x16<S> = i32x8::splat(simd, pair).bitcast();
    pair.pairwise_dot_product(i16x16::from_slice(simd, waves))
}

/// The windowed cosine, from the middle outwards.
static COSINES: [Pair; PAIRS] = waves(PI / 2.0, 1.0);
/// The windowed negative sine, from the middle outwards.
static SINES: [Pair; PAIRS] = waves(0.0, -1.0);

const fn waves(phase: f64, sign: f64) -> [Pair; PAIRS] {
    let mut table = [[0; 2 * BINS]; PAIRS];
    let mut bin = 0;
    while bin < BINS {
        let mut weight = 0;
        let mut n = 0;
        while n < ATOM / 2 {
            let t = n as f64 + 0.5;
            let window = PEAK * (0.5 + 0.5 * cos(2.0 * PI * t / ATOM as f64));
            let wave = sign * window * sin(radians_per_sample(bin) * t + phase);
            let whole = (wave + if wave < 0.0 { -0.5 } else { 0.5 }) as i16;
            table[n / 2][2 * bin + n % 2] = whole;
            weight += whole.unsigned_abs() as i64;
            n += 1;
        }
        assert!(weight * 2 * MAX_SAMPLE as i64 <= i32::MAX as i64, "the sum may leave 32 bits");
        bin += 1;
    }
    table
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

    fn measure(level: Level, samples: &[i16; ATOM]) -> ([i32; BINS], [i32; BINS]) {
        dispatch!(level, simd => {
            let sum = atom(simd, samples);
            (sum.re.to_array(), sum.im.to_array())
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
                let samples = std::array::from_fn(|n| wave(n) as i16);
                let (re, im) = measure(Level::new(), &samples);
                let (re, im) = (f64::from(re[bin]) * AMPLITUDE, f64::from(im[bin]) * AMPLITUDE);
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
            let later = i64::from(samples[ATOM / 2 + n]);
            let earlier = i64::from(samples[ATOM / 2 - 1 - n]);
            re += (later + earlier) * i64::from(COSINES[n / 2][2 * bin + n % 2]);
            im += (later - earlier) * i64::from(SINES[n / 2][2 * bin + n % 2]);
        }
        (re, im)
    }

    #[test]
    fn every_level_of_the_processor_gives_the_exact_sum() {
        let mut state = 1_u64;
        let mut noise = |n: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(n as u64);
            let sample = (state >> 48) as u16 as i16;
            // Every fourth at the limit, where a sum would overflow first.
            if state >> 40 & 3 != 0 {
                sample >> 1
            } else if sample < 0 {
                -MAX_SAMPLE
            } else {
                MAX_SAMPLE - 1
            }
        };
        for _ in 0..1000 {
            let samples: [i16; ATOM] = std::array::from_fn(&mut noise);
            for level in [Level::new(), Level::baseline()] {
                let (re, im) = measure(level, &samples);
                for bin in 0..BINS {
                    let exact = plain(&samples, bin);
                    assert!((i64::from(re[bin]), i64::from(im[bin])) == exact, "bin {bin}");
                }
            }
        }
    }
}
