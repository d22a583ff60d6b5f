//! RecordingActions: a recording is begun, paused and ended within its call.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use relay::switchboard::{RecordingAction, RecordingState};

use crate::Control;
use crate::auth::{Permit, WriteCalls};
use crate::calls::CallPath;
use crate::clock;
use crate::dto::id;
use crate::dto::json::JsonBytes;
use crate::dto::recording::{RecordingRequest, RecordingView};
use crate::idempotency::{Answer, Posted};
use crate::keys::Role;
use crate::problem::{Problem, ProblemBody};

/// Where recordings are off, and what to do.
pub(crate) const OFF: &str = "this relay keeps no recordings: recordings.enabled is false";

/// Begins, pauses, resumes or ends a call's recording; the answer comes when that is in force.
///
/// `start` begins the recording, with its time zero now, or has it go on after a pause. `pause` has
/// it hold silence of both parties while its time goes on; what was said before stays. `stop` makes
/// it complete while the call goes on: it can be exported and erased. What stands so already stays
/// so. A call has one recording, so after `stop` there is no `start`: pause one that is to go on.
/// None of it changes what a secure session withholds.
#[utoipa::path(
    post, path = "/v1/calls/{call_id}/recording", tag = "recordings",
    request_body = RecordingRequest,
    params(("call_id" = String, Path),
        ("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 128,
            pattern = "^[!-~]+$",
        description = "Repeat a request with the same key, and it has its effect once (24 h)")),
    responses(
        (status = 200, body = RecordingView),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json"),
        (status = "5XX", body = ProblemBody, content_type = "application/problem+json")),
)]
pub async fn record(
    State(control): State<Arc<Control>>,
    permit: Permit<WriteCalls>,
    call: CallPath,
    posted: Posted,
    body: JsonBytes,
) -> Result<Response, Problem> {
    let work = async {
        let RecordingRequest { action } = body.read()?;
        Answer::ok(&obey(&control, &call, action.into(), permit.role()).await?)
    };
    posted.once(&control, &permit, body.octets(), work).await
}

/// Does what is asked, and tells how the recording stands then.
pub(crate) async fn obey(
    control: &Control,
    call: &CallPath,
    action: RecordingAction,
    role: Role,
) -> Result<RecordingView, Problem> {
    let at = call.live()?;
    if control.recordings.is_none() {
        return Err(Problem::invalid("/action", OFF));
    }
    let state = control.relay.record(at, action).await?;
    let entry = &call.0;
    match state {
        RecordingState::Running => entry.recorded.begins(clock::now()),
        RecordingState::Ended => entry.recorded.ends(),
        RecordingState::Paused | RecordingState::Never => {}
    }
    let word = match action {
        RecordingAction::Start => "start",
        RecordingAction::Pause => "pause",
        RecordingAction::Stop => "stop",
    };
    let (call, role) = (id::call(entry.id), role.as_str());
    tracing::info!(call, role, action = word, "recording: what was asked is in force");
    RecordingView::of(entry, Some(state)).ok_or_else(Problem::internal)
}
