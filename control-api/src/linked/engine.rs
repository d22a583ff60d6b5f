//! Engine: where an engine behind a connection is, and what is spoken there.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use dialects::{Dialect, Encoding, Introduction, Kind, Options, Secret, Transport};
use relay::switchboard::CallId;
use rustls::ClientConfig;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::chance;
use crate::dto::engine::CodecName;
use crate::external_id::ExternalId;
use crate::outbound::endpoint::Scheme;
use crate::outbound::tls::TlsFiles;
use crate::outbound::{Endpoint, FileSecret};

/// OpenAI's Realtime API, unless the profile says another place.
const OPENAI_URL: &str = "wss://api.openai.com/v1/realtime";
/// Its model, unless the profile says another.
const OPENAI_MODEL: &str = "gpt-realtime";
/// Parameters of one engine.
const MAX_PARAMETERS: usize = 64;
/// Octets of a parameter's name, and of its value: a prompt fits, a file does not.
const MAX_PARAMETER: usize = 4096;
/// How often a connection may be made anew.
const MAX_RECONNECTS: u8 = 10;
/// How often it is unless the profile says otherwise.
const RECONNECTS: u8 = 3;

/// What becomes of a call when its engine closes the connection.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OnClose {
    /// It ends, after its secure session if there is one: as a telephony provider's does.
    #[default]
    HangUp,
    /// It lives on without an engine, until a script ends it.
    Keep,
}

/// What an engine is to be.
pub struct Spec {
    /// What is spoken.
    pub kind: Kind,
    url: String,
    endpoint: Endpoint,
    encoding: Encoding,
    secret: Option<Arc<Secret>>,
    tls: Option<Arc<ClientConfig>>,
    /// Told to the engine.
    pub parameters: BTreeMap<String, String>,
    /// The account as Twilio-shaped engines are told it.
    pub account: String,
    /// Whether the engine is told of secure sessions by a message of its own.
    pub tells_secure: bool,
    /// What becomes of the call when the engine closes.
    pub on_close: OnClose,
    /// What an operator may choose about a kind of engine.
    pub options: Options,
    reconnects: u8,
}

/// Why an engine can't be had as it was asked for. Nothing of it is repeated.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unusable {
    /// No dialect of that name.
    #[error("must be one of {0}")]
    Dialect(String),
    /// No URL of a WebSocket.
    #[error("must be an absolute URL such as wss://host/path, without user, password or fragment")]
    Url,
    /// The dialect has no such sound.
    #[error("this dialect has {0}")]
    Codec(String),
    /// Too many parameters, or too long ones.
    #[error("must be {MAX_PARAMETERS} parameters at most, of {MAX_PARAMETER} octets at most each")]
    Parameters,
    /// A file can't be used.
    #[error("{1}")]
    File(&'static str, String),
    /// More attempts than there may be.
    #[error("must be 0 to {MAX_RECONNECTS}")]
    Reconnects,
}

impl Unusable {
    /// The member at fault, where it is another than the one that says where the engine is.
    #[must_use]
    pub const fn member(&self) -> Option<&'static str> {
        match self {
            Unusable::Dialect(_) => Some("dialect"),
            Unusable::Url => None,
            Unusable::Codec(_) => Some("codec"),
            Unusable::Parameters => Some("parameters"),
            Unusable::File(member, _) => Some(*member),
            Unusable::Reconnects => Some("reconnect_attempts"),
        }
    }

    /// In one line, with the member as a configuration file has it.
    #[must_use]
    pub fn in_file(&self) -> String {
        format!("{} {self}", self.member().unwrap_or("url"))
    }
}

impl Spec {
    /// A WebSocket of this dialect.
    ///
    /// # Errors
    /// [`Unusable`].
    pub fn web_socket(dialect: &str, url: &str) -> Result<Spec, Unusable> {
        let kind = dialects_of(Transport::WebSocket).find(|kind| kind.name() == dialect);
        let names = || {
            let names: Vec<_> = dialects_of(Transport::WebSocket).map(Kind::name).collect();
            Unusable::Dialect(names.join(", "))
        };
        Spec::at(kind.ok_or_else(names)?, url)
    }

    /// An AudioSocket at a host and a port.
    ///
    /// # Errors
    /// [`Unusable`].
    pub fn audio_socket(address: &str) -> Result<Spec, Unusable> {
        Spec::at(Kind::AudioSocket, &format!("ws://{address}"))
    }

