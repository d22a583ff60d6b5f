//! RTCP reader on hostile octets: it ends, it does not panic, and it never reads past a packet.

use proptest::collection::vec;
use proptest::prelude::*;
use relay::wire::ntp::{NtpShort, NtpTime};
use relay::wire::rtcp::{
    Compound, MAX_PACKETS, MAX_REPORTS, ReportBlock, RtcpPacket, SenderReport, write_sender_report,
};

/// Reads everything there is to read and returns how many octets were handed out.
fn exhaust(compound: Compound<'_>) -> usize {
    compound
        .map(|packet| match packet {
            RtcpPacket::SenderReport { reports, .. } => 24 + 24 * reports.count(),
            RtcpPacket::ReceiverReport { reports, .. } => 4 + 24 * reports.count(),
            RtcpPacket::SourceDescription(descriptions) => {
                descriptions.map(|description| 4 + description.cname.map_or(0, <[u8]>::len)).sum()
            }
            RtcpPacket::Goodbye { sources, reason } => 4 * sources.count() + reason.len(),
            RtcpPacket::Application { data, .. } => 8 + data.len(),
            RtcpPacket::Unknown { body, .. } => body.len(),
        })
        .sum()
}

prop_compose! {
    /// One packet with a plausible header; its length is right more often than not.
    fn plausible()(
        count in 0_u8..32,
        padded in prop::bool::weighted(0.1),
        packet_type in prop_oneof![199_u8..=208, any::<u8>()],
        words in 0_usize..16,
        lie in prop_oneof![9 => Just(0_u16), 1 => any::<u16>()],
        body in vec(prop_oneof![3 => 0_u8..4, 1 => any::<u8>()], 64),
    ) -> Vec<u8> {
        let len = (words as u16).wrapping_add(lie).to_be_bytes();
        let first = 0x80 | u8::from(padded) << 5 | count;
        [&[first, packet_type, len[0], len[1]][..], &body[..4 * words]].concat()
    }
}

fn block() -> impl Strategy<Value = ReportBlock> {
    (any::<(u32, u8, u32, u32)>(), -0x80_0000..=0x7f_ffff_i32, any::<(u32, u32)>()).prop_map(
        |((ssrc, fraction_lost, highest_sequence, jitter), cumulative_lost, (lsr, dlsr))| {
            ReportBlock {
                ssrc,
                fraction_lost,
                cumulative_lost,
                highest_sequence,
                jitter,
                last_sender_report: NtpShort(lsr),
                delay: NtpShort(dlsr),
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn any_octets(datagram in vec(any::<u8>(), 0..400)) {
        if let Ok(compound) = Compound::parse(&datagram) {
            prop_assert!(exhaust(compound) <= datagram.len());
        }
    }

    #[test]
    fn plausible_packets(packets in vec(plausible(), 0..6)) {
        let datagram = packets.concat();
        if let Ok(compound) = Compound::parse(&datagram) {
            prop_assert!(compound.clone().count() <= MAX_PACKETS);
            prop_assert!(exhaust(compound) <= datagram.len());
        }
    }

    #[test]
    fn reports_are_read_back(
        ssrc in any::<u32>(),
        (ntp, rtp_timestamp, packets, octets) in any::<(u64, u32, u32, u32)>(),
        blocks in vec(block(), 0..=MAX_REPORTS),
        cname in vec(any::<u8>(), 0..=255),
    ) {
        let sender =
            SenderReport { ssrc, ntp_time: NtpTime(ntp), rtp_timestamp, packets, octets };
        let mut buffer = [0; 1500];
        let len = write_sender_report(&mut buffer, &sender, &blocks, &cname).unwrap();
        let mut compound = Compound::parse(&buffer[..len]).unwrap();
        let Some(RtcpPacket::SenderReport { sender: read, reports }) = compound.next() else {
            panic!("SR expected");
        };
        prop_assert_eq!(read, sender);
        prop_assert_eq!(reports.collect::<Vec<_>>(), blocks);
        let Some(RtcpPacket::SourceDescription(mut names)) = compound.next() else {
            panic!("SDES expected");
        };
        prop_assert_eq!(names.next().unwrap().cname, Some(&cname[..]));
        prop_assert!(names.next().is_none() && compound.next().is_none());
    }
}
