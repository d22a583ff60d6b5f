//! What a call takes of the memory of the process where Opus becomes PCMU and back.
//!
//! `cargo test -p relay --test memory_per_transcoded_call -- --nocapture` prints it. A process of its
//! own: what others have given back would be taken again, and not be seen.

#![expect(clippy::unwrap_used, reason = "a test may")]
#![expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]

mod peer_leg;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use relay::codec::{Codec, Encoder, NARROW};
use relay::switchboard::limits::BUFFER;
use relay::switchboard::{
    CallId, Command, LegMedia, LocalPort, OpenCall, PortPair, Switchboard, SwitchboardConfig,
};
use relay::wire::ntp::NtpTime;
use relay::wire::rtp::{FIXED_HEADER_LEN, Header};

const CALLS: u16 = 200;
const FIRST_PORT: u16 = 10_000;
/// libopus has 18 KiB to decode a voice and 43 to encode one (`opus_decoder_get_size`,
/// `opus_encoder_get_size`); the jitter buffers hold 200 ms each.
const MOST: usize = 80 * 1024;

#[test]
fn it_takes_what_its_codecs_do() {
    let (mut encoder, mut wire) = (Encoder::new(Codec::Opus, NARROW).unwrap(), [0; 400]);
    let len = encoder.encode(&[100; 160], &mut wire).unwrap();
    let before = resident();
    let (mut now, mut switchboard) = with_calls();
    for turn in 0..20 {
        now += Duration::from_millis(20);
        for port in (FIRST_PORT..FIRST_PORT + 4 * CALLS).step_by(4) {
            hear(&mut switchboard, now, port, turn, &wire[..len], 960);
            hear(&mut switchboard, now, port + 2, turn, &[0x55; 160], 160);
        }
        switchboard.handle_timeout(now);
        while switchboard.poll_transmit(now, &mut [0; BUFFER]).is_some() {}
    }
    let per_call = resident().saturating_sub(before) / usize::from(CALLS);
    println!("figure: Opus to PCMU and back: {per_call} octets a call, libopus' own among them");
    assert!(per_call > 32 * 1024, "control: {per_call} is too little to have been measured");
    assert!(per_call <= MOST, "{per_call} octets a call");
}

fn hear(switchboard: &mut Switchboard, now: Instant, port: u16, turn: u16, said: &[u8], step: u32) {
    let (mut buffer, end) = ([0; BUFFER], FIXED_HEADER_LEN + said.len());
    let timestamp = u32::from(turn) * step;
    let header = Header { marker: false, payload_type: 0, sequence: turn, timestamp, ssrc: 7 };
    header.write(buffer.first_chunk_mut().unwrap());
    buffer[FIXED_HEADER_LEN..end].copy_from_slice(said);
    switchboard.handle_packet(now, LocalPort(port), remote(port), &mut buffer, end);
}

fn with_calls() -> (Instant, Switchboard) {
    let now = Instant::now();
    let mut switchboard = Switchboard::new(SwitchboardConfig {
        ports: FIRST_PORT..=FIRST_PORT + 4 * CALLS - 1,
        media_timeout: Duration::from_secs(60),
        seed: [7; 32],
        ntp_anchor: (now, NtpTime::from_unix(Duration::from_secs(1_800_000_000))),
    });
    for number in 0..CALLS {
        let port = FIRST_PORT + 4 * number;
        let caller = LegMedia { codec: Codec::Opus, ..peer_leg::media(remote(port), None) };
        let open = OpenCall {
            call: CallId(u128::from(number)),
            caller_ports: PortPair::new(port).unwrap(),
            caller,
            engine_ports: PortPair::new(port + 2).unwrap(),
            engine: peer_leg::media(remote(port + 2), None),
            armed: None,
            record: false,
        };
        switchboard.handle_command(now, Command::Open(Box::new(open))).map(drop).unwrap();
        while switchboard.poll_event().is_some() {}
    }
    (now, switchboard)
}

fn remote(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port + 20_000))
}

/// What the process has in memory, in octets (proc(5), `VmRSS`).
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}
