//! Jwe: data sealed to one key, as RFC 7516 writes it (compact serialization).
//!
//! The content is encrypted where it lies, in the locked page; what leaves that page is
//! ciphertext. The protected header names the key and the session and holds nothing of what was
//! keyed.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL;
use locked_page::Locked;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::agreement::{ECDH_P256, EphemeralPrivateKey, UnparsedPublicKey, agree_ephemeral};
use serde_json::json;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::clear::{Clear, Keyed};
use super::seal_key::{POINT, PublicKey, SealKey};
use crate::chance;

/// Octets of a content encryption key of A256GCM.
const KEY_OCTETS: usize = 32;
/// The content's length, whatever was keyed: the length of sealed data tells nothing. Eight
/// fields of 33 keys with their names take under 700 octets.
const CONTENT: usize = 1024;

type ContentKey = Zeroizing<[u8; KEY_OCTETS]>;

/// Data could not be sealed: no locked memory, no random numbers, or more data than there can be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the data could not be sealed")]
pub struct NotSealed;

/// Seals what was keyed to a merchant's key. `session` is named in the header, so that sealed
/// data can't be taken for another session's.
///
/// # Errors
/// [`NotSealed`].
pub fn seal(key: &SealKey, session: &str, keyed: Keyed<'_>) -> Result<String, NotSealed> {
    let mut content = write(keyed)?;
    let mut header = json!({
        "enc": "A256GCM", "kid": key.id, "typ": "JOSE", "cty": "json", "sotto_session_id": session,
    });
    let (content_key, encrypted_key) = match &key.key {
        PublicKey::P256(point) => {
            let (content_key, ours) = agree(point)?;
            header["alg"] = "ECDH-ES".into();
            header["epk"] = json!({
                "kty": "EC", "crv": "P-256",
                "x": BASE64URL.encode(&ours[1..=32]), "y": BASE64URL.encode(&ours[33..]),
            });
            (content_key, Vec::new())
        }
        PublicKey::Rsa(key) => {
            header["alg"] = "RSA-OAEP-256".into();
            let content_key = Zeroizing::new(chance::octets().map_err(|_| NotSealed)?);
            let mut random = chance::generator().map_err(|_| NotSealed)?;
            let padding = rsa::Oaep::<Sha256>::new();
            let encrypted = key.encrypt(&mut random, padding, content_key.as_slice());
            (content_key, encrypted.map_err(|_| NotSealed)?)
        }
    };
    let header = BASE64URL.encode(header.to_string());
    let nonce: [u8; NONCE_LEN] = chance::octets().map_err(|_| NotSealed)?;
    let sealing = UnboundKey::new(&AES_256_GCM, content_key.as_slice()).map_err(|_| NotSealed)?;
    let tag = LessSafeKey::new(sealing)
        .seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(header.as_bytes()),
            content.octets_mut(),
        )
        .map_err(|_| NotSealed)?;
    let parts = [encrypted_key.as_slice(), &nonce, content.octets(), tag.as_ref()];
    Ok(parts.iter().fold(header, |text, part| text + "." + &BASE64URL.encode(part)))
}

/// `{"<step>": "<digits>", ..., "brand": "<brand>"}`, with spaces up to [`CONTENT`] octets.
fn write(keyed: Keyed<'_>) -> Result<Locked<Clear>, NotSealed> {
    let mut clear = Clear::locked().map_err(|_| NotSealed)?;
    let mut fill = || {
        clear.open()?;
        for (step, digits) in keyed.entries {
            clear.digits(step.as_str(), digits)?;
        }
        if let Some(brand) = keyed.brand {
            clear.member("brand", &brand)?;
        }
        clear.close()?;
        clear.pad(CONTENT)
    };
    fill().map_err(|_| NotSealed)?;
    Ok(clear)
}

/// A content key agreed with `theirs`, and our half of it (RFC 7518 section 4.6: ECDH-ES in
/// direct agreement, without party information).
fn agree(theirs: &[u8; POINT]) -> Result<(ContentKey, [u8; POINT]), NotSealed> {
    let random = chance::system();
    let secret = EphemeralPrivateKey::generate(&ECDH_P256, &random).map_err(|_| NotSealed)?;
    let ours = secret.compute_public_key().map_err(|_| NotSealed)?;
    let ours = <[u8; POINT]>::try_from(ours.as_ref()).map_err(|_| NotSealed)?;
    let theirs = UnparsedPublicKey::new(&ECDH_P256, theirs);
    let derive = |shared: &[u8]| derive(shared, b"A256GCM", b"", b"");
    agree_ephemeral(secret, &theirs, derive).map(|key| (key, ours)).map_err(|_| NotSealed)
}

/// Concat KDF with SHA-256 (NIST SP 800-56A section 5.8.1, as RFC 7518 section 4.6.2 uses it):
/// one round gives the 256 bits that are needed.
fn derive(shared: &[u8], algorithm: &[u8], apu: &[u8], apv: &[u8]) -> ContentKey {
    derive_bits(shared, algorithm, apu, apv, 8 * KEY_OCTETS as u32)
}

fn derive_bits(shared: &[u8], algorithm: &[u8], apu: &[u8], apv: &[u8], bits: u32) -> ContentKey {
    let mut hash = Sha256::new();
    hash.update(1_u32.to_be_bytes());
    hash.update(shared);
    for information in [algorithm, apu, apv] {
        hash.update((information.len() as u32).to_be_bytes());
        hash.update(information);
    }
    hash.update(bits.to_be_bytes());
    let mut key = Zeroizing::new([0; KEY_OCTETS]);
    key.copy_from_slice(&hash.finalize());
    key
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL;

    use super::derive_bits;

    /// RFC 7518 appendix C: Z, the party information of Alice and Bob, and the derived key.
    #[test]
    fn the_key_derivation_is_that_of_the_standard() {
        let shared = [
            158, 86, 217, 29, 129, 113, 53, 211, 114, 131, 66, 131, 191, 132, 38, 156, 251, 49,
            110, 163, 218, 128, 106, 72, 246, 218, 167, 121, 140, 254, 144, 196,
        ];
        let key = derive_bits(&shared, b"A128GCM", b"Alice", b"Bob", 128);
        assert_eq!(BASE64URL.encode(&key[..16]), "VqqN6vgjbSBcIijNcacQGg");
    }
}
