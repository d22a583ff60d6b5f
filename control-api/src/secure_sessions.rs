//! Secure sessions: enter, read and end them.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use relay::switchboard::{EngineAudio, SessionId, SessionRequest};

use crate::Control;
use crate::audit::By;
use crate::auth::{Party, Permit, SecureEnd, SecureEnter};
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
use crate::wait::{self, Asker, WaitQuery, Waited, Waiting};

/// Enters a secure session.
///
/// The answer comes when the cut is in force: from then on nothing of the caller reaches the
/// engine or the recording. With `wait` the answer comes when the session is over, or the time is,
/// and tells how it stands: `result` is the verdict, if it is over.
#[utoipa::path(
    post, path = "/v1/calls/{call_id}/secure-session", tag = "secure sessions",
    request_body = EnterRequest,
    params(("call_id" = String, Path), WaitQuery,
        ("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 128,
            pattern = "^[!-~]+$",
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
    asker: Asker,
    query: Result<Query<WaitQuery>, QueryRejection>,
    body: JsonBytes,
) -> Result<Response, Problem> {
    let work = async {
        let time = WaitQuery::time(query)?;
        let plan = plan_of(&control, &body)?;
        let take = |time| Waiting::take_room(&control, &call.0, asker, time);
        let waiting = time.map(take).transpose()?;
        let mut entered = enter_session(&control, &call, plan, &permit.by()).await?;
        if let Some(waiting) = waiting {
            let session = Some(entered.session);
            // Also if nobody hears it: the session was entered, and a repeated request is told so.
            let waited = waiting.until_over(&control, &call.0, session, &permit.principal).await;
            if waited != Waited::Revoked {
                let Json(last) = view(&control, &call.0, permit.role()).await?;
                entered.told.wait_is_over(&last);
            }
        }
        Answer::created(&entered.location, &entered.told)
    };
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
    let request = plans.request(&known)?;
    enter_session(control, &CallPath(call), request, &By::engine()).await.map(drop)
}

/// A session that was entered.
pub(crate) struct Entered {
    /// Which.
    pub(crate) session: SessionId,
    location: String,
    /// What whoever asked is told.
    pub(crate) told: SessionEntered,
}

/// Enters a session with a plan that was sent or named.
pub(crate) async fn enter_session(
    control: &Control,
    call: &CallPath,
    request: PlanRequest,
    by: &By,
) -> Result<Entered, Problem> {
    let session = id::new_session();
    let entered = enter_audited(control, call, request, session, by).await;
    control.audit.note(by.entered(call.0.id, session, entered.as_ref()));
    entered
}

/// Nothing is cut before the disk has it that it will be: so no session is acknowledged that the
/// audit log does not know, whenever the machine fails, and where the log can't be written there is
/// nothing to take back.
async fn enter_audited(
    control: &Control,
    call: &CallPath,
    request: PlanRequest,
    session: SessionId,
    by: &By,
) -> Result<Entered, Problem> {
    let at = call.live()?;
    let context =
        PlanContext { today: clock::now().day(), secure: &control.secure, sinks: &control.sinks };
    let SessionOrder { plan, engine_audio, announcer, sink } = request.into_order(&context)?;
    let warning = SilenceWarning::of(plan.deadline(), call.0.profile().silence_budget());
    let request = SessionRequest { session, plan, engine_audio, announcer };
    control.audit.require(by.entering(call.0.id, session)).await?;
    // Before the cut, since what is accepted may be handed over before the receipt is read here, and
    // since the engine's task asks at the event of the cut whether its engine is to be heard.
    call.0.order(session, sink);
    if engine_audio == EngineAudio::Pass {
        call.0.let_engine_through(session);
    }
    let entered = control.relay.enter_secure(at, request).await;
    let receipt = entered.inspect_err(|_| call.0.was_refused(session))?;
    assert!(receipt.call() == at.call && receipt.session() == session, "the receipt is for this");
    let cut_at = clock::at(receipt.since());
    call.0.story.session_started(cut_at, session);
    let call = id::call(at.call);
    tracing::info!(call, session = id::session(session), "secure session entered");
    let location = format!("/v1/calls/{call}/secure-session");
    if warning.is_some() {
        tracing::warn!(call, "the session may outlast the silence that its engine bears");
    }
    Ok(Entered { session, location, told: SessionEntered::new(&receipt, cut_at, warning) })
}

/// Reads the call's last secure session. An engine's key learns its state, and pass or fail.
///
/// With `wait` the answer comes when no session is in progress any more, or the time is over.
#[utoipa::path(
    get, path = "/v1/calls/{call_id}/secure-session", tag = "secure sessions",
    params(("call_id" = String, Path), WaitQuery),
    responses(
        (status = 200, body = SessionView),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json")),
)]
pub async fn read(
    State(control): State<Arc<Control>>,
    permit: Permit<Party>,
    CallPath(entry): CallPath,
    asker: Asker,
    query: Result<Query<WaitQuery>, QueryRejection>,
) -> Result<Json<SessionView>, Problem> {
    if let Some(time) = WaitQuery::time(query)? {
        let waiting = Waiting::take_room(&control, &entry, asker, time)?;
        let waited = waiting.until_over(&control, &entry, None, &permit.principal).await;
        if waited == Waited::Revoked {
            return Err(wait::revoked());
        }
    }
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
    if permit.allows(Scope::SecureCancel) {
        control.relay.cancel_secure(at).await?;
    } else {
        control.relay.abandon_secure(at).await?;
    }
    let role = &*permit.principal.roles;
    tracing::info!(call = id::call(call.0.id), role, "secure session cancelled");
    Ok(StatusCode::NO_CONTENT)
}
