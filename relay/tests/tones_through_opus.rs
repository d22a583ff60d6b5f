//! Keys pressed as tones by a caller who speaks Opus: how many are heard, bit rate by bit rate.
//!
//! `cargo test -p relay --test tones_through_opus -- --nocapture` prints it.

#![expect(clippy::unwrap_used, reason = "a test may")]

use dtmf::Digit;
use dtmf::synth::tone::{Tone, pcm};
use dtmf::tone::{ToneDetector, ToneEdge};
use opus::{Application, Bitrate, Channels};
use relay::codec::{Codec, Decoder, NARROW};

/// As browsers encode: 48 kHz, packets of 20 ms.
const RATE: u32 = 48_000;
const FRAME: usize = 960;
/// Keys of 100 ms, 100 ms apart, 200 of each level.
const KEYS: usize = 200;
const KEY: f64 = 0.1;
const PAUSE: f64 = 0.1;

/// Bit rates, and the share of keys that must be heard, in percent.
const BARS: [(i32, f64); 7] = [
    (8000, 97.5),
    (12_000, 96.8),
    (16_000, 99.0),
    (20_000, 100.0),
    (24_000, 100.0),
    (32_000, 100.0),
    (64_000, 100.0),
];

fn keyed() -> Vec<Digit> {
    b"0123456789*#ABCD"
        .iter()
        .cycle()
        .take(KEYS)
        .map(|&key| Digit::from_ascii(key).unwrap())
        .collect()
}

fn played(dbm0: f64) -> Vec<i16> {
    let mut mix = vec![0.0; (KEYS as f64 * (KEY + PAUSE) * f64::from(RATE)) as usize + FRAME * 50];
    for (number, digit) in keyed().into_iter().enumerate() {
        let mut tone = Tone::of(digit);
        tone.seconds = KEY;
        (tone.low.dbm0, tone.high.dbm0) = (dbm0, dbm0);
        // Not in step with the packets.
        let start = 0.5 + number as f64 * (KEY + PAUSE + 0.0007);
        if ((start + KEY) * f64::from(RATE)) as usize + FRAME < mix.len() {
            tone.add_to(&mut mix, start, RATE);
        }
    }
    pcm(&mix)
}

/// What is heard of that through Opus.
fn heard(samples: &[i16], bits: i32) -> Vec<Digit> {
    let mut encoder = opus::Encoder::new(RATE, Channels::Mono, Application::Voip).unwrap();
    encoder.set_bitrate(Bitrate::Bits(bits)).unwrap();
    let mut decoder = Decoder::new(Codec::Opus, NARROW).unwrap();
    let mut detector = ToneDetector::new();
    let mut digits = Vec::new();
    for frame in samples.as_chunks::<FRAME>().0 {
        let (mut wire, mut decoded) = ([0; 1500], [0; 160]);
        let len = encoder.encode(frame, &mut wire).unwrap();
        decoder.decode(&wire[..len], &mut decoded).unwrap();
        detector.hear(&decoded, &mut |report| match report.edge {
            ToneEdge::Begin(digit) => digits.push(digit),
            ToneEdge::Hint | ToneEdge::End(_) => {}
        });
    }
    digits
}

#[test]
fn keys_are_heard() {
    for (bits, bar) in BARS {
        let (mut good, mut all) = (0, 0);
        for dbm0 in [-6.0, -10.0, -15.0, -20.0] {
            let heard = heard(&played(dbm0), bits);
            all += KEYS;
            good += common(&keyed(), &heard);
            assert!(heard.len() <= KEYS + 2, "{} keys at {bits}", heard.len());
        }
        let percent = 100.0 * good as f64 / all as f64;
        println!("figure: keys heard through Opus at {bits} bit/s: {percent:.1} %, bar {bar}");
        assert!(percent >= bar, "{percent:.2} % at {bits}");
    }
}

/// Length of the longest sequence that both have in common: what was heard in order, and once.
fn common(keyed: &[Digit], heard: &[Digit]) -> usize {
    let mut row = vec![0; heard.len() + 1];
    for &key in keyed {
        let mut diagonal = 0;
        for (at, &one) in heard.iter().enumerate() {
            let above = row[at + 1];
            row[at + 1] = if one == key { diagonal + 1 } else { row[at].max(above) };
            diagonal = above;
        }
    }
    row[heard.len()]
}
