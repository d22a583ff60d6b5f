//! Line: one call on the real switchboard in virtual time, to which things are done packet by
//! packet.
//!
//! Octets are marked by when the caller said them: [`OPEN`], [`CUT`], [`AFTER`].
//! [`Line::assert_tight`] is what every test of a cut ends in.

#![expect(clippy::unwrap_used, reason = "a helper of a test that finds nothing ends the test")]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use dtmf::g711::Law;
use dtmf::synth::tone::{Tone, pcm};
use dtmf::{Digit, SecurePlan, Verdict};
use relay::codec::Codec;
use relay::recording::{Block, Job};
use relay::switchboard::limits::BUFFER;
use relay::switchboard::{
    CallId, CallSnapshot, Command, CutReceipt, EngineAudio, EventKind, LegMedia, LocalPort,
    LookAhead, OpenCall, PortPair, Refusal, Reply, SessionId, SessionRequest, Side, SourceRule,
    Switchboard, SwitchboardConfig,
};
use relay::wire::ntp::NtpTime;
use relay::wire::rtp::RtpPacket;

use crate::world::card_plan;

/// The call.
pub const CALL: CallId = CallId(1);
/// Where the caller's RTP comes in; RTCP one above.
pub const CALLER_PORT: u16 = 10000;
/// Where the engine's RTP comes in; RTCP one above.
pub const ENGINE_PORT: u16 = 10002;
/// A millisecond.
pub const MS: Duration = Duration::from_millis(1);

/// Payload types: mu-law, A-law, the caller's and the engine's telephone-event.
pub const MU: u8 = 0;
/// A-law.
pub const A: u8 = 8;
/// Telephone-event, of caller and engine.
pub const EVENT: u8 = 101;
/// The caller's redundant key events.
pub const REDUNDANCY: u8 = 121;

/// Octets by when they were said; all are quiet to a tone detector.
pub const OPEN: u8 = 0x7a;
/// Said in the cut.
pub const CUT: u8 = 0x79;
/// Said after it.
pub const AFTER: u8 = 0x7b;
/// Silence in mu-law.
pub const SILENCE: u8 = 0xff;
/// What the engine says.
pub const ENGINE: u8 = 0x7c;

/// Event codes by when they were keyed.
pub const OPEN_KEY: u8 = 3;
/// Keyed in the cut.
pub const CUT_KEY: u8 = 7;

/// How a line is set up.
pub struct Setup {
    /// What the caller agreed to.
    pub caller: LegMedia,
    /// What the engine speaks.
    pub engine: LegMedia,
    /// Begin armed.
    pub armed: bool,
    /// Whether the engine may talk in the cut.
    pub engine_audio: EngineAudio,
    /// How long the caller may be silent.
    pub media_timeout: Duration,
}

impl Default for Setup {
    fn default() -> Setup {
        Setup {
            caller: LegMedia {
                redundancy: Some(REDUNDANCY),
                ..leg(address(40000), MU, Some(EVENT), 20)
            },
            engine: leg(address(50000), MU, Some(EVENT), 20),
            armed: false,
            engine_audio: EngineAudio::Drop,
            media_timeout: 60_000 * MS,
        }
    }
}

/// A datagram that the relay sent.
#[derive(PartialEq, Eq)]
pub struct Sent {
    /// When.
    pub at: Instant,
    /// From which of our ports.
    pub port: u16,
    /// To whom.
    pub to: SocketAddr,
    /// All of it.
    pub octets: Vec<u8>,
    /// Whether the call was cut then.
    pub cut: bool,
}

/// One call on the real switchboard, and all that came out of it.
pub struct Line {
    /// When the call was opened.
    pub start: Instant,
    /// Virtual time.
    pub now: Instant,
    /// The code under test.
    pub switchboard: Switchboard,
    /// The one packet buffer.
    pub buffer: [u8; BUFFER],
    /// Where the caller sends from.
    pub caller: SocketAddr,
    /// Where the engine sends from.
    pub engine: SocketAddr,
    /// Whether the engine may talk in the cut.
    pub engine_audio: EngineAudio,
    /// Whether the call is cut, by what was told.
    pub cut: bool,
    /// All that was sent.
    pub sent: Vec<Sent>,
    /// All that was told.
    pub events: Vec<EventKind>,
    /// The recording, as the recorder would get it.
    pub blocks: Vec<Block>,
    /// Octets left in the buffer by packets of the cut.
    pub residue: usize,
}

