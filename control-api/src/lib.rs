//! REST over the relay, and the composition root of the `sotto` binary.
//!
//! [`app`] is the whole API as a value: tests call it without a port. [`serve::Running`] is the
//! whole product in one process: relay, API and health listener. JSON lives in [`dto`] alone.

#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::routing::get;
use axum::{Router, middleware};
use relay::switchboard::{CallSnapshot, Event, EventKind, Refusal};
use relay::wire::sdp::Policy;
use relay::{Gauges, Relay};
use tokio::sync::{Semaphore, watch};
use utoipa::openapi::OpenApi;

pub mod attend;
pub mod auth;
pub mod calls;
pub mod chance;
pub mod clock;
pub mod config;
pub mod demo;
pub mod dto;
pub mod events;
pub mod health;
pub mod idempotency;
pub mod index;
pub mod keys;
pub mod openapi;
pub mod problem;
pub mod process;
pub mod recording_keys;
pub mod recordings;
pub mod recordings_command;
pub mod retention;
pub mod secure_sessions;
pub mod serve;
pub mod server;
pub mod story;

use health::Metrics;
use idempotency::Idempotency;
use index::{CallEntry, CallIndex};
use keys::KeyTable;
use problem::{Code, Problem};
use recordings::Recordings;

/// What the handlers share.
pub struct Control {
    /// The media plane.
    pub relay: Relay,
    /// Figures of the media plane.
    pub gauges: Gauges,
    /// The calls.
    pub calls: CallIndex,
    /// Which offers are accepted.
    pub policy: Policy,
    /// Where recordings are; `None` if none are kept.
    pub recordings: Option<Recordings>,
    /// The answers of the last day.
    pub idempotency: Idempotency,
    /// What the API counts.
    pub metrics: Metrics,
    /// Room for event streams.
    pub streams: Arc<Semaphore>,
    /// The API's contract.
    pub contract: OpenApi,
    keys: watch::Sender<Arc<KeyTable>>,
    stopping: watch::Sender<bool>,
    hears_events: AtomicBool,
}

impl Control {
    /// The control plane of a relay.
    #[must_use]
    pub fn new(
        relay: Relay,
        gauges: Gauges,
        policy: Policy,
        recordings: Option<Recordings>,
        keys: KeyTable,
    ) -> Arc<Control> {
        Arc::new(Control {
            relay,
            gauges,
            calls: CallIndex::default(),
            policy,
            recordings,
            idempotency: Idempotency::default(),
            metrics: Metrics::default(),
            streams: Arc::new(Semaphore::new(events::MAX_STREAMS)),
            contract: openapi::routes_and_contract().1,
            keys: watch::Sender::new(Arc::new(keys)),
            stopping: watch::Sender::new(false),
            hears_events: AtomicBool::new(true),
        })
    }

    /// The keys that are valid now.
    #[must_use]
    pub fn keys(&self) -> Arc<KeyTable> {
        Arc::clone(&self.keys.borrow())
    }

    /// Replaces the valid keys; event streams of keys that are gone end.
    pub fn replace_keys(&self, keys: KeyTable) {
        self.keys.send_replace(Arc::new(keys));
    }

    /// Tells when the valid keys are replaced.
    #[must_use]
    pub fn key_changes(&self) -> watch::Receiver<Arc<KeyTable>> {
        self.keys.subscribe()
    }

    /// Takes in the relay's events until it has stopped.
    pub async fn hear(&self, mut events: tokio::sync::mpsc::Receiver<Event>) {
        while let Some(event) = events.recv().await {
            if let EventKind::SecureConcluded { session: _, verdict } = event.kind {
                self.metrics.session_concluded(verdict);
            }
            self.calls.handle_event(clock::now(), event);
        }
        self.hears_events.store(false, Ordering::Relaxed);
    }

    /// How the call is now, or how it was last seen.
    pub async fn see(&self, entry: &CallEntry) -> Option<CallSnapshot> {
        if let Some(at) = entry.at()
            && !entry.story.is_closed()
            && let Ok(snapshot) = self.relay.snapshot(at).await
        {
            self.calls.see(entry, snapshot.clone());
            return Some(snapshot);
        }
        entry.last_seen()
    }

    /// Ends a call. One that has ended already stays so.
    ///
    /// # Errors
    /// If the relay takes no commands.
    pub async fn end_call(&self, entry: &CallEntry) -> Result<(), Problem> {
        // What it counted is read first: afterwards nobody can.
        self.see(entry).await;
        let Some(at) = entry.at() else { return Ok(()) };
        match self.relay.end_call(at).await {
            Ok(()) | Err(Refusal::UnknownCall) => Ok(()),
            Err(refusal) => Err(refusal.into()),
        }
    }

    /// Tells that the process is stopping: no longer ready, event streams end.
    pub fn stop(&self) {
        self.stopping.send_replace(true);
    }

    /// Becomes true when the process is stopping.
    #[must_use]
    pub fn stopping(&self) -> watch::Receiver<bool> {
        self.stopping.subscribe()
    }

    /// Whether new calls are welcome.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        !*self.stopping.borrow() && self.hears_events.load(Ordering::Relaxed)
    }
}

/// The API.
pub fn app(control: &Arc<Control>) -> Router {
    let (routes, _) = openapi::routes_and_contract();
    routes
        .route("/v1/openapi.json", get(openapi::serve))
        .fallback(async || Problem::new(Code::NotFound, "See /v1/openapi.json for what there is."))
        .method_not_allowed_fallback(async || {
            Problem::new(Code::MethodNotAllowed, "The Allow header names the methods it knows.")
        })
        .layer(middleware::from_fn_with_state(Arc::clone(control), attend::attend))
        .with_state(Arc::clone(control))
}
