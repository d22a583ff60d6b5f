//! SealKey: a merchant's public key, to which sealed data is encrypted.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rsa::BoxedUint;
use rsa::traits::PublicKeyParts;
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;

/// Longest key file; an RSA key of 4096 bits in a JWK has under 1 kB.
const MAX_FILE: u64 = 16 * 1024;
/// Octets of a P-256 coordinate.
const COORDINATE: usize = 32;
/// Octets of an uncompressed P-256 point: 4, x, y (SEC 1 section 2.3.3).
pub const POINT: usize = 1 + 2 * COORDINATE;
/// Sizes of RSA keys: shorter ones are weak (NIST SP 800-57), longer ones slow.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=4096;
/// What stands before the point in a P-256 `SubjectPublicKeyInfo` (RFC 5480 section 2).
const P256_SPKI: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// A merchant's public key, of one of the two kinds that are sealed to.
pub enum PublicKey {
    /// P-256, for ECDH-ES: the uncompressed point.
    P256([u8; POINT]),
    /// RSA, for RSA-OAEP-256.
    Rsa(Box<rsa::PublicKey>),
}

/// A merchant's public key and its name.
pub struct SealKey {
    /// The name, which plans and sealed data give.
    pub id: String,
    /// The key.
    pub key: PublicKey,
}

/// Why a key file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum SealKeyError {
    /// The system refused.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is neither a JWK nor a public key in PEM.
    #[error("{path} must hold one public key: a JWK, or PEM that begins with BEGIN PUBLIC KEY")]
    NotAKey {
        /// The file.
        path: PathBuf,
    },
    /// It is a private key: it has no business here.
    #[error("{path} holds a private key: give Sotto the public one alone, and keep this one away")]
    Private {
        /// The file.
        path: PathBuf,
    },
    /// A key of a kind or size that is not sealed to.
    #[error("{path} must hold a P-256 key, or an RSA key of 2048 to 4096 bits")]
    Unsupported {
        /// The file.
        path: PathBuf,
    },
}

/// The members of a JWK that are looked at (RFC 7517 section 4, RFC 7518 section 6).
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
    d: Option<serde::de::IgnoredAny>,
    #[serde(rename = "use")]
    usage: Option<String>,
}

enum Fault {
    NotAKey,
    Private,
    Unsupported,
}

impl SealKey {
    /// Reads a key.
    ///
    /// # Errors
    /// If the file can't be read, or is not such a key.
    pub fn read(id: &str, path: &Path) -> Result<SealKey, SealKeyError> {
        let path_buf = || path.to_owned();
        let failed = |source| SealKeyError::Io { path: path_buf(), source };
        if fs::metadata(path).map_err(failed)?.len() > MAX_FILE {
            return Err(SealKeyError::NotAKey { path: path_buf() });
        }
        let text = fs::read_to_string(path).map_err(failed)?;
        let key = PublicKey::parse(&text).map_err(|fault| match fault {
            Fault::NotAKey => SealKeyError::NotAKey { path: path_buf() },
            Fault::Private => SealKeyError::Private { path: path_buf() },
            Fault::Unsupported => SealKeyError::Unsupported { path: path_buf() },
        })?;
        Ok(SealKey { id: id.to_owned(), key })
    }
}

impl PublicKey {
    fn parse(text: &str) -> Result<PublicKey, Fault> {
        if text.contains("PRIVATE KEY-----") {
            return Err(Fault::Private);
        }
        if text.trim_start().starts_with('{') {
            let jwk: Jwk = serde_json::from_str(text).map_err(|_| Fault::NotAKey)?;
            return PublicKey::of_jwk(&jwk);
        }
        let der = SubjectPublicKeyInfoDer::from_pem_slice(text.as_bytes());
        PublicKey::of_spki(der.map_err(|_| Fault::NotAKey)?.as_ref())
    }

