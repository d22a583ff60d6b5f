//! Bencode, as NG peers write it: names in any order.

use std::io::Write;

use crate::value::{MAX_DEPTH, MAX_VALUES, Malformed, Octets, Value};

/// Most digits of a number or a length: an `i64` with its sign has 20.
const MAX_DIGITS: usize = 20;

/// Reads the value that `octets` begin with, and returns what follows it.
pub(crate) fn read(octets: &[u8]) -> Result<(Value<'_>, &[u8]), Malformed> {
    let mut reader = Reader { rest: octets, left: MAX_VALUES };
    let value = reader.value(MAX_DEPTH)?;
    Ok((value, reader.rest))
}

/// Appends `value`.
pub(crate) fn write(value: &Value<'_>, octets: &mut Vec<u8>) {
    match value {
        Value::Integer(number) => number_between(b'i', *number, b'e', octets),
        Value::Boolean(yes) => number_between(b'i', i64::from(*yes), b'e', octets),
        Value::Text(text) => write_text(text.get(), octets),
        Value::List(values) => {
            octets.push(b'l');
            values.iter().for_each(|value| write(value, octets));
            octets.push(b'e');
        }
        Value::Dictionary(members) => {
            octets.push(b'd');
            for (name, value) in members {
                write_text(name.get(), octets);
                write(value, octets);
            }
            octets.push(b'e');
        }
    }
}

fn write_text(text: &[u8], octets: &mut Vec<u8>) {
    // Writing to memory can't fail.
    let _ = write!(octets, "{}:", text.len());
    octets.extend_from_slice(text);
}

fn number_between(before: u8, number: i64, after: u8, octets: &mut Vec<u8>) {
    octets.push(before);
    let _ = write!(octets, "{number}");
    octets.push(after);
}

struct Reader<'a> {
    rest: &'a [u8],
    /// Values that may still come.
    left: usize,
}

impl<'a> Reader<'a> {
    fn value(&mut self, depth: usize) -> Result<Value<'a>, Malformed> {
        self.left = self.left.checked_sub(1).ok_or(Malformed::Size)?;
        let inside = depth.checked_sub(1).ok_or(Malformed::Depth);
        match self.rest.split_first().ok_or(Malformed::Incomplete)? {
            (b'i', rest) => {
                self.rest = rest;
                self.number(b'e').map(Value::Integer)
            }
            (b'l', rest) => {
                self.rest = rest;
                self.list(inside?)
            }
            (b'd', rest) => {
                self.rest = rest;
                self.dictionary(inside?)
            }
            (b'0'..=b'9', _) => self.text().map(Value::Text),
            _ => Err(Malformed::Syntax),
        }
    }

    fn list(&mut self, depth: usize) -> Result<Value<'a>, Malformed> {
        let mut values = Vec::new();
        while !self.ends()? {
            values.push(self.value(depth)?);
        }
        Ok(Value::List(values))
    }

    fn dictionary(&mut self, depth: usize) -> Result<Value<'a>, Malformed> {
        let mut members = Vec::new();
        while !self.ends()? {
            self.left = self.left.checked_sub(1).ok_or(Malformed::Size)?;
            let name = self.text()?;
            members.push((name, self.value(depth)?));
        }
        Ok(Value::Dictionary(members))
    }

    /// Whether a list or dictionary ends here.
    fn ends(&mut self) -> Result<bool, Malformed> {
        match self.rest.split_first().ok_or(Malformed::Incomplete)? {
            (b'e', rest) => {
                self.rest = rest;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    fn text(&mut self) -> Result<Octets<'a>, Malformed> {
        let length = usize::try_from(self.number(b':')?).map_err(|_| Malformed::Syntax)?;
        let (text, rest) = self.rest.split_at_checked(length).ok_or(Malformed::Incomplete)?;
        self.rest = rest;
        Ok(text.into())
    }

    /// A decimal number and the octet behind it.
    fn number(&mut self, end: u8) -> Result<i64, Malformed> {
        let near = &self.rest[..self.rest.len().min(MAX_DIGITS + 1)];
        let Some(digits) = near.iter().position(|&octet| octet == end) else {
            let is_number = near.iter().all(|octet| matches!(octet, b'0'..=b'9' | b'-'));
            let may_go_on = is_number && near.len() <= MAX_DIGITS;
            return Err(if may_go_on { Malformed::Incomplete } else { Malformed::Syntax });
        };
        let is_decimal = !near[..digits].contains(&b'+');
        let text = str::from_utf8(&near[..digits]).map_err(|_| Malformed::Syntax)?;
        self.rest = &self.rest[digits + 1..];
        text.parse().ok().filter(|_| is_decimal).ok_or(Malformed::Syntax)
    }
}
