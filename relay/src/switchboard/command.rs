//! Commands: what control asks of a switchboard, and what it answers.

use std::time::{Duration, Instant};

use dtmf::{CaptureError, Digit, FailReason, SecurePlan, Step};

use super::announcer::Announcer;
use super::id::{CallId, Parties, PortPair, SessionId, Side};
use super::media::{LegMedia, LookAhead};
use super::play_request::PlayRequest;
use super::press::Presses;
use super::routing::EngineAudio;
use super::snapshot::{CallSnapshot, RecordingState};
use super::subscription::{Subscribing, SubscriptionId};
pub use crate::wire::sdp::LocalMedia;

/// What control asks for one call.
pub enum Command {
    /// Begins a call on two port pairs that are already bound.
    Open(Box<OpenCall>),
    /// Replaces what was agreed for one leg (re-offer: hold, new address, codec or keys).
    Reoffer {
        /// The call.
        call: CallId,
        /// The leg that is agreed anew.
        side: Side,
        /// What holds from now on.
        media: Box<LegMedia>,
    },
    /// The same on the word of somebody who may be the other party: in a cut the caller's leg stays
    /// where it is.
    ReofferClaimed {
        /// The call.
        call: CallId,
        /// The leg that is agreed anew, as is claimed.
        side: Side,
        /// What holds from now on.
        media: Box<LegMedia>,
    },
    /// Asks whether such a re-offer would be obeyed; nothing changes.
    CheckClaim {
        /// The call.
        call: CallId,
        /// The leg that would be agreed anew.
        side: Side,
        /// What would hold.
        media: Box<LegMedia>,
    },
    /// Delays the caller towards the engine, so that a flip can take back what was just keyed.
    Arm {
        /// The call.
        call: CallId,
        /// By how much.
        look_ahead: LookAhead,
    },
    /// Ends the delay without a session.
    Disarm {
        /// The call.
        call: CallId,
    },
    /// Keeps a part of what a party sends from the other one and from the tape, or no longer.
    Block {
        /// The call.
        call: CallId,
        /// Whose.
        side: Side,
        /// What.
        part: Part,
        /// Whether it is kept back from now on.
        blocked: bool,
    },
    /// Copies media of the call for somebody else, or no longer.
    Subscription {
        /// The call.
        call: CallId,
        /// The subscription.
        id: SubscriptionId,
        /// What is asked for it.
        ask: Box<Subscribing>,
    },
    /// Begins, pauses or ends the recording.
    Record {
        /// The call.
        call: CallId,
        /// What.
        action: RecordingAction,
    },
    /// Has a party hear a sound in place of the other one, and of what it hears of us so far.
    Play {
        /// The call.
        call: CallId,
        /// Who hears it: all of them, or none.
        to: Parties,
        /// What.
        request: PlayRequest,
    },
    /// Ends the sound that a party hears, if it hears one.
    StopPlaying {
        /// The call.
        call: CallId,
        /// Who hears it.
        to: Side,
    },
    /// Has parties press a key, all of them or none: each other one is told of it, when it was told
    /// of those before.
    Press {
        /// The call.
        call: CallId,
        /// The key, for each who presses it.
        presses: Presses,
    },
    /// Cuts the call and starts to collect.
    Enter {
        /// The call.
        call: CallId,
        /// The session.
        request: Box<SessionRequest>,
    },
    /// Has the caller key one field of a plan that is driven field by field.
    Capture {
        /// The call.
        call: CallId,
        /// The field.
        step: Step,
    },
    /// Ends a collection that is driven field by field, and has every field.
    Complete {
        /// The call.
        call: CallId,
    },
    /// What was accepted has been delivered, or could not be.
    Delivered {
        /// The call.
        call: CallId,
        /// The session; of another one than is in progress it is too late.
        session: SessionId,
        /// Why the session fails, if it does.
        outcome: Result<(), FailReason>,
    },
    /// A script ends a collection that it drives field by field, between two fields.
    Abandon {
        /// The call.
        call: CallId,
    },
    /// An operator's way out: ends a collection, or drains a held call once more.
    Cancel {
        /// The call.
        call: CallId,
    },
    /// A key that came by signalling (SIP INFO, REST).
    Key {
        /// The call.
        call: CallId,
        /// The key; it goes to the collector or nowhere.
        digit: Digit,
    },
    /// The engine hangs up: ends the call, but not before its secure session is over.
    HangUp {
        /// The call.
        call: CallId,
    },
    /// Ends the call.
    Close {
        /// The call.
        call: CallId,
    },
    /// Copies the call's state and counters out.
    Snapshot {
        /// The call.
        call: CallId,
    },
}

/// What may be kept back of what a party sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// Key events (RFC 4733), redundant ones included. Tones in the audio pass.
    KeyEvents,
    /// All of it; the other one hears silence in its place, without a gap.
    Silence,
    /// All of it; the other one hears nothing.
    Media,
}

