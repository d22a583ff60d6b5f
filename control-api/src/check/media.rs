//! Media: where callers and engines send, and whether there is room for them.

use std::net::IpAddr;

use super::reach::{listener, special};
use super::{Check, Facts, Finding, Level};
use crate::outbound::address::Special;

pub(super) const CHECKS: &[Check] = &[
    ("media-addresses", media_addresses),
    ("media-own", media_own),
    ("media-advertised", media_advertised),
    ("media-families", media_families),
    ("media-ipv6", media_ipv6),
    ("media-srtp", media_srtp),
    ("media-ports-reserved", media_ports_reserved),
    ("media-ports-listeners", media_ports_listeners),
    ("media-ports-enough", media_ports_enough),
    ("media-io", media_io),
    ("media-workers", media_workers),
    ("media-buffers", media_buffers),
];

/// Ports that a call takes.
const PORTS_PER_CALL: u64 = 4;
/// What kernels give a socket unless told otherwise: a second of a call with room to spare.
const LEAST_BUFFER: i64 = 212_992;

fn media_addresses(facts: &Facts) -> Finding {
    let is_of_no_use = |ip: &IpAddr| {
        matches!(special(*ip), Some(Special::Loopback | Special::LinkLocal | Special::Multicast))
    };
    let bad = facts.media_addresses().into_iter().filter(is_of_no_use);
    let bad: Vec<String> =
        bad.map(|ip| format!("{ip} is for this machine or link alone")).collect();
    Finding::unless(
        &bad,
        Level::Fail,
        "callers elsewhere can reach the media addresses",
        "say in media.addresses what callers and engines send to",
    )
}

fn media_own(facts: &Facts) -> Finding {
    let foreign = facts.media_addresses().into_iter();
    let foreign = foreign.filter(|ip| !facts.machine.addresses.contains(ip));
    let foreign: Vec<String> = foreign.map(|ip| format!("no interface has {ip}")).collect();
    Finding::unless(
        &foreign,
        Level::Fail,
        "the media addresses are this machine's",
        "say an address of this machine in media.addresses, and a NAT's in media.advertised",
    )
}

fn media_advertised(facts: &Facts) -> Finding {
    let advertised = facts.advertised();
    let told = if advertised.is_empty() { facts.media_addresses() } else { advertised.clone() };
    let is_inner = |ip: &&IpAddr| matches!(special(**ip), Some(Special::Private | Special::Shared));
    let inner: Vec<String> = told.iter().filter(is_inner).map(ToString::to_string).collect();
    if inner.is_empty() {
        return Finding::pass("callers are told a public address");
    }
    let found = format!("callers are told {}, which is of a private network", inner.join(", "));
    if advertised.is_empty() {
        Finding::warn(found, "say media.advertised if callers come from elsewhere")
    } else {
        Finding::fail(found, "media.advertised is for the public address: correct it")
    }
}

fn media_families(facts: &Facts) -> Finding {
    let advertised = facts.advertised();
    if advertised.is_empty() {
        return Finding::skipped("nothing is advertised in place of the media addresses");
    }
    let untold = facts.media_addresses().into_iter();
    let untold = untold.filter(|own| !advertised.iter().any(|it| it.is_ipv4() == own.is_ipv4()));
    let untold: Vec<String> = untold.map(|own| format!("callers are told {own} itself")).collect();
    Finding::unless(
        &untold,
        Level::Warn,
        "every family has its advertised address",
        "advertise an address of each family, or leave the family out of media.addresses",
    )
}

fn media_ipv6(facts: &Facts) -> Finding {
    if !facts.media_addresses().iter().any(IpAddr::is_ipv6) {
        return Finding::skipped("media is by IPv4 alone");
    }
    if facts.sysctl("net.ipv6.conf.all.disable_ipv6") == Some(1) {
        return Finding::fail(
            "media.addresses has one of IPv6, which this machine has switched off",
            "leave it out, or set net.ipv6.conf.all.disable_ipv6 = 0",
        );
    }
    Finding::pass("this machine speaks IPv6")
}

fn media_srtp(facts: &Facts) -> Finding {
    if facts.config.media.srtp_only == Some(true) {
        return Finding::pass("callers without SRTP are refused");
    }
    Finding::warn(
        "callers may send in clear",
        "say media.srtp_only = true where calls cross a network that is not yours",
    )
}

