//! EngineProfiles: what is known of each kind of AI engine, by name.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use dialects::{Model, Options, Turns};
use serde::{Deserialize, Serialize};

use crate::dto::engine::{CodecName, EngineKind};
use crate::linked::{self, OnClose, Spec};
use crate::redacted::{Hidden, HiddenUrl};

/// Silence that engines are known to bear, in seconds: the shortest of their watchdogs hangs up
/// after 30 s, and none was found that waits for more than 300 s.
const SILENCE_BUDGET_S: std::ops::RangeInclusive<u16> = 1..=3600;
/// Profiles of one configuration.
const MAX_PROFILES: usize = 64;
/// Octets of a profile's name.
const MAX_NAME: usize = 64;

/// One kind of engine, as the configuration file has it.
#[derive(Clone, Default, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawEngine {
    /// Whether key events of an open call reach the engine.
    pub dtmf_to_engine: DtmfToEngine,
    /// Seconds of silence after which the engine asks, or hangs up.
    pub silence_budget_s: Option<u16>,
    /// What kind of leg it has; without it each call says so.
    #[serde(rename = "type")]
    pub kind: Option<EngineKind>,
    /// Of `rtp` and `audiosocket`: where it is.
    pub address: Option<SocketAddr>,
    /// Of `websocket`: what is spoken there.
    pub dialect: Option<String>,
    /// Of `websocket` and `openai`: where it is.
    pub url: Option<HiddenUrl>,
    /// The codec.
    pub codec: Option<CodecName>,
    /// Of `rtp`: payload type of L16.
    pub payload_type: Option<u8>,
    /// Of `rtp`: length of packets.
    pub ptime_ms: Option<u8>,
    /// Of `rtp`: payload type of telephone-event.
    pub telephone_event_payload_type: Option<u8>,
    /// Told to the engine with every call, besides what the call says.
    pub parameters: BTreeMap<String, Hidden>,
    /// A file with what we prove ourselves by: Twilio's token, OpenAI's key.
    pub secret_file: Option<PathBuf>,
    /// Certificates of the authorities trusted, in PEM; those of the system if none is named.
    pub authorities: Option<PathBuf>,
    /// The account as Twilio-shaped engines are told it.
    pub account: Option<String>,
    /// Keys of an open call are told where a dialect leaves that open.
    pub keys: bool,
    /// Of `chan_websocket`: control messages are plain text.
    pub plain_text: bool,
    /// The engine gets a message of its own when a secure session begins and ends.
    pub tell_secure_sessions: bool,
    /// What becomes of the call when the engine closes its connection.
    pub on_close: OnClose,
    /// How often a connection that broke is made anew.
    pub reconnect_attempts: Option<u8>,
    /// Of `openai`: the model.
    pub model: Option<String>,
    /// Of `openai`: what the model is told to be.
    pub instructions: Option<String>,
    /// Of `openai`: its voice.
    pub voice: Option<String>,
    /// Of `openai`: it speaks first.
    pub greets: bool,
    /// Of `openai`: how it knows that a caller has finished.
    pub turns: RawTurns,
    /// Of `openai`: the plans that it may ask a payment by.
    pub plans: Option<Vec<String>>,
}

/// How a model knows that a caller has finished, as typed.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RawTurns {
    /// By silence.
    #[default]
    Silence,
    /// By what is said.
    Meaning,
}

/// What is known of an engine whatever leg it has.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct EngineProfile {
    /// Whether key events of an open call reach the engine.
    pub dtmf_to_engine: DtmfToEngine,
    /// Seconds of silence after which the engine asks, or hangs up.
    pub silence_budget_s: Option<u16>,
}

/// Whether key events (RFC 4733) of an open call reach the engine. In a secure session none does.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DtmfToEngine {
    /// They do, where the engine's leg has a payload type for them.
    #[default]
    Pass,
    /// They don't: the engine would take them for audio, or must not see them.
    Block,
}

/// The leg that a profile describes.
#[derive(Clone, Debug)]
pub enum ProfileLeg {
    /// RTP, to an address.
    Rtp(RtpLeg),
    /// The relay's own echo.
    Echo,
    /// A connection that the relay makes.
    Linked(Arc<linked::Engine>),
}

