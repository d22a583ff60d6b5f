//! `CaptureError`: why a collection does not do what its script asks for.

use crate::plan::CAPTURE_SEQUENCE;

/// Why a collection does not do what its script asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CaptureError {
    /// The plan runs by itself.
    #[error("the plan asks for its fields by itself")]
    WholePlan,
    /// The collection has ended.
    #[error("the session has ended")]
    Ended,
    /// What was accepted is being handed over.
    #[error("the session is already complete")]
    Processing,
    /// A field is being keyed: its end is reported, and then the next can be captured.
    #[error("another field is being captured")]
    Busy,
    /// The plan has no such field.
    #[error("the plan has no such field")]
    NotInPlan,
    /// The security code has to wait for the card number, which says how long it is.
    #[error("the security code comes after the card number")]
    CaptureSequence,
    /// There have been [`MAX_CAPTURES`](crate::plan::MAX_CAPTURES).
    #[error("the session has no more captures")]
    TooManyCaptures,
    /// Some fields have not been accepted yet: see [`Collector::required`].
    #[error("some fields have not been accepted yet")]
    Incomplete,
}

impl CaptureError {
    /// The word for this error; Twilio's for a wrong order.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CaptureSequence => CAPTURE_SEQUENCE,
            Self::Busy => "capture-in-progress",
            Self::TooManyCaptures => "too-many-captures",
            Self::Ended | Self::Processing => "session-completed",
            Self::WholePlan | Self::NotInPlan | Self::Incomplete => "validation-error",
        }
    }
}