fn media_ports_reserved(facts: &Facts) -> Finding {
    let Some((first, last)) = facts.media_ports() else {
        return Finding::skipped("media.ports can't be read");
    };
    let range = facts.machine.sysctl.get("net.ipv4.ip_local_port_range");
    let Some((low, high)) = range.and_then(|text| range_of(text, char::is_whitespace)) else {
        return Finding::skipped("the kernel does not tell which ports it gives away");
    };
    let reserved = facts.machine.sysctl.get("net.ipv4.ip_local_reserved_ports");
    let reserved: Vec<(u16, u16)> = reserved
        .into_iter()
        .flat_map(|text| text.split(','))
        .filter_map(|text| range_of(text, |c| c == '-'))
        .collect();
    let is_taken = |port: u16| {
        (low..=high).contains(&port) && !reserved.iter().any(|(a, b)| (*a..=*b).contains(&port))
    };
    if (first..=last).any(is_taken) {
        return Finding::warn(
            format!(
                "the kernel gives ports {low} to {high} away, and media.ports are {first}-{last}"
            ),
            "set net.ipv4.ip_local_reserved_ports to media.ports, or choose others",
        );
    }
    Finding::pass("the kernel gives no media port to others")
}

/// One number, or two with something between them.
fn range_of(text: &str, between: impl Fn(char) -> bool) -> Option<(u16, u16)> {
    let mut numbers = text.trim().split(between).filter(|it| !it.is_empty());
    let first = numbers.next()?.parse().ok()?;
    Some((first, numbers.next().map_or(Some(first), |last| last.parse().ok())?))
}

fn media_ports_listeners(facts: &Facts) -> Finding {
    let Some((first, last)) = facts.media_ports() else {
        return Finding::skipped("media.ports can't be read");
    };
    let typed =
        [("sip.address", &facts.config.sip.address), ("ng.address", &facts.config.ng.address)];
    let udp = typed.into_iter().filter_map(|(member, it)| Some((member, listener(it.as_ref())?)));
    let inside = udp.filter(|(_, it)| (first..=last).contains(&it.port()));
    let inside: Vec<String> = inside
        .map(|(member, it)| format!("{member} is one of media.ports: {}", it.port()))
        .collect();
    Finding::unless(
        &inside,
        Level::Fail,
        "no listener takes a media port",
        "choose another port, or begin media.ports behind it",
    )
}

fn media_ports_enough(facts: &Facts) -> Finding {
    let (Some((first, last)), Some(calls)) = (facts.media_ports(), facts.config.sip.max_calls)
    else {
        return Finding::skipped("nothing bounds the calls but the ports");
    };
    let room = (u64::from(last.saturating_sub(first)) + 1) / PORTS_PER_CALL;
    if room < calls as u64 {
        return Finding::warn(
            format!("media.ports are enough for {room} calls, and sip.max_calls is {calls}"),
            "widen media.ports: a call takes four",
        );
    }
    Finding::pass(format!("media.ports are enough for {room} calls"))
}

fn media_io(facts: &Facts) -> Finding {
    let process = &facts.process;
    let missing: Vec<String> = [
        ("CAP_NET_RAW", process.net_raw, &["xdp", "packet"][..]),
        ("CAP_NET_ADMIN", process.net_admin, &["xdp"]),
        ("CAP_BPF", process.bpf, &["xdp"]),
    ]
    .into_iter()
    .filter(|(_, has, ways)| {
        !has && facts.config.media.io.as_deref().is_some_and(|io| ways.contains(&io))
    })
    .map(|(name, _, _)| format!("{name} is missing"))
    .collect();
    Finding::unless(
        &missing,
        Level::Fail,
        "media.io can be had, as far as privileges go",
        "give the unit AmbientCapabilities, or say media.io = \"auto\"",
    )
}

fn media_workers(facts: &Facts) -> Finding {
    let (workers, cores) = (facts.config.media.workers.unwrap_or(1), facts.machine.cores);
    if workers > cores {
        return Finding::warn(
            format!("{workers} media workers share {cores} cores"),
            "leave media.workers out: one a core is best",
        );
    }
    Finding::pass(format!("{workers} media workers on {cores} cores"))
}

fn media_buffers(facts: &Facts) -> Finding {
    let names = [
        "net.core.rmem_default",
        "net.core.rmem_max",
        "net.core.wmem_default",
        "net.core.wmem_max",
    ];
    let small = names.into_iter().filter_map(|name| Some((name, facts.sysctl(name)?)));
    let small = small.filter(|(_, octets)| *octets < LEAST_BUFFER);
    let small: Vec<String> = small.map(|(name, octets)| format!("{name} is {octets}")).collect();
    Finding::unless(
        &small,
        Level::Warn,
        "sockets have the kernel's usual buffers",
        "set it to 212992 or more: a stalled machine loses packets sooner",
    )
}
