//! Tools: one request that an AI platform sends for its model: start a plan on a call, wait, and
//! tell what came of it, in flat JSON of strings.
//!
//! Platforms give such a tool from five seconds to minutes, so a session is asked for as often as
//! it takes: the same call and plan are the same session until its result was told.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use relay::switchboard::{CallId, SessionId};
use uuid::Uuid;

use crate::audit::By;
use crate::auth::{Permit, SecureEnter};
use crate::calls::CallPath;
use crate::dto::id;
use crate::dto::json::JsonBytes;
use crate::dto::tool::{ToolAnswer, ToolRequest};
use crate::external_id::ExternalId;
use crate::idempotency::{Answer, Posted};
use crate::index::CallEntry;
use crate::plans::PlanName;
use crate::problem::{Code, Problem, ProblemBody};
use crate::story::SessionState;
use crate::wait::{self, Asker, Waited, Waiting};
use crate::{Control, clock, secure_sessions, twilio};

/// How long a result that nobody heard is that of the next request. A later one is for another
/// payment, and must not be told that this one passed.
const UNHEARD_FOR: Duration = Duration::from_secs(120);

/// The last session that a tool started on a call.
pub struct Run {
    session: SessionId,
    plan: PlanName,
    /// Somebody was told how it ended.
    told: bool,
}

/// Has the caller key what a plan asks for, and tells how it went: a tool for a model.
///
/// The body is flat, and all its members are strings, as HTTP tools of AI platforms send them; so
/// is the answer: `result` is `pass`, `fail` or `running`, and `say` tells a model what that means
/// and what to do. After `running` send the same again: it is the same session until it was told
/// how that ended, or two minutes have passed since. The cut is in force when this answers. What a
/// model can do nothing about (a plan or a call that is not known) is a problem, as elsewhere.
#[utoipa::path(
    post, path = "/v1/tools/collect_payment", tag = "models",
    request_body = ToolRequest,
    params(("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 128,
            pattern = "^[!-~]+$",
        description = "Repeat a request with the same key, and it has its effect once (24 h)")),
    responses(
        (status = 200, body = ToolAnswer),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json"),
        (status = "5XX", body = ProblemBody, content_type = "application/problem+json")),
)]
pub async fn collect_payment(
    State(control): State<Arc<Control>>,
    permit: Permit<SecureEnter>,
    posted: Posted,
    asker: Asker,
    body: JsonBytes,
) -> Result<Response, Problem> {
    let work = async { collect(&control, &permit, asker, body.read()?).await };
    posted.once(&control, &permit, body.octets(), work).await
}

async fn collect(
    control: &Control,
    permit: &Permit<SecureEnter>,
    asker: Asker,
    request: ToolRequest,
) -> Result<Answer, Problem> {
    let call = call_named(control, &request.call)?;
    let entry = &call.0;
    permit.concerns(entry.id);
    let plan = control.models.plans.find(&request.plan).ok_or_else(|| {
        Problem::invalid("/plan", "is no plan of the configuration: GET /v1/plans lists them")
    })?;
    let time = request.wait()?;
    let waiting = time.map(|time| Waiting::take_room(control, entry, asker, time)).transpose()?;
    let session = start_or_join(control, &call, &plan, &permit.by()).await?;
    if let Some(waiting) = waiting {
        match waiting.until_over(control, entry, Some(session), &permit.principal).await {
            Waited::Answer => {}
            // What nobody hears counts as not told, and the idempotency key is given back.
            Waited::Gone => return Err(Problem::internal()),
            Waited::Revoked => return Err(wait::revoked()),
        }
    }
    let answer = ToolAnswer::of(entry.story.session().filter(|it| it.id == session));
    if answer.is_final() {
        let mut last = entry.tool.lock().await;
        last.iter_mut().filter(|run| run.session == session).for_each(|run| run.told = true);
    }
    let (call, plan, result) = (id::call(entry.id), plan.as_str(), answer.result());
    tracing::info!(call, plan, result, "tool called");
    Answer::ok(&answer)
}

