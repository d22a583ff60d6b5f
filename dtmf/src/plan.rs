//! `SecurePlan`: what a secure session collects, checked once.

use std::time::Duration;

use arrayvec::ArrayVec;

use crate::amount::{MAX_AMOUNT, MAX_DECIMALS};
use crate::brand::{Brand, BrandSet};
use crate::card_mode::CardMode;
use crate::expiry::Date;
use crate::field::{Field, FieldKind, MAX_ATTEMPTS};
use crate::keys::{Keys, StarKey};
use crate::step::Step;

/// The most fields of one plan: a card with its four data and a few identifiers of the caller.
/// More would not be keyed within the longest session.
pub const MAX_FIELDS: usize = 8;
/// The most captures of a session that a script drives: as many attempts as a caller could have at
/// the longest plan. More would be trial and error.
pub const MAX_CAPTURES: u8 = MAX_FIELDS as u8 * MAX_ATTEMPTS;
/// The shortest timeout for a key.
pub const MIN_KEY_TIMEOUT: Duration = Duration::from_secs(1);
/// The longest timeout for a key.
pub const MAX_KEY_TIMEOUT: Duration = Duration::from_secs(60);
/// The shortest timeout for a field.
pub const MIN_FIELD_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest timeout for a field.
pub const MAX_FIELD_TIMEOUT: Duration = Duration::from_secs(120);
/// The shortest session.
pub const MIN_DEADLINE: Duration = Duration::from_secs(5);
/// The longest session: engines hang up on a caller who is silent for longer.
pub const MAX_DEADLINE: Duration = Duration::from_secs(300);
/// How long a session lasts at most, unless its plan says otherwise.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(180);
/// How long the handing over may take: longer than any payment gateway, and as long as a caller
/// waits.
pub const MAX_DELIVERY: Duration = Duration::from_secs(30);

/// What a secure session is to collect, as it is asked for; [`SecurePlan::new`] checks it.
#[derive(Clone, Copy, Debug)]
pub struct PlanRequest<'a> {
    /// One to [`MAX_FIELDS`] fields, in the order in which they are asked for.
    pub fields: &'a [Field],
    /// What the star and the pound key do in fields that don't say it themselves.
    pub keys: Keys,
    /// How long the session may last, [`MIN_DEADLINE`] to [`MAX_DEADLINE`].
    pub deadline: Duration,
    /// The date by which dates are judged, in any time zone: the rules have a day of slack.
    pub today: Date,
    /// Which cards are taken.
    pub card_mode: CardMode,
    /// Whether UnionPay numbers must have a right check digit; some in use don't.
    pub luhn_unionpay: bool,
    /// Who says which field is next.
    pub drive: Drive,
    /// What becomes of what was accepted.
    pub delivery: Delivery,
}

impl<'a> PlanRequest<'a> {
    /// A plan of these fields that runs by itself, delivers nothing and has the default keys and
    /// deadline.
    #[must_use]
    pub fn new(fields: &'a [Field], today: Date, card_mode: CardMode) -> Self {
        Self {
            fields,
            keys: Keys::default(),
            deadline: DEFAULT_DEADLINE,
            today,
            card_mode,
            luhn_unionpay: false,
            drive: Drive::WholePlan,
            delivery: Delivery::Discard,
        }
    }
}

/// Who says which field is next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drive {
    /// The plan: its fields follow one another.
    WholePlan,
    /// A script, which captures one field after the other.
    FieldAtATime,
}

/// What becomes of what was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// It was only to be validated, and is wiped.
    Discard,
    /// It is handed over, and the verdict waits for the outcome.
    Sink,
}

/// What a secure session collects: one to [`MAX_FIELDS`] fields in order, and the limits.
///
/// Only [`SecurePlan::new`] makes one, so a plan is valid wherever it is met.
#[derive(Clone, Debug)]
pub struct SecurePlan {
    fields: ArrayVec<Field, MAX_FIELDS>,
    keys: Keys,
    deadline: Duration,
    today: Date,
    card_mode: CardMode,
    luhn_unionpay: bool,
    drive: Drive,
    delivery: Delivery,
}

