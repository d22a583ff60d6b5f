//! KeyError: why keys could not be read, written or found.

use std::io;
use std::path::PathBuf;

use super::file::MAX_KEYS;
use crate::chance::NoRandom;

/// Why keys could not be read, written or found. It says what to do, and nothing of a key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file could not be opened, read or replaced.
    #[error("key file {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others than the owner may read or write the file.
    #[error("key file {path} must be readable by its owner only: chmod 600 {path}")]
    Exposed {
        /// The file.
        path: PathBuf,
    },
    /// The file is not what `sotto keys` writes.
    #[error(
        "key file {path} is damaged at line {line}: restore it, or remove it and make new keys"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where; 0 if it is not known.
        line: usize,
    },
    /// The file was there, and is gone.
    #[error("key file {path} is gone: restore it, or start anew to have no keys")]
    Gone {
        /// The file.
        path: PathBuf,
    },
    /// Keys are there, and what they were hashed with is not.
    #[error(
        "{pepper} is missing, without which no key of {path} can be verified: restore it, or \
         remove both and make new keys"
    )]
    NoPepper {
        /// The key file.
        path: PathBuf,
        /// The pepper's file.
        pepper: PathBuf,
    },
    /// No such key.
    #[error("there is no key with this id: sotto keys list tells them")]
    Unknown,
    /// No such role.
    #[error("there is no such role: roles are {0}; more can be made in the configuration")]
    UnknownRole(String),
    /// The key could do nothing.
    #[error("a key needs a role or a scope")]
    NoScope,
    /// The name is too long or has letters that logs and terminals could be confused by.
    #[error("a key's name has 1 to 64 letters, digits, spaces and .:@/+_-")]
    BadName,
    /// It would end before it begins, or has ended.
    #[error("a key must end after it begins, and after now")]
    BadTimes,
    /// Only what is over can be removed without force.
    #[error(
        "the key is in use: sotto keys revoke ends it at once; --force removes it all the same"
    )]
    InUse,
    /// What is over can't be made to go on.
    #[error("the key is over: make a new one with sotto keys add")]
    Over,
    /// Nobody could manage keys any more.
    #[error("this is the last key that manages keys: make another one first")]
    LastManager,
    /// The file holds as many keys as it may.
    #[error("the key file holds {MAX_KEYS} keys: remove one first")]
    Full,
    /// The system gave no random numbers.
    #[error(transparent)]
    NoRandom(#[from] NoRandom),
}
