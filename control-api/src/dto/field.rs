//! FieldRequest: one datum that a plan asks for, as REST and the configuration write it.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use dtmf::brand::{Brand, BrandSet};
use dtmf::expiry::DateOrder;
use dtmf::field::{
    BANK_ACCOUNT_DIGITS, CUSTOM_DIGITS, Field, FieldKind, ONE_TIME_CODE_DIGITS, PHONE_DIGITS,
    POSTAL_DIGITS,
};
use dtmf::{Check, KeyedDigest, Step};
use serde::Deserialize;
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::call::Secret;
use super::keys::KeysRequest;
use crate::problem::Problem;

/// What a card's PIN is asked for by; it is refused by name.
const PIN_WORDS: [&str; 3] = ["pin", "card-pin", "pin-code"];
/// Decimals of an amount, unless said otherwise: those of most currencies.
const DECIMALS: u8 = 2;

/// One field.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FieldRequest {
    /// What is asked for: `payment-card-number`, `expiration-date` (MMYY), `security-code` (after
    /// the number), `postal-code`, `bank-routing-number`, `bank-account-number`,
    /// `social-security-number`, `individual-taxpayer-number`, `date-of-birth`,
    /// `social-insurance-number`, `nhs-number`, `national-provider-identifier`, `member-id`,
    /// `one-time-code`, `phone-number`, `amount`, or `custom-1` to `custom-8`. The PIN of a card
    /// is refused.
    #[serde(rename = "type")]
    #[schema(example = "payment-card-number")]
    pub kind: String,
    /// Attempts the caller has, 1 to 3; 3 unless said otherwise.
    #[schema(minimum = 1, maximum = 3)]
    pub max_attempts: Option<u8>,
    /// How long the first key may take, 1 to 60 s; 10 s unless said otherwise.
    #[schema(minimum = 1000, maximum = 60_000)]
    pub first_key_timeout_ms: Option<u32>,
    /// How long each further key may take, 1 to 60 s; 5 s unless said otherwise.
    #[schema(minimum = 1000, maximum = 60_000)]
    pub inter_key_timeout_ms: Option<u32>,
    /// How long one entry may take altogether, 5 to 120 s; 60 s unless said otherwise.
    #[schema(minimum = 5000, maximum = 120_000)]
    pub field_timeout_ms: Option<u32>,
    /// What `#` and `*` do in this field, where it differs from the plan.
    pub keys: Option<KeysRequest>,
    /// Have it keyed twice, the same both times.
    #[serde(default)]
    pub double_entry: bool,
    /// Of a card number: the brands accepted; all in common use unless said otherwise.
    pub allowed_brands: Option<Vec<BrandName>>,
    /// Of a postal code, account, member id, one-time code, telephone number or custom field: the
    /// fewest digits.
    pub min_digits: Option<u8>,
    /// Of the same: the most digits.
    pub max_digits: Option<u8>,
    /// Of a date of birth: the order of its eight digits; needed.
    pub date_order: Option<DateOrderName>,
    /// Of a member id or custom field: what it must satisfy besides its length.
    pub check: Option<CheckRequest>,
    /// Of a one-time code: refuse one digit throughout, and runs.
    pub refuse_trivial: Option<bool>,
    /// Of an amount: the smallest, in minor units of the currency; 1 unless said otherwise.
    pub min_amount: Option<u64>,
    /// Of an amount: the largest, in minor units; needed.
    pub max_amount: Option<u64>,
    /// Of an amount: digits behind the decimal point, which `*` is; 2 unless said otherwise.
    #[schema(maximum = 4)]
    pub decimals: Option<u8>,
}

/// The order in which a date is keyed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DateOrderName {
    /// MMDDYYYY.
    MonthDayYear,
    /// DDMMYYYY.
    DayMonthYear,
    /// YYYYMMDD.
    YearMonthDay,
}

/// What an entry must satisfy besides its length.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckRequest {
    /// How it is checked.
    #[serde(rename = "type")]
    pub kind: CheckType,
    /// Of `keyed`: Base64 of the 32 octets that the digest was made with.
    #[schema(value_type = Option<String>)]
    pub key: Option<Secret>,
    /// Of `keyed`: Base64 of the HMAC-SHA-256 of the digits expected, in ASCII.
    #[schema(value_type = Option<String>)]
    pub digest: Option<Secret>,
}

/// How an entry is checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CheckType {
    /// Not at all.
    None,
    /// By a Luhn check digit.
    Luhn,
    /// By a check digit modulo 11.
    Mod11,
    /// By two check digits modulo 97 (ISO/IEC 7064).
    Mod97,
    /// By comparison with a known value, of which the relay has the keyed digest alone.
    Keyed,
}