/// One RTP stream of a caller.
pub struct Stream {
    /// Its synchronisation source.
    pub ssrc: u32,
    /// Sequence number of its next packet.
    pub sequence: u16,
    /// Timestamp of its next packet.
    pub timestamp: u32,
    /// Payload type of its audio.
    pub payload_type: u8,
    /// Octets of one packet of audio.
    pub frame: usize,
}

impl Line {
    /// A line on which nobody has said anything.
    pub fn new(setup: Setup) -> Line {
        #[expect(clippy::disallowed_methods, reason = "virtual time has to begin somewhere")]
        let start = Instant::now();
        let switchboard = Switchboard::new(SwitchboardConfig {
            ports: 10000..=10009,
            media_timeout: setup.media_timeout,
            seed: [7; 32],
            ntp_anchor: (start, NtpTime::from_unix(Duration::from_secs(1_800_000_000))),
        });
        let mut line = Line {
            start,
            now: start,
            switchboard,
            buffer: [0; BUFFER],
            caller: setup.caller.remote_rtp,
            engine: setup.engine.remote_rtp,
            engine_audio: setup.engine_audio,
            cut: false,
            sent: Vec::new(),
            events: Vec::new(),
            blocks: Vec::new(),
            residue: 0,
        };
        let open = OpenCall {
            call: CALL,
            caller_ports: PortPair::new(CALLER_PORT).unwrap(),
            caller: setup.caller,
            engine_ports: PortPair::new(ENGINE_PORT).unwrap(),
            engine: setup.engine,
            armed: setup.armed.then(LookAhead::default),
            record: true,
        };
        line.command(Command::Open(Box::new(open))).map(drop).unwrap();
        line
    }

    /// A line in the open that has been talked over for half a second.
    pub fn talked(setup: Setup, stream: &mut Stream) -> Line {
        let mut line = Line::new(setup);
        line.talk(stream, OPEN, 25);
        line
    }

    /// Obeys a command now.
    pub fn command(&mut self, command: Command) -> Result<Reply, Refusal> {
        let reply = self.switchboard.handle_command(self.now, command);
        self.drain();
        reply
    }

    /// Enters a session with the usual plan.
    pub fn enter(&mut self, session: u128) {
        self.enter_with(session, card_plan());
    }

    /// Enters a session with any plan.
    pub fn enter_with(&mut self, session: u128, plan: SecurePlan) {
        self.enter_by(enter_command(session, plan, self.engine_audio));
    }

    /// Enters a session by any command.
    pub fn enter_by(&mut self, enter: Command) -> CutReceipt {
        let Ok(Reply::Secured(receipt)) = self.command(enter) else {
            panic!("an open call can be cut");
        };
        assert!(self.cut);
        receipt
    }

    /// Ends the collection.
    pub fn cancel(&mut self) {
        self.command(Command::Cancel { call: CALL }).map(drop).unwrap();
    }

    /// Replaces what one side agreed to.
    pub fn reoffer(&mut self, side: Side, media: LegMedia) {
        match side {
            Side::Caller => self.caller = media.remote_rtp,
            Side::Engine => self.engine = media.remote_rtp,
        }
        let media = Box::new(media);
        self.command(Command::Reoffer { call: CALL, side, media }).map(drop).unwrap();
    }

    /// State and counters.
    pub fn snapshot(&mut self) -> CallSnapshot {
        match self.command(Command::Snapshot { call: CALL }) {
            Ok(Reply::Snapshot(snapshot)) => *snapshot,
            Ok(
                Reply::Done
                | Reply::HeldBack
                | Reply::Secured(_)
                | Reply::Recorded(_)
                | Reply::Stopped(_),
            )
            | Err(_) => {
                panic!("a call can be looked at")
            }
        }
    }

