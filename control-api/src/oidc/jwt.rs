//! Jwt: a signed token (RFC 7519 in RFC 7515's compact form), read as strictly as RFC 8725 asks.
//!
//! Each step is a type that only the step before it can make, so that no claim is looked at before
//! the signature is: [`Signed`], [`Verified`], [`Claims`].

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::Value;
use std::time::Duration;

use super::config::OidcConfig;
use super::jwks::{Algorithm, Jwks};
use crate::clock::Timestamp;

/// Longest token that is looked at.
const MAX_JWT: usize = 8 * 1024;
/// Longest subject.
const MAX_SUBJECT: usize = 255;
/// Values of the roles' claim that are looked at.
const MAX_ROLES: usize = 64;
/// How far the provider's clock may be ahead of ours. A token's end needs no such room: whoever
/// gets a new one in time doesn't notice.
const LEEWAY: Duration = Duration::from_secs(10);

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: String,
    typ: Option<String>,
    /// Extensions that must be understood; none is (RFC 7515 section 4.1.11).
    crit: Option<Value>,
}

/// A token that says who signed it.
pub struct Signed<'a> {
    algorithm: Algorithm,
    kid: String,
    message: &'a str,
    claims: Vec<u8>,
    signature: Vec<u8>,
}

/// A token that was signed by whom it says.
pub struct Verified(Vec<u8>);

/// What a good token says.
pub struct Claims {
    /// Whom it is of.
    pub subject: String,
    /// When it ends.
    pub expires: Timestamp,
    /// The values of the roles' claim.
    pub roles: Vec<String>,
}

#[derive(Deserialize)]
struct RawClaims {
    iss: String,
    aud: Audience,
    sub: String,
    exp: f64,
    nbf: Option<f64>,
    iat: Option<f64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

/// Reads a token; `None` for what is none, or is signed in a way that is not taken.
#[must_use]
pub fn read(token: &str) -> Option<Signed<'_>> {
    if token.len() > MAX_JWT {
        return None;
    }
    let (message, signature) = token.rsplit_once('.')?;
    let (header, claims) = message.split_once('.')?;
    let decode = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).ok();
    let header: Header = serde_json::from_slice(&decode(header)?).ok()?;
    let is_jwt = header.typ.is_none_or(|typ| {
        let typ = typ.to_ascii_lowercase();
        matches!(typ.strip_prefix("application/").unwrap_or(&typ), "jwt" | "at+jwt")
    });
    if !is_jwt || header.crit.is_some() {
        return None;
    }
    let algorithm = Algorithm::parse(&header.alg)?;
    let (claims, signature) = (decode(claims)?, decode(signature)?);
    Some(Signed { algorithm, kid: header.kid, message, claims, signature })
}

impl Signed<'_> {
    /// The key it says that it is signed with.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// Verifies the signature, by the algorithm that the key is for.
    #[must_use]
    pub fn verify(self, keys: &Jwks) -> Option<Verified> {
        let key = keys.find(&self.kid).filter(|key| key.algorithm() == self.algorithm)?;
        key.verifies(self.message.as_bytes(), &self.signature).then_some(Verified(self.claims))
    }
}

impl Verified {
    /// Checks whom the token is by and for, and from when to when it is good.
    #[must_use]
    pub fn check(self, config: &OidcConfig, now: Timestamp) -> Option<Claims> {
        let raw: RawClaims = serde_json::from_slice(&self.0).ok()?;
        let is_for_us = match &raw.aud {
            Audience::One(audience) => *audience == config.audience,
            Audience::Several(audiences) => audiences.contains(&config.audience),
        };
        let expires = time(raw.exp)?;
        // Of those that say when a token begins, many say it as `iat` alone.
        let begins =
            [raw.nbf, raw.iat].into_iter().flatten().map(time).collect::<Option<Vec<_>>>()?;
        let begin = begins.into_iter().max()?;
        let is_good = raw.iss == config.issuer
            && is_for_us
            && now < expires
            && begin <= now.after(LEEWAY)
            && (1..=MAX_SUBJECT).contains(&raw.sub.len());
        let roles = roles_in(&serde_json::from_slice(&self.0).ok()?, &config.roles_claim);
        is_good.then_some(Claims { subject: raw.sub, expires, roles })
    }
}

/// A time as RFC 7519 section 2 writes it: seconds, perhaps with a fraction.
fn time(seconds: f64) -> Option<Timestamp> {
    // Up to the year 9999.
    let is_time = (0.0..253_402_300_800.0).contains(&seconds);
    is_time.then(|| Timestamp::from_unix_ms((seconds * 1000.0) as u64))
}

/// The values of a claim: a list of words, or words with spaces between them.
fn roles_in(claims: &Value, path: &[String]) -> Vec<String> {
    let found = path.iter().try_fold(claims, |value, member| value.get(member));
    match found {
        Some(Value::String(words)) => {
            words.split_whitespace().take(MAX_ROLES).map(str::to_owned).collect()
        }
        Some(Value::Array(words)) => {
            let words = words.iter().filter_map(Value::as_str).take(MAX_ROLES);
            words.map(str::to_owned).collect()
        }
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => {
            Vec::new()
        }
    }
}
