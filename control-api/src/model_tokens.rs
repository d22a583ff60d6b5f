//! Model tokens: what lets the model of one call, and nobody else, use that call's MCP server.
//!
//! A token is no API key: it is bound to one call, to the plans that a script chose for it and to
//! a time, ends with the call, and is kept as a hash with the call itself. No other route takes it.

use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use relay::switchboard::SessionId;
use ring::digest::{SHA256, digest};
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;

use crate::auth::{self, GrantModels, Permit};
use crate::calls::{self, CallPath};
use crate::dto::id;
use crate::dto::json::JsonBytes;
use crate::dto::model::{ModelTokenIssued, ModelTokenRequest};
use crate::idempotency::Answer;
use crate::index::CallEntry;
use crate::keys::{Denied, Principal, hex};
use crate::plans::PlanName;
use crate::problem::{Code, Problem, ProblemBody};
use crate::server::{Client, Standing};
use crate::tickets::PresentedTicket;
use crate::{Control, chance, clock};

/// What every model token begins with: an API key begins otherwise.
const TOKEN_PREFIX: &str = "stm_";
/// Octets of a token's id; it is no secret.
const ID_OCTETS: usize = 6;
/// Octets of a hash.
const HASH_OCTETS: usize = 32;
/// Octets of a token's secret, which can't be guessed: so a plain hash is enough to keep it, in memory.
const SECRET_OCTETS: usize = 32;
/// Tokens of one call that are valid at a time: one for its model, and room to replace it.
pub const MAX_TOKENS: usize = 4;
/// Requests of one token that may wait for a result at a time. Each holds a task until it is
/// answered, even if its client hangs up.
pub const MAX_WAITS: usize = 4;
/// How long a token may be valid, in seconds: no call lasts longer than a day.
const LIFE_S: RangeInclusive<u32> = 1..=86_400;
const DEFAULT_LIFE_S: u32 = 3600;

/// What one token allows on its call.
pub struct Grant {
    id: String,
    secret: [u8; HASH_OCTETS],
    expires: Instant,
    issuer: Principal,
    plans: Vec<PlanName>,
    /// The last session that was started with this token; held while one is being started, so
    /// that a model that asks twice starts one.
    pub started: tokio::sync::Mutex<Option<SessionId>>,
    /// Room for requests that wait.
    pub waits: Semaphore,
}

impl Grant {
    /// The token's public name.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Who had it made: it ends when that key does.
    #[must_use]
    pub fn issuer(&self) -> &Principal {
        &self.issuer
    }

    /// The plans it may start; one at least.
    #[must_use]
    pub fn plans(&self) -> &[PlanName] {
        &self.plans
    }
}

/// A new token, to be shown once.
pub struct NewToken {
    /// The token.
    pub text: String,
    /// What it allows.
    pub grant: Arc<Grant>,
}

/// Why a token was not made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotIssued {
    /// The call has [`MAX_TOKENS`] that are valid.
    Full,
    /// The system gave no random numbers.
    NoRandom,
}

/// The model tokens of one call.
#[derive(Default)]
pub struct ModelTokens {
    grants: Mutex<Vec<Arc<Grant>>>,
}

impl ModelTokens {
    /// Makes a token for `plans` that is valid for `life`, and for no longer than its issuer is.
    ///
    /// # Errors
    /// If there is no room for one, or no randomness.
    pub fn issue(
        &self,
        now: Instant,
        issuer: &Principal,
        plans: Vec<PlanName>,
        life: Duration,
    ) -> Result<NewToken, NotIssued> {
        assert!(!plans.is_empty(), "a token allows something");
        let id: [u8; ID_OCTETS] = chance::octets().map_err(|_| NotIssued::NoRandom)?;
        let secret: [u8; SECRET_OCTETS] = chance::octets().map_err(|_| NotIssued::NoRandom)?;
        let (id, secret) = (hex(&id), hex(&secret));
        let text = format!("{TOKEN_PREFIX}{id}_{secret}");
        let grant = Arc::new(Grant {
            id,
            secret: hash(&secret),
            expires: now + life,
            issuer: issuer.clone(),
            plans,
            started: tokio::sync::Mutex::new(None),
            waits: Semaphore::new(MAX_WAITS),
        });
        let mut grants = self.lock();
        grants.retain(|grant| now < grant.expires);
        if grants.len() >= MAX_TOKENS {
            return Err(NotIssued::Full);
        }
        grants.push(Arc::clone(&grant));
        Ok(NewToken { text, grant })
    }

