//! Bodies about calls: what opens one, and what is told of it.

use std::time::Duration;

use dtmf::Digit;
use relay::switchboard::{CallSnapshot, LocalMedia, LookAhead};
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use zeroize::Zeroize;

use super::engine::{EngineAnswer, EngineRequest};
use super::id;
use super::leg::LegsView;
use super::recording::{RecordingStateName, RecordingView};
use super::secure_session::SessionView;
use crate::clock::Timestamp;
use crate::external_id::ExternalId;
use crate::index::CallEntry;
use crate::keys::Role;
use crate::problem::Problem;
use crate::story::Audience;

/// Opens a call.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CallRequest {
    /// The caller's leg.
    pub caller: CallerRequest,
    /// The engine's leg.
    pub engine: EngineRequest,
    /// Begin armed: caller audio reaches the engine later, so that a flip can take back what was
    /// keyed just before it.
    #[serde(default)]
    pub armed: bool,
    /// By how much an armed call's audio is delayed, 0 to 200 ms; 60 unless said otherwise.
    #[schema(minimum = 0, maximum = 200)]
    pub look_ahead_ms: Option<u16>,
    /// Keep a recording; `true` unless said otherwise, where the relay has a place for it.
    pub record: Option<bool>,
    /// What you call this call: a SIP Call-ID, or any key of yours. Of the calls that live one has
    /// it. `ext:` and this, percent-encoded, stands for the call's id in any path.
    pub external_id: Option<ExternalId>,
}

/// The caller's leg.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CallerRequest {
    /// The SDP offer, of 16 KiB at most.
    #[schema(value_type = String, example = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\n\
        c=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0 101\r\n\
        a=rtpmap:101 telephone-event/8000\r\n")]
    pub sdp: Secret,
    /// The caller is behind NAT: its media address is learned from its first packets.
    #[serde(default)]
    pub nat: bool,
}

/// Arms a call.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ArmRequest {
    /// The delay, 0 to 200 ms; 60 unless said otherwise.
    #[schema(minimum = 0, maximum = 200)]
    pub look_ahead_ms: Option<u16>,
}

/// The look-ahead that was asked for.
///
/// # Errors
/// A problem if it is too long.
pub fn look_ahead(typed: Option<u16>) -> Result<LookAhead, Problem> {
    let Some(typed) = typed else { return Ok(LookAhead::default()) };
    LookAhead::new(Duration::from_millis(typed.into()))
        .ok_or_else(|| Problem::invalid("/look_ahead_ms", "must be 0 to 200"))
}

/// Text that may hold a key: it can't be printed, and is wiped when dropped.
#[derive(Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// A copy of a text.
    #[must_use]
    pub fn new(text: &str) -> Secret {
        Secret(text.to_owned())
    }

    /// The text, for what parses it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// A new offer of the caller.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReofferRequest {
    /// The SDP offer, of 16 KiB at most.
    #[schema(value_type = String, example = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\n\
        c=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0 101\r\n\
        a=rtpmap:101 telephone-event/8000\r\n")]
    pub sdp: Secret,
}

/// A key that came by signalling, such as SIP INFO.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyRequest {
    /// One of `0` to `9`, `*`, `#`, `A` to `D`.
    #[schema(value_type = String, example = "5", min_length = 1, max_length = 1)]
    pub digit: KeyedDigit,
}

/// One digit, read without becoming text on the way.
pub struct KeyedDigit(pub Digit);

impl<'de> Deserialize<'de> for KeyedDigit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneKey;
        impl Visitor<'_> for OneKey {
            type Value = KeyedDigit;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("one key")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<KeyedDigit, E> {
                let digit = match text.as_bytes() {
                    [key] => Digit::from_ascii(*key),
                    _ => None,
                };
                digit.map(KeyedDigit).ok_or_else(|| E::custom("not a key"))
            }
        }
        deserializer.deserialize_str(OneKey)
    }
}

