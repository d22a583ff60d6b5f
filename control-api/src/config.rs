//! Config: what was typed, and what it means.
//!
//! A file (`deploy/sotto.example.toml` shows all of it) and flags become a [`RawConfig`]; checked,
//! it becomes a [`Config`], which nothing can be wrong with.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use audit_log::Sha256;
use dtmf::CardMode;
use relay::prompts::{LanguageTag, NotALanguage};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::audit::config::{AuditConfig, RawAudit};
use crate::keys::{KeyStore, RawRole, Region, Roles};
use crate::linked::callers::{CallersConfig, RawCallers};
use crate::mcp::BaseUrl;
use crate::ng::config::{NgConfig, RawNg};

use crate::engines::{EngineProfiles, RawEngine};
use crate::limits::{LimitsConfig, RawLimits};
use crate::oidc::config::{OidcConfig, RawOidc};
use crate::outbound::AddressRules;
use crate::server::config::{FrontConfig, RawControl};
use crate::sinks::config::{RawOutbound, RawSinks, SinksConfig};
use crate::sip::config::{RawSip, SipConfig};
use crate::webhooks::config::{RawWebhook, WebhookConfig};

mod effective;
mod media;
mod reading;
pub mod show;

pub use media::{MediaConfig, RawMedia};

const DEFAULT_CONTROL: &str = "127.0.0.1:8080";
const DEFAULT_HEALTH: &str = "127.0.0.1:8081";
/// The language spoken unless something else is said.
const DEFAULT_LANGUAGE: &str = "en";
/// Longest time that calls have after SIGTERM, in seconds: a day, since no call is that long.
const MAX_DRAIN_S: u64 = 86_400;
/// The key that seals recordings where the configuration names none, in the state directory.
const OWN_RECORDING_KEY: &str = "recordings.kek";

/// What was typed: every member is optional, none is checked.
#[derive(Clone, Default, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawConfig {
    /// Where keys and recordings go unless said otherwise.
    pub state_dir: Option<PathBuf>,
    /// The process as a whole.
    pub process: RawProcess,
    /// The API's listener.
    pub control: RawControl,
    /// The listener of health and metrics.
    pub health: RawHealth,
    /// Media.
    pub media: RawMedia,
    /// Recordings.
    pub recordings: RawRecordings,
    /// What is known of each kind of engine, by name.
    pub engines: BTreeMap<String, RawEngine>,
    /// Outgoing requests.
    pub outbound: RawOutbound,
    /// Where what was keyed is delivered to.
    pub sinks: RawSinks,
    /// Prompts.
    pub prompts: RawPrompts,
    /// Secure sessions.
    pub secure_sessions: RawSecureSessions,
    /// Who is told of events by HTTP.
    pub webhooks: Vec<RawWebhook>,
    /// Named plans, each as the body that enters a secure session.
    pub plans: BTreeMap<String, Value>,
    /// The MCP servers of calls.
    pub mcp: RawMcp,
    /// Telephones and trunks that call this relay itself.
    pub sip: RawSip,
    /// SIP proxies that speak rtpengine's control protocol.
    pub ng: RawNg,
    /// How often whom may ask.
    pub limits: RawLimits,
    /// Asterisk's channels that dial this relay by AudioSocket.
    pub audiosocket: RawCallers,
    /// Where keys are made and taken.
    pub region: Option<String>,
    /// Roles of keys, by name.
    pub roles: BTreeMap<String, RawRole>,
    /// The identity provider whose tokens are taken.
    pub oidc: RawOidc,
    /// The log of who did what.
    pub audit: RawAudit,
}

/// The MCP servers of calls, as typed.
#[derive(Clone, Default, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawMcp {
    /// Where models reach this relay.
    pub url: Option<String>,
}

/// The process as a whole, as typed.
#[derive(Clone, Default, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawProcess {
    /// Seconds that calls have after SIGTERM.
    pub drain_s: Option<u64>,
}

/// The listener of health and metrics, as typed.
#[derive(Clone, Default, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawHealth {
    /// Address and port.
    pub address: Option<String>,
}

