//! Access: how a leg knows its peer: by the address that signalling tells, or by what it proves.

use std::net::SocketAddr;
use std::time::Instant;

use rand::Rng;

use super::browser::Browser;
use super::gate::{Admission, Gate, GateRule};
use super::media::{LegMedia, SourceRule};

/// How a leg knows its peer.
pub(super) enum Access {
    /// By the address that signalling tells.
    Signalled(Gate),
    /// By what it proves.
    Browser(Box<Browser>),
}

impl Access {
    /// As was agreed; what is known of a browser moves over.
    pub(super) fn new(media: &mut LegMedia, random: &mut impl Rng) -> Access {
        let signalled = media.remote_rtp;
        match std::mem::take(&mut media.source) {
            SourceRule::Signalled => Access::Signalled(Gate::new(signalled, GateRule::Signalled)),
            SourceRule::Latch => Access::Signalled(Gate::new(signalled, GateRule::Latch)),
            SourceRule::Browser(peer) => Access::Browser(Box::new(Browser::new(*peer, random))),
        }
    }

    /// Whether a re-offer wants what there is already.
    pub(super) fn is_still(&self, media: &LegMedia) -> bool {
        match (self, &media.source) {
            (Access::Signalled(gate), SourceRule::Signalled) => {
                gate.is_still(media.remote_rtp, GateRule::Signalled)
            }
            (Access::Signalled(gate), SourceRule::Latch) => {
                gate.is_still(media.remote_rtp, GateRule::Latch)
            }
            (Access::Browser(browser), SourceRule::Browser(peer)) => browser.is_still(peer),
            (Access::Signalled(_), SourceRule::Browser(_))
            | (Access::Browser(_), SourceRule::Signalled | SourceRule::Latch) => false,
        }
    }

    /// Judges a packet's source.
    pub(super) fn judge(&self, now: Instant, from: SocketAddr, may_latch: bool) -> Admission {
        match self {
            Access::Signalled(gate) => gate.judge(from, may_latch),
            Access::Browser(browser) if browser.peer(now) == Some(from) => Admission::Peer,
            Access::Browser(_) => Admission::Stranger,
        }
    }

    /// Where to send; nowhere while nobody has proven that it wants to be sent to.
    pub(super) fn target(&self, now: Instant) -> Option<SocketAddr> {
        match self {
            Access::Signalled(gate) => Some(gate.target()),
            Access::Browser(browser) => browser.peer(now),
        }
    }

    /// Nothing is sent or heard in clear.
    pub(super) fn is_secret(&self) -> bool {
        match self {
            Access::Signalled(_) => false,
            Access::Browser(_) => true,
        }
    }
}
