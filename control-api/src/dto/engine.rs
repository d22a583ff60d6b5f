//! Bodies about the engine of a call: what kind of leg it has, and what is spoken there.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use dialects::Encoding;
use dtmf::g711::Law;
use relay::codec::{Codec, SampleRate};
use relay::switchboard::{LegMedia, LocalMedia, SourceRule, SrtpKeys};
use relay::wire::sdp::AddressPolicy;
use relay::wire::srtp::{MasterKey, Suite};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::call::Secret;
use crate::engines::{DtmfToEngine, EngineProfile, ProfileLeg};
use crate::linked::{self, Spec};
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

/// The engine's leg: an address and a fixed codec, the shape of Asterisk's ExternalMedia; a connection
/// of another kind that the relay makes to it; the relay's own echo; or what a profile says.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EngineRequest {
    /// What kind of leg; needed, unless the profile says it. Then the profile says all of it, and
    /// only `parameters` may be here besides.
    #[serde(rename = "type")]
    pub kind: Option<EngineKind>,
    /// Of `rtp`, which needs it: where the engine receives RTP and sends it from; RTCP is one port
    /// above. Of `audiosocket`: where the engine listens.
    #[schema(value_type = Option<String>, example = "192.0.2.7:40000")]
    pub address: Option<SocketAddr>,
    /// The codec; PCMU unless said otherwise, and of a dialect what it has first.
    pub codec: Option<CodecName>,
    /// Of `websocket`, which needs it: what is spoken there.
    #[schema(example = "twilio")]
    pub dialect: Option<String>,
    /// Of `websocket`, which needs it: where the engine listens. In clear (`ws:`) it may be at
    /// addresses that `outbound.allow` opens.
    #[schema(value_type = Option<String>, example = "wss://agent.example.com/media")]
    pub url: Option<Secret>,
    /// Told to an engine behind a connection when that begins: 64 at most, of 4 KiB.
    #[serde(default)]
    pub parameters: BTreeMap<String, String>,
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

/// Kinds of engine legs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EngineKind {
    /// RTP or SRTP over UDP, to an engine of yours.
    Rtp,
    /// A WebSocket that the relay opens, as a telephony provider would.
    Websocket,
    /// Asterisk's AudioSocket, which the relay dials.
    Audiosocket,
    /// OpenAI's Realtime API. Only a profile has what it needs.
    Openai,
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
    /// Behind a connection that the relay makes.
    Linked(Arc<linked::Engine>),
}

/// What an engine may speak, by its RTP name (RFC 3551), L16 with its rate.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, Serialize, ToSchema)]
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
    /// The encoding of a dialect; none has G.722.
    pub(crate) const fn encoding(self) -> Option<Encoding> {
        match self {
            CodecName::Pcmu => Some(Encoding::Pcmu),
            CodecName::Pcma => Some(Encoding::Pcma),
            CodecName::G722 => None,
            CodecName::L16Narrow => Some(Encoding::L16(8000)),
            CodecName::L16Wide => Some(Encoding::L16(16_000)),
            CodecName::L16SuperWide => Some(Encoding::L16(24_000)),
        }
    }

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

fn default_ptime() -> u8 {
    20
}

impl EngineRequest {
    /// What a profile says, whole.
    #[must_use]
    pub fn profiled(profile: Option<String>) -> EngineRequest {
        EngineRequest {
            kind: None,
            address: None,
            codec: None,
            dialect: None,
            url: None,
            parameters: BTreeMap::new(),
            payload_type: None,
            ptime_ms: default_ptime(),
            telephone_event_payload_type: None,
            srtp: None,
            profile,
        }
    }

    /// Plain RTP with PCMU and telephone-event, packets of 20 ms.
    #[must_use]
    pub fn rtp(address: SocketAddr, telephone_event: u8, profile: Option<String>) -> EngineRequest {
        EngineRequest {
            kind: Some(EngineKind::Rtp),
            address: Some(address),
            telephone_event_payload_type: Some(telephone_event),
            ..EngineRequest::profiled(profile)
        }
    }

    /// The relay's own echo, with PCMU and packets of 20 ms.
    #[must_use]
    pub fn echo(profile: Option<String>) -> EngineRequest {
        EngineRequest { kind: Some(EngineKind::Echo), ..EngineRequest::profiled(profile) }
    }

