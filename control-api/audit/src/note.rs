//! Note: a short text with an Ed25519 signature below it (c2sp.org/signed-note).

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

use crate::hash::Sha256;
use crate::limits::MAX_LOG_NAME;

/// Signature type of Ed25519.
const ED25519_TYPE: u8 = 1;
/// What a signature's line begins with: an em dash.
const DASH: &str = "\u{2014} ";
/// Octets of a key's id, of a public key and of a signature.
const ID: usize = 4;
const PUBLIC: usize = 32;
const SIGNATURE: usize = 64;

/// A log's name, which is also its key's: like a URL without a scheme, `relay-1.example/audit`.
/// 1 to 128 of ASCII letters, digits and `._/-`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogName(Box<str>);

/// Signs notes. Deliberately without `Debug` and `Clone`.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    verifier: VerifierKey,
}

/// Verifies notes: the public half of a key, written `name+id+key`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerifierKey {
    name: LogName,
    public: [u8; PUBLIC],
}

/// Not the text of a verifier key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not a verifier key: it is written name+id+key, as `key` prints it")]
pub struct NotAVerifierKey;

/// Why a note is not to be believed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NoteError {
    /// Not of the form of a note with one signature.
    #[error("not a signed note")]
    Malformed,
    /// Signed in another name or by another key.
    #[error("signed by another key")]
    OtherKey,
    /// The signature is not that of this text.
    #[error("the signature is wrong")]
    Signature,
}

impl LogName {
    /// Reads a name; `None` if it is none.
    #[must_use]
    pub fn read(text: &str) -> Option<LogName> {
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'/' | b'-');
        let fits = (1..=MAX_LOG_NAME).contains(&text.len()) && text.bytes().all(is_plain);
        fits.then(|| LogName(text.into()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl SigningKey {
    /// A key with its name.
    #[must_use]
    pub fn new(name: LogName, pair: Ed25519KeyPair) -> SigningKey {
        let mut public = [0; PUBLIC];
        public.copy_from_slice(pair.public_key().as_ref());
        SigningKey { pair, verifier: VerifierKey { name, public } }
    }

    /// The public half.
    #[must_use]
    pub const fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// Signs a text that ends with a newline.
    #[must_use]
    pub fn sign(&self, text: &str) -> String {
        let signature = self.pair.sign(text.as_bytes());
        let octets = [&self.verifier.id()[..], signature.as_ref()].concat();
        let name = self.verifier.name.as_str();
        format!("{text}\n{DASH}{name} {}\n", BASE64_STANDARD.encode(octets))
    }
}

impl VerifierKey {
    /// The name.
    #[must_use]
    pub const fn name(&self) -> &LogName {
        &self.name
    }

    /// First octets of a hash of name and key, by which signatures are told apart.
    fn id(&self) -> [u8; ID] {
        let text = [self.name.as_str().as_bytes(), &[b'\n', ED25519_TYPE], &self.public].concat();
        let [a, b, c, d, ..] = Sha256::of(&text).0;
        [a, b, c, d]
    }

    /// The text of a note that this key has signed, alone.
    ///
    /// # Errors
    /// If it is no such note.
    pub fn open<'a>(&self, note: &'a str) -> Result<&'a str, NoteError> {
        let (text, line) = note.rsplit_once("\n\n").ok_or(NoteError::Malformed)?;
        let line = line.strip_prefix(DASH).and_then(|line| line.strip_suffix('\n'));
        let (name, encoded) = line.and_then(|it| it.split_once(' ')).ok_or(NoteError::Malformed)?;
        let octets = BASE64_STANDARD.decode(encoded).map_err(|_| NoteError::Malformed)?;
        let (id, signature) = octets.split_at_checked(ID).ok_or(NoteError::Malformed)?;
        if signature.len() != SIGNATURE {
            return Err(NoteError::Malformed);
        }
        if name != self.name.as_str() || id != self.id() {
            return Err(NoteError::OtherKey);
        }
        // The text's own newline is the first of the two.
        let text = &note[..=text.len()];
        let key = UnparsedPublicKey::new(&ED25519, &self.public);
        key.verify(text.as_bytes(), signature).map_err(|_| NoteError::Signature)?;
        Ok(text)
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = BASE64_STANDARD.encode([&[ED25519_TYPE], &self.public[..]].concat());
        write!(f, "{}+{:08x}+{key}", self.name.as_str(), u32::from_be_bytes(self.id()))
    }
}

impl FromStr for VerifierKey {
    type Err = NotAVerifierKey;

