//! PlanRequest: what a secure session is to collect, as REST writes it.

use std::time::Duration;

use dtmf::brand::{Brand, BrandSet};
use dtmf::card_mode::CardMode;
use dtmf::expiry::Date;
use dtmf::field::{Field, FieldKind};
use dtmf::keys::{Keys, PoundKey, StarKey};
use dtmf::plan::{DEFAULT_DEADLINE, Delivery, Drive, PlanError, SecurePlan};
use relay::switchboard::EngineAudio;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::clock::Day;
use crate::problem::Problem;

/// Shortest and longest postal code unless a plan says otherwise.
const POSTAL_DIGITS: (u8, u8) = (3, 10);

/// Enters a secure session.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanRequest {
    /// What to collect, in this order; 1 to 8 fields.
    pub fields: Vec<FieldRequest>,
    /// How long the session may last, 5 to 300 s; 180 s unless said otherwise.
    #[schema(minimum = 5000, maximum = 300_000)]
    pub deadline_ms: Option<u32>,
    /// Whether the caller hears the engine meanwhile; the engine hears nothing either way.
    #[serde(default)]
    pub engine_audio: EngineAudioRequest,
    /// What `#` and `*` do.
    #[serde(default)]
    pub keys: KeysRequest,
}

/// Whether the caller hears the engine during a secure session.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EngineAudioRequest {
    /// It does not.
    #[default]
    Drop,
    /// It does.
    Pass,
}

/// What the keys that are no numerals do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeysRequest {
    /// What `#` does; `submit` unless said otherwise.
    #[serde(default)]
    pub pound: PoundRequest,
    /// What `*` does; `clear_then_cancel` unless said otherwise.
    #[serde(default)]
    pub star: StarRequest,
}

/// What `#` does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PoundRequest {
    /// It finishes the entry.
    #[default]
    Submit,
    /// Nothing.
    Ignore,
}

/// What `*` does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StarRequest {
    /// One clears the entry; a second one at once cancels the session.
    #[default]
    ClearThenCancel,
    /// It clears the entry.
    Clear,
    /// It cancels the session.
    Cancel,
    /// Nothing.
    Ignore,
}

/// One field.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FieldRequest {
    /// What is asked for.
    #[serde(rename = "type")]
    pub kind: FieldType,
    /// Attempts the caller has, 1 to 3; 3 unless said otherwise.
    #[schema(minimum = 1, maximum = 3)]
    pub max_attempts: Option<u8>,
    /// How long the first key may take, 1 to 60 s; 10 s unless said otherwise.
    #[schema(minimum = 1000, maximum = 60_000)]
    pub first_key_timeout_ms: Option<u32>,
    /// How long each further key may take, 1 to 60 s; 5 s unless said otherwise.
    #[schema(minimum = 1000, maximum = 60_000)]
    pub inter_key_timeout_ms: Option<u32>,
    /// Of a card number: the brands accepted; all in common use unless said otherwise.
    pub allowed_brands: Option<Vec<BrandName>>,
    /// Of a postal code: the fewest digits, 3 at least.
    pub min_digits: Option<u8>,
    /// Of a postal code: the most digits, 10 at most.
    pub max_digits: Option<u8>,
}

/// What can be asked for; the words are Twilio's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FieldType {
    /// A payment card's number.
    PaymentCardNumber,
    /// Its expiration date, keyed MMYY.
    ExpirationDate,
    /// Its security code; after the number.
    SecurityCode,
    /// A postal code of digits.
    PostalCode,
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

impl PlanRequest {
    /// Whether the caller hears the engine meanwhile.
    #[must_use]
    pub fn engine_audio(&self) -> EngineAudio {
        match self.engine_audio {
            EngineAudioRequest::Drop => EngineAudio::Drop,
            EngineAudioRequest::Pass => EngineAudio::Pass,
        }
    }

    /// The plan, with `today` as the day that expiration dates are judged by.
    ///
    /// # Errors
    /// A problem that points at the member at fault.
    pub fn into_plan(self, today: Day) -> Result<SecurePlan, Problem> {
        let fields: Vec<Field> = (0..)
            .zip(&self.fields)
            .map(|(index, field)| field.to_field(index))
            .collect::<Result<_, _>>()?;
        let deadline = self.deadline_ms.map_or(DEFAULT_DEADLINE, milliseconds);
        let today = Date::new(today.year, today.month, today.day).ok_or_else(Problem::internal)?;
        let request = dtmf::PlanRequest {
            fields: &fields,
            keys: self.keys.to_keys(),
            deadline,
            today,
            // What is only validated needs no real card.
            card_mode: CardMode::Test,
            luhn_unionpay: false,
            drive: Drive::WholePlan,
            delivery: Delivery::Discard,
        };
        SecurePlan::new(request).map_err(refused)
    }
}

impl FieldRequest {
    fn to_field(&self, index: usize) -> Result<Field, Problem> {
        let mut field = Field::new(self.kind(index)?);
        field.attempts = self.max_attempts.unwrap_or(field.attempts);
        if let Some(timeout) = self.first_key_timeout_ms {
            field.first_key_timeout = milliseconds(timeout);
        }
        if let Some(timeout) = self.inter_key_timeout_ms {
            field.inter_key_timeout = milliseconds(timeout);
        }
        Ok(field)
    }

