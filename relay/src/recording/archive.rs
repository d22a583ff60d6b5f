//! Archive: the directory of recordings with the keys that open them.
//!
//! A call has two files there: `<id>.sotto-recording` and `<id>.key`. A recording whose key file
//! is gone was erased, for good.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustix::fs::{FlockOperation, flock};

use super::key_file::{self, DataKey, KeyFileError, Random};
use super::keyring::{KekId, Keyring};
use crate::switchboard::CallId;

const RECORDING: &str = "sotto-recording";
const KEY: &str = "key";
/// Hexadecimal digits of a call's id.
const ID_DIGITS: usize = 32;

/// Where recordings are kept, and what seals and opens them.
///
/// Its methods wait for the disk. Other processes may list, rewrap and erase at the same time:
/// what replaces or destroys a key holds a lock on the directory meanwhile.
pub struct Archive {
    directory: PathBuf,
    keys: RwLock<Arc<Keyring>>,
    random: Random,
}

/// A recording that was just created.
pub(super) struct Created {
    /// The empty recording.
    pub(super) file: File,
    /// Its key file, which outlasts a power cut only once it is synced.
    pub(super) key_file: File,
    /// The key, which has sealed nothing yet.
    pub(super) key: DataKey,
}

/// What was left over by a process that did not end in order, and is done now.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Recovered {
    /// Key files that never got their name, destroyed.
    pub strays: u64,
    /// Erasures that were begun, completed.
    pub erasures: u64,
    /// Recordings without a key, which nobody can read any more.
    pub keyless: u64,
}

impl Archive {
    /// Opens a directory, creating it (mode 0700) where it is missing.
    ///
    /// # Errors
    /// If it cannot be created.
    pub fn open(directory: PathBuf, keys: Keyring, random: Random) -> io::Result<Archive> {
        DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
        Ok(Archive { directory, keys: RwLock::new(Arc::new(keys)), random })
    }

    /// The directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The keys that are in use now.
    #[must_use]
    pub fn keys(&self) -> Arc<Keyring> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on other keys are in use; recordings that are being made keep their own.
    pub fn replace_keys(&self, keys: Keyring) {
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
    }

    /// Where a call's recording is.
    #[must_use]
    pub fn path_of(&self, call: CallId) -> PathBuf {
        self.directory.join(format!("{:032x}.{RECORDING}", call.0))
    }

    /// Where the key of a call's recording is.
    #[must_use]
    pub fn key_path_of(&self, call: CallId) -> PathBuf {
        self.directory.join(format!("{:032x}.{KEY}", call.0))
    }

    /// The calls of which there is a recording or a key, oldest first as far as ids tell.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn calls(&self) -> io::Result<Vec<CallId>> {
        // 16 octets each: the disk is full long before the memory is.
        let mut calls = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let name = entry?.file_name();
            let call = name.to_str().and_then(|name| name.split_once('.'));
            if let Some((digits, RECORDING | KEY)) = call {
                calls.extend(parse_id(digits));
            }
        }
        calls.sort_unstable();
        calls.dedup();
        Ok(calls)
    }

    /// Whether anything of a call's recording is there.
    #[must_use]
    pub fn has(&self, call: CallId) -> bool {
        self.path_of(call).exists() || self.key_path_of(call).exists()
    }

    /// The key under which a recording's own key is wrapped.
    ///
    /// # Errors
    /// If the recording was erased, or its key file is not one.
    pub fn kek_of(&self, call: CallId) -> Result<KekId, KeyFileError> {
        key_file::kek_of(&self.key_path_of(call))
    }

    /// Wraps a recording's key under the current key; false if it is so already. A crash leaves
    /// the old wrapping or the new one.
    ///
    /// # Errors
    /// If the recording's key cannot be had or its file cannot be replaced.
    pub fn rewrap(&self, call: CallId) -> Result<bool, KeyFileError> {
        let _lock = self.lock()?;
        key_file::rewrap(&self.key_path_of(call), call, &self.keys(), self.random)
    }

    /// Erases a recording: destroys its key, then removes the rest. False if there was nothing.
    ///
    /// # Errors
    /// If the disk refuses; what was begun is completed by a second try or a restart.
    pub fn erase(&self, call: CallId) -> io::Result<bool> {
        let _lock = self.lock()?;
        let had_key = key_file::destroy(&self.key_path_of(call))?;
        let path = self.path_of(call);
        match fs::remove_file(&path) {
            Ok(()) => key_file::sync_directory(&path).map(|()| true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(had_key),
            Err(error) => Err(error),
        }
    }

    /// Completes what a crash has left half done. To be called before recordings are made.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn recover(&self) -> io::Result<Recovered> {
        let mut recovered = Recovered { strays: self.destroy_strays()?, ..Recovered::default() };
        for call in self.calls()? {
            match self.kek_of(call) {
                Err(KeyFileError::Erased) if self.key_path_of(call).exists() => {
                    self.erase(call)?;
                    recovered.erasures += 1;
                }
                Err(KeyFileError::Erased) => recovered.keyless += 1,
                Ok(_)
                | Err(KeyFileError::UnknownKek(_) | KeyFileError::Altered | KeyFileError::Io(_)) => {
                }
            }
        }
        Ok(recovered)
    }

    /// Creates a recording and its key. A call that has one already keeps it untouched.
    pub(super) fn create(&self, call: CallId) -> io::Result<Created> {
        let path = self.path_of(call);
        let file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(&path)?;
        let keys = self.keys();
        match key_file::create(&self.key_path_of(call), call, keys.current(), self.random) {
            Ok((key, key_file)) => Ok(Created { file, key_file, key }),
            Err(error) => {
                // It is empty, and without a key it stays so.
                let _ = fs::remove_file(&path);
                Err(error)
            }
        }
    }

    /// A recording's key.
    pub(super) fn key_of(&self, call: CallId) -> Result<DataKey, KeyFileError> {
        key_file::open(&self.key_path_of(call), call, &self.keys())
    }

    /// Destroys key files that were written and never got their name.
    fn destroy_strays(&self) -> io::Result<u64> {
        let _lock = self.lock()?;
        let mut destroyed = 0;
        for entry in fs::read_dir(&self.directory)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            let stem = name.and_then(|name| name.split_once('.'));
            if let Some((digits, "key.new")) = stem
                && parse_id(digits).is_some()
            {
                key_file::destroy_stray(&path)?;
                destroyed += 1;
            }
        }
        Ok(destroyed)
    }

    /// Keeps other processes from replacing and destroying keys, until it is dropped.
    fn lock(&self) -> io::Result<File> {
        let directory = File::open(&self.directory)?;
        flock(&directory, FlockOperation::LockExclusive)?;
        Ok(directory)
    }
}

