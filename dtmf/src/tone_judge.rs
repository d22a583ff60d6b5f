//! `Evidence`: what the last 80 ms say for one pair of frequencies, against the limits of a key.

use std::f32::consts::{PI, TAU};

use fearless_simd::{f32x8, mask32x8, prelude::*};

use crate::goertzel::{ATOM, FREQUENCIES, RATE};
use crate::hop_rows::HOP;
use crate::tone_trace::{LOOKS, Look, Pair, Phasor, Trace};

/// Frequency tolerance: 1.8 % must be accepted (NTT), 3.0 % (NTT) and 3.5 % (AT&T) refused.
const MAX_DETUNE: f32 = 0.0215;

/// Weakest tone of a key, as the square of its amplitude: -42 dBm0 (full scale is +3.14 dBm0).
/// ITU-T Q.24 has -25 dBm accepted and -55 dBm refused.
const FLOOR: f32 = 181.0 * 181.0;
/// Weakest tone that is a suspect: -50 dBm0.
const SUSPECT_FLOOR: f32 = 72.0 * 72.0;

/// Low group over high group, 12 dB: 10 dB must pass (Australia), the rest is for noise.
const MAX_TWIST: f32 = 15.85;
/// High group over low group, 8 dB: 6 dB must pass (ETSI), the rest is for noise.
const MAX_REVERSE_TWIST: f32 = 6.31;

/// A key in hops: 28 ms, between the 24 ms that must and the 40 ms that must not be refused (Q.24).
const MIN_TONE: f32 = 11.2;

/// Longest hole inside one tone in looks, 20 ms (ETSI ES 201 235-3).
const MAX_HOLE: u32 = 8;

/// Fewest looks that stand for a key of which packets were lost: what one packet of tone between
/// two lost ones leaves.
const MIN_LOOKS_WITH_LOSS: f32 = 4.0;

/// Looks judged for purity and phase: no more, so that a slipped sample is soon forgotten.
const JUDGED: u32 = 10;

/// Share of the audio's power that the two tones must have: 0.8 is 6 dB over the noise.
const MIN_PURITY: f32 = 0.7;

/// What is wrong with a pair of tones, added up, must stay below this: a key is allowed any one of
/// the flaws its senders and lines have, while speech that comes near has several of them.
const MAX_FLAWS: f32 = 0.95;
/// The same where part of the tone was lost, so that less of it is known.
const MAX_FLAWS_WITH_LOSS: f32 = 0.65;

/// A tone pair that passed.
pub(crate) struct Evidence {
    /// Hops since the tone began, counted to the middle of the newest look.
    pub(crate) age: f32,
    pub(crate) level: Level,
}

/// The squared amplitudes of a pair of tones.
#[derive(Clone, Copy)]
pub(crate) struct Level {
    pub(crate) low: f32,
    pub(crate) high: f32,
}

/// Which windows might belong to a key, by the squared amplitudes of their strongest tones and
/// their mean square: the cheap test made at every hop.
#[inline(always)]
pub(crate) fn are_tonal<S: Simd>(low: f32x8<S>, high: f32x8<S>, power: f32x8<S>) -> mask32x8<S> {
    const SLACK: f32 = 1.7;
    (low + high).simd_ge(power)
        & low.simd_le(high * (MAX_TWIST * SLACK))
        & high.simd_le(low * (MAX_REVERSE_TWIST * SLACK))
        & low.min(high).simd_ge(SUSPECT_FLOOR)
}

/// Judges whether the newest `limit` looks end in a tone of `pair` long and clean enough for a key.
pub(crate) fn judge(trace: &Trace, pair: Pair, limit: usize) -> Option<Evidence> {
    let level = plateau(trace, pair, limit)?;
    let stretch = Stretch::find(trace, pair, level, limit);
    let max_flaws = stretch.allowance()?;
    let quality = Quality::measure(trace, pair, newest(stretch.inner(), JUDGED))?;
    (level.exceeds(FLOOR) && level.is_balanced() && quality.is_within(max_flaws))
        .then_some(Evidence { age: stretch.age, level })
}

/// Whether the four newest looks, all of them of `pair`, are as clean as a key's.
pub(crate) fn is_promising(trace: &Trace, pair: Pair) -> bool {
    let promises = |age| trace.look(age).tonal && trace.look(age).pair == pair;
    (0..4).all(promises)
        && Quality::measure(trace, pair, 0b1111).is_some_and(|it| it.is_within(MAX_FLAWS))
}

