//! Webhooks: events told by HTTP POST, at least once, signed, to those the configuration names.
//!
//! What is sent is what the event stream tells the same audience. Order is not promised; the
//! per-call sequence numbers tell it. Nothing here waits in the relay's way: an event goes onto a
//! bounded queue, from there into a file, and each webhook has a task of its own with
//! [`IN_FLIGHT`] requests at a time, so that a slow receiver delays nobody else.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use relay::switchboard::CallId;
use rustls::ClientConfig;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{JoinHandle, JoinSet, spawn_blocking};

use crate::activity::{Activity, Alarm, Deed};
use crate::clock::{self, Timestamp};
use crate::dto::event::EventBody;
use crate::dto::id;
use crate::index::CallEntry;
use crate::outbound::secret_file::FileSecretError;
use crate::outbound::tls::TlsError;
use crate::outbound::{FileSecret, Outbound};
use crate::story::{Audience, Next};
use crate::{chance, outbound};

pub mod api;
pub mod config;
pub mod delivery;
pub mod shelf;
pub mod signature;

use config::WebhookConfig;
use delivery::{Delivery, DeliveryId, Schedule};
use shelf::{Card, MAX_PENDING, Shelf};
use signature::{NotASecret, SigningKey, signatures};

/// Requests to one webhook at a time.
pub const IN_FLIGHT: usize = 4;
/// Events on their way to the disk.
const QUEUE: usize = 1024;
/// Time for one request from name to answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Longest sleep of a webhook's task: the wall clock may be set meanwhile.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);
/// How long the last events may take when the process stops.
const LAST_EVENTS: Duration = Duration::from_millis(500);
/// The receiver wants no more of this (RFC 9110 section 15.5.11).
const GONE: u16 = 410;

/// Why webhooks can't be used as configured.
#[derive(Debug, thiserror::Error)]
pub enum WebhooksError {
    /// Deliveries can't be kept.
    #[error("the folder of webhooks, {path}: {source}")]
    Shelf {
        /// The folder.
        path: std::path::PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Its address is not opened.
    #[error("webhooks: {name}: {ip} is not a public address: add its range to outbound.allow")]
    NotOpened {
        /// The webhook.
        name: String,
        /// The address.
        ip: IpAddr,
    },
    /// A secret's file.
    #[error("webhooks: {name}: {error}")]
    Secret {
        /// The webhook.
        name: String,
        /// What is wrong.
        error: FileSecretError,
    },
    /// What is in a secret's file.
    #[error("webhooks: {name}: {path} {error}")]
    NotASecret {
        /// The webhook.
        name: String,
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong.
        error: NotASecret,
    },
    /// Certificates.
    #[error("webhooks: {name}: {error}")]
    Tls {
        /// The webhook.
        name: String,
        /// What is wrong.
        error: TlsError,
    },
}

/// One webhook, ready for use.
struct Webhook {
    config: WebhookConfig,
    keys: Vec<SigningKey>,
    tls: Option<Arc<ClientConfig>>,
    /// Something new waits for it.
    wake: Notify,
}

/// What webhooks did, counted.
#[derive(Default)]
struct Counts {
    delivered: AtomicU64,
    retried: AtomicU64,
    dead: AtomicU64,
    lost: AtomicU64,
}

/// How far the story of one call has been told to each audience.
#[derive(Clone, Copy, Default)]
struct Told {
    engine: u64,
    staff: u64,
}

/// All webhooks.
pub struct Webhooks {
    webhooks: Vec<Arc<Webhook>>,
    shelf: Option<Arc<Shelf>>,
    outbound: Outbound,
    schedule: Schedule,
    incoming: mpsc::Sender<Delivery>,
    /// Taken by the task that empties the queue.
    queue: Mutex<Option<mpsc::Receiver<Delivery>>>,
    told: Mutex<HashMap<CallId, Told>>,
    counts: Counts,
    /// Who is told of those that were given up.
    activity: OnceLock<Arc<Activity>>,
}

impl Default for Webhooks {
    /// None.
    fn default() -> Webhooks {
        let rules = outbound::AddressRules::default();
        let nobody = Outbound::new(rules, Arc::new(outbound::SystemResolver));
        Webhooks::of(Vec::new(), None, nobody, Schedule::default())
    }
}

impl Webhooks {
    /// Reads the files that the configuration names, and finds in `directory` what an earlier
    /// process could not deliver.
    ///
    /// # Errors
    /// The first thing that can't be used.
    pub fn open(
        configs: Vec<WebhookConfig>,
        directory: &Path,
        outbound: Outbound,
        schedule: Schedule,
    ) -> Result<Webhooks, WebhooksError> {
        if configs.is_empty() {
            return Ok(Webhooks::of(Vec::new(), None, outbound, schedule));
        }
        for config in &configs {
            if let Some(ip) = outbound.refused(&config.endpoint) {
                return Err(WebhooksError::NotOpened { name: config.name.clone(), ip });
            }
        }
        let webhooks: Vec<_> = configs.into_iter().map(Webhook::load).collect::<Result<_, _>>()?;
        let failed = |source| WebhooksError::Shelf { path: directory.to_owned(), source };
        let shelf = Shelf::open(directory, MAX_PENDING).map_err(failed)?;
        let names: Vec<&str> =
            webhooks.iter().map(|it: &Webhook| it.config.name.as_str()).collect();
        shelf.keep_only(&names).map_err(failed)?;
        let webhooks = webhooks.into_iter().map(Arc::new).collect();
        Ok(Webhooks::of(webhooks, Some(Arc::new(shelf)), outbound, schedule))
    }