/// Card brands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum BrandName {
    Visa,
    Mastercard,
    Amex,
    DinersClub,
    Discover,
    Jcb,
    Unionpay,
    Maestro,
    Elo,
    Mir,
    Hiper,
    Hipercard,
    Troy,
    Naranja,
    Verve,
    Rupay,
    Uatp,
    Enroute,
}

impl FieldRequest {
    /// The field; `index` is its place in the plan.
    ///
    /// # Errors
    /// A problem that points at the member at fault.
    pub fn to_field(&self, index: usize) -> Result<Field, Problem> {
        let at = At(index);
        let step = self.step(at)?;
        self.refuse_misplaced(at, step)?;
        let mut field = Field::new(self.kind(at, step)?);
        field.attempts = self.max_attempts.unwrap_or(field.attempts);
        for (typed, timeout) in [
            (self.first_key_timeout_ms, &mut field.first_key_timeout),
            (self.inter_key_timeout_ms, &mut field.inter_key_timeout),
            (self.field_timeout_ms, &mut field.field_timeout),
        ] {
            *timeout = typed.map_or(*timeout, milliseconds);
        }
        field.keys = self.keys.map(KeysRequest::to_keys);
        field.double_entry = self.double_entry;
        Ok(field)
    }

    /// The word of the field's type.
    fn step(&self, at: At) -> Result<Step, Problem> {
        if PIN_WORDS.contains(&self.kind.as_str()) {
            let detail = "card-pin-refused: the PIN of a card may be keyed into certified \
                          terminals only (PCI PIN Security); a code of your own is a one-time-code \
                          or a custom field";
            return Err(at.invalid("type", detail));
        }
        Step::from_word(&self.kind).filter(|step| *step != Step::PaymentProcessing).ok_or_else(
            || {
                let words: Vec<_> = Step::ALL.iter().map(|step| step.as_str()).collect();
                at.invalid("type", format!("must be one of {}", words.join(", ")))
            },
        )
    }

    fn kind(&self, at: At, step: Step) -> Result<FieldKind, Problem> {
        Ok(match step {
            Step::PaymentCardNumber => FieldKind::CardNumber { allowed: self.brands() },
            Step::ExpirationDate => FieldKind::ExpirationDate,
            Step::SecurityCode => FieldKind::SecurityCode,
            Step::PostalCode => {
                let (min, max) = self.digits(POSTAL_DIGITS);
                FieldKind::PostalCode { min, max }
            }
            Step::BankRoutingNumber => FieldKind::BankRoutingNumber,
            Step::BankAccountNumber => {
                let (min, max) = self.digits(BANK_ACCOUNT_DIGITS);
                FieldKind::BankAccountNumber { min, max }
            }
            Step::SocialSecurityNumber => FieldKind::SocialSecurityNumber,
            Step::IndividualTaxpayerNumber => FieldKind::IndividualTaxpayerNumber,
            Step::DateOfBirth => FieldKind::DateOfBirth { order: self.order(at)? },
            Step::SocialInsuranceNumber => FieldKind::SocialInsuranceNumber,
            Step::NhsNumber => FieldKind::NhsNumber,
            Step::NationalProviderIdentifier => FieldKind::NationalProviderIdentifier,
            Step::MemberId => {
                let (min, max) = self.digits(CUSTOM_DIGITS);
                FieldKind::MemberId { min, max, check: self.check(at)? }
            }
            Step::OneTimeCode => {
                let (min, max) = self.digits(ONE_TIME_CODE_DIGITS);
                let refuse_trivial = self.refuse_trivial.unwrap_or(false);
                FieldKind::OneTimeCode { min, max, refuse_trivial }
            }
            Step::PhoneNumber => {
                let (min, max) = self.digits(PHONE_DIGITS);
                FieldKind::PhoneNumber { min, max }
            }
            Step::Amount => self.amount(at)?,
            Step::Custom(id) => {
                let (min, max) = self.digits(CUSTOM_DIGITS);
                FieldKind::Custom { id, min, max, check: self.check(at)? }
            }
            Step::PaymentProcessing => unreachable!("no field is of this type"),
        })
    }

    fn brands(&self) -> BrandSet {
        self.allowed_brands.as_ref().map_or(BrandSet::COMMON, |names| {
            names.iter().fold(BrandSet::NONE, |set, name| set.with(name.brand()))
        })
    }

