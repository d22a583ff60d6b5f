//! Media: its addresses, ports, workers and ways, as typed and as meant.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::time::Duration;

use relay::IoMethod;
use relay::wire::sdp::{AddressPolicy, OwnMedia, Policy};
use serde::{Deserialize, Serialize};

use super::ConfigError;

const DEFAULT_MEDIA: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const DEFAULT_PORTS: &str = "10000-20000";
/// Most workers: one a core is best, and no machine has more.
const MAX_WORKERS: usize = 256;
/// Ports below are for services of the system.
const LOWEST_PORT: u16 = 1024;
/// Silence of a caller that ends its call, in seconds.
const MEDIA_TIMEOUT_S: RangeInclusive<u64> = 5..=3600;
const DEFAULT_MEDIA_TIMEOUT_S: u64 = 60;

/// Media, as typed.
#[derive(Clone, Default, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawMedia {
    /// One IPv4 and one IPv6 address at most.
    pub addresses: Option<Vec<String>>,
    /// What callers are told in their place, where they see us behind NAT.
    pub advertised: Option<Vec<String>>,
    /// First and last port.
    pub ports: Option<String>,
    /// Worker threads.
    pub workers: Option<usize>,
    /// Keep each worker on one core.
    pub pin: Option<bool>,
    /// How media comes and goes.
    pub io: Option<String>,
    /// Interfaces that rings are on besides those that hold the addresses.
    pub io_interfaces: Option<Vec<String>>,
    /// Seconds of silence that end a call.
    pub timeout_s: Option<u64>,
    /// Refuse plain RTP of callers.
    pub srtp_only: Option<bool>,
}

/// What the media plane is to do.
#[derive(Clone, Debug)]
pub struct MediaConfig {
    /// Address for IPv4 peers.
    pub v4: Option<Ipv4Addr>,
    /// Address for IPv6 peers.
    pub v6: Option<Ipv6Addr>,
    /// What callers are told in their place; nothing if they are told them.
    pub advertised: Vec<IpAddr>,
    /// First and last port.
    pub ports: RangeInclusive<u16>,
    /// Worker threads.
    pub workers: usize,
    /// Keep each worker on one core.
    pub pin: bool,
    /// How media comes and goes.
    pub io: IoMethod,
    /// Interfaces that rings are on besides those that hold the addresses.
    pub io_interfaces: Vec<String>,
    /// Silence of a caller that ends its call.
    pub timeout: Duration,
    /// Refuse plain RTP of callers.
    pub srtp_only: bool,
}

impl RawMedia {
    /// Checks everything; `cores` is how many workers there are unless something else is said.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub(super) fn resolve(self, cores: usize) -> Result<MediaConfig, ConfigError> {
        let (v4, v6) = match self.addresses {
            Some(addresses) => media_addresses("media.addresses", &addresses)?,
            None => media_addresses("media.addresses", &[DEFAULT_MEDIA.to_string()])?,
        };
        let advertised = advertised(self.advertised.as_deref(), (v4, v6))?;
        let workers = self.workers.unwrap_or(cores.clamp(1, MAX_WORKERS));
        if !(1..=MAX_WORKERS).contains(&workers) {
            let reason = format!("must be 1 to {MAX_WORKERS}");
            return Err(ConfigError::Invalid { member: "media.workers", reason });
        }
        let timeout = self.timeout_s.unwrap_or(DEFAULT_MEDIA_TIMEOUT_S);
        if !MEDIA_TIMEOUT_S.contains(&timeout) {
            let (least, most) = (MEDIA_TIMEOUT_S.start(), MEDIA_TIMEOUT_S.end());
            let reason = format!("must be {least} to {most} seconds");
            return Err(ConfigError::Invalid { member: "media.timeout_s", reason });
        }
        Ok(MediaConfig {
            v4,
            v6,
            advertised,
            ports: port_range(self.ports.as_deref().unwrap_or(DEFAULT_PORTS))?,
            workers,
            pin: self.pin.unwrap_or(true),
            io: io_method(self.io.as_deref().unwrap_or(IoMethod::Auto.as_str()))?,
            io_interfaces: self.io_interfaces.unwrap_or_default(),
            timeout: Duration::from_secs(timeout),
            srtp_only: self.srtp_only.unwrap_or(false),
        })
    }
}

