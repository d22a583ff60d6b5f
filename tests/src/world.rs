//! World: the real switchboard, one call, a scripted caller and an engine, in virtual time.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use dtmf::brand::BrandSet;
use dtmf::expiry::Date;
use dtmf::g711::Law;
use dtmf::{CardMode, Digit, Field, FieldKind, PlanRequest, SecurePlan, Verdict};
use loadtest::caller::FRAME;
use loadtest::{Caller, CallerConfig, Ear, KeyMethod, Voice};
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use relay::codec::Codec;
use relay::recording::{Block, Job};
use relay::switchboard::limits::BUFFER;
use relay::switchboard::{
    CallId, Command, CopyMedia, CutReceipt, EngineAudio, EventKind, LegMedia, LocalPort, LookAhead,
    OpenCall, PortPair, RecordingAction, Refusal, Reply, SessionId, SessionRequest, Side,
    SourceRule, Subscribing, SubscriptionId, Switchboard, SwitchboardConfig,
};
use relay::wire::ntp::NtpTime;
use relay::wire::rtp::RtpPacket;

use crate::reference::Reference;
use crate::sim_net::{SimNet, Weather};
use crate::tape_witness::TapeWitness;

/// Ports of the world's one call.
const CALLER_PORTS: u16 = 10000;
const ENGINE_PORTS: u16 = 10002;
/// Ports of the copies for somebody else, of caller and engine.
const COPY_PORTS: [u16; 2] = [10004, 10006];
/// Payload type of the caller's redundant key events.
pub const REDUNDANCY: u8 = 121;
/// The call.
pub const CALL: CallId = CallId(1);

/// How a world is set up.
#[derive(Clone, Copy, Debug)]
pub struct WorldConfig {
    /// Decides everything that is left to chance.
    pub seed: u64,
    /// The network between caller and relay.
    pub weather: Weather,
    /// How the caller presses keys.
    pub method: KeyMethod,
    /// Begin armed.
    pub armed: bool,
    /// The caller's codec; the engine's is mu-law.
    pub law: Law,
}

/// Everything around one call.
pub struct World {
    /// Virtual time.
    pub now: Instant,
    /// The code under test.
    pub switchboard: Switchboard,
    /// The party that talks and keys.
    pub caller: Caller,
    /// What the engine heard.
    pub ear: Ear,
    /// What it may have heard.
    pub reference: Reference,
    /// Payload types and markers of all that reached the engine, as they stand in the header.
    pub to_engine: Vec<u8>,
    /// Octets that reached the engine though they may not.
    pub leaked_to_engine: usize,
    /// Octets that reached a subscriber though they may not.
    pub leaked_to_subscriber: usize,
    /// Frames of the caller's voice that a subscriber was sent.
    pub copied: usize,
    /// The recording, as the recorder would get it.
    pub blocks: Vec<Block>,
    /// What was said while it was on, and what while it was not.
    pub tape: TapeWitness,
    /// All that was told.
    pub events: Vec<(Instant, EventKind)>,
    /// Decides what is left to chance.
    pub random: StdRng,
    law: Law,
    net: SimNet<Vec<u8>>,
    next_tick: Instant,
    engine_tick: Instant,
    engine_sequence: u16,
    buffer: [u8; BUFFER],
    caller_address: SocketAddr,
    engine_address: SocketAddr,
}

impl World {
    /// A world in which the call has just been opened, and is recorded.
    pub fn new(config: WorldConfig) -> World {
        World::with(config, true)
    }

