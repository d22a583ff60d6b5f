//! A recording that is begun, paused and ended within a call, from packets to the WAV of a real
//! archive. Who says what when is told by octets; each thing that must not be heard is heard by a
//! control.

#![expect(clippy::unwrap_used, reason = "a test may")]
#![expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]

mod peer_leg;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dtmf::expiry::Date;
use dtmf::g711::Law;
use dtmf::{CardMode, Field, FieldKind, PlanRequest, SecurePlan};
use relay::recording::{
    Archive, Ending, KeyEncryptionKey, Keyring, Recorder, RecorderCounts, Span, Summary,
};
use relay::switchboard::limits::BUFFER;
use relay::switchboard::{
    CallId, Command, EngineAudio, EventKind, LocalPort, OpenCall, PortPair, RecordingAction,
    RecordingState, Refusal, Reply, SessionId, SessionRequest, Side, Switchboard,
    SwitchboardConfig,
};
use relay::wire::ntp::NtpTime;
use relay::wire::rtp::Header;
use ring::rand::{SecureRandom, SystemRandom};

const CALL: CallId = CallId(0xCA11);
const PORTS: [u16; 2] = [10_000, 10_002];
const PEERS: [u16; 2] = [40_000, 50_000];
const FRAME: Duration = Duration::from_millis(20);

/// Octets by when they were said; quiet to a tone detector, and none of them silence.
const BEFORE: u8 = 0x7a;
const WITHIN: u8 = 0x79;
const AFTER: u8 = 0x7b;
const UNTAPED: u8 = 0x78;

/// One call in virtual time, and a real recorder behind it.
struct Scene {
    switchboard: Switchboard,
    now: Instant,
    /// Sequence numbers of the next packets, by [`Side::index`].
    next: [u16; 2],
    recorder: Recorder,
    archive: Arc<Archive>,
    directory: PathBuf,
    told: Vec<EventKind>,
}

impl Scene {
    fn new(name: &str, record: bool) -> Scene {
        let now = Instant::now();
        let directory = std::env::temp_dir().join(format!("relay-{name}-{}", std::process::id()));
        let keys = Keyring::new(vec![KeyEncryptionKey::new(&mut [7; 32])]).unwrap();
        let random = |octets: &mut [u8]| {
            SystemRandom::new().fill(octets).map_err(|_| std::io::ErrorKind::Other.into())
        };
        let archive = Arc::new(Archive::open(directory.clone(), keys, random).unwrap());
        let recorder = Recorder::spawn(Arc::clone(&archive)).unwrap();
        let switchboard = Switchboard::new(SwitchboardConfig {
            ports: 10_000..=10_003,
            media_timeout: Duration::from_secs(60),
            seed: [7; 32],
            ntp_anchor: (now, NtpTime::from_unix(Duration::from_secs(1_800_000_000))),
        });
        let next = [0, 0];
        let told = Vec::new();
        let mut scene = Scene { switchboard, now, next, recorder, archive, directory, told };
        let [caller, engine] = PEERS.map(|port| peer_leg::media(address(port), None));
        let [caller_ports, engine_ports] = PORTS.map(|port| PortPair::new(port).unwrap());
        let open = OpenCall {
            call: CALL,
            caller_ports,
            caller,
            engine_ports,
            engine,
            armed: None,
            record,
        };
        scene.command(Command::Open(Box::new(open))).map(drop).unwrap();
        scene.told.clear();
        scene
    }

    fn command(&mut self, command: Command) -> Result<Reply, Refusal> {
        let reply = self.switchboard.handle_command(self.now, command);
        self.drain();
        reply
    }

    fn record(&mut self, action: RecordingAction) -> Result<RecordingState, Refusal> {
        match self.command(Command::Record { call: CALL, action })? {
            Reply::Recorded(state) => Ok(state),
            Reply::Done
            | Reply::HeldBack
            | Reply::Secured(_)
            | Reply::Stopped(_)
            | Reply::Snapshot(_) => {
                panic!("answered with a state")
            }
        }
    }

    #[track_caller]
    fn does(&mut self, action: RecordingAction, expected: RecordingState) {
        assert_eq!(self.record(action), Ok(expected));
    }

    /// Stops the recording; the call goes on until the last of it was handed over.
    fn stop(&mut self) {
        self.does(RecordingAction::Stop, RecordingState::Ended);
        self.talk(UNTAPED, 20);
    }

