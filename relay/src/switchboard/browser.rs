//! Browser: a peer that proves itself by ICE and DTLS instead of by its address (RFC 8827).
//!
//! ```text
//! first octet (RFC 7983)   0..=3     20..=63                  128..=191
//!                          STUN      DTLS, of the proven      RTP and RTCP, of the proven
//!                           │        address alone            address alone
//!                        IceLite      Dtls ── keys ──► the leg's SRTP
//! ```

use std::net::SocketAddr;
use std::time::Instant;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::dtls::{Dtls, Fingerprint, Identity, Progress};
use super::ice::{IceCredentials, IceLite};
use super::media::SrtpKeys;
use super::routing::DropReason;
use crate::wire::stun;

/// What offer and answer have said of a browser and of us.
pub struct BrowserPeer {
    /// Ours in ICE.
    pub ours: IceCredentials,
    /// The browser's.
    pub theirs: IceCredentials,
    /// Ours in DTLS.
    pub identity: Identity,
    /// The browser's.
    pub fingerprint: Fingerprint,
}

/// One leg's side of it.
pub(super) struct Browser {
    ice: IceLite,
    dtls: Dtls,
    /// Since when something of DTLS waits to be sent.
    waits: Option<Instant>,
    /// For what nobody may guess, in time on the packet path.
    random: StdRng,
}

/// What came of a datagram that is no media.
pub(super) enum Signal {
    /// An answer of this length lies in the buffer, for whoever asked.
    Answer(usize),
    /// Both have the keys now.
    Keys(Box<SrtpKeys>),
    /// Nothing to do.
    Nothing,
    /// DTLS is over, and with it the right to use its keys.
    Over,
}

/// Whether a datagram is media, by its first octet (RFC 7983 section 7).
pub(super) fn is_media(datagram: &[u8]) -> bool {
    datagram.first().is_some_and(|first| (128..=191).contains(first))
}

fn is_dtls(datagram: &[u8]) -> bool {
    datagram.first().is_some_and(|first| (20..=63).contains(first))
}

impl Browser {
    /// A peer that has proven nothing yet.
    pub(super) fn new(peer: BrowserPeer, random: &mut impl Rng) -> Browser {
        let mut random = StdRng::from_rng(random);
        let BrowserPeer { ours, theirs, identity, fingerprint } = peer;
        let dtls = Dtls::new(&identity, fingerprint);
        Browser { ice: IceLite::new(ours, theirs, &mut random), dtls, waits: None, random }
    }

    /// Whether this is still the same browser, as offered anew. Its DTLS and its keys then last,
    /// whatever becomes of its addresses (RFC 8842 section 4).
    pub(super) fn is_still(&self, peer: &BrowserPeer) -> bool {
        self.dtls.expects(&peer.fingerprint) && !self.dtls.is_over()
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
            let Some(answer) = answer else { return Ok(Signal::Nothing) };
            let place = buffer.get_mut(..answer.len()).ok_or(DropReason::Malformed)?;
            place.copy_from_slice(&answer);
            return Ok(Signal::Answer(answer.len()));
        }
        if !is_dtls(datagram) {
            return Err(DropReason::Malformed);
        }
        if self.peer(now) != Some(from) {
            return Err(DropReason::UnknownPeer);
        }
        let progress = self.dtls.handle(now, datagram);
        self.waits = self.dtls.has_output().then_some(now);
        Ok(match progress {
            Progress::Going => Signal::Nothing,
            Progress::Agreed(keys) => Signal::Keys(keys),
            Progress::Over(_) => Signal::Over,
        })
    }

    /// Writes what is due into `buffer`: where to, and its length.
    pub(super) fn poll(&mut self, now: Instant, buffer: &mut [u8]) -> Option<(SocketAddr, usize)> {
        if let Some((to, check)) = self.ice.poll(now, &mut self.random) {
            buffer.get_mut(..check.len())?.copy_from_slice(&check);
            return Some((to, check.len()));
        }
        if self.dtls.due().is_some_and(|due| due <= now) {
            self.dtls.handle_timeout(now);
        }
        let sent = self.dtls.poll_transmit(buffer);
        self.waits = self.dtls.has_output().then_some(now);
        // What nobody is there for is repeated when somebody is.
        self.peer(now).zip(sent)
    }

    /// When [`Browser::poll`] has something to do.
    pub(super) fn due(&self) -> Option<Instant> {
        self.waits.into_iter().chain(self.ice.due()).chain(self.dtls.due()).min()
    }
}
