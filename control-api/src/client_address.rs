//! ClientAddress: where a request comes from, behind the proxies that are trusted to say so.

use std::net::{IpAddr, SocketAddr};

use axum::http::header::FORWARDED;
use axum::http::{HeaderMap, HeaderName};
use ipnet::IpNet;

/// Proxies that one request is followed through: more than anybody has, and a bound on what a header
/// may make us read.
const MAX_HOPS: usize = 16;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Headers by which a proxy names its clients.
pub(crate) const NAMES_OTHERS: [HeaderName; 2] = [FORWARDED_FOR, FORWARDED];

/// Where a request comes from: who has connected, or whom a trusted proxy names. It is among the
/// extensions of every request.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ClientAddress(pub IpAddr);

/// The request came by TLS that ends in this process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OverTls;

/// Address ranges of proxies whose word about their clients is taken.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// The proxies of these ranges.
    #[must_use]
    pub const fn new(ranges: Vec<IpNet>) -> TrustedProxies {
        TrustedProxies(ranges)
    }

    /// Whether an address is that of such a proxy.
    #[must_use]
    pub fn trusts(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.0.iter().any(|range| range.contains(&ip))
    }

    /// Where a request of `peer` comes from: the last address of `X-Forwarded-For` or `Forwarded`
    /// (RFC 7239) that is no trusted proxy's. Whoever is not trusted is taken for the client itself,
    /// whatever it says; and where both headers are there and differ, a client may have written one of
    /// them, so that neither is believed.
    #[must_use]
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> ClientAddress {
        let peer = peer.to_canonical();
        if !self.trusts(peer) {
            return ClientAddress(peer);
        }
        let listed = named_by(headers, &FORWARDED_FOR, parse);
        let forwarded = named_by(headers, &FORWARDED, for_parameter);
        let client = match (listed.is_empty(), forwarded.is_empty()) {
            (true, true) => peer,
            (false, true) => self.last_untrusted(peer, &listed),
            (true, false) => self.last_untrusted(peer, &forwarded),
            (false, false) => {
                let either = self.last_untrusted(peer, &listed);
                if either == self.last_untrusted(peer, &forwarded) { either } else { peer }
            }
        };
        ClientAddress(client)
    }

    /// The first of these that is no trusted proxy; if one can't be read, the last that could.
    fn last_untrusted(&self, peer: IpAddr, hops: &[Option<IpAddr>]) -> IpAddr {
        let mut client = peer;
        for hop in hops {
            let Some(ip) = *hop else { return client };
            client = ip;
            if !self.trusts(ip) {
                return client;
            }
        }
        client
    }
}

/// The addresses that a header lists, the nearest first; `None` for what is none.
fn named_by(
    headers: &HeaderMap,
    name: &HeaderName,
    read: impl Fn(&str) -> Option<IpAddr>,
) -> Vec<Option<IpAddr>> {
    let values = headers.get_all(name).iter().rev();
    let hops = values.flat_map(|value| value.to_str().unwrap_or_default().rsplit(','));
    hops.take(MAX_HOPS).map(|hop| read(hop.trim())).collect()
}

/// The address of `for=` in one element of `Forwarded`.
fn for_parameter(element: &str) -> Option<IpAddr> {
    let parameters = element.split(';').filter_map(|pair| pair.trim().split_once('='));
    let mut named = parameters.filter(|(name, _)| name.trim().eq_ignore_ascii_case("for"));
    let (_, value) = named.next()?;
    parse(value.trim().trim_matches('"'))
}

/// An address, with or without a port, and in brackets or not.
fn parse(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let ip = bare.parse::<IpAddr>().ok();
    let ip = ip.or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()));
    ip.map(|ip| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use axum::http::{HeaderMap, HeaderName, HeaderValue};

    use super::TrustedProxies;

    fn client(peer: &str, headers: &[(&str, &str)]) -> String {
        let ranges = crate::peers::ranges(&["10.0.0.0/8".to_owned(), "2001:db8:1::/48".to_owned()]);
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            map.append(name, HeaderValue::from_str(value).unwrap());
        }
        let peer: IpAddr = peer.parse().unwrap();
        TrustedProxies::new(ranges.unwrap()).client(peer, &map).0.to_string()
    }

    #[test]
    fn strangers_are_believed_nothing() {
        for header in [("x-forwarded-for", "192.0.2.9"), ("forwarded", "for=192.0.2.9")] {
            assert_eq!(client("203.0.113.5", &[header]), "203.0.113.5");
        }
        assert_eq!(client("::ffff:203.0.113.5", &[]), "203.0.113.5");
    }

    #[test]
    fn the_last_that_is_no_proxy_is_the_client() {
        let xff = "x-forwarded-for";
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &[(xff, "192.0.2.9")]), "192.0.2.9");
        assert_eq!(client("::ffff:10.0.0.1", &[(xff, "192.0.2.9")]), "192.0.2.9");
        // What the client itself has written stands before what the proxies have added.
        assert_eq!(client("10.0.0.1", &[(xff, "1.1.1.1, 192.0.2.9, 10.0.0.2")]), "192.0.2.9");
        assert_eq!(client("10.0.0.1", &[(xff, "1.1.1.1"), (xff, "192.0.2.9")]), "192.0.2.9");
        assert_eq!(client("10.0.0.1", &[(xff, "192.0.2.9:4711")]), "192.0.2.9");
        assert_eq!(client("2001:db8:1::1", &[(xff, "[2001:db8:2::7]:80")]), "2001:db8:2::7");
        assert_eq!(client("10.0.0.1", &[(xff, "10.0.0.3, 10.0.0.2")]), "10.0.0.3");
    }

    #[test]
    fn forwarded_is_read_as_its_standard_has_it() {
        let read = |value: &str| client("10.0.0.1", &[("forwarded", value)]);
        assert_eq!(read("for=192.0.2.9;proto=https;by=10.0.0.1"), "192.0.2.9");
        assert_eq!(read("proto=https; For=\"[2001:db8:2::7]:4711\""), "2001:db8:2::7");
        assert_eq!(read("for=1.1.1.1, for=192.0.2.9, for=10.0.0.2"), "192.0.2.9");
    }

    #[test]
    fn what_can_not_be_read_ends_the_way() {
        let xff = "x-forwarded-for";
        assert_eq!(client("10.0.0.1", &[(xff, "192.0.2.9, unknown")]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &[(xff, "192.0.2.9, unknown, 10.0.0.2")]), "10.0.0.2");
        assert_eq!(client("10.0.0.1", &[("forwarded", "for=_hidden")]), "10.0.0.1");
        let many = vec!["10.0.0.2"; 100].join(",");
        assert_eq!(client("10.0.0.1", &[(xff, &format!("192.0.2.9,{many}"))]), "10.0.0.2");
    }

    #[test]
    fn headers_that_differ_are_not_believed() {
        let both = |one: &str, other: &str| {
            client("10.0.0.1", &[("x-forwarded-for", one), ("forwarded", other)])
        };
        assert_eq!(both("192.0.2.9", "for=192.0.2.9"), "192.0.2.9");
        assert_eq!(both("192.0.2.9", "for=192.0.2.8"), "10.0.0.1");
    }
}
