//! Telnyx media streaming, two-way by RTP payloads: JSON text alone (Telnyx's API reference,
//! "Stream call media over WebSocket").
//!
//! Twilio's in snake case. Numbers are texts where Telnyx has them so (`sequence_number`, `chunk`,
//! `timestamp`). A key's `occurred_at` is left out: it would tell the time of day of a key.
//! G.711 alone: in which order the octets of its L16 are isn't documented.

use dtmf::Digit;
use serde::Serialize;
use serde_json::{Value, json};

use crate::introduction::uuid;
use crate::{
    Dialect, Effects, Encoding, Fault, Introduction, Message, Notice, Reached, payload, wish,
};

/// Length of a frame, which `timestamp` counts.
const FRAME_MS: u64 = 20;

/// One stream to an engine that expects Telnyx.
pub struct Telnyx {
    introduction: Introduction,
    stream: String,
    sequence: u64,
    chunk: u64,
}

/// The message that there is most of, written without a tree.
#[derive(Serialize)]
struct MediaOut<'a> {
    event: &'static str,
    sequence_number: String,
    stream_id: &'a str,
    media: MediaBody,
}

#[derive(Serialize)]
struct MediaBody {
    track: &'static str,
    chunk: String,
    timestamp: String,
    payload: String,
}

impl Telnyx {
    /// A stream that has not begun.
    #[must_use]
    pub fn new(introduction: Introduction) -> Telnyx {
        let stream = uuid(introduction.stream);
        Telnyx { introduction, stream, sequence: 0, chunk: 0 }
    }

    fn number(&mut self) -> String {
        self.sequence += 1;
        self.sequence.to_string()
    }

    fn say(&mut self, mut message: Value, effects: &mut Effects) {
        message["sequence_number"] = self.number().into();
        message["stream_id"] = self.stream.clone().into();
        effects.send.push(Message::Text(message.to_string()));
    }

    fn user(&self) -> String {
        match self.introduction.account.as_str() {
            "" => uuid([0; 16]),
            account => account.to_owned(),
        }
    }
}

/// The call's id, by which an engine may end it.
#[must_use]
pub fn call_control_id(call: [u8; 16]) -> String {
    uuid(call)
}

impl Dialect for Telnyx {
    fn encoding(&self) -> Encoding {
        self.introduction.encoding
    }

    fn open(&mut self, effects: &mut Effects) {
        let connected = json!({"event": "connected", "version": "1.0.0"});
        effects.send.push(Message::Text(connected.to_string()));
        let encoding = match self.introduction.encoding {
            Encoding::Pcmu => "PCMU",
            Encoding::Pcma => "PCMA",
            Encoding::L16(_) => "L16",
        };
        let start = json!({"event": "start", "start": {
            "user_id": self.user(),
            "call_control_id": call_control_id(self.introduction.call),
            "call_session_id": uuid(self.introduction.call),
            "from": self.introduction.from,
            "to": self.introduction.to,
            "custom_parameters": self.introduction.parameters,
            "media_format": {
                "encoding": encoding,
                "sample_rate": self.introduction.encoding.rate(),
                "channels": 1,
            },
        }});
        self.say(start, effects);
    }

    fn audio(&mut self, frame: &[u8], effects: &mut Effects) {
        self.chunk += 1;
        let media = MediaBody {
            track: "inbound",
            chunk: self.chunk.to_string(),
            timestamp: ((self.chunk - 1) * FRAME_MS).to_string(),
            payload: payload::encode(frame),
        };
        let sequence_number = self.number();
        let message = MediaOut { event: "media", sequence_number, stream_id: &self.stream, media };
        // Texts alone: nothing that JSON could not have.
        let text = serde_json::to_string(&message).unwrap_or_default();
        effects.send.push(Message::Text(text));
    }