/// Why a plan was refused. `field` is the index of the field at fault; values are not repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The plan has no field.
    #[error("a plan has at least one field")]
    NoFields,
    /// The plan has more than [`MAX_FIELDS`] fields.
    #[error("a plan has at most {MAX_FIELDS} fields")]
    TooManyFields,
    /// The session is shorter than [`MIN_DEADLINE`] or longer than [`MAX_DEADLINE`].
    #[error("the session deadline is out of range")]
    Deadline,
    /// The attempts are none or more than [`MAX_ATTEMPTS`].
    #[error("field {field}: attempts must be 1 to {MAX_ATTEMPTS}")]
    Attempts {
        /// The field at fault.
        field: usize,
    },
    /// A timeout is below [`MIN_KEY_TIMEOUT`] or above [`MAX_KEY_TIMEOUT`].
    #[error("field {field}: a key timeout is out of range")]
    KeyTimeout {
        /// The field at fault.
        field: usize,
    },
    /// The timeout is below [`MIN_FIELD_TIMEOUT`] or above [`MAX_FIELD_TIMEOUT`].
    #[error("field {field}: the field timeout is out of range")]
    FieldTimeout {
        /// The field at fault.
        field: usize,
    },
    /// The star is to be a decimal point where there is none.
    #[error("field {field}: only an amount with decimals has a decimal point")]
    DecimalPoint {
        /// The field at fault.
        field: usize,
    },
    /// No brand is allowed.
    #[error("field {field}: no card brand is allowed")]
    NoBrands {
        /// The field at fault.
        field: usize,
    },
    /// The lengths are out of range or the wrong way round.
    #[error("field {field}: the lengths are out of range")]
    Lengths {
        /// The field at fault.
        field: usize,
    },
    /// The amounts or the decimals are out of range, or the amounts the wrong way round.
    #[error("field {field}: the amounts are out of range")]
    AmountRange {
        /// The field at fault.
        field: usize,
    },
    /// The same datum is asked for twice.
    #[error("field {field}: asked for before")]
    Duplicate {
        /// The field at fault.
        field: usize,
    },
    /// The security code is asked for without the card number before it, which says how long it is.
    #[error("field {field}: the security code comes after the card number")]
    CaptureSequence {
        /// The field at fault.
        field: usize,
    },
    /// The security code is asked for, but a brand that has none is allowed.
    #[error("field {field}: an allowed card brand has no security code")]
    BrandWithoutCode {
        /// The field at fault.
        field: usize,
    },
}

impl PlanError {
    /// The word for this error: Twilio's for a wrong order, `validation-error` for all else.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CaptureSequence { .. } => CAPTURE_SEQUENCE,
            Self::NoFields
            | Self::TooManyFields
            | Self::Deadline
            | Self::Attempts { .. }
            | Self::KeyTimeout { .. }
            | Self::FieldTimeout { .. }
            | Self::DecimalPoint { .. }
            | Self::NoBrands { .. }
            | Self::Lengths { .. }
            | Self::AmountRange { .. }
            | Self::Duplicate { .. }
            | Self::BrandWithoutCode { .. } => "validation-error",
        }
    }
}

/// Twilio's word for a security code that is asked for before the card number.
pub(crate) const CAPTURE_SEQUENCE: &str = "invalid-card-number-security-code-capture-sequence";

impl SecurePlan {
    /// Checks and keeps a plan.
    ///
    /// # Errors
    /// [`PlanError`] names the first thing that is wrong.
    pub fn new(request: PlanRequest<'_>) -> Result<Self, PlanError> {
        let PlanRequest { fields, keys, deadline, today, card_mode, .. } = request;
        if fields.is_empty() {
            return Err(PlanError::NoFields);
        }
        let kept = ArrayVec::try_from(fields).map_err(|_| PlanError::TooManyFields)?;
        if !(MIN_DEADLINE..=MAX_DEADLINE).contains(&deadline) {
            return Err(PlanError::Deadline);
        }
        for (index, field) in fields.iter().enumerate() {
            check(index, field, keys, &fields[..index])?;
        }
        let PlanRequest { luhn_unionpay, drive, delivery, .. } = request;
        Ok(Self { fields: kept, keys, deadline, today, card_mode, luhn_unionpay, drive, delivery })
    }

    /// The fields in the order in which they are asked for.
    #[must_use]
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// What the star and the pound key do in fields that don't say it themselves.
    #[must_use]
    pub const fn keys(&self) -> Keys {
        self.keys
    }

    /// How long the session may last.
    #[must_use]
    pub const fn deadline(&self) -> Duration {
        self.deadline
    }

    /// The date by which dates are judged.
    #[must_use]
    pub const fn today(&self) -> Date {
        self.today
    }

    /// Which cards are taken.
    #[must_use]
    pub const fn card_mode(&self) -> CardMode {
        self.card_mode
    }

    /// Whether UnionPay numbers must have a right check digit.
    #[must_use]
    pub const fn luhn_unionpay(&self) -> bool {
        self.luhn_unionpay
    }

    /// Who says which field is next.
    #[must_use]
    pub const fn drive(&self) -> Drive {
        self.drive
    }

    /// What becomes of what was accepted.
    #[must_use]
    pub const fn delivery(&self) -> Delivery {
        self.delivery
    }

    /// The place of the field that asks for this, if the plan has it.
    pub(crate) fn position(&self, step: Step) -> Option<usize> {
        self.fields.iter().position(|field| field.kind.step() == step)
    }
}

