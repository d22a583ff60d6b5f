//! Kind: which dialect an engine speaks, and all that follows from it.

use crate::twilio::{self, Twilio};
use crate::{Dialect, Encoding, Handshake, Introduction, Options, Secret};

/// What an engine speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Twilio Media Streams.
    Twilio,
}

/// What a kind's messages travel by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    /// A WebSocket that we dial, `ws` or `wss`.
    WebSocket,
    /// A TCP connection that we dial; its octets are frames.
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

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 1] = [Kind::Twilio];

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
        }
    }

    /// What its messages travel by.
    #[must_use]
    pub const fn transport(self) -> Transport {
        match self {
            Kind::Twilio => Transport::WebSocket,
        }
    }

    /// The encodings that it may have; never empty.
    #[must_use]
    pub const fn encodings(self) -> &'static [Encoding] {
        match self {
            Kind::Twilio => TWILIO,
        }
    }

    /// The encoding that it has if nothing else is said.
    #[must_use]
    pub const fn default_encoding(self) -> Encoding {
        self.encodings()[0]
    }

    /// What the request for a WebSocket says, to this URL. `secret` is what this kind proves itself
    /// by: Twilio signs the URL with it.
    #[must_use]
    pub fn handshake(self, url: &str, secret: Option<&Secret>) -> Handshake {
        let Some(secret) = secret else { return Handshake::default() };
        match self {
            Kind::Twilio => Handshake::with("x-twilio-signature", &twilio::signature(secret, url)),
        }
    }

    /// A connection that has not begun; none if this kind can't have the introduction's encoding.
    #[must_use]
    pub fn dialect(
        self,
        introduction: Introduction,
        options: &Options,
    ) -> Option<Box<dyn Dialect>> {
        let _ = options;
        if !self.encodings().contains(&introduction.encoding) {
            return None;
        }
        Some(match self {
            Kind::Twilio => Box::new(Twilio::new(introduction)),
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
        for kind in Kind::ALL {
            assert!(kind.handshake("wss://e/m", None).headers.is_empty());
        }
    }
}
