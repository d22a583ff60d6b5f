//! Kind: which dialect an engine speaks, and all that follows from it.

use crate::audiosocket::AudioSocket;
use crate::jambonz::{self, Jambonz};
use crate::openai::OpenAi;
use crate::telnyx::Telnyx;
use crate::twilio::{self, Twilio};
use crate::{Dialect, Encoding, Handshake, Introduction, Options, Secret};

/// What an engine speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Twilio Media Streams.
    Twilio,
    /// jambonz `listen`, FreeSWITCH with drachtio's `mod_audio_fork`.
    Jambonz,
    /// Asterisk's AudioSocket.
    AudioSocket,
    /// OpenAI Realtime.
    OpenAi,
    /// Telnyx media streaming.
    Telnyx,
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

/// What a Twilio-shaped engine may have: Twilio's own first, which its cousins added to.
const TWILIO: &[Encoding] = &[
    Encoding::Pcmu,
    Encoding::Pcma,
    Encoding::L16(8000),
    Encoding::L16(16_000),
    Encoding::L16(24_000),
];

/// Samples, at the rates that a call may have here.
const SAMPLES: &[Encoding] = &[Encoding::L16(8000), Encoding::L16(16_000), Encoding::L16(24_000)];

/// What OpenAI's models may have.
const MODEL: &[Encoding] = &[Encoding::Pcmu, Encoding::Pcma, Encoding::L16(24_000)];

/// G.711 alone.
const G711: &[Encoding] = &[Encoding::Pcmu, Encoding::Pcma];

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 5] =
        [Kind::Twilio, Kind::Jambonz, Kind::AudioSocket, Kind::OpenAi, Kind::Telnyx];

    /// The kind of that name, as [`Kind::name`] writes it.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Its name: lower case and underscores.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Twilio => "twilio",
            Kind::Jambonz => "jambonz",
            Kind::AudioSocket => "audiosocket",
            Kind::OpenAi => "openai",
            Kind::Telnyx => "telnyx",
        }
    }

    /// What its messages travel by.
    #[must_use]
    pub const fn transport(self) -> Transport {
        match self {
            Kind::Twilio | Kind::Jambonz | Kind::Telnyx | Kind::OpenAi => Transport::WebSocket,
            Kind::AudioSocket => Transport::Tcp,
        }
    }

    /// The encodings that it may have; never empty.
    #[must_use]
    pub const fn encodings(self) -> &'static [Encoding] {
        match self {
            Kind::Twilio => TWILIO,
            Kind::Jambonz | Kind::AudioSocket => SAMPLES,
            Kind::OpenAi => MODEL,
            Kind::Telnyx => G711,
        }
    }

    /// The encoding that it has if nothing else is said.
    #[must_use]
    pub const fn default_encoding(self) -> Encoding {
        self.encodings()[0]
    }

    /// What the request for a WebSocket says, to this URL. `secret` is what we prove ourselves by:
    /// Twilio signs the URL with it; a kind that has nothing of the sort sends it as a bearer token
    /// (RFC 6750 section 2.1), for an engine behind a gate of its own.
    #[must_use]
    pub fn handshake(self, url: &str, secret: Option<&Secret>) -> Handshake {
        let headers = secret.and_then(|secret| self.proof(url, secret)).into_iter().collect();
        let subprotocols = match self {
            Kind::Jambonz => jambonz::SUBPROTOCOLS,
            Kind::Twilio | Kind::AudioSocket | Kind::OpenAi | Kind::Telnyx => &[],
        };
        Handshake { subprotocols, headers }
    }

    fn proof(self, url: &str, secret: &Secret) -> Option<(&'static str, Secret)> {
        match self {
            Kind::Twilio => {
                let signature = twilio::signature(secret, url);
                Some(("x-twilio-signature", Secret::new(signature.as_bytes())))
            }
            Kind::Jambonz | Kind::OpenAi | Kind::Telnyx => Some(authorization("Bearer", secret)),
            // It has no request.
            Kind::AudioSocket => None,
        }
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
        Some(match self {
            Kind::Twilio => Box::new(Twilio::new(introduction)),
            Kind::Jambonz => Box::new(Jambonz::new(introduction, options.keys)),
            Kind::AudioSocket => Box::new(AudioSocket::new(introduction, options.keys)),
            Kind::Telnyx => Box::new(Telnyx::new(introduction)),
            Kind::OpenAi => {
                Box::new(OpenAi::new(introduction, options.model.clone(), options.keys))
            }
        })
    }
}

/// A scheme's name and the secret behind it.
fn authorization(scheme: &str, secret: &Secret) -> (&'static str, Secret) {
    ("authorization", [scheme.as_bytes(), b" ", secret.reveal()].concat().into())
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