    fn kind(&self, index: usize) -> Result<FieldKind, Problem> {
        let kind = match self.kind {
            FieldType::PaymentCardNumber => {
                let allowed = self.allowed_brands.as_ref().map_or(BrandSet::COMMON, |names| {
                    names.iter().fold(BrandSet::NONE, |set, name| set.with(name.brand()))
                });
                FieldKind::CardNumber { allowed }
            }
            FieldType::ExpirationDate => FieldKind::ExpirationDate,
            FieldType::SecurityCode => FieldKind::SecurityCode,
            FieldType::PostalCode => FieldKind::PostalCode {
                min: self.min_digits.unwrap_or(POSTAL_DIGITS.0),
                max: self.max_digits.unwrap_or(POSTAL_DIGITS.1),
            },
        };
        let (is_card, is_postal) =
            (self.kind == FieldType::PaymentCardNumber, self.kind == FieldType::PostalCode);
        let misplaced = [
            ("allowed_brands", self.allowed_brands.is_some() && !is_card),
            ("min_digits", self.min_digits.is_some() && !is_postal),
            ("max_digits", self.max_digits.is_some() && !is_postal),
        ];
        match misplaced.iter().find(|(_, misplaced)| *misplaced) {
            Some((member, _)) => Err(Problem::invalid(
                format!("/fields/{index}/{member}"),
                "has no meaning for a field of this type",
            )),
            None => Ok(kind),
        }
    }
}

impl KeysRequest {
    fn to_keys(self) -> Keys {
        Keys {
            pound: match self.pound {
                PoundRequest::Submit => PoundKey::Submit,
                PoundRequest::Ignore => PoundKey::Ignore,
            },
            star: match self.star {
                StarRequest::ClearThenCancel => StarKey::ClearThenCancel,
                StarRequest::Clear => StarKey::Clear,
                StarRequest::Cancel => StarKey::Cancel,
                StarRequest::Ignore => StarKey::Ignore,
            },
        }
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

/// A refused plan, pointing at the member at fault.
fn refused(error: PlanError) -> Problem {
    let pointer = match error {
        PlanError::NoFields | PlanError::TooManyFields => "/fields".to_owned(),
        PlanError::Deadline => "/deadline_ms".to_owned(),
        PlanError::Attempts { field } => format!("/fields/{field}/max_attempts"),
        PlanError::NoBrands { field } | PlanError::BrandWithoutCode { field } => {
            format!("/fields/{field}/allowed_brands")
        }
        PlanError::FieldTimeout { field }
        | PlanError::KeyTimeout { field }
        | PlanError::Lengths { field }
        | PlanError::AmountRange { field }
        | PlanError::DecimalPoint { field }
        | PlanError::Duplicate { field }
        | PlanError::CaptureSequence { field } => format!("/fields/{field}"),
    };
    Problem::invalid(pointer, format!("{}: {error}", error.as_str()))
}

fn milliseconds(number: u32) -> Duration {
    Duration::from_millis(number.into())
}

#[cfg(test)]
mod tests {
    use dtmf::brand::Brand;
    use dtmf::field::FieldKind;

    use super::{BrandName, PlanRequest};
    use crate::clock;

    fn plan(text: &str) -> Result<dtmf::plan::SecurePlan, serde_json::Value> {
        let request: PlanRequest = serde_json::from_str(text).unwrap();
        let plan = request.into_plan(clock::now().day());
        plan.map_err(|problem| serde_json::to_value(problem.body("req")).unwrap())
    }

    #[test]
    fn brands_have_the_names_that_events_use() {
        for brand in Brand::ALL {
            let name: BrandName = serde_json::from_value(brand.as_str().into()).unwrap();
            assert_eq!(name.brand(), brand);
        }
    }

    #[test]
    fn a_short_plan_has_defaults() {
        let text = r#"{"fields":[{"type":"payment-card-number"},{"type":"postal-code"}]}"#;
        let plan = plan(text).unwrap();
        assert_eq!(plan.deadline().as_secs(), 180);
        assert_eq!(plan.fields()[0].attempts, 3);
        assert_eq!(plan.fields()[1].kind, FieldKind::PostalCode { min: 3, max: 10 });
    }

    #[test]
    fn faults_are_pointed_at() {
        let cases = [
            (r#"{"fields":[]}"#, "/fields"),
            (
                r#"{"fields":[{"type":"expiration-date","max_attempts":4}]}"#,
                "/fields/0/max_attempts",
            ),
            (r#"{"fields":[{"type":"security-code"}]}"#, "/fields/0"),
            (r#"{"fields":[{"type":"expiration-date"}],"deadline_ms":1}"#, "/deadline_ms"),
            (r#"{"fields":[{"type":"expiration-date","min_digits":4}]}"#, "/fields/0/min_digits"),
        ];
        for (text, pointer) in cases {
            let body = plan(text).unwrap_err();
            assert_eq!(body["errors"][0]["pointer"], pointer, "{text}");
            assert_eq!(body["status"], 422, "{text}");
        }
    }
}
