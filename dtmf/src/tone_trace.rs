//! `Trace`: the strongest pair of DTMF frequencies over the last 80 ms, one look every 2.5 ms.

use zeroize::Zeroize;

use crate::goertzel::{ATOM, BINS, Bins, GROUP, HOP, TURNS, atom};
use crate::tone_judge::{Level, is_tonal};

/// Looks remembered: 80 ms, two lost packets and a tone on either side of them.
pub(crate) const LOOKS: usize = 32;

/// Atoms in a full window: 100 samples, enough to part two keys of one group.
const WINDOW: usize = 3;

/// Hops in an atom.
const ATOM_HOPS: usize = ATOM / HOP;

/// Weight of each atom in a window, newest first; they make a second Hann-like taper.
///
/// The window as a whole lets through less than -35 dB from 229 Hz on, the least distance between
/// tones of different groups that are 1.8 % off.
const TAPER: [f32; WINDOW] = [0.8 / 2.6, 1.0 / 2.6, 0.8 / 2.6];

/// The same with each atom turned to the phase of the newest.
static TURNED_TAPER: [Bins; WINDOW] = {
    let mut table = [Bins::ZERO; WINDOW];
    let mut age = 0;
    while age < WINDOW {
        table[age] = TURNS[age].scaled(TAPER[age]);
        age += 1;
    }
    table
};

/// Fewest atoms after a loss that still part the two groups.
const USABLE: usize = 2;

/// Mean square below which a hop is taken for silence: a pair of tones at -52 dBm0 is above it.
const SILENCE: f32 = 2000.0;

/// Samples from the middle of the window of a look to the end of its last hop.
pub(crate) const LOOK_DELAY: usize = 50;

/// A complex amplitude.
#[derive(Clone, Copy)]
pub(crate) struct Phasor {
    pub(crate) re: f32,
    pub(crate) im: f32,
}

impl Phasor {
    pub(crate) const ZERO: Self = Self { re: 0.0, im: 0.0 };

    pub(crate) fn power(self) -> f32 {
        self.re * self.re + self.im * self.im
    }

    /// `self` times the conjugate of `other`.
    pub(crate) fn against(self, other: Self) -> Self {
        Self {
            re: self.re * other.re + self.im * other.im,
            im: self.im * other.re - self.re * other.im,
        }
    }

    pub(crate) fn angle(self) -> f32 {
        self.im.atan2(self.re)
    }

    /// Turned back by what `bin` turns in `hops` hops.
    pub(crate) fn unturned(self, bin: usize, hops: usize) -> Self {
        let turn = Self { re: TURNS[hops].re[bin], im: TURNS[hops].im[bin] };
        self.against(turn)
    }
}

/// A frequency of each group, counted from 0 within it: the row and the column of a key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) low: u8,
    pub(crate) high: u8,
}

impl Pair {
    pub(crate) const FIRST: Self = Self { low: 0, high: 0 };

    pub(crate) fn low_bin(self) -> usize {
        usize::from(self.low)
    }

    pub(crate) fn high_bin(self) -> usize {
        GROUP + usize::from(self.high)
    }
}

/// What one window showed.
#[derive(Clone, Copy)]
pub(crate) struct Look {
    pub(crate) pair: Pair,
    pub(crate) low: Phasor,
    pub(crate) high: Phasor,
    /// Mean square of the window's audio without its direct current.
    pub(crate) power: f32,
    /// Whether enough of the window was received to say anything.
    pub(crate) known: bool,
    /// Whether it might belong to a key: loosely, the limits of [`crate::tone_judge`].
    pub(crate) tonal: bool,
}

impl Look {
    const UNKNOWN: Self = Self {
        pair: Pair::FIRST,
        low: Phasor::ZERO,
        high: Phasor::ZERO,
        power: 0.0,
        known: false,
        tonal: false,
    };

    const SILENT: Self = Self { known: true, ..Self::UNKNOWN };

