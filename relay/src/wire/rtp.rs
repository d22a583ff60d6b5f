//! RTP packet: a checked view over one datagram, and the fixed header written back (RFC 3550 section 5.1).
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! |V=2|P|X|  CC   |M|     PT      |           sequence            |
//! |                           timestamp                           |
//! |                             SSRC                              |
//! |             CC times 32 bits: contributing sources            |
//! |  X: profile     |  length in words  |  that many words         |
//! ```

use std::ops::Range;

use thiserror::Error;

/// Octets of the header without contributing sources or extension.
pub const FIXED_HEADER_LEN: usize = 12;

/// Version 2, no padding, no extension, no contributing source: the only first octet ever sent.
const FIRST_OCTET: u8 = 0x80;

/// Why a datagram is not an RTP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum MalformedRtp {
    /// Fewer than twelve octets.
    #[error("shorter than an RTP header")]
    TooShort,
    /// The version field is not 2.
    #[error("not RTP version 2")]
    Version,
    /// The contributing sources or the extension run past the end.
    #[error("RTP header runs past the packet")]
    HeaderOverrun,
    /// The padding counts zero octets, or more than the payload holds.
    #[error("RTP padding does not fit the payload")]
    Padding,
}

/// What the fixed header says about one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// First packet of a talk spurt or of an event (RFC 3551 section 4.1, RFC 4733 section 2.2).
    pub marker: bool,
    /// 0 to 127; what it stands for is the session description's to say.
    pub payload_type: u8,
    /// Counts packets, modulo 2^16.
    pub sequence: u16,
    /// Sampling instant of the first octet, in ticks of the payload's clock, modulo 2^32.
    pub timestamp: u32,
    /// The synchronisation source.
    pub ssrc: u32,
}

impl Header {
    /// Reads the header and the length of all of it, contributing sources and extension included.
    ///
    /// The payload is not looked at, so this also reads a packet whose payload is still encrypted.
    pub fn parse(datagram: &[u8]) -> Result<(Self, usize), MalformedRtp> {
        let fixed: &[u8; FIXED_HEADER_LEN] =
            datagram.first_chunk().ok_or(MalformedRtp::TooShort)?;
        let [first, second, s0, s1, t0, t1, t2, t3, c0, c1, c2, c3] = *fixed;
        if first >> 6 != 2 {
            return Err(MalformedRtp::Version);
        }
        let header = Self {
            marker: second & 0x80 != 0,
            payload_type: second & 0x7f,
            sequence: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            ssrc: u32::from_be_bytes([c0, c1, c2, c3]),
        };
        let mut header_len = FIXED_HEADER_LEN + 4 * usize::from(first & 0x0f);
        if first & 0x10 != 0 {
            let rest = datagram.get(header_len..).ok_or(MalformedRtp::HeaderOverrun)?;
            let [_, _, w0, w1] = *rest.first_chunk().ok_or(MalformedRtp::HeaderOverrun)?;
            header_len += 4 + 4 * usize::from(u16::from_be_bytes([w0, w1]));
        }
        if header_len > datagram.len() {
            return Err(MalformedRtp::HeaderOverrun);
        }
        Ok((header, header_len))
    }

    /// Writes the fixed header: no padding, no extension, no contributing source.
    pub fn write(&self, out: &mut [u8; FIXED_HEADER_LEN]) {
        debug_assert!(self.payload_type < 0x80, "a payload type has seven bits");
        out[0] = FIRST_OCTET;
        out[1] = (u8::from(self.marker) << 7) | (self.payload_type & 0x7f);
        out[2..4].copy_from_slice(&self.sequence.to_be_bytes());
        out[4..8].copy_from_slice(&self.timestamp.to_be_bytes());
        out[8..12].copy_from_slice(&self.ssrc.to_be_bytes());
    }
}

/// One packet: its header and where the payload lies in the datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RtpPacket {
    /// The fixed header.
    pub header: Header,
    /// Octets before the payload.
    pub header_len: usize,
    /// The payload without its padding; may be empty.
    pub payload: Range<usize>,
}

impl RtpPacket {
    /// Reads a datagram in clear. Never allocates; nothing in it is believed before it is checked.
    pub fn parse(datagram: &[u8]) -> Result<Self, MalformedRtp> {
        let (header, header_len) = Header::parse(datagram)?;
        let body = datagram.get(header_len..).ok_or(MalformedRtp::HeaderOverrun)?;
        let padding = match datagram.first().map(|first| first & 0x20) {
            Some(0) | None => 0,
            Some(_) => match body.last() {
                Some(&count) if count > 0 => usize::from(count),
                Some(_) | None => return Err(MalformedRtp::Padding),
            },
        };
        let payload_len = body.len().checked_sub(padding).ok_or(MalformedRtp::Padding)?;
        Ok(Self { header, header_len, payload: header_len..header_len + payload_len })
    }
}

