//! Message: a cookie, a space and a body, alone in a datagram or one behind the other on a stream.

use crate::bencode;
use crate::value::Malformed;

/// Longest message read, in octets: what fits into one datagram over IPv4.
pub const MAX_MESSAGE: usize = 65_507;
/// Longest cookie read, in octets; those of proxies have about 20.
pub const MAX_COOKIE: usize = 255;

/// How a body is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Syntax {
    /// A bencoded dictionary.
    Bencode,
    /// A JSON object.
    Json,
}

impl Syntax {
    /// What a body that begins with `octet` is written in.
    #[must_use]
    pub const fn of(octet: u8) -> Option<Syntax> {
        match octet {
            b'd' => Some(Syntax::Bencode),
            b'{' => Some(Syntax::Json),
            _ => None,
        }
    }
}

/// Octets that are no message: there is nobody to answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not a cookie, a space and a dictionary")]
pub struct NotAMessage;

/// One message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Message<'a> {
    /// What the reply begins with: it names the request.
    pub cookie: &'a [u8],
    /// How the body is written, and the reply's will be.
    pub syntax: Syntax,
    /// The body, not read yet.
    pub body: &'a [u8],
}

impl<'a> Message<'a> {
    /// Splits what came in one piece.
    ///
    /// # Errors
    /// [`NotAMessage`], if there is no cookie or no dictionary behind it.
    pub fn split(octets: &'a [u8]) -> Result<Message<'a>, NotAMessage> {
        let (cookie, body) = split_cookie(octets).ok_or(NotAMessage)?;
        let syntax = body.first().and_then(|&octet| Syntax::of(octet)).ok_or(NotAMessage)?;
        // Some senders end a message as they end a line.
        Ok(Message { cookie, syntax, body: body.trim_ascii_end() })
    }
}

/// The cookie and the body; `None` if there is no space where one could stand.
fn split_cookie(octets: &[u8]) -> Option<(&[u8], &[u8])> {
    let near = &octets[..octets.len().min(MAX_COOKIE + 1)];
    let end = near.iter().position(|&octet| octet == b' ')?;
    let (cookie, body) = (&octets[..end], &octets[end + 1..]);
    let is_cookie = !cookie.is_empty() && cookie.iter().all(u8::is_ascii_graphic);
    is_cookie.then_some((cookie, body))
}

/// Finds the first message of a stream: where it begins and ends, once it is whole. Blanks between
/// messages are passed over.
///
/// # Errors
/// [`NotAMessage`], if no message can come of it any more: where the next begins is unknown then.
pub fn first_message(octets: &[u8]) -> Result<Option<std::ops::Range<usize>>, NotAMessage> {
    let start = octets.len() - octets.trim_ascii_start().len();
    let stream = &octets[start..];
    let Some((cookie, body)) = split_cookie(stream) else {
        let may_go_on = stream.len() <= MAX_COOKIE && !stream.contains(&b' ');
        return if may_go_on { Ok(None) } else { Err(NotAMessage) };
    };
    let Some(&first) = body.first() else { return Ok(None) };
    let length = match Syntax::of(first).ok_or(NotAMessage)? {
        Syntax::Bencode => bencode_length(body)?,
        Syntax::Json => json_length(body),
    };
    match length {
        Some(length) => Ok(Some(start..start + cookie.len() + 1 + length)),
        None if stream.len() > MAX_MESSAGE => Err(NotAMessage),
        None => Ok(None),
    }
}

fn bencode_length(body: &[u8]) -> Result<Option<usize>, NotAMessage> {
    match bencode::read(body) {
        Ok((_, rest)) => Ok(Some(body.len() - rest.len())),
        Err(Malformed::Incomplete) => Ok(None),
        Err(Malformed::Syntax | Malformed::Depth | Malformed::Size | Malformed::Trailing) => {
            Err(NotAMessage)
        }
    }
}

/// Up to the brace that closes the first one, past texts.
fn json_length(body: &[u8]) -> Option<usize> {
    let (mut depth, mut is_text, mut is_escaped) = (0_usize, false, false);
    for (at, octet) in body.iter().enumerate() {
        match octet {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_text => is_escaped = true,
            b'"' => is_text = !is_text,
            _ if is_text => {}
            b'{' => depth += 1,
            b'}' if depth <= 1 => return Some(at + 1),
            b'}' => depth -= 1,
            _ => {}
        }
    }
    None
}
