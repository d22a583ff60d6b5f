//! EngineLeg: the engine that a call is about to have, ready to begin.

use std::net::SocketAddr;
use std::sync::Arc;

use relay::NearEnd;
use relay::switchboard::LegMedia;

use crate::Control;
use crate::calls::reachable;
use crate::dto::engine::{EnginePlace, EngineRequest, linked_media};
use crate::echo::{self, Seat};
use crate::engines::{EngineProfile, Known};
use crate::index::CallEntry;
use crate::linked;
use crate::problem::Problem;

/// Why a call can't get an engine of this kind once it is open.
pub(crate) const FOR_GOOD: &str = "an engine that is an echo, or behind a connection, is a call's from its opening or not at \
     all: open another call";

/// An engine's leg before its call is open. Dropped, it leaves nothing behind.
pub(crate) struct EngineLeg {
    /// What is spoken on it.
    pub(crate) media: LegMedia,
    /// What is known of the engine.
    pub(crate) profile: EngineProfile,
    /// The relay's end of it, where the engine is not on the network.
    pub(crate) link: Option<NearEnd>,
    /// Who is there.
    pub(crate) party: Party,
}

/// Who is at an engine's leg.
pub(crate) enum Party {
    /// Somebody at an address, who needs nothing of us.
    Remote,
    /// The relay's own echo.
    Echo(Box<echo::Engine>),
    /// An engine that we are connected to.
    Linked(Box<linked::Ready>),
}

/// Gets an engine ready: an echo its sockets, one behind a connection that connection.
///
/// # Errors
/// A problem with the request's `/engine`, or there is no room, or the engine can't be reached.
pub(crate) async fn prepare(
    control: &Control,
    mut request: EngineRequest,
) -> Result<EngineLeg, Problem> {
    let Known { profile, leg } = known(control, request.profile.as_deref(), "/engine/profile")?;
    let addresses = &control.policy.addresses;
    match request.place("/engine", leg.as_ref())? {
        EnginePlace::At(address) => {
            let media = request.into_media(address, addresses, profile, "/engine")?;
            reachable(control, "/engine/address", media.remote_rtp)?;
            Ok(EngineLeg { media, profile, link: None, party: Party::Remote })
        }
        EnginePlace::Echo => {
            let seat = Seat::take(&control.echoes, addresses).await?;
            let media = request.into_media(seat.address(), addresses, profile, "/engine")?;
            let party = Party::Echo(Box::new(seat.engine(&media)?));
            Ok(EngineLeg { media, profile, link: None, party })
        }
        EnginePlace::Linked(engine) => {
            let media = linked_media(engine.encoding(), profile);
            let (ready, near) = control.linked.prepare(engine, &media).await?;
            let party = Party::Linked(Box::new(ready));
            Ok(EngineLeg { media, profile, link: Some(near), party })
        }
    }
}

/// What is known of an engine by the name of its profile, which `pointer` points at.
///
/// # Errors
/// A problem if there is no such profile.
pub(crate) fn known(
    control: &Control,
    name: Option<&str>,
    pointer: &'static str,
) -> Result<Known, Problem> {
    let detail = "no profile of this name is configured: see [engines] in the configuration file";
    control.engines.find(name).ok_or_else(|| Problem::invalid(pointer, detail))
}

impl Party {
    /// Begins: the call is open, and the relay hears the engine at `relay`.
    pub(crate) fn begin(self, control: &Arc<Control>, entry: &Arc<CallEntry>, relay: SocketAddr) {
        match self {
            Party::Remote => {}
            Party::Echo(echo) => echo.begin(relay, entry, control.stopping()),
            Party::Linked(ready) => ready.begin(control, entry),
        }
    }
}
