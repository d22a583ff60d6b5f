//! UDP in Ethernet frames, read and written where a ring stands in for the kernel's stack.
//!
//! Ethernet II (RFC 894, RFC 2464), IPv4 without options (RFC 791), IPv6 without extension headers
//! (RFC 8200), UDP (RFC 768). Whatever else there is goes up the kernel's stack.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;

const ETHERNET: usize = 14;
const IPV4: usize = 20;
const IPV6: usize = 40;
const UDP: usize = 8;

/// Octets in front of the payload by IPv4.
pub const HEADERS_V4: usize = ETHERNET + IPV4 + UDP;
/// Octets in front of the payload by IPv6.
pub const HEADERS_V6: usize = ETHERNET + IPV6 + UDP;

const TYPE_IPV4: [u8; 2] = [0x08, 0x00];
const TYPE_IPV6: [u8; 2] = [0x86, 0xdd];
const PROTOCOL_UDP: u8 = 17;
/// Version 4, five words of header.
const BARE_IPV4: u8 = 0x45;
const DONT_FRAGMENT: [u8; 2] = [0x40, 0x00];
/// More fragments, and the offset.
const FRAGMENT: u16 = 0x3fff;
/// What Linux sends with (RFC 1700 recommends it).
const TIME_TO_LIVE: u8 = 64;

/// What is known of a received frame's UDP checksum.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Checksum {
    /// Nothing: it is looked at. A frame that never was on a wire may have the sum of the
    /// pseudo-header alone, since Linux leaves the rest to a device that doesn't exist; that counts
    /// as good.
    Unknown,
    /// The kernel or the device has seen to it.
    Verified,
}

/// A datagram in a frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Datagram {
    /// Who says to have sent it.
    pub from: SocketAddr,
    /// Whom it is for.
    pub to: SocketAddr,
    /// Where its payload lies in the frame.
    pub payload: Range<usize>,
}

/// Reads a frame. `None` for all that is no whole and sound datagram of a single sender: what the
/// stack would not have passed on either.
#[must_use]
pub fn read(frame: &[u8], checksum: Checksum) -> Option<Datagram> {
    let packet = frame.get(ETHERNET..)?;
    let (from, to, segment) = match frame[12..ETHERNET].try_into().ok()? {
        TYPE_IPV4 => ipv4(packet)?,
        TYPE_IPV6 => ipv6(packet)?,
        _ => return None,
    };
    let header: &[u8; UDP] = segment.first_chunk()?;
    let length = usize::from(word(header, 4));
    let segment = segment.get(..length).filter(|segment| segment.len() >= UDP)?;
    let from_port = word(header, 0);
    if from_port == 0 || !is_sender(from) {
        return None;
    }
    if checksum == Checksum::Unknown && !is_sound(from, to, segment) {
        return None;
    }
    let start = segment.as_ptr().addr() - frame.as_ptr().addr();
    Some(Datagram {
        from: SocketAddr::new(from, from_port),
        to: SocketAddr::new(to, word(header, 2)),
        payload: start + UDP..start + length,
    })
}

/// Source, destination and payload of an IPv4 packet.
fn ipv4(packet: &[u8]) -> Option<(IpAddr, IpAddr, &[u8])> {
    let header: &[u8; IPV4] = packet.first_chunk()?;
    let is_plain = header[0] == BARE_IPV4
        && header[9] == PROTOCOL_UDP
        && word(header, 6) & FRAGMENT == 0
        && fold(sum(header)) == u16::MAX;
    let payload = packet.get(IPV4..usize::from(word(header, 2)))?;
    let address =
        |at: usize| Ipv4Addr::new(header[at], header[at + 1], header[at + 2], header[at + 3]);
    is_plain.then_some((address(12).into(), address(16).into(), payload))
}

/// Source, destination and payload of an IPv6 packet.
fn ipv6(packet: &[u8]) -> Option<(IpAddr, IpAddr, &[u8])> {
    let header: &[u8; IPV6] = packet.first_chunk()?;
    let is_plain = header[0] >> 4 == 6 && header[6] == PROTOCOL_UDP;
    let payload = packet.get(IPV6..IPV6 + usize::from(word(header, 4)))?;
    let address =
        |at: usize| header[at..].first_chunk::<16>().map(|octets| Ipv6Addr::from(*octets));
    is_plain.then_some((address(8)?.into(), address(24)?.into(), payload))
}

/// Whether an address can be a single host's.
fn is_sender(address: IpAddr) -> bool {
    let is_broadcast = address == IpAddr::V4(Ipv4Addr::BROADCAST);
    !(address.is_unspecified() || address.is_multicast() || is_broadcast)
}

