//! Audit: the log of who did what, which a secure session is never entered without.
//!
//! ```text
//! enter ── session.entering ──► on the disk? ── no ──► 503, the call goes on open, an alarm
//!                                    │ yes
//!                                    ▼
//!                                the cut ──► receipt ──► session.entered ──► 201
//! ```
//!
//! Entries are made in [`entries`], and by [`requests`] for what is asked by HTTP. Times are whole
//! seconds, as everywhere: a verdict comes at the moment of a caller's last key.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use audit_log::{AppendError, AuditLog, Counts, Detail, Entry, Event, Time};

use crate::activity::{Activity, Alarm, Deed};
use crate::clock;
use crate::index::CallEntry;
use crate::problem::{Code, Problem};

pub mod command;
pub mod config;
mod denials;
mod entries;
pub mod page;
pub(crate) mod requests;
pub mod syslog;
mod tail;

use denials::Denials;
pub use entries::By;
pub(crate) use entries::{
    call_of, delivered, expired, key_changes, of_event, process, recording_of, reloaded,
};

/// How often the log is told the time, and refusals are summed up. Checkpoints are due after ten
/// seconds at the earliest.
pub const TICK: Duration = Duration::from_secs(5);

/// The audit log, or none; whoever has none may do all.
#[derive(Default)]
pub struct Audit {
    log: Option<AuditLog>,
    /// Where it is.
    directory: Option<PathBuf>,
    /// Entries that were not taken.
    lost: AtomicU64,
    denials: Mutex<Denials>,
    activity: OnceLock<Arc<Activity>>,
    is_failure_told: AtomicBool,
    is_anchor_told: AtomicBool,
    is_collector_told: AtomicBool,
    /// Entries that a collector was sent; none without a collector.
    sent: OnceLock<AtomicU64>,
}

/// Figures of the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Figures {
    /// What the log counts.
    pub counts: Counts,
    /// Entries that it has not taken.
    pub lost: u64,
    /// Whether it can be written.
    pub is_writable: bool,
    /// Entries that the collector was not sent yet, if there is one.
    pub unsent: Option<u64>,
}

impl Audit {
    /// An audit log that is open, in that directory.
    #[must_use]
    pub fn new(log: AuditLog, directory: PathBuf) -> Audit {
        Audit { log: Some(log), directory: Some(directory), ..Audit::default() }
    }

    /// Alarms go there.
    pub(crate) fn report_to(&self, activity: &Arc<Activity>) {
        let _ = self.activity.set(Arc::clone(activity));
    }

    /// Writes what must be on the disk before it is done, and waits until it is.
    ///
    /// # Errors
    /// [`Code::AuditUnavailable`]: it must not be done.
    pub(crate) async fn require(&self, entry: Entry) -> Result<(), Problem> {
        let Some(log) = &self.log else { return Ok(()) };
        let appended = log.append(entry).await;
        appended.map(drop).map_err(|error| {
            self.was_lost(error);
            let detail = "It is not on the disk that this was to be done, so it is not done. The \
                          relay's log has the cause; when its disk is well, start it anew.";
            Problem::new(Code::AuditUnavailable, detail)
        })
    }

    /// Writes what has happened, or is done whether it can be written or not. An entry that is not
    /// taken is counted, and an alarm is raised.
    pub(crate) fn note(&self, entry: Entry) {
        let Some(log) = &self.log else { return };
        // A log that takes no entry says so at once; one that fails later is seen by the next
        // entry, or the next tick.
        if let Ok(Err(error)) = log.append(entry).wait_for(Duration::ZERO) {
            self.was_lost(error);
        }
    }

    /// A call was opened, and perhaps its recording begun.
    pub(crate) fn note_opened(&self, by: &By, call: &CallEntry) {
        self.note(by.entry(Event::CallOpened, call_of(call.id), Detail::default()));
        if call.recorded.begun_at().is_some() {
            let recording = recording_of(call.id);
            self.note(by.entry(Event::RecordingStarted, recording, Detail::default()));
        }
    }

