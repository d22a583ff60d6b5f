//! Reach: who reaches the relay, and whom it reaches of its own accord.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use toml::{Table, Value};

use super::{Check, Facts, Finding, Level};
use crate::outbound::address::{AddressRules, Special};
use crate::sip::config::RawDigest;

pub(super) const CHECKS: &[Check] = &[
    ("control-bind", control_bind),
    ("url-tickets", url_tickets),
    ("health-bind", health_bind),
    ("listener-addresses", listener_addresses),
    ("low-ports", low_ports),
    ("sip-tls", sip_tls),
    ("sip-callers", sip_callers),
    ("sip-trunks", sip_trunks),
    ("sip-digest", sip_digest),
    ("ng-bind", ng_bind),
    ("ng-peers", ng_peers),
    ("audiosocket-bind", audiosocket_bind),
    ("audiosocket-peers", audiosocket_peers),
    ("outbound-wide", outbound_wide),
    ("outbound-metadata", outbound_metadata),
    ("engines-tls", engines_tls),
    ("webhooks-tls", webhooks_tls),
    ("mcp-url", mcp_url),
    ("sample-hosts", sample_hosts),
    ("sample-addresses", sample_addresses),
];

/// A range that is wider opens more than a network of one's own.
const WIDEST_V4: u8 = 8;
const WIDEST_V6: u8 = 16;
/// Ports below it need a privilege.
const FIRST_FREE_PORT: u16 = 1024;

/// Metadata and control services of clouds: AWS and most others, AWS by IPv6, Google by IPv6,
/// Alibaba, Azure, Oracle.
const METADATA: [&str; 6] = [
    "169.254.169.254",
    "fd00:ec2::254",
    "fd20:ce::254",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
];

/// An address as a listener's setting has it.
pub(super) fn listener(typed: Option<&String>) -> Option<SocketAddr> {
    typed.and_then(|text| text.trim_start_matches("udp:").parse().ok())
}

/// What kind of address it is, unless a public one.
pub(super) fn special(ip: IpAddr) -> Option<Special> {
    AddressRules::default().check(ip).err()
}

/// Whoever can route to this machine reaches it there.
fn is_exposed(ip: IpAddr) -> bool {
    ip.is_unspecified() || special(ip).is_none()
}

fn listeners(facts: &Facts) -> Vec<(&'static str, SocketAddr)> {
    let config = &facts.config;
    let typed = [
        ("control.address", &config.control.address),
        ("health.address", &config.health.address),
        ("sip.address", &config.sip.address),
        ("sip.tls_address", &config.sip.tls_address),
        ("ng.address", &config.ng.address),
        ("ng.tcp_address", &config.ng.tcp_address),
        ("audiosocket.address", &config.audiosocket.address),
    ];
    let read = |(member, typed): (_, &Option<String>)| Some((member, listener(typed.as_ref())?));
    typed.into_iter().filter_map(read).collect()
}

fn control_bind(facts: &Facts) -> Finding {
    let Some(address) = listener(facts.config.control.address.as_ref()) else {
        return Finding::skipped("the API has no address that can be read");
    };
    if address.ip().is_loopback() {
        Finding::pass(format!("the API is on {address}, for this machine alone"))
    } else if facts.config.control.tls.certificate.is_some() {
        Finding::pass(format!("the API is on {address}, by TLS"))
    } else if is_exposed(address.ip()) {
        Finding::fail(
            format!("the API is in clear on {address}, past the TLS proxy too"),
            "bind control.address to 127.0.0.1, or to the private address that the proxy asks",
        )
    } else {
        Finding::pass(format!("the API is on {address}, behind a TLS proxy"))
    }
}

fn url_tickets(facts: &Facts) -> Finding {
    if facts.config.control.url_tickets == Some(true) {
        return Finding::warn(
            "streams may be opened by a ticket in their URL, which proxies log",
            "leave control.url_tickets out unless a browser of yours needs it",
        );
    }
    Finding::pass("nothing that opens a stream stands in a URL")
}

fn health_bind(facts: &Facts) -> Finding {
    let Some(address) = listener(facts.config.health.address.as_ref()) else {
        return Finding::skipped("health has no address that can be read");
    };
    if is_exposed(address.ip()) {
        Finding::warn(
            format!("/metrics is on {address}, and asks for no key"),
            "bind health.address to loopback or to the network of your monitoring",
        )
    } else {
        Finding::pass(format!("/metrics is on {address}"))
    }
}

fn listener_addresses(facts: &Facts) -> Finding {
    let is_ours = |ip: IpAddr| {
        ip.is_unspecified() || ip.is_loopback() || facts.machine.addresses.contains(&ip)
    };
    let foreign = listeners(facts).into_iter().filter(|(_, it)| !is_ours(it.ip()));
    let foreign: Vec<String> = foreign.map(|(member, it)| format!("{member} {it}")).collect();
    Finding::unless(
        &foreign,
        Level::Fail,
        "all listeners are on addresses of this machine",
        "this machine has no such address now: correct it, or bring the interface up first",
    )
}

