//! Running: relay, API and health listener in one process.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use audit_log::{Event, OpenError, Sha256};
use relay::io::Threads;
use relay::prompts::PromptError;
use relay::recording::{Archive, Recovered};
use relay::switchboard::dtls::Identity;
use relay::switchboard::{Delivery, Event as RelayEvent};
use relay::{RelayConfig, Started};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::audit::Audit;
use crate::audit::syslog::Syslog;
use crate::config::{Config, ConfigError, MediaConfig};
use crate::dto::plan::PlanContext;
use crate::hardening::AsRoot;
use crate::keys::{self, KeyError, KeyTable, NewKey, Role, Token};
use crate::linked::callers::CallersConfig;
use crate::mcp::Models;
use crate::ng::config::NgConfig;
use crate::oidc::{Oidc, OidcError};
use crate::outbound::tls::TlsError;
use crate::outbound::{Outbound, SystemResolver};
use crate::plans::Plans;
use crate::recording_keys::{self, RecordingKeyError};
use crate::recordings::Recordings;
use crate::secure_defaults::SecureDefaults;
use crate::server::certificate::Certificate;
use crate::sinks::{Sinks, SinksError};
use crate::sip::config::SipConfig;
use crate::sip::{Sip, SipError};
use crate::webhooks::delivery::Schedule;
use crate::webhooks::{Webhooks, WebhooksError};
use crate::{
    Access, Control, Outward, Parts, audit, chance, clock, echo, health, linked, listeners, ng,
    prompts, retention,
};

/// Exit code for a configuration that can't work (`EX_CONFIG` of sysexits.h).
pub const EXIT_CONFIG: u8 = 78;
/// How often a relay that drains looks whether calls are left.
const DRAIN_LOOK: Duration = Duration::from_millis(100);
/// Time for the media workers to end once they are asked to.
const JOIN_TIMEOUT: Duration = Duration::from_secs(12);

