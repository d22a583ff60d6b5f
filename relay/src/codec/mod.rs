//! Codecs: what voice travels as, and how it becomes samples and octets again.
//!
//! Where both parties of a call speak G.711 nothing of this is needed: one law becomes the other
//! octet by octet. Any other pair is decoded, resampled and encoded anew.

mod conceal;
mod decoder;
mod encoder;
mod resample;

pub use conceal::Concealer;
pub use decoder::{Decoder, Undecodable};
pub use encoder::Encoder;
pub use resample::Resampler;

use std::fmt;
use std::time::Duration;

use dtmf::g711::Law;

/// Samples a second at which keys are heard, recordings are kept and prompts are spoken.
pub const NARROW: u32 = 8000;
/// What Opus is decoded to, and encoded from, where the other party does not settle it.
const WIDE: u32 = 16_000;
/// The clock of Opus, whatever rate it was made from (RFC 7587 section 4.1).
const OPUS_CLOCK: u32 = 48_000;

/// Longest packet of audio, in ms: Opus knows none longer (RFC 6716 section 3.2.5).
pub const MAX_PACKET_MS: u32 = 120;
/// Fastest rate that voice is decoded to or encoded from.
pub const MAX_RATE: u32 = 24_000;
/// Samples of the longest packet at 8 kHz.
pub const MAX_NARROW: usize = (NARROW / 1000 * MAX_PACKET_MS) as usize;
/// Samples of the longest packet at the fastest rate.
pub const MAX_SAMPLES: usize = (MAX_RATE / 1000 * MAX_PACKET_MS) as usize;

/// What voice travels as; mono.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Codec {
    /// ITU-T G.711, 64 kbit/s, 8 kHz.
    G711(Law),
    /// ITU-T G.722, 64 kbit/s, 16 kHz. Its RTP clock is 8 kHz by an old mistake (RFC 3551 section
    /// 4.5.2).
    G722,
    /// 16-bit samples in network order (RFC 3551 section 4.5.11).
    L16(SampleRate),
    /// Opus (RFC 6716), in RTP by RFC 7587.
    Opus,
}

/// Rates of uncompressed audio.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SampleRate {
    /// 8000 samples a second.
    Narrow,
    /// 16 000 samples a second.
    Wide,
    /// 24 000 samples a second.
    SuperWide,
}

impl SampleRate {
    /// Samples a second.
    #[must_use]
    pub const fn hz(self) -> u32 {
        match self {
            SampleRate::Narrow => NARROW,
            SampleRate::Wide => WIDE,
            SampleRate::SuperWide => MAX_RATE,
        }
    }
}

impl Codec {
    /// The name in SDP and JSON (RFC 3551, RFC 7587).
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Codec::G711(Law::Mu) => "PCMU",
            Codec::G711(Law::A) => "PCMA",
            Codec::G722 => "G722",
            Codec::L16(_) => "L16",
            Codec::Opus => "opus",
        }
    }

    /// Ticks a second of the RTP clock, that of its telephone-event too.
    #[must_use]
    pub const fn clock(self) -> u32 {
        match self {
            Codec::G711(_) | Codec::G722 => NARROW,
            Codec::L16(rate) => rate.hz(),
            Codec::Opus => OPUS_CLOCK,
        }
    }

    /// The law, if it is G.711.
    #[must_use]
    pub const fn law(self) -> Option<Law> {
        match self {
            Codec::G711(law) => Some(law),
            Codec::G722 | Codec::L16(_) | Codec::Opus => None,
        }
    }

    /// Whether voice of `other` has to be decoded to become this.
    #[must_use]
    pub const fn transcodes(self, other: Codec) -> bool {
        self.law().is_none() || other.law().is_none()
    }

    /// Samples a second to decode this to, for a party that speaks `other`; also those that it is
    /// encoded from, where `other` is what was heard.
    #[must_use]
    pub const fn rate_beside(self, other: Codec) -> u32 {
        match (self.own_rate(), other.own_rate()) {
            (Some(own), _) => own,
            (None, Some(other)) => other,
            (None, None) => WIDE,
        }
    }

    /// Octets of a packet of `ms`, where that is always the same.
    #[must_use]
    pub const fn octets(self, ms: u32) -> Option<usize> {
        match self {
            Codec::G711(_) | Codec::G722 => Some((ms * 8) as usize),
            Codec::L16(rate) => Some((rate.hz() / 1000 * ms * 2) as usize),
            Codec::Opus => None,
        }
    }

    /// How long a payload lasts, in ticks of the RTP clock; 0 where that can't be told.
    #[must_use]
    pub fn ticks(self, payload: &[u8]) -> u32 {
        match self {
            Codec::G711(_) | Codec::G722 => payload.len() as u32,
            Codec::L16(_) => payload.len() as u32 / 2,
            Codec::Opus => opus::packet::get_nb_samples(payload, OPUS_CLOCK).unwrap_or(0) as u32,
        }
    }

    /// How long so many ticks of the RTP clock last.
    #[must_use]
    pub fn length(self, ticks: u32) -> Duration {
        Duration::from_micros(u64::from(ticks) * 1000 / u64::from(self.clock() / 1000))
    }

    /// Samples a second of its own; Opus has none.
    const fn own_rate(self) -> Option<u32> {
        match self {
            Codec::G711(_) => Some(NARROW),
            Codec::G722 => Some(WIDE),
            Codec::L16(rate) => Some(rate.hz()),
            Codec::Opus => None,
        }
    }
}

