//! Access: how a leg knows its peer: by the address that signalling tells, or by what it proves.

use std::net::SocketAddr;
use std::time::Instant;

use rand::Rng;

use super::association::Signal;
use super::browser::Browser;
use super::gate::{Admission, Gate, GateRule};
use super::leg::Component;
use super::media::{LegMedia, SourceRule};
use super::routing::DropReason;
use super::telephone::Telephone;

/// How a leg knows its peer.
pub(super) enum Access {
    /// By the address that signalling tells.
    Signalled(Gate),
    /// By what it proves at that address.
    Telephone(Box<Telephone>),
    /// By what it proves, wherever it is.
    Browser(Box<Browser>),
    /// There is none yet.
    Nobody,
}

impl Access {
    /// As was agreed; what is known of a peer that proves itself moves over.
    pub(super) fn new(now: Instant, media: &mut LegMedia, random: &mut impl Rng) -> Access {
        let signalled = media.remote_rtp;
        match std::mem::take(&mut media.source) {
            SourceRule::Signalled => Access::Signalled(Gate::new(signalled, GateRule::Signalled)),
            SourceRule::Latch => Access::Signalled(Gate::new(signalled, GateRule::Latch)),
            SourceRule::Dtls(peer) => {
                Access::Telephone(Box::new(Telephone::new(now, signalled, &peer)))
            }
            SourceRule::Browser(peer) => Access::Browser(Box::new(Browser::new(*peer, random))),
            SourceRule::Nobody => Access::Nobody,
        }
    }

    /// Whether a re-offer wants what there is already.
    pub(super) fn is_still(&self, media: &LegMedia) -> bool {
        let signalled = media.remote_rtp;
        match &media.source {
            SourceRule::Signalled => self.is_gate(signalled, GateRule::Signalled),
            SourceRule::Latch => self.is_gate(signalled, GateRule::Latch),
            SourceRule::Dtls(peer) => match self {
                Access::Telephone(telephone) => telephone.is_still(signalled, peer),
                Access::Signalled(_) | Access::Browser(_) | Access::Nobody => false,
            },
            SourceRule::Browser(peer) => match self {
                Access::Browser(browser) => browser.is_still(peer),
                Access::Signalled(_) | Access::Telephone(_) | Access::Nobody => false,
            },
            SourceRule::Nobody => false,
        }
    }

    /// The same, and a browser has not begun ICE anew, which would look for it elsewhere.
    pub(super) fn is_untouched_by(&self, media: &LegMedia) -> bool {
        let has_same_names = match (self, &media.source) {
            (Access::Browser(browser), SourceRule::Browser(peer)) => browser.goes_on_with(peer),
            (
                Access::Signalled(_) | Access::Telephone(_) | Access::Browser(_) | Access::Nobody,
                SourceRule::Signalled
                | SourceRule::Latch
                | SourceRule::Dtls(_)
                | SourceRule::Browser(_)
                | SourceRule::Nobody,
            ) => true,
        };
        has_same_names && self.is_still(media)
    }

    fn is_gate(&self, signalled: SocketAddr, rule: GateRule) -> bool {
        match self {
            Access::Signalled(gate) => gate.is_still(signalled, rule),
            Access::Telephone(_) | Access::Browser(_) | Access::Nobody => false,
        }
    }

    /// Judges a packet's source.
    pub(super) fn judge(&self, now: Instant, from: SocketAddr, may_latch: bool) -> Admission {
        match self {
            Access::Signalled(gate) => gate.judge(from, may_latch),
            Access::Telephone(_) | Access::Browser(_) if self.target(now) == Some(from) => {
                Admission::Peer
            }
            Access::Telephone(_) | Access::Browser(_) | Access::Nobody => Admission::Stranger,
        }
    }

    /// Where to send; nowhere while nobody has proven that it wants to be sent to.
    pub(super) fn target(&self, now: Instant) -> Option<SocketAddr> {
        match self {
            Access::Signalled(gate) => Some(gate.target()),
            Access::Telephone(telephone) => Some(telephone.address()),
            Access::Browser(browser) => browser.peer(now),
            Access::Nobody => None,
        }
    }

    /// Nothing is sent or heard in clear.
    pub(super) fn is_secret(&self) -> bool {
        match self {
            Access::Signalled(_) => false,
            Access::Telephone(_) | Access::Browser(_) | Access::Nobody => true,
        }
    }

    /// Whether RTCP may go to and come to a port of its own.
    pub(super) fn has_rtcp_port(&self) -> bool {
        match self {
            Access::Signalled(_) => true,
            Access::Telephone(_) | Access::Browser(_) | Access::Nobody => false,
        }
    }

    /// Handles a datagram that is no media, where the peer may send such.
    pub(super) fn hear(
        &mut self,
        now: Instant,
        component: Component,
        from: SocketAddr,
        buffer: &mut [u8],
        len: usize,
    ) -> Option<Result<Signal, DropReason>> {
        match (self, component) {
            (Access::Browser(browser), _) => Some(browser.hear(now, from, buffer, len)),
            (Access::Telephone(telephone), Component::Rtp) => {
                Some(telephone.hear(now, from, &buffer[..len]))
            }
            (Access::Telephone(_), Component::Rtcp)
            | (Access::Signalled(_) | Access::Nobody, Component::Rtp | Component::Rtcp) => None,
        }
    }

    /// Writes what is due of that into `buffer`: where to, and its length.
    pub(super) fn poll(&mut self, now: Instant, buffer: &mut [u8]) -> Option<(SocketAddr, usize)> {
        match self {
            Access::Signalled(_) | Access::Nobody => None,
            Access::Telephone(telephone) => telephone.poll(now, buffer),
            Access::Browser(browser) => browser.poll(now, buffer),
        }
    }

    /// When [`Access::poll`] has something to do.
    pub(super) fn due(&self) -> Option<Instant> {
        match self {
            Access::Signalled(_) | Access::Nobody => None,
            Access::Telephone(telephone) => telephone.due(),
            Access::Browser(browser) => browser.due(),
        }
    }
}
