//! Faults: what goes wrong on the wire, told in one line a minute for each kind.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::clock;

/// Time between two lines about one kind of fault: a stranger must not fill the log.
const QUIET: Duration = Duration::from_secs(60);

/// What may go wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    /// Somebody who may not ask.
    Stranger,
    /// Octets without a cookie or a dictionary.
    NotAMessage,
    /// A dictionary that can't be read, or asks for nothing that is known.
    Malformed,
    /// More requests at once than are worked on.
    Busy,
    /// The system does not send or receive.
    Socket,
}

impl Fault {
    const ALL: [Fault; 5] =
        [Fault::Stranger, Fault::NotAMessage, Fault::Malformed, Fault::Busy, Fault::Socket];

    const fn as_str(self) -> &'static str {
        match self {
            Fault::Stranger => "from an address that may not ask: see ng.peers",
            Fault::NotAMessage => "no cookie, or no dictionary behind it",
            Fault::Malformed => "a dictionary that is not understood",
            Fault::Busy => "more requests at once than are worked on",
            Fault::Socket => "the system refused to send or receive",
        }
    }
}

/// What went wrong so far.
#[derive(Default)]
pub(super) struct Faults {
    counts: [AtomicU64; Fault::ALL.len()],
    told: [Mutex<Option<Instant>>; Fault::ALL.len()],
    unknown: Mutex<Option<Instant>>,
}

impl Faults {
    /// Counts a fault, and tells of it unless that was done lately.
    pub(super) fn note(&self, fault: Fault) {
        let place = fault as usize;
        let count = self.counts[place].fetch_add(1, Ordering::Relaxed) + 1;
        if is_time(&self.told[place]) {
            tracing::warn!(count, "NG request dropped or refused: {}", fault.as_str());
        }
    }

    /// Tells of members and flags that were passed over.
    pub(super) fn note_unknown(&self, names: &[&str]) {
        if is_time(&self.unknown) {
            tracing::debug!(?names, "NG flags without effect");
        }
    }

    /// Faults of all kinds.
    pub(super) fn total(&self) -> u64 {
        self.counts.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }
}

fn is_time(told: &Mutex<Option<Instant>>) -> bool {
    let now = clock::monotonic();
    let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
    let is_time = told.is_none_or(|then| now.saturating_duration_since(then) >= QUIET);
    if is_time {
        *told = Some(now);
    }
    is_time
}
