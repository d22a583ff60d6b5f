//! Kind: which dialect an engine speaks, and all that follows from it.

use crate::audio_stream::AudioStream;
use crate::audiosocket::AudioSocket;
use crate::chan_websocket::{self, ChanWebsocket};
use crate::deepgram::Deepgram;
use crate::elevenlabs::ElevenLabs;
use crate::exotel::Exotel;
use crate::jambonz::{self, Jambonz};
use crate::openai::OpenAi;
use crate::plivo::Plivo;
use crate::telnyx::Telnyx;
use crate::twilio::{self, Twilio};
use crate::vonage::Vonage;
use crate::{Dialect, Encoding, Handshake, Introduction, Options, Secret};

/// What an engine speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Twilio Media Streams.
    Twilio,
    /// Telnyx media streaming.
    Telnyx,
    /// Plivo audio streaming.
    Plivo,
    /// Exotel AgentStream.
    Exotel,
    /// Vonage Voice, Infobip.
    Vonage,
    /// jambonz `listen`, FreeSWITCH with drachtio's `mod_audio_fork`.
    Jambonz,
    /// FreeSWITCH with `mod_audio_stream`.
    AudioStream,
    /// Asterisk's WebSocket channel.
    ChanWebsocket,
    /// Asterisk's AudioSocket.
    AudioSocket,
    /// OpenAI Realtime.
    OpenAi,
    /// Deepgram's voice agent.
    Deepgram,
    /// ElevenLabs agents.
    ElevenLabs,
}

/// What a kind's messages travel by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    /// A WebSocket that we dial, `ws` or `wss`.
    WebSocket,
    /// A TCP connection that we dial; its octets are frames
    /// ([`crate::audiosocket::Deframer`]).
    Tcp,
}

/// How we prove who we are.
#[derive(Clone, Copy)]
enum Proof {
    /// A token behind a scheme's name; `Bearer` is RFC 6750 section 2.1.
    Token(&'static str),
    /// Twilio's signature of the URL.
    Signature,
    /// A header of ElevenLabs'.
    Key,
    /// There is no request to say it in.
    Nothing,
}

/// What is fixed about a kind.
struct Facts {
    name: &'static str,
    transport: Transport,
    encodings: &'static [Encoding],
    subprotocols: &'static [&'static str],
    proof: Proof,
}

const PCMU: Encoding = Encoding::Pcmu;
const PCMA: Encoding = Encoding::Pcma;
const L8: Encoding = Encoding::L16(8000);
const L16: Encoding = Encoding::L16(16_000);
const L24: Encoding = Encoding::L16(24_000);

