//! Press: a key that an operator has a party press, as an event or as a tone, frame by frame.

use std::time::Duration;

use dtmf::Digit;
use dtmf::synth::tone::{Partial, Tone, frequencies};
use dtmf::telephone_event::{REPORT_LENGTH, TelephoneEvent};
use zeroize::Zeroize;

use super::id::{Parties, Side};
use super::limits::{MAX_FRAME, MAX_PRESS, MAX_PRESS_PAUSE, MIN_PRESS, MIN_PRESS_PAUSE};
use super::media::LegMedia;
use crate::codec::NARROW;

/// Samples of a tone in a millisecond.
const PER_MS: u32 = NARROW / 1000;
/// Packets that say an event is over (RFC 4733 section 2.5.1.4).
const ENDS: u8 = 3;
/// Longest part of an event that a packet can tell of, in ticks (RFC 4733 section 2.5.1.3).
const SEGMENT: u32 = u16::MAX as u32;
/// Quietest volume that an event can have (RFC 4733 section 2.3.4).
const MAX_VOLUME: u8 = 63;
/// How far each of a tone's two sines is below the volume of the whole. The high one is 2 dB louder,
/// as telephones have it; together they make up the volume, and at 0 dBm0 they still don't clip.
const LOW_BELOW: f64 = 4.0;
const HIGH_BELOW: f64 = 2.0;
/// Rise and fall of a tone, in seconds: a tone cut off hard has a click of all frequencies.
const RAMP: f64 = 0.002;

/// A key, to be pressed for a party. It is the operator's, not the caller's; it is wiped all the same.
pub struct Press {
    code: u8,
    held: Duration,
    volume: u8,
    pause: Duration,
}

impl Press {
    /// A key held for so long, at so many dB below 0 dBm0, with a pause before it if it follows
    /// another. `None` if a time or the volume is out of its bounds.
    #[must_use]
    pub fn new(key: Digit, held: Duration, volume: u8, pause: Duration) -> Option<Press> {
        let is_bound = (MIN_PRESS..=MAX_PRESS).contains(&held)
            && (MIN_PRESS_PAUSE..=MAX_PRESS_PAUSE).contains(&pause)
            && volume <= MAX_VOLUME;
        is_bound.then(|| Press { code: key.event_code(), held, volume, pause })
    }

    /// This key, for each of these parties to press.
    #[must_use]
    pub fn by(&self, parties: Parties) -> Presses {
        Side::ALL.map(|side| parties.sides().contains(&side).then(|| Box::new(self.again())))
    }

    fn again(&self) -> Press {
        Press { code: self.code, held: self.held, volume: self.volume, pause: self.pause }
    }

    /// Samples that must have passed since the key before it was let go.
    pub(super) fn pause(&self) -> u32 {
        samples(self.pause)
    }

    fn tone(&self) -> Option<Tone> {
        let (low, high) = frequencies(Digit::from_event_code(self.code)?);
        let volume = f64::from(self.volume);
        let partial = |hertz, below| Partial { hertz, dbm0: -volume - below, phase: 0.0 };
        Some(Tone {
            low: partial(low, LOW_BELOW),
            high: partial(high, HIGH_BELOW),
            seconds: self.held.as_secs_f64() - RAMP,
            ramp: RAMP,
        })
    }
}

/// The key of each party that presses one, by [`Side::index`].
pub type Presses = [Option<Box<Press>>; 2];

impl Drop for Press {
    fn drop(&mut self) {
        self.code.zeroize();
    }
}

/// How a party is told of keys, if it wants to be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct KeyEvents {
    /// Payload type of telephone-event.
    pub(super) payload_type: u8,
    /// Ticks a second of its clock.
    pub(super) clock: u32,
}

impl KeyEvents {
    /// As it was agreed; `None` if the party wants none.
    pub(super) fn of(media: &LegMedia) -> Option<KeyEvents> {
        let payload_type = media.telephone_event.filter(|_| media.wants_events)?;
        Some(KeyEvents { payload_type, clock: media.codec.clock() })
    }

    fn ticks(self, samples: u32) -> u32 {
        samples * (self.clock / NARROW)
    }
}

