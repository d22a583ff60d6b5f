//! AudioSocket: frames of sound over TCP, of both ends of it (Asterisk's documentation,
//! "AudioSocket").
//!
//! A frame is a type (1 octet), a length (2 octets, big-endian) and so many octets of payload. Here
//! one whole frame with its header is one [`Message::Binary`]; [`Deframer`] makes them of a stream.
//!
//! | type | payload |
//! |---|---|
//! | `0x00` | none: hang up |
//! | `0x01` | the call's id, 16 octets: the first frame of whoever dials |
//! | `0x03` | a key, one ASCII character |
//! | `0x10`, `0x12`, `0x13` | samples at 8, 16 and 24 kHz |
//! | `0xff` | an error |
//!
//! The other rates that Asterisk has (12, 32, 44.1, 48, 96 and 192 kHz) are refused with
//! [`Fault::WrongRate`], and so is any rate but the connection's own; a type that is none of these
//! with [`Fault::Malformed`]. There are no marks, and what waits can't be thrown away.

use dtmf::Digit;
use zeroize::Zeroizing;

use crate::{
    Act, Dialect, Effects, Encoding, Fault, Introduction, Message, Notice, Reached, payload,
};

/// Octets of a frame's header.
const HEADER: usize = 3;
const HANG_UP: u8 = 0x00;
const IDENTITY: u8 = 0x01;
const KEY: u8 = 0x03;
const ERROR: u8 = 0xff;
/// The types of samples, from 8 to 192 kHz.
const SAMPLES: std::ops::RangeInclusive<u8> = 0x10..=0x18;

/// The type of samples at a rate; none of a rate that isn't spoken here.
const fn samples_type(encoding: Encoding) -> Option<u8> {
    match encoding {
        Encoding::L16(8000) => Some(0x10),
        Encoding::L16(16_000) => Some(0x12),
        Encoding::L16(24_000) => Some(0x13),
        Encoding::L16(_) | Encoding::Pcmu | Encoding::Pcma => None,
    }
}

/// Frames out of a stream of octets, however it is cut.
///
/// It holds less than one frame, which its length of 16 bits keeps below 64 KiB. A stream that is no
/// AudioSocket comes out as frames that a dialect refuses. What it held is wiped, as it may be a key.
#[derive(Default)]
pub struct Deframer {
    held: Zeroizing<Vec<u8>>,
}

impl Deframer {
    /// The frames that are whole now.
    pub fn push(&mut self, octets: &[u8], frames: &mut Vec<Message>) {
        // Of one piece: what grows leaves a copy behind.
        self.held = Zeroizing::new([&self.held[..], octets].concat());
        let mut rest = &self.held[..];
        while let Some((frame, behind)) = whole_frame(rest) {
            frames.push(Message::Binary(frame.to_owned()));
            rest = behind;
        }
        if rest.len() < self.held.len() {
            self.held = rest.to_owned().into();
        }
    }
}

/// The first frame with its header, and what is behind it.
fn whole_frame(octets: &[u8]) -> Option<(&[u8], &[u8])> {
    let &[_, high, low] = octets.first_chunk::<HEADER>()?;
    octets.split_at_checked(HEADER + usize::from(u16::from_be_bytes([high, low])))
}

/// A frame's type and payload, if it is one whole frame.
fn parts(message: &Message) -> Result<(u8, &[u8]), Fault> {
    let Message::Binary(octets) = message else { return Err(Fault::WrongKind) };
    match whole_frame(octets) {
        Some((frame, [])) => Ok((frame[0], &frame[HEADER..])),
        Some(_) | None => Err(Fault::Malformed),
    }
}

/// A frame. Nothing of ours is near the 64 KiB that it could hold; what were is not sent.
fn send(kind: u8, payload: &[u8], effects: &mut Effects) {
    if let Ok(length) = u16::try_from(payload.len()) {
        let frame = [&[kind], &length.to_be_bytes()[..], payload].concat();
        effects.send.push(Message::Binary(frame));
    }
}

