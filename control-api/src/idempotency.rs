//! Idempotency: a POST repeated with the same key has its effect once.
//!
//! Only answers that changed something are kept. A refused request has changed nothing, so it may
//! be sent again with the same key. Sotto remembers for [`KEPT_FOR`], and the oldest answers are
//! forgotten first once there are [`MAX_KEPT`].

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ring::digest::{Context, SHA256};
use serde::Serialize;

use crate::auth::{Needs, Permit};
use crate::keys::KeyId;
use crate::problem::{Code, Problem};
use crate::{Control, clock};

/// How long an answer is kept.
pub const KEPT_FOR: Duration = Duration::from_secs(24 * 60 * 60);
/// Most answers kept; with their bodies of under 1 KiB they take about 16 MB.
pub const MAX_KEPT: usize = 16_384;
/// Longest idempotency key; a UUID has 36 characters.
const MAX_KEY_LEN: usize = 128;

const KEY_HEADER: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED_HEADER: HeaderName = HeaderName::from_static("idempotent-replayed");

/// The answer to a POST that changed something.
#[derive(Clone)]
pub struct Answer {
    status: StatusCode,
    location: Option<HeaderValue>,
    body: Bytes,
}

impl Answer {
    /// `201 Created` at `location`.
    ///
    /// # Errors
    /// [`Problem::internal`] if the answer can't be written, which is a fault of ours.
    pub fn created(location: &str, body: &impl Serialize) -> Result<Answer, Problem> {
        let location = HeaderValue::from_str(location).map_err(|_| Problem::internal())?;
        Ok(Answer { location: Some(location), ..Answer::ok(body)? }.with(StatusCode::CREATED))
    }

    /// `200 OK`.
    ///
    /// # Errors
    /// [`Problem::internal`] if the answer can't be written, which is a fault of ours.
    pub fn ok(body: &impl Serialize) -> Result<Answer, Problem> {
        let body = serde_json::to_vec(body).map_err(|_| Problem::internal())?.into();
        Ok(Answer { status: StatusCode::OK, location: None, body })
    }

    fn with(self, status: StatusCode) -> Answer {
        Answer { status, ..self }
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(location) = self.location {
            headers.insert(header::LOCATION, location);
        }
        response
    }
}

/// What makes two POSTs the same one.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Claimed {
    principal: KeyId,
    key: String,
}

enum State {
    InFlight,
    Done(Answer),
}

struct Kept {
    request: [u8; 32],
    since: Instant,
    state: State,
}

#[derive(Default)]
struct Table {
    kept: HashMap<Claimed, Kept>,
    /// In the order in which they were answered, for forgetting.
    answered: VecDeque<(Instant, Claimed)>,
}

/// The answers of the last day.
#[derive(Default)]
pub struct Idempotency {
    table: Mutex<Table>,
}

impl Idempotency {
    /// Does `work` unless a request with the same key has had its effect, and answers alike.
    async fn once(
        &self,
        request: &PostedRequest<'_>,
        now: Instant,
        work: impl Future<Output = Result<Answer, Problem>>,
    ) -> Result<Response, Problem> {
        let Some(key) = key_of(request.headers)? else {
            return Ok(work.await?.into_response());
        };
        let claimed = Claimed { principal: request.principal.clone(), key };
        let digest = request.digest();
        if let Some(answer) = self.claim(&claimed, digest, now)? {
            let mut response = answer.into_response();
            response.headers_mut().insert(REPLAYED_HEADER, HeaderValue::from_static("true"));
            return Ok(response);
        }
        let claim = Claim { idempotency: self, claimed: Some(claimed) };
        let answer = work.await?;
        claim.keep(answer.clone(), now);
        Ok(answer.into_response())
    }

    /// Takes the key, or returns the answer it already has.
    fn claim(
        &self,
        claimed: &Claimed,
        request: [u8; 32],
        now: Instant,
    ) -> Result<Option<Answer>, Problem> {
        let mut table = self.lock();
        table.forget(now);
        match table.kept.entry(claimed.clone()) {
            Entry::Vacant(vacant) => {
                vacant.insert(Kept { request, since: now, state: State::InFlight });
                Ok(None)
            }
            Entry::Occupied(occupied) if occupied.get().request != request => Err(Problem::new(
                Code::IdempotencyKeyReused,
                "Use a new Idempotency-Key for another request.",
            )),
            Entry::Occupied(occupied) => match &occupied.get().state {
                State::Done(answer) => Ok(Some(answer.clone())),
                State::InFlight => Err(Problem::new(
                    Code::IdempotencyKeyInUse,
                    "Ask again when the first request has been answered.",
                )),
            },
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Drops what is older than a day, and the oldest beyond the bound.
    fn forget(&mut self, now: Instant) {
        while let Some((answered, _)) = self.answered.front() {
            let expired = now.saturating_duration_since(*answered) >= KEPT_FOR;
            if !expired && self.answered.len() < MAX_KEPT {
                break;
            }
            if let Some((_, claimed)) = self.answered.pop_front() {
                self.kept.remove(&claimed);
            }
        }
    }
}

/// A key taken for a request in flight; given back if the request is refused or dropped.
struct Claim<'a> {
    idempotency: &'a Idempotency,
    claimed: Option<Claimed>,
}

impl Claim<'_> {
    fn keep(mut self, answer: Answer, now: Instant) {
        let Some(claimed) = self.claimed.take() else { return };
        let mut table = self.idempotency.lock();
        if let Some(kept) = table.kept.get_mut(&claimed) {
            kept.state = State::Done(answer);
            debug_assert!(kept.since <= now, "answered before it was asked");
            table.answered.push_back((now, claimed));
        }
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if let Some(claimed) = self.claimed.take() {
            self.idempotency.lock().kept.remove(&claimed);
        }
    }
}