    /// The same, recorded or not.
    pub fn with(config: WorldConfig, record: bool) -> World {
        #[expect(clippy::disallowed_methods, reason = "virtual time has to begin somewhere")]
        let now = Instant::now();
        let mut random = StdRng::seed_from_u64(config.seed);
        let switchboard = Switchboard::new(SwitchboardConfig {
            ports: 10000..=10010,
            media_timeout: Duration::from_secs(60),
            seed: random.random(),
            ntp_anchor: (now, NtpTime::from_unix(Duration::from_secs(1_800_000_000))),
        });
        let mut world = World {
            now,
            switchboard,
            caller: caller(config, &mut random),
            ear: Ear::new(Law::Mu, 0),
            reference: Reference::default(),
            to_engine: Vec::new(),
            leaked_to_engine: 0,
            leaked_to_subscriber: 0,
            copied: 0,
            blocks: Vec::new(),
            tape: TapeWitness::new(record),
            events: Vec::new(),
            law: config.law,
            net: SimNet::new(config.weather, random.random()),
            next_tick: now,
            engine_tick: now + Duration::from_millis(7),
            engine_sequence: 0,
            buffer: [0; BUFFER],
            caller_address: SocketAddr::from(([127, 0, 0, 1], 40000)),
            engine_address: SocketAddr::from(([127, 0, 0, 1], 50000)),
            random,
        };
        let open = OpenCall {
            call: CALL,
            caller_ports: PortPair::new(CALLER_PORTS).expect("an even port"),
            caller: media(world.caller_address, config.law, Some(101)),
            engine_ports: PortPair::new(ENGINE_PORTS).expect("an even port"),
            engine: media(world.engine_address, Law::Mu, None),
            armed: config.armed.then(LookAhead::default),
            record,
        };
        world.command(Command::Open(Box::new(open))).map(drop).expect("the call can be opened");
        world
    }

    /// Obeys a command now.
    pub fn command(&mut self, command: Command) -> Result<Reply, Refusal> {
        let reply = self.switchboard.handle_command(self.now, command);
        self.drain();
        reply
    }

    /// Enters a secure session.
    pub fn enter(&mut self, session: u128, plan: SecurePlan) -> Result<CutReceipt, Refusal> {
        self.enter_with(SessionRequest {
            session: SessionId(session),
            plan,
            engine_audio: EngineAudio::Drop,
            announcer: None,
        })
    }

    /// Enters a secure session of any kind.
    pub fn enter_with(&mut self, request: SessionRequest) -> Result<CutReceipt, Refusal> {
        let request = Box::new(request);
        match self.command(Command::Enter { call: CALL, request })? {
            Reply::Secured(receipt) => Ok(receipt),
            Reply::Done
            | Reply::HeldBack
            | Reply::Recorded(_)
            | Reply::Stopped(_)
            | Reply::Snapshot(_) => {
                unreachable!("enter is answered with a receipt")
            }
        }
    }

    /// Has copies of both parties sent to somebody else from now on.
    pub fn subscribe(&mut self) {
        let id = SubscriptionId(1);
        let pair = |side: Side| PortPair::new(COPY_PORTS[side.index()]).expect("an even port");
        let copies = Side::ALL.map(|side| (side, pair(side)));
        let wanted = Side::ALL.map(|side| {
            let remote = SocketAddr::from(([127, 0, 0, 1], 60000 + side.index() as u16));
            let (codec, payload_type) = (Codec::G711(Law::Mu), 0);
            Some(CopyMedia {
                remote,
                codec,
                payload_type,
                ptime: FRAME,
                they_receive: true,
                key: None,
            })
        });
        for ask in [Subscribing::Begin(copies.into()), Subscribing::Answer(wanted.into())] {
            let ask = Box::new(ask);
            let subscription = Command::Subscription { call: CALL, id, ask };
            self.command(subscription).map(drop).expect("a call has room for a subscription");
        }
    }

    /// Lets time pass.
    pub fn run(&mut self, span: Duration) {
        let end = self.now + span;
        self.run_until(end, |_| false);
    }

    /// Lets time pass until `done` or `end`; says whether it was `done`.
    pub fn run_until(&mut self, end: Instant, mut done: impl FnMut(&World) -> bool) -> bool {
        while !done(self) {
            let wakes = [self.net.next(), self.switchboard.poll_timeout()];
            let next = wakes
                .into_iter()
                .flatten()
                .fold(self.next_tick.min(self.engine_tick), Instant::min);
            if next > end {
                self.now = end;
                return done(self);
            }
            self.now = self.now.max(next);
            self.step();
        }
        true
    }

    /// Has the caller key what the usual plan asks for, and waits for the verdict.
    pub fn pay(&mut self) {
        // A tone that sounds from the first packet on might have begun before the cut.
        self.run(Duration::from_millis(100));
        for entry in ["4242424242424242#", "1230", "123"] {
            self.caller.press(keys(entry));
            let end = self.now + Duration::from_secs(10);
            assert!(self.run_until(end, |world| world.caller.is_done()));
        }
        let end = self.now + Duration::from_secs(6);
        let told = self.run_until(end, |world| world.verdict().is_some());
        assert!(told, "a verdict comes: {:?}", self.events);
        assert_eq!(self.verdict().map(|verdict| verdict.as_str()), Some("success"));
    }

