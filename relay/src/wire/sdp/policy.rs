//! `Policy`: what this relay accepts of the offers it understands.

use std::net::{IpAddr, SocketAddr};

use dtmf::g711::Law;

use super::{AddressPolicy, CertificateDigest, LocalMedia};

/// What is accepted and what is preferred.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Policy {
    /// The law to take where both are offered; `None` leaves the choice to the offer's order.
    pub preferred_law: Option<Law>,
    /// Refuse plain RTP, for legs that cross a public network.
    pub srtp_only: bool,
    /// Our certificate for browsers; without one there are none.
    pub certificate: Option<CertificateDigest>,
    /// Addresses that callers are told in place of our own of the same family: the outer side of a
    /// NAT that leaves ports as they are.
    pub advertised: Vec<IpAddr>,
    /// Where media may be sent.
    pub addresses: AddressPolicy,
}

impl Policy {
    /// Our side as callers are told it.
    #[must_use]
    pub fn outside(&self, local: LocalMedia) -> LocalMedia {
        let told = |own: SocketAddr| {
            let same_family = |it: &&IpAddr| it.is_ipv4() == own.is_ipv4();
            let ip = self.advertised.iter().find(same_family).copied().unwrap_or(own.ip());
            SocketAddr::new(ip, own.port())
        };
        LocalMedia { rtp: told(local.rtp), rtcp: told(local.rtcp) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_are_told_the_outer_side_of_their_family() {
        let policy = Policy { advertised: vec!["192.0.2.1".parse().unwrap()], ..Policy::default() };
        let local = |ip: &str| LocalMedia {
            rtp: SocketAddr::new(ip.parse().unwrap(), 10_000),
            rtcp: SocketAddr::new(ip.parse().unwrap(), 10_001),
        };
        assert_eq!(policy.outside(local("10.0.0.7")), local("192.0.2.1"));
        assert_eq!(policy.outside(local("2001:db8::7")), local("2001:db8::7"));
        assert_eq!(Policy::default().outside(local("10.0.0.7")), local("10.0.0.7"));
    }
}
