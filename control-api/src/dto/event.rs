//! EventBody: one event as the event stream tells it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::id;
use super::secure_session::ResultName;
use crate::clock::Timestamp;
use crate::external_id::ExternalId;
use crate::index::CallEntry;
use crate::story::{Audience, Tale, Told};

/// The types of events.
pub const KINDS: [&str; 21] = [
    "call.opened",
    "call.armed",
    "call.disarmed",
    "call.media_timeout",
    "call.closed",
    "recording.started",
    "recording.paused",
    "recording.resumed",
    "recording.stopped",
    "recording.gap",
    "media.subscribed",
    "media.unsubscribed",
    "secure_session.started",
    "secure_session.field_started",
    "secure_session.field_rejected",
    "secure_session.field_repeated",
    "secure_session.field_accepted",
    "secure_session.processing",
    "secure_session.concluded",
    "secure_session.held",
    "secure_session.ended",
];

/// Who is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AudienceName {
    /// Scripts and operators.
    Staff,
    /// The AI engine.
    Engine,
}

impl From<AudienceName> for Audience {
    fn from(name: AudienceName) -> Audience {
        match name {
            AudienceName::Staff => Audience::Staff,
            AudienceName::Engine => Audience::Engine,
        }
    }
}

/// The data of one server-sent event, and the body of one webhook. A webhook has the headers
/// `webhook-id`, `webhook-timestamp` and `webhook-signature`: `v1,` and the Base64 of HMAC-SHA-256,
/// under the decoded secret, over id, timestamp and body with dots between (Standard Webhooks).
#[derive(Serialize, ToSchema)]
pub struct EventBody {
    /// What happened: the same word as the event's name.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The call.
    call_id: String,
    /// What its integrator calls the call; absent if it has no such name.
    #[serde(skip_serializing_if = "Option::is_none")]
    external_id: Option<ExternalId>,
    /// The event's number on this call, from 1, as the key's role counts; the same as its id.
    sequence: u64,
    /// When it happened, UTC, in whole seconds: no event tells the time of a key press.
    #[schema(value_type = String, format = DateTime)]
    occurred_at: Timestamp,
    /// More about it.
    data: EventData,
}

/// More about an event; what does not belong to its kind is absent.
#[derive(Default, Serialize, ToSchema)]
pub struct EventData {
    #[serde(skip_serializing_if = "Option::is_none")]
    secure_session_id: Option<String>,
    /// The field, in Twilio's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<&'static str>,
    /// Which attempt, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u8>,
    /// `pass` or `fail`.
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<ResultName>,
    /// Why, in Twilio's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    /// The silent side.
    #[serde(skip_serializing_if = "Option::is_none")]
    side: Option<&'static str>,
}

impl EventBody {
    /// What `audience` is told of a call.
    #[must_use]
    pub fn new(call: &CallEntry, told: Told, audience: Audience) -> EventBody {
        let (kind, data) = words(told.tale, audience);
        debug_assert!(KINDS.contains(&kind), "{kind} can't be asked for in a webhook's events");
        EventBody {
            kind,
            call_id: id::call(call.id),
            external_id: call.external_id.clone(),
            sequence: told.sequence,
            occurred_at: told.at,
            data,
        }
    }
}

fn words(tale: Tale, audience: Audience) -> (&'static str, EventData) {
    let none = EventData::default();
    let of = |session| EventData {
        secure_session_id: Some(id::session(session)),
        ..EventData::default()
    };
    match tale {
        Tale::CallOpened => ("call.opened", none),
        Tale::CallArmed => ("call.armed", none),
        Tale::CallDisarmed => ("call.disarmed", none),
        Tale::CallMediaTimeout(side) => {
            ("call.media_timeout", EventData { side: Some(side.as_str()), ..none })
        }
        Tale::CallClosed => ("call.closed", none),
        Tale::RecordingStarted => ("recording.started", none),
        Tale::RecordingPaused => ("recording.paused", none),
        Tale::RecordingResumed => ("recording.resumed", none),
        Tale::RecordingStopped => ("recording.stopped", none),
        Tale::RecordingGap => ("recording.gap", none),
        Tale::MediaSubscribed => ("media.subscribed", none),
        Tale::MediaUnsubscribed => ("media.unsubscribed", none),
        Tale::SessionStarted(session) => ("secure_session.started", of(session)),
        Tale::FieldStarted(session, step, attempt) => (
            "secure_session.field_started",
            EventData { step: Some(step.as_str()), attempt: Some(attempt), ..of(session) },
        ),
        Tale::FieldRejected(session, step, attempt, error) => (
            "secure_session.field_rejected",
            EventData {
                step: Some(step.as_str()),
                attempt: Some(attempt),
                reason: Some(error.as_str()),
                ..of(session)
            },
        ),
        Tale::FieldRepeated(session, step, attempt) => (
            "secure_session.field_repeated",
            EventData { step: Some(step.as_str()), attempt: Some(attempt), ..of(session) },
        ),
        Tale::SessionProcessing(session) => ("secure_session.processing", of(session)),
        Tale::FieldAccepted(session, step) => (
            "secure_session.field_accepted",
            EventData { step: Some(step.as_str()), ..of(session) },
        ),
        Tale::SessionConcluded(session, verdict) => (
            "secure_session.concluded",
            EventData {
                result: Some(ResultName::of(Some(verdict))),
                reason: Some(verdict.as_str()),
                ..of(session)
            },
        ),
        Tale::SessionHeld(session) => ("secure_session.held", of(session)),
        Tale::SessionEnded(session, verdict) => {
            let reason = match audience {
                Audience::Engine => None,
                Audience::Staff => verdict.map(|verdict| verdict.as_str()),
            };
            let result = Some(ResultName::of(verdict));
            ("secure_session.ended", EventData { result, reason, ..of(session) })
        }
    }
}
