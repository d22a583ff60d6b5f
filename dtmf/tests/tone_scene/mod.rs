//! Scenes of keys and near-keys, what they go through on their way, and the score of a detector.

use dtmf::Digit;
use dtmf::decimate::Decimator;
use dtmf::g711::Law;
use dtmf::synth::tone::{Partial, Tone, amplitude, frequencies, pcm};
use dtmf::tone::{ToneDetector, ToneEdge, ToneReport};

/// A seeded source of chance (SplitMix64).
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    }

    /// Uniform in 0..1.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub(crate) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    pub(crate) fn digit(&mut self) -> Digit {
        Digit::ALL[(self.unit() * 16.0) as usize]
    }

    /// Two independent normal values.
    fn normal(&mut self) -> [f64; 2] {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        let angle = self.unit() * std::f64::consts::TAU;
        [radius * angle.cos(), radius * angle.sin()]
    }
}

/// What a detector is to do about one tone.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expect {
    Key,
    Nothing,
}

/// What the audio goes through before it is heard.
#[derive(Clone, Copy)]
pub(crate) enum Channel {
    Linear,
    MuLaw,
    ALaw,
}

/// One tone to be played.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) digit: Digit,
    pub(crate) low_hertz: f64,
    pub(crate) high_hertz: f64,
    pub(crate) low_dbm0: f64,
    pub(crate) high_dbm0: f64,
    pub(crate) seconds: f64,
    pub(crate) ramp: f64,
}

impl Shape {
    /// Level of each tone unless said otherwise, dBm0.
    pub(crate) const LEVEL: f64 = -10.0;

    /// 50 ms of `digit`, as nominal as can be.
    pub(crate) fn of(digit: Digit) -> Self {
        let (low_hertz, high_hertz) = frequencies(digit);
        let (low_dbm0, high_dbm0) = (Self::LEVEL, Self::LEVEL);
        Self { digit, low_hertz, high_hertz, low_dbm0, high_dbm0, seconds: 0.05, ramp: 0.0 }
    }

    pub(crate) fn detune(&mut self, low: f64, high: f64) {
        self.low_hertz *= 1.0 + low;
        self.high_hertz *= 1.0 + high;
    }

    /// Sets the low group `twist` dB over the high group, the louder of them at `loudest`.
    pub(crate) fn twist(&mut self, twist: f64, loudest: f64) {
        self.low_dbm0 = loudest + twist.min(0.0);
        self.high_dbm0 = loudest - twist.max(0.0);
    }
}

/// One tone that was played, in samples.
#[derive(Clone, Copy)]
struct Mark {
    digit: Digit,
    start: usize,
    end: usize,
    expect: Expect,
}

/// Audio in the making.
pub(crate) struct Scene {
    rate: u32,
    mix: Vec<f32>,
    marks: Vec<Mark>,
    lost: Vec<bool>,
}

impl Scene {
    /// Begins with some 80 ms of silence, so that tones fall anywhere in a packet.
    pub(crate) fn new(dice: &mut Dice, rate: u32) -> Self {
        let lead = dice.between(0.07, 0.09) * f64::from(rate);
        Self { rate, mix: vec![0.0; lead as usize], marks: Vec::new(), lost: Vec::new() }
    }

    pub(crate) fn key(&mut self, dice: &mut Dice, shape: Shape, expect: Expect) -> &mut Self {
        let start = self.mix.len();
        let partial = |hertz, dbm0, phase| Partial { hertz, dbm0, phase };
        let mut phase = || dice.between(0.0, std::f64::consts::TAU);
        let tone = Tone {
            low: partial(shape.low_hertz, shape.low_dbm0, phase()),
            high: partial(shape.high_hertz, shape.high_dbm0, phase()),
            seconds: shape.seconds,
            ramp: shape.ramp,
        };
        let at = |seconds: f64| (seconds * f64::from(self.rate)).round() as usize;
        let end = start + at(shape.seconds);
        let margin = at(shape.ramp);
        let mut burst = vec![0.0; end - start + margin];
        tone.add_to(&mut burst, shape.ramp / 2.0, self.rate);
        self.mix.extend_from_slice(&burst);
        self.marks.push(Mark { digit: shape.digit, start: start + margin / 2, end, expect });
        self
    }

    pub(crate) fn silence(&mut self, seconds: f64) -> &mut Self {
        let samples = (seconds * f64::from(self.rate)).round() as usize;
        self.mix.resize(self.mix.len() + samples, 0.0);
        self
    }

    /// Silences part of the newest tone.
    pub(crate) fn hole(&mut self, from: f64, seconds: f64) -> &mut Self {
        let first = self.newest().start + (from * f64::from(self.rate)) as usize;
        let count = (seconds * f64::from(self.rate)) as usize;
        self.mix[first..first + count].fill(0.0);
        self
    }