impl MediaConfig {
    /// Which offers are accepted: loopback peers only where our own media is on loopback, and
    /// never our own ports.
    #[must_use]
    pub fn policy(&self) -> Policy {
        let own = [self.v4.map(IpAddr::V4), self.v6.map(IpAddr::V6)];
        let own: Vec<IpAddr> = own.into_iter().flatten().collect();
        Policy {
            preferred_law: None,
            srtp_only: self.srtp_only,
            certificate: None,
            advertised: self.advertised.clone(),
            addresses: AddressPolicy {
                loopback: own.iter().any(IpAddr::is_loopback),
                own_media: own
                    .into_iter()
                    .chain(self.advertised.iter().copied())
                    .map(|address| OwnMedia { address, ports: self.ports.clone() })
                    .collect(),
            },
        }
    }
}

/// What callers are told; only of a family that there is media in.
fn advertised(
    typed: Option<&[String]>,
    own: (Option<Ipv4Addr>, Option<Ipv6Addr>),
) -> Result<Vec<IpAddr>, ConfigError> {
    let Some(typed) = typed else { return Ok(Vec::new()) };
    let member = "media.advertised";
    let (v4, v6) = media_addresses(member, typed)?;
    if (v4.is_some() && own.0.is_none()) || (v6.is_some() && own.1.is_none()) {
        let reason = "must be of a family that media.addresses has, too".to_owned();
        return Err(ConfigError::Invalid { member, reason });
    }
    Ok(v4.map(IpAddr::V4).into_iter().chain(v6.map(IpAddr::V6)).collect())
}

fn media_addresses(
    member: &'static str,
    typed: &[String],
) -> Result<(Option<Ipv4Addr>, Option<Ipv6Addr>), ConfigError> {
    let invalid = |reason: &str| ConfigError::Invalid { member, reason: reason.to_owned() };
    let (mut v4, mut v6) = (None, None);
    for text in typed {
        let ip: IpAddr = text.parse().map_err(|_| invalid("must be IP addresses"))?;
        if ip.is_unspecified() || ip.is_multicast() {
            return Err(invalid("must be addresses that peers can send to"));
        }
        let taken = match ip {
            IpAddr::V4(ip) => v4.replace(ip).is_some(),
            IpAddr::V6(ip) => v6.replace(ip).is_some(),
        };
        if taken {
            return Err(invalid("must be one IPv4 and one IPv6 address at most"));
        }
    }
    if v4.is_none() && v6.is_none() {
        return Err(invalid("must be at least one address"));
    }
    Ok((v4, v6))
}

fn io_method(text: &str) -> Result<IoMethod, ConfigError> {
    let method = IoMethod::ALL.into_iter().find(|method| method.as_str() == text);
    method.ok_or_else(|| {
        let reason = format!("must be one of {}", IoMethod::ALL.map(IoMethod::as_str).join(", "));
        ConfigError::Invalid { member: "media.io", reason }
    })
}

fn port_range(text: &str) -> Result<RangeInclusive<u16>, ConfigError> {
    let range = text.split_once('-').and_then(|(first, last)| {
        let range: RangeInclusive<u16> = first.trim().parse().ok()?..=last.trim().parse().ok()?;
        (*range.start() >= LOWEST_PORT && range.start() < range.end()).then_some(range)
    });
    range.ok_or_else(|| {
        let reason = format!("must be two ports from {LOWEST_PORT} up, such as {DEFAULT_PORTS}");
        ConfigError::Invalid { member: "media.ports", reason }
    })
}
