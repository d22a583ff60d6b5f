//! Fields: what stands in the headers that are looked into.

use std::net::SocketAddr;

use crate::message::{CALL_ID, CSEQ, FROM, Malformed, Message, TO, VIA};

/// Longest number of a callee, in octets; E.164 has 15 digits, names are short.
const MAX_NUMBER: usize = 128;

/// What every request must have (RFC 3261 section 8.1.1).
#[derive(Clone, Copy)]
pub(crate) struct Basics<'a> {
    pub(crate) via: Via<'a>,
    pub(crate) from: &'a str,
    pub(crate) to: &'a str,
    pub(crate) from_tag: Option<&'a str>,
    pub(crate) to_tag: Option<&'a str>,
    pub(crate) call_id: &'a str,
    pub(crate) cseq: u32,
    pub(crate) cseq_method: &'a str,
}

impl<'a> Basics<'a> {
    pub(crate) fn of(message: &Message<'a>) -> Result<Basics<'a>, Malformed> {
        let value = |name| message.first(name).filter(|value: &&str| !value.is_empty());
        let from = value(FROM).ok_or(Malformed)?;
        let to = value(TO).ok_or(Malformed)?;
        let cseq = value(CSEQ).ok_or(Malformed)?;
        let (number, method) = cseq.split_once([' ', '\t']).ok_or(Malformed)?;
        let via = list(value(VIA).ok_or(Malformed)?).next().ok_or(Malformed)?;
        Ok(Basics {
            via: Via::parse(via)?,
            from,
            to,
            from_tag: NameAddr::parse(from)?.tag(),
            to_tag: NameAddr::parse(to)?.tag(),
            call_id: value(CALL_ID).ok_or(Malformed)?,
            // RFC 3261 section 8.1.1.5: less than 2**31.
            cseq: number.parse().ok().filter(|cseq| *cseq < 1 << 31).ok_or(Malformed)?,
            cseq_method: method.trim(),
        })
    }
}

/// One way a message came (RFC 3261 section 20.42).
#[derive(Clone, Copy)]
pub(crate) struct Via<'a> {
    /// `SIP/2.0/UDP`.
    pub(crate) protocol: &'a str,
    /// Host and port.
    pub(crate) sent_by: &'a str,
    parameters: &'a str,
}

impl<'a> Via<'a> {
    pub(crate) fn parse(value: &'a str) -> Result<Via<'a>, Malformed> {
        let (head, parameters) = value.split_at(value.find(';').unwrap_or(value.len()));
        let (protocol, sent_by) = head.trim().rsplit_once([' ', '\t']).ok_or(Malformed)?;
        let protocol = protocol.trim();
        if protocol.is_empty() || sent_by.is_empty() {
            return Err(Malformed);
        }
        Ok(Via { protocol, sent_by, parameters })
    }

    pub(crate) fn branch(&self) -> Option<&'a str> {
        parameter(self.parameters, "branch").flatten()
    }

    pub(crate) fn wants_rport(&self) -> bool {
        parameter(self.parameters, "rport").is_some()
    }

    /// The port that answers go to where no rport is asked for (RFC 3261 section 18.2.2).
    pub(crate) fn port(&self) -> u16 {
        let behind_address = self.sent_by.rsplit(']').next().unwrap_or_default();
        let port = behind_address.rsplit_once(':').and_then(|(_, port)| port.trim().parse().ok());
        port.filter(|port| *port != 0).unwrap_or(5060)
    }

    /// The value with the address that it really came from (RFC 3261 section 18.2.1, RFC 3581).
    pub(crate) fn received_from(&self, source: SocketAddr) -> String {
        let mut value = format!("{} {}", self.protocol, self.sent_by);
        for one in parameters(self.parameters) {
            let name = one.split('=').next().unwrap_or_default().trim();
            if !name.eq_ignore_ascii_case("received") && !name.eq_ignore_ascii_case("rport") {
                value.push(';');
                value.push_str(one);
            }
        }
        value.push_str(&format!(";received={}", source.ip()));
        if self.wants_rport() {
            value.push_str(&format!(";rport={}", source.port()));
        }
        value
    }
}

/// An address with or without a name before it (RFC 3261 section 20.10).
#[derive(Clone, Copy)]
pub(crate) struct NameAddr<'a> {
    pub(crate) uri: &'a str,
    parameters: &'a str,
}

impl<'a> NameAddr<'a> {
    pub(crate) fn parse(value: &'a str) -> Result<NameAddr<'a>, Malformed> {
        let (uri, parameters) = match unquoted(value, |c| c == '<') {
            Some(open) => {
                let inside = value.get(open + 1..).ok_or(Malformed)?;
                inside.split_once('>').ok_or(Malformed)?
            }
            // Without brackets what follows a semicolon is the header's, not the address's.
            None => value.split_at(value.find(';').unwrap_or(value.len())),
        };
        let uri = uri.trim();
        if uri.is_empty() {
            return Err(Malformed);
        }
        Ok(NameAddr { uri, parameters })
    }

    pub(crate) fn tag(&self) -> Option<&'a str> {
        parameter(self.parameters, "tag").flatten()
    }
}

