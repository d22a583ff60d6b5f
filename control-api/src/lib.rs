//! REST over the relay, and the composition root of the `sotto` binary.
//!
//! [`app`] is the whole API as a value: tests call it without a port. [`serve::Running`] is the
//! whole product in one process: relay, API and health listener. JSON lives in [`dto`] alone.

#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use axum::routing::{get, post};
use axum::{Router, middleware};
use relay::switchboard::dtls::Identity;
use relay::switchboard::{CallSnapshot, Delivery, Event, EventKind, Refusal};
use relay::wire::sdp::Policy;
use relay::{Gauges, HangUp, Relay};
use tokio::sync::{Semaphore, watch};
use utoipa::openapi::OpenApi;

pub mod activity;
pub mod attend;
pub mod audit;
pub mod auth;
pub mod calls;
pub mod captures;
pub mod chance;
pub mod check;
pub mod client_address;
pub mod clock;
pub mod config;
pub mod console;
pub mod demo;
pub mod dto;
pub mod echo;
pub mod engine_leg;
pub mod engines;
pub mod event_stream;
pub mod events;
pub mod external_id;
pub mod hardening;
pub mod health;
pub mod idempotency;
pub mod index;
pub mod keys;
pub mod limits;
pub mod linked;
mod links;
mod listeners;
pub mod mcp;
pub mod model_tokens;
pub mod named_files;
pub mod ng;
pub mod oidc;
pub mod openapi;
pub mod outbound;
pub mod peers;
pub mod plans;
pub mod problem;
pub mod process;
pub mod prompts;
pub mod recorded;
pub mod recording_actions;
pub mod recording_keys;
pub mod recordings;
pub mod recordings_command;
pub mod redacted;
pub mod retention;
pub mod secure_defaults;
pub mod secure_sessions;
pub mod serve;
pub mod server;
pub mod sinks;
pub mod sip;
pub mod story;
pub mod telling;
pub mod tickets;
pub mod tools;
pub mod twilio;
pub mod wait;
pub mod webhooks;
pub mod whip;

use activity::{Activity, Alarm, Deed};
use audit::Audit;
use engines::EngineProfiles;
use health::Metrics;
use idempotency::Idempotency;
use index::{CallEntry, CallIndex};
use keys::{KeyError, KeyStore, KeyTable, Lease, Principal};
use limits::{Limits, LimitsConfig};
use mcp::Models;
use problem::{Code, Problem};
use recordings::Recordings;
use secure_defaults::SecureDefaults;
use sinks::Sinks;
use webhooks::Webhooks;

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
    /// What browsers know us by; its fingerprint is in the policy.
    pub identity: Option<Identity>,
    /// Where recordings are; `None` if none are kept.
    pub recordings: Option<Recordings>,
    /// What is known of each kind of engine.
    pub engines: EngineProfiles,
    /// What holds for every secure session.
    pub secure: SecureDefaults,
    /// Where what was keyed is delivered to.
    pub sinks: Arc<Sinks>,
    /// Who is told of events by HTTP.
    pub webhooks: Arc<Webhooks>,
    /// The answers of the last day.
    pub idempotency: Idempotency,
    /// What the API counts.
    pub metrics: Metrics,
    /// What was done, and alarms.
    pub activity: Arc<Activity>,
    /// The log of who did what.
    pub audit: Arc<Audit>,
    /// Room for event streams.
    pub streams: event_stream::Slots,
    /// Room for requests that wait.
    pub waits: Arc<Semaphore>,
    /// Room for echo engines.
    pub echoes: Arc<Semaphore>,
    /// How engines are reached that are behind a connection.
    pub linked: linked::Outgoing,
    /// What models may do, and where.
    pub models: Models,
    /// The calls of SIP proxies.
    pub ng: ng::Ng,
    /// The API's contract.
    pub contract: OpenApi,
    /// Where the keys are.
    pub key_store: KeyStore,
    /// The identity provider whose tokens are taken, if one's are.
    pub oidc: Option<oidc::Oidc>,
    /// What opens one stream once, from a URL.
    pub tickets: tickets::Tickets,
    limits: OnceLock<Limits>,
    keys: watch::Sender<Arc<KeyTable>>,
    /// Held while the key file is read again.
    reloading: Mutex<()>,
    stopping: watch::Sender<bool>,
    is_draining: AtomicBool,
    hears_events: AtomicBool,
}

