//! Acts: what an engine's messages ask for, and what is sent to it.

use dtmf::Digit;
use serde_json::{Value, json};

/// A message, of either side. It can't be printed: it may hold a key of an open call, or what is said.
#[derive(Clone, PartialEq, Eq)]
pub enum Message {
    /// Text: JSON, in most dialects.
    Text(String),
    /// Octets: audio, in most dialects; in AudioSocket one whole frame.
    Binary(Vec<u8>),
}

/// What comes of one step of a dialect; both in order. Empty it and use it again.
#[derive(Default)]
pub struct Effects {
    /// To be sent to the engine.
    pub send: Vec<Message>,
    /// To be done.
    pub acts: Vec<Act>,
}

/// Something that an engine asks for.
pub enum Act {
    /// Play this behind all that waits, in the dialect's encoding.
    Play(Vec<u8>),
    /// Tell by [`crate::Dialect::marked`] when all that waits now has been played.
    Mark(String),
    /// Throw away what waits; tell by [`crate::Dialect::cleared`].
    Clear,
    /// Play nothing until [`Act::Resume`], and keep what waits.
    Pause,
    /// Go on playing.
    Resume,
    /// End the call.
    HangUp,
    /// Send a key to the caller.
    SendKey(Digit),
    /// The party at the other end has pressed a key: of a connection that is a caller's.
    Pressed(Digit),
    /// The party at the other end names its call: of a connection that is a caller's.
    Identify([u8; 16]),
    /// The engine's model wants a payment collected, by the plan of that name.
    Collect {
        /// The plan's name; none is the only one there is.
        plan: Option<String>,
    },
}

/// What became of what was played before a mark.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reached {
    /// It was played.
    Played,
    /// It was thrown away.
    Cleared,
}

/// How a secure session ended, as far as an engine may know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// What was asked for has been keyed, and is valid.
    Pass,
    /// It was not.
    Fail,
}

/// What an engine may know of a call besides what it hears.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Notice {
    /// A secure session has begun: what is heard is silence from now on.
    SecureStarted,
    /// It is over, and the caller is heard again.
    SecureEnded(Verdict),
    /// What [`Act::Collect`] asked for can't be done.
    NotCollected,
}

impl Notice {
    /// What is said of a secure session, in the dialects that have no message of their own for it;
    /// none of what is no such thing.
    pub(crate) fn secure(self) -> Option<Value> {
        match self {
            Notice::SecureStarted => Some(json!({"state": "started"})),
            Notice::SecureEnded(verdict) => {
                Some(json!({"state": "ended", "result": verdict.name()}))
            }
            Notice::NotCollected => None,
        }
    }
}

impl Verdict {
    /// `pass` or `fail`.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Verdict::Pass => "pass",
            Verdict::Fail => "fail",
        }
    }
}

/// Why a connection can't go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Fault {
    /// Text that is no JSON object of this dialect.
    #[error("a message is not what this dialect has")]
    Malformed,
    /// Text where this dialect has none, or octets where it has none.
    #[error("a message is of the wrong kind")]
    WrongKind,
    /// Audio that is no base64, or of half a sample.
    #[error("audio can't be decoded")]
    BadAudio,
    /// Audio of another rate than the connection's: nothing is resampled.
    #[error("audio is of another rate than the connection's")]
    WrongRate,
    /// A name that is longer than [`crate::MAX_MARK`].
    #[error("a mark's name is too long")]
    LongMark,
    /// The engine says that it failed.
    #[error("the engine reports an error")]
    Reported,
}
