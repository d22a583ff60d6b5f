//! One key press counts once, whatever ways it reaches us, and only if it began in the session.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod chance;

use std::time::{Duration, Instant};

use dtmf::Digit;
use dtmf::detector::{Detector, Source};
use dtmf::event_receiver::{EventPacket, EventReceiver};
use dtmf::synth::event::{KeyEvent, Sender};
use dtmf::synth::tone::{Tone, pcm};

use chance::Chance;

/// The scripts begin this long before the session does.
const LEAD_MS: u64 = 1000;
const SAMPLES_PER_MS: u64 = 8;
const PACKET_MS: u64 = 20;

#[test]
fn each_source_alone_counts_every_press() {
    for way in [Way::EVENT, Way::TONE, Way::SIGNALLED] {
        let heard = Script::keyed(100, "1123#", way).run();
        assert_eq!(heard.keys, "1123#");
        assert!(heard.sources.iter().all(|source| *source == way.first_source()));
    }
}

#[test]
fn one_press_heard_in_several_ways_counts_once() {
    for event in [None, Some(0), Some(60), Some(150), Some(250)] {
        for tone in [None, Some(0), Some(100), Some(200)] {
            for signalled in [None, Some(50), Some(400), Some(900)] {
                let way = Way { event, tone, signalled };
                if way == Way::NONE {
                    continue;
                }
                let heard = Script::keyed(100, "1155509", way).run();
                assert_eq!(heard.keys, "1155509", "{way:?}");
            }
        }
    }
}

#[test]
fn a_late_twin_is_known_by_when_the_press_was_over() {
    // A gateway that makes the event when the tone is over; SIP INFO at the end of a long press.
    let late_event = Way { event: Some(1600), ..Way::TONE };
    let late_info = Way { signalled: Some(1700), ..Way::EVENT };
    for way in [late_event, late_info] {
        let mut script = Script::new();
        script.press('4', 200, 1500, way);
        script.press('5', 4000, 100, Way::EVENT);
        assert_eq!(script.run().keys, "45");
    }
    // The control: as far apart, but the first press is short.
    let mut apart = Script::new();
    apart.press('4', 200, 100, Way { event: Some(1600), ..Way::TONE });
    assert_eq!(apart.run().keys, "44");
}

#[test]
fn a_press_begun_before_the_session_does_not_count() {
    let all = Way { event: Some(0), tone: Some(0), signalled: Some(300) };
    let both = Way { signalled: None, ..all };
    for way in [Way::EVENT, Way::TONE, both, all] {
        for began in (20..=400).step_by(7) {
            let mut script = Script::new();
            script.press_at('8', LEAD_MS - began, began + 120, way);
            script.press('9', 1500, 100, way);
            assert_eq!(script.run().keys, "9", "{way:?} began {began} ms before");
        }
    }
    // The control: the same presses begun soon after count.
    for way in [Way::EVENT, Way::TONE, both, all] {
        for began in (20..=400).step_by(7) {
            let mut script = Script::new();
            script.press('8', began, 120, way);
            script.press('9', 1500, 100, way);
            assert_eq!(script.run().keys, "89", "{way:?} began {began} ms after");
        }
    }
}

#[test]
fn losing_the_first_packets_makes_no_old_press_new() {
    for lost in 1..=4 {
        // Nearer than one packet interval, jitter and an old press cannot be told apart.
        for began in (40..=200).step_by(20) {
            for way in [Way::EVENT, Way::TONE] {
                let mut script = Script::new();
                script.press_at('8', LEAD_MS - began, began + 250, way);
                script.press('9', 1500, 100, way);
                script.lose(0, lost * PACKET_MS);
                script.lose(140, PACKET_MS);
                // The leg heard nothing of the event either.
                script.is_leg_deaf = true;
                assert_eq!(script.run().keys, "9", "{way:?} {lost} lost, began {began} ms before");
            }
        }
    }
}

#[test]
fn once_events_come_tones_only_keep_the_guard_awake() {
    let mut script = Script::new();
    script.press('1', 100, 100, Way::EVENT);
    script.press('2', 600, 100, Way::TONE);
    let heard = script.run();
    assert_eq!(heard.keys, "1");
    let last = heard.last_heard_ms.unwrap();
    assert!((680..=760).contains(&last), "the tone was noticed until its end: {last}");
}

