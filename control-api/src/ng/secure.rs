//! Secure sessions by NG: the words of REST, its answers, and its rules of who may do what.

use audit_log::Event;
use ng_protocol::{Reply, Request, Syntax, Value};
use serde::Serialize;

use super::dialog::Dialog;
use super::refused::Refused;
use crate::audit::By;
use crate::calls::CallPath;
use crate::dto::json::JsonBytes;
use crate::keys::{Role, Scope};
use crate::problem::Problem;
use crate::{Control, audit, secure_sessions};

/// Enters a session; the reply comes when the cut is in force.
pub(super) async fn enter(
    control: &Control,
    dialog: &Dialog,
    request: &Request<'_>,
    by: &By,
) -> Result<Reply, Refused> {
    let missing =
        "plan is missing: the body of POST /v1/calls/{id}/secure-session, or a plan's name";
    let plan = request.plan.ok_or_else(|| Refused::because(missing))?;
    let body = body_of(plan);
    let plan = secure_sessions::plan_of(control, &body)?;
    let call = CallPath(dialog.entry().clone());
    let entered = secure_sessions::enter_session(control, &call, plan, by).await?;
    reply_of(&entered.told)
}

/// Where the last session stands, as much as `role` may know.
pub(super) async fn query(
    control: &Control,
    dialog: &Dialog,
    role: Role,
) -> Result<Reply, Refused> {
    let view = secure_sessions::view(control, dialog.entry(), role).await?;
    reply_of(&view.0)
}

/// Ends a session early, as far as `role` may.
pub(super) async fn cancel(
    control: &Control,
    dialog: &Dialog,
    role: Role,
    by: &By,
) -> Result<Reply, Refused> {
    let cancelled = match role.allows(Scope::SecureCancel) {
        true => control.relay.cancel_secure(dialog.at()).await,
        false => control.relay.abandon_secure(dialog.at()).await,
    };
    let cancelled = cancelled.map_err(Problem::from);
    let call = audit::call_of(dialog.entry().id);
    control.audit.note(by.result(Event::SessionCancelled, call, cancelled.as_ref()));
    cancelled?;
    Ok(Reply::ok())
}

/// A plan as the body that REST takes: a dictionary, one written as text, or a name.
fn body_of(plan: &Value<'_>) -> JsonBytes {
    let mut octets = Vec::new();
    match plan.text() {
        Some(text) if text.trim_start().starts_with('{') => octets.extend(text.bytes()),
        Some(name) => {
            let named = Value::Dictionary(vec![("plan".into(), Value::of_text(name))]);
            named.write(Syntax::Json, &mut octets);
        }
        None => plan.write(Syntax::Json, &mut octets),
    }
    JsonBytes::from(octets)
}

/// The members of what REST would answer, with the result before them.
fn reply_of(body: &impl Serialize) -> Result<Reply, Refused> {
    let failed = || Refused::because("the relay failed to write its reply");
    let octets = serde_json::to_vec(body).map_err(|_| failed())?;
    let Ok(Value::Dictionary(members)) = Value::read(Syntax::Json, &octets) else {
        return Err(failed());
    };
    let mut reply = Reply::ok();
    // `result` is the word of this protocol.
    for (name, value) in members {
        let name = match name.text() {
            Some("result") => "session-result",
            Some("id") => "session",
            Some("state") => "state",
            Some("cut_at") => "cut_at",
            Some("warnings") => "warnings",
            Some("step") => "step",
            Some("attempt") => "attempt",
            Some("required") => "required",
            Some("reason") => "reason",
            Some("delivery") => "delivery",
            Some("progress") => "progress",
            Some(_) | None => continue,
        };
        reply = reply.with(name, value.into_owned());
    }
    Ok(reply)
}
