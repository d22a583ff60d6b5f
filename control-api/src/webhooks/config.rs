//! WebhookConfig: who is told of events by HTTP POST, as typed and as meant.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config::ConfigError;
use crate::dto::event::AudienceName;
use crate::outbound::endpoint::{Endpoint, EndpointError, Host, Scheme};
use crate::outbound::tls::TlsFiles;
use crate::redacted::HiddenUrl;
use crate::sinks::config::{NAME_RULE, first_bad_name};
use crate::story::Audience;

/// Most webhooks.
pub const MAX_WEBHOOKS: usize = 16;
/// Secrets of one webhook: the one in use, and its successor or predecessor.
pub const MAX_SECRETS: usize = 2;

/// A webhook, as typed.
#[derive(Clone, Default, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawWebhook {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub url: HiddenUrl,
    /// Files with the secrets that its deliveries are signed with.
    pub secret_files: Vec<PathBuf>,
    /// `staff` or `engine`.
    pub audience: Option<AudienceName>,
    /// The events it is told of; all that its audience may hear if left out.
    pub events: Option<Vec<String>>,
    /// The authorities trusted.
    pub ca_file: Option<PathBuf>,
}

/// A webhook.
#[derive(Clone, Debug)]
pub struct WebhookConfig {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub endpoint: Endpoint,
    /// Files with its secrets.
    pub secret_files: Vec<PathBuf>,
    /// Who is told.
    pub audience: Audience,
    /// The events it is told of; `None` for all.
    pub events: Option<Vec<String>>,
    /// Whom we trust.
    pub tls: TlsFiles,
}

/// Checks all webhooks, but not what is in their files.
///
/// # Errors
/// The first thing that is wrong.
pub fn resolve(raw: Vec<RawWebhook>) -> Result<Vec<WebhookConfig>, ConfigError> {
    let invalid = |reason: String| ConfigError::Invalid { member: "webhooks", reason };
    if raw.len() > MAX_WEBHOOKS {
        return Err(invalid(format!("must be {MAX_WEBHOOKS} at most")));
    }
    if let Some(bad) = first_bad_name(raw.iter().map(|webhook| webhook.name.as_str())) {
        return Err(invalid(format!("name of webhook {bad} {NAME_RULE}")));
    }
    raw.into_iter().map(RawWebhook::resolve).collect()
}

impl RawWebhook {
    fn resolve(self) -> Result<WebhookConfig, ConfigError> {
        let invalid = |reason: &dyn std::fmt::Display| ConfigError::Invalid {
            member: "webhooks",
            reason: format!("{}: {reason}", self.name),
        };
        let endpoint = Endpoint::parse(&self.url);
        let endpoint = endpoint.map_err(|error| invalid(&format!("url {error}")))?;
        if endpoint.scheme == Scheme::Http && !is_here(&endpoint.host) {
            return Err(invalid(&format!("url {}", EndpointError::Scheme)));
        }
        if !(1..=MAX_SECRETS).contains(&self.secret_files.len()) {
            return Err(invalid(&"secret_files must name one file, or two while a secret changes"));
        }
        let Some(audience) = self.audience.map(Audience::from) else {
            return Err(invalid(&"audience must be \"staff\" or \"engine\""));
        };
        let known = |event: &&String| !crate::dto::event::KINDS.contains(&event.as_str());
        if let Some(unknown) = self.events.iter().flatten().find(known) {
            return Err(invalid(&format!("there is no event {unknown}")));
        }
        let tls = TlsFiles { authorities: self.ca_file, identity: None };
        let (name, secret_files, events) = (self.name, self.secret_files, self.events);
        Ok(WebhookConfig { name, endpoint, secret_files, audience, events, tls })
    }
}

/// Plain HTTP stays on this host, and there `outbound.allow` must open it.
fn is_here(host: &Host) -> bool {
    match host {
        Host::Name(name) => name == "localhost",
        Host::Ip(ip) => ip.is_loopback(),
    }
}

#[cfg(test)]
mod tests {
    use super::{RawWebhook, resolve};

    #[derive(serde::Deserialize)]
    struct File {
        webhooks: Vec<RawWebhook>,
    }

    fn error(text: &str) -> String {
        let file: File = toml::from_str(&format!("[[webhooks]]\nname = 'a'\n{text}")).unwrap();
        resolve(file.webhooks).map_or_else(|error| error.to_string(), |_| String::new())
    }

    #[test]
    fn what_is_wrong_is_named() {
        let good = "secret_files = ['s']\naudience = 'staff'\nurl = 'https://example.com/'";
        assert_eq!(error(good), "");
        assert_eq!(error(&good.replace("https://example.com/", "http://127.0.0.1:9/x")), "");
        let cases = [
            (good.replace("https", "http"), "https://"),
            (good.replace("['s']", "[]"), "secret_files"),
            (good.replace("['s']", "['s','t','u']"), "secret_files"),
            (good.replace("audience = 'staff'", ""), "audience"),
            (format!("{good}\nevents = ['call.closed', 'no.such']"), "no event"),
        ];
        for (text, part) in cases {
            assert!(error(&text).contains(part), "{text}: {}", error(&text));
        }
    }
}