    /// The verdict of the session, once told.
    pub fn verdict(&self) -> Option<Verdict> {
        self.events.iter().find_map(|(_, kind)| {
            if let EventKind::SecureConcluded { verdict, .. } = kind {
                Some(*verdict)
            } else {
                None
            }
        })
    }

    /// When the parties heard each other again.
    pub fn reopened(&self) -> Option<Instant> {
        let reopened = |kind: &EventKind| matches!(kind, EventKind::Reopened { .. });
        self.events.iter().find(|(_, kind)| reopened(kind)).map(|(at, _)| *at)
    }

    /// Octets of the caller's channel of the recording that are not silence, from the cut until
    /// the parties heard each other again.
    pub fn leaked_to_recording(&self) -> usize {
        let told = |wanted: fn(&EventKind) -> bool| {
            self.events.iter().find(|(_, kind)| wanted(kind)).map(|(at, _)| *at)
        };
        let begun = self.recording_began();
        let sample = |at: Instant| at.saturating_duration_since(begun).as_micros() as u64 / 125;
        let cut = told(|kind| matches!(kind, EventKind::SecureStarted { .. })).map(sample);
        let reopened = told(|kind| matches!(kind, EventKind::Reopened { .. })).map(sample);
        let (Some(from), to) = (cut, reopened.unwrap_or(u64::MAX)) else { return 0 };
        let laid = self.blocks.iter().flat_map(|block| (block.start..).zip(block.caller));
        laid.filter(|(place, code)| (from..to).contains(place) && *code != 0xff).count()
    }

    /// Octets in the recording of what was said while it was paused, or was not being made.
    pub fn leaked_past_the_tape(&self) -> usize {
        let begun = self.recording_began();
        self.tape
            .leaked(&self.blocks, |at| at.saturating_duration_since(begun).as_micros() as u64 / 125)
    }

    /// Begins, pauses or ends the recording.
    pub fn record(&mut self, action: RecordingAction) {
        self.command(Command::Record { call: CALL, action }).map(drop).expect("it can be done");
    }

    /// When the recording's time is zero.
    fn recording_began(&self) -> Instant {
        let told = |wanted: EventKind| {
            self.events.iter().find(|(_, kind)| *kind == wanted).map(|(at, _)| *at)
        };
        let begun = told(EventKind::RecordingStarted).or_else(|| told(EventKind::Opened));
        begun.expect("a call is told to be open")
    }

    fn step(&mut self) {
        if self.next_tick <= self.now {
            let (net, now) = (&mut self.net, self.now);
            self.caller.tick(&mut |packet| net.send(now, packet.to_vec()));
            self.next_tick += FRAME;
        }
        if self.engine_tick <= self.now {
            self.engine_talks();
            self.engine_tick += FRAME;
        }
        while let Some(packet) = self.net.deliver(self.now) {
            self.deliver(&packet);
        }
        self.switchboard.handle_timeout(self.now);
        self.drain();
    }

    /// A datagram of the caller reaches the relay.
    fn deliver(&mut self, packet: &[u8]) {
        if let Ok(rtp) = RtpPacket::parse(packet)
            && rtp.payload.len() == 160
        {
            // The engine would hear it in its own law.
            let mut payload = packet[rtp.payload].to_vec();
            self.law.transcode(Law::Mu, &mut payload);
            self.reference.caller_said(&payload);
            self.tape.caller_said(self.now, rtp.header.sequence, &payload);
        }
        self.inject(LocalPort(CALLER_PORTS), self.caller_address, packet);
    }

    /// Any datagram reaches the relay.
    pub fn inject(&mut self, port: LocalPort, from: SocketAddr, packet: &[u8]) {
        self.buffer[..packet.len()].copy_from_slice(packet);
        let transmit =
            self.switchboard.handle_packet(self.now, port, from, &mut self.buffer, packet.len());
        if let Some(transmit) = transmit {
            self.heard(transmit.to, transmit.range);
        }
        self.drain();
    }