    /// Changes the newest tone's level evenly by `decibels` from its beginning to its end.
    pub(crate) fn drift(&mut self, decibels: f64) -> &mut Self {
        let Mark { start, end, .. } = *self.newest();
        for n in start..end {
            let part =
                (n - start) as f64 / (end - start) as f64 - if decibels > 0.0 { 1.0 } else { 0.0 };
            self.mix[n] *= 10_f64.powf(part * decibels / 20.0) as f32;
        }
        self
    }

    /// Repeats or leaves out samples of the newest tone, as unsynchronised clocks make do.
    pub(crate) fn slip(&mut self, at: f64, samples: usize, repeat: bool) -> &mut Self {
        let from = self.newest().start + (at * f64::from(self.rate)) as usize;
        let to = (from + samples).min(self.mix.len());
        if repeat {
            let again = self.mix[from..to].to_vec();
            self.mix.splice(to..to, again);
        } else {
            self.mix.drain(from..to);
        }
        self
    }

    fn newest(&self) -> &Mark {
        self.marks.last().expect("a tone was played before")
    }

    /// Adds white noise, so many dB below the power of the first key.
    pub(crate) fn noise(&mut self, dice: &mut Dice, snr: f64) {
        let Mark { start, end, .. } = self.marks[0];
        let power: f32 =
            self.mix[start..end].iter().map(|s| s * s).sum::<f32>() / (end - start) as f32;
        self.add_noise(dice, f64::from(power).sqrt() * 10_f64.powf(-snr / 20.0));
    }

    /// Adds white noise of the power of a sine at `dbm0`.
    pub(crate) fn hiss(&mut self, dice: &mut Dice, dbm0: f64) {
        self.add_noise(dice, amplitude(dbm0) / 2_f64.sqrt());
    }

    fn add_noise(&mut self, dice: &mut Dice, deviation: f64) {
        for pair in self.mix.chunks_mut(2) {
            for (sample, value) in pair.iter_mut().zip(dice.normal()) {
                *sample += (value * deviation) as f32;
            }
        }
    }

    /// Adds steady sines, each at `dbm0`.
    pub(crate) fn sines(&mut self, hertz: &[f64], dbm0: f64) {
        for (n, sample) in self.mix.iter_mut().enumerate() {
            let t = n as f64 / f64::from(self.rate) * std::f64::consts::TAU;
            let sum: f64 = hertz.iter().map(|f| (f * t).sin()).sum();
            *sample += (amplitude(dbm0) * sum) as f32;
        }
    }

    pub(crate) fn echo(&mut self, delay: f64, decibels: f64) {
        let delay = (delay * f64::from(self.rate)) as usize;
        let gain = 10_f64.powf(decibels / 20.0) as f32;
        let dry = self.mix.clone();
        for (wet, sample) in self.mix.iter_mut().skip(delay).zip(dry) {
            *wet += gain * sample;
        }
    }

    pub(crate) fn direct_current(&mut self, offset: f64) {
        self.mix.iter_mut().for_each(|sample| *sample += offset as f32);
    }

    /// Loses 20 ms packets.
    pub(crate) fn lose(&mut self, dice: &mut Dice, share: f64) {
        let packets = self.mix.len() / (self.rate as usize / 50) + 20;
        self.lost = (0..packets).map(|_| dice.unit() < share).collect();
    }

    /// The finished scene, 300 ms of silence after it.
    pub(crate) fn through(&mut self, channel: Channel) -> Heard {
        self.silence(0.3);
        let mut audio = pcm(&self.mix);
        let law = match channel {
            Channel::Linear => None,
            Channel::MuLaw => Some(Law::Mu),
            Channel::ALaw => Some(Law::A),
        };
        if let Some(law) = law {
            audio.iter_mut().for_each(|sample| *sample = law.decode(law.encode(*sample)));
        }
        listen(&audio, self)
    }
}

/// What a detector reported of a scene.
pub(crate) struct Heard {
    rate: u32,
    marks: Vec<Mark>,
    begins: Vec<(Digit, usize)>,
    hints: Vec<usize>,
    ends: usize,
    lossy: bool,
}