/// What both ends may send, of whatever type.
enum Heard<'a> {
    HangUp,
    Identity([u8; 16]),
    Key(Digit),
    /// A key that no telephone of ours has, such as a hook flash.
    Nothing,
    Samples(&'a [u8]),
}

fn read(message: &Message, encoding: Encoding) -> Result<Heard<'_>, Fault> {
    match parts(message)? {
        (HANG_UP, _) => Ok(Heard::HangUp),
        (IDENTITY, id) => id.try_into().map(Heard::Identity).map_err(|_| Fault::Malformed),
        (KEY, &[key]) => {
            Ok(Digit::from_ascii(key.to_ascii_uppercase()).map_or(Heard::Nothing, Heard::Key))
        }
        (ERROR, _) => Err(Fault::Reported),
        (kind, samples) if samples_type(encoding) == Some(kind) => Ok(Heard::Samples(samples)),
        (kind, _) if SAMPLES.contains(&kind) => Err(Fault::WrongRate),
        (_, _) => Err(Fault::Malformed),
    }
}

/// A connection to an engine that expects Asterisk: we dial.
pub struct AudioSocket {
    introduction: Introduction,
    keys: bool,
}

impl AudioSocket {
    /// A connection that has not begun. `keys`: whether the engine is sent keys; one that doesn't
    /// know them takes them for errors.
    #[must_use]
    pub fn new(introduction: Introduction, keys: bool) -> AudioSocket {
        AudioSocket { introduction, keys }
    }
}

impl Dialect for AudioSocket {
    fn encoding(&self) -> Encoding {
        self.introduction.encoding
    }

    fn open(&mut self, effects: &mut Effects) {
        send(IDENTITY, &self.introduction.call, effects);
    }

    fn audio(&mut self, frame: &[u8], effects: &mut Effects) {
        if let Some(kind) = samples_type(self.introduction.encoding) {
            send(kind, frame, effects);
        }
    }

    fn key(&mut self, key: Digit, effects: &mut Effects) {
        if self.keys {
            send(KEY, &[key.to_ascii()], effects);
        }
    }

    fn marked(&mut self, _: &str, _: Reached, _: &mut Effects) {
        // There are no marks.
    }

    fn notice(&mut self, _: Notice, _: &mut Effects) {
        // There is no frame for it, and an engine may take one that it doesn't know for an error.
    }

    fn end(&mut self, effects: &mut Effects) {
        send(HANG_UP, &[], effects);
    }

    fn hear(&mut self, message: &Message, effects: &mut Effects) -> Result<(), Fault> {
        match read(message, self.introduction.encoding)? {
            Heard::HangUp => effects.acts.push(Act::HangUp),
            Heard::Key(key) => effects.acts.push(Act::SendKey(key)),
            Heard::Nothing => {}
            Heard::Samples(samples) => payload::play(samples, self.introduction.encoding, effects)?,
            // Only who dials has one.
            Heard::Identity(_) => return Err(Fault::Malformed),
        }
        Ok(())
    }
}

/// A connection of Asterisk's, which is a caller's leg: Asterisk dials.
///
/// What [`Dialect::audio`] and [`Dialect::key`] are given here is what the *caller* is to hear, and
/// [`Act::Play`] is what the caller says.
pub struct CallerSocket {
    encoding: Encoding,
    keys: bool,
    is_known: bool,
}

impl CallerSocket {
    /// A connection that has not begun. None if these are no samples at a rate that is spoken here.
    /// `keys`: whether Asterisk is sent keys.
    #[must_use]
    pub fn new(encoding: Encoding, keys: bool) -> Option<CallerSocket> {
        samples_type(encoding)?;
        Some(CallerSocket { encoding, keys, is_known: false })
    }
}

impl Dialect for CallerSocket {
    fn encoding(&self) -> Encoding {
        self.encoding
    }

    fn open(&mut self, _: &mut Effects) {
        // Who dials speaks first.
    }

