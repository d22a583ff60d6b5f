//! `Trace`: the strongest pair of DTMF frequencies over the last 80 ms, one look every 2.5 ms.

use fearless_simd::prelude::*;
use zeroize::Zeroize;

use crate::goertzel::{GROUP, turned};
use crate::hop_rows::LANES;
use crate::tone_ear::{Looks, Tones};
use crate::tone_judge::Level;

/// Looks remembered: 80 ms, two lost packets and a tone on either side of them.
pub(crate) const LOOKS: usize = 32;

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
        let (re, im) = turned(bin, hops);
        self.against(Self { re, im })
    }
}

/// A frequency of each group, counted from 0 within it: in the two lowest bits the column of a key,
/// in the two above the row.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pair(u8);

impl Pair {
    pub(crate) const FIRST: Self = Self(0);

    pub(crate) const fn row(self) -> usize {
        self.0 as usize / GROUP
    }

    pub(crate) const fn column(self) -> usize {
        self.0 as usize % GROUP
    }

    pub(crate) const fn low_bin(self) -> usize {
        self.row()
    }

    pub(crate) const fn high_bin(self) -> usize {
        GROUP + self.column()
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
    pub(crate) fn level(&self) -> Level {
        Level { low: self.low.power(), high: self.high.power() }
    }

    /// Power of the two tones, as a mean square.
    pub(crate) fn tone_power(&self) -> f32 {
        (self.low.power() + self.high.power()) / 2.0
    }
}

/// Places in a trace: the looks that may be asked for, and those that follow.
const PLACES: usize = LOOKS + LANES;

/// The looks, newest first by [`Trace::look`], in order: each figure of theirs by itself, as vector
/// registers hold them.
pub(crate) struct Trace {
    /// The [`Pair`]s.
    pairs: [u32; PLACES],
    low: Tone,
    high: Tone,
    power: [f32; PLACES],
    /// Bit by bit, the lowest the first.
    known: u64,
    tonal: u64,
    /// Looks from the end of the last turn on.
    fresh: usize,
    /// Of these, how many have been advanced to.
    reached: usize,
    /// Looks in a row whose newest hop was received, at most [`LOOKS`].
    heard: usize,
}

/// The strongest tone of one group in each look.
struct Tone {
    re: [f32; PLACES],
    im: [f32; PLACES],
}

impl Trace {
    /// A trace of silence, as before the first sample.
    pub(crate) const fn new() -> Self {
        Self {
            pairs: [0; PLACES],
            low: Tone::NONE,
            high: Tone::NONE,
            power: [0.0; PLACES],
            known: u64::MAX,
            tonal: 0,
            fresh: 0,
            reached: 0,
            heard: LOOKS,
        }
    }

    /// The look taken `age` hops ago, below [`LOOKS`], 0 being the newest.
    #[inline(always)]
    pub(crate) fn look(&self, age: usize) -> Look {
        let place = self.place(age);
        Look {
            pair: Pair(self.pairs[place] as u8),
            low: self.low.phasor(place),
            high: self.high.phasor(place),
            power: self.power[place],
            known: self.known >> place & 1 == 1,
            tonal: self.tonal >> place & 1 == 1,
        }
    }

    fn place(&self, age: usize) -> usize {
        (LOOKS - 1 + self.reached).saturating_sub(age)
    }

    /// Whether any of the looks is without audio.
    pub(crate) fn is_lossy(&self) -> bool {
        self.heard < LOOKS
    }

    /// Takes in the looks at the hops that there was made [room](Self::begin) for, to be
    /// [advanced](Self::advance) to.
    #[inline(always)]
    pub(crate) fn take<S: Simd>(&mut self, looks: &Looks<S>) {
        self.pairs[LOOKS..].copy_from_slice(&looks.pair_numbers().to_array());
        self.low.take(&looks.low);
        self.high.take(&looks.high);
        self.power[LOOKS..].copy_from_slice(&looks.power.to_array());
        self.known |= looks.known.to_bitmask() << LOOKS;
        self.tonal |= looks.tonal.to_bitmask() << LOOKS;
    }

