//! `ToneEar`: the strongest pair of DTMF frequencies in each 12.5 ms of audio, every 2.5 ms.

use fearless_simd::{f32x8, i16x16, i32x8, mask32x8, prelude::*, u32x8};
use zeroize::Zeroize;

use crate::goertzel::{AMPLITUDE, Atoms, BINS, GROUP, atoms, turn};
use crate::hop_rows::{EARLIER, HALVED, HOP, HOP_PAIRS, HopRows, LANES, Place};
use crate::tone_judge::are_tonal;

/// Atoms in a full window: 100 samples, enough to part two keys of one group.
const WINDOW: usize = 3;
/// Hops in a window.
const WINDOW_HOPS: usize = EARLIER + WINDOW;
/// Samples from the middle of the window of a look to the end of its last hop.
pub(crate) const LOOK_DELAY: usize = WINDOW_HOPS * HOP / 2;

/// Hops after a loss that make an atom.
const HOPS_OF_ATOM: f32 = (EARLIER + 1) as f32;
/// Hops after a loss that make two, the fewest that still part the two groups.
const HOPS_OF_LOOK: f32 = HOPS_OF_ATOM + 1.0;
/// Hops after a loss that make a full window.
const HOPS_OF_WINDOW: f32 = WINDOW_HOPS as f32;

/// Mean square below which a hop is taken for silence: a pair of tones at -52 dBm0 is above it.
const SILENCE: f32 = 2000.0;

/// Weight of an atom on either side, that of the middle one being 1; together they make a second
/// Hann-like taper.
///
/// The window as a whole lets through less than -35 dB from 229 Hz on, the least distance between
/// tones of different groups that are 1.8 % off.
const SIDE: f64 = 0.8;
/// What makes a window's sum an amplitude.
const GAIN: f32 = (AMPLITUDE / (1.0 + 2.0 * SIDE)) as f32;
/// The same without the oldest atom.
const GAIN_OF_TWO: f32 = (AMPLITUDE / (1.0 + SIDE)) as f32;

/// What the side atoms are multiplied by to be in phase with the one in the middle: the cosine and
/// the sine of a hop, weighed.
static SIDE_TURNS: [(f32, f32); BINS] = {
    let mut table = [(0.0, 0.0); BINS];
    let mut bin = 0;
    while bin < BINS {
        let (cosine, sine) = turn(bin, 1);
        table[bin] = ((SIDE * cosine) as f32, (SIDE * sine) as f32);
        bin += 1;
    }
    table
};

/// Audio, and what of it the next looks are made from.
pub(crate) struct ToneEar {
    rows: HopRows,
    /// The samples of a hop that isn't whole yet.
    pending: [i16; HOP],
    filled: usize,
    atoms: [Bin; BINS],
    means: Past,
    mean_squares: Past,
    /// Hops in a row that were received, at most those of a window.
    heard: f32,
}

/// The last atoms at one frequency.
struct Bin {
    re: Past,
    im: Past,
}

impl Bin {
    const ZERO: Self = Self { re: Past::ZERO, im: Past::ZERO };
}

/// A figure of each of the last eight hops, the newest last.
#[derive(Clone, Copy)]
struct Past([f32; LANES]);

/// What the windows of several hops showed.
pub(crate) struct Looks<S: Simd> {
    pub(crate) low: Tones<S>,
    pub(crate) high: Tones<S>,
    /// Mean square of a window's audio without its direct current.
    pub(crate) power: f32x8<S>,
    /// Whether enough of the window was received to say anything.
    pub(crate) known: mask32x8<S>,
    /// Whether it might belong to a key: loosely, the limits of [`crate::tone_judge`].
    pub(crate) tonal: mask32x8<S>,
}

impl<S: Simd> Looks<S> {
    /// Row and column in one number: [`crate::tone_trace::Pair`]s.
    #[inline(always)]
    pub(crate) fn pair_numbers(&self) -> u32x8<S> {
        self.low.number << 2 | self.high.number
    }
}

/// The strongest tone of one group in each of several windows.
#[derive(Clone, Copy)]
pub(crate) struct Tones<S: Simd> {
    /// Which of the group.
    pub(crate) number: u32x8<S>,
    pub(crate) re: f32x8<S>,
    pub(crate) im: f32x8<S>,
    pub(crate) power: f32x8<S>,
}