/// Whether a packet on a port shared by both is RTCP, by its second octet (RFC 5761 section 4).
///
/// RTCP types lie in 192..=223, which an RTP packet would only show with payload types 64..=95.
#[must_use]
pub fn is_rtcp(second_octet: u8) -> bool {
    (192..=223).contains(&second_octet)
}

/// Whether sequence number `a` comes after `b`, across the wrap (RFC 1982 section 3.2).
///
/// Numbers exactly half the space apart have no order; the answer is then `false` both ways.
#[must_use]
pub fn sequence_newer(a: u16, b: u16) -> bool {
    (1..0x8000).contains(&a.wrapping_sub(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: [u8; 14] = [0x80, 0x80, 0, 1, 0, 0, 0, 160, 0xca, 0xfe, 0xba, 0xbe, 0xd5, 0xd5];

    #[test]
    fn reads_a_plain_packet() {
        let packet = RtpPacket::parse(&PLAIN).unwrap();
        assert_eq!(
            packet.header,
            Header {
                marker: true,
                payload_type: 0,
                sequence: 1,
                timestamp: 160,
                ssrc: 0xcafe_babe
            }
        );
        assert_eq!((packet.header_len, packet.payload), (12, 12..14));
    }

    #[test]
    fn header_survives_the_way_out_and_in() {
        let header = Header {
            marker: false,
            payload_type: 101,
            sequence: 65_535,
            timestamp: u32::MAX,
            ssrc: 7,
        };
        let mut out = [0; FIXED_HEADER_LEN];
        header.write(&mut out);
        assert_eq!(Header::parse(&out), Ok((header, FIXED_HEADER_LEN)));
    }

    #[test]
    fn every_truncation_is_refused_or_shorter() {
        // Two contributing sources and a one-word extension: 12 + 8 + 8 octets of header.
        let mut datagram = vec![0x92, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9];
        datagram.extend([1; 8]);
        datagram.extend([0xbe, 0xde, 0, 1, 0x10, 0xff, 0, 0]);
        datagram.push(0x55);
        assert_eq!(RtpPacket::parse(&datagram).unwrap().payload, 28..29);
        for len in 0..28 {
            let expected =
                if len < 12 { MalformedRtp::TooShort } else { MalformedRtp::HeaderOverrun };
            assert_eq!(RtpPacket::parse(&datagram[..len]), Err(expected), "{len} octets");
        }
    }

    #[test]
    fn extension_longer_than_the_packet_is_refused() {
        let datagram = [0x90, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9, 0xbe, 0xde, 0xff, 0xff];
        assert_eq!(RtpPacket::parse(&datagram), Err(MalformedRtp::HeaderOverrun));
    }

    /// An extension element with the reserved id 15 is skipped like any other by its length.
    #[test]
    fn reserved_extension_id_is_no_obstacle() {
        let datagram =
            [0x90, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9, 0xbe, 0xde, 0, 1, 0xf3, 1, 2, 3, 0xd5, 0xd5];
        assert_eq!(RtpPacket::parse(&datagram).unwrap().payload, 20..22);
    }

    #[test]
    fn padding_is_removed_and_checked() {
        let mut datagram = PLAIN;
        datagram[0] |= 0x20;
        for (count, expected) in [(1, Ok(12..13)), (2, Ok(12..12))] {
            datagram[13] = count;
            assert_eq!(RtpPacket::parse(&datagram).map(|packet| packet.payload), expected);
        }
        for count in [0, 3, 255] {
            datagram[13] = count;
            assert_eq!(RtpPacket::parse(&datagram), Err(MalformedRtp::Padding), "{count}");
        }
        assert_eq!(RtpPacket::parse(&datagram[..12]), Err(MalformedRtp::Padding));
    }

    #[test]
    fn other_versions_are_refused() {
        for version in [0_u8, 1, 3] {
            let mut datagram = PLAIN;
            datagram[0] = version << 6;
            assert_eq!(RtpPacket::parse(&datagram), Err(MalformedRtp::Version));
        }
    }

    #[test]
    fn rtcp_is_told_by_its_type() {
        let types: Vec<u8> = (0..=255).filter(|&octet| is_rtcp(octet)).collect();
        assert_eq!(types, (192..=223).collect::<Vec<u8>>());
    }

    #[test]
    fn sequence_order_is_circular() {
        assert!(sequence_newer(1, 0));
        assert!(sequence_newer(0, 65_535));
        assert!(sequence_newer(0x7fff, 0));
        assert!(!sequence_newer(0, 0));
        assert!(!sequence_newer(0, 1));
        assert!(!sequence_newer(0x8000, 0) && !sequence_newer(0, 0x8000));
    }
}
