//! Scratch: a directory that a test owns and leaves no trace of, and keys and entries to test with.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use ring::signature::Ed25519KeyPair;

use crate::entry::{Actor, Detail, Entry, Id, KeyName, Object, Origin, Peer, Word};
use crate::event::{Event, Listener, Method, Outcome, Role};
use crate::note::{LogName, SigningKey};
use crate::time::Time;

pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Scratch {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let turn = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("audit-test-{}-{turn}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Scratch(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn name() -> LogName {
    LogName::read("relay-1.example/audit").unwrap()
}

/// A key that differs for every number.
pub(crate) fn signing_key(number: u8) -> SigningKey {
    SigningKey::new(name(), Ed25519KeyPair::from_seed_unchecked(&[number; 32]).unwrap())
}

/// Some time.
pub(crate) fn at(seconds: u64) -> Time {
    Time::from_unix_ms(1_796_063_640_123 + seconds * 1000)
}

/// An entry that differs for every number.
pub(crate) fn entry(number: u32) -> Entry {
    Entry {
        at: at(number.into()),
        event: Event::SessionEntered,
        outcome: if number.is_multiple_of(3) { Outcome::Failure } else { Outcome::Success },
        actor: Actor::Key(KeyName::read("7Gq3bXw9Kd2m").unwrap()),
        origin: Origin { listener: Listener::Control, peer: Peer::read("192.0.2.7:50312") },
        object: Object::session(Id(number.into()), Id(u128::from(number) << 64)),
        detail: Detail {
            count: Some(number),
            method: Some(Method::Post),
            operation: Word::read("/v1/calls/{call_id}/secure-session"),
            role: Some(Role::Engine),
            status: Some(201),
            ..Detail::default()
        },
    }
}
