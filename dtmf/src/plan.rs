//! `SecurePlan`: what a secure session collects, checked once.

use std::time::Duration;

use arrayvec::ArrayVec;

use crate::brand::Brand;
use crate::expiry::Date;
use crate::field::{Field, FieldKind, MAX_ATTEMPTS, MAX_POSTAL_DIGITS, MIN_POSTAL_DIGITS, Step};
use crate::keys::Keys;

/// The most fields of one plan: a card with its four data and a few identifiers of the caller.
/// More would not be keyed within the longest session.
pub const MAX_FIELDS: usize = 8;
/// The shortest timeout for a key.
pub const MIN_KEY_TIMEOUT: Duration = Duration::from_secs(1);
/// The longest timeout for a key.
pub const MAX_KEY_TIMEOUT: Duration = Duration::from_secs(60);
/// The shortest session.
pub const MIN_DEADLINE: Duration = Duration::from_secs(5);
/// The longest session: engines hang up on a caller who is silent for longer.
pub const MAX_DEADLINE: Duration = Duration::from_secs(300);
/// How long a session lasts at most, unless its plan says otherwise.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(180);

/// What a secure session collects: one to [`MAX_FIELDS`] fields in order, and the limits.
///
/// Only [`SecurePlan::new`] makes one, so a plan is valid wherever it is met.
#[derive(Clone, Debug)]
pub struct SecurePlan {
    fields: ArrayVec<Field, MAX_FIELDS>,
    keys: Keys,
    deadline: Duration,
    today: Date,
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
    /// No brand is allowed.
    #[error("field {field}: no card brand is allowed")]
    NoBrands {
        /// The field at fault.
        field: usize,
    },
    /// The lengths of the postal code are out of range or the wrong way round.
    #[error("field {field}: the postal code's lengths are out of range")]
    PostalLengths {
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
            Self::CaptureSequence { .. } => "invalid-card-number-security-code-capture-sequence",
            Self::NoFields
            | Self::TooManyFields
            | Self::Deadline
            | Self::Attempts { .. }
            | Self::KeyTimeout { .. }
            | Self::NoBrands { .. }
            | Self::PostalLengths { .. }
            | Self::Duplicate { .. }
            | Self::BrandWithoutCode { .. } => "validation-error",
        }
    }
}

impl SecurePlan {
    /// Checks and keeps a plan. `today` is the date by which expiration dates are judged, in any
    /// time zone: the rule has a day of slack.
    ///
    /// # Errors
    /// [`PlanError`] names the first thing that is wrong.
    pub fn new(
        fields: &[Field],
        keys: Keys,
        deadline: Duration,
        today: Date,
    ) -> Result<Self, PlanError> {
        if fields.is_empty() {
            return Err(PlanError::NoFields);
        }
        let kept = ArrayVec::try_from(fields).map_err(|_| PlanError::TooManyFields)?;
        if !(MIN_DEADLINE..=MAX_DEADLINE).contains(&deadline) {
            return Err(PlanError::Deadline);
        }
        for (index, field) in fields.iter().enumerate() {
            check(index, field, &fields[..index])?;
        }
        Ok(Self { fields: kept, keys, deadline, today })
    }

    /// The fields in the order in which they are asked for.
    #[must_use]
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// What the star and the pound key do.
    #[must_use]
    pub const fn keys(&self) -> Keys {
        self.keys
    }

    /// How long the session may last.
    #[must_use]
    pub const fn deadline(&self) -> Duration {
        self.deadline
    }

    /// The date by which expiration dates are judged.
    #[must_use]
    pub const fn today(&self) -> Date {
        self.today
    }

    /// The place of the field that asks for this, if the plan has it.
    pub(crate) fn position(&self, step: Step) -> Option<usize> {
        self.fields.iter().position(|field| field.kind.step() == step)
    }
}

fn check(index: usize, field: &Field, before: &[Field]) -> Result<(), PlanError> {
    let timeouts = MIN_KEY_TIMEOUT..=MAX_KEY_TIMEOUT;
    if !(1..=MAX_ATTEMPTS).contains(&field.attempts) {
        return Err(PlanError::Attempts { field: index });
    }
    if ![field.first_key_timeout, field.inter_key_timeout].iter().all(|it| timeouts.contains(it)) {
        return Err(PlanError::KeyTimeout { field: index });
    }
    if before.iter().any(|other| other.kind.step() == field.kind.step()) {
        return Err(PlanError::Duplicate { field: index });
    }
    check_kind(index, field.kind, before)
}

fn check_kind(index: usize, kind: FieldKind, before: &[Field]) -> Result<(), PlanError> {
    match kind {
        FieldKind::CardNumber { allowed } if allowed.is_empty() => {
            Err(PlanError::NoBrands { field: index })
        }
        FieldKind::SecurityCode => check_security_code(index, before),
        FieldKind::PostalCode { min, max }
            if min < MIN_POSTAL_DIGITS || min > max || max > MAX_POSTAL_DIGITS =>
        {
            Err(PlanError::PostalLengths { field: index })
        }
        FieldKind::CardNumber { .. } | FieldKind::ExpirationDate | FieldKind::PostalCode { .. } => {
            Ok(())
        }
    }
}

fn check_security_code(index: usize, before: &[Field]) -> Result<(), PlanError> {
    let allowed = before.iter().find_map(|other| match other.kind {
        FieldKind::CardNumber { allowed } => Some(allowed),
        FieldKind::ExpirationDate | FieldKind::SecurityCode | FieldKind::PostalCode { .. } => None,
    });
    let allowed = allowed.ok_or(PlanError::CaptureSequence { field: index })?;
    if allowed.iter().map(Brand::code_length).any(|length| length.is_none()) {
        return Err(PlanError::BrandWithoutCode { field: index });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{DEFAULT_DEADLINE, MAX_FIELDS, PlanError, SecurePlan};
    use crate::brand::{Brand, BrandSet};
    use crate::expiry::Date;
    use crate::field::{Field, FieldKind};
    use crate::keys::Keys;

    const NUMBER: Field = Field::new(FieldKind::CardNumber { allowed: BrandSet::COMMON });
    const EXPIRY: Field = Field::new(FieldKind::ExpirationDate);
    const CODE: Field = Field::new(FieldKind::SecurityCode);
    const POSTAL: Field = Field::new(FieldKind::PostalCode { min: 5, max: 5 });

    fn plan(fields: &[Field], deadline: Duration) -> Result<SecurePlan, PlanError> {
        SecurePlan::new(fields, Keys::default(), deadline, Date::new(2026, 8, 15).unwrap())
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
            (
                Field::new(FieldKind::CardNumber { allowed: BrandSet::NONE }),
                PlanError::NoBrands { field: 1 },
            ),
            (POSTAL, PlanError::Duplicate { field: 1 }),
        ] {
            assert_eq!(refusal(&[POSTAL, field]), error);
            assert_eq!(error.as_str(), "validation-error");
        }
        for (min, max) in [(2, 5), (6, 5), (5, 11)] {
            let postal = Field::new(FieldKind::PostalCode { min, max });
            assert_eq!(refusal(&[EXPIRY, postal]), PlanError::PostalLengths { field: 1 });
        }
    }
}
