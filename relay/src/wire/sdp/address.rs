//! `AddressPolicy`: where media may be sent; `Connection`: what a `c=` line says.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;

use super::{SdpError, SdpRefusal};

/// Local addresses that receive our own media: a call sent there would go round in circles.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OwnMedia {
    /// An address by which the media ports can be reached, public ones behind NAT included.
    pub address: IpAddr,
    /// The media ports.
    pub ports: RangeInclusive<u16>,
}

/// Which signalled addresses media may be sent to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AddressPolicy {
    /// Loopback is allowed: tests, or an engine on the same host.
    pub loopback: bool,
    /// Never send to these.
    pub own_media: Vec<OwnMedia>,
}

/// Why an address is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AddressRefusal {
    /// 0.0.0.0/8 or ::.
    #[error("the media address is unspecified, which only a call in progress may offer (hold)")]
    Unspecified,
    /// A multicast group.
    #[error("the media address is a multicast group")]
    Multicast,
    /// 255.255.255.255.
    #[error("the media address is the broadcast address")]
    Broadcast,
    /// 169.254.0.0/16, where clouds keep their metadata service, or fe80::/10.
    #[error("the media address is link-local")]
    LinkLocal,
    /// 127.0.0.0/8 or ::1.
    #[error(
        "the media address is a loopback address: only a relay with a loopback media address takes \
         it"
    )]
    Loopback,
    /// One of our own media ports.
    #[error("the media address is one of this relay's own media ports")]
    OwnMedia,
    /// Port 0.
    #[error("the media port is 0")]
    NoPort,
}

impl AddressPolicy {
    /// The address to use for a signalled one: itself, or IPv4 where it is IPv4 mapped into IPv6.
    ///
    /// # Errors
    /// [`AddressRefusal`] if media must not be sent there.
    pub fn admit(&self, signalled: SocketAddr) -> Result<SocketAddr, AddressRefusal> {
        let ip = signalled.ip().to_canonical();
        let port = signalled.port();
        let refusal = if is_unspecified(ip) {
            AddressRefusal::Unspecified
        } else if ip.is_multicast() {
            AddressRefusal::Multicast
        } else if ip == IpAddr::V4(Ipv4Addr::BROADCAST) {
            AddressRefusal::Broadcast
        } else if is_link_local(ip) {
            AddressRefusal::LinkLocal
        } else if ip.is_loopback() && !self.loopback {
            AddressRefusal::Loopback
        } else if port == 0 {
            AddressRefusal::NoPort
        } else if self.own_media.iter().any(|own| own.holds(ip, port)) {
            AddressRefusal::OwnMedia
        } else {
            return Ok(SocketAddr::new(ip, port));
        };
        Err(refusal)
    }
}

impl OwnMedia {
    fn holds(&self, ip: IpAddr, port: u16) -> bool {
        self.address.to_canonical() == ip && self.ports.contains(&port)
    }
}

/// 0.0.0.0/8 means "this host" as a whole (RFC 1122 section 3.2.1.3), and Linux sends 0.0.0.0 to
/// loopback.
fn is_unspecified(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.octets()[0] == 0,
        IpAddr::V6(ip) => ip.is_unspecified(),
    }
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

/// What follows `c=`, or the port of an `a=rtcp` (RFC 8866 section 5.7, RFC 3605).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Connection {
    /// An address, any address.
    Address(IpAddr),
    /// A host name; refused once a stream that we use depends on it.
    HostName {
        /// Where it stands.
        line: usize,
    },
}

impl Connection {
    pub(super) fn parse(line: usize, value: &str) -> Result<Self, SdpError> {
        let bad = SdpError::BadConnection { line };
        let mut words = value.split_ascii_whitespace();
        let (Some(network), Some(family), Some(address), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(bad);
        };
        if !network.eq_ignore_ascii_case("IN") {
            return Err(bad);
        }
        // A time to live or a count follows a multicast address; the address alone decides here.
        let address = address.split('/').next().unwrap_or_default();
        let parsed = if family.eq_ignore_ascii_case("IP4") {
            address.parse().map(|ip: Ipv4Addr| IpAddr::V4(ip))
        } else if family.eq_ignore_ascii_case("IP6") {
            address.parse().map(|ip: Ipv6Addr| IpAddr::V6(ip))
        } else {
            return Err(bad);
        };
        match parsed {
            Ok(ip) => Ok(Self::Address(ip)),
            Err(_) if is_host_name(address) => Ok(Self::HostName { line }),
            Err(_) => Err(bad),
        }
    }

    /// The address, if it is one.
    pub(super) fn address(self) -> Result<IpAddr, SdpRefusal> {
        match self {
            Self::Address(ip) => Ok(ip),
            Self::HostName { line } => Err(SdpRefusal::HostName { line }),
        }
    }
}

