//! `Evidence`: what the last 80 ms say for one pair of frequencies, against the limits of a key.

use std::f32::consts::{PI, TAU};

use crate::goertzel::{FREQUENCIES, HOP, RATE};
use crate::tone_trace::{LOOKS, Look, Pair, Phasor, Trace};

/// Frequency tolerance: 1.8 % must be accepted (NTT), 3.0 % (NTT) and 3.5 % (AT&T) refused.
const MAX_DETUNE: f32 = 0.0215;

/// Weakest tone, -42 dBm0 each, as the square of its amplitude (full scale is +3.14 dBm0).
const FLOOR: f32 = 181.0 * 181.0;

/// Low group over high group: +10 dB must pass (Brazil, Australia), with room for noise.
const MAX_TWIST: f32 = 15.85;
/// High group over low group: 6 dB must pass, with room for noise.
const MAX_REVERSE_TWIST: f32 = 6.31;

/// A key in hops: 28 ms, between the 24 ms that must and the 40 ms that must not be refused (Q.24).
const MIN_TONE: f32 = 11.2;

/// Longest hole inside one tone in looks, 20 ms (ETSI ES 201 235-3).
const MAX_HOLE: u32 = 8;

/// Fewest looks that stand for a key of which packets were lost.
const MIN_LOOKS_WITH_LOSS: f32 = 4.0;

/// Looks judged for purity and phase: no more, so that a slipped sample is soon forgotten.
const JUDGED: u32 = 10;

/// Share of the audio's power that the two tones must have.
const MIN_PURITY: f32 = 0.7;

/// What is wrong with a pair of tones, added up, must stay below this: a key is allowed any one of
/// the flaws its senders and lines have, while speech that comes near has several of them.
const MAX_FLAWS: f32 = 0.95;
/// The same where part of the tone was lost, so that less of it is known.
const MAX_FLAWS_WITH_LOSS: f32 = 0.8;

/// And for a hint.
const MAX_FLAWS_OF_HINT: f32 = 0.95;

/// A tone pair that passed.
pub(crate) struct Evidence {
    /// Hops since the tone began, counted to the middle of the newest look.
    pub(crate) age: f32,
    /// Squared amplitude of each tone.
    pub(crate) low: f32,
    pub(crate) high: f32,
}

/// Whether a window might belong to a key, by the squared amplitudes of its strongest tones and its
/// mean square: the cheap test made at every hop.
pub(crate) fn tonal(low: f32, high: f32, power: f32) -> bool {
    const LOOSE: f32 = 0.6;
    low.min(high) >= FLOOR * LOOSE
        && low + high >= power
        && low * LOOSE <= high * MAX_TWIST
        && high * LOOSE <= low * MAX_REVERSE_TWIST
}

/// Judges whether the newest `limit` looks end in a tone of `pair` long and clean enough for a key.
pub(crate) fn judge(trace: &Trace, pair: Pair, limit: usize) -> Option<Evidence> {
    let (low, high) = plateau(trace, pair, limit)?;
    let stretch = Stretch::find(trace, pair, low, high, limit);
    let lossy = stretch.long_enough()?;
    let inner = newest(stretch.inner(), JUDGED);
    let quality = Quality::measure(trace, pair, inner)?;
    let flaws = if lossy { MAX_FLAWS_WITH_LOSS } else { MAX_FLAWS };
    let good = low.min(high) >= FLOOR
        && low <= high * MAX_TWIST
        && high <= low * MAX_REVERSE_TWIST
        && quality.acceptable(flaws);
    good.then_some(Evidence { age: stretch.age, low, high })
}

/// Whether the newest looks, a run of them that show `pair`, are as clean as a key's.
pub(crate) fn promising(trace: &Trace, pair: Pair) -> bool {
    const NEWEST: u32 = 0b1111;
    Quality::measure(trace, pair, NEWEST).is_some_and(|quality| quality.acceptable(MAX_FLAWS_OF_HINT))
}

/// Whether a look shows `pair` at no less than a quarter of the given powers.
pub(crate) fn strong(look: &Look, pair: Pair, low: f32, high: f32) -> bool {
    look.known
        && look.pair == pair
        && look.low.power() >= low * 0.25
        && look.high.power() >= high * 0.25
        && look.tone_power() >= 0.4 * look.power
}

fn plateau(trace: &Trace, pair: Pair, limit: usize) -> Option<(f32, f32)> {
    const NEWEST: usize = 8;
    let mut count = 0.0;
    let mut sum = (0.0, 0.0);
    for age in 0..limit.min(LOOKS) {
        let look = trace.look(age);
        if look.pair == pair && look.tonal {
            sum = (sum.0 + look.low.power(), sum.1 + look.high.power());
            count += 1.0;
            if count >= NEWEST as f32 {
                break;
            }
        }
    }
    (count > 0.0).then(|| (sum.0 / count, sum.1 / count))
}

