//! Health: whether the process lives, whether it takes calls, and its figures for Prometheus.

use std::fmt::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use dtmf::Verdict;
use relay::io::{FLIP_BUCKETS_US, IoCounts};
use relay::switchboard::DropReason;

use crate::Control;
use crate::audit::Figures;
use crate::clock::{self, Timestamp};
use crate::dto::secure_session::ResultName;
use crate::keys::Denied;

/// How often all calls are looked at for what they dropped.
pub const SAMPLE_INTERVAL: Duration = Duration::from_secs(10);

/// How often the runtime of the control plane shows that it runs.
const BEAT_INTERVAL: Duration = Duration::from_secs(1);
/// Silence of that runtime after which the process does not live any more: many times what any load
/// holds it up for.
const DEAD_AFTER: Duration = Duration::from_secs(20);

/// What the API counts itself.
#[derive(Default)]
pub struct Metrics {
    /// When the control plane last showed that it runs.
    beat: Mutex<Option<Instant>>,
    /// Requests by the first digit of their status; the first place counts all else.
    requests: [AtomicU64; 6],
    /// Requests that were not let in, by [`Denied`].
    unauthenticated: [AtomicU64; Denied::ALL.len()],
    passed: AtomicU64,
    failed: AtomicU64,
    erased_on_request: AtomicU64,
    erased_by_age: AtomicU64,
    not_erased: AtomicU64,
    told: Mutex<Option<(Timestamp, String)>>,
}

/// How the erasure of a recording ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Erasure {
    /// It was asked for, and done.
    OnRequest,
    /// The recording was as old as recordings may become, and is gone.
    ByAge,
    /// The disk refused.
    Failed,
}

impl Metrics {
    /// Whether the control plane has shown that it runs.
    fn is_alive(&self, now: Instant) -> bool {
        let beat = *self.beat.lock().unwrap_or_else(PoisonError::into_inner);
        beat.is_none_or(|beat| now.saturating_duration_since(beat) < DEAD_AFTER)
    }

    /// A request was answered.
    pub fn answered(&self, status: u16) {
        let class = self.requests.get(usize::from(status / 100)).unwrap_or(&self.requests[0]);
        class.fetch_add(1, Ordering::Relaxed);
    }

