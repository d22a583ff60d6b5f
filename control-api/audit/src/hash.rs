//! Hash: 32 octets of SHA-256, written in hexadecimal.

use std::fmt;

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Octets of SHA-256.
const OCTETS: usize = 32;

/// A SHA-256 of something public.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Sha256(pub [u8; OCTETS]);

impl Sha256 {
    /// What the first line of a log has as the hash of the line before.
    pub const ZERO: Sha256 = Sha256([0; OCTETS]);

    /// The hash of some octets.
    #[must_use]
    pub fn of(octets: &[u8]) -> Sha256 {
        let mut hash = Sha256::ZERO;
        hash.0.copy_from_slice(digest(&SHA256, octets).as_ref());
        hash
    }

    /// Reads 64 hexadecimal digits, letters in lower case.
    #[must_use]
    pub fn read(hex: &str) -> Option<Sha256> {
        let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
        if pairs.len() != OCTETS || !rest.is_empty() {
            return None;
        }
        let mut hash = Sha256::ZERO;
        for (octet, [high, low]) in hash.0.iter_mut().zip(pairs) {
            *octet = nibble(*high)? << 4 | nibble(*low)?;
        }
        Some(hash)
    }
}

const fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl Serialize for Sha256 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Sha256 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Sha256, D::Error> {
        crate::words::read_with(deserializer, Sha256::read)
    }
}

#[cfg(test)]
mod tests {
    use super::Sha256;

    #[test]
    fn a_hash_is_read_as_it_is_written() {
        let empty = Sha256::of(b"");
        let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(empty.to_string(), hex);
        assert_eq!(Sha256::read(hex), Some(empty));
        for bad in ["", &hex[1..], &hex.to_uppercase(), &format!("{hex}00"), &hex.replace('e', "g")]
        {
            assert_eq!(Sha256::read(bad), None, "{bad}");
        }
    }
}
