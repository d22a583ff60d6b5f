//! `ToneDetector`: key presses in telephone audio.
//!
//! Audio is heard a packet at a time: the eight hops of 20 ms are measured side by side, by the
//! widest registers that the processor has. Shorter blocks cost as much as a packet does.
//!
//! Every 2.5 ms the eight frequencies are measured over the last 12.5 ms (`Trace`). Once the same
//! pair has stood out for a while, all that the last 80 ms say about it is weighed (`judge`):
//! length, frequencies, levels, and how much it is like two sines and nothing else. After that
//! only the presence of the pair is followed until it has been away long enough.

use fearless_simd::{Level as Instructions, dispatch};
use zeroize::Zeroize;

use crate::Digit;
use crate::hop_rows::HOP;
use crate::tone_ear::{LOOK_DELAY, ToneEar};
use crate::tone_judge::{Evidence, Level, is_promising, is_strong, judge};
use crate::tone_trace::{LOOKS, Look, Pair, Trace};

/// Looks without the tone after which a press has ended: 27.5 ms, between the 20 ms that must
/// be bridged (ETSI ES 201 235-3) and the 40 ms that must part two presses (ITU-T Q.24).
const RELEASE: u32 = 11;
/// Hops, partly lost, after which a press has ended if [`MIN_QUIET`] of them were silent: 35 ms.
const RELEASE_WITH_LOSS: u32 = 14;
/// 7.5 ms of silence: less may be a hole in the tone.
const MIN_QUIET: u32 = 3;
/// Lost hops after which a press is taken to have ended, 200 ms.
const RELEASE_UNHEARD: u32 = 80;

/// Looks in a row that make a suspect: what a tone of 10 ms leaves.
const SUSPECT: u32 = 4;
/// Looks in a row that may make a hint: the newest four then lie wholly in the tone.
const HINT: u32 = 6;
/// Looks in a row that are worth judging.
const WORTH: u32 = 7;
/// The same near a loss.
const WORTH_WITH_LOSS: u32 = 3;

/// The keypad: rows are the low group, columns the high group (ITU-T Q.23).
const KEYPAD: [[u8; 4]; 4] = [*b"123A", *b"456B", *b"789C", *b"*0#D"];

/// What was heard.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum ToneEdge {
    /// Something that may become a key, some 20 ms after it began; nothing may follow.
    Hint,
    /// A key, known some 36 ms after it went down.
    Begin(Digit),
    /// The key last begun is up again, known some 34 ms after that.
    End(Digit),
}

/// An edge and its place in the audio.
#[derive(Clone, Copy)]
pub struct ToneReport {
    /// What was heard.
    pub edge: ToneEdge,
    /// Samples heard or erased when it was known.
    pub at: u64,
    /// Estimated first sample of the tone.
    pub began: u64,
}

/// Hears the keys in one direction of one call: 16-bit samples, 8000 a second.
///
/// It keeps to ITU-T Q.24 in the union of its AT&T and NTT columns with ETSI ES 201 235-3:
/// frequencies to 1.8 %, twist -6 to +10 dB, tones from 40 ms, pauses from 40 ms, holes up to
/// 20 ms; it works down to -42 dBm0 a tone and 6 dB over noise.
///
/// Fixed in size, without allocation, wiped when dropped.
pub struct ToneDetector {
    ear: ToneEar,
    trace: Trace,
    /// Samples heard or erased up to the end of the newest hop.
    at: u64,
    run: Run,
    press: Option<Press>,
    /// Looks taken since the last press ended, at most [`LOOKS`]; older ones belong to it.
    since_press: usize,
    last_suspect: Option<u64>,
}

/// Looks in a row that show the same pair.
struct Run {
    pair: Pair,
    length: u32,
    hinted: bool,
}

/// A key that is down.
struct Press {
    pair: Pair,
    began: u64,
    level: Level,
    /// What there was since the tone was last there.
    gap: Gap,
}

