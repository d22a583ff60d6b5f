//! `ToneEar`: the strongest pair of DTMF frequencies in the newest 12.5 ms of audio, every 2.5 ms.

use fearless_simd::{
    Bytes as _, Simd, SimdBase as _, SimdInt as _, SimdIntWiden as _, f32x4, f32x8, i16x8, i32x4,
    u32x8,
};
use zeroize::Zeroize;

use crate::goertzel::{AMPLITUDE, ATOM, Atom, BINS, HOP, atom, turn};
use crate::tone_judge::{Level, is_tonal};
use crate::tone_trace::{Look, Pair, Phasor};

/// Most samples taken in at once: 20 ms, what a packet holds.
pub(crate) const BLOCK: usize = 160;
/// Samples before a hop that its atom is made of too.
const HISTORY: usize = ATOM - HOP;
/// A block, less than a hop that was left of the one before, and what lies before that.
const ROOM: usize = HISTORY + HOP - 1 + BLOCK;

/// Atoms in a full window: 100 samples, enough to part two keys of one group.
const WINDOW: usize = 3;
/// Hops in an atom.
const ATOM_HOPS: usize = ATOM / HOP;
/// Hops in a window.
const WINDOW_HOPS: usize = ATOM_HOPS + WINDOW - 1;
/// Fewest atoms after a loss that still part the two groups.
const USABLE: usize = 2;

/// Mean square below which a hop is taken for silence: a pair of tones at -52 dBm0 is above it.
const SILENCE: f32 = 2000.0;

/// Samples are kept at half their size, as [`atom`] takes them.
const HALVED: f32 = 2.0;

/// Weight in a window of its middle atom.
const MIDDLE: f32 = 1.0 / 2.6;
/// Weight of the atoms on either side; together they make a second Hann-like taper.
///
/// The window as a whole lets through less than -35 dB from 229 Hz on, the least distance between
/// tones of different groups that are 1.8 % off.
const SIDE: f32 = 0.8 / 2.6;

/// Weight of the second, third and fourth hop of a window in its power: the square of the window's
/// shape. The outermost two weigh next to nothing.
const POWER_SHAPE: [f32; 3] = [0.27, 0.46, 0.27];

/// One complex amplitude for each frequency, in [`AMPLITUDE`]s of halved samples.
#[derive(Clone, Copy)]
struct Bins {
    re: [f32; BINS],
    im: [f32; BINS],
}

impl Bins {
    const ZERO: Self = Self { re: [0.0; BINS], im: [0.0; BINS] };
}

/// What the side atoms are multiplied by to be in phase with the one in the middle: the cosine and
/// the sine of a hop, weighed, and the size of what comes out set right.
static SIDE_TURN: Bins = {
    let mut table = Bins::ZERO;
    let mut bin = 0;
    while bin < BINS {
        let (cosine, sine) = turn(bin, 1);
        table.re[bin] = SIDE * cosine as f32 * SCALE;
        table.im[bin] = SIDE * sine as f32 * SCALE;
        bin += 1;
    }
    table
};
/// The amplitude that 1 in [`Bins`] stands for.
const SCALE: f32 = AMPLITUDE as f32 * HALVED;

/// Samples from the middle of the window of a look to the end of its last hop.
pub(crate) const LOOK_DELAY: usize = WINDOW_HOPS * HOP / 2;

/// Audio, and what of it the next window is made from.
pub(crate) struct ToneEar {
    /// Halved samples: those of the hops to come, and before them the last of those that were.
    audio: [i16; ROOM],
    /// Where the window of the next atom begins in `audio`.
    next: usize,
    /// Where the samples end in `audio`.
    end: usize,
    /// The last two atoms, written over in turn.
    atoms: [Bins; WINDOW - 1],
    /// Which of them is the older.
    older: usize,
    /// Atoms in a row made of received audio, at most [`WINDOW`].
    received: usize,
    /// Levels of the last hops, newest first.
    levels: [HopLevel; POWER_SHAPE.len()],
    /// Hops in a row that were silent.
    silent: usize,
    /// Hops in a row that were received.
    heard: usize,
}

/// Level of one hop.
#[derive(Clone, Copy)]
struct HopLevel {
    mean: f32,
    mean_square: f32,
}