/// Recordings, as typed.
#[derive(Clone, Default, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawRecordings {
    /// Keep recordings at all.
    pub enabled: Option<bool>,
    /// Where.
    pub directory: Option<PathBuf>,
    /// Files of the keys that seal them, the current one first.
    pub key_files: Option<Vec<PathBuf>>,
    /// Days after which they are erased.
    pub retain_days: Option<u32>,
}

/// Prompts, as typed.
#[derive(Clone, Default, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawPrompts {
    /// A folder whose prompts are said in place of those built in.
    pub directory: Option<PathBuf>,
    /// The language unless a plan says otherwise.
    pub language: Option<String>,
}

/// Secure sessions, as typed.
#[derive(Clone, Default, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawSecureSessions {
    /// Which cards are taken.
    pub card_mode: Option<RawCardMode>,
}

/// Which cards are taken, as typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RawCardMode {
    /// Published test numbers only.
    Test,
    /// Any but those.
    Live,
}

impl RawCardMode {
    /// The mode that is meant.
    #[must_use]
    pub const fn card_mode(self) -> CardMode {
        match self {
            RawCardMode::Test => CardMode::Test,
            RawCardMode::Live => CardMode::Live,
        }
    }
}

/// What holds for every secure session.
#[derive(Clone, Copy, Debug)]
pub struct SecureConfig {
    /// Which cards are taken.
    pub card_mode: CardMode,
    /// The language spoken unless a plan says otherwise.
    pub language: LanguageTag,
}

/// What the process is to do.
#[derive(Clone, Debug)]
pub struct Config {
    /// Time that calls have after SIGTERM.
    pub drain: Duration,
    /// The API's listener.
    pub control: SocketAddr,
    /// How it is reached.
    pub front: FrontConfig,
    /// How often whom may ask.
    pub limits: LimitsConfig,
    /// The listener of health and metrics.
    pub health: SocketAddr,
    /// Where keys and recordings go unless said otherwise.
    pub state_dir: PathBuf,
    /// The key file, and what holds for keys here.
    pub keys: KeyStore,
    /// Let streams be opened by a ticket in their URL.
    pub url_tickets: bool,
    /// The identity provider whose tokens are taken, if there is one.
    pub oidc: Option<OidcConfig>,
    /// A folder whose prompts are said in place of those built in.
    pub prompts: Option<PathBuf>,
    /// What holds for every secure session.
    pub secure: SecureConfig,
    /// What is done with recordings, if any are kept.
    pub recordings: Option<RecordingsConfig>,
    /// Media.
    pub media: MediaConfig,
    /// What is known of each kind of engine.
    pub engines: EngineProfiles,
    /// Where outgoing requests may go.
    pub outbound: AddressRules,
    /// Where what was keyed is delivered to.
    pub sinks: SinksConfig,
    /// Who is told of events by HTTP.
    pub webhooks: Vec<WebhookConfig>,
    /// Named plans, as written: whether they can be made depends on sinks and prompts.
    pub plans: BTreeMap<String, Value>,
    /// Where models reach the relay, if that was said.
    pub mcp_base: Option<BaseUrl>,
    /// Where SIP is answered, if anywhere.
    pub sip: Option<SipConfig>,
    /// Where SIP proxies reach it without a key.
    pub ng: NgConfig,
    /// Where AudioSocket callers reach it, if anywhere.
    pub audiosocket: Option<CallersConfig>,
    /// Where the audit log is, if one is kept.
    pub audit: Option<AuditConfig>,
    /// The hash of all that was typed, for the audit log.
    pub digest: Sha256,
}

/// What is done with recordings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecordingsConfig {
    /// Where they are kept.
    pub directory: PathBuf,
    /// What seals them.
    pub keys: RecordingKeyFiles,
    /// Time from a call's beginning to the erasure of its recording; never if there is none.
    pub retain: Option<Duration>,
}

/// Files of the keys that seal recordings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RecordingKeyFiles {
    /// Those of the configuration, the current one first.
    Given(Vec<PathBuf>),
    /// One in the state directory, which a first start makes.
    Own(PathBuf),
}

