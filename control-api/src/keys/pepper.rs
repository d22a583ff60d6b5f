//! Pepper: what this server alone knows, and without which a key file verifies nothing.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ring::hmac;
use zeroize::Zeroizing;

use super::error::KeyError;
use super::token::hex;
use crate::chance;

/// Octets of a pepper.
const PEPPER_OCTETS: usize = 32;
/// Octets of what a secret becomes.
pub(crate) const MAC_OCTETS: usize = 32;
/// Mode bits that let anyone but the owner at a file.
pub(super) const OTHERS: u32 = 0o077;
/// Octets of a server's mark, which is no secret.
const MARK_OCTETS: usize = 6;
/// What a server's mark is made of; no secret of a key has this form.
const MARK_OF: &[u8] = b"sotto: which server";

/// The key under which the secrets of keys are hashed. It has no `Debug`.
pub(super) struct Pepper {
    key: hmac::Key,
    mark: String,
}

impl Pepper {
    /// Where it is: beside the key file, in a file of its own.
    pub(super) fn path_of(keys: &Path) -> PathBuf {
        keys.with_extension("pepper")
    }

    /// Reads the pepper that belongs to a key file, if it is there.
    ///
    /// # Errors
    /// If it can't be read, is damaged, or is open to others than its owner.
    pub(super) fn read(keys: &Path) -> Result<Option<Pepper>, KeyError> {
        let path = Pepper::path_of(keys);
        let failed = |source| KeyError::Io { path: path.clone(), source };
        let mut file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(failed)?,
        };
        let metadata = file.metadata().map_err(failed)?;
        if metadata.mode() & OTHERS != 0 {
            return Err(KeyError::Exposed { path });
        }
        let mut octets = Zeroizing::new([0; PEPPER_OCTETS]);
        if metadata.len() != PEPPER_OCTETS as u64 {
            return Err(KeyError::Damaged { path, line: 0 });
        }
        file.read_exact(octets.as_mut()).map_err(failed)?;
        Ok(Some(Pepper::of(&octets)))
    }

    /// Makes one for a key file; under the lock of the key file, so that there is never another.
    ///
    /// # Errors
    /// If it can't be written, or there is no randomness.
    pub(super) fn make(keys: &Path) -> Result<Pepper, KeyError> {
        let path = Pepper::path_of(keys);
        let octets = Zeroizing::new(chance::octets::<PEPPER_OCTETS>()?);
        let written = replace(&path, octets.as_slice());
        written.map_err(|source| KeyError::Io { path, source })?;
        Ok(Pepper::of(&octets))
    }

    fn of(octets: &[u8; PEPPER_OCTETS]) -> Pepper {
        let key = hmac::Key::new(hmac::HMAC_SHA256, octets);
        let mark = hex(&hmac::sign(&key, MARK_OF).as_ref()[..MARK_OCTETS]);
        Pepper { key, mark }
    }

    /// What tells this server's keys from those of others.
    pub(super) fn mark(&self) -> &str {
        &self.mark
    }

    /// What is kept of a secret.
    pub(super) fn hash(&self, secret: &str) -> [u8; MAC_OCTETS] {
        let mut octets = [0; MAC_OCTETS];
        octets.copy_from_slice(hmac::sign(&self.key, secret.as_bytes()).as_ref());
        octets
    }
}

/// Replaces a file in one step, so that a crash leaves the old one or the new one. Nobody but its
/// owner may read the new one.
pub(super) fn replace(path: &Path, octets: &[u8]) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let mut next = path.as_os_str().to_owned();
    next.push(".new");
    let next = PathBuf::from(next);
    // One left over by a crash may have any mode; the new one must have ours.
    match fs::remove_file(&next) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&next)?;
    file.write_all(octets).and_then(|()| file.sync_all())?;
    fs::rename(&next, path)?;
    // So that the name outlasts a crash too.
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}
