//! Keyring: the key-encryption keys, under which every recording's own key lies wrapped.
//!
//! A key is a file that holds 32 random octets as one line of hexadecimal or base64, readable by
//! its owner alone. Its id is derived from it, so a renamed file is still the same key, and no two
//! keys share an id. The first key of a ring wraps what is new; all of them unwrap.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD};
use ring::aead::{AES_256_GCM, LessSafeKey, UnboundKey};
use ring::digest::{Context, SHA256};
use zeroize::{Zeroize, Zeroizing};

/// Octets of a key: AES-256.
pub const KEY_OCTETS: usize = 32;
/// Octets of a key's id: two keys of one ring never share 64 bits by chance.
pub const KEK_ID_OCTETS: usize = 8;
/// Keys of one ring: the current one, and those whose recordings are still to be rewrapped.
pub const MAX_KEYS: usize = 16;
/// Longest key file that is read: 64 hexadecimal digits, and room for white space.
const MAX_TEXT: usize = 128;
/// Mode bits that let anyone but the owner at the file.
const OTHERS: u32 = 0o077;
/// Keeps ids apart from any other hash of the same octets.
const ID_LABEL: &[u8] = b"sotto key-encryption key\0";

/// A key's public name: the first octets of a labelled SHA-256 of the key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct KekId(pub [u8; KEK_ID_OCTETS]);

/// One key-encryption key. Deliberately without `Debug`; wiped when dropped.
pub struct KeyEncryptionKey {
    id: KekId,
    octets: Zeroizing<[u8; KEY_OCTETS]>,
}

/// The keys of a relay, the current one first.
pub struct Keyring(Vec<KeyEncryptionKey>);

/// Why keys cannot be used. Names files, never what is in them.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// The file cannot be opened or read.
    #[error("recording key {path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others than the owner may read or write the file.
    #[error("recording key {path} must be readable by its owner only: chmod 600 {path}")]
    Exposed {
        /// The file.
        path: PathBuf,
    },
    /// The file belongs to somebody else, who could exchange it.
    #[error("recording key {path} must belong to the user who runs sotto, or to root: chown it")]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The file is not one key.
    #[error(
        "recording key {path} must hold 32 random octets in base64 or hexadecimal, and nothing \
         else: make one with openssl rand -base64 32"
    )]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// No file, too many, or one key twice.
    #[error("recordings.key_files must name 1 to {MAX_KEYS} files with different keys")]
    Number,
}

impl KeyEncryptionKey {
    /// The key of these octets, which are wiped.
    #[must_use]
    pub fn new(octets: &mut [u8; KEY_OCTETS]) -> KeyEncryptionKey {
        let kept = Zeroizing::new(*octets);
        octets.zeroize();
        let mut context = Context::new(&SHA256);
        context.update(ID_LABEL);
        context.update(&kept[..]);
        let mut id = [0; KEK_ID_OCTETS];
        id.copy_from_slice(&context.finish().as_ref()[..KEK_ID_OCTETS]);
        KeyEncryptionKey { id: KekId(id), octets: kept }
    }

    /// Reads a key from its file.
    ///
    /// # Errors
    /// If the file cannot be read, belongs to somebody else than us or root, is open to others
    /// than its owner, or holds anything but one key.
    pub fn read(path: &Path) -> Result<KeyEncryptionKey, KeyringError> {
        let owned = || path.to_owned();
        let failed = |source| KeyringError::Unreadable { path: owned(), source };
        let mut file = File::open(path).map_err(failed)?;
        // Of what was opened, not of what the name leads to by now.
        let metadata = file.metadata().map_err(failed)?;
        if metadata.mode() & OTHERS != 0 {
            return Err(KeyringError::Exposed { path: owned() });
        }
        if metadata.uid() != 0 && metadata.uid() != rustix::process::geteuid().as_raw() {
            return Err(KeyringError::Foreign { path: owned() });
        }
        let mut text = Zeroizing::new([0; MAX_TEXT]);
        let mut length = 0;
        while length < MAX_TEXT {
            match file.read(&mut text[length..]).map_err(failed)? {
                0 => break,
                read => length += read,
            }
        }
        let octets = (length < MAX_TEXT).then(|| parse(&text[..length])).flatten();
        let mut octets = octets.ok_or_else(|| KeyringError::Malformed { path: owned() })?;
        Ok(KeyEncryptionKey::new(&mut octets))
    }

    /// The key's public name.
    #[must_use]
    pub fn id(&self) -> KekId {
        self.id
    }

    /// The key, ready to wrap and unwrap.
    pub(super) fn cipher(&self) -> LessSafeKey {
        cipher_of(&self.octets)
    }
}

/// AES-256-GCM under a key of the right length, which its type ensures.
pub(super) fn cipher_of(octets: &[u8; KEY_OCTETS]) -> LessSafeKey {
    let key = UnboundKey::new(&AES_256_GCM, octets).expect("AES-256 takes 32 octets");
    LessSafeKey::new(key)
}

