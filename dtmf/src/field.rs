//! `Field`: one datum to be keyed, and its rule.
//!
//! [`FieldKind`] is the one place where a kind of datum is added: each of its methods is a total
//! match.

use std::time::Duration;

use crate::brand::{Brand, BrandSet};
use crate::expiry::Date;
use crate::lengths::Lengths;
use crate::{card_number, expiry};

/// The most attempts a caller has at one field.
pub const MAX_ATTEMPTS: u8 = 3;
/// The most digits of a postal code, as in the payment verbs of the large carriers.
pub const MAX_POSTAL_DIGITS: u8 = 10;
/// The fewest digits of a postal code (Iceland, Oman and others have three).
pub const MIN_POSTAL_DIGITS: u8 = 3;

/// One datum to be keyed. A [`SecurePlan`](crate::plan::SecurePlan) checks the ranges given here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// What is asked for.
    pub kind: FieldKind,
    /// How often the caller may try, 1 to [`MAX_ATTEMPTS`].
    pub attempts: u8,
    /// How long the first key may take, from the end of the prompt; 1 to 60 s.
    pub first_key_timeout: Duration,
    /// How long each further key may take; 1 to 60 s. An entry that is long enough by then is
    /// taken as finished.
    pub inter_key_timeout: Duration,
}

impl Field {
    /// A field with three attempts, ten seconds for the first key and five between keys (Twilio's
    /// default).
    #[must_use]
    pub const fn new(kind: FieldKind) -> Self {
        Self {
            kind,
            attempts: MAX_ATTEMPTS,
            first_key_timeout: Duration::from_secs(10),
            inter_key_timeout: Duration::from_secs(5),
        }
    }
}

/// The kinds of datum and what each needs to be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// A payment card's number, of one of these brands.
    CardNumber {
        /// The brands accepted; [`BrandSet::COMMON`] for all that are in common use.
        allowed: BrandSet,
    },
    /// A payment card's expiration date, keyed as month and year, two digits each.
    ExpirationDate,
    /// A payment card's security code, of the length its brand prescribes.
    SecurityCode,
    /// A postal code of digits. Codes with letters can't be keyed.
    PostalCode {
        /// The fewest digits, at least [`MIN_POSTAL_DIGITS`].
        min: u8,
        /// The most digits, at most [`MAX_POSTAL_DIGITS`].
        max: u8,
    },
}

/// What is known besides the entry when it is judged.
#[derive(Clone, Copy)]
pub(crate) struct Known {
    pub(crate) today: Date,
    /// The brand of the card number already accepted, if it is beyond doubt.
    pub(crate) issuer: Option<Brand>,
}

impl FieldKind {
    /// The name of the step that asks for this.
    #[must_use]
    pub const fn step(self) -> Step {
        match self {
            Self::CardNumber { .. } => Step::PaymentCardNumber,
            Self::ExpirationDate => Step::ExpirationDate,
            Self::SecurityCode => Step::SecurityCode,
            Self::PostalCode { .. } => Step::PostalCode,
        }
    }

    /// The lengths the finished entry can have, by what has been keyed of it.
    pub(crate) fn lengths(self, entry: &[u8], known: Known) -> Lengths {
        match self {
            Self::CardNumber { allowed } => card_number::lengths(entry, allowed),
            Self::ExpirationDate => Lengths::of(&[4]),
            Self::SecurityCode => match known.issuer.and_then(Brand::code_length) {
                Some(length) => Lengths::of(&[length]),
                None => Lengths::between(3, 4),
            },
            Self::PostalCode { min, max } => Lengths::between(min, max),
        }
    }

    /// Judges a finished entry (ASCII digits).
    pub(crate) fn judge(self, entry: &[u8], known: Known) -> Result<(), FieldError> {
        let length_fits = self.lengths(entry, known).contains(entry.len());
        match self {
            Self::CardNumber { allowed } => card_number::judge(entry, allowed),
            Self::ExpirationDate => expiry::judge(entry, known.today),
            Self::SecurityCode if length_fits => Ok(()),
            Self::SecurityCode => Err(FieldError::InvalidSecurityCode),
            Self::PostalCode { .. } if length_fits => Ok(()),
            Self::PostalCode { .. } => Err(FieldError::InvalidPostalCode),
        }
    }
}

/// The name of a step of the collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The card number is asked for.
    PaymentCardNumber,
    /// The expiration date is asked for.
    ExpirationDate,
    /// The security code is asked for.
    SecurityCode,
    /// The postal code is asked for.
    PostalCode,
}

impl Step {
    /// The word for this step in events, as in Twilio's `<Pay>`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PaymentCardNumber => "payment-card-number",
            Self::ExpirationDate => "expiration-date",
            Self::SecurityCode => "security-code",
            Self::PostalCode => "postal-code",
        }
    }
}

/// Why an attempt at a field was refused. It never holds what was keyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// Nothing was keyed in time, or the entry was left unfinished.
    #[error("no entry in time")]
    InputTimeout,
    /// The length or the check digit is wrong.
    #[error("not a card number")]
    InvalidCardNumber,
    /// The card is of a brand that the plan does not allow.
    #[error("not an accepted card brand")]
    InvalidCardType,
    /// Not a month and year, in the past, or too far ahead.
    #[error("not a valid expiration date")]
    InvalidDate,
    /// Not as long as the card's brand prescribes.
    #[error("not a security code")]
    InvalidSecurityCode,
    /// Too short or too long.
    #[error("not a postal code")]
    InvalidPostalCode,
}

impl FieldError {
    /// The word for this error in events, as in Twilio's `<Pay>`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InputTimeout => "input-timeout",
            Self::InvalidCardNumber => "invalid-card-number",
            Self::InvalidCardType => "invalid-card-type",
            Self::InvalidDate => "invalid-date",
            Self::InvalidSecurityCode => "invalid-security-code",
            Self::InvalidPostalCode => "invalid-postal-code",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{FieldError, FieldKind, Known};
    use crate::brand::Brand;
    use crate::expiry::Date;

    fn known(issuer: Option<Brand>) -> Known {
        Known { today: Date::new(2026, 8, 15).unwrap(), issuer }
    }

    #[test]
    fn a_security_code_is_as_long_as_its_brand_says() {
        for (issuer, entry, good) in [
            (Some(Brand::Amex), "1234", true),
            (Some(Brand::Amex), "123", false),
            (Some(Brand::Visa), "123", true),
            (Some(Brand::Visa), "1234", false),
            (None, "123", true),
            (None, "1234", true),
            (None, "12", false),
            (None, "12345", false),
        ] {
            let judged = FieldKind::SecurityCode.judge(entry.as_bytes(), known(issuer));
            let expected = if good { Ok(()) } else { Err(FieldError::InvalidSecurityCode) };
            assert_eq!(judged, expected, "{issuer:?} {entry}");
        }
    }

    #[test]
    fn a_postal_code_lies_between_its_lengths() {
        let kind = FieldKind::PostalCode { min: 3, max: 5 };
        for (entry, good) in [("12", false), ("123", true), ("12345", true), ("123456", false)] {
            assert_eq!(kind.judge(entry.as_bytes(), known(None)).is_ok(), good, "{entry}");
        }
    }
}
