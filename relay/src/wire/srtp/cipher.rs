//! SRTP cipher: the keys of RTP or of RTCP in one direction, whichever suite they are for.

use super::SrtpError;
use super::aes_cm::AesCm;
use super::gcm::{self, Gcm};
use super::key::{Label, MasterKey};
use super::suite::{E_BIT, INDEX_WORD_LEN, Suite};

/// What makes a packet unique under its key.
#[derive(Clone, Copy)]
pub(super) struct PacketId {
    pub(super) ssrc: u32,
    /// 48 bits for RTP: rollover count and sequence number. 31 bits for RTCP.
    pub(super) index: u64,
}

impl PacketId {
    /// The rollover count of an RTP packet.
    pub(super) fn rollover(self) -> u32 {
        (self.index >> 16) as u32
    }

    /// The word an RTCP packet carries: encrypted, and its index.
    pub(super) fn index_word(self) -> u32 {
        debug_assert!(self.index < u64::from(E_BIT), "an SRTCP index has 31 bits");
        E_BIT | self.index as u32
    }
}

/// One suite's keys, ready for use. They lie on the heap, so that moving a context leaves no copy
/// of them behind.
pub(super) enum Cipher {
    AesCm(Box<AesCm>),
    Gcm(Box<Gcm>),
}

impl Cipher {
    /// The keys for RTP.
    pub(super) fn rtp(key: &MasterKey) -> Self {
        let tag_len = key.suite().rtp_overhead();
        Self::derive(key, tag_len, Label::RtpEncryption, Label::RtpAuthentication, Label::RtpSalt)
    }

    /// The keys for RTCP.
    pub(super) fn rtcp(key: &MasterKey) -> Self {
        let tag_len = key.suite().rtcp_overhead() - INDEX_WORD_LEN;
        Self::derive(
            key,
            tag_len,
            Label::RtcpEncryption,
            Label::RtcpAuthentication,
            Label::RtcpSalt,
        )
    }

    fn derive(
        key: &MasterKey,
        tag_len: usize,
        encryption: Label,
        authentication: Label,
        salt: Label,
    ) -> Self {
        match key.suite() {
            Suite::AeadAes256Gcm => {
                let key = Gcm::new(&*key.derive::<32>(encryption), key.derive(salt));
                Self::Gcm(Box::new(key))
            }
            Suite::AeadAes128Gcm => {
                let key = Gcm::new(&*key.derive::<16>(encryption), key.derive(salt));
                Self::Gcm(Box::new(key))
            }
            Suite::AesCm128HmacSha1_80 | Suite::AesCm128HmacSha1_32 => {
                let authentication = key.derive(authentication);
                let encryption = key.derive(encryption);
                let key = AesCm::new(&encryption, key.derive(salt), &authentication, tag_len);
                Self::AesCm(Box::new(key))
            }
        }
    }

    /// Protects the packet in `buffer[..len]` in place; gives its length with the tag.
    pub(super) fn seal_rtp(
        &self,
        buffer: &mut [u8],
        header_len: usize,
        len: usize,
        id: PacketId,
    ) -> Result<usize, SrtpError> {
        match self {
            Self::AesCm(cipher) => cipher.seal_rtp(buffer, header_len, len, id),
            Self::Gcm(cipher) => cipher.seal_rtp(buffer, header_len, len, id),
        }
    }

    /// Verifies and decrypts in place; gives the length without the tag.
    pub(super) fn open_rtp(
        &self,
        packet: &mut [u8],
        header_len: usize,
        id: PacketId,
    ) -> Result<usize, SrtpError> {
        match self {
            Self::AesCm(cipher) => cipher.open_rtp(packet, header_len, id),
            Self::Gcm(cipher) => cipher.open_rtp(packet, header_len, id),
        }
    }

    /// Protects the compound packet in `buffer[..len]` in place; gives its length with index and tag.
    pub(super) fn seal_rtcp(
        &self,
        buffer: &mut [u8],
        len: usize,
        id: PacketId,
    ) -> Result<usize, SrtpError> {
        match self {
            Self::AesCm(cipher) => cipher.seal_rtcp(buffer, len, id),
            Self::Gcm(cipher) => cipher.seal_rtcp(buffer, len, id),
        }
    }

    /// Verifies and decrypts in place; gives the length without index and tag.
    pub(super) fn open_rtcp(&self, packet: &mut [u8], id: PacketId) -> Result<usize, SrtpError> {
        match self {
            Self::AesCm(cipher) => cipher.open_rtcp(packet, id),
            Self::Gcm(cipher) => cipher.open_rtcp(packet, id),
        }
    }

    /// The index an RTCP packet carries, not verified yet.
    pub(super) fn rtcp_index(&self, packet: &[u8]) -> Result<u64, SrtpError> {
        let word = match self {
            Self::AesCm(cipher) => cipher.index_word(packet),
            Self::Gcm(_) => gcm::index_word(packet),
        };
        let word = word.ok_or(SrtpError::TooShort)?;
        if word & E_BIT == 0 {
            return Err(SrtpError::Unencrypted);
        }
        Ok(u64::from(word & !E_BIT))
    }
}
