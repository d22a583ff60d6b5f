//! Dialects: what AI engines speak over a socket of their own instead of RTP.
//!
//! A [`Dialect`] is one engine's connection as a value: what the caller says and what becomes of the
//! call goes in, messages come out; messages of the engine go in, [`Act`]s come out. It has no
//! socket, no clock and no queue: whoever drives it paces what is played and keeps it bounded.
//!
//! What a dialect is given of the caller has been through the relay's routing: while a call is cut
//! it is silence, and no key.

mod act;
pub mod audio_stream;
pub mod audiosocket;
pub mod chan_websocket;
pub mod deepgram;
pub mod elevenlabs;
mod encoding;
pub mod exotel;
mod handshake;
mod introduction;
pub mod jambonz;
mod kind;
pub mod openai;
mod options;
mod payload;
mod payments;
pub mod plivo;
pub mod telnyx;
#[cfg(test)]
mod testing;
pub mod twilio;
pub mod vonage;
mod wish;

pub use act::{Act, Effects, Fault, Message, Notice, Reached, Verdict};
pub use encoding::Encoding;
pub use handshake::Handshake;
pub use introduction::{Introduction, Secret};
pub use kind::{Kind, Transport};
pub use options::{Model, Options, Turns};

use dtmf::Digit;

/// Octets of one message of an engine: more than any of them sends at once (a Twilio-shaped engine
/// may send 30 s of audio as one message, 320 kB of base64; chan_websocket stops at 64 KiB).
pub const MAX_MESSAGE: usize = 1 << 20;
/// Octets of a mark's name.
pub const MAX_MARK: usize = 256;

/// One connection to an engine.
pub trait Dialect: Send {
    /// How sound is encoded, both ways. L16 is little-endian here, as all of these engines have it.
    fn encoding(&self) -> Encoding;

    /// The connection is there: what is said first.
    fn open(&mut self, effects: &mut Effects);

    /// A frame of the caller, 20 ms long. What is made of it is in `effects` when this returns and
    /// nothing of it is kept: a cut waits for what is on its way, and knows of nothing else.
    fn audio(&mut self, frame: &[u8], effects: &mut Effects);

    /// A key that the caller has pressed while nothing is cut.
    fn key(&mut self, key: Digit, effects: &mut Effects);

    /// Everything before a mark has been played, or was thrown away.
    fn marked(&mut self, name: &str, reached: Reached, effects: &mut Effects);

    /// What was asked for by [`Act::Clear`] is done, and all marks in it have been told; or what
    /// waited was thrown away, or not let in, for another reason. `played` is how many octets of the
    /// engine's have been played since the connection began.
    fn cleared(&mut self, played: u64, effects: &mut Effects) {
        let _ = (played, effects);
    }

    /// So many octets of the engine's wait to be played now.
    fn backlog(&mut self, queued: usize, effects: &mut Effects) {
        let _ = (queued, effects);
    }

    /// Something about the call that the engine may know.
    fn notice(&mut self, notice: Notice, effects: &mut Effects) {
        let _ = (notice, effects);
    }

    /// The call is over: what is said last. The connection is closed after it.
    fn end(&mut self, effects: &mut Effects);

    /// A message of the engine.
    ///
    /// # Errors
    /// What is wrong with it. The connection can't go on after that.
    fn hear(&mut self, message: &Message, effects: &mut Effects) -> Result<(), Fault>;
}
