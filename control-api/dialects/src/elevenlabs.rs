//! ElevenLabs agents, as their client: JSON text alone (ElevenLabs' API reference, "Agent
//! WebSockets", and its SDK for Python).
//!
//! What an agent is, and how sound is encoded, is chosen where the agent is kept: if its formats
//! aren't the connection's, both ways, that is a fault. A payment is a client tool named
//! `collect_payment`, which the agent must have. An agent speaks unprompted to a caller who is
//! silent for long, and so one in a secure session would be asked whether they are still there:
//! every five seconds of it the agent is told that they are (`user_activity`).

use std::collections::BTreeMap;

use dtmf::Digit;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::payments::{Answer, COLLECT, NOT_STARTED, Payments, Wish};
use crate::{
    Act, Dialect, Effects, Encoding, Fault, Introduction, Message, Model, Notice, Reached, payload,
};

/// Frames of 20 ms between two signs of life.
const ACTIVITY_FRAMES: u32 = 250;

/// One conversation with an agent.
pub struct ElevenLabs {
    introduction: Introduction,
    model: Model,
    keys: bool,
    payments: Payments,
    /// The last event that the caller has interrupted; what still comes of it isn't played.
    interrupted: Option<u64>,
    frames: u32,
}

/// A message of an agent. What it has besides is not looked at.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Heard {
    ConversationInitiationMetadata {
        conversation_initiation_metadata_event: Formats,
    },
    Audio {
        audio_event: Audio,
    },
    Interruption {
        interruption_event: Event,
    },
    Ping {
        ping_event: Event,
    },
    ClientToolCall {
        client_tool_call: Call,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Formats {
    agent_output_audio_format: String,
    user_input_audio_format: Option<String>,
}

#[derive(Deserialize)]
struct Audio {
    audio_base_64: String,
    event_id: u64,
}

#[derive(Deserialize)]
struct Event {
    event_id: u64,
}

#[derive(Deserialize)]
struct Call {
    tool_name: String,
    tool_call_id: String,
    #[serde(default)]
    parameters: Option<Wish>,
}

/// The message that there is most of, written without a tree.
#[derive(Serialize)]
struct Chunk {
    user_audio_chunk: String,
}

impl ElevenLabs {
    /// A conversation that has not begun. `keys`: whether the agent reads of keys.
    #[must_use]
    pub fn new(introduction: Introduction, model: Model, keys: bool) -> ElevenLabs {
        let payments = Payments::new(model.plans.clone());
        ElevenLabs { introduction, model, keys, payments, interrupted: None, frames: 0 }
    }

    fn check(&self, formats: &Formats) -> Result<(), Fault> {
        let ours = format(self.introduction.encoding);
        let theirs =
            [Some(&formats.agent_output_audio_format), formats.user_input_audio_format.as_ref()];
        if theirs.into_iter().flatten().all(|theirs| *theirs == ours) {
            Ok(())
        } else {
            Err(Fault::WrongRate)
        }
    }

    fn call(&mut self, call: Call, effects: &mut Effects) -> Result<(), Fault> {
        if call.tool_name != COLLECT {
            return Ok(());
        }
        let wish = call.parameters.unwrap_or_default();
        match self.payments.ask(call.tool_call_id.clone(), Some(wish))? {
            Answer::Collect(plan) => effects.acts.push(Act::Collect { plan }),
            Answer::Refused => answer(&call.tool_call_id, NOT_STARTED, true, effects),
            Answer::Known => {}
        }
        Ok(())
    }

    /// What the agent may read of a session that it has not asked for itself.
    fn tell(&self, text: &str, effects: &mut Effects) {
        if self.introduction.tells_secure {
            say(&json!({"type": "contextual_update", "text": text}), effects);
        }
    }
}

/// What ElevenLabs calls an encoding.
fn format(encoding: Encoding) -> String {
    match encoding {
        Encoding::Pcmu => "ulaw_8000".to_owned(),
        Encoding::Pcma => "alaw_8000".to_owned(),
        Encoding::L16(rate) => format!("pcm_{rate}"),
    }
}

fn answer(call: &str, result: &str, is_error: bool, effects: &mut Effects) {
    let message = json!({
        "type": "client_tool_result",
        "tool_call_id": call,
        "result": result,
        "is_error": is_error,
    });
    say(&message, effects);
}

fn say(message: &Value, effects: &mut Effects) {
    effects.send.push(Message::Text(message.to_string()));
}

/// What is said otherwise than the agent has it; nothing, unless that is asked for.
fn overrides(parameters: &BTreeMap<String, String>, model: &Model) -> Option<Value> {
    let parameter = |name: &str, or: &Option<String>| parameters.get(name).or(or.as_ref()).cloned();
    let mut overrides = json!({});
    if let Some(instructions) = parameter("instructions", &model.instructions) {
        overrides["agent"] = json!({"prompt": {"prompt": instructions}});
    }
    if let Some(voice) = parameter("voice", &model.voice) {
        overrides["tts"] = json!({"voice_id": voice});
    }
    overrides.as_object().is_some_and(|fields| !fields.is_empty()).then_some(overrides)
}

impl Dialect for ElevenLabs {
    fn encoding(&self) -> Encoding {
        self.introduction.encoding
    }

    fn open(&mut self, effects: &mut Effects) {
        let mut begin = json!({
            "type": "conversation_initiation_client_data",
            "dynamic_variables": self.introduction.parameters_and_numbers(),
        });
        if let Some(overrides) = overrides(&self.introduction.parameters, &self.model) {
            begin["conversation_config_override"] = overrides;
        }
        say(&begin, effects);
    }

    fn audio(&mut self, frame: &[u8], effects: &mut Effects) {
        let chunk = Chunk { user_audio_chunk: payload::encode(frame) };
        // Text alone: nothing that JSON could not have.
        effects.send.push(Message::Text(serde_json::to_string(&chunk).unwrap_or_default()));
        if self.payments.is_secure() {
            self.frames += 1;
            if self.frames.is_multiple_of(ACTIVITY_FRAMES) {
                say(&json!({"type": "user_activity"}), effects);
            }
        }
    }

    fn key(&mut self, key: Digit, effects: &mut Effects) {
        if self.keys && !self.payments.is_secure() {
            let pressed = format!("I pressed {} on my telephone.", char::from(key.to_ascii()));
            say(&json!({"type": "user_message", "text": pressed}), effects);
        }
    }

    fn marked(&mut self, _: &str, _: Reached, _: &mut Effects) {
        // There are no marks.
    }

    fn notice(&mut self, notice: Notice, effects: &mut Effects) {
        match notice {
            Notice::SecureStarted => {
                self.payments.begin();
                self.frames = 0;
                self.tell("The caller keys in a payment now. Wait until it is over.", effects);
            }
            Notice::SecureEnded(verdict) => match self.payments.end() {
                Some(call) => answer(&call, verdict.name(), false, effects),
                None => {
                    let text = format!("The payment was keyed in: {}.", verdict.name());
                    self.tell(&text, effects);
                }
            },
            Notice::NotCollected => {
                if let Some(call) = self.payments.fail() {
                    answer(&call, NOT_STARTED, true, effects);
                }
            }
        }
    }

    fn end(&mut self, _: &mut Effects) {
        // Closing the socket is all there is.
    }

    fn hear(&mut self, message: &Message, effects: &mut Effects) -> Result<(), Fault> {
        match payload::json(message)? {
            Heard::ConversationInitiationMetadata {
                conversation_initiation_metadata_event: formats,
            } => self.check(&formats)?,
            Heard::Audio { audio_event: audio } => {
                let octets = payload::decode(&audio.audio_base_64, self.introduction.encoding)?;
                if self.interrupted.is_none_or(|interrupted| audio.event_id > interrupted) {
                    effects.acts.push(Act::Play(octets));
                }
            }
            Heard::Interruption { interruption_event: event } => {
                self.interrupted = Some(event.event_id);
                effects.acts.push(Act::Clear);
            }
            Heard::Ping { ping_event: event } => {
                say(&json!({"type": "pong", "event_id": event.event_id}), effects);
            }
            Heard::ClientToolCall { client_tool_call: call } => self.call(call, effects)?,
            Heard::Other => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use dtmf::Digit;
    use serde_json::json;

    use super::ElevenLabs;
    use crate::testing::{act, heard, introduction, json, said};
    use crate::{Act, Dialect, Effects, Encoding, Fault, Model, Notice, Verdict};

    fn talk() -> ElevenLabs {
        let model = Model { plans: Some(Vec::new()), ..Model::default() };
        ElevenLabs::new(introduction(Encoding::Pcmu), model, true)
    }

    fn call(id: &str) -> String {
        json!({"type": "client_tool_call", "client_tool_call": {"tool_name": "collect_payment",
            "tool_call_id": id, "parameters": {}, "event_id": 1}})
        .to_string()
    }

    fn result(id: &str, result: &str, is_error: bool) -> serde_json::Value {
        json!({"type": "client_tool_result", "tool_call_id": id, "result": result,
            "is_error": is_error})
    }

    #[test]
    fn a_conversation_begins_with_what_the_agent_may_know() {
        let mut talk = talk();
        let variables =
            json!({"tenant": "a", "from_number": "+15550100", "to_number": "+15550199"});
        let begin = json!({"type": "conversation_initiation_client_data",
            "dynamic_variables": variables});
        assert_eq!(said(|effects| talk.open(effects)), [begin]);
        talk.model.voice = Some("v".to_owned());
        talk.model.instructions = Some("Be brief.".to_owned());
        let told = said(|effects| talk.open(effects));
        assert_eq!(
            told[0]["conversation_config_override"],
            json!({"agent": {"prompt": {"prompt": "Be brief."}}, "tts": {"voice_id": "v"}})
        );
        let frame = said(|effects| talk.audio(&[0xff; 3], effects));
        assert_eq!(frame, [json!({"user_audio_chunk": "////"})]);
        let pressed = said(|effects| talk.key(Digit::Five, effects));
        let text = "I pressed 5 on my telephone.";
        assert_eq!(pressed, [json!({"type": "user_message", "text": text})]);
    }

    #[test]
    fn what_was_interrupted_is_not_played() {
        let audio = |id: u64| {
            let event = json!({"audio_base_64": "////", "event_id": id});
            json!({"type": "audio", "audio_event": event}).to_string()
        };
        let mut talk = talk();
        assert!(matches!(act(&mut talk, &audio(0)), Act::Play(octets) if octets == [0xff; 3]));
        let interruption = r#"{"type":"interruption","interruption_event":{"event_id":2}}"#;
        assert!(matches!(act(&mut talk, interruption), Act::Clear));
        assert!(heard(&mut talk, &audio(2)).unwrap_or_default().acts.is_empty());
        assert!(matches!(act(&mut talk, &audio(3)), Act::Play(_)));
    }

    #[test]
    fn a_ping_is_answered() {
        let ping = r#"{"type":"ping","ping_event":{"event_id":7,"ping_ms":20}}"#;
        let Effects { send, acts } = heard(&mut talk(), ping).unwrap_or_default();
        let sent: Vec<_> = send.into_iter().map(json).collect();
        assert_eq!((sent, acts.len()), (vec![json!({"type": "pong", "event_id": 7})], 0));
    }

    #[test]
    fn a_payment_is_answered_by_its_verdict() {
        let mut talk = talk();
        assert!(matches!(act(&mut talk, &call("c")), Act::Collect { plan: None }));
        assert!(said(|effects| talk.notice(Notice::SecureStarted, effects)).is_empty());
        let refused = heard(&mut talk, &call("d")).unwrap_or_default().send;
        let refused: Vec<_> = refused.into_iter().map(json).collect();
        assert_eq!(refused, [result("d", "it could not be started", true)]);
        let activity = (0..500).map(|_| said(|effects| talk.audio(&[0xff], effects)).len() - 1);
        assert_eq!(activity.sum::<usize>(), 2, "in ten seconds");
        let ended = Notice::SecureEnded(Verdict::Fail);
        assert_eq!(said(|effects| talk.notice(ended, effects)), [result("c", "fail", false)]);
        assert!(matches!(act(&mut talk, &call("e")), Act::Collect { .. }));
        let failed = said(|effects| talk.notice(Notice::NotCollected, effects));
        assert_eq!(failed, [result("e", "it could not be started", true)]);
    }

    #[test]
    fn of_a_session_of_another_hand_it_is_told_only_if_it_wants_to_be() {
        let mut talk = talk();
        let ended = Notice::SecureEnded(Verdict::Pass);
        assert!(said(|effects| talk.notice(ended, effects)).is_empty());
        talk.introduction.tells_secure = true;
        let told = said(|effects| talk.notice(ended, effects));
        let text = "The payment was keyed in: pass.";
        assert_eq!(told, [json!({"type": "contextual_update", "text": text})]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let fault = |text: &str| heard(&mut talk(), text).err();
        let begun = |output: &str, input: &str| {
            let event = json!({"conversation_id": "c", "agent_output_audio_format": output,
                "user_input_audio_format": input});
            let begun = json!({"type": "conversation_initiation_metadata",
                "conversation_initiation_metadata_event": event});
            fault(&begun.to_string())
        };
        assert_eq!(begun("ulaw_8000", "ulaw_8000"), None);
        assert_eq!(begun("pcm_16000", "ulaw_8000"), Some(Fault::WrongRate));
        assert_eq!(begun("ulaw_8000", "pcm_16000"), Some(Fault::WrongRate));
        assert_eq!(fault("hello"), Some(Fault::Malformed));
        assert_eq!(fault(&call(&"c".repeat(257))), Some(Fault::Malformed));
        assert_eq!(fault(r#"{"type":"agent_response","agent_response_event":{}}"#), None);
    }
}