    /// Where the engine is found; `at` is where the request stands in the body. What a profile says
    /// is taken over.
    ///
    /// # Errors
    /// A problem that points at a member that is missing, or that this type does not have.
    pub fn place(&mut self, at: &str, leg: Option<&ProfileLeg>) -> Result<EnginePlace, Problem> {
        if self.kind.is_none() {
            return self.profile_place(at, leg);
        }
        let invalid = |member: &str, detail: &str| {
            Err(Problem::invalid(format!("{at}/{member}"), detail.to_owned()))
        };
        self.only_its_own(at)?;
        match (self.kind, self.address) {
            (None, _) => Err(missing(at, "type")),
            (Some(EngineKind::Rtp), Some(address)) => Ok(EnginePlace::At(address)),
            (Some(EngineKind::Rtp), None) => Err(missing(at, "address")),
            (Some(EngineKind::Echo), None) if self.srtp.is_some() => {
                invalid("srtp", "an echo speaks plain RTP, within this machine: leave this away")
            }
            (Some(EngineKind::Echo), None) => Ok(EnginePlace::Echo),
            (Some(EngineKind::Echo), Some(_)) => {
                invalid("address", "an echo has an address of its own: leave this away")
            }
            (Some(EngineKind::Websocket), _) => {
                let dialect = self.dialect.as_deref().ok_or_else(|| missing(at, "dialect"))?;
                let url = self.url.as_ref().ok_or_else(|| missing(at, "url"))?;
                self.linked(at, "url", Spec::web_socket(dialect, url.reveal()))
            }
            (Some(EngineKind::Audiosocket), Some(address)) => {
                self.linked(at, "address", Spec::audio_socket(&address.to_string()))
            }
            (Some(EngineKind::Audiosocket), None) => Err(missing(at, "address")),
            (Some(EngineKind::Openai), _) => invalid(
                "type",
                "an OpenAI engine has a key, which no request may hold: name a profile instead",
            ),
        }
    }

    /// What is of other types must not be there: it would be believed to hold.
    fn only_its_own(&self, at: &str) -> Result<(), Problem> {
        let is_linked = match self.kind {
            Some(EngineKind::Websocket | EngineKind::Audiosocket | EngineKind::Openai) => true,
            Some(EngineKind::Rtp | EngineKind::Echo) | None => false,
        };
        let is_socket = self.kind == Some(EngineKind::Websocket);
        let strangers = [
            ("dialect", self.dialect.is_some() && !is_socket),
            ("url", self.url.is_some() && !is_socket),
            ("parameters", !self.parameters.is_empty() && !is_linked),
            ("address", self.address.is_some() && is_socket),
            ("srtp", self.srtp.is_some() && is_linked),
            ("payload_type", self.payload_type.is_some() && is_linked),
            ("ptime_ms", self.ptime_ms != default_ptime() && is_linked),
            (
                "telephone_event_payload_type",
                self.telephone_event_payload_type.is_some() && is_linked,
            ),
        ];
        match strangers.into_iter().find(|(_, is_there)| *is_there) {
            Some((member, _)) => {
                let detail = "this type of engine has no such member: leave it away";
                Err(Problem::invalid(format!("{at}/{member}"), detail))
            }
            None => Ok(()),
        }
    }

    fn profile_place(
        &mut self,
        at: &str,
        leg: Option<&ProfileLeg>,
    ) -> Result<EnginePlace, Problem> {
        let leg = leg.ok_or_else(|| missing(at, "type"))?;
        let said = self.address.is_some()
            || self.codec.is_some()
            || self.dialect.is_some()
            || self.url.is_some()
            || self.srtp.is_some()
            || self.payload_type.is_some();
        if said {
            let detail = "the profile says what kind of leg this is: send `parameters` alone, or \
                          `type` and all that goes with it";
            return Err(Problem::invalid(at.to_owned(), detail));
        }
        match leg {
            ProfileLeg::Echo => {
                self.kind = Some(EngineKind::Echo);
                Ok(EnginePlace::Echo)
            }
            ProfileLeg::Rtp(rtp) => {
                self.kind = Some(EngineKind::Rtp);
                self.codec = rtp.codec;
                self.payload_type = rtp.payload_type;
                self.ptime_ms = rtp.ptime_ms.unwrap_or_else(default_ptime);
                self.telephone_event_payload_type = rtp.telephone_event_payload_type;
                Ok(EnginePlace::At(rtp.address))
            }
            ProfileLeg::Linked(engine) => {
                let engine = engine.with_parameters(std::mem::take(&mut self.parameters));
                self.link(at, "parameters", engine)
            }
        }
    }

