//! Netlink: the few messages by which the kernel tells of its links, addresses, routes and
//! neighbours (rtnetlink(7); `linux/rtnetlink.h`, `linux/neighbour.h`).
//!
//! A dozen attributes of four messages are read here and all others passed over: a reader of whole
//! messages refuses what a newer kernel has added to them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const HEADER: usize = 16;
const ALIGNMENT: usize = 4;

/// A request for one thing.
pub const REQUEST: u16 = 0x001;
/// A request for all things of a kind.
pub const DUMP: u16 = 0x300;

const ERROR: u16 = 2;
const DONE: u16 = 3;
const NEW_LINK: u16 = 16;
const DELETED_LINK: u16 = 17;
const GET_LINK: u16 = 18;
const NEW_ADDRESS: u16 = 20;
const GET_ADDRESS: u16 = 22;
const NEW_ROUTE: u16 = 24;
const GET_ROUTE: u16 = 26;
const NEW_NEIGHBOUR: u16 = 28;
const DELETED_NEIGHBOUR: u16 = 29;
const GET_NEIGHBOUR: u16 = 30;

const FAMILY_IPV4: u8 = 2;
const FAMILY_IPV6: u8 = 10;

/// Neighbour states in which its hardware address is good for sending (`NUD_VALID`).
const VALID: u16 = 0x02 | 0x04 | 0x08 | 0x10 | 0x40 | 0x80;
const STALE: u16 = 0x04;

/// What the kernel says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Message {
    /// A link, as it is now.
    Link(Link),
    /// A link is no more.
    LinkGone(u32),
    /// An address of ours, and the index of its link.
    Address(IpAddr, u32),
    /// A route.
    Route(Route),
    /// A neighbour, as it is now.
    Neighbour(Neighbour),
    /// A neighbour is forgotten.
    NeighbourGone(Neighbour),
    /// The end of an answer: all is said, or a request is refused.
    End,
    /// Something else has changed.
    Other,
    /// Nothing that matters here.
    Nothing,
}

/// A network interface.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Link {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Frames are Ethernet's, on a wire or on loopback.
    pub is_ethernet: bool,
    /// It leads back to this machine.
    pub is_loopback: bool,
    /// It is up.
    pub is_up: bool,
    /// Its hardware address.
    pub mac: [u8; 6],
    /// The longest IP packet it takes.
    pub mtu: u32,
    /// Most queues that it may receive by.
    pub queues: u32,
}

/// Where packets to an address go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Route {
    /// How far that is.
    pub kind: RouteKind,
    /// The link they leave by.
    pub link: Option<u32>,
    /// The router on the way.
    pub gateway: Option<IpAddr>,
    /// The longest packet, where the route says so.
    pub mtu: Option<u32>,
    /// Packets are wrapped into others, which is left to the kernel.
    pub is_wrapped: bool,
}

/// How far an address is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RouteKind {
    /// One other host.
    Unicast,
    /// This machine.
    Local,
    /// Nothing that media is sent to.
    Other,
}

/// A host on a link.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Neighbour {
    /// The link.
    pub link: u32,
    /// The address asked about.
    pub address: IpAddr,
    /// Its hardware address, where that may be used.
    pub mac: Option<[u8; 6]>,
    /// The kernel has not heard of it for long, and would ask again if it had something to send.
    pub is_stale: bool,
}

/// Asks for a link by its index.
#[must_use]
pub fn ask_link(sequence: u32, index: u32) -> Vec<u8> {
    let mut body = [0; 16];
    body[4..8].copy_from_slice(&index.to_ne_bytes());
    request(GET_LINK, REQUEST, sequence, &body, &[])
}

/// Asks for all links.
#[must_use]
pub fn ask_links(sequence: u32) -> Vec<u8> {
    request(GET_LINK, REQUEST | DUMP, sequence, &[0; 16], &[])
}

/// Asks for all addresses of ours.
#[must_use]
pub fn ask_addresses(sequence: u32) -> Vec<u8> {
    request(GET_ADDRESS, REQUEST | DUMP, sequence, &[0; 8], &[])
}

/// Asks for the route from one of our addresses to a peer.
#[must_use]
pub fn ask_route(sequence: u32, from: IpAddr, to: IpAddr) -> Vec<u8> {
    const DESTINATION: u16 = 1;
    const SOURCE: u16 = 2;
    let (family, to) = family_and_octets(to);
    let (_, from) = family_and_octets(from);
    let mut body = [0; 12];
    (body[0], body[1], body[2]) = (family, 8 * to.len() as u8, 8 * from.len() as u8);
    request(GET_ROUTE, REQUEST, sequence, &body, &[(DESTINATION, &to), (SOURCE, &from)])
}

/// Asks for a neighbour.
#[must_use]
pub fn ask_neighbour(sequence: u32, link: u32, address: IpAddr) -> Vec<u8> {
    const DESTINATION: u16 = 1;
    let (family, octets) = family_and_octets(address);
    let mut body = [0; 12];
    body[0] = family;
    body[4..8].copy_from_slice(&link.to_ne_bytes());
    request(GET_NEIGHBOUR, REQUEST, sequence, &body, &[(DESTINATION, &octets)])
}