/// One packet of a key event.
pub(super) struct KeyReport {
    /// Its payload type.
    pub(super) payload_type: u8,
    /// It is the first of its event.
    pub(super) begins: bool,
    /// Ticks from the event's beginning to that of the part it tells of.
    pub(super) offset: u32,
    /// Its payload.
    pub(super) octets: [u8; REPORT_LENGTH],
}

/// What was made of a frame of a key.
pub(super) enum Pressed {
    /// An event's packet, in place of the frame.
    Event(KeyReport),
    /// Samples of its tone.
    Tone,
    /// Nothing: the party is told of keys in another way than when this one went down.
    Broken,
}

/// A key that is down, or whose end is being told.
pub(super) struct KeyDown {
    press: Press,
    /// How it is told; by its tone if there is no way.
    events: Option<KeyEvents>,
    /// Samples since it went down.
    at: u32,
    /// Ticks from there to the part of the event that is told of.
    segment: u32,
    ends: u8,
}

impl KeyDown {
    /// The key goes down.
    pub(super) fn new(press: Press, events: Option<KeyEvents>) -> KeyDown {
        KeyDown { press, events, at: 0, segment: 0, ends: 0 }
    }

    /// Makes the next frame of it, for a party that is now told of keys by `events`.
    pub(super) fn frame(&mut self, pcm: &mut [i16], events: Option<KeyEvents>) -> Pressed {
        let length = pcm.len() as u32;
        if events != self.events {
            (self.at, self.ends) = (samples(self.press.held), ENDS);
            return Pressed::Broken;
        }
        let pressed = match events {
            Some(events) => Pressed::Event(self.report(events, length)),
            None => {
                self.sound(pcm);
                Pressed::Tone
            }
        };
        self.at += length;
        pressed
    }

    /// How many samples ago the key was let go, once nothing more is to be told of it.
    pub(super) fn over(&self) -> Option<u32> {
        let since = self.at.checked_sub(samples(self.press.held))?;
        (self.events.is_none() || self.ends == ENDS).then_some(since)
    }

    fn report(&mut self, events: KeyEvents, length: u32) -> KeyReport {
        let total = events.ticks(samples(self.press.held));
        let elapsed = events.ticks(self.at + length).min(total);
        let (offset, lasted) = (self.segment, elapsed - self.segment);
        // One that lasts longer than can be said goes on in a further part, from the next packet on.
        let is_full = lasted > SEGMENT;
        let end = elapsed == total && !is_full;
        self.segment += if is_full { SEGMENT } else { 0 };
        self.ends += u8::from(end);
        let report = TelephoneEvent {
            event: self.press.code,
            end,
            volume: self.press.volume,
            duration: u16::try_from(lasted).unwrap_or(u16::MAX),
        };
        KeyReport {
            payload_type: events.payload_type,
            begins: self.at == 0,
            offset,
            octets: report.to_octets(),
        }
    }

    fn sound(&self, pcm: &mut [i16]) {
        let mut mix = [0.0; MAX_FRAME];
        let mix = &mut mix[..pcm.len().min(MAX_FRAME)];
        let since = f64::from(self.at) / f64::from(NARROW);
        if let Some(tone) = self.press.tone() {
            tone.add_to(mix, RAMP / 2.0 - since, NARROW);
        }
        for (sample, &level) in pcm.iter_mut().zip(&*mix) {
            // A float is clamped to the range of an integer it becomes.
            *sample = level.round() as i16;
        }
    }
}

fn samples(length: Duration) -> u32 {
    length.as_millis() as u32 * PER_MS
}

const _: () = assert!(MAX_PRESS.as_millis() < 60_000, "samples and ticks fit");

#[cfg(test)]
mod tests {
    use dtmf::tone::{ToneDetector, ToneEdge};

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn down(held: u32, clock: Option<u32>) -> KeyDown {
        let press = Press::new(Digit::Five, held * MS, 8, MIN_PRESS_PAUSE).unwrap();
        KeyDown::new(press, clock.map(|clock| KeyEvents { payload_type: 101, clock }))
    }

