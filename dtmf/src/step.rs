//! `Step`: the name of a step of a collection.

/// The number of a field whose meaning only the script knows, 1 to 8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CustomId(u8);

impl CustomId {
    /// Every number.
    pub const ALL: [Self; 8] =
        [Self(1), Self(2), Self(3), Self(4), Self(5), Self(6), Self(7), Self(8)];

    /// The number, if it is 1 to 8.
    #[must_use]
    pub const fn new(number: u8) -> Option<Self> {
        if number >= 1 && number as usize <= Self::ALL.len() { Some(Self(number)) } else { None }
    }

    /// 1 to 8.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }

    /// 0 to 7.
    pub(crate) const fn index(self) -> usize {
        self.0 as usize - 1
    }
}

/// A step of a collection: what is asked for, or what is done with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A payment card's number.
    PaymentCardNumber,
    /// A payment card's expiration date.
    ExpirationDate,
    /// A payment card's security code.
    SecurityCode,
    /// A postal code.
    PostalCode,
    /// A bank routing number of the United States.
    BankRoutingNumber,
    /// A bank account's number.
    BankAccountNumber,
    /// A social security number of the United States.
    SocialSecurityNumber,
    /// An individual taxpayer identification number of the United States.
    IndividualTaxpayerNumber,
    /// A date of birth.
    DateOfBirth,
    /// A social insurance number of Canada.
    SocialInsuranceNumber,
    /// A number of the National Health Service of the United Kingdom.
    NhsNumber,
    /// A national provider identifier of the United States.
    NationalProviderIdentifier,
    /// The number of a member, patient, policy or customer.
    MemberId,
    /// A code that is good once.
    OneTimeCode,
    /// A telephone number.
    PhoneNumber,
    /// An amount of money.
    Amount,
    /// What only the script knows.
    Custom(CustomId),
    /// What was accepted is being handed over.
    PaymentProcessing,
}

impl Step {
    /// Every step, in no order of time.
    pub const ALL: [Self; 25] = [
        Self::PaymentCardNumber,
        Self::ExpirationDate,
        Self::SecurityCode,
        Self::PostalCode,
        Self::BankRoutingNumber,
        Self::BankAccountNumber,
        Self::SocialSecurityNumber,
        Self::IndividualTaxpayerNumber,
        Self::DateOfBirth,
        Self::SocialInsuranceNumber,
        Self::NhsNumber,
        Self::NationalProviderIdentifier,
        Self::MemberId,
        Self::OneTimeCode,
        Self::PhoneNumber,
        Self::Amount,
        Self::Custom(CustomId(1)),
        Self::Custom(CustomId(2)),
        Self::Custom(CustomId(3)),
        Self::Custom(CustomId(4)),
        Self::Custom(CustomId(5)),
        Self::Custom(CustomId(6)),
        Self::Custom(CustomId(7)),
        Self::Custom(CustomId(8)),
        Self::PaymentProcessing,
    ];

    /// The word for this step in plans and events, Twilio's where its `<Pay>` has one.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        const CUSTOM: [&str; CustomId::ALL.len()] = [
            "custom-1", "custom-2", "custom-3", "custom-4", "custom-5", "custom-6", "custom-7",
            "custom-8",
        ];
        match self {
            Self::PaymentCardNumber => "payment-card-number",
            Self::ExpirationDate => "expiration-date",
            Self::SecurityCode => "security-code",
            Self::PostalCode => "postal-code",
            Self::BankRoutingNumber => "bank-routing-number",
            Self::BankAccountNumber => "bank-account-number",
            Self::SocialSecurityNumber => "social-security-number",
            Self::IndividualTaxpayerNumber => "individual-taxpayer-number",
            Self::DateOfBirth => "date-of-birth",
            Self::SocialInsuranceNumber => "social-insurance-number",
            Self::NhsNumber => "nhs-number",
            Self::NationalProviderIdentifier => "national-provider-identifier",
            Self::MemberId => "member-id",
            Self::OneTimeCode => "one-time-code",
            Self::PhoneNumber => "phone-number",
            Self::Amount => "amount",
            Self::Custom(id) => CUSTOM[id.index()],
            Self::PaymentProcessing => "payment-processing",
        }
    }

    /// The step of this word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|step| step.as_str() == word)
    }
}

#[cfg(test)]
mod tests {
    use super::{CustomId, Step};

    #[test]
    fn every_step_has_a_word_of_its_own() {
        for step in Step::ALL {
            assert_eq!(Step::from_word(step.as_str()), Some(step));
        }
        assert_eq!(Step::from_word("pin"), None);
    }

    #[test]
    fn a_custom_field_has_a_number_from_one_to_eight() {
        assert_eq!(CustomId::new(0), None);
        assert_eq!(CustomId::new(9), None);
        for (index, id) in CustomId::ALL.into_iter().enumerate() {
            assert_eq!(CustomId::new(id.get()), Some(id));
            assert_eq!(id.index(), index);
            assert_eq!(Step::Custom(id).as_str(), format!("custom-{}", id.get()));
        }
    }
}
