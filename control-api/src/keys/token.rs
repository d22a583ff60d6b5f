//! Token: a key as it is sent, `sto_<region>_<id>_<secret><checksum>`.
//!
//! The checksum is a CRC-32 over all before it: a mistyped key is told from a wrong one without
//! looking for it, and scanners for leaked secrets can be sure of one.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::chance::{self, NoRandom};

/// What every key begins with, so that scanners for leaked secrets know one.
pub const TOKEN_PREFIX: &str = "sto_";
/// Octets of a key's id, which is written in hexadecimal; it is no secret.
const ID_OCTETS: usize = 6;
/// Letters of a secret: 62^43 is more than 2^256.
const SECRET_LEN: usize = 43;
/// Letters of the checksum: 62^6 is more than 2^32.
const CHECKSUM_LEN: usize = 6;
/// Longest label of a region.
const MAX_REGION: usize = 16;
/// Longest token that is looked at.
const MAX_TOKEN: usize =
    TOKEN_PREFIX.len() + MAX_REGION + 2 + 2 * ID_OCTETS + SECRET_LEN + CHECKSUM_LEN;
/// Letters of a secret and a checksum: none that a double click stops at.
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Octets below make letters of equal chance; 248 is 4 times 62.
const FAIR: u8 = 248;

/// Where keys are made and taken: a short label of a deployment, and no secret.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Region(String);

impl Default for Region {
    fn default() -> Region {
        Region("local".to_owned())
    }
}

impl Region {
    /// Reads a label: 1 to 16 of a-z, 0-9 and -.
    #[must_use]
    pub fn parse(text: &str) -> Option<Region> {
        is_region(text).then(|| Region(text.to_owned()))
    }

    /// The label.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_region(text: &str) -> bool {
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=MAX_REGION).contains(&text.len()) && text.bytes().all(good)
}

/// A key's public name.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct KeyId(String);

impl KeyId {
    pub(crate) fn new(id: &str) -> KeyId {
        KeyId(id.to_owned())
    }

    /// A new one.
    ///
    /// # Errors
    /// If the system gives no random numbers.
    pub(super) fn generate() -> Result<KeyId, NoRandom> {
        Ok(KeyId(hex(&chance::octets::<ID_OCTETS>()?)))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A whole new key, to be shown once; it has no `Debug`, is not kept, and is wiped when dropped.
pub struct Token(Zeroizing<String>);

impl Token {
    /// A new key of a region.
    ///
    /// # Errors
    /// If the system gives no random numbers.
    pub(super) fn generate(region: &Region, id: &KeyId) -> Result<Token, NoRandom> {
        // Room for all of it at once: text that grows leaves copies behind.
        let mut text = Zeroizing::new(String::with_capacity(MAX_TOKEN));
        text.push_str(TOKEN_PREFIX);
        for part in [region.as_str(), id.as_str()] {
            text.push_str(part);
            text.push('_');
        }
        let end = text.len() + SECRET_LEN;
        while text.len() < end {
            let octets = Zeroizing::new(chance::octets::<SECRET_LEN>()?);
            let fair = octets.iter().filter(|octet| **octet < FAIR);
            let letters = fair.map(|octet| char::from(BASE62[usize::from(octet % 62)]));
            letters.take(end - text.len()).for_each(|letter| text.push(letter));
        }
        let checksum = checksum(&text);
        text.extend(checksum.iter().copied().map(char::from));
        Ok(Token(text))
    }

    /// The text to send after `Authorization: Bearer`.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

/// What a token says of itself, before it is known whether any of it is true.
pub(super) struct Claimed<'a> {
    pub(super) region: &'a str,
    pub(super) id: &'a str,
    pub(super) secret: &'a str,
}

/// Why something is no token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NoToken {
    /// It has another form.
    Form,
    /// It has the form, and a letter is wrong.
    Checksum,
}

/// Takes a token apart.
pub(super) fn read(token: &str) -> Result<Claimed<'_>, NoToken> {
    let rest = token.strip_prefix(TOKEN_PREFIX).filter(|_| token.len() <= MAX_TOKEN);
    let mut parts = rest.ok_or(NoToken::Form)?.split('_');
    let (Some(region), Some(id), Some(last), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(NoToken::Form);
    };
    let has_form = is_region(region)
        && id.len() == 2 * ID_OCTETS
        && id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        && last.len() == SECRET_LEN + CHECKSUM_LEN
        && last.bytes().all(|b| b.is_ascii_alphanumeric());
    if !has_form {
        return Err(NoToken::Form);
    }
    let (body, sum) = token.split_at(token.len() - CHECKSUM_LEN);
    if sum.as_bytes() != checksum(body) {
        return Err(NoToken::Checksum);
    }
    Ok(Claimed { region, id, secret: &last[..SECRET_LEN] })
}

