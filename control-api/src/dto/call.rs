//! Bodies about calls: what opens one, and what is told of it.

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use dtmf::Digit;
use dtmf::g711::Law;
use relay::codec::{Codec, SampleRate};
use relay::switchboard::{CallSnapshot, LegMedia, LocalMedia, LookAhead, SourceRule, SrtpKeys};
use relay::wire::sdp::AddressPolicy;
use relay::wire::srtp::{MasterKey, Suite};
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use zeroize::{Zeroize, Zeroizing};

use super::id;
use super::leg::LegsView;
use super::secure_session::SessionView;
use crate::clock::Timestamp;
use crate::engines::{DtmfToEngine, EngineProfile};
use crate::external_id::ExternalId;
use crate::index::CallEntry;
use crate::keys::Role;
use crate::problem::{Code, Problem};

/// Packet times an engine may ask for, in ms: those that the caller's side may have too.
const PACKET_TIMES_MS: [u8; 5] = [10, 20, 30, 40, 60];
/// Octets of one packet of an engine's leg: with headers and an SRTP tag it fits an Ethernet frame
/// behind any tunnel.
const MAX_PAYLOAD: usize = 1280;
/// Payload type of telephone-event on an echo's leg, unless the request says another.
const ECHO_EVENT_TYPE: u8 = 101;
/// Payload types that are negotiated, so that telephone-event can have one (RFC 3551 section 6).
const DYNAMIC_TYPES: std::ops::RangeInclusive<u8> = 96..=127;

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
    #[schema(value_type = String)]
    pub sdp: Secret,
    /// The caller is behind NAT: its media address is learned from its first packets.
    #[serde(default)]
    pub nat: bool,
}

/// The engine's leg: an address and a fixed codec, the shape of Asterisk's ExternalMedia; or the
/// relay's own echo, which needs neither.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EngineRequest {
    /// What kind of leg.
    #[serde(rename = "type")]
    pub kind: EngineKind,
    /// Of `rtp`, which needs it: where the engine receives RTP and sends it from; RTCP is one port
    /// above.
    #[schema(value_type = Option<String>, example = "192.0.2.7:40000")]
    pub address: Option<SocketAddr>,
    /// The codec; PCMU unless said otherwise.
    #[serde(default)]
    pub codec: CodecName,
    /// Payload type of L16, 96 to 127; 96 unless said otherwise. The others have types of their own.
    #[schema(minimum = 96, maximum = 127)]
    pub payload_type: Option<u8>,
    /// Length of the packets sent to the engine: 10, 20, 30, 40 or 60 ms; 20 unless said otherwise.
    #[serde(default = "default_ptime")]
    pub ptime_ms: u8,
    /// Payload type of telephone-event at the codec's clock, 96 to 127; without one the engine gets
    /// none, and an echo 101.
    pub telephone_event_payload_type: Option<u8>,
    /// Of `rtp`: SRTP keys; without them the leg is plain RTP.
    pub srtp: Option<SrtpRequest>,
    /// What kind of engine it is: the name of a profile in the relay's configuration.
    pub profile: Option<String>,
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

/// Kinds of engine legs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EngineKind {
    /// RTP or SRTP over UDP, to an engine of yours.
    Rtp,
    /// The relay's own, for a first call, demos and tests: it greets, repeats what it hears a second
    /// later, and tells by `GET .../engine/hearing` what kinds of audio that were. A call has it
    /// from its opening or not at all.
    Echo,
}

/// Where an engine is found.
pub enum EnginePlace {
    /// At an address.
    At(SocketAddr),
    /// In this process.
    Echo,
}

/// What an engine may speak, by its RTP name (RFC 3551), L16 with its rate.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, ToSchema)]
pub enum CodecName {
    /// G.711 u-law.
    #[default]
    #[serde(rename = "PCMU")]
    Pcmu,
    /// G.711 A-law.
    #[serde(rename = "PCMA")]
    Pcma,
    /// G.722, 16 kHz.
    #[serde(rename = "G722")]
    G722,
    /// 16-bit samples in network order, 8 kHz.
    #[serde(rename = "L16/8000")]
    L16Narrow,
    /// The same at 16 kHz.
    #[serde(rename = "L16/16000")]
    L16Wide,
    /// The same at 24 kHz.
    #[serde(rename = "L16/24000")]
    L16SuperWide,
}