    fn engine_talks(&mut self) {
        let mut packet = [0u8; 172];
        packet[0] = 0x80;
        packet[2..4].copy_from_slice(&self.engine_sequence.to_be_bytes());
        packet[4..8].copy_from_slice(&(u32::from(self.engine_sequence) * 160).to_be_bytes());
        packet[12..].fill(0x55);
        self.engine_sequence = self.engine_sequence.wrapping_add(1);
        self.inject(LocalPort(ENGINE_PORTS), self.engine_address, &packet);
    }

    fn drain(&mut self) {
        // Events first: what is sent after one is judged by it.
        while let Some(event) = self.switchboard.poll_event() {
            self.reference.told(event.kind);
            self.tape.told(self.now, event.kind);
            self.events.push((self.now, event.kind));
        }
        while let Some(transmit) = self.switchboard.poll_transmit(self.now, &mut self.buffer) {
            match COPY_PORTS.contains(&transmit.port.0) {
                true => self.copied(transmit.port.0, transmit.range),
                false => self.heard(transmit.to, transmit.range),
            }
        }
        while let Some(job) = self.switchboard.poll_record() {
            match job {
                Job::Block { block, .. } => self.blocks.push(block),
                Job::Start { .. } | Job::Finish { .. } => {}
            }
        }
    }

    fn copied(&mut self, port: u16, range: std::ops::Range<usize>) {
        let packet = RtpPacket::parse(&self.buffer[range.clone()]).expect("it is a valid packet");
        let payload = &self.buffer[range][packet.payload];
        let is_callers = port == COPY_PORTS[Side::Caller.index()];
        let is_silent = payload.iter().all(|&octet| octet == 0xff);
        if !is_silent && (self.reference.is_cut() || !self.reference.may_hear(payload, 0xff)) {
            self.leaked_to_subscriber += payload.len();
        }
        self.copied += usize::from(is_callers && !is_silent);
    }

    fn heard(&mut self, to: SocketAddr, range: std::ops::Range<usize>) {
        let datagram = &self.buffer[range];
        if to != self.engine_address || (200..=204).contains(&datagram[1]) {
            return;
        }
        let packet = RtpPacket::parse(datagram).expect("the relay sends valid packets");
        let payload = &datagram[packet.payload.clone()];
        self.to_engine.push(datagram[1]);
        if !self.reference.may_hear(payload, 0xff) {
            self.leaked_to_engine += payload.len();
        }
        self.ear.hear(self.now, datagram);
    }
}

/// The usual plan: number, date, code.
pub fn card_plan() -> SecurePlan {
    let fields = [
        Field::new(FieldKind::CardNumber { allowed: BrandSet::COMMON }),
        Field::new(FieldKind::ExpirationDate),
        Field::new(FieldKind::SecurityCode),
    ];
    let today = Date::new(2026, 11, 24).expect("a date");
    let request = PlanRequest::new(&fields, today, CardMode::Test);
    SecurePlan::new(PlanRequest { deadline: Duration::from_secs(120), ..request }).expect("a plan")
}

/// Keys by their characters.
pub fn keys(text: &str) -> Vec<Digit> {
    text.bytes().filter_map(Digit::from_ascii).collect()
}

fn caller(config: WorldConfig, random: &mut impl Rng) -> Caller {
    let caller = CallerConfig {
        ssrc: random.random(),
        sequence: random.random(),
        timestamp: random.random(),
        law: config.law,
        payload_type: payload_type(config.law),
        telephone_event: 101,
        method: config.method,
        held: Duration::from_millis(random.random_range(80..=120)),
        pause: Duration::from_millis(random.random_range(60..=200)),
    };
    Caller::new(caller, Voice::shipped(config.law))
}

fn media(remote: SocketAddr, law: Law, telephone_event: Option<u8>) -> LegMedia {
    LegMedia {
        remote_rtp: remote,
        remote_rtcp: SocketAddr::new(remote.ip(), remote.port() + 1),
        rtcp_mux: false,
        codec: Codec::G711(law),
        payload_type: payload_type(law),
        telephone_event,
        redundancy: telephone_event.map(|_| REDUNDANCY),
        wants_events: true,
        ptime: FRAME,
        they_send: true,
        they_receive: true,
        srtp: None,
        source: SourceRule::Signalled,
    }
}

fn payload_type(law: Law) -> u8 {
    match law {
        Law::Mu => 0,
        Law::A => 8,
    }
}