#[test]
fn what_the_drain_guard_sees() {
    let quiet = Script::new().run();
    assert_eq!(quiet.last_heard_ms, None);
    assert_eq!(quiet.audio, (Script::LENGTH_MS - LEAD_MS) * SAMPLES_PER_MS);

    let mut short_gap = Script::new();
    short_gap.lose(300, PACKET_MS);
    let short_gap = short_gap.run();
    assert_eq!(short_gap.last_heard_ms, None, "one packet cannot hide a key");
    assert_eq!(short_gap.audio, quiet.audio - PACKET_MS * SAMPLES_PER_MS);

    let mut gap = Script::new();
    gap.lose(300, 2 * PACKET_MS);
    assert_eq!(gap.run().last_heard_ms, Some(340));

    let mut info = Script::new();
    info.press('1', 100, 100, Way::SIGNALLED);
    assert_eq!(info.run().last_heard_ms, Some(100));

    // The third end of an event comes 40 ms after its key was let go.
    let mut event = Script::new();
    event.press('1', 100, 100, Way::EVENT);
    assert_eq!(event.run().last_heard_ms, Some(240));
}

#[test]
fn random_sessions() {
    let mut wrong = Vec::new();
    for seed in 0..300_u64 {
        let mut chance = Chance(seed);
        let mut optional = |most| (chance.below(2) == 0).then(|| chance.below(most));
        let way = Way { event: optional(200), tone: optional(150), signalled: optional(500) };
        let way = if way == Way::NONE { Way::EVENT } else { way };
        let mut script = Script::new();
        let mut keys = String::new();
        let mut at = 50;
        for _ in 0..8 {
            let key = char::from(b"0123456789*#"[chance.below(4) as usize]);
            let held = 60 + chance.below(200);
            script.press(key, at, held, way);
            keys.push(key);
            at += held + 60 + chance.below(300);
        }
        let heard = script.run().keys;
        if heard != keys {
            wrong.push(format!("SEED={seed} {way:?}: keyed {keys}, heard {heard}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// How far after the key went down each way begins; absent if it isn't used.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Way {
    event: Option<u64>,
    tone: Option<u64>,
    signalled: Option<u64>,
}

impl Way {
    const NONE: Self = Self { event: None, tone: None, signalled: None };
    const EVENT: Self = Self { event: Some(0), ..Self::NONE };
    const TONE: Self = Self { tone: Some(0), ..Self::NONE };
    const SIGNALLED: Self = Self { signalled: Some(0), ..Self::NONE };

    fn first_source(self) -> Source {
        match (self.event, self.tone) {
            (Some(_), _) => Source::Event,
            (None, Some(_)) => Source::Tone,
            (None, None) => Source::Signalled,
        }
    }
}

enum Input {
    Event(EventBytes),
    Signalled(Digit),
    Audio(u64),
}

struct EventBytes {
    sequence: u16,
    timestamp: u32,
    marker: bool,
    payload: [u8; 4],
}

/// What a caller does and what the network does to it; times count from the session's begin,
/// those of the fields from the script's.
struct Script {
    inputs: Vec<(u64, Input)>,
    mix: Vec<f32>,
    lost: Vec<(u64, u64)>,
    sequence: u16,
    is_leg_deaf: bool,
}

struct Heard {
    keys: String,
    sources: Vec<Source>,
    last_heard_ms: Option<u64>,
    audio: u64,
}

impl Script {
    const LENGTH_MS: u64 = 8000;

    fn new() -> Self {
        Self {
            inputs: Vec::new(),
            mix: vec![0.0; usize::try_from(Self::LENGTH_MS * SAMPLES_PER_MS).unwrap()],
            lost: Vec::new(),
            sequence: 0,
            is_leg_deaf: false,
        }
    }

    /// Presses and pauses of 120 ms.
    fn keyed(at: u64, keys: &str, way: Way) -> Self {
        let mut script = Self::new();
        for (nth, key) in (0..).zip(keys.chars()) {
            script.press(key, at + nth * 240, 120, way);
        }
        script
    }

    fn press(&mut self, key: char, at: u64, held: u64, way: Way) {
        self.press_at(key, LEAD_MS + at, held, way);
    }

    fn press_at(&mut self, key: char, at: u64, held: u64, way: Way) {
        let digit = Digit::from_ascii(u8::try_from(key).unwrap()).unwrap();
        if let Some(delay) = way.event {
            let key = KeyEvent {
                digit,
                timestamp: u32::try_from((at + delay) * SAMPLES_PER_MS).unwrap(),
                clock_hz: 8000,
                held: Duration::from_millis(held),
                volume: 10,
                sender: Sender::Standard,
            };
            for packet in key.packets() {
                let after = u64::try_from(packet.after.as_millis()).unwrap();
                let event = EventBytes {
                    sequence: self.sequence,
                    timestamp: packet.timestamp,
                    marker: packet.marker,
                    payload: packet.report.to_octets(),
                };
                self.sequence += 1;
                self.inputs.push((at + delay + after, Input::Event(event)));
            }
        }
        if let Some(delay) = way.tone {
            let seconds = held as f64 / 1000.0;
            let tone = Tone { seconds, ..Tone::of(digit) };
            tone.add_to(&mut self.mix, (at + delay) as f64 / 1000.0, 8000);
        }
        if let Some(delay) = way.signalled {
            self.inputs.push((at + delay, Input::Signalled(digit)));
        }
    }

    fn lose(&mut self, at: u64, span: u64) {
        self.lost.push((LEAD_MS + at, LEAD_MS + at + span));
    }

    fn run(mut self) -> Heard {
        let packets = (0..Self::LENGTH_MS).step_by(usize::try_from(PACKET_MS).unwrap());
        self.inputs.extend(packets.map(|start| (start + PACKET_MS, Input::Audio(start))));
        self.inputs.sort_by_key(|(at, _)| *at);
        let audio = pcm(&self.mix);

        let origin = origin();
        let moment = |at: u64| origin + Duration::from_millis(at);
        let begin = moment(LEAD_MS);
        let mut leg = EventReceiver::new(8000);
        let mut detector: Option<Detector> = None;
        let (mut keys, mut sources) = (String::new(), Vec::new());
        let mut report = |press: dtmf::detector::KeyPress| {
            keys.push(char::from(press.digit.to_ascii()));
            sources.push(press.source);
        };
        for (at, input) in &self.inputs {
            let now = moment(*at);
            if *at <= LEAD_MS {
                if let Input::Event(event) = input
                    && !self.is_leg_deaf
                {
                    leg.hear(event.packet(now), &mut |_| ());
                }
                continue;
            }
            let detector = detector.get_or_insert_with(|| Detector::new(begin, &leg));
            match input {
                Input::Event(event) => {
                    if !self.is_lost(at - PACKET_MS) {
                        detector.hear_event(event.packet(now), &mut report);
                    }
                }
                Input::Signalled(digit) => detector.hear_signalled(now, *digit, &mut report),
                Input::Audio(start) if self.is_lost(*start) => {
                    let samples = usize::try_from(PACKET_MS * SAMPLES_PER_MS).unwrap();
                    detector.hear_lost(now, samples, &mut report);
                }
                Input::Audio(start) => {
                    let first = usize::try_from(start * SAMPLES_PER_MS).unwrap();
                    let samples = usize::try_from(PACKET_MS * SAMPLES_PER_MS).unwrap();
                    detector.hear_audio(now, &audio[first..first + samples], &mut report);
                }
            }
        }
        let detector = detector.unwrap();
        let since_begin = |at: Instant| (at - begin).as_millis().try_into().unwrap();
        let last_heard_ms = detector.last_heard().map(since_begin);
        Heard { keys, sources, last_heard_ms, audio: detector.heard_audio() }
    }

    fn is_lost(&self, at: u64) -> bool {
        self.lost.iter().any(|(from, until)| (from..until).contains(&&at))
    }
}

impl EventBytes {
    fn packet(&self, arrival: Instant) -> EventPacket<'_> {
        EventPacket {
            arrival,
            ssrc: 7,
            sequence: self.sequence,
            timestamp: self.timestamp,
            marker: self.marker,
            payload: &self.payload,
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "any instant will do as an origin")]
fn origin() -> Instant {
    Instant::now()
}
