//! Framer: messages out of a stream (RFC 3261 section 18.3), and keep-alives (RFC 5626 section 4.4.1).

use zeroize::{Zeroize, Zeroizing};

use crate::message::{MAX_HEAD, MAX_MESSAGE, Malformed, Message, head_length};

/// What the next octets of a stream are.
pub enum Frame {
    /// One whole message.
    Message(Zeroizing<Vec<u8>>),
    /// Two empty lines: the peer wants one back.
    Ping,
}

/// The octets of a stream that are no message yet: [`MAX_MESSAGE`] and one read at most.
#[derive(Default)]
pub struct Framer {
    octets: Vec<u8>,
}

impl Framer {
    /// Takes in what was read.
    pub fn push(&mut self, read: &[u8]) {
        let length = self.octets.len() + read.len();
        if length > self.octets.capacity() {
            let mut grown = Vec::with_capacity(length * 2);
            grown.extend_from_slice(&self.octets);
            // A vector that grows by itself leaves a copy of what it held behind.
            self.octets.zeroize();
            self.octets = grown;
        }
        self.octets.extend_from_slice(read);
    }

    /// The next message or ping, if it is complete.
    ///
    /// # Errors
    /// If the stream is none of SIP, or a message says nothing of its length or too much: there is
    /// no telling where the next one begins.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, Malformed> {
        if self.octets.starts_with(b"\r\n\r\n") {
            self.take(4);
            return Ok(Some(Frame::Ping));
        }
        let empty = self.octets.iter().take_while(|octet| matches!(octet, b'\r' | b'\n')).count();
        // What may become a ping is kept.
        if empty == self.octets.len() && empty < 4 {
            return Ok(None);
        }
        self.take(empty);
        let Some(head) = head_length(&self.octets) else {
            return if self.octets.len() < MAX_HEAD { Ok(None) } else { Err(Malformed) };
        };
        let length = head + body_length(self.octets.get(..head).unwrap_or_default())?;
        if length > MAX_MESSAGE {
            return Err(Malformed);
        }
        Ok((length <= self.octets.len()).then(|| Frame::Message(self.take(length))))
    }

    fn take(&mut self, length: usize) -> Zeroizing<Vec<u8>> {
        let length = length.min(self.octets.len());
        let taken = Zeroizing::new(self.octets.get(..length).unwrap_or_default().to_vec());
        let rest = self.octets.len() - length;
        self.octets.copy_within(length.., 0);
        self.octets.get_mut(rest..).unwrap_or_default().zeroize();
        self.octets.truncate(rest);
        taken
    }
}

impl Drop for Framer {
    fn drop(&mut self) {
        self.octets.zeroize();
    }
}

/// The length that a head says its body has. In a stream it must say so.
fn body_length(head: &[u8]) -> Result<usize, Malformed> {
    let length = Message::length_of(head)?.ok_or(Malformed)?;
    if length > MAX_MESSAGE { Err(Malformed) } else { Ok(length) }
}

#[cfg(test)]
mod tests {
    use super::{Frame, Framer};

    const ONE: &[u8] = b"OPTIONS sip:a SIP/2.0\r\nContent-Length: 3\r\n\r\nabc";

    fn frames(reads: &[&[u8]]) -> Vec<Vec<u8>> {
        let (mut framer, mut found) = (Framer::default(), Vec::new());
        for read in reads {
            framer.push(read);
            while let Some(frame) = framer.next_frame().unwrap() {
                found.push(match frame {
                    Frame::Message(octets) => octets.to_vec(),
                    Frame::Ping => Vec::new(),
                });
            }
        }
        found
    }

    #[test]
    fn messages_come_whole_however_they_are_cut() {
        let two = [ONE, b"\r\n\r\n", ONE].concat();
        assert_eq!(frames(&[&two]), [ONE, b"", ONE]);
        let single: Vec<&[u8]> = two.chunks(1).collect();
        assert_eq!(frames(&single), [ONE, b"", ONE]);
    }

    #[test]
    fn what_has_no_length_ends_the_stream() {
        for bad in ["OPTIONS sip:a SIP/2.0\r\n\r\n", "A b SIP/2.0\r\nl: 70000\r\n\r\n"] {
            let mut framer = Framer::default();
            framer.push(bad.as_bytes());
            assert!(framer.next_frame().is_err());
        }
        let mut framer = Framer::default();
        framer.push(&[b'a'; 20_000]);
        assert!(framer.next_frame().is_err());
    }
}
