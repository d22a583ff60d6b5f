//! Peer: a media relay that a load test can put calls on.

use std::net::SocketAddrV4;

use loadtest::relay_process::Failure;
use rand::CryptoRng;
use relay::wire::sdes::CryptoAttribute;
use relay::wire::srtp::{Inbound, MasterKey, Outbound, Suite};

use super::generator::LegPlan;
use super::process::Process;

/// What a call is like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct CallKind {
    /// The caller speaks SRTP with a key from SDES; the engine speaks RTP.
    pub(crate) srtp: bool,
    /// It is recorded, where the peer can.
    pub(crate) record: bool,
    /// Keys are kept from the engine from the beginning.
    pub(crate) secure: bool,
}

/// A call as it was opened.
pub(crate) struct OpenedCall {
    /// The peer's name for it.
    pub(crate) id: String,
    /// The caller's leg, then the engine's.
    pub(crate) legs: [LegPlan; 2],
}

/// What became of a collection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// It is not over, or the call is still cut.
    Pending,
    /// It was accepted.
    Passed,
    /// It was not, for this reason.
    Failed(String),
}

/// A relay under load.
pub(crate) trait Peer {
    /// Its process.
    fn process(&self) -> Process;

    /// Opens a call between these two ends.
    fn open(
        &mut self,
        ends: [SocketAddrV4; 2],
        kind: CallKind,
        rng: &mut dyn CryptoRng,
    ) -> Result<OpenedCall, Failure>;

    /// Keeps the caller's keys from the engine from now on.
    fn enter(&mut self, call: &str) -> Result<(), Failure>;

    /// The time within which this share of its flips was in force, as it tells itself, in ms; none
    /// of a peer that does not.
    fn flipped_within(&self, share: f64) -> Result<Option<f64>, Failure>;

    /// Keeps the caller's keys from the engine and collects a card number; the call opens by
    /// itself afterwards.
    fn collect(&mut self, call: &str) -> Result<(), Failure>;

    /// What became of the collection, once the call is open again.
    fn verdict(&mut self, call: &str) -> Result<Verdict, Failure>;

    /// Lets them through again, once the caller presses none.
    fn leave(&mut self, call: &str) -> Result<(), Failure>;

    /// Ends a call.
    fn close(&mut self, call: &str) -> Result<(), Failure>;
}

/// A caller's own key, of the suite that everybody speaks (RFC 4568 section 6.2.1).
pub(crate) fn caller_key(mut rng: &mut dyn CryptoRng) -> CryptoAttribute {
    CryptoAttribute { tag: 1, key: MasterKey::random(Suite::AesCm128HmacSha1_80, &mut rng) }
}

/// A leg over RTP, or over SRTP with the keys of both sides.
pub(crate) fn leg(
    to: SocketAddrV4,
    ours: Option<&CryptoAttribute>,
    theirs: Option<&CryptoAttribute>,
) -> LegPlan {
    LegPlan {
        to,
        outbound: ours.map(|ours| Outbound::new(&ours.key)),
        inbound: theirs.map(|theirs| Inbound::new(&theirs.key)),
    }
}
