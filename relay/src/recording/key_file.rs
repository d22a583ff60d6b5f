//! KeyFile: one recording's own key, wrapped, in a small file beside the recording.
//!
//! ```text
//! magic "SOTTOKEY" | version u16 | call id u128 | KEK id 8 | nonce 12 | wrapped key 32 | tag 16
//! ```
//!
//! Integers are big-endian. The wrapping is AES-256-GCM (NIST SP 800-38D) under the
//! key-encryption key with that id; everything before the nonce is its associated data, so that a
//! key serves no other call. Another key-encryption key replaces the file in one step, and without
//! the file nobody reads the recording: to erase is to destroy it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use ring::aead::{Aad, LessSafeKey, NONCE_LEN, Nonce};
use zeroize::{Zeroize, Zeroizing};

use super::keyring::{KEK_ID_OCTETS, KEY_OCTETS, KekId, KeyEncryptionKey, Keyring, cipher_of};
use crate::switchboard::CallId;

/// Fills a slice with octets that nobody can predict. An argument, as time is: the system's are
/// read by the owner of the process. Each key is drawn anew, so that no state is left from which
/// an erased one could be computed again.
pub type Random = fn(&mut [u8]) -> io::Result<()>;

/// Octets of an authentication tag.
pub const TAG: usize = 16;

const MAGIC: [u8; 8] = *b"SOTTOKEY";
const VERSION: [u8; 2] = 1_u16.to_be_bytes();
const KEK_AT: usize = MAGIC.len() + VERSION.len() + 16;
const NONCE_AT: usize = KEK_AT + KEK_ID_OCTETS;
const KEY_AT: usize = NONCE_AT + NONCE_LEN;
const LENGTH: usize = KEY_AT + KEY_OCTETS + TAG;

/// The key of one recording. Deliberately without `Debug`.
///
/// A nonce is the chunk's sequence number, which never repeats under one key.
pub struct DataKey(LessSafeKey);

/// Why a recording's key cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// There is none, or what is left of one: the recording was erased.
    #[error("the recording has no key: it was erased")]
    Erased,
    /// The key-encryption key is not in the ring.
    #[error("the recording's key is wrapped under {0}, which recordings.key_files does not hold")]
    UnknownKek(KekId),
    /// Not what was written: damaged, altered, or another call's.
    #[error("the recording's key file is damaged or altered")]
    Altered,
    /// The file cannot be read or replaced.
    #[error("the recording's key file cannot be used: {0}")]
    Io(#[from] io::Error),
}

impl DataKey {
    pub(super) fn new(octets: &[u8; KEY_OCTETS]) -> DataKey {
        DataKey(cipher_of(octets))
    }

    /// Seals in place and returns the tag.
    pub(super) fn seal(
        &self,
        sequence: u32,
        associated: &[u8],
        text: &mut [u8],
    ) -> Option<[u8; TAG]> {
        let aad = Aad::from(associated);
        let tag = self.0.seal_in_place_separate_tag(nonce_of(sequence), aad, text).ok()?;
        tag.as_ref().try_into().ok()
    }

    /// Opens ciphertext and tag in place; `None` if it was not sealed so.
    pub(super) fn open<'a>(
        &self,
        sequence: u32,
        associated: &[u8],
        sealed: &'a mut [u8],
    ) -> Option<&'a mut [u8]> {
        self.0.open_in_place(nonce_of(sequence), Aad::from(associated), sealed).ok()
    }
}

fn nonce_of(sequence: u32) -> Nonce {
    let mut nonce = [0; NONCE_LEN];
    nonce[NONCE_LEN - 4..].copy_from_slice(&sequence.to_be_bytes());
    Nonce::assume_unique_for_key(nonce)
}

