//! `Menu`: what one party speaks, to be offered to another.

use dtmf::g711::Law;

use super::agreement::{DEFAULT_PACKET_TIME_MS, PACKET_TIMES_MS, TYPES_TAKEN_BY_RTCP};
use super::direction::Direction;
use super::format::Format;
use super::stream::Audio;
use super::{Offer, SdpRefusal};
use crate::codec::Codec;

/// The numbers that mean what a description says they mean (RFC 3551 section 6).
const DYNAMIC_TYPES: std::ops::RangeInclusive<u8> = 96..=127;

/// Codecs in order of preference, key events, packet time and direction: what is passed on of a
/// party's own offer. Its addresses and its keys are not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Menu {
    /// Each codec once, with its payload type.
    voices: Vec<(u8, Codec)>,
    /// Payload types of telephone-event by clock, each once.
    events: Vec<(u8, u32)>,
    pub(super) ptime_ms: u8,
    pub(super) direction: Direction,
}

impl Offer {
    /// What the first usable audio stream speaks, as far as we do. Payload types stay what they
    /// are, but for those that RTCP on the same port would be taken for.
    ///
    /// # Errors
    /// [`SdpRefusal`] of the first audio stream, if none is usable.
    pub fn menu(&self) -> Result<Menu, SdpRefusal> {
        let mut refusal = SdpRefusal::NoAudio;
        for stream in &self.streams {
            let reason = match &stream.audio {
                Ok(audio) if audio.voices().next().is_some() => return Ok(Menu::of(audio)),
                Ok(_) => SdpRefusal::NoCodec,
                Err(reason) => *reason,
            };
            if refusal == SdpRefusal::NoAudio {
                refusal = reason;
            }
        }
        Err(refusal)
    }

    /// Leaves this codec alone wherever it is offered: what the far side speaks already has not to
    /// be decoded on its way.
    pub fn prefer(&mut self, codec: Codec) {
        let wanted = Format::Voice(codec);
        for audio in self.streams.iter_mut().filter_map(|stream| stream.audio.as_mut().ok()) {
            if audio.formats.iter().any(|(_, format)| *format == wanted) {
                audio.formats.retain(|(_, format)| match format {
                    Format::Voice(other) => *other == codec,
                    Format::TelephoneEvent(_) | Format::Redundancy(_) | Format::Other => true,
                });
            }
        }
    }
}

impl Menu {
    fn of(audio: &Audio) -> Menu {
        // The old way to hold (RFC 3264 section 8.4).
        let held_blind = audio.connection.address().is_ok_and(|ip| ip.is_unspecified());
        let receives = audio.direction.receives && (!held_blind || audio.is_browser());
        let mut menu = Menu {
            voices: Vec::new(),
            events: Vec::new(),
            ptime_ms: ptime_of(audio),
            direction: Direction { receives, ..audio.direction },
        };
        for (payload_type, codec) in audio.voices() {
            menu.put(codec, Some(payload_type));
        }
        for (payload_type, format) in &audio.formats {
            if let Format::TelephoneEvent(clock) = format {
                menu.put_event(*clock, Some(*payload_type));
            }
        }
        menu
    }

    /// What copies of a party's voice are offered in: G.711, in its own law first if it speaks that,
    /// then what else it speaks and SDP has a name for, Opus aside, which is spoken with callers
    /// alone. Of key events there are no copies.
    #[must_use]
    pub fn of_copies(spoken: Codec) -> Menu {
        let mut menu = Menu {
            voices: Vec::new(),
            events: Vec::new(),
            ptime_ms: DEFAULT_PACKET_TIME_MS,
            direction: Direction { sends: true, receives: false },
        };
        let own = spoken.law().map(Codec::G711);
        let other = Some(spoken).filter(|codec| *codec == Codec::G722);
        let both = [Law::Mu, Law::A].map(Codec::G711);
        own.into_iter().chain(both).chain(other).for_each(|codec| menu.put(codec, None));
        menu
    }

    /// The codecs, in order of preference.
    pub fn codecs(&self) -> impl Iterator<Item = Codec> {
        self.voices.iter().map(|(_, codec)| *codec)
    }

    /// Takes codecs off it.
    pub fn retain(&mut self, keep: impl Fn(Codec) -> bool) {
        self.voices.retain(|(_, codec)| keep(*codec));
    }

    /// Puts a codec at its end: what is spoken in it is decoded and encoded. With it come key events
    /// on its clock, if there are any. Uncompressed audio is for engines without SDP, and stays out.
    pub fn add(&mut self, codec: Codec) {
        self.put(codec, None);
        if !self.events.is_empty() {
            self.put_event(codec.clock(), None);
        }
    }

    /// What an `m=` line lists: voices, then key events on their clocks.
    pub(super) fn formats(&self) -> Vec<(u8, Format)> {
        let voices = self.voices.iter().map(|(number, codec)| (*number, Format::Voice(*codec)));
        let is_heard = |clock: u32| self.codecs().any(|codec| codec.clock() == clock);
        let events = self.events.iter().filter(|(_, clock)| is_heard(*clock));
        let events = events.map(|(number, clock)| (*number, Format::TelephoneEvent(*clock)));
        voices.chain(events).collect()
    }

    fn put(&mut self, codec: Codec, wanted: Option<u8>) {
        let fixed = match codec {
            Codec::G711(_) | Codec::G722 => {
                (0..96).find(|number| Format::of_static_type(*number) == Format::Voice(codec))
            }
            Codec::Opus => None,
            Codec::L16(_) => return,
        };
        if !self.codecs().any(|other| other == codec)
            && let Some(number) = self.free(wanted).or(fixed).or_else(|| self.any())
        {
            self.voices.push((number, codec));
        }
    }

    fn put_event(&mut self, clock: u32, wanted: Option<u8>) {
        if !self.events.iter().any(|(_, other)| *other == clock)
            && let Some(number) = self.free(wanted).or_else(|| self.any())
        {
            self.events.push((number, clock));
        }
    }

    /// The number, if nothing has it and RTCP leaves it alone.
    fn free(&self, number: Option<u8>) -> Option<u8> {
        number.filter(|number| !TYPES_TAKEN_BY_RTCP.contains(number) && !self.has(*number))
    }

    /// From above, since others count from below.
    fn any(&self) -> Option<u8> {
        DYNAMIC_TYPES.rev().find(|number| !self.has(*number))
    }

    fn has(&self, number: u8) -> bool {
        self.voices.iter().any(|(other, _)| *other == number)
            || self.events.iter().any(|(other, _)| *other == number)
    }
}

/// The wish if every codec can be sent so, else 20 ms.
fn ptime_of(audio: &Audio) -> u8 {
    let mut times = PACKET_TIMES_MS.into_iter();
    let granted = times.find(|time| Some(u16::from(*time)) == audio.ptime_ms);
    granted.unwrap_or(DEFAULT_PACKET_TIME_MS)
}