fn listen(audio: &[i16], scene: &Scene) -> Heard {
    let mut decimator = Decimator::new(scene.rate).expect("a rate in use");
    let factor = decimator.factor();
    let mut detector = ToneDetector::new();
    let mut heard = Heard {
        rate: scene.rate,
        marks: scene.marks.clone(),
        begins: Vec::new(),
        hints: Vec::new(),
        ends: 0,
        lossy: !scene.lost.is_empty(),
    };
    let mut note = |report: ToneReport| {
        let at = report.at as usize * factor;
        match report.edge {
            ToneEdge::Hint => heard.hints.push(at),
            ToneEdge::Begin(digit) => heard.begins.push((digit, at)),
            ToneEdge::End(_) => heard.ends += 1,
        }
    };
    for (nth, packet) in audio.chunks(scene.rate as usize / 50).enumerate() {
        if scene.lost.get(nth).copied().unwrap_or(false) {
            decimator.reset();
            detector.erase(packet.len() / factor, &mut note);
        } else {
            let mut narrow = Vec::with_capacity(160);
            decimator.push(packet, &mut |sample| narrow.push(sample));
            detector.hear(&narrow, &mut note);
        }
    }
    heard
}

/// How a detector did on one bar.
struct Bar {
    name: String,
    needed: f64,
    tones: usize,
    right: usize,
    doubled: usize,
    wrong: usize,
    stray: usize,
}

/// All bars and the delays.
pub(crate) struct Bars {
    bars: Vec<Bar>,
    confirm: Vec<f64>,
    hint: Vec<f64>,
}

impl Bars {
    pub(crate) fn new() -> Self {
        Self { bars: Vec::new(), confirm: Vec::new(), hint: Vec::new() }
    }

    /// Counts one scene for the bar of this name.
    pub(crate) fn play(&mut self, name: &str, needed: f64, heard: &Heard) {
        let place = self.bars.iter().position(|bar| bar.name == name).unwrap_or_else(|| {
            let name = name.to_owned();
            self.bars.push(Bar {
                name,
                needed,
                tones: 0,
                right: 0,
                doubled: 0,
                wrong: 0,
                stray: 0,
            });
            self.bars.len() - 1
        });
        let bar = &mut self.bars[place];
        let slack = heard.rate as usize * 60 / 1000;
        let mut claimed = vec![false; heard.begins.len()];
        let refuses = heard.marks.iter().any(|mark| mark.expect == Expect::Nothing);
        for (nth, mark) in heard.marks.iter().enumerate() {
            let next = heard.marks.get(nth + 1).map_or(usize::MAX, |next| next.start + slack / 2);
            let until = (mark.end + slack).min(next);
            let mut mine = Vec::new();
            for (begin, claimed) in heard.begins.iter().zip(&mut claimed) {
                if !*claimed && begin.1 > mark.start && begin.1 <= until {
                    *claimed = true;
                    mine.push(*begin);
                }
            }
            let right = mine.iter().filter(|begin| begin.0 == mark.digit).count();
            match mark.expect {
                Expect::Nothing => {
                    bar.tones += 1;
                    bar.right += usize::from(mine.is_empty());
                }
                Expect::Key => {
                    bar.tones += 1;
                    bar.right += usize::from(right == 1 && mine.len() == 1);
                    bar.doubled += usize::from(right > 1);
                    bar.wrong += mine.len() - right;
                    if !heard.lossy && !refuses && right > 0 {
                        let ms = |at: usize| (at - mark.start) as f64 * 1e3 / f64::from(heard.rate);
                        self.confirm.push(ms(mine[0].1));
                        let hint = heard.hints.iter().find(|at| **at > mark.start && **at < until);
                        self.hint.push(hint.map_or(1e3, |at| ms(*at)));
                    }
                }
            }
        }
        bar.stray += claimed.iter().filter(|claimed| !**claimed).count();
        assert_eq!(heard.ends, heard.begins.len(), "{name}: every key that went down came up");
    }

    pub(crate) fn print(&mut self) {
        println!(
            "{:40} | {:>7} | {:>8} | {:>6} | dup wrong stray",
            "bar", "needed", "reached", "tones"
        );
        for bar in &self.bars {
            println!(
                "{:40} | {:>7} | {:>8.3} | {:>6} | {} {} {}{}",
                bar.name,
                bar.needed,
                bar.reached(),
                bar.tones,
                bar.doubled,
                bar.wrong,
                bar.stray,
                if bar.holds() { "" } else { "   <-- MISSED" }
            );
        }
        for (name, delays, limit) in
            [("confirmed after", &mut self.confirm, 45.0), ("hint after", &mut self.hint, 25.0)]
        {
            delays.sort_by(f64::total_cmp);
            let at = |share: f64| delays[((delays.len() - 1) as f64 * share) as usize];
            let row = format!("{name}, ms: p50 {:.1}, max {:.1}", at(0.5), at(1.0));
            println!("{row:40} | p99 {limit:>3} | {:>8.3} | {:>6}", at(0.99), delays.len());
        }
    }

