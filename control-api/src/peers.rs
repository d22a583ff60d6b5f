//! Peers: who may ask by a transport that knows no key.

use std::net::IpAddr;

use ipnet::IpNet;

/// Who may ask: this machine, and those of the configuration.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Peers(Vec<IpNet>);

/// Reads addresses and networks, such as `192.0.2.7` and `192.0.2.0/24`; `None` if one is neither.
#[must_use]
pub fn ranges(typed: &[String]) -> Option<Vec<IpNet>> {
    let read = |text: &String| {
        let one = text.parse::<IpAddr>().ok().map(IpNet::from);
        one.or_else(|| text.parse().ok())
    };
    typed.iter().map(read).collect()
}

impl Peers {
    /// This machine and those of [`ranges`].
    #[must_use]
    pub fn parse(typed: &[String]) -> Option<Peers> {
        ranges(typed).map(Peers)
    }

    /// Whether nobody but this machine may ask.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this one may ask.
    #[must_use]
    pub fn admit(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        ip.is_loopback() || self.0.iter().any(|net| net.contains(&ip))
    }
}

#[cfg(test)]
mod tests {
    use super::Peers;

    #[test]
    fn this_machine_and_those_named_may_ask() {
        let peers = |typed: &[&str]| {
            Peers::parse(&typed.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>())
        };
        let may = |peers: &Peers, ip: &str| peers.admit(ip.parse().unwrap());
        let none = peers(&[]).unwrap();
        assert!(may(&none, "127.0.0.1") && may(&none, "::1") && !may(&none, "192.0.2.7"));
        let some = peers(&["192.0.2.0/24", "2001:db8::7"]).unwrap();
        assert!(
            may(&some, "192.0.2.7") && may(&some, "::ffff:192.0.2.7") && may(&some, "2001:db8::7")
        );
        assert!(!may(&some, "192.0.3.7") && !may(&some, "2001:db8::8"));
        assert!(peers(&["somewhere"]).is_none() && peers(&["192.0.2.0/33"]).is_none());
    }
}
