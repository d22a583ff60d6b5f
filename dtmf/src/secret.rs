//! `SecretDigits`: what was keyed into one field.

use zeroize::Zeroize;

use crate::Digit;

/// How many digits one field can hold. The longest card number has 19 (ISO/IEC 7812-1); a field
/// may ask for 31 at most, so that an entry which is one too long is seen to be.
pub const MAX_DIGITS: usize = 32;

/// The digits keyed into one field, in an array of fixed size, zeroed when cleared or dropped.
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
    count: usize,
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
        *self.ascii.get_mut(self.count).ok_or(Full)? = digit.to_ascii();
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
        look(&self.ascii[..self.count])
    }

    pub(crate) fn len(&self) -> usize {
        self.count
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
    fn cleared_digits_are_overwritten() {
        let mut digits = SecretDigits::new();
        digits.push(Digit::Nine).unwrap();
        assert!(digits.ascii.contains(&b'9'), "the control");
        digits.clear();
        assert!(digits.is_empty());
        assert_eq!(digits.ascii, [0; MAX_DIGITS]);
    }
}
