//! `Line`: one line of a session description, checked octet by octet before anything reads it.

use std::str::FromStr;

use super::{MAX_LINES, MAX_OFFER_LEN, SdpError};

/// A line of SDP, sorted by what we do with it.
pub(super) enum Line<'a> {
    /// `v=`
    Version(&'a str),
    /// `m=`: the next stream begins.
    Stream(&'a str),
    /// `c=`
    Connection(&'a str),
    /// `t=`
    Timing(&'a str),
    /// `a=name` or `a=name:value`; without a colon the value is empty.
    Attribute { name: &'a str, value: &'a str },
    /// A line that SDP defines and that changes nothing here.
    Ignored,
}

/// The lines of an offer with their numbers from 1; blank lines are left out but counted.
///
/// CRLF and LF both end a line (RFC 8866 section 5 asks parsers for both).
pub(super) fn lines(
    text: &[u8],
) -> Result<impl Iterator<Item = Result<(usize, Line<'_>), SdpError>>, SdpError> {
    if text.len() > MAX_OFFER_LEN {
        return Err(SdpError::TooLong);
    }
    let count = text.split(|octet| *octet == b'\n').count();
    if count > MAX_LINES {
        return Err(SdpError::TooManyLines);
    }
    Ok(text
        .split(|octet| *octet == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .zip(1..)
        .filter(|(line, _)| !line.is_empty())
        .map(|(line, number)| Ok((number, parse(number, line)?))))
}

fn parse(number: usize, line: &[u8]) -> Result<Line<'_>, SdpError> {
    if line.iter().any(|octet| octet.is_ascii_control() && *octet != b'\t') {
        return Err(SdpError::ControlCharacter { line: number });
    }
    let [letter, b'=', value @ ..] = line else {
        return Err(SdpError::NotALine { line: number });
    };
    let text = || str::from_utf8(value).map_err(|_| SdpError::NotText { line: number });
    Ok(match letter {
        b'v' => Line::Version(text()?),
        b'm' => Line::Stream(text()?),
        b'c' => Line::Connection(text()?),
        b't' => Line::Timing(text()?),
        b'a' => {
            let (name, value) = text()?.split_once(':').unwrap_or((text()?, ""));
            Line::Attribute { name, value }
        }
        // Free text may be in another character set; a key of `k=` is obsolete (RFC 8866 5.12).
        b'o' | b's' | b'i' | b'u' | b'e' | b'p' | b'b' | b'r' | b'z' | b'k' => Line::Ignored,
        _ => return Err(SdpError::UnknownLetter { line: number }),
    })
}

/// A decimal number that fits `T`; no sign, no space, no other base.
pub(super) fn decimal<T: FromStr>(word: &str) -> Option<T> {
    if word.bytes().all(|octet| octet.is_ascii_digit()) { word.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::{Line, decimal, lines};
    use crate::wire::sdp::{MAX_LINES, MAX_OFFER_LEN, SdpError};

    fn check(text: &[u8]) -> Result<Vec<usize>, SdpError> {
        lines(text)?.map(|line| line.map(|(number, _)| number)).collect()
    }

    #[test]
    fn lf_and_crlf_end_a_line_and_blank_ones_are_counted() {
        assert_eq!(check(b"v=0\r\ns=-\n\r\n\na=x"), Ok(vec![1, 2, 5]));
        assert_eq!(check(b""), Ok(vec![]));
    }

    #[test]
    fn an_attribute_has_a_name_and_perhaps_a_value() {
        let text = b"a=rtcp:9 IN IP4 x:y\na=rtcp-mux";
        let found: Vec<_> = lines(text)
            .unwrap()
            .map(|line| match line.unwrap().1 {
                Line::Attribute { name, value } => (name, value),
                Line::Version(_)
                | Line::Stream(_)
                | Line::Connection(_)
                | Line::Timing(_)
                | Line::Ignored => panic!("not an attribute"),
            })
            .collect();
        assert_eq!(found, [("rtcp", "9 IN IP4 x:y"), ("rtcp-mux", "")]);
    }

    #[test]
    fn size_and_lines_are_bounded() {
        assert_eq!(check(&[b'\n'; MAX_LINES - 1]), Ok(vec![]));
        assert_eq!(check(&[b'\n'; MAX_LINES]), Err(SdpError::TooManyLines));
        assert_eq!(check(&[b'\n'; 10_000]), Err(SdpError::TooManyLines));
        assert_eq!(check(&vec![b'a'; MAX_OFFER_LEN + 1]), Err(SdpError::TooLong));
        assert_eq!(check(&vec![b'a'; MAX_OFFER_LEN]), Err(SdpError::NotALine { line: 1 }));
    }

    #[test]
    fn what_is_no_line_is_named_by_number() {
        for bad in ["m", "=", "media=x", "v =0", " v=0", "\u{e9}=0", "v:0"] {
            let text = format!("v=0\n{bad}\n");
            assert_eq!(check(text.as_bytes()), Err(SdpError::NotALine { line: 2 }), "{bad:?}");
        }
        assert_eq!(check(b"v=0\nq=1"), Err(SdpError::UnknownLetter { line: 2 }));
        assert_eq!(check(b"v=0\nA=1"), Err(SdpError::UnknownLetter { line: 2 }));
        for bad in [&b"a=fmtp:101 0\0-15"[..], b"s=a\rb", b"a=\x1b[2J", b"a=\x7f"] {
            assert_eq!(check(bad), Err(SdpError::ControlCharacter { line: 1 }), "{bad:?}");
        }
    }

    #[test]
    fn decimals_are_digits_in_range() {
        assert_eq!(decimal::<u16>("65535"), Some(65_535));
        for bad in ["65536", "4294967296", "-1", "+1", " 1", "1 ", "0x10", "1e3", "", "\u{661}"] {
            assert_eq!(decimal::<u16>(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn other_character_sets_are_allowed_in_free_text_only() {
        assert_eq!(check(b"s=\xE9t\xE9"), Ok(vec![1]));
        assert_eq!(check(b"a=x:\xE9"), Err(SdpError::NotText { line: 1 }));
    }
}
