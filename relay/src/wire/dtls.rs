//! DTLS records, looked at from outside: what a datagram holds, before anything is made of it
//! (RFC 6347 sections 4.1 and 4.2.2).
//!
//! ```text
//! record     type u8 | version u16 | epoch u16 | sequence u48 | length u16 | that many octets
//! handshake  type u8 | length u24 | sequence u16 | offset u24 | fragment's length u24 | fragment
//! ```

use std::ops::Range;

use arrayvec::ArrayVec;

/// Most records of one datagram: a client's longest flight has seven.
pub const MAX_RECORDS: usize = 16;

const RECORD_HEADER: usize = 13;
const HANDSHAKE_HEADER: usize = 12;
/// DTLS 1.0, which the first record of a client may name, and DTLS 1.2.
const VERSIONS: [[u8; 2]; 2] = [[0xfe, 0xff], [0xfe, 0xfd]];

/// What a record carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Content {
    /// What follows is sealed under the new keys.
    ChangeCipherSpec,
    /// An alert.
    Alert,
    /// A part of the handshake.
    Handshake,
    /// Anything else that is sealed.
    ApplicationData,
}

/// One record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// What it carries.
    pub content: Content,
    /// 0 in clear, else the keys it is sealed under.
    pub epoch: u16,
    /// Where its content lies in the datagram.
    pub body: Range<usize>,
}

/// The records of a datagram, if that is what it holds, whole, and not more than [`MAX_RECORDS`].
#[must_use]
pub fn records(datagram: &[u8]) -> Option<ArrayVec<Record, MAX_RECORDS>> {
    let mut found = ArrayVec::new();
    let mut at = 0;
    while at < datagram.len() {
        let header: &[u8; RECORD_HEADER] = datagram.get(at..)?.first_chunk()?;
        let [kind, v0, v1, e0, e1, _, _, _, _, _, _, l0, l1] = *header;
        let content = match kind {
            20 => Content::ChangeCipherSpec,
            21 => Content::Alert,
            22 => Content::Handshake,
            23 => Content::ApplicationData,
            _ => return None,
        };
        let start = at + RECORD_HEADER;
        let body = start..start + usize::from(u16::from_be_bytes([l0, l1]));
        if !VERSIONS.contains(&[v0, v1]) || body.end > datagram.len() {
            return None;
        }
        at = body.end;
        found.try_push(Record { content, epoch: u16::from_be_bytes([e0, e1]), body }).ok()?;
    }
    (!found.is_empty()).then_some(found)
}

/// How many fragments a handshake record in clear has, if it is well formed: each lies within its
/// message, and only the last is less than one.
#[must_use]
pub fn fragments(body: &[u8]) -> Option<usize> {
    let (mut rest, mut count) = (body, 0);
    while !rest.is_empty() {
        let (header, content) = rest.split_first_chunk::<HANDSHAKE_HEADER>()?;
        let [_, l0, l1, l2, _, _, o0, o1, o2, f0, f1, f2] = *header;
        let number = |octets: [u8; 3]| {
            octets.iter().fold(0, |number, octet| number << 8 | usize::from(*octet))
        };
        let [length, offset, own] = [[l0, l1, l2], [o0, o1, o2], [f0, f1, f2]].map(number);
        let is_part = own < length;
        // A fragment without an octet is one of an empty message.
        if offset + own > length || (own == 0 && length > 0) || own > content.len() {
            return None;
        }
        rest = &content[own..];
        if is_part && !rest.is_empty() {
            return None;
        }
        count += 1;
    }
    (count > 0).then_some(count)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(kind: u8, epoch: u16, body: &[u8]) -> Vec<u8> {
        let [e0, e1] = epoch.to_be_bytes();
        let [l0, l1] = (body.len() as u16).to_be_bytes();
        [&[kind, 0xfe, 0xfd, e0, e1, 0, 0, 0, 0, 0, 9, l0, l1], body].concat()
    }

    fn part(length: u8, offset: u8, own: u8) -> Vec<u8> {
        let header = [1, 0, 0, length, 0, 0, 0, 0, offset, 0, 0, own];
        [&header[..], &vec![7; usize::from(own)]].concat()
    }

    #[test]
    fn the_records_of_a_datagram_are_found() {
        let datagram = [record(22, 0, &[1, 2]), record(20, 0, &[1]), record(22, 1, &[3])].concat();
        let found = records(&datagram).unwrap();
        let told =
            |at: usize| (found[at].content, found[at].epoch, &datagram[found[at].body.clone()]);
        assert_eq!(told(0), (Content::Handshake, 0, &[1, 2][..]));
        assert_eq!(told(1), (Content::ChangeCipherSpec, 0, &[1][..]));
        assert_eq!(told(2), (Content::Handshake, 1, &[3][..]));
        assert_eq!(found.len(), 3);
    }

    #[test]
    fn what_is_no_row_of_whole_records_is_none() {
        let good = record(21, 1, &[2, 40]);
        assert!(records(&good).is_some(), "control");
        for cut in 0..good.len() {
            assert_eq!(records(&good[..cut]), None, "{cut} octets");
        }
        for (at, octet) in [(0, 19), (0, 24), (0, 63), (1, 3), (2, 0xfc), (12, 3)] {
            let mut bad = good.clone();
            bad[at] = octet;
            assert_eq!(records(&bad), None, "octet {at} of {octet}");
        }
        assert!(records(&good.repeat(MAX_RECORDS)).is_some());
        assert_eq!(records(&good.repeat(MAX_RECORDS + 1)), None);
    }

    #[test]
    fn fragments_lie_within_their_messages_and_only_the_last_is_a_part() {
        let counted = |parts: &[Vec<u8>]| fragments(&parts.concat());
        assert_eq!(counted(&[part(3, 0, 3)]), Some(1));
        assert_eq!(counted(&[part(3, 0, 3), part(0, 0, 0), part(9, 2, 4)]), Some(3));
        assert_eq!(counted(&[]), None);
        for bad in [
            vec![part(9, 2, 4), part(3, 0, 3)],
            vec![part(3, 1, 3)],
            vec![part(0, 1, 0)],
            vec![part(0, 0, 1)],
            vec![part(3, 0, 0)],
            vec![part(3, 0, 3)[..14].to_vec()],
            vec![vec![1; 11]],
        ] {
            assert_eq!(counted(&bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_that_comes_makes_it_panic(octets: Vec<u8>) {
            let _ = fragments(&octets);
            for record in records(&octets).into_iter().flatten() {
                prop_assert!(record.body.end <= octets.len());
            }
        }
    }
}
