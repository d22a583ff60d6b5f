//! `Trace`: the strongest pair of DTMF frequencies over the last 80 ms, one look every 2.5 ms.

use crate::goertzel::{BINS, Bins, HOP, TURNS, atom};
use crate::tone_judge::tonal;

/// Looks remembered: 80 ms, two lost packets and a tone on either side of them.
pub(crate) const LOOKS: usize = 32;

/// Atoms in a full window: 100 samples, enough to part 941 Hz from 1209 Hz.
const WINDOW: usize = 4;

/// Weight of each atom in a window, newest first; they make a second Hann-like taper.
const TAPER: [f32; WINDOW] = [0.5 / 3.0, 1.0 / 3.0, 1.0 / 3.0, 0.5 / 3.0];

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
const USABLE: usize = 3;

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

/// A pair of frequencies, by bin: `low` in 0..4, `high` in 4..8.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) low: u8,
    pub(crate) high: u8,
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
        pair: Pair { low: 0, high: 4 },
        low: Phasor::ZERO,
        high: Phasor::ZERO,
        power: 0.0,
        known: false,
        tonal: false,
    };

    const SILENT: Self = Self { known: true, ..Self::UNKNOWN };

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
    /// Levels of the last hops, newest first.
    hops: [HopLevel; WINDOW],
    /// The newest hop and the one before, taking turns.
    halves: [[f32; HOP]; 2],
    newer_half: usize,
    /// Whether the newest hop was received.
    joined: bool,
}

/// Level of one hop.
#[derive(Clone, Copy)]
struct HopLevel {
    mean: f32,
    mean_square: f32,
}

impl Trace {
    pub(crate) const fn new() -> Self {
        Self {
            looks: [Look::UNKNOWN; LOOKS],
            newest: 0,
            atoms: [Bins::ZERO; WINDOW],
            newest_atom: 0,
            received: 0,
            hops: [HopLevel { mean: 0.0, mean_square: 0.0 }; WINDOW],
            halves: [[0.0; HOP]; 2],
            newer_half: 0,
            joined: false,
        }
    }

    /// The look taken `age` hops ago, 0 being the newest.
    pub(crate) fn look(&self, age: usize) -> &Look {
        &self.looks[(self.newest + age) % LOOKS]
    }

    /// Mean square of the newest hop.
    pub(crate) fn hop_power(&self) -> f32 {
        self.hops[0].mean_square
    }

    /// Takes in one hop of audio.
    pub(crate) fn hear(&mut self, pcm: &[i16; HOP]) {
        self.newer_half ^= 1;
        let newer = &mut self.halves[self.newer_half];
        widen(pcm, newer);
        let level = HopLevel::of(newer);
        self.hops = [level, self.hops[0], self.hops[1], self.hops[2]];
        if self.joined {
            self.newest_atom = (self.newest_atom + WINDOW - 1) % WINDOW;
            let loudest = level.mean_square.max(self.hops[1].mean_square);
            self.atoms[self.newest_atom] = if loudest < SILENCE {
                Bins::ZERO
            } else {
                atom(&self.halves[self.newer_half ^ 1], &self.halves[self.newer_half])
            };
            self.received = (self.received + 1).min(WINDOW);
        }
        self.joined = true;
        let quiet = self.hops.iter().all(|hop| hop.mean_square < SILENCE);
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
        self.joined = false;
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
        let low = strongest(&powers, 0);
        let high = strongest(&powers, BINS / 2);
        let [_, a, b, c] = self.hops;
        // The square of the window's shape, hop by hop; its outermost hops weigh next to nothing.
        let mean = 0.28 * a.mean + 0.44 * b.mean + 0.28 * c.mean;
        let square = 0.28 * a.mean_square + 0.44 * b.mean_square + 0.28 * c.mean_square;
        let power = square - mean * mean;
        Look {
            pair: Pair { low: low as u8, high: high as u8 },
            low: Phasor { re: bins.re[low], im: bins.im[low] },
            high: Phasor { re: bins.re[high], im: bins.im[high] },
            power,
            known: true,
            tonal: tonal(powers[low], powers[high], power),
        }
    }
}

impl HopLevel {
    fn of(samples: &[f32; HOP]) -> Self {
        const SHARE: f32 = 1.0 / HOP as f32;
        let squares = samples.map(|sample| sample * sample);
        Self { mean: sum(samples) * SHARE, mean_square: sum(&squares) * SHARE }
    }
}

/// Kept out of line: mixed with what surrounds it, the compiler shuffles it to twice the time.
#[inline(never)]
fn sum(samples: &[f32; HOP]) -> f32 {
    let mut lanes = [0.0_f32; 4];
    for four in samples.as_chunks::<4>().0 {
        for lane in 0..4 {
            lanes[lane] += four[lane];
        }
    }
    lanes[0] + lanes[1] + lanes[2] + lanes[3]
}

fn widen(pcm: &[i16; HOP], samples: &mut [f32; HOP]) {
    for (sample, &value) in samples.iter_mut().zip(pcm) {
        *sample = f32::from(value);
    }
}

/// Adds the atoms in phase, under the taper.
fn combine(atoms: &[Bins; WINDOW], newest: usize) -> Bins {
    let mut bins = Bins::ZERO;
    for (age, turn) in TURNED_TAPER.iter().enumerate() {
        bins.add_product(&atoms[(newest + age) % WINDOW], turn);
    }
    bins
}

/// The bin with the most power among the four from `first` on.
fn strongest(powers: &[f32; BINS], first: usize) -> usize {
    // The bits of positive floats sort as they do, and the bin fits into the least of them: so the
    // maximum takes no branch, which on speech would be guessed wrong every other time.
    let key = |bin: usize| powers[first + bin].to_bits() & !3 | bin as u32;
    first + (key(0).max(key(1)).max(key(2).max(key(3))) & 3) as usize
}