/// Its name, of L16 with its rate.
impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Codec::G711(_) | Codec::G722 | Codec::Opus => f.write_str(self.name()),
            Codec::L16(rate) => write!(f, "{}/{}", self.name(), rate.hz()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Codec; 7] = [
        Codec::G711(Law::Mu),
        Codec::G711(Law::A),
        Codec::G722,
        Codec::L16(SampleRate::Narrow),
        Codec::L16(SampleRate::Wide),
        Codec::L16(SampleRate::SuperWide),
        Codec::Opus,
    ];

    /// A tone of 500 Hz at -9 dBm0 or so.
    fn tone(rate: u32, samples: usize) -> Vec<i16> {
        let step = 500.0 * std::f64::consts::TAU / f64::from(rate);
        (0..samples).map(|at| (8000.0 * (step * at as f64).sin()) as i16).collect()
    }

    fn share_of_tone(rate: u32, pcm: &[i16]) -> f64 {
        let step = 500.0 * std::f64::consts::TAU / f64::from(rate);
        let (mut re, mut im, mut power) = (0.0, 0.0, 0.0);
        for (at, &sample) in pcm.iter().enumerate() {
            let (sample, angle) = (f64::from(sample), step * at as f64);
            re += sample * angle.cos();
            im += sample * angle.sin();
            power += sample * sample;
        }
        2.0 * (re * re + im * im) / (pcm.len() as f64 * power)
    }

    #[test]
    fn a_tone_comes_through_from_every_codec_to_every_other() {
        for from in ALL {
            for to in ALL {
                let (source, target) = (from.rate_beside(to), to.rate_beside(from));
                let mut first = Encoder::new(from, source).unwrap();
                let mut decoder = Decoder::new(from, source).unwrap();
                let mut resampler = Resampler::new(source, target);
                let mut second = Encoder::new(to, target).unwrap();
                let mut last = Decoder::new(to, target).unwrap();
                let mut heard = Vec::new();
                for packet in tone(source, source as usize).chunks(source as usize / 50) {
                    let (mut wire, mut pcm) = ([0; 1500], [0; MAX_SAMPLES]);
                    let len = first.encode(packet, &mut wire).unwrap();
                    assert_eq!(from.ticks(&wire[..len]), from.clock() / 50, "{from:?}");
                    assert!(from.octets(20).is_none_or(|octets| octets == len), "{from:?}");
                    let count = decoder.decode(&wire[..len], &mut pcm).unwrap();
                    let mut resampled = Vec::new();
                    resampler.push(&pcm[..count], &mut |sample| resampled.push(sample));
                    let len = second.encode(&resampled, &mut wire).unwrap();
                    let count = last.decode(&wire[..len], &mut pcm).unwrap();
                    heard.extend_from_slice(&pcm[..count]);
                }
                assert_eq!(heard.len(), target as usize, "a second stays a second");
                let share = share_of_tone(target, &heard[heard.len() / 2..]);
                assert!(share > 0.97, "{from:?} to {to:?}: {share}");
            }
        }
    }

    #[test]
    fn what_is_no_packet_is_refused() {
        let mut pcm = [0; MAX_SAMPLES];
        let mut opus = Decoder::new(Codec::Opus, NARROW).unwrap();
        for payload in [&[][..], &[0xff], &[0x03, 0xff, 0xff]] {
            assert!(opus.decode(payload, &mut pcm).is_err(), "{payload:?}");
            assert_eq!(Codec::Opus.ticks(payload), 0);
        }
        let mut l16 = Decoder::new(Codec::L16(SampleRate::Wide), WIDE).unwrap();
        assert!(l16.decode(&[1, 2, 3], &mut pcm).is_err());
        let mut g722 = Decoder::new(Codec::G722, WIDE).unwrap();
        assert!(g722.decode(&[0; 1500], &mut pcm).is_err());
    }

    #[test]
    fn opus_packets_are_all_of_one_size() {
        let mut encoder = Encoder::new(Codec::Opus, NARROW).unwrap();
        let (mut wire, voice) = ([0; 1500], tone(NARROW, 1600));
        let mut sizes: Vec<usize> =
            voice.chunks(160).map(|frame| encoder.encode(frame, &mut wire).unwrap()).collect();
        sizes.extend((0..10).map(|_| encoder.encode(&[0; 160], &mut wire).unwrap()));
        sizes.dedup();
        assert_eq!(sizes.len(), 1, "{sizes:?}");
    }
}
