//! `Verdict`: how a collection ended.

/// How a collection ended: once, and without anything of what was keyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every field was accepted.
    Passed,
    /// It ended before that, and everything keyed has been wiped.
    Failed(FailReason),
}

/// Why a collection failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailReason {
    /// The attempts at one field were used up.
    TooManyFailedAttempts,
    /// The caller cancelled with the star key.
    CallerInterruptedWithStar,
    /// The caller hung up.
    CallerHungUp,
    /// The session lasted longer than its plan allows.
    SessionTimeout,
    /// An operator cancelled it.
    Cancelled,
    /// The relay could not go on.
    InternalError,
}

impl Verdict {
    /// The word for this verdict in events: Twilio's `<Pay>` results, and `session-timeout` and
    /// `cancelled`, for which it has none.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "success",
            Self::Failed(FailReason::TooManyFailedAttempts) => "too-many-failed-attempts",
            Self::Failed(FailReason::CallerInterruptedWithStar) => "caller-interrupted-with-star",
            Self::Failed(FailReason::CallerHungUp) => "caller-hung-up",
            Self::Failed(FailReason::SessionTimeout) => "session-timeout",
            Self::Failed(FailReason::Cancelled) => "cancelled",
            Self::Failed(FailReason::InternalError) => "internal-error",
        }
    }
}