    fn from_str(text: &str) -> Result<VerifierKey, NotAVerifierKey> {
        let mut parts = text.splitn(3, '+');
        let mut part = || parts.next().ok_or(NotAVerifierKey);
        let (name, _, key) = (part()?, part()?, part()?);
        let name = LogName::read(name).ok_or(NotAVerifierKey)?;
        let octets = BASE64_STANDARD.decode(key).map_err(|_| NotAVerifierKey)?;
        let [ED25519_TYPE, public @ ..] = octets.as_slice() else { return Err(NotAVerifierKey) };
        let public = public.try_into().map_err(|_| NotAVerifierKey)?;
        let key = VerifierKey { name, public };
        // Its id has to be the right one, and its form the only one.
        if key.to_string() == text { Ok(key) } else { Err(NotAVerifierKey) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A published note and its keys, from the documentation of Go's package
    /// golang.org/x/mod/sumdb/note, which the specification follows.
    const PUBLIC_KEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const SEED: &str = "YEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
    const TEXT: &str = "If you think cryptography is the answer to your problem,\n\
                        then you don't know what your problem is.\n";
    const LINE: &str = "\u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1\
                        FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

    fn published() -> (SigningKey, String) {
        // The published private key has its type, 1, in front of the seed.
        let octets = BASE64_STANDARD.decode(format!("A{SEED}")).unwrap();
        let pair = Ed25519KeyPair::from_seed_unchecked(&octets[1..]).unwrap();
        let key = SigningKey::new(LogName::read("PeterNeumann").unwrap(), pair);
        (key, format!("{TEXT}\n{LINE}"))
    }

    #[test]
    fn a_published_note_is_signed_and_opened_alike() {
        let (key, note) = published();
        assert_eq!(key.verifier().to_string(), PUBLIC_KEY);
        assert_eq!(key.sign(TEXT), note);
        let verifier: VerifierKey = PUBLIC_KEY.parse().unwrap();
        assert_eq!(verifier.open(&note), Ok(TEXT));
    }

    #[test]
    fn every_flipped_bit_of_a_note_is_noticed() {
        let (key, note) = published();
        for bit in 0..8 * note.len() {
            let mut octets = note.clone().into_bytes();
            octets[bit / 8] ^= 1 << (bit % 8);
            let Ok(altered) = String::from_utf8(octets) else { continue };
            assert!(key.verifier().open(&altered).is_err(), "bit {bit}");
        }
        for length in 0..note.len() {
            let Some(shorter) = note.get(..length) else { continue };
            assert!(key.verifier().open(shorter).is_err(), "{length} octets");
        }
        assert!(key.verifier().open(&format!("{note}\n")).is_err());
    }

    #[test]
    fn another_key_and_another_name_are_told_apart() {
        let (key, note) = published();
        let other = VerifierKey { public: [7; PUBLIC], ..key.verifier().clone() };
        assert_eq!(other.open(&note), Err(NoteError::OtherKey));
        let name = LogName::read("PeterNeuman").unwrap();
        let other = VerifierKey { name, ..key.verifier().clone() };
        assert_eq!(other.open(&note), Err(NoteError::OtherKey));
    }

    #[test]
    fn a_verifier_key_has_one_form() {
        for at in 0..PUBLIC_KEY.len() {
            let mut octets = PUBLIC_KEY.as_bytes().to_vec();
            octets[at] ^= 1;
            let altered = String::from_utf8(octets).unwrap();
            assert!(altered.parse::<VerifierKey>().is_err(), "{altered}");
        }
        for name in ["", "a b", "a+b", "a\n", &"a".repeat(129)] {
            assert!(LogName::read(name).is_none(), "{name:?}");
        }
    }
}
