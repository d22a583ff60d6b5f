//! Keys: who may call the API, kept as hashes in a file that only its owner reads.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use crate::chance;

/// What every key begins with, so that scanners for leaked secrets know one.
const TOKEN_PREFIX: &str = "sto_";
/// Octets of a key's id; it is no secret.
const ID_OCTETS: usize = 6;
/// Octets of a key's secret: 256 bits can't be guessed, so a plain hash is enough to keep it.
const SECRET_OCTETS: usize = 32;
/// Octets of a hash.
pub(crate) const HASH_OCTETS: usize = 32;
/// Keys one file may hold.
const MAX_KEYS: usize = 1000;
/// Mode bits that let anyone but the owner at the file.
const OTHERS: u32 = 0o077;

/// What a key is for; each role is a set of scopes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, clap::ValueEnum, Hash)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// People: every scope but that of fetching sealed data.
    Operator,
    /// The program that runs the dialogue: calls, and secure sessions with their details.
    Script,
    /// The AI engine: it may enter a secure session, and learns pass or fail.
    Engine,
    /// The merchant's payment system: it may fetch sealed data, and nothing else.
    Payment,
}

/// One thing a key may be allowed to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// Open, read, change and end calls.
    Calls,
    /// Hang up, which does not end a secure session.
    HangUp,
    /// Enter a secure session and learn how it ended.
    SecureEnter,
    /// Read which field is in progress, and why an attempt failed.
    SecureRead,
    /// End a secure session early; read quantised progress.
    SecureCancel,
    /// Hear and erase recordings.
    Recordings,
    /// Fetch sealed data, once. No other role has it, the operator's neither: whoever may run the
    /// relay need not hold what it sealed, and a copy fetched by the wrong hands is noticed because
    /// the right ones find it gone.
    SealedFetch,
    /// See which webhooks wait or were given up, and send them again.
    Webhooks,
    /// See what was done by which key.
    Activity,
}

impl Role {
    /// All roles.
    pub const ALL: [Role; 4] = [Role::Operator, Role::Script, Role::Engine, Role::Payment];

    /// What the role may do; all else is denied.
    #[must_use]
    pub const fn scopes(self) -> &'static [Scope] {
        match self {
            Role::Operator => &[
                Scope::Calls,
                Scope::HangUp,
                Scope::SecureEnter,
                Scope::SecureRead,
                Scope::SecureCancel,
                Scope::Recordings,
                Scope::Webhooks,
                Scope::Activity,
            ],
            Role::Script => &[Scope::Calls, Scope::HangUp, Scope::SecureEnter, Scope::SecureRead],
            Role::Engine => &[Scope::HangUp, Scope::SecureEnter],
            Role::Payment => &[Scope::SealedFetch],
        }
    }

    /// Whether the role has `scope`.
    #[must_use]
    pub fn allows(self, scope: Scope) -> bool {
        self.scopes().contains(&scope)
    }

    /// The word used in files and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Role::Operator => "operator",
            Role::Script => "script",
            Role::Engine => "engine",
            Role::Payment => "payment",
        }
    }
}

/// A key's public name.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct KeyId(String);

impl KeyId {
    #[cfg(test)]
    pub(crate) fn new(id: &str) -> KeyId {
        KeyId(id.to_owned())
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Who makes a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Principal {
    /// The key used.
    pub key: KeyId,
    /// What it is for.
    pub role: Role,
}

/// A whole new key, to be shown once; it has no `Debug` and is not kept.
pub struct Token(String);

impl Token {
    /// The text to send after `Authorization: Bearer`.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

/// Why keys could not be read, written or found.
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
    #[error("key file {path} is damaged at line {line}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where.
        line: usize,
    },
    /// No such key.
    #[error("there is no key with this id")]
    Unknown,
    /// The file holds as many keys as it may.
    #[error("the key file holds {MAX_KEYS} keys: remove one first")]
    Full,
    /// The system gave no random numbers.
    #[error("the system gave no random numbers")]
    NoRandom,
}

/// One key as it is kept.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRecord {
    /// Its public name.
    pub id: KeyId,
    /// What it is for.
    pub role: Role,
    /// When it was made.
    pub created_at: String,
    secret_sha256: String,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    keys: Vec<KeyRecord>,
}