fn family_and_octets(address: IpAddr) -> (u8, Vec<u8>) {
    match address {
        IpAddr::V4(address) => (FAMILY_IPV4, address.octets().to_vec()),
        IpAddr::V6(address) => (FAMILY_IPV6, address.octets().to_vec()),
    }
}

fn request(
    kind: u16,
    flags: u16,
    sequence: u32,
    body: &[u8],
    attributes: &[(u16, &[u8])],
) -> Vec<u8> {
    let mut message = vec![0; HEADER];
    message.extend_from_slice(body);
    for (kind, value) in attributes {
        message.extend_from_slice(&((4 + value.len()) as u16).to_ne_bytes());
        message.extend_from_slice(&kind.to_ne_bytes());
        message.extend_from_slice(value);
    }
    let length = message.len() as u32;
    message[..4].copy_from_slice(&length.to_ne_bytes());
    message[4..6].copy_from_slice(&kind.to_ne_bytes());
    message[6..8].copy_from_slice(&flags.to_ne_bytes());
    message[8..12].copy_from_slice(&sequence.to_ne_bytes());
    message
}

/// The messages of a datagram from the kernel, each with the number of the request it answers.
pub fn messages(mut datagram: &[u8]) -> impl Iterator<Item = (u32, Message)> {
    std::iter::from_fn(move || {
        let length = u32_at(datagram, 0)? as usize;
        let message = datagram.get(..length).filter(|_| length >= HEADER)?;
        datagram = datagram.get(length.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
        let kind = u16_at(message, 4)?;
        Some((u32_at(message, 8)?, read(kind, &message[HEADER..])))
    })
}

fn read(kind: u16, body: &[u8]) -> Message {
    let message = match kind {
        ERROR | DONE => Some(Message::End),
        NEW_LINK => link(body).map(Message::Link),
        DELETED_LINK => u32_at(body, 4).map(Message::LinkGone),
        NEW_ADDRESS => own_address(body).map(|(address, link)| Message::Address(address, link)),
        NEW_ROUTE => route(body).map(Message::Route),
        // Those without an address are a bridge's, which change all the time.
        NEW_NEIGHBOUR => Some(neighbour(body).map_or(Message::Nothing, Message::Neighbour)),
        DELETED_NEIGHBOUR => Some(neighbour(body).map_or(Message::Nothing, Message::NeighbourGone)),
        _ => None,
    };
    message.unwrap_or(Message::Other)
}

/// `struct ifinfomsg` and its attributes.
fn link(body: &[u8]) -> Option<Link> {
    const MAC: u16 = 1;
    const NAME: u16 = 3;
    const MTU: u16 = 4;
    const QUEUES: u16 = 32;
    const UP: u32 = 0x1;
    const LOOPBACK: u32 = 0x8;
    const TYPE_ETHERNET: u16 = 1;
    const TYPE_LOOPBACK: u16 = 772;
    let (kind, flags) = (u16_at(body, 2)?, u32_at(body, 8)?);
    let mut link = Link {
        index: u32_at(body, 4)?,
        name: String::new(),
        is_ethernet: [TYPE_ETHERNET, TYPE_LOOPBACK].contains(&kind),
        is_loopback: flags & LOOPBACK != 0,
        is_up: flags & UP != 0,
        mac: [0; 6],
        mtu: 0,
        queues: 1,
    };
    for (kind, value) in attributes(body.get(16..)?) {
        match kind {
            MAC => link.mac = value.try_into().unwrap_or_default(),
            NAME => link.name = text(value),
            MTU => link.mtu = u32_at(value, 0)?,
            QUEUES => link.queues = u32_at(value, 0)?,
            _ => {}
        }
    }
    Some(link)
}

/// `struct ifaddrmsg`. On links between two hosts `IFA_ADDRESS` is the other one's.
fn own_address(body: &[u8]) -> Option<(IpAddr, u32)> {
    const ADDRESS: u16 = 1;
    const LOCAL: u16 = 2;
    let find = |wanted| attributes(body.get(8..)?).find(|(kind, _)| *kind == wanted);
    let (_, value) = find(LOCAL).or_else(|| find(ADDRESS))?;
    Some((address(value)?, u32_at(body, 4)?))
}

/// `struct rtmsg`.
fn route(body: &[u8]) -> Option<Route> {
    const LINK: u16 = 4;
    const GATEWAY: u16 = 5;
    const METRICS: u16 = 8;
    const VIA: u16 = 18;
    const WRAPPED: u16 = 22;
    const METRIC_MTU: u16 = 2;
    let kind = match body.get(7)? {
        1 => RouteKind::Unicast,
        2 => RouteKind::Local,
        _ => RouteKind::Other,
    };
    let mut route = Route { kind, link: None, gateway: None, mtu: None, is_wrapped: false };
    for (kind, value) in attributes(body.get(12..)?) {
        match kind {
            LINK => route.link = u32_at(value, 0),
            GATEWAY => route.gateway = address(value),
            // A family in front: an IPv4 route by way of an IPv6 router.
            VIA => route.gateway = address(value.get(2..)?),
            METRICS => {
                let mtu = attributes(value).find(|(kind, _)| *kind == METRIC_MTU);
                route.mtu = mtu.and_then(|(_, value)| u32_at(value, 0));
            }
            WRAPPED => route.is_wrapped = true,
            _ => {}
        }
    }
    Some(route)
}

/// `struct ndmsg`.
fn neighbour(body: &[u8]) -> Option<Neighbour> {
    const DESTINATION: u16 = 1;
    const MAC: u16 = 2;
    let state = u16_at(body, 8)?;
    let find = |wanted| attributes(body.get(12..)?).find(|(kind, _)| *kind == wanted);
    let mac = find(MAC).and_then(|(_, value)| value.try_into().ok());
    Some(Neighbour {
        link: u32_at(body, 4)?,
        address: address(find(DESTINATION)?.1)?,
        mac: mac.filter(|_| state & VALID != 0),
        is_stale: state & STALE != 0,
    })
}

/// Attributes by kind, nested ones as they are.
fn attributes(mut octets: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    /// The kind without its two flags (nested, byte order).
    const KIND: u16 = 0x3fff;
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(octets, 0)?);
        let kind = u16_at(octets, 2)? & KIND;
        let value = octets.get(4..length)?;
        octets = octets.get(length.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
        Some((kind, value))
    })
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    let v4 = || <[u8; 4]>::try_from(octets).ok().map(|octets| Ipv4Addr::from(octets).into());
    let v6 = || <[u8; 16]>::try_from(octets).ok().map(|octets| Ipv6Addr::from(octets).into());
    v4().or_else(v6)
}

