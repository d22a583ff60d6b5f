//! `Lengths`: the numbers of digits a field can have.

use crate::secret::MAX_DIGITS;

/// A set of lengths, each from 1 to 32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lengths(u64);

/// A length is a bit, and a longer entry than any allowed one must still fit into a field.
const LONGEST: u8 = 32;
const _: () = assert!((LONGEST as usize) < MAX_DIGITS && (LONGEST as u32) < u64::BITS);

impl Lengths {
    pub(crate) const NONE: Self = Self(0);

    pub(crate) const fn of(lengths: &[u8]) -> Self {
        let mut bits = 0_u64;
        let mut rest = lengths;
        while let [length, others @ ..] = rest {
            assert!(*length >= 1 && *length <= LONGEST);
            bits |= 1 << *length;
            rest = others;
        }
        Self(bits)
    }

    /// Every length from `shortest` to `longest`.
    pub(crate) const fn between(shortest: u8, longest: u8) -> Self {
        assert!(shortest >= 1 && shortest <= longest && longest <= LONGEST);
        Self((u64::MAX >> (63 - longest)) & (u64::MAX << shortest))
    }

    pub(crate) const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) fn contains(self, length: usize) -> bool {
        length <= usize::from(LONGEST) && self.0 & (1 << length) != 0
    }

    /// Whether an entry of this length has reached the shortest one.
    pub(crate) fn reached_by(self, length: usize) -> bool {
        self.0 != 0 && length >= self.0.trailing_zeros() as usize
    }

    /// Whether this is the one length there is.
    pub(crate) fn is_only(self, length: usize) -> bool {
        self.0.is_power_of_two() && self.contains(length)
    }
}

#[cfg(test)]
mod tests {
    use super::Lengths;

    #[test]
    fn a_set_knows_its_members() {
        let visa = Lengths::of(&[13, 16, 18, 19]);
        let members = (0..40).filter(|&length| visa.contains(length)).collect::<Vec<_>>();
        assert_eq!(members, [13, 16, 18, 19]);
        assert!(!visa.reached_by(12) && visa.reached_by(13) && visa.reached_by(40));
        assert!(!visa.is_only(13) && Lengths::of(&[4]).is_only(4) && !Lengths::of(&[4]).is_only(5));
        assert!(!Lengths::NONE.reached_by(40) && !Lengths::NONE.is_only(0));
    }

    #[test]
    fn a_span_has_every_length_between() {
        let span = Lengths::between(12, 19);
        assert!((0..40).all(|length| span.contains(length) == (12..=19).contains(&length)));
        assert_eq!(Lengths::between(1, 32).or(Lengths::NONE), Lengths((1 << 33) - 2));
    }
}
