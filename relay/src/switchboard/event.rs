//! Events: what a switchboard tells control. None carries a digit, a count of keys or a key's time.

use dtmf::{FieldError, Step, Verdict};

use super::id::{CallId, SessionId, Side};

/// Something happened on a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Event {
    /// The call.
    pub call: CallId,
    /// What happened.
    pub kind: EventKind,
}

/// What happened on a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EventKind {
    /// The call can carry media.
    Opened,
    /// The caller reaches the engine with the look-ahead's delay.
    Armed,
    /// The delay has ended without a session.
    Disarmed,
    /// The cut is in force.
    SecureStarted {
        /// The session that holds it.
        session: SessionId,
    },
    /// The collector waits for a field.
    FieldStarted {
        /// The field.
        step: Step,
        /// Which attempt, from 1.
        attempt: u8,
    },
    /// What was keyed for a field did not pass.
    FieldRejected {
        /// The field.
        step: Step,
        /// Which attempt, from 1.
        attempt: u8,
        /// Why, in Twilio's words.
        error: FieldError,
    },
    /// A field is complete.
    FieldAccepted {
        /// The field.
        step: Step,
    },
    /// The caller is to key a field once more, to be sure.
    FieldRepeated {
        /// The field.
        step: Step,
        /// Which attempt, from 1.
        attempt: u8,
    },
    /// Every field is accepted, and on its way to whoever may have it.
    Processing,
    /// The collection has ended; the cut still holds.
    SecureConcluded {
        /// The session.
        session: SessionId,
        /// Pass or fail.
        verdict: Verdict,
    },
    /// The parties hear each other again.
    Reopened {
        /// The session that is over.
        session: SessionId,
    },
    /// No quiet was found after the verdict: the call stays cut until an operator acts.
    DrainHeld {
        /// The session.
        session: SessionId,
    },
    /// A recording has begun within the call.
    RecordingStarted,
    /// From now on it holds silence.
    RecordingPaused,
    /// It goes on.
    RecordingResumed,
    /// It is over, and the call goes on.
    RecordingStopped,
    /// The last of a recording that was stopped has been handed over: nothing more comes to its file.
    RecordingHandedOver,
    /// Audio was lost on its way to the recording.
    RecordingGap,
    /// Somebody else is sent copies of the call's media from now on.
    Subscribed,
    /// One who was is no longer.
    Unsubscribed,
    /// A peer that should send has been silent too long; the call ends.
    MediaTimeout {
        /// The silent side.
        side: Side,
    },
    /// The call is over.
    Closed,
}