/// Time without the tone, in hops; a hop can count twice.
#[derive(Default)]
struct Gap {
    /// Looks without the tone.
    absent: u32,
    /// Hops in a row without the power that the tone had, known sooner than looks are.
    quiet: u32,
    /// Looks without audio.
    unknown: u32,
}

impl ToneDetector {
    /// A detector that has heard nothing but silence.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            ear: ToneEar::new(),
            trace: Trace::new(),
            at: 0,
            run: Run { pair: Pair::FIRST, length: 0, hinted: false },
            press: None,
            since_press: 0,
            last_suspect: None,
        }
    }

    /// Listens to the next samples.
    pub fn hear(&mut self, pcm: &[i16], report: &mut impl FnMut(ToneReport)) {
        self.hear_by(Instructions::new(), pcm, report);
    }

    /// Listens by way of these `instructions` of the processor.
    fn hear_by(
        &mut self,
        instructions: Instructions,
        pcm: &[i16],
        report: &mut impl FnMut(ToneReport),
    ) {
        let mut rest = pcm;
        while !rest.is_empty() {
            dispatch!(instructions, simd => {
                rest = self.ear.take(simd, rest);
                if self.ear.hops() > 0 {
                    let looks = self.ear.look(simd);
                    self.trace.begin(self.ear.hops());
                    self.trace.take(&looks);
                }
            });
            self.follow(self.ear.hops(), report);
        }
    }

    /// Follows the looks at the last `hops` hops.
    fn follow(&mut self, hops: usize, report: &mut impl FnMut(ToneReport)) {
        // Nearly always there is nothing to follow.
        if self.press.is_none() && self.run.length == 0 && !self.trace.has_fresh_tone() {
            self.trace.skip(hops);
            self.at += (hops * HOP) as u64;
            self.since_press = (self.since_press + hops).min(LOOKS);
            return;
        }
        for age in (0..hops).rev() {
            self.trace.advance();
            self.step(self.ear.hop_power(age), report);
        }
    }

    /// Lets time pass of which the audio was lost: neither tone nor silence is concluded from it.
    ///
    /// Audio that a decoder made up for a lost packet must not be heard instead.
    pub fn erase(&mut self, samples: usize, report: &mut impl FnMut(ToneReport)) {
        let pending = self.ear.pending();
        let hops = (samples.saturating_add(pending + HOP / 2)) / HOP;
        self.at += pending as u64 + samples as u64;
        self.ear.erase();
        self.trace.erase(hops);
        self.since_press = self.since_press.saturating_add(hops).min(LOOKS);
        if let Some(press) = &mut self.press {
            let hops = u32::try_from(hops).unwrap_or(u32::MAX);
            press.gap.unknown = press.gap.unknown.saturating_add(hops);
        }
        self.confirm(report);
        self.release(report);
    }

    /// The last sample at which anything like a key's tones was heard: fainter ones than a key's,
    /// shorter and less clean.
    #[must_use]
    pub const fn last_suspect(&self) -> Option<u64> {
        self.last_suspect
    }

    fn step(&mut self, hop_power: f32, report: &mut impl FnMut(ToneReport)) {
        self.at += HOP as u64;
        self.since_press = (self.since_press + 1).min(LOOKS);
        self.run.take(&self.trace.look(0));
        if self.run.length >= SUSPECT {
            self.last_suspect = Some(self.at);
        }
        self.hint(report);
        let worth = if self.trace.is_lossy() { WORTH_WITH_LOSS } else { WORTH };
        if self.run.length >= worth {
            self.confirm(report);
        }
        if let Some(press) = &mut self.press {
            press.follow(&self.trace.look(0), hop_power);
            self.release(report);
        }
    }

    fn hint(&mut self, report: &mut impl FnMut(ToneReport)) {
        let Run { pair, length, hinted } = self.run;
        if length >= HINT && !hinted && !self.is_down(pair) && is_promising(&self.trace, pair) {
            self.run.hinted = true;
            let began = self.began(length as f32);
            report(ToneReport { edge: ToneEdge::Hint, at: self.at, began });
        }
    }

    /// Reports the tone of the current run if it is a key that isn't down already.
    fn confirm(&mut self, report: &mut impl FnMut(ToneReport)) {
        let pair = self.run.pair;
        if self.run.length == 0 || self.is_down(pair) {
            return;
        }
        let Some(digit) = digit(pair) else { return };
        let Some(Evidence { age, level }) = judge(&self.trace, pair, self.since_press) else {
            return;
        };
        self.end(report);
        let began = self.began(age);
        report(ToneReport { edge: ToneEdge::Begin(digit), at: self.at, began });
        self.press = Some(Press { pair, began, level, gap: Gap::default() });
    }

    /// Ends the press whose tone has been away for too long.
    fn release(&mut self, report: &mut impl FnMut(ToneReport)) {
        let Some(press) = &mut self.press else { return };
        let look = self.trace.look(0);
        if press.gap.unknown >= RELEASE_UNHEARD {
            self.end(report);
        } else if press.gap.is_pause() {
            if look.tonal && self.run.pair == press.pair && self.run.length >= HINT {
                // Still the same tone, only weaker: an echo would be gone by now.
                press.level = look.level();
                press.gap = Gap::default();
            } else {
                self.end(report);
            }
        }
    }

    fn end(&mut self, report: &mut impl FnMut(ToneReport)) {
        let Some(press) = &mut self.press else { return };
        let began = press.began;
        let digit = digit(press.pair);
        press.pair.zeroize();
        self.press = None;
        self.since_press = 0;
        if let Some(digit) = digit {
            report(ToneReport { edge: ToneEdge::End(digit), at: self.at, began });
        }
    }

    fn is_down(&self, pair: Pair) -> bool {
        self.press.as_ref().is_some_and(|press| press.pair == pair)
    }

    /// The sample `age` hops before the middle of the newest look.
    fn began(&self, age: f32) -> u64 {
        self.at.saturating_sub((age * HOP as f32) as u64 + LOOK_DELAY as u64)
    }
}