/// Makes a recording's key and its file, which gets its name only once it is whole. The file is
/// returned so that it can be synced together with what it opens.
pub(super) fn create(
    path: &Path,
    call: CallId,
    kek: &KeyEncryptionKey,
    random: Random,
) -> io::Result<(DataKey, File)> {
    if path.try_exists()? {
        return Err(ErrorKind::AlreadyExists.into());
    }
    let mut octets = Zeroizing::new([0; KEY_OCTETS]);
    random(&mut octets[..])?;
    let wrapped = wrap(&octets, call, kek, random)?;
    let file = write_new(&temporary(path), &wrapped)?;
    fs::rename(temporary(path), path)?;
    Ok((DataKey::new(&octets), file))
}

/// Reads a recording's key.
pub(super) fn open(path: &Path, call: CallId, keys: &Keyring) -> Result<DataKey, KeyFileError> {
    let octets = unwrap(&read(path)?, call, keys)?;
    Ok(DataKey::new(&octets))
}

/// The id of the key under which a recording's key is wrapped, as its file says.
pub(super) fn kek_of(path: &Path) -> Result<KekId, KeyFileError> {
    Ok(kek_id(&read(path)?))
}

/// Wraps a recording's key under the current key, replacing its file in one step; false if it is
/// so already.
pub(super) fn rewrap(
    path: &Path,
    call: CallId,
    keys: &Keyring,
    random: Random,
) -> Result<bool, KeyFileError> {
    let mut before = OpenOptions::new().read(true).write(true).open(path).map_err(not_found)?;
    let wrapped = read_from(&mut before)?;
    let octets = unwrap(&wrapped, call, keys)?;
    if kek_id(&wrapped) == keys.current().id() {
        return Ok(false);
    }
    let next = wrap(&octets, call, keys.current(), random)?;
    destroy_file(&temporary(path))?;
    write_new(&temporary(path), &next)?.sync_all()?;
    fs::rename(temporary(path), path)?;
    sync_directory(path)?;
    // Only now: the file that has lost its name is of no more use.
    overwrite(&mut before)?;
    Ok(true)
}

/// Destroys a recording's key: false if there was none.
///
/// Overwriting reaches the medium where the file system writes in place. Where it does not, as on
/// flash, what is left is a key that is still wrapped.
pub(super) fn destroy(path: &Path) -> io::Result<bool> {
    let left_over = destroy_file(&temporary(path))?;
    let destroyed = destroy_file(path)?;
    if destroyed || left_over {
        sync_directory(path)?;
    }
    Ok(destroyed)
}

/// Destroys a file that was to become a key file.
pub(super) fn destroy_stray(path: &Path) -> io::Result<()> {
    destroy_file(path).map(drop)
}

/// Where a key file is written before it gets its name.
pub(super) fn temporary(path: &Path) -> PathBuf {
    path.with_extension("key.new")
}

/// Makes a file's name, or the lack of it, outlast a power cut.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

fn wrap(
    octets: &[u8; KEY_OCTETS],
    call: CallId,
    kek: &KeyEncryptionKey,
    random: Random,
) -> io::Result<[u8; LENGTH]> {
    let mut file = [0; LENGTH];
    file[..MAGIC.len()].copy_from_slice(&MAGIC);
    file[MAGIC.len()..][..2].copy_from_slice(&VERSION);
    file[KEK_AT - 16..KEK_AT].copy_from_slice(&call.0.to_be_bytes());
    file[KEK_AT..NONCE_AT].copy_from_slice(&kek.id().0);
    let mut nonce = [0; NONCE_LEN];
    random(&mut nonce)?;
    file[NONCE_AT..KEY_AT].copy_from_slice(&nonce);
    file[KEY_AT..KEY_AT + KEY_OCTETS].copy_from_slice(octets);
    let (head, rest) = file.split_at_mut(NONCE_AT);
    let (key, tag) = rest[NONCE_LEN..].split_at_mut(KEY_OCTETS);
    let nonce = Nonce::assume_unique_for_key(nonce);
    match kek.cipher().seal_in_place_separate_tag(nonce, Aad::from(&*head), key) {
        Ok(sealed) => tag.copy_from_slice(sealed.as_ref()),
        Err(error) => {
            file.zeroize();
            return Err(io::Error::other(error.to_string()));
        }
    }
    Ok(file)
}

