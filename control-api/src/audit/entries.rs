//! Entries: everything that is written, and by whom. No entry is made elsewhere.

use std::collections::HashMap;
use std::net::SocketAddr;

use audit_log::{
    Actor, Detail, Entry, Event, Id, KeyName, Kind, Listener, Object, Origin, Outcome, Peer, Role,
    Sha256, Time, Word,
};
use dtmf::Verdict;
use relay::switchboard::{CallId, EventKind, SessionId};

use crate::clock;
use crate::keys::{self, KeyId, Principal};
use crate::problem::Problem;
use crate::server::Client;

/// Letters of the name of an identity provider's token: its kind and 12 hexadecimal digits.
const PROVIDED_NAME: usize = "oidc_".len() + 12;

/// Who does something, and by which door.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct By {
    actor: Actor,
    role: Option<Role>,
    origin: Origin,
}

impl By {
    /// Whoever has a key, by the API.
    #[must_use]
    pub fn key(principal: &Principal, client: Option<Client>) -> By {
        let by = By::named(&principal.key, principal.role, client);
        By { role: role_in(principal), ..by }
    }

    /// The same by the name of the key.
    pub(crate) fn named(key: &KeyId, role: keys::Role, client: Option<Client>) -> By {
        let name = name_of(key);
        By {
            actor: name.map_or(Actor::Nobody, Actor::Key),
            role: Some(role_of(role)),
            origin: origin(Listener::Control, client),
        }
    }

    /// Somebody without a key that is valid.
    pub(crate) fn stranger(listener: Listener, client: Option<Client>) -> By {
        By { actor: Actor::Nobody, role: None, origin: origin(listener, client) }
    }

    /// A peer that its address lets in.
    pub(crate) fn peer(listener: Listener, address: SocketAddr) -> By {
        By::stranger(listener, Some(Client(address)))
    }

    /// The model of a call, by the token of that public name.
    pub(crate) fn model(token: &str, client: Option<Client>) -> By {
        let actor = KeyName::read(token).map_or(Actor::Nobody, Actor::Key);
        By { actor, role: Some(Role::Model), origin: origin(Listener::Mcp, client) }
    }

    /// The engine of a call, by the connection that the relay has made to it.
    pub(crate) const fn engine() -> By {
        let origin = Origin { listener: Listener::Engine, peer: None };
        By { actor: Actor::Nobody, role: Some(Role::Engine), origin }
    }

    /// The relay itself.
    pub(crate) const fn relay() -> By {
        let origin = Origin { listener: Listener::Internal, peer: None };
        By { actor: Actor::Relay, role: None, origin }
    }

    /// Whoever may run commands on this machine.
    pub(crate) const fn machine() -> By {
        let origin = Origin { listener: Listener::CommandLine, peer: None };
        By { actor: Actor::Nobody, role: None, origin }
    }

    /// The same by another door.
    pub(crate) fn through(mut self, listener: Listener) -> By {
        self.origin.listener = listener;
        self
    }

    /// What was done, or was not.
    pub(crate) fn entry(&self, event: Event, object: Object, detail: Detail) -> Entry {
        Entry {
            at: now(),
            event,
            outcome: Outcome::Success,
            actor: self.actor.clone(),
            origin: self.origin,
            object,
            detail: Detail { role: self.role, ..detail },
        }
    }

    /// The same if `done` is well, else why not.
    pub(crate) fn result<T>(
        &self,
        event: Event,
        object: Object,
        done: Result<&T, &Problem>,
    ) -> Entry {
        match done {
            Ok(_) => self.entry(event, object, Detail::default()),
            Err(problem) => failed(self.entry(event, object, because(problem.code.row().1))),
        }
    }

    /// A secure session is about to be entered.
    pub(crate) fn entering(&self, call: CallId, session: SessionId) -> Entry {
        self.entry(Event::SessionEntering, session_of(call, session), Detail::default())
    }

    /// A secure session was entered, or not.
    pub(crate) fn entered<T>(
        &self,
        call: CallId,
        session: SessionId,
        entered: Result<&T, &Problem>,
    ) -> Entry {
        self.result(Event::SessionEntered, session_of(call, session), entered)
    }
}

/// An entry's time now: whole seconds, so that none is that of a key press.
pub(super) fn now() -> Time {
    super::time(clock::now())
}

/// The same entry of what was not done.
pub(super) fn failed(entry: Entry) -> Entry {
    Entry { outcome: Outcome::Failure, ..entry }
}

/// A reason, which is a word of this program's.
pub(super) fn because(reason: &'static str) -> Detail {
    Detail { reason: Word::read(reason), ..Detail::default() }
}

/// So many refused requests got no entry of their own.
pub(super) fn denials(count: u32) -> Entry {
    let detail = Detail { count: Some(count), ..because("denied-requests-summed-up") };
    failed(By::relay().entry(Event::AuthAlarm, Object::of(Kind::Api), detail))
}

/// A call.
pub(crate) fn call_of(call: CallId) -> Object {
    Object::call(Id(call.0))
}

/// A call's recording.
pub(crate) fn recording_of(call: CallId) -> Object {
    Object::recording(Id(call.0))
}

fn session_of(call: CallId, session: SessionId) -> Object {
    Object::session(Id(call.0), Id(session.0))
}

/// A key.
pub(super) fn key_of(key: &KeyId) -> Object {
    name_of(key).map_or(Object::of(Kind::Key), Object::key)
}

