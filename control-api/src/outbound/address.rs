//! AddressRules: which addresses an outgoing request may go to.
//!
//! Everything that is not a public unicast address is refused unless the configuration opens its
//! range: requests made from here must not reach what only this machine's network can reach
//! (server-side request forgery).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Most ranges that may be opened.
pub const MAX_ALLOWED: usize = 64;

/// Why an address is refused: what kind of address it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Special {
    /// This host, as it names itself.
    Loopback,
    /// A private network (RFC 1918, RFC 4193).
    Private,
    /// One link only; the metadata services of clouds are here.
    LinkLocal,
    /// Between a provider and its customers (RFC 6598).
    Shared,
    /// A metadata or control service of a cloud, on an address that looks public.
    Metadata,
    /// No address at all.
    Unspecified,
    /// Many receivers.
    Multicast,
    /// For examples in texts.
    Documentation,
    /// Set aside for protocols, measurements or the future.
    Reserved,
}

impl Special {
    /// The word for logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Special::Loopback => "loopback",
            Special::Private => "private",
            Special::LinkLocal => "link-local",
            Special::Shared => "shared",
            Special::Metadata => "metadata",
            Special::Unspecified => "unspecified",
            Special::Multicast => "multicast",
            Special::Documentation => "documentation",
            Special::Reserved => "reserved",
        }
    }
}

/// IPv4 ranges that are not public unicast (IANA IPv4 Special-Purpose Address Registry), and the
/// cloud services that sit elsewhere.
const SPECIAL_V4: [(Ipv4Net, Special); 18] = [
    (v4([0, 0, 0, 0], 8), Special::Unspecified),
    (v4([10, 0, 0, 0], 8), Special::Private),
    // Alibaba Cloud's metadata service; named apart from the range around it.
    (v4([100, 100, 100, 200], 32), Special::Metadata),
    (v4([100, 64, 0, 0], 10), Special::Shared),
    (v4([127, 0, 0, 0], 8), Special::Loopback),
    (v4([169, 254, 0, 0], 16), Special::LinkLocal),
    // Azure's platform service.
    (v4([168, 63, 129, 16], 32), Special::Metadata),
    (v4([172, 16, 0, 0], 12), Special::Private),
    // With Oracle Cloud's metadata service, 192.0.0.192.
    (v4([192, 0, 0, 0], 24), Special::Reserved),
    (v4([192, 0, 2, 0], 24), Special::Documentation),
    // Relays of 6to4 (RFC 7526).
    (v4([192, 88, 99, 0], 24), Special::Reserved),
    (v4([192, 168, 0, 0], 16), Special::Private),
    (v4([198, 18, 0, 0], 15), Special::Reserved),
    (v4([198, 51, 100, 0], 24), Special::Documentation),
    (v4([203, 0, 113, 0], 24), Special::Documentation),
    (v4([224, 0, 0, 0], 4), Special::Multicast),
    // AS112 service (RFC 7534), which answers for private addresses.
    (v4([192, 31, 196, 0], 24), Special::Reserved),
    // With limited broadcast.
    (v4([240, 0, 0, 0], 4), Special::Reserved),
];

/// IPv6 ranges inside or outside the global unicast space that are not public.
const SPECIAL_V6: [(Ipv6Net, Special); 11] = [
    (v6([0, 0, 0, 0, 0, 0, 0, 0], 128), Special::Unspecified),
    (v6([0, 0, 0, 0, 0, 0, 0, 1], 128), Special::Loopback),
    (v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48), Special::Private),
    // Teredo, ORCHID, benchmarks, AMT and other protocol assignments.
    (v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23), Special::Reserved),
    (v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32), Special::Documentation),
    (v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20), Special::Documentation),
    // With the metadata services of AWS (fd00:ec2::254) and Google Cloud (fd20:ce::254).
    (v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7), Special::Private),
    (v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10), Special::LinkLocal),
    // Site-local, deprecated but still routed in places (RFC 3879).
    (v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10), Special::Private),
    (v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8), Special::Multicast),
    (v6([0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0], 48), Special::Reserved),
];

