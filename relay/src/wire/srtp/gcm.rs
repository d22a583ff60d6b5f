//! AES-GCM: nonce, associated data and packet layout of RFC 7714.

use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

use super::SrtpError;
use super::cipher::PacketId;
use super::suite::INDEX_WORD_LEN;

/// Octets of a session salt, and of a nonce.
pub(super) const SALT_LEN: usize = 12;

/// Octets of the tag (RFC 7714 section 13.1).
const TAG_LEN: usize = 16;

/// Octets of an RTCP packet that stay in clear: its first header and SSRC.
const RTCP_CLEAR_LEN: usize = 8;

/// What GCM needs of a cryptographic library.
pub(super) trait Aead {
    /// Encrypts in place and gives the tag.
    fn seal(
        &self,
        nonce: [u8; SALT_LEN],
        clear: &[u8],
        text: &mut [u8],
    ) -> Result<[u8; TAG_LEN], SrtpError>;

    /// Verifies the tag at the end and decrypts in place. What fails is not to be read any more.
    fn open(
        &self,
        nonce: [u8; SALT_LEN],
        clear: &[u8],
        text_and_tag: &mut [u8],
    ) -> Result<(), SrtpError>;
}

impl Aead for LessSafeKey {
    fn seal(
        &self,
        nonce: [u8; SALT_LEN],
        clear: &[u8],
        text: &mut [u8],
    ) -> Result<[u8; TAG_LEN], SrtpError> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        // Refused only beyond 2^36 octets, which no datagram has.
        let tag = self
            .seal_in_place_separate_tag(nonce, Aad::from(clear), text)
            .map_err(|_| SrtpError::Exhausted)?;
        tag.as_ref().try_into().map_err(|_| SrtpError::TooShort)
    }

    fn open(
        &self,
        nonce: [u8; SALT_LEN],
        clear: &[u8],
        text_and_tag: &mut [u8],
    ) -> Result<(), SrtpError> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        match self.open_in_place(nonce, Aad::from(clear), text_and_tag) {
            Ok(_) => Ok(()),
            Err(_) => Err(SrtpError::BadTag),
        }
    }
}

/// Keys of one direction of RTP, or of RTCP.
///
/// `ring` gives no way to wipe its key schedule; the session key it is made from is wiped.
pub(super) struct Gcm<A = LessSafeKey> {
    aead: A,
    salt: Zeroizing<[u8; SALT_LEN]>,
}

impl Gcm {
    /// With AES-128 or AES-256, as the key is long.
    pub(super) fn new(key: &[u8], salt: Zeroizing<[u8; SALT_LEN]>) -> Self {
        let algorithm = if key.len() == 16 { &AES_128_GCM } else { &AES_256_GCM };
        let key = UnboundKey::new(algorithm, key).expect("session keys have 16 or 32 octets");
        Self { aead: LessSafeKey::new(key), salt }
    }
}

impl<A: Aead> Gcm<A> {
    /// Encrypts what follows the header, which is the associated data, and appends the tag.
    pub(super) fn seal_rtp(
        &self,
        buffer: &mut [u8],
        header_len: usize,
        len: usize,
        id: PacketId,
    ) -> Result<usize, SrtpError> {
        let (packet, room) = buffer.split_at_mut_checked(len).ok_or(SrtpError::TooShort)?;
        let tag_room = room.get_mut(..TAG_LEN).ok_or(SrtpError::TooShort)?;
        let (header, payload) =
            packet.split_at_mut_checked(header_len).ok_or(SrtpError::TooShort)?;
        tag_room.copy_from_slice(&self.aead.seal(self.nonce(id), header, payload)?);
        Ok(len + TAG_LEN)
    }

    /// Verifies and decrypts. The payload of a packet that fails is lost.
    pub(super) fn open_rtp(
        &self,
        packet: &mut [u8],
        header_len: usize,
        id: PacketId,
    ) -> Result<usize, SrtpError> {
        let len = packet.len().checked_sub(TAG_LEN).ok_or(SrtpError::TooShort)?;
        if len < header_len {
            return Err(SrtpError::TooShort);
        }
        let (header, text) = packet.split_at_mut_checked(header_len).ok_or(SrtpError::TooShort)?;
        self.aead.open(self.nonce(id), header, text)?;
        Ok(len)
    }

    /// Encrypts what follows the first SSRC, appends the tag and the index.
    pub(super) fn seal_rtcp(
        &self,
        buffer: &mut [u8],
        len: usize,
        id: PacketId,
    ) -> Result<usize, SrtpError> {
        let (packet, room) = buffer.split_at_mut_checked(len).ok_or(SrtpError::TooShort)?;
        let room: &mut [u8; TAG_LEN + INDEX_WORD_LEN] =
            room.first_chunk_mut().ok_or(SrtpError::TooShort)?;
        let (header, text) =
            packet.split_first_chunk_mut::<RTCP_CLEAR_LEN>().ok_or(SrtpError::TooShort)?;
        let tag = self.aead.seal(self.nonce(id), &rtcp_clear(header, id), text)?;
        room[..TAG_LEN].copy_from_slice(&tag);
        room[TAG_LEN..].copy_from_slice(&id.index_word().to_be_bytes());
        Ok(len + room.len())
    }

