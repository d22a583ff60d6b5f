//! The packet path allocates nothing: forwarding, collecting and generating, plain and SRTP,
//! recorded or not.

#![expect(clippy::unwrap_used, reason = "a test may")]
#![expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]

mod peer_leg;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dtmf::brand::BrandSet;
use dtmf::expiry::Date;
use dtmf::g711::Law;
use dtmf::{CardMode, Digit, Field, FieldKind, PlanRequest, SecurePlan};
use relay::codec::Codec;
use relay::prompts::Sound;
use relay::recording::Job;
use relay::switchboard::limits::BUFFER;
use relay::switchboard::{
    CallId, Command, CopyMedia, EngineAudio, LegMedia, LocalPort, OpenCall, PlayRequest, PortPair,
    Press, SessionId, SessionRequest, Side, Subscribing, SubscriptionId, Switchboard,
    SwitchboardConfig,
};
use relay::wire::ntp::NtpTime;
use relay::wire::rtp::Header;
use relay::wire::srtp::{Outbound, Suite};

use peer_leg::key;

const CALL: CallId = CallId(1);
const EVENT: u8 = 101;
const REDUNDANCY: u8 = 121;
const CALLER: u16 = 40000;
const ENGINE: u16 = 50000;
/// Ports of copies, from this one on.
const COPIES: u16 = 10004;
const FRAME: Duration = Duration::from_millis(20);

#[test]
fn forwarding_and_collecting_allocate_nothing() {
    let suites = [None, Some(Suite::AesCm128HmacSha1_80), Some(Suite::AeadAes128Gcm)];
    for (suite, record) in suites.into_iter().flat_map(|suite| [(suite, false), (suite, true)]) {
        let told = format!("{}, recorded: {record}", name(suite));
        let mut scene = Scene::new(suite, record);
        if record {
            scene.subscribe(suite);
        }
        // Long enough for every queue to have been used once: reports go out every 5 s.
        scene.run(300);
        assert_eq!(scene.allocations(500), 0, "forwarding, {told}");
        assert_eq!(scene.blocks > 0, record, "control: {told}");
        assert_eq!(scene.copies > 1000, record, "control: {told}, {} copies", scene.copies);
        scene.enter();
        scene.run(300);
        assert_eq!(scene.allocations(500), 0, "collecting and generating, {told}");
    }
}

#[test]
fn playing_and_pressing_allocate_nothing() {
    for suite in [None, Some(Suite::AesCm128HmacSha1_80)] {
        let mut scene = Scene::new(suite, true);
        scene.run(300);
        scene.play();
        assert_eq!(scene.allocations(500), 0, "a sound, keys and their end, {}", name(suite));
    }
}

#[test]
fn the_counter_counts() {
    let counted = allocation_counter::measure(|| drop(std::hint::black_box(vec![0u8; 160])));
    assert_eq!(counted.count_total, 1);
}

fn name(suite: Option<Suite>) -> &'static str {
    suite.map_or("plain", Suite::name)
}

struct Scene {
    switchboard: Switchboard,
    now: Instant,
    sequence: u16,
    protect: Option<Outbound>,
    buffer: [u8; BUFFER],
    /// Blocks for the recorder so far.
    blocks: usize,
    /// Frames for a subscriber so far.
    copies: usize,
}

impl Scene {
    fn new(suite: Option<Suite>, record: bool) -> Scene {
        let now = Instant::now();
        let mut switchboard = Switchboard::new(SwitchboardConfig {
            ports: 10000..=10007,
            media_timeout: Duration::from_secs(60),
            seed: [7; 32],
            ntp_anchor: (now, NtpTime::from_unix(Duration::from_secs(1_800_000_000))),
        });
        let open = OpenCall {
            call: CALL,
            caller_ports: PortPair::new(10000).unwrap(),
            caller: media(CALLER, suite),
            engine_ports: PortPair::new(10002).unwrap(),
            engine: media(ENGINE, None),
            armed: None,
            record,
        };
        switchboard.handle_command(now, Command::Open(Box::new(open))).map(drop).unwrap();
        let protect = suite.map(|suite| Outbound::new(&key(suite, 1)));
        Scene { switchboard, now, sequence: 0, protect, buffer: [0; BUFFER], blocks: 0, copies: 0 }
    }