fn unwrap(
    file: &[u8; LENGTH],
    call: CallId,
    keys: &Keyring,
) -> Result<Zeroizing<[u8; KEY_OCTETS]>, KeyFileError> {
    let kek = keys.find(kek_id(file)).ok_or(KeyFileError::UnknownKek(kek_id(file)))?;
    let (head, rest) = file.split_at(NONCE_AT);
    let (nonce, rest) = rest.split_at(NONCE_LEN);
    if head[KEK_AT - 16..KEK_AT] != call.0.to_be_bytes() {
        return Err(KeyFileError::Altered);
    }
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| KeyFileError::Altered)?;
    let mut sealed = Zeroizing::new([0; KEY_OCTETS + TAG]);
    sealed.copy_from_slice(rest);
    let opened = kek.cipher().open_in_place(nonce, Aad::from(head), &mut sealed[..]);
    let opened = opened.map_err(|_| KeyFileError::Altered)?;
    let mut octets = Zeroizing::new([0; KEY_OCTETS]);
    octets.copy_from_slice(opened);
    Ok(octets)
}

fn kek_id(file: &[u8; LENGTH]) -> KekId {
    let mut id = [0; KEK_ID_OCTETS];
    id.copy_from_slice(&file[KEK_AT..NONCE_AT]);
    KekId(id)
}

fn read(path: &Path) -> Result<[u8; LENGTH], KeyFileError> {
    read_from(&mut File::open(path).map_err(not_found)?)
}

/// A key file's octets. One that is overwritten, or empty after a power cut, is none any more.
fn read_from(file: &mut File) -> Result<[u8; LENGTH], KeyFileError> {
    let mut octets = Vec::with_capacity(LENGTH + 1);
    file.take(LENGTH as u64 + 1).read_to_end(&mut octets)?;
    if octets.iter().all(|octet| *octet == 0) {
        return Err(KeyFileError::Erased);
    }
    let file: [u8; LENGTH] = octets.try_into().map_err(|_| KeyFileError::Altered)?;
    let is_known = file.starts_with(&MAGIC) && file[MAGIC.len()..].starts_with(&VERSION);
    if is_known { Ok(file) } else { Err(KeyFileError::Altered) }
}

fn not_found(error: io::Error) -> KeyFileError {
    let is_none = error.kind() == ErrorKind::NotFound;
    if is_none { KeyFileError::Erased } else { KeyFileError::Io(error) }
}

fn write_new(path: &Path, octets: &[u8; LENGTH]) -> io::Result<File> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(octets)?;
    Ok(file)
}

fn destroy_file(path: &Path) -> io::Result<bool> {
    let mut file = match OpenOptions::new().write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    overwrite(&mut file)?;
    fs::remove_file(path)?;
    Ok(true)
}