    /// What the token allows, if it is one of this call's and valid. The secret is hashed and
    /// compared in constant time.
    #[must_use]
    pub fn verify(&self, now: Instant, token: &str) -> Option<Arc<Grant>> {
        let (id, secret) = token.strip_prefix(TOKEN_PREFIX)?.split_once('_')?;
        let secret = hash(secret);
        let grants = self.lock();
        let grant = grants.iter().find(|grant| grant.id == id && now < grant.expires)?;
        let same: bool = grant.secret.ct_eq(&secret).into();
        same.then(|| Arc::clone(grant))
    }

    /// Whether a grant that was verified still stands.
    #[must_use]
    pub fn holds(&self, now: Instant, grant: &Arc<Grant>) -> bool {
        now < grant.expires && self.lock().iter().any(|kept| Arc::ptr_eq(kept, grant))
    }

    /// Ends all tokens.
    pub fn revoke_all(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Grant>>> {
        self.grants.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Proof that a request has a valid model token of the call that its path names.
pub struct ModelPermit {
    /// The call.
    pub entry: Arc<CallEntry>,
    /// What the token allows.
    pub grant: Arc<Grant>,
    /// From where it came.
    pub client: Option<Client>,
}

impl FromRequestParts<Arc<Control>> for ModelPermit {
    type Rejection = Problem;

    /// A token of another call and a call that isn't there are refused alike: a model learns of no
    /// call but its own.
    async fn from_request_parts(
        parts: &mut Parts,
        control: &Arc<Control>,
    ) -> Result<Self, Problem> {
        let call = calls::call_id(parts, control).await.ok();
        let entry = call.and_then(|call| control.calls.find(call));
        let entry = entry.filter(|entry| !entry.story.is_closed());
        let in_url = auth::names_a_key(&parts.uri);
        let entry =
            entry.filter(|_| !in_url && parts.extensions.get::<PresentedTicket>().is_none());
        let verified = auth::bearer(&parts.headers).zip(entry).and_then(|(token, entry)| {
            let grant = entry.models.verify(clock::monotonic(), token)?;
            control.lease(grant.issuer()).holds().then_some(())?;
            let client = parts.extensions.get().copied();
            Some(ModelPermit { entry, grant, client })
        });
        let Some(permit) = verified else {
            let denied = if in_url { Denied::InUrl } else { Denied::ModelToken };
            control.metrics.unauthenticated(denied);
            tracing::Span::current().record("denied", denied.as_str());
            return Err(Problem::new(
                Code::Unauthenticated,
                "Send Authorization: Bearer and a model token of this call, made by POST \
                 model-tokens on the call's path; it ends with the call. API keys are not taken \
                 here.",
            ));
        };
        tracing::Span::current().record("key", permit.grant.id());
        if let Some(standing) = parts.extensions.get::<Standing>() {
            standing.prove();
        }
        Ok(permit)
    }
}

/// Makes a token for the model of one call.
///
/// The token is the model's credential for the call's MCP server, which has three tools: start a
/// secure session by the name of one of `plans`, wait for its result, and read where it stands.
/// The model learns pass or fail. The token is told once and kept as a hash, so this operation
/// takes no `Idempotency-Key`; a call has four at most.
#[utoipa::path(
    post, path = "/v1/calls/{call_id}/model-tokens", tag = "models",
    params(("call_id" = String, Path)), request_body = ModelTokenRequest,
    responses(
        (status = 201, body = ModelTokenIssued, headers(("Location" = String))),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json"),
        (status = "5XX", body = ProblemBody, content_type = "application/problem+json")),
)]
pub async fn issue(
    State(control): State<Arc<Control>>,
    permit: Permit<GrantModels>,
    call: CallPath,
    body: JsonBytes,
) -> Result<Response, Problem> {
    let at = call.live()?;
    let request: ModelTokenRequest = body.read()?;
    let base = control.models.base.as_ref().ok_or_else(|| {
        Problem::invalid("", "no model could reach this relay: set mcp.url in the configuration")
    })?;
    let life_s = request.expires_s.unwrap_or(DEFAULT_LIFE_S);
    if !LIFE_S.contains(&life_s) {
        let (least, most) = (LIFE_S.start(), LIFE_S.end());
        return Err(Problem::invalid("/expires_s", format!("must be {least} to {most} seconds")));
    }
    let plans = named(&control, &request.plans)?;
    let life = Duration::from_secs(life_s.into());
    let issued =
        call.0.models.issue(clock::monotonic(), &permit.principal, plans, life).map_err(refused)?;
    let call = id::call(at.call);
    tracing::info!(call, token = issued.grant.id(), "model token made");
    let location = format!("/v1/calls/{call}/model-tokens");
    let answer = ModelTokenIssued {
        token: issued.text,
        mcp_url: base.of_call(at.call),
        plans: issued.grant.plans().iter().map(|plan| plan.as_str().to_owned()).collect(),
        expires_at: clock::now().after(life),
    };
    Ok(Answer::created(&location, &answer)?.into_response())
}

/// Ends all model tokens of a call at once. A secure session that was started with one goes on.
#[utoipa::path(
    delete, path = "/v1/calls/{call_id}/model-tokens", tag = "models",
    params(("call_id" = String, Path)),
    responses(
        (status = 204),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json")),
)]
pub async fn revoke(
    _: State<Arc<Control>>,
    _: Permit<GrantModels>,
    CallPath(entry): CallPath,
) -> StatusCode {
    entry.models.revoke_all();
    tracing::info!(call = id::call(entry.id), "model tokens revoked");
    StatusCode::NO_CONTENT
}