/// What is wrong with a configuration, in one line.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("config file {path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not TOML, or has members that are not known.
    #[error("config file {path}: {reason}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and where.
        reason: String,
    },
    /// A member has an impossible value.
    #[error("{member}: {reason}")]
    Invalid {
        /// The member, as the file calls it.
        member: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A named plan can't work.
    #[error("{member}: {reason}")]
    Plan {
        /// The member, as the file calls it.
        member: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The API would be reachable from outside without TLS.
    #[error(
        "control.address {0} is reachable from outside, but nothing says that TLS protects it: \
         give it a certificate with --tls-certificate and --tls-key, bind to 127.0.0.1, or put a TLS \
         proxy in front and say --behind-tls-proxy"
    )]
    NoTls(SocketAddr),
}

impl ConfigError {
    /// Nobody speaks the language of the configuration.
    #[must_use]
    pub fn no_voice() -> ConfigError {
        let reason = "has no prompts: see `sotto prompts --help`".to_owned();
        ConfigError::Invalid { member: "prompts.language", reason }
    }
}

impl RawConfig {
    /// Reads a file.
    ///
    /// # Errors
    /// If it can't be read, is not TOML, or has members that are not known.
    pub fn read(path: &Path) -> Result<RawConfig, ConfigError> {
        RawConfig::parse(path, &RawConfig::text(path)?)
    }

    /// The text of a file.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn text(path: &Path) -> Result<String, ConfigError> {
        fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// If it is not TOML, or has members that are not known.
    pub fn parse(path: &Path, text: &str) -> Result<RawConfig, ConfigError> {
        reading::parse(text)
            .map_err(|reason| ConfigError::Malformed { path: path.to_owned(), reason })
    }

    /// The hash of all that was typed, flags too. What was written in another way, with the same
    /// meaning, has the same; another version may write it otherwise.
    fn digest(&self) -> Sha256 {
        Sha256::of(format!("{self:?}").as_bytes())
    }

    /// Checks everything. `default_state_dir` is where state goes if nothing says so, and `cores`
    /// how many workers there are then.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn resolve(self, default_state_dir: &Path, cores: usize) -> Result<Config, ConfigError> {
        let keys = self.key_store(default_state_dir)?;
        let digest = self.digest();
        let state = self.state_dir.unwrap_or_else(|| default_state_dir.to_owned());
        let control = listener("control.address", self.control.address.clone(), DEFAULT_CONTROL)?;
        let health = listener("health.address", self.health.address, DEFAULT_HEALTH)?;
        if control == health && control.port() != 0 {
            let reason = "is also control.address; health needs a listener of its own".to_owned();
            return Err(ConfigError::Invalid { member: "health.address", reason });
        }
        let front = self.control.front(control)?;
        let limits = self.limits.resolve(front.names_clients())?;
        let language = self.prompts.language.as_deref().unwrap_or(DEFAULT_LANGUAGE).parse();
        let language = language.map_err(|error: NotALanguage| ConfigError::Invalid {
            member: "prompts.language",
            reason: error.to_string(),
        })?;
        let card_mode = self.secure_sessions.card_mode;
        let engines = EngineProfiles::new(self.engines)
            .map_err(|reason| ConfigError::Invalid { member: "engines", reason })?;
        let sip = self.sip.resolve(&engines)?;
        let is_recording = self.recordings.enabled.unwrap_or(true);
        let recordings = self.recordings.resolve(&state)?;
        let is_audited = self.audit.is_enabled();
        let audit = self.audit.resolve(&state).map_err(|(member, reason)| {
            ConfigError::Invalid { member, reason: reason.to_owned() }
        })?;
        Ok(Config {
            drain: self.process.drain()?,
            control,
            front,
            limits,
            health,
            oidc: self
                .oidc
                .resolve(&keys.roles)
                .map_err(|(member, reason)| ConfigError::Invalid { member, reason })?,
            keys,
            url_tickets: self.control.url_tickets.unwrap_or(false),
            prompts: self.prompts.directory,
            secure: SecureConfig {
                card_mode: card_mode.map_or(CardMode::Test, RawCardMode::card_mode),
                language,
            },
            recordings: is_recording.then_some(recordings),
            media: self.media.resolve(cores)?,
            engines,
            outbound: self.outbound.resolve()?,
            sinks: self.sinks.resolve()?,
            webhooks: crate::webhooks::config::resolve(self.webhooks)?,
            plans: self.plans,
            mcp_base: mcp_base(self.mcp)?,
            sip,
            audiosocket: self.audiosocket.resolve().map_err(|(member, reason)| {
                ConfigError::Invalid { member, reason: reason.to_owned() }
            })?,
            ng: self.ng.resolve().map_err(|(member, reason)| ConfigError::Invalid {
                member,
                reason: reason.to_owned(),
            })?,
            audit: is_audited.then_some(audit),
            digest,
            state_dir: state,
        })
    }
}