fn low_ports(facts: &Facts) -> Finding {
    let low = listeners(facts).into_iter().filter(|(_, it)| it.port() < FIRST_FREE_PORT);
    let low: Vec<String> = low.map(|(member, it)| format!("{member} {it}")).collect();
    if facts.process.low_ports || facts.process.user == 0 {
        return Finding::pass("ports below 1024 may be bound");
    }
    Finding::unless(
        &low,
        Level::Fail,
        "no port below 1024 is asked for",
        "take a higher port, or say AmbientCapabilities=CAP_NET_BIND_SERVICE in the unit",
    )
}

/// SIP by UDP and TCP, where others than this machine reach it.
fn open_sip(facts: &Facts) -> Result<SocketAddr, Finding> {
    match listener(facts.config.sip.address.as_ref()) {
        None => Err(Finding::skipped("SIP is not answered in clear")),
        Some(address) if address.ip().is_loopback() => {
            Err(Finding::skipped("SIP is answered on loopback"))
        }
        Some(address) => Ok(address),
    }
}

fn sip_tls(facts: &Facts) -> Finding {
    match open_sip(facts) {
        Err(skipped) => skipped,
        Ok(address) if facts.config.sip.tls_address.is_none() => Finding::warn(
            format!("SIP is on {address} in clear alone, and keys of SRTP with it"),
            "say sip.tls_address, tls_certificate and tls_key, and have phones use them",
        ),
        Ok(_) => Finding::pass("SIP is answered by TLS too"),
    }
}

fn sip_callers(facts: &Facts) -> Finding {
    let sip = &facts.config.sip;
    let is_anybody =
        sip.users_file.is_some() || sip.trunks.as_ref().is_some_and(|it| !it.is_empty());
    match open_sip(facts) {
        Err(skipped) => skipped,
        Ok(address) if !is_anybody => Finding::warn(
            format!("SIP is on {address}, and nobody but this machine may call"),
            "say sip.users_file or sip.trunks, or bind to loopback",
        ),
        Ok(_) => Finding::pass("it is said who may call by SIP"),
    }
}

/// Ranges that are wider than a network of one's own.
fn too_wide(typed: Option<&Vec<String>>) -> Vec<String> {
    let is_wide = |text: &&String| match text.parse::<IpNet>() {
        Ok(IpNet::V4(net)) => net.prefix_len() < WIDEST_V4,
        Ok(IpNet::V6(net)) => net.prefix_len() < WIDEST_V6,
        Err(_) => false,
    };
    typed.into_iter().flatten().filter(is_wide).cloned().collect()
}

fn sip_trunks(facts: &Facts) -> Finding {
    Finding::unless(
        &too_wide(facts.config.sip.trunks.as_ref()),
        Level::Fail,
        "no trunk is wider than a network",
        "sip.trunks need no secret: name the addresses of your trunk alone",
    )
}

fn sip_digest(facts: &Facts) -> Finding {
    if facts.config.sip.users_file.is_none() {
        return Finding::skipped("no phone is asked for a secret");
    }
    match facts.config.sip.digest.unwrap_or_default() {
        RawDigest::Sha256 => Finding::pass("phones prove themselves by SHA-256"),
        RawDigest::Md5 | RawDigest::Both => Finding::warn(
            "phones may prove themselves by MD5",
            "say sip.digest = \"sha-256\" if all your phones know it",
        ),
    }
}

fn without_keys(name: &str, addresses: [Option<&String>; 2]) -> Finding {
    let read: Vec<SocketAddr> = addresses.into_iter().filter_map(listener).collect();
    if read.is_empty() {
        return Finding::skipped(format!("{name} is off"));
    }
    let exposed = read.iter().filter(|it| is_exposed(it.ip()));
    let exposed: Vec<String> = exposed.map(|it| format!("{name} is on {it}")).collect();
    Finding::unless(
        &exposed,
        Level::Warn,
        &format!("{name} is on private addresses"),
        "this protocol knows no keys and is in clear: bind it to loopback or a private address",
    )
}

fn ng_bind(facts: &Facts) -> Finding {
    let ng = &facts.config.ng;
    without_keys("NG", [ng.address.as_ref(), ng.tcp_address.as_ref()])
}

fn ng_peers(facts: &Facts) -> Finding {
    Finding::unless(
        &too_wide(facts.config.ng.peers.as_ref()),
        Level::Fail,
        "no peer of NG is wider than a network",
        "whoever ng.peers names may open and end calls: name the proxies alone",
    )
}

fn audiosocket_bind(facts: &Facts) -> Finding {
    without_keys("AudioSocket", [facts.config.audiosocket.address.as_ref(), None])
}

fn audiosocket_peers(facts: &Facts) -> Finding {
    Finding::unless(
        &too_wide(facts.config.audiosocket.peers.as_ref()),
        Level::Fail,
        "no peer of AudioSocket is wider than a network",
        "whoever audiosocket.peers names is a caller: name your Asterisk alone",
    )
}

