//! LegMedia: what was agreed for one leg, as the switchboard needs it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use dtmf::g711::Law;

use super::association::DtlsPeer;
use super::browser::BrowserPeer;
use super::limits::{LOOK_AHEAD, MAX_LOOK_AHEAD};
use crate::codec::Codec;
use crate::wire::srtp::MasterKey;

/// Which sources a leg accepts.
#[derive(Default)]
pub enum SourceRule {
    /// Only the signalled address and port.
    #[default]
    Signalled,
    /// A peer behind NAT: the first source that proves itself. Closes once found.
    Latch,
    /// Only the signalled address and port, with keys that DTLS agrees on there. Where RTCP has a
    /// port of its own there is none.
    Dtls(Box<DtlsPeer>),
    /// A browser: the address that ICE has proven, with keys that DTLS agrees on. Signalled
    /// addresses mean nothing then.
    Browser(Box<BrowserPeer>),
    /// Nobody yet, while an offer of ours waits for its answer: nothing is sent, nothing is heard.
    Nobody,
}

/// How much later the engine hears the caller while a call is armed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LookAhead(Duration);

impl LookAhead {
    /// A look-ahead of up to [`MAX_LOOK_AHEAD`]; with none, what has left cannot be taken back.
    #[must_use]
    pub fn new(delay: Duration) -> Option<LookAhead> {
        (delay <= MAX_LOOK_AHEAD).then_some(LookAhead(delay))
    }

    /// The delay.
    #[must_use]
    pub const fn delay(self) -> Duration {
        self.0
    }
}

impl Default for LookAhead {
    fn default() -> LookAhead {
        LookAhead(LOOK_AHEAD)
    }
}

/// Keys of one SRTP leg, one a direction (RFC 4568 section 6.1).
pub struct SrtpKeys {
    /// What the peer protects with.
    pub inbound: MasterKey,
    /// What we protect with.
    pub outbound: MasterKey,
}

/// What was agreed for one leg.
pub struct LegMedia {
    /// Where the peer said it receives RTP, and sends it from.
    pub remote_rtp: SocketAddr,
    /// Where the peer said it receives RTCP.
    pub remote_rtcp: SocketAddr,
    /// RTCP travels on the RTP port (RFC 5761).
    pub rtcp_mux: bool,
    /// The codec.
    pub codec: Codec,
    /// Its payload type.
    pub payload_type: u8,
    /// Payload type of telephone-event at the codec's clock, if key events are exchanged on this leg.
    pub telephone_event: Option<u8>,
    /// Payload type of redundant key events (RFC 2198), which may carry `telephone_event` alone.
    pub redundancy: Option<u8>,
    /// The peer wants the other party's key events, where [`LegMedia::telephone_event`] says how.
    pub wants_events: bool,
    /// Packet time we send with.
    pub ptime: Duration,
    /// The peer may send (RFC 3264 direction).
    pub they_send: bool,
    /// The peer wants to receive.
    pub they_receive: bool,
    /// Present on SRTP legs whose keys signalling tells.
    pub srtp: Option<SrtpKeys>,
    /// Which sources are accepted.
    pub source: SourceRule,
}

impl LegMedia {
    /// A leg that has its ports, in the address family of `ours`, and nobody at its other end yet:
    /// what was offered there waits for its answer.
    #[must_use]
    pub fn nobody(ours: IpAddr) -> LegMedia {
        let anywhere: IpAddr = match ours {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let remote = SocketAddr::new(anywhere, 0);
        LegMedia {
            remote_rtp: remote,
            remote_rtcp: remote,
            rtcp_mux: true,
            codec: Codec::G711(Law::Mu),
            payload_type: 0,
            telephone_event: None,
            redundancy: None,
            wants_events: false,
            ptime: Duration::from_millis(20),
            they_send: false,
            they_receive: false,
            srtp: None,
            source: SourceRule::Nobody,
        }
    }
}
