//! Signal: what caller and relay tell each other before there is media, a line of text each.

use std::net::SocketAddr;

use relay::switchboard::SrtpKeys;
use relay::wire::srtp::{MasterKey, Suite};

/// What Chromium and the crate `webrtc` agree on, and what telephones are given.
pub const SUITE: Suite = Suite::AesCm128HmacSha1_80;

/// Who relays.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Contender {
    /// Sotto with a browser's legs.
    Sotto,
    /// Sotto with legs whose keys signalling tells (SDES).
    Sdes,
    /// The crate `webrtc`.
    Webrtc,
}

impl Contender {
    /// In the order of a round.
    pub const ALL: [Contender; 3] = [Contender::Sotto, Contender::Webrtc, Contender::Sdes];

    /// As it is called in the table and on a command line.
    pub fn name(self) -> &'static str {
        match self {
            Contender::Sotto => "browser",
            Contender::Sdes => "sdes",
            Contender::Webrtc => "webrtc",
        }
    }

    /// The one of that name.
    pub fn named(name: &str) -> Option<Contender> {
        Contender::ALL.into_iter().find(|one| one.name() == name)
    }
}

/// How one side is known in ICE.
#[derive(Clone, Debug)]
pub struct Ice {
    /// The user fragment.
    pub ufrag: String,
    /// The password.
    pub password: String,
}

/// What a caller says of itself, and where its engine is.
#[derive(Clone, Debug)]
pub struct Offer {
    /// The caller.
    pub caller: SocketAddr,
    /// The engine.
    pub engine: SocketAddr,
    /// The caller in ICE.
    pub ice: Ice,
    /// SHA-256 of the caller's certificate.
    pub fingerprint: [u8; 32],
}

/// Where the relay hears the caller, and how it is known in ICE.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its address.
    pub relay: SocketAddr,
    /// Of no meaning without ICE.
    pub ice: Ice,
}

impl Offer {
    /// As a line.
    pub fn line(&self) -> String {
        let Offer { caller, engine, ice, fingerprint } = self;
        let hex: String = fingerprint.iter().map(|octet| format!("{octet:02x}")).collect();
        format!("{caller} {engine} {} {} {hex}", ice.ufrag, ice.password)
    }

    /// From a line.
    pub fn read(line: &str) -> Offer {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [caller, engine, ufrag, password, hex] = words[..] else { panic!("an offer: {line}") };
        let octet = |at: usize| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap();
        Offer {
            caller: caller.parse().unwrap(),
            engine: engine.parse().unwrap(),
            ice: Ice { ufrag: ufrag.to_owned(), password: password.to_owned() },
            fingerprint: std::array::from_fn(octet),
        }
    }
}

impl Answer {
    /// As a line.
    pub fn line(&self) -> String {
        format!("{} {} {}", self.relay, self.ice.ufrag, self.ice.password)
    }

    /// From a line.
    pub fn read(line: &str) -> Answer {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [relay, ufrag, password] = words[..] else { panic!("an answer: {line}") };
        let ice = Ice { ufrag: ufrag.to_owned(), password: password.to_owned() };
        Answer { relay: relay.parse().unwrap(), ice }
    }
}

/// Keys of a leg with SDES, as the relay has them; the caller's are the other way round.
pub fn sdes() -> SrtpKeys {
    let key = |octet| MasterKey::from_bytes(SUITE, &vec![octet; SUITE.master_len()]).unwrap();
    SrtpKeys { inbound: key(1), outbound: key(2) }
}
