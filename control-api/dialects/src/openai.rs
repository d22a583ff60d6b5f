//! OpenAI Realtime, as the client of a model (OpenAI's API reference, "Realtime", its general
//! schema: `session.type` is `realtime`, formats are objects). The model's name is in the URL.
//!
//! The model speaks faster than it is heard. When the caller begins to speak, what waits is thrown
//! away and the model is told how much of each item was played, so that it knows what was heard.
//!
//! A model may ask for a payment by one function. In a secure session it takes no turns
//! (`turn_detection` is null) and is asked for nothing. What had been said to it and was not yet a
//! turn is thrown away at the start (`input_audio_buffer.clear`): it would otherwise become the head
//! of the first turn after the session, though what came next was never heard. The order is: no
//! turns first, so that none is made between the two. At the end the buffer holds nothing but our
//! silence, minutes of it; it is thrown away too, before turns are taken again.
//!
//! Nothing that is said to a model depends on what was keyed but its verdict.

mod heard;
mod said;
mod spoken;

use dtmf::Digit;
use serde_json::{Value, json};

use self::heard::{Audio, Call, Failure, Heard, Item};
use self::spoken::Spoken;
use crate::payments::{Answer, COLLECT, NOT_STARTED, Payments, Wish, kept};
use crate::{
    Act, Dialect, Effects, Encoding, Fault, Introduction, Message, Model, Notice, Reached, Verdict,
    payload,
};

/// One conversation with a model.
pub struct OpenAi {
    introduction: Introduction,
    model: Model,
    keys: bool,
    spoken: Spoken,
    /// The response that the model is giving.
    active: Option<String>,
    /// The response that the caller has interrupted: what still comes of it isn't played.
    muted: Option<String>,
    payments: Payments,
    /// A response is asked for once the active one is done, or the secure session is over.
    owes: bool,
}

impl OpenAi {
    /// A conversation that has not begun. `keys`: whether the model reads of keys.
    #[must_use]
    pub fn new(introduction: Introduction, model: Model, keys: bool) -> OpenAi {
        OpenAi {
            introduction,
            payments: Payments::new(model.plans.clone()),
            // Not before the session is as it should be, and not in the middle of a secure one.
            owes: model.greets,
            model,
            keys,
            spoken: Spoken::default(),
            active: None,
            muted: None,
        }
    }

    /// The model is to speak: now, or as soon as it may. It refuses a second response at a time.
    fn respond(&mut self, effects: &mut Effects) {
        self.owes = self.payments.is_secure() || self.active.is_some();
        if !self.owes {
            say(&json!({"type": "response.create"}), effects);
        }
    }

    fn pay_debt(&mut self, effects: &mut Effects) {
        if self.owes {
            self.respond(effects);
        }
    }

    fn play(&mut self, audio: Audio, effects: &mut Effects) -> Result<(), Fault> {
        let octets = payload::decode(&audio.delta, self.introduction.encoding)?;
        if self.muted.as_ref() != Some(&audio.response_id) {
            self.spoken.add(kept(audio.item_id)?, octets.len());
            effects.acts.push(Act::Play(octets));
        }
        Ok(())
    }

    /// The caller speaks: the model is to be quiet, though it may be already.
    fn interrupt(&mut self, effects: &mut Effects) {
        effects.acts.push(Act::Clear);
        self.hush(effects);
    }

    /// What still comes of the active response is not wanted. Each is cancelled once.
    fn hush(&mut self, effects: &mut Effects) {
        if self.active.is_some() && self.muted != self.active {
            self.muted.clone_from(&self.active);
            say(&json!({"type": "response.cancel"}), effects);
        }
    }

    fn done(&mut self, response: &str, effects: &mut Effects) {
        if self.active.as_deref() == Some(response) {
            self.active = None;
            self.pay_debt(effects);
        }
    }

