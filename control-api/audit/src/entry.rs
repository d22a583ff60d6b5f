//! Entry: who did what to what, from where, when, and whether it was done.
//!
//! No member takes a text: they are words of closed sets, words of the program's own, ids and names
//! that the program gave itself, hashes, and numbers too small for a card. None is made of what was
//! keyed.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::event::{Event, Kind, Listener, Method, Outcome, Role};
use crate::hash::Sha256;
use crate::limits::{MAX_KEY_NAME, MAX_NAME_DIGITS, MAX_WORD, MAX_WORD_DIGITS};
use crate::time::Time;
use crate::words::read_with;

/// Hexadecimal digits of an id.
const ID_DIGITS: usize = 32;

/// One thing that happened (PCI DSS 10.2.2).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// When: the wall clock's time.
    pub at: Time,
    /// What.
    pub event: Event,
    /// Whether it was done.
    pub outcome: Outcome,
    /// Who did it.
    pub actor: Actor,
    /// From where.
    pub origin: Origin,
    /// To what.
    pub object: Object,
    /// What else is known.
    pub detail: Detail,
}

/// Who does something.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Actor {
    /// Nobody who proved himself; where from is the origin.
    Nobody,
    /// The relay itself.
    Relay,
    /// The holder of a key. Only of one that is in the table of keys: what a stranger calls himself
    /// is not to be logged.
    Key(KeyName),
}

/// Where from something came.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// The door.
    pub listener: Listener,
    /// The address at the other side of it, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<Peer>,
}

/// An address and a port. A link-local one is without its zone, which names an interface of ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Peer {
    /// The address.
    pub address: IpAddr,
    /// The port.
    pub port: u16,
}

/// What was affected. Members are in the order of a line, which is alphabetical.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Object {
    /// The call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<Id>,
    /// Another id, of what `kind` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Id>,
    /// The key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyName>,
    /// What it is.
    pub kind: Kind,
    /// The secure session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Id>,
}

/// What else is known. Members are in the order of a line, which is alphabetical.
///
/// Never the number of keys that were pressed, nor of those of a field.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Detail {
    /// How many, of what the event counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// The SHA-256 of what was loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Sha256>,
    /// The request's method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<Method>,
    /// The pattern of the request's path, never the path itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<Word>,
    /// Why it was not done, or how it ended: a code of the program's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Word>,
    /// What the actor's key is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// The status of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The program's version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Word>,
}

/// An id of the relay's own, 128 bits, written as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Id(pub u128);

/// A key's public name: 1 to 32 letters, digits, `_` and `-`; 12 digits at most, so that
/// it is hardly a card's number. Whose key it is has been looked up: a caller never names one.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct KeyName(Box<str>);

/// A word of the program's own: a code, a version, the pattern of a path. 1 to 96 of lower-case
/// letters, digits and `_-./:{}*`, no more than four digits in a row.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Word(Box<str>);

impl Entry {
    /// An entry of the log about itself.
    #[must_use]
    pub(crate) fn own(at: Time, event: Event, outcome: Outcome, detail: Detail) -> Entry {
        let origin = Origin { listener: Listener::Internal, peer: None };
        let object = Object::of(Kind::AuditLog);
        Entry { at, event, outcome, actor: Actor::Relay, origin, object, detail }
    }
}

impl Object {
    /// One without an id.
    #[must_use]
    pub const fn of(kind: Kind) -> Object {
        Object { call: None, id: None, key: None, kind, session: None }
    }

    /// A call.
    #[must_use]
    pub fn call(call: Id) -> Object {
        Object { call: Some(call), ..Object::of(Kind::Call) }
    }

    /// A secure session of a call.
    #[must_use]
    pub fn session(call: Id, session: Id) -> Object {
        Object { call: Some(call), session: Some(session), ..Object::of(Kind::Session) }
    }

    /// A call's recording.
    #[must_use]
    pub fn recording(call: Id) -> Object {
        Object { call: Some(call), ..Object::of(Kind::Recording) }
    }

    /// A key.
    #[must_use]
    pub fn key(key: KeyName) -> Object {
        Object { key: Some(key), ..Object::of(Kind::Key) }
    }
}