/// The head of a POST that may be repeated: its path, and the idempotency key among its headers.
pub struct Posted {
    path: String,
    headers: HeaderMap,
}

impl<S: Sync> FromRequestParts<S> for Posted {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Posted { path: parts.uri.path().to_owned(), headers: parts.headers.clone() })
    }
}

impl Posted {
    /// Does `work` for whom the permit names unless the same request with this `body` has had its
    /// effect, and answers alike.
    ///
    /// # Errors
    /// What `work` refuses; and [`Code::IdempotencyKeyReused`], [`Code::IdempotencyKeyInUse`] or
    /// [`Code::MalformedParameter`] for the key itself.
    pub async fn once<N: Needs>(
        &self,
        control: &Control,
        permit: &Permit<N>,
        body: &[u8],
        work: impl Future<Output = Result<Answer, Problem>>,
    ) -> Result<Response, Problem> {
        let Posted { path, headers } = self;
        let request = PostedRequest { principal: &permit.principal.key, headers, path, body };
        control.idempotency.once(&request, clock::monotonic(), work).await
    }
}

/// A POST, as far as telling it from another one goes.
struct PostedRequest<'a> {
    /// Who sent it; keys of different principals never meet.
    principal: &'a KeyId,
    headers: &'a HeaderMap,
    path: &'a str,
    body: &'a [u8],
}

impl PostedRequest<'_> {
    fn digest(&self) -> [u8; 32] {
        let mut context = Context::new(&SHA256);
        context.update(self.path.as_bytes());
        // No path holds a NUL, so path and body can't be mistaken for one another.
        context.update(&[0]);
        context.update(self.body);
        let mut octets = [0; 32];
        octets.copy_from_slice(context.finish().as_ref());
        octets
    }
}

fn key_of(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get(KEY_HEADER) else { return Ok(None) };
    match value.to_str() {
        Ok(text) if (1..=MAX_KEY_LEN).contains(&text.len()) => Ok(Some(text.to_owned())),
        Ok(_) | Err(_) => Err(Problem::new(
            Code::MalformedParameter,
            format!("Idempotency-Key must be 1 to {MAX_KEY_LEN} visible ASCII characters."),
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Answer, Claim, Claimed, Idempotency, KEPT_FOR, MAX_KEPT};
    use crate::clock;
    use crate::keys::KeyId;

    fn claimed(number: usize) -> Claimed {
        Claimed { principal: KeyId::new("tester"), key: number.to_string() }
    }

    fn answer(table: &Idempotency, number: usize, now: Instant) {
        assert!(table.claim(&claimed(number), [0; 32], now).unwrap().is_none());
        let claim = Claim { idempotency: table, claimed: Some(claimed(number)) };
        claim.keep(Answer::ok(&number).unwrap(), now);
    }

    #[test]
    fn the_oldest_answers_are_forgotten_beyond_the_bound() {
        let (table, now) = (Idempotency::default(), clock::monotonic());
        for number in 0..MAX_KEPT + 10 {
            answer(&table, number, now);
        }
        assert!(table.lock().kept.len() <= MAX_KEPT);
        assert!(table.claim(&claimed(MAX_KEPT + 9), [0; 32], now).unwrap().is_some());
        assert!(table.claim(&claimed(0), [0; 32], now).unwrap().is_none());
    }

    #[test]
    fn answers_are_forgotten_after_a_day() {
        let (table, now) = (Idempotency::default(), clock::monotonic());
        answer(&table, 1, now);
        let late = now + KEPT_FOR - Duration::from_secs(1);
        assert!(table.claim(&claimed(1), [0; 32], late).unwrap().is_some());
        assert!(table.claim(&claimed(1), [0; 32], now + KEPT_FOR).unwrap().is_none());
    }

    #[test]
    fn a_key_is_given_back_with_its_claim() {
        let (table, now) = (Idempotency::default(), clock::monotonic());
        assert!(table.claim(&claimed(1), [0; 32], now).unwrap().is_none());
        assert!(table.claim(&claimed(1), [0; 32], now).is_err(), "in flight");
        drop(Claim { idempotency: &table, claimed: Some(claimed(1)) });
        assert!(table.claim(&claimed(1), [0; 32], now).unwrap().is_none());
    }
}