    /// Keys begun of the entry in progress, in groups of four.
    pub fn progress(&mut self) -> u8 {
        self.snapshot().session.unwrap().progress
    }

    /// The last verdict told.
    pub fn verdict(&self) -> Option<Verdict> {
        self.events.iter().rev().find_map(|kind| {
            let EventKind::SecureConcluded { verdict, .. } = kind else { return None };
            Some(*verdict)
        })
    }

    /// Says packets of one code, a frame time apart.
    pub fn talk(&mut self, stream: &mut Stream, code: u8, packets: usize) {
        for _ in 0..packets {
            let packet = stream.say(code);
            self.caller_sends(&packet);
            self.pass(stream.frame_time());
        }
    }

    /// Ends the collection and is quiet until the call is open again.
    pub fn cancel_and_drain(&mut self, stream: &mut Stream) {
        self.cancel();
        self.drain_quietly(stream);
    }

    /// Is quiet until the call is open again.
    pub fn drain_quietly(&mut self, stream: &mut Stream) {
        for _ in 0..500 {
            if !self.cut {
                return;
            }
            self.talk(stream, CUT, 1);
        }
        panic!("a quiet call reopens");
    }

    /// Presses a key by events, 100 ms long.
    pub fn press(&mut self, stream: &mut Stream, code: u8) {
        let start = stream.timestamp;
        for n in 1..=5_u16 {
            let packet = stream.event(code, start, 160 * n, n == 1, n == 5);
            self.caller_sends(&packet);
            self.pass(20 * MS);
        }
        stream.timestamp = stream.timestamp.wrapping_add(800);
    }

    /// A datagram of the caller comes in.
    pub fn caller_sends(&mut self, packet: &[u8]) {
        self.inject(CALLER_PORT, self.caller, packet);
    }

    /// Any datagram comes in.
    pub fn inject(&mut self, port: u16, from: SocketAddr, packet: &[u8]) {
        self.buffer.fill(0);
        self.buffer[..packet.len()].copy_from_slice(packet);
        let buffer = &mut self.buffer;
        let port = LocalPort(port);
        let transmit = self.switchboard.handle_packet(self.now, port, from, buffer, packet.len());
        match transmit {
            Some(transmit) => self.log(transmit.port.0, transmit.to, transmit.range),
            None if self.cut => {
                self.residue += self.buffer.iter().filter(|&&octet| octet != 0).count();
            }
            None => {}
        }
        self.drain();
    }

    /// Lets time pass.
    pub fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(due) = self.switchboard.poll_timeout().filter(|&due| due <= end) {
            self.now = self.now.max(due);
            self.switchboard.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
    }

    fn drain(&mut self) {
        while let Some(event) = self.switchboard.poll_event() {
            self.cut |= matches!(event.kind, EventKind::SecureStarted { .. } | EventKind::Closed);
            self.cut &= !matches!(event.kind, EventKind::Reopened { .. });
            self.events.push(event.kind);
        }
        while let Some(transmit) = self.switchboard.poll_transmit(self.now, &mut self.buffer) {
            self.log(transmit.port.0, transmit.to, transmit.range);
        }
        while let Some(job) = self.switchboard.poll_record() {
            if let Job::Block { block, .. } = job {
                self.blocks.push(block);
            }
        }
    }

    fn log(&mut self, port: u16, to: SocketAddr, range: std::ops::Range<usize>) {
        let octets = self.buffer[range].to_vec();
        self.sent.push(Sent { at: self.now, port, to, octets, cut: self.cut });
    }

    /// RTP packets to the engine.
    pub fn to_engine(&self) -> impl Iterator<Item = &Sent> {
        self.sent.iter().filter(|sent| sent.port == ENGINE_PORT)
    }

    /// RTP packets to the caller.
    pub fn to_caller(&self) -> impl Iterator<Item = &Sent> {
        self.sent.iter().filter(|sent| sent.port == CALLER_PORT && !is_report(sent))
    }

