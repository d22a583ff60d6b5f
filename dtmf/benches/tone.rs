//! Nanoseconds a sample that the tone detector takes, by what is on the line.
//!
//! `cargo bench -p dtmf --bench tone`; with `write FOLDER` it writes the audio instead, raw 16-bit
//! samples, for `dtmf/benches/peer/compare`, where another detector hears the same.

use std::hint::black_box;
use std::path::Path;

use dtmf::Digit;
use dtmf::synth::tone::{amplitude, dial, pcm};
use dtmf::tone::{ToneDetector, ToneEdge};

/// One minute of audio.
const SAMPLES: usize = 8000 * 60;
/// 20 ms, as a packet brings them.
const PACKET: usize = 160;
/// Calls that are heard by turns: a hundred detectors stay in the second cache, a thousand do not.
const CALLS: [usize; 2] = [100, 1000];
/// The best of so many is taken, the others being disturbed by the rest of the machine.
const REPEATS: usize = 10;

fn main() {
    let mut arguments = std::env::args().skip_while(|argument| argument != "write").skip(1);
    let lines = [("keys", keys()), ("voice", voice()), ("noise", noise()), ("silence", silence())];
    if let Some(folder) = arguments.next() {
        for (name, audio) in &lines {
            let bytes: Vec<u8> = audio.iter().flat_map(|sample| sample.to_le_bytes()).collect();
            let path = Path::new(&folder).join(name).with_extension("s16le");
            std::fs::write(&path, bytes).expect("the folder can be written to");
        }
        return;
    }
    let instructions = format!("{:?}", fearless_simd::Level::new());
    println!("instructions: {}", instructions.split('(').next().unwrap_or_default());
    for (name, audio) in &lines {
        let (best, keys) = one_call(audio);
        println!("{name:8} {best:6.3} ns/sample, {keys} keys");
    }
    for calls in CALLS {
        for (name, audio) in &lines {
            println!("{name:8} {:6.3} ns/sample, {calls} calls by turns", by_turns(calls, audio));
        }
    }
}

/// One call alone, and the keys it hears.
fn one_call(audio: &[i16]) -> (f64, u32) {
    let mut keys = 0;
    let best = best(audio.len(), || {
        keys = 0;
        let mut detector = ToneDetector::new();
        for packet in audio.chunks(PACKET) {
            detector.hear(black_box(packet), &mut |report| match report.edge {
                ToneEdge::Begin(_) => keys += 1,
                ToneEdge::Hint | ToneEdge::End(_) => {}
            });
        }
    });
    (best, keys)
}

/// A packet of each call in turn, as a media thread hears them; each call is elsewhere in the audio.
fn by_turns(calls: usize, audio: &[i16]) -> f64 {
    const ROUNDS: usize = 20;
    let mut detectors: Vec<ToneDetector> = (0..calls).map(|_| ToneDetector::new()).collect();
    let packets: Vec<&[i16]> = audio.chunks(PACKET).collect();
    best(calls * ROUNDS * PACKET, || {
        for round in 0..ROUNDS {
            for (call, detector) in detectors.iter_mut().enumerate() {
                let packet = packets[(call * 7 + round) % packets.len()];
                detector.hear(black_box(packet), &mut |report| {
                    black_box(report.at);
                });
            }
        }
    })
}

/// Nanoseconds a sample of the best run.
#[expect(
    clippy::disallowed_methods,
    reason = "a benchmark is the one thing that must take the time"
)]
fn best(samples: usize, mut run: impl FnMut()) -> f64 {
    let times = (0..REPEATS).map(|_| {
        let begin = std::time::Instant::now();
        run();
        begin.elapsed().as_nanos() as f64 / samples as f64
    });
    times.fold(f64::MAX, f64::min)
}

/// Keys of 100 ms with pauses of 70 ms.
fn keys() -> Vec<i16> {
    let keys: Vec<Digit> = Digit::ALL.into_iter().cycle().take(400).collect();
    let mut audio = dial(&keys, 0.07, 8000);
    audio.truncate(SAMPLES);
    audio
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

/// White noise.
fn noise() -> Vec<i16> {
    let mut state = 1_u64;
    let wave = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as f32 / (1_u64 << 31) as f32 * 8000.0 - 4000.0
    };
    pcm(&(0..SAMPLES).map(wave).collect::<Vec<f32>>())
}

fn silence() -> Vec<i16> {
    vec![0; SAMPLES]
}
