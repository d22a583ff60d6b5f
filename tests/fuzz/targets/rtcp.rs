//! Fuzz target: any datagram read as RTCP; every packet, report, source and name is visited.
#![no_main]

use std::hint::black_box;

use libfuzzer_sys::fuzz_target;
use relay::wire::rtcp::{Compound, MAX_PACKETS, MAX_REPORTS, RtcpPacket};

fuzz_target!(|datagram: &[u8]| {
    let Ok(compound) = Compound::parse(datagram) else { return };
    assert!((1..=MAX_PACKETS).contains(&compound.clone().count()));
    for packet in compound {
        let parts = match packet {
            RtcpPacket::SenderReport { reports, .. } => reports.count(),
            RtcpPacket::ReceiverReport { reports, .. } => reports.count(),
            RtcpPacket::SourceDescription(descriptions) => descriptions.map(black_box).count(),
            RtcpPacket::Goodbye { sources, .. } => sources.count(),
            other => usize::from(matches!(black_box(other), RtcpPacket::Application { .. })),
        };
        assert!(parts <= MAX_REPORTS);
    }
});