fn overwrite(file: &mut File) -> io::Result<()> {
    file.rewind()?;
    file.write_all(&[0; LENGTH])?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::super::scratch::{Scratch, kek, random};
    use super::*;

    const CALL: CallId = CallId(0xABC);

    #[test]
    fn a_key_is_read_as_it_was_made_and_by_its_own_ring_alone() {
        let scratch = Scratch::new();
        let path = made(&scratch, 1);
        let sealed = seal(&open(&path, CALL, &ring(&[1])).ok().unwrap());
        assert_eq!(opened(&open(&path, CALL, &ring(&[2, 1])).ok().unwrap(), &sealed), Some(7));
        let stranger = open(&path, CALL, &ring(&[2])).err().unwrap();
        assert!(matches!(stranger, KeyFileError::UnknownKek(id) if id == kek(1).id()));
        let moved = open(&path, CallId(0xABD), &ring(&[1])).err().unwrap();
        assert!(matches!(moved, KeyFileError::Altered));
        assert!(create(&path, CALL, &kek(1), random).is_err(), "a key is never replaced by a new");
    }

    #[test]
    fn every_flipped_bit_and_every_other_length_is_noticed() {
        let scratch = Scratch::new();
        let path = made(&scratch, 1);
        let whole = fs::read(&path).unwrap();
        assert_eq!(whole.len(), LENGTH);
        for bit in 0..8 * LENGTH {
            let mut altered = whole.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, &altered).unwrap();
            let error = open(&path, CALL, &ring(&[1])).err().unwrap();
            let in_kek_id = (KEK_AT..NONCE_AT).contains(&(bit / 8));
            match error {
                KeyFileError::UnknownKek(_) => assert!(in_kek_id, "bit {bit}"),
                KeyFileError::Altered => assert!(!in_kek_id, "bit {bit}"),
                KeyFileError::Erased | KeyFileError::Io(_) => panic!("bit {bit}: {error}"),
            }
        }
        for length in 1..LENGTH {
            fs::write(&path, &whole[..length]).unwrap();
            let error = open(&path, CALL, &ring(&[1])).err().unwrap();
            assert!(matches!(error, KeyFileError::Altered), "{length} octets: {error}");
        }
        fs::write(&path, [&whole[..], b"x"].concat()).unwrap();
        assert!(matches!(open(&path, CALL, &ring(&[1])), Err(KeyFileError::Altered)));
    }

    #[test]
    fn rewrapping_changes_the_wrapping_and_not_the_key() {
        let scratch = Scratch::new();
        let path = made(&scratch, 1);
        let before = fs::read(&path).unwrap();
        let sealed = seal(&open(&path, CALL, &ring(&[1])).ok().unwrap());
        assert!(rewrap(&path, CALL, &ring(&[2, 1]), random).unwrap());
        assert_ne!(fs::read(&path).unwrap(), before);
        assert_eq!(kek_of(&path).unwrap(), kek(2).id());
        assert_eq!(opened(&open(&path, CALL, &ring(&[2])).ok().unwrap(), &sealed), Some(7));
        assert!(!rewrap(&path, CALL, &ring(&[2, 1]), random).unwrap(), "it is done once");
        assert!(rewrap(&path, CALL, &ring(&[1]), random).is_err(), "the old key opens it no more");
    }

    #[test]
    fn what_a_crash_left_over_is_no_obstacle_and_is_destroyed_with_the_key() {
        let scratch = Scratch::new();
        let path = made(&scratch, 1);
        fs::write(temporary(&path), b"half a k").unwrap();
        assert!(rewrap(&path, CALL, &ring(&[2, 1]), random).unwrap());
        assert!(!temporary(&path).exists());
        fs::copy(&path, temporary(&path)).unwrap();
        assert!(destroy(&path).unwrap());
        assert!(!path.exists() && !temporary(&path).exists());
        assert!(!destroy(&path).unwrap());
        assert!(matches!(open(&path, CALL, &ring(&[2])), Err(KeyFileError::Erased)));
        fs::write(&path, [0; LENGTH]).unwrap();
        assert!(matches!(open(&path, CALL, &ring(&[2])), Err(KeyFileError::Erased)));
    }

    #[test]
    fn without_random_numbers_there_is_no_key() {
        let scratch = Scratch::new();
        let path = scratch.path().join("a.key");
        let none: Random = |_| Err(ErrorKind::Other.into());
        assert!(create(&path, CALL, &kek(1), none).is_err());
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
    }

    fn made(scratch: &Scratch, number: u8) -> PathBuf {
        let path = scratch.path().join("a.key");
        create(&path, CALL, &kek(number), random).ok().unwrap();
        path
    }

    fn ring(numbers: &[u8]) -> Keyring {
        Keyring::new(numbers.iter().map(|number| kek(*number)).collect()).unwrap()
    }

    fn seal(key: &DataKey) -> Vec<u8> {
        let mut text = vec![7];
        let tag = key.seal(0, b"", &mut text).unwrap();
        text.extend(tag);
        text
    }

    fn opened(key: &DataKey, sealed: &[u8]) -> Option<u8> {
        let mut sealed = sealed.to_vec();
        key.open(0, b"", &mut sealed).map(|text| text[0])
    }
}
