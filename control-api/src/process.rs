//! Process: logs, panics and signals of the `sotto` binary.

use std::fmt;
use std::io;
use std::panic::PanicHookInfo;
use std::path::{Path, PathBuf};

use relay::IoMethod;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::Metadata;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::clock;
use crate::config::RawConfig;
use crate::hardening::files::is_shared;
use crate::hardening::{Needs, Reach, privileges};

/// Name of the threads on which a panic ends one request only.
pub const CONTROL_THREAD: &str = "control";

/// Ports below it need a privilege.
const FIRST_FREE_PORT: u16 = 1024;
/// What is logged unless `RUST_LOG` says otherwise.
const DEFAULT_FILTER: &str = "info";

/// The times of log lines: whole seconds, as those of events. A delivery or a webhook that is refused
/// is told within a millisecond of the key that it is about.
struct WholeSeconds;

impl FormatTime for WholeSeconds {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        write!(writer, "{}", clock::now().whole_seconds())
    }
}

/// Logs to standard error, one JSON object a line, control characters escaped.
pub fn start_logs() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| DEFAULT_FILTER.into());
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_span_list(false)
        .with_timer(WholeSeconds)
        .with_writer(io::stderr)
        .with_env_filter(filter)
        .finish()
        .with(filter_fn(is_ours))
        .init();
}

/// Whether something may be logged at all. The MCP SDK logs whole messages, in which a model may
/// have written what a caller said.
#[must_use]
pub fn is_ours(metadata: &Metadata<'_>) -> bool {
    !metadata.target().starts_with("rmcp")
}

/// From now on a panic tells where it happened and nothing else, since its message may hold
/// anything; and one outside the control threads ends the process, since a media worker that is
/// gone leaves calls in a state that nobody knows.
pub fn guard_panics() {
    std::panic::set_hook(Box::new(|panic: &PanicHookInfo<'_>| {
        let place = panic.location().map_or_else(String::new, ToString::to_string);
        tracing::error!(place, "panic");
        let thread = std::thread::current();
        if thread.name().is_none_or(|name| !name.starts_with(CONTROL_THREAD)) {
            std::process::abort();
        }
    }));
}

/// Threads of the runtime answer requests: they bind no socket that needs a privilege.
pub fn give_up_privileges() {
    if let Err(error) = privileges::give_up_all() {
        tracing::warn!(%error, "a thread keeps the privileges of its process");
    }
}

/// What the process needs of the system with an effective configuration, read from a file.
#[must_use]
pub fn needs(effective: &RawConfig, file: Option<&Path>) -> Needs {
    let listeners = [
        &effective.control.address,
        &effective.health.address,
        &effective.sip.address,
        &effective.sip.tls_address,
        &effective.ng.address,
        &effective.ng.tcp_address,
        &effective.audiosocket.address,
    ];
    let port = |address: &String| address.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    let ports = listeners.into_iter().flatten().filter_map(port);
    let named = effective.named_files().into_iter().map(|file| file.path);
    let RawConfig { state_dir, recordings, audit, .. } = effective;
    let write = [state_dir, &recordings.directory, &audit.directory];
    let mut reach = Reach {
        read: file.map(Path::to_owned).into_iter().chain(named).chain(authorities()).collect(),
        write: write.into_iter().flatten().cloned().collect(),
    };
    // Keys are made by the API, and by a first start wherever they are; so is the one that signs the
    // audit log's checkpoints, which the anchor is replaced with.
    let made = [&effective.control.keys, &audit.key_file, &audit.anchor].into_iter().flatten();
    let folders = made.filter_map(|path| {
        path.parent().filter(|it| !is_shared(it) || !path.exists()).map(Path::to_owned)
    });
    reach.write.extend(folders);
    Needs {
        low_ports: ports.into_iter().any(|port: u16| port < FIRST_FREE_PORT),
        rings: effective.media.io.as_deref() != Some(IoMethod::Sockets.as_str()),
        reach,
    }
}

/// Where somebody said that the system's certificates of authorities are.
fn authorities() -> impl Iterator<Item = PathBuf> {
    ["SSL_CERT_FILE", "SSL_CERT_DIR"].into_iter().filter_map(std::env::var_os).map(PathBuf::from)
}

/// The signals that the process obeys.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

/// What a signal asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asked {
    /// SIGTERM: take no new calls, let those that are on go on for a grace, then stop.
    Drain,
    /// SIGINT: end all calls, complete the recordings, and exit.
    Stop,
    /// SIGHUP: read the key file and the certificate again.
    ReloadKeys,
}

impl Signals {
    /// Listens from now on.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn listen() -> io::Result<Signals> {
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// The next one.
    pub async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.interrupt.recv() => Asked::Stop,
            _ = self.terminate.recv() => Asked::Drain,
            _ = self.hangup.recv() => Asked::ReloadKeys,
        }
    }
}
