//! The string of flags that a proxy's script has, for those proxies that pass it on as it is.

use crate::command::is_same;
use crate::options::Transport;

/// Members whose value may be joined to their name by a hyphen: `rtcp-mux-offer`.
const JOINED: [&str; 8] =
    ["rtcp-mux-", "replace-", "sdes-", "ice-", "dtls-", "osrtp-", "codec-", "supports-"];

/// One word of the string.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Word<'a> {
    /// A flag.
    Flag(&'a str),
    /// A member and its value, or several between brackets.
    Member(&'a str, &'a str),
}

/// The words of a string; a bracket that is never closed closes at the end.
pub(crate) fn words(string: &str) -> impl Iterator<Item = Word<'_>> {
    let mut rest = string;
    std::iter::from_fn(move || {
        rest = rest.trim_ascii_start();
        let end = end_of_word(rest);
        let (word, after) = rest.split_at_checked(end)?;
        rest = after;
        (!word.is_empty()).then(|| read(word))
    })
}

/// The values of a member: one, or those between brackets.
pub(crate) fn values(value: &str) -> impl Iterator<Item = &str> {
    let inside = value.strip_prefix('[').map(|inside| inside.strip_suffix(']').unwrap_or(inside));
    inside.unwrap_or(value).split_ascii_whitespace()
}

/// Up to the blank that is outside of brackets.
fn end_of_word(text: &str) -> usize {
    let mut depth = 0_usize;
    for (at, octet) in text.bytes().enumerate() {
        match octet {
            b'[' => depth += 1,
            b']' => depth = depth.saturating_sub(1),
            octet if octet.is_ascii_whitespace() && depth == 0 => return at,
            _ => {}
        }
    }
    text.len()
}

fn read(word: &str) -> Word<'_> {
    if Transport::of(word).is_some() {
        return Word::Member("transport-protocol", word);
    }
    if let Some((name, value)) = word.split_once('=') {
        return Word::Member(name, value);
    }
    let joined = JOINED.iter().find_map(|name| {
        let (start, value) = word.split_at_checked(name.len())?;
        (is_same(name, start) && !value.is_empty()).then(|| &start[..start.len() - 1])
    });
    match joined {
        Some(name) => Word::Member(name, &word[name.len() + 1..]),
        None => Word::Flag(word),
    }
}

#[cfg(test)]
mod tests {
    use super::{Word, values, words};

    #[test]
    fn a_script_s_string_is_read_word_by_word() {
        let string =
            " trust-address ICE=remove RTP/SAVP  rtcp-mux-offer codec=[strip=[a b] mask=c]";
        let expected = [
            Word::Flag("trust-address"),
            Word::Member("ICE", "remove"),
            Word::Member("transport-protocol", "RTP/SAVP"),
            Word::Member("rtcp-mux", "offer"),
            Word::Member("codec", "[strip=[a b] mask=c]"),
        ];
        assert_eq!(words(string).collect::<Vec<_>>(), expected);
        assert_eq!(values("[origin session-connection]").count(), 2);
        assert_eq!(words("[ never closed").count(), 1);
        assert_eq!(words("  ").count(), 0);
    }
}
