//! Fuzz target: any datagram read as RTP; what is accepted lies inside it and is written as read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use relay::wire::rtp::{FIXED_HEADER_LEN, Header, RtpPacket};

fuzz_target!(|datagram: &[u8]| {
    let Ok(packet) = RtpPacket::parse(datagram) else { return };
    assert!(packet.header_len >= FIXED_HEADER_LEN && packet.header_len == packet.payload.start);
    assert!(datagram.get(packet.payload).is_some());
    let mut written = [0; FIXED_HEADER_LEN];
    packet.header.write(&mut written);
    assert_eq!(Header::parse(&written), Ok((packet.header, FIXED_HEADER_LEN)));
});
