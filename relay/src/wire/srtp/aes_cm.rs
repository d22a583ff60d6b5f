//! AES-CM with HMAC-SHA1: the counter mode of RFC 3711 section 4.1.1 and its packet layout.

use aes::cipher::{BlockCipherEncrypt, BlockSizeUser, KeyInit, array::Array, consts::U16};
use aes::{Aes128Enc, Aes256Enc, Block};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::SrtpError;
use super::cipher::PacketId;
use super::hmac_sha1::HmacSha1;
use super::suite::INDEX_WORD_LEN;

/// Octets of a session salt.
pub(super) const SALT_LEN: usize = 14;

/// Octets of an RTCP packet that stay in clear: its first header and SSRC.
const RTCP_CLEAR_LEN: usize = 8;

/// Octets of one AES block.
const BLOCK_LEN: usize = 16;

/// Counter blocks encrypted in one call. A 20 ms packet of G.711 takes ten, so one call does, and
/// the processor's parallel units are kept full.
const BATCH: usize = 16;

/// Keys of one direction of RTP, or of RTCP.
pub(super) struct AesCm {
    aes: Aes128Enc,
    salt: Zeroizing<[u8; SALT_LEN]>,
    hmac: HmacSha1,
    tag_len: usize,
}

impl AesCm {
    pub(super) fn new(
        key: &[u8; 16],
        salt: Zeroizing<[u8; SALT_LEN]>,
        authentication: &[u8; 20],
        tag_len: usize,
    ) -> Self {
        let aes = Aes128Enc::new(key.into());
        Self { aes, salt, hmac: HmacSha1::new(authentication), tag_len }
    }

    /// Encrypts what follows the header and appends the tag over all of it and the rollover count.
    pub(super) fn seal_rtp(
        &self,
        buffer: &mut [u8],
        header_len: usize,
        len: usize,
        id: PacketId,
    ) -> Result<usize, SrtpError> {
        let (packet, room) = buffer.split_at_mut_checked(len).ok_or(SrtpError::TooShort)?;
        let tag_room = room.get_mut(..self.tag_len).ok_or(SrtpError::TooShort)?;
        self.apply(id, packet.get_mut(header_len..).ok_or(SrtpError::TooShort)?);
        let tag = self.hmac.tag(packet, &id.rollover().to_be_bytes());
        tag_room.copy_from_slice(&tag[..self.tag_len]);
        Ok(len + self.tag_len)
    }

    /// Verifies, then decrypts. A packet that fails is left as it came.
    pub(super) fn open_rtp(
        &self,
        packet: &mut [u8],
        header_len: usize,
        id: PacketId,
    ) -> Result<usize, SrtpError> {
        let len = packet.len().checked_sub(self.tag_len).ok_or(SrtpError::TooShort)?;
        let (packet, tag) = packet.split_at_mut_checked(len).ok_or(SrtpError::TooShort)?;
        let payload_at = header_len..;
        if packet.get(payload_at.clone()).is_none() {
            return Err(SrtpError::TooShort);
        }
        self.verify(packet, &id.rollover().to_be_bytes(), tag)?;
        self.apply(id, packet.get_mut(payload_at).ok_or(SrtpError::TooShort)?);
        Ok(len)
    }

    /// Encrypts what follows the first SSRC, appends the index and the tag over all of it.
    pub(super) fn seal_rtcp(
        &self,
        buffer: &mut [u8],
        len: usize,
        id: PacketId,
    ) -> Result<usize, SrtpError> {
        let indexed_len = len + INDEX_WORD_LEN;
        let (packet, room) = buffer.split_at_mut_checked(indexed_len).ok_or(SrtpError::TooShort)?;
        let tag_room = room.get_mut(..self.tag_len).ok_or(SrtpError::TooShort)?;
        self.apply(id, packet.get_mut(RTCP_CLEAR_LEN..len).ok_or(SrtpError::TooShort)?);
        packet[len..].copy_from_slice(&id.index_word().to_be_bytes());
        let tag = self.hmac.tag(packet, &[]);
        tag_room.copy_from_slice(&tag[..self.tag_len]);
        Ok(indexed_len + self.tag_len)
    }

    /// Verifies, then decrypts. A packet that fails is left as it came.
    pub(super) fn open_rtcp(&self, packet: &mut [u8], id: PacketId) -> Result<usize, SrtpError> {
        let indexed_len = packet.len().checked_sub(self.tag_len).ok_or(SrtpError::TooShort)?;
        let len = indexed_len.checked_sub(INDEX_WORD_LEN).ok_or(SrtpError::TooShort)?;
        let (packet, tag) = packet.split_at_mut_checked(indexed_len).ok_or(SrtpError::TooShort)?;
        self.verify(packet, &[], tag)?;
        self.apply(id, packet.get_mut(RTCP_CLEAR_LEN..len).ok_or(SrtpError::TooShort)?);
        Ok(len)
    }