/// The file that keeps the keys.
pub struct KeyFile {
    path: PathBuf,
    contents: Contents,
}

impl KeyFile {
    /// Reads the file; one that is not there holds no keys.
    ///
    /// # Errors
    /// If the file can't be read, is damaged, or is open to others than its owner.
    pub fn open(path: &Path) -> Result<KeyFile, KeyError> {
        let failed = |source| KeyError::Io { path: path.to_owned(), source };
        let text = match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(KeyFile { path: path.to_owned(), contents: Contents::default() });
            }
            Err(error) => return Err(failed(error)),
            Ok(metadata) if metadata.mode() & OTHERS != 0 => {
                return Err(KeyError::Exposed { path: path.to_owned() });
            }
            Ok(_) => fs::read_to_string(path).map_err(failed)?,
        };
        let contents: Contents = serde_json::from_str(&text)
            .map_err(|error| KeyError::Damaged { path: path.to_owned(), line: error.line() })?;
        Ok(KeyFile { path: path.to_owned(), contents })
    }

    /// The keys, oldest first.
    #[must_use]
    pub fn records(&self) -> &[KeyRecord] {
        &self.contents.keys
    }

    /// Makes a key and keeps its hash. The token is given out here and never again.
    ///
    /// # Errors
    /// If the file is full or can't be written.
    pub fn add(&mut self, role: Role, created_at: String) -> Result<(KeyId, Token), KeyError> {
        if self.contents.keys.len() >= MAX_KEYS {
            return Err(KeyError::Full);
        }
        let id: [u8; ID_OCTETS] = chance::octets().map_err(|_| KeyError::NoRandom)?;
        let secret: [u8; SECRET_OCTETS] = chance::octets().map_err(|_| KeyError::NoRandom)?;
        let (id, secret) = (KeyId(hex(&id)), hex(&secret));
        self.contents.keys.push(KeyRecord {
            id: id.clone(),
            role,
            created_at,
            secret_sha256: BASE64_STANDARD.encode(hash(&secret)),
        });
        self.save()?;
        let token = Token(format!("{TOKEN_PREFIX}{}_{secret}", id.as_str()));
        Ok((id, token))
    }

    /// Forgets a key.
    ///
    /// # Errors
    /// If there is none of that id, or the file can't be written.
    pub fn remove(&mut self, id: &str) -> Result<(), KeyError> {
        let before = self.contents.keys.len();
        self.contents.keys.retain(|record| record.id.as_str() != id);
        if self.contents.keys.len() == before {
            return Err(KeyError::Unknown);
        }
        self.save()
    }

    /// The keys, ready to verify tokens with.
    ///
    /// # Errors
    /// If a hash is damaged.
    pub fn table(&self) -> Result<KeyTable, KeyError> {
        let mut keys = HashMap::with_capacity(self.contents.keys.len());
        for record in &self.contents.keys {
            let hash = BASE64_STANDARD
                .decode(&record.secret_sha256)
                .ok()
                .and_then(|octets| <[u8; HASH_OCTETS]>::try_from(octets).ok())
                .ok_or_else(|| KeyError::Damaged { path: self.path.clone(), line: 0 })?;
            keys.insert(record.id.clone(), Kept { role: record.role, hash });
        }
        let nobody = chance::octets().map_err(|_| KeyError::NoRandom)?;
        Ok(KeyTable { keys, nobody })
    }

    /// Replaces the file in one step, so that a crash leaves the old one or the new one.
    fn save(&self) -> Result<(), KeyError> {
        let failed = |source| KeyError::Io { path: self.path.clone(), source };
        if let Some(directory) = self.path.parent() {
            fs::create_dir_all(directory).map_err(failed)?;
        }
        let next = self.path.with_extension("new");
        // One left over by a crash may have any mode; the new one must have ours.
        match fs::remove_file(&next) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            Ok(()) | Err(_) => {}
        }
        let text = serde_json::to_string_pretty(&self.contents).map_err(|e| failed(e.into()))?;
        let mut file = create_private(&next).map_err(failed)?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
        fs::rename(&next, &self.path).map_err(failed)
    }
}