    pub(crate) fn level(&self) -> Level {
        Level { low: self.low.power(), high: self.high.power() }
    }

    /// Power of the two tones, as a mean square.
    pub(crate) fn tone_power(&self) -> f32 {
        (self.low.power() + self.high.power()) / 2.0
    }
}

/// The looks, newest first by [`Trace::look`], and the audio the next one is made from.
pub(crate) struct Trace {
    looks: [Look; LOOKS],
    newest: usize,
    /// The last atoms, written over in turn.
    atoms: [Bins; WINDOW],
    newest_atom: usize,
    /// Atoms in a row made of received audio, at most [`WINDOW`].
    received: usize,
    /// Levels of the hops of a window but the oldest, newest first.
    levels: [HopLevel; WINDOW + 1],
    /// The newest samples, in order.
    recent: [f32; ATOM],
    /// Hops in a row that were received, at most [`LOOKS`].
    heard: usize,
}

/// Level of one hop.
#[derive(Clone, Copy)]
struct HopLevel {
    mean: f32,
    mean_square: f32,
}

impl Trace {
    /// A trace of silence, as before the first sample.
    pub(crate) const fn new() -> Self {
        Self {
            looks: [Look::SILENT; LOOKS],
            newest: 0,
            atoms: [Bins::ZERO; WINDOW],
            newest_atom: 0,
            received: WINDOW,
            levels: [HopLevel { mean: 0.0, mean_square: 0.0 }; WINDOW + 1],
            recent: [0.0; ATOM],
            heard: LOOKS,
        }
    }

    /// The look taken `age` hops ago, 0 being the newest.
    pub(crate) fn look(&self, age: usize) -> &Look {
        &self.looks[(self.newest + age) % LOOKS]
    }

    /// Mean square of the newest hop.
    pub(crate) fn hop_power(&self) -> f32 {
        self.levels[0].mean_square
    }

    /// Whether any of the looks is without audio.
    pub(crate) fn is_lossy(&self) -> bool {
        self.heard < LOOKS
    }

    /// Takes in one hop of audio.
    pub(crate) fn hear(&mut self, pcm: &[i16; HOP]) {
        self.recent.copy_within(HOP.., 0);
        let newest = &mut self.recent[ATOM - HOP..];
        for (sample, &value) in newest.iter_mut().zip(pcm) {
            *sample = f32::from(value);
        }
        let level = HopLevel::of(newest);
        self.levels = [level, self.levels[0], self.levels[1], self.levels[2]];
        let quiet = self.levels.iter().all(|level| level.mean_square < SILENCE);
        self.heard = (self.heard + 1).min(LOOKS);
        if self.heard >= ATOM_HOPS {
            self.newest_atom = (self.newest_atom + WINDOW - 1) % WINDOW;
            self.atoms[self.newest_atom] = if quiet { Bins::ZERO } else { atom(&self.recent) };
            self.received = (self.received + 1).min(WINDOW);
        }
        let look = match (self.received >= USABLE, quiet) {
            (false, _) => Look::UNKNOWN,
            (true, true) => Look::SILENT,
            (true, false) => self.window(),
        };
        self.push(look);
    }

    /// Lets `hops` hops pass of which nothing is known.
    pub(crate) fn erase(&mut self, hops: usize) {
        self.atoms = [Bins::ZERO; WINDOW];
        self.received = 0;
        self.heard = 0;
        for _ in 0..hops.min(LOOKS) {
            self.push(Look::UNKNOWN);
        }
    }

    fn push(&mut self, look: Look) {
        self.newest = (self.newest + LOOKS - 1) % LOOKS;
        self.looks[self.newest] = look;
    }

