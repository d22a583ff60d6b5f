//! `EventReceiver`: telephone-event packets of one leg, turned into one press for each key.
//!
//! Senders break RFC 4733 in many ways and networks lose, repeat and reorder, so nothing here
//! waits for a first or a last packet. The rules, in the order they are tried:
//!
//! 1. An event is known by (SSRC, event code, timestamp). Whatever comes of a known event is a
//!    repeat: a late start, an update, one of the three ends.
//! 2. Except when it starts over: same identity, but fresh after a silence. Some senders replay
//!    a capture for each press, or don't advance the timestamp between two presses.
//! 3. A new timestamp without marker that abuts an event still being heard continues it: a
//!    segment of a long press, or a sender whose timestamp moves with each packet. If that event
//!    has ended, only a further end does: gateways have sent the last ends with a new timestamp.
//! 4. Anything else is a new press, reported at once.
//!
//! All arithmetic on timestamps and sequence numbers is modulo their size.

use std::time::{Duration, Instant};

use zeroize::Zeroize;

use crate::digit::Digit;
use crate::elapsed::Elapsed;
use crate::heard_event::{HeardEvent, Sighting, Units};
use crate::redundancy::{MalformedRedundancy, Redundancy};
use crate::telephone_event::reports;

/// Events remembered. The fastest diallers start one every 93 ms (ITU-T Q.24), so sixteen cover
/// 1.5 s, far more than any reordering and about what RFC 2198 offsets reach at 8 kHz.
const REMEMBERED: usize = 16;
/// The clock of telephone-event where the answer named none (IANA registration, `rate`).
const DEFAULT_CLOCK_HZ: u32 = 8000;

/// What the receiver needs of one RTP packet.
#[derive(Clone, Copy)]
pub struct EventPacket<'a> {
    /// When the packet came.
    pub arrival: Instant,
    /// Synchronisation source; senders of events may use another than for audio.
    pub ssrc: u32,
    /// RTP sequence number.
    pub sequence: u16,
    /// RTP timestamp.
    pub timestamp: u32,
    /// RTP marker bit; a hint only.
    pub marker: bool,
    /// RTP payload without padding.
    pub payload: &'a [u8],
}

/// One key press heard in telephone-event packets.
#[derive(Clone, Copy)]
pub struct EventPress {
    /// The key.
    pub digit: Digit,
    /// How long the key had been down, by the sender's own account, when the press was reported; for
    /// one known from a later packet's copy alone (RFC 2198), how long ago it went down.
    /// At least true of a first packet; a lone late one says less than what has passed.
    pub held: Duration,
}

/// A key heard in a packet, for the first time or again.
#[derive(Clone, Copy)]
pub(crate) struct HeardKey {
    pub(crate) press: EventPress,
    /// False for every packet of a press but the first heard.
    pub(crate) is_new: bool,
}

/// Telephone-event packets of one leg in, one [`EventPress`] for each key press out.
///
/// Fixed in size and without allocation. Wiped when dropped: it remembers the last keys.
pub struct EventReceiver {
    clock_hz: u32,
    /// Arrival times are kept as distances from the first, as plain numbers that can be wiped.
    origin: Option<Instant>,
    events: [HeardEvent; REMEMBERED],
}

impl EventReceiver {
    /// A receiver for payloads whose negotiated clock is `clock_hz`; 0 means the default 8000.
    #[must_use]
    pub fn new(clock_hz: u32) -> Self {
        let mut receiver =
            Self { clock_hz, origin: None, events: [HeardEvent::FORGOTTEN; REMEMBERED] };
        receiver.set_clock(clock_hz);
        receiver
    }

    /// Follows a renegotiation to another event clock; what was heard stays known.
    pub fn set_clock(&mut self, clock_hz: u32) {
        self.clock_hz = if clock_hz == 0 { DEFAULT_CLOCK_HZ } else { clock_hz };
    }

