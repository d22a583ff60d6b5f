//! `Trace`: the strongest pair of DTMF frequencies over the last 80 ms, one look every 2.5 ms.

use zeroize::Zeroize;

use crate::goertzel::{GROUP, turned};
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
    pub(crate) const UNKNOWN: Self = Self {
        pair: Pair::FIRST,
        low: Phasor::ZERO,
        high: Phasor::ZERO,
        power: 0.0,
        known: false,
        tonal: false,
    };

    pub(crate) const SILENT: Self = Self { known: true, ..Self::UNKNOWN };

    pub(crate) fn level(&self) -> Level {
        Level { low: self.low.power(), high: self.high.power() }
    }

    /// Power of the two tones, as a mean square.
    pub(crate) fn tone_power(&self) -> f32 {
        (self.low.power() + self.high.power()) / 2.0
    }
}

/// The looks, newest first by [`Trace::look`].
pub(crate) struct Trace {
    looks: [Look; LOOKS],
    newest: usize,
    /// Looks in a row whose newest hop was received, at most [`LOOKS`].
    heard: usize,
}

impl Trace {
    /// A trace of silence, as before the first sample.
    pub(crate) const fn new() -> Self {
        Self { looks: [Look::SILENT; LOOKS], newest: 0, heard: LOOKS }
    }

    /// The look taken `age` hops ago, 0 being the newest.
    pub(crate) fn look(&self, age: usize) -> &Look {
        &self.looks[(self.newest + age) % LOOKS]
    }

    /// Whether any of the looks is without audio.
    pub(crate) fn is_lossy(&self) -> bool {
        self.heard < LOOKS
    }

    /// Takes in the look at one hop of audio.
    #[inline(always)]
    pub(crate) fn take(&mut self, look: Look) {
        self.heard = (self.heard + 1).min(LOOKS);
        self.push(look);
    }

    /// Lets `hops` hops pass of which nothing is known.
    pub(crate) fn erase(&mut self, hops: usize) {
        self.heard = 0;
        for _ in 0..hops.min(LOOKS) {
            self.push(Look::UNKNOWN);
        }
    }

    #[inline(always)]
    fn push(&mut self, look: Look) {
        self.newest = (self.newest + LOOKS - 1) % LOOKS;
        self.looks[self.newest] = look;
    }
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
        let tone = Phasor { re: 1.0, im: 2.0 };
        let pair = Pair { low: 1, high: 2 };
        let mut trace = Trace::new();
        for _ in 0..LOOKS {
            trace.take(Look { pair, low: tone, high: tone, power: 9.0, known: true, tonal: true });
        }
        assert!(trace.looks.iter().all(|look| !is_blank(look)), "there was something to wipe");
        trace.zeroize();
        assert!(trace.looks.iter().all(is_blank));
    }

    fn is_blank(look: &Look) -> bool {
        let phasor = |tone: Phasor| tone.re == 0.0 && tone.im == 0.0;
        phasor(look.low)
            && phasor(look.high)
            && look.pair == Pair::FIRST
            && look.power == 0.0
            && !look.known
            && !look.tonal
    }
}
