//! Jwks: a provider's public keys, as RFC 7517 writes them, those of them that can be used.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use serde::Deserialize;
use serde_json::Value;

/// Longest set that is read.
pub const MAX_JWKS: usize = 32 * 1024;
/// Keys of a set that are looked at: a provider has two or three.
const MAX_KEYS: usize = 32;
/// Octets of a coordinate on P-256, and of a public key of Ed25519.
const COORDINATE: usize = 32;

/// How a token may be signed: nothing else is taken, whatever a token says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Algorithm {
    /// RSA, PKCS #1 v1.5, of 2048 to 8192 bits, with SHA-256.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// The algorithm of a name (RFC 7518 section 3.1, RFC 8037 section 3.1).
    #[must_use]
    pub fn parse(name: &str) -> Option<Algorithm> {
        match name {
            "RS256" => Some(Algorithm::Rs256),
            "ES256" => Some(Algorithm::Es256),
            "EdDSA" => Some(Algorithm::EdDsa),
            _ => None,
        }
    }
}

/// One public key, good for one algorithm.
pub struct Jwk {
    kid: String,
    material: Material,
}

enum Material {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256(Vec<u8>),
    Ed25519(Vec<u8>),
}

/// A provider's keys.
#[derive(Default)]
pub struct Jwks(Vec<Jwk>);

#[derive(Deserialize)]
struct RawSet {
    keys: Vec<Value>,
}

#[derive(Deserialize)]
struct RawKey {
    kty: String,
    kid: String,
    #[serde(rename = "use")]
    purpose: Option<String>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl Jwks {
    /// Reads a set; `None` if it is none, or has no key that can be used. Keys for other purposes
    /// and of other kinds are passed over, as RFC 7517 section 5 says.
    #[must_use]
    pub fn read(octets: &[u8]) -> Option<Jwks> {
        if octets.len() > MAX_JWKS {
            return None;
        }
        let set: RawSet = serde_json::from_slice(octets).ok()?;
        let keys = set.keys.into_iter().take(MAX_KEYS);
        let keys: Vec<Jwk> =
            keys.filter_map(|key| serde_json::from_value(key).ok().and_then(Jwk::of)).collect();
        (!keys.is_empty()).then_some(Jwks(keys))
    }

    /// The key of an id.
    #[must_use]
    pub fn find(&self, kid: &str) -> Option<&Jwk> {
        self.0.iter().find(|key| key.kid == kid)
    }
}

impl Jwk {
    fn of(raw: RawKey) -> Option<Jwk> {
        if raw.purpose.is_some_and(|purpose| purpose != "sig") {
            return None;
        }
        let octets = |text: Option<String>| BASE64_URL_SAFE_NO_PAD.decode(text?).ok();
        let coordinate = |text| octets(text).filter(|octets| octets.len() == COORDINATE);
        let material = match (&*raw.kty, raw.crv.as_deref()) {
            ("RSA", None) => Material::Rsa { n: octets(raw.n)?, e: octets(raw.e)? },
            ("EC", Some("P-256")) => {
                // Uncompressed, as SEC 1 section 2.3.3 has it.
                Material::P256([vec![4], coordinate(raw.x)?, coordinate(raw.y)?].concat())
            }
            ("OKP", Some("Ed25519")) => Material::Ed25519(coordinate(raw.x)?),
            _ => return None,
        };
        let key = Jwk { kid: raw.kid, material };
        let fits = raw.alg.is_none_or(|alg| Algorithm::parse(&alg) == Some(key.algorithm()));
        (fits && !key.kid.is_empty()).then_some(key)
    }

    /// What it is good for.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        match self.material {
            Material::Rsa { .. } => Algorithm::Rs256,
            Material::P256(_) => Algorithm::Es256,
            Material::Ed25519(_) => Algorithm::EdDsa,
        }
    }

    /// Whether the key's owner signed `message` by its algorithm.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let verified = match &self.material {
            Material::Rsa { n, e } => {
                let key = RsaPublicKeyComponents { n, e };
                key.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
            }
            Material::P256(point) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature)
            }
            Material::Ed25519(key) => {
                UnparsedPublicKey::new(&ED25519, key).verify(message, signature)
            }
        };
        verified.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::{Algorithm, Jwks};

    /// The key of RFC 8037 appendix A.2.
    const OKP: &str = r#""kty":"OKP","crv":"Ed25519","kid":"a",
        "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo""#;

    fn read(members: &str) -> Option<Jwks> {
        Jwks::read(format!("{{\"keys\":[{{{members}}}]}}").as_bytes())
    }

    #[test]
    fn keys_that_can_be_used_are_kept() {
        assert_eq!(read(OKP).unwrap().find("a").unwrap().algorithm(), Algorithm::EdDsa);
        assert!(read(&format!("{OKP},\"use\":\"sig\",\"alg\":\"EdDSA\",\"x5t\":\"?\"")).is_some());
        let bad = [
            format!("{OKP},\"use\":\"enc\""),
            format!("{OKP},\"alg\":\"RS256\""),
            OKP.replace("Ed25519", "X25519"),
            OKP.replace("11q", "1"),
            OKP.replace("\"a\"", "\"\""),
            r#""kty":"oct","kid":"a","k":"AAAA""#.to_owned(),
            String::new(),
        ];
        for bad in bad {
            assert!(read(&bad).is_none(), "{bad}");
        }
        assert!(Jwks::read(b"").is_none() && Jwks::read(b"{\"keys\":[]}").is_none());
    }

    /// RFC 8037 appendix A.4.
    #[test]
    fn a_signature_of_the_specification_verifies() {
        use base64::Engine;
        use base64::prelude::BASE64_URL_SAFE_NO_PAD;
        let signature = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt\
                         9g7sVvpAr_MuM0KAg";
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap();
        let message = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
        let keys = read(OKP).unwrap();
        let key = keys.find("a").unwrap();
        assert!(key.verifies(message, &signature) && !key.verifies(&message[1..], &signature));
    }
}