impl ToneEar {
    /// An ear that has heard silence.
    pub(crate) const fn new() -> Self {
        Self {
            rows: HopRows::new(),
            pending: [0; HOP],
            filled: 0,
            atoms: [const { Bin::ZERO }; BINS],
            means: Past::ZERO,
            mean_squares: Past::ZERO,
            heard: HOPS_OF_WINDOW,
        }
    }

    /// Takes in samples until there are hops enough for one turn, and gives back the rest.
    #[inline(always)]
    pub(crate) fn take<'a, S: Simd>(&mut self, simd: S, pcm: &'a [i16]) -> &'a [i16] {
        self.rows.begin();
        match pcm.split_first_chunk() {
            Some((hops, rest)) if self.filled == 0 => {
                self.rows.fill(simd, hops);
                rest
            }
            Some(_) | None => self.take_some(pcm),
        }
    }

    /// The same for what isn't a packet's worth, or doesn't begin with a hop.
    #[inline(never)]
    fn take_some<'a>(&mut self, pcm: &'a [i16]) -> &'a [i16] {
        let mut rest = pcm;
        if self.filled > 0 {
            let (head, tail) = pcm.split_at(pcm.len().min(HOP - self.filled));
            self.keep(head);
            rest = tail;
            if self.filled == HOP {
                self.filled = 0;
                self.rows.push(&self.pending);
            }
        }
        while self.rows.hops() < LANES {
            let Some((hop, tail)) = rest.split_first_chunk::<HOP>() else {
                self.keep(rest);
                return &[];
            };
            self.rows.push(hop);
            rest = tail;
        }
        rest
    }

    fn keep(&mut self, samples: &[i16]) {
        self.pending[self.filled..self.filled + samples.len()].copy_from_slice(samples);
        self.filled += samples.len();
    }

    /// Hops taken in for this turn.
    pub(crate) fn hops(&self) -> usize {
        self.rows.hops()
    }

    /// Samples that do not make a whole hop yet.
    pub(crate) fn pending(&self) -> usize {
        self.filled
    }

    /// Mean square of the hop looked at `age` hops ago, below [`LANES`].
    pub(crate) fn hop_power(&self, age: usize) -> f32 {
        self.mean_squares.0[LANES - 1 - age]
    }

    /// Forgets the audio before a loss.
    pub(crate) fn erase(&mut self) {
        self.filled = 0;
        self.forget_atoms();
        self.heard = 0.0;
    }

    /// Not inlined, as [`crate::tone_trace::Trace::begin`] isn't.
    #[inline(never)]
    fn forget_atoms(&mut self) {
        self.atoms = [const { Bin::ZERO }; BINS];
    }

    /// Looks at the hops taken in; what it shows beyond them means nothing.
    #[inline(always)]
    pub(crate) fn look<S: Simd>(&mut self, simd: S) -> Looks<S> {
        match self.hops() {
            // Nearly always so, and known when compiling.
            LANES => self.look_at(simd, LANES),
            hops => self.look_at(simd, hops),
        }
    }

    #[inline(always)]
    fn look_at<S: Simd>(&mut self, simd: S, hops: usize) -> Looks<S> {
        let (power, is_quiet) = self.measure_levels(simd, hops);
        let heard = f32x8::load_array(simd, HOP_NUMBERS) + self.heard;
        self.heard = (self.heard + hops as f32).min(HOPS_OF_WINDOW);
        let known = heard.simd_ge(HOPS_OF_LOOK);
        if hops == LANES && is_quiet.all_true() {
            self.forget_atoms();
            let none = Tones::none(simd);
            return Looks { low: none, high: none, power, known, tonal: !is_quiet };
        }
        let atoms = atoms(simd, &self.rows);
        let has_atom = !is_quiet & heard.simd_ge(HOPS_OF_ATOM);
        let (gain, gain_of_two) = (f32x8::splat(simd, GAIN), f32x8::splat(simd, GAIN_OF_TWO));
        let gain = heard.simd_ge(HOPS_OF_WINDOW).select(gain, gain_of_two);
        let is_audible = !is_quiet & known;
        let low = self.strongest(simd, hops, &atoms, 0, has_atom).scaled(is_audible, gain);
        let high = self.strongest(simd, hops, &atoms, GROUP, has_atom).scaled(is_audible, gain);
        let tonal = is_audible & are_tonal(low.power, high.power, power);
        Looks { low, high, power, known, tonal }
    }

    /// The power of the windows that end in each of the hops, and which of these are silent.
    #[inline(always)]
    fn measure_levels<S: Simd>(&mut self, simd: S, hops: usize) -> (f32x8<S>, mask32x8<S>) {
        const MEAN: f32 = (HALVED / HOP as f64) as f32;
        const MEAN_SQUARE: f32 = (HALVED * HALVED / HOP as f64) as f32;
        let ones = i16x16::splat(simd, 1);
        let mut sums = i32x8::splat(simd, 0);
        let mut squares = f32x8::splat(simd, 0.0);
        for nth in EARLIER * HOP_PAIRS..(EARLIER + 1) * HOP_PAIRS {
            let pairs = self.rows.pair(simd, Place::of(nth));
            sums += pairs.pairwise_dot_product(ones);
            // As whole numbers they would leave 32 bits.
            let square: f32x8<S> = pairs.pairwise_dot_product(pairs).to_float();
            squares += square;
        }
        let sums: f32x8<S> = sums.to_float();
        let means = self.means.then(simd, sums * MEAN, hops);
        let squares = self.mean_squares.then(simd, squares * MEAN_SQUARE, hops);
        let loudest = squares.now.max(squares.ago1).max(squares.ago2.max(squares.ago3));
        let (mean, square) = (means.shaped(), squares.shaped());
        (square - mean * mean, loudest.simd_lt(SILENCE))
    }

    /// The strongest tone, window by window, of the group from `first` on.
    #[inline(always)]
    fn strongest<S: Simd>(
        &mut self,
        simd: S,
        hops: usize,
        atoms: &[Atoms<S>; BINS],
        first: usize,
        has_atom: mask32x8<S>,
    ) -> Tones<S> {
        let zero = f32x8::splat(simd, 0.0);
        let mut best = Candidate { re: zero, im: zero, numbered_power: zero - 1.0 };
        for (number, atoms) in atoms[first..first + GROUP].iter().enumerate() {
            let bin = &mut self.atoms[first + number];
            let re = bin.re.then(simd, has_atom.select(atoms.re.to_float(), zero), hops);
            let im = bin.im.then(simd, has_atom.select(atoms.im.to_float(), zero), hops);
            let (cosine, sine) = SIDE_TURNS[first + number];
            // The newest is turned back and the oldest forward, by the same angle.
            best = best.or_stronger(Candidate::new(
                simd,
                number as u32,
                re.ago1 + (re.now + re.ago2) * cosine + (im.now - im.ago2) * sine,
                im.ago1 + (im.now + im.ago2) * cosine + (re.ago2 - re.now) * sine,
            ));
        }
        best.tones(simd)
    }
}

