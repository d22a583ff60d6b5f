//! Scratch: a directory that a test owns and leaves no trace of, and keys to test with.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use ring::rand::{SecureRandom, SystemRandom};

use super::archive::Archive;
use super::keyring::{KEY_OCTETS, KeyEncryptionKey, Keyring};

pub(super) struct Scratch(PathBuf);

impl Scratch {
    pub(super) fn new() -> Scratch {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let turn = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("recording-test-{}-{turn}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Scratch(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// The recordings in this directory, under the key of number 1.
    pub(super) fn archive(&self) -> Arc<Archive> {
        archive_in(&self.0, &[1])
    }
}

/// The recordings in a directory, under the keys of these numbers.
pub(super) fn archive_in(directory: &Path, numbers: &[u8]) -> Arc<Archive> {
    let keys = Keyring::new(numbers.iter().map(|number| kek(*number)).collect()).unwrap();
    Arc::new(Archive::open(directory.to_owned(), keys, random).unwrap())
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
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
