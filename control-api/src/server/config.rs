//! Config: the API's listener, as typed and as meant.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::certificate::{ClientRule, Pin, TlsConfig};
use crate::client_address::TrustedProxies;
use crate::config::ConfigError;
use crate::outbound::tls::Identity;
use crate::peers;

/// Pins of one configuration: the clients of an API are few.
const MAX_PINS: usize = 256;

/// The API's listener, as typed.
#[derive(Clone, Default, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawControl {
    /// Address and port.
    pub address: Option<String>,
    /// A proxy in front of it speaks TLS.
    pub behind_tls_proxy: Option<bool>,
    /// The key file.
    pub keys: Option<PathBuf>,
    /// Let streams be opened by a ticket in their URL.
    pub url_tickets: Option<bool>,
    /// Address ranges of proxies that say where requests come from.
    pub trusted_proxies: Option<Vec<String>>,
    /// TLS that ends here.
    pub tls: RawTls,
}

/// TLS of the API's listener, as typed.
#[derive(Clone, Default, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawTls {
    /// The certificate chain, in PEM.
    pub certificate: Option<PathBuf>,
    /// Its key, in PEM.
    pub key: Option<PathBuf>,
    /// Authorities of the certificates that clients are asked for.
    pub client_authorities: Option<PathBuf>,
    /// The keys that clients' certificates may have.
    pub client_pins: Option<Vec<String>>,
}

/// How the API's listener is reached.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct FrontConfig {
    /// A proxy in front of it speaks TLS.
    pub behind_tls_proxy: bool,
    /// TLS that ends here, if any does.
    pub tls: Option<TlsConfig>,
    /// Proxies that say where requests come from.
    pub proxies: TrustedProxies,
}

impl FrontConfig {
    /// Whether requests have the address of their client: not behind a proxy that is not trusted to name
    /// it.
    #[must_use]
    pub fn names_clients(&self) -> bool {
        !self.behind_tls_proxy || self.proxies != TrustedProxies::default()
    }
}

impl RawControl {
    /// Checks how the listener at `address` is reached: outside of loopback by TLS alone.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub(crate) fn front(&self, address: SocketAddr) -> Result<FrontConfig, ConfigError> {
        let tls = self.tls.resolve()?;
        let behind_tls_proxy = self.behind_tls_proxy.unwrap_or(false);
        if !address.ip().is_loopback() && !behind_tls_proxy && tls.is_none() {
            return Err(ConfigError::NoTls(address));
        }
        let typed = self.trusted_proxies.as_deref().unwrap_or_default();
        let proxies = peers::ranges(typed).ok_or_else(|| {
            invalid("control.trusted_proxies", "must be addresses or ranges, such as 10.0.0.0/8")
        })?;
        Ok(FrontConfig { behind_tls_proxy, tls, proxies: TrustedProxies::new(proxies) })
    }
}

impl RawTls {
    fn resolve(&self) -> Result<Option<TlsConfig>, ConfigError> {
        let clients = self.clients()?;
        let identity = match (&self.certificate, &self.key) {
            (Some(chain), Some(key)) => Identity { chain: chain.clone(), key: key.clone() },
            (None, None) if clients.is_none() => return Ok(None),
            (None, _) => {
                return Err(invalid("control.tls.certificate", "must name the certificate's file"));
            }
            (Some(_), None) => {
                return Err(invalid(
                    "control.tls.key",
                    "must name the file of the certificate's key",
                ));
            }
        };
        Ok(Some(TlsConfig { identity, clients }))
    }

    fn clients(&self) -> Result<Option<ClientRule>, ConfigError> {
        let member = "control.tls.client_pins";
        let typed = self.client_pins.as_deref().unwrap_or_default();
        if typed.len() > MAX_PINS {
            return Err(invalid(member, &format!("must be {MAX_PINS} at most")));
        }
        let pins: Option<Vec<Pin>> = typed.iter().map(|pin| Pin::parse(pin)).collect();
        let pins = pins.ok_or_else(|| {
            invalid(
                member,
                "must each be sha256: and 64 hexadecimal digits, the hash of a public key",
            )
        })?;
        match &self.client_authorities {
            Some(authorities) => Ok(Some(ClientRule { authorities: authorities.clone(), pins })),
            // Pins without an authority would let in anybody, and seem not to.
            None if self.client_pins.is_some() => {
                let reason = "must name the authorities of the pinned certificates; one that is \
                              signed by itself is its own";
                Err(invalid("control.tls.client_authorities", reason))
            }
            None => Ok(None),
        }
    }
}

fn invalid(member: &'static str, reason: &str) -> ConfigError {
    ConfigError::Invalid { member, reason: reason.to_owned() }
}
