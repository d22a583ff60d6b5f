//! Bodies about what was done, and alarms.

use serde::Serialize;
use utoipa::ToSchema;

use super::id;
use crate::activity::{Alarm, Deed, Entry};
use crate::clock::Timestamp;

/// What was done, and alarms.
#[derive(Serialize, ToSchema)]
pub struct ActivityPage {
    /// The entries, newest first.
    pub data: Vec<EntryView>,
}

impl ActivityPage {
    /// What is told of these entries.
    #[must_use]
    pub fn of(entries: &[Entry]) -> ActivityPage {
        ActivityPage { data: entries.iter().map(EntryView::of).collect() }
    }
}

/// One entry; what does not belong to its kind is absent.
#[derive(Serialize, ToSchema)]
pub struct EntryView {
    /// Its number since the relay was started, from 1.
    sequence: u64,
    /// When it was answered, or heard of, UTC, in whole seconds.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// `request` or `alarm`.
    kind: &'static str,
    /// The call, if it was about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    call_id: Option<String>,
    #[serde(flatten)]
    what: WhatView,
}

/// What is told of each kind.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub enum WhatView {
    /// Of a request.
    Request(RequestView),
    /// Of an alarm.
    Alarm(AlarmView),
}

/// What is told of a request.
#[derive(Serialize, ToSchema)]
pub struct RequestView {
    /// The public part of the key it was made with.
    key_id: String,
    /// The key's roles, joined by `+`; `scopes` if it has none.
    role: String,
    /// Its method.
    method: &'static str,
    /// The pattern of its path.
    #[schema(example = "/v1/calls/{call_id}/secure-session")]
    operation: String,
    /// The status it was answered with.
    status: u16,
}

/// What is told of an alarm.
#[derive(Serialize, ToSchema)]
pub struct AlarmView {
    /// `secure_session.held`, `call.media_timeout`, `recording.gap`, `webhook.given_up`, `audit.failed`,
    /// `audit.anchor_failed`, `audit.collector_lost` or `keys.guessed`.
    event: &'static str,
    /// The silent side.
    #[serde(skip_serializing_if = "Option::is_none")]
    side: Option<&'static str>,
    /// The webhook's name in the configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    webhook: Option<String>,
}

impl EntryView {
    fn of(entry: &Entry) -> EntryView {
        let (kind, what) = match &entry.deed {
            Deed::Request { key, roles, method, operation, status } => {
                let view = RequestView {
                    key_id: key.as_str().to_owned(),
                    role: roles.to_string(),
                    method,
                    operation: operation.to_string(),
                    status: *status,
                };
                ("request", WhatView::Request(view))
            }
            Deed::Alarm(alarm) => ("alarm", WhatView::Alarm(AlarmView::of(alarm))),
        };
        let call_id = entry.call.map(id::call);
        EntryView { sequence: entry.sequence, at: entry.at, kind, call_id, what }
    }
}

impl AlarmView {
    fn of(alarm: &Alarm) -> AlarmView {
        let view = |event| AlarmView { event, side: None, webhook: None };
        match alarm {
            Alarm::SessionHeld => view("secure_session.held"),
            Alarm::MediaTimeout(side) => {
                AlarmView { side: Some(side.as_str()), ..view("call.media_timeout") }
            }
            Alarm::RecordingGap => view("recording.gap"),
            Alarm::AuditFailed => view("audit.failed"),
            Alarm::AuditCollectorLost => view("audit.collector_lost"),
            Alarm::AuditAnchorFailed => view("audit.anchor_failed"),
            Alarm::KeysGuessed => view("keys.guessed"),
            Alarm::WebhookGivenUp(name) => {
                AlarmView { webhook: Some(name.to_string()), ..view("webhook.given_up") }
            }
        }
    }
}