/// What is to become of a call's recording.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RecordingAction {
    /// It begins, or goes on after a pause.
    Start,
    /// It holds silence from now on, and its time goes on.
    Pause,
    /// It is over, and complete.
    Stop,
}

/// All that a secure session needs to begin.
pub struct SessionRequest {
    /// The new session; the same id twice is the same session.
    pub session: SessionId,
    /// What to collect.
    pub plan: SecurePlan,
    /// Whether the engine may talk meanwhile.
    pub engine_audio: EngineAudio,
    /// What the caller is told meanwhile; without it, nothing.
    pub announcer: Option<Announcer>,
}

/// All that a call needs to begin.
pub struct OpenCall {
    /// The call's id, unused so far.
    pub call: CallId,
    /// Ports of the caller's leg.
    pub caller_ports: PortPair,
    /// What was agreed with the caller.
    pub caller: LegMedia,
    /// Ports of the engine's leg.
    pub engine_ports: PortPair,
    /// What the engine speaks.
    pub engine: LegMedia,
    /// Begin armed, by this much.
    pub armed: Option<LookAhead>,
    /// Keep a recording.
    pub record: bool,
}

/// A command's answer, given after its effect.
pub enum Reply {
    /// Done, nothing to say.
    Done,
    /// It will be done when the secure session is over.
    HeldBack,
    /// The cut is in force.
    Secured(CutReceipt),
    /// How the recording stands now.
    Recorded(RecordingState),
    /// Nothing is played any more; where in its sound that was, if there was one.
    Stopped(Option<Duration>),
    /// The state asked for.
    Snapshot(Box<CallSnapshot>),
}

/// Proof that a cut is in force; only a call that is cut can make one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CutReceipt {
    call: CallId,
    session: SessionId,
    since: Instant,
}

impl CutReceipt {
    pub(super) fn new(call: CallId, session: SessionId, since: Instant) -> CutReceipt {
        CutReceipt { call, session, since }
    }

    /// The call that is cut.
    pub fn call(&self) -> CallId {
        self.call
    }

    /// The session that holds the cut.
    pub fn session(&self) -> SessionId {
        self.session
    }

    /// When the cut came into force.
    pub fn since(&self) -> Instant {
        self.since
    }
}

/// Why a command was not obeyed. Nothing has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// No such call here.
    #[error("the call is not known or already over")]
    UnknownCall,
    /// The id is in use.
    #[error("a call with this id exists already")]
    DuplicateCall,
    /// Another session is in progress.
    #[error("a secure session is in progress on this call")]
    SessionInProgress,
    /// There is no session to end.
    #[error("no secure session is in progress on this call")]
    NoSession,
    /// The session takes no such step now.
    #[error(transparent)]
    Capture(CaptureError),
    /// The call is cut, and arming would have no meaning.
    #[error("the call is cut")]
    CallIsCut,
    /// The call is armed: its engine hears the caller later, and nothing else.
    #[error("the call is armed")]
    CallIsArmed,
    /// The party is not there yet, or on hold.
    #[error("the party receives no media now")]
    NotListening,
    /// As many keys wait as may.
    #[error("too many keys wait to be pressed")]
    TooManyKeys,
    /// The call is cut, and whoever asks may not be the caller.
    #[error("in a secure session the caller's leg stays where it is")]
    CallerStays,
    /// No more of them.
    #[error("the call has as many subscriptions as it may")]
    TooManySubscriptions,
    /// It is over, or there was none.
    #[error("the call has no such subscription")]
    NoSubscription,
    /// The kernel gave no memory that is safe for digits.
    #[error("no locked memory could be had for the session")]
    NoLockedMemory,
    /// The relay holds as many calls as it may.
    #[error("the relay holds as many calls as it may")]
    Full,
    /// No free media port.
    #[error("no media port is free")]
    NoPort,
    /// The media address could not be bound.
    #[error("the media address cannot be bound")]
    BindFailed,
    /// No media address of the family the peer needs is configured.
    #[error("no media address of the peer's address family is configured")]
    NoAddressFamily,
    /// The worker has too many requests waiting.
    #[error("the relay is busy")]
    Busy,
    /// The worker is gone.
    #[error("the relay is stopping")]
    Stopping,
    /// The call is cut, but the connection to its engine could not be made to let go of what it was
    /// sending.
    #[error("the call is cut, but its engine's connection does not let go of what was before")]
    NotSettled,
    /// The recording could not be started.
    #[error("the recording cannot be started")]
    NoRecording,
    /// The call's one recording was stopped.
    #[error("the call's recording was stopped, and a call has one")]
    RecordingOver,
    /// The call was never recorded.
    #[error("the call is not recorded")]
    NotRecorded,
}
