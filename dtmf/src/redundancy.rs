//! `Redundancy`: the blocks of one RFC 2198 payload, oldest first.
//!
//! ```text
//!  each older copy:  |1|  PT (7)  |   timestamp offset (14)   |  length (10)  |
//!  the newest:       |0|  PT (7)  |
//!  then the contents in the same order
//! ```

use thiserror::Error;

/// Copies one packet may carry. Senders use one to five; the offset field spans two seconds at
/// 8 kHz, and more blocks than this only cost time.
const MAX_COPIES: usize = 16;
/// Octets of an older block's header.
const COPY_HEADER: usize = 4;
/// Set while another block header follows.
const FOLLOWS: u8 = 0x80;

/// One block of a redundant payload.
#[derive(Clone, Copy)]
pub struct Block<'a> {
    /// Payload type of the content.
    pub payload_type: u8,
    /// How far the content's timestamp lies before the packet's, in units of the packet's clock.
    pub age: u32,
    /// False for the newest block, which the packet's own timestamp and marker belong to.
    pub is_copy: bool,
    /// The content.
    pub payload: &'a [u8],
}

/// The headers and lengths of a redundant payload don't add up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("malformed RFC 2198 payload")]
pub struct MalformedRedundancy;

/// The blocks of one RFC 2198 payload; iterating gives the oldest first.
#[derive(Clone, Copy)]
pub struct Redundancy<'a> {
    headers: &'a [u8],
    contents: &'a [u8],
}

impl<'a> Redundancy<'a> {
    /// Checks the headers of a redundant payload against its length (RFC 2198 section 3).
    ///
    /// # Errors
    ///
    /// [`MalformedRedundancy`] where a header is cut off, a length runs past the end, or more
    /// blocks are announced than any sender uses.
    pub fn parse(payload: &'a [u8]) -> Result<Self, MalformedRedundancy> {
        let mut copied = 0;
        for count in 0..=MAX_COPIES {
            let start = count * COPY_HEADER;
            let first = *payload.get(start).ok_or(MalformedRedundancy)?;
            if first & FOLLOWS == 0 {
                let (headers, contents) = payload.split_at(start + 1);
                return if copied <= contents.len() {
                    Ok(Self { headers, contents })
                } else {
                    Err(MalformedRedundancy)
                };
            }
            let header = payload.get(start..start + COPY_HEADER).ok_or(MalformedRedundancy)?;
            copied += content_length(header);
        }
        Err(MalformedRedundancy)
    }
}

impl<'a> Iterator for Redundancy<'a> {
    type Item = Block<'a>;

    fn next(&mut self) -> Option<Block<'a>> {
        let first = *self.headers.first()?;
        let payload_type = first & !FOLLOWS;
        if first & FOLLOWS == 0 {
            self.headers = &[];
            return Some(Block { payload_type, age: 0, is_copy: false, payload: self.contents });
        }
        let (header, headers) = self.headers.split_at_checked(COPY_HEADER)?;
        let (payload, contents) = self.contents.split_at_checked(content_length(header))?;
        (self.headers, self.contents) = (headers, contents);
        let age = (u32::from(header[1]) << 6) | (u32::from(header[2]) >> 2);
        Some(Block { payload_type, age, is_copy: true, payload })
    }
}

/// The ten length bits at the end of a copy's header.
fn content_length(header: &[u8]) -> usize {
    header.get(2..COPY_HEADER).map_or(0, |low| usize::from(low[0] & 3) << 8 | usize::from(low[1]))
}

#[cfg(test)]
mod tests {
    use super::{COPY_HEADER, MAX_COPIES, MalformedRedundancy, Redundancy};

    #[test]
    fn blocks_come_oldest_first() {
        // Two copies (offsets 5000 and 160, lengths 2 and 1), then the newest.
        let payload = [
            0x80 | 97,
            (5000u16 >> 6) as u8,
            ((5000u16 << 2) as u8),
            2,
            0x80 | 101,
            (160u16 >> 6) as u8,
            ((160u16 << 2) as u8),
            1,
            101,
            0xA1,
            0xA2,
            0xB1,
            0xC1,
            0xC2,
        ];
        let blocks: Vec<_> = Redundancy::parse(&payload)
            .unwrap()
            .map(|block| (block.payload_type, block.age, block.is_copy, block.payload.to_vec()))
            .collect();
        let expected = [
            (97, 5000, true, vec![0xA1, 0xA2]),
            (101, 160, true, vec![0xB1]),
            (101, 0, false, vec![0xC1, 0xC2]),
        ];
        assert_eq!(blocks, expected);
    }

    #[test]
    fn lengths_that_do_not_add_up_are_refused() {
        let too_short: [&[u8]; 4] =
            [&[], &[0x80 | 101], &[0xE5, 0, 0, 4], &[0xE5, 0, 0, 4, 101, 1]];
        for payload in too_short {
            assert!(matches!(Redundancy::parse(payload), Err(MalformedRedundancy)));
        }
        let endless = [0xE5, 0, 0, 0].repeat(MAX_COPIES + 2);
        assert!(matches!(Redundancy::parse(&endless), Err(MalformedRedundancy)));
        let most = [&endless[..MAX_COPIES * COPY_HEADER], &[101]].concat();
        assert_eq!(Redundancy::parse(&most).unwrap().count(), MAX_COPIES + 1);
    }

    proptest::proptest! {
        #[test]
        fn any_octets_are_safe(payload: Vec<u8>) {
            if let Ok(blocks) = Redundancy::parse(&payload) {
                let total: usize = blocks.map(|block| block.payload.len()).sum();
                assert!(total <= payload.len());
            }
        }
    }
}