fn check(index: usize, field: &Field, keys: Keys, before: &[Field]) -> Result<(), PlanError> {
    let timeouts = MIN_KEY_TIMEOUT..=MAX_KEY_TIMEOUT;
    if !(1..=MAX_ATTEMPTS).contains(&field.attempts) {
        return Err(PlanError::Attempts { field: index });
    }
    if ![field.first_key_timeout, field.inter_key_timeout].iter().all(|it| timeouts.contains(it)) {
        return Err(PlanError::KeyTimeout { field: index });
    }
    if !(MIN_FIELD_TIMEOUT..=MAX_FIELD_TIMEOUT).contains(&field.field_timeout) {
        return Err(PlanError::FieldTimeout { field: index });
    }
    let has_point = field.kind.decimals().is_some_and(|decimals| decimals > 0);
    if field.keys(keys).star == StarKey::DecimalPoint && !has_point {
        return Err(PlanError::DecimalPoint { field: index });
    }
    if before.iter().any(|other| other.kind.step() == field.kind.step()) {
        return Err(PlanError::Duplicate { field: index });
    }
    check_kind(index, field.kind, before)
}

fn check_kind(index: usize, kind: FieldKind, before: &[Field]) -> Result<(), PlanError> {
    if let Some(((min, max), (least, most))) = kind.span()
        && !(least <= min && min <= max && max <= most)
    {
        return Err(PlanError::Lengths { field: index });
    }
    if kind.brands().is_some_and(BrandSet::is_empty) {
        return Err(PlanError::NoBrands { field: index });
    }
    if let FieldKind::Amount { min, max, decimals } = kind
        && (min > max || max > MAX_AMOUNT || decimals > MAX_DECIMALS)
    {
        return Err(PlanError::AmountRange { field: index });
    }
    if kind == FieldKind::SecurityCode { check_security_code(index, before) } else { Ok(()) }
}