/// CRC-32 (that of gzip), in base 62, most significant digit first.
fn checksum(body: &str) -> [u8; CHECKSUM_LEN] {
    let mut rest = crc32fast::hash(body.as_bytes());
    let mut letters = [0; CHECKSUM_LEN];
    for letter in letters.iter_mut().rev() {
        *letter = BASE62[(rest % 62) as usize];
        rest /= 62;
    }
    letters
}

pub(crate) fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::{KeyId, MAX_TOKEN, NoToken, Region, Token, checksum, read};

    #[test]
    fn a_token_says_where_it_is_from_and_who_it_is() {
        let (region, id) = (Region::parse("eu-1").unwrap(), KeyId::generate().unwrap());
        let token = Token::generate(&region, &id).unwrap();
        let claimed = read(token.reveal()).ok().unwrap();
        assert_eq!((claimed.region, claimed.id), ("eu-1", id.as_str()));
        assert_eq!(claimed.secret.len(), 43);
        assert_ne!(token.reveal(), Token::generate(&region, &id).unwrap().reveal());
        let longest = Region::parse("abcdefghijklmno-").unwrap();
        assert_eq!(Token::generate(&longest, &id).unwrap().reveal().len(), MAX_TOKEN);
    }

    #[test]
    fn the_checksum_is_what_others_compute() {
        // The check value of CRC-32: 0xcbf43926 for "123456789".
        let value = checksum("123456789").iter().fold(0_u64, |value, letter| {
            let place = super::BASE62.iter().position(|it| it == letter).unwrap();
            value * 62 + place as u64
        });
        assert_eq!(value, 0xcbf4_3926);
        assert_eq!(checksum("").as_slice(), b"000000");
    }

    #[test]
    fn every_wrong_letter_is_noticed() {
        let id = KeyId::generate().unwrap();
        let token = Token::generate(&Region::default(), &id).unwrap();
        for at in "sto_local_".len()..token.reveal().len() {
            let mut octets = token.reveal().as_bytes().to_vec();
            octets[at] = match octets[at] {
                b'_' => continue,
                b'0' => b'1',
                _ => b'0',
            };
            let text = String::from_utf8(octets).unwrap();
            assert_eq!(read(&text).err(), Some(NoToken::Checksum), "{at}");
        }
    }

    #[test]
    fn what_has_another_form_is_no_token() {
        let id = KeyId::generate().unwrap();
        let token = Token::generate(&Region::default(), &id).unwrap();
        let whole = token.reveal();
        let wrong = [
            "",
            "sto_",
            "sto___",
            &whole[1..],
            &whole[..whole.len() - 1],
            &format!("{whole}0"),
            &whole.replacen("local", "Local", 1),
            &whole.replacen("local", "", 1),
            &whole.replacen('_', "-", 2),
            &format!("{whole}_x"),
        ];
        for wrong in wrong {
            assert_eq!(read(wrong).err(), Some(NoToken::Form), "{wrong}");
        }
        for bad in ["", "EU", "eu_1", "abcdefghijklmnopq", "\u{e4}"] {
            assert!(Region::parse(bad).is_none(), "{bad}");
        }
    }
}
