//! `HopRows`: the samples of a packet's hops side by side, as vector registers take them.
//!
//! What takes a [`Simd`] here and in the modules that build on this one is inlined by force: only
//! inside of `dispatch!` is it compiled for the processor that is found when the program runs.

use fearless_simd::{i16x8, i16x16, i32x4, i32x8, prelude::*, u32x8};
use zeroize::Zeroize;

/// Samples of one hop: 2.5 ms, so that a 20 ms packet holds a whole number of hops.
pub(crate) const HOP: usize = 20;

/// Hops taken in at once: the eight of a 20 ms packet.
pub(crate) const LANES: usize = 8;

/// Hops before one that its atom is made of too.
pub(crate) const EARLIER: usize = 2;

/// Pairs of samples in a hop.
pub(crate) const HOP_PAIRS: usize = HOP / 2;

/// By what samples are divided: so the sum and the difference of two still have 16 bits.
pub(crate) const HALVED: f64 = 2.0;

/// One pair of each hop.
const ROW: usize = EARLIER + LANES;

/// Two samples in one number, as a register holds them.
pub(crate) const fn pair(first: i16, second: i16) -> i32 {
    first as u16 as i32 | (second as i32) << 16
}

/// Up to [`LANES`] hops and the two before them: in a row the same two samples of each hop, in a
/// column a hop.
///
/// Samples are kept [`HALVED`].
pub(crate) struct HopRows {
    pairs: [i32; HOP_PAIRS * ROW],
    /// Hops, not counting the earlier ones.
    hops: usize,
}

impl HopRows {
    /// Rows of silence.
    pub(crate) const fn new() -> Self {
        Self { pairs: [0; HOP_PAIRS * ROW], hops: 0 }
    }

    /// Begins anew; the last hops become the earlier ones.
    #[inline(always)]
    pub(crate) fn begin(&mut self) {
        for row in self.pairs.as_chunks_mut::<ROW>().0 {
            row.copy_within(self.hops..self.hops + EARLIER, 0);
        }
        self.hops = 0;
    }

    /// Takes in the next hop, of which there are at most [`LANES`] after each beginning.
    pub(crate) fn push(&mut self, hop: &[i16; HOP]) {
        let column = EARLIER + self.hops;
        self.hops += 1;
        let rows = self.pairs.as_chunks_mut::<ROW>().0;
        for (row, &[first, second]) in rows.iter_mut().zip(hop.as_chunks::<2>().0) {
            row[column] = pair(first >> 1, second >> 1);
        }
    }

    /// Takes in a whole packet's hops after a beginning.
    #[inline(always)]
    pub(crate) fn fill<S: Simd>(&mut self, simd: S, hops: &[i16; LANES * HOP]) {
        self.hops = LANES;
        let (first, last) = hops.split_at(FOUR * HOP);
        // The last four overlap with those before.
        for from in [0, FOUR, HOP_PAIRS - FOUR] {
            let (first, last) = (transposed(simd, first, from), transposed(simd, last, from));
            for row in 0..FOUR {
                let lanes = simd.combine_i32x4(first[row], last[row]);
                let place = (from + row) * ROW + EARLIER;
                lanes.store_slice(&mut self.pairs[place..place + LANES]);
            }
        }
    }

    /// Hops since the beginning.
    pub(crate) fn hops(&self) -> usize {
        self.hops
    }

    /// The pair at one place of each hop's atom.
    #[inline(always)]
    pub(crate) fn pair<S: Simd>(&self, simd: S, place: Place) -> i16x16<S> {
        i32x8::from_slice(simd, &self.pairs[place.0..place.0 + LANES]).bitcast()
    }

    /// The same with the two samples of each pair in reverse order.
    #[inline(always)]
    pub(crate) fn reversed<S: Simd>(&self, simd: S, place: Place) -> i16x16<S> {
        let pair: u32x8<S> = self.pair(simd, place).bitcast();
        (pair << 16 | pair >> 16).bitcast()
    }
}

/// Where a pair of each hop's atom is found.
#[derive(Clone, Copy)]
pub(crate) struct Place(usize);

impl Place {
    /// The place of the `nth` pair of an atom, from the first of its earlier hops on.
    #[inline(always)]
    pub(crate) const fn of(nth: usize) -> Self {
        assert!(nth < (EARLIER + 1) * HOP_PAIRS, "an atom has no more pairs");
        Self(nth % HOP_PAIRS * ROW + nth / HOP_PAIRS)
    }
}

/// Pairs in a small register.
const FOUR: usize = 4;

/// Rows of four hops, halved: their pairs from the place `from` on.
#[inline(always)]
fn transposed<S: Simd>(simd: S, hops: &[i16], from: usize) -> [i32x4<S>; FOUR] {
    let column = |hop: usize| -> i32x4<S> {
        let samples = &hops[hop * HOP + 2 * from..][..2 * FOUR];
        (i16x8::from_slice(simd, samples) >> 1).bitcast()
    };
    let (a, b, c, d) = (column(0), column(1), column(2), column(3));
    let (even_low, odd_low) = (a.zip_low(c), b.zip_low(d));
    let (even_high, odd_high) = (a.zip_high(c), b.zip_high(d));
    [
        even_low.zip_low(odd_low),
        even_low.zip_high(odd_low),
        even_high.zip_low(odd_high),
        even_high.zip_high(odd_high),
    ]
}

impl Zeroize for HopRows {
    fn zeroize(&mut self) {
        self.pairs.zeroize();
        self.hops.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fearless_simd::{Level, dispatch};

    #[test]
    fn a_packet_is_laid_out_as_its_hops_are_one_by_one() {
        let packet: [i16; LANES * HOP] = std::array::from_fn(|n| (n as i16).wrapping_mul(997));
        let (mut whole, mut single) = (HopRows::new(), HopRows::new());
        for _ in 0..2 {
            whole.begin();
            dispatch!(Level::new(), simd => whole.fill(simd, &packet));
            single.begin();
            packet.as_chunks::<HOP>().0.iter().for_each(|hop| single.push(hop));
            assert!(whole.hops() == LANES && single.hops() == LANES);
            assert!(whole.pairs == single.pairs && whole.pairs != [0; HOP_PAIRS * ROW]);
        }
    }

    #[test]
    fn a_place_finds_the_pair_of_each_hop() {
        let mut rows = HopRows::new();
        let hop = |nth: usize| std::array::from_fn(|n| (nth * HOP + n) as i16 * 2);
        (0..LANES).for_each(|nth| rows.push(&hop(nth)));
        for nth in 0..(EARLIER + 1) * HOP_PAIRS {
            let pairs = dispatch!(Level::new(), simd => rows.pair(simd, Place::of(nth)).to_array());
            let swapped =
                dispatch!(Level::new(), simd => rows.reversed(simd, Place::of(nth)).to_array());
            for lane in 0..LANES {
                // The hops before the first are silent.
                let first = (lane * HOP + 2 * nth).checked_sub(EARLIER * HOP).map(|n| n as i16);
                let expected = first.map_or([0, 0], |n| [n, n + 1]);
                assert_eq!(pairs[2 * lane..][..2], expected);
                assert_eq!(swapped[2 * lane..][..2], [expected[1], expected[0]]);
            }
        }
    }

    #[test]
    fn wiping_leaves_nothing() {
        let mut rows = HopRows::new();
        rows.push(&[9; HOP]);
        assert!(rows.pairs != [0; HOP_PAIRS * ROW], "there was something to wipe");
        rows.zeroize();
        assert!(rows.pairs == [0; HOP_PAIRS * ROW] && rows.hops == 0);
    }
}