    /// A request came without a valid key.
    pub fn unauthenticated(&self, denied: Denied) {
        let mut counters = Denied::ALL.iter().zip(&self.unauthenticated);
        if let Some((_, counter)) = counters.find(|(reason, _)| **reason == denied) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A recording was erased, or could not be.
    pub fn erased(&self, erasure: Erasure) {
        let counter = match erasure {
            Erasure::OnRequest => &self.erased_on_request,
            Erasure::ByAge => &self.erased_by_age,
            Erasure::Failed => &self.not_erased,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// A secure session has a verdict.
    pub fn session_concluded(&self, verdict: Verdict) {
        let counter = match verdict {
            Verdict::Passed => &self.passed,
            Verdict::Failed(_) => &self.failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// The routes of the health listener. It asks for no key: nothing on it belongs to a call.
pub fn app(control: &Arc<Control>) -> Router {
    Router::new()
        .route("/livez", get(live))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(Arc::clone(control))
}

/// Shows that the control plane runs, as long as it does. The health listener has a thread of its own, and
/// would answer for one that is stuck.
pub async fn beat(control: Arc<Control>) {
    let mut stopping = control.stopping();
    let mark = || {
        *control.metrics.beat.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(clock::monotonic());
    };
    mark();
    while tokio::time::timeout(BEAT_INTERVAL, stopping.wait_for(|it| *it)).await.is_err() {
        mark();
    }
}

/// Looks at all calls from time to time, so that drops are counted while calls last.
pub async fn sample(control: Arc<Control>) {
    let mut stopping = control.stopping();
    while tokio::time::timeout(SAMPLE_INTERVAL, stopping.wait_for(|it| *it)).await.is_err() {
        for entry in control.calls.live() {
            control.see(&entry).await;
        }
        control.sinks.sealed().expire(clock::monotonic());
    }
}

async fn live(State(control): State<Arc<Control>>) -> (StatusCode, &'static str) {
    match control.metrics.is_alive(clock::monotonic()) {
        true => (StatusCode::OK, "ok\n"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "stuck\n"),
    }
}

async fn ready(State(control): State<Arc<Control>>) -> (StatusCode, &'static str) {
    match control.is_ready() {
        true => (StatusCode::OK, "ready\n"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "stopping\n"),
    }
}

async fn metrics(State(control): State<Arc<Control>>) -> impl IntoResponse {
    let text = figures_of_this_second(&control, clock::now().whole_seconds());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
}

/// The figures, the same for a whole second: a verdict and a delivery are counted at the moment of
/// the last key, which is told in whole seconds like every other time.
fn figures_of_this_second(control: &Control, second: Timestamp) -> String {
    let mut told = control.metrics.told.lock().unwrap_or_else(PoisonError::into_inner);
    match &*told {
        Some((at, text)) if *at == second => text.clone(),
        Some(_) | None => {
            let mut text = Exposition(String::with_capacity(8192));
            text.describe(control);
            *told = Some((second, text.0.clone()));
            text.0
        }
    }
}

/// Prometheus' text format. Every label has a fixed, small set of values; none names a call.
struct Exposition(String);

impl Exposition {
    fn describe(&mut self, control: &Control) {
        let gauges = &control.gauges;
        self.one("sotto_calls", "gauge", "Calls in progress", gauges.calls());
        let free = gauges.free_port_pairs();
        self.one("sotto_ports_free", "gauge", "Media port pairs that are free or resting", free);
        let lost = gauges.events_lost();
        self.one("sotto_events_lost_total", "counter", "Events that came too fast to tell", lost);
        let streams = control.streams.taken() as u64;
        self.one("sotto_event_streams", "gauge", "Event streams open", streams);
        let Metrics { requests, unauthenticated, passed, failed, .. } = &control.metrics;

        let name = "sotto_secure_sessions_total";
        self.head(name, "counter", "Secure sessions by how their collection ended");
        for (result, counter) in [(ResultName::Pass, passed), (ResultName::Fail, failed)] {
            self.line(name, format_args!("result=\"{}\"", result.as_str()), load(counter));
        }
        let name = "sotto_drops_total";
        self.head(name, "counter", "Packets that went nowhere, by reason");
        for reason in DropReason::ALL {
            let dropped = control.calls.dropped(reason);
            self.line(name, format_args!("reason=\"{}\"", reason.as_str()), dropped);
        }
        let name = "sotto_http_requests_total";
        self.head(name, "counter", "Requests answered, by the first digit of their status");
        for (class, counter) in requests.iter().enumerate().skip(1) {
            self.line(name, format_args!("class=\"{class}xx\""), load(counter));
        }
        let name = "sotto_unauthenticated_total";
        self.head(name, "counter", "Requests without a valid key, by reason");
        for (reason, counter) in Denied::ALL.iter().zip(unauthenticated) {
            self.line(name, format_args!("reason=\"{}\"", reason.as_str()), load(counter));
        }
        self.limits(control);
        self.deliveries(control);
        self.recordings(control);
        self.audit(control);
        self.flips(control);
        self.media(control);
    }

    fn limits(&mut self, control: &Control) {
        let (refused, alarms) = control.limits().counts();
        let name = "sotto_limited_total";
        self.head(name, "counter", "Requests refused for their number, by whose");
        for (whose, count) in refused {
            self.line(name, format_args!("whose=\"{whose}\""), count);
        }
        let help = "Addresses that sent keys which are not valid, ten times in five minutes";
        self.one("sotto_keys_guessed_total", "counter", help, alarms);
    }

    fn media(&mut self, control: &Control) {
        let workers: Vec<(IoCounts, Duration)> = control.gauges.io().collect();
        let name = "sotto_media_packets_total";
        self.head(name, "counter", "Media packets by worker, direction and way, in steps of 256");
        for (worker, (counts, _)) in workers.iter().enumerate() {
            let ways = [
                ("in", "ring", counts.received_by_ring),
                ("in", "socket", counts.received_by_socket),
                ("out", "ring", counts.sent_by_ring),
                ("out", "socket", counts.sent_by_socket),
            ];
            for (direction, by, count) in ways {
                let label =
                    format_args!("worker=\"{worker}\",direction=\"{direction}\",by=\"{by}\"");
                self.line(name, label, count);
            }
        }
        let unreadable = "Frames on a ring that were no sound datagram for a call";
        self.by_worker("unreadable_frames", unreadable, &workers, |counts| counts.unreadable);
        let wakes = "Times a media worker woke, in steps of 256";
        self.by_worker("wakes", wakes, &workers, |counts| counts.wakes);
        let late = "Looks at the rings that came more than half a millisecond late";
        self.by_worker("late_ticks", late, &workers, |counts| counts.late);
        let name = "sotto_media_busy_seconds_total";
        self.head(name, "counter", "Time that a media worker was awake, in steps of 10 ms");
        for (worker, (_, busy)) in workers.iter().enumerate() {
            let _ = writeln!(self.0, "{name}{{worker=\"{worker}\"}} {}", busy.as_secs_f64());
        }
    }

    fn deliveries(&mut self, control: &Control) {
        let name = "sotto_deliveries_total";
        self.head(name, "counter", "Deliveries of what was keyed, by how they ended");
        for (outcome, count) in control.sinks.counts() {
            self.line(name, format_args!("outcome=\"{outcome}\""), count);
        }
        let sealed = control.sinks.sealed();
        let help = "Sealed data that waits to be fetched";
        self.one("sotto_sealed_waiting", "gauge", help, sealed.waiting());
        let (fetched, expired) = sealed.totals();
        let name = "sotto_sealed_total";
        self.head(name, "counter", "Sealed data that no longer waits, by what became of it");
        self.line(name, format_args!("outcome=\"fetched\""), fetched);
        self.line(name, format_args!("outcome=\"expired\""), expired);
        let name = "sotto_webhook_attempts_total";
        self.head(name, "counter", "Attempts to deliver webhooks, by how they ended");
        for (outcome, count) in control.webhooks.counts() {
            self.line(name, format_args!("outcome=\"{outcome}\""), count);
        }
        let (pending, dead) = control.webhooks.shelf().map_or((0, 0), |shelf| shelf.counts());
        self.one("sotto_webhooks_pending", "gauge", "Webhooks that wait to be delivered", pending);
        self.one("sotto_webhooks_dead", "gauge", "Webhooks that were given up", dead);
    }

    fn recordings(&mut self, control: &Control) {
        let metrics = &control.metrics;
        let name = "sotto_recording_erasures_total";
        self.head(name, "counter", "Erasures of recordings by what came of them");
        let results = [
            ("on_request", &metrics.erased_on_request),
            ("by_age", &metrics.erased_by_age),
            ("failed", &metrics.not_erased),
        ];
        for (result, counter) in results {
            self.line(name, format_args!("result=\"{result}\""), load(counter));
        }
        let Some(recordings) = &control.recordings else { return };
        let counts = recordings.queue.counts();
        let name = "sotto_recordings_total";
        self.head(name, "counter", "Recordings by what became of them");
        let stages = [
            ("started", counts.started),
            ("completed", counts.completed),
            ("failed", counts.failed),
        ];
        for (stage, count) in stages {
            self.line(name, format_args!("stage=\"{stage}\""), count);
        }
    }

    fn audit(&mut self, control: &Control) {
        let Some(Figures { counts, lost, is_writable, unsent }) = control.audit.figures() else {
            return;
        };
        let help = "Whether the audit log can be written: if not, no secure session is entered";
        self.one("sotto_audit_writable", "gauge", help, is_writable.into());
        let help = "Entries of the audit log, since it was begun";
        self.one("sotto_audit_entries_total", "counter", help, counts.entries);
        let help = "Audit entries that were not taken";
        self.one("sotto_audit_lost_total", "counter", help, lost);
        let help = "Audit entries that no signed checkpoint attests to yet";
        let unattested = counts.entries.saturating_sub(counts.attested);
        self.one("sotto_audit_unattested", "gauge", help, unattested);
        let help = "Checkpoints that the audit log's anchor did not take";
        self.one("sotto_audit_anchor_failures_total", "counter", help, counts.anchor_failures);
        let help = "Audit entries that the syslog collector was not sent yet, if there is one";
        self.one("sotto_audit_unsent", "gauge", help, unsent.unwrap_or(0));
    }

    fn flips(&mut self, control: &Control) {
        let name = "sotto_flip_seconds";
        self.head(name, "histogram", "Time from the command to enter to the cut in force");
        let (counts, sum_us) = control.gauges.flips();
        let mut total = 0;
        for (index, count) in counts.iter().enumerate() {
            total += count;
            let bucket = "sotto_flip_seconds_bucket";
            match FLIP_BUCKETS_US.get(index) {
                Some(bound) => {
                    let seconds = *bound as f64 / 1e6;
                    self.line(bucket, format_args!("le=\"{seconds}\""), total);
                }
                None => self.line(bucket, format_args!("le=\"+Inf\""), total),
            }
        }
        let _ = writeln!(self.0, "{name}_sum {}\n{name}_count {total}", sum_us as f64 / 1e6);
    }

    fn by_worker(
        &mut self,
        what: &str,
        help: &str,
        workers: &[(IoCounts, Duration)],
        of: impl Fn(&IoCounts) -> u64,
    ) {
        let name = format!("sotto_media_{what}_total");
        self.head(&name, "counter", help);
        for (worker, (counts, _)) in workers.iter().enumerate() {
            self.line(&name, format_args!("worker=\"{worker}\""), of(counts));
        }
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: u64) {
        self.head(name, kind, help);
        let _ = writeln!(self.0, "{name} {value}");
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}.\n# TYPE {name} {kind}");
    }

    fn line(&mut self, name: &str, label: fmt::Arguments<'_>, value: u64) {
        let _ = writeln!(self.0, "{name}{{{label}}} {value}");
    }
}

fn load(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::{DEAD_AFTER, Metrics};
    use crate::clock;

    #[test]
    fn a_control_plane_that_shows_nothing_is_taken_for_dead() {
        let (metrics, now) = (Metrics::default(), clock::monotonic());
        assert!(metrics.is_alive(now), "it has not begun");
        *metrics.beat.lock().unwrap() = Some(now);
        assert!(metrics.is_alive(now + DEAD_AFTER / 2) && !metrics.is_alive(now + DEAD_AFTER));
    }
}