impl KeyName {
    /// Reads a name; `None` if it is none.
    #[must_use]
    pub fn read(text: &str) -> Option<KeyName> {
        let fits = (1..=MAX_KEY_NAME).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
            && text.bytes().filter(u8::is_ascii_digit).count() <= MAX_NAME_DIGITS;
        fits.then(|| KeyName(text.into()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Word {
    /// Reads a word; `None` if it is none. Not for what a request says, only for what the program
    /// knows by itself.
    #[must_use]
    pub fn read(text: &str) -> Option<Word> {
        let is_plain = |b: u8| {
            b.is_ascii_lowercase()
                || b.is_ascii_digit()
                || matches!(b, b'_' | b'-' | b'.' | b'/' | b':' | b'{' | b'}' | b'*')
        };
        let runs = text.as_bytes().split(|b| !b.is_ascii_digit());
        let fits = (1..=MAX_WORD).contains(&text.len())
            && text.bytes().all(is_plain)
            && runs.map(<[u8]>::len).all(|digits| digits <= MAX_WORD_DIGITS);
        fits.then(|| Word(text.into()))
    }

    /// The word.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Id {
    /// Reads 32 hexadecimal digits, letters in lower case.
    #[must_use]
    pub fn read(hex: &str) -> Option<Id> {
        let is_lower = hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if hex.len() != ID_DIGITS || !is_lower {
            return None;
        }
        u128::from_str_radix(hex, 16).ok().map(Id)
    }
}

impl Actor {
    const KEY: &str = "key:";

    /// Reads what an entry names its actor.
    #[must_use]
    pub fn read(text: &str) -> Option<Actor> {
        match text {
            "nobody" => Some(Actor::Nobody),
            "relay" => Some(Actor::Relay),
            other => other.strip_prefix(Actor::KEY).and_then(KeyName::read).map(Actor::Key),
        }
    }
}

impl Peer {
    /// Reads `192.0.2.1:5060` or `[2001:db8::1]:5060`.
    #[must_use]
    pub fn read(text: &str) -> Option<Peer> {
        text.parse().ok().map(|address: SocketAddr| Peer::from(address))
    }
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Peer {
        Peer { address: address.ip(), port: address.port() }
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Actor::Nobody => f.write_str("nobody"),
            Actor::Relay => f.write_str("relay"),
            Actor::Key(name) => write!(f, "{}{}", Actor::KEY, name.as_str()),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        SocketAddr::new(self.address, self.port).fmt(f)
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A type whose form in a line is a string.
macro_rules! as_string {
    ($($name:ident)+) => { $(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$name, D::Error> {
                read_with(deserializer, $name::read)
            }
        }
    )+ };
}

as_string! { Id KeyName Word Actor Peer }

#[cfg(test)]
mod tests {
    use super::{Actor, Id, KeyName, Peer, Word};

    #[test]
    fn a_name_of_a_key_is_no_card_number_and_no_text() {
        for good in ["k", "7Gq3bXw9Kd2m", "ops-2026_key", "012345678901", &"a".repeat(32)] {
            assert_eq!(KeyName::read(good).unwrap().as_str(), good);
        }
        let bad = ["", "a b", "a\n", "é", "4111111111111111", "4111-1111-1111-1", &"a".repeat(33)];
        for text in bad {
            assert!(KeyName::read(text).is_none(), "{text:?}");
        }
    }

    #[test]
    fn a_word_is_no_number_and_no_text() {
        for good in ["/v1/calls/{call_id}/secure-session", "not_found", "0.1.0", "a1234b5678"] {
            assert_eq!(Word::read(good).unwrap().as_str(), good);
        }
        let bad = ["", "12345", "a12345", "Too Long", "a b", "\"", "\\", "\u{1b}", &"a".repeat(97)];
        for text in bad {
            assert!(Word::read(text).is_none(), "{text:?}");
        }
    }

    #[test]
    fn actors_ids_and_peers_are_read_as_they_are_written() {
        for text in ["nobody", "relay", "key:7Gq3bXw9Kd2m"] {
            assert_eq!(Actor::read(text).unwrap().to_string(), text);
        }
        for text in ["", "key:", "key", "Nobody", "key:a b", "operator"] {
            assert!(Actor::read(text).is_none(), "{text}");
        }
        let id = "00192f3c5e6a7b8c9d0e1f2a3b4c5d6e";
        assert_eq!(Id::read(id).unwrap().to_string(), id);
        assert!(Id::read(&id[1..]).is_none() && Id::read(&id.to_uppercase()).is_none());
        assert!(Id::read(&format!("+{}", &id[1..])).is_none());
        for text in ["192.0.2.7:50312", "[2001:db8::1]:5060"] {
            assert_eq!(Peer::read(text).unwrap().to_string(), text);
        }
        assert!(Peer::read("localhost:80").is_none());
    }
}