    /// The fewest and most digits; given alone, either moves the other's default out of its way.
    fn digits(&self, default: (u8, u8)) -> (u8, u8) {
        (self.min_digits.unwrap_or(default.0), self.max_digits.unwrap_or(default.1))
    }

    fn order(&self, at: At) -> Result<DateOrder, Problem> {
        match self.date_order {
            Some(DateOrderName::MonthDayYear) => Ok(DateOrder::MonthDayYear),
            Some(DateOrderName::DayMonthYear) => Ok(DateOrder::DayMonthYear),
            Some(DateOrderName::YearMonthDay) => Ok(DateOrder::YearMonthDay),
            None => Err(at.invalid("date_order", "is needed: 03041980 is two dates")),
        }
    }

    fn check(&self, at: At) -> Result<Check, Problem> {
        let Some(check) = &self.check else { return Ok(Check::None) };
        let is_keyed = check.kind == CheckType::Keyed;
        if is_keyed != check.key.is_some() || is_keyed != check.digest.is_some() {
            return Err(
                at.invalid("check", "key and digest belong to the type keyed, both of them")
            );
        }
        Ok(match check.kind {
            CheckType::None => Check::None,
            CheckType::Luhn => Check::Luhn,
            CheckType::Mod11 => Check::Mod11,
            CheckType::Mod97 => Check::Mod97,
            CheckType::Keyed => Check::Keyed(KeyedDigest::new(
                octets(check.key.as_ref()).ok_or_else(|| at.invalid("check/key", BASE64_32))?,
                octets(check.digest.as_ref())
                    .ok_or_else(|| at.invalid("check/digest", BASE64_32))?,
            )),
        })
    }

    fn amount(&self, at: At) -> Result<FieldKind, Problem> {
        let max = self.max_amount.ok_or_else(|| {
            at.invalid("max_amount", "is needed: the largest amount, in minor units")
        })?;
        let min = self.min_amount.unwrap_or(1);
        Ok(FieldKind::Amount { min, max, decimals: self.decimals.unwrap_or(DECIMALS) })
    }

    /// Refuses members that have no meaning for the field's type, rather than leave them out.
    fn refuse_misplaced(&self, at: At, step: Step) -> Result<(), Problem> {
        let belongs: &[&str] = match step {
            Step::PaymentCardNumber => &["allowed_brands"],
            Step::PostalCode | Step::BankAccountNumber | Step::PhoneNumber => {
                &["min_digits", "max_digits"]
            }
            Step::MemberId | Step::Custom(_) => &["min_digits", "max_digits", "check"],
            Step::OneTimeCode => &["min_digits", "max_digits", "refuse_trivial"],
            Step::DateOfBirth => &["date_order"],
            Step::Amount => &["min_amount", "max_amount", "decimals"],
            Step::ExpirationDate
            | Step::SecurityCode
            | Step::BankRoutingNumber
            | Step::SocialSecurityNumber
            | Step::IndividualTaxpayerNumber
            | Step::SocialInsuranceNumber
            | Step::NhsNumber
            | Step::NationalProviderIdentifier
            | Step::PaymentProcessing => &[],
        };
        let given = [
            ("allowed_brands", self.allowed_brands.is_some()),
            ("min_digits", self.min_digits.is_some()),
            ("max_digits", self.max_digits.is_some()),
            ("date_order", self.date_order.is_some()),
            ("check", self.check.is_some()),
            ("refuse_trivial", self.refuse_trivial.is_some()),
            ("min_amount", self.min_amount.is_some()),
            ("max_amount", self.max_amount.is_some()),
            ("decimals", self.decimals.is_some()),
        ];
        match given.iter().find(|(member, is_given)| *is_given && !belongs.contains(member)) {
            Some((member, _)) => Err(at.invalid(member, "has no meaning for a field of this type")),
            None => Ok(()),
        }
    }
}

const BASE64_32: &str = "must be Base64 of 32 octets";

fn octets(text: Option<&Secret>) -> Option<[u8; 32]> {
    let octets = BASE64_STANDARD.decode(text?.reveal()).map(Zeroizing::new).ok()?;
    octets.as_slice().try_into().ok()
}

pub(super) fn milliseconds(number: u32) -> Duration {
    Duration::from_millis(number.into())
}

/// The place of a field in its plan.
#[derive(Clone, Copy)]
struct At(usize);

impl At {
    fn invalid(self, member: &str, detail: impl Into<String>) -> Problem {
        Problem::invalid(format!("/fields/{}/{member}", self.0), detail.into())
    }
}

