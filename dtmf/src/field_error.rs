//! `FieldError`: why an attempt at a field was refused.

use crate::step::CustomId;

/// Why an attempt at a field was refused. It never holds what was keyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// Nothing was keyed in time, or the entry was left unfinished.
    #[error("no entry in time")]
    InputTimeout,
    /// The two entries differ.
    #[error("the two entries differ")]
    InputMatchingFailed,
    /// The length or the check digit is wrong, or a test card meets a plan for live cards, or the
    /// other way round.
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
    /// The length, the district or the check digit is wrong.
    #[error("not a bank routing number")]
    InvalidBankRoutingNumber,
    /// Too short or too long.
    #[error("not a bank account number")]
    InvalidBankAccountNumber,
    /// The length is wrong, or the number is not given out.
    #[error("not a social security number")]
    InvalidSocialSecurityNumber,
    /// The length is wrong, or the number is not given out.
    #[error("not an individual taxpayer identification number")]
    InvalidIndividualTaxpayerNumber,
    /// Not a day that existed, in the future, or too far back.
    #[error("not a date of birth")]
    InvalidDateOfBirth,
    /// The length, the first digit or the check digit is wrong.
    #[error("not a social insurance number")]
    InvalidSocialInsuranceNumber,
    /// The length or the check digit is wrong.
    #[error("not an NHS number")]
    InvalidNhsNumber,
    /// The length or the check digit is wrong.
    #[error("not a national provider identifier")]
    InvalidNationalProviderIdentifier,
    /// The length or the check is wrong.
    #[error("not a member's number")]
    InvalidMemberId,
    /// The length is wrong, or the code is one that is guessed first.
    #[error("not a one-time code")]
    InvalidOneTimeCode,
    /// Too short or too long.
    #[error("not a telephone number")]
    InvalidPhoneNumber,
    /// Not an amount, too small or too large.
    #[error("not an acceptable amount")]
    InvalidAmount,
    /// The length or the check is wrong.
    #[error("not what the field asks for")]
    InvalidCustom(CustomId),
}

impl FieldError {
    /// Every error.
    pub const ALL: [Self; 27] = {
        let mut all = [Self::InputTimeout; 27];
        let named = [
            Self::InputTimeout,
            Self::InputMatchingFailed,
            Self::InvalidCardNumber,
            Self::InvalidCardType,
            Self::InvalidDate,
            Self::InvalidSecurityCode,
            Self::InvalidPostalCode,
            Self::InvalidBankRoutingNumber,
            Self::InvalidBankAccountNumber,
            Self::InvalidSocialSecurityNumber,
            Self::InvalidIndividualTaxpayerNumber,
            Self::InvalidDateOfBirth,
            Self::InvalidSocialInsuranceNumber,
            Self::InvalidNhsNumber,
            Self::InvalidNationalProviderIdentifier,
            Self::InvalidMemberId,
            Self::InvalidOneTimeCode,
            Self::InvalidPhoneNumber,
            Self::InvalidAmount,
        ];
        assert!(named.len() + CustomId::ALL.len() == all.len());
        let mut place = 0;
        while place < all.len() {
            all[place] = if place < named.len() {
                named[place]
            } else {
                Self::InvalidCustom(CustomId::ALL[place - named.len()])
            };
            place += 1;
        }
        all
    };

    /// The word for this error in events: Twilio's where its `<Pay>` has one, else `invalid-` and
    /// the step.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        const CUSTOM: [&str; CustomId::ALL.len()] = [
            "invalid-custom-1",
            "invalid-custom-2",
            "invalid-custom-3",
            "invalid-custom-4",
            "invalid-custom-5",
            "invalid-custom-6",
            "invalid-custom-7",
            "invalid-custom-8",
        ];
        match self {
            Self::InputTimeout => "input-timeout",
            Self::InputMatchingFailed => "input-matching-failed",
            Self::InvalidCardNumber => "invalid-card-number",
            Self::InvalidCardType => "invalid-card-type",
            Self::InvalidDate => "invalid-date",
            Self::InvalidSecurityCode => "invalid-security-code",
            Self::InvalidPostalCode => "invalid-postal-code",
            Self::InvalidBankRoutingNumber => "invalid-bank-routing-number",
            Self::InvalidBankAccountNumber => "invalid-bank-account-number",
            Self::InvalidSocialSecurityNumber => "invalid-social-security-number",
            Self::InvalidIndividualTaxpayerNumber => "invalid-individual-taxpayer-number",
            Self::InvalidDateOfBirth => "invalid-date-of-birth",
            Self::InvalidSocialInsuranceNumber => "invalid-social-insurance-number",
            Self::InvalidNhsNumber => "invalid-nhs-number",
            Self::InvalidNationalProviderIdentifier => "invalid-national-provider-identifier",
            Self::InvalidMemberId => "invalid-member-id",
            Self::InvalidOneTimeCode => "invalid-one-time-code",
            Self::InvalidPhoneNumber => "invalid-phone-number",
            Self::InvalidAmount => "invalid-amount",
            Self::InvalidCustom(id) => CUSTOM[id.index()],
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::FieldError;
    use crate::step::CustomId;

    #[test]
    fn every_error_has_a_word_of_its_own() {
        let words: BTreeSet<&str> = FieldError::ALL.map(FieldError::as_str).into();
        assert_eq!(words.len(), FieldError::ALL.len());
        for id in CustomId::ALL {
            let word = format!("invalid-custom-{}", id.get());
            assert_eq!(FieldError::InvalidCustom(id).as_str(), word);
        }
    }
}
