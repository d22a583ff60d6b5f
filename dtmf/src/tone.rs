//! `ToneDetector`: key presses in telephone audio.

use zeroize::Zeroize as _;

use crate::Digit;
use crate::goertzel::HOP;
use crate::tone_judge::{Evidence, judge, promising, strong};
use crate::tone_trace::{LOOK_DELAY, LOOKS, Pair, Trace};

/// Looks without the tone after which a press has ended: 27.5 ms, between the 20 ms that must
/// be bridged (ETSI ES 201 235-3) and the 40 ms that must part two presses (ITU-T Q.24).
const RELEASE: u32 = 11;
/// Lost hops after which a press is taken to have ended, 200 ms.
const RELEASE_UNHEARD: u32 = 80;
/// Looks in a row that make a hint.
const HINT: u32 = 6;
/// Looks in a row that are worth judging.
const WORTH: u32 = 7;

/// What was heard.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum ToneEdge {
    /// Something that may become a key, some 15 ms after it began; nothing may follow.
    Hint,
    /// A key has been down for 31 ms.
    Begin(Digit),
    /// The key last begun is up again.
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

/// Hears the keys in one direction of one call, 8000 samples a second.
pub struct ToneDetector {
    trace: Trace,
    pending: [i16; HOP],
    filled: usize,
    at: u64,
    run: Run,
    press: Option<Press>,
    /// Looks taken since the last press ended; older ones belong to it.
    since: usize,
    suspect: Option<u64>,
}

/// Looks in a row that show the same pair.
struct Run {
    pair: Pair,
    length: u32,
    hinted: bool,
}

/// A key that is down.
struct Press {
    digit: Digit,
    pair: Pair,
    began: u64,
    low: f32,
    high: f32,
    absent: u32,
    quiet: u32,
    unknown: u32,
}