    /// Copies of both parties for somebody else, of the caller in another law.
    fn subscribe(&mut self, suite: Option<Suite>) {
        let pair = |port| PortPair::new(port).unwrap();
        let copies = [(Side::Caller, pair(COPIES)), (Side::Engine, pair(COPIES + 2))];
        let wanted = [(Law::A, 8), (Law::Mu, 0)].map(|(law, payload_type)| {
            Some(CopyMedia {
                remote: SocketAddr::from(([127, 0, 0, 1], 60000)),
                codec: Codec::G711(law),
                payload_type,
                ptime: FRAME,
                they_receive: true,
                key: suite.map(|suite| key(suite, 3)),
            })
        });
        for ask in [Subscribing::Begin(copies.into()), Subscribing::Answer(wanted.into())] {
            let (id, ask) = (SubscriptionId(1), Box::new(ask));
            let command = Command::Subscription { call: CALL, id, ask };
            self.switchboard.handle_command(self.now, command).map(drop).unwrap();
        }
    }

    fn enter(&mut self) {
        let fields = [Field::new(FieldKind::CardNumber { allowed: BrandSet::COMMON })];
        let today = Date::new(2026, 11, 24).unwrap();
        let plan = SecurePlan::new(PlanRequest::new(&fields, today, CardMode::Test)).unwrap();
        let (session, engine_audio) = (SessionId(1), EngineAudio::Drop);
        let announcer = None;
        let request = Box::new(SessionRequest { session, plan, engine_audio, announcer });
        let enter = Command::Enter { call: CALL, request };
        self.switchboard.handle_command(self.now, enter).map(drop).unwrap();
        while self.switchboard.poll_event().is_some() {}
    }

    /// Both parties hear a sound of half a second for two, and three keys.
    fn play(&mut self) {
        let mut file = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x07\0\x01\0\x40\x1f\0\0".to_vec();
        file.extend([0, 0, 0, 0, 0, 0, 8, 0]);
        file.extend(b"data\xa0\x0f\0\0");
        file.extend([0x2a; 4000]);
        let sound = PlayRequest::new(Arc::new(Sound::read(&file).unwrap())).times(4).unwrap();
        for side in Side::ALL {
            let play = Command::Play { call: CALL, to: side.into(), request: sound.clone() };
            self.switchboard.handle_command(self.now, play).map(drop).unwrap();
            for key in [Digit::One, Digit::Two, Digit::Pound] {
                let (held, pause) = (Duration::from_millis(250), Duration::from_millis(100));
                let presses = Press::new(key, held, 8, pause).unwrap().by(side.into());
                let press = Command::Press { call: CALL, presses };
                self.switchboard.handle_command(self.now, press).map(drop).unwrap();
            }
        }
    }

    fn allocations(&mut self, packets: usize) -> u64 {
        let counted = allocation_counter::measure(|| self.run(packets));
        counted.count_total
    }

    fn run(&mut self, packets: usize) {
        for _ in 0..packets {
            self.now += FRAME;
            self.packet(10000, CALLER, true);
            self.packet(10002, ENGINE, false);
            self.switchboard.handle_timeout(self.now);
            while let Some(sent) = self.switchboard.poll_transmit(self.now, &mut self.buffer) {
                self.copies += usize::from(sent.port.0 >= COPIES);
            }
            while let Some(job) = self.switchboard.poll_record() {
                self.blocks += usize::from(matches!(job, Job::Block { .. }));
            }
            self.sequence = self.sequence.wrapping_add(1);
        }
    }

    /// Audio, with every tenth packet of the caller a redundant key event.
    fn packet(&mut self, port: u16, from: u16, is_caller: bool) {
        let is_key = is_caller && self.sequence.is_multiple_of(10);
        let header = Header {
            marker: false,
            payload_type: if is_key { REDUNDANCY } else { 0 },
            sequence: self.sequence,
            timestamp: u32::from(self.sequence) * 160,
            ssrc: u32::from(from),
        };
        header.write(self.buffer.first_chunk_mut().unwrap());
        // Not silence, and not the same in every packet.
        self.buffer[12..172].fill(self.sequence as u8);
        let mut len = 172;
        if is_key {
            // A key that has ended, 200 ms after another one.
            let blocks = [0x80 | EVENT, 25, 0, 4, EVENT, 5, 0x8a, 3, 32, 6, 0x8a, 3, 32];
            len = 12 + blocks.len();
            self.buffer[12..len].copy_from_slice(&blocks);
        }
        let len = match &mut self.protect {
            Some(protect) if is_caller => protect.protect(&mut self.buffer, len).unwrap(),
            Some(_) | None => len,
        };
        let from = SocketAddr::from(([127, 0, 0, 1], from));
        self.switchboard.handle_packet(self.now, LocalPort(port), from, &mut self.buffer, len);
    }
}

fn media(port: u16, suite: Option<Suite>) -> LegMedia {
    let remote = SocketAddr::from(([127, 0, 0, 1], port));
    LegMedia { redundancy: Some(REDUNDANCY), ..peer_leg::media(remote, suite) }
}