/// Whether a word is a host name and not a mistyped address: its last label has a letter.
fn is_host_name(word: &str) -> bool {
    let label = |octet: u8| octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'.';
    let last = word.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
    word.bytes().all(label) && last.bytes().any(|octet| octet.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::{AddressPolicy, AddressRefusal, Connection, OwnMedia};
    use crate::wire::sdp::{SdpError, SdpRefusal};

    fn policy() -> AddressPolicy {
        let own =
            |address: &str| OwnMedia { address: address.parse().unwrap(), ports: 10000..=20000 };
        AddressPolicy { loopback: false, own_media: vec![own("203.0.113.9"), own("2001:db8::9")] }
    }

    fn check(address: &str) -> Result<String, AddressRefusal> {
        policy().admit(address.parse().unwrap()).map(|admitted| admitted.to_string())
    }

    #[test]
    fn ordinary_addresses_are_admitted() {
        for address in
            ["198.51.100.7:4000", "10.1.2.3:1", "[2001:db8::7]:65535", "203.0.113.9:9999"]
        {
            assert_eq!(check(address), Ok(address.to_owned()));
        }
        assert_eq!(check("[::ffff:198.51.100.7]:4000"), Ok("198.51.100.7:4000".to_owned()));
    }

    #[test]
    fn addresses_that_no_caller_has_are_refused() {
        let cases = [
            ("0.0.0.0:4000", AddressRefusal::Unspecified),
            ("0.1.2.3:4000", AddressRefusal::Unspecified),
            ("[::]:4000", AddressRefusal::Unspecified),
            ("[::ffff:0.0.0.0]:4000", AddressRefusal::Unspecified),
            ("224.0.0.1:4000", AddressRefusal::Multicast),
            ("239.255.255.255:4000", AddressRefusal::Multicast),
            ("[ff02::1]:4000", AddressRefusal::Multicast),
            ("255.255.255.255:4000", AddressRefusal::Broadcast),
            ("169.254.169.254:80", AddressRefusal::LinkLocal),
            ("[::ffff:169.254.169.254]:80", AddressRefusal::LinkLocal),
            ("[fe80::1]:4000", AddressRefusal::LinkLocal),
            ("127.0.0.1:4000", AddressRefusal::Loopback),
            ("127.255.0.1:4000", AddressRefusal::Loopback),
            ("[::1]:4000", AddressRefusal::Loopback),
            ("[::ffff:127.0.0.1]:4000", AddressRefusal::Loopback),
            ("198.51.100.7:0", AddressRefusal::NoPort),
            ("203.0.113.9:10000", AddressRefusal::OwnMedia),
            ("203.0.113.9:20000", AddressRefusal::OwnMedia),
            ("[::ffff:203.0.113.9]:15000", AddressRefusal::OwnMedia),
            ("[2001:db8::9]:15000", AddressRefusal::OwnMedia),
        ];
        for (address, refusal) in cases {
            assert_eq!(check(address), Err(refusal), "{address}");
        }
    }

    #[test]
    fn loopback_is_a_choice() {
        let loopback = AddressPolicy { loopback: true, ..policy() };
        for address in ["127.0.0.1:4000", "[::1]:4000"] {
            assert!(loopback.admit(address.parse().unwrap()).is_ok());
        }
    }

    #[test]
    fn a_connection_is_an_address_or_a_host() {
        let ip = |text: &str| Ok(Connection::Address(text.parse::<IpAddr>().unwrap()));
        let bad = Err(SdpError::BadConnection { line: 3 });
        let host = Ok(Connection::HostName { line: 3 });
        let cases = [
            ("IN IP4 198.51.100.7", ip("198.51.100.7")),
            ("in ip4 198.51.100.7", ip("198.51.100.7")),
            ("IN IP6 2001:db8::1", ip("2001:db8::1")),
            ("IN IP4 224.2.1.1/127/3", ip("224.2.1.1")),
            ("IN IP4 sip.example.com", host),
            ("IN IP6 sip.example.com.", host),
            ("IN IP4 256.0.0.1", bad),
            ("IN IP4 10.0.0", bad),
            ("IN IP4 ::1", bad),
            ("IN IP6 10.0.0.1", bad),
            ("IN IP6 fe80::1%eth0", bad),
            ("ATM NSAP 47", bad),
            ("IN IP5 10.0.0.1", bad),
            ("IN IP4", bad),
            ("IN IP4 10.0.0.1 10.0.0.2", bad),
            ("", bad),
        ];
        for (value, expected) in cases {
            assert_eq!(Connection::parse(3, value), expected, "{value:?}");
        }
        assert_eq!(
            Connection::HostName { line: 3 }.address(),
            Err(SdpRefusal::HostName { line: 3 })
        );
    }
}