/// Global unicast space (RFC 4291 section 2.4): all else is refused, known or not.
const GLOBAL_V6: Ipv6Net = v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);
/// IPv4 behind a translator (RFC 6052).
const NAT64: Ipv6Net = v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96);
/// IPv4 behind a 6to4 router (RFC 3056).
const SIX_TO_FOUR: Ipv6Net = v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16);

const fn v4(octets: [u8; 4], prefix: u8) -> Ipv4Net {
    let [a, b, c, d] = octets;
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6(words: [u16; 8], prefix: u8) -> Ipv6Net {
    let [a, b, c, d, e, f, g, h] = words;
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, e, f, g, h), prefix)
}

/// Which addresses outgoing requests may go to.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct AddressRules {
    allowed: Vec<IpNet>,
}

impl AddressRules {
    /// Public addresses, and those in `allowed`.
    #[must_use]
    pub fn new(allowed: Vec<IpNet>) -> AddressRules {
        assert!(allowed.len() <= MAX_ALLOWED, "the configuration bounds the ranges");
        AddressRules { allowed }
    }

    /// Whether the configuration opens the range that `ip` lies in.
    #[must_use]
    pub fn is_opened(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.allowed.iter().any(|range| range.contains(&ip))
    }

    /// Lets `ip` pass.
    ///
    /// # Errors
    /// What kind of address it is, if it is not a public one and its range is not opened.
    pub fn check(&self, ip: IpAddr) -> Result<(), Special> {
        if self.is_opened(ip) {
            return Ok(());
        }
        special(ip).map_or(Ok(()), Err)
    }
}

/// What kind of address it is, unless it is a public unicast one. An IPv4 address inside an IPv6
/// one is judged as what it is.
fn special(ip: IpAddr) -> Option<Special> {
    match ip.to_canonical() {
        IpAddr::V4(ip) => special_v4(ip),
        IpAddr::V6(ip) if NAT64.contains(&ip) => special_v4(embedded(ip, 12)),
        IpAddr::V6(ip) if SIX_TO_FOUR.contains(&ip) => special_v4(embedded(ip, 2)),
        IpAddr::V6(ip) => special_v6(ip),
    }
}

fn special_v4(ip: Ipv4Addr) -> Option<Special> {
    SPECIAL_V4.iter().find(|(range, _)| range.contains(&ip)).map(|(_, special)| *special)
}

fn special_v6(ip: Ipv6Addr) -> Option<Special> {
    let known = SPECIAL_V6.iter().find(|(range, _)| range.contains(&ip));
    let unknown = || (!GLOBAL_V6.contains(&ip)).then_some(Special::Reserved);
    known.map(|(_, special)| *special).or_else(unknown)
}

