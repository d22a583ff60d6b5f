//! JSON, within the same bounds as bencode.

use std::cell::Cell;
use std::fmt;

use serde::Deserializer;
use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};

use crate::value::{MAX_DEPTH, MAX_VALUES, Malformed, Octets, Value};

/// Reads a whole body.
pub(crate) fn read(body: &[u8]) -> Result<Value<'_>, Malformed> {
    let bounds = Bounds { left: Cell::new(MAX_VALUES), broken: Cell::new(None) };
    let mut reader = serde_json::Deserializer::from_slice(body);
    let value = Seed { bounds: &bounds, depth: MAX_DEPTH }.deserialize(&mut reader);
    let value = value.map_err(|error| match bounds.broken.get() {
        Some(broken) => broken,
        None if error.is_eof() => Malformed::Incomplete,
        None => Malformed::Syntax,
    })?;
    reader.end().map_err(|_| Malformed::Trailing)?;
    value.ok_or(Malformed::Syntax)
}

/// Appends `value`; text that is no UTF-8 makes it the empty dictionary, and no text of ours is.
pub(crate) fn write(value: &Value<'_>, octets: &mut Vec<u8>) {
    let start = octets.len();
    if serde_json::to_writer(&mut *octets, value).is_err() {
        octets.truncate(start);
        octets.extend_from_slice(b"{}");
    }
}

struct Bounds {
    /// Values that may still come.
    left: Cell<usize>,
    /// The bound that was broken: serde has no error of ours.
    broken: Cell<Option<Malformed>>,
}

/// Reads one value; `None` for null, which is as good as nothing.
#[derive(Clone, Copy)]
struct Seed<'b> {
    bounds: &'b Bounds,
    depth: usize,
}

impl<'b> Seed<'b> {
    fn broken<E: de::Error>(self, bound: Malformed) -> E {
        self.bounds.broken.set(Some(bound));
        E::custom(bound)
    }

    fn take<E: de::Error>(self) -> Result<(), E> {
        let left = self.bounds.left.get().checked_sub(1);
        self.bounds.left.set(left.ok_or_else(|| self.broken(Malformed::Size))?);
        Ok(())
    }

    fn inside<E: de::Error>(self) -> Result<Seed<'b>, E> {
        let depth = self.depth.checked_sub(1).ok_or_else(|| self.broken(Malformed::Depth))?;
        Ok(Seed { depth, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Option<Value<'de>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Option<Value<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a whole number, a list or a dictionary")
    }

    fn visit_bool<E: de::Error>(self, yes: bool) -> Result<Self::Value, E> {
        self.take()?;
        Ok(Some(Value::Boolean(yes)))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
        self.take()?;
        Ok(Some(Value::Integer(number)))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
        self.take()?;
        let number = i64::try_from(number).map_err(|_| E::custom("no such number"))?;
        Ok(Some(Value::Integer(number)))
    }

    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
        self.take()?;
        Ok(Some(Value::Text(text.into())))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        self.take()?;
        Ok(Some(Value::Text(text.to_owned().into())))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        self.take()?;
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        self.take()?;
        let inside = self.inside()?;
        let mut values = Vec::new();
        while let Some(value) = list.next_element_seed(inside)? {
            values.extend(value);
        }
        Ok(Some(Value::List(values)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        self.take()?;
        let inside = self.inside()?;
        let mut members = Vec::new();
        while let Some(name) = map.next_key_seed(Name(self))? {
            if let Some(value) = map.next_value_seed(inside)? {
                members.push((name, value));
            }
        }
        Ok(Some(Value::Dictionary(members)))
    }
}

/// Reads a member's name.
struct Name<'b>(Seed<'b>);

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = Octets<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Octets<'de>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name<'_> {
    type Value = Octets<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Octets<'de>, E> {
        self.0.take()?;
        Ok(text.into())
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Octets<'de>, E> {
        self.0.take()?;
        Ok(text.to_owned().into())
    }
}