    fn of_jwk(jwk: &Jwk) -> Result<PublicKey, Fault> {
        if jwk.d.is_some() {
            return Err(Fault::Private);
        }
        if jwk.usage.as_deref().is_some_and(|usage| usage != "enc") {
            return Err(Fault::Unsupported);
        }
        match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("EC", Some("P-256")) => {
                let mut point = [4; POINT];
                let (x, y) = (octets(jwk.x.as_deref())?, octets(jwk.y.as_deref())?);
                if x.len() != COORDINATE || y.len() != COORDINATE {
                    return Err(Fault::NotAKey);
                }
                point[1..=COORDINATE].copy_from_slice(&x);
                point[1 + COORDINATE..].copy_from_slice(&y);
                PublicKey::of_point(point)
            }
            ("RSA", _) => {
                let (n, e) = (octets(jwk.n.as_deref())?, octets(jwk.e.as_deref())?);
                let number = |octets: &[u8]| BoxedUint::from_be_slice_vartime(octets);
                let key = rsa::PublicKey::new(number(&n), number(&e));
                PublicKey::of_rsa(key.map_err(|_| Fault::Unsupported)?)
            }
            (_, _) => Err(Fault::Unsupported),
        }
    }

    fn of_spki(der: &[u8]) -> Result<PublicKey, Fault> {
        use rsa::pkcs8::DecodePublicKey;
        let point = der.strip_prefix(&P256_SPKI).and_then(|it| <[u8; POINT]>::try_from(it).ok());
        if let Some(point) = point {
            return PublicKey::of_point(point);
        }
        let key = rsa::PublicKey::from_public_key_der(der).map_err(|_| Fault::Unsupported)?;
        PublicKey::of_rsa(key)
    }

    /// A point off the curve is found out here, not when the first payment is to be sealed.
    fn of_point(point: [u8; POINT]) -> Result<PublicKey, Fault> {
        let random = crate::chance::system();
        let probe =
            ring::agreement::EphemeralPrivateKey::generate(&ring::agreement::ECDH_P256, &random);
        let peer = ring::agreement::UnparsedPublicKey::new(&ring::agreement::ECDH_P256, point);
        let agreed = probe.and_then(|probe| ring::agreement::agree_ephemeral(probe, &peer, |_| ()));
        agreed.map_err(|_| Fault::NotAKey)?;
        Ok(PublicKey::P256(point))
    }

    fn of_rsa(key: rsa::PublicKey) -> Result<PublicKey, Fault> {
        let bits = key.n().bit_width() as usize;
        if RSA_BITS.contains(&bits) {
            Ok(PublicKey::Rsa(Box::new(key)))
        } else {
            Err(Fault::Unsupported)
        }
    }
}

fn octets(text: Option<&str>) -> Result<Vec<u8>, Fault> {
    BASE64_URL_SAFE_NO_PAD.decode(text.unwrap_or_default()).map_err(|_| Fault::NotAKey)
}

#[cfg(test)]
mod tests {
    use super::{Fault, POINT, PublicKey};

    /// RFC 7517 appendix A.1, the key for encryption.
    const P256: &str = r#"{"kty":"EC","crv":"P-256",
        "x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
        "y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM","use":"enc","kid":"1"}"#;

    fn fault(text: &str) -> &'static str {
        match PublicKey::parse(text) {
            Ok(_) => "none",
            Err(Fault::NotAKey) => "not a key",
            Err(Fault::Private) => "private",
            Err(Fault::Unsupported) => "unsupported",
        }
    }

    #[test]
    fn a_jwk_of_the_standard_is_read() {
        let Ok(PublicKey::P256(point)) = PublicKey::parse(P256) else { panic!("not read") };
        assert_eq!((point.len(), point[0], point[1], point[64]), (POINT, 4, 0x30, 0x23));
    }

    #[test]
    fn other_keys_are_refused_by_name() {
        let private = P256.replace("\"use\"", "\"d\":\"870MB6gf\",\"use\"");
        let off_curve = P256.replace("IFyM", "IFyN");
        let signing = P256.replace("\"enc\"", "\"sig\"");
        let p384 = P256.replace("P-256", "P-384");
        let cases = [
            (P256, "none"),
            (&private, "private"),
            (&off_curve, "not a key"),
            (&signing, "unsupported"),
            (&p384, "unsupported"),
            (r#"{"kty":"oct","k":"AAAA"}"#, "unsupported"),
            (r#"{"kty":"RSA","n":"AQAB","e":"AQAB"}"#, "unsupported"),
            ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "private"),
            ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "unsupported"),
            ("hello", "not a key"),
            ("{}", "not a key"),
        ];
        for (text, expected) in cases {
            assert_eq!(fault(text), expected, "{text}");
        }
    }
}