/// An engine that speaks RTP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RtpLeg {
    /// Where it is.
    pub address: SocketAddr,
    /// The codec.
    pub codec: Option<CodecName>,
    /// Payload type of L16.
    pub payload_type: Option<u8>,
    /// Length of packets.
    pub ptime_ms: Option<u8>,
    /// Payload type of telephone-event.
    pub telephone_event_payload_type: Option<u8>,
}

impl EngineProfile {
    /// The silence that the engine bears, if that is known.
    #[must_use]
    pub fn silence_budget(self) -> Option<Duration> {
        self.silence_budget_s.map(|seconds| Duration::from_secs(seconds.into()))
    }
}

/// An engine as a configuration knows it.
#[derive(Clone, Default, Debug)]
pub struct Known {
    /// What holds whatever leg it has.
    pub profile: EngineProfile,
    /// Its leg, where the configuration describes it.
    pub leg: Option<ProfileLeg>,
}

/// The profiles of a configuration.
#[derive(Clone, Default, Debug)]
pub struct EngineProfiles(BTreeMap<String, Known>);

impl EngineProfiles {
    /// Checks what was typed, and reads the files that it names.
    ///
    /// # Errors
    /// What is wrong, in one line.
    pub fn new(typed: BTreeMap<String, RawEngine>) -> Result<EngineProfiles, String> {
        if typed.len() > MAX_PROFILES {
            return Err(format!("must be {MAX_PROFILES} profiles at most"));
        }
        let mut known = BTreeMap::new();
        for (name, engine) in typed {
            if name.is_empty() || name.len() > MAX_NAME {
                return Err(format!("a profile's name must have 1 to {MAX_NAME} octets"));
            }
            let engine = engine.into_known().map_err(|fault| format!("{name}.{fault}"))?;
            known.insert(name, engine);
        }
        Ok(EngineProfiles(known))
    }

    /// The profile of that name; no name is the profile of an engine of which nothing is known.
    #[must_use]
    pub fn find(&self, name: Option<&str>) -> Option<Known> {
        name.map_or(Some(Known::default()), |name| self.0.get(name).cloned())
    }
}

impl RawEngine {
    fn into_known(self) -> Result<Known, String> {
        if self.silence_budget_s.is_some_and(|it| !SILENCE_BUDGET_S.contains(&it)) {
            return Err("silence_budget_s must be 1 to 3600".to_owned());
        }
        let RawEngine { dtmf_to_engine, silence_budget_s, .. } = self;
        let profile = EngineProfile { dtmf_to_engine, silence_budget_s };
        Ok(Known { profile, leg: self.into_leg()? })
    }

    fn into_leg(self) -> Result<Option<ProfileLeg>, String> {
        let missing = |member: &str| format!("{member} is missing, which this type needs");
        let spec = match self.kind {
            None => return Ok(None),
            Some(EngineKind::Echo) => return Ok(Some(ProfileLeg::Echo)),
            Some(EngineKind::Rtp) => {
                let address = self.address.ok_or_else(|| missing("address"))?;
                let RawEngine { codec, payload_type, ptime_ms, .. } = self;
                let telephone_event_payload_type = self.telephone_event_payload_type;
                return Ok(Some(ProfileLeg::Rtp(RtpLeg {
                    address,
                    codec,
                    payload_type,
                    ptime_ms,
                    telephone_event_payload_type,
                })));
            }
            Some(EngineKind::Websocket) => {
                let dialect = self.dialect.as_deref().ok_or_else(|| missing("dialect"))?;
                Spec::web_socket(dialect, self.url.as_deref().ok_or_else(|| missing("url"))?)
            }
            Some(EngineKind::Audiosocket) => {
                Spec::audio_socket(&self.address.ok_or_else(|| missing("address"))?.to_string())
            }
            Some(EngineKind::Openai) => {
                if self.secret_file.is_none() {
                    return Err(missing("secret_file"));
                }
                Spec::open_ai(self.url.as_deref(), self.model.as_deref())
            }
        };
        let engine = spec.and_then(|spec| self.linked(spec)).map_err(|fault| fault.in_file())?;
        Ok(Some(ProfileLeg::Linked(Arc::new(engine))))
    }