    fn audio(&mut self, frame: &[u8], effects: &mut Effects) {
        if let Some(kind) = samples_type(self.encoding) {
            send(kind, frame, effects);
        }
    }

    fn key(&mut self, key: Digit, effects: &mut Effects) {
        if self.keys {
            send(KEY, &[key.to_ascii()], effects);
        }
    }

    fn marked(&mut self, _: &str, _: Reached, _: &mut Effects) {
        // There are no marks.
    }

    fn end(&mut self, effects: &mut Effects) {
        send(HANG_UP, &[], effects);
    }

    fn hear(&mut self, message: &Message, effects: &mut Effects) -> Result<(), Fault> {
        match (read(message, self.encoding)?, self.is_known) {
            (Heard::HangUp, _) => effects.acts.push(Act::HangUp),
            (Heard::Identity(id), false) => {
                self.is_known = true;
                effects.acts.push(Act::Identify(id));
            }
            (Heard::Key(key), true) => effects.acts.push(Act::Pressed(key)),
            (Heard::Nothing, true) => {}
            (Heard::Samples(samples), true) => payload::play(samples, self.encoding, effects)?,
            // Nothing is taken of a call that has no name, and a name is for good.
            (Heard::Identity(_), true)
            | (Heard::Key(_) | Heard::Nothing | Heard::Samples(_), false) => {
                return Err(Fault::Malformed);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use dtmf::Digit;

    use super::{AudioSocket, CallerSocket, Deframer};
    use crate::testing::{hear, introduction, sent};
    use crate::{Act, Dialect, Encoding, Fault, Message, Notice};

    fn engine(rate: u32, keys: bool) -> AudioSocket {
        AudioSocket::new(introduction(Encoding::L16(rate)), keys)
    }

    fn caller() -> CallerSocket {
        CallerSocket::new(Encoding::L16(8000), false).unwrap()
    }

    fn frame(octets: &[u8]) -> Message {
        Message::Binary(octets.to_owned())
    }

    fn acts(dialect: &mut dyn Dialect, octets: &[u8]) -> Result<Vec<Act>, Fault> {
        hear(dialect, &frame(octets)).map(|effects| effects.acts)
    }

    fn identity() -> Vec<u8> {
        [&[1, 0, 16], &[0xab; 16][..]].concat()
    }

    #[test]
    fn an_engine_is_told_what_asterisk_tells_it() {
        let five = Digit::from_ascii(b'5').unwrap();
        assert!(sent(|effects| engine(8000, false).open(effects)) == [frame(&identity())]);
        for (rate, kind) in [(8000, 0x10), (16_000, 0x12), (24_000, 0x13)] {
            let audio = sent(|effects| engine(rate, false).audio(&[1, 2], effects));
            assert!(audio == [frame(&[kind, 0, 2, 1, 2])]);
        }
        let long = sent(|effects| engine(24_000, false).audio(&[0; 960], effects));
        assert!(matches!(&long[..], [Message::Binary(octets)] if octets[..3] == [0x13, 3, 0xc0]));
        assert!(sent(|effects| engine(8000, false).key(five, effects)).is_empty());
        assert!(sent(|effects| engine(8000, true).key(five, effects)) == [frame(&[3, 0, 1, b'5'])]);
        let mut tells = engine(8000, true);
        tells.introduction.tells_secure = true;
        assert!(sent(|effects| tells.notice(Notice::SecureStarted, effects)).is_empty());
        assert!(sent(|effects| engine(8000, false).end(effects)) == [frame(&[0, 0, 0])]);
    }

    #[test]
    fn an_engine_is_understood() {
        let heard = |octets: &[u8]| acts(&mut engine(8000, false), octets).unwrap_or_default();
        assert!(
            matches!(&heard(&[0x10, 0, 2, 1, 2])[..], [Act::Play(octets)] if octets == &[1, 2])
        );
        assert!(matches!(heard(&[0, 0, 0])[..], [Act::HangUp]));
        let [Act::SendKey(key)] = heard(&[3, 0, 1, b'#'])[..] else { panic!("a key") };
        assert!(key == Digit::Pound);
    }

    #[test]
    fn what_an_engine_may_not_send_is_refused() {
        let fault = |octets: &[u8]| acts(&mut engine(8000, false), octets).err();
        assert_eq!(fault(&[0x12, 0, 2, 1, 2]), Some(Fault::WrongRate));
        assert_eq!(fault(&[0x18, 0, 0]), Some(Fault::WrongRate));
        assert_eq!(fault(&[0x10, 0, 1, 1]), Some(Fault::BadAudio));
        assert_eq!(fault(&[0xff, 0, 1, 4]), Some(Fault::Reported));
        for malformed in [
            &identity()[..],
            &[],
            &[0x10, 0],
            &[0x10, 0, 2, 1],
            &[0, 0, 0, 0],
            &[3, 0, 2, b'1', b'2'],
            &[2, 0, 0],
            &[0x19, 0, 0],
        ] {
            assert_eq!(fault(malformed), Some(Fault::Malformed));
        }
        let text = hear(&mut engine(8000, false), &Message::Text(String::new()));
        assert_eq!(text.err(), Some(Fault::WrongKind));
    }

    #[test]
    fn a_caller_names_its_call_first_and_once() {
        let mut caller = caller();
        assert!(sent(|effects| caller.open(effects)).is_empty());
        let audio = [0x10, 0, 2, 1, 2];
        assert_eq!(acts(&mut caller, &audio).err(), Some(Fault::Malformed));
        assert_eq!(acts(&mut caller, &[3, 0, 1, b'5']).err(), Some(Fault::Malformed));
        let known = acts(&mut caller, &identity()).unwrap_or_default();
        assert!(matches!(known[..], [Act::Identify(id)] if id == [0xab; 16]));
        assert_eq!(acts(&mut caller, &identity()).err(), Some(Fault::Malformed));
        let said = acts(&mut caller, &audio).unwrap_or_default();
        assert!(matches!(&said[..], [Act::Play(octets)] if octets == &[1, 2]));
        let pressed = acts(&mut caller, &[3, 0, 1, b'5']).unwrap_or_default();
        let [Act::Pressed(key)] = pressed[..] else { panic!("a key") };
        assert!(key == Digit::Five);
        assert!(matches!(acts(&mut caller, &[0, 0, 0]).unwrap_or_default()[..], [Act::HangUp]));
        assert!(sent(|effects| caller.audio(&[1, 2], effects)) == [frame(&audio)]);
        assert!(sent(|effects| caller.end(effects)) == [frame(&[0, 0, 0])]);
        assert!(CallerSocket::new(Encoding::L16(48_000), false).is_none());
        assert!(CallerSocket::new(Encoding::Pcmu, false).is_none());
    }

    #[test]
    fn frames_come_out_whole_however_the_stream_is_cut() {
        let stream = [&identity()[..], &[0x10, 0, 2, 1, 2], &[0, 0, 0], &[3, 0, 1, b'5']].concat();
        for size in 1..=stream.len() {
            let (mut deframer, mut frames) = (Deframer::default(), Vec::new());
            for piece in stream.chunks(size) {
                deframer.push(piece, &mut frames);
            }
            assert!(frames[0] == frame(&identity()));
            assert!(frames[1] == frame(&[0x10, 0, 2, 1, 2]) && frames[2] == frame(&[0, 0, 0]));
            assert!(frames.len() == 4 && deframer.held.is_empty());
        }
    }

    #[test]
    fn no_more_than_a_frame_is_held() {
        let (mut deframer, mut frames) = (Deframer::default(), Vec::new());
        for _ in 0..100 {
            deframer.push(&[0xff; 4096], &mut frames);
            assert!(deframer.held.len() < 3 + 0xffff);
        }
        assert_eq!(frames.len(), 100 * 4096 / (3 + 0xffff));
    }
}
