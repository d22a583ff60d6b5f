//! Ear: what kinds of audio an echo engine hears, judged from the samples alone.

use std::time::{Duration, Instant};

use dtmf::g711::Law;

use super::hearing::{Hearing, Kind, Scribe, power};
use super::spectrum::{Look, WINDOW, look};

/// Samples from one look to the next, 32 ms: a tone of 100 ms fills at least one look.
const HOP: usize = WINDOW / 2;
/// What is quieter is silence: comfort noise is at -60 and less, a faint voice at -40.
const SILENCE_DBM0: f32 = -50.0;
/// Share of the energy in two lines from which on it is a tone. Of 15,000 looks at the voices that
/// this project ships none reaches it, and tones in G.711 have 0.99.
const TONE_SHARE: f32 = 0.95;
/// Tones of networks and keys begin at 350 Hz; a voice that hums may have all its energy in one or
/// two lines below.
const TONE_LOWEST_HZ: f32 = 300.0;
/// Without a packet for so long there is silence.
const PATIENCE: Duration = Duration::from_millis(200);
/// Packets of one key event come closer than this, and audio beside them is not judged.
const KEY_LASTS: Duration = Duration::from_millis(120);

/// Hears one stream.
pub(super) struct Ear {
    law: Law,
    samples: [f32; WINDOW],
    filled: usize,
    kind: Kind,
    /// What it seems to be instead, and how many looks have said so.
    doubt: Option<(Kind, u8)>,
    last_heard: Option<Instant>,
    last_key: Option<Instant>,
    scribe: Scribe,
}

impl Ear {
    /// An ear for one codec, which has heard nothing.
    pub(super) fn new(law: Law) -> Ear {
        Ear {
            law,
            samples: [0.0; WINDOW],
            filled: 0,
            kind: Kind::Silence,
            doubt: None,
            last_heard: None,
            last_key: None,
            scribe: Scribe::default(),
        }
    }

    /// Hears a packet of audio.
    pub(super) fn hear(&mut self, now: Instant, codes: &[u8], transcript: &Hearing) {
        self.last_heard = Some(now);
        for &code in codes {
            // A-law's silence is next to zero, not zero.
            let is_silent = code == self.law.silence();
            let sample = if is_silent { 0.0 } else { f32::from(self.law.decode(code)) };
            self.samples[self.filled] = sample;
            self.filled += 1;
            if self.filled == WINDOW {
                self.judge(now, transcript);
                self.samples.copy_within(HOP.., 0);
                self.filled = WINDOW - HOP;
            }
        }
    }

    /// Hears a packet of a key event; it does not get what is in it.
    pub(super) fn hear_key(&mut self, now: Instant, transcript: &Hearing) {
        (self.last_heard, self.last_key) = (Some(now), Some(now));
        self.turn_to(Kind::KeyEvent);
        self.scribe.note(now, self.kind, None, transcript);
    }

    /// Time has passed, maybe without a packet.
    pub(super) fn wait(&mut self, now: Instant, transcript: &Hearing) {
        let is_quiet = self.last_heard.is_none_or(|last| now >= last + PATIENCE);
        if is_quiet {
            self.turn_to(Kind::Silence);
            self.scribe.note(now, self.kind, None, transcript);
        }
    }

    /// Is certain at once, and forgets what was about to be judged.
    fn turn_to(&mut self, kind: Kind) {
        (self.kind, self.doubt, self.filled) = (kind, None, 0);
    }

    fn judge(&mut self, now: Instant, transcript: &Hearing) {
        if self.last_key.is_some_and(|last| now < last + KEY_LASTS) {
            return;
        }
        let seen = look(&self.samples);
        self.believe(kind_of(seen));
        // What is heard in doubt has the level of neither kind.
        if self.doubt.is_none() {
            let power = Some(seen.power).filter(|power| *power > 0.0);
            self.scribe.note(now, self.kind, power, transcript);
        }
    }

    /// Changes its mind when enough looks in a row agree.
    fn believe(&mut self, seems: Kind) {
        if seems == self.kind {
            self.doubt = None;
            return;
        }
        let before = self.doubt.filter(|(kind, _)| *kind == seems).map_or(0, |(_, looks)| looks);
        self.doubt = Some((seems, before + 1));
        if before + 1 >= looks_needed(self.kind, seems) {
            (self.kind, self.doubt) = (seems, None);
        }
    }
}

/// What one look shows.
fn kind_of(seen: Look) -> Kind {
    if seen.power < power(SILENCE_DBM0) {
        Kind::Silence
    } else if seen.share >= TONE_SHARE && seen.strongest_hz >= TONE_LOWEST_HZ {
        Kind::Tone
    } else {
        Kind::Voice
    }
}