fn text(octets: &[u8]) -> String {
    let octets = octets.split(|octet| *octet == 0).next().unwrap_or_default();
    String::from_utf8_lossy(octets).into_owned()
}

fn u16_at(octets: &[u8], at: usize) -> Option<u16> {
    octets.get(at..)?.first_chunk().map(|octets| u16::from_ne_bytes(*octets))
}

fn u32_at(octets: &[u8], at: usize) -> Option<u32> {
    octets.get(at..)?.first_chunk().map(|octets| u32::from_ne_bytes(*octets))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn answer(kind: u16, body: &[u8], attributes: &[(u16, &[u8])]) -> Message {
        let message = request(kind, 0, 7, body, attributes);
        let mut read = messages(&message);
        let (sequence, message) = read.next().unwrap();
        assert_eq!((sequence, read.next()), (7, None));
        message
    }

    #[test]
    fn a_neighbour_is_read() {
        let mut body = [0; 12];
        body[4] = 3;
        let attributes: &[(u16, &[u8])] =
            &[(1, &[192, 0, 2, 1]), (2, &[2, 0, 0, 0, 0, 9]), (99, &[0; 4])];
        // The middle one is padded by hand: attributes begin at a multiple of four.
        let padded: &[(u16, &[u8])] = &[attributes[0], attributes[2]];
        body[8] = 0x04;
        let Message::Neighbour(read) = answer(NEW_NEIGHBOUR, &body, padded) else { panic!() };
        assert_eq!((read.link, read.mac, read.is_stale), (3, None, true));
        let last: &[(u16, &[u8])] = &[attributes[0], attributes[1]];
        let Message::Neighbour(read) = answer(NEW_NEIGHBOUR, &body, last) else { panic!() };
        assert_eq!(read.mac, Some([2, 0, 0, 0, 0, 9]));
        body[8] = 0x20;
        let Message::NeighbourGone(read) = answer(DELETED_NEIGHBOUR, &body, last) else { panic!() };
        assert_eq!(read.mac, None, "a failed one is not sent to");
    }

    #[test]
    fn a_route_is_read() {
        let mut body = [0; 12];
        body[7] = 1;
        let mtu: &[u8] = &[8, 0, 2, 0, 0xdc, 5, 0, 0];
        let attributes: &[(u16, &[u8])] = &[(4, &[2, 0, 0, 0]), (5, &[192, 0, 2, 254]), (8, mtu)];
        let Message::Route(read) = answer(NEW_ROUTE, &body, attributes) else { panic!() };
        assert_eq!((read.kind, read.link, read.mtu), (RouteKind::Unicast, Some(2), Some(1500)));
        assert_eq!(read.gateway, Some(IpAddr::from([192, 0, 2, 254])));
        let wrapped: &[(u16, &[u8])] = &[(22, &[])];
        let Message::Route(read) = answer(NEW_ROUTE, &body, wrapped) else { panic!() };
        assert!(read.is_wrapped && read.link.is_none());
    }

    proptest! {
        #[test]
        fn any_octets_are_read_without_panic_or_end(mut octets in prop::collection::vec(any::<u8>(), 0..200), kind in 0_u16..40) {
            if octets.len() >= HEADER {
                let length = octets.len() as u32;
                octets[..4].copy_from_slice(&length.to_ne_bytes());
                octets[4..6].copy_from_slice(&kind.to_ne_bytes());
            }
            prop_assert!(messages(&octets).count() <= octets.len());
        }
    }
}