/// A WebSocket without a subprotocol, to an engine behind a gate that wants a bearer token.
const fn websocket(name: &'static str, encodings: &'static [Encoding]) -> Facts {
    let transport = Transport::WebSocket;
    Facts { name, transport, encodings, subprotocols: &[], proof: Proof::Token("Bearer") }
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 12] = [
        Kind::Twilio,
        Kind::Telnyx,
        Kind::Plivo,
        Kind::Exotel,
        Kind::Vonage,
        Kind::Jambonz,
        Kind::AudioStream,
        Kind::ChanWebsocket,
        Kind::AudioSocket,
        Kind::OpenAi,
        Kind::Deepgram,
        Kind::ElevenLabs,
    ];

    const fn facts(self) -> Facts {
        match self {
            // Twilio has the first alone; its cousins added the others.
            Kind::Twilio => Facts {
                proof: Proof::Signature,
                ..websocket("twilio", &[PCMU, PCMA, L8, L16, L24])
            },
            Kind::Telnyx => websocket("telnyx", &[PCMU, PCMA]),
            Kind::Plivo => websocket("plivo", &[PCMU, L8, L16]),
            Kind::Exotel => websocket("exotel", &[L8, L16, L24]),
            Kind::Vonage => websocket("vonage", &[L16, L8, L24]),
            Kind::Jambonz => Facts {
                subprotocols: jambonz::SUBPROTOCOLS,
                ..websocket("jambonz", &[L8, L16, L24])
            },
            Kind::AudioStream => websocket("audio_stream", &[L8, L16, L24]),
            Kind::ChanWebsocket => Facts {
                subprotocols: chan_websocket::SUBPROTOCOLS,
                ..websocket("chan_websocket", &[PCMU, PCMA, L8, L16, L24])
            },
            Kind::AudioSocket => Facts {
                transport: Transport::Tcp,
                proof: Proof::Nothing,
                ..websocket("audiosocket", &[L8, L16, L24])
            },
            Kind::OpenAi => websocket("openai", &[PCMU, PCMA, L24]),
            Kind::Deepgram => Facts {
                proof: Proof::Token("Token"),
                ..websocket("deepgram", &[PCMU, PCMA, L8, L16, L24])
            },
            Kind::ElevenLabs => {
                Facts { proof: Proof::Key, ..websocket("elevenlabs", &[PCMU, L8, L16, L24]) }
            }
        }
    }

    /// The kind of that name, as [`Kind::name`] writes it.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Its name: lower case and underscores.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.facts().name
    }

    /// What its messages travel by.
    #[must_use]
    pub const fn transport(self) -> Transport {
        self.facts().transport
    }

    /// The encodings that it may have; never empty.
    #[must_use]
    pub const fn encodings(self) -> &'static [Encoding] {
        self.facts().encodings
    }

    /// The encoding that it has if nothing else is said.
    #[must_use]
    pub const fn default_encoding(self) -> Encoding {
        self.encodings()[0]
    }

    /// What the request for a WebSocket says, to this URL. `secret` is what we prove ourselves by:
    /// Twilio signs the URL with it, the others send it as a token.
    #[must_use]
    pub fn handshake(self, url: &str, secret: Option<&Secret>) -> Handshake {
        let facts = self.facts();
        let header = secret.and_then(|secret| match facts.proof {
            Proof::Token(scheme) => {
                let value = [scheme.as_bytes(), b" ", secret.reveal()].concat();
                Some(("authorization", Secret::from(value)))
            }
            Proof::Signature => {
                let signature = twilio::signature(secret, url);
                Some(("x-twilio-signature", Secret::new(signature.as_bytes())))
            }
            Proof::Key => Some(("xi-api-key", Secret::new(secret.reveal()))),
            Proof::Nothing => None,
        });
        Handshake { subprotocols: facts.subprotocols, headers: header.into_iter().collect() }
    }

    /// A connection that has not begun; none if this kind can't have the introduction's encoding.
    #[must_use]
    pub fn dialect(
        self,
        introduction: Introduction,
        options: &Options,
    ) -> Option<Box<dyn Dialect>> {
        if !self.encodings().contains(&introduction.encoding) {
            return None;
        }
        let keys = options.keys;
        Some(match self {
            Kind::Twilio => Box::new(Twilio::new(introduction)),
            Kind::Telnyx => Box::new(Telnyx::new(introduction)),
            Kind::Plivo => Box::new(Plivo::new(introduction)),
            Kind::Exotel => Box::new(Exotel::new(introduction)),
            Kind::Vonage => Box::new(Vonage::new(introduction)),
            Kind::Jambonz => Box::new(Jambonz::new(introduction, keys)),
            Kind::AudioStream => Box::new(AudioStream::new(introduction)),
            Kind::ChanWebsocket => Box::new(ChanWebsocket::new(introduction, options.plain_text)),
            Kind::AudioSocket => Box::new(AudioSocket::new(introduction, keys)),
            Kind::OpenAi => Box::new(OpenAi::new(introduction, options.model.clone(), keys)),
            Kind::Deepgram => Box::new(Deepgram::new(introduction, options.model.clone(), keys)),
            Kind::ElevenLabs => {
                Box::new(ElevenLabs::new(introduction, options.model.clone(), keys))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Kind;
    use crate::testing::introduction;
    use crate::{Encoding, Options, Secret};

    #[test]
    fn a_name_is_of_one_kind() {
        for kind in Kind::ALL {
            assert_eq!(Kind::from_name(kind.name()), Some(kind));
        }
        assert_eq!(Kind::from_name("Twilio"), None);
    }

    #[test]
    fn a_kind_speaks_what_it_says_and_nothing_else() {
        for kind in Kind::ALL {
            for &encoding in kind.encodings() {
                let dialect = kind.dialect(introduction(encoding), &Options::default()).unwrap();
                assert!(dialect.encoding() == encoding);
            }
            let odd = kind.dialect(introduction(Encoding::L16(11_025)), &Options::default());
            assert!(odd.is_none());
        }
    }

    #[test]
    fn a_handshake_proves_who_dials() {
        let handshake = |kind: Kind| kind.handshake("wss://e/m", Some(&Secret::new(b"12345")));
        let [(name, value)] = &handshake(Kind::Twilio).headers[..] else { panic!("one header") };
        assert_eq!((*name, value.reveal().len()), ("x-twilio-signature", 28));
        let jambonz = handshake(Kind::Jambonz);
        assert_eq!(jambonz.subprotocols, ["audio.drachtio.org", "audio.jambonz.org"]);
        let [("authorization", value)] = &jambonz.headers[..] else { panic!("one header") };
        assert_eq!(value.reveal(), b"Bearer 12345");
        for kind in Kind::ALL {
            assert!(kind.handshake("wss://e/m", None).headers.is_empty());
        }
    }
}