    /// Verifies and decrypts. What was encrypted in a packet that fails is lost.
    pub(super) fn open_rtcp(&self, packet: &mut [u8], id: PacketId) -> Result<usize, SrtpError> {
        let tagged_len = packet.len().checked_sub(INDEX_WORD_LEN).ok_or(SrtpError::TooShort)?;
        let len = tagged_len.checked_sub(TAG_LEN).ok_or(SrtpError::TooShort)?;
        if len < RTCP_CLEAR_LEN {
            return Err(SrtpError::TooShort);
        }
        let (header, text) =
            packet.split_first_chunk_mut::<RTCP_CLEAR_LEN>().ok_or(SrtpError::TooShort)?;
        let text = text.get_mut(..tagged_len - RTCP_CLEAR_LEN).ok_or(SrtpError::TooShort)?;
        self.aead.open(self.nonce(id), &rtcp_clear(header, id), text)?;
        Ok(len)
    }

    /// `(ssrc * 2^48 + index) XOR salt`: for RTP the index is rollover count and sequence number
    /// (RFC 7714 section 8.1), for RTCP its own (section 9.1).
    fn nonce(&self, id: PacketId) -> [u8; SALT_LEN] {
        debug_assert!(id.index < 1 << 48, "an SRTP index has 48 bits");
        let packet = (u128::from(id.ssrc) << 48) | u128::from(id.index);
        let mut nonce = *self.salt;
        for (octet, packet) in nonce.iter_mut().zip(&packet.to_be_bytes()[4..]) {
            *octet ^= packet;
        }
        nonce
    }
}

/// The E bit and index of an RTCP packet: at its very end.
pub(super) fn index_word(packet: &[u8]) -> Option<u32> {
    packet.last_chunk().map(|word| u32::from_be_bytes(*word))
}

/// Associated data of RTCP: the eight octets in clear and the index word (RFC 7714 section 9.2).
fn rtcp_clear(
    header: &[u8; RTCP_CLEAR_LEN],
    id: PacketId,
) -> [u8; RTCP_CLEAR_LEN + INDEX_WORD_LEN] {
    let mut clear = [0; RTCP_CLEAR_LEN + INDEX_WORD_LEN];
    clear[..RTCP_CLEAR_LEN].copy_from_slice(header);
    clear[RTCP_CLEAR_LEN..].copy_from_slice(&id.index_word().to_be_bytes());
    clear
}

#[cfg(test)]
mod tests {
    use super::super::test_support::unhex;
    use super::*;

    const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    const SALT: &str = "517569642070726f2071756f";

    fn gcm(key_len: usize) -> Gcm {
        let salt = unhex(SALT).try_into().unwrap();
        Gcm::new(&unhex(KEY)[..key_len], Zeroizing::new(salt))
    }

    /// RFC 7714 sections 16.1 and 16.2.
    #[test]
    fn rtp_packets_of_rfc_7714() {
        let plain = unhex(
            "8040f17b8041f8d35501a0b2 47616c6c696120657374206f6d6e697320646976 \
             69736120696e207061727465732074726573",
        );
        let id = PacketId { ssrc: 0x5501_a0b2, index: 0xf17b };
        let vectors = [
            (
                16,
                "8040f17b8041f8d35501a0b2 f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f \
                 42a5f47a51c7d19b36de3adf8833 899d7f27beb16a9152cf765ee4390cce",
            ),
            (
                32,
                "8040f17b8041f8d35501a0b2 32b1de78a822fe12ef9f78fa332e33aab18012389a58e2f3 \
                 b50b2a0276ffae0f1ba63799b87b 7aa3db36dfffd6b0f9bb7878d7a76c13",
            ),
        ];
        for (key_len, protected) in vectors {
            let mut buffer = plain.clone();
            buffer.resize(plain.len() + TAG_LEN, 0);
            let len = gcm(key_len).seal_rtp(&mut buffer, 12, plain.len(), id).unwrap();
            assert_eq!(buffer[..len], unhex(protected), "AES-{}", 8 * key_len);
            let len = gcm(key_len).open_rtp(&mut buffer, 12, id).unwrap();
            assert_eq!(buffer[..len], plain);
        }
    }

    /// RFC 7714 sections 17.1 and 17.2.
    #[test]
    fn rtcp_packets_of_rfc_7714() {
        let plain = unhex(
            "81c8000d4d617273 4e5450314e545032525450200000042a0000e930 \
             4c756e61deadbeefdeadbeefdeadbeefdeadbeefdeadbeef",
        );
        let id = PacketId { ssrc: 0x4d61_7273, index: 0x5d4 };
        let vectors = [
            (
                16,
                "81c8000d4d617273 63e94885dcdab67ca727d7662f6b7e997ff5c0f76c06f32d \
                 c676a5f1730d6fda4ce09b4686303ded0bb9275b c84aa45896cf4d2fc5abf87245d9eade \
                 800005d4",
            ),
            (
                32,
                "81c8000d4d617273 d50ae4d1f5ce5d304ba297e47d470c282c3ece5dbffe0a50 \
                 a2eaa5c1110555be8415f658c61de0476f1b6fad 1d1eb30c4446839f57ff6f6cb26ac3be \
                 800005d4",
            ),
        ];
        for (key_len, protected) in vectors {
            let mut buffer = plain.clone();
            buffer.resize(plain.len() + TAG_LEN + INDEX_WORD_LEN, 0);
            let len = gcm(key_len).seal_rtcp(&mut buffer, plain.len(), id).unwrap();
            assert_eq!(buffer[..len], unhex(protected), "AES-{}", 8 * key_len);
            assert_eq!(index_word(&buffer), Some(0x8000_05d4));
            let len = gcm(key_len).open_rtcp(&mut buffer, id).unwrap();
            assert_eq!(buffer[..len], plain);
        }
    }
}