fn is_sound(from: IpAddr, to: IpAddr, segment: &[u8]) -> bool {
    let noted = u16::from_ne_bytes([segment[6], segment[7]]);
    let pseudo = pseudo_header(from, to) + u64::from((segment.len() as u16).to_be());
    // Zero: the sender made none, which IPv6 does not allow (RFC 8200 section 8.1).
    let is_none = noted == 0 && from.is_ipv4();
    is_none || fold(pseudo + sum(segment)) == u16::MAX || noted == fold(pseudo)
}

fn word(octets: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([octets[at], octets[at + 1]])
}

/// The sum of the pseudo-header but for the length (RFC 768, RFC 8200 section 8.1).
fn pseudo_header(from: IpAddr, to: IpAddr) -> u64 {
    let of = |address| match address {
        IpAddr::V4(address) => sum(&address.octets()),
        IpAddr::V6(address) => sum(&address.octets()),
    };
    of(from) + of(to) + u64::from(u16::from(PROTOCOL_UDP).to_be())
}

/// Sums words in the machine's own order: the ones' complement sum does not depend on it
/// (RFC 1071 section 2, B). Datagrams are far too short to overflow.
fn sum(octets: &[u8]) -> u64 {
    let (words, rest) = octets.as_chunks::<4>();
    let sum: u64 = words.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum();
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    sum + u64::from(u32::from_ne_bytes(last))
}