/// The looks that belong to the newest tone; bit 0 is the newest look.
struct Stretch {
    present: u32,
    unknown: u32,
    /// Hops since the onset.
    age: f32,
    /// Hops of tone that were heard.
    evidence: f32,
    /// Hops the tone may have lasted, lost ones counted in.
    span: f32,
}

impl Stretch {
    fn find(trace: &Trace, pair: Pair, low: f32, high: f32, limit: usize) -> Self {
        let (mut present, mut unknown, mut hole, mut oldest) = (0_u32, 0_u32, 0, 0);
        let limit = limit.min(LOOKS);
        for age in 0..limit {
            let look = trace.look(age);
            if !look.known {
                unknown |= 1 << age;
            } else if strong(look, pair, low, high) {
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
        let older = (oldest + 1 < limit).then(|| trace.look(oldest + 1));
        let before = older.map_or(1.0, |look| crossing(trace.look(oldest), look, pair, low, high));
        let age = oldest as f32 + before;
        // Losses on either edge may have been tone.
        let leading = (unknown >> (oldest as u32 + 1).min(31)).trailing_ones() as f32;
        let evidence = present.count_ones() as f32 - 1.0 + before;
        let trailing = unknown.trailing_ones() as f32;
        let holes = !(present | unknown) & ((2_u32 << oldest) - 1) & !((1 << first(present)) - 1);
        let _ = holes;
        Self { present, unknown, age, evidence, span: age + leading - 0.0 * trailing }
    }

    /// Whether the tone lasted long enough, and if so whether only with losses counted in.
    fn long_enough(&self) -> Option<bool> {
        if self.evidence >= MIN_TONE {
            return Some(false);
        }
        let lossy = self.unknown != 0 && self.evidence >= MIN_LOOKS_WITH_LOSS;
        (lossy && self.span >= MIN_TONE).then_some(true)
    }

    /// The looks whose window lies wholly in the tone.
    fn inner(&self) -> u32 {
        let ok = self.present | self.unknown;
        self.present & (ok << 1 | 1) & (ok << 2 | 3) & (ok >> 1) & (ok >> 2)
    }
}

/// The newest `count` looks of a mask.
fn newest(mask: u32, count: u32) -> u32 {
    let mut rest = mask;
    for _ in 0..count {
        rest &= rest.wrapping_sub(1);
    }
    mask & !rest
}

fn first(mask: u32) -> u32 {
    mask.trailing_zeros().min(31)
}

/// How far towards the `older` look the tones rose through half their amplitude, 0 to 1.
fn crossing(newer: &Look, older: &Look, pair: Pair, low: f32, high: f32) -> f32 {
    if !older.known {
        return 1.0;
    }
    if older.pair != pair {
        return 0.5;
    }
    let relative = |look: &Look| (look.low.power() / low).min(look.high.power() / high).sqrt();
    let (a, b) = (relative(newer), relative(older));
    if a <= b { 0.5 } else { ((a - 0.5) / (a - b)).clamp(0.0, 1.0) }
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
        let low = Steadiness::measure(trace, inner, usize::from(pair.low), |look| look.low)?;
        let high = Steadiness::measure(trace, inner, usize::from(pair.high), |look| look.high)?;
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
    fn acceptable(&self, max_flaws: f32) -> bool {
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
        let amplitudes = looks(trace, inner).map(|look| tone(look).power().sqrt());
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
    let array = ((per_hop / 2.0).cos() + 0.5 * (per_hop * 1.5).cos()) / 1.5;
    let x = per_hop / PI;
    let atom = if x.abs() < 1e-3 { 1.0 } else { per_hop.sin() / (per_hop * (1.0 - x * x)) };
    (array * atom).powi(2).max(0.25)
}

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
        let (newer, older) = (tone(trace.look(age)), tone(trace.look(age + lag)));
        let product = newer.against(older).unturned(bin, lag);
        sum = Phasor { re: sum.re + product.re, im: sum.im + product.im };
        weight += (newer.power() * older.power()).sqrt();
    }
    (weight > 0.0).then(|| (sum, sum.power().sqrt() / weight))
}

fn looks(trace: &Trace, mask: u32) -> impl Iterator<Item = &Look> {
    ages(mask).map(|age| trace.look(age))
}

fn ages(mask: u32) -> impl Iterator<Item = usize> {
    (0..LOOKS).filter(move |age| mask >> age & 1 == 1)
}