    fn of(
        webhooks: Vec<Arc<Webhook>>,
        shelf: Option<Arc<Shelf>>,
        outbound: Outbound,
        schedule: Schedule,
    ) -> Webhooks {
        let (incoming, queue) = mpsc::channel(QUEUE);
        let (told, counts, activity) = Default::default();
        let queue = Mutex::new(Some(queue));
        Webhooks { webhooks, shelf, outbound, schedule, incoming, queue, told, counts, activity }
    }

    /// Takes in what is new in a call's story. It never waits: what finds no room is counted, and
    /// the receiver sees a gap in the numbers.
    pub fn notice(&self, entry: &CallEntry) {
        if self.webhooks.is_empty() {
            return;
        }
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let mut places = told.get(&entry.id).copied().unwrap_or_default();
        let mut over = true;
        for (audience, place) in
            [(Audience::Engine, &mut places.engine), (Audience::Staff, &mut places.staff)]
        {
            over &= self.tell_new(entry, audience, place);
        }
        if over {
            told.remove(&entry.id);
        } else {
            told.insert(entry.id, places);
        }
    }

    /// Tells one audience what comes after `place`; whether nothing will come any more.
    fn tell_new(&self, entry: &CallEntry, audience: Audience, place: &mut u64) -> bool {
        loop {
            match entry.story.next(audience, *place) {
                Next::Told(next) => {
                    *place = next.sequence;
                    self.tell(entry.id, &EventBody::new(entry, next, audience), audience);
                }
                Next::Lost(oldest) => *place = oldest - 1,
                Next::Wait => return false,
                Next::End => return true,
            }
        }
    }

    fn tell(&self, call: CallId, event: &EventBody, audience: Audience) {
        let wants = |webhook: &&Arc<Webhook>| webhook.wants(audience, event.kind);
        let Ok(body) = serde_json::to_string(event) else { return };
        let now = clock::now().whole_seconds().unix_ms();
        for webhook in self.webhooks.iter().filter(wants) {
            let delivery = Delivery {
                webhook: webhook.config.name.clone(),
                kind: event.kind.to_owned(),
                call_id: id::call(call),
                created_ms: now,
                attempts: 0,
                next_ms: now,
                failure: None,
                body: body.clone(),
            };
            if self.incoming.try_send(delivery).is_err() {
                self.counts.lost.fetch_add(1, Ordering::Relaxed);
                tracing::error!(
                    webhook = webhook.config.name,
                    "a webhook is lost: the disk is slow"
                );
            }
        }
    }

    /// Starts the tasks that deliver, until `stopping`. What they leave is found by the next
    /// process. Only the first call starts any.
    pub fn start(self: &Arc<Self>, stopping: &watch::Receiver<bool>) -> Vec<JoinHandle<()>> {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (Some(queue), Some(shelf)) = (queue, &self.shelf) else { return Vec::new() };
        let intake = Arc::clone(self).take_in(Arc::clone(shelf), queue, stopping.clone());
        let mut tasks = vec![tokio::spawn(intake)];
        for webhook in &self.webhooks {
            let (webhook, shelf) = (Arc::clone(webhook), Arc::clone(shelf));
            let serving = Arc::clone(self).serve(webhook, shelf, stopping.clone());
            tasks.push(tokio::spawn(serving));
        }
        tasks
    }