    fn key(&mut self, key: Digit, effects: &mut Effects) {
        let digit = char::from(key.to_ascii()).to_string();
        self.say(json!({"event": "dtmf", "dtmf": {"digit": digit}}), effects);
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
        let call = call_control_id(self.introduction.call);
        let stop = json!({"user_id": self.user(), "call_control_id": call});
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

    use super::Telnyx;
    use crate::testing::{act, hear, heard, introduction, said};
    use crate::{Act, Dialect, Encoding, Fault, Message, Notice, Reached, Verdict};

    const STREAM: &str = "01010101-0101-0101-0101-010101010101";

    fn stream() -> Telnyx {
        Telnyx::new(introduction(Encoding::Pcma))
    }

    #[test]
    fn a_stream_is_told_as_telnyx_tells_it() {
        let mut stream = stream();
        let call = "abababab-abab-abab-abab-abababababab";
        let user = "00000000-0000-0000-0000-000000000000";
        assert_eq!(
            said(|effects| stream.open(effects)),
            [
                json!({"event": "connected", "version": "1.0.0"}),
                json!({"event": "start", "sequence_number": "1", "stream_id": STREAM, "start": {
                    "user_id": user, "call_control_id": call, "call_session_id": call,
                    "from": "+15550100", "to": "+15550199", "custom_parameters": {"tenant": "a"},
                    "media_format": {"encoding": "PCMA", "sample_rate": 8000, "channels": 1},
                }}),
            ]
        );
        said(|effects| stream.audio(&[0xd5; 160], effects));
        assert_eq!(
            said(|effects| stream.audio(&[0xff; 3], effects)),
            [json!({"event": "media", "sequence_number": "3", "stream_id": STREAM, "media": {
                "track": "inbound", "chunk": "2", "timestamp": "20", "payload": "////",
            }})]
        );
        assert_eq!(
            said(|effects| stream.key(Digit::Five, effects)),
            [json!({"event": "dtmf", "sequence_number": "4", "stream_id": STREAM,
                "dtmf": {"digit": "5"}})]
        );
        assert_eq!(
            said(|effects| stream.marked("m", Reached::Played, effects)),
            [json!({"event": "mark", "sequence_number": "5", "stream_id": STREAM,
                "mark": {"name": "m"}})]
        );
        assert_eq!(
            said(|effects| stream.end(effects)),
            [json!({"event": "stop", "sequence_number": "6", "stream_id": STREAM,
                "stop": {"user_id": user, "call_control_id": call}})]
        );
    }

    #[test]
    fn what_an_engine_may_send_is_understood() {
        let media = r#"{"event":"media","media":{"payload":"////"}}"#;
        assert!(matches!(act(&mut stream(), media), Act::Play(octets) if octets == [0xff; 3]));
        let mark = r#"{"event":"mark","mark":{"name":"x"}}"#;
        assert!(matches!(act(&mut stream(), mark), Act::Mark(name) if name == "x"));
        let clear = r#"{"event":"clear","stream_id":"s"}"#;
        assert!(matches!(act(&mut stream(), clear), Act::Clear));
        let other = heard(&mut stream(), r#"{"event":"greeting"}"#).unwrap_or_default();
        assert!(other.acts.is_empty() && other.send.is_empty());
    }

    #[test]
    fn what_it_may_not_is_refused() {
        let fault = |text: &str| heard(&mut stream(), text).err();
        assert_eq!(fault("hello"), Some(Fault::Malformed));
        assert_eq!(fault(r#"{"event":"media"}"#), Some(Fault::Malformed));
        let not_base64 = r#"{"event":"media","media":{"payload":"?"}}"#;
        assert_eq!(fault(not_base64), Some(Fault::BadAudio));
        let long = format!(r#"{{"event":"mark","mark":{{"name":"{}"}}}}"#, "x".repeat(257));
        assert_eq!(fault(&long), Some(Fault::LongMark));
        let octets = hear(&mut stream(), &Message::Binary(Vec::new()));
        assert_eq!(octets.err(), Some(Fault::WrongKind));
    }

    #[test]
    fn of_a_session_it_is_told_only_if_it_wants_to_be() {
        let ended = Notice::SecureEnded(Verdict::Pass);
        let mut stream = stream();
        assert!(said(|effects| stream.notice(ended, effects)).is_empty());
        stream.introduction.tells_secure = true;
        let told = said(|effects| stream.notice(ended, effects));
        assert_eq!(told[0]["secure"], json!({"state": "ended", "result": "pass"}));
        assert!(said(|effects| stream.notice(Notice::NotCollected, effects)).is_empty());
    }
}
