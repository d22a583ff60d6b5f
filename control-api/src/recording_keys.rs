//! RecordingKeys: the key files that seal recordings, read, and made at a first start.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use relay::recording::keyring::KEY_OCTETS;
use relay::recording::{Keyring, KeyringError};
use zeroize::Zeroizing;

use crate::chance;
use crate::config::{RecordingKeyFiles, RecordingsConfig};

/// Why there are no keys to seal recordings with.
#[derive(Debug, thiserror::Error)]
pub enum RecordingKeyError {
    /// The keys can't be read.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// There is none, and who is reachable from outside does not get one by accident.
    #[error(
        "control.address {address} is reachable from outside, but there is no key to seal \
         recordings with: make one with (umask 077; openssl rand -base64 32 > {path}), or say \
         recordings.enabled = false"
    )]
    None {
        /// The address.
        address: SocketAddr,
        /// Where the key is looked for.
        path: PathBuf,
    },
    /// It is gone, but what it sealed is not.
    #[error(
        "the key {path} is gone, and {directory} holds recordings that were sealed: bring it back, \
         or name another key in recordings.key_files and give those recordings up"
    )]
    Lost {
        /// Where the key was.
        path: PathBuf,
        /// The recordings.
        directory: PathBuf,
    },
    /// A key can't be made.
    #[error("recording key {path} cannot be made: {source}")]
    NotMade {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Reads the keys.
///
/// # Errors
/// If one of them can't be read.
pub fn read(files: &RecordingKeyFiles) -> Result<Keyring, RecordingKeyError> {
    Ok(match files {
        RecordingKeyFiles::Given(paths) => Keyring::read(paths)?,
        RecordingKeyFiles::Own(path) => Keyring::read(std::slice::from_ref(path))?,
    })
}

/// Reads the keys. Where the configuration names none, a first start on loopback makes one.
///
/// # Errors
/// If they can't be read, or none can be made.
pub fn read_or_make(
    recordings: &RecordingsConfig,
    address: SocketAddr,
) -> Result<Keyring, RecordingKeyError> {
    match &recordings.keys {
        RecordingKeyFiles::Own(path) if !path.exists() => {
            let path = path.clone();
            if holds_keys(&recordings.directory) {
                let directory = recordings.directory.clone();
                return Err(RecordingKeyError::Lost { path, directory });
            }
            if !address.ip().is_loopback() {
                return Err(RecordingKeyError::None { address, path });
            }
            make(&path).map_err(|source| RecordingKeyError::NotMade { path, source })?;
        }
        RecordingKeyFiles::Own(_) | RecordingKeyFiles::Given(_) => {}
    }
    read(&recordings.keys)
}

/// Whether a directory holds recordings' own keys, which only the key that is gone unwraps.
fn holds_keys(directory: &Path) -> bool {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| entry.path().extension().is_some_and(|it| it == "key"))
}

/// Makes a key file, which gets its name only once it is on the disk whole.
fn make(path: &Path) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let mut octets = Zeroizing::new([0; KEY_OCTETS]);
    chance::fill(&mut octets[..])?;
    let mut text = Zeroizing::new(BASE64_STANDARD.encode(&octets[..]));
    text.push('\n');
    let next = path.with_extension("new");
    match fs::remove_file(&next) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&next)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&next, path)?;
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_first_start_on_loopback_makes_one_key_and_keeps_it() {
        let (state, recordings) = scratch("first");
        let path = state.join("recordings.kek");
        let made = read_or_make(&recordings, local()).ok().unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let again = read_or_make(&recordings, local()).ok().unwrap();
        assert_eq!(made.current().id(), again.current().id());
        assert_eq!(fs::read_dir(&state).unwrap().count(), 1);
    }

    #[test]
    fn no_key_is_made_where_others_reach_or_over_one_that_is_lost() {
        let (state, recordings) = scratch("refused");
        let outside = "192.0.2.1:443".parse().unwrap();
        let refused = read_or_make(&recordings, outside).err().unwrap();
        assert!(matches!(refused, RecordingKeyError::None { .. }), "{refused}");
        fs::create_dir_all(&recordings.directory).unwrap();
        fs::write(recordings.directory.join("0.key"), b"x").unwrap();
        let lost = read_or_make(&recordings, local()).err().unwrap();
        assert!(matches!(lost, RecordingKeyError::Lost { .. }), "{lost}");
        assert!(!state.join("recordings.kek").exists());
        for error in [refused, lost] {
            assert_eq!(error.to_string().lines().count(), 1);
        }
    }

    fn local() -> SocketAddr {
        "127.0.0.1:8080".parse().unwrap()
    }

    fn scratch(name: &str) -> (PathBuf, RecordingsConfig) {
        let name = format!("sotto-recording-keys-{name}-{}", std::process::id());
        let state = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&state);
        let keys = RecordingKeyFiles::Own(state.join("recordings.kek"));
        let directory = state.join("recordings");
        (state, RecordingsConfig { directory, keys, retain: None })
    }
}