impl ToneEar {
    /// An ear that has heard silence.
    pub(crate) const fn new() -> Self {
        Self {
            audio: [0; ROOM],
            next: 0,
            end: HISTORY,
            atoms: [Bins::ZERO; WINDOW - 1],
            older: 0,
            received: WINDOW,
            levels: [HopLevel { mean: 0.0, mean_square: 0.0 }; POWER_SHAPE.len()],
            silent: WINDOW_HOPS,
            heard: ATOM_HOPS,
        }
    }

    /// Mean square of the newest hop that was looked at.
    pub(crate) fn hop_power(&self) -> f32 {
        self.levels[0].mean_square
    }

    /// Samples that do not make a whole hop yet, once there is no further look.
    pub(crate) fn pending(&self) -> usize {
        self.end - self.next - HISTORY
    }

    /// Takes in up to [`BLOCK`] samples, once there is no further look at those before.
    pub(crate) fn take(&mut self, pcm: &[i16]) {
        self.audio.copy_within(self.next..self.end, 0);
        self.end -= self.next;
        self.next = 0;
        let room = &mut self.audio[self.end..self.end + pcm.len()];
        for (kept, &sample) in room.iter_mut().zip(pcm) {
            *kept = sample >> 1;
        }
        self.end += pcm.len();
    }

    /// Looks at the next hop, if there is a whole one.
    #[inline(always)]
    pub(crate) fn look<S: Simd>(&mut self, simd: S) -> Option<Look> {
        if self.end - self.next < ATOM {
            return None;
        }
        let samples = self.audio[self.next..].first_chunk::<ATOM>()?;
        let level = HopLevel::of(simd, samples.last_chunk::<HOP>()?);
        self.silent = if level.mean_square < SILENCE { self.silent + 1 } else { 0 };
        self.heard += 1;
        let is_quiet = self.silent >= WINDOW_HOPS - 1;
        let newest = if is_quiet { Atoms::zero(simd) } else { Atoms::of(atom(simd, samples)) };
        let is_whole = self.heard >= ATOM_HOPS;
        self.received = (self.received + usize::from(is_whole)).min(WINDOW);
        let look = match (self.received >= USABLE, is_quiet) {
            (false, _) => Look::UNKNOWN,
            (true, true) => Look::SILENT,
            (true, false) => self.window(simd, &newest),
        };
        if is_whole {
            self.atoms[self.older] = newest.bins();
            self.older = 1 - self.older;
        }
        self.next += HOP;
        self.levels = [level, self.levels[0], self.levels[1]];
        Some(look)
    }

    /// Forgets the audio before a loss.
    pub(crate) fn erase(&mut self) {
        self.end = self.next + HISTORY;
        self.atoms = [Bins::ZERO; WINDOW - 1];
        self.received = 0;
        self.heard = 0;
    }

    /// The window that ends in the `newest` atom.
    #[inline(always)]
    fn window<S: Simd>(&self, simd: S, newest: &Atoms<S>) -> Look {
        let [middle, oldest] = [&self.atoms[1 - self.older], &self.atoms[self.older]];
        let mut sum = newest.combine(simd, middle, oldest);
        if self.received < WINDOW {
            let whole = f32x8::splat(simd, 1.0 / (SIDE + MIDDLE));
            (sum.re, sum.im) = (sum.re * whole, sum.im * whole);
        }
        let powers = sum.re * sum.re + sum.im * sum.im;
        let [low, high] = strongest(simd, powers);
        let pair = Pair { low: number(low), high: number(high) };
        let bins = sum.bins();
        let tone = |bin: usize| Phasor { re: bins.re[bin % BINS], im: bins.im[bin % BINS] };
        let power = self.power();
        Look {
            pair,
            low: tone(pair.low_bin()),
            high: tone(pair.high_bin()),
            power,
            known: true,
            tonal: is_tonal(Level { low, high }, power),
        }
    }

    /// Mean square of the audio in the window that the next hop completes, without its direct
    /// current.
    #[inline(always)]
    fn power(&self) -> f32 {
        let (mut mean, mut mean_square) = (0.0, 0.0);
        for (level, share) in self.levels.iter().zip(POWER_SHAPE) {
            mean += share * level.mean;
            mean_square += share * level.mean_square;
        }
        mean_square - mean * mean
    }
}

/// [`Bins`] in registers.
struct Atoms<S: Simd> {
    re: f32x8<S>,
    im: f32x8<S>,
}

impl<S: Simd> Atoms<S> {
    #[inline(always)]
    fn zero(simd: S) -> Self {
        let zero = f32x8::splat(simd, 0.0);
        Self { re: zero, im: zero }
    }

