//! RTP view against the `rtp` crate: the same packets, the same fields, no panic on any octets.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use relay::wire::rtp::{FIXED_HEADER_LEN, Header, RtpPacket};
use rtp::header::{EXTENSION_PROFILE_ONE_BYTE, Extension};
use webrtc_util::marshal::{Marshal, Unmarshal};

fn same(ours: &RtpPacket, datagram: &[u8], theirs: &rtp::packet::Packet) {
    assert_eq!(ours.header.marker, theirs.header.marker);
    assert_eq!(ours.header.payload_type, theirs.header.payload_type);
    assert_eq!(ours.header.sequence, theirs.header.sequence_number);
    assert_eq!(ours.header.timestamp, theirs.header.timestamp);
    assert_eq!(ours.header.ssrc, theirs.header.ssrc);
    assert_eq!(datagram[ours.payload.clone()], theirs.payload[..]);
}

prop_compose! {
    fn packet()(
        fields in any::<(bool, u16, u32, u32)>(),
        payload_type in 0_u8..128,
        csrc in vec(any::<u32>(), 0..16),
        extension in proptest::option::of(vec(any::<u8>(), 1..=16)),
        payload in vec(any::<u8>(), 0..200),
        padded in any::<bool>(),
    ) -> rtp::packet::Packet {
        let (marker, sequence_number, timestamp, ssrc) = fields;
        let extensions: Vec<Extension> =
            extension.into_iter().map(|data| Extension { id: 1, payload: data.into() }).collect();
        rtp::packet::Packet {
            header: rtp::header::Header {
                version: 2,
                padding: padded,
                extension: !extensions.is_empty(),
                marker,
                payload_type,
                sequence_number,
                timestamp,
                ssrc,
                csrc,
                extension_profile: EXTENSION_PROFILE_ONE_BYTE,
                extensions,
                extensions_padding: 0,
            },
            payload: payload.into(),
        }
    }
}

proptest! {
    #[test]
    fn reads_what_the_crate_writes(theirs in packet()) {
        let datagram = theirs.marshal().unwrap();
        // The crate pads to whole words and writes no padding at all where none is needed.
        let needs_none = theirs.payload.len() % 4 == 0;
        prop_assume!(!(theirs.header.padding && needs_none));
        let ours = RtpPacket::parse(&datagram).unwrap();
        same(&ours, &datagram, &theirs);
    }

    #[test]
    fn crate_reads_what_we_write(
        fields in any::<(bool, u16, u32, u32)>(),
        payload_type in 0_u8..128,
        payload in vec(any::<u8>(), 0..200),
    ) {
        let (marker, sequence, timestamp, ssrc) = fields;
        let header = Header { marker, payload_type, sequence, timestamp, ssrc };
        let mut fixed = [0; FIXED_HEADER_LEN];
        header.write(&mut fixed);
        let datagram = [&fixed[..], &payload].concat();
        let theirs = rtp::packet::Packet::unmarshal(&mut Bytes::from(datagram.clone())).unwrap();
        let ours = RtpPacket::parse(&datagram).unwrap();
        prop_assert_eq!(ours.header, header);
        same(&ours, &datagram, &theirs);
    }

    /// Octets made to look like RTP: what the crate takes, we take and read alike, but for its
    /// leniency with padding that counts no octet, not even itself.
    #[test]
    fn agrees_on_hostile_octets(first in 0x80_u8..=0xbf, rest in vec(any::<u8>(), 0..120)) {
        let datagram = [&[first][..], &rest].concat();
        let ours = RtpPacket::parse(&datagram);
        let theirs = rtp::packet::Packet::unmarshal(&mut Bytes::from(datagram.clone()));
        let empty_padding = first & 0x20 != 0 && datagram.last() == Some(&0);
        if let (Ok(theirs), false) = (theirs, empty_padding) {
            same(&ours.unwrap(), &datagram, &theirs);
        }
    }

    #[test]
    fn payload_lies_within_the_datagram(datagram in vec(any::<u8>(), 0..200)) {
        if let Ok(packet) = RtpPacket::parse(&datagram) {
            prop_assert!(packet.header_len >= FIXED_HEADER_LEN);
            prop_assert_eq!(packet.payload.start, packet.header_len);
            prop_assert!(datagram.get(packet.payload).is_some());
        }
    }
}
