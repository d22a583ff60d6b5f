//! Calls whose parties speak different codecs: what is heard, and what is not, not even by way of
//! what a decoder or an encoder remembers.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::f64::consts::TAU;

use dtmf::g711::Law;
use dtmf::synth::tone::Tone;
use dtmf::{Digit, Verdict};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use relay::codec::{Codec, Decoder, Encoder, MAX_SAMPLES, NARROW, SampleRate};
use relay::switchboard::{DropReason, EventKind, LegMedia, Side};
use system_tests::line::{ENGINE_PORT, EVENT, Line, MS, Sent, Setup, address, leg, payload};
use system_tests::world::card_plan;

const CALLERS: [Codec; 3] = [Codec::Opus, Codec::G722, Codec::G711(Law::Mu)];
const ENGINES: [Codec; 5] = [
    Codec::G711(Law::A),
    Codec::G722,
    Codec::L16(SampleRate::Narrow),
    Codec::L16(SampleRate::Wide),
    Codec::L16(SampleRate::SuperWide),
];
/// Payload type of what is no G.711.
const OTHER: u8 = 111;

fn pairs() -> impl Iterator<Item = (Codec, Codec)> {
    let all = CALLERS.into_iter().flat_map(|from| ENGINES.map(|to| (from, to)));
    all.filter(|(from, to)| from.transcodes(*to))
}

fn media(port: u16, codec: Codec) -> LegMedia {
    let payload_type = if codec == Codec::G711(Law::Mu) { 0 } else { OTHER };
    LegMedia { codec, payload_type, ..leg(address(port), 0, Some(EVENT), 20) }
}

/// A caller of one codec, who says samples.
struct Voice {
    codec: Codec,
    rate: u32,
    encoder: Encoder,
    sequence: u16,
    timestamp: u32,
}

impl Voice {
    fn new(codec: Codec) -> Voice {
        let rate = codec.rate_beside(Codec::G711(Law::Mu));
        let encoder = Encoder::new(codec, rate).unwrap();
        Voice { codec, rate, encoder, sequence: 65_530, timestamp: u32::MAX - 4000 }
    }

    fn packet(&mut self, pcm: &[i16]) -> Vec<u8> {
        let mut wire = [0; 1400];
        let len = self.encoder.encode(pcm, &mut wire).unwrap();
        let packet = self.rtp(false, if self.codec == Codec::G711(Law::Mu) { 0 } else { OTHER });
        self.timestamp = self.timestamp.wrapping_add(self.codec.clock() / 50);
        [packet, wire[..len].to_vec()].concat()
    }

    fn rtp(&mut self, marker: bool, payload_type: u8) -> Vec<u8> {
        let mut packet = vec![0x80, payload_type | u8::from(marker) << 7];
        packet.extend(self.sequence.to_be_bytes());
        packet.extend(self.timestamp.to_be_bytes());
        packet.extend(7u32.to_be_bytes());
        self.sequence = self.sequence.wrapping_add(1);
        packet
    }

    /// A key for 100 ms by event, on the codec's clock, and no voice meanwhile.
    fn press(&mut self, line: &mut Line, code: u8) {
        let step = self.codec.clock() / 50;
        for number in 1..=7u32 {
            let ticks = (number.min(5) * step) as u16;
            let is_end = number > 4;
            let [high, low] = ticks.to_be_bytes();
            let mut packet = self.rtp(number == 1, EVENT);
            packet.extend([code, if is_end { 0x8a } else { 0x0a }, high, low]);
            line.caller_sends(&packet);
            if number < 5 {
                line.pass(20 * MS);
            }
        }
        self.timestamp = self.timestamp.wrapping_add(5 * step);
        line.pass(20 * MS);
    }

    /// Says as many packets of 20 ms, of samples by their number.
    fn say(&mut self, line: &mut Line, packets: usize, sample: &mut dyn FnMut(usize) -> i16) {
        let frame = self.rate as usize / 50;
        for number in 0..packets {
            let pcm: Vec<i16> = (0..frame).map(|at| sample(number * frame + at)).collect();
            line.caller_sends(&self.packet(&pcm));
            line.pass(20 * MS);
        }
    }
}