impl Run {
    fn take(&mut self, look: &Look) {
        if look.tonal {
            if self.pair != look.pair || self.length == 0 {
                *self = Self { pair: look.pair, length: 0, hinted: false };
            }
            self.length = self.length.saturating_add(1);
        } else if look.known {
            self.length = 0;
        }
    }
}

impl Press {
    /// Follows the tone through the newest look.
    ///
    /// Inlined, as a look is put together from its figures: handed over, it is written in pieces
    /// and read back whole, which a processor waits for.
    #[inline(always)]
    fn follow(&mut self, look: &Look, hop_power: f32) {
        /// How fast the level follows the tone, of which a line can make more or less.
        const PACE: f32 = 0.25;
        /// Share of the tone's power below which it can't be there.
        const QUIET: f32 = 0.2;
        let Level { low, high } = self.level;
        let is_quiet = hop_power < QUIET * (low + high) / 2.0;
        self.gap.quiet = if is_quiet { self.gap.quiet + 1 } else { 0 };
        if !look.known {
            self.gap.unknown = self.gap.unknown.saturating_add(1);
        } else if is_strong(look, self.pair, self.level) {
            let now = look.level();
            self.level =
                Level { low: low + PACE * (now.low - low), high: high + PACE * (now.high - high) };
            (self.gap.absent, self.gap.unknown) = (0, 0);
        } else {
            self.gap.absent += 1;
        }
    }
}

impl Gap {
    /// Whether the tone has been away for longer than any hole in it lasts.
    fn is_pause(&self) -> bool {
        let with_loss = self.unknown > 0
            && self.quiet >= MIN_QUIET
            && self.quiet.saturating_add(self.unknown) >= RELEASE_WITH_LOSS;
        self.absent >= RELEASE || self.quiet >= RELEASE || with_loss
    }
}