    /// A copy that knows the same events, for a session that begins on this leg.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self { clock_hz: self.clock_hz, origin: self.origin, events: self.events }
    }

    /// Hears one packet of the telephone-event payload type.
    pub fn hear(&mut self, packet: EventPacket<'_>, report: &mut impl FnMut(EventPress)) {
        self.hear_all(packet, &mut only_presses(report));
    }

    /// Hears one packet of the redundancy payload type (RFC 2198), which may carry blocks of
    /// `event_payload_type`: the oldest first, so that a lost key comes before the newer one.
    ///
    /// # Errors
    ///
    /// [`MalformedRedundancy`], and nothing is heard, where the payload doesn't add up.
    pub fn hear_redundant(
        &mut self,
        packet: EventPacket<'_>,
        event_payload_type: u8,
        report: &mut impl FnMut(EventPress),
    ) -> Result<(), MalformedRedundancy> {
        self.hear_all_redundant(packet, event_payload_type, &mut only_presses(report))
    }

    /// Whether a key is down at `now`, as far as is known: no end heard, and updates still coming.
    #[must_use]
    pub fn is_sounding(&self, now: Instant) -> bool {
        let now = self.since_origin(now);
        self.events.iter().any(|event| event.is_sounding(now))
    }

    /// Forgets everything heard and overwrites it.
    pub fn wipe(&mut self) {
        self.origin = None;
        for event in &mut self.events {
            event.zeroize();
        }
    }

    /// Keys of which a packet came within `window` before `now`.
    pub(crate) fn keys_heard(&self, now: Instant, window: Duration) -> impl Iterator<Item = Digit> {
        let now = self.since_origin(now);
        let recent = move |event: &&HeardEvent| event.was_heard_within(window, now);
        let digit = |event: &HeardEvent| Digit::from_event_code(event.event);
        self.events.iter().filter(recent).filter_map(digit)
    }

    /// As [`Self::hear`], with the repeats.
    pub(crate) fn hear_all(&mut self, packet: EventPacket<'_>, report: &mut impl FnMut(HeardKey)) {
        self.hear_block(packet, None, report);
    }

    /// As [`Self::hear_redundant`], with the repeats.
    pub(crate) fn hear_all_redundant(
        &mut self,
        packet: EventPacket<'_>,
        event_payload_type: u8,
        report: &mut impl FnMut(HeardKey),
    ) -> Result<(), MalformedRedundancy> {
        let blocks = Redundancy::parse(packet.payload)?;
        let events = blocks.filter(|block| block.payload_type == event_payload_type);
        // What the newest event has lasted has passed since the copies' timestamps as well.
        let elapsed =
            events.clone().filter(|block| !block.is_copy).map(|block| lasted(block.payload));
        let elapsed = elapsed.max().unwrap_or(0);
        for block in events {
            let content = EventPacket {
                timestamp: packet.timestamp.wrapping_sub(block.age),
                marker: packet.marker && !block.is_copy,
                payload: block.payload,
                ..packet
            };
            let age = block.is_copy.then_some(block.age + elapsed);
            self.hear_block(content, age, report);
        }
        Ok(())
    }

    fn hear_block(
        &mut self,
        packet: EventPacket<'_>,
        copy_age: Option<u32>,
        report: &mut impl FnMut(HeardKey),
    ) {
        self.origin.get_or_insert(packet.arrival);
        let arrival = self.since_origin(packet.arrival);
        for (index, placed) in reports(packet.payload).enumerate() {
            let Some(digit) = Digit::from_event_code(placed.report.event) else { continue };
            let is_first = index == 0 && packet.marker;
            let sighting = Sighting::new(&packet, arrival, copy_age.is_some(), is_first, placed);
            let is_new = self.place(&sighting);
            let duration = u32::from(sighting.report.duration);
            let held = self.span(copy_age.map_or(duration, |age| age.max(duration)));
            report(HeardKey { press: EventPress { digit, held }, is_new });
        }
    }

    /// Takes one sighting into the memory; true if it is a new press.
    fn place(&mut self, seen: &Sighting) -> bool {
        for event in self.events.iter_mut().filter(|event| event.is_spent(seen.arrival)) {
            event.zeroize();
        }
        if let Some(event) = self.find(seen, |event| event.covers(seen)) {
            let starts_over = event.starts_over(seen);
            if starts_over {
                *event = HeardEvent::begin(seen);
            } else {
                event.repeat(seen);
            }
            return starts_over;
        }
        let units = Units { clock_hz: self.clock_hz };
        if let Some(event) = self.find(seen, |event| event.is_continued_by(seen, units)) {
            event.advance(seen);
            return false;
        }
        if let Some(event) = self.find(seen, |event| event.is_preceded_by(seen)) {
            event.extend_back(seen);
            return false;
        }
        if let Some(oldest) = self.events.iter_mut().min_by_key(|event| event.heard_rank()) {
            *oldest = HeardEvent::begin(seen);
        }
        true
    }

    fn find(
        &mut self,
        seen: &Sighting,
        matches: impl Fn(&HeardEvent) -> bool,
    ) -> Option<&mut HeardEvent> {
        self.events.iter_mut().find(|event| event.is_same_key(seen) && matches(event))
    }

    fn since_origin(&self, now: Instant) -> Elapsed {
        self.origin.map_or(Elapsed::ZERO, |origin| Elapsed::between(origin, now))
    }

    fn span(&self, duration: u32) -> Duration {
        Duration::from_micros(u64::from(duration) * 1_000_000 / u64::from(self.clock_hz))
    }
}

impl Drop for EventReceiver {
    fn drop(&mut self) {
        self.wipe();
    }
}