fn line(caller: Codec, engine: Codec) -> Line {
    let (caller, engine) = (media(40000, caller), media(50000, engine));
    Line::new(Setup { caller, engine, ..Setup::default() })
}

fn tone(rate: u32, hz: f64) -> impl FnMut(usize) -> i16 {
    move |at| (6000.0 * (TAU * hz * at as f64 / f64::from(rate)).sin()) as i16
}

fn audio(line: &Line) -> Vec<&Sent> {
    line.to_engine().filter(|sent| sent.octets[1] & 0x7f != EVENT).collect()
}

/// What the engine hears of these packets, and at which rate.
fn heard(sent: &[&Sent], codec: Codec) -> (Vec<i16>, u32) {
    let rate = codec.rate_beside(Codec::G711(Law::Mu));
    let mut decoder = Decoder::new(codec, rate).unwrap();
    let mut pcm = Vec::new();
    for one in sent {
        let mut samples = [0; MAX_SAMPLES];
        let count = decoder.decode(payload(one), &mut samples).unwrap();
        pcm.extend_from_slice(&samples[..count]);
    }
    (pcm, rate)
}

fn share(pcm: &[i16], rate: u32, hz: f64) -> f64 {
    let (mut re, mut im, mut power) = (0.0, 0.0, 1.0);
    for (at, &sample) in pcm.iter().enumerate() {
        let (sample, angle) = (f64::from(sample), TAU * hz * at as f64 / f64::from(rate));
        re += sample * angle.cos();
        im += sample * angle.sin();
        power += sample * sample;
    }
    2.0 * (re * re + im * im) / (pcm.len() as f64 * power)
}

#[test]
fn a_caller_is_heard_in_every_codec_on_one_unbroken_stream() {
    for (from, to) in pairs() {
        let mut line = line(from, to);
        let mut voice = Voice::new(from);
        let rate = voice.rate;
        voice.say(&mut line, 100, &mut tone(rate, 440.0));
        let sent = audio(&line);
        assert!((98..=101).contains(&sent.len()), "{from:?} to {to:?}: {} packets", sent.len());
        assert!(sent.iter().all(|one| payload(one).len() == to.octets(20).unwrap()));
        for pair in sent.windows(2) {
            let number = |at: usize, octets: &[u8]| {
                u32::from_be_bytes(octets[at..at + 4].try_into().unwrap())
            };
            let step = number(4, &pair[1].octets).wrapping_sub(number(4, &pair[0].octets));
            assert_eq!(step, to.clock() / 50, "{from:?} to {to:?}");
            assert!(pair[1].at - pair[0].at <= 21 * MS, "{from:?} to {to:?}");
        }
        let (pcm, rate) = heard(&sent[20..], to);
        let share = share(&pcm, rate, 440.0);
        assert!(share > 0.95, "{from:?} to {to:?}: {share}");
        // The tape has it as well.
        let told: usize = line.blocks.iter().map(|block| loud(&block.caller)).sum();
        assert!(told > 8000, "{from:?} to {to:?}: {told} samples on the tape");
    }
}

/// Octets of mu-law that are louder than noise.
fn loud(codes: &[u8]) -> usize {
    codes.iter().filter(|&&code| Law::Mu.decode(code).unsigned_abs() > 500).count()
}

#[test]
fn what_is_lost_on_the_way_is_not_heard_as_a_hole() {
    for (from, to) in [(Codec::Opus, Codec::G711(Law::A)), (Codec::G722, Codec::G711(Law::A))] {
        let (mut line, mut voice) = (line(from, to), Voice::new(from));
        let (frame, mut sample) = (voice.rate as usize / 50, tone(voice.rate, 250.0));
        for number in 0..200 {
            let pcm: Vec<i16> = (0..frame).map(|at| sample(number * frame + at)).collect();
            let packet = voice.packet(&pcm);
            if number % 10 != 7 {
                line.caller_sends(&packet);
            }
            line.pass(20 * MS);
        }
        let (pcm, _) = heard(&audio(&line)[20..], to);
        let quiet = pcm.chunks(80).filter(|part| part.iter().all(|one| one.abs() < 1000)).count();
        assert!(quiet < 8, "{from:?}: {quiet} times 10 ms of nothing");
    }
}

/// What the caller says in each part of a call.
#[derive(Clone, Copy)]
struct Script {
    open: u64,
    cut: u64,
    after: u64,
}