/// Whether a look shows `pair` at no less than half the amplitudes of `level`.
#[inline(always)]
pub(crate) fn is_strong(look: &Look, pair: Pair, level: Level) -> bool {
    look.known
        && look.pair == pair
        && look.low.power() >= level.low * 0.25
        && look.high.power() >= level.high * 0.25
        && look.tone_power() >= 0.4 * look.power
}

impl Level {
    /// Whether the twist is within the limits.
    fn is_balanced(self) -> bool {
        self.low <= self.high * MAX_TWIST && self.high <= self.low * MAX_REVERSE_TWIST
    }

    fn exceeds(self, floor: f32) -> bool {
        self.low.min(self.high) >= floor
    }
}

/// The level of the newest looks that may belong to a tone of `pair`.
fn plateau(trace: &Trace, pair: Pair, limit: usize) -> Option<Level> {
    const NEWEST: usize = 8;
    let (mut count, mut low, mut high) = (0.0, 0.0, 0.0);
    let tonal = (0..limit.min(LOOKS)).map(|age| trace.look(age));
    for look in tonal.filter(|look| look.pair == pair && look.tonal).take(NEWEST) {
        low += look.low.power();
        high += look.high.power();
        count += 1.0;
    }
    (count > 0.0).then(|| Level { low: low / count, high: high / count })
}

/// The looks that belong to the newest tone; bit 0 is the newest look.
struct Stretch {
    present: u32,
    unknown: u32,
    /// Hops since the onset.
    age: f32,
    /// Hops of tone that were heard.
    heard: f32,
    /// Hops the tone may have lasted, losses on either edge counted in.
    span: f32,
}

impl Stretch {
    fn find(trace: &Trace, pair: Pair, level: Level, limit: usize) -> Self {
        let (mut present, mut unknown, mut hole, mut oldest) = (0_u32, 0_u32, 0, 0);
        let limit = limit.min(LOOKS);
        for age in 0..limit {
            let look = trace.look(age);
            if !look.known {
                unknown |= 1 << age;
            } else if is_strong(&look, pair, level) {
                present |= 1 << age;
                oldest = age;
                hole = 0;
            } else {
                hole += 1;
                if hole > MAX_HOLE {
                    break;
                }
            }
        }
        let before = if oldest + 1 < limit {
            onset(&trace.look(oldest), &trace.look(oldest + 1), level)
        } else {
            1.0
        };
        let age = oldest as f32 + before;
        let leading = (unknown >> oldest >> 1).trailing_ones() as f32;
        let heard = present.count_ones() as f32 - 1.0 + before;
        Self { present, unknown, age, heard, span: age + leading }
    }

    /// The flaws allowed to a key of this length, if it is long enough for one.
    fn allowance(&self) -> Option<f32> {
        if self.heard >= MIN_TONE {
            Some(MAX_FLAWS)
        } else {
            let may_be_long = self.unknown != 0 && self.span >= MIN_TONE;
            (may_be_long && self.heard >= MIN_LOOKS_WITH_LOSS).then_some(MAX_FLAWS_WITH_LOSS)
        }
    }

    /// The looks whose window lies wholly in the tone.
    fn inner(&self) -> u32 {
        let ok = self.present | self.unknown;
        self.present & (ok << 1 | 1) & (ok << 2 | 3) & (ok >> 1) & (ok >> 2)
    }
}

/// How far from the `newer` look towards the `older` the tones rose through half their amplitude.
fn onset(newer: &Look, older: &Look, level: Level) -> f32 {
    if !older.known {
        return 1.0;
    }
    if older.pair != newer.pair {
        return 0.5;
    }
    let relative =
        |look: &Look| (look.low.power() / level.low).min(look.high.power() / level.high).sqrt();
    let (after, before) = (relative(newer), relative(older));
    if after <= before { 0.5 } else { ((after - 0.5) / (after - before)).clamp(0.0, 1.0) }
}

/// How much like two sines the inner looks of a stretch are.
struct Quality {
    /// Share of the audio's power that the tones have.
    purity: f32,
    /// The same in the worst look.
    worst_purity: f32,
    low: Steadiness,
    high: Steadiness,
}

/// How steady one tone is over a stretch.
struct Steadiness {
    /// Frequency above the nominal one, as a share of it.
    detune: f32,
    /// Deviation of the phase from that frequency's, in radians.
    jitter: f32,
    /// Deviation of the amplitude from its mean, as a share of it.
    ripple: f32,
    /// Power that the window leaves of a tone this far off its nominal frequency.
    response: f32,
}

