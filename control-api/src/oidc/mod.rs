//! Oidc: people and programs that an identity provider vouches for, by tokens that it has signed.
//!
//! [`jwt`] reads and verifies a token, [`jwks`] reads the provider's keys; both know neither time nor
//! network. Here the keys are kept, and fetched anew within bounds.

pub mod config;
pub mod jwks;
pub mod jwt;

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::HeaderMap;
use ring::digest::{Context, SHA256};
use rustls::ClientConfig;

use crate::clock::{self, Timestamp};
use crate::keys::{Denied, KeyId, KeyStore, Principal, Proof, Role, Scopes, hex};
use crate::outbound::tls::TlsError;
use crate::outbound::{Endpoint, Outbound};
use config::{OidcConfig, Source};
use jwks::Jwks;
use jwt::Claims;

/// Shortest time from one look at the provider's keys to the next: tokens of unknown keys, which
/// anybody can make up, cause no more.
pub const REFRESH_PAUSE: Duration = Duration::from_secs(30);
/// Age at which the keys are looked at again, so that one that was withdrawn is forgotten.
pub const FRESH_FOR: Duration = Duration::from_hours(1);
/// Age at which keys are forgotten where there are no newer ones to be had.
pub const KEPT_FOR: Duration = Duration::from_hours(24);
/// Time for the provider to answer.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// Octets of a name that is made of issuer and subject.
const NAME_OCTETS: usize = 12;

