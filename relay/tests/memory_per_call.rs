//! What a call takes of the memory of the process: 1,000 of them in a switchboard.
//!
//! `cargo test -p relay --test memory_per_call -- --nocapture` prints it.

#![expect(clippy::unwrap_used, reason = "a test may")]
#![expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]

mod peer_leg;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use relay::switchboard::{CallId, Command, OpenCall, PortPair, Switchboard, SwitchboardConfig};
use relay::wire::ntp::NtpTime;
use relay::wire::srtp::Suite;

use peer_leg::media;

const CALLS: u16 = 1_000;
const FIRST_PORT: u16 = 10_000;

/// Octets a call may take here: the control plane and its answers have as much again, and all of it
/// together is to stay under 16 KiB.
const MOST_PLAIN: usize = 4 * 1024;

/// The same with SRTP on both legs, whose keys and windows take two pages.
const MOST_SECURED: usize = 16 * 1024;

#[test]
fn a_call_is_small() {
    for (name, suite, most) in [
        ("plain", None, MOST_PLAIN),
        ("SRTP on both legs", Some(Suite::AesCm128HmacSha1_80), MOST_SECURED),
    ] {
        let before = resident();
        let switchboard = with_calls(suite);
        let per_call = resident().saturating_sub(before) / usize::from(CALLS);
        println!("{name}: {per_call} octets a call");
        assert_eq!(switchboard.calls(), usize::from(CALLS));
        assert!(per_call > 1024, "control: {per_call} is too little to have been measured");
        assert!(per_call <= most, "{name}: {per_call} octets a call");
    }
}

/// What the process has in memory, in octets (proc(5), `VmRSS`).
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

fn with_calls(suite: Option<Suite>) -> Switchboard {
    let now = Instant::now();
    let mut switchboard = Switchboard::new(SwitchboardConfig {
        ports: FIRST_PORT..=FIRST_PORT + 4 * CALLS - 1,
        media_timeout: Duration::from_secs(60),
        seed: [7; 32],
        ntp_anchor: (now, NtpTime::from_unix(Duration::from_secs(1_800_000_000))),
    });
    for number in 0..CALLS {
        let port = FIRST_PORT + 4 * number;
        let open = OpenCall {
            call: CallId(u128::from(number)),
            caller_ports: PortPair::new(port).unwrap(),
            caller: media(remote(port), suite),
            engine_ports: PortPair::new(port + 2).unwrap(),
            engine: media(remote(port + 2), suite),
            armed: None,
            record: false,
        };
        switchboard.handle_command(now, Command::Open(Box::new(open))).map(drop).unwrap();
        while switchboard.poll_event().is_some() {}
    }
    switchboard
}

fn remote(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port + 20_000))
}
