//! `HeardEvent`: one key press as heard so far, and what a further report means for it.

use std::time::Duration;

use zeroize::Zeroize;

use crate::elapsed::Elapsed;
use crate::event_receiver::EventPacket;
use crate::telephone_event::{PlacedReport, TelephoneEvent};

/// Three packet intervals of 50 ms, the longest RFC 4733 section 2.5.1.2 suggests: an event not
/// heard of for so long is over, its ends lost.
const UPDATE_LIMIT: Duration = Duration::from_millis(150);
/// Largest step from the end of one segment to the next: one packet interval of 20 ms and half
/// another. Shorter than any pause between two presses of one key (40 ms, ITU-T Q.24).
const SEGMENT_STEP: Duration = Duration::from_millis(30);
/// A segment this close below the largest duration was about to be followed by the next one,
/// even if its last updates were lost.
const SEGMENT_TAIL: Duration = Duration::from_millis(200);
/// Longest network stall over which a segment that begins just where the last must have ended is
/// still joined to it.
const SEGMENT_STALL: Duration = Duration::from_secs(2);
/// Silence after which an event whose timestamp and sequence numbers are replayed from a capture
/// is a new press. Longer than any reordering, shorter than two presses by script.
const REPLAY_SILENCE: Duration = Duration::from_millis(300);
/// The same where the sequence number went on, so that reordering is already ruled out and only
/// the sender's own repeats have to be outlasted.
const RESTART_SILENCE: Duration = Duration::from_millis(100);
/// An ended event is forgotten after this silence: its repeats are long through.
const ENDED_MEMORY: Duration = Duration::from_secs(2);
/// The same for an event whose end was not heard: a key held with sparse updates.
const OPEN_MEMORY: Duration = Duration::from_secs(30);

const _: () = assert!(RESTART_SILENCE.as_millis() < REPLAY_SILENCE.as_millis());
const _: () = assert!(REPLAY_SILENCE.as_millis() < ENDED_MEMORY.as_millis());
const _: () = assert!(ENDED_MEMORY.as_millis() < OPEN_MEMORY.as_millis());

/// Conversion of spans of time into units of the event clock.
#[derive(Clone, Copy)]
pub(crate) struct Units {
    pub(crate) clock_hz: u32,
}

impl Units {
    /// Saturates; every span asked for here is two hundred milliseconds or less.
    fn of(self, span: Duration) -> u32 {
        let units = span.as_millis() * u128::from(self.clock_hz) / 1000;
        u32::try_from(units).unwrap_or(u32::MAX)
    }
}

/// One report with all that places it among the events heard so far.
pub(crate) struct Sighting {
    pub(crate) arrival: Elapsed,
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    /// The sender says that a new key begins here.
    claims_new: bool,
    /// An older block of RFC 2198, whose sequence number says nothing about its age.
    is_copy: bool,
    pub(crate) report: TelephoneEvent,
}

impl Sighting {
    pub(crate) fn new(
        packet: &EventPacket<'_>,
        arrival: Elapsed,
        is_copy: bool,
        is_first: bool,
        placed: PlacedReport,
    ) -> Self {
        Self {
            arrival,
            ssrc: packet.ssrc,
            sequence: packet.sequence,
            timestamp: packet.timestamp.wrapping_add(placed.offset),
            claims_new: is_first || placed.follows_an_end,
            is_copy,
            report: placed.report,
        }
    }
}

/// One key press as heard so far. Its timestamps run from `start` to `latest`: equal but for
/// long presses in segments and senders whose timestamp moves.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct HeardEvent {
    is_live: bool,
    ended: bool,
    pub(crate) event: u8,
    ssrc: u32,
    sequence: u16,
    start: u32,
    latest: u32,
    /// Largest duration heard at `latest`.
    duration: u16,
    heard_at: Elapsed,
}

impl HeardEvent {
    pub(crate) const FORGOTTEN: Self = Self {
        is_live: false,
        ended: false,
        event: 0,
        ssrc: 0,
        sequence: 0,
        start: 0,
        latest: 0,
        duration: 0,
        heard_at: Elapsed::ZERO,
    };

    pub(crate) fn begin(seen: &Sighting) -> Self {
        Self {
            is_live: true,
            ended: seen.report.end,
            event: seen.report.event,
            ssrc: seen.ssrc,
            sequence: seen.sequence,
            start: seen.timestamp,
            latest: seen.timestamp,
            duration: seen.report.duration,
            heard_at: seen.arrival,
        }
    }