    fn linked(
        &self,
        at: &str,
        member: &str,
        spec: Result<Spec, linked::Unusable>,
    ) -> Result<EnginePlace, Problem> {
        let spec = spec.and_then(|mut spec| {
            spec.encode(self.codec)?;
            spec.parameters = self.parameters.clone();
            linked::Engine::new(spec)
        });
        self.link(at, member, spec)
    }

    fn link(
        &self,
        at: &str,
        member: &str,
        engine: Result<linked::Engine, linked::Unusable>,
    ) -> Result<EnginePlace, Problem> {
        let engine = engine.map_err(|unusable| {
            let member = unusable.member().unwrap_or(member);
            Problem::invalid(format!("{at}/{member}"), unusable.to_string())
        })?;
        Ok(EnginePlace::Linked(Arc::new(engine)))
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
        let (codec, settled) = self.codec.unwrap_or_default().codec();
        let telephone_event = match self.kind {
            Some(EngineKind::Echo) if codec.law().is_none() => {
                return invalid("codec", "must be PCMU or PCMA for an echo");
            }
            Some(EngineKind::Echo) => self.telephone_event_payload_type.or(Some(ECHO_EVENT_TYPE)),
            Some(
                EngineKind::Rtp
                | EngineKind::Websocket
                | EngineKind::Audiosocket
                | EngineKind::Openai,
            )
            | None => self.telephone_event_payload_type,
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

fn missing(at: &str, member: &str) -> Problem {
    let detail = format!("a member that must be there is missing: `{member}`");
    Problem::new(Code::MalformedBody, "See errors for what to change.").at(at, detail)
}

/// The leg of an engine behind a link, which is at no address.
#[must_use]
pub fn linked_media(encoding: Encoding, profile: EngineProfile) -> LegMedia {
    let (codec, payload_type) = match encoding {
        Encoding::Pcmu => (Codec::G711(Law::Mu), 0),
        Encoding::Pcma => (Codec::G711(Law::A), 8),
        Encoding::L16(16_000) => (Codec::L16(SampleRate::Wide), *DYNAMIC_TYPES.start()),
        Encoding::L16(24_000) => (Codec::L16(SampleRate::SuperWide), *DYNAMIC_TYPES.start()),
        Encoding::L16(_) => (Codec::L16(SampleRate::Narrow), *DYNAMIC_TYPES.start()),
    };
    LegMedia {
        remote_rtp: relay::LINK_PEER,
        remote_rtcp: relay::LINK_PEER,
        rtcp_mux: false,
        codec,
        payload_type,
        telephone_event: Some(ECHO_EVENT_TYPE),
        redundancy: None,
        wants_events: profile.dtmf_to_engine == DtmfToEngine::Pass,
        ptime: Duration::from_millis(default_ptime().into()),
        they_send: true,
        they_receive: true,
        srtp: None,
        source: SourceRule::Signalled,
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

/// Where the engine sends its media.
#[derive(Serialize, ToSchema)]
pub struct EngineAnswer {
    /// Null where the engine is behind a connection.
    #[schema(value_type = Option<String>, example = "192.0.2.1:10010")]
    address: Option<SocketAddr>,
    /// Null where the engine is behind a connection.
    #[schema(value_type = Option<String>, example = "192.0.2.1:10011")]
    rtcp_address: Option<SocketAddr>,
}

impl EngineAnswer {
    /// What the engine is to be told of our side.
    #[must_use]
    pub fn of(local: LocalMedia) -> EngineAnswer {
        let told = |address: SocketAddr| (!address.ip().is_unspecified()).then_some(address);
        EngineAnswer { address: told(local.rtp), rtcp_address: told(local.rtcp) }
    }
}
