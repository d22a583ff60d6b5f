//! Linked engines: those behind a connection that the relay makes, one task a call.
//!
//! To the relay such an engine is a leg like any other: RTP comes and goes, by a link within this
//! process. So an engine gets nothing that `route()` does not let through, and a flip is in force
//! only when nothing from before is left here (`relay::link`).

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use dialects::Transport;
use relay::switchboard::{CallId, LegMedia, Side};
use relay::{HangUp, Link, NearEnd};
use rustls::ClientConfig;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

mod allowance;
pub mod callers;
mod conversation;
mod engine;
mod packets;
mod playout;
mod wire;

pub use engine::{Engine, OnClose, Spec, Unusable};
pub(crate) use wire::NoWire;

use crate::dto::id;
use crate::dto::leg::TransportName;
use crate::index::CallEntry;
use crate::outbound::tls::TlsFiles;
use crate::outbound::{ConnectError, Outbound, SystemResolver};
use crate::problem::{Code, Problem};
use crate::{Control, clock};
use conversation::{Conversation, Ending, EngineErrands};
use packets::Format;
use wire::Wire;

/// Connections to engines at a time. Each has a task, 50 kB of buffers and what waits to be played.
pub const MAX_LINKED: usize = 4096;
/// How long is waited before a connection is made anew; twice as long each time.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest such wait.
const LONGEST_PAUSE: Duration = Duration::from_secs(4);
/// Waits between attempts to end a call whose engine is gone.
const HANG_UP_PAUSES: [Duration; 4] =
    [Duration::from_millis(50), Duration::from_millis(200), FIRST_PAUSE, LONGEST_PAUSE];
/// A connection that held for so long begins a new count of attempts.
const STEADY: Duration = Duration::from_secs(30);

/// How engines are reached.
pub struct Outgoing {
    outbound: Outbound,
    /// Whom to trust unless an engine has its own authorities; read when it is first needed.
    trust: OnceLock<Option<Arc<ClientConfig>>>,
    room: Arc<Semaphore>,
}

impl Default for Outgoing {
    fn default() -> Outgoing {
        Outgoing::new(Outbound::new(Default::default(), Arc::new(SystemResolver)))
    }
}

/// An engine that is connected to, and whose call is about to be opened.
pub(crate) struct Ready {
    engine: Arc<Engine>,
    /// None between two connections.
    wire: Option<Wire>,
    link: Link,
    format: Format,
    _room: OwnedSemaphorePermit,
}

impl Outgoing {
    /// By these rules.
    #[must_use]
    pub fn new(outbound: Outbound) -> Outgoing {
        Outgoing { outbound, trust: OnceLock::new(), room: Arc::new(Semaphore::new(MAX_LINKED)) }
    }

    /// Waits until no conversation runs any more; none begins meanwhile.
    pub async fn all_gone(&self) {
        // An error means that the semaphore is closed, which nobody does.
        let _ = self.room.acquire_many(MAX_LINKED as u32).await;
    }

    /// Connects to an engine, for a leg that is agreed.
    ///
    /// # Errors
    /// [`Code::NoCapacity`] or [`Code::EngineUnreachable`].
    pub(crate) async fn prepare(
        &self,
        engine: Arc<Engine>,
        leg: &LegMedia,
    ) -> Result<(Ready, NearEnd), Problem> {
        let room = Arc::clone(&self.room).try_acquire_owned().map_err(|_| {
            let detail = format!("At most {MAX_LINKED} engines are connected to at once.");
            Problem::new(Code::NoCapacity, detail)
        })?;
        let wire = self.connect(&engine).await.map_err(|error| {
            let detail = format!("{error}: see that it runs, and that its address is right");
            Problem::new(Code::EngineUnreachable, detail)
        })?;
        let (near, link) = relay::link();
        let format = Format::of(leg, engine.encoding());
        Ok((Ready { engine, wire: Some(wire), link, format, _room: room }, near))
    }

    async fn connect(&self, engine: &Engine) -> Result<Wire, NoWire> {
        match engine.transport() {
            Transport::WebSocket => {
                let tls = match engine.tls() {
                    Some(own) => own.or_else(|| self.trusted()),
                    None => None,
                };
                let (endpoint, handshake) = (engine.endpoint(), engine.handshake());
                // Apart: it is large, and what waits for it is kept for every request.
                Box::pin(Wire::web_socket(&self.outbound, endpoint, tls, &handshake)).await
            }
            Transport::Tcp => Wire::tcp(&self.outbound, engine.endpoint()).await,
        }
    }

    fn trusted(&self) -> Option<&Arc<ClientConfig>> {
        let load = || {
            let loaded = TlsFiles::default().load();
            loaded.inspect_err(|error| tracing::error!(%error, "TLS to engines can't be had")).ok()
        };
        self.trust.get_or_init(load).as_ref()
    }
}

