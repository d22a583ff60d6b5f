//! `Detector`: every way a key press can reach us, merged so that one press counts once.
//!
//! A caller's key may come as telephone events, as a tone in the audio, as a signalled digit
//! (SIP INFO, REST), or as several of these. A press counts if it *began* within the session:
//! one that was under way when the detector was made is recognised and left out.

use std::time::{Duration, Instant};

use crate::digit::Digit;
use crate::event_receiver::{EventPacket, EventReceiver, HeardKey};
use crate::recent_presses::{RecentPresses, SIGNALLED_TWIN};
use crate::redundancy::{MalformedRedundancy, Redundancy};
use crate::tone::{ToneDetector, ToneEdge, ToneReport};

/// Jitter by which an event that began with the session may seem older: one packet interval.
const EVENT_SLACK: Duration = Duration::from_millis(20);
/// A tone that begins within the first 10 ms of audio may have begun before it.
const ONSET_DOUBT: u64 = 80;
/// Audio without a trace of a tone, 50 ms, after which no tone can be left from before: twice
/// the time in which the tone detector notices one.
const SETTLING: u64 = 400;

/// The shortest tone that is a key, 40 ms (ITU-T Q.24): less audio than this cannot hide one whose
/// beginning or end would not be heard beside it.
const SHORTEST_KEY: u64 = 320;

/// The way a key press reached us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// Telephone-event packets (RFC 4733).
    Event,
    /// A tone in the audio.
    Tone,
    /// A message beside the media: SIP INFO, REST.
    Signalled,
}

impl Source {
    pub(crate) const fn bit(self) -> u8 {
        match self {
            Self::Event => 1,
            Self::Tone => 2,
            Self::Signalled => 4,
        }
    }
}

/// One physical key press that began within the session.
#[derive(Clone, Copy)]
pub struct KeyPress {
    /// The key.
    pub digit: Digit,
    /// How it was heard first.
    pub source: Source,
}

/// All of a caller's keys during one secure session, each once.
///
/// Fixed in size, without allocation, wiped when dropped.
pub struct Detector {
    events: EventReceiver,
    tones: ToneDetector,
    tally: Tally,
    heard_audio: u64,
}

impl Detector {
    /// A detector for a session that begins at `now` on a leg whose events `leg` has received:
    /// what it knows of began before the session.
    #[must_use]
    pub fn new(now: Instant, leg: &EventReceiver) -> Self {
        Self {
            events: leg.fork(),
            tones: ToneDetector::new(),
            tally: Tally::new(now, leg),
            heard_audio: 0,
        }
    }

    /// Follows a renegotiation to another event clock.
    pub fn set_event_clock(&mut self, clock_hz: u32) {
        self.events.set_clock(clock_hz);
    }

    /// Hears one packet of the telephone-event payload type.
    pub fn hear_event(&mut self, packet: EventPacket<'_>, report: &mut impl FnMut(KeyPress)) {
        let Self { events, tally, .. } = self;
        tally.last_heard = Some(packet.arrival);
        events.hear_all(packet, &mut |key| tally.take_event(packet.arrival, key, report));
    }

    /// Hears one packet of the redundancy payload type (RFC 2198), in which blocks of
    /// `event_payload_type` are events.
    ///
    /// # Errors
    ///
    /// [`MalformedRedundancy`], and nothing is heard, where the payload doesn't add up.
    pub fn hear_redundant(
        &mut self,
        packet: EventPacket<'_>,
        event_payload_type: u8,
        report: &mut impl FnMut(KeyPress),
    ) -> Result<(), MalformedRedundancy> {
        let Self { events, tally, .. } = self;
        if Redundancy::parse(packet.payload)?.any(|block| block.payload_type == event_payload_type)
        {
            tally.last_heard = Some(packet.arrival);
        }
        events.hear_all_redundant(packet, event_payload_type, &mut |key| {
            tally.take_event(packet.arrival, key, report);
        })
    }

    /// Hears decoded audio, 8000 linear samples a second.
    pub fn hear_audio(&mut self, now: Instant, pcm: &[i16], report: &mut impl FnMut(KeyPress)) {
        let Self { tones, tally, .. } = self;
        let suspect = tones.last_suspect();
        tones.hear(pcm, &mut |tone| tally.take_tone(now, tone, report));
        self.heard_audio += pcm.len() as u64;
        tally.position += pcm.len() as u64;
        let is_suspect = tones.last_suspect() != suspect;
        tally.follow_audio(now, is_suspect, tones.last_suspect());
    }

    /// Lets time pass of which the audio was lost; nothing made up in its place may be heard.
    pub fn hear_lost(&mut self, now: Instant, samples: usize, report: &mut impl FnMut(KeyPress)) {
        let Self { tones, tally, .. } = self;
        tones.erase(samples, &mut |tone| tally.take_tone(now, tone, report));
        tally.position += samples as u64;
        tally.follow_loss(now, samples as u64);
    }