    fn enter(&mut self, engine_audio: EngineAudio) {
        let fields = [Field::new(FieldKind::ExpirationDate)];
        let today = Date::new(2026, 11, 24).unwrap();
        let plan = SecurePlan::new(PlanRequest::new(&fields, today, CardMode::Test)).unwrap();
        let (session, announcer) = (SessionId(1), None);
        let request = Box::new(SessionRequest { session, plan, engine_audio, announcer });
        self.command(Command::Enter { call: CALL, request }).map(drop).unwrap();
    }

    /// Cancels the session, and is quiet until the parties hear each other again.
    fn reopen(&mut self) {
        self.command(Command::Cancel { call: CALL }).map(drop).unwrap();
        let is_open = |kind: &EventKind| matches!(kind, EventKind::Reopened { .. });
        for _ in 0..500 {
            if self.told.iter().any(is_open) {
                return;
            }
            self.talk(WITHIN, 1);
        }
        panic!("a quiet call reopens");
    }

    /// Both sides say packets of one code.
    fn talk(&mut self, code: u8, packets: usize) {
        for _ in 0..packets {
            for side in Side::ALL {
                let sequence = self.next[side.index()];
                self.send(side, sequence, code);
                self.next[side.index()] += 1;
            }
            self.now += FRAME;
            self.switchboard.handle_timeout(self.now);
            self.drain();
        }
    }

    fn send(&mut self, side: Side, sequence: u16, code: u8) {
        let mut buffer = [0; BUFFER];
        let header = Header {
            marker: false,
            payload_type: 0,
            sequence,
            timestamp: u32::from(sequence) * 160,
            ssrc: 9,
        };
        header.write(buffer.first_chunk_mut().unwrap());
        buffer[12..172].fill(code);
        let port = LocalPort(PORTS[side.index()]);
        let from = address(PEERS[side.index()]);
        self.switchboard.handle_packet(self.now, port, from, &mut buffer, 172);
        self.drain();
    }

    fn drain(&mut self) {
        let mut buffer = [0; BUFFER];
        while self.switchboard.poll_transmit(self.now, &mut buffer).is_some() {}
        while let Some(event) = self.switchboard.poll_event() {
            self.told.push(event.kind);
        }
        while let Some(job) = self.switchboard.poll_record() {
            self.recorder.queue().try_send(job).unwrap();
        }
    }

