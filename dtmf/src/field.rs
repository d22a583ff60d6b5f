//! `Field`: one datum to be keyed, and its rule.
//!
//! [`FieldKind`] is the one place where a kind of datum is added: each of its methods is a total
//! match. Letters cannot be keyed, so there is no kind for what may hold them (IBAN, Medicare
//! number, British or Canadian postal code); and there is none for the PIN of a card, which is
//! keyed into certified terminals only (PCI PIN Security, requirement 1).

use std::time::Duration;

use crate::amount;
use crate::brand::{Brand, BrandSet};
use crate::card_mode::CardMode;
use crate::card_number;
use crate::check::Check;
use crate::expiry::{self, Date, DateOrder};
use crate::field_error::FieldError;
use crate::identifier;
use crate::keys::{Keys, StarKey};
use crate::lengths::Lengths;
use crate::secret::SecretDigits;
use crate::step::{CustomId, Step};

/// The most attempts a caller has at one field.
pub const MAX_ATTEMPTS: u8 = 3;
/// The fewest and most digits of a postal code: Iceland, Oman and others have three, and ten are
/// the most in the payment verbs of the large carriers.
pub const POSTAL_DIGITS: (u8, u8) = (3, 10);
/// The fewest and most digits of a bank account's number in the United States.
pub const BANK_ACCOUNT_DIGITS: (u8, u8) = (4, 17);
/// The fewest and most digits of a code that is good once.
pub const ONE_TIME_CODE_DIGITS: (u8, u8) = (4, 8);
/// The fewest digits of a telephone number in use and the most there can be (ITU-T E.164).
pub const PHONE_DIGITS: (u8, u8) = (7, 15);
/// The fewest and most digits of a member's number and of a custom field.
pub const CUSTOM_DIGITS: (u8, u8) = (1, 32);

/// One datum to be keyed. A [`SecurePlan`](crate::plan::SecurePlan) checks the ranges given here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// What is asked for.
    pub kind: FieldKind,
    /// How often the caller may try, 1 to [`MAX_ATTEMPTS`]. Where a script drives the session
    /// field by field, each capture is one attempt and this is of no effect.
    pub attempts: u8,
    /// How long the first key may take, from the end of the prompt; 1 to 60 s.
    pub first_key_timeout: Duration,
    /// How long each further key may take; 1 to 60 s. An entry that is long enough by then is
    /// taken as finished.
    pub inter_key_timeout: Duration,
    /// How long one entry may take altogether, from the end of its prompt; 5 to 120 s. An entry
    /// that is not finished by then is refused.
    pub field_timeout: Duration,
    /// What the star and the pound key do, where it differs from the plan.
    pub keys: Option<Keys>,
    /// Whether it is to be keyed twice, the same both times, in each attempt.
    pub double_entry: bool,
}

impl Field {
    /// A field that is keyed once, with three attempts, ten seconds for the first key, five
    /// between keys (Twilio's default) and sixty altogether.
    #[must_use]
    pub const fn new(kind: FieldKind) -> Self {
        Self {
            kind,
            attempts: MAX_ATTEMPTS,
            first_key_timeout: Duration::from_secs(10),
            inter_key_timeout: Duration::from_secs(5),
            field_timeout: Duration::from_secs(60),
            keys: None,
            double_entry: false,
        }
    }

    /// What the star and the pound key do in this field of a plan: as the field says, else as the
    /// plan says, but that the star is the decimal point of an amount with decimals.
    #[must_use]
    pub fn keys(&self, of_plan: Keys) -> Keys {
        self.keys.unwrap_or_else(|| match self.kind.decimals() {
            Some(1..) => Keys { star: StarKey::DecimalPoint, ..of_plan },
            Some(0) | None => of_plan,
        })
    }
}