impl RawProcess {
    fn drain(&self) -> Result<Duration, ConfigError> {
        match self.drain_s.unwrap_or(0) {
            seconds @ 0..=MAX_DRAIN_S => Ok(Duration::from_secs(seconds)),
            _ => {
                let reason = format!("must be 0 to {MAX_DRAIN_S}");
                Err(ConfigError::Invalid { member: "process.drain_s", reason })
            }
        }
    }
}

impl RawConfig {
    /// Where the keys are, and what holds for them: all that `sotto keys` needs to know.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn key_store(&self, default_state_dir: &Path) -> Result<KeyStore, ConfigError> {
        let invalid =
            |member, reason: &str| ConfigError::Invalid { member, reason: reason.to_owned() };
        let region = match &self.region {
            Some(text) => Region::parse(text)
                .ok_or_else(|| invalid("region", "must be 1 to 16 of a-z, 0-9 and -"))?,
            None => Region::default(),
        };
        let roles = Roles::with(self.roles.clone()).map_err(|reason| invalid("roles", reason))?;
        let state = self.state_dir.as_deref().unwrap_or(default_state_dir);
        let path = self.control.keys.clone().unwrap_or_else(|| state.join("keys.json"));
        Ok(KeyStore { path, region, roles })
    }
}

impl RawRecordings {
    /// Checks where recordings are and what seals them, whether any are kept or not.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn resolve(self, state: &Path) -> Result<RecordingsConfig, ConfigError> {
        let invalid =
            |member, reason: &str| ConfigError::Invalid { member, reason: reason.to_owned() };
        let keys = match self.key_files {
            Some(files) if files.is_empty() => {
                let reason = "must name a file; leave it out to have a key made";
                return Err(invalid("recordings.key_files", reason));
            }
            Some(files) => RecordingKeyFiles::Given(files),
            None => RecordingKeyFiles::Own(state.join(OWN_RECORDING_KEY)),
        };
        if self.retain_days == Some(0) {
            let reason = "must be at least 1; say enabled = false to keep no recordings";
            return Err(invalid("recordings.retain_days", reason));
        }
        let retain = self.retain_days.map(|days| Duration::from_hours(24) * days);
        let directory = self.directory.unwrap_or_else(|| state.join("recordings"));
        Ok(RecordingsConfig { directory, keys, retain })
    }
}

fn mcp_base(mcp: RawMcp) -> Result<Option<BaseUrl>, ConfigError> {
    let base = mcp.url.map(|url| {
        BaseUrl::parse(&url).ok_or_else(|| ConfigError::Invalid {
            member: "mcp.url",
            reason: "must be an https URL, such as https://relay.example".to_owned(),
        })
    });
    base.transpose()
}