/// A key's name. Those of an identity provider's tokens have more digits than an entry takes: they are
/// told by their beginning, which is 48 bits of a hash.
fn name_of(key: &KeyId) -> Option<KeyName> {
    let name = key.as_str();
    KeyName::read(name).or_else(|| KeyName::read(name.get(..PROVIDED_NAME)?))
}

/// What is told of an event of the relay. Of fields nothing is, nor of attempts.
pub(crate) fn of_event(call: CallId, kind: &EventKind) -> Option<Entry> {
    let relay = By::relay();
    let about = |event, session: &SessionId| {
        relay.entry(event, session_of(call, *session), Detail::default())
    };
    Some(match kind {
        EventKind::SecureConcluded { session, verdict } => {
            let entry = about(Event::SessionConcluded, session);
            let entry = Entry { detail: because(verdict.as_str()), ..entry };
            match verdict {
                Verdict::Passed => entry,
                Verdict::Failed(_) => failed(entry),
            }
        }
        EventKind::DrainHeld { session } => failed(about(Event::SessionHeld, session)),
        EventKind::Reopened { session } => about(Event::SessionReopened, session),
        EventKind::Unsubscribed => {
            relay.entry(Event::CallUnsubscribed, call_of(call), Detail::default())
        }
        EventKind::Closed => relay.entry(Event::CallEnded, call_of(call), Detail::default()),
        EventKind::RecordingStarted | EventKind::RecordingResumed => {
            relay.entry(Event::RecordingStarted, recording_of(call), Detail::default())
        }
        EventKind::RecordingPaused => {
            relay.entry(Event::RecordingPaused, recording_of(call), Detail::default())
        }
        EventKind::RecordingStopped => {
            relay.entry(Event::RecordingStopped, recording_of(call), Detail::default())
        }
        EventKind::RecordingGap => {
            let detail = because("audio-is-missing");
            failed(relay.entry(Event::RecordingFailed, recording_of(call), detail))
        }
        // Told with whose wish it is; and that a stopped recording is whole is no deed.
        EventKind::Subscribed
        | EventKind::RecordingHandedOver
        | EventKind::Opened
        | EventKind::Armed
        | EventKind::Disarmed
        | EventKind::SecureStarted { .. }
        | EventKind::FieldStarted { .. }
        | EventKind::FieldRejected { .. }
        | EventKind::FieldRepeated { .. }
        | EventKind::FieldAccepted { .. }
        | EventKind::Processing
        | EventKind::MediaTimeout { .. } => return None,
    })
}

/// What was keyed was handed over, or was not. What came of it is not told: a token is the sink's.
pub(crate) fn delivered(call: CallId, session: SessionId, is_delivered: bool) -> Entry {
    let object = session_of(call, session);
    let entry = By::relay().entry(Event::SinkDelivered, object, Detail::default());
    if is_delivered { entry } else { failed(entry) }
}

/// A recording expired, or should have.
pub(crate) fn expired(call: CallId, is_erased: bool) -> Entry {
    let object = recording_of(call);
    let entry = By::relay().entry(Event::RecordingErased, object, because("expired"));
    if is_erased { entry } else { failed(entry) }
}

/// The process has started, or stops, with a configuration of that hash.
pub(crate) fn process(event: Event, configuration: Sha256) -> Entry {
    let version = Word::read(env!("CARGO_PKG_VERSION"));
    let detail = Detail { digest: Some(configuration), version, ..Detail::default() };
    By::relay().entry(event, Object::of(Kind::Process), detail)
}

/// Something was read again, as a signal asked.
pub(crate) fn reloaded(event: Event, digest: Option<Sha256>, is_read: bool) -> Entry {
    let detail = Detail { digest, ..Detail::default() };
    let entry = By::machine().entry(event, Object::of(Kind::Configuration), detail);
    if is_read { entry } else { failed(entry) }
}

/// What a new table of keys changes, whoever has changed it: by the API that is told besides.
pub(crate) fn key_changes(old: &keys::KeyTable, new: &keys::KeyTable) -> Vec<Entry> {
    let names = |table: &keys::KeyTable| -> HashMap<KeyId, Option<Role>> {
        table.principals().map(|it| (it.key.clone(), role_in(it))).collect()
    };
    let (old, new) = (names(old), names(new));
    let entry = |event, key: &KeyId, role: Option<Role>| {
        let by = By { role, ..By::relay() };
        by.entry(event, key_of(key), Detail::default())
    };
    let made = new.iter().filter(|(key, _)| !old.contains_key(*key));
    let made = made.map(|(key, role)| entry(Event::KeyCreated, key, *role));
    let ended = old.iter().filter(|(key, _)| !new.contains_key(*key));
    made.chain(ended.map(|(key, role)| entry(Event::KeyRevoked, key, *role))).collect()
}

fn origin(listener: Listener, client: Option<Client>) -> Origin {
    Origin { listener, peer: client.map(|Client(address)| Peer::from(address)) }
}

/// The standing role that a principal has alone; those of the configuration have names of their own,
/// which no entry takes.
fn role_in(principal: &Principal) -> Option<Role> {
    let standing = keys::Role::ALL.into_iter().find(|it| it.as_str() == &*principal.roles);
    standing.map(role_of)
}

const fn role_of(role: keys::Role) -> Role {
    match role {
        keys::Role::Operator => Role::Operator,
        keys::Role::Script => Role::Script,
        keys::Role::Engine => Role::Engine,
        keys::Role::Payment => Role::Payment,
    }
}
