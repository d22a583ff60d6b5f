//! Exotel AgentStream ("Voicebot"), two-way: JSON text alone (Exotel's documentation, "WebSocket
//! protocol").
//!
//! Twilio's in snake case with samples, 16 bits little-endian. Numbers are texts. Exotel sends 100 ms
//! in a message; here each frame of 20 ms is one, which engines take as well: what is gathered before
//! a secure session begins would arrive in it.

use dtmf::Digit;
use serde_json::{Value, json};

use crate::introduction::hex;
use crate::{
    Dialect, Effects, Encoding, Fault, Introduction, Message, Notice, Reached, payload, wish,
};

/// Length of a frame, which `timestamp` counts.
const FRAME_MS: u64 = 20;
/// A key's length. How long it was pressed isn't known here.
const KEY_MS: &str = "100";

/// One stream to an engine that expects Exotel.
pub struct Exotel {
    introduction: Introduction,
    stream: String,
    sequence: u64,
    chunk: u64,
}

impl Exotel {
    /// A stream that has not begun.
    #[must_use]
    pub fn new(introduction: Introduction) -> Exotel {
        let stream = hex(&introduction.stream);
        Exotel { introduction, stream, sequence: 0, chunk: 0 }
    }

    fn say(&mut self, mut message: Value, effects: &mut Effects) {
        self.sequence += 1;
        message["sequence_number"] = self.sequence.to_string().into();
        message["stream_sid"] = self.stream.clone().into();
        effects.send.push(Message::Text(message.to_string()));
    }
}

impl Dialect for Exotel {
    fn encoding(&self) -> Encoding {
        self.introduction.encoding
    }

    fn open(&mut self, effects: &mut Effects) {
        effects.send.push(Message::Text(json!({"event": "connected"}).to_string()));
        let start = json!({"event": "start", "start": {
            "stream_sid": self.stream,
            "call_sid": hex(&self.introduction.call),
            "account_sid": self.introduction.account,
            "from": self.introduction.from,
            "to": self.introduction.to,
            "custom_parameters": self.introduction.parameters,
            "media_format": {
                "encoding": "audio/x-raw",
                "sample_rate": self.introduction.encoding.rate().to_string(),
                "bit_rate": "16",
            },
        }});
        self.say(start, effects);
    }

    fn audio(&mut self, frame: &[u8], effects: &mut Effects) {
        self.chunk += 1;
        let media = json!({
            "chunk": self.chunk.to_string(),
            "timestamp": ((self.chunk - 1) * FRAME_MS).to_string(),
            "payload": payload::encode(frame),
        });
        self.say(json!({"event": "media", "media": media}), effects);
    }

    fn key(&mut self, key: Digit, effects: &mut Effects) {
        let digit = char::from(key.to_ascii()).to_string();
        self.say(json!({"event": "dtmf", "dtmf": {"digit": digit, "duration": KEY_MS}}), effects);
    }

    fn marked(&mut self, name: &str, reached: Reached, effects: &mut Effects) {
        // The same message for both: what was cleared counts as over.
        let (Reached::Played | Reached::Cleared) = reached;
        self.say(json!({"event": "mark", "mark": {"name": name}}), effects);
    }

    fn notice(&mut self, notice: Notice, effects: &mut Effects) {
        if let Some(secure) = notice.secure().filter(|_| self.introduction.tells_secure) {
            self.say(json!({"event": "secure", "secure": secure}), effects);
        }
    }

    fn end(&mut self, effects: &mut Effects) {
        let stop = json!({
            "call_sid": hex(&self.introduction.call),
            "account_sid": self.introduction.account,
            "reason": "callended",
        });
        self.say(json!({"event": "stop", "stop": stop}), effects);
    }

    fn hear(&mut self, message: &Message, effects: &mut Effects) -> Result<(), Fault> {
        wish::hear(message, self.introduction.encoding, effects)
    }
}

#[cfg(test)]
mod tests {
    use dtmf::Digit;
    use serde_json::json;