    /// What the archive has by now: what it says of the recording, and both channels.
    fn export(&self) -> (Summary, [Vec<i16>; 2]) {
        self.recorder.queue().flush().unwrap().blocking_recv().unwrap();
        let summary = self.archive.summary(CALL).unwrap();
        let mut wav = Vec::new();
        self.archive.export_wav(CALL, &mut wav, |_, _| ()).unwrap();
        let samples: Vec<i16> =
            hound::WavReader::new(&wav[..]).unwrap().into_samples().map(Result::unwrap).collect();
        let channel =
            |side: Side| samples.iter().skip(side.index()).step_by(2).copied().collect::<Vec<_>>();
        (summary, Side::ALL.map(channel))
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// How many packets of a code are on a channel.
fn packets(channel: &[i16], code: u8) -> usize {
    let sample = Law::Mu.decode(code);
    let count = channel.iter().filter(|found| **found == sample).count();
    assert!(count.is_multiple_of(160), "packets are whole");
    count / 160
}

#[test]
fn it_begins_within_the_call_and_is_complete_before_its_end() {
    let mut scene = Scene::new("within", false);
    scene.talk(BEFORE, 50);
    scene.does(RecordingAction::Start, RecordingState::Running);
    scene.does(RecordingAction::Start, RecordingState::Running);
    scene.talk(WITHIN, 77);
    scene.does(RecordingAction::Stop, RecordingState::Ended);
    scene.does(RecordingAction::Stop, RecordingState::Ended);
    scene.talk(AFTER, 50);

    // The call goes on.
    let (summary, channels) = scene.export();
    assert_eq!((summary.ending, summary.samples), (Ending::Complete, 77 * 160));
    assert_eq!((summary.gaps, &*summary.secure, &*summary.paused), (0, &[][..], &[][..]));
    for channel in channels {
        assert_eq!([BEFORE, WITHIN, AFTER].map(|code| packets(&channel, code)), [0, 77, 0]);
    }
    let expected = RecorderCounts { started: 1, completed: 1, ..RecorderCounts::default() };
    assert_eq!(scene.recorder.counts(), expected);
    assert_eq!(scene.told, [EventKind::RecordingStarted, EventKind::RecordingStopped]);

    // A call has one recording, which is named by it.
    for action in [RecordingAction::Start, RecordingAction::Pause] {
        assert_eq!(scene.record(action), Err(Refusal::RecordingOver));
    }
    assert!(scene.archive.erase(CALL).unwrap(), "it can be erased");
    scene.talk(AFTER, 50);
    scene.command(Command::Close { call: CALL }).map(drop).unwrap();
    assert_eq!(scene.record(RecordingAction::Start), Err(Refusal::UnknownCall));
    assert!(!scene.archive.has(CALL));
    assert_eq!(scene.recorder.counts(), expected, "its end ends nothing twice");
}

#[test]
fn in_a_pause_both_sides_are_silent_and_the_time_goes_on() {
    for is_paused in [true, false] {
        let mut scene = Scene::new(&format!("pause-{is_paused}"), true);
        scene.talk(BEFORE, 30);
        if is_paused {
            scene.does(RecordingAction::Pause, RecordingState::Paused);
            scene.does(RecordingAction::Pause, RecordingState::Paused);
        }
        scene.talk(WITHIN, 40);
        scene.does(RecordingAction::Start, RecordingState::Running);
        scene.talk(AFTER, 50);
        scene.command(Command::Close { call: CALL }).map(drop).unwrap();
        let (summary, channels) = scene.export();
        assert_eq!((summary.ending, summary.samples), (Ending::Complete, 120 * 160));
        let span = Span { start_ms: 600, end_ms: 1400 };
        assert_eq!(summary.paused, if is_paused { vec![span] } else { vec![] });
        assert_eq!(summary.secure, []);
        for channel in channels {
            let counts = [BEFORE, WITHIN, AFTER].map(|code| packets(&channel, code));
            // What was said before, up to the last packet, is kept.
            assert_eq!(counts, [30, if is_paused { 0 } else { 40 }, 50], "paused: {is_paused}");
            assert_eq!(channel[70 * 160], Law::Mu.decode(AFTER), "in its place");
        }
    }
}

#[test]
fn what_was_sent_in_a_pause_and_overtaken_is_not_laid_after_it() {
    for is_overtaken in [true, false] {
        let mut scene = Scene::new(&format!("straggler-{is_overtaken}"), true);
        scene.talk(BEFORE, 10);
        scene.does(RecordingAction::Pause, RecordingState::Paused);
        let [late, _] = scene.next;
        // One packet of each side is on its way for longer than the one behind it.
        scene.next = [late + 1; 2];
        scene.talk(WITHIN, usize::from(is_overtaken));
        scene.does(RecordingAction::Start, RecordingState::Running);
        for side in Side::ALL {
            scene.send(side, late, WITHIN);
        }
        scene.talk(AFTER, 50);
        scene.stop();
        for channel in scene.export().1 {
            // The control: nothing tells of a packet that none has overtaken when it was sent.
            let found = packets(&channel, WITHIN) + packets(&channel, AFTER);
            assert_eq!(found, 50, "overtaken: {is_overtaken}");
            let within = channel.iter().filter(|it| **it == Law::Mu.decode(WITHIN)).count();
            assert_eq!(within > 0, !is_overtaken);
        }
    }
}

#[test]
fn what_was_said_just_before_a_stop_is_taken_back_by_a_cut() {
    for (wait, is_cut) in [(0, true), (4, true), (4, false), (30, true)] {
        let mut scene = Scene::new(&format!("stop-{wait}-{is_cut}"), true);
        scene.talk(BEFORE, 30);
        // What a key sounds like to somebody who does not look for one.
        scene.talk(WITHIN, 5);
        scene.does(RecordingAction::Stop, RecordingState::Ended);
        scene.talk(AFTER, wait);
        if is_cut {
            scene.enter(EngineAudio::Drop);
        }
        scene.talk(AFTER, 30);
        let (summary, [caller, engine]) = scene.export();
        assert_eq!((summary.ending, summary.samples), (Ending::Complete, 35 * 160));
        assert_eq!(packets(&engine, WITHIN), 5, "the engine's is no key");
        // The control: nobody cuts, or too late.
        let is_taken_back = is_cut && wait < 12;
        assert_eq!(packets(&caller, WITHIN), if is_taken_back { 0 } else { 5 }, "after {wait}");
        assert_eq!(packets(&caller, AFTER) + packets(&engine, AFTER), 0);
        assert_eq!(summary.secure.is_empty(), !is_taken_back);
        assert!(packets(&caller, BEFORE) >= 20);
        let expected = RecorderCounts { started: 1, completed: 1, ..RecorderCounts::default() };
        assert_eq!(scene.recorder.counts(), expected);
    }
}

#[test]
fn a_call_that_ends_behind_a_stop_hands_all_of_it_over_at_once() {
    let mut scene = Scene::new("stop-close", true);
    scene.talk(BEFORE, 30);
    scene.does(RecordingAction::Stop, RecordingState::Ended);
    scene.talk(AFTER, 3);
    scene.command(Command::Close { call: CALL }).map(drop).unwrap();
    let (summary, [caller, _]) = scene.export();
    assert_eq!((summary.ending, summary.samples), (Ending::Complete, 30 * 160));
    assert_eq!((packets(&caller, BEFORE), packets(&caller, AFTER)), (30, 0));
}

#[test]
fn one_that_begins_in_a_cut_begins_with_silence_that_is_marked() {
    for is_cut in [true, false] {
        let mut scene = Scene::new(&format!("cut-{is_cut}"), false);
        scene.talk(BEFORE, 30);
        if is_cut {
            scene.enter(EngineAudio::Pass);
        }
        scene.does(RecordingAction::Start, RecordingState::Running);
        scene.talk(WITHIN, 50);
        if is_cut {
            scene.reopen();
        }
        scene.talk(AFTER, 50);
        scene.stop();
        let (summary, [caller, engine]) = scene.export();
        let counts = [BEFORE, WITHIN, AFTER].map(|code| packets(&caller, code));
        assert_eq!(counts, [0, if is_cut { 0 } else { 50 }, 50], "cut: {is_cut}");
        assert!(packets(&engine, WITHIN) >= 50, "the plan lets the engine through");
        match &*summary.secure {
            [] => assert!(!is_cut),
            [span] => {
                assert!(is_cut && span.start_ms == 0 && span.end_ms > 1000);
                assert_eq!(span.end_ms * 8 + 50 * 160, summary.samples);
            }
            more => panic!("{more:?}"),
        }
    }
}

#[test]
fn a_cut_and_a_pause_that_overlap_withhold_what_each_does() {
    let mut scene = Scene::new("both", true);
    scene.talk(BEFORE, 30);
    scene.does(RecordingAction::Pause, RecordingState::Paused);
    scene.talk(WITHIN, 5);
    scene.enter(EngineAudio::Pass);
    scene.talk(WITHIN, 5);
    scene.does(RecordingAction::Start, RecordingState::Running);
    // Nothing but the engine: the pause is over, the cut is not.
    scene.talk(WITHIN, 20);
    scene.does(RecordingAction::Pause, RecordingState::Paused);
    scene.reopen();
    // And nobody: the cut is over, the pause is not.
    scene.talk(WITHIN, 20);
    scene.does(RecordingAction::Start, RecordingState::Running);
    scene.talk(AFTER, 20);
    scene.does(RecordingAction::Pause, RecordingState::Paused);
    scene.talk(WITHIN, 3);
    scene.stop();
    let (summary, [caller, engine]) = scene.export();
    assert_eq!((summary.ending, summary.gaps), (Ending::Complete, 0));
    assert_eq!(summary.paused.len(), 3);
    // The cut takes back what the caller said in the 250 ms before it: 7 packets, and 100 ms of them
    // lie in the pause.
    let counts = |channel: &[i16]| [BEFORE, WITHIN, AFTER].map(|code| packets(channel, code));
    assert_eq!(counts(&caller), [23, 0, 20]);
    assert_eq!(counts(&engine), [30, 20, 20]);
    let told = scene
        .told
        .iter()
        .filter(|kind| matches!(kind, EventKind::RecordingPaused | EventKind::RecordingResumed));
    assert_eq!(told.count(), 5);
}

#[test]
fn what_is_not_recorded_is_not_paused_and_not_stopped() {
    let mut scene = Scene::new("never", false);
    scene.talk(BEFORE, 20);
    for action in [RecordingAction::Pause, RecordingAction::Stop] {
        assert_eq!(scene.record(action), Err(Refusal::NotRecorded));
    }
    scene.command(Command::Close { call: CALL }).map(drop).unwrap();
    assert_eq!(scene.told, [EventKind::Closed]);
    assert!(!scene.archive.has(CALL));
    assert_eq!(scene.recorder.counts(), RecorderCounts::default());
}