impl CodecName {
    /// The codec, and its payload type where that is settled (RFC 3551 table 4).
    const fn codec(self) -> (Codec, Option<u8>) {
        match self {
            CodecName::Pcmu => (Codec::G711(Law::Mu), Some(0)),
            CodecName::Pcma => (Codec::G711(Law::A), Some(8)),
            CodecName::G722 => (Codec::G722, Some(9)),
            CodecName::L16Narrow => (Codec::L16(SampleRate::Narrow), None),
            CodecName::L16Wide => (Codec::L16(SampleRate::Wide), None),
            CodecName::L16SuperWide => (Codec::L16(SampleRate::SuperWide), None),
        }
    }
}

/// Keys of an SRTP engine leg, one a direction.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SrtpRequest {
    /// The crypto suite as RFC 4568 and RFC 7714 name it.
    #[schema(example = "AEAD_AES_128_GCM")]
    pub suite: String,
    /// Base64 of master key and salt that the relay sends with.
    #[schema(value_type = String)]
    pub send_key: Secret,
    /// Base64 of master key and salt that the engine sends with.
    #[schema(value_type = String)]
    pub receive_key: Secret,
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
    #[schema(value_type = String)]
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

fn default_ptime() -> u8 {
    20
}

impl EngineRequest {
    /// Plain RTP with PCMU and telephone-event, packets of 20 ms.
    #[must_use]
    pub fn rtp(address: SocketAddr, telephone_event: u8, profile: Option<String>) -> EngineRequest {
        EngineRequest {
            kind: EngineKind::Rtp,
            address: Some(address),
            codec: CodecName::default(),
            payload_type: None,
            ptime_ms: default_ptime(),
            telephone_event_payload_type: Some(telephone_event),
            srtp: None,
            profile,
        }
    }

    /// The relay's own echo, with PCMU and packets of 20 ms.
    #[must_use]
    pub fn echo(profile: Option<String>) -> EngineRequest {
        EngineRequest {
            kind: EngineKind::Echo,
            address: None,
            codec: CodecName::default(),
            payload_type: None,
            ptime_ms: default_ptime(),
            telephone_event_payload_type: None,
            srtp: None,
            profile,
        }
    }

    /// Where the engine is found; `at` is where the request stands in the body.
    ///
    /// # Errors
    /// A problem that points at a member that is missing, or that this type does not have.
    pub fn place(&self, at: &str) -> Result<EnginePlace, Problem> {
        match (self.kind, self.address) {
            (EngineKind::Rtp, Some(address)) => Ok(EnginePlace::At(address)),
            (EngineKind::Rtp, None) => {
                let detail = "a member that must be there is missing: `address`";
                Err(Problem::new(Code::MalformedBody, "See errors for what to change.")
                    .at(at, detail))
            }
            (EngineKind::Echo, Some(_)) => {
                let detail = "an echo has an address of its own: leave this away";
                Err(Problem::invalid(format!("{at}/address"), detail))
            }
            (EngineKind::Echo, None) if self.srtp.is_some() => {
                let detail = "an echo speaks plain RTP, within this machine: leave this away";
                Err(Problem::invalid(format!("{at}/srtp"), detail))
            }
            (EngineKind::Echo, None) => Ok(EnginePlace::Echo),
        }
    }

    /// The leg of an engine at `address`, as the media plane needs it; `at` is where the request
    /// stands in the body.
    ///
    /// # Errors
    /// A problem that points at the member at fault.
    pub fn into_media(
        self,
        address: SocketAddr,
        addresses: &AddressPolicy,
        profile: EngineProfile,
        at: &str,
    ) -> Result<LegMedia, Problem> {
        let invalid =
            |member: &str, detail: String| Problem::invalid(format!("{at}/{member}"), detail);
        let remote_rtp =
            addresses.admit(address).map_err(|refusal| invalid("address", refusal.to_string()))?;
        let rtcp_port = remote_rtp
            .port()
            .checked_add(1)
            .ok_or_else(|| invalid("address", "the port leaves none for RTCP".to_owned()))?;
        let Voice { codec, payload_type, telephone_event } = self.voice(at)?;
        Ok(LegMedia {
            remote_rtp,
            remote_rtcp: SocketAddr::new(remote_rtp.ip(), rtcp_port),
            rtcp_mux: false,
            codec,
            payload_type,
            telephone_event,
            redundancy: None,
            wants_events: profile.dtmf_to_engine == DtmfToEngine::Pass,
            ptime: Duration::from_millis(self.ptime_ms.into()),
            they_send: true,
            they_receive: true,
            srtp: self.srtp.map(|srtp| srtp.keys(&format!("{at}/srtp"))).transpose()?,
            source: SourceRule::Signalled,
        })
    }
}

/// What is spoken on an engine's leg, and by which payload types.
struct Voice {
    codec: Codec,
    payload_type: u8,
    telephone_event: Option<u8>,
}

