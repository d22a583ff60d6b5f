//! `Format`: what a payload type stands for, as far as a call with an AI engine needs to know.

use std::fmt::{self, Display};

use dtmf::g711::Law;

use crate::codec::Codec;

/// What a payload type carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Format {
    /// Voice.
    Voice(Codec),
    /// Named telephone events (RFC 4733), on a clock of so many Hz.
    TelephoneEvent(u32),
    /// Packets that repeat what earlier ones carried (RFC 2198), on such a clock.
    Redundancy(u32),
    /// Anything else.
    Other,
}

impl Format {
    /// What callers may speak. Uncompressed audio is for engines: no telephone offers it.
    const VOICES: [Codec; 4] =
        [Codec::G711(Law::Mu), Codec::G711(Law::A), Codec::G722, Codec::Opus];

    /// What a payload type stands for without an `a=rtpmap` (RFC 3551 table 4).
    pub(super) const fn of_static_type(payload_type: u8) -> Self {
        match payload_type {
            0 => Self::Voice(Codec::G711(Law::Mu)),
            8 => Self::Voice(Codec::G711(Law::A)),
            9 => Self::Voice(Codec::G722),
            _ => Self::Other,
        }
    }

    /// What `name/clock[/channels]` of an `a=rtpmap` stands for; names ignore case.
    pub(super) fn of_encoding(encoding: &str) -> Self {
        let mut parts = encoding.trim().split('/');
        let name = parts.next().unwrap_or_default();
        let clock = parts.next().and_then(|clock| clock.parse().ok());
        let channels = parts.next().unwrap_or("1");
        let (Some(clock), None) = (clock, parts.next()) else { return Self::Other };
        let others = [Self::TelephoneEvent(clock), Self::Redundancy(clock)];
        let known = Self::VOICES.into_iter().map(Self::Voice).chain(others);
        known
            .into_iter()
            .find(|format| {
                format.name().eq_ignore_ascii_case(name)
                    && format.clock() == clock
                    && format.channels() == channels
            })
            .unwrap_or(Self::Other)
    }

    /// The encoding name; empty for what is never answered.
    const fn name(self) -> &'static str {
        match self {
            Self::Voice(codec) => codec.name(),
            Self::TelephoneEvent(_) => "telephone-event",
            Self::Redundancy(_) => "red",
            Self::Other => "",
        }
    }

    const fn clock(self) -> u32 {
        match self {
            Self::Voice(codec) => codec.clock(),
            Self::TelephoneEvent(clock) | Self::Redundancy(clock) => clock,
            Self::Other => 0,
        }
    }

    /// Opus is always written with two (RFC 7587 section 7), whatever is sent.
    const fn channels(self) -> &'static str {
        match self {
            Self::Voice(Codec::Opus) => "2",
            Self::Voice(Codec::G711(_) | Codec::G722 | Codec::L16(_))
            | Self::TelephoneEvent(_)
            | Self::Redundancy(_)
            | Self::Other => "1",
        }
    }
}

/// As an `a=rtpmap` has it.
impl Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.name(), self.clock())?;
        match self.channels() {
            "1" => Ok(()),
            channels => write!(f, "/{channels}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use dtmf::g711::Law;

    use super::Format;
    use crate::codec::Codec;

    #[test]
    fn encodings_are_told_by_name_clock_and_channels() {
        let cases = [
            ("PCMU/8000", Format::Voice(Codec::G711(Law::Mu))),
            ("pcma/8000/1", Format::Voice(Codec::G711(Law::A))),
            ("G722/8000", Format::Voice(Codec::G722)),
            ("opus/48000/2", Format::Voice(Codec::Opus)),
            ("OPUS/48000/2", Format::Voice(Codec::Opus)),
            ("Telephone-Event/8000", Format::TelephoneEvent(8000)),
            ("telephone-event/48000", Format::TelephoneEvent(48_000)),
            ("RED/8000/1", Format::Redundancy(8000)),
            ("red/48000/2", Format::Other),
            ("opus/48000", Format::Other),
            ("opus/8000/2", Format::Other),
            ("G722/16000", Format::Other),
            ("L16/16000", Format::Other),
            ("red", Format::Other),
            ("telephone-event", Format::Other),
            ("PCMU/8000/2", Format::Other),
            ("PCMU/16000", Format::Other),
            ("PCMU/8000/1/1", Format::Other),
            ("PCMU/99999999999", Format::Other),
            ("/8000", Format::Other),
            ("/0", Format::Other),
            ("", Format::Other),
        ];
        for (encoding, format) in cases {
            assert_eq!(Format::of_encoding(encoding), format, "{encoding}");
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        for codec in Format::VOICES {
            let format = Format::Voice(codec);
            assert_eq!(Format::of_encoding(&format.to_string()), format);
        }
        assert_eq!(Format::Voice(Codec::Opus).to_string(), "opus/48000/2");
        assert_eq!(Format::TelephoneEvent(48_000).to_string(), "telephone-event/48000");
    }

    #[test]
    fn static_types_need_no_map() {
        assert_eq!(Format::of_static_type(0), Format::Voice(Codec::G711(Law::Mu)));
        assert_eq!(Format::of_static_type(8), Format::Voice(Codec::G711(Law::A)));
        assert_eq!(Format::of_static_type(9), Format::Voice(Codec::G722));
        assert_eq!(Format::of_static_type(101), Format::Other);
    }
}
