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
    /// What was accepted could not be handed over: the far side refused it or gave no answer.
    PaymentConnectorError,
    /// What was accepted did not suit the far side's rules.
    ValidationError,
    /// The relay could not go on.
    InternalError,
}

impl Verdict {
    /// The word for this verdict in events: `success` or that of the reason.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "success",
            Self::Failed(reason) => reason.as_str(),
        }
    }
}

impl FailReason {
    /// Every reason.
    pub const ALL: [Self; 8] = [
        Self::TooManyFailedAttempts,
        Self::CallerInterruptedWithStar,
        Self::CallerHungUp,
        Self::SessionTimeout,
        Self::Cancelled,
        Self::PaymentConnectorError,
        Self::ValidationError,
        Self::InternalError,
    ];

    /// The word for this reason in events: Twilio's `<Pay>` results, and `session-timeout` and
    /// `cancelled`, for which it has none.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TooManyFailedAttempts => "too-many-failed-attempts",
            Self::CallerInterruptedWithStar => "caller-interrupted-with-star",
            Self::CallerHungUp => "caller-hung-up",
            Self::SessionTimeout => "session-timeout",
            Self::Cancelled => "cancelled",
            Self::PaymentConnectorError => "payment-connector-error",
            Self::ValidationError => "validation-error",
            Self::InternalError => "internal-error",
        }
    }
}
