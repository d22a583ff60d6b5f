//! Mouth: what a stream's samples are encoded with, where that takes more than a table.

use zeroize::Zeroize;

use super::egress::EgressFormat;
use super::limits::MAX_FRAME;
use crate::codec::{Encoder, MAX_RATE, NARROW, Resampler};

/// Samples of the longest frame at the fastest rate.
const MAX_SAMPLES: usize = MAX_FRAME * (MAX_RATE / NARROW) as usize;

/// The encoder of one stream.
pub(super) struct Mouth {
    /// Samples a second that it takes.
    rate: u32,
    encoder: Encoder,
    /// Of what the relay itself says.
    widening: Resampler,
}

impl Mouth {
    /// The one there is, or a new one; `None` if there is no memory for it.
    pub(super) fn of(slot: &mut Option<Box<Mouth>>, format: EgressFormat) -> Option<&mut Mouth> {
        if slot.is_none() {
            *slot = Some(Box::new(Mouth::new(format)?));
        }
        slot.as_deref_mut()
    }

    fn new(format: EgressFormat) -> Option<Mouth> {
        let rate = format.codec.rate_beside(format.heard);
        let encoder = Encoder::new(format.codec, rate)?;
        Some(Mouth { rate, encoder, widening: Resampler::new(NARROW, rate) })
    }

    /// Encodes a frame at the stream's own rate.
    pub(super) fn say(&mut self, pcm: &[i16], payload: &mut [u8]) -> Option<usize> {
        self.encoder.encode(pcm, payload)
    }

    /// Encodes a frame of samples at 8 kHz.
    pub(super) fn say_narrow(&mut self, pcm: &[i16], payload: &mut [u8]) -> Option<usize> {
        if self.rate == NARROW {
            return self.encoder.encode(pcm, payload);
        }
        let mut wide = [0; MAX_SAMPLES];
        let count = self.widening.fill(pcm, &mut wide);
        let len = self.encoder.encode(&wide[..count], payload);
        wide.zeroize();
        len
    }

    /// Forgets what was said: the next frame is encoded as if it were the first.
    pub(super) fn forget(&mut self) {
        self.encoder.forget();
        self.widening = Resampler::new(NARROW, self.rate);
    }
}