/// What a control plane is made of.
pub struct Parts {
    /// The media plane.
    pub relay: Relay,
    /// Figures of the media plane.
    pub gauges: Gauges,
    /// Which offers are accepted.
    pub policy: Policy,
    /// What browsers know us by; without it there are none.
    pub identity: Option<Identity>,
    /// Where recordings are; `None` if none are kept.
    pub recordings: Option<Recordings>,
    /// Who is let in.
    pub access: Access,
    /// What is known of each kind of engine.
    pub engines: EngineProfiles,
    /// What holds for every secure session.
    pub secure: SecureDefaults,
    /// Whom it speaks to of its own accord.
    pub outward: Outward,
    /// Named plans, and what models may do with them.
    pub models: Models,
    /// The log of who did what; none by default.
    pub audit: Audit,
}

/// Who is let in, and by what.
pub struct Access {
    /// Where the keys are.
    pub store: KeyStore,
    /// The keys that are valid.
    pub keys: KeyTable,
    /// The identity provider whose tokens are taken, if one's are.
    pub oidc: Option<oidc::Oidc>,
    /// Whether a stream can be opened by a ticket in its URL.
    pub url_tickets: bool,
}

/// Whom a control plane speaks to of its own accord; nobody by default.
#[derive(Default)]
pub struct Outward {
    /// Where what was keyed is delivered to.
    pub sinks: Arc<Sinks>,
    /// Who is told of events by HTTP.
    pub webhooks: Arc<Webhooks>,
    /// How engines are reached that are behind a connection.
    pub linked: linked::Outgoing,
}

impl Control {
    /// The control plane of a relay.
    #[must_use]
    pub fn new(parts: Parts) -> Arc<Control> {
        let Parts { relay, gauges, mut policy, identity, recordings, access, .. } = parts;
        let Parts { engines, secure, outward, models, audit, .. } = parts;
        policy.certificate = identity.as_ref().map(|identity| identity.fingerprint().0);
        let Outward { sinks, webhooks, linked } = outward;
        let Access { store, keys, oidc, url_tickets } = access;
        let activity = Arc::new(Activity::default());
        webhooks.report_to(&activity);
        audit.report_to(&activity);
        Arc::new(Control {
            relay,
            gauges,
            calls: CallIndex::default(),
            policy,
            identity,
            recordings,
            engines,
            secure,
            sinks,
            webhooks,
            idempotency: Idempotency::default(),
            metrics: Metrics::default(),
            activity,
            audit: Arc::new(audit),
            streams: event_stream::Slots::default(),
            linked,
            waits: Arc::new(Semaphore::new(wait::MAX_WAITS)),
            echoes: Arc::new(Semaphore::new(echo::MAX_ENGINES)),
            models,
            ng: ng::Ng::default(),
            contract: openapi::routes_and_contract().1,
            key_store: store,
            oidc,
            tickets: tickets::Tickets::new(url_tickets),
            limits: OnceLock::new(),
            keys: watch::Sender::new(Arc::new(keys)),
            reloading: Mutex::default(),
            stopping: watch::Sender::new(false),
            is_draining: AtomicBool::new(false),
            hears_events: AtomicBool::new(true),
        })
    }