/// What was sent or kept, piece by piece.
type Packets = Vec<Vec<u8>>;

/// All that the engine is sent and the tape keeps of a call by that script: in the cut and after it.
fn played(from: Codec, to: Codec, script: Script) -> (Packets, Packets, Packets) {
    let (mut line, mut voice) = (line(from, to), Voice::new(from));
    let noise = |seed| {
        let mut random = StdRng::seed_from_u64(seed);
        // Too quiet for a tone, and never the same.
        move |_| random.random_range(-400..400)
    };
    voice.say(&mut line, 50, &mut noise(script.open));
    line.enter(1);
    voice.say(&mut line, 50, &mut noise(script.cut));
    line.cancel();
    while line.cut {
        voice.say(&mut line, 1, &mut noise(script.cut));
        assert!(line.sent.len() < 2000, "the call is opened again");
    }
    // What the caller's own encoder remembers is no matter of ours.
    voice.encoder.forget();
    let reopened = line.now;
    voice.say(&mut line, 50, &mut noise(script.after));
    let octets = |sent: &&Sent| sent.octets.clone();
    let (cut, rest): (Vec<&Sent>, Vec<&Sent>) = audio(&line).into_iter().partition(|one| one.cut);
    let after = rest.iter().filter(|one| one.at >= reopened).map(octets).collect();
    let tape = line.blocks.iter().map(|block| block.caller.to_vec()).collect();
    (cut.iter().map(octets).collect(), after, tape)
}

#[cfg(not(feature = "sabotage"))]
#[test]
fn not_one_octet_depends_on_what_was_said_in_the_cut() {
    for (from, to) in pairs() {
        let script = Script { open: 1, cut: 2, after: 3 };
        let (cut, after, tape) = played(from, to, script);
        let other = played(from, to, Script { cut: 4, ..script });
        assert!(cut.len() > 100 && after.len() > 40, "{from:?} to {to:?}: a stream that goes on");
        assert!(cut == other.0, "{from:?} to {to:?}: in the cut");
        assert!(after == other.1, "{from:?} to {to:?}: after it");
        assert!(tape == other.2, "{from:?} to {to:?}: on the tape");
        // Nor on what was said before it: what predicts the next sample is begun anew.
        let other = played(from, to, Script { open: 5, ..script });
        assert!(cut == other.0, "{from:?} to {to:?}: in the cut, of what was said before");
        // The controls: what may be heard makes a difference.
        assert!(tape != other.2, "{from:?} to {to:?}: the tape of the open");
        let other = played(from, to, Script { after: 6, ..script });
        assert!(after != other.1, "{from:?} to {to:?}: the open after the cut");
    }
}

#[cfg(feature = "sabotage")]
#[test]
fn without_masking_it_does() {
    relay::sabotage::break_masking();
    for (from, to) in pairs() {
        let script = Script { open: 1, cut: 2, after: 3 };
        let other = Script { cut: 4, ..script };
        assert!(played(from, to, script).0 != played(from, to, other).0, "{from:?} to {to:?}");
    }
}

#[test]
fn silence_in_the_cut_is_silence_in_every_codec() {
    for (from, to) in pairs() {
        let (mut line, mut voice) = (line(from, to), Voice::new(from));
        let rate = voice.rate;
        voice.say(&mut line, 50, &mut tone(rate, 440.0));
        line.enter(1);
        voice.say(&mut line, 50, &mut tone(rate, 440.0));
        let cut: Vec<&Sent> = audio(&line).into_iter().filter(|one| one.cut).collect();
        assert!(cut.len() >= 49);
        let (pcm, _) = heard(&cut, to);
        let loudest = pcm.iter().map(|one| one.unsigned_abs()).max().unwrap();
        assert!(loudest <= 32, "{from:?} to {to:?}: {loudest}");
        assert_eq!(line.residue, 0, "octets of the cut in a buffer");
    }
}

