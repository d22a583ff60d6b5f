//! FileSecret: a secret read from a file that only its owner can read.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// Mode bits that let anyone but the owner at the file.
const OTHERS: u32 = 0o077;
/// Longest secret; an RSA key of 4096 bits in PEM has 3.3 kB.
const MAX_LEN: u64 = 16 * 1024;

/// A secret from a file, without the white space at its end. It has no `Debug` and is wiped when
/// dropped.
#[derive(Clone)]
pub struct FileSecret(Zeroizing<String>);

/// Why a file with a secret could not be read. Nothing of the file is repeated.
#[derive(Debug, thiserror::Error)]
pub enum FileSecretError {
    /// The system refused.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others may read it.
    #[error("{path} must be readable by its owner only: chmod 600 {path}")]
    Exposed {
        /// The file.
        path: PathBuf,
    },
    /// It holds nothing, too much, or what is not text.
    #[error("{path} must hold text, of {MAX_LEN} octets at most")]
    NotText {
        /// The file.
        path: PathBuf,
    },
}

impl FileSecret {
    /// Reads a file.
    ///
    /// # Errors
    /// If it can't be read, or others than its owner could read it.
    pub fn read(path: &Path) -> Result<FileSecret, FileSecretError> {
        let failed = |source| FileSecretError::Io { path: path.to_owned(), source };
        let not_text = || FileSecretError::NotText { path: path.to_owned() };
        let file = fs::File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if metadata.mode() & OTHERS != 0 {
            return Err(FileSecretError::Exposed { path: path.to_owned() });
        }
        if metadata.len() > MAX_LEN {
            return Err(not_text());
        }
        // Room for all of it at once: a buffer that grows leaves copies behind.
        let mut octets = Zeroizing::new(Vec::with_capacity(MAX_LEN as usize));
        file.take(MAX_LEN).read_to_end(&mut octets).map_err(failed)?;
        let text = std::str::from_utf8(&octets).map_err(|_| not_text())?.trim_end();
        if text.is_empty() {
            return Err(not_text());
        }
        Ok(FileSecret(Zeroizing::new(text.to_owned())))
    }

    /// The secret.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::{FileSecret, FileSecretError};

    #[test]
    fn a_secret_is_read_from_a_private_file_only() {
        let path = std::env::temp_dir().join(format!("sotto-secret-{}", std::process::id()));
        fs::write(&path, "s3cret\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(FileSecret::read(&path).is_ok_and(|secret| secret.reveal() == "s3cret"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(FileSecret::read(&path), Err(FileSecretError::Exposed { .. })));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, " \n").unwrap();
        assert!(matches!(FileSecret::read(&path), Err(FileSecretError::NotText { .. })));
        fs::remove_file(&path).unwrap();
        assert!(matches!(FileSecret::read(&path), Err(FileSecretError::Io { .. })));
    }
}
