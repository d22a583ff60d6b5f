//! In a turn no engine's frame waits for what callers are told: of whatever call, engines come first.

#![expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]

mod peer_leg;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use dtmf::expiry::Date;
use dtmf::{CardMode, Field, FieldKind, PlanRequest, SecurePlan};
use relay::switchboard::limits::BUFFER;
use relay::switchboard::{
    CallId, Command, EngineAudio, OpenCall, PortPair, SessionId, SessionRequest, Switchboard,
    SwitchboardConfig,
};
use relay::wire::ntp::NtpTime;

const CALLS: u16 = 3;
const FIRST: u16 = 10_000;

#[test]
fn engines_come_before_all_callers() {
    let now = Instant::now();
    let mut switchboard = Switchboard::new(SwitchboardConfig {
        ports: FIRST..=FIRST + 4 * CALLS - 1,
        media_timeout: Duration::from_secs(60),
        seed: [7; 32],
        ntp_anchor: (now, NtpTime::from_unix(Duration::from_secs(1_800_000_000))),
    });
    for number in 0..CALLS {
        let peer = |port| peer_leg::media(SocketAddr::from(([127, 0, 0, 1], port)), None);
        let call = CallId(number.into());
        let open = OpenCall {
            call,
            caller_ports: PortPair::new(FIRST + 4 * number).unwrap(),
            caller: peer(40_000 + 2 * number),
            engine_ports: PortPair::new(FIRST + 4 * number + 2).unwrap(),
            engine: peer(50_000 + 2 * number),
            armed: None,
            record: false,
        };
        switchboard.handle_command(now, Command::Open(Box::new(open))).map(drop).unwrap();
        let fields = [Field::new(FieldKind::ExpirationDate)];
        let today = Date::new(2026, 11, 30).unwrap();
        let plan = SecurePlan::new(PlanRequest::new(&fields, today, CardMode::Test)).unwrap();
        let (session, engine_audio) = (SessionId(number.into()), EngineAudio::Drop);
        let request = Box::new(SessionRequest { session, plan, engine_audio, announcer: None });
        switchboard.handle_command(now, Command::Enter { call, request }).map(drop).unwrap();
    }
    let (mut now, mut buffer) = (now, [0; BUFFER]);
    for turn in 0..100 {
        now += Duration::from_millis(20);
        switchboard.handle_timeout(now);
        let engines = std::iter::from_fn(|| switchboard.poll_engine_transmit(now, &mut buffer));
        let engines: Vec<u16> = engines.map(|transmit| transmit.port.0 - FIRST).collect();
        assert!(engines.len() >= usize::from(CALLS), "turn {turn}");
        assert!(engines.iter().all(|port| port % 4 == 2), "{engines:?}");
        let callers = std::iter::from_fn(|| switchboard.poll_transmit(now, &mut buffer));
        let callers: Vec<u16> = callers.map(|transmit| transmit.port.0 - FIRST).collect();
        assert!(callers.len() >= usize::from(CALLS), "turn {turn}");
        assert!(callers.iter().all(|port| port % 4 == 0), "{callers:?}");
    }
}