/// The kinds of datum and what each needs to be judged. All lengths are in digits.
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
    /// A postal code of digits, of a length within [`POSTAL_DIGITS`].
    PostalCode {
        /// The shortest length.
        min: u8,
        /// The longest length.
        max: u8,
    },
    /// A bank routing number of the United States: nine digits with a check digit.
    BankRoutingNumber,
    /// A bank account's number, of a length within [`BANK_ACCOUNT_DIGITS`]. It has no check digit:
    /// have it keyed twice.
    BankAccountNumber {
        /// The shortest length.
        min: u8,
        /// The longest length.
        max: u8,
    },
    /// A social security number of the United States, of those that are given out.
    SocialSecurityNumber,
    /// An individual taxpayer identification number of the United States.
    IndividualTaxpayerNumber,
    /// A date of birth, keyed as eight digits.
    DateOfBirth {
        /// The order of day, month and year.
        order: DateOrder,
    },
    /// A social insurance number of Canada.
    SocialInsuranceNumber,
    /// A number of the National Health Service of the United Kingdom.
    NhsNumber,
    /// A national provider identifier of the United States.
    NationalProviderIdentifier,
    /// The number of a member, patient, policy or customer, of a length within [`CUSTOM_DIGITS`].
    MemberId {
        /// The shortest length.
        min: u8,
        /// The longest length.
        max: u8,
        /// What else it must satisfy.
        check: Check,
    },
    /// A code that is good once, of a length within [`ONE_TIME_CODE_DIGITS`]; never a card's PIN.
    OneTimeCode {
        /// The shortest length.
        min: u8,
        /// The longest length.
        max: u8,
        /// Whether codes that are guessed first are refused: one digit throughout, or a run.
        refuse_trivial: bool,
    },
    /// A telephone number, of a length within [`PHONE_DIGITS`].
    PhoneNumber {
        /// The shortest length.
        min: u8,
        /// The longest length.
        max: u8,
    },
    /// An amount of money, with the star for the decimal point. What is accepted of it is its
    /// number of minor units: `5*5` becomes `550` where there are two decimals.
    Amount {
        /// The smallest amount, in minor units.
        min: u64,
        /// The largest amount, in minor units, at most [`amount::MAX_AMOUNT`].
        max: u64,
        /// How many digits there are behind the point, at most [`amount::MAX_DECIMALS`].
        decimals: u8,
    },
    /// What only the script knows, of a length within [`CUSTOM_DIGITS`].
    Custom {
        /// Which of the plan's custom fields it is.
        id: CustomId,
        /// The shortest length.
        min: u8,
        /// The longest length.
        max: u8,
        /// What else it must satisfy.
        check: Check,
    },
}