    /// The E bit and index of an RTCP packet: before the tag.
    pub(super) fn index_word(&self, packet: &[u8]) -> Option<u32> {
        let indexed = packet.get(..packet.len().checked_sub(self.tag_len)?)?;
        indexed.last_chunk().map(|word| u32::from_be_bytes(*word))
    }

    fn apply(&self, id: PacketId, data: &mut [u8]) {
        apply(&self.aes, initial_counter(&self.salt, id), data);
    }

    fn verify(&self, packet: &[u8], suffix: &[u8], tag: &[u8]) -> Result<(), SrtpError> {
        debug_assert_eq!(tag.len(), self.tag_len, "the caller split off the tag");
        let expected = self.hmac.tag(packet, suffix);
        let verified = bool::from(expected[..self.tag_len].ct_eq(tag));
        if verified { Ok(()) } else { Err(SrtpError::BadTag) }
    }
}

/// Fills `derived` with the key stream of a master key at index zero (RFC 3711 section 4.3.3;
/// for 256 bits RFC 6188 section 3). `salt` is the master salt with the label already in it.
pub(super) fn derive(key: &[u8], salt: &[u8; SALT_LEN], derived: &mut [u8]) {
    let counter = initial_counter(salt, PacketId { ssrc: 0, index: 0 });
    if let Ok(key) = key.try_into() {
        apply(&Aes256Enc::new(key), counter, derived);
    } else {
        let key = key.try_into().expect("suites have master keys of 16 or 32 octets");
        apply(&Aes128Enc::new(key), counter, derived);
    }
}

/// The first counter block of a packet: `salt * 2^16 XOR ssrc * 2^64 XOR index * 2^16`.
fn initial_counter(salt: &[u8; SALT_LEN], id: PacketId) -> [u8; BLOCK_LEN] {
    debug_assert!(id.index < 1 << 48, "an SRTP index has 48 bits");
    let packet = (u128::from(id.ssrc) << 64) ^ (u128::from(id.index) << 16);
    let mut counter = packet.to_be_bytes();
    for (octet, salt) in counter.iter_mut().zip(salt) {
        *octet ^= salt;
    }
    counter
}

/// Encrypts or decrypts `data` in place; the two are the same.
fn apply<C>(aes: &C, counter: [u8; BLOCK_LEN], data: &mut [u8])
where
    C: BlockCipherEncrypt + BlockSizeUser<BlockSize = U16>,
{
    debug_assert!(data.len() <= BLOCK_LEN << 16, "the block number has 16 bits");
    debug_assert_eq!(counter[SALT_LEN..], [0, 0], "the block number starts at zero");
    let mut blocks = [Block::default(); BATCH];
    let mut number: u16 = 0;
    for part in data.chunks_mut(BATCH * BLOCK_LEN) {
        let blocks = &mut blocks[..part.len().div_ceil(BLOCK_LEN)];
        for block in blocks.iter_mut() {
            *block = Block::from(counter);
            block[SALT_LEN..].copy_from_slice(&number.to_be_bytes());
            number = number.wrapping_add(1);
        }
        aes.encrypt_blocks(blocks);
        let stream = Array::cast_slice_to_core(blocks).as_flattened();
        for (octet, stream) in part.iter_mut().zip(stream) {
            *octet ^= stream;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_support::unhex;
    use super::*;

    /// RFC 3711 appendix B.2: the key stream, far enough for the block number to carry an octet.
    #[test]
    fn key_stream_of_rfc_3711() {
        let key: [u8; 16] = unhex("2b7e151628aed2a6abf7158809cf4f3c").try_into().unwrap();
        let salt = unhex("f0f1f2f3f4f5f6f7f8f9fafbfcfd").try_into().unwrap();
        let mut stream = vec![0; 0xff02 * BLOCK_LEN];
        let counter = initial_counter(&salt, PacketId { ssrc: 0, index: 0 });
        apply(&Aes128Enc::new(&key.into()), counter, &mut stream);
        let expected = [
            (0, "e03ead0935c95e80e166b16dd92b4eb4"),
            (1, "d23513162b02d0f72a43a2fe4a5f97ab"),
            (2, "41e95b3bb0a2e8dd477901e4fca894c0"),
            (0xfeff, "ec8cdf7398607cb0f2d21675ea9ea1e4"),
            (0xff00, "362b7c3c6773516318a077d7fc5073ae"),
            (0xff01, "6a2cc3787889374fbeb4c81b17ba6c44"),
        ];
        for (number, block) in expected {
            let at = number * BLOCK_LEN;
            assert_eq!(stream[at..at + BLOCK_LEN], unhex(block), "block {number:#x}");
        }
    }

    #[test]
    fn counter_places_ssrc_and_index() {
        let counter = initial_counter(
            &[0; SALT_LEN],
            PacketId { ssrc: 0x0102_0304, index: 0x0a0b_0c0d_0e0f },
        );
        assert_eq!(counter[..], unhex("00000000 01020304 0a0b0c0d0e0f 0000"));
    }
}
