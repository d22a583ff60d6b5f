//! Association: DTLS with one peer, and what of it waits to be sent.

use std::time::Instant;

use super::dtls::{Dtls, DtlsRole, Fingerprint, Identity, Progress};
use super::media::SrtpKeys;
use super::routing::DropReason;

/// What signalling has said of a peer's side of DTLS and of ours.
pub struct DtlsPeer {
    /// Ours.
    pub identity: Identity,
    /// The peer's.
    pub fingerprint: Fingerprint,
    /// Who begins.
    pub role: DtlsRole,
}

/// One leg's side of it. Whoever calls knows where the peer is.
pub(super) struct Association {
    dtls: Dtls,
    /// Since when something of it waits to be sent.
    waits: Option<Instant>,
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

impl Association {
    /// Nothing has been said yet.
    pub(super) fn new(peer: &DtlsPeer) -> Association {
        let DtlsPeer { identity, fingerprint, role } = peer;
        Association { dtls: Dtls::new(identity, *fingerprint, *role), waits: None }
    }

    /// Whether this is with that peer, in these parts, and not over.
    pub(super) fn is_still(&self, peer: &DtlsPeer) -> bool {
        self.dtls.expects(&peer.fingerprint)
            && self.dtls.role() == peer.role
            && !self.dtls.is_over()
    }

    /// The peer can be reached: a client begins, and has begun once for all.
    pub(super) fn begin(&mut self, now: Instant) {
        self.dtls.begin(now);
        self.look(now);
    }

    /// Handles a datagram of the peer's.
    pub(super) fn hear(&mut self, now: Instant, datagram: &[u8]) -> Result<Signal, DropReason> {
        if !is_dtls(datagram) {
            return Err(DropReason::Malformed);
        }
        let progress = self.dtls.handle(now, datagram);
        self.look(now);
        Ok(match progress {
            Progress::Going => Signal::Nothing,
            Progress::Agreed(keys) => Signal::Keys(keys),
            Progress::Over(_) => Signal::Over,
        })
    }

    /// Writes what is due into `buffer`: its length.
    pub(super) fn poll(&mut self, now: Instant, buffer: &mut [u8]) -> Option<usize> {
        if self.dtls.due().is_some_and(|due| due <= now) {
            self.dtls.handle_timeout(now);
        }
        let sent = self.dtls.poll_transmit(buffer);
        self.look(now);
        sent
    }

    /// When [`Association::poll`] has something to do.
    pub(super) fn due(&self) -> Option<Instant> {
        self.waits.into_iter().chain(self.dtls.due()).min()
    }

    fn look(&mut self, now: Instant) {
        self.waits = self.dtls.has_output().then_some(now);
    }
}