/// The four octets from `start` on.
fn embedded(ip: Ipv6Addr, start: usize) -> Ipv4Addr {
    let octets = ip.octets();
    let mut inner = [0; 4];
    inner.copy_from_slice(&octets[start..start + 4]);
    Ipv4Addr::from(inner)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::{AddressRules, Special};

    /// The first, the last and a middle address of every special range, and the neighbours.
    const CASES: &[(&str, Option<Special>)] = &[
        ("0.0.0.0", Some(Special::Unspecified)),
        ("0.255.255.255", Some(Special::Unspecified)),
        ("1.0.0.0", None),
        ("9.255.255.255", None),
        ("10.0.0.0", Some(Special::Private)),
        ("10.255.255.255", Some(Special::Private)),
        ("11.0.0.0", None),
        ("100.63.255.255", None),
        ("100.64.0.0", Some(Special::Shared)),
        ("100.100.100.200", Some(Special::Metadata)),
        ("100.127.255.255", Some(Special::Shared)),
        ("100.128.0.0", None),
        ("126.255.255.255", None),
        ("127.0.0.0", Some(Special::Loopback)),
        ("127.0.0.1", Some(Special::Loopback)),
        ("127.255.255.255", Some(Special::Loopback)),
        ("128.0.0.0", None),
        ("168.63.129.15", None),
        ("168.63.129.16", Some(Special::Metadata)),
        ("169.253.255.255", None),
        ("169.254.0.0", Some(Special::LinkLocal)),
        ("169.254.169.254", Some(Special::LinkLocal)),
        ("169.254.255.255", Some(Special::LinkLocal)),
        ("169.255.0.0", None),
        ("172.15.255.255", None),
        ("172.16.0.0", Some(Special::Private)),
        ("172.31.255.255", Some(Special::Private)),
        ("172.32.0.0", None),
        ("192.0.0.0", Some(Special::Reserved)),
        ("192.0.0.192", Some(Special::Reserved)),
        ("192.0.1.0", None),
        ("192.0.2.1", Some(Special::Documentation)),
        ("192.0.3.0", None),
        ("192.31.196.1", Some(Special::Reserved)),
        ("192.88.99.1", Some(Special::Reserved)),
        ("192.167.255.255", None),
        ("192.168.0.0", Some(Special::Private)),
        ("192.168.255.255", Some(Special::Private)),
        ("192.169.0.0", None),
        ("198.17.255.255", None),
        ("198.18.0.0", Some(Special::Reserved)),
        ("198.19.255.255", Some(Special::Reserved)),
        ("198.20.0.0", None),
        ("198.51.100.7", Some(Special::Documentation)),
        ("203.0.113.7", Some(Special::Documentation)),
        ("223.255.255.255", None),
        ("224.0.0.1", Some(Special::Multicast)),
        ("239.255.255.255", Some(Special::Multicast)),
        ("240.0.0.0", Some(Special::Reserved)),
        ("255.255.255.255", Some(Special::Reserved)),
        ("8.8.8.8", None),
        ("::", Some(Special::Unspecified)),
        ("::1", Some(Special::Loopback)),
        ("::2", Some(Special::Reserved)),
        ("::7f00:1", Some(Special::Reserved)),
        ("::ffff:127.0.0.1", Some(Special::Loopback)),
        ("::ffff:10.1.2.3", Some(Special::Private)),
        ("::ffff:169.254.169.254", Some(Special::LinkLocal)),
        ("::ffff:8.8.8.8", None),
        ("::ffff:0:127.0.0.1", Some(Special::Reserved)),
        ("64:ff9b::7f00:1", Some(Special::Loopback)),
        ("64:ff9b::a9fe:a9fe", Some(Special::LinkLocal)),
        ("64:ff9b::808:808", None),
        ("64:ff9b:1::808:808", Some(Special::Private)),
        ("100::1", Some(Special::Reserved)),
        ("2001::1", Some(Special::Reserved)),
        ("2001:0:4136:e378:8000:63bf:3fff:fdd2", Some(Special::Reserved)),
        ("2001:20::1", Some(Special::Reserved)),
        ("2001:db8::1", Some(Special::Documentation)),
        ("2001:4860:4860::8888", None),
        ("2002:7f00:1::", Some(Special::Loopback)),
        ("2002:a00:1::1", Some(Special::Private)),
        ("2002:808:808::1", None),
        ("2620:4f:8000::1", Some(Special::Reserved)),
        ("3fff::1", Some(Special::Documentation)),
        ("4000::1", Some(Special::Reserved)),
        ("5f00::1", Some(Special::Reserved)),
        ("fc00::1", Some(Special::Private)),
        ("fd00:ec2::254", Some(Special::Private)),
        ("fd20:ce::254", Some(Special::Private)),
        ("fe80::1", Some(Special::LinkLocal)),
        ("febf::1", Some(Special::LinkLocal)),
        ("fec0::1", Some(Special::Private)),
        ("ff02::1", Some(Special::Multicast)),
    ];

    #[test]
    fn special_addresses_are_refused_and_public_ones_pass() {
        let rules = AddressRules::default();
        for (text, expected) in CASES {
            let ip: IpAddr = text.parse().unwrap();
            assert_eq!(rules.check(ip).err(), *expected, "{text}");
        }
    }

    #[test]
    fn a_range_is_opened_and_nothing_beside_it() {
        let opened = ["10.1.0.0/16", "fd00::/64"].map(|range| range.parse().unwrap());
        let rules = AddressRules::new(opened.to_vec());
        let passes = |text: &str| rules.check(text.parse().unwrap()).is_ok();
        assert!(passes("10.1.255.1") && passes("::ffff:10.1.0.1") && passes("fd00::7"));
        for closed in ["10.2.0.0", "10.0.255.255", "64:ff9b::a01:1", "2002:a01:1::", "fd00:0:0:1::"]
        {
            assert!(!passes(closed), "{closed}");
        }
    }
}
