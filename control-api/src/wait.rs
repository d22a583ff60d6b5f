//! Wait: a request that is answered when a secure session is over, within bounds.
//!
//! Requests that wait are few, each for a time that it names, and none outlasts its client, its key
//! or the process. They end at a session's end and at no moment before, so that the time of an
//! answer is not that of a key.

use std::convert::Infallible;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::extract::rejection::QueryRejection;
use axum::http::request::Parts;
use relay::switchboard::SessionId;
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use utoipa::IntoParams;

use crate::Control;
use crate::index::CallEntry;
use crate::keys::Principal;
use crate::problem::{Code, Problem};

/// How long a request may wait, in seconds: no proxy on the way has more patience.
pub const WAIT_S: RangeInclusive<u64> = 1..=300;
/// Requests that wait at a time: half of the connections that a listener has.
pub const MAX_WAITS: usize = 1024;
/// Those of one call: its script, its engine, and room for both to ask anew.
pub const MAX_OF_CALL: usize = 8;

/// How long to wait.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct WaitQuery {
    /// Answer when the session is over, or after so many seconds, 1 to 300. Without it the answer
    /// comes at once.
    #[param(minimum = 1, maximum = 300)]
    wait: Option<u64>,
}

impl WaitQuery {
    /// The time that was asked for.
    ///
    /// # Errors
    /// [`Code::MalformedParameter`] for what is no such number.
    pub fn time(
        query: Result<axum::extract::Query<WaitQuery>, QueryRejection>,
    ) -> Result<Option<Duration>, Problem> {
        let malformed = || {
            let detail = "Send wait (1 to 300 seconds), or nothing.";
            Problem::new(Code::MalformedParameter, detail)
        };
        let wait = query.map_err(|_| malformed())?.wait;
        if wait.is_some_and(|seconds| !WAIT_S.contains(&seconds)) {
            return Err(malformed());
        }
        Ok(wait.map(Duration::from_secs))
    }
}

/// Whether the client of a request is still there: what attends to it holds the other end.
#[derive(Clone)]
pub(crate) struct Presence(pub(crate) watch::Receiver<()>);

/// Whoever waits for a request's answer.
pub struct Asker(Option<Presence>);

impl<S: Sync> FromRequestParts<S> for Asker {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Asker(parts.extensions.get().cloned()))
    }
}

impl Asker {
    /// Returns when the client has hung up.
    async fn gone(&mut self) {
        match &mut self.0 {
            // Nothing is ever sent: an error says that the other end is gone.
            Some(Presence(here)) => while here.changed().await.is_ok() {},
            None => std::future::pending().await,
        }
    }
}

/// Room for waiting on one call.
pub struct WaitRoom(Arc<Semaphore>);

impl Default for WaitRoom {
    fn default() -> WaitRoom {
        WaitRoom(Arc::new(Semaphore::new(MAX_OF_CALL)))
    }
}

/// A request that may wait.
pub(crate) struct Waiting {
    asker: Asker,
    time: Duration,
    _rooms: [OwnedSemaphorePermit; 2],
}

/// How a wait ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Waited {
    /// The session is over, or the time is, or the process stops: tell how it stands.
    Answer,
    /// Nobody is there to be answered.
    Gone,
    /// The key was revoked meanwhile, expired, or may do something else.
    Revoked,
}

impl Waiting {
    /// Takes room on a call for a request that waits `time` at most.
    ///
    /// # Errors
    /// [`Code::TooManyWaits`].
    pub(crate) fn take_room(
        control: &Control,
        entry: &CallEntry,
        asker: Asker,
        time: Duration,
    ) -> Result<Waiting, Problem> {
        let full = |_| {
            let detail = "Wait for the answers that are due, or ask without waiting.";
            Problem::new(Code::TooManyWaits, detail)
        };
        let of_call = Arc::clone(&entry.waits.0).try_acquire_owned().map_err(full)?;
        let of_all = Arc::clone(&control.waits).try_acquire_owned().map_err(full)?;
        Ok(Waiting { asker, time, _rooms: [of_call, of_all] })
    }

    /// Waits until `session` is over, or whichever is in progress.
    pub(crate) async fn until_over(
        mut self,
        control: &Control,
        entry: &CallEntry,
        session: Option<SessionId>,
        principal: &Principal,
    ) -> Waited {
        let (mut stopping, mut lease) = (control.stopping(), control.lease(principal));
        tokio::select! {
            () = entry.story.session_over(session) => Waited::Answer,
            () = tokio::time::sleep(self.time) => Waited::Answer,
            _ = stopping.wait_for(|stopping| *stopping) => Waited::Answer,
            () = self.asker.gone() => Waited::Gone,
            () = lease.over() => Waited::Revoked,
        }
    }
}

/// What is told whose key was over while it waited.
pub(crate) fn revoked() -> Problem {
    Problem::new(
        Code::Unauthenticated,
        "The key was revoked, changed or expired while the request waited.",
    )
}
