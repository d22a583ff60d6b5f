//! Message: one SIP message, read where it lies (RFC 3261 section 7).
//!
//! Nothing is copied, so whoever wipes the octets has wiped the message, body and all.

/// Longest message that is read: the most that one datagram can hold.
pub const MAX_MESSAGE: usize = 64 * 1024;
/// Longest start line and headers. Real ones have 2 kB; trunks that sign what they send, 5 kB.
pub(crate) const MAX_HEAD: usize = 16 * 1024;
/// Most header lines.
const MAX_HEADERS: usize = 128;
/// The only version there is.
const VERSION: &str = "SIP/2.0";

/// A message that can't be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Malformed;

/// A header's name: in full, and its short form if it has one (RFC 3261 section 7.3.3).
#[derive(Clone, Copy)]
pub(crate) struct Name(pub(crate) &'static str, pub(crate) &'static str);

pub(crate) const VIA: Name = Name("Via", "v");
pub(crate) const FROM: Name = Name("From", "f");
pub(crate) const TO: Name = Name("To", "t");
pub(crate) const CALL_ID: Name = Name("Call-ID", "i");
pub(crate) const CSEQ: Name = Name("CSeq", "");
pub(crate) const CONTACT: Name = Name("Contact", "m");
pub(crate) const CONTENT_LENGTH: Name = Name("Content-Length", "l");
pub(crate) const CONTENT_TYPE: Name = Name("Content-Type", "c");
pub(crate) const CONTENT_ENCODING: Name = Name("Content-Encoding", "e");
pub(crate) const RECORD_ROUTE: Name = Name("Record-Route", "");
pub(crate) const REQUIRE: Name = Name("Require", "");
pub(crate) const SUPPORTED: Name = Name("Supported", "k");
pub(crate) const AUTHORIZATION: Name = Name("Authorization", "");
pub(crate) const SESSION_EXPIRES: Name = Name("Session-Expires", "x");

/// What a request asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Method {
    Invite,
    Ack,
    Bye,
    Cancel,
    Options,
    Info,
    Update,
    /// One that is not spoken here.
    Other,
}

impl Method {
    /// Methods are told apart by case (RFC 3261 section 7.1).
    fn parse(word: &str) -> Method {
        match word {
            "INVITE" => Method::Invite,
            "ACK" => Method::Ack,
            "BYE" => Method::Bye,
            "CANCEL" => Method::Cancel,
            "OPTIONS" => Method::Options,
            "INFO" => Method::Info,
            "UPDATE" => Method::Update,
            _ => Method::Other,
        }
    }
}

/// What a message begins with.
#[derive(Clone, Copy)]
pub(crate) enum Start<'a> {
    Request { method: Method, word: &'a str, uri: &'a str },
    Response { status: u16 },
}

/// One message.
pub(crate) struct Message<'a> {
    pub(crate) start: Start<'a>,
    headers: Vec<(&'a str, &'a str)>,
    pub(crate) body: &'a [u8],
}

impl<'a> Message<'a> {
    /// Reads a message that stands alone, as in a datagram or behind a framer.
    pub(crate) fn parse(octets: &'a [u8]) -> Result<Message<'a>, Malformed> {
        if octets.len() > MAX_MESSAGE {
            return Err(Malformed);
        }
        // Empty lines may come first (RFC 3261 section 7.5).
        let begin = octets.iter().position(|octet| !matches!(octet, b'\r' | b'\n'));
        let octets = octets.get(begin.ok_or(Malformed)?..).ok_or(Malformed)?;
        let head_len = head_length(octets).ok_or(Malformed)?;
        let (head, body) = octets.split_at_checked(head_len).ok_or(Malformed)?;
        let message = Message { body, ..Message::of_head(readable(head)?)? };
        let length = message.content_length()?.unwrap_or(body.len());
        let body = body.get(..length).ok_or(Malformed)?;
        Ok(Message { body, ..message })
    }

    fn of_head(head: &'a str) -> Result<Message<'a>, Malformed> {
        let mut lines = lines(head);
        let start = start_line(lines.next().ok_or(Malformed)?)?;
        Ok(Message { start, headers: headers(lines)?, body: &[] })
    }

    /// The length that a head says its body has.
    pub(crate) fn length_of(head: &[u8]) -> Result<Option<usize>, Malformed> {
        Message::of_head(readable(head)?)?.content_length()
    }

    /// The values of a header, one a line, in order.
    pub(crate) fn all(&self, name: Name) -> impl Iterator<Item = &'a str> {
        let is_named = move |written: &str| {
            written.eq_ignore_ascii_case(name.0)
                || (!name.1.is_empty() && written.eq_ignore_ascii_case(name.1))
        };
        self.headers.iter().filter(move |(written, _)| is_named(written)).map(|(_, value)| *value)
    }

    /// The value of a header that stands once; the first one of others.
    pub(crate) fn first(&self, name: Name) -> Option<&'a str> {
        self.all(name).next()
    }

    /// The body's length as the header has it. Where it stands twice, both must say the same: else
    /// two readers of one stream could see different messages.
    fn content_length(&self) -> Result<Option<usize>, Malformed> {
        let mut said = None;
        for value in self.all(CONTENT_LENGTH) {
            let length = number(value).ok_or(Malformed)?;
            if said.is_some_and(|before| before != length) {
                return Err(Malformed);
            }
            said = Some(length);
        }
        Ok(said)
    }
}

