//! NG's part of the configuration.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use crate::peers::Peers;

/// NG, as typed.
#[derive(Clone, Default, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawNg {
    /// Address and port of UDP; without one there is none.
    pub address: Option<String>,
    /// Address and port of TCP; without one there is none.
    pub tcp_address: Option<String>,
    /// Who may ask besides this machine.
    pub peers: Option<Vec<String>>,
    /// A folder of WAV files that parties may be played; without one there are none.
    pub media_directory: Option<PathBuf>,
}

/// Where NG is spoken without a key, and with whom.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct NgConfig {
    /// By UDP.
    pub udp: Option<SocketAddr>,
    /// By TCP.
    pub tcp: Option<SocketAddr>,
    /// With whom.
    pub peers: Peers,
    /// Files that parties may be played, whoever asks.
    pub media_directory: Option<PathBuf>,
}

/// What is wrong, and where.
pub(crate) type Wrong = (&'static str, &'static str);

impl RawNg {
    /// Checks what was typed.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub(crate) fn resolve(self) -> Result<NgConfig, Wrong> {
        let udp = address("ng.address", self.address.as_deref())?;
        let tcp = address("ng.tcp_address", self.tcp_address.as_deref())?;
        let peers = Peers::parse(&self.peers.unwrap_or_default())
            .ok_or(("ng.peers", "must be addresses or networks, such as 192.0.2.0/24"))?;
        let is_open = [udp, tcp].into_iter().flatten().any(|it| !it.ip().is_loopback());
        if is_open && peers.is_empty() {
            return Err((
                "ng.peers",
                "must name the proxies that may ask: this protocol has no keys",
            ));
        }
        Ok(NgConfig { udp, tcp, peers, media_directory: self.media_directory })
    }
}

fn address(member: &'static str, typed: Option<&str>) -> Result<Option<SocketAddr>, Wrong> {
    let read = |text: &str| text.strip_prefix("udp:").unwrap_or(text).parse();
    let address = typed.map(read).transpose();
    address.map_err(|_| (member, "must be an IP address and a port, such as 127.0.0.1:2223"))
}

#[cfg(test)]
mod tests {
    use super::RawNg;

    fn resolve(text: &str) -> Result<super::NgConfig, super::Wrong> {
        toml::from_str::<RawNg>(text).unwrap().resolve()
    }

    #[test]
    fn who_is_reachable_from_outside_says_for_whom() {
        assert!(resolve("").unwrap().udp.is_none());
        let config = resolve("address = '127.0.0.1:2223'\ntcp_address = '[::1]:2223'").unwrap();
        assert!(config.udp.is_some() && config.tcp.is_some() && config.peers.is_empty());
        assert_eq!(resolve("address = '0.0.0.0:2223'").unwrap_err().0, "ng.peers");
        assert_eq!(resolve("tcp_address = '192.0.2.1:2223'").unwrap_err().0, "ng.peers");
        assert!(resolve("address = '192.0.2.1:2223'\npeers = ['192.0.2.0/24']").is_ok());
        assert_eq!(resolve("address = 'here'").unwrap_err().0, "ng.address");
        assert_eq!(resolve("peers = ['there']").unwrap_err().0, "ng.peers");
    }
}
