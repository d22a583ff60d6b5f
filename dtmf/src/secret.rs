//! `SecretDigits`: what was keyed into one field.

use std::hint::black_box;

use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use crate::Digit;

/// How many digits one field can hold. The longest card number has 19 (ISO/IEC 7812-1); a field
/// may ask for 32 at most, so that an entry which is one too long is seen to be.
pub const MAX_DIGITS: usize = 33;

/// The digits keyed into one field, in an array of fixed size, zeroed when cleared or dropped.
///
/// While an amount is keyed they may hold a star, its decimal point; an accepted entry is of
/// numerals alone.
///
/// There is no `Debug`, `Display`, `Clone`, `PartialEq` or `Serialize`, and the count is not
/// public either: [`SecretDigits::reveal`] is the one door.
///
/// ```compile_fail
/// println!("{:?}", dtmf::secret::SecretDigits::new());
/// ```
/// ```compile_fail
/// let digits = dtmf::secret::SecretDigits::new();
/// let copy = digits.clone();
/// ```
pub struct SecretDigits {
    /// The keys in ASCII; zero beyond `count`.
    ascii: [u8; MAX_DIGITS],
    count: u8,
}

/// There is no room for another digit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no room for another digit")]
pub struct Full;

impl SecretDigits {
    /// No digits yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { ascii: [0; MAX_DIGITS], count: 0 }
    }

    /// Appends one key.
    ///
    /// # Errors
    /// [`Full`] after [`MAX_DIGITS`] keys; the digits held stay as they are.
    pub fn push(&mut self, digit: Digit) -> Result<(), Full> {
        *self.ascii.get_mut(usize::from(self.count)).ok_or(Full)? = digit.to_ascii();
        self.count += 1;
        Ok(())
    }

    /// Forgets all digits, overwriting them with zeros.
    pub fn clear(&mut self) {
        self.ascii.zeroize();
        self.count.zeroize();
    }

    /// Shows the digits, in ASCII, to one function: the judge of a field or the sink that seals
    /// them. They can't outlive the call; what the function copies is its own responsibility.
    pub fn reveal<R>(&self, look: impl FnOnce(&[u8]) -> R) -> R {
        look(&self.ascii[..self.len()])
    }

    /// Moves the digits of another field here, which is empty, and wipes them there.
    ///
    /// One at a time: a copy of them all would go through a wide register and could stay in it.
    pub(crate) fn take_from(&mut self, source: &mut Self) {
        debug_assert!(self.is_empty(), "digits are not overwritten by others");
        for (to, from) in self.ascii.iter_mut().zip(&mut source.ascii) {
            *to = black_box(*from);
            from.zeroize();
        }
        self.count = source.count;
        source.count.zeroize();
        debug_assert!(source.is_empty(), "digits are in one place");
    }

    /// Whether both fields hold the same, in a time that does not tell where they differ.
    pub(crate) fn matches(&self, other: &Self) -> bool {
        (self.ascii.ct_eq(&other.ascii) & self.count.ct_eq(&other.count)).into()
    }

    /// Rewrites the digits in place: `rewrite` gets the whole array, zero beyond the first count,
    /// and that count, and returns the new count.
    pub(crate) fn rewrite(&mut self, rewrite: impl FnOnce(&mut [u8; MAX_DIGITS], usize) -> usize) {
        let before = self.len();
        let count = rewrite(&mut self.ascii, before);
        self.ascii[count..].zeroize();
        self.count = u8::try_from(count).unwrap_or_default();
    }

    /// The last four digits, if there are as many.
    pub(crate) fn last_four(&self) -> Option<[Digit; 4]> {
        let [.., a, b, c, d] = self.ascii[..self.len()] else { return None };
        let digit = Digit::from_ascii;
        Some([digit(a)?, digit(b)?, digit(c)?, digit(d)?])
    }

    pub(crate) fn len(&self) -> usize {
        usize::from(self.count)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl Drop for SecretDigits {
    fn drop(&mut self) {
        self.clear();
    }
}

impl Default for SecretDigits {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::{Full, MAX_DIGITS, SecretDigits};
    use crate::Digit;

    #[test]
    fn digits_come_out_as_they_went_in() {
        let mut digits = SecretDigits::new();
        for digit in [Digit::Four, Digit::Two, Digit::Star] {
            digits.push(digit).unwrap();
        }
        assert!(digits.reveal(|ascii| ascii == b"42*"));
    }

    #[test]
    fn a_full_field_takes_no_more_and_keeps_what_it_has() {
        let mut digits = SecretDigits::new();
        for _ in 0..MAX_DIGITS {
            digits.push(Digit::One).unwrap();
        }
        assert_eq!(digits.push(Digit::Two), Err(Full));
        assert!(digits.reveal(|ascii| ascii == [b'1'; MAX_DIGITS]));
    }

    #[test]
    fn digits_move_and_are_gone_where_they_were() {
        let [mut from, mut to] = ["42", ""].map(keyed);
        to.take_from(&mut from);
        assert!(to.reveal(|ascii| ascii == b"42") && from.is_empty());
        assert_eq!(from.ascii, [0; MAX_DIGITS]);
    }

    #[test]
    fn equal_digits_match_and_others_do_not() {
        for (one, other, equal) in
            [("", "", true), ("42", "42", true), ("42", "43", false), ("42", "420", false)]
        {
            assert_eq!(keyed(one).matches(&keyed(other)), equal);
        }
    }

    #[test]
    fn the_last_four_are_of_the_end() {
        assert!(keyed("123").last_four().is_none());
        let last = keyed("4242421357").last_four().unwrap();
        assert_eq!(last.map(Digit::to_ascii), *b"1357");
    }

    fn keyed(keys: &str) -> SecretDigits {
        let mut digits = SecretDigits::new();
        keys.bytes().for_each(|key| digits.push(Digit::from_ascii(key).unwrap()).unwrap());
        digits
    }

    #[test]
    fn cleared_digits_are_overwritten() {
        let mut digits = SecretDigits::new();
        digits.push(Digit::Nine).unwrap();
        assert!(digits.ascii.contains(&b'9'), "the control");
        digits.clear();
        assert!(digits.is_empty());
        assert_eq!(digits.ascii, [0; MAX_DIGITS]);
    }
}
