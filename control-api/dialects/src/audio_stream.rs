//! `mod_audio_stream`, a module for FreeSWITCH: a JSON text about the call, then octets of sound;
//! sound comes back as JSON or as octets (its repository's README).
//!
//! A piece (`streamAudio`) must be samples or a WAV file of the connection's own rate. Another rate
//! ends the connection ([`Fault::WrongRate`]), and so do MP3 and Ogg ([`Fault::BadAudio`]): an
//! engine that sends the wrong thing sends nothing else, and a call in silence is harder to
//! understand than a fault. Keys have no message, what waits can't be thrown away, and there are no
//! marks. Texts that aren't `streamAudio` are for a script of FreeSWITCH's, and not looked at.

use dtmf::Digit;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::introduction::{flatten, uuid};
use crate::{
    Act, Dialect, Effects, Encoding, Fault, Introduction, Message, Notice, Reached, payload,
};

/// One connection to an engine that expects `mod_audio_stream`.
pub struct AudioStream {
    introduction: Introduction,
}

/// A message of an engine. What it has besides is not looked at.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
enum Heard {
    StreamAudio {
        data: Piece,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Piece {
    audio_data_type: String,
    sample_rate: Option<u32>,
    audio_data: String,
}

impl AudioStream {
    /// A connection that has not begun.
    #[must_use]
    pub fn new(introduction: Introduction) -> AudioStream {
        AudioStream { introduction }
    }
}

fn say(message: &Value, effects: &mut Effects) {
    effects.send.push(Message::Text(message.to_string()));
}

impl Dialect for AudioStream {
    fn encoding(&self) -> Encoding {
        self.introduction.encoding
    }

    fn open(&mut self, effects: &mut Effects) {
        let call = json!({
            "uuid": uuid(self.introduction.call),
            "sampleRate": self.introduction.encoding.rate(),
            "mixType": "mono",
        });
        say(&flatten(call, &self.introduction.parameters_and_numbers()), effects);
    }

    fn audio(&mut self, frame: &[u8], effects: &mut Effects) {
        effects.send.push(Message::Binary(frame.to_owned()));
    }

    fn key(&mut self, _: Digit, _: &mut Effects) {
        // There is no message for it.
    }

    fn marked(&mut self, _: &str, _: Reached, _: &mut Effects) {
        // There are no marks.
    }

    fn notice(&mut self, notice: Notice, effects: &mut Effects) {
        if let Some(secure) = notice.secure().filter(|_| self.introduction.tells_secure) {
            say(&json!({"event": "secure", "secure": secure}), effects);
        }
    }

    fn end(&mut self, _: &mut Effects) {
        // Closing the socket is all there is.
    }

    fn hear(&mut self, message: &Message, effects: &mut Effects) -> Result<(), Fault> {
        let encoding = self.introduction.encoding;
        let octets = match message {
            Message::Binary(octets) => payload::whole(octets.clone(), encoding)?,
            Message::Text(_) => match payload::json(message)? {
                Heard::StreamAudio { data } => {
                    let rate = data.sample_rate.unwrap_or(encoding.rate());
                    payload::piece(&data.audio_data_type, rate, &data.audio_data, encoding)?
                }
                Heard::Other => return Ok(()),
            },
        };
        effects.acts.push(Act::Play(octets));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use dtmf::Digit;
    use serde_json::json;

    use super::AudioStream;
    use crate::testing::{act, hear, heard, introduction, said, sent};
    use crate::{Act, Dialect, Encoding, Fault, Message, Notice, Verdict};

    fn stream() -> AudioStream {
        AudioStream::new(introduction(Encoding::L16(8000)))
    }

    fn piece(kind: &str, rate: u32, data: &str) -> String {
        let data = json!({"audioDataType": kind, "sampleRate": rate, "audioData": data});
        json!({"type": "streamAudio", "data": data}).to_string()
    }

    #[test]
    fn a_call_is_told_once_and_then_heard() {
        let mut stream = stream();
        assert_eq!(
            said(|effects| stream.open(effects)),
            [json!({
                "uuid": "abababab-abab-abab-abab-abababababab", "sampleRate": 8000,
                "mixType": "mono", "tenant": "a",
                "from_number": "+15550100", "to_number": "+15550199",
            })]
        );
        let frame = sent(|effects| stream.audio(&[1, 2], effects));
        assert!(frame == [Message::Binary(vec![1, 2])]);
        assert!(sent(|effects| stream.key(Digit::Five, effects)).is_empty());
        assert!(sent(|effects| stream.end(effects)).is_empty());
    }

    #[test]
    fn sound_comes_back_either_way() {
        let mut stream = stream();
        let played = hear(&mut stream, &Message::Binary(vec![1, 2])).unwrap_or_default().acts;
        assert!(matches!(&played[..], [Act::Play(octets)] if octets == &[1, 2]));
        let raw = piece("raw", 8000, "AQI=");
        assert!(matches!(act(&mut stream, &raw), Act::Play(octets) if octets == [1, 2]));
        let other = heard(&mut stream, r#"{"type":"transcript","data":"hello"}"#);
        assert!(other.unwrap_or_default().acts.is_empty());
    }

    #[test]
    fn what_cannot_be_played_as_it_is_is_refused() {
        let fault = |text: &str| heard(&mut stream(), text).err();
        assert_eq!(fault("hello"), Some(Fault::Malformed));
        assert_eq!(fault(&piece("raw", 16_000, "AQI=")), Some(Fault::WrongRate));
        assert_eq!(fault(&piece("raw", 8000, "AQ==")), Some(Fault::BadAudio));
        assert_eq!(fault(&piece("wav", 8000, "AQI=")), Some(Fault::BadAudio));
        assert_eq!(fault(&piece("mp3", 8000, "AQI=")), Some(Fault::BadAudio));
        let half = hear(&mut stream(), &Message::Binary(vec![1]));
        assert_eq!(half.err(), Some(Fault::BadAudio));
    }

    #[test]
    fn of_a_session_it_is_told_only_if_it_wants_to_be() {
        let mut stream = stream();
        let ended = Notice::SecureEnded(Verdict::Pass);
        assert!(said(|effects| stream.notice(ended, effects)).is_empty());
        stream.introduction.tells_secure = true;
        assert_eq!(
            said(|effects| stream.notice(ended, effects)),
            [json!({"event": "secure", "secure": {"state": "ended", "result": "pass"}})]
        );
    }
}