    /// Whether the engine ever heard this code.
    pub fn engine_heard(&self, code: u8) -> bool {
        self.to_engine().any(|sent| payload(sent).contains(&code))
    }

    /// Whether the caller ever heard this code.
    pub fn caller_heard(&self, code: u8) -> bool {
        self.sent.iter().any(|sent| sent.port == CALLER_PORT && payload(sent).contains(&code))
    }

    /// Key events that the engine got, by their code.
    pub fn engine_events(&self, code: u8) -> usize {
        let is_key = |sent: &&Sent| sent.octets[1] & 0x7f == EVENT && payload(sent)[0] == code;
        self.to_engine().filter(is_key).count()
    }

    /// Whether the recording of the caller holds this code.
    pub fn is_recorded(&self, code: u8) -> bool {
        self.blocks.iter().any(|block| block.caller.contains(&code))
    }

    /// Of tones nothing either, which have no mark.
    pub fn assert_only_marked(&self) {
        for sent in self.to_engine() {
            assert!(payload(sent).iter().all(|octet| [OPEN, AFTER, SILENCE].contains(octet)));
        }
    }

    /// In the cut: even silence. At any time: nothing that was said or keyed in the cut.
    pub fn assert_tight(&self) {
        let cut: Vec<&Sent> = self.to_engine().filter(|sent| sent.cut).collect();
        for sent in &cut {
            assert_eq!(sent.octets[..2], [0x80, MU], "audio, plain header");
            assert!(payload(sent).iter().all(|&octet| octet == SILENCE), "silence");
        }
        for pair in cut.windows(2) {
            let [before, after] = [pair[0], pair[1]];
            let numbers = |sent: &Sent| RtpPacket::parse(&sent.octets).unwrap().header;
            let (first, second) = (numbers(before), numbers(after));
            if second.sequence != first.sequence.wrapping_add(1) {
                // The call was open in between.
                continue;
            }
            assert_eq!(after.at - before.at, frame_time(before.octets.len() - 12), "the cadence");
            assert_eq!(after.octets.len(), before.octets.len(), "the size");
            assert_eq!(second.ssrc, first.ssrc);
        }
        assert!(!self.engine_heard(CUT), "the engine heard what was said in the cut");
        assert_eq!(self.engine_events(CUT_KEY), 0, "the engine got a key of the cut");
        assert!(!self.is_recorded(CUT), "the recording holds what was said in the cut");
        assert_eq!(self.residue, 0, "octets of the caller are left in the packet buffer");
    }
}

impl Line {
    /// Times the call was cut.
    pub fn cuts(&self) -> usize {
        let is_cut = |kind: &&EventKind| matches!(kind, EventKind::SecureStarted { .. });
        self.events.iter().filter(is_cut).count()
    }

    /// Where the caller's RTCP comes from.
    pub fn caller_rtcp(&self) -> SocketAddr {
        SocketAddr::new(self.caller.ip(), self.caller.port() + 1)
    }
}

impl Stream {
    /// A stream of 20 ms packets of mu-law, whose numbers are about to wrap.
    pub fn new(ssrc: u32) -> Stream {
        Stream { ssrc, sequence: 65_500, timestamp: 4_294_960_000, payload_type: MU, frame: 160 }
    }

    /// The same in packets of 30 ms.
    pub fn of_30_ms(ssrc: u32) -> Stream {
        Stream { frame: 240, ..Stream::new(ssrc) }
    }

    /// How long one packet lasts.
    /// How long this much G.711 lasts.
    pub fn frame_time(&self) -> Duration {
        frame_time(self.frame)
    }

    /// The next packet of audio, of one code.
    pub fn say(&mut self, code: u8) -> Vec<u8> {
        self.play(&vec![code; self.frame])
    }

    /// The next packet of audio.
    pub fn play(&mut self, payload: &[u8]) -> Vec<u8> {
        let packet = rtp(0x80, self.payload_type, self, payload);
        self.sequence = self.sequence.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(payload.len() as u32);
        packet
    }

