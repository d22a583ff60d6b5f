//! Scene: a switchboard with many calls of one kind, and the packets that come to it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use dtmf::brand::BrandSet;
use dtmf::expiry::Date;
use dtmf::g711::Law;
use dtmf::{CardMode, Field, FieldKind, PlanRequest, SecurePlan};
use relay::switchboard::limits::TAG_ROOM;
use relay::switchboard::{
    CallId, Command, EngineAudio, LocalPort, OpenCall, PortPair, SessionId, SessionRequest,
    Switchboard, SwitchboardConfig,
};
use relay::wire::ntp::NtpTime;
use relay::wire::rtp::Header;
use relay::wire::srtp::{Outbound, Suite};

use super::peer_leg::{key, media};

const CALLS: u16 = 1_000;
const FIRST_PORT: u16 = 10_000;
/// Two pairs of ports a call.
const PORTS_PER_CALL: u16 = 4;
const FRAME: Duration = Duration::from_millis(20);
const SAMPLES: usize = 160;
const PACKET_LEN: usize = 12 + SAMPLES;
/// Far from every port of ours.
const FIRST_PEER_PORT: u16 = 30_000;

/// What all calls of a scene are.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// Open, G.711 on both legs.
    Plain,
    /// Open, with SRTP on the caller's leg.
    Sdes,
    /// Open and recorded.
    Recorded,
    /// Recorded and cut: a detector and a collector, and silence made for both parties.
    Secure,
}

impl Kind {
    pub(crate) const ALL: [Kind; 4] = [Kind::Plain, Kind::Sdes, Kind::Recorded, Kind::Secure];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Plain => "open",
            Kind::Sdes => "open, AES-CM on one leg",
            Kind::Recorded => "open, recorded",
            Kind::Secure => "secure, recorded",
        }
    }

    fn suite(self) -> Option<Suite> {
        match self {
            Kind::Sdes => Some(Suite::AesCm128HmacSha1_80),
            Kind::Plain | Kind::Recorded | Kind::Secure => None,
        }
    }

    fn is_recorded(self) -> bool {
        match self {
            Kind::Recorded | Kind::Secure => true,
            Kind::Plain | Kind::Sdes => false,
        }
    }
}

/// Calls of one kind, and what their peers send.
pub(crate) struct Scene {
    switchboard: Switchboard,
    now: Instant,
    sequence: u16,
    voice: Voice,
    /// What the callers protect with, where they do.
    protect: Vec<Outbound>,
    datagrams: Vec<Datagram>,
}

/// One packet on its way to the relay, in a buffer as the worker has it.
struct Datagram {
    port: LocalPort,
    from: SocketAddr,
    len: usize,
    buffer: [u8; PACKET_LEN + TAG_ROOM],
}

impl Scene {
    #[expect(clippy::disallowed_methods, reason = "virtual time needs some instant to start from")]
    pub(crate) fn new(kind: Kind) -> Scene {
        let now = Instant::now();
        let mut switchboard = Switchboard::new(SwitchboardConfig {
            ports: FIRST_PORT..=FIRST_PORT + CALLS * PORTS_PER_CALL - 1,
            media_timeout: Duration::from_secs(60),
            seed: [7; 32],
            ntp_anchor: (now, NtpTime::from_unix(Duration::from_secs(1_800_000_000))),
        });
        for number in 0..CALLS {
            obey(&mut switchboard, now, Command::Open(Box::new(open(number, kind))));
        }
        let protect = kind.suite().into_iter();
        let protect = protect.flat_map(|suite| (0..CALLS).map(move |_| key(suite, 1)));
        let mut scene = Scene {
            switchboard,
            now,
            sequence: 0,
            voice: Voice::new(),
            protect: protect.map(|key| Outbound::new(&key)).collect(),
            datagrams: Vec::new(),
        };
        // Every stream has begun when the calls are cut, so that each has a phase of its own.
        scene.run(5);
        match kind {
            Kind::Secure => scene.enter(),
            Kind::Plain | Kind::Sdes | Kind::Recorded => {}
        }
        scene
    }

    /// Plays so many packets of each side of each call; nanoseconds that one took.
    pub(crate) fn run(&mut self, rounds: usize) -> f64 {
        let mut spent = Duration::ZERO;
        for _ in 0..rounds {
            self.prepare();
            let mut datagrams = std::mem::take(&mut self.datagrams);
            spent += timed(|| self.play(&mut datagrams));
            self.datagrams = datagrams;
        }
        spent.as_nanos() as f64 / (rounds * usize::from(CALLS) * 2) as f64
    }

