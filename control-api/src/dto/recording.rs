//! RecordingView: how a call's recording stands, and what a script asks of it.

use relay::switchboard::{RecordingAction, RecordingState};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::index::CallEntry;

/// What is to become of a call's recording.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RecordingRequest {
    /// What to do.
    pub action: ActionName,
}

/// What to do with a recording.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ActionName {
    /// It begins, or goes on after a pause.
    Start,
    /// It holds silence, and its time goes on.
    Pause,
    /// It is over, and complete.
    Stop,
}

impl From<ActionName> for RecordingAction {
    fn from(name: ActionName) -> RecordingAction {
        match name {
            ActionName::Start => RecordingAction::Start,
            ActionName::Pause => RecordingAction::Pause,
            ActionName::Stop => RecordingAction::Stop,
        }
    }
}

/// How a recording stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RecordingStateName {
    /// What is said is recorded, but for what a secure session withholds.
    Recording,
    /// It holds silence, and its time goes on.
    Paused,
    /// It is over: it was stopped, or its call has ended.
    Stopped,
}

/// A call's recording.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub struct RecordingView {
    /// How it stands.
    pub state: RecordingStateName,
    /// When it began, UTC: where its time is zero.
    #[schema(value_type = String, format = DateTime)]
    pub started_at: Timestamp,
}

impl RecordingView {
    /// What is told of a call's recording, given how the relay saw it; `None` if there never was
    /// one.
    #[must_use]
    pub fn of(entry: &CallEntry, seen: Option<RecordingState>) -> Option<RecordingView> {
        let started_at = entry.recorded.begun_at()?;
        let is_over = entry.recorded.has_ended() || entry.story.is_closed();
        let state = match seen {
            _ if is_over => RecordingStateName::Stopped,
            Some(RecordingState::Ended) => RecordingStateName::Stopped,
            Some(RecordingState::Paused) => RecordingStateName::Paused,
            Some(RecordingState::Running | RecordingState::Never) | None => {
                RecordingStateName::Recording
            }
        };
        Some(RecordingView { state, started_at })
    }
}
