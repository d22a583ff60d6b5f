//! NG: SIP proxies drive this relay by rtpengine's control protocol.
//!
//! ```text
//! udp, tcp, http ──octets──► handle ──► Replays ──► Request ──► commands ──► Dialog ──► relay
//!       ▲                                  │                                    │
//!       └──────────── the same octets ◄────┘◄──────────── Reply ◄───────────────┘
//! ```
//!
//! A call of a proxy is a call like any other: REST lists it, and a secure session cuts it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use audit_log::Listener;
use ng_protocol::{Message, Reply, Request, Value};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::audit::By;
use crate::keys::{KeyId, Principal, Role};
use crate::{Control, clock};

mod commands;
pub mod config;
mod dialog;
mod dialogs;
mod faults;
pub mod http;
mod media;
mod play;
mod query;
mod recording;
mod refused;
mod replay;
mod secure;
mod sounds;
mod subscribe;
mod tcp;
mod udp;
pub mod ws;

use dialogs::Dialogs;
pub use dialogs::tend;
use faults::{Fault, Faults};
use replay::Replays;
use sounds::Sounds;
pub use tcp::serve as serve_tcp;
pub use udp::serve as serve_udp;

/// What the transports share.
pub struct Ng {
    dialogs: Dialogs,
    replays: Replays,
    faults: Faults,
    sounds: Sounds,
    /// Room for WebSockets.
    sockets: Arc<Semaphore>,
    /// Room for requests by HTTP.
    posts: Arc<Semaphore>,
}

impl Default for Ng {
    fn default() -> Ng {
        Ng {
            dialogs: Dialogs::default(),
            replays: Replays::default(),
            faults: Faults::default(),
            sounds: Sounds::default(),
            sockets: Arc::new(Semaphore::new(ws::MAX_SOCKETS)),
            posts: Arc::new(Semaphore::new(http::MAX_IN_FLIGHT)),
        }
    }
}

/// Has proxies name files of this folder, for parties to hear. It is said once, at the start.
pub fn play_from(control: &Control, folder: PathBuf) {
    control.ng.sounds.are_in(folder);
}

/// Who sends a request.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Peer {
    name: Name,
    /// What it may do.
    role: Role,
    /// Octets of Call-IDs that it may be sent at once.
    room: usize,
}

/// What a sender is known by.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Name {
    Address(SocketAddr),
    Key(KeyId),
}

impl Peer {
    /// One that its address lets in: it may do what scripts may.
    fn at(address: SocketAddr) -> Peer {
        Peer { name: Name::Address(address), role: Role::Script, room: query::MAX_LISTED }
    }

    /// The same, of one whose address nobody has proven.
    fn by_datagram(address: SocketAddr) -> Peer {
        Peer { room: query::MAX_LISTED_BY_UDP, ..Peer::at(address) }
    }

    /// The same for the audit log.
    fn by(&self) -> By {
        match &self.name {
            Name::Address(address) => By::peer(Listener::Ng, *address),
            Name::Key(key) => By::named(key, self.role, None).through(Listener::Ng),
        }
    }

    /// One that its key lets in.
    fn of_key(principal: &Principal) -> Peer {
        let name = Name::Key(principal.key.clone());
        Peer { name, role: principal.role, room: query::MAX_LISTED }
    }
}

/// Does what `octets` ask for, once, and returns the reply for their sender; nothing if they are no
/// message.
async fn handle(
    control: &Arc<Control>,
    peer: &Peer,
    octets: &[u8],
) -> Option<Arc<Zeroizing<Vec<u8>>>> {
    let ng = &control.ng;
    let Ok(message) = Message::split(octets) else {
        ng.faults.note(Fault::NotAMessage);
        return None;
    };
    let place = ng.replays.place(clock::monotonic(), peer, octets);
    let written = place.get_or_init(async || {
        let reply = answer(control, peer, &message).await;
        let written = Arc::new(reply.write(&message));
        ng.replays.keep(written.len());
        written
    });
    Some(Arc::clone(written.await))
}

async fn answer(control: &Arc<Control>, peer: &Peer, message: &Message<'_>) -> Reply {
    let value = match Value::read(message.syntax, message.body) {
        Ok(value) => value,
        Err(malformed) => {
            control.ng.faults.note(Fault::Malformed);
            return Reply::error(malformed.to_string());
        }
    };
    let request = match Request::read(&value) {
        Ok(request) => request,
        Err(bad) => {
            control.ng.faults.note(Fault::Malformed);
            return Reply::error(bad.to_string());
        }
    };
    if !request.unknown.is_empty() {
        control.ng.faults.note_unknown(&request.unknown);
    }
    let reply = commands::obey(control, peer, &request).await;
    let knows_load_limit = request.options.knows_load_limit;
    reply.unwrap_or_else(|refused| refused.into_reply(knows_load_limit))
}