    /// Whether any of the looks taken in last is tonal.
    pub(crate) fn has_fresh_tone(&self) -> bool {
        self.tonal >> LOOKS & ((1 << self.fresh) - 1) != 0
    }

    /// Goes on to the next look.
    pub(crate) fn advance(&mut self) {
        self.skip(1);
    }

    /// Goes on by `hops` looks.
    pub(crate) fn skip(&mut self, hops: usize) {
        self.reached += hops;
        self.heard = (self.heard + hops).min(LOOKS);
    }

    /// Lets `hops` hops pass of which nothing is known.
    pub(crate) fn erase(&mut self, hops: usize) {
        let mut rest = hops.min(LOOKS);
        while rest > 0 {
            let now = rest.min(LANES);
            self.begin(now);
            self.reached = now;
            rest -= now;
        }
        self.heard = 0;
    }

    /// Makes room for `hops` looks of which nothing is known.
    ///
    /// Not inlined: where there are registers of 512 bits it would be compiled to use them, and a
    /// processor that does so can do less beside it.
    #[inline(never)]
    pub(crate) fn begin(&mut self, hops: usize) {
        let old = self.fresh;
        for tone in [&mut self.low, &mut self.high] {
            shift(&mut tone.re, old);
            shift(&mut tone.im, old);
        }
        shift(&mut self.pairs, old);
        shift(&mut self.power, old);
        self.known = self.known >> old & ((1 << LOOKS) - 1);
        self.tonal = self.tonal >> old & ((1 << LOOKS) - 1);
        self.fresh = hops;
        self.reached = 0;
    }
}

impl Tone {
    const NONE: Self = Self { re: [0.0; PLACES], im: [0.0; PLACES] };

    fn phasor(&self, place: usize) -> Phasor {
        Phasor { re: self.re[place], im: self.im[place] }
    }

    #[inline(always)]
    fn take<S: Simd>(&mut self, tones: &Tones<S>) {
        self.re[LOOKS..].copy_from_slice(&tones.re.to_array());
        self.im[LOOKS..].copy_from_slice(&tones.im.to_array());
    }
}

/// Moves what follows the first `by` places to the front.
#[inline(always)]
fn shift<T: Copy>(places: &mut [T; PLACES], by: usize) {
    if by == LANES {
        // By far the most frequent, and known when compiling.
        places.copy_within(LANES.., 0);
    } else {
        places.copy_within(by..by + LOOKS, 0);
    }
}

impl Zeroize for Tone {
    fn zeroize(&mut self) {
        self.re.zeroize();
        self.im.zeroize();
    }
}

impl Zeroize for Trace {
    fn zeroize(&mut self) {
        self.pairs.zeroize();
        self.low.zeroize();
        self.high.zeroize();
        self.power.zeroize();
        self.known.zeroize();
        self.tonal.zeroize();
        self.fresh.zeroize();
        self.reached.zeroize();
        self.heard.zeroize();
    }
}

impl Zeroize for Pair {
    fn zeroize(&mut self) {
        self.0.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wiping_leaves_nothing() {
        let mut trace = Trace::new();
        trace.pairs.fill(7);
        trace.power.fill(9.0);
        for tone in [&mut trace.low, &mut trace.high] {
            tone.re.fill(1.0);
            tone.im.fill(2.0);
        }
        trace.tonal = u64::MAX;
        assert!((0..LOOKS).all(|age| !is_blank(&trace.look(age))), "there was something to wipe");
        trace.zeroize();
        assert!((0..LOOKS).all(|age| is_blank(&trace.look(age))));
        assert!(trace.pairs == [0; PLACES] && trace.power == [0.0; PLACES]);
    }

    fn is_blank(look: &Look) -> bool {
        look.level().low + look.level().high == 0.0
            && look.pair == Pair::FIRST
            && look.power == 0.0
            && !look.known
            && !look.tonal
    }
}
