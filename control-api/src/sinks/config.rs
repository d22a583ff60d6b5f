//! SinksConfig: where what was keyed may be delivered to, as typed and as meant.

use std::path::PathBuf;
use std::time::Duration;

use dtmf::card_mode::CardMode;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::config::{ConfigError, RawCardMode};
use crate::outbound::address::{AddressRules, MAX_ALLOWED};
use crate::outbound::endpoint::{Endpoint, EndpointError, Scheme};
use crate::outbound::tls::{Identity, TlsFiles};
use crate::redacted::HiddenUrl;

/// Most keys to seal to: the one in use, and its successor or predecessor.
pub const MAX_KEYS: usize = 2;
/// Most connectors.
pub const MAX_CONNECTORS: usize = 16;
/// Longest name of a key or connector.
pub const MAX_NAME: usize = 64;
/// How long a connector may take, in ms: the session waits for at most 30 s.
const TIMEOUT_MS: std::ops::RangeInclusive<u64> = 1000..=25_000;
const DEFAULT_TIMEOUT_MS: u64 = 10_000;

/// Where outgoing requests may go, as typed.
#[derive(Clone, Default, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawOutbound {
    /// Address ranges that are opened besides public addresses.
    pub allow: Option<Vec<String>>,
}

/// Sinks, as typed.
#[derive(Clone, Default, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawSinks {
    /// Sealing.
    pub seal: RawSeal,
    /// Connectors.
    pub connectors: Vec<RawConnector>,
}

/// Sealing, as typed.
#[derive(Clone, Default, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawSeal {
    /// The merchant's public keys; the first is used unless a plan names one.
    pub keys: Vec<RawSealKey>,
}

/// A public key, as typed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RawSealKey {
    /// Its name.
    pub id: String,
    /// A JWK, or a public key in PEM.
    pub file: PathBuf,
}

/// A connector, as typed.
#[derive(Clone, Default, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawConnector {
    /// Its name, which plans give.
    pub name: String,
    /// Where it is.
    pub url: HiddenUrl,
    /// `test` or `live`.
    pub mode: Option<RawCardMode>,
    /// How long it may take.
    pub timeout_ms: Option<u64>,
    /// A user for HTTP Basic, with `password_file`.
    pub basic_user: Option<String>,
    /// The file with that user's password.
    pub password_file: Option<PathBuf>,
    /// A file with a bearer token.
    pub bearer_file: Option<PathBuf>,
    /// Our certificate chain, with `client_key`.
    pub client_cert: Option<PathBuf>,
    /// Its key.
    pub client_key: Option<PathBuf>,
    /// The authorities trusted.
    pub ca_file: Option<PathBuf>,
}

/// Where what was keyed may be delivered to.
#[derive(Clone, Default, Debug)]
pub struct SinksConfig {
    /// Keys to seal to.
    pub keys: Vec<RawSealKey>,
    /// Connectors.
    pub connectors: Vec<ConnectorConfig>,
}

/// One connector.
#[derive(Clone, Debug)]
pub struct ConnectorConfig {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub endpoint: Endpoint,
    /// Whether real money moves.
    pub mode: CardMode,
    /// How long it may take.
    pub timeout: Duration,
    /// How we say who we are.
    pub credentials: Credentials,
    /// Whom we trust, and our certificate.
    pub tls: TlsFiles,
}

/// How we say who we are, besides a certificate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Credentials {
    /// Not at all.
    None,
    /// HTTP Basic (RFC 7617).
    Basic {
        /// The user.
        user: String,
        /// The file with the password.
        password: PathBuf,
    },
    /// A bearer token (RFC 6750).
    Bearer {
        /// The file with the token.
        token: PathBuf,
    },
}

impl RawOutbound {
    /// Checks the ranges.
    ///
    /// # Errors
    /// The first that is none.
    pub fn resolve(self) -> Result<AddressRules, ConfigError> {
        let invalid = |reason: String| ConfigError::Invalid { member: "outbound.allow", reason };
        let ranges = self.allow.unwrap_or_default();
        if ranges.len() > MAX_ALLOWED {
            return Err(invalid(format!("must be {MAX_ALLOWED} ranges at most")));
        }
        let range = |text: &String| {
            let range: Option<IpNet> = text.parse().ok();
            range
                .map(|range| range.trunc())
                .ok_or_else(|| invalid("must be address ranges such as \"10.1.0.0/16\"".to_owned()))
        };
        ranges.iter().map(range).collect::<Result<_, _>>().map(AddressRules::new)
    }
}

impl RawSinks {
    /// Checks everything but what is in the files.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn resolve(self) -> Result<SinksConfig, ConfigError> {
        let keys = self.seal.keys;
        let invalid = |reason: String| ConfigError::Invalid { member: "sinks.seal.keys", reason };
        if keys.len() > MAX_KEYS {
            return Err(invalid(format!(
                "must be {MAX_KEYS} at most: the one in use and the next"
            )));
        }
        if let Some(bad) = first_bad_name(keys.iter().map(|key| key.id.as_str())) {
            return Err(invalid(format!("id of key {bad} {NAME_RULE}")));
        }
        let invalid = |reason: String| ConfigError::Invalid { member: "sinks.connectors", reason };
        if self.connectors.len() > MAX_CONNECTORS {
            return Err(invalid(format!("must be {MAX_CONNECTORS} at most")));
        }
        let names = self.connectors.iter().map(|connector| connector.name.as_str());
        if let Some(bad) = first_bad_name(names) {
            return Err(invalid(format!("name of connector {bad} {NAME_RULE}")));
        }
        let connectors = self.connectors.into_iter().map(RawConnector::resolve);
        Ok(SinksConfig { keys, connectors: connectors.collect::<Result<_, _>>()? })
    }
}