/// One tone of a group in each of several windows.
#[derive(Clone, Copy)]
struct Candidate<S: Simd> {
    re: f32x8<S>,
    im: f32x8<S>,
    /// Its power, in the two least bits of which, where they change nothing, its number stands: so
    /// no two are equal, and the strongest is found without a branch, which on speech would be
    /// guessed wrong every other time.
    numbered_power: f32x8<S>,
}

/// The bits of a power that tell which of the group it is.
const NUMBER: u32 = GROUP as u32 - 1;

impl<S: Simd> Candidate<S> {
    #[inline(always)]
    fn new(simd: S, number: u32, re: f32x8<S>, im: f32x8<S>) -> Self {
        let bits: u32x8<S> = (re * re + im * im).bitcast();
        let numbered = bits & u32x8::splat(simd, !NUMBER) | u32x8::splat(simd, number);
        Self { re, im, numbered_power: numbered.bitcast() }
    }

    #[inline(always)]
    fn or_stronger(self, other: Self) -> Self {
        let is_stronger = other.numbered_power.simd_gt(self.numbered_power);
        Self {
            re: is_stronger.select(other.re, self.re),
            im: is_stronger.select(other.im, self.im),
            numbered_power: self.numbered_power.max(other.numbered_power),
        }
    }

    #[inline(always)]
    fn tones(self, simd: S) -> Tones<S> {
        let Self { re, im, numbered_power: power } = self;
        let number = power.bitcast::<u32x8<S>>() & u32x8::splat(simd, NUMBER);
        Tones { number, re, im, power }
    }
}

