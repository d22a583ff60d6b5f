//! Api: keys by REST: list, make, replace and end them.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};

use super::{DEFAULT_OVERLAP, KeyError, KeyFile, KeyId, Principal, Scopes, Token};
use crate::auth::{ManageKeys, Permit};
use crate::clock::Timestamp;
use crate::dto::api_key::{KeyCreation, KeyIssued, KeyPage, KeyRotation, KeyView};
use crate::dto::json::JsonBytes;
use crate::idempotency::{Answer, Posted};
use crate::problem::{Code, Problem, ProblemBody};
use crate::{Control, clock};

/// Lists the keys, those that are over included; none of their secrets, which are not kept.
#[utoipa::path(
    get, path = "/v1/keys", tag = "keys",
    responses(
        (status = 200, body = KeyPage),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json"),
        (status = "5XX", body = ProblemBody, content_type = "application/problem+json")),
)]
pub async fn list(
    State(control): State<Arc<Control>>,
    _: Permit<ManageKeys>,
) -> Result<Json<KeyPage>, Problem> {
    let listed = on_disk(&control, |control| {
        let (file, now) = (control.key_store.open()?, clock::now());
        let view = |record| KeyView::of(&file, record, &control.key_store.roles, now);
        Ok(file.records().iter().map(view).collect())
    });
    Ok(Json(KeyPage { data: listed.await? }))
}

/// Makes a key. It may do nothing that the key may not do which asks for it.
///
/// The token is told in the answer, once: who repeats the request with the same `Idempotency-Key` is
/// told the key without it. The key is good from the next request on.
#[utoipa::path(
    post, path = "/v1/keys", tag = "keys", request_body = KeyCreation,
    params(("Idempotency-Key" = Option<String>, Header,
        description = "Repeat a request with the same key, and it has its effect once (24 h)")),
    responses(
        (status = 201, body = KeyIssued, headers(("Location" = String))),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json"),
        (status = "5XX", body = ProblemBody, content_type = "application/problem+json")),
)]
pub async fn add(
    State(control): State<Arc<Control>>,
    permit: Permit<ManageKeys>,
    posted: Posted,
    body: JsonBytes,
) -> Result<Response, Problem> {
    let mut once = None;
    let work = async {
        let new = body.read::<KeyCreation>()?.into_new()?;
        let principal = permit.principal.clone();
        let made = on_disk(&control, move |control| {
            let now = clock::now();
            let rights = new.check(&control.key_store.roles, now)?;
            if let Err(problem) = may_give(&principal, rights) {
                return Ok(Err(problem));
            }
            let mut file = control.key_store.edit()?;
            let (id, token) = file.add(new, now)?;
            Ok(Ok(Made::of(control, &file, &id, token, now)?))
        });
        told(&mut once, made.await??)
    };
    let answer = posted.once(&control, &permit, body.octets(), work).await?;
    Ok(tell_once(answer, once))
}

/// Makes a key with the rights and the name of another one, which stays valid for a while.
///
/// The new key lasts as long as the old one was meant to. The old one's rights must be among those of
/// the key that asks, as where a key is made. The token is told once, as there.
#[utoipa::path(
    post, path = "/v1/keys/{key_id}/rotate", tag = "keys", request_body = Option<KeyRotation>,
    params(("key_id" = String, Path), ("Idempotency-Key" = Option<String>, Header,
        description = "Repeat a request with the same key, and it has its effect once (24 h)")),
    responses(
        (status = 201, body = KeyIssued, headers(("Location" = String))),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json"),
        (status = "5XX", body = ProblemBody, content_type = "application/problem+json")),
)]
pub async fn rotate(
    State(control): State<Arc<Control>>,
    permit: Permit<ManageKeys>,
    Path(key): Path<String>,
    posted: Posted,
    body: Option<JsonBytes>,
) -> Result<Response, Problem> {
    let mut once = None;
    let octets = body.as_ref().map_or(&[][..], JsonBytes::octets);
    let work = async {
        let asked = body.as_ref().map(JsonBytes::read::<KeyRotation>).transpose()?;
        let overlap = asked.unwrap_or_default().overlap(DEFAULT_OVERLAP)?;
        let principal = permit.principal.clone();
        let made = on_disk(&control, move |control| {
            let (mut file, now) = (control.key_store.edit()?, clock::now());
            let rights = file.find(&key)?.rights(&control.key_store.roles);
            if let Err(problem) = may_give(&principal, rights) {
                return Ok(Err(problem));
            }
            let (id, token) = file.rotate(&key, overlap, now)?;
            Ok(Ok(Made::of(control, &file, &id, token, now)?))
        });
        told(&mut once, made.await??)
    };
    let answer = posted.once(&control, &permit, octets, work).await?;
    Ok(tell_once(answer, once))
}

