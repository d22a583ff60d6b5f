//! PlanRequest: what a secure session is to collect, as REST writes it.

use std::time::Duration;

use dtmf::expiry::Date;
use dtmf::field::{Field, MAX_ATTEMPTS};
use dtmf::plan::{
    DEFAULT_DEADLINE, Delivery, Drive, MAX_DEADLINE, MAX_FIELD_TIMEOUT, MAX_FIELDS,
    MAX_KEY_TIMEOUT, MIN_DEADLINE, MIN_FIELD_TIMEOUT, MIN_KEY_TIMEOUT, PlanError, SecurePlan,
};
use relay::switchboard::{Announcer, EngineAudio};
use serde::Deserialize;
use utoipa::ToSchema;

use super::field::{FieldRequest, milliseconds};
use super::keys::KeysRequest;
use super::sink::SinkBody;
use crate::clock::Day;
use crate::problem::Problem;
use crate::secure_defaults::SecureDefaults;
use crate::sinks::{SinkOrder, Sinks};

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
    /// Who says which field is next.
    #[serde(default)]
    pub drive: DriveRequest,
    /// Refuse UnionPay numbers without a right check digit; some in use have none.
    #[serde(default)]
    pub luhn_unionpay: bool,
    /// What the caller is told meanwhile.
    pub prompts: Option<PromptsRequest>,
    /// What becomes of what was keyed; it is discarded unless said otherwise.
    pub sink: Option<SinkBody>,
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

/// Who says which field is next.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DriveRequest {
    /// The plan: its fields follow one another.
    #[default]
    WholePlan,
    /// A script, which captures one field after the other.
    FieldAtATime,
}

/// What the caller is told.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PromptsRequest {
    /// Whether the relay says anything; it does unless said otherwise, where it drops the engine's
    /// audio.
    pub enabled: Option<bool>,
    /// The language, such as `es` or `es-MX`; the configuration's unless said otherwise.
    #[schema(example = "es")]
    pub language: Option<String>,
    /// Say the last four digits of an accepted card number.
    #[serde(default)]
    pub read_back: bool,
    /// Confirm each key with a beep, the same for every key.
    #[serde(default)]
    pub key_beep: bool,
}

/// What a plan needs besides what was sent.
pub struct PlanContext<'a> {
    /// The day that dates are judged by.
    pub today: Day,
    /// Which cards are taken, and who speaks.
    pub secure: &'a SecureDefaults,
    /// Where what was keyed can go.
    pub sinks: &'a Sinks,
}

/// A session that is ready to be entered.
pub struct SessionOrder {
    /// What to collect.
    pub plan: SecurePlan,
    /// Whether the engine may talk meanwhile.
    pub engine_audio: EngineAudio,
    /// What the caller is told.
    pub announcer: Option<Announcer>,
    /// What becomes of what was keyed.
    pub sink: SinkOrder,
}

impl PlanRequest {
    /// The session that this asks for.
    ///
    /// # Errors
    /// A problem that points at the member at fault.
    pub fn into_order(self, context: &PlanContext<'_>) -> Result<SessionOrder, Problem> {
        let fields = (0..).zip(&self.fields);
        let fields: Vec<Field> =
            fields.map(|(index, field)| field.to_field(index)).collect::<Result<_, _>>()?;
        let Day { year, month, day } = context.today;
        let today = Date::new(year, month, day).ok_or_else(Problem::internal)?;
        let announcer = self.announcer(context.secure)?;
        let engine_audio = self.engine_audio.to_engine_audio();
        let card_mode = context.secure.card_mode;
        let sink = context.sinks.prepare(card_mode, self.sink)?;
        let plan = SecurePlan::new(dtmf::PlanRequest {
            fields: &fields,
            keys: self.keys.to_keys(),
            deadline: self.deadline_ms.map_or(DEFAULT_DEADLINE, milliseconds),
            today,
            card_mode,
            luhn_unionpay: self.luhn_unionpay,
            drive: self.drive.to_drive(),
            delivery: if sink.delivers() { Delivery::Sink } else { Delivery::Discard },
        })
        .map_err(|error| refused(error, &fields))?;
        Ok(SessionOrder { plan, engine_audio, announcer, sink })
    }

