//! `Keys`: what the star and the pound key do.

use crate::Digit;

/// What the keys that are no numerals do. `A` to `D` do nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    /// What `#` does.
    pub pound: PoundKey,
    /// What `*` does.
    pub star: StarKey,
}

/// What `#` does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PoundKey {
    /// It finishes the entry; with nothing keyed it does nothing, since callers press it out of
    /// habit after an entry that has already been taken.
    #[default]
    Submit,
    /// Nothing.
    Ignore,
}

/// What `*` does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StarKey {
    /// One clears the entry; a second, with no other key between, cancels the session.
    #[default]
    ClearThenCancel,
    /// It clears the entry.
    Clear,
    /// It cancels the session, as in Twilio's `<Pay>`.
    Cancel,
    /// It is the decimal point of an amount; no other field can have it.
    DecimalPoint,
    /// Nothing.
    Ignore,
}

/// What one key means where it was pressed.
#[derive(Clone, Copy)]
pub(crate) enum Role {
    /// Part of the entry.
    Numeral,
    Submit,
    Clear,
    Cancel,
    Ignored,
}

impl Keys {
    /// The role of a key; `after_star` says that the key before it was a star that cleared.
    pub(crate) const fn role(self, digit: Digit, after_star: bool) -> Role {
        match digit {
            Digit::Zero
            | Digit::One
            | Digit::Two
            | Digit::Three
            | Digit::Four
            | Digit::Five
            | Digit::Six
            | Digit::Seven
            | Digit::Eight
            | Digit::Nine => Role::Numeral,
            Digit::Pound => match self.pound {
                PoundKey::Submit => Role::Submit,
                PoundKey::Ignore => Role::Ignored,
            },
            Digit::Star => match self.star {
                StarKey::ClearThenCancel if after_star => Role::Cancel,
                StarKey::ClearThenCancel | StarKey::Clear => Role::Clear,
                StarKey::Cancel => Role::Cancel,
                StarKey::DecimalPoint => Role::Numeral,
                StarKey::Ignore => Role::Ignored,
            },
            Digit::A | Digit::B | Digit::C | Digit::D => Role::Ignored,
        }
    }
}