    /// One packet of a key event that began at `start`.
    pub fn event(
        &mut self,
        code: u8,
        start: u32,
        duration: u16,
        first: bool,
        end: bool,
    ) -> Vec<u8> {
        let [high, low] = duration.to_be_bytes();
        let at = Stream { timestamp: start, ..*self };
        let second = EVENT | if first { 0x80 } else { 0 };
        let packet = rtp(0x80, second, &at, &[code, if end { 0x8a } else { 0x0a }, high, low]);
        self.sequence = self.sequence.wrapping_add(1);
        packet
    }
}

/// A report of a key that has ended after 100 ms.
pub const fn ended(code: u8) -> [u8; 4] {
    [code, 0x8a, 3, 32]
}

impl Stream {
    /// A packet of RFC 2198 with an ended key that began now, behind older blocks: payload type,
    /// ticks before now, content.
    pub fn redundant(&mut self, older: &[(u8, u32, &[u8])], code: u8) -> Vec<u8> {
        let mut blocks = Vec::new();
        for (payload_type, age, content) in older {
            let header = u32::from(0x80 | payload_type) << 24 | age << 10 | content.len() as u32;
            blocks.extend(header.to_be_bytes());
        }
        blocks.push(EVENT);
        older.iter().for_each(|(_, _, content)| blocks.extend(*content));
        blocks.extend(ended(code));
        let packet = rtp(0x80, 0x80 | REDUNDANCY, self, &blocks);
        self.sequence = self.sequence.wrapping_add(1);
        packet
    }
}

/// A packet whose first two octets and what stands behind the fixed header are given.
pub fn rtp(first: u8, second: u8, at: &Stream, rest: &[u8]) -> Vec<u8> {
    let mut packet = vec![first, second];
    packet.extend(at.sequence.to_be_bytes());
    packet.extend(at.timestamp.to_be_bytes());
    packet.extend(at.ssrc.to_be_bytes());
    packet.extend(rest);
    packet
}

fn is_report(sent: &Sent) -> bool {
    (200..=204).contains(&sent.octets[1])
}

/// The payload of an RTP packet that was sent.
pub fn payload(sent: &Sent) -> &[u8] {
    &sent.octets[RtpPacket::parse(&sent.octets).unwrap().payload]
}

fn frame_time(octets: usize) -> Duration {
    Duration::from_micros(octets as u64 * 125)
}

/// A loopback address.
pub fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// A plain leg at an address.
pub fn leg(remote: SocketAddr, payload_type: u8, event: Option<u8>, ptime: u64) -> LegMedia {
    LegMedia {
        remote_rtp: remote,
        remote_rtcp: SocketAddr::new(remote.ip(), remote.port() + 1),
        rtcp_mux: false,
        codec: Codec::G711(if payload_type == A { Law::A } else { Law::Mu }),
        payload_type,
        telephone_event: event,
        redundancy: None,
        wants_events: true,
        ptime: Duration::from_millis(ptime),
        they_send: true,
        they_receive: true,
        srtp: None,
        source: SourceRule::Signalled,
    }
}

/// Enters a session without a word to the caller.
pub fn enter_command(session: u128, plan: SecurePlan, engine_audio: EngineAudio) -> Command {
    let (session, announcer) = (SessionId(session), None);
    let request = Box::new(SessionRequest { session, plan, engine_audio, announcer });
    Command::Enter { call: CALL, request }
}

/// The tone of a key in mu-law, whole packets of 20 ms.
pub fn tone(key: u8, dbm0: f64, packets: usize) -> Vec<Vec<u8>> {
    let mut tone = Tone::of(Digit::from_ascii(key).unwrap());
    tone.seconds = 0.02 * packets as f64;
    (tone.low.dbm0, tone.high.dbm0) = (dbm0, dbm0);
    let mut mix = vec![0.0; 160 * packets];
    tone.add_to(&mut mix, tone.ramp / 2.0, 8000);
    let codes: Vec<u8> = pcm(&mix).into_iter().map(|sample| Law::Mu.encode(sample)).collect();
    codes.chunks(160).map(<[u8]>::to_vec).collect()
}