    /// Moves deliveries from the queue to the disk.
    async fn take_in(
        self: Arc<Self>,
        shelf: Arc<Shelf>,
        mut queue: mpsc::Receiver<Delivery>,
        mut stopping: watch::Receiver<bool>,
    ) {
        while let Some(delivery) = next_of(&mut queue, &mut stopping).await {
            let (shelf, name) = (Arc::clone(&shelf), delivery.webhook.clone());
            let added = spawn_blocking(move || shelf.add(DeliveryId::new(), &delivery)).await;
            if let Ok(Err(error)) = added {
                self.counts.lost.fetch_add(1, Ordering::Relaxed);
                tracing::error!(webhook = name, %error, "a webhook is lost: it can't be written");
            }
            self.wake(&name);
        }
    }

    /// Delivers to one webhook what is due.
    async fn serve(
        self: Arc<Self>,
        webhook: Arc<Webhook>,
        shelf: Arc<Shelf>,
        mut stopping: watch::Receiver<bool>,
    ) {
        let mut attempts = JoinSet::new();
        loop {
            while attempts.len() < IN_FLIGHT {
                let (shelf, name) = (Arc::clone(&shelf), webhook.config.name.clone());
                let claimed = spawn_blocking(move || shelf.claim(&name, clock::now())).await;
                let Ok(Some((id, delivery))) = claimed else { break };
                let (all, webhook) = (Arc::clone(&self), Arc::clone(&webhook));
                attempts.spawn(async move { all.attempt(&webhook, id, delivery).await });
            }
            let due = shelf.next_due(&webhook.config.name).filter(|_| attempts.len() < IN_FLIGHT);
            let sleep = due.map_or(LONGEST_SLEEP, |due| clock::now().until(due));
            tokio::select! {
                () = tokio::time::sleep(sleep.min(LONGEST_SLEEP)) => {}
                () = webhook.wake.notified() => {}
                Some(_) = attempts.join_next() => {}
                _ = stopping.wait_for(|it| *it) => return,
            }
        }
    }

    /// Whom to tell of deliveries that are given up, from now on.
    pub fn report_to(&self, activity: &Arc<Activity>) {
        // Webhooks that two control planes share tell the first.
        let _ = self.activity.set(Arc::clone(activity));
    }

    fn report(&self, webhook: &Webhook, call: &str) {
        let Some(activity) = self.activity.get() else { return };
        let alarm = Alarm::WebhookGivenUp(webhook.config.name.as_str().into());
        activity.note(clock::now(), (id::parse_call(call), Deed::Alarm(alarm)));
    }

    /// Makes one attempt and notes how it went.
    async fn attempt(&self, webhook: &Webhook, id: DeliveryId, delivery: Delivery) {
        let Some(shelf) = self.shelf.clone() else { return };
        let sent = webhook.send(&self.outbound, id, &delivery.body).await;
        let Err(failure) = sent else {
            self.counts.delivered.fetch_add(1, Ordering::Relaxed);
            let _ = spawn_blocking(move || shelf.delivered(id)).await;
            return;
        };
        let random = u32::from_be_bytes(chance::octets().unwrap_or_default());
        let next = self.schedule.next(clock::now(), delivery.attempts + 1, random);
        let next = next.filter(|_| failure.may_pass());
        let counter = if next.is_some() { &self.counts.retried } else { &self.counts.dead };
        counter.fetch_add(1, Ordering::Relaxed);
        if next.is_none() {
            self.report(webhook, &delivery.call_id);
        }
        let failure = failure.text();
        tracing::warn!(
            webhook = webhook.config.name,
            delivery = id.text(),
            failure,
            "not delivered"
        );
        let noted = spawn_blocking(move || shelf.failed(id, delivery, &failure, next)).await;
        if let Ok(Err(error)) = noted {
            tracing::error!(delivery = id.text(), %error, "a failed webhook can't be noted");
        }
    }

    /// Puts a delivery back to wait, due at once.
    ///
    /// # Errors
    /// If its file can't be moved.
    pub async fn replay(&self, id: DeliveryId, now: Timestamp) -> io::Result<Option<Card>> {
        let Some(shelf) = self.shelf.clone() else { return Ok(None) };
        let replayed = spawn_blocking(move || shelf.replay(id, now)).await;
        let replayed = replayed.unwrap_or_else(|error| Err(io::Error::other(error)))?;
        if let Some(card) = &replayed {
            self.wake(&card.delivery.webhook);
        }
        Ok(replayed)
    }

