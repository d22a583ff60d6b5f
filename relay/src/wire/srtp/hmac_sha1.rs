//! HMAC-SHA1 with the two keyed states computed once (RFC 2104 section 4).

use sha1::block_api::compress;
use zeroize::Zeroizing;

/// Octets of one SHA-1 block.
const BLOCK_LEN: usize = 64;

/// Octets of the full tag.
const DIGEST_LEN: usize = 20;

/// The state SHA-1 starts from (FIPS 180-4 section 5.3.1).
const INITIAL_STATE: [u32; 5] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];

/// A key, as the states of SHA-1 after its inner and its outer block.
pub(super) struct HmacSha1 {
    inner: Zeroizing<[u32; 5]>,
    outer: Zeroizing<[u32; 5]>,
}

impl HmacSha1 {
    pub(super) fn new(key: &[u8; DIGEST_LEN]) -> Self {
        Self { inner: keyed_state(key, 0x36), outer: keyed_state(key, 0x5c) }
    }

    /// The tag over `message` and then `suffix`, at most four octets that need not lie beside it.
    pub(super) fn tag(&self, message: &[u8], suffix: &[u8]) -> [u8; DIGEST_LEN] {
        let digest = finish(*self.inner, message, suffix);
        finish(*self.outer, &digest, &[])
    }
}

fn keyed_state(key: &[u8; DIGEST_LEN], pad: u8) -> Zeroizing<[u32; 5]> {
    let mut block = Zeroizing::new([pad; BLOCK_LEN]);
    for (octet, key) in block.iter_mut().zip(key) {
        *octet ^= key;
    }
    let mut state = Zeroizing::new(INITIAL_STATE);
    compress(&mut state, std::slice::from_ref(&*block));
    state
}

/// Hashes on from a state that has taken in one block, and pads (FIPS 180-4 section 5.1.1).
fn finish(mut state: [u32; 5], message: &[u8], suffix: &[u8]) -> [u8; DIGEST_LEN] {
    debug_assert!(suffix.len() <= 4, "two blocks hold the rest, the suffix and the padding");
    let (blocks, rest) = message.as_chunks::<BLOCK_LEN>();
    compress(&mut state, blocks);
    let mut tail = [[0; BLOCK_LEN]; 2];
    let octets = tail.as_flattened_mut();
    let used = rest.len() + suffix.len();
    octets[..rest.len()].copy_from_slice(rest);
    octets[rest.len()..used].copy_from_slice(suffix);
    octets[used] = 0x80;
    // One block more where the mark and the 64-bit length don't fit the first.
    let end = (used + 1 + 8).next_multiple_of(BLOCK_LEN);
    let bits = 8 * (BLOCK_LEN + message.len() + suffix.len()) as u64;
    octets[end - 8..end].copy_from_slice(&bits.to_be_bytes());
    compress(&mut state, &tail[..end / BLOCK_LEN]);
    let mut digest = [0; DIGEST_LEN];
    for (octets, word) in digest.as_chunks_mut().0.iter_mut().zip(state) {
        *octets = word.to_be_bytes();
    }
    digest
}

#[cfg(test)]
mod tests {
    use ring::hmac;

    use super::super::test_support::unhex;
    use super::*;

    /// RFC 2202 section 3, case 1.
    #[test]
    fn tag_of_rfc_2202() {
        let tag = HmacSha1::new(&[0x0b; DIGEST_LEN]).tag(b"Hi There", &[]);
        assert_eq!(tag[..], unhex("b617318655057264e28bc0b6fb378c8ef146be00"));
    }

    /// Every length around the block boundaries, message and suffix cut anywhere, against `ring`.
    #[test]
    fn agrees_with_ring_at_every_length() {
        let key = [0x5a; DIGEST_LEN];
        let ours = HmacSha1::new(&key);
        let theirs = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &key);
        let message: Vec<u8> = (0..=u8::MAX).collect();
        for len in 0..message.len() {
            for suffix_len in 0..=len.min(4) {
                let (head, suffix) = message[..len].split_at(len - suffix_len);
                let expected = hmac::sign(&theirs, &message[..len]);
                assert_eq!(ours.tag(head, suffix)[..], *expected.as_ref(), "{len} octets");
            }
        }
    }
}