impl fmt::Debug for Archive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Archive").field("directory", &self.directory).finish_non_exhaustive()
    }
}

/// The one form in which files name calls.
fn parse_id(digits: &str) -> Option<CallId> {
    let is_ours = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    if digits.len() != ID_DIGITS || !digits.bytes().all(is_ours) {
        return None;
    }
    u128::from_str_radix(digits, 16).ok().map(CallId)
}

#[cfg(test)]
mod tests {
    use super::super::scratch::{Scratch, archive_in, kek};
    use super::*;

    const CALL: CallId = CallId(0xABC);

    #[test]
    fn names_are_the_call_ids() {
        let scratch = Scratch::new();
        let archive = scratch.archive();
        let name = "00000000000000000000000000000abc";
        assert_eq!(archive.path_of(CALL), scratch.path().join(format!("{name}.sotto-recording")));
        assert_eq!(archive.key_path_of(CALL), scratch.path().join(format!("{name}.key")));
        archive.create(CALL).ok().unwrap();
        archive.create(CallId(1)).ok().unwrap();
        fs::write(scratch.path().join("notes.txt"), b"x").unwrap();
        fs::write(scratch.path().join("ABC.key"), b"x").unwrap();
        assert_eq!(archive.calls().unwrap(), [CallId(1), CALL]);
    }

    #[test]
    fn erasing_leaves_nothing_and_can_be_said_twice() {
        let scratch = Scratch::new();
        let archive = scratch.archive();
        archive.create(CALL).ok().unwrap();
        assert!(archive.has(CALL) && archive.erase(CALL).unwrap());
        assert!(!archive.has(CALL) && !archive.erase(CALL).unwrap());
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_a_crash_left_half_done_is_completed() {
        let scratch = Scratch::new();
        let archive = scratch.archive();
        for call in 1..=4 {
            archive.create(CallId(call)).ok().unwrap();
        }
        // A creation that ended before its rename, two erasures that ended early, one untouched.
        fs::rename(
            archive.key_path_of(CallId(1)),
            key_file::temporary(&archive.key_path_of(CallId(1))),
        )
        .unwrap();
        fs::write(archive.key_path_of(CallId(2)), [0; 94]).unwrap();
        fs::remove_file(archive.key_path_of(CallId(3))).unwrap();
        let recovered = archive.recover().unwrap();
        assert_eq!(recovered, Recovered { strays: 1, erasures: 1, keyless: 2 });
        assert_eq!(archive.calls().unwrap(), [CallId(1), CallId(3), CallId(4)]);
        assert!(archive.key_of(CallId(4)).is_ok());
        let again = archive.recover().unwrap();
        assert_eq!(again, Recovered { keyless: 2, ..Recovered::default() });
    }

    #[test]
    fn new_keys_wrap_what_is_new_and_old_ones_still_open() {
        let scratch = Scratch::new();
        let archive = archive_in(scratch.path(), &[1]);
        archive.create(CallId(1)).ok().unwrap();
        archive.replace_keys(Keyring::new(vec![kek(2), kek(1)]).unwrap());
        archive.create(CallId(2)).ok().unwrap();
        let keks = [CallId(1), CallId(2)].map(|call| archive.kek_of(call).unwrap());
        assert_eq!(keks, [kek(1).id(), kek(2).id()]);
        assert!(archive.key_of(CallId(1)).is_ok() && archive.key_of(CallId(2)).is_ok());
        assert!(archive.rewrap(CallId(1)).unwrap() && !archive.rewrap(CallId(2)).unwrap());
        let without_the_old = archive_in(scratch.path(), &[2]);
        assert!(without_the_old.key_of(CallId(1)).is_ok());
    }
}
