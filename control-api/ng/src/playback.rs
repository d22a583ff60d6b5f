//! Playback: the members of what a party is to hear: a sound, or a key.

use std::fmt;

use crate::command::is_same;
use crate::value::Value;

/// Most digits of a number that is written as a text.
const MAX_DIGITS: usize = 9;

/// A member as it was written: proxies send numbers as texts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Written<'v> {
    /// A number.
    Number(i64),
    /// A text, in whatever encoding.
    Text(&'v [u8]),
    /// Something else.
    Other,
}

/// Of what kind it is: what it says may be a key.
impl fmt::Debug for Written<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Written::Number(_) => f.write_str("<number>"),
            Written::Text(octets) => write!(f, "<{} octets>", octets.len()),
            Written::Other => f.write_str("<other>"),
        }
    }
}

impl<'v> Written<'v> {
    fn of(value: &'v Value<'v>) -> Written<'v> {
        match value {
            Value::Integer(number) => Written::Number(*number),
            Value::Text(octets) => Written::Text(octets.get()),
            Value::Boolean(_) | Value::List(_) | Value::Dictionary(_) => Written::Other,
        }
    }

    /// The number, written as one or as a text of up to nine decimal digits, with or without a minus.
    #[must_use]
    pub fn number(self) -> Option<i64> {
        match self {
            Written::Number(number) => Some(number),
            Written::Text(octets) => {
                let digits = octets.strip_prefix(b"-").unwrap_or(octets);
                let is_number = (1..=MAX_DIGITS).contains(&digits.len())
                    && digits.iter().all(u8::is_ascii_digit);
                str::from_utf8(octets).ok().filter(|_| is_number)?.parse().ok()
            }
            Written::Other => None,
        }
    }

    /// The octets of a text.
    #[must_use]
    pub fn octets(self) -> Option<&'v [u8]> {
        match self {
            Written::Text(octets) => Some(octets),
            Written::Number(_) | Written::Other => None,
        }
    }

    /// A text in UTF-8.
    #[must_use]
    pub fn text(self) -> Option<&'v str> {
        str::from_utf8(self.octets()?).ok()
    }

    /// The code of a key's event (RFC 4733 section 3.2), 0 to 15: written as that number, or as the
    /// key's one character. A text of one digit is that digit's key either way.
    #[must_use]
    pub fn key(self) -> Option<u8> {
        let code = match self {
            Written::Text([character]) => {
                let key = character.to_ascii_uppercase();
                b"0123456789*#ABCD".iter().position(|&other| other == key)?
            }
            Written::Number(_) | Written::Text(_) | Written::Other => {
                usize::try_from(self.number()?).ok()?
            }
        };
        u8::try_from(code).ok().filter(|code| *code < 16)
    }
}

/// The members of what a party is to hear, as they were written; of one that comes twice the first
/// counts.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Playback<'v> {
    /// The name of a file.
    pub file: Option<Written<'v>>,
    /// A file's octets.
    pub blob: Option<Written<'v>>,
    /// A row of a database.
    pub db_id: Option<Written<'v>>,
    /// How often it is played.
    pub repeat_times: Option<Written<'v>>,
    /// For how long it is repeated, in ms.
    pub repeat_duration: Option<Written<'v>>,
    /// Where in it to begin, in ms.
    pub start_pos: Option<Written<'v>>,
    /// How long a sound is played, or a key held, in ms.
    pub duration: Option<Written<'v>>,
    /// A key.
    pub code: Option<Written<'v>>,
    /// Its volume, in dB below 0 dBm0.
    pub volume: Option<Written<'v>>,
    /// What pause is before it, in ms.
    pub pause: Option<Written<'v>>,
}

impl<'v> Playback<'v> {
    /// Takes in a member; false if it is none of these.
    pub(crate) fn member(&mut self, name: &str, value: &'v Value<'v>) -> bool {
        self.take(name, Written::of(value))
    }

    /// The same of a string of flags.
    pub(crate) fn word(&mut self, name: &str, value: &'v str) -> bool {
        self.take(name, Written::Text(value.as_bytes()))
    }

    fn take(&mut self, name: &str, value: Written<'v>) -> bool {
        let is = |known| is_same(known, name);
        let place = if is("file") {
            &mut self.file
        } else if is("blob") {
            &mut self.blob
        } else if is("db-id") {
            &mut self.db_id
        } else if is("repeat-times") {
            &mut self.repeat_times
        } else if is("repeat-duration") {
            &mut self.repeat_duration
        } else if is("start-pos") {
            &mut self.start_pos
        } else if is("duration") {
            &mut self.duration
        } else if is("code") || is("digit") {
            &mut self.code
        } else if is("volume") {
            &mut self.volume
        } else if is("pause") {
            &mut self.pause
        } else {
            return false;
        };
        *place = place.or(Some(value));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::Written;

    #[test]
    fn a_key_is_its_code_or_its_character() {
        let of = |text: &'static str| Written::Text(text.as_bytes()).key();
        let by_text = ["0", "9", "*", "#", "A", "d", "10", "15"].map(|text| of(text).unwrap());
        assert_eq!(by_text, [0, 9, 10, 11, 12, 15, 10, 15]);
        assert_eq!([0, 15].map(|code| Written::Number(code).key().unwrap()), [0, 15]);
        let wrong = ["", "16", "E", "12a", "-1", "#1", "\u{e9}"];
        assert!(wrong.iter().all(|text| of(text).is_none()));
        assert!([-1, 16, i64::MAX].iter().all(|code| Written::Number(*code).key().is_none()));
        assert_eq!(Written::Other.key(), None);
    }

    #[test]
    fn numbers_may_be_texts() {
        let of = |text: &'static str| Written::Text(text.as_bytes()).number();
        assert_eq!([of("250"), of("0"), of("-8")], [Some(250), Some(0), Some(-8)]);
        assert_eq!(Written::Number(-8).number(), Some(-8));
        assert!(
            ["", "+1", "-", "--1", "1 ", "0x1", "1234567890"].iter().all(|text| of(text).is_none())
        );
    }

    #[test]
    fn what_is_written_is_not_printed() {
        let said = [Written::Text(b"5"), Written::Number(5)].map(|it| format!("{it:?}"));
        assert!(said.iter().all(|said| !said.contains('5')), "{said:?}");
    }
}
