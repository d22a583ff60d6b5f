//! AudioSocket callers: Asterisk's `AudioSocket()` dials this relay, and its channel is a caller.
//!
//! A connection names its call by a UUID, which becomes the call's external id. The protocol has no
//! keys of access: who may connect is said by address. It is heard when it has named its call.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use audit_log::Listener;
use dialects::audiosocket::CallerSocket;
use dialects::{Act, Dialect, Effects, Encoding};
use relay::switchboard::Side;
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use uuid::Uuid;

use super::conversation::{Conversation, Errands};
use super::packets::Format;
use super::wire::{Came, Wire};
use crate::Control;
use crate::audit::By;
use crate::calls::Launch;
use crate::dto::engine::{CodecName, EngineRequest, linked_media};
use crate::dto::id;
use crate::dto::leg::TransportName;
use crate::engines::EngineProfile;
use crate::external_id::ExternalId;
use crate::index::CallEntry;
use crate::peers::Peers;
use crate::problem::Problem;

/// Callers at a time, those that have not named a call among them.
const MAX_CALLERS: usize = 2048;
/// Time to name a call: Asterisk does it at once.
const NAMING_TIME: Duration = Duration::from_secs(5);
/// Between two attempts to accept when the system has no more descriptors.
const PAUSE: Duration = Duration::from_millis(200);
/// The engine that has no profile: the relay's own echo.
const ECHO: &str = "echo";

/// AudioSocket callers, as typed.
#[derive(Clone, Default, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawCallers {
    /// Address and port of TCP; without one nobody is listened to.
    pub address: Option<String>,
    /// The engine that they get: the name of a profile that says all of its leg, or `echo`.
    pub engine: Option<String>,
    /// How they encode: `L16/8000`, `L16/16000` or `L16/24000`.
    pub codec: Option<CodecName>,
    /// Who may connect besides this machine.
    pub peers: Option<Vec<String>>,
}

/// Where AudioSocket callers come to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CallersConfig {
    /// By TCP.
    pub address: SocketAddr,
    engine: String,
    encoding: Encoding,
    peers: Peers,
}

/// What is wrong with a configuration, and where.
pub type Wrong = (&'static str, &'static str);

impl RawCallers {
    /// Checks what was typed; `None` if nobody is listened to.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn resolve(self) -> Result<Option<CallersConfig>, Wrong> {
        let Some(address) = self.address else { return Ok(None) };
        let wrong = ("audiosocket.address", "must be an IP address and a port");
        let address: SocketAddr = address.parse().map_err(|_| wrong)?;
        let engine = self.engine.unwrap_or_else(|| ECHO.to_owned());
        let encoding = self.codec.unwrap_or(CodecName::L16Narrow).encoding();
        let wrong = ("audiosocket.codec", "must be L16/8000, L16/16000 or L16/24000");
        let encoding =
            encoding.filter(|it| CallerSocket::new(*it, false).is_some()).ok_or(wrong)?;
        let wrong = ("audiosocket.peers", "must be addresses or networks, such as 192.0.2.0/24");
        let peers = Peers::parse(&self.peers.unwrap_or_default()).ok_or(wrong)?;
        if peers.is_empty() && !address.ip().is_loopback() {
            return Err(("audiosocket.peers", "must name who may connect: there are no keys"));
        }
        Ok(Some(CallersConfig { address, engine, encoding, peers }))
    }
}

impl CallersConfig {
    fn engine(&self) -> EngineRequest {
        match self.engine.as_str() {
            ECHO => EngineRequest::echo(None),
            name => EngineRequest::profiled(Some(name.to_owned())),
        }
    }
}

/// Accepts callers until the process stops.
pub async fn serve(listener: TcpListener, config: CallersConfig, control: Arc<Control>) {
    let room = Arc::new(Semaphore::new(MAX_CALLERS));
    let mut stopping = control.stopping();
    let config = Arc::new(config);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopping.changed() => break,
        };
        let Ok((stream, from)) = accepted else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        // Who may not connect is hung up on, unheard; so is who finds no room.
        if !config.peers.admit(from.ip()) {
            continue;
        }
        let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
            tracing::warn!("an AudioSocket caller finds no room");
            continue;
        };
        let (config, control) = (Arc::clone(&config), Arc::clone(&control));
        tokio::spawn(async move {
            if let Err(problem) = receive(&control, &config, stream, from).await {
                tracing::warn!(code = ?problem.code, "an AudioSocket caller got no call");
            }
            drop(permit);
        });
    }
    // Calls end before the process does.
    let _ = room.acquire_many(MAX_CALLERS as u32).await;
}