    /// Hears a digit that came beside the media.
    pub fn hear_signalled(
        &mut self,
        now: Instant,
        digit: Digit,
        report: &mut impl FnMut(KeyPress),
    ) {
        self.tally.last_heard = Some(now);
        self.tally.take(now, digit, Source::Signalled, true, report);
    }

    /// When anything that may be part of a key was last heard: an event packet, a trace of a
    /// tone, a signalled digit, or a gap in the audio that may hide one.
    #[must_use]
    pub const fn last_heard(&self) -> Option<Instant> {
        self.tally.last_heard
    }

    /// Samples of audio heard so far, gaps not counted: without audio, its quiet proves nothing.
    #[must_use]
    pub const fn heard_audio(&self) -> u64 {
        self.heard_audio
    }

    /// What has been heard in events, to be [forked](EventReceiver::fork) back to the leg when
    /// the session is over.
    #[must_use]
    pub const fn events(&self) -> &EventReceiver {
        &self.events
    }
}

/// What has been counted, and what can still be left over from before the session.
struct Tally {
    began: Instant,
    recent: RecentPresses,
    /// This caller sends events: tones are then only their echo, and no longer counted.
    has_events: bool,
    /// Samples heard or lost.
    position: u64,
    /// A tone that began before this sample may have begun before the session.
    doubt_until: u64,
    /// Where the last gap ended.
    gap_end: u64,
    /// Enough audio without a tone was heard: nothing is left from before.
    is_settled: bool,
    tone_down: Option<Digit>,
    last_heard: Option<Instant>,
    lost_in_a_row: u64,
}

impl Tally {
    fn new(now: Instant, leg: &EventReceiver) -> Self {
        let mut tally = Self {
            began: now,
            recent: RecentPresses::new(now),
            has_events: false,
            position: 0,
            doubt_until: ONSET_DOUBT,
            gap_end: 0,
            is_settled: false,
            tone_down: None,
            last_heard: None,
            lost_in_a_row: 0,
        };
        // Their twins, still on the way, are not to be counted either.
        for digit in leg.keys_heard(now, SIGNALLED_TWIN) {
            tally.take(now, digit, Source::Event, false, &mut |_| ());
            tally.has_events = true;
            tally.last_heard = Some(now);
        }
        tally
    }

    fn take_event(&mut self, now: Instant, key: HeardKey, report: &mut impl FnMut(KeyPress)) {
        self.has_events = true;
        if key.is_new {
            let age = now.saturating_duration_since(self.began);
            let began_within = key.press.held <= age + EVENT_SLACK;
            self.take(now, key.press.digit, Source::Event, began_within, report);
        } else {
            self.recent.refresh(now, key.press.digit, Source::Event);
        }
    }

    fn take_tone(&mut self, now: Instant, tone: ToneReport, report: &mut impl FnMut(KeyPress)) {
        match tone.edge {
            ToneEdge::Hint => {}
            ToneEdge::Begin(digit) => {
                self.tone_down = Some(digit);
                if !self.has_events {
                    let began_within = self.is_settled || tone.began >= self.doubt_until;
                    self.take(now, digit, Source::Tone, began_within, report);
                }
            }
            ToneEdge::End(digit) => {
                self.tone_down = None;
                self.recent.refresh(now, digit, Source::Tone);
            }
        }
    }

    /// Counts a press unless it is known from another source or began before the session.
    fn take(
        &mut self,
        now: Instant,
        digit: Digit,
        source: Source,
        began_within: bool,
        report: &mut impl FnMut(KeyPress),
    ) {
        if !self.recent.is_twin(now, digit, source) && began_within {
            report(KeyPress { digit, source });
        }
    }

    fn follow_audio(&mut self, now: Instant, is_suspect: bool, last_suspect: Option<u64>) {
        self.lost_in_a_row = 0;
        if let Some(digit) = self.tone_down {
            self.recent.refresh(now, digit, Source::Tone);
        }
        if is_suspect || self.tone_down.is_some() {
            self.last_heard = Some(now);
        }
        let calm_since = last_suspect.unwrap_or(0).max(self.gap_end);
        self.is_settled |= self.position.saturating_sub(calm_since) >= SETTLING;
    }

    fn follow_loss(&mut self, now: Instant, samples: u64) {
        self.lost_in_a_row += samples;
        if self.lost_in_a_row >= SHORTEST_KEY {
            self.last_heard = Some(now);
        }
        self.gap_end = self.position;
        if !self.is_settled {
            self.doubt_until = self.position + ONSET_DOUBT;
        }
    }
}