impl Default for ToneDetector {
    fn default() -> Self {
        Self::new()
    }
}

impl Zeroize for ToneDetector {
    /// Forgets everything; what comes next is heard as after a loss.
    fn zeroize(&mut self) {
        self.ear.zeroize();
        self.trace.zeroize();
        self.run.pair.zeroize();
        self.run.length.zeroize();
        self.run.hinted.zeroize();
        if let Some(press) = &mut self.press {
            press.pair.zeroize();
            press.level.low.zeroize();
            press.level.high.zeroize();
        }
        self.press = None;
        self.since_press.zeroize();
        self.last_suspect.zeroize();
    }
}

impl Drop for ToneDetector {
    fn drop(&mut self) {
        self.zeroize();
    }
}

fn digit(pair: Pair) -> Option<Digit> {
    Digit::from_ascii(*KEYPAD.get(pair.row())?.get(pair.column())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synth::tone::dial;

    /// Begins and ends, as the key's character and its place.
    fn listen(detector: &mut ToneDetector, audio: &[i16], block: usize) -> Vec<(char, char, u64)> {
        let mut edges = Vec::new();
        for pcm in audio.chunks(block) {
            detector.hear(pcm, &mut |report| match report.edge {
                ToneEdge::Hint => edges.push(('?', ' ', report.at)),
                ToneEdge::Begin(digit) => {
                    edges.push(('+', char::from(digit.to_ascii()), report.at));
                }
                ToneEdge::End(digit) => edges.push(('-', char::from(digit.to_ascii()), report.at)),
            });
        }
        edges
    }

    fn keys(edges: &[(char, char, u64)]) -> String {
        edges.iter().filter(|edge| edge.0 == '+').map(|edge| edge.1).collect()
    }

    #[test]
    fn every_key_is_heard_once_between_a_hint_and_an_end() {
        let audio = dial(&Digit::ALL, 0.07, 8000);
        let edges = listen(&mut ToneDetector::new(), &audio, 160);
        let kinds: String = edges.iter().map(|edge| edge.0).collect();
        assert_eq!(kinds, "?+-".repeat(16));
        assert_eq!(keys(&edges), "0123456789*#ABCD");
        let order = edges.chunks(3).zip(0..).all(|(edge, nth)| {
            let start = nth * 1360;
            edge[0].2 < start + 200 && edge[1].2 < start + 360 && edge[2].2 < start + 1200
        });
        assert!(order, "hints within 25 ms, begins within 45 ms, ends within 50 ms");
    }

    #[test]
    fn blocks_of_any_length_make_no_difference() {
        let audio = dial(&Digit::ALL, 0.05, 8000);
        let whole = listen(&mut ToneDetector::new(), &audio, audio.len());
        for block in [1, 7, 20, 33, 160, 1000] {
            assert!(listen(&mut ToneDetector::new(), &audio, block) == whole, "blocks of {block}");
        }
    }

    /// What one detector reports of keys in noise, in blocks of chance lengths, some of them lost.
    fn hear_keys_in_noise(instructions: Instructions, seed: u64) -> Vec<(u8, u64, u64)> {
        let mut state = seed;
        let mut chance = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % below
        };
        let mut audio = dial(&Digit::ALL, 0.05, 8000);
        let noise = 1 + chance(3000);
        audio.iter_mut().for_each(|sample| *sample /= 2);
        audio.iter_mut().for_each(|sample| *sample += chance(noise) as i16);
        let mut detector = ToneDetector::new();
        let mut reports = Vec::new();
        let mut note = |report: ToneReport| {
            let edge = match report.edge {
                ToneEdge::Hint => b'?',
                ToneEdge::Begin(digit) => digit.to_ascii(),
                ToneEdge::End(_) => b'-',
            };
            reports.push((edge, report.at, report.began));
        };
        let mut rest = &audio[..];
        while !rest.is_empty() {
            let block = if chance(4) > 0 { 160 } else { chance(400) as usize };
            let (head, tail) = rest.split_at(block.min(rest.len()));
            match chance(20) {
                0 => detector.erase(head.len(), &mut note),
                _ => detector.hear_by(instructions, head, &mut note),
            }
            rest = tail;
        }
        reports.push((b' ', detector.last_suspect().unwrap_or(0), detector.at));
        reports
    }

    /// What a processor has between the least and the widest instructions.
    #[cfg(target_arch = "x86_64")]
    fn between(widest: Instructions) -> Vec<Instructions> {
        let sse = widest.as_sse4_2().map(Instructions::Sse4_2);
        sse.into_iter().chain(widest.as_avx2().map(Instructions::Avx2)).collect()
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn between(_: Instructions) -> Vec<Instructions> {
        Vec::new()
    }

    #[test]
    fn every_processor_hears_the_same_keys_at_the_same_samples() {
        let widest = Instructions::new();
        let others = [vec![Instructions::baseline()], between(widest)].concat();
        for seed in 0..200 {
            let reports = hear_keys_in_noise(widest, seed);
            assert!(reports.len() > 20, "keys are heard");
            for other in &others {
                assert!(hear_keys_in_noise(*other, seed) == reports, "{other:?}, seed {seed}");
            }
        }
    }

    #[test]
    fn onsets_are_placed_to_the_millisecond() {
        for lead in [0, 3, 500, 1111] {
            let mut audio = vec![0; lead];
            audio.extend(dial(&[Digit::Five], 0.1, 8000));
            let mut began = None;
            ToneDetector::new().hear(&audio, &mut |report| began = Some(report.began));
            let error = began.unwrap().abs_diff(lead as u64);
            assert!(error <= 16, "{error} samples off after {lead}");
        }
    }

    #[test]
    fn a_tone_under_way_goes_on_through_losses_and_ends_when_nothing_more_is_heard() {
        let mut audio = dial(&[Digit::Eight], 0.0, 8000);
        let tone = audio.clone();
        audio.extend(tone);
        let mut detector = ToneDetector::new();
        let mut edges = String::new();
        let mut note = |report: ToneReport| {
            edges.push(match report.edge {
                ToneEdge::Hint => '?',
                ToneEdge::Begin(_) => '+',
                ToneEdge::End(_) => '-',
            });
        };
        detector.hear(&audio[..480], &mut note);
        detector.erase(160, &mut note);
        detector.hear(&audio[640..800], &mut note);
        detector.erase(usize::MAX / 2, &mut note);
        assert_eq!(edges, "?+-");
    }

    #[test]
    fn a_wiped_detector_remembers_no_key() {
        let audio = dial(&[Digit::Nine], 0.0, 8000);
        let mut detector = ToneDetector::new();
        assert_eq!(keys(&listen(&mut detector, &audio[..600], 160)), "9");
        assert!(detector.press.is_some() && detector.run.pair != Pair::FIRST);
        detector.zeroize();
        assert!(detector.press.is_none() && detector.run.pair == Pair::FIRST);
        assert!(detector.last_suspect().is_none());
        assert!(listen(&mut detector, &[0; 800], 160).is_empty(), "no end of a forgotten key");
    }

    #[test]
    fn suspects_are_fainter_and_shorter_than_keys() {
        let mut audio = dial(&[Digit::Two], 0.1, 8000);
        audio.iter_mut().for_each(|sample| *sample /= 80);
        let mut detector = ToneDetector::new();
        assert_eq!(keys(&listen(&mut detector, &audio, 160)), "", "-47 dBm0 is no key");
        assert!(detector.last_suspect().is_some_and(|at| (800..1000).contains(&at)));
        assert!(size_of::<ToneDetector>() <= 2304);
    }
}
