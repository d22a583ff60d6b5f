//! Process: logs, panics and signals of the `sotto` binary.

use std::fmt;
use std::io;
use std::panic::PanicHookInfo;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::Metadata;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::clock;

/// Name of the threads on which a panic ends one request only.
pub const CONTROL_THREAD: &str = "control";

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

/// Lets the process have as many files as the system allows it: each connection is one, and each media
/// port. What it starts with is often 1,024, for the sake of programs that use `select`.
pub fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if limit.current != limit.maximum
        && let Err(error) = setrlimit(Resource::Nofile, raised)
    {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
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