    /// A call of a function, which is told by two events of which either may be missing. Arguments
    /// that break off are no JSON: such a call was interrupted, unless it is said to be complete.
    fn call(&mut self, call: &Call, is_complete: bool, effects: &mut Effects) -> Result<(), Fault> {
        let wish = match serde_json::from_str::<Wish>(&call.arguments) {
            Ok(wish) => Some(wish),
            Err(_) if !is_complete => return Ok(()),
            Err(_) => call.arguments.is_empty().then(Wish::default),
        };
        if call.name != COLLECT {
            return Ok(());
        }
        match self.payments.ask(call.call_id.clone(), wish)? {
            Answer::Collect(plan) => effects.acts.push(Act::Collect { plan }),
            Answer::Refused => self.refuse(&call.call_id, effects),
            Answer::Known => {}
        }
        Ok(())
    }

    fn refuse(&mut self, call: &str, effects: &mut Effects) {
        say(&said::output(call, &json!({"error": NOT_STARTED})), effects);
        self.respond(effects);
    }

    fn secure(&mut self, effects: &mut Effects) {
        self.payments.begin();
        say(&said::turns(None), effects);
        say(&json!({"type": "input_audio_buffer.clear"}), effects);
    }

    fn open_again(&mut self, verdict: Verdict, effects: &mut Effects) {
        let call = self.payments.end();
        say(&json!({"type": "input_audio_buffer.clear"}), effects);
        say(&said::turns(Some(self.model.turns)), effects);
        let name = verdict.name();
        if let Some(call) = call {
            say(&said::output(&call, &json!({"result": name})), effects);
            self.owes = true;
        } else if self.introduction.tells_secure {
            // Somebody else began it, and the model may know.
            say(&said::text("system", &format!("A payment was keyed in: {name}.")), effects);
            self.owes = true;
        }
        self.pay_debt(effects);
    }

    /// An error is most often a request of ours that came too late, such as to cancel a response
    /// that is over. The connection is of no use without the session as we want it, or after its
    /// time, or where we may not be.
    fn fail(&mut self, failure: &Failure) -> Result<(), Fault> {
        let code = failure.code.as_deref();
        if code == Some("conversation_already_has_active_response") {
            self.owes = true;
        }
        let is_session = failure.event_id.as_deref() == Some(said::SESSION_EVENT);
        match failure.kind.as_str() {
            "invalid_request_error" | "server_error"
                if !is_session && code != Some("session_expired") =>
            {
                Ok(())
            }
            _ => Err(Fault::Reported),
        }
    }
}

fn say(event: &Value, effects: &mut Effects) {
    effects.send.push(Message::Text(event.to_string()));
}

impl Dialect for OpenAi {
    fn encoding(&self) -> Encoding {
        self.introduction.encoding
    }

    fn open(&mut self, effects: &mut Effects) {
        say(&said::session(&self.introduction, &self.model), effects);
    }

    fn audio(&mut self, frame: &[u8], effects: &mut Effects) {
        let audio = payload::encode(frame);
        let append = said::Append { kind: "input_audio_buffer.append", audio };
        // Texts alone: nothing that JSON could not have.
        effects.send.push(Message::Text(serde_json::to_string(&append).unwrap_or_default()));
    }

    fn key(&mut self, key: Digit, effects: &mut Effects) {
        if self.keys && !self.payments.is_secure() {
            let pressed = format!("I pressed {} on my telephone.", char::from(key.to_ascii()));
            say(&said::text("user", &pressed), effects);
            self.respond(effects);
        }
    }

    fn marked(&mut self, _: &str, _: Reached, _: &mut Effects) {
        // There are no marks.
    }

    fn cleared(&mut self, played: u64, effects: &mut Effects) {
        // Whoever threw it away: an item of which the end is missing is not continued.
        self.hush(effects);
        for (item, heard) in self.spoken.cut(played) {
            let milliseconds = self.introduction.encoding.milliseconds(heard);
            say(&said::truncate(&item, milliseconds), effects);
        }
    }

    fn notice(&mut self, notice: Notice, effects: &mut Effects) {
        match notice {
            Notice::SecureStarted => self.secure(effects),
            Notice::SecureEnded(verdict) => self.open_again(verdict, effects),
            Notice::NotCollected => {
                if let Some(call) = self.payments.fail() {
                    self.refuse(&call, effects);
                }
            }
        }
    }

    fn end(&mut self, _: &mut Effects) {
        // Closing the socket is all there is.
    }

