//! Measurement: what one suite takes for a packet, on keys and packets made for it.

use std::hint::black_box;
use std::time::{Duration, Instant};

use relay::wire::rtp::Header;
use relay::wire::srtp::{Inbound, MasterKey, Outbound, Suite};

const ROUNDS: usize = 100;
/// Packets a round: few enough for the cache, many enough for the clock.
const PACKETS: usize = 1_024;
const PLAIN_LEN: usize = 172;
/// A buffer as the packet path has it, with room for any tag.
const BUFFER_LEN: usize = 256;

/// What one suite takes for a packet: medians over the rounds, in nanoseconds.
pub(crate) struct Measurement {
    pub(crate) protect: u64,
    pub(crate) unprotect: u64,
    /// Allocations of one round of both, its keys aside.
    pub(crate) allocations: u64,
    /// The first packet as it goes over the wire, in hexadecimal digits.
    pub(crate) wire: String,
}

impl Measurement {
    /// Measures a suite; the master key is 0, 1, 2 and so on, as the other program has it.
    pub(crate) fn of(suite: Suite) -> Measurement {
        let octets: Vec<u8> = (0..).take(suite.master_len()).collect();
        let key = MasterKey::from_bytes(suite, &octets).expect("as long as the suite asks");
        let mut round = Round::new(&key);
        let allocations = allocation_counter::measure(|| {
            round.protect();
            round.unprotect();
        });
        let (mut protect, mut unprotect) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let mut round = Round::new(&key);
            protect.push(timed(|| round.protect()));
            unprotect.push(timed(|| round.unprotect()));
        }
        Measurement {
            protect: median(protect),
            unprotect: median(unprotect),
            allocations: allocations.count_total,
            wire: wire(&key),
        }
    }
}

/// Packets of one stream and the keys of both its ends.
struct Round {
    outbound: Outbound,
    inbound: Inbound,
    protected_len: usize,
    buffers: Vec<[u8; BUFFER_LEN]>,
}

impl Round {
    fn new(key: &MasterKey) -> Round {
        Round {
            outbound: Outbound::new(key),
            inbound: Inbound::new(key),
            protected_len: PLAIN_LEN + key.suite().rtp_overhead(),
            buffers: (0..PACKETS).map(plain_packet).collect(),
        }
    }

    fn protect(&mut self) {
        for buffer in &mut self.buffers {
            let len = self.outbound.protect(buffer, PLAIN_LEN).expect("fresh index, room");
            assert_eq!(black_box(len), self.protected_len);
        }
    }

    fn unprotect(&mut self) {
        for buffer in &mut self.buffers {
            let len = self.inbound.unprotect(&mut buffer[..self.protected_len]);
            assert_eq!(black_box(len), Ok(PLAIN_LEN));
        }
    }
}

fn wire(key: &MasterKey) -> String {
    let mut packet = plain_packet(0);
    let len = Outbound::new(key).protect(&mut packet, PLAIN_LEN).expect("fresh index, room");
    packet[..len].iter().map(|octet| format!("{octet:02x}")).collect()
}

fn plain_packet(number: usize) -> [u8; BUFFER_LEN] {
    let mut buffer = [0xd5; BUFFER_LEN];
    let header = Header {
        marker: false,
        payload_type: 8,
        sequence: number as u16,
        timestamp: 160 * number as u32,
        ssrc: 1,
    };
    header.write(buffer.first_chunk_mut().expect("longer than a header"));
    buffer
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

fn median(mut rounds: Vec<Duration>) -> u64 {
    rounds.sort_unstable();
    (rounds[ROUNDS / 2].as_nanos() / PACKETS as u128) as u64
}
