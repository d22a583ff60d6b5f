//! `Digit`: one of the sixteen keys of a telephone keypad.

/// One of the sixteen keys: `0`-`9`, `*`, `#` and `A`-`D`.
///
/// A digit has no printable form on purpose: what was keyed may be a card number, so neither
/// `Debug` nor `Display` exists and a log line holding a digit does not compile.
/// [`Digit::to_ascii`] is the one way out.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Digit {
    /// `0`
    Zero,
    /// `1`
    One,
    /// `2`
    Two,
    /// `3`
    Three,
    /// `4`
    Four,
    /// `5`
    Five,
    /// `6`
    Six,
    /// `7`
    Seven,
    /// `8`
    Eight,
    /// `9`
    Nine,
    /// `*`
    Star,
    /// `#`
    Pound,
    /// `A`
    A,
    /// `B`
    B,
    /// `C`
    C,
    /// `D`
    D,
}

impl Digit {
    /// Every key, in the order of its event code.
    pub const ALL: [Self; 16] = [
        Self::Zero,
        Self::One,
        Self::Two,
        Self::Three,
        Self::Four,
        Self::Five,
        Self::Six,
        Self::Seven,
        Self::Eight,
        Self::Nine,
        Self::Star,
        Self::Pound,
        Self::A,
        Self::B,
        Self::C,
        Self::D,
    ];

    /// The key of a telephone-event code, codes 0 to 15 (RFC 4733 section 3.2).
    ///
    /// Code 16 was "flash" in RFC 2833 and is still sent; it is no key.
    #[must_use]
    pub fn from_event_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    /// The telephone-event code of this key, 0 to 15 (RFC 4733 section 3.2).
    #[must_use]
    pub const fn event_code(self) -> u8 {
        self as u8
    }

    /// The key written as an ASCII character; letters in either case.
    #[must_use]
    pub fn from_ascii(character: u8) -> Option<Self> {
        let upper = character.to_ascii_uppercase();
        Self::ALL.into_iter().find(|digit| digit.to_ascii() == upper)
    }

    /// The ASCII character on the key.
    #[must_use]
    pub const fn to_ascii(self) -> u8 {
        b"0123456789*#ABCD"[self as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::Digit;

    #[test]
    fn event_codes_are_those_of_the_standard() {
        for (code, character) in (0..).zip(*b"0123456789*#ABCD") {
            let digit = Digit::from_event_code(code).unwrap();
            assert_eq!(digit.event_code(), code);
            assert_eq!(digit.to_ascii(), character);
            assert!(Digit::from_ascii(character) == Some(digit));
            assert!(Digit::from_ascii(character.to_ascii_lowercase()) == Some(digit));
        }
    }

    #[test]
    fn what_is_no_key_is_none() {
        assert!((16..=255).all(|code| Digit::from_event_code(code).is_none()));
        let keys = (0..=255).filter(|&character| Digit::from_ascii(character).is_some()).count();
        assert_eq!(keys, 16 + 4, "sixteen keys, four of them letters in two cases");
    }
}
