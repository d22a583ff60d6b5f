//! Bencode: the encoding of rtpengine's NG protocol. Dictionaries of texts and numbers are
//! all that is sent; of replies, the texts of the outer dictionary are read.

/// A value that is sent.
pub(crate) enum Value<'a> {
    /// A text.
    Text(&'a str),
    /// A number.
    Number(i64),
}

/// A dictionary; `members` in the order of their names, as bencode has it.
pub(crate) fn dictionary(members: &mut [(&str, Value<'_>)]) -> Vec<u8> {
    members.sort_by_key(|(name, _)| *name);
    let mut octets = vec![b'd'];
    for (name, value) in members {
        text(name, &mut octets);
        match value {
            Value::Text(it) => text(it, &mut octets),
            Value::Number(it) => octets.extend(format!("i{it}e").bytes()),
        }
    }
    octets.push(b'e');
    octets
}

fn text(text: &str, octets: &mut Vec<u8>) {
    octets.extend(format!("{}:{text}", text.len()).bytes());
}

/// The text named `name` in a dictionary.
pub(crate) fn find(dictionary: &[u8], name: &str) -> Option<String> {
    let mut rest = dictionary.strip_prefix(b"d")?;
    while !rest.starts_with(b"e") {
        let (key, after) = read_text(rest)?;
        if key == name.as_bytes() {
            return read_text(after).map(|(value, _)| String::from_utf8_lossy(value).into_owned());
        }
        rest = skip(after)?;
    }
    None
}

fn read_text(octets: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = octets.iter().position(|&octet| octet == b':')?;
    let len: usize = std::str::from_utf8(&octets[..colon]).ok()?.parse().ok()?;
    octets[colon + 1..].split_at_checked(len)
}

/// What follows one value.
fn skip(octets: &[u8]) -> Option<&[u8]> {
    match octets.first()? {
        b'i' => octets.iter().position(|&octet| octet == b'e').map(|end| &octets[end + 1..]),
        b'l' | b'd' => {
            let mut rest = &octets[1..];
            while !rest.starts_with(b"e") {
                rest = skip(rest)?;
            }
            rest.get(1..)
        }
        _ => read_text(octets).map(|(_, rest)| rest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_sorted_and_found() {
        let octets = dictionary(&mut [("sdp", Value::Text("v=0")), ("delay", Value::Number(60))]);
        assert_eq!(octets, b"d5:delayi60e3:sdp3:v=0e");
        assert_eq!(find(&octets, "sdp").as_deref(), Some("v=0"));
        assert_eq!(find(&octets, "tag"), None);
    }

    #[test]
    fn broken_dictionaries_end_the_search() {
        for octets in [&b"d5:del"[..], b"", b"d3:abcl1:a", b"d9999:x", b"d3:abci5"] {
            assert_eq!(find(octets, "sdp"), None);
        }
    }
}