/// The elements of a header that is a list.
pub(crate) fn list(value: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(value);
    std::iter::from_fn(move || {
        let text = rest?;
        let mut is_inside = false;
        let comma = unquoted(text, |c| {
            is_inside = (is_inside || c == '<') && c != '>';
            c == ',' && !is_inside
        });
        rest = comma.and_then(|at| text.get(at + 1..));
        Some(text.get(..comma.unwrap_or(text.len()))?.trim())
    })
    .filter(|element| !element.is_empty())
}

/// Where the first character is that `is_it` and stands in no quotes.
fn unquoted(text: &str, mut is_it: impl FnMut(char) -> bool) -> Option<usize> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            c if !is_quoted && is_it(c) => return Some(at),
            _ => {}
        }
    }
    None
}

fn parameters(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let end = unquoted(text, |c| c == ';');
        rest = end.and_then(|at| text.get(at + 1..));
        Some(text.get(..end.unwrap_or(text.len()))?.trim())
    })
    .filter(|one| !one.is_empty())
}

/// A parameter's value, if it is there and has one.
pub(crate) fn parameter<'a>(text: &'a str, name: &str) -> Option<Option<&'a str>> {
    parameters(text).find_map(|one| {
        let (key, value) = match one.split_once('=') {
            Some((key, value)) => (key.trim(), Some(value.trim())),
            None => (one, None),
        };
        key.eq_ignore_ascii_case(name).then_some(value)
    })
}

/// Whom a URI names: the user of `sip:` and `sips:`, the number of `tel:`. `None` if the scheme is
/// another one; empty if it names nobody.
pub(crate) fn callee(uri: &str) -> Option<String> {
    let (scheme, rest) = uri.split_once(':')?;
    let user = match scheme.to_ascii_lowercase().as_str() {
        "sip" | "sips" => rest.split_once('@').map_or("", |(user, _)| user),
        "tel" => rest,
        _ => return None,
    };
    // A password, and what a number may carry along (RFC 3261 section 19.1.1).
    let user = user.split([':', ';', '?']).next().unwrap_or_default();
    Some(unescaped(user)).filter(|user| user.len() <= MAX_NUMBER)
}

/// Text with its `%41` as characters; what can't be text stays as it is written.
fn unescaped(text: &str) -> String {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        let hex = |digit: u8| char::from(digit).to_digit(16);
        rest = match (first, behind) {
            (b'%', [high, low, after @ ..]) if hex(*high).is_some() && hex(*low).is_some() => {
                let value = hex(*high).unwrap_or(0) * 16 + hex(*low).unwrap_or(0);
                octets.push(u8::try_from(value).unwrap_or(b'%'));
                after
            }
            _ => {
                octets.push(*first);
                behind
            }
        };
    }
    String::from_utf8(octets).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::{NameAddr, Via, callee, list, parameter};

    #[test]
    fn a_via_tells_where_it_really_came_from() {
        let via = Via::parse("SIP/2.0/UDP 10.0.0.7:5062;branch=z9hG4bKa;rport;received=1.2.3.4");
        let via = via.unwrap();
        assert_eq!((via.branch(), via.port(), via.wants_rport()), (Some("z9hG4bKa"), 5062, true));
        let written = via.received_from("192.0.2.9:40000".parse().unwrap());
        let wanted = "SIP/2.0/UDP 10.0.0.7:5062;branch=z9hG4bKa;received=192.0.2.9;rport=40000";
        assert_eq!(written, wanted);
        assert_eq!(Via::parse("SIP/2.0/UDP [2001:db8::1]").unwrap().port(), 5060);
        assert!(Via::parse("SIP/2.0/UDP").is_err());
    }

    #[test]
    fn tags_are_those_of_the_header() {
        let tag = |text| NameAddr::parse(text).unwrap().tag();
        assert_eq!(tag("\"A;tag=no <x>\" <sip:a@b;tag=no>;tag=yes"), Some("yes"));
        assert_eq!(tag("sip:a@b;tag=yes"), Some("yes"));
        assert_eq!(tag("<sip:a@b>"), None);
        assert!(NameAddr::parse("<sip:a@b").is_err());
    }

    #[test]
    fn lists_are_cut_at_commas_of_their_own() {
        let found: Vec<&str> = list("<sip:a,b@c>;x=\"1,2\" , , <sip:d>").collect();
        assert_eq!(found, ["<sip:a,b@c>;x=\"1,2\"", "<sip:d>"]);
        assert_eq!(parameter("a;b=\"c;d\";e", "E"), Some(None));
    }

    #[test]
    fn the_callee_is_named_by_sip_and_tel() {
        let names = [
            ("sip:+15550100@192.0.2.1;user=phone", Some("+15550100")),
            ("SIPS:pay:secret@h", Some("pay")),
            ("sip:%2B1555;npdi@h", Some("+1555")),
            ("tel:+15550100;phone-context=x", Some("+15550100")),
            ("sip:192.0.2.1", Some("")),
            ("mailto:a@b", None),
        ];
        for (uri, name) in names {
            assert_eq!(callee(uri).as_deref(), name, "{uri}");
        }
    }
}
