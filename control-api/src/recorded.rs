//! Recorded: what the control plane knows of a call's one recording.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use relay::switchboard::EventKind;

use crate::clock::Timestamp;

/// Whether a recording of a call has begun, when, and whether it has ended before the call. None of
/// it is ever taken back, so that it is the same whether an answer or an event tells it first.
#[derive(Default)]
pub struct Recorded {
    begun: OnceLock<Timestamp>,
    ended: AtomicBool,
    handed_over: AtomicBool,
}

impl Recorded {
    /// It begins with its call, or, without a time, not yet.
    #[must_use]
    pub fn since(begun: Option<Timestamp>) -> Recorded {
        let recorded = Recorded::default();
        if let Some(at) = begun {
            recorded.begins(at);
        }
        recorded
    }

    /// Takes in an event of the relay.
    pub fn handle_event(&self, now: Timestamp, kind: EventKind) {
        if kind == EventKind::RecordingStarted {
            self.begins(now);
        }
        if kind == EventKind::RecordingStopped {
            self.ends();
        }
        if kind == EventKind::RecordingHandedOver {
            self.handed_over.store(true, Ordering::Release);
        }
    }

    /// It has begun by now.
    pub fn begins(&self, now: Timestamp) {
        // The first to tell was the closest to it.
        let _ = self.begun.set(now);
    }

    /// It has ended.
    pub fn ends(&self) {
        self.ended.store(true, Ordering::Release);
    }

    /// When it began.
    #[must_use]
    pub fn begun_at(&self) -> Option<Timestamp> {
        self.begun.get().copied()
    }

    /// Whether all of it is with the recorder, before its call ends. What was stopped is so some
    /// 300 ms later, since a cut could take its last moments back until then.
    #[must_use]
    pub fn is_handed_over(&self) -> bool {
        self.handed_over.load(Ordering::Acquire)
    }

    /// Whether it has ended before its call.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }
}
