//! Ethernet frames with UDP, and the kernel's messages: any octets in, no panic, ranges inside.

#![no_main]

use libfuzzer_sys::fuzz_target;
use relay::wire::{netlink, udp};

fuzz_target!(|octets: &[u8]| {
    for checksum in [udp::Checksum::Unknown, udp::Checksum::Verified] {
        if let Some(datagram) = udp::read(octets, checksum) {
            assert!(octets.get(datagram.payload).is_some());
        }
    }
    assert!(netlink::messages(octets).count() <= octets.len());
});
