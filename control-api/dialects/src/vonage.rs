//! Vonage Voice over a WebSocket: octets of sound, and JSON text between them (Vonage's
//! documentation, "WebSockets in the Vonage Voice API"). Infobip has the same shape.
//!
//! The parameters lie beside the first message's own, where Vonage has the headers of its `connect`
//! action.

use dtmf::Digit;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::introduction::{flatten, uuid};
use crate::{
    Act, Dialect, Effects, Encoding, Fault, Introduction, MAX_MARK, Message, Notice, Reached,
    payload,
};

/// A key's length in milliseconds. How long it was pressed isn't known here.
const KEY_MS: u32 = 100;

/// One connection to an engine that expects Vonage.
pub struct Vonage {
    introduction: Introduction,
    is_clearing: bool,
}

/// A message of an engine. What it has besides is not looked at.
#[derive(Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
enum Heard {
    Clear,
    Notify {
        #[serde(default)]
        payload: Value,
    },
    #[serde(other)]
    Other,
}

impl Vonage {
    /// A connection that has not begun.
    #[must_use]
    pub fn new(introduction: Introduction) -> Vonage {
        Vonage { introduction, is_clearing: false }
    }
}

fn say(message: &Value, effects: &mut Effects) {
    effects.send.push(Message::Text(message.to_string()));
}

impl Dialect for Vonage {
    fn encoding(&self) -> Encoding {
        self.introduction.encoding
    }

    fn open(&mut self, effects: &mut Effects) {
        let connected = json!({
            "event": "websocket:connected",
            "content-type": format!("audio/l16;rate={}", self.introduction.encoding.rate()),
            "uuid": uuid(self.introduction.call),
        });
        say(&flatten(connected, &self.introduction.parameters_and_numbers()), effects);
    }

    fn audio(&mut self, frame: &[u8], effects: &mut Effects) {
        effects.send.push(Message::Binary(frame.to_owned()));
    }

    fn key(&mut self, key: Digit, effects: &mut Effects) {
        let digit = char::from(key.to_ascii()).to_string();
        let message = json!({"event": "websocket:dtmf", "digit": digit, "duration": KEY_MS});
        say(&message, effects);
    }

    fn marked(&mut self, name: &str, reached: Reached, effects: &mut Effects) {
        // `websocket:cleared` says it all, unless it isn't said.
        if reached == Reached::Played || !self.is_clearing {
            // The name is the payload as it came.
            let payload = serde_json::from_str::<Value>(name).unwrap_or_default();
            say(&json!({"event": "websocket:notify", "payload": payload}), effects);
        }
    }

    fn cleared(&mut self, _: u64, effects: &mut Effects) {
        if std::mem::take(&mut self.is_clearing) {
            say(&json!({"event": "websocket:cleared"}), effects);
        }
    }

    fn notice(&mut self, notice: Notice, effects: &mut Effects) {
        if let Some(secure) = notice.secure().filter(|_| self.introduction.tells_secure) {
            say(&json!({"event": "secure", "secure": secure}), effects);
        }
    }

    fn end(&mut self, _: &mut Effects) {
        // Closing the socket is all that Vonage does.
    }

    fn hear(&mut self, message: &Message, effects: &mut Effects) -> Result<(), Fault> {
        if let Message::Binary(octets) = message {
            return payload::play(octets, self.introduction.encoding, effects);
        }
        match payload::json(message)? {
            Heard::Clear => {
                self.is_clearing = true;
                effects.acts.push(Act::Clear);
            }
            Heard::Notify { payload } => {
                let name = payload.to_string();
                if name.len() > MAX_MARK {
                    return Err(Fault::LongMark);
                }
                effects.acts.push(Act::Mark(name));
            }
            Heard::Other => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use dtmf::Digit;
    use serde_json::json;

    use super::Vonage;
    use crate::testing::{act, hear, heard, introduction, said, sent};
    use crate::{Act, Dialect, Encoding, Fault, Message, Notice, Reached};

    fn socket() -> Vonage {
        Vonage::new(introduction(Encoding::L16(16_000)))
    }

    #[test]
    fn a_call_is_told_as_vonage_tells_it() {
        let mut socket = socket();
        socket.introduction.parameters.insert("event".to_owned(), "mine".to_owned());
        assert_eq!(
            said(|effects| socket.open(effects)),
            [json!({
                "event": "websocket:connected", "content-type": "audio/l16;rate=16000",
                "uuid": "abababab-abab-abab-abab-abababababab",
                "tenant": "a", "from_number": "+15550100", "to_number": "+15550199",
            })]
        );
        let frame = sent(|effects| socket.audio(&[1, 2], effects));
        assert!(frame == [Message::Binary(vec![1, 2])]);
        assert_eq!(
            said(|effects| socket.key(Digit::Five, effects)),
            [json!({"event": "websocket:dtmf", "digit": "5", "duration": 100})]
        );
        assert!(sent(|effects| socket.end(effects)).is_empty());
    }

    #[test]
    fn what_an_engine_may_send_is_understood() {
        let mut socket = socket();
        let played = hear(&mut socket, &Message::Binary(vec![1, 2])).unwrap_or_default().acts;
        assert!(matches!(&played[..], [Act::Play(octets)] if octets == &[1, 2]));
        let notify = r#"{"action":"notify","payload":{"at":[1,"a"]}}"#;
        let Act::Mark(name) = act(&mut socket, notify) else { panic!("a mark") };
        assert_eq!(
            said(|effects| socket.marked(&name, Reached::Played, effects)),
            [json!({"event": "websocket:notify", "payload": {"at": [1, "a"]}})]
        );
        // Thrown away by another hand than the engine's, which may wait for it.
        assert_eq!(said(|effects| socket.marked(&name, Reached::Cleared, effects)).len(), 1);
        assert!(said(|effects| socket.cleared(0, effects)).is_empty());
        assert!(matches!(act(&mut socket, r#"{"action":"clear"}"#), Act::Clear));
        assert!(said(|effects| socket.marked(&name, Reached::Cleared, effects)).is_empty());
        assert_eq!(
            said(|effects| socket.cleared(0, effects)),
            [json!({"event": "websocket:cleared"})]
        );
        assert!(heard(&mut socket, r#"{"action":"dance"}"#).is_ok());
    }

    #[test]
    fn what_it_may_not_is_refused() {
        let fault = |text: &str| heard(&mut socket(), text).err();
        assert_eq!(fault("hello"), Some(Fault::Malformed));
        assert_eq!(fault("{}"), Some(Fault::Malformed));
        let long = format!(r#"{{"action":"notify","payload":"{}"}}"#, "x".repeat(257));
        assert_eq!(fault(&long), Some(Fault::LongMark));
        let half = hear(&mut socket(), &Message::Binary(vec![1]));
        assert_eq!(half.err(), Some(Fault::BadAudio));
    }

    #[test]
    fn of_a_session_it_is_told_only_if_it_wants_to_be() {
        let mut socket = socket();
        assert!(said(|effects| socket.notice(Notice::SecureStarted, effects)).is_empty());
        socket.introduction.tells_secure = true;
        assert_eq!(
            said(|effects| socket.notice(Notice::SecureStarted, effects)),
            [json!({"event": "secure", "secure": {"state": "started"}})]
        );
    }
}
