//! Nanoseconds a packet for each SRTP suite, on 20 ms of G.711 (172 octets).

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

fn main() {
    println!("{:<26} {:>14} {:>16}", "ns a packet, min (median)", "protect", "unprotect");
    for suite in Suite::ALL {
        let octets: Vec<u8> = (0..).take(suite.master_len()).collect();
        let key = MasterKey::from_bytes(suite, &octets).expect("as long as the suite asks");
        let (mut protect, mut unprotect) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let (mut outbound, mut inbound) = (Outbound::new(&key), Inbound::new(&key));
            let mut buffers: Vec<[u8; BUFFER_LEN]> = (0..PACKETS).map(plain_packet).collect();
            let overhead = suite.rtp_overhead();
            protect.push(timed(|| {
                for buffer in &mut buffers {
                    let len = outbound.protect(buffer, PLAIN_LEN).expect("fresh index, room");
                    assert_eq!(black_box(len), PLAIN_LEN + overhead);
                }
            }));
            unprotect.push(timed(|| {
                for buffer in &mut buffers {
                    let len = inbound.unprotect(&mut buffer[..PLAIN_LEN + overhead]);
                    assert_eq!(black_box(len), Ok(PLAIN_LEN));
                }
            }));
        }
        println!("{:<26} {:>14} {:>16}", suite.name(), summary(protect), summary(unprotect));
    }
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

fn summary(mut rounds: Vec<Duration>) -> String {
    rounds.sort_unstable();
    let per_packet = |round: Duration| round.as_nanos() / PACKETS as u128;
    format!("{} ({})", per_packet(rounds[0]), per_packet(rounds[ROUNDS / 2]))
}