    pub(crate) fn assert(&self) {
        let missed: Vec<&str> =
            self.bars.iter().filter(|bar| !bar.holds()).map(|bar| bar.name.as_str()).collect();
        assert!(missed.is_empty(), "missed: {missed:?}");
        let p99 = |delays: &[f64]| delays[(delays.len() - 1) * 99 / 100];
        assert!(p99(&self.confirm) <= 45.0, "keys are confirmed too late");
        assert!(p99(&self.hint) <= 25.0, "hints come too late");
    }
}

impl Bar {
    fn reached(&self) -> f64 {
        if self.tones == 0 { 100.0 } else { self.right as f64 * 100.0 / self.tones as f64 }
    }

    fn holds(&self) -> bool {
        self.reached() >= self.needed && self.doubled == 0 && self.wrong == 0 && self.stray == 0
    }
}

/// Telephony's other signals: not one of them is a key.
pub(crate) fn other_signals(dice: &mut Dice) -> Vec<Scene> {
    let steady: &[&[f64]] = &[
        &[350.0, 440.0],
        &[440.0, 480.0],
        &[480.0, 620.0],
        &[425.0],
        &[400.0, 450.0],
        &[1004.0],
        &[2100.0],
        &[1100.0],
        &[2600.0],
        &[1300.0],
        &[941.0],
        &[1336.0],
        &[697.0, 770.0],
        &[1209.0, 1477.0],
        &[950.0],
        &[1400.0],
        &[1800.0],
        &[914.0, 1371.0, 1777.0],
    ];
    let mf_r1 = [700.0, 900.0, 1100.0, 1300.0, 1500.0, 1700.0];
    let r2 = [1380.0, 1500.0, 1620.0, 1740.0, 1860.0, 1980.0];
    let r2_back = [540.0, 660.0, 780.0, 900.0, 1020.0, 1140.0];
    let mut scenes = Vec::new();
    let mut play = |hertz: &[f64], level: f64| {
        let mut scene = Scene::new(dice, 8000);
        scene.silence(0.6).sines(hertz, level);
        scenes.push(scene);
    };
    for level in [-5.0, -15.0, -25.0] {
        steady.iter().for_each(|hertz| play(hertz, level));
        for set in [mf_r1, r2, r2_back] {
            for a in 0..6 {
                for b in a + 1..6 {
                    // R1's 7 is a key to anyone who accepts 1.8 % (700 is 697, 1500 is 1477).
                    if [set[a], set[b]] != [700.0, 1500.0] {
                        play(&[set[a], set[b]], level);
                    }
                }
            }
        }
    }
    for (from, to, seconds) in [(200.0, 3800.0, 10.0), (3800.0, 200.0, 3.0), (600.0, 1700.0, 20.0)]
    {
        let mut scene = Scene::new(dice, 8000);
        scene.silence(seconds).sweep(from, to);
        scenes.push(scene);
    }
    scenes
}

impl Scene {
    /// Something like speech: harmonics of a wandering pitch, coloured anew in every syllable.
    pub(crate) fn voice(&mut self, dice: &mut Dice, dbm0: f64) {
        const SYLLABLE: usize = 1600;
        let mut phase = 0.0;
        let mut pitch = dice.between(90.0, 280.0);
        for syllable in self.mix.chunks_mut(SYLLABLE) {
            let goal = dice.between(90.0, 280.0);
            let formants = [
                (dice.between(300.0, 900.0), 1.0),
                (dice.between(900.0, 2300.0), 0.6),
                (2700.0, 0.3),
            ];
            let length = syllable.len() as f64;
            for (n, sample) in syllable.iter_mut().enumerate() {
                pitch += (goal - pitch) / 1000.0;
                phase += pitch / f64::from(self.rate) * std::f64::consts::TAU;
                let colour = |hertz: f64| -> f64 {
                    let peak =
                        |(peak, gain): &(f64, f64)| gain / (1.0 + ((hertz - peak) / 90.0).powi(2));
                    0.1 + formants.iter().map(peak).sum::<f64>()
                };
                let wave: f64 = (1..24)
                    .map(|nth| colour(f64::from(nth) * pitch) * (phase * f64::from(nth)).sin())
                    .sum();
                let swell = (n as f64 / length * std::f64::consts::PI).sin();
                *sample += (amplitude(dbm0) * wave * swell) as f32;
            }
        }
    }

    /// Two sines, one at 1.15 times the frequency of the other, rising evenly over the scene.
    fn sweep(&mut self, from: f64, to: f64) {
        let length = self.mix.len() as f64;
        let mut phase = 0.0;
        for (n, sample) in self.mix.iter_mut().enumerate() {
            let hertz = from + (to - from) * n as f64 / length;
            phase += hertz / f64::from(self.rate) * std::f64::consts::TAU;
            *sample += (amplitude(-10.0) * (phase.sin() + (phase * 1.15).sin())) as f32;
        }
    }
}
