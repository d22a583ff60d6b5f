//! KeyFile: the key that signs checkpoints, as PKCS#8 in a file that only its owner may read.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use ring::rand::SystemRandom;
use ring::signature::Ed25519KeyPair;
use zeroize::Zeroizing;

use crate::limits::MAX_KEY_FILE;
use crate::note::{LogName, SigningKey};

/// Why there is no key to sign with.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It can't be read or made.
    #[error("the signing key {path} of the audit log can't be used: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others may read it.
    #[error("the signing key {path} of the audit log can be read by others: chmod 600 {path}")]
    Open {
        /// The file.
        path: PathBuf,
    },
    /// It is no key.
    #[error(
        "{path} is no Ed25519 key as PKCS#8: bring back the one that this audit log began with"
    )]
    NotAKey {
        /// The file.
        path: PathBuf,
    },
    /// It is gone, but what it signed is not.
    #[error(
        "the signing key {path} is gone, but the audit log it signed is not: bring the key back, \
         or move the log away and begin another one"
    )]
    Lost {
        /// The file.
        path: PathBuf,
    },
    /// The system has no random numbers.
    #[error("the system gives no random numbers for the signing key of the audit log")]
    Random,
}

/// Reads a key.
///
/// # Errors
/// If it can't be read, is no key, or others may read it.
pub fn read(path: &Path, name: LogName) -> Result<SigningKey, KeyFileError> {
    let failed = |source| KeyFileError::Io { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(KeyFileError::Open { path: path.to_owned() });
    }
    let mut octets = Zeroizing::new(Vec::with_capacity(MAX_KEY_FILE as usize));
    file.take(MAX_KEY_FILE).read_to_end(&mut octets).map_err(failed)?;
    let pair = Ed25519KeyPair::from_pkcs8(&octets);
    let pair = pair.map_err(|_| KeyFileError::NotAKey { path: path.to_owned() })?;
    Ok(SigningKey::new(name, pair))
}

/// Makes a key, which gets its name only once it is on the disk whole.
///
/// # Errors
/// If the file is there already, or can't be written.
pub(crate) fn make(path: &Path, name: LogName) -> Result<SigningKey, KeyFileError> {
    let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new());
    let document = document.map_err(|_| KeyFileError::Random)?;
    let octets = Zeroizing::new(document.as_ref().to_vec());
    write(path, &octets).map_err(|source| KeyFileError::Io { path: path.to_owned(), source })?;
    read(path, name)
}

fn write(path: &Path, octets: &[u8]) -> io::Result<()> {
    if path.try_exists()? {
        return Err(ErrorKind::AlreadyExists.into());
    }
    let next = path.with_added_extension("new");
    // One that a crash left: it has signed nothing, since it never got its name.
    match fs::remove_file(&next) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&next)?;
    file.write_all(octets)?;
    file.sync_all()?;
    fs::rename(&next, path)?;
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::{Scratch, name};

    #[test]
    fn a_key_is_private_and_stays_the_same() {
        let scratch = Scratch::new();
        let path = scratch.path().join("signing-key");
        fs::write(path.with_added_extension("new"), b"half a key").unwrap();
        let made = make(&path, name()).ok().unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let again = read(&path, name()).ok().unwrap();
        assert_eq!(made.verifier(), again.verifier());
        assert!(make(&path, name()).is_err(), "a key is never replaced");
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_others_may_read_or_is_no_key_is_refused() {
        let scratch = Scratch::new();
        let path = scratch.path().join("signing-key");
        make(&path, name()).ok().unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(read(&path, name()).err().unwrap(), KeyFileError::Open { .. }));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let whole = fs::read(&path).unwrap();
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            let error = read(&path, name()).err().unwrap();
            assert!(matches!(error, KeyFileError::NotAKey { .. }), "{length} octets");
        }
        fs::remove_file(&path).unwrap();
        assert!(matches!(read(&path, name()).err().unwrap(), KeyFileError::Io { .. }));
    }
}
