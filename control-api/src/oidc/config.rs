//! OidcConfig: whose tokens are taken, where its keys are, and what its roles mean here.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::keys::Roles;
use crate::outbound::Endpoint;
use crate::outbound::endpoint::Scheme;
use crate::outbound::tls::TlsFiles;

/// Claim that roles are in, unless something else is said.
const DEFAULT_ROLES_CLAIM: &str = "roles";
/// Roles of a provider that mean something here.
const MAX_MAPPED: usize = 64;

/// The identity provider, as typed.
#[derive(Clone, Default, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawOidc {
    /// What its tokens say in `iss`.
    pub issuer: Option<String>,
    /// What they say in `aud`, where they are for this relay.
    pub audience: Option<String>,
    /// A file with its keys.
    pub jwks_file: Option<PathBuf>,
    /// Where its keys are.
    pub jwks_url: Option<String>,
    /// The authorities that vouch for that server; those of the system unless said otherwise.
    pub ca_file: Option<PathBuf>,
    /// The claim that roles are in; dots lead into objects.
    pub roles_claim: Option<String>,
    /// What a value there means: a role of this relay.
    pub roles: BTreeMap<String, String>,
}

/// Where a provider's keys are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// In a file.
    File(PathBuf),
    /// Behind a URL.
    Url(Endpoint),
}

/// The identity provider.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OidcConfig {
    /// What its tokens say in `iss`.
    pub issuer: String,
    /// What they say in `aud`.
    pub audience: String,
    /// Where its keys are.
    pub source: Source,
    /// Whom to trust on the way there.
    pub tls: TlsFiles,
    /// The claim that roles are in, from the outermost object inwards.
    pub roles_claim: Vec<String>,
    roles: BTreeMap<String, String>,
}

impl RawOidc {
    /// Checks it; nothing typed means that there is no provider.
    ///
    /// # Errors
    /// The member that is wrong, and how.
    pub fn resolve(self, roles: &Roles) -> Result<Option<OidcConfig>, (&'static str, String)> {
        if self == RawOidc::default() {
            return Ok(None);
        }
        let said = |member, text: Option<String>| {
            let text = text.filter(|text| !text.is_empty() && !text.contains('\0'));
            text.ok_or((member, "must be said".to_owned()))
        };
        let issuer = said("oidc.issuer", self.issuer)?;
        let audience = said("oidc.audience", self.audience)?;
        let source = match (self.jwks_file, self.jwks_url) {
            (Some(path), None) => Source::File(path),
            (None, Some(url)) => Source::Url(https(&url)?),
            (Some(_), Some(_)) | (None, None) => {
                return Err(("oidc.jwks_url", "must be said, or oidc.jwks_file, not both".into()));
            }
        };
        let unknown = self.roles.values().any(|role| roles.find(role).is_none());
        if self.roles.is_empty() || self.roles.len() > MAX_MAPPED || unknown {
            let reason = format!("must map 1 to {MAX_MAPPED} values to roles: {}", roles.names());
            return Err(("oidc.roles", reason));
        }
        let claim = self.roles_claim.unwrap_or_else(|| DEFAULT_ROLES_CLAIM.to_owned());
        let tls = TlsFiles { authorities: self.ca_file, identity: None };
        let roles_claim = claim.split('.').map(str::to_owned).collect();
        Ok(Some(OidcConfig { issuer, audience, source, tls, roles_claim, roles: self.roles }))
    }
}

fn https(url: &str) -> Result<Endpoint, (&'static str, String)> {
    let endpoint = Endpoint::parse(url).map_err(|error| ("oidc.jwks_url", error.to_string()))?;
    match endpoint.scheme {
        Scheme::Https => Ok(endpoint),
        Scheme::Http => Err(("oidc.jwks_url", "must begin with https://".to_owned())),
    }
}

impl OidcConfig {
    /// The roles here that these values mean; others mean nothing.
    #[must_use]
    pub fn roles_of(&self, values: &[String]) -> Vec<&str> {
        let mut roles: Vec<_> =
            values.iter().filter_map(|it| self.roles.get(it)).map(String::as_str).collect();
        roles.sort_unstable();
        roles.dedup();
        roles
    }
}

#[cfg(test)]
mod tests {
    use super::RawOidc;
    use crate::keys::Roles;

    #[test]
    fn what_is_wrong_is_named() {
        let good = "issuer = 'https://id.example'\naudience = 'sotto'\njwks_file = 'f'\n\
                    roles = { ops = 'operator' }";
        let resolve = |text: &str| {
            let raw: RawOidc = toml::from_str(text).unwrap();
            raw.resolve(&Roles::default()).map_err(|(member, _)| member)
        };
        assert!(matches!(resolve(good), Ok(Some(_))) && matches!(resolve(""), Ok(None)));
        let cases = [
            (good.replace("https://id.example", ""), "oidc.issuer"),
            (good.replace("audience = 'sotto'", ""), "oidc.audience"),
            (good.replace("jwks_file = 'f'", ""), "oidc.jwks_url"),
            (format!("jwks_url = 'https://id.example/keys'\n{good}"), "oidc.jwks_url"),
            (good.replace("jwks_file = 'f'", "jwks_url = 'http://127.0.0.1/'"), "oidc.jwks_url"),
            (good.replace("'operator'", "'nobody'"), "oidc.roles"),
            (good.replace("ops = 'operator'", ""), "oidc.roles"),
        ];
        for (text, member) in cases {
            assert_eq!(resolve(&text), Err(member), "{text}");
        }
    }
}