    /// Beginning of the part, duration, whether it ends and whether it begins, packet by packet.
    fn reports(held: u32, clock: u32, frame: usize) -> Vec<(u32, u16, bool, bool)> {
        let mut key = down(held, Some(clock));
        let mut told = Vec::new();
        while key.over().is_none() {
            let events = key.events;
            let Pressed::Event(it) = key.frame(&mut vec![0; frame], events) else { panic!() };
            let report = TelephoneEvent::from_octets(it.octets);
            assert!((report.event, report.volume, it.payload_type) == (5, 8, 101));
            told.push((it.offset, report.duration, report.end, it.begins));
        }
        told
    }

    #[test]
    fn an_event_lasts_as_long_as_the_key_in_ticks_of_its_clock_and_ends_three_times() {
        for (clock, tick) in [(8000, 1_u16), (16_000, 2), (24_000, 3), (48_000, 6)] {
            let told = reports(250, clock, 160);
            assert_eq!(told.len(), 15, "13 frames, the last of them thrice");
            for (at, report) in (1..).zip(&told) {
                let lasted = (160 * at).min(2000) * tick;
                assert_eq!(*report, (0, lasted, at >= 13, at == 1), "{clock}");
            }
        }
        assert_eq!(reports(100, 8000, 480).iter().filter(|it| it.2).count(), 3, "60 ms a frame");
    }

    #[test]
    fn a_long_event_goes_on_in_parts_that_touch_each_other() {
        for clock in [24_000, 48_000] {
            let told = reports(5000, clock, 160);
            assert!(told.windows(2).all(|it| it[0].0 == it[1].0 || it[0].1 == u16::MAX));
            assert!(told.iter().all(|it| it.0 % SEGMENT == 0) && told.iter().any(|it| it.0 > 0));
            let (offset, lasted, end, _) = *told.last().unwrap();
            assert_eq!((offset + u32::from(lasted), end), (5 * clock, true));
            assert_eq!(told.iter().filter(|it| it.2).count(), 3);
            assert_eq!(told.iter().filter(|it| it.3).count(), 1);
        }
    }

    #[test]
    fn a_tone_is_the_key_s_own_over_all_frames_and_no_longer() {
        for digit in Digit::ALL {
            for volume in [0, 8, 20] {
                let press = Press::new(digit, 250 * MS, volume, MIN_PRESS_PAUSE).unwrap();
                let mut key = KeyDown::new(press, None);
                let mut heard = Vec::new();
                while key.over().is_none() {
                    let mut pcm = [0; 160];
                    assert!(matches!(key.frame(&mut pcm, None), Pressed::Tone));
                    heard.extend(pcm);
                }
                assert_eq!((heard.len(), key.over()), (13 * 160, Some(80)));
                assert!(heard[2000..].iter().all(|&sample| sample == 0));
                assert!(heard.iter().all(|&sample| sample.unsigned_abs() < 32_767), "no clipping");
                heard.extend([0; 800]);
                let mut keys = Vec::new();
                ToneDetector::new().hear(&heard, &mut |report| {
                    if let ToneEdge::Begin(key) = report.edge {
                        keys.push(key);
                    }
                });
                assert!(keys == [digit], "one press, of this key");
            }
        }
    }

    #[test]
    fn a_key_ends_where_the_party_is_told_of_keys_in_another_way() {
        let mut key = down(250, Some(8000));
        let events = key.events;
        assert!(matches!(key.frame(&mut [0; 160], events), Pressed::Event(_)));
        assert!(matches!(key.frame(&mut [0; 160], None), Pressed::Broken));
        assert_eq!(key.over(), Some(0));
    }

    #[test]
    fn times_and_volume_have_bounds() {
        let press = |held, volume, pause| Press::new(Digit::One, held, volume, pause).is_some();
        assert!(press(MIN_PRESS, 0, MAX_PRESS_PAUSE) && press(MAX_PRESS, 63, MIN_PRESS_PAUSE));
        assert!(
            !press(MIN_PRESS - MS, 0, MIN_PRESS_PAUSE)
                && !press(MAX_PRESS + MS, 0, MIN_PRESS_PAUSE)
        );
        assert!(!press(MIN_PRESS, 64, MIN_PRESS_PAUSE) && !press(MIN_PRESS, 0, Duration::ZERO));
        assert!(!press(MIN_PRESS, 0, MAX_PRESS_PAUSE + MS));
    }
}
