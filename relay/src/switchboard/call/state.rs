//! Routing: the state of a call, holding exactly what is known in it.

use std::time::Instant;

use super::SecureSession;
use crate::switchboard::routing::Phase;

/// The state of a call, holding exactly what is known in it.
pub(super) enum Routing {
    Open,
    Armed,
    Secure(Box<SecureSession>),
    Draining { session: Box<SecureSession>, since: Instant, look: Instant },
    Held { session: Box<SecureSession> },
    Closed,
}

impl Routing {
    /// The state, without what is known in it.
    pub(super) fn phase(&self) -> Phase {
        match self {
            Routing::Open => Phase::Open,
            Routing::Armed => Phase::Armed,
            Routing::Secure(session) => Phase::Secure(session.engine_audio()),
            Routing::Draining { session, .. } => Phase::Draining(session.engine_audio()),
            Routing::Held { session } => Phase::Held(session.engine_audio()),
            Routing::Closed => Phase::Closed,
        }
    }

    /// The session that holds the cut.
    pub(super) fn session(&mut self) -> Option<&mut SecureSession> {
        match self {
            Routing::Secure(session)
            | Routing::Draining { session, .. }
            | Routing::Held { session } => Some(session),
            Routing::Open | Routing::Armed | Routing::Closed => None,
        }
    }
}