    /// The deliveries, if there are webhooks at all.
    #[must_use]
    pub fn shelf(&self) -> Option<&Shelf> {
        self.shelf.as_deref()
    }

    /// How many attempts ended how, by a word for each way.
    #[must_use]
    pub fn counts(&self) -> [(&'static str, u64); 4] {
        let Counts { delivered, retried, dead, lost } = &self.counts;
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        [
            ("delivered", load(delivered)),
            ("retried", load(retried)),
            ("dead", load(dead)),
            ("lost", load(lost)),
        ]
    }

    fn wake(&self, name: &str) {
        if let Some(webhook) = self.webhooks.iter().find(|webhook| webhook.config.name == name) {
            webhook.wake.notify_one();
        }
    }
}

/// The next delivery of the queue. When the process stops, events come until the relay has
/// stopped too; `None` when no more come.
async fn next_of(
    queue: &mut mpsc::Receiver<Delivery>,
    stopping: &mut watch::Receiver<bool>,
) -> Option<Delivery> {
    tokio::select! {
        biased;
        delivery = queue.recv() => return delivery,
        _ = stopping.wait_for(|it| *it) => {}
    }
    tokio::time::timeout(LAST_EVENTS, queue.recv()).await.ok().flatten()
}

/// Why an attempt failed.
enum Failure {
    Connect(outbound::ConnectError),
    Send(outbound::SendError),
    TimedOut,
    Status(u16),
}

impl Failure {
    /// Whether another attempt may go better.
    fn may_pass(&self) -> bool {
        match self {
            Failure::Status(status) => *status != GONE,
            Failure::Connect(_) | Failure::Send(_) | Failure::TimedOut => true,
        }
    }

    fn text(&self) -> String {
        match self {
            Failure::Connect(error) => error.as_str().to_owned(),
            Failure::Send(error) => error.as_str().to_owned(),
            Failure::TimedOut => "timed-out".to_owned(),
            Failure::Status(status) => format!("status-{status}"),
        }
    }
}

impl Webhook {
    fn load(config: WebhookConfig) -> Result<Webhook, WebhooksError> {
        let name = || config.name.clone();
        let mut keys = Vec::with_capacity(config.secret_files.len());
        for path in &config.secret_files {
            let secret = FileSecret::read(path);
            let secret = secret.map_err(|error| WebhooksError::Secret { name: name(), error })?;
            let key = SigningKey::parse(secret.reveal());
            keys.push(key.map_err(|error| WebhooksError::NotASecret {
                name: name(),
                path: path.clone(),
                error,
            })?);
        }
        let tls = match config.endpoint.scheme {
            outbound::endpoint::Scheme::Http => None,
            outbound::endpoint::Scheme::Https => {
                let tls = config.tls.load();
                Some(tls.map_err(|error| WebhooksError::Tls { name: name(), error })?)
            }
        };
        Ok(Webhook { config, keys, tls, wake: Notify::new() })
    }

    fn wants(&self, audience: Audience, kind: &str) -> bool {
        let listed = |events: &Vec<String>| events.iter().any(|event| event == kind);
        self.config.audience == audience && self.config.events.as_ref().is_none_or(listed)
    }

    async fn send(&self, outbound: &Outbound, id: DeliveryId, body: &str) -> Result<(), Failure> {
        let now = clock::now().unix_ms() / 1000;
        let id = id.text();
        let signature = signatures(&self.keys, &id, now, body);
        let mut headers = HeaderMap::new();
        let texts = [
            ("webhook-id", id),
            ("webhook-timestamp", now.to_string()),
            ("webhook-signature", signature),
        ];
        for (name, text) in texts {
            let value = HeaderValue::try_from(text).ok();
            headers.extend(value.map(|value| (HeaderName::from_static(name), value)));
        }
        let body = Bytes::copy_from_slice(body.as_bytes());
        let answered = tokio::time::timeout(TIMEOUT, async {
            let connection = outbound.connect(&self.config.endpoint, self.tls.as_ref()).await;
            let connection = connection.map_err(Failure::Connect)?;
            connection.post(headers, body).await.map_err(Failure::Send)
        });
        let answer = answered.await.map_err(|_| Failure::TimedOut)??;
        if (200..300).contains(&answer.status) {
            Ok(())
        } else {
            Err(Failure::Status(answer.status))
        }
    }
}