fn check_security_code(index: usize, before: &[Field]) -> Result<(), PlanError> {
    let allowed = before.iter().find_map(|other| other.kind.brands());
    let allowed = allowed.ok_or(PlanError::CaptureSequence { field: index })?;
    if allowed.iter().map(Brand::code_length).any(|length| length.is_none()) {
        return Err(PlanError::BrandWithoutCode { field: index });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{DEFAULT_DEADLINE, MAX_FIELDS, PlanError, PlanRequest, SecurePlan};
    use crate::amount::{MAX_AMOUNT, MAX_DECIMALS};
    use crate::brand::{Brand, BrandSet};
    use crate::card_mode::CardMode;
    use crate::check::Check;
    use crate::expiry::Date;
    use crate::field::{Field, FieldKind};
    use crate::keys::{Keys, StarKey};
    use crate::step::{CustomId, Step};

    const NUMBER: Field = Field::new(FieldKind::CardNumber { allowed: BrandSet::COMMON });
    const EXPIRY: Field = Field::new(FieldKind::ExpirationDate);
    const CODE: Field = Field::new(FieldKind::SecurityCode);
    const POSTAL: Field = Field::new(FieldKind::PostalCode { min: 5, max: 5 });

    fn plan(fields: &[Field], deadline: Duration) -> Result<SecurePlan, PlanError> {
        let today = Date::new(2026, 8, 15).unwrap();
        SecurePlan::new(PlanRequest { deadline, ..PlanRequest::new(fields, today, CardMode::Test) })
    }

    fn refusal(fields: &[Field]) -> PlanError {
        plan(fields, DEFAULT_DEADLINE).unwrap_err()
    }

    #[test]
    fn a_card_with_all_its_data_is_a_plan() {
        let plan = plan(&[POSTAL, NUMBER, EXPIRY, CODE], DEFAULT_DEADLINE).unwrap();
        assert_eq!(plan.fields(), [POSTAL, NUMBER, EXPIRY, CODE]);
    }

    #[test]
    fn the_number_of_fields_is_bounded() {
        assert_eq!(refusal(&[]), PlanError::NoFields);
        assert_eq!(refusal(&[NUMBER; MAX_FIELDS + 1]), PlanError::TooManyFields);
    }

    #[test]
    fn the_deadline_is_bounded() {
        for (seconds, good) in [(4, false), (5, true), (300, true), (301, false)] {
            let made = plan(&[EXPIRY], Duration::from_secs(seconds));
            assert_eq!(made.err(), (!good).then_some(PlanError::Deadline));
        }
    }

    #[test]
    fn the_security_code_comes_after_the_card_number() {
        let error = refusal(&[CODE, NUMBER]);
        assert_eq!(error, PlanError::CaptureSequence { field: 0 });
        assert_eq!(error.as_str(), "invalid-card-number-security-code-capture-sequence");
        assert_eq!(refusal(&[EXPIRY, CODE]), PlanError::CaptureSequence { field: 1 });
        let uatp = FieldKind::CardNumber { allowed: BrandSet::COMMON.with(Brand::Uatp) };
        let error = refusal(&[Field::new(uatp), CODE]);
        assert_eq!(error, PlanError::BrandWithoutCode { field: 1 });
    }

    #[test]
    fn a_field_out_of_range_is_named_by_its_index() {
        let second = Duration::from_secs(1);
        for (field, error) in [
            (Field { attempts: 0, ..EXPIRY }, PlanError::Attempts { field: 1 }),
            (Field { attempts: 4, ..EXPIRY }, PlanError::Attempts { field: 1 }),
            (
                Field { first_key_timeout: Duration::ZERO, ..EXPIRY },
                PlanError::KeyTimeout { field: 1 },
            ),
            (
                Field { inter_key_timeout: 61 * second, ..EXPIRY },
                PlanError::KeyTimeout { field: 1 },
            ),
            (Field { field_timeout: 4 * second, ..EXPIRY }, PlanError::FieldTimeout { field: 1 }),
            (Field { field_timeout: 121 * second, ..EXPIRY }, PlanError::FieldTimeout { field: 1 }),
            (
                Field::new(FieldKind::CardNumber { allowed: BrandSet::NONE }),
                PlanError::NoBrands { field: 1 },
            ),
            (POSTAL, PlanError::Duplicate { field: 1 }),
        ] {
            assert_eq!(refusal(&[POSTAL, field]), error);
            assert_eq!(error.as_str(), "validation-error");
        }
    }

    #[test]
    fn lengths_lie_within_their_kind_and_the_right_way_round() {
        type Kind = fn(u8, u8) -> FieldKind;
        let id = CustomId::ALL[0];
        let kinds: [(Kind, u8, u8); 6] = [
            (|min, max| FieldKind::PostalCode { min, max }, 3, 10),
            (|min, max| FieldKind::BankAccountNumber { min, max }, 4, 17),
            (|min, max| FieldKind::OneTimeCode { min, max, refuse_trivial: true }, 4, 8),
            (|min, max| FieldKind::PhoneNumber { min, max }, 7, 15),
            (|min, max| FieldKind::MemberId { min, max, check: Check::None }, 1, 32),
            (
                |min, max| FieldKind::Custom { id: CustomId::ALL[0], min, max, check: Check::Luhn },
                1,
                32,
            ),
        ];
        assert_eq!(kinds[5].0(1, 2).step(), Step::Custom(id));
        for (kind, least, most) in kinds {
            for (min, max) in [(least, most), (least, least), (most, most)] {
                assert!(plan(&[Field::new(kind(min, max))], DEFAULT_DEADLINE).is_ok());
            }
            for (min, max) in [(least - 1, most), (least, most + 1), (most, least), (0, 255)] {
                let refused = refusal(&[Field::new(kind(min, max))]);
                assert_eq!(refused, PlanError::Lengths { field: 0 });
            }
        }
    }

    #[test]
    fn amounts_and_their_decimals_are_bounded() {
        for (min, max, decimals, good) in [
            (0, MAX_AMOUNT, MAX_DECIMALS, true),
            (1, 1, 0, true),
            (2, 1, 0, false),
            (0, MAX_AMOUNT + 1, 0, false),
            (0, 1, MAX_DECIMALS + 1, false),
        ] {
            let amount = Field::new(FieldKind::Amount { min, max, decimals });
            let refused = plan(&[amount], DEFAULT_DEADLINE).err();
            assert_eq!(refused, (!good).then_some(PlanError::AmountRange { field: 0 }));
        }
    }

    #[test]
    fn only_an_amount_with_decimals_has_a_point() {
        let point = Some(Keys { star: StarKey::DecimalPoint, ..Keys::default() });
        let amount = |decimals| Field::new(FieldKind::Amount { min: 0, max: 9_999, decimals });
        let refused = Err(PlanError::DecimalPoint { field: 0 });
        for (field, expected) in [
            (amount(2), Ok(())),
            (amount(0), Ok(())),
            (Field { keys: point, ..amount(2) }, Ok(())),
            (Field { keys: point, ..amount(0) }, refused),
            (Field { keys: point, ..EXPIRY }, refused),
        ] {
            assert_eq!(plan(&[field], DEFAULT_DEADLINE).map(drop), expected);
        }
        assert_eq!(amount(2).keys(Keys::default()).star, StarKey::DecimalPoint);
        assert_eq!(amount(0).keys(Keys::default()), Keys::default());
        let own = Some(Keys { star: StarKey::Cancel, ..Keys::default() });
        assert_eq!(Field { keys: own, ..amount(2) }.keys(Keys::default()).star, StarKey::Cancel);
    }
}