impl Keyring {
    /// A ring of keys, the current one first.
    ///
    /// # Errors
    /// If there is none, there are more than [`MAX_KEYS`], or one stands twice.
    pub fn new(keys: Vec<KeyEncryptionKey>) -> Result<Keyring, KeyringError> {
        let repeats = |(at, key): (usize, &KeyEncryptionKey)| {
            keys[..at].iter().any(|before| before.id == key.id)
        };
        if keys.is_empty() || keys.len() > MAX_KEYS || keys.iter().enumerate().any(repeats) {
            return Err(KeyringError::Number);
        }
        Ok(Keyring(keys))
    }

    /// Reads a ring from its files, the current one first.
    ///
    /// # Errors
    /// As [`KeyEncryptionKey::read`] and [`Keyring::new`].
    pub fn read(paths: &[PathBuf]) -> Result<Keyring, KeyringError> {
        if paths.len() > MAX_KEYS {
            return Err(KeyringError::Number);
        }
        let keys: Result<_, _> = paths.iter().map(|path| KeyEncryptionKey::read(path)).collect();
        Keyring::new(keys?)
    }

    /// The key that wraps what is new.
    #[must_use]
    pub fn current(&self) -> &KeyEncryptionKey {
        // A ring has at least one key.
        &self.0[0]
    }

    /// The key of that id, if the ring has it.
    #[must_use]
    pub fn find(&self, id: KekId) -> Option<&KeyEncryptionKey> {
        self.0.iter().find(|key| key.id == id)
    }
}

impl fmt::Display for KekId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

/// 32 octets in hexadecimal or base64, with or without its padding.
fn parse(text: &[u8]) -> Option<[u8; KEY_OCTETS]> {
    let text = text.trim_ascii();
    let mut octets = [0; KEY_OCTETS];
    if text.len() == 2 * KEY_OCTETS {
        for (octet, digits) in octets.iter_mut().zip(text.chunks_exact(2)) {
            let digit = |at: usize| char::from(digits[at]).to_digit(16);
            *octet = (digit(0)? << 4 | digit(1)?) as u8;
        }
    } else {
        let engine = if text.ends_with(b"=") { &BASE64_STANDARD } else { &BASE64_STANDARD_NO_PAD };
        // Decoding into a slice asks for a little more room than it fills.
        let mut decoded = Zeroizing::new([0; KEY_OCTETS + 3]);
        if engine.decode_slice(text, &mut decoded[..]) != Ok(KEY_OCTETS) {
            return None;
        }
        octets.copy_from_slice(&decoded[..KEY_OCTETS]);
    }
    // Nothing random repeats one octet; a forgotten placeholder does.
    octets.iter().any(|octet| *octet != octets[0]).then_some(octets)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::super::scratch::{Scratch, kek};
    use super::*;

    const HEX: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

    #[test]
    fn the_same_octets_are_the_same_key_in_every_spelling() {
        let scratch = Scratch::new();
        let base64 = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        let spellings = [
            HEX.to_owned(),
            format!("  {}\n\n", HEX.to_uppercase()),
            format!("{base64}\n"),
            base64.trim_end_matches('=').to_owned(),
        ];
        let ids = spellings.map(|text| read(&scratch, &text, 0o600).unwrap().id());
        assert!(ids.iter().all(|id| *id == ids[0]));
        assert_eq!(ids[0].to_string().len(), 2 * KEK_ID_OCTETS);
        assert_ne!(kek(1).id(), kek(2).id());
    }

    #[test]
    fn what_is_no_key_is_refused_without_being_repeated() {
        let scratch = Scratch::new();
        let short = &HEX[2..];
        let same = "7".repeat(64);
        let long = format!("{HEX}{}", " ".repeat(MAX_TEXT));
        let wrong_digit = HEX.replace('f', "g");
        for text in ["", "\n", short, &same, &long, &wrong_digit, "AAEC", &format!("{HEX}00")] {
            let error = read(&scratch, text, 0o600).err().unwrap();
            assert!(matches!(error, KeyringError::Malformed { .. }), "{text}: {error}");
            assert!(text.len() < 4 || !error.to_string().contains(text.trim()));
        }
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let scratch = Scratch::new();
        for mode in [0o640, 0o604, 0o620, 0o610] {
            let error = read(&scratch, HEX, mode).err().unwrap();
            assert!(matches!(error, KeyringError::Exposed { .. }), "{mode:o}: {error}");
        }
        assert!(read(&scratch, HEX, 0o400).is_ok());
    }

    #[test]
    fn a_ring_has_different_keys_and_a_bounded_number() {
        assert!(matches!(Keyring::new(vec![]), Err(KeyringError::Number)));
        assert!(matches!(Keyring::new(vec![kek(1), kek(1)]), Err(KeyringError::Number)));
        let many = (0..=MAX_KEYS as u8).map(kek).collect();
        assert!(matches!(Keyring::new(many), Err(KeyringError::Number)));
        let ring = Keyring::new(vec![kek(2), kek(1)]).unwrap();
        assert_eq!(ring.current().id(), kek(2).id());
        assert!(ring.find(kek(1).id()).is_some() && ring.find(kek(3).id()).is_none());
    }

    fn read(scratch: &Scratch, text: &str, mode: u32) -> Result<KeyEncryptionKey, KeyringError> {
        let path = scratch.path().join("kek");
        let _ = fs::remove_file(&path);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        KeyEncryptionKey::read(&path)
    }
}