/// A length as digits alone: `parse` would take a sign.
fn number(text: &str) -> Option<usize> {
    let is_number = !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

/// Octets up to and with the empty line; `None` if it is not there within [`MAX_HEAD`].
pub(crate) fn head_length(octets: &[u8]) -> Option<usize> {
    let within = octets.get(..octets.len().min(MAX_HEAD))?;
    let ends = within.iter().enumerate().filter(|(_, octet)| **octet == b'\n').map(|(at, _)| at);
    ends.map(|at| at + 1).find_map(|at| match within.get(at..)? {
        [b'\n', ..] => Some(at + 1),
        [b'\r', b'\n', ..] => Some(at + 2),
        _ => None,
    })
}

/// The head as text without what could end a line for one reader and not for another.
fn readable(head: &[u8]) -> Result<&str, Malformed> {
    let text = std::str::from_utf8(head).map_err(|_| Malformed)?;
    let follows = |at: usize| head.get(at + 1).copied();
    let is_fine = head.iter().enumerate().all(|(at, octet)| match octet {
        b'\r' => follows(at) == Some(b'\n'),
        b'\n' | b'\t' => true,
        octet => *octet >= 0x20 && *octet != 0x7f,
    });
    is_fine.then_some(text).ok_or(Malformed)
}

/// The lines of a head. One that goes on behind a line's end (RFC 3261 section 7.3.1) is one line.
fn lines(head: &str) -> impl Iterator<Item = &str> {
    let mut rest = head;
    std::iter::from_fn(move || {
        let end = rest
            .match_indices('\n')
            .map(|(at, _)| at)
            .find(|at| !rest.get(at + 1..).unwrap_or_default().starts_with([' ', '\t']))?;
        let (line, behind) = rest.split_at_checked(end + 1)?;
        rest = behind;
        let line = line.trim_end_matches(['\r', '\n']);
        (!line.is_empty()).then_some(line)
    })
}

fn start_line(line: &str) -> Result<Start<'_>, Malformed> {
    let mut words = line.splitn(3, ' ');
    let mut word = || words.next().filter(|word| !word.is_empty()).ok_or(Malformed);
    let first = word()?;
    let second = word()?;
    if first.eq_ignore_ascii_case(VERSION) {
        let status = second.parse().ok().filter(|status| (100..700).contains(status));
        return Ok(Start::Response { status: status.ok_or(Malformed)? });
    }
    let is_ours = word()?.eq_ignore_ascii_case(VERSION);
    let is_token =
        first.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&octet));
    if !is_ours || !is_token {
        return Err(Malformed);
    }
    Ok(Start::Request { method: Method::parse(first), word: first, uri: second })
}

fn headers<'a>(lines: impl Iterator<Item = &'a str>) -> Result<Vec<(&'a str, &'a str)>, Malformed> {
    let mut headers = Vec::new();
    for line in lines {
        let (name, value) = line.split_once(':').ok_or(Malformed)?;
        let name = name.trim_end_matches([' ', '\t']);
        if headers.len() == MAX_HEADERS || name.is_empty() || name.contains([' ', '\t', '\n']) {
            return Err(Malformed);
        }
        headers.push((name, value.trim()));
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::{CONTENT_LENGTH, Message, Method, Start, TO, VIA};

    const INVITE: &str = "\r\nINVITE sip:pay@192.0.2.1 SIP/2.0\r\nv: SIP/2.0/UDP a;branch=z9hG4bK1\r\n\
        Via: SIP/2.0/UDP b\r\nSubject: a\r\n fold\r\nTo :  <sip:pay@192.0.2.1>\r\nl: 3\r\n\r\nabcdef";

    #[test]
    fn a_request_is_read_with_short_names_and_folds() {
        let message = Message::parse(INVITE.as_bytes()).unwrap();
        assert!(matches!(
            message.start,
            Start::Request { method: Method::Invite, uri: "sip:pay@192.0.2.1", .. }
        ));
        assert_eq!(message.all(VIA).count(), 2);
        assert_eq!(message.first(TO), Some("<sip:pay@192.0.2.1>"));
        assert_eq!(message.body, b"abc");
        assert_eq!(message.first(CONTENT_LENGTH), Some("3"));
    }

    #[test]
    fn what_readers_could_see_differently_is_refused() {
        for (from, to) in [
            ("l: 3", "l: 9"),
            ("l: 3", "l: +3"),
            ("l: 3", "l: 3\r\nContent-Length: 2"),
            ("a\r\n fold", "a\rb: c"),
            ("SIP/2.0\r\nv", "SIP/3.0\r\nv"),
            ("To :", "T o:"),
            ("\r\n\r\n", "\r\n"),
        ] {
            assert!(Message::parse(INVITE.replacen(from, to, 1).as_bytes()).is_err(), "{to:?}");
        }
        let many = INVITE.replacen("l: 3", &"x: y\r\n".repeat(200), 1);
        assert!(Message::parse(many.as_bytes()).is_err());
    }

    #[test]
    fn a_response_is_read() {
        let message = Message::parse(b"SIP/2.0 200 OK\nVia: x\n\n").unwrap();
        assert!(matches!(message.start, Start::Response { status: 200 }));
        assert!(Message::parse(b"SIP/2.0 99 No\r\n\r\n").is_err());
    }
}
