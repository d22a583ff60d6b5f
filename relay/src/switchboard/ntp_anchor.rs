//! NtpAnchor: an instant and its wall-clock time, from which others follow.

use std::time::Instant;

use crate::wire::ntp::NtpTime;

/// Tells wall-clock time of an instant. Few packets need it, so it is worked out where they do.
#[derive(Clone, Copy)]
pub(super) struct NtpAnchor {
    at: Instant,
    time: NtpTime,
}

impl NtpAnchor {
    /// The instant `at` is the moment `time`.
    pub(super) fn new(at: Instant, time: NtpTime) -> NtpAnchor {
        NtpAnchor { at, time }
    }

    /// The moment of an instant that is not before the anchor's.
    pub(super) fn time_of(self, now: Instant) -> NtpTime {
        self.time.after(now.saturating_duration_since(self.at))
    }
}