/// A call that was opened.
#[derive(Serialize, ToSchema)]
pub struct CallOpened {
    /// The call's id.
    #[schema(example = "call_0198c0f3a1b27c3e8d4f5a6b7c8d9e0f")]
    id: String,
    /// `open` or `armed`.
    state: &'static str,
    /// The caller's leg.
    caller: CallerAnswer,
    /// The engine's leg.
    engine: EngineAnswer,
    /// When it was opened, UTC.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

/// What the caller is to be told.
#[derive(Serialize, ToSchema)]
pub struct CallerAnswer {
    /// The SDP answer.
    pub sdp: String,
}

impl CallOpened {
    /// What is told of a call that was just opened.
    #[must_use]
    pub fn new(entry: &CallEntry, armed: bool, sdp: &str, engine: LocalMedia) -> CallOpened {
        CallOpened {
            id: id::call(entry.id),
            state: if armed { "armed" } else { "open" },
            caller: CallerAnswer { sdp: sdp.to_owned() },
            engine: EngineAnswer::of(engine),
            created_at: entry.created_at,
        }
    }
}

/// One call in a list.
#[derive(Serialize, ToSchema)]
pub struct CallSummary {
    id: String,
    /// What its integrator calls it; absent if it has no such name.
    #[serde(skip_serializing_if = "Option::is_none")]
    external_id: Option<ExternalId>,
    /// `open`, `armed`, `secure`, `draining`, `held` or `closed`.
    state: &'static str,
    /// When it was opened, UTC.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl CallSummary {
    /// What is told of a call in a list.
    #[must_use]
    pub fn of(entry: &CallEntry) -> CallSummary {
        CallSummary {
            id: id::call(entry.id),
            external_id: entry.external_id.clone(),
            state: entry.story.state(),
            created_at: entry.created_at,
        }
    }
}

/// A page of calls, newest first.
#[derive(Serialize, ToSchema)]
pub struct CallPage {
    /// The calls.
    pub data: Vec<CallSummary>,
    /// What to send as `cursor` for the next page; null on the last.
    pub next_cursor: Option<String>,
}

/// One call.
#[derive(Serialize, ToSchema)]
pub struct CallView {
    #[serde(flatten)]
    summary: CallSummary,
    /// Whether a recording is kept: one that is being made, or was.
    recording: bool,
    /// How many others are sent copies of its media; an engine is not told.
    #[serde(skip_serializing_if = "Option::is_none")]
    listeners: Option<usize>,
    /// How it stands; null if there is none.
    recording_state: Option<RecordingStateName>,
    /// When it began, UTC: where its time is zero; null if there is none.
    #[schema(value_type = Option<String>, format = DateTime)]
    recording_started_at: Option<Timestamp>,
    /// The last secure session, if there was one.
    secure_session: Option<SessionView>,
    /// The legs, as they were last seen; null if the call ended before that.
    legs: Option<LegsView>,
}

impl CallView {
    /// What `role` is told of a call, given how it was last seen.
    #[must_use]
    pub fn of(entry: &CallEntry, seen: Option<&CallSnapshot>, role: Role) -> CallView {
        let legs = seen.map(|seen| LegsView::of(seen, role, entry.links()));
        let secure_session = SessionView::of(entry, seen, role);
        let mut summary = CallSummary::of(entry);
        if let Some(seen) = seen.filter(|_| !entry.story.is_closed()) {
            summary.state = seen.phase.as_str();
        }
        let listeners = seen.filter(|_| Audience::of(role) == Audience::Staff);
        let listeners = listeners.map(|seen| match entry.story.is_closed() {
            true => 0,
            false => seen.listeners,
        });
        let recording = RecordingView::of(entry, seen.map(|seen| seen.recording));
        CallView {
            summary,
            recording: recording.is_some(),
            recording_state: recording.map(|it| it.state),
            recording_started_at: recording.map(|it| it.started_at),
            listeners,
            secure_session,
            legs,
        }
    }
}