/// Why the identity provider can't be used.
#[derive(Debug, thiserror::Error)]
pub enum OidcError {
    /// Its certificates can't be used.
    #[error("oidc: {0}")]
    Tls(#[from] TlsError),
    /// Its keys can't be used.
    #[error("oidc.jwks_file {0}")]
    File(&'static str),
}

/// The identity provider whose tokens are taken.
pub struct Oidc {
    config: OidcConfig,
    outbound: Outbound,
    tls: Option<Arc<ClientConfig>>,
    known: Mutex<Known>,
    /// Held while keys are looked at: one does, and the others wait for what it finds.
    looking: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Known {
    keys: Arc<Jwks>,
    read_at: Option<Instant>,
    tried_at: Option<Instant>,
}

impl Known {
    fn is_fresh(&self, now: Instant) -> bool {
        self.read_at.is_some_and(|at| now.saturating_duration_since(at) < FRESH_FOR)
    }

    fn may_look(&self, now: Instant) -> bool {
        self.tried_at.is_none_or(|at| now.saturating_duration_since(at) >= REFRESH_PAUSE)
    }
}

impl Oidc {
    /// Gets ready to take a provider's tokens. Keys in a file are read at once, those behind a URL
    /// when they are needed first: the relay starts without the provider.
    ///
    /// # Errors
    /// If the files can't be used.
    pub fn open(config: OidcConfig, outbound: Outbound) -> Result<Oidc, OidcError> {
        let mut known = Known::default();
        let tls = match &config.source {
            Source::Url(_) => Some(config.tls.load()?),
            Source::File(path) => {
                let keys = read(path).ok_or(OidcError::File("holds no keys that can be used"))?;
                known = Known {
                    keys: Arc::new(keys),
                    read_at: Some(clock::monotonic()),
                    tried_at: None,
                };
                None
            }
        };
        let (known, looking) = (Mutex::new(known), tokio::sync::Mutex::default());
        Ok(Oidc { config, outbound, tls, known, looking })
    }

    /// Who a token says it is of, if it is good.
    ///
    /// # Errors
    /// [`Denied::BadJwt`], or [`Denied::NoJwks`] if there are no keys to tell by.
    pub async fn verify(
        &self,
        token: &str,
        store: &KeyStore,
        now: Timestamp,
    ) -> Result<Principal, Denied> {
        let signed = jwt::read(token).ok_or(Denied::BadJwt)?;
        let keys = self.keys_for(signed.kid()).await?;
        let verified = signed.verify(&keys).ok_or(Denied::BadJwt)?;
        let claims = verified.check(&self.config, now).ok_or(Denied::BadJwt)?;
        Ok(self.principal(&claims, store))
    }

    fn principal(&self, claims: &Claims, store: &KeyStore) -> Principal {
        let roles: Vec<&str> = self.config.roles_of(&claims.roles);
        let scopes = roles.iter().filter_map(|role| store.roles.find(role));
        let scopes = scopes.fold(Scopes::default(), Scopes::and);
        Principal {
            key: name_of(&self.config.issuer, &claims.subject),
            role: Role::told_as(scopes),
            roles: roles.join("+").into(),
            scopes,
            region: store.region.clone(),
            proof: Proof::Token(claims.expires),
        }
    }

    /// The provider's keys, with that of `kid` among them if there is one.
    async fn keys_for(&self, kid: &str) -> Result<Arc<Jwks>, Denied> {
        if let Some(keys) = self.known_with(kid) {
            return Ok(keys);
        }
        let looking = self.looking.lock().await;
        // Somebody else may have looked meanwhile.
        if let Some(keys) = self.known_with(kid) {
            return Ok(keys);
        }
        let now = clock::monotonic();
        if self.lock().may_look(now) {
            self.lock().tried_at = Some(now);
            let found = self.look().await;
            let mut known = self.lock();
            match found {
                Ok(keys) => {
                    known.keys = Arc::new(keys);
                    known.read_at = Some(now);
                }
                Err(reason) => tracing::warn!(reason, "the identity provider's keys can't be had"),
            }
        }
        drop(looking);
        let known = self.lock();
        let is_kept = |at: Instant| now.saturating_duration_since(at) < KEPT_FOR;
        known.read_at.filter(|at| is_kept(*at)).ok_or(Denied::NoJwks)?;
        Ok(Arc::clone(&known.keys))
    }

    /// The keys, if they are fresh and have that of `kid`.
    fn known_with(&self, kid: &str) -> Option<Arc<Jwks>> {
        let known = self.lock();
        let has = known.is_fresh(clock::monotonic()) && known.keys.find(kid).is_some();
        has.then(|| Arc::clone(&known.keys))
    }

    async fn look(&self) -> Result<Jwks, &'static str> {
        match &self.config.source {
            Source::File(path) => read(path).ok_or("the file holds no keys that can be used"),
            Source::Url(endpoint) => {
                let fetched = tokio::time::timeout(FETCH_TIMEOUT, self.fetch(endpoint)).await;
                fetched.map_err(|_| "it did not answer in time")?
            }
        }
    }

    async fn fetch(&self, endpoint: &Endpoint) -> Result<Jwks, &'static str> {
        let connected = self.outbound.connect(endpoint, self.tls.as_ref()).await;
        let answer = connected.map_err(|error| error.as_str())?.get(HeaderMap::new()).await;
        let answer = answer.map_err(|error| error.as_str())?;
        if answer.status != 200 {
            return Err("it answered with another status than 200");
        }
        Jwks::read(&answer.body).ok_or("the answer holds no keys that can be used")
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(path: &Path) -> Option<Jwks> {
    let mut octets = Vec::new();
    File::open(path).ok()?.take(jwks::MAX_JWKS as u64 + 1).read_to_end(&mut octets).ok()?;
    Jwks::read(&octets)
}

/// A name for logs and figures that tells nothing of a person, and is the same each time.
fn name_of(issuer: &str, subject: &str) -> KeyId {
    let mut context = Context::new(&SHA256);
    // No issuer holds a NUL: it is a URL of the configuration.
    for part in [issuer.as_bytes(), &[0], subject.as_bytes()] {
        context.update(part);
    }
    KeyId::new(&format!("oidc_{}", hex(&context.finish().as_ref()[..NAME_OCTETS])))
}