    /// OpenAI's Realtime API.
    ///
    /// # Errors
    /// [`Unusable`].
    pub fn open_ai(url: Option<&str>, model: Option<&str>) -> Result<Spec, Unusable> {
        let (url, model) = (url.unwrap_or(OPENAI_URL), model.unwrap_or(OPENAI_MODEL));
        let plain = |octet: u8| octet.is_ascii_alphanumeric() || b"-._:".contains(&octet);
        if !model.bytes().all(plain) {
            return Err(Unusable::Url);
        }
        let joint = if url.contains('?') { '&' } else { '?' };
        Spec::at(Kind::OpenAi, &format!("{url}{joint}model={model}"))
    }

    fn at(kind: Kind, url: &str) -> Result<Spec, Unusable> {
        let http = match url.split_once("://") {
            Some(("wss", rest)) => format!("https://{rest}"),
            Some(("ws", rest)) => format!("http://{rest}"),
            Some(_) | None => return Err(Unusable::Url),
        };
        let endpoint = Endpoint::parse(&http).map_err(|_| Unusable::Url)?;
        Ok(Spec {
            kind,
            url: url.to_owned(),
            endpoint,
            encoding: kind.default_encoding(),
            secret: None,
            tls: None,
            parameters: BTreeMap::new(),
            account: String::new(),
            tells_secure: false,
            on_close: OnClose::default(),
            options: Options::default(),
            reconnects: RECONNECTS,
        })
    }

    /// Chooses the encoding; none is the dialect's own first.
    ///
    /// # Errors
    /// [`Unusable::Codec`].
    pub fn encode(&mut self, codec: Option<CodecName>) -> Result<(), Unusable> {
        let Some(codec) = codec else { return Ok(()) };
        let encoding = codec.encoding().filter(|it| self.kind.encodings().contains(it));
        let names = || {
            let names: Vec<_> = self.kind.encodings().iter().map(|it| name_of(*it)).collect();
            Unusable::Codec(names.join(", "))
        };
        self.encoding = encoding.ok_or_else(names)?;
        Ok(())
    }

    /// Reads the files that say what we prove ourselves by, and whom we trust.
    ///
    /// # Errors
    /// [`Unusable::File`].
    pub fn trust(
        &mut self,
        secret: Option<&Path>,
        authorities: Option<&Path>,
    ) -> Result<(), Unusable> {
        if let Some(path) = secret {
            let secret = FileSecret::read(path)
                .map_err(|error| Unusable::File("secret_file", error.to_string()))?;
            self.secret = Some(Arc::new(Secret::new(secret.reveal().as_bytes())));
        }
        if let Some(path) = authorities {
            let files = TlsFiles { authorities: Some(path.to_owned()), identity: None };
            let tls = files.load();
            let tls = tls.map_err(|error| Unusable::File("authorities", error.to_string()))?;
            self.tls = Some(tls);
        }
        Ok(())
    }

    /// How often a connection that broke is made anew.
    ///
    /// # Errors
    /// [`Unusable::Reconnects`].
    pub fn reconnect(&mut self, attempts: u8) -> Result<(), Unusable> {
        if attempts > MAX_RECONNECTS {
            return Err(Unusable::Reconnects);
        }
        self.reconnects = attempts;
        Ok(())
    }
}

fn dialects_of(transport: Transport) -> impl Iterator<Item = Kind> {
    // OpenAI's has a type of its own, since it needs a key.
    let is_free = |kind: &Kind| *kind != Kind::OpenAi;
    Kind::ALL.into_iter().filter(move |kind| kind.transport() == transport).filter(is_free)
}

/// As a request or a configuration names it.
fn name_of(encoding: Encoding) -> String {
    match encoding {
        Encoding::Pcmu => "PCMU".to_owned(),
        Encoding::Pcma => "PCMA".to_owned(),
        Encoding::L16(rate) => format!("L16/{rate}"),
    }
}

/// An engine that can be connected to.
pub struct Engine {
    spec: Spec,
}

impl Engine {
    /// Checks what is left to check.
    ///
    /// # Errors
    /// [`Unusable::Parameters`].
    pub fn new(spec: Spec) -> Result<Engine, Unusable> {
        let too_long =
            |(name, value): (&String, &String)| name.len().max(value.len()) > MAX_PARAMETER;
        if spec.parameters.len() > MAX_PARAMETERS || spec.parameters.iter().any(too_long) {
            return Err(Unusable::Parameters);
        }
        Ok(Engine { spec })
    }