impl Ready {
    /// Begins to speak with the engine, until the call is over or the engine is gone for good.
    pub(crate) fn begin(self, control: &Arc<Control>, entry: &Arc<CallEntry>) {
        let transport = match self.engine.transport() {
            Transport::WebSocket => TransportName::WebSocket,
            Transport::Tcp => TransportName::AudioSocket,
        };
        entry.is_linked_by(Side::Engine, transport);
        let (control, entry) = (Arc::clone(control), Arc::clone(entry));
        tokio::spawn(async move {
            let gone = self.live(&control, &entry).await;
            if let Some(on_close) = gone {
                depart(&control, &entry, on_close).await;
            }
        });
    }

    /// What becomes of the call, if it is not over yet.
    async fn live(mut self, control: &Arc<Control>, entry: &Arc<CallEntry>) -> Option<OnClose> {
        let call = id::call(entry.id);
        let mut attempts = 0;
        loop {
            let begun = clock::monotonic();
            let ending = self.talk(control, entry, entry.id).await;
            // Before the link is told that nothing is left.
            if let Some(wire) = self.wire.take()
                && ending == Ending::Lost
            {
                wire.abort();
            }
            match ending {
                Ending::CallOver => return None,
                Ending::Closed => {
                    tracing::info!(call, "an engine has closed its connection");
                    return Some(self.engine.on_close());
                }
                Ending::Lost => tracing::warn!(call, "the connection to an engine is lost"),
            }
            if clock::monotonic().saturating_duration_since(begun) > STEADY {
                attempts = 0;
            }
            match self.reconnect(control, entry, &mut attempts).await {
                Some(wire) => self.wire = Some(wire),
                None if self.link.is_over() => return None,
                None => return Some(self.engine.on_close()),
            }
        }
    }

    async fn talk(
        &mut self,
        control: &Arc<Control>,
        entry: &Arc<CallEntry>,
        call: CallId,
    ) -> Ending {
        let Ready { engine, wire, link, format, .. } = self;
        let dialect = engine.dialect(call, entry.external_id.as_ref());
        let (Some(wire), Some(dialect)) = (wire, dialect) else {
            return Ending::Lost;
        };
        let mut errands = EngineErrands { control: Arc::clone(control), entry: Arc::clone(entry) };
        let leg = (Side::Engine, *format);
        link.renew();
        let conversation = Conversation::new(entry, wire, link, &mut errands, dialect, leg);
        match conversation {
            Some(mut conversation) => conversation.hold(control.stopping()).await,
            None => Ending::Lost,
        }
    }

    /// Another connection, while there are attempts and a call.
    async fn reconnect(
        &mut self,
        control: &Control,
        entry: &CallEntry,
        attempts: &mut u8,
    ) -> Option<Wire> {
        while *attempts < self.engine.reconnects() {
            let pause = FIRST_PAUSE * (1 << (*attempts).min(4));
            *attempts += 1;
            let connecting = async {
                tokio::time::sleep(pause.min(LONGEST_PAUSE)).await;
                control.linked.connect(&self.engine).await
            };
            let connected = tokio::select! {
                connected = connecting => connected,
                () = self.link.wait_for_end() => return None,
            };
            if *control.stopping().borrow() {
                return None;
            }
            match connected {
                Ok(wire) => return Some(wire),
                Err(error) => {
                    let call = id::call(entry.id);
                    tracing::warn!(call, %error, attempt = *attempts, "an engine can't be reached");
                    if !may_pass(error) {
                        return None;
                    }
                }
            }
        }
        None
    }
}

/// Whether another attempt may go better.
fn may_pass(error: NoWire) -> bool {
    match error {
        NoWire::Connect(error) => ConnectError::may_pass(error),
        NoWire::Late | NoWire::Refused(_) | NoWire::NoWebSocket => true,
    }
}

/// What becomes of a call whose engine is gone for good.
async fn depart(control: &Control, entry: &CallEntry, on_close: OnClose) {
    let call = id::call(entry.id);
    match on_close {
        OnClose::Keep => tracing::warn!(call, "the call lives on without an engine"),
        OnClose::HangUp => {
            for pause in HANG_UP_PAUSES {
                match control.hang_up(entry).await {
                    Ok(HangUp::Ended) => {
                        return tracing::info!(call, "the call ends with its engine");
                    }
                    Ok(HangUp::HeldBack) => {
                        return tracing::info!(call, "the call ends when its secure session has");
                    }
                    // Its worker has too much to do.
                    Err(_) => tokio::time::sleep(pause).await,
                }
            }
            tracing::error!(call, "a call whose engine is gone can't be ended");
        }
    }
}