    /// A request without a valid key, or whose key may not do that: a few are written one by one,
    /// and a flood of them in sum.
    pub(crate) fn note_denied(&self, entry: Entry) {
        if self.log.is_some() && self.denials().admit(clock::monotonic()) {
            self.note(entry);
        }
    }

    fn denials(&self) -> std::sync::MutexGuard<'_, Denials> {
        self.denials.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn was_lost(&self, error: AppendError) {
        self.lost.fetch_add(1, Ordering::Relaxed);
        if !self.is_failure_told.swap(true, Ordering::Relaxed) {
            tracing::error!(%error, "an audit entry is lost; no secure session is entered without");
            self.alarm(Alarm::AuditFailed);
        }
    }

    fn alarm(&self, alarm: Alarm) {
        if let Some(activity) = self.activity.get() {
            activity.note(clock::now(), (None, Deed::Alarm(alarm)));
        }
    }

    /// The collector was sent the entries before that one.
    pub(crate) fn collector_has(&self, next: u64) {
        self.sent.get_or_init(AtomicU64::default).fetch_max(next, Ordering::Relaxed);
        if self.is_collector_told.swap(false, Ordering::Relaxed) {
            tracing::info!("the audit log's collector takes entries again");
        }
    }

    /// The connection to the collector is lost, or there was none. It is told once, until it is back.
    pub(crate) fn collector_is_lost(&self, error: &std::io::Error) {
        if !self.is_collector_told.swap(true, Ordering::Relaxed) {
            tracing::error!(%error, "the audit log's collector is not reached; the file has it all");
            self.alarm(Alarm::AuditCollectorLost);
        }
    }

    /// Tells the log the time, sums refusals up, and looks whether all is well.
    pub(crate) fn tick(&self) {
        let Some(log) = &self.log else { return };
        log.tick(entries::now());
        let summed = self.denials().sum_up(clock::monotonic());
        if let Some(count) = summed {
            self.note(entries::denials(count));
        }
        let is_failing = log.counts().is_anchor_failing;
        if is_failing && !self.is_anchor_told.swap(true, Ordering::Relaxed) {
            tracing::error!("the audit log's anchor takes no checkpoint");
            self.alarm(Alarm::AuditAnchorFailed);
        } else if !is_failing {
            self.is_anchor_told.store(false, Ordering::Relaxed);
        }
        if !log.is_writable() && !self.is_failure_told.swap(true, Ordering::Relaxed) {
            tracing::error!("the audit log can't be written: no secure session is entered");
            self.alarm(Alarm::AuditFailed);
        } else if log.is_writable() {
            // A full queue is told anew when it comes again.
            self.is_failure_told.store(false, Ordering::Relaxed);
        }
    }

    /// The figures; none without a log.
    #[must_use]
    pub fn figures(&self) -> Option<Figures> {
        let log = self.log.as_ref()?;
        let counts = log.counts();
        let sent = self.sent.get().map(|sent| sent.load(Ordering::Relaxed));
        Some(Figures {
            counts,
            unsent: sent.map(|sent| counts.entries.saturating_sub(sent)),
            lost: self.lost.load(Ordering::Relaxed),
            is_writable: log.is_writable(),
        })
    }

    /// Writes what was accepted, and that the log was closed. It blocks, some seconds at most.
    pub(crate) fn close(&self) {
        let Some(log) = &self.log else { return };
        if let Some(count) = self.denials().left() {
            self.note(entries::denials(count));
        }
        if let Err(error) = log.close(entries::now()) {
            tracing::error!(%error, "the audit log is not closed");
        }
    }
}

/// Tends the log until the process stops.
pub async fn tend(control: Arc<crate::Control>) {
    let mut stopping = control.stopping();
    while tokio::time::timeout(TICK, stopping.wait_for(|it| *it)).await.is_err() {
        control.audit.tick();
    }
}

/// The time of an entry.
pub(crate) fn time(at: clock::Timestamp) -> Time {
    Time::from_unix_ms(at.whole_seconds().unix_ms())
}