impl BrandName {
    fn brand(self) -> Brand {
        match self {
            BrandName::Visa => Brand::Visa,
            BrandName::Mastercard => Brand::Mastercard,
            BrandName::Amex => Brand::Amex,
            BrandName::DinersClub => Brand::DinersClub,
            BrandName::Discover => Brand::Discover,
            BrandName::Jcb => Brand::Jcb,
            BrandName::Unionpay => Brand::UnionPay,
            BrandName::Maestro => Brand::Maestro,
            BrandName::Elo => Brand::Elo,
            BrandName::Mir => Brand::Mir,
            BrandName::Hiper => Brand::Hiper,
            BrandName::Hipercard => Brand::Hipercard,
            BrandName::Troy => Brand::Troy,
            BrandName::Naranja => Brand::Naranja,
            BrandName::Verve => Brand::Verve,
            BrandName::Rupay => Brand::RuPay,
            BrandName::Uatp => Brand::Uatp,
            BrandName::Enroute => Brand::EnRoute,
        }
    }
}

#[cfg(test)]
mod tests {
    use dtmf::brand::Brand;
    use dtmf::field::FieldKind;
    use dtmf::{Check, Step};
    use serde_json::{Value, json};

    use super::{BrandName, FieldRequest};

    fn kind(body: Value) -> Result<FieldKind, Value> {
        let request: FieldRequest = serde_json::from_value(body).unwrap();
        let field = request.to_field(3);
        field.map(|field| field.kind).map_err(|problem| {
            let body = serde_json::to_value(problem.body("req")).unwrap();
            body["errors"][0].clone()
        })
    }

    #[test]
    fn brands_have_the_names_that_events_use() {
        for brand in Brand::ALL {
            let name: BrandName = serde_json::from_value(brand.as_str().into()).unwrap();
            assert_eq!(name.brand(), brand);
        }
    }

    #[test]
    fn every_step_that_asks_for_something_is_a_type() {
        for step in Step::ALL.into_iter().filter(|step| *step != Step::PaymentProcessing) {
            let mut body = json!({ "type": step.as_str() });
            if step == Step::Amount {
                body["max_amount"] = json!(100);
            }
            if step == Step::DateOfBirth {
                body["date_order"] = json!("day_month_year");
            }
            assert_eq!(kind(body).unwrap().step(), step);
        }
        assert!(kind(json!({ "type": "payment-processing" })).is_err());
    }

    #[test]
    fn a_pin_is_refused_by_name() {
        for word in super::PIN_WORDS {
            let error = kind(json!({ "type": word })).unwrap_err();
            assert_eq!(error["pointer"], "/fields/3/type");
            assert!(error["detail"].as_str().unwrap().starts_with("card-pin-refused"));
        }
        let error = kind(json!({ "type": "secret" })).unwrap_err();
        assert!(!error["detail"].as_str().unwrap().contains("secret"), "nothing is echoed");
    }

    #[test]
    fn members_of_other_types_are_refused() {
        for (body, pointer) in [
            (json!({ "type": "expiration-date", "min_digits": 4 }), "/fields/3/min_digits"),
            (json!({ "type": "custom-1", "decimals": 1 }), "/fields/3/decimals"),
            (json!({ "type": "postal-code", "check": { "type": "luhn" } }), "/fields/3/check"),
            (json!({ "type": "date-of-birth" }), "/fields/3/date_order"),
            (json!({ "type": "amount" }), "/fields/3/max_amount"),
            (json!({ "type": "member-id", "check": { "type": "keyed" } }), "/fields/3/check"),
            (
                json!({ "type": "member-id", "check": { "type": "luhn", "key": "" } }),
                "/fields/3/check",
            ),
            (
                json!({ "type": "custom-2",
                    "check": { "type": "keyed", "key": "AAAA", "digest": "AAAA" } }),
                "/fields/3/check/key",
            ),
        ] {
            assert_eq!(kind(body).unwrap_err()["pointer"], pointer);
        }
    }

    #[test]
    fn checks_are_read() {
        let check = |body: Value| match kind(json!({ "type": "custom-1", "check": body })) {
            Ok(FieldKind::Custom { check, .. }) => check,
            Ok(_) | Err(_) => panic!("no custom field"),
        };
        assert_eq!(check(json!({ "type": "mod97" })), Check::Mod97);
        assert_eq!(check(json!({ "type": "mod11" })), Check::Mod11);
        let key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        let keyed = check(json!({ "type": "keyed", "key": key, "digest": key }));
        assert!(matches!(keyed, Check::Keyed(_)));
    }
}