    fn linked(self, mut spec: Spec) -> Result<linked::Engine, linked::Unusable> {
        spec.encode(self.codec)?;
        spec.trust(self.secret_file.as_deref(), self.authorities.as_deref())?;
        let told = self.parameters.into_iter();
        spec.parameters = told.map(|(name, value)| (name, value.reveal())).collect();
        spec.account = self.account.unwrap_or_default();
        spec.tells_secure = self.tell_secure_sessions;
        spec.on_close = self.on_close;
        if let Some(attempts) = self.reconnect_attempts {
            spec.reconnect(attempts)?;
        }
        spec.options = Options {
            keys: self.keys,
            plain_text: self.plain_text,
            model: Model {
                instructions: self.instructions,
                voice: self.voice,
                greets: self.greets,
                turns: match self.turns {
                    RawTurns::Silence => Turns::Silence,
                    RawTurns::Meaning => Turns::Meaning,
                },
                plans: self.plans,
            },
        };
        linked::Engine::new(spec)
    }
}

#[cfg(test)]
mod tests {
    use super::{DtmfToEngine, EngineProfile, EngineProfiles, ProfileLeg};

    fn profiles(text: &str) -> Result<EngineProfiles, String> {
        EngineProfiles::new(toml::from_str(text).unwrap())
    }

    #[test]
    fn a_profile_is_found_by_its_name() {
        let known = profiles("[ava]\ndtmf_to_engine = 'block'\nsilence_budget_s = 45").unwrap();
        let ava = known.find(Some("ava")).unwrap();
        assert_eq!(ava.profile.dtmf_to_engine, DtmfToEngine::Block);
        assert_eq!(ava.profile.silence_budget().unwrap().as_secs(), 45);
        assert!(ava.leg.is_none());
        assert_eq!(known.find(None).unwrap().profile, EngineProfile::default());
        assert!(known.find(Some("other")).is_none());
    }

    #[test]
    fn a_profile_may_describe_its_leg() {
        let text = "[a]\ntype = 'rtp'\naddress = '192.0.2.1:4000'\ncodec = 'L16/16000'\n\
                    [b]\ntype = 'websocket'\ndialect = 'twilio'\nurl = 'wss://agent.example.com/m'\n\
                    [c]\ntype = 'audiosocket'\naddress = '192.0.2.1:8090'\n\
                    [d]\ntype = 'echo'";
        let known = profiles(text).unwrap();
        let leg = |name: &str| known.find(Some(name)).unwrap().leg.unwrap();
        assert!(matches!(leg("a"), ProfileLeg::Rtp(rtp) if rtp.address.port() == 4000));
        assert!(matches!(leg("b"), ProfileLeg::Linked(_)));
        assert!(matches!(leg("c"), ProfileLeg::Linked(_)));
        assert!(matches!(leg("d"), ProfileLeg::Echo));
    }

    #[test]
    fn impossible_profiles_are_named() {
        let cases = [
            ("[a]\nsilence_budget_s = 0", "a.silence_budget_s"),
            ("[a]\ntype = 'rtp'", "a.address"),
            ("[a]\ntype = 'websocket'\nurl = 'ws://h/'", "a.dialect"),
            ("[a]\ntype = 'websocket'\ndialect = 'x'\nurl = 'ws://h/'", "a.dialect"),
            ("[a]\ntype = 'websocket'\ndialect = 'twilio'\nurl = 'http://h/'", "a.url"),
            ("[a]\ntype = 'openai'", "a.secret_file"),
            ("[a]\ntype = 'audiosocket'\naddress='192.0.2.1:1'\ncodec = 'PCMU'", "a.codec"),
            (
                "[a]\ntype = 'audiosocket'\naddress='192.0.2.1:1'\nreconnect_attempts = 99",
                "a.reconnect",
            ),
        ];
        for (text, fault) in cases {
            let said = profiles(text).unwrap_err();
            assert!(said.starts_with(fault), "{text}: {said}");
        }
        assert!(profiles("'' = {}").is_err());
        let many: String = (0..65).map(|n| format!("[p{n}]\n")).collect();
        assert!(profiles(&many).is_err());
    }
}
