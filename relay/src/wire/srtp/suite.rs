//! SRTP crypto suite: a cipher, a tag and the lengths that go with them.

/// Most octets any suite adds to a packet: a GCM tag and the index of RTCP.
pub const MAX_OVERHEAD: usize = 20;

/// Octets of the word that carries the E bit and the index of an RTCP packet (RFC 3711 section 3.4).
pub(super) const INDEX_WORD_LEN: usize = 4;

/// The top bit of that word: the packet is encrypted. The other 31 are the index.
pub(super) const E_BIT: u32 = 1 << 31;

/// The suites spoken, in order of preference when we are the ones to offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {
    /// AES-256 in Galois/Counter mode (RFC 7714).
    AeadAes256Gcm,
    /// AES-128 in Galois/Counter mode (RFC 7714).
    AeadAes128Gcm,
    /// AES-128 counter mode with an 80-bit tag (RFC 3711; RFC 4568 section 6.2.1).
    AesCm128HmacSha1_80,
    /// The same with a 32-bit tag on RTP; on RTCP it stays at 80 bits (RFC 4568 section 6.2.2).
    AesCm128HmacSha1_32,
}

impl Suite {
    /// All of them, the strongest first.
    pub const ALL: [Self; 4] = [
        Self::AeadAes256Gcm,
        Self::AeadAes128Gcm,
        Self::AesCm128HmacSha1_80,
        Self::AesCm128HmacSha1_32,
    ];

    /// The name in `a=crypto` (RFC 4568 section 6.2, RFC 7714 section 14.1).
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::AeadAes256Gcm => "AEAD_AES_256_GCM",
            Self::AeadAes128Gcm => "AEAD_AES_128_GCM",
            Self::AesCm128HmacSha1_80 => "AES_CM_128_HMAC_SHA1_80",
            Self::AesCm128HmacSha1_32 => "AES_CM_128_HMAC_SHA1_32",
        }
    }

    /// The suite of that name, in any case of letters.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|suite| suite.name().eq_ignore_ascii_case(name))
    }

    /// The DTLS-SRTP protection profile (RFC 5764 section 4.1.2, RFC 7714 section 14.2).
    #[must_use]
    pub fn dtls_profile(self) -> u16 {
        match self {
            Self::AeadAes256Gcm => 0x0008,
            Self::AeadAes128Gcm => 0x0007,
            Self::AesCm128HmacSha1_80 => 0x0001,
            Self::AesCm128HmacSha1_32 => 0x0002,
        }
    }

    /// The suite of that DTLS-SRTP protection profile.
    #[must_use]
    pub fn from_dtls_profile(profile: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|suite| suite.dtls_profile() == profile)
    }

    /// Octets of the master key.
    #[must_use]
    pub fn key_len(self) -> usize {
        match self {
            Self::AeadAes256Gcm => 32,
            Self::AeadAes128Gcm | Self::AesCm128HmacSha1_80 | Self::AesCm128HmacSha1_32 => 16,
        }
    }

    /// Octets of the master salt.
    #[must_use]
    pub fn salt_len(self) -> usize {
        match self {
            Self::AeadAes256Gcm | Self::AeadAes128Gcm => 12,
            Self::AesCm128HmacSha1_80 | Self::AesCm128HmacSha1_32 => 14,
        }
    }

    /// Octets of master key and salt together, as `inline:` carries them.
    #[must_use]
    pub fn master_len(self) -> usize {
        self.key_len() + self.salt_len()
    }

    /// Octets added to an RTP packet.
    #[must_use]
    pub fn rtp_overhead(self) -> usize {
        match self {
            Self::AeadAes256Gcm | Self::AeadAes128Gcm => 16,
            Self::AesCm128HmacSha1_80 => 10,
            Self::AesCm128HmacSha1_32 => 4,
        }
    }

    /// Octets added to an RTCP packet: the tag and the index.
    #[must_use]
    pub fn rtcp_overhead(self) -> usize {
        let tag_len = match self {
            Self::AeadAes256Gcm | Self::AeadAes128Gcm => 16,
            Self::AesCm128HmacSha1_80 | Self::AesCm128HmacSha1_32 => 10,
        };
        tag_len + INDEX_WORD_LEN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_profiles_lead_back() {
        for suite in Suite::ALL {
            assert_eq!(Suite::from_name(&suite.name().to_ascii_lowercase()), Some(suite));
            assert_eq!(Suite::from_dtls_profile(suite.dtls_profile()), Some(suite));
            assert!(suite.rtp_overhead().max(suite.rtcp_overhead()) <= MAX_OVERHEAD);
        }
        assert_eq!(Suite::from_name("F8_128_HMAC_SHA1_80"), None);
        assert_eq!(Suite::from_dtls_profile(0x0005), None);
    }

    #[test]
    fn master_lengths_are_those_of_inline_keys() {
        let lengths = Suite::ALL.map(Suite::master_len);
        assert_eq!(lengths, [44, 28, 30, 30]);
    }
}