/// Ends a key at once, and what it has open within a second. The last active key that manages keys
/// stays; `sotto keys revoke` on the server ends that one too.
#[utoipa::path(
    post, path = "/v1/keys/{key_id}/revoke", tag = "keys",
    params(("key_id" = String, Path), ("Idempotency-Key" = Option<String>, Header,
        description = "Repeat a request with the same key, and it has its effect once (24 h)")),
    responses(
        (status = 200, body = KeyView),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json"),
        (status = "5XX", body = ProblemBody, content_type = "application/problem+json")),
)]
pub async fn revoke(
    State(control): State<Arc<Control>>,
    permit: Permit<ManageKeys>,
    Path(key): Path<String>,
    posted: Posted,
) -> Result<Response, Problem> {
    let work = async {
        let id = key.clone();
        let revoked = on_disk(&control, move |control| {
            let (mut file, now) = (control.key_store.edit()?, clock::now());
            file.revoke_but_last(&key, now)?;
            control.reload_keys()?;
            Ok(KeyView::of(&file, file.find(&key)?, &control.key_store.roles, now))
        });
        let revoked = revoked.await?;
        tracing::info!(revoked = id, "a key was revoked");
        Answer::ok(&revoked)
    };
    posted.once(&control, &permit, &[], work).await
}

/// A key that was made.
struct Made {
    id: KeyId,
    view: KeyView,
    token: Token,
}

impl Made {
    /// What is told of it; it is good from now on.
    fn of(
        control: &Control,
        file: &KeyFile,
        id: &KeyId,
        token: Token,
        now: Timestamp,
    ) -> Result<Made, KeyError> {
        control.reload_keys()?;
        let view = KeyView::of(file, file.find(id.as_str())?, &control.key_store.roles, now);
        Ok(Made { id: id.clone(), view, token })
    }
}

/// The answer that is kept for who asks again, which has no token; what has one is put aside.
fn told(once: &mut Option<Answer>, made: Made) -> Result<Answer, Problem> {
    let Made { id, view, token } = made;
    tracing::info!(made = id.as_str(), "a key was made");
    let location = format!("/v1/keys/{id}");
    let issued = KeyIssued::of(view, None);
    let kept = Answer::created(&location, &issued)?;
    *once = Some(Answer::created(&location, &issued.with(token))?);
    Ok(kept)
}

/// What is put aside, where this request was the one that had the effect.
fn tell_once(answer: Response, once: Option<Answer>) -> Response {
    once.map_or(answer, IntoResponse::into_response)
}

/// Whether who asks may give these rights: only such as it has.
fn may_give(principal: &Principal, rights: Scopes) -> Result<(), Problem> {
    let more = rights.without(principal.scopes);
    if more.is_empty() {
        return Ok(());
    }
    let more: Vec<_> = more.iter().map(super::Scope::as_str).collect();
    let detail = format!(
        "A key can't give what it has not: {}. Use one that has it, or sotto keys on the server.",
        more.join(", ")
    );
    Err(Problem::new(Code::Forbidden, detail))
}

/// Does what waits for the disk, or for somebody else who changes the file.
async fn on_disk<T: Send + 'static>(
    control: &Arc<Control>,
    work: impl FnOnce(&Arc<Control>) -> Result<T, KeyError> + Send + 'static,
) -> Result<T, Problem> {
    let control = Arc::clone(control);
    let done = tokio::task::spawn_blocking(move || work(&control)).await;
    done.map_err(|_| Problem::internal())?.map_err(Problem::from)
}

impl From<KeyError> for Problem {
    /// What is wrong with the file is told to the log: a client can't mend it.
    fn from(error: KeyError) -> Problem {
        match error {
            KeyError::Unknown => Problem::new(
                Code::KeyNotFound,
                "There is no key with this id: GET /v1/keys lists them.",
            ),
            KeyError::LastManager => Problem::new(Code::LastKey, "Make another one first."),
            KeyError::Over => Problem::new(Code::KeyIsOver, "Make a new one: POST /v1/keys."),
            KeyError::UnknownRole(roles) => {
                Problem::invalid("/roles", format!("must be of {roles}"))
            }
            KeyError::NoScope => {
                Problem::invalid("", "a key needs roles or scopes, and 32 of each at most")
            }
            KeyError::BadName => {
                Problem::invalid("/name", "must be 1 to 64 letters, digits, spaces and .:@/+_-")
            }
            KeyError::BadTimes => {
                Problem::invalid("/expires_at", "must be after not_before, and after now")
            }
            KeyError::Full => {
                Problem::new(Code::NoCapacity, "Remove keys that are over: sotto keys remove.")
            }
            KeyError::InUse
            | KeyError::Io { .. }
            | KeyError::Exposed { .. }
            | KeyError::Damaged { .. }
            | KeyError::Gone { .. }
            | KeyError::NoPepper { .. }
            | KeyError::NoRandom(_) => {
                tracing::error!(%error, "keys can't be managed");
                Problem::internal()
            }
        }
    }
}