#[test]
fn keys_of_the_open_are_told_in_the_engines_own_ticks() {
    let (from, to) = (Codec::Opus, Codec::G711(Law::A));
    let (mut line, mut voice) = (line(from, to), Voice::new(from));
    let rate = voice.rate;
    voice.say(&mut line, 50, &mut tone(rate, 440.0));
    voice.press(&mut line, 5);
    let events: Vec<&Sent> = line.to_engine().filter(|one| one.octets[1] & 0x7f == EVENT).collect();
    let ticks: Vec<u16> =
        events.iter().map(|one| u16::from_be_bytes([payload(one)[2], payload(one)[3]])).collect();
    assert_eq!(ticks, [160, 320, 480, 640, 800, 800, 800]);
    assert_eq!(events.iter().filter(|one| one.octets[1] & 0x80 != 0).count(), 1, "one marker");
    assert!(events.windows(2).all(|pair| pair[0].octets[4..8] == pair[1].octets[4..8]));
    let sequences: Vec<u16> =
        line.to_engine().map(|one| u16::from_be_bytes([one.octets[2], one.octets[3]])).collect();
    assert!(sequences.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1)));
}

#[test]
fn a_card_is_keyed_by_events_of_48_khz_and_by_tones_through_opus() {
    for by_tone in [false, true] {
        let (mut line, mut voice) =
            (line(Codec::Opus, Codec::G711(Law::Mu)), Voice::new(Codec::Opus));
        voice.say(&mut line, 50, &mut |_| 0);
        line.enter_with(1, card_plan());
        // A tone that sounds already may have begun before.
        voice.say(&mut line, 5, &mut |_| 0);
        for key in b"4242424242424242#1228123" {
            let digit = Digit::from_ascii(*key).unwrap();
            if by_tone {
                let mut mix = vec![0.0; 800];
                let mut tone = Tone::of(digit);
                tone.seconds = 0.08;
                tone.add_to(&mut mix, tone.ramp / 2.0, NARROW);
                let pcm = dtmf::synth::tone::pcm(&mix);
                voice.say(&mut line, 5, &mut |at| pcm[at]);
            } else {
                voice.press(&mut line, digit.event_code());
            }
            voice.say(&mut line, 5, &mut |_| 0);
        }
        assert_eq!(line.verdict(), Some(Verdict::Passed), "by tone: {by_tone}");
        voice.say(&mut line, 100, &mut |_| 0);
        assert!(line.events.iter().any(|kind| matches!(kind, EventKind::Reopened { .. })));
    }
}

#[test]
fn another_codec_after_a_reoffer_is_as_good_and_stays_cut() {
    let (mut line, mut voice) =
        (line(Codec::G711(Law::Mu), Codec::G711(Law::Mu)), Voice::new(Codec::G711(Law::Mu)));
    voice.say(&mut line, 50, &mut tone(NARROW, 440.0));
    line.enter(1);
    line.reoffer(Side::Caller, media(40000, Codec::Opus));
    let mut voice = Voice::new(Codec::Opus);
    let before = line.progress();
    voice.say(&mut line, 50, &mut tone(NARROW, 440.0));
    voice.press(&mut line, 1);
    assert!(line.progress() > before, "its keys are heard, on its clock");
    let cut: Vec<&Sent> = line.to_engine().filter(|one| one.cut).collect();
    assert!(cut.len() > 50);
    assert!(cut.iter().all(|one| payload(one).iter().all(|&octet| octet == 0xff)));
    line.cancel();
    while line.cut {
        voice.say(&mut line, 1, &mut |_| 0);
    }
    let sent = line.sent.len();
    voice.say(&mut line, 50, &mut tone(NARROW, 440.0));
    let after: Vec<&Sent> =
        line.sent[sent..].iter().filter(|one| one.port == ENGINE_PORT).collect();
    let (pcm, rate) = heard(&after[10..], Codec::G711(Law::Mu));
    assert!(share(&pcm, rate, 440.0) > 0.95);
}

#[test]
fn whatever_a_caller_sends_is_played_or_refused() {
    let mut random = StdRng::seed_from_u64(9);
    for codec in [Codec::Opus, Codec::G722] {
        let (mut line, mut voice) =
            (line(codec, Codec::L16(SampleRate::SuperWide)), Voice::new(codec));
        for number in 0..4000 {
            let mut packet = voice.rtp(false, OTHER);
            let len = random.random_range(0..1300);
            packet.extend((0..len).map(|_| random.random::<u8>()));
            match random.random_range(0..20) {
                0 => voice.sequence = random.random(),
                1 => voice.timestamp = random.random(),
                2 => voice.sequence = voice.sequence.wrapping_sub(3),
                _ => voice.timestamp = voice.timestamp.wrapping_add(codec.clock() / 50),
            }
            line.caller_sends(&packet);
            line.pass(5 * MS * random.random_range(0..5));
            match number % 1000 {
                300 if !line.cut => line.enter(number),
                600 if line.cut => line.cancel(),
                _ => {}
            }
        }
        assert!(line.to_engine().count() > 1000, "{codec:?}: a stream that goes on");
    }
}