    fn window(&self) -> Look {
        let mut bins = combine(&self.atoms, self.newest_atom);
        if self.received < WINDOW {
            bins = bins.scaled(1.0 / TAPER[..self.received].iter().sum::<f32>());
        }
        let powers = bins.powers();
        let pair = Pair { low: strongest(&powers, 0), high: strongest(&powers, GROUP) };
        let (low, high) = (pair.low_bin(), pair.high_bin());
        let [_, a, b, c] = self.levels;
        // The square of the window's shape, hop by hop; its outermost hops weigh next to nothing.
        let mean = 0.27 * a.mean + 0.46 * b.mean + 0.27 * c.mean;
        let square = 0.27 * a.mean_square + 0.46 * b.mean_square + 0.27 * c.mean_square;
        let power = square - mean * mean;
        Look {
            pair,
            low: Phasor { re: bins.re[low], im: bins.im[low] },
            high: Phasor { re: bins.re[high], im: bins.im[high] },
            power,
            known: true,
            tonal: is_tonal(Level { low: powers[low], high: powers[high] }, power),
        }
    }
}

impl HopLevel {
    fn of(samples: &[f32]) -> Self {
        let share = 1.0 / samples.len() as f32;
        Self {
            mean: sum(samples, |sample| sample) * share,
            mean_square: sum(samples, |sample| sample * sample) * share,
        }
    }
}

/// Kept out of line: mixed with what surrounds it, the compiler shuffles it to twice the time.
#[inline(never)]
fn sum(samples: &[f32], of: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0_f32; 4];
    for four in samples.as_chunks::<4>().0 {
        for lane in 0..4 {
            lanes[lane] += of(four[lane]);
        }
    }
    lanes[0] + lanes[1] + lanes[2] + lanes[3]
}

/// Adds the atoms in phase, under the taper.
fn combine(atoms: &[Bins; WINDOW], newest: usize) -> Bins {
    let mut bins = Bins::ZERO;
    for (age, turn) in TURNED_TAPER.iter().enumerate() {
        bins.add_product(&atoms[(newest + age) % WINDOW], turn);
    }
    bins
}

/// Which of the four bins from `first` on has the most power.
fn strongest(powers: &[f32; BINS], first: usize) -> u8 {
    // The bits of positive floats sort as they do, and the answer fits into the least of them: so
    // the maximum takes no branch, which on speech would be guessed wrong every other time.
    let key = |nth: usize| powers[first + nth].to_bits() & !3 | nth as u32;
    (key(0).max(key(1)).max(key(2).max(key(3))) & 3) as u8
}

impl Zeroize for Trace {
    fn zeroize(&mut self) {
        for look in &mut self.looks {
            for tone in [&mut look.low, &mut look.high] {
                tone.re.zeroize();
                tone.im.zeroize();
            }
            look.pair.zeroize();
            look.power.zeroize();
            look.known.zeroize();
            look.tonal.zeroize();
        }
        for atom in &mut self.atoms {
            atom.re.zeroize();
            atom.im.zeroize();
        }
        for level in &mut self.levels {
            level.mean.zeroize();
            level.mean_square.zeroize();
        }
        self.recent.zeroize();
        self.erase(0);
    }
}

impl Zeroize for Pair {
    fn zeroize(&mut self) {
        self.low.zeroize();
        self.high.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wiping_leaves_nothing() {
        let mut trace = Trace::new();
        for hop in 0..40_i16 {
            trace.hear(&std::array::from_fn(|n| (n as i16 * 997 + hop * 41) % 8000));
        }
        assert!(!is_blank(&trace), "there was something to wipe");
        trace.zeroize();
        assert!(is_blank(&trace));
    }

    fn is_blank(trace: &Trace) -> bool {
        let phasor = |tone: Phasor| tone.re == 0.0 && tone.im == 0.0;
        trace.recent == [0.0; ATOM]
            && trace.atoms.iter().all(|atom| atom.re == [0.0; BINS] && atom.im == [0.0; BINS])
            && trace.levels.iter().all(|level| level.mean == 0.0 && level.mean_square == 0.0)
            && trace.looks.iter().all(|look| {
                phasor(look.low)
                    && phasor(look.high)
                    && look.pair == Pair::FIRST
                    && look.power == 0.0
                    && !look.known
                    && !look.tonal
            })
    }
}