    /// The same engine, which is told more; what is said here goes first.
    ///
    /// # Errors
    /// [`Unusable::Parameters`].
    pub fn with_parameters(&self, more: BTreeMap<String, String>) -> Result<Engine, Unusable> {
        let Spec { kind, encoding, tells_secure, on_close, reconnects, .. } = self.spec;
        let mut parameters = self.spec.parameters.clone();
        parameters.extend(more);
        Engine::new(Spec {
            url: self.spec.url.clone(),
            endpoint: self.spec.endpoint.clone(),
            secret: self.spec.secret.clone(),
            tls: self.spec.tls.clone(),
            account: self.spec.account.clone(),
            options: self.spec.options.clone(),
            kind,
            encoding,
            parameters,
            tells_secure,
            on_close,
            reconnects,
        })
    }

    /// How sound is encoded.
    #[must_use]
    pub fn encoding(&self) -> Encoding {
        self.spec.encoding
    }

    /// The word for how it is connected.
    #[must_use]
    pub fn transport(&self) -> Transport {
        self.spec.kind.transport()
    }

    /// What becomes of the call when the engine closes.
    #[must_use]
    pub fn on_close(&self) -> OnClose {
        self.spec.on_close
    }

    /// How often a connection that broke is made anew.
    #[must_use]
    pub fn reconnects(&self) -> u8 {
        self.spec.reconnects
    }

    /// Where it is.
    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.spec.endpoint
    }

    /// Whether it is spoken to by TLS, and whom it has to be trusted by, where that is its own.
    pub(super) fn tls(&self) -> Option<Option<&Arc<ClientConfig>>> {
        (self.spec.endpoint.scheme == Scheme::Https).then_some(self.spec.tls.as_ref())
    }

    /// What the request for a WebSocket says.
    pub(super) fn handshake(&self) -> dialects::Handshake {
        self.spec.kind.handshake(&self.spec.url, self.spec.secret.as_deref())
    }

    /// The id that the engine is told the call by: ours, but where all it is told is a UUID, and the
    /// call's integrator knows it by one, that. So an engine finds what was registered for the call.
    fn name_of(&self, call: CallId, external_id: Option<&ExternalId>) -> [u8; 16] {
        let theirs = external_id.and_then(|it| Uuid::try_parse(it.as_str()).ok());
        let theirs = theirs.filter(|_| self.spec.kind == Kind::AudioSocket);
        theirs.map_or(call.0.to_be_bytes(), Uuid::into_bytes)
    }

    /// A connection that has not begun.
    pub(super) fn dialect(
        &self,
        call: CallId,
        external_id: Option<&ExternalId>,
    ) -> Option<Box<dyn Dialect>> {
        let mut stream = [0; 16];
        chance::fill(&mut stream).ok()?;
        let introduction = Introduction {
            call: self.name_of(call, external_id),
            stream,
            account: self.spec.account.clone(),
            from: String::new(),
            to: String::new(),
            parameters: self.spec.parameters.clone(),
            encoding: self.spec.encoding,
            tells_secure: self.spec.tells_secure,
        };
        self.spec.kind.dialect(introduction, &self.spec.options)
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.spec.kind.name(), self.spec.endpoint)
    }
}

#[cfg(test)]
mod tests {
    use relay::switchboard::CallId;

    use super::{Engine, Spec};
    use crate::external_id::ExternalId;

    #[test]
    fn an_audio_socket_is_told_the_uuid_that_the_call_goes_by() {
        let call = CallId(7);
        let ours = 7_u128.to_be_bytes();
        let uuid = ExternalId::parse("8c2d7a3e-52b1-4c0e-9f6a-0d5b8b1c7e21");
        let other = ExternalId::parse("a84b4c76e66710@192.0.2.4");
        let socket = Engine::new(Spec::audio_socket("127.0.0.1:9093").unwrap()).unwrap();
        assert_eq!(socket.name_of(call, None), ours);
        assert_eq!(socket.name_of(call, other.as_ref()), ours);
        let theirs = socket.name_of(call, uuid.as_ref());
        assert_eq!(theirs, 0x8c2d_7a3e_52b1_4c0e_9f6a_0d5b_8b1c_7e21_u128.to_be_bytes());
        // By this one's name a call is hung up here.
        let twilio = Spec::web_socket("twilio", "wss://bot.example.com/media").unwrap();
        assert_eq!(Engine::new(twilio).unwrap().name_of(call, uuid.as_ref()), ours);
    }
}