fn listener(
    member: &'static str,
    typed: Option<String>,
    default: &str,
) -> Result<SocketAddr, ConfigError> {
    let text = typed.unwrap_or_else(|| default.to_owned());
    text.parse().map_err(|_| {
        let reason = format!("must be an IP address and a port, such as {default}");
        ConfigError::Invalid { member, reason }
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Config, ConfigError, RawConfig, RecordingKeyFiles};

    fn resolve(text: &str) -> Result<Config, ConfigError> {
        let raw: RawConfig = toml::from_str(text).unwrap();
        raw.resolve(Path::new("/state"), 2)
    }

    #[test]
    fn nothing_typed_means_loopback_everywhere() {
        let config = resolve("").unwrap();
        assert!(config.control.ip().is_loopback() && config.health.ip().is_loopback());
        assert_eq!(config.keys.path, Path::new("/state/keys.json"));
        assert_eq!((config.keys.region.as_str(), config.url_tickets), ("local", false));
        assert!(config.oidc.is_none());
        let recordings = config.recordings.clone().unwrap();
        assert_eq!(recordings.directory, Path::new("/state/recordings"));
        assert_eq!(recordings.keys, RecordingKeyFiles::Own("/state/recordings.kek".into()));
        assert_eq!(recordings.retain, None);
        assert_eq!((config.media.ports.clone(), config.media.workers), (10_000..=20_000, 2));
        assert!(config.media.policy().addresses.loopback);
    }

    #[test]
    fn public_media_does_not_send_to_loopback() {
        let config = resolve("media.addresses = ['192.0.2.1', '2001:db8::1']").unwrap();
        let policy = config.media.policy();
        assert!(!policy.addresses.loopback);
        assert_eq!(policy.addresses.own_media.len(), 2);
        let config =
            resolve("media.addresses = ['10.0.0.7']\nmedia.advertised = ['192.0.2.1']").unwrap();
        // Nor may media be sent to ourselves by way of the NAT.
        assert_eq!(config.media.policy().addresses.own_media.len(), 2);
        assert_eq!(
            config.media.policy().advertised,
            ["192.0.2.1".parse::<std::net::IpAddr>().unwrap()]
        );
    }

    #[test]
    fn the_api_stays_on_loopback_without_tls() {
        for address in ["0.0.0.0:8080", "[::]:8080", "192.0.2.1:80", "[::ffff:127.0.0.1]:8080"] {
            let bare = resolve(&format!("control.address = '{address}'"));
            assert!(matches!(bare, Err(ConfigError::NoTls(_))), "{address}");
            let behind = format!("control = {{ address = '{address}', behind_tls_proxy = true }}");
            assert!(resolve(&behind).is_ok(), "{address}");
        }
        assert!(resolve("control.address = '[::1]:8080'").is_ok());
    }

    #[test]
    fn what_is_wrong_is_named() {
        let cases = [
            ("control.address = 'localhost'", "control.address"),
            ("health.address = '127.0.0.1:8080'", "health.address"),
            ("media.addresses = ['0.0.0.0']", "media.addresses"),
            ("media.addresses = ['192.0.2.1', '192.0.2.2']", "media.addresses"),
            ("media.addresses = []", "media.addresses"),
            ("media.advertised = ['0.0.0.0']", "media.advertised"),
            ("media.advertised = ['2001:db8::1']", "media.advertised"),
            ("media.ports = '20000-10000'", "media.ports"),
            ("media.ports = '80-90'", "media.ports"),
            ("media.workers = 0", "media.workers"),
            ("media.timeout_s = 1", "media.timeout_s"),
            ("media.io = 'dpdk'", "media.io"),
            ("prompts.language = 'no language'", "prompts.language"),
            ("engines.ava.silence_budget_s = 0", "engines"),
            ("mcp.url = 'http://relay.example'", "mcp.url"),
            ("recordings.key_files = []", "recordings.key_files"),
            ("recordings.retain_days = 0", "recordings.retain_days"),
            ("ng.address = '0.0.0.0:2223'", "ng.peers"),
            ("region = 'EU'", "region"),
            ("roles.operator.scopes = ['calls:read']", "roles"),
            ("roles.cashier.scopes = []", "roles"),
            ("oidc.issuer = 'https://id.example'", "oidc.audience"),
        ];
        for (text, member) in cases {
            let error = resolve(text).unwrap_err().to_string();
            assert!(error.starts_with(member) && !error.contains('\n'), "{text}: {error}");
        }
    }

    /// The example's text with the settings that need something of the user's.
    fn with_optional_settings(path: &Path) -> String {
        let text = std::fs::read_to_string(path).unwrap();
        let lines = text.lines().map(|line| {
            let setting = line.strip_prefix('#').filter(|rest| !rest.starts_with([' ', '#']));
            setting.unwrap_or(line)
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn the_example_is_read_and_shows_every_member() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/sotto.example.toml");
        let bare = RawConfig::read(&path).unwrap();
        assert!(bare.webhooks.is_empty() && bare.prompts.directory.is_none(), "it starts as it is");
        bare.resolve(Path::new("/state"), 2).unwrap();
        let raw: RawConfig = toml::from_str(&with_optional_settings(&path)).unwrap();
        assert!(raw.state_dir.is_some() && raw.health.address.is_some());
        let control = &raw.control;
        assert!(control.address.is_some() && control.keys.is_some());
        assert!(control.behind_tls_proxy.is_some() && control.url_tickets.is_some());
        assert!(raw.region.is_some() && !raw.roles.is_empty());
        let oidc = &raw.oidc;
        assert!(oidc.issuer.is_some() && oidc.audience.is_some() && oidc.jwks_url.is_some());
        assert!(oidc.roles_claim.is_some() && !oidc.roles.is_empty());
        assert!(control.trusted_proxies.is_some());
        let tls = &control.tls;
        assert!(tls.certificate.is_some() && tls.key.is_some() && tls.client_pins.is_some());
        assert!(raw.limits.requests_per_second_per_key.is_some());
        assert!(raw.limits.requests_per_second_per_address.is_some());
        let media = &raw.media;
        assert!(media.addresses.is_some() && media.ports.is_some() && media.workers.is_some());
        assert!(media.io.is_some() && media.io_interfaces.is_some());
        assert!(media.pin.is_some() && media.timeout_s.is_some() && media.srtp_only.is_some());
        assert!(raw.mcp.url.is_some() && raw.plans.contains_key("card-payment"));
        assert!(raw.recordings.enabled.is_some() && raw.recordings.directory.is_some());
        assert!(!raw.engines.is_empty() && raw.prompts.language.is_some());
        assert!(raw.secure_sessions.card_mode.is_some());
        assert!(raw.prompts.directory.is_some());
        assert!(raw.outbound.allow.is_some() && raw.sinks.seal.keys.len() == 1);
        let connector = &raw.sinks.connectors[0];
        assert!(connector.mode.is_some() && connector.timeout_ms.is_some());
        assert!(connector.basic_user.is_some() && connector.password_file.is_some());
        assert!(connector.client_cert.is_some() && connector.client_key.is_some());
        assert!(connector.ca_file.is_some());
        let webhook = &raw.webhooks[0];
        assert!(
            webhook.audience.is_some() && webhook.events.is_some() && webhook.ca_file.is_some()
        );
        let sip = &raw.sip;
        assert!(sip.address.is_some() && sip.tls_address.is_some() && sip.tls_key.is_some());
        assert!(sip.users_file.is_some() && sip.trunks.is_some() && sip.realm.is_some());
        assert!(sip.digest.is_some() && sip.nat.is_some() && sip.max_calls.is_some());
        assert!(sip.engine.is_some() && !sip.numbers.is_empty());
        assert!(raw.audiosocket.address.is_some() && raw.audiosocket.engine.is_some());
        let ng = &raw.ng;
        assert!(ng.address.is_some() && ng.tcp_address.is_some() && ng.peers.is_some());
        assert!(ng.media_directory.is_some());
        let audit = &raw.audit;
        assert!(audit.enabled.is_some() && audit.directory.is_some() && audit.name.is_some());
        assert!(audit.key_file.is_some() && audit.anchor.is_some());
        assert!(audit.checkpoint_s.is_some());
        let syslog = &audit.syslog;
        assert!(syslog.address.is_some() && syslog.hostname.is_some());
        assert!(syslog.enterprise.is_some() && syslog.ca_file.is_some());
        assert!(syslog.client_cert.is_some() && syslog.client_key.is_some());
        assert!(raw.recordings.key_files.is_some() && raw.recordings.retain_days.is_some());
        with_secrets(raw).resolve(Path::new("/state"), 2).unwrap();
    }

    /// Engines' files as far as there can be any here.
    fn with_secrets(mut raw: RawConfig) -> RawConfig {
        use std::os::unix::fs::PermissionsExt;
        let file = std::env::temp_dir().join(format!("sotto-engine-{}", std::process::id()));
        std::fs::write(&file, "secret").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        for engine in raw.engines.values_mut() {
            engine.secret_file = engine.secret_file.take().map(|_| file.clone());
            engine.authorities = None;
        }
        raw
    }
}
