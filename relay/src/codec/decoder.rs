//! Decoder: payloads of one stream in, samples out.

use audio_codec::Decoder as _;
use audio_codec::g722::{Bitrate, G722Decoder};
use dtmf::g711::Law;
use opus::Channels;

use super::{Codec, NARROW};

/// One stream's decoder. What it remembers of the stream goes with it.
pub struct Decoder(Kind);

enum Kind {
    G711(Law),
    G722(Box<G722Decoder>),
    L16,
    Opus(opus::Decoder),
}

/// A payload that no encoder has made, or one longer than any.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("this is no payload of the codec")]
pub struct Undecodable;

impl Decoder {
    /// A decoder to `rate` samples a second: what [`Codec::rate_beside`] says, or 8000. `None` if
    /// there is no memory for it, or if L16 has another rate.
    #[must_use]
    pub fn new(codec: Codec, rate: u32) -> Option<Decoder> {
        Some(Decoder(match codec {
            Codec::G711(law) => Kind::G711(law),
            Codec::L16(own) if own.hz() == rate => Kind::L16,
            Codec::L16(_) => return None,
            Codec::G722 => {
                let (is_packed, is_narrow) = (false, rate == NARROW);
                let decoder = G722Decoder::with_options(Bitrate::Mode1_64000, is_packed, is_narrow);
                Kind::G722(Box::new(decoder))
            }
            Codec::Opus => Kind::Opus(opus::Decoder::new(rate, Channels::Mono).ok()?),
        }))
    }

    /// Decodes one packet and says how many samples that gave.
    ///
    /// # Errors
    /// [`Undecodable`]; nothing in `pcm` means anything then.
    pub fn decode(&mut self, payload: &[u8], pcm: &mut [i16]) -> Result<usize, Undecodable> {
        match &mut self.0 {
            // To libopus, nothing is a lost packet.
            Kind::Opus(_) if payload.is_empty() => Err(Undecodable),
            Kind::Opus(decoder) => decoder.decode(payload, pcm, false).map_err(|_| Undecodable),
            Kind::G722(decoder) => decoder.decode_into(payload, pcm).map_err(|_| Undecodable),
            Kind::G711(law) => {
                let pcm = pcm.get_mut(..payload.len()).ok_or(Undecodable)?;
                law.decode_all(payload, pcm);
                Ok(pcm.len())
            }
            Kind::L16 => {
                let (samples, rest) = payload.as_chunks();
                let pcm = pcm.get_mut(..samples.len()).ok_or(Undecodable)?;
                for (sample, &octets) in pcm.iter_mut().zip(samples) {
                    *sample = i16::from_be_bytes(octets);
                }
                if rest.is_empty() { Ok(pcm.len()) } else { Err(Undecodable) }
            }
        }
    }

    /// Fills `pcm` with what was lost just before `next`: from the copy that it may carry (RFC 6716
    /// section 2.1.7), else by guessing. Of codecs that know of neither: `false`.
    pub fn recover(&mut self, next: &[u8], pcm: &mut [i16]) -> bool {
        match &mut self.0 {
            Kind::Opus(decoder) => {
                decoder.decode(next, pcm, true).is_ok_and(|count| count == pcm.len())
            }
            Kind::G711(_) | Kind::G722(_) | Kind::L16 => false,
        }
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        // Their memory is given back as it is: nothing of what was said is to be left there.
        match &mut self.0 {
            Kind::Opus(decoder) => drop(decoder.reset_state()),
            Kind::G722(decoder) => {
                **decoder = G722Decoder::new();
                // Or nobody would see that it was written, and it would not be.
                std::hint::black_box(decoder);
            }
            Kind::G711(_) | Kind::L16 => {}
        }
    }
}