impl EngineRequest {
    fn voice(&self, at: &str) -> Result<Voice, Problem> {
        let invalid = |member: &str, detail: &str| {
            Err(Problem::invalid(format!("{at}/{member}"), detail.to_owned()))
        };
        let (codec, settled) = self.codec.codec();
        let telephone_event = match self.kind {
            EngineKind::Rtp => self.telephone_event_payload_type,
            EngineKind::Echo if codec.law().is_none() => {
                return invalid("codec", "must be PCMU or PCMA for an echo");
            }
            EngineKind::Echo => self.telephone_event_payload_type.or(Some(ECHO_EVENT_TYPE)),
        };
        if !PACKET_TIMES_MS.contains(&self.ptime_ms) {
            return invalid("ptime_ms", &format!("must be one of {PACKET_TIMES_MS:?}"));
        }
        if codec.octets(self.ptime_ms.into()).is_none_or(|octets| octets > MAX_PAYLOAD) {
            let detail = format!("makes packets of more than {MAX_PAYLOAD} octets of this codec");
            return invalid("ptime_ms", &detail);
        }
        if telephone_event.is_some_and(|it| !DYNAMIC_TYPES.contains(&it)) {
            return invalid("telephone_event_payload_type", "must be 96 to 127");
        }
        let payload_type = match (settled, self.payload_type) {
            (Some(_), Some(_)) => return invalid("payload_type", "is for L16 alone"),
            (Some(settled), None) => settled,
            (None, typed) => typed.unwrap_or(*DYNAMIC_TYPES.start()),
        };
        if settled.is_none() && !DYNAMIC_TYPES.contains(&payload_type) {
            return invalid("payload_type", "must be 96 to 127");
        }
        if telephone_event == Some(payload_type) {
            return invalid("telephone_event_payload_type", "is the codec's payload type");
        }
        Ok(Voice { codec, payload_type, telephone_event })
    }
}

impl SrtpRequest {
    fn keys(&self, at: &str) -> Result<SrtpKeys, Problem> {
        let suite = Suite::from_name(&self.suite)
            .ok_or_else(|| Problem::invalid(format!("{at}/suite"), "no suite that is spoken"))?;
        let inbound = master_key(suite, &self.receive_key, format!("{at}/receive_key"))?;
        let outbound = master_key(suite, &self.send_key, format!("{at}/send_key"))?;
        if inbound.same_as(&outbound) {
            let detail = "each direction needs a key of its own";
            return Err(Problem::invalid(format!("{at}/receive_key"), detail));
        }
        Ok(SrtpKeys { inbound, outbound })
    }
}

fn master_key(suite: Suite, key: &Secret, pointer: String) -> Result<MasterKey, Problem> {
    let octets = BASE64_STANDARD.decode(key.reveal()).map(Zeroizing::new).ok();
    let key = octets.and_then(|octets| MasterKey::from_bytes(suite, &octets).ok());
    key.ok_or_else(|| {
        let (name, length) = (suite.name(), suite.master_len());
        Problem::invalid(pointer, format!("{name} takes Base64 of {length} octets: key and salt"))
    })
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

/// Where the engine sends its media.
#[derive(Serialize, ToSchema)]
pub struct EngineAnswer {
    #[schema(value_type = String, example = "192.0.2.1:10010")]
    address: SocketAddr,
    #[schema(value_type = String, example = "192.0.2.1:10011")]
    rtcp_address: SocketAddr,
}

impl EngineAnswer {
    /// What the engine is to be told of our side.
    #[must_use]
    pub fn of(local: LocalMedia) -> EngineAnswer {
        EngineAnswer { address: local.rtp, rtcp_address: local.rtcp }
    }
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
    /// Whether a recording is kept.
    recording: bool,
    /// The last secure session, if there was one.
    secure_session: Option<SessionView>,
    /// The legs, as they were last seen; null if the call ended before that.
    legs: Option<LegsView>,
}

impl CallView {
    /// What `role` is told of a call, given how it was last seen.
    #[must_use]
    pub fn of(entry: &CallEntry, seen: Option<&CallSnapshot>, role: Role) -> CallView {
        let legs = seen.map(|seen| LegsView::of(seen, role));
        let secure_session = SessionView::of(entry, seen, role);
        let mut summary = CallSummary::of(entry);
        if let Some(seen) = seen.filter(|_| !entry.story.is_closed()) {
            summary.state = seen.phase.as_str();
        }
        CallView { summary, recording: entry.recorded, secure_session, legs }
    }
}