    fn hear(&mut self, message: &Message, effects: &mut Effects) -> Result<(), Fault> {
        match payload::json(message)? {
            Heard::Updated => self.pay_debt(effects),
            Heard::Created { response } => {
                self.active = Some(kept(response.id.unwrap_or_default())?);
                // Of a turn that was taken just before the session. Nobody would hear it.
                if self.payments.is_secure() {
                    self.hush(effects);
                }
            }
            Heard::Done { response } => self.done(&response.id.unwrap_or_default(), effects),
            Heard::Audio(audio) => self.play(audio, effects)?,
            Heard::SpeechStarted => self.interrupt(effects),
            Heard::Arguments(call) => self.call(&call, false, effects)?,
            Heard::ItemDone { item: Item::FunctionCall { call, status } } => {
                self.call(&call, status.as_deref() == Some("completed"), effects)?;
            }
            Heard::Error { error } => self.fail(&error)?,
            Heard::ItemDone { item: Item::Other } | Heard::Other => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use dtmf::Digit;
    use serde_json::{Value, json};

    use super::OpenAi;
    use crate::testing::{act, heard, introduction, json, said};
    use crate::{Act, Dialect, Encoding, Fault, Model, Notice, Turns, Verdict};

    fn model(plans: &[&str]) -> Model {
        Model {
            instructions: Some("Be brief.".to_owned()),
            voice: Some("marin".to_owned()),
            plans: Some(plans.iter().map(|&plan| plan.to_owned()).collect()),
            ..Model::default()
        }
    }

    fn talk(plans: &[&str]) -> OpenAi {
        OpenAi::new(introduction(Encoding::Pcmu), model(plans), true)
    }

    /// What is sent in answer to an event that asks for nothing.
    fn answered(talk: &mut OpenAi, event: &Value) -> Vec<Value> {
        let effects = heard(talk, &event.to_string()).map_err(|fault| fault.to_string()).unwrap();
        assert!(effects.acts.is_empty(), "no act");
        effects.send.into_iter().map(json).collect()
    }

    fn delta(response: &str, item: &str, octets: usize) -> String {
        json!({"type": "response.output_audio.delta", "event_id": "e", "response_id": response,
            "item_id": item, "output_index": 0, "content_index": 0,
            "delta": crate::payload::encode(&vec![0xff; octets])})
        .to_string()
    }

    fn response(event: &str, id: &str) -> Value {
        json!({"type": format!("response.{event}"), "response": {"id": id, "status": "x"}})
    }

    fn arguments(call: &str, arguments: &str) -> Value {
        json!({"type": "response.function_call_arguments.done", "call_id": call,
            "name": "collect_payment", "item_id": "i", "arguments": arguments})
    }

    fn item_done(call: &str, arguments: &str, status: &str) -> Value {
        json!({"type": "response.output_item.done", "item": {"type": "function_call", "id": "i",
            "call_id": call, "name": "collect_payment", "arguments": arguments, "status": status}})
    }

    fn output(call: &str, output: &str) -> Value {
        json!({"type": "conversation.item.create", "item":
            {"type": "function_call_output", "call_id": call, "output": output}})
    }

    fn turns(detection: &Value) -> Value {
        json!({"type": "session.update", "session":
            {"type": "realtime", "audio": {"input": {"turn_detection": detection}}}})
    }

    fn create() -> Value {
        json!({"type": "response.create"})
    }

    #[test]
    fn a_model_is_told_what_it_is() {
        let opened = said(|effects| talk(&["deposit", "full"]).open(effects));
        let format = json!({"type": "audio/pcmu"});
        let session = &opened[0]["session"];
        assert_eq!(opened.len(), 1);
        assert_eq!(opened[0]["type"], "session.update");
        assert_eq!(session["type"], "realtime");
        assert_eq!(session["instructions"], "Be brief.");
        assert_eq!(
            session["audio"],
            json!({
                "input": {"format": format, "turn_detection": {"type": "server_vad"}},
                "output": {"format": format, "voice": "marin"},
            })
        );
        let tool = &session["tools"][0];
        assert_eq!((&tool["type"], &tool["name"]), (&json!("function"), &json!("collect_payment")));
        assert_eq!(
            tool["parameters"],
            json!({
                "type": "object",
                "properties": {"plan": {"type": "string", "enum": ["deposit", "full"]}},
                "required": ["plan"],
                "additionalProperties": false,
            })
        );
    }

    #[test]
    fn a_call_may_say_it_otherwise() {
        let mut introduction = introduction(Encoding::L16(24_000));
        introduction.parameters.insert("instructions".to_owned(), "Be long.".to_owned());
        introduction.parameters.insert("voice".to_owned(), "cedar".to_owned());
        let told = Model { greets: true, turns: Turns::Meaning, plans: None, ..model(&[]) };
        let opened = said(|effects| OpenAi::new(introduction, told, false).open(effects));
        let session = &opened[0]["session"];
        assert_eq!(session["instructions"], "Be long.");
        assert_eq!(session["audio"]["output"]["voice"], "cedar");
        assert_eq!(
            session["audio"]["input"]["format"],
            json!({"type": "audio/pcm", "rate": 24000})
        );
        assert_eq!(session["audio"]["input"]["turn_detection"], json!({"type": "semantic_vad"}));
        assert!(session.get("tools").is_none());
        assert_eq!(opened.len(), 1);
    }

    #[test]
    fn a_model_that_greets_does_so_once_it_may() {
        let greeting = |is_secure: bool| {
            let told = Model { greets: true, ..model(&[]) };
            let mut talk = OpenAi::new(introduction(Encoding::Pcmu), told, false);
            said(|effects| talk.open(effects));
            if is_secure {
                said(|effects| talk.notice(Notice::SecureStarted, effects));
            }
            let updated = json!({"type": "session.updated", "session": {}});
            let at_once = answered(&mut talk, &updated);
            assert!(answered(&mut talk, &updated).is_empty(), "once");
            let ended = Notice::SecureEnded(Verdict::Pass);
            (at_once, said(|effects| talk.notice(ended, effects)).pop())
        };
        assert_eq!(greeting(false).0, [create()]);
        assert_eq!(greeting(true), (Vec::new(), Some(create())));
    }

    #[test]
    fn what_is_thrown_away_by_another_hand_is_not_continued() {
        let mut talk = talk(&[]);
        answered(&mut talk, &response("created", "r1"));
        assert!(matches!(act(&mut talk, &delta("r1", "i1", 1600)), Act::Play(_)));
        let told = said(|effects| talk.cleared(800, effects));
        assert_eq!(told[0], json!({"type": "response.cancel"}));
        assert_eq!((told.len(), &told[1]["audio_end_ms"]), (2, &json!(100)));
        let late = heard(&mut talk, &delta("r1", "i1", 800)).unwrap_or_default();
        assert!(late.acts.is_empty());
        assert!(said(|effects| talk.cleared(800, effects)).is_empty(), "told once");
    }

    #[test]
    fn sound_and_keys_are_told() {
        let mut talk = talk(&[]);
        assert_eq!(
            said(|effects| talk.audio(&[0xff; 3], effects)),
            [json!({"type": "input_audio_buffer.append", "audio": "////"})]
        );
        let pressed = said(|effects| talk.key(Digit::Five, effects));
        let content = json!([{"type": "input_text", "text": "I pressed 5 on my telephone."}]);
        assert_eq!(
            pressed,
            [
                json!({"type": "conversation.item.create",
                    "item": {"type": "message", "role": "user", "content": content}}),
                create(),
            ]
        );
        talk.keys = false;
        assert!(said(|effects| talk.key(Digit::Five, effects)).is_empty());
    }

    #[test]
    fn a_caller_interrupts_and_the_model_knows_what_was_heard() {
        let mut talk = talk(&[]);
        assert!(answered(&mut talk, &response("created", "r1")).is_empty());
        assert!(matches!(act(&mut talk, &delta("r1", "i1", 1600)), Act::Play(_)));
        assert!(matches!(act(&mut talk, &delta("r1", "i2", 800)), Act::Play(_)));
        let speech = json!({"type": "input_audio_buffer.speech_started", "item_id": "u"});
        let effects = heard(&mut talk, &speech.to_string()).unwrap_or_default();
        assert!(matches!(effects.acts[..], [Act::Clear]));
        let sent: Vec<_> = effects.send.into_iter().map(json).collect();
        assert_eq!(sent, [json!({"type": "response.cancel"})]);
        let truncate = |item, end: u64| {
            json!({"type": "conversation.item.truncate", "item_id": item, "content_index": 0,
                "audio_end_ms": end})
        };
        let told = said(|effects| talk.cleared(400, effects));
        assert_eq!(told, [truncate("i1", 50), truncate("i2", 0)]);
        // What was on its way is not played; what comes of the next response is.
        let late = heard(&mut talk, &delta("r1", "i2", 800)).unwrap_or_default();
        assert!(late.acts.is_empty());
        answered(&mut talk, &response("done", "r1"));
        answered(&mut talk, &response("created", "r2"));
        assert!(matches!(act(&mut talk, &delta("r2", "i3", 800)), Act::Play(_)));
        answered(&mut talk, &response("done", "r2"));
        assert_eq!(said(|effects| talk.cleared(480, effects)), [truncate("i3", 10)]);
    }

    #[test]
    fn a_turn_that_was_taken_just_before_a_session_is_given_up() {
        let mut talk = talk(&[]);
        said(|effects| talk.notice(Notice::SecureStarted, effects));
        let told = answered(&mut talk, &response("created", "r"));
        assert_eq!(told, [json!({"type": "response.cancel"})]);
        assert!(heard(&mut talk, &delta("r", "i", 800)).unwrap_or_default().acts.is_empty());
        assert!(answered(&mut talk, &response("done", "r")).is_empty());
    }

    #[test]
    fn a_response_that_is_over_is_not_cancelled() {
        let mut talk = talk(&[]);
        answered(&mut talk, &response("created", "r1"));
        answered(&mut talk, &response("done", "r1"));
        let speech = r#"{"type":"input_audio_buffer.speech_started"}"#;
        let effects = heard(&mut talk, speech).unwrap_or_default();
        assert!(effects.send.is_empty() && matches!(effects.acts[..], [Act::Clear]));
    }

    #[test]
    fn a_payment_is_asked_for_once_and_answered_by_its_verdict() {
        for (verdict, result) in [(Verdict::Pass, "pass"), (Verdict::Fail, "fail")] {
            let mut talk = talk(&["deposit", "full"]);
            answered(&mut talk, &response("created", "r"));
            let wish = r#"{"plan":"full"}"#;
            let Act::Collect { plan } = act(&mut talk, &arguments("c", wish).to_string()) else {
                panic!("a payment")
            };
            assert_eq!(plan.as_deref(), Some("full"));
            assert!(answered(&mut talk, &item_done("c", wish, "completed")).is_empty());
            answered(&mut talk, &response("done", "r"));
            let clear = json!({"type": "input_audio_buffer.clear"});
            let started = said(|effects| talk.notice(Notice::SecureStarted, effects));
            assert_eq!(started, [turns(&Value::Null), clear.clone()]);
            assert!(said(|effects| talk.key(Digit::Five, effects)).is_empty());
            let ended = said(|effects| talk.notice(Notice::SecureEnded(verdict), effects));
            let told = output("c", &format!(r#"{{"result":"{result}"}}"#));
            assert_eq!(ended, [clear, turns(&json!({"type": "server_vad"})), told, create()]);
        }
    }

    #[test]
    fn a_payment_that_cannot_begin_is_said_to_be_so() {
        let refused = output("c", r#"{"error":"it could not be started"}"#);
        let mut talk = talk(&["deposit"]);
        answered(&mut talk, &response("created", "r"));
        let Act::Collect { plan } = act(&mut talk, &item_done("c", "{}", "completed").to_string())
        else {
            panic!("a payment")
        };
        assert_eq!(plan.as_deref(), Some("deposit"));
        let told = said(|effects| talk.notice(Notice::NotCollected, effects));
        assert_eq!((told.len(), told.first()), (1, Some(&refused)), "a response is still going on");
        assert_eq!(answered(&mut talk, &response("done", "r")), [create()]);
        // The second event of the same call, and a plan that there isn't.
        assert!(answered(&mut talk, &arguments("c", "{}")).is_empty());
        let other = answered(&mut talk, &arguments("d", r#"{"plan":"all"}"#));
        assert_eq!(other, [output("d", r#"{"error":"it could not be started"}"#), create()]);
    }

    #[test]
    fn one_payment_at_a_time() {
        let mut talk = talk(&[]);
        let Act::Collect { plan: None } = act(&mut talk, &arguments("c", "{}").to_string()) else {
            panic!("a payment")
        };
        let refused = output("d", r#"{"error":"it could not be started"}"#);
        assert_eq!(answered(&mut talk, &arguments("d", "{}")), [refused, create()]);
        said(|effects| talk.notice(Notice::SecureStarted, effects));
        let refused = output("e", r#"{"error":"it could not be started"}"#);
        assert_eq!(answered(&mut talk, &arguments("e", "{}")), [refused], "and no turn");
        let ended = said(|effects| talk.notice(Notice::SecureEnded(Verdict::Pass), effects));
        assert_eq!(ended[2..], [output("c", r#"{"result":"pass"}"#), create()]);
    }

    #[test]
    fn a_call_that_was_interrupted_is_none() {
        let mut talk = talk(&["a", "b"]);
        assert!(answered(&mut talk, &arguments("c", r#"{"plan":"a"#)).is_empty());
        assert!(answered(&mut talk, &item_done("c", r#"{"plan":"a"#, "incomplete")).is_empty());
        let refused = output("c", r#"{"error":"it could not be started"}"#);
        assert_eq!(answered(&mut talk, &item_done("c", "[", "completed")), [refused, create()]);
        let other = json!({"type": "response.output_item.done", "item": {"type": "message"}});
        assert!(answered(&mut talk, &other).is_empty());
    }

    #[test]
    fn of_a_session_of_another_hand_it_is_told_only_if_it_wants_to_be() {
        let mut talk = talk(&[]);
        let mut session = || {
            said(|effects| talk.notice(Notice::SecureStarted, effects));
            let ended = said(|effects| talk.notice(Notice::SecureEnded(Verdict::Fail), effects));
            talk.introduction.tells_secure = true;
            ended
        };
        assert_eq!(session().len(), 2, "turns, and no word");
        let told = session();
        assert_eq!(told[2]["item"]["role"], "system");
        assert_eq!(told[2]["item"]["content"][0]["text"], "A payment was keyed in: fail.");
        assert_eq!(told[3], create());
    }

    #[test]
    fn an_error_that_does_no_harm_is_passed_over() {
        let fault = |kind: &str, code: &str, event: &str| {
            let error = json!({"type": "error", "event_id": "e", "error":
                {"type": kind, "code": code, "message": "m", "param": null, "event_id": event}});
            heard(&mut talk(&[]), &error.to_string()).err()
        };
        assert_eq!(fault("invalid_request_error", "response_cancel_not_active", "x"), None);
        assert_eq!(fault("server_error", "", "x"), None);
        assert_eq!(fault("invalid_request_error", "x", "session"), Some(Fault::Reported));
        assert_eq!(fault("invalid_request_error", "session_expired", "x"), Some(Fault::Reported));
        assert_eq!(fault("authentication_error", "", "x"), Some(Fault::Reported));
    }

    #[test]
    fn a_response_that_met_another_is_asked_for_again() {
        let mut talk = talk(&[]);
        answered(&mut talk, &response("created", "r"));
        let error = json!({"type": "error", "error": {"type": "invalid_request_error",
            "code": "conversation_already_has_active_response", "message": "m"}});
        assert!(answered(&mut talk, &error).is_empty());
        assert_eq!(answered(&mut talk, &response("done", "r")), [create()]);
        assert!(answered(&mut talk, &response("done", "r")).is_empty());
    }

    #[test]
    fn what_is_no_event_is_refused() {
        let fault = |text: &str| heard(&mut talk(&[]), text).err();
        assert_eq!(fault("hello"), Some(Fault::Malformed));
        assert_eq!(fault(r#"{"type":"response.output_audio.delta"}"#), Some(Fault::Malformed));
        assert_eq!(fault(&delta("r", &"i".repeat(257), 1)), Some(Fault::Malformed));
        assert_eq!(fault(&delta("r", "i", 1).replace("/w==", "?")), Some(Fault::BadAudio));
        assert_eq!(fault(r#"{"type":"session.created","session":{"a":1}}"#), None);
        assert_eq!(fault(r#"{"type":"response.done","response":{"id":"r"}}"#), None);
    }
}
