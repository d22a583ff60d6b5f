//! Subscription: what control asks for copies of a call's media.

use std::net::SocketAddr;
use std::time::Duration;

use arrayvec::ArrayVec;

use super::id::{PortPair, Side};
use super::limits::MAX_COPIES;
use crate::codec::Codec;
use crate::wire::srtp::MasterKey;

/// A subscription, named by whoever asked for it; unique within its call.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SubscriptionId(pub u64);

/// Something for each copied party of a subscription, in the order that was asked for.
pub type Copies<T> = ArrayVec<T, MAX_COPIES>;

/// What is asked for a subscription.
pub enum Subscribing {
    /// Whom it copies, and from which ports that are already bound. Nothing is sent yet.
    Begin(Copies<(Side, PortPair)>),
    /// Where each copy goes; `None` for one that is not wanted. It may come again.
    Answer(Copies<Option<CopyMedia>>),
    /// It ends.
    End,
}

/// What was agreed for one copy.
pub struct CopyMedia {
    /// Where it is sent to.
    pub remote: SocketAddr,
    /// Its codec.
    pub codec: Codec,
    /// The codec's payload type.
    pub payload_type: u8,
    /// Packet time.
    pub ptime: Duration,
    /// It is wanted now (RFC 3264 direction); packets stop while it is not.
    pub they_receive: bool,
    /// What we protect with; in clear without.
    pub key: Option<MasterKey>,
}