/// What is known besides the entry when it is judged.
#[derive(Clone, Copy)]
pub(crate) struct Known {
    pub(crate) today: Date,
    pub(crate) card_mode: CardMode,
    pub(crate) luhn_unionpay: bool,
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
            Self::BankRoutingNumber => Step::BankRoutingNumber,
            Self::BankAccountNumber { .. } => Step::BankAccountNumber,
            Self::SocialSecurityNumber => Step::SocialSecurityNumber,
            Self::IndividualTaxpayerNumber => Step::IndividualTaxpayerNumber,
            Self::DateOfBirth { .. } => Step::DateOfBirth,
            Self::SocialInsuranceNumber => Step::SocialInsuranceNumber,
            Self::NhsNumber => Step::NhsNumber,
            Self::NationalProviderIdentifier => Step::NationalProviderIdentifier,
            Self::MemberId { .. } => Step::MemberId,
            Self::OneTimeCode { .. } => Step::OneTimeCode,
            Self::PhoneNumber { .. } => Step::PhoneNumber,
            Self::Amount { .. } => Step::Amount,
            Self::Custom { id, .. } => Step::Custom(id),
        }
    }

    /// The shortest and longest length asked for and the limits of both, where a plan chooses.
    pub(crate) const fn span(self) -> Option<((u8, u8), (u8, u8))> {
        match self {
            Self::PostalCode { min, max } => Some(((min, max), POSTAL_DIGITS)),
            Self::BankAccountNumber { min, max } => Some(((min, max), BANK_ACCOUNT_DIGITS)),
            Self::OneTimeCode { min, max, .. } => Some(((min, max), ONE_TIME_CODE_DIGITS)),
            Self::PhoneNumber { min, max } => Some(((min, max), PHONE_DIGITS)),
            Self::MemberId { min, max, .. } | Self::Custom { min, max, .. } => {
                Some(((min, max), CUSTOM_DIGITS))
            }
            Self::CardNumber { .. }
            | Self::ExpirationDate
            | Self::SecurityCode
            | Self::BankRoutingNumber
            | Self::SocialSecurityNumber
            | Self::IndividualTaxpayerNumber
            | Self::DateOfBirth { .. }
            | Self::SocialInsuranceNumber
            | Self::NhsNumber
            | Self::NationalProviderIdentifier
            | Self::Amount { .. } => None,
        }
    }

    /// The brands allowed of a card number; `None` if it is none.
    pub(crate) const fn brands(self) -> Option<BrandSet> {
        if let Self::CardNumber { allowed } = self { Some(allowed) } else { None }
    }

    /// How many digits are behind the point of an amount; `None` if it is none.
    pub(crate) const fn decimals(self) -> Option<u8> {
        if let Self::Amount { decimals, .. } = self { Some(decimals) } else { None }
    }

    /// The order in which a date is keyed; `None` if it is none with a choice of orders.
    #[must_use]
    pub const fn date_order(self) -> Option<DateOrder> {
        if let Self::DateOfBirth { order } = self { Some(order) } else { None }
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
            Self::DateOfBirth { .. } => Lengths::of(&[8]),
            Self::BankRoutingNumber
            | Self::SocialSecurityNumber
            | Self::IndividualTaxpayerNumber
            | Self::SocialInsuranceNumber => Lengths::of(&[9]),
            Self::NhsNumber | Self::NationalProviderIdentifier => Lengths::of(&[10]),
            Self::Amount { .. } => Lengths::between(1, amount::MAX_KEYS),
            Self::PostalCode { min, max }
            | Self::BankAccountNumber { min, max }
            | Self::MemberId { min, max, .. }
            | Self::OneTimeCode { min, max, .. }
            | Self::PhoneNumber { min, max }
            | Self::Custom { min, max, .. } => Lengths::between(min, max),
        }
    }

    /// Judges a finished entry (ASCII digits, and stars in an amount).
    pub(crate) fn judge(self, entry: &[u8], known: Known) -> Result<(), FieldError> {
        let fits = self.lengths(entry, known).contains(entry.len());
        let is_good = match self {
            Self::CardNumber { allowed } => return card_number::judge(entry, allowed, known),
            Self::ExpirationDate => expiry::is_good(entry, known.today),
            Self::SecurityCode
            | Self::PostalCode { .. }
            | Self::BankAccountNumber { .. }
            | Self::PhoneNumber { .. } => true,
            Self::BankRoutingNumber => identifier::is_bank_routing_number(entry),
            Self::SocialSecurityNumber => identifier::is_social_security_number(entry),
            Self::IndividualTaxpayerNumber => identifier::is_individual_taxpayer_number(entry),
            Self::DateOfBirth { order } => expiry::is_birth(entry, order, known.today),
            Self::SocialInsuranceNumber => identifier::is_social_insurance_number(entry),
            Self::NhsNumber => identifier::is_nhs_number(entry),
            Self::NationalProviderIdentifier => identifier::is_national_provider_identifier(entry),
            Self::MemberId { check, .. } | Self::Custom { check, .. } => check.passes(entry),
            Self::OneTimeCode { refuse_trivial, .. } => {
                !(refuse_trivial && identifier::is_trivial(entry))
            }
            Self::Amount { min, max, decimals } => amount::is_amount(entry, min, max, decimals),
        };
        if fits && is_good { Ok(()) } else { Err(self.refusal()) }
    }

    /// Gives a judged entry the form in which it is handed over.
    pub(crate) fn normalise(self, entry: &mut SecretDigits) {
        if let Some(decimals) = self.decimals() {
            amount::normalise(entry, decimals);
        }
    }

    /// What is said of an entry that does not fit.
    const fn refusal(self) -> FieldError {
        match self {
            Self::CardNumber { .. } => FieldError::InvalidCardNumber,
            Self::ExpirationDate => FieldError::InvalidDate,
            Self::SecurityCode => FieldError::InvalidSecurityCode,
            Self::PostalCode { .. } => FieldError::InvalidPostalCode,
            Self::BankRoutingNumber => FieldError::InvalidBankRoutingNumber,
            Self::BankAccountNumber { .. } => FieldError::InvalidBankAccountNumber,
            Self::SocialSecurityNumber => FieldError::InvalidSocialSecurityNumber,
            Self::IndividualTaxpayerNumber => FieldError::InvalidIndividualTaxpayerNumber,
            Self::DateOfBirth { .. } => FieldError::InvalidDateOfBirth,
            Self::SocialInsuranceNumber => FieldError::InvalidSocialInsuranceNumber,
            Self::NhsNumber => FieldError::InvalidNhsNumber,
            Self::NationalProviderIdentifier => FieldError::InvalidNationalProviderIdentifier,
            Self::MemberId { .. } => FieldError::InvalidMemberId,
            Self::OneTimeCode { .. } => FieldError::InvalidOneTimeCode,
            Self::PhoneNumber { .. } => FieldError::InvalidPhoneNumber,
            Self::Amount { .. } => FieldError::InvalidAmount,
            Self::Custom { id, .. } => FieldError::InvalidCustom(id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{FieldKind, Known};
    use crate::brand::Brand;
    use crate::card_mode::CardMode;
    use crate::expiry::Date;
    use crate::field_error::FieldError;

    fn known(issuer: Option<Brand>) -> Known {
        let today = Date::new(2026, 8, 15).unwrap();
        Known { today, card_mode: CardMode::Test, luhn_unionpay: false, issuer }
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