#[test]
fn a_caller_of_long_packets_is_let_in_again() {
    for packets_of in [20, 40, 60, 120] {
        let (mut line, mut voice) =
            (line(Codec::Opus, Codec::G711(Law::Mu)), Voice::new(Codec::Opus));
        let samples = voice.rate as usize / 1000 * packets_of;
        let mut say = |line: &mut Line| {
            line.caller_sends(&voice.packet(&vec![0; samples]));
            voice.timestamp = voice.timestamp.wrapping_add(48 * (packets_of as u32 - 20));
            line.pass(packets_of as u32 * MS);
        };
        (0..10).for_each(|_| say(&mut line));
        line.enter(1);
        (0..10).for_each(|_| say(&mut line));
        line.cancel();
        for _ in 0..3000 / packets_of {
            say(&mut line);
        }
        assert!(!line.cut, "packets of {packets_of} ms");
    }
}

#[test]
fn a_flood_is_not_decoded() {
    let (mut line, mut voice) = (line(Codec::Opus, Codec::G711(Law::Mu)), Voice::new(Codec::Opus));
    voice.say(&mut line, 50, &mut |_| 0);
    let refused = |line: &mut Line| {
        let caller = &line.snapshot().legs[Side::Caller.index()];
        caller.drops[DropReason::NotAgreed.index()]
    };
    assert_eq!(refused(&mut line), 0, "control");
    let samples = voice.rate as usize / 1000 * 120;
    for _ in 0..1000 {
        let packet = voice.packet(&vec![0; samples]);
        line.caller_sends(&packet);
    }
    assert!(refused(&mut line) > 990);
    line.pass(1000 * MS);
    voice.say(&mut line, 50, &mut |_| 0);
    assert!(refused(&mut line) < 1000, "afterwards all is well");
}

/// A way to send a key.
type Press<'a> = dyn Fn(&mut Voice, &mut Line, u8) + 'a;

#[test]
fn keys_that_browsers_send_in_ways_of_their_own_count_once() {
    // What Chromium sends of one key: by the wrong clock three ends alone, and long ones.
    let ends_alone = |voice: &mut Voice, line: &mut Line, code: u8| {
        for _ in 0..3 {
            let mut packet = voice.rtp(true, EVENT);
            packet.extend([code, 0x8a, 0x03, 0xc0]);
            line.caller_sends(&packet);
        }
    };
    let for_600_ms = |voice: &mut Voice, line: &mut Line, code: u8| {
        for number in 1..=32u32 {
            let ticks = (number.min(30) * 960) as u16;
            let [high, low] = ticks.to_be_bytes();
            let mut packet = voice.rtp(number == 1, EVENT);
            packet.extend([code, if number < 30 { 0x0a } else { 0x8a }, high, low]);
            line.caller_sends(&packet);
            if number < 30 {
                line.pass(20 * MS);
            }
        }
        voice.timestamp = voice.timestamp.wrapping_add(30 * 960);
    };
    let ways: [(&str, &Press<'_>); 2] = [("three ends", &ends_alone), ("600 ms", &for_600_ms)];
    for (name, press) in ways {
        let (mut line, mut voice) =
            (line(Codec::Opus, Codec::G711(Law::Mu)), Voice::new(Codec::Opus));
        voice.say(&mut line, 50, &mut |_| 0);
        line.enter_with(1, card_plan());
        voice.say(&mut line, 5, &mut |_| 0);
        for key in b"4242424242424242#1228123" {
            press(&mut voice, &mut line, Digit::from_ascii(*key).unwrap().event_code());
            voice.say(&mut line, 5, &mut |_| 0);
        }
        assert_eq!(line.verdict(), Some(Verdict::Passed), "{name}");
    }
}