/// One caller, from the name of its call to its end.
async fn receive(
    control: &Arc<Control>,
    config: &CallersConfig,
    stream: TcpStream,
    from: SocketAddr,
) -> Result<(), Problem> {
    let _ = stream.set_nodelay(true);
    let mut wire = Wire::accepted(stream).map_err(|_| Problem::internal())?;
    let Some(mut dialect) = CallerSocket::new(config.encoding, false) else {
        return Err(Problem::internal());
    };
    let naming = tokio::time::timeout(NAMING_TIME, name_of(&mut wire, &mut dialect));
    let Ok(Some(name)) = naming.await else { return Ok(()) };
    let caller = linked_media(config.encoding, EngineProfile::default());
    let format = Format::of(&caller, config.encoding);
    let (near, mut link) = relay::link();
    let launch = Launch {
        caller,
        link: Some(near),
        nat: false,
        engine: config.engine(),
        armed: None,
        record: None,
        external_id: ExternalId::parse(&name.hyphenated().to_string()),
    };
    let entry = launch.open(control).await?.begin(control, &By::peer(Listener::AudioSocket, from));
    entry.is_linked_by(Side::Caller, TransportName::AudioSocket);
    let mut errands = CallerErrands { control: Arc::clone(control), entry: Arc::clone(&entry) };
    let leg = (Side::Caller, format);
    let conversation =
        Conversation::new(&entry, &mut wire, &mut link, &mut errands, Box::new(dialect), leg);
    if let Some(mut conversation) = conversation {
        conversation.hold(control.stopping()).await;
    }
    // However the connection ended, there is no caller any more.
    control.end_call(&entry).await?;
    tracing::info!(call = id::call(entry.id), "an AudioSocket caller is gone");
    Ok(())
}

/// The UUID of the call, which comes first; none if something else does.
async fn name_of(wire: &mut Wire, dialect: &mut CallerSocket) -> Option<Uuid> {
    let Came::Message(message) = wire.next().await else { return None };
    let mut effects = Effects::default();
    dialect.hear(&message, &mut effects).ok()?;
    match effects.acts.first() {
        Some(Act::Identify(octets)) => Some(Uuid::from_bytes(*octets)),
        Some(_) | None => None,
    }
}

/// What a caller's connection asks for.
struct CallerErrands {
    control: Arc<Control>,
    entry: Arc<CallEntry>,
}

impl Errands for CallerErrands {
    async fn hang_up(&mut self) {
        // A call that can't be ended now is ended when the connection is.
        let _ = self.control.end_call(&self.entry).await;
    }

    fn collect(&mut self, _: Option<String>, _: mpsc::Sender<()>) {
        // A caller has no model.
    }

    async fn pressed(&mut self, key: dtmf::Digit) {
        if let Some(at) = self.entry.at() {
            // It counts in a secure session alone; what came of it is nobody's business here.
            let _ = self.control.relay.key(at, key).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::RawCallers;

    fn resolve(text: &str) -> Result<Option<super::CallersConfig>, super::Wrong> {
        toml::from_str::<RawCallers>(text).unwrap().resolve()
    }

    #[test]
    fn who_is_reachable_from_outside_says_for_whom() {
        assert_eq!(resolve("").unwrap(), None);
        let config = resolve("address = '127.0.0.1:9092'").unwrap().unwrap();
        assert!(
            config.peers.admit([127, 0, 0, 1].into()) && !config.peers.admit([192, 0, 2, 1].into())
        );
        assert_eq!(resolve("address = '0.0.0.0:9092'").unwrap_err().0, "audiosocket.peers");
        let config = resolve("address = '0.0.0.0:9092'\npeers = ['192.0.2.0/24']");
        assert!(config.unwrap().unwrap().peers.admit([192, 0, 2, 1].into()));
        let codec = resolve("address = '127.0.0.1:9092'\ncodec = 'PCMU'");
        assert_eq!(codec.unwrap_err().0, "audiosocket.codec");
    }
}
