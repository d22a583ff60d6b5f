//! A leg as tests and benches agree on it: PCMU and key events, 20 ms, RTP or SRTP.

use std::net::SocketAddr;
use std::time::Duration;

use dtmf::g711::Law;
use relay::codec::Codec;
use relay::switchboard::{LegMedia, SourceRule, SrtpKeys};
use relay::wire::srtp::{MasterKey, Suite};

/// A leg to a peer that receives RTP at `remote` and RTCP one port above.
pub(crate) fn media(remote: SocketAddr, suite: Option<Suite>) -> LegMedia {
    LegMedia {
        remote_rtp: remote,
        remote_rtcp: SocketAddr::new(remote.ip(), remote.port() + 1),
        rtcp_mux: false,
        codec: Codec::G711(Law::Mu),
        payload_type: 0,
        telephone_event: Some(101),
        redundancy: None,
        wants_events: true,
        ptime: Duration::from_millis(20),
        they_send: true,
        they_receive: true,
        srtp: suite.map(|suite| SrtpKeys { inbound: key(suite, 1), outbound: key(suite, 2) }),
        source: SourceRule::Signalled,
    }
}

/// A key of one octet over and over; the peer sends with that of ones.
pub(crate) fn key(suite: Suite, fill: u8) -> MasterKey {
    MasterKey::from_bytes(suite, &vec![fill; suite.master_len()]).expect("as long as it asks")
}
