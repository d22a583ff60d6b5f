//! Opening AF_PACKET: rings beside the stack on every link that carries media, for hosts whose
//! kernel or rights allow no XDP program.

use std::net::{IpAddr, UdpSocket};
use std::ops::RangeInclusive;
use std::thread::JoinHandle;

use packet_ring::{LONGEST_FRAME, PacketSocket, Wanted, leave_to_rings};

use super::clock::Clock;
use super::frame_socket::Steering;
use super::media_links::find_links;
use super::rings::{LinkRings, Rings, assemble};
use super::ways::IoWish;
use crate::switchboard::LocalPort;
use crate::wire::netlink::Link;

/// Frames of a ring: 40 ms of 100,000 packets a second, as with AF_XDP.
const FRAMES: u32 = 4096;
/// Octets of an Ethernet header.
const ETHERNET: u32 = 14;

/// Media by AF_PACKET, of one worker.
pub type PacketRings = Rings<PacketSocket, PacketSteering>;

/// A ring takes all of its worker's slice of the ports, bound or not: it sees copies. What is told
/// of a port is its socket, so that nothing comes twice.
pub struct PacketSteering {
    links: Vec<u32>,
    longest: u32,
}

impl Steering for PacketSteering {
    fn own(&mut self, _port: LocalPort, socket: &UdpSocket) -> std::io::Result<()> {
        let is_v6 = matches!(socket.local_addr()?.ip(), IpAddr::V6(_));
        leave_to_rings(socket, &self.links, self.longest, is_v6)
    }

    fn disown(&mut self, _port: LocalPort) {}
}

/// The rings of all workers, each for its slice of the ports, and the thread that finds peers; or
/// why there are none, in one line.
pub(super) fn open(
    wish: &IoWish,
    slices: &[RangeInclusive<u16>],
    clock: &Clock,
) -> Result<(Vec<PacketRings>, JoinHandle<()>), String> {
    let links = find_links(wish)?;
    let longest = longest(&links);
    let rings = slices.iter().map(|ports| {
        let (v4, v6, ports) = (wish.v4, wish.v6, ports.clone());
        open_links(&links, &Wanted { v4, v6, ports, longest })
    });
    let rings = rings.collect::<Result<Vec<_>, String>>()?;
    let links: Vec<u32> = links.iter().map(|link| link.index).collect();
    assemble(rings, slices, clock, |_| PacketSteering { links: links.clone(), longest })
}

/// The longest IP packet that rings take: one that no link has to cut in pieces, and that fits.
fn longest(links: &[Link]) -> u32 {
    let fits = LONGEST_FRAME as u32 - ETHERNET;
    links.iter().map(|link| link.mtu).fold(fits, u32::min)
}

fn open_links(links: &[Link], wanted: &Wanted) -> Result<Vec<LinkRings<PacketSocket>>, String> {
    let opened = links.iter().map(|Link { index, name, is_loopback, .. }| {
        let socket = PacketSocket::open(*index, FRAMES, wanted)
            .map_err(|error| format!("{name}: no AF_PACKET ring: {error}"))?;
        Ok(LinkRings { link: *index, is_loopback: *is_loopback, sockets: vec![socket] })
    });
    opened.collect()
}