    /// No end heard, and updates still coming.
    pub(crate) fn is_sounding(&self, now: Elapsed) -> bool {
        self.is_live && !self.ended && self.silence(now) < UPDATE_LIMIT
    }

    pub(crate) fn was_heard_within(&self, window: Duration, now: Elapsed) -> bool {
        self.is_live && self.silence(now) <= window
    }

    fn silence(&self, now: Elapsed) -> Duration {
        now.since(self.heard_at)
    }

    pub(crate) fn is_spent(&self, now: Elapsed) -> bool {
        let memory = if self.ended { ENDED_MEMORY } else { OPEN_MEMORY };
        self.is_live && self.silence(now) > memory
    }

    /// Free slots before the least recently heard event.
    pub(crate) fn heard_rank(&self) -> (bool, Elapsed) {
        (self.is_live, self.heard_at)
    }

    pub(crate) fn is_same_key(&self, seen: &Sighting) -> bool {
        self.is_live && self.ssrc == seen.ssrc && self.event == seen.report.event
    }

    /// The timestamp is one this event has had, or lies between two of them.
    pub(crate) fn covers(&self, seen: &Sighting) -> bool {
        seen.timestamp.wrapping_sub(self.start) <= self.latest.wrapping_sub(self.start)
    }

    /// A beginning, though the event with this identity is over.
    pub(crate) fn starts_over(&self, seen: &Sighting) -> bool {
        let silence = self.silence(seen.arrival);
        let is_beginning = !seen.is_copy && !seen.report.end && seen.timestamp == self.start;
        let went_back = self.ended || seen.report.duration < self.duration;
        is_beginning
            && ((went_back && silence >= REPLAY_SILENCE)
                || (self.ended && self.is_older_than(seen) && silence >= RESTART_SILENCE))
    }

    /// A further segment, a moved timestamp, or a shifted end.
    pub(crate) fn is_continued_by(&self, seen: &Sighting, units: Units) -> bool {
        if seen.claims_new || (self.ended && !seen.report.end) {
            return false;
        }
        let step = seen.timestamp.wrapping_sub(self.latest);
        let slack = units.of(SEGMENT_STEP);
        let silence = self.silence(seen.arrival);
        let abuts = step <= u32::from(self.duration) + slack && silence < UPDATE_LIMIT;

        let full = u32::from(u16::MAX);
        let was_nearly_full = u32::from(self.duration) + units.of(SEGMENT_TAIL) >= full;
        let overrun = step.checked_sub(full).is_some_and(|overrun| overrun <= slack);
        let is_next_segment = was_nearly_full && overrun && silence < SEGMENT_STALL;
        abuts || is_next_segment
    }

    /// An earlier part of this same press, come late: it ends where this begins or after.
    pub(crate) fn is_preceded_by(&self, seen: &Sighting) -> bool {
        let gap = self.start.wrapping_sub(seen.timestamp);
        !seen.report.end
            && gap <= u32::from(seen.report.duration)
            && self.silence(seen.arrival) < UPDATE_LIMIT
    }

    pub(crate) fn repeat(&mut self, seen: &Sighting) {
        self.heard_at = seen.arrival;
        if !seen.is_copy && self.is_older_than(seen) {
            self.sequence = seen.sequence;
        }
        if seen.timestamp == self.latest {
            self.duration = self.duration.max(seen.report.duration);
            self.ended |= seen.report.end;
        }
    }

    pub(crate) fn advance(&mut self, seen: &Sighting) {
        self.sequence = seen.sequence;
        self.latest = seen.timestamp;
        self.duration = seen.report.duration;
        self.ended = seen.report.end;
        self.heard_at = seen.arrival;
    }

    pub(crate) fn extend_back(&mut self, seen: &Sighting) {
        self.start = seen.timestamp;
        self.heard_at = seen.arrival;
    }

    /// Serial comparison of sequence numbers (RFC 1982, as RFC 3550 uses them).
    fn is_older_than(&self, seen: &Sighting) -> bool {
        (1..0x8000).contains(&seen.sequence.wrapping_sub(self.sequence))
    }
}

impl Zeroize for HeardEvent {
    fn zeroize(&mut self) {
        self.is_live.zeroize();
        self.ended.zeroize();
        self.event.zeroize();
        self.ssrc.zeroize();
        self.sequence.zeroize();
        self.start.zeroize();
        self.latest.zeroize();
        self.duration.zeroize();
        self.heard_at.zeroize();
    }
}
