//! `KeyEvent`: one key press as the telephone-event packets a sender makes of it.

use std::time::Duration;

use crate::digit::Digit;
use crate::telephone_event::TelephoneEvent;

/// Time between two packets of an event; the audio's own packet interval.
const INTERVAL: Duration = Duration::from_millis(20);
/// Ends sent, so that losing one or two does no harm (RFC 4733 section 2.5.1.4).
const ENDS: u8 = 3;
/// Largest duration one segment can say.
const SEGMENT: u32 = u16::MAX as u32;
/// One interval at 48 kHz, which Chromium writes though the event clock is 8 kHz.
const MIXED_DURATION: u32 = 960;

/// How a sender makes packets of a key press.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sender {
    /// As RFC 4733 has it: the marker on the first packet, an update every 20 ms, three ends,
    /// contiguous segments above 0xFFFF units.
    Standard,
    /// Chromium's: as the standard, but a further segment starts at the current time, so up to
    /// one interval after the last one's end.
    Chromium,
    /// Chromium's with an 8 kHz event clock beside 48 kHz audio: three ends, each with the marker
    /// and the duration of one interval in the wrong clock, and nothing before them.
    ChromiumMixedClocks,
}

/// One key press, to be sent as packets.
#[derive(Clone, Copy)]
pub struct KeyEvent {
    /// The key.
    pub digit: Digit,
    /// RTP timestamp at which the key went down.
    pub timestamp: u32,
    /// Clock of the event payload type, in Hz.
    pub clock_hz: u32,
    /// How long the key is held.
    pub held: Duration,
    /// Level, 0 to 63 for 0 to -63 dBm0.
    pub volume: u8,
    /// Whose manners to imitate.
    pub sender: Sender,
}

/// One packet of a key press, without SSRC, sequence number and payload type.
#[derive(Clone, Copy)]
pub struct EventPayload {
    /// Time from the key going down until this packet leaves.
    pub after: Duration,
    /// RTP timestamp.
    pub timestamp: u32,
    /// RTP marker bit.
    pub marker: bool,
    /// The content.
    pub report: TelephoneEvent,
}

impl KeyEvent {
    /// The packets of this key press, in the order they leave.
    #[must_use]
    pub fn packets(self) -> EventPayloads {
        EventPayloads { key: self, tick: 0, segment: 0, segment_full: false, ends: ENDS }
    }

    fn units(&self, span: Duration) -> u32 {
        let units = span.as_millis() * u128::from(self.clock_hz) / 1000;
        u32::try_from(units).unwrap_or(u32::MAX)
    }
}

/// The packets of one key press; made by [`KeyEvent::packets`].
pub struct EventPayloads {
    key: KeyEvent,
    /// Intervals since the key went down.
    tick: u32,
    /// Units from the key going down to the start of the running segment.
    segment: u32,
    /// The running segment's last packet has left.
    segment_full: bool,
    ends: u8,
}

impl Iterator for EventPayloads {
    type Item = EventPayload;

    fn next(&mut self) -> Option<EventPayload> {
        if self.ends == 0 {
            return None;
        }
        if self.key.sender == Sender::ChromiumMixedClocks {
            self.tick += 1;
            self.ends -= 1;
            return Some(self.payload(MIXED_DURATION, true, true));
        }
        if self.segment_full {
            return Some(self.next_segment());
        }
        self.tick += 1;
        let total = self.key.units(self.key.held);
        let elapsed = self.key.units(INTERVAL * self.tick).min(total);
        let duration = elapsed - self.segment;
        self.segment_full = duration > SEGMENT;
        let end = elapsed == total && !self.segment_full;
        self.ends -= u8::from(end);
        Some(self.payload(duration.min(SEGMENT), self.tick == 1, end))
    }
}

impl EventPayloads {
    /// The packet that begins a further segment leaves together with the last of the one before.
    fn next_segment(&mut self) -> EventPayload {
        let total = self.key.units(self.key.held);
        let elapsed = self.key.units(INTERVAL * self.tick).min(total);
        let overrun = elapsed - self.segment - SEGMENT;
        self.segment = match self.key.sender {
            Sender::Standard => self.segment + SEGMENT,
            Sender::Chromium | Sender::ChromiumMixedClocks => elapsed,
        };
        self.segment_full = false;
        let end = elapsed == total;
        self.ends -= u8::from(end);
        self.payload(overrun, false, end)
    }

    fn payload(&self, duration: u32, marker: bool, end: bool) -> EventPayload {
        EventPayload {
            after: INTERVAL * self.tick,
            timestamp: self.key.timestamp.wrapping_add(self.segment),
            marker,
            report: TelephoneEvent {
                event: self.key.digit.event_code(),
                end,
                volume: self.key.volume,
                duration: u16::try_from(duration).unwrap_or(u16::MAX),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{KeyEvent, Sender};
    use crate::digit::Digit;
    use std::time::Duration;

    fn key(clock_hz: u32, held_ms: u64, sender: Sender) -> KeyEvent {
        let held = Duration::from_millis(held_ms);
        KeyEvent { digit: Digit::Five, timestamp: u32::MAX, clock_hz, held, volume: 10, sender }
    }

    /// Milliseconds after the key went down, timestamp step, marker, end, duration.
    type Shape = (u128, u32, bool, bool, u16);

    fn shape(key: KeyEvent) -> Vec<Shape> {
        let shape = key.packets().map(|packet| {
            let step = packet.timestamp.wrapping_sub(key.timestamp);
            let report = packet.report;
            (packet.after.as_millis(), step, packet.marker, report.end, report.duration)
        });
        shape.collect()
    }

    #[test]
    fn a_press_of_100_ms_is_what_a_browser_sends() {
        for sender in [Sender::Standard, Sender::Chromium] {
            let expected = [
                (20, 0, true, false, 960),
                (40, 0, false, false, 1920),
                (60, 0, false, false, 2880),
                (80, 0, false, false, 3840),
                (100, 0, false, true, 4800),
                (120, 0, false, true, 4800),
                (140, 0, false, true, 4800),
            ];
            assert_eq!(shape(key(48_000, 100, sender)), expected);
        }
        let mixed = shape(key(8000, 100, Sender::ChromiumMixedClocks));
        assert_eq!(mixed, [20, 40, 60].map(|after| (after, 0, true, true, 960)));
    }

    #[test]
    fn a_long_press_comes_in_segments() {
        let standard = shape(key(48_000, 3000, Sender::Standard));
        let steps: Vec<_> = standard.iter().map(|packet| packet.1).collect();
        assert!(steps.is_sorted() && steps.contains(&0xFFFF) && steps.contains(&0x1_FFFE));
        assert_eq!(standard.iter().filter(|packet| packet.4 == 0xFFFF && !packet.3).count(), 2);
        let last = standard.last().unwrap();
        assert_eq!(last.1 + u32::from(last.4), 144_000, "segments add up to the whole press");
        assert_eq!(standard.iter().filter(|packet| packet.3).count(), 3);
        assert_eq!(standard.iter().filter(|packet| packet.2).count(), 1);

        let chromium = shape(key(48_000, 2000, Sender::Chromium));
        let second = chromium.iter().map(|packet| packet.1).find(|step| *step > 0).unwrap();
        assert_eq!(second, 1380 * 48, "the next interval of 20 ms after 1365 ms");
    }
}
