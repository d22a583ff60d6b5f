//! Deepgram's voice agent, as its client: JSON text, and octets of sound between it (Deepgram's API
//! reference, "Voice Agent", and its SDK for Python).
//!
//! The server greets, is told how sound is encoded and what the agent is (`Settings`), and takes
//! sound when it has applied that; what the caller says before is lost. The agent is the parameter
//! `agent`: a text of JSON, or the id of one that is kept at Deepgram's. A payment is a function named
//! `collect_payment` without an endpoint, which the agent must have.

use dtmf::Digit;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::payments::{Answer, COLLECT, NOT_STARTED, Payments};
use crate::{
    Act, Dialect, Effects, Encoding, Fault, Introduction, Message, Model, Notice, Reached, payload,
};

/// Calls of functions in one message; an agent has one that is ours.
const MAX_FUNCTIONS: usize = 16;

/// One conversation with an agent.
pub struct Deepgram {
    introduction: Introduction,
    keys: bool,
    payments: Payments,
    is_ready: bool,
}

/// A message of an agent. What it has besides is not looked at.
#[derive(Deserialize)]
#[serde(tag = "type")]
enum Heard {
    Welcome,
    SettingsApplied,
    UserStartedSpeaking,
    FunctionCallRequest {
        functions: Vec<Call>,
    },
    Error,
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Call {
    id: String,
    name: String,
    arguments: String,
}

impl Deepgram {
    /// A conversation that has not begun. `keys`: whether the agent reads of keys.
    #[must_use]
    pub fn new(introduction: Introduction, model: Model, keys: bool) -> Deepgram {
        let payments = Payments::new(model.plans);
        Deepgram { introduction, keys, payments, is_ready: false }
    }

    fn settings(&self) -> Value {
        let encoding = match self.introduction.encoding {
            Encoding::Pcmu => "mulaw",
            Encoding::Pcma => "alaw",
            Encoding::L16(_) => "linear16",
        };
        let rate = self.introduction.encoding.rate();
        let agent = self.introduction.parameters.get("agent").map_or("{}", String::as_str);
        json!({
            "type": "Settings",
            "audio": {
                "input": {"encoding": encoding, "sample_rate": rate},
                "output": {"encoding": encoding, "sample_rate": rate, "container": "none"},
            },
            // What is no JSON is an id.
            "agent": serde_json::from_str(agent).unwrap_or_else(|_| json!(agent)),
        })
    }

    fn call(&mut self, call: &Call, effects: &mut Effects) -> Result<(), Fault> {
        if call.name != COLLECT {
            return Ok(());
        }
        let wish = match call.arguments.as_str() {
            "" => Some(Default::default()),
            arguments => serde_json::from_str(arguments).ok(),
        };
        match self.payments.ask(call.id.clone(), wish)? {
            Answer::Collect(plan) => effects.acts.push(Act::Collect { plan }),
            Answer::Refused => answer(&call.id, &json!({"error": NOT_STARTED}), effects),
            Answer::Known => {}
        }
        Ok(())
    }
}

fn answer(call: &str, content: &Value, effects: &mut Effects) {
    let message = json!({
        "type": "FunctionCallResponse",
        "id": call,
        "name": COLLECT,
        "content": content.to_string(),
    });
    say(&message, effects);
}

fn say(message: &Value, effects: &mut Effects) {
    effects.send.push(Message::Text(message.to_string()));
}

impl Dialect for Deepgram {
    fn encoding(&self) -> Encoding {
        self.introduction.encoding
    }

    fn open(&mut self, _: &mut Effects) {
        // The server greets first.
    }

    fn audio(&mut self, frame: &[u8], effects: &mut Effects) {
        if self.is_ready {
            effects.send.push(Message::Binary(frame.to_owned()));
        }
    }

    fn key(&mut self, key: Digit, effects: &mut Effects) {
        if self.keys && self.is_ready && !self.payments.is_secure() {
            let pressed = format!("I pressed {} on my telephone.", char::from(key.to_ascii()));
            say(&json!({"type": "InjectUserMessage", "content": pressed}), effects);
        }
    }

    fn marked(&mut self, _: &str, _: Reached, _: &mut Effects) {
        // There are no marks.
    }

    fn notice(&mut self, notice: Notice, effects: &mut Effects) {
        let (call, content) = match notice {
            Notice::SecureStarted => {
                self.payments.begin();
                return;
            }
            Notice::SecureEnded(verdict) => {
                (self.payments.end(), json!({"result": verdict.name()}))
            }
            Notice::NotCollected => (self.payments.fail(), json!({"error": NOT_STARTED})),
        };
        if let Some(call) = call {
            answer(&call, &content, effects);
        }
    }

    fn end(&mut self, _: &mut Effects) {
        // Closing the socket is all there is.
    }

