//! Fuzz target: a leg's telephone-event packets, plain and redundant, at any pace and clock.
#![no_main]

use std::time::{Duration, Instant};

use dtmf::event_receiver::{EventPacket, EventReceiver};
use libfuzzer_sys::fuzz_target;

/// Payload type of the blocks inside redundant packets.
const EVENT_TYPE: u8 = 101;
/// An RFC 4733 payload is 4 octets; redundant ones have a few of them.
const LONGEST_PAYLOAD: usize = 32;

fuzz_target!(|octets: &[u8]| {
    let Some(([clock, rest @ ..], packets)) = octets.split_first_chunk::<2>() else { return };
    let mut receiver = EventReceiver::new([0, 8_000, 16_000, 48_000][usize::from(clock % 4)]);
    let mut arrival = Instant::now();
    let mut presses = 0;
    for packet in packets.chunks(10 + usize::from(rest[0]) % LONGEST_PAYLOAD) {
        let Some(([gap, kind, s0, s1, t0, t1, t2, t3, ssrc], payload)) = packet.split_first_chunk()
        else {
            break;
        };
        arrival += Duration::from_millis(u64::from(*gap));
        let packet = EventPacket {
            arrival,
            ssrc: u32::from(*ssrc),
            sequence: u16::from_be_bytes([*s0, *s1]),
            timestamp: u32::from_be_bytes([*t0, *t1, *t2, *t3]),
            marker: kind & 1 == 1,
            payload,
        };
        if kind & 2 == 0 {
            receiver.hear(packet, &mut |_| presses += 1);
        } else {
            let _malformed = receiver.hear_redundant(packet, EVENT_TYPE, &mut |_| presses += 1);
        }
        std::hint::black_box(receiver.is_sounding(arrival));
    }
    // No more presses than reports, which are four octets each.
    assert!(presses <= octets.len() / 4);
});