/// The hops of one turn, counted from one.
const HOP_NUMBERS: [f32; LANES] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0];

impl<S: Simd> Tones<S> {
    /// What there is in silence.
    #[inline(always)]
    fn none(simd: S) -> Self {
        let zero = f32x8::splat(simd, 0.0);
        Self { number: u32x8::splat(simd, 0), re: zero, im: zero, power: zero }
    }

    /// The amplitudes times `gain`, and nothing where it isn't audible.
    #[inline(always)]
    fn scaled(self, is_audible: mask32x8<S>, gain: f32x8<S>) -> Self {
        let simd = gain.token();
        let gain = is_audible.select(gain, f32x8::splat(simd, 0.0));
        Self {
            number: is_audible.select(self.number, u32x8::splat(simd, 0)),
            re: self.re * gain,
            im: self.im * gain,
            power: self.power * gain * gain,
        }
    }
}

/// A figure of each hop of a turn, and of those one, two and three before it.
struct Recent<S: Simd> {
    now: f32x8<S>,
    ago1: f32x8<S>,
    ago2: f32x8<S>,
    ago3: f32x8<S>,
}

impl<S: Simd> Recent<S> {
    /// The mean over the second, third and fourth hop of a window, weighed by the square of its
    /// shape; the outermost two weigh next to nothing.
    #[inline(always)]
    fn shaped(&self) -> f32x8<S> {
        self.ago1 * 0.27 + self.ago2 * 0.46 + self.ago3 * 0.27
    }
}

impl Past {
    const ZERO: Self = Self([0.0; LANES]);

    /// Takes in the figures of `hops` more hops, the first of `now`.
    #[inline(always)]
    fn then<S: Simd>(&mut self, simd: S, now: f32x8<S>, hops: usize) -> Recent<S> {
        let past = f32x8::load_array(simd, self.0);
        if hops == LANES {
            self.0 = now.to_array();
        } else {
            self.append(&now.to_array()[..hops]);
        }
        Recent {
            now,
            ago1: past.slide::<{ LANES - 1 }>(now),
            ago2: past.slide::<{ LANES - 2 }>(now),
            ago3: past.slide::<{ LANES - 3 }>(now),
        }
    }

    /// The same for fewer hops than there are lanes.
    #[inline(never)]
    fn append(&mut self, newest: &[f32]) {
        self.0.copy_within(newest.len().., 0);
        self.0[LANES - newest.len()..].copy_from_slice(newest);
    }
}

impl Zeroize for Past {
    fn zeroize(&mut self) {
        self.0.zeroize();
    }
}

impl Zeroize for Bin {
    fn zeroize(&mut self) {
        self.re.zeroize();
        self.im.zeroize();
    }
}

impl Zeroize for ToneEar {
    fn zeroize(&mut self) {
        self.rows.zeroize();
        self.pending.zeroize();
        self.atoms.zeroize();
        self.means.zeroize();
        self.mean_squares.zeroize();
        self.erase();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fearless_simd::{Level, dispatch};

    #[test]
    fn wiping_leaves_nothing() {
        let mut ear = ToneEar::new();
        let audio: [i16; 250] = std::array::from_fn(|n| (n as i16).wrapping_mul(997) / 4);
        let mut rest = &audio[..];
        while !rest.is_empty() {
            dispatch!(Level::new(), simd => {
                rest = ear.take(simd, rest);
                ear.look(simd);
            });
        }
        assert_eq!(blanks(&ear), [false; 4], "there was something to wipe");
        ear.zeroize();
        assert_eq!(blanks(&ear), [true; 4]);
    }

    fn blanks(ear: &ToneEar) -> [bool; 4] {
        let is_blank = |past: &Past| past.0 == [0.0; LANES];
        [
            ear.pending == [0; HOP] && ear.filled == 0,
            ear.atoms.iter().all(|bin| is_blank(&bin.re) && is_blank(&bin.im)),
            is_blank(&ear.means),
            is_blank(&ear.mean_squares),
        ]
    }
}
