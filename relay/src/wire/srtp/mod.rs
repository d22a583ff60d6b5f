//! SRTP: one engine for protecting and unprotecting packets in place (RFC 3711, RFC 7714).
//!
//! ```text
//!  RTP    | header | payload, encrypted              | tag |
//!  RTCP   | header | rest, encrypted | E | index | tag |        AES-CM
//!  RTCP   | header | rest, encrypted | tag | E | index |        GCM
//! ```
//!
//! [`MasterKey`] is one direction's key; [`Outbound`] protects with it, [`Inbound`] unprotects.
//! No call on a packet allocates, and none changes any state before the tag has been verified.

mod aes_cm;
mod cipher;
mod context;
mod gcm;
mod hmac_sha1;
mod key;
mod replay;
mod suite;

use thiserror::Error;

pub use context::{Inbound, Outbound};
pub use key::{DtlsKeys, MasterKey, WrongKeyLength};
pub use replay::{MAX_SOURCES, WINDOW};
pub use suite::{MAX_OVERHEAD, Suite};

/// Why a packet was not protected or unprotected. Any of them leaves the state as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SrtpError {
    /// The packet is shorter than its own parts, or the buffer has no room for the tag.
    #[error("packet or buffer too short for SRTP")]
    TooShort,
    /// The header is not one of RTP or RTCP, version 2.
    #[error("not an RTP or RTCP header")]
    Malformed,
    /// An RTCP packet that says it is not encrypted, which no key of ours agrees to.
    #[error("RTCP packet not encrypted")]
    Unencrypted,
    /// The tag does not belong to this packet under this key.
    #[error("SRTP tag does not verify")]
    BadTag,
    /// The index was used before, or lies behind the window that remembers (RFC 3711 section 3.3.2).
    #[error("SRTP index already used or too old")]
    Replayed,
    /// The key has already served [`MAX_SOURCES`] sources.
    #[error("too many sources under one SRTP key")]
    TooManySources,
    /// The key has no index left (RFC 3711 section 9.2): replace it, or end the session.
    #[error("SRTP key used up")]
    Exhausted,
}

#[cfg(test)]
mod test_support {
    /// Octets from hexadecimal digits, blanks between them ignored.
    pub(super) fn unhex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text
            .chars()
            .filter(|c| !c.is_whitespace())
            .map(|c| u8::try_from(c.to_digit(16).unwrap()).unwrap())
            .collect();
        digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
    }
}
