//! `Tone`: one key press as audio, clean or off its nominal values on purpose.

use std::f64::consts::TAU;

use crate::Digit;
use crate::goertzel::FREQUENCIES;

/// Level of a full-scale digital sine in dBm0 (ITU-T G.711 section 4).
#[expect(clippy::approx_constant, reason = "a level, not the number pi")]
const FULL_SCALE_DBM0: f64 = 3.14;

/// The amplitude, in units of a 16-bit sample, of a sine at `dbm0`.
#[must_use]
pub fn amplitude(dbm0: f64) -> f64 {
    32767.0 * 10_f64.powf((dbm0 - FULL_SCALE_DBM0) / 20.0)
}

/// The two frequencies of a key, low group first, in hertz (ITU-T Q.23).
#[must_use]
pub fn frequencies(digit: Digit) -> (f64, f64) {
    let key = digit.to_ascii();
    let place = b"123A456B789C*0#D".iter().position(|&other| other == key).unwrap_or(0);
    (FREQUENCIES[place / 4], FREQUENCIES[4 + place % 4])
}

/// One sine of a key.
#[derive(Clone, Copy)]
pub struct Partial {
    /// Frequency in hertz.
    pub hertz: f64,
    /// Level in dBm0; a full-scale sine is +3.14.
    pub dbm0: f64,
    /// Phase at the first sample, in radians.
    pub phase: f64,
}

/// A key press: two sines that rise and fall together.
#[derive(Clone, Copy)]
pub struct Tone {
    /// The sine of the low group.
    pub low: Partial,
    /// The sine of the high group.
    pub high: Partial,
    /// Length in seconds, between the half-amplitude points.
    pub seconds: f64,
    /// Length of the rise and of the fall in seconds, raised-cosine; at most 5 ms in good senders.
    pub ramp: f64,
}

impl Tone {
    /// A press of `digit` as a telephone makes it: 100 ms, -9 dBm0 low, -7 dBm0 high.
    #[must_use]
    pub fn of(digit: Digit) -> Self {
        let (low, high) = frequencies(digit);
        Self {
            low: Partial { hertz: low, dbm0: -9.0, phase: 0.0 },
            high: Partial { hertz: high, dbm0: -7.0, phase: 0.0 },
            seconds: 0.1,
            ramp: 0.002,
        }
    }

    /// Adds the tone to `mix`, its half-amplitude point at `start` seconds.
    pub fn add_to(&self, mix: &mut [f32], start: f64, rate: u32) {
        let rate = f64::from(rate);
        let (first, last) = (start - self.ramp / 2.0, start + self.seconds + self.ramp / 2.0);
        let begin = (first * rate).ceil().max(0.0) as usize;
        let end = ((last * rate).ceil().max(0.0) as usize).min(mix.len());
        let (low, high) = (amplitude(self.low.dbm0), amplitude(self.high.dbm0));
        for (n, sample) in mix.iter_mut().enumerate().take(end).skip(begin) {
            let t = n as f64 / rate;
            let wave = low * (TAU * self.low.hertz * (t - start) + self.low.phase).sin()
                + high * (TAU * self.high.hertz * (t - start) + self.high.phase).sin();
            *sample += (wave * rise(t - first, self.ramp) * rise(last - t, self.ramp)) as f32;
        }
    }
}

/// The presses of `digits` one after another, each followed by `pause` seconds of silence.
#[must_use]
pub fn dial(digits: &[Digit], pause: f64, rate: u32) -> Vec<i16> {
    let step = Tone::of(Digit::Zero).seconds + pause;
    let length = (digits.len() as f64 * step * f64::from(rate)).ceil() as usize;
    let mut mix = vec![0.0; length];
    for (nth, &digit) in digits.iter().enumerate() {
        let tone = Tone::of(digit);
        tone.add_to(&mut mix, nth as f64 * step + tone.ramp / 2.0, rate);
    }
    pcm(&mix)
}

/// Rounds to 16-bit samples, clipping what is too loud.
#[must_use]
pub fn pcm(mix: &[f32]) -> Vec<i16> {
    mix.iter().map(|sample| sample.round() as i16).collect()
}

fn rise(since: f64, ramp: f64) -> f64 {
    if since >= ramp { 1.0 } else { 0.5 - 0.5 * (TAU / 2.0 * since.max(0.0) / ramp).cos() }
}