/// Why the process did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Root runs it.
    #[error(transparent)]
    AsRoot(#[from] AsRoot),
    /// The configuration can't work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The keys can't be read or made.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// The identity provider can't be used.
    #[error(transparent)]
    Oidc(#[from] OidcError),
    /// A sink can't be used.
    #[error(transparent)]
    Sinks(#[from] SinksError),
    /// Nobody can call by SIP.
    #[error(transparent)]
    Sip(#[from] SipError),
    /// A webhook can't be used.
    #[error(transparent)]
    Webhooks(#[from] WebhooksError),
    /// Nobody could use the API.
    #[error(
        "control.address {address} is reachable from outside, but {keys} holds no key: make one \
         with sotto keys add --role operator --keys {keys}"
    )]
    NoKeys {
        /// The address.
        address: SocketAddr,
        /// The key file.
        keys: PathBuf,
    },
    /// The folder of prompts can't be used.
    #[error("prompts.directory: {0}; sotto prompts check tells all that is wrong")]
    Prompts(#[from] PromptError),
    /// The keys that seal recordings can't be read or made.
    #[error(transparent)]
    RecordingKeys(#[from] RecordingKeyError),
    /// The API's certificate or key can't be used.
    #[error("control.tls: {0}")]
    Tls(TlsError),
    /// Recordings can't be kept.
    #[error("recordings.directory {directory}: {source}")]
    Archive {
        /// The directory.
        directory: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Files that parties are to hear can't be found.
    #[error("ng.media_directory {directory}: {source}")]
    Media {
        /// The directory.
        directory: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The media plane did not start.
    #[error("{error}{}", cause_of(.error))]
    Relay {
        /// Why.
        error: relay::StartError,
    },
    /// A listener can't be bound.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The audit log can't be opened.
    #[error("audit.directory: {0}")]
    Audit(#[from] OpenError),
    /// The audit log's collector can't be spoken to.
    #[error("audit.syslog: {0}")]
    AuditSyslog(#[from] TlsError),
    /// The system gave no random numbers.
    #[error("the system gave no random numbers")]
    NoRandom,
}

impl StartError {
    /// The exit code: [`EXIT_CONFIG`] for what a person must correct.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            StartError::AsRoot(_)
            | StartError::Config(_)
            | StartError::Keys(_)
            | StartError::Oidc(_)
            | StartError::Prompts(_)
            | StartError::Tls(_)
            | StartError::Sinks(_)
            | StartError::Sip(_)
            | StartError::Webhooks(_)
            | StartError::NoKeys { .. }
            | StartError::RecordingKeys(_)
            | StartError::Archive { .. }
            | StartError::Media { .. }
            | StartError::AuditSyslog(_)
            | StartError::Audit(
                OpenError::Directory(_) | OpenError::Key(_) | OpenError::Damaged { .. },
            )
            | StartError::Relay {
                error:
                    relay::StartError::Config(_)
                    | relay::StartError::Address { .. }
                    | relay::StartError::Method { .. },
            } => EXIT_CONFIG,
            StartError::Relay { error: relay::StartError::Kernel { .. } }
            | StartError::Listen { .. }
            | StartError::Audit(OpenError::Io { .. } | OpenError::Append(_))
            | StartError::NoRandom => 1,
        }
    }
}

fn cause_of(error: &relay::StartError) -> String {
    std::error::Error::source(error).map_or_else(String::new, |cause| format!(": {cause}"))
}

/// A running process.
pub struct Running {
    /// The control plane.
    pub control: Arc<Control>,
    /// Where the API listens.
    pub address: SocketAddr,
    /// Where health and metrics are.
    pub health: SocketAddr,
    /// Where SIP is answered by UDP and TCP, if it is.
    pub sip: Option<SocketAddr>,
    /// The operator's key, if this start made it; to be shown once.
    pub first_key: Option<Token>,
    digest: Sha256,
    certificate: Option<Arc<Certificate>>,
    threads: Threads,
    hearing: JoinHandle<()>,
    delivering: JoinHandle<()>,
    tasks: Vec<JoinHandle<()>>,
}

impl Running {
    /// Starts everything, or nothing: no socket is bound before the configuration is known to
    /// work.
    ///
    /// # Errors
    /// The first thing that prevents it.
    pub async fn start(config: Config) -> Result<Running, StartError> {
        let outward = open_outward(&config)?;
        let (access, first_key) = open_access(&config)?;
        let secure = secure_defaults(&config)?;
        let plans = named_plans(&config.plans, &secure, &outward.sinks)?;
        let archive = open_archive(&config)?;
        let media_directory = media_directory(&config.ng)?;
        let (audit, collector) = open_audit(&config)?;
        let (front, certificate) = listeners::open_front(&config)?;
        let (api_listener, health_listener, addresses) = listeners::bind(&config).await?;
        let sip = bind_sip(config.sip.clone()).await?;
        let sip_address = sip.as_ref().and_then(Sip::address);
        let proxies = listeners::Proxies::listen(&config.ng).await?;
        let callers = bind_callers(config.audiosocket.clone()).await?;
        let policy = config.media.policy();
        let served = config.clone();
        let relay = relay_config(config.media, archive.clone())?;
        let identity = Identity::generate().map_err(|_| StartError::NoRandom)?;
        let Started { relay, events, deliveries, gauges, threads } =
            relay::start(&relay).map_err(|error| StartError::Relay { error })?;
        let recordings = recordings_of(archive, &threads);
        let base = config.mcp_base.or_else(|| front.base_url(addresses.0));
        let models = Models { plans, base };
        let control = Control::new(Parts {
            relay,
            gauges,
            policy,
            identity: Some(identity),
            recordings,
            access,
            engines: config.engines,
            secure,
            outward,
            models,
            audit,
        });
        if let Some(folder) = media_directory {
            ng::play_from(&control, folder);
        }
        let (hearing, delivering) = listen_to_relay(&control, events, deliveries);
        let mut tasks = vec![
            tokio::spawn(health::sample(Arc::clone(&control))),
            tokio::spawn(keys::watch(Arc::clone(&control), config.keys)),
        ];
        tasks.extend(attend_audit(&control, collector, config.digest));
        tasks.extend(listeners::attend_api(&control, api_listener, front, config.limits));
        tasks.extend(control.webhooks.start(&control.stopping()));
        tasks.extend(sip.into_iter().flat_map(|sip| sip.start(&control)));
        tasks.extend(proxies.attend(&control, &config.ng.peers));
        tasks.extend(callers.map(|callers| attend_callers(&control, callers)));
        if let Some(retain) = config.recordings.and_then(|recordings| recordings.retain) {
            tasks.push(tokio::spawn(retention::keep(Arc::clone(&control), retain)));
        }
        let (address, health) = addresses;
        listeners::attend_health(&control, health_listener, health)?;
        log_start(&served, address, health);
        Ok(Running {
            control,
            address,
            health,
            sip: sip_address,
            first_key,
            digest: config.digest,
            certificate,
            threads,
            hearing,
            delivering,
            tasks,
        })
    }

    /// The file that the API keys are in.
    #[must_use]
    pub fn keys(&self) -> &Path {
        &self.control.key_store.path
    }

    /// Reads the key file again: keys that were added are valid, and removed ones no longer.
    ///
    /// # Errors
    /// If it can't be read; the old keys stay valid.
    pub fn reload_keys(&self) -> Result<(), KeyError> {
        self.control.reload_keys()?;
        tracing::info!("the key file was read again");
        Ok(())
    }

    /// Takes over the keys that seal recordings as a configuration names them now.
    ///
    /// # Errors
    /// If they can't be read; the old keys stay in use.
    pub fn reload_recording_keys(&self, config: &Config) -> Result<(), RecordingKeyError> {
        if let (Some(kept), Some(recordings)) = (&self.control.recordings, &config.recordings) {
            let read = recording_keys::read(&recordings.keys);
            let (event, digest) = (Event::RecordingKeysLoaded, Some(config.digest));
            self.control.audit.note(audit::reloaded(event, digest, read.is_ok()));
            kept.archive.replace_keys(read?);
            tracing::info!("the keys of recordings were read again");
        }
        Ok(())
    }

    /// Reads the files of the API's TLS again, if it has any; what can't be used is logged, and the old
    /// ones stay in use.
    pub fn reload_certificate(&self) {
        if let Some(certificate) = &self.certificate {
            certificate.reload_and_tell();
        }
    }

    /// Where the API is, as a browser writes it.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.certificate.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Waits until the relay is gone, which it never is while the process is well.
    pub async fn relay_gone(&mut self) {
        let _ = (&mut self.hearing).await;
    }

    /// Takes no new calls from now on, and returns when the last one has ended or `grace` has
    /// passed; at once if there is none. All that concerns calls is answered meanwhile.
    pub async fn drain(&self, grace: Duration) {
        self.control.drain();
        if grace.is_zero() {
            return;
        }
        tracing::info!(calls = self.control.calls.live().len(), ?grace, "draining");
        let all_over = async {
            while !self.control.calls.live().is_empty() {
                tokio::time::sleep(DRAIN_LOOK).await;
            }
        };
        if tokio::time::timeout(grace, all_over).await.is_err() {
            let calls = self.control.calls.live().len();
            tracing::warn!(calls, "the grace is over: calls that are still on are ended");
        }
    }

    /// Ends all calls, completes their recordings, lets requests in flight end.
    pub async fn stop(self) {
        let Running { control, digest, threads, hearing, delivering, tasks, .. } = self;
        control.stop();
        for entry in control.calls.live() {
            let _ = control.end_call(&entry).await;
        }
        for task in tasks {
            let _ = task.await;
        }
        echo::all_gone(&control.echoes).await;
        control.linked.all_gone().await;
        if let Some(recordings) = &control.recordings
            && let Ok(flushed) = recordings.queue.flush()
        {
            let _ = flushed.await;
        }
        // The workers end when nobody can ask them for anything any more.
        for task in [hearing, delivering] {
            task.abort();
            let _ = task.await;
        }
        control.audit.note(audit::process(Event::ProcessStopped, digest));
        let closing = Arc::clone(&control);
        let _ = tokio::task::spawn_blocking(move || closing.audit.close()).await;
        drop(control);
        let (sender, joined) = oneshot::channel();
        // A thread of our own: the runtime would wait for one of its own without end.
        std::thread::spawn(move || {
            threads.join();
            let _ = sender.send(());
        });
        if tokio::time::timeout(JOIN_TIMEOUT, joined).await.is_err() {
            tracing::warn!("the media workers are left behind");
        }
    }
}

/// Takes in what the relay tells, and what secure sessions accept.
fn listen_to_relay(
    control: &Arc<Control>,
    events: mpsc::Receiver<RelayEvent>,
    deliveries: mpsc::Receiver<Delivery>,
) -> (JoinHandle<()>, JoinHandle<()>) {
    let (hearer, deliverer) = (Arc::clone(control), Arc::clone(control));
    let hearing = tokio::spawn(async move { hearer.hear(events).await });
    let delivering = tokio::spawn(async move { deliverer.deliver(deliveries).await });
    (hearing, delivering)
}

fn log_start(config: &Config, address: SocketAddr, health: SocketAddr) {
    if !config.front.names_clients() {
        tracing::warn!(
            "behind the TLS proxy all clients have one address, and none is limited or locked out by it: \
             name the proxy in control.trusted_proxies"
        );
    }
    let media = &config.media;
    let ours: Vec<_> = media.policy().addresses.own_media.iter().map(|own| own.address).collect();
    let (media_addresses, ports) = (format!("{ours:?}"), format!("{:?}", media.ports));
    let (workers, state_dir) = (media.workers, config.state_dir.display());
    tracing::info!(%address, %health, media_addresses, ports, workers, %state_dir, "sotto serves");
}

/// Who is let in.
fn open_access(config: &Config) -> Result<(Access, Option<Token>), StartError> {
    let (keys, first_key) = open_keys(config)?;
    let outbound = || Outbound::new(config.outbound.clone(), Arc::new(SystemResolver));
    let oidc = config.oidc.clone().map(|oidc| Oidc::open(oidc, outbound())).transpose()?;
    let (store, url_tickets) = (config.keys.clone(), config.url_tickets);
    Ok((Access { store, keys, oidc, url_tickets }, first_key))
}

/// The keys; a first start on loopback makes one for its operator.
fn open_keys(config: &Config) -> Result<(KeyTable, Option<Token>), StartError> {
    let file = config.keys.open()?;
    if !file.records().is_empty() {
        return Ok((file.table()?, None));
    }
    if !config.control.ip().is_loopback() && config.oidc.is_none() {
        let (address, keys) = (config.control, config.keys.path.clone());
        return Err(StartError::NoKeys { address, keys });
    }
    if !config.control.ip().is_loopback() {
        return Ok((file.table()?, None));
    }
    let mut file = config.keys.edit()?;
    let first = file.add(NewKey::of(Role::Operator), clock::now())?.1;
    Ok((file.table()?, Some(first)))
}

/// Whom this process speaks to of its own accord.
fn open_outward(config: &Config) -> Result<Outward, StartError> {
    let outbound = Outbound::new(config.outbound.clone(), Arc::new(SystemResolver));
    let sinks = Sinks::open(config.sinks.clone(), outbound.clone())?;
    let directory = config.state_dir.join("webhooks");
    let schedule = Schedule::default();
    let linked = linked::Outgoing::new(outbound.clone());
    let webhooks = Webhooks::open(config.webhooks.clone(), &directory, outbound, schedule)?;
    Ok(Outward { sinks: Arc::new(sinks), webhooks: Arc::new(webhooks), linked })
}

/// The log of who did what, and what sends it to a collector.
fn open_audit(config: &Config) -> Result<(Audit, Option<Syslog>), StartError> {
    let Some(audit) = &config.audit else { return Ok((Audit::default(), None)) };
    let outbound = Outbound::new(config.outbound.clone(), Arc::new(SystemResolver));
    let open = |syslog| Syslog::open(syslog, outbound, audit.directory.clone());
    let collector = audit.syslog.clone().map(open).transpose()?;
    Ok((audit.open()?, collector))
}

/// The tasks that tend the audit log, which knows of the start from now on.
fn attend_audit(
    control: &Arc<Control>,
    collector: Option<Syslog>,
    configuration: Sha256,
) -> Vec<JoinHandle<()>> {
    control.audit.note(audit::process(Event::ProcessStarted, configuration));
    let mut tasks = vec![tokio::spawn(audit::tend(Arc::clone(control)))];
    let sending = collector.map(|collector| collector.attend(Arc::clone(control)));
    tasks.extend(sending.map(tokio::spawn));
    tasks
}

/// What holds for every secure session.
fn secure_defaults(config: &Config) -> Result<SecureDefaults, StartError> {
    let secure = SecureDefaults {
        card_mode: config.secure.card_mode,
        language: config.secure.language,
        prompts: prompts::load(config.prompts.as_deref())?,
    };
    match secure.voice(secure.language) {
        Some(_) => Ok(secure),
        None => Err(ConfigError::no_voice().into()),
    }
}

/// The named plans, made once to see that each can be.
fn named_plans(
    written: &BTreeMap<String, Value>,
    secure: &SecureDefaults,
    sinks: &Sinks,
) -> Result<Plans, StartError> {
    let context = PlanContext { today: clock::now().day(), secure, sinks };
    let plans = Plans::check(written.clone(), |request| {
        request.into_order(&context).map(|order| order.plan)
    });
    plans.map_err(|fault| ConfigError::Plan { member: fault.member, reason: fault.reason }.into())
}

/// Makes the named plans with the sinks and prompts that they need, and nothing else.
///
/// # Errors
/// The first thing that can't work.
pub fn try_plans(config: &Config) -> Result<(), StartError> {
    let outbound = Outbound::new(config.outbound.clone(), Arc::new(SystemResolver));
    let sinks = Sinks::open(config.sinks.clone(), outbound)?;
    named_plans(&config.plans, &secure_defaults(config)?, &sinks).map(drop)
}

/// The recordings; what a crash has left half done there is completed.
fn open_archive(config: &Config) -> Result<Option<Arc<Archive>>, StartError> {
    let Some(recordings) = &config.recordings else { return Ok(None) };
    let keys = recording_keys::read_or_make(recordings, config.control)?;
    let directory = recordings.directory.clone();
    let failed = |source| StartError::Archive { directory: recordings.directory.clone(), source };
    let archive = Archive::open(directory, keys, chance::fill).map_err(failed)?;
    let Recovered { strays, erasures, keyless } = archive.recover().map_err(failed)?;
    if strays + erasures + keyless > 0 {
        tracing::info!(strays, erasures, keyless, "recordings were left by a process that died");
    }
    Ok(Some(Arc::new(archive)))
}

fn recordings_of(archive: Option<Arc<Archive>>, threads: &Threads) -> Option<Recordings> {
    let kept = archive.zip(threads.recorder());
    kept.map(|(archive, recorder)| Recordings { archive, queue: recorder.queue() })
}

fn relay_config(
    media: MediaConfig,
    recordings: Option<Arc<Archive>>,
) -> Result<RelayConfig, StartError> {
    Ok(RelayConfig {
        media_v4: media.v4,
        media_v6: media.v6,
        ports: media.ports,
        workers: media.workers,
        pin: media.pin,
        io: media.io,
        io_interfaces: media.io_interfaces,
        media_timeout: media.timeout,
        recordings,
        seed: chance::octets().map_err(|_| StartError::NoRandom)?,
        unix_time: clock::unix_time(),
    })
}

/// Where AudioSocket callers come to.
async fn bind_callers(
    config: Option<CallersConfig>,
) -> Result<Option<(TcpListener, CallersConfig)>, StartError> {
    match config {
        Some(config) => Ok(Some((listeners::listen(config.address).await?, config))),
        None => Ok(None),
    }
}

fn attend_callers(
    control: &Arc<Control>,
    (listener, config): (TcpListener, CallersConfig),
) -> JoinHandle<()> {
    tracing::info!(address = %config.address, "AudioSocket callers are listened to");
    tokio::spawn(linked::callers::serve(listener, config, Arc::clone(control)))
}

async fn bind_sip(config: Option<SipConfig>) -> Result<Option<Sip>, StartError> {
    match config {
        Some(config) => Sip::bind(config).await.map(Some),
        None => Ok(None),
    }
}

/// The folder of the files that parties may be played, if there is to be one: one that can be read.
fn media_directory(config: &NgConfig) -> Result<Option<PathBuf>, StartError> {
    let Some(directory) = config.media_directory.clone() else { return Ok(None) };
    match std::fs::read_dir(&directory) {
        Ok(_) => Ok(Some(directory)),
        Err(source) => Err(StartError::Media { directory, source }),
    }
}

/// Where state goes if nothing says so: what systemd gives, else what the XDG base directory
/// specification says.
#[must_use]
pub fn default_state_dir(variable: impl Fn(&str) -> Option<PathBuf>) -> PathBuf {
    let given = |name: &str| variable(name).filter(|path| path.is_absolute());
    given("STATE_DIRECTORY")
        .or_else(|| given("XDG_STATE_HOME").map(|state| state.join("sotto")))
        .or_else(|| given("HOME").map(|home| home.join(".local/state/sotto")))
        .unwrap_or_else(|| Path::new("/var/lib/sotto").to_owned())
}