    /// How often whom may ask.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        self.limits.get_or_init(Limits::default)
    }

    /// Says how often whom may ask, before anybody has; afterwards nothing.
    pub fn limit(&self, config: LimitsConfig) {
        let _ = self.limits.set(Limits::new(config));
    }

    /// The keys that are valid now.
    #[must_use]
    pub fn keys(&self) -> Arc<KeyTable> {
        Arc::clone(&self.keys.borrow())
    }

    /// Reads the key file again: from the next request on it is the one that holds, and what keys
    /// have open that are no longer as they were ends.
    ///
    /// # Errors
    /// If it can't be read; the old keys stay valid.
    pub fn reload_keys(&self) -> Result<(), KeyError> {
        // One at a time: what was read before a change must not be taken over after it.
        let _reading = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        match self.key_store.reload() {
            // There were none before, either.
            Err(KeyError::Gone { .. }) if self.keys().is_empty() => Ok(()),
            read => {
                let keys = Arc::new(read?);
                let old = self.keys.send_replace(Arc::clone(&keys));
                let changes = audit::key_changes(&old, &keys);
                changes.into_iter().for_each(|entry| self.audit.note(entry));
                // Who has failed so far may have come with one of these, too early.
                self.limits().forgive();
                Ok(())
            }
        }
    }

    /// How long what a principal has opened may stay open.
    #[must_use]
    pub fn lease(&self, principal: &Principal) -> Lease {
        Lease::new(self.keys.subscribe(), principal.clone())
    }

    /// Takes in the relay's events until it has stopped.
    pub async fn hear(&self, mut events: tokio::sync::mpsc::Receiver<Event>) {
        while let Some(event) = events.recv().await {
            if let EventKind::SecureConcluded { session: _, verdict } = event.kind {
                self.metrics.session_concluded(verdict);
            }
            let call = event.call;
            if let Some(alarm) = Alarm::of(&event.kind) {
                self.activity.note(clock::now(), (Some(call), Deed::Alarm(alarm)));
            }
            if let Some(entry) = audit::of_event(call, &event.kind) {
                self.audit.note(entry);
            }
            self.calls.handle_event(clock::now(), event);
            if let Some(entry) = self.calls.find(call) {
                self.webhooks.notice(&entry);
            }
        }
        self.hears_events.store(false, Ordering::Relaxed);
    }

    /// Delivers what secure sessions accept, until the relay has stopped. At most one delivery runs
    /// for each call, and the relay bounds the time of each.
    pub async fn deliver(&self, mut deliveries: tokio::sync::mpsc::Receiver<Delivery>) {
        while let Some(Delivery { call, session, accepted }) = deliveries.recv().await {
            let entry = self.calls.find(call);
            let Some((at, order)) =
                entry.and_then(|entry| Some((entry.at()?, entry.take_order(session)?)))
            else {
                // Nobody knows what to do with it: the session runs into its limit and fails.
                tracing::error!(call = dto::id::call(call), "a delivery was not ordered");
                continue;
            };
            let (sinks, relay) = (Arc::clone(&self.sinks), self.relay.downgrade());
            let told = Arc::clone(&self.audit);
            tokio::spawn(async move {
                let outcome =
                    sinks.deliver(call, session, order, accepted, clock::monotonic()).await;
                told.note(audit::delivered(call, session, outcome.is_ok()));
                if let Some(relay) = relay.upgrade() {
                    // A caller who has hung up meanwhile needs no answer.
                    let _ = relay.delivered(at, session, outcome.map(drop)).await;
                }
            });
        }
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

    /// The engine hangs up: the call ends, or will when its secure session is over.
    ///
    /// # Errors
    /// If the relay takes no commands.
    pub async fn hang_up(&self, entry: &CallEntry) -> Result<HangUp, Problem> {
        self.see(entry).await;
        let Some(at) = entry.at() else { return Ok(HangUp::Ended) };
        match self.relay.hang_up(at).await {
            Ok(outcome) => Ok(outcome),
            Err(Refusal::UnknownCall) => Ok(HangUp::Ended),
            Err(refusal) => Err(refusal.into()),
        }
    }

    /// Takes no new calls from now on: no longer ready. Those that are on go on, and all that
    /// concerns them is answered.
    pub fn drain(&self) {
        self.is_draining.store(true, Ordering::Relaxed);
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
        !*self.stopping.borrow()
            && !self.is_draining.load(Ordering::Relaxed)
            && self.hears_events.load(Ordering::Relaxed)
    }
}

/// The API.
pub fn app(control: &Arc<Control>) -> Router {
    let (routes, _) = openapi::routes_and_contract();
    routes
        .route("/v1/openapi.json", get(openapi::serve))
        .merge(console::routes())
        // Its contract is the Model Context Protocol.
        .route(mcp::PATH, post(mcp::serve))
        // Its contract is rtpengine's control protocol.
        .route(ng::http::PATH, post(ng::http::serve).get(ng::ws::serve))
        // And this one's is Twilio's.
        .route(twilio::PATH, post(twilio::hang_up).fallback(twilio::wrong_method))
        .fallback(async || Problem::new(Code::NotFound, "See /v1/openapi.json for what there is."))
        .method_not_allowed_fallback(async || {
            Problem::new(Code::MethodNotAllowed, "The Allow header names the methods it knows.")
        })
        .layer(middleware::from_fn_with_state(Arc::clone(control), attend::attend))
        .with_state(Arc::clone(control))
}