    #[inline(always)]
    fn of(atom: Atom<S>) -> Self {
        Self { re: atom.re.to_float(), im: atom.im.to_float() }
    }

    #[inline(always)]
    fn load(simd: S, bins: &Bins) -> Self {
        Self { re: f32x8::from_slice(simd, &bins.re), im: f32x8::from_slice(simd, &bins.im) }
    }

    #[inline(always)]
    fn bins(&self) -> Bins {
        Bins { re: self.re.to_array(), im: self.im.to_array() }
    }

    /// Adds the two earlier atoms in phase, under the taper; the phase is that of the middle one.
    #[inline(always)]
    fn combine(&self, simd: S, middle: &Bins, oldest: &Bins) -> Self {
        let (middle, oldest) = (Self::load(simd, middle), Self::load(simd, oldest));
        let turn = Self::load(simd, &SIDE_TURN);
        let weight = f32x8::splat(simd, MIDDLE * SCALE);
        // The newest is turned back and the oldest forward, by the same angle.
        Self {
            re: weight * middle.re
                + turn.re * (self.re + oldest.re)
                + turn.im * (self.im - oldest.im),
            im: weight * middle.im
                + turn.re * (self.im + oldest.im)
                + turn.im * (oldest.re - self.re),
        }
    }
}

/// The power of the strongest bin of each group; [`number`] tells which it is.
#[inline(always)]
fn strongest<S: Simd>(simd: S, powers: f32x8<S>) -> [f32; 2] {
    // The answer fits into the two least bits of a power, where it changes nothing: so the maximum
    // takes no branch, which on speech would be guessed wrong every other time.
    let numbers = u32x8::load_array(simd, [0, 1, 2, 3, 0, 1, 2, 3]);
    let bits: u32x8<S> = powers.bitcast();
    let numbered: f32x8<S> = (bits & u32x8::splat(simd, !3) | numbers).bitcast();
    let (low, high) = simd.split_f32x8(numbered);
    let best = low.zip_low(high).max(low.zip_high(high));
    let best = best.max(best.slide::<2>(best)).to_array();
    [best[0], best[1]]
}

/// Which bin of its group a power from [`strongest`] belongs to.
fn number(power: f32) -> u8 {
    (power.to_bits() & 3) as u8
}

impl HopLevel {
    #[inline(always)]
    fn of<S: Simd>(simd: S, samples: &[i16; HOP]) -> Self {
        const SHARE: f32 = 1.0 / HOP as f32;
        let eight = |from: usize| i16x8::from_slice(simd, &samples[from..][..8]);
        let last_four = i16x8::load_array(simd, [0, 0, 0, 0, -1, -1, -1, -1]);
        let parts = [eight(0), eight(8), eight(HOP - 8) & last_four];
        let ones = i16x8::splat(simd, 1);
        let mut sums = i32x4::splat(simd, 0);
        let mut squares = i32x4::splat(simd, 0);
        for part in parts {
            sums += part.pairwise_dot_product(ones);
            squares += part.pairwise_dot_product(part);
        }
        // One sum of squares has 31 bits, all four together have not.
        let squares: f32x4<S> = squares.to_float();
        let [a, b, c, d] = squares.to_array();
        Self {
            mean: simd.reduce_sum_i32x4(sums) as f32 * (SHARE * HALVED),
            mean_square: ((a + b) + (c + d)) * (SHARE * HALVED * HALVED),
        }
    }
}

impl Zeroize for ToneEar {
    fn zeroize(&mut self) {
        self.audio.zeroize();
        for atom in &mut self.atoms {
            atom.re.zeroize();
            atom.im.zeroize();
        }
        for level in &mut self.levels {
            level.mean.zeroize();
            level.mean_square.zeroize();
        }
        self.silent.zeroize();
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
        ear.take(&std::array::from_fn::<i16, BLOCK, _>(|n| (n as i16 * 997) % 8000));
        dispatch!(Level::new(), simd => while ear.look(simd).is_some() {});
        assert!(!is_blank(&ear), "there was something to wipe");
        ear.zeroize();
        assert!(is_blank(&ear));
    }

    fn is_blank(ear: &ToneEar) -> bool {
        ear.audio == [0; ROOM]
            && ear.atoms.iter().all(|atom| atom.re == [0.0; BINS] && atom.im == [0.0; BINS])
            && ear.levels.iter().all(|level| level.mean == 0.0 && level.mean_square == 0.0)
    }
}