/// The call that a platform names by what it knows it by: our own id, that of a media stream in
/// Twilio's manner, the UUID that an AudioSocket was told, or an external id. Ours come first: an
/// external id is the word of whoever calls, and must not lead to another call than the one that goes
/// by it.
fn call_named(control: &Control, name: &str) -> Result<CallPath, Problem> {
    let ours = id::parse_call(name).or_else(|| twilio::parse_call_sid(name));
    let uuid = || {
        let uuid = Uuid::try_parse(name).ok().map(|uuid| CallId(uuid.as_u128()));
        uuid.filter(|id| control.calls.find(*id).is_some())
    };
    let named = || ExternalId::parse(name).and_then(|name| control.calls.id_of(&name));
    let id = ours.or_else(uuid).or_else(named);
    let entry = id.and_then(|id| control.calls.find(id));
    entry.map(CallPath).ok_or_else(|| {
        let detail = "No call of this name is known; calls are forgotten in time.";
        Problem::new(Code::CallNotFound, detail)
            .at("/call", "must be a call's id, its external_id, its CallSid or its UUID")
    })
}

/// The session that a request is about: one that goes on, or that ended unheard, or a new one. The
/// lock is held while one is started, so that a model that asks twice starts one.
async fn start_or_join(
    control: &Control,
    call: &CallPath,
    plan: &PlanName,
    by: &By,
) -> Result<SessionId, Problem> {
    let mut last = call.0.tool.lock().await;
    if let Some(run) = last.as_ref().filter(|run| run.plan == *plan && is_awaited(run, &call.0)) {
        return Ok(run.session);
    }
    let request = control.models.plans.request(plan)?;
    let entered = secure_sessions::enter_session(control, call, request, by).await?;
    *last = Some(Run { session: entered.session, plan: plan.clone(), told: false });
    Ok(entered.session)
}

fn is_awaited(run: &Run, entry: &CallEntry) -> bool {
    let session = entry.story.session().filter(|session| session.id == run.session);
    session.is_some_and(|session| match session.state {
        SessionState::Collecting | SessionState::Draining | SessionState::Held => true,
        SessionState::Ended => {
            let until = session.ended_at.map(|ended| ended.after(UNHEARD_FOR));
            !run.told && until.is_some_and(|until| clock::now() < until)
        }
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use relay::switchboard::{EventKind, SessionId};

    use super::{Run, UNHEARD_FOR, is_awaited};
    use crate::clock::{self, Timestamp};
    use crate::dto::id;
    use crate::engines::EngineProfile;
    use crate::index::CallEntry;
    use crate::plans::Plans;
    use crate::secure_defaults::SecureDefaults;

    const SESSION: SessionId = SessionId(7);

    fn run(told: bool) -> Run {
        let plan = serde_json::json!({ "fields": [{ "type": "postal-code" }] });
        let written = BTreeMap::from([("code".to_owned(), plan)]);
        let plans = Plans::check(written, SecureDefaults::make_plan).unwrap();
        Run { session: SESSION, plan: plans.find("code").unwrap(), told }
    }

    /// A call whose session ended that long ago.
    fn ended(ago: Duration) -> CallEntry {
        let entry =
            CallEntry::new(id::new_call(), clock::now(), false, false, EngineProfile::default());
        entry.story.session_started(clock::now(), SESSION);
        let at = Timestamp::from_unix_ms(clock::now().unix_ms() - ago.as_millis() as u64);
        entry.story.handle_event(at, EventKind::Reopened { session: SESSION });
        entry
    }

    #[test]
    fn a_result_is_awaited_until_it_was_told_or_is_old() {
        let late = UNHEARD_FOR + Duration::from_secs(2);
        assert!(is_awaited(&run(false), &ended(Duration::from_secs(9))));
        assert!(!is_awaited(&run(true), &ended(Duration::from_secs(9))));
        assert!(!is_awaited(&run(false), &ended(late)), "another payment is another session");
        let other = ended(Duration::ZERO);
        other.story.session_started(clock::now(), SessionId(8));
        assert!(!is_awaited(&run(false), &other), "another session has replaced it");
    }
}