impl RawConnector {
    fn resolve(self) -> Result<ConnectorConfig, ConfigError> {
        let invalid = |reason: &dyn std::fmt::Display| ConfigError::Invalid {
            member: "sinks.connectors",
            reason: format!("{}: {reason}", self.name),
        };
        let endpoint = Endpoint::parse(&self.url);
        let endpoint = endpoint.map_err(|error| invalid(&format!("url {error}")))?;
        if endpoint.scheme != Scheme::Https {
            return Err(invalid(&format!("url {}", EndpointError::Scheme)));
        }
        let mode = self.mode.map(RawCardMode::card_mode);
        let mode = mode.ok_or_else(|| invalid(&"mode must be \"test\" or \"live\""))?;
        let timeout = self.timeout_ms.unwrap_or(DEFAULT_TIMEOUT_MS);
        if !TIMEOUT_MS.contains(&timeout) {
            let (least, most) = (TIMEOUT_MS.start(), TIMEOUT_MS.end());
            return Err(invalid(&format!("timeout_ms must be {least} to {most}")));
        }
        let credentials = match (self.basic_user.clone(), &self.password_file, &self.bearer_file) {
            (None, None, None) => Credentials::None,
            (Some(user), Some(password), None) if !user.contains(':') => {
                Credentials::Basic { user, password: password.clone() }
            }
            (None, None, Some(token)) => Credentials::Bearer { token: token.clone() },
            (_, _, _) => {
                let reason = "say basic_user (without a colon) and password_file, or bearer_file";
                return Err(invalid(&reason));
            }
        };
        let identity = match (&self.client_cert, &self.client_key) {
            (None, None) => None,
            (Some(chain), Some(key)) => Some(Identity { chain: chain.clone(), key: key.clone() }),
            (_, _) => return Err(invalid(&"say client_cert and client_key, or neither")),
        };
        let tls = TlsFiles { authorities: self.ca_file.clone(), identity };
        let timeout = Duration::from_millis(timeout);
        Ok(ConnectorConfig { name: self.name, endpoint, mode, timeout, credentials, tls })
    }
}

/// What names of keys, connectors and webhooks are.
pub(crate) const NAME_RULE: &str =
    "must be 1 to 64 letters, digits, dots, hyphens or underscores, and no other's";

/// The number, from 1, of the first name that is none or stands twice.
pub(crate) fn first_bad_name<'a>(names: impl Iterator<Item = &'a str>) -> Option<usize> {
    let mut seen: Vec<&str> = Vec::new();
    for name in names {
        let harmless = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        let good = (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(harmless);
        if !good || seen.contains(&name) {
            return Some(seen.len() + 1);
        }
        seen.push(name);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{RawOutbound, RawSinks};
    use crate::config::ConfigError;

    fn resolve(text: &str) -> Result<super::SinksConfig, ConfigError> {
        let raw: RawSinks = toml::from_str(text).unwrap();
        raw.resolve()
    }

    #[test]
    fn what_is_wrong_is_named() {
        let connector = |rest: &str| format!("[[connectors]]\nname = 'a'\n{rest}");
        let url = "url = 'https://example.com/'\nmode = 'test'";
        let cases = [
            ("[[seal.keys]]\nid = 'a b'\nfile = 'x'".to_owned(), "id of key 1"),
            (
                "[[seal.keys]]\nid='a'\nfile='x'\n[[seal.keys]]\nid='a'\nfile='y'".to_owned(),
                "key 2",
            ),
            (connector("url = 'http://example.com/'\nmode = 'test'"), "https://"),
            (connector("url = 'https://example.com/'"), "mode"),
            (connector(&format!("{url}\ntimeout_ms = 1")), "timeout_ms"),
            (connector(&format!("{url}\nbasic_user = 'u'")), "password_file"),
            (connector(&format!("{url}\nbasic_user = 'u:v'\npassword_file = 'p'")), "colon"),
            (
                connector(&format!("{url}\nbearer_file='b'\nbasic_user='u'\npassword_file='p'")),
                "or",
            ),
            (connector(&format!("{url}\nclient_cert = 'c'")), "client_key"),
        ];
        for (text, part) in cases {
            let error = resolve(&text).unwrap_err().to_string();
            assert!(error.starts_with("sinks.") && error.contains(part), "{text}: {error}");
        }
        assert_eq!(resolve(&connector(url)).unwrap().connectors.len(), 1);
        assert!(resolve("").unwrap().keys.is_empty());
    }

    #[test]
    fn ranges_are_ranges() {
        let allow = |text: &str| RawOutbound { allow: Some(vec![text.to_owned()]) }.resolve();
        assert!(allow("10.1.0.0/16").is_ok() && allow("fd00::/8").is_ok());
        for bad in ["10.1.0.0", "10.1.0.0/33", "everything"] {
            assert!(allow(bad).is_err(), "{bad}");
        }
    }
}
