//! `Policy`: what this relay accepts of the offers it understands.

use dtmf::g711::Law;

use super::{AddressPolicy, CertificateDigest};

/// What is accepted and what is preferred.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Policy {
    /// The law to take where both are offered; `None` leaves the choice to the offer's order.
    pub preferred_law: Option<Law>,
    /// Refuse plain RTP, for legs that cross a public network.
    pub srtp_only: bool,
    /// Our certificate for browsers; without one there are none.
    pub certificate: Option<CertificateDigest>,
    /// Where media may be sent.
    pub addresses: AddressPolicy,
}