    fn announcer(&self, secure: &SecureDefaults) -> Result<Option<Announcer>, Problem> {
        let engine_speaks = self.engine_audio == EngineAudioRequest::Pass;
        let asked = self.prompts.as_ref();
        let enabled = asked.and_then(|asked| asked.enabled).unwrap_or(!engine_speaks);
        if enabled && engine_speaks {
            let detail = "the engine talks to the caller itself: leave out engine_audio or prompts";
            return Err(Problem::invalid("/prompts/enabled", detail));
        }
        if !enabled {
            return Ok(None);
        }
        let voice = match asked.and_then(|asked| asked.language.as_deref()) {
            None => secure.voice(secure.language),
            Some(language) => language.parse().ok().and_then(|language| secure.voice(language)),
        };
        let voice = voice.ok_or_else(|| {
            let known: Vec<_> = secure.prompts.languages().map(|it| it.to_string()).collect();
            Problem::invalid("/prompts/language", format!("must be one of {}", known.join(", ")))
        })?;
        let read_back = asked.is_some_and(|asked| asked.read_back);
        let key_beep = asked.is_some_and(|asked| asked.key_beep);
        Ok(Some(Announcer { voice, read_back, key_beep }))
    }
}

impl EngineAudioRequest {
    const fn to_engine_audio(self) -> EngineAudio {
        match self {
            EngineAudioRequest::Drop => EngineAudio::Drop,
            EngineAudioRequest::Pass => EngineAudio::Pass,
        }
    }
}

impl DriveRequest {
    const fn to_drive(self) -> Drive {
        match self {
            DriveRequest::WholePlan => Drive::WholePlan,
            DriveRequest::FieldAtATime => Drive::FieldAtATime,
        }
    }
}

/// A refused plan, pointing at the member at fault and saying what it may be.
fn refused(error: PlanError, fields: &[Field]) -> Problem {
    let at = |field: usize, member: &str| format!("/fields/{field}/{member}");
    let seconds = |range: (Duration, Duration)| {
        format!("must be {} to {} ms", range.0.as_millis(), range.1.as_millis())
    };
    let word = error.as_str();
    let (pointer, allowed) = match error {
        PlanError::NoFields | PlanError::TooManyFields => {
            ("/fields".to_owned(), format!("must be 1 to {MAX_FIELDS} fields"))
        }
        PlanError::Deadline => ("/deadline_ms".to_owned(), seconds((MIN_DEADLINE, MAX_DEADLINE))),
        PlanError::Attempts { field } => {
            (at(field, "max_attempts"), format!("must be 1 to {MAX_ATTEMPTS}"))
        }
        PlanError::KeyTimeout { field } => {
            let timeouts = MIN_KEY_TIMEOUT..=MAX_KEY_TIMEOUT;
            let is_first =
                fields.get(field).is_some_and(|it| !timeouts.contains(&it.first_key_timeout));
            let member = if is_first { "first_key_timeout_ms" } else { "inter_key_timeout_ms" };
            (at(field, member), seconds((MIN_KEY_TIMEOUT, MAX_KEY_TIMEOUT)))
        }
        PlanError::FieldTimeout { field } => {
            (at(field, "field_timeout_ms"), seconds((MIN_FIELD_TIMEOUT, MAX_FIELD_TIMEOUT)))
        }
        PlanError::DecimalPoint { field } => (at(field, "keys"), error.to_string()),
        PlanError::NoBrands { field } | PlanError::BrandWithoutCode { field } => {
            (at(field, "allowed_brands"), error.to_string())
        }
        PlanError::Lengths { field } => (at(field, "min_digits"), error.to_string()),
        PlanError::AmountRange { field } => (at(field, "max_amount"), error.to_string()),
        PlanError::Duplicate { field } | PlanError::CaptureSequence { field } => {
            (format!("/fields/{field}"), error.to_string())
        }
    };
    Problem::invalid(pointer, format!("{word}: {allowed}"))
}

