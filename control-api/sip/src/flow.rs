//! Flow: the way a message came, which is the way that is answered.

use std::net::SocketAddr;

/// What carries messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// A stream in clear.
    Tcp,
    /// A stream under TLS.
    Tls,
}

impl Transport {
    /// Whether what is sent arrives, so that nothing is sent again.
    pub(crate) const fn is_reliable(self) -> bool {
        match self {
            Transport::Udp => false,
            Transport::Tcp | Transport::Tls => true,
        }
    }

    /// As `Via` writes it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
            Transport::Tls => "TLS",
        }
    }
}

/// A way to a peer and back.
///
/// Requests of ours go by the flow that the call came by, and never to an address that a message
/// names: behind NAT no other would do, and what a message names is nobody's yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Flow {
    /// What carries it.
    pub transport: Transport,
    /// Which connection it is; 0 for datagrams.
    pub connection: u64,
    /// The peer.
    pub remote: SocketAddr,
    /// What the peer is told to reach us by.
    pub local: SocketAddr,
}

impl Flow {
    /// Our `Contact` on it. Who has called a `sips:` is told one (RFC 3261 section 12.1.1); phones
    /// that speak TLS otherwise often know none.
    pub(crate) fn contact(&self, is_sips: bool) -> String {
        match self.transport {
            _ if is_sips => format!("<sips:{}>", self.local),
            Transport::Udp => format!("<sip:{}>", self.local),
            Transport::Tcp => format!("<sip:{};transport=tcp>", self.local),
            Transport::Tls => format!("<sip:{};transport=tls>", self.local),
        }
    }
}