    use super::Exotel;
    use crate::testing::{act, hear, heard, introduction, said};
    use crate::{Act, Dialect, Encoding, Fault, Message, Notice, Reached};

    const STREAM: &str = "01010101010101010101010101010101";

    fn stream() -> Exotel {
        Exotel::new(introduction(Encoding::L16(8000)))
    }

    #[test]
    fn a_stream_is_told_as_exotel_tells_it() {
        let mut stream = stream();
        let call = "abababababababababababababababab";
        assert_eq!(
            said(|effects| stream.open(effects)),
            [
                json!({"event": "connected"}),
                json!({"event": "start", "sequence_number": "1", "stream_sid": STREAM, "start": {
                    "stream_sid": STREAM, "call_sid": call, "account_sid": "",
                    "from": "+15550100", "to": "+15550199", "custom_parameters": {"tenant": "a"},
                    "media_format":
                        {"encoding": "audio/x-raw", "sample_rate": "8000", "bit_rate": "16"},
                }}),
            ]
        );
        said(|effects| stream.audio(&[0; 320], effects));
        assert_eq!(
            said(|effects| stream.audio(&[1, 2], effects)),
            [json!({"event": "media", "sequence_number": "3", "stream_sid": STREAM, "media":
                {"chunk": "2", "timestamp": "20", "payload": "AQI="}})]
        );
        assert_eq!(
            said(|effects| stream.key(Digit::Five, effects)),
            [json!({"event": "dtmf", "sequence_number": "4", "stream_sid": STREAM,
                "dtmf": {"digit": "5", "duration": "100"}})]
        );
        assert_eq!(
            said(|effects| stream.marked("m", Reached::Cleared, effects)),
            [json!({"event": "mark", "sequence_number": "5", "stream_sid": STREAM,
                "mark": {"name": "m"}})]
        );
        let stop = json!({"call_sid": call, "account_sid": "", "reason": "callended"});
        assert_eq!(
            said(|effects| stream.end(effects)),
            [json!({"event": "stop", "sequence_number": "6", "stream_sid": STREAM, "stop": stop})]
        );
    }

    #[test]
    fn what_an_engine_may_send_is_understood() {
        let media = r#"{"event":"media","stream_sid":"s","media":{"payload":"AQI="}}"#;
        assert!(matches!(act(&mut stream(), media), Act::Play(octets) if octets == [1, 2]));
        let mark = r#"{"event":"mark","mark":{"name":"x"}}"#;
        assert!(matches!(act(&mut stream(), mark), Act::Mark(name) if name == "x"));
        let clear = r#"{"event":"clear","stream_sid":"s"}"#;
        assert!(matches!(act(&mut stream(), clear), Act::Clear));
        assert!(heard(&mut stream(), r#"{"event":"greeting"}"#).is_ok());
    }

    #[test]
    fn what_it_may_not_is_refused() {
        let fault = |text: &str| heard(&mut stream(), text).err();
        assert_eq!(fault("hello"), Some(Fault::Malformed));
        assert_eq!(fault(r#"{"event":"media"}"#), Some(Fault::Malformed));
        let half = r#"{"event":"media","media":{"payload":"////"}}"#;
        assert_eq!(fault(half), Some(Fault::BadAudio));
        let long = format!(r#"{{"event":"mark","mark":{{"name":"{}"}}}}"#, "x".repeat(257));
        assert_eq!(fault(&long), Some(Fault::LongMark));
        let octets = hear(&mut stream(), &Message::Binary(Vec::new()));
        assert_eq!(octets.err(), Some(Fault::WrongKind));
    }

    #[test]
    fn of_a_session_it_is_told_only_if_it_wants_to_be() {
        let mut stream = stream();
        stream.introduction.tells_secure = true;
        let told = said(|effects| stream.notice(Notice::SecureStarted, effects));
        assert_eq!(told[0]["secure"], json!({"state": "started"}));
    }
}
