//! Info: the key in the body of an INFO (application/dtmf-relay and application/dtmf).

use dtmf::Digit;

use crate::pressed_key::PressedKey;

/// Keys by their event codes (RFC 4733 table 3); some phones write those.
const CODES: [(&str, u8); 6] =
    [("10", b'*'), ("11", b'#'), ("12", b'A'), ("13", b'B'), ("14", b'C'), ("15", b'D')];

/// What a body of one of the two types says.
pub(crate) enum Keyed {
    /// A key.
    Key(PressedKey),
    /// Something of a telephone that is no key, such as a hook flash.
    Other,
    /// It can't be read.
    Malformed,
    /// It is of another type.
    Foreign,
}

/// Reads a body of the type that `Content-Type` says.
pub(crate) fn read(kind: &str, body: &[u8]) -> Keyed {
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let Ok(text) = std::str::from_utf8(body) else { return Keyed::Malformed };
    if kind.eq_ignore_ascii_case("application/dtmf-relay") {
        let signal = text.lines().find_map(|line| {
            let (name, value) = line.split_once('=')?;
            name.trim().eq_ignore_ascii_case("signal").then_some(value)
        });
        signal.map_or(Keyed::Malformed, key)
    } else if kind.eq_ignore_ascii_case("application/dtmf") {
        key(text)
    } else {
        Keyed::Foreign
    }
}

fn key(text: &str) -> Keyed {
    let text = text.trim();
    let code = CODES.iter().find(|(code, _)| *code == text).map(|(_, ascii)| *ascii);
    match (code, text.as_bytes()) {
        (Some(ascii), _) => digit(ascii),
        (None, [one]) => digit(one.to_ascii_uppercase()),
        (None, [] | [_, ..]) => Keyed::Other,
    }
}

fn digit(ascii: u8) -> Keyed {
    Digit::from_ascii(ascii).map_or(Keyed::Other, |digit| Keyed::Key(PressedKey::new(digit)))
}

#[cfg(test)]
mod tests {
    use super::{Keyed, read};

    fn key(kind: &str, body: &str) -> char {
        match read(kind, body.as_bytes()) {
            Keyed::Key(key) => key.digit().to_ascii().into(),
            Keyed::Other => 'o',
            Keyed::Malformed => 'm',
            Keyed::Foreign => 'f',
        }
    }

    #[test]
    fn keys_are_read_as_phones_write_them() {
        assert_eq!(key("application/dtmf-relay", "Signal=5\r\nDuration=160\r\n"), '5');
        assert_eq!(key("Application/DTMF-Relay;x=y", "Duration= 1\nsignal = 11"), '#');
        assert_eq!(key("application/dtmf", " * \r\n"), '*');
        assert_eq!(key("application/dtmf", "d"), 'D');
        assert_eq!(key("application/dtmf", "16"), 'o');
        assert_eq!(key("application/dtmf", "\u{e9}"), 'o');
        assert_eq!(key("application/dtmf-relay", "5"), 'm');
        assert_eq!(key("application/media_control+xml", "<a/>"), 'f');
    }
}