/// Looks in a row that it takes to be believed. An edge of a tone looks like a voice for two, the
/// pause between two keys for five; within a sentence there is silence for a quarter of a second.
const fn looks_needed(before: Kind, seems: Kind) -> u8 {
    match (before, seems) {
        (_, Kind::Tone | Kind::KeyEvent) => 1,
        (Kind::Tone, Kind::Voice) => 6,
        (Kind::Silence | Kind::Voice | Kind::KeyEvent, Kind::Voice) => 3,
        (_, Kind::Silence) => 8,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use dtmf::Digit;
    use dtmf::g711::Law;
    use dtmf::synth::tone::{amplitude, dial, pcm};
    use loadtest::{Speech, Voice};
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::Ear;
    use crate::clock;
    use crate::echo::hearing::{Heard, Hearing, Kind, Next};

    const LAWS: [Law; 2] = [Law::Mu, Law::A];
    const FRAME: usize = 160;

    /// Everything that an ear says of what it hears in frames of 20 ms.
    fn transcript(law: Law, codes: &[u8]) -> Vec<Heard> {
        let (mut ear, hearing, mut now) = (Ear::new(law), Hearing::default(), clock::monotonic());
        ear.wait(now, &hearing);
        for frame in codes.chunks(FRAME) {
            ear.hear(now, frame, &hearing);
            now += Duration::from_millis(20);
        }
        read(&hearing)
    }

    fn read(hearing: &Hearing) -> Vec<Heard> {
        let mut heard = Vec::new();
        while let Next::Told(told) = hearing.next(heard.len() as u64) {
            heard.push(told.tale);
        }
        heard
    }

    fn kinds(heard: &[Heard]) -> Vec<Kind> {
        let mut kinds: Vec<Kind> = heard.iter().map(|heard| heard.kind).collect();
        kinds.dedup();
        kinds
    }

    fn encode(law: Law, pcm: &[i16]) -> Vec<u8> {
        pcm.iter().map(|&sample| law.encode(sample)).collect()
    }

    fn sines(law: Law, parts: &[(f64, f64)], samples: usize) -> Vec<u8> {
        let wave = |n: usize| {
            let t = std::f64::consts::TAU * n as f64 / 8000.0;
            parts.iter().map(|(hertz, dbm0)| amplitude(*dbm0) * (t * hertz).sin()).sum::<f64>()
        };
        let mix: Vec<f32> = (0..samples).map(|n| wave(n) as f32).collect();
        encode(law, &pcm(&mix))
    }

    fn noise(law: Law, dbm0: f64, samples: usize) -> Vec<u8> {
        let mut random = StdRng::seed_from_u64(1);
        // Evenly spread noise of that power: a sine of amplitude a has a^2 / 2, this has a^2 / 3.
        let peak = amplitude(dbm0) * 1.5_f64.sqrt();
        let mix: Vec<f32> = (0..samples).map(|_| random.random_range(-peak..peak) as f32).collect();
        encode(law, &pcm(&mix))
    }

    #[test]
    fn digital_silence_has_no_level() {
        for law in LAWS {
            let heard = transcript(law, &vec![law.silence(); 16_000]);
            assert_eq!(kinds(&heard), [Kind::Silence], "{law:?}");
            assert!(
                heard.len() >= 4 && heard.iter().all(|it| it.level_dbm0.is_none()),
                "{heard:?}"
            );
        }
    }

    #[test]
    fn comfort_noise_is_silence_with_a_level() {
        for law in LAWS {
            let heard = transcript(law, &noise(law, -60.0, 16_000));
            assert_eq!(kinds(&heard), [Kind::Silence], "{law:?}");
            let levels: Vec<_> = heard.iter().filter_map(|it| it.level_dbm0).collect();
            assert!(
                levels.len() >= 3 && levels.iter().all(|it| (-63..=-57).contains(it)),
                "{heard:?}"
            );
        }
    }

    #[test]
    fn the_shipped_voice_is_a_voice_and_never_a_tone() {
        for law in LAWS {
            let mut codes = vec![0; 8000 * 12];
            Voice::shipped(law).fill(&mut codes);
            let heard = transcript(law, &codes);
            assert!(heard.iter().all(|it| it.kind != Kind::Tone), "{law:?}: {heard:?}");
            let quiet = |it: &Heard| it.level_dbm0.is_none_or(|level| level <= -50);
            assert!(heard.iter().all(|it| quiet(it) == (it.kind == Kind::Silence)), "{heard:?}");
            let voiced = heard.iter().filter(|it| it.kind == Kind::Voice).count();
            assert!(voiced * 2 > heard.len(), "{law:?}: {heard:?}");
            let level =
                heard.iter().filter(|it| it.kind == Kind::Voice).filter_map(|it| it.level_dbm0);
            assert!(level.clone().all(|it| (-50..=0).contains(&it)), "{heard:?}");
            assert!(level.clone().any(|it| it > -30), "{heard:?}");
        }
    }

    #[test]
    fn noise_as_loud_as_a_voice_is_no_tone() {
        for law in LAWS {
            let heard = transcript(law, &noise(law, -20.0, 16_000));
            assert_eq!(kinds(&heard), [Kind::Silence, Kind::Voice], "{law:?}");
        }
    }

    #[test]
    fn single_tones_and_pairs_of_networks_are_tones() {
        let pairs: [&[(f64, f64)]; 7] = [
            &[(425.0, -10.0)],
            &[(1004.0, -3.0)],
            &[(2100.0, -12.0)],
            &[(350.0, -13.0), (440.0, -13.0)],
            &[(480.0, -24.0), (620.0, -24.0)],
            &[(1100.0, -45.0)],
            &[(3400.0, -20.0)],
        ];
        for law in LAWS {
            for parts in pairs {
                let heard = transcript(law, &sines(law, parts, 8000));
                assert_eq!(kinds(&heard), [Kind::Silence, Kind::Tone], "{law:?} {parts:?}");
                let wanted =
                    parts.iter().map(|part| 10_f64.powf(part.1 / 10.0)).sum::<f64>().log10();
                let level = heard.last().and_then(|it| it.level_dbm0).map_or(0.0, f64::from);
                assert!((level - 10.0 * wanted).abs() <= 1.0, "{law:?} {parts:?}: {level}");
            }
        }
    }

    #[test]
    fn keys_as_tones_are_tones_whichever_they_are() {
        let keys: Vec<Digit> =
            b"0123456789*#ABCD".iter().filter_map(|it| Digit::from_ascii(*it)).collect();
        assert_eq!(keys.len(), 16);
        for law in LAWS {
            let alone: Vec<Vec<Heard>> = keys
                .iter()
                .map(|&key| {
                    transcript(
                        law,
                        &encode(law, &[dial(&[key], 0.6, 8000), vec![0; 4000]].concat()),
                    )
                })
                .collect();
            for heard in &alone {
                assert_eq!(kinds(heard), [Kind::Silence, Kind::Tone, Kind::Silence], "{law:?}");
                // What is told of one key is what is told of any.
                assert_eq!(heard, &alone[0], "{law:?}");
            }
            let all = transcript(law, &encode(law, &dial(&keys, 0.08, 8000)));
            assert_eq!(kinds(&all), [Kind::Silence, Kind::Tone], "{law:?}");
        }
    }

    #[test]
    fn a_key_event_is_told_as_one_and_then_audio_again() {
        let (mut ear, hearing, begun) = (Ear::new(Law::Mu), Hearing::default(), clock::monotonic());
        let mut voice = Voice::shipped(Law::Mu);
        let mut frame = [0; FRAME];
        ear.wait(begun, &hearing);
        // Half a second of a voice; a key held for 200 ms, in packets of 50 ms; a voice again.
        for ms in (0..1400_u64).step_by(10) {
            let now = begun + Duration::from_millis(ms);
            match ms {
                500..700 if ms % 50 == 0 => ear.hear_key(now, &hearing),
                500..700 => {}
                _ if ms % 20 == 0 => {
                    voice.fill(&mut frame);
                    ear.hear(now, &frame, &hearing);
                }
                _ => {}
            }
            ear.wait(now, &hearing);
        }
        let heard = read(&hearing);
        let expected = [Kind::Silence, Kind::Voice, Kind::KeyEvent, Kind::Voice];
        assert_eq!(kinds(&heard), expected, "{heard:?}");
        let event = heard.iter().find(|it| it.kind == Kind::KeyEvent);
        assert_eq!(event.and_then(|it| it.level_dbm0), None);
    }

    #[test]
    fn where_nothing_comes_there_is_silence() {
        let (mut ear, hearing, begun) = (Ear::new(Law::Mu), Hearing::default(), clock::monotonic());
        for n in 0..100 {
            let now = begun + n * Duration::from_millis(20);
            if (10..30).contains(&n) {
                ear.hear(now, &sines(Law::Mu, &[(1000.0, -10.0)], FRAME), &hearing);
            }
            ear.wait(now, &hearing);
        }
        let heard = read(&hearing);
        assert_eq!(kinds(&heard), [Kind::Silence, Kind::Tone, Kind::Silence], "{heard:?}");
        assert_eq!(heard.last().and_then(|it| it.level_dbm0), None);
    }
}
