//! Telephone: a peer that is where signalling says, and proves by DTLS who it is (RFC 5763).
//!
//! There is no ICE: the address alone decides whose datagrams are read, as with plain RTP. What
//! comes from anywhere else is dropped unread and unanswered, and no address is ever learned.
//!
//! The keys are those of the RTP port. Where RTCP has a port of its own, it would need a handshake
//! of its own; it has none here, and there is no RTCP then.

use std::net::SocketAddr;
use std::time::Instant;

use super::association::{Association, DtlsPeer, Signal};
use super::routing::DropReason;

/// One leg's side of it.
pub(super) struct Telephone {
    address: SocketAddr,
    association: Association,
}

impl Telephone {
    /// A peer that has proven nothing yet.
    pub(super) fn new(now: Instant, address: SocketAddr, peer: &DtlsPeer) -> Telephone {
        let mut association = Association::new(peer);
        association.begin(now);
        Telephone { address, association }
    }

    /// Whether a re-offer means the connection that there is: the same certificate at the same
    /// address (RFC 5763 section 6.6).
    pub(super) fn is_still(&self, address: SocketAddr, peer: &DtlsPeer) -> bool {
        self.address == address && self.association.is_still(peer)
    }

    /// Where it is.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Handles a datagram that is no media and came to the RTP port.
    pub(super) fn hear(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &[u8],
    ) -> Result<Signal, DropReason> {
        if from != self.address {
            return Err(DropReason::UnknownPeer);
        }
        self.association.hear(now, datagram)
    }

    /// Writes what is due into `buffer`: where to, and its length.
    pub(super) fn poll(&mut self, now: Instant, buffer: &mut [u8]) -> Option<(SocketAddr, usize)> {
        Some((self.address, self.association.poll(now, buffer)?))
    }

    /// When [`Telephone::poll`] has something to do.
    pub(super) fn due(&self) -> Option<Instant> {
        self.association.due()
    }
}