fn hash(secret: &str) -> [u8; HASH_OCTETS] {
    let mut octets = [0; HASH_OCTETS];
    octets.copy_from_slice(digest(&SHA256, secret.as_bytes()).as_ref());
    octets
}

/// The plans of these names, each once.
fn named(control: &Control, names: &[String]) -> Result<Vec<PlanName>, Problem> {
    if names.is_empty() {
        return Err(Problem::invalid("/plans", "must name one plan at least"));
    }
    let mut plans = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let plan = control.models.plans.find(name).ok_or_else(|| {
            Problem::invalid(
                format!("/plans/{index}"),
                "is no plan of the configuration: GET /v1/plans lists them",
            )
        })?;
        if !plans.contains(&plan) {
            plans.push(plan);
        }
    }
    Ok(plans)
}

fn refused(error: NotIssued) -> Problem {
    match error {
        NotIssued::Full => Problem::invalid(
            "",
            format!("the call has {MAX_TOKENS} valid model tokens: DELETE them, or use one"),
        ),
        NotIssued::NoRandom => Problem::internal(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use serde_json::json;

    use super::{MAX_TOKENS, ModelTokens, NotIssued};
    use crate::clock;
    use crate::keys::{Principal, Role};
    use crate::plans::{PlanName, Plans};
    use crate::secure_defaults::SecureDefaults;

    const LIFE: Duration = Duration::from_secs(60);

    fn issuer() -> Principal {
        Principal::of_role(Role::Script)
    }

    fn plans() -> Vec<PlanName> {
        let plan = json!({ "fields": [{ "type": "postal-code" }] });
        let written = BTreeMap::from([("code".to_owned(), plan)]);
        let plans = Plans::check(written, SecureDefaults::make_plan).unwrap();
        plans.names().cloned().collect()
    }

    #[test]
    fn a_token_is_good_until_its_time_or_its_end() {
        let (tokens, now) = (ModelTokens::default(), clock::monotonic());
        let first = tokens.issue(now, &issuer(), plans(), LIFE).unwrap();
        let second = tokens.issue(now, &issuer(), plans(), 2 * LIFE).unwrap();
        let last = now + LIFE - Duration::from_millis(1);
        assert_eq!(tokens.verify(last, &first.text).unwrap().id(), first.grant.id());
        assert!(tokens.holds(last, &first.grant));
        assert!(tokens.verify(now + LIFE, &first.text).is_none());
        assert!(!tokens.holds(now + LIFE, &first.grant));
        assert!(tokens.verify(now + LIFE, &second.text).is_some());
        tokens.revoke_all();
        assert!(tokens.verify(now, &second.text).is_none());
        assert!(!tokens.holds(now, &second.grant));
    }

    #[test]
    fn nothing_but_the_whole_token_is_good() {
        let (tokens, now) = (ModelTokens::default(), clock::monotonic());
        let token = tokens.issue(now, &issuer(), plans(), LIFE).unwrap().text;
        let other = tokens.issue(now, &issuer(), plans(), LIFE).unwrap().text;
        let (id, secret) = (token.split('_').nth(1).unwrap(), other.split('_').nth(2).unwrap());
        let swapped = format!("stm_{id}_{secret}");
        let key = token.replacen("stm", "sto", 1);
        let wrong = ["", "stm_", "stm__", &token[4..], &token[..token.len() - 1], &swapped, &key];
        for wrong in wrong {
            assert!(tokens.verify(now, wrong).is_none(), "{wrong}");
        }
        assert!(tokens.verify(now, &format!("{token}0")).is_none());
        assert!(tokens.verify(now, &token).is_some());
        assert!(ModelTokens::default().verify(now, &token).is_none(), "of another call");
    }

    #[test]
    fn a_call_has_few_and_those_that_ended_make_room() {
        let (tokens, now) = (ModelTokens::default(), clock::monotonic());
        for _ in 0..MAX_TOKENS {
            tokens.issue(now, &issuer(), plans(), LIFE).unwrap();
        }
        assert_eq!(tokens.issue(now, &issuer(), plans(), LIFE).err(), Some(NotIssued::Full));
        assert!(tokens.issue(now + LIFE, &issuer(), plans(), LIFE).is_ok());
    }
}