/// Units of the RTP clock from the timestamp of a payload to the end of its last report.
fn lasted(payload: &[u8]) -> u32 {
    let ends = reports(payload).map(|placed| placed.offset + u32::from(placed.report.duration));
    ends.max().unwrap_or(0)
}

fn only_presses(report: &mut impl FnMut(EventPress)) -> impl FnMut(HeardKey) {
    |heard| {
        if heard.is_new {
            report(heard.press);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{EventPacket, EventReceiver, HeardEvent};
    use std::time::{Duration, Instant};

    #[expect(clippy::disallowed_methods, reason = "any instant will do as an origin")]
    fn origin() -> Instant {
        Instant::now()
    }

    fn packet(arrival: Instant, sequence: u16, payload: &[u8]) -> EventPacket<'_> {
        EventPacket { arrival, ssrc: 7, sequence, timestamp: 1000, marker: false, payload }
    }

    #[test]
    fn held_is_the_duration_in_the_negotiated_clock() {
        for (clock_hz, expected) in [(0, 100), (8000, 100), (16_000, 50), (48_000, 16)] {
            let mut receiver = EventReceiver::new(clock_hz);
            let mut held = None;
            let payload = [5, 10, 0x03, 0x20];
            receiver.hear(packet(origin(), 1, &payload), &mut |press| held = Some(press.held));
            assert_eq!(held.unwrap().as_millis(), expected, "{clock_hz}");
        }
    }

    #[test]
    fn a_key_sounds_until_its_end_or_its_silence() {
        let now = origin();
        let mut receiver = EventReceiver::new(8000);
        assert!(!receiver.is_sounding(now));
        receiver.hear(packet(now, 1, &[5, 10, 0, 160]), &mut |_| ());
        assert!(receiver.is_sounding(now + Duration::from_millis(149)));
        assert!(!receiver.is_sounding(now + Duration::from_millis(150)));
        receiver.hear(packet(now, 2, &[5, 0x8A, 0, 160]), &mut |_| ());
        assert!(!receiver.is_sounding(now));
    }

    #[test]
    fn a_fork_knows_what_its_origin_heard() {
        let now = origin();
        let mut receiver = EventReceiver::new(8000);
        receiver.hear(packet(now, 1, &[5, 10, 0, 160]), &mut |_| ());
        let update = [5, 10, 1, 64];
        let count = |mut receiver: EventReceiver| {
            let mut presses = 0;
            receiver.hear(packet(now, 2, &update), &mut |_| presses += 1);
            presses
        };
        assert_eq!(count(receiver.fork()), 0);
        assert_eq!(count(EventReceiver::new(8000)), 1, "the control has not heard the start");
    }

    #[test]
    fn a_copy_says_how_long_ago_its_key_went_down() {
        let mut held = Vec::new();
        // A key of 100 ms, 400 ms before one that has lasted 20 ms.
        let older = (0x80_u32 | 101) << 24 | 3200 << 10 | 4;
        let blocks = [5, 0x8A, 0x03, 0x20, 6, 10, 0, 160];
        let payload = [&older.to_be_bytes()[..], &[101], &blocks].concat();
        let mut receiver = EventReceiver::new(8000);
        let heard = receiver.hear_redundant(packet(origin(), 1, &payload), 101, &mut |press| {
            held.push(press.held.as_millis());
        });
        assert_eq!((heard, held), (Ok(()), vec![420, 20]));
    }

    #[test]
    fn wiping_leaves_nothing() {
        let is_blank = |receiver: &EventReceiver| {
            receiver.origin.is_none()
                && receiver.events.iter().all(|event| *event == HeardEvent::FORGOTTEN)
        };
        let mut receiver = EventReceiver::new(8000);
        receiver.hear(packet(origin(), 1, &[5, 10, 0, 160]), &mut |_| ());
        assert!(!is_blank(&receiver), "the control holds a key");
        receiver.wipe();
        assert!(is_blank(&receiver));
    }

    proptest::proptest! {
        #[test]
        fn hostile_packets_are_safe(
            packets: Vec<(u16, u16, u32, bool, bool, Vec<u8>)>,
            clock_hz: u32,
        ) {
            let start = origin();
            let mut receiver = EventReceiver::new(clock_hz);
            for (delay, sequence, timestamp, marker, redundant, payload) in &packets {
                let packet = EventPacket {
                    arrival: start + Duration::from_millis(u64::from(*delay)),
                    ssrc: timestamp >> 31,
                    sequence: *sequence,
                    timestamp: *timestamp,
                    marker: *marker,
                    payload,
                };
                if *redundant {
                    let _malformed = receiver.hear_redundant(packet, 101, &mut |_| ());
                } else {
                    receiver.hear(packet, &mut |_| ());
                }
            }
        }
    }
}
