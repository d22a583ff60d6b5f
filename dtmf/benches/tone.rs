//! Nanoseconds a sample that the tone detector takes, by what is on the line.

use std::hint::black_box;

use dtmf::Digit;
use dtmf::synth::tone::{amplitude, dial, pcm};
use dtmf::tone::ToneDetector;

/// One minute of audio.
const SAMPLES: usize = 8000 * 60;

fn main() {
    let keys: Vec<Digit> = Digit::ALL.into_iter().cycle().take(400).collect();
    let mut keys = dial(&keys, 0.07, 8000);
    keys.truncate(SAMPLES);
    for (name, audio) in [
        ("keys, 100/70 ms", keys),
        ("voice", voice()),
        ("white noise", noise()),
        ("silence", vec![0; SAMPLES]),
    ] {
        println!("{name:16} {:6.2} ns/sample", nanoseconds(&audio));
    }
}

/// The best of several runs, the others being disturbed by the rest of the machine.
#[expect(
    clippy::disallowed_methods,
    reason = "a benchmark is the one thing that must take the time"
)]
fn nanoseconds(audio: &[i16]) -> f64 {
    (0..50)
        .map(|_| {
            let mut detector = ToneDetector::new();
            let begin = std::time::Instant::now();
            for packet in audio.chunks(160) {
                detector.hear(black_box(packet), &mut |report| {
                    black_box(report.at);
                });
            }
            begin.elapsed().as_nanos() as f64 / audio.len() as f64
        })
        .fold(f64::MAX, f64::min)
}

/// Harmonics of a wandering pitch, some five syllables a second.
fn voice() -> Vec<i16> {
    let mut phase = 0.0_f64;
    let wave = |n: usize| {
        let t = n as f64 / 8000.0;
        phase += (140.0 + 40.0 * (t * 3.1).sin()) / 8000.0 * std::f64::consts::TAU;
        let sum: f64 = (1..20).map(|h| (phase * f64::from(h)).sin() / f64::from(h)).sum();
        (amplitude(-15.0) * sum * (t * 5.0 * std::f64::consts::PI).sin().abs()) as f32
    };
    pcm(&(0..SAMPLES).map(wave).collect::<Vec<f32>>())
}

fn noise() -> Vec<i16> {
    let mut state = 1_u64;
    let wave = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as f32 / (1_u64 << 31) as f32 * 8000.0 - 4000.0
    };
    pcm(&(0..SAMPLES).map(wave).collect::<Vec<f32>>())
}
