//! Scratch: recordings in a directory of a test's own, and keys to test with.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use ring::rand::{SecureRandom, SystemRandom};

use super::archive::Archive;
use super::keyring::{KEY_OCTETS, KeyEncryptionKey, Keyring};
pub(super) use crate::scratch::Scratch;

impl Scratch {
    /// The recordings in this directory, under the key of number 1.
    pub(super) fn archive(&self) -> Arc<Archive> {
        archive_in(self.path(), &[1])
    }
}

/// The recordings in a directory, under the keys of these numbers.
pub(super) fn archive_in(directory: &Path, numbers: &[u8]) -> Arc<Archive> {
    let keys = Keyring::new(numbers.iter().map(|number| kek(*number)).collect()).unwrap();
    Arc::new(Archive::open(directory.to_owned(), keys, random).unwrap())
}

#[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
pub(super) fn some_instant() -> Instant {
    Instant::now()
}

/// A key-encryption key that differs for every number.
pub(super) fn kek(number: u8) -> KeyEncryptionKey {
    let mut octets = [0xA5; KEY_OCTETS];
    octets[0] = number;
    KeyEncryptionKey::new(&mut octets)
}

pub(super) fn random(octets: &mut [u8]) -> io::Result<()> {
    SystemRandom::new().fill(octets).map_err(|_| io::ErrorKind::Other.into())
}