    fn enter(&mut self) {
        for number in 0..CALLS {
            let fields = [Field::new(FieldKind::CardNumber { allowed: BrandSet::COMMON })];
            let today = Date::new(2026, 11, 24).expect("a day");
            let request = PlanRequest::new(&fields, today, CardMode::Test);
            let plan = SecurePlan::new(request).expect("a plan");
            let (session, engine_audio) = (SessionId(1), EngineAudio::Drop);
            let request = Box::new(SessionRequest { session, plan, engine_audio, announcer: None });
            let call = CallId(u128::from(number));
            obey(&mut self.switchboard, self.now, Command::Enter { call, request });
        }
        self.drain();
    }

    /// What comes in the next 20 ms: a packet from each caller and from each engine.
    fn prepare(&mut self) {
        self.datagrams.clear();
        let payload = self.voice.next_frame();
        for number in 0..CALLS {
            for (port, from) in [caller(number), engine(number)] {
                let header = Header {
                    marker: false,
                    payload_type: 0,
                    sequence: self.sequence,
                    timestamp: u32::from(self.sequence) * SAMPLES as u32,
                    ssrc: u32::from(from.port()),
                };
                let mut buffer = [0; PACKET_LEN + TAG_ROOM];
                header.write(buffer.first_chunk_mut().expect("longer than a header"));
                buffer[12..PACKET_LEN].copy_from_slice(&payload);
                self.datagrams.push(Datagram { port, from, len: PACKET_LEN, buffer });
            }
        }
        for (protect, datagram) in self.protect.iter_mut().zip(self.datagrams.iter_mut().step_by(2))
        {
            let len = protect.protect(&mut datagram.buffer, datagram.len);
            datagram.len = len.expect("fresh index, room");
        }
        self.sequence = self.sequence.wrapping_add(1);
    }

    /// Steps as the worker does; the calls' packets come one call after the other.
    fn play(&mut self, datagrams: &mut [Datagram]) {
        let step = FRAME / u32::from(CALLS);
        for pair in datagrams.chunks_mut(2) {
            self.now += step;
            for Datagram { port, from, len, buffer } in pair {
                self.switchboard.handle_packet(self.now, *port, *from, buffer, *len);
            }
            self.switchboard.handle_timeout(self.now);
            self.drain();
        }
    }

    fn drain(&mut self) {
        let mut buffer = [0; PACKET_LEN + TAG_ROOM];
        while self.switchboard.poll_transmit(self.now, &mut buffer).is_some() {}
        while self.switchboard.poll_event().is_some() {}
        while self.switchboard.poll_record().is_some() {}
        std::hint::black_box(self.switchboard.poll_timeout());
    }
}

/// Something like a voice: harmonics of 140 Hz that swell and fade with the syllables.
struct Voice {
    sample: usize,
}

impl Voice {
    fn new() -> Voice {
        Voice { sample: 0 }
    }

    fn next_frame(&mut self) -> [u8; SAMPLES] {
        let mut frame = [0; SAMPLES];
        for code in &mut frame {
            let time = self.sample as f64 / 8_000.0;
            let turn = |hz: f64| (time * hz * std::f64::consts::TAU).sin();
            let tones: f64 = (1..=12).map(|n| turn(140.0 * f64::from(n)) / f64::from(n)).sum();
            let level = 2_500.0 * (1.0 + turn(3.0));
            *code = Law::Mu.encode((tones * level) as i16);
            self.sample += 1;
        }
        frame
    }
}

fn obey(switchboard: &mut Switchboard, now: Instant, command: Command) {
    assert!(switchboard.handle_command(now, command).is_ok(), "the switchboard obeys");
}

fn open(number: u16, kind: Kind) -> OpenCall {
    let [(caller_port, caller), (engine_port, engine)] = [caller(number), engine(number)];
    OpenCall {
        call: CallId(u128::from(number)),
        caller_ports: PortPair::new(caller_port.0).expect("even"),
        caller: media(caller, kind.suite()),
        engine_ports: PortPair::new(engine_port.0).expect("even"),
        engine: media(engine, None),
        armed: None,
        record: kind.is_recorded(),
    }
}

/// The port that a caller's packets come to, and where they come from.
fn caller(number: u16) -> (LocalPort, SocketAddr) {
    let port = FIRST_PORT + number * PORTS_PER_CALL;
    (LocalPort(port), SocketAddr::from(([127, 0, 0, 1], FIRST_PEER_PORT + 4 * number)))
}

/// The same for the engine.
fn engine(number: u16) -> (LocalPort, SocketAddr) {
    let port = FIRST_PORT + number * PORTS_PER_CALL + 2;
    (LocalPort(port), SocketAddr::from(([127, 0, 0, 1], FIRST_PEER_PORT + 4 * number + 2)))
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}