impl Quality {
    fn measure(trace: &Trace, pair: Pair, inner: u32) -> Option<Self> {
        let low = Steadiness::measure(trace, inner, pair.low_bin(), |look| look.low)?;
        let high = Steadiness::measure(trace, inner, pair.high_bin(), |look| look.high)?;
        let (mut tones, mut power, mut worst_purity) = (0.0, 0.0, 1.0_f32);
        for look in looks(trace, inner) {
            tones += look.low.power() / low.response + look.high.power() / high.response;
            power += look.power;
            worst_purity = worst_purity.min(look.tone_power() / look.power);
        }
        Some(Self { purity: tones / (2.0 * power), worst_purity, low, high })
    }

    /// The weights are fitted: on the one side keys at the edges of every tolerance, in noise and
    /// through speech codecs, on the other what comes nearest to keys in hours of speech and music.
    fn is_within(&self, max_flaws: f32) -> bool {
        let detune = self.low.detune.abs().max(self.high.detune.abs());
        let flaws = 2.0 * (1.0 - self.purity).max(0.0)
            + 0.85 * (1.0 - self.worst_purity)
            + 33.0 * detune
            + 0.54 * (self.low.jitter + self.high.jitter)
            + 0.5 * (self.low.ripple + self.high.ripple);
        self.purity >= MIN_PURITY && detune <= MAX_DETUNE && flaws <= max_flaws
    }
}

impl Steadiness {
    /// Compares each look with the one a hop before, which tells the frequency without ambiguity,
    /// and with an earlier one, which tells it sharply.
    fn measure(
        trace: &Trace,
        inner: u32,
        bin: usize,
        tone: impl Fn(&Look) -> Phasor,
    ) -> Option<Self> {
        let lag = if (inner & inner >> 4).count_ones() >= 2 { 4 } else { 2 };
        let (coarse, _) = correlate(trace, inner, bin, 1, &tone)?;
        let (fine, coherence) = correlate(trace, inner, bin, lag, &tone)?;
        let turn = coarse.angle() * lag as f32;
        let rest = fine.against(Phasor { re: turn.cos(), im: turn.sin() }).angle();
        let per_hop = (turn + rest) / lag as f32;
        let hertz = per_hop / TAU * (RATE / HOP) as f32;
        let amplitudes = looks(trace, inner).map(|look| tone(&look).power().sqrt());
        let (count, sum, squares) = amplitudes
            .fold((0.0, 0.0, 0.0), |(n, sum, squares), a| (n + 1.0, sum + a, squares + a * a));
        let mean: f32 = sum / count;
        Some(Self {
            detune: hertz / FREQUENCIES[bin] as f32,
            jitter: (2.0 * (1.0 - coherence).max(0.0)).sqrt(),
            ripple: (squares / count - mean * mean).max(0.0).sqrt() / mean,
            response: response(per_hop),
        })
    }
}

/// Power that the window of a look leaves of a tone that turns by `per_hop` radians a hop against
/// the nearest bin.
fn response(per_hop: f32) -> f32 {
    let array = (1.0 + 1.6 * per_hop.cos()) / 2.6;
    let half_turn = per_hop * ATOM as f32 / (2 * HOP) as f32;
    let x = half_turn / PI;
    let atom = if x.abs() < 1e-3 { 1.0 } else { half_turn.sin() / (half_turn * (1.0 - x * x)) };
    (array * atom).powi(2).max(0.25)
}

/// The sum of each look's tone against the one `lag` hops older, as a nominal tone would have it
/// turn, and how well these agree: 1 for a perfect sine.
fn correlate(
    trace: &Trace,
    inner: u32,
    bin: usize,
    lag: usize,
    tone: &impl Fn(&Look) -> Phasor,
) -> Option<(Phasor, f32)> {
    let mut sum = Phasor::ZERO;
    let mut weight = 0.0;
    for age in ages(inner & inner >> lag) {
        let (newer, older) = (tone(&trace.look(age)), tone(&trace.look(age + lag)));
        let product = newer.against(older).unturned(bin, lag);
        sum = Phasor { re: sum.re + product.re, im: sum.im + product.im };
        weight += (newer.power() * older.power()).sqrt();
    }
    (weight > 0.0).then(|| (sum, sum.power().sqrt() / weight))
}

/// The newest `count` looks of a mask.
fn newest(mask: u32, count: u32) -> u32 {
    let mut rest = mask;
    for _ in 0..count {
        rest &= rest.wrapping_sub(1);
    }
    mask & !rest
}

fn looks(trace: &Trace, mask: u32) -> impl Iterator<Item = Look> {
    ages(mask).map(|age| trace.look(age))
}

fn ages(mask: u32) -> impl Iterator<Item = usize> {
    (0..LOOKS).filter(move |age| mask >> age & 1 == 1)
}
