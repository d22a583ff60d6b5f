//! Signature: proof that a webhook is ours and new, as Standard Webhooks 1.0 has it.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ring::hmac;
use zeroize::Zeroizing;

/// What a secret begins with.
const PREFIX: &str = "whsec_";
/// Octets of a secret: Standard Webhooks asks for 24 to 64.
const SECRET_OCTETS: std::ops::RangeInclusive<usize> = 24..=64;

/// A secret that deliveries are signed with.
pub struct SigningKey(hmac::Key);

/// The text is no secret.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "must hold whsec_ and 24 to 64 octets in base64, such as: echo whsec_$(openssl rand -base64 32)"
)]
pub struct NotASecret;

impl SigningKey {
    /// Reads a secret.
    ///
    /// # Errors
    /// [`NotASecret`].
    pub fn parse(text: &str) -> Result<SigningKey, NotASecret> {
        let encoded = text.strip_prefix(PREFIX).ok_or(NotASecret)?;
        let secret = Zeroizing::new(BASE64_STANDARD.decode(encoded).map_err(|_| NotASecret)?);
        if !SECRET_OCTETS.contains(&secret.len()) {
            return Err(NotASecret);
        }
        Ok(SigningKey(hmac::Key::new(hmac::HMAC_SHA256, &secret)))
    }

    fn sign(&self, id: &str, timestamp: u64, body: &str) -> String {
        let mut context = hmac::Context::with_key(&self.0);
        for part in [id, ".", &timestamp.to_string(), ".", body] {
            context.update(part.as_bytes());
        }
        format!("v1,{}", BASE64_STANDARD.encode(context.sign()))
    }
}

/// The `webhook-signature` header: one signature for each secret, so that a receiver may know
/// either while a secret changes. `timestamp` is in seconds since 1970.
#[must_use]
pub fn signatures(keys: &[SigningKey], id: &str, timestamp: u64, body: &str) -> String {
    let each: Vec<String> = keys.iter().map(|key| key.sign(id, timestamp, body)).collect();
    each.join(" ")
}

#[cfg(test)]
mod tests {
    use super::{SigningKey, signatures};

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    /// The example that the reference libraries of Standard Webhooks are tested with.
    #[test]
    fn the_published_example_is_signed_alike() {
        let key = SigningKey::parse(SECRET).unwrap_or_else(|error| panic!("{error}"));
        let signed = signatures(
            &[key],
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            r#"{"test": 2432232314}"#,
        );
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn two_secrets_make_two_signatures() {
        let keys = [SECRET, "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"];
        let keys: Vec<_> = keys.iter().filter_map(|text| SigningKey::parse(text).ok()).collect();
        let both = signatures(&keys, "msg_1", 1, "{}");
        let (first, second) = both.split_once(' ').unwrap();
        assert_eq!(first, signatures(&keys[..1], "msg_1", 1, "{}"));
        assert_eq!(second, signatures(&keys[1..], "msg_1", 1, "{}"));
        assert_ne!(first, second);
    }

    #[test]
    fn nothing_else_is_a_secret() {
        for bad in ["", "whsec_", "whsec_AAAA", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_!!!!"] {
            assert!(SigningKey::parse(bad).is_err(), "{bad}");
        }
    }
}