#[cfg(test)]
mod tests {
    use dtmf::field::FieldKind;
    use serde_json::{Value, json};

    use super::{PlanContext, PlanRequest, SessionOrder};
    use crate::clock;
    use crate::secure_defaults::SecureDefaults;
    use crate::sinks::Sinks;

    fn order(body: Value) -> Result<SessionOrder, Value> {
        let request: PlanRequest = serde_json::from_value(body).unwrap();
        let (secure, sinks) = (SecureDefaults::default(), Sinks::default());
        let context = PlanContext { today: clock::now().day(), secure: &secure, sinks: &sinks };
        let order = request.into_order(&context);
        order.map_err(|problem| serde_json::to_value(problem.body("req")).unwrap())
    }

    #[test]
    fn a_short_plan_has_defaults() {
        let body = json!({"fields": [{"type": "payment-card-number"}, {"type": "postal-code"}]});
        let order = order(body).unwrap();
        assert_eq!(order.plan.deadline().as_secs(), 180);
        assert_eq!(order.plan.fields()[0].attempts, 3);
        assert_eq!(order.plan.fields()[1].kind, FieldKind::PostalCode { min: 3, max: 10 });
        assert!(order.announcer.is_some_and(|it| !it.read_back && !it.key_beep));
        assert!(!order.sink.delivers());
    }

    #[test]
    fn the_relay_or_the_engine_speaks() {
        let body = |prompts: Value, audio: &str| {
            json!({"fields": [{"type": "expiration-date"}], "prompts": prompts,
                "engine_audio": audio})
        };
        assert!(order(body(json!({"enabled": false}), "drop")).unwrap().announcer.is_none());
        assert!(order(body(json!({}), "pass")).unwrap().announcer.is_none());
        let error = order(body(json!({"enabled": true}), "pass")).err().unwrap();
        assert_eq!(error["errors"][0]["pointer"], "/prompts/enabled");
        let spoken = body(json!({"language": "es-MX", "read_back": true}), "drop");
        assert!(order(spoken).unwrap().announcer.is_some_and(|it| it.read_back));
        for language in ["xx", "", "no language at all"] {
            let error = order(body(json!({"language": language}), "drop")).err().unwrap();
            assert_eq!(error["errors"][0]["pointer"], "/prompts/language");
        }
    }

    #[test]
    fn faults_are_pointed_at_with_what_is_allowed() {
        let card = |more: Value| {
            let mut field = json!({"type": "expiration-date"});
            field.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            json!({"fields": [field]})
        };
        let cases = [
            (json!({"fields": []}), "/fields", "1 to 8"),
            (card(json!({"max_attempts": 4})), "/fields/0/max_attempts", "1 to 3"),
            (
                card(json!({"inter_key_timeout_ms": 5})),
                "/fields/0/inter_key_timeout_ms",
                "1000 to 60000",
            ),
            (card(json!({"field_timeout_ms": 5})), "/fields/0/field_timeout_ms", "5000 to 120000"),
            (json!({"fields": [{"type": "security-code"}]}), "/fields/0", "capture-sequence"),
            (
                json!({"fields": [{"type": "expiration-date"}], "deadline_ms": 1}),
                "/deadline_ms",
                "5000 to 300000",
            ),
            (
                json!({"fields": [{"type": "postal-code", "min_digits": 9, "max_digits": 4}]}),
                "/fields/0/min_digits",
                "lengths",
            ),
        ];
        for (body, pointer, detail) in cases {
            let error = order(body).err().unwrap();
            assert_eq!(error["errors"][0]["pointer"], pointer);
            assert!(error["errors"][0]["detail"].as_str().unwrap().contains(detail), "{error}");
            assert_eq!(error["status"], 422);
        }
    }
}
