//! `Codec`: what a payload type stands for, as far as a telephone call needs to know.

use dtmf::g711::Law;

/// Clock of G.711 and of the one telephone-event and redundancy we answer, in Hz.
const CLOCK_HZ: &str = "8000";

/// What a payload type carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Codec {
    /// G.711, mono, 8000 Hz.
    Pcm(Law),
    /// Named telephone events on the 8000 Hz clock (RFC 4733).
    TelephoneEvent,
    /// Packets that repeat what earlier ones carried (RFC 2198), on the 8000 Hz clock.
    Redundancy,
    /// Anything else.
    Other,
}

impl Codec {
    /// What a payload type stands for without an `a=rtpmap` (RFC 3551 table 4).
    pub(super) const fn of_static_type(payload_type: u8) -> Self {
        match payload_type {
            0 => Self::Pcm(Law::Mu),
            8 => Self::Pcm(Law::A),
            _ => Self::Other,
        }
    }

    /// What `name/clock[/channels]` of an `a=rtpmap` stands for; names ignore case.
    pub(super) fn of_encoding(encoding: &str) -> Self {
        let mut parts = encoding.trim().split('/');
        let name = parts.next().unwrap_or_default();
        let clock = parts.next();
        let channels = parts.next().unwrap_or("1");
        if clock != Some(CLOCK_HZ) || channels != "1" || parts.next().is_some() {
            return Self::Other;
        }
        [Self::Pcm(Law::Mu), Self::Pcm(Law::A), Self::TelephoneEvent, Self::Redundancy]
            .into_iter()
            .find(|codec| codec.encoding_name().eq_ignore_ascii_case(name))
            .unwrap_or(Self::Other)
    }

    /// The encoding name; empty for what is never answered.
    pub(super) const fn encoding_name(self) -> &'static str {
        match self {
            Self::Pcm(Law::Mu) => "PCMU",
            Self::Pcm(Law::A) => "PCMA",
            Self::TelephoneEvent => "telephone-event",
            Self::Redundancy => "red",
            Self::Other => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use dtmf::g711::Law;

    use super::Codec;

    #[test]
    fn encodings_are_told_by_name_clock_and_channels() {
        let cases = [
            ("PCMU/8000", Codec::Pcm(Law::Mu)),
            ("pcma/8000/1", Codec::Pcm(Law::A)),
            ("Telephone-Event/8000", Codec::TelephoneEvent),
            ("telephone-event/48000", Codec::Other),
            ("RED/8000/1", Codec::Redundancy),
            ("red/1000", Codec::Other),
            ("red", Codec::Other),
            ("telephone-event", Codec::Other),
            ("PCMU/8000/2", Codec::Other),
            ("PCMU/16000", Codec::Other),
            ("PCMU/8000/1/1", Codec::Other),
            ("/8000", Codec::Other),
            ("", Codec::Other),
            ("opus/48000/2", Codec::Other),
        ];
        for (encoding, codec) in cases {
            assert_eq!(Codec::of_encoding(encoding), codec, "{encoding}");
        }
    }

    #[test]
    fn static_types_need_no_map() {
        assert_eq!(Codec::of_static_type(0), Codec::Pcm(Law::Mu));
        assert_eq!(Codec::of_static_type(8), Codec::Pcm(Law::A));
        assert_eq!(Codec::of_static_type(101), Codec::Other);
    }
}