    fn hear(&mut self, message: &Message, effects: &mut Effects) -> Result<(), Fault> {
        if let Message::Binary(octets) = message {
            return payload::play(octets, self.introduction.encoding, effects);
        }
        match payload::json(message)? {
            Heard::Welcome => say(&self.settings(), effects),
            Heard::SettingsApplied => self.is_ready = true,
            Heard::UserStartedSpeaking => effects.acts.push(Act::Clear),
            Heard::FunctionCallRequest { functions } if functions.len() > MAX_FUNCTIONS => {
                return Err(Fault::Malformed);
            }
            Heard::FunctionCallRequest { functions } => {
                for call in functions {
                    self.call(&call, effects)?;
                }
            }
            // After it the server closes the connection.
            Heard::Error => return Err(Fault::Reported),
            Heard::Other => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use dtmf::Digit;
    use serde_json::{Value, json};

    use super::Deepgram;
    use crate::testing::{act, hear, heard, introduction, json, said, sent};
    use crate::{Act, Dialect, Encoding, Fault, Message, Model, Notice, Verdict};

    fn talk(agent: &str) -> Deepgram {
        let model = Model { plans: Some(vec!["deposit".to_owned()]), ..Model::default() };
        let mut introduction = introduction(Encoding::Pcmu);
        introduction.parameters.insert("agent".to_owned(), agent.to_owned());
        Deepgram::new(introduction, model, true)
    }

    fn answered(talk: &mut Deepgram, text: &str) -> Vec<Value> {
        heard(talk, text).unwrap_or_default().send.into_iter().map(json).collect()
    }

    fn call(id: &str, arguments: &str) -> String {
        let function = json!({"id": id, "name": "collect_payment", "arguments": arguments,
            "client_side": true});
        json!({"type": "FunctionCallRequest", "functions": [function]}).to_string()
    }

    fn response(id: &str, content: &str) -> Value {
        json!({"type": "FunctionCallResponse", "id": id, "name": "collect_payment",
            "content": content})
    }

    #[test]
    fn sound_flows_once_the_settings_are_applied() {
        let mut talk = talk("an-id");
        assert!(sent(|effects| talk.open(effects)).is_empty());
        let welcome = r#"{"type":"Welcome","request_id":"r"}"#;
        let sound = json!({"encoding": "mulaw", "sample_rate": 8000});
        let output = json!({"encoding": "mulaw", "sample_rate": 8000, "container": "none"});
        assert_eq!(
            answered(&mut talk, welcome),
            [json!({"type": "Settings", "audio": {"input": sound, "output": output},
                "agent": "an-id"})]
        );
        assert!(sent(|effects| talk.audio(&[0xff], effects)).is_empty());
        assert!(answered(&mut talk, r#"{"type":"SettingsApplied"}"#).is_empty());
        let frame = sent(|effects| talk.audio(&[0xff], effects));
        assert!(frame == [Message::Binary(vec![0xff])]);
        let pressed = said(|effects| talk.key(Digit::Five, effects));
        let text = "I pressed 5 on my telephone.";
        assert_eq!(pressed, [json!({"type": "InjectUserMessage", "content": text})]);
    }

    #[test]
    fn an_agent_is_an_id_or_json() {
        let agent = |agent: &str| {
            let welcome = r#"{"type":"Welcome"}"#;
            answered(&mut talk(agent), welcome)[0]["agent"].clone()
        };
        assert_eq!(agent("an-id"), json!("an-id"));
        assert_eq!(agent(r#"{"greeting":"Hello"}"#), json!({"greeting": "Hello"}));
    }

    #[test]
    fn an_agent_is_heard_until_the_caller_speaks() {
        let mut talk = talk("a");
        let played = hear(&mut talk, &Message::Binary(vec![1])).unwrap_or_default().acts;
        assert!(matches!(&played[..], [Act::Play(octets)] if octets == &[1]));
        let speaks = r#"{"type":"UserStartedSpeaking"}"#;
        assert!(matches!(act(&mut talk, speaks), Act::Clear));
    }

    #[test]
    fn a_payment_is_answered_by_its_verdict() {
        let mut talk = talk("a");
        let Act::Collect { plan } = act(&mut talk, &call("c", "{}")) else { panic!("a payment") };
        assert_eq!(plan.as_deref(), Some("deposit"));
        let refused = r#"{"error":"it could not be started"}"#;
        assert_eq!(answered(&mut talk, &call("d", "{}")), [response("d", refused)]);
        assert!(said(|effects| talk.notice(Notice::SecureStarted, effects)).is_empty());
        let ended = Notice::SecureEnded(Verdict::Pass);
        let told = said(|effects| talk.notice(ended, effects));
        assert_eq!(told, [response("c", r#"{"result":"pass"}"#)]);
        assert!(said(|effects| talk.notice(Notice::NotCollected, effects)).is_empty());
        assert_eq!(answered(&mut talk, &call("e", "[")), [response("e", refused)]);
    }

    #[test]
    fn what_is_no_message_is_refused() {
        let fault = |text: &str| heard(&mut talk("a"), text).err();
        assert_eq!(fault("hello"), Some(Fault::Malformed));
        assert_eq!(fault(r#"{"type":"FunctionCallRequest"}"#), Some(Fault::Malformed));
        let error = r#"{"type":"Error","description":"d","code":"c"}"#;
        assert_eq!(fault(error), Some(Fault::Reported));
        assert_eq!(fault(r#"{"type":"Warning","description":"d","code":"c"}"#), None);
    }
}
