//! `RecentPresses`: presses counted lately, so that the same press heard another way is not
//! counted again.

use std::time::{Duration, Instant};

use zeroize::Zeroize;

use crate::detector::Source;
use crate::digit::Digit;
use crate::elapsed::Elapsed;

/// Presses remembered: the fastest diallers make eleven a second (93 ms each, ITU-T Q.24), and
/// no window is longer than a second.
const REMEMBERED: usize = 16;
/// How far an event and a tone of one press may lie apart: a jitter buffer, a detector and a
/// packetiser between them. Counted from the last that was heard of the earlier one, since some
/// gateways make the event only when the tone is over.
const MEDIA_TWIN: Duration = Duration::from_millis(300);
/// How far a signalled digit may lie from the same press in the media: SIP INFO comes when the
/// key is let go, and then by way of a script's REST call.
pub(crate) const SIGNALLED_TWIN: Duration = Duration::from_secs(1);

const _: () = assert!(MEDIA_TWIN.as_millis() < SIGNALLED_TWIN.as_millis());
const _: () = assert!(REMEMBERED as u128 * 93 > SIGNALLED_TWIN.as_millis());

/// The presses counted in the last second, each with the sources it was heard from.
pub(crate) struct RecentPresses {
    origin: Instant,
    presses: [RecentPress; REMEMBERED],
}

impl RecentPresses {
    pub(crate) const fn new(origin: Instant) -> Self {
        Self { origin, presses: [RecentPress::FORGOTTEN; REMEMBERED] }
    }

    /// True if this is a press already known from another source; each press is matched once by
    /// each source, the oldest first. Otherwise the press is remembered as a new one.
    pub(crate) fn is_twin(&mut self, now: Instant, digit: Digit, source: Source) -> bool {
        let now = Elapsed::between(self.origin, now);
        let twins = self.presses.iter_mut().filter(|press| press.awaits(now, digit, source));
        if let Some(twin) = twins.min_by_key(|press| press.began) {
            twin.sources |= source.bit();
            return true;
        }
        if let Some(oldest) = self.presses.iter_mut().min_by_key(|press| press.last) {
            let event = digit.event_code();
            *oldest = RecentPress { event, sources: source.bit(), source, began: now, last: now };
        }
        false
    }

    /// The newest press of this key from this source goes on.
    pub(crate) fn refresh(&mut self, now: Instant, digit: Digit, source: Source) {
        let now = Elapsed::between(self.origin, now);
        let same = self.presses.iter_mut().filter(|press| press.is_of(digit, source));
        if let Some(newest) = same.max_by_key(|press| press.began) {
            newest.last = now;
        }
    }
}

impl Drop for RecentPresses {
    fn drop(&mut self) {
        for press in &mut self.presses {
            press.zeroize();
        }
    }
}

#[derive(Clone, Copy)]
struct RecentPress {
    event: u8,
    /// One bit for each source the press was heard from; none in a free slot.
    sources: u8,
    /// The source heard first.
    source: Source,
    began: Elapsed,
    last: Elapsed,
}

impl RecentPress {
    const FORGOTTEN: Self = Self {
        event: 0,
        sources: 0,
        source: Source::Event,
        began: Elapsed::ZERO,
        last: Elapsed::ZERO,
    };

    fn is_of(&self, digit: Digit, source: Source) -> bool {
        self.sources != 0 && self.source == source && self.event == digit.event_code()
    }

    /// The press may have a twin from `source`, and none came yet.
    fn awaits(&self, now: Elapsed, digit: Digit, source: Source) -> bool {
        self.sources != 0
            && self.sources & source.bit() == 0
            && self.event == digit.event_code()
            && now.since(self.last) <= twin_window(self.source, source)
    }
}

impl Zeroize for RecentPress {
    fn zeroize(&mut self) {
        self.event.zeroize();
        self.sources.zeroize();
        self.source = Source::Event;
        self.began.zeroize();
        self.last.zeroize();
    }
}

const fn twin_window(one: Source, other: Source) -> Duration {
    match (one, other) {
        (Source::Signalled, _) | (_, Source::Signalled) => SIGNALLED_TWIN,
        (Source::Event | Source::Tone, Source::Event | Source::Tone) => MEDIA_TWIN,
    }
}