fn outbound_wide(facts: &Facts) -> Finding {
    Finding::unless(
        &too_wide(facts.config.outbound.allow.as_ref()),
        Level::Fail,
        "requests of our own go to public addresses and to networks that are named",
        "outbound.allow: name the networks of your services alone",
    )
}

fn outbound_metadata(facts: &Facts) -> Finding {
    let allow = facts.config.outbound.allow.as_ref();
    let wide = too_wide(allow);
    let ranges = allow.into_iter().flatten().filter(|text| !wide.contains(text));
    let metadata: Vec<IpAddr> = METADATA.iter().filter_map(|ip| ip.parse().ok()).collect();
    let opens = |text: &&String| {
        text.parse::<IpNet>().is_ok_and(|net| metadata.iter().any(|ip| net.contains(ip)))
    };
    let bad: Vec<String> = ranges.filter(opens).cloned().collect();
    Finding::unless(
        &bad,
        Level::Fail,
        "no metadata service of a cloud is opened",
        "such a range lets a URL ask for this machine's own credentials: leave it out",
    )
}

fn engines_tls(facts: &Facts) -> Finding {
    let is_clear = |url: &str| url.starts_with("ws:") && !is_here(url);
    let clear =
        facts.config.engines.iter().filter(|(_, it)| it.url.as_deref().is_some_and(is_clear));
    let clear: Vec<String> = clear.map(|(name, _)| format!("engines.{name} is in clear")).collect();
    Finding::unless(
        &clear,
        Level::Warn,
        "no engine elsewhere is spoken to in clear",
        "say wss: in its url, or keep that network to yourself",
    )
}

/// The host of a URL is this machine.
fn is_here(url: &str) -> bool {
    let host = url.split_once("://").map_or("", |(_, rest)| rest);
    ["localhost", "127.", "[::1]"].iter().any(|here| host.starts_with(here))
}

fn webhooks_tls(facts: &Facts) -> Finding {
    let clear = facts.config.webhooks.iter().filter(|it| !it.url.starts_with("https:"));
    let clear: Vec<String> = clear.map(|it| format!("webhooks.{} is in clear", it.name)).collect();
    Finding::unless(
        &clear,
        Level::Warn,
        "all webhooks go by https",
        "such a receiver is on this machine; let nobody else listen there",
    )
}

fn mcp_url(facts: &Facts) -> Finding {
    let control = listener(facts.config.control.address.as_ref());
    let is_here = control.is_some_and(|it| it.ip().is_loopback());
    match &facts.config.mcp.url {
        Some(url) if url.starts_with("https:") => Finding::pass("models reach it by https"),
        Some(_) => Finding::warn("models reach it in clear", "say an https URL in mcp.url"),
        None if is_here => Finding::skipped("models are on this machine, or there are none"),
        None => Finding::warn(
            "models are not told where this relay is",
            "say mcp.url if models are to ask for payments",
        ),
    }
}

/// All text of the configuration. URLs are shown up to their hosts, which is enough.
fn texts(facts: &Facts) -> Vec<String> {
    let mut texts = Vec::new();
    let mut values: Vec<Value> =
        Table::try_from(&facts.config).map(Value::Table).into_iter().collect();
    while let Some(value) = values.pop() {
        match value {
            Value::String(text) => texts.push(text),
            Value::Array(inner) => values.extend(inner),
            Value::Table(inner) => values.extend(inner.into_iter().map(|(_, value)| value)),
            Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => {}
        }
    }
    texts.sort();
    texts
}

fn sample_hosts(facts: &Facts) -> Finding {
    let is_sample = |text: &String| {
        let host = text.split_once("://").map_or("", |(_, rest)| rest);
        let host = host.split(['/', ':']).next().unwrap_or_default();
        let ends = [".example", "example.com", "example.net", "example.org", ".invalid", ".test"];
        ends.iter().any(|end| host.ends_with(end))
    };
    let found: Vec<String> = texts(facts).into_iter().filter(is_sample).collect();
    Finding::unless(
        &found,
        Level::Fail,
        "no host of the example is left",
        "these hosts are nobody's: put yours in their place",
    )
}

fn sample_addresses(facts: &Facts) -> Finding {
    let is_part = |c: char| !(c.is_ascii_hexdigit() || c == '.' || c == ':');
    let is_sample = |word: &str| {
        let ip = word.parse::<IpAddr>().or_else(|_| word.parse::<SocketAddr>().map(|it| it.ip()));
        ip.is_ok_and(|ip| special(ip) == Some(Special::Documentation))
    };
    let found = texts(facts).into_iter().filter(|text| text.split(is_part).any(is_sample));
    let found: Vec<String> = found.collect();
    Finding::unless(
        &found,
        Level::Fail,
        "no address of the example is left",
        "these addresses are for documents alone: put yours in their place",
    )
}