impl ToneDetector {
    /// A detector that has heard nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            trace: Trace::new(),
            pending: [0; HOP],
            filled: 0,
            at: 0,
            run: Run { pair: Pair { low: 0, high: 4 }, length: 0, hinted: false },
            press: None,
            since: 0,
            suspect: None,
        }
    }

    /// Listens to the next samples.
    pub fn hear(&mut self, pcm: &[i16], report: &mut impl FnMut(ToneReport)) {
        let wanted = (HOP - self.filled) % HOP;
        let (head, rest) = pcm.split_at(wanted.min(pcm.len()));
        self.pending[self.filled..self.filled + head.len()].copy_from_slice(head);
        self.filled += head.len();
        self.at += head.len() as u64;
        if self.filled == HOP {
            self.filled = 0;
            let hop = self.pending;
            self.step(&hop, report);
        }
        let (hops, tail) = rest.as_chunks::<HOP>();
        for hop in hops {
            self.at += HOP as u64;
            self.step(hop, report);
        }
        if !tail.is_empty() {
            self.pending[..tail.len()].copy_from_slice(tail);
            self.filled = tail.len();
            self.at += tail.len() as u64;
        }
    }

    /// Lets time pass of which the audio was lost: neither tone nor silence is concluded from it.
    ///
    /// Audio that a decoder made up for a lost packet must not be heard instead.
    pub fn erase(&mut self, samples: usize, report: &mut impl FnMut(ToneReport)) {
        let hops = (samples + self.filled + HOP / 2) / HOP;
        self.filled = 0;
        self.at += samples as u64;
        self.trace.erase(hops);
        self.since = (self.since + hops).min(LOOKS);
        if let Some(press) = &mut self.press {
            press.unknown = press.unknown.saturating_add(u32::try_from(hops).unwrap_or(u32::MAX));
        }
        self.confirm(report);
        self.release(report);
    }

    /// The last sample at which anything like a key's tones was heard.
    #[must_use]
    pub const fn last_suspect(&self) -> Option<u64> {
        self.suspect
    }

    fn step(&mut self, hop: &[i16; HOP], report: &mut impl FnMut(ToneReport)) {
        self.trace.hear(hop);
        self.since = (self.since + 1).min(LOOKS);
        let look = self.trace.look(0);
        if look.tonal {
            self.suspect = Some(self.at);
            if self.run.pair != look.pair || self.run.length == 0 {
                self.run = Run { pair: look.pair, length: 0, hinted: false };
            }
            self.run.length += 1;
        } else if look.known {
            self.run.length = 0;
        }
        let ripe = !self.run.hinted && self.run.length >= HINT && !self.is_down(self.run.pair);
        if ripe && promising(&self.trace, self.run.pair) {
            self.run.hinted = true;
            let began = self.at.saturating_sub((HINT as usize * HOP + LOOK_DELAY) as u64);
            report(ToneReport { edge: ToneEdge::Hint, at: self.at, began });
        }
        if self.run.length >= WORTH || self.run.length >= 3 && !self.trace.look(LOOKS / 2).known {
            self.confirm(report);
        }
        self.follow();
        self.release(report);
    }

    fn is_down(&self, pair: Pair) -> bool {
        self.press.as_ref().is_some_and(|press| press.pair == pair)
    }

    /// Reports the tone of the current run if it is a key that isn't down already.
    fn confirm(&mut self, report: &mut impl FnMut(ToneReport)) {
        let pair = self.run.pair;
        if self.run.length == 0 || self.is_down(pair) {
            return;
        }
        let Some(digit) = digit(pair) else { return };
        let Some(Evidence { age, low, high }) = judge(&self.trace, pair, self.since) else {
            return;
        };
        self.end(report);
        let began = self.at.saturating_sub((age * HOP as f32) as u64 + LOOK_DELAY as u64);
        report(ToneReport { edge: ToneEdge::Begin(digit), at: self.at, began });
        self.press =
            Some(Press { digit, pair, began, low, high, absent: 0, quiet: 0, unknown: 0 });
    }

    /// Follows the key that is down through the newest look.
    fn follow(&mut self) {
        let Some(press) = &mut self.press else { return };
        let look = self.trace.look(0);
        if self.trace.hop_power() < 0.2 * (press.low + press.high) / 2.0 {
            press.quiet += 1;
        }
        if !look.known {
            press.unknown += 1;
        } else if strong(look, press.pair, press.low, press.high) {
            press.low += 0.25 * (look.low.power() - press.low);
            press.high += 0.25 * (look.high.power() - press.high);
            (press.absent, press.quiet, press.unknown) = (0, 0, 0);
        } else {
            press.absent += 1;
        }
    }

    fn release(&mut self, report: &mut impl FnMut(ToneReport)) {
        let Some(press) = &mut self.press else { return };
        let lossy = press.unknown > 0 && press.quiet >= 4 && press.quiet + press.unknown >= 14;
        if press.absent >= RELEASE || press.quiet >= RELEASE || lossy {
            if self.run.pair == press.pair && self.run.length >= 6 {
                // Still the same tone, only weaker: an echo would be gone by now.
                let look = self.trace.look(0);
                (press.low, press.high) = (look.low.power(), look.high.power());
                (press.absent, press.quiet, press.unknown) = (0, 0, 0);
                return;
            }
            self.end(report);
        } else if press.unknown >= RELEASE_UNHEARD {
            self.end(report);
        }
    }

    fn end(&mut self, report: &mut impl FnMut(ToneReport)) {
        if let Some(press) = self.press.take() {
            report(ToneReport { edge: ToneEdge::End(press.digit), at: self.at, began: press.began });
            self.since = 0;
        }
    }
}

impl Default for ToneDetector {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for ToneDetector {
    fn drop(&mut self) {
        self.pending.zeroize();
    }
}

/// The keypad: rows are the low group, columns the high group (ITU-T Q.23).
const KEYPAD: [u8; 16] = *b"123A456B789C*0#D";

fn digit(pair: Pair) -> Option<Digit> {
    let index = usize::from(pair.low) * 4 + usize::from(pair.high) - 4;
    KEYPAD.get(index).and_then(|&key| Digit::from_ascii(key))
}
