//! Merchant: whoever may have what was keyed; a key pair, a credential to fetch with, and no part
//! in the call.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::agreement::{ECDH_P256, EphemeralPrivateKey, UnparsedPublicKey, agree_ephemeral};
use ring::rand::SystemRandom;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// How an uncompressed point begins (SEC 1 section 2.3.3); 32 octets of x and of y follow.
const UNCOMPRESSED: u8 = 4;

/// A merchant that opens one piece of sealed data.
pub(super) struct Merchant {
    private: EphemeralPrivateKey,
    public: Value,
}

impl Merchant {
    /// A merchant with a new key; `None` if the kernel gives no random octets.
    pub(super) fn new() -> Option<Merchant> {
        let private = EphemeralPrivateKey::generate(&ECDH_P256, &SystemRandom::new()).ok()?;
        let point = private.compute_public_key().ok()?;
        let (x, y) = point.as_ref().strip_prefix(&[UNCOMPRESSED])?.split_at_checked(32)?;
        let (x, y) = (BASE64URL.encode(x), BASE64URL.encode(y));
        let public = json!({ "kty": "EC", "crv": "P-256", "use": "enc", "x": x, "y": y });
        Some(Merchant { private, public })
    }

    /// The public key as a JWK (RFC 7517): all of it that leaves the merchant.
    pub(super) fn public_key(&self) -> String {
        self.public.to_string()
    }

    /// What is inside a compact JWE (RFC 7516 section 7.1) of ECDH-ES and A256GCM; `None` if it is
    /// not for this merchant, or not whole.
    pub(super) fn open(self, jwe: &str) -> Option<Value> {
        let parts: Vec<&str> = jwe.split('.').collect();
        // The second part, an encrypted key, is empty: the key is agreed on directly.
        let [header, "", iv, ciphertext, tag] = parts[..] else { return None };
        let octets = |part: &str| BASE64URL.decode(part).ok();
        let key = self.agree(&serde_json::from_slice(&octets(header)?).ok()?)?;
        let nonce: [u8; NONCE_LEN] = octets(iv)?.try_into().ok()?;
        let mut content = [octets(ciphertext)?, octets(tag)?].concat();
        let aad = Aad::from(header.as_bytes());
        let nonce = Nonce::assume_unique_for_key(nonce);
        serde_json::from_slice(key.open_in_place(nonce, aad, &mut content).ok()?).ok()
    }

    /// The key of the content, by Concat KDF (RFC 7518 section 4.6.2).
    fn agree(self, header: &Value) -> Option<LessSafeKey> {
        let part = |name: &str| BASE64URL.decode(header["epk"][name].as_str()?).ok();
        let point = [vec![UNCOMPRESSED], part("x")?, part("y")?].concat();
        // AlgorithmID with its length, no party's information, 256 bits.
        let info = b"\0\0\0\x07A256GCM\0\0\0\0\0\0\0\0\0\0\x01\0";
        let peer = UnparsedPublicKey::new(&ECDH_P256, point);
        let key = agree_ephemeral(self.private, &peer, |shared| {
            Sha256::digest([b"\0\0\0\x01", shared, info].concat())
        });
        UnboundKey::new(&AES_256_GCM, &key.ok()?).ok().map(LessSafeKey::new)
    }
}
