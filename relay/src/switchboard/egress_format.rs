//! EgressFormat: what a stream is sent as.

use std::time::Duration;

use super::transcoder::Frames;
use crate::codec::Codec;

/// What the stream is sent as; may change with a re-offer.
#[derive(Clone, Copy)]
pub(super) struct EgressFormat {
    /// Codec of the stream.
    pub(super) codec: Codec,
    /// Its payload type.
    pub(super) payload_type: u8,
    /// How long one packet lasts.
    pub(super) ptime: Duration,
    /// The peer wants to receive at all (RFC 3264 hold).
    pub(super) audible: bool,
    /// Codec of the other party, whose voice fills the stream.
    pub(super) heard: Codec,
}

impl EgressFormat {
    /// Whether the other party's voice has to be decoded.
    pub(super) fn is_transcoded(self) -> bool {
        self.codec.transcodes(self.heard)
    }

    /// What one frame of it is.
    pub(super) fn frames(self) -> Frames {
        Frames { codec: self.codec, ptime: self.ptime }
    }

    /// How long one packet lasts, in milliseconds.
    pub(super) fn ptime_ms(self) -> u32 {
        self.ptime.as_millis() as u32
    }

    /// Ticks of the RTP clock that one packet lasts.
    pub(super) fn ticks(self) -> u32 {
        self.codec.clock() / 1000 * self.ptime_ms()
    }

    /// Octets of one packet of G.711, and its samples at 8 kHz.
    pub(super) fn narrow_len(self) -> usize {
        self.ptime_ms() as usize * 8
    }
}
