//! Value: what a body is made of, whichever way it was written.

use std::borrow::Cow;
use std::fmt;

use serde::ser::{Error, SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};
use zeroize::Zeroize;

use crate::message::Syntax;
use crate::{bencode, json};

/// Deepest nesting that is read: the deepest seen, in a codec dictionary, is four.
pub const MAX_DEPTH: usize = 16;
/// Most values that are read, names included; the longest request seen has about 80.
pub const MAX_VALUES: usize = 4096;

/// Why a body can't be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Malformed {
    /// It ends before it is complete.
    #[error("the body ends before it is complete")]
    Incomplete,
    /// Neither bencode nor JSON, or of another shape than this reads.
    #[error("the body is neither bencode nor JSON of texts, whole numbers, lists and dictionaries")]
    Syntax,
    /// Deeper than [`MAX_DEPTH`].
    #[error("the body is nested deeper than {MAX_DEPTH}")]
    Depth,
    /// More values than [`MAX_VALUES`].
    #[error("the body has more than {MAX_VALUES} values")]
    Size,
    /// Octets after the body.
    #[error("something stands after the body")]
    Trailing,
}

/// Octets that are borrowed, or wiped when dropped: an SDP may hold a key.
#[derive(Clone, PartialEq, Eq)]
pub struct Octets<'a>(Cow<'a, [u8]>);

impl<'a> Octets<'a> {
    /// The octets.
    #[must_use]
    pub fn get(&self) -> &[u8] {
        &self.0
    }

    fn to_owned_octets(&self) -> Octets<'static> {
        Octets(Cow::Owned(self.0.to_vec()))
    }

    /// The octets as text, if they are UTF-8.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        str::from_utf8(&self.0).ok()
    }
}

impl Drop for Octets<'_> {
    fn drop(&mut self) {
        if let Cow::Owned(octets) = &mut self.0 {
            octets.zeroize();
        }
    }
}

impl<'a> From<&'a [u8]> for Octets<'a> {
    fn from(octets: &'a [u8]) -> Octets<'a> {
        Octets(Cow::Borrowed(octets))
    }
}

impl<'a> From<&'a str> for Octets<'a> {
    fn from(text: &'a str) -> Octets<'a> {
        Octets(Cow::Borrowed(text.as_bytes()))
    }
}

impl From<String> for Octets<'_> {
    fn from(text: String) -> Self {
        Octets(Cow::Owned(text.into_bytes()))
    }
}

impl From<Vec<u8>> for Octets<'_> {
    fn from(octets: Vec<u8>) -> Self {
        Octets(Cow::Owned(octets))
    }
}

/// How long they are: what they say is not for a log.
impl fmt::Debug for Octets<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} octets>", self.0.len())
    }
}

/// One value of a body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Value<'a> {
    /// A whole number.
    Integer(i64),
    /// Yes or no, which JSON alone can say: bencode writes 1 or 0.
    Boolean(bool),
    /// A text, in whatever encoding.
    Text(Octets<'a>),
    /// Values in their order.
    List(Vec<Value<'a>>),
    /// Named values in the order in which they came; of a name that stands twice the first counts.
    Dictionary(Vec<(Octets<'a>, Value<'a>)>),
}

impl<'a> Value<'a> {
    /// Reads a whole body.
    ///
    /// # Errors
    /// [`Malformed`]; the body's octets are not repeated.
    pub fn read(syntax: Syntax, body: &'a [u8]) -> Result<Value<'a>, Malformed> {
        match syntax {
            Syntax::Bencode => match bencode::read(body)? {
                (value, []) => Ok(value),
                (_, [..]) => Err(Malformed::Trailing),
            },
            Syntax::Json => json::read(body),
        }
    }

    /// The value that a dictionary has by this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value<'a>> {
        match self {
            Value::Dictionary(members) => {
                let mut found = members.iter().filter(|(key, _)| key.get() == name.as_bytes());
                found.next().map(|(_, value)| value)
            }
            Value::Integer(_) | Value::Boolean(_) | Value::Text(_) | Value::List(_) => None,
        }
    }

    /// The text, if the value is one and is UTF-8.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            Value::Text(octets) => octets.text(),
            Value::Integer(_) | Value::Boolean(_) | Value::List(_) | Value::Dictionary(_) => None,
        }
    }

    /// The octets of a text.
    #[must_use]
    pub fn octets(&self) -> Option<&[u8]> {
        match self {
            Value::Text(octets) => Some(octets.get()),
            Value::Integer(_) | Value::Boolean(_) | Value::List(_) | Value::Dictionary(_) => None,
        }
    }

    /// The texts of a list, or the one text that stands in its place.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        let (one, many) = match self {
            Value::Text(octets) => (octets.text(), &[][..]),
            Value::List(values) => (None, &values[..]),
            Value::Integer(_) | Value::Boolean(_) | Value::Dictionary(_) => (None, &[][..]),
        };
        one.into_iter().chain(many.iter().filter_map(Value::text))
    }

    /// A text.
    #[must_use]
    pub fn of_text(text: impl Into<Octets<'a>>) -> Value<'a> {
        Value::Text(text.into())
    }

    /// A dictionary with names of ours.
    #[must_use]
    pub fn dictionary<const N: usize>(members: [(&'static str, Value<'a>); N]) -> Value<'a> {
        Value::Dictionary(members.into_iter().map(|(name, value)| (name.into(), value)).collect())
    }

    /// A count; more than fits is the most that does.
    #[must_use]
    pub fn count(count: u64) -> Value<'a> {
        Value::Integer(i64::try_from(count).unwrap_or(i64::MAX))
    }

    /// The same, with octets of its own.
    #[must_use]
    pub fn into_owned(self) -> Value<'static> {
        match self {
            Value::Integer(number) => Value::Integer(number),
            Value::Boolean(yes) => Value::Boolean(yes),
            Value::Text(octets) => Value::Text(octets.to_owned_octets()),
            Value::List(values) => Value::List(values.into_iter().map(Value::into_owned).collect()),
            Value::Dictionary(members) => {
                let owned = members
                    .into_iter()
                    .map(|(name, value)| (name.to_owned_octets(), value.into_owned()));
                Value::Dictionary(owned.collect())
            }
        }
    }

    /// Appends the value.
    pub fn write(&self, syntax: Syntax, octets: &mut Vec<u8>) {
        match syntax {
            Syntax::Bencode => bencode::write(self, octets),
            Syntax::Json => json::write(self, octets),
        }
    }
}

/// As JSON has it. Texts have to be UTF-8.
impl Serialize for Value<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = |octets: &Octets<'_>| {
            octets.text().map(str::to_owned).ok_or_else(|| S::Error::custom("a text is not UTF-8"))
        };
        match self {
            Value::Integer(number) => serializer.serialize_i64(*number),
            Value::Boolean(yes) => serializer.serialize_bool(*yes),
            Value::Text(octets) => serializer.serialize_str(&text(octets)?),
            Value::List(values) => {
                let mut list = serializer.serialize_seq(Some(values.len()))?;
                values.iter().try_for_each(|value| list.serialize_element(value))?;
                list.end()
            }
            Value::Dictionary(members) => {
                let mut dictionary = serializer.serialize_map(Some(members.len()))?;
                for (name, value) in members {
                    dictionary.serialize_entry(&text(name)?, value)?;
                }
                dictionary.end()
            }
        }
    }
}
