//! Secure sessions: enter, read and end them.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use relay::switchboard::{EngineAudio, SessionRequest};

use crate::Control;
use crate::auth::{AnyKey, Permit, SecureEnd, SecureEnter};
use crate::calls::CallPath;
use crate::clock;
use crate::dto::id;
use crate::dto::json::JsonBytes;
use crate::dto::named_plan::{EnterRequest, NamedPlanRequest};
use crate::dto::plan::{PlanContext, PlanRequest, SessionOrder};
use crate::dto::secure_session::{SessionEntered, SessionView, SilenceWarning};
use crate::idempotency::{Answer, Posted};
use crate::index::CallEntry;
use crate::keys::{Role, Scope};
use crate::problem::{Code, Problem, ProblemBody};

/// Enters a secure session.
///
/// The answer comes when the cut is in force: from then on nothing of the caller reaches the
/// engine or the recording.
#[utoipa::path(
    post, path = "/v1/calls/{call_id}/secure-session", tag = "secure sessions",
    request_body = EnterRequest,
    params(("call_id" = String, Path),
        ("Idempotency-Key" = Option<String>, Header,
        description = "Repeat a request with the same key, and it has its effect once (24 h)")),
    responses(
        (status = 201, body = SessionEntered, headers(("Location" = String))),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json"),
        (status = "5XX", body = ProblemBody, content_type = "application/problem+json")),
)]
pub async fn enter(
    State(control): State<Arc<Control>>,
    permit: Permit<SecureEnter>,
    call: CallPath,
    posted: Posted,
    body: JsonBytes,
) -> Result<Response, Problem> {
    let work = async { enter_session(&control, &call, plan_of(&control, &body)?).await };
    posted.once(&control, &permit, body.octets(), work).await
}

/// The plan that was sent, or that of the name that was sent.
pub(crate) fn plan_of(control: &Control, body: &JsonBytes) -> Result<PlanRequest, Problem> {
    match EnterRequest::read(body)? {
        EnterRequest::Inline(plan) => Ok(*plan),
        EnterRequest::Named(NamedPlanRequest { plan }) => {
            let plans = &control.models.plans;
            let known = plans.find(&plan).ok_or_else(|| {
                Problem::invalid(
                    "/plan",
                    "is no plan of the configuration: GET /v1/plans lists them",
                )
            })?;
            plans.request(&known)
        }
    }
}

/// Enters a session with the plan of a name, for an engine's model. Without a name it is the only
/// plan there is.
pub(crate) async fn enter_named(
    control: &Control,
    call: Arc<CallEntry>,
    plan: Option<&str>,
) -> Result<(), Problem> {
    let plans = &control.models.plans;
    let known = match plan {
        Some(name) => plans.find(name),
        None => plans.only(),
    };
    let known =
        known.ok_or_else(|| Problem::invalid("/plan", "is no plan of the configuration"))?;
    enter_session(control, &CallPath(call), plans.request(&known)?).await.map(drop)
}

/// Enters a session with a plan that was sent or named; the answer is for REST.
pub(crate) async fn enter_session(
    control: &Control,
    call: &CallPath,
    request: PlanRequest,
) -> Result<Answer, Problem> {
    let entered = begin(control, call, request).await?;
    let location = format!("/v1/calls/{}/secure-session", id::call(call.0.id));
    Answer::created(&location, &entered)
}

/// Enters a session; what is returned is for whoever asked.
pub(crate) async fn begin(
    control: &Control,
    call: &CallPath,
    request: PlanRequest,
) -> Result<SessionEntered, Problem> {
    let at = call.live()?;
    let session = id::new_session();
    let context =
        PlanContext { today: clock::now().day(), secure: &control.secure, sinks: &control.sinks };
    let SessionOrder { plan, engine_audio, announcer, sink } = request.into_order(&context)?;
    let warning = SilenceWarning::of(plan.deadline(), call.0.profile().silence_budget());
    call.0.let_engine_through(engine_audio == EngineAudio::Pass);
    let request = SessionRequest { session, plan, engine_audio, announcer };
    // Before the cut, since what is accepted may be handed over before the receipt is read here.
    call.0.order(session, sink);
    let entered = control.relay.enter_secure(at, request).await;
    let receipt = entered.inspect_err(|_| drop(call.0.take_order(session)))?;
    assert!(receipt.call() == at.call && receipt.session() == session, "the receipt is for this");
    let cut_at = clock::at(receipt.since());
    call.0.story.session_started(cut_at, session);
    let call = id::call(at.call);
    tracing::info!(call, session = id::session(session), "secure session entered");
    if warning.is_some() {
        tracing::warn!(call, "the session may outlast the silence that its engine bears");
    }
    Ok(SessionEntered::new(&receipt, cut_at, warning))
}

/// Reads the call's last secure session. An engine's key learns its state, and pass or fail.
#[utoipa::path(
    get, path = "/v1/calls/{call_id}/secure-session", tag = "secure sessions",
    params(("call_id" = String, Path)),
    responses(
        (status = 200, body = SessionView),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json")),
)]
pub async fn read(
    State(control): State<Arc<Control>>,
    permit: Permit<AnyKey>,
    CallPath(entry): CallPath,
) -> Result<Json<SessionView>, Problem> {
    view(&control, &entry, permit.role()).await
}

/// The call's last secure session, as `role` may see it.
pub(crate) async fn view(
    control: &Control,
    entry: &CallEntry,
    role: Role,
) -> Result<Json<SessionView>, Problem> {
    let seen = control.see(entry).await;
    let view = SessionView::of(entry, seen.as_ref(), role).ok_or_else(|| {
        Problem::new(Code::SecureSessionNotFound, "No secure session was entered on this call.")
    })?;
    let outcome = entry.story.session().and_then(|session| control.sinks.outcome(session.id));
    Ok(Json(view.with_delivery(role, outcome.as_ref())))
}

/// Ends a collection early, or lets a held call drain once more. The cut holds until quiet is
/// heard.
///
/// A script's key ends a session that it drives field by field, between two fields; all else is
/// for operators.
#[utoipa::path(
    delete, path = "/v1/calls/{call_id}/secure-session", tag = "secure sessions",
    params(("call_id" = String, Path)),
    responses(
        (status = 204),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json")),
)]
pub async fn cancel(
    State(control): State<Arc<Control>>,
    permit: Permit<SecureEnd>,
    call: CallPath,
) -> Result<StatusCode, Problem> {
    let at = call.live()?;
    if permit.role().allows(Scope::SecureCancel) {
        control.relay.cancel_secure(at).await?;
    } else {
        control.relay.abandon_secure(at).await?;
    }
    let role = permit.role().as_str();
    tracing::info!(call = id::call(call.0.id), role, "secure session cancelled");
    Ok(StatusCode::NO_CONTENT)
}
