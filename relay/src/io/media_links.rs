//! MediaLinks: the network interfaces that media comes and goes by.

use std::net::IpAddr;

use super::kernel_tables::KernelTables;
use super::ways::IoWish;
use crate::wire::netlink::Link;

/// Most links of one relay: one for each family, loopback, and a spare.
pub(super) const MAX_LINKS: usize = 4;

/// The links, or why there are none for rings, in one line.
pub(super) fn find_links(wish: &IoWish) -> Result<Vec<Link>, String> {
    let failed = |error: std::io::Error| format!("the kernel does not tell of its links: {error}");
    let mut tables = KernelTables::open().map_err(failed)?;
    let mut links: Vec<Link> = Vec::new();
    for address in [wish.v4.map(IpAddr::V4), wish.v6.map(IpAddr::V6)].into_iter().flatten() {
        let link = tables.link_of(address).map_err(failed)?;
        let link = link.ok_or_else(|| format!("no interface holds {address}"))?;
        links.push(link);
    }
    for name in &wish.interfaces {
        let link = tables.link_named(name).map_err(failed)?;
        links.push(link.ok_or_else(|| format!("there is no interface {name}"))?);
    }
    links.sort_by_key(|link| link.index);
    links.dedup();
    if let Some(link) = links.iter().find(|link| !link.is_ethernet) {
        return Err(format!("{} does not carry Ethernet frames", link.name));
    }
    if links.len() > MAX_LINKS {
        return Err(format!("{} interfaces are more than {MAX_LINKS}", links.len()));
    }
    Ok(links)
}
