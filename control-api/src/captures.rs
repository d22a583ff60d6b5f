//! Captures: a secure session that a script drives field by field.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::Response;

use crate::Control;
use crate::auth::{Permit, SecureRead};
use crate::calls::CallPath;
use crate::dto::capture::CaptureRequest;
use crate::dto::json::JsonBytes;
use crate::dto::secure_session::SessionView;
use crate::idempotency::{Answer, Posted};
use crate::keys::Role;
use crate::problem::{Problem, ProblemBody};
use crate::secure_sessions::view;

/// Has the caller key one field, of a plan whose `drive` is `field_at_a_time`.
///
/// The answer comes at once; the field's events tell how it went. The same field again is a retry:
/// what was keyed for it is forgotten. `required` names the fields that are still missing.
#[utoipa::path(
    post, path = "/v1/calls/{call_id}/secure-session/captures", tag = "secure sessions",
    request_body = CaptureRequest,
    params(("call_id" = String, Path),
        ("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 128,
            pattern = "^[!-~]+$",
        description = "Repeat a request with the same key, and it has its effect once (24 h)")),
    responses(
        (status = 200, body = SessionView),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json"),
        (status = "5XX", body = ProblemBody, content_type = "application/problem+json")),
)]
pub async fn capture(
    State(control): State<Arc<Control>>,
    permit: Permit<SecureRead>,
    call: CallPath,
    posted: Posted,
    body: JsonBytes,
) -> Result<Response, Problem> {
    let work = async {
        let step = body.read::<CaptureRequest>()?.step()?;
        control.relay.capture(call.live()?, step).await?;
        answer(&control, &call, permit.role()).await
    };
    posted.once(&control, &permit, body.octets(), work).await
}

/// Ends a session that is driven field by field and has every field: what was keyed goes to the
/// plan's sink.
#[utoipa::path(
    post, path = "/v1/calls/{call_id}/secure-session/complete", tag = "secure sessions",
    params(("call_id" = String, Path),
        ("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 128,
            pattern = "^[!-~]+$",
        description = "Repeat a request with the same key, and it has its effect once (24 h)")),
    responses(
        (status = 200, body = SessionView),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json"),
        (status = "5XX", body = ProblemBody, content_type = "application/problem+json")),
)]
pub async fn complete(
    State(control): State<Arc<Control>>,
    permit: Permit<SecureRead>,
    call: CallPath,
    posted: Posted,
) -> Result<Response, Problem> {
    let work = async {
        control.relay.complete(call.live()?).await?;
        answer(&control, &call, permit.role()).await
    };
    posted.once(&control, &permit, &[], work).await
}

async fn answer(control: &Control, call: &CallPath, role: Role) -> Result<Answer, Problem> {
    let Json(view) = view(control, &call.0, role).await?;
    Answer::ok(&view)
}