/// Verifies tokens.
pub struct KeyTable {
    keys: HashMap<KeyId, Kept>,
    nobody: [u8; HASH_OCTETS],
}

struct Kept {
    role: Role,
    hash: [u8; HASH_OCTETS],
}

impl KeyTable {
    /// Whether no request can ever be let in.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether a key that was verified is still valid, and for the same role.
    #[must_use]
    pub fn still_admits(&self, principal: &Principal) -> bool {
        self.keys.get(&principal.key).is_some_and(|kept| kept.role == principal.role)
    }

    /// Whose token it is, if it is a valid one.
    ///
    /// The id is public; the secret is hashed and compared in constant time, and against a hash
    /// of nothing for an unknown id, so that the time taken tells neither.
    #[must_use]
    pub fn verify(&self, token: &str) -> Option<Principal> {
        let parts = token.strip_prefix(TOKEN_PREFIX).and_then(|rest| rest.split_once('_'));
        let (id, secret) = parts.unwrap_or(("", token));
        let id = KeyId(id.to_owned());
        let kept = self.keys.get(&id);
        let expected = kept.map_or(&self.nobody, |kept| &kept.hash);
        let same: bool = hash(secret).ct_eq(expected).into();
        match kept {
            Some(kept) if same => Some(Principal { key: id, role: kept.role }),
            Some(_) | None => None,
        }
    }
}

pub(crate) fn hash(secret: &str) -> [u8; HASH_OCTETS] {
    let mut octets = [0; HASH_OCTETS];
    octets.copy_from_slice(digest(&SHA256, secret.as_bytes()).as_ref());
    octets
}

pub(crate) fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::{KeyError, KeyFile, Role};

    fn scratch(name: &str) -> std::path::PathBuf {
        let directory = std::env::temp_dir().join(format!("sotto-keys-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let path = directory.join(name);
        let _ = fs::remove_file(&path);
        path
    }

    #[test]
    fn a_key_opens_and_its_removal_closes() {
        let path = scratch("open.json");
        let mut file = KeyFile::open(&path).unwrap();
        let (id, token) = file.add(Role::Script, String::new()).unwrap();
        let again = KeyFile::open(&path).unwrap();
        let principal = again.table().unwrap().verify(token.reveal()).unwrap();
        assert_eq!((&principal.key, principal.role), (&id, Role::Script));

        file.remove(id.as_str()).unwrap();
        let table = KeyFile::open(&path).unwrap().table().unwrap();
        assert!(table.is_empty() && table.verify(token.reveal()).is_none());
        assert!(matches!(file.remove(id.as_str()), Err(KeyError::Unknown)));
    }

    #[test]
    fn the_file_holds_no_secret_and_is_private() {
        let path = scratch("private.json");
        let mut file = KeyFile::open(&path).unwrap();
        let (_, token) = file.add(Role::Engine, String::new()).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let secret = token.reveal().rsplit('_').next().unwrap();
        assert!(!text.contains(secret) && !text.contains(&secret[..16]));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(KeyFile::open(&path), Err(KeyError::Exposed { .. })));
    }

    #[test]
    fn nothing_but_the_whole_token_is_let_in() {
        let path = scratch("whole.json");
        let mut file = KeyFile::open(&path).unwrap();
        let (id, token) = file.add(Role::Operator, String::new()).unwrap();
        let (_, other) = file.add(Role::Operator, String::new()).unwrap();
        let table = file.table().unwrap();
        let whole = token.reveal();
        let other_secret = other.reveal().rsplit('_').next().unwrap();
        let swapped = format!("sto_{}_{other_secret}", id.as_str());
        let upper = whole.to_uppercase();
        let longer = format!("{whole}0");
        for wrong in ["", "sto_", "sto__", &whole[4..], &whole[..whole.len() - 1], &upper] {
            assert!(table.verify(wrong).is_none(), "{wrong}");
        }
        assert!(table.verify(&swapped).is_none() && table.verify(&longer).is_none());
        assert!(table.verify(whole).is_some());
    }
}
