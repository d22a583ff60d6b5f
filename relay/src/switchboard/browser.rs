//! Browser: a peer that proves itself by ICE and DTLS instead of by its address (RFC 8827).
//!
//! ```text
//! first octet (RFC 7983)   0..=3     20..=63                  128..=191
//!                          STUN      DTLS, of the proven      RTP and RTCP, of the proven
//!                           │        address alone            address alone
//!                        IceLite      Association ── keys ──► the leg's SRTP
//! ```

use std::net::SocketAddr;
use std::time::Instant;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::association::{Association, DtlsPeer, Signal};
use super::ice::{IceCredentials, IceLite};
use super::routing::DropReason;
use crate::wire::stun;

/// What offer and answer have said of a browser and of us.
pub struct BrowserPeer {
    /// Ours in ICE.
    pub ours: IceCredentials,
    /// The browser's.
    pub theirs: IceCredentials,
    /// Both in DTLS.
    pub dtls: DtlsPeer,
}

/// One leg's side of it.
pub(super) struct Browser {
    ice: IceLite,
    association: Association,
    /// For what nobody may guess, in time on the packet path.
    random: StdRng,
}

impl Browser {
    /// A peer that has proven nothing yet.
    pub(super) fn new(peer: BrowserPeer, random: &mut impl Rng) -> Browser {
        let mut random = StdRng::from_rng(random);
        let BrowserPeer { ours, theirs, dtls } = peer;
        let association = Association::new(&dtls);
        Browser { ice: IceLite::new(ours, theirs, &mut random), association, random }
    }

    /// Whether this is still the same browser, as offered anew. Its DTLS and its keys then last,
    /// whatever becomes of its addresses (RFC 8842 section 4).
    pub(super) fn is_still(&self, peer: &BrowserPeer) -> bool {
        self.association.is_still(&peer.dtls)
    }

    /// Whether ICE goes on as it is with these names.
    pub(super) fn goes_on_with(&self, peer: &BrowserPeer) -> bool {
        self.ice.is_between(&peer.ours, &peer.theirs)
    }

    /// Takes over what was offered anew: other names in ICE are another beginning of it.
    pub(super) fn renew(&mut self, peer: BrowserPeer) {
        let BrowserPeer { ours, theirs, .. } = peer;
        if !self.ice.is_between(&ours, &theirs) {
            self.ice = IceLite::new(ours, theirs, &mut self.random);
        }
    }

    /// Where it is and wants to be sent to, if that is proven.
    pub(super) fn peer(&self, now: Instant) -> Option<SocketAddr> {
        self.ice.peer(now)
    }

    /// Handles a datagram that is no media.
    pub(super) fn hear(
        &mut self,
        now: Instant,
        from: SocketAddr,
        buffer: &mut [u8],
        len: usize,
    ) -> Result<Signal, DropReason> {
        let datagram = &buffer[..len];
        if stun::is_stun(datagram) {
            let answer = self.ice.handle(now, from, datagram, &mut self.random);
            if self.peer(now).is_some() {
                self.association.begin(now);
            }
            let Some(answer) = answer else { return Ok(Signal::Nothing) };
            let place = buffer.get_mut(..answer.len()).ok_or(DropReason::Malformed)?;
            place.copy_from_slice(&answer);
            return Ok(Signal::Answer(answer.len()));
        }
        if self.peer(now) != Some(from) {
            return Err(DropReason::UnknownPeer);
        }
        self.association.hear(now, datagram)
    }

    /// Writes what is due into `buffer`: where to, and its length.
    pub(super) fn poll(&mut self, now: Instant, buffer: &mut [u8]) -> Option<(SocketAddr, usize)> {
        if let Some((to, check)) = self.ice.poll(now, &mut self.random) {
            buffer.get_mut(..check.len())?.copy_from_slice(&check);
            return Some((to, check.len()));
        }
        let sent = self.association.poll(now, buffer);
        // What nobody is there for is repeated when somebody is.
        self.peer(now).zip(sent)
    }

    /// When [`Browser::poll`] has something to do.
    pub(super) fn due(&self) -> Option<Instant> {
        self.ice.due().into_iter().chain(self.association.due()).min()
    }
}