/// A sum of 16 bits, in the order of memory.
fn fold(mut sum: u64) -> u16 {
    while sum > u64::from(u16::MAX) {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// The headers of all datagrams from one port to one peer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Envelope {
    headers: [u8; HEADERS_V6],
    length: usize,
    /// The sum of the pseudo-header and the ports, without the length.
    sum: u64,
}

impl Envelope {
    /// Headers from `from` to `to`, in frames from one hardware address to another; `None` where the
    /// two are of different families.
    #[must_use]
    pub fn new(macs: &Macs, from: SocketAddr, to: SocketAddr) -> Option<Envelope> {
        let mut headers = [0; HEADERS_V6];
        headers[..6].copy_from_slice(&macs.to);
        headers[6..12].copy_from_slice(&macs.from);
        let ip = &mut headers[12..];
        let length = match (from.ip(), to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                ip[..2].copy_from_slice(&TYPE_IPV4);
                ip[2..14].copy_from_slice(&[
                    BARE_IPV4,
                    0,
                    0,
                    0,
                    0,
                    0,
                    DONT_FRAGMENT[0],
                    DONT_FRAGMENT[1],
                    TIME_TO_LIVE,
                    PROTOCOL_UDP,
                    0,
                    0,
                ]);
                ip[14..18].copy_from_slice(&from.octets());
                ip[18..22].copy_from_slice(&to.octets());
                HEADERS_V4
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                ip[..2].copy_from_slice(&TYPE_IPV6);
                ip[2..10].copy_from_slice(&[0x60, 0, 0, 0, 0, 0, PROTOCOL_UDP, TIME_TO_LIVE]);
                ip[10..26].copy_from_slice(&from.octets());
                ip[26..42].copy_from_slice(&to.octets());
                HEADERS_V6
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return None,
        };
        let ports = &mut headers[length - UDP..length - UDP + 4];
        ports[..2].copy_from_slice(&from.port().to_be_bytes());
        ports[2..].copy_from_slice(&to.port().to_be_bytes());
        let sum = sum(ports) + pseudo_header(from.ip(), to.ip());
        Some(Envelope { headers, length, sum })
    }

    /// Octets of the frame around a payload.
    #[must_use]
    pub const fn frame_length(&self, payload: usize) -> usize {
        self.length + payload
    }

    /// Octets of the IP packet around a payload, which is what an MTU limits.
    #[must_use]
    pub const fn packet_length(&self, payload: usize) -> usize {
        self.length - ETHERNET + payload
    }

    /// Writes a whole frame.
    ///
    /// # Panics
    /// If `frame` is not of [`Envelope::frame_length`], or that is too long for IP.
    pub fn write(&self, frame: &mut [u8], payload: &[u8]) {
        let (headers, body) = frame.split_at_mut(self.length);
        headers.copy_from_slice(&self.headers[..self.length]);
        body.copy_from_slice(payload);
        let segment = u16::try_from(UDP + payload.len()).expect("a datagram is shorter");
        if self.length == HEADERS_V4 {
            headers[16..18].copy_from_slice(&(IPV4 as u16 + segment).to_be_bytes());
            let checksum = !fold(sum(&headers[ETHERNET..ETHERNET + IPV4]));
            headers[24..26].copy_from_slice(&checksum.to_ne_bytes());
        } else {
            headers[18..20].copy_from_slice(&segment.to_be_bytes());
        }
        let udp = &mut headers[self.length - UDP..];
        udp[4..6].copy_from_slice(&segment.to_be_bytes());
        // The length counts twice: in the pseudo-header, and where it stands.
        let whole = self.sum + 2 * u64::from(segment.to_be()) + sum(payload);
        let checksum = match !fold(whole) {
            0 => u16::MAX,
            checksum => checksum,
        };
        udp[6..8].copy_from_slice(&checksum.to_ne_bytes());
    }
}

/// The hardware addresses of a hop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Macs {
    /// Our interface's.
    pub from: [u8; 6],
    /// The neighbour's.
    pub to: [u8; 6],
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MACS: Macs = Macs { from: [2, 0, 0, 0, 0, 1], to: [2, 0, 0, 0, 0, 2] };

    fn frame(from: &str, to: &str, payload: &[u8]) -> Vec<u8> {
        let envelope = Envelope::new(&MACS, from.parse().unwrap(), to.parse().unwrap()).unwrap();
        let mut frame = vec![0; envelope.frame_length(payload.len())];
        envelope.write(&mut frame, payload);
        frame
    }

    /// Two IPv4 headers of RFC 1071's kind, summed by hand.
    #[test]
    fn a_known_header_checksum_is_made() {
        let frame = frame("192.0.2.1:10000", "192.0.2.2:4000", &[0; 4]);
        let mut words = frame[14..34].chunks(2).map(|pair| u32::from(word(pair, 0)));
        let mut total: u32 = words.by_ref().sum();
        total = (total & 0xffff) + (total >> 16);
        assert_eq!(total, 0xffff);
        assert_eq!(frame[14..24], [0x45, 0, 0, 32, 0, 0, 0x40, 0, 64, 17]);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(v6 in any::<bool>(), payload in prop::collection::vec(any::<u8>(), 0..200)) {
            let (from, to) = if v6 { ("[2001:db8::1]:9", "[2001:db8::2]:10") } else { ("192.0.2.1:9", "192.0.2.2:10") };
            let frame = frame(from, to, &payload);
            let read = read(&frame, Checksum::Unknown).unwrap();
            prop_assert_eq!((read.from, read.to), (from.parse().unwrap(), to.parse().unwrap()));
            prop_assert_eq!(&frame[read.payload], &payload[..]);
        }

        #[test]
        fn an_octet_altered_is_found(v6 in any::<bool>(), at in 14_usize..74, by in 1_u8..) {
            let (from, to) = if v6 { ("[2001:db8::1]:9", "[2001:db8::2]:10") } else { ("192.0.2.1:9", "192.0.2.2:10") };
            let mut frame = frame(from, to, &[7; 40]);
            let before = read(&frame, Checksum::Unknown);
            frame[at] ^= by;
            let after = read(&frame, Checksum::Unknown);
            // IPv6 has no checksum over class, label and hop limit.
            prop_assert!(after.is_none() || (v6 && after == before), "at {at}: {after:?}");
        }

        #[test]
        fn any_octets_are_read_without_panic(frame in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = read(&frame, Checksum::Unknown);
        }
    }

    #[test]
    fn an_unfinished_checksum_is_good() {
        let mut frame = frame("127.0.0.1:9", "127.0.0.1:10", &[1, 2, 3]);
        let localhost = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let pseudo = fold(pseudo_header(localhost, localhost) + u64::from(11_u16.to_be()));
        frame[40..42].copy_from_slice(&pseudo.to_ne_bytes());
        assert!(read(&frame, Checksum::Unknown).is_some());
        frame[41] ^= 1;
        assert!(read(&frame, Checksum::Unknown).is_none());
        assert!(read(&frame, Checksum::Verified).is_some());
    }

    #[test]
    fn no_checksum_is_good_for_ipv4_alone() {
        let mut v4 = frame("192.0.2.1:9", "192.0.2.2:10", &[1, 2, 3]);
        v4[40..42].fill(0);
        assert!(read(&v4, Checksum::Unknown).is_some());
        let mut v6 = frame("[2001:db8::1]:9", "[2001:db8::2]:10", &[1, 2, 3]);
        v6[60..62].fill(0);
        assert!(read(&v6, Checksum::Unknown).is_none());
    }

    #[test]
    fn what_no_single_host_sends_is_refused() {
        for from in ["0.0.0.0:9", "224.0.0.1:9", "255.255.255.255:9", "192.0.2.1:0"] {
            assert!(
                read(&frame(from, "192.0.2.2:10", &[0]), Checksum::Verified).is_none(),
                "{from}"
            );
        }
        assert!(read(&frame("192.0.2.1:9", "192.0.2.2:10", &[0]), Checksum::Verified).is_some());
    }
}
